"""Checks of notebook 12, 'which system is better, and how would you know?'"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagkit.baselines.rank_pooling import compute_mesti_weights, compute_rank_weights
from stagkit.course.exercises import Verdict, exercise, right, wrong


@exercise("12.1")
def apex_weights(answer: Sequence[float]) -> Verdict:
    """Weights of five frames with the apex in the middle."""
    given = np.asarray(answer, float)
    if given.shape != (5,):
        return wrong("five numbers are expected, one for each frame.")
    if np.allclose(given, compute_mesti_weights(5, 2)):
        return right("they add up to zero, and the clip played backwards has the same weights.")
    if np.allclose(given, compute_rank_weights(5, prefix=False)):
        return wrong("that is rank pooling of the whole clip: after the apex the order of the pairs turns round.")
    if np.allclose(given, -compute_mesti_weights(5, 2)):
        return wrong("the signs are turned round: before the apex a pair counts as later minus earlier.")
    if np.allclose(given, [-2, 0, 2, 0, -2]):
        return wrong("the apex belongs to both halves and gets its weight twice; these do not add up to zero.")
    if np.allclose(given, compute_mesti_weights(5, 2, prefix=True)):
        return wrong("that ranks the means of all frames up to each; here the frames themselves are ranked.")
    return wrong(
        "rank pooling of three frames for the first half, the same backwards for the second; the apex is in both."
    )


@exercise("12.2")
def claimed_accuracy(answer: float, *, said: np.ndarray, label: np.ndarray) -> Verdict:
    """The accuracy of the epoch with the best test accuracy."""
    accuracy, given = (said == label).mean(1), float(answer)
    if abs(given - accuracy.max()) < 1e-6:
        return right(f"optimistic {accuracy.max():.2f}, last epoch {accuracy[-1]:.2f}: the difference is the optimism.")
    if abs(given - accuracy[-1]) < 1e-6:
        return wrong(
            "that is the score of the last epoch; some published code keeps the epoch with the best test score."
        )
    if abs(given - accuracy.mean()) < 1e-6:
        return wrong("that is the mean over the epochs; the habit keeps the best one.")
    if abs(given - (said == label).any(0).mean()) < 1e-6:
        return wrong("that counts a clip as right where any epoch was; one epoch has to answer all clips of the fold.")
    return wrong("one accuracy for each row of `said`, then the largest of them.")


@exercise("12.3")
def true_time(answer: np.ndarray, *, film: np.ndarray) -> Verdict:
    """Axes moved, not counted on."""
    given, n = np.asarray(answer), len(film)
    if given.shape != (*film.shape[1:], n):
        return wrong(f"the shape is {given.shape}, expected {(*film.shape[1:], n)}: y, x, then time.")
    if np.array_equal(given, np.moveaxis(film, 0, -1)):
        return right("`answer[y, x]` is the course of one pixel in time.")
    if np.array_equal(given, film.reshape(given.shape)):
        return wrong(f"at [0, 0] stand {n} neighbours of one frame, not {n} times: `reshape` moves no axis.")
    return wrong("look at `answer[0, 0]`: it should count the frames, 0, 1, 2, ...")
