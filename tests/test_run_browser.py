"""The run browser: its cells hold the right clips, its lists are in the order they claim, a click opens an explorer."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.datasets.prepare import load_data
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import compute_pooled
from stagkit.evaluation.run import FORMAT, Run, RunError
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from tests.small import renew_digests, save_maps

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

from stagkit.explorers import view_run
from stagkit.explorers.run.scene import compute_table

CLASSES = ("negative", "positive", "surprise")


def make_run(path, n_subjects=4, per=6, classes=CLASSES, seeds=(0, 1), rows=None, **request) -> Run:
    """A finished run that never ran: its predictions are made up (mostly right; the first subject is hard)."""
    rng = np.random.default_rng(0)
    if rows is None:
        rows = []
        for seed in seeds:
            for s in range(n_subjects):
                for c in range(per):
                    label = (s + c) % len(classes)
                    logits = rng.standard_normal(len(classes)) + (1.8 if s else 0.1) * np.eye(len(classes))[label]
                    p = np.exp(logits) / np.exp(logits).sum()
                    subject, clip = f"set/sub{s + 1:02d}", f"sub{s + 1:02d}_{c + 1:03d}"
                    head = {"seed": seed, "dataset": "set", "fold": s, "subject": subject, "clip": clip}
                    names = {"label": classes[label], "prediction": classes[p.argmax()]}
                    rows.append({**head, **names, **{f"p_{n}": v for n, v in zip(classes, p, strict=True)}})
    table = pd.DataFrame(rows)
    path.mkdir(parents=True)
    table.to_csv(path / "predictions.csv", index=False)
    complete = table if table.groupby("seed").size().nunique() == 1 else table[table["seed"] == seeds[0]]
    (path / "metrics.json").write_text(json.dumps({"classes": list(classes), **compute_pooled(complete, classes)}))
    what = {"format": FORMAT, "model": "stag", "protocol": "loso", "seeds": list(seeds), "data": {}, "data_path": ""}
    what["classes"] = list(classes)
    (path / "run.json").write_text(json.dumps({**what, **request}))
    renew_digests(path)
    return Run.load(path)


def row(subject, clip, label, *chances, seed=0):
    """One prediction of two classes, written by hand."""
    p = {"p_no": chances[0], "p_yes": chances[1]}
    return {"seed": seed, "dataset": "d", "fold": 0, "subject": subject, "clip": clip, "label": label,
            "prediction": ("no", "yes")[int(np.argmax(chances))], **p}  # fmt: skip


BY_HAND = [
    row("a", "a1", "no", 0.8, 0.2),
    row("a", "a2", "yes", 0.15, 0.85),
    row("a", "a3", "no", 0.3, 0.7),  # wrong, though its subject is well known
    row("b", "b1", "no", 0.4, 0.6),
    row("b", "b2", "yes", 0.9, 0.1),  # the worst
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run")


def test_the_orders_are_those_worked_out_by_hand(tmp_path):
    table = compute_table(make_run(tmp_path / "r", rows=BY_HAND, classes=("no", "yes"), seeds=(0,)))
    assert table.true_probability() == pytest.approx([0.8, 0.85, 0.3, 0.4, 0.1])
    names = [table.clip_ids[i] for i in table.order("worst")]
    assert names == ["b2", "a3", "b1", "a1", "a2"]
    # a3: its subject's others got (0.8 + 0.85) / 2, its class's others (0.8 + 0.4) / 2
    assert table.surprise()[2] == pytest.approx(0.3 - (0.825 + 0.6) / 2)
    assert table.surprise()[4] == pytest.approx(0.1 - (0.4 + 0.85) / 2)
    assert table.surprise()[1] == pytest.approx(0.85 - (0.55 + 0.1) / 2)
    # one is right where its like fail, the other wrong where its like succeed; then a3
    assert [table.clip_ids[i] for i in table.order("surprising")][:3] == ["a2", "b2", "a3"]
    assert table.confusion().tolist() == [[1, 2], [1, 1]]
    assert [table.clip_ids[i] for i in table.cell("no", "yes")] == ["a3", "b1"]
    assert [table.clip_ids[i] for i in table.cell("yes", "no")] == ["b2"]
    worst, best = table.by_subject()
    assert (worst["name"], worst["accuracy"], worst["probability"]) == ("b", 0.0, 0.25)
    assert (best["name"], best["clips"], best["accuracy"]) == ("a", 3, pytest.approx(2 / 3, abs=1e-4))


def test_cells_hold_as_many_clips_as_they_count_and_all_seeds_add_up(run):
    table = compute_table(run)
    assert table.confusion().tolist() == run.metrics["confusion"]
    assert (table.confusion(0) + table.confusion(1)).tolist() == table.confusion().tolist()
    for seed in (0, 1):
        for i, true in enumerate(CLASSES):
            for j, predicted in enumerate(CLASSES):
                assert len(table.cell(true, predicted, seed)) == table.confusion(seed)[i, j]
    for seed in (-1, 0, 1):
        for order in ("worst", "surprising", "name"):
            assert sorted(table.order(order, seed)) == list(range(24))


def test_a_seed_that_did_not_test_a_clip_is_not_counted(tmp_path):
    rows = [*BY_HAND, *(row(r["subject"], r["clip"], r["label"], 0.5, 0.5, seed=1) for r in BY_HAND[:3])]
    table = compute_table(make_run(tmp_path / "r", rows=rows, classes=("no", "yes"), seeds=(0, 1)))
    assert table.confusion(1).sum() == 3 and table.confusion().sum() == 8
    assert table.true_probability()[4] == pytest.approx(0.1) and table.true_probability()[0] == pytest.approx(0.65)


def test_traits_choose_what_is_listed(run):
    widget = view_run(run, order="worst", cell=("negative", "positive"))
    table = widget.table
    assert widget.shown() and set(widget.shown()) == set(table.cell("negative", "positive"))
    chances = table.true_probability()[widget.shown()]
    assert (np.diff(chances) >= -1e-6).all()
    widget.subject = "set/sub01"
    assert {table.subjects[i] for i in widget.shown()} <= {"set/sub01"}
    widget.cell, widget.seed = [], 1
    assert len(widget.shown()) == 6


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("seed", 7, "-1, 0, 1"),
        ("order", "best", "'surprising'"),
        ("subject", "set/sub99", "'set/sub01'"),
        ("cell", ["negative"], "true class, predicted class"),
        ("cell", ["negative", "joy"], "'surprise'"),
        ("clip", 99, r"0\.\.23"),
        ("request", {"what": "puppet", "clip": 1}, "'evidence'"),
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(run, trait, value, says):
    widget = view_run(run)
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


def test_wrong_use_is_one_sentence(run, tmp_path):
    with pytest.raises(RunError, match="holds no run"):
        view_run(tmp_path)
    with pytest.raises(StagkitError, match="expected a Run"):
        view_run(3)
    with pytest.raises(StagkitError, match="'sub01_001'"):
        view_run(run, clip="nobody")
    with pytest.raises(StagkitError, match="no clip is selected"):
        view_run(run).explore("flow")
    with pytest.raises(StagkitError, match="expected a function"):
        view_run(run, frames=3)
    twice = [row("a", "x", "no", 0.9, 0.1), row("b", "x", "yes", 0.1, 0.9)]
    with pytest.raises(StagkitError, match=r"2 clips are called 'x'.*\[0, 1\]"):
        view_run(make_run(tmp_path / "twice", rows=twice, classes=("no", "yes"), seeds=(0,)), clip="x")
    broken = make_run(tmp_path / "broken")
    table = pd.read_csv(broken.path / "predictions.csv").drop(columns="fold")
    table.to_csv(broken.path / "predictions.csv", index=False)
    renew_digests(broken.path)
    with pytest.raises(StagkitError, match="no column 'fold'"):
        view_run(Run.load(broken.path))


def test_what_goes_wrong_after_a_click_is_told_in_the_browser(run):
    widget = view_run(run)
    widget.request = {"what": "evidence", "clip": 2}
    assert "cannot be read" in widget._problem and widget.explorer is None and widget._opened == {}


def test_a_run_that_is_no_evidence_says_so(tmp_path):
    widget = view_run(make_run(tmp_path / "leak", leaky=True))
    assert "leak demonstration" in widget._scene["warning"]
    assert view_run(make_run(tmp_path / "fine"))._scene["warning"] == ""


def test_442_clips_of_five_seeds_are_light(tmp_path):
    widget = view_run(make_run(tmp_path / "big", n_subjects=34, per=13, seeds=(0, 1, 2, 3, 4)))
    assert len(widget._scene["clips"]) == 442 and len(json.dumps(widget._scene)) < 300_000


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run with weights and data: a small network, one epoch, two folds."""
    home = tmp_path_factory.mktemp("trained")
    maps = save_maps(home / "maps.npz")
    small = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
    settings = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "data_path": maps}
    return evaluate(load_data(maps), home / "run", small, TrainConfig(epochs=1), **settings)


