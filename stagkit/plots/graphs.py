"""The regions as a graph on the schematic face: who is joined, what moves, and whom one region listens to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import check_axes
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, draw_face, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: An edge or an attention weight below this share of the largest is not drawn as a line.
_LEAST = 0.02


def _names(axes: Axes, atlas: RoiAtlas) -> None:
    """Name each place once, beside the subject's left region or below the one on the midline."""
    for (x, y), roi in zip(atlas.mean_centres, atlas.rois, strict=True):
        if roi.side != "R":
            at, anchor = ((5, 0), "left") if roi.side else ((0, -8), "center")
            at = (0, 7) if roi.place in ("brow_inner", "brow_mid") else at
            axes.annotate(
                roi.place.replace("_", " "), (x, y), at, textcoords="offset points", ha=anchor, va="center",
                fontsize=5.5, color=INK, zorder=5,
                bbox={"fc": "white", "ec": "none", "alpha": 0.75, "pad": 0.3},
            )  # fmt: skip


@styled
def plot_region_graph(
    edges: np.ndarray, flow: np.ndarray | None = None, unit: str = "% of IOD", atlas: RoiAtlas = ATLAS
) -> Figure:
    """The regions and the edges between them; with their motion beside it, where it is given.

    Args:
        edges: float "roi roi" (target, source), >= 0; drawn as lines, the mean of both directions as opacity.
        flow: float "roi 2" = (u right, v down), in ``unit``.
        unit: of the flow.
        atlas: order of the regions.
    """
    import matplotlib.pyplot as plt

    sizes = {"roi": len(atlas.names)}
    check_axes(sizes, edges=(edges, "roi roi"), **({} if flow is None else {"flow": (flow, "roi 2")}))
    centres, both = atlas.mean_centres, (np.asarray(edges) + np.asarray(edges).T) / 2
    between = both - np.diag(np.diag(both))
    most = between.max() or 1.0
    n_faces = 1 if flow is None else 2
    figure, row = plt.subplots(1, n_faces, figsize=(PAGE * (0.4 if n_faces == 1 else 0.85), 3.2), squeeze=False)
    for axes in row[0]:
        draw_face(axes, colour=FAINT)
    for i, j in np.argwhere(np.triu(between) > _LEAST * most):
        strength = float(between[i, j] / most)
        row[0][0].plot(*centres[[i, j]].T, color=COLOURS[0], lw=0.4 + strength, alpha=0.15 + 0.6 * strength, zorder=2)
    row[0][0].scatter(*centres.T, s=22, c="white", ec=INK, lw=0.8, zorder=3)
    _names(row[0][0], atlas)
    row[0][0].text(0.5, -0.03, f"{(np.triu(between) > 0).sum()} edges between {len(centres)} regions", ha="center",
                   transform=row[0][0].transAxes)  # fmt: skip
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
def plot_listening(
    rows: Mapping[str, np.ndarray], target: str, label: str = "attention of the target to a source",
    atlas: RoiAtlas = ATLAS,
) -> Figure:  # fmt: skip
    """Whom one region listens to: a face for each row, area and colour of a source by its weight, one shared scale.

    Args:
        rows: name -> float "roi", the row of ``target`` in an attention map.
        target: name of the region that listens (ringed).
        label: of the scale.
        atlas: order of the regions.

    Raises:
        ShapeError: no such region, or a row of another length.
    """
    import matplotlib.pyplot as plt

    at = atlas.index(target)
    for name, values in rows.items():
        check_axes({"roi": len(atlas.names)}, **{name.replace(" ", "_"): (values, "roi")})
    centres, most = atlas.mean_centres, max(float(np.max(values)) for values in rows.values()) or 1.0
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
    figure.colorbar(points, ax=faces[0].tolist(), label=label, shrink=0.75)
    return figure
