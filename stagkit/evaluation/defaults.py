"""Settings chosen by the kind of the clips, each with the reason, when the caller gives none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import RoiDataset
from stagkit.synthetic.flow_maps import accepts_auxiliary_data

#: Weight of phantom maps in training on real maps; chosen on 10 groups of subjects of CASME II and SMIC.
AUXILIARY_WEIGHT = 0.3

#: Share of regions hidden in training when the prediction comes from action units; chosen on phantoms.
HIDDEN = 0.2

#: Least share of AU-coded clips for a prediction from action units.
CODED = 0.5


@dataclass(frozen=True)
class Defaults:
    """Settings, and one reason for each that differs from ``StagConfig()`` and ``TrainConfig()``."""

    stag: StagConfig
    train: TrainConfig
    reasons: tuple[str, ...] = ()


def choose_settings(
    data: RoiDataset, protocol: str = "loso", stag: StagConfig | None = None, train: TrainConfig | None = None
) -> Defaults:
    """The settings of an evaluation, for the command line, Python, ablations and comparisons alike.

    Looks at the kind of the clips, never at their labels. One frame per clip: graph branch only. Flow maps of the MEGC2019
    classes: phantom maps as auxiliary training data. Several frames and most clips AU-coded: the prediction comes from
    action units alone, with more regions hidden in training (stagkit's choice; measured in BENCHMARKS.md).

    Args:
        protocol: one of ``splits.PROTOCOLS``; for ``cross`` each data set must be coded, as it is trained on alone.
        stag, train: given settings, taken unchanged.
    """
    network, training, reasons = StagConfig(), TrainConfig(), []
    if data.x.shape[1] == 1:
        network = network.replace(branches="graph")
        reasons.append("stag.branches=graph (one frame per clip: there is no time to attend to)")
    elif _is_coded(data, protocol == "cross"):
        network, training = network.replace(head="graph"), training.replace(region_dropout=HIDDEN)
        reasons.append("stag.head=graph (action units are coded: the prediction comes from them alone)")
        reasons.append(f"train.region_dropout={HIDDEN} (hidden regions must be inferred from the others)")
    if accepts_auxiliary_data(data):
        training = training.replace(auxiliary_weight=AUXILIARY_WEIGHT)
        reason = "phantom maps with known action units help small data sets"
        reasons.append(f"train.auxiliary_weight={AUXILIARY_WEIGHT} ({reason})")
    given = tuple(f"{part}." for part, settings in (("stag", stag), ("train", train)) if settings is not None)
    return Defaults(stag or network, train or training, tuple(r for r in reasons if not r.startswith(given)))


def _is_coded(data: RoiDataset, each_set: bool) -> bool:
    coded = ~np.isnan(data.aus).all(1)
    sets = [np.array(data.datasets) == name for name in set(data.datasets)] if each_set else [slice(None)]
    return all(coded[clips].mean() >= CODED for clips in sets)
