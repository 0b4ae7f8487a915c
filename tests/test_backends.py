"""Wherever folds are trained, the same is learned; what is killed goes on; one process a folder."""

import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import torch

from stagkit.cli.progress import describe, show_folds
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import lock_folder, read_json
from stagkit.core.types import StagkitError
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.fold import Compute, plan_stacks, run_on_devices
from stagkit.evaluation.run import Run
from stagkit.evaluation.splits import make_folds
from stagkit.training.checkpoint import Checkpoint
from stagkit.training.train import train_fold
from tests.forks import ForkedCommand
from tests.small import make_dataset, save_maps

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
TRAIN = TrainConfig(epochs=6, batch_size=6, lr=1e-2)
ONE_THREAD = {**os.environ, "OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def data():
    return make_dataset(n_subjects=4, per_subject=4, n_frames=2)


def run_with(data, out, train=TRAIN, **settings):
    return evaluate(data, out, TINY, train, **{"protocol": "loso", "backend": "sequential", **settings})


@pytest.fixture(scope="module")
def runs(data, tmp_path_factory):
    """The same evaluation one after the other, and stacked."""
    folder = tmp_path_factory.mktemp("backends")
    return tuple(run_with(data, folder / b, seeds=2, backend=b) for b in ("sequential", "stacked"))


def test_a_stack_learns_as_well(runs):
    """Same folds, same seals, same score as far as seeds go: both recognise nearly everything here."""
    one, stacked = runs
    key = ["seed", "fold", "clip", "label"]
    pd.testing.assert_frame_equal(one.predictions[key], stacked.predictions[key])
    assert stacked.metrics["uf1"]["mean"] == pytest.approx(one.metrics["uf1"]["mean"], abs=0.15)
    unblindings = read_json(stacked.path / "seal.json")["unblindings"]
    assert [len(o["unblinded_at"]) for o in unblindings] == [1] * 8
    assert {o["stacked"] for o in unblindings} == {8}
    assert not (stacked.path / "working").exists()
    assert not (stacked.path / "lock.json").exists()


def test_an_interrupted_stack_ends_the_same(runs, data):
    """The whole stack is trained again, what was finished is kept, and the numbers are the same bits."""
    _, stacked = runs
    before = stacked.predictions.copy()
    for name in ("metrics.json", "predictions.csv", "folds/seed0_fold001.csv", "folds/seed1_fold003.csv"):
        (stacked.path / name).unlink()
    again = run_with(data, stacked.path, seeds=2, backend="stacked")
    pd.testing.assert_frame_equal(again.predictions, before)
    counts = [len(o["unblinded_at"]) for o in read_json(again.path / "seal.json")["unblindings"]]
    assert counts == [1, 2, 1, 1, 1, 1, 1, 2], "finished folds are not opened again"


def test_shares_of_several_devices(runs, data, tmp_path):
    """Two devices (here the CPU twice) train half of the folds each: what one device does with the same halves."""
    request = {**runs[1].request, "data_path": ""}
    folds = make_folds(data, "loso")
    run = Run.start(tmp_path / "run", request, folds, data, "cpu")
    shards = plan_stacks(data, folds, run, 2, "cpu")
    assert [len(s) for s in shards] == [4, 4]
    assert plan_stacks(data, folds, run, 1, "cpu") == shards, "a run that goes on keeps its stacks"
    results = list(run_on_devices(data, folds, run, shards, ["cpu", "cpu"]))
    assert sorted((r.seed, r.number) for r in results) == sorted(pair for shard in shards for pair in shard)
    assert all(r.record["stacked"] == 4 for r in results)


def test_a_cluster_gives_the_same_bits_when_a_worker_is_killed(runs, data, tmp_path):
    """A Dask worker process is killed while it trains; another one takes over its fold."""
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra 'cluster')")
    pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'cluster')")
    from distributed import default_client

    killed = []

    def progress(stream, total):
        for i, name in enumerate(stream):
            if i == 0:
                victim = next(iter(default_client().run(os.getpid).values()))
                os.kill(victim, signal.SIGKILL)
                killed.append(victim)
            yield name

    run = run_with(data, tmp_path / "run", seeds=2, backend="auto", cluster="local:2", progress=progress)
    assert killed
    pd.testing.assert_frame_equal(run.predictions, runs[0].predictions)


def test_no_scheduler_is_told(data, tmp_path):
    pytest.importorskip("distributed", reason="dask.distributed is not installed (extra 'cluster')")
    with pytest.raises(StagkitError, match=r"local:none.*expected local:N"):
        run_with(data, tmp_path / "run", backend="auto", cluster="local:none")


