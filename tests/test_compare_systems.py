"""One comparison: the same folds for all, resumable, honest beside claimed, printed numbers in columns of their own."""

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from stagkit.baselines import SYSTEMS
from stagkit.baselines.compare import compare_systems, explain_clips, fit_system
from stagkit.baselines.inputs import (
    VIEWS,
    compute_views,
    gather_regions,
    make_frame,
    make_views,
    sample_flow,
)
from stagkit.baselines.published import describe_published, find_published, load_published
from stagkit.cli import main
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import read_json
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.evaluation.run import Run, RunError
from stagkit.evaluation.sealed import fit_and_predict
from stagkit.evaluation.splits import make_folds
from stagkit.reports.comparison import format_comparison, format_latex, save_tables
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from tests.blind import check_blind
from tests.small import Linear, make_dataset, save_maps

SMALL = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
SETTINGS = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "device": "cpu"}
NAMES = ("stag", "majority", "mdmo", "evolution")


@pytest.fixture(scope="module")
def views():
    data = make_dataset(4, 6, 3)
    return {"regions": data, "time_series": data}


@pytest.fixture(scope="module")
def compared(views, tmp_path_factory):
    out = tmp_path_factory.mktemp("comparison") / "out"
    result = compare_systems(views, out, NAMES, SMALL, epochs=4, **SETTINGS)
    save_tables(result, out)
    return result, out


def test_every_row_has_its_numbers(compared):
    result, out = compared
    assert list(result["systems"]) == list(NAMES) and result["n_folds"] == 2 and result["n_clips"] == 24
    for name, row in result["systems"].items():
        low, high = row["uf1"]["ci95"]
        assert 0 <= low <= high <= 1 and row["ms_per_clip"] > 0 and row["train_seconds"] >= 0
        assert ("minus_stag" in row) == (name != "stag")
    assert result["systems"]["majority"]["acc"]["mean"] == 0.5
    assert "leak" not in result["systems"]["mdmo"], "no epochs, nothing to choose"
    assert result["systems"]["evolution"]["parameters"] > 600_000
    for name in ("stag", "evolution"):
        row = result["systems"][name]
        assert row["leak"]["optimistic"]["acc"] >= row["acc"]["mean"], "the rule picks the best test accuracy"
        assert row["leak"]["optimism"]["uf1"] == pytest.approx(
            row["leak"]["optimistic"]["uf1"] - row["uf1"]["mean"], abs=1e-6
        )
        assert 0 <= row["explanation"]["pointing"]["mean"] <= 1
    assert result["explanation"]["truth"] == "annotated AUs" and result["systems"]["mdmo"]["explanation"] is None
    splits = {json.dumps(Run.load(out / name).split) for name in NAMES}
    assert len(splits) == 1, "the same folds for all"
    assert all(Run.load(out / name, evidence=True) for name in NAMES)


def test_a_killed_comparison_goes_on_with_the_same_numbers(compared, views):
    result, out = compared
    (out / "evolution" / "metrics.json").unlink()
    (out / "evolution" / "folds" / "seed0_fold001.csv").unlink()
    again = compare_systems(views, out, NAMES, SMALL, epochs=4, **SETTINGS)
    for s in ("uf1", "uar", "acc"):
        assert again["systems"]["evolution"][s] == result["systems"]["evolution"][s]
    assert again["systems"]["evolution"]["leak"] == result["systems"]["evolution"]["leak"]
    save_tables(again, out)
    with pytest.raises(RunError, match="holds another run"):
        compare_systems(views, out, ("evolution",), epochs=5, **SETTINGS)


def test_tables_keep_what_is_printed_apart(compared):
    result, out = compared
    table = pd.read_csv(out / "comparison.csv").set_index("system")
    assert table.loc["evolution", "uf1"] == pytest.approx(result["systems"]["evolution"]["uf1"]["mean"], abs=1e-5)
    assert table.loc["evolution", "published_uf1"] == 0.4123
    assert table.loc["evolution", "published_on"] == "DFME, 7 classes, test A, official"
    assert np.isnan(table.loc["majority", "leaky_uf1"]) and np.isnan(table.loc["stag", "uf1_minus_stag"])
    text, page = format_comparison(result), (out / "comparison.html").read_text(encoding="utf-8")
    assert page.count('http-equiv="Content-Security-Policy" content="default-src \'none\'') == 1
    assert "Printed in papers, on other clips" in text and "4 epochs each (a trial)" in text
    assert "What papers print" in page and page.count("<svg") == 1 + len(NAMES)
    assert "://" not in page, "the page needs nothing else"
    assert (out / "comparison.tex").read_text() == format_latex(read_json(out / "comparison.json"))
    assert r"\toprule" in format_latex(result) and format_latex(result).count(r"\\") == 1 + len(NAMES)
    assert read_json(out / "comparison.json")["systems"].keys() == result["systems"].keys()


