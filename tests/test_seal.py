"""The seal: what training is handed has no test answers in it, and a system that looks anyway is caught."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.config import StagConfig, TrainConfig
from stagkit.epochs import fit_network
from stagkit.losses import compute_class_weights, focal_loss
from stagkit.seal import BLANK, Fold, SealError, Trained, check_blind, examine
from stagkit.splits import make_folds
from stagkit.train import predict
from tests.small import make_dataset

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
QUICK = TrainConfig(epochs=2, batch_size=12)


@pytest.fixture
def data():
    return make_dataset(n_subjects=4, per_subject=4, n_frames=2)


def fit_stag(known, inputs):
    model, epochs, chosen_by, _ = fit_network(known, TINY, QUICK)
    return Trained(lambda clips: predict(model, clips, np.arange(len(clips))), epochs, chosen_by, model=model)


@pytest.mark.parametrize("name", ["label", "aus", "meta", "parts"])
def test_answers_of_test_clips_cannot_be_read(data, name):
    fold = make_folds(data)[0]
    inputs = fold.test_inputs(data)
    with pytest.raises(SealError, match=f"`{name}` of the test clips of fold 'set/sub01' is sealed"):
        getattr(inputs, name)
    assert len(inputs) == fold.n_test == 4
    assert set(inputs.subjects) == {"set/sub01"}


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
        assert fold.opening is None, "the seal is closed while anything is decided"
        return fit_stag(known, inputs)

    test, probability, trained = examine(data, fold, fit)
    assert {data.subjects[i] for i in test} == {"set/sub01"}
    assert probability.shape == (4, 2)
    assert (fold.opening.epoch, fold.opening.chosen_by) == (2, "fixed beforehand")
    assert fold.opening.opened.endswith("+00:00")
    assert trained.epoch == 2
    with pytest.raises(SealError, match="tested once"):
        examine(data, fold, fit_stag)


def test_a_model_that_reads_test_labels_is_stopped(data):
    """It chooses its epoch by test accuracy, as published code does: the labels are not there."""

    def peek(known, inputs):
        model, *_ = fit_network(known, TINY, QUICK)
        best = (predict(model, inputs, np.arange(len(inputs))).argmax(1) == inputs.label).mean()
        return Trained(lambda clips: np.full((len(clips), 2), best))

    fold = make_folds(data)[0]
    with pytest.raises(SealError, match="sealed: decide everything first"):
        examine(data, fold, peek)
    assert fold.opening is None


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
        test, probability, _ = examine(noise, fold, nearest)
        right.extend(probability.argmax(1) == noise.label[test])
    assert 0.3 < np.mean(right) < 0.7
    cheat = [((noise.x - x) ** 2).reshape(100, -1).sum(1).argmin() for x in noise.x]
    assert (noise.label[cheat] == noise.label).all(), "with the labels it would have been perfect"


def test_a_poisoned_test_part_changes_nothing_for_stag(data):
    """The whole ceremony answers the same when every test answer is wrong; the proof lets it pass."""

    def honest(some, fold):
        return examine(some, fold, fit_stag)[1]

    answers = check_blind(honest, data, make_folds(data)[0])
    assert answers.shape == (4, 2)


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


@pytest.mark.parametrize("peek", [peek_at_epoch, peek_at_weights, peek_at_aus])
def test_a_system_that_peeks_is_caught(data, peek):
    with pytest.raises(SealError, match="the system looks at what it is tested on"):
        check_blind(peek, data, make_folds(data)[0])


def test_a_subject_in_both_parts_raises(data):
    fold = Fold("wrong", np.arange(6), np.arange(6, 16))
    for use in (fold.check_disjoint, fold.training_part, lambda d: examine(d, fold, fit_stag)):
        with pytest.raises(SealError, match="1 subject.s. in both parts, the first is set/sub02"):
            use(data)
    with pytest.raises(SealError, match="the clip 'clip002' in both parts"):
        Fold("wrong", np.arange(3), np.arange(2, 16), subject_disjoint=False).check_disjoint(data)


def test_answers_of_another_shape_are_told(data):
    with pytest.raises(SealError, match="expected .4, 2."):
        examine(data, make_folds(data)[0], lambda known, inputs: Trained(lambda clips: np.zeros((3, 2))))
