"""Photographs that move: the motion is where it was planted, and can be measured."""

import numpy as np
import pytest

from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import StagkitError
from stagkit.motion.config import FlowConfig
from stagkit.motion.landmarks import FACE_MIDDLE, FACE_SIDE, compute_alignment
from stagkit.motion.optical_flow import compute_flow
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.photo import animate_photo, load_astronaut, load_astronaut_landmarks, move_photo


@pytest.fixture(scope="module")
def portrait():
    clip = make_clip(PhantomConfig(subjects=1, clips=1, size=192, difficulty=0), 0, 0)
    return clip.truth.neutral, clip.landmarks[0]


def test_nothing_moves_before_the_onset_and_after_the_offset(portrait):
    clip = animate_photo(*portrait, "L12+6", n_frames=20, size=128, noise=0)
    same = [bool((f == clip.truth.neutral).all()) for f in clip.frames]
    assert same == [t <= clip.onset or t >= clip.offset for t in range(20)]
    assert clip.truth.codes == ("AU12L", "AU06")


def test_pixels_come_from_where_the_truth_says():
    """A picture that is a slope: what is seen at q is the value of the p with p + u(p) = q."""
    size = 128
    points = (load_mean_face()[0] - FACE_MIDDLE) * (size / FACE_SIDE) + size / 2  # lies aligned already
    slope = np.tile(np.linspace(0, 254, size).round().astype(np.uint8), (size, 1))
    clip = animate_photo(slope, points, {"12": 3.0}, n_frames=12, size=size, noise=0)
    u, v = clip.truth.displacement(clip.apex)
    ys, xs = np.mgrid[:size, :size]
    seen = clip.frames[clip.apex].astype(float) / 2  # two levels a pixel
    landed_x, landed_y = xs + u, ys + v
    moved = np.hypot(u, v) > 0.3
    at = seen[landed_y[moved].round().astype(int), landed_x[moved].round().astype(int)]
    expected = xs[moved] + (landed_x[moved].round() - landed_x[moved])
    assert np.abs(at - expected).mean() < 0.35, "half a level of rounding is a quarter of a pixel"
    assert np.abs(at - landed_x[moved]).mean() > 0.4, "and it is not just the still picture"


def test_flow_finds_the_planted_motion(portrait):
    clip = animate_photo(*portrait, {"L12": 3.0}, n_frames=12, size=192, noise=0)
    flow = compute_flow(clip, FlowConfig(selection="apex")).flow[clip.apex]
    planted = clip.truth.displacement(clip.apex)
    strong = np.linalg.norm(planted, axis=0) > 0.5 * np.linalg.norm(planted, axis=0).max()
    assert np.linalg.norm(flow - planted, axis=0)[strong].mean() < 0.35 * np.linalg.norm(planted, axis=0)[strong].mean()
    corner_left, corner_right = (ATLAS.centres(clip.landmarks[0])[ATLAS.index(f"lip_corner_{s}")] for s in "LR")
    assert corner_left[0] > corner_right[0]
    size = np.linalg.norm(flow, axis=0)
    assert size[int(corner_left[1]), int(corner_left[0])] > 3 * size[int(corner_right[1]), int(corner_right[0])]


@pytest.mark.parametrize(
    ("aus", "words"),
    [("smile", "names no action units"), ("99", "cannot be drawn"), ({"12": 90.0}, "folds the skin")],
)
def test_what_cannot_be_drawn_is_told(portrait, aus, words):
    with pytest.raises(StagkitError, match=words):
        animate_photo(*portrait, aus, n_frames=12, size=96)


def test_bad_pictures_are_told(portrait):
    with pytest.raises(StagkitError, match="expected uint8"):
        animate_photo(portrait[0] / 255, portrait[1], "12")
    with pytest.raises(StagkitError, match="at least 10"):
        animate_photo(*portrait, "12", n_frames=4)


def test_the_astronaut_smiles_on_one_side_in_colour():
    """The public-domain portrait with its stored landmarks: what was planted on the left is found there, not right."""
    picture, points = load_astronaut(), load_astronaut_landmarks()
    assert picture.shape == (512, 512, 3)
    clip = animate_photo(picture, points, {"L12": 2.5}, n_frames=12, size=160, noise=0)
    assert clip.frames.shape == (12, 160, 160, 3)
    motion = compute_flow(clip, FlowConfig(selection="apex"))
    left, right = (ATLAS.centres(motion.landmarks)[ATLAS.index(f"lip_corner_{s}")].round().astype(int) for s in "LR")
    speed = np.linalg.norm(motion.flow[clip.apex], axis=0)
    assert speed[left[1], left[0]] > 5 * speed[right[1], right[0]]
    u, v = motion.flow[clip.apex][:, left[1], left[0]]
    assert u > 0 > v, "a smile draws the subject's left corner to the right of the picture, and up"


def test_a_still_image_is_left_as_it_is():
    still = make_clip(PhantomConfig(subjects=1, clips=1, size=128, difficulty=0), 0, 0).truth.neutral
    assert (move_photo(still, np.zeros((2, *still.shape[:2]), np.float32)) == still).all()


def test_the_stored_landmarks_are_those_of_a_face():
    """Aligned to the mean face they lie within three of its standard deviations nearly everywhere."""
    points = load_astronaut_landmarks()
    assert points.shape == (68, 2) and points[45, 0] > points[36, 0], "the left eye lies on the right of the image"
    mean, _ = load_mean_face()
    matrix = compute_alignment(points, 220)
    aligned = (points @ matrix[:, :2].T + matrix[:, 2] - 110) / 100 + (0.0, 0.42)
    assert np.linalg.norm(aligned - mean, axis=1).mean() < 0.1
    assert len(ATLAS.centres(points)) == len(ATLAS.names)
