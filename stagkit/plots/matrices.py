"""Matrices side by side on one shared scale: attention, edges, whatever has a row and a column that mean something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import ShapeError
from stagkit.plots.style import COLOURS, PAGE, SIGNED_SCALE, nice_limit, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


#: More names than this along an axis are written smaller.
_MANY = 14


@styled
def plot_matrices(
    maps: Mapping[str, np.ndarray],
    rows: Sequence[str],
    columns: Sequence[str],
    label: str,
    ylabel: str = "target (the one that listens)",
    xlabel: str = "source",
    signed: bool = False,
    height: float = 2.9,
) -> Figure:
    """Draw matrices with named rows and columns, side by side, on one scale.

    Args:
        maps: name -> float "row column", all of one shape; NaN stays white.
        rows: names of the rows, from the top; empty for none.
        columns: names of the columns, from the left; empty for none.
        label: what the colour means, with its unit.
        ylabel: what a row is; xlabel: what a column is.
        signed: a scale centred at 0 instead of one from 0.
        height: of the figure, in.

    Raises:
        ShapeError: no map, maps of different shapes, or names that do not fit.
    """
    import matplotlib.pyplot as plt

    shapes = {np.shape(values) for values in maps.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2:
        raise ShapeError(f"the maps have shapes {sorted(shapes)}, expected one shape 'row column' for all.")
    (shape,) = shapes
    for axis, names, n in (("rows", rows, shape[0]), ("columns", columns, shape[1])):
        if len(names) not in (0, n):
            raise ShapeError(f"there are {len(names)} names of {axis}, the maps have {n}.")
    limit = nice_limit(np.array(list(maps.values()), float))
    scale = {"cmap": SIGNED_SCALE, "vmin": -limit, "vmax": limit} if signed else {"cmap": "viridis", "vmin": 0}
    if not signed:
        scale["vmax"] = float(np.nanmax(np.array(list(maps.values()), float))) or 1.0
    figure, row = plt.subplots(1, len(maps), figsize=(PAGE, height), squeeze=False, sharey=True)
    for axes, (name, values) in zip(row[0], maps.items(), strict=True):
        image = axes.imshow(np.asarray(values, float), aspect="auto", **scale)
        axes.set_title(name)
        axes.set_xlabel(xlabel)
        axes.tick_params(length=0)
        _name(axes.set_xticks, columns, rotation=90)
    row[0][0].set_ylabel(ylabel)
    _name(row[0][0].set_yticks, rows)
    figure.colorbar(image, ax=row[0].tolist(), label=label, shrink=0.9)
    return figure


@styled
def plot_contract(reports: Sequence) -> Figure:
    """Which layer keeps which promise: a row a layer, a column a promise, 'broken' where one is not kept.

    Args:
        reports: of ``plugin_checks.check_layer``, all for one place.

    Raises:
        ShapeError: no report, or reports for different places.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import ListedColormap

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
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    return figure


def _name(set_ticks, names: Sequence[str], **settings) -> None:
    """Names along an axis; none, one tick a name."""
    words = [str(name).replace("_", " ") for name in names]
    upright = {} if max(map(len, words), default=0) < 4 else settings
    set_ticks(range(len(words)), words, fontsize=5.2 if len(words) > _MANY else 7, **upright)
