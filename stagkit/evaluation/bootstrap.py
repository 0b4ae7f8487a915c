"""The bootstrap over subjects: the one place that draws people, for every 95 % interval of stagkit."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

#: Draws of every interval, and the percentiles that are its ends.
N_DRAWS, ENDS = 2000, (2.5, 97.5)

#: Below this number of subjects an interval is shown with a caveat.
FEW_SUBJECTS = 10

_CHUNK = 250  # draws at a time, so that memory does not grow with their number


class Estimate(NamedTuple):
    """A statistic of all subjects with the ends of its 95 % interval; arrays of the shape of the statistic.

    ``draws`` has the statistic of each draw, "draw ...".
    """

    value: np.ndarray
    low: np.ndarray
    high: np.ndarray
    draws: np.ndarray


class Mean(NamedTuple):
    """A mean (or median), its 95 % interval, and over how many clips and subjects it is; NaN where there is none."""

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
        """Why the interval is not to be relied on; '' where there is no reason (``describe_caveat``)."""
        return describe_caveat(self.n_subjects, (self.low, self.high)) if self.n_subjects else ""


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray], subjects: Sequence, n_draws: int = N_DRAWS, seed: int = 0
) -> Estimate:
    """A statistic and its 95 % percentile interval: whole subjects are drawn with replacement.

    Args:
        statistic: weights float "draw subject" (how often each subject counts, in the order of ``np.unique(subjects)``)
            -> values float "draw ...". It is called with ones for the value itself, so the interval is always one of the
            same number. NaN (nothing to compute in a draw) is left out of the interval.
        subjects: "row"; several rows of one subject (clips, seeds, folds) are drawn together.
        n_draws, seed: of the draws.

    Returns:
        ``Estimate``; its ends are NaN where no draw has a value. An interval never leaves out its own number: with few
        subjects the draws of a score can all lie on one side of it (stagkit's choice: the end moves out to the number).
    """
    n = len(np.unique(np.asarray(subjects)))
    value = np.asarray(statistic(np.ones((1, n))), float)[0]
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), n_draws).astype(float)
    draws = np.concatenate([np.asarray(statistic(weights[i : i + _CHUNK]), float) for i in range(0, n_draws, _CHUNK)])
    if np.isnan(draws).any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a statistic without a value in any draw: its ends are NaN
            low, high = np.nanpercentile(draws, ENDS, axis=0)
    else:
        low, high = np.percentile(draws, ENDS, axis=0)
    return Estimate(value, np.minimum(low, value), np.maximum(high, value), draws)


def describe_caveat(n_subjects: int, *intervals: Sequence[float | None]) -> str:
    """What a reader has to know before relying on an interval; '' where nothing.

    Args:
        n_subjects: that were drawn from.
        intervals: (low, high) of the statistics that are shown; ends that are None or NaN are left out.

    Returns:
        A phrase without a capital or a full stop: fewer than ``FEW_SUBJECTS`` subjects, or an interval without width
        (no error at all, or none that differs between people).

    Example:
        >>> describe_caveat(30, (0.4, 0.6))
        ''
        >>> describe_caveat(4, (0.4, 0.6))
        'the interval is from 4 subjects: fewer than 10 are too few for it to be reliable'
        >>> describe_caveat(30, (1.0, 1.0))
        'an interval without width does not mean certainty: every draw of these subjects gives the same number'
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


def compute_mean(
    values: np.ndarray,
    subjects: Sequence[str] | None = None,
    median: bool = False,
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> Mean:
    """Mean over clips with a bootstrap interval: whole subjects are drawn with replacement (clips, where none are given).

    Args:
        values: float "clip"; NaN is left out.
        subjects: "clip"; several clips of one person are not independent.
        median: take the median over clips instead.

    Returns:
        ``Mean``; its interval is NaN where there are fewer than two subjects.
    """
    values = np.asarray(values, float)
    known = ~np.isnan(values)
    if not known.any():
        return Mean(float("nan"), float("nan"), float("nan"), 0)
    names = (np.arange(len(values)) if subjects is None else np.asarray(subjects))[known]
    values = values[known]
    which = np.unique(names, return_inverse=True)[1]
    if median:
        order = np.argsort(values)
        found = bootstrap(lambda w: _weighted_median(values[order], w[:, which[order]]), names, n_draws, seed)
    else:
        found = bootstrap(_mean_statistic(values[:, None], which), names, n_draws, seed)
    value, low, high = (float(np.squeeze(v)) for v in found[:3])
    n = int(which.max()) + 1
    if n < 2:
        low = high = float("nan")
    return Mean(value, low, high, len(values), n)


def compute_mean_map(
    values: np.ndarray, subjects: Sequence[str] | None = None, n_draws: int = N_DRAWS, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``compute_mean`` of every cell of a map at once, with the same draws of subjects for all of them.

    Args:
        values: float "clip ...", finite.
        subjects: "clip".

    Returns:
        Three float "...": mean, low and high end of the 95 % interval; the ends are NaN for fewer than two subjects.
    """
    values = np.asarray(values, float)
    names = np.arange(len(values)) if subjects is None else np.asarray(subjects)
    which = np.unique(names, return_inverse=True)[1]
    found = bootstrap(_mean_statistic(values.reshape(len(values), -1), which), names, n_draws, seed)
    middle, low, high = (part.reshape(values.shape[1:]) for part in found[:3])
    if which.max() == 0:
        low = high = np.full_like(middle, np.nan)
    return middle, low, high


def compute_mean_difference(
    one: np.ndarray,
    other: np.ndarray,
    one_subjects: Sequence[str],
    other_subjects: Sequence[str],
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean of the other clips minus the mean of the first, cell by cell; a person drawn is drawn for both.

    Args:
        one, other: float "clip ...", finite, the same cells.
        one_subjects, other_subjects: "clip".

    Returns:
        As ``compute_mean_map``.
    """
    names = np.concatenate([np.asarray(one_subjects), np.asarray(other_subjects)])
    which = np.unique(names, return_inverse=True)[1]
    sides = [
        _mean_statistic(np.asarray(values, float).reshape(len(values), -1), at, int(which.max()) + 1)
        for values, at in ((one, which[: len(one)]), (other, which[len(one) :]))
    ]
    found = bootstrap(lambda w: sides[1](w) - sides[0](w), names, n_draws, seed)
    middle, low, high = (part.reshape(one.shape[1:]) for part in found[:3])
    if which.max() == 0:
        low = high = np.full_like(middle, np.nan)
    return middle, low, high


def _mean_statistic(values: np.ndarray, which: np.ndarray, n: int | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """Weights "draw subject" -> means "draw cell" of values "clip cell", whose subjects are ``which``."""
    n = int(which.max()) + 1 if n is None else n
    sums, sizes = np.zeros((n, values.shape[1])), np.bincount(which, minlength=n).astype(float)
    np.add.at(sums, which, values)

    def mean(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return (weights @ sums) / (weights @ sizes)[:, None]

    return mean


def _weighted_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Median "draw" of ascending values "clip", each repeated as its integer weights "draw clip" say."""
    reached = weights.cumsum(1)
    total = reached[:, -1:]
    below = values[(reached < total / 2).sum(1)]
    above = values[np.minimum((reached <= total / 2).sum(1), len(values) - 1)]
    return (below + above) / 2
