"""Pictures of explanations. With controls they show what holds and what fails; without any they are stamped so."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS
from stagkit.core.files import safe_name
from stagkit.core.regions import ATLAS
from stagkit.core.types import MAX_DELTA, Attribution
from stagkit.explain.aggregate import by_au, by_frame, by_muscle, by_roi, describe_clip
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
    draw_face,
    draw_region_values,
    nice_limit,
    styled,
    write_figure,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STAMP = "no control"

#: Short words for the controls of ``evidence.RULES``.
_SHORT = {
    "complete": "complete",
    "better than random order": "beats random order",
    "better than flow magnitude": "beats flow magnitude",
    "stable": "stable",
    "depends on the weights": "needs these weights",
    "depends on the labels": "needs the labels",
}


@styled
def plot_attribution(shown: Attribution | Evidence, clip: int = 0) -> Figure:
    """One clip: regions on the schematic face, action units and frames beside it; signed, in logits, one scale each.

    Args:
        shown: an ``Evidence``, whose controls are listed beside the map with what each measured; or a bare attribution,
            which is stamped 'no control'.
        clip: which.

    Raises:
        ExplainError: the attribution misses more than ``MAX_DELTA`` of the logit gap; the message names the steps to take.
    """
    import matplotlib.pyplot as plt

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
    draw_frames(row[2], one)
    if evidence:
        draw_checks(row[3], evidence)
    else:
        row[0].text(
            0.5, 0.5, STAMP, transform=row[0].transAxes, rotation=24, ha="center", va="center", fontsize=19,
            color=COLOURS[1], alpha=0.35, zorder=5, weight="bold",
        )  # fmt: skip
    said = fill(f"{one.clip_ids[0]}: {describe_clip(one, 0)}", 130)
    figure.suptitle(
        f"{said}\n{one.method} against {one.baseline}; the sum misses {one.relative_delta[0]:.1%}",
        fontsize=7,
        color=INK,
        x=0.01,
        ha="left",
    )
    return figure


def colour_signs(values: np.ndarray) -> list[str]:
    """``FOR`` above 0, ``AGAINST`` below."""
    return [FOR if v > 0 else AGAINST for v in values]


def _draw_units(axes: Axes, units: np.ndarray, named: bool) -> None:
    least = max(1e-9, 0.01 * np.abs(units).max())
    order = [k for k in np.argsort(-np.abs(units)) if abs(units[k]) > least][:8][::-1]
    of = list(ACTION_UNITS.values())
    names = [
        (f"{AU_LABELS[k]} {of[k].name}" if named else AU_LABELS[k]) if k < len(AU_LABELS) else "none" for k in order
    ]
    axes.barh(range(len(order)), units[order], color=colour_signs(units[order]))
    axes.set_yticks(range(len(order)), names, fontsize=6)
    axes.axvline(0, color=SOFT, lw=0.6)
    axes.set_xlabel("action units (logits)")


def draw_frames(axes: Axes, one: Attribution) -> None:
    """The frames of a single clip as bars over time, logits."""
    seen = one.mask[0].any(1)
    times, frames = one.times_ms[0][seen], by_frame(one)[0][seen]
    if seen.sum() < 2:
        axes.axis("off")
        axes.annotate("one frame\n(a flow map)", (0.5, 0.5), xycoords="axes fraction", ha="center", color=SOFT)
        return
    axes.bar(times, frames, width=0.7 * np.diff(times).min(), color=colour_signs(frames))
    axes.axhline(0, color=SOFT, lw=0.6)
    axes.set_xlabel("time from onset (ms)")
    axes.set_ylabel("logits", labelpad=3)


def draw_checks(axes: Axes, evidence: Evidence) -> None:
    """A list: a mark, the control, and under it what was measured."""
    axes.axis("off")
    checks = evidence.checks(0)
    step = 1.0 / max(len(checks), 6)
    for i, check in enumerate(checks):
        y = 1.0 - i * step
        colour = COLOURS[2] if check.passed else COLOURS[1]
        mark = "holds" if check.passed else "fails"
        axes.text(0.0, y, mark, transform=axes.transAxes, va="top", fontsize=6.5, weight="bold", color=colour)
        axes.text(
            0.25, y, _SHORT.get(check.name, check.name), transform=axes.transAxes, va="top", fontsize=6.5, color=INK
        )
        detail = check.text.replace("insertion minus deletion", "ins-del").replace("rank correlation", "rho")
        detail = detail.replace(" with a random network's", " to random weights'").replace(
            " with one trained on ", ", "
        )
        axes.text(0.25, y - 0.42 * step, detail, transform=axes.transAxes, va="top", fontsize=5.5, color=SOFT)
    axes.plot([-0.06, -0.06], [0, 1], transform=axes.transAxes, color=FAINT, lw=0.8, clip_on=False)


def draw_attributions(shown: Attribution | Evidence, out: str | Path, most: int = 12) -> list[Path]:
    """Write ``plot_attribution`` of the first ``most`` complete clips as PNG; those that are not complete are left out."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    attribution = shown.attribution if isinstance(shown, Evidence) else shown
    written = []
    for i in np.flatnonzero(attribution.relative_delta <= MAX_DELTA)[:most]:
        figure = plot_attribution(shown, int(i))
        path = Path(out) / f"{safe_name(attribution.clip_ids[i])}.png"
        write_figure(figure, path, dpi=150)
        written.append(path)
        plt.close(figure)
    return written


