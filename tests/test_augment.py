"""Training clips as they might also have been."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.config import TrainConfig
from stagkit.core.regions import ATLAS
from stagkit.training.augment import keep_frames, make_augmented, mix_within_classes, move_regions
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


def test_regions_move_together_as_an_affine_map_of_their_centres():
    """Patches hold their own sample position, so the middle sample tells where it was read."""
    line = (torch.arange(5) + 0.5) / 5 * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    patches = torch.stack((x, y, torch.zeros(5, 5))).expand(6, 2, 22, 3, 5, 5).contiguous()
    moved = move_regions(patches, 0.05, chance())[..., 2, 2]
    assert torch.equal(moved[:, 0], moved[:, 1]), "all frames of a clip alike"
    shift = moved[:, 0, :, :2].numpy()
    assert shift.std(0).min() > 0.01, "clips differ"
    design = np.column_stack([np.ones(22), ATLAS.mean_centres])
    for clip in shift:
        solved, *_ = np.linalg.lstsq(design, clip, rcond=None)
        np.testing.assert_allclose(design @ solved, clip, atol=1e-5)


def test_a_patch_without_motion_stays_without_motion_wherever_it_is_cut():
    assert not move_regions(torch.zeros(2, 1, 22, 3, 5, 5), 0.5, chance()).any()


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_hidden_frames_leave_one_that_is_seen(share):
    mask = torch.ones(200, 6, 22, dtype=torch.bool)
    mask[:, 4:] = False
    kept = keep_frames(mask, share, chance())
    assert (kept[:, :4].sum(1) >= 1).all()
    expected = 1 - share + share**4 / 4  # the luckiest stays where all four would go
    assert kept[:, :4].float().mean() == pytest.approx(expected, abs=0.05)
    out = make_augmented(make_dataset().batch(), replace(NONE, frame_dropout=share), chance())
    assert out.mask.any(2).any(1).all() and not out.x[~out.mask].any()


def test_clips_are_mixed_with_others_of_their_class_only():
    data = make_dataset()
    data.x[:] = (np.arange(len(data)) + 1.0)[:, None, None, None, None, None]
    batch = data.batch()
    out = mix_within_classes(batch, 1.0, chance())
    assert torch.equal(out.label, batch.label)
    value, own = out.x[:, 0, 0, 0, 0, 0], batch.x[:, 0, 0, 0, 0, 0]
    assert (value != own).float().mean() > 0.5
    for c in batch.label.unique():
        of = batch.label == c
        assert (value[of] >= own[of].min()).all() and (value[of] <= own[of].max()).all()
    same = replace(batch, x=batch.label.float()[:, None, None, None, None, None].expand_as(batch.x).contiguous())
    torch.testing.assert_close(mix_within_classes(same, 1.0, chance(1)).x, same.x)


def test_a_clip_alone_in_its_class_is_mixed_with_itself():
    data = make_dataset()
    batch = data.batch(np.flatnonzero(data.label == 0)[:1])
    torch.testing.assert_close(mix_within_classes(batch, 1.0, chance()).x, batch.x)


def test_codes_are_mixed_like_motion():
    data = make_dataset()
    batch = data.batch()
    aus = torch.zeros_like(batch.aus)
    aus[:, 0] = torch.arange(len(aus)) % 2
    aus[:, 1] = torch.nan
    out = mix_within_classes(
        replace(batch, aus=aus, x=aus[:, :1, None, None, None, None].expand_as(batch.x)), 1.0, chance()
    )
    torch.testing.assert_close(out.aus[:, 0], out.x[:, 0, 0, 0, 0, 0])
    assert out.aus[:, 1].isnan().all() and not out.aus[:, 2:].any()


def test_time_runs_faster_or_slower_but_starts_at_zero():
    batch = make_dataset().batch()
    times = batch.times_ms + torch.arange(batch.times_ms.shape[1]) * 10.0
    out = make_augmented(replace(batch, times_ms=times), replace(NONE, time_warp=0.3), chance()).times_ms
    ratio = out[:, -1] / times[:, -1]
    assert ratio.std() > 0.1
    torch.testing.assert_close(out, times * ratio[:, None])
