"""How well the network finds action units, on clips where they are coded. The codes are never its input."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.types import ShapeError
from stagkit.evaluation.bootstrap import Estimate, bootstrap, describe_caveat

#: An AU is called present above this probability: fixed beforehand, never tuned.
THRESHOLD = 0.5


def compute_au_detection(truth: np.ndarray, probability: np.ndarray) -> dict[str, object]:
    """Detection of each action unit over clips.

    ``F1 = 2 TP / (2 TP + FP + FN)`` at ``THRESHOLD``; AUROC needs no threshold. Only coded clips count.

    Args:
        truth: float "clip au", 1 present, 0 absent, NaN not coded; order of ``facs.AU_NUMBERS``.
        probability: float "clip au".

    Returns:
        ``n_coded`` clips; ``mean_f1`` and ``mean_auroc`` over the AUs that have both present and absent clips (None
        where there is none); ``per_au``: label -> ``n_present, n_coded, f1, auroc`` (None where it cannot be said).

    Example:
        >>> truth, p = np.zeros((4, 17)), np.full((4, 17), 0.1)
        >>> truth[:2, 0], p[:2, 0] = 1, (0.9, 0.4)
        >>> compute_au_detection(truth, p)["per_au"]["AU01"]
        {'n_present': 2, 'n_coded': 4, 'f1': 0.6666666666666666, 'auroc': 1.0}
    """
    truth, probability = np.asarray(truth, float), np.asarray(probability, float)
    if truth.shape != probability.shape or truth.ndim != 2 or truth.shape[1] != len(AU_LABELS):
        raise ShapeError(
            f"`truth` is {truth.shape}, `probability` {probability.shape}: expected (clip, {len(AU_LABELS)}) both."
        )
    coded = ~np.isnan(truth)
    per_au = {
        label: _detect(truth[coded[:, k], k] == 1, probability[coded[:, k], k]) for k, label in enumerate(AU_LABELS)
    }
    counted = [row for row in per_au.values() if row["auroc"] is not None]
    return {
        "n_coded": int(coded.any(1).sum()),
        "threshold": THRESHOLD,
        "n_aus": len(counted),
        "mean_f1": float(np.mean([row["f1"] for row in counted])) if counted else None,
        "mean_auroc": float(np.mean([row["auroc"] for row in counted])) if counted else None,
        "per_au": per_au,
    }


def _detect(present: np.ndarray, probability: np.ndarray) -> dict[str, object]:
    n, said = int(present.sum()), probability > THRESHOLD
    missed_or_false = int((said != present).sum())
    hits = int((said & present).sum())
    auroc = None
    if 0 < n < len(present):
        from scipy.stats import rankdata

        auroc = float((rankdata(probability)[present].sum() - n * (n + 1) / 2) / (n * (len(present) - n)))
    f1 = 2 * hits / (2 * hits + missed_or_false) if n else None
    return {"n_present": n, "n_coded": len(present), "f1": f1, "auroc": auroc}


def mean_over_seeds(reports: list[dict]) -> dict[str, object]:
    """The mean of several seeds' reports, counts as in the first."""

    def mean(values: list) -> float | None:
        return float(np.mean(values)) if values and None not in values else None

    whole = {key: mean([r[key] for r in reports]) for key in ("mean_f1", "mean_auroc")}
    per_au = {
        label: {**row, **{key: mean([r["per_au"][label][key] for r in reports]) for key in ("f1", "auroc")}}
        for label, row in reports[0]["per_au"].items()
    }
    return {**reports[0], **whole, "per_au": per_au}


def compute_au_report(
    truths: Sequence[np.ndarray], probabilities: Sequence[np.ndarray], subjects: Sequence[Sequence[str]]
) -> dict[str, object]:
    """Detection of each action unit, mean over seeds, with 95 % intervals of these means (subjects are drawn).

    Args:
        truths, probabilities: of each seed, float "clip au", as for ``compute_au_detection``.
        subjects: of each seed, "clip".

    Returns:
        ``mean_over_seeds`` of the seeds, with ``ci95`` (of ``mean_f1`` and ``mean_auroc``; of ``f1`` and ``auroc`` for
        each AU; [None, None] where there is no value), ``n_subjects`` and ``caveat``.
    """
    report = mean_over_seeds([compute_au_detection(t, p) for t, p in zip(truths, probabilities, strict=True)])
    coded = [~np.isnan(np.asarray(t, float)).all(1) for t in truths]
    names = np.concatenate([np.asarray(s)[c] for s, c in zip(subjects, coded, strict=True)])
    report |= {"ci95": {"mean_f1": [None, None], "mean_auroc": [None, None]}, "n_subjects": len(np.unique(names))}
    if report["mean_auroc"] is None:
        return {**report, "caveat": ""}
    people = np.unique(names)
    seeds = [
        (np.asarray(t, float)[c], np.asarray(p, float)[c], np.searchsorted(people, np.asarray(s)[c]))
        for t, p, s, c in zip(truths, probabilities, subjects, coded, strict=True)
    ]

    def statistic(weights: np.ndarray) -> np.ndarray:
        return np.mean([_detect_weighted(t, p, weights[:, which]) for t, p, which in seeds], 0)

    found = bootstrap(statistic, names)
    report["ci95"] = {name: _ends(found, (i, len(AU_LABELS))) for i, name in enumerate(("mean_f1", "mean_auroc"))}
    for k, label in enumerate(AU_LABELS):
        ends = {name: _ends(found, (i, k)) for i, name in enumerate(("f1", "auroc"))}
        report["per_au"][label] = {**report["per_au"][label], "ci95": ends}
    return {**report, "caveat": describe_caveat(report["n_subjects"], *report["ci95"].values())}


def _ends(found: Estimate, at: tuple[int, int]) -> list[float | None]:
    if np.isnan(found.value[at]):
        return [None, None]
    return [float(end[at]) for end in (found.low, found.high)]


def _detect_weighted(truth: np.ndarray, probability: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """``compute_au_detection`` of clips that count several times: "draw 2 au+1", F1 and AUROC of each AU and their means.

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
        said = p > THRESHOLD
        n, hits, wrong = (w[:, of].sum(1) for of in (present, said & present, said != present))
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
