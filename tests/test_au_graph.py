"""The AU-graph explorer: what travels to the browser, and what the traits promise (test_au_graph_browser drives them)."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.explorers.au_graph.scene import compute_cutoff, compute_scene, place_on_face
from stagkit.explorers.browser import pack, unpack
from tests.small import make_dataset, make_small_model

N_AUS, N_ROIS, N_SPOTS = len(AU_LABELS), len(ATLAS.names), len(place_on_face())
CLASSES = ("happiness", "surprise", "disgust", "repression", "others")
#: AUs that rise and fall in a made-up clip of each class: (AU, peak evidence, time of the peak 0..1)
PROGRAMMES = {
    "happiness": (("AU06", 0.82, 0.5), ("AU12", 0.96, 0.6), ("AU25", 0.42, 0.66)),
    "surprise": (("AU01", 0.9, 0.4), ("AU02", 0.85, 0.45), ("AU05", 0.6, 0.5), ("AU26", 0.5, 0.7)),
    "disgust": (("AU04", 0.8, 0.5), ("AU09", 0.9, 0.55), ("AU10", 0.6, 0.6), ("AU07", 0.4, 0.5)),
    "repression": (("AU15", 0.7, 0.5), ("AU17", 0.88, 0.55), ("AU24", 0.5, 0.6)),
    "others": (("AU04", 0.75, 0.5), ("AU07", 0.5, 0.6)),
}


def make_output(n_clips: int = 5, n_frames: int = 12, n_heads: int = 4, seed: int = 0) -> tuple[StagOutput, Batch]:
    """What a trained network might say of clips that rise and fall: built by hand from the design's equations."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    labels = np.arange(n_clips) % len(CLASSES)
    evidence = np.full((n_clips, n_frames, N_AUS), 0.04) + 0.03 * rng.random((n_clips, n_frames, N_AUS))
    at = np.linspace(0, 1, n_frames)
    for i, c in enumerate(labels):
        for name, peak, when in PROGRAMMES[CLASSES[c]]:
            k = AU_LABELS.index(name)
            evidence[i, :, k] = np.maximum(evidence[i, :, k], peak * np.exp(-(((at - when) / 0.24) ** 2)))
    affinity = 0.3 + 0.5 * rng.random((N_AUS, N_AUS))
    au_edges = np.einsum("nti,ntj,ij->ntij", evidence, evidence, affinity)
    incidence = ATLAS.incidence / ATLAS.incidence.sum(0, keepdims=True).clip(1e-6)
    dynamic = np.einsum("ir,ntij,js->ntrs", incidence, au_edges, incidence)
    edges = 0.35 * ATLAS.anatomy + 1.2 * dynamic + 0.05 * rng.random((N_ROIS, N_ROIS))
    scores = np.log(edges)[:, :, None] + 0.6 * rng.standard_normal((n_clips, n_frames, n_heads, N_ROIS, N_ROIS))
    attention = np.exp(scores)
    attention /= attention.sum(-1, keepdims=True)
    flow = np.einsum("ntk,krc->ntrc", np.clip(evidence - 0.1, 0, None), ATLAS.directions)
    x = np.zeros((n_clips, n_frames, N_ROIS, 3, 8, 8), np.float32)
    x[:, :, :, :2] = (flow + 0.02 * rng.standard_normal(flow.shape))[..., None, None]
    logits = 0.8 * rng.standard_normal((n_clips, len(CLASSES)))
    logits[np.arange(n_clips), labels] += 2.2
    weights = evidence.max(-1)
    tensors = {
        "logits": logits,
        "au_logits": np.log(evidence / (1 - evidence)),
        "edges": edges,
        "au_edges": au_edges,
        "time_weights": weights / weights.sum(1, keepdims=True),
    }
    output = StagOutput(
        **{name: torch.tensor(values, dtype=torch.float32) for name, values in tensors.items()},
        attention={
            "graph.0": torch.full((n_clips, n_frames, n_heads, N_ROIS, N_ROIS), 1 / N_ROIS),
            "graph.1": torch.tensor(attention, dtype=torch.float32),
            "time.0": torch.full((n_clips, n_heads, n_frames, n_frames), 1 / n_frames),
        },
    )
    batch = Batch(
        x=torch.tensor(x),
        mask=torch.ones(x.shape[:3], dtype=torch.bool),
        times_ms=torch.tensor(np.tile(np.round(at * 380, 1), (n_clips, 1)), dtype=torch.float32),
        label=torch.tensor(labels),
        aus=torch.full((n_clips, N_AUS), float("nan")),
        clip_ids=tuple(f"s{i % 3 + 1:02d}_{CLASSES[c][:3]}_{i:02d}" for i, c in enumerate(labels)),
        subjects=tuple(f"sub{i % 3 + 1:02d}" for i in range(n_clips)),
        classes=CLASSES,
    )
    return output, batch


