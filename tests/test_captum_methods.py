"""Every method on networks solved on paper, complete where it promises to be, leaving nothing behind."""

import numpy as np
import pytest
import torch
from torch import nn

from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError, by_edge, by_frame, by_roi, sum_over
from stagkit.explain.attribution import attribute
from stagkit.explain.methods import GROUPS, LAYERS, METHODS, frozen, make_groups, probe_batch_size
from stagkit.explain.motion_decomposition import SIDED_AUS
from tests.small import Product, make_dataset, train_small
from tests.tiny import make_model

BROW, CHIN = ATLAS.index("glabella"), ATLAS.index("chin")


@pytest.fixture(scope="module")
def data():
    return make_dataset()


@pytest.fixture(scope="module")
def trained(data):
    return train_small(data)


def product_of(data, clip):
    return float(data.x[clip, 0, BROW, 1, 0, 0] * data.x[clip, 0, CHIN, 1, 0, 0])


def test_shapley_shares_a_product_in_halves(data):
    result = attribute(Product().eval(), data.batch([3]), "shapley sampling", target=0, n_samples=200)
    product = product_of(data, 3)
    assert by_roi(result)[0].sum() == pytest.approx(product, rel=1e-5)
    assert by_roi(result)[0, [BROW, CHIN]] == pytest.approx([product / 2] * 2, rel=0.25)
    assert np.count_nonzero(by_roi(result)) == 2


def test_ablation_gives_the_whole_product_to_each(data):
    """Either factor alone takes all away: the sum is twice the gap, and the delta says so."""
    result = attribute(Product().eval(), data.batch([3]), "feature_ablation", target=0)
    product = product_of(data, 3)
    assert by_roi(result)[0, [BROW, CHIN]] == pytest.approx([product] * 2, rel=1e-5)
    assert result.convergence_delta[0] == pytest.approx(product, rel=1e-5)


def test_gradient_times_input_of_a_product_is_twice_the_gap(data):
    result = attribute(Product().eval(), data.batch([3]), "gradient x input", target=0)
    assert result.relative_delta[0] == pytest.approx(1.0, rel=1e-4)


def test_frames_and_cells_agree_with_regions(data):
    """All of a product in frame 0: the frame gets it whole, whatever the groups are."""
    product = product_of(data, 3)
    frames = attribute(Product().eval(), data.batch([3]), "shapley sampling", target=0, groups="frame")
    assert by_frame(frames)[0] == pytest.approx([product, 0, 0], abs=1e-6)
    cells = attribute(Product().eval(), data.batch([3]), "feature ablation", target=0, groups="roi x frame")
    assert cells.values.shape == (1, 3, 22)
    assert cells.values[0, 0, [BROW, CHIN]] == pytest.approx([product] * 2, rel=1e-5)
    assert np.count_nonzero(cells.values) == 2


@pytest.mark.parametrize("groups", GROUPS)
def test_groups_divide_all_motion(data, groups):
    from stagkit.explain.methods import Inputs

    batch = data.batch([0, 1])
    given = Inputs(batch.x, batch.mask, batch.times_ms, torch.zeros(2, dtype=torch.long))
    weights, axes = make_groups(given, groups)
    assert weights.shape[:3] == batch.mask.shape
    assert torch.allclose(weights.sum(-1), torch.ones(()), atol=1e-5)
    assert axes.startswith("clip")


@pytest.mark.parametrize(
    ("method", "asked"),
    [
        ("exact terms", {}),
        ("exact edge terms", {}),
        ("integrated gradients", {}),
        ("shapley sampling", {"groups": "roi", "n_samples": 3}),
        ("shapley sampling", {"groups": "au", "n_samples": 2}),
        *[("layer integrated gradients", {"layer": layer}) for layer in LAYERS],
        ("edge integrated gradients", {}),
    ],
)
def test_complete_methods_are_complete(data, trained, method, asked):
    result = attribute(trained, data.batch([0, 1, 7]), method, n_steps=64, **asked)
    assert (np.abs(result.convergence_delta) <= 0.02 * np.abs(result.logit_difference) + 1e-4).all()
    assert result.values.shape[0] == 3


