"""The set of figures at a glance: what could be drawn, small, and an empty frame for what could not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.plots.style import FAINT, INK, PAGE, SOFT, styled
from stagkit.reports.paper.make import FIGURES

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 5


@styled
def plot_set(drawn: Mapping[str, Figure]) -> Figure:
    """Every figure of the set as a thumbnail; those that were not drawn are empty frames.

    Args:
        drawn: name (``Entry.name``) -> figure; they are closed, so that a notebook does not show them one by one.

    Raises:
        StagkitError: a name that is no figure's.
    """
    import matplotlib.pyplot as plt
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [entry.name for entry in FIGURES]
    unknown = sorted(set(drawn) - set(names))
    if unknown:
        raise StagkitError(f"there is no figure {unknown[0]!r} in the set; there are {', '.join(names)}.")
    n_rows = -(-len(names) // _COLUMNS)
    figure, grid = plt.subplots(n_rows, _COLUMNS, figsize=(PAGE, 0.95 * n_rows))
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set_xticks([])
        axes.set_yticks([])
        number, _, words = name.removeprefix("fig").partition("_")
        there = name in drawn
        axes.set_xlabel(f"{int(number)} {words.replace('_', ' ')}", fontsize=6.5, color=INK if there else SOFT)
        for spine in axes.spines.values():
            spine.set(visible=True, color=FAINT, linestyle="-" if there else (0, (3, 3)))
        if there:
            canvas = FigureCanvasAgg(drawn[name])
            canvas.draw()
            picture = np.asarray(canvas.buffer_rgba())[..., :3]
            axes.imshow(picture, interpolation="lanczos")
            plt.close(drawn[name])
        else:
            axes.set_aspect(0.5)
            axes.text(
                0.5, 0.5, "no record", transform=axes.transAxes, ha="center", va="center", fontsize=6.5, color=SOFT
            )
    return figure
