"""Folders and frames below a root: each listed once, nothing outside the root is seen.

One lister of frames for all data sets, manifests and recordings. Which number in the file names counts the frames is read
from all names of a folder: the one that differs between them (``frame_3_crop128.png`` is frame 3; ``img46.jpg``,
``reg_img46.jpg``, ``006_05562.jpg`` and ``006_0180.jpg`` are frames 46, 46, 5562 and 180).
"""

from __future__ import annotations

import glob
import io
import os
import re
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.types import StagkitError

#: Frame rates outside are a mistake (stagkit's choice), frames per second.
MIN_FPS, MAX_FPS = 1.0, 100_000.0
RATE = f"a number of frames per second from {MIN_FPS:g} to {MAX_FPS:g}"

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}

#: Largest picture that is decoded: pixels (8K film has 33 million) and bytes of its file (stagkit's choice).
MAX_PIXELS, MAX_BYTES = 64_000_000, 2**28

#: EXIF tag 'orientation'; 1 is upright.
_ORIENTATION = 274

_DIGITS = re.compile(r"[0-9]{1,40}")


class UnclearFramesError(StagkitError):
    """Names of pictures from which the order of the frames cannot be read."""


def normalise_name(name: str) -> str:
    """A name as names are compared: lower case, Unicode NFC (macOS writes NFD)."""
    return unicodedata.normalize("NFC", name).lower()


@dataclass(frozen=True)
class Frames:
    """The frames of a folder.

    Args:
        files: frame number -> name, in the order of the numbers.
        claimed: numbers that two files claim; ``files`` has one of the two.
        ignored: pictures that have no number, where others have one.
        odd: names that look like pictures but are links out of the root, broken links, named pipes or devices.
    """

    files: dict[int, str]
    claimed: tuple[int, ...] = ()
    ignored: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()


def number_frames(names: Iterable[str]) -> Frames:
    """Which frame each picture is, from the names of all pictures of a folder.

    Among names of the same pattern, the number that differs counts the frames. Where several differ, the last of those that
    alone give the same order as all together. Pictures without a number are ignored where others have one.

    Raises:
        UnclearFramesError: several numbers differ, and none of them gives the order.

    Example:
        >>> number_frames(["frame_10_crop128.png", "frame_2_crop128.png"]).files
        {2: 'frame_2_crop128.png', 10: 'frame_10_crop128.png'}
    """
    patterns: dict[str, list[tuple[tuple[int, ...], str]]] = defaultdict(list)
    ignored = []
    for name in sorted(names):
        stem = os.path.splitext(name)[0]
        numbers = tuple(int(n) for n in _DIGITS.findall(stem))
        if numbers:
            patterns[_DIGITS.sub("0", normalise_name(stem))].append((numbers, name))
        else:
            ignored.append(name)
    found: dict[int, str] = {}
    claimed = []
    for entries in patterns.values():
        at = _find_counter([numbers for numbers, _ in entries], [name for _, name in entries])
        for numbers, name in entries:
            if numbers[at] in found:
                claimed.append(numbers[at])
            found[numbers[at]] = name
    return Frames(dict(sorted(found.items())), tuple(sorted(claimed)), tuple(ignored))


def _find_counter(rows: list[tuple[int, ...]], names: list[str]) -> int:
    """Which of the numbers in each name counts the frames."""
    differ = [k for k in range(len(rows[0])) if len({row[k] for row in rows}) > 1]
    if not differ:
        return len(rows[0]) - 1
    if len(differ) == 1:
        return differ[0]
    order = sorted(range(len(rows)), key=lambda i: rows[i])
    for k in reversed(differ):
        column = [rows[i][k] for i in order]
        if all(a < b for a, b in zip(column, column[1:], strict=False)):
            return k
    raise UnclearFramesError(
        f"{len(differ)} numbers differ in the names of the pictures ({names[0]}, {names[-1]}), and none of them alone gives "
        "the order of the frames: rename the files so that one number counts them"
    )


