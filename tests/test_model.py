import inspect
import re
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
from stagkit.explain.interventions import make_hooks
from stagkit.network.action_units import compute_clip_aus
from stagkit.network.attention import CrossAttention, EdgeFeatures
from stagkit.network.hooks import HookPoint, intervene, record
from stagkit.network.model import FrameTokens, RegionTokens, mean_over
from tests.tiny import make_batch, make_inputs, make_model, permute_atlas

torch.set_num_threads(1)

SWITCHES = [
    {},
    {"graph": "gat"},
    {"graph": "none"},
    {"connectivity": "fixed"},
    {"connectivity": "learned"},
    {"branches": "graph"},
    {"branches": "time"},
    {"cross_attention": "one-way"},
    {"cross_attention": "none"},
    {"temporal_attention": False},
    {"cross_layers": 2},
    {"head": "graph"},
    {"head": "graph", "graph": "none"},
    {"head": "graph", "branches": "graph"},
    {"head": "graph", "branches": "time"},
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
    out = tokens(index, torch.ones(2, 4, 3, 1), torch.zeros(2, 4))
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
    out = make_model()(x, mask, times)
    shapes = {name: tuple(a.shape) for name, a in out.attention.items()}
    assert shapes == {
        "graph.0": (2, 5, 4, 22, 22),
        "graph.1": (2, 5, 4, 22, 22),
        "time.0": (2, 4, 5, 5),
        "time.1": (2, 4, 5, 5),
        "cross.0.roi_from_frame": (2, 4, 22, 5),
        "cross.0.frame_from_roi": (2, 4, 5, 22),
    }
    for a in out.attention.values():
        close(a.sum(-1), torch.ones(a.shape[:-1]))
    close(out.time_weights.sum(1), torch.ones(2))
    assert (out.edges > 0).all() and out.edges.shape == (2, 5, 22, 22) and out.au_edges.shape == (2, 5, 17, 17)
    close(out.au_edges, torch.einsum("btkl->btlk", out.au_edges))


def test_permuting_regions_permutes_attention_and_leaves_logits():
    order = np.random.default_rng(0).permutation(22)
    model, other = make_model(), make_model(seed=1, atlas=permute_atlas(order))
    state = model.state_dict()
    moved = {
        k: v
        for k, v in other.state_dict().items()
        if k.split(".")[-1] in ("incidence", "directions", "anatomy", "share", "static")
    }
    for key, axes in {
        "tokens.region": (0,),
        "aus.readout": (1,),
        "connectivity.residual": (0, 1),
    }.items():
        value = torch.randn_like(state[key])  # residual and the rest start alike: make them tell regions apart
        state[key] = value
        moved[key] = value[order] if axes[0] == 0 else value[:, order]
        if axes == (0, 1):
            moved[key] = moved[key][:, order]
    flat = state["head.regions.weight"]
    moved["head.regions.weight"] = flat.reshape(64, 22, -1)[:, order].reshape(64, -1)
    model.load_state_dict(state)
    other.load_state_dict({**state, **moved})
    x, mask, times = make_inputs()
    mask[0, :, 4] = False
    a, b = model(x, mask, times), other(x[:, :, order], mask[:, :, order], times)
    close(b.logits, a.logits)
    close(b.edges, a.edges[:, :, order][..., order])
    close(b.attention["graph.1"], a.attention["graph.1"][..., order, :][..., order])
    close(b.attention["cross.0.frame_from_roi"], a.attention["cross.0.frame_from_roi"][..., order])
    close(b.attention["cross.0.roi_from_frame"], a.attention["cross.0.roi_from_frame"][:, :, order])


@switches
def test_padding_changes_nothing(settings):
    model, (x, mask, times) = make_model(**settings), make_inputs(n_frames=3)
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
    for name, attention in plain.attention.items():
        got = padded.attention[name]
        close(
            got[:, :3] if name.startswith("graph") else got[..., : attention.shape[-2], : attention.shape[-1]],
            attention,
        )


@switches
def test_an_unseen_region_is_not_attended_to(settings):
    model, (x, mask, times) = make_model(**settings), make_inputs()
    mask[:, 1, 5] = False
    mask[0, :, 7] = False
    out = model(x, mask, times)
    for name, attention in out.attention.items():
        if name.startswith("graph"):
            assert (attention[:, 1, ..., 5] == 0).all() and (attention[0, ..., 7] == 0).all()
        if name.endswith("frame_from_roi"):
            assert (attention[0, ..., 7] == 0).all() and (attention[..., 5] > 0).all()
    x[:, 1, 5] = x[0, :, 7] = torch.nan
    close(model.logits(x, mask, times), out.logits, 0)


def test_edge_features_look_from_target_to_source():
    features = EdgeFeatures(ATLAS)
    flow = torch.zeros(1, 1, 22, 2)
    a, b = ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")
    flow[0, 0, a], flow[0, 0, b] = torch.tensor([0.0, 5.0]), torch.tensor([0.0, -3.0])
    seen = features(flow)[0, 0]
    right, down, neighbour, mirror, same, together = seen[a, b].tolist()
    assert right < 0 < down  # from the cheek the lip corner lies towards the midline and below
    assert (neighbour, mirror, same) == (1, 0, 0) and together == pytest.approx(-1, abs=1e-3)
    assert seen[a, ATLAS.index("cheek_R"), 2:].tolist() == [0, 1, 0, 0]
    assert seen[a, a].tolist()[:5] == [0, 0, 0, 0, 1]
    assert seen[ATLAS.index("chin"), ATLAS.index("chin"), 2:].tolist() == [0, 0, 1, 0]  # its own mirror: the same


# ── action units ────────────────────────────────────────────────────────────────────────────────────────────────────


def au_response(model, number, motion, n_rois=22):
    """AU evidence for a still face in which some regions move: name -> (u, v), % of IOD."""
    x = torch.zeros(1, 1, n_rois, 3, 5, 5)
    for name, (u, v) in motion.items():
        x[0, 0, ATLAS.index(name), 0], x[0, 0, ATLAS.index(name), 1] = u, v
    logits = model(x, torch.ones(1, 1, n_rois, dtype=torch.bool), torch.zeros(1, 1)).au_logits
    return logits[0, 0, AU_NUMBERS.index(number)].item()


def test_au_evidence_reads_only_the_regions_that_the_au_moves():
    x, mask, times = make_inputs(n_clips=1, n_frames=2)
    x.requires_grad_()
    logits = make_model()(x, mask, times).au_logits
    for k in range(len(AU_NUMBERS)):
        (grad,) = torch.autograd.grad(logits[0, 0, k], x, retain_graph=True)
        reads = grad.abs().sum((0, 1, 3, 4, 5)) > 0
        assert reads.tolist() == (ATLAS.incidence[k] > 0).tolist()
        assert (grad[:, 1] == 0).all()  # and only its own frame
    brows = [i for i, name in enumerate(ATLAS.names) if "brow" in name]
    assert not ATLAS.incidence[AU_NUMBERS.index(12), brows].any()


@pytest.mark.parametrize("seed", range(4))
def test_au_evidence_knows_the_direction(seed):
    model = make_model(seed)
    smile = {"lip_corner_R": (-2, -2), "lip_corner_L": (2, -2), "cheek_R": (0, -1), "cheek_L": (0, -1)}
    frown = {"lip_corner_R": (0, 2), "lip_corner_L": (0, 2)}
    swapped = {"lip_corner_R": (2, -2), "lip_corner_L": (-2, -2)}  # up, but towards the midline
    still = au_response(model, 12, {})
    assert au_response(model, 12, smile) > still > au_response(model, 12, frown)
    assert au_response(model, 12, smile) > au_response(model, 12, swapped)
    assert au_response(model, 15, frown) > au_response(model, 15, {}) > au_response(model, 15, smile)
    one_side = {"lip_corner_L": (2, -2), "cheek_L": (0, -1)}
    assert au_response(model, 12, smile) > au_response(model, 12, one_side) > still


def test_evidence_starts_low_on_a_still_face():
    x, mask, times = make_inputs()
    evidence = torch.sigmoid(make_model(width=64)(x * 0, mask, times).au_logits)
    assert 0.03 < evidence.mean() < 0.25


def test_active_aus_open_edges():
    model, (x, mask, times) = make_model(), make_inputs(n_clips=1, n_frames=1)
    k, target, source = AU_NUMBERS.index(12), ATLAS.index("lip_corner_L"), ATLAS.index("cheek_L")

    def edges(evidence):
        level = torch.full((17,), 0.01)
        level[k] = evidence
        with intervene(model, {"au.logits": level.logit()}):
            return model(x, mask, times).edges[0, 0]

    low, high = edges(0.05), edges(0.95)
    assert high[target, source] > low[target, source] * 1.2
    close(
        high[ATLAS.index("brow_mid_L"), ATLAS.index("upper_lid_L")],
        low[ATLAS.index("brow_mid_L"), ATLAS.index("upper_lid_L")],
        1e-2,
    )


def test_au_edges_lead_from_target_to_source():
    model, (x, mask, times) = make_model(), make_inputs()
    only = torch.zeros(17, 17)
    only[AU_NUMBERS.index(5), AU_NUMBERS.index(17)] = 1.0  # the lid raiser listens to the chin raiser
    lid, chin = ATLAS.index("upper_lid_L"), ATLAS.index("chin")
    with intervene(model, {"au.edges": 0.0}):
        without = model(x, mask, times).edges
    with intervene(model, {"au.edges": only}):
        opened = model(x, mask, times).edges - without
    close(opened[..., lid, chin], torch.ones(3, 4))  # alpha starts at 1, both regions are the strongest of their AU
    close(opened[..., chin, lid], torch.zeros(3, 4))


def test_au_prior_is_where_the_affinity_starts():
    prior = np.random.default_rng(0).uniform(0.05, 1, (17, 17))
    model, (x, mask, times) = make_model(au_prior=prior), make_inputs()
    with intervene(model, {"au.logits": 100.0}):
        close(model(x, mask, times).au_edges[0, 0], torch.tensor((prior + prior.T) / 2, dtype=torch.float32))
    for bad in (np.ones((3, 3)), np.full((17, 17), np.nan), -np.ones((17, 17))):
        with pytest.raises(ShapeError, match="au_prior"):
            make_model(au_prior=bad)


# ── switches ────────────────────────────────────────────────────────────────────────────────────────────────────────


@switches
def test_every_parameter_learns(settings):
    model, (x, mask, times) = make_model(**settings), make_inputs()
    out = model(x, mask, times)
    (out.logits.square().sum() + compute_clip_aus(out.au_logits, mask.any(2)).square().sum()).backward()
    idle = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 1e-8]
    assert not idle
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
    by_weight = {name for name in calls if name.endswith("lin_edge")}  # its weight enters one batched product
    assert {n: c for n, c in calls.items() if c != 1 and n not in empty | by_weight} == {}


