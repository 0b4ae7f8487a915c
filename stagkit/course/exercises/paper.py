"""Checks of notebook 13, 'can one command draw a paper again?'"""

from __future__ import annotations

from collections.abc import Mapping

from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.evaluation.metrics import SCORES
from stagkit.reports.paper.inputs import Inputs, MissingInput


@exercise("13.1")
def clips_behind_a_figure(answer: int, *, source: Mapping) -> Verdict:
    """How many clips stand behind the confusion, from its side-car."""
    ((_, n),) = source["n"].items()
    counts = sum(map(sum, next(iter(source["values"]["confusion"].values()))["counts"]))
    if answer == n["clips"]:
        return right(f"{answer} clips of {n['subjects']} people; the interval comes from the people.")
    if answer == n["subjects"]:
        return wrong("those are the people. The clips stand beside them in `source['n']`.")
    if answer == counts:
        return wrong("that is the sum of the matrix: with several seeds every clip is in it several times.")
    return wrong("look into `source['n']`: one entry a run, with clips and subjects.")


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
    said = {}
    for score in SCORES:
        row = inputs.run.metrics[score]
        low, high = row["ci95"]
        said[score] = f"{row['mean']:.3f} [{low:.3f}, {high:.3f}]"
    text = " ".join(str(answer).split())
    if text == said["uar"]:
        return right("number and interval to the same digits, straight from the record.")
    if text in said.values():
        return wrong("that is another score; UAR is the second one.")
    if text == said["uar"].split(" ")[0]:
        return wrong("the interval is missing: without it the number says how well, not how surely.")
    return wrong("the form is `0.123 [0.045, 0.678]`: mean, then `ci95`, three digits each.")
