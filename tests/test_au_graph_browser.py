"""The AU-graph explorer in a real Chromium: the exported page alone, and a JupyterLab that computes."""

import csv
import io
import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from tests.browser import (
    SHOTS,
    keep_shot,
    open_lab,
    open_page,
    put,
    read_output,
    read_structure,
    run_cell,
    settle,
    trait,
    wait_until,
)
from tests.small import make_dataset, make_small_model
from tests.test_au_graph import N_AUS, N_ROIS, N_SPOTS, ask_network, make_changes, make_live, make_numbered, make_output

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def alive():
    """Output, clips and network of ``make_live``."""
    return make_live()


@pytest.fixture(scope="module")
def saved(alive, tmp_path_factory):
    """A page of three clips with everything that a page can hold, and the widget that wrote it."""
    from stagkit.explorers import view_au_graph

    path = tmp_path_factory.mktemp("page") / "graph.html"
    widget = view_au_graph(*alive[:2], model=alive[2], clip=1)
    widget.to_html(path, clips=[0, 1, 2])
    return widget, path


def shown_probabilities(page):
    rows = page.locator(".sg-prob").evaluate_all("rows => rows.map(r => [r.dataset.class, Number(r.dataset.value)])")
    return dict(rows)


def predict(alive, clip, changes):
    from stagkit.explain.interventions import compute_probabilities

    _, batch, model = alive
    return dict(
        zip(batch.classes, compute_probabilities(model, batch.select(torch.tensor([clip])), changes), strict=True)
    )


def test_the_page_is_touched(tab, tmp_path):
    from stagkit.explorers import view_au_graph

    view_au_graph(*make_output(6)).to_html(tmp_path / "graph.html", clips=range(6))
    open_page(tab, tmp_path / "graph.html")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 1200  # no sideways scrolling
    assert tab.locator(".sg-panels .sg-au-panel .sg-node").count() == N_SPOTS
    assert tab.locator(".sg-panels .sg-face-panel .sg-node").count() == N_ROIS

    # time slider by keyboard: the state moves, and what is drawn with it: evidence, arrows, and the face itself
    slider = tab.get_by_label("Frame", exact=True)
    activation = tab.locator(".sg-node[data-name=AU12]").first.get_attribute("aria-label")
    lip = tab.locator(".sg-face-panel .sg-lip").first.get_attribute("d")
    slider.focus()
    for _ in range(4):
        tab.keyboard.press("ArrowLeft")
    settle(tab)
    assert trait(tab, "frame") == 2
    assert tab.locator(".stag-au").get_attribute("data-frame") == "2"
    assert tab.locator(".sg-node[data-name=AU12]").first.get_attribute("aria-label") != activation
    assert tab.locator(".sg-face-panel .sg-lip").first.get_attribute("d") != lip

    # threshold
    few = tab.locator(".sg-face-panel .sg-edge[data-key]").count()
    tab.get_by_label("Share of edges that is hidden").fill("0.6")
    settle(tab)
    assert trait(tab, "threshold") == 0.6
    assert tab.locator(".sg-face-panel .sg-edge[data-key]").count() > few + 50
    tab.get_by_label("Share of edges that is hidden").fill("0.95")

    # an AU by search and by keyboard: Enter selects, arrows walk, Escape clears; its muscle lights up
    for words, label in (("zygo", "AU12"), ("lowerer", "AU04"), ("17", "AU17"), ("au06", "AU06")):
        tab.keyboard.press("Escape")
        tab.get_by_label("Find an action unit").fill(words)
        tab.keyboard.press("Enter")
        settle(tab)
        assert trait(tab, "selected_au") == label
    tab.locator(".sg-node[data-name=AU12]").first.focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected_au") == "AU12"
    assert tab.locator(".sg-node[data-name=AU12]").first.get_attribute("aria-pressed") == "true"
    told = tab.locator(".sg-details").inner_text()
    assert "zygomaticus major" in told and "up and outward" in told and "EMFACS names it for happiness" in told
    assert tab.locator(".sg-au-panel .sg-muscle.sg-on").get_attribute("data-muscle") == "zygomaticus major"
    highlighted = tab.locator(".sg-face-panel .sg-node.sg-on").evaluate_all("n => n.map(x => x.dataset.name)")
    moved = {n for n, v in zip(ATLAS.names, ATLAS.incidence[AU_LABELS.index("AU12")], strict=True) if v > 0}
    assert set(highlighted) == moved
    tab.keyboard.press("ArrowUp")
    assert tab.evaluate("document.activeElement.dataset.name") not in (None, "AU12")
    tab.keyboard.press("Escape")
    settle(tab)
    assert trait(tab, "selected_au") == ""
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.type") == "search"

    # clip and class pickers, play, views, circle
    tab.get_by_label("Class", exact=True).select_option("disgust")
    settle(tab)
    assert trait(tab, "clip") == 2 and trait(tab, "_payload")["index"] == 2
    assert "◆ disgust" in tab.locator(".sg-probability").inner_text()
    tab.get_by_text("▶ Play").click()
    wait_until(tab, "stagModel.get('frame') >= 4")
    tab.get_by_text("Pause").click()
    tab.get_by_role("button", name="Circle").click()
    tab.get_by_role("button", name="AUs", exact=True).click()
    settle(tab)
    assert not tab.locator(".sg-panels .sg-face-panel").is_visible()

    # no network was given: nothing can be cut here, and the page says why
    tab.locator(".sg-panels .sg-au-panel .sg-edge").first.focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected_edge")["graph"] == "au"
    button = tab.locator("[data-act=remove]")
    assert button.is_disabled() and "model=model" in button.get_attribute("title")
    assert tab.wrong == []
    assert [url for url in tab.asked if not url.startswith(("file:", "blob:"))] == []


