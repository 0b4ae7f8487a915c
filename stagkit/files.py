"""Files that are never half-written: everything is written aside and then renamed into place.

Also the one small contract of long work: ``Progress`` wraps a stream of finished pieces, e.g. in a progress bar.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from stagkit.types import StagkitError

#: (stream of finished pieces, how many there will be; None where nobody knows) -> the same stream
Progress = Callable[[Iterable, int | None], Iterable]


def no_progress(stream: Iterable, total: int | None) -> Iterable:
    """Show nothing."""
    return stream


@contextmanager
def write_aside(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that replaces it when the block ends well, and vanishes when it does not.

    The temporary name keeps the ending (``.npz``, ``.png``), which many writers look at.

    Raises:
        StagkitError: the folder cannot be made or written.
    """
    path = Path(path)
    check_writable(path.parent)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        os.chmod(aside, 0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Make ``folder`` if need be.

    Raises:
        StagkitError: it cannot be made, is a file, or cannot be written.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StagkitError(f"{folder} is a file, or lies below one: give a folder.") from error
    except OSError as error:
        raise StagkitError(f"the folder {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise StagkitError(f"the folder {folder} cannot be written: choose another, or change its permissions.")


def write_text(path: str | Path, text: str) -> None:
    """Write text, whole or not at all."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: object) -> None:
    """Write JSON, whole or not at all; floats as they are, so that reading gives the same numbers."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: str | Path) -> dict:
    """Read a JSON object.

    Raises:
        StagkitError: missing or damaged.
    """
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise StagkitError(f"there is no file {path}.") from error
    except (OSError, ValueError) as error:
        raise StagkitError(f"{path} is damaged (no readable JSON): remove it and make it again.") from error
    if not isinstance(value, dict):
        raise StagkitError(f"{path} holds {type(value).__name__}, expected a JSON object.")
    return value


def compute_digest(*parts: bytes) -> str:
    """16 hex digits of the SHA-256 of all parts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]
