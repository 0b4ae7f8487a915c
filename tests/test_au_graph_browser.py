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
from tests.test_au_graph import N_AUS, N_ROIS, make_numbered, make_output

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")
torch = pytest.importorskip("torch")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def alive():
    """Clips of a small network, its output and itself."""
    model, batch = make_small_model(), make_dataset(n_subjects=3, per_subject=4).batch()
    with torch.no_grad():
        return model(batch.x, batch.mask, batch.times_ms), batch, model


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
    assert tab.locator(".sg-panels .sg-au-panel .sg-node").count() == N_AUS
    assert tab.locator(".sg-panels .sg-face-panel .sg-node").count() == N_ROIS

    # time slider by keyboard: the state moves, and what is drawn with it: evidence, arrows, and the face itself
    slider = tab.get_by_label("Frame", exact=True)
    activation = tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-label")
    lip = tab.locator(".sg-face-panel .sg-lip").first.get_attribute("d")
    slider.focus()
    for _ in range(4):
        tab.keyboard.press("ArrowLeft")
    settle(tab)
    assert trait(tab, "frame") == 2
    assert tab.locator(".stag-au").get_attribute("data-frame") == "2"
    assert tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-label") != activation
    assert tab.locator(".sg-face-panel .sg-lip").first.get_attribute("d") != lip

    # threshold
    few = tab.locator(".sg-face-panel .sg-edge[data-key]").count()
    tab.get_by_label("Share of edges that is hidden").fill("0.6")
    settle(tab)
    assert trait(tab, "threshold") == 0.6
    assert tab.locator(".sg-face-panel .sg-edge[data-key]").count() > few + 50

    # an AU by search and by keyboard: Enter selects, arrows walk, Escape clears; its muscle lights up
    for words, label in (("zygo", "AU12"), ("lowerer", "AU04"), ("17", "AU17"), ("au06", "AU06")):
        tab.keyboard.press("Escape")
        tab.get_by_label("Find an action unit").fill(words)
        tab.keyboard.press("Enter")
        settle(tab)
        assert trait(tab, "selected_au") == label
    tab.locator(".sg-node[data-name=AU12]").focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected_au") == "AU12"
    assert tab.locator(".sg-node[data-name=AU12]").get_attribute("aria-pressed") == "true"
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
        found = re.search(rf"A\(target {target}, source {source}\) = ([\d.]+)", label)
        assert found and float(found[1]) == pytest.approx(1 + t + 0.05 + 0.0002, abs=6e-3)
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
    put(tab, threshold=0.98)
    drawn = tab.locator(".sg-edge[data-key]").evaluate_all(
        "e => e.map(x => [x.dataset.graph, x.dataset.target, x.dataset.source])"
    )
    shown = widget.scene.shown_edges(0, 2, threshold=0.98)
    assert {tuple(edge) for edge in drawn} == {edge[:3] for edge in shown} and len(drawn) == len(shown)
    assert tab.wrong == []


def test_a_saved_page_predicts_every_removal_as_python_does(tab, saved, alive):
    open_page(tab, saved[1])
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, []), abs=2e-5)
    # by touch: an edge from the list, an AU, a region, the frame
    tab.locator("[data-edge^='region|']").first.click()
    tab.locator("[data-act=remove]").click()
    settle(tab)
    edge = trait(tab, "selected_edge")
    wanted = predict(alive, 1, [["region", edge["target"], edge["source"]]])
    assert shown_probabilities(tab) == pytest.approx(wanted, abs=2e-5)
    assert tab.locator(".sg-edge.sg-removed .sg-cross").count() == 1
    for trait_name, change in (("selected_au", ["au", "AU12"]), ("selected_region", ["region", "chin"])):
        put(tab, **{"selected_edge": {}, "selected_au": "", "selected_region": "", trait_name: change[1]})
        tab.locator("[data-act=remove]").click()
        settle(tab)
        assert trait(tab, "interventions") == [change], "a page removes one thing at a time"
        assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [change]), abs=2e-5)
    put(tab, frame=2)
    tab.locator("[data-act=remove-frame]").click()
    settle(tab)
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["frame", 2]]), abs=2e-5)
    # another clip keeps the cut; undo walks back; two at once are refused in words
    tab.get_by_label("Clip", exact=True).select_option("0")
    settle(tab)
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 0, [["frame", 2]]), abs=2e-5)
    tab.get_by_role("button", name="Undo").click()
    settle(tab)
    assert trait(tab, "interventions") == [["region", "chin"]]
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 0, [["region", "chin"]]), abs=2e-5)
    put(tab, interventions=[["region", "chin"], ["frame", 1]])
    assert "more at once need the network" in tab.locator(".sg-probability").inner_text()
    assert tab.locator("[data-act=clamp]").first.is_disabled()
    put(tab, interventions=[], clip=1, quantity="effect")
    # edges drawn by their effect, with a sign that is not colour alone
    from stagkit.explain.interventions import compute_edge_ablation

    effects = compute_edge_ablation(alive[2], alive[1].select(torch.tensor([1])))[0]
    drawn = tab.locator(".sg-panels .sg-face-panel .sg-edge[data-key]").evaluate_all(
        "e => e.map(x => [x.dataset.target, x.dataset.source, Number(x.dataset.value), x.classList.contains('sg-against')])"
    )
    assert len(drawn) >= 5
    for target, source, value, against in drawn:
        assert value == pytest.approx(effects[ATLAS.index(target), ATLAS.index(source)], abs=5e-6)
        assert against == (value < 0)
    assert tab.wrong == []


