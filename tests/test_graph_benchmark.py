"""The graph benchmark: its edges and measures by hand; it runs, resumes, and writes its tables between their marks."""

import importlib
import json

import numpy as np
import pytest
import torch

from stagkit.core.regions import ATLAS
from tests.lockfile import ROOT


@pytest.fixture
def graph(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    return importlib.import_module("graph")


@pytest.fixture
def training(graph):
    return importlib.import_module("graph_training")


def test_quick(graph, training, monkeypatch, tmp_path, capsys):
    """All parts; a second call trains only what is missing and gives the same numbers; control: another seed trains."""
    page = tmp_path / "graph.md"
    page.write_text((ROOT / "benchmarks" / "results" / "graph.md").read_text())
    options = ["--out", str(tmp_path / "out"), "--quick", "--workers", "1", "--seeds", "1"]
    graph.main(
        [*options, "--json", str(tmp_path / "r.json"), "--figure", str(tmp_path / "f.png"), "--markdown", str(page)]
    )
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["synkinesis_auroc"]) == {"trained", "untrained", "permuted"}
    assert result["synkinesis_auroc"]["untrained"] == 0.5
    assert list(result["relation_uf1"]) == ["0", "0.5", "1"]
    assert all(set(row) == {"graph", "no_au_edges"} for row in result["relation_uf1"].values())
    low, high = result["occlusion_gain_30_ci95"]
    assert low <= result["occlusion_gain_30"] <= high
    assert result["contribution_error"] < 1e-4 and result["median_top_edge_share"] > 0
    assert result["share_lost_without_edges"] == pytest.approx(1, abs=1e-6)
    structure = result["details"]["structure"]
    nothing_known = structure["removed"]["all region edges"]
    assert nothing_known["uf1"] <= structure["majority"] + 1e-9, "without edges one class is predicted for every clip"
    assert set(structure["trained"]) == {*training.EDGES, "minus"}
    text = page.read_text()
    assert "Not measured yet" not in text and text.count("Commit") == len(graph.PARTS)
    assert (tmp_path / "f.png").stat().st_size > 20_000
    files = sorted((tmp_path / "out").iterdir())
    n_trainings = 3 * 3 * 2 + 2 + 3 + len(training.EDGES) - 1
    assert len(files) == n_trainings and f"{n_trainings}/{n_trainings}" in capsys.readouterr().out

    trained = []
    run_training = graph.run_training
    monkeypatch.setattr(graph, "run_training", lambda *given: trained.append(given[0]) or run_training(*given))
    files[0].unlink()
    graph.main([*options, "--json", str(tmp_path / "again.json")])
    assert len(trained) == 1 and files[0].is_file(), "as after a training that was killed"
    again = json.loads((tmp_path / "again.json").read_text())
    assert {k: again[k] for k in again if k != "commit"} == {k: result[k] for k in result if k != "commit"}
    trained.clear()
    graph.main([*options[:-1], "2", "--only", "synkinesis"])
    assert [one.seed for one in trained] == [1, 1]


def test_edges_of_other_graphs(training):
    """What each kind keeps of the anatomical edges: numbers per AU, degrees, regions of the AU."""
    made = {kind: training.make_edges(kind, 3) for kind in training.EDGES}
    anatomy = made["graph"]
    for kind, edges in made.items():
        assert len(np.unique(edges, axis=0)) == len(edges), kind
        assert 0 <= edges.min() and edges[:, 1:].max() < len(ATLAS.names) and set(edges[:, 0]) == set(range(17)), kind

    def degrees(edges, column):
        return np.unique(edges[:, [0, column]], axis=0, return_counts=True)

    for column in (1, 2):
        for one, other in zip(degrees(anatomy, column), degrees(made["degree-matched"], column), strict=True):
            np.testing.assert_array_equal(one, other)
    assert not np.array_equal(np.unique(anatomy, axis=0), np.unique(made["degree-matched"], axis=0))
    counts = np.bincount(anatomy[:, 0])
    np.testing.assert_array_equal(np.bincount(made["random"][:, 0]), counts)
    np.testing.assert_array_equal(np.sort(np.bincount(made["permuted"][:, 0])), np.sort(counts))
    moved = [np.flatnonzero(row > 0) for row in ATLAS.incidence]
    np.testing.assert_array_equal(np.bincount(made["full"][:, 0]), [len(regions) ** 2 for regions in moved])
    for k, regions in enumerate(moved):
        own = made["regular"][made["regular"][:, 0] == k]
        assert set(own[:, 1]) == set(own[:, 2]) == set(regions)
        assert {len(set(np.bincount(own[:, column])[regions])) for column in (1, 2)} == {1}, (
            "the same degree everywhere"
        )
        assert abs(len(own) - counts[k]) <= len(regions) / 2
    assert (made["self"][:, 1] == made["self"][:, 2]).all()
    assert not np.array_equal(training.make_edges("random", 4), made["random"])


