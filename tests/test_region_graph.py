"""Action units come from the edges between regions and from nothing else; hidden regions are estimated over the graph."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.network.action_units import Imputation, RegionGraph, make_au_edges
from stagkit.network.hooks import intervene, record
from stagkit.network.model import RegionTokens
from stagkit.training.augment import mirror
from stagkit.training.train import train_fold
from tests.small import make_dataset
from tests.tiny import make_inputs, make_model, permute_atlas

torch.set_num_threads(1)
INDEX = {name: i for i, name in enumerate(ATLAS.names)}
#: Every way to build a network whose logits are a sum of terms.
SETTINGS = [
    {},
    {"graph": "none"},
    {"branches": "graph"},
    {"branches": "time"},
    {"cross_attention": "one-way"},
    {"cross_attention": "none"},
    {"branches": "graph", "temporal_attention": False},
]
settings = pytest.mark.parametrize("settings", SETTINGS, ids=lambda s: "-".join(map(str, s.values())) or "default")
heads = pytest.mark.parametrize("head", ["graph", "fused"])


def close(a, b, atol=1e-5):
    torch.testing.assert_close(a, b, atol=atol, rtol=0)


def make_gaps(n_clips=3, n_frames=4):
    """Inputs with padding, a hidden frame, hidden regions, and a clip of which nothing is visible."""
    x, mask, times = make_inputs(n_clips, n_frames)
    mask[0, :, [5, 11]] = False
    mask[0, -1] = False
    mask[1, 1] = False
    mask[1, 2, 3:18] = False
    mask[2] = False
    return x, mask, times


# ── which edges there are ───────────────────────────────────────────────────────────────────────────────────────────


def test_edges_join_regions_that_the_au_moves():
    edges = make_au_edges(ATLAS)
    au, target, source = edges.T
    assert len(edges) == len({tuple(e) for e in edges.tolist()}) == 284
    assert (ATLAS.incidence[au, target] > 0).all() and (ATLAS.incidence[au, source] > 0).all()
    assert (ATLAS.anatomy[target, source] == 1).all()
    corner, cheek = INDEX["lip_corner_L"], INDEX["cheek_L"]
    own = {(t, s) for k, t, s in edges.tolist() if AU_NUMBERS[k] == 12}
    assert {(corner, cheek), (cheek, corner), (corner, INDEX["lip_corner_R"]), (corner, corner)} <= own
    assert (corner, INDEX["chin"]) not in own, "neighbours, but the zygomaticus does not move the chin"
    assert (cheek, INDEX["lip_corner_R"]) not in own, "both are moved, but they are no neighbours"
    assert INDEX["nose_bridge"] not in set(target), "no AU moves the reference"
    alone = make_au_edges(ATLAS, exchange=False)
    assert (alone[:, 1] == alone[:, 2]).all() and len(alone) == (ATLAS.incidence > 0).sum()


def test_edges_are_mirror_images():
    """The left half of each subgraph is the right half mirrored, with the side turned round and the same scale."""
    graph = RegionGraph(StagConfig(width=8), ATLAS)
    where = {tuple(e): i for i, e in enumerate(graph.index.tolist())}
    for i, (au, target, source) in enumerate(graph.index.tolist()):
        j = where[au, ATLAS.mirror[target], ATLAS.mirror[source]]
        assert graph.side[i] == -graph.side[j] and graph.share[i] == graph.share[j]
        right, down, same, partners = graph.static[i].tolist()
        # the mean face itself is symmetric to 0.01 IOD
        np.testing.assert_allclose(graph.static[j].tolist(), [-right, down, same, partners], atol=0.02)
        assert graph.side[i] == {"L": 1, "R": -1, "": 0}[ATLAS.rois[target].side]
        assert (same, partners) == (target == source, target != source and ATLAS.mirror[target] == source)
    right, down, *_ = graph.static[where[AU_NUMBERS.index(12), INDEX["cheek_L"], INDEX["lip_corner_L"]]].tolist()
    assert right < 0 < down, "from the left cheek the lip corner lies towards the midline and below"


def test_edges_can_be_chosen():
    """Other edges in any order; an AU without an edge is its bias alone."""
    k, cheek, corner = AU_NUMBERS.index(12), INDEX["cheek_L"], INDEX["lip_corner_L"]
    model, (x, mask, times) = make_model(noise=0.1), make_inputs()
    model.region_graph.set_edges(np.array([[k, corner, cheek], [k, cheek, corner], [k, corner, corner]]))
    assert model.region_graph.index.tolist() == sorted([[k, corner, cheek], [k, cheek, corner], [k, corner, corner]])
    output = model(x, mask, times)
    close(output.logits, model.head.bias + output.terms.aus.sum(2) + output.terms.au_edges.sum((2, 3)))
    others = [i for i in range(17) if i != k]
    close(output.au_logits[..., others], model.region_graph.bias[others].expand(3, 4, 16))
    with record(model, "graph.attn") as seen:
        model(x, mask, times)
    first, *two = (
        i for _, i in sorted((target != cheek, i) for i, (_, target, _) in enumerate(model.region_graph.index))
    )
    close(seen["graph.attn"][..., first], torch.ones(3, 4))
    close(seen["graph.attn"][..., two].sum(-1), torch.ones(3, 4))


def test_what_follows_from_the_atlas_is_not_saved():
    graph = RegionGraph(StagConfig(width=8), ATLAS)
    saved = {"att", "value", "preference", "source_map.weight", "target_map.weight", "target_map.bias"}
    assert set(graph.state_dict()) == saved | {"relation.weight"}
    n, (slot, place) = len(graph.index), (graph.slot, graph.place)
    assert torch.equal(place.flatten()[slot], torch.arange(n)), "every edge stands in one place of its target's row"
    assert (place < n).sum() == n
    rows = graph.index[place.clamp_max(n - 1)][..., :2]
    assert all(len({tuple(e) for e in row[p < n].tolist()}) == 1 for row, p in zip(rows, place, strict=True))


# ── the sum over edges ──────────────────────────────────────────────────────────────────────────────────────────────


def compute_slowly(graph, states, flow, known, imputed, weights):
    """The equation of ``RegionGraph`` edge by edge: AU logits, terms and attention."""
    n_clips, n_frames, width = states.shape[0], states.shape[1], len(graph.index)
    logits = np.zeros((n_clips, n_frames, 17))
    terms, attention = np.zeros((n_clips, n_frames, width)), np.zeros((n_clips, n_frames, width))
    p = {name: value.detach().double().numpy() for name, value in graph.named_parameters()}
    states, flow, weights = (v.double().numpy() for v in (states, flow, weights))
    edges, centres = graph.index.tolist(), ATLAS.mean_centres
    n_targets = {k: len({t for a, t, _ in edges if a == k}) for k, _, _ in edges}
    for b in range(n_clips):
        for t in range(n_frames):
            messages, scores = {}, {}
            for i, (k, m, n) in enumerate(edges):
                unit = [v / np.sqrt((v**2).sum() + 0.01) for v in (flow[b, t, m], flow[b, t, n])]
                partners = float(m != n and ATLAS.mirror[m] == n)
                relation = [*(centres[n] - centres[m]), float(m == n), partners, unit[0] @ unit[1]]
                along = [
                    flow[b, t, r] @ (d / max(np.linalg.norm(d), 1e-6)) for r in (m, n) for d in [ATLAS.directions[k, r]]
                ]
                relation = np.array([*relation, float(imputed[b, t, m]), float(imputed[b, t, n]), *along])
                e = p["target_map.weight"] @ states[b, t, m] + p["target_map.bias"]
                e = e + p["source_map.weight"] @ states[b, t, n] + p["relation.weight"] @ relation
                messages[i] = e / (1 + np.exp(-e))
                scores[i] = p["att"][k] @ messages[i] + p["preference"][i]
            logits[b, t] = -3
            for i, (k, m, n) in enumerate(edges):
                if not (known[b, t, m] and known[b, t, n]):
                    continue
                rivals = [j for j, (a, c, d) in enumerate(edges) if (a, c) == (k, m) and known[b, t, d]]
                attention[b, t, i] = np.exp(scores[i]) / sum(np.exp(scores[j]) for j in rivals)
                terms[b, t, i] = attention[b, t, i] * (p["value"][i] @ messages[i]) / np.sqrt(n_targets[k])
                power = (flow[b, t, m] ** 2).sum()
                terms[b, t, i] *= weights[b, t, i] * power / (power + 0.1)
                logits[b, t, k] += terms[b, t, i]
    return logits, terms, attention


def test_the_sum_over_edges_is_its_equation():
    torch.manual_seed(0)
    graph = RegionGraph(StagConfig(width=8), ATLAS)
    with torch.no_grad():
        for parameter in graph.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    states, flow = torch.randn(2, 2, 22, 8), torch.randn(2, 2, 22, 2)
    known, weights = torch.rand(2, 2, 22) > 0.2, torch.rand(2, 2, len(graph.index)) * 2
    imputed = known & (torch.rand(2, 2, 22) > 0.7)
    got = graph(states, flow, known, imputed, weights)
    for value, expected in zip(got, compute_slowly(graph, states, flow, known, imputed, weights), strict=True):
        close(value.detach(), torch.tensor(expected, dtype=torch.float32))


@heads
@settings
def test_an_au_is_its_bias_and_the_terms_that_are_kept(head, settings):
    """Any subset of edges removed: exactly their terms are missing from the AU logits, and all others stay."""
    model, (x, mask, times) = make_model(noise=0.1, head=head, **settings), make_gaps()
    index, bias = model.region_graph.index, model.region_graph.bias
    with record(model, "graph.terms", "graph.attn") as whole:
        plain = model(x, mask, times)
    for seed in range(3):
        kept = (torch.rand(3, 4, len(index), generator=torch.Generator().manual_seed(seed)) > 0.4).float()
        with record(model, "graph.terms", "graph.attn") as part:
            removed = model(x, mask, times, kept)
        close(part["graph.terms"], whole["graph.terms"] * kept, 0)
        close(part["graph.attn"], whole["graph.attn"], 0)
        expected = bias + torch.zeros(3, 4, 17).index_add(2, index[:, 0], whole["graph.terms"] * kept)
        close(removed.au_logits.detach(), expected.detach())
        with intervene(model, {"graph.edges": kept}):  # the hook point is the same place
            close(model.logits(x, mask, times), removed.logits, 0)
    assert (removed.logits - plain.logits)[:2].abs().max() > 1e-4


def test_an_au_reads_only_the_regions_that_it_moves():
    graph = RegionGraph(StagConfig(width=8), ATLAS)
    states, flow = torch.randn(1, 2, 22, 8, requires_grad=True), torch.randn(1, 2, 22, 2)
    known = torch.ones(1, 2, 22, dtype=torch.bool)
    logits, _, _ = graph(states, flow, known, ~known)
    for k in range(len(AU_NUMBERS)):
        (grad,) = torch.autograd.grad(logits[0, 0, k], states, retain_graph=True)
        assert (grad.abs().sum((0, 1, 3)) > 0).tolist() == (ATLAS.incidence[k] > 0).tolist()
        assert (grad[:, 1] == 0).all(), "and only its own frame"


@settings
def test_no_path_leads_around_the_edges(settings):
    """All edges removed, nothing of the clip is left: the logits are those of any other clip, ``terms.without``."""
    model, (x, mask, times) = make_model(noise=0.2, **settings), make_gaps()
    mask[2, 0, 4] = True
    none = torch.zeros(3, 4, len(model.region_graph.index))
    x.requires_grad_()
    output = model(x, mask, times, none)
    close(output.au_logits.detach(), model.region_graph.bias.detach().expand(3, 4, 17), 0)
    close(output.logits, output.logits[:1].expand(3, 3), 1e-6)
    close(output.logits, model(x, mask, times).terms.without, 1e-6)
    close(model.logits(x.flip(0) * 9, mask, times + 50, none), output.logits, 0)
    (grad,) = torch.autograd.grad(output.logits.square().sum(), x, allow_unused=True)
    assert grad is None or (grad == 0).all()


def test_the_fused_head_has_other_paths():
    """The control: with ``head='fused'`` regions and frames reach the logits without an AU."""
    model, (x, mask, times) = make_model(noise=0.1, head="fused"), make_inputs()
    none = torch.zeros(3, 4, len(model.region_graph.index))
    assert (model.logits(x, mask, times, none) - model.logits(x.flip(0), mask, times, none)).abs().max() > 1e-2


@settings
@pytest.mark.parametrize("n_frames", [1, 2, 4])
def test_both_sums_are_the_logits(settings, n_frames):
    """With padding, hidden regions and an empty clip: AUs and AU edges, or region edges, add up to the logits."""
    model, (x, mask, times) = make_model(noise=0.3, **settings), make_gaps(n_frames=max(n_frames, 4))
    x, mask, times = x[:, :n_frames], mask[:, :n_frames], times[:, :n_frames]
    output = model(x, mask, times)
    close(output.logits, model.head.bias + output.terms.aus.sum(2) + output.terms.au_edges.sum((2, 3)), 1e-4)
    close(output.logits, output.terms.without + output.terms.region_edges.sum((1, 3)), 1e-4)
    assert output.terms.region_edges.abs().max() > 1e-2 and output.logits.std(0).max() > 1e-2
    assert not output.terms.au_edges.tril().any()
    some = torch.rand(3, n_frames, len(model.region_graph.index))
    part = model(x, mask, times, some)  # also of a network whose edges are weighed
    close(part.logits, part.terms.without + part.terms.region_edges.sum((1, 3)), 1e-4)
    close(part.terms.without, output.terms.without)


def test_terms_near_zero_are_exact_too():
    """Where an AU's terms cancel, or are tiny, the quotients of the rescale rule become derivatives."""
    model, (x, mask, times) = make_model(noise=0.3), make_inputs()
    for factor in (1e-2, 1e-4, 1e-6):
        weak = torch.full((3, 4, len(model.region_graph.index)), factor)
        output = model(x, mask, times, weak)
        gap = (output.logits - output.terms.without).detach()
        close(output.terms.region_edges.sum((1, 3)).detach(), gap, 1e-6 + 1e-3 * float(gap.abs().max()))
        assert torch.isfinite(output.terms.region_edges).all()


