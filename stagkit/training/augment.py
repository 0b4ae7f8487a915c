"""Augmentation of training batches; every change respects anatomy. AU labels have no side and stay as they are."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from stagkit.core.config import TrainConfig
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Batch


def make_augmented(batch: Batch, config: TrainConfig, generator: torch.Generator, atlas: RoiAtlas = ATLAS) -> Batch:
    """The augmentations of ``config``, drawn for every clip; labels and sizes stay.

    Args:
        generator: on the batch's device.
    """
    if config.intra_class_mixup:
        batch = mix_within_classes(batch, config.intra_class_mixup, generator)
    x, mask, times = batch.x, batch.mask, batch.times_ms
    n_clips = len(x)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator, device=x.device)

    if config.mirror:
        x, mask = mirror(x, mask, torch.rand(n_clips, generator=generator, device=x.device) < 0.5, atlas)
    if config.region_jitter:
        x = move_regions(x, config.region_jitter, generator, atlas)
    if config.scale_jitter:
        x = x * (normal(n_clips) * config.scale_jitter).exp()[:, None, None, None, None, None]
    if config.time_warp:
        times = times * (normal(n_clips, 1) * config.time_warp).exp()
    if config.noise:
        level = (x**2).mean((1, 2, 4, 5), keepdim=True).sqrt() * config.noise
        x = x + level * normal(*x.shape)
    if config.region_dropout:
        keep = torch.rand((n_clips, 1, mask.shape[2]), generator=generator, device=x.device) >= config.region_dropout
        mask = mask & keep
    if config.frame_dropout:
        mask = mask & keep_frames(mask, config.frame_dropout, generator)[..., None]
    return replace(batch, x=x * mask[..., None, None, None], mask=mask, times_ms=times)


def mirror(x: Tensor, mask: Tensor, chosen: Tensor, atlas: RoiAtlas = ATLAS) -> tuple[Tensor, Tensor]:
    """Mirror the clips ``chosen`` (bool "batch"): patches flip, left and right regions swap, u changes its sign."""
    swap = torch.as_tensor(atlas.mirror, device=x.device)
    flipped = x[:, :, swap].flip(-1) * torch.tensor([-1.0, 1.0, 1.0], device=x.device)[:, None, None]
    return (
        torch.where(chosen[:, None, None, None, None, None], flipped, x),
        torch.where(chosen[:, None, None], mask[:, :, swap], mask),
    )


def move_regions(x: Tensor, jitter: float, generator: torch.Generator, atlas: RoiAtlas = ATLAS) -> Tensor:
    """Regions as slightly wrong landmarks would have sampled them: one small affine motion of all centres per clip.

    Patches are sampled at shifted places (bilinear, the rim repeated); the vectors in them stay as they are.

    Args:
        jitter: standard deviation, in half sides of a region, of the shift, and of the shift that stretch and rotation
            give a region 1 IOD away.
    """
    n_clips, n_frames, _, _, py, px = x.shape
    centres = torch.as_tensor(atlas.mean_centres, dtype=x.dtype, device=x.device)
    centres = centres - centres.mean(0)
    drawn = torch.randn((n_clips, 6), generator=generator, device=x.device) * jitter
    shift = drawn[:, None, :2] + torch.einsum("bij,rj->bri", drawn[:, 2:].reshape(-1, 2, 2), centres)
    lines = [(torch.arange(n, device=x.device) + 0.5) / n * 2 - 1 for n in (py, px)]
    y, x_line = torch.meshgrid(*lines, indexing="ij")
    where = torch.stack((x_line, y), -1) + shift[:, :, None, None, :]  # "batch roi py px 2"
    where = where[:, None].expand(-1, n_frames, -1, -1, -1, -1).reshape(-1, py, px, 2)
    moved = grid_sample(x.reshape(-1, 3, py, px), where, padding_mode="border", align_corners=False)
    return moved.reshape(x.shape)


def keep_frames(mask: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which frames stay when a ``share`` of them is hidden: bool "batch time"; at least one visible frame per clip."""
    visible = mask.any(2)
    drawn = torch.rand(visible.shape, generator=generator, device=mask.device).masked_fill(~visible, -1.0)
    return (drawn >= share) | (drawn == drawn.amax(1, keepdim=True))


def mix_within_classes(batch: Batch, strength: float, generator: torch.Generator) -> Batch:
    """Each clip joined with another of its class: motions are added with weights that sum to 1, labels stay.

    AU codes are weighted alike (NaN if either is), and a region is visible where both are. Mixup (Zhang et al. 2018,
    arXiv:1710.09412) inside the classes. The partner's weight is uniform between 0 and half of ``strength`` (0..1).
    """
    order = torch.randperm(len(batch.label), generator=generator, device=batch.label.device)
    by_class = order[batch.label[order].argsort(stable=True)]  # clips of a class stand together, in random order
    starts = torch.searchsorted(batch.label[by_class], batch.label[by_class])
    sizes = torch.bincount(batch.label)[batch.label[by_class]]
    place = torch.arange(len(by_class), device=by_class.device)
    partner = torch.empty_like(by_class)
    partner[by_class] = by_class[starts + (place - starts + 1) % sizes]
    weight = torch.rand(len(order), generator=generator, device=batch.x.device) * strength / 2
    share = weight[:, None, None, None, None, None]
    return replace(
        batch,
        x=(1 - share) * batch.x + share * batch.x[partner],
        mask=batch.mask & batch.mask[partner],
        aus=(1 - weight[:, None]) * batch.aus + weight[:, None] * batch.aus[partner],
    )
