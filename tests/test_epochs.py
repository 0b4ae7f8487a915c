"""How many epochs: chosen by held-out training subjects, and what choosing on the test clips would claim."""

import numpy as np
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.evaluation.leakage import compute_leak, select_epoch_on_test
from stagkit.training.epoch_selection import compute_balanced_loss, fit_network
from stagkit.training.train import predict, train_fold
from tests.small import make_dataset

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
INNER = TrainConfig(epochs=4, batch_size=12, epoch_selection="validation", validation_fraction=0.3, lr=5e-3)


@pytest.fixture(scope="module")
def data():
    return make_dataset(n_subjects=4, per_subject=4, n_frames=2)


def test_held_out_subjects_choose(data):
    model, epochs, _, record = fit_network(data, TINY, INNER.replace(refit=False), seed=1)
    curve, held_out = record["validation"]["curve"], record["validation"]["held_out"]
    assert len(curve) == 4 and epochs == np.argmin(curve) + 1 and len(held_out) == 1
    validation = np.array([i for i, s in enumerate(data.subjects) if s in held_out])
    again = compute_balanced_loss(predict(model, data, validation), data.label[validation])
    assert again == pytest.approx(min(curve), abs=1e-5), "the network is the one of that epoch"


def test_then_all_training_clips_are_trained_on(data):
    model, epochs, selected_by, record = fit_network(data, TINY, INNER, seed=1)
    assert selected_by == "1 held-out training subjects; then trained again on all training clips"
    assert epochs == np.argmin(record["validation"]["curve"]) + 1
    same = train_fold(data, np.arange(len(data)), TINY, INNER, 1, stop_after=epochs)
    assert (predict(model, data, np.arange(16)) == predict(same, data, np.arange(16))).all()
    kept, _, by, _ = fit_network(data, TINY, INNER.replace(refit=False), seed=1)
    assert by == "1 held-out training subjects, who were not trained on"
    assert not np.allclose(predict(kept, data, np.arange(16)), predict(model, data, np.arange(16)))


def test_one_training_subject_cannot_be_split(data):
    with pytest.raises(StagkitError, match="one subject"):
        fit_network(data.select(range(4)), TINY, INNER)


def test_stopping_early_is_the_start_of_the_whole_plan(data):
    """Watching changes nothing, and epoch 2 of 4 is what ``stop_after=2`` gives."""
    config, everyone, seen = INNER.replace(epoch_selection="fixed"), np.arange(16), []
    whole = train_fold(
        data, everyone, TINY, config, on_epoch_end=lambda e, loss, m: seen.append(predict(m, data, everyone))
    )
    unwatched = train_fold(data, everyone, TINY, config)
    assert (predict(whole, data, everyone) == predict(unwatched, data, everyone)).all()
    early = train_fold(data, everyone, TINY, config, stop_after=2)
    assert (seen[1] == predict(early, data, everyone)).all()
    assert len(seen) == 4


def test_balanced_loss_by_hand():
    """Class 0: mean of -log .5 and -log 1; class 1: -log .25; the mean of the two."""
    probability = np.array([[0.5, 0.5], [1.0, 0.0], [0.75, 0.25]])
    assert compute_balanced_loss(probability, np.array([0, 0, 1])) == pytest.approx((np.log(2) / 2 + np.log(4)) / 2)


def test_published_rule_takes_the_last_of_the_best():
    answers = np.array([[0, 0, 0], [0, 1, 0], [1, 1, 0], [1, 1, 1]])
    assert select_epoch_on_test(np.array([0, 1, 0]), answers) == 1
    assert select_epoch_on_test(np.array([1, 1, 0]), answers) == 2
    assert select_epoch_on_test(np.array([0, 1, 1]), answers) == 3, "1 and 3 are as good: the later"


def test_leak_from_pure_noise():
    """40 folds of five clips, 60 epochs of coin throws: honest chance becomes a fine score."""
    rng = np.random.default_rng(0)
    labels = [rng.integers(0, 3, 5) for _ in range(40)]
    answers = [rng.integers(0, 3, (60, 5)) for _ in range(40)]
    leak = compute_leak(labels, answers, 3)
    assert leak["last_epoch"]["uf1"] < 0.45
    assert leak["permuted_last_epoch"]["uf1"] < 0.45
    assert leak["best_test_epoch"]["uf1"] > 0.65
    assert leak["permuted_best_test_epoch"]["uf1"] > 0.65
    assert leak["last_epoch"]["uf1"] <= leak["best_common_epoch"]["uf1"] < 0.5
