"""The AU graph predicts by a sum that can be written down: numbers by hand, and what each relation means."""

import numpy as np
import pytest
import torch

from stagkit.core.config import TrainConfig
from stagkit.network.action_units import GraphHead
from stagkit.network.hooks import intervene
from stagkit.network.losses import compute_loss
from tests.tiny import make_batch, make_inputs, make_model

torch.set_num_threads(1)
BOTH, ORDER, SIDE = 0, 1, 2
LN2 = float(np.log(2))


def close(a, b, atol=1e-5):
    torch.testing.assert_close(torch.as_tensor(a), torch.as_tensor(b), atol=atol, rtol=0)


def make_head(n_classes=3, n_aus=2, affinity=LN2, noise=0.0):
    """Class 0 reads that two AUs are active at once, class 1 that the first leads, class 2 that both are on one side."""
    torch.manual_seed(0)
    head = GraphHead(n_classes, n_aus).eval()
    with torch.no_grad():
        head.nodes.zero_()
        for relation in (BOTH, ORDER, SIDE):
            head.pairs[relation, relation] = 1 / head.SCALE
        head.partners.fill_(affinity)
        for parameter in head.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return head


def make_two_aus():
    """Two AUs in two frames: active to (1/2, 1/4) and (1/4, 3/4), left minus right (1/2, 0) and (-1/2, 1/2)."""
    active, balance = torch.tensor([[[0.5, 0.25], [0.25, 0.75]]]), torch.tensor([[[0.5, -0.5], [0.0, 0.5]]])
    return active.logit(), balance.atanh(), torch.ones(1, 2)


def test_two_aus_by_hand():
    r"""Every number on paper: SCALE * pairs = 1, exp(A) = 2, SCALE * nodes = (1, 2) for class 0.

    both at once: mean of 1/2 * 1/4 and 1/4 * 3/4 = 5/32; first one, then the other: 1/2 * 3/4 - 1/4 * 1/4 = 5/16;
    same side: mean of (1/4) * (-1/8) and 0 * 3/8 = -1/64; mean activations 3/8 and 1/2.
    """
    head = make_head()
    with torch.no_grad():
        head.nodes[0] = torch.tensor([1.0, 2.0]) / head.SCALE
        head.bias.copy_(torch.tensor([0.1, 0.2, 0.3]))
    logits, nodes, pairs, weights = head(*make_two_aus())
    close(nodes[0], torch.tensor([[3 / 8, 1.0], [0, 0], [0, 0]]))
    close(pairs[0, :, 0, 1], torch.tensor([5 / 16, 5 / 8, -1 / 32]))
    assert pairs[0, :, 1, 0].tolist() == pairs[0, :, 0, 0].tolist() == pairs[0, :, 1, 1].tolist() == [0, 0, 0]
    close(logits[0], torch.tensor([0.1 + 3 / 8 + 1 + 5 / 16, 0.2 + 5 / 8, 0.3 - 1 / 32]))
    close(weights, torch.ones(1, 2, 2), 0)
    close(head.affinity, torch.tensor([[0.0, LN2], [LN2, 0.0]]))
    close(head.relate(make_two_aus()[0])[0, 1], 2 * torch.tensor([[1 / 32, 3 / 16], [3 / 16, 9 / 32]]))


def test_padding_and_gaps_do_not_count():
    head, (aus, balance, frames) = make_head(noise=0.1), make_two_aus()
    plain = head(aus, balance, frames)
    more = torch.full((1, 3, 2), 7.0)
    padded = head(torch.cat((aus, more), 1), torch.cat((balance, more), 1), torch.cat((frames, torch.zeros(1, 3)), 1))
    for a, b in zip(plain, padded, strict=True):
        close(a, b)
    empty = head(aus, balance, frames * 0)
    close(empty[0], head.bias.detach()[None])


def test_order_turns_round_when_the_clip_is_played_backwards():
    head, (aus, balance, frames) = make_head(noise=0.1), make_two_aus()
    (_, _, pairs, _), (_, _, backwards, _) = (
        head(a, b, frames) for a, b in ((aus, balance), (aus.flip(1), balance.flip(1)))
    )
    only = make_head()
    forth, back = (only(a, balance, frames)[2][0, ORDER, 0, 1] for a in (aus, aus.flip(1)))
    close(forth, -back)
    assert forth > 0.1
    # the other two relations know no order: what changes is twice the term of the order
    order = head.SCALE * head.pairs[:, ORDER, 0, 1] * head.affinity.exp()[0, 1] * 5 / 16
    close(pairs[0, :, 0, 1] - backwards[0, :, 0, 1], 2 * order)


