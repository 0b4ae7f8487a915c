"""The bones of a report as HTML: one file that needs nothing beside it, readable by day, by night, and on paper."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence, Sized
from html import escape
from typing import TYPE_CHECKING

from stagkit.core.markup import STATIC_POLICY

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_CSS = """
:root{--paper:#fff;--ink:#22262b;--soft:#5b6670;--line:#d5dade;--faint:#f4f6f8;--mark:#0072b2;--bad:#a33d00;
--bad-paper:#fdefe6;--note:#8a6500;--note-paper:#fdf6e7;--good:#00704f;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--paper:#15181c;--ink:#e6e9ec;--soft:#9aa5af;--line:#363d45;--faint:#1e2329;
--mark:#6cb8ea;--bad:#ff9d66;--bad-paper:#3a2113;--note:#e9c46a;--note-paper:#322a14;--good:#5fd3a9}}
*{box-sizing:border-box}
body{font:15.5px/1.55 system-ui,-apple-system,"Segoe UI",sans-serif;color:var(--ink);background:var(--paper);
max-width:62rem;margin:0 auto;padding:2.6rem 1.3rem 4rem}
h1{font-size:1.75rem;line-height:1.2;margin:0 0 .3rem} h2{font-size:1.15rem;margin:2.6rem 0 .5rem;padding-top:.5rem;
border-top:1px solid var(--line)} h3{font-size:.98rem;margin:1.4rem 0 .3rem} p{margin:.45rem 0;max-width:48rem}
.soft{color:var(--soft)} .small{font-size:.86rem} code{font-size:.88em;background:var(--faint);padding:.08em .3em;
border-radius:3px}
pre{background:var(--faint);padding:.8rem 1rem;overflow-x:auto;border-radius:6px;font-size:.82rem;line-height:1.5;
columns:2 15rem}
nav{margin:1.1rem 0 0;font-size:.9rem} nav a{margin-right:.9rem;white-space:nowrap} a{color:var(--mark)}
.box{border-left:5px solid var(--note);background:var(--note-paper);padding:.75rem 1rem;margin:.9rem 0;
border-radius:0 6px 6px 0}
.box.bad{border-color:var(--bad);background:var(--bad-paper)} .box strong{color:var(--note)}
.box.bad strong{color:var(--bad)}
.tiles{display:flex;flex-wrap:wrap;gap:.8rem;margin:1.2rem 0} .tile{flex:1 1 9rem;background:var(--faint);
border-radius:8px;
padding:.75rem 1rem} .tile b{display:block;font-size:1.65rem;font-variant-numeric:tabular-nums;line-height:1.25}
.wide{overflow-x:auto} table{border-collapse:collapse;width:100%;margin:.5rem 0;font-variant-numeric:tabular-nums;
font-size:.9rem}
caption{caption-side:bottom;text-align:left;color:var(--soft);font-size:.84rem;padding-top:.35rem}
th{text-align:left;font-weight:600;color:var(--soft);border-bottom:1.5px solid var(--ink);padding:.3rem .6rem;
font-size:.84rem}
td{border-bottom:1px solid var(--line);padding:.26rem .6rem;vertical-align:top} td.n,th.n{text-align:right;
white-space:nowrap}
figure{margin:.8rem 0} figure img{width:100%;height:auto;display:block;background:#fff;border-radius:6px;
padding:.5rem}
figcaption{color:var(--soft);font-size:.86rem;margin-top:.3rem} ul{padding-left:1.2rem;margin:.4rem 0}
.good{color:var(--good)}
.wrong{color:var(--bad)} .fact{display:grid;grid-template-columns:11rem 1fr;gap:.15rem .9rem;font-size:.92rem;
margin:.5rem 0}
.fact dt{color:var(--soft)} .fact dd{margin:0;overflow-wrap:anywhere}
@media (max-width:40rem){.fact{grid-template-columns:1fr}.fact dd{margin-bottom:.4rem}}
@media print{body{font-size:10pt;max-width:none;padding:0}nav{display:none}h2{break-after:avoid}
tr,figure{break-inside:avoid}}
"""


class Html(str):
    """Text that is HTML already; everything else is escaped."""


def to_html(value: object) -> str:
    """A value as HTML: escaped, unless it is ``Html``; None is a dash."""
    if isinstance(value, Html):
        return value
    return "–" if value is None else escape(str(value))


def count(values: Sized, word: str) -> str:
    """How many there are, in words: ``1 clip``, ``2 clips``."""
    return f"{len(values)} {word}{'s' if len(values) != 1 else ''}"


def paragraph(text: object, kind: str = "") -> str:
    """A paragraph; ``kind``: ``soft``, ``small`` or both."""
    return f'<p class="{kind}">{to_html(text)}</p>' if kind else f"<p>{to_html(text)}</p>"


def box(head: str, text: object, bad: bool = False) -> str:
    """A note that stands out; ``bad`` for what a reader must not overlook."""
    return f'<div class="box{" bad" if bad else ""}" role="note"><strong>{escape(head)}</strong> {to_html(text)}</div>'


def tiles(pairs: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers side by side: (name, number, small print)."""
    return (
        '<div class="tiles">'
        + "".join(
            f'<div class="tile"><span class="soft small">{to_html(n)}</span><b>{to_html(v)}</b>'
            f'<span class="soft small">{to_html(t)}</span></div>'
            for n, v, t in pairs
        )
        + "</div>"
    )


def facts(pairs: Iterable[tuple[str, object]]) -> str:
    """Names and values below each other."""
    return '<dl class="fact">' + "".join(f"<dt>{to_html(k)}</dt><dd>{to_html(v)}</dd>" for k, v in pairs) + "</dl>"


def bullets(items: Iterable[object]) -> str:
    """A list."""
    return "<ul>" + "".join(f"<li>{to_html(item)}</li>" for item in items) + "</ul>"


def table(head: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> str:
    """A table; columns whose cells are numbers (or begin with a digit, sign or dash) stand to the right."""
    rows = [list(row) for row in rows]
    number = [bool(rows) and all(_is_number(row[i]) for row in rows) for i in range(len(head))]
    mark = [' class="n"' if n else "" for n in number]
    top = "".join(f'<th scope="col"{m}>{to_html(h)}</th>' for m, h in zip(mark, head, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{m}>{to_html(c)}</td>" for m, c in zip(mark, row, strict=True)) + "</tr>\n"
        for row in rows
    )
    foot = f"<caption>{to_html(caption)}</caption>" if caption else ""
    return f'<div class="wide"><table>{foot}<thead><tr>{top}</tr></thead><tbody>\n{body}</tbody></table></div>'


def _is_number(cell: object) -> bool:
    text = "" if cell is None else str(cell)
    return not text or text[0] in "0123456789+-−–."


def picture(figure: Figure, words: str, caption: object = "") -> str:
    """A figure within the page, as PNG; ``words`` are read to those who cannot see it."""
    from stagkit.plots.style import render_png

    data = base64.b64encode(render_png(figure, words, dpi=170, metadata={"Software": None})).decode()
    caveat = getattr(figure, "stagkit_source", {}).get("caveat")
    text = (to_html(caption) if caption else "") + (f" Caution: {escape(caveat)}." if caveat else "")
    foot = f"<figcaption>{text}</figcaption>" if text else ""
    return f'<figure><img alt="{escape(words)}" src="data:image/png;base64,{data}">{foot}</figure>'


def make_page(title: str, sections: Sequence[tuple[str, str, str]], head: str) -> str:
    """A whole page.

    Args:
        title: of the page.
        sections: (anchor, heading, HTML).
        head: HTML between the title and the list of contents.
    """
    contents = "".join(f'<a href="#{anchor}">{escape(name)}</a>' for anchor, name, _ in sections)
    body = "\n".join(f'<section id="{a}"><h2>{escape(name)}</h2>\n{text}\n</section>' for a, name, text in sections)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'{STATIC_POLICY}<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{escape(title)}</title>\n<style>{_CSS}</style></head>\n<body>\n<h1>{escape(title)}</h1>\n{head}\n"
        f'<nav aria-label="contents">{contents}</nav>\n{body}\n</body></html>\n'
    )
