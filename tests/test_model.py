import inspect
import re
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.func import functional_call, stack_module_state, vmap

import stagkit.network.action_units
import stagkit.network.attention
import stagkit.network.model
from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import ShapeError
from stagkit.network.action_units import compute_clip_aus
from stagkit.network.attention import CrossAttention
from stagkit.network.hooks import HookPoint, intervene, record
from stagkit.network.model import FrameTokens, RegionTokens, mean_over
from tests.tiny import make_batch, make_inputs, make_model, permute_atlas

torch.set_num_threads(1)

SWITCHES = [
    {},
    {"graph": "none"},
    {"branches": "graph"},
    {"branches": "time"},
    {"cross_attention": "one-way"},
    {"cross_attention": "none"},
    {"temporal_attention": False},
    {"cross_layers": 2},
    {"head": "fused"},
    {"head": "fused", "graph": "gat"},
    {"head": "fused", "graph": "none"},
    {"head": "fused", "branches": "graph"},
    {"head": "fused", "branches": "time"},
    {"head": "fused", "cross_attention": "one-way"},
]
switches = pytest.mark.parametrize("settings", SWITCHES, ids=lambda s: "-".join(map(str, s.values())) or "default")


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


# ── what the axes mean ──────────────────────────────────────────────────────────────────────────────────────────────


def test_tokens_read_mean_and_slopes_of_their_own_region_and_frame():
    tokens = RegionTokens(StagConfig(width=4, heads=4), n_rois=3, patch=5)
    with torch.no_grad():
        for p in tokens.parameters():
            p.zero_()
        for d, (chan, pattern) in enumerate([(0, 0), (2, 0), (1, 1), (2, 2)]):  # mean, mean, right, down
            tokens.patch.weight[d, chan * 3 + pattern] = 1.0
    b, t, n, c, y, x = torch.meshgrid(*(torch.arange(k) for k in (2, 4, 3, 3, 5, 5)), indexing="ij")
    index = (b * 100_000 + t * 10_000 + n * 1000 + c * 100 + y * 10 + x).float()
    out = tokens(tokens.measure(index), torch.ones(2, 4, 3, 1), torch.zeros(2, 4))
    assert out.shape == (2, 4, 3, 4)
    # samples are 0.4 half sides apart: a step of 1 a sample is a slope of 2.5, read at 0.7
    close(out[1, 3, 2], torch.tensor([132022.0, 132222.0, 1.75, 17.5]), 0.05)


def test_frame_tokens_average_regions_of_their_own_frame():
    pool = FrameTokens(StagConfig(width=8, heads=2))
    with torch.no_grad():
        pool.score.weight.zero_()
        pool.value.weight.copy_(torch.eye(8))
        pool.value.bias.zero_()
    t, n, d = torch.meshgrid(torch.arange(4), torch.arange(3), torch.arange(8), indexing="ij")
    tokens = (t * 100 + n * 10.0 + d)[None]
    mask = torch.ones(1, 4, 3, dtype=torch.bool)
    mask[0, 2, 0] = False
    out = pool(tokens, mask)
    close(out[0, 3], 310.0 + torch.arange(8), 1e-3)
    close(out[0, 2], 215.0 + torch.arange(8), 1e-3)  # regions 1 and 2 alone


def test_attend_is_multihead_attention():
    torch.manual_seed(0)
    block, reference = CrossAttention(8, 2, 0.0, "x").eval(), torch.nn.MultiheadAttention(8, 2, batch_first=True)
    with torch.no_grad():
        reference.in_proj_weight.copy_(torch.cat((block.query.weight, block.key.weight, block.value.weight)))
        reference.in_proj_bias.copy_(torch.cat((block.query.bias, torch.zeros(8), block.value.bias)))
        reference.out_proj.load_state_dict(block.out.state_dict())
        block.gate.weight.zero_()
        block.gate.bias.fill_(100.0)  # gate open
    x, y, valid = torch.randn(2, 5, 8), torch.randn(2, 4, 8), torch.tensor([[True] * 4, [True, False, True, False]])
    out, attention = block(x, y, valid)
    normed = torch.nn.functional.layer_norm(x, (8,)), torch.nn.functional.layer_norm(y, (8,))
    expected, weights = reference(*normed, normed[1], key_padding_mask=~valid, average_attn_weights=False)
    close(out, x + expected)
    close(attention, weights)
    assert attention.shape == (2, 2, 5, 4)  # batch head target source


