"""An intervention does what its words say, alone and among others; without one, the network is unchanged."""

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.interventions import (
    compute_ablations,
    compute_edge_ablation,
    compute_logits,
    compute_probabilities,
    make_hooks,
    read_intervention,
)
from stagkit.explain.methods import compute_au_edge_attribution
from stagkit.network.hooks import intervene, record
from stagkit.network.model import Stag
from tests.small import make_dataset, make_small_model


@pytest.fixture(scope="module")
def model():
    return make_small_model()


@pytest.fixture(scope="module")
def one():
    return make_dataset().batch([1])


def logits(model, one, **given):
    with torch.no_grad():
        return model.logits(given.get("x", one.x), given.get("mask", one.mask), one.times_ms)[0].numpy()


def test_without_a_change_it_is_the_network(model, one):
    np.testing.assert_allclose(compute_logits(model, one, [[]])[0], logits(model, one), atol=1e-6)
    assert compute_probabilities(model, one).sum() == pytest.approx(1, abs=1e-12)


def test_every_kind_of_change_is_what_the_probes_do(model, one):
    """Each against its own, independent way of doing it; and all in one call as in calls of their own."""
    chin = ATLAS.index("chin")
    mask, x = one.mask.clone(), one.x.clone()
    mask[:, :, chin] = False
    x[:, :, chin] *= 0.5
    no_frame, still = one.mask.clone(), one.x.clone()
    no_frame[:, 1] = False
    still[:, 1] = 0

    def clamped(probe, level, *place):
        def change(value):
            value = value.clone()
            value[(..., *place)] = level
            return value

        with intervene(model, {probe: change}):
            return logits(model, one)

    edge, edge_clamped = (clamped("graph.edges", level, ATLAS.index("cheek_L"), chin) for level in (0, 0.5))
    au_edge = clamped("au.edges", 0, AU_LABELS.index("AU06"), AU_LABELS.index("AU12"))
    no_au, au = (clamped("au.logits*", np.log(p / (1 - p)), AU_LABELS.index("AU12")) for p in (0.001, 0.9))
    cases = {
        ("region", "cheek_L", "chin"): edge,
        ("region", "cheek_L", "chin", 0.5): edge_clamped,
        ("au", "AU06", "AU12"): au_edge,
        ("au", "AU12"): no_au,
        ("au", "AU12", 0.9): au,
        ("region", "chin"): logits(model, one, mask=mask),
        ("region", "chin", 0.5): logits(model, one, x=x),
        ("frame", 1): logits(model, one, mask=no_frame),
        ("frame", 1, 0): logits(model, one, x=still),
    }
    together = compute_logits(model, one, [[change] for change in cases])
    for change, answer, wanted in zip(cases, together, cases.values(), strict=True):
        np.testing.assert_allclose(answer, wanted, atol=2e-6, err_msg=str(change))
        np.testing.assert_allclose(compute_logits(model, one, [[change]])[0], wanted, atol=2e-6)
    assert np.ptp(together, axis=0).max() > 1e-3, "the changes are different from each other"
    both = compute_logits(model, one, [[("frame", 1), ("region", "chin")]])[0]
    mask[:, 1] = False
    np.testing.assert_allclose(both, logits(model, one, mask=mask), atol=2e-6)


def test_single_cuts_are_each_cut_alone(model, one):
    cuts = compute_ablations(model, one)
    np.testing.assert_allclose(cuts.base, logits(model, one), atol=1e-6)
    target = int(cuts.base.argmax())
    np.testing.assert_allclose(cuts.effects("edges", target), compute_edge_ablation(model, one)[0], atol=2e-6)
    i, j = AU_LABELS.index("AU06"), AU_LABELS.index("AU12")
    for table, change in (
        (cuts.au_edges[i, j], ["au", "AU06", "AU12"]),
        (cuts.aus[j], ["au", "AU12"]),
        (cuts.regions[ATLAS.index("chin")], ["region", "chin"]),
        (cuts.frames[2], ["frame", 2]),
    ):
        np.testing.assert_allclose(table, compute_logits(model, one, [[change]])[0], atol=1e-6)


