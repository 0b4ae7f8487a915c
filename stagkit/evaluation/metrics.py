"""Scores of a whole evaluation: predictions of all folds are pooled first, then scored once.

``F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)``, ``UF1 = mean_c F1_c``, ``UAR = mean_c TP_c / N_c`` (MEGC2019, See et al.,
doi:10.1109/FG.2019.8756611). Per-fold averages are never reported: folds of single-class subjects make them meaningless.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.bootstrap import N_DRAWS, Estimate, bootstrap, describe_caveat

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
    n_draws: int = N_DRAWS,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """95 % intervals of the mean over seeds by bootstrap over subjects: whole subjects are drawn with replacement.

    A subject that is drawn brings the predictions of all seeds. Each seed is scored by itself on the draw and the mean over
    seeds is taken, so the interval belongs to the mean that is shown with it.

    Args:
        label: "clip".
        prediction: int "clip", or "seed clip".
        subject: "clip".
        n_draws: number of draws.

    Returns:
        ``{"uf1": (low, high), "uar": ..., "acc": ...}``.
    """
    _, which = np.unique(np.asarray(subject), return_inverse=True)
    counts = _count_clips(which, label, prediction, n_classes)
    return _get_intervals(bootstrap(_mean_statistic(counts), subject, n_draws, seed))


def _count_clips(which: np.ndarray, label: Sequence[int], prediction: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusions float "seed subject cls cls" of predictions "seed clip" (or "clip"); ``which`` subject "clip"."""
    label, prediction = np.asarray(label, int), np.atleast_2d(np.asarray(prediction, int))
    counts = np.zeros((len(prediction), which.max() + 1, n_classes, n_classes))
    for one, predicted in zip(counts, prediction, strict=True):
        compute_confusion(label, predicted, n_classes)  # refuses what is not one class per clip
        np.add.at(one, (which, label, predicted), 1)
    return counts