def make_numbered(n_frames: int = 3) -> tuple[StagOutput, Batch]:
    """One clip whose every edge value is its own index, so that no axis can be swapped unseen.

    Region edge A(t, target, source) = 1 + t + target / 100 + source / 10_000; AU edges the same; attention grows
    with the head. Frame 1 is absent for region 3.
    """
    torch = pytest.importorskip("torch")
    t = np.arange(n_frames)[:, None, None]
    edges = 1 + t + np.arange(N_ROIS)[:, None] / 100 + np.arange(N_ROIS) / 10_000
    au_edges = 1 + t + np.arange(N_AUS)[:, None] / 100 + np.arange(N_AUS) / 10_000
    attention = np.stack([edges, 2 * edges], 1)
    x = np.zeros((1, n_frames + 2, N_ROIS, 3, 4, 4), np.float32)  # two padding frames at the end
    x[0, :, :, 0] = np.arange(N_ROIS)[:, None, None]  # u = number of the region
    x[0, :, :, 1] = -np.arange(n_frames + 2)[:, None, None, None]  # v = -number of the frame
    mask = np.zeros((1, n_frames + 2, N_ROIS), bool)
    mask[:, :n_frames] = True
    mask[0, 1, 3] = False

    def padded(array):
        extra = np.full((2, *array.shape[1:]), 999.0)
        return torch.tensor(np.concatenate([array, extra])[None], dtype=torch.float32)

    logits = np.tile(np.linspace(-2, 2, N_AUS), (n_frames, 1)) + np.arange(n_frames)[:, None]
    output = StagOutput(
        logits=torch.tensor([[0.0, 1.0]]),
        au_logits=padded(logits),
        edges=padded(edges),
        au_edges=padded(au_edges),
        time_weights=padded(np.full(n_frames, 1 / n_frames)),
        attention={"graph.9": padded(attention[:, :1] * 0), "graph.10": padded(attention)},
    )
    batch = Batch(
        x=torch.tensor(x),
        mask=torch.tensor(mask),
        times_ms=torch.tensor([[0.0, 40.0, 80.0, 0.0, 0.0]]),
        label=torch.tensor([1]),
        aus=torch.full((1, N_AUS), float("nan")),
        clip_ids=("numbered",),
        subjects=("s",),
        classes=("no", "yes"),
    )
    return output, batch


def unpack_json(packed: dict) -> np.ndarray:
    """As a browser would: base64, little-endian 16 bit, times scale."""
    return unpack(json.loads(json.dumps(packed)))


def make_live() -> tuple:
    """A small network whose AU edges matter, clips with hidden frames and regions, and its output for them."""
    torch = pytest.importorskip("torch")
    model, batch = make_small_model(), make_dataset(n_subjects=3, per_subject=4).batch()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in (model.head.pairs, model.head.partners):
            parameter.normal_(0, 0.15)
        batch.mask[2, 2:] = False
        batch.mask[3, 1] = False
        batch.mask[:, :, 5] = False
        return model(batch.x, batch.mask, batch.times_ms), batch, model


@pytest.fixture(scope="module")
def alive():
    """Output, clips and network of ``make_live``."""
    return make_live()


def ask_network(model, batch, clip: int, changes) -> "torch.Tensor":  # noqa: F821
    """Logits of one clip under cuts of edges and AUs, from the network itself, its hook points set by hand."""
    torch = pytest.importorskip("torch")
    from stagkit.network.hooks import intervene

    one, index = batch.select(torch.tensor([clip])), model.region_graph.index
    edges, pairs, held = torch.ones(1, one.mask.shape[1], len(index)), torch.ones(1, N_AUS, N_AUS), {}
    for change in changes:
        number = change[-1] if isinstance(change[-1], float) else None
        kind, *names = change if number is None else change[:-1]
        level = number or 0.0
        if kind == "region":
            here = (index[:, 1] == ATLAS.index(names[0])) & (index[:, 2] == ATLAS.index(names[1]))
            edges[..., here & (index[:, 0] == AU_LABELS.index(names[2])) if len(names) == 3 else here] = level
        elif len(names) == 2:
            k, m = map(AU_LABELS.index, names)
            pairs[:, k, m] = pairs[:, m, k] = level
        else:
            held[AU_LABELS.index(names[0])] = torch.tensor(min(max(level, 0.001), 0.999)).logit()

    def hold(value):
        value = value.clone()
        for k, level in held.items():
            value[..., k] = level
        return value

    with torch.no_grad(), intervene(model, {"au.logits": hold, "au.edges": lambda value: value * pairs}):
        return model.logits(one.x, one.mask, one.times_ms, edges)[0]


