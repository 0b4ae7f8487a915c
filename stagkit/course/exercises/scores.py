"""Checks of notebooks 07, 08, 12, 13 and 20: training, evaluation, comparison, figures, your own data."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.baselines.rank_pooling import compute_mesti_weights, compute_rank_weights
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.evaluation.metrics import SCORES, Scores, compute_confusion, compute_scores
from stagkit.evaluation.run import Run
from stagkit.reports.paper.inputs import Inputs, MissingInput

if TYPE_CHECKING:
    import pandas as pd


@exercise("07.1")
def subjects_in_both_parts(answer: int, *, subjects: Sequence[str]) -> Verdict:
    """How many subjects are in both parts of a split by every second clip."""
    shared = set(subjects[::2]) & set(subjects[1::2])
    if answer == len(shared):
        return right(f"{len(shared)} of {len(set(subjects))} subjects are in both parts: the score is a leak.")
    if answer == 0:
        return wrong("zero is what it should be; look up who is in `subjects[::2]` and who in `subjects[1::2]`.")
    if answer in (len(subjects), len(subjects) // 2, -(-len(subjects) // 2)):
        return wrong("that counts clips; the question is about subjects, who have several clips each.")
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

    def score(rows: pd.DataFrame) -> Scores:
        label, prediction = (rows[name].map(list(classes).index).to_numpy() for name in ("label", "prediction"))
        return compute_scores(compute_confusion(label, prediction, len(classes)))

    answer, pooled, folds = float(answer), score(table), [score(rows).uf1 for _, rows in table.groupby("fold")]
    if abs(answer - pooled.uf1) < 5e-4:
        return right(
            f"pooled over {len(folds)} folds {pooled.uf1:.3f}; the mean of fold scores is {np.mean(folds):.3f}."
        )
    if abs(answer - np.mean(folds)) < 5e-4:
        return wrong("that is the mean of the folds' scores: count over all rows first, then score once.")
    if abs(answer - pooled.acc) < 5e-4:
        return wrong("that is the accuracy: the share of right rows, whatever their class.")
    if abs(answer - pooled.uar) < 5e-4:
        return wrong("that is the UAR, the mean recall; F1 counts false alarms too.")
    return wrong("count true and predicted classes over all rows, F1 for each class, then the mean over classes.")


@exercise("08.1")
def pooled_uf1_of_a_run(answer: float, *, run: Run) -> Verdict:
    """UF1 of the pooled predictions of a run, computed from its table."""
    return pooled_uf1(answer, table=run.predictions, classes=run.request["classes"])


@exercise("08.2")
def gain_from_nothing(answer: float, *, leak: Mapping) -> Verdict:
    """UF1 that choosing the epoch on the test clips gains where labels are shuffled."""
    answer, mean = float(answer), {name: scores["uf1"] for name, scores in leak["mean"].items()}
    wanted = mean["permuted_best_test_epoch"] - mean["permuted_last_epoch"]
    if abs(answer - wanted) < 0.002:
        return right(f"{wanted:+.3f} in UF1, out of labels that mean nothing: the rule invents it.")
    if abs(answer - (mean["best_test_epoch"] - mean["last_epoch"])) < 0.002:
        return wrong("that is the gain with the *true* labels; the keys of the shuffled ones begin with `permuted_`.")
    if abs(answer + wanted) < 0.002:
        return wrong("the sign is reversed: best test epoch minus last epoch.")
    if abs(answer - mean["permuted_best_test_epoch"]) < 0.002:
        return wrong("that is the score, not the gain: take off what the last epoch gets by chance.")
    return wrong('`leak["mean"]` has "permuted_best_test_epoch" and "permuted_last_epoch", each with "uf1".')


@exercise("08.3")
def claim_of_a_comparison(answer: str, *, paired: Mapping) -> Verdict:
    """What a paired comparison lets one say: first, second or neither is better in UF1."""
    low, high = paired["uf1"]["ci95"]
    wanted = "first" if low > 0 else "second" if high < 0 else "neither"
    interval = f"the interval of the difference goes from {low:+.3f} to {high:+.3f}"
    answer = str(answer).strip().lower()
    if answer == wanted:
        why = "it holds 0, so these subjects cannot distinguish the two" if wanted == "neither" else "it leaves out 0"
        return right(f"{interval}: {why}.")
    if answer not in ("first", "second", "neither"):
        return wrong(f"{answer!r} is none of 'first', 'second', 'neither'.")
    if wanted == "neither":
        return wrong("the larger mean alone is no evidence: does the interval of the difference hold 0?")
    if answer == "neither":
        return wrong("the interval leaves out 0 here, so one of them may be called better on such subjects.")
    return wrong("the difference is first minus second: look at its sign again.")


@exercise("12.1")
def apex_weights(answer: Sequence[float]) -> Verdict:
    """Weights of five frames with the apex in the middle."""
    given = np.asarray(answer, float)
    if given.shape != (5,):
        return wrong("five numbers are expected, one for each frame.")
    if np.allclose(given, compute_mesti_weights(5, 2)):
        return right("they add up to zero, and the clip played backwards has the same weights.")
    if np.allclose(given, compute_rank_weights(5, prefix=False)):
        return wrong("that is rank pooling of the whole clip: after the apex the order of the pairs turns round.")
    if np.allclose(given, -compute_mesti_weights(5, 2)):
        return wrong("the signs are reversed: before the apex a pair counts as later minus earlier.")
    if np.allclose(given, [-2, 0, 2, 0, -2]):
        return wrong("the apex belongs to both halves and gets its weight twice; these do not add up to zero.")
    if np.allclose(given, compute_mesti_weights(5, 2, prefix=True)):
        return wrong("that ranks the means of all frames up to each; here the frames themselves are ranked.")
    return wrong("rank pooling of three frames for each half, backwards in the second; the apex is in both.")


@exercise("12.2")
def claimed_accuracy(answer: float, *, predicted: np.ndarray, label: np.ndarray) -> Verdict:
    """The accuracy of the epoch with the best test accuracy."""
    accuracy, given = (predicted == label).mean(1), float(answer)
    if abs(given - accuracy.max()) < 1e-6:
        return right(f"optimistic {accuracy.max():.2f}, last epoch {accuracy[-1]:.2f}: the difference is the optimism.")
    if abs(given - accuracy[-1]) < 1e-6:
        return wrong("that is the score of the last epoch; some published code keeps the one with the best test score.")
    if abs(given - accuracy.mean()) < 1e-6:
        return wrong("that is the mean over the epochs; the habit keeps the best one.")
    if abs(given - (predicted == label).any(0).mean()) < 1e-6:
        return wrong("that counts a clip as right where any epoch was; one epoch has to answer all clips of the fold.")
    return wrong("one accuracy for each row of `predicted`, then the largest of them.")


@exercise("13.1")
def clips_behind_a_figure(answer: int, *, source: Mapping) -> Verdict:
    """How many clips stand behind the confusion, from its side-car."""
    ((_, n),) = source["n"].items()
    counts = sum(map(sum, next(iter(source["values"]["confusion"].values()))["counts"]))
    if answer == n["clips"]:
        return right(f"{answer} clips of {n['subjects']} subjects; the interval comes from the subjects.")
    if answer == n["subjects"]:
        return wrong("those are the subjects. The clips are next to them in `source['n']`.")
    if answer == counts:
        return wrong("that is the sum of the matrix: with several seeds every clip is in it several times.")
    return wrong("look into `source['n']`: one entry per run, with clips and subjects.")


@exercise("13.2")
def figures_that_can_be_drawn(answer: int, *, inputs: Inputs) -> Verdict:
    """How many of the thirteen figures the inputs allow."""
    import matplotlib.pyplot as plt

    from stagkit.reports.paper import FIGURES

    drawn = 0
    for entry in FIGURES:
        try:
            plt.close(entry.draw(inputs, 7.16))
            drawn += 1
        except MissingInput:
            pass
    if answer == drawn:
        return right(f"{drawn} of {len(FIGURES)}; the others wait for an ablation, a second data set or other systems.")
    if answer == len(FIGURES) - drawn:
        return wrong("those are the ones that can *not* be drawn.")
    if answer == len(FIGURES):
        return wrong("all would need an ablation, a run across data sets and a table of systems too.")
    return wrong("go through `FIGURES`, draw each, and count those that raise no `MissingInput`.")


@exercise("13.3")
def cell_of_the_table(answer: str, *, inputs: Inputs) -> Verdict:
    """UAR with its interval, as the table of results prints it."""
    rows = {score: inputs.run.metrics[score] for score in SCORES}
    printed = {k: "{:.3f} [{:.3f}, {:.3f}]".format(row["mean"], *row["ci95"]) for k, row in rows.items()}
    text = " ".join(str(answer).split())
    if text == printed["uar"]:
        return right("number and interval to the same digits, straight from the record.")
    if text in printed.values():
        return wrong("that is another score; UAR is the second one.")
    if text == printed["uar"].split(" ")[0]:
        return wrong("the interval is missing: without it the number says how well, not how surely.")
    return wrong("the form is `0.123 [0.045, 0.678]`: mean, then `ci95`, three digits each.")


@exercise("20.1")
def onset_position(answer: int, *, names: Sequence[str], onset: str) -> Verdict:
    """The 0-based position of an image among the clip's frames, sorted by the number in their names."""
    number = {name: int(re.findall(r"\d+", name)[-1]) for name in names}
    ordered = sorted(names, key=number.get)
    wanted = ordered.index(onset)
    if answer == wanted:
        return right(f"{onset} is frame {wanted}: {wanted} images come before it.")
    if answer == number[onset]:
        return wrong("that is the number in the file's name; the column counts the images that exist.")
    if answer == number[onset] - number[ordered[0]]:
        return wrong("that would be right if no number were left out: look at the names.")
    if answer == wanted + 1:
        return wrong("positions begin at 0: the first image is 0.")
    if answer == sorted(names).index(onset):
        return wrong("that is its place in the alphabet, where img11 comes before img9; sort by the number.")
    return wrong("sort the names by their number, then count how many come before it.")


@exercise("20.2")
def clips_that_cannot_be_used(answer: int, *, found: Mapping) -> Verdict:
    """How many rows of the sheet lead to no usable clip."""
    clips, names = found["clips"], ", ".join(found["skipped"]) or "none"
    lost = clips["rows"] - clips["usable"]
    if answer == lost:
        return right(f"{lost} of {clips['rows']} ({names}); every one is named with its reason.")
    if answer == clips["usable"]:
        return wrong("that many *can* be used; the question is about the others.")
    if answer == len(found["orphan_folders"]):
        return wrong("those are folders that no row names; the question is about rows without a usable clip.")
    if answer == found["frames"]["missing"]:
        return wrong("those are missing *frames*; a clip that lacks a few can still be used.")
    if answer == len(found["issues"]):
        return wrong("a warning is not a loss: those clips are kept.")
    return wrong("rows minus usable, both in `found['clips']`.")
