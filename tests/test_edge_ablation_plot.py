"""Figures of edge ablation and interventions: signs, places, probabilities."""

import matplotlib
import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import ShapeError
from stagkit.explain.aggregate import ExplainError
from stagkit.plots.attributions import plot_edge_ablation, plot_interventions

N = len(ATLAS.names)


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


def test_every_edge_between_two_regions_is_one_dot_and_every_unit_has_its_mean():
    attention, effects = np.full((2, N, N), 0.03), np.zeros((2, N, N))
    attention[0, 3, 5], effects[0, 3, 5], effects[1, 4, 4] = 0.4, -0.2, 9.0  # an edge; a region to itself
    au_effects = np.zeros((2, len(AU_LABELS)))
    au_effects[:, AU_LABELS.index("AU04")] = -1.0, -3.0
    left, right = plot_edge_ablation(attention, effects, au_effects, "joy").axes
    dots = np.asarray(left.collections[0].get_offsets())
    assert len(dots) == 2 * N * (N - 1)
    assert dots[dots[:, 1] > 0].tolist() == [[0.4, 0.2]]
    k = AU_LABELS.index("AU04")
    assert [right.get_xticklabels()[k].get_text(), right.lines[k].get_ydata()[0]] == ["04", -2.0]


def test_arrays_that_do_not_fit_are_named():
    with pytest.raises(ShapeError, match="au_effects"):
        plot_edge_ablation(np.zeros((2, N, N)), np.zeros((2, N, N)), np.zeros((3, len(AU_LABELS))), "joy")
    with pytest.raises(ShapeError, match="effects"):
        plot_edge_ablation(np.zeros((2, N, N)), np.zeros((2, N, 3)), np.zeros((2, len(AU_LABELS))), "joy")