@pytest.mark.parametrize("probe", ["time.1.attn", "cross.0.roi_from_frame", "cross.0.frame_from_roi", "time.weights"])
def test_every_part_acts_through_the_action_units(probe):
    model, inputs = make_model(noise=0.1), make_inputs()
    plain = model(*inputs)
    with intervene(model, {probe: 0.0}):
        changed = model(*inputs)
    assert (changed.au_logits - plain.au_logits).abs().max() > 1e-4
    assert (changed.logits - plain.logits).abs().max() > 1e-4
    with record(model, "graph.terms") as kept:
        model(*inputs)
    with intervene(model, {probe: 0.0, "graph.terms": kept["graph.terms"]}):
        close(model.logits(*inputs), plain.logits)


def test_edges_for_drawing_are_attention_times_activation():
    model, (x, mask, times) = make_model(noise=0.1), make_gaps()
    with record(model, "graph.attn") as seen:
        output = model(x, mask, times)
    expected = torch.zeros(3, 4, 22, 22)
    for i, (k, target, source) in enumerate(model.region_graph.index.tolist()):
        expected[..., target, source] += seen["graph.attn"][..., i] * output.au_logits[..., k].sigmoid()
    close(output.edges.detach(), expected.detach())


def test_in_training_classes_teach_the_head_alone():
    """AU activations are trained by AU codes, so that action units stay action units."""
    model, (x, mask, times) = make_model(noise=0.1).train(), make_inputs()
    output = model(x, mask, times)
    assert output.terms.region_edges is None and output.terms.without is None
    output.logits.square().sum().backward()
    taught = {n.split(".")[0] for n, p in model.named_parameters() if p.grad is not None and p.grad.abs().max() > 0}
    assert taught == {"head"}
    x.requires_grad_()
    model.eval().logits(x, mask, times).square().sum().backward()
    assert x.grad.abs().max() > 0, "an explanation sees the whole way"


