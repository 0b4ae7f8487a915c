"""Figures of the regions: the muscles that move them, the graph between them, attention on the face and over time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import ShapeError, StagkitError, check_axes
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SIGNED_SCALE, SOFT, draw_face, hide_frame, nice_limit, styled

#: An edge or an attention weight below this share of the largest is not drawn as a line.
_LEAST = 0.02
#: Axes with more names than this get smaller ones.
_MANY = 14
#: Most clips of ``plot_time_weights``, and how many per row.
_CLIPS, _ACROSS = 6, 3


@styled
def plot_muscles() -> Figure:
    """One schematic face per action unit with arrows where its muscle pulls a region; their length is its strength."""
    across = 6
    rows = -(-len(AU_NUMBERS) // across)
    figure, grid = plt.subplots(rows, across, figsize=(PAGE, 1.42 * rows), squeeze=False)
    x, y = ATLAS.mean_centres.T
    for ax, number, directions in zip(grid.flat, AU_NUMBERS, ATLAS.directions, strict=False):
        draw_face(ax, colour=FAINT, width=0.9)
        u, v = directions.T
        pulled = np.hypot(u, v) > 0
        wide = {"angles": "xy", "scale_units": "xy", "scale": 3.4, "width": 0.016, "headwidth": 3.5, "zorder": 3}
        ax.quiver(x[pulled], y[pulled], u[pulled], v[pulled], color=COLOURS[1], **wide)
        words = f"{number}  {ACTION_UNITS[number].name}"
        ax.text(0.5, -0.02, words, ha="center", va="top", fontsize=6.5, transform=ax.transAxes)
    for ax in grid.flat[len(AU_NUMBERS) :]:
        ax.axis("off")
    return figure


@styled
def plot_incidence(measured: Mapping[str, Sequence[float]] | None = None) -> Figure:
    """Which regions each action unit moves: by the atlas, and to its right as ``measured``.

    Args:
        measured: label such as ``AU12``, of every action unit -> mean speed of each region, "roi", % of the eye distance.

    Raises:
        StagkitError: a unit is missing, or has not one value per region.
    """
    tables = [("atlas: share of the pull (1)", ATLAS.incidence)]
    if measured is not None:
        missing = [label for label in AU_LABELS if label not in measured]
        if missing:
            raise StagkitError(f"`measured` lacks {', '.join(missing)}: expected all of {', '.join(AU_LABELS)}.")
        table = np.array([list(measured[label]) for label in AU_LABELS], float)
        if table.shape != ATLAS.incidence.shape:
            raise StagkitError(f"`measured` is {table.shape}, expected {ATLAS.incidence.shape}: one value per region.")
        tables.append(("measured: mean speed (% of IOD)", table))
    figure, grid = plt.subplots(1, len(tables), figsize=(PAGE, 3.4), squeeze=False, sharey=True)
    names = [name.replace("_", " ") for name in ATLAS.names]
    for ax, (words, table) in zip(grid.flat, tables, strict=True):
        shown = ax.imshow(table, cmap="viridis", vmin=0, vmax=max(1e-9, float(table.max())), aspect="auto")
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=5.5)
        ax.set_yticks(range(len(AU_LABELS)), AU_LABELS, fontsize=6)
        hide_frame(ax, ticks=True)
        figure.colorbar(shown, ax=ax, label=words, location="top", shrink=0.8, aspect=30)
    return figure


def _name_places(axes: Axes) -> None:
    """Name each place once, next to the subject's left region or below the one on the midline."""
    for (x, y), roi in zip(ATLAS.mean_centres, ATLAS.rois, strict=True):
        if roi.side != "R":
            at, anchor = ((5, 0), "left") if roi.side else ((0, -8), "center")
            at = (0, 7) if roi.place in ("brow_inner", "brow_mid") else at
            axes.annotate(roi.place.replace("_", " "), (x, y), at, textcoords="offset points", ha=anchor, va="center",
                          fontsize=5.5, color=INK, zorder=5,
                          bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.3})  # fmt: skip


