"""Figures of an evaluation show what the folds and the numbers say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb

from stagkit.core.errors import StagkitError
from stagkit.datasets.flow_maps import make_map_dataset
from stagkit.evaluation.splits import make_folds, make_stratified_folds
from stagkit.plots.evaluation import plot_epoch_choice, plot_folds, plot_intervals, plot_leak
from stagkit.plots.style import COLOURS, FAINT
from stagkit.synthetic.flow_maps import make_maps


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def data():
    return make_map_dataset(vars(make_maps(18, seed=3, clips_per_subject=6)), "phantom maps")


def colours_of(axes):
    return np.asarray(axes.images[0].get_array())


def test_leaving_one_subject_out_colours_one_block_a_row(data):
    figure = plot_folds(data, {"loso": make_folds(data)})
    picture = colours_of(figure.axes[0])
    tested = ~np.isclose(picture, to_rgb(FAINT)).all(-1)
    expected = np.kron(np.eye(3), np.ones(6)).astype(bool)
    assert (tested == expected).all()
    assert np.allclose(picture[1, 6], to_rgb(COLOURS[1])) and np.allclose(picture[2, 12], to_rgb(COLOURS[0]))


def test_every_clip_is_tested_once_in_each_picture_and_no_seal_is_opened(data):
    protocols = {"subjects": make_folds(data), "clips": make_stratified_folds(data, 3)}
    figure = plot_folds(data, protocols)
    for axes, (name, folds) in zip(figure.axes, protocols.items(), strict=True):
        tested = ~np.isclose(colours_of(axes), to_rgb(FAINT)).all(-1)
        assert (tested.sum(0) == 1).all() and axes.get_title() == name
        assert all(fold.unblinding is None for fold in folds)
    with pytest.raises(StagkitError, match="no folds"):
        plot_folds(data, {})


def leak(honest, leaked, noise, noise_leaked):
    keys = ("last_epoch", "best_test_epoch", "permuted_last_epoch", "permuted_best_test_epoch")
    return {"mean": {k: {"uf1": v} for k, v in zip(keys, (honest, leaked, noise, noise_leaked), strict=True)}}


def test_the_leak_goes_from_the_honest_score_to_the_leaked_one():
    figure = plot_leak(leak(0.6, 0.7, 0.3, 0.45))
    (axes,) = figure.axes
    drawn = {(float(line.get_xdata()[0]), float(line.get_ydata()[0])) for line in axes.lines}
    assert drawn == {(0.6, 0), (0.7, 0), (0.3, 1), (0.45, 1)}
    assert [t.get_text() for t in axes.get_yticklabels()] == ["true labels", "shuffled labels"]


def test_intervals_are_drawn_where_they_lie_and_signs_show_for_differences():
    figure = plot_intervals({"a": (0.1, -0.2, 0.3), "b": (-0.1, -0.4, 0.0)}, "difference", 0, "none")
    (axes,) = figure.axes
    spans = [tuple(line.get_xdata()) for line in axes.lines if len(line.get_xdata()) == 2]
    assert (-0.2, 0.3) in spans and (-0.4, 0.0) in spans
    assert {"+0.10", "\N{MINUS SIGN}0.10", "none"} <= {text.get_text() for text in axes.texts}
    plain = plot_intervals({"a": (0.5, 0.4, 0.6)}, "UF1")
    assert [text.get_text() for text in plain.axes[0].texts] == ["0.50"]
    with pytest.raises(StagkitError, match="expected \\(value, low, high\\)"):
        plot_intervals({"a": (0.5, 0.6, 0.4)}, "UF1")
    with pytest.raises(StagkitError, match="no row"):
        plot_intervals({}, "UF1")


class Answers:
    """A finished leaky run of two folds, of known predictions: classes a and b, three epochs."""

    given = ([[0, 0], [0, 1], [1, 0]], [[1, 0], [1, 0], [1, 1]])

    def __init__(self, leaky=True):
        self.request = {"leaky": leaky, "classes": ["a", "b"]}
        self.split = [{"name": "one"}, {"name": "two"}]

    @property
    def predictions(self):
        import pandas as pd

        return pd.DataFrame({"seed": 0, "fold": [0, 0, 1, 1], "label": ["a", "b", "b", "b"]})

    def load_epoch_predictions(self, seed, fold):
        return np.array(self.given[fold])


def test_the_ring_stands_at_the_epoch_that_a_leak_would_choose():
    figure = plot_epoch_choice(Answers())
    lines = figure.axes[0].lines
    rings = [(float(x.get_xdata()[0]), float(x.get_ydata()[0])) for x in lines if x.get_markerfacecolor() == "none"]
    assert rings[:2] == [(2, 1.0), (3, 1.0)]
    mean = next(line for line in lines if line.get_label() == "mean of the folds")
    assert mean.get_ydata().tolist() == [0.5, 0.75, 0.5]


def test_an_honest_run_has_no_epochs_to_choose_from():
    with pytest.raises(StagkitError, match="leaky=True"):
        plot_epoch_choice(Answers(leaky=False))
