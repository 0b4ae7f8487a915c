"""Settings that suit the clips: by their kind, never by their labels, and changed by whoever wants."""

from dataclasses import replace

import numpy as np

from stagkit.companions import make_companions
from stagkit.config import StagConfig, TrainConfig
from stagkit.recipes import choose_recipe
from tests.small import make_dataset


def test_clips_of_many_frames_take_the_defaults():
    recipe = choose_recipe(make_dataset())
    assert (recipe.stag, recipe.train, recipe.why) == (StagConfig(), TrainConfig(), ())


def test_flow_maps_have_no_time_and_take_phantoms_beside():
    recipe = choose_recipe(make_companions(9))
    assert recipe.stag == StagConfig(branches="graph")
    assert recipe.train.phantoms_beside > 0
    assert [w.split("=")[0] for w in recipe.why] == ["stag.branches", "train.phantoms_beside"]


def test_labels_do_not_matter():
    data = make_companions(9)
    assert choose_recipe(replace(data, label=np.zeros(9, np.int64))) == choose_recipe(data)
