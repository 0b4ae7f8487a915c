"""A real Chromium and a real JupyterLab for the tests of explorers; on a machine without them those tests skip.

Where STAGKIT_BROWSER=required (continuous integration), a missing browser is a failure, not a skip. Pictures of what was
tested lie in ``build/shots`` afterwards (not under version control).
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

SHOTS = Path(__file__).parents[1] / "build" / "shots"

CHROMIUM_ARGS = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --force-color-profile=srgb"
).split()


def find_chromium() -> str:
    """Path of a Chromium, or a skip (a failure where one is required)."""
    names = ("chromium", "chromium-browser", "google-chrome")
    executable = next((found for name in names if (found := shutil.which(name))), None)
    if executable is None:
        told = "no Chromium on this machine (Debian: apt-get install chromium)"
        pytest.fail(told) if os.environ.get("STAGKIT_BROWSER") == "required" else pytest.skip(told)
    return executable


@pytest.fixture(scope="module")
def chromium():
    executable = find_chromium()
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=CHROMIUM_ARGS)
        yield browser
        browser.close()


@pytest.fixture
def tab(chromium):
    """A page that collects what goes wrong in it and every address it asks for."""
    context = chromium.new_context(viewport={"width": 1200, "height": 900}, accept_downloads=True)
    page = context.new_page()
    page.set_default_timeout(40_000)
    page.wrong, page.asked = [], []
    page.on("console", lambda m: page.wrong.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    yield page
    context.close()


def open_page(page, path):
    """Open an exported page and wait until it is drawn."""
    page.goto(Path(path).as_uri())
    page.wait_for_selector("html[data-ready]")


def settle(page):
    """Two frames: what was asked for is drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def wait_until(page, condition, seconds=30):
    """Poll from outside: the page's own policy forbids the eval that playwright's wait_for_function needs."""
    for _ in range(10 * seconds):
        if page.evaluate(condition):
            return
        page.wait_for_timeout(100)
    raise AssertionError(f"not reached in {seconds} s: {condition}")


def trait(page, name):
    return page.evaluate(f"stagModel.get({name!r})")


def put(page, **traits):
    """Set traits of an exported page, as Python would."""
    page.evaluate(
        "(t) => { for (const [k, v] of Object.entries(t)) stagModel.set(k, v); stagModel.save_changes(); }", traits
    )
    settle(page)


def keep_shot(page, name) -> Path:
    """Keep a picture of the whole page in ``build/shots``."""
    SHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SHOTS / f"{name}.png", full_page=True)
    return SHOTS / f"{name}.png"


@contextmanager
def start_lab(folder: Path, cells):
    """A JupyterLab of its own, in ``folder``, on a notebook of these cells: its address; it ends with the block."""
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    (folder / "work").mkdir()
    nbformat.write(notebook, folder / "work" / "explorer.ipynb")
    config = folder / "config"
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
        "JUPYTER_DATA_DIR": str(folder / "data"),
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "IPYTHONDIR": str(folder / "ipython"),
        "OMP_NUM_THREADS": "1",
    }
    command = (
        f"lab --no-browser --allow-root --ip=127.0.0.1 --port={port} --ServerApp.port_retries=0 "
        "--IdentityProvider.token= --LabApp.expose_app_in_browser=True --LabApp.extension_manager=readonly"
    ).split()
    with (folder / "lab.log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyter", *command, f"--notebook-dir={folder / 'work'}"],
            env=environment,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        for _ in range(600):
            time.sleep(0.2)
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "lab.log").read_text()[-2000:]
        else:
            raise AssertionError("JupyterLab did not start in two minutes")
        yield f"http://127.0.0.1:{port}/lab/tree/explorer.ipynb"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def lab(tmp_path):
    """``lab(cells)`` starts a JupyterLab of its own on a notebook of these cells and gives its address."""
    pytest.importorskip("jupyterlab", reason="jupyterlab is not installed")
    with ExitStack() as stack:
        yield lambda cells: stack.enter_context(start_lab(tmp_path, cells))


_RUN_CELL = """async (index) => {
  const panel = jupyterapp.shell.currentWidget;
  await panel.context.ready;
  await panel.sessionContext.ready;
  panel.content.activeCellIndex = index;
  await jupyterapp.commands.execute('notebook:run-cell');
}"""


def open_lab(page, address):
    """Open a notebook in JupyterLab and wait for its kernel."""
    page.goto(address)
    wait_until(page, "window.jupyterapp?.shell?.currentWidget?.sessionContext", 60)


def run_cell(page, index):
    """Run one cell of the notebook that is open."""
    page.evaluate(_RUN_CELL, index)


def read_output(page, mark="END"):
    """What the notebook printed, once ``mark`` is in it."""
    wait_until(page, f"document.body.innerText.includes({mark!r})")
    return page.evaluate("[...document.querySelectorAll('.jp-OutputArea-output')].map(n => n.innerText).join(' ')")


def read_structure(page, selector) -> dict:
    """What is wrong with a drawn explorer (overlaps, cut off, nameless, too pale) and what it is made of."""
    text = (Path(__file__).parent / "structure.js").read_text(encoding="utf-8")
    return page.evaluate(text.split("\n", 1)[1], selector)
