"""Writing clips into a folder: one command at a time, resumed after an interruption, never mixed with other settings.

While a command writes, ``.stagkit-writing/`` in the folder holds its request, its lock and a note per finished clip; it is
removed when the folder is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from stagkit.core.files import (
    TEMPORARY,
    check_writable,
    lock_folder,
    read_json,
    remove_temporary,
    resolve_inside,
    safe_name,
    write_json,
)
from stagkit.core.types import StagkitError

NOTES = ".stagkit-writing"


@contextmanager
def resume_writing(root: str | Path, request: dict) -> Iterator[Callable[[str, Callable[[], dict]], dict]]:
    """Take a folder for writing clips, or resume the same request.

    Args:
        root: a new or empty folder, or one that the same request left unfinished.
        request: JSON; all that decides what is written.

    Yields:
        ``once(key, write)``: calls ``write``, which writes the files of a clip and returns a JSON object, unless that was
        done before the interruption; returns the object.

    Raises:
        StagkitError: other files, another request, or another process that writes.
    """
    root, request = Path(root), json.loads(json.dumps(request))
    check_writable(root)
    _check_place(root)
    notes = resolve_inside(root, NOTES)
    with lock_folder(notes):
        _check_place(root)
        remove_temporary(root)
        if is_unfinished(root):
            if read_json(notes / "request.json") != request:
                raise StagkitError(
                    f"{root} holds clips that were begun with other settings: give another folder, or remove it."
                )
        else:
            write_json(notes / "request.json", request)

        def once(key: str, write: Callable[[], dict]) -> dict:
            path = resolve_inside(root, f"{NOTES}/clips/{safe_name(key)}.json")
            if not path.is_file():
                write_json(path, write())
            return read_json(path)

        yield once
        for path in (*(notes / "clips").glob("*.json"), *(notes / n for n in ("request.json", "lock.json", "lock"))):
            with suppress(OSError):  # Windows keeps a lock that is held
                path.unlink(missing_ok=True)
        for folder in (notes / "clips", notes):
            with suppress(OSError):
                folder.rmdir()


def is_unfinished(root: str | Path) -> bool:
    """True if a command that writes clips here was interrupted."""
    return (Path(root) / NOTES / "request.json").is_file()


def _check_place(root: Path) -> None:
    if is_unfinished(root):
        return
    if any(p.name != NOTES and not p.name.startswith(TEMPORARY) for p in root.iterdir()):
        raise StagkitError(f"{root} is not empty: give another folder.")
