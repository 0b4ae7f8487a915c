"""Phantoms: what was planted is what moves, to a fraction of a pixel; nothing else does."""

import tracemalloc
from collections import deque
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError, inter_ocular_distance
from stagkit.synthetic import clip as phantom
from stagkit.synthetic.clip import make_clip, make_clips, make_label
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.identity import make_shape, make_subject
from stagkit.synthetic.presets import AU_PATTERNS, PRESETS, load_au_statistics, sample_au_pattern, sample_faint_au
from stagkit.synthetic.render import frames as phantom_frames
from stagkit.synthetic.render.face import draw_face, make_pixels, render_neutral, render_still
from stagkit.synthetic.render.frames import ClipSpec, find_visible, make_wrinkles, render_frames
from stagkit.synthetic.skin_motion import (
    IncidentalMotion,
    compute_au_displacement,
    compute_coactivation,
    find_displacement,
    make_au_field,
    make_grid,
    make_habits,
    make_head_motion,
    make_intensity,
)

SYMMETRIC = make_shape(np.random.default_rng(0), spread=0.0) * 53 + (63.5, 50)


def _clip(subject=0, clip=0, **settings):
    return make_clip(PhantomConfig(**{"difficulty": 0.0, "size": 96, **settings}), subject, clip)


def _at(field, place):
    """Displacement at a region's centre of the symmetric face."""
    x, y = ATLAS.centres(SYMMETRIC)[ATLAS.index(place)].round().astype(int)
    return field[:, y, x]


def _grey(frame):
    return (frame @ [0.299, 0.587, 0.114] if frame.ndim == 3 else frame).astype(float)


# --- fields ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", AU_NUMBERS)
def test_field_moves_every_region_as_facs_says(number):
    field = make_au_field(number, "", SYMMETRIC, 128, peak=2.0)
    directions = ATLAS.directions[AU_NUMBERS.index(number)]
    for roi, wanted in zip(ATLAS.names, directions, strict=True):
        got = _at(field, roi)
        if np.linalg.norm(wanted) >= 0.3:
            assert got @ wanted > 0.8 * np.linalg.norm(got) * np.linalg.norm(wanted) > 0, roi
    assert np.linalg.norm(field, axis=0).max() == pytest.approx(0.02 * 53, rel=0.03)
    assert not field[:, :, :8].any() and not field[:, :8].any(), "the background moved"
    if number not in (9, 4):
        x, y = SYMMETRIC[28].round().astype(int)
        assert not field[:, y - 1 : y + 2, x - 1 : x + 2].any(), "the nose bridge moved"


def test_directions_in_the_picture():
    smile, frown = (make_au_field(n, "", SYMMETRIC, 128) for n in (12, 4))
    assert _at(smile, "lip_corner_L")[0] > 0 > _at(smile, "lip_corner_L")[1], "subject's left: right and up"
    assert _at(smile, "lip_corner_R")[0] < 0 and _at(smile, "lip_corner_R")[1] < 0
    assert _at(frown, "brow_inner_R")[1] > 0 and _at(frown, "brow_inner_R")[0] > 0, "down and towards the midline"


def test_sides_are_the_subjects():
    left = make_au_field(12, "L", SYMMETRIC, 128)
    x_middle = 63
    assert np.linalg.norm(left[:, :, x_middle + 8 :], axis=0).max() > 0.5
    assert not left[:, :, : x_middle - 8].any(), "AU12L moved the left of the picture, the subject's right"


@pytest.mark.parametrize("number", [n for n in AU_NUMBERS if ACTION_UNITS[n].sided])
def test_both_sides_together_are_the_bilateral_unit(number):
    both, left, right = (make_au_field(number, side, SYMMETRIC, 128) for side in ("", "L", "R"))
    np.testing.assert_allclose(left + right, both, atol=1e-6)
    np.testing.assert_allclose(left, right[:, :, ::-1] * np.float32([-1, 1])[:, None, None], atol=1e-5)


@pytest.mark.parametrize("number", AU_NUMBERS)
def test_bilateral_field_of_a_symmetric_face_is_symmetric(number):
    field = make_au_field(number, "", SYMMETRIC, 128)
    np.testing.assert_allclose(field[0], -field[0, :, ::-1], atol=1e-5)
    np.testing.assert_allclose(field[1], field[1, :, ::-1], atol=1e-5)


