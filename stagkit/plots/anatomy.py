"""Figures of facial anatomy: where each muscle pulls, and which regions each action unit moves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.plots.style import COLOURS, FAINT, PAGE, draw_face, hide_frame, styled


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
    """Which regions each action unit moves: by the atlas, and to its right as measured.

    Args:
        measured: label such as ``AU12`` -> mean speed of each region, "roi", in one common unit, e.g. % of the eye
            distance; all units are needed.

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
