"""The face with sliders in a JupyterLab in a real browser: what is clicked there is what Python reads, and is redrawn."""

import json
import re

import pytest

from tests.browser import chromium, keep_shot, lab, open_lab, read_output, run_cell, tab, wait_until

__all__ = ["chromium", "lab", "tab"]  # fixtures

CELLS = (
    """from stagkit import PhantomConfig
from stagkit.synthetic.clip import make_clip
from stagkit.explorers import MovingFace
phantom = make_clip(PhantomConfig(subjects=1, clips=1, size=96, difficulty=0), 0, 0)
face = MovingFace(phantom.truth.neutral, phantom.landmarks[0], size=96, au=12, side="L", strength=2.0)
face""",
    """import json
seen = dict(code=face.code, frame=face.frame, strength=face.strength, most=max(face.answers, key=face.answers.get))
print("SEEN" + json.dumps(seen) + "END")""",
)

PICTURE = "document.querySelector('.jp-OutputArea img.widget-image')?.src"


@pytest.mark.browser
@pytest.mark.slow
def test_sliders_that_are_moved_in_jupyterlab_move_the_face(lab, tab):
    tab.set_viewport_size({"width": 1300, "height": 900})
    open_lab(tab, lab(CELLS))
    run_cell(tab, 0)
    tab.wait_for_selector(".widget-slider .noUi-handle", timeout=120_000)
    wait_until(tab, f"{PICTURE} !== undefined", 60)
    shown = [tab.evaluate(PICTURE)]
    assert tab.locator(".widget-slider .widget-readout").nth(1).inner_text() == "24", "it opens at the apex"

    def redrawn():
        wait_until(tab, f"{PICTURE} !== {json.dumps(shown[-1])}", 30)
        shown.append(tab.evaluate(PICTURE))

    options = tab.locator(".widget-dropdown select").first
    wanted = next(text for text in options.locator("option").all_inner_texts() if re.match(r"AU0?2\b", text))
    options.select_option(label=wanted)
    redrawn()
    tab.get_by_role("button", name="right", exact=True).click()
    redrawn()
    for slider, share in zip(tab.locator(".widget-slider .noUi-target").all()[:2], (0.5, 0.4), strict=True):
        slider.click(position={"x": share * slider.bounding_box()["width"], "y": 3})
        redrawn()
    strength, frame = (float(text) for text in tab.locator(".widget-slider .widget-readout").all_inner_texts()[:2])
    assert (strength, frame) == pytest.approx((1.5, 19), abs=1.01), "half of 3 %, two fifths of 47 frames"
    keep_shot(tab, "moving_face_lab")
    tab.wait_for_timeout(500)
    run_cell(tab, 1)
    text = read_output(tab)
    seen = json.loads(re.search(r"SEEN(\{.*\})END", text, re.DOTALL)[1])
    assert seen["code"] == "AU02R" and (seen["strength"], seen["frame"]) == (strength, frame)
    assert seen["most"] in ("brow_outer_R", "brow_mid_R"), "the subject's right, as it was clicked"
    assert not [w for w in tab.wrong if "widget" in w.lower() and "404" not in w]
