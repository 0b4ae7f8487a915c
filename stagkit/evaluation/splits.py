"""Protocols: which subjects are trained on and which are tested, with sealed test parts.

Every protocol of ``make_folds`` is subject-disjoint, over data sets too (subjects are named ``dataset/subject``). Stratified
folds are not: they come from ``make_stratified_folds`` and are only shown next to group folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stagkit.core.files import compute_digest
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.sealed import Fold

Protocol = Literal["loso", "groupkfold", "cde", "cross", "official"]

#: Protocol -> description.
PROTOCOLS = {
    "loso": "leaves one subject out at a time",
    "groupkfold": "leaves groups of subjects out",
    "cde": "composite of MEGC2019: leaves one subject of the union of all data sets out at a time",
    "cross": "trains on one data set and tests on another, for all ordered pairs",
    "official": "trains on the part 'train' of the data and tests on its other parts",
}

#: Why stratified folds are never shown alone.
NOT_DISJOINT = (
    "StratifiedKFold is not subject-disjoint: the network is tested on subjects it was trained on, so its score measures "
    "how well faces are remembered; believe GroupKFold."
)


def make_folds(data: RoiDataset, protocol: Protocol = "loso", n_folds: int = 10, seed: int = 0) -> tuple[Fold, ...]:
    """Split a data set.

    Args:
        protocol: one of ``PROTOCOLS``. ``cde`` (See et al., doi:10.1109/FG.2019.8756611) and ``cross`` (folds named
            ``A->B``) need two data sets or more; ``official`` needs ``data.parts``.
        n_folds: of ``groupkfold``, whose subjects are shuffled by ``seed``.

    Returns:
        Folds whose test parts together hold every clip once (``cross``: once per pair; ``official``: every clip that is
        not for training); a ``StagkitError`` for data that this protocol cannot split (``check_splittable``).
    """
    if protocol == "stratifiedkfold":
        raise StagkitError(f"{NOT_DISJOINT} 'stagkit evaluate --protocol stratifiedkfold' does both.")
    if protocol not in PROTOCOLS:
        raise StagkitError(f"there is no protocol {protocol!r}; expected {', '.join(PROTOCOLS)} or stratifiedkfold.")
    check_splittable(data)
    if protocol in ("cde", "cross") and len(set(data.datasets)) < 2:
        raise StagkitError(
            f"the protocol {protocol} needs two data sets or more, all clips here are of {data.datasets[0]}: "
            "name several, e.g. 'stagkit evaluate A B'."
        )
    if protocol == "official":
        folds = _make_official(data)
    elif protocol == "cross":
        of, names = np.asarray(data.datasets), sorted(set(data.datasets))
        pairs = [(a, b) for a in names for b in names if a != b]
        folds = tuple(Fold(f"{a}->{b}", np.flatnonzero(of == a), np.flatnonzero(of == b)) for a, b in pairs)
    else:
        groups, which = np.unique(data.subjects, return_inverse=True)
        if protocol == "groupkfold":
            which = _group_subjects(which, len(groups), n_folds, seed)
            groups = [f"group{i:02d}" for i in range(n_folds)]
        tests = [(str(name), which == i) for i, name in enumerate(groups)]
        folds = tuple(Fold(name, np.flatnonzero(~test), np.flatnonzero(test)) for name, test in tests)
    for fold in folds:
        fold.check_disjoint(data)
    return folds


def _group_subjects(which: np.ndarray, n_subjects: int, n_folds: int, seed: int) -> np.ndarray:
    """Number of the test fold of each clip."""
    from sklearn.model_selection import GroupKFold

    if n_folds > n_subjects:
        raise StagkitError(f"{n_folds} folds were asked for, but there are {n_subjects} subjects: at most one each.")
    fold, splitter = np.empty(len(which), int), GroupKFold(n_folds, shuffle=True, random_state=seed)
    for i, (_, test) in enumerate(splitter.split(which, groups=which)):
        fold[test] = i
    return fold


def _make_official(data: RoiDataset) -> tuple[Fold, ...]:
    if "train" not in data.parts or len(set(data.parts)) < 2:
        found = ", ".join(sorted(set(filter(None, data.parts)))) or "none"
        raise StagkitError(
            f"the protocol official needs clips of a part 'train' and of another, e.g. testA; the parts found: {found}."
        )
    if "" in data.parts:
        lost = data.clip_ids[data.parts.index("")]
        raise StagkitError(f"the clip {lost!r} belongs to no official part: name one for every clip, or leave it out.")
    part = np.asarray(data.parts)
    return (Fold("official", np.flatnonzero(part == "train"), np.flatnonzero(part != "train")),)


def make_stratified_folds(data: RoiDataset, n_folds: int = 10, seed: int = 0) -> tuple[Fold, ...]:
    """Folds with equal class shares and subjects in both parts: **not** subject-disjoint, for demonstration only."""
    from sklearn.model_selection import StratifiedKFold

    check_splittable(data)
    count = np.bincount(data.label, minlength=len(data.classes))
    if n_folds > count.min():
        raise StagkitError(
            f"{n_folds} stratified folds were asked for, but the class {data.classes[count.argmin()]} has "
            f"{count.min()} clips: at most one fold per clip."
        )
    parts = StratifiedKFold(n_folds, shuffle=True, random_state=seed).split(np.zeros(len(data)), data.label)
    return tuple(Fold(f"stratified{i:02d}", train, test, False) for i, (train, test) in enumerate(parts))


def check_splittable(data: RoiDataset) -> None:
    """Raise unless there are two subjects, a clip of every class, and one name and one subject per recording."""
    subjects = sorted(set(data.subjects))
    if len(subjects) < 2:
        raise StagkitError(
            f"all {len(data)} clips are of one subject ({subjects[0]}): leaving a subject out needs at least two."
        )
    empty = [c for i, c in enumerate(data.classes) if not (data.label == i).any()]
    if empty:
        raise StagkitError(
            f"no clip has the class {', '.join(empty)}; the classes are {', '.join(data.classes)}. "
            "Leave the class out when preparing, or add clips."
        )
    if len(data.classes) < 2:
        raise StagkitError(f"there is one class only ({data.classes[0]}): nothing to tell apart.")
    names: set[tuple[str, str]] = set()
    motions: dict[str, int] = {}
    for i, key in enumerate(zip(data.subjects, data.clip_ids, strict=True)):
        if key in names:
            raise StagkitError(f"the subject {key[0]} has two clips named {key[1]!r}: each clip needs its own name.")
        names.add(key)
        if not data.x[i].any():
            continue  # a clip without motion may occur twice
        other = motions.setdefault(compute_digest(data.x[i][data.mask[i].any(1)].tobytes()), i)
        if data.subjects[other] != data.subjects[i]:
            raise StagkitError(
                f"clip {data.clip_ids[i]!r} of {data.subjects[i]} holds the same motion as {data.clip_ids[other]!r} of "
                f"{data.subjects[other]}: one recording under two subjects would be trained on and tested; remove one."
            )


def find_missing_classes(data: RoiDataset, folds: Sequence[Fold]) -> dict[str, tuple[str, ...]]:
    """Fold name -> classes without a training clip there (their weight is 0)."""
    found = {fold.name: set(data.label[fold.train].tolist()) for fold in folds}
    missing = {name: tuple(c for i, c in enumerate(data.classes) if i not in labels) for name, labels in found.items()}
    return {name: classes for name, classes in missing.items() if classes}