def test_mean_over_and_clip_aus():
    values = torch.arange(6.0).reshape(1, 3, 2)
    close(mean_over(values, torch.tensor([[[1.0], [0.0], [1.0]]]), 1), torch.tensor([[2.0, 3.0]]))
    close(mean_over(values, torch.zeros(1, 3, 1), 1), torch.zeros(1, 2))
    logits = torch.tensor([[[-3.0], [2.0], [9.0]]])
    close(compute_clip_aus(logits[:, :1], torch.ones(1, 1, dtype=torch.bool)), logits[:, 0])
    # (1/4) ln((e^-12 + e^8) / 2), the third frame is padding
    expected = torch.tensor([[(np.log(np.exp(-12) + np.exp(8)) - np.log(2)) / 4]], dtype=torch.float32)
    close(compute_clip_aus(logits, torch.tensor([[True, True, False]])), expected)


def test_output_axes():
    x, mask, times = make_inputs(n_clips=2, n_frames=5)
    out, fused = make_model()(x, mask, times), make_model(head="fused")(x, mask, times)
    shapes = {
        "time.0": (2, 4, 5, 5),
        "time.1": (2, 4, 5, 5),
        "cross.0.roi_from_frame": (2, 4, 22, 5),
        "cross.0.frame_from_roi": (2, 4, 5, 22),
    }
    assert {name: tuple(a.shape) for name, a in out.attention.items()} == shapes
    shapes |= {"graph.0": (2, 5, 4, 22, 22), "graph.1": (2, 5, 4, 22, 22)}
    assert {name: tuple(a.shape) for name, a in fused.attention.items()} == shapes
    for a in (*out.attention.values(), *fused.attention.values()):
        close(a.sum(-1), torch.ones(a.shape[:-1]))
    close(out.time_weights.sum(1), torch.ones(2))
    assert (out.edges >= 0).all() and out.edges.shape == fused.edges.shape == (2, 5, 22, 22)
    assert out.au_edges.shape == (2, 5, 17, 17) and fused.au_edges is None and fused.terms is None
    close(out.au_edges, torch.einsum("btkl->btlk", out.au_edges))
    n_edges, terms = len(make_model().region_graph.index), out.terms
    assert terms.aus.shape == (2, 3, 17) and terms.au_edges.shape == (2, 3, 17, 17)
    assert terms.region_edges.shape == (2, 5, 3, n_edges) and terms.au_terms.shape == (2, 5, n_edges)
    assert terms.without.shape == (2, 3) and terms.partners is None and terms.imputed.shape == (2, 5, 22)
    terms = make_model().train()(x, mask, times).terms
    assert terms.partners.shape == (2, 17) and terms.region_edges is terms.without is terms.au_terms is None


def move_regions(model, order):
    """The same network over the regions in another order, and where each of its region edges stands in ``model``."""
    other = make_model(seed=1, atlas=permute_atlas(order), **{"head": model.config.head})
    where = {tuple(edge): i for i, edge in enumerate(model.region_graph.index.tolist())}
    edges = [where[au, order[target], order[source]] for au, target, source in other.region_graph.index.tolist()]
    state, moved = model.state_dict(), {}
    for name, value in state.items():
        if name in ("tokens.region",):
            moved[name] = value[order]
        elif name == "anatomy" or (name.startswith("imputation.") and name != "imputation.sign"):
            moved[name] = value[order][:, order]
        elif name in ("region_graph.value", "region_graph.preference"):
            moved[name] = value[edges]
        elif name == "head.regions.weight":
            moved[name] = value.reshape(64, 22, -1)[:, order].reshape(64, -1)
    for name in ("anatomy", "imputation.anatomy", "imputation.mirror"):  # the atlas gives the same
        assert torch.equal(other.state_dict()[name], moved[name])
    other.load_state_dict({**state, **moved})
    return other, edges


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_permuting_regions_permutes_attention_and_leaves_logits(head):
    order = np.random.default_rng(0).permutation(22)
    model = make_model(head=head, noise=0.1)
    other, edges = move_regions(model, order)
    x, mask, times = make_inputs()
    mask[0, :, 4] = False
    a, b = model(x, mask, times), other(x[:, :, order], mask[:, :, order], times)
    close(b.logits, a.logits)
    close(b.au_logits, a.au_logits)
    close(b.edges, a.edges[:, :, order][..., order])
    close(b.attention["cross.0.frame_from_roi"], a.attention["cross.0.frame_from_roi"][..., order])
    close(b.attention["cross.0.roi_from_frame"], a.attention["cross.0.roi_from_frame"][:, :, order])
    if head == "fused":
        close(b.attention["graph.1"], a.attention["graph.1"][..., order, :][..., order])
    else:
        close(b.terms.region_edges, a.terms.region_edges[..., edges])
        assert a.terms.region_edges.abs().max() > 1e-3