def make_changes(rng, model) -> list:
    """A random combination of cuts: region edges of one AU and of all, AU edges, AUs that are held."""
    index = model.region_graph.index.numpy()
    changes = []
    for k, i, j in index[rng.choice(len(index), rng.integers(0, 30), replace=False)]:
        words = ["region", ATLAS.names[i], ATLAS.names[j]]
        level = [] if rng.random() < 0.6 else [float(np.round(2 * rng.random(), 3))]
        changes.append([*words, *([AU_LABELS[k]] if rng.random() < 0.7 else []), *level])
    for _ in range(rng.integers(0, 12)):
        k, m = sorted(rng.choice(N_AUS, 2, replace=False))
        level = [] if rng.random() < 0.6 else [float(np.round(2 * rng.random(), 3))]
        changes.append(["au", AU_LABELS[k], AU_LABELS[m], *level])
    for k in rng.choice(N_AUS, rng.integers(0, 3), replace=False):
        changes.append(["au", AU_LABELS[k], float(np.round(rng.random(), 3))])
    return list({tuple(part for part in change if isinstance(part, str)): change for change in changes}.values())


# ---------------------------------------------------------------------------------------------------- the sums
def test_sums_are_those_of_the_network_without_and_with_any_cuts(alive):
    from stagkit.explorers.au_graph.sums import Sums, read_network

    torch = pytest.importorskip("torch")
    output, batch, model = alive
    readout, rng = read_network(model), np.random.default_rng(0)
    for clip in range(6):
        terms, valid = output.terms.au_terms[clip].numpy(), batch.mask[clip].any(1).numpy()
        whole = Sums(readout, terms, valid)
        for found, wanted in (
            (whole.logits, output.logits),
            (whole.nodes, output.terms.aus),
            (whole.pairs, output.terms.au_edges),
            (whole.region_edges, output.terms.region_edges),
        ):
            np.testing.assert_allclose(found, wanted[clip], atol=2e-6)
        for _ in range(5):
            changes = make_changes(rng, model)
            found = Sums(readout, terms, valid, changes)
            np.testing.assert_allclose(found.logits, ask_network(model, batch, clip, changes), atol=1e-5)
            # what remains of the clip is again the sum of its edges, and of what is left without them
            held = {k: level for k, level in found.cuts.held.items()}
            rest = torch.tensor(readout.au_bias).sigmoid().numpy()[None] * found.valid
            for k in held:
                rest[:, k] = found.active[:, k]
            nodes, parts = found._read(rest, np.zeros_like(rest))
            without = readout.bias + nodes.sum(1) + parts.sum((1, 2, 3))
            np.testing.assert_allclose(without + found.region_edges.sum((0, 2)), found.logits, atol=1e-9)


def test_an_effect_is_what_removal_does(alive):
    from stagkit.explorers.au_graph.sums import Sums, find_edges, read_network

    output, batch, model = alive
    sums = Sums(read_network(model), output.terms.au_terms[0].numpy(), batch.mask[0].any(1).numpy())
    names = [("cheek_L", "lip_corner_L", "AU12"), ("chin", "chin", ""), ("glabella", "brow_inner_R", "")]
    effects = sums.effects([find_edges(sums.readout.index, *name) for name in names], 1)
    for name, effect in zip(names, effects, strict=True):
        after = ask_network(model, batch, 0, [["region", *filter(None, name)]])[1]
        assert effect == pytest.approx((output.logits[0, 1] - after).item(), abs=2e-6)


# ---------------------------------------------------------------------------------------------------- the scene
def test_scene_keeps_target_and_source_apart_up_to_the_json():
    scene = compute_scene(*make_numbered())
    payload = scene.payload(0)
    for key, n in (("weight", N_ROIS), ("au", N_AUS)):
        values = unpack_json(payload[key])
        assert values.shape == (3, n, n)  # the padding frames are gone
        target, source, time_ = 5, 2, 1
        assert values[time_, target, source] == pytest.approx(1 + 1 + 0.05 + 0.0002, abs=6e-5)
    attention = unpack_json(payload["attention"])
    assert attention.shape == (3, 2, N_ROIS, N_ROIS)
    np.testing.assert_allclose(attention[:, 1], 2 * attention[:, 0], atol=2e-4)
    assert scene.attention_name == "graph.10"  # the last layer, not the last in alphabetical order
    assert payload["times_ms"] == [0.0, 40.0, 80.0]
    assert payload["present"][1][3] == "0" and payload["present"][0][3] == "1"
    flow = unpack_json(payload["flow"])
    np.testing.assert_allclose(flow[2, 7], [7, -2], atol=1e-3)  # u = region, v = -frame
    assert unpack_json(payload["activation"])[0, 0] == pytest.approx(1 / (1 + np.exp(2)), abs=1e-4)


