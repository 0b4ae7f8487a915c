"""The checks of exercises: right answers pass, and each usual mistake is named as what it is."""

import numpy as np
import pytest

from stagkit.exercises import check_answer

FILM = np.arange(3)[:, None, None] * np.ones((3, 4, 4))
SAID = np.array([[1, 1, 0, 1], [1, 1, 2, 2], [0, 1, 0, 0]])  # right: 2, 3 and 2 of 4 clips
NAMES = [f"img{n}.png" for n in range(9, 71, 2)]
FOUND = {
    "clips": {"rows": 12, "usable": 11},
    "left_out": {"sub02/EP01_2": "there is no folder"},
    "unlisted": ["a", "b"],
    "frames": {"missing": 3},
    "faults": ["a", "b", "c", "d"],
}


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (11, True, "11 pictures come before it"),
        (31, False, "number in the file's name"),
        (22, False, "no number were left out"),
        (12, False, "positions begin at 0"),
        (10, False, "alphabet"),
        (7, False, "sort the names"),
    ],
)
def test_position_of_a_picture(answer, ok, words):
    verdict = check_answer("20.1", answer, names=NAMES, onset="img31.png")
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (1, True, "sub02/EP01_2"),
        (11, False, "*can* be used"),
        (2, False, "no row names"),
        (3, False, "missing *frames*"),
        (4, False, "odd is not lost"),
        (9, False, "rows minus usable"),
    ],
)
def test_clips_that_cannot_be_used(answer, ok, words):
    verdict = check_answer("20.2", answer, found=FOUND)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("right", "left", "lip", "ok", "words"),
    [
        (1.6, 0.1, 0.0, True, "more than all others"),
        (1.6, 1.5, 0.0, False, "both sides move"),
        (0.1, 1.6, 0.0, False, "*subject's* right"),
        (0.1, 0.0, 1.6, False, "Which muscle ends in brow inner R"),
        (0.0, 0.0, 0.0, False, "nothing moves"),
    ],
)
def test_one_region_that_moves(right, left, lip, ok, words):
    answers = {"brow_inner_R": right, "brow_inner_L": left, "lip_corner_L": lip}
    verdict = check_answer("20.3", answers, region="brow_inner_R")
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("number", "answer", "ok", "words"),
    [
        ("12.1", [-2, 0, 4, 0, -2], True, "add up to zero"),
        ("12.1", [-4, -2, 0, 2, 4], False, "rank pooling of the whole clip"),
        ("12.1", [2, 0, -4, 0, 2], False, "signs are turned round"),
        ("12.1", [-2, 0, 2, 0, -2], False, "gets its weight twice"),
        ("12.1", [1, 2, 3], False, "five numbers"),
        ("12.2", 0.75, True, "claimed 0.75, honest 0.50"),
        ("12.2", 0.5, False, "that is the honest one"),
        ("12.2", 1.0, False, "one epoch has to answer all"),
        ("12.2", 0.58333333, False, "mean over the epochs"),
        ("12.3", FILM.transpose(1, 2, 0), True, "course of one pixel"),
        ("12.3", FILM.reshape(4, 4, 3), False, "`reshape` moves no axis"),
        ("12.3", FILM, False, "y, x, then time"),
    ],
)
def test_the_comparison_of_systems(number, answer, ok, words):
    given = {"12.2": {"said": SAID, "label": np.array([1, 1, 2, 0])}, "12.3": {"film": FILM}}
    verdict = check_answer(number, answer, **given.get(number, {}))
    assert verdict.ok is ok and words in verdict.text