def test_unknown_units_and_sides_are_refused():
    with pytest.raises(StagkitError, match="AU 3 cannot be drawn"):
        make_au_field(3, "", SYMMETRIC, 128)
    with pytest.raises(StagkitError, match="subject's sides"):
        make_au_field(12, "left", SYMMETRIC, 128)
    with pytest.raises(StagkitError, match="midline"):
        make_au_field(17, "L", SYMMETRIC, 128)


def test_grid_and_points_agree_whatever_the_sampling():
    field = make_au_field(12, "", SYMMETRIC, 128)
    fine = make_au_field(12, "", SYMMETRIC, 128, per_pixel=2)
    np.testing.assert_allclose(fine.reshape(2, 128, 2, 128, 2).mean((2, 4)), field, atol=0.01)
    points = np.array([[40.0, 91.0], [88.0, 90.0]])
    wanted = field[:, [91, 90], [40, 88]].T
    np.testing.assert_allclose(compute_au_displacement(12, "", SYMMETRIC, points), wanted, atol=1e-6)


# --- exactness ---------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(sorted(PRESETS)), st.integers(0, 2**31), st.floats(0, 1))
def test_any_pattern_is_invertible(preset, seed, difficulty):
    rng, preset = np.random.default_rng(seed), PRESETS[preset]
    landmarks = make_shape(rng) * 40 + (47.5, 38)
    _, pattern = sample_au_pattern(preset, str(rng.choice(preset.classes)), difficulty, rng)
    unit = np.stack([make_au_field(n, s, landmarks, 96) for n, s in pattern])
    peaks = phantom.limit_strain(
        unit, phantom._draw_peaks(preset, difficulty, pattern, len(pattern), make_habits(difficulty, rng), rng)
    )
    share = peaks * rng.choice([0.0, 1.0, rng.random()], len(peaks))
    (u_y, u_x), (v_y, v_x) = (np.gradient(part) for part in np.tensordot(share, unit, axes=1))
    assert ((1 + u_x) * (1 + v_y) - u_y * v_x).min() > 0.15, "the Jacobian: at 0 the skin folds"

    fine = np.stack([make_au_field(n, s, landmarks, 96, per_pixel=2) for n, s in pattern])
    back = _invert(np.tensordot(share, fine, axes=1).astype(np.float32), 96)
    moves = [compute_au_displacement(n, s, landmarks, back, p) for (n, s), p in zip(pattern, share, strict=True)]
    np.testing.assert_allclose(back + sum(moves), make_grid(96), atol=0.03)


def _invert(field, size):
    places = make_pixels(size)
    moved = find_displacement(field, *places, per_pixel=field.shape[1] / size)
    return np.stack([place - m for place, m in zip(places, moved, strict=True)], -1)


def test_a_field_that_folds_is_refused():
    field = make_au_field(7, "", SYMMETRIC, 128, peak=40.0)
    with pytest.raises(StagkitError, match="folds the skin"):
        _invert(field, 128)


@pytest.mark.parametrize("preset", ["casme2", "samm", "dfme"])
def test_planted_dots_arrive_where_truth_says(preset, monkeypatch):
    """The face is replaced by a sheet of bright dots; their centroids are measured in the finished 8-bit frames."""
    config = PhantomConfig(preset=preset, difficulty=0, confounder="head shift")
    face = draw_face(phantom.sample_identity(config, 0), 128)
    n, spacing = face.skin.shape[0], 8 * face.per_pixel
    line = np.arange(n)
    ridge = np.exp(-(((line + spacing / 2) % spacing - spacing / 2) ** 2) / (2 * (0.8 * face.per_pixel) ** 2))
    sheet = np.dstack([20 + 220 * np.outer(ridge, ridge)[..., None].repeat(3, 2), np.ones((n, n))]).astype(np.float32)
    monkeypatch.setattr(phantom, "draw_face", lambda *_: replace(face, skin=sheet))
    clip = next(c for c in (make_clip(config, 0, i) for i in range(7)) if c.truth.confounder)
    truth, t = clip.truth, clip.apex

    centres = (np.arange(0, n, spacing) - (face.per_pixel - 1) / 2) / face.per_pixel - face.margin
    dots = np.stack(np.meshgrid(centres, centres), -1).reshape(-1, 2)
    dots = dots[((dots > 8) & (dots < 119)).all(1)]
    moved = [map_coordinates(f, dots.T[::-1], order=3) for f in truth.displacement(t)]
    wanted = (dots + np.stack(moved, -1)) @ truth.head[t, :, :2].T + truth.head[t, :, 2]
    frame, errors = _grey(clip.frames[t]) - 20, []
    for x, y in wanted:
        left, top = round(x) - 4, round(y) - 4
        window = frame[top : top + 9, left : left + 9].clip(0)
        yy, xx = np.mgrid[:9, :9]
        weight = window * np.exp(-((xx + left - x) ** 2 + (yy + top - y) ** 2) / 8)
        errors.append(((weight * (xx + left)).sum() / weight.sum() - x, (weight * (yy + top)).sum() / weight.sum() - y))
    assert np.linalg.norm(truth.displacement(t), axis=0).max() > 0.4, "nothing moved: the test would be empty"
    errors = np.linalg.norm(errors, axis=1)
    assert np.median(errors) < 0.015 and errors.max() < 0.05, (np.median(errors), errors.max())


