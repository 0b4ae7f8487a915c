"""Digests of what a clip is read from, so that a preparation that is resumed does not mix two states of the data."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from stagkit.core.files import compute_digest, digest_file
from stagkit.core.types import StagkitError


def stamp_files(paths: Iterable[Path], root: Path, contents: bool = False, *texts: str) -> str:
    """16 hex digits that change with the names, sizes and times of files (their contents too, where asked) and with texts.

    Args:
        paths: files below ``root``.
        root: names are relative to it, so that a data set may be moved.
        contents: read every file; slow, but a copy with other times has the same stamp.
        texts: whatever else decides the clip.

    Raises:
        StagkitError: a file that is not there.
    """
    parts = list(texts)
    for path in paths:
        try:
            state = os.stat(path)
        except OSError as error:
            raise StagkitError(f"{path} cannot be read: {error.strerror}.") from error
        what = digest_file(path) if contents else str(state.st_mtime_ns)
        parts.append(f"{os.path.relpath(path, root)} {state.st_size} {what}")
    return compute_digest(*(part.encode("utf-8", "surrogatepass") for part in parts))
