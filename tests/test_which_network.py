"""An explorer, a report and an explanation name the network they ask, and refuse one that was trained on the clip."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.run import Run, RunError
from stagkit.explorers import plot_au_graph
from stagkit.explorers.run.scene import compute_table
from stagkit.explorers.sources import OWN_FOLD, RunSource
from tests.small import make_dataset

SMALL, ONCE = StagConfig(width=8, heads=1, graph_layers=1, time_layers=1), TrainConfig(epochs=1)


def load(run, data, monkeypatch):
    monkeypatch.setattr(Run, "load_data", lambda self: data)
    return Run.load(run.path)


@pytest.fixture(scope="module")
def loso(tmp_path_factory):
    data = make_dataset(n_subjects=3, per_subject=3)
    return evaluate(data, tmp_path_factory.mktemp("which") / "loso", SMALL, ONCE, seeds=2, workers=1), data


@pytest.fixture(scope="module")
def cross(tmp_path_factory):
    """Three data sets: every clip is tested by the networks of the two others."""
    data = make_dataset(n_subjects=6, per_subject=3)
    people = sorted(set(data.subjects))
    data = replace(data, datasets=tuple("abc"[people.index(s) % 3] for s in data.subjects))
    folder = tmp_path_factory.mktemp("which")
    return evaluate(data, folder / "cross", SMALL, ONCE, protocol="cross", seeds=2, workers=1), data


def test_each_clip_of_a_cross_run_is_listed_once_per_fold_that_tested_it(cross, monkeypatch):
    """It was listed twice with one copy at 1/3 for every class, and the fold of that copy was 0."""
    run, data = cross[0], cross[1]
    run = load(run, data, monkeypatch)
    source = RunSource(run)
    table = run.predictions
    assert len(source.clip_ids) == len(set(source.clip_ids)) == len(table) / 2 == 2 * len(data)
    for seed in (0, 1):
        said, rows = source.probabilities(seed), table[table["seed"] == seed]
        assert np.isfinite(said).all()
        assert np.allclose(said.sum(1), 1, atol=1e-4)
        for i, (subject, clip, fold) in enumerate(source.tests):
            row = rows[(rows["subject"] == subject) & (rows["clip"] == clip) & (rows["fold"] == fold)].iloc[0]
            assert said[i] == pytest.approx([row[f"p_{c}"] for c in data.classes])
            assert source.own_fold(i, seed) == fold
            assert not run.trained_on(fold, clip, data.clip_ids)
            assert run.split[fold]["name"] in source.clip_ids[i]
    scene, place = source.scene(3, 1)
    assert scene.probabilities[place] == pytest.approx(source.probabilities(1)[3], abs=1e-4)
    with pytest.raises(StagkitError, match="2 clips are called"):
        source.clip_index(data.clip_ids[0])
    assert source.clip_index(source.clip_ids[3]) == 3


def test_the_run_browser_counts_every_test_of_a_cross_run(cross, monkeypatch):
    """The answer of the last fold replaced that of the first."""
    run = load(*cross, monkeypatch)
    table = compute_table(run)
    assert len(table.clip_ids) == 2 * len(cross[1])
    assert table.confusion().tolist() == run.metrics["confusion"]
    assert table.tests == tuple(RunSource(run).tests)


def test_a_network_that_was_trained_on_the_clip_is_refused_unless_it_is_allowed(loso, monkeypatch):
    run = load(*loso, monkeypatch)
    source = RunSource(run)
    own = source.own_fold(0)
    other = (own + 1) % 3
    assert source.was_trained(0, 0, other) is True
    assert source.was_trained(0) is False
    assert source.allowed_folds(0) == [fold == own for fold in range(3)]
    for ask in (source.scene, source.network):
        with pytest.raises(RunError, match=f"network of seed 0, fold {other} .*, trained on this clip .*allow_trained"):
            ask(0, 0, other)
    with pytest.raises(RunError, match="trained on this clip"):
        plot_au_graph(run, fold=other)
    allowed = RunSource(run, allow_trained=True)
    assert allowed.network(0, 0, other) is not None
    assert "trained on this clip" in allowed.describe_network(0, 0, other)
    shown = [text.get_text() for text in plot_au_graph(run, fold=other, allow_trained=True).texts]
    assert any(f"seed 0, fold {other}" in text and "), trained on this clip" in text for text in shown)
    shown = [text.get_text() for text in plot_au_graph(run, seed=1).texts]
    assert any(f"seed 1, fold {own}" in text and "not trained on this clip" in text for text in shown)


def test_the_explorer_names_its_network_and_returns_to_the_one_that_was_tested(loso, monkeypatch):
    pytest.importorskip("anywidget")
    from stagkit.explorers import view_au_graph, view_run

    run = load(*loso, monkeypatch)
    own = RunSource(run).own_fold(0)
    with pytest.raises(RunError, match="trained on this clip"):
        view_au_graph(run, fold=(own + 1) % 3)
    widget = view_au_graph(run)
    assert "not trained on this clip" in widget._payload["network"]
    assert widget._payload["allowed"][own] and not widget._payload["trained"]
    with pytest.raises(StagkitError, match="trained on this clip"):
        widget.fold = (own + 1) % 3
    widget.fold = own
    far = next(i for i in range(len(widget.source.clip_ids)) if widget.source.own_fold(i) != own)
    widget.clip = far  # its own network has to be asked now
    assert widget.fold == OWN_FOLD
    assert "not trained on this clip" in widget._payload["network"]
    with pytest.raises(StagkitError, match="trained on this clip"):
        widget.fold = own
    allowed = view_au_graph(run, fold=(own + 1) % 3, allow_trained=True)
    assert allowed._payload["trained"]
    assert "not trained" in view_run(run).describe_network(0)


def test_a_clip_that_a_seed_did_not_test_has_no_network_and_no_probabilities(loso, monkeypatch, tmp_path):
    run, data = load(*loso, monkeypatch), loso[1]
    table = run.predictions
    lost = (table["seed"] == 1) & (table["clip"] == data.clip_ids[0])
    monkeypatch.setattr(Run, "predictions", table[~lost])
    source = RunSource(Run.load(run.path))
    at = source.clip_index(data.clip_ids[0])
    assert np.isnan(source.probabilities(1)[at]).all()
    assert np.isfinite(source.probabilities(0)).all()
    with pytest.raises(StagkitError, match="was not tested by seed 1"):
        source.own_fold(at, 1)
    with pytest.raises(StagkitError, match="was not tested by seed 1"):
        source.scene(at, 1)


def test_an_explanation_says_which_network_it_asked(loso, monkeypatch):
    from stagkit.explain.run import explain_run

    run = load(*loso, monkeypatch)
    _, out = explain_run(run.path, seed=1, n_steps=4, controls=False)
    clips = pd.read_csv(out / "clips.csv")
    rows = run.predictions[run.predictions["seed"] == 1].set_index("clip")
    assert (clips["seed"] == 1).all() and not clips["trained_on_clip"].any()
    assert clips["fold"].tolist() == rows.loc[clips["clip"], "fold"].tolist()
    words = json.loads((out / "summary.json").read_text())["networks"]
    assert "seed 1" in words and "none was trained on" in words


def test_the_weights_of_a_run_say_which_networks_are_asked(loso, monkeypatch):
    from stagkit.inference.pretrained import load_weights

    run = loso[0]
    request = {**run.request, "data": {**run.request["data"], "flow": {}, "roi": {}}}
    monkeypatch.setattr("stagkit.inference.pretrained.Run.load", lambda path, **named: Run(run.path, request))
    assert "seed 0, folds 0 to 2" in load_weights(run.path).training_summary
    assert "no test" in load_weights(run.path).training_summary


def test_an_explanation_refuses_a_network_that_was_trained_on_the_clip(loso, monkeypatch):
    """A run whose predictions name another fold than the one that tested the clip."""
    from stagkit.explain.run import compute_run_attribution, explain_run

    run = load(*loso, monkeypatch)
    table = run.predictions.copy()
    table["fold"] = (table["fold"] + 1) % 3
    monkeypatch.setattr(Run, "predictions", table)
    run = Run.load(run.path)
    for ask in (
        lambda: explain_run(run.path, n_steps=4, controls=False),
        lambda: compute_run_attribution(run, n_steps=4),
        lambda: RunSource(run).scene(0),
    ):
        with pytest.raises(RunError, match="trained on this clip"):
            ask()
