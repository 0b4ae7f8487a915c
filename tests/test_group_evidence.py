"""Means of a group, affinities against books, and PyG and networkx that agree with ours."""

import networkx
import numpy as np
import pytest
import torch

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.class_means import compute_class_evidence, load_cooccurrence
from stagkit.explain.interop import ClipGraph, explain_with_pyg, to_networkx, to_pyg
from tests.graphs import make_graph_model
from tests.test_sums import make_attribution
from tests.tiny import make_batch


def at(a: str, b: str) -> tuple[int, int]:
    return AU_LABELS.index(a), AU_LABELS.index(b)


def test_class_means_by_hand():
    values = np.zeros((2, 30))
    values[0, 4], values[1, 4] = 1.0, 3.0  # AU04L in both clips
    table = compute_class_evidence(make_attribution(values, axes="clip sided_au"), ["a", "b"])
    row = table[(table["class"] == "happiness") & (table["au"] == "AU04")].iloc[0]
    assert (row["mean"], row["low"], row["high"]) == (2.0, 1.0, 3.0)
    assert (row["n_clips"], row["n_subjects"]) == (2, 2)
    assert set(table["class"]) == {"happiness"}, "a class that nobody was explained for is left out"
    with pytest.raises(ExplainError, match="1 subjects for 2 clips"):
        compute_class_evidence(make_attribution(), ["a"])


def test_cooccurrence_is_read_from_the_counts():
    counts = load_cooccurrence(("CASME2",))
    assert 0.3 < counts[at("AU01", "AU02")] < 1
    assert counts[at("AU01", "AU12")] < 0.1
    assert (counts <= 1).all()


@pytest.fixture(scope="module")
def told():
    model, batch = make_graph_model(3), make_batch()
    with torch.no_grad():
        return model, batch, model(batch.x, batch.mask, batch.times_ms)


def test_graphs_keep_their_direction(told):
    _, _, output = told
    edges = output.edges[1, 2]
    graph = to_pyg(output, 1, 2)
    source, target = graph.edge_index
    assert torch.equal(edges[target, source], graph.edge_weight)
    assert graph.num_nodes == 22
    assert graph.names == list(ATLAS.names)
    other = to_networkx(output, 1, 2)
    name = ATLAS.names
    for s, t, w in zip(source.tolist(), target.tolist(), graph.edge_weight.tolist(), strict=True):
        assert other[name[s]][name[t]]["weight"] == pytest.approx(w)
    assert isinstance(other, networkx.DiGraph)
    assert to_networkx(output, 1, 2, least=1e9).number_of_edges() == 0


def test_contributions_of_region_edges_sum_to_what_the_graph_adds(told):
    """Of all AUs, in one frame and in the clip; the predicted class unless another is named."""
    _, _, output = told
    predicted = int(output.logits[1].argmax())
    for target, k in ((None, predicted), (2, 2)):
        whole = to_pyg(output, 1, target=target).contribution
        assert float(whole.sum() + output.terms.without[1, k]) == pytest.approx(float(output.logits[1, k]), abs=1e-5)
        each = sum(to_pyg(output, 1, t, target=target).contribution.sum() for t in range(4))
        assert float(whole.sum()) == pytest.approx(float(each), abs=1e-5)
    graph, other = to_pyg(output, 1), to_networkx(output, 1)
    for s, t, value in zip(*graph.edge_index.tolist(), graph.contribution.tolist(), strict=True):
        assert other[ATLAS.names[s]][ATLAS.names[t]]["contribution"] == pytest.approx(value)


def test_au_graphs_have_no_direction_and_carry_contributions(told):
    _, _, output = told
    graph, other = to_pyg(output, 0, of="au"), to_networkx(output, 0, of="au")
    torch.testing.assert_close(graph.x[:, 0], output.au_logits[0].sigmoid().mean(0))
    assert graph.is_undirected() and not graph.has_self_loops() and graph.num_edges == 2 * 136
    assert type(other) is networkx.Graph and other.number_of_nodes() == 17 and other.number_of_edges() == 136
    k, terms = int(output.logits[0].argmax()), output.terms
    pair = terms.au_edges[0, k][at("AU06", "AU12")]
    assert other["AU12"]["AU06"]["contribution"] == pytest.approx(float(pair))
    total = sum(value for _, _, value in other.edges(data="contribution"))
    assert total == pytest.approx(float(terms.au_edges[0, k].sum()), abs=1e-5)
    with pytest.raises(ExplainError, match="'region' or 'au'"):
        to_pyg(output, of="face")


def test_a_fused_head_has_regions_alone():
    batch, model = make_batch(), make_graph_model(3, head="fused")
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    assert "contribution" not in to_pyg(output, 0)
    assert to_networkx(output, 0).number_of_edges() > 0
    with pytest.raises(ExplainError, match="no au edges"):
        to_pyg(output, of="au")


def test_padding_does_not_count(told):
    model, batch, _ = told
    longer = [torch.cat([v, torch.zeros_like(v[:, :2])], 1) for v in (batch.x, batch.mask, batch.times_ms)]
    with torch.no_grad():
        short, long = model(batch.x, batch.mask, batch.times_ms), model(*longer)
    for of in ("region", "au"):
        one, other = to_pyg(short, 1, of=of), to_pyg(long, 1, of=of)
        torch.testing.assert_close(one.edge_weight, other.edge_weight, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.contribution, other.contribution, atol=1e-5, rtol=0)


def test_pyg_explains_regions_and_leaves_the_network_as_it_was(told):
    """PyG's own scores take the explanation; the same seed gives the same mask; no gradient is left behind."""
    from torch_geometric.explain import GNNExplainer, fidelity, unfaithfulness

    model, batch, output = told
    graph = ClipGraph(model, batch, 1)
    assert torch.allclose(graph(graph.x, graph.edge_index)[0], output.logits[1], atol=1e-5)
    explainer, explanation = explain_with_pyg(model, batch, 1, GNNExplainer(epochs=3))
    mask = explanation.node_mask[:, 0]
    assert mask.shape == (22,) and ((0 <= mask) & (mask <= 1)).all()
    assert torch.equal(mask, explain_with_pyg(model, batch, 1, GNNExplainer(epochs=3))[1].node_mask[:, 0])
    assert set(fidelity(explainer, explanation)) <= {0.0, 1.0} and 0 <= unfaithfulness(explainer, explanation) <= 1
    assert not model.training
    with torch.no_grad():
        again = model(batch.x, batch.mask, batch.times_ms)
    assert torch.equal(again.logits, output.logits)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
