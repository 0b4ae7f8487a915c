"""Prepared clips on disk: one ``.npz`` file per clip, written once and whole, and checked when it is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from stagkit.core.files import load_arrays, resolve_inside, safe_name, write_atomically
from stagkit.core.types import StagkitError
from stagkit.motion.rois import RoiSequence

_ARRAYS = ("present", "times_ms", "aus", "roi_names")
_TEXTS = ("clip_id", "subject", "dataset", "label", "unit", "part")


def clip_path(root: str | Path, key: str) -> Path:
    """File of a prepared clip; different keys have different files."""
    return resolve_inside(root, f"clips/{safe_name(key)}.npz")


def write_clip(root: str | Path, key: str, clip: RoiSequence, input_digest: str = "") -> None:
    """Write one clip, patches in half precision.

    Args:
        root: prepared folder.
        key: name of the clip in its source.
        clip: regions of the selected frames.
        input_digest: digest of what the clip was computed from (``ClipSource.compute_input_digest``).
    """
    with write_atomically(clip_path(root, key)) as temporary:
        np.savez(
            temporary,
            patches=clip.patches.astype(np.float16),
            **{name: getattr(clip, name) for name in _ARRAYS},
            text=[key, input_digest, *(getattr(clip, name) for name in _TEXTS)],
        )


def read_clip(root: str | Path, key: str) -> tuple[RoiSequence, str]:
    """A prepared clip and its input digest.

    Raises:
        StagkitError: missing or damaged.
    """
    path = clip_path(root, key)
    try:
        arrays = load_arrays(path)
        stored, input_digest, *texts = map(str, arrays["text"])
        if stored != key or arrays["patches"].dtype != np.float16:
            raise ValueError(key)
        return RoiSequence(
            patches=arrays["patches"].astype(np.float32),
            **{name: arrays[name] for name in _ARRAYS[:-1]},
            roi_names=tuple(map(str, arrays["roi_names"])),
            **dict(zip(_TEXTS, texts, strict=True)),
        ), input_digest
    except (StagkitError, ValueError, KeyError, TypeError) as error:
        state = "is damaged" if path.is_file() else "is missing"
        raise StagkitError(f"{path} {state}: run the same 'stagkit prepare' again.") from error