def test_shown_edges_are_the_strongest_and_named_target_first():
    scene = compute_scene(*make_numbered())
    edges = scene.shown_edges(0, 2, view="region", threshold=0.999)
    top = edges[0]
    assert (top.target, top.source) == (ATLAS.names[-1], ATLAS.names[-2])  # the largest index off the diagonal
    assert all(edge.target != edge.source for edge in edges)
    every = scene.shown_edges(0, 2, view="both", threshold=0)
    assert len(every) == N_ROIS * (N_ROIS - 1) + N_AUS * (N_AUS - 1) // 2, "an AU edge has no direction"
    assert all(AU_LABELS.index(e.target) < AU_LABELS.index(e.source) for e in every if e.graph == "au")


def test_default_threshold_leaves_few_edges(alive):
    output, batch, model = alive
    scene = compute_scene(output, batch, model=model)
    for clip in range(5):
        edges = scene.shown_edges(clip, scene.peak_frame(clip), quantity="contribution")
        for graph in ("au", "region"):
            assert 8 <= sum(edge.graph == graph for edge in edges) <= 20


def test_of_a_subgraph_at_least_half_is_shown(alive):
    output, batch, model = alive
    scene = compute_scene(output, batch, model=model)
    index = model.region_graph.index.numpy()
    edges = {(ATLAS.names[i], ATLAS.names[j]) for k, i, j in index if AU_LABELS[k] == "AU12"}
    shown = scene.shown_edges(0, 0, view="region", quantity="contribution", au="AU12")
    assert len(edges) / 2 - 1 <= len(shown) <= len(edges) / 2 + 1 and all(edge.au == "AU12" for edge in shown)
    assert {edge[1:3] for edge in shown} <= edges


def test_hidden_regions_that_were_estimated_travel_to_the_browser(alive):
    output, batch, model = alive
    payload = compute_scene(output, batch, model=model).payload(0)
    assert all(row[5] == "1" for row in payload["imputed"]) and all(row[5] == "0" for row in payload["present"])
    assert all(row.count("1") == 1 for row in payload["imputed"])


def test_cutoff_is_a_value_that_occurs():
    values = np.array([3.0, 1.0, 2.0, 4.0])
    assert [compute_cutoff(values, q) for q in (0, 0.5, 0.75, 1)] == [1, 3, 4, 4]


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.array([[-3.0, 2.0]]), np.array([[1e-9, 5.0, 0.123456]])])
def test_packing_keeps_four_digits_of_the_largest_value(array):
    assert np.abs(unpack(pack(array)) - array).max() <= np.abs(array).max() / 60_000 + 1e-12


def test_au_nodes_lie_apart_and_near_their_muscles():
    from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS

    header, nodes = compute_scene(*make_numbered()).header(), place_on_face()
    for spots, gap in ((np.array([spot for *_, spot in nodes]), 0.17), (np.array(header["au_circle"]), 0.25)):
        apart = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + 9 * np.eye(len(spots))
        assert apart.min() > gap
    face = {(AU_LABELS[k], side): spot for k, side, spot in nodes}
    for k, number in enumerate(AU_NUMBERS):  # one that can act on one side alone is on both, mirrored
        sides = {side for of, side, _ in nodes if of == k}
        assert sides == ({"L", "R"} if ACTION_UNITS[number].sided else {""})
        if "L" in sides:
            np.testing.assert_allclose(face[AU_LABELS[k], "L"], face[AU_LABELS[k], "R"] * [-1, 1])
            assert face[AU_LABELS[k], "L"][0] > 0
        moved = ATLAS.centres(load_mean_face()[0])[ATLAS.incidence[k] > 0]
        assert min(np.linalg.norm(moved - spot, axis=1).min() for of, _, spot in nodes if of == k) < 0.25
    assert face["AU01", "L"][1] < face["AU06", "L"][1] < face["AU12", "L"][1] < face["AU17", ""][1]


def test_scene_says_what_is_wrong():
    output, batch = make_numbered()
    broken = {**vars(output), "edges": output.edges[:, :, :5, :5]}
    with pytest.raises(StagkitError, match="edges"):
        compute_scene(StagOutput(**broken), batch)
    output.edges[0, 1, 2, 3] = float("nan")
    with pytest.raises(StagkitError, match="NaN"):
        compute_scene(output, batch)


def test_scene_of_a_network_without_graph():
    output, batch = make_numbered()
    bare = StagOutput(output.logits, output.au_logits, None, None, None, {})
    scene = compute_scene(bare, batch)
    assert scene.shown_edges(0, 0) == [] and scene.n_heads == 0
    assert scene.payload(0)["weight"] is None


# ---------------------------------------------------------------------------------------------------- the widget
@pytest.fixture
def widgets():
    pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")
    from stagkit.explorers.au_graph import widget as au_graph

    return au_graph


