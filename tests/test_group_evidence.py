"""Means of a group, affinities against books, and PyG and networkx that agree with ours."""

import networkx
import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.class_means import (
    compare_affinities,
    compute_affinity,
    compute_class_evidence,
    compute_stability,
    load_cooccurrence,
    make_textbook_affinity,
)
from stagkit.explain.interop import (
    RegionGraph,
    compute_fidelity,
    compute_unfaithfulness,
    explain_with_gnn_explainer,
    make_explainer,
    to_networkx,
    to_pyg,
)
from stagkit.network.model import Stag
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


def test_textbook_affinity_by_hand():
    """AU06 stands in happiness alone, AU12 in happiness and contempt: one of two; AU01 and AU02 together in two of three."""
    book = make_textbook_affinity()
    assert book[at("AU06", "AU12")] == 1 / 2
    assert book[at("AU01", "AU02")] == 2 / 3
    assert book[at("AU06", "AU04")] == 0
    assert (book == book.T).all()


def test_cooccurrence_is_read_from_the_counts():
    counts = load_cooccurrence(("CASME2",))
    assert 0.3 < counts[at("AU01", "AU02")] < 1
    assert counts[at("AU01", "AU12")] < 0.1
    assert (counts <= 1).all()


def test_agreement_and_its_chance():
    book = make_textbook_affinity()
    same = compare_affinities(book, book, n_shuffles=200)
    assert same.rho == pytest.approx(1.0)
    assert same.p == pytest.approx(1 / 201, abs=0.01)
    noise = np.random.default_rng(0).random(book.shape)
    assert compare_affinities(book, noise, n_shuffles=200).p > 0.02
    assert np.isnan(compare_affinities(book, np.ones_like(book)).rho)
    assert compute_stability([book, book, book]) == pytest.approx(1.0)
    assert np.isnan(compute_stability([book]))


def test_the_affinity_starts_at_its_prior():
    prior = np.random.default_rng(0).uniform(0.1, 1.0, (17, 17))
    model = make_model(au_prior=prior)
    assert compute_affinity(model) == pytest.approx((prior + prior.T) / 2, abs=0.02)
    with pytest.raises(ExplainError, match="no AU-guided edges"):
        compute_affinity(make_model(connectivity="fixed"))


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


def test_pyg_scores_agree_with_ours(told):
    """fidelity and unfaithfulness of the same masks; PyG's need no more than its own explainer."""
    from torch_geometric.explain import GNNExplainer, fidelity, unfaithfulness

    _, batch, _ = told
    torch.manual_seed(3)
    model = Stag(StagConfig(width=16), 3).eval()
    for clip in (0, 1, 2):
        graph = RegionGraph(model, batch, clip)
        logits = graph(graph.x, graph.edge_index)
        assert torch.allclose(logits[0], model.logits(batch.x, batch.mask, batch.times_ms)[clip], atol=1e-5)
        explainer = make_explainer(graph, GNNExplainer(epochs=5))
        explanation = explainer(graph.x, graph.edge_index)
        mask = (explanation.node_mask[:, 0] > explanation.node_mask[:, 0].median()).float()
        explanation.node_mask = mask[:, None]
        assert not model.training
        plus, minus = compute_fidelity(model, batch.select(torch.tensor([clip])), mask.numpy()[None])
        assert fidelity(explainer, explanation) == (plus[0], minus[0])
        ours = compute_unfaithfulness(model, batch.select(torch.tensor([clip])), mask.numpy()[None])[0]
        assert ours == pytest.approx(unfaithfulness(explainer, explanation), abs=1e-5)


def test_gnn_explainer_leaves_the_network_as_it_was(told):
    model, batch, output = told
    mask = explain_with_gnn_explainer(model, batch, 0, epochs=3)
    assert mask.shape == (22,)
    assert ((0 <= mask) & (mask <= 1)).all()
    assert np.array_equal(mask, explain_with_gnn_explainer(model, batch, 0, epochs=3))
    assert not model.training
    with torch.no_grad():
        again = model(batch.x, batch.mask, batch.times_ms)
    assert torch.equal(again.logits, output.logits)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
