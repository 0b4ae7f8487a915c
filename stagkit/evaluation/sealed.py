"""The sealed test part of a fold: training gets the test clips without labels or AU codes.

Guarantee: no label, AU code, label count, clip name or path of a test clip is in what ``fit_and_predict`` hands to a system.
Limit: a system that opens files by itself may still recognise a clip by its motion (partly tested by ``tests/blind.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import numpy as np

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


def _hide_clips(data: RoiDataset, what: str) -> RoiDataset:
    """The same data with numbers for clips, and open metadata only."""
    clip_ids = tuple(f"{what} {i:05d}" for i in range(len(data)))
    return replace(data, clip_ids=clip_ids, meta={k: data.meta[k] for k in OPEN_META if k in data.meta})


def _number_names(names: Sequence[str], what: str) -> tuple[str, ...]:
    """Equal names get equal numbers, in sorted order: groups and their order stay."""
    _, which = np.unique(np.asarray(names, str), return_inverse=True)
    return tuple(f"{what} {i:05d}" for i in which)
