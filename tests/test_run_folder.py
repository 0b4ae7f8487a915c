"""A run folder that somebody damaged, linked elsewhere, or that two commands want: one sentence, and nothing is lost."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stagkit.cli import main
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitError
from stagkit.core.files import TEMPORARY, lock_folder
from stagkit.core.parallel import run_in_processes
from stagkit.datasets.prepare import load_data
from stagkit.evaluation.compare_runs import compare_runs
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.run import DamagedFoldWarning, OtherEnvironmentWarning, Run, RunError
from stagkit.evaluation.run_check import check_run, is_sound
from stagkit.explain.run import explain_run, load_evidence, load_graphs
from stagkit.training.checkpoint import Checkpoint, DamagedCheckpointWarning
from tests.forks import ForkedCommand
from tests.pieces import kill_always, kill_once
from tests.small import renew_digests, save_maps

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
ONCE = TrainConfig(epochs=1, batch_size=24)
ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """``maps.npz``, and ``run``: finished and explained (without controls)."""
    folder = tmp_path_factory.mktemp("run_folder")
    run_on(save_maps(folder / "maps.npz"), folder / "run")
    explain_run(folder / "run", n_steps=1, controls=False)
    return folder


def run_on(maps, out, **settings):
    settings = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "data_path": maps} | settings
    return evaluate(load_data(maps), out, TINY, ONCE, **settings)


@pytest.fixture
def copy(home, tmp_path):
    return Path(shutil.copytree(home / "run", tmp_path / "copy"))


def interrupt(run: Path, *folds: str) -> Path:
    """Make a finished run one that was interrupted before these folds were done."""
    for name in ("metrics.json", "predictions.csv", *(f"folds/{fold}.csv" for fold in folds)):
        (run / name).unlink()
    return run


def flip_a_bit(path: Path, seed: int = 0) -> None:
    data, rng = bytearray(path.read_bytes()), random.Random(f"{path.name}{seed}")
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def read_all(run: Path) -> None:
    """Everything that reads a run reads it."""
    loaded = Run.load(run)
    compare_runs(loaded, loaded)
    loaded.metrics, loaded.environment, loaded.split  # noqa: B018
    loaded.collect(), loaded.collect("_au"), loaded.collect_records()
    data = loaded.load_data()
    for fold in range(2):
        loaded.load_model(0, fold)
        loaded.test_index(data, 0, fold)
    load_evidence(run / "explanations" / "seed0")
    load_graphs(run / "explanations" / "seed0" / "graph.npz")


READ = (
    "run.json", "split.json", "environment.json", "metrics.json", "predictions.csv", "weights/seed0_fold001.safetensors",
    "folds/seed0_fold000.csv", "folds/seed0_fold000.json", "folds/seed0_fold001_au.csv",
    "explanations/seed0/attribution.npz", "explanations/seed0/graph.npz", "explanations/seed0/summary.json",
)  # fmt: skip


def test_an_untouched_run_is_sound(home):
    read_all(home / "run")
    rows = check_run(home / "run")
    assert all(state == "ok" for _, state in rows)
    assert set(READ) <= {name for name, _ in rows}


@pytest.mark.parametrize("name", READ)
def test_a_changed_bit_is_noticed_by_readers_and_doctor(copy, name):
    before = (copy / name).read_bytes()
    for seed in range(3):
        (copy / name).write_bytes(before)
        flip_a_bit(copy / name, seed)
        with pytest.raises(StagkitError):
            read_all(copy)
        assert not all(is_sound(state) for _, state in check_run(copy))


@pytest.mark.parametrize("name", [n for n in READ if n.endswith((".json", ".csv"))])
@pytest.mark.parametrize("forged", [False, True], ids=["", "with digests that fit"])
def test_damaged_text_is_one_sentence(copy, name, forged):
    """Cut, emptied, separated by semicolons, nested too deep, without a key: never a traceback."""
    text = (copy / name).read_text(encoding="utf-8")
    damages = [text[: len(text) // 2], "", "[" * 100_000]
    if forged:
        damages += [text.replace(",", ";"), "{}", "[]", "null"]
    if forged and name.endswith(".json") and isinstance(json.loads(text), dict):
        whole = json.loads(text)
        lost = random.Random(0).sample(sorted(whole), min(6, len(whole)))
        damages += [json.dumps({k: v for k, v in whole.items() if k != key}) for key in lost]
    for damage in damages:
        (copy / name).write_text(damage, encoding="utf-8")
        if forged:
            renew_digests(copy)
        for read in (read_all, check_run):
            with suppress(StagkitError):
                read(copy)
    with suppress(SystemExit):
        main(["report", str(copy), "--out", str(copy / "page.html")])


def test_predictions_that_are_not_those_of_the_folds_are_refused(copy):
    """The truth written over every prediction: 'compare' must not report UF1 1.000; forged digests are found by 'doctor'."""
    table = pd.read_csv(copy / "predictions.csv", dtype=str)
    table.assign(prediction=table["label"]).to_csv(copy / "predictions.csv", index=False)
    with pytest.raises(StagkitError, match="damaged"):
        compare_runs(copy, copy)
    renew_digests(copy)
    assert ("predictions.csv and folds/", "do not hold the same predictions") in check_run(copy)
    (copy / "digests.json").unlink()
    with pytest.raises(RunError, match="digests.json is missing"):
        compare_runs(copy, copy)


# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("place", ["explanations", "explanations/seed0", "explanations/seed0/parts"])
def test_explain_writes_and_deletes_nothing_behind_a_link(home, tmp_path, place):
    run = Path(shutil.copytree(home / "run", tmp_path / "run"))
    shutil.rmtree(run / "explanations")
    victim = tmp_path / "victim"
    for name in ("a.npz", "clips.csv", "seed0/attribution.npz", "parts/b.npz", "seed0/parts/c.npz"):
        (victim / name).parent.mkdir(parents=True, exist_ok=True)
        (victim / name).write_text("precious")
    before = {p: p.read_bytes() for p in victim.rglob("*") if p.is_file()}
    (run / place).parent.mkdir(parents=True, exist_ok=True)
    (run / place).symlink_to(victim)
    with pytest.raises(StagkitError, match="link"):
        explain_run(run, n_steps=1, controls=False)
    assert {p: p.read_bytes() for p in victim.rglob("*") if p.is_file()} == before


@pytest.mark.parametrize(
    "name", ["folds", "weights", "working", "predictions.csv", "stacks.json", "digests.json", "lock"]
)
def test_evaluate_writes_nothing_behind_a_link(home, copy, tmp_path, name):
    interrupt(copy, "seed0_fold001")
    victim = tmp_path / "victim"
    if name in ("folds", "weights", "working"):
        shutil.rmtree(copy / name, ignore_errors=True)
        victim.mkdir()
        (victim / "seed0_fold001.safetensors").write_text("precious")
    else:
        (copy / name).unlink(missing_ok=True)
        victim.write_text("precious")
    (copy / name).symlink_to(victim)
    with pytest.raises(StagkitError):
        run_on(home / "maps.npz", copy, backend="stacked" if name == "stacks.json" else "auto")
    files = [victim] if victim.is_file() else list(victim.iterdir())
    assert [p.read_text() for p in files] == ["precious"]


def test_doctor_names_links(copy, tmp_path):
    (copy / "note.txt").symlink_to(tmp_path / "elsewhere")
    assert ("note.txt", "is a link: replace it by the file itself") in check_run(copy)


# ── two commands on one folder ───────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_is_held_by_one_process_at_a_time(tmp_path):
    """Many processes take and leave the same lock: never two at once."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "from stagkit.core.files import lock_folder; from stagkit.core.errors import StagkitError\n"
        "root, done, end = Path(sys.argv[1]), 0, time.monotonic() + 60\n"
        "while done < 40 and time.monotonic() < end:\n"
        "    try:\n"
        "        with lock_folder(root):\n"
        "            (root / 'inside').mkdir(); time.sleep(0.0005); (root / 'inside').rmdir(); done += 1\n"
        "    except StagkitError:\n"
        "        time.sleep(0.001)\n"
        "print(done)\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], env=ENVIRONMENT, stdout=-1, stderr=-1, text=True)
        for _ in range(3)
    ]
    assert [w.communicate() for w in workers] == [("40\n", "")] * 3