def test_importing_the_package_loads_no_widget_library():
    code = (
        "import sys, stagkit.explorers as w; w.compute_scene; w.plot_au_graph; "
        "print({'anywidget', 'ipywidgets', 'torch', 'networkx'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_traits_follow_each_other(widgets):
    widget = widgets.view_au_graph(*make_output(), clip="s02_sur_01", au="AU01")
    assert widget.clip == 1 and widget.frame == widget.scene.peak_frame(1) and widget.selected_au == "AU01"
    assert sum(widget.probabilities.values()) == pytest.approx(1, abs=1e-3)
    widget.selected_edge = {"target": "cheek_L", "source": "lip_corner_L"}
    before = widget.selected_edge["value"]
    i, j = ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")
    assert before == pytest.approx(widget.scene.edges[1, widget.frame, i, j], rel=1e-3)
    widget.clip = 0
    assert widget._payload["index"] == 0 and widget.selected_edge["clip"] == 0
    assert widget.selected_edge["value"] != before
    widget.quantity = "attention"
    widget.head = 2
    attention = widget.scene.attention[0, widget.frame, 2, i, j]
    assert widget.selected_edge["value"] == pytest.approx(attention, rel=1e-3)
    widget.class_filter = "disgust"
    assert widget.clip == 2


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("clip", 99, r"0\.\.4"),
        ("frame", 12, r"0\.\.11"),
        ("view", "all", "'both'"),
        ("quantity", "gradient", "'attention'"),
        ("quantity", "contribution", "no sum of edges"),
        ("target_class", "joy", "'surprise'"),
        ("seed", 7, "expected one of 0"),
        ("fold", 2, "expected one of -1"),
        ("magnify", 99, "0 to 40"),
        ("compare", {"clip": "nobody"}, "is 'nobody', expected one of"),
        ("compare", {"classes": ["joy", "disgust"]}, "there is no class 'joy'"),
        ("compare", {"subjects": 2}, "'classes'"),
        ("head", 4, "-1, 0, 1, 2, 3"),
        ("threshold", 1.5, "0 to 1"),
        ("class_filter", "joy", "'happiness'"),
        ("selected_au", "AU99", "'AU12'"),
        ("selected_edge", {"target": "cheek_L"}, "source"),
        ("selected_edge", {"target": "cheek_L", "source": "ear"}, "ear"),
        ("interventions", [["region"]], "is no intervention"),
        ("interventions", [["tissue", "cheek_L", "chin"]], "'region', 'au', 'frame'"),
        ("interventions", [["au", "AU12", 2]], "from 0 to 1"),
        ("interventions", [["region", "cheek_L", "chin", "AU99"]], "'AU12'"),
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(widgets, trait, value, says):
    widget = widgets.view_au_graph(*make_output())
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


def test_with_the_network_everything_can_be_removed_and_held(widgets, alive):
    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, clip=2)
    whole = dict(widget.probabilities)
    pair = ["region", "cheek_L", "lip_corner_L"]
    for changes in (
        [pair],
        [[*pair, "AU12"]],
        [[*pair, "AU12", 0.5], ["au", "AU06", "AU12"]],
        [["au", "AU12", 0.9], ["au", "AU04", "AU12", 2.0]],
    ):
        widget.interventions = changes
        wanted = ask_network(model, batch, 2, changes).softmax(-1)
        assert list(widget.probabilities.values()) == pytest.approx(wanted.tolist(), abs=1e-5)
        assert widget._computed["error"] == ""
    for change in (["region", "chin"], ["frame", 1, 0.0]):
        widget.interventions = [change]
        assert widget._computed["error"] == "" and widget.probabilities != whole
    widget.interventions = [["au", "AU12", "AU06"], ["au", "AU06", "AU12", 0.5]]
    assert widget.interventions == [["au", "AU06", "AU12", 0.5]], "an AU edge has no direction; the later one stands"
    widget.interventions = [["frame", k] for k in range(3)]
    assert "leave at least one" in widget._computed["error"] and widget.probabilities == whole
    widget.interventions = []
    assert widget.probabilities == whole


