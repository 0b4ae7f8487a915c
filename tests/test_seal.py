"""The seal: what training is handed has no test answers in it, and a system that looks anyway is caught."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.evaluation.sealed import BLANK, Fold, SealError, Trained, fit_and_predict
from stagkit.evaluation.splits import make_folds
from stagkit.network.losses import compute_class_weights, focal_loss
from stagkit.training.epoch_selection import fit_network
from stagkit.training.train import predict
from tests.blind import BlindWarning, check_blind
from tests.small import make_dataset

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
QUICK = TrainConfig(epochs=2, batch_size=12)


@pytest.fixture
def data():
    return make_dataset(n_subjects=4, per_subject=4, n_frames=2)


def fit_stag(known, inputs):
    model, epochs, selected_by, _ = fit_network(known, TINY, QUICK)
    return Trained(lambda clips: predict(model, clips, np.arange(len(clips))), epochs, selected_by, model=model)


@pytest.mark.parametrize("name", ["label", "aus", "meta", "parts"])
def test_answers_of_test_clips_cannot_be_read(data, name):
    fold = make_folds(data)[0]
    inputs = fold.test_inputs(data)
    with pytest.raises(SealError, match=f"`{name}` of the test clips of fold 'set/sub01' is sealed"):
        getattr(inputs, name)
    assert len(inputs) == fold.n_test == 4
    assert set(inputs.subjects) == {"test subject 00000"}


def test_blanks_fail_every_loss_and_count(data):
    batch = make_folds(data)[0].test_inputs(data).batch()
    assert (batch.label == BLANK).all()
    assert batch.aus.isnan().all()
    with pytest.raises(Exception):  # noqa: B017
        focal_loss(torch.zeros(4, 2), batch.label, torch.ones(2))
    with pytest.raises(Exception):  # noqa: B017
        compute_class_weights(batch.label, 2)


def test_changing_what_was_handed_out_changes_no_data(data):
    fold, before = make_folds(data)[0], data.x.copy()
    fold.test_inputs(data).x[:] = 0
    fold.training_part(data).x[:] = 0
    assert np.array_equal(data.x, before)


def test_training_part_holds_the_training_clips_alone(data):
    fold = make_folds(data)[1]
    known = fold.training_part(data)
    assert set(known.subjects) == {"set/sub01", "set/sub03", "set/sub04"}
    assert np.array_equal(known.label, data.label[fold.train])
    assert np.array_equal(known.x, data.x[fold.train])


def test_examine_opens_last_and_writes_it_down(data):
    fold = make_folds(data)[0]

    def fit(known, inputs):
        assert fold.unblinding is None, "the seal is closed while anything is decided"
        return fit_stag(known, inputs)

    test, probability, trained = fit_and_predict(data, fold, fit)
    assert {data.subjects[i] for i in test} == {"set/sub01"}
    assert probability.shape == (4, 2)
    assert (fold.unblinding.epoch, fold.unblinding.selected_by) == (2, "fixed beforehand")
    assert fold.unblinding.unblinded_at.endswith("+00:00")
    assert trained.epoch == 2
    with pytest.raises(SealError, match="tested once"):
        fit_and_predict(data, fold, fit_stag)


def test_a_model_that_reads_test_labels_is_stopped(data):
    """It chooses its epoch by test accuracy, as published code does: the labels are not there."""

    def peek(known, inputs):
        model, *_ = fit_network(known, TINY, QUICK)
        best = (predict(model, inputs, np.arange(len(inputs))).argmax(1) == inputs.label).mean()
        return Trained(lambda clips: np.full((len(clips), 2), best))

    fold = make_folds(data)[0]
    with pytest.raises(SealError, match="sealed: decide everything first"):
        fit_and_predict(data, fold, peek)
    assert fold.unblinding is None


def test_a_model_that_trains_on_blanked_labels_is_at_chance(data):
    """Labels are noise here. With the test labels a nearest neighbour is perfect; with what it is handed it cannot be."""
    rng = np.random.default_rng(0)
    noise = replace(make_dataset(n_subjects=10, per_subject=10, n_frames=1), label=rng.integers(0, 2, 100))

    def nearest(known, inputs):
        pool, blank = inputs.batch(), np.concatenate([inputs.batch().label.numpy(), known.label])
        seen = np.concatenate([pool.x.numpy(), known.x]).reshape(len(blank), -1)

        def answer(clips):
            near = [blank[((seen - x.ravel()) ** 2).sum(1).argmin()] for x in clips.x]
            return np.eye(2)[np.array(near)]  # BLANK is the last class, whatever is true

        return Trained(answer)

    right = []
    for fold in make_folds(noise):
        test, probability, _ = fit_and_predict(noise, fold, nearest)
        right.extend(probability.argmax(1) == noise.label[test])
    assert 0.3 < np.mean(right) < 0.7
    cheat = [((noise.x - x) ** 2).reshape(100, -1).sum(1).argmin() for x in noise.x]
    assert (noise.label[cheat] == noise.label).all(), "with the labels it would have been perfect"


def test_a_poisoned_test_part_changes_nothing_for_stag(data, forked):
    """The whole ceremony answers the same when every test answer is wrong; the proof lets it pass."""

    def honest(some, fold):
        return fit_and_predict(some, fold, fit_stag)[1]

    answers = check_blind(honest, data, make_folds(data)[0])
    assert answers.shape == (4, 2)


def make_cheats(folder):
    """Systems that get at the answers of the test part, each in another way (made here, so that they travel by value)."""

    def peek_at_epoch(data, fold):
        """Keeps the epoch that is best on the test clips."""
        test = fold.open_test()
        kept, best = None, -1.0
        for epoch in range(6):
            probability = np.random.default_rng(epoch).random((len(test), 2))
            right = (probability.argmax(1) == data.label[test]).mean()
            kept, best = (probability, right) if right >= best else (kept, best)
        return kept

    def peek_at_weights(data, fold):
        """Class weights of all clips, test clips too."""
        share = np.bincount(data.label, minlength=2) / len(data)
        return np.tile(share, (fold.n_test, 1))

    def peek_at_aus(data, fold):
        """Annotated action units of the test clips as an input."""
        return np.nan_to_num(data.aus[fold.open_test()][:, :2])

    def count_in_meta(data, fold):
        """Counts of the whole set minus those of the training part: the histogram of the test part."""
        whole = np.array([data.meta["source"]["labels"][c] for c in data.classes])
        left = whole - np.bincount(data.label[fold.train], minlength=2)
        return np.tile(left / left.sum(), (fold.n_test, 1))

    def read_names(data, fold):
        """The class stands in the clip's name, as in SMIC (s01_po_01)."""
        return np.array([[1.0, 0.0] if "_ne_" in data.clip_ids[i] else [0.0, 1.0] for i in fold.open_test()])

    def read_order(data, fold):
        """The classes follow each other in turn, as the folders of some data sets do."""
        return np.eye(2)[np.arange(fold.n_test) % 2]

    def read_folder_by_path(data, fold):
        """Labels of the prepared folder, whose path stands in the metadata."""
        return np.eye(2)[np.load(data.meta["source"]["root"])[fold.open_test()]]

    def read_folder(data, fold):
        """Labels of a prepared folder that it knows of by itself, by their place in the data set."""
        return np.eye(2)[np.load(folder / "labels.npy")[fold.open_test()]]

    memory = {}

    def remember_the_first_call(data, fold):
        """Keeps the labels of the first data set it gets."""
        memory.setdefault("label", data.label.copy())
        return np.eye(2)[memory["label"][fold.open_test()]]

    seen = {}

    def remember_other_folds(data, fold):
        """Honest in each fold, but a clip that it trained on in an earlier fold is recognised in a later one."""

        def fit(known, inputs):
            seen.update(zip((x.tobytes() for x in known.x), known.label.tolist(), strict=True))
            return Trained(lambda clips: np.eye(2)[[seen.get(x.tobytes(), 0) for x in clips.x]])

        return fit_and_predict(data, fold, fit)[1]

    return [f for f in locals().values() if callable(f)]


