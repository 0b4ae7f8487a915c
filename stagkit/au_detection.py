"""How well the network finds action units, on clips where they are coded. The codes are never its input."""

from __future__ import annotations

import numpy as np

from stagkit.facs import AU_LABELS
from stagkit.types import ShapeError

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
