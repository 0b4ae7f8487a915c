"""Figure 1: the network drawn by code, from the settings of a run. Parts that the run has switched off are faint."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, draw_face, styled
from stagkit.reports.paper.inputs import Inputs, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_FILL = "#F4F6F8"


class _Box(NamedTuple):
    """A part: lower left corner and size in inches, name, what it does, whether it is on."""

    x: float
    y: float
    width: float
    height: float
    name: str
    text: str
    on: bool = True

    def side(self, which: str, off: float = 0.0) -> tuple[float, float]:
        """Middle of a side, or ``off`` inches from it (up, or to the right)."""
        across = {"left": 0.0, "right": 1.0}.get(which, 0.5)
        up = {"bottom": 0.0, "top": 1.0}.get(which, 0.5)
        x, y = self.x + across * self.width, self.y + up * self.height
        return (x, y + off) if which in ("left", "right") else (x + off, y)


@styled
def fig_01_pipeline(inputs: Inputs, width: float = PAGE) -> Figure:
    """The parts of the network and what flows between them, with the sizes of the first run."""
    import matplotlib.pyplot as plt

    config = inputs.run.stag_config
    flow = inputs.run.request["data"].get("flow") or {}
    frames = flow.get("n_frames", 1)
    wide = width > 5
    height = 2.75 if wide else 4.7
    boxes = _place(config, frames, len(inputs.run.request["classes"]), wide)
    figure = plt.figure(figsize=(width, height))
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.axis("off")
    for key, box in boxes.items():
        _draw_box(axes, box)
        _draw_icon(figure, key, box, (width, height), config)
    for start, a, end, b in _ARROWS_WIDE if wide else _ARROWS_NARROW:
        off = {"graph": 0.22, "time": -0.22} if wide else {"graph": -0.12, "time": 0.12}
        ends = boxes[start].side(a, off.get(end, 0.0)), boxes[end].side(b, off.get(start, 0.0))
        _draw_arrow(axes, *ends, boxes[start].on and boxes[end].on)
    note(figure, [inputs.run], stag=config.to_dict(), frames=frames)
    figure.stagkit_source["phantom"] = False  # a drawing of settings: no datum is in it
    return figure


def _place(config: StagConfig, frames: int, n_classes: int, wide: bool) -> dict[str, _Box]:
    graph_on, time_on = config.branches != "time", config.branches != "graph"
    names = {
        "clip": ("Clip", "frames from\nthe onset on"),
        "flow": ("Optical flow", f"head motion removed;\n{frames} frame{'s' if frames > 1 else ''} kept"),
        "rois": ("Regions", f"{len(ATLAS.names)} patches\n(u, v, strain)"),
        "graph": ("AU-guided graph", f"{len(AU_NUMBERS)} AUs weigh the edges; E-GAT × {config.graph_layers}"),
        "time": ("Time", f"attention over frames; transformer × {config.time_layers}"),
        "cross": (
            "Cross-\nattention" if wide else "Cross-attention",
            {"both": "both ways", "one-way": "one way", "none": "off"}[config.cross_attention],
        ),
        "head": (
            "Head",
            f"{len(AU_NUMBERS)} AUs, from them {n_classes} classes"
            if config.head == "graph"
            else f"{n_classes} classes, {len(AU_NUMBERS)} AUs",
        ),
    }
    on = {
        "graph": graph_on and config.graph != "none",
        "time": time_on,
        "cross": graph_on and time_on and config.cross_attention != "none",
    }
    if wide:
        h, y = 1.5, 0.62
        spots = {
            "clip": (0.08, y, 0.86, h), "flow": (1.18, y, 1.22, h), "rois": (2.64, y, 1.0, h),
            "graph": (3.9, 1.44, 1.42, 1.26), "time": (3.9, 0.05, 1.42, 1.26),
            "cross": (5.6, y, 0.72, h), "head": (6.48, y, 0.62, h),
        }  # fmt: skip
    else:
        h = 1.28
        spots = {
            "clip": (0.06, 3.36, 0.9, h), "flow": (1.18, 3.36, 1.2, h), "rois": (2.58, 3.36, 0.86, h),
            "graph": (0.06, 1.76, 1.6, h), "time": (1.84, 1.76, 1.6, h),
            "cross": (0.62, 0.14, 1.02, h), "head": (1.86, 0.14, 1.02, h),
        }  # fmt: skip
    return {key: _Box(*spots[key], *names[key], on.get(key, True)) for key in names}


_ARROWS_WIDE = (
    ("clip", "right", "flow", "left"),
    ("flow", "right", "rois", "left"),
    ("rois", "right", "graph", "left"),
    ("rois", "right", "time", "left"),
    ("graph", "right", "cross", "left"),
    ("time", "right", "cross", "left"),
    ("cross", "right", "head", "left"),
)
_ARROWS_NARROW = (
    ("clip", "right", "flow", "left"),
    ("flow", "right", "rois", "left"),
    ("rois", "bottom", "graph", "top"),
    ("rois", "bottom", "time", "top"),
    ("graph", "bottom", "cross", "top"),
    ("time", "bottom", "cross", "top"),
    ("cross", "right", "head", "left"),
)


def _draw_box(axes: Axes, box: _Box) -> None:
    from matplotlib.patches import FancyBboxPatch

    axes.add_patch(
        FancyBboxPatch(
            (box.x, box.y), box.width, box.height, boxstyle="round,pad=0,rounding_size=0.07", fc=_FILL,
            ec=SOFT if box.on else FAINT, lw=0.8, ls="-" if box.on else (0, (3, 2)), zorder=1,
        )
    )  # fmt: skip
    ink = INK if box.on else SOFT
    name = box.name if box.on or box.text == "off" else f"{box.name} (off)"
    axes.text(box.x + box.width / 2, box.y + box.height - 0.07, name, ha="center", va="top", color=ink, weight="bold",
              fontsize=7.5 if len(name) < 15 or box.width > 1.1 else 7, linespacing=1.05)  # fmt: skip
    axes.text(
        box.x + box.width / 2, box.y + 0.06, _wrap(box.text, box.width), ha="center", va="bottom", color=SOFT,
        fontsize=6.2, linespacing=1.15,
    )  # fmt: skip


def _wrap(text: str, width: float) -> str:
    import textwrap

    return "\n".join(line for part in text.split("\n") for line in textwrap.wrap(part, max(8, int(width * 18))))


def _draw_arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], on: bool) -> None:
    from matplotlib.patches import FancyArrowPatch

    axes.add_patch(
        FancyArrowPatch(
            start, end, arrowstyle="-|>,head_length=3.4,head_width=1.8", shrinkA=1.5, shrinkB=1.5, lw=1.1,
            color=INK if on else FAINT, zorder=3, joinstyle="miter",
        )
    )  # fmt: skip


def _draw_icon(figure: Figure, key: str, box: _Box, size: tuple[float, float], config: StagConfig) -> None:
    """A small picture in the middle of a box."""
    lines = _wrap(box.text, box.width).count("\n") + 1
    bottom, top = 0.12 + 0.105 * lines, 0.25 + 0.12 * box.name.count("\n")
    place = (box.x + 0.07, box.y + bottom, box.width - 0.14, box.height - bottom - top)
    axes = figure.add_axes(tuple(v / size[i % 2] for i, v in enumerate(place)))
    axes.axis("off")
    _ICONS[key](axes)
    if not box.on:
        for artist in (*axes.lines, *axes.collections, *axes.patches):
            artist.set_alpha(0.25)


def _icon_clip(axes: Axes) -> None:
    from stagkit.core.regions import load_mean_face

    face = load_mean_face()[0]
    for k, colour in enumerate((FAINT, "#A9B1B8", INK)):
        moved = face + [0.42 * k, 0.2 * k]
        brow = moved[27] - [0, 0.15]
        crown = brow + np.stack([np.cos(a := np.linspace(0, -np.pi, 30)), 0.62 * np.sin(a)], 1) * [0.82, 1]
        axes.fill(*np.vstack([moved[:17], crown]).T, fc=_FILL, ec="none", zorder=k)
        for line in _added_lines(axes, moved, colour):
            line.set_zorder(k + 0.5)


def _added_lines(axes: Axes, landmarks: np.ndarray, colour: str) -> list:
    before = len(axes.lines)
    draw_face(axes, landmarks, colour, 0.7)
    return list(axes.lines)[before:]


def _icon_flow(axes: Axes) -> None:
    at = np.linspace(0, 1, 60)
    course = np.exp(-(((at - 0.52) / 0.2) ** 2)) + 0.05 * np.sin(31 * at) * at
    axes.plot(at, course, color=SOFT, lw=1)
    chosen = np.arange(18, 45, 3)
    axes.plot(at[chosen], course[chosen], "o", ms=2.6, color=COLOURS[1])
    axes.set(ylim=(-0.15, 1.2))


def _icon_rois(axes: Axes) -> None:
    draw_face(axes, width=0.7)
    axes.scatter(*ATLAS.mean_centres.T, s=9, marker="s", fc="white", ec=COLOURS[0], lw=0.8, zorder=3)


def _icon_graph(axes: Axes) -> None:
    draw_face(axes, colour=FAINT, width=0.7)
    for a, b, _ in ATLAS.edge_reasons:
        pair = ATLAS.mean_centres[[ATLAS.index(a), ATLAS.index(b)]]
        strong = {"cheek", "lip_corner"} >= {a[:-2], b[:-2]}
        axes.plot(*pair.T, color=COLOURS[0] if strong else "#9DB9D1", lw=1.9 if strong else 0.6, zorder=2)
    axes.scatter(*ATLAS.mean_centres.T, s=5, fc="white", ec=COLOURS[0], lw=0.6, zorder=3)


def _icon_time(axes: Axes) -> None:
    weights = np.array([0.25, 0.45, 0.75, 1.0, 0.85, 0.5, 0.3])
    axes.bar(np.arange(len(weights)), weights, width=0.62, color=COLOURS[4])
    axes.plot([-0.5, len(weights) - 0.5], [0, 0], color=SOFT, lw=0.6)
    axes.set(ylim=(-0.05, 1.25))


def _icon_cross(axes: Axes) -> None:
    left, right = np.linspace(0.1, 0.9, 4), np.linspace(0.1, 0.9, 4)
    for i, y in enumerate(left):
        for j, z in enumerate(right):
            strong = (i, j) in {(2, 2), (1, 2), (2, 1)}
            axes.plot([0, 1], [y, z], color=COLOURS[3] if strong else "#E3CBD8", lw=1.5 if strong else 0.5)
    axes.plot(np.zeros(4), left, "s", ms=3.4, mfc="white", mec=COLOURS[0])
    axes.plot(np.ones(4), right, "s", ms=3.4, mfc="white", mec=COLOURS[4])
    axes.set(xlim=(-0.25, 1.25), ylim=(-0.05, 1.05))


def _icon_head(axes: Axes) -> None:
    axes.barh([0, 1, 2], [0.25, 0.95, 0.15], height=0.55, color=[FAINT, COLOURS[2], FAINT])
    axes.plot([0, 0], [-0.5, 2.5], color=SOFT, lw=0.6)
    axes.set(xlim=(-0.02, 1.05), ylim=(-0.7, 2.7))


_ICONS = {
    "clip": _icon_clip,
    "flow": _icon_flow,
    "rois": _icon_rois,
    "graph": _icon_graph,
    "time": _icon_time,
    "cross": _icon_cross,
    "head": _icon_head,
}
