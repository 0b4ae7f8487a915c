"""Scores of a whole evaluation: predictions of all folds are pooled first, then scored once.

``F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)``, ``UF1 = mean_c F1_c``, ``UAR = mean_c TP_c / N_c`` (MEGC2019, See et al.,
doi:10.1109/FG.2019.8756611). Per-fold averages are never reported: folds of single-class subjects make them meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.types import StagkitError

#: The three scores, in the order they are printed.
SCORES = ("uf1", "uar", "acc")


@dataclass(frozen=True)
class Scores:
    """Pooled scores: ``uf1``, ``uar``, ``acc`` in 0..1, and F1 and recall of each class (NaN where it has no clip)."""

    uf1: float
    uar: float
    acc: float
    f1: tuple[float, ...]
    recall: tuple[float, ...]
    n: int


def compute_confusion(label: Sequence[int], prediction: Sequence[int], n_classes: int) -> np.ndarray:
    """Count clips: int "cls cls", rows = true class, columns = predicted class.

    Raises:
        StagkitError: the two differ in length, or hold a class outside 0..n_classes - 1.
    """
    label, prediction = np.asarray(label, int), np.asarray(prediction, int)
    if label.shape != prediction.shape:
        raise StagkitError(f"{len(label)} labels and {len(prediction)} predictions were given: one of each a clip.")
    for name, values in (("label", label), ("prediction", prediction)):
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            raise StagkitError(f"a {name} lies outside 0..{n_classes - 1}: {values.min()} to {values.max()}.")
    return np.bincount(label * n_classes + prediction, minlength=n_classes**2).reshape(n_classes, n_classes)


def compute_scores(confusion: np.ndarray) -> Scores:
    """Scores of a pooled confusion matrix.

    A class without a single true clip is left out of UF1 and UAR (its F1 and recall are NaN): it cannot be recognised.

    Args:
        confusion: "cls cls", rows = true class.

    Example:
        >>> scores = compute_scores(np.array([[3, 1], [0, 4]]))
        >>> round(scores.uf1, 3), round(scores.uar, 3), scores.acc
        (0.873, 0.875, 0.875)
    """
    f1, recall, acc = _class_scores(confusion[None].astype(float))
    if not confusion.sum():
        raise StagkitError("there is no prediction to score.")
    return Scores(
        uf1=float(np.nanmean(f1[0])),
        uar=float(np.nanmean(recall[0])),
        acc=float(acc[0]),
        f1=tuple(f1[0].tolist()),
        recall=tuple(recall[0].tolist()),
        n=int(confusion.sum()),
    )


def _class_scores(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1 and recall "many cls" (NaN where a class has no clip) and accuracy "many" of confusions "many cls cls"."""
    true_positive = np.einsum("mcc->mc", confusions)
    n_true, n_predicted = confusions.sum(2), confusions.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(n_true > 0, 2 * true_positive / (n_true + n_predicted), np.nan)
        recall = np.where(n_true > 0, true_positive / n_true, np.nan)
        return f1, recall, true_positive.sum(1) / confusions.sum((1, 2))


def compute_interval(
    label: Sequence[int],
    prediction: Sequence[int],
    subject: Sequence[str],
    n_classes: int,
    n_draws: int = 2000,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals by bootstrap over subjects: whole subjects are drawn with replacement, their clips pooled.

    Args:
        label, prediction: "clip". Repeats of the same clip (several seeds) are allowed.
        subject: "clip".
        n_draws: number of draws.

    Returns:
        ``{"uf1": (low, high), "uar": ..., "acc": ...}``.
    """
    subjects, which = np.unique(np.asarray(subject), return_inverse=True)
    label, prediction = np.asarray(label, int), np.asarray(prediction, int)
    per_subject = np.zeros((len(subjects), n_classes, n_classes))
    np.add.at(per_subject, (which, label, prediction), 1)
    draws = np.random.default_rng(seed).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), n_draws)
    f1, recall, acc = _class_scores(np.tensordot(draws, per_subject, axes=1))
    values = {"uf1": np.nanmean(f1, 1), "uar": np.nanmean(recall, 1), "acc": acc}
    return {name: tuple(np.percentile(v, [2.5, 97.5]).tolist()) for name, v in values.items()}


def compute_baselines(
    label: Sequence[int], prediction: Sequence[int], n_classes: int, n_draws: int = 200, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What a score is worth: scores of two answers that know nothing of the clips.

    Returns:
        ``majority``: always the most frequent class. ``permuted``: the predictions given, shuffled over the clips
        (mean of ``n_draws`` shuffles), i.e. the same habits without the knowledge.
    """
    label, prediction = np.asarray(label, int), np.asarray(prediction, int)
    rng = np.random.default_rng(seed)
    shuffled = [
        compute_scores(compute_confusion(label, rng.permutation(prediction), n_classes)) for _ in range(n_draws)
    ]
    majority = np.full_like(label, np.bincount(label, minlength=n_classes).argmax())
    constant = compute_scores(compute_confusion(label, majority, n_classes))
    return {
        "majority": {name: getattr(constant, name) for name in SCORES},
        "permuted": {name: float(np.mean([getattr(s, name) for s in shuffled])) for name in SCORES},
    }


def compute_report(table, classes: Sequence[str]) -> dict[str, object]:
    """The scores of a run, over seeds: what ``metrics.json`` holds under uf1, uar, acc, per_dataset, baselines.

    Args:
        table: pandas DataFrame with columns ``seed, dataset, subject, label, prediction`` (class names), one row a clip
            and seed, all folds of a seed together.
        classes: names in order.

    Returns:
        ``uf1/uar/acc``: mean and standard deviation over seeds, ``per_seed``, ``ci95`` (subject bootstrap over all
        seeds' predictions); ``per_class`` F1 and recall (mean over seeds); ``confusion`` (summed over seeds);
        ``per_dataset``: the same three scores for each data set; ``baselines``.
    """
    classes = list(classes)

    def scored(part) -> dict[str, object]:
        label = part["label"].map(classes.index).to_numpy()
        prediction = part["prediction"].map(classes.index).to_numpy()
        seeds = sorted(part["seed"].unique())
        confusions = [
            compute_confusion(label[s], prediction[s], len(classes)) for s in (part["seed"] == k for k in seeds)
        ]
        scores = [compute_scores(c) for c in confusions]
        interval = compute_interval(label, prediction, part["subject"].to_numpy(), len(classes))
        out: dict[str, object] = {}
        for name in SCORES:
            values = [getattr(s, name) for s in scores]
            spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            out[name] = {
                "mean": float(np.mean(values)),
                "std": spread,
                "ci95": list(interval[name]),
                "per_seed": {str(k): v for k, v in zip(seeds, values, strict=True)},
            }
        out["per_class"] = {
            c: {
                "f1": _nan_to_none(np.mean([s.f1[i] for s in scores])),
                "recall": _nan_to_none(np.mean([s.recall[i] for s in scores])),
                "n": int((label == i).sum() // len(seeds)),
            }
            for i, c in enumerate(classes)
        }
        out["confusion"] = np.sum(confusions, axis=0).tolist()
        out["baselines"] = compute_baselines(label, prediction, len(classes))
        return out

    report = scored(table)
    report["per_dataset"] = {
        str(name): {k: v for k, v in scored(part).items() if k in SCORES} | {"n_clips": int(part["clip"].nunique())}
        for name, part in table.groupby("dataset")
    }
    return report


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
