"""Several data sets as one: the composite of MEGC2019, and training on one set to test on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagkit.core.files import compute_digest
from stagkit.core.types import RoiDataset, StagkitError


def join_datasets(parts: Sequence[RoiDataset], same_subjects: bool = False) -> RoiDataset:
    """The clips of several data sets, one after the other; shorter clips are padded under the mask.

    Classes of the same names in another order are brought into the order of the first.

    Args:
        parts: data sets with the same regions, patch and unit, and the same class names.
        same_subjects: subjects of equal name in several of the data sets are one subject, ``any/NAME``; without it, they are
            different people where their data sets differ, and refused where those are the same.

    Raises:
        StagkitError: names what differs and what to do; a person (``dataset/subject``) who is in two of them.
    """
    if not parts:
        raise StagkitError("no data set was given: at least one is needed.")
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    for i, part in enumerate(parts[1:], 2):
        for name, a, b in (
            ("regions", first.roi_names, part.roi_names),
            ("patches", first.x.shape[3:], part.x.shape[3:]),
            ("unit", first.unit, part.unit),
        ):
            if a != b:
                raise StagkitError(
                    f"data set {i} has other {name} ({_short(b)}) than the first ({_short(a)}): they cannot be joined; "
                    "prepare them with the same settings."
                )
        if set(part.classes) != set(first.classes):
            raise StagkitError(
                f"data set {i} has the classes {', '.join(part.classes)}, the first has {', '.join(first.classes)}: "
                "name a common mapping, e.g. --mapping 3-class."
            )
    people = [set(part.subjects) for part in parts] if not same_subjects else []
    for i, later in enumerate(people[1:], 1):
        shared = sorted(later & set().union(*people[:i]))
        if shared:
            raise StagkitError(
                f"the subject {shared[0]} is in two of the data sets given: was the same set given twice? If subjects of "
                "equal name are the same subjects, say so with --same-subjects (same_subjects=True)."
            )
    n_frames = max(part.x.shape[1] for part in parts)

    def stacked(name: str) -> np.ndarray:
        return np.concatenate([_padded(getattr(part, name), n_frames) for part in parts])

    orders = [np.array([first.classes.index(c) for c in part.classes]) for part in parts]
    has_parts = any(part.parts for part in parts)
    names = {n: tuple(v for part in parts for v in getattr(part, n)) for n in ("clip_ids", "subjects", "datasets")}
    if same_subjects:
        names["subjects"] = tuple(f"any/{subject.rpartition('/')[2]}" for subject in names["subjects"])
    return RoiDataset(
        x=stacked("x"),
        mask=stacked("mask"),
        times_ms=stacked("times_ms"),
        label=np.concatenate([order[part.label] for order, part in zip(orders, parts, strict=True)]),
        aus=np.concatenate([part.aus for part in parts]),
        **names,
        classes=first.classes,
        roi_names=first.roi_names,
        unit=first.unit,
        meta={
            "source": "several",
            "of": [dict(part.meta) for part in parts],
            **({"same_subjects": True} if same_subjects else {}),
            "digest": compute_digest(
                *(str(part.meta.get("digest", "")).encode() for part in parts), str(same_subjects).encode()
            ),
        },
        parts=tuple(v for part in parts for v in (part.parts or ("",) * len(part))) if has_parts else (),
    )


def _padded(array: np.ndarray, n_frames: int) -> np.ndarray:
    """Zeros (False) added at the end of the axis ``time``."""
    missing = n_frames - array.shape[1]
    return np.pad(array, [(0, 0), (0, missing), *[(0, 0)] * (array.ndim - 2)]) if missing else array


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) < 60 else f"{text[:57]}..."