@styled
def plot_region_graph(edges: np.ndarray, flow: np.ndarray | None = None, unit: str = "% of IOD") -> Figure:
    """The regions and the edges between them; to the right their motion, if given.

    Args:
        edges: float "roi roi" (target, source), >= 0; drawn as lines, the mean of both directions as opacity.
        flow: float "roi 2" = (u right, v down), in ``unit``.
    """
    sizes = {"roi": len(ATLAS.names)}
    check_axes(sizes, edges=(edges, "roi roi"), **({} if flow is None else {"flow": (flow, "roi 2")}))
    centres, both = ATLAS.mean_centres, (np.asarray(edges) + np.asarray(edges).T) / 2
    between = both - np.diag(np.diag(both))
    most = between.max() or 1.0
    n_faces = 1 if flow is None else 2
    figure, row = plt.subplots(1, n_faces, figsize=(PAGE * (0.4 if n_faces == 1 else 0.85), 3.2), squeeze=False)
    graph = row[0][0]
    for axes in row[0]:
        draw_face(axes, colour=FAINT)
    for i, j in np.argwhere(np.triu(between) > _LEAST * most):
        strength = float(between[i, j] / most)
        graph.plot(*centres[[i, j]].T, color=COLOURS[0], lw=0.4 + strength, alpha=0.15 + 0.6 * strength, zorder=2)
    graph.scatter(*centres.T, s=22, c="white", ec=INK, lw=0.8, zorder=3)
    _name_places(graph)
    words = f"{(np.triu(between) > 0).sum()} edges between {len(centres)} regions"
    graph.text(0.5, -0.03, words, ha="center", transform=graph.transAxes)
    if flow is not None:
        speed = np.linalg.norm(flow, axis=1)
        longest = speed.max() or 1.0
        axes = row[0][1]
        points = axes.scatter(*centres.T, c=speed, s=40, cmap="viridis", vmin=0, ec=INK, lw=0.6, zorder=3)
        some = speed > 0.08 * longest  # shorter ones would be dots
        axes.quiver(*centres[some].T, *flow[some].T, angles="xy", scale_units="xy", scale=longest / 0.3, width=0.009,
                    color=COLOURS[1], zorder=4)  # fmt: skip
        axes.text(0.5, -0.03, "mean motion of each region", ha="center", transform=axes.transAxes)
        figure.colorbar(points, ax=axes, label=f"motion ({unit})", shrink=0.75)
    return figure


@styled
def plot_region_attention(rows: Mapping[str, np.ndarray], target: str) -> Figure:
    """Attention of the region ``target`` (ringed) to all others; area and colour of a source by its weight, one scale.

    ``rows``: name of a face -> float "roi", the row of ``target`` in an attention map.

    Raises:
        ShapeError: no such region, or a row of another length.
    """
    at = ATLAS.index(target)
    for name, values in rows.items():
        check_axes({"roi": len(ATLAS.names)}, **{name.replace(" ", "_"): (values, "roi")})
    centres, most = ATLAS.mean_centres, max(float(np.max(values)) for values in rows.values()) or 1.0
    figure, faces = plt.subplots(1, len(rows), figsize=(min(PAGE, 2.45 * len(rows) + 0.6), 2.9), squeeze=False)
    for axes, (name, values) in zip(faces[0], rows.items(), strict=True):
        draw_face(axes, colour=FAINT)
        strength = np.asarray(values, float) / most
        for j in np.flatnonzero(strength > _LEAST):
            if j != at:
                axes.annotate("", centres[at], centres[j], zorder=2, arrowprops={
                    "arrowstyle": "-|>,head_length=.25,head_width=.13", "lw": 0.4 + 1.8 * strength[j],
                    "color": COLOURS[0], "alpha": 0.2 + 0.7 * strength[j], "shrinkA": 3, "shrinkB": 6,
                    "connectionstyle": "arc3,rad=-0.12",
                })  # fmt: skip
        points = axes.scatter(
            *centres.T, c=values, s=12 + 130 * strength, cmap="viridis", vmin=0, vmax=most, ec=INK, lw=0.5, zorder=3
        )
        axes.plot(*centres[at], "o", ms=15, mfc="none", mec=COLOURS[1], mew=1.6, zorder=4)
        axes.text(0.5, -0.03, name, ha="center", transform=axes.transAxes)
    figure.colorbar(points, ax=faces[0].tolist(), label="attention of the target to a source", shrink=0.75)
    return figure