def test_without_dask_the_extra_is_named(data, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(StagkitError, match=r"stagkit\[cluster\]"):
        run_with(data, tmp_path / "run", backend="auto", cluster="local:2")


@pytest.mark.parametrize(
    ("settings", "leaky", "words"),
    [
        ({"backend": "gpu"}, False, "expected one of auto, sequential"),
        ({"backend": "stacked"}, True, "predicts after every epoch"),
        ({"gpus": 2}, False, "no CUDA GPU"),
        ({"device": "cuda:77"}, False, "is not available"),
    ],
)
def test_what_cannot_be_done_is_told(settings, leaky, words):
    with pytest.raises(StagkitError, match=words):
        Compute(**{"device": "cpu", **settings}).choose(leaky)


def test_auto_is_processes_on_a_cpu():
    assert Compute(device="cpu").choose() == ("processes", "cpu")


# ── killed and gone on with ──────────────────────────────────────────────────────────────────────────────────────────


class Killed(Exception):
    pass


@pytest.mark.parametrize("at", [0, 3, 5])
def test_a_fold_goes_on_from_its_checkpoint(data, tmp_path, at):
    """Ended after some epochs; the rest, from the checkpoint, leads to the same bits: order, augmentation, dropout."""
    train, index = TRAIN, np.arange(12)
    whole = train_fold(data, index, TINY, train, 3).state_dict()
    checkpoint, seen = Checkpoint(tmp_path, "fold", every=0.0), []

    def stop(epoch, loss, model):
        if epoch == at:
            raise Killed

    with pytest.raises(Killed):
        train_fold(data, index, TINY, train, 3, on_epoch_end=stop, checkpoint=checkpoint)
    torch.manual_seed(99)
    model = train_fold(data, index, TINY, train, 3, on_epoch_end=lambda e, *_: seen.append(e), checkpoint=checkpoint)
    assert seen == list(range(at, 6)), "what was done is not done again"
    assert all(torch.equal(v, whole[k]) for k, v in model.state_dict().items())
    checkpoint.remove()
    assert not list((tmp_path / "working").iterdir())


def test_a_damaged_checkpoint_starts_the_fold_anew(data, tmp_path):
    checkpoint = Checkpoint(tmp_path, "fold", every=0.0)
    train_fold(data, np.arange(8), TINY, TRAIN, 3, checkpoint=checkpoint)
    path = next((tmp_path / "working").glob("*.safetensors"))
    path.write_bytes(path.read_bytes()[:50])
    seen = []
    train_fold(data, np.arange(8), TINY, TRAIN, 3, on_epoch_end=lambda e, *_: seen.append(e), checkpoint=checkpoint)
    assert len(seen) == 6


def test_two_processes_on_one_folder_are_refused(data, tmp_path, runs):
    """The other is named; when it has been killed, the folder is free, its note notwithstanding."""
    run = runs[0]
    code = "import time\nfrom stagkit.core.files import lock_folder\n"
    code += f"with lock_folder({str(run.path)!r}):\n    print('held', flush=True)\n"
    other = subprocess.Popen([sys.executable, "-c", code + "    time.sleep(60)"], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        (run.path / "metrics.json").unlink()
        with pytest.raises(StagkitError, match=f"another process works on .*process {other.pid} on "):
            run_with(data, run.path, seeds=2)
    finally:
        other.kill()
        other.wait()
    assert (run.path / "lock.json").is_file(), "it had no time to clear up"
    again = run_with(data, run.path, seeds=2)
    pd.testing.assert_frame_equal(again.predictions, run.predictions)
    with lock_folder(run.path):
        pass
    assert not (run.path / "lock.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["sequential", "processes"])
def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path, backend):
    """Interrupted after its first fold: one sentence, code 130; the same command then ends with the usual numbers."""
    command = ["evaluate", save_maps(tmp_path / "maps.npz"), "--backend", backend, "--epochs", 8]
    command += ["--set", "stag.width=8", "--set", "stag.heads=2", "--out", tmp_path / "run", "--workers"]
    interrupted = ForkedCommand([*command, 2], tmp_path)
    for _ in range(2400):
        if list(tmp_path.glob("run/folds/*.csv")):
            break
        time.sleep(0.05)
    os.killpg(interrupted.pid, signal.SIGINT)
    code, _, told = interrupted.wait()
    assert code == 130
    assert b"interrupted; finished work is kept: run the same command to resume." in told
    assert b"Traceback" not in told
    code, _, told = ForkedCommand([*command, 1], tmp_path).wait()  # workers take seconds to start
    assert code == 0, told
    assert len(pd.read_csv(tmp_path / "run" / "predictions.csv")) == 24


def test_ctrl_c_is_told_in_one_sentence(monkeypatch, capsys):
    from stagkit import cli
    from stagkit.datasets import check as data_check

    def press(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(data_check, "check_data", press)
    with pytest.raises(SystemExit) as end:
        cli.main(["check-data", "casme2", "somewhere"])
    assert end.value.code == 130
    told = capsys.readouterr().err.strip().splitlines()
    assert told == ["stagkit: interrupted; finished work is kept: run the same command to resume."]


# ── the bar ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_bar_says_epoch_and_loss(tmp_path, capsys):
    Checkpoint(tmp_path / "run", "seed0_fold001").log_progress(60, 14, 0.5)
    Checkpoint(tmp_path / "run", "stack_seed0_fold002").log_progress(60, 29, 0.2, networks=2)
    share, told = describe(tmp_path)
    assert share == pytest.approx(15 / 60 + 2 * 30 / 60)
    assert told == "· epoch 15, 30 of 60 · loss 0.300"
    assert list(show_folds("folds", tmp_path)(iter("abc"), 3)) == list("abc")
    assert "3/3" in capsys.readouterr().err
    assert describe(tmp_path / "none") == (0.0, "")
