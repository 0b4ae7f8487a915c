"""Who is trained on and who is tested. The test part of a fold is sealed (``seal``).

Every protocol of ``make_folds`` is subject-disjoint: no person is in both parts of a fold, over data sets too (subjects
are named ``dataset/subject``). Stratified folds are not; they come from ``make_stratified_folds`` and are only ever shown
beside group folds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from stagkit.core.files import compute_digest
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.sealed import Fold, SealError

__all__ = [
    "NOT_DISJOINT",
    "PROTOCOLS",
    "Fold",
    "Protocol",
    "SealError",
    "check_splittable",
    "find_missing_classes",
    "make_folds",
    "make_stratified_folds",
]

Protocol = Literal["loso", "groupkfold", "cde", "cross", "official"]

#: What each protocol does, in words.
PROTOCOLS = {
    "loso": "leaves one subject out at a time",
    "groupkfold": "leaves groups of subjects out",
    "cde": "composite of MEGC2019: leaves one subject of the union of all data sets out at a time",
    "cross": "trains on one data set and tests on another, for all ordered pairs",
    "official": "trains on the part 'train' of the data and tests on its other parts",
}

#: Why stratified folds never stand alone.
NOT_DISJOINT = (
    "StratifiedKFold is not subject-disjoint: the network is tested on people it was trained on, so its score says how "
    "well faces are remembered; GroupKFold is the one to believe."
)


def make_folds(data: RoiDataset, protocol: Protocol = "loso", n_folds: int = 10, seed: int = 0) -> tuple[Fold, ...]:
    """Split a data set.

    Args:
        protocol: one of ``PROTOCOLS``. ``cde`` (See et al., doi:10.1109/FG.2019.8756611) needs two data sets or more;
            so does ``cross``, whose folds are named ``A->B``; ``official`` needs ``data.parts``.
        n_folds: of ``groupkfold``, whose subjects are shuffled by ``seed``.

    Returns:
        Folds whose test parts together hold every clip once (``cross``: each pair's once; ``official``: every clip that
        is not for training).

    Raises:
        StagkitError: one subject only; fewer subjects than folds; a class with no clip; one recording under two
            subjects; an unknown protocol, or one that this data cannot have.
        SealError: a subject in both parts (of an official split).
    """
    if protocol == "stratifiedkfold":
        raise StagkitError(f"{NOT_DISJOINT} 'stagkit evaluate --protocol stratifiedkfold' does both.")
    if protocol not in PROTOCOLS:
        raise StagkitError(f"there is no protocol {protocol!r}; expected {', '.join(PROTOCOLS)} or stratifiedkfold.")
    check_splittable(data)
    make = {"groupkfold": _make_groups, "cross": _make_pairs, "official": _make_official}.get(protocol, _make_loso)
    if protocol in ("cde", "cross") and len(set(data.datasets)) < 2:
        raise StagkitError(
            f"the protocol {protocol} needs two data sets or more, all clips here are of {data.datasets[0]}: "
            "name several, e.g. 'stagkit evaluate A B'."
        )
    folds = make(data, n_folds, seed)
    for fold in folds:
        fold.check_disjoint(data)
    return folds


def _without(data: RoiDataset, name: str, test: np.ndarray) -> Fold:
    return Fold(name, np.setdiff1d(np.arange(len(data)), test), test)


def _make_loso(data: RoiDataset, n_folds: int, seed: int) -> tuple[Fold, ...]:
    groups, which = np.unique(data.subjects, return_inverse=True)
    return tuple(_without(data, str(subject), np.flatnonzero(which == i)) for i, subject in enumerate(groups))


def _make_groups(data: RoiDataset, n_folds: int, seed: int) -> tuple[Fold, ...]:
    from sklearn.model_selection import GroupKFold

    groups, which = np.unique(data.subjects, return_inverse=True)
    if n_folds > len(groups):
        raise StagkitError(f"{n_folds} folds were asked for, but there are {len(groups)} subjects: at most one each.")
    splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
    parts = splitter.split(np.arange(len(data)), groups=which)
    return tuple(_without(data, f"group{i:02d}", test) for i, (_, test) in enumerate(parts))


def _make_pairs(data: RoiDataset, n_folds: int, seed: int) -> tuple[Fold, ...]:
    of = np.asarray(data.datasets)
    names = sorted(set(data.datasets))
    return tuple(
        Fold(f"{a}->{b}", np.flatnonzero(of == a), np.flatnonzero(of == b)) for a in names for b in names if a != b
    )


def _make_official(data: RoiDataset, n_folds: int, seed: int) -> tuple[Fold, ...]:
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
    """Folds with the classes in equal shares, people on both sides: **not** subject-disjoint, a demonstration.

    Args:
        n_folds: how many; at most the clips of the rarest class.
        seed: of the shuffle.

    Raises:
        StagkitError: a class with fewer clips than folds, or data that cannot be split.
    """
    from sklearn.model_selection import StratifiedKFold

    check_splittable(data)
    count = np.bincount(data.label, minlength=len(data.classes))
    if n_folds > count.min():
        raise StagkitError(
            f"{n_folds} stratified folds were asked for, but the class {data.classes[count.argmin()]} has "
            f"{count.min()} clips: at most one fold a clip."
        )
    splitter = StratifiedKFold(n_folds, shuffle=True, random_state=seed)
    parts = splitter.split(np.zeros(len(data)), data.label)
    return tuple(
        Fold(f"stratified{i:02d}", train, test, subject_disjoint=False) for i, (train, test) in enumerate(parts)
    )


def check_splittable(data: RoiDataset) -> None:
    """Check that subjects can be left out, every class has a clip, and no recording stands under two names.

    Raises:
        StagkitError: says which is not so.
    """
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
    _check_duplicates(data)


def _check_duplicates(data: RoiDataset) -> None:
    """One name for one clip; one person for one recording. A clip without any motion is nobody's."""
    named: dict[tuple[str, str], int] = {}
    seen: dict[str, int] = {}
    for i, key in enumerate(zip(data.subjects, data.clip_ids, strict=True)):
        if key in named:
            raise StagkitError(f"the subject {key[0]} has two clips named {key[1]!r}: each clip needs its own name.")
        named[key] = i
        if not data.x[i].any():
            continue
        digest = compute_digest(data.x[i][data.mask[i].any(1)].tobytes())
        other = seen.setdefault(digest, i)
        if data.subjects[other] != data.subjects[i]:
            raise StagkitError(
                f"clip {data.clip_ids[i]!r} of {data.subjects[i]} holds the same motion as {data.clip_ids[other]!r} of "
                f"{data.subjects[other]}: one recording under two subjects would be trained on and tested; remove one."
            )


def find_missing_classes(data: RoiDataset, folds: Sequence[Fold]) -> dict[str, tuple[str, ...]]:
    """Folds whose training part has no clip of a class: fold name -> class names. Such a class gets weight 0 there."""
    missing = {}
    for fold in folds:
        count = np.bincount(data.label[fold.train], minlength=len(data.classes))
        if not count.all():
            missing[fold.name] = tuple(data.classes[i] for i in np.flatnonzero(count == 0))
    return missing
