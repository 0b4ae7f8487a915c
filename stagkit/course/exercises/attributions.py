"""Checks of notebook 09, 'why did the network say so?'"""

from __future__ import annotations

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.explain.aggregate import Attribution, by_au, by_frame


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
        return wrong("the sign is turned round: clip minus still face.")
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
    return wrong(
        "sort from the largest down, add up, and count until half of `attribution.logit_difference[0]` is reached."
    )