def test_what_each_switch_changes():
    x, mask, times = make_inputs(n_clips=2)
    anatomy = torch.tensor(ATLAS.anatomy)

    def run(**settings):
        return make_model(**settings)(x, mask, times)

    au, learned, fixed, gat = run(), run(connectivity="learned"), run(connectivity="fixed"), run(graph="gat")
    assert (au.edges[0, 0] - au.edges[1, 0]).abs().max() > 1e-3 and (au.edges[0, 0] - au.edges[0, 1]).abs().max() > 1e-3
    close(learned.edges, learned.edges[:1, :1].expand(2, 4, 22, 22), 0)
    assert (learned.edges > 0).all() and learned.au_edges is None
    for out in (fixed, gat):
        close(out.edges, anatomy.expand(2, 4, 22, 22), 0)
        assert (out.attention["graph.0"][..., anatomy == 0] == 0).all() and out.au_edges is None
    assert make_model(graph="gat").graph[0].egat.lin_edge is None
    for out in (run(graph="none"), run(branches="time")):
        assert out.edges is None and out.au_edges is None and not any(k.startswith("graph") for k in out.attention)
    assert set(run(branches="graph").attention) == {"graph.0", "graph.1"}
    assert set(run(branches="time").attention) == {"time.0", "time.1"}
    assert "cross.0.frame_from_roi" not in run(cross_attention="one-way").attention
    assert not any(k.startswith("cross") for k in run(cross_attention="none").attention)
    assert run(temporal_attention=False).time_weights is None
    assert all(out.au_logits.shape == (2, 4, 17) for out in (au, gat, run(branches="time")))


