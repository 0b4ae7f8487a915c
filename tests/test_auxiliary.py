"""Auxiliary phantoms: what they are, that they change what is learned, what they teach alone, where they are refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.datasets.flow_maps import CLASSES
from stagkit.network.action_units import compute_clip_aus
from stagkit.synthetic.auxiliary import make_auxiliary, make_phantom_maps
from stagkit.training.train import make_model, train_fold
from tests.small import make_dataset


def test_auxiliary_maps_are_coded_throughout_and_of_every_class_and_preset():
    data = make_phantom_maps(90)
    assert len(data) == 90 and data.x.shape[1] == 1
    assert set(np.unique(data.aus)) == {0.0, 1.0}  # nothing is 'not coded'
    assert set(data.label) == set(range(len(CLASSES)))
    assert len({d for d in data.datasets}) == 3


def test_other_seeds_are_other_people():
    one, other = make_phantom_maps(30), make_phantom_maps(30, seed=1)
    assert not np.allclose(one.x, other.x)
    assert np.array_equal(one.x, make_phantom_maps(30, seed=0).x)


def test_they_take_part_in_training_and_weight_zero_leaves_them_out(monkeypatch):
    monkeypatch.setattr("stagkit.synthetic.auxiliary.N_MAPS", 60)
    data = make_phantom_maps(48, seed=5)
    config = StagConfig(width=8, heads=2)

    def weights(beside):
        train = TrainConfig(epochs=2, batch_size=16, auxiliary_weight=beside)
        auxiliary = make_auxiliary(data, train)
        return train_fold(data, np.arange(48), config, train, seed=3, auxiliary=auxiliary).state_dict()

    without, with_them = weights(0.0), weights(0.3)
    assert any(not torch.equal(without[k], with_them[k]) for k in without)


def test_sequences_fit_the_clips_and_every_action_unit_is_known(monkeypatch):
    monkeypatch.setattr("stagkit.synthetic.auxiliary.N_SEQUENCES", 90)
    data = make_dataset()
    auxiliary = make_auxiliary(data, TrainConfig(auxiliary_weight=1.0))
    assert auxiliary.x.shape[1:] == data.x.shape[1:] and len(auxiliary.label) == 90
    assert not auxiliary.aus.isnan().any() and auxiliary.aus.any(0).sum() >= 12
    assert auxiliary.classes != data.classes, "so that only their action units count"


def test_clips_without_codes_learn_action_units_from_phantoms_alone(monkeypatch):
    """Uncoded clips: without phantoms refused; with them AUs are learned, and the phantoms' classes have no say."""
    monkeypatch.setattr("stagkit.synthetic.auxiliary.N_SEQUENCES", 90)
    data = make_dataset()
    data = replace(data, aus=np.full_like(data.aus, np.nan))
    config, train = StagConfig(width=8, heads=2, time_layers=1), TrainConfig(epochs=60, batch_size=16)
    with pytest.raises(StagkitError, match="none of the .* clips is AU-coded"):
        train_fold(data, np.arange(len(data)), config, train)
    train = replace(train, auxiliary_weight=1.0)
    auxiliary = make_auxiliary(data, train)
    models = [
        train_fold(data, np.arange(len(data)), config, train, auxiliary=replace(auxiliary, label=label))
        for label in (auxiliary.label, torch.randint(0, 1, auxiliary.label.shape))
    ]
    assert all(torch.equal(a, b) for a, b in zip(*(m.state_dict().values() for m in models), strict=True))

    def rank(model):
        output = model(auxiliary.x, auxiliary.mask, auxiliary.times_ms)
        found = compute_clip_aus(output.au_logits, auxiliary.mask.any(2)).detach().numpy()
        frequent = [k for k in range(found.shape[1]) if auxiliary.aus[:, k].sum() >= 15]
        return np.mean([roc_auc_score(auxiliary.aus[:, k], found[:, k]) for k in frequent])

    untrained = make_model(data, np.arange(len(data)), config, 0)
    assert rank(models[0]) > max(0.65, rank(untrained.eval()) + 0.1)


def test_maps_of_other_classes_are_refused_in_a_sentence():
    data = replace(make_phantom_maps(9), classes=("a", "b", "c"))
    with pytest.raises(StagkitError, match="auxiliary_weight.*Set it to 0"):
        make_auxiliary(data, TrainConfig(auxiliary_weight=0.3))


def test_a_weight_without_auxiliary_clips_is_refused():
    data, train = make_phantom_maps(12), TrainConfig(epochs=1, auxiliary_weight=0.3)
    with pytest.raises(StagkitError, match="no auxiliary clips"):
        train_fold(data, np.arange(12), StagConfig(width=8, heads=2), train)
