"""Writing clips into a folder: one command at a time, resumed after an interruption, never mixed with other settings.

While a command writes, ``.stagkit-writing/`` in the folder holds its request, its lock and a note per finished clip; it is
removed when the folder is complete.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path

from stagkit.core.files import (
    TEMPORARY,
    Progress,
    check_writable,
    lock_folder,
    read_json,
    remove_temporary,
    resolve_inside,
    safe_name,
    write_json,
)
from stagkit.core.parallel import run_in_processes
from stagkit.core.types import StagkitError

NOTES = ".stagkit-writing"


@contextmanager
def resume_writing(root: str | Path, request: dict) -> Iterator[Callable]:
    """Take a folder for writing clips, or resume the same request.

    Args:
        root: a new or empty folder, or one that the same request left unfinished.
        request: JSON; all that decides what is written.

    Yields:
        ``write_clips(jobs, workers, progress)``: calls each job (key -> function that writes the files of a clip and
        returns a JSON object) in that many processes, unless it was done before the interruption; the objects in order.

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

        def write_clips(jobs: Mapping[str, Callable[[], dict]], workers: int, progress: Progress) -> list[dict]:
            paths = {key: resolve_inside(root, f"{NOTES}/clips/{safe_name(key)}.json") for key in jobs}
            waiting = {key: job for key, job in jobs.items() if not paths[key].is_file()}
            pieces = (partial(_write_clip, key, job) for key, job in waiting.items())
            for key, note in progress(run_in_processes(pieces, max(1, min(workers, len(waiting)))), len(waiting)):
                write_json(paths[key], note)
            return [read_json(path) for path in paths.values()]

        yield write_clips
        for path in (*(notes / "clips").glob("*.json"), *(notes / n for n in ("request.json", "lock.json", "lock"))):
            with suppress(OSError):  # Windows keeps a lock that is held
                path.unlink(missing_ok=True)
        for folder in (notes / "clips", notes):
            with suppress(OSError):
                folder.rmdir()


def _write_clip(key: str, job: Callable[[], dict]) -> tuple[str, dict]:
    return key, job()


def is_unfinished(root: str | Path) -> bool:
    """True if a command that writes clips here was interrupted."""
    return (Path(root) / NOTES / "request.json").is_file()


def _check_place(root: Path) -> None:
    if is_unfinished(root):
        return
    if any(p.name != NOTES and not p.name.startswith(TEMPORARY) for p in root.iterdir()):
        raise StagkitError(f"{root} is not empty: give another folder.")
