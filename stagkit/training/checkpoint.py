"""What is only there while a run works: how far each fold is, and the last checkpoint of each (the lock: ``locks``).

```
RUN/
  working/          seed0_fold003.json: epoch, loss (read by the progress bar); .safetensors: the last checkpoint
```
"""

from __future__ import annotations

import json
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitWarning
from stagkit.core.files import compute_digest, resolve_inside, shorten, write_atomically, write_json

if TYPE_CHECKING:
    from torch import Tensor


class DamagedCheckpointWarning(StagkitWarning):
    """A checkpoint that cannot be used; its fold starts again."""


class Checkpoint:
    """Checkpoint and progress of one fold, or of folds trained together.

    Args:
        folder: of the run.
        name: of the fold.
        every: seconds between two checkpoints.
    """

    def __init__(self, folder: str | Path, name: str, every: float = 10.0):
        self._note = resolve_inside(folder, f"working/{name}.json")
        self._state = resolve_inside(folder, f"working/{name}.safetensors")
        self._every, self._told, self._kept = every, 0.0, time.monotonic()

    def log_progress(self, epochs: int, epoch: int, loss: float, networks: int = 1) -> None:
        """Write how far the fold is after ``epoch`` (from 0), at most twice a second."""
        if time.monotonic() - self._told > 0.5:
            self._told = time.monotonic()
            write_json(self._note, {"epoch": epoch + 1, "epochs": epochs, "loss": loss, "networks": networks})

    def is_due(self) -> bool:
        """Is a checkpoint due?"""
        return time.monotonic() - self._kept > self._every

    def save(self, state: dict[str, Tensor]) -> None:
        """Keep a checkpoint, whole or not at all, with a digest of its values."""
        from safetensors import torch as safetensors

        with write_atomically(self._state) as aside:
            aside.write_bytes(safetensors.save(state, {"digest": _digest(state)}))
        self._kept = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """The last checkpoint; None if there is none.

        Warns:
            DamagedCheckpointWarning: it is damaged; it is removed, and the fold starts again.
        """
        from safetensors import SafetensorError, safe_open

        if not self._state.is_file():
            return None
        try:
            with safe_open(self._state, "pt") as file:
                state = {name: file.get_tensor(name) for name in file.keys()}
                if (file.metadata() or {}).get("digest") == _digest(state):
                    return state
            reason = "its values are not those that were written"
        except (OSError, SafetensorError, ValueError, RuntimeError) as error:
            reason = shorten(str(error))
        warnings.warn(
            f"the checkpoint {self._state} is damaged ({reason}): it is removed, and the fold starts again.",
            DamagedCheckpointWarning,
            stacklevel=3,
        )
        self._state.unlink()
        return None

    def remove(self) -> None:
        """The fold is finished, or has not begun."""
        for path in (self._note, self._state):
            path.unlink(missing_ok=True)


def _digest(state: dict[str, Tensor]) -> str:
    """Digest of names, kinds, shapes and values."""
    parts = []
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        parts += [f"{name} {value.dtype} {tuple(value.shape)}".encode(), value.numpy().tobytes()]
    return compute_digest(*parts)


def read_progress(folder: str | Path) -> list[dict]:
    """How far each running fold is, below a folder of one run or of many: epoch, epochs, loss, networks."""
    found = []
    for path in sorted(Path(folder).glob("**/working/*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            progress = json.loads(path.read_text(encoding="utf-8"))
            found.append({name: progress[name] + 0 for name in ("epoch", "epochs", "loss", "networks")})
    return found


def clear_progress(folder: str | Path) -> None:
    """Remove what a killed process wrote about its folds; checkpoints stay."""
    base = resolve_inside(folder, "working")
    for path in base.glob("*.json"):
        path.unlink(missing_ok=True)


def remove_working(folder: str | Path) -> None:
    """Remove ``working/`` of a finished run; other files in it, and links, stay.

    Raises:
        StagkitError: it is a link out of the run.
    """
    base = resolve_inside(folder, "working")
    for path in base.glob("*") if base.is_dir() else ():
        if path.suffix in (".json", ".safetensors") and not path.is_symlink():
            path.unlink(missing_ok=True)
    with suppress(OSError):  # not there, or not empty
        base.rmdir()
