"""The picture of the AU-graph explorer in README: drawn by ``benchmarks/explorer.py --picture`` and by its test alike."""

import tempfile
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from tests.browser import open_page, put


@contextmanager
def drawn_explorer(browser, source, path):
    """Draw the explorer on the least certain of the recognised clips, its strongest action unit set to zero.

    To make the committed picture again, of a phantom run of T = 12:
    ``python benchmarks/explorer.py --run RUN --picture figures/au_graph_explorer.png``.

    Args:
        browser: a Chromium of playwright.
        source: a ``RunSource``; the clip is one of its last class that was recognised.
        path: PNG to write.

    Yields:
        The page, still open; its widget; and the action unit that is set to zero in it.
    """
    from stagkit.core.facs import AU_LABELS
    from stagkit.explorers import view_au_graph

    right = source.probabilities().argmax(1) == source.label
    last = len(source.classes) - 1
    clip = int(
        np.where(right & (source.label == last), source.probabilities()[:, last], np.inf).argmin()
    )  # an intervention shows there
    widget = view_au_graph(source, clip=clip)
    unit = AU_LABELS[int(widget.scene.activation[widget.place, widget.frame].argmax())]
    context = browser.new_context(viewport={"width": 1180, "height": 900}, device_scale_factor=1.5)
    try:
        with tempfile.TemporaryDirectory() as folder:
            widget.to_html(Path(folder) / "graph.html")
            page = context.new_page()
            open_page(page, Path(folder) / "graph.html")
        put(page, selected_au=unit, interventions=[["au", unit]])
        page.wait_for_timeout(500)
        page.locator(".stag-au").screenshot(path=path)
        yield page, widget, unit
    finally:
        context.close()
