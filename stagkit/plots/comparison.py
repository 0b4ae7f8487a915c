"""Pictures of a comparison of systems: how they see a clip, what they score, what a leak would claim, where they look."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from stagkit.plots.style import COLOURS, FAINT, PAGE, SIGNED_SCALE, SOFT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagkit.core.types import RoiDataset


def _subplots(*args, **kwargs):
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


@styled
def plot_views(views: Mapping[str, RoiDataset], clip: int = 0) -> Figure:
    """One clip as the systems see it: last frame of the film, dynamic image, MESTI, and onset-apex flow (u, v).

    The two pooled pictures share one scale, so do u and v.

    Args:
        views: with ``film, dynamic, mesti, face`` (``views.make_views`` of phantoms).
        clip: which.
    """
    figure, row = _subplots(1, 5, figsize=(PAGE, 1.75), width_ratios=(1, 1, 1, 1, 1))
    film = views["film"].x[clip, :, 0].mean(1)
    row[0].imshow(film[views["film"].mask[clip, :, 0]][-1], cmap="gray", vmin=0, vmax=1)
    pooled = [100 * views[name].x[clip, 0, 0].mean(0) for name in ("dynamic", "mesti")]
    flow = views["face"].x[clip, 0, 0, :2]
    shown = (
        ("dynamic image", pooled[0], pooled),
        ("MESTI", pooled[1], pooled),
        ("flow u", flow[0], flow),
        ("flow v", flow[1], flow),
    )
    row[0].set_title("a frame")
    for axes, (title, picture, of) in zip(row[1:], shown, strict=True):
        most = float(np.percentile(np.abs(np.concatenate([np.ravel(p) for p in of])), 99.5)) or 1.0
        drawn = axes.imshow(picture, cmap=SIGNED_SCALE, vmin=-most, vmax=most)
        axes.set_title(title)
        if title in ("MESTI", "flow v"):
            unit = "% of white" if title == "MESTI" else "% of eye distance"
            figure.colorbar(drawn, ax=axes, label=unit, shrink=0.8)
    for axes in row:
        axes.set_xticks([])
        axes.set_yticks([])
    return figure


def _rows(axes, result: dict) -> list[dict]:
    """Name the systems down the y axis, STAG first."""
    rows = list(result["systems"].values())
    axes.set_yticks(range(len(rows)), [row["title"] for row in rows])
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    return rows


@styled
def plot_comparison(result: dict) -> Figure:
    """UF1 of every system with its 95 % interval over subjects, and its paired difference from STAG.

    Args:
        result: of ``compare_systems.compare_systems`` (or its ``comparison.json``).
    """
    n = len(result["systems"])
    figure, (left, right) = _subplots(1, 2, figsize=(PAGE, 0.75 + 0.23 * n), sharey=True, width_ratios=(1.15, 1))
    for y, row in enumerate(_rows(left, result)):
        colour = COLOURS[1] if y == 0 and "minus_stag" not in row else COLOURS[0]
        left.plot(row["uf1"]["ci95"], [y, y], color=colour, lw=2.5, alpha=0.35, solid_capstyle="round")
        left.plot(row["uf1"]["mean"], y, "o", color=colour, ms=4.5)
        paired = row.get("minus_stag", {}).get("uf1")
        if paired and paired["ci95"][0] is not None:
            right.plot(paired["ci95"], [y, y], color=SOFT, lw=2.5, alpha=0.4, solid_capstyle="round")
            right.plot(paired["difference"], y, "o", color=SOFT, ms=4.5)
    _rows(right, result)
    right.axvline(0, color=COLOURS[1], lw=1)
    left.set_xlim(0, 1)
    left.set_xlabel("UF1, 95 % over subjects")
    right.set_xlabel("UF1 minus STAG's, paired")
    if result.get("caveat"):
        figure.supxlabel(f"caution: {result['caveat']}", fontsize=6, color=SOFT)
    return figure


@styled
def plot_leak(result: dict) -> Figure:
    """Honest UF1 (full) and what choosing the epoch on the test clips would have claimed (open), system by system."""
    trained = {name: row for name, row in result["systems"].items() if row.get("leak")}
    figure, axes = _subplots(figsize=(PAGE, 0.75 + 0.23 * len(trained)))
    for y, row in enumerate(_rows(axes, {"systems": trained})):
        honest, claimed = row["uf1"]["mean"], row["leak"]["optimistic"]["uf1"]
        axes.plot([honest, claimed], [y, y], color=COLOURS[1], lw=1, ls=":")
        axes.plot(claimed, y, "o", mfc="white", mec=COLOURS[1], ms=5.5, label="claimed" if y == 0 else None)
        axes.plot(honest, y, "o", color=COLOURS[0], ms=4.5, label="honest" if y == 0 else None)
        axes.annotate(f"{claimed - honest:+.2f}", (1.0, y), (8, 0), textcoords="offset points", va="center", fontsize=7)
    axes.set_xlim(0, 1.01)
    axes.set_xlabel("UF1 (right: claimed minus honest)")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


@styled
def plot_looking(result: dict) -> Figure:
    """Share of clips whose heaviest region truly moved, with 95 % over subjects; chance and largest motion as lines."""
    told = {name: row for name, row in result["systems"].items() if row.get("explanation")}
    figure, axes = _subplots(figsize=(PAGE, 0.85 + 0.23 * len(told)))
    for y, row in enumerate(_rows(axes, {"systems": told})):
        score = row["explanation"]["pointing"]
        if score["low"] is not None:
            axes.plot(
                [score["low"], score["high"]], [y, y], color=COLOURS[2], lw=2.5, alpha=0.35, solid_capstyle="round"
            )
        axes.plot(score["mean"], y, "o", color=COLOURS[2], ms=4.5)
    lines = (
        ("chance", result["explanation"]["chance"], ":"),
        ("largest motion", result["explanation"]["flow_magnitude"]["pointing"], "--"),
    )
    for name, score, dash in lines:
        axes.axvline(score["mean"], color=SOFT, lw=1, ls=dash, label=name)
    axes.set_xlim(0, 1.02)
    axes.set_xlabel(f"points at a region that moved ({result['explanation']['truth']}), share of clips")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


@styled
def plot_costs(result: dict) -> Figure:
    """UF1 against the number of trained parameters (logarithmic), a point a network."""
    from matplotlib.ticker import EngFormatter, NullFormatter

    figure, axes = _subplots(figsize=(PAGE * 0.72, 2.4))
    points = {n: (r["parameters"], r["uf1"]["mean"]) for n, r in result["systems"].items() if r["parameters"]}
    for name, (size, score) in points.items():
        axes.plot(size, score, "o", color=COLOURS[1] if name == "stag" else COLOURS[0], ms=5)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.18, y=0.15)
    axes.grid(color=FAINT, lw=0.5)
    axes.set_xlabel("trained parameters")
    axes.set_ylabel("UF1")
    _name_points(figure, axes, {result["systems"][name]["title"]: point for name, point in points.items()})
    return figure


def _name_points(figure: Figure, axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """A name beside each point: to the right or left, above or below, where it meets no point and no other name."""
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()  # sizes and places on the page are known from here on
    spots = {name: axes.transData.transform(point) for name, point in points.items()}
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in spots.values()]
    for name, point in points.items():
        for (x, ha), y in product(((6, "left"), (-6, "right")), (3, -9)):
            label = axes.annotate(name, point, (x, y), textcoords="offset points", fontsize=7, ha=ha)
            box = label.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1
            if (inside and not box.count_overlaps(taken)) or (ha, y) == ("right", -9):
                taken.append(box)
                break
            label.remove()
