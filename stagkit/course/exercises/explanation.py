"""Checks of notebooks 09-11: attributions, their controls, the AU graph."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.explain.aggregate import Attribution, by_au, by_frame
from stagkit.explain.counterfactuals import Counterfactual
from stagkit.explain.faithfulness import Curves

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.core.types import Batch
    from stagkit.explorers.au_graph.widget import AUGraph
    from stagkit.network.model import Stag


@exercise("09.1")
def what_they_add_up_to(answer: float, *, attribution: Attribution, logit: float) -> Verdict:
    """The rise of the logit from a still face to the clip."""
    answer, gap = float(answer), float(attribution.logit_difference[0])
    total = float(attribution.values.sum(dtype=np.float64))
    if abs(answer - gap) <= max(1e-4, 0.001 * abs(gap)):
        return right(f"{gap:+.3f} logits; the values add up to {total:+.3f}, which misses {abs(total - gap):.1g}.")
    if abs(answer - logit) <= 0.01 * abs(logit):
        return wrong("that is the logit of the clip; the still face has a logit too, and it does not count.")
    if abs(answer - 1) < 1e-9:
        return wrong("they add up to logits, not to 1: they are no shares and no probabilities.")
    if abs(answer + gap) <= 0.001 * abs(gap):
        return wrong("the sign is reversed: clip minus still face.")
    return wrong("think of a logit at either end of the way: at the clip, and at the still face.")


@exercise("09.2")
def leading_action_unit(answer: str, *, attribution: Attribution) -> Verdict:
    """The AU with the largest positive sum."""
    units = by_au(attribution)[0]
    wanted = AU_LABELS[units[:-1].argmax()]
    if str(answer) == wanted:
        return right(f"{wanted} adds {units[:-1].max():+.2f} logits; what no AU can have moved adds {units[-1]:+.2f}.")
    if str(answer) == "none" or (isinstance(answer, (int, np.integer)) and answer == len(AU_LABELS)):
        return wrong("that is the last column, 'none': motion that fits no AU. Leave it out.")
    if isinstance(answer, (int, np.integer)) and answer == units[:-1].argmax():
        return wrong("that is the place in the table; `AU_LABELS` turns it into a name.")
    if str(answer) not in AU_LABELS:
        return wrong(f"{answer!r} is no AU label; they look like {wanted[:2]}04.")
    if str(answer) == AU_LABELS[np.abs(units[:-1]).argmax()] or units[AU_LABELS.index(str(answer))] < 0:
        return wrong("this AU speaks against the answer: do not take absolute values.")
    return wrong("another AU adds more logits; take the largest of `by_au(attribution)[0][:-1]`.")


@exercise("09.3")
def frames_for_half(answer: int, *, attribution: Attribution) -> Verdict:
    """How many frames, from the largest down, explain half of the rise."""
    frames, half = by_frame(attribution)[0], float(attribution.logit_difference[0]) / 2
    wanted = int((np.sort(frames)[::-1].cumsum() < half).sum()) + 1
    in_time = int((frames.cumsum() < half).sum()) + 1
    if answer == wanted:
        return right(f"{wanted} of {len(frames)} frames carry half of the rise.")
    if answer == wanted - 1:
        return wrong("one too few: the frame that crosses the half belongs to it.")
    if answer == in_time:
        return wrong("that takes the frames in the order of time; take the largest first.")
    return wrong("sort from the largest down, and count until half of `attribution.logit_difference[0]` is reached.")


@exercise("10.1")
def area_of_deletion(answer: float, *, curves: Mapping[str, Curves]) -> Verdict:
    """The area under the deletion curve of integrated gradients, logits."""
    curve = curves["integrated gradients"]
    (deletion,), (insertion,) = curve.areas
    answer = float(answer)
    if abs(answer - deletion) <= 0.005 * max(1.0, abs(deletion)):
        return right(f"{deletion:.2f} logits: the lower, the sooner the answer falls without what was named.")
    if abs(answer - insertion) <= 0.005 * max(1.0, abs(insertion)):
        return wrong("that is the area under *insertion*; deletion is the curve that falls.")
    if abs(answer - curve.deletion[0].mean()) <= 0.005 * max(1.0, abs(deletion)):
        return wrong("that is the mean of the points; at the two ends an area counts a point by half (`np.trapezoid`).")
    if abs(answer - np.trapezoid(curve.deletion[0])) <= 0.01 * abs(answer):
        return wrong("the steps are not one wide: give `curve.share` as the x values.")
    return wrong("`np.trapezoid(heights, x)` of `curves['integrated gradients'].deletion[0]` over its `share`.")


@exercise("10.2")
def map_that_knows_no_network(answer: str, *, cascades: Mapping[str, Mapping[str, np.ndarray]]) -> Verdict:
    """The map that stays the same when the whole network is randomised."""
    last = {name: float(np.nanmean(list(stages.values())[-1])) for name, stages in cascades.items()}
    wanted = max(last, key=last.get)
    if str(answer) == wanted:
        return right(f"{wanted} keeps a similarity of {last[wanted]:.2f}: it never asked the network.")
    if str(answer) in last:
        return wrong(f"that map changes, to a similarity of {last[str(answer)]:.2f}: it does depend on the weights.")
    return wrong(f"{answer!r} is no name in `cascades`; there are {', '.join(last)}.")


@exercise("10.3")
def muscles_to_still(answer: int, *, counterfactual: Counterfactual) -> Verdict:
    """How many muscles have to be ablated to change the prediction."""
    if not counterfactual.muscles:
        if answer == 0:
            return right("nothing flips this answer: the still face gets it too.")
        return wrong("none is enough here.")
    if answer == len(counterfactual.muscles):
        return right(str(counterfactual))
    if answer == counterfactual.tried:
        return wrong("that is how many sets were tried; count the muscles in `counterfactual.muscles`.")
    return wrong("`counterfactual.muscles` is the smallest set that was found: how long is it?")


@exercise("11.1")
def sum_of_terms(answer: float, *, table: pd.DataFrame) -> Verdict:
    """The logit, from the terms of the AUs and of the AU edges."""
    sums, margins = (table.groupby("kind")[column].sum() for column in ("logit", "margin"))
    first, second = ["bias", "au", "au edge"], ["without region edges", "region edge"]
    answer, wanted = float(answer), sums[first].sum()
    if abs(answer - wanted) < 1e-3:
        return right(
            f"{wanted:+.3f}, the logit; region edges and what is left without them: {sums[second].sum():+.3f}."
        )
    if abs(answer - sums.sum()) < 1e-3:
        return wrong(
            "that counts everything twice: AUs and AU edges are one way to split a logit, region edges another."
        )
    if abs(answer - margins[first].sum()) < 1e-3:
        return wrong(
            "those are terms of the *margin*, this logit minus that of the runner-up; take the column `logit`."
        )
    if abs(answer - sums[["au", "au edge"]].sum()) < 1e-3:
        return wrong("the bias is missing.")
    if abs(answer - sums["au edge"]) < 1e-3 or abs(answer - sums["au"]) < 1e-3:
        return wrong("that is one kind of terms; add the others of this way.")
    return wrong("the column `logit` of the kinds 'bias', 'au' and 'au edge', added up.")


@exercise("11.2")
def strongest_unit_shown(answer: str, *, widget: AUGraph) -> Verdict:
    """The AU with the highest activation in the frame that the explorer shows."""
    activation = widget.scene.activation[widget.place, widget.frame]
    wanted = AU_LABELS[activation.argmax()]
    if answer not in AU_LABELS:
        return wrong(f"{answer!r} is no AU label: did you set `widget.selected_au` first?")
    if answer != wanted:
        overall = AU_LABELS[widget.scene.activation[widget.place].max(0).argmax()]
        if answer == overall:
            return wrong("that AU is strongest over the whole clip; the question is about the frame that is shown.")
        return wrong(f"another AU has a higher activation in frame {widget.frame} of clip {widget.clip}.")
    if widget.selected_au != wanted:
        return wrong(f"{wanted} is right, but the explorer does not show it yet: set `widget.selected_au`.")
    return right(f"{wanted}, activation {activation.max():.2f}.")


@exercise("11.3")
def drop_without_an_au(answer: float, *, model: Stag, batch: Batch, au: str) -> Verdict:
    """By how many percentage points the probability of the answer drops when an AU is clamped to zero."""
    import torch

    from stagkit.explain.interventions import make_hooks
    from stagkit.network.hooks import intervene

    with torch.no_grad():
        before = model.logits(batch.x, batch.mask, batch.times_ms)[0]
        with intervene(model, make_hooks([["au", au]])):
            after = model.logits(batch.x, batch.mask, batch.times_ms)[0]
    predicted = int(before.argmax())
    drop = 100 * float((before.softmax(-1) - after.softmax(-1))[predicted])
    answer, close = float(answer), max(0.01, 0.02 * abs(drop))
    if abs(answer - drop) <= close:
        return right(f"without {au} the probability drops by {drop:.2f} percentage points.")
    if abs(answer + drop) <= close:
        return wrong("the sign is reversed: a drop is before minus after.")
    if abs(100 * answer - drop) <= close:
        return wrong("that is a difference of probabilities; one percentage point is 0.01.")
    if abs(answer - float((before - after)[predicted])) <= 0.02 * abs(float((before - after)[predicted])) + 1e-4:
        return wrong("that is the change of the logit; take softmax first.")
    return wrong(f"compare the probability of class {predicted} with and without `make_hooks([['au', {au!r}]])`.")
