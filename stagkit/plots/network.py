"""The network as a diagram: its nine parts in order, from a network or from its settings, and what the parts cost."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.network.action_units import make_au_edges
from stagkit.network.hooks import record
from stagkit.network.model import Stag
from stagkit.plots.style import AGAINST, COLOURS, FAINT, FOR, INK, PAGE, SOFT, draw_face, name_rows, styled


def _icon_frames(axes: Axes) -> None:
    at = np.linspace(0, 1, 60)
    score = np.exp(-(((at - 0.52) / 0.2) ** 2)) + 0.05 * np.sin(31 * at) * at
    chosen = np.arange(18, 45, 3)
    axes.plot(at, score, color=SOFT, lw=1)
    axes.plot(at[chosen], score[chosen], "o", ms=2.4, color=COLOURS[1])


def _icon_regions(axes: Axes) -> None:
    draw_face(axes, width=0.7)
    axes.scatter(*ATLAS.mean_centres.T, s=6, marker="s", fc="white", ec=COLOURS[0], lw=0.7, zorder=3)


def _icon_weights(axes: Axes) -> None:
    axes.bar(range(7), [0.25, 0.45, 0.75, 1.0, 0.85, 0.5, 0.3], width=0.62, color=COLOURS[4])
    axes.plot([-0.5, 6.5], [0, 0], color=SOFT, lw=0.6)


def _icon_bars(axes: Axes) -> None:
    axes.barh(range(5), [0.2, 0.9, 0.12, 0.65, 0.08], height=0.6, color=[FAINT, COLOURS[1], FAINT, COLOURS[1], FAINT])
    axes.plot([0, 0], [-0.5, 4.5], color=SOFT, lw=0.6)


def _icon_edges(axes: Axes) -> None:
    draw_face(axes, colour=FAINT, width=0.7)
    for a, b, _ in ATLAS.edge_reasons:
        pair = ATLAS.mean_centres[[ATLAS.index(a), ATLAS.index(b)]]
        strong = {"cheek", "lip_corner"} >= {a[:-2], b[:-2]}
        axes.plot(*pair.T, color=COLOURS[0] if strong else "#9DB9D1", lw=1.7 if strong else 0.5, zorder=2)
    axes.scatter(*ATLAS.mean_centres.T, s=4, fc="white", ec=COLOURS[0], lw=0.5, zorder=3)


def _icon_messages(axes: Axes) -> None:
    angle = np.linspace(0.3, 2 * np.pi + 0.3, 6)[:-1]
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    for (x, y), width in zip(ring, (0.5, 1.5, 0.7, 1.1, 0.4), strict=True):
        arrow = {"arrowstyle": "-|>,head_length=.22,head_width=.12", "lw": width, "color": COLOURS[0], "shrinkB": 4}
        axes.annotate("", (0, 0), (x, y), arrowprops={**arrow, "shrinkA": 2})
    axes.scatter(*ring.T, s=12, fc="white", ec=COLOURS[0], lw=0.8, zorder=3)
    axes.scatter(0, 0, s=34, fc=COLOURS[0], ec="white", lw=0.8, zorder=3)
    axes.set_aspect("equal")
    axes.margins(0.12)


def _icon_tokens(axes: Axes) -> None:
    at = np.arange(6)
    for i, j in ((0, 3), (1, 4), (2, 3), (3, 5)):
        bow = np.linspace(0, np.pi, 30)
        axes.plot((i + j) / 2 + (j - i) / 2 * np.cos(bow), 0.35 + (j - i) / 3 * np.sin(bow), color=COLOURS[2], lw=0.9)
    axes.plot(at, np.zeros(6), "s", ms=4.2, mfc="white", mec=COLOURS[2])
    axes.set(ylim=(-0.5, 1.5))


def _icon_cross(axes: Axes) -> None:
    at = np.linspace(0.1, 0.9, 4)
    for i, j in np.ndindex(4, 4):
        strong = (i, j) in {(2, 2), (1, 2), (2, 1)}
        axes.plot([0, 1], [at[i], at[j]], color=COLOURS[3] if strong else "#E3CBD8", lw=1.5 if strong else 0.5)
    axes.plot(np.zeros(4), at, "s", ms=3.2, mfc="white", mec=COLOURS[0])
    axes.plot(np.ones(4), at, "s", ms=3.2, mfc="white", mec=COLOURS[2])
    axes.margins(0.12)


def _icon_au_graph(axes: Axes) -> None:
    angle = np.linspace(0, 2 * np.pi, 8)[:-1] + 0.3
    ring = np.stack([np.cos(angle), np.sin(angle)], 1)
    for i, j, width, colour in ((0, 2, 2.0, FOR), (2, 3, 1.0, FOR), (1, 5, 1.3, AGAINST), (4, 6, 0.7, FOR)):
        axes.plot(*ring[[i, j]].T, color=colour, lw=width, ls="-" if colour == FOR else (0, (2, 1)))
    axes.scatter(*ring.T, s=22, fc="white", ec=SOFT, lw=0.8, zorder=3)
    axes.set_aspect("equal")
    axes.margins(0.12)


def _icon_classes(axes: Axes) -> None:
    axes.barh(range(3), [0.25, 0.95, 0.15], height=0.55, color=[FAINT, COLOURS[0], FAINT])
    axes.plot([0, 0], [-0.5, 2.5], color=SOFT, lw=0.6)


class Part(NamedTuple):
    """One of the nine parts, numbered along the flow."""

    number: int
    name: str
    place: tuple[float, float]  # in the diagram: along the flow, across it
    icon: Callable[[Axes], None]
    modules: tuple[str, ...] = ()  # attributes of ``Stag``
    hooks: tuple[str, ...] = ()  # beginnings of the names of its hook points


_FIRST = (
    Part(1, "discriminative\nframes", (0, 0.5), _icon_frames),
    Part(2, "region tokens", (0, 1.5), _icon_regions, ("tokens", "imputation"), ("roi.",)),
    Part(3, "temporal\nattention", (1, 1), _icon_weights, ("time_weights",), ("time.weights",)),
    Part(4, "transformer\nover time", (2, 2), _icon_tokens, ("frame_tokens", "time"), ("time.",)),
)
#: The parts of each head: ``graph``, where the AU graph predicts, and ``fused``, where regions and frames do too.
PARTS = {
    "graph": (
        *_FIRST,
        Part(5, "cross-\nattention", (3, 1), _icon_cross, ("cross",), ("cross.",)),
        Part(6, "region graph,\none per AU", (4, 0.5), _icon_edges, ("au_tokens", "region_graph"), ("graph.",)),
        Part(7, "AU activation", (4, 1.5), _icon_bars, (), ("au.logits",)),
        Part(8, "AU graph", (5, 0.5), _icon_au_graph, ("head",), ("au.edges",)),
        Part(9, "class: a sum\nof terms", (5, 1.5), _icon_classes, (), ("logits",)),
    ),
    "fused": (
        *_FIRST,
        Part(5, "region graph,\none per AU", (2, 0), _icon_edges, ("region_graph",),
             ("graph.edges", "graph.attn", "graph.terms")),
        Part(6, "AU activation", (3, 0), _icon_bars, (), ("au.logits",)),
        Part(7, "E-GAT", (3, 1), _icon_messages, ("graph",), ("graph.",)),
        Part(8, "cross-\nattention", (4, 1.5), _icon_cross, ("cross",), ("cross.",)),
        Part(9, "head", (5, 1), _icon_classes, ("head",), ("pooled", "logits")),
    ),
}  # fmt: skip
_ARROWS = {
    "graph": ((1, 2), (2, 3), (3, 4), (3, 5), (4, 5), (5, 6), (6, 7), (7, 8), (8, 9)),
    "fused": ((1, 2), (2, 3), (3, 4), (3, 5), (5, 6), (6, 7), (3, 7), (4, 8), (7, 8), (8, 9)),
}
_PAST = (6, 9)  # head='fused': AU activation past the graph to the head, which reads regions and frames too
#: Letters of 6 pt that a box is wide; longer lines are set smaller.
_LETTERS = 19
_WIDE, _STEP = 1.06, 1.2


def list_parts(config: StagConfig) -> tuple[Part, ...]:
    """The parts of a network with these settings."""
    return PARTS[config.head]


def find_active(config: StagConfig) -> dict[int, bool]:
    """Number of each part -> whether these settings switch it on."""
    graph, time = config.branches != "time", config.branches != "graph"
    cross = graph and time and config.cross_attention != "none"
    active = dict.fromkeys(range(1, 10), True) | {3: bool(config.temporal_attention), 4: time}
    if config.head == "graph":
        return active | {5: cross}
    return active | {7: graph and config.graph != "none", 8: cross}


def draw_network(
    axes: Axes,
    config: StagConfig,
    lines: Mapping[int, Sequence[str]],
    high: float,
    icons: bool = False,
    tall: bool = False,
) -> None:
    """Draw the nine parts and the flow between them; parts that are switched off are pale.

    Args:
        axes: of a figure without layout engine; it gets the size that the diagram needs, 1 unit = 1 in.
        lines: number of a part -> what stands below its name.
        high: height of a box, in.
        icons: draw what each part does.
        tall: from top to bottom (3.5 in wide), else from left to right (7.16 in wide).
    """
    active, half = find_active(config), np.array([_WIDE, high]) / 2
    forward, side = (np.array([0, -1]), np.array([-1, 0])) if tall else (np.array([1, 0]), np.array([0, 1]))
    step = np.array([_STEP - 0.07 * tall, high + 0.22])
    at = {}
    for part in list_parts(config):
        along, across = part.place
        at[part.number] = (np.array([across, -along]) if tall else np.array([along, -across])) * step
        _draw_part(axes, part, at[part.number], lines[part.number], high, active[part.number], icons)

    def arrow(start: np.ndarray, end: np.ndarray, on: bool) -> None:
        style = {"arrowstyle": "-|>,head_length=.3,head_width=.15", "color": SOFT if on else FAINT, "lw": 0.9}
        axes.annotate("", end, start, zorder=2, arrowprops={**style, "shrinkA": 0, "shrinkB": 0})

    for a, b in _ARROWS[config.head]:
        way = forward if (at[b] - at[a]) @ forward > 0.1 else -side
        start, end, on = at[a] + way * half, at[b] - way * half, active[a] and active[b]
        bend = way * ((end - start) @ way) / 2  # a step to the side between the boxes
        line = {"color": SOFT if on else FAINT, "lw": 0.9, "zorder": 2 if on else 1}
        axes.plot(*np.array([start, start + bend, end - bend]).T, **line)
        arrow(end - bend, end, on)
    if config.head != "graph":
        start, end = (at[number] + side * half for number in _PAST)
        corner = start + side * 0.18
        turn = corner + forward * ((end - start) @ forward)
        axes.plot(*np.array([start, corner, turn]).T, color=SOFT, lw=0.9, zorder=2)
        arrow(turn, end, True)
    places = np.array(list(at.values()))
    low, top = places.min(0) - half - 0.06, places.max(0) + half + 0.06
    low, top = (low - [0.18, 0], top) if tall else (low, top + [0, 0.18])
    axes.set(xlim=(low[0], top[0]), ylim=(low[1], top[1]), aspect="equal")
    axes.axis("off")


def _draw_part(axes: Axes, part: Part, at: np.ndarray, lines: Sequence[str], high: float, on: bool, icon: bool) -> None:
    (x, y), ink = at, INK if on else SOFT
    colour = COLOURS[1] if "AU" in part.name else COLOURS[2] if part.number in (3, 4) else COLOURS[0]
    axes.add_patch(FancyBboxPatch(
        (x - _WIDE / 2, y - high / 2), _WIDE, high, boxstyle="round,pad=0,rounding_size=0.06", fc="white",
        ec=colour if on else FAINT, lw=1.1 if on else 0.7, ls="-" if on else (0, (3, 2)), zorder=3,
    ))  # fmt: skip
    axes.text(x, y + high / 2 - 0.05, f"{part.number}  {part.name}", ha="center", va="top", fontsize=7, color=ink,
              weight="bold", linespacing=1.05, zorder=4)  # fmt: skip
    lines = lines if on else ["off"]
    axes.text(x, y - high / 2 + 0.05, "\n".join(lines), ha="center", va="bottom", linespacing=1.2, zorder=4,
              fontsize=min(6, 6 * _LETTERS / max(map(len, lines))), color=ink)  # fmt: skip
    if icon:
        bottom, top = 0.1 + 0.1 * len(lines), 0.31
        inset = axes.inset_axes((x - 0.38, y - high / 2 + bottom, 0.76, high - bottom - top), transform=axes.transData)
        inset.set_zorder(5)
        inset.axis("off")
        part.icon(inset)
        if not on:
            for artist in (*inset.lines, *inset.collections, *inset.patches, *inset.texts):
                artist.set_alpha(0.25)


@styled
def plot_network(model: Stag, batch: Batch) -> Figure:
    """The nine parts of a network with the names of their hook points, what flows out, and how many parameters they have.

    One forward pass of ``batch`` is made, without gradient.
    """
    training = model.training
    with torch.no_grad(), record(model) as values:
        model.eval()(batch.x, batch.mask, batch.times_ms)
    model.train(training)
    parts, counts = list_parts(model.config), count_parameters(model)
    found: dict[int, list[str]] = {part.number: [] for part in parts}
    for name in values:  # each hook point belongs to the part with the longest matching beginning
        _, number = max((len(start), part.number) for part in parts for start in part.hooks if name.startswith(start))
        found[number].append(name)
    n_frames, n_rois, _, patch, _ = batch.x.shape[1:]
    lines = {1: [f"{n_frames} frames", f"{n_rois} regions", f"u, v, strain, {patch} x {patch}"]}
    for part, count in zip(parts[1:], counts.values(), strict=True):
        names = found[part.number]
        shown = names if len(names) <= 3 else [*names[:2], "\u2026"]
        shape = [" x ".join(map(str, values[names[-1]].shape[1:]))] if names else []
        lines[part.number] = [*shown, *shape, *([f"{count:,} parameters"] if part.modules else [])]
    figure, axes = plt.subplots(figsize=(PAGE, 3.5))
    draw_network(axes, model.config, lines, high=0.92)
    return figure


def describe_parts(config: StagConfig, n_frames: int, n_classes: int) -> dict[int, list[str]]:
    """Sizes of the parts, as lines for ``draw_network``."""
    cross = {"both": "both directions", "one-way": "regions query frames", "none": "off"}

    def count(n: int, name: str) -> str:
        return f"{n} {name}{'s' if n != 1 else ''}"

    n_aus, n_edges = len(AU_NUMBERS), len(make_au_edges(ATLAS, config.graph != "none" and config.branches != "time"))
    lines = {
        1: ["optical flow without", "head motion:", count(n_frames, "frame")],
        2: [f"{len(ATLAS.names)} patches", "(u, v, strain)"],
        3: ["a weight per frame"],
        4: [count(config.time_layers, "layer")],
    }
    if config.head == "graph":
        return lines | {
            5: [cross[config.cross_attention]],
            6: [f"{n_edges} edges"],
            7: [f"{n_aus} AUs per frame"],
            8: ["at once, in order,", "on the same side"],
            9: [f"{n_classes} classes"],
        }
    return lines | {
        5: [f"{n_edges} edges"],
        6: [f"{n_aus} AUs per frame"],
        7: [count(config.graph_layers, "layer"), "AUs weight edges" if config.graph == "egat" else "anatomical edges"],
        8: [cross[config.cross_attention]],
        9: [f"{n_classes} classes"],
    }


def count_parameters(model: Stag) -> dict[str, int]:
    """Trained parameters of each part that has modules: "2 region tokens" -> count, in the order of the parts."""
    counts = {}
    for part in list_parts(model.config)[1:]:
        modules = [getattr(model, name) for name in part.modules]
        count = sum(p.numel() for module in modules if module is not None for p in module.parameters())
        counts[f"{part.number} {' '.join(part.name.split())}"] = count
    return counts


@styled
def plot_part_effects(moved: Mapping[str, Sequence[float]]) -> Figure:
    """Change of the predicted logit, "clip", if a part is clamped to zero: a bar for the mean, a dot for every clip."""
    figure, axes = plt.subplots(figsize=(PAGE * 0.8, 0.55 + 0.24 * len(moved)))
    for y, values in enumerate(moved.values()):
        values = np.asarray(values, float)
        axes.barh(y, values.mean(), height=0.62, color=COLOURS[5], alpha=0.55, zorder=2)
        axes.plot(values, np.full(len(values), y), "o", ms=3, color=COLOURS[0], zorder=3)
        words = f"{values.mean():+.2f}" if abs(values.mean()) >= 0.005 else "0.00"
        axes.annotate(words, (1, y), (4, 0), xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
                      fontsize=7)  # fmt: skip
    axes.axvline(0, color=SOFT, lw=0.8)
    name_rows(axes, list(moved))
    n_clips = len(next(iter(moved.values())))
    axes.set_xlabel(f"change of the logit of the prediction (dots: {n_clips} clips; bar and number: their mean)")
    return figure


@styled
def plot_network_costs(costs: Mapping[str, Mapping[str, int]]) -> Figure:
    """Parameters and multiply-adds of networks, by ``cost.compute_cost``, and their shares of those of the first."""
    first = next(iter(costs.values()))
    kinds = {"parameters": (1e3, "thousand parameters"), "multiply_adds": (1e6, "million multiply-adds per clip")}
    figure, row = plt.subplots(1, 2, figsize=(PAGE, 0.55 + 0.24 * len(costs)), sharey=True)
    for axes, (kind, (unit, label)), colour in zip(row, kinds.items(), COLOURS, strict=False):
        for y, cost in enumerate(costs.values()):
            axes.barh(y, cost[kind] / unit, height=0.62, color=colour, alpha=1.0 if y == 0 else 0.55)
            axes.annotate(f"{cost[kind] / first[kind]:.0%}", (cost[kind] / unit, y), (3, 0), textcoords="offset points",
                          va="center", fontsize=7)  # fmt: skip
        name_rows(axes, list(costs))
        axes.set(xlabel=label, xlim=(0, 1.15 * max(cost[kind] for cost in costs.values()) / unit))
    row[1].tick_params(labelleft=False)
    return figure
