"""Reliability of the probabilities, and accuracy per subject."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagkit.core.types import StagkitError


def compute_calibration(probability: np.ndarray, label: Sequence[int]) -> dict[str, object]:
    r"""Reliability of the predicted class's probability.

    :math:`ECE = \sum_b \frac{n_b}{n} |acc_b - conf_b|` over equal bins of the confidence (Guo et al. 2017,
    arXiv:1706.04599).

    Args:
        probability: float "clip cls", rows sum to 1; a clip may be repeated (several seeds).
        label: int "clip".

    Returns:
        ``ece``; ``brier`` (mean squared distance to the truth, 0..2); ``log_loss`` (nats); ``bins``: for each its bounds,
        ``n``, mean ``confidence`` and ``accuracy`` (None if empty).

    Example:
        >>> compute_calibration(np.array([[0.8, 0.2]] * 5), [0, 0, 0, 0, 1])["ece"]
        0.0
    """
    probability, label = np.asarray(probability, float), np.asarray(label, int)
    if probability.ndim != 2 or len(probability) != len(label) or not len(label):
        raise StagkitError(
            f"{probability.shape} probabilities and {len(label)} labels: expected (clip, cls) and one each."
        )
    if not np.allclose(probability.sum(1), 1, atol=1e-3):
        raise StagkitError("the probabilities of a clip do not sum to 1.")
    n_bins = 10
    confidence, correct = probability.max(1), probability.argmax(1) == label
    edges = np.linspace(0, 1, n_bins + 1)
    which = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, n_bins - 1)
    bins, ece = [], 0.0
    for b in range(n_bins):
        inside = which == b
        n = int(inside.sum())
        mean, accuracy = (float(v[inside].mean()) if n else None for v in (confidence, correct))
        ece += n * abs(mean - accuracy) if n else 0.0
        low, high = edges[b : b + 2].tolist()
        bins.append({"low": low, "high": high, "n": n, "confidence": mean, "accuracy": accuracy})
    truth = np.eye(probability.shape[1])[label]
    return {
        "ece": round(ece / len(label), 12),
        "brier": float(((probability - truth) ** 2).sum(1).mean()),
        "log_loss": float(-np.log(np.clip(probability[np.arange(len(label)), label], 1e-9, None)).mean()),
        "bins": bins,
    }


def tabulate_subjects(table):
    """Accuracy per subject, the worst first, from a table of predictions (pandas).

    Columns: ``dataset, subject, n_clips, acc`` and, for each class, ``n_CLASS`` and ``right_CLASS`` (mean over seeds).
    """
    import pandas as pd

    n_seeds = table["seed"].nunique()
    right = table["label"] == table["prediction"]
    rows = []
    for (dataset, subject), part in table.groupby(["dataset", "subject"]):
        row = {"dataset": dataset, "subject": subject, "n_clips": len(part) // n_seeds, "acc": right[part.index].mean()}
        for c in sorted(table["label"].unique()):
            of_class = part["label"] == c
            row[f"n_{c}"] = int(of_class.sum()) // n_seeds
            row[f"right_{c}"] = float((right[part.index] & of_class).sum() / n_seeds)
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["acc", "subject"], ignore_index=True)
