"""The saved pages of the flow, evidence and run explorers in a real Chromium: same numbers as in Python, no error."""

import base64
import json
import re
import zlib

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import Attribution, by_au, by_roi
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import compute_flow
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from tests.browser import (
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
from tests.lockfile import ROOT
from tests.test_run_browser import make_run

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

from stagkit.explain.evidence import Evidence
from stagkit.explorers import view_evidence, view_flow, view_run

pytestmark = pytest.mark.browser

CLIP = make_clip(PhantomConfig(preset="smic", subjects=1, clips=1, size=96, difficulty=0.3), 0, 0)


@pytest.fixture(params=["light", "dark"])
def tab(chromium, request):
    """A page of 820 px, as at 150 % zoom on a laptop; what goes wrong in it and what it asks for is kept."""
    context = chromium.new_context(viewport={"width": 820, "height": 700}, color_scheme=request.param)
    page = context.new_page()
    page.set_default_timeout(40_000)
    page.wrong, page.asked, page.theme = [], [], request.param
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda asked: page.asked.append(asked.url))
    yield page
    context.close()


def open_explorer(tab, widget, tmp_path):
    widget.to_html(tmp_path / "page.html")
    open_page(tab, tmp_path / "page.html")


def check_page(tab, name):
    """Nothing overlaps, is cut off, nameless or too pale; no error, and nothing was asked from a network."""
    found = read_structure(tab, ".stag-x")
    for fault in ("overlaps", "cut", "nameless", "pale"):
        assert found[fault] == [], (fault, tab.theme)
    assert found["wide"] <= 0, "it scrolls sideways"
    shade = tab.evaluate("getComputedStyle(document.querySelector('.stag-x')).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 80) == (tab.theme == "dark")
    assert tab.wrong == []
    assert [url for url in tab.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    keep_shot(tab, f"{name}_{tab.theme}")


# ---------------------------------------------------------------------------------------------------- flow
def read_row(tab, name):
    return tab.locator(f"dd[data-row='{name}']").first.inner_text()


@pytest.mark.parametrize("tab", ["light"], indirect=True)
def test_flow_page_shows_what_was_measured(tab, tmp_path):
    motion = compute_flow(CLIP)
    x, y = (round(float(v)) for v in ATLAS.centres(motion.landmarks)[ATLAS.index("cheek_L")])
    widget = view_flow(CLIP, motion=motion)
    other = widget.motion
    widget.method = "farneback"
    farneback = widget.motion
    widget.method = "dis"
    open_explorer(tab, widget, tmp_path)
    wait_until(tab, "document.querySelector('.stag-flow').dataset.key === '0|dis'")
    settle(tab)
    peak = int(motion.scores.argmax())
    assert trait(tab, "frame") == peak and read_row(tab, "motion score").startswith(f"{motion.scores[peak]:.3f}")

    # the discriminative frames of every rule are dots on the curve
    for rule, n in (("uniform", 12), ("apex", 1), ("magnitude", 12)):
        tab.get_by_label("Selection rule").select_option(rule)
        settle(tab)
        dots = tab.locator(".sg-chosen").evaluate_all("n => n.map((d) => Number(d.dataset.frame))")
        assert len(dots) == n and trait(tab, "selected") == dots
    assert dots == other.selected.tolist()

    # frames by keyboard
    slider = tab.get_by_role("slider", name="Frame", exact=True)
    slider.focus()
    tab.keyboard.press("ArrowRight")
    settle(tab)
    assert trait(tab, "frame") == peak + 1
    assert read_row(tab, "motion score").startswith(f"{motion.scores[peak + 1]:.3f}")
    assert read_row(tab, "head moved").endswith("px")

    # a place: its motion is that of Python at the same pixel, within the rounding of the grid
    put(tab, frame=peak, point=[x, y])
    u, v = (float(part.strip(" px").replace("−", "-")) for part in read_row(tab, "right, down").split(","))
    near = motion.flow[peak][:, y - 1 : y + 2, x - 1 : x + 2].mean((1, 2))
    assert (u, v) == pytest.approx(tuple(near), abs=0.06)

    # another method: other numbers, and the place stays
    tab.get_by_label("Flow method").select_option("farneback")
    wait_until(tab, "document.querySelector('.stag-flow').dataset.key === '0|farneback'")
    settle(tab)
    assert read_row(tab, "motion score").startswith(f"{farneback.scores[peak]:.3f}")
    assert tab.locator("option[value=tvl1]").evaluate("n => n.disabled")  # it is not in the page

    # layers are painted, the magnified picture differs from the frame, the place can be moved by keyboard
    def ink(panel):
        return tab.evaluate(
            f"(() => {{ const c = document.querySelector('{panel} canvas'); const d = c.getContext('2d')"
            ".getImageData(0, 0, c.width, c.height).data; let sum = 0; for (let i = 0; i < d.length; i += 4) "
            "sum += d[i] + 2 * d[i + 1] + 3 * d[i + 2] + d[i + 3]; return sum; })()"
        )

    seen = set()
    for layer in ("Direction", "Speed", "Strain"):
        tab.get_by_role("button", name=layer, exact=True).click()
        settle(tab)
        seen.add(ink(".sg-flow"))
    assert len(seen) == 3
    still = ink(".sg-face")
    tab.get_by_label("Times the motion is magnified").fill("12")
    settle(tab)
    assert trait(tab, "magnify") == 12 and ink(".sg-face") != still
    tab.locator(".sg-face svg").focus()
    tab.keyboard.press("ArrowRight")
    settle(tab)
    assert trait(tab, "point")[0] > x
    tab.keyboard.press("Escape")
    settle(tab)
    assert trait(tab, "point") == []
    tab.get_by_role("button", name="▶ Play").click()
    wait_until(tab, f"stagModel.get('frame') !== {peak}")
    tab.get_by_role("button", name="❚❚ Pause").click()
    settle(tab)
    check_page(tab, "flow")


@pytest.mark.parametrize("tab", ["dark"], indirect=True)
def test_browser_decodes_the_grid_and_colours_it_by_direction(tab, tmp_path):
    """Flow of one known direction: the pixels on the screen have its colour on the wheel."""
    from dataclasses import replace

    from stagkit.explorers.flow.widget import compute_payload

    motion = compute_flow(CLIP)
    flow = np.zeros_like(motion.flow)
    flow[:, 0], flow[:, 1] = 0.4, -1.0
    motion = replace(motion, flow=flow)
    open_explorer(tab, view_flow(CLIP, motion=motion, arrows=False, show_frames=False), tmp_path)
    wait_until(tab, "!!document.querySelector('.stag-flow').dataset.frame")
    payload = compute_payload(CLIP, 0, motion, FlowConfig())
    mask = np.frombuffer(zlib.decompress(base64.b64decode(payload["mask"])), np.uint8).reshape(payload["grid"][::-1])
    assert mask.max() == 255
    limit = payload["limits"]["speed"]
    u, v = np.array([0.4, -1.0]) * 100 / motion.iod
    turn = np.arctan2(v, u) / (2 * np.pi) % 1 * 4  # right, down, left, up and right again
    first, part = int(turn), turn % 1
    anchors = np.array([(213, 94, 0), (240, 200, 20), (0, 114, 178), (112, 48, 148), (213, 94, 0)])
    colour = (1 - part) * anchors[first] + part * anchors[first + 1]
    wanted = np.array([*colour, 255 * min(np.hypot(u, v) / limit, 1)])
    shown = tab.evaluate(
        "(() => { const c = document.querySelector('.sg-flow canvas'); return [...c.getContext('2d')"
        ".getImageData(c.width / 2, c.height / 2, 1, 1).data]; })()"
    )
    assert shown == pytest.approx(wanted.tolist(), abs=4)
    assert "show_frames=False" in tab.locator(".sg-face .sg-key").inner_text()
    assert tab.locator(".sg-face .sg-skin").count() == 1  # landmarks stand in for the picture
    check_page(tab, "flow_hidden")


# ---------------------------------------------------------------------------------------------------- evidence
def make_attribution(controlled: bool):
    """Two clips, four frames, values by hand: lip corners speak for, the left brow against, growing over time."""
    values = np.zeros((2, 4, 22, 3, 2, 2), np.float32)
    course = np.arange(1, 5, dtype=np.float32)[:, None, None, None]
    for clip in (0, 1):
        values[clip, :, ATLAS.index("lip_corner_L")] = 0.02 * course * (clip + 1)
        values[clip, :, ATLAS.index("lip_corner_R")] = 0.01 * course
        values[clip, :, ATLAS.index("brow_outer_L")] = -0.005 * course
    flow = np.tile(ATLAS.directions[AU_LABELS.index("AU12")], (2, 4, 1, 1)).astype(np.float32)
    whole = values.sum((1, 2, 3, 4, 5), dtype=float)
    attribution = Attribution(
        values=values, inputs=("x",), method="integrated gradients", settings={"n_steps": 8}, target=np.array([0, 1]),
        baseline="zero flow (no motion)", logit_difference=whole, convergence_delta=np.zeros(2),
        clip_ids=("first", "second"), classes=("no", "yes"),
        roi_names=ATLAS.names, times_ms=np.tile([20.0, 40.0, 60.0, 80.0], (2, 1)), mask=np.ones((2, 4, 22), bool), flow=flow,
    )  # fmt: skip
    areas = {f"{k}{end}": np.array([v, v]) for k, v in (("deletion", 0.5), ("insertion", 2.0)) for end in ("", "_flow")}
    areas |= {"deletion_random": np.array([1.2, 1.2]), "insertion_random": np.array([1.3, 1.3])}
    scores = {"completeness": np.zeros(2), "randomised": np.array([0.9, 0.1]), **areas}
    return Evidence(attribution, scores) if controlled else attribution


def test_evidence_page_has_the_numbers_of_python(tab, tmp_path):
    evidence = make_attribution(controlled=True)
    attribution = evidence.attribution
    open_explorer(tab, view_evidence(evidence), tmp_path)
    regions, units = by_roi(attribution), by_au(attribution)

    def bars():
        return dict(
            tab.locator(".sg-bar-list button").evaluate_all("n => n.map((b) => [b.dataset.name, +b.dataset.value])")
        )

    shown = bars()
    assert list(shown) == ["lip_corner_L", "lip_corner_R", "brow_outer_L"]  # strongest first, nothing that is zero
    for name, value in shown.items():
        assert value == pytest.approx(regions[0, ATLAS.index(name)], abs=1e-4)
    assert tab.locator(".sg-stamp").evaluate("n => getComputedStyle(n).display") == "none"
    marks = tab.locator(".sg-check b").all_inner_texts()
    assert [m[0] for m in marks] == ["✓" if v.passed else "✗" for v in evidence.checks(0)] and "✗ fails" in marks
    assert tab.locator(".sg-block").count() == 6  # areas, since the page has no network

    # by keyboard: a region on the face; the bar and the trait follow
    tab.locator(".sg-map-panel .sg-dot[data-name=lip_corner_L]").focus()
    tab.keyboard.press("Enter")
    settle(tab)
    assert trait(tab, "selected")["name"] == "lip_corner_L"
    assert trait(tab, "selected")["value"] == pytest.approx(regions[0, ATLAS.index("lip_corner_L")], abs=1e-4)
    assert tab.locator(".sg-bar-list button[aria-pressed=true]").get_attribute("data-name") == "lip_corner_L"

    # one frame: the dots are that frame's
    tab.locator(".sg-frame-bar[data-frame='3']").click()
    settle(tab)
    assert trait(tab, "frame") == 3
    value = float(tab.locator(".sg-map-panel .sg-dot[data-name=lip_corner_L]").get_attribute("data-value"))
    assert value == pytest.approx(12 * 0.02 * 4, abs=1e-4)

    # action units of the other clip
    tab.get_by_label("Clip", exact=True).select_option("1")
    tab.get_by_role("button", name="AUs", exact=True).click()
    settle(tab)
    assert trait(tab, "frame") == -1
    for name, value in bars().items():
        at = len(AU_LABELS) if name == "none" else AU_LABELS.index(name)
        assert value == pytest.approx(units[1, at], abs=1e-4)
    assert tab.locator("option", has_text="feature ablation").count() == 0
    assert tab.get_by_role("button", name="Random weights").is_disabled()
    check_page(tab, "evidence")


def test_bare_attribution_is_stamped_on_its_page(tab, tmp_path):
    open_explorer(tab, view_evidence(make_attribution(controlled=False)), tmp_path)
    stamp = tab.locator(".sg-stamp")
    assert stamp.is_visible() and stamp.text_content() == "no control"
    assert "it has not been tested" in tab.locator(".sg-checks").inner_text()
    check_page(tab, "evidence_bare")


# ---------------------------------------------------------------------------------------------------- run
def test_run_page_lists_the_clips_of_a_cell(tab, tmp_path):
    widget = view_run(make_run(tmp_path / "run", n_subjects=10, per=9))
    table = widget.table
    open_explorer(tab, widget, tmp_path)
    counts = tab.locator(".sg-matrix td button span").all_inner_texts()
    assert [int(n) for n in counts] == table.confusion().ravel().tolist()

    def listed():
        return tab.locator(".sg-clip-list [data-clip]").evaluate_all("n => n.map((b) => +b.dataset.clip)")

    assert listed() == table.order("worst")[:60]
    tab.get_by_role("button", name="30 more …").click()
    settle(tab)
    assert listed() == table.order("worst")

    # a cell by keyboard, then a subject, then other seeds and orders
    tab.locator("button[data-name='negative|positive']").focus()
    tab.keyboard.press("Enter")
    settle(tab)
    widget.cell = ["negative", "positive"]
    assert trait(tab, "cell") == widget.cell and listed() == widget.shown()
    assert tab.evaluate("document.activeElement.dataset.name") == "negative|positive"  # where it was
    tab.get_by_label("Seed").select_option("1")
    tab.get_by_role("button", name="Most surprising").click()
    settle(tab)
    widget.seed, widget.order = 1, "surprising"
    assert listed() == widget.shown()
    tab.get_by_role("button", name="✕ negative → positive").click()
    tab.locator("button[data-name='set/sub01']").click()
    settle(tab)
    widget.cell, widget.subject = [], "set/sub01"
    assert listed() == widget.shown() and len(listed()) == 9

    tab.locator(".sg-clip-list [data-clip]").first.click()
    settle(tab)
    chosen = trait(tab, "clip")
    assert chosen == widget.shown()[0]
    numbers = [float(t) for t in tab.locator(".sg-prob .sg-num").all_inner_texts()]
    assert numbers == pytest.approx(table.probabilities[1, chosen], abs=0.006)
    button = tab.get_by_role("button", name="Open Evidence")
    assert button.is_disabled() and "needs Python" in button.get_attribute("title")
    check_page(tab, "run")


# ---------------------------------------------------------------------------------------------------- JupyterLab
CELLS = (
    """import sys, json
sys.path.insert(0, {root!r})
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.clip import make_clip
from stagkit.explorers import view_run
clip = make_clip(PhantomConfig(preset="smic", subjects=1, clips=1, size=96, difficulty=0.3), 0, 0)
browser = view_run({run!r}, frames=lambda clip_id: clip)
browser.png_fallback = False
browser""",
    """flow = browser.explorer
print("SEEN" + json.dumps(dict(clip=browser.clip, method=flow.method, frame=flow.frame, selected=flow.selected)) + "END")""",
)


@pytest.mark.slow
@pytest.mark.parametrize("tab", ["light"], indirect=True)
def test_in_jupyterlab_one_click_opens_an_explorer_that_python_answers(lab, tab, tmp_path):
    run = make_run(tmp_path / "run")
    tab.set_viewport_size({"width": 1400, "height": 1300})
    open_lab(tab, lab([CELLS[0].format(root=str(ROOT), run=str(run.path)), CELLS[1]]))
    run_cell(tab, 0)
    tab.wait_for_selector(".stag-run [data-clip]", timeout=90_000)
    tab.locator(".sg-clip-list [data-clip]").first.click()
    tab.get_by_role("button", name="Open Flow").click()
    wait_until(tab, "document.querySelector('.stag-flow')?.dataset.key === '0|dis'", 90)
    tab.get_by_label("Flow method").select_option("farneback")  # measured in Python, drawn here
    wait_until(tab, "document.querySelector('.stag-flow').dataset.key === '0|farneback'", 90)
    motion = compute_flow(CLIP, FlowConfig(method="farneback"))
    peak = int(tab.locator(".stag-flow").get_attribute("data-frame"))
    wait_until(tab, f"document.querySelector('.stag-flow').innerText.includes('{motion.scores[peak]:.3f} % of IOD')")
    tab.get_by_role("slider", name="Frame", exact=True).focus()
    tab.keyboard.press("ArrowRight")
    wait_until(tab, f"document.querySelector('.stag-flow').dataset.frame === '{peak + 1}'")
    run_cell(tab, 1)
    seen = json.loads(re.search(r"SEEN(\{.*\})END", read_output(tab), re.DOTALL)[1])
    assert seen["clip"] == view_run(run).table.order("worst")[0]
    assert seen["method"] == "farneback" and seen["frame"] == peak + 1
    assert seen["selected"] == motion.selected.tolist()
    keep_shot(tab, "run_lab")
    assert [message for message in tab.wrong if "stag" in message.lower()] == []
