"""What flips an answer, found and proved on networks solved on paper; clamps do what the probes do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.counterfactuals import ablate_muscles, clamp, find_counterfactual
from stagkit.explain.motion_decomposition import SIDED_AUS, make_templates
from stagkit.network.hooks import ProbeError, clamp_aus, cut_au_edges, cut_edges, intervene
from tests.tiny import make_batch, make_model


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
    assert "the still face is 'negative' too" in str(flip)


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


def test_clamps_are_the_probes():
    model, batch = make_model(), make_batch()
    more = (batch.mask, batch.times_ms)
    with torch.no_grad():
        with intervene(model, clamp_aus({12: 0.9})):
            expected = model.logits(batch.x, *more)
        assert torch.allclose(clamp(model, batch, au=12, value=0.9), expected)
        with intervene(model, cut_edges([("chin", "lower_lip")])):
            expected = model.logits(batch.x, *more)
        assert torch.allclose(clamp(model, batch, edge=[("chin", "lower_lip")]), expected, atol=1e-6)
        x = batch.x.clone()
        x[:, 1, ATLAS.index("chin")] = 0
        assert torch.allclose(clamp(model, batch, region="chin", frame=1), model.logits(x, *more), atol=1e-6)
        assert torch.allclose(clamp(model, batch, value=0.3), model.logits(batch.x, *more))
    with pytest.raises(ExplainError, match="no 'ear'"):
        clamp(model, batch, region="ear")
    with pytest.raises(ExplainError, match="frames 0 to 3"):
        clamp(model, batch, frame=9)
    with pytest.raises(ProbeError, match="no region 'ear'"):
        clamp(model, batch, edge=[("ear", "chin")])


def test_au_edges_are_cut_one_way():
    model, batch = make_model(), make_batch()
    with torch.no_grad():
        whole = model(batch.x, batch.mask, batch.times_ms)
        with intervene(model, cut_au_edges([(12, 6), ("AU04", "AU07")])):
            cut = model(batch.x, batch.mask, batch.times_ms)
    gone = (cut.au_edges == 0) & (whole.au_edges > 0)
    pairs = {tuple(p[2:]) for p in gone.nonzero().tolist()}
    names = {(AU_LABELS[t], AU_LABELS[s]) for t, s in pairs}
    assert names == {("AU12", "AU06"), ("AU04", "AU07")}
    assert not torch.allclose(cut.edges, whole.edges)
    with pytest.raises(ProbeError, match="no action unit 3"):
        cut_au_edges([(3, 12)])
    assert np.isfinite(cut.logits.numpy()).all()
