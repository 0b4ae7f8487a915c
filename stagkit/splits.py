"""Who is trained on and who is tested. The test part of a fold is sealed: it opens once, after the last decision.

Every protocol here is subject-disjoint: no person is in both parts of a fold, over data sets too (subjects are named
``dataset/subject``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from stagkit.types import RoiDataset, StagkitError

Protocol = Literal["loso", "groupkfold"]


class SealError(StagkitError):
    """A test part that was opened twice."""


@dataclass
class Fold:
    """One training part and one sealed test part.

    Args:
        name: e.g. the subject left out.
        train: int "clip", indices into the data set.
    """

    name: str
    train: np.ndarray
    _test: np.ndarray = field(repr=False)
    _opened: bool = field(default=False, repr=False)

    def open_test(self) -> np.ndarray:
        """Indices of the test clips, once: training, choice of epoch and of settings must be over.

        Raises:
            SealError: it was opened before.
        """
        if self._opened:
            raise SealError(f"the test part of fold {self.name!r} was opened already: a fold is tested once.")
        self._opened = True
        return self._test

    @property
    def n_test(self) -> int:
        """Number of test clips (not which)."""
        return len(self._test)


def make_folds(data: RoiDataset, protocol: Protocol = "loso", n_folds: int = 10, seed: int = 0) -> tuple[Fold, ...]:
    """Split a data set.

    Args:
        protocol: ``loso`` leaves one subject out at a time; ``groupkfold`` leaves out groups of subjects (``n_folds``
            shuffled by ``seed``).

    Returns:
        Folds whose test parts together hold every clip exactly once.

    Raises:
        StagkitError: one subject only; fewer subjects than folds; a class with no clip; an unknown protocol.
    """
    check_splittable(data)
    groups, names = np.unique(data.subjects, return_inverse=True)
    everyone = np.arange(len(data))
    if protocol == "loso":
        parts = [(str(subject), np.flatnonzero(names == i)) for i, subject in enumerate(groups)]
    elif protocol == "groupkfold":
        from sklearn.model_selection import GroupKFold

        if n_folds > len(groups):
            raise StagkitError(
                f"{n_folds} folds were asked for, but there are {len(groups)} subjects: at most one each."
            )
        splitter = GroupKFold(n_folds, shuffle=True, random_state=seed)
        parts = [(f"group{i:02d}", test) for i, (_, test) in enumerate(splitter.split(everyone, groups=names))]
    else:
        raise StagkitError(f"there is no protocol {protocol!r}; expected loso or groupkfold.")
    return tuple(Fold(name, np.setdiff1d(everyone, test), test) for name, test in parts)


def check_splittable(data: RoiDataset) -> None:
    """Check that subjects can be left out and every class has a clip.

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


def hold_out_subjects(subjects: Sequence[str], share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Choose whole *training* subjects for validation: bool "clip", True = held out.

    Args:
        subjects: "clip", of the training part only.
        share: of the subjects, at least one.
    """
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    n_out = max(1, round(share * len(names)))
    out = np.random.default_rng(seed).permutation(len(names))[:n_out]
    return np.isin(which, out)
