"""The scores: against a published log, against scikit-learn, and on matrices small enough for paper."""

import csv

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score, recall_score

from stagkit.core.types import StagkitError
from stagkit.evaluation.metrics import (
    compute_baselines,
    compute_confusion,
    compute_interval,
    compute_report,
    compute_scores,
)


def test_published_log_gives_the_published_uf1(shared_data):
    """STSTNet's own log: UF1 0.7353 as printed; the printed UAR 0.7605 is macro precision, the true one is 0.7186."""
    rows = list(csv.DictReader((shared_data / "ststnet_published_log.csv").open()))
    confusion = compute_confusion([int(r["label"]) for r in rows], [int(r["prediction"]) for r in rows], 3)
    scores = compute_scores(confusion)
    assert scores.n == 442
    assert round(scores.uf1, 4) == 0.7353
    assert round(scores.uar, 4) == 0.7186
    assert round(scores.acc, 4) == 0.7692
    by_set = {
        name: compute_scores(
            compute_confusion(*zip(*[(int(r["label"]), int(r["prediction"])) for r in part], strict=True), 3)
        )
        for name in ("smic", "casme2", "samm")
        if (part := [r for r in rows if r["dataset"].lower() == name])
    }
    assert [round(by_set[n].uf1, 4) for n in ("smic", "casme2", "samm")] == [0.6801, 0.8382, 0.6588]


def test_by_hand():
    """Rows are the truth: class 0 seen 3 of 4 times, class 1 always but once too often."""
    confusion = compute_confusion([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 1], 2)
    assert confusion.tolist() == [[3, 1], [0, 4]]
    scores = compute_scores(confusion)
    assert scores.f1 == pytest.approx((6 / 7, 8 / 9))
    assert scores.recall == (0.75, 1.0)


pairs = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


@given(pairs)
def test_equal_to_scikit_learn(pairs):
    label, prediction = map(list, zip(*pairs, strict=True))
    scores = compute_scores(compute_confusion(label, prediction, 4))
    present = sorted(set(label))
    assert scores.uf1 == pytest.approx(f1_score(label, prediction, labels=present, average="macro", zero_division=0))
    assert scores.uar == pytest.approx(recall_score(label, prediction, labels=present, average="macro"))


def test_interval_is_over_subjects_not_clips():
    """Half of the subjects are always right, half always wrong: clips pooled blindly would look far more certain."""
    rng = np.random.default_rng(0)
    label, subject = rng.integers(0, 3, 400), np.arange(400) % 10
    prediction = np.where(subject % 2, label, (label + 1) % 3)
    low, high = compute_interval(label, prediction, subject, 3)["acc"]
    clip_low, clip_high = compute_interval(label, prediction, np.arange(400), 3)["acc"]
    assert low < 0.5 < high
    assert high - low > 3 * (clip_high - clip_low)
    assert compute_interval(label, label, subject, 3)["uf1"] == (1.0, 1.0)


def test_baselines_know_nothing():
    label = np.repeat([0, 1, 2], [80, 10, 10])
    base = compute_baselines(label, label, 3, np.arange(100))
    assert base["majority"]["acc"] == 0.8
    assert base["majority"]["uar"] == pytest.approx(1 / 3)
    assert base["permuted"]["uar"] == pytest.approx(1 / 3, abs=0.03)


def test_report_pools_before_it_scores():
    """Two single-class folds: the mean of per-fold UF1 would be 1/2 + 1/3; pooled it is the score of all six clips."""
    table = pd.DataFrame(
        {
            "seed": 0,
            "dataset": ["a"] * 3 + ["b"] * 3,
            "subject": ["a/1"] * 3 + ["b/1"] * 3,
            "clip": list("uvwxyz"),
            "label": ["neg"] * 3 + ["pos"] * 3,
            "prediction": ["neg", "neg", "pos", "pos", "pos", "pos"],
        }
    )
    report = compute_report(table, ["neg", "pos"])
    assert report["uf1"]["mean"] == pytest.approx((4 / 5 + 6 / 7) / 2)
    assert report["per_dataset"]["a"]["n_clips"] == 3
    assert report["per_dataset"]["b"]["uf1"]["mean"] == 1.0
    assert report["per_class"]["pos"]["n"] == 3


@pytest.mark.parametrize(("label", "prediction"), [([0, 1], [0]), ([0, 3], [0, 0]), ([-1], [0])])
def test_bad_input_is_told(label, prediction):
    with pytest.raises(StagkitError):
        compute_confusion(label, prediction, 3)
