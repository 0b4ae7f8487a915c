"""Exact terms: the sum is the logit, Captum finds the same, removing an edge takes its term, and where they are placed."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from captum.attr import IntegratedGradients

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError, by_au, by_edge, by_frame, by_roi, sum_over, to_map
from stagkit.explain.attribution import attribute
from stagkit.explain.exact_terms import (
    RELATIONS,
    get_region_edges,
    name_region_edges,
    place_terms,
    split_au_edges,
    tabulate_terms,
)
from stagkit.explain.interventions import compute_logits
from tests.graphs import make_graph_model
from tests.small import make_dataset

CLASSES = ("negative", "positive", "surprise")


@pytest.fixture(scope="module")
def model():
    return make_graph_model(3)


@pytest.fixture(scope="module")
def batch():
    """Three clips: one whole, one with hidden regions, one whose last frame is padding."""
    whole = make_dataset(n_frames=5, classes=CLASSES).batch([0, 1, 2])
    mask = whole.mask.clone()
    mask[1, :, [ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")]] = False
    mask[1, 2, :12] = False
    mask[2, -1] = False
    return replace(whole, mask=mask)


def output_of(model, batch):
    with torch.no_grad():
        return model(batch.x, batch.mask, batch.times_ms)


@pytest.mark.parametrize("method", ["exact terms", "exact edge terms"])
@pytest.mark.parametrize("target", [None, 0, 2])
def test_the_sum_is_the_logit(model, batch, method, target):
    found, output = attribute(model, batch, method, target), output_of(model, batch)
    clips = np.arange(3)
    logit, rest = (v.double().numpy()[clips, found.target] for v in (output.logits, output.terms.without))
    np.testing.assert_allclose(found.values.reshape(3, -1).sum(1, dtype=float) + rest, logit, atol=2e-6)
    assert np.abs(found.convergence_delta).max() < 2e-6
    assert np.abs(found.logit_difference).min() > 0.01, "there is something to explain"
    assert found.baseline == "zero flow (no motion)" and found.inputs == ("region edges",)
    assert not found.values[2, -1].any(), "padding has no terms"


def test_it_is_the_default_where_there_are_terms(model, batch):
    assert attribute(model, batch).method == "exact terms"
    fused = make_graph_model(3, head="fused")
    assert attribute(fused, batch, n_steps=2, search=False).method == "integrated gradients"
    for method in ("exact terms", "exact edge terms"):
        with pytest.raises(ExplainError, match="no sum of terms"):
            attribute(fused, batch, method)
    with pytest.raises(ExplainError, match="no sum of terms"):
        tabulate_terms(fused, batch)


@pytest.mark.parametrize("n_steps", [2, 5])
@pytest.mark.parametrize("target", [0, 1, 2])
def test_integrated_gradients_of_the_readout_are_the_exact_terms(model, batch, target, n_steps):
    """From the activations without edges to those of the clip; the readout is quadratic, so that two points suffice.

    Captum gives each AU's activation and sidedness a share in every frame; the terms of the AU's edges sum to it.
    """
    graph, head, output = model.region_graph, model.head, output_of(model, batch)
    frames = batch.mask.any(2).float()
    with torch.no_grad():
        balance = output.terms.au_terms @ (graph.side[:, None] * graph.of_au)
        active, sided = head.compute_activations(output.au_logits, balance, frames)
        start, _ = head.compute_activations(graph.bias.expand_as(output.au_logits), balance, frames)

    def readout(active, sided):
        seen = frames.repeat(len(active) // len(frames), 1)
        weights = torch.ones(len(active), 17, 17)
        nodes, pairs = head.read(active, sided, seen, weights)
        return head.bias + nodes.sum(2) + pairs.sum((2, 3))

    captum = IntegratedGradients(readout).attribute(
        (active, sided), (start, torch.zeros_like(sided)), target=target, n_steps=n_steps
    )
    expected = sum(captum).detach().numpy()
    found = attribute(model, batch, "exact edge terms", target).values @ graph.of_au.numpy()
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_allclose(sum_over(attribute(model, batch, target=target), "time", "au"), expected, atol=2e-6)
    assert np.abs(expected).max() > 0.02


def test_a_region_edge_removed_is_its_term_missing_in_the_logit_of_its_au(model, batch):
    """Any set of edges; the other AUs keep their logits."""
    output, rng = output_of(model, batch), np.random.default_rng(0)
    kept = torch.from_numpy(rng.random(284) > 0.4).float().expand(3, 5, 284)
    with torch.no_grad():
        without = model(batch.x, batch.mask, batch.times_ms, kept)
    lost = (output.terms.au_terms * (1 - kept)) @ model.region_graph.of_au
    torch.testing.assert_close(output.au_logits - without.au_logits, lost, atol=2e-6, rtol=0)


def test_an_au_edge_removed_is_its_term_missing_in_every_logit(model, batch):
    output = output_of(model, batch)
    for clip in range(3):
        one = batch.select(torch.tensor([clip]))
        pairs = [(2, 8), (0, 1), (5, 16)]
        base, *after = compute_logits(model, one, [[], *([["au", AU_LABELS[k], AU_LABELS[m]]] for k, m in pairs)])
        for (k, m), logits in zip(pairs, after, strict=True):
            np.testing.assert_allclose(base - logits, output.terms.au_edges[clip, :, k, m], atol=2e-6)


def test_no_motion_is_no_region_edges(model, batch):
    """The baseline of all methods: the logits of a face without motion are those without edges."""
    with torch.no_grad():
        rest = model.logits(torch.zeros_like(batch.x), batch.mask, batch.times_ms)
    torch.testing.assert_close(rest, output_of(model, batch).terms.without, atol=2e-6, rtol=0)
    exact, gradients = (attribute(model, batch, m, 1, n_steps=64) for m in (None, "integrated gradients"))
    np.testing.assert_allclose(exact.logit_difference, gradients.logit_difference, atol=2e-6)
    assert exact.baseline == gradients.baseline == "zero flow (no motion)"


def test_a_region_at_rest_gets_nothing(model, batch):
    x, rest = batch.x.clone(), [ATLAS.index("chin"), ATLAS.index("cheek_R")]
    x[:, :, rest] = 0
    found = attribute(model, replace(batch, x=x))
    assert not found.values[:, :, rest].any() and found.values[:, :, ATLAS.index("lower_lip")].any()


def test_a_term_is_placed_at_the_target_by_hand(model, batch):
    mask, names = torch.ones(1, 1, 22, dtype=torch.bool), name_region_edges(get_region_edges(model))
    terms = torch.zeros(1, 1, 284)
    terms[0, 0, names.index("AU12 lip_corner_L <- upper_lip_L")] = 2.0
    terms[0, 0, names.index("AU12 lip_corner_L <- lip_corner_L")] = 0.5
    terms[0, 0, names.index("AU17 chin <- chin")] = -1.0
    placed = place_terms(model, terms, batch.x[:1, :1], mask)[0, 0]
    assert placed[ATLAS.index("lip_corner_L"), AU_LABELS.index("AU12")] == 2.5
    assert placed[ATLAS.index("chin"), AU_LABELS.index("AU17")] == -1.0
    assert torch.count_nonzero(placed) == 2


def test_what_falls_on_a_hidden_region_goes_to_those_it_was_estimated_from(model, batch):
    """By the weights of the estimate times the motion, written out here; nothing is lost."""
    index, hidden = get_region_edges(model), ATLAS.index("lip_corner_L")
    mask, terms = torch.ones(1, 1, 22, dtype=torch.bool), torch.zeros(1, 1, 284)
    mask[..., hidden] = False
    terms[0, 0, name_region_edges(index).index("AU12 lip_corner_L <- upper_lip_L")] = 2.0
    placed = place_terms(model, terms, batch.x[:1, :1], mask)[0, 0, :, AU_LABELS.index("AU12")].detach().numpy()
    scores, gain = (p[hidden].detach().numpy() for p in (model.imputation.scores, model.imputation.gain))
    speed = np.linalg.norm(batch.x[0, 0, :, :2].mean((2, 3)).numpy(), axis=1)
    neighbours = (ATLAS.anatomy[hidden] > 0) & (np.arange(22) != hidden)
    shares = np.where(neighbours, np.exp(scores) * np.abs(gain) * speed, 0)
    np.testing.assert_allclose(placed, 2 * shares / shares.sum(), atol=1e-6)
    assert placed[hidden] == 0 and placed[ATLAS.index("lip_corner_R")] > 0


def test_hidden_cells_get_nothing_and_nothing_is_lost(model, batch):
    found = attribute(model, batch)
    assert not found.values[~batch.mask.numpy()].any()
    whole = found.values.reshape(3, -1).sum(1, dtype=float)
    for table in (by_roi, by_au, by_frame):
        np.testing.assert_allclose(table(found).sum(1), whole, atol=1e-6)
    np.testing.assert_allclose(to_map(found).sum((1, 2)), whole, atol=1e-6)
    edges = attribute(model, batch, "exact edge terms")
    np.testing.assert_allclose(by_edge(edges) @ model.region_graph.of_au.numpy(), by_au(found)[:, :-1], atol=1e-6)


def test_relations_sum_to_the_edge_and_are_told_apart(model, batch):
    """Backwards in time, order alone changes its sign (one frame is padding: it stays at the end)."""
    parts, output = split_au_edges(model, batch), output_of(model, batch)
    np.testing.assert_allclose(parts.sum(2), output.terms.au_edges, atol=2e-6)
    for r, relation in enumerate(RELATIONS):
        assert np.abs(parts[:, :, r]).max() > 1e-4, relation
        with torch.no_grad():
            kept = model.head.pairs.clone()
            model.head.pairs[:, [i for i in range(3) if i != r]] = 0
            alone = output_of(model, batch).terms.au_edges
            model.head.pairs.copy_(kept)
        np.testing.assert_allclose(parts[:, :, r], alone, atol=2e-6, err_msg=relation)


@pytest.mark.parametrize("target", [None, 1])
def test_the_table_sums_to_logit_and_margin(model, batch, target):
    logits = output_of(model, batch).logits.double().numpy()
    for clip in range(3):
        table = tabulate_terms(model, batch, clip, target)
        chosen = int(logits[clip].argmax()) if target is None else target
        second = max((k for k in range(3) if k != chosen), key=lambda k: logits[clip, k])
        assert table.attrs == {"class": CLASSES[chosen], "runner_up": CLASSES[second]}
        for kinds in (("bias", "au", "au edge"), ("without region edges", "region edge")):
            part = table[table["kind"].isin(kinds)]
            assert part["logit"].sum() == pytest.approx(logits[clip, chosen], abs=2e-6)
            assert part["margin"].sum() == pytest.approx(logits[clip, chosen] - logits[clip, second], abs=2e-6)
        assert table["kind"].value_counts().to_dict() == {
            "au edge": 3 * 136, "region edge": 284, "au": 17, "bias": 1, "without region edges": 1
        }  # fmt: skip
    row = table[(table["kind"] == "region edge") & (table["au"] == "AU12") & (table["target"] == "lip_corner_L")]
    assert set(row["source"]) >= {"lip_corner_L", "upper_lip_L", "lip_corner_R"}
    with pytest.raises(ExplainError, match="classes 0 to 2"):
        tabulate_terms(model, batch, target=3)


def test_mirrored_edges_are_placed_on_mirrored_regions():
    """Mirrored terms are placed on mirrored regions, and the sides of all edges swap."""
    model = make_graph_model(2)
    index, graph = get_region_edges(model), model.region_graph
    place = {tuple(edge): i for i, edge in enumerate(index.tolist())}
    mirrored = [place[k, int(ATLAS.mirror[m]), int(ATLAS.mirror[n])] for k, m, n in index.tolist()]
    assert sorted(mirrored) == list(range(284)), "the mirror image of an edge is an edge"
    assert torch.equal(graph.side[mirrored], -graph.side)
    terms = torch.randn(1, 2, 284)
    mask = torch.ones(1, 2, 22, dtype=torch.bool)
    one, other = (place_terms(model, t, torch.zeros(1, 2, 22, 3, 5, 5), mask) for t in (terms, terms[..., mirrored]))
    torch.testing.assert_close(other, one[:, :, torch.from_numpy(ATLAS.mirror.copy())])