def test_a_thread_may_hold_a_folder_twice_and_another_process_may_not(tmp_path):
    code = f"from stagkit.core.files import lock_folder\nwith lock_folder({str(tmp_path)!r}): print('held')"
    with lock_folder(tmp_path), lock_folder(tmp_path):
        other = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
        assert "another process works on" in other.stderr
    other = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True)
    assert other.stdout == "held\n"


def test_two_explanations_of_one_seed_are_refused(copy):
    code = (
        f"import time; from stagkit.core.files import lock_folder\n"
        f"with lock_folder({str(copy / 'explanations' / 'seed0')!r}): print('held', flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=-1, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(StagkitError, match=f"another process works on .*process {other.pid}"):
            explain_run(copy, n_steps=1, controls=False)
    finally:
        other.kill()
        other.communicate()
    load_evidence(explain_run(copy, n_steps=1, controls=False)[1])


def test_an_explanation_that_was_not_finished_is_not_read(copy):
    (copy / "explanations" / "seed0" / "summary.json").unlink()
    with pytest.raises(StagkitError, match="not finished"):
        load_evidence(copy / "explanations" / "seed0")


# ── resumes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_other_folds_are_not_mixed_into_a_run(home, copy):
    """A corrected subject between interruption and resume: with the same digest, the folds still differ."""
    interrupt(copy, "seed0_fold001")
    split = json.loads((copy / "split.json").read_text())
    split[0]["train"], split[1]["train"] = split[1]["train"], split[0]["train"]
    (copy / "split.json").write_text(json.dumps(split))
    with pytest.raises(RunError, match="holds another run .*split.json"):
        run_on(home / "maps.npz", copy)


def test_another_backend_is_not_mixed_into_a_run(home, copy):
    interrupt(copy, "seed0_fold001")
    with pytest.raises(RunError, match="not stacked on cpu, this command would train the rest stacked"):
        run_on(home / "maps.npz", copy, backend="stacked")
    record = json.loads((copy / "folds" / "seed0_fold000.json").read_text())
    assert record["device"] == "cpu"
    assert set(record["versions"]) == {"stagkit", "torch"}


def test_other_versions_are_warned_of_and_recorded(home, copy):
    interrupt(copy, "seed0_fold001")
    environment = json.loads((copy / "environment.json").read_text())
    new, environment["versions"]["torch"] = environment["versions"]["torch"], "1.0"
    (copy / "environment.json").write_text(json.dumps(environment))
    with pytest.warns(OtherEnvironmentWarning, match=rf"torch {new.replace('+', '.')} \(before: 1.0\)"):
        run_on(home / "maps.npz", copy)
    found = Run.load(copy).environment
    assert found["versions"]["torch"] == "1.0"
    assert found["resumed"][0]["versions"]["torch"] == new


@pytest.mark.parametrize(
    "name", ["weights/seed0_fold000.safetensors", "folds/seed0_fold000.csv", "folds/seed0_fold000.json"]
)
def test_a_damaged_fold_is_trained_again(home, copy, name):
    interrupt(copy, "seed0_fold001")
    if name.endswith(".json"):
        (copy / name).write_text("{")
    else:
        flip_a_bit(copy / name)
    with pytest.warns(DamagedFoldWarning, match="seed0_fold000.* is trained again"):
        run = run_on(home / "maps.npz", copy)
    pd.testing.assert_frame_equal(run.predictions, Run.load(home / "run").predictions)
    assert all(is_sound(state) for name, state in check_run(copy) if not name.startswith("explanations"))


def test_a_changed_bit_of_a_checkpoint_starts_the_fold_again(tmp_path):
    import torch

    checkpoint = Checkpoint(tmp_path, "seed0_fold000")
    checkpoint.save({"weight": torch.arange(6.0).reshape(2, 3), "step": torch.tensor(3)})
    whole = (tmp_path / "working" / "seed0_fold000.safetensors").read_bytes()
    assert checkpoint.load()["weight"].shape == (2, 3)
    for at in range(0, len(whole), 7):
        data = bytearray(whole)
        data[at] ^= 16
        (tmp_path / "working" / "seed0_fold000.safetensors").write_bytes(data)
        with pytest.warns(DamagedCheckpointWarning, match="the fold starts again"):
            assert checkpoint.load() is None
        assert not (tmp_path / "working" / "seed0_fold000.safetensors").exists()


def test_weights_that_are_not_finite_are_refused(copy):
    from safetensors.torch import load_file, save

    path = copy / "weights" / "seed0_fold000.safetensors"
    weights = load_file(path)
    next(iter(weights.values())).fill_(float("nan"))
    path.write_bytes(save(weights))
    renew_digests(copy)
    run = Run.load(copy)
    with pytest.raises(RunError, match="not finite"):
        run.load_model(0, 0)


# ── kills ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_a_killed_command_left_is_taken_up_or_cleaned(home, tmp_path):
    """A lock, a half-written file and what a start writes first are no reason to refuse the folder."""
    out = tmp_path / "run"
    out.mkdir()
    (out / f"{TEMPORARY}abc.json").write_text("{")
    (out / "lock").touch()
    (out / "config.yaml").write_text("a: 1")
    run_on(home / "maps.npz", out)
    assert not list(out.glob(f"{TEMPORARY}*"))
    with pytest.raises(RunError, match="is not empty and holds no run"):
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "thesis.doc").touch()
        run_on(home / "maps.npz", tmp_path / "other")
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.doc"]


