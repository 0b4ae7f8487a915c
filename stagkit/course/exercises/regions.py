"""Checks of notebook 03, 'which muscle moved, and where would you see it?'"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong


@exercise("03.1")
def width_of_a_region(answer: float, *, iod_px: float) -> Verdict:
    """Side of a region's square in px, for a face whose outer eye corners are ``iod_px`` apart."""
    from stagkit.core.regions import ATLAS

    half, answer = ATLAS.radius * iod_px, float(answer)
    if abs(answer - 2 * half) <= 0.02 * half:
        return right(f"{2 * half:.1f} px: the same share of the face, however near it is.")
    if abs(answer - half) <= 0.02 * half:
        return wrong("that is half a side: the radius goes from the middle to an edge.")
    if abs(answer - 2 * ATLAS.radius) < 1e-3:
        return wrong("that is in eye distances; the question asks for pixels.")
    if abs(answer - 4 * half**2) <= 0.1 * half**2:
        return wrong("that is the area of the square; the question asks for its side.")
    return wrong("a region reaches `ATLAS.radius` eye distances to each side of its middle.")


@exercise("03.2")
def one_unit_for_one_region(answer: Mapping[str, float], *, region: str) -> Verdict:
    """The answers of a face pulled so that ``region`` moves most, and its mirror partner hardly."""
    most, other = max(answer, key=answer.get), region[:-1] + {"L": "R", "R": "L"}[region[-1]]
    if answer[most] < 0.05:
        return wrong("nothing moves: all strengths are 0, or the frame lies at rest; the apex is frame 12.")
    if most == other:
        return wrong("that is the other side: R is the *subject's* right, on the left of the picture.")
    if most != region:
        return wrong(f"{most} moves most. Which muscle has its end in the {region[:-2].replace('_', ' ')}?")
    if answer[region] < 1.5 * answer[other]:
        return wrong("both sides move; a code may name one.")
    return right(f"{region} moves by {answer[region]:.1f} % of the eye distance on average, more than all others.")


@exercise("03.3")
def twins(answer: Sequence[str], *, unit: str) -> Verdict:
    """(the unit most like ``unit`` by how much each region moves, the one most like it by where each region moves to)."""
    from stagkit.core.facs import AU_LABELS
    from stagkit.core.regions import ATLAS

    by_speed = find_twin(unit, ATLAS.incidence)
    by_direction = find_twin(unit, ATLAS.directions.reshape(len(AU_LABELS), -1))
    if isinstance(answer, str) or len(answer) != 2:
        return wrong("two labels are asked for, e.g. ('AU01', 'AU02').")
    first, second = (str(a).upper() for a in answer)
    if (first, second) == (by_speed, by_direction):
        return right(
            f"by speed {by_speed}, by direction {by_direction}: the network is shown u and v, not speed alone."
        )
    if unit in (first, second):
        return wrong("every unit is most like itself: leave it out.")
    if (second, first) == (by_speed, by_direction):
        return wrong("the right two, in the other order: speed first.")
    if first == by_speed:
        return wrong("the first is right; for the second, flatten u and v of all regions into one row.")
    if second == by_direction:
        return wrong("the second is right; for the first, compare the rows of `ATLAS.incidence`.")
    return wrong("divide every row by its length; the products of rows are then their similarities.")


def find_twin(unit: str, table: np.ndarray) -> str:
    """Label of the unit whose row is most like that of ``unit`` (cosine similarity), itself left out.

    Args:
        unit: e.g. ``"AU12"``.
        table: float "au feature".
    """
    from stagkit.core.facs import AU_LABELS

    rows = table / np.linalg.norm(table, axis=1, keepdims=True)
    k = AU_LABELS.index(unit)
    alike = rows @ rows[k]
    alike[k] = -np.inf
    return AU_LABELS[int(alike.argmax())]
