"""The seal on the test part of a fold: training is handed the test clips without their answers.

A fold knows its training clips and, sealed, its test clips. ``Fold.training_part`` gives the training clips alone,
``Fold.test_inputs`` the test clips without labels and AU codes, and ``Fold.open_test`` their places in the data set, once,
after the last decision; the opening is written down with the epoch of the weights and what chose it. ``examine`` does all of
this in order; ``check_blind`` tests a system that is handed the whole data set.

What the seal proves: no label, AU code, count of labels, clip name or path of a test clip is in what ``examine`` hands to a
system. Clip ids (in SMIC they name the class) and the subject of a test clip are replaced by numbers, and of the metadata
only the settings of the measurement are kept.

What it cannot prove: that a system knows nothing from elsewhere. One that opens files by itself, or that carries the
published sheets in its code, may recognise a clip by its motion. Whoever publishes a score states what the system reads.
``check_blind`` finds systems that use labels, metadata, names or the order of the clips, look clips up in a file by any of
these, or remember earlier calls; it does not find one that recognises test clips by their motion in a file of labels.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pickle import PicklingError

import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.types import Batch, RoiDataset, StagkitError

#: Metadata that a system may have while it trains: settings of the measurement, the same for every clip.
OPEN_META = ("radius", "flow", "roi", "frames", "view")

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
    ``batch``, whose labels are ``BLANK`` and whose AUs are all 'not coded'. ``clip_ids`` and ``subjects`` are numbered, as
    names may carry the class.

    Raises:
        SealError: on ``label``, ``aus``, and on ``meta`` and ``parts``, which may tell of labels.
    """

    def __init__(self, data: RoiDataset, index: np.ndarray, fold: str):
        self._fold = fold
        self.x, self.mask, self.times_ms = (np.array(a[index]) for a in (data.x, data.mask, data.times_ms))
        self.clip_ids = _number_clips(len(index), "test clip")
        self.subjects = _number_names([data.subjects[i] for i in index], "test subject")
        self.datasets = tuple(data.datasets[i] for i in index)
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

        from stagkit.core.facs import AU_NUMBERS

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

        Clip ids are numbered (gaps in the real ones would show what is missing), and of ``meta`` only ``OPEN_META`` is
        kept: the rest counts labels of all clips, or says where they lie.

        Raises:
            SealError: a clip or a person stands in both parts.
        """
        self.check_disjoint(data)
        known = data.take(self.train)
        return replace(known, clip_ids=_number_clips(len(known), "clip"), meta=_open_meta(data))

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


class BlindWarning(StagkitWarning):
    """A part of ``check_blind`` that could not be carried out."""


def check_blind(answer: Callable[[RoiDataset, Fold], np.ndarray], data: RoiDataset, fold: Fold) -> np.ndarray:
    """Check that a system does not use the answers of the test part, whatever it is handed.

    It answers in three new processes, so that nothing is left of earlier calls: with the data as they are, and twice with
    the test labels and AU codes wrong (``Fold.poison``), clips and subjects numbered, the metadata sealed, and once the test
    clips in another order. In each process it first answers another fold, in whose training part these test clips are. A
    system that uses a label, an AU, a count in the metadata, a name, the order of the clips, a file in which it looks them
    up by any of these, or what it remembers of the other fold, answers differently.

    Args:
        answer: (data set, fold) -> probabilities "clip cls" of the test clips; deterministic, and such that it can be sent
            to another process (cloudpickle).
        data: the data set.
        fold: its seal stays closed; ``answer`` gets a copy.

    Returns:
        The answers.

    Raises:
        SealError: the answers differ, or cannot be given without names and metadata.
        StagkitError: as ``answer`` raises it with the data as they are.

    Warns:
        BlindWarning: the system cannot answer the other fold, so memory across folds was not tested.
    """
    order = np.random.default_rng(0).permutation(len(fold._test))
    if len(order) > 1 and (order == np.arange(len(order))).all():
        order = order[::-1]
    turned, same = (_hide_names(some) for some in fold.poison(data))
    shuffled = _reorder(same, fold._test, order)
    clean, without_cause = _answer_alone(answer, data, fold)
    if clean.ndim < 2 or len(clean) != fold.n_test:
        raise SealError(
            f"fold {fold.name!r}: answers have the shape {clean.shape}, expected a row for each of {fold.n_test} test clips."
        )
    untaught = [without_cause]
    for what, some, back in (
        ("its labels, its metadata or the names of clips", turned, None),
        ("its labels, its metadata, or the names or the order of clips", shuffled, order),
    ):
        try:
            other, failed = _answer_alone(answer, some, fold)
        except Exception as error:
            raise SealError(
                f"the system cannot answer fold {fold.name!r} once clips are numbered and metadata are sealed "
                f"({type(error).__name__}: {str(error)[:200]}): it looks at more than motion."
            ) from error
        untaught.append(failed)
        if back is None:
            alike = np.array_equal(clean, other, equal_nan=True)
        else:
            alike = clean.shape == other.shape and np.allclose(clean[back], other, atol=1e-5, equal_nan=True)
        if not alike:
            raise SealError(
                f"the answers for fold {fold.name!r} change with {what} (or with what it remembers of them from another "
                "fold): the system looks at what it is tested on."
            )
    if any(untaught):
        warnings.warn(
            f"the system could not answer the other fold ({next(filter(None, untaught))}): whether it remembers the "
            "clips of other folds was not tested.",
            BlindWarning,
            stacklevel=2,
        )
    return clean


def _answer_alone(answer: Callable, data: RoiDataset, fold: Fold) -> tuple[np.ndarray, str]:
    """The answers of a new process that has answered another fold first, and why it could not, if so."""
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=1) as process:
        try:
            return process.submit(_answer_both, answer, data, _make_other(data, fold), fold.copy()).result()
        except PicklingError as error:
            raise SealError(
                "the system cannot be sent to another process, where it has to answer without what it remembers: give a "
                "function that cloudpickle can pickle."
            ) from error


def _answer_both(answer: Callable, data: RoiDataset, other: Fold, fold: Fold) -> tuple[np.ndarray, str]:
    failed = ""
    try:
        answer(data, other)
    except Exception as error:  # reported by check_blind: it is the next answer that is judged
        failed = f"{type(error).__name__}: {str(error)[:200]}"
    return np.asarray(answer(data, fold)), failed


def _make_other(data: RoiDataset, fold: Fold) -> Fold:
    """A fold that tests people this one trains on, and trains on those that this one tests."""
    subjects = np.asarray(data.subjects)[fold.train]
    tested = subjects == np.unique(subjects)[0]
    if tested.all():  # one training subject: it is tested
        return Fold("another fold", fold._test, fold.train, fold.subject_disjoint)
    train = np.sort(np.concatenate([fold.train[~tested], fold._test]))
    return Fold("another fold", train, fold.train[tested], fold.subject_disjoint)


def _open_meta(data: RoiDataset) -> dict[str, object]:
    return {key: data.meta[key] for key in OPEN_META if key in data.meta}


def _number_clips(n: int, what: str) -> tuple[str, ...]:
    return tuple(f"{what} {i:05d}" for i in range(n))


def _number_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Equal names get equal numbers, in the order of the names: groups and their order stay."""
    _, which = np.unique(np.asarray(names, str), return_inverse=True)
    return tuple(f"{what} {i:05d}" for i in which)


def _hide_names(data: RoiDataset) -> RoiDataset:
    """The same data with numbers for clips and subjects, and sealed metadata."""
    return replace(
        data,
        clip_ids=_number_clips(len(data), "clip"),
        subjects=_number_names(data.subjects, "subject"),
        meta=_open_meta(data),
    )


def _reorder(data: RoiDataset, places: np.ndarray, order: np.ndarray) -> RoiDataset:
    """The same data with the clips at ``places`` in another order among themselves; all else stays where it is."""
    index = np.arange(len(data))
    index[places] = places[order]
    return data.take(index)