def test_without_codes_or_phantoms_there_is_nothing_to_learn_from():
    data = make_dataset()
    bare, stag = replace(data, aus=np.full_like(data.aus, np.nan)), StagConfig(width=8, heads=2)
    with pytest.raises(StagkitError, match=r"none of the 24 training clips is AU-coded: set train.auxiliary_weight=1"):
        train_fold(bare, np.arange(len(bare)), stag, TrainConfig(epochs=1))
    for clips, config, more in (
        (data, stag, {}),
        (bare, stag.replace(head="fused"), {}),
        (bare, stag, {"auxiliary": data.batch()}),
    ):
        train = TrainConfig(epochs=1, auxiliary_weight=1.0 if more else 0.0)
        model = train_fold(clips, np.arange(len(data)), config, train, **more)
        batch = data.batch([0, 1])
        assert torch.isfinite(model.logits(batch.x, batch.mask, batch.times_ms)).all()


# ── hidden regions ──────────────────────────────────────────────────────────────────────────────────────────────────


def make_imputation(atlas=ATLAS, gain=1.0):
    imputation = Imputation(atlas)
    with torch.no_grad():
        imputation.scores.zero_()
        imputation.gain.fill_(gain)
    return imputation


def test_a_hidden_region_is_the_mean_of_its_visible_neighbours():
    """By hand: the left lip corner between cheek and chin, with scores ln 3 and 0, and gains 1 and 1/2."""
    imputation, motion = make_imputation(), torch.randn(1, 1, 22, 3, 3)
    corner, cheek, chin = INDEX["lip_corner_L"], INDEX["cheek_L"], INDEX["chin"]
    mask = torch.zeros(1, 1, 22, dtype=torch.bool)
    mask[0, 0, [cheek, chin]] = True
    with torch.no_grad():
        imputation.scores[corner, cheek] = np.log(3)
        imputation.gain[corner, chin] = 0.5
    completed, imputed = imputation(motion, mask)
    close(completed[0, 0, corner].detach(), 3 / 4 * motion[0, 0, cheek] + 1 / 8 * motion[0, 0, chin])
    # each neighbour of cheek or chin is estimated, and nothing else; what is visible stays
    near = (ATLAS.anatomy[:, [cheek, chin]] > 0).any(1)
    assert imputed[0, 0].tolist() == (near & ~mask[0, 0].numpy()).tolist()
    close(completed[0, 0, ~imputed[0, 0]], motion[0, 0, ~imputed[0, 0]], 0)


