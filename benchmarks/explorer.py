"""How quickly the AU-graph explorer answers: redraw in Chromium, cut edge -> new probabilities, size of the page.

    python benchmarks/explorer.py [--json FILE]

A T = 12 network of the default size with random weights (speed does not depend on them) and a headless Chromium.
"""

import argparse
import json
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import sync_playwright

from stagkit.config import StagConfig
from stagkit.model import Stag
from stagkit.rois import ATLAS
from stagkit.types import Batch
from stagkit.widgets import view_au_graph

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def make_clip() -> tuple[Stag, Batch]:
    torch.manual_seed(0)
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, batch = make_clip()
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)

    def recompute(cuts, clip):
        edges = output.edges.clone()
        for _, target, source in cuts:
            edges[:, :, ATLAS.index(target), ATLAS.index(source)] = 0
        with torch.no_grad():
            return model.logits(batch.x, batch.mask, batch.times_ms, edges).softmax(-1)[0].numpy()

    widget = view_au_graph(output, batch, recompute=recompute)
    answered = []
    for target in ATLAS.names[:20]:
        started = time.perf_counter()
        widget.cuts = [["region", target, "chin"]]
        answered.append(1000 * (time.perf_counter() - started))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        page_file = Path(folder) / "graph.html"
        size = len(widget.to_html(page_file).encode())
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page()
        page.goto(page_file.as_uri())
        page.wait_for_selector("html[data-ready]")
        redraws = []
        for frame in [*range(12), *range(12)]:
            page.evaluate(f"stagModel.set('frame', {frame}); stagModel.save_changes()")
            page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            redraws.append(float(page.locator(".stag-au").get_attribute("data-draw-ms")))
        browser.close()
    table = {
        "redraw_ms": float(np.median(redraws)),
        "cut_to_probabilities_ms": float(np.median(answered)),
        "page_kb": size / 1000,
    }
    print("\n".join(f"{name:<26}{value:8.1f}" for name, value in table.items()))
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=2), encoding="utf-8")


if __name__ == "__main__":
    main()
