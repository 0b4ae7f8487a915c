"""The evidence explorer as a static figure."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Attribution, Batch, StagkitError
from stagkit.explain.attribution import check_complete
from stagkit.explain.evidence import Evidence
from stagkit.explorers.evidence.scene import CONTROLS, GROUPINGS, Explained, Explanations, compute_payload
from stagkit.explorers.validation import check_choice, check_frame, check_index
from stagkit.plots.attributions import STAMP, colour_signs, draw_checks, draw_frames
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, draw_face, draw_region_values, nice_limit, styled

if TYPE_CHECKING:
    from stagkit.network.model import Stag

_ORDERS = {"map": COLOURS[1], "flow magnitude": COLOURS[0], "random": SOFT}
_MAX_BARS = 9


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
    """Draw the attribution of a prediction with its controls (``view_evidence`` is interactive).

    Args:
        evidence: an ``Evidence`` (``make_evidence``, ``load_evidence``); several in a list, one per method; or a bare
            ``Attribution``, which is stamped 'no control'.
        clip: index or id of the clip shown first.
        frame: index of its frame, -1 = all together.
        method: which of several explanations; the first where None.
        target: class explained, index or name; the one that was explained where None.
        grouping: bars per ``"region"``, ``"muscle"``, ``"au"`` or ``"side"``.
        control: the second map: ``"flow magnitude"``, or ``"random weights"`` (needs the network).
        model: the network, in evaluation mode; with it other methods and classes are computed on demand.
        batch: the clips of ``evidence`` in the same order; needed with ``model``.

    Returns:
        A matplotlib Figure, 7.16 in wide, 8 pt, without a title inside.

    Raises:
        ExplainError: the attribution misses more than ``MAX_DELTA`` of the logit gap; the message names the steps to take.
        StagkitError: an argument that is out of range, an explanation of edges, clips that do not belong together.
    """
    given = Explanations(evidence, model, batch)
    index = check_index("clip", clip, given.clip_ids)
    check_choice("grouping", grouping, tuple(GROUPINGS))
    check_choice("control", control, CONTROLS)
    if control == "random weights" and model is None:
        raise StagkitError("'random weights' needs the network: plot_evidence(evidence, model=..., batch=...).")
    wanted = given.read_target(target)
    explained = given.find(index, given.read_method(method), given.targets[index] if wanted < 0 else wanted)
    check_complete(explained.one)
    payload = compute_payload(explained, index, given.compute_extras(index, explained))
    check_frame(frame, given.clip_ids[index], len(payload["map"]), -1)
    return draw_evidence(explained, payload, grouping=grouping, control=control, frame=frame)


@styled
def draw_evidence(explained: Explained, payload: dict, *, grouping: str, control: str, frame: int) -> Figure:
    """The figure of a clip whose payload is computed."""
    one, evidence = explained
    check_complete(one)
    figure = Figure(figsize=(PAGE, 4.9), facecolor="white", layout="constrained")
    top, low = figure.subfigures(2, 1, height_ratios=(1.15, 1))
    faces = top.subplots(1, 3, width_ratios=(1, 1, 1.1))
    time = "all frames" if frame < 0 else f"{payload['times'][frame]:.0f} ms"
    _draw_map(faces[0], _select(payload["map"], frame), f"map, {time}", signed=True)
    if evidence is None:
        faces[0].text(
            0.5, 0.5, STAMP, transform=faces[0].transAxes, rotation=24, ha="center", va="center", fontsize=19,
            color=COLOURS[1], alpha=0.4, zorder=5, weight="bold",
        )  # fmt: skip
    random = control == "random weights"
    _draw_map(faces[1], _select(payload["random" if random else "flow"], frame), f"control: {control}", signed=random)
    _draw_bars(faces[2], payload, grouping)
    lower = low.subplots(1, 3, width_ratios=(1, 1.15, 1))
    draw_frames(lower[0], one)
    _draw_orders(lower[1], payload)
    if evidence:
        draw_checks(lower[2], evidence)
    else:
        lower[2].axis("off")
        lower[2].text(0, 0.9, "No control was run: this map\nhas not been tested.", va="top", color=COLOURS[1])
    words = textwrap.fill(f"{one.clip_ids[0]}: {payload['sentence']}", 135, max_lines=2)
    words += f"\n{one.method} against {one.baseline}; the sum misses {payload['missed']:.1%}"
    figure.suptitle(words, fontsize=7, color=INK, x=0.01, ha="left")
    return figure


def _select(rows: list, frame: int) -> np.ndarray:
    """All frames together, or one: float "roi"."""
    return np.array(rows, float).sum(0) if frame < 0 else np.array(rows[frame], float)


def _draw_map(axes: Axes, values: np.ndarray, words: str, signed: bool) -> None:
    """Region values on the face: logits with a sign, or amounts of motion."""
    if signed:
        points = draw_region_values(axes, values, nice_limit(values), size=130)
    else:
        draw_face(axes)
        limit = max(values.max(), 1e-9)
        size = 130 * (0.15 + 0.85 * values / limit)
        scale = {"c": values, "cmap": "Greys", "vmin": 0, "vmax": limit}
        points = axes.scatter(*ATLAS.mean_centres.T, s=size, lw=0.5, ec=INK, zorder=3, **scale)
    label = "logits" if signed else "motion (unit of the data)"
    bar = axes.figure.colorbar(points, ax=axes, label=label, shrink=0.75, pad=0.01, aspect=18)
    bar.outline.set_linewidth(0.4)
    axes.text(0.5, -0.04, words, transform=axes.transAxes, ha="center", va="top")


def _draw_bars(axes: Axes, payload: dict, grouping: str) -> None:
    if grouping not in payload["bars"]:
        raise StagkitError(f"this explanation has no {GROUPINGS[grouping]}; it has {', '.join(payload['bars'])}.")
    rows = sorted(payload["bars"][grouping], key=lambda row: -abs(row[1]))[:_MAX_BARS][::-1]
    rows = [row for row in rows if abs(row[1]) > 0.004 * abs(rows[-1][1])] or rows
    values = np.array([value for _, value in rows])
    titles = {unit.label: f"{unit.label} {unit.name}" for unit in ACTION_UNITS.values()}
    names = [titles.get(n, textwrap.fill(n.replace("_", " "), 28)) for n, _ in rows]
    axes.barh(range(len(rows)), values, color=colour_signs(values))
    axes.set_yticks(range(len(rows)), names, fontsize=6)
    axes.axvline(0, color=SOFT, lw=0.6)
    axes.set_xlabel(f"{GROUPINGS[grouping]} (logits)")


def _draw_orders(axes: Axes, payload: dict) -> None:
    """Deletion and insertion curves if computed, otherwise the areas under them if measured."""
    areas = payload["areas"]
    if payload["curves"]:
        for name, curve in payload["curves"].items():
            share = 100 * np.array(payload["share"])
            axes.plot(share, curve["deletion"], "-", color=_ORDERS[name], label=name)
            axes.plot(share, curve["insertion"], "--", color=_ORDERS[name])
        axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set(xlabel="cells deleted (—) or inserted (- -), %", ylabel="logit above no motion")
        axes.legend(loc="center right")
    elif areas:
        for k, (name, area) in enumerate(areas.items()):
            axes.bar([k, 4 + k], [area["deletion"], area["insertion"]], color=_ORDERS[name], label=name)
        axes.set_xticks([1, 5], ["deletion\n(low is good)", "insertion\n(high is good)"])
        axes.set_ylabel("area (logits)")
        axes.axhline(0, color=SOFT, lw=0.6)
        axes.legend(loc="best")
    else:
        axes.axis("off")
        axes.text(0.5, 0.5, "deletion and insertion\nwere not measured", ha="center", va="center", color=SOFT)
