"""Phantom flow maps as auxiliary training clips: known action units and many subjects, where real clips are few.

Their sizes were tuned on the maps of CASME II and SMIC, so scores on these two sets are slightly optimistic (BENCHMARKS.md).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from stagkit.core.config import TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.datasets.flow_maps import CLASSES, MAP_ATLAS, make_map_dataset
from stagkit.synthetic.flow_maps import make_maps

#: How many phantom maps are made, and whose statistics they follow in turn.
N_CLIPS, PRESETS = 6000, ("casme2", "smic", "samm")


@lru_cache(maxsize=2)
def make_auxiliary_data(n_clips: int, seed: int = 0, patch: int = 5) -> RoiDataset:
    """Regions of phantom flow maps, with every action unit known.

    Args:
        n_clips: at least one per preset.
        seed: other seeds give other subjects.
        patch: samples per side of a region.

    Returns:
        ``aus`` is 1 where an AU is planted and 0 elsewhere.
    """
    parts = []
    for i, preset in enumerate(PRESETS):
        maps = make_maps(len(range(i, n_clips, len(PRESETS))), seed=seed * len(PRESETS) + i, preset=preset)
        arrays = {k: getattr(maps, k) for k in ("flow", "label", "subject", "dataset", "clip", "aus")}
        data = make_map_dataset(arrays, f"{preset} phantoms", patch)
        parts.append(replace(data, aus=(maps.au_intensity.max(2) > 0.15).astype(np.float32)))
    joined = {k: np.concatenate([getattr(p, k) for p in parts]) for k in ("x", "mask", "times_ms", "label", "aus")}
    named = {k: sum((getattr(p, k) for p in parts), ()) for k in ("clip_ids", "subjects", "datasets")}
    meta = {"source": "phantom flow maps", "seed": seed, "radius": MAP_ATLAS.radius}
    return replace(parts[0], **joined, **named, meta=meta)


def accepts_auxiliary_data(data: RoiDataset) -> bool:
    """True for flow maps of the MEGC2019 classes with regions as in published maps."""
    return data.unit == "map" and tuple(data.classes) == CLASSES and data.meta.get("radius") == MAP_ATLAS.radius


def make_auxiliary(data: RoiDataset, config: TrainConfig) -> Batch | None:
    """The auxiliary batch of ``train.train_fold`` for these clips: ``N_CLIPS`` phantom maps; None if their weight is 0.

    Raises:
        StagkitError: a weight above 0 for clips that are not accepted (``accepts_auxiliary_data``).
    """
    if not config.auxiliary_weight:
        return None
    if not accepts_auxiliary_data(data):
        raise StagkitError(
            f"train.auxiliary_weight adds phantom flow maps to real ones: these clips are in {data.unit!r} with the "
            f"classes {', '.join(data.classes)}; expected flow maps with {', '.join(CLASSES)}. Set it to 0."
        )
    return make_auxiliary_data(N_CLIPS, patch=data.x.shape[-1]).batch()
