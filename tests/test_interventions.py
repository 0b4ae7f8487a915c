"""An intervention does what its words say, alone and among others; without one, the network is unchanged."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.interventions import (
    Intervention,
    compute_edge_ablation,
    compute_edge_attention,
    compute_logits,
    compute_probabilities,
    get_region_edges,
    make_hooks,
    read_intervention,
)
from stagkit.network.hooks import intervene, record
from tests.graphs import make_graph_model
from tests.small import make_dataset

HEADS = ("graph", "fused")


@pytest.fixture(scope="module", params=HEADS)
def model(request):
    return make_graph_model(head=request.param)


@pytest.fixture(scope="module")
def graph_model():
    return make_graph_model()


@pytest.fixture(scope="module")
def one():
    return make_dataset().batch([1])


def logits(model, one, **given):
    with torch.no_grad():
        return model.logits(given.get("x", one.x), given.get("mask", one.mask), one.times_ms)[0].numpy()


def changed(model, one, probe, change):
    """Logits with a hook of its own, written here."""

    def hook(value):
        value = value.clone()
        change(value)
        return value

    with intervene(model, {probe: hook}):
        return logits(model, one)


def edge(target, source, au=None):
    """Positions of the edges from ``source`` to ``target``."""
    index = get_region_edges()
    found = (index[:, 1] == ATLAS.index(target)) & (index[:, 2] == ATLAS.index(source))
    return np.flatnonzero(found & (index[:, 0] == AU_LABELS.index(au)) if au else found)


def test_without_a_change_it_is_the_network(model, one):
    np.testing.assert_allclose(compute_logits(model, one, [[]])[0], logits(model, one), atol=1e-6)
    assert compute_probabilities(model, one).sum() == pytest.approx(1, abs=1e-12)


def test_every_kind_of_change_is_what_the_probes_do(model, one):
    """Each against its own, independent way of doing it; and all in one call as in calls of their own."""
    chin = ATLAS.index("chin")
    assert len(edge("lip_corner_L", "upper_lip_L")) > 1 and len(edge("lip_corner_L", "upper_lip_L", "AU12")) == 1
    mask, x, no_frame, still = one.mask.clone(), one.x.clone(), one.mask.clone(), one.x.clone()
    mask[:, :, chin] = False
    x[:, :, chin] *= 0.5
    no_frame[:, 1] = False
    still[:, 1] = 0

    def region(weight, *names):
        def change(value):
            value[..., edge(*names)] = weight

        return changed(model, one, "graph.edges", change)

    def hold(activation):
        def change(value):
            value[..., AU_LABELS.index("AU12")] = np.log(activation / (1 - activation))

        return changed(model, one, "au.logits", change)

    cases = {
        ("region", "lip_corner_L", "upper_lip_L"): region(0.0, "lip_corner_L", "upper_lip_L"),
        ("region", "lip_corner_L", "upper_lip_L", 0.5): region(0.5, "lip_corner_L", "upper_lip_L"),
        ("region", "lip_corner_L", "upper_lip_L", "AU12"): region(0.0, "lip_corner_L", "upper_lip_L", "AU12"),
        ("region", "lip_corner_L", "upper_lip_L", "AU12", 3): region(3.0, "lip_corner_L", "upper_lip_L", "AU12"),
        ("au", "AU12"): hold(0.001),
        ("au", "AU12", 0.9): hold(0.9),
        ("region", "chin"): logits(model, one, mask=mask),
        ("region", "chin", 0.5): logits(model, one, x=x),
        ("frame", 1): logits(model, one, mask=no_frame),
        ("frame", 1, 0): logits(model, one, x=still),
    }
    if model.config.head == "graph":
        for names in (("AU06", "AU12"), ("AU12", "AU06")):
            cases[("au", *names)] = au_edge(model, one, 0.0)
            cases[("au", *names, 0.25)] = au_edge(model, one, 0.25)
    together = compute_logits(model, one, [[change] for change in cases])
    for change, answer, wanted in zip(cases, together, cases.values(), strict=True):
        np.testing.assert_allclose(answer, wanted, atol=5e-6, err_msg=str(change))
        np.testing.assert_allclose(compute_logits(model, one, [[change]])[0], wanted, atol=5e-6)
        assert np.abs(wanted - logits(model, one)).max() > 1e-5, change
    both = compute_logits(model, one, [[("frame", 1), ("region", "chin")]])[0]
    mask[:, 1] = False
    np.testing.assert_allclose(both, logits(model, one, mask=mask), atol=5e-6)


def au_edge(model, one, weight):
    def change(value):
        value[..., AU_LABELS.index("AU06"), AU_LABELS.index("AU12")] = weight

    return changed(model, one, "au.edges", change)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 999))
def test_any_combination_is_the_same_by_terms_and_by_the_whole_network(graph_model, one, seed):
    """``compute_logits`` reads the terms alone; with hooks, the whole network runs."""
    rng, index = np.random.default_rng(seed), get_region_edges()
    case = []
    for k, m, n in index[rng.permutation(len(index))[: rng.integers(1, 60)]]:
        case.append(["region", ATLAS.names[m], ATLAS.names[n], AU_LABELS[k], float(rng.uniform(0, 2))])
    case += [["au", *rng.permutation(AU_LABELS)[:2].tolist(), float(rng.uniform(0, 2))] for _ in range(9)]
    case += [["au", str(rng.choice(AU_LABELS)), float(rng.random())]]
    with intervene(graph_model, make_hooks(case)):
        whole = logits(graph_model, one)
    np.testing.assert_allclose(compute_logits(graph_model, one, [[], case])[1], whole, atol=1e-5)


def test_an_edge_times_a_weight_is_its_term_times_the_weight(graph_model, one):
    """In the AU's logit for region edges; in the logits of the classes for AU edges."""
    k, m = AU_LABELS.index("AU06"), AU_LABELS.index("AU12")
    with torch.no_grad():
        terms = graph_model(one.x, one.mask, one.times_ms).terms
    base, half = compute_logits(graph_model, one, [[], [["au", "AU12", "AU06", 0.5]]])
    np.testing.assert_allclose(base - half, 0.5 * terms.au_edges[0, :, k, m].numpy(), atol=1e-6)
    (place,) = edge("lip_corner_L", "upper_lip_L", "AU12")
    with record(graph_model, "au.logits") as seen:
        with intervene(graph_model, make_hooks([["region", "lip_corner_L", "upper_lip_L", "AU12", 0.5]])):
            logits(graph_model, one)
        half = seen["au.logits"].clone()
        logits(graph_model, one)
    lost = seen["au.logits"] - half
    np.testing.assert_allclose(lost[0, :, m], 0.5 * terms.au_terms[0, :, place], atol=1e-5)
    lost[..., m] = 0
    assert not lost.any(), "no other action unit changes"