CHEATS = [f.__name__ for f in make_cheats(None)]


@pytest.fixture
def named(tmp_path):
    """A data set as SMIC is: the class is in the clip's name, counts and path are in the metadata."""
    data = make_dataset(n_subjects=3, per_subject=4, n_frames=1)
    np.save(tmp_path / "labels.npy", data.label)
    source = {"labels": {c: int(n) for c, n in zip(data.classes, np.bincount(data.label), strict=True)}}
    ids = tuple(f"s{i // 4:02d}_{('ne', 'po')[k]}_{i:02d}" for i, k in enumerate(data.label))
    meta = {**data.meta, "radius": 3, "source": {**source, "root": str(tmp_path / "labels.npy")}}
    return replace(data, clip_ids=ids, meta=meta)


@pytest.mark.parametrize("name", CHEATS)
def test_a_system_that_peeks_is_caught(named, name, tmp_path):
    peek = next(f for f in make_cheats(tmp_path) if f.__name__ == name)
    with pytest.raises(SealError, match="uses (information about its test clips|more than motion)"):
        check_blind(peek, named, make_folds(named)[0])


def make_honest():
    def nearest_mean(data, fold):
        """The nearest mean of a class, in motion."""

        def fit(known, inputs):
            means = np.stack([known.x[known.label == k].mean(0) for k in range(2)])
            return Trained(lambda clips: np.array([-((means - x) ** 2).sum((1, 2, 3, 4, 5)) for x in clips.x]))

        return fit_and_predict(data, fold, fit)[1]

    def one_fold_alone(data, fold):
        if fold.name == "another fold":
            raise ValueError("two classes are needed")
        return nearest_mean(data, fold)

    return nearest_mean, one_fold_alone