def test_a_mirror_partner_tells_mirrored_motion():
    imputation, motion = make_imputation(), torch.zeros(1, 1, 22, 3, 3)
    left, right = INDEX["brow_outer_L"], INDEX["brow_outer_R"]
    # rows: u, v, strain; columns: mean, slope to the right, slope down
    motion[0, 0, right] = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]])
    mask = torch.zeros(1, 1, 22, dtype=torch.bool)
    mask[0, 0, right] = True
    completed, imputed = imputation(motion, mask)
    close(completed[0, 0, left].detach(), torch.tensor([[-1.0, 2, -3], [4, -5, 6], [7, -8, 9]]))
    assert imputed[0, 0, left] and not imputed[0, 0, right]
    # the same as measuring a mirrored face
    tokens, x = RegionTokens(StagConfig(width=8), 22, 5), torch.randn(1, 1, 22, 3, 5, 5)
    flipped, _ = mirror(x, torch.ones(1, 1, 22, dtype=torch.bool), torch.tensor([True]))
    close(tokens.measure(flipped), tokens.measure(x)[:, :, torch.as_tensor(ATLAS.mirror)] * imputation.sign)


@settings
def test_a_region_without_visible_neighbours_stays_unknown(settings):
    imputation, motion = make_imputation(), torch.randn(1, 2, 22, 3, 3)
    chin = INDEX["chin"]
    mask = torch.ones(1, 2, 22, dtype=torch.bool)
    mask[0, 0, np.flatnonzero(ATLAS.anatomy[chin])] = False
    completed, imputed = imputation(motion, mask)
    assert not imputed[0, 0, chin] and not imputed[0, 1].any() and imputed[0, 0, INDEX["lip_corner_L"]]
    close(completed[0, 1], motion[0, 1], 0)
    model, (x, _, times) = make_model(**settings), make_inputs(1, 2)
    output = model(x, mask, times)
    has = settings.get("graph") != "none" and settings.get("branches") != "time"
    assert torch.equal(output.terms.imputed, imputed & has)
    ends = (model.region_graph.index[:, 1:] == chin).any(1)
    assert (output.terms.au_terms[0, 0, ends] == 0).all() and (output.terms.au_terms[0, 1, ends] != 0).any()