def test_contributions_are_those_of_the_network(widgets, alive):
    output, batch, model = alive
    for given in ({}, {"model": model}):  # with or without the network: the same numbers
        widget = widgets.view_au_graph(output, batch, clip=1, target="positive", **given)
        assert widget.quantity == "contribution"
        widget.selected_edge = {"target": "cheek_L", "source": "lip_corner_L"}
        i, j = ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")
        index = model.region_graph.index
        here = (index[:, 1] == i) & (index[:, 2] == j)
        wanted = output.terms.region_edges[1, :, 1, here].sum().item()
        assert widget.selected_edge["value"] == pytest.approx(wanted, abs=1e-5)
        widget.selected_edge = {"target": "cheek_L", "source": "lip_corner_L", "au": "AU12"}
        of = here & (index[:, 0] == AU_LABELS.index("AU12"))
        wanted = output.terms.region_edges[1, :, 1, of].sum().item()
        assert widget.selected_edge["value"] == pytest.approx(wanted, abs=1e-5)
        widget.quantity = "weight"  # what makes the AU active in this frame
        wanted = output.terms.au_terms[1, widget.frame, of].sum().item()
        assert widget.selected_edge["value"] == pytest.approx(wanted, rel=1e-3)
        widget.quantity = "contribution"
        widget.selected_edge = {"target": "AU12", "source": "AU06"}
        k, m = AU_LABELS.index("AU06"), AU_LABELS.index("AU12")
        assert widget.selected_edge["value"] == pytest.approx(output.terms.au_edges[1, 1, k, m].item(), abs=1e-5)
        table = widget.edges_table()
        assert (
            list(table[table.graph == "region"].value.abs()) == sorted(table[table.graph == "region"].value.abs())[::-1]
        )
    bare = widgets.view_au_graph(output, batch)
    with pytest.raises(StagkitError, match="needs the network"):
        bare.quantity = "effect"


def test_an_effect_is_the_fall_of_the_logit(widgets, alive):
    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, clip=1, quantity="effect", target="positive")
    for edge in (["cheek_L", "lip_corner_L"], ["AU06", "AU12"]):
        widget.selected_edge = {"target": edge[0], "source": edge[1]}
        change = [widget.selected_edge["graph"], *edge]
        fall = output.logits[1, 1] - ask_network(model, batch, 1, [change])[1]
        assert widget.selected_edge["value"] == pytest.approx(fall.item(), rel=1e-3, abs=2e-6)


def test_after_a_cut_the_numbers_are_those_of_the_rest(widgets, alive):
    """Activations, contributions and the sum follow the cut; the edge that was cut keeps the value that it had."""
    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, clip=1, target="positive", threshold=0)
    before = widget.edges_table().set_index(["graph", "target", "source"])["value"]
    widget.interventions = [["au", "AU06", "AU12"], ["au", "AU04", 0.9]]
    after = widget.edges_table().set_index(["graph", "target", "source"])["value"]
    assert after["au", "AU06", "AU12"] == before["au", "AU06", "AU12"]
    assert after["au", "AU04", "AU12"] != before["au", "AU04", "AU12"], "AU04 is held at another activation"
    assert after["au", "AU01", "AU12"] == before["au", "AU01", "AU12"]
    sums = widget.scene.sums(widget.place, widget.interventions)
    whole = sums.readout.bias + sums.nodes.sum(1) + sums.pairs.sum((1, 2))
    np.testing.assert_allclose(whole, sums.logits)
    np.testing.assert_allclose(sums.logits, ask_network(model, batch, 1, widget.interventions), atol=1e-5)


def test_a_fused_network_shows_activations_and_says_why_there_is_no_more(widgets):
    torch = pytest.importorskip("torch")
    model, batch = make_small_model(head="fused"), make_dataset(n_subjects=3, per_subject=4).batch()
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    widget = widgets.view_au_graph(output, batch, model=model)
    assert widget.quantity == "weight" and "no sum of edges" in widget._fused and widget.scene.sums(0) is None
    assert (widget.scene.shown_edges(0, 0, view="region") != []) and widget.scene.shown_edges(0, 0, view="au") == []
    with pytest.raises(StagkitError, match="head='graph'"):
        widget.quantity = "contribution"
    assert widget.to_figure().axes


def test_two_classes_are_compared_with_intervals_over_subjects(widgets, alive):
    from stagkit.evaluation.bootstrap import compute_mean, compute_mean_map

    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, compare={"classes": ["negative", "positive"]})
    one, other = widget._other["sides"]
    assert (one["name"], other["name"], one["n_clips"], one["n_subjects"]) == ("negative", "positive", 6, 3)
    found = unpack(one["au"])
    members = (batch.label == 0).nonzero()[:, 0].tolist()
    values = output.terms.au_edges[members]
    values = np.stack([(v + v.mT)[int(p)] for v, p in zip(values, output.logits[members].argmax(1), strict=True)])
    names = [batch.subjects[i] for i in members]
    mean, low, high, *_ = compute_mean(values[:, 3, 8], names)
    np.testing.assert_allclose(found[:, 3, 8], [mean, low, high], atol=2e-5)
    every = compute_mean_map(values, names)
    np.testing.assert_allclose(found, np.stack(every), atol=2e-5)
    between = unpack(widget._other["difference"]["au"])
    np.testing.assert_allclose(between[0], unpack(other["au"])[0] - found[0], atol=4e-5)
    assert (between[1] <= between[0] + 1e-6).all() and (between[0] <= between[2] + 1e-6).all()
    widget.compare = {"clip": "clip003"}
    assert widget.compare == {"clip": 3} and widget._other["payload"]["index"] == 3
    widget.compare = {}
    assert widget._other == {}


