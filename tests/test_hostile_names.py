"""Classes, data sets, subjects and clips may be called anything: what pandas takes for 'missing', markup, formulas, ..."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.evaluation.compare_runs import compare_runs
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.fold import FoldResult
from stagkit.evaluation.run import Run
from stagkit.evaluation.run_check import check_run
from stagkit.evaluation.sealed import Unblinding
from stagkit.explain.run import explain_run, load_evidence, load_graphs
from stagkit.plots.attributions import draw_attributions
from stagkit.reports.run_report import write_report
from tests.small import make_dataset

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
CLASSES = [
    ("None", "NA", "null"),
    ("nan", "<b>&amp;", "=1+1"),
    ('a,"b"', "two\nlines", "表情"),
    ("x" * 200, "😀", "$x^$"),
    (r"\input{/etc/passwd}", "a/b", "a_b"),
]
NAMES = [
    "None", "NA", "N/A", "null", "NULL", "nan", "NaN", "", "<b>", "<script>alert(1)</script>", "=1+1", "+1", "-1", "@x",
    "'q", "a,b", 'say "hi"', "two\nlines", "a\r\nb", "\t", "😀", "表情", "x" * 200, "a/b", "a_b", "..", "con", "1", "01",
    "1.0", "True", "$x^$", r"\input{x}", "{0}", "%s",
]  # fmt: skip


@pytest.fixture(params=CLASSES, ids=["missing", "markup", "commas", "long", "latex"])
def run(request, tmp_path, monkeypatch):
    """A finished run on 36 clips of 4 subjects, of two data sets, all with hostile names; and its data."""
    data = make_dataset(4, 9, 2, request.param)
    names = [NAMES[i % len(NAMES)] or "empty" for i in range(36)]
    data = replace(
        data,
        clip_ids=tuple(name if names.count(name) == 1 else f"{name}{i}" for i, name in enumerate(names)),
        subjects=tuple(f"NA/{NAMES[i // 9]}" if i < 18 else f"<i>/{NAMES[-1 - i // 9]}" for i in range(36)),
        datasets=("NA",) * 18 + ("<i>",) * 18,
    )
    monkeypatch.setattr("stagkit.datasets.prepare.load_data", lambda *_, **__: data)
    train = TrainConfig(epochs=1, batch_size=36)
    return evaluate(data, tmp_path / "run", TINY, train, "groupkfold", 2, workers=1), data


@pytest.mark.slow
def test_hostile_names_pass_through_every_command(run, tmp_path):
    run, data = run
    loaded = Run.load(run.path)
    table = loaded.predictions
    assert sorted(table["clip"]) == sorted(data.clip_ids)
    assert set(table["subject"]) == set(data.subjects)
    assert set(table["dataset"]) == {"NA", "<i>"}
    assert sorted(table["label"]) == sorted(data.classes[k] for k in data.label)
    assert set(loaded.metrics["per_dataset"]) == {"NA", "<i>"}
    evidence, out = explain_run(run.path, n_steps=1, controls=False)
    assert load_evidence(out).attribution.clip_ids == evidence.attribution.clip_ids
    assert set(load_graphs(out / "graph.npz")[1].clip_ids) == set(data.clip_ids)
    odd = [data.clip_ids.index(name) for name in ("a/b", "a_b")]
    order = [evidence.attribution.clip_ids.index(data.clip_ids[i]) for i in odd]
    exact = replace(evidence.select(order).attribution, convergence_delta=np.zeros(2))
    drawn = draw_attributions(exact, tmp_path / "drawn")
    assert len({path.name for path in drawn}) == len(drawn) == 2
    assert compare_runs(run.path, run.path)["n_clips"] == 36
    page = write_report(run.path, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "<script>alert(1)" not in page
    assert all(state == "ok" for _, state in check_run(run.path))


@pytest.mark.slow
def test_hostile_names_pass_through_figures_and_explorers(run, tmp_path):
    pytest.importorskip("anywidget", reason="the extra 'notebooks' is not installed")
    from stagkit.explorers.au_graph.widget import view_au_graph
    from stagkit.explorers.evidence.widget import view_evidence
    from stagkit.explorers.run.widget import view_run
    from stagkit.reports.paper import make_figures

    run, _ = run
    evidence, _ = explain_run(run.path, n_steps=1, controls=False)
    every = run.request["classes"][0] in (
        "nan",
        CLASSES[-1][0],
    )  # markup and latex; the others name classes in figure 7
    for path in make_figures([run.path], tmp_path / "figures", only=() if every else [7]):
        if path.suffix == ".tex":
            assert r"\input{/etc" not in path.read_text(encoding="utf-8")
    view_run(run.path)
    view_au_graph(run.path)
    view_evidence(evidence)


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30) | st.sampled_from(NAMES)


@settings(max_examples=60, deadline=None)
@given(st.lists(texts, min_size=3, max_size=3, unique=True), st.lists(texts, min_size=1, max_size=8), st.randoms())
def test_a_fold_is_read_as_it_was_written(tmp_path_factory, classes, names, rng):
    path = tmp_path_factory.mktemp("run")
    run = Run(path, {"classes": classes, "seeds": [0], "model": "other"})
    run.__dict__["split"] = [{}]
    rows = {
        "seed": 0, "fold": 0, "dataset": [rng.choice(names) for _ in names], "subject": names, "clip": names[::-1],
        "label": [rng.choice(classes) for _ in names], "prediction": [rng.choice(classes) for _ in names],
        **{f"p_{c}": [rng.random() for _ in names] for c in classes},
    }  # fmt: skip
    table = pd.DataFrame(rows)
    run.save_fold(FoldResult(0, 0, Unblinding("all", 0, "fixed", "2026-01-01T00:00:00+00:00"), {}, table))
    pd.testing.assert_frame_equal(run.collect(), table, check_dtype=False)
