"""Several data sets as one: the composite of MEGC2019, and training on one set to test on another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from stagkit.core.files import compute_digest, shorten
from stagkit.core.types import RoiDataset, StagkitError


def join_datasets(parts: Sequence[RoiDataset], same_subjects: bool = False) -> RoiDataset:
    """The clips of several data sets; shorter clips are padded under the mask, classes get the order of the first set.

    Args:
        parts: data sets with the same regions, patch, unit and class names.
        same_subjects: subjects of equal name in several data sets are one subject, ``any/NAME``; otherwise they are
            different if their data sets differ, and refused if those are the same.
    """
    if not parts:
        raise StagkitError("no data set was given: at least one is needed.")
    if len(parts) == 1:
        return parts[0]
    first, seen = parts[0], set()
    for i, part in enumerate(parts, 1):
        for name, a, b in (
            ("regions", first.roi_names, part.roi_names),
            ("patches", first.x.shape[3:], part.x.shape[3:]),
            ("unit", first.unit, part.unit),
        ):
            if a != b:
                raise StagkitError(
                    f"data set {i} has other {name} ({shorten(b, 60)}) than the first ({shorten(a, 60)}): they cannot be "
                    "joined; prepare them with the same settings."
                )
        if set(part.classes) != set(first.classes):
            raise StagkitError(
                f"data set {i} has the classes {', '.join(part.classes)}, the first has {', '.join(first.classes)}: "
                "name a common mapping, e.g. --mapping 3-class."
            )
        shared = sorted(seen.intersection(part.subjects))
        if shared and not same_subjects:
            raise StagkitError(
                f"the subject {shared[0]} is in two of the data sets: was the same set given twice? If subjects of equal "
                "name are the same subjects, add --same-subjects (same_subjects=True)."
            )
        seen.update(part.subjects)
    n_frames = max(part.x.shape[1] for part in parts)

    def stack(name: str) -> np.ndarray:
        """Arrays padded with zeros (False) at the end of the axis ``time``."""
        arrays = [getattr(part, name) for part in parts]
        return np.concatenate(
            [np.pad(a, [(0, 0), (0, n_frames - a.shape[1]), *[(0, 0)] * (a.ndim - 2)]) for a in arrays]
        )

    orders = [np.array([first.classes.index(c) for c in part.classes]) for part in parts]
    names = {n: tuple(v for part in parts for v in getattr(part, n)) for n in ("clip_ids", "subjects", "datasets")}
    if same_subjects:
        names["subjects"] = tuple(f"any/{subject.rpartition('/')[2]}" for subject in names["subjects"])
    names_of_parts = tuple(v for part in parts for v in (part.parts or ("",) * len(part)))
    digests = [*(str(part.meta.get("digest", "")) for part in parts), str(same_subjects)]
    return RoiDataset(
        x=stack("x"),
        mask=stack("mask"),
        times_ms=stack("times_ms"),
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
            "digest": compute_digest(*(digest.encode() for digest in digests)),
        },
        parts=names_of_parts if any(names_of_parts) else (),
    )
