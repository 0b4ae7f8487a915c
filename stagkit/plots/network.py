"""The network as a picture: its nine parts in order, drawn from the network itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from stagkit.network.hooks import record
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from stagkit.core.types import Batch
    from stagkit.network.model import Stag


@dataclass(frozen=True)
class Part:
    """One of the nine parts.

    Args:
        number: as in the paper's order.
        name: in words.
        place: (column, row) in the picture.
        modules: attributes of ``Stag`` that it is made of.
        probes: the beginnings of the names of its probes.
    """

    number: int
    name: str
    place: tuple[float, float]
    modules: tuple[str, ...] = ()
    probes: tuple[str, ...] = ()


#: The parts of STAG in the order in which the paper's abstract names them.
PARTS = (
    Part(1, "discriminative\nframes", (0, 1)),
    Part(2, "region tokens", (1, 1), ("tokens",), ("roi.",)),
    Part(3, "temporal\nattention", (2, 1), ("time_weights",), ("time.weights",)),
    Part(4, "AU evidence", (2, 0), ("aus",), ("au.logits",)),
    Part(5, "AU-guided\nconnectivity", (3, 0), ("connectivity",), ("au.edges", "graph.edges")),
    Part(6, "E-GAT", (3, 1), ("graph", "edge_features"), ("graph.",)),
    Part(7, "transformer\nover time", (3, 2), ("frame_tokens", "time"), ("time.",)),
    Part(8, "cross-\nattention", (4, 1.5), ("cross",), ("cross.",)),
    Part(9, "head", (5, 1.5), ("head",), ("pooled", "logits")),
)
#: Where the answer comes from action units alone, they are read a second time before the head, which sees nothing else.
_LATE_PARTS = {
    4: Part(4, "AU evidence,\nfirst reading", (2, 0), ("prior_aus",), ("au.logits.prior",)),
    9: Part(
        9, "AU evidence,\nthen the head", (5, 1.5), ("au_tokens", "aus", "head"), ("au.logits", "pooled", "logits")
    ),
}
_PAST = (4, 9)  # from the AU evidence past the graph to the head, where the head reads more than AU evidence
_ARROWS = ((1, 2), (2, 3), (2, 4), (4, 5), (5, 6), (3, 6), (3, 7), (6, 8), (7, 8), (8, 9), _PAST)
#: Letters of 6 pt that a box is wide; longer lines are set smaller.
_LETTERS = 19
_WIDE, _HIGH, _STEP_X, _STEP_Y = 1.06, 0.92, 1.2, 1.14


def parts_of(model: Stag) -> tuple[Part, ...]:
    """``PARTS``, as they are in this network."""
    return PARTS if model.au_tokens is None else tuple(_LATE_PARTS.get(part.number, part) for part in PARTS)


def count_parameters(model: Stag) -> dict[str, int]:
    """Trained numbers of each part that has any: "2 region tokens" -> count, in the order of ``PARTS``."""
    counts = {}
    for part in parts_of(model):
        modules = [getattr(model, name) for name in part.modules]
        count = sum(p.numel() for module in modules if module is not None for p in module.parameters())
        if part.modules:
            counts[f"{part.number} {' '.join(part.name.split())}"] = count
    return counts


def _probes_of(shapes: Mapping[str, tuple[int, ...]], parts: tuple[Part, ...] = PARTS) -> dict[int, list[str]]:
    """Each probe belongs to the part with the longest matching beginning."""
    found: dict[int, list[str]] = {part.number: [] for part in parts}
    for name in shapes:
        _, number = max((len(start), part.number) for part in parts for start in part.probes if name.startswith(start))
        found[number].append(name)
    return found


@styled
def plot_network(model: Stag, batch: Batch) -> Figure:
    """Draw the nine parts of a network with the names of their probes, what flows out, and how many numbers are trained.

    Parts that are switched off are drawn pale.

    Args:
        model: the network.
        batch: any clips; one pass is made, without gradient.
    """
    import matplotlib.pyplot as plt
    import torch

    training = model.training
    with torch.no_grad(), record(model) as seen:
        model.eval()(batch.x, batch.mask, batch.times_ms)
    model.train(training)
    shapes = {name: tuple(value.shape) for name, value in seen.items()}
    parts, counts = parts_of(model), count_parameters(model)
    probes = _probes_of(shapes, parts)
    figure, axes = plt.subplots(figsize=(PAGE, 3.5))
    spots, on = {}, {}
    for part in parts:
        spots[part.number] = (part.place[0] * _STEP_X, -part.place[1] * _STEP_Y)
        on[part.number] = part.number == 1 or bool(probes[part.number])
        if part.number == 1:
            n_frames, n_rois, _, patch, _ = batch.x.shape[1:]
            lines = [f"{n_frames} frames", f"{n_rois} regions", f"u, v, strain, {patch} x {patch}"]
        else:
            count = next(c for name, c in counts.items() if name.startswith(f"{part.number} "))
            lines = [*_describe(probes[part.number], shapes), f"{count:,} parameters"] if on[part.number] else ["off"]
        _draw_part(axes, part, spots[part.number], lines, on[part.number])
    for start, end in _ARROWS:
        if (start, end) != _PAST or model.au_tokens is None:
            _draw_arrow(axes, spots[start], spots[end], on[start] and on[end], over=(start, end) == _PAST)
    axes.set(xlim=(-_WIDE / 2 - 0.03, 5 * _STEP_X + _WIDE / 2 + 0.03), ylim=(-2 * _STEP_Y - 0.48, 0.78), aspect="equal")
    axes.axis("off")
    return figure


def _describe(names: list[str], shapes: Mapping[str, tuple[int, ...]]) -> list[str]:
    """HookPoint names, the last part of a long list as dots, and the shape of the last without the axis of clips."""
    shown = names if len(names) <= 3 else [*names[:2], "\u2026"]
    return [*shown, " x ".join(map(str, shapes[names[-1]][1:]))]


def _draw_part(axes: Axes, part: Part, spot: tuple[float, float], lines: list[str], on: bool) -> None:
    from matplotlib.patches import FancyBboxPatch

    x, y = spot
    colour = COLOURS[1] if part.number in (4, 5) else COLOURS[2] if part.number in (3, 7) else COLOURS[0]
    axes.add_patch(FancyBboxPatch(
        (x - _WIDE / 2, y - _HIGH / 2), _WIDE, _HIGH, boxstyle="round,pad=0,rounding_size=0.06",
        fc="white", ec=colour if on else FAINT, lw=1.1 if on else 0.7, zorder=3,
    ))  # fmt: skip
    ink = INK if on else FAINT
    axes.text(x, y + _HIGH / 2 - 0.05, f"{part.number}  {part.name}", ha="center", va="top", fontsize=7, color=ink,
              weight="bold", linespacing=1.05, zorder=4)  # fmt: skip
    small = min(6, 6 * _LETTERS / max(map(len, lines)))
    axes.text(x, y - _HIGH / 2 + 0.05, "\n".join(lines), ha="center", va="bottom", fontsize=small,
              color=INK if on else FAINT, linespacing=1.2, zorder=4)  # fmt: skip


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], on: bool, over: bool) -> None:
    """From the edge of one box to the edge of another; ``over`` goes round above the boxes between them."""
    line = {"color": SOFT if on else FAINT, "lw": 0.9, "zorder": 2}
    head = {"arrowprops": {"arrowstyle": "-|>,head_length=.3,head_width=.15", **line, "shrinkA": 0, "shrinkB": 0}}
    if over:
        top = start[1] + _HIGH / 2 + 0.18
        axes.plot([start[0], start[0], end[0]], [start[1] + _HIGH / 2, top, top], **line)
        axes.annotate("", (end[0], end[1] + _HIGH / 2), (end[0], top), **head)
        return
    (x0, y0), (x1, y1) = start, end
    if x0 == x1:
        axes.annotate("", (x1, y1 + _HIGH / 2), (x0, y0 - _HIGH / 2), **head)
        return
    axes.annotate("", (x1 - _WIDE / 2, y1), (x0 + _WIDE / 2, y0), **head)


@styled
def plot_part_effects(moved: Mapping[str, Sequence[float]]) -> Figure:
    """How far the answer moves when a part is silenced: a bar for the mean, a dot for every clip.

    Args:
        moved: what was silenced -> change of the logit of the answer, one a clip.
    """
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(PAGE * 0.8, 0.55 + 0.24 * len(moved)))
    for y, values in enumerate(moved.values()):
        values = np.asarray(values, float)
        axes.barh(y, values.mean(), height=0.62, color=COLOURS[5], alpha=0.55, zorder=2)
        axes.plot(values, np.full(len(values), y), "o", ms=3, color=COLOURS[0], zorder=3)
        told = f"{values.mean():+.2f}" if abs(values.mean()) >= 0.005 else "0.00"
        axes.annotate(told, (1, y), (4, 0), xycoords=("axes fraction", "data"),
                      textcoords="offset points", va="center", fontsize=7)  # fmt: skip
    axes.axvline(0, color=SOFT, lw=0.8)
    axes.set_yticks(range(len(moved)), list(moved))
    axes.set_ylim(len(moved) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    n_clips = len(next(iter(moved.values())))
    axes.set_xlabel(f"change of the logit of the answer (dots: {n_clips} clips; bar and number: their mean)")
    return figure


@styled
def plot_network_costs(costs: Mapping[str, Mapping[str, int]]) -> Figure:
    """What networks cost: parameters and multiply-adds of one clip, side by side.

    Args:
        costs: name -> what ``cost.compute_cost`` gives; the first is the one that the others are a share of.
    """
    import matplotlib.pyplot as plt

    first = next(iter(costs.values()))
    kinds = {"parameters": (1e3, "thousand parameters"), "multiply_adds": (1e6, "million multiply-adds a clip")}
    figure, row = plt.subplots(1, 2, figsize=(PAGE, 0.55 + 0.24 * len(costs)), sharey=True)
    for axes, (kind, (unit, label)), colour in zip(row, kinds.items(), COLOURS, strict=False):
        for y, cost in enumerate(costs.values()):
            axes.barh(y, cost[kind] / unit, height=0.62, color=colour, alpha=1.0 if y == 0 else 0.55)
            axes.annotate(f"{cost[kind] / first[kind]:.0%}", (cost[kind] / unit, y), (3, 0),
                          textcoords="offset points", va="center", fontsize=7)  # fmt: skip
        axes.set_xlabel(label)
        axes.set_xlim(0, 1.15 * max(cost[kind] for cost in costs.values()) / unit)
        axes.tick_params(axis="y", length=0)
    row[0].set_yticks(range(len(costs)), list(costs))
    row[0].set_ylim(len(costs) - 0.4, -0.6)
    return figure
