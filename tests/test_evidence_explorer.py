"""The evidence explorer: its bars are the sums of the attribution, its controls are those that were measured."""

import dataclasses
import json
import re

import numpy as np
import pytest
import torch

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.explain.aggregate import ExplainError, by_au, by_muscle, by_roi, to_map
from stagkit.explain.attribution import attribute
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.faithfulness import compute_curves
from tests.small import make_dataset, train_small

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

from stagkit.explorers import view_evidence


@pytest.fixture(scope="module")
def small():
    """A network, two of its test clips, their explanation, and the same with controls."""
    data = make_dataset(n_frames=3)
    model, batch = train_small(data), data.batch([18, 19])
    attribution = attribute(model, batch, n_steps=8)
    return model, batch, attribution, make_evidence(model, batch, attribution)


def test_bars_are_the_sums_and_the_map_adds_up_to_the_gap(small):
    *_, attribution, evidence = small
    widget = view_evidence(evidence, clip=1)
    bars = json.loads(json.dumps(widget._payload["bars"]))
    assert dict(bars["region"]) == pytest.approx(dict(zip(ATLAS.names, by_roi(attribution)[1], strict=True)), abs=1e-5)
    assert [v for _, v in bars["au"]] == pytest.approx(by_au(attribution)[1], abs=1e-5)
    assert [v for _, v in bars["muscle"]] == pytest.approx(by_muscle(attribution)[1], abs=1e-5)
    assert [n for n, _ in bars["au"]] == [*AU_LABELS, "none"]
    np.testing.assert_allclose(widget._payload["map"], to_map(attribution)[1], atol=1e-5)
    whole = attribution.logit_difference[1] + attribution.convergence_delta[1]
    for rows in bars.values():
        assert sum(v for _, v in rows) == pytest.approx(whole, abs=1e-3)
    table = widget.table()
    assert table["region"][0] == ATLAS.names[np.abs(by_roi(attribution)[1]).argmax()]


def test_controls_are_those_that_were_measured(small):
    model, batch, _, evidence = small
    payload = view_evidence(evidence)._payload
    assert [tuple(v) for v in payload["checks"]] == [tuple(v) for v in evidence.checks(0)]
    assert payload["areas"]["map"]["deletion"] == pytest.approx(evidence.scores["deletion"][0], abs=1e-4)
    assert payload["areas"]["random"]["insertion"] == pytest.approx(evidence.scores["insertion_random"][0], abs=1e-4)
    assert payload["curves"] is None and payload["random"] is None  # no network was given
    payload = view_evidence(evidence, model=model, batch=batch)._payload
    one = batch.select(torch.tensor([0]))
    curves = compute_curves(model, one, to_map(evidence.attribution)[:1], evidence.attribution.target[:1])
    assert payload["curves"]["map"]["deletion"] == pytest.approx(curves.deletion[0], abs=1e-3)
    assert payload["curves"]["map"]["deletion"][0] == pytest.approx(
        payload["curves"]["random"]["deletion"][0], abs=1e-3
    )
    assert np.shape(payload["random"]) == np.shape(payload["map"])
    assert not np.allclose(payload["random"], payload["map"], atol=0.05)


def test_a_bare_attribution_is_stamped_and_so_is_its_figure(small):
    *_, attribution, evidence = small
    widget = view_evidence(attribution)
    assert widget._payload["checks"] == [] and widget._payload["areas"] is None
    assert widget.evidence.scores == {}
    texts = [t.get_text() for axes in widget.to_figure().axes for t in axes.texts]
    assert "no control" in texts
    texts = [t.get_text() for axes in view_evidence(evidence, clip=1).to_figure().axes for t in axes.texts]
    assert "no control" not in texts and "complete" in texts
    assert view_evidence(Evidence(attribution, {}))._payload["checks"] == []  # evidence without a score is none


def test_another_class_and_method_are_computed_when_they_are_asked_for(small, monkeypatch):
    model, batch, attribution, evidence = small
    asked = []

    def quick(model, one, method, target, seed=0):
        asked.append((one.clip_ids, method, target))
        return make_quick(model, one, method, target)

    def make_quick(model, one, method, target):
        made = attribute(model, one, method, target)
        return Evidence(made, {"completeness": made.relative_delta})

    monkeypatch.setattr("stagkit.explorers.evidence.widget.make_evidence", quick)
    widget = view_evidence(evidence, model=model, batch=batch)
    explained = int(attribution.target[0])
    assert not asked
    widget.target = 1 - explained
    assert asked == [((batch.clip_ids[0],), "exact terms", 1 - explained)] and widget._problem == ""
    expected = attribute(model, batch.select(torch.tensor([0])), target=1 - explained)
    assert dict(widget._payload["bars"]["region"])["chin"] == pytest.approx(
        by_roi(expected)[0, ATLAS.index("chin")], abs=1e-4
    )
    widget.target, widget.method = -1, "feature ablation"
    assert asked[-1] == ((batch.clip_ids[0],), "feature ablation", explained)
    assert widget._payload["method"] == "feature ablation"
    before = len(asked)
    widget.method = "exact terms"
    assert len(asked) == before and widget._payload["key"] == f"0|exact terms|{explained}"