def test_order_of_two_pulses():
    """One AU in the first frame and the other in the next: +1; the other way round: -1; both at once: 0."""
    head, off, on = make_head(affinity=0.0), -30.0, 30.0
    first, then = torch.tensor([[on, off], [off, on]]), torch.tensor([[off, on], [on, off]])
    at_once = torch.tensor([[on, on], [off, off]])
    for aus, expected in ((first, 1.0), (then, -1.0), (at_once, 0.0)):
        close(head(aus[None], torch.zeros(1, 2, 2), torch.ones(1, 2))[2][0, ORDER, 0, 1].detach(), expected)
    # a gap between them is no order: only neighbouring frames are compared
    gap = torch.tensor([[on, off], [off, off], [off, on]])
    close(head(gap[None], torch.zeros(1, 3, 2), torch.ones(1, 3))[2][0, ORDER, 0, 1].detach(), 0.0)


@pytest.mark.parametrize(("left", "sign"), [((9.0, 9.0), 1), ((-9.0, -9.0), 1), ((9.0, -9.0), -1), ((0.0, 9.0), 0)])
def test_side_is_positive_on_one_side_and_negative_on_opposite_sides(left, sign):
    head, aus = make_head(affinity=0.0), torch.zeros(1, 1, 2)
    term = head(aus, torch.tensor([[left]]), torch.ones(1, 1))[2][0, SIDE, 0, 1]
    close(term.detach(), 0.25 * sign, 1e-4)


def test_balance_is_left_minus_right():
    """An AU's left edges minus its right ones; edges on the midline count for neither side."""
    model, (x, mask, times) = make_model(noise=0.3), make_inputs(1, 3)
    kept, given = {}, model.region_graph
    model.head.register_forward_pre_hook(lambda _, args: kept.update(balance=args[1]))
    output = model(x, mask, times)
    expected = torch.zeros(1, 3, 17)
    for i, (k, _, _) in enumerate(given.index.tolist()):
        expected[..., k] += given.side[i] * output.terms.au_terms[..., i]
    close(kept["balance"].detach(), expected.detach())
    sided = set(given.index[given.side != 0, 0].tolist())
    left, right = ((given.side == side).float().expand(1, 3, -1) for side in (1, -1))
    balances = []
    for edges in (left, right):
        model(x, mask, times, edges)
        balances.append(kept["balance"].detach())
    close(balances[0] + balances[1], expected.detach())
    assert {k for k in range(17) if (balances[0][..., k] != 0).any()} == sided


def test_an_au_edge_that_is_removed_takes_exactly_its_term():
    model, inputs = make_model(noise=0.3), make_inputs()
    plain = model(*inputs)
    for pair in ((0, 16), (3, 8), (7, 6)):
        weights, term = torch.ones(17, 17), plain.terms.au_edges[(..., *pair)]
        weights[pair] = 0.0
        with intervene(model, {"au.edges": weights}):
            removed = model(*inputs)
        close(removed.logits, plain.logits - term)
        assert (term.abs().max() > 0) == (pair[0] < pair[1]), "only the upper triangle is read"
        half = weights + 0.5 * (1 - weights)
        with intervene(model, {"au.edges": half}):
            close(model.logits(*inputs), plain.logits - term / 2)
    with intervene(model, {"au.edges": 0.0}):
        nodes_alone = model(*inputs)
    close(nodes_alone.logits, model.head.bias + plain.terms.aus.sum(2))
    close(nodes_alone.logits, nodes_alone.terms.without + nodes_alone.terms.region_edges.sum((1, 3)), 1e-4)


@pytest.mark.parametrize("n_frames", [1, 3])
def test_terms_of_edges_are_integrated_gradients_of_the_sum(n_frames):
    """Along the straight line from no edge to the clip, in s and d: the readout is quadratic, so the midpoint is exact."""
    torch.manual_seed(1)
    model = make_model(noise=0.3)
    head, graph = model.head, model.region_graph
    with torch.no_grad():
        output = model(*make_inputs(2, n_frames))
        frames, balance = torch.ones(2, n_frames), output.terms.au_terms @ (graph.side[:, None] * graph.of_au)
        active, sided = head.compute_activations(output.au_logits, balance, frames)
        rest, _ = head.compute_activations(graph.bias.expand_as(active), balance, frames)
    whole = torch.zeros(2, n_frames, 3, 17)
    for c in range(3):
        s, d = ((rest + active) / 2).requires_grad_(), (sided / 2).requires_grad_()
        nodes, pairs = head.read(s, d, frames, torch.ones(2, 17, 17))
        total = (nodes.sum(2) + pairs.sum((2, 3)))[:, c].sum()
        gradients = torch.autograd.grad(total, (s, d))
        whole[:, :, c] = gradients[0] * (active - rest) + gradients[1] * sided
    per_au = torch.zeros(2, n_frames, 3, 17).index_add(3, graph.index[:, 0], output.terms.region_edges)
    close(per_au, whole, 1e-4)
    assert whole.abs().max() > 0.05


