"""The AU-graph explorer: what travels to the browser, what the traits promise, and both driven in a real Chromium."""

import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stagkit.facs import AU_LABELS
from stagkit.rois import ATLAS
from stagkit.types import Batch, StagkitError, StagOutput
from stagkit.widgets.scene import compute_cutoff, compute_scene, pack, unpack

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
    payload = scene.to_json()["clips"][0]
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
    assert unpack_json(payload["evidence"])[0, 0] == pytest.approx(1 / (1 + np.exp(2)), abs=1e-4)


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


def test_face_in_pixels_is_turned_upright():
    from stagkit.rois import load_mean_face

    mean = load_mean_face()[0]
    turn = 90 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    scene = compute_scene(*make_numbered(), face=mean @ turn.T + [300, 200])
    reference = compute_scene(*make_numbered())
    # the mean face's own eye line is not exactly level: compare after its own normalisation
    np.testing.assert_allclose(scene.face[36][1], -scene.face[45][1], atol=1e-9)
    np.testing.assert_allclose(scene.centres, reference.centres, atol=0.02)


def test_au_nodes_lie_apart_and_near_their_muscles():
    scene = compute_scene(*make_numbered())
    for spots, gap in ((scene.au_positions["face"], 0.2), (scene.au_positions["circle"], 0.25)):
        apart = np.linalg.norm(spots[:, None] - spots[None], axis=-1) + 9 * np.eye(N_AUS)
        assert apart.min() > gap
    face = dict(zip(AU_LABELS, scene.au_positions["face"], strict=True))
    assert face["AU01"][1] < face["AU06"][1] < face["AU12"][1] < face["AU17"][1]


def test_scene_says_what_is_wrong():
    output, batch = make_numbered()
    broken = {**vars(output), "edges": output.edges[:, :, :5, :5]}
    with pytest.raises(StagkitError, match="edges"):
        compute_scene(StagOutput(**broken), batch)
    output.edges[0, 1, 2, 3] = float("nan")
    with pytest.raises(StagkitError, match="NaN"):
        compute_scene(output, batch)
    output, batch = make_numbered()
    with pytest.raises(StagkitError, match="sum to 1"):
        compute_scene(output, batch, probabilities=[[3.0, 1.0]])


def test_scene_of_a_network_without_graph():
    output, batch = make_numbered()
    bare = StagOutput(output.logits, output.au_logits, None, None, None, {})
    scene = compute_scene(bare, batch)
    assert scene.shown_edges(0, 0) == [] and scene.n_heads == 0
    assert scene.to_json()["clips"][0]["weight"] is None


# ---------------------------------------------------------------------------------------------------- the widget
@pytest.fixture
def widgets():
    pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")
    from stagkit.widgets import au_graph

    return au_graph


