"""Self-contained HTML pages from jinja2 templates: reports, and explorers that run without Python."""

from __future__ import annotations

import base64
import html
import json
import os
import re
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from stagkit.core.files import write_text
from stagkit.core.types import StagkitError
from stagkit.plots.style import render_png


def _encode_png(figure: Figure, alt: str) -> tuple[str, str]:
    """A figure as base64 PNG, and the caveat of its intervals."""
    data = base64.b64encode(render_png(figure, alt, dpi=170, metadata={"Software": None})).decode()
    return data, getattr(figure, "stagkit_source", {}).get("caveat") or ""


def _is_numeric(rows: Sequence[Sequence[object]], column: int) -> bool:
    """True if every cell of a column is empty or begins like a number."""
    cells = ["" if row[column] is None else str(row[column]) for row in rows]
    return bool(cells) and all(not cell or cell[0] in "0123456789+-−–." for cell in cells)


_TEMPLATES = Environment(
    loader=PackageLoader("stagkit", "resources/templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)
_TEMPLATES.filters |= {"encode_png": _encode_png, "column_is_numeric": _is_numeric}


class Page:
    """One HTML file (``html``) that needs no other file; its Content-Security-Policy forbids it to load anything.

    Args:
        template: file of ``resources/templates``; one that extends ``base.html``.
        title, **content: what the template shows; text is escaped.
    """

    def __init__(self, template: str, title: str, **content: object):
        self.title = title
        self.html = _TEMPLATES.get_template(template).render(title=title, **content)

    def save(self, path: str | os.PathLike) -> Path:
        """Write the page, whole or not at all; raises StagkitError if the file cannot be written."""
        write_text(path, self.html)
        return Path(path)

    def open(self) -> None:
        """Show the page in the web browser of this machine, from a temporary file."""
        path = self.save(Path(tempfile.mkdtemp(prefix="stagkit-")) / "page.html")
        webbrowser.open(path.as_uri())

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{html.escape(self.html)}" title="{html.escape(self.title)}" '
            'sandbox="allow-scripts allow-downloads" style="width:100%;height:720px;border:0"></iframe>'
        )


def make_explorer_page(
    esm: str,
    css: str,
    state: Mapping[str, object],
    *,
    title: str,
    follow: Mapping[str, Mapping[str, Sequence[object]]] | None = None,
) -> Page:
    """A widget as a page that works offline from a ``file://`` address.

    Args:
        esm, css: text of the widget's ES module, with one ``export default { render }``, and of its style sheet.
        state: trait name -> JSON value, as the module reads it with ``model.get``.
        title: of the page.
        follow: trait -> {other trait: its value for each value 0, 1, ... of the first}: what a kernel would compute, e.g.
            ``{"clip": {"_payload": [...]}}``.

    Raises:
        StagkitError: the module is not of that form.
    """
    module, n_exports = re.subn(r"^export default\b", "const widget =", esm, flags=re.MULTILINE)
    if n_exports != 1 or re.search(r"^\s*import\b", esm, flags=re.MULTILINE):
        raise StagkitError(
            f"the module has {n_exports} `export default`, expected exactly one, and no import: a page must stand alone."
        )
    data = json.dumps({"state": dict(state), "follow": dict(follow or {})}, separators=(",", ":"), allow_nan=False)
    return Page(
        "explorer.html",
        title,
        css=css.replace("</style", "<\\/style"),
        esm=module.replace("</script", "<\\/script"),
        data=data.replace("<", "\\u003c"),
    )
