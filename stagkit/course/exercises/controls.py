"""Checks of notebook 10, 'can a pretty picture be wrong?'"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.explain.counterfactuals import Counterfactual
from stagkit.explain.faithfulness import Curves


@exercise("10.1")
def area_of_deletion(answer: float, *, curves: Mapping[str, Curves]) -> Verdict:
    """The area under the deletion curve of integrated gradients, logits."""
    curve = curves["integrated gradients"]
    (deletion,), (insertion,) = curve.areas
    answer = float(answer)
    if abs(answer - deletion) <= 0.005 * max(1.0, abs(deletion)):
        return right(
            f"{deletion:.2f} logits: the lower, the sooner the answer falls when what was named is taken away."
        )
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
    """How many muscles have to be stilled for the answer to change."""
    if not counterfactual.muscles:
        known = answer in (0, None)
        return (
            right("nothing flips this answer: the still face gets it too.") if known else wrong("none is enough here.")
        )
    if answer == len(counterfactual.muscles):
        return right(f"{counterfactual}")
    if answer == counterfactual.tried:
        return wrong("that is how many sets were tried; count the muscles in `counterfactual.muscles`.")
    return wrong("`counterfactual.muscles` is the smallest set that was found: how long is it?")
