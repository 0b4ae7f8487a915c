"""Whole evaluations by every protocol: what is written, what stands beside it, and what is refused."""

import json
import shutil
import warnings
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_LABELS
from stagkit.core.files import read_json
from stagkit.core.types import StagkitError
from stagkit.evaluation.evaluate import MissingClassWarning, evaluate
from stagkit.evaluation.fold import shuffle_labels
from stagkit.evaluation.leakage import format_leak
from stagkit.evaluation.run import Run, RunError
from stagkit.evaluation.run_summary import format_metrics
from stagkit.explain.run import explain_run
from stagkit.reports.paper import load_inputs, make_figures
from tests.small import make_dataset, save_maps

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
QUICK = TrainConfig(epochs=2, batch_size=12)


def small(n_subjects=4, **more):
    return make_dataset(n_subjects=n_subjects, per_subject=4, n_frames=2, **more)


def run_tiny(data, out, train=QUICK, stag=TINY, **settings):
    return evaluate(data, out, stag, train, workers=1, **{"protocol": "groupkfold", "n_folds": 2, **settings})


def test_the_record_of_a_run(tmp_path):
    """Every unblinding is logged; cost, calibration, subjects and action units stand beside the scores."""
    data = small()
    run = run_tiny(data, tmp_path / "run", seeds=2)
    unblindings = read_json(run.path / "seal.json")["unblindings"]
    assert [(o["seed"], o["fold"]) for o in unblindings] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    for unblinding in unblindings:
        assert (unblinding["epoch"], unblinding["selected_by"]) == (2, "fixed beforehand")
        assert len(unblinding["unblinded_at"]) == 1
        assert unblinding["n_train"] + unblinding["n_test"] == 16
        assert unblinding["train_seconds"] > 0
    cost = run.metrics["cost"]
    assert cost["parameters"] == sum(p.numel() for p in run.load_model(0, 0).parameters())
    assert cost["multiply_adds"] > cost["parameters"] / 2
    assert cost["train_seconds"] == pytest.approx(sum(o["train_seconds"] for o in unblindings), abs=0.01)
    assert cost["inference_ms_per_clip"] > 0
    assert 0 <= run.metrics["calibration"]["ece"] <= 1
    assert run.metrics["epochs"] == {"min": 2, "median": 2, "max": 2}
    subjects = pd.read_csv(run.path / "subjects.csv")
    assert len(subjects) == 4
    assert np.average(subjects["acc"], weights=subjects["n_clips"]) == pytest.approx(run.metrics["acc"]["mean"])
    assert pd.read_csv(run.path / "calibration.csv")["n"].sum() == 32
    aus = pd.read_csv(run.path / "au_predictions.csv")
    assert len(aus) == 32
    place = {clip: i for i, clip in enumerate(data.clip_ids)}
    truth = data.aus[[place[clip] for clip in aus["clip"]]]
    assert np.array_equal(aus[list(AU_LABELS)].to_numpy(), truth)
    assert aus[[f"p_{a}" for a in AU_LABELS]].to_numpy().min() >= 0
    found = run.metrics["au_detection"]
    assert (found["n_coded"], found["n_aus"]) == (16, 2)
    assert "action units: AUROC" in format_metrics(run.metrics)


def test_uncoded_data_have_no_au_scores(tmp_path):
    data = small()
    fused = TINY.replace(head="fused")
    run = run_tiny(replace(data, aus=np.full_like(data.aus, np.nan)), tmp_path / "run", stag=fused)
    assert "au_detection" not in run.metrics
    assert not (run.path / "au_predictions.csv").exists()


def test_inner_choice_is_recorded(tmp_path):
    run = run_tiny(small(6), tmp_path / "run", QUICK.replace(epoch_selection="validation", epochs=3))
    assert run.metrics["epoch_selection"].startswith("chosen by held-out training subjects (20%, at most 3 epochs)")
    for unblinding in read_json(run.path / "seal.json")["unblindings"]:
        assert 1 <= unblinding["epoch"] <= 3
        assert len(unblinding["validation"]["curve"]) == 3
        rows = run.predictions[run.predictions["fold"] == unblinding["fold"]]
        assert not set(unblinding["validation"]["held_out"]) & set(rows["subject"]), "no test subject chose"