def test_all_edges_removed_leave_nothing_of_the_clip(graph_model):
    batch = make_dataset().batch([0, 1])
    index = get_region_edges()
    everything = [["region", ATLAS.names[m], ATLAS.names[n], AU_LABELS[k]] for k, m, n in index]
    first, second = (compute_logits(graph_model, batch.select(torch.tensor([i])), [everything])[0] for i in (0, 1))
    np.testing.assert_allclose(first, second, atol=1e-6)
    with torch.no_grad():
        output = graph_model(batch.x, batch.mask, batch.times_ms)
    np.testing.assert_allclose(first, output.terms.without[0], atol=1e-6)


def test_the_effect_of_an_edge_is_that_of_its_removal_alone(model, one):
    effects, base = compute_edge_ablation(model, one)[0], logits(model, one)
    change = ["region", "lip_corner_L", "upper_lip_L", "AU12"]
    lost = (base - compute_logits(model, one, [[change]])[0])[base.argmax()]
    assert effects[edge("lip_corner_L", "upper_lip_L", "AU12")[0]] == pytest.approx(lost, abs=5e-6)


def test_removing_an_au_edge_takes_its_term(graph_model, one):
    """Exactly, in the logit of every class."""
    pairs = list(zip(*np.triu_indices(len(AU_LABELS), 1), strict=True))
    base, *removed = compute_logits(graph_model, one, [[], *([["au", AU_LABELS[k], AU_LABELS[m]]] for k, m in pairs)])
    with torch.no_grad():
        terms = graph_model(one.x, one.mask, one.times_ms).terms.au_edges[0].numpy()
    taken = np.array([terms[:, k, m] for k, m in pairs])
    np.testing.assert_allclose(base - np.array(removed), taken, atol=2e-6)
    assert (np.abs(taken).max(0) > 0.01).all()


def test_a_network_without_au_edges_says_so(one):
    model = make_graph_model(head="fused")
    with pytest.raises(Exception, match=r"no edges between action units \(head='graph' has\)"):
        compute_logits(model, one, [[["au", "AU06", "AU12"]]])


def test_without_exchange_each_region_has_its_own_edge_alone(one):
    """``graph='none'``: other edges than the standard ones, found in the network itself."""
    model = make_graph_model(graph="none")
    index = get_region_edges(model)
    assert (index[:, 1] == index[:, 2]).all() and len(index) < len(get_region_edges())
    assert compute_edge_ablation(model, one).shape == (1, len(index))
    with pytest.raises(Exception, match="no edge from upper_lip_L to lip_corner_L"):
        compute_logits(model, one, [[["region", "lip_corner_L", "upper_lip_L"]]])
    with intervene(model, make_hooks([["region", "chin", "chin"]], model)):
        without = logits(model, one)
    assert np.abs(without - logits(model, one)).max() > 1e-6


