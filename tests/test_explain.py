"""Attributions: right on a model solved on paper, complete, summed without loss, refused where they are not complete."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.explain.aggregate import ExplainError, by_au, by_frame, by_roi, tabulate, to_map
from stagkit.explain.attribution import attribute, check_complete, load_attribution, save_attribution
from stagkit.explain.evidence import Evidence
from stagkit.explain.run import describe_evidence
from stagkit.plots.attributions import draw_attributions, plot_attribution
from tests.small import Linear, Product, make_dataset, train_small


@pytest.fixture(scope="module")
def data():
    return make_dataset()


@pytest.fixture(scope="module")
def trained(data):
    return train_small(data)


def test_linear_model_on_paper(data):
    batch = data.batch([0, 1])
    result = attribute(Linear().eval(), batch, target=0)
    expected = 2 * data.x[:2, 1, ATLAS.index("lip_corner_L"), 0, 2, 2]
    assert result.values[:, 1, ATLAS.index("lip_corner_L"), 0, 2, 2] == pytest.approx(expected, rel=1e-5)
    assert np.count_nonzero(result.values) == 2
    assert by_roi(result)[:, ATLAS.index("lip_corner_L")] == pytest.approx(expected, rel=1e-5)
    assert by_frame(result)[:, 1] == pytest.approx(expected, rel=1e-5)
    assert result.logit_difference == pytest.approx(expected, rel=1e-5)


def test_product_is_shared_in_halves(data):
    batch = data.batch([3])
    result = attribute(Product().eval(), batch, target=0)
    half = data.x[3, 0, ATLAS.index("glabella"), 1, 0, 0] * data.x[3, 0, ATLAS.index("chin"), 1, 0, 0] / 2
    assert by_roi(result)[0, ATLAS.index("glabella")] == pytest.approx(half, rel=1e-4)
    assert by_roi(result)[0, ATLAS.index("chin")] == pytest.approx(half, rel=1e-4)


def test_integrated_gradients_by_their_definition(data, trained):
    """The average gradient along the straight path, by hand with the same points, times the clip."""
    batch = data.batch([5])
    points, weights = np.polynomial.legendre.leggauss(32)
    total = torch.zeros_like(batch.x)
    for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
        x = (float(point) * batch.x).requires_grad_()
        trained.logits(x, batch.mask, batch.times_ms)[0, 1].backward()
        total += float(weight) * x.grad
    ours = attribute(trained, batch, "integrated gradients", target=1, n_steps=32)
    assert np.allclose(ours.values, (total * batch.x).numpy(), atol=1e-5)


@pytest.mark.parametrize("method", [None, "integrated gradients"])
def test_complete_on_the_network(data, trained, method):
    result = attribute(trained, data.batch(), method, n_steps=64)
    assert (np.abs(result.convergence_delta) < 0.01 * np.abs(result.logit_difference) + 1e-3).all()
    logits = trained.logits(*(getattr(data.batch(), n) for n in ("x", "mask", "times_ms"))).detach().numpy()
    assert (result.target == logits.argmax(1)).all()


@pytest.mark.parametrize("method", [None, "integrated gradients"])
def test_sums_lose_nothing(data, trained, method):
    result = attribute(trained, data.batch(), method, n_steps=16)
    total = result.values.reshape(len(result), -1).sum(1, dtype=float)
    for part in (by_roi(result), by_au(result), by_frame(result), to_map(result).sum(2)):
        assert part.sum(1) == pytest.approx(total, abs=1e-5)
    tables = tabulate(result)
    assert list(tables["by_au"].columns) == [*AU_LABELS, "none"]
    assert list(tables["by_roi"].columns) == list(ATLAS.names)


def test_the_planted_region_carries_the_decision(data, trained):
    """Clips of the second class move at the lip corners and the cheeks (AU12), and that is where the logit comes from."""
    index = [i for i in range(18, 24) if data.label[i] == 1]
    result = attribute(trained, data.batch(index), target=1)
    au12 = ATLAS.incidence[AU_LABELS.index("AU12")] > 0
    brow = ATLAS.incidence[AU_LABELS.index("AU04")] > 0
    mass = by_roi(result).mean(0)
    assert mass[au12].sum() > 2 * abs(mass[brow].sum())
    assert by_au(result)[:, :-1].mean(0).argmax() in (AU_LABELS.index("AU12"), AU_LABELS.index("AU20"))


def test_au_shares_follow_the_direction(data):
    """The same value in a lip corner goes to AU12 when it moved up and out, to AU15 when it moved down."""
    result = attribute(Linear().eval(), data.batch([0]), target=0)
    corner = ATLAS.index("lip_corner_L")
    for direction, label in (((0.7, -0.7), "AU12"), ((0.15, 1.0), "AU15")):
        flow = np.zeros_like(result.flow)
        flow[:, :, corner] = direction
        sums = by_au(replace(result, flow=flow))[0]
        assert np.abs(sums).argmax() == AU_LABELS.index(label)
    still = by_au(replace(result, flow=np.zeros_like(result.flow)))[0]
    assert np.abs(still[:-1]).max() < 1e-9, "what did not move belongs to no AU"
    assert still[-1] == pytest.approx(by_roi(result).sum())


@pytest.mark.parametrize("method", [None, "integrated gradients"])
def test_hidden_regions_get_nothing(data, trained, method):
    batch = data.batch([0])
    mask = batch.mask.clone()
    mask[:, :, 3] = False
    result = attribute(trained, replace(batch, mask=mask), method)
    assert not result.values[:, :, 3].any()
    assert result.relative_delta[0] < 0.01


def test_incomplete_is_refused_with_the_remedy(data):
    complete = attribute(Linear().eval(), data.batch([0]), target=0)
    bad = replace(complete, convergence_delta=0.2 * complete.logit_difference)
    with pytest.raises(ExplainError, match=r"misses 20% .* try n_steps=128"):
        check_complete(bad)
    with pytest.raises(ExplainError, match="misses 20%"):
        plot_attribution(bad)
    check_complete(complete)


def test_incomplete_clips_are_not_drawn(data, tmp_path):
    result = attribute(Linear().eval(), data.batch([0, 2]), target=0)
    result = replace(result, convergence_delta=result.logit_difference * np.array([0.2, 0.0]))
    assert [p.stem for p in draw_attributions(result, tmp_path)] == [result.clip_ids[1]]


def test_bad_requests_are_told(data, trained):
    with pytest.raises(ExplainError, match="expected one of exact terms"):
        attribute(trained, data.batch([0]), method="deeplift")
    with pytest.raises(ExplainError, match="classes 0 to 1"):
        attribute(trained, data.batch([0]), target=2)
    with pytest.raises(ExplainError, match="training mode"):
        attribute(Linear().train(), data.batch([0]))


def test_saved_and_loaded(data, trained, tmp_path):
    result = attribute(trained, data.batch([0, 1]), "integrated gradients", n_steps=8, run="r")
    save_attribution(result, tmp_path / "a.npz")
    again = load_attribution(tmp_path / "a.npz")
    assert np.array_equal(again.values, result.values)
    assert again.settings == {"n_steps": 8}
    assert (again.clip_ids, again.run, again.classes) == (result.clip_ids, "r", result.classes)
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:500])
    with pytest.raises(ExplainError, match="damaged"):
        load_attribution(tmp_path / "a.npz")
    with pytest.raises(ExplainError, match="run 'stagkit explain' first"):
        load_attribution(tmp_path / "none.npz")


def test_the_words_claim_no_more_than_was_done(data, trained):
    text = describe_evidence(Evidence(attribute(trained, data.batch([0, 1])), {}))
    assert "No control" in text
    assert "exact terms against zero flow" in text