def test_cross_gives_a_score_for_each_pair(tmp_path):
    data = small()
    of = ("a",) * 8 + ("b",) * 8
    data = replace(data, datasets=of, subjects=tuple(f"{d}/{s[4:]}" for d, s in zip(of, data.subjects, strict=True)))
    run = run_tiny(data, tmp_path / "run", protocol="cross")
    assert set(run.metrics["per_pair"]) == {"a->b", "b->a"}
    assert run.metrics["per_pair"]["a->b"]["n_clips"] == 8
    told = format_metrics(run.metrics)
    assert "a->b" in told


def test_official_parts_are_scored_apart(tmp_path):
    data = replace(small(), parts=("train",) * 8 + ("testA",) * 4 + ("testB",) * 4)
    run = run_tiny(data, tmp_path / "run", protocol="official")
    assert {k: v["n_clips"] for k, v in run.metrics["per_part"].items()} == {"testA": 4, "testB": 4}
    assert len(run.predictions) == 8
    assert run.metrics["n_folds"] == 1


def test_stratified_stands_beside_groups_only(tmp_path):
    run = run_tiny(small(), tmp_path / "run", protocol="stratifiedkfold")
    assert run.request["protocol"] == "groupkfold"
    assert run.metrics["subject_disjoint"]
    told = format_metrics(run.metrics)
    assert "groupkfold" in told
    assert "stratifiedkfold" in told
    assert "not subject-disjoint: the network is tested on subjects it was trained on" in told
    beside = Run.load(run.path / "stratifiedkfold")
    assert not beside.metrics["subject_disjoint"]
    with pytest.raises(RunError, match="read it next to the groupkfold run"):
        Run.load(beside.path, evidence=True)


def test_retrained_on_shuffled_labels(tmp_path):
    """Enough to learn the real labels; with shuffled ones the same training knows nothing.

    Two easy classes in two folds would be all right or all wrong by luck: many folds and seeds even that out.
    """
    train = TrainConfig(epochs=8, batch_size=12, lr=5e-3)
    run = run_tiny(small(6), tmp_path / "run", train, permutation_baseline=True, protocol="loso", seeds=3)
    base = run.metrics["baselines"]
    assert set(base) == {"majority", "permuted", "permutation_baseline"}
    assert run.metrics["acc"]["mean"] > 0.9
    assert base["permutation_baseline"]["acc"] < 0.8
    assert "permutation_baseline" in format_metrics(run.metrics)
    with pytest.raises(RunError, match="shuffled labels"):
        Run.load(run.path / "permuted", evidence=True)


def test_shuffling_moves_labels_and_codes_together():
    data = small()
    known = shuffle_labels(data, 3)
    assert np.array_equal(known.x, data.x)
    assert not np.array_equal(known.label, data.label)
    assert sorted(known.label) == sorted(data.label)
    same = {(label, *np.flatnonzero(au)) for label, au in zip(known.label, known.aus, strict=True)}
    assert same == {(label, *np.flatnonzero(au)) for label, au in zip(data.label, data.aus, strict=True)}


@pytest.fixture(scope="module")
def leaky(tmp_path_factory):
    folder = tmp_path_factory.mktemp("leaky")
    path = save_maps(folder / "maps.npz")
    from stagkit.datasets.prepare import load_data

    data = load_data(path)
    train = TrainConfig(epochs=8, batch_size=12)
    settings = {"workers": 1, "data_path": path}
    return (
        evaluate(data, folder / "leaky", TINY, train, leaky=True, **settings),
        evaluate(data, folder / "honest", TINY, train, **settings),
    )


def test_the_leak_is_shown_apart_from_every_score(leaky):
    """The scores of a leaky run are those of an honest one to the last digit; the claim stands in leak.json alone."""
    shown, honest = leaky
    pd.testing.assert_frame_equal(shown.predictions, honest.predictions)
    assert shown.metrics["uf1"] == honest.metrics["uf1"]
    leak = json.loads((shown.path / "leak.json").read_text())
    assert leak["mean"]["last_epoch"]["uf1"] == pytest.approx(honest.metrics["uf1"]["mean"])
    assert leak["mean"]["best_test_epoch"]["acc"] > honest.metrics["acc"]["mean"], "labels are noise here: all leak"
    assert leak["optimism"]["acc"] > 0
    assert "evidence of nothing" in format_leak(leak)
    assert "leak" not in (shown.path / "metrics.json").read_text()
    assert not (honest.path / "leak.json").exists()