def test_padding_is_no_frame(graph_model, one):
    """Two padded frames change no effect."""
    from dataclasses import replace

    def pad(value):
        return torch.cat([value, torch.zeros_like(value[:, :2])], 1)

    longer = replace(one, x=pad(one.x), mask=pad(one.mask), times_ms=pad(one.times_ms))
    short, long = (compute_edge_ablation(graph_model, batch) for batch in (one, longer))
    np.testing.assert_allclose(long, short, atol=5e-6)
    cases = [[["au", "AU06", "AU12"]], [["au", "AU12"]], [["region", "chin"]], [["frame", 2]]]
    short, long = (compute_logits(graph_model, batch, cases) for batch in (one, longer))
    np.testing.assert_allclose(long, short, atol=5e-6)


def test_attention_sums_to_one_over_the_edges_of_an_au_into_a_region(model):
    batch = make_dataset().batch([0, 1])
    attention, index = compute_edge_attention(model, batch), get_region_edges()
    for k, m in np.unique(index[:, :2], axis=0):
        rows = (index[:, 0] == k) & (index[:, 1] == m)
        assert attention[:, rows].sum(1) == pytest.approx(np.ones(2), abs=1e-5)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (["region"], "is no intervention"),
        ("chin", "is no intervention"),
        (["tissue", "chin"], "'region', 'au', 'frame'"),
        (["region", "ear"], "'ear'"),
        (["region", "chin", "ear"], "'ear'"),
        (["region", "chin", "lower_lip", "AU99"], "'AU99'"),
        (["region", "chin", "", "AU12"], "is no intervention"),
        (["region", "chin", "lower_lip", "AU12", "AU17"], "one or two regions"),
        (["au", "AU99"], "'AU12'"),
        (["au", "AU12", 1.5], "from 0 to 1"),
        (["au", "AU12", "AU12"], "two different action units"),
        (["au", "AU12", "AU06", "AU04"], "one or two names"),
        (["region", "chin", -1], "0 or more"),
        (["region", "chin", float("nan")], "0 or more"),
        (["frame", "first"], "number of a frame"),
        (["frame", -1], "number of a frame"),
        (["frame", True], "number of a frame"),
    ],
)
def test_a_wrong_intervention_is_refused(entry, says):
    with pytest.raises(Exception, match=says):
        read_intervention(entry)


def test_a_frame_beyond_the_clip_and_an_empty_clip_are_refused(model, one):
    with pytest.raises(Exception, match=r"frames 0\.\.2"):
        compute_logits(model, one, [[["frame", 3]]])
    with pytest.raises(Exception, match="leave at least one"):
        compute_logits(model, one, [[["frame", k] for k in range(3)]])
    with pytest.raises(Exception, match="batch of one clip"):
        compute_logits(model, make_dataset().batch([0, 1]), [[]])
    with pytest.raises(Exception, match="no edge from chin to brow_mid_L in the subgraph of any action unit"):
        compute_logits(model, one, [[["region", "brow_mid_L", "chin"]]])
    with pytest.raises(Exception, match="no edge from upper_lip_L to lip_corner_L in the subgraph of AU04"):
        compute_logits(model, one, [[["region", "lip_corner_L", "upper_lip_L", "AU04"]]])


@pytest.mark.parametrize(
    "entry",
    [
        ["region", "chin"],
        ["region", "chin", "lower_lip"],
        ["region", "chin", "lower_lip", "AU17"],
        ["region", "chin", "lower_lip", "AU17", 0.0],
        ["region", "chin", "lower_lip", 2.0],
        ["au", "AU06", "AU12", 0.0],
        ["au", "AU12", 0.3],
        ["frame", 0],
        ["frame", 0, 0.0],
    ],
)
def test_reading_what_was_read_changes_nothing(entry):
    change = read_intervention(entry)
    assert isinstance(change, Intervention) and read_intervention(change) == change
    assert json.loads(json.dumps(change.to_list())) == entry
    assert str(change)


def test_hooks_for_any_batch(model):
    """One way only; a region itself is no part of the network."""
    batch, index = make_dataset().batch([0, 1]), get_region_edges()
    with intervene(model, make_hooks([["region", "chin", "lower_lip"]])), record(model, "graph.*") as seen:
        assert torch.isfinite(model.logits(batch.x, batch.mask, batch.times_ms)).all()
    there, back = edge("chin", "lower_lip"), edge("lower_lip", "chin")
    assert not seen["graph.terms"][..., there].any() and seen["graph.terms"][..., back].all()
    assert (seen["graph.edges"] == 0).sum() == 2 * 3 * len(there) and len(index) == seen["graph.edges"].shape[2]
    with pytest.raises(Exception, match="part of the input"):
        make_hooks([["region", "chin"]])


def test_hooks_are_gone_after_an_error(model, one):
    before = logits(model, one)
    with pytest.raises(Exception, match="leave at least one"):
        compute_logits(model, one, [[["au", "AU12"], *(["frame", k] for k in range(3))]])
    np.testing.assert_array_equal(logits(model, one), before)
