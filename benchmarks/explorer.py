"""How quickly the AU-graph explorer answers: in a saved page in Chromium, and in a JupyterLab with the network behind it.

    python benchmarks/explorer.py [--json FILE] [--cuts 15] [--no-lab]
    python benchmarks/explorer.py --run RUN --picture figures/au_graph_explorer.png    # the picture of README

A T = 12 network of the default size with random weights (speed does not depend on them). Reported, in ms and kB:
``cut_on_screen``: from the click that cuts (0.3 s after the one that selects: a hand is no faster) to the new probabilities
drawn, median (aim 100); ``cut_round_trip``: the part of it until the browser hears the kernel's answer; ``view_cell``: from
the start of the cell (Shift-Enter) to the drawn explorer; ``first_paint``: the part of it after the cell has returned, by
the time stamp of the kernel's execute_reply (aim 1500); ``redraw``: one step of the time slider (aim 16, 60 frames a
second); ``page``: size of a saved page of one clip with all its single cuts (aim 1000); ``console_errors``: of all of it
(aim 0).
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.explorers import view_au_graph
from stagkit.network.model import Stag
from tests.browser import CHROMIUM_ARGS, find_chromium, open_lab, open_page, put, run_cell, start_lab, wait_until
from tests.explorer_picture import drawn_explorer

CELL = """import sys
sys.path[:0] = [{root!r}, {root!r} + "/benchmarks"]
import torch
from explorer import make_clip
from stagkit.explorers import view_au_graph
model, batch = make_clip()
with torch.no_grad():
    output = model(batch.x, batch.mask, batch.times_ms)
