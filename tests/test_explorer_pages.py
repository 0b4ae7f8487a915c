"""The saved pages of the flow, evidence and run explorers in a real Chromium: same numbers as in Python, no error."""

import base64
import shutil
import zlib

import numpy as np
import pytest

from stagkit.config import FlowConfig, PhantomConfig
from stagkit.explain import by_au, by_roi
from stagkit.facs import AU_LABELS
from stagkit.flow import compute_flow
from stagkit.phantom import make_clip
from stagkit.rois import ATLAS
from stagkit.types import Attribution
from tests.test_run_browser import make_run

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

from stagkit.evidence import Evidence
from stagkit.widgets import view_evidence, view_flow, view_run

pytestmark = pytest.mark.browser

ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
).split()
CLIP = make_clip(PhantomConfig(preset="smic", subjects=1, clips=1, size=96, difficulty=0.3), 0, 0)


@pytest.fixture(scope="module")
def chromium():
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=ARGS)
        yield browser
        browser.close()


@pytest.fixture(params=["light", "dark"])
def tab(chromium, request):
    """A page of 820 px, as at 150 % zoom on a laptop; what goes wrong in it and what it asks for is kept."""
    context = chromium.new_context(viewport={"width": 820, "height": 700}, color_scheme=request.param)
    page = context.new_page()
    page.set_default_timeout(60_000)
    page.wrong, page.asked, page.theme = [], [], request.param
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda asked: page.asked.append(asked.url))
    yield page
    assert page.wrong == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:", "blob:"))] == []
    context.close()


def open_page(tab, widget, tmp_path):
    widget.to_html(tmp_path / "page.html")
    tab.goto((tmp_path / "page.html").as_uri())
    tab.wait_for_selector("html[data-ready]")
    assert tab.evaluate("document.documentElement.scrollWidth") <= 820  # no sideways scrolling
    shade = tab.evaluate("getComputedStyle(document.querySelector('.stag-x')).backgroundColor.match(/\\d+/)[0]")
    assert (int(shade) < 80) == (tab.theme == "dark")
    nameless = tab.evaluate(
        "[...document.querySelectorAll('button, select, input, [role=button], [role=application]')].filter((n) => "
        "!(n.ariaLabel || n.textContent.trim() || n.closest('label')?.textContent.trim())).map((n) => n.outerHTML)"
    )
    assert nameless == []  # everything that can be touched has a name


def settle(tab):
    tab.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_until(tab, condition, seconds=40):
    """Poll from outside: the page's own policy forbids the eval that playwright's wait_for_function needs."""
    for _ in range(10 * seconds):
        if tab.evaluate(condition):
            return
        tab.wait_for_timeout(100)
    raise AssertionError(f"not reached in {seconds} s: {condition}")


def trait(tab, name):
    return tab.evaluate(f"stagModel.get({name!r})")


def put(tab, **traits):
    for name, value in traits.items():
        tab.evaluate("([name, value]) => { stagModel.set(name, value); stagModel.save_changes(); }", [name, value])
    settle(tab)


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
    open_page(tab, widget, tmp_path)
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


@pytest.mark.parametrize("tab", ["dark"], indirect=True)
def test_browser_decodes_the_grid_and_colours_it_as_python_does(tab, tmp_path):
    """Flow of one known direction: the pixels on the screen have the colour that colour_wheel gives."""
    from dataclasses import replace

    from stagkit.widgets.flow_scene import colour_wheel, compute_payload

    motion = compute_flow(CLIP)
    flow = np.zeros_like(motion.flow)
    flow[:, 0], flow[:, 1] = 0.4, -1.0
    motion = replace(motion, flow=flow)
    open_page(tab, view_flow(CLIP, motion=motion, arrows=False, pictures=False), tmp_path)
    wait_until(tab, "!!document.querySelector('.stag-flow').dataset.frame")
    payload = compute_payload(CLIP, 0, motion, FlowConfig())
    mask = np.frombuffer(zlib.decompress(base64.b64decode(payload["mask"])), np.uint8).reshape(payload["grid"][::-1])
    assert mask.max() == 255
    limit = payload["limits"]["speed"]
    wanted = colour_wheel(np.array([0.4, -1.0]).reshape(2, 1, 1) * 100 / motion.iod, limit)[0, 0]
    shown = tab.evaluate(
        "(() => { const c = document.querySelector('.sg-flow canvas'); return [...c.getContext('2d')"
        ".getImageData(c.width / 2, c.height / 2, 1, 1).data]; })()"
    )
    assert shown == pytest.approx(wanted.tolist(), abs=4)
    assert "as asked" in tab.locator(".sg-face .sg-key").inner_text()
    assert tab.locator(".sg-face .sg-skin").count() == 1  # landmarks stand in for the picture


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
    gap = values.sum((1, 2, 3, 4, 5), dtype=float)
    attribution = Attribution(
        values=values, inputs=("x",), method="integrated gradients", settings={"n_steps": 8}, target=np.array([0, 1]),
        baseline="zero flow (no motion)", gap=gap, delta=np.zeros(2), clip_ids=("first", "second"), classes=("no", "yes"),
        roi_names=ATLAS.names, times_ms=np.tile([20.0, 40.0, 60.0, 80.0], (2, 1)), mask=np.ones((2, 4, 22), bool), flow=flow,
    )  # fmt: skip
    areas = {f"{k}{end}": np.array([v, v]) for k, v in (("deletion", 0.5), ("insertion", 2.0)) for end in ("", "_flow")}
    areas |= {"deletion_random": np.array([1.2, 1.2]), "insertion_random": np.array([1.3, 1.3])}
    scores = {"completeness": np.zeros(2), "randomised": np.array([0.9, 0.1]), **areas}
    return Evidence(attribution, scores) if controlled else attribution


def test_evidence_page_has_the_numbers_of_python(tab, tmp_path):
    evidence = make_attribution(controlled=True)
    attribution = evidence.attribution
    open_page(tab, view_evidence(evidence), tmp_path)
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
    marks = tab.locator(".sg-verdict b").all_inner_texts()
    assert [m[0] for m in marks] == ["✓" if v.ok else "✗" for v in evidence.verdicts(0)] and "✗ fails" in marks
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


def test_bare_attribution_is_stamped_on_its_page(tab, tmp_path):
    open_page(tab, view_evidence(make_attribution(controlled=False)), tmp_path)
    stamp = tab.locator(".sg-stamp")
    assert stamp.is_visible() and stamp.text_content() == "no control"
    assert "nobody knows whether it is true" in tab.locator(".sg-verdicts").inner_text()


# ---------------------------------------------------------------------------------------------------- run
def test_run_page_lists_the_clips_of_a_cell(tab, tmp_path):
    widget = view_run(make_run(tmp_path / "run", n_subjects=10, per=9))
    table = widget.table
    open_page(tab, widget, tmp_path)
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
    assert numbers == pytest.approx(table.chances[1, chosen], abs=0.006)
    button = tab.get_by_role("button", name="Open Evidence")
    assert button.is_disabled() and "needs Python" in button.get_attribute("title")
