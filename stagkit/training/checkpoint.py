"""What exists only while a run is trained: ``RUN/working/FOLD.json`` (progress) and ``FOLD.safetensors`` (checkpoint)."""

from __future__ import annotations

import json
import math
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
        every: seconds between two checkpoints; infinity: progress only, and nothing is resumed.
    """

    def __init__(self, folder: str | Path, name: str, every: float = 10.0):
        self._place, self._every = (folder, name), every
        self._progress = resolve_inside(folder, f"working/{name}.json")
        self._state = resolve_inside(folder, f"working/{name}.safetensors")
        self._logged, self._saved = 0.0, time.monotonic()

    def progress_only(self) -> Checkpoint:
        """The same place, where only progress is written."""
        return Checkpoint(*self._place, every=math.inf)

    def log_progress(self, epochs: int, epoch: int, loss: float, networks: int = 1) -> None:
        """Write how far the fold is after ``epoch`` (from 0), at most twice a second."""
        if time.monotonic() - self._logged > 0.5:
            self._logged = time.monotonic()
            write_json(self._progress, {"epoch": epoch + 1, "epochs": epochs, "loss": loss, "networks": networks})

    def is_due(self) -> bool:
        """Is a checkpoint due?"""
        return time.monotonic() - self._saved > self._every

    def save(self, state: dict[str, Tensor]) -> None:
        """Write a checkpoint, whole or not at all, with a digest of its values."""
        from safetensors import torch as safetensors

        with write_atomically(self._state) as temporary:
            temporary.write_bytes(safetensors.save(state, {"digest": _digest(state)}))
        self._saved = time.monotonic()

    def load(self) -> dict[str, Tensor] | None:
        """The last checkpoint; None if there is none, or (with a warning) if it is damaged."""
        from safetensors import SafetensorError, safe_open

        if self._every == math.inf or not self._state.is_file():
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
        for path in (self._progress, self._state):
            path.unlink(missing_ok=True)


def _digest(state: dict[str, Tensor]) -> str:
    """Digest of names, types, shapes and values."""
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


def clear_working(folder: str | Path, finished: bool) -> None:
    """Remove the progress of killed processes; once the run is ``finished``, checkpoints and the folder too.

    Other files and links in it stay; ``StagkitError`` if ``working`` is a link out of the run.
    """
    base = resolve_inside(folder, "working")
    for path in base.glob("*") if base.is_dir() else ():
        if path.suffix in ((".json", ".safetensors") if finished else (".json",)) and not path.is_symlink():
            path.unlink(missing_ok=True)
    if finished:
        with suppress(OSError):  # absent, or not empty
            base.rmdir()
