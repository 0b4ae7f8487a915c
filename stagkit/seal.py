"""The seal on the test part of a fold: training is handed the test clips without their answers.

A fold knows its training clips and, sealed, its test clips. ``Fold.training_part`` gives the training clips alone,
``Fold.test_inputs`` the test clips without labels and AU codes, and ``Fold.open_test`` their places in the data set, once,
after the last decision; the opening is written down with the epoch of the weights and what chose it. ``examine`` is the
whole ceremony in order, ``check_blind`` the proof for a system that is handed more than that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

from stagkit.types import Batch, RoiDataset, StagkitError

#: What ``SealedInputs`` puts where a label would stand: every loss and every count fails on it.
BLANK = -1


class SealError(StagkitError):
    """A test part that was opened twice, that shares a person with the training part, or that was looked into."""


@dataclass(frozen=True)
class Opening:
    """When and why a test part was opened: what ``seal.json`` keeps of each fold.

    Args:
        fold: its name.
        epoch: epochs after which the weights stand; None where there are no epochs.
        chosen_by: what chose that epoch, in words.
        opened: UTC, ISO 8601.
    """

    fold: str
    epoch: int | None
    chosen_by: str
    opened: str


class SealedInputs:
    """Test clips as a network may see them before the seal is opened: motion, yes; labels and AU codes, no.

    Has the ``x, mask, times_ms, clip_ids, subjects, datasets, classes, roi_names, unit`` of a ``RoiDataset`` and its
    ``batch``, whose labels are ``BLANK`` and whose AUs are all 'not coded'.

    Raises:
        SealError: on ``label``, ``aus``, and on ``meta`` and ``parts``, which may tell of labels.
    """

    def __init__(self, data: RoiDataset, index: np.ndarray, fold: str):
        self._fold = fold
        self.x, self.mask, self.times_ms = (np.array(a[index]) for a in (data.x, data.mask, data.times_ms))
        for name in ("clip_ids", "subjects", "datasets"):
            setattr(self, name, tuple(getattr(data, name)[i] for i in index))
        self.classes, self.roi_names, self.unit = data.classes, data.roi_names, data.unit

    def __len__(self) -> int:
        return len(self.clip_ids)

    def __getattr__(self, name: str):
        if name in ("label", "aus", "meta", "parts"):
            raise SealError(
                f"`{name}` of the test clips of fold {self._fold!r} is sealed: decide everything first, then open_test()."
            )
        raise AttributeError(f"sealed test clips have no {name!r}.")

    def batch(self, index: np.ndarray | None = None) -> Batch:
        """The clips at ``index`` (all where None), labels ``BLANK``, AUs NaN."""
        import torch

        from stagkit.facs import AU_NUMBERS

        index = np.arange(len(self)) if index is None else np.asarray(index, np.int64)
        return Batch(
            x=torch.from_numpy(self.x[index]),
            mask=torch.from_numpy(self.mask[index]),
            times_ms=torch.from_numpy(self.times_ms[index]),
            label=torch.full((len(index),), BLANK, dtype=torch.int64),
            aus=torch.full((len(index), len(AU_NUMBERS)), float("nan")),
            clip_ids=tuple(self.clip_ids[i] for i in index),
            subjects=tuple(self.subjects[i] for i in index),
            classes=self.classes,
        )


@dataclass
class Fold:
    """One training part and one sealed test part.

    Args:
        name: e.g. the subject left out.
        train: int "clip", indices into the data set.
        subject_disjoint: False only for StratifiedKFold, which is never shown without GroupKFold.
    """

    name: str
    train: np.ndarray
    _test: np.ndarray = field(repr=False)
    subject_disjoint: bool = True
    _opened: bool = field(default=False, repr=False)
    opening: Opening | None = field(default=None, repr=False)

    def open_test(self, epoch: int | None = None, chosen_by: str = "not said") -> np.ndarray:
        """Indices of the test clips, once: training, choice of epoch and of settings must be over.

        Args:
            epoch: epochs after which the weights stand, for the record.
            chosen_by: what chose it, in words, e.g. ``"fixed beforehand"``.

        Raises:
            SealError: it was opened before.
        """
        if self._opened:
            raise SealError(f"the test part of fold {self.name!r} was opened already: a fold is tested once.")
        self._opened = True
        self.opening = Opening(self.name, epoch, chosen_by, datetime.now(UTC).isoformat(timespec="seconds"))
        return self._test

    @property
    def n_test(self) -> int:
        """Number of test clips (not which)."""
        return len(self._test)

    def check_disjoint(self, data: RoiDataset) -> None:
        """Check that no clip, and no person, stands in both parts.

        Raises:
            SealError: names the first who does.
        """
        both = np.intersect1d(self.train, self._test)
        if len(both):
            raise SealError(f"fold {self.name!r} has the clip {data.clip_ids[both[0]]!r} in both parts.")
        subjects = np.asarray(data.subjects)
        shared = sorted(set(subjects[self.train]) & set(subjects[self._test])) if self.subject_disjoint else []
        if shared:
            raise SealError(
                f"fold {self.name!r} has {len(shared)} subject(s) in both parts, the first is {shared[0]}: "
                "a person who is trained on cannot be tested."
            )

    def training_part(self, data: RoiDataset) -> RoiDataset:
        """The training clips alone, with their labels: all that training may learn from.

        Raises:
            SealError: a clip or a person stands in both parts.
        """
        self.check_disjoint(data)
        return data.take(self.train)

    def test_inputs(self, data: RoiDataset) -> SealedInputs:
        """The test clips without their answers; the seal stays closed."""
        return SealedInputs(data, self._test, self.name)

    def copy(self) -> Fold:
        """The same fold, its seal closed: each seed opens its own."""
        return Fold(self.name, self.train, self._test, self.subject_disjoint)

    def poison(self, data: RoiDataset) -> tuple[RoiDataset, RoiDataset]:
        """The data set with the *answers* of the test part wrong, twice.

        First every label is turned to the next class and every AU code round; then all labels are one class: turning
        alone leaves the counts of a balanced test part as they were.
        """
        label, one, aus = data.label.copy(), data.label.copy(), data.aus.copy()
        label[self._test] = (label[self._test] + 1) % len(data.classes)
        one[self._test] = 0
        aus[self._test] = np.where(np.isnan(aus[self._test]), 1.0, 1 - aus[self._test])
        return replace(data, label=label, aus=aus), replace(data, label=one, aus=aus)


@dataclass(frozen=True)
class Trained:
    """What training hands over: all decisions made.

    Args:
        answer: sealed test clips -> probabilities "clip cls".
        epoch: epochs after which the weights stand; None where there are none.
        chosen_by: what chose it, in words.
        record: anything else the run should keep of this fold.
        model: the network, if there is one.
    """

    answer: Callable[[SealedInputs], np.ndarray]
    epoch: int | None = None
    chosen_by: str = "fixed beforehand"
    record: dict = field(default_factory=dict)
    model: object | None = None


def examine(
    data: RoiDataset, fold: Fold, fit: Callable[[RoiDataset, SealedInputs], Trained]
) -> tuple[np.ndarray, np.ndarray, Trained]:
    """Train, answer, and only then open the test part.

    Args:
        data: the data set; ``fit`` never gets it.
        fold: its seal is opened here.
        fit: (training clips, test clips without answers) -> ``Trained``.

    Returns:
        Test clips as indices into ``data``, probabilities "clip cls" in that order, and what ``fit`` handed over.

    Raises:
        SealError: a person in both parts, a test answer that was asked for, a seal opened before; probabilities that
            are not one row a test clip.
    """
    known, inputs = fold.training_part(data), fold.test_inputs(data)
    trained = fit(known, inputs)
    probability = np.asarray(trained.answer(inputs))
    if probability.shape != (len(inputs), len(data.classes)):
        raise SealError(
            f"fold {fold.name!r}: answers have the shape {probability.shape}, expected {(len(inputs), len(data.classes))}."
        )
    return fold.open_test(trained.epoch, trained.chosen_by), probability, trained


def check_blind(answer: Callable[[RoiDataset, Fold], np.ndarray], data: RoiDataset, fold: Fold) -> np.ndarray:
    """Prove that a system does not look at the answers of the test part, whatever it is handed.

    It answers three times: with the data as they are, and with the test labels and AU codes wrong in two ways
    (``Fold.poison``). A system that peeks, be it for an epoch, a class weight or an AU, answers differently.

    Args:
        answer: (data set, fold) -> probabilities "clip cls" of the test clips; deterministic.
        data: the data set.
        fold: its seal stays closed; ``answer`` gets a copy.

    Returns:
        The answers.

    Raises:
        SealError: the answers differ.
    """
    clean, *others = (np.asarray(answer(some, fold.copy())) for some in (data, *fold.poison(data)))
    if not all(np.array_equal(clean, other, equal_nan=True) for other in others):
        raise SealError(
            f"the answers for fold {fold.name!r} change when its test labels do: the system looks at what it is tested on."
        )
    return clean