def test_target_and_source_arrive_unswapped_in_the_drawing(tab, tmp_path):
    from stagkit.explorers import view_au_graph

    widget = view_au_graph(*make_numbered(), frame=1, threshold=0.98)
    widget.to_html(tmp_path / "numbered.html")
    open_page(tab, tmp_path / "numbered.html")
    put(tab, threshold=0)
    target, source = ATLAS.names[5], ATLAS.names[2]
    for t in (1, 2):
        put(tab, frame=t)
        label = tab.locator(f'.sg-edge[data-target="{target}"][data-source="{source}"]').get_attribute("aria-label")
        assert label.startswith(f"{target.replace('_', ' ')} ← {source.replace('_', ' ')}")
        assert float(re.search(r"A = ([\d.]+)", label)[1]) == pytest.approx(1 + t + 0.05 + 0.0002, abs=6e-3)
    label = tab.locator('.sg-edge[data-target="AU02"][data-source="AU09"]').get_attribute("data-value")
    assert float(label) == pytest.approx(3 + AU_LABELS.index("AU02") / 100 + AU_LABELS.index("AU09") / 10_000, abs=6e-4)
    assert tab.locator('.sg-edge[data-target="AU09"][data-source="AU02"]').count() == 0, "an AU edge has no direction"
    assert tab.locator(".sg-au-panel .sg-tip").count() == 0, "and no arrow head"
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
    put(tab, threshold=0.98)
    drawn = tab.locator(".sg-edge[data-key]").evaluate_all(
        "e => e.map(x => [x.dataset.graph, x.dataset.target, x.dataset.source])"
    )
    shown = widget.scene.shown_edges(0, 2, threshold=0.98)
    assert {tuple(edge) for edge in drawn} == {edge[:3] for edge in shown} and len(drawn) == len(shown)
    assert tab.wrong == []