def test_an_honest_system_passes(named):
    nearest_mean, one_fold_alone = make_honest()
    fold = make_folds(named)[1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        answers = check_blind(nearest_mean, named, fold)
    assert answers.shape == (4, 2) and fold.unblinding is None
    with pytest.warns(BlindWarning, match="could not predict the other fold .ValueError: two classes are needed"):
        check_blind(one_fold_alone, named, fold)


def test_what_training_is_handed_holds_no_count_no_name_and_no_path(named):
    """Counts of the whole set minus those of the training part were the histogram of the test part."""
    fold = make_folds(named)[0]
    known, inputs = fold.training_part(named), fold.test_inputs(named)
    assert known.meta == {"radius": 3}
    text = repr([known.clip_ids, known.meta, inputs.clip_ids, inputs.subjects, inputs.batch().clip_ids])
    for word in (*named.clip_ids, "sub01", "_ne_", "_po_", "labels", "digest", ".npy"):
        assert word not in text
    assert known.clip_ids == tuple(f"clip {i:05d}" for i in range(8)), "no gaps that show what is missing"
    assert known.subjects == tuple(named.subjects[i] for i in fold.train)
    assert len(set(inputs.clip_ids)) == 4 and len(set(inputs.subjects)) == 1
    test, _, _ = fit_and_predict(named, fold, lambda k, i: Trained(lambda clips: np.full((4, 2), 0.5)))
    assert [named.clip_ids[i] for i in test] == [named.clip_ids[i] for i in range(4)], "their names are back afterwards"


def test_a_subject_in_both_parts_raises(data):
    fold = Fold("wrong", np.arange(6), np.arange(6, 16))
    for use in (fold.check_disjoint, fold.training_part, lambda d: fit_and_predict(d, fold, fit_stag)):
        with pytest.raises(SealError, match="1 subject.s. in both parts, the first is set/sub02"):
            use(data)
    with pytest.raises(SealError, match="the clip 'clip002' in both parts"):
        Fold("wrong", np.arange(3), np.arange(2, 16), subject_disjoint=False).check_disjoint(data)


def test_answers_of_another_shape_are_told(data):
    with pytest.raises(SealError, match="expected .4, 2."):
        fit_and_predict(data, make_folds(data)[0], lambda known, inputs: Trained(lambda clips: np.zeros((3, 2))))
