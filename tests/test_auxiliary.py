"""Phantom maps beside real ones: what they are, that they change what is learned, and where they are refused."""

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import StagkitError
from stagkit.datasets.flow_maps import CLASSES
from stagkit.synthetic.auxiliary import make_auxiliary, make_phantom_maps
from stagkit.training.train import train_fold
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
    monkeypatch.setattr("stagkit.synthetic.flow_maps.N_AUXILIARY", 60)
    data = make_phantom_maps(48, seed=5)
    config = StagConfig(width=8, heads=2)

    def weights(beside):
        train = TrainConfig(epochs=2, batch_size=16, auxiliary_weight=beside)
        auxiliary = make_auxiliary(data, train)
        return train_fold(data, np.arange(48), config, train, seed=3, auxiliary=auxiliary).state_dict()

    without, with_them = weights(0.0), weights(0.3)
    assert any(not torch.equal(without[k], with_them[k]) for k in without)


def test_clips_that_are_no_maps_are_refused_in_a_sentence():
    with pytest.raises(StagkitError, match="auxiliary_weight.*Set it to 0"):
        make_auxiliary(make_dataset(), TrainConfig(auxiliary_weight=0.3))


def test_a_weight_without_auxiliary_clips_is_refused():
    data, train = make_phantom_maps(12), TrainConfig(epochs=1, auxiliary_weight=0.3)
    with pytest.raises(StagkitError, match="no auxiliary clips"):
        train_fold(data, np.arange(12), StagConfig(width=8, heads=2), train)
