"""What travels to the browser: ES modules and styles put together from parts, arrays packed into JSON.

A module is several plain JS files put one after another; no bundler, no import. The last part holds the one
``export default { render }``; those in ``shared`` serve several explorers.
"""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np

#: Name -> file of every part, wherever in the room it lies.
_PARTS = {path.name: path for path in Path(__file__).parent.rglob("*") if path.suffix in (".js", ".css")}


def read_esm(*parts: str) -> str:
    """Text of an ES module made of ``parts`` (file names without ``.js``), in order; only the last one exports."""
    return "\n".join(_PARTS[f"{part}.js"].read_text(encoding="utf-8") for part in parts)


def read_css(*parts: str) -> str:
    """Text of a style sheet made of ``parts`` (file names without ``.css``), in order."""
    return "\n".join(_PARTS[f"{part}.css"].read_text(encoding="utf-8") for part in parts)


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def pack(array: np.ndarray) -> dict:
    """Integers with one scale, signed where needed: 16 bits, or 8 where a clip would grow beyond a megabyte."""
    kind = "i2" if array.min() < 0 else "u2" if array.size <= 60_000 else "u1"
    top = {"i2": 32767, "u2": 65535, "u1": 255}[kind]
    scale = float(f"{max(float(np.abs(array).max()), 1e-12) / top:.9g}")
    raw = np.clip(np.rint(array / scale), -top, top).astype(f"<{kind}")
    return {"shape": list(array.shape), "scale": scale, "kind": kind, "data": _encode(raw)}


def pack_exact(array: np.ndarray) -> dict:
    """float32 as it is; read back by ``unpack``."""
    return {"shape": list(array.shape), "scale": 1.0, "kind": "f4", "data": _encode(array.astype("<f4"))}


def unpack(packed: dict) -> np.ndarray:
    """float64, exactly the numbers that the browser gets."""
    raw = np.frombuffer(base64.b64decode(packed["data"]), f"<{packed['kind']}")
    return raw.astype(float).reshape(packed["shape"]) * packed["scale"]


def deflate(array: np.ndarray) -> str:
    """Bytes of an array, compressed (zlib), base64: what ``inflate`` in ``explorer.js`` reads."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 5)).decode("ascii")


def shorten(values: np.ndarray, digits: int = 4) -> list:
    """Nested lists of rounded numbers; None in place of NaN."""
    array = np.round(np.asarray(values, float), digits)
    return np.where(np.isnan(array), None, array).tolist()