@switches
def test_padding_changes_nothing(settings):
    model, (x, mask, times) = make_model(noise=0.1, **settings), make_inputs(n_frames=3)
    mask[0, :, 5] = False
    plain = model(x, mask, times)
    rubbish = torch.full((3, 2, 22, 3, 5, 5), torch.nan)
    padded = model(
        torch.cat((x, rubbish), 1),
        torch.cat((mask, torch.zeros(3, 2, 22, dtype=torch.bool)), 1),
        torch.cat((times, torch.full((3, 2), torch.nan)), 1),
    )
    close(padded.logits, plain.logits)
    close(padded.au_logits[:, :3], plain.au_logits)
    if plain.time_weights is not None:
        close(padded.time_weights, torch.nn.functional.pad(plain.time_weights, (0, 2)))
    if plain.terms is not None:
        for name in ("aus", "au_edges", "without"):
            close(getattr(padded.terms, name), getattr(plain.terms, name))
        for name in ("region_edges", "au_terms", "imputed"):
            got, expected = getattr(padded.terms, name), getattr(plain.terms, name)
            close(got[:, :3], expected)
            assert not got[:, 3:].any()
    for name, attention in plain.attention.items():
        got = padded.attention[name]
        close(
            got[:, :3] if name.startswith("graph") else got[..., : attention.shape[-2], : attention.shape[-1]],
            attention,
        )


@switches
def test_what_is_hidden_is_not_read(settings):
    """Neither a region in one frame, nor one that no visible neighbour tells about, which gets no attention either."""
    model, (x, mask, times) = make_model(noise=0.1, **settings), make_inputs()
    chin = ATLAS.index("chin")
    unknown = np.flatnonzero(ATLAS.anatomy[chin])  # the chin, and all that could be asked about it
    mask[:, 1, 5] = False
    mask[0][:, unknown] = False
    out = model(x, mask, times)
    for name, attention in out.attention.items():
        if name.startswith("graph") or name.endswith("frame_from_roi"):
            assert (attention[0, ..., chin] == 0).all() and (attention[1, ..., chin] > 0).any()
    target, source = model.region_graph.index.T[1:]
    edges = out.edges[0, :, chin], out.edges[0, :, :, chin]
    assert all((part == 0).all() for part in edges) and (out.edges[1, :, chin, chin] > 0).all()
    if out.terms is not None:
        assert (out.terms.au_terms[0][:, (target == chin) | (source == chin)] == 0).all()
    x[:, 1, 5] = torch.nan
    x[0][:, unknown] = torch.nan
    close(model.logits(x, mask, times), out.logits, 0)


# ── action units ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_aus_start_rare_on_a_still_face(head):
    x, mask, times = make_inputs()
    active = torch.sigmoid(make_model(width=64, head=head)(x * 0, mask, times).au_logits)
    assert 0.03 < active.mean() < 0.25


def test_fused_attention_follows_the_active_aus():
    """An active AU adds its own edges to the graph between regions; other pairs keep their weight."""
    model, (x, mask, times) = make_model(head="fused", noise=0.1), make_inputs(n_clips=1, n_frames=1)
    corner, cheek = ATLAS.index("lip_corner_L"), ATLAS.index("cheek_L")
    others = [AU_NUMBERS.index(n) for n in (1, 2, 4)]

    def run(level):
        aus = torch.full((17,), -3.0)
        aus[AU_NUMBERS.index(12)] = level
        with intervene(model, {"au.logits": aus}):
            return model(x, mask, times)

    low, high = run(-3.0), run(3.0)
    share = [torch.sigmoid(torch.tensor(v)) for v in (-3.0, 3.0)]
    moved = (high.edges - low.edges)[0, 0]
    with record(model, "graph.attn") as seen:
        model(x, mask, times)
    index = model.region_graph.index
    for e in (index[:, 0] == AU_NUMBERS.index(12)).nonzero()[:, 0].tolist():
        _, target, source = index[e].tolist()
        close(moved[target, source], seen["graph.attn"][0, 0, e] * (share[1] - share[0]))
    pairs = [index[index[:, 0] == k][:, 1:] for k in others]
    for target, source in torch.cat(pairs).tolist():
        if ATLAS.incidence[AU_NUMBERS.index(12), [target, source]].min() == 0:
            assert moved[target, source] == 0
    attention = [out.attention["graph.0"][0, 0, :, corner, cheek] for out in (low, high)]
    assert (attention[1] > attention[0]).all()


