"""Pictures over time: which frames temporal attention listens to, beside what moves in them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import check_axes
from stagkit.plots.style import COLOURS, PAGE, SOFT, nice_limit, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Clips of one picture at most, and how many stand in a row.
MOST, ACROSS = 6, 3


@styled
def plot_time_weights(
    times_ms: np.ndarray, weights: np.ndarray, motion: np.ndarray, clip_ids: Sequence[str], unit: str = "% of IOD"
) -> Figure:
    """Weight (bars) and motion (line) of the frames of a few clips; one scale for all weights, one for all motion.

    Args:
        times_ms: float "clip time", from the onset.
        weights: float "clip time", >= 0; a frame of weight 0 is an empty one and is not drawn.
        motion: float "clip time", >= 0, in ``unit``.
        clip_ids: name of each clip; the first six are drawn.
        unit: of the motion.

    Raises:
        ShapeError: the three do not fit each other or the names.
    """
    import matplotlib.pyplot as plt

    times_ms, weights, motion = (np.asarray(values, float) for values in (times_ms, weights, motion))
    axes_of = {"times_ms": (times_ms, "clip time"), "weights": (weights, "clip time"), "motion": (motion, "clip time")}
    check_axes({"clip": len(clip_ids), "time": times_ms.shape[-1]}, **axes_of)
    n_clips = min(MOST, len(clip_ids))
    across = min(ACROSS, n_clips)
    rows = -(-n_clips // across)
    size = (PAGE * max(across, 2) / ACROSS, 0.6 + 1.4 * rows)
    figure, grid = plt.subplots(rows, across, figsize=size, squeeze=False, sharex=True, sharey=True)
    fastest = nice_limit(motion[:n_clips])
    for k, axes in enumerate(grid.flat):
        if k >= n_clips:
            axes.axis("off")
            continue
        seen = weights[k] > 0
        at = times_ms[k][seen]
        width = max(0.75 * np.diff(np.sort(at)).min(), np.ptp(at) / 60) if len(at) > 1 else 6.0
        bars = axes.bar(at, weights[k][seen], width=width, color=COLOURS[4], label="weight of the frame")
        alike = axes.axhline(1 / max(1, seen.sum()), color=SOFT, lw=0.8, ls=(0, (3, 2)), label="all frames alike")
        moving = axes.twinx()
        (line,) = moving.plot(at, motion[k][seen], "o-", ms=2.5, color=COLOURS[0], label="motion")
        moving.set_ylim(0, fastest)
        last = k % across == across - 1 or k == n_clips - 1
        moving.tick_params(right=last, labelright=last)
        moving.spines["right"].set_visible(last)
        if last:
            moving.set_ylabel(f"motion ({unit})")
        if k % across == 0:
            axes.set_ylabel("weight")
        if k + across >= n_clips:
            axes.set_xlabel("time from onset (ms)")
            axes.tick_params(labelbottom=True)
        axes.set_title(clip_ids[k])
    figure.legend(handles=[bars, alike, line], loc="outside upper center", ncols=3)
    return figure
