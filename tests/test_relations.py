"""Relational phantoms: equal marginals, and the relation decides. Synkinesis phantoms: the planted pairs and no others."""

from functools import lru_cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score

from stagkit.core.facs import AU_NUMBERS
from stagkit.core.types import StagkitError
from stagkit.synthetic.clip import make_clip, sample_motion
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.presets import PRESETS, load_au_statistics
from stagkit.synthetic.relations import (
    RELATIONS,
    find_planted_pairs,
    find_preset,
    make_planted_graph,
    sample_relation,
    sample_synkinesis,
)
from stagkit.synthetic.sequences import make_sequences

SIDES = ("", "L", "R")


def _config(relation="together", strength=1.0, **more):
    return PhantomConfig(preset="relations", relation=relation, strength=strength, **more)


def _differ(rates_a, rates_b, n):
    """Largest difference of two sets of rates, in standard errors of a difference of rates of ``n`` clips each."""
    pooled = np.clip((rates_a + rates_b) / 2, 1 / n, 1 - 1 / n)
    return (np.abs(rates_a - rates_b) / np.sqrt(2 * pooled * (1 - pooled) / n)).max()


def _draw(relation, strength, n=4000, seed=0):
    """Labels "clip" and presence "clip au side" of clips whose classes are equally frequent."""
    rng, config = np.random.default_rng(seed), _config(relation, strength)
    label, there = np.arange(n) % 2, np.zeros((n, len(AU_NUMBERS), 3))
    for i in range(n):
        for number, side in sample_relation(config, RELATIONS[relation][1][label[i]], rng)[1]:
            there[i, AU_NUMBERS.index(number), SIDES.index(side)] = 1
    return label, there


def _find_relation(relation, there):
    """The relation that is shown, from the AUs alone: 0 or 1 per clip (``together`` and ``side``)."""
    pairs = [tuple(there[:, AU_NUMBERS.index(n)] for n in pair) for pair in RELATIONS[relation][0]]
    if relation == "together":
        (a, b), *_ = pairs
        return (a.any(1) != b.any(1)).astype(int)
    assert (sum(a.any(1) & b.any(1) for a, b in pairs) == 1).all(), "one pair per clip"
    return sum((a.any(1) & (a[:, 1] != b[:, 1])).astype(int) for a, b in pairs)


@settings(max_examples=12, deadline=None)
@given(st.sampled_from(sorted(RELATIONS)), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 2**31))
def test_every_unit_and_side_is_equally_frequent_in_both_classes(relation, strength, seed):
    label, there = _draw(relation, strength, 2000, seed)
    rates = [there[label == k].mean(0) for k in (0, 1)]
    assert _differ(*rates, 1000) < 5
    assert there.any((1, 2)).all(), "no clip is empty"
    number_of_aus = [there[label == k].sum((1, 2)).mean() for k in (0, 1)]
    assert abs(number_of_aus[0] - number_of_aus[1]) < 0.2


@pytest.mark.parametrize("relation", ["together", "side"])
def test_linear_models_of_single_units_are_at_chance_and_the_relation_decides(relation):
    for strength, right in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.5)):
        label, there = _draw(relation, strength)
        flat = there.reshape(len(there), -1)
        assert abs(cross_val_score(LogisticRegression(), flat, label, cv=5).mean() - 0.5) < 0.04
        shown = _find_relation(relation, there)
        assert (shown == label).mean() == pytest.approx(right, abs=0.03 if strength < 1 else 0)


def test_both_units_are_there_half_of_the_time():
    label, there = _draw("together", 1.0)
    present = there.any(2)
    for number in (4, 12):
        assert present[:, AU_NUMBERS.index(number)].mean() == pytest.approx(0.5, abs=0.04)
    both = present[:, AU_NUMBERS.index(4)] & present[:, AU_NUMBERS.index(12)]
    assert both[label == 0].mean() == pytest.approx(0.5, abs=0.05) and not both[label == 1].any()


@lru_cache
def _motions(relation):
    """Label, begin of each AU (share of onset to offset, NaN = absent) and peak displacement "clip au", of 1200 clips."""
    config = _config(relation, subjects=150, clips=8, difficulty=1.0)
    label, begins, peaks = [], [], []
    for place in np.ndindex(150, 8):
        motion, _ = sample_motion(config, *place)
        at = [AU_NUMBERS.index(number) for number, _ in motion.pattern]
        begin, peak = np.full(len(AU_NUMBERS), np.nan), np.zeros(len(AU_NUMBERS))
        begin[at] = ((motion.intensity > 0).argmax(0) - motion.onset) / (motion.offset - motion.onset)
        peak[at] = motion.peaks
        label.append(RELATIONS[relation][1].index(motion.names["label"]))
        begins.append(begin)
        peaks.append(peak)
    return np.array(label), np.array(begins), np.array(peaks)


@pytest.mark.parametrize("relation", ["together", "side"])
def test_times_and_peaks_of_single_units_are_equal_in_both_classes(relation):
    label, begins, peaks = _motions(relation)
    for values in (begins, np.where(np.isnan(begins), np.nan, peaks)):
        for column in values.T[[AU_NUMBERS.index(n) for pair in RELATIONS[relation][0] for n in pair]]:
            one, other = (column[(label == k) & np.isfinite(column)] for k in (0, 1))
            assert abs(one.mean() - other.mean()) < 5 * np.sqrt(one.var() / len(one) + other.var() / len(other))


