"""Pictures of one thing: the data behind them, and one scale where two are compared."""

import errno
import re
import warnings
from types import SimpleNamespace

import numpy as np
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.datasets.prepare import load_data
from stagkit.evaluation.evaluate import evaluate
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import compute_flow
from stagkit.plots.attributions import draw_attributions
from stagkit.plots.clips import plot_clip, plot_flow, plot_motion, plot_rois_to_scale
from stagkit.plots.contact_sheet import plot_contact_sheet
from stagkit.plots.evaluation import plot_confusion, plot_scores, plot_training
from stagkit.plots.style import find_fonts, nice_limit, save_figure, style, write_figure
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from tests.lockfile import ROOT
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
    words = [t.get_text().split("\n")[1] if t.get_text() else 0 for t in figure.axes[0].texts]
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
        plot_rois_to_scale({"a": (clip.frames[clip.onset], marks)}),
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


def test_regions_are_drawn_where_they_are_cut(clip):
    marks = clip.landmarks[clip.onset]
    patches = plot_rois_to_scale({"a": (clip.frames[0], marks)}).axes[0].patches
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


# ── names that people give, fonts that machines have ─────────────────────────────────────────────────────────────────

ODD_NAMES = ("$x^$", "$\\frac{$", "a_b^{", "<b>", "=1+1", "消极", "négatif", "a\tb", "100 %", "z" * 200)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_drawn(name, tmp_path):
    """A name is text, not mathematics: '$x^$' ended matplotlib in a traceback."""
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots()
        axes.plot([0, 1], label=name)
        axes.set_xticks([0, 1], [name, name])
        axes.set_title(name)
        axes.annotate(name, (0.5, 0.5))
        axes.legend()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StagkitWarning)
        save_figure(figure, tmp_path, "odd", {})
    assert axes.get_xticklabels()[0].get_text() == name
    assert {p.name for p in tmp_path.iterdir()} == {"odd.pdf", "odd.png", "odd.json"}


def _draw_title(text):
    import matplotlib.pyplot as plt

    with style():
        figure, axes = plt.subplots(figsize=(2, 1))
        axes.set_title(text)
    return figure


def test_missing_glyphs_are_named(tmp_path):
    """By a warning that the command shows; U+10FFFE is in no font."""
    with pytest.warns(StagkitWarning, match=r"no font of this machine has the characters .*U\+E123.*U\+E124.*boxes"):
        write_figure(_draw_title("a \ue123 \ue124"), tmp_path / "a.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        write_figure(_draw_title("plain"), tmp_path / "b.png")


@pytest.fixture
def chinese_font(tmp_path):
    """A font under the name of one that systems ship, with two characters; it is gone afterwards."""
    from fontTools.fontBuilder import FontBuilder
    from fontTools.pens.ttGlyphPen import TTGlyphPen
    from matplotlib import font_manager

    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((500, 0))
    pen.lineTo((250, 700))
    pen.closePath()
    font, names = FontBuilder(1000, isTTF=True), [".notdef", "one", "two"]
    font.setupGlyphOrder(names)
    font.setupCharacterMap({ord("消"): "one", ord("极"): "two"})
    font.setupGlyf(dict.fromkeys(names, pen.glyph()))
    font.setupHorizontalMetrics(dict.fromkeys(names, (600, 0)))
    font.setupHorizontalHeader(ascent=800, descent=-200)
    font.setupNameTable({"familyName": "Noto Sans CJK SC", "styleName": "Regular", "psName": "NotoSansCJKsc-Regular"})
    font.setupOS2()
    font.setupPost()
    font.save(tmp_path / "font.ttf")
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(tmp_path / "font.ttf")
    yield
    font_manager.fontManager.ttflist[:] = before


def test_another_font_is_used_where_it_has_what_the_first_lacks(chinese_font, tmp_path):
    """No box, no warning, and the PDF embeds both fonts as TrueType."""
    assert find_fonts()[:2] == ["DejaVu Sans", "Noto Sans CJK SC"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        save_figure(_draw_title("消极 negative"), tmp_path, "a", {})
    pdf = (tmp_path / "a.pdf").read_bytes()
    assert pdf.count(b"/FontFile2") == 2 and b"NotoSansCJKsc" in pdf and b"/Type3" not in pdf


def test_a_picture_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    """A full disk, a picture too large, a name that is taken by a folder: the file is named, nothing is left."""
    (tmp_path / "taken.png").mkdir()
    with pytest.raises(StagkitError, match=r"taken\.png"):
        write_figure(_draw_title("a"), tmp_path / "taken.png")
    with pytest.raises(StagkitError, match=r"large\.png cannot be drawn"):
        write_figure(_draw_title("a"), tmp_path / "large.png", dpi=10**6)

    def fail(*args, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("matplotlib.figure.Figure.savefig", fail)
    with pytest.raises(StagkitError, match=r"full\.png cannot be written: No space left"):
        write_figure(_draw_title("a"), tmp_path / "full.png")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.png"]


def test_pictures_are_written_with_the_ids_of_their_clips(tmp_path, monkeypatch):
    """Ids a/b and a_b have a picture each."""
    import matplotlib.pyplot as plt

    ids = ("a/b", "a_b", "../../c", "=1", "消极", "x" * 260)
    zeros = np.zeros((len(ids), 1, 1, 1), np.float32)
    attribution = SimpleNamespace(clip_ids=ids, relative_delta=zeros[:, 0, 0, 0])
    monkeypatch.setattr("stagkit.plots.attributions.plot_attribution", lambda shown, i: plt.figure(figsize=(1, 1)))
    written = draw_attributions(attribution, tmp_path / "out")
    assert len(set(written)) == len(ids) == len(list((tmp_path / "out").iterdir()))
    assert not list(tmp_path.glob("*.png"))


def test_no_picture_is_written_without_a_look_at_the_result():
    """One place renders figures, one encodes pictures: others could leave an empty file and say that all is well."""
    allowed = {
        "savefig": {"style.py", "doctor.py"},
        "imencode": {"images.py", "doctor.py"},
        "imwrite": set(),
    }
    for path in (ROOT / "stagkit").rglob("*.py"):
        for call, places in allowed.items():
            used = re.search(rf"\.{call}\(", path.read_text(encoding="utf-8"))
            assert not used or path.name in places, f"{path.name} calls {call}"
