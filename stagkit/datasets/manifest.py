"""Any clips at all, listed in a table: a folder with ``manifest.csv`` and one folder of frames per clip.

Columns of ``manifest.csv``: ``clip_id, subject, dataset, label, folder, fps`` and, where known, ``onset, apex, offset``
(0-based positions among the clip's sorted frames), ``aus`` (FACS codes as in the sheets; empty = not coded, ``-`` = coded,
none seen), ``landmarks`` (an ``.npy`` of float "time 68 2" px) and ``part`` (official part, e.g. ``train``, ``testA``).
Paths are relative to the table and cannot leave its folder, by links neither. The table is read like any other
(``datasets.annotation_files``), the frames are listed like those of any other set (``datasets.tree``).

A subject is one person within its data set. A subject that holds a ``/`` is taken as it is: so one person can have the same
name in several data sets.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.facs import read_aus
from stagkit.core.files import (
    Progress,
    digest_file,
    no_progress,
    resolve_inside,
    safe_name,
    shorten,
    write_atomically,
    write_image,
    write_table,
)
from stagkit.core.types import Clip, StagkitError
from stagkit.datasets import Clips, ClipSource, DatasetNotAvailable
from stagkit.datasets.spreadsheets import TableError, load_table, read_frame, read_name, read_rate, read_text
from stagkit.datasets.stamps import stamp_files
from stagkit.datasets.writing import is_unfinished, resume_writing
from stagkit.motion.frames import Tree, has_exif_rotation, normalise_name
from stagkit.motion.landmarks import load_landmarks
from stagkit.motion.stream import read_frames

_NEEDED = ("clip_id", "subject", "dataset", "label", "folder", "fps")
_MORE = ("onset", "apex", "offset", "aus", "landmarks", "part")
_TEXTS = ("clip_id", "subject", "dataset", "label", "folder", "landmarks", "part")


class ManifestSource:
    """Clips listed in ``ROOT/manifest.csv``; rows that cannot be used are left out with a warning.

    Args:
        root: folder of the table and of all that it names.
        annotations: file name of the table, where it is another one than ``manifest.csv``.

    Raises:
        DatasetNotAvailable: no table.
        StagkitError: a table that cannot be read, or without a usable row.
    """

    def __init__(self, root: str | Path, annotations: str = ""):
        self.root = Path(root)
        table = self.root / (annotations or "manifest.csv")
        if not table.is_file():
            raise DatasetNotAvailable(
                f"{table} is missing: expected a manifest.csv and frames; found: {Tree(self.root).describe()}."
            )
        table = resolve_inside(self.root, annotations or "manifest.csv")
        self._notes: list[str] = []
        columns, more = ({name: (name,) for name in names} for names in (_NEEDED, _MORE))
        rows = load_table(table, columns, more, self._notes, complete=True)
        self.skipped: dict[str, str] = {}
        self._rows: dict[str, dict[str, object]] = Clips(skipped=self.skipped)
        for number, cells in rows:
            row = {**cells, **{name: read_name(cells[name]) for name in _TEXTS}}
            lacking = [name for name in _NEEDED if not row[name] and not read_text(cells[name])]
            if lacking:
                name = f"row {number + 1} below the header"
                name += f" (clip {shorten(row['clip_id'], 60)})" if row["clip_id"] else ""
                self.skipped[name] = f"it has no {', '.join(lacking)}"
                continue
            first = self._rows.setdefault(str(row["clip_id"]), row)
            if first is not row and first == row:
                self._notes.append(f"clip {shorten(row['clip_id'], 60)} stands twice, alike: the second is left out")
            elif first is not row:
                self.skipped[str(row["clip_id"])] = "its clip_id stands twice, and the rows disagree"
        for key in self.skipped:
            self._rows.pop(key, None)
        if not self._rows:
            name, why = next(iter(self.skipped.items()), ("the table", "it has no row below its header"))
            raise StagkitError(f"{table} names no clip that can be used; the first, {name}: {why}.")
        self.issues = _find_issues(self._rows)
        self.table, self._digest = table.name, digest_file(table)
        self.keys = tuple(self._rows)
        self.name = "+".join(sorted({str(row["dataset"]) for row in self._rows.values()}))
        self.classes = tuple(sorted({str(row["label"]) for row in self._rows.values()}))
        _warn_of(table, self.skipped, [*self._notes, *self.issues])

    def describe(self) -> dict[str, object]:
        """Digest of the table, rows that are left out, and what is odd about the others."""
        return {
            "source": "manifest",
            "name": self.name,
            "digest": self._digest,
            **({"skipped": self.skipped} if self.skipped else {}),
            **({"issues": [*self._notes, *self.issues]} if self._notes or self.issues else {}),
        }

    #: ``read`` can align frame by frame, so that few frames of real size are in memory at once.
    aligns = True

    def stamp(self, key: str, contents: bool = False) -> str:
        """Digest of what the clip is read from: its row, and size and time (or content) of each of its files."""
        row = self._rows[key]
        paths = self._list_frames(key)[0]
        if row["landmarks"]:
            paths = [*paths, self._resolve(str(row["landmarks"]))]
        return stamp_files(paths, self.root, contents, *(f"{name}={row[name]!r}" for name in sorted(row)))

    def read(self, key: str, size: int = 0, landmarker: str = "") -> Clip:
        """Read one clip; aligned to a square of ``size`` px where it is not 0 (``stream.read_frames``).

        Raises:
            StagkitError: a path that leaves the folder, no frames, a damaged picture, a number that is none, an apex before
            the onset or behind the offset.
        """
        row = self._rows[key]
        paths, moments, fps, stored = self._look_up(key)
        frames, landmarks = read_frames(paths, key, stored, moments["onset"], size, landmarker)
        subject, dataset = str(row["subject"]), str(row["dataset"])
        return Clip(
            frames=frames,
            fps=fps,
            clip_id=key,
            subject=subject if "/" in subject else f"{dataset}/{subject}",
            dataset=dataset,
            label=str(row["label"]),
            landmarks=landmarks,
            **moments,
            aus=read_aus(row["aus"])[0],
            part=str(row["part"]),
        )

    def check(self, key: str) -> int:
        """Everything that ``read`` refuses, without decoding a picture; how many frames there are.

        Raises:
            StagkitError: as ``read``.
        """
        return len(self._look_up(key)[0])

    def _look_up(self, key: str) -> tuple[list[Path], dict[str, int | None], float, np.ndarray | None]:
        """Files of the frames, positions of onset, apex and offset, frame rate, stored landmarks."""
        row = self._rows[key]
        paths, _ = self._list_frames(key)
        moments = {name: self._read_position(key, name, len(paths)) for name in ("onset", "apex", "offset")}
        coded = [(name, at) for name, at in moments.items() if at is not None]
        for (first, early), (second, late) in pairwise(coded):
            if early > late:
                raise StagkitError(
                    f"clip {key!r}: {first} is {early} and {second} {late}, expected onset <= apex <= offset; "
                    "leave unknown ones empty."
                )
        try:
            fps = read_rate(row["fps"])
        except TableError as error:
            raise StagkitError(f"clip {key!r}: {error}.") from error
        place = str(row["landmarks"])
        return paths, moments, fps, load_landmarks(self._resolve(place), len(paths), key) if place else None

    def list_rows(self) -> list[dict[str, object]]:
        """The rows that can be used, field -> cell."""
        return list(self._rows.values())

    def find_issues(self, key: str) -> list[str]:
        """What is odd about one clip's frames, a sentence each; the pictures are not decoded."""
        paths, notes = self._list_frames(key)
        return notes + (["its pictures carry an EXIF rotation, which is applied"] if has_exif_rotation(paths) else [])

    def _list_frames(self, key: str) -> tuple[list[Path], list[str]]:
        folder = self._resolve(str(self._rows[key]["folder"]))
        if not folder.is_dir():
            raise StagkitError(f"clip {key!r}: there is no folder {folder}.")
        tree = Tree(self.root)
        try:
            return tree.list_frames(folder)
        except StagkitError as error:
            raise StagkitError(f"clip {key!r}: {str(error).rstrip('.')}.") from error

    def _resolve(self, relative: str) -> Path:
        """A path of the table; where the system knows the name in another Unicode form, that one."""
        path = resolve_inside(self.root, relative)
        if path.exists():
            return path
        place = self.root
        for part in Path(relative).parts:
            names = os.listdir(place) if place.is_dir() else []
            match = (
                part if part in names else next((n for n in names if normalise_name(n) == normalise_name(part)), part)
            )
            place = place / match
        return resolve_inside(self.root, place.relative_to(self.root))

    def _read_position(self, key: str, name: str, n_frames: int) -> int | None:
        try:
            at = read_frame(self._rows[key][name])
        except TableError as error:
            raise StagkitError(f"clip {key!r}: {name}: {error}: expected a whole number from 0, or nothing.") from error
        if at is not None and at >= n_frames:
            raise StagkitError(f"clip {key!r}: {name} {at} lies outside its {n_frames} frames (0-based).")
        return at