def test_a_saved_page_predicts_any_combination_of_cuts_as_torch_does(tab, saved, alive):
    """The arithmetic of the page against the network: logits, activations and contributions after random cuts."""
    widget, path = saved
    open_page(tab, path)
    rng, worst = np.random.default_rng(3), 0.0
    for clip in (1, 0, 2, 1, 2, 0):
        put(tab, clip=clip)
        assert trait(tab, "frame") < widget.scene.n_frames[clip], "clip 2 has fewer frames"
        put(tab, frame=int(widget.scene.n_frames[clip]) - 1)
        changes = make_changes(rng, alive[2])
        put(tab, interventions=changes)
        shown = tab.locator(".sg-logit").all_inner_texts()
        state = tab.evaluate("document.querySelector('.stag-au').stagState()")
        wanted = ask_network(alive[2], alive[1], clip, changes)
        worst = max(worst, float(np.abs(np.array(state["logits"]) - wanted.numpy()).max()))
        assert [float(text.replace("−", "-")) for text in shown] == pytest.approx(wanted.tolist(), abs=0.0051)
        assert shown_probabilities(tab) == pytest.approx(
            dict(zip(alive[1].classes, wanted.softmax(-1).tolist(), strict=True)), abs=2e-5
        )
        sums = widget.scene.sums(clip, changes)
        np.testing.assert_allclose(state["regionEdges"], sums.region_edges.sum(0), atol=1e-6)
        np.testing.assert_allclose(np.reshape(state["active"], sums.active.shape), sums.active, atol=1e-6)
    assert worst < 1e-4
    print(f"largest difference between the logits of page and network: {worst:.1e}")
    assert tab.wrong == []


def test_a_saved_page_is_cut_by_touch(tab, saved, alive):
    open_page(tab, saved[1])
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, []), abs=2e-5)
    # an AU edge from the sum that makes the class
    tab.locator(".sg-term-row", has_text="–").first.click()
    settle(tab)
    edge = trait(tab, "selected_edge")
    assert edge["graph"] == "au" and tab.locator(".sg-term-row").count() == 3, "both at once, in order, same side"
    tab.locator("[data-act=remove]").click()
    settle(tab)
    first = ["au", edge["target"], edge["source"]]
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [first]), abs=2e-5)
    assert tab.locator(".sg-au-panel .sg-edge.sg-removed .sg-cross").count() in (1, 2), "on both sides of the face"
    # an AU, one region edge of its subgraph, half of another
    put(tab, selected_edge={}, selected_au="AU12")
    assert "subgraph of AU12" in tab.locator(".sg-face-panel").first.inner_text()
    tab.locator("[data-edge^='region|']").first.click()
    settle(tab)
    edge = trait(tab, "selected_edge")
    second = ["region", edge["target"], edge["source"], "AU12"]
    assert edge["au"] == "AU12"
    tab.locator("[data-act=remove]").click()
    settle(tab)
    assert trait(tab, "interventions") == [first, second], "cuts go together"
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [first, second]), abs=2e-5)
    tab.locator("[data-act=remove]").click()
    settle(tab)
    tab.locator(".sg-clamp input").fill("0.5")
    tab.locator("[data-act=clamp]").click()
    settle(tab)
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [first, [*second, 0.5]]), abs=2e-5)
    # undo walks back
    for wanted in ([first], [first, second], [first], []):
        tab.get_by_role("button", name="Undo").click()
        settle(tab)
        assert trait(tab, "interventions") == wanted
        assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, wanted), abs=2e-5)
    # a region and a frame: alone, as the network said; with others: refused in words
    put(tab, selected_edge={}, selected_region="chin")
    tab.locator("[data-act=remove]").click()
    settle(tab)
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["region", "chin"]]), abs=2e-5)
    put(tab, frame=2)
    tab.locator("[data-act=remove-frame]").click()
    settle(tab)
    assert trait(tab, "interventions") == [["frame", 2]]
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["frame", 2]]), abs=2e-5)
    tab.get_by_label("Clip", exact=True).select_option("0")
    settle(tab)
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 0, [["frame", 2]]), abs=2e-5)
    put(tab, interventions=[["region", "chin"], ["frame", 1]])
    assert "alone only" in tab.locator(".sg-probability").inner_text()
    assert tab.locator("[data-act=clamp]").first.is_disabled()
    put(tab, interventions=[], clip=1, quantity="effect")
    # edges drawn by their effect, with a sign that is not colour alone
    drawn = tab.locator(".sg-panels .sg-face-panel .sg-edge[data-key]").evaluate_all(
        "e => e.map(x => [x.dataset.target, x.dataset.source, Number(x.dataset.value), x.classList.contains('sg-against'), "
        "x.querySelector('.sg-wire').hasAttribute('stroke-dasharray')])"
    )
    assert len(drawn) >= 5
    target = int(alive[0].logits[1].argmax())
    for to, source, value, against, dashed in drawn:
        fall = alive[0].logits[1] - ask_network(alive[2], alive[1], 1, [["region", to, source]])
        assert value == pytest.approx(fall[target].item(), rel=1e-3, abs=5e-6)
        assert against == dashed == (value < 0)
    assert tab.wrong == []


