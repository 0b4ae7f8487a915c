"""The checks of notebooks 02 and 08: right answers pass, and each usual mistake is named as what it is."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from stagkit.course.exercises import check_answer

PLANTED = np.stack([np.full((4, 4), 3.0), np.full((4, 4), 4.0)])
MEASURED = np.stack([np.full((4, 4), 3.0), np.zeros((4, 4))])
MEASURED[:, 2:] = PLANTED[:, 2:]  # still skin, where flow is right
MEASURED[:, 0, 0] = 0.0
UPPER = np.arange(4)[:, None] * np.ones(4) < 2


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ((7 * 4 + 5) / 8, True, "px"),
        ((7 * 4 + 5) / 16, False, "whole image"),
        (-(7 * 2 + 5) / 8, False, "*lengths*"),
        ((7 * 2 + 3.5) / 8, False, "averages u and v"),
        (((7 * 16 + 25) / 8) ** 0.5, False, "root mean square"),
        (9.0, False, "np.linalg.norm"),
    ],
)
def test_end_point_error(answer, ok, words):
    verdict = check_answer("02.1", answer, measured=MEASURED, truth=PLANTED, where=UPPER)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (0.03, True, "e_xx"),
        (3, False, "per cent"),
        (0.015, False, "mixed part"),
        (0.03 * 2**0.5, False, "one direction"),
        (0, False, "*shift*"),
        (0.5, False, "slope of u"),
    ],
)
def test_strain_of_a_stretch(answer, ok, words):
    verdict = check_answer("02.2", answer, percent=3)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ([2, 5], True, "2, 5"),
        ([5, 4], False, "without any gap"),
        ([1, 7], False, "evenly"),
        ([5], False, "2 are asked for"),
        ([0, 5], False, "onset frame"),
        ([5, 6], False, "only 10 ms apart"),
        ([3, 7], False, "begin with the largest"),
    ],
)
def test_frames_with_a_gap(answer, ok, words):
    motion = SimpleNamespace(scores=np.array([0, 1, 6, 2, 7, 8, 3, 2.5]), times_ms=10.0 * np.arange(8))
    verdict = check_answer("02.3", answer, motion=motion, onset=0, n_frames=2, gap_ms=25)
    assert verdict.ok is ok and words in verdict.text


def make_answers():
    """Two folds of classes a and b: pooled confusion [[3, 1], [0, 1]], the second fold has class a alone."""
    rows = [(0, "a", "a"), (0, "b", "b"), (1, "a", "a"), (1, "a", "a"), (1, "a", "b")]
    table = pd.DataFrame(rows, columns=["fold", "label", "prediction"])
    return SimpleNamespace(request={"classes": ["a", "b"]}, predictions=table)


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ((6 / 7 + 2 / 3) / 2, True, "pooled over 2 folds"),
        ((1 + 4 / 5) / 2, False, "mean of the folds' scores"),
        (4 / 5, False, "accuracy"),
        ((3 / 4 + 1) / 2, False, "mean recall"),
        (0.1, False, "over all rows"),
    ],
)
def test_pooled_score(answer, ok, words):
    run = make_answers()
    pooled = check_answer("07.3", answer, table=run.predictions, classes=run.request["classes"])
    verdict = check_answer("08.1", answer, run=run)
    assert verdict.ok is ok and words in verdict.text == pooled.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (0.2, True, "+0.200"),
        (0.1, False, "*true* labels"),
        (-0.2, False, "reversed"),
        (0.5, False, "not the gain"),
        (0.9, False, "permuted_last_epoch"),
    ],
)
def test_gain_from_nothing(answer, ok, words):
    scores = {"last_epoch": 0.6, "best_test_epoch": 0.7, "permuted_last_epoch": 0.3, "permuted_best_test_epoch": 0.5}
    verdict = check_answer("08.2", answer, leak={"mean": {name: {"uf1": v} for name, v in scores.items()}})
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("interval", "answer", "ok", "words"),
    [
        ((0.01, 0.2), "first", True, "leaves out 0"),
        ((-0.2, -0.01), "Second", True, "leaves out 0"),
        ((-0.1, 0.2), "neither", True, "holds 0"),
        ((-0.1, 0.2), "first", False, "larger mean alone"),
        ((0.01, 0.2), "neither", False, "leaves out 0"),
        ((0.01, 0.2), "second", False, "first minus second"),
        ((0.01, 0.2), "both", False, "none of"),
    ],
)
def test_claim_of_a_comparison(interval, answer, ok, words):
    verdict = check_answer("08.3", answer, paired={"uf1": {"ci95": list(interval)}})
    assert verdict.ok is ok and words in verdict.text
