"""Motion is shared among muscles as it should be; sums lose nothing; sentences say what the numbers say."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import (
    Attribution,
    ExplainError,
    by_au,
    by_edge,
    by_frame,
    by_muscle,
    by_roi,
    by_side,
    by_sided_au,
    by_sided_au_and_frame,
    describe_clip,
    tabulate,
    to_map,
)
from stagkit.explain.motion_decomposition import (
    MUSCLES,
    SIDED_AU_INDEX,
    SIDED_AU_MUSCLES,
    SIDED_AUS,
    compute_activity,
    compute_au_shares,
    make_templates,
)


def make_attribution(values=None, flow=None, axes="clip time roi chan py px", gap=None, **changes) -> Attribution:
    """Two clips of three frames 20 ms apart; classes 'negative' and 'happiness', the second explained."""
    rng = np.random.default_rng(0)
    values = rng.normal(size=(2, 3, 22, 3, 2, 2)).astype(np.float32) if values is None else values.astype(np.float32)
    whole = values.reshape(2, -1).sum(1, dtype=float)
    given = {
        "values": values,
        "inputs": ("x",),
        "method": "integrated gradients",
        "settings": {"n_steps": 8},
        "target": np.ones(2, np.int64),
        "baseline": "zero flow (no motion)",
        "logit_difference": whole if gap is None else np.asarray(gap, float),
        "convergence_delta": np.zeros(2),
        "clip_ids": ("a", "b"),
        "classes": ("negative", "happiness"),
        "roi_names": ATLAS.names,
        "times_ms": np.tile(np.array([20.0, 40.0, 60.0], np.float32), (2, 1)),
        "mask": np.ones((2, 3, 22), bool),
        "flow": rng.normal(size=(2, 3, 22, 2)).astype(np.float32) if flow is None else flow.astype(np.float32),
        "axes": axes,
    }
    return Attribution(**{**given, **changes})


def move(*units: str) -> np.ndarray:
    """Flow "clip time roi 2" of these units, at full strength in every frame."""
    templates = make_templates()
    return np.tile(sum(templates[SIDED_AUS.index(u)] for u in units), (2, 3, 1, 1))


def test_units_are_named_once_and_the_last_is_none():
    assert len(set(SIDED_AUS)) == len(SIDED_AUS) == 30
    assert SIDED_AUS[-1] == SIDED_AU_MUSCLES[-1] == MUSCLES[-1] == "none"
    assert AU_LABELS[SIDED_AU_INDEX[SIDED_AUS.index("AU12L")]] == "AU12"
    assert SIDED_AU_MUSCLES[SIDED_AUS.index("AU12L")] == "left zygomaticus major"
    assert SIDED_AU_MUSCLES[SIDED_AUS.index("AU23")] == SIDED_AU_MUSCLES[SIDED_AUS.index("AU24")] == "orbicularis oris"


def test_sides_are_the_subjects():
    """The left lip corner puller moves left regions alone, and a mirrored face swaps the two."""
    templates = make_templates()
    left, right = (templates[SIDED_AUS.index(f"AU12{s}")] for s in "LR")
    moved = {ATLAS.names[n] for n in np.flatnonzero(np.linalg.norm(left, axis=1))}
    assert moved
    assert all(name.endswith("_L") for name in moved)
    assert np.allclose(left[ATLAS.mirror] * [-1, 1], right)


@pytest.mark.parametrize("unit", SIDED_AUS[:-1])
def test_a_unit_alone_is_found(unit):
    """Motion made of one unit goes to that unit more than to any other."""
    flow = move(unit)
    activity = compute_activity(flow, np.ones(flow.shape[:3], bool))
    assert SIDED_AUS[activity[0, 0].argmax()] == unit
    shares = compute_au_shares(flow, np.ones(flow.shape[:3], bool))
    speed = np.linalg.norm(flow, axis=-1)
    assert SIDED_AUS[np.einsum("ctn,ctnu->u", speed, shares).argmax()] == unit


def test_two_units_that_share_regions_are_told_apart():
    """Both raise the cheek; AU12 pulls the corners too."""
    flow = move("AU12L", "AU12R")
    activity = compute_activity(flow, np.ones(flow.shape[:3], bool))[0, 0]
    assert activity[SIDED_AUS.index("AU12L")] > 5 * activity[SIDED_AUS.index("AU06L")]
    flow = move("AU06L", "AU06R")
    activity = compute_activity(flow, np.ones(flow.shape[:3], bool))[0, 0]
    assert activity[SIDED_AUS.index("AU06L")] > 5 * activity[SIDED_AUS.index("AU12L")]


@settings(max_examples=25, deadline=None)
@given(scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
def test_shares_do_not_depend_on_the_unit_of_motion(scale, seed):
    flow = np.random.default_rng(seed).normal(size=(1, 1, 22, 2))
    mask = np.ones((1, 1, 22), bool)
    shares = compute_au_shares(flow, mask)
    assert shares.min() >= 0
    assert np.allclose(shares.sum(-1), 1)
    assert np.allclose(compute_au_shares(flow * scale, mask), shares, atol=1e-4)


def test_what_does_not_move_belongs_to_nobody():
    shares = compute_au_shares(np.zeros((1, 2, 22, 2)), np.ones((1, 2, 22), bool))
    assert (shares[..., -1] == 1).all()


def test_every_sum_is_complete():
    one = make_attribution()
    whole = one.values.sum((1, 2, 3, 4, 5), dtype=float)
    for table in (by_roi, by_au, by_muscle, by_frame, by_side, by_sided_au):
        assert table(one).sum(1) == pytest.approx(whole, abs=1e-5), table.__name__
    assert by_sided_au_and_frame(one).sum(2) == pytest.approx(by_frame(one), abs=1e-5)
    assert to_map(one).sum((1, 2)) == pytest.approx(whole, abs=1e-5)


def test_sides_by_hand():
    values = np.zeros((2, 3, 22, 3, 2, 2))
    values[0, 1, ATLAS.index("cheek_L"), 0, 0, 0] = 2.0
    values[0, 2, ATLAS.index("chin"), 1, 1, 1] = -0.5
    assert by_side(make_attribution(values))[0] == pytest.approx([2.0, -0.5, 0.0])


def test_sums_of_coarser_attributions():
    """Regions alone have no frames, edges have no regions: said, not guessed."""
    regions = make_attribution(np.ones((2, 22)), axes="clip roi")
    assert by_roi(regions).sum() == 44
    with pytest.raises(ExplainError, match="no axis 'time'"):
        by_frame(regions)
    assert set(tabulate(regions)) == {"by_roi", "by_side", "clips"}
    assert to_map(regions).sum((1, 2)) == pytest.approx([22, 22])
    frames = make_attribution(np.ones((2, 3)), axes="clip time")
    assert to_map(frames).sum(2) == pytest.approx(np.ones((2, 3)))
    edges = make_attribution(np.ones((2, 3, 4)), axes="clip time edge", edge_names=("a", "b", "c", "d"))
    assert (by_edge(edges) == 3).all()
    assert set(tabulate(edges)) == {"by_frame", "by_edge", "clips"}
    units = make_attribution(np.eye(30)[[3, 29]], axes="clip sided_au")
    assert by_au(units)[0].argmax() == SIDED_AU_INDEX[3]
    assert by_au(units)[1, -1] == 1
    evidence = make_attribution(np.ones((2, 3, 17)), axes="clip time au")
    chin = to_map(make_attribution(np.eye(17)[[[AU_LABELS.index("AU17")] * 3] * 2], axes="clip time au"))
    assert chin.sum((1, 2)) == pytest.approx([3.0, 3.0])
    assert ATLAS.names[chin[0, 0].argmax()] == "chin", "AU evidence is drawn where the AU acts"
    assert list(tabulate(edges)["by_edge"].columns) == ["a", "b", "c", "d"]
    with pytest.raises(ExplainError, match="no axis 'roi'"):
        to_map(edges)
    assert by_au(evidence)[0] == pytest.approx([3.0] * 17 + [0.0])


def test_terms_of_an_au_are_of_the_side_of_their_region():
    """AU12 at the left corner is the left muscle; on the midline both by half; AU17 has no sides."""
    values = np.zeros((2, 3, 22, 17))
    values[0, 1, ATLAS.index("lip_corner_L"), AU_LABELS.index("AU12")] = 3.0
    values[0, 1, ATLAS.index("glabella"), AU_LABELS.index("AU04")] = 1.0
    values[0, 1, ATLAS.index("lip_corner_R"), AU_LABELS.index("AU17")] = 0.25
    terms = make_attribution(values, axes="clip time roi au")
    sided = dict(zip(SIDED_AUS, by_sided_au(terms)[0].tolist(), strict=True))
    assert {name: v for name, v in sided.items() if v} == {"AU12L": 3.0, "AU04L": 0.5, "AU04R": 0.5, "AU17": 0.25}
    assert by_au(terms)[0, AU_LABELS.index("AU12")] == 3.0 and not by_au(terms)[:, -1].any()
    assert to_map(terms)[0, 1, ATLAS.index("glabella")] == 1.0
    assert describe_clip(terms).startswith("left zygomaticus major carries +3.0 of the +4.2 logits for happiness")
    for table in (by_roi, by_au, by_muscle, by_frame, by_side, by_sided_au):
        assert table(terms).sum(1) == pytest.approx([4.25, 0]), table.__name__


def test_the_sentence():
    """Corners pulled up on both sides in the last two frames, worth 1.8 of 2.3 logits."""
    flow = move("AU12L", "AU12R")
    values = np.zeros((2, 3, 22, 3, 2, 2))
    values[:, 1:, [ATLAS.index("lip_corner_L"), ATLAS.index("lip_corner_R")], 0, 0, 0] = 0.45
    text = describe_clip(make_attribution(values, flow, gap=[2.3, 2.3]))
    assert text.startswith("left and right zygomaticus major carry +1.")
    assert "of the +2.3 logits for happiness, mostly" in text
    assert text.endswith("ms after onset.")
    values[:, :, ATLAS.index("lip_corner_R")] = 0
    assert describe_clip(make_attribution(values, flow)).startswith("left zygomaticus major carries +")
    assert "against happiness" in describe_clip(make_attribution(-values, flow))


def test_the_sentence_names_nobody_where_nobody_is_known():
    """Values where nothing moved cannot be a muscle's."""
    text = describe_clip(make_attribution(np.abs(make_attribution().values), np.zeros((2, 3, 22, 2))))
    assert text.startswith("no muscle carries")


def test_mirrored_motion_gives_mirrored_muscles():
    one = make_attribution()
    swap = ATLAS.mirror
    other = replace(one, values=one.values[:, :, swap], flow=one.flow[:, :, swap] * np.float32([-1, 1]))
    names = [m.replace("left", "X").replace("right", "left").replace("X", "right") for m in MUSCLES]
    assert by_muscle(other) == pytest.approx(by_muscle(one)[:, [MUSCLES.index(n) for n in names]], abs=1e-4)