def test_a_phantom_page_is_cut_until_the_prediction_flips(tab, tmp_path):
    """A network that has learned a few phantoms; the page finds the cuts, and every number of them is the network's."""
    from stagkit.core.config import StagConfig, TrainConfig
    from stagkit.datasets.prepare import load_data, prepare_dataset
    from stagkit.explorers import view_au_graph
    from stagkit.synthetic.config import PhantomConfig
    from stagkit.synthetic.dataset import PhantomSource
    from stagkit.training.train import train_fold

    prepare_dataset(PhantomSource(PhantomConfig(subjects=2, clips=6, size=64, difficulty=0.0)), tmp_path / "clips")
    data = load_data(tmp_path / "clips")
    config = StagConfig(width=16, heads=2, time_layers=1)
    trained = train_fold(data, np.arange(len(data)), config, TrainConfig(epochs=8, batch_size=6))
    model, batch = getattr(trained, "model", trained).eval(), data.batch()
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    margin = output.logits.topk(2).values.diff(dim=1).abs()[:, 0]
    clip = int(margin.argmin())
    view_au_graph(output, batch, model=model, clip=clip).to_html(tmp_path / "graph.html")
    open_page(tab, tmp_path / "graph.html")
    before = shown_probabilities(tab)
    tab.locator("[data-act=flip]").click()
    settle(tab)
    changes = trait(tab, "interventions")
    assert changes and all(len(change) in (3, 4) for change in changes)
    after, told = shown_probabilities(tab), tab.locator(".sg-probability").inner_text()
    bias = float(tab.locator(".sg-sum").inner_text().replace("−", "-").split()[1])
    assert np.abs(model.head.bias.detach().numpy() - bias).min() < 0.006, "the terms shown are those after the cuts"
    assert max(after, key=after.get) != max(before, key=before.get) and "prediction changed" in told
    wanted = ask_network(model, batch, clip, changes).softmax(-1).tolist()
    assert after == pytest.approx(dict(zip(batch.classes, wanted, strict=True)), abs=2e-5)
    assert tab.locator(".sg-chip").count() == len(changes)
    keep_shot(tab, "au_graph_flipped")
    # one cut less, and it is not flipped
    put(tab, interventions=changes[:-1])
    kept = shown_probabilities(tab)
    assert max(kept, key=kept.get) == max(before, key=before.get)
    assert tab.wrong == []


def test_a_fused_page_says_why_it_has_no_contributions(tab, tmp_path):
    from stagkit.explain.interventions import compute_probabilities
    from stagkit.explorers import view_au_graph

    model, batch = make_small_model(head="fused"), make_dataset(n_subjects=3, per_subject=4).batch()
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    view_au_graph(output, batch, model=model).to_html(tmp_path / "graph.html")
    open_page(tab, tmp_path / "graph.html")
    assert "no sum of edges" in tab.locator(".sg-fused").inner_text()
    assert tab.locator(".sg-face-panel .sg-edge[data-key]").count() > 5
    put(tab, selected_au="AU12")
    tab.locator("[data-act=remove]").click()
    settle(tab)
    wanted = compute_probabilities(model, batch.select(torch.tensor([0])), [["au", "AU12"]])
    assert list(shown_probabilities(tab).values()) == pytest.approx(wanted.tolist(), abs=2e-5)
    put(tab, quantity="attention")
    assert tab.wrong == []


