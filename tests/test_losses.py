from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from stagkit.core.config import TrainConfig
from stagkit.core.types import GraphTerms, StagkitError, StagOutput
from stagkit.network.losses import (
    au_loss,
    compute_class_weights,
    compute_loss,
    focal_loss,
)
from tests.tiny import make_batch, make_model

torch.set_num_threads(1)
ONES = torch.ones(3)


def make_output(batch, logits=None, au_logits=None, pairs=None):
    n_clips, n_time = batch.mask.shape[:2]
    logits = torch.zeros(n_clips, 3) if logits is None else logits
    au_logits = torch.zeros(n_clips, n_time, 17) if au_logits is None else au_logits
    terms = None if pairs is None else GraphTerms(pairs, torch.zeros(n_clips, 3, 17), torch.zeros(n_clips, 17))
    return StagOutput(logits, au_logits, None, None, None, {}, terms)


def test_focal_without_focus_is_cross_entropy():
    torch.manual_seed(0)
    logits, label = torch.randn(9, 3) * 5, torch.arange(9) % 3
    torch.testing.assert_close(focal_loss(logits, label, ONES, 0.0), cross_entropy(logits, label, reduction="none"))


def test_focal_by_hand():
    # softmax of (ln 3, 0) is (3/4, 1/4)
    logits = torch.tensor([[np.log(3), 0.0], [np.log(3), 0.0]], dtype=torch.float32)
    got = focal_loss(logits, torch.tensor([0, 1]), torch.tensor([1.0, 2.0]), gamma=2.0)
    expected = torch.tensor([-np.log(3 / 4) * (1 / 4) ** 2, -2 * np.log(1 / 4) * (3 / 4) ** 2], dtype=torch.float32)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_focal_gradient_is_finite_when_sure_and_when_wrong(gamma):
    logits = torch.tensor([[200.0, 0.0], [0.0, 200.0]], requires_grad=True)
    focal_loss(logits, torch.tensor([0, 0]), torch.ones(2), gamma).sum().backward()
    assert torch.isfinite(logits.grad).all() and logits.grad[1].abs().max() > 0.5


def test_class_weights():
    label = np.repeat([0, 1, 2], [80, 15, 5])
    weights = compute_class_weights(label, 3)
    effective = (1 - 0.999 ** np.array([80, 15, 5])) / (1 - 0.999)
    torch.testing.assert_close(weights[0] / weights[2], torch.tensor(effective[2] / effective[0]).float())
    torch.testing.assert_close(weights.mean(), torch.tensor(1.0))
    torch.testing.assert_close(compute_class_weights(label, 3, beta=0.0), torch.ones(3))
    torch.testing.assert_close(compute_class_weights(torch.tensor([0, 0, 2]), 3)[1], torch.tensor(0.0))
    for bad in ([], [0, 3], [-1, 0]):
        with pytest.raises(StagkitError, match="training labels from 0 to 2"):
            compute_class_weights(np.array(bad, dtype=int), 3)
    with pytest.raises(StagkitError, match="beta"):
        compute_class_weights(label, 3, beta=1.0)


def test_au_loss_by_hand_and_silent_where_not_coded():
    z = torch.zeros(2, 3, requires_grad=True)
    aus = torch.tensor([[1.0, 0.0, torch.nan], [torch.nan] * 3])
    loss = au_loss(z, aus)
    torch.testing.assert_close(loss, torch.tensor([np.log(2), 0.0], dtype=torch.float32))
    loss.sum().backward()
    torch.testing.assert_close(z.grad, torch.tensor([[-0.25, 0.25, 0.0], [0.0, 0.0, 0.0]]))


def test_total_is_the_weighted_sum_of_its_parts():
    batch, settings = make_batch(), TrainConfig(au_weight=0.7, sparsity=0.2)
    output = make_output(batch, torch.randn(3, 3), torch.randn(3, 4, 17), torch.randn(3, 3, 17, 17))
    parts = compute_loss(output, batch, ONES, settings)
    torch.testing.assert_close(parts.total, parts.classification + 0.7 * parts.au + 0.2 * parts.sparsity)
    assert all(part > 0 and part.ndim == 0 for part in parts)
    without = compute_loss(make_output(batch), batch, ONES, settings)
    assert without.sparsity == 0


def test_sparsity_is_the_size_of_the_au_edges_by_hand():
    """Clip 0 has terms 1, -2 and 3 for one AU edge and 0, 0, 3 for another: (1 + 2 + 3 + 3) / 3 classes = 3 logits."""
    batch, pairs = make_batch(), torch.zeros(3, 3, 17, 17)
    pairs[0, :, 2, 5], pairs[0, :, 1, 9] = torch.tensor([1.0, -2.0, 3.0]), torch.tensor([0.0, 0.0, 3.0])
    sparsity = compute_loss(make_output(batch, pairs=pairs), batch, ONES, TrainConfig()).sparsity
    torch.testing.assert_close(sparsity, torch.tensor(3.0 / 3))  # a mean over three clips
    weight = torch.tensor([1.0, 0.0, 0.0])
    sparsity = compute_loss(make_output(batch, pairs=pairs), batch, ONES, TrainConfig(), weight).sparsity
    torch.testing.assert_close(sparsity, torch.tensor(3.0))


