"""Faces: regions lie on real faces, alignment does to motion what it says, bad faces are told."""

import os
import time
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.core.regions import ATLAS, MIRROR_68, compute_face_frame, compute_face_mask, load_mean_face
from stagkit.core.types import StagkitError
from stagkit.datasets.prepare import prepare_dataset
from stagkit.motion.config import FlowConfig
from stagkit.motion.landmarks import (
    FACE_MIDDLE,
    FACE_SIDE,
    FaceError,
    LandmarkFinder,
    align_clip,
    check_face,
    compute_68,
    compute_alignment,
    compute_quality,
    find_points,
    locate_and_align,
)
from stagkit.motion.optical_flow import compute_flow, compute_rois
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource

STILL = PhantomConfig(subjects=2, clips=2, size=128, difficulty=0)


@pytest.fixture(scope="module")
def clip():
    return make_clip(STILL, 0, 0)


def turned(clip, degrees, scale, shift, size):
    """The clip as another camera would see it."""
    matrix = cv2.getRotationMatrix2D((size / 2, size / 2), degrees, scale)
    matrix[:, 2] += shift
    frames = [
        cv2.warpAffine(f, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        for f in clip.frames
    ]
    return replace(clip, frames=np.stack(frames), landmarks=clip.landmarks @ matrix[:, :2].T + matrix[:, 2], truth=None)


# ── regions on real faces ────────────────────────────────────────────────────────────────────────────────────────────


def test_regions_lie_on_the_faces_of_419_real_landmark_sets(shared_data, tmp_path):
    """Every region's middle lies inside the face; right ones right of the nose's line as the subject sees it, by pairs."""
    with np.load(shared_data / "apex_landmarks68_casme2_smic.npz") as file:
        sets = file["landmarks"].astype(float)
    assert len(sets) == 419
    names = np.array(ATLAS.names)
    right = np.array([n.endswith("_R") for n in names])
    left = ATLAS.mirror[right]
    inside, across, level, spread = [], [], [], []
    for points in sets:
        origin = points.min(0) - 120
        moved = points - origin
        shape = tuple(np.ceil(moved.max(0) + 40).astype(int)[::-1])
        centres = ATLAS.centres(moved)
        mask = compute_face_mask(moved, shape)
        inside.append(mask[centres[:, 1].round().astype(int), centres[:, 0].round().astype(int)])
        frame = compute_face_frame(moved)
        face = (centres - frame[:, 2]) @ np.linalg.inv(frame[:, :2]).T
        across.append(face[left, 0] - face[right, 0])
        level.append(np.abs(face[left, 1] - face[right, 1]))
        spread.append(face)
    inside, across, level = np.array(inside), np.array(across), np.array(level)
    assert inside.mean(0).min() > 0.99, dict(zip(names, inside.mean(0).round(3), strict=True))
    assert across.min() > 0.15, "the subject's left is on the right of the picture, for every pair of every face"
    assert np.median(level) < 0.04, "partners lie at the same height, in eye distances"
    assert np.std(spread, axis=0).max() < 0.12, "a region is the same place on every face"
    draw(sets, tmp_path / "regions.png")
    assert cv2.imread(str(tmp_path / "regions.png")).std() > 20


def draw(sets, path):
    """Landmarks and regions of 24 faces, side by side."""
    tiles = []
    for points in sets[:: len(sets) // 24][:24]:
        matrix = compute_alignment(points, 160)
        face = points @ matrix[:, :2].T + matrix[:, 2]
        tile = np.full((160, 160, 3), 255, np.uint8)
        tile[compute_face_mask(face, (160, 160))] = (225, 235, 245)
        for x, y in face:
            cv2.circle(tile, (round(x), round(y)), 1, (150, 150, 150), -1)
        for name, (x, y) in zip(ATLAS.names, ATLAS.centres(face), strict=True):
            colour = (200, 80, 0) if name.endswith("_L") else (0, 80, 200) if name.endswith("_R") else (60, 140, 60)
            half = round(ATLAS.radius * 160 / FACE_SIDE)
            cv2.rectangle(tile, (round(x) - half, round(y) - half), (round(x) + half, round(y) + half), colour, 1)
        tiles.append(tile)
    cv2.imwrite(str(path), np.vstack([np.hstack(tiles[i : i + 6]) for i in range(0, 24, 6)]))


def test_a_mirrored_face_has_mirrored_regions(shared_data):
    with np.load(shared_data / "apex_landmarks68_casme2_smic.npz") as file:
        points = file["landmarks"][::20].astype(float)
    for face in points:
        mirrored = face[list(MIRROR_68)] * [-1, 1]
        assert np.allclose(ATLAS.centres(mirrored), ATLAS.centres(face)[ATLAS.mirror] * [-1, 1])


# ── alignment ────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.floats(-180, 180), st.floats(0.2, 5), st.floats(-500, 500), st.floats(-500, 500))
def test_alignment_undoes_any_turn_scale_and_shift(degrees, scale, dx, dy):
    mean = load_mean_face()[0]
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    seen = 90 * scale * mean @ np.array([[c, s], [-s, c]]) + [dx, dy]
    matrix = compute_alignment(seen, 220)
    assert np.allclose(seen @ matrix[:, :2].T + matrix[:, 2], (mean - FACE_MIDDLE) * 100 + 110, atol=1e-6)


def test_alignment_is_the_closest(shared_data):
    """No similarity that OpenCV finds brings the points closer to the mean face."""
    with np.load(shared_data / "apex_landmarks68_casme2_smic.npz") as file:
        sets = file["landmarks"][::40].astype(float)
    target = (load_mean_face()[0] - FACE_MIDDLE) * (256 / FACE_SIDE) + 128
    for points in sets:
        other, _ = cv2.estimateAffinePartial2D(points, target, method=cv2.LMEDS, refineIters=0)
        ours = compute_alignment(points, 256)

        def miss(m, points=points):
            return ((points @ m[:, :2].T + m[:, 2] - target) ** 2).sum()

        assert miss(ours) <= miss(other) + 1e-6


def test_the_same_clip_from_another_camera_is_aligned_to_the_same(clip):
    first = align_clip(clip, 128)
    second = align_clip(turned(clip, 12, 1.4, (20, -10), 220), 128)
    assert np.abs(first.landmarks - second.landmarks).max() < 1e-6
    middle = np.s_[:, 30:100, 30:100]
    assert np.abs(first.frames[middle].astype(float) - second.frames[middle]).mean() < 3


def test_patches_are_the_same_in_per_cent_of_the_eye_distance(clip):
    """Motion survives alignment: patches of the aligned clip correlate with those of the clip as it is."""
    config = FlowConfig(selection="uniform", n_frames=4)
    plain = compute_rois(compute_flow(clip, config), clip).patches[:, :, :2]
    other = align_clip(turned(clip, -10, 1.5, (30, 20), 260), 160)
    patches = compute_rois(compute_flow(other, config), other).patches[:, :, :2]
    assert np.corrcoef(plain.ravel(), patches.ravel())[0, 1] > 0.95
    assert 0.9 < (patches * plain).sum() / (plain * plain).sum() < 1.1, "nor is it made larger or smaller"


def test_preparation_aligns_where_it_is_asked_to(tmp_path):
    few = PhantomConfig(subjects=1, clips=1, size=96, difficulty=0)
    fast = FlowConfig(n_frames=2)
    plain = prepare_dataset(PhantomSource(few), tmp_path / "a", fast)
    aligned = prepare_dataset(PhantomSource(few), tmp_path / "b", fast, align=112)
    assert aligned.meta["faces"] == {"align": 112, "landmarker": ""}
    assert "faces" not in plain.meta
    assert plain.meta["digest"] != aligned.meta["digest"]
    with pytest.raises(StagkitError, match="with other settings"):
        prepare_dataset(PhantomSource(few), tmp_path / "b", fast, align=128)


# ── quality ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_good_face_passes(clip):
    check_face(clip.landmarks[0], clip.frames[0])
    found = compute_quality(clip.landmarks[0], clip.frames[0])
    assert found["turn"] < 0.05
    assert abs(found["tilt"]) < 1
    assert found["inside"] == 1


def test_faces_that_cannot_be_measured_are_told(clip):
    points, frame = clip.landmarks[0], clip.frames[0]
    aside = points.copy()
    aside[30, 0] += 0.4 * np.linalg.norm(points[45] - points[36])
    blurred = cv2.GaussianBlur(frame, (0, 0), 0.09 * np.linalg.norm(points[45] - points[36]))
    for landmarks, picture, words in (
        (points * 0.3, frame, "too small: 1"),
        (points + [90, 0], frame, "cut off"),
        (aside, frame, "turned away: its nose is 0.4"),
        (points, blurred, "blurred"),
        (points * np.nan, frame, "NaN"),
    ):
        with pytest.raises(FaceError, match=words):
            check_face(landmarks, picture, "c")
    with pytest.raises(FaceError, match="the same point"):
        compute_alignment(np.zeros((68, 2)), 128)
    with pytest.raises(FaceError, match="has no landmarks"):
        align_clip(replace(clip, landmarks=None))


class Finds:
    """A finder that finds what it is told to."""

    def __init__(self, *faces):
        self.faces = list(faces)

    def find(self, frame):
        return self.faces


def test_one_face_is_needed(clip):
    frame, points = clip.frames[clip.onset], clip.landmarks[clip.onset]
    assert (find_points(frame, Finds(points), "c") == points).all()
    for faces, words in (((), "no face was found"), ((points, points), "two faces")):
        with pytest.raises(FaceError, match=words):
            find_points(frame, Finds(*faces), "c")


# ── mediapipe ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_missing_or_damaged_model_is_told(tmp_path):
    with pytest.raises(FaceError, match="there is no model file"):
        LandmarkFinder(tmp_path / "none.task")
    pytest.importorskip("mediapipe")
    (tmp_path / "bad.task").write_bytes(b"no model")
    with pytest.warns(UserWarning, match="another model"), pytest.raises(FaceError, match="damaged"):
        LandmarkFinder(tmp_path / "bad.task")


def test_the_jaw_is_cut_evenly():
    """A mesh of two straight jaws: 17 points, the chin once, equal steps, right to left of the subject."""
    mesh = np.zeros((478, 2))
    right = (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127)
    left = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
    for k, (a, b) in enumerate(zip(right, left, strict=True)):
        mesh[a], mesh[b] = (-(k**2), 0), (k**2, 0)
    jaw = compute_68(mesh)[:17]
    assert np.allclose(jaw[:, 0], np.linspace(-121, 121, 17))


def test_mediapipe_finds_phantoms(tmp_path):
    """Against the truth of phantoms; needs the model file, which is not part of the project."""
    model = os.environ.get("STAGKIT_LANDMARKER")
    if not model:
        pytest.skip("STAGKIT_LANDMARKER does not name mediapipe's face_landmarker.task")
    finder = LandmarkFinder(model)
    for subject in range(2):
        drawn = make_clip(PhantomConfig(subjects=2, clips=1, size=256, difficulty=0), subject, 0)
        truth = drawn.landmarks[drawn.onset]
        found = find_points(drawn.frames[drawn.onset], finder)
        miss = np.linalg.norm(found - truth, axis=1) / np.linalg.norm(truth[45] - truth[36])
        assert miss.mean() < 0.05
        assert miss[36:].mean() < 0.03, "eyes and lips"
    assert finder.find(np.zeros((128, 128), np.uint8)) == []


@pytest.mark.parametrize("place", ["far away", "spread", "tiny", "one eye corner", "infinite", "NaN"])
@pytest.mark.parametrize("size", [0, 96])
def test_landmarks_outside_the_picture_end_in_one_sentence(place, size):
    """At once: a smoothing filter as wide as the face they describe would run for hours."""
    clip = make_clip(PhantomConfig(subjects=1, clips=1, size=96), 0, 0)
    points = clip.landmarks.copy()
    if place == "one eye corner":
        points[:, 36] = 1e15
    else:
        factor = {"far away": 1, "spread": 1e9, "tiny": 1e-9, "infinite": np.inf, "NaN": np.nan}[place]
        points = points * factor + (1e7 if place in ("far away", "tiny") else 0)
    start = time.perf_counter()
    if place == "one eye corner":
        with pytest.raises(FaceError):
            check_face(points[0], clip.frames[0])
    else:
        with pytest.raises(FaceError):
            locate_and_align(replace(clip, landmarks=points), size)
    assert time.perf_counter() - start < 5