def test_two_clips_side_by_side(tab, saved, alive):
    widget, path = saved
    open_page(tab, path)
    tab.get_by_role("button", name="Compare", exact=True).click()
    settle(tab)
    other = trait(tab, "compare")["clip"]
    assert other != 1 and tab.locator(".sg-thirds .sg-panel:visible").count() == 3
    graph = tab.locator(".sg-difference .sg-edge[data-key]").first
    i, j = (AU_LABELS.index(graph.get_attribute(f"data-{end}")) for end in ("target", "source"))
    wanted = [
        widget.scene.values(clip, "au", "contribution", target=int(alive[0].logits[clip].argmax()))[0, i, j]
        for clip in (1, other)
    ]
    wanted = wanted[1] - wanted[0]
    assert float(graph.get_attribute("data-value")) == pytest.approx(wanted, abs=1e-4)
    graph.focus()
    tab.keyboard.press("Enter")
    settle(tab)
    rows = tab.locator(".sg-detail .sg-table tr").all_inner_texts()
    assert [row.split("\t")[0] for row in rows] == ["clip001", f"clip00{other}", "difference"]
    keep_shot(tab, "au_graph_compare")
    tab.get_by_role("button", name="End comparison").click()
    settle(tab)
    assert trait(tab, "compare") == {} and tab.locator(".sg-panels").is_visible()
    assert tab.wrong == []


