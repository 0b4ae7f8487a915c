"""The benchmarks of training and preparation run, and write what they say they measure."""

import importlib.util
import json
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig
from stagkit.evaluation.cost import compute_cost
from stagkit.training.train import make_model
from tests.lockfile import ROOT
from tests.small import make_dataset


def load(name):
    spec = importlib.util.spec_from_file_location(f"{name}_benchmark", ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def training():
    return load("training")


def test_training_quick(training, monkeypatch, tmp_path, capsys):
    """Two backends at T = 1, here in one process: ratios against the first, memory, share of the ceiling."""
    monkeypatch.setattr(
        training,
        "in_fresh_process",
        lambda *words: training.run_one(str(words[0]), words[1], *words[2:4], int(words[4])),
    )
    table = tmp_path / "B.md"
    table.write_text(f"before\n\n{training.START}\nstale\n{training.END}\n\nafter\n")
    training.main(
        ["--quick", "--frames", "1", "--backends", "sequential", "stacked", "--device", "cpu"]
        + ["--json", str(tmp_path / "t.json"), "--markdown", str(table)]
    )
    rows = json.loads((tmp_path / "t.json").read_text())["rows"]
    assert [(r["backend"], r["frames"], r["folds"], r["clips"]) for r in rows] == [
        ("sequential", 1, 4, 8),
        ("stacked", 1, 4, 8),
    ]
    assert all(r["memory"] > 2**27 and 0 < r["share_of_ceiling"] < 1 and r["memory_gpu"] is None for r in rows)
    shown = capsys.readouterr().out.splitlines()
    assert "1.00x" in shown[1]
    text = table.read_text()
    assert "stale" not in text
    assert text.startswith("before")
    assert text.endswith("after\n")
    assert text.count("| T = 1 |") == 2


def test_as_many_clips_as_megc(training, monkeypatch):
    monkeypatch.setattr(training, "N_CLIPS", 10)
    monkeypatch.setattr(training, "N_SUBJECTS", 4)
    data = training.take_clips(make_dataset(n_subjects=4, per_subject=3), 1)
    assert np.unique(data.subjects, return_counts=True)[1].tolist() == [2, 2, 3, 3]
    assert data.x.shape[1] == 1


def test_work_is_counted_by_hand(training):
    """4 folds of 6 training clips, 5 epochs, 3 passes' worth, two operations a multiply-add."""
    data = make_dataset(n_subjects=4, per_subject=2, n_frames=1)
    adds = compute_cost(make_model(data, np.arange(8), StagConfig(), 0), data)["multiply_adds"]
    assert training.count_work(data, 5) == 4 * 6 * 5 * 3 * 2 * adds


def test_the_stack_is_checked_against_the_loop(training, monkeypatch):
    monkeypatch.setattr(torch.nn.Dropout, "__init__", torch.nn.Dropout.__init__)  # put back afterwards
    monkeypatch.setattr(training, "make_data", lambda folder, quick: folder)
    monkeypatch.setattr(training, "load_prepared", lambda folder: make_dataset(n_subjects=3, per_subject=2, n_frames=2))
    assert training.check_equal("cpu", steps=6) < 1e-4


def test_preparing_quick():
    prepare = load("prepare")
    row = prepare.run_one(3, 8, 64, "dis_fast")
    assert row["clips"] == 3
    assert row["clips_per_second"] == pytest.approx(3 / row["seconds"])
    assert row["memory"] > 2**27


def test_waiting_for_one_explanation(monkeypatch):
    """Every clip is explained on its own, with all controls; the clock starts after one that does not count."""
    one_clip, seen = load("one_clip"), []
    real = one_clip.make_evidence

    def watch(model, batch, **asked):
        evidence = real(model, batch, **asked)
        seen.append((batch.clip_ids, evidence.scores.keys()))
        return evidence

    monkeypatch.setattr(one_clip, "make_evidence", watch)
    row = one_clip.measure(2)
    assert [len(clips) for clips, _ in seen] == [1, 1, 1]
    assert seen[0][0] == seen[1][0] != seen[2][0]
    assert {"completeness", "deletion", "randomised", "permuted", "pointing", "edge_auroc"} <= set(seen[0][1])
    assert 0 < row["integrated_gradients"] < row["all_controls"]


def test_gpu_script_asks_for_options_that_exist(training, capsys):
    script = (ROOT / "benchmarks" / "gpu.sh").read_text()
    assert subprocess.run(["bash", "-n", str(ROOT / "benchmarks" / "gpu.sh")]).returncode == 0
    with pytest.raises(SystemExit):
        training.main(["--help"])
    told = capsys.readouterr().out
    assert set(re.findall(r"(?<= )--[a-z]+", script)) <= set(re.findall(r"--[a-z]+", told))
