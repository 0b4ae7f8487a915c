"""Controls on networks solved on paper, truth worked out by hand, and that they catch what they are there to catch."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.course.exercises import find_check
from stagkit.evaluation.bootstrap import compute_mean
from stagkit.explain.aggregate import ExplainError, by_edge, to_map
from stagkit.explain.attribution import attribute
from stagkit.explain.counterfactuals import Counterfactual
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.exact_terms import get_region_edges, name_region_edges
from stagkit.explain.faithfulness import (
    CASCADE,
    Curves,
    compute_cascade,
    compute_curves,
    compute_infidelity,
    compute_orders,
    compute_sensitivity,
    compute_similarity,
    randomise,
)
from stagkit.explain.ground_truth import (
    GroundTruth,
    compute_annotated_truth,
    compute_ground_truth,
    compute_pointing_chance,
    fit_aus,
    score_aus,
    score_edges,
    score_mass,
    score_peak,
    score_pointing,
    score_region_edges,
)
from stagkit.explain.interventions import compute_agreement, compute_edge_ablation, compute_edge_attention, make_hooks
from stagkit.explain.methods import REFERENCE_MAPS, compute_reference_map
from stagkit.network.hooks import intervene
from stagkit.plots.attributions import plot_attribution, plot_cascade, plot_curves, plot_maps
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from tests.graphs import make_graph_model
from tests.small import Linear, make_dataset, train_small

CORNER = ATLAS.index("lip_corner_L")


@pytest.fixture(scope="module")
def data():
    return make_dataset()


@pytest.fixture(scope="module")
def trained(data):
    return train_small(data)


# deletion, insertion, infidelity, sensitivity


def test_curves_on_paper(data):
    """The one cell that counts goes first: deletion is g, 0, 0, ...; insertion 0, g, g, ...; last: the other way round."""
    batch, gap = data.batch([0, 2]), 2 * data.x[[0, 2], 1, CORNER, 0, 2, 2]
    maps = np.zeros((2, 3, 22))
    maps[:, 1, CORNER] = 1.0
    best = compute_curves(Linear().eval(), batch, maps, 0, n_steps=10)
    assert best.deletion == pytest.approx(np.outer(gap, [1] + [0] * 10), abs=1e-6)
    assert best.insertion == pytest.approx(np.outer(gap, [0] + [1] * 10), abs=1e-6)
    deletion, insertion = best.areas
    assert deletion == pytest.approx(0.05 * gap, abs=1e-6)
    assert insertion == pytest.approx(0.95 * gap, abs=1e-6)
    worst = compute_curves(Linear().eval(), batch, -maps, 0, n_steps=10)
    assert worst.areas[0] == pytest.approx(0.95 * gap, abs=1e-6)


def test_hidden_cells_are_no_steps(data):
    """Cells under the mask come last and change nothing."""
    batch = data.batch([0])
    mask = batch.mask.clone()
    mask[:, 1, CORNER] = False
    maps = np.zeros((1, 3, 22))
    maps[:, 1, CORNER] = 9.0
    assert not compute_curves(Linear().eval(), replace(batch, mask=mask), maps, 0).deletion.any()


def test_many_steps_at_once_are_as_one_by_one(data, trained, monkeypatch):
    batch, maps = data.batch([0, 1]), np.random.default_rng(0).random((2, 3, 22))
    whole = compute_curves(trained, batch, maps)
    monkeypatch.setattr("stagkit.explain.faithfulness.probe_batch_size", lambda *_: 2)
    assert np.allclose(compute_curves(trained, batch, maps).deletion, whole.deletion, atol=1e-5)


def test_gradients_beat_a_random_order(data, trained):
    batch = data.batch(range(18, 24))
    done = attribute(trained, batch)
    orders = compute_orders(trained, batch, to_map(done), done.target)
    assert (orders["map"][0] < orders["random"][0]).all()
    assert (orders["map"][1] > orders["random"][1]).all()


def test_infidelity_is_zero_for_a_linear_network(data):
    batch = data.batch([0, 2])
    done = attribute(Linear().eval(), batch, target=0)
    assert compute_infidelity(Linear().eval(), batch, done) == pytest.approx([0, 0], abs=1e-6)
    wrong = replace(done, values=np.roll(done.values, 1, axis=2))
    assert (compute_infidelity(Linear().eval(), batch, wrong) > 1e-3).all()


def test_sensitivity_grows_with_the_radius(data, trained):
    batch = data.batch([0, 1])
    done = attribute(trained, batch, n_steps=8)
    small, large = (compute_sensitivity(trained, batch, done, radius=r) for r in (0.01, 0.5))
    assert (0 < small).all()
    assert (small < large).all()


# what the map depends on


def test_randomise_changes_the_parts_named_and_no_other(trained):
    other = randomise(trained, ("head",))
    assert not torch.equal(other.head.nodes, trained.head.nodes)
    assert torch.equal(other.region_graph.value, trained.region_graph.value)
    assert torch.equal(other.tokens.patch.weight, trained.tokens.patch.weight)
    assert torch.equal(other.scale, trained.scale)
    assert not other.training
    first, second = (randomise(trained, CASCADE, 1) for _ in range(2))
    assert torch.equal(first.region_graph.value, second.region_graph.value)


@pytest.mark.parametrize("head", ["graph", "fused"])
def test_the_cascade_reaches_every_parameter(head):
    """Nothing that was trained is left after its last step."""
    model = make_graph_model(head=head)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    before, after = (dict(m.named_parameters()) for m in (model, randomise(model, CASCADE)))
    assert not [name for name in before if torch.equal(before[name], after[name])]


def test_similarity_by_hand():
    one = np.array([[[1.0, 2.0, 3.0]], [[1.0, 2.0, 3.0]], [[1.0, 1.0, 1.0]]])
    other = np.array([[[10.0, 20.0, 40.0]], [[3.0, 2.0, 1.0]], [[1.0, 2.0, 3.0]]])
    assert compute_similarity(one, other)[:2] == pytest.approx([1.0, -1.0])
    assert np.isnan(compute_similarity(one, other)[2])


def test_the_cascade_tells_magnitude_from_explanation(data, trained):
    """Flow magnitude stays the same whatever the weights are: that is what the control is for."""
    batch = data.batch([0, 1, 2, 3])
    target = attribute(trained, batch).target

    def gradients(model, clips):
        return to_map(attribute(model, clips, target=target, n_steps=8, search=False))

    def magnitude(model, clips):
        return compute_reference_map("flow magnitude", model, clips)

    stages = compute_cascade(trained, batch, gradients)
    assert list(stages) == [name for name in CASCADE if name not in ("graph",)], "the graph head has no graph layers"
    assert np.mean(stages["tokens"]) < 0.9
    assert list(compute_cascade(trained, batch, magnitude).values())[-1] == pytest.approx(np.ones(4))


# edge ablation


def test_an_effect_is_what_the_removal_does(data, trained):
    batch = data.batch([4])
    effects = compute_edge_ablation(trained, batch, target=1)
    edge = name_region_edges(get_region_edges()).index("AU12 cheek_L <- lip_corner_L")
    with torch.no_grad():
        whole = trained.logits(batch.x, batch.mask, batch.times_ms)[0, 1]
        with intervene(trained, make_hooks([["region", "cheek_L", "lip_corner_L", "AU12"]])):
            cut = trained.logits(batch.x, batch.mask, batch.times_ms)[0, 1]
    assert effects[0, edge] == pytest.approx(float(whole - cut), abs=1e-5)


def test_agreement_by_hand():
    attention = np.array([[1.0, 2, 3, 4, 5, 6]])
    assert compute_agreement(attention, -2 * attention) == pytest.approx([1.0])
    assert compute_agreement(attention, 10 - attention) == pytest.approx([-1.0])
    assert compute_agreement(attention, np.ones((1, 6))).tolist() == pytest.approx([np.nan], nan_ok=True)
    turned = np.array([[1.0, 2, 3, 9, 8, 7]])  # grows with attention up to 3, falls from 4 on
    assert compute_agreement(attention, turned, least=4) == pytest.approx([-1.0])
    assert np.isnan(compute_agreement(attention, turned, least=6)), "one edge is left: no rank"


def test_what_edges_are_shown_with_agrees_with_their_removal(data, trained):
    """Exact terms rank edges much as removing them one by one does, and far better than attention."""
    batch = data.batch(range(18, 24))
    effects = compute_edge_ablation(trained, batch)
    terms = compute_agreement(by_edge(attribute(trained, batch, "exact edge terms")), effects)
    attention = compute_agreement(compute_edge_attention(trained, batch), effects)
    assert terms.mean() > 0.5 and (terms > attention + 0.2).all()


def test_ranks_of_region_edges_by_hand():
    """AU12 is active, its corner and cheek moved: the edges between them and to themselves are true, for no other AU."""
    index = get_region_edges()
    names = np.array(name_region_edges(index))
    true = np.isin(
        names, [f"AU12 {m} <- {n}" for m in ("lip_corner_L", "cheek_L") for n in ("lip_corner_L", "cheek_L")]
    )
    truth = make_truth(aus=np.eye(17, dtype=bool)[[AU_LABELS.index("AU12")]])
    assert score_region_edges(-1.0 * true[None], index, truth) == [1.0]
    assert score_region_edges(1.0 - true[None], index, truth) == [0.0]
    assert np.isnan(score_region_edges(np.ones((1, 284)), index, make_truth(moved=np.zeros((1, 22), bool)))[0])


# truth


def make_truth(**changes) -> GroundTruth:
    """One clip: AU12 and AU06 planted and joined; the left corner and cheek moved; peak at 40 ms."""
    moved, aus, edges = np.zeros((1, 22), bool), np.zeros((1, 17), bool), np.zeros((1, 17, 17), bool)
    moved[0, [CORNER, ATLAS.index("cheek_L")]] = True
    pair = [AU_LABELS.index("AU06"), AU_LABELS.index("AU12")]
    aus[0, pair] = True
    edges[0, pair[0], pair[1]] = edges[0, pair[1], pair[0]] = True
    return GroundTruth(
        **{"moved": moved, "aus": aus, "edges": edges, "peak_ms": np.array([40.0]), "clip_ids": ("a",), **changes}
    )


def test_scores_by_hand():
    truth, maps = make_truth(), np.zeros((1, 2, 22))
    maps[0, 0, CORNER], maps[0, 1, ATLAS.index("chin")] = -3.0, 1.0
    times, mask = np.array([[20.0, 60.0]]), np.ones((1, 2, 22), bool)
    assert score_pointing(maps, truth) == [1.0]
    assert score_mass(maps, truth) == [0.75]
    assert score_peak(maps, truth, times, mask) == [20.0]
    assert compute_pointing_chance(truth) == pytest.approx([2 / 22])
    assert score_pointing(np.eye(22)[[ATLAS.index("chin")]][:, None], truth) == [0.0]
    nobody = make_truth(moved=np.zeros((1, 22), bool))
    assert np.isnan(score_pointing(maps, nobody)[0])


def test_ranks_of_aus_and_edges_by_hand():
    truth = make_truth()
    aus = np.zeros((1, 17))
    aus[0, AU_LABELS.index("AU12")], aus[0, AU_LABELS.index("AU06")], aus[0, 0] = 3.0, 1.0, 2.0
    assert score_aus(aus, truth) == pytest.approx([(15 + 14) / 30])
    graph = np.sqrt(np.abs(aus[:, :, None] * aus[:, None]))
    pairs = graph[0][np.triu_indices(17, 1)]
    assert np.count_nonzero(pairs) == 3
    assert score_edges(graph, truth) == pytest.approx([134 / 135])
    directed = np.triu(graph[0])[None]
    assert score_edges(directed, truth) == score_edges(graph, truth)


def test_a_map_names_the_muscle_whose_places_it_marks():
    for label in ("AU01", "AU02", "AU17", "AU09"):
        k = AU_LABELS.index(label)
        found = fit_aus(ATLAS.incidence[k][None, None])
        assert found[0, 0].argmax() == k, label
    assert not fit_aus(np.zeros((1, 1, 22))).any()


def test_truth_is_read_from_what_was_planted():
    clips = [make_clip(PhantomConfig(subjects=1, clips=3, size=64, difficulty=0), 0, c) for c in range(3)]
    truth = compute_ground_truth(clips)
    for clip, moved, aus, peak in zip(clips, truth.moved, truth.aus, truth.peak_ms, strict=True):
        assert {AU_LABELS[k] for k in np.flatnonzero(aus)} == {code[:4] for code in clip.truth.codes}
        assert abs(peak - clip.times_ms[clip.apex]) <= 1000 / clip.fps + 1e-6
        assert 0 < moved.sum() < 22
        assert not moved[ATLAS.index("nose_bridge")], "no AU moves the nose bridge"
    with pytest.raises(ExplainError, match="only phantoms"):
        compute_ground_truth([replace(clips[0], truth=None)])


def test_annotated_truth():
    aus = np.full((2, 17), np.nan)
    aus[0] = 0
    aus[0, AU_LABELS.index("AU17")] = 1
    truth = compute_annotated_truth(aus, ["a", "b"])
    assert truth.moved[0, ATLAS.index("chin")]
    assert not truth.moved[0, ATLAS.index("brow_mid_L")]
    assert not truth.moved[1].any()


@pytest.mark.parametrize("name", REFERENCE_MAPS)
def test_trivial_maps_keep_to_the_mask(data, trained, name):
    batch = data.batch([0, 1])
    mask = batch.mask.clone()
    mask[:, 0, 5] = False
    maps = compute_reference_map(name, trained, replace(batch, mask=mask))
    assert maps.shape == (2, 3, 22)
    assert (maps >= 0).all()
    assert not maps[:, 0, 5].any()
    assert maps.any()


# evidence


def test_evidence_of_a_trained_network(data, trained):
    batch = data.batch([18, 19])
    evidence = make_evidence(trained, batch, ground_truth=compute_annotated_truth(data.aus[18:20], batch.clip_ids))
    names = [v.name for v in evidence.checks(0)]
    assert names[:3] == ["complete", "better than random order", "better than flow magnitude"]
    assert "depends on the weights" in names
    assert "pointing game" in names
    assert evidence.checks(0)[0].passed
    assert {"pointing", "mass", "au_auroc", "edge_auroc", "region_edge_auroc", "edge_agreement"} <= set(evidence.scores)
    one = evidence.select([1])
    assert one.attribution.clip_ids == ("clip019",)
    assert one.checks() == evidence.checks(1)


def test_a_map_of_magnitude_fails_its_controls(data, trained):
    """It looks right (it wins the pointing game) but is the same for any weights, and no better than itself."""
    batch = data.batch([18])
    done = attribute(trained, batch)
    scores = {
        "completeness": np.array([0.0]),
        "deletion": np.array([0.5]),
        "insertion": np.array([1.0]),
        "deletion_flow": np.array([0.5]),
        "insertion_flow": np.array([1.0]),
        "randomised": np.array([1.0]),
        "pointing": np.array([1.0]),
    }
    evidence = Evidence(done, scores)
    failed = {v.name for v in evidence.checks() if not v.passed}
    assert failed == {"better than flow magnitude", "depends on the weights"}
    assert not evidence.passed()
    assert "2 of 4 controls fail" in evidence.describe()
    assert Evidence(done, {}).describe() == "no control was run."
    assert not Evidence(done, {}).passed()
    with pytest.raises(ExplainError, match="one value per clip"):
        Evidence(done, {"deletion": np.zeros(3)})


def words_of(figure):
    return " ".join(t.get_text() for axes in figure.axes for t in axes.texts)


def test_bare_attributions_are_stamped_and_evidence_is_not(data, trained):
    batch = data.batch([18])
    evidence = make_evidence(trained, batch)
    assert "no control" in words_of(plot_attribution(evidence.attribution))
    with_controls = words_of(plot_attribution(evidence))
    assert "no control" not in with_controls
    assert "beats random order" in with_controls
    incomplete = replace(evidence.attribution, convergence_delta=evidence.attribution.logit_difference)
    with pytest.raises(ExplainError, match="misses 100%"):
        plot_attribution(replace(evidence, attribution=incomplete))


# intervals and the table


def test_means_with_intervals():
    values = np.array([1.0, 1.0, 0.0, 0.0, np.nan])
    mean = compute_mean(values, ["a", "a", "b", "b", "c"])
    assert (mean.mean, mean.n) == (0.5, 4)
    assert (mean.low, mean.high) == (0.0, 1.0), "two people: the interval knows no more"
    assert np.isnan(compute_mean(np.array([np.nan])).mean)
    assert np.isnan(compute_mean(np.array([1.0, 2.0]), ["a", "a"]).low)
    clips = compute_mean(np.repeat([0.0, 1.0], 50))
    assert 0.3 < clips.low < 0.5 < clips.high < 0.7


# pictures and exercises


def test_pictures_of_controls(data, trained):
    batch = data.batch([18, 19])
    maps = {"flow magnitude": compute_reference_map("flow magnitude", trained, batch), "even": np.ones((2, 3, 22))}
    figure = plot_maps({name: values[0] for name, values in maps.items()})
    sizes = [axes.collections[0].get_array() for axes in figure.axes[:2]]
    assert [float(np.sum(s)) for s in sizes] == pytest.approx([100.0, 100.0], rel=1e-5)
    curves = {name: compute_curves(trained, batch, values) for name, values in maps.items()}
    lines = plot_curves(curves, 1).axes[0].get_lines()
    assert lines[0].get_ydata() == pytest.approx(curves["flow magnitude"].deletion[1])
    stages = {"a": {"head": np.array([0.5, 0.7]), "tokens": np.array([0.1, np.nan])}}
    assert plot_cascade(stages).axes[0].get_lines()[0].get_ydata() == pytest.approx([1.0, 0.6, 0.1])


def test_checks_of_notebook_10_know_the_usual_mistakes():
    falling = np.array([[2.0, 1, 0.5, 0.3, 0.2, 0.1, 0, 0, 0, 0, 0]])
    curves = {"integrated gradients": Curves(falling, 2 - falling, np.linspace(0, 1, 11))}
    curve = curves["integrated gradients"]
    area = find_check("10.1")
    assert area(np.trapezoid(curve.deletion[0], curve.share), curves=curves).ok
    assert "*insertion*" in area(curve.areas[1][0], curves=curves).text
    assert "by half" in area(curve.deletion[0].mean(), curves=curves).text
    assert "one wide" in area(np.trapezoid(curve.deletion[0]), curves=curves).text
    cascades = {"a": {"all": np.array([1.0])}, "b": {"all": np.array([0.1])}}
    name = find_check("10.2")
    assert name("a", cascades=cascades).ok
    assert "0.10" in name("b", cascades=cascades).text
    assert "no name" in name("c", cascades=cascades).text
    count, counterfactual = find_check("10.3"), Counterfactual("a", ("x", "y"), "p", "n", "n", True, 9)
    assert count(2, counterfactual=counterfactual).ok
    assert "sets were tried" in count(9, counterfactual=counterfactual).text
    assert not count(5, counterfactual=counterfactual).ok
    assert count(0, counterfactual=replace(counterfactual, muscles=())).ok