def test_a_leaky_run_is_refused(leaky, tmp_path):
    shown, _ = leaky
    with pytest.raises(RunError, match="leak demonstration"):
        explain_run(shown.path)
    records = load_inputs([shown.path])
    assert not records.runs and records.leaky, "it counts for the leak gap alone"
    with pytest.raises(StagkitError, match="no finished run"):
        make_figures([shown.path], tmp_path, only=[7])


def test_a_second_opening_stays_in_the_log(leaky, tmp_path):
    """A fold that was opened, but whose predictions were lost, is trained again: both unblindings are there to see."""
    _, honest = leaky
    shutil.copytree(honest.path, tmp_path / "run")
    for name in ("metrics.json", "folds/seed0_fold001.csv"):
        (tmp_path / "run" / name).unlink()
    run = evaluate(
        honest.load_data(),
        tmp_path / "run",
        TINY,
        honest.train_config,
        workers=1,
        data_path=honest.request["data_path"],
    )
    assert [len(o["unblinded_at"]) for o in read_json(run.path / "seal.json")["unblindings"]] == [1, 2, 1, 1]


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_missing_in_training_is_told_and_goes_on(tmp_path):
    data = small()
    label = np.zeros(16, int)
    label[:3] = 1
    with pytest.warns(MissingClassWarning, match="fold 'set/sub01' has no clip of positive: the class has weight 0"):
        run = run_tiny(replace(data, label=label), tmp_path / "run", protocol="loso")
    assert run.metrics["classes_missing_in_train"] == {"set/sub01": ["positive"]}
    assert [o["missing_classes"] for o in read_json(run.path / "seal.json")["unblindings"]] == [
        ["positive"],
        [],
        [],
        [],
    ]
    assert len(run.predictions) == 16, "nothing is lost"


def test_a_test_subject_of_one_class_is_fine(tmp_path):
    data = small()
    label = data.label.copy()
    label[:4] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = run_tiny(replace(data, label=label), tmp_path / "run", protocol="loso")
    row = pd.read_csv(run.path / "subjects.csv").set_index("subject").loc["set/sub01"]
    assert (row["n_negative"], row["n_positive"]) == (4, 0)


@pytest.mark.parametrize(
    ("seeds", "words"),
    [([3, 5, 3], "the seed 3 is given twice"), (0, "at least one"), ([], "at least one"), ([-1], "below 0")],
)
def test_odd_seeds_are_told(tmp_path, seeds, words):
    with pytest.raises(StagkitError, match=words):
        run_tiny(small(), tmp_path / "run", seeds=seeds)
    assert not (tmp_path / "run").exists()


def test_seeds_may_be_named(tmp_path):
    named = run_tiny(small(), tmp_path / "named", seeds=[1])
    counted = run_tiny(small(), tmp_path / "counted", seeds=2)
    assert named.request["seeds"] == [1]
    second = counted.predictions[counted.predictions["seed"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(named.predictions, second)


def test_one_recording_under_two_subjects_leaves_nothing_behind(tmp_path):
    data = small()
    data.x[9] = data.x[2]
    with pytest.raises(StagkitError, match="one recording under two subjects"):
        run_tiny(data, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_several_files_can_be_read_again(tmp_path):
    from stagkit.datasets.prepare import load_data

    rng = np.random.default_rng(5)
    paths = [
        save_maps(tmp_path / "casme2.npz", dataset=np.array(["casme2"] * 24)),
        save_maps(
            tmp_path / "samm.npz",
            dataset=np.array(["samm"] * 24),
            flow=rng.integers(0, 256, (24, 28, 28, 3)).astype(np.uint8),
            label=np.array([["negative", "Positive", "2"][i % 3] for i in range(24)]),
        ),
    ]
    data = load_data(paths)
    assert np.bincount(data.label).tolist() == [16, 16, 16], "labels as text are read"
    run = run_tiny(data, tmp_path / "run", protocol="cde", data_path=paths)
    again = Run.load(run.path).load_data()
    assert again.subjects == data.subjects
    assert set(run.metrics["per_dataset"]) == {"casme2", "samm"}