def test_one_click_opens_each_explorer_on_the_clip_that_was_clicked(trained):
    from stagkit.explorers.au_graph.widget import AUGraph
    from stagkit.explorers.evidence.widget import EvidenceExplorer
    from stagkit.explorers.flow.widget import FlowExplorer

    phantom = make_clip(PhantomConfig(preset="smic", subjects=1, clips=1, size=96, difficulty=0), 0, 0)
    widget = view_run(trained, frames=lambda clip_id: replace(phantom, clip_id=clip_id))
    clip = widget.table.order("worst")[0]
    clip_id = widget.table.clip_ids[clip]
    widget.request = {"what": "evidence", "clip": clip, "count": 1}
    assert widget._problem == "" and isinstance(widget.explorer, EvidenceExplorer)
    assert widget.explorer.given.clip_ids == (clip_id,) and widget.stage.children == (widget.explorer,)
    assert widget.explorer._payload["target"] == widget.table.predicted[0, clip]
    graph = widget.explore("au graph", clip)
    assert isinstance(graph, AUGraph) and widget.clip == clip
    shown = list(graph.probabilities.values())
    assert shown == pytest.approx(widget.table.probabilities[0, clip], abs=2e-3)
    flow = widget.explore("flow")
    assert isinstance(flow, FlowExplorer) and flow.shown_clip.clip_id == clip_id
    with pytest.raises(StagkitError, match="holds no frames"):
        view_run(trained).explore("flow", clip)


def test_page_and_mimebundle(run, tmp_path):
    widget = view_run(run)
    page = widget.to_html(tmp_path / "run.html")
    assert len(page) < 120_000
    assert set(re.findall(r"https?://[^\s\"'<>;)]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://graphml.graphdrawing.org/xmlns",
    }
    bundle, _ = widget._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == widget._box.model_id
    assert widget._box.children == (widget, widget.stage) and len(bundle["image/png"]) > 10_000