def test_a_difference_of_a_class_with_itself_is_nothing():
    from stagkit.explorers.au_graph.compare import compute_difference, compute_side
    from stagkit.explorers.sources import as_source

    source = as_source(*make_output(10))
    side = compute_side(source, "surprise")
    assert np.abs(compute_difference(side, side, "au")).max() == 0
    swapped = compute_difference(compute_side(source, "disgust"), side, "region")
    back = compute_difference(side, compute_side(source, "disgust"), "region")
    np.testing.assert_allclose(swapped[0], -back[0])
    np.testing.assert_allclose(swapped[1], -back[2], atol=1e-12)


class CountingSource:
    """Many clips, of which each scene that is asked for is counted."""

    def __new__(cls, n_clips):
        from stagkit.explorers.sources import Source

        scene = compute_scene(*make_output(1))

        class Counting(Source):
            asked = 0

            def scene(self, clip, seed=0, fold=-1):
                self.asked += 1
                return scene, 0

            def probabilities(self, seed=0):
                return np.full((n_clips, len(CLASSES)), 0.2)

        names = [f"clip{i:03d}" for i in range(n_clips)]
        return Counting(names, [f"sub{i % 24}" for i in range(n_clips)], CLASSES, np.arange(n_clips) % 5)


def test_three_hundred_clips_travel_one_at_a_time(widgets):
    source = CountingSource(300)
    widget = widgets.view_au_graph(source, clip=17)
    assert source.asked < 8, "only the clip shown is computed"
    sent = len(json.dumps(widget.get_state()))
    assert sent < 700_000 and len(widget._scene["clips"]) == 300
    before = source.asked
    widget.clip = 250
    assert source.asked - before < 8 and widget._payload["index"] == 250


def test_a_run_shows_each_clip_by_the_network_that_never_saw_it(widgets, tmp_path, monkeypatch):
    from stagkit.core.config import StagConfig, TrainConfig
    from stagkit.evaluation.evaluate import evaluate
    from stagkit.evaluation.run import Run

    data = make_dataset(n_subjects=2, per_subject=4)
    monkeypatch.setattr(Run, "load_data", lambda self: data)
    small = StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
    evaluate(data, tmp_path / "run", small, TrainConfig(epochs=2, batch_size=4), workers=1)
    widget = widgets.view_au_graph(tmp_path / "run", clip="clip005")
    run = Run.load(tmp_path / "run")
    row = run.predictions.set_index("clip").loc["clip005"]
    assert widget._payload["own_fold"] == row["fold"]
    for name, chance in widget.probabilities.items():
        assert chance == pytest.approx(row[f"p_{name}"], abs=2e-4)
    other = 1 - int(row["fold"])
    own = dict(widget.probabilities)
    with pytest.raises(StagkitError, match="trained on this clip"):
        widget.fold = other
    shown = widgets.view_au_graph(run, clip="clip005", fold=other, allow_trained=True)
    assert shown.probabilities != own, "another network"
    widget.interventions = [["au", "AU04"]]
    assert widget._computed["error"] == "" and widget.probabilities != own
    assert 'Run.load("' in widget._scene["opening"]
    with pytest.raises(StagkitError, match="is 'clip999', expected one of"):
        widgets.view_au_graph(run, clip="clip999")
    with pytest.raises(StagkitError, match="expected one of 0"):
        widgets.view_au_graph(run, seed=5)


def test_a_network_without_edges_is_one_sentence(widgets):
    output, batch = make_output(1)
    bare = StagOutput(**{**vars(output), "edges": None, "au_edges": None})
    for function in (widgets.view_au_graph, widgets.plot_au_graph):
        with pytest.raises(StagkitError, match="no edges"):
            function(bare, batch)
        with pytest.raises(StagkitError, match="'AU12'"):
            function(output, batch, au="AU99")


def test_muscles_end_where_they_pull():
    from stagkit.core.facs import ACTION_UNITS
    from stagkit.core.regions import MIRROR_68, load_mean_face
    from stagkit.explorers.muscles import describe_moves, make_muscles

    face = load_mean_face()[0]
    drawn = make_muscles(face)
    named = {m.removesuffix(", relaxed") for unit in ACTION_UNITS.values() for m in unit.muscles}
    assert named == set(drawn), "every muscle that an action unit names is drawn, and no other"
    for fibre, corner in zip(drawn["zygomaticus major"][::2], (48, 54), strict=True):
        assert np.linalg.norm(fibre[-1] - face[corner]) < 0.05, "it ends at the corner of the mouth"
        assert fibre[0][1] < fibre[-1][1] and abs(fibre[0][0]) > abs(fibre[-1][0]), "and comes from above and outside"
    mirrored = face[list(MIRROR_68)] * [-1, 1]
    for name, fibres in make_muscles(mirrored).items():
        half = len(fibres) // 2
        for here, there in zip(fibres[:half], drawn[name][half:], strict=True):
            np.testing.assert_allclose(here * [-1, 1], there, atol=1e-9)
    assert describe_moves(ACTION_UNITS[12])[0] == "lip corner up and outward"
    assert describe_moves(ACTION_UNITS[4])[0] == "brow inner down and inward"


