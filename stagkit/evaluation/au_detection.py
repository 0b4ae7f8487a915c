"""Detection of action units on coded clips; the codes are never an input of the network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.types import ShapeError
from stagkit.evaluation.bootstrap import bootstrap, describe_caveat, nan_to_none

#: An AU is called present above this probability: fixed beforehand, never tuned.
THRESHOLD = 0.5


def compute_au_detection(truth: np.ndarray, probability: np.ndarray) -> dict[str, object]:
    """F1 (at ``THRESHOLD``) and AUROC of each action unit over the coded clips.

    Args:
        truth, probability: float "clip au" in the order of ``facs.AU_NUMBERS``; truth 1 present, 0 absent, NaN not coded.

    Returns:
        ``n_coded`` clips; ``mean_f1`` and ``mean_auroc`` over the ``n_aus`` AUs with both present and absent clips (None
        without any); ``per_au``: label -> ``n_present, n_coded, f1, auroc`` (None if undefined).

    Example:
        >>> truth, p = np.zeros((4, 17)), np.full((4, 17), 0.1)
        >>> truth[:2, 0], p[:2, 0] = 1, (0.9, 0.4)
        >>> compute_au_detection(truth, p)["per_au"]["AU01"]
        {'n_present': 2, 'n_coded': 4, 'f1': 0.6666666666666666, 'auroc': 1.0}
    """
    truth, probability = np.asarray(truth, float), np.asarray(probability, float)
    n = len(AU_LABELS)
    if truth.shape != probability.shape or truth.ndim != 2 or truth.shape[1] != n:
        raise ShapeError(f"`truth` is {truth.shape}, `probability` {probability.shape}: expected (clip, {n}) both.")
    coded = ~np.isnan(truth)
    report: dict[str, object] = {"n_coded": int(coded.any(1).sum()), "threshold": THRESHOLD}
    counts = zip(AU_LABELS, (truth == 1).sum(0).tolist(), coded.sum(0).tolist(), strict=True)
    per_au = {label: {"n_present": present, "n_coded": n} for label, present, n in counts}
    _set_values(report, per_au, _detect_weighted(truth, probability, np.ones((1, len(truth))))[0])
    report["n_aus"] = sum(row["auroc"] is not None for row in per_au.values())
    return {**report, "per_au": per_au}


def _set_values(report: dict, per_au: dict[str, dict], values: np.ndarray) -> None:
    """Write F1 and AUROC "2 au+1" of each AU and their means; None for NaN."""
    for key, row in zip(("f1", "auroc"), values.tolist(), strict=True):
        *each, report[f"mean_{key}"] = (nan_to_none(v) for v in row)
        for one, value in zip(per_au.values(), each, strict=True):
            one[key] = value


def compute_au_report(
    truths: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], subjects: Sequence[Sequence[str]]
) -> dict[str, object]:
    """``compute_au_detection``, mean over seeds (counts of the first), with 95 % intervals of these means over subjects.

    Adds ``ci95`` of the means and of each AU ([None, None] without a value), ``n_subjects`` and ``caveat``.

    Args:
        truths, probabilities, subjects: of each seed, float "clip au" and "clip".
    """
    report = compute_au_detection(truths[0], probabilities[0])
    coded = [~np.isnan(t).all(1) for t in truths]
    names, which = np.unique(
        np.concatenate([np.asarray(s)[c] for s, c in zip(subjects, coded, strict=True)]), return_inverse=True
    )
    report["n_subjects"] = len(names)
    if not all(c.any() for c in coded):
        return {**report, "ci95": {"mean_f1": [None, None], "mean_auroc": [None, None]}, "caveat": ""}
    parts = np.split(which, np.cumsum([c.sum() for c in coded])[:-1])
    seeds = [(t[c], p[c], part) for t, p, c, part in zip(truths, probabilities, coded, parts, strict=True)]
    found = bootstrap(lambda w: np.mean([_detect_weighted(t, p, w[:, part]) for t, p, part in seeds], 0), which)

    _set_values(report, report["per_au"], found.value)
    ends = np.stack([found.low, found.high], -1)
    for i, key in enumerate(("f1", "auroc")):
        *each, report.setdefault("ci95", {})[f"mean_{key}"] = ([nan_to_none(v) for v in pair] for pair in ends[i])
        for row, pair in zip(report["per_au"].values(), each, strict=True):
            row.setdefault("ci95", {})[key] = pair
    return {**report, "caveat": describe_caveat(len(names), *report["ci95"].values())}


def _detect_weighted(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 and AUROC of each AU, and their means: "draw 2 au+1"; weights "draw clip"."""
    out = np.full((len(weights), 2, truth.shape[1] + 1), np.nan)
    for k in range(truth.shape[1]):
        coded = ~np.isnan(truth[:, k])
        if not coded.any():
            continue
        p, present = probability[coded, k], truth[coded, k] == 1
        order = np.argsort(p, kind="stable")
        p, present, w = p[order], present[order], weights[:, coded][:, order]
        called = p > THRESHOLD
        n, hits, wrong = (w[:, of].sum(1) for of in (present, called & present, called != present))
        starts = np.flatnonzero(np.r_[True, p[1:] != p[:-1]])  # equal probabilities share their rank
        yes, no = (np.add.reduceat(w * of, starts, axis=1) for of in (present, ~present))
        with np.errstate(invalid="ignore", divide="ignore"):
            out[:, 0, k] = np.where(n > 0, 2 * hits / (2 * hits + wrong), np.nan)
            pairs = n * no.sum(1)
            out[:, 1, k] = np.where(pairs > 0, (yes * (no.cumsum(1) - no / 2)).sum(1) / pairs, np.nan)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a draw without any such AU has no mean: NaN
        counted = ~np.isnan(out[:, 1, :-1])
        out[:, 0, -1] = np.nanmean(np.where(counted, out[:, 0, :-1], np.nan), 1)
        out[:, 1, -1] = np.nanmean(out[:, 1, :-1], 1)
    return out