@pytest.mark.parametrize("clip", [0, 1, 2])
def test_optical_flow_of_the_picture_is_the_planted_displacement(clip):
    """Undo the planted displacement and measure what motion is left, by least squares in small windows."""
    clip = _clip(1, clip, preset="dfme", size=128)
    truth, t = clip.truth, clip.apex
    flow = truth.displacement(t).astype(float)
    before, after = _grey(truth.neutral), _grey(clip.frames[t])
    y, x = np.mgrid[: len(before), : len(before)]
    undone = map_coordinates(after, [y + flow[1], x + flow[0]], order=5, mode="nearest")
    slope_y, slope_x = np.gradient((before + undone) / 2)
    xx, xy, yy, xt, yt = (
        cv2.GaussianBlur(p, (0, 0), 2.5)
        for p in (slope_x**2, slope_x * slope_y, slope_y**2, slope_x * (before - undone), slope_y * (before - undone))
    )
    det = xx * yy - xy**2
    left = np.hypot((yy * xt - xy * yt), (xx * yt - xy * xt)) / np.maximum(det, 1e-6)
    skin = cv2.erode(truth.visible[t].astype(np.uint8), np.ones((15, 15))) > 0
    where = skin & truth.moved(t, 0.3) & (det > 500)
    assert where.sum() > 50
    assert np.median(left[where]) < 0.02 and np.percentile(left[where], 95) < 0.05


def test_landmarks_ride_on_the_skin_and_the_head():
    clip = _clip(difficulty=1.0)
    still = clip.truth
    landmarks = draw_face(phantom.sample_identity(PhantomConfig(size=96), 0), 96).landmarks
    for t in (0, clip.apex, len(clip.frames) - 1):
        moved = [map_coordinates(f, landmarks.T[::-1], order=3) for f in still.displacement(t)]
        wanted = (landmarks + np.stack(moved, -1)) @ still.head[t, :, :2].T + still.head[t, :, 2]
        np.testing.assert_allclose(clip.landmarks[t], wanted, atol=0.02)


# --- clips -------------------------------------------------------------------------------------------------------


def test_same_settings_same_pixels_in_any_order():
    config = PhantomConfig(preset="4dme", size=64, subjects=2, clips=2)
    together = list(make_clips(config))
    alone = make_clip(config, 1, 1)
    assert np.array_equal(together[3].frames, alone.frames) and alone.clip_id == "sub02_002"
    assert np.array_equal(make_clip(config.replace(subjects=9, clips=9), 1, 1).frames, alone.frames)
    assert not np.array_equal(together[2].frames[0], alone.frames[0])
    assert [c.subject for c in together] == ["4dme-phantom/sub01"] * 2 + ["4dme-phantom/sub02"] * 2


def test_clips_leave_nothing_behind_in_memory():
    config = PhantomConfig(size=48, subjects=2, clips=6, difficulty="real")
    deque(make_clips(config), maxlen=0)  # what is remembered of these two people is remembered now
    tracemalloc.start()
    try:
        one = max(clip.frames.nbytes for clip in make_clips(config))
        before = tracemalloc.get_traced_memory()[0]
        deque(make_clips(config), maxlen=0)
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 0.2 * one, f"12 clips left {grown} bytes"
    remembered = (draw_face, phantom_frames._remember_field, phantom._move_landmarks, phantom_frames.draw_occlusion)
    assert all(keep.cache_info().maxsize for keep in remembered), "other people push them out"