def test_the_au_loss_has_a_part_for_the_au_graph():
    """Both are means over the coded clip: of logits 0 each is ln 2, and the graph's own says nothing without terms."""
    batch, pairs = make_batch(), torch.zeros(3, 3, 17, 17)
    alone = compute_loss(make_output(batch), batch, ONES, TrainConfig()).au
    both = compute_loss(make_output(batch, pairs=pairs), batch, ONES, TrainConfig()).au
    torch.testing.assert_close(alone, torch.tensor(np.log(2), dtype=torch.float32))
    torch.testing.assert_close(both, 2 * alone)


def test_the_au_graph_learns_from_the_clips_that_count():
    """Clips of weight 0 fill up a batch: whatever they hold, each AU's partners count relative to the others' mean."""
    batch, model = make_batch(6), make_model(noise=0.3).train()
    batch.aus[:] = torch.randint(0, 2, batch.aus.shape, generator=torch.Generator().manual_seed(0)).float()
    few = batch.select(torch.arange(4))

    def learn(clips, weight=None):
        model.zero_grad()
        torch.manual_seed(0)
        aus = model.head.predict_partners(torch.linspace(-3, 3, 6 * 17).view(6, 17).sin()[: len(clips.label)] * 2)
        output = make_output(clips, pairs=torch.zeros(len(clips.label), 3, 17, 17))
        output = replace(output, terms=replace(output.terms, partners=aus))
        compute_loss(output, clips, ONES, TrainConfig(), weight).au.backward()
        return model.head.partners.grad.clone(), model.head.partner_bias.grad.clone()

    padded = learn(batch, torch.tensor([1.0, 1, 1, 1, 0, 0]))
    for got, expected in zip(padded, learn(few), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)
        assert got.abs().max() > 1e-3


def test_au_term_averages_coded_clips_and_reads_the_strongest_frame():
    batch = make_batch()  # only the first clip is coded: AU12 present
    logits = torch.full((3, 4, 17), -20.0)
    logits[0, 2, 8] = 20.0
    au = compute_loss(make_output(batch, au_logits=logits), batch, ONES, TrainConfig()).au
    assert au < 1e-3
    logits[0, 2, 8] = -20.0
    au = compute_loss(make_output(batch, au_logits=logits), batch, ONES, TrainConfig()).au
    torch.testing.assert_close(au, torch.tensor(20 / 17), atol=1e-3, rtol=0)


def test_ce_is_plain_cross_entropy():
    batch, weights = make_batch(), torch.tensor([0.2, 1.0, 1.8])
    output = make_output(batch, torch.randn(3, 3))
    got = compute_loss(output, batch, weights, TrainConfig(loss="ce", label_smoothing=0.0)).classification
    torch.testing.assert_close(got, cross_entropy(output.logits, batch.label))
    smooth = compute_loss(output, batch, weights, TrainConfig(loss="ce", label_smoothing=0.3)).classification
    torch.testing.assert_close(smooth, cross_entropy(output.logits, batch.label, label_smoothing=0.3))
    settings = TrainConfig(gamma=0.0, label_smoothing=0.0)
    focal = compute_loss(output, batch, weights, settings).classification
    each = cross_entropy(output.logits, batch.label, reduction="none") * weights[batch.label]
    torch.testing.assert_close(focal, each.mean())


def test_clips_of_weight_0_do_not_count():
    batch, model = make_batch(6), make_model()
    out = model(batch.x, batch.mask, batch.times_ms)
    weight = torch.tensor([1.0, 1, 1, 0, 0, 0])
    some = compute_loss(out, batch, ONES, TrainConfig(), weight)
    small = make_batch(6)
    object.__setattr__(small, "label", batch.label.clone())
    small.label[3:] = 0
    again = compute_loss(out, small, ONES, TrainConfig(), weight)
    for a, b in zip(some, again, strict=True):
        torch.testing.assert_close(a, b)
    (grad,) = torch.autograd.grad(some.total, out.logits)
    assert (grad[3:] == 0).all() and (grad[:3] != 0).any()


def test_uncoded_batch_and_unseen_clip_are_finite():
    batch, model = make_batch(), make_model()
    batch.aus[1] = 1.0
    batch.mask[1] = False
    out = model(batch.x, batch.mask, batch.times_ms)
    parts = compute_loss(out, batch, ONES, TrainConfig())
    parts.total.backward()
    assert all(torch.isfinite(p) for p in parts) and parts.au < 5  # an unseen clip says nothing about its AUs
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
    batch.aus[:] = torch.nan
    assert compute_loss(out, batch, ONES, TrainConfig()).au == 0


def test_losses_of_stacked_models_equal_the_loop():
    models, batch = [make_model(seed) for seed in range(3)], make_batch()
    params, buffers = stack_module_state(models)
    class_weights = torch.rand(3, 3) + 0.5
    clip_weight = torch.tensor([[1.0, 1, 0], [0, 1, 1], [1, 0, 1]])

    def loss(model_or_state, class_weights, clip_weight):
        inputs = (batch.x, batch.mask, batch.times_ms)
        out = (
            model_or_state(*inputs) if callable(model_or_state) else functional_call(models[0], model_or_state, inputs)
        )
        return compute_loss(out, batch, class_weights, TrainConfig(), clip_weight)

    stacked = vmap(lambda p, b, c, w: loss((p, b), c, w))(params, buffers, class_weights, clip_weight)
    for i, model in enumerate(models):
        for got, expected in zip(stacked, loss(model, class_weights[i], clip_weight[i]), strict=True):
            torch.testing.assert_close(got[i], expected, atol=1e-5, rtol=0)
    grads = vmap(torch.func.grad(lambda p, b, c, w: loss((p, b), c, w).total))(
        params, buffers, class_weights, clip_weight
    )
    assert all(torch.isfinite(g).all() for g in grads.values())
