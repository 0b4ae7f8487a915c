"""Any clips at all, listed in a table: a folder with ``manifest.csv`` and one folder of frames a clip.

Columns of ``manifest.csv`` (UTF-8): ``clip_id, subject, dataset, label, folder, fps`` and, where known, ``onset, apex,
offset`` (0-based positions among the clip's sorted frames), ``aus`` (FACS codes as in the sheets; empty = not coded,
``-`` = coded, none seen), ``landmarks`` (an ``.npy`` of float "time 68 2" px) and ``part`` (official part, e.g. ``train``,
``testA``). Paths are relative to the table and
cannot leave its folder. Frames are sorted by the last number in their names.
"""

from __future__ import annotations

import csv
import re
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from stagkit.datasets import ClipSource, DatasetNotAvailable
from stagkit.datasets.stream import read_frames
from stagkit.faces import load_landmarks
from stagkit.facs import parse_aus
from stagkit.files import Progress, compute_digest, no_progress, write_aside, write_text
from stagkit.types import Clip, StagkitError

_NEEDED = ("clip_id", "subject", "dataset", "label", "folder", "fps")
_COLUMNS = (*_NEEDED, "onset", "apex", "offset", "aus", "landmarks", "part")
_PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}


class ManifestSource:
    """Clips listed in ``ROOT/manifest.csv``."""

    def __init__(self, root: str | Path):
        self.root = Path(root)
        table = self.root / "manifest.csv"
        if not table.is_file():
            found = (
                ", ".join(sorted(p.name for p in self.root.iterdir())[:8]) if self.root.is_dir() else "no such folder"
            )
            raise DatasetNotAvailable(
                f"{table} is missing: expected a manifest.csv and frames; found: {found or 'nothing'}."
            )
        try:
            text = table.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise StagkitError(f"{table} cannot be read as UTF-8 text: {error}.") from error
        try:
            read = list(csv.DictReader(text.splitlines()))
        except csv.Error as error:
            raise StagkitError(f"{table} cannot be read as a table: {error}.") from error
        rows = [{k: (v or "").strip() for k, v in row.items() if k} for row in read if any(row.values())]
        missing = [c for c in _NEEDED if not rows or c not in rows[0]]
        if missing:
            raise StagkitError(f"{table} has no column {', '.join(missing)} or no row; expected {', '.join(_COLUMNS)}.")
        for row in rows:
            lacking = [c for c in _NEEDED if not row[c]]
            if lacking:
                raise StagkitError(f"{table}: the row of clip {row['clip_id']!r} has no {', '.join(lacking)}.")
        self._rows = {row["clip_id"]: row for row in rows}
        if len(self._rows) != len(rows):
            raise StagkitError(
                f"{table}: {len(rows) - len(self._rows)} clip_id values stand twice; each clip needs its own."
            )
        self._digest = compute_digest(text.encode())
        self.keys = tuple(self._rows)
        self.name = "+".join(sorted({row["dataset"] for row in rows}))
        self.classes = tuple(sorted({row["label"] for row in rows}))

    def describe(self) -> dict[str, object]:
        """Digest of the table."""
        return {"source": "manifest", "name": self.name, "digest": self._digest}

    #: ``read`` can align frame by frame, so that few frames of real size are in memory at once.
    aligns = True

    def read(self, key: str, size: int = 0, landmarker: str = "") -> Clip:
        """Read one clip; aligned to a square of ``size`` px where it is not 0 (``stream.read_frames``).

        Raises:
            StagkitError: a path that leaves the folder, no frames, a damaged picture, a number that is none, an apex before
            the onset or behind the offset.
        """
        row = self._rows[key]
        folder = self._inside(row["folder"])
        if not folder.is_dir():
            raise StagkitError(f"clip {key!r}: there is no folder {folder}.")
        paths = sorted((p for p in folder.iterdir() if p.suffix.lower() in _PICTURES), key=_frame_number)
        if not paths:
            raise StagkitError(f"clip {key!r}: {folder} holds no pictures.")
        moments = {name: self._position(row, name) for name in ("onset", "apex", "offset")}
        coded = [(name, at) for name, at in moments.items() if at is not None]
        for (first, early), (second, late) in pairwise(coded):
            if early > late:
                raise StagkitError(
                    f"clip {key!r}: {first} is {early} and {second} {late}, expected onset <= apex <= offset; "
                    "leave unknown ones empty."
                )
        aus = (row.get("aus") or "").strip()
        place = row.get("landmarks")
        stored = load_landmarks(self._inside(place), len(paths), key) if place else None
        frames, landmarks = read_frames(paths, key, stored, moments["onset"], size, landmarker)
        return Clip(
            frames=frames,
            fps=self._number(row, "fps"),
            clip_id=key,
            subject=row["subject"] if "/" in row["subject"] else f"{row['dataset']}/{row['subject']}",
            dataset=row["dataset"],
            label=row["label"],
            landmarks=landmarks,
            **moments,
            aus=None if not aus else parse_aus(aus.strip("-")).codes,
            part=(row.get("part") or "").strip(),
        )

    def _inside(self, relative: str) -> Path:
        path = (self.root / relative).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise StagkitError(f"the path {relative!r} leaves {self.root}: paths in manifest.csv must stay inside it.")
        return path

    @staticmethod
    def _number(row: dict[str, str], name: str) -> float:
        try:
            return float(row[name])
        except ValueError as error:
            raise StagkitError(f"clip {row['clip_id']!r}: {name} is {row[name]!r}, expected a number.") from error

    def _position(self, row: dict[str, str], name: str) -> int | None:
        return int(self._number(row, name)) if (row.get(name) or "").strip() else None


