"""Settings that suit the clips at hand, where the caller names none: what was found to help, with the reason.

Published flow maps have one frame each, and some parts of the network then have nothing to do. Clips of many frames whose
action units are coded can be answered from these alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import RoiDataset
from stagkit.synthetic.auxiliary import takes_companions

#: Weight of phantom maps beside real ones, set while looking at 10 groups of subjects of CASME II and SMIC.
BESIDE = 0.3

#: Share of regions that is hidden from a training clip that answers from action units; chosen on phantoms.
HIDDEN = 0.2

#: Least share of clips with AU codes for an answer from action units.
CODED = 0.5


@dataclass(frozen=True)
class Recipe:
    """Settings and why they are taken; ``why`` is empty where they are the defaults."""

    stag: StagConfig
    train: TrainConfig
    why: tuple[str, ...] = ()


def choose_recipe(data: RoiDataset, apart: bool = False) -> Recipe:
    """Settings of the network and its training for these clips; looks at their kind, never at their labels.

    One frame a clip: the graph branch alone, as there is no time to attend to. Flow maps of the MEGC2019 classes: phantom
    maps beside them in training. Several frames a clip and most clips AU-coded: the answer comes from action units alone,
    and more regions are hidden in training, so that the others tell of them (stagkit's choice; measured in BENCHMARKS.md).

    Args:
        data: the clips.
        apart: data sets are trained on one at a time (protocol ``cross``), so each of them has to be coded.
    """
    stag, train, why = StagConfig(), TrainConfig(), []
    if data.x.shape[1] == 1:
        stag = stag.replace(branches="graph")
        why.append("stag.branches=graph (one frame a clip: there is no time to attend to)")
    elif is_coded(data, apart):
        stag, train = stag.replace(answer="aus"), train.replace(roi_dropout=HIDDEN)
        why.append(
            "stag.answer=aus (action units are coded: they are read from all that regions and frames tell each "
            "other, and the answer comes from them alone)"
        )
        why.append(f"train.roi_dropout={HIDDEN} (hidden regions have to be told of by the others)")
    if takes_companions(data):
        train = train.replace(phantoms_beside=BESIDE)
        why.append(f"train.phantoms_beside={BESIDE} (phantom maps with known action units help where clips are few)")
    return Recipe(stag, train, tuple(why))


def choose_settings(
    data: RoiDataset, protocol: str = "loso", stag: StagConfig | None = None, train: TrainConfig | None = None
) -> Recipe:
    """The settings of an evaluation, wherever it is asked for: the command line, Python, an ablation, a comparison.

    Args:
        data: the clips.
        protocol: of the evaluation (``splits.PROTOCOLS``).
        stag, train: settings given by the caller, taken as they are; None: ``choose_recipe`` decides.
    """
    recipe = choose_recipe(data, apart=protocol == "cross")
    given = [f"{part}." for part, settings in (("stag", stag), ("train", train)) if settings is not None]
    why = tuple(line for line in recipe.why if not line.startswith(tuple(given)))
    return Recipe(stag or recipe.stag, train or recipe.train, why)


def is_coded(data: RoiDataset, apart: bool) -> bool:
    """Whether action units can be learned from these clips: ``CODED`` of them, of each data set where it stands alone."""
    coded = ~np.isnan(data.aus).all(1)
    sets = [np.array(data.datasets) == name for name in set(data.datasets)] if apart else [slice(None)]
    return all(coded[clips].mean() >= CODED for clips in sets)