def test_what_is_taken_away_is_what_is_shown(tab, saved, alive, tmp_path):
    import networkx as nx

    import stagkit

    widget, path = saved
    open_page(tab, path)
    ends = {"target": "cheek_L", "source": "lip_corner_L"}
    put(tab, interventions=[["au", "AU12"]], selected_edge={"graph": "region", **ends, "au": ""})

    def take(name):
        tab.locator(".sg-menu summary").click()
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name=name).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
        return (tmp_path / waiting.value.suggested_filename).read_bytes()

    rows = list(csv.DictReader(io.StringIO(take("Edges, CSV").decode())))
    i, j = ATLAS.index("cheek_L"), ATLAS.index("lip_corner_L")
    chosen = next(row for row in rows if (row["target"], row["source"]) == tuple(ends.values()))
    target = int(alive[0].logits[1].argmax())
    value = widget.scene.values(1, "region", "contribution", target=target, changes=[["au", "AU12"]])[0, i, j]
    assert float(chosen["value"]) == pytest.approx(value, rel=1e-3, abs=1e-6)
    assert len(rows) == tab.locator(".sg-panels .sg-edge[data-key]").count()
    graph = nx.parse_graphml(take("Graph, GraphML").decode())
    assert graph.is_directed() and graph.number_of_edges() == len(rows) and len(graph) == N_AUS + N_ROIS
    assert graph.edges["lip_corner_L", "cheek_L"]["weight"] == pytest.approx(float(chosen["value"]))
    drawing = ET.fromstring(take("Image, SVG"))
    assert drawing.tag.endswith("svg") and len(list(drawing.iter())) > 300 and "class" not in drawing.attrib
    import cv2

    picture = cv2.imdecode(np.frombuffer(take("Image, PNG"), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] > 2000 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 200
    # the copied lines make the same explorer again
    code = tab.evaluate("document.querySelector('.stag-au').stagCode()")
    names = {"output": alive[0], "batch": alive[1], "model": alive[2], "stagkit": stagkit}
    exec(code, names)
    again = names["w"]
    assert again.interventions == [["au", "AU12"]] and again.clip == 1
    assert {k: again.selected_edge[k] for k in ("target", "source")} == ends
    assert shown_probabilities(tab) == pytest.approx(again.probabilities, abs=2e-5)
    assert tab.wrong == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_have_one_structure_in_every_size_and_theme(chromium, saved, theme):
    import cv2

    seen = {}
    for name, width, scale in (("wide", 1400, 1), ("zoomed", 1200, 1.5), ("narrow", 420, 1)):
        context = chromium.new_context(
            viewport={"width": int(width / scale), "height": 900}, device_scale_factor=scale, color_scheme=theme
        )
        page = context.new_page()
        open_page(page, saved[1])
        put(page, selected_au="AU12")
        found = read_structure(page, ".stag-au")
        picture = cv2.imread(str(keep_shot(page, f"au_graph_{theme}_{name}")))
        context.close()
        for fault in ("overlaps", "cut", "nameless", "pale"):
            assert found[fault] == [], (theme, name)
        assert found["wide"] <= 0, f"{theme} {name} scrolls sideways"
        corner = picture[2, 2].mean()
        assert corner > 200 if theme == "light" else corner < 60
        assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 100
        seen[name] = (found["panels"], found["nodes"], found["edges"])
    assert seen["wide"] == seen["zoomed"] == seen["narrow"]


def test_the_picture_of_readme_shows_the_graph_and_the_answer(chromium, tmp_path):
    """The function that draws ``figures/au_graph_explorer.png``, here on a phantom run made on the spot."""
    import cv2

    from stagkit.core.config import StagConfig, TrainConfig
    from stagkit.datasets.prepare import load_data, prepare_dataset
    from stagkit.evaluation.evaluate import evaluate
    from stagkit.evaluation.run import Run
    from stagkit.explorers import RunSource
    from stagkit.synthetic.config import PhantomConfig
    from stagkit.synthetic.dataset import PhantomSource
    from tests.explorer_picture import drawn_explorer

    prepare_dataset(PhantomSource(PhantomConfig(subjects=2, clips=4, size=64, difficulty=0.0)), tmp_path / "clips")
    config = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
    data, train = load_data(tmp_path / "clips"), TrainConfig(epochs=2, batch_size=4)
    evaluate(data, tmp_path / "run", config, train, workers=1, data_path=tmp_path / "clips")
    SHOTS.mkdir(parents=True, exist_ok=True)
    path = SHOTS / "readme_picture.png"
    with drawn_explorer(chromium, RunSource(Run.load(tmp_path / "run")), path) as (page, widget, unit):
        found = read_structure(page, ".stag-au")
        probabilities, plain = shown_probabilities(page), dict(widget.probabilities)
        assert page.locator(".sg-prob").count() == len(plain) and page.locator(".sg-prob").first.is_visible()
        assert page.locator(f".sg-node.sg-removed[data-name={unit}]").first.is_visible()
        drawn = page.locator(".sg-panels .sg-edge[data-key]").evaluate_all(
            "e => e.map(x => [x.dataset.graph, x.dataset.target, x.dataset.source])"
        )
    assert (found["nodes"], found["overlaps"], found["cut"], found["pale"]) == (N_SPOTS + N_ROIS, [], [], [])
    how = {"quantity": "contribution", "target": widget.target, "au": unit, "changes": [["au", unit]]}
    shown = widget.scene.shown_edges(widget.place, widget.frame, **how)
    assert {tuple(edge) for edge in drawn} >= {edge[:3] for edge in shown} and shown
    widget.interventions = [["au", unit]]
    assert probabilities == pytest.approx(widget.probabilities, abs=2e-5) and probabilities != plain
    picture = cv2.imread(str(path))
    assert picture.shape[1] > 1600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 200


NOTEBOOK_CELLS = (
    """import sys, json
sys.path.insert(0, {root!r})
import torch
from tests.test_au_graph import make_live
from stagkit.explorers import view_au_graph
output, batch, model = make_live()
widget = view_au_graph(output, batch, model=model, clip=1)
widget.png_fallback = False
widget""",
    """names = "selected_au selected_edge interventions frame clip probabilities quantity".split()
print("SEEN" + json.dumps({name: getattr(widget, name) for name in names}) + "END")""",
)

REMOVE_AND_TIME = """() => new Promise((done) => {
  const start = performance.now();
  const watch = new MutationObserver(() => {
    if (!document.querySelector('.sg-delta')) return;
    watch.disconnect();
    requestAnimationFrame(() => done(performance.now() - start));
  });
  watch.observe(document.querySelector('.sg-probability'), { childList: true, subtree: true });
  document.querySelector('[data-act=remove]').click();
})"""


@pytest.mark.slow
def test_in_jupyterlab_the_numbers_on_the_page_are_those_of_python(lab, tab, alive):
    from tests.lockfile import ROOT

    tab.set_viewport_size({"width": 1400, "height": 1100})
    open_lab(tab, lab([NOTEBOOK_CELLS[0].format(root=str(ROOT)), NOTEBOOK_CELLS[1]]))
    run_cell(tab, 0)
    tab.wait_for_selector(".stag-au .sg-edge[data-key]", timeout=90_000)
    # an AU is picked
    tab.get_by_label("Find an action unit").fill("zygomaticus")
    tab.keyboard.press("Enter")
    tab.wait_for_selector(".sg-au-panel .sg-node.sg-on[data-name=AU12]")
    # held at a level, then silenced
    tab.locator("[data-act=clamp]").click()
    wait_until(tab, "document.querySelector('.sg-delta')")
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["au", "AU12", 0.9]]), abs=2e-5)
    tab.get_by_role("button", name="Undo").click()
    wait_until(tab, "!document.querySelector('.sg-delta')")
    # the slider is moved
    slider = tab.get_by_label("Frame", exact=True)
    slider.focus()
    tab.keyboard.press("Home")
    tab.keyboard.press("ArrowRight")
    wait_until(tab, "document.querySelector('.stag-au').dataset.frame === '1'")
    # an edge of the AU's subgraph is cut
    tab.locator("[data-edge^='region|']").first.click()
    tab.wait_for_selector(".sg-edge.sg-on", state="attached")
    chosen = tab.locator(".sg-face-panel .sg-edge.sg-on")
    key, shown = [*chosen.get_attribute("data-key").split("|"), "AU12"], float(chosen.get_attribute("data-value"))
    took = tab.evaluate(REMOVE_AND_TIME)
    print(f"removal to new probabilities on screen: {took:.0f} ms")
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["region", *key]]), abs=2e-5)
    # effects are asked for and come
    tab.get_by_role("button", name="If removed").click()
    wait_until(  # the kernel answers beside running cells: its effect has to be drawn before a cell asks for it
        tab,
        "document.querySelector('.sg-face-panel .sg-edge.sg-on') && "
        f"Math.abs(document.querySelector('.sg-face-panel .sg-edge.sg-on').dataset.value - {shown}) > 1e-9 && "
        "!document.querySelector('.sg-key').innerText.includes('computing')",
    )
    tab.wait_for_timeout(500)
    run_cell(tab, 1)
    seen = json.loads(re.search(r"SEEN(\{.*\})END", read_output(tab), re.DOTALL)[1])
    assert seen["interventions"] == [["region", *key]] and seen["frame"] == 1 and seen["clip"] == 1
    assert [seen["selected_edge"][end] for end in ("target", "source", "au")] == key
    assert seen["quantity"] == "effect" == seen["selected_edge"]["quantity"]
    on_page = float(tab.locator(".sg-face-panel .sg-edge.sg-on").get_attribute("data-value"))
    assert seen["selected_edge"]["value"] == pytest.approx(on_page, abs=5e-6)
    index, target = alive[2].region_graph.index.tolist(), int(alive[0].logits[1].argmax())
    at = index.index([AU_LABELS.index("AU12"), ATLAS.index(key[0]), ATLAS.index(key[1])])
    assert shown == pytest.approx(alive[0].terms.region_edges[1, :, target, at].sum().item(), rel=1e-3)
    assert seen["probabilities"] == pytest.approx(predict(alive, 1, [["region", *key]]), abs=1e-5)
    keep_shot(tab, "au_graph_lab")
    tab.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    wait_until(tab, "document.body.dataset.jpThemeLight === 'false'")
    tab.wait_for_timeout(500)
    keep_shot(tab, "au_graph_lab_dark")
    assert [message for message in tab.wrong if "stag" in message.lower()] == []
