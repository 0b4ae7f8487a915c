"""Reliability, subjects, detection of action units, and cost: on tables small enough for paper."""

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import f1_score, roc_auc_score

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_LABELS
from stagkit.core.types import ShapeError, StagkitError
from stagkit.evaluation.au_detection import compute_au_detection, compute_au_report
from stagkit.evaluation.cost import compute_cost, measure_inference
from stagkit.evaluation.metrics import compute_calibration
from stagkit.evaluation.run_summary import tabulate_subjects
from stagkit.training.train import make_model
from tests.small import make_dataset


def test_calibration_by_hand():
    """Four clips at .9, half of them right; one at .6, right: ECE = (4 * .4 + 1 * .4) / 5."""
    probability = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    result = compute_calibration(probability, [0, 0, 1, 1, 1])
    assert result["ece"] == pytest.approx(0.4)
    assert result["brier"] == pytest.approx((2 * 0.02 + 2 * 1.62 + 0.32) / 5)
    assert result["log_loss"] == pytest.approx(-(2 * np.log(0.9) + 2 * np.log(0.1) + np.log(0.6)) / 5)
    filled = [b for b in result["bins"] if b["n"]]
    assert [(b["n"], b["accuracy"]) for b in filled] == [(1, 1.0), (4, 0.5)]
    assert sum(b["n"] for b in result["bins"]) == 5


def test_certain_answers_fall_into_the_last_bin():
    bins = compute_calibration(np.eye(2), [0, 1])["bins"]
    assert bins[-1]["n"] == 2


@pytest.mark.parametrize(
    ("probability", "label"), [(np.ones((2, 2)), [0, 1]), (np.eye(2), [0]), (np.zeros((0, 2)), [])]
)
def test_what_is_no_probability_is_told(probability, label):
    with pytest.raises(StagkitError):
        compute_calibration(probability, label)


def test_subjects_are_listed_with_the_worst_first():
    """Two seeds; s1 has one class only, which is fine."""
    rows = [("s1", "neg", "neg"), ("s1", "neg", "pos"), ("s2", "pos", "pos"), ("s2", "neg", "neg")]
    table = pd.DataFrame(
        [{"seed": k, "dataset": "d", "subject": s, "label": y, "prediction": p} for k in (0, 1) for s, y, p in rows]
    )
    subjects = tabulate_subjects(table)
    assert subjects["subject"].tolist() == ["s1", "s2"]
    assert subjects["acc"].tolist() == [0.5, 1.0]
    assert subjects.loc[0, ["n_clips", "n_neg", "right_neg", "n_pos"]].tolist() == [2, 2, 1.0, 0]


def test_au_detection_is_scikit_learns():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (60, len(AU_LABELS))).astype(float)
    probability = np.round(rng.random(truth.shape), 1)  # ties too
    truth[:20] = np.nan  # not coded: must not count
    result = compute_au_detection(truth, probability)
    assert result["n_coded"] == 40
    for k, label in enumerate(AU_LABELS):
        y, p = truth[20:, k], probability[20:, k]
        assert result["per_au"][label]["auroc"] == pytest.approx(roc_auc_score(y, p))
        assert result["per_au"][label]["f1"] == pytest.approx(f1_score(y, p > 0.5))
    assert result["mean_auroc"] == pytest.approx(np.mean([row["auroc"] for row in result["per_au"].values()]))
    seeds, subjects = [probability, 1 - probability], np.arange(60) % 12
    assert compute_au_report([truth] * 2, seeds, [subjects] * 2)["mean_auroc"] == pytest.approx(0.5)


def test_an_au_that_never_occurs_has_no_score():
    truth, probability = np.zeros((5, len(AU_LABELS))), np.full((5, len(AU_LABELS)), 0.4)
    truth[:2, 3] = 1
    result = compute_au_detection(truth, probability)
    assert result["per_au"]["AU01"] == {"n_present": 0, "n_coded": 5, "f1": None, "auroc": None}
    assert (result["n_aus"], result["mean_auroc"], result["mean_f1"]) == (1, 0.5, 0.0)
    nothing = compute_au_detection(np.full_like(truth, np.nan), probability)
    assert (nothing["n_coded"], nothing["mean_auroc"]) == (0, None)
    with pytest.raises(ShapeError, match="expected .clip, 17."):
        compute_au_detection(truth[:, :3], probability[:, :3])


def test_cost_counts_matrix_products():
    """A layer of 3 x 4 weights on one clip is 12 multiply-adds and 16 parameters."""

    class OneLayer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(3, 4)

        def logits(self, x, mask, times_ms):
            return self.layer(x[:, 0, 0, :, 0, 0])

    assert compute_cost(OneLayer(), make_dataset()) == {"parameters": 16, "multiply_adds": 12}


def test_cost_of_the_network_grows_with_the_clip():
    config = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
    short, long = (make_dataset(n_subjects=2, per_subject=2, n_frames=t) for t in (1, 4))
    model = make_model(short, np.arange(4), config, 0).eval()
    a, b = compute_cost(model, short), compute_cost(model, long)
    assert a["parameters"] == b["parameters"] == sum(p.numel() for p in model.parameters())
    assert 3 < b["multiply_adds"] / a["multiply_adds"] < 4.5
    assert 0 < measure_inference(model, short) < 1000
