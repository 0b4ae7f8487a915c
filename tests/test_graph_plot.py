"""Regions as a graph, and matrices with named axes: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest

from stagkit.core.regions import ATLAS
from stagkit.core.types import ShapeError
from stagkit.course.layer_contract import Finding, Report
from stagkit.plots.graphs import plot_listening, plot_region_graph
from stagkit.plots.matrices import plot_contract, plot_matrices

N = len(ATLAS.names)


@pytest.fixture(autouse=True)
def close():
    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def words(figure) -> set[str]:
    return {text.get_text() for axes in figure.axes for text in axes.texts}


def test_every_pair_of_neighbours_is_one_line():
    edges = np.eye(N)
    cheek, lip = ATLAS.index("cheek_R"), ATLAS.index("lip_corner_R")
    edges[lip, cheek] = edges[cheek, lip] = 1.0
    plain = plot_region_graph(np.eye(N)).axes[0]
    joined = plot_region_graph(edges).axes[0]
    assert len(joined.lines) == len(plain.lines) + 1
    assert np.array_equal(np.sort(joined.lines[-1].get_xydata(), 0), np.sort(ATLAS.mean_centres[[cheek, lip]], 0))


def test_the_number_of_edges_is_told_and_each_place_named_once():
    shown = words(plot_region_graph(ATLAS.anatomy))
    assert f"{len(ATLAS.edge_reasons)} edges between {N} regions" in shown
    assert {"cheek", "glabella", "lip corner"} <= shown


def test_motion_is_drawn_where_and_as_it_is():
    flow = np.zeros((N, 2))
    chin = ATLAS.index("chin")
    flow[chin] = 0.0, -2.0  # up
    arrows = [c for c in plot_region_graph(ATLAS.anatomy, flow).axes[1].collections if hasattr(c, "U")]
    assert [(c.N, float(c.U[0]), float(c.V[0])) for c in arrows] == [(1, 0.0, -2.0)]
    assert np.allclose(arrows[0].get_offsets()[0], ATLAS.mean_centres[chin])


def test_a_still_face_and_no_edges_can_be_drawn():
    plot_region_graph(np.zeros((N, N)), np.zeros((N, 2)))
    plot_listening({"nobody": np.zeros(N)}, "chin")


def test_arrows_come_from_the_sources_and_go_to_the_target():
    row = np.zeros(N)
    row[ATLAS.index("cheek_L")], row[ATLAS.index("chin")] = 0.7, 0.3
    axes = plot_listening({"one": row}, "chin").axes[0]
    arrows = [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 1, "what a region hears of itself is its dot, not an arrow"
    assert np.allclose(arrows[0].xy, ATLAS.mean_centres[ATLAS.index("chin")])
    assert np.allclose(arrows[0].xyann, ATLAS.mean_centres[ATLAS.index("cheek_L")])


def test_faces_share_one_scale():
    weak, strong = np.full(N, 0.01), np.full(N, 0.5)
    figure = plot_listening({"weak": weak, "strong": strong}, "chin")
    limits = {c.get_clim() for axes in figure.axes[:2] for c in axes.collections}
    assert limits == {(0.0, 0.5)}


def test_a_wrong_region_or_length_is_named():
    with pytest.raises(ShapeError, match="there is no region 'ear'"):
        plot_listening({"one": np.zeros(N)}, "ear")
    with pytest.raises(ShapeError, match="two_words"):
        plot_listening({"two words": np.zeros(3)}, "chin")
    with pytest.raises(ShapeError):
        plot_region_graph(np.zeros((N, 2)))


def test_rows_are_rows():
    values = np.arange(6.0).reshape(2, 3)
    axes = plot_matrices({"a": values, "b": -values}, ["r0", "r_1"], ["x", "y", "z"], "weight").axes
    assert np.array_equal(axes[0].images[0].get_array(), values)
    assert [t.get_text() for t in axes[0].get_yticklabels()] == ["r0", "r 1"]
    assert [t.get_text() for t in axes[1].get_xticklabels()] == ["x", "y", "z"]
    assert axes[0].get_ylabel().startswith("target") and axes[0].get_xlabel() == "source"


@pytest.mark.parametrize(("signed", "limits"), [(False, (0.0, 4.0)), (True, (-4.0, 4.0))])
def test_matrices_share_one_scale(signed, limits):
    figure = plot_matrices({"a": np.ones((2, 2)), "b": np.full((2, 2), 4.0)}, (), (), "weight", signed=signed)
    assert {axes.images[0].get_clim() for axes in figure.axes[:2]} == {limits}


def test_matrices_that_do_not_go_together_are_refused():
    with pytest.raises(ShapeError, match="one shape"):
        plot_matrices({"a": np.ones((2, 2)), "b": np.ones((3, 2))}, (), (), "weight")
    with pytest.raises(ShapeError, match="one shape"):
        plot_matrices({}, (), (), "weight")
    with pytest.raises(ShapeError, match="3 names of rows, the maps have 2"):
        plot_matrices({"a": np.ones((2, 2))}, "abc", (), "weight")


def test_a_broken_promise_stands_in_its_row_and_column():
    def report(layer, place="graph", **ok):
        return Report(layer, place, tuple(Finding(name.replace("_", " "), value, "") for name, value in ok.items()))

    axes = plot_contract([report("A", mask=True, one_by_one=True), report("B", mask=True, one_by_one=False)]).axes[0]
    assert [(text.get_text(), *text.get_position()) for text in axes.texts] == [("broken", 1.5, 1.5)]
    assert [t.get_text() for t in axes.get_yticklabels()] == ["A", "B"]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["mask", "one by one"]
    assert axes.get_ylim() == (2, 0), "the first report is the upper row"
    with pytest.raises(ShapeError, match="one place"):
        plot_contract([report("A", mask=True), report("B", "time", mask=True)])
