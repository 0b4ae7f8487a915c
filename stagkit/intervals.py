"""Means with 95 % intervals: what every score of an explanation is printed with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np


class Mean(NamedTuple):
    """A mean (or median), its 95 % interval, and how many clips it is over; NaN where there is none."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


def compute_mean(
    values: np.ndarray, subjects: Sequence[str] | None = None, median: bool = False, n_draws: int = 2000, seed: int = 0
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
    names = np.arange(len(values)) if subjects is None else np.asarray(subjects)
    groups = [values[known & (names == name)] for name in np.unique(names[known])]
    centre = np.median if median else np.mean
    middle = float(centre(values[known]))
    if len(groups) < 2:
        return Mean(middle, float("nan"), float("nan"), int(known.sum()))
    rng = np.random.default_rng(seed)
    if median:
        draws = [
            np.median(np.concatenate([groups[i] for i in rng.integers(len(groups), size=len(groups))]))
            for _ in range(n_draws)
        ]
    else:
        counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), n_draws)
        sums, sizes = np.array([g.sum() for g in groups]), np.array([len(g) for g in groups])
        draws = (counts @ sums) / (counts @ sizes)
    low, high = np.percentile(draws, [2.5, 97.5])
    return Mean(middle, float(low), float(high), int(known.sum()))


def compute_mean_map(
    values: np.ndarray, subjects: Sequence[str] | None = None, n_draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``compute_mean`` of every cell of a map at once, with the same draws of subjects for all of them.

    Args:
        values: float "clip ...", finite.
        subjects: "clip".

    Returns:
        Three float "...": mean, low and high end of the 95 % interval; the ends are NaN for fewer than two subjects.
    """
    values = np.asarray(values, float)
    flat = values.reshape(len(values), -1)
    names = np.arange(len(flat)) if subjects is None else np.asarray(subjects)
    groups = [flat[names == name] for name in np.unique(names)]
    middle = flat.mean(0)
    if len(groups) < 2:
        low = high = np.full_like(middle, np.nan)
    else:
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), n_draws)
        sums, sizes = np.stack([g.sum(0) for g in groups]), np.array([len(g) for g in groups])
        low, high = np.percentile((counts @ sums) / (counts @ sizes)[:, None], [2.5, 97.5], axis=0)
    return tuple(part.reshape(values.shape[1:]) for part in (middle, low, high))
