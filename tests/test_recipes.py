"""Settings that suit the clips: by their kind, never by their labels, and changed by whoever wants."""

from dataclasses import replace

import numpy as np
import pytest

from stagkit.cli_options import read_settings
from stagkit.companions import make_companions
from stagkit.config import StagConfig, TrainConfig
from stagkit.recipes import choose_recipe
from tests.small import make_dataset


def test_coded_clips_of_many_frames_are_answered_from_action_units():
    recipe = choose_recipe(make_dataset())
    assert recipe.stag == StagConfig(answer="aus") and recipe.train == TrainConfig(roi_dropout=0.2)
    assert [w.split("=")[0] for w in recipe.why] == ["stag.answer", "train.roi_dropout"]


@pytest.mark.parametrize(
    ("uncoded", "apart", "answer"), [(0.4, False, "aus"), (0.6, False, "fused"), (0.4, True, "fused")]
)
def test_uncoded_clips_keep_the_fused_answer_where_action_units_could_not_be_learned(uncoded, apart, answer):
    data = make_dataset()
    n = round(uncoded * len(data))
    aus = data.aus.copy()
    aus[:n] = np.nan  # the uncoded clips are a data set of their own: trained on alone, it has nothing to teach
    data = replace(data, aus=aus, datasets=tuple("ab"[i >= n] for i in range(len(data))))
    recipe = choose_recipe(data, apart)
    assert recipe.stag.answer == answer and bool(recipe.why) == (answer == "aus")


def test_flow_maps_have_no_time_and_take_phantoms_beside():
    recipe = choose_recipe(make_companions(9))
    assert recipe.stag == StagConfig(branches="graph")
    assert recipe.train.phantoms_beside > 0
    assert [w.split("=")[0] for w in recipe.why] == ["stag.branches", "train.phantoms_beside"]


def test_labels_do_not_matter():
    data = make_companions(9)
    assert choose_recipe(replace(data, label=np.zeros(9, np.int64))) == choose_recipe(data)


def test_one_uncoded_set_keeps_every_pair_of_the_cross_protocol_trainable():
    data = make_dataset()
    aus, n = data.aus.copy(), len(data) // 3
    aus[:n] = np.nan
    data = replace(data, aus=aus, datasets=tuple("ab"[i >= n] for i in range(len(data))))
    said = {protocol: read_settings(None, [], None, None, data, protocol)[0].answer for protocol in ("loso", "cross")}
    assert said == {"loso": "aus", "cross": "fused"}
