"""Auxiliary training clips: phantoms with known action units (AUs) beside the clips that a network learns from.

Published flow maps get phantom maps, whose classes count as well. Other clips get phantom sequences, which teach AUs alone:
the only AU supervision where no clip is AU-coded (SMIC, most of what users record).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from stagkit.core.config import TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.datasets.flow_maps import CLASSES, MAP_ATLAS, make_map_dataset
from stagkit.datasets.join import join_datasets
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.flow_maps import make_maps

#: How many are made; whose AU statistics they follow in turn.
N_MAPS, MAP_PRESETS = 6000, ("casme2", "smic", "samm")
N_SEQUENCES, SEQUENCE_PRESETS = 900, ("casme2", "samm", "dfme")


def make_auxiliary(data: RoiDataset, config: TrainConfig) -> Batch | None:
    """The auxiliary batch for training on clips like ``data`` (``train.train_fold``); None if its weight is 0.

    Raises:
        StagkitError: motion in a unit of which no phantoms can be made (flow maps with other classes or regions).
    """
    if not config.auxiliary_weight:
        return None
    if takes_phantom_maps(data):
        return make_phantom_maps(N_MAPS, patch=data.x.shape[-1]).batch()
    if data.unit != "% IOD":
        raise StagkitError(
            f"train.auxiliary_weight adds phantoms: these clips are in {data.unit!r} with the classes "
            f"{', '.join(data.classes)}; expected motion in % IOD, or flow maps with {', '.join(CLASSES)}. Set it to 0."
        )
    return make_phantom_sequences(N_SEQUENCES, data.x.shape[1], data.x.shape[-1]).batch()


def takes_phantom_maps(data: RoiDataset) -> bool:
    """True for flow maps of the MEGC2019 classes with regions as in published maps."""
    return data.unit == "map" and tuple(data.classes) == CLASSES and data.meta.get("radius") == MAP_ATLAS.radius


@lru_cache(maxsize=2)
def make_phantom_maps(n_clips: int, seed: int = 0, patch: int = 5) -> RoiDataset:
    """Regions of phantom flow maps, ``patch`` samples per side; ``aus`` is 1 where an AU is planted and 0 elsewhere."""
    parts, n = [], len(MAP_PRESETS)
    for i, preset in enumerate(MAP_PRESETS):
        maps = make_maps(len(range(i, n_clips, n)), seed=seed * n + i, preset=preset)
        data = make_map_dataset(vars(maps), f"{preset} phantoms", patch)
        parts.append(replace(data, aus=(maps.au_intensity.max(2) > 0.15).astype(np.float32)))
    return replace(join_datasets(parts), meta={"source": "phantom maps", "seed": seed, "radius": MAP_ATLAS.radius})


@lru_cache(maxsize=2)
def make_phantom_sequences(n_clips: int, n_frames: int, patch: int = 5, seed: int = 0) -> RoiDataset:
    """Regions of phantom clips without images, ten per subject, of several difficulties; their class is never learned."""
    from stagkit.motion.config import RoiConfig
    from stagkit.synthetic.sequences import make_sequences

    parts = []
    for i, preset in enumerate(SEQUENCE_PRESETS):
        for j, difficulty in enumerate((0.4, 0.7, 1.0)):
            subjects = max(1, n_clips // (30 * len(SEQUENCE_PRESETS)))
            place = 7919 * (seed + 1) + 3 * i + j  # far from the seeds that people choose
            made = PhantomConfig(preset=preset, subjects=subjects, clips=10, seed=place, difficulty=difficulty)
            part = make_sequences(made, n_frames, RoiConfig(patch=patch))
            parts.append(replace(part, label=np.zeros_like(part.label), classes=("phantom",)))
    joined = join_datasets(parts, same_subjects=True)
    return replace(joined, meta={"source": "phantom sequences", "seed": seed})
