"""Displacement fields side by side: right places, one scale, lengths that mean what they say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.core.types import ShapeError, StagkitError
from stagkit.plots.clips import compute_lengths, plot_amounts, plot_fields, plot_lengths


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def make_field(u, v, shape=(24, 30)):
    return np.stack([np.full(shape, float(u)), np.full(shape, float(v))])


def test_colour_is_length_and_arrows_point_the_way():
    fields = {"right": make_field(3, 0), "down": make_field(0, 1.5)}
    figure = plot_fields(fields, step=6)
    right, down = figure.axes[:2]
    assert (right.images[0].get_array() == 3).all() and (down.images[0].get_array() == 1.5).all()
    assert right.images[0].get_clim() == down.images[0].get_clim()
    arrows = [next(c for c in axes.collections if hasattr(c, "U")) for axes in (right, down)]
    assert (arrows[0].U > 0).all() and (arrows[0].V == 0).all()
    assert (arrows[1].U == 0).all() and (arrows[1].V > 0).all() and down.yaxis_inverted()
    assert len(arrows[0].U) == 4 * 5
    assert right.get_xlabel() == "right"


def test_amounts_share_one_scale():
    figure = plot_amounts({"a": np.ones((8, 9)), "b": np.full((8, 9), 4.0)}, "px")
    a, b = (axes.images[0] for axes in figure.axes[:2])
    assert a.get_clim() == b.get_clim() == (0, 4)
    assert plot_amounts({"a": np.ones((8, 9))}, "px", limit=7).axes[0].images[0].get_clim() == (0, 7)


MIXED = {"a": make_field(1, 0), "b": make_field(1, 0, (5, 5))}


@pytest.mark.parametrize("fields", [{}, {"a": np.zeros((24, 30))}, {"a": np.zeros((24, 30, 2))}, MIXED])
def test_other_shapes_are_refused(fields):
    with pytest.raises(ShapeError, match="expected one shape '2 y x'"):
        plot_fields(fields)


@given(share=st.floats(-1.0, 2.0), angle=st.floats(0, 6.28))
def test_a_flow_shortened_by_a_share_is_measured_as_that_share(share, angle):
    length = np.linspace(0.2, 2.0, 64).reshape(8, 8)
    planted = np.stack([length * np.cos(angle), length * np.sin(angle)])
    across = np.stack([-planted[1], planted[0]])  # what goes sideways does not count
    x, y = compute_lengths(share * planted + across, planted, np.ones((8, 8), bool), n_bins=4)
    assert np.allclose(y, share * x, atol=1e-6) and (np.diff(x) > 0).all()


def test_only_skin_that_moved_counts():
    planted = make_field(1, 0, (4, 4))
    planted[:, :2] = 0
    x, y = compute_lengths(planted, planted, np.ones((4, 4), bool), n_bins=2)
    assert x.tolist() == y.tolist() == [1, 1]
    with pytest.raises(StagkitError, match="0 pixels moved"):
        compute_lengths(planted, 0 * planted, np.ones((4, 4), bool))


def test_the_exact_method_lies_on_the_dashed_line():
    planted = np.stack([np.linspace(0.2, 2, 64).reshape(8, 8), np.zeros((8, 8))])
    axes = plot_lengths({"exact copy": planted}, planted, np.ones((8, 8), bool)).axes[0]
    copy, dashed = axes.lines
    assert np.allclose(copy.get_xdata(), copy.get_ydata(), atol=0.02)
    assert dashed.get_linestyle() == "--" and np.allclose(dashed.get_xdata(), dashed.get_ydata())
