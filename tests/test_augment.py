"""Training clips as they might also have been."""

from __future__ import annotations

import torch

from stagkit.core.config import TrainConfig
from stagkit.training.augment import make_augmented
from tests.small import make_dataset

NONE = TrainConfig(mirror=False, noise=0, region_dropout=0, scale_jitter=0)


def chance(seed=0):
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_nothing_changed():
    batch = make_dataset().batch()
    out = make_augmented(batch, NONE, chance())
    assert (
        torch.equal(out.x, batch.x) and torch.equal(out.mask, batch.mask) and torch.equal(out.times_ms, batch.times_ms)
    )
