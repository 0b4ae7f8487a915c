"""Files: written whole or not at all, never through a link; read with bounds, since anyone may have made them."""

from __future__ import annotations

import hashlib
import json
import math
import os
import platform
import re
import reprlib
import secrets
import threading
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitError

#: (stream of finished pieces, how many there will be; None if unknown) -> the same stream
Progress = Callable[[Iterable, int | None], Iterable]

#: How the names of temporary files begin; a killed command may leave some.
TEMPORARY = ".stagkit-tmp-"

#: Folder of the tables, weights and templates that come with stagkit.
RESOURCES = Path(__file__).parents[1] / "resources"

#: Largest JSON or CSV file that is read, in bytes.
MAX_TEXT = 2**28

#: Digests of the files of a folder: ``{path inside it: 16 hex digits of SHA-256}``. Against damage, not tampering.
DIGESTS = "digests.json"

#: Files of a lock: empty and kept for ever (removing it would let two processes hold it); who holds it now.
LOCK, HOLDER = "lock", "lock.json"

_HELD: dict[Path, int] = {}  # folder -> thread of this process that holds it


def no_progress(stream: Iterable, total: int | None) -> Iterable:
    """Show nothing."""
    return stream


def shorten(value: object, limit: int = 200) -> str:
    """Representation of a value for an error message: at most ``limit`` characters, control characters escaped.

    Example:
        >>> shorten("a" * 1000, 20)
        "'aaaaaaa...aaaaaaaa'"
    """
    short = reprlib.Repr()
    short.maxlevel, short.maxstring, short.maxother, short.maxlong = 3, limit, limit, 40
    try:
        text = short.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        text = f"a value of type {type(value).__name__} that is too large to print"
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


@contextmanager
def write_atomically(path: str | Path) -> Iterator[Path]:
    """Temporary path in the folder of ``path``; it replaces ``path`` if the block succeeds and is removed if it fails.

    The temporary name keeps the ending (``.npz``, ``.png``). ``StagkitError`` if ``path`` is a link or a folder, or cannot
    be written.
    """
    path = Path(path)
    check_writable(path.parent)
    if os.path.islink(path):
        raise StagkitError(f"{path} is a link: name the file that it points to, or remove it.")
    if os.path.isdir(path):
        raise StagkitError(f"{path} is a folder, expected a file to write: give another name, or remove it.")
    aside = path.parent / f"{TEMPORARY}{secrets.token_hex(6)}{path.suffix}"
    try:
        os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield aside
        aside.replace(path)
    except OSError as error:
        raise StagkitError(f"{path} cannot be written: {error.strerror or error}.") from error
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # safetensors wraps the errors of the system
            raise
        raise StagkitError(f"{path} cannot be written: {error}.") from error
    finally:
        aside.unlink(missing_ok=True)


def remove_temporary(folder: str | Path) -> None:
    """Remove the temporary files that a killed command left in ``folder`` and below; links are not followed."""
    for base, _, names in os.walk(folder):
        for name in names:
            if name.startswith(TEMPORARY):
                Path(base, name).unlink(missing_ok=True)


def check_writable(folder: str | Path) -> None:
    """Make ``folder`` if it does not exist; ``StagkitError`` if it is a file, or cannot be made or written."""
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise StagkitError(f"{folder} is a file, or lies below one: give a folder.") from error
    except OSError as error:
        raise StagkitError(f"the folder {folder} cannot be made: {error.strerror}.") from error
    if not os.access(folder, os.W_OK):
        raise StagkitError(f"the folder {folder} cannot be written: choose another, or change its permissions.")


def resolve_inside(root: str | Path, path: str | Path) -> Path:
    """``root / path``, if it stays inside ``root``, also through links; it need not exist yet.

    Raises:
        StagkitError: it leads out of ``root``, or is neither a file nor a folder (a named pipe, a device).
    """
    inner = Path(path)
    if inner.is_absolute() or ".." in inner.parts or "\0" in str(path):
        raise StagkitError(f"{shorten(str(path))} leads out of {root}: expected a path inside that folder.")
    whole = Path(root) / inner
    try:
        real, base = Path(os.path.realpath(whole)), Path(os.path.realpath(root))
        other = os.path.lexists(real) and not (real.is_file() or real.is_dir())
    except OSError as error:
        raise StagkitError(f"{shorten(str(whole))} cannot be read: {error.strerror}.") from error
    if real != base and base not in real.parents:
        raise StagkitError(f"{whole} is a link that leads out of {root}: replace it by the file itself.")
    if other:
        raise StagkitError(f"{whole} is neither a file nor a folder: remove it.")
    return whole


