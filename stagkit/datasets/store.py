"""Prepared clips on disk: one memory-mapped array of a whole data set, and a table that says where each clip lies in it.

```
PREPARED/
  patches-N.npy   float16 "frame roi chan py px": the frames of all clips, one clip after the other
  index.parquet   one row per clip: key, person, label, first frame and how many, times, AUs, digest of all that, stamp of
                  what it was measured from
  clips/*.npz     only while 'stagkit prepare' is at work: what is measured already
```

The index names the array that it belongs to and replaces the one before it in a single step, so the folder is whole at any
moment. Patches are read from the disk when a clip is asked for, and compared with their digest.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from stagkit.core.files import compute_digest, load_arrays, resolve_inside, safe_name, write_atomically
from stagkit.core.types import RoiSequence, StagkitError

INDEX = "index.parquet"
STAGED = "clips"

_TEXTS = ("clip_id", "subject", "dataset", "label", "unit", "part")
_LISTS = {"present": bool, "times_ms": np.float64, "aus": np.float64}

_ROWS = 256  # of the index, in memory at once while it is written


class PreparedClips(Mapping[str, RoiSequence]):
    """The clips of a prepared folder by their keys, each read from the memory-mapped array when it is asked for.

    Args:
        root: a prepared folder.

    Raises:
        StagkitError: no index, a damaged one, or an array that is missing or too short.

    Example:
        >>> clips = PreparedClips("prepared/casme2")                      # doctest: +SKIP
        >>> clips["sub01/EP02_01f"].patches.shape                         # doctest: +SKIP
        (12, 22, 3, 5, 5)
    """

    def __init__(self, root: str | Path):
        from pyarrow import parquet

        self.root = Path(root)
        path = self.root / INDEX
        try:
            resolve_inside(self.root, INDEX)
            with parquet.ParquetFile(path, page_checksum_verification=True) as file:
                self.table = file.read().combine_chunks()
                about = json.loads(file.metadata.metadata[b"stagkit"])
            self._row = {key: i for i, key in enumerate(self.column("key"))}
            self.roi_names = tuple(map(str, about["roi_names"]))
            path = resolve_inside(self.root, str(about["patches"]))
            self.patches = np.load(path, mmap_mode="r", allow_pickle=False)
            if len(self.patches) != about["frames"] or self.patches.dtype != np.float16 or self.patches.ndim != 5:
                raise ValueError(f"{len(self.patches)} frames")
            for name in ("key", *_TEXTS, "stamp", "digest", "first", "frames", *_LISTS):
                if self.table.column(name).null_count:
                    raise ValueError(f"{name} has empty cells")
        except FileNotFoundError as error:
            raise StagkitError(f"there is no {path}: run the same 'stagkit prepare' again.") from error
        except StagkitError:
            raise
        except Exception as error:  # a damaged Parquet file makes pyarrow raise nearly anything
            raise StagkitError(f"{path} is damaged: remove the folder {self.root} and prepare it again.") from error

    def __iter__(self):
        return iter(self._row)

    def __len__(self) -> int:
        return len(self._row)

    def __getitem__(self, key: str) -> RoiSequence:
        arrays = self.read_arrays(key)
        return RoiSequence(
            patches=arrays["patches"].astype(np.float32),
            **{name: arrays[name] for name in _LISTS},
            **self.read_text(key),
            roi_names=self.roi_names,
        )

    def column(self, name: str) -> list:
        """One column of the index, in the order of the clips."""
        return self.table.column(name).to_pylist()

    def read_stamp(self, key: str) -> str:
        """Digest of what the clip was measured from (``stage_clip``)."""
        return self.table.column("stamp")[self._row[key]].as_py()

    def read_text(self, key: str) -> dict[str, str]:
        """``clip_id, subject, dataset, label, unit, part`` of one clip."""
        return {name: self.table.column(name)[self._row[key]].as_py() for name in _TEXTS}

    def read_arrays(self, key: str) -> dict[str, np.ndarray]:
        """``patches`` (float16), ``present``, ``times_ms`` and ``aus`` of one clip.

        Raises:
            StagkitError: they are not those that were written.
        """
        row = self.table.slice(self._row[key], 1)
        first, frames, digest = (row.column(name)[0].as_py() for name in ("first", "frames", "digest"))
        arrays = {"patches": np.array(self.patches[first : first + frames])}
        for name, kind in _LISTS.items():
            arrays[name] = np.array(row.column(name)[0].as_py(), kind)
        text, stamp = self.read_text(key), self.read_stamp(key)
        if _digest(key, arrays, text, stamp, self.roi_names) != digest:
            raise StagkitError(
                f"the values of clip {key!r} in {self.root} are damaged: remove the folder and prepare it again."
            )
        arrays["present"] = arrays["present"].reshape(frames, -1)
        return arrays


def stage_clip(root: Path, key: str, sequence: RoiSequence, stamp: str = "") -> None:
    """Keep one measured clip until all are there; whole or not at all.

    Args:
        stamp: digest of what it was measured from; a clip with another stamp is measured again.
    """
    with write_atomically(staged_path(root, key)) as aside:
        np.savez(
            aside,
            patches=sequence.patches.astype(np.float16),
            **{name: getattr(sequence, name) for name in _LISTS},
            roi_names=sequence.roi_names,
            text=[key, stamp, *(getattr(sequence, name) for name in _TEXTS)],
        )


def staged_path(root: Path, key: str) -> Path:
    """Where a measured clip waits; no two keys share a file."""
    return resolve_inside(root, f"{STAGED}/{safe_name(key)}.npz")


def find_ready(root: Path, stamps: Mapping[str, str]) -> tuple[set[str], set[str]]:
    """Which clips need not be measured any more, and which have to be because what they are read from has changed.

    Args:
        stamps: key -> digest of what the clip is read from now.
    """
    packed = PreparedClips(root) if (root / INDEX).is_file() else {}
    ready, changed = set(), set()
    for key, stamp in stamps.items():
        path, old = staged_path(root, key), None
        if path.is_file():
            try:
                old = _read_staged(path)[3]
            except StagkitError:
                path.unlink()  # cut short when the machine stopped
        elif key in packed:
            old = packed.read_stamp(key)
        if old == stamp:
            ready.add(key)
        elif old is not None:
            changed.add(key)
            path.unlink(missing_ok=True)
    return ready, changed


def pack_clips(root: Path, keys: Sequence[str]) -> PreparedClips:
    """Gather the clips ``keys``, staged or packed before, into one array with its index; one clip is in memory at a time.

    Raises:
        StagkitError: a clip that is neither, or damaged.
    """
    old = PreparedClips(root) if (root / INDEX).is_file() else None
    if old is None or list(old) != list(keys) or any(_is_newer(root, key, old) for key in keys):
        # not the next free number: an array that a killed command left is overwritten
        number = 1 if old is None else int(re.sub(r"\D", "", Path(old.patches.filename).stem) or 0) + 1
        path = resolve_inside(root, f"patches-{number}.npy")
        with (
            write_atomically(resolve_inside(root, INDEX)) as index,
            write_atomically(path) as patches,
        ):  # the array is first
            _write_clips(patches, index, path.name, root, keys, old)
        for other in root.glob("patches-*.npy"):
            if other.name != path.name and other.stem[8:].isdigit() and not other.is_symlink():
                other.unlink()
    _remove_staged(root)
    return PreparedClips(root)


def _is_newer(root: Path, key: str, packed: PreparedClips) -> bool:
    """True if a clip was measured after it was packed, from other files; a killed command may leave packed ones staged."""
    path = staged_path(root, key)
    return path.is_file() and (key not in packed or _read_staged(path)[3] != packed.read_stamp(key))


def _remove_staged(root: Path) -> None:
    """Remove the measured clips that are packed now; other files in their folder, and links, stay."""
    folder = resolve_inside(root, STAGED)
    for path in folder.glob("*.npz"):
        if not path.is_symlink():
            path.unlink()
    with suppress(OSError):  # not there, or not empty
        folder.rmdir()


def _write_clips(
    patches: Path, index: Path, name: str, root: Path, keys: Sequence[str], old: PreparedClips | None
) -> None:
    """Write both files clip by clip; rows of the index leave memory ``_ROWS`` at a time."""
    from pyarrow import parquet

    rows, first, shape, roi_names, schema = [], 0, (), [], _make_schema()
    with patches.open("wb") as file, parquet.ParquetWriter(index, schema, write_page_checksum=True) as table:
        _write_header(file, (0, 1, 3, 1, 1))
        for key in keys:
            path = staged_path(root, key)
            if old is not None and key in old and not path.is_file():
                arrays, text = old.read_arrays(key), old.read_text(key)
                names, stamp = old.roi_names, old.read_stamp(key)
            else:
                arrays, text, names, stamp = _read_staged(path)
            if roi_names and list(names) != roi_names:
                raise StagkitError(
                    f"clip {key!r} has other regions than the first: remove {root} and prepare it again."
                )
            roi_names = list(names)
            file.write(np.ascontiguousarray(arrays["patches"], "<f2").tobytes())
            n_frames, shape = len(arrays["patches"]), arrays["patches"].shape[1:]
            lists = {name: arrays[name].ravel() for name in _LISTS}
            digest = _digest(key, arrays, text, stamp, roi_names)
            rows.append(
                {"key": key, "first": first, "frames": n_frames, "digest": digest, "stamp": stamp, **text, **lists}
            )
            first += n_frames
            if len(rows) == _ROWS:
                _write_rows(table, rows)
        _write_rows(table, rows)
        file.seek(0)
        _write_header(file, (first, *shape))  # padded, so that it is as long as the first one
        about = {"patches": name, "roi_names": roi_names, "frames": first}
        table.add_key_value_metadata({"stagkit": json.dumps(about)})


def _write_rows(table, rows: list[dict]) -> None:
    import pyarrow as pa

    if rows:
        table.write_table(pa.Table.from_pylist(rows, schema=table.schema))
        rows.clear()


def _write_header(file, shape: tuple[int, ...]) -> None:
    np.lib.format.write_array_header_1_0(file, {"descr": "<f2", "fortran_order": False, "shape": shape})


def _make_schema():
    import pyarrow as pa

    listed = {"present": pa.bool_(), "times_ms": pa.float64(), "aus": pa.float64()}
    return pa.schema(
        [
            ("key", pa.string()),
            ("first", pa.int64()),
            ("frames", pa.int64()),
            ("digest", pa.string()),
            ("stamp", pa.string()),
            *((name, pa.string()) for name in _TEXTS),
            *((name, pa.list_(kind)) for name, kind in listed.items()),
        ]
    )


def _read_staged(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str], list[str], str]:
    """Arrays, texts, names of the regions and stamp of a measured clip."""
    try:
        file = load_arrays(path)
        arrays = {name: file[name] for name in ("patches", *_LISTS)}
        _, stamp, *texts = (str(t) for t in file["text"])
        return arrays, dict(zip(_TEXTS, texts, strict=True)), [str(n) for n in file["roi_names"]], stamp
    except (StagkitError, ValueError, KeyError) as error:
        raise StagkitError(f"the measured clip {path} is damaged: remove it and prepare again.") from error


def _digest(
    key: str, arrays: Mapping[str, np.ndarray], text: Mapping[str, str], stamp: str, roi_names: Sequence[str]
) -> str:
    """Digest of everything that is kept of a clip: its values, and who and what it is."""
    about = (key, stamp, tuple(text[name] for name in _TEXTS), tuple(roi_names), np.shape(arrays["patches"]))
    return compute_digest(
        np.ascontiguousarray(arrays["patches"], "<f2").tobytes(),
        *(np.asarray(arrays[name], kind).tobytes() for name, kind in _LISTS.items()),
        repr(about).encode("utf-8", "surrogatepass"),
    )
