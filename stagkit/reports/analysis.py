"""The page that ``stagkit analyze`` writes: one HTML file that needs nothing beside it, and says what it is not."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.files import write_json, write_text
from stagkit.core.markup import STATIC_POLICY
from stagkit.core.types import MAX_DELTA

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stagkit.inference.analyze import Analysis

_CSS = """
body{font:16px/1.55 system-ui,sans-serif;color:#22262b;max-width:56rem;margin:2.5rem auto;padding:0 1.2rem;background:#fff}
h1{font-size:1.6rem;margin:0 0 .2rem} h2{font-size:1.1rem;margin:2.2rem 0 .4rem} .soft{color:#5b6670}
img{max-width:100%;display:block;margin:.4rem 0} .note{border-left:4px solid #e69f00;background:#fdf6e7;padding:.7rem 1rem}
table{border-collapse:collapse;width:100%}
td{padding:.18rem .4rem;vertical-align:middle} td:first-child{width:14rem;white-space:nowrap}
.bar{height:1rem;background:#0072b2;border-radius:2px;min-width:1px} .num{width:4.5rem;text-align:right}
"""


def save_analysis(analysis: Analysis, out: str | Path) -> None:
    """Write ``analysis.json`` and ``page.html`` into the folder ``out``.

    Raises:
        StagkitError: the folder cannot be made or written.
    """
    from stagkit.inference.analyze import tabulate_analysis

    out = Path(out)
    write_json(out / "analysis.json", tabulate_analysis(analysis))
    write_text(out / "page.html", make_page(analysis))


def make_page(analysis: Analysis) -> str:
    """The analysis as one HTML page that needs nothing beside it."""
    from stagkit.plots.attributions import plot_attribution
    from stagkit.plots.clips import plot_clip, plot_flow, plot_motion

    best = analysis.best
    k = int(np.argmax(best.probabilities))
    peak = int(analysis.motion.scores.argmax())
    complete = analysis.attribution.relative_delta[0] <= MAX_DELTA
    evidence = analysis.au_evidence.max(0)
    order = [i for i in np.argsort(-evidence)[:6] if evidence[i] > 0.05]
    units = list(ACTION_UNITS.values())
    many = len(analysis.windows) > 1
    parts = [
        f"<h1>{html.escape(analysis.name)}</h1>",
        f'<p class="soft">{len(analysis.windows)} window(s), {analysis.fps:g} frames a second; shown: frames {best.start} '
        f"to {best.stop}{'' if analysis.stillness else ', where most moved'}</p>",
        '<p class="note"><strong>Not a lie detector, and no diagnosis.</strong> '
        f"{html.escape(analysis.training_summary)}</p>",
        *(f'<p class="note">{html.escape(text)}</p>' for text in (*analysis.warnings, analysis.stillness) if text),
        f"<h2>The networks say: {html.escape(analysis.classes[k])}</h2>",
        _bars(analysis.classes, best.probabilities),
        f'<p class="soft">Mean of the networks of run {html.escape(analysis.run)}; they differ by up to '
        f"{best.spread:.0%} on this class. A network "
        "answers with one of its classes whatever it is shown, also where nothing was expressed.</p>",
        "<h2>When did something move?</h2>",
        _picture(_plot_timeline(analysis) if many else plot_motion(analysis.motion), "motion over time"),
        '<p class="soft">Motion of the skin, that of the head removed. Where the line is high, something moved: a blink and '
        "a word do too. This is no spotting of micro-expressions, and its accuracy was not measured.</p>",
        "<h2>The clip</h2>",
        _picture(plot_clip(analysis.clip), "frames of the clip"),
        _picture(plot_flow(analysis.motion, peak, analysis.clip.frames[0]), "flow of the frame with most motion"),
        "<h2>Which muscles?</h2>",
        _bars([f"{units[i].label} {units[i].name}" for i in order], [float(evidence[i]) for i in order])
        if order
        else "<p>No action unit stands out.</p>",
        '<p class="soft">Evidence for action units in the frame where each is strongest, by the same networks.</p>',
        "<h2>What spoke for it?</h2>",
        _picture(plot_attribution(analysis.attribution), "attribution to regions, action units and frames")
        if complete
        else "<p>The attribution is not complete enough to be drawn: its sum misses "
        f"{analysis.attribution.relative_delta[0]:.0%} of the logit gap.</p>",
        '<p class="soft">Integrated gradients against no motion, mean over the networks. No control was run on it.</p>',
        f'<p class="soft">Made with stagkit by the networks of {html.escape(analysis.run)}. This page holds pictures of the '
        "person recorded: treat it as you must treat the recording.</p>",
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8">{STATIC_POLICY}'
        f"<title>{html.escape(analysis.name)}</title><style>{_CSS}</style></head><body>\n{body}\n</body></html>\n"
    )


def read_warnings(page: str) -> tuple[str, ...]:
    """The paragraphs of a page that say what it is not, what was not measured, or what nobody knows, as plain text.

    Args:
        page: HTML as ``make_page`` gives it.

    Example:
        >>> read_warnings('<p class="soft">Three windows.</p><p class="note"><strong>No</strong> diagnosis.</p>')
        ('No diagnosis.',)
    """
    told = re.findall(r'<p class="(?:note|soft)">(.*?)</p>', page, re.DOTALL)
    plain = (html.unescape(re.sub("<.*?>", "", text)) for text in told)
    return tuple(text for text in plain if re.search(r"\b(not|no|nothing)\b", text, re.IGNORECASE))


def _bars(names: Sequence[str], values: Sequence[float]) -> str:
    rows = "".join(
        f'<tr><td>{html.escape(n)}</td><td><div class="bar" style="width:{100 * v:.1f}%"></div></td>'
        f'<td class="num">{v:.0%}</td></tr>'
        for n, v in zip(names, values, strict=True)
    )
    return f"<table>{rows}</table>"


def _picture(figure: Figure, words: str) -> str:
    from stagkit.plots.style import render_png

    data = base64.b64encode(render_png(figure, words, dpi=160)).decode()
    return f'<img alt="{html.escape(words)}" src="data:image/png;base64,{data}">'


def _plot_timeline(analysis: Analysis) -> Figure:
    """Largest motion of each window over the recording; windows without a face are left blank."""
    import matplotlib.pyplot as plt

    from stagkit.plots.style import COLOURS, PAGE, SOFT, style

    with style():
        figure, axes = plt.subplots(figsize=(PAGE, 2.2))
        for i, w in enumerate(analysis.windows):
            left, width = w.start / analysis.fps, (w.stop - w.start + 1) / analysis.fps
            if w.why:
                axes.axvspan(left, left + width, color=SOFT, alpha=0.12, lw=0)
            else:
                colour = COLOURS[1] if i == analysis.shown else COLOURS[0]
                axes.bar(left + width / 4, w.peak, width=width / 2, align="edge", color=colour)
        axes.set_xlabel("time (s)")
        axes.set_ylabel("largest motion (% of IOD)")
    return figure