def _mean_statistic(counts: np.ndarray):
    """For ``bootstrap``: weights "draw subject" -> UF1, UAR, accuracy, then F1 of each class, "draw score".

    Args:
        counts: confusions "seed subject cls cls"; every seed is scored by itself, and the mean over seeds is taken.
    """

    repeats, n_classes = len(counts), counts.shape[-1]
    per_subject = counts.swapaxes(0, 1).reshape(counts.shape[1], -1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        f1, recall, acc = _class_scores((weights @ per_subject).reshape(-1, n_classes, n_classes))
        n_known = (~np.isnan(f1)).sum(1)
        with np.errstate(invalid="ignore"):  # a draw without any clip has no score: NaN
            uf1, uar = np.nansum(f1, 1) / n_known, np.nansum(recall, 1) / n_known
        scores = np.column_stack([uf1, uar, acc, f1])
        return scores.reshape(len(weights), repeats, -1).mean(1)

    return statistic


def _get_intervals(found: Estimate) -> dict[str, tuple[float, float]]:
    return {name: (float(found.low[i]), float(found.high[i])) for i, name in enumerate(SCORES)}


def compute_baselines(
    label: Sequence[int],
    prediction: Sequence[int],
    n_classes: int,
    n_draws: int = 200,
    seed: int = 0,
    subject: Sequence[str] | None = None,
) -> dict[str, dict[str, object]]:
    """What a score is worth: scores of two answers that know nothing of the clips.

    Args:
        label: "clip".
        prediction: int "clip", or "seed clip".
        n_draws: number of shuffles of each seed's predictions.
        subject: "clip"; with it each baseline also has ``ci95``: score -> (low, high), as in ``compute_interval``.

    Returns:
        ``majority``: always the most frequent class. ``permuted``: the predictions given, shuffled over the clips
        (mean of ``n_draws`` shuffles), i.e. the same habits without the knowledge.
    """
    label, prediction = np.asarray(label, int), np.atleast_2d(np.asarray(prediction, int))
    rng = np.random.default_rng(seed)
    answers = {
        "majority": np.full_like(label, np.bincount(label, minlength=n_classes).argmax())[None],
        "permuted": np.stack([rng.permutation(one) for one in prediction for _ in range(n_draws)]),
    }
    out: dict[str, dict[str, object]] = {}
    people = np.zeros(len(label), int) if subject is None else np.asarray(subject)
    _, which = np.unique(people, return_inverse=True)
    for name, predicted in answers.items():
        statistic = _mean_statistic(_count_clips(which, label, predicted, n_classes))
        if subject is None:
            value = statistic(np.ones((1, which.max() + 1)))[0]
            out[name] = {}
        else:
            found = bootstrap(statistic, people)
            value = found.value
            out[name] = {"ci95": {s: list(ends) for s, ends in _get_intervals(found).items()}}
        out[name] |= {s: float(value[i]) for i, s in enumerate(SCORES)}
    return out


def compute_report(table, classes: Sequence[str]) -> dict[str, object]:
    """The scores of a run, over seeds: what ``metrics.json`` holds under uf1, uar, acc, per_dataset, baselines.

    Args:
        table: pandas DataFrame with columns ``seed, dataset, subject, label, prediction`` (class names), one row a clip
            and seed, all folds of a seed together.
        classes: names in order.

    Returns:
        ``uf1/uar/acc``: mean and standard deviation over seeds, ``per_seed``, ``ci95`` (of the mean, subjects drawn);
        ``n_subjects``; ``caveat`` of the intervals ('' where there is none); ``per_class`` F1 and recall (mean over
        seeds); ``confusion`` (summed over seeds); ``per_dataset``: the same three scores for each data set, with
        ``n_clips``, ``n_subjects`` and ``caveat``; ``baselines``.
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
        str(name): {
            k: v
            for k, v in compute_pooled(part, classes, baselines=False).items()
            if k in (*SCORES, "n_subjects", "caveat")
        }
        | {"n_clips": int(len(part) // part["seed"].nunique())}
        for name, part in table.groupby(np.asarray(group))
    }


def compute_pooled(table, classes: Sequence[str], baselines: bool = True) -> dict[str, object]:
    """Scores, classes, confusion and baselines of the rows of a table, all of them pooled: as ``compute_report``."""
    classes = list(classes)
    seeds = sorted(table["seed"].unique())
    label = table["label"].map(classes.index).to_numpy()
    prediction = table["prediction"].map(classes.index).to_numpy()
    names, which = np.unique(table["subject"].to_numpy().astype(str), return_inverse=True)
    counts = np.zeros((len(seeds), len(names), len(classes), len(classes)))
    np.add.at(counts, (np.searchsorted(seeds, table["seed"].to_numpy()), which, label, prediction), 1)
    confusions = counts.sum(1).astype(int)
    scores = [compute_scores(c) for c in confusions]
    interval = _get_intervals(bootstrap(_mean_statistic(counts), names))
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
    out["n_subjects"] = len(names)
    out["caveat"] = describe_caveat(len(names), *interval.values())
    out["per_class"] = {
        c: {
            "f1": _nan_to_none(np.mean([s.f1[i] for s in scores])),
            "recall": _nan_to_none(np.mean([s.recall[i] for s in scores])),
            "n": int((label == i).sum() // len(seeds)),
        }
        for i, c in enumerate(classes)
    }
    out["confusion"] = confusions.sum(0).tolist()
    if baselines:
        out["baselines"] = _compute_run_baselines(table["seed"].to_numpy(), label, prediction, which, len(classes))
    return out


def _compute_run_baselines(seed, label, prediction, subject, n_classes: int) -> dict[str, dict[str, object]]:
    """``compute_baselines`` of rows of several seeds: all seeds answered the same rows, in the same order."""
    rows = [np.flatnonzero(seed == k) for k in np.unique(seed)]
    first = rows[0]
    if all(np.array_equal(label[r], label[first]) and np.array_equal(subject[r], subject[first]) for r in rows):
        return compute_baselines(
            label[first], np.stack([prediction[r] for r in rows]), n_classes, subject=subject[first]
        )
    return compute_baselines(label, prediction, n_classes, subject=subject)


def compute_paired(
    label: Sequence[int],
    first: np.ndarray,
    second: np.ndarray,
    subject: Sequence[str],
    n_classes: int,
    n_draws: int = N_DRAWS,
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
        of draws in which the first is better); ``per_class``: the same of each class's F1 (by number); ``caveat``: as
        ``intervals.describe_caveat``.

    Raises:
        StagkitError: answers that are not one a clip.
    """
    subjects, which = np.unique(np.asarray(subject), return_inverse=True)
    sides = []
    for answers in (np.atleast_2d(first), np.atleast_2d(second)):
        if answers.shape[1] != len(label):
            raise StagkitError(f"{answers.shape[1]} answers were given for {len(label)} clips: expected one per clip.")
        sides.append(_mean_statistic(_count_clips(which, label, answers, n_classes)))

    def statistic(weights: np.ndarray) -> np.ndarray:
        one, other = (side(weights) for side in sides)
        return np.stack([one, other, one - other], 1)

    found = bootstrap(statistic, subject, n_draws, seed)

    def row(i: int) -> dict[str, object]:
        a, b, difference = found.value[:, i]
        drawn = found.draws[:, 2, i]
        drawn = drawn[~np.isnan(drawn)]
        return {
            "first": _nan_to_none(a),
            "second": _nan_to_none(b),
            "difference": _nan_to_none(difference),
            "ci95": [_nan_to_none(found.low[2, i]), _nan_to_none(found.high[2, i])],
            "above_zero": float((drawn > 0).mean()) if len(drawn) else None,
        }

    out: dict[str, object] = {name: row(i) for i, name in enumerate(SCORES)}
    out["per_class"] = [row(len(SCORES) + c) for c in range(n_classes)]
    out["caveat"] = describe_caveat(len(subjects), *(out[name]["ci95"] for name in SCORES))
    return out


def _nan_to_none(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