def test_test_subjects_are_never_training_subjects(training):
    """Of ``synkinesis``, whose seed plants the pairs, subjects are split; the others have phantoms of other seeds."""
    one = training.Training("synkinesis", "", "trained", 1)
    train, test = training.make_data(one, True)
    assert set(train.subjects).isdisjoint(test.subjects) and len(test)
    other = training.Training("synkinesis", "", "trained", 2)
    assert one.get_configs(False) != other.get_configs(False)
    for name, case in (("relations", "order 0.5"), ("presets", "")):
        train, test = training.Training(name, case, "graph", 0).get_configs(False)
        assert {c.seed for c in train}.isdisjoint(c.seed for c in test) and min(c.seed for c in train) >= 3000
        assert sum(c.subjects * c.clips for c in train) >= 300


def test_variants(training):
    """Without AU edges no AU edge has a term; other edges are put in; the default is left as it is."""
    train, test = training.make_data(training.Training("presets", "", "graph", 0), True)
    batch = test.batch()

    def run(data, variant):
        model = training.make_model(train, np.arange(len(train)), training.StagConfig(), 0)
        model.head.pairs.data.fill_(1.0)
        training.change_network(model, training.Training(data, "together 1", variant, 0))
        return model, model.eval()(batch.x, batch.mask, batch.times_ms).terms

    with torch.no_grad():
        assert run("relations", "no AU edges")[1].au_edges.abs().max() == 0
        assert run("relations", "graph")[1].au_edges.abs().max() > 0
        assert run("presets", "no imputation")[0].imputation is None
        np.testing.assert_array_equal(run("presets", "graph")[0].region_graph.index, training.make_edges("graph", 0))
        index = run("presets", "full")[0].region_graph.index
    np.testing.assert_array_equal(np.unique(index, axis=0), np.unique(training.make_edges("full", 0), axis=0))


def test_measures_by_hand(graph, training):
    logits = torch.tensor([[0.0, 2.0], [2.0, 0.0]])  # centred: -1 1, 1 -1: sum of squares 4
    assert training.compute_lost_share(logits, logits + 3) == 0
    assert training.compute_lost_share(logits, torch.full((2, 2), 7.0)) == 1
    assert training.compute_lost_share(logits, logits / 2) == 0.75
    assert training.compute_lost_share(logits, logits * 2) == -3
    values = np.array([[1.0, 2.0, 3.0], [4.0, np.nan, 100.0]])
    found = graph.compute_median(values, ["a", "b", "b"])
    assert found["median"] == 3.0 and found["ci95"][0] == 1.0 and found["ci95"][1] == 3.0, "of 1 4, of 2 3 100, of both"
    assert graph.compute_stability(np.array([[0, 1, 2.0], [1, 2, 3], [2, 1, 0]])) == pytest.approx((1 - 1 - 1) / 3)
    assert graph.compute_stability(np.ones((1, 3))) is None
    codes = np.array([[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 1, 0]])
    np.testing.assert_allclose(training.compute_phi(codes), np.diag([1, 1, 0]), atol=1e-12)


def test_mean_over_relations(graph):
    """UF1 of the pooled classes is the mean of UF1 over relations."""
    labels = {"together": [0, 1, 0, 1], "order": [0, 0, 1, 1], "side": [1, 0, 0, 0]}
    found = {
        graph.Training("relations", f"{r} {s:g}", variant, 0): {
            "label": label,
            "codes": [[0.0]] * 4,
            "subjects": ["a", "a", "b", "b"],
            "classes": ["x", "y"],
            "prediction": {"0": label if variant == "graph" else [0, 1, 1, 0]},
        }
        for r, label in labels.items()
        for s in graph.STRENGTHS
        for variant in ("graph", "no AU edges")
    }
    rows = graph.summarise_relations(graph.Results(found, 1))["relations"]["1"]
    assert rows["mean"]["graph"]["uf1"] == 1
    each = [rows[r]["no_au_edges"]["uf1"] for r in labels]
    assert rows["mean"]["no_au_edges"]["uf1"] == pytest.approx(np.mean(each)) and max(each) < 1
    assert rows["mean"]["minus"]["no_au_edges"]["difference"] == pytest.approx(1 - np.mean(each))
