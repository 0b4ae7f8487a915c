"""The sealed test part of a fold: training gets the test clips without labels or AU codes.

Guarantee: no label, AU code, label count, clip name or path of a test clip is in what ``fit_and_predict`` hands to a system.
Limit: a system that opens files by itself may still recognise a clip by its motion (partly tested by ``check_blind``).
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

#: Label of every sealed clip: losses and counts fail on it.
BLANK = -1


class SealError(StagkitError):
    """A test part opened twice, sharing a subject with the training part, or read before it was opened."""


@dataclass(frozen=True)
class Unblinding:
    """When a test part was opened (UTC, ISO 8601), the epoch of the weights (None: no epochs) and what selected it."""

    fold: str
    epoch: int | None
    selected_by: str
    unblinded_at: str


class SealedInputs:
    """Test clips before the seal is opened: a ``RoiDataset`` with numbered clips and subjects, and no labels or AU codes.

    Raises:
        SealError: on reading ``label``, ``aus``, ``meta`` or ``parts``.
    """

    def __init__(self, data: RoiDataset, index: np.ndarray, fold: str):
        self._fold, part = fold, data.select(index)
        blank = {"label": np.zeros_like(part.label), "aus": np.full_like(part.aus, np.nan), "meta": {}, "parts": ()}
        subjects = _number_names(part.subjects, "test subject")
        self._data = replace(_hide_clips(part, "test clip"), subjects=subjects, **blank)

    def __len__(self) -> int:
        return len(self._data)

    def __getattr__(self, name: str):
        if name in ("label", "aus", "meta", "parts"):
            raise SealError(
                f"`{name}` of the test clips of fold {self._fold!r} is sealed: decide everything first, then open_test()."
            )
        if name in ("x", "mask", "times_ms", "clip_ids", "subjects", "datasets", "classes", "roi_names", "unit"):
            return getattr(self._data, name)
        raise AttributeError(f"sealed test clips have no {name!r}.")

    def batch(self, index: np.ndarray | None = None) -> Batch:
        """The clips at ``index`` (None: all), labels ``BLANK``, AUs NaN."""
        batch = self._data.batch(index)
        return replace(batch, label=batch.label * 0 + BLANK)


@dataclass
class Fold:
    """One training part (indices "clip" into the data set) and one sealed test part, named e.g. by the subject left out.

    ``subject_disjoint`` is False only for StratifiedKFold.
    """

    name: str
    train: np.ndarray
    _test: np.ndarray = field(repr=False)
    subject_disjoint: bool = True
    unblinding: Unblinding | None = field(default=None, repr=False)

    def open_test(self, epoch: int | None = None, selected_by: str = "not stated") -> np.ndarray:
        """Indices of the test clips, once, when every decision is made; arguments as in ``Unblinding``."""
        if self.unblinding is not None:
            raise SealError(f"the test part of fold {self.name!r} was opened already: a fold is tested once.")
        self.unblinding = Unblinding(self.name, epoch, selected_by, datetime.now(UTC).isoformat(timespec="seconds"))
        return self._test

    @property
    def n_test(self) -> int:
        """Number of test clips (not which)."""
        return len(self._test)

    def check_disjoint(self, data: RoiDataset) -> None:
        """Raise a ``SealError`` if a clip or a subject is in both parts."""
        both = np.intersect1d(self.train, self._test)
        if len(both):
            raise SealError(f"fold {self.name!r} has the clip {data.clip_ids[both[0]]!r} in both parts.")
        subjects = np.asarray(data.subjects)
        shared = sorted(set(subjects[self.train]) & set(subjects[self._test])) if self.subject_disjoint else []
        if shared:
            raise SealError(
                f"fold {self.name!r} has {len(shared)} subject(s) in both parts, the first is {shared[0]}: "
                "a subject of the training part cannot be tested."
            )

    def training_part(self, data: RoiDataset) -> RoiDataset:
        """The training clips with their labels, clip ids numbered, ``meta`` reduced to ``OPEN_META``."""
        self.check_disjoint(data)
        return _hide_clips(data.select(self.train), "clip")

    def test_inputs(self, data: RoiDataset) -> SealedInputs:
        """The test clips without labels; the seal stays closed."""
        return SealedInputs(data, self._test, self.name)

    def copy(self) -> Fold:
        """The same fold, its seal closed: each seed opens its own."""
        return Fold(self.name, self.train, self._test, self.subject_disjoint)

    def corrupt_test_labels(self, data: RoiDataset) -> tuple[RoiDataset, RoiDataset]:
        """The data with wrong test labels, twice: each shifted by one class (AU codes inverted); then all one class."""
        label, one, aus = data.label.copy(), data.label.copy(), data.aus.copy()
        label[self._test] = (label[self._test] + 1) % len(data.classes)
        one[self._test] = 0
        aus[self._test] = np.where(np.isnan(aus[self._test]), 1.0, 1 - aus[self._test])
        return replace(data, label=label, aus=aus), replace(data, label=one, aus=aus)


@dataclass(frozen=True)
class Trained:
    """A trained system: ``predict`` maps sealed test clips to probabilities "clip cls".

    ``record`` and ``arrays`` (file name -> arrays) are kept with the fold; ``aus``: probabilities "clip au".
    """

    predict: Callable[[SealedInputs], np.ndarray]
    epoch: int | None = None
    selected_by: str = "fixed beforehand"
    record: dict = field(default_factory=dict)
    model: object | None = None
    aus: np.ndarray | None = None
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def fit_and_predict(
    data: RoiDataset, fold: Fold, fit: Callable[[RoiDataset, SealedInputs], Trained]
) -> tuple[np.ndarray, np.ndarray, Trained]:
    """Train, predict, then open the test part: its clips in ``data``, their probabilities, and what ``fit`` returned.

    Args:
        fit: (training clips, sealed test clips) -> ``Trained``; it never gets ``data``.

    Raises:
        SealError: a subject in both parts, a sealed field read, a seal opened before, probabilities of another shape.
    """
    inputs = fold.test_inputs(data)
    trained = fit(fold.training_part(data), inputs)
    probability = np.asarray(trained.predict(inputs))
    expected = (len(inputs), len(data.classes))
    if probability.shape != expected:
        raise SealError(f"fold {fold.name!r}: predictions have the shape {probability.shape}, expected {expected}.")
    return fold.open_test(trained.epoch, trained.selected_by), probability, trained


class BlindWarning(StagkitWarning):
    """A part of ``check_blind`` that could not be carried out."""


def check_blind(predict: Callable[[RoiDataset, Fold], np.ndarray], data: RoiDataset, fold: Fold) -> np.ndarray:
    """Predictions of a system, checked to not depend on test labels, metadata, names, clip order or earlier calls.

    Three new processes predict: from the data unchanged, and twice with corrupted test labels, numbered clips and subjects,
    and sealed metadata (once with reordered test clips), each after another fold that trains on these test clips.

    Args:
        predict: (data set, fold) -> probabilities "clip cls" of the test clips; deterministic, picklable by cloudpickle.
        fold: its seal stays closed; ``predict`` gets a copy.

    Raises:
        SealError: the predictions differ, or fail without names and metadata.

    Warns:
        BlindWarning: the other fold could not be predicted, so memory across folds was not tested.
    """
    order = np.random.default_rng(0).permutation(len(fold._test))
    if len(order) > 1 and (order == np.arange(len(order))).all():
        order = order[::-1]
    subjects, reordered = _number_names(data.subjects, "subject"), np.arange(len(data))
    reordered[fold._test] = fold._test[order]
    shifted, one_class = (
        replace(_hide_clips(corrupted, "clip"), subjects=subjects) for corrupted in fold.corrupt_test_labels(data)
    )
    clean, failure = _predict_in_new_process(predict, data, fold)
    if clean.ndim < 2 or len(clean) != fold.n_test:
        expected = f"expected a row for each of {fold.n_test} test clips"
        raise SealError(f"fold {fold.name!r}: predictions have the shape {clean.shape}, {expected}.")
    failures = [failure]
    for what, changed, rows in (
        ("its labels, its metadata or the names of clips", shifted, slice(None)),
        ("its labels, its metadata, or the names or the order of clips", one_class.select(reordered), order),
    ):
        try:
            other, failure = _predict_in_new_process(predict, changed, fold)
        except Exception as error:
            raise SealError(
                f"the system cannot predict fold {fold.name!r} once clips are numbered and metadata are sealed "
                f"({type(error).__name__}: {str(error)[:200]}): it uses more than motion."
            ) from error
        failures.append(failure)
        tolerance = 1e-5 if rows is order else 0
        close = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
        if clean.shape != other.shape or not np.allclose(clean[rows], other, **close):
            raise SealError(
                f"the predictions for fold {fold.name!r} change with {what} (or with what it remembers of them from another "
                "fold): the system uses information about its test clips."
            )
    if any(failures):
        warnings.warn(
            f"the system could not predict the other fold ({next(filter(None, failures))}): whether it remembers the "
            "clips of other folds was not tested.",
            BlindWarning,
            stacklevel=2,
        )
    return clean


def _predict_in_new_process(predict: Callable, data: RoiDataset, fold: Fold) -> tuple[np.ndarray, str]:
    """Predictions of a new process that has predicted another fold first, and why that failed ('' if it did not)."""
    from joblib.externals.loky import ProcessPoolExecutor

    with ProcessPoolExecutor(max_workers=1) as process:
        try:
            return process.submit(_predict_both, predict, data, _make_other(data, fold), fold.copy()).result()
        except PicklingError as error:
            message = "it must predict in another process, without memory: give a function that cloudpickle can pickle."
            raise SealError(f"the system cannot be pickled; {message}") from error


def _predict_both(predict: Callable, data: RoiDataset, other: Fold, fold: Fold) -> tuple[np.ndarray, str]:
    failure = ""
    try:
        predict(data, other)
    except Exception as error:  # reported by check_blind: the next prediction is the one that is checked
        failure = f"{type(error).__name__}: {str(error)[:200]}"
    return np.asarray(predict(data, fold)), failure


def _make_other(data: RoiDataset, fold: Fold) -> Fold:
    """A fold that tests a subject this one trains on, and trains on this one's test clips."""
    subjects = np.asarray(data.subjects)[fold.train]
    tested = subjects == np.unique(subjects)[0]
    if tested.all():  # one training subject: it is tested
        return Fold("another fold", fold._test, fold.train, fold.subject_disjoint)
    train = np.sort(np.concatenate([fold.train[~tested], fold._test]))
    return Fold("another fold", train, fold.train[tested], fold.subject_disjoint)


def _hide_clips(data: RoiDataset, what: str) -> RoiDataset:
    """The same data with numbers for clips, and open metadata only."""
    clip_ids = tuple(f"{what} {i:05d}" for i in range(len(data)))
    return replace(data, clip_ids=clip_ids, meta={k: data.meta[k] for k in OPEN_META if k in data.meta})


def _number_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Equal names get equal numbers, in sorted order: groups and their order stay."""
    _, which = np.unique(np.asarray(names, str), return_inverse=True)
    return tuple(f"{what} {i:05d}" for i in which)