def safe_name(text: str) -> str:
    """File name for an id, at most 100 bytes: plain ids as they are, others shortened and with a digest of the whole id.

    Example:
        >>> safe_name("sub01_EP02_01f"), safe_name("a/b") == safe_name("a_b")
        ('sub01_EP02_01f', False)
    """
    plain = re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}", text) and not text.endswith(".")
    reserved = re.fullmatch(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?|.*-[0-9a-f]{16}", text)
    if plain and not reserved:
        return text
    slug = re.sub(r"\W+", "_", unicodedata.normalize("NFC", text)).strip("_")
    while len(slug.encode("utf-8", "replace")) > 60:
        slug = slug[:-1]
    return f"{slug}-{compute_digest(text.encode('utf-8', 'surrogatepass'))}".encode("utf-8", "replace").decode()


def write_text(path: str | Path, text: str) -> None:
    """Write text, whole or not at all."""
    try:
        data = text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise StagkitError(
            f"{path}: {shorten(error.object[error.start :], 60)} is no valid text: rename it."
        ) from error
    with write_atomically(path) as aside:
        aside.write_bytes(data)


def write_json(path: str | Path, value: object) -> None:
    """Write JSON, whole or not at all; floats as they are, so that reading gives the same numbers."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def load_text(path: str | Path) -> str:
    """Text of a file that somebody else may have made: UTF-8, at most ``MAX_TEXT`` bytes."""
    path = Path(path)
    try:
        if not path.exists():
            raise StagkitError(f"there is no file {path}.")
        if not path.is_file():
            raise StagkitError(f"{path} is not a file.")
        if path.stat().st_size > MAX_TEXT:
            raise StagkitError(f"{path} has {path.stat().st_size:,} bytes, at most {MAX_TEXT:,} are read.")
        return path.read_bytes().decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        raise StagkitError(f"{path} is damaged (not UTF-8 text): remove it and make it again.") from error
    except OSError as error:
        raise StagkitError(f"{shorten(str(path))} cannot be read: {error.strerror}.") from error


def read_json(path: str | Path, kind: type = dict):
    """Read a JSON object, or a list with ``kind=list``; ``StagkitError`` if missing, damaged, too large or too deep."""
    text = load_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StagkitError(f"{path} is damaged (no readable JSON): remove it and make it again.") from error
    if not isinstance(value, kind):
        expected = {dict: "a JSON object", list: "a JSON list"}[kind]
        raise StagkitError(f"{path} holds {type(value).__name__}, expected {expected}.")
    return value


def load_arrays(path: str | Path, max_bytes: int = 2**31) -> dict[str, np.ndarray]:
    """Arrays of an ``.npz`` file, or ``{"": array}`` of an ``.npy`` file; no pickles.

    The sizes that the file states have to fit the file and ``max_bytes``, before memory is taken.
    """
    path = Path(path)
    if not os.path.isfile(path):
        raise StagkitError(f"there is no file {path}.")
    try:
        with path.open("rb") as file:
            zipped = zipfile.is_zipfile(file)
            if not zipped:
                file.seek(0)
                _check_array(path, file, path.stat().st_size, max_bytes)
        if zipped:
            left = max_bytes
            with zipfile.ZipFile(path) as archive:
                for part in archive.infolist():
                    with archive.open(part) as file:
                        left -= _check_array(path, file, part.file_size, left)
        loaded = np.load(path, allow_pickle=False)
        if not zipped:
            return {"": loaded}
        with loaded:
            return {name: loaded[name] for name in loaded.files}
    except StagkitError:
        raise
    # zipfile and numpy raise many kinds of error for damaged files
    except (OSError, ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise StagkitError(f"{path} is damaged (no readable arrays): remove it and make it again.") from error


def _check_array(path: Path, file, n_bytes: int, max_bytes: int) -> int:
    """Check what the header of one array states against ``n_bytes`` of the file; returns the size in bytes."""
    version = np.lib.format.read_magic(file)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(file)
    size = dtype.itemsize * math.prod(shape)
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError("objects or negative sizes")
    if size > max_bytes:
        raise StagkitError(f"{path} states an array of {size:,} bytes, at most {max_bytes:,} are read.")
    if size != n_bytes - file.tell():
        raise ValueError("the size that the header states is not that of the data")
    return size


def compute_digest(*parts: bytes) -> str:
    """16 hex digits of the SHA-256 of all parts."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:16]


def digest_file(path: str | Path) -> str:
    """16 hex digits of the SHA-256 of a file's bytes."""
    try:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise StagkitError(f"{path} cannot be read: {error.strerror}.") from error


def compute_digests(folder: str | Path, names: Iterable[str]) -> dict[str, str]:
    """Digest of each file, by its path inside ``folder``, in the order of the names."""
    return {name: digest_file(resolve_inside(folder, name)) for name in sorted(names)}


def write_digests(folder: str | Path, digests: Mapping[str, str]) -> None:
    """Write ``digests.json`` of a folder."""
    write_json(resolve_inside(folder, DIGESTS), dict(digests))


def read_digests(folder: str | Path) -> dict[str, str]:
    """``digests.json`` of a folder; empty if it has none. ``StagkitError`` if it is damaged."""
    path = resolve_inside(folder, DIGESTS)
    if not path.is_file():
        return {}
    found = read_json(path)
    if not all(isinstance(value, str) for value in found.values()):
        raise StagkitError(f"{path} is damaged (a digest is not text): restore it from a copy.")
    return found


def check_digest(folder: str | Path, name: str, digests: Mapping[str, str]) -> Path:
    """Path of a file inside ``folder``; ``StagkitError`` if its digest is known and its bytes are others."""
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


@contextmanager
def lock_folder(folder: str | Path) -> Iterator[None]:
    """Be the only process that works in a folder, which is made if it does not exist; a thread may lock it again inside.

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
