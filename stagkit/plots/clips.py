"""Pictures: ``plot_*`` draw one thing and return a matplotlib Figure (``reports.paper`` holds the figures of a paper).

Pictures of runs read run records alone, never a model. One shared scale with a unit per figure; maps of signed values are
centred at zero; every average says its n; there is no title inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, FlowClip, StagkitError
from stagkit.evaluation.run_summary import find_caveat
from stagkit.plots.attributions import (  # noqa: F401 (they are figures too)
    draw_attributions,
    plot_attribution,
    plot_cascade,
    plot_curves,
    plot_maps,
    plot_sums,
)
from stagkit.plots.style import (
    COLOURS,
    COLUMN,
    FAINT,
    INK,
    PAGE,
    SOFT,
    draw_face,
    magnify_motion,
    nice_limit,
    styled,
)

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stagkit.evaluation.run import Run


def _subplots(*args, **kwargs):
    """pyplot's, loaded when first drawn."""
    import matplotlib.pyplot as plt

    return plt.subplots(*args, **kwargs)


# ── clips and motion ─────────────────────────────────────────────────────────────────────────────────────────────────


def _show(axes, picture: np.ndarray) -> None:
    axes.imshow(picture, cmap="gray", vmin=0, vmax=255)
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


@styled
def plot_clip(clip: Clip, n_frames: int = 7, magnify: float = 1.0, motion: FlowClip | None = None) -> Figure:
    """A film strip: evenly spaced frames from the first to the last, with their time.

    Args:
        magnify: where > 1, the measured motion of each frame (``motion`` is needed) is enlarged so many times by warping
            the onset frame: the same face, its movement exaggerated.
    """
    chosen = np.unique(np.linspace(0, len(clip.frames) - 1, n_frames).round().astype(int))
    figure, rows = _subplots(1, len(chosen), figsize=(PAGE, PAGE / len(chosen) + 0.25), squeeze=False)
    if magnify != 1 and motion is None:
        raise StagkitError("magnified frames are drawn from measured motion: give motion=compute_flow(clip).")
    for axes, t in zip(rows[0], chosen, strict=True):
        picture = clip.frames[t]
        if magnify != 1:
            picture = magnify_motion(clip.frames[clip.onset or 0], motion, t, magnify)
        _show(axes, picture)
        mark = {clip.onset: "onset", clip.apex: "apex", clip.offset: "offset"}.get(int(t), "")
        axes.set_xlabel(f"{clip.times_ms[t]:.0f} ms" + (f"\n{mark}" if mark else ""))
    return figure


@styled
def plot_motion(motion: FlowClip, clip: Clip | None = None) -> Figure:
    """Motion score over time with the selected frames; with a clip, its onset, apex and offset (and a phantom's truth)."""
    figure, axes = _subplots(figsize=(PAGE * 0.75, 2.2))
    axes.plot(motion.times_ms, motion.scores, color=COLOURS[0], label="measured motion")
    axes.plot(
        motion.times_ms[motion.selected],
        motion.scores[motion.selected],
        "o",
        ms=4,
        color=COLOURS[1],
        label=f"{len(motion.selected)} discriminative frames",
    )
    axes.set_xlabel("time from onset (ms)")
    axes.set_ylabel("motion score (% of IOD)")
    axes.set_ylim(bottom=0)
    if clip is not None:
        for name in ("onset", "apex", "offset"):
            at = getattr(clip, name)
            if at is not None:
                axes.axvline(clip.times_ms[at], color=FAINT, lw=1, zorder=0)
                axes.annotate(
                    name,
                    (clip.times_ms[at], 1),
                    xycoords=("data", "axes fraction"),
                    ha="center",
                    va="bottom",
                    color=SOFT,
                )
    handles, labels = axes.get_legend_handles_labels()
    if clip is not None and clip.truth is not None:
        planted = axes.twinx()
        for k, code in enumerate(clip.truth.codes):
            planted.plot(
                clip.times_ms,
                clip.truth.au_intensity[:, k],
                ls=":",
                lw=1,
                color=COLOURS[2 + k % 5],
                label=f"planted {code}",
            )
        planted.set_ylim(0, 1.3)
        planted.set_ylabel("planted intensity (share of peak)")
        planted.spines["right"].set_visible(True)
        more = planted.get_legend_handles_labels()
        handles, labels = handles + more[0], labels + more[1]
    figure.legend(handles, labels, loc="outside right upper")
    return figure