@styled
def plot_matrices(
    maps: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    ylabel: str = "target",
    xlabel: str = "source",
    signed: bool = False,
    height: float = 2.9,
) -> Figure:
    """Matrices with named rows and columns, side by side, on one scale.

    Args:
        maps: name -> float "row column", all of one shape; NaN stays white.
        rows, columns: names, from the top and the left; empty for none.
        label: what the colour means, with its unit.
        ylabel, xlabel: what a row and a column is.
        signed: a scale centred at 0 instead of one from 0.
        height: of the figure, in.

    Raises:
        ShapeError: no map, maps of different shapes, or names that do not fit.
    """
    shapes = {np.shape(values) for values in maps.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ShapeError(f"the maps have shapes {sorted(shapes)}, expected one shape 'row column' for all.")
    (shape,) = shapes
    for axis, names, n in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        if len(names) not in (0, n):
            raise ShapeError(f"there are {len(names)} names of {axis}, the maps have {n}.")
    values = np.array(list(maps.values()), float)
    limit = nice_limit(values)
    scale = {"cmap": "viridis", "vmin": 0, "vmax": float(np.nanmax(values)) or 1.0}
    scale = {"cmap": SIGNED_SCALE, "vmin": -limit, "vmax": limit} if signed else scale
    figure, row = plt.subplots(1, len(maps), figsize=(PAGE, height), squeeze=False, sharey=True)
    for axes, name, matrix in zip(row[0], maps, values, strict=True):
        image = axes.imshow(matrix, aspect="auto", **scale)
        axes.set_title(name)
        axes.set_xlabel(xlabel)
        axes.tick_params(length=0)
        _name_ticks(axes.set_xticks, columns, rotation=90)
    row[0][0].set_ylabel(ylabel)
    _name_ticks(row[0][0].set_yticks, rows)
    figure.colorbar(image, ax=row[0].tolist(), label=label, shrink=0.9)
    return figure


def _name_ticks(set_ticks, names: Sequence[str], **settings) -> None:
    words = [str(name).replace("_", " ") for name in names]
    upright = {} if max(map(len, words), default=0) < 4 else settings
    set_ticks(range(len(words)), words, fontsize=5.2 if len(words) > _MANY else 7, **upright)


@styled
def plot_contract(reports: Sequence) -> Figure:
    """Which layer fulfils which part of the layer contract, from the reports of ``layer_contract.check_layer``.

    Raises:
        ShapeError: no report, or reports for different places.
    """
    if len({report.place for report in reports}) != 1:
        raise ShapeError(f"the reports are for {sorted({r.place for r in reports})}, expected one place for all.")
    kept = np.array([[finding.ok for finding in report.findings] for report in reports])
    figure, axes = plt.subplots(figsize=(PAGE * 0.87, 0.75 + 0.29 * len(kept)))
    cells = ListedColormap([COLOURS[1], "#CFE8DF"])
    axes.pcolormesh(kept, cmap=cells, vmin=0, vmax=1, edgecolors="w", linewidth=2)
    for row, column in np.argwhere(~kept):
        axes.text(column + 0.5, row + 0.5, "broken", ha="center", va="center", fontsize=7, color="white")
    names = [finding.name for finding in reports[0].findings]
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=30, ha="right")
    axes.set_yticks(np.arange(len(kept)) + 0.5, [report.layer for report in reports])
    axes.set_ylim(len(kept), 0)
    hide_frame(axes, ticks=True)
    return figure


@styled
def plot_time_weights(
    times_ms: np.ndarray, weights: np.ndarray, motion: np.ndarray, clip_ids: Sequence[str], unit: str = "% of IOD"
) -> Figure:
    """Weight (bars) and motion (line) of the frames of the first six clips; one scale for all weights, one for motion.

    Args:
        times_ms, weights, motion: float "clip time": from the onset; >= 0, where a frame of weight 0 is empty and not
            drawn; >= 0, in ``unit``.

    Raises:
        ShapeError: the three do not fit each other or the names.
    """
    times_ms, weights, motion = (np.asarray(values, float) for values in (times_ms, weights, motion))
    arrays = {"times_ms": (times_ms, "clip time"), "weights": (weights, "clip time"), "motion": (motion, "clip time")}
    check_axes({"clip": len(clip_ids), "time": times_ms.shape[-1]}, **arrays)
    n_clips = min(_CLIPS, len(clip_ids))
    across = min(_ACROSS, n_clips)
    rows = -(-n_clips // across)
    size = (PAGE * max(across, 2) / _ACROSS, 0.6 + 1.4 * rows)
    figure, grid = plt.subplots(rows, across, figsize=size, squeeze=False, sharex=True, sharey=True)
    fastest = nice_limit(motion[:n_clips])
    for axes in grid.flat[n_clips:]:
        axes.axis("off")
    for k, axes in enumerate(grid.flat[:n_clips]):
        visible = weights[k] > 0
        at = times_ms[k][visible]
        width = max(0.75 * np.diff(np.sort(at)).min(), np.ptp(at) / 60) if len(at) > 1 else 6.0
        bars = axes.bar(at, weights[k][visible], width=width, color=COLOURS[4], label="weight of the frame")
        even = axes.axhline(1 / max(1, visible.sum()), color=SOFT, lw=0.8, ls=(0, (3, 2)), label="equal weights")
        moving = axes.twinx()
        (line,) = moving.plot(at, motion[k][visible], "o-", ms=2.5, color=COLOURS[0], label="motion")
        moving.set_ylim(0, fastest)
        last = k % across == across - 1 or k == n_clips - 1
        moving.tick_params(right=last, labelright=last)
        moving.spines["right"].set_visible(last)
        if last:
            moving.set_ylabel(f"motion ({unit})")
        if k % across == 0:
            axes.set_ylabel("weight")
        if k + across >= n_clips:
            axes.set_xlabel("time from onset (ms)")
            axes.tick_params(labelbottom=True)
        axes.set_title(clip_ids[k])
    figure.legend(handles=[bars, even, line], loc="outside upper center", ncols=3)
    return figure
