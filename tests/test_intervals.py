"""An interval belongs to the number beside it: one bootstrap, checked against a slow one that shares no code."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.evaluation.au_detection import compute_au_detection, compute_au_report
from stagkit.evaluation.bootstrap import (
    bootstrap,
    compute_mean,
    compute_mean_difference,
    compute_mean_map,
    describe_caveat,
)
from stagkit.evaluation.metrics import (
    SCORES,
    compute_baselines,
    compute_confusion,
    compute_interval,
    compute_paired,
    compute_report,
    compute_scores,
)
from stagkit.evaluation.run_summary import format_metrics, list_cautions

CLASSES = ("neg", "pos", "sur")


def make_answers(seed, n_subjects=12, n_clips=6, n_seeds=3, right=0.6):
    rng = np.random.default_rng(seed)
    n = n_subjects * n_clips
    label, subject = rng.integers(0, 3, n), np.repeat([f"a/{i:02d}" for i in range(n_subjects)], n_clips)
    wrong = rng.random((n_seeds, n)) > right
    return label, np.where(wrong, (label + rng.integers(1, 3, (n_seeds, n))) % 3, label), subject


def make_table(label, answers, subject, dataset="a"):
    n = len(label)
    return pd.DataFrame(
        {
            "seed": np.repeat(np.arange(len(answers)), n),
            "dataset": np.tile(np.broadcast_to(dataset, n), len(answers)),
            "subject": np.tile(subject, len(answers)),
            "clip": np.tile(np.arange(n).astype(str), len(answers)),
            "label": np.array(CLASSES)[np.tile(label, len(answers))],
            "prediction": np.array(CLASSES)[answers.ravel()],
        }
    )


def slow_interval(label, answers, subject, score, n_draws=2000):
    """Draw the names of people one by one, copy their clips, score each seed, take the mean."""
    names = sorted(set(subject))
    rng, values = np.random.default_rng(5), []
    for _ in range(n_draws):
        rows = np.concatenate([np.flatnonzero(subject == names[k]) for k in rng.integers(len(names), size=len(names))])
        each = [getattr(compute_scores(compute_confusion(label[rows], a[rows], 3)), score) for a in answers]
        values.append(np.mean(each))
    return np.percentile(values, [2.5, 97.5])


@pytest.mark.parametrize("score", SCORES)
def test_the_interval_is_that_of_the_mean_over_seeds(score):
    """Seeds that differ much: one confusion pooled over them has another UF1, and had another interval."""
    label, answers, subject = make_answers(1)
    answers[1] = 0  # a seed that collapsed
    report = compute_report(make_table(label, answers, subject), CLASSES)
    low, high = report[score]["ci95"]
    assert [low, high] == pytest.approx(slow_interval(label, answers, subject, score), abs=0.015)
    assert low < report[score]["mean"] < high


@given(st.integers(0, 10_000), st.integers(3, 25), st.integers(1, 8), st.floats(0.05, 0.95))
@settings(max_examples=12, deadline=None)
def test_identical_seeds_have_the_interval_of_one(seed, n_subjects, n_clips, right):
    label, answers, subject = make_answers(seed, n_subjects, n_clips, 1, right)
    once = compute_report(make_table(label, answers, subject), CLASSES)
    thrice = compute_report(make_table(label, np.repeat(answers, 3, 0), subject), CLASSES)
    for score in SCORES:
        assert thrice[score]["mean"] == pytest.approx(once[score]["mean"])
        assert thrice[score]["ci95"] == pytest.approx(once[score]["ci95"])
        assert thrice["per_dataset"]["a"][score]["ci95"] == pytest.approx(once["per_dataset"]["a"][score]["ci95"])


@given(st.integers(0, 10_000), st.integers(10, 30), st.integers(4, 8), st.integers(1, 4), st.floats(0.2, 0.9))
@settings(max_examples=12, deadline=None, derandomize=True)
def test_an_interval_is_centred_on_its_number(seed, n_subjects, n_clips, n_seeds, right):
    label, answers, subject = make_answers(seed, n_subjects, n_clips, n_seeds, right)
    report = compute_report(make_table(label, answers, subject), CLASSES)
    for score in SCORES:
        low, high = report[score]["ci95"]
        mean = report[score]["mean"]
        assert low <= mean <= high
        assert abs((low + high) / 2 - mean) < 0.25 * (high - low) + 1e-9
        for row in report["baselines"].values():
            assert row["ci95"][score][0] - 1e-9 <= row[score] <= row["ci95"][score][1] + 1e-9


def test_all_rows_of_a_person_are_drawn_together():
    """Each clip three times (seeds, folds) is no more evidence than once."""
    rng = np.random.default_rng(0)
    values, subject = rng.normal(size=60), np.repeat(np.arange(15), 4)
    once, thrice = compute_mean(values, subject), compute_mean(np.tile(values, 3), np.tile(subject, 3))
    assert (thrice.low, thrice.high) == pytest.approx((once.low, once.high))
    assert once.n_subjects == 15
    found = compute_mean_map(values[:, None], subject)
    assert [float(part[0]) for part in found] == pytest.approx([once.mean, once.low, once.high])


def test_a_paired_difference_of_identical_runs_has_no_width_and_says_so():
    label, answers, subject = make_answers(3, n_subjects=20)
    same = compute_paired(label, answers, answers, subject, 3)
    assert same["uf1"]["ci95"] == [0, 0]
    assert "without width" in same["caveat"]
    other = compute_paired(label, answers, answers[::-1] * 0, subject, 3)
    assert other["caveat"] == ""
    difference = other["uf1"]["difference"]
    assert other["uf1"]["ci95"][0] < difference < other["uf1"]["ci95"][1]
    single = compute_interval(label, answers, subject, 3)["uf1"]
    table = compute_report(make_table(label, answers, subject), CLASSES)
    assert table["uf1"]["ci95"] == pytest.approx(single)


def test_the_difference_of_two_classes_draws_a_person_for_both():
    rng = np.random.default_rng(0)
    level = rng.normal(0, 10, 20)  # people differ a lot, and alike in both classes
    one = (level + rng.normal(0, 0.1, 20))[:, None]
    other = (level + 1 + rng.normal(0, 0.1, 20))[:, None]
    middle, low, high = compute_mean_difference(one, other, np.arange(20), np.arange(20))
    assert 0.8 < low[0] < middle[0] < high[0] < 1.2


def test_au_detection_has_the_interval_of_its_mean():
    rng = np.random.default_rng(2)
    subjects = np.repeat(np.arange(12), 8)
    truth = np.full((96, 17), np.nan)
    truth[:, :4] = rng.random((96, 4)) < 0.4
    seeds = [np.clip(0.3 * np.nan_to_num(truth) + rng.random((96, 17)) * 0.7, 0, 1) for _ in range(2)]
    report = compute_au_report([truth] * 2, seeds, [subjects] * 2)
    plain = [compute_au_detection(truth, p) for p in seeds]
    draws, slow = np.random.default_rng(9), []
    for _ in range(400):
        rows = np.concatenate([np.flatnonzero(subjects == k) for k in draws.integers(12, size=12)])
        slow.append(np.mean([compute_au_detection(truth[rows], p[rows])["mean_auroc"] for p in seeds]))
    low, high = report["ci95"]["mean_auroc"]
    assert [low, high] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.03)
    for key in ("mean_auroc", "mean_f1"):
        assert report[key] == pytest.approx(np.mean([p[key] for p in plain]))
        assert report["ci95"][key][0] < report[key] < report["ci95"][key][1]
    alike = compute_au_report([truth] * 3, [seeds[0]] * 3, [subjects] * 3)
    one = compute_au_report([truth], [seeds[0]], [subjects])
    assert alike["ci95"]["mean_auroc"] == pytest.approx(one["ci95"]["mean_auroc"])
    ends = report["per_au"]["AU01"]["ci95"]["auroc"]
    assert ends[0] < report["per_au"]["AU01"]["auroc"] < ends[1]
    assert (
        report["per_au"]["AU45" if "AU45" in report["per_au"] else list(report["per_au"])[-1]]["ci95"]["f1"]
        == [None] * 2
    )
    nothing = compute_au_report([np.full_like(truth, np.nan)], seeds[:1], [subjects])
    assert nothing["ci95"]["mean_auroc"] == [None, None]


def test_baselines_are_the_mean_over_seeds_too():
    label, answers, subject = make_answers(4, n_seeds=2)
    both = compute_baselines(label, answers, 3, subject=subject)
    assert both["majority"]["acc"] == np.bincount(label).max() / len(label)
    assert abs(both["permuted"]["acc"] - 1 / 3) < 0.1
    for row in both.values():
        assert row["ci95"]["uf1"][0] <= row["uf1"] <= row["ci95"]["uf1"][1]


def test_few_people_and_no_error_are_warned_of():
    assert describe_caveat(10, (0.2, 0.4)) == ""
    assert "from 9 subjects" in describe_caveat(9, (0.2, 0.4))
    assert "from 1 subject:" in describe_caveat(1)
    assert "without width" in describe_caveat(40, (1.0, 1.0))
    assert describe_caveat(40, (None, None), (float("nan"),) * 2) == ""
    label, answers, subject = make_answers(0, n_subjects=4)
    few = compute_report(make_table(label, answers, subject), CLASSES)
    assert "from 4 subjects" in few["caveat"]
    assert few["n_subjects"] == few["per_dataset"]["a"]["n_subjects"] == 4
    label, _, subject = make_answers(0, n_subjects=20)
    perfect = compute_report(make_table(label, label[None], subject), CLASSES)
    assert perfect["uf1"]["ci95"] == [1.0, 1.0]
    assert "without width" in perfect["caveat"]


def test_the_caveat_is_printed_beside_the_scores():
    label, answers, subject = make_answers(0, n_subjects=20)
    dataset = np.where(np.arange(len(label)) < 18, "few", "many")
    report = compute_report(make_table(label, answers, subject, dataset), CLASSES)
    assert list(list_cautions(report)) == ["few"]
    whole = {
        **report, "model": "stag", "protocol": "loso", "n_clips": 120, "n_folds": 20, "seeds": [0], "seconds": 1,
        "device": "cpu", "calibration": {"ece": 0.1},
        "cost": dict.fromkeys(("parameters", "multiply_adds", "inference_ms_per_clip", "train_seconds_per_fold"), 1),
    }  # fmt: skip
    assert "caution (few): the interval is from 3 subjects" in format_metrics(whole)
    assert "caution: " in str(compute_mean(np.arange(4.0), list("abcd")))


def test_a_draw_without_a_value_is_left_out():
    found = bootstrap(lambda w: np.where(w[:, 0] > 0, w[:, 0], np.nan), ["a", "b"], 500)
    assert found.low == 1
    assert found.high == 2
    empty = bootstrap(lambda w: np.full(len(w), np.nan), ["a", "b"], 10)
    assert np.isnan(empty.low)
