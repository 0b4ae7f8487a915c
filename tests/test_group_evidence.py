"""Means of a group, affinities against books, and PyG and networkx that agree with ours."""

import networkx
import numpy as np
import pytest
import torch

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.class_means import compute_class_evidence, load_cooccurrence
from stagkit.explain.interop import RegionGraph, explain_with_pyg, to_networkx, to_pyg
from tests.test_sums import make_attribution
from tests.tiny import make_batch, make_model


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
    model, batch = make_model(), make_batch()
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


def test_au_graphs_carry_their_evidence(told):
    _, _, output = told
    graph = to_pyg(output, 0, of="au")
    assert graph.x[:, 0] == pytest.approx(output.au_logits[0].sigmoid().mean(0))
    assert to_networkx(output, 0, of="au").number_of_nodes() == 17
    with pytest.raises(ExplainError, match="'region' or 'au'"):
        to_pyg(output, of="face")


def test_pyg_explains_regions_and_leaves_the_network_as_it_was(told):
    """PyG's own scores take the explanation; the same seed gives the same mask; no gradient is left behind."""
    from torch_geometric.explain import GNNExplainer, fidelity, unfaithfulness

    model, batch, output = told
    graph = RegionGraph(model, batch, 1)
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
