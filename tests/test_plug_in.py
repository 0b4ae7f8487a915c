"""Own layers: what fits is let through, and each kind of fault is named; a network with one trains and is explained."""

from functools import partial

import numpy as np
import pytest
import torch
from torch import nn

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.course.exercises import check_answer
from stagkit.course.exercises.layers import ForgetsTheMask, KnowsPlaces, NeighbourMean, ShowsAnotherGraph
from stagkit.course.layer_contract import CONTRACT, check_layer
from stagkit.explain.custom_layers import CustomLayerError, replace_layers
from stagkit.explain.evidence import make_evidence
from stagkit.explain.faithfulness import CASCADE, randomise
from stagkit.network.model import GraphLayer, Stag, TimeLayer
from stagkit.training.train import train_fold
from tests.small import make_dataset
from tests.tiny import make_batch, make_model

SMALL = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1, head="fused")


class RunningMean(nn.Module):
    """A time layer without attention that reads each frame's past: order counts, and that is allowed."""

    def __init__(self, config, number):
        super().__init__()
        from stagkit.network.hooks import HookPoint

        self.value, self.attn = nn.Linear(config.width, config.width), HookPoint(f"time.{number}.attn")

    def forward(self, x, frame_mask):
        past = torch.ones(x.shape[1], x.shape[1]).tril() * frame_mask[:, None]
        shares = self.attn((past / past.sum(-1, keepdim=True).clamp_min(1))[:, None])
        return x + shares[:, 0] @ self.value(x), shares


class NoShortcut(NeighbourMean):
    """Returns tokens alone."""

    def forward(self, x, edges, mask):
        return super().forward(x, edges, mask)[0]


class Detached(NeighbourMean):
    def forward(self, x, edges, mask):
        out, shares = super().forward(x, edges, mask)
        return x + (out - x).detach(), shares


class InPlace(NeighbourMean):
    def forward(self, x, edges, mask):
        edges = edges.add_(0.1) if not edges.requires_grad else edges + 0.1
        return super().forward(x, edges, mask)


class Restless(NeighbourMean):
    def forward(self, x, edges, mask):
        out, shares = super().forward(x, edges, mask)
        return out + 1e-3 * torch.randn_like(out), shares


class MixesAxes(NeighbourMean):
    """The famous reshape: shapes fit, clips and frames are mixed."""

    def forward(self, x, edges, mask):
        out, shares = super().forward(x, edges, mask)
        other = (out - x).reshape(out.shape[1], out.shape[0], *out.shape[2:]).transpose(0, 1)
        return x + other, shares


class IgnoresEdges(NeighbourMean):
    def forward(self, x, edges, mask):
        return super().forward(x, torch.ones_like(edges), mask)


class Jumps(NeighbourMean):
    def forward(self, x, edges, mask):
        out, shares = super().forward(x, edges, mask)
        return x + (out - x) + 3.0 * (x > 0.3), shares


class Unused(NeighbourMean):
    def __init__(self, config, number):
        super().__init__(config, number)
        self.forgotten = nn.Linear(3, 3)


class WrongAxis(GraphLayer):
    """Shares summed over targets instead of sources."""

    def forward(self, x, edges, mask):
        out, attention = super().forward(x, edges, mask)
        return out, attention.transpose(-1, -2)


@pytest.mark.parametrize(("make", "place"), [(GraphLayer, "graph"), (NeighbourMean, "graph"), (TimeLayer, "time")])
def test_what_fits_is_let_through(make, place):
    report = check_layer(make, place)
    assert report.passed and not report.failed, str(report)
    assert [f.name for f in report.findings] == [n for n, (places, _) in CONTRACT.items() if place in places]


def test_a_time_layer_may_know_the_order_of_frames():
    assert check_layer(RunningMean, "time").passed


@pytest.mark.parametrize(
    ("make", "broken"),
    [
        (NoShortcut, "shapes"),
        (WrongAxis, "attention"),
        (ForgetsTheMask, "mask"),
        (MixesAxes, "independence"),
        (KnowsPlaces, "order of regions"),
        (IgnoresEdges, "edges"),
        (ShowsAnotherGraph, "probes"),
        (Detached, "gradients"),
        (Unused, "gradients"),
        (InPlace, "no side effects"),
        (Restless, "no side effects"),
        (Jumps, "completeness"),
    ],
)
def test_each_fault_is_named(make, broken):
    report = check_layer(make)
    assert broken in report.failed, str(report)
    assert f"BROKEN  {broken}" in str(report) and "✗ broken" in report._repr_markdown_()


def test_an_unused_parameter_is_named():
    finding = next(f for f in check_layer(Unused).findings if f.name == "gradients")
    assert "forgotten.weight" in finding.text and "value" not in finding.text


def test_the_same_seed_finds_the_same_and_leaves_chance_alone():
    torch.manual_seed(3)
    first = check_layer(NeighbourMean).findings
    after = torch.rand(1)
    torch.manual_seed(3)
    assert torch.equal(after, torch.rand(1)) and check_layer(NeighbourMean).findings == first


def test_put_in_says_what_is_wrong():
    with pytest.raises(CustomLayerError, match="no slot 'head'.*graph or time"):
        replace_layers(make_model(), "head", NeighbourMean)
    with pytest.raises(CustomLayerError, match="no graph layers"):
        replace_layers(make_model(branches="time", head="fused"), "graph", NeighbourMean)
    with pytest.raises(CustomLayerError, match="made a NoneType, expected an nn.Module"):
        replace_layers(make_model(head="fused"), "graph", lambda config, number: None)
    with pytest.raises(CustomLayerError, match="no slot 'cross'"):
        check_layer(NeighbourMean, "cross")


