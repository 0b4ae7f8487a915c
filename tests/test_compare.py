"""Comparing runs: paired, on the same clips, and never with a run that is no evidence."""

import numpy as np
import pandas as pd
import pytest

from stagkit.core.files import write_json
from stagkit.evaluation.compare_runs import compare_runs, describe_interval, format_comparison
from stagkit.evaluation.metrics import compute_confusion, compute_interval, compute_paired, compute_scores
from stagkit.evaluation.run import FORMAT, RunError
from tests.small import renew_digests

CLASSES = ["neg", "pos"]


def answers(label, share, seed, n_seeds=1):
    rng = np.random.default_rng(seed)
    return np.array([np.where(rng.random(len(label)) < share, label, 1 - label) for _ in range(n_seeds)])


@pytest.fixture
def clips():
    rng = np.random.default_rng(0)
    return rng.integers(0, 2, 200), np.repeat([f"s{i:02d}" for i in range(20)], 10)


def test_means_over_seeds_are_compared(clips):
    label, subject = clips
    first, second = answers(label, 0.9, 1, 3), answers(label, 0.7, 2, 2)
    result = compute_paired(label, first, second, subject, 2)
    uf1 = [np.mean([compute_scores(compute_confusion(label, p, 2)).uf1 for p in side]) for side in (first, second)]
    assert result["uf1"]["first"] == pytest.approx(uf1[0])
    assert result["uf1"]["difference"] == pytest.approx(uf1[0] - uf1[1])
    low, high = result["uf1"]["ci95"]
    assert 0 < low < uf1[0] - uf1[1] < high
    assert result["uf1"]["above_zero"] == 1.0
    turned = compute_paired(label, second, first, subject, 2)
    assert turned["uf1"]["difference"] == pytest.approx(-result["uf1"]["difference"])
    assert turned["uf1"]["ci95"] == pytest.approx([-high, -low])


def test_equal_runs_differ_by_nothing(clips):
    label, subject = clips
    same = answers(label, 0.8, 1)
    result = compute_paired(label, same, same, subject, 2)
    assert result["acc"]["ci95"] == [0, 0]
    assert result["per_class"][1]["difference"] == 0


def test_pairing_takes_out_what_all_find_hard():
    """Half of the subjects are hopeless for both: single intervals are wide, the difference is certain."""
    rng = np.random.default_rng(0)
    label, subject = rng.integers(0, 2, 400), np.arange(400) % 20
    hard = subject % 2 == 0
    worse = np.where(hard, 1 - label, label)
    better = np.where(hard & (np.arange(400) // 20 % 5 == 0), label, worse)
    low, high = compute_paired(label, better, worse, subject, 2)["acc"]["ci95"]
    single = compute_interval(label, better, subject, 2)["acc"]
    assert 0 < low < 0.1 < high
    assert single[1] - single[0] > 2 * (high - low)


def test_a_subject_of_one_class_and_a_class_without_clips_are_fine():
    """A draw may hold no clip of a class: that class is left out of it."""
    label, subject = np.array([0, 0, 1, 1]), np.array(["a", "a", "b", "b"])
    result = compute_paired(label, label, 1 - label, subject, 3)
    assert result["uf1"]["difference"] == 1.0
    assert result["per_class"][2]["difference"] is None


def make_run(path, label, subject, said, **request):
    """A finished run on disk, made of predictions alone."""
    path.mkdir()
    request = {
        "format": FORMAT,
        "classes": CLASSES,
        "protocol": "loso",
        "seeds": list(range(len(said))),
        "data": {},
    } | request
    write_json(path / "run.json", request)
    (path / "split.json").write_text('[{"fold": 0, "name": "all"}, {"fold": 1, "name": "again"}]')
    write_json(path / "metrics.json", {})
    rows = [
        {
            "seed": k, "fold": 0, "dataset": "d", "subject": s, "clip": f"c{i}", "label": CLASSES[y],
            "prediction": CLASSES[p],
        }
        for k, side in enumerate(said) for i, (y, s, p) in enumerate(zip(label, subject, side, strict=True))
    ]  # fmt: skip
    pd.DataFrame(rows).sample(frac=1, random_state=0).to_csv(path / "predictions.csv", index=False)
    renew_digests(path)
    return path


def test_runs_are_aligned_by_clip(clips, tmp_path):
    label, subject = clips
    first, second = answers(label, 0.9, 1, 2), answers(label, 0.7, 2)
    a, b = make_run(tmp_path / "a", label, subject, first), make_run(tmp_path / "b", label, subject, second)
    result = compare_runs(a, b)
    expected = compute_paired(label, first, second, subject, 2)
    assert result["uf1"]["difference"] == pytest.approx(expected["uf1"]["difference"])
    assert result["per_class"]["pos"]["first"] == pytest.approx(expected["per_class"][1]["first"])
    assert (result["n_clips"], result["n_subjects"], result["only_first"]) == (200, 20, 0)
    text = format_comparison(result)
    assert "a is better in UF1: the interval excludes 0." in text
    assert "F1 pos" in text
    assert "another seeds" in text
    assert describe_interval(result["uf1"]).startswith("+0.")
    assert "do not differ measurably" in format_comparison(compare_runs(a, a))


def test_clips_of_one_run_alone_are_left_out_and_told(clips, tmp_path):
    label, subject = clips
    said = answers(label, 0.9, 1)
    a = make_run(tmp_path / "a", label, subject, said)
    b = make_run(tmp_path / "b", label[:150], subject[:150], said[:, :150])
    result = compare_runs(a, b)
    assert (result["n_clips"], result["only_first"], result["only_second"]) == (150, 50, 0)
    assert "Left out: 50 clips only in a" in format_comparison(result)


def test_clips_tested_in_several_folds_are_told_apart(clips, tmp_path):
    label, subject = clips
    a = make_run(tmp_path / "a", label, subject, answers(label, 0.9, 1))
    table = pd.read_csv(a / "predictions.csv")
    pd.concat([table, table.assign(fold=1)]).to_csv(a / "predictions.csv", index=False)
    renew_digests(a)
    assert compare_runs(a, a)["n_clips"] == 400


@pytest.mark.parametrize(
    ("mark", "words"),
    [("leaky", "leak demonstration"), ("permuted", "shuffled labels"), ("stratified", "not subject-disjoint")],
)
def test_runs_that_are_no_evidence_are_refused(clips, tmp_path, mark, words):
    label, subject = clips
    said = answers(label, 0.9, 1)
    good = make_run(tmp_path / "good", label, subject, said)
    bad = make_run(tmp_path / "bad", label, subject, said, **{mark: True})
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(RunError, match=words):
            compare_runs(*pair)


def test_runs_of_other_data_are_told(clips, tmp_path):
    label, subject = clips
    said = answers(label, 0.9, 1)
    a = make_run(tmp_path / "a", label, subject, said)
    with pytest.raises(RunError, match="of other classes"):
        compare_runs(a, make_run(tmp_path / "b", label, subject, said, classes=["neg", "joy"]))
    with pytest.raises(RunError, match="no clip in common"):
        compare_runs(a, make_run(tmp_path / "c", label, [f"x{s}" for s in subject], said))
    with pytest.raises(RunError, match="200 clips have another label"):
        compare_runs(a, make_run(tmp_path / "d", 1 - label, subject, said))
