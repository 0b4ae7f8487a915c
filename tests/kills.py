"""Kill a command at its renames, run it again, and compare what lies on disk with what an uninterrupted command writes.

``python -m tests.kills COMMAND HOME FIRST STEP`` tries every STEP-th rename from FIRST on, before and after it in turn, each
in a process of its own; prints a line per fault and, last, ``POINTS n``.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from stagkit.config import FlowConfig, PhantomConfig, StagConfig, TrainConfig
from stagkit.datasets.phantoms import PhantomSource
from stagkit.types import Clip, StagkitError
from tests.small import save_maps

cv2.setNumThreads(1)  # its threads do not live in a fork

TINY = StagConfig(width=8, heads=2, graph_layers=1, time_layers=1)
#: What differs between two commands: times, and what names them.
PASSING = ("lock", "lock.json", "digests.json", "seal.json", "environment.json")
PASSING_KEYS = ("seconds", "cost", "opened", "train_seconds", "inference_ms_per_clip", "predictions")


class DrawnOnce(PhantomSource):
    """Phantoms that are kept in memory: every child process has them at once."""

    @cached_property
    def clips(self) -> dict[str, Clip]:
        return {key: super(DrawnOnce, self).read(key) for key in self.keys}

    def read(self, key: str) -> Clip:
        return self.clips[key]


def make_command(name: str, home: Path) -> Callable[[Path], None]:
    """The command as a function of its folder; what it needs is made in ``home`` by a child process."""
    if name in ("evaluate", "explain"):
        maps = save_maps(home / "maps.npz")

        def evaluate(out: Path) -> None:
            from stagkit.folds import evaluate
            from stagkit.prepare import load_data

            settings = {"protocol": "groupkfold", "n_folds": 2, "workers": 1, "data_path": maps}
            evaluate(load_data(maps), out, TINY, TrainConfig(epochs=1, batch_size=24), **settings)

        def explain(out: Path) -> None:
            from stagkit.explain_run import explain_run, hold_explanations
            from stagkit.graph_record import save_graphs

            if not out.exists():
                shutil.copytree(home / "run", out)
            with hold_explanations(out, 0) as (run, _):
                explain_run(out, n_steps=1, controls=False)
                save_graphs(run)

        if name == "explain":
            in_child(lambda: evaluate(home / "run"))
        return evaluate if name == "evaluate" else explain
    source = DrawnOnce(PhantomConfig(subjects=2, clips=1, size=48, difficulty=0.0))
    assert len(source.clips) == 2

    def prepare(out: Path) -> None:
        from stagkit.prepare import prepare_clips

        prepare_clips(source, out, FlowConfig(method="dis_fast", n_frames=2), workers=1)

    def write_frames(out: Path) -> None:
        from stagkit.datasets.manifest import write_manifest

        write_manifest(source, out)

    def write_tree(out: Path) -> None:
        from stagkit.datasets.phantom_trees import write_tree

        write_tree(source, "casme2", out)

    return {"prepare": prepare, "frames": write_frames, "casme2": write_tree}[name]


def in_child(work: Callable[[], None], kill_at: int = -1, after: bool = False) -> tuple[int, int]:
    """Run ``work`` in a fork; killed at its rename number ``kill_at``. Exit code (-9 if killed) and number of renames."""
    counted = Path(tempfile.mkdtemp()) / "renames"
    pid = os.fork()
    if not pid:
        count, real = 0, os.replace

        def replace(*where, **more) -> None:
            nonlocal count
            if count == kill_at and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            real(*where, **more)
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            count += 1

        os.replace = replace
        code = 0
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
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    count, *modules = counted.read_text().split("\n") if counted.exists() else ["0"]
    for module in modules:  # loaded once here, every later child has them at once
        if module not in sys.modules:
            with suppress(Exception):
                importlib.import_module(module)
    return code, int(count)


def read_tree(root: Path) -> dict[str, object]:
    """Every file that has to be the same after an interruption: bytes, or what they hold where they hold a time."""
    found = {}
    for path in sorted(p for p in root.rglob("*") if p.is_file()):
        name = path.relative_to(root).as_posix()
        if path.name in PASSING:
            continue
        if path.suffix == ".json":
            found[name] = _strip(json.loads(path.read_text(encoding="utf-8")))
        elif path.suffix == ".xlsx":
            from stagkit.datasets.sheets import load_grids

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


def try_kills(name: str, home: Path, first: int, step: int) -> tuple[list[str], int]:
    """Faults, and how many renames were tried."""
    home.mkdir(parents=True, exist_ok=True)
    command, faults, tried = make_command(name, home), [], 0
    if name == "explain":
        shutil.copytree(home / "run", home / "whole" / "out")
    code, points = in_child(lambda: command(home / "whole" / "out"))
    assert code == 0 and points > 5, (code, points)
    whole = read_tree(home / "whole" / "out")
    for at in range(first, points, step):
        out, tried = home / f"kill{at}" / "out", tried + 1
        if name == "explain":
            shutil.copytree(home / "run", out)
        code, _ = in_child(lambda out=out: command(out), at, after=bool((at // step) % 2))
        again, _ = in_child(lambda out=out: command(out))
        now = read_tree(out)
        differ = sorted(key for key in {*now, *whole} if now.get(key) != whole.get(key))
        if code != -signal.SIGKILL or again or differ:
            faults.append(
                f"rename {at}: killed with {code}, the same command then ends with {again}, differ: {differ[:4]}"
            )
        shutil.rmtree(out)
    return faults, tried


if __name__ == "__main__":
    faults, tried = try_kills(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    print(*faults, sep="\n")
    print("POINTS", tried)
    sys.exit(bool(faults))
