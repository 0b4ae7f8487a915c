"""Splits: nobody on both sides, every clip tested once, a seal that holds."""

from dataclasses import replace

import numpy as np
import pytest

from stagkit.core.types import StagkitError
from stagkit.datasets.join import join_datasets
from stagkit.evaluation.sealed import SealError
from stagkit.evaluation.splits import (
    find_missing_classes,
    make_folds,
    make_stratified_folds,
)
from stagkit.training.epoch_selection import hold_out_subjects
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


def make_two_sets(names=("a", "b"), n_subjects=4):
    data = make_dataset(n_subjects=n_subjects, per_subject=4, n_frames=1)
    of = [names[int(s[-2:]) % len(names)] for s in data.subjects]
    return replace(
        data, datasets=tuple(of), subjects=tuple(f"{d}/{s[4:]}" for d, s in zip(of, data.subjects, strict=True))
    )


def test_composite_leaves_one_subject_of_the_union_out():
    folds = make_folds(make_two_sets(), "cde")
    assert [f.name for f in folds] == ["a/sub02", "a/sub04", "b/sub01", "b/sub03"]


def test_cross_goes_over_all_ordered_pairs():
    data = make_two_sets(("a", "b", "c"), 6)
    folds = make_folds(data, "cross")
    assert [f.name for f in folds] == ["a->b", "a->c", "b->a", "b->c", "c->a", "c->b"]
    first = folds[0]
    assert {data.datasets[i] for i in first.train} == {"a"}
    assert {data.datasets[i] for i in first.open_test()} == {"b"}


@pytest.mark.parametrize("protocol", ["cde", "cross"])
def test_several_sets_are_needed(protocol):
    with pytest.raises(StagkitError, match="needs two data sets or more"):
        make_folds(make_dataset(), protocol)


def test_official_parts():
    data = make_dataset(n_subjects=4, per_subject=2)
    parts = ("train",) * 4 + ("testA",) * 2 + ("testB",) * 2
    (fold,) = make_folds(replace(data, parts=parts), "official")
    assert fold.train.tolist() == [0, 1, 2, 3]
    assert fold.open_test().tolist() == [4, 5, 6, 7]
    with pytest.raises(StagkitError, match="the parts found: none"):
        make_folds(data, "official")
    with pytest.raises(StagkitError, match="belongs to no official part"):
        make_folds(replace(data, parts=(*parts[:-1], "")), "official")
    with pytest.raises(SealError, match="both parts, the first is set/sub02"):
        make_folds(replace(data, parts=("train",) * 3 + ("testA",) * 5), "official")


def test_stratified_folds_never_come_alone():
    data = make_dataset(n_subjects=4)
    with pytest.raises(StagkitError, match="not subject-disjoint"):
        make_folds(data, "stratifiedkfold")
    folds = make_stratified_folds(data, 3)
    assert not any(fold.subject_disjoint for fold in folds)
    tested = np.concatenate([fold.open_test() for fold in folds])
    assert sorted(tested) == list(range(24))
    assert {tuple(np.bincount(data.label[f.train])) for f in folds} == {(8, 8)}
    with pytest.raises(StagkitError, match="at most one fold per clip"):
        make_stratified_folds(data, 13)


def test_unknown_protocol_is_told():
    with pytest.raises(StagkitError, match="no protocol 'bootstrap'; expected loso"):
        make_folds(make_dataset(), "bootstrap")


def test_one_recording_under_two_subjects_is_told():
    data = make_dataset(n_subjects=3)
    data.x[13] = data.x[2]
    words = "clip 'clip013' of set/sub03 holds the same motion as 'clip002' of set/sub01"
    with pytest.raises(StagkitError, match=words):
        make_folds(data)
    data.x[13] = data.x[12]  # twice the same person: no leak
    assert len(make_folds(data)) == 3
    data.x[:] = 0  # no motion is nobody's
    assert len(make_folds(data)) == 3


def test_a_clip_name_given_twice_is_told():
    data = make_dataset(n_subjects=3)
    with pytest.raises(StagkitError, match="two clips named 'clip000'"):
        make_folds(replace(data, clip_ids=("clip000", "clip000", *data.clip_ids[2:])))


def test_missing_classes_are_found():
    data = make_dataset(n_subjects=3, classes=("a", "b"))
    label = np.zeros(18, int)
    label[:3] = 1  # only the first subject has the second class
    data = replace(data, label=label)
    assert find_missing_classes(data, make_folds(data)) == {"set/sub01": ("b",)}


# ── several data sets as one ─────────────────────────────────────────────────────────────────────────────────────────


def test_join_pads_time_and_orders_classes():
    first = make_dataset(n_subjects=2, n_frames=3)
    second = replace(
        make_dataset(n_subjects=2, n_frames=1, seed=1, classes=("positive", "negative")),
        subjects=("other/s1",) * 6 + ("other/s2",) * 6,
        datasets=("other",) * 12,
    )
    both = join_datasets([first, second])
    assert both.x.shape[:2] == (24, 3)
    assert not both.mask[12:, 1:].any()
    assert not both.x[12:, 1:].any()
    assert both.classes == ("negative", "positive")
    assert [both.classes[k] for k in both.label[12:]] == [second.classes[k] for k in second.label]
    assert both.meta["digest"] not in (first.meta["digest"], second.meta["digest"])
    assert join_datasets([first]) is first


def test_what_cannot_be_joined_is_told():
    data = make_dataset(n_subjects=2)
    other = replace(data, subjects=tuple(f"x{s}" for s in data.subjects))
    with pytest.raises(StagkitError, match="the subject set/sub01 is in two"):
        join_datasets([data, data])
    with pytest.raises(StagkitError, match="other unit"):
        join_datasets([data, replace(other, unit="map")])
    with pytest.raises(StagkitError, match="other regions"):
        join_datasets([data, replace(other, roi_names=tuple(f"r{i}" for i in range(22)))])
    with pytest.raises(StagkitError, match="--mapping 3-class"):
        join_datasets([data, replace(other, classes=("negative", "joy"))])
