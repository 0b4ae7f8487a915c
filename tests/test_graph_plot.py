"""Regions as a graph, matrices with named axes, weights over time: what is drawn is what was given."""

import matplotlib
import numpy as np
import pytest

from stagkit.core.regions import ATLAS
from stagkit.core.types import ShapeError
from stagkit.course.layer_contract import Finding, Report
from stagkit.plots.graphs import (
    plot_contract,
    plot_matrices,
    plot_region_attention,
    plot_region_graph,
    plot_time_weights,
)

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


def test_without_motion_edges_or_attention_no_line_or_arrow_is_drawn():
    graph, motion, _ = plot_region_graph(np.zeros((N, N)), np.zeros((N, 2))).axes
    assert f"0 edges between {N} regions" in {text.get_text() for text in graph.texts}
    assert all(c.N == 0 for c in motion.collections if hasattr(c, "U"))
    axes = plot_region_attention({"none": np.zeros(N)}, "chin").axes[0]
    assert not [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]


def test_arrows_come_from_the_sources_and_go_to_the_target():
    row = np.zeros(N)
    row[ATLAS.index("cheek_L")], row[ATLAS.index("chin")] = 0.7, 0.3
    axes = plot_region_attention({"one": row}, "chin").axes[0]
    arrows = [t for t in axes.texts if getattr(t, "arrow_patch", None) is not None]
    assert len(arrows) == 1, "what a region hears of itself is its dot, not an arrow"
    assert np.allclose(arrows[0].xy, ATLAS.mean_centres[ATLAS.index("chin")])
    assert np.allclose(arrows[0].xyann, ATLAS.mean_centres[ATLAS.index("cheek_L")])


def test_faces_share_one_scale():
    weak, strong = np.full(N, 0.01), np.full(N, 0.5)
    figure = plot_region_attention({"weak": weak, "strong": strong}, "chin")
    limits = {c.get_clim() for axes in figure.axes[:2] for c in axes.collections}
    assert limits == {(0.0, 0.5)}


def test_a_wrong_region_or_length_is_named():
    with pytest.raises(ShapeError, match="there is no region 'ear'"):
        plot_region_attention({"one": np.zeros(N)}, "ear")
    with pytest.raises(ShapeError, match="two_words"):
        plot_region_attention({"two words": np.zeros(3)}, "chin")
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


# ── weights over time ────────────────────────────────────────────────────────────────────────────────────────────────

TIMES = np.array([[0.0, 10, 20, 40], [5.0, 15, 0, 0]])
WEIGHTS = np.array([[0.1, 0.2, 0.3, 0.4], [0.75, 0.25, 0, 0]])
MOTION = np.array([[0.0, 1, 2, 3], [4.0, 5, 9, 9]])


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


def test_a_clip_of_one_frame_is_one_bar():
    figure = plot_time_weights([[0.0]], [[1.0]], [[0.3]], ["one"])
    figure.canvas.draw()
    (bar,) = figure.axes[0].patches
    assert bar.get_height() == 1.0 and bar.get_x() + bar.get_width() / 2 == pytest.approx(0.0)


def test_values_that_do_not_fit_are_refused():
    with pytest.raises(ShapeError, match="clip should be 3"):
        plot_time_weights(TIMES, WEIGHTS, MOTION, ["a", "b", "c"])
    with pytest.raises(ShapeError, match="motion"):
        plot_time_weights(TIMES, WEIGHTS, MOTION.T, ["a", "b"])