# ── switches ────────────────────────────────────────────────────────────────────────────────────────────────────────


@switches
def test_every_parameter_learns(settings):
    """From the classes, the AUs and the AU graph together; a hidden region teaches how to estimate it."""
    model, (x, mask, times) = make_model(noise=0.1, **settings), make_inputs()
    mask[0, :, 5] = False
    out = model(x, mask, times)
    aus = compute_clip_aus(out.au_logits, mask.any(2))
    loss = out.logits.square().sum() + aus.square().sum()
    (loss if out.terms is None else loss + model.head.predict_partners(aus).square().sum()).backward()
    idle = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-8}
    alone = settings.get("graph") == "none" or settings.get("branches") == "time"  # a region attends to itself alone
    assert idle == ({"region_graph.att", "region_graph.preference"} if alone else set())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


@switches
def test_every_module_is_used_once(settings):
    model, calls = make_model(**settings), {}
    for name, module in model.named_modules():
        if not list(module.children()):
            calls[name] = 0
            module.register_forward_hook(lambda *_, name=name: calls.__setitem__(name, calls[name] + 1))
    model(*make_inputs())
    empty = {name for name, m in model.named_modules() if isinstance(m, torch.nn.ModuleList)}
    assert {n: c for n, c in calls.items() if c != 1 and n not in empty} == {}


def test_what_each_switch_changes():
    x, mask, times = make_inputs(n_clips=2)
    anatomy, itself = torch.tensor(ATLAS.anatomy) > 0, torch.eye(22, dtype=torch.bool)

    def run(**settings):
        return make_model(**settings)(x, mask, times)

    out, fused, gat = run(), run(head="fused"), run(head="fused", graph="gat")
    for changing in (out, fused, gat):  # edges follow the clip and the frame, on the anatomy alone
        assert (changing.edges[0, 0] - changing.edges[1, 0]).abs().max() > 1e-3
        assert (changing.edges[0, 0] - changing.edges[0, 1]).abs().max() > 1e-3
        assert (changing.edges[..., ~anatomy] == 0).all() and (changing.edges[..., ~itself] > 0).any()
    assert (gat.attention["graph.0"][..., ~anatomy] == 0).all()
    for settings, expected in (({"graph": "gat"}, 0), ({}, 1)):
        layer = make_model(head="fused", **settings)
        given = {}
        layer.graph[0].register_forward_pre_hook(lambda _, args, given=given: given.update(edges=args[1]))
        edges = layer(x, mask, times).edges
        close(given["edges"], anatomy + edges * expected)
    for alone in (run(graph="none"), run(branches="time"), run(head="fused", graph="none")):
        assert (alone.edges[..., ~itself] == 0).all() and (alone.edges[..., itself] > 0).any()
        assert not any(k.startswith("graph") for k in alone.attention)
    mask[0, 0, 5] = False
    assert run().terms.imputed.nonzero().tolist() == [[0, 0, 5]] and not run(graph="none").terms.imputed.any()
    assert set(run(head="fused", branches="graph").attention) == {"graph.0", "graph.1"}
    assert set(run(branches="graph").attention) == set()
    assert set(run(branches="time").attention) == {"time.0", "time.1"}
    assert "cross.0.frame_from_roi" not in run(cross_attention="one-way").attention
    assert not any(k.startswith("cross") for k in run(cross_attention="none").attention)
    assert run(temporal_attention=False).time_weights is None
    assert all(each.au_logits.shape == (2, 4, 17) for each in (out, fused, gat, run(branches="time")))


