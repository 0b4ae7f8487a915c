"""Settings of motion: how it is measured, and how regions are sampled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from stagkit.core.config import Config, ranged


@dataclass(frozen=True)
class FlowConfig(Config):
    """How motion is measured and which frames are kept.

    Args:
        method: ``dis``, ``dis_fast`` (a fifth of the time, 1.6 times the error), ``tvl1`` (the field's usual one, slower),
            ``farneback``.
        stabilise: remove head motion, estimated on the nose bridge and the rigid rim of the face.
        selection: which frames are kept: largest motion, evenly spread, the one nearest the apex, or all.
        n_frames: how many at most.
        min_gap_ms: smallest time between two kept frames (``magnitude`` only); relaxed where a clip is too short.
    """

    method: Literal["dis", "dis_fast", "tvl1", "farneback"] = "dis"
    stabilise: bool = True
    selection: Literal["magnitude", "uniform", "apex", "all"] = "magnitude"
    n_frames: int = ranged(12, 1, 256)
    min_gap_ms: float = ranged(10.0, 0.0, 10_000.0)


@dataclass(frozen=True)
class RoiConfig(Config):
    """How regions are sampled: ``patch`` samples per side from a square of half side ``radius`` (IOD)."""

    patch: int = ranged(5, 1, 64)
    radius: float = ranged(0.11, 0.02, 0.5)