def test_partners_teach_the_graph_and_no_action_unit():
    """The affinity is learned from which AUs the others predict; it says nothing to the AUs, nor to the readout."""
    model, (x, mask, times) = make_model(noise=0.1).train(), make_inputs()
    model(x, mask, times).terms.partners.square().sum().backward()
    taught = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert taught == {"head.partners", "head.partner_bias"}
    assert (model.head.partners.grad.tril() == 0).all()


def test_the_au_loss_teaches_aus_and_graph_apart():
    batch = make_batch()
    model = make_model(noise=0.1).train()
    parts = compute_loss(model(batch.x, batch.mask, batch.times_ms), batch, torch.ones(3), TrainConfig())
    parts.au.backward()
    taught = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert {"region_graph", "tokens", "time", "cross", "au_tokens"} <= taught
    assert not any(getattr(model.head, name).grad is not None for name in ("nodes", "pairs", "bias"))


def test_each_au_is_predicted_from_the_others_alone():
    head, aus = make_head(n_aus=4, noise=0.3), torch.randn(2, 4, requires_grad=True)
    jacobian = torch.autograd.functional.jacobian(
        lambda s: head.partner_bias + s @ head.affinity, aus.detach().sigmoid()[0]
    )
    assert (jacobian.diagonal() == 0).all() and torch.equal(jacobian, jacobian.T)
    centred = aus.sigmoid() - aus.sigmoid().mean(0)
    close(head.predict_partners(aus).detach(), (head.partner_bias + centred @ head.affinity).detach())
    assert torch.autograd.grad(head.predict_partners(aus).sum(), aus, allow_unused=True)[0] is None


def test_affinity_finds_which_units_act_together():
    """AUs 0 and 1 occur together, 2 alone: after training the edge 0-1 is positive, those with 2 are not."""
    torch.manual_seed(0)
    codes = torch.zeros(300, 3)
    codes[:, 0] = (torch.rand(300) < 0.4).float()
    codes[:, 1] = torch.where(torch.rand(300) < 0.9, codes[:, 0], 1 - codes[:, 0])
    codes[:, 2] = (torch.rand(300) < 0.4).float()
    head = GraphHead(2, 3)
    optimiser = torch.optim.Adam([head.partners, head.partner_bias], 0.1)
    for _ in range(100):
        optimiser.zero_grad()
        loss = torch.nn.functional.binary_cross_entropy_with_logits(head.predict_partners(codes * 8 - 4), codes)
        loss.backward()
        optimiser.step()
    graph = head.affinity.detach()
    assert graph[0, 1] > 2 and abs(graph[0, 2]) < 1 and abs(graph[1, 2]) < 1


def test_au_edges_start_without_affinity_and_without_say():
    model, inputs = make_model(), make_inputs()
    output = model(*inputs)
    assert not model.head.affinity.any() and not output.terms.au_edges.any()
    active = output.au_logits.sigmoid()
    close(output.au_edges, torch.einsum("btk,btl->btkl", active, active))


def test_faint_affinities_are_no_edge_and_still_learn():
    head = make_head(n_aus=3)
    with torch.no_grad():
        head.partners.zero_()
        head.partners[0, 1], head.partners[0, 2], head.partners[1, 2] = 0.1, -0.2, 0.3
    close(head.affinity.detach(), torch.tensor([[0, 0, -0.2], [0, 0, 0.3], [-0.2, 0.3, 0]]))
    head.affinity.sum().backward()
    assert torch.equal(head.partners.grad, 2 * torch.ones(3, 3).triu(1))


def test_affinity_does_not_learn_how_frequent_aus_are():
    """Independent AUs of very different frequency: no affinity."""
    torch.manual_seed(0)
    codes = (torch.rand(2000, 3) < torch.tensor([0.9, 0.8, 0.1])).float()
    head = GraphHead(2, 3)
    optimiser = torch.optim.Adam([head.partners, head.partner_bias], 0.03)
    for _ in range(100):
        optimiser.zero_grad()
        torch.nn.functional.binary_cross_entropy_with_logits(head.predict_partners(codes * 2 - 1), codes).backward()
        optimiser.step()
    assert head.affinity.abs().max() < 0.5
