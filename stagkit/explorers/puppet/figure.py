"""The still twin of the puppeteer: the same face, the same arguments, a matplotlib Figure."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

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
    from matplotlib.figure import Figure

    from stagkit.inference.pretrained import Weights

#: Pixels between two arrows of the flow picture.
STEP = 8


def list_places() -> list[tuple[str, str]]:
    """Rows of the region bars, from the brows to the chin: (place, ``"LR"`` or ``""`` on the midline)."""
    centres = dict(zip(ATLAS.names, ATLAS.mean_centres[:, 1], strict=True))
    rows = {roi.place: ("LR" if roi.side else "", centres[roi.name]) for roi in ATLAS.rois}
    return [(place, sides) for place, (sides, _) in sorted(rows.items(), key=lambda item: item[1][1])]


def find_arrows(pose: Pose, landmarks: np.ndarray) -> np.ndarray:
    """Measured flow in the face where it is more than a trace: float "arrow 4" = x, y (px), u, v (% of IOD)."""
    flow = pose.motion.flow[1] * (100 / pose.motion.iod)
    ys, xs = np.mgrid[STEP // 2 : SIZE : STEP, STEP // 2 : SIZE : STEP]
    inside = compute_face_mask(landmarks, (SIZE, SIZE))[ys, xs] & (np.linalg.norm(flow, axis=0)[ys, xs] > 0.08)
    xs, ys = xs[inside], ys[inside]
    return np.stack([xs, ys, *flow[:, ys, xs]], -1)


@styled
def plot_puppet(
    face: int | tuple[np.ndarray, np.ndarray] = 0,
    aus: str | Mapping[str, float] = "12",
    *,
    frame: int | None = None,
    enlarge: float = 1.0,
    weights: Weights | str | None = None,
) -> Figure:
    """Draw a face pulled by action units, its measured flow, and how each region answers (``view_puppet`` has sliders).

    Args:
        face: seed of a phantom person, or (picture, landmarks): uint8 "y x" or "y x 3", float "68 2" px.
        aus: as sheets write them, e.g. ``"L12+6"`` (2 % each), or code -> peak, % of the eye distance, 0..3.
        frame: of the movement, 0..23 at 80 frames per second; the apex where None.
        enlarge: how many times the real motion the picture shows, 1..8; flow is measured at its real size.
        weights: networks that judge the movement (``stagkit.load_weights``), or what that takes.

    Returns:
        A matplotlib Figure, 7.16 in wide.

    Raises:
        StagkitError: an unknown action unit, side, strength, frame or face; the sentence says what is possible.
    """
    actor, peaks, known = Actor(face), read_aus(aus), as_weights(weights)
    pose = compute_pose(actor, peaks, frame, enlarge)
    return draw_pose(actor, pose, predict_pose(actor, peaks, known) if known else {})


@styled
def draw_pose(actor: Actor, pose: Pose, probabilities: Mapping[str, float]) -> Figure:
    """The figure of ``plot_puppet``, of a pose that is there already."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE, 2.75), layout="none")
    FigureCanvasAgg(figure)
    seen, flow = (figure.add_axes((x, 0.13, 0.325, 0.86)) for x in (0.0, 0.33))
    bars = figure.add_axes((0.74, 0.36 if probabilities else 0.16, 0.25, 0.60 if probabilities else 0.80))
    for axes in (seen, flow):
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
    grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
    seen.imshow(pose.picture, interpolation="antialiased", **grey)
    words = textwrap.fill(pose.describe(), 52)
    seen.set_xlabel(words + (f"\nmotion enlarged {pose.enlarge:g} times" if pose.enlarge > 1 else ""), fontsize=7)
    still = actor.still if actor.still.ndim == 2 else actor.still.mean(-1)
    flow.imshow(0.55 * still + 90, **grey)
    speed = np.linalg.norm(pose.motion.flow[1], axis=0) * (100 / pose.motion.iod)
    mask = compute_face_mask(actor.landmarks, (SIZE, SIZE))
    alpha = 0.8 * mask * np.clip(speed / (0.2 * MAX_STRENGTH), 0, 1)
    flow.imshow(speed, cmap="viridis", vmin=0, vmax=MAX_STRENGTH, alpha=alpha)
    x, y, u, v = find_arrows(pose, actor.landmarks).T
    wide = {"angles": "xy", "scale_units": "xy", "scale": MAX_STRENGTH / (2.5 * STEP), "width": 0.006, "minlength": 0}
    flow.quiver(x, y, u, v, color="white", **wide)
    flow.set(xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5), xlabel="measured flow, at its real size")
    flow.xaxis.label.set_size(7)
    _draw_answers(bars, pose)
    if probabilities:
        said = figure.add_axes((0.74, 0.1, 0.25, 0.15))
        names = list(probabilities)
        said.barh(names, list(probabilities.values()), color=COLOURS[2], height=0.7)
        said.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[0, 1])
        said.tick_params(length=0, labelsize=6)
        said.spines["left"].set_visible(False)
        said.set_xlabel("probability", labelpad=-7, fontsize=7)
    return figure


def _draw_answers(axes, pose: Pose) -> None:
    """Right side to the left, left side to the right, as in the picture; midline regions to both."""
    places = list_places()
    for row, (place, sides) in enumerate(places):
        if sides:
            for side, sign in (("R", -1), ("L", 1)):
                axes.barh(
                    row, sign * pose.answers[f"{place}_{side}"], color=COLOURS[1 if side == "R" else 0], height=0.7
                )
        else:
            axes.barh(row, pose.answers[place], left=-pose.answers[place] / 2, color=SOFT, height=0.7)
    axes.axvline(0, color=INK, lw=0.6)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    ticks = [-MAX_STRENGTH, 0, MAX_STRENGTH]
    axes.set(xlim=(-MAX_STRENGTH, MAX_STRENGTH), ylim=(len(places) - 0.5, -0.5), xticks=ticks)
    axes.set_xticklabels([f"{abs(t):g}" for t in ticks])
    axes.set_yticks(range(len(places)), [place.replace("_", " ") for place, _ in places], fontsize=6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("subject's right    % of IOD    left", fontsize=7, labelpad=2)
