"""Hidden regions: in data, in drawn clips, and in sequences, all the same ones."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.motion.rois import sample_regions
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.occlusion import PLACES, find_hidden, hide_regions
from stagkit.synthetic.sequences import make_sequences

DATA = make_sequences(PhantomConfig(subjects=2, clips=3), n_frames=4)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 0.9), st.integers(0, 2**31))
def test_a_share_of_the_regions_is_hidden_in_all_frames(share, seed):
    hidden = hide_regions(DATA, share, seed)
    n = round(share * 22)
    assert (hidden.mask.sum(2) == 22 - n).all() and (hidden.mask == hidden.mask[:, :1]).all()
    assert not hidden.x[~hidden.mask].any() and np.array_equal(hidden.x[hidden.mask], DATA.x[hidden.mask])
    more = hide_regions(DATA, min(0.9, share + 0.2), seed)
    assert not (more.mask & ~hidden.mask).any(), "a larger share hides the same regions and more"
    assert DATA.mask.all(), "the input is left alone"


def test_hidden_regions_belong_to_the_clip_and_the_seed():
    whole = hide_regions(DATA, 0.5, 3)
    part = hide_regions(DATA.select([4, 1]), 0.5, 3)
    assert np.array_equal(part.mask, whole.mask[[4, 1]])
    assert len({m.tobytes() for m in whole.mask}) == 6, "drawn per clip"
    assert not np.array_equal(whole.mask, hide_regions(DATA, 0.5, 4).mask)
    assert whole.meta["occlusion"] == {"kind": "random", "share": 0.5, "seed": 3}
    assert whole.meta["digest"] != DATA.meta["digest"]


def test_one_region_is_left_even_if_few_were_present():
    mask = np.zeros_like(DATA.mask)
    mask[:, :, [2, 5]] = True
    few = hide_regions(replace(DATA, mask=mask), 0.9, 1)
    assert few.mask.any(2).all() and not (few.mask & ~mask).any()
    empty = hide_regions(replace(DATA, mask=np.zeros_like(mask)), 0.9, 1)
    assert not empty.mask.any(), "what was not there does not appear"


def test_named_sets():
    names = {kind: set(find_hidden(kind, 0.3, 0, "s1", "c1")) for kind in PLACES}
    assert {"upper_lid_L", "lower_lid_R"} <= names["glasses"] and "cheek_L" not in names["glasses"]
    assert "glabella" in names["fringe"] and {"chin", "lip_corner_L", "lip_corner_R"} <= names["mask"]
    sides = {name[-1] for name in names["hand"] if name[-2:] in ("_L", "_R")}
    assert len(sides) == 1 and names["hand"] < names["mask"]
    drawn = {find_hidden("hand", 0.3, 0, f"s{i}", "c")[0] for i in range(20)}
    assert len(drawn) == 2, "both sides occur"
    assert find_hidden("hand", 0, 0, "s1", "c1") == find_hidden("hand", 0, 0, "s1", "c2"), "one side per subject"
    assert find_hidden("none", 0.3, 0, "s1", "c1") == ()
    with pytest.raises(StagkitError, match="expected one of none, glasses"):
        hide_regions(DATA, 0.3, 0, "scarf")
    with pytest.raises(StagkitError, match="expected 0 to 0.9"):
        hide_regions(DATA, 1.0)


@pytest.mark.parametrize("occlusion", ["glasses", "fringe", "hand", "mask", "random"])
def test_what_is_drawn_hides_the_named_regions(occlusion):
    """The share of each region's visible skin that the occlusion hides."""
    config = PhantomConfig(size=96, difficulty=0, subjects=3, clips=1, occlusion=occlusion, occluded=0.4)
    for subject in range(3):
        clip, bare = (make_clip(c, subject, 0, render=False) for c in (config, config.replace(occlusion="none")))
        newly = bare.truth.visible[0] & ~clip.truth.visible[0]
        maps = np.stack([newly, bare.truth.visible[0]])[:, None].astype(np.float32)
        squares, _ = sample_regions(maps, bare.landmarks[0], 7)
        lost, skin = squares[:, :, 0].sum((-1, -2))
        covered = dict(zip(ATLAS.names, lost / skin, strict=True))
        hidden = clip.truth.hidden
        rest = [v for name, v in covered.items() if name not in hidden]
        lowest, mean = min(covered[name] for name in hidden), np.mean([covered[name] for name in hidden])
        spill = 0.5 if occlusion == "random" else 0.35  # squares of neighbouring regions overlap
        assert lowest > 0.4 and mean > 0.65 and np.mean(rest) < spill < mean
    assert len(hidden) == {"random": 9, "hand": 6, "mask": 10, "fringe": 7, "glasses": 4}[occlusion]


def test_sequences_and_drawn_clips_hide_the_same_regions():
    config = PhantomConfig(subjects=2, clips=2, occlusion="random", occluded=0.5, size=64)
    data = make_sequences(config, n_frames=3)
    for i, place in enumerate(np.ndindex(2, 2)):
        hidden = make_clip(config, *place, render=False).truth.hidden
        assert len(hidden) == 11
        assert hidden == tuple(n for n, m in zip(data.roi_names, data.mask[i, 0], strict=True) if not m)


@pytest.mark.parametrize("occlusion", ["hand", "mask", "random"])
def test_an_opaque_shape_is_drawn(occlusion):
    config = PhantomConfig(size=64, difficulty=0)
    bare, worn = (make_clip(c, 0, 0).frames[0].astype(int) for c in (config, config.replace(occlusion=occlusion)))
    changed = (np.abs(worn - bare) > 12).any(-1)
    assert 0.02 < changed.mean() < 0.4
    nothing = make_clip(config.replace(occlusion="random", occluded=0.0), 0, 0)
    assert np.array_equal(nothing.frames[0], bare) and nothing.truth.hidden == ()