def _find_issues(rows: dict[str, dict[str, object]]) -> list[str]:
    """What can be seen from the table alone, a sentence each."""
    issues = []
    for key, row in rows.items():
        codes, unread = read_aus(row["aus"])
        if codes is None and str(row["aus"] if row["aus"] is not None else "").strip():
            what = f"{', '.join(map(repr, unread))} of " if unread else ""
            issues.append(f"{key}: action units: {what}{shorten(row['aus'], 60)} cannot be read: taken as not coded")
        if "/" in str(row["dataset"]):
            issues.append(f"{key}: its data set {shorten(row['dataset'], 60)} holds a '/': is it in the right column?")
        for name in ("onset", "apex", "offset"):
            cell = row[name]
            if str(cell if cell is not None else "").strip() and not read_text(cell):
                issues.append(f"{key}: {name} is {shorten(cell, 60)}: not coded")
    folders = Counter(str(row["folder"]) for row in rows.values())
    issues += [f"{n} clips have the folder {shorten(f, 60)}" for f, n in folders.items() if n > 1]
    return issues


def _warn_of(table: Path, skipped: dict[str, str], issues: list[str]) -> None:
    import warnings

    if skipped:
        name, why = next(iter(skipped.items()))
        more = f" (and {len(skipped) - 1} more)" if len(skipped) > 1 else ""
        warnings.warn(f"{table}: {name}{more} is left out: {why}.", StagkitWarning, stacklevel=3)
    if issues:
        more = f" (and {len(issues) - 1} more)" if len(issues) > 1 else ""
        warnings.warn(f"{table}: {issues[0]}{more}.", StagkitWarning, stacklevel=3)


