"""Pictures of one thing: the data behind them, and one scale where two are compared."""

import numpy as np
import pytest

from stagkit.config import FlowConfig, PhantomConfig, StagConfig, TrainConfig
from stagkit.drawing import nice_limit
from stagkit.figures import (
    plot_clip,
    plot_confusion,
    plot_contact_sheet,
    plot_flow,
    plot_motion,
    plot_rois,
    plot_rois_to_scale,
    plot_scores,
    plot_strain,
    plot_training,
)
from stagkit.flow import compute_flow
from stagkit.folds import evaluate
from stagkit.phantom import make_clip
from stagkit.prepare import load_data
from stagkit.rois import ATLAS
from stagkit.types import StagkitError
from tests.small import save_maps


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("figures")
    path = save_maps(folder / "maps.npz")
    config = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
    return evaluate(load_data(path), folder / "run", config, TrainConfig(epochs=2), workers=1, seeds=2, data_path=path)


@pytest.fixture(scope="module")
def clip():
    return make_clip(PhantomConfig(size=64), 0, 0)


@pytest.fixture(scope="module")
def motion(clip):
    return compute_flow(clip, FlowConfig(n_frames=5))


@pytest.fixture(autouse=True)
def close():
    import matplotlib

    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_scores_are_those_of_the_run(run):
    figure = plot_scores([run])
    texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert texts == [f"{run.metrics[s]['mean']:.2f}" for s in ("uf1", "uar", "acc")]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == [run.name, "permuted", "majority"]


def test_confusion_rows_are_true_classes(run):
    figure = plot_confusion(run)
    counts = np.array(run.metrics["confusion"])
    assert counts.sum() == 48, "24 clips x 2 seeds"
    words = [t.get_text().split("\n")[1] for t in figure.axes[0].texts]
    assert [int(w) for w in words] == counts.ravel().tolist()
    assert figure.axes[0].get_ylabel() == "true class"


def test_motion_curve_shows_scores_and_chosen_frames(motion, clip):
    axes = plot_motion(motion, clip).axes[0]
    curve, chosen = axes.lines[:2]
    assert np.array_equal(curve.get_ydata(), motion.scores)
    assert np.array_equal(chosen.get_xdata(), motion.times_ms[motion.selected])


def test_all_pictures_of_clips(clip, motion):
    marks = clip.landmarks[clip.onset]
    truth = clip.truth.displacement(clip.apex)
    pictures = [
        plot_clip(clip),
        plot_clip(clip, magnify=5, motion=motion),
        plot_flow(motion, clip.apex, clip.frames[clip.onset], truth),
        plot_flow(motion, clip.apex),
        plot_strain(motion, clip.apex),
        plot_rois(),
        plot_rois(clip.frames[clip.onset], marks),
        plot_contact_sheet([clip.frames[0]] * 3, ["a", "b", "c"]),
        plot_training([3.0, 2.0, 1.0]),
    ]
    for figure in pictures:
        figure.canvas.draw()
        assert np.asarray(figure.canvas.buffer_rgba())[..., :3].std() > 1, "an empty picture"


def test_measured_and_planted_share_one_scale(clip, motion):
    figure = plot_flow(motion, clip.apex, None, clip.truth.displacement(clip.apex))
    images = [image for axes in figure.axes for image in axes.images]
    assert len({image.get_clim() for image in images}) == 1
    assert "% of IOD" in figure.axes[-1].get_ylabel()


def test_what_is_needed_is_told(clip):
    with pytest.raises(StagkitError, match="give motion"):
        plot_clip(clip, magnify=5)
    with pytest.raises(StagkitError, match="give landmarks"):
        plot_rois(clip.frames[0])


def test_regions_are_drawn_where_they_are_cut(clip):
    marks = clip.landmarks[clip.onset]
    patches = plot_rois(clip.frames[0], marks).axes[0].patches
    centres = np.array([(p.get_x() + p.get_width() / 2, p.get_y() + p.get_height() / 2) for p in patches])
    assert np.allclose(centres, ATLAS.centres(marks))


def test_regions_to_scale_draw_a_pixel_as_large_in_each_picture(clip):
    picture, marks = clip.frames[clip.onset], clip.landmarks[clip.onset]
    figure = plot_rois_to_scale({"far": (picture, marks), "near": (picture.repeat(2, 0).repeat(2, 1), 2 * marks)})
    figure.canvas.draw()
    far, near = figure.axes
    inch = [abs(np.diff(axes.transData.transform([(0, 0), (1, 1)]), axis=0)).ravel() for axes in (far, near)]
    assert np.allclose(inch, inch[0][0], rtol=0.01)
    sides = [axes.patches[0].get_window_extent().width for axes in (far, near)]
    assert sides[1] == pytest.approx(2 * sides[0], rel=0.02)
    below = [axes.transData.transform((0, axes.get_ylim()[0]))[1] for axes in (far, near)]
    assert below[0] == pytest.approx(below[1], abs=1), "they do not stand on one line"
    with pytest.raises(StagkitError, match="at least one"):
        plot_rois_to_scale({})


@pytest.mark.parametrize(("values", "limit"), [([0.3, -0.9], 0.9), ([0.0], 1.0), ([-12.0], 15.0), ([1.01], 1.5)])
def test_scales_end_on_round_numbers(values, limit):
    assert nice_limit(np.array(values)) == pytest.approx(limit)
