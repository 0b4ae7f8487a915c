"""Checks of notebook 08, 'would it know a stranger?'"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.evaluation.metrics import compute_confusion, compute_scores
from stagkit.evaluation.run import Run


@exercise("08.1")
def pooled_score(answer: float, *, run: Run) -> Verdict:
    """UF1 of the pooled predictions of a run, computed from its table."""
    classes, table = list(run.request["classes"]), run.predictions
    label, said = (table[name].map(classes.index).to_numpy() for name in ("label", "prediction"))
    pooled = compute_scores(compute_confusion(label, said, len(classes)))
    parts = [table["fold"].to_numpy() == fold for fold in table["fold"].unique()]
    per_fold = np.mean([compute_scores(compute_confusion(label[p], said[p], len(classes))).uf1 for p in parts])
    answer = float(answer)
    if abs(answer - pooled.uf1) < 0.002:
        return right(f"{pooled.uf1:.3f}: all folds pooled first, scored once. The mean of the folds is {per_fold:.3f}.")
    if abs(answer - per_fold) < 0.002:
        return wrong("that is the mean over folds: a fold has a few clips, often without some class. Pool, then score.")
    if abs(answer - pooled.acc) < 0.002:
        return wrong("that is the accuracy; UF1 is the mean over *classes* of their F1.")
    if abs(answer - pooled.uar) < 0.002:
        return wrong("that is UAR, the mean recall; UF1 counts false alarms too.")
    return wrong("the confusion of all rows of `run.predictions` at once, then `compute_scores(...).uf1`.")


@exercise("08.2")
def gain_from_nothing(answer: float, *, leak: Mapping) -> Verdict:
    """UF1 that choosing the epoch on the test clips gains where labels are shuffled."""
    mean = {name: scores["uf1"] for name, scores in leak["mean"].items()}
    wanted = mean["permuted_best_test_epoch"] - mean["permuted_last_epoch"]
    answer = float(answer)
    if abs(answer - wanted) < 0.002:
        return right(f"{wanted:+.3f} in UF1, out of labels that mean nothing: the rule invents it.")
    if abs(answer - (mean["best_test_epoch"] - mean["last_epoch"])) < 0.002:
        return wrong(
            "that is the gain with the *true* labels; the shuffled ones are the keys that begin with `permuted_`."
        )
    if abs(answer + wanted) < 0.002:
        return wrong("the sign is reversed: best test epoch minus last epoch.")
    if abs(answer - mean["permuted_best_test_epoch"]) < 0.002:
        return wrong("that is the score, not the gain: take off what the last epoch gets by chance.")
    return wrong('`leak["mean"]` has "permuted_best_test_epoch" and "permuted_last_epoch", each with "uf1".')


@exercise("08.3")
def claim_of_a_comparison(answer: str, *, paired: Mapping) -> Verdict:
    """What a paired comparison lets one say: first, second or neither is better in UF1."""
    row = paired["uf1"]
    low, high = row["ci95"]
    wanted = "first" if low > 0 else "second" if high < 0 else "neither"
    said = f"the interval of the difference goes from {low:+.3f} to {high:+.3f}"
    answer = str(answer).strip().lower()
    if answer == wanted:
        why = "it holds 0, so these people cannot tell the two apart" if wanted == "neither" else "it leaves out 0"
        return right(f"{said}: {why}.")
    if answer not in ("first", "second", "neither"):
        return wrong(f"{answer!r} is none of 'first', 'second', 'neither'.")
    if wanted == "neither":
        return wrong("the larger mean alone is no evidence: does the interval of the difference hold 0?")
    if answer == "neither":
        return wrong("the interval leaves out 0 here, so one of them may be called better on such people.")
    return wrong("the difference is first minus second: look at its sign again.")