def test_edges_by_their_definition(data, trained):
    """Average gradient on the way from no edge to all of them, by hand."""
    batch = data.batch([5])
    more = (batch.x, batch.mask, batch.times_ms)
    total = torch.zeros(1, 3, 284)
    points, weights = np.polynomial.legendre.leggauss(16)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        at = torch.full_like(total, float(point)).requires_grad_()
        trained.logits(*more, at)[0, 1].backward()
        total += float(weight) * at.grad
    trained.zero_grad()
    ours = attribute(trained, batch, "edge integrated gradients", target=1, n_steps=16)
    assert np.allclose(ours.values, total.numpy(), atol=1e-6)
    assert by_edge(ours).shape == (1, 284) and len(ours.edge_names) == 284
    gap = (trained.logits(*more) - trained.logits(*more, torch.zeros_like(total)))[0, 1].detach()
    assert ours.logit_difference[0] == pytest.approx(float(gap), abs=1e-6)


def test_the_same_seed_gives_the_same_values_and_moves_no_other_generator(data, trained):
    torch.manual_seed(5)
    state = torch.get_rng_state()
    for method in ("gradient shap", "shapley sampling"):
        one, two = (attribute(trained, data.batch([0]), method, n_samples=2, seed=3) for _ in range(2))
        assert np.array_equal(one.values, two.values)
    assert torch.equal(torch.get_rng_state(), state)


def test_clips_alone_and_together_agree(data, trained):
    for method in ("exact terms", "integrated gradients", "edge integrated gradients", "feature ablation"):
        both = attribute(trained, data.batch([2, 9]), method, target=1)
        alone = attribute(trained, data.batch([9]), method, target=1)
        assert np.allclose(both.values[1], alone.values[0], atol=1e-5)


def test_units_are_the_players_of_au_groups(data, trained):
    result = attribute(trained, data.batch([0]), "feature ablation", groups="au")
    assert sum_over(result, "sided_au").shape == (1, len(SIDED_AUS))


def hooks_of(model):
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks) + len(m._backward_pre_hooks)
        for m in model.modules()
    )


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("fails", [False, True])
def test_nothing_is_left_behind(data, method, fails, monkeypatch):
    """No hook, no gradient, no weight that needs none, after an error in the middle neither."""
    model = make_model(n_classes=2)
    before, wanted = hooks_of(model), [p.requires_grad for p in model.parameters()]
    if fails:
        calls, whole = [], model.forward

        def break_later(*args, **kwargs):
            calls.append(1)
            if len(calls) > 1:
                raise RuntimeError("broken on purpose")
            return whole(*args, **kwargs)

        monkeypatch.setattr(model, "forward", break_later)
        with pytest.raises(RuntimeError, match="on purpose"):
            attribute(model, data.batch([0]), method)
    else:
        attribute(model, data.batch([0]), method, n_steps=4, n_samples=2)
    assert hooks_of(model) == before
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())


def test_frozen_gives_back_what_it_found():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    with pytest.raises(ValueError, match="x"), frozen(model):
        assert not model.weight.requires_grad
        raise ValueError("x")
    assert model.weight.requires_grad
    assert not model.bias.requires_grad


def test_the_probe_sees_what_a_pass_keeps():
    """exp keeps its result for the gradient: 1 MiB of it, so 256 clips fit the budget of 256 MiB."""
    assert probe_batch_size(lambda x: x.exp(), torch.zeros(1, 2**18)) == 256


def test_bad_requests_are_told(data, trained):
    with pytest.raises(ExplainError, match="no groups 'pixels'; expected one of roi"):
        attribute(trained, data.batch([0]), "feature ablation", groups="pixels")
    with pytest.raises(ExplainError, match=r"no sum of terms \(head='graph' has them\)"):
        attribute(make_model(n_classes=2, head="fused"), data.batch([0]), "exact terms")
    with pytest.raises(ExplainError, match="no frame tokens"):
        attribute(
            make_model(n_classes=2, branches="graph"),
            data.batch([0]),
            "layer integrated gradients",
            layer="frame tokens",
        )


class Steep(nn.Module):
    """A step near the clip: few points on the way miss it."""

    def logits(self, x, mask, times_ms):
        rise = torch.sigmoid(400 * (x[:, 0, 0, 0, 0, 0] - 0.93))
        return torch.stack([rise, 0 * rise], -1)


def test_the_steps_that_would_do_are_named_and_do(data):
    from dataclasses import replace

    from stagkit.explain.attribution import check_complete

    batch = data.batch([0])
    batch = replace(batch, x=torch.ones_like(batch.x))
    rough = attribute(Steep().eval(), batch, target=0, n_steps=8)
    needed = rough.settings["n_steps_needed"]
    assert needed in (8 * 4, 8 * 16)
    with pytest.raises(ExplainError, match=f"n_steps={needed} does"):
        check_complete(rough)
    check_complete(attribute(Steep().eval(), batch, target=0, n_steps=needed))
