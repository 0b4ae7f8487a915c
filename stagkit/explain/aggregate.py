"""``Attribution`` and its sums over regions, muscles, action units, frames, sides or edges: signed, in logits, complete.

A sum over an axis that was not varied (edges have no muscles) is an ``ExplainError``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError, check_axes
from stagkit.explain.motion_decomposition import MUSCLES, SIDED_AU_INDEX, SIDED_AU_MUSCLES, SIDED_AUS, compute_au_shares

if TYPE_CHECKING:
    import pandas as pd

#: An attribution whose sum misses the logit gap by more than this share of it is not drawn.
MAX_DELTA = 0.05


@dataclass(frozen=True)
class Attribution:
    """How much each input value adds to the logit of ``target``, against a baseline; unit: logits.

    Args:
        values: float32, shaped like what was varied; ``axes`` names its axes.
        inputs: what was varied: ``("x",)`` motion, ``("region edges",)``, ``("region tokens",)``, ``("frame tokens",)``.
        method, settings: e.g. ``"integrated gradients"`` and its number of steps.
        target: int64 "clip", the class explained for each clip.
        baseline: in words, e.g. ``"zero flow (no motion)"``.
        flow: float32 "clip time roi 2", mean (u, v) of each region, in the unit of the data: what the values explain.
        logit_difference: float "clip", logit(x) - logit(baseline).
        convergence_delta: float "clip", sum(values) - logit_difference: what completeness misses.
        run: id of the run whose weights were explained, '' where none.
        axes: of ``values``: ``clip time roi chan py px`` (each motion value), or coarser: ``clip roi``, ``clip time``,
            ``clip time roi``, ``clip sided_au``, ``clip time au``, ``clip time roi au`` (exact terms), ``clip time edge``.
        edge_names: of the axis ``edge`` (``exact_terms.name_region_edges``), () without it.
    """

    values: np.ndarray
    inputs: tuple[str, ...]
    method: str
    settings: Mapping[str, object]
    target: np.ndarray
    baseline: str
    logit_difference: np.ndarray
    convergence_delta: np.ndarray
    clip_ids: tuple[str, ...]
    classes: tuple[str, ...]
    roi_names: tuple[str, ...]
    times_ms: np.ndarray
    mask: np.ndarray
    flow: np.ndarray
    run: str = ""
    axes: str = "clip time roi chan py px"
    edge_names: tuple[str, ...] = ()

    def __post_init__(self):
        check_axes(
            {"clip": len(self.clip_ids), "roi": len(self.roi_names), "edge": len(self.edge_names), "chan": 3},
            values=(self.values, self.axes),
            target=(self.target, "clip"),
            logit_difference=(self.logit_difference, "clip"),
            convergence_delta=(self.convergence_delta, "clip"),
            times_ms=(self.times_ms, "clip time"),
            mask=(self.mask, "clip time roi"),
            flow=(self.flow, "clip time roi 2"),
        )

    @property
    def relative_delta(self) -> np.ndarray:
        """|convergence_delta| as a share of |logit_difference|: float "clip". Above ``MAX_DELTA`` no figure is drawn."""
        return np.abs(self.convergence_delta) / np.maximum(np.abs(self.logit_difference), 1e-8)

    def __len__(self) -> int:
        return len(self.clip_ids)


SIDES = ("left", "midline", "right")


class ExplainError(StagkitError):
    """An explanation that cannot be computed, or must not be drawn."""


def sum_over(attribution: Attribution, *kept: str) -> np.ndarray:
    """Signed sum over every axis but ``clip`` and those named: float64 "clip ...", logits."""
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
    """Signed sum per region: float "clip roi", logits."""
    return sum_over(attribution, "roi")


def by_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum per frame: float "clip time", logits."""
    return sum_over(attribution, "time")


