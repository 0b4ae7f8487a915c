"""Checks of notebook 04, 'how does one region of the face listen to another?'"""

from __future__ import annotations

import numpy as np

from stagkit.core.regions import ATLAS
from stagkit.course.exercises import Verdict, exercise, right, wrong


def _share(weights: np.ndarray, axis: int) -> np.ndarray:
    return weights / weights.sum(axis, keepdims=True)


@exercise("04.1")
def rows_or_columns(answer: np.ndarray, *, scores: np.ndarray, joined: np.ndarray) -> Verdict:
    """Attention from scores, among the sources that are joined to the target."""
    answer = np.asarray(answer, float)
    if answer.shape != scores.shape:
        return wrong(f"that has the shape {answer.shape}; there is one share for each pair, {scores.shape}.")
    weights = np.exp(scores - scores.max(1, keepdims=True)) * joined
    wanted = _share(weights, 1)
    if np.allclose(answer, wanted, atol=1e-6):
        return right("every row sums to 1: each target divides its attention among those it is joined to.")
    if np.allclose(answer, _share(np.exp(scores - scores.max()) * joined, 0), atol=1e-6):
        return wrong("your columns sum to 1, over the targets: the softmax runs over the wrong axis.")
    if np.allclose(answer, _share(np.exp(scores - scores.max(1, keepdims=True)), 1), atol=1e-6):
        return wrong("that is the attention among *all* regions: where there is no edge, the weight is 0.")
    if np.allclose(answer, _share(np.exp(scores * joined), 1), atol=1e-6):
        return wrong("a score of 0 is no 'no': its exponential is 1. Put the 0 behind the exponential.")
    if np.allclose(answer, _share(np.exp(scores - scores.max(1, keepdims=True)), 1) * joined, atol=1e-6):
        return wrong("you masked after the division: the rows no longer sum to 1.")
    if np.allclose(answer, np.exp(scores) * joined, atol=1e-6):
        return wrong("those are the weights; divide them by their sum over the sources.")
    return wrong("exponential of the scores, 0 where nothing is joined, divided by the sum of its row.")


@exercise("04.2")
def twice_the_weight(answer: float, *, p: float) -> Verdict:
    """The share of a source whose edge weight is doubled."""
    answer, wanted = float(answer), 2 * p / (1 + p)
    if abs(answer - wanted) < 1e-4:
        return right(f"from {p:.4f} to {wanted:.4f}: nearly twice, because the rest of the row loses a little.")
    if abs(answer - 2 * p) < 1e-4:
        return wrong("twice the share, but then the row sums to more than 1: divide by its new sum.")
    if abs(answer - p) < 1e-4:
        return wrong("that is the share before: doubling *one* weight of a row changes its ratios.")
    if abs(answer - p / (1 + p)) < 1e-4:
        return wrong("the new sum is right, but the doubled weight belongs above the line as well.")
    return wrong("before the division the row holds 2p for this source and 1 - p for all others together.")


@exercise("04.3")
def weight_without_the_muscle(answer: float, *, s: np.ndarray, pair: tuple[int, int]) -> Verdict:
    """The weight of an edge when the strongest AU is clamped to zero."""
    target, source = pair
    share = ATLAS.incidence / ATLAS.incidence.max(1, keepdims=True)
    rest = float(np.log1p(np.exp(-2.5)) * np.log(2))
    clamped = np.where(np.arange(len(s)) == s.argmax(), 0.0, s)
    affinity = 0.1 + 0.9 * np.eye(len(s))
    before, after = (float((share.T @ (np.outer(v, v) * affinity) @ share)[target, source]) for v in (s, clamped))
    anatomy = float(ATLAS.anatomy[target, source])
    answer, wanted = float(answer), anatomy + after + rest
    if abs(answer - wanted) < 1e-4:
        return right(f"{wanted:.3f}; with the muscle it was {anatomy + before + rest:.3f}.")
    if abs(answer - (anatomy + before + rest)) < 1e-4:
        return wrong("that is the weight *with* the muscle: make C from the changed evidence, then A from C.")
    if abs(answer - (after + rest)) < 1e-4 or abs(answer - after) < 1e-4:
        return wrong("anatomy is missing: only the term of the AUs follows the evidence.")
    if abs(answer - (anatomy + after)) < 1e-4:
        return wrong("the small learned rest is missing; it is the same for every edge here.")
    if abs(answer - (anatomy + rest)) < 1e-4:
        return wrong("you clamped every AU to zero; others move these regions too.")
    return wrong("set one entry of a copy of `s` to 0 and run the lines of C and A again.")
