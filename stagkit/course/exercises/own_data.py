"""Checks of notebook 20, 'will it work on your own data?'"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from stagkit.course.exercises import Verdict, exercise, right, wrong


@exercise("20.1")
def onset_position(answer: int, *, names: Sequence[str], onset: str) -> Verdict:
    """The 0-based position of a picture among the clip's frames, sorted by the number in their names."""
    number = {name: int(re.findall(r"\d+", name)[-1]) for name in names}
    ordered = sorted(names, key=number.get)
    wanted = ordered.index(onset)
    if answer == wanted:
        return right(f"{onset} is frame {wanted}: {wanted} pictures come before it.")
    if answer == number[onset]:
        return wrong("that is the number in the file's name; the column counts the pictures that are there.")
    if answer == number[onset] - number[ordered[0]]:
        return wrong("that would be right if no number were left out: look at the names.")
    if answer == wanted + 1:
        return wrong("positions begin at 0: the first picture is 0.")
    if answer == sorted(names).index(onset):
        return wrong("that is its place in the alphabet, where img11 comes before img9; sort by the number.")
    return wrong("sort the names by their number, then count how many come before it.")


@exercise("20.2")
def clips_that_cannot_be_used(answer: int, *, found: Mapping) -> Verdict:
    """How many rows of the sheet lead to no usable clip."""
    clips = found["clips"]
    lost = clips["rows"] - clips["usable"]
    if answer == lost:
        names = ", ".join(found["skipped"])
        return right(f"{lost} of {clips['rows']} ({names or 'none'}); every one is named with its reason.")
    if answer == clips["usable"]:
        return wrong("that many *can* be used; the question is about the others.")
    if answer == len(found["orphan_folders"]):
        return wrong("those are folders that no row names; the question is about rows without a usable clip.")
    if answer == found["frames"]["missing"]:
        return wrong("those are missing *frames*; a clip that lacks a few can still be used.")
    if answer == len(found["issues"]):
        return wrong("odd is not lost: those clips are kept, and what is odd about them is told.")
    return wrong("rows minus usable, both in `found['clips']`.")


@exercise("20.3")
def move_one_region(answer: Mapping[str, float], *, region: str) -> Verdict:
    """The answers of a face that was set so that one region moves most."""
    most = max(answer, key=answer.get)
    if answer[most] < 0.05:
        return wrong("nothing moves: at rest, or at strength 0; the apex is in the middle of the clip.")
    if most == region and answer[most] > 1.5 * answer[_mirror(region)]:
        return right(f"{region} moves by {answer[region]:.1f} % of the eye distance on average, more than all others.")
    if most == region:
        return wrong("both sides move; choose the side.")
    if most == _mirror(region):
        return wrong("that is the other side: R is the *subject's* right, on the left of the picture.")
    return wrong(f"{most} moves most. Which muscle ends in {region.replace('_', ' ')}?")


def _mirror(region: str) -> str:
    return region[:-1] + {"L": "R", "R": "L"}[region[-1]]