import matplotlib.figure
view_au_graph(output, batch, model=model)"""

CUT_AND_TIME = """(key) => new Promise((done) => {
  document.querySelector(`.sg-node[data-name="${key}"]`).dispatchEvent(new MouseEvent('click', { bubbles: true }));
  setTimeout(() => {
    const kernel = jupyterapp.shell.currentWidget.sessionContext.session.kernel;
    let answer = 0;
    const hear = (_, { msg, direction }) => {
      if (direction === 'recv' && msg.content?.data?.state?._computed) answer = performance.now() - start;
    };
    kernel.anyMessage.connect(hear);
    const start = performance.now();
    const status = () => document.querySelector('.sg-probability [role=status]')?.innerText ?? '';
    const watch = new MutationObserver(() => {
      if (!/recomputed/.test(status())) return;
      watch.disconnect();
      kernel.anyMessage.disconnect(hear);
      requestAnimationFrame(() => done({ screen: performance.now() - start, answer }));
    });
    watch.observe(document.querySelector('.sg-probability'), { childList: true, subtree: true });
    document.querySelector('[data-act=remove]').click();
  }, 300);
})"""

RUN_AND_TIME = """async () => {
  const panel = jupyterapp.shell.currentWidget;
  const kernel = panel.sessionContext.session.kernel;
  let [asked, returned] = ['', 0];
  const hear = (_, { msg, direction }) => {
    if (direction === 'send' && msg.header.msg_type === 'execute_request') asked = msg.header.msg_id;
    if (msg.header.msg_type !== 'execute_reply' || msg.parent_header.msg_id !== asked) return;
    returned = Date.parse(msg.header.date);
  };
  kernel.anyMessage.connect(hear);
  panel.content.activeCellIndex = 1;
  const start = Date.now();
  jupyterapp.commands.execute('notebook:run-cell-and-select-next');
  const frame = () => new Promise(requestAnimationFrame);
  while (!document.querySelector('.stag-au[data-draw-ms]')) await frame();
  await frame();
  const drawn = Date.now();
  while (!returned) await new Promise((done) => setTimeout(done, 5));
  kernel.anyMessage.disconnect(hear);
  return { view_cell_ms: drawn - start, first_paint_ms: drawn - returned };
}"""


def make_clip() -> tuple[Stag, Batch]:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = Stag(StagConfig(), n_classes=3).eval()
    batch = Batch(
        x=torch.randn(1, 12, len(ATLAS.names), 3, 5, 5),
        mask=torch.ones(1, 12, len(ATLAS.names), dtype=torch.bool),
        times_ms=torch.arange(12.0)[None] * 20,
        label=torch.zeros(1, dtype=torch.long),
        aus=torch.full((1, 17), float("nan")),
        clip_ids=("clip",),
        subjects=("subject",),
        classes=("negative", "positive", "surprise"),
    )
    return model, batch


def open_tab(browser, errors: list, **options):
    """A page whose errors are collected."""
    page = browser.new_context(viewport={"width": 1400, "height": 1100}, **options).new_page()
    page.set_default_timeout(120_000)
    page.on("console", lambda m: errors.append(m.text) if m.type == "error" and "stag" in m.text.lower() else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return page


def measure_page(browser, errors: list) -> dict[str, float]:
    model, batch = make_clip()
    with torch.no_grad():
        widget = view_au_graph(model(batch.x, batch.mask, batch.times_ms), batch, model=model)
    answered = []
    for target in ATLAS.names[:20]:
        started = time.perf_counter()
        widget.interventions = [["region", target, "chin"]]
        answered.append(1000 * (time.perf_counter() - started))
    widget.interventions = []
    with tempfile.TemporaryDirectory() as folder:
        size = len(widget.to_html(Path(folder) / "graph.html").encode())
        page = open_tab(browser, errors)
        open_page(page, Path(folder) / "graph.html")
        redraws = []
        for frame in [*range(12), *range(12)]:
            put(page, frame=frame)
            redraws.append(float(page.locator(".stag-au").get_attribute("data-draw-ms")))
        page.close()
    return {
        "redraw_ms": float(np.median(redraws)),
        "python_answer_ms": float(np.median(answered)),
        "page_kb": size / 1000,
    }


def measure_lab(browser, errors: list, n_cuts: int) -> dict[str, float]:
    page = open_tab(browser, errors)
    cell = CELL.format(root=str(Path(__file__).parents[1]))
    imports, show = cell.rsplit("\n", 1)
    with tempfile.TemporaryDirectory() as folder, start_lab(Path(folder), [imports, show]) as address:
        open_lab(page, address)
        run_cell(page, 0)
        wait_until(page, "document.querySelector('.jp-InputPrompt')?.innerText.includes('1')", 120)
        paint = page.evaluate(RUN_AND_TIME)
        took = []
        for name in ATLAS.names[:n_cuts]:
            took.append(page.evaluate(CUT_AND_TIME, name))
            page.get_by_role("button", name="Restore all").click()
            page.locator(".stag-au").get_by_role("button", name="Clear", exact=True).click()
            wait_until(page, "!document.querySelector('.sg-chip')")
        page.close()
    return {
        "cut_on_screen_ms": float(np.median([one["screen"] for one in took])),
        "cut_round_trip_ms": float(np.median([one["answer"] for one in took])),
        **paint,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--cuts", type=int, default=15, help="cuts that are timed in JupyterLab")
    parser.add_argument("--no-lab", action="store_true", help="the saved page alone")
    parser.add_argument("--run", help="a run for --picture")
    parser.add_argument("--picture", help="draw the explorer of --run instead of measuring")
    options = parser.parse_args()
    from playwright.sync_api import sync_playwright

    errors: list[str] = []
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=find_chromium(), args=CHROMIUM_ARGS)
        if options.picture:
            from stagkit.evaluation.run import Run
            from stagkit.explorers import RunSource

            with drawn_explorer(browser, RunSource(Run.load(options.run)), options.picture) as (_, widget, unit):
                clip = widget.source.clip_ids[widget.clip]
                print(f"{options.picture}: clip {clip} of {options.run}, {unit} silenced")
            return
        table = measure_page(browser, errors)
        if not options.no_lab:
            table |= measure_lab(browser, errors, options.cuts)
        browser.close()
    table["console_errors"] = len(errors)
    print("\n".join(f"{name:<26}{value:8.1f}" for name, value in table.items()), *errors, sep="\n")
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
