"""The HTML page of ``stagkit analyze``: what the networks predict for a recording, and what the page does not say."""

from __future__ import annotations

import html
import re
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.files import write_json
from stagkit.explain.aggregate import MAX_DELTA
from stagkit.explorers.page import Page
from stagkit.inference.analyze import Analysis, tabulate_analysis
from stagkit.plots.attributions import plot_attribution
from stagkit.plots.clips import plot_clip, plot_flow, plot_motion
from stagkit.plots.style import COLOURS, PAGE, SOFT, styled


def save_analysis(analysis: Analysis, out: str | Path) -> None:
    """Write ``analysis.json`` and ``page.html`` into the folder ``out``.

    Raises:
        StagkitError: the folder cannot be made or written.
    """
    write_json(Path(out) / "analysis.json", tabulate_analysis(analysis))
    make_analysis_page(analysis).save(Path(out) / "page.html")


def make_analysis_page(analysis: Analysis) -> Page:
    """The analysis as an HTML page."""
    best, units = analysis.best, list(ACTION_UNITS.values())
    peak, activation = int(analysis.motion.scores.argmax()), analysis.au_probabilities.max(0)
    active = [i for i in np.argsort(-activation)[:6] if activation[i] > 0.05]
    missed = float(analysis.attribution.relative_delta[0])
    return Page(
        "analysis.html",
        analysis.name,
        analysis=analysis,
        best=best,
        warnings=[text for text in (*analysis.warnings, analysis.stillness) if text],
        predicted=analysis.classes[int(np.argmax(best.probabilities))],
        probabilities=list(zip(analysis.classes, best.probabilities, strict=True)),
        motion=_plot_timeline(analysis) if len(analysis.windows) > 1 else plot_motion(analysis.motion),
        clip=plot_clip(analysis.clip),
        flow=plot_flow(analysis.motion, peak, analysis.clip.frames[0]),
        units=[(f"{units[i].label} {units[i].name}", float(activation[i])) for i in active],
        attribution=plot_attribution(analysis.attribution) if missed <= MAX_DELTA else None,
        missed=missed,
    )


def read_warnings(page: str) -> tuple[str, ...]:
    """The paragraphs of a page (HTML) that say what it is not or what is unknown, as plain text.

    Example:
        >>> read_warnings('<p class="soft">Three windows.</p><p class="box"><strong>No</strong> diagnosis.</p>')
        ('No diagnosis.',)
    """
    paragraphs = re.findall(r'<p class="(?:box|soft)"[^>]*>(.*?)</p>', page, re.DOTALL)
    plain = (html.unescape(re.sub("<.*?>", "", text)) for text in paragraphs)
    return tuple(text for text in plain if re.search(r"\b(not|no|nothing)\b", text, re.IGNORECASE))


@styled
def _plot_timeline(analysis: Analysis) -> Figure:
    """Largest motion of each window over the recording; windows without a face are shaded."""
    figure, axes = plt.subplots(figsize=(PAGE, 2.2))
    for i, w in enumerate(analysis.windows):
        left, width = w.start / analysis.fps, (w.stop - w.start + 1) / analysis.fps
        if w.reason:
            axes.axvspan(left, left + width, color=SOFT, alpha=0.12, lw=0)
        else:
            colour = COLOURS[1] if i == analysis.shown else COLOURS[0]
            axes.bar(left + width / 4, w.peak, width=width / 2, align="edge", color=colour)
    axes.set(xlabel="time (s)", ylabel="largest motion (% of IOD)")
    return figure
