"""Sums of an attribution: to regions, muscles, action units, frames, sides, edges. Signed, in logits, nothing lost.

Every table adds up to the whole attribution; a test holds them to it. Where a sum needs an axis that was not varied (an
attribution to edges has no muscles), ``ExplainError`` says which.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Attribution, StagkitError
from stagkit.explain.motion_decomposition import MUSCLES, SIDED_AU_INDEX, SIDED_AU_MUSCLES, compute_au_shares

if TYPE_CHECKING:
    import pandas as pd

SIDES = ("left", "midline", "right")


class ExplainError(StagkitError):
    """An explanation that cannot be computed, or must not be drawn."""


def sum_over(attribution: Attribution, *kept: str) -> np.ndarray:
    """Signed sum over every axis but ``clip`` and those named: float64 "clip ...", logits.

    Raises:
        ExplainError: an axis that this attribution does not have.
    """
    axes = attribution.axes.split()
    for name in kept:
        if name not in axes:
            raise ExplainError(
                f"this attribution ({attribution.method} of {' and '.join(attribution.inputs)}) has the axes "
                f"'{attribution.axes}', no axis '{name}': take one that varies it."
            )
    others = tuple(i for i, name in enumerate(axes) if name not in ("clip", *kept))
    return attribution.values.sum(others, dtype=np.float64)


def by_roi(attribution: Attribution) -> np.ndarray:
    """Signed sum for each region: float "clip roi", logits; sums to the whole."""
    return sum_over(attribution, "roi")


def by_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum for each frame: float "clip time", logits; sums to the whole."""
    return sum_over(attribution, "time")