def test_without_difficulty_only_the_planted_motion_is_there():
    clip = _clip()
    truth = clip.truth
    still = ~truth.au_intensity.any(1)
    assert still[: clip.onset + 1].all() and still[clip.offset :].all() and not still[clip.apex]
    assert all(np.array_equal(frame, truth.neutral) for frame in clip.frames[still])
    assert (truth.head == np.eye(2, 3)).all() and np.array_equal(clip.landmarks[0], clip.landmarks[clip.onset])
    far = np.linalg.norm(truth.fields, axis=1).max(0) == 0
    assert far.mean() > 0.3
    moved = np.abs(clip.frames[clip.apex].astype(int) - truth.neutral).max(-1) > 1
    assert moved.any() and not (moved & (cv2.erode(far.astype(np.uint8), np.ones((7, 7))) > 0)).any()


def test_difficulty_brings_noise_and_head_motion():
    clip = _clip(difficulty=1.0)
    assert np.abs(clip.frames[1].astype(int) - clip.frames[0]).mean() > 1
    assert np.array_equal(clip.truth.head[0], np.eye(2, 3)) and not np.allclose(clip.truth.head[-1], np.eye(2, 3))


@pytest.mark.parametrize("preset", PRESETS)
def test_presets(preset):
    asked, config = PRESETS[preset], PhantomConfig(preset=preset, subjects=3, clips=14, size=48)
    labels = [[make_label(config, s, c) for c in range(14)] for s in range(3)]
    assert all(set(row[: len(asked.classes)]) == set(asked.classes) for row in labels)
    clip = make_clip(config, 2, 13)
    assert clip.label == labels[2][13] and clip.dataset == f"{preset}-phantom"
    assert clip.frames.ndim == (4 if asked.colour else 3) and clip.fps in asked.fps
    assert len(clip.frames) <= phantom.MAX_FRAMES
    assert 0 < clip.onset < clip.apex < clip.offset < len(clip.frames) - 1
    assert (clip.aus is None) == (preset == "smic")
    if clip.aus is not None:
        assert tuple(map(str, clip.aus)) == clip.truth.codes
    iod = inter_ocular_distance(clip.landmarks[0])
    assert 0.38 * 48 < iod < 0.44 * 48
    peaks = np.linalg.norm(clip.truth.fields, axis=1).max((1, 2)) / iod * 100
    assert (peaks > 0.25).all() and (peaks < 3.05).all()
    assert clip.apex == (clip.truth.au_intensity @ peaks).argmax()


def test_truth_is_complete_and_consistent():
    clip = next(c for c in (_clip(0, i) for i in range(9)) if len(c.truth.codes) > 1)
    truth = clip.truth
    assert truth.au_intensity.max(0) == pytest.approx(1.0) and truth.au_intensity.min() == 0
    np.testing.assert_allclose(truth.coactivation, truth.coactivation.T)
    assert (np.diag(truth.coactivation) == 1).all() and (truth.coactivation > 0.5).all()
    np.testing.assert_allclose(
        truth.displacement(clip.apex), np.einsum("k,kcyx->cyx", truth.au_intensity[clip.apex], truth.fields), atol=1e-5
    )
    assert not truth.visible[0].all() and truth.visible[0].mean() > 0.95, "the openings of the eyes are not skin"
    assert truth.neutral.dtype == np.uint8 and truth.neutral.shape == clip.frames.shape[1:]


def test_a_blink_hides_the_lids():
    config = PhantomConfig(preset="4dme", size=48, difficulty=1.0, clips=60)
    clips = (make_clip(config, 0, i) for i in range(60))
    clip = next(c for c in clips if len({v.sum() for v in c.truth.visible}) > 1)
    hidden = (~clip.truth.visible).sum((1, 2))
    assert hidden.max() > 1.5 * hidden.min()


def test_unilateral_share_is_the_published_one():
    rng, preset = np.random.default_rng(0), PRESETS["samm"]
    codes = [
        c for _ in range(800) for c in sample_au_pattern(preset, "positive", 1.0, rng)[1] if ACTION_UNITS[c[0]].sided
    ]
    assert np.mean([bool(side) for _, side in codes]) == pytest.approx(preset.unilateral, abs=0.05)