@styled
def plot_sums(shown: Mapping[str, Attribution], clip: int = 0, most: int = 6) -> Figure:
    """Regions, muscles, action units and frames of one clip: an attribution beside its controls, as shares of each.

    Args:
        shown: name -> attribution of the same clips by region and frame; the first decides which rows are drawn.
        clip: which.
        most: rows a panel.

    Raises:
        ExplainError: an attribution without an axis that is drawn.
    """
    import matplotlib.pyplot as plt

    first = next(iter(shown.values()))
    frames = [f"{time:.0f} ms" for time in first.times_ms[clip]]
    panels = {
        "regions": (by_roi, first.roi_names),
        "muscles": (by_muscle, MUSCLES),
        "action units": (by_au, (*AU_LABELS, "none")),
        "frames": (by_frame, frames),
    }
    figure, grid = plt.subplots(2, 2, figsize=(PAGE, 4.6), layout="constrained")
    for axes, (title, (view, names)) in zip(grid.flat, panels.items(), strict=True):
        sums = {name: view(attribution)[clip] for name, attribution in shown.items()}
        shares = {name: 100 * values / max(np.abs(values).sum(), 1e-12) for name, values in sums.items()}
        order = np.argsort(-np.abs(shares[next(iter(shown))]), kind="stable")[:most]
        order = np.sort(order) if title == "frames" else order
        thick = 0.8 / len(shares)
        for i, (name, share) in enumerate(shares.items()):
            places = np.arange(len(order)) + (i - (len(shares) - 1) / 2) * thick
            axes.barh(places, share[order], thick * 0.9, color=(COLOURS[0], COLOURS[1], SOFT)[i % 3], label=name)
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
    """Several maps of one clip on the schematic face, each as shares of its own total size, all on one scale.

    Args:
        maps: name -> float "time roi" or "roi"; the sign is dropped, since trivial maps have none.
    """
    import matplotlib.pyplot as plt

    shares = {}
    for name, values in maps.items():
        regions = np.abs(values.sum(0) if values.ndim == 2 else values)
        shares[name] = 100 * regions / max(regions.sum(), 1e-12)
    limit = nice_limit(np.array(list(shares.values())))
    figure, row = plt.subplots(1, len(maps), figsize=(PAGE, PAGE / len(maps) + 0.1), squeeze=False)
    for axes, (name, share) in zip(row[0], shares.items(), strict=True):
        draw_face(axes)
        x, y = ATLAS.mean_centres.T
        size = 110 * (0.1 + 0.9 * share / limit)
        points = axes.scatter(x, y, c=share, s=size, cmap="YlOrRd", vmin=0, vmax=limit, lw=0.5, ec=INK, zorder=3)
        axes.text(0.5, -0.03, name, transform=axes.transAxes, ha="center", color=INK)
    bar = figure.colorbar(points, ax=row[0].tolist(), label="share of the map (%)", shrink=0.75, aspect=18)
    bar.outline.set_linewidth(0.4)
    return figure


@styled
def plot_curves(curves: Mapping[str, Curves], clip: int = 0) -> Figure:
    """Deletion (left) and insertion (right) of one clip in several orders, with the area under each in the legend.

    Args:
        curves: name -> ``faithfulness.compute_curves``.
    """
    import matplotlib.pyplot as plt

    figure, row = plt.subplots(1, 2, figsize=(PAGE, 2.3), sharey=True)
    for axes, kind, words in zip(row, ("deletion", "insertion"), ("taken away", "put in"), strict=True):
        for i, (name, curve) in enumerate(curves.items()):
            area = curve.areas[0 if kind == "deletion" else 1][clip]
            heights = getattr(curve, kind)[clip]
            axes.plot(100 * curve.share, heights, "o-", ms=2.5, color=COLOURS[i], label=f"{name} ({area:.2f})")
        axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
        axes.set_xlabel(f"cells {words}, most important first (%)")
        axes.legend(title=f"{kind} (area)", loc="upper right" if kind == "deletion" else "lower right")
    row[0].set_ylabel("logit above a still face")
    return figure


@styled
def plot_cascade(stages: Mapping[str, Mapping[str, np.ndarray]]) -> Figure:
    """Rank correlation of maps with themselves while the network is randomised from the head down: mean over clips.

    Args:
        stages: name of the map -> ``sanity.compute_cascade``.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(PAGE * 0.75, 2.3))
    for i, (name, each) in enumerate(stages.items()):
        labels = ["trained", *(part.replace("_", " ") for part in each)]
        heights = [1.0, *(float(np.nanmean(values)) for values in each.values())]
        axes.plot(range(len(labels)), heights, "o-", ms=3, color=COLOURS[i], label=name)
    n_clips = len(next(iter(each.values())))
    axes.axhline(0, color=FAINT, lw=0.8, zorder=0)
    axes.set_xticks(range(len(labels)), labels, rotation=25, ha="right")
    axes.set_xlabel("randomised so far, one part more each time")
    axes.set_ylabel(f"similarity to the map of\nthe trained network (n = {n_clips})")
    axes.set_ylim(top=1.05)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