def test_put_in_replaces_every_layer_of_its_place_and_nothing_else():
    model = make_model(graph_layers=2, head="fused")
    before = {n: p.clone() for n, p in model.named_parameters() if not n.startswith("graph.")}
    assert replace_layers(model, "graph", NeighbourMean) is model
    assert [type(layer) for layer in model.graph] == [NeighbourMean] * 2 and not model.graph[0].training
    after = dict(model.named_parameters())
    assert all(torch.equal(after[n], value) for n, value in before.items())
    assert [layer.attn.name for layer in model.graph] == ["graph.0.attn", "graph.1.attn"]


def test_neighbour_mean_is_the_weighted_mean_of_its_neighbours():
    """W1 = W2 = identity, SiLU and LayerNorm left out by hand: target 0 hears (1*a + 3*b) / 4."""
    layer = NeighbourMean(StagConfig(width=16, heads=2), 0).eval()
    layer.norm, layer.act = nn.Identity(), nn.Identity()
    with torch.no_grad():
        for linear in (layer.value, layer.back):
            linear.weight.copy_(torch.eye(16))
            linear.bias.zero_()
    x = torch.zeros(1, 1, 3, 16)
    x[..., 1, 0], x[..., 2, 0] = 8.0, 4.0
    edges = torch.tensor([[0.0, 1, 3], [0, 1, 0], [0, 0, 0]])[None, None]
    out, shares = layer(x, edges, torch.ones(1, 1, 3, dtype=torch.bool))
    assert shares[0, 0, 0].tolist() == [[0, 0.25, 0.75], [0, 1, 0], [0, 0, 0]]
    assert out[0, 0, :, 0].tolist() == [5.0, 16.0, 4.0]


def test_a_network_with_an_own_layer_learns_and_is_explained_with_controls():
    data = make_dataset()
    seen = []

    def change(model):
        seen.append(type(model.graph[0]))
        return replace_layers(model, "graph", NeighbourMean)

    model = train_fold(data, np.arange(18), SMALL, TrainConfig(epochs=8, batch_size=9, lr=5e-3), change=change)
    assert seen == [GraphLayer] and isinstance(model.graph[0], NeighbourMean) and not model.training
    batch = data.batch(np.arange(18, 24))
    answers = model.logits(batch.x, batch.mask, batch.times_ms).argmax(1)
    assert (answers == batch.label).float().mean() >= 5 / 6
    evidence = make_evidence(model, data.batch([18]), n_steps=64)
    assert evidence.checks()[0].passed and "randomised" in evidence.scores
    other = randomise(model, CASCADE)
    assert isinstance(other.graph[0], NeighbourMean) and isinstance(model.graph[0], NeighbourMean)
    assert not torch.equal(other.graph[0].value.weight, model.graph[0].value.weight)


def test_training_with_the_own_layer_of_the_library_changes_nothing():
    """``change`` that changes nothing leaves every bit as it was."""
    data, settings = make_dataset(), TrainConfig(epochs=1, batch_size=9)
    plain = train_fold(data, np.arange(18), SMALL, settings)
    same = train_fold(data, np.arange(18), SMALL, settings, change=lambda model: None)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), same.parameters(), strict=True))


def test_kept_by_its_state():
    first = replace_layers(Stag(SMALL, 3), "graph", NeighbourMean).eval()
    again = replace_layers(Stag(SMALL, 3), "graph", NeighbourMean).eval()
    again.load_state_dict(first.state_dict())
    batch = make_batch()
    one, two = (m.logits(batch.x, batch.mask, batch.times_ms) for m in (first, again))
    assert torch.equal(one, two)


class Sharpened(NeighbourMean):
    def forward(self, x, edges, mask):
        return super().forward(x, edges.square(), mask)


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (("attention", "mask"), True, "do not move"),
        (["mask"], False, "1 of 2"),
        ("edges", False, "keeps at least one"),
        (["masks"], False, "not the name of a rule"),
        ([], False, "does break some"),
    ],
)
def test_exercise_broken_promises(answer, ok, words):
    verdict = check_answer("21.1", answer, layer=ForgetsTheMask)
    assert verdict.ok is ok and words in verdict.text


def test_exercise_parameters():
    model, own = Stag(SMALL, 3), replace_layers(Stag(SMALL, 3), "graph", partial(NeighbourMean))
    count = [sum(p.numel() for p in network.parameters()) for network in (model, own)]
    given = {"model": model, "own": own}
    assert check_answer("21.2", count[0] - count[1], **given).ok
    assert "reversed" in check_answer("21.2", count[1] - count[0], **given).text
    assert "difference of both" in check_answer("21.2", count[0], **given).text
    assert check_answer("21.2", 12, **given).ok is False


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (Sharpened, True, "both used and shown"),
        (NeighbourMean, False, "square the edges"),
        (ShowsAnotherGraph, False, "not what is used"),
        (ForgetsTheMask, False, "it breaks 'attention'"),
        (GraphLayer, False, "not the squared"),
        (nn.Linear(1, 1), False, "give its *class*"),
    ],
)
def test_exercise_honest_sharpening(answer, ok, words):
    verdict = check_answer("21.3", answer)
    assert verdict.ok is ok and words in verdict.text