def test_imputation_follows_the_atlas():
    order = np.random.default_rng(3).permutation(22)
    motion, mask = torch.randn(2, 3, 22, 3, 3), torch.rand(2, 3, 22) > 0.5
    completed, imputed = make_imputation()(motion, mask)
    other, moved = make_imputation(permute_atlas(order))(motion[:, :, order], mask[:, :, order])
    close(other, completed[:, :, order])
    assert torch.equal(moved, imputed[:, :, order])


def test_hiding_a_region_is_mended_by_training():
    """A region moves as its mirror partner does; after training on hidden regions its estimate comes close to that."""
    torch.manual_seed(0)
    imputation = Imputation(ATLAS)
    motion = torch.randn(64, 1, 22, 3, 3) * 0.1
    left, right = INDEX["cheek_L"], INDEX["cheek_R"]
    motion[:, :, right] = torch.randn(64, 1, 3, 3)
    motion[:, :, left] = motion[:, :, right] * imputation.sign
    mask = torch.ones(64, 1, 22, dtype=torch.bool)
    mask[..., left] = False
    optimiser = torch.optim.Adam(imputation.parameters(), 0.1)

    def miss():
        return (imputation(motion * mask[..., None, None], mask)[0] - motion)[:, :, left].square().mean()

    before = miss().item()
    for _ in range(60):
        optimiser.zero_grad()
        miss().backward()
        optimiser.step()
    assert miss().item() < 0.05 * before


def test_a_face_at_rest_is_the_face_without_edges():
    """No motion: every AU at its rest, logits those without region edges, whatever the parameters."""
    model, (x, mask, times) = make_model(noise=0.3), make_inputs()
    still = model(torch.zeros_like(x), mask, times)
    close(still.au_logits, torch.full_like(still.au_logits, -3))
    close(still.logits, still.terms.without)
    assert not still.terms.region_edges.any()