def test_without_a_network_the_reason_is_given(small):
    *_, attribution, evidence = small
    widget = view_evidence(evidence)
    widget.target = 1 - int(attribution.target[0])
    assert "no network to compute it" in widget._problem
    widget.target = -1
    assert widget._problem == ""


def test_selection_carries_the_value_and_follows_the_clip(small):
    *_, attribution, evidence = small
    widget = view_evidence(evidence)
    widget.selected = {"kind": "region", "name": "lip_corner_L"}
    assert widget.selected["value"] == pytest.approx(by_roi(attribution)[0, ATLAS.index("lip_corner_L")], abs=1e-5)
    widget.clip = 1
    assert widget.selected["value"] == pytest.approx(by_roi(attribution)[1, ATLAS.index("lip_corner_L")], abs=1e-5)
    widget.grouping = "au"
    assert widget.selected == {}
    widget.selected = {"kind": "au", "name": "AU12"}
    assert widget.selected["value"] == pytest.approx(by_au(attribution)[1, AU_LABELS.index("AU12")], abs=1e-5)


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("clip", 7, r"0\.\.1"),
        ("frame", 3, r"0\.\.2, or -1"),
        ("method", "tea leaves", "'gradient shap'"),
        ("target", 2, "-1, 0, 1"),
        ("grouping", "pixel", "'muscle'"),
        ("control", "random weights", "needs the network"),
        ("selected", {"kind": "au", "name": "AU99"}, "'AU12'"),
        ("selected", {"name": "AU12"}, "kind and name"),
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(small, trait, value, says):
    widget = view_evidence(small[3])
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


def test_wrong_use_is_one_sentence(small):
    model, batch, attribution, evidence = small
    edges = dataclasses.replace(
        attribution, values=np.zeros((2, 3, 2), np.float32), axes="clip time edge", edge_names=("a", "b")
    )
    for given, says in (
        (edges, "view_au_graph"),
        ([], "empty list"),
        (np.zeros(3), "expected an Evidence"),
        ([evidence, dataclasses.replace(attribution, method="other", clip_ids=("a", "b"))], "different clips"),
    ):
        with pytest.raises(StagkitError, match=says):
            view_evidence(given)
    with pytest.raises(StagkitError, match="belong together"):
        view_evidence(evidence, model=model)
    with pytest.raises(StagkitError, match="other clips"):
        view_evidence(evidence, model=model, batch=batch.select(torch.tensor([1, 0])))
    with pytest.raises(StagkitError, match="'clip018'"):
        view_evidence(evidence, clip="clip000")


def test_a_map_that_does_not_add_up_is_not_drawn(small):
    *_, attribution, _ = small
    lost = dataclasses.replace(attribution, convergence_delta=attribution.logit_difference * [0.5, 0.0])
    widget = view_evidence(lost)
    assert "map" not in widget._payload and "50" in widget._payload["refused"]
    assert "image/png" not in widget._repr_mimebundle_()[0]  # no still picture either
    widget.clip = 1
    assert widget._payload["refused"] == "" and len(widget._payload["map"]) == 3
    with pytest.raises(ExplainError):
        view_evidence(lost).to_figure()


def test_300_clips_travel_one_at_a_time(small):
    *_, attribution, _ = small
    index = np.arange(300) % 2
    arrays = {
        n: getattr(attribution, n)[index]
        for n in ("values", "target", "logit_difference", "convergence_delta", "times_ms", "mask", "flow")
    }
    many = dataclasses.replace(attribution, clip_ids=tuple(f"c{i:03d}" for i in range(300)), **arrays)
    widget = view_evidence(many, clip="c123")
    assert widget._payload["key"].startswith("123|") and len(widget._cache) == 1
    assert len(json.dumps([widget._payload, widget._scene])) < 40_000
    assert len(widget.to_html(clips=[0, "c001"])) < 200_000


def test_page_is_self_contained_and_small(small, tmp_path):
    *_, evidence = small
    page = view_evidence(evidence).to_html(tmp_path / "evidence.html")
    assert set(re.findall(r"https?://[^\s\"'<>;)]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://graphml.graphdrawing.org/xmlns",
    }
    assert len(page) < 150_000
    saved = json.loads(re.search(r'id="stag-data">(.*?)</script>', page)[1])["state"]
    assert len(saved["_saved"]) == 2 and saved["_live"] is False
    with pytest.raises(StagkitError, match="is a file, or lies below one"):
        view_evidence(evidence).to_html(tmp_path / "evidence.html" / "evidence.html")


def test_mimebundle_carries_a_picture(small):
    bundle, _ = view_evidence(small[3])._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and 10_000 < len(bundle["image/png"]) < 300_000
