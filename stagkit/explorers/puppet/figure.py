"""The puppet as a static figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.explorers.puppet.scene import (
    MAX_STRENGTH,
    SIZE,
    Actor,
    Pose,
    as_weights,
    compute_pose,
    predict_pose,
    read_aus,
)
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled

if TYPE_CHECKING:
    from stagkit.inference.pretrained import PretrainedEnsemble

#: Distance of two arrows in the flow image, px.
STEP = 8


def list_places() -> list[tuple[str, str]]:
    """Rows of the region bars, from the brows to the chin: (place, ``"LR"`` or ``""`` on the midline)."""
    centres = dict(zip(ATLAS.names, ATLAS.mean_centres[:, 1], strict=True))
    rows = {roi.place: ("LR" if roi.side else "", centres[roi.name]) for roi in ATLAS.rois}
    return [(place, sides) for place, (sides, _) in sorted(rows.items(), key=lambda item: item[1][1])]


def find_arrows(pose: Pose, landmarks: np.ndarray) -> np.ndarray:
    """Measured flow in the face where it is visible: float "arrow 4" = x, y (px), u, v (% of IOD)."""
    flow = pose.motion.flow[1] * (100 / pose.motion.iod)
    ys, xs = np.mgrid[STEP // 2 : SIZE : STEP, STEP // 2 : SIZE : STEP]
    inside = compute_face_mask(landmarks, (SIZE, SIZE))[ys, xs] & (np.linalg.norm(flow, axis=0)[ys, xs] > 0.08)
    xs, ys = xs[inside], ys[inside]
    return np.stack([xs, ys, *flow[:, ys, xs]], -1)


def paint_flow(pose: Pose, actor: Actor) -> np.ndarray:
    """Speed of the measured flow in colour over the faint neutral face: uint8 "y x 3"."""
    neutral = (actor.neutral if actor.neutral.ndim == 2 else actor.neutral.mean(-1)).astype(np.float32)
    speed = np.linalg.norm(pose.motion.flow[1], axis=0) * (100 / pose.motion.iod)
    level = np.clip(speed / MAX_STRENGTH * 255, 0, 255).astype(np.uint8)
    colour = cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.float32)
    mask = compute_face_mask(actor.landmarks, neutral.shape)
    alpha = (0.8 * mask * np.clip(speed / (0.2 * MAX_STRENGTH), 0, 1))[..., None]
    return np.clip((0.55 * neutral + 90)[..., None] * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def plot_puppet(
    face: int | tuple[np.ndarray, np.ndarray] = 0,
    aus: str | Mapping[str, float] = "12",
    *,
    frame: int | None = None,
    enlarge: float = 1.0,
    weights: PretrainedEnsemble | str | None = None,
) -> Figure:
    """Draw a face moved by action units, its measured flow, and the speed of each region (``view_puppet`` has sliders).

    Args:
        face: seed of a synthetic subject, or (image, landmarks): uint8 "y x" or "y x 3", float "68 2" px.
        aus: as annotation sheets write them, e.g. ``"L12+6"`` (2 % each), or code -> peak, % of the eye distance, 0..3.
        frame: of the movement, 0..23 at 80 frames per second; the apex where None.
        enlarge: factor by which the motion in the image is enlarged, 1..8; flow is measured on the real motion.
        weights: networks that classify the movement (``stagkit.load_weights``), or what that takes.

    Returns:
        A matplotlib Figure, 7.16 in wide.

    Raises:
        StagkitError: an unknown action unit, side, strength, frame or face; the message lists what is possible.
    """
    actor, peaks, networks = Actor(face), read_aus(aus), as_weights(weights)
    pose = compute_pose(actor, peaks, frame, enlarge)
    return draw_pose(actor, pose, predict_pose(actor, peaks, networks) if networks else {})


@styled
def draw_pose(actor: Actor, pose: Pose, probabilities: Mapping[str, float]) -> Figure:
    """The figure of ``plot_puppet``, of a computed pose."""
    figure = Figure(figsize=(PAGE, 2.75), layout="none")
    FigureCanvasAgg(figure)
    skin, flow = (figure.add_axes((x, 0.13, 0.325, 0.86)) for x in (0.0, 0.33))
    bars = figure.add_axes((0.74, 0.36 if probabilities else 0.16, 0.25, 0.60 if probabilities else 0.80))
    enlarged = f"\nmotion enlarged {pose.enlarge:g} times" if pose.enlarge > 1 else ""
    panels = (
        (skin, pose.image, textwrap.fill(pose.describe(), 52) + enlarged),
        (flow, paint_flow(pose, actor), "measured flow, at its real size"),
    )
    for axes, image, words in panels:
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set(xticks=[], yticks=[], xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
        axes.set_xlabel(words, fontsize=7)
        axes.spines[:].set_visible(False)
    x, y, u, v = find_arrows(pose, actor.landmarks).T
    scale = {"angles": "xy", "scale_units": "xy", "scale": MAX_STRENGTH / (2.5 * STEP)}
    flow.quiver(x, y, u, v, color="white", width=0.006, minlength=0, **scale)
    _draw_speeds(bars, pose)
    if probabilities:
        classes = figure.add_axes((0.74, 0.1, 0.25, 0.15))
        classes.barh(list(probabilities), list(probabilities.values()), color=COLOURS[2], height=0.7)
        classes.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5), xticks=[0, 1])
        classes.tick_params(length=0, labelsize=6)
        classes.spines["left"].set_visible(False)
        classes.set_xlabel("probability", labelpad=-7, fontsize=7)
    return figure


def _draw_speeds(axes, pose: Pose) -> None:
    """Right side to the left, left side to the right, as in the image; midline regions to both."""
    places = list_places()
    for row, (place, sides) in enumerate(places):
        if not sides:
            axes.barh(row, pose.speeds[place], left=-pose.speeds[place] / 2, color=SOFT, height=0.7)
            continue
        for side, sign, colour in (("R", -1, COLOURS[1]), ("L", 1, COLOURS[0])):
            axes.barh(row, sign * pose.speeds[f"{place}_{side}"], color=colour, height=0.7)
    axes.axvline(0, color=INK, lw=0.6)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    ticks = [-MAX_STRENGTH, 0, MAX_STRENGTH]
    axes.set(xlim=(-MAX_STRENGTH, MAX_STRENGTH), ylim=(len(places) - 0.5, -0.5))
    axes.set_xticks(ticks, [f"{abs(t):g}" for t in ticks])
    axes.set_yticks(range(len(places)), [place.replace("_", " ") for place, _ in places], fontsize=6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("subject's right    % of IOD    left", fontsize=7, labelpad=2)