def test_a_network_without_au_edges_has_no_table_of_them(one):
    model = make_small_model(connectivity="fixed")
    cuts = compute_ablations(model, one)
    assert cuts.au_edges is None and cuts.effects("au_edges", 0) is None
    anatomy = ATLAS.anatomy > 0
    assert np.abs(cuts.effects("edges", 0)[~anatomy]).max() == 0, "no edge, no effect"
    with pytest.raises(Exception, match="no edges between action units"):
        compute_logits(model, one, [[["au", "AU06", "AU12"]]])
    with pytest.raises(Exception, match="no edges between action units"):
        compute_au_edge_attribution(model, one, 0)


def test_attribution_of_au_edges_is_complete(model, one):
    values, delta = compute_au_edge_attribution(model, one, 0)
    with intervene(model, {"au.edges": 0.0}):
        gap = logits(model, one)[0]
    with torch.no_grad():
        gap = float(model.logits(one.x, one.mask, one.times_ms)[0, 0]) - float(gap)
    assert values.shape == (one.x.shape[1], 17, 17)
    assert values.sum() == pytest.approx(gap, abs=max(1e-6, 0.02 * abs(gap)))
    assert abs(delta) <= max(1e-6, 0.02 * abs(gap))


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (["region"], "is no intervention"),
        ("chin", "is no intervention"),
        (["tissue", "chin"], "'region', 'au', 'frame'"),
        (["region", "ear"], "'ear'"),
        (["region", "chin", "ear"], "'ear'"),
        (["au", "AU99"], "'AU12'"),
        (["au", "AU12", 1.5], "from 0 to 1"),
        (["au", "AU12", "AU06", "AU04"], "one or two names"),
        (["region", "chin", -1], "0 or more"),
        (["region", "chin", float("nan")], "0 or more"),
        (["frame", "first"], "number of a frame"),
        (["frame", -1], "number of a frame"),
        (["frame", True], "number of a frame"),
    ],
)
def test_a_wrong_intervention_is_refused(entry, says):
    with pytest.raises(Exception, match=says):
        read_intervention(entry)


def test_a_frame_beyond_the_clip_and_an_empty_clip_are_told(model, one):
    with pytest.raises(Exception, match=r"frames 0\.\.2"):
        compute_logits(model, one, [[["frame", 3]]])
    with pytest.raises(Exception, match="leave at least one"):
        compute_logits(model, one, [[["frame", k] for k in range(3)]])
    with pytest.raises(Exception, match="batch of one clip"):
        compute_logits(model, make_dataset().batch([0, 1]), [[]])


def test_reading_what_was_read_interventions_nothing():
    for entry in (["region", "chin"], ["au", "AU06", "AU12", 0.0], ["frame", 0], ["frame", 0, 0.0]):
        change = read_intervention(entry)
        assert read_intervention(change) == change


def test_hooks_for_any_batch():
    """One way only; a region without any edge gets no message; a region itself is no part of the network."""
    model, batch = make_small_model(), make_dataset().batch([0, 1])
    chin, lip = ATLAS.index("chin"), ATLAS.index("lower_lip")
    with intervene(model, make_hooks([["region", "chin", "lower_lip"], ["au", "AU12", "AU06"]])):
        out = model(batch.x, batch.mask, batch.times_ms)
    assert (out.attention["graph.0"][..., chin, lip] == 0).all() and (
        out.attention["graph.0"][..., lip, chin] > 0
    ).all()
    six, twelve = AU_LABELS.index("AU06"), AU_LABELS.index("AU12")
    assert (out.au_edges[..., twelve, six] == 0).all() and (out.au_edges[..., six, twelve] > 0).all()
    alone = make_hooks([["region", "chin", name] for name in ATLAS.names])
    with intervene(model, alone), record(model, "graph.0.*") as seen:
        assert torch.isfinite(model.logits(batch.x, batch.mask, batch.times_ms)).all()
    assert (seen["graph.0.attn"][..., chin, :] == 0).all()
    with pytest.raises(Exception, match="part of the input"):
        make_hooks([["region", "chin"]])


def test_hooks_are_gone_after_an_error(model, one):
    before = logits(model, one)
    with pytest.raises(Exception, match="leave at least one"):
        compute_logits(model, one, [[["au", "AU12"], *(["frame", k] for k in range(3))]])
    np.testing.assert_array_equal(logits(model, one), before)
    assert one.select(torch.tensor([0])).clip_ids == one.clip_ids
    assert isinstance(model.config, StagConfig) and isinstance(model, Stag)
