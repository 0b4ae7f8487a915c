"""Scores of a whole evaluation: predictions of all folds are pooled first, then scored once.

``F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)``, ``UF1 = mean_c F1_c``, ``UAR = mean_c TP_c / N_c`` (MEGC2019, See et al.,
doi:10.1109/FG.2019.8756611). Per-fold averages are never reported: folds of single-class subjects make them meaningless.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.bootstrap import Estimate, bootstrap, describe_caveat, nan_to_none

#: The three scores, in the order they are printed.
SCORES = ("uf1", "uar", "acc")

#: Shuffles of each seed's predictions for the baseline ``permuted``.
N_SHUFFLES = 200


@dataclass(frozen=True)
class Scores:
    """Pooled scores: ``uf1``, ``uar``, ``acc`` in 0..1, and F1 and recall of each class (NaN if it has no clip)."""

    uf1: float
    uar: float
    acc: float
    f1: tuple[float, ...]
    recall: tuple[float, ...]
    n: int


def compute_confusion(label: Sequence[int], prediction: Sequence[int], n_classes: int) -> np.ndarray:
    """Count clips: int "cls cls", rows = true class, columns = predicted class."""
    label, prediction = np.asarray(label, int), np.asarray(prediction, int)
    if label.shape != prediction.shape:
        raise StagkitError(f"{len(label)} labels and {len(prediction)} predictions were given: expected one per clip.")
    for name, values in (("label", label), ("prediction", prediction)):
        if values.size and not 0 <= values.min() <= values.max() < n_classes:
            raise StagkitError(f"a {name} lies outside 0..{n_classes - 1}: {values.min()} to {values.max()}.")
    return np.bincount(label * n_classes + prediction, minlength=n_classes**2).reshape(n_classes, n_classes)


def compute_scores(confusion: np.ndarray) -> Scores:
    """Scores of a pooled confusion matrix; a class without a true clip is left out of UF1 and UAR.

    Args:
        confusion: "cls cls", rows = true class.

    Example:
        >>> scores = compute_scores(np.array([[3, 1], [0, 4]]))
        >>> round(scores.uf1, 3), round(scores.uar, 3), scores.acc
        (0.873, 0.875, 0.875)
    """
    if not confusion.sum():
        raise StagkitError("there is no prediction to score.")
    f1, recall, acc = (part[0] for part in _class_scores(confusion[None].astype(float)))
    uf1, uar = float(np.nanmean(f1)), float(np.nanmean(recall))
    return Scores(uf1, uar, float(acc), tuple(f1.tolist()), tuple(recall.tolist()), int(confusion.sum()))


def _class_scores(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """F1 and recall "many cls" (NaN for a class without a clip) and accuracy "many" of confusions "many cls cls"."""
    true_positive = np.einsum("mcc->mc", confusions)
    n_true, n_predicted = confusions.sum(2), confusions.sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        f1 = np.where(n_true > 0, 2 * true_positive / (n_true + n_predicted), np.nan)
        recall = np.where(n_true > 0, true_positive / n_true, np.nan)
        return f1, recall, true_positive.sum(1) / confusions.sum((1, 2))


def _count_clips(which: np.ndarray, label: np.ndarray, prediction: np.ndarray, n_classes: int) -> np.ndarray:
    """Confusions float "seed subject cls cls" of predictions "seed clip" (or "clip"); ``which`` subject "clip"."""
    label, prediction = np.asarray(label, int), np.atleast_2d(np.asarray(prediction, int))
    counts = np.zeros((len(prediction), which.max() + 1, n_classes, n_classes))
    for one, predicted in zip(counts, prediction, strict=True):
        compute_confusion(label, predicted, n_classes)  # raises if not one valid class per clip
        np.add.at(one, (which, label, predicted), 1)
    return counts


def _mean_statistic(counts: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """For ``bootstrap``: weights "draw subject" -> UF1, UAR, accuracy, then F1 of each class, "draw score", mean over seeds
    that are scored by themselves; ``counts``: confusions "seed subject cls cls".
    """
    repeats, n_classes = len(counts), counts.shape[-1]
    per_subject = counts.swapaxes(0, 1).reshape(counts.shape[1], -1)

    def statistic(weights: np.ndarray) -> np.ndarray:
        f1, recall, acc = _class_scores((weights @ per_subject).reshape(-1, n_classes, n_classes))
        n_known = (~np.isnan(f1)).sum(1)
        with np.errstate(invalid="ignore"):  # a draw without any clip has no score: NaN
            uf1, uar = np.nansum(f1, 1) / n_known, np.nansum(recall, 1) / n_known
        return np.column_stack([uf1, uar, acc, f1]).reshape(len(weights), repeats, -1).mean(1)

    return statistic


def _get_intervals(found: Estimate) -> dict[str, tuple[float, float]]:
    return {name: (float(found.low[i]), float(found.high[i])) for i, name in enumerate(SCORES)}


def compute_interval(
    label: Sequence[int], prediction: Sequence[int], subject: Sequence[str], n_classes: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals by bootstrap over subjects of the mean over seeds: score -> (low, high).

    ``label``, ``subject``: "clip"; ``prediction``: int "clip", or "seed clip": each seed is scored by itself.
    """
    _, which = np.unique(np.asarray(subject), return_inverse=True)
    return _get_intervals(bootstrap(_mean_statistic(_count_clips(which, label, prediction, n_classes)), subject))


