"""The bootstrap over subjects behind every 95 % interval of stagkit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: Draws of every interval, and the percentiles of its ends.
N_DRAWS, ENDS = 2000, (2.5, 97.5)

#: Below this number of subjects an interval has a caveat.
FEW_SUBJECTS = 10

_CHUNK = 250  # draws at a time, to bound memory


class Estimate(NamedTuple):
    """A statistic of all subjects, the ends of its 95 % interval, and its value in each draw ("draw ...")."""

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    draws: np.ndarray


class Mean(NamedTuple):
    """A mean, its 95 % interval, and its numbers of clips and subjects; NaN if there is none."""

    mean: float
    low: float
    high: float
    n: int
    n_subjects: int = 0

    def __str__(self) -> str:
        text = f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"
        return f"{text} (caution: {self.caveat})" if self.caveat else text

    @property
    def caveat(self) -> str:
        """``describe_caveat`` of the interval."""
        return describe_caveat(self.n_subjects, (self.low, self.high)) if self.n_subjects else ""


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], subjects: Sequence, n_draws: int = N_DRAWS, seed: int = 0
) -> Estimate:
    """A statistic and its 95 % percentile interval: whole subjects are drawn with replacement.

    Args:
        statistic: weights float "draw subject" (how often each subject counts, in the order of ``np.unique(subjects)``)
            -> values float "draw ...". Called with ones for the value itself. NaN (no value in a draw) is left out.
        subjects: "row"; rows of one subject (clips, seeds, folds) are drawn together.

    Returns:
        ``Estimate``; its ends are NaN if no draw has a value. With few subjects all draws can lie on one side of the value:
        the end then moves out to the value (stagkit's choice).
    """
    n = len(np.unique(np.asarray(subjects)))
    value = np.asarray(statistic(np.ones((1, n))), float)[0]
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws).astype(float)
    draws = np.concatenate([np.asarray(statistic(weights[i : i + _CHUNK]), float) for i in range(0, n_draws, _CHUNK)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # no value in any draw: the ends are NaN
        low, high = (np.nanpercentile if np.isnan(draws).any() else np.percentile)(draws, ENDS, axis=0)
    return Estimate(value, np.minimum(low, value), np.maximum(high, value), draws)


def describe_caveat(n_subjects: int, *intervals: Sequence[float | None]) -> str:
    """What limits the reliability of intervals: fewer than ``FEW_SUBJECTS`` subjects, or no width; '' if nothing does.

    ``intervals``: (low, high) of the statistics shown; None and NaN are left out.

    Example:
        >>> describe_caveat(4, (0.4, 0.6))
        'the interval is from 4 subjects: fewer than 10 are too few for it to be reliable'
    """
    words = []
    if n_subjects < FEW_SUBJECTS:
        subjects = "1 subject" if n_subjects == 1 else f"{n_subjects} subjects"
        words.append(f"the interval is from {subjects}: fewer than {FEW_SUBJECTS} are too few for it to be reliable")
    if any(low is not None and high is not None and abs(high - low) < 1e-9 for low, high in intervals):
        words.append(
            "an interval without width does not mean certainty: every draw of these subjects gives the same number"
        )
    return "; ".join(words)


def nan_to_none(value: float) -> float | None:
    """For JSON."""
    return None if np.isnan(value) else float(value)


def compute_mean(values: np.ndarray, subjects: Sequence[str] | None = None) -> Mean:
    """Mean over clips with its bootstrap interval; arguments as in ``compute_mean_map``, NaN is left out."""
    values = np.asarray(values, float)
    valid = ~np.isnan(values)
    if not valid.any():
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    names = (np.arange(len(values)) if subjects is None else np.asarray(subjects))[valid]
    mean, low, high = (float(part[0]) for part in compute_mean_map(values[valid, None], names))
    return Mean(mean, low, high, int(valid.sum()), len(np.unique(names)))


def compute_mean_map(
    values: np.ndarray, subjects: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean and 95 % interval of every cell of a map, with the same draws of subjects for all cells.

    Args:
        values: float "clip ...", finite.
        subjects: "clip"; None: every clip is a subject.

    Returns:
        Three float "...": mean, low and high end; the ends are NaN for fewer than two subjects.
    """
    values = np.asarray(values, float)
    names = np.arange(len(values)) if subjects is None else np.asarray(subjects)
    unique, which = np.unique(names, return_inverse=True)
    return _estimate(_mean_statistic(values, which, len(unique)), names, values.shape[1:])


def compute_mean_difference(
    one: np.ndarray, other: np.ndarray, one_subjects: Sequence[str], other_subjects: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``compute_mean_map`` of ``other`` minus that of ``one``; a subject is drawn for both."""
    names = np.concatenate([np.asarray(one_subjects), np.asarray(other_subjects)])
    unique, which = np.unique(names, return_inverse=True)
    first = _mean_statistic(np.asarray(one, float), which[: len(one)], len(unique))
    second = _mean_statistic(np.asarray(other, float), which[len(one) :], len(unique))
    return _estimate(lambda w: second(w) - first(w), names, one.shape[1:])


def _estimate(statistic: Callable, names: np.ndarray, shape: tuple[int, ...]):
    value, low, high = (part.reshape(shape) for part in bootstrap(statistic, names)[:3])
    if len(np.unique(names)) < 2:
        low = high = np.full_like(value, np.nan)
    return value, low, high


def _mean_statistic(values: np.ndarray, which: np.ndarray, n: int) -> Callable[[np.ndarray], np.ndarray]:
    """Weights "draw subject" -> means "draw cell" of values "clip ...", whose subjects are ``which`` of ``n``."""
    values = values.reshape(len(values), -1)
    sums, sizes = np.zeros((n, values.shape[1])), np.bincount(which, minlength=n).astype(float)
    np.add.at(sums, which, values)

    def mean(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ sums) / (weights @ sizes)[:, None]

    return mean
