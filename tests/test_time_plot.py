"""Weights over time: each bar stands at its frame's time, all clips share their scales, empty frames are not drawn."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from stagkit.core.types import ShapeError
from stagkit.plots.time import plot_time_weights

TIMES = np.array([[0.0, 10, 20, 40], [5.0, 15, 0, 0]])
WEIGHTS = np.array([[0.1, 0.2, 0.3, 0.4], [0.75, 0.25, 0, 0]])
MOTION = np.array([[0.0, 1, 2, 3], [4.0, 5, 9, 9]])


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def test_bars_are_the_weights_of_real_frames_at_their_times():
    figure = plot_time_weights(TIMES, WEIGHTS, MOTION, ["a", "b"])
    drawn = {axes.get_title(): axes for axes in figure.axes if axes.patches}
    for k, (name, n) in enumerate((("a", 4), ("b", 2))):
        bars = drawn[name].patches
        assert np.allclose([bar.get_height() for bar in bars], WEIGHTS[k, :n])
        assert np.allclose([bar.get_x() + bar.get_width() / 2 for bar in bars], TIMES[k, :n])
        assert drawn[name].lines[0].get_ydata()[0] == pytest.approx(1 / n)  # all frames alike
    lines = [axes.lines[0] for axes in figure.axes if not axes.patches]
    assert [list(line.get_ydata()) for line in lines] == [[0, 1, 2, 3], [4, 5]]


def test_clips_share_their_scales():
    figure = plot_time_weights(TIMES, WEIGHTS, MOTION, ["a", "b"], unit="px")
    left, right = ([axes for axes in figure.axes if bool(axes.patches) is bars] for bars in (True, False))
    assert len({axes.get_ylim() for axes in left}) == len({axes.get_ylim() for axes in right}) == 1
    assert right[-1].get_ylim()[1] >= 5 and right[-1].get_ylabel() == "motion (px)"


@pytest.mark.parametrize(("n_clips", "n_drawn"), [(1, 1), (5, 5), (40, 6)])
def test_six_clips_at_most(n_clips, n_drawn):
    rows = [np.tile(values[:1], (n_clips, 1)) for values in (TIMES, WEIGHTS, MOTION)]
    figure = plot_time_weights(*rows, [str(k) for k in range(n_clips)])
    figure.canvas.draw()
    assert sum(bool(axes.patches) for axes in figure.axes) == n_drawn


def test_a_clip_of_one_frame_can_be_drawn():
    plot_time_weights([[0.0]], [[1.0]], [[0.3]], ["one"]).canvas.draw()


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="clip should be 3"):
        plot_time_weights(TIMES, WEIGHTS, MOTION, ["a", "b", "c"])
    with pytest.raises(ShapeError, match="motion"):
        plot_time_weights(TIMES, WEIGHTS, MOTION.T, ["a", "b"])