@pytest.mark.parametrize("confounder", ["head shift", "brightness", "background mark"])
def test_the_confounder_goes_with_one_class_and_is_recorded(confounder):
    config = PhantomConfig(size=48, difficulty=0, confounder=confounder, clips=3)
    honest = config.replace(confounder="none")
    for i in range(3):
        clip, plain = make_clip(config, 0, i), make_clip(honest, 0, i)
        confounded = clip.label == PRESETS["casme2"].classes[0]
        assert clip.truth.confounder == (confounder if confounded else "") and plain.truth.confounder == ""
        assert np.array_equal(clip.frames, plain.frames) != confounded
        if confounded and confounder == "head shift":
            assert clip.truth.head[-1, 0, 2] == pytest.approx(0.04 * inter_ocular_distance(clip.landmarks[0]), rel=1e-3)
        elif confounded and confounder == "background mark":
            assert (clip.frames[:, 2:4, 2:4] == 235).all() and np.array_equal(clip.frames[:, 5:], plain.frames[:, 5:])
        elif confounded:
            assert clip.frames[-1].mean() > 1.05 * plain.frames[-1].mean()


def test_a_clip_out_of_range_is_refused():
    with pytest.raises(StagkitError, match="subject 8 was asked for, expected 0 to 7"):
        make_clip(PhantomConfig(), 8, 0)


# --- patterns --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_every_class_has_patterns_from_textbook_to_data(preset):
    rng = np.random.default_rng(0)
    for label, emotions in PRESETS[preset].emotions.items():
        for difficulty in (0.0, 1.0):
            for _ in range(20):
                emotion, pattern = sample_au_pattern(PRESETS[preset], label, difficulty, rng)
                numbers = tuple(n for n, _ in pattern)
                assert emotion in emotions and 1 <= len(set(numbers)) == len(numbers) <= 5
                if difficulty == 0:
                    assert numbers in {tuple(sorted(p)) for p, _ in AU_PATTERNS[emotion]}
    with pytest.raises(StagkitError, match="has no class 'joy'"):
        sample_au_pattern(PRESETS[preset], "joy", 0.5, rng)


def test_drawn_patterns_follow_the_counted_statistics():
    rng, preset = np.random.default_rng(0), PRESETS["dfme"]
    shares, n_clips, lift = load_au_statistics(("DFME",))
    at = AU_NUMBERS.index
    assert n_clips["surprise"] == 447 and shares["surprise"][at(2)] == pytest.approx(345 / 447)
    assert lift[at(1), at(2)] > 3 and lift[at(6), at(12)] > 3 and lift[at(4), at(12)] < 0.5
    drawn = [{n for n, _ in sample_au_pattern(preset, "disgust", 1.0, rng)[1]} for _ in range(1500)]
    for number in (4, 7, 12):
        assert np.mean([number in d for d in drawn]) == pytest.approx(shares["disgust"][at(number)], abs=0.12)


# --- faces -------------------------------------------------------------------------------------------------------


def test_subjects_are_themselves_and_differ():
    pictures = [render_neutral(make_subject(seed), 64)[0] for seed in range(5)]
    again, landmarks = render_neutral(make_subject(3), 64)
    assert np.array_equal(again, pictures[3]) and landmarks.shape == (68, 2)
    assert again.shape == (64, 64, 3) and again.dtype == np.float32 and 0 <= again.min() < again.max() <= 255
    for i in range(5):
        for j in range(i):
            assert np.abs(pictures[i] - pictures[j]).mean() > 6
            assert np.abs(make_subject(i).face - make_subject(j).face).max() > 0.02
    with pytest.raises(StagkitError, match="48 to 1024"):
        render_neutral(make_subject(0), 20)


def test_a_subject_is_the_same_person_at_any_size():
    small, large = (render_neutral(make_subject(5), size)[0] for size in (64, 192))
    shrunk = cv2.resize(large, (64, 64), interpolation=cv2.INTER_AREA)
    assert np.corrcoef(shrunk.ravel(), small.ravel())[0, 1] > 0.97


@pytest.mark.parametrize("seed", range(3))
def test_skin_has_texture_for_optical_flow_everywhere(seed):
    subject = make_subject(seed)
    picture, landmarks = render_neutral(subject, 128)
    grey = _grey(picture)
    detail = grey - cv2.GaussianBlur(grey, (0, 0), 4)
    for x, y in ATLAS.centres(landmarks).round().astype(int):
        assert detail[y - 4 : y + 5, x - 4 : x + 5].std() > 1.0


# --- courses -----------------------------------------------------------------------------------------------------


