"""One process at a time works in a folder."""

from __future__ import annotations

import json
import os
import platform
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from stagkit.core.files import check_writable, resolve_inside, write_json
from stagkit.core.types import StagkitError

#: Files of a lock: empty and kept for ever (removing it would let two processes hold it); who holds it now.
LOCK, HOLDER = "lock", "lock.json"

_HELD: dict[Path, int] = {}  # folder -> thread of this process that holds it


@contextmanager
def hold(folder: str | Path) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if it does not exist.

    A thread may hold the same folder again inside the block. The system frees the lock when its process ends.

    Raises:
        StagkitError: another process holds it (number, machine and start are named); the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    check_writable(folder)
    root = Path(folder).resolve()
    if _HELD.get(root) == threading.get_ident():
        yield
        return
    lock, note = FileLock(resolve_inside(root, LOCK), timeout=0), root / HOLDER
    try:
        lock.acquire()
    except Timeout as error:
        holder = ""
        with suppress(OSError, ValueError, KeyError, TypeError):
            other = json.loads(note.read_text(encoding="utf-8"))
            holder = f" (process {other['pid']} on {other['host']}, since {other['since']})"
        raise StagkitError(
            f"another process works on {folder}{holder}: wait until it has ended, or give another folder."
        ) from error
    except OSError as error:
        raise StagkitError(f"{folder} cannot be locked: {error.strerror or error}.") from error
    try:
        _HELD[root] = threading.get_ident()
        since = datetime.now(UTC).isoformat(timespec="seconds")
        write_json(note, {"pid": os.getpid(), "host": platform.node(), "since": since})
        yield
    finally:
        _HELD.pop(root, None)
        note.unlink(missing_ok=True)
        lock.release()