def write_manifest(source: ClipSource, root: str | Path, progress: Progress = no_progress, workers: int = 1) -> Path:
    """Write every clip of a source as PNG frames, landmarks and one ``manifest.csv`` (last, so that it is complete).

    Phantoms keep their truth in ``truth/CLIP.npz`` (``codes, au_intensity, fields, head``).

    Args:
        source: any data set of clips.
        root: a new or empty folder, or one that the same call left unfinished.
        progress: wraps the clips and their number, e.g. in a progress bar.
        workers: processes that read (phantoms: draw) and write clips.
    """
    import pandas as pd

    root = Path(root)
    if (root / "manifest.csv").exists() and not is_unfinished(root):
        raise StagkitError(f"{root} holds a manifest.csv already: give another folder, or remove it first.")
    with resume_writing(root, {"layout": "frames", **source.describe()}) as write_clips:
        jobs = {key: partial(_write_clip, source, key, root) for key in source.keys}
        lines = write_clips(jobs, workers, progress)
        write_table(resolve_inside(root, "manifest.csv"), pd.DataFrame(lines, columns=[*_NEEDED, *_MORE]))
    return root


def _write_clip(source: ClipSource, key: str, root: Path) -> dict[str, str]:
    """Write frames, landmarks and truth of one clip; its row of the manifest."""
    clip, name = source.read(key), safe_name(key)
    for t, frame in enumerate(clip.frames):
        path = resolve_inside(root, f"frames/{name}/img{t + 1:05d}.png")
        write_image(path, frame[..., ::-1] if frame.ndim == 3 else frame)
    if clip.landmarks is not None:
        with write_atomically(resolve_inside(root, f"landmarks/{name}.npy")) as aside:
            np.save(aside, clip.landmarks.astype(np.float32))
    if clip.truth is not None:
        truth = clip.truth
        with write_atomically(resolve_inside(root, f"truth/{name}.npz")) as aside:
            np.savez_compressed(
                aside, codes=truth.codes, au_intensity=truth.au_intensity, fields=truth.fields, head=truth.head
            )
    return {
        "clip_id": key,
        "subject": clip.subject,
        "dataset": clip.dataset,
        "label": clip.label,
        "folder": f"frames/{name}",
        "fps": f"{clip.fps:g}",
        **{k: "" if v is None else str(v) for k, v in _get_moments(clip).items()},
        "aus": "" if clip.aus is None else "+".join(f"{c.side}{c.number}" for c in clip.aus) or "-",
        "landmarks": f"landmarks/{name}.npy" if clip.landmarks is not None else "",
        "part": clip.part,
    }


def _get_moments(clip: Clip) -> dict[str, int | None]:
    return {"onset": clip.onset, "apex": clip.apex, "offset": clip.offset}