def test_parts_of_the_module_have_names_of_their_own():
    """Parts are put one after another: a name that two of them declare would break the module."""
    from stagkit.explorers.au_graph.widget import _PARTS
    from stagkit.explorers.browser import read_esm

    names = re.findall(r"(?m)^(?:async )?(?:function|const|let) +(\w+)", read_esm(*_PARTS))
    assert len(names) == len(set(names)) and len(names) > 20
    assert read_esm(*_PARTS).count("export default") == 1


def test_without_a_network_no_intervention_is_possible_and_the_reason_is_given(widgets):
    assert "model=model" in widgets.view_au_graph(*make_output())._disabled


def test_table_holds_what_is_shown(widgets):
    widget = widgets.view_au_graph(*make_numbered(), frame=2, threshold=0.99)
    table = widget.edges_table()
    assert list(table.columns) == ["clip", "time_ms", "graph", "target", "source", "value", "au"]
    row = table.iloc[0]
    assert (row["clip"], row.time_ms, row.target, row.source) == ("numbered", 80.0, ATLAS.names[-1], ATLAS.names[-2])
    assert row.value == pytest.approx(3 + 0.21 + 0.002, abs=1e-3)
    assert set(widget.edges_table(all_frames=True).time_ms) <= {0.0, 40.0, 80.0}


def test_page_is_self_contained_and_small(widgets, tmp_path):
    one = widgets.view_au_graph(*make_output(1, n_frames=12)).to_html(tmp_path / "one.html")
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == one
    assert set(re.findall(r"https?://[^\s\"'<>;)]*", one)) == {
        "http://www.w3.org/2000/svg",
        "http://graphml.graphdrawing.org/xmlns",
    }, "names of XML, never asked for"
    assert "default-src 'none'" in one and "src=" not in one and "@import" not in one
    four = widgets.view_au_graph(*make_output(4, n_frames=12)).to_html(clips=range(4))
    assert len(one) < 400_000 and (len(four) - len(one)) / 3 < 150_000, "three more clips"
    long = widgets.view_au_graph(*make_output(1, n_frames=48, n_heads=8)).to_html()
    assert len(long) < 1_000_000
    with pytest.raises(StagkitError, match="is a file, or lies below one"):
        widgets.view_au_graph(*make_output(1)).to_html(tmp_path / "one.html" / "one.html")
    assert [file.name for file in tmp_path.iterdir()] == ["one.html"]


def test_page_cannot_be_broken_by_a_name(widgets):
    output, batch = make_numbered()
    batch = Batch(**{**vars(batch), "clip_ids": ("</script><b>",)})
    page = widgets.view_au_graph(output, batch).to_html()
    assert page.count("</script>") == 2 and "<title>AU graph: &lt;/script&gt;" in page


def test_figure_draws_what_the_widget_shows(widgets):
    from matplotlib.patches import FancyArrowPatch

    output, batch = make_output()
    assert len(widgets.plot_au_graph(output, batch, compare={"classes": ["surprise", "disgust"]}).axes) == 3
    figure = widgets.plot_au_graph(output, batch, clip=1, au="AU01")
    assert len(figure.axes) == 2 and figure.get_figwidth() == pytest.approx(7.16)
    scene = compute_scene(output, batch)
    sided = {AU_LABELS[k] for k, side, _ in place_on_face() if side}
    for ax, graph in zip(figure.axes, ("region", "au"), strict=True):
        shown = scene.shown_edges(1, scene.peak_frame(1), view=graph)
        lines = sum(2 if {edge.target, edge.source} & sided else 1 for edge in shown)  # AU edges on both sides
        assert sum(type(patch) is FancyArrowPatch for patch in ax.patches) == lines
    assert len(widgets.plot_au_graph(scene, view="au", quantity="attention").axes) == 1
    with pytest.raises(StagkitError, match="batch"):
        widgets.plot_au_graph(output)
    with pytest.raises(StagkitError, match="expected a StagOutput"):
        widgets.plot_au_graph(np.zeros(3))


def test_mimebundle_carries_a_picture(widgets):
    bundle, _ = widgets.view_au_graph(*make_output(1))._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and 10_000 < len(bundle["image/png"]) < 250_000
