"""Warnings about subjects that may be one person under two names, and recordings that may be in the data twice."""

from __future__ import annotations

import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import cv2
import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.types import RoiDataset
from stagkit.datasets import NAMES

#: Two clips whose motion differs by at most this share are near duplicates (stagkit's choice). The closest public flow maps
#: of different subjects differ by 0.19; a copy saved again as JPEG of quality 90 differs by 0.23 and is not found.
NEAR = 0.1

#: Time points at which two clips are compared.
_TIMES = 4

_PREFIX = re.compile(r"^(subject|subj|sub|spno|sp|person|participant|p|s)[\s._-]*(?=\d)")


def normalise_subject(name: str) -> str:
    """A subject's name without case, zero padding and prefixes such as ``S``, ``sub`` or ``spNO.``.

    Example:
        >>> {normalise_subject(name) for name in ("S1", "s1", "01", "1", "sub001")}
        {'1'}
    """
    plain = unicodedata.normalize("NFKC", name).casefold().strip()
    return re.sub(r"\d+", lambda found: str(int(found.group())), _PREFIX.sub("", plain))


def find_alike_subjects(subjects: Iterable[str]) -> list[str]:
    """Subjects (``DATASET/NAME``) that may be one person, a sentence each: names differ only in case, padding or prefix.

    Two published data sets have different subjects, so names are not compared between them.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for subject in set(subjects):
        groups[normalise_subject(subject.rpartition("/")[2])].add(subject)
    found = []
    for group in groups.values():
        names, published = sorted(group), {_find_published(subject) for subject in group}
        if len(names) > 1 and not (len(published) == len(names) and "" not in published):
            shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
            found.append(
                f"the subjects {shown} may be one person: their names differ in case, zero padding, prefix or data set only"
            )
    return sorted(found)


def _find_published(subject: str) -> str:
    """The published data set of a subject, '' if there is none."""
    name = subject.partition("/")[0].lower().removesuffix("-phantom")
    return name if name in NAMES else ""


def compute_signature(motion: np.ndarray, visible: np.ndarray) -> np.ndarray:
    """Values, float "value", by which two clips are compared: mean motion of each region at four time points.

    Args:
        motion: float "time roi chan py px", chan = (u, v, ...); visible: bool "time roi".
    """
    valid = np.flatnonzero(visible.any(1))
    if not len(valid):
        return np.zeros(_TIMES * motion.shape[1] * 2)
    at = valid[np.linspace(0, len(valid) - 1, _TIMES).round().astype(int)]
    flow = motion[at, :, :2].astype(float).mean((3, 4)) * visible[at][..., None]
    return flow.ravel()


def compute_image_signature(frames: np.ndarray) -> np.ndarray:
    """The same for frames uint8 "time y x" or "time y x chan": differences of small grey images from the first one."""
    grey = frames if frames.ndim == 3 else frames.mean(-1)
    at = np.linspace(0, len(grey) - 1, _TIMES + 1).round().astype(int)
    small = np.stack([cv2.resize(grey[t].astype(np.float32), (16, 16), interpolation=cv2.INTER_AREA) for t in at])
    return (small[1:] - small[0]).ravel().astype(float)


def find_near_duplicates(signatures: np.ndarray, subjects: Sequence[str], clips: Sequence[str]) -> list[str]:
    """Clips of different subjects with nearly the same motion (``signatures`` "clip value"), a sentence each."""
    size = np.linalg.norm(signatures, axis=1)
    codes = np.unique(np.asarray(subjects, dtype=object).astype(str), return_inverse=True)[1]
    found = []
    for start in range(0, len(signatures), 512):
        part = slice(start, start + 512)
        squared = size[part, None] ** 2 + size**2 - 2 * signatures[part] @ signatures.T
        limit = NEAR * np.maximum(size[part, None], size)
        close = (squared <= limit**2) & (limit > 0) & (codes[part, None] != codes)
        for i, k in np.argwhere(close) + [start, 0]:
            if i < k:
                found.append(
                    f"the clips {clips[i]} of {subjects[i]} and {clips[k]} of {subjects[k]} have nearly the same motion and "
                    "may be one recording of one person"
                )
    return found


def find_identity_issues(data: RoiDataset) -> list[str]:
    """Subjects that may be one person, and near duplicates, a sentence each."""
    signatures = np.array([compute_signature(x, m) for x, m in zip(data.x, data.mask, strict=True)])
    return find_alike_subjects(data.subjects) + find_near_duplicates(signatures, data.subjects, data.clip_ids)


def find_skipped(meta: Mapping[str, object]) -> list[str]:
    """Numbers of skipped rows and clips, a sentence for each data set."""
    parts = meta.get("of")
    if isinstance(parts, list):
        return [sentence for part in parts if isinstance(part, Mapping) for sentence in find_skipped(part)]
    source = meta.get("source") if isinstance(meta.get("source"), Mapping) else {}
    n_rows, n_clips = (
        len(x) if isinstance(x, (dict, list)) else 0 for x in (source.get("skipped"), meta.get("skipped"))
    )
    number = f"{n_rows} row(s) of its annotations and {n_clips} clip(s) were skipped"
    text = f"{source.get('name', 'the data set')}: {number}; skipped.csv in the prepared folder lists them"
    return [text] if n_rows + n_clips else []


def add_warnings(data: RoiDataset) -> RoiDataset:
    """Warn of skipped clips, subjects that may be one person and near duplicates; keep that in ``meta["warnings"]``."""
    issues = find_skipped(data.meta) + find_identity_issues(data)
    warn_of(issues)
    return replace(data, meta={**data.meta, "warnings": issues}) if issues else data


def warn_of(issues: Sequence[str], shown: int = 3) -> None:
    """One warning for each of the first issues; the last one counts the others."""
    for i, issue in enumerate(issues[:shown]):
        more = f" (and {len(issues) - shown} more such findings)" if i == shown - 1 and len(issues) > shown else ""
        warnings.warn(f"{issue}{more}.", StagkitWarning, stacklevel=3)
