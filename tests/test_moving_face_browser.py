"""The face with sliders in a JupyterLab in a real browser: what is clicked there is what Python reads, and is redrawn."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time

import pytest

from tests.test_au_graph import RUN_CELL, chromium, tab, wait_until

__all__ = ["chromium", "tab"]  # fixtures

CELLS = (
    """from stagkit import PhantomConfig
from stagkit.phantom import make_clip
from stagkit.widgets import MovingFace
phantom = make_clip(PhantomConfig(subjects=1, clips=1, size=96, difficulty=0), 0, 0)
face = MovingFace(phantom.truth.neutral, phantom.landmarks[0], size=96, au=12, side="L", strength=2.0)
face""",
    """import json
seen = dict(code=face.code, frame=face.frame, strength=face.strength, most=max(face.answers, key=face.answers.get))
print("SEEN" + json.dumps(seen) + "END")""",
)

PICTURE = "document.querySelector('.jp-OutputArea img.widget-image')?.src"


@pytest.fixture
def lab(tmp_path):
    """A JupyterLab of its own on a free port, with a notebook of two cells; ends with the test."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    if not shutil.which("chromium"):
        pytest.skip("no Chromium on this machine")
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (tmp_path / "work").mkdir()
    nbformat.write(notebook, tmp_path / "work" / "face.ipynb")
    settings = tmp_path / "config" / "labconfig"
    settings.mkdir(parents=True)
    off = {"disabledExtensions": {"@jupyterlab/apputils-extension:announcements": True}}
    (settings / "page_config.json").write_text(json.dumps(off))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    places = {"JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime"}
    environment = {**os.environ, **{k: str(tmp_path / v) for k, v in places.items()}, "OMP_NUM_THREADS": "1"}
    command = (
        f"lab --no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        "--IdentityProvider.token= --LabApp.expose_app_in_browser=True --LabApp.extension_manager=readonly"
    ).split()
    with (tmp_path / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", *command, f"--notebook-dir={tmp_path / 'work'}"],
            env={**environment, "IPYTHONDIR": str(tmp_path / "ipython")},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(300):
            time.sleep(0.2)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (tmp_path / "lab.log").read_text()[-2000:]
        yield f"http://127.0.0.1:{port}/lab/tree/face.ipynb"
    finally:
        server.terminate()
        server.wait(20)


@pytest.mark.browser
@pytest.mark.slow
def test_sliders_that_are_moved_in_jupyterlab_move_the_face(lab, tab):
    tab.set_viewport_size({"width": 1300, "height": 900})
    tab.goto(lab)
    wait_until(tab, "window.jupyterapp?.shell?.currentWidget?.sessionContext", 60)
    tab.evaluate(RUN_CELL, 0)
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
    if os.environ.get("STAGKIT_SHOTS"):
        tab.screenshot(path=f"{os.environ['STAGKIT_SHOTS']}/moving_face_lab.png")
    tab.wait_for_timeout(500)
    tab.evaluate(RUN_CELL, 1)
    wait_until(tab, "document.body.innerText.includes('END')", 60)
    text = tab.evaluate("[...document.querySelectorAll('.jp-OutputArea-output')].map(n => n.innerText).join(' ')")
    seen = json.loads(re.search(r"SEEN(\{.*\})END", text, re.DOTALL)[1])
    assert seen["code"] == "AU02R" and (seen["strength"], seen["frame"]) == (strength, frame)
    assert seen["most"] in ("brow_outer_R", "brow_mid_R"), "the subject's right, as it was clicked"
    assert not [w for w in tab.wrong if "widget" in w.lower() and "404" not in w]
