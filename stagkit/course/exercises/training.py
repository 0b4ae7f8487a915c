"""Checks of notebook 07, 'what does it take to train STAG?'"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.evaluation.metrics import compute_confusion, compute_scores

if TYPE_CHECKING:
    import pandas as pd


@exercise("07.1")
def people_in_both_parts(answer: int, *, subjects: Sequence[str]) -> Verdict:
    """How many people are in both parts of a split by every second clip."""
    shared = set(subjects[::2]) & set(subjects[1::2])
    if answer == len(shared):
        return right(f"{len(shared)} of {len(set(subjects))} people are trained on and tested on: the score is a leak.")
    if answer == 0:
        return wrong("zero is what it should be; look up who is in `subjects[::2]` and who in `subjects[1::2]`.")
    if answer in (len(subjects), len(subjects) // 2, -(-len(subjects) // 2)):
        return wrong("that counts clips; the question is about people, and a person has several clips.")
    return wrong("take the set of names on either side, and count the names that are in both.")


@exercise("07.2")
def lazy_uf1(answer: float, *, label: np.ndarray, n_classes: int) -> Verdict:
    """UF1 of always answering the first class."""
    scores = compute_scores(compute_confusion(label, np.zeros_like(label), n_classes))
    answer = float(answer)
    if abs(answer - scores.uf1) < 0.005:
        return right(f"UF1 is {scores.uf1:.3f}, while the accuracy is {scores.acc:.3f}.")
    if abs(answer - scores.f1[0]) < 0.005:
        return wrong("that is the F1 of the first class alone; the classes that are never answered have 0, and count.")
    if abs(answer - scores.acc) < 0.005:
        return wrong("that is the accuracy (with equal classes also the UAR); F1 counts false alarms too.")
    return wrong("F1 of a class is 2 TP / (2 TP + FP + FN); UF1 is the mean over all classes.")


@exercise("07.3")
def pooled_uf1(answer: float, *, table: pd.DataFrame, classes: Sequence[str]) -> Verdict:
    """UF1 of all predictions of a run, pooled."""
    pooled = _score(table, classes)
    folds = [_score(part, classes).uf1 for _, part in table.groupby("fold")]
    answer = float(answer)
    if abs(answer - pooled.uf1) < 5e-4:
        return right(
            f"pooled over {len(folds)} folds: {pooled.uf1:.3f}; the mean of fold scores is {np.mean(folds):.3f}."
        )
    if abs(answer - np.mean(folds)) < 5e-4:
        return wrong("that is the mean of the folds' scores: count over all rows first, then score once.")
    if abs(answer - pooled.acc) < 5e-4:
        return wrong("that is the accuracy: the share of right rows, whatever their class.")
    if abs(answer - pooled.uar) < 5e-4:
        return wrong("that is the UAR, the mean recall; F1 counts false alarms too.")
    return wrong("count true and predicted classes over all rows, F1 for each class, then the mean over classes.")


def _score(table: pd.DataFrame, classes: Sequence[str]):
    label, prediction = (table[name].map(list(classes).index).to_numpy() for name in ("label", "prediction"))
    return compute_scores(compute_confusion(label, prediction, len(classes)))
