"""The evidence explorer as a still figure, for paper and for readers that run no widget."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Attribution, Batch, StagkitError
from stagkit.explain.attribution import check_complete, select_clips
from stagkit.explain.evidence import Evidence
from stagkit.explorers.evidence.scene import (
    CONTROLS,
    GROUPINGS,
    Shown,
    compute_extras,
    compute_payload,
    compute_shown,
    read_given,
)
from stagkit.explorers.validation import check_choice, check_index
from stagkit.plots.attributions import STAMP, colour_signs, draw_checks, draw_frames
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, draw_face, draw_region_values, nice_limit, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagkit.network.model import Stag

_ORDERS = {"map": COLOURS[1], "flow magnitude": COLOURS[0], "random": SOFT}
_MOST_BARS = 9


@styled
def plot_evidence(
    evidence: Evidence | Attribution,
    *,
    clip: int | str = 0,
    frame: int = -1,
    method: str | None = None,
    target: int | str | None = None,
    grouping: str = "region",
    control: str = "flow magnitude",
    model: Stag | None = None,
    batch: Batch | None = None,
) -> Figure:
    """Draw what a decision rests on, with its controls (``view_evidence`` is the same to be touched).

    Args:
        evidence: an ``Evidence``; several in a list, one a method; or a bare ``Attribution``, which is stamped 'no control'.
        clip: index or id of the clip drawn.
        frame: index of its frame, -1 = all together.
        method: which of several explanations; the first where None.
        target: class explained, index or name; the one that was explained where None.
        grouping: bars of each ``"region"``, ``"muscle"``, ``"au"`` or ``"side"``.
        control: the map beside it: ``"flow magnitude"``, or ``"random weights"`` (needs the network).
        model: the network; with it the deletion and insertion curves are drawn, and other classes can be.
        batch: the clips of ``evidence`` in the same order; needed with ``model``.

    Returns:
        A matplotlib Figure, 7.16 in wide, 8 pt, without a title inside.

    Raises:
        ExplainError: the attribution misses more than ``MAX_DELTA`` of the logit gap; the message names the steps to take.
        StagkitError: an argument that is out of range, an explanation of edges.
    """
    given = read_given(evidence)
    first = next(iter(given.values())).attribution
    index = check_index("clip", clip, first.clip_ids)
    method = next(iter(given)) if method is None else method.replace("_", " ")
    check_choice("grouping", grouping, tuple(GROUPINGS))
    check_choice("control", control, CONTROLS)
    wanted = int(first.target[index]) if target is None else check_index("target", target, first.classes)
    shown, at = given.get(method), index
    if shown is None or int(shown.attribution.target[index]) != wanted:
        if model is None:
            check_choice("method", method, tuple(given))
            raise StagkitError(f"{first.classes[wanted]} was not explained for this clip: give model and batch.")
        shown, at = compute_shown(model, batch, index, method, wanted), 0
    one = select_clips(shown.attribution, [at])
    check_complete(one)
    if control == "random weights" and model is None:
        raise StagkitError("'random weights' needs the network: plot_evidence(evidence, model=..., batch=...).")
    extras = None if model is None else compute_extras(model, batch, index, shown, at)
    payload = compute_payload(shown, at, index, extras)
    if not -1 <= frame < len(payload["map"]):
        raise StagkitError(f"`frame` is {frame}, expected 0..{len(payload['map']) - 1}, or -1 for all frames together.")

    return draw_evidence(shown, at, payload, grouping=grouping, control=control, frame=frame)


@styled
def draw_evidence(shown: Shown, at: int, payload: dict, *, grouping: str, control: str, frame: int) -> Figure:
    """The figure of a clip whose payload is there already."""
    from matplotlib.figure import Figure

    one = select_clips(shown.attribution, [at])
    check_complete(one)
    figure = Figure(figsize=(PAGE, 4.9), facecolor="white", layout="constrained")
    top, low = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    faces = top.subplots(1, 3, width_ratios=(1, 1, 1.1))
    _draw_map(faces[0], payload, frame, stamped=shown.evidence is None)
    _draw_control(faces[1], payload, frame, control)
    _draw_bars(faces[2], payload, grouping)
    lower = low.subplots(1, 3, width_ratios=(1, 1.15, 1))
    draw_frames(lower[0], one)
    _draw_orders(lower[1], payload)
    if shown.evidence:
        draw_checks(lower[2], shown.evidence.select([at]))
    else:
        lower[2].axis("off")
        lower[2].text(0, 0.9, "No control was run: this map\nhas not been tested.", va="top", color=COLOURS[1])
    said = textwrap.fill(f"{one.clip_ids[0]}: {payload['sentence']}", 135, max_lines=2)
    how = f"{shown.method} against {one.baseline}; the sum misses {payload['missed']:.1%}"
    figure.suptitle(f"{said}\n{how}", fontsize=7, color=INK, x=0.01, ha="left")
    return figure


def _pick(rows: list, frame: int) -> np.ndarray:
    """All frames together, or one: float "roi"."""
    return np.array(rows, float).sum(0) if frame < 0 else np.array(rows[frame], float)


def _say_time(payload: dict, frame: int) -> str:
    return "all frames" if frame < 0 else f"{payload['times'][frame]:.0f} ms"


def _draw_map(axes: Axes, payload: dict, frame: int, stamped: bool) -> None:
    values = _pick(payload["map"], frame)
    points = draw_region_values(axes, values, nice_limit(values), size=130)
    bar = axes.figure.colorbar(points, ax=axes, label="logits", shrink=0.75, pad=0.01, aspect=18)
    bar.outline.set_linewidth(0.4)
    axes.text(0.5, -0.04, f"map, {_say_time(payload, frame)}", transform=axes.transAxes, ha="center", va="top")
    if stamped:
        axes.text(
            0.5, 0.5, STAMP, transform=axes.transAxes, rotation=24, ha="center", va="center", fontsize=19,
            color=COLOURS[1], alpha=0.4, zorder=5, weight="bold",
        )  # fmt: skip


def _draw_control(axes: Axes, payload: dict, frame: int, control: str) -> None:
    if control == "random weights":
        values = _pick(payload["random"], frame)
        points = draw_region_values(axes, values, nice_limit(values), size=130)
        label = "logits"
    else:
        draw_face(axes)
        values = _pick(payload["flow"], frame)
        limit = max(values.max(), 1e-9)
        size = 130 * (0.15 + 0.85 * values / limit)
        colours = {"c": values, "cmap": "Greys", "vmin": 0, "vmax": limit}
        points = axes.scatter(*ATLAS.mean_centres.T, s=size, lw=0.5, ec=INK, zorder=3, **colours)
        label = "motion (unit of the data)"
    bar = axes.figure.colorbar(points, ax=axes, label=label, shrink=0.75, pad=0.01, aspect=18)
    bar.outline.set_linewidth(0.4)
    axes.text(0.5, -0.04, f"control: {control}", transform=axes.transAxes, ha="center", va="top", color=SOFT)


def _draw_bars(axes: Axes, payload: dict, grouping: str) -> None:
    if grouping not in payload["bars"]:
        raise StagkitError(f"this explanation has no {GROUPINGS[grouping]}; it has {', '.join(payload['bars'])}.")
    rows = sorted(payload["bars"][grouping], key=lambda row: -abs(row[1]))[:_MOST_BARS][::-1]
    rows = [row for row in rows if abs(row[1]) > 0.004 * abs(rows[-1][1])] or rows
    values = np.array([value for _, value in rows])
    titles = {unit.label: f"{unit.label} {unit.name}" for unit in ACTION_UNITS.values()}
    axes.barh(range(len(rows)), values, color=colour_signs(values))
    axes.set_yticks(
        range(len(rows)), [titles.get(n, textwrap.fill(n.replace("_", " "), 28)) for n, _ in rows], fontsize=6
    )
    axes.axvline(0, color=SOFT, lw=0.6)
    axes.set_xlabel(f"{GROUPINGS[grouping]} (logits)")


def _draw_orders(axes: Axes, payload: dict) -> None:
    """Curves where the network was there; else the areas under them, where they were measured."""
    areas = payload["areas"]
    if payload["curves"]:
        for name, curve in payload["curves"].items():
            share = 100 * np.array(payload["share"])
            axes.plot(share, curve["deletion"], "-", color=_ORDERS[name], label=name)
            axes.plot(share, curve["insertion"], "--", color=_ORDERS[name])
        axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set_xlabel("cells taken away (—) or put in (- -), %")
        axes.set_ylabel("logit above no motion")
        axes.legend(loc="center right")
    elif areas:
        names = list(areas)
        for k, kind in enumerate(("deletion", "insertion")):
            values = [areas[name][kind] for name in names]
            axes.bar(np.arange(3) + 4 * k, values, color=[_ORDERS[name] for name in names])
        axes.set_xticks([1, 5], ["deletion\n(low is good)", "insertion\n(high is good)"])
        axes.set_ylabel("area (logits)")
        axes.axhline(0, color=SOFT, lw=0.6)
        for name in names:
            axes.plot([], [], "s", ms=4, color=_ORDERS[name], label=name)
        axes.legend(loc="best")
    else:
        axes.axis("off")
        axes.text(0.5, 0.5, "deletion and insertion\nwere not measured", ha="center", va="center", color=SOFT)
