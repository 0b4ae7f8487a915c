"""Arrays as text that a browser reads back: packed integers, exact floats, compressed bytes, rounded lists."""

from __future__ import annotations

import base64
import zlib

import numpy as np


def pack(array: np.ndarray) -> dict:
    """Integers with one scale, signed where needed: 16 bit, or 8 where a clip would grow beyond a megabyte."""
    kind = "i2" if array.min() < 0 else "u2" if array.size <= 60_000 else "u1"
    top = {"i2": 32767, "u2": 65535, "u1": 255}[kind]
    scale = float(f"{max(float(np.abs(array).max()), 1e-12) / top:.9g}")
    raw = np.clip(np.rint(array / scale), -top, top).astype(f"<{kind}")
    data = base64.b64encode(np.ascontiguousarray(raw).tobytes()).decode("ascii")
    return {"shape": list(array.shape), "scale": scale, "kind": kind, "data": data}


def unpack(packed: dict) -> np.ndarray:
    """float64, exactly the numbers that the browser gets."""
    raw = np.frombuffer(base64.b64decode(packed["data"]), f"<{packed['kind']}")
    return raw.astype(float).reshape(packed["shape"]) * packed["scale"]


def pack_exact(array: np.ndarray) -> dict:
    """float32, for numbers that must arrive as they are; read back by ``unpack``."""
    raw = np.ascontiguousarray(array, dtype="<f4")
    return {
        "shape": list(array.shape),
        "scale": 1.0,
        "kind": "f4",
        "data": base64.b64encode(raw.tobytes()).decode("ascii"),
    }


def deflate(array: np.ndarray) -> str:
    """Bytes of an array, compressed (zlib), base64: what ``inflate`` in ``explorer.js`` reads."""
    return base64.b64encode(zlib.compress(np.ascontiguousarray(array).tobytes(), 5)).decode("ascii")


def shorten(values: np.ndarray, digits: int = 4) -> list:
    """Nested lists of rounded numbers; None where there is none (NaN)."""
    array = np.round(np.asarray(values, float), digits)
    return np.where(np.isnan(array), None, array).tolist()
