"""Figures of edge ablation and interventions: signs, places, probabilities."""

import matplotlib
import numpy as np
import pytest

from stagkit.core.types import ShapeError
from stagkit.explain.aggregate import ExplainError
from stagkit.plots.attributions import plot_edge_ablation, plot_interventions


@pytest.fixture(autouse=True)
def close():
    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_a_change_is_a_bar_of_the_logit_and_a_point_of_the_probability():
    answers = np.log([[0.5, 0.5], [0.2, 0.8], [0.9, 0.1]])
    figure = plot_interventions(["AU12", "frame 3"], answers, ["joy", "fear"], "joy")
    left, right = figure.axes
    assert [bar.get_width() for bar in left.patches] == pytest.approx([np.log(0.4), np.log(1.8)])
    assert [text.get_text() for text in left.get_yticklabels()] == ["AU12", "frame 3"]
    before, after = right.lines
    assert list(before.get_xdata()) == pytest.approx([0.5, 0.5])
    assert list(after.get_xdata()) == pytest.approx([0.2, 0.9]) and list(after.get_ydata()) == [0, 1]
    assert {text.get_text() for text in right.texts} == {"20.00%", "90.00%"}


def test_a_change_without_an_answer_and_an_unknown_class_are_told():
    with pytest.raises(ShapeError, match="logits"):
        plot_interventions(["AU12"], np.zeros((1, 2)), ["joy", "fear"], "joy")
    with pytest.raises(ExplainError, match="no class 'awe'; the classes are joy, fear"):
        plot_interventions(["AU12"], np.zeros((2, 2)), ["joy", "fear"], "awe")


def test_every_edge_of_every_clip_is_a_dot():
    effects, attention = np.zeros((2, 5)), np.full((2, 5), 0.03)
    effects[1, 3], attention[1, 3] = -0.2, 0.4
    left, right = plot_edge_ablation({"attention": attention, "term": effects}, effects, "joy").axes
    for axes, at in ((left, [0.4, -0.2]), (right, [-0.2, -0.2])):
        dots = np.asarray(axes.collections[0].get_offsets())
        assert len(dots) == 10 and dots[dots[:, 1] < 0].tolist() == [at]
    assert right.get_xlabel() == "term" and "joy" in left.get_ylabel()


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match="attention"):
        plot_edge_ablation({"attention": np.zeros((2, 4))}, np.zeros((2, 5)), "joy")
