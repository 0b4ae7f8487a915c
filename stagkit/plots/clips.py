"""Figures of clips and their motion: film strips, motion over time, displacement fields, regions."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, ShapeError, StagkitError, inter_ocular_distance
from stagkit.motion.optical_flow import FlowClip
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, hide_frame, magnify_motion, nice_limit, styled


def show_image(axes: Axes, image: np.ndarray) -> None:
    """An image, 0 to 255, without frame or ticks."""
    axes.imshow(image, cmap="gray", vmin=0, vmax=255)
    hide_frame(axes)


@styled
def plot_clip(clip: Clip, n_frames: int = 7, magnify: float = 1.0, motion: FlowClip | None = None) -> Figure:
    """A film strip: evenly spaced frames from the first to the last, with their time.

    With ``magnify`` above 1, the measured ``motion`` of each frame is enlarged so many times by warping the onset frame.

    Raises:
        StagkitError: ``magnify`` without ``motion``.
    """
    if magnify != 1 and motion is None:
        raise StagkitError("magnified frames are drawn from measured motion: give motion=compute_flow(clip).")
    chosen = np.unique(np.linspace(0, len(clip.frames) - 1, n_frames).round().astype(int))
    figure, rows = plt.subplots(1, len(chosen), figsize=(PAGE, PAGE / len(chosen) + 0.25), squeeze=False)
    for axes, t in zip(rows[0], chosen, strict=True):
        onset = clip.frames[clip.onset or 0]
        show_image(axes, clip.frames[t] if magnify == 1 else magnify_motion(onset, motion, t, magnify))
        mark = {clip.onset: "onset", clip.apex: "apex", clip.offset: "offset"}.get(int(t), "")
        axes.set_xlabel(f"{clip.times_ms[t]:.0f} ms" + (f"\n{mark}" if mark else ""))
    return figure


def draw_motion(axes: Axes, motion: FlowClip, clip: Clip | None = None) -> None:
    """Motion score over time with the selected frames, and the clip's onset, apex and offset."""
    axes.plot(motion.times_ms, motion.scores, color=COLOURS[0], label="measured motion", zorder=2)
    axes.plot(motion.times_ms[motion.selected], motion.scores[motion.selected], "o", ms=3.6, color=COLOURS[1], zorder=3,
              label=f"{len(motion.selected)} discriminative frames")  # fmt: skip
    axes.set(xlabel="time from onset (ms)", ylabel="motion score (% of IOD)")
    axes.set_ylim(bottom=0)
    for name in ("onset", "apex", "offset"):
        at = getattr(clip, name, None)
        if at is not None:
            axes.axvline(clip.times_ms[at], color=FAINT, lw=0.9, zorder=0)
            axes.annotate(name, (clip.times_ms[at], 1), xycoords=("data", "axes fraction"), ha="center", va="bottom",
                          color=SOFT, fontsize=7)  # fmt: skip


@styled
def plot_motion(motion: FlowClip, clip: Clip | None = None) -> Figure:
    """Motion score over time with the selected frames; of a clip onset, apex and offset, of a phantom its ground truth."""
    figure, axes = plt.subplots(figsize=(PAGE * 0.75, 2.2))
    draw_motion(axes, motion, clip)
    handles, labels = axes.get_legend_handles_labels()
    if clip is not None and clip.truth is not None:
        intensity = axes.twinx()
        for k, code in enumerate(clip.truth.codes):
            intensity.plot(clip.times_ms, clip.truth.au_intensity[:, k], ls=":", lw=1, color=COLOURS[2 + k % 5],
                         label=f"true {code}")  # fmt: skip
        intensity.set_ylim(0, 1.3)
        intensity.set_ylabel("true intensity (share of peak)")
        intensity.spines["right"].set_visible(True)
        more = intensity.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    figure.legend(handles, labels, loc="outside right upper")
    return figure


# ── displacement fields ──────────────────────────────────────────────────────────────────────────────────────────────


