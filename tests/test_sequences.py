"""Sequences without images: the same clips as drawn phantoms, and motion that points where the AUs pull."""

from dataclasses import replace

import numpy as np
import pytest

from stagkit.core.facs import AU_NUMBERS, compute_au_vector
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.explain.run import find_ground_truth
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import compute_flow, compute_rois
from stagkit.motion.rois import sample_regions
from stagkit.synthetic.clip import make_clip, make_clips, sample_motion
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.sequences import make_sequence, make_sequences

WHOLE = FlowConfig(selection="all")


@pytest.mark.parametrize("preset", ["casme2", "smic", "dfme"])
def test_they_are_the_clips_of_make_clip(preset):
    config = PhantomConfig(preset=preset, subjects=2, clips=4, difficulty=1.0, size=64)
    data = make_sequences(config, n_frames=5)
    for i, (subject, place) in enumerate((s, c) for s in range(2) for c in range(4)):
        clip = make_clip(config, subject, place, render=False)
        assert (data.clip_ids[i], data.subjects[i], data.datasets[i]) == (clip.clip_id, clip.subject, clip.dataset)
        assert data.classes[data.label[i]] == clip.label
        np.testing.assert_array_equal(data.aus[i], compute_au_vector(clip.aus))
        motion, _ = sample_motion(config, subject, place)
        assert np.array_equal(motion.intensity, clip.truth.au_intensity)
        assert (motion.onset, motion.offset, motion.fps) == (clip.onset, clip.offset, clip.fps)
        assert set(data.times_ms[i]) <= set(clip.times_ms.astype(np.float32)) - {0.0}
    truth = find_ground_truth(data, [0, 5])
    wanted = {int(code[2:4]) for code in make_clip(config, 0, 0, render=False).truth.codes}
    assert {AU_NUMBERS[k] for k in np.flatnonzero(truth.aus[0])} == wanted


def test_arrays_are_those_of_prepared_clips():
    config = PhantomConfig(subjects=2, clips=3, seed=5)
    data = make_sequences(config)
    assert data.x.shape == (6, 12, 22, 3, 5, 5) and data.unit == "% IOD" and data.mask.all()
    assert data.roi_names == ATLAS.names and data.meta["source"]["config"]["seed"] == 5
    assert (np.diff(data.times_ms) > 0).all(), "frames in their order"
    same, other = make_sequences(config), make_sequences(config.replace(seed=6))
    assert np.array_equal(data.x, same.x) and data.meta["digest"] == same.meta["digest"]
    assert not np.array_equal(data.x, other.x)
    np.testing.assert_allclose(make_sequences(config.replace(size=256)).x, data.x, atol=1e-4)


def test_without_difficulty_it_is_the_planted_field_alone():
    """The clip's own displacement, 128 px, sampled in the same regions."""
    config = PhantomConfig(difficulty=0, subjects=2, clips=6, seed=1)
    for place in range(6):
        motion, rng = sample_motion(config, 0, place)
        found = make_sequence(motion, 0.0, rng, WHOLE)
        clip = make_clip(config, 0, place, render=False)
        true = np.stack([clip.truth.displacement(t) for t in range(len(clip.frames)) if t != clip.onset])
        iod = motion.subject.look["iod"] * config.size
        wanted, _ = sample_regions(true * (100 / iod), clip.landmarks[0], 5)
        mean, expected = found.patches[:, :, :2].mean((-1, -2)), wanted.mean((-1, -2))
        np.testing.assert_allclose(mean, expected, atol=0.06 * np.abs(expected).max())
        moved = np.linalg.norm(expected, axis=-1) > 0.3
        mean, expected = mean[moved], expected[moved]
        lengths = np.linalg.norm(mean, axis=-1) * np.linalg.norm(expected, axis=-1)
        assert moved.any() and ((mean * expected).sum(-1) / lengths).min() > 0.98


def test_errors_are_as_large_as_those_of_estimated_flow():
    """Error of the regions' mean motion, % of IOD, of drawn and of modelled clips; a factor of 1.6 is allowed."""
    config = PhantomConfig(difficulty=1.0, subjects=3, clips=2, seed=11)
    drawn, modelled = [], []
    for clip in make_clips(config):
        place = int(clip.subject[-2:]) - 1, int(clip.clip_id[-3:]) - 1
        motion, rng = sample_motion(config, *place)
        clean, noisy = (make_sequence(motion, d, rng, WHOLE).patches[:, :, :2].mean((-1, -2)) for d in (0.0, 1.0))
        estimated = compute_rois(compute_flow(clip, WHOLE), clip).patches[:, :, :2].mean((-1, -2))
        drawn.append(np.sqrt(((estimated - clean) ** 2).mean()))
        modelled.append(np.sqrt(((noisy - clean) ** 2).mean()))
    assert np.median(drawn) / 1.6 < np.median(modelled) < np.median(drawn) * 1.6


def test_own_patterns_and_time_courses():
    motion, rng = sample_motion(PhantomConfig(difficulty=0), 0, 0)
    late = np.zeros((40, 2))
    late[20:30, 0], late[5:15, 1] = 1.0, 1.0
    own = replace(
        motion, pattern=((12, "L"), (4, "")), peaks=np.array([2.0, 2.0]), intensity=late, onset=0, n_coded=2,
        head=np.tile(np.eye(2, 3), (40, 1, 1)),
    )  # fmt: skip
    made = make_sequence(own, 0.0, rng, WHOLE)
    speed = np.linalg.norm(made.patches[:, :, :2].mean((-1, -2)), axis=-1)
    at = {name: speed[:, ATLAS.index(name)] for name in ("lip_corner_L", "lip_corner_R", "glabella")}
    assert at["lip_corner_L"][19:29].min() > 0.5 and not at["lip_corner_L"][4:14].any()
    assert at["lip_corner_R"].max() < 0.02, "one side only"
    assert at["glabella"][4:14].min() > 0.3 and not at["glabella"][19:29].any()
    assert {AU_NUMBERS[k] for k in np.flatnonzero(np.nan_to_num(made.aus))} == {4, 12}
    with pytest.raises(StagkitError, match="2 AUs, 1 peaks and 2 time courses"):
        make_sequence(replace(own, peaks=np.ones(1)), 0.0, rng)