def test_intensity_rises_and_falls_between_onset_and_offset():
    course = make_intensity(50, 5.0, 20, 44.5)
    assert not course[:6].any() and not course[45:].any() and course[20] == 1.0
    assert (np.diff(course[5:21]) > 0).all() and (np.diff(course[20:45]) < 0).all()
    with pytest.raises(StagkitError, match="expected onset < apex < offset"):
        make_intensity(50, 20, 10, 40)


def test_coactivation_of_courses():
    early, late = make_intensity(60, 2, 10, 25), make_intensity(60, 30, 40, 55)
    overlap = compute_coactivation(np.stack([early, late, early * 0.5], -1))
    assert overlap[0, 1] == 0 and overlap[0, 2] == pytest.approx(1.0) and (np.diag(overlap) == 1).all()


def test_head_motion_starts_at_rest_and_can_be_off():
    rng = np.random.default_rng(0)
    path = make_head_motion(40, SYMMETRIC, rng, 2.0, 0.5, 0.5)
    np.testing.assert_allclose(path[0], np.eye(2, 3), atol=1e-12)
    assert 0.05 < np.abs(path[:, :, 2]).max() < 10
    assert (make_head_motion(40, SYMMETRIC, rng, 0, 0, 0) == np.eye(2, 3)).all()


# --- life and occlusion ----------------------------------------------------------------------------------------------


def _scene(pattern=((12, ""),), difficulty=1.0, size=96, **extra):
    face = draw_face(make_subject(1), size)
    course = make_intensity(9, 0, 4, 8)[:, None].repeat(len(pattern), 1)
    still = IncidentalMotion(np.zeros((9, 2)), np.zeros(9), np.zeros(9))
    head = np.tile(np.eye(2, 3), (9, 1, 1))
    return ClipSpec(face, pattern, np.full(len(pattern), 2.0), course, head, extra.pop("incidental", still), **extra)


def test_folds_lie_across_the_direction_in_which_skin_is_pressed():
    face, (y, x) = draw_face(make_subject(1), 96), np.mgrid[:96, :96].astype(np.float32)
    pressed = np.stack([-0.2 * (x - 48), 0 * y])  # towards the middle from left and right
    folds = make_wrinkles(pressed, face)
    assert folds.min() > 0 and folds.max() <= 0.5
    across, along = (np.abs(np.diff(folds, axis=axis)).mean() for axis in (1, 0))
    assert across > 3 * along, "lines run up and down: brightness changes along x"
    assert not make_wrinkles(-pressed, face).any(), "stretched skin has no folds"
    assert not make_wrinkles(0 * pressed, face).any()