def test_temporal_attention_scales_frames():
    model, (x, mask, times) = make_model(head="fused", branches="graph", graph="none"), make_inputs(n_clips=1)
    with intervene(model, {"time.weights": torch.tensor([[0.0, 1.0, 0.0, 0.0]])}):
        only = model.logits(x, mask, times)
        changed = x.clone()
        changed[:, [0, 2, 3]] *= 0.5
        aus = model(x, mask, times).au_logits
        with intervene(model, {"au.logits": aus}):
            close(model.logits(changed, mask, times), only)  # frames of weight 0 reach the head through no other way


# ── one frame, no frame, wrong frames ───────────────────────────────────────────────────────────────────────────────


@switches
def test_one_frame(settings):
    out = make_model(**settings)(*make_inputs(n_frames=1))
    assert out.logits.shape == (3, 3) and torch.isfinite(out.logits).all()


@switches
def test_unseen_frames_and_clips_give_no_nan(settings):
    model, (x, mask, times) = make_model(**settings), make_inputs()
    mask[0, 1] = False  # a frame in the middle
    mask[1] = False  # a whole clip
    x.requires_grad_()
    out = model(x, mask, times)
    kept = [] if out.terms is None else [out.terms.aus, out.terms.au_edges, out.terms.region_edges, out.terms.without]
    for value in (out.logits, out.au_logits, *out.attention.values(), *kept):
        assert torch.isfinite(value).all()
    out.logits.sum().backward()
    assert torch.isfinite(x.grad).all() and (x.grad[1] == 0).all() and (x.grad[0, 1] == 0).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_errors_say_which_axis():
    model, (x, mask, times) = make_model(), make_inputs()
    with pytest.raises(ShapeError, match=r"`mask`.*roi should be 22"):
        model(x, mask[:, :, :20], times)
    with pytest.raises(ShapeError, match="`x`"):
        model(x[:, :, :, :2], mask, times)
    with pytest.raises(ShapeError, match=r"`x`.*py"):
        model(x[..., :3, :], mask, times)
    with pytest.raises(ShapeError, match="`times_ms`"):
        model(x, mask, times[:, :2])
    with pytest.raises(ShapeError, match="bool"):
        model(x, mask.float(), times)
    with pytest.raises(ShapeError, match=r"`edges`.*edge should be 284"):
        model(x, mask, times, torch.ones(3, 4, 22))


def test_scale_divides_motion():
    x, mask, times = make_inputs()
    scale = np.array([2.0, 0.5, 3.0])
    scaled = make_model(scale=scale)
    close(
        scaled.logits(x * torch.tensor(scale, dtype=torch.float32)[:, None, None], mask, times),
        make_model().logits(x, mask, times),
    )
    assert "scale" in scaled.state_dict()


def test_mean_motion_counts_most_at_first_and_amplitude_is_kept():
    model, (x, mask, times) = make_model(width=32), make_inputs()
    smooth = x.mean((4, 5), keepdim=True).expand_as(x)
    ripple = x - smooth

    def embed(motion):
        return model.tokens(model.tokens.measure(motion), mask[..., None].float(), times)

    def effect(motion):
        return (embed(motion) - embed(motion * 0)).square().mean()

    per_unit = [effect(m) / m.square().mean() for m in (smooth, ripple)]
    assert per_unit[0] > 5 * per_unit[1]
    close(effect(2 * smooth) / effect(smooth), torch.tensor(4.0), 1e-3)


# ── folds at once, attributions, edges as an input ──────────────────────────────────────────────────────────────────


@switches
def test_stacked_models_equal_the_loop(settings):
    models = [make_model(seed, noise=0.1, **settings) for seed in range(3)]
    x, mask, times = make_inputs()
    mask[0, 2:] = False
    mask[1, :, 5] = False
    params, buffers = stack_module_state(models)

    def call(params, buffers):
        out = functional_call(models[0], (params, buffers), (x, mask, times))
        terms = {} if out.terms is None else {f.name: getattr(out.terms, f.name) for f in fields(out.terms)}
        terms.pop("partners", None)  # of training alone
        return out.logits, out.au_logits, dict(out.attention), terms

    logits, au_logits, attention, terms = vmap(call)(params, buffers)
    for i, model in enumerate(models):
        out = model(x, mask, times)
        close(logits[i], out.logits)
        close(au_logits[i], out.au_logits)
        for name in attention:
            close(attention[name][i], out.attention[name])
        for name in terms:
            close(terms[name][i], getattr(out.terms, name))