def test_a_killed_worker_is_replaced_and_its_piece_done(tmp_path):
    work = [partial(str, i) for i in range(6)] + [partial(kill_once, str(tmp_path / "mark"))]
    assert sorted(run_in_processes(work, 2)) == sorted([*"012345", str(tmp_path / "mark")])


def test_a_piece_that_kills_every_worker_is_one_sentence():
    with pytest.raises(StagkitError, match="killed twice in a row: is there enough memory"):
        list(run_in_processes([kill_always, partial(str, 1)], 2))


def test_workers_end_with_the_process_that_started_them(tmp_path):
    """SIGKILL of the parent, which can clean up nothing: its workers are gone within seconds."""
    code = (
        "import os, sys; from functools import partial; from stagkit.core.parallel import run_in_processes\n"
        "from tests.pieces import sleep_and_name\n"
        "for pid in run_in_processes([partial(sleep_and_name, 0.1)] * 2 + [partial(sleep_and_name, 600)] * 2, 2):\n"
        "    print(pid, flush=True)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], env=ENVIRONMENT, stdout=-1, text=True, cwd=ROOT)
    workers = {int(parent.stdout.readline()) for _ in range(2)}
    parent.kill()
    parent.wait()
    for _ in range(3000):
        alive = [pid for pid in workers if Path(f"/proc/{pid}").exists()]
        if not alive:
            break
        time.sleep(0.1)
    assert not alive


# ── a cluster on this machine ────────────────────────────────────────────────────────────────────────────────────────


def test_a_local_cluster_serves_no_other_user_and_opens_no_dashboard():
    """Who has not its throw-away certificate cannot talk to its scheduler; port 8787 stays closed."""
    distributed = pytest.importorskip("distributed", reason="dask.distributed is not installed (extra 'cluster')")
    pytest.importorskip("cryptography", reason="cryptography is not installed (extra 'cluster')")
    from stagkit.core.parallel import connect

    with connect("local:1") as client:
        address = client.scheduler.address
        assert address.startswith("tls://127.0.0.1:")
        assert all(a.startswith("tls://127.0.0.1:") for a in client.scheduler_info()["workers"])
        assert not client.dashboard_link or ":8787" not in client.dashboard_link
        for other in (address.replace("tls", "tcp"), address):
            for security in (None, distributed.Security.temporary()):
                with pytest.raises((OSError, RuntimeError, TimeoutError, TypeError)):
                    distributed.Client(other, timeout="2s", security=security)


# ── a full disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_is_one_sentence_with_the_file(home, tmp_path, monkeypatch, capsys):
    """The system refuses every byte after the first 40,000, as a full disk or a quota does."""
    import resource

    def limited():
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    command = ["evaluate", home / "maps.npz", "--out", tmp_path / "run", "--epochs", 1, "--workers", 1]
    code, _, told = ForkedCommand(
        [*command, "--set", "stag.width=8", "--set", "stag.heads=2"], tmp_path, limited
    ).wait()
    assert code == 2
    assert b"Traceback" not in told
    assert b"seed0_fold000.safetensors cannot be written: File too large" in told
    assert not [p for p in (tmp_path / "run").rglob("*") if p.name.startswith(TEMPORARY)]


def test_probabilities_are_numbers(home):
    table = Run.load(home / "run").predictions
    assert table[[c for c in table if c.startswith("p_")]].to_numpy().dtype == np.float64