@pytest.mark.parametrize("name", [None, "evolution"])
def test_training_does_not_peek(views, name, forked):
    """Wrong labels in the test part change neither the answer nor any epoch's."""
    train = TrainConfig(epochs=2)
    request = {"schedule": {**vars(SYSTEMS["evolution"].schedule), "epochs": 2}, "explain": False}
    run = SimpleNamespace(stag_config=SMALL, train_config=train, request=request)

    def answer(data, fold):
        kept = []

        def fit(known, inputs):
            trained = fit_system(name, run, known, inputs, 0, 0, "cpu")
            kept.append(trained.arrays["leak"]["predictions"])
            return trained

        probability = fit_and_predict(data, fold, fit)[1]
        return np.concatenate([probability, kept[0].T], axis=1)  # one row per clip

    check_blind(answer, views["regions"], make_folds(views["regions"])[0])


def test_wrong_wishes_are_told(views, tmp_path):
    with pytest.raises(StagkitError, match="no system 'alexnet'"):
        compare_systems(views, tmp_path / "a", ("alexnet",), **SETTINGS)
    with pytest.raises(StagkitError, match="fdp reads the images of a clip"):
        compare_systems(views, tmp_path / "a", ("fdp",), **SETTINGS)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "letter.txt").write_text("mine")
    with pytest.raises(StagkitError, match="holds no comparison"):
        compare_systems(views, tmp_path / "b", ("majority",), **SETTINGS)


# ── explanations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_integrated_gradients_of_a_linear_network_are_its_weights(views):
    """logit 0 = 2 x[lip_corner_L, frame 1, u, middle]: that region gets all of it, with its sign for the class said."""
    data = views["regions"]
    model = Linear()
    model.anchor = torch.nn.Parameter(torch.zeros(1))
    maps = explain_clips(model, data)
    at = ATLAS.index("lip_corner_L")
    logit = 2 * data.x[:, 1, at, 0, 2, 2]
    np.testing.assert_allclose(maps[:, at], np.abs(logit), rtol=1e-4)
    assert np.abs(np.delete(maps, at, 1)).max() == 0


def test_a_map_of_the_face_is_gathered_where_the_regions_lie():
    frame, at = make_frame(28), ATLAS.index("chin")
    x, y = (frame[:, :2] @ ATLAS.mean_centres[at] + frame[:, 2]).round().astype(int)
    values = np.zeros((1, 28, 28))
    values[0, y, x] = 3.0
    regions = gather_regions(values)[0]
    assert regions.argmax() == at and regions[at] == pytest.approx(3.0, abs=0.5)
    even = gather_regions(np.ones((1, 28, 28)))[0]
    area = (2 * ATLAS.radius) ** 2 * 21 * 16
    assert even[at] == pytest.approx(area, rel=0.15), "a square of so many px"


# ── views ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def phantom():
    return make_clip(PhantomConfig(subjects=1, clips=3, difficulty="clean"), 0, 1)


def test_views_of_a_phantom(phantom):
    views = compute_views(phantom)
    assert {name for name in VIEWS if name != "regions"} <= set(views)
    assert views["face"].shape == (1, 1, 3, 28, 28) and views["mesti"].shape == (1, 1, 3, 64, 64)
    assert views["film"].shape == (8, 1, 3, 64, 64) and 0 <= views["film"].min() <= views["film"].max() <= 1
    assert views["time_series"].shape == (25, 22, 3, 5, 5)
    times = views["film_times"][views["film_mask"][:, 0]]
    assert (np.diff(times) > 0).all() and times[0] <= 0 <= times[-1], "ms from the apex"
    truth = phantom.truth
    moved = np.linalg.norm(truth.displacement(phantom.apex), axis=0)
    assert moved.max() > 0.5
    face = np.abs(views["mesti"][0, 0].mean(0))
    brow, chin = face[2:12].mean(), face[50:60].mean()
    upper = any(code[:4] in ("AU01", "AU02", "AU04", "AU05") for code in truth.codes)
    assert (brow > 2 * chin) if upper else (chin > brow / 2), "the picture is bright where the skin moves"


def test_face_flow_is_in_per_cent_of_the_eye_distance(phantom):
    """A motion that is the same everywhere comes out as itself, whatever the window's squeeze."""
    from stagkit.motion.optical_flow import compute_flow

    motion = compute_flow(phantom)
    flow = np.zeros_like(motion.flow)
    flow[3, 0], flow[3, 1] = motion.iod / 100, -motion.iod / 50  # 1 % to the right, 2 % up
    face = sample_flow(motion.__class__(**{**vars(motion), "flow": flow}), 3)
    axes = motion.landmarks[45] - motion.landmarks[36]
    turn = np.arctan2(axes[1], axes[0])
    expected = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]]) @ [1.0, -2.0]
    np.testing.assert_allclose(face[0], expected[0], atol=1e-3)
    np.testing.assert_allclose(face[1], expected[1], atol=1e-3)