def test_two_clips_side_by_side(tab, saved):
    widget, path = saved
    open_page(tab, path)
    tab.get_by_role("button", name="Compare", exact=True).click()
    settle(tab)
    other = trait(tab, "compare")["clip"]
    assert other != 1 and tab.locator(".sg-thirds .sg-panel:visible").count() == 3
    graph = tab.locator(".sg-difference .sg-edge[data-key]").first
    i, j = (AU_LABELS.index(graph.get_attribute(f"data-{end}")) for end in ("target", "source"))
    frame = trait(tab, "frame")
    edges = widget.scene.au_edges
    wanted = edges[other, frame, i, j] - edges[1, frame, i, j]
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
    put(tab, interventions=[["au", "AU12"]], selected_edge={"graph": "region", "target": "cheek_L", "source": "chin"})

    def take(name):
        tab.locator(".sg-menu summary").click()
        with tab.expect_download() as waiting:
            tab.get_by_role("button", name=name).click()
        waiting.value.save_as(tmp_path / waiting.value.suggested_filename)
        return (tmp_path / waiting.value.suggested_filename).read_bytes()

    rows = list(csv.DictReader(io.StringIO(take("Edges, CSV").decode())))
    i, j = ATLAS.index("cheek_L"), ATLAS.index("chin")
    chosen = next(row for row in rows if (row["target"], row["source"]) == ("cheek_L", "chin"))
    assert float(chosen["value"]) == pytest.approx(widget.scene.edges[1, widget.frame, i, j], rel=1e-3)
    assert len(rows) == tab.locator(".sg-panels .sg-edge[data-key]").count()
    graph = nx.parse_graphml(take("Graph, GraphML").decode())
    assert graph.is_directed() and graph.number_of_edges() == len(rows) and len(graph) == N_AUS + N_ROIS
    assert graph.edges["chin", "cheek_L"]["weight"] == pytest.approx(float(chosen["value"]))
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
    assert {k: again.selected_edge[k] for k in ("target", "source")} == {"target": "cheek_L", "source": "chin"}
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
        assert page.locator(f".sg-node.sg-removed[data-name={unit}]").is_visible()
        drawn = page.locator(".sg-panels .sg-edge[data-key]").evaluate_all(
            "e => e.map(x => [x.dataset.graph, x.dataset.target, x.dataset.source])"
        )
    assert (found["nodes"], found["overlaps"], found["cut"], found["pale"]) == (N_AUS + N_ROIS, [], [], [])
    shown = widget.scene.shown_edges(widget.place, widget.frame)
    assert {tuple(edge) for edge in drawn} >= {edge[:3] for edge in shown} and shown
    widget.interventions = [["au", unit]]
    assert probabilities == pytest.approx(widget.probabilities, abs=2e-5) and probabilities != plain
    picture = cv2.imread(str(path))
    assert picture.shape[1] > 1600 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 200


NOTEBOOK_CELLS = (
    """import sys, json
sys.path.insert(0, {root!r})
import torch
from tests.small import make_dataset, make_small_model
from stagkit.explorers import view_au_graph
model, batch = make_small_model(), make_dataset(n_subjects=3, per_subject=4).batch()
with torch.no_grad():
    output = model(batch.x, batch.mask, batch.times_ms)
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
    # an edge is cut
    tab.keyboard.press("Escape")
    tab.locator("[data-edge^='region|']").first.click()
    tab.wait_for_selector(".sg-edge.sg-on", state="attached")
    chosen = tab.locator(".sg-face-panel .sg-edge.sg-on")
    key, shown = chosen.get_attribute("data-key").split("|"), float(chosen.get_attribute("data-value"))
    took = tab.evaluate(REMOVE_AND_TIME)
    print(f"removal to new probabilities on screen: {took:.0f} ms")
    assert shown_probabilities(tab) == pytest.approx(predict(alive, 1, [["region", *key]]), abs=2e-5)
    # effects are asked for and come
    tab.get_by_role("button", name="Effect of removing").click()
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
    assert [seen["selected_edge"]["target"], seen["selected_edge"]["source"]] == key
    assert seen["quantity"] == "effect" == seen["selected_edge"]["quantity"]
    on_page = float(tab.locator(".sg-face-panel .sg-edge.sg-on").get_attribute("data-value"))
    assert seen["selected_edge"]["value"] == pytest.approx(on_page, abs=5e-6)
    weight = alive[0].edges[1, 1, ATLAS.index(key[0]), ATLAS.index(key[1])].item()
    assert shown == pytest.approx(weight, rel=1e-3)
    assert seen["probabilities"] == pytest.approx(predict(alive, 1, [["region", *key]]), abs=1e-5)
    keep_shot(tab, "au_graph_lab")
    tab.evaluate("jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })")
    wait_until(tab, "document.body.dataset.jpThemeLight === 'false'")
    tab.wait_for_timeout(500)
    keep_shot(tab, "au_graph_lab_dark")
    assert [message for message in tab.wrong if "stag" in message.lower()] == []
