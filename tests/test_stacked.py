"""Many networks at once learn what each would learn alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.datasets.flow_maps import load_flow_maps
from stagkit.evaluation.splits import make_folds
from stagkit.synthetic.auxiliary import make_phantom_maps
from stagkit.training.ensemble import Ensemble, Task, choose_chunk, measure_memory, split_tasks, train_ensemble
from stagkit.training.epoch_selection import TrainingPart, fit_ensemble, fit_network
from stagkit.training.train import predict, train_fold
from tests.small import make_dataset, save_maps

#: Nothing random but the start and the order of the clips.
CALM_STAG = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1, dropout=0.0, branch_dropout=0.0)
CALM = TrainConfig(epochs=5, batch_size=5, lr=5e-3, mirror=False, noise=0.0, region_dropout=0.0, scale_jitter=0.0)


@pytest.fixture(scope="module")
def data():
    """Folds of unequal size: subjects of 4, 5, 6, 5 clips, some frames and AU codes missing."""
    data = make_dataset(n_subjects=4, per_subject=5, n_frames=2)
    subjects = np.repeat(["set/a", "set/b", "set/c", "set/d"], [4, 5, 6, 5])
    mask, aus = data.mask.copy(), data.aus.copy()
    mask[3, 1], mask[7, 0, :4], aus[::3] = False, False, np.nan
    return replace(data, subjects=tuple(subjects.tolist()), mask=mask, aus=aus)


@pytest.fixture(autouse=True)
def no_dropout_of_regions(monkeypatch):
    """The head always drops a tenth of the regions; here it does not."""
    real = torch.nn.Dropout.__init__
    monkeypatch.setattr(torch.nn.Dropout, "__init__", lambda self, p=0.5, inplace=False: real(self, 0.0, inplace))


def make_tasks(data, train, seeds=(0,), stag=CALM_STAG):
    folds = make_folds(data, "loso")
    return [
        Task.make(fold.training_part(data), fold.train, stag, train, seed * 100 + i)
        for seed in seeds
        for i, fold in enumerate(folds)
    ]


def make_motion(data):
    batch = data.batch()
    return batch.x, batch.mask, batch.times_ms


def logits(model, data):
    batch = data.batch()
    with torch.no_grad():
        return model.logits(batch.x, batch.mask, batch.times_ms)


@pytest.mark.parametrize(
    ("stag", "train"),
    [
        ({}, {}),
        ({"graph": "none", "cross_attention": "one-way"}, {"loss": "ce", "clip_norm": 0.05}),
        ({"branches": "time", "temporal_attention": False}, {"batch_size": 4}),
        ({"head": "fused"}, {"batch_size": 4}),
        ({"head": "fused", "graph": "gat"}, {"batch_size": 4}),
    ],
)
def test_equals_one_after_the_other(data, stag, train):
    """20 steps (5 epochs of 4 or 3 batches, for two seeds): logits within 1e-4 of the sequential loop."""
    stag, train = CALM_STAG.replace(**stag), CALM.replace(**train, epochs=7 if not train else 5)
    tasks = make_tasks(data, train, seeds=(0, 1), stag=stag)
    together = train_ensemble(data, tasks, stag, train)
    folds = make_folds(data, "loso")
    for task, model, seed in zip(tasks, together, (0, 1, 2, 3, 100, 101, 102, 103), strict=True):
        alone = train_fold(data, folds[seed % 100].train, stag, train, seed)
        assert torch.allclose(logits(model, data), logits(alone, data), atol=1e-4)
        for (name, p), q in zip(model.named_parameters(), alone.parameters(), strict=True):
            assert torch.allclose(p, q, atol=1e-3), name  # the AU graph too, which the logits hardly show
        assert not torch.allclose(logits(alone, data), logits(task.model.eval(), data), atol=1e-2), "it did learn"


def test_each_has_its_own_weights_and_scale(data):
    tasks = make_tasks(data, CALM)
    motion = make_motion(data)
    stack = Ensemble(tasks, range(4), motion, data.classes, CALM)
    assert set(stack.own) == {"scale"}
    assert stack.class_weights.shape == (4, 2)
    first = stack.extract_model(2)
    assert all(torch.equal(v, tasks[2].model.state_dict()[k]) for k, v in first.state_dict().items())


def test_no_label_of_a_test_clip_is_in_a_stack(data):
    """With every label that is not handed over turned round, the networks come out the same to the bit."""
    tasks = make_tasks(data, CALM)
    poisoned = replace(data, label=1 - data.label, aus=np.ones_like(data.aus))
    for a, b in zip(*(train_ensemble(d, tasks, CALM_STAG, CALM) for d in (data, poisoned)), strict=True):
        assert torch.equal(logits(a, data), logits(b, data))


def test_those_that_are_done_leave(data):
    """Stopped after 1, 2, 3 and 4 epochs of a plan of 5, each is what the sequential loop has after as many."""
    stops = (3, 1, 4, 2)
    tasks = [replace(t, stop_after=s) for t, s in zip(make_tasks(data, CALM), stops, strict=True)]
    alive = []
    models = train_ensemble(
        data, tasks, CALM_STAG, CALM, on_epoch_end=lambda e, loss, those: alive.append(len(those.tasks))
    )
    assert sorted(alive, reverse=True)[0] <= 4
    assert sum(alive) == sum(stops), "an epoch costs those who still train"
    for i, (fold, model) in enumerate(zip(make_folds(data, "loso"), models, strict=True)):
        alone = train_fold(data, fold.train, CALM_STAG, CALM, i, stop_after=stops[i])
        assert torch.allclose(logits(model, data), logits(alone, data), atol=1e-4)


def test_chunks_change_nothing(data):
    tasks = make_tasks(data, CALM)
    whole, parts = (train_ensemble(data, tasks, CALM_STAG, CALM, chunk=n) for n in (4, 1))
    for a, b in zip(whole, parts, strict=True):
        assert torch.allclose(logits(a, data), logits(b, data), atol=1e-5)


def test_chunks_fit_memory(data):
    tasks = make_tasks(data, CALM)
    one = measure_memory(data, tasks[0], CALM)
    assert choose_chunk(data, tasks, CALM, memory=int(3.5 * one)) == 3  # an estimate, not equal to the byte
    assert choose_chunk(data, tasks, CALM, memory=10) == 1
    assert choose_chunk(data, tasks, CALM, memory=100 * one) == 4
    assert measure_memory(data, tasks[0], CALM.replace(batch_size=10)) > 1.5 * one
    # 16, 15, 14 and 15 training clips in batches of 5 are 4, 3, 3 and 3 steps
    assert list(split_tasks(tasks, 5, 2)) == [[0], [1, 2], [3]]


def test_predictions_of_a_stack(data):
    tasks = make_tasks(data, CALM)
    stack = Ensemble(tasks, range(4), make_motion(data), data.classes, CALM)
    every = torch.arange(len(data)).expand(4, -1)
    for row, task in enumerate(tasks):
        alone = predict(task.model.eval(), data, np.arange(len(data)))
        assert np.allclose(stack.predict(every)[row], alone, atol=1e-5)


@pytest.mark.parametrize("refit", [True, False])
def test_held_out_subjects_choose_alike(data, refit):
    """Who is held out, the curve, the epoch and the network are those of the sequential choice."""
    train = CALM.replace(epoch_selection="validation", validation_fraction=0.3, refit=refit, epochs=4, lr=2e-2)
    folds = make_folds(data, "loso")
    parts = [TrainingPart.make(f.training_part(data), f.train, CALM_STAG, train, i) for i, f in enumerate(folds)]
    for i, (model, epochs, by, record) in enumerate(fit_ensemble(data, parts, CALM_STAG, train)):
        alone, *expected = fit_network(folds[i].training_part(data), CALM_STAG, train, i)
        assert [epochs, by] == expected[:2]
        assert record["validation"]["held_out"] == expected[2]["validation"]["held_out"]
        assert np.allclose(record["validation"]["curve"], expected[2]["validation"]["curve"], atol=1e-3)
        assert torch.allclose(logits(model, data), logits(alone, data), atol=1e-4)


def test_auxiliary_clips_are_drawn_as_in_the_sequential_loop(tmp_path):
    maps = load_flow_maps(save_maps(tmp_path / "maps.npz"))
    train = CALM.replace(auxiliary_weight=0.7, epochs=3)
    auxiliary = make_phantom_maps(12, patch=maps.x.shape[-1]).batch()
    together = train_ensemble(maps, make_tasks(maps, train), CALM_STAG, train, auxiliary=auxiliary)
    for i, (fold, model) in enumerate(zip(make_folds(maps, "loso"), together, strict=True)):
        alone = train_fold(maps, fold.train, CALM_STAG, train, i, auxiliary=auxiliary)
        assert torch.allclose(logits(model, maps), logits(alone, maps), atol=1e-4)
    with pytest.raises(StagkitError, match="auxiliary_weight"):
        train_ensemble(make_dataset(), make_tasks(make_dataset(), train), CALM_STAG, train)


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_precisions_learn_the_same(data, precision):
    """tf32 is nothing on a CPU; bf16 has 3 digits: near, not equal, and the weights stay float32."""
    tasks, train = make_tasks(data, CALM), CALM.replace(precision=precision)
    exact, coarse = (train_ensemble(data, tasks, CALM_STAG, t) for t in (CALM, train))
    for a, b in zip(exact, coarse, strict=True):
        assert next(b.parameters()).dtype == torch.float32
        difference = (logits(a, data) - logits(b, data)).abs().max()
        assert difference < 0.5 if precision == "bf16" else difference == 0


def test_a_loss_that_explodes_is_told(data):
    x = data.x.copy()
    x[0] = np.inf
    broken = replace(data, x=x)
    with pytest.raises(StagkitError, match="loss became"):
        train_ensemble(broken, make_tasks(data, CALM), CALM_STAG, CALM)
