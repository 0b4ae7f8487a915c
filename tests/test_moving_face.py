"""The face with sliders: its state, its picture, its flow and its answers are one and the same movement."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.config import PhantomConfig
from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import StagkitError
from stagkit.explorers import MovingFace
from stagkit.explorers.puppet.moving_face import N_FRAMES
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.photo import find_moments, load_astronaut_landmarks, move_photo

PHANTOM = make_clip(PhantomConfig(subjects=1, clips=1, size=128, difficulty=0), 0, 0)


@pytest.fixture
def face():
    return MovingFace(PHANTOM.truth.neutral, PHANTOM.landmarks[0], size=128)


def test_the_picture_is_the_frame_of_the_clip_that_it_makes(face):
    face.au, face.side, face.strength = 4, "", 1.5
    clip = face.make_clip(noise=0)
    assert clip.truth.codes == ("AU04",) and len(clip.frames) == N_FRAMES
    for frame in (0, clip.onset + 3, clip.apex, clip.offset):
        face.frame = frame
        assert (face.picture == clip.frames[frame]).all()
        assert np.allclose(face.planted, clip.truth.displacement(frame), atol=1e-4)


def test_it_rests_outside_the_movement_and_peaks_at_the_apex(face):
    onset, apex, offset = find_moments(N_FRAMES)
    seen = {}
    for frame in (0, onset, (onset + apex) // 2, apex, offset, N_FRAMES - 1):
        face.frame = frame
        seen[frame] = max(face.answers.values())
    assert max(seen[0], seen[onset], seen[offset], seen[N_FRAMES - 1]) < 1e-9
    assert 0.1 < seen[(onset + apex) // 2] < seen[apex]


@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize(("au", "place"), [(12, "lip_corner"), (2, "brow_outer"), (1, "brow_inner")])
def test_the_region_of_the_muscle_answers_on_its_side(face, au, place, side):
    face.strength = 3.0
    face.au, face.side = au, side
    answers = face.answers
    other = {"L": "R", "R": "L"}[side]
    assert max(answers, key=answers.get) in (f"{place}_{side}", f"brow_mid_{side}")
    assert answers[f"{place}_{side}"] > 5 * answers[f"{place}_{other}"]


@settings(max_examples=10, deadline=None)
@given(st.sampled_from(sorted(ACTION_UNITS)), st.sampled_from(["", "L", "R"]))
def test_every_unit_and_side_moves_something_and_midline_ones_ignore_the_side(au, side):
    face = MovingFace(PHANTOM.truth.neutral, PHANTOM.landmarks[0], size=96, au=au, side=side)
    assert face.code == f"AU{au:02d}" + (side if ACTION_UNITS[au].sided else "")
    largest = 100 * np.linalg.norm(face.planted, axis=0).max() / face.motion.iod
    assert 0.8 * face.strength < largest <= 1.01 * face.strength


def test_a_wrong_value_is_refused_and_the_old_one_stands(face):
    for name, value, words in (
        ("au", 99, "`au` is 99, expected one of 1, 2"),
        ("side", "left", "'L' or 'R'"),
        ("strength", 7.0, "expected 0 to 3 % of IOD"),
        ("frame", N_FRAMES, "expected 0 to 47"),
    ):
        before = getattr(face, name)
        with pytest.raises(StagkitError, match=words):
            setattr(face, name, value)
        assert getattr(face, name) == before


def test_sliders_and_state_are_the_same(face):
    pytest.importorskip("ipywidgets")
    face._repr_mimebundle_()
    controls = face._controls
    before = controls["image"].value
    controls["frame"].value, controls["au"].value = 20, 17
    assert (face.frame, face.au, face.code) == (20, 17, "AU17")
    assert controls["side"].disabled, "the chin has one muscle"
    assert controls["image"].value != before
    face.strength = 0.5
    assert controls["strength"].value == 0.5


def test_it_shows_a_picture_where_no_widget_is_run(face):
    import base64

    png = base64.b64decode(face._repr_mimebundle_()["image/png"])
    picture = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 2 * picture.shape[0] and picture.std() > 20
    assert face.to_figure() is face.to_figure()


def test_a_still_picture_is_left_as_it_is():
    still = PHANTOM.truth.neutral
    assert (move_photo(still, np.zeros((2, *still.shape[:2]), np.float32)) == still).all()


def test_the_stored_landmarks_are_those_of_a_face():
    """Aligned to the mean face they lie within three of its standard deviations nearly everywhere."""
    from stagkit.motion.landmarks import compute_alignment

    points = load_astronaut_landmarks()
    assert points.shape == (68, 2) and points[45, 0] > points[36, 0], "the left eye lies on the right of the picture"
    mean, _ = load_mean_face()
    matrix = compute_alignment(points, 220)
    aligned = (points @ matrix[:, :2].T + matrix[:, 2] - 110) / 100 + (0.0, 0.42)
    assert np.linalg.norm(aligned - mean, axis=1).mean() < 0.1
    assert len(ATLAS.centres(points)) == len(ATLAS.names)