def compute_baselines(
    label: Sequence[int], prediction: Sequence[int], n_classes: int, subject: Sequence[str]
) -> dict[str, dict[str, object]]:
    """Scores of two predictions without knowledge of the clips, with ``ci95``: score -> [low, high].

    ``majority``: always the most frequent class. ``permuted``: the given predictions shuffled over the clips (mean of
    ``N_SHUFFLES`` shuffles of each seed). Arguments as in ``compute_interval``.
    """
    label, prediction = np.asarray(label, int), np.atleast_2d(np.asarray(prediction, int))
    rng, which = np.random.default_rng(0), np.unique(np.asarray(subject), return_inverse=True)[1]
    baselines = {
        "majority": np.full_like(label, np.bincount(label, minlength=n_classes).argmax())[None],
        "permuted": np.stack([rng.permutation(one) for one in prediction for _ in range(N_SHUFFLES)]),
    }
    for name, predicted in baselines.items():
        found = bootstrap(_mean_statistic(_count_clips(which, label, predicted, n_classes)), subject)
        ends = {score: list(pair) for score, pair in _get_intervals(found).items()}
        baselines[name] = {"ci95": ends, **{score: float(found.value[i]) for i, score in enumerate(SCORES)}}
    return baselines


def compute_report(table, classes: Sequence[str]) -> dict[str, object]:
    """The scores of a run over seeds, as in ``metrics.json``: ``compute_pooled``, and ``per_dataset`` of ``compute_groups``.

    ``table``: pandas DataFrame with columns ``seed, dataset, subject, label, prediction`` (class names), one row per clip
    and seed; the clips of every seed in the same order.
    """
    return compute_pooled(table, classes) | {"per_dataset": compute_groups(table, classes, table["dataset"])}


