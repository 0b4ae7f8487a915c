"""The browser's half of the explorers: parts of one plain ES module each, put one after another; no bundler, no import.

``base`` (helpers, controls, tooltip, theme), ``face`` (face, muscles, motion) and ``export`` (PNG, SVG, CSV, GraphML,
text) are shared by all explorers; the last part of a module holds its one ``export default { render }``.
"""

from __future__ import annotations

from pathlib import Path

#: name -> file of every part, wherever in the room it lies
_PARTS = {path.name: path for path in Path(__file__).parent.rglob("*") if path.suffix in (".js", ".css")}


def read_esm(*parts: str) -> str:
    """Text of an ES module made of ``parts`` (file names without ``.js``), in order; only the last one exports."""
    return "\n".join(_PARTS[f"{part}.js"].read_text(encoding="utf-8") for part in parts)


def read_css(*parts: str) -> str:
    """Text of a style sheet made of ``parts`` (file names without ``.css``), in order."""
    return "\n".join(_PARTS[f"{part}.css"].read_text(encoding="utf-8") for part in parts)
