"""Kill a command, run it again, and compare what lies on disk with what an uninterrupted command writes.

``python -m tests.kills HOME [COMMAND ...] [--random N]`` runs the ``PLAN`` of some commands (without a name: all) in the
folder HOME: kills before or after renames in turn, then N kills at random moments of the time that the command takes. It
prints a line per fault and, last, command -> number of kills as JSON. Only the process of the command is killed: its workers
have to end alone.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path

import cv2
import numpy as np
import psutil
from filelock import FileLock, Timeout

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import TEMPORARY
from stagkit.core.types import Clip, StagkitError
from stagkit.motion.config import FlowConfig
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from tests.small import save_maps

#: Command -> (first rename, step to the next, random moments); "-2": with two worker processes, whose start takes seconds.
PLAN = {
    "evaluate": (1, 9, 5),
    "explain": (0, 5, 4),
    "prepare": (0, 1, 4),
    "frames": (0, 29, 4),
    "casme2": (0, 29, 4),
    "evaluate-2": (0, 0, 1),
    "prepare-2": (0, 0, 1),
}
#: Seconds that workers may take to end: they look every 0.2 s, but a busy machine may not let them.
PATIENCE = 60.0
TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
#: What differs between two commands: times, and what names them.
PASSING = ("lock", "lock.json", "digests.json", "seal.json", "environment.json")
PASSING_KEYS = ("seconds", "cost", "unblinded_at", "train_seconds", "inference_ms_per_clip", "predictions")


class DrawnOnce(PhantomSource):
    """Phantoms that are kept in memory: every child process has them at once."""

    @cached_property
    def clips(self) -> dict[str, Clip]:
        return {key: super(DrawnOnce, self).read(key) for key in self.keys}

    def read(self, key: str) -> Clip:
        return self.clips[key]


def make_command(name: str, home: Path) -> Callable[[Path], None]:
    """The command as a function of its folder; what it needs is made in ``home`` by a child process."""
    name, _, workers = name.partition("-")
    workers = int(workers or 1)
    if name in ("evaluate", "explain"):
        maps = save_maps(home / "maps.npz")

        def evaluate(out: Path) -> None:
            from stagkit.datasets.prepare import load_data
            from stagkit.evaluation.evaluate import evaluate

            settings = {"protocol": "groupkfold", "n_folds": 2, "workers": workers, "data_path": maps}
            evaluate(load_data(maps), out, TINY, TrainConfig(epochs=1, batch_size=24), **settings)

        def explain(out: Path) -> None:
            from stagkit.explain.run import explain_run, hold_explanations

            if not out.exists():
                shutil.copytree(home / "run", out)
            with hold_explanations(out, 0):
                explain_run(out, n_steps=1, controls=False)

        if name == "explain":
            in_child(lambda: evaluate(home / "run"))
        return evaluate if name == "evaluate" else explain
    config = PhantomConfig(subjects=2, clips=1, size=48, difficulty=0.0)
    source = DrawnOnce(config) if workers == 1 else PhantomSource(config)
    assert len(source.keys) == 2 and (workers > 1 or len(source.clips) == 2)

    def prepare(out: Path) -> None:
        from stagkit.datasets.prepare import prepare_clips

        prepare_clips(source, out, FlowConfig(method="dis_fast", n_frames=2), workers=workers)

    def write_frames(out: Path) -> None:
        from stagkit.datasets.manifest import write_manifest

        write_manifest(source, out)

    def write_tree(out: Path) -> None:
        from stagkit.synthetic.releases import write_tree

        write_tree(source, "casme2", out)

    return {"prepare": prepare, "frames": write_frames, "casme2": write_tree}[name]


def in_child(
    work: Callable[[], None], kill_at: int = -1, after: bool = False, kill_after: float | None = None
) -> tuple[int, int, float]:
    """Run ``work`` in a fork, and wait until its workers have ended too.

    Args:
        work: what to run.
        kill_at: it is killed at its rename of this number, or right after it (``after``).
        kill_after: it is killed after so many seconds.

    Returns:
        Exit code (-9 if killed), number of renames (0 if killed), and seconds until the last worker ended.
    """
    with tempfile.TemporaryDirectory() as folder:
        counted = Path(folder) / "renames"
        pid = os.fork()
        if not pid:
            os.setsid()  # its workers are then the processes of its session
            _run_child(work, kill_at, after, counted)
        if kill_after is not None:
            time.sleep(kill_after)
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        ended = time.monotonic()
        while (alive := list_workers(pid)) and time.monotonic() - ended < PATIENCE:
            time.sleep(0.05)
        waited = time.monotonic() - ended
        for worker in alive:
            os.kill(worker, signal.SIGKILL)
        count, *modules = counted.read_text().split("\n") if code >= 0 else ["0"]
    for module in modules:  # loaded once here, every later child has them at once
        if module not in sys.modules:
            with suppress(Exception):
                importlib.import_module(module)
    return code, int(count), waited


def _run_child(work: Callable[[], None], kill_at: int, after: bool, counted: Path) -> None:
    count, real, code = 0, os.replace, 0

    def replace(*where, **more) -> None:
        nonlocal count
        if count == kill_at and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        real(*where, **more)
        if count == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        count += 1

    os.replace = replace
    try:
        work()
    except StagkitError as error:
        print("refused:", error)
        code = 2
    except BaseException:
        traceback.print_exc(file=sys.stdout)
        code = 1
    counted.write_text("\n".join([str(count), *sys.modules]))
    sys.stdout.flush()
    os._exit(code)


def list_workers(session: int) -> list[int]:
    """Living processes of a session."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError, psutil.Error):  # it has ended meanwhile
            if os.getsid(process.pid) == session and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


