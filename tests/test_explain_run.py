"""Explaining a run: every test clip once, with controls, resumable to the same numbers, readable again."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

import stagkit.explain.run as module
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.evaluate import evaluate
from stagkit.explain.aggregate import ExplainError, by_frame
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.run import describe_evidence, explain_run, find_ground_truth, load_evidence, load_graphs
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from tests.small import save_maps

SMALL = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    home = tmp_path_factory.mktemp("run")
    maps = save_maps(home / "maps.npz")
    settings = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "data_path": maps}
    return evaluate(load_data(maps), home / "run", SMALL, TrainConfig(epochs=2), **settings)


def test_all_is_written_and_read_again(run):
    evidence, out = explain_run(run.path)
    assert sorted(evidence.attribution.clip_ids) == sorted(load_data(run.request["data_path"]).clip_ids)
    again = load_evidence(out)
    assert np.array_equal(again.attribution.values, evidence.attribution.values)
    for name, values in evidence.scores.items():
        assert again.scores[name] == pytest.approx(values, rel=1e-4, abs=1e-6, nan_ok=True), name
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n_clips"] == 24
    assert summary["controls_held"]["complete"]["clips"] == 24
    assert summary["scores"]["completeness"]["n"] == 24
    assert "control" not in summary
    table = pd.read_csv(out / "by_muscle.csv", index_col="clip")
    assert table.sum(axis=1).to_numpy() == pytest.approx(by_frame(evidence.attribution).sum(1), abs=1e-3)
    clips = pd.read_csv(out / "clips.csv")
    assert clips["sentence"].str.contains("logits").all()
    assert "Controls hold: complete" in describe_evidence(evidence)


def test_the_terms_are_kept_with_three_digits(run):
    """Both sums of ``graph.npz`` are the logits, and the tables hold the terms of the explained class."""
    evidence, out = explain_run(run.path, controls=False)
    assert evidence.attribution.method == "exact terms"
    output, batch = load_graphs(out / "graph.npz")
    terms, model_edges = output.terms, np.load(out / "graph.npz")["region_edges"]
    assert batch.clip_ids == evidence.attribution.clip_ids and np.array_equal(model_edges, get_region_edges())
    assert terms.region_edges.shape[:2] == (24, 1) and terms.au_terms.shape[2] == 284
    assert terms.imputed.dtype == torch.bool and not terms.imputed.any()
    torch.testing.assert_close(terms.without + terms.region_edges.sum((1, 3)), output.logits, atol=5e-3, rtol=5e-3)
    for name, values in (("by_edge", terms.region_edges[:, 0]), ("by_au_edge", terms.au_edges)):
        table = pd.read_csv(out / f"{name}.csv", index_col="clip")
        chosen = values[np.arange(24), evidence.attribution.target].reshape(24, -1).numpy()
        np.testing.assert_allclose(table.sum(axis=1), chosen.sum(1), atol=1e-4)
    assert "AU12 lip_corner_L <- upper_lip_L" in pd.read_csv(out / "by_edge.csv") and table.shape == (24, 136)
    per_clip = (out / "graph.npz").stat().st_size / 24
    assert per_clip < 40_000, per_clip


def test_an_interrupted_explanation_goes_on(run, monkeypatch):
    """The second fold breaks; afterwards the first is not computed again, and the numbers are the same."""
    whole, _ = explain_run(run.path, n_steps=8)
    real, calls = module.make_evidence, []

    def breaks(*args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    monkeypatch.setattr(module, "make_evidence", breaks)
    with pytest.raises(KeyboardInterrupt):
        explain_run(run.path, n_steps=8)
    assert len(list((run.path / "explanations" / "seed0" / "parts").glob("*.npz"))) == 2
    again, out = explain_run(run.path, n_steps=8)
    assert len(calls) == 3
    assert again.attribution.clip_ids == whole.attribution.clip_ids
    assert np.array_equal(again.attribution.values, whole.attribution.values)
    for name in whole.scores:
        assert again.scores[name] == pytest.approx(whole.scores[name], nan_ok=True)
    assert not (out / "parts").exists()


def test_a_damaged_part_is_made_again(run, monkeypatch):
    monkeypatch.setattr(module, "_write", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        explain_run(run.path, n_steps=4, controls=False)
    monkeypatch.undo()
    part = next((run.path / "explanations" / "seed0" / "parts").glob("*fold000.npz"))
    part.write_bytes(part.read_bytes()[:100])
    evidence, out = explain_run(run.path, n_steps=4, controls=False)
    assert len(evidence) == 24
    assert evidence.scores == {}
    assert "not been tested" in json.loads((out / "summary.json").read_text())["control"]
    assert "No control" in describe_evidence(evidence)


def test_one_clip_and_bad_requests(run):
    clip = load_data(run.request["data_path"]).clip_ids[3]
    evidence, _ = explain_run(run.path, clips=[clip], controls=False)
    assert evidence.attribution.clip_ids == (clip,)
    with pytest.raises(ExplainError, match="no clip nobody"):
        explain_run(run.path, clips=["nobody"])
    with pytest.raises(ExplainError, match="seeds"):
        explain_run(run.path, seed=7)


def test_truth_of_phantoms_is_what_was_planted(tmp_path):
    source = PhantomSource(PhantomConfig(subjects=1, clips=2, size=64))
    data = prepare_dataset(source, tmp_path / "p")
    truth = find_ground_truth(data, [1])
    assert truth.clip_ids == (data.clip_ids[1],)
    assert np.array_equal(truth.aus[0], data.aus[1] > 0)
    assert np.isfinite(truth.peak_ms).all()


def test_truth_of_maps_is_what_was_annotated(run):
    data = load_data(run.request["data_path"])
    truth = find_ground_truth(data, [0, 1])
    assert truth.moved.any()
    assert np.isnan(truth.peak_ms).all()
