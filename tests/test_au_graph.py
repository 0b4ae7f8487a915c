"""The AU-graph explorer: what travels to the browser, and what the traits promise (test_au_graph_browser drives them)."""

import json
import re
import subprocess
import sys

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.explorers.au_graph.scene import compute_cutoff, compute_scene, place_on_face
from stagkit.explorers.browser import pack, unpack
from tests.small import make_dataset, make_small_model

N_AUS, N_ROIS = len(AU_LABELS), len(ATLAS.names)
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
    assert len(every) == N_ROIS * (N_ROIS - 1) + N_AUS * (N_AUS - 1)
    kinds = [len(scene.shown_edges(0, 2, view="region", threshold=0, edge_kind=k)) for k in ("anatomical", "learned")]
    assert kinds[0] == 2 * len({frozenset(r[:2]) for r in ATLAS.edge_reasons}) and sum(kinds) == N_ROIS * (N_ROIS - 1)


def test_default_threshold_leaves_about_twenty_edges_at_the_peak():
    scene = compute_scene(*make_output())
    for clip in range(5):
        edges = scene.shown_edges(clip, scene.peak_frame(clip))
        for graph in ("au", "region"):
            assert 8 <= sum(edge.graph == graph for edge in edges) <= 45


def test_cutoff_is_a_value_that_occurs():
    values = np.array([3.0, 1.0, 2.0, 4.0])
    assert [compute_cutoff(values, q) for q in (0, 0.5, 0.75, 1)] == [1, 3, 4, 4]


@pytest.mark.parametrize("array", [np.zeros((2, 3)), np.array([[-3.0, 2.0]]), np.array([[1e-9, 5.0, 0.123456]])])
def test_packing_keeps_four_digits_of_the_largest_value(array):
    assert np.abs(unpack(pack(array)) - array).max() <= np.abs(array).max() / 60_000 + 1e-12


def test_au_nodes_lie_apart_and_near_their_muscles():
    header = compute_scene(*make_numbered()).header()
    for spots, gap in ((place_on_face(), 0.2), (np.array(header["au_circle"]), 0.25)):
        apart = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + 9 * np.eye(N_AUS)
        assert apart.min() > gap
    face = dict(zip(AU_LABELS, place_on_face(), strict=True))
    assert face["AU01"][1] < face["AU06"][1] < face["AU12"][1] < face["AU17"][1]


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
    widget.quantity, widget.head = "attention", 2
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
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(widgets, trait, value, says):
    widget = widgets.view_au_graph(*make_output())
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


@pytest.fixture(scope="module")
def alive():
    """Clips of a small network, its output and itself."""
    torch = pytest.importorskip("torch")
    model, batch = make_small_model(), make_dataset(n_subjects=3, per_subject=4).batch()
    with torch.no_grad():
        return model(batch.x, batch.mask, batch.times_ms), batch, model


def test_with_the_network_everything_can_be_removed_and_clamped(widgets, alive):
    from stagkit.explain.interventions import compute_probabilities

    torch = pytest.importorskip("torch")
    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, clip=2)
    whole = dict(widget.probabilities)
    moved = []
    for change in (["region", "cheek_L", "chin"], ["au", "AU12", 0.9], ["region", "chin"], ["frame", 1, 0.0]):
        widget.interventions = [change]
        wanted = compute_probabilities(model, batch.select(torch.tensor([2])), [change])
        assert list(widget.probabilities.values()) == pytest.approx(wanted.tolist(), abs=1e-5)
        assert widget._computed["error"] == ""
        moved.append(widget.probabilities != whole)
    assert sum(moved) >= 3, "a single edge may do nothing to five digits"
    widget.interventions = [["au", "AU12"], ["au", "AU12", 0.5]]
    assert widget.interventions == [["au", "AU12", 0.5]], "the later one stands"
    widget.interventions = [["frame", k] for k in range(3)]
    assert "leave at least one" in widget._computed["error"] and widget.probabilities == whole
    widget.interventions = []
    assert widget.probabilities == whole


def test_effect_and_attribution_are_those_of_the_library(widgets, alive):
    from stagkit.explain.attribution import attribute
    from stagkit.explain.interventions import compute_edge_ablation

    torch = pytest.importorskip("torch")
    output, batch, model = alive
    one = batch.select(torch.tensor([1]))
    widget = widgets.view_au_graph(output, batch, model=model, clip=1, quantity="effect", target="positive")
    widget.selected_edge = {"target": "cheek_L", "source": "lip_corner_L"}
    i, j = ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")
    effect = compute_edge_ablation(model, one, target=1)[0, i, j]
    assert widget.selected_edge["value"] == pytest.approx(effect, abs=2e-6)
    assert widget._measured["key"] == [1, 0, -1] and widget._measured["target"] == 1
    widget.quantity = "attribution"
    values = attribute(model, one, "edge integrated gradients", target=1, n_steps=16).values[0]
    assert widget.selected_edge["value"] == pytest.approx(values[widget.frame, i, j], rel=1e-3, abs=1e-7)
    table = widget.edges_table()
    assert (table["value"] < 0).any() or (table["value"] > 0).all()
    assert list(table[table.graph == "region"].value.abs()) == sorted(table[table.graph == "region"].value.abs())[::-1]
    bare = widgets.view_au_graph(output, batch, quantity="effect")
    assert "needs the network" in bare._measured["reason"]


def test_two_classes_are_compared_with_intervals_over_subjects(widgets, alive):
    from stagkit.evaluation.bootstrap import compute_mean, compute_mean_map

    output, batch, model = alive
    widget = widgets.view_au_graph(output, batch, model=model, compare={"classes": ["negative", "positive"]})
    one, other = widget._other["sides"]
    assert (one["name"], other["name"], one["n_clips"], one["n_subjects"]) == ("negative", "positive", 6, 3)
    found = unpack(one["au"])
    members = (batch.label == 0).nonzero()[:, 0].tolist()
    values = output.au_edges[members].mean(1).numpy()
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
    assert list(table.columns) == ["clip", "time_ms", "graph", "target", "source", "value"]
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
    for ax, graph in zip(figure.axes, ("region", "au"), strict=True):
        shown = scene.shown_edges(1, scene.peak_frame(1), view=graph)
        assert sum(type(patch) is FancyArrowPatch for patch in ax.patches) == len(shown)
    assert len(widgets.plot_au_graph(scene, view="au", quantity="attention").axes) == 1
    with pytest.raises(StagkitError, match="batch"):
        widgets.plot_au_graph(output)
    with pytest.raises(StagkitError, match="expected a StagOutput"):
        widgets.plot_au_graph(np.zeros(3))


def test_mimebundle_carries_a_picture(widgets):
    bundle, _ = widgets.view_au_graph(*make_output(1))._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and 10_000 < len(bundle["image/png"]) < 250_000
