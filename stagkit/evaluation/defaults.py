"""Settings chosen by the kind of the clips, each with the reason, when the caller gives none."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import RoiDataset
from stagkit.synthetic.auxiliary import takes_phantom_maps

#: Weight of phantom maps in training on real maps; chosen on 10 groups of subjects of CASME II and SMIC.
MAP_WEIGHT = 0.3

#: Weight of phantom sequences, which teach action units alone, where too few clips are coded (stagkit's choice).
SEQUENCE_WEIGHT = 1.0

#: Least share of AU-coded clips from which action units are learned without phantoms.
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

    The network is always the same, predicting by its AU graph; what differs is what teaches it action units. Looks at the
    kind of the clips, never at their labels. One frame per clip: no part for time. Flow maps of the MEGC2019 classes:
    phantom maps beside them. Too few AU-coded clips: phantom sequences teach the action units.

    Args:
        protocol: one of ``splits.PROTOCOLS``; for ``cross`` each data set must be coded, as it is trained on alone.
        stag, train: given settings, taken unchanged.
    """
    network, training, reasons = StagConfig(), TrainConfig(), []
    if data.x.shape[1] == 1:
        network = network.replace(branches="graph")
        reasons.append("stag.branches=graph (one frame per clip: there is no time to attend to)")
    if takes_phantom_maps(data):
        training = training.replace(auxiliary_weight=MAP_WEIGHT)
        reason = "phantom maps with known action units help small data sets"
        reasons.append(f"train.auxiliary_weight={MAP_WEIGHT} ({reason})")
    elif data.unit == "% IOD" and (stag or network).head == "graph" and not _is_coded(data, protocol == "cross"):
        training = training.replace(auxiliary_weight=SEQUENCE_WEIGHT)
        reason = "too few clips are AU-coded: phantom clips teach the action units"
        reasons.append(f"train.auxiliary_weight={SEQUENCE_WEIGHT} ({reason})")
    given = tuple(f"{part}." for part, settings in (("stag", stag), ("train", train)) if settings is not None)
    return Defaults(stag or network, train or training, tuple(r for r in reasons if not r.startswith(given)))


def _is_coded(data: RoiDataset, each_set: bool) -> bool:
    coded = ~np.isnan(data.aus).all(1)
    sets = [np.array(data.datasets) == name for name in set(data.datasets)] if each_set else [slice(None)]
    return all(coded[clips].mean() >= CODED for clips in sets)