def test_folds_darken_only_where_an_au_folds_the_skin():
    plain, folded = (np.stack(list(render_frames(_scene(((4, ""),), wrinkles=w))[1])) for w in (0.0, 1.0))
    change = np.abs(folded - plain).max(-1)
    assert not change[0].any() and change[4].max() > 2
    assert not change[4][96 // 2 :].any(), "a frown folds nothing below the eyes"


def test_a_dropped_jaw_opens_a_dark_gap_that_hides_the_skin():
    scene = _scene(((26, ""),))
    neutral, pictures = render_frames(scene)
    pictures = np.stack(list(pictures))
    visible, (x, y) = find_visible(scene), scene.face.landmarks[[62, 66]].mean(0).round().astype(int)
    assert visible[0, y, x] and not visible[4, y, x]
    assert pictures[4, y - 2 : y + 4, x].mean(1).min() < 0.9 * neutral[y - 2 : y + 4, x].mean(1).min()
    assert visible[4].sum() < visible[0].sum() and not scene.parting[0] and scene.parting[4] > 0.5
    closed = _scene(((12, ""),))
    assert not closed.parting.any() and np.array_equal(find_visible(closed)[4], find_visible(closed)[0])


def test_a_swallow_moves_the_neck_and_nothing_else():
    swallow = IncidentalMotion(np.zeros((9, 2)), np.zeros(9), make_intensity(9, 0, 4, 8))
    scene = _scene(incidental=swallow)
    still, pictures = (list(render_frames(s)[1]) for s in (_scene(), scene))
    change = np.abs(pictures[4] - still[4]).max(-1) > 0.5
    jaw = scene.face.landmarks[:17]
    rows, columns = np.nonzero(change)
    assert len(rows) and (rows > np.interp(columns, *jaw.T)).all()
    assert not find_visible(scene)[4][change].any()


@pytest.mark.parametrize("occlusion", ["glasses", "fringe"])
def test_an_occlusion_is_drawn_rides_on_the_head_and_hides_the_skin(occlusion):
    config = PhantomConfig(size=96, difficulty="clean")
    bare, worn = make_clip(config, 0, 0), make_clip(config.replace(occlusion=occlusion), 0, 0)
    changed = (np.abs(worn.frames[0].astype(int) - bare.frames[0]) > 12).any(-1)
    hidden = ~worn.truth.visible[0]
    assert 0.01 < changed.mean() < 0.35 and hidden[changed].mean() > 0.99
    assert worn.truth.visible[0].mean() < bare.truth.visible[0].mean()
    assert np.array_equal(worn.truth.fields, bare.truth.fields)
    assert np.array_equal(worn.frames[0], worn.truth.neutral), "the face at rest wears it too"


def test_blinks_and_glances_change_the_eyes_only():
    face = draw_face(make_subject(1), 96)
    opening = 1 - face.sample(face.opacity, *make_pixels(96))
    open_, shut, aside = (render_still(face, *eye) for eye in (((0, 0), 0), ((0, 0), 1), ((0.03, 0), 0)))
    for changed in (np.abs(shut - open_).max(-1) > 1, np.abs(aside - open_).max(-1) > 1):
        assert changed.any() and (opening[changed] > 0).all()
    assert (shut.std(), aside.std()) != (open_.std(), open_.std())


def test_words_for_difficulty():
    assert PhantomConfig(difficulty="clean").difficulty == 0 and PhantomConfig(difficulty="real").difficulty == 1
    assert PhantomConfig(difficulty="real").digest() == PhantomConfig(difficulty=1.0).digest()
    with pytest.raises(StagkitError, match="clean, default, real"):
        PhantomConfig(difficulty="hard")


def test_habits_belong_to_a_person_and_vanish_without_difficulty():
    none = make_habits(0.0, np.random.default_rng(0))
    assert (none.gain == 1).all() and none.left == 0.5 and none.blinks == 1
    sides = [make_habits(1.0, np.random.default_rng(i)).left for i in range(200)]
    assert 0.1 <= min(sides) < 0.3 and 0.7 < max(sides) <= 0.9 and np.mean(sides) == pytest.approx(0.5, abs=0.05)
    rng, preset = np.random.default_rng(0), PRESETS["samm"]
    drawn = [
        side for _ in range(400) for _, side in sample_au_pattern(preset, "negative", 1.0, rng, left=0.9)[1] if side
    ]
    assert np.mean([side == "L" for side in drawn]) == pytest.approx(0.9, abs=0.06)


def test_a_window_is_inverted_like_the_whole_picture():
    fine = make_au_field(12, "", SYMMETRIC, 128, peak=2.0, per_pixel=2)
    x, y = make_pixels(128)
    whole = find_displacement(fine, x, y, per_pixel=2)
    part = find_displacement(fine, x[60:110, 20:100].copy(), y[60:110, 20:100].copy(), per_pixel=2)
    np.testing.assert_allclose(np.array(part), np.array(whole)[:, 60:110, 20:100], atol=0.01)


def test_every_action_unit_reaches_its_peak_in_a_frame():
    clip = next(c for c in (_clip(0, i) for i in range(9)) if len(c.truth.codes) > 1)
    assert (clip.truth.au_intensity.max(0) == 1.0).all()


def test_traces_are_planted_but_not_coded():
    rng, preset = np.random.default_rng(0), PRESETS["casme2"]
    coded = ((12, ""),)
    assert not any(sample_faint_au(preset, coded, 0.4, rng) for _ in range(50)), "none up to the default"
    traces = [sample_faint_au(preset, coded, 1.0, rng) for _ in range(300)]
    assert np.mean([len(t) for t in traces]) == pytest.approx(0.67, abs=0.08)
    assert 12 not in {number for trace in traces for number, _ in trace}
    config = PhantomConfig(size=48, difficulty="real")
    clip = next(c for c in (make_clip(config, 0, i) for i in range(12)) if len(c.truth.codes) > len(c.aus))
    assert tuple(map(str, clip.aus)) == clip.truth.codes[: len(clip.aus)]
    peaks = np.linalg.norm(clip.truth.fields, axis=1).max((1, 2))
    assert peaks[-1] < peaks[: len(clip.aus)].max()
