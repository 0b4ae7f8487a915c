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
    report = compute_pooled(table, classes)
    report["per_dataset"] = compute_groups(table, classes, table["dataset"])
    return report


def compute_groups(table, classes: Sequence[str], group: Sequence[str]) -> dict[str, dict[str, object]]:
    """The three scores of each group of rows, e.g. of each data set, of each pair, of each official part.

    Args:
        table: as for ``compute_report``.
        classes: names in order.
        group: name of each row's group.
    """
    return {
        str(name): {k: v for k, v in compute_pooled(part, classes).items() if k in SCORES}
        | {"n_clips": int(len(part) // part["seed"].nunique())}
        for name, part in table.groupby(np.asarray(group))
    }


def compute_pooled(table, classes: Sequence[str]) -> dict[str, object]:
    """Scores, classes, confusion and baselines of the rows of a table, all of them pooled: as ``compute_report``."""
    classes = list(classes)
    label = table["label"].map(classes.index).to_numpy()
    prediction = table["prediction"].map(classes.index).to_numpy()
    seeds = sorted(table["seed"].unique())
    confusions = [compute_confusion(label[s], prediction[s], len(classes)) for s in (table["seed"] == k for k in seeds)]
    scores = [compute_scores(c) for c in confusions]
    interval = compute_interval(label, prediction, table["subject"].to_numpy(), len(classes))
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


def compute_paired(
    label: Sequence[int],
    first: np.ndarray,
    second: np.ndarray,
    subject: Sequence[str],
    n_classes: int,
    n_draws: int = 2000,
    seed: int = 0,
) -> dict[str, object]:
    """How much better the first answers are than the second, on the same clips: a paired bootstrap over subjects.

    Each draw takes whole subjects with replacement and scores both on them, every seed by itself; the difference of the
    means over seeds is what varies. So what all subjects find hard does not blur the comparison.

    Args:
        label: int "clip".
        first, second: int "seed clip", predicted classes; the numbers of seeds may differ.
        subject: "clip".
        n_draws: number of draws.

    Returns:
        For ``uf1, uar, acc``: ``first``, ``second`` (means over seeds), ``difference``, ``ci95`` and ``above_zero`` (share
        of draws in which the first is better); ``per_class``: the same of each class's F1 (by number).

    Raises:
        StagkitError: answers that are not one a clip.
    """
    subjects, which = np.unique(np.asarray(subject), return_inverse=True)
    label = np.asarray(label, int)
    draws = np.random.default_rng(seed).multinomial(len(subjects), np.full(len(subjects), 1 / len(subjects)), n_draws)
    once = np.ones((1, len(subjects)), int)
    sides = []
    for answers in (np.atleast_2d(first), np.atleast_2d(second)):
        if answers.shape[1] != len(label):
            raise StagkitError(f"{answers.shape[1]} answers were given for {len(label)} clips: one of each a clip.")
        counts = np.zeros((len(answers), len(subjects), n_classes, n_classes))
        for one, predicted in zip(counts, answers, strict=True):
            np.add.at(one, (which, label, predicted), 1)
        sides.append([_mean_scores(counts, d) for d in (once, draws)])
    (first_once, first_draws), (second_once, second_draws) = sides

    def row(name: str | int) -> dict[str, object]:
        drawn = first_draws[name] - second_draws[name]
        drawn = drawn[~np.isnan(drawn)]
        a, b = float(first_once[name][0]), float(second_once[name][0])
        return {
            "first": _nan_to_none(a),
            "second": _nan_to_none(b),
            "difference": _nan_to_none(a - b),
            "ci95": np.percentile(drawn, [2.5, 97.5]).tolist() if len(drawn) else [None, None],
            "above_zero": float((drawn > 0).mean()) if len(drawn) else None,
        }

    return {name: row(name) for name in SCORES} | {"per_class": [row(c) for c in range(n_classes)]}


def _mean_scores(counts: np.ndarray, draws: np.ndarray) -> dict[str | int, np.ndarray]:
    """Scores "draw" (mean over seeds) of confusions "seed subject cls cls" under draws "draw subject"."""
    each = [_class_scores(np.tensordot(draws, one, axes=1).astype(float)) for one in counts]
    out: dict[str | int, np.ndarray] = {
        "uf1": np.mean([np.nanmean(f1, 1) for f1, _, _ in each], 0),
        "uar": np.mean([np.nanmean(recall, 1) for _, recall, _ in each], 0),
        "acc": np.mean([acc for _, _, acc in each], 0),
    }
    f1 = np.mean([f1 for f1, _, _ in each], 0)
    return out | {c: f1[:, c] for c in range(f1.shape[1])}


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