def list_held(root: Path) -> list[str]:
    """Locks in a folder that a process holds."""
    held = []
    for path in root.rglob("lock"):
        try:
            with FileLock(path, timeout=0):
                pass
        except Timeout:
            held.append(path.relative_to(root).as_posix())
    return held


def read_tree(root: Path) -> dict[str, object]:
    """Every file that has to be the same after an interruption: bytes, or what they hold where they hold a time."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if path.name in PASSING:
            continue
        if path.name.startswith(TEMPORARY):
            found[name] = "half-written"
        elif path.suffix == ".json":
            found[name] = _strip(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".xlsx":
            from stagkit.datasets.spreadsheets import load_grids

            found[name] = repr(load_grids(path))
        elif path.suffix == ".npz":
            with np.load(path) as file:
                found[name] = {key: file[key].tobytes() for key in file.files}
        else:
            found[name] = path.read_bytes()
    return found


def _strip(value):
    if isinstance(value, dict):
        return {k: _strip(v) for k, v in value.items() if k not in PASSING_KEYS and k != "files"}
    return [_strip(v) for v in value] if isinstance(value, list) else value


class Trial:
    """A command, what it writes without interruption, and how often it was killed.

    Args:
        name: of ``PLAN``.
        home: a folder for everything.
    """

    def __init__(self, name: str, home: Path):
        cv2.setNumThreads(1)  # its threads do not live in a fork
        home.mkdir(parents=True, exist_ok=True)
        self.home, self.name, self.command = home, name, make_command(name, home)
        self.faults, self.tried, self.late, self.longest = [], 0, 0, 0.0
        wholes = []
        for folder in ("whole",) if name.endswith("-2") else ("load", "whole"):  # the first loads the modules
            begun = time.monotonic()
            code, self.points, _ = in_child(partial(self.command, self.make(folder)))
            self.seconds = time.monotonic() - begun
            assert code == 0
            wholes.append(read_tree(home / folder / "out"))
        assert wholes[0] == wholes[-1]
        self.whole = wholes[0]

    def make(self, folder: str) -> Path:
        """A folder for the command."""
        out = self.home / folder / "out"
        if self.name == "explain":
            shutil.copytree(self.home / "run", out)
        return out

    def kill(self, label: str, **kill) -> bool:
        """Kill the command, check what is left, run it again and compare; False if it had ended before."""
        out = self.make("kill")
        code, _, waited = in_child(partial(self.command, out), **kill)
        if code != -signal.SIGKILL:
            shutil.rmtree(out)
            return False
        self.tried, self.longest = self.tried + 1, max(self.longest, waited)
        held, finished = list_held(out), read_tree(out) == self.whole
        again, *_ = in_child(partial(self.command, out))
        now = read_tree(out)
        differ = sorted(key for key in {*now, *self.whole} if now.get(key) != self.whole.get(key))
        well = again == 0 or (finished and again == 2)  # a finished data set is not written again
        if waited >= PATIENCE or held or list_held(out) or not well or differ:
            self.faults.append(
                f"{label}: workers ended after {waited:.1f} s, locks held: {held}, the same command then ends with "
                f"{again}, differ: {differ[:4]}"
            )
        shutil.rmtree(out)
        return True


def try_renames(trial: Trial, first: int, step: int) -> None:
    """Kill before or after every ``step``-th rename from ``first`` on, and after the last."""
    assert trial.points >= 5
    for at in [*range(first, trial.points - 1, step), trial.points - 1]:
        after = at == trial.points - 1 or bool((at // step) % 2)
        if not trial.kill(f"rename {at}", kill_at=at, after=after):
            trial.faults.append(f"rename {at}: not reached")


def try_moments(trial: Trial, n: int) -> None:
    """Kill ``n`` times at random moments, uniform over the seconds that the command takes; the same moments every time."""
    moments, aim = random.Random(0), trial.tried + n
    while trial.tried < aim and trial.late < 10 * n:  # faster than when it was measured: it had ended
        after = moments.uniform(0, trial.seconds)
        trial.late += not trial.kill(f"after {after:.3f} s", kill_after=after)


def main() -> int:
    """Run the plan; exit code 1 with faults."""
    parser = argparse.ArgumentParser(prog="python -m tests.kills")
    parser.add_argument("home", type=Path)
    parser.add_argument("commands", nargs="*", metavar="COMMAND", help=", ".join(PLAN))
    parser.add_argument("--random", type=int, help="random kills of each command")
    chosen = parser.parse_args()
    kills, faults = {}, []
    for name in chosen.commands or PLAN:
        first, step, n = PLAN[name]
        trial = Trial(name, chosen.home / name)
        if step:
            try_renames(trial, first, step)
        try_moments(trial, n if chosen.random is None else chosen.random)
        print(*trial.faults, sep="\n")
        print(
            f"{name}: {trial.seconds:.2f} s uninterrupted; {len(trial.faults)} faults of {trial.tried} kills; "
            f"{trial.late} too late; workers ended after at most {trial.longest:.1f} s",
            flush=True,
        )
        kills[name] = trial.tried
        faults += trial.faults
    print(json.dumps(kills))
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
