"""A system of the package does not use what is sealed: it predicts again with wrong test labels, in new processes."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from pickle import PicklingError

import numpy as np

from stagkit.core.types import RoiDataset
from stagkit.evaluation.sealed import Fold, SealError, _hide_clips, _number_names


class BlindWarning(UserWarning):
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
        replace(_hide_clips(corrupted, "clip"), subjects=subjects) for corrupted in corrupt_test_labels(fold, data)
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


def corrupt_test_labels(fold: Fold, data: RoiDataset) -> tuple[RoiDataset, RoiDataset]:
    """The data with wrong test labels, twice: each shifted by one class (AU codes inverted); then all one class."""
    label, one, aus = data.label.copy(), data.label.copy(), data.aus.copy()
    label[fold._test] = (label[fold._test] + 1) % len(data.classes)
    one[fold._test] = 0
    aus[fold._test] = np.where(np.isnan(aus[fold._test]), 1.0, 1 - aus[fold._test])
    return replace(data, label=label, aus=aus), replace(data, label=one, aus=aus)
