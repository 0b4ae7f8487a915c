"""Detection of action units on coded clips; the codes are never an input of the network."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.types import ShapeError
from stagkit.evaluation.bootstrap import bootstrap, describe_caveat

#: An AU is called present above this probability: fixed beforehand, never tuned.
THRESHOLD = 0.5


def compute_au_detection(truth: np.ndarray, probability: np.ndarray) -> dict[str, object]:
    """F1 (at ``THRESHOLD``) and AUROC of each action unit over the coded clips.

    Args:
        truth: float "clip au", 1 present, 0 absent, NaN not coded; order of ``facs.AU_NUMBERS``.
        probability: float "clip au".

    Returns:
        ``n_coded`` clips; ``mean_f1`` and ``mean_auroc`` over the ``n_aus`` AUs with both present and absent clips (None
        without any); ``per_au``: label -> ``n_present, n_coded, f1, auroc`` (None if undefined).

    Example:
        >>> truth, p = np.zeros((4, 17)), np.full((4, 17), 0.1)
        >>> truth[:2, 0], p[:2, 0] = 1, (0.9, 0.4)
        >>> compute_au_detection(truth, p)["per_au"]["AU01"]
        {'n_present': 2, 'n_coded': 4, 'f1': 0.6666666666666666, 'auroc': 1.0}
    """
    from sklearn.metrics import f1_score, roc_auc_score

    truth, probability = np.asarray(truth, float), np.asarray(probability, float)
    if truth.shape != probability.shape or truth.ndim != 2 or truth.shape[1] != len(AU_LABELS):
        raise ShapeError(
            f"`truth` is {truth.shape}, `probability` {probability.shape}: expected (clip, {len(AU_LABELS)}) both."
        )
    coded = ~np.isnan(truth)
    per_au = {}
    for k, label in enumerate(AU_LABELS):
        present, p = truth[coded[:, k], k] == 1, probability[coded[:, k], k]
        n = int(present.sum())
        f1 = float(f1_score(present, p > THRESHOLD)) if n else None
        auroc = float(roc_auc_score(present, p)) if 0 < n < len(present) else None
        per_au[label] = {"n_present": n, "n_coded": len(present), "f1": f1, "auroc": auroc}
    counted = [row for row in per_au.values() if row["auroc"] is not None]
    means = {
        f"mean_{key}": float(np.mean([row[key] for row in counted])) if counted else None for key in ("f1", "auroc")
    }
    return {
        "n_coded": int(coded.any(1).sum()),
        "threshold": THRESHOLD,
        "n_aus": len(counted),
        **means,
        "per_au": per_au,
    }


def compute_au_report(
    truths: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], subjects: Sequence[Sequence[str]]
) -> dict[str, object]:
    """``compute_au_detection``, mean over seeds, with 95 % intervals of these means over subjects.

    Args:
        truths, probabilities: of each seed, float "clip au".
        subjects: of each seed, "clip".

    Returns:
        As ``compute_au_detection`` (counts of the first seed), with ``ci95`` of the means and of each AU ([None, None]
        without a value), ``n_subjects`` and ``caveat``.
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

    def pick(array: np.ndarray, i: int, k: int) -> float | None:
        return None if np.isnan(found.value[i, k]) else float(array[i, k])

    def ends(i: int, k: int) -> list[float | None]:
        return [pick(found.low, i, k), pick(found.high, i, k)]

    every = len(AU_LABELS)
    for i, key in enumerate(("f1", "auroc")):
        report[f"mean_{key}"] = pick(found.value, i, every)
        for k, label in enumerate(AU_LABELS):
            row = report["per_au"][label]
            row[key] = pick(found.value, i, k)
            row.setdefault("ci95", {})[key] = ends(i, k)
    report["ci95"] = {f"mean_{key}": ends(i, every) for i, key in enumerate(("f1", "auroc"))}
    return {**report, "caveat": describe_caveat(len(names), *report["ci95"].values())}


def _detect_weighted(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """F1 and AUROC of each AU, and their means, for many weightings of the clips at once: "draw 2 au+1".

    Args:
        truth, probability: float "clip au".
        weights: float "draw clip".
    """
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