@styled
def plot_flow(
    motion: FlowClip, frame: int, picture: np.ndarray | None = None, truth: np.ndarray | None = None, step: int = 5
) -> Figure:
    """Flow of one frame: speed as colour, direction as arrows; beside it, where given, the planted displacement.

    Args:
        frame: index of the frame.
        picture: the onset frame, drawn below.
        truth: float "2 y x" px, e.g. ``clip.truth.displacement(frame)``.
    """
    fields = [("measured", motion.flow[frame])] + ([("planted", truth)] if truth is not None else [])
    scale = 100 / motion.iod
    face = compute_face_mask(motion.landmarks, motion.flow.shape[2:])
    limit = nice_limit(np.concatenate([np.linalg.norm(f, axis=0)[face] for _, f in fields]) * scale)
    figure, row = _subplots(1, len(fields), figsize=(2.5 * len(fields) + 0.6, 2.6), squeeze=False)
    for axes, (name, field) in zip(row[0], fields, strict=True):
        speed = np.linalg.norm(field, axis=0) * scale
        if picture is not None:
            _show(axes, picture)
        shown = np.ma.masked_where(~face, speed)
        image = axes.imshow(shown, cmap="viridis", vmin=0, vmax=limit, alpha=0.65 if picture is not None else 1.0)
        axes.set_xlim(-0.5, speed.shape[1] - 0.5)
        axes.set_ylim(speed.shape[0] - 0.5, -0.5)
        ys, xs = np.mgrid[step // 2 : field.shape[1] : step, step // 2 : field.shape[2] : step]
        keep = (speed[ys, xs] > 0.12 * limit) & face[ys, xs]
        arrows = field[:, ys, xs][:, keep] * scale
        axes.quiver(
            xs[keep],
            ys[keep],
            *arrows,
            angles="xy",
            scale_units="xy",
            scale=limit / (2.2 * step),
            color="white",
            width=0.006,
        )
        axes.set_xticks([])
        axes.set_yticks([])
        axes.set_xlabel(name)
    figure.colorbar(image, ax=row[0].tolist(), label="displacement (% of IOD)", shrink=0.85)
    return figure


@styled
def plot_strain(motion: FlowClip, frame: int) -> Figure:
    """Optical strain of one frame, per cent."""
    figure, axes = _subplots(figsize=(3.0, 2.6))
    image = axes.imshow(100 * motion.strain[frame], cmap="magma", vmin=0)
    axes.set_xticks([])
    axes.set_yticks([])
    figure.colorbar(image, ax=axes, label="strain (%)", shrink=0.85)
    return figure


def _draw_rois(axes, centres: np.ndarray, iod: float, labels: bool = False) -> None:
    from matplotlib.patches import Rectangle

    half = ATLAS.radius * iod
    for (x, y), roi in zip(centres, ATLAS.rois, strict=True):
        colour = {"L": COLOURS[0], "R": COLOURS[1], "": COLOURS[2]}[roi.side]
        axes.add_patch(Rectangle((x - half, y - half), 2 * half, 2 * half, fill=False, ec=colour, lw=1))
        if labels:
            axes.annotate(roi.place.replace("_", "\n"), (x, y), ha="center", va="center", fontsize=4.2, color=colour)


@styled
def plot_rois(picture: np.ndarray | None = None, landmarks: np.ndarray | None = None, labels: bool = True) -> Figure:
    """The regions of the atlas on a picture (with its landmarks "68 2" px), or on the schematic mean face."""
    from stagkit.core.types import inter_ocular_distance

    figure, axes = _subplots(figsize=(3.6, 4.0))
    if picture is None:
        draw_face(axes)
        centres, iod = ATLAS.mean_centres, 1.0
    else:
        if landmarks is None:
            raise StagkitError("regions are cut from landmarks: give landmarks=clip.landmarks[clip.onset].")
        _show(axes, picture)
        axes.plot(*landmarks.T, "o", ms=2.2, mfc="white", mec=INK, mew=0.3)
        centres, iod = ATLAS.centres(landmarks), inter_ocular_distance(landmarks)
    _draw_rois(axes, centres, iod, labels)
    axes.set_xlabel("subject's right (orange), left (blue), midline (green)")
    return figure


@styled
def plot_rois_to_scale(faces: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Figure:
    """The regions on pictures of several sizes side by side: a pixel is drawn as large in each of them.

    Args:
        faces: name -> picture "y x" or "y x 3" (0 to 255), its landmarks "68 2" px.

    Raises:
        StagkitError: no picture was given.
    """
    from stagkit.core.types import inter_ocular_distance

    if not faces:
        raise StagkitError("there is no picture to draw: give at least one name with its picture and landmarks.")
    heights, widths = zip(*(np.shape(picture)[:2] for picture, _ in faces.values()), strict=True)
    inch = min(PAGE / sum(widths), 3.4 / max(heights))  # of one pixel
    size = (inch * sum(widths) + 0.1 * len(faces), inch * max(heights) + 0.55)
    figure, row = _subplots(1, len(faces), figsize=size, squeeze=False, width_ratios=widths)
    for axes, (name, (picture, landmarks)) in zip(row[0], faces.items(), strict=True):
        height, width = picture.shape[:2]
        _show(axes, np.asarray(picture, np.uint8))
        axes.plot(*landmarks.T, "o", ms=2.2 * width / max(widths), mfc="white", mec=INK, mew=0.2)
        _draw_rois(axes, ATLAS.centres(landmarks), inter_ocular_distance(landmarks))
        axes.set_xlim(-0.5, width - 0.5)
        axes.set_ylim(height - 0.5, height - 0.5 - max(heights))  # as high as the largest: all stand on one line
        axes.set_xlabel(f"{name}, {width} px wide")
    figure.supxlabel("subject's right (orange), left (blue), midline (green); landmarks (white)", fontsize=8)
    return figure


@styled
def plot_contact_sheet(pictures: Sequence[np.ndarray], labels: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """Many pictures side by side, close together where they have no labels."""
    rows, below = -(-len(pictures) // columns), 0.12 if labels else 0.0
    size = (PAGE, rows * (PAGE / columns + below))
    figure, grid = _subplots(rows, columns, figsize=size, squeeze=False, layout="constrained" if labels else "none")
    if not labels:
        figure.subplots_adjust(0, 0, 1, 1, wspace=0.02, hspace=0.02)
    for i, axes in enumerate(grid.flat):
        if i < len(pictures):
            _show(axes, pictures[i])
            axes.set_xlabel(labels[i] if labels else "", fontsize=6)
        else:
            axes.axis("off")
    return figure


# ── learning ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@styled
def plot_training(losses: Sequence[float]) -> Figure:
    """Mean training loss of each epoch."""
    figure, axes = _subplots(figsize=(COLUMN, 2.0))
    axes.plot(np.arange(1, len(losses) + 1), losses)
    axes.set_xlabel("epoch")
    axes.set_ylabel("training loss")
    axes.set_ylim(bottom=0)
    return figure


@styled
def plot_scores(runs: Sequence[Run]) -> Figure:
    """UF1, UAR and accuracy of runs with 95 % intervals over subjects, beside answers that know nothing."""
    figure, row = _subplots(1, 3, figsize=(PAGE, 0.7 + 0.32 * (len(runs) + 2)), sharey=True)
    names = [run.name for run in runs] + ["permuted", "majority"]
    for axes, score in zip(row, ("uf1", "uar", "acc"), strict=True):
        for y, run in enumerate(runs):
            entry = run.metrics[score]
            axes.plot(entry["ci95"], [y, y], color=COLOURS[0], lw=2.5, alpha=0.35, solid_capstyle="round")
            axes.plot(list(entry["per_seed"].values()), [y] * len(entry["per_seed"]), "|", color=COLOURS[0], ms=7)
            axes.plot(entry["mean"], y, "o", color=COLOURS[0], ms=5)
            axes.annotate(
                f"{entry['mean']:.2f}", (entry["mean"], y), (0, 6), textcoords="offset points", ha="center", fontsize=7
            )
        for y, name in enumerate(("permuted", "majority"), start=len(runs)):
            axes.plot(runs[0].metrics["baselines"][name][score], y, "D", color=SOFT, ms=4)
        axes.set_xlim(0, 1)
        axes.set_xlabel({"uf1": "UF1", "uar": "UAR", "acc": "accuracy"}[score])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.8)
        axes.grid(axis="x", color=FAINT, lw=0.5)
    cautions = [f"caution ({run.name}): {find_caveat(run.metrics)}" for run in runs if find_caveat(run.metrics)]
    if cautions:
        figure.supxlabel("\n".join(cautions), fontsize=6, color=SOFT)
    return figure


@styled
def plot_confusion(run: Run) -> Figure:
    """Confusion of the pooled predictions: share of each true class, with counts (summed over seeds)."""
    import seaborn as sns

    counts = np.array(run.metrics["confusion"])
    classes = run.metrics["classes"]
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = np.array(
        [[f"{s:.0%}\n{c}" for s, c in zip(*pair, strict=True)] for pair in zip(share, counts, strict=True)]
    )
    figure, axes = _subplots(figsize=(1.2 + 0.65 * len(classes), 0.8 + 0.6 * len(classes)))
    sns.heatmap(
        share, annot=words, fmt="", cmap="Blues", vmin=0, vmax=1, square=True, xticklabels=classes, yticklabels=classes,
        cbar_kws={"label": "share of the true class", "shrink": 0.8}, annot_kws={"fontsize": 7}, ax=axes,
    )  # fmt: skip
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.tick_params(length=0)
    return figure
