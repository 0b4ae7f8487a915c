"""The recognition benchmark runs, is sealed, and writes its table between its marks."""

import importlib.util
import json
import re
import sys

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.explain.attribution import attribute
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.ground_truth import compute_annotated_truth
from tests.lockfile import ROOT
from tests.small import make_dataset, make_small_model, save_maps
from tests.tiny import make_model


@pytest.fixture(scope="module")
def recognition():
    spec = importlib.util.spec_from_file_location("recognition", ROOT / "benchmarks" / "recognition.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["recognition"] = module
    spec.loader.exec_module(module)
    return module


def test_quick(recognition, tmp_path, capsys):
    maps, table = save_maps(tmp_path / "maps.npz"), tmp_path / "B.md"
    table.write_text(f"# Benchmarks\n\nbefore\n\n{recognition.START}\nstale row\n{recognition.END}\n\nafter\n")
    options = ["--quick", "--workers", "1", "--json", str(tmp_path / "r.json"), "--markdown", str(table)]
    recognition.main([str(maps), *options, "--out", str(tmp_path / "run")])
    result = json.loads((tmp_path / "r.json").read_text())
    assert list(result["systems"]) == [*recognition.BASELINES, "STAG"]
    assert result["systems"]["MLP, 7x7 grid"]["parameters"] == 9667
    for name in recognition.BASELINES:
        low, high = result["systems"][name]["stag_minus"]["uf1"]["ci95"]
        assert low <= high
    assert {"commit", "machine", "date", "command"} <= set(result)
    text = table.read_text()
    assert "before" in text
    assert "after" in text
    assert "stale row" not in text
    assert "| STAG |" in text
    recognition.main([str(maps), *options, "--run", str(tmp_path / "run")])
    assert json.loads((tmp_path / "r.json").read_text())["systems"]["STAG"]["uf1"] == result["systems"]["STAG"]["uf1"]
    assert "majority" in capsys.readouterr().out


RESULTS = sorted((ROOT / "benchmarks" / "results").glob("*.md"))
TABLES = [
    (path, *mark)
    for path in RESULTS
    for mark in re.findall(r"<!-- (.+): made by benchmarks/(\w+)\.py -->", path.read_text())
]


@pytest.mark.parametrize(("path", "name", "script"), TABLES, ids=[name for _, name, _ in TABLES])
def test_tables_of_results_can_be_written_again(recognition, tmp_path, path, name, script):
    """``--markdown`` of the script that made a table finds its place, and changes nothing else of the page."""
    source = (ROOT / "benchmarks" / f"{script}.py").read_text(encoding="utf-8")
    assert f"[--markdown benchmarks/results/{path.name}]" in source
    marks = (f"<!-- {name}: made by benchmarks/{script}.py -->", f"<!-- {name}: end -->")
    before = path.read_text(encoding="utf-8")
    head, rest = before.split(marks[0])
    tail = rest.split(marks[1])[1]
    copy = tmp_path / path.name
    copy.write_text(before, encoding="utf-8")
    recognition.write_markdown(copy, "new table", marks)
    assert copy.read_text(encoding="utf-8") == f"{head}{marks[0]}\n\nnew table\n\n{marks[1]}{tail}"


def test_baselines_do_not_peek(recognition, tmp_path, forked):
    from stagkit.baselines.inputs import make_views
    from stagkit.baselines.plain import compute_grid
    from stagkit.evaluation.sealed import fit_and_predict
    from stagkit.evaluation.splits import make_folds
    from tests.blind import check_blind

    face = make_views(save_maps(tmp_path / "maps.npz"))["face"]
    assert compute_grid(face.x).shape == (24, 147)
    assert np.abs(face.x.mean()) < 20, "medians are taken off"
    for fit, _ in recognition.BASELINES.values():
        check_blind(
            lambda d, fold, f=fit: fit_and_predict(d, fold, lambda k, i: f(k, i, 0))[1], face, make_folds(face)[0]
        )


def test_seeds_are_averaged_for_every_system_alike(recognition):
    """Two networks that are unsure at different clips are right together."""
    from types import SimpleNamespace

    data = SimpleNamespace(label=np.array([0, 1, 2, 0]), subjects=("a", "b", "c", "d"), classes=("x", "y", "z"))
    right = np.eye(3)[data.label]
    one, other = right * 0.9 + 0.03, right * 0.9 + 0.03
    one[0], other[1] = (0.4, 0.5, 0.1), (0.1, 0.4, 0.5)
    averaged = recognition.average(np.stack([one, other]))
    assert averaged.shape == (1, 4, 3)
    assert recognition.score(data, averaged)["acc"] == 1.0
    assert recognition.score(data, np.stack([one, other]))["acc"] == 0.75
    row = {"averaged": {"uf1": 1.0}}
    told = recognition.describe_averaged({"systems": {"STAG": row}})
    assert "STAG 1.000" in told and not recognition.describe_averaged({"systems": {"STAG": {}}})


@pytest.fixture
def explanations(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("explanations", ROOT / "benchmarks" / "explanations.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_explanations_quick(explanations, monkeypatch, tmp_path, capsys):
    """Planted and annotated truth, every method with an interval, and a line for each aim whether it is reached."""
    few = ("integrated_gradients", "au_graph", "flow_magnitude", "random", "attention")
    monkeypatch.setattr(explanations, "METHODS", {n: explanations.METHODS[n] for n in few})
    options = ["--quick", "--seed", "3", "--json", str(tmp_path / "e.json")]
    explanations.main([*options, "--only", "phantoms"])
    result = json.loads((tmp_path / "e.json").read_text())
    methods = result["sets"]["phantoms"]["methods"]
    assert set(methods) == set(few)
    for score in ("region_pointing", "moved_region_mass", "au_auroc", "edge_auroc", "peak_error_ms", "completeness"):
        row = methods["integrated_gradients"][score]
        assert row["low"] <= row["mean"] <= row["high"]
    assert set(methods["integrated_gradients"]["region_pointing"]["minus"]) == {"flow_magnitude", "attention", "random"}
    assert methods["flow_magnitude"]["randomised"]["mean"] == 1
    assert [line.split()[1] for line in result["aims"]] == list(explanations.AIMS)
    assert "NOT reached" in capsys.readouterr().out, "3 epochs reach little, and that is said"
    explanations.main([*options, "--only", "real", "--maps", str(save_maps(tmp_path / "maps.npz"))])
    result = json.loads((tmp_path / "e.json").read_text())
    assert result["sets"]["real"]["n_clips"] == 16
    assert 0 < result["sets"]["real"]["compute_pointing_chance"] < 1


def test_aus_and_their_graph_of_a_map(explanations):
    ranking, twelve = sys.modules["method_ranking"], AU_LABELS.index("AU12")
    aus = np.zeros((1, 17))
    aus[0, [twelve, 0]] = 3.0, -2.0
    truth = compute_annotated_truth(np.eye(17)[[twelve]], ["a"])
    assert ranking.score_au_pointing(aus, truth) == [1.0] and ranking.score_au_pointing(-np.eye(17)[:1], truth) == [0.0]
    assert ranking.join_aus(aus[:, None])[0, 0, twelve] == pytest.approx(6**0.5)
    model = make_small_model()
    edges = (get_region_edges(model)[:, 0] == twelve).astype(float)
    summed = ranking.sum_by_au(edges, model)
    assert summed[twelve] == edges.sum() > 0 and np.count_nonzero(summed) == 1


def test_every_method_is_scored(explanations):
    ranking = sys.modules["method_ranking"]
    data, trained = make_dataset(), make_small_model()
    batch = data.batch([18, 19, 20])
    aus = data.aus[18:21].copy()
    aus[:, AU_LABELS.index("AU06")] = 1  # two each, so that there is a pair
    truth = compute_annotated_truth(aus, batch.clip_ids)
    answer = attribute(trained, batch).target
    scores = {
        name: ranking.score_method(name, trained, batch, truth, answer, make_model(n_classes=2))
        for name in ranking.METHODS
    }
    table = ranking.summarise(scores, ["a", "b", "b"])
    for name, row in table.items():
        assert row, name
        assert set(row) <= set(ranking.SCORES)
    assert table["flow_magnitude"]["randomised"]["mean"] == 1.0
    assert table["integrated_gradients"]["faithfulness"]["minus"].keys() == {"flow_magnitude", "attention", "random"}
    assert "region_pointing" not in table["au_graph"]
    assert len(ranking.format_ranking(table).splitlines()) == len(ranking.METHODS) + 1


def test_the_confounder_is_told_in_logits(explanations):
    def part(**values):
        return {k: {"mean": v, "low": v - 1, "high": v + 1, "n": 9} for k, v in values.items()}

    same = {"outside_logits_without_confounder": 0.0, "gap_logits": 5.0, "outside_mass": 0.6}
    confounder = {
        "confounder": "head shift",
        "confounded": part(effect_of_confounder_logits=5.5, outside_logits=3.7, **same),
        "clean": part(effect_of_confounder_logits=-1.2, outside_logits=-0.1, **same),
        "difference": part(x=3.8)["x"],
    }
    text = explanations.format_result({"sets": {}, "confounder": confounder})
    assert "confounded network: the confounder adds +5.50 logits, and its map gives +3.70 of +5.00" in text
    assert "difference of the maps 3.800 [2.800, 4.800] logits" in text


@pytest.fixture(scope="module")
def phantoms():
    spec = importlib.util.spec_from_file_location("phantoms_benchmark", ROOT / "benchmarks" / "phantoms.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_phantoms_quick(phantoms, tmp_path, capsys):
    maps = save_maps(tmp_path / "maps.npz")
    phantoms.main([str(maps), "--quick", "--json", str(tmp_path / "r.json"), "--picture", str(tmp_path / "means.png")])
    result = json.loads((tmp_path / "r.json").read_text())
    for name, low, high in (
        ("two_sample_auroc", 0, 1),
        ("phantom_only_uf1_on_real", 0, 1),
        ("pretraining_gain_uf1", -1, 1),
    ):
        assert low <= result[name] <= high
    assert result["pretraining_gain_ci95"][0] <= result["pretraining_gain_uf1"] <= result["pretraining_gain_ci95"][1]
    assert (tmp_path / "means.png").stat().st_size > 10_000
    assert "phantoms only" in capsys.readouterr().out


def test_phantoms_cannot_be_told_from_themselves_and_can_from_noise(phantoms):
    first, second = (phantoms.make_phantoms(["casme2"], 240, seed) for seed in (1, 2))
    real = {**first, "subject": np.char.add("a", first["group"])}
    alike = phantoms.tell_apart(real, {**second, "group": np.char.add("b", second["group"])}, 0, 20)
    assert max(alike.values()) < 0.65
    noise = {**real, "flow": np.random.default_rng(0).integers(0, 256, real["flow"].shape, np.uint8)}
    assert min(phantoms.tell_apart(noise, second, 0, 20).values()) > 0.95


def test_phantom_statistics(phantoms, tmp_path, capsys):
    """A checkerboard of 0 and 255: all first differences 255, spread 127.5, second over first 2, mirrored = turned over."""
    board = np.indices((28, 28)).sum(0)[None, ..., None] % 2 * np.full((2, 1, 1, 3), 255, np.uint8)
    numbers = phantoms.compute_statistics(board.astype(np.uint8))
    assert numbers["v first difference across"] == pytest.approx([2.0, 2.0])
    assert numbers["strain second over first difference down"] == pytest.approx([2.0, 2.0])
    assert numbers["u rim over map"] == pytest.approx([1.0, 1.0]) and numbers["u median"].tolist() == [127.5, 127.5]
    assert numbers["u symmetry"] == pytest.approx([1.0, 1.0]) and numbers["v symmetry"] == pytest.approx([-1.0, -1.0])
    made = phantoms.make_phantoms(["casme2"], 240, 1)
    rows = phantoms.compare_statistics(made, made)
    assert all(row["auroc"] == pytest.approx(0.5, abs=0.02) and row["real"] == row["phantom"] for row in rows)
    maps = save_maps(tmp_path / "maps.npz")
    phantoms.main([str(maps), "--quick", "--statistics", "--json", str(tmp_path / "s.json")])
    written = json.loads((tmp_path / "s.json").read_text())["statistics"]
    away = [abs(row["auroc"] - 0.5) for row in written]
    assert len(written) == 27 and away == sorted(away, reverse=True)
    assert "AUROC" in capsys.readouterr().out


def test_phantom_teaching_is_blind(phantoms, tmp_path, forked):
    from dataclasses import replace

    from stagkit.datasets.flow_maps import load_flow_maps, read_maps
    from stagkit.evaluation.sealed import fit_and_predict
    from stagkit.evaluation.splits import make_folds
    from tests.blind import check_blind

    path = save_maps(tmp_path / "maps.npz")
    grid = phantoms.make_grid(read_maps(path)["flow"])[:, None, :, :, None, None]
    data = load_flow_maps(path)
    data = replace(data, x=grid, mask=np.ones(grid.shape[:3], bool), roi_names=tuple(f"cell{i}" for i in range(49)))
    teacher = phantoms.Teacher(phantoms.make_phantoms(["casme2"], 120, 0), 0, 1)
    for beside in (0.0, 0.3):
        check_blind(
            lambda d, fold, b=beside: fit_and_predict(d, fold, lambda k, i: phantoms.fit(k, i, 0, teacher, b, 2))[1],
            data,
            make_folds(data)[0],
        )


def test_systems_quick(monkeypatch, tmp_path, capsys):
    """Both kinds of data: a table between its marks, JSON, and runs that are found again."""
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("systems", ROOT / "benchmarks" / "systems.py")
    systems = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(systems)
    table = tmp_path / "B.md"
    systems.main(
        ["--out", str(tmp_path / "runs"), "--quick", "--json", str(tmp_path / "r.json"), "--markdown", str(table)]
    )
    text, result = table.read_text(), json.loads((tmp_path / "r.json").read_text())["phantoms"]
    assert set(result["systems"]) == {"stag", "majority", "ststnet"}
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")]
    assert [row[0] for row in rows] == ["| system", "| STAG", "| Majority class", "| STSTNet"]
    assert len({len(row) for row in rows}) == 1
    assert rows[3][1] == f"{result['systems']['ststnet']['uf1']['mean']:.3f}"
    assert text.count("made by benchmarks/systems.py") == 1
    with pytest.raises(SystemExit):
        systems.main(["--out", str(tmp_path), "--only", "maps"])
    assert "--only maps needs --maps" in capsys.readouterr().err


def test_ablation_quick(monkeypatch, tmp_path, capsys):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("ablation", ROOT / "benchmarks" / "ablation.py")
    ablation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(ablation)
    maps, table = save_maps(tmp_path / "maps.npz"), tmp_path / "B.md"
    options = ["--quick", "--workers", "1", "--out", str(tmp_path / "runs"), "--maps", str(maps), "--only", "maps"]
    ablation.main([*options, "--json", str(tmp_path / "r.json"), "--markdown", str(table)])
    variants = json.loads((tmp_path / "r.json").read_text())["maps"]["variants"]
    assert list(variants) == ["full", "graph-none"]
    low, high = variants["graph-none"]["difference"]["uf1"]["ci95"]
    assert low <= high
    assert "| graph-none | no edge between different regions |" in table.read_text()
    assert "Real flow maps" in capsys.readouterr().out
    ablation.main(
        [
            *options[:-2],
            "--only",
            "maps",
            "--set",
            "stag.width=8",
            "--out",
            str(tmp_path / "narrow"),
            "--markdown",
            str(table),
        ]
    )
    assert (
        table.read_text().count("made by benchmarks/ablation.py") == 2
        and "1 seeds, stag.width=8. " in table.read_text()
    )
    assert [f.name for f in ablation.make_presets(tmp_path / "phantoms", ["samm"], 1, 2)] == ["samm"]
    with pytest.raises(SystemExit):
        ablation.main(["--out", str(tmp_path), "--only", "maps"])


@pytest.fixture
def au_bound(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("au_bound", ROOT / "benchmarks" / "au_bound.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_sheet(folder, emotion_of):
    """A CASME II sheet of 12 subjects: AU 1, AU 4, both and neither (always with AU 12), and surprise with AU 26."""
    rows = ["Subject,Filename,OnsetFrame,ApexFrame,OffsetFrame,Action Units,Estimated Emotion"]
    for subject in range(1, 13):
        for cell in ("12", "1+L12", "4+R12", "1+4+12", "26"):
            rows.append(f"{subject},clip{cell},1,2,3,{cell},{emotion_of[cell]}")
        rows.append(f"{subject},uncoded,1,2,3,?,happiness")
    (folder / "CASME2-coding.csv").write_text("\n".join(rows))


def test_pairs_of_aus_give_what_single_aus_cannot(au_bound, tmp_path):
    """Two classes by the exclusive or of two AUs: no linear model of AUs is right in all four cells, pairs always are."""
    write_sheet(
        tmp_path,
        {"12": "disgust", "1+4+12": "disgust", "1+L12": "happiness", "4+R12": "happiness", "26": "surprise"},
    )
    clips = au_bound.load_coded_clips("casme2", tmp_path)
    assert len(clips) == 12 * 5, "clips coded '?' are left out"
    data, inputs = au_bound.make_data("casme2", "3-class", clips)
    assert data.classes == ("negative", "positive", "surprise")
    assert inputs["aus"].shape == (60, 4)
    assert inputs["pairs"].shape == (60, 4 + 3), "1 with 4, 1 with 12, 4 with 12; 26 is always alone"
    row = au_bound.measure(data, inputs, 2, 4)
    assert row["pairs"]["uf1"] == 1
    # by hand: one of four cells wrong at least, F1 of the two classes 4/5 and 2/3 at most; surprise 1
    assert row["aus"]["uf1"] <= (4 / 5 + 2 / 3 + 1) / 3 + 1e-9
    assert row["aus"]["uf1_ci95"][1] < 1
    low, high = row["difference"]["ci95"]
    assert 0 < low <= row["difference"]["difference"] <= high
    majority = 2 * 24 / (24 + 60) / 3
    assert row["majority"]["uf1"] == pytest.approx(majority)


def test_pairs_of_aus_add_nothing_where_single_aus_decide(au_bound, tmp_path, capsys):
    """Control: classes by AU 4 alone. And the command: its table, its place in a page, a folder without sheets."""
    emotions = {"12": "happiness", "1+L12": "happiness", "4+R12": "disgust", "1+4+12": "disgust", "26": "surprise"}
    write_sheet(tmp_path, emotions)
    row = au_bound.measure(
        *au_bound.make_data("casme2", "3-class", au_bound.load_coded_clips("casme2", tmp_path)), 2, 4
    )
    assert row["aus"]["uf1"] == row["pairs"]["uf1"] == row["known"]["uf1"] == 1
    assert row["difference"]["ci95"] == [0, 0]
    page = tmp_path / "page.md"
    page.write_text("# Page\n\nbefore\n")
    au_bound.main(["--data", str(tmp_path), "--quick", "--markdown", str(page)])
    out, text = capsys.readouterr().out, page.read_text()
    assert "| casme2 | 3-class | 60 | 12 | 0.190 | 1.000 [1.000, 1.000] | 1.000 |" in out
    assert out.strip() in text
    assert text.startswith("# Page\n\nbefore\n")
    assert "made by benchmarks/au_bound.py" in text
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "missing"):
        with pytest.raises(SystemExit) as stopped:
            au_bound.main(["--data", str(tmp_path / folder)])
        assert stopped.value.code == 2
        assert "holds no annotation file with AU codes; expected .xlsx or .csv named casme2:" in capsys.readouterr().err


def test_alternatives_and_uncertain_aus_count_half(au_bound):
    from stagkit.datasets.au_codes import parse_aus

    coded = [parse_aus(cell).codes for cell in ("L12 or 14", "12+4(k)", "4+14?", "AD38+R4")]
    aus = au_bound.make_inputs(coded)["aus"]  # AD38, AU04, AU12, AU14
    np.testing.assert_array_equal(aus, [[0, 0, 0.5, 0.5], [0, 0, 1, 0], [0, 1, 0, 0.5], [1, 1, 0, 0]])


def test_aus_of_real_sheets_bound_the_score(au_bound, shared_data):
    """The numbers known from before: 5 classes of CASME II about .85, 7 of DFME about .47, and pairs add nothing there."""
    for name, mapping, clips, low, high in (
        ("casme2", "5-class", 241, 0.80, 0.88),
        ("dfme", "7-class", 1856, 0.44, 0.50),
    ):
        data, inputs = au_bound.make_data(name, mapping, au_bound.load_coded_clips(name, shared_data / "annotations"))
        assert len(data) == clips
        row = au_bound.measure(data, inputs, 1, 3)
        assert low < row["aus"]["uf1"] < high
        assert abs(row["difference"]["difference"]) < 0.03