def compute_groups(table, classes: Sequence[str], group: Sequence[str]) -> dict[str, dict[str, object]]:
    """The three scores of each ``group`` of rows of a table, with ``n_clips, n_subjects, caveat``."""
    kept, out = (*SCORES, "n_subjects", "caveat"), {}
    for name, part in table.groupby(np.asarray(group)):
        scores = compute_pooled(part, classes, baselines=False)
        out[str(name)] = {k: scores[k] for k in kept} | {"n_clips": int(len(part) // part["seed"].nunique())}
    return out


def compute_pooled(table, classes: Sequence[str], baselines: bool = True) -> dict[str, object]:
    """Scores of all rows of a table (as for ``compute_report``), pooled.

    ``uf1/uar/acc``: mean and standard deviation over seeds, ``per_seed``, ``ci95`` of the mean; ``n_subjects``; ``caveat``;
    ``per_class`` F1 and recall (mean over seeds); ``confusion`` (summed over seeds); ``baselines``.
    """
    classes = list(classes)
    order = np.argsort(table["seed"].to_numpy(), kind="stable")
    seeds = sorted(table["seed"].unique())
    label, prediction = (
        table[n].map(classes.index).to_numpy()[order].reshape(len(seeds), -1) for n in ("label", "prediction")
    )
    subject = table["subject"].to_numpy().astype(str)[order].reshape(len(seeds), -1)
    if (label != label[0]).any() or (subject != subject[0]).any():
        raise StagkitError("the seeds of the table do not have the same clips in the same order.")
    label, (names, which) = label[0], np.unique(subject[0], return_inverse=True)
    counts = _count_clips(which, label, prediction, len(classes))
    confusions = counts.sum(1).astype(int)
    scores = [compute_scores(c) for c in confusions]
    interval = _get_intervals(bootstrap(_mean_statistic(counts), names))
    out: dict[str, object] = {}
    for name in SCORES:
        values = [getattr(s, name) for s in scores]
        out[name] = {
            "mean": float(np.mean(values)),
            "std": float(np.std(values, ddof=1)) if len(values) > 1 else 0.0,
            "ci95": list(interval[name]),
            "per_seed": {str(k): v for k, v in zip(seeds, values, strict=True)},
        }
    out |= {"n_subjects": len(names), "caveat": describe_caveat(len(names), *interval.values())}
    out["per_class"] = {}
    for i, c in enumerate(classes):
        means = {name: nan_to_none(np.mean([getattr(s, name)[i] for s in scores])) for name in ("f1", "recall")}
        out["per_class"][c] = {**means, "n": int((label == i).sum())}
    out["confusion"] = confusions.sum(0).tolist()
    if baselines:
        out["baselines"] = compute_baselines(label, prediction, len(classes), subject[0])
    return out


def compute_paired(
    label: Sequence[int], first: np.ndarray, second: np.ndarray, subject: Sequence[str], n_classes: int
) -> dict[str, object]:
    """How much better the first predictions are than the second on the same clips: a paired bootstrap over subjects.

    Args:
        label, subject, first, second: "clip", and int "seed clip"; the numbers of seeds may differ.

    Returns:
        For ``uf1, uar, acc``: ``first``, ``second`` (means over seeds), ``difference``, ``ci95`` and ``above_zero``
        (fraction of draws in which the first is better); ``per_class``: the same of each class's F1 (by number); ``caveat``.
    """
    subjects, which = np.unique(np.asarray(subject), return_inverse=True)
    sides = [_mean_statistic(_count_clips(which, label, side, n_classes)) for side in (first, second)]

    def statistic(weights: np.ndarray) -> np.ndarray:
        one, other = (side(weights) for side in sides)
        return np.stack([one, other, one - other], 1)

    found = bootstrap(statistic, subject)

    def row(i: int) -> dict[str, object]:
        drawn = found.draws[:, 2, i][~np.isnan(found.draws[:, 2, i])]
        return {
            **{name: nan_to_none(found.value[k, i]) for k, name in enumerate(("first", "second", "difference"))},
            "ci95": [nan_to_none(end[2, i]) for end in (found.low, found.high)],
            "above_zero": float((drawn > 0).mean()) if len(drawn) else None,
        }

    out: dict[str, object] = {name: row(i) for i, name in enumerate(SCORES)}
    out["per_class"] = [row(len(SCORES) + c) for c in range(n_classes)]
    out["caveat"] = describe_caveat(len(subjects), *(out[name]["ci95"] for name in SCORES))
    return out


def compute_calibration(probability: np.ndarray, label: Sequence[int]) -> dict[str, object]:
    r"""Reliability of the predicted class's probability.

    :math:`ECE = \sum_b \frac{n_b}{n} |acc_b - conf_b|` over equal bins of the confidence (Guo et al. 2017,
    arXiv:1706.04599).

    Args:
        probability, label: "clip cls" (rows sum to 1) and int "clip"; a clip may be repeated (several seeds).

    Returns:
        ``ece``; ``brier`` (mean squared distance to the truth, 0..2); ``log_loss`` (nats); ``bins``: for each its bounds,
        ``n``, mean ``confidence`` and ``accuracy`` (None if empty).

    Example:
        >>> compute_calibration(np.array([[0.8, 0.2]] * 5), [0, 0, 0, 0, 1])["ece"]
        0.0
    """
    probability, label = np.asarray(probability, float), np.asarray(label, int)
    if probability.ndim != 2 or len(probability) != len(label) or not len(label):
        raise StagkitError(f"{probability.shape} probabilities, {len(label)} labels: expected (clip, cls), one each.")
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
