"""What flips an answer, found and proved on networks solved on paper."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.counterfactuals import ablate_muscles, find_counterfactual
from stagkit.explain.motion_decomposition import SIDED_AUS, make_templates
from tests.tiny import make_batch


class Corners(nn.Module):
    """'positive' while either lip corner goes up by more than 0.3, else 'negative'."""

    def logits(self, x, mask, times_ms):
        up = -x[:, :, [ATLAS.index("lip_corner_L"), ATLAS.index("lip_corner_R")], 1].mean((1, 3, 4))
        most = up.max(1).values - 0.3
        return torch.stack([-most, most, -5 + 0 * most], -1)


def make_smile(*units):
    """One clip in which these units move, and nothing else."""
    flow = sum(make_templates()[SIDED_AUS.index(u)] for u in units)
    batch = make_batch(1)
    x = torch.zeros_like(batch.x)
    x[:, :, :, :2] = torch.from_numpy(flow).float()[None, None, :, :, None, None]
    return replace(batch, x=x)


def test_both_corners_have_to_be_stilled():
    """Either side alone keeps the answer: the smallest set is the pair, and every single muscle was tried."""
    flip = find_counterfactual(Corners().eval(), make_smile("AU12L", "AU12R", "AU04L", "AU04R"))
    assert set(flip.muscles) == {"left zygomaticus major", "right zygomaticus major"}
    assert (flip.before, flip.after, flip.smallest) == ("positive", "negative", True)
    assert "no smaller set does" in str(flip)


def test_one_side_is_enough_where_it_acts_alone():
    flip = find_counterfactual(Corners().eval(), make_smile("AU12L", "AU04R"))
    assert flip.muscles == ("left zygomaticus major",)


def test_what_nothing_flips_is_said():
    flip = find_counterfactual(Corners().eval(), make_smile("AU04L", "AU04R"))
    assert flip.muscles == ()
    assert flip.after == flip.before == flip.without_motion == "negative"
    assert "without motion is predicted the same" in str(flip)


def test_a_small_budget_says_that_it_proves_nothing():
    flip = find_counterfactual(Corners().eval(), make_smile("AU12L", "AU12R", "AU04L", "AU04R"), budget=0)
    assert len(flip.muscles) == 2
    assert not flip.smallest
    assert "not all tried" in str(flip)


def test_stilling_a_muscle_takes_its_motion_and_no_other():
    batch = make_smile("AU12L", "AU12R", "AU04L")
    still = ablate_muscles(batch, ["left zygomaticus major"])
    speed = still.x[0, 0, :, :2].norm(dim=1).mean((1, 2)).numpy()
    before = batch.x[0, 0, :, :2].norm(dim=1).mean((1, 2)).numpy()
    assert speed[ATLAS.index("lip_corner_L")] < 0.15 * before[ATLAS.index("lip_corner_L")]
    assert speed[ATLAS.index("lip_corner_R")] == pytest.approx(before[ATLAS.index("lip_corner_R")], rel=0.05)
    assert speed[ATLAS.index("brow_inner_L")] > 0.8 * before[ATLAS.index("brow_inner_L")]
    with pytest.raises(ExplainError, match="no muscle 'biceps'"):
        ablate_muscles(batch, ["biceps"])
