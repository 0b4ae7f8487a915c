"""The systems of the field: what their parts mean, their sizes, and that each learns from its training part alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stagkit.baselines import SYSTEMS, choose_systems, fit_network, predict
from stagkit.baselines.apexflow import OFFApexNet
from stagkit.baselines.evolution import PLACES, EvolutionTransformer, compute_local_motion
from stagkit.baselines.fdp import FDP, make_dynamic_image, rank_loss, stack_frames
from stagkit.baselines.htnet import HTNet
from stagkit.baselines.mdmo import compute_main_motion, compute_mdmo
from stagkit.baselines.mesti_meganet import GradientGate, MEGANet
from stagkit.baselines.plain import GridMLP, compute_grid
from stagkit.baselines.rank_pooling import compute_mesti_weights, compute_rank_weights, pool_frames
from stagkit.baselines.ststnet import STSTNet
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.evaluation.sealed import fit_and_predict
from stagkit.evaluation.splits import make_folds
from tests.blind import check_blind
from tests.small import make_dataset

# ── rank pooling ─────────────────────────────────────────────────────────────────────────────────────────────────────

lengths = st.integers(1, 40).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n - 1)))


def test_rank_weights_of_three_and_eight_frames():
    np.testing.assert_allclose(compute_rank_weights(3), [-4 / 3, 2 / 3, 2 / 3])
    expected = [-8.461, -1.461, 1.039, 2.039, 2.289, 2.089, 1.589, 0.875]
    np.testing.assert_allclose(compute_rank_weights(8), expected, atol=5e-4)
    assert compute_mesti_weights(8, 3).tolist() == [-3, -1, 1, 7, 2, 0, -2, -4]


@given(st.integers(1, 40))
def test_rank_weights_are_the_sum_over_all_pairs(n):
    """Later minus earlier over every pair, of frames and of the means of all frames up to each."""
    frames = np.eye(n)
    means = np.cumsum(frames, 0) / np.arange(1, n + 1)[:, None]
    for values, prefix in ((frames, False), (means, True)):
        pairs = sum((values[q] - values[t] for t in range(n) for q in range(t + 1, n)), np.zeros(n))
        np.testing.assert_allclose(compute_rank_weights(n, prefix), pairs, atol=1e-9)


@given(lengths, st.booleans())
def test_mesti_weights(length, prefix):
    n, apex = length
    weights = compute_mesti_weights(n, apex, prefix)
    assert abs(weights.sum()) < 1e-9, "a still face gives an empty picture"
    np.testing.assert_allclose(weights[::-1], compute_mesti_weights(n, n - 1 - apex, prefix), atol=1e-9)
    np.testing.assert_allclose(compute_mesti_weights(n, n - 1, prefix), compute_rank_weights(n, prefix))
    if not prefix:
        assert weights.argmax() == apex


def test_a_movement_that_comes_and_goes_is_seen_by_mesti_and_lost_by_the_dynamic_image():
    course = np.array([0, 1, 2, 3, 4, 3, 2, 1, 0], float)
    frames = course[:, None, None] * np.ones((9, 2, 2)) + 5
    assert np.allclose(pool_frames(frames, compute_rank_weights(9, prefix=False)), 0)
    picture = pool_frames(frames, compute_mesti_weights(9, 4))
    assert (picture > 1).all() and (picture <= 4).all(), "in the unit of the frames"
    assert np.allclose(pool_frames(np.full((9, 2, 2), 7.0), compute_mesti_weights(9, 4)), 0)
    with pytest.raises(StagkitError, match="apex 9 lies outside the 9 frames"):
        compute_mesti_weights(9, 9)


# ── sizes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_sizes_are_the_published_ones():
    def count_parameters(model):
        return sum(p.numel() for p in model.parameters())

    assert count_parameters(STSTNet(3)) == 1683
    assert abs(count_parameters(EvolutionTransformer(4, ATLAS.names)) / 704_772 - 1) < 0.05
    assert abs(count_parameters(OFFApexNet(3)) / 2.66e6 - 1) < 0.05
    assert count_parameters(GridMLP(3, np.zeros(147), np.ones(147))) == 9667
    assert count_parameters(MEGANet(3)) < 100_000 and count_parameters(HTNet(3)) < 200_000


def test_gates_and_maps_have_the_shapes_they_promise():
    x, mask = torch.randn(2, 1, 1, 3, 28, 28), torch.ones(2, 1, 1, dtype=torch.bool)
    times = torch.zeros(2, 1)
    for model in (STSTNet(4), OFFApexNet(4), HTNet(4), MEGANet(4)):
        assert model.eval().logits(x, mask, times).shape == (2, 4)
        with pytest.raises(StagkitError, match="reads one map of the whole face"):
            model.logits(torch.randn(2, 3, 22, 3, 5, 5), torch.ones(2, 3, 22, dtype=torch.bool), torch.zeros(2, 3))
    parts = MEGANet(3).eval()(x, mask, times).parts
    assert parts["gate.0"].shape == (2, 16, 28, 28) and parts["gate.2"].shape == (2, 64, 7, 7)
    assert all(0 < gate.min() and gate.max() < 2 for gate in parts.values())


def test_the_gate_sees_gradients():
    """A ramp of 1 a px has the gradient 1 everywhere, whichever way it runs; a flat image has none."""
    gate, ramp = GradientGate(2), torch.arange(6.0).expand(6, 6)
    gradients = gate.gradients(torch.stack([ramp, ramp.T])[None])[0]
    assert torch.allclose(gradients[:, 1:-1, 1:-1], torch.ones(2, 4, 4), atol=1e-5)
    assert gate.gradients(torch.full((1, 2, 6, 6), 3.0)).max() < 1e-5


def test_htnet_areas_are_quadrants():
    """With the blocks and the join off, tokens come back to where they were taken: areas are cut and laid out alike."""
    model = HTNet(3).eval()
    model.areas, model.face_blocks = torch.nn.ModuleList(), torch.nn.ModuleList()
    torch.nn.init.zeros_(model.position)
    seen = []
    model.join = torch.nn.Sequential(model.join, torch.nn.Identity())
    model.join.register_forward_hook(lambda module, inputs, output: seen.append(inputs[0]))
    x = torch.randn(1, 1, 1, 3, 28, 28)
    model.logits(x, torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1))
    assert torch.allclose(seen[0], model.embed(x[:, 0, 0]), atol=1e-6)


# ── evolution transformer ────────────────────────────────────────────────────────────────────────────────────────────


def test_local_motion_is_that_of_the_pixels_that_move_most():
    patch = torch.zeros(1, 3, 2, 5)
    patch[0, 0, 0, :3] = torch.tensor([4.0, 6.0, 8.0])  # three of ten px move: 30 %
    patch[0, 2] = 99.0  # strain is not looked at
    assert compute_local_motion(patch).tolist() == [[6.0, 0.0]]


def test_any_length_and_padding_changes_nothing():
    torch.manual_seed(0)
    model = EvolutionTransformer(3, ATLAS.names).eval()
    x, mask, times = torch.randn(2, 7, 22, 3, 5, 5), torch.ones(2, 7, 22, dtype=torch.bool), torch.zeros(2, 7)
    whole = model.logits(x[:, :4], mask[:, :4], times[:, :4])
    mask[:, 4:] = False
    padded = model(x, mask, times)
    assert torch.allclose(whole, padded.logits, atol=1e-5)
    assert torch.allclose(padded.parts["time.0"][..., 5:], torch.zeros(1)), "nobody looks at padding"
    assert model.logits(x[:, :1], mask[:, :1], times[:, :1]).isfinite().all(), "one frame will do"
    positions = model.interpolate_positions(mask.any(2))
    assert torch.allclose(positions[0, 0], model.positions[0]) and torch.allclose(positions[0, 3], model.positions[-1])


def test_a_head_that_moves_as_a_whole_is_no_motion():
    model = EvolutionTransformer(3, ATLAS.names).eval()
    mask, times = torch.ones(1, 3, 22, dtype=torch.bool), torch.zeros(1, 3)
    still, drift = torch.zeros(1, 3, 22, 3, 5, 5), torch.zeros(1, 3, 22, 3, 5, 5)
    drift[:, :, :, 0] = 4.0
    assert torch.allclose(model.logits(still, mask, times), model.logits(drift, mask, times), atol=1e-5)
    assert len(set(PLACES)) == 18
    with pytest.raises(StagkitError, match="has no region brow_outer_R"):
        EvolutionTransformer(3, ("face",))


# ── FDP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ranking_loss_by_hand():
    """Three frames up to the apex with scores 0, 1, 3, one after it, one that is padding: three pairs count."""
    scores = torch.tensor([[0.0, 1.0, 3.0, -9.0, 9.0]])
    times = torch.tensor([[-40.0, -20.0, 0.0, 20.0, -10.0]])
    frames = torch.tensor([[True, True, True, True, False]])
    expected = np.mean([np.log1p(np.exp(-d)) for d in (1.0, 3.0, 2.0)])
    assert float(rank_loss(scores, times, frames)) == pytest.approx(expected, rel=1e-5)
    assert float(rank_loss(-scores, times, frames)) > float(rank_loss(scores, times, frames))
    assert float(rank_loss(scores, times, torch.zeros_like(frames))) == 0


def test_the_published_axes_are_scrambled():
    """Tensors whose value is their frame number: only the right way has the frames on the last axis."""
    frames = torch.arange(8.0)[None, :, None, None].expand(1, 8, 64, 64)
    right, wrong = stack_frames(frames), stack_frames(frames, as_published=True)
    assert right.shape == wrong.shape == (1, 64, 64, 8)
    assert torch.equal(right[0, 5, 7], torch.arange(8.0))
    for t in range(8):
        assert (wrong[0, 8 * t : 8 * t + 8] == t).all(), "frame t lies in rows 8t to 8t + 7"
    pixels = torch.arange(64.0 * 64).reshape(1, 1, 64, 64).expand(1, 8, 64, 64)
    assert torch.equal(stack_frames(pixels, as_published=True)[0, 0, 0], torch.arange(8.0)), "neighbours, not times"


def test_fdp_reads_any_length_as_the_paper_and_one_length_as_published():
    torch.manual_seed(0)
    x, mask, times = torch.rand(2, 5, 1, 3, 64, 64), torch.ones(2, 5, 1, dtype=torch.bool), torch.arange(5.0) - 2
    times = times.expand(2, 5)
    model = FDP(3).eval()
    whole = model.logits(x[:, :3], mask[:, :3], times[:, :3])
    mask[:, 3:] = False
    output = model(x, mask, times)
    assert torch.allclose(whole, output.logits, atol=1e-5)
    assert output.parts["scores"].shape == (2, 5) and output.parts["image"].shape == (2, 64, 64)
    published = FDP(3, 5, as_published=True).eval()
    assert "scores" not in published(x, mask, times).parts
    with pytest.raises(StagkitError, match="built for 5 frames, the clips have 4"):
        published(x[:, :4], mask[:, :4], times[:, :4])


def test_the_dynamic_image_is_bilens():
    grey, frames = torch.rand(1, 6, 4, 4), torch.tensor([[True] * 5 + [False]])
    image = np.tensordot(compute_rank_weights(5), grey[0, :5].numpy(), 1)
    expected = (image - image.min()) / (image.max() - image.min())
    np.testing.assert_allclose(make_dynamic_image(grey, frames)[0].numpy(), expected, atol=1e-5)


# ── plain ones ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_main_direction():
    patch = np.zeros((1, 3, 1, 4))
    patch[0, :2, 0] = [[0, 0.2, 0, -1], [-3, -3, -5, 0]]  # three px up, one to the left
    motion = compute_main_motion(patch)
    np.testing.assert_allclose(motion, [[0.2 / 3, -11 / 3]], atol=1e-6)
    data = make_dataset(2, 2, 3)
    padded = np.concatenate([data.x, np.zeros_like(data.x)], 1)
    np.testing.assert_allclose(compute_mdmo(data.x), compute_mdmo(padded), atol=1e-6)


def test_the_grid_is_read_cell_by_cell():
    x = np.zeros((1, 1, 1, 3, 28, 28), np.float32)
    x[0, 0, 0, 2, 4:8, 24:28] = 1.0  # strain in the second row, last column
    grid = compute_grid(x)[0].reshape(7, 7, 3)
    assert grid[1, 6].tolist() == [0, 0, 1] and grid.sum() == 1
    model = GridMLP(3, np.zeros(147), np.ones(147)).eval()
    mask, times = torch.ones(1, 1, 1, dtype=torch.bool), torch.zeros(1, 1)
    small = torch.tensor(grid.reshape(1, 1, 49, 3, 1, 1), dtype=torch.float32)
    one = model.logits(torch.tensor(x), mask, times)
    assert torch.allclose(one, model.logits(small, torch.ones(1, 1, 49, dtype=torch.bool), times), atol=1e-6)
    with pytest.raises(StagkitError, match="cannot be cut into a grid"):
        compute_grid(np.zeros((1, 1, 1, 3, 30, 30)))


# ── training ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def make_views(seed=0):
    """An easy set in every view: classes differ in which half of the face moves; four people, 24 clips."""
    data, rng = make_dataset(4, 6, 4, seed=seed), np.random.default_rng(seed)
    views = {"regions": data, "time_series": data}

    def picture(side: int, noise: float) -> np.ndarray:
        x = noise * rng.standard_normal((24, 1, 1, 3, side, side)).astype(np.float32)
        for i, label in enumerate(data.label):
            x[i, 0, 0, :2, label * side // 2 : (label + 1) * side // 2] += 1.0
        return x

    def show(x: np.ndarray, times: np.ndarray):
        mask = np.ones(x.shape[:3], bool)
        return replace(data, x=x, mask=mask, times_ms=times.astype(np.float32), roi_names=("face",))

    one = np.zeros((24, 1))
    views |= {"face": show(picture(28, 0.5), one), "mesti": show(picture(32, 0.5), one)}
    views["dynamic"] = views["mesti"]
    course = np.array([0.0, 0.4, 0.8, 1.0, 0.6])[None, :, None, None, None, None]
    film = np.clip(0.4 + 0.3 * course * picture(64, 0.2) + 0.02 * rng.standard_normal((24, 5, 1, 3, 64, 64)), 0, 1)
    views["film"] = show(film.astype(np.float32), np.tile([-60.0, -40, -20, 0, 20], (24, 1)))
    return views


@pytest.fixture(scope="module")
def views():
    return make_views()


@pytest.mark.parametrize("name", list(SYSTEMS))
def test_every_system_learns_an_easy_set_and_does_not_peek(views, name, forked):
    """Few epochs; the subject tested on is a stranger; wrong labels in the test part change no answer."""
    system = SYSTEMS[name]
    data = views[system.view]
    fold = make_folds(views["regions"], "groupkfold", 2)[0]
    schedule = system.schedule and replace(system.schedule, epochs=20, lr=max(system.schedule.lr, 2e-3), batch_size=6)

    def answer(some, part):
        def fit(known, inputs):
            from stagkit.evaluation.sealed import Trained

            if schedule is None:
                return Trained(system.fit(known, 0))
            model = fit_network(system.build, schedule, known, 0)
            return Trained(lambda clips: predict(model, clips))

        return fit_and_predict(some, part, fit)[1]

    checked = schedule is None or name == "ststnet"
    probability = check_blind(answer, data, fold) if checked else answer(data, fold.copy())
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-5)
    right = (probability.argmax(1) == data.label[fold.open_test()]).mean()
    assert right >= (0.5 if name == "majority" else 0.8)


def test_training_is_repeatable_and_watched(views):
    system, seen = SYSTEMS["mlp"], []
    schedule = replace(system.schedule, epochs=3)
    one = fit_network(
        system.build, schedule, views["face"], 1, on_epoch_end=lambda *given: seen.append(given[-1].training)
    )
    two = fit_network(system.build, schedule, views["face"], 1)
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    assert seen == [False] * 3, "watched in evaluation mode, after every epoch"
    with pytest.raises(StagkitError, match="training part of the fold is empty"):
        fit_network(system.build, schedule, views["face"].select([]))


def test_systems_are_chosen_by_name():
    assert [s.name for s in choose_systems(["fdp", "svm"])] == ["svm", "fdp"]
    with pytest.raises(StagkitError, match="no system 'nonsense'; there are stag, majority"):
        choose_systems(["nonsense"])
