"""Folders and frames below a root: each listed once, nothing outside the root is seen.

Frames are told by the last integer in their file name, never by a format: ``img46.jpg``, ``reg_img46.jpg``,
``006_05562.jpg`` and ``006_0180.jpg`` are frames 46, 46, 5562 and 180.
"""

from __future__ import annotations

import glob
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import cv2
import numpy as np

from stagkit.types import StagkitError

PICTURES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}

_LAST_INTEGER = re.compile(r"(?<![0-9])([0-9]{1,12})[^0-9]*$")


def compute_frame_number(name: str) -> int | None:
    """The last integer in a file name without its ending; None where there is none.

    Example:
        >>> compute_frame_number("006_05562.jpg"), compute_frame_number("cover.jpg")
        (5562, None)
    """
    found = _LAST_INTEGER.search(os.path.splitext(name)[0])
    return int(found.group(1)) if found else None


class Tree:
    """What lies below a root.

    Args:
        root: a folder; links that lead out of it are not followed but kept in ``escaped``.

    Raises:
        StagkitError: a folder that cannot be listed.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.escaped: list[str] = []
        self._real = self.root.resolve()
        self._listed: dict[Path, tuple[list[str], list[str]]] = {}
        self._lower: dict[Path, defaultdict[str, list[str]]] = {}

    def list(self, folder: Path) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in ``folder``, sorted; hidden ones left out."""
        if folder not in self._listed:
            folders, files = [], []
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except (FileNotFoundError, NotADirectoryError):
                entries = []
            except OSError as error:
                raise StagkitError(f"the folder {folder} cannot be listed: {error.strerror}.") from error
            for entry in entries:
                if entry.name.startswith((".", "~$")):
                    continue
                if entry.is_symlink() and not self._stays(entry.path):
                    self.escaped.append(os.path.relpath(entry.path, self.root))
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
            self._listed[folder] = folders, files
        return self._listed[folder]

    def _stays(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._real)
        except (OSError, RuntimeError):  # a link to itself
            return False

    def match(self, base: Path, pattern: str) -> list[Path]:
        """Folders below ``base`` whose path fits ``pattern`` (``*`` within a name; upper and lower case alike).

        ``..`` and an absolute path fit nothing, since folders are only ever found by listing.
        """
        found = [base]
        for part in pattern.lower().split("/"):
            found = [f / name for f in found for name in self._named(f, part)]
        return found

    def _named(self, folder: Path, part: str) -> Sequence[str]:
        """Folders in ``folder`` that fit one part of a pattern."""
        if folder not in self._lower:
            self._lower[folder] = defaultdict(list)
            for name in self.list(folder)[0]:
                self._lower[folder][name.lower()].append(name)
        if not glob.has_magic(part):
            return self._lower[folder].get(part, ())
        return [name for low, names in self._lower[folder].items() if fnmatchcase(low, part) for name in names]

    def pictures(self, folder: Path) -> tuple[dict[int, Path], list[int]]:
        """Frame number -> file, in order; and the numbers that two files claim."""
        found: dict[int, Path] = {}
        twice = []
        for name in self.list(folder)[1]:
            number = compute_frame_number(name) if os.path.splitext(name)[1].lower() in PICTURES else None
            if number is None:
                continue
            if number in found:
                twice.append(number)
            found[number] = folder / name
        return dict(sorted(found.items())), twice

    def describe(self, n: int = 8) -> str:
        """What stands at the top, in words."""
        if not self.root.exists():
            return "no such folder"
        if not self.root.is_dir():
            return "a file, not a folder"
        folders, files = self.list(self.root)
        names = [f"{f}/" for f in folders] + files
        more = f" and {len(names) - n} more" if len(names) > n else ""
        return ", ".join(names[:n]) + more if names else "an empty folder"


def iter_pictures(paths: Sequence[Path], clip_id: str) -> Iterator[np.ndarray]:
    """The frames of a clip one by one: uint8 "y x" (grey) or "y x chan" (RGB).

    Raises:
        StagkitError: no picture, a damaged one, or one of another size or colour than the first.
    """
    if not paths:
        raise StagkitError(f"clip {clip_id!r} has no pictures.")
    shape = None
    for path in paths:
        try:
            frame = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
        except (OSError, cv2.error):
            frame = None
        if frame is None:
            raise StagkitError(f"clip {clip_id!r}: {path} is damaged and cannot be read as a picture.")
        if frame.dtype != np.uint8:
            raise StagkitError(f"clip {clip_id!r}: {path.name} is {frame.dtype}, expected 8 bits a channel.")
        frame = frame[..., 2::-1] if frame.ndim == 3 else frame
        shape = shape or frame.shape
        if frame.shape != shape:
            raise StagkitError(f"clip {clip_id!r}: {path.name} is {frame.shape}, the first frame is {shape}.")
        yield frame


def read_pictures(paths: Sequence[Path], clip_id: str) -> np.ndarray:
    """All frames of a clip: uint8 "time y x" (grey) or "time y x chan" (RGB); see ``iter_pictures``."""
    return np.stack(list(iter_pictures(paths, clip_id)))
