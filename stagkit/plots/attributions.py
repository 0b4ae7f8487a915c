"""Figures of attributions, their controls, and the effects of edge ablation and interventions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import fill

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.special import softmax

from stagkit.core.facs import ACTION_UNITS, AU_LABELS
from stagkit.core.files import safe_name
from stagkit.core.types import check_axes
from stagkit.explain.aggregate import (
    MAX_DELTA,
    Attribution,
    ExplainError,
    by_au,
    by_frame,
    by_muscle,
    by_roi,
    describe_clip,
)
from stagkit.explain.attribution import check_complete, select_clips
from stagkit.explain.evidence import Evidence
from stagkit.explain.faithfulness import Curves
from stagkit.explain.motion_decomposition import MUSCLES
from stagkit.plots.style import (
    AGAINST,
    COLOURS,
    FAINT,
    FOR,
    INK,
    PAGE,
    SOFT,
    add_colour_bar,
    draw_region_values,
    name_rows,
    nice_limit,
    styled,
    write_figure,
)

#: Rows per panel of ``plot_sums``.
_MOST_ROWS = 6

#: Short names of the controls of ``evidence.RULES``.
SHORT_NAMES = {
    "complete": "complete",
    "better than random order": "beats random order",
    "better than flow magnitude": "beats flow magnitude",
    "stable": "stable",
    "depends on the weights": "needs these weights",
    "depends on the labels": "needs the labels",
}


@styled
def plot_attribution(shown: Attribution | Evidence, clip: int = 0) -> Figure:
    """One clip: regions on the schematic face, action units and frames; signed, in logits, one scale each.

    The controls of an ``Evidence`` are listed with their values; a bare attribution is stamped 'no control'.

    Raises:
        ExplainError: the attribution misses more than ``MAX_DELTA`` of the logit gap; the message names the steps to take.
    """
    evidence = shown.select([clip]) if isinstance(shown, Evidence) else None
    one = evidence.attribution if evidence else select_clips(shown, [clip])
    check_complete(one)
    ratios = (1.25, 0.85, 0.95, 1.15) if evidence else (1.15, 1, 1)
    figure, row = plt.subplots(1, len(ratios), figsize=(PAGE, 2.7), width_ratios=ratios)
    regions = by_roi(one)[0]
    points = draw_region_values(row[0], regions, nice_limit(regions), size=120 if evidence else 150)
    bar = figure.colorbar(points, ax=row[0], shrink=0.7, pad=0.01, aspect=16)
    bar.outline.set_linewidth(0.4)
    bar.ax.set_title("logits", fontsize=7, pad=4)
    _draw_units(row[1], by_au(one)[0], named=evidence is None)
    _draw_frames(row[2], one)
    if evidence:
        _draw_checks(row[3], evidence)
    else:
        row[0].text(0.5, 0.5, "no control", transform=row[0].transAxes, rotation=24, ha="center", va="center", fontsize=19,
                    color=COLOURS[1], alpha=0.35, zorder=5, weight="bold")  # fmt: skip
    head = fill(f"{one.clip_ids[0]}: {describe_clip(one, 0)}", 130)
    head += f"\n{one.method} against {one.baseline}; the sum misses {one.relative_delta[0]:.1%}"
    figure.suptitle(head, fontsize=7, color=INK, x=0.01, ha="left")
    return figure


def _colour_signs(values: np.ndarray) -> list[str]:
    """``FOR`` above 0, ``AGAINST`` below."""
    return [FOR if v > 0 else AGAINST for v in values]


def _draw_units(axes: Axes, units: np.ndarray, named: bool) -> None:
    least = max(1e-9, 0.01 * np.abs(units).max())
    order = [k for k in np.argsort(-np.abs(units)) if abs(units[k]) > least][:8][::-1]
    labels = [*(f"{u.label} {u.name}" if named else u.label for u in ACTION_UNITS.values()), "none"]
    axes.barh(range(len(order)), units[order], color=_colour_signs(units[order]))
    axes.set_yticks(range(len(order)), [labels[k] for k in order], fontsize=6)
    axes.axvline(0, color=SOFT, lw=0.6)
    axes.set_xlabel("action units (logits)")


def _draw_frames(axes: Axes, one: Attribution) -> None:
    """The frames of a single clip as bars over time, logits."""
    visible = one.mask[0].any(1)
    times, frames = one.times_ms[0][visible], by_frame(one)[0][visible]
    if visible.sum() < 2:
        axes.axis("off")
        axes.annotate("one frame\n(a flow map)", (0.5, 0.5), xycoords="axes fraction", ha="center", color=SOFT)
        return
    axes.bar(times, frames, width=0.7 * np.diff(times).min(), color=_colour_signs(frames))
    axes.axhline(0, color=SOFT, lw=0.6)
    axes.set_xlabel("time from onset (ms)")
    axes.set_ylabel("logits", labelpad=3)


def _draw_checks(axes: Axes, evidence: Evidence) -> None:
    """A list of the controls: whether each holds, its name, and below it what was measured."""
    axes.axis("off")
    checks = evidence.checks(0)
    step = 1.0 / max(len(checks), 6)
    words = {"insertion minus deletion": "ins-del", "rank correlation": "rho"}
    words |= {" with a random network's": " to random weights'", " with one trained on ": ", "}
    for i, check in enumerate(checks):
        y, detail = 1.0 - i * step, check.text
        for long, short in words.items():
            detail = detail.replace(long, short)
        put = {"transform": axes.transAxes, "va": "top", "fontsize": 6.5}
        mark, colour = ("holds", COLOURS[2]) if check.passed else ("fails", COLOURS[1])
        axes.text(0.0, y, mark, weight="bold", color=colour, **put)
        axes.text(0.25, y, SHORT_NAMES.get(check.name, check.name), color=INK, **put)
        axes.text(0.25, y - 0.42 * step, detail, color=SOFT, **{**put, "fontsize": 5.5})
    axes.plot([-0.06, -0.06], [0, 1], transform=axes.transAxes, color=FAINT, lw=0.8, clip_on=False)


def draw_attributions(shown: Attribution | Evidence, out: str | Path, most: int = 12) -> list[Path]:
    """Write ``plot_attribution`` of the first ``most`` complete clips as PNG; the others are left out."""
    matplotlib.use("Agg")
    attribution = shown.attribution if isinstance(shown, Evidence) else shown
    written = []
    for i in np.flatnonzero(attribution.relative_delta <= MAX_DELTA)[:most]:
        figure = plot_attribution(shown, int(i))
        written.append(Path(out) / f"{safe_name(attribution.clip_ids[i])}.png")
        write_figure(figure, written[-1], dpi=150)
        plt.close(figure)
    return written


@styled
def plot_sums(shown: Mapping[str, Attribution], clip: int = 0) -> Figure:
    """Regions, muscles, action units and frames of one clip: an attribution and its controls, as shares of each map.

    Args:
        shown: name -> attribution of the same clips by region and frame; the first decides which rows are drawn.
        clip: its index.

    Raises:
        ExplainError: an attribution without an axis that is drawn.
    """
    first = next(iter(shown.values()))
    panels = {
        "regions": (by_roi, first.roi_names),
        "muscles": (by_muscle, MUSCLES),
        "action units": (by_au, (*AU_LABELS, "none")),
        "frames": (by_frame, [f"{time:.0f} ms" for time in first.times_ms[clip]]),
    }
    figure, grid = plt.subplots(2, 2, figsize=(PAGE, 4.6))
    for axes, (title, (view, names)) in zip(grid.flat, panels.items(), strict=True):
        sums = {name: view(attribution)[clip] for name, attribution in shown.items()}
        shares = {name: 100 * values / max(np.abs(values).sum(), 1e-12) for name, values in sums.items()}
        order = np.argsort(-np.abs(shares[next(iter(shown))]), kind="stable")[:_MOST_ROWS]
        order = np.sort(order) if title == "frames" else order
        thick = 0.8 / len(shares)
        for i, (name, share) in enumerate(shares.items()):
            places = np.arange(len(order)) + (i - (len(shares) - 1) / 2) * thick
            axes.barh(places, share[order], thick * 0.9, color=(*COLOURS[:3], SOFT)[i % 4], label=name)
        rows = [fill(names[k].replace("_", " "), 30) for k in order]
        axes.set_yticks(range(len(order)), rows, fontsize=6.5 if "\n" not in "".join(rows) else 5.5)
        axes.axvline(0, color=SOFT, lw=0.6)
        axes.invert_yaxis()
        axes.set_title(title, loc="left", fontsize=8)
        axes.set_xlabel("share of the map, with sign (%)")
    figure.legend(*grid[0, 0].get_legend_handles_labels(), loc="outside upper center", ncols=len(shown))
    return figure


@styled
def plot_maps(maps: Mapping[str, np.ndarray]) -> Figure:
    """Maps of one clip ("time roi" or "roi") on the schematic face: shares of their own total, signs dropped, one scale."""
    shares = {}
    for name, values in maps.items():
        regions = np.abs(values.sum(0) if values.ndim == 2 else values)
        shares[name] = 100 * regions / max(regions.sum(), 1e-12)
    limit = nice_limit(np.array(list(shares.values())))
    figure, row = plt.subplots(1, len(maps), figsize=(PAGE, PAGE / len(maps) + 0.1), squeeze=False)
    for axes, (name, share) in zip(row[0], shares.items(), strict=True):
        points = draw_region_values(axes, share, limit, cmap="YlOrRd", size=115, low=0.0)
        axes.text(0.5, -0.03, name, transform=axes.transAxes, ha="center", color=INK)
    add_colour_bar(figure, points, row[0].tolist(), "share of the map (%)", shrink=0.75)
    return figure


@styled
def plot_curves(curves: Mapping[str, Curves], clip: int = 0) -> Figure:
    """Deletion (left) and insertion (right) of one clip, by ``faithfulness.compute_curves``; the legend has the areas."""
    figure, row = plt.subplots(1, 2, figsize=(PAGE, 3.0), sharey=True)
    for k, (axes, kind, verb) in enumerate(zip(row, ("deletion", "insertion"), ("removed", "inserted"), strict=True)):
        for i, (name, curve) in enumerate(curves.items()):
            label = f"{name} ({curve.areas[k][clip]:.2f})"
            axes.plot(100 * curve.share, getattr(curve, kind)[clip], "o-", ms=2.5, color=COLOURS[i], label=label)
        axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set_xlabel(f"cells {verb}, most important first (%)")
        axes.legend(title=f"{kind} (area)", loc="upper right" if kind == "deletion" else "best", fontsize=6.5)
    row[0].set_ylabel("logit above a still face")
    return figure


@styled
def plot_cascade(stages: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Rank correlation of maps with themselves while the network is randomised from the head down: mean over clips.

    ``stages``: name of the map -> ``faithfulness.compute_cascade``.
    """
    figure, axes = plt.subplots(figsize=(PAGE * 0.75, 2.3))
    for i, (name, each) in enumerate(stages.items()):
        labels = ["trained", *(part.replace("_", " ") for part in each)]
        heights = [1.0, *(float(np.nanmean(values)) for values in each.values())]
        axes.plot(range(len(labels)), heights, "o-", ms=3, color=COLOURS[i], label=name)
    axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
    axes.set_xticks(range(len(labels)), labels, rotation=25, ha="right")
    axes.set_xlabel("randomised so far, one part more each time")
    axes.set_ylabel(f"similarity to the map of\nthe trained network (n = {len(next(iter(each.values())))})")
    axes.set_ylim(top=1.05)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