def test_importing_the_package_loads_no_widget_library():
    code = (
        "import sys, stagkit.widgets as w; w.compute_scene; w.plot_au_graph; "
        "print({'anywidget', 'ipywidgets', 'torch', 'matplotlib', 'networkx', 'pandas'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_view_and_plot_take_the_same_arguments(widgets):
    view, plot = inspect.signature(widgets.view_au_graph), inspect.signature(widgets.plot_au_graph)
    assert view.parameters == plot.parameters
    for function in (widgets.view_au_graph, widgets.plot_au_graph):
        described = re.findall(
            r"^        (\w+): ", inspect.getdoc(function).replace("\n    ", "\n        "), re.MULTILINE
        )
        assert [name for name in described if name in view.parameters] == list(view.parameters)


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
        ("head", 4, "-1, 0, 1, 2, 3"),
        ("threshold", 1.5, r"0\.\.1"),
        ("class_filter", "joy", "'happiness'"),
        ("selected_au", "AU99", "'AU12'"),
        ("selected_edge", {"target": "cheek_L"}, "source"),
        ("selected_edge", {"target": "cheek_L", "source": "ear"}, "ear"),
        ("cuts", [["region", "cheek_L"]], "no edge"),
        ("cuts", [["tissue", "cheek_L", "chin"]], "'region', 'au'"),
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(widgets, trait, value, says):
    widget = widgets.view_au_graph(*make_output())
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


def test_cut_recompute_probabilities(widgets):
    calls = []

    def recompute(cuts, clip):
        calls.append((cuts, clip))
        return {name: float(name == "surprise") for name in CLASSES}

    widget = widgets.view_au_graph(*make_output(), recompute=recompute)
    whole = dict(widget.probabilities)
    assert widget._cut_reason == "" and not calls  # nothing is cut: the network's own answer is shown
    widget.cuts = [("region", "cheek_L", "lip_corner_L"), ["region", "cheek_L", "lip_corner_L"]]
    assert widget.cuts == [["region", "cheek_L", "lip_corner_L"]]
    assert calls == [([["region", "cheek_L", "lip_corner_L"]], 0)]
    assert widget.probabilities["surprise"] == 1 and widget._computed["cuts"] == widget.cuts
    widget.clip = 2  # cuts stay, and are computed for the new clip
    assert calls[-1][1] == 2
    widget.clip, widget.cuts = 0, []
    assert widget.probabilities == whole


def test_a_recompute_that_fails_or_answers_nonsense_is_told(widgets):
    widget = widgets.view_au_graph(*make_output(), recompute=lambda cuts, clip: [0.5, 0.5])
    whole = dict(widget.probabilities)
    widget.cuts = [["au", "AU12", "AU06"]]
    assert "expected 5 probabilities" in widget._computed["error"] and widget.probabilities == whole
    widget = widgets.view_au_graph(*make_output(), recompute=lambda cuts, clip: 1 / 0)
    widget.cuts = [["au", "AU12", "AU06"]]
    assert "ZeroDivisionError" in widget._computed["error"]
    with pytest.raises(StagkitError, match="expected a function"):
        widgets.view_au_graph(*make_output(), recompute=3)


def test_without_recompute_nothing_can_be_cut_and_the_reason_is_given(widgets):
    assert "recompute" in widgets.view_au_graph(*make_output())._cut_reason


def test_table_and_graphml_hold_what_is_shown(widgets, tmp_path):
    import networkx as nx

    widget = widgets.view_au_graph(*make_numbered(), frame=2, threshold=0.99)
    table = widget.edges_table()
    assert list(table.columns) == ["clip", "time_ms", "graph", "target", "source", "value"]
    row = table.iloc[0]
    assert (row["clip"], row.time_ms, row.target, row.source) == ("numbered", 80.0, ATLAS.names[-1], ATLAS.names[-2])
    assert row.value == pytest.approx(3 + 0.21 + 0.002, abs=1e-3)
    assert set(widget.edges_table(all_frames=True).time_ms) <= {0.0, 40.0, 80.0}
    graph = nx.read_graphml(widget.to_graphml(tmp_path / "g.graphml"))
    assert graph.number_of_edges() == len(table)
    assert graph.edges[row.source, row.target]["weight"] == pytest.approx(row.value)
    assert graph.nodes["AU12"]["muscles"] == "zygomaticus major"
    with pytest.raises(StagkitError, match="could not be written"):
        widget.to_graphml(tmp_path / "no" / "g.graphml")


def test_page_is_self_contained_and_small(widgets, tmp_path):
    one = widgets.view_au_graph(*make_output(1, n_frames=12)).to_html(tmp_path / "one.html")
    assert (tmp_path / "one.html").read_text(encoding="utf-8") == one
    assert set(re.findall(r"https?://[^\s\"'<>;)]*", one)) == {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in one and "src=" not in one and "@import" not in one
    four = widgets.view_au_graph(*make_output(4, n_frames=12)).to_html()
    assert len(one) < 400_000 and (len(four) - len(one)) / 3 < 150_000
    long = widgets.view_au_graph(*make_output(1, n_frames=48, n_heads=8)).to_html()
    assert len(long) < 1_000_000
    with pytest.raises(StagkitError, match="could not be written"):
        widgets.view_au_graph(*make_output(1)).to_html(tmp_path / "no" / "one.html")
    assert [file.name for file in tmp_path.iterdir()] == ["one.html"]


def test_page_cannot_be_broken_by_a_name(widgets):
    output, batch = make_numbered()
    batch = Batch(**{**vars(batch), "clip_ids": ("</script><b>",)})
    page = widgets.view_au_graph(output, batch).to_html()
    assert page.count("</script>") == 2 and "<title>AU graph: &lt;/script&gt;" in page


def test_figure_draws_what_the_widget_shows(widgets):
    from matplotlib.patches import FancyArrowPatch

    output, batch = make_output()
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


# ---------------------------------------------------------------------------------------------------- real browser
CHROMIUM_ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()


@pytest.fixture(scope="module")
def chromium():
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A page that collects what goes wrong in it and every address it asks for."""
    context = chromium.new_context(viewport={"width": 900, "height": 800})
    page = context.new_page()
    page.set_default_timeout(30_000)
    page.wrong, page.asked = [], []
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def settle(page):
    """Two frames: what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_until(page, condition, seconds=20):
    """Poll from outside: the page's own policy forbids the eval that playwright's wait_for_function needs."""
    for _ in range(10 * seconds):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not reached in {seconds} s: {condition}")


def trait(page, name):
    return page.evaluate(f"stagModel.get({name!r})")


@pytest.mark.browser
def test_exported_page_in_chromium(widgets, tab, tmp_path):
    widgets.view_au_graph(*make_output(6)).to_html(tmp_path / "graph.html")
    tab.goto((tmp_path / "graph.html").as_uri())
    tab.wait_for_selector("html[data-ready]")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 900  # no sideways scrolling
    assert tab.locator(".sg-au-panel .sg-node").count() == N_AUS
    assert tab.locator(".sg-face-panel .sg-node").count() == N_ROIS

    # time slider by keyboard: the state moves, and what is drawn with it
    slider = tab.get_by_label("Frame", exact=True)
    evidence = tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-label")
    slider.focus()
    for _ in range(4):
        tab.keyboard.press("ArrowLeft")
    settle(tab)
    assert trait(tab, "frame") == 2
    assert tab.locator(".stag-au").get_attribute("data-frame") == "2"
    assert tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-label") != evidence

    # threshold
    few = tab.locator(".sg-face-panel .sg-edge").count()
    tab.get_by_label("Share of edges that is hidden").fill("0.6")
    settle(tab)
    assert trait(tab, "threshold") == 0.6
    assert tab.locator(".sg-face-panel .sg-edge").count() > few + 50

    # an AU by keyboard: Enter selects, arrows walk, Escape clears
    tab.locator(".sg-node[data-name=AU12]").focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected_au") == "AU12"
    assert tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-pressed") == "true"
    assert "zygomaticus major" in tab.locator(".sg-details").inner_text()
    highlighted = tab.locator(".sg-face-panel .sg-node.sg-on").evaluate_all("n => n.map(x => x.dataset.name)")
    moved = {n for n, v in zip(ATLAS.names, ATLAS.incidence[AU_LABELS.index("AU12")], strict=True) if v > 0}
    assert set(highlighted) == moved
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate("document.activeElement.dataset.name") not in (None, "AU12")
    tab.keyboard.press("Escape")
    settle(tab)
    assert trait(tab, "selected_au") == ""

    # clip and class pickers, play, views, circle
    tab.get_by_label("Class", exact=True).select_option("disgust")
    settle(tab)
    assert trait(tab, "clip") == 2 and trait(tab, "_payload")["index"] == 2
    assert "◆ disgust" in tab.locator(".sg-chance").inner_text()
    tab.get_by_text("▶ Play").click()
    wait_until(tab, "stagModel.get('frame') >= 4")
    tab.get_by_text("Pause").click()
    tab.get_by_role("button", name="Circle").click()
    tab.get_by_role("button", name="AUs", exact=True).click()
    settle(tab)
    assert not tab.locator(".sg-face-panel").is_visible()

    # nothing can be cut here, and the page says why
    tab.locator(".sg-au-panel .sg-edge").first.focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected_edge")["graph"] == "au"
    button = tab.locator("[data-act=cut]")
    assert button.is_disabled() and "recompute" in button.get_attribute("title")
    assert tab.wrong == []
    assert [url for url in tab.asked if not url.startswith("file:")] == []


@pytest.mark.browser
def test_target_and_source_arrive_unswapped_in_the_drawing(widgets, tab, tmp_path):
    widget = widgets.view_au_graph(*make_numbered(), frame=1, threshold=0.98)
    widget.to_html(tmp_path / "numbered.html")
    tab.goto((tmp_path / "numbered.html").as_uri())
    tab.wait_for_selector("html[data-ready]")
    tab.evaluate("stagModel.set('threshold', 0); stagModel.save_changes()")
    settle(tab)
    target, source = ATLAS.names[5], ATLAS.names[2]
    for t, name in ((1, "A"), (2, "A")):
        tab.evaluate(f"stagModel.set('frame', {t}); stagModel.save_changes()")
        settle(tab)
        label = tab.locator(f'.sg-edge[data-target="{target}"][data-source="{source}"]').get_attribute("aria-label")
        value = 1 + t + 0.05 + 0.0002
        found = re.search(rf"{name}\(target {target}, source {source}\) = ([\d.]+)", label)
        assert found and float(found[1]) == pytest.approx(value, abs=6e-3)
    label = tab.locator('.sg-edge[data-target="AU09"][data-source="AU02"]').get_attribute("data-value")
    assert float(label) == pytest.approx(3 + AU_LABELS.index("AU09") / 100 + AU_LABELS.index("AU02") / 10_000, abs=6e-4)
    # the arrow head lies at the target
    ends = tab.evaluate(
        """([target, source]) => {
          const edge = document.querySelector(`.sg-edge[data-target="${target}"][data-source="${source}"]`);
          const numbers = (text) => text.match(/-?[\\d.]+/g).map(Number);
          const node = (name) => numbers(document.querySelector(`.sg-node[data-name="${name}"]`).getAttribute("transform"));
          const tip = numbers(edge.querySelector(".sg-tip").getAttribute("d")).slice(0, 2);
          const far = ([x, y]) => Math.hypot(x - tip[0], y - tip[1]);
          return [far(node(target)), far(node(source))];
        }""",
        [target, source],
    )
    assert ends[0] < 15 < ends[1]
    # the browser shows the same edges as Python
    tab.evaluate("stagModel.set('threshold', 0.98); stagModel.save_changes()")
    settle(tab)
    drawn = tab.locator(".sg-edge[data-key]").evaluate_all(
        "e => e.map(x => [x.dataset.graph, x.dataset.target, x.dataset.source])"
    )
    shown = widget.scene.shown_edges(0, 2, threshold=0.98)
    assert {tuple(edge) for edge in drawn} == {edge[:3] for edge in shown} and len(drawn) == len(shown)
    assert tab.wrong == []


NOTEBOOK_CELLS = (
    """import sys
sys.path.insert(0, {tests!r})
from test_au_graph import CLASSES, make_output
from stagkit.widgets import view_au_graph
def recompute(cuts, clip):
    return [0.1, 0.6, 0.1, 0.1, 0.1] if cuts else [0.2] * 5
widget = view_au_graph(*make_output(3), recompute=recompute)
widget.png_fallback = False
widget""",
    """import json
seen = dict(edge=widget.selected_edge, cuts=widget.cuts, frame=widget.frame, probabilities=widget.probabilities)
print("SEEN" + json.dumps(seen) + "END")""",
)


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own on a free port, with a notebook of two cells; ends with the test."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    import nbformat

    cells = [
        nbformat.v4.new_code_cell(c.format(tests=str(Path(__file__).parent)) if i == 0 else c)
        for i, c in enumerate(NOTEBOOK_CELLS)
    ]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "graph.ipynb")
    config = tmp_path / "config"
    (config / "labconfig").mkdir(parents=True)
    (config / "labconfig" / "page_config.json").write_text(
        json.dumps({"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}})
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_DATA_DIR": str(tmp_path / "data"),
        "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime"),
        "IPYTHONDIR": str(tmp_path / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    command = (
        f"lab --no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        "--IdentityProvider.token= --LabApp.expose_app_in_browser=True --LabApp.extension_manager=readonly"
    ).split()
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", *command, f"--notebook-dir={tmp_path / 'work'}"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(150):
            time.sleep(0.2)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (tmp_path / "lab.log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}/lab/tree/graph.ipynb"
    finally:
        server.terminate()
        server.wait(20)


RUN_CELL = """async (index) => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  panel.content.activeCellIndex = index;
  await jupyterapp.commands.execute('notebook:run-cell');
}"""


CUT_AND_TIME = """() => new Promise((done) => {
  const start = performance.now();
  const watch = new MutationObserver(() => {
    if (!document.querySelector('.sg-delta')) return;
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  });
  watch.observe(document.querySelector('.sg-chance'), { childList: true, subtree: true });
  document.querySelector('[data-act=cut]').click();
})"""


@pytest.mark.browser
@pytest.mark.slow
def test_in_jupyterlab_an_edge_is_clicked_cut_and_read_back(widgets, lab, tab):
    tab.set_viewport_size({"width": 1300, "height": 1000})
    tab.goto(lab)
    wait_until(tab, "window.jupyterapp?.shell?.currentWidget?.sessionContext")
    tab.evaluate(RUN_CELL, 0)
    tab.wait_for_selector(".stag-au .sg-edge", timeout=60_000)
    tab.locator("[data-edge^='region|']").first.click()  # the strongest region edge, from the list
    tab.wait_for_selector(".sg-edge.sg-on", state="attached")
    key = tab.locator(".sg-face-panel .sg-edge.sg-on").get_attribute("data-key").split("|")
    shown = float(tab.locator(".sg-face-panel .sg-edge.sg-on").get_attribute("data-value"))
    before = tab.locator(".sg-prob[data-class=surprise] .sg-number-cell").inner_text()
    took = tab.evaluate(CUT_AND_TIME)
    print(f"cut to new probabilities on screen: {took:.0f} ms")
    assert took < 1000  # 100 ms is the aim on a free machine; test machines are shared
    assert tab.locator(".sg-prob[data-class=surprise] .sg-number-cell").inner_text() == "0.60" != before
    tab.evaluate(RUN_CELL, 1)
    wait_until(tab, "document.body.innerText.includes('END')")
    text = tab.evaluate("[...document.querySelectorAll('.jp-OutputArea-output')].map(n => n.innerText).join(' ')")
    seen = json.loads(re.search(r"SEEN(\{.*\})END", text, re.DOTALL)[1])
    assert [seen["edge"]["target"], seen["edge"]["source"]] == key
    assert seen["edge"]["value"] == pytest.approx(shown, rel=1e-3)
    assert seen["cuts"] == [["region", *key]]
    assert seen["probabilities"]["surprise"] == 0.6
    # undo: the network's own answer is back
    tab.get_by_role("button", name="Undo last cut").click()
    wait_until(tab, "!document.querySelector('.sg-delta') && !document.querySelector('.sg-chip')")
    wait_until(tab, f"document.querySelector('.sg-prob[data-class=surprise] .sg-number-cell').innerText === '{before}'")
    shot = os.environ.get("STAGKIT_SHOTS")
    if shot:
        tab.screenshot(path=f"{shot}/au_lab.png")
        tab.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
        wait_until(tab, "document.body.dataset.jpThemeLight === 'false'")
        tab.wait_for_timeout(1000)
        tab.screenshot(path=f"{shot}/au_lab_dark.png")
    assert [message for message in tab.wrong if "stag" in message.lower()] == []