def to_map(attribution: Attribution) -> np.ndarray:
    """The attribution as a map: float "clip time roi", logits; ``ExplainError`` for edges and sided AUs, without a place.

    If only regions or only frames were varied, their value is spread evenly over their visible cells. AU evidence is
    assigned to the regions that each AU moves, by its incidence (stagkit's choice).
    """
    axes, mask = attribution.axes.split(), attribution.mask
    if "roi" in axes and "time" in axes:
        return sum_over(attribution, "time", "roi")
    if "roi" in axes:
        return by_roi(attribution)[:, None] * mask / np.maximum(mask.sum(1, keepdims=True), 1)
    if "au" in axes:
        share = ATLAS.incidence / np.maximum(ATLAS.incidence.sum(1, keepdims=True), 1e-9)
        return sum_over(attribution, "time", "au") @ share
    if "edge" in axes:
        sum_over(attribution, "roi")
    return by_frame(attribution)[:, :, None] * mask / np.maximum(mask.sum(2, keepdims=True), 1)


def by_edge(attribution: Attribution) -> np.ndarray:
    """Signed sum per region edge of each AU: float "clip edge" (``edge_names``), logits."""
    return sum_over(attribution, "edge")


def by_side(attribution: Attribution) -> np.ndarray:
    """Signed sum of the subject's left side, midline and right side: float "clip side" (``SIDES``), logits."""
    sides = np.array([{"L": 0, "": 1, "R": 2}[roi.side] for roi in ATLAS.rois])
    return by_roi(attribution) @ np.eye(len(SIDES))[sides]


def _make_side_of_au() -> np.ndarray:
    """Which sided AU an AU at a region is, in shares that sum to 1: float "roi au sided_au"."""
    side = np.array([{"L": "L", "R": "R"}.get(name[-1], "") for name in SIDED_AUS[:-1]])
    at = np.array([roi.side for roi in ATLAS.rois])[:, None]
    fits = np.where((side == "") | (side == at), 1.0, np.where(at == "", 0.5, 0.0))
    shares = fits[:, None] * (SIDED_AU_INDEX[:-1] == np.arange(len(AU_LABELS))[:, None])
    return np.pad(shares, ((0, 0), (0, 0), (0, 1)))


_SIDE_OF_AU = _make_side_of_au()