@styled
def plot_interventions(names: Iterable[str], logits: np.ndarray, classes: Sequence[str], shown: str) -> Figure:
    """Effect of each intervention on the logit of one class (left) and on its probability (right).

    Args:
        names: what each intervention removes.
        logits: float "case cls", of the clip as it is and then of each intervention.
        classes, shown: names of all classes, and of the one that is drawn.

    Raises:
        ShapeError: the logits do not fit the names or the classes.
        ExplainError: no such class.
    """
    names = list(names)
    check_axes({"case": len(names) + 1, "cls": len(classes)}, logits=(np.asarray(logits), "case cls"))
    if shown not in classes:
        raise ExplainError(f"there is no class {shown!r}; the classes are {', '.join(classes)}.")
    target = list(classes).index(shown)
    moved = logits[1:, target] - logits[0, target]
    before, *after = softmax(logits, axis=1)[:, target]
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 0.75 + 0.28 * len(names)), sharey=True)
    left.barh(range(len(names)), moved, 0.6, color=_colour_signs(moved))
    left.axvline(0, color=SOFT, lw=0.6)
    right.axvline(before, color=SOFT, lw=1, ls="--", label="the clip as it is")
    right.plot(after, range(len(names)), "o", color=COLOURS[2], ms=5, label="without it")
    for y, (change, probability) in enumerate(zip(moved, after, strict=True)):
        for axes, x, text, side in (
            (left, change, f"{change:+.4f}", -3 if change < 0 else 3),
            (right, probability, f"{probability:.2%}", -7 if probability > 0.5 else 7),
        ):
            axes.annotate(text, (x, y), (side, 0), textcoords="offset points", va="center", fontsize=7,
                          ha="right" if side < 0 else "left")  # fmt: skip
    name_rows(left, names, top=0.5)
    name_rows(right, names, top=0.5)
    left.grid(visible=False)
    left.margins(x=0.35)
    left.set_xlabel(f"change of the logit of {shown} without it")
    right.set(xlim=(0, 1.03), xlabel=f"probability of {shown}")
    right.tick_params(labelleft=False)
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


@styled
def plot_edge_ablation(values: Mapping[str, np.ndarray], effects: np.ndarray, name: str) -> Figure:
    """What edges are shown with, e.g. attention or terms, against what removing each of them does: a dot per clip and edge.

    Args:
        values: name -> "clip edge"; effects: of removing each edge, logits, "clip edge".
        name: of the class that a positive effect speaks for.

    Raises:
        ShapeError: arrays that do not fit each other.
    """
    n_clips, n_edges = np.shape(effects)
    check_axes({"clip": n_clips, "edge": n_edges}, **{k.replace(" ", "_"): (v, "clip edge") for k, v in values.items()})
    figure, row = plt.subplots(1, len(values), figsize=(PAGE, 2.6), sharey=True, squeeze=False)
    for axes, (kind, shown) in zip(row[0], values.items(), strict=True):
        axes.axhline(0, color=SOFT, lw=0.6)
        axes.scatter(shown, effects, s=6, alpha=0.4, lw=0, c=_colour_signs(np.ravel(effects)))
        axes.set_xlabel(kind)
    row[0, 0].set_ylabel(f"effect of removing the edge\n(logits, + speaks for {name}; {n_clips} clips)")
    return figure