def test_temporal_attention_scales_frames():
    model, (x, mask, times) = make_model(branches="graph", graph="none"), make_inputs(n_clips=1)
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
    for value in (out.logits, out.au_logits, *out.attention.values()):
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
    still = model.tokens(x * 0, mask[..., None].float(), times)

    def effect(motion):
        return (model.tokens(motion, mask[..., None].float(), times) - still).square().mean()

    per_unit = [effect(m) / m.square().mean() for m in (smooth, ripple)]
    assert per_unit[0] > 5 * per_unit[1]
    close(effect(2 * smooth) / effect(smooth), torch.tensor(4.0), 1e-3)


# ── folds at once, attributions, edges as an input ──────────────────────────────────────────────────────────────────


@switches
def test_stacked_models_equal_the_loop(settings):
    models = [make_model(seed, **settings) for seed in range(3)]
    x, mask, times = make_inputs()
    mask[0, 2:] = False
    params, buffers = stack_module_state(models)

    def call(params, buffers):
        out = functional_call(models[0], (params, buffers), (x, mask, times))
        return out.logits, out.au_logits, dict(out.attention)

    logits, au_logits, attention = vmap(call)(params, buffers)
    for i, model in enumerate(models):
        out = model(x, mask, times)
        close(logits[i], out.logits)
        close(au_logits[i], out.au_logits)
        for name in attention:
            close(attention[name][i], out.attention[name])


