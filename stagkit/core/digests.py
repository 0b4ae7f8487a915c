"""Digests of the files of a folder: what is read later is what was written.

``digests.json`` maps the path of each file inside the folder to the SHA-256 of its bytes (16 hex digits). It protects
against damage, not against people: whoever changes a file can change its digest too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from stagkit.core.errors import StagkitError
from stagkit.core.files import digest_file, read_json, resolve_inside, write_json

DIGESTS = "digests.json"


def compute_digests(folder: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Digest of each file, by its path inside ``folder``, in the order of the names."""
    return {name: digest_file(resolve_inside(folder, name)) for name in sorted(names)}


def write_digests(folder: str | Path, digests: Mapping[str, str]) -> None:
    """Write ``digests.json`` of a folder."""
    write_json(resolve_inside(folder, DIGESTS), dict(digests))


def read_digests(folder: str | Path) -> dict[str, str]:
    """Digests of the files of a folder; empty if it has none (an older stagkit wrote it).

    Raises:
        StagkitError: ``digests.json`` is damaged.
    """
    path = resolve_inside(folder, DIGESTS)
    if not path.is_file():
        return {}
    found = read_json(path)
    if not all(isinstance(value, str) for value in found.values()):
        raise StagkitError(f"{path} is damaged (a digest is not text): restore it from a copy.")
    return found


def check_digest(folder: str | Path, name: str, digests: Mapping[str, str]) -> Path:
    """Path of a file, compared with its digest if it has one.

    Raises:
        StagkitError: the path leads out of the folder, or the file is missing or not what was written.
    """
    path = resolve_inside(folder, name)
    if name in digests and digest_file(path) != digests[name]:
        raise StagkitError(
            f"{path} is damaged: its bytes are not those that were written. Restore it from a copy, or make it again."
        )
    return path


def find_damage(folder: str | Path, digests: Mapping[str, str]) -> dict[str, str]:
    """State of each file with a digest: ``ok``, ``missing``, ``damaged``, or why it cannot be read."""
    states = {}
    for name, digest in digests.items():
        try:
            path = resolve_inside(folder, name)
            states[name] = "missing" if not path.is_file() else "ok" if digest_file(path) == digest else "damaged"
        except StagkitError as error:
            states[name] = str(error)
    return states
