"""Splits: nobody on both sides, every clip tested once, a seal that holds."""

from dataclasses import replace

import numpy as np
import pytest

from stagkit.splits import SealError, hold_out_subjects, make_folds
from stagkit.types import StagkitError
from tests.small import make_dataset


@pytest.mark.parametrize(("protocol", "n_folds"), [("loso", 10), ("groupkfold", 3)])
def test_nobody_is_on_both_sides(protocol, n_folds):
    data = make_dataset(n_subjects=5)
    folds = make_folds(data, protocol, n_folds)
    assert len(folds) == (5 if protocol == "loso" else 3)
    subject = np.array(data.subjects)
    tested = []
    for fold in folds:
        test = fold.open_test()
        assert not set(subject[test]) & set(subject[fold.train])
        assert sorted([*test, *fold.train]) == list(range(len(data)))
        tested.extend(test)
    assert sorted(tested) == list(range(len(data)))


def test_the_seal_opens_once():
    fold = make_folds(make_dataset(), "loso")[0]
    fold.open_test()
    with pytest.raises(SealError, match="tested once"):
        fold.open_test()


def test_same_subject_number_in_two_sets_is_two_people():
    data = make_dataset(n_subjects=2)
    both = replace(data, subjects=tuple(f"{'a' if i % 2 else 'b'}/sub01" for i in range(len(data))))
    assert {f.name for f in make_folds(both)} == {"a/sub01", "b/sub01"}


def test_one_subject_is_told():
    data = make_dataset(n_subjects=1)
    with pytest.raises(StagkitError, match="one subject"):
        make_folds(data)


def test_an_empty_class_is_told():
    data = replace(make_dataset(), classes=("negative", "positive", "surprise"))
    with pytest.raises(StagkitError, match="no clip has the class surprise"):
        make_folds(data)


def test_more_folds_than_subjects_is_told():
    with pytest.raises(StagkitError, match="5 folds were asked for, but there are 4 subjects"):
        make_folds(make_dataset(n_subjects=4), "groupkfold", 5)


def test_validation_holds_out_whole_subjects():
    subjects = make_dataset(n_subjects=5).subjects
    out = hold_out_subjects(subjects, 0.2)
    assert len({s for s, o in zip(subjects, out, strict=True) if o}) == 1
    assert out.sum() == 6
