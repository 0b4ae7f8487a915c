"""What is only there while a run is at work: who holds its folder, how far each fold is, what a killed one goes on from.

```
RUN/
  lock, lock.json   held by one process; the system frees the lock when that process ends, however it ends
  working/          seed0_fold003.json: epoch, loss (read by the progress bar); .safetensors: the last checkpoint
```
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.files import write_aside, write_json
from stagkit.types import StagkitError

if TYPE_CHECKING:
    from torch import Tensor


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Be the only process that works on a folder.

    Raises:
        StagkitError: another process does, with its number, machine and start. One that was killed holds nothing.
    """
    from filelock import FileLock, Timeout

    lock, note = FileLock(Path(folder) / "lock", timeout=0), Path(folder) / "lock.json"
    try:
        lock.acquire()
    except Timeout as error:
        told = ""
        with suppress(OSError, ValueError, KeyError):
            other = json.loads(note.read_text(encoding="utf-8"))
            told = f" (process {other['pid']} on {other['host']}, since {other['since']})"
        raise StagkitError(
            f"another process works on {folder}{told}: wait until it has ended, or give another folder."
        ) from error
    try:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(note, {"pid": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        note.unlink(missing_ok=True)
        Path(folder, "lock").unlink(missing_ok=True)
        lock.release()


class Desk:
    """The place of one fold, or one stack of folds, while it is trained.

    Args:
        folder: of the run.
        name: of the fold.
        every: seconds between two checkpoints.
    """

    def __init__(self, folder: str | Path, name: str, every: float = 10.0):
        base = Path(folder) / "working"
        self._note, self._state = base / f"{name}.json", base / f"{name}.safetensors"
        self._every, self._told, self._kept = every, 0.0, time.monotonic()

    def tell(self, epoch: int, epochs: int, loss: float, networks: int = 1) -> None:
        """Say how far the fold is (at most twice a second)."""
        if time.monotonic() - self._told > 0.5:
            self._told = time.monotonic()
            write_json(self._note, {"epoch": epoch, "epochs": epochs, "loss": loss, "networks": networks})

    def is_time(self) -> bool:
        """Is a checkpoint due?"""
        return time.monotonic() - self._kept > self._every

    def keep(self, state: dict[str, Tensor]) -> None:
        """Keep a checkpoint, whole or not at all."""
        from safetensors.torch import save_file

        with write_aside(self._state) as aside:
            save_file(state, aside)
        self._kept = time.monotonic()

    def take_up(self) -> dict[str, Tensor] | None:
        """The last checkpoint; None where there is none, or it cannot be read (then the fold starts anew)."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        with suppress(OSError, SafetensorError):
            return load_file(self._state)
        return None

    def clear(self) -> None:
        """The fold is finished, or has not begun."""
        for path in (self._note, self._state):
            path.unlink(missing_ok=True)


def read_progress(folder: str | Path) -> list[dict]:
    """How far each fold at work is, below a folder of one run or of many: epoch, epochs, loss, networks."""
    found = []
    for path in sorted(Path(folder).glob("**/working/*.json")):
        with suppress(OSError, ValueError):
            found.append(json.loads(path.read_text(encoding="utf-8")))
    return found


def forget_progress(folder: str | Path) -> None:
    """Remove what a killed process said of its folds; checkpoints stay."""
    for path in Path(folder).glob("working/*.json"):
        path.unlink(missing_ok=True)
