"""The flow explorer as a static figure."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stagkit.core.config import FlowConfig
from stagkit.core.regions import compute_face_mask
from stagkit.core.types import Clip, FlowClip
from stagkit.explorers.flow.scene import (
    LAYERS,
    MAX_MAGNIFY,
    ClipSequence,
    check_motion,
    check_point,
    colour_wheel,
    compute_limits,
    explain_hidden,
    find_crop,
    reselect,
)
from stagkit.explorers.validation import check_choice, check_frame, check_index, check_range
from stagkit.motion.optical_flow import compute_flow
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, draw_face, magnify_motion, styled

_NAMES = {"wheel": "flow, direction as colour", "speed": "speed", "strain": "optical strain"}


@styled
def plot_flow(
    clips,
    *,
    clip: int | str = 0,
    frame: int | None = None,
    config: FlowConfig = FlowConfig(),
    layer: str = "wheel",
    arrows: bool = True,
    magnify: float = 1.0,
    point: list[float] | None = None,
    show_frames: bool | None = None,
    motion: FlowClip | None = None,
) -> Figure:
    """Draw a frame, its motion and the motion curve of the clip (``view_flow`` is interactive).

    Args:
        clips: a ``Clip`` with landmarks; a list of clips; or a source with ``keys`` and ``read`` (``open_source``,
            ``PhantomSource``), of which a clip is read when it is shown.
        clip: index or id of the clip shown first.
        frame: index of its frame; the one with the most motion where None.
        config: method, selection rule and their settings.
        layer: ``"wheel"`` (direction as colour, length as opacity), ``"speed"`` or ``"strain"``.
        arrows: draw the flow as arrows too.
        magnify: 1..20, factor by which the motion in the frame is enlarged.
        point: ``[x, y]`` px, a place that is followed over time.
        show_frames: None = only frames of phantoms, animated photographs and your own recordings are shown; of licensed
            data landmarks and flow. True states that the agreement of these data allows showing this subject.
        motion: the clip's motion, if already measured with ``config``.

    Returns:
        A matplotlib Figure, 7.16 in wide, 8 pt, without a title inside.

    Raises:
        StagkitError: an argument that is out of range, a clip without landmarks or with a single frame.
    """

    sequence = ClipSequence(clips)
    shown = sequence.read(check_index("clip", clip, sequence.names))
    check_choice("layer", layer, LAYERS)
    check_range("magnify", magnify, 1, MAX_MAGNIFY, "1 = as measured")
    point = check_point(point or [], shown)
    motion = compute_flow(shown, config) if motion is None else check_motion(motion, shown)
    motion = reselect(motion, shown, config, config.selection)
    frame = int(np.argmax(motion.scores)) if frame is None else check_frame(frame, shown.clip_id, len(shown.frames))

    figure = Figure(figsize=(PAGE, 4.6), facecolor="white", layout="constrained")
    grid = figure.add_gridspec(2, 3, height_ratios=(1.75, 1), width_ratios=(1, 1, 0.045))
    face, moved = figure.add_subplot(grid[0, 0]), figure.add_subplot(grid[0, 1])
    hidden = bool(explain_hidden(shown, show_frames))
    _draw_frame(face, shown, motion, frame, magnify, hidden)
    _draw_layer(moved, figure.add_subplot(grid[0, 2]), shown, motion, frame, layer, arrows, hidden)
    left, top, width, height = find_crop(shown)
    for axes in (face, moved):
        axes.set(xlim=(left - 0.5, left + width - 0.5), ylim=(top + height - 0.5, top - 0.5), aspect="equal")
        axes.axis("on")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        if point:
            axes.plot(*point, "+", color=COLOURS[1], ms=9, mew=1.8)
    _draw_curve(figure.add_subplot(grid[1, :]), shown, motion, frame, point, config)
    return figure


def _draw_frame(axes: Axes, clip: Clip, motion: FlowClip, frame: int, magnify: float, hidden: bool) -> None:
    words = f"frame {frame}, {clip.times_ms[frame]:.0f} ms" + (f", motion x {magnify:g}" if magnify != 1 else "")
    if hidden:
        limits = np.array(motion.flow.shape[:1:-1]) - 1
        x, y = np.clip(np.rint(motion.landmarks).astype(int), 0, limits).T
        draw_face(axes, motion.landmarks + magnify * motion.flow[frame][:, y, x].T, colour=INK)
        words = f"landmarks (frames not shown), {words}"
    else:
        onset = clip.frames[clip.onset or 0]
        image = clip.frames[frame] if magnify == 1 else magnify_motion(onset, motion, frame, magnify)
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="bilinear")
    axes.set_xlabel(words)


def _draw_layer(
    axes: Axes, key: Axes, clip: Clip, motion: FlowClip, frame: int, layer: str, arrows: bool, hidden: bool
) -> None:
    flow, mask = motion.flow[frame] * (100 / motion.iod), compute_face_mask(motion.landmarks, clip.frames.shape[1:3])
    limits = compute_limits(motion)
    limit = limits["strain" if layer == "strain" else "speed"]
    if hidden:
        draw_face(axes, motion.landmarks, colour=FAINT)
    else:
        onset = clip.frames[clip.onset or 0]
        grey = onset if onset.ndim == 2 else onset.mean(-1)
        axes.imshow(160 + 0.37 * grey, cmap="gray", vmin=0, vmax=255)
    if layer == "wheel":
        axes.imshow(colour_wheel(np.where(mask, flow, 0), limit), interpolation="bilinear")
        _draw_wheel(key, limit)
    else:
        values = np.linalg.norm(flow, axis=0) if layer == "speed" else 100 * motion.strain[frame]
        image = axes.imshow(np.ma.masked_where(~mask, values), cmap="viridis", vmin=0, vmax=limit, alpha=0.85)
        label = "displacement (% of IOD)" if layer == "speed" else "strain (%)"
        axes.figure.colorbar(image, cax=key, label=label).outline.set_linewidth(0.4)
    if arrows:
        step, size = max(3, round(0.11 * motion.iod)), limits["speed"]
        ys, xs = np.mgrid[step // 2 : flow.shape[1] : step, step // 2 : flow.shape[2] : step]
        keep = mask[ys, xs] & (np.linalg.norm(flow[:, ys, xs], axis=0) > 0.08 * size)
        axes.quiver(
            xs[keep], ys[keep], *flow[:, ys[keep], xs[keep]], angles="xy", scale_units="xy", scale=size / (2.4 * step),
            color=INK if layer == "wheel" else "white", width=0.006,
        )  # fmt: skip
    axes.set_xlabel(_NAMES[layer])


def _draw_wheel(axes: Axes, limit: float) -> None:
    """Key of the colours: a disc whose rim is ``limit``."""
    axes.axis("off")
    disc = axes.inset_axes((-2.2, 0.33, 4.2, 0.42))
    flow = np.stack(np.meshgrid(*[np.linspace(-1, 1, 81)] * 2, indexing="xy"))
    colours = np.where(np.hypot(*flow)[..., None] <= 1, colour_wheel(flow, 1.0), 0).astype(np.uint8)
    disc.imshow(colours, extent=(-1, 1, 1, -1))
    disc.set_aspect("equal")
    disc.axis("off")
    ends = (
        (1.12, 0, "right", "left"),
        (0, 1.3, "down", "center"),
        (-1.12, 0, "left", "right"),
        (0, -1.3, "up", "center"),
    )
    for x, y, text, align in ends:
        disc.text(x, y, text, ha=align, va="center", fontsize=6, color=SOFT)
    axes.text(-0.1, 0.18, f"rim = {limit:g} %\nof IOD", transform=axes.transAxes, ha="center", fontsize=6, color=SOFT)


def _draw_curve(axes: Axes, clip: Clip, motion: FlowClip, frame: int, point: list[float], config: FlowConfig) -> None:
    times, chosen = motion.times_ms, motion.selected
    axes.plot(times, motion.scores, color=COLOURS[0], label=f"motion score ({config.method})")
    label = f"selected: {config.selection} ({len(chosen)})"
    axes.plot(times[chosen], motion.scores[chosen], "o", ms=4, color=COLOURS[1], label=label)
    if point:
        x, y = (round(v) for v in point)
        speed = np.linalg.norm(motion.flow[:, :, y, x], axis=1) * (100 / motion.iod)
        axes.plot(times, speed, "--", color=COLOURS[2], label=f"speed at ({x}, {y}) px")
    top = 1.22 * max(axes.get_ylim()[1], 1e-6)
    for name in ("onset", "apex", "offset"):
        at = getattr(clip, name)
        if at is not None:
            axes.axvline(times[at], color=SOFT, lw=0.8, ls=":")
            axes.text(times[at], top, f" {name}", va="top", fontsize=7, color=SOFT)
    axes.axvline(times[frame], color=INK, lw=1)
    axes.set(xlabel="time from onset (ms)", ylabel="% of IOD", ylim=(0, top))
    axes.legend(loc="lower center", ncols=3, bbox_to_anchor=(0.5, 1.0), borderaxespad=0.1)