def test_published_maps_have_faces_and_regions_only(tmp_path):
    path = save_maps(tmp_path / "maps.npz")
    views = make_views(path)
    assert set(views) == {"regions", "time_series", "face"} and views["time_series"] is views["regions"]
    face = views["face"]
    assert face.clip_ids == views["regions"].clip_ids
    with np.load(path) as file:
        flow = file["flow"].astype(float)
    np.testing.assert_allclose(face.x[5, 0, 0, 1], flow[5, :, :, 1] - np.median(flow[5, :, :, 1]), atol=1e-4)


# ── what papers print ────────────────────────────────────────────────────────────────────────────────────────────────


def test_printed_numbers_say_where_they_are_from():
    table = load_published()
    for column in ("uf1", "uar", "acc"):
        known = table[column].dropna()
        assert ((known > 0) & (known <= 1)).all()
    assert (table["source"] != "").all() and (table["leak"] != "").all()
    assert set(table["checked"]) == {"verified", "abstract or paper note"}
    htnet = find_published("HTNet")[0]
    assert (htnet["uf1"], htnet["uar"], htnet["acc"]) == (0.8603, 0.8475, None) and "best test epoch" in htnet["leak"]
    assert describe_published([htnet]).startswith("UF1 0.860 (MEGC2019, full, LOSO; leak: best test epoch")
    for system in SYSTEMS.values():
        assert not system.published or find_published(system.published), system.name


# ── the command ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_command(tmp_path, capsys):
    path, out = save_maps(tmp_path / "maps.npz"), tmp_path / "out"
    options = ["--systems", "majority,svm", "--protocol", "groupkfold", "--folds", "2", "--workers", "1"]
    with pytest.raises(SystemExit) as end:
        main(["compare-systems", str(path), "--out", str(out), *options])
    assert not end.value.code
    assert "RBF-SVM, 7x7 grid" in capsys.readouterr().out
    assert (out / "comparison.html").is_file()
    for arguments, word in ((["--list"], "evolution"), ([], "needs DATA")):
        with pytest.raises(SystemExit) as end:
            main(["compare-systems", *arguments])
        assert (end.value.code or 0) == (0 if arguments else 2)
        captured = capsys.readouterr()
        assert word in captured.out + captured.err


# ── pictures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pictures_show_the_numbers_of_the_comparison(compared, phantom):
    """Points stand at the scores: honest and claimed, the difference, chance and the largest motion."""
    from types import SimpleNamespace

    import matplotlib.pyplot as plt

    from stagkit.plots.evaluation import plot_comparison, plot_costs, plot_leak, plot_pointing, plot_views

    result, _ = compared

    def points(axes, marker="o"):
        return [float(line.get_xdata()[0]) for line in axes.lines if line.get_marker() == marker]

    rows = result["systems"]
    left, right = plot_comparison(result).axes
    assert points(left) == [row["uf1"]["mean"] for row in rows.values()]
    assert points(right) == [r["minus_stag"]["uf1"]["difference"] for r in rows.values() if "minus_stag" in r]
    assert [t.get_text() for t in left.get_yticklabels()] == [row["title"] for row in rows.values()]
    trained = [row for row in rows.values() if row.get("leak")]
    shown = points(plot_leak(result).axes[0])
    assert shown[::2] == [row["uf1"]["mean"] for row in trained]
    assert shown[1::2] == [row["leak"]["optimistic"]["uf1"] for row in trained]
    axes = plot_pointing(result).axes[0]
    lines = {line.get_label(): line.get_xdata()[0] for line in axes.lines}
    assert lines["chance"] == result["explanation"]["chance"]["mean"]
    costs = {tuple(map(float, c.get_offsets()[0])) for c in plot_costs(result).axes[0].collections}
    assert costs == {(row["multiply_adds"], row["uf1"]["mean"]) for row in rows.values() if row["multiply_adds"]}
    made = compute_views(phantom)
    views = {
        name: SimpleNamespace(x=made[name][None], mask=made[f"{name}_mask"][None])
        for name in ("film", "dynamic", "mesti", "face")
    }
    pictures = [axes.images[0] for axes in plot_views(views).axes[:5]]
    assert pictures[1].get_clim() == pictures[2].get_clim() and pictures[3].get_clim() == pictures[4].get_clim()
    np.testing.assert_allclose(pictures[3].get_array(), made["face"][0, 0, 0])
    plt.close("all")
