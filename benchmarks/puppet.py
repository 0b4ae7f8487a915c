"""How quickly the puppeteer answers: slider moved -> new face, flow and bars in the picture, in Chromium.

    python benchmarks/puppet.py [--json FILE] [--face 1]

A saved page whose sliders are tied to the widget of this process by a bridge: all that a notebook does, but for the way
through its kernel. ``python_ms`` is the part of the widget alone, ``answer_ms`` from the browser's event until both
pictures are decoded, ``judged_ms`` until the networks have answered too, with five sliders up.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from playwright.sync_api import Page, sync_playwright

from stagkit.core.files import write_json
from stagkit.explorers import Puppet, view_puppet

ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


def connect(page: Page, puppet: Puppet) -> None:
    """Tie a saved page to a widget of this process, and let its sliders be moved."""

    def pull(aus: dict) -> dict:
        puppet.aus = aus
        return puppet._view

    page.expose_function("pull", pull)
    page.evaluate(
        """() => {
          document.querySelectorAll(".stag-puppet :disabled").forEach((node) => { node.disabled = false; });
          stagModel.on("change:aus", async () => stagModel.set("_view", await window.pull(stagModel.get("aus"))));
        }"""
    )


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json")
    parser.add_argument("--face", type=int, default=1)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    five = {"AU01": 1.0, "AU04R": 1.0, "AU06": 1.0, "AU12L": 1.0}
    puppet, judged = (view_puppet(given.face, five, enlarge=3, weights=w) for w in (None, "phantom"))
    alone, with_networks, answered = [], [], []
    for widget, times in ((puppet, alone), (judged, with_networks)):
        for strength in np.linspace(0.5, 2.5, 21):
            started = time.perf_counter()
            widget.aus = {**five, "AU17": float(strength)}
            times.append(1000 * (time.perf_counter() - started))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder) / "puppet.html"
        size = len(puppet.to_html(path).encode())
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=ARGUMENTS)
        page = browser.new_page(viewport={"width": 1180, "height": 800})
        page.goto(path.as_uri())
        page.wait_for_selector("html[data-ready]")
        connect(page, puppet)
        slider = page.locator("[data-au=AU17] input")
        for strength in np.linspace(0.5, 2.5, 21):
            serial = puppet._view["serial"]
            slider.fill(f"{strength:.1f}")
            page.wait_for_selector(f".stag-puppet[data-serial='{serial + 1}'][data-took]")
            page.wait_for_timeout(50)
            answered.append(float(page.locator(".stag-puppet").get_attribute("data-took")))
        browser.close()
    table = {
        "python_ms": float(np.median(alone)),
        "answer_ms": float(np.median(answered)),
        "answer_ms_90th": float(np.percentile(answered, 90)),
        "judged_ms": float(np.median(with_networks)),
        "page_kb": size / 1000,
    }
    print("\n".join(f"{name:<18}{value:8.1f}" for name, value in table.items()))
    if given.json:
        write_json(given.json, table)


if __name__ == "__main__":
    main()