@pytest.mark.parametrize(("head", "name"), [("graph", "head.nodes"), ("fused", "head.classify.weight")])
def test_stacked_gradients_and_dropout(head, name):
    models = [make_model(seed, head=head, dropout=0.5).train() for seed in range(2)]
    params, buffers = stack_module_state(models)
    inputs = make_inputs()

    def loss(params, buffers):
        return functional_call(models[0], (params, buffers), inputs).logits.square().mean()

    grads = vmap(torch.func.grad(loss), randomness="different")(params, buffers)
    assert all(torch.isfinite(g).all() for g in grads.values()) and grads[name].abs().max() > 0


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_integrated_gradients_are_complete(head):
    captum = pytest.importorskip("captum.attr")
    model, (x, mask, times) = make_model(head=head, noise=0.1), make_inputs(n_clips=2, n_frames=3)
    target = torch.tensor([0, 2])
    method = captum.IntegratedGradients(model.logits)
    values, delta = method.attribute(
        x, torch.zeros_like(x), target, additional_forward_args=(mask, times), n_steps=64, return_convergence_delta=True
    )
    gap = (model.logits(x, mask, times) - model.logits(x * 0, mask, times)).gather(1, target[:, None])[:, 0]
    assert values.shape == x.shape
    assert (delta.abs() < 0.02 * gap.abs() + 1e-3).all()


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_edges_can_be_given_and_attributed(head):
    """Weights of the region edges are an input: 1 is the network as it is, and integrated gradients add up."""
    model, (x, mask, times) = make_model(head=head, noise=0.1), make_inputs()
    out, ones = model(x, mask, times), torch.ones(3, 4, len(model.region_graph.index))
    close(model.logits(x, mask, times, ones), out.logits, 0)
    steps, total = 64, torch.zeros_like(ones)
    for k in range(steps):
        edges = (ones * (k + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(model.logits(x, mask, times, edges)[:, 1].sum(), edges)[0] / steps
    without = model.logits(x, mask, times, ones * 0)[:, 1]
    close(total.sum((1, 2)), (out.logits[:, 1] - without).detach(), 1e-3)
    assert (out.logits[:, 1] - without).abs().min() > 1e-3
    with pytest.raises(ShapeError, match="`edges`"):
        model(x, mask, times, ones[:, :1])


# ── the rules of the model file ─────────────────────────────────────────────────────────────────────────────────────


def test_rules_of_the_model_file():
    for module in (stagkit.network.model, stagkit.network.attention, stagkit.network.action_units):
        source = inspect.getsource(module)
        code = re.sub(r'(?s:""".*?""")|#[^\n]*', "", source)
        assert "class " in code and code.count("\n") > 60  # the rest of the file is there to be looked at
        code = re.sub(r"nn\.init\.\w+_\(|weight\.copy_\(", "", code)  # parameters are filled in place, once
        banned = r"(?<!self)\.(?:reshape|view|permute|transpose|flatten|unsqueeze|squeeze|softmax)\("
        assert not re.findall(banned + r"|BatchNorm|inplace|[a-z]_\(| [-+*/]= ", code)
    assert len(Path(stagkit.network.model.__file__).read_text(encoding="utf-8").splitlines()) <= 350


def test_probe_names_and_size():
    from stagkit.network.hooks import hook_names

    names = hook_names(make_model())
    expected = "roi.embed time.weights time.pool time.0.attn time.1.attn cross.0.roi_from_frame cross.0.frame_from_roi"
    expected += " graph.edges graph.attn graph.terms au.logits logits"
    fused = "graph.0.scores graph.0.attn graph.0.out graph.1.scores graph.1.attn graph.1.out pooled"
    assert sorted(names) == sorted([*expected.split(), "au.edges"])
    assert sorted(hook_names(make_model(head="fused"))) == sorted([*expected.split(), *fused.split()])
    assert all(isinstance(m, HookPoint) for m in (make_model().head.weights, make_model().region_graph.logits))
    size = sum(p.numel() for p in make_model(width=64).parameters())
    assert 100_000 < size < 250_000


def test_same_seed_same_network_and_a_batch_goes_in():
    batch = make_batch()
    a, b = (make_model(7).logits(batch.x, batch.mask, batch.times_ms) for _ in range(2))
    close(a, b, 0)