def test_stacked_gradients_and_dropout():
    models = [make_model(seed, dropout=0.5).train() for seed in range(2)]
    params, buffers = stack_module_state(models)
    inputs = make_inputs()

    def loss(params, buffers):
        return functional_call(models[0], (params, buffers), inputs).logits.square().mean()

    grads = vmap(torch.func.grad(loss), randomness="different")(params, buffers)
    assert all(torch.isfinite(g).all() for g in grads.values()) and grads["head.classify.weight"].abs().max() > 0


def test_integrated_gradients_are_complete():
    captum = pytest.importorskip("captum.attr")
    model, (x, mask, times) = make_model(), make_inputs(n_clips=2, n_frames=3)
    target = torch.tensor([0, 2])
    method = captum.IntegratedGradients(model.logits)
    values, delta = method.attribute(
        x, torch.zeros_like(x), target, additional_forward_args=(mask, times), n_steps=64, return_convergence_delta=True
    )
    gap = (model.logits(x, mask, times) - model.logits(x * 0, mask, times)).gather(1, target[:, None])[:, 0]
    assert values.shape == x.shape
    assert (delta.abs() < 0.02 * gap.abs() + 1e-3).all()


def test_edges_can_be_given_and_attributed():
    model, (x, mask, times) = make_model(), make_inputs()
    out = model(x, mask, times)
    close(model.logits(x, mask, times, out.edges.detach()), out.logits)
    anatomy = torch.tensor(ATLAS.anatomy).expand_as(out.edges)
    assert (model.logits(x, mask, times, anatomy) - out.logits).abs().max() > 1e-5
    steps, total = 64, torch.zeros_like(anatomy)
    difference = out.edges.detach() - anatomy
    for k in range(steps):
        edges = (anatomy + difference * (k + 0.5) / steps).requires_grad_()
        total += torch.autograd.grad(model.logits(x, mask, times, edges)[:, 1].sum(), edges)[0] / steps
    gap = out.logits[:, 1] - model.logits(x, mask, times, anatomy)[:, 1]
    close((total * difference).sum((1, 2, 3)), gap.detach(), 1e-3)
    with pytest.raises(ShapeError, match="`edges`"):
        model(x, mask, times, anatomy[:, :1])


def test_removing_an_edge_changes_the_logits():
    model, (x, mask, times) = make_model(), make_inputs()
    before = model(x, mask, times)
    with intervene(model, make_hooks([["region", "lip_corner_L", "cheek_L"]])), record(model, "graph.*") as seen:
        after = model(x, mask, times)
    target, source = ATLAS.index("lip_corner_L"), ATLAS.index("cheek_L")
    for i in (0, 1):
        assert (seen[f"graph.{i}.attn"][..., target, source] == 0).all()
        assert (before.attention[f"graph.{i}"][..., target, source] > 0).all()
        close(seen[f"graph.{i}.attn"].sum(-1), torch.ones(3, 4, 4, 22))
    assert (after.edges[..., target, source] == 0).all() and (after.edges[..., source, target] > 0).all()
    assert (after.logits - before.logits).abs().max() > 1e-5


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
    expected = "roi.embed au.logits au.edges graph.edges graph.0.scores graph.0.attn graph.0.out time.weights time.pool"
    expected += " time.0.attn cross.0.roi_from_frame cross.0.frame_from_roi pooled logits"
    assert set(expected.split()) <= set(names) and len(set(names)) == len(names)
    assert all(isinstance(m, HookPoint) for m in (make_model().head.pooled, make_model().aus.logits))
    size = sum(p.numel() for p in make_model(width=64).parameters())
    assert 100_000 < size < 250_000


def test_same_seed_same_network_and_a_batch_goes_in():
    batch = make_batch()
    a, b = (make_model(7).logits(batch.x, batch.mask, batch.times_ms) for _ in range(2))
    close(a, b, 0)