def draw_arrows(axes: Axes, field: np.ndarray, keep: np.ndarray, step: int, limit: float, **look) -> None:
    """White arrows every ``step`` px of a field "2 y x" where ``keep`` "y x" is true; ``look``: options of ``quiver``.

    An arrow of length ``limit``, the top of the colour scale, is about two steps long.
    """
    ys, xs = np.mgrid[step // 2 : field.shape[1] : step, step // 2 : field.shape[2] : step]
    some = keep[ys, xs]
    look = {"color": "white", "width": 0.007, "scale": limit / (2 * step), **look}
    axes.quiver(xs[some], ys[some], *field[:, ys, xs][:, some], angles="xy", scale_units="xy", **look)


@styled
def plot_flow(
    motion: FlowClip, frame: int, image: np.ndarray | None = None, truth: np.ndarray | None = None, step: int = 5
) -> Figure:
    """Flow of one frame: speed as colour, direction as arrows every ``step`` px; to its right the truth, if given.

    Args:
        motion, frame: of a clip, and the index of the frame.
        image: the onset frame, drawn below.
        truth: true displacement, float "2 y x" px, e.g. ``clip.truth.displacement(frame)``.
    """
    scale, face = 100 / motion.iod, compute_face_mask(motion.landmarks, motion.flow.shape[2:])
    fields = {"measured": motion.flow[frame] * scale} | ({} if truth is None else {"ground truth": truth * scale})
    speeds = {name: np.linalg.norm(field, axis=0) for name, field in fields.items()}
    limit = nice_limit(np.concatenate([speed[face] for speed in speeds.values()]))
    figure, row = plt.subplots(1, len(fields), figsize=(2.5 * len(fields) + 0.6, 2.6), squeeze=False)
    for axes, (name, field) in zip(row[0], fields.items(), strict=True):
        speed = speeds[name]
        if image is not None:
            show_image(axes, image)
        shown = axes.imshow(np.ma.masked_where(~face, speed), cmap="viridis", vmin=0, vmax=limit,
                            alpha=0.65 if image is not None else 1.0)  # fmt: skip
        draw_arrows(axes, field, (speed > 0.12 * limit) & face, step, limit)
        height, width = speed.shape
        axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[], xlabel=name)
    figure.colorbar(shown, ax=row[0].tolist(), label="displacement (% of IOD)", shrink=0.85)
    return figure


def _check_shape(fields: Mapping[str, np.ndarray], axes: str) -> None:
    shapes = {np.shape(field) for field in fields.values()}
    n_axes = len(axes.split())
    if len(shapes) != 1 or len(next(iter(shapes))) != n_axes or (n_axes == 3 and next(iter(shapes))[0] != 2):
        raise ShapeError(f"the fields have shapes {sorted(shapes)}, expected one shape '{axes}' for all.")


def _draw_row(images: Mapping[str, np.ndarray], label: str, limit: float, cmap: str):
    """Images side by side on one scale from 0 to ``limit``, at most as wide as a page."""
    n, (height, wide) = len(images), np.shape(next(iter(images.values())))
    width = min(PAGE, 1.75 * n + 0.7)
    figure, row = plt.subplots(1, n, figsize=(width, 0.35 + (width - 0.7) / n * height / wide), squeeze=False)
    for axes, (name, image) in zip(row[0], images.items(), strict=True):
        shown = axes.imshow(image, cmap=cmap, vmin=0, vmax=limit)
        axes.set(xticks=[], yticks=[], xlabel=name)
    figure.colorbar(shown, ax=list(row[0]), label=label, shrink=0.85)
    return figure, row[0]


@styled
def plot_fields(fields: Mapping[str, np.ndarray], step: int = 6, limit: float | None = None) -> Figure:
    """Displacement fields side by side: length as colour, direction as arrows, one scale for all.

    Args:
        fields: name -> float "2 y x" px, chan = (u right, v down).
        step: distance of two arrows, px.
        limit: top of the scale, px; just above the longest displacement if None.

    Raises:
        ShapeError: fields of different shapes, or none.
    """
    _check_shape(fields, "2 y x")
    lengths = {name: np.linalg.norm(field, axis=0) for name, field in fields.items()}
    limit = limit or nice_limit(np.array([length.max() for length in lengths.values()]))
    figure, row = _draw_row(lengths, "displacement (px)", limit, "viridis")
    for axes, field, length in zip(row, fields.values(), lengths.values(), strict=True):
        draw_arrows(axes, np.asarray(field), length > 0.1 * limit, step, limit)
    return figure