def test_in_order_the_times_of_both_units_together_decide():
    label, begins, _ = _motions("order")
    pairs = [[begins[:, AU_NUMBERS.index(n)] for n in pair] for pair in RELATIONS["order"][0]]
    first, second = (
        np.nanmin([np.where(np.isnan(a + b), np.nan, (a, b)[i]) for a, b in pairs], axis=0) for i in (0, 1)
    )
    assert np.array_equal(label, (first > second).astype(int)), "the upper face first is the first class"
    early, late = np.minimum(first, second), np.maximum(first, second)
    for times in (early, late):
        assert abs(times[label == 0].mean() - times[label == 1].mean()) < 0.04
    alone = max(((first > cut) == label).mean() for cut in np.linspace(0, 1, 101))
    assert 0.7 < alone < 0.8, "one time alone: the documented exception"


def test_truth_names_the_relation_and_its_graph():
    config = _config("side", strength=0.0, subjects=2, clips=8, size=64)
    source = PhantomSource(config)
    assert source.classes == ("same side", "opposite sides") and source.name == "relations-phantom"
    clips = [source.read(key, render=False) for key in source.keys]
    assert sorted(c.label for c in clips) == sorted(source.classes * 8)
    for clip in clips:
        numbers = {n for pair in RELATIONS["side"][0] for n in pair}
        sides = {code[-1] for code in clip.truth.codes if int(code[2:4]) in numbers and code[-1] in "LR"}
        assert clip.truth.relation == source.classes[len(sides) - 1]
        assert clip.truth.graph.sum() == 6 and clip.truth.graph[AU_NUMBERS.index(2), AU_NUMBERS.index(10)] == 1
    assert {c.label == c.truth.relation for c in clips} == {True, False}, "at strength 0 the label is random"
    plain = make_clip(PhantomConfig(size=64), 0, 0, render=False).truth
    assert plain.relation == "" and plain.graph is None and plain.hidden == ()


def test_sequences_have_the_classes_and_labels_of_the_relation():
    data = make_sequences(_config("together", subjects=2, clips=4), n_frames=4)
    assert data.classes == ("both or neither", "one alone") and np.bincount(data.label).tolist() == [4, 4]
    a, b = (data.aus[:, AU_NUMBERS.index(n)] for n in (4, 12))
    assert np.array_equal(data.label, (a != b).astype(int))
    with pytest.raises(StagkitError, match="strength"):
        _config(strength=1.5)


def test_settings_without_effect_leave_the_digest_alone():
    assert PhantomConfig().digest() == PhantomConfig(relation="side", strength=0.2, occluded=0.5).digest()
    assert _config("side").digest() != _config("order").digest() != _config("order", 0.5).digest()
    assert PhantomConfig.from_dict(_config("side", 0.5).to_dict()) == _config("side", 0.5)


# --- synkinesis ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_the_planted_graph_is_of_unusual_disjoint_pairs_and_follows_the_seed(seed):
    graph = make_planted_graph(PhantomConfig(preset="synkinesis", seed=seed))
    assert graph.dtype == bool and np.array_equal(graph, graph.T) and not graph.diagonal().any()
    assert graph.sum() == 8 and graph.sum(0).max() == 1
    lift = load_au_statistics(PRESETS["casme2"].counts)[2]
    assert (lift[graph] < 1).all(), "rarer together than by chance in real clips"
    others = [find_planted_pairs(s) for s in range(20)]
    assert len(set(others)) > 15
    assert not make_planted_graph(PhantomConfig()).any()


def test_only_the_planted_pairs_occur_together():
    config, n, rng = PhantomConfig(preset="synkinesis", seed=2), 4000, np.random.default_rng(0)
    graph, pair = make_planted_graph(config), np.triu_indices(len(AU_NUMBERS), 1)
    for label in find_preset(config).classes:
        there = np.zeros((n, len(AU_NUMBERS)))
        for row in there:
            row[[AU_NUMBERS.index(number) for number, _ in sample_synkinesis(config, label, rng)[0]]] = 1
        share = there.mean(0)
        expected = np.outer(share, share)
        z = (there.T @ there / n - expected) / np.sqrt(expected * (1 - expected) / n)
        assert np.abs(z[pair][~graph[pair]]).max() < 5, label
        assert z[graph].min() > 15, label
        for i, j in zip(*np.nonzero(graph), strict=True):
            assert there[there[:, i] == 1, j].mean() > 0.75


def test_planted_pairs_move_at_the_same_times_and_others_less_so():
    config, planted, others = PhantomConfig(preset="synkinesis", seed=2, difficulty=0, size=64), [], []
    graph = make_planted_graph(config)
    for place in np.ndindex(8, 12):
        truth = make_clip(config, *place, render=False).truth
        at = [AU_NUMBERS.index(int(code[2:4])) for code in truth.codes]
        joined, upper = graph[np.ix_(at, at)], np.triu_indices(len(at), 1)
        planted += truth.coactivation[upper][joined[upper]].tolist()
        others += truth.coactivation[upper][~joined[upper]].tolist()
        assert np.array_equal(truth.graph, graph)
    assert len(planted) > 30 and min(planted) > 0.999
    assert np.mean(others) < 0.9


def test_synkinesis_keeps_the_classes_of_casme2():
    data = make_sequences(PhantomConfig(preset="synkinesis", subjects=2, clips=6), n_frames=4)
    assert data.classes == PRESETS["casme2"].classes and set(data.datasets) == {"synkinesis-phantom"}
    assert np.isfinite(data.aus).all() and (data.aus.sum(1) >= 1).all()
