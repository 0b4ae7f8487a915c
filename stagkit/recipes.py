"""Settings that suit the clips at hand, where the caller names none: what was found to help, with the reason.

The defaults of ``StagConfig`` and ``TrainConfig`` are for clips of many frames. Published flow maps have one frame each,
and some parts of the network then have nothing to do.
"""

from __future__ import annotations

from dataclasses import dataclass

from stagkit.companions import takes_companions
from stagkit.config import StagConfig, TrainConfig
from stagkit.types import RoiDataset

#: Weight of phantom maps beside real ones, set while looking at 10 groups of subjects of CASME II and SMIC.
BESIDE = 0.3


@dataclass(frozen=True)
class Recipe:
    """Settings and why they are taken; ``why`` is empty where they are the defaults."""

    stag: StagConfig
    train: TrainConfig
    why: tuple[str, ...] = ()


def choose_recipe(data: RoiDataset) -> Recipe:
    """Settings of the network and its training for these clips; looks at their kind, never at their labels.

    One frame a clip: the graph branch alone, as there is no time to attend to. Flow maps of the MEGC2019 classes: phantom
    maps beside them in training (stagkit's choice; measured in BENCHMARKS.md).
    """
    stag, train, why = StagConfig(), TrainConfig(), []
    if data.x.shape[1] == 1:
        stag = stag.replace(branches="graph")
        why.append("stag.branches=graph (one frame a clip: there is no time to attend to)")
    if takes_companions(data):
        train = train.replace(phantoms_beside=BESIDE)
        why.append(f"train.phantoms_beside={BESIDE} (phantom maps with known action units help where clips are few)")
    return Recipe(stag, train, tuple(why))
