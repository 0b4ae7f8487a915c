"""Phantom clips beside real ones in training: known action units and many people, where real clips are few.

A companion batch adds its loss, weighed by ``TrainConfig.auxiliary_weight``, to that of a batch of real clips. No real clip
takes part in making it. What no seal can hold back: the sizes of the phantoms were set by hand beside maps of CASME II and
SMIC (``stagkit.synthetic.flow_maps``), so scores on those two sets are a little optimistic (BENCHMARKS.md).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from stagkit.core.config import TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.datasets.flow_maps import CLASSES, MAP_ATLAS, cut_maps
from stagkit.synthetic.flow_maps import make_maps

#: How many phantom maps are made once and drawn from in training.
N_CLIPS = 6000

#: Presets whose statistics the companions follow, in turn.
PRESETS = ("casme2", "smic", "samm")


@lru_cache(maxsize=2)
def make_auxiliary_data(n_clips: int, seed: int = 0, patch: int = 5) -> RoiDataset:
    """Phantom flow maps cut into regions as published maps are, with every action unit known.

    Args:
        n_clips: how many, at least one of each preset.
        seed: other seeds, other people.
        patch: samples a side of a region.

    Returns:
        ``aus`` is 1 where a unit is planted and 0 elsewhere: phantoms are coded throughout.
    """
    parts = []
    for i, preset in enumerate(PRESETS):
        n = len(range(i, n_clips, len(PRESETS)))
        maps = make_maps(n, seed=seed * len(PRESETS) + i, preset=preset)
        arrays = {k: getattr(maps, k) for k in ("flow", "label", "subject", "dataset", "clip", "aus")}
        data = cut_maps(arrays, f"{preset} phantoms", patch)
        parts.append(replace(data, aus=(maps.au_intensity.max(2) > 0.15).astype(np.float32)))
    first = parts[0]
    joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("x", "mask", "times_ms", "label", "aus")}
    named = {k: sum((getattr(p, k) for p in parts), ()) for k in ("clip_ids", "subjects", "datasets")}
    return replace(
        first, **joined, **named, meta={"source": "phantom flow maps", "seed": seed, "radius": MAP_ATLAS.radius}
    )


def accepts_auxiliary_data(data: RoiDataset) -> bool:
    """Are these flow maps of the MEGC2019 classes, cut as published maps are? Only beside such can phantom maps stand."""
    return data.unit == "map" and tuple(data.classes) == CLASSES and data.meta.get("radius") == MAP_ATLAS.radius


def make_auxiliary(data: RoiDataset, config: TrainConfig) -> Batch | None:
    """The auxiliary batch of ``train.train_fold`` for these clips: ``N_CLIPS`` phantom maps; None if their weight is 0.

    Raises:
        StagkitError: a weight above 0, but other clips than those of ``accepts_auxiliary_data``.
    """
    if not config.auxiliary_weight:
        return None
    if not accepts_auxiliary_data(data):
        raise StagkitError(
            f"train.auxiliary_weight adds phantom flow maps to real ones: these clips are in {data.unit!r} with the "
            f"classes {', '.join(data.classes)}; expected flow maps with {', '.join(CLASSES)}. Set it to 0."
        )
    return make_auxiliary_data(N_CLIPS, patch=data.x.shape[-1]).batch()