@styled
def plot_amounts(amounts: Mapping[str, np.ndarray], label: str, limit: float | None = None) -> Figure:
    """Maps of a quantity >= 0, e.g. strain or error, side by side on one scale.

    Args:
        amounts: name -> float "y x", all in one unit.
        label: what the colour means, with its unit.
        limit: top of the scale; just above the 99.5th percentile of all if None.

    Raises:
        ShapeError: maps of different shapes, or none.
    """
    _check_shape(amounts, "y x")
    limit = limit or nice_limit(np.array([np.percentile(a, 99.5) for a in amounts.values()]))
    return _draw_row(amounts, label, limit, "magma")[0]


def compute_lengths(
    measured: np.ndarray, truth: np.ndarray, where: np.ndarray, n_bins: int = 8
) -> tuple[np.ndarray, np.ndarray]:
    """Median measured length along the true direction, for bins of the true length with equally many pixels.

    Args:
        measured, truth: float "2 y x" px.
        where: bool "y x", the pixels that count; those without true motion never do.

    Returns:
        float "bin" true length (mean of the bin), float "bin" measured length, both px; negative = opposite direction.

    Raises:
        StagkitError: fewer pixels than bins.

    Example:
        >>> truth = np.stack([np.tile(np.linspace(0.5, 2, 16), (4, 1)), np.zeros((4, 16))])
        >>> x, y = compute_lengths(truth / 2, truth, np.ones((4, 16), bool), n_bins=4)
        >>> bool(np.allclose(y, x / 2, atol=0.02))
        True
    """
    length = np.linalg.norm(truth, axis=0)
    use = where & (length > 0)
    if use.sum() < n_bins:
        raise StagkitError(f"{use.sum()} pixels moved, expected at least one for each of the {n_bins} bins.")
    along = (measured * truth).sum(0)[use] / length[use]
    parts = np.array_split(np.argsort(length[use], kind="stable"), n_bins)
    return np.array([length[use][p].mean() for p in parts]), np.array([np.median(along[p]) for p in parts])


@styled
def plot_lengths(fields: Mapping[str, np.ndarray], truth: np.ndarray, where: np.ndarray) -> Figure:
    """Measured against true length of displacements, per method, as by ``compute_lengths``."""
    figure, axes = plt.subplots(figsize=(PAGE * 0.6, 2.5))
    top = 0.0
    for (name, field), colour, mark in zip(fields.items(), COLOURS, "osD^vP*X", strict=False):
        x, y = compute_lengths(field, truth, where)
        axes.plot(x, y, mark, ls="-", ms=4, color=colour, label=name)
        top = max(top, x.max())
    axes.plot([0, top], [0, top], "--", color=SOFT, lw=1, label="exact")
    axes.set(xlabel="true length (px)", ylabel="measured along it (px)")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    figure.legend(loc="outside right upper")
    return figure


# ── regions ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@styled
def plot_rois_to_scale(faces: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The regions on images of several sizes side by side, at one scale of pixels.

    Args:
        faces: name -> image "y x" or "y x 3" (0 to 255), its landmarks "68 2" px; at least one.
    """
    if not faces:
        raise StagkitError("there is no image to draw: give at least one name with its image and landmarks.")
    heights, widths = zip(*(np.shape(image)[:2] for image, _ in faces.values()), strict=True)
    inch = min(PAGE / sum(widths), 3.4 / max(heights))  # of one pixel
    size = (inch * sum(widths) + 0.1 * len(faces), inch * max(heights) + 0.55)
    figure, row = plt.subplots(1, len(faces), figsize=size, squeeze=False, width_ratios=widths)
    for axes, (name, (image, landmarks)) in zip(row[0], faces.items(), strict=True):
        height, width = image.shape[:2]
        show_image(axes, np.asarray(image, np.uint8))
        axes.plot(*landmarks.T, "o", ms=2.2 * width / max(widths), mfc="white", mec=INK, mew=0.2)
        half = ATLAS.radius * inter_ocular_distance(landmarks)
        for (x, y), roi in zip(ATLAS.centres(landmarks), ATLAS.rois, strict=True):
            colour = {"L": COLOURS[0], "R": COLOURS[1], "": COLOURS[2]}[roi.side]
            axes.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, ec=colour, lw=1))
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, height - 0.5 - max(heights))  # as high as the largest: all stand on one line
        axes.set_xlabel(f"{name}, {width} px wide")
    figure.supxlabel("subject's right (orange), left (blue), midline (green); landmarks (white)", fontsize=8)
    return figure
