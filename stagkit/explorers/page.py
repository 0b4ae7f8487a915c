"""A widget as one page that needs nothing else: the same ES module, its style and its data in a single HTML file."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Mapping, Sequence

from stagkit.core.files import write_text
from stagkit.core.types import StagkitError

#: The browser may load nothing at all: the page is dead to the network by its own order.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
    "form-action 'none'"
)

_PAGE = """<!doctype html>
<html lang="en" data-stag-page>
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>
html {{ color-scheme: light dark; }}
body {{ margin: 0; padding: 12px 16px; background: #ffffff; }}
@media (prefers-color-scheme: dark) {{ body {{ background: #15181c; }} }}
{css}
</style>
</head>
<body>
<main id="stage"></main>
<noscript>This page draws with JavaScript, which is switched off in this browser.</noscript>
<script type="application/json" id="stag-data">{data}</script>
<script type="module">
{esm}

// The smallest model that the module can live on: what anywidget gives it in a notebook, without a kernel.
const {{ state, follow }} = JSON.parse(document.getElementById("stag-data").textContent);
state._follow = follow; // what a kernel would have answered
const listeners = new Map();
const changed = new Set();
const model = {{
  get: (name) => state[name],
  set(name, value) {{
    if (JSON.stringify(state[name]) === JSON.stringify(value)) return;
    state[name] = value;
    changed.add(name);
    for (const [key, values] of Object.entries(follow[name] ?? {{}})) model.set(key, values[value]);
    model.fire("change:" + name);
  }},
  fire(event) {{ for (const callback of [...(listeners.get(event) ?? [])]) callback(); }},
  save_changes() {{ if (changed.size) {{ changed.clear(); model.fire("change"); }} }},
  on(event, callback) {{
    if (!listeners.has(event)) listeners.set(event, new Set());
    listeners.get(event).add(callback);
  }},
  off(event, callback) {{ if (callback) listeners.get(event)?.delete(callback); else listeners.delete(event); }},
  send() {{}},
}};
window.stagModel = model; // for tests and for the curious
await widget.render({{ model, el: document.getElementById("stage") }});
document.documentElement.dataset.ready = "yes";
</script>
</body>
</html>
"""


def make_page(
    esm: str,
    css: str,
    state: Mapping[str, object],
    *,
    title: str,
    follow: Mapping[str, Mapping[str, Sequence[object]]] | None = None,
    path: str | os.PathLike | None = None,
) -> str:
    """Write a widget as one self-contained page that works offline from a ``file://`` address.

    Args:
        esm: text of the widget's ES module, with one ``export default`` of an object that has ``render``.
        css: text of its style sheet.
        state: trait name -> JSON value, as the module reads it with ``model.get``.
        title: of the page.
        follow: trait -> {other trait: its value for each value 0, 1, ... of the first}: what a kernel would do, e.g.
            ``{"clip": {"_payload": [...]}}``.
        path: file to write (whole or not at all); nothing is written where None.

    Returns:
        The page's HTML.

    Raises:
        StagkitError: the module is not of the form above, or the folder of ``path`` cannot be written to.
    """
    module, n_exports = re.subn(r"^export default\b", "const widget =", esm, flags=re.MULTILINE)
    if n_exports != 1 or re.search(r"^\s*import\b", esm, flags=re.MULTILINE):
        raise StagkitError(
            f"the module has {n_exports} `export default`, expected exactly one, and no import: a page must stand alone."
        )
    data = json.dumps({"state": dict(state), "follow": dict(follow or {})}, separators=(",", ":"), allow_nan=False)
    page = _PAGE.format(
        policy=_POLICY,
        title=html.escape(title),
        css=css.replace("</style", "<\\/style"),
        esm=module.replace("</script", "<\\/script"),
        data=data.replace("<", "\\u003c"),
    )
    if path is not None:
        write_text(path, page)
    return page