class Tree:
    """What lies below a root.

    Args:
        root: a folder; links that lead out of it are not followed but kept in ``escaped``.

    Attributes:
        escaped: links that lead out of the root; notes: what readers of this tree had to guess, a sentence each.

    Raises:
        StagkitError: a folder that cannot be listed.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.escaped: list[str] = []
        self.notes: list[str] = []
        self._real = self.root.resolve()
        self._listed: dict[Path, tuple[list[str], list[str]]] = {}
        self._odd: dict[Path, list[str]] = {}
        self._plain: dict[Path, defaultdict[str, list[str]]] = {}

    def list(self, folder: Path) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in ``folder``, sorted; hidden ones and ``__MACOSX`` left out."""
        if folder not in self._listed:
            folders, files, odd = [], [], []
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except (FileNotFoundError, NotADirectoryError):
                entries = []
            except OSError as error:
                raise StagkitError(f"the folder {folder} cannot be listed: {error.strerror}.") from error
            for entry in entries:
                if entry.name.startswith((".", "~$")) or entry.name == "__MACOSX":
                    continue
                if entry.is_symlink() and not self._stays(entry.path):
                    self.escaped.append(os.path.relpath(entry.path, self.root))
                    odd.append(entry.name)
                elif entry.is_dir():
                    folders.append(entry.name)
                elif entry.is_file():
                    files.append(entry.name)
                else:  # a broken link, a named pipe, a device
                    odd.append(entry.name)
            self._listed[folder], self._odd[folder] = (folders, files), odd
        return self._listed[folder]

    def _stays(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._real)
        except (OSError, RuntimeError):  # a link to itself
            return False

    def match(self, base: Path, pattern: str, skip: bool = False) -> list[Path]:
        """Folders below ``base`` whose path fits ``pattern`` (``*`` within a name; upper and lower case alike).

        ``..`` and an absolute path fit nothing, since folders are only ever found by listing.

        Args:
            skip: pass over folders that cannot be listed.
        """
        found = [base]
        for part in normalise_name(pattern).split("/"):
            if skip:
                found = [f for f in found if self._try_list(f) or f in self._listed]
            found = [f / name for f in found for name in self._named(f, part)]
        return found

    def _named(self, folder: Path, part: str) -> Sequence[str]:
        """Folders in ``folder`` that fit one part of a pattern."""
        if folder not in self._plain:
            plain = defaultdict(list)
            for name in self.list(folder)[0]:
                plain[normalise_name(name)].append(name)
            self._plain[folder] = plain
        if not glob.has_magic(part):
            return self._plain[folder].get(part, ())
        return [name for low, names in self._plain[folder].items() if fnmatchcase(low, part) for name in names]

    def iter_folders(self, depth: int, most: int = 4000) -> Iterator[Path]:
        """The root and the folders below it that can be listed, those nearer to the root first; at most ``most``."""
        level, n = [self.root], 0
        for d in range(depth + 1):
            for folder in level:
                if n >= most:
                    return
                self._try_list(folder)
                if folder in self._listed:
                    yield folder
                    n += 1
            if d < depth:
                level = [folder / name for folder in level for name in self._try_list(folder)]

    def _try_list(self, folder: Path) -> Sequence[str]:
        """Folders in ``folder``; none where it cannot be listed."""
        try:
            return self.list(folder)[0]
        except StagkitError:
            return ()

    def has_images(self, folder: Path) -> bool:
        """Whether a picture lies in ``folder``."""
        return any(_is_image(name) for name in self.list(folder)[1])

    def frames(self, folder: Path) -> Frames:
        """The frames in ``folder``; see ``number_frames``.

        Raises:
            UnclearFramesError: their order cannot be read from their names.
        """
        found = number_frames(name for name in self.list(folder)[1] if _is_image(name))
        odd = tuple(name for name in self._odd[folder] if _is_image(name))
        return Frames(found.files, found.claimed, found.ignored, odd)

    def list_frames(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Files of the frames of one clip in order, and what is odd about them, a sentence each.

        Names without any number are sorted as text.

        Raises:
            StagkitError: no picture, two files that claim one frame, an order that cannot be read from the names, a frame
                that is a link out of the root or no file.
        """
        found = self.frames(folder)
        if found.odd:
            raise StagkitError(
                f"{folder / found.odd[0]} is a link that leads out of {self.root} or nowhere, or no file: replace it by the "
                "picture itself"
            )
        if found.claimed:
            raise StagkitError(f"two files in {folder} claim frame {found.claimed[0]}: remove one of them")
        if not found.files and not found.ignored:
            raise StagkitError(f"{folder} holds no pictures")
        if not found.files:
            return [folder / name for name in found.ignored], []
        notes = []
        if found.ignored:
            shown = ", ".join(found.ignored[:3])
            notes.append(f"{len(found.ignored)} picture(s) without a number in the name are ignored: {shown}")
        numbers = list(found.files)
        step = min((b - a for a, b in pairwise(numbers)), default=1)
        gaps = (numbers[-1] - numbers[0]) // step + 1 - len(numbers)
        if gaps > 0:
            first = next(a + step for a, b in pairwise(numbers) if b - a > step)
            notes.append(
                f"{gaps} frame(s) seem to be missing between the first and the last, the first is number {first}"
            )
        return [folder / name for name in found.files.values()], notes

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


def _is_image(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def read_header(path: Path, data: bytes = b"") -> tuple[tuple[int, int], int]:
    """Size and EXIF orientation of a picture, without decoding it: ((height, width) px as stored, 1..8).

    Args:
        path: the file; ``data``: its bytes, where they are in memory already.

    Raises:
        OSError: no picture. StagkitError: more than ``MAX_PIXELS``.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large pictures, which are refused here
        try:
            with Image.open(io.BytesIO(data) if data else path) as image:
                width, height = image.size
                orientation = image.getexif().get(_ORIENTATION, 1)
        except Image.DecompressionBombError:
            width, height, orientation = MAX_PIXELS, 2, 1
        except Exception as error:  # a damaged picture makes Pillow raise nearly anything
            raise OSError(str(error)) from error
    if width * height > MAX_PIXELS:
        raise StagkitError(f"{path} has more than {MAX_PIXELS:,} pixels: make it smaller")
    return (height, width), orientation if orientation in range(1, 9) else 1


def read_shape(path: Path, clip_id: str) -> tuple[int, int]:
    """(height, width) px of a picture as it is shown, without decoding it.

    Raises:
        StagkitError: damaged or too large.
    """
    try:
        (height, width), orientation = read_header(path)
    except OSError as error:
        raise StagkitError(f"clip {clip_id!r}: {path} is damaged and cannot be read as a picture.") from error
    except StagkitError as error:
        raise StagkitError(f"clip {clip_id!r}: {error}.") from error
    return (width, height) if orientation >= 5 else (height, width)


def has_exif_rotation(paths: Sequence[Path]) -> bool:
    """Whether the first or last of these pictures carries an EXIF orientation other than upright."""
    for path in {paths[0], paths[-1]} if paths else ():
        try:
            if read_header(path)[1] != 1:
                return True
        except (OSError, StagkitError):  # whoever reads the picture names it
            continue
    return False


def load_image(path: Path) -> np.ndarray:
    """One picture, turned as its EXIF orientation says: uint8 "y x" (grey) or "y x chan" (RGB).

    Raises:
        StagkitError: damaged, too large, or of more than 8 bits a channel.
    """
    frame, orientation = None, 1
    try:
        if path.stat().st_size > MAX_BYTES:
            raise StagkitError(f"{path} has more than {MAX_BYTES:,} bytes: is it a picture?")
        data = path.read_bytes()
        _, orientation = read_header(path, data)
        if not is_truncated(data):
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (OSError, cv2.error):
        pass
    if frame is None:
        raise StagkitError(f"{path} is damaged and cannot be read as a picture")
    if frame.dtype != np.uint8:
        raise StagkitError(f"{path.name} is {frame.dtype}, expected 8 bits a channel")
    frame = frame[..., 2::-1] if frame.ndim == 3 and frame.shape[2] > 2 else frame[..., 0] if frame.ndim == 3 else frame
    return apply_exif_orientation(frame, orientation)


def is_truncated(data: bytes) -> bool:
    """Whether the end of a PNG, JPEG or BMP file is missing; decoders fill what is missing with grey."""
    if data[:4] == b"\x89PNG":
        return b"IEND" not in data[-64:]
    if data[:2] == b"\xff\xd8":
        return b"\xff\xd9" not in data[-4096:]
    if data[:2] == b"BM" and len(data) > 54:
        start, width, height, bits, packing = (
            int.from_bytes(data[i : i + n], "little", signed=signed)
            for i, n, signed in ((10, 4, False), (18, 4, True), (22, 4, True), (28, 2, False), (30, 4, False))
        )
        return not packing and len(data) < start + abs(height) * ((abs(width) * bits + 31) // 32 * 4)
    return False


def apply_exif_orientation(frame: np.ndarray, orientation: int) -> np.ndarray:
    """A picture "y x" or "y x chan" as its EXIF orientation (1..8) says that it is to be shown."""
    if orientation >= 5:
        frame = frame.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        frame = frame[::-1]
    if orientation in (2, 3, 6, 7):
        frame = frame[:, ::-1]
    return frame


def iter_frames(paths: Sequence[Path], clip_id: str) -> Iterator[np.ndarray]:
    """The frames of a clip one by one: uint8 "y x" (grey) or "y x chan" (RGB).

    Raises:
        StagkitError: no picture, a damaged one, or one of another size or colour than the first.
    """
    if not paths:
        raise StagkitError(f"clip {clip_id!r} has no pictures.")
    shape = None
    for path in paths:
        try:
            frame = load_image(path)
        except StagkitError as error:
            raise StagkitError(f"clip {clip_id!r}: {error}.") from error
        shape = shape or frame.shape
        if frame.shape != shape:
            raise StagkitError(f"clip {clip_id!r}: {path.name} is {frame.shape}, the first frame is {shape}.")
        yield frame


def load_frames(paths: Sequence[Path], clip_id: str) -> np.ndarray:
    """All frames of a clip: uint8 "time y x" (grey) or "time y x chan" (RGB); see ``iter_frames``."""
    return np.stack(list(iter_frames(paths, clip_id)))