def by_roi_and_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum for each region in each frame: float "clip time roi", logits; sums to the whole."""
    return sum_over(attribution, "time", "roi")


def to_map(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """The attribution as a map: float "clip time roi", logits; sums to the whole.

    Where only regions or only frames were varied, their value is spread evenly over what was seen of them. AU evidence is
    drawn where each AU acts: on the regions that it moves, by its incidence (stagkit's choice).

    Raises:
        ExplainError: an attribution to something that has no place (edges, units).
    """
    axes, mask = attribution.axes.split(), attribution.mask
    if "roi" in axes and "time" in axes:
        return by_roi_and_frame(attribution)
    if "roi" in axes:
        return by_roi(attribution)[:, None] * mask / np.maximum(mask.sum(1, keepdims=True), 1)
    if "au" in axes:
        share = atlas.incidence / np.maximum(atlas.incidence.sum(1, keepdims=True), 1e-9)
        return sum_over(attribution, "time", "au") @ share
    if "target" in axes:
        sum_over(attribution, "roi")
    return by_frame(attribution)[:, :, None] * mask / np.maximum(mask.sum(2, keepdims=True), 1)


def by_edge(attribution: Attribution) -> np.ndarray:
    """Signed sum for each region edge: float "clip target source", logits; sums to the whole."""
    return sum_over(attribution, "target", "source")


def by_side(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum for the subject's left side, the midline and the right side: float "clip side" (``SIDES``), logits."""
    sides = np.array([{"L": 0, "": 1, "R": 2}[roi.side] for roi in atlas.rois])
    return by_roi(attribution) @ np.eye(len(SIDES))[sides]


def by_sided_au_and_frame(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum for each unit (``motion_decomposition.SIDED_AUS``) in each frame: float "clip time sided_au", logits.

    A region's value in a frame goes to the muscles that moved it then, in their shares (``compute_au_shares``); what no
    muscle accounts for goes to 'none'.
    """
    each = by_roi_and_frame(attribution)
    return np.einsum("ctn,ctnu->ctu", each, compute_au_shares(attribution.flow, attribution.mask, atlas))


def by_sided_au(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum for each action unit, left and right apart: float "clip sided_au", logits; the last column is 'none'."""
    if "sided_au" in attribution.axes.split():
        return sum_over(attribution, "sided_au")
    return by_sided_au_and_frame(attribution, atlas).sum(1)


def by_au(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum for each AU: float "clip au", logits; the last column is 'none', sums to the whole."""
    if "au" in attribution.axes.split():
        return np.pad(sum_over(attribution, "au"), ((0, 0), (0, 1)))
    return by_sided_au(attribution, atlas) @ np.eye(len(AU_LABELS) + 1)[SIDED_AU_INDEX]


def by_muscle(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum for each muscle, left and right apart: float "clip muscle" (``motion_decomposition.MUSCLES``), logits.

    Muscles that one AU always moves together share a column (corrugator and depressor supercilii). The last column is
    'none'; sums to the whole.
    """
    return by_sided_au(attribution, atlas) @ np.eye(len(MUSCLES))[[MUSCLES.index(m) for m in SIDED_AU_MUSCLES]]


def tabulate(attribution: Attribution) -> dict[str, pd.DataFrame]:
    """The sums that this attribution has, as tables, one row a clip, and ``clips`` (target, gap, delta)."""
    import pandas as pd

    index = pd.Index(attribution.clip_ids, name="clip")
    frames = [f"frame{t + 1:02d}" for t in range(attribution.times_ms.shape[1])]
    makers = {
        "by_roi": (by_roi, list(attribution.roi_names)),
        "by_muscle": (by_muscle, list(MUSCLES)),
        "by_au": (by_au, [*AU_LABELS, "none"]),
        "by_side": (by_side, list(SIDES)),
        "by_frame": (by_frame, frames),
    }
    tables = {}
    for name, (make, columns) in makers.items():
        try:
            tables[name] = pd.DataFrame(make(attribution), index, columns)
        except ExplainError:
            continue
    if "target" in attribution.axes.split():
        names = attribution.roi_names
        columns = [f"{target} <- {source}" for target in names for source in names]
        tables["by_edge"] = pd.DataFrame(by_edge(attribution).reshape(len(index), -1), index, columns)
    tables["clips"] = pd.DataFrame(
        {
            "target": [attribution.classes[k] for k in attribution.target],
            "logit_difference": attribution.logit_difference,
            "convergence_delta": attribution.convergence_delta,
            "relative_delta": attribution.relative_delta,
        },
        index,
    )
    return tables


def describe_clip(attribution: Attribution, clip: int = 0) -> str:
    """One sentence on a clip that says only what the numbers say: the muscle that carries most, its share, its time.

    Left and right are named together where both carry the same sign and the weaker at least a quarter of the two. The
    time is the shortest stretch of frames that holds half of what that muscle carries.

    Example of the form: 'left and right zygomaticus major carry +1.8 of the +2.3 logits for happiness, mostly 80-140 ms
    after onset.'
    """
    name, gap = attribution.classes[attribution.target[clip]], float(attribution.logit_difference[clip])
    units = by_sided_au(attribution)[clip]
    sign = 1.0 if gap >= 0 else -1.0
    word = "for" if gap >= 0 else "against"
    muscles, sides = _join_sides(units * sign)
    best = max(muscles, key=muscles.get)
    nobody = units[-1] * sign
    if muscles[best] <= 0 or nobody > max(muscles.values()):
        return (
            f"no muscle carries the {gap:+.1f} logits {word} {name}: {units[-1]:+.1f} of them lie in motion that no "
            "action unit accounts for."
        )
    verb = "carry" if " and " in sides[best] else "carries"
    said = f"{sides[best]}{best} {verb} {muscles[best] * sign:+.1f} of the {gap:+.1f} logits {word} {name}"
    if "time" in attribution.axes.split() and attribution.mask[clip].any(1).sum() > 1:
        chosen = [i for i, m in enumerate(SIDED_AU_MUSCLES) if _bare(m) == best and _side(m) in sides[best]]
        course = by_sided_au_and_frame(attribution)[clip][:, chosen].sum(1) * sign
        first, last = _find_stretch(course)
        times = attribution.times_ms[clip]
        at = f"at {times[first]:.0f} ms" if first == last else f"{times[first]:.0f}-{times[last]:.0f} ms"
        said += f", mostly {at} after onset"
    return said + "."


def _side(muscle: str) -> str:
    return muscle.split(" ")[0] if muscle.startswith(("left ", "right ")) else ""


def _bare(muscle: str) -> str:
    return muscle.removeprefix("left ").removeprefix("right ")


def _join_sides(units: np.ndarray) -> tuple[dict[str, float], dict[str, str]]:
    """Muscle without side -> value, and -> the words for the sides that carry it; 'none' is left out."""
    each: dict[str, dict[str, float]] = {}
    for muscle, value in zip(SIDED_AU_MUSCLES[:-1], units[:-1], strict=True):
        sides = each.setdefault(_bare(muscle), {})
        sides[_side(muscle)] = sides.get(_side(muscle), 0.0) + float(value)
    values, words = {}, {}
    for muscle, sides in each.items():
        strong = max(sides, key=sides.get)
        both = sum(sides.values())
        if len(sides) == 2 and min(sides.values()) >= 0.25 * both > 0:
            values[muscle], words[muscle] = both, "left and right "
        else:
            values[muscle], words[muscle] = sides[strong], f"{strong} " if strong else ""
    return values, words


def _find_stretch(course: np.ndarray) -> tuple[int, int]:
    """First and last frame of the shortest stretch that holds at least half of the sum (of what is positive, where the
    sum is not)."""
    gain = course if course.sum() > 0 else np.maximum(course, 0)
    reached = np.concatenate([[0.0], np.cumsum(gain)])
    n = len(course)
    for length in range(1, n + 1):
        sums = reached[length:] - reached[: n - length + 1]
        if sums.max() >= 0.5 * gain.sum():
            return int(sums.argmax()), int(sums.argmax()) + length - 1
    return 0, n - 1
