import pytest
import torch

from stagkit.core.types import StagkitError
from stagkit.network.hooks import HookError, hook_names, intervene, record
from tests.graphs import make_graph_model
from tests.tiny import make_inputs, make_model

torch.set_num_threads(1)


def make_fused():
    return make_model(head="fused")


def hooks(model):
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_record_keeps_what_was_asked_detached():
    model, inputs = make_fused(), make_inputs()
    with record(model, "graph.*.attn", "logits") as seen:
        assert seen == {}
        out = model(*inputs)
    assert list(seen) == ["graph.0.attn", "graph.1.attn", "logits"]
    assert not any(v.requires_grad for v in seen.values())
    torch.testing.assert_close(seen["logits"], out.logits.detach())
    torch.testing.assert_close(seen["graph.1.attn"], out.attention["graph.1"].detach())
    with record(model) as everything:
        model(*inputs)
    assert set(everything) == set(hook_names(model))


def test_recording_changes_nothing():
    model, inputs = make_model(), make_inputs()
    plain = model.logits(*inputs)
    with record(model):
        torch.testing.assert_close(model.logits(*inputs), plain, atol=0, rtol=0)


@pytest.mark.parametrize("manager", [lambda m: record(m, "graph.*"), lambda m: intervene(m, {"roi.embed": 0.0})])
def test_hooks_are_gone_after_success_and_after_error(manager):
    model = make_model()
    with manager(model):
        assert hooks(model) > 0
        model(*make_inputs())
    assert hooks(model) == 0
    with pytest.raises(StagkitError), manager(model):
        model(torch.zeros(1), *make_inputs()[1:])
    assert hooks(model) == 0
    with pytest.raises(ZeroDivisionError), manager(model):
        _ = 1 / 0
    assert hooks(model) == 0


def test_unknown_probe_lists_the_ones_that_exist_and_leaves_no_hook():
    model = make_fused()
    with pytest.raises(HookError, match=r"no hook point 'graph.9.attn'.*graph.0.attn"), record(model, "graph.9.attn"):
        pass
    with pytest.raises(HookError, match="no hook point 'nose'"), intervene(model, {"pooled": 0.0, "nose": 0.0}):
        pass
    assert hooks(model) == 0


@pytest.mark.parametrize(
    ("head", "name"), [(h, name) for h in ("graph", "fused") for name in hook_names(make_graph_model(head=h))]
)
def test_every_probe_reaches_the_logits(head, name):
    model, inputs = make_graph_model(3, head=head), make_inputs()
    plain = model.logits(*inputs)
    g = torch.Generator().manual_seed(0)
    factor = 3.0 if name.endswith(("attn", "weights", "pool", "logits")) or name.startswith(("cross", "roi")) else None

    def change(value):
        return value * factor if factor else value * (1 + torch.rand(value.shape, generator=g))

    with intervene(model, {name: change}):
        assert (model.logits(*inputs) - plain).abs().max() > 1e-6
    torch.testing.assert_close(model.logits(*inputs), plain, atol=0, rtol=0)


def test_a_value_can_be_put_in_and_gradients_flow_through_functions():
    model, inputs = make_model(), make_inputs()
    wanted = torch.tensor([1.0, 2.0, 3.0])
    with intervene(model, {"logits": wanted}):
        torch.testing.assert_close(model.logits(*inputs), wanted.expand(3, 3))
    weight = torch.tensor(1.0, requires_grad=True)
    model = make_fused()
    with intervene(model, {"graph.*.out": lambda v: v * weight}):
        model.logits(*inputs).square().sum().backward()
    assert weight.grad.abs() > 0


def test_record_sees_what_intervene_made_whichever_came_first():
    model, inputs = make_fused(), make_inputs()
    with record(model, "pooled") as outer, intervene(model, {"pooled": 5.0}), record(model, "pooled") as inner:
        model(*inputs)
    assert (outer["pooled"] == 5).all() and (inner["pooled"] == 5).all()


def test_two_changes_of_one_probe_both_act():
    model, inputs = make_model(), make_inputs()
    first, second = torch.ones(284), torch.ones(284)
    first[1] = second[3] = 0
    changes = [{"graph.edges": lambda edges, keep=keep: edges * keep} for keep in (first, second)]
    with intervene(model, changes[0]), intervene(model, changes[1]):
        terms = model(*inputs).terms.au_terms
    assert (terms[..., [1, 3]] == 0).all() and (terms[..., [0, 2]] != 0).all()


def test_wrong_values_are_refused():
    model, inputs = make_fused(), make_inputs()
    for bad in (torch.zeros(7), lambda v: v[0], lambda v: None):
        with pytest.raises(HookError, match=r"'pooled' has \(3, 3, 64\)"), intervene(model, {"pooled": bad}):
            model(*inputs)
