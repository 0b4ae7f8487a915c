"""Parameters side by side: the numbers of the long way, networks apart, and nothing left to share."""

import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.evaluation.ablation import VARIANTS
from stagkit.network.losses import compute_loss
from stagkit.training.train import Optimiser, compute_rate, flatten_parameters, unflatten_parameters
from tests.tiny import make_batch, make_model

CONFIG = TrainConfig(lr=1e-2, weight_decay=0.1, clip_norm=0.5, warmup=0.3)
N_STEPS = 7


def loss_of(model, config=StagConfig()):
    batch = make_batch()
    return compute_loss(model(batch.x, batch.mask, batch.times_ms), batch, torch.ones(3), CONFIG).total


def grouped(model):
    return [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim <= 1]


def make_optimiser(model):
    flat = [flatten_parameters(group) for group in grouped(model)]
    return Optimiser(*flat, CONFIG, N_STEPS, [p.grad for p in model.parameters()])


def test_same_bits_as_torch_one_by_one():
    slow, fast = make_model(), make_model()
    decayed, plain = grouped(slow)
    adam = torch.optim.AdamW([{"params": decayed}, {"params": plain, "weight_decay": 0.0}], lr=1e-2, weight_decay=0.1)
    rate = torch.optim.lr_scheduler.LambdaLR(adam, lambda step: compute_rate(step, N_STEPS, 0.3))
    optimiser = make_optimiser(fast)
    for _ in range(N_STEPS):
        adam.zero_grad()
        loss_of(slow).backward()
        torch.nn.utils.clip_grad_norm_(slow.parameters(), 0.5)
        adam.step()
        rate.step()
        optimiser.zero_grad()
        loss_of(fast).backward()
        optimiser.step()
    assert all(torch.equal(a, b) for a, b in zip(slow.parameters(), fast.parameters(), strict=True))
    unflatten_parameters(fast)
    assert len({p.untyped_storage().data_ptr() for p in fast.parameters()}) == len(list(fast.parameters()))
    assert all(p.grad is None for p in fast.parameters())


@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: v.name)
def test_every_parameter_learns(variant):
    """torch's AdamW leaves a parameter without gradient alone; side by side it would decay, so there must be none."""
    model = make_model(**variant.stag).train()
    loss_of(model, StagConfig(width=16).replace(**variant.stag)).backward()
    assert not [name for name, p in model.named_parameters() if p.grad is None]


def test_going_on_gives_the_same_bits():
    """Kept after three steps and taken up by another optimiser: the same as never interrupted."""

    def run(model, optimiser, n):
        for _ in range(n):
            optimiser.zero_grad()
            loss_of(model).backward()
            optimiser.step()

    models = [make_model() for _ in range(2)]
    first, second = map(make_optimiser, models)
    run(models[0], first, 3)
    second.load_state_dict(first.state_dict())
    run(models[0], first, 3)
    run(models[1], second, 3)
    assert all(torch.equal(a, b) for a, b in zip(*(m.parameters() for m in models), strict=True))


def test_networks_are_clipped_apart_and_dropped():
    """Rows with gradients of norm 5 and 0.1: the first is clipped to 0.5, the second is not; then only row 1 goes on."""
    rows, plain = torch.nn.Parameter(torch.zeros(2, 2)), torch.nn.Parameter(torch.zeros(2, 1))
    rows.grad, plain.grad = torch.tensor([[3.0, 4.0], [0.06, 0.08]]), torch.zeros(2, 1)
    optimiser = Optimiser(rows, plain, CONFIG, 10)
    optimiser.step()
    assert torch.allclose(rows.grad, torch.tensor([[0.3, 0.4], [0.06, 0.08]]), atol=1e-5)
    assert torch.allclose(rows.abs(), torch.full((2, 2), 1e-2 / 3), rtol=1e-3), "Adam's first step is the rate itself"
    kept = rows[1].detach().clone()
    optimiser.select(torch.tensor([1]))
    assert torch.equal(rows.detach(), kept[None])
    rows.grad, plain.grad = torch.ones(1, 2), torch.zeros(1, 1)
    optimiser.step()
    assert rows.shape == (1, 2)
