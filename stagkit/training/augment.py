"""Augmentation of training batches; every change respects anatomy. AU labels have no side and stay as they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from stagkit.core.config import TrainConfig
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Batch


def make_augmented(batch: Batch, config: TrainConfig, generator: torch.Generator) -> Batch:
    """The augmentations of ``config``, drawn for every clip; labels and sizes stay.

    Args:
        generator: on the batch's device.
    """
    x, mask, n_clips = batch.x, batch.mask, len(batch.x)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=x.device)

    if config.mirror:
        x, mask = mirror(x, mask, torch.rand(n_clips, generator=generator, device=x.device) < 0.5)
    if config.scale_jitter:
        x = x * (normal(n_clips) * config.scale_jitter).exp()[:, None, None, None, None, None]
    if config.noise:
        level = (x**2).mean((1, 2, 4, 5), keepdim=True).sqrt() * config.noise
        x = x + level * normal(*x.shape)
    if config.region_dropout:
        keep = torch.rand((n_clips, 1, mask.shape[2]), generator=generator, device=x.device) >= config.region_dropout
        mask = mask & keep
    return replace(batch, x=x * mask[..., None, None, None], mask=mask)


def mirror(x: Tensor, mask: Tensor, chosen: Tensor, atlas: RoiAtlas = ATLAS) -> tuple[Tensor, Tensor]:
    """Mirror the clips ``chosen`` (bool "batch"): patches flip, left and right regions swap, u changes its sign."""
    swap = torch.as_tensor(atlas.mirror, device=x.device)
    flipped = x[:, :, swap].flip(-1) * torch.tensor([-1.0, 1.0, 1.0], device=x.device)[:, None, None]
    return (
        torch.where(chosen[:, None, None, None, None, None], flipped, x),
        torch.where(chosen[:, None, None], mask[:, :, swap], mask),
    )