def _frame_number(path: Path) -> tuple[int, str]:
    numbers = re.findall(r"\d+", path.stem)
    return (int(numbers[-1]) if numbers else -1, path.name)


def write_manifest(source: ClipSource, root: str | Path, progress: Progress = no_progress) -> Path:
    """Write every clip of a source as PNG frames, landmarks and one ``manifest.csv`` (last, so that it is complete).

    Phantoms keep their truth in ``truth/CLIP.npz`` (``codes, au_intensity, fields, head``).

    Args:
        source: any data set of clips.
        root: folder to write; must not hold a manifest yet.
        progress: wraps the clips and their number, e.g. in a progress bar.
    """
    root = Path(root)
    if (root / "manifest.csv").exists():
        raise StagkitError(f"{root} holds a manifest.csv already: give another folder, or remove it first.")
    lines = [",".join(_COLUMNS)]
    for key in progress(source.keys, len(source.keys)):
        clip = source.read(key)
        folder = root / "frames" / key
        for t, frame in enumerate(clip.frames):
            with write_aside(folder / f"img{t + 1:05d}.png") as aside:
                cv2.imwrite(str(aside), frame[..., ::-1] if frame.ndim == 3 else frame)
        if clip.landmarks is not None:
            with write_aside(root / "landmarks" / f"{key}.npy") as aside:
                np.save(aside, clip.landmarks.astype(np.float32))
        if clip.truth is not None:
            truth = clip.truth
            with write_aside(root / "truth" / f"{key}.npz") as aside:
                np.savez_compressed(
                    aside, codes=truth.codes, au_intensity=truth.au_intensity, fields=truth.fields, head=truth.head
                )
        at = ["" if v is None else str(v) for v in (clip.onset, clip.apex, clip.offset)]
        aus = "" if clip.aus is None else "+".join(f"{c.side}{c.number}" for c in clip.aus) or "-"
        marks = f"landmarks/{key}.npy" if clip.landmarks is not None else ""
        lines.append(
            ",".join(
                (
                    key,
                    clip.subject,
                    clip.dataset,
                    clip.label,
                    f"frames/{key}",
                    f"{clip.fps:g}",
                    *at,
                    aus,
                    marks,
                    clip.part,
                )
            )
        )
    write_text(root / "manifest.csv", "\n".join(lines) + "\n")
    return root