def by_sided_au_and_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum per sided AU (``SIDED_AUS``) and frame: float "clip time sided_au", logits.

    A region's value in a frame is divided among the sided AUs that moved it (``compute_au_shares``); the rest is 'none'.
    Exact terms know their AU; its side is that of the region, and regions on the midline count for both sides by half.
    """
    if "au" in attribution.axes.split():
        return np.einsum("ctnk,nku->ctu", sum_over(attribution, "time", "roi", "au"), _SIDE_OF_AU)
    shares = compute_au_shares(attribution.flow, attribution.mask)
    return np.einsum("ctn,ctnu->ctu", sum_over(attribution, "time", "roi"), shares)


def by_sided_au(attribution: Attribution) -> np.ndarray:
    """Signed sum per sided AU: float "clip sided_au", logits; the last column is 'none'."""
    if "sided_au" in attribution.axes.split():
        return sum_over(attribution, "sided_au")
    return by_sided_au_and_frame(attribution).sum(1)


def by_au(attribution: Attribution) -> np.ndarray:
    """Signed sum per AU: float "clip au", logits; the last column is 'none'."""
    if "au" in attribution.axes.split():
        return np.pad(sum_over(attribution, "au"), ((0, 0), (0, 1)))
    return by_sided_au(attribution) @ np.eye(len(AU_LABELS) + 1)[SIDED_AU_INDEX]


def by_muscle(attribution: Attribution) -> np.ndarray:
    """Signed sum per muscle of either side: float "clip muscle" (``motion_decomposition.MUSCLES``), logits.

    Muscles that one AU always moves together share a column. The last column is 'none'.
    """
    return by_sided_au(attribution) @ np.eye(len(MUSCLES))[[MUSCLES.index(m) for m in SIDED_AU_MUSCLES]]


def tabulate(attribution: Attribution) -> dict[str, pd.DataFrame]:
    """The sums that this attribution has as tables, one row per clip; ``clips``: target, logit difference, delta."""
    import pandas as pd

    index = pd.Index(attribution.clip_ids, name="clip")
    names, tables = attribution.roi_names, {}
    for name, make, columns in (
        ("by_roi", by_roi, names),
        ("by_muscle", by_muscle, MUSCLES),
        ("by_au", by_au, (*AU_LABELS, "none")),
        ("by_side", by_side, SIDES),
        ("by_frame", by_frame, [f"frame{t + 1:02d}" for t in range(attribution.times_ms.shape[1])]),
        ("by_edge", by_edge, attribution.edge_names),
    ):
        with suppress(ExplainError):
            tables[name] = pd.DataFrame(make(attribution).reshape(len(index), -1), index, list(columns))
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
    """One sentence on a clip: the muscle with the largest attribution, its share, its time.

    Both sides are named if they have one sign and the weaker has at least a quarter of the sum; the time is the shortest
    interval of frames with half of the muscle's attribution.

    Example: 'left and right zygomaticus major carry +1.8 of the +2.3 logits for happiness, mostly 80-140 ms after onset.'
    """
    name, whole = attribution.classes[attribution.target[clip]], float(attribution.logit_difference[clip])
    values = by_sided_au(attribution)[clip]
    sign, word = (1.0, "for") if whole >= 0 else (-1.0, "against")
    muscles, sides = _join_sides(values * sign)
    best, gap = max(muscles, key=muscles.get), f"the {whole:+.1f} logits {word} {name}"
    if muscles[best] <= 0 or values[-1] * sign > muscles[best]:
        return f"no muscle carries {gap}: {values[-1]:+.1f} of them lie in motion that no action unit accounts for."
    verb = "carry" if " and " in sides[best] else "carries"
    text = f"{sides[best]}{best} {verb} {muscles[best] * sign:+.1f} of {gap}"
    if "time" in attribution.axes.split() and attribution.mask[clip].any(1).sum() > 1:
        chosen = [i for i, (side, muscle) in enumerate(_SPLIT) if muscle == best and side in sides[best]]
        first, last = _find_interval(by_sided_au_and_frame(attribution)[clip][:, chosen].sum(1) * sign)
        times = attribution.times_ms[clip]
        at = f"at {times[first]:.0f} ms" if first == last else f"{times[first]:.0f}-{times[last]:.0f} ms"
        text += f", mostly {at} after onset"
    return text + "."


#: Side ('left', 'right' or '') and name without side of each muscle.
_SPLIT = [re.fullmatch("(?:(left|right) )?(.+)", muscle).groups("") for muscle in SIDED_AU_MUSCLES]


def _join_sides(values: np.ndarray) -> tuple[dict[str, float], dict[str, str]]:
    """Muscle without side -> value, and -> the words for its sides; 'none' is left out."""
    each: dict[str, dict[str, float]] = {}
    for (side, muscle), value in zip(_SPLIT[:-1], values[:-1], strict=True):
        sides = each.setdefault(muscle, {})
        sides[side] = sides.get(side, 0.0) + float(value)
    joined, words = {}, {}
    for muscle, sides in each.items():
        strong = max(sides, key=sides.get)
        both = sum(sides.values())
        if len(sides) == 2 and min(sides.values()) >= 0.25 * both > 0:
            joined[muscle], words[muscle] = both, "left and right "
        else:
            joined[muscle], words[muscle] = sides[strong], f"{strong} " if strong else ""
    return joined, words


def _find_interval(values: np.ndarray) -> tuple[int, int]:
    """First and last frame of the shortest interval with half of the sum, or of the positive part if the sum is <= 0."""
    gain = values if values.sum() > 0 else np.maximum(values, 0)
    total, n = np.concatenate([[0.0], np.cumsum(gain)]), len(values)
    for length in range(1, n + 1):
        sums = total[length:] - total[: n - length + 1]
        if sums.max() >= 0.5 * gain.sum():
            return int(sums.argmax()), int(sums.argmax()) + length - 1
    return 0, n - 1
