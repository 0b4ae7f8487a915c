"""Frames of clips on disk: folders below a root, listed once and never left; images decoded one at a time."""

from __future__ import annotations

import glob
import io
import os
import re
import threading
import unicodedata
import warnings
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from itertools import pairwise
from pathlib import Path
from queue import Empty, Full, Queue

import cv2
import numpy as np

from stagkit.core.types import StagkitError
from stagkit.motion.landmarks import FaceError, align_frames, check_inside, find_points, load_finder

#: Allowed frame rates, frames per second (stagkit's choice).
MIN_FPS, MAX_FPS = 1.0, 100_000.0
RATE = f"a number of frames per second from {MIN_FPS:g} to {MAX_FPS:g}"

IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff"}

#: Largest image that is decoded: pixels (8K film has 33 million) and bytes of its file (stagkit's choice).
MAX_PIXELS, MAX_BYTES = 64_000_000, 2**28

#: Frames at full size that may wait in the queue of ``read_ahead`` (stagkit's choice).
AHEAD = 4

_DIGITS = re.compile(r"[0-9]{1,40}")
_END = object()


class UnclearFramesError(StagkitError):
    """File names that do not give the order of the frames."""


def normalise_name(name: str) -> str:
    """A name for comparison: lower case, Unicode NFC (macOS writes NFD)."""
    return unicodedata.normalize("NFC", name).lower()


@dataclass(frozen=True)
class Frames:
    """The frames of a folder.

    Args:
        files: frame number -> name, sorted; ``duplicates``: numbers of two files, of which ``files`` has one.
        ignored: images without a number, where others have one.
        invalid: image names that are links out of the root, broken links, named pipes or devices.
    """

    files: dict[int, str]
    duplicates: tuple[int, ...] = ()
    ignored: tuple[str, ...] = ()
    invalid: tuple[str, ...] = ()


def number_frames(names: Iterable[str]) -> Frames:
    """Frame number of each image, from the names of all images of a folder.

    Among names of the same pattern, the number that differs is the frame number. If several differ, it is the last of those
    that alone give the same order as all together; ``UnclearFramesError`` if there is none.

    Example:
        >>> number_frames(["frame_10_crop128.png", "frame_2_crop128.png"]).files
        {2: 'frame_2_crop128.png', 10: 'frame_10_crop128.png'}
    """
    patterns: dict[str, list[tuple[tuple[int, ...], str]]] = defaultdict(list)
    ignored, duplicates = [], []
    for name in sorted(names):
        stem = os.path.splitext(name)[0]
        numbers = tuple(int(n) for n in _DIGITS.findall(stem))
        if numbers:
            patterns[_DIGITS.sub("0", normalise_name(stem))].append((numbers, name))
        else:
            ignored.append(name)
    found: dict[int, str] = {}
    for entries in patterns.values():
        at = _find_frame_number([numbers for numbers, _ in entries], [name for _, name in entries])
        for numbers, name in entries:
            if numbers[at] in found:
                duplicates.append(numbers[at])
            found[numbers[at]] = name
    return Frames(dict(sorted(found.items())), tuple(sorted(duplicates)), tuple(ignored))


def _find_frame_number(rows: list[tuple[int, ...]], names: list[str]) -> int:
    """Position of the frame number among the numbers of each name."""
    differ = [k for k in range(len(rows[0])) if len({row[k] for row in rows}) > 1]
    if not differ:
        return len(rows[0]) - 1
    if len(differ) == 1:
        return differ[0]
    rows = sorted(rows)
    for k in reversed(differ):
        if all(a[k] < b[k] for a, b in pairwise(rows)):
            return k
    raise UnclearFramesError(
        f"{len(differ)} numbers differ in the names of the images ({names[0]}, {names[-1]}), and none of them alone gives "
        "the order of the frames: rename the files so that one number counts them"
    )


class Tree:
    """Folders and files below a root.

    Attributes:
        escaped: links that lead out of the root; they are not followed.
        notes: what readers of this tree had to guess, a sentence each.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.escaped: list[str] = []
        self.notes: list[str] = []
        self._real = self.root.resolve()
        self._listed: dict[Path, tuple[list[str], list[str]]] = {}
        self._invalid: dict[Path, list[str]] = {}
        self._normalised: dict[Path, defaultdict[str, list[str]]] = {}

    def name(self, path: Path) -> str:
        """A path relative to the root, with ``/``."""
        return path.relative_to(self.root).as_posix()

    def list(self, folder: Path) -> tuple[list[str], list[str]]:
        """Names of the folders and of the files in ``folder``, sorted; without hidden ones and ``__MACOSX``."""
        if folder not in self._listed:
            folders, files, invalid = [], [], []
            try:
                entries = sorted(os.scandir(folder), key=lambda e: e.name)
            except (FileNotFoundError, NotADirectoryError):
                entries = []
            except OSError as error:
                raise StagkitError(f"the folder {folder} cannot be listed: {error.strerror}.") from error
            for entry in entries:
                if entry.name.startswith((".", "~$")) or entry.name == "__MACOSX":
                    continue
                names = invalid  # leads out of the root, a broken link, a named pipe, a device
                if entry.is_symlink() and not self._stays(entry.path):
                    self.escaped.append(os.path.relpath(entry.path, self.root))
                elif entry.is_dir() or entry.is_file():
                    names = folders if entry.is_dir() else files
                names.append(entry.name)
            self._listed[folder], self._invalid[folder] = (folders, files), invalid
        return self._listed[folder]

    def _stays(self, path: str) -> bool:
        try:
            return Path(path).resolve().is_relative_to(self._real)
        except (OSError, RuntimeError):  # a link to itself
            return False

    def match(self, base: Path, pattern: str, skip: bool = False) -> list[Path]:
        """Folders below ``base`` whose path fits ``pattern`` (``*`` within a name; upper and lower case alike).

        ``..`` and an absolute path fit nothing, since folders are only found by listing. With ``skip``, folders that cannot
        be listed are passed over.
        """
        found = [base]
        for part in normalise_name(pattern).split("/"):
            if skip:
                found = [f for f in found if self._try_list(f) or f in self._listed]
            found = [f / name for f in found for name in self._match_names(f, part)]
        return found

    def _match_names(self, folder: Path, part: str) -> Sequence[str]:
        """Folders in ``folder`` that fit one part of a pattern."""
        if folder not in self._normalised:
            names = defaultdict(list)
            for name in self.list(folder)[0]:
                names[normalise_name(name)].append(name)
            self._normalised[folder] = names
        if not glob.has_magic(part):
            return self._normalised[folder].get(part, ())
        return [name for low, names in self._normalised[folder].items() if fnmatchcase(low, part) for name in names]

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
        """Folders in ``folder``; none if it cannot be listed."""
        try:
            return self.list(folder)[0]
        except StagkitError:
            return ()

    def has_images(self, folder: Path) -> bool:
        """Whether ``folder`` holds an image."""
        return any(_is_image(name) for name in self.list(folder)[1])

    def frames(self, folder: Path) -> Frames:
        """The frames in ``folder``; see ``number_frames``."""
        found = number_frames(name for name in self.list(folder)[1] if _is_image(name))
        return replace(found, invalid=tuple(name for name in self._invalid[folder] if _is_image(name)))

    def list_frames(self, folder: Path) -> tuple[list[Path], list[str]]:
        """Files of one clip's frames in order, and issues, a sentence each; names without numbers are sorted as text."""
        found = self.frames(folder)
        if found.invalid:
            raise StagkitError(
                f"{folder / found.invalid[0]} is a link that leads out of {self.root} or nowhere, or no file: replace it by "
                "the image itself"
            )
        if found.duplicates:
            raise StagkitError(f"two files in {folder} are frame {found.duplicates[0]}: remove one of them")
        if not found.files and not found.ignored:
            raise StagkitError(f"{folder} holds no images")
        if not found.files:
            return [folder / name for name in found.ignored], []
        issues = []
        if found.ignored:
            names = ", ".join(found.ignored[:3])
            issues.append(f"{len(found.ignored)} image(s) without a number in the name are ignored: {names}")
        numbers = list(found.files)
        step = min((b - a for a, b in pairwise(numbers)), default=1)
        gaps = (numbers[-1] - numbers[0]) // step + 1 - len(numbers)
        if gaps > 0:
            first = next(a + step for a, b in pairwise(numbers) if b - a > step)
            issues.append(
                f"{gaps} frame(s) seem to be missing between the first and the last, the first is number {first}"
            )
        return [folder / name for name in found.files.values()], issues

    def describe(self, n: int = 8) -> str:
        """Names in the root, for a message."""
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


# ── images ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def read_image_header(path: Path, data: bytes = b"") -> tuple[tuple[int, int], int]:
    """Size and EXIF orientation of an image, without decoding it: ((height, width) px as stored, 1..8).

    Raises:
        OSError: no image. StagkitError: more than ``MAX_PIXELS``.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of large images, which are refused here
        try:
            with Image.open(io.BytesIO(data) if data else path) as image:
                width, height = image.size
                orientation = image.getexif().get(274, 1)  # the EXIF tag of the orientation; 1 is upright
        except Image.DecompressionBombError:
            width, height, orientation = MAX_PIXELS, 2, 1
        except Exception as error:  # Pillow raises nearly anything for a damaged image
            raise OSError(str(error)) from error
    if width * height > MAX_PIXELS:
        raise StagkitError(f"{path} has more than {MAX_PIXELS:,} pixels: make it smaller")
    return (height, width), orientation if orientation in range(1, 9) else 1


def read_shape(path: Path, clip_id: str) -> tuple[int, int]:
    """(height, width) px of an image as it is shown, without decoding it."""
    try:
        (height, width), orientation = read_image_header(path)
    except OSError as error:
        raise StagkitError(f"clip {clip_id!r}: {path} is damaged and cannot be read as an image.") from error
    except StagkitError as error:
        raise StagkitError(f"clip {clip_id!r}: {error}.") from error
    return (width, height) if orientation >= 5 else (height, width)


def has_exif_rotation(paths: Sequence[Path]) -> bool:
    """Whether the first or last of these images has an EXIF orientation other than upright."""
    for path in {paths[0], paths[-1]} if paths else ():
        with suppress(OSError, StagkitError):  # reported when the image is read
            if read_image_header(path)[1] != 1:
                return True
    return False


def load_image(path: Path) -> np.ndarray:
    """One image with its EXIF orientation applied: uint8 "y x" (grey) or "y x chan" (RGB).

    Raises:
        StagkitError: damaged, too large, or of more than 8 bits per channel.
    """
    frame, orientation = None, 1
    with suppress(OSError, cv2.error):
        if path.stat().st_size > MAX_BYTES:
            raise StagkitError(f"{path} has more than {MAX_BYTES:,} bytes: is it an image?")
        data = path.read_bytes()
        _, orientation = read_image_header(path, data)
        if not _is_truncated(data):
            frame = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if frame is None:
        raise StagkitError(f"{path} is damaged and cannot be read as an image")
    if frame.dtype != np.uint8:
        raise StagkitError(f"{path.name} is {frame.dtype}, expected 8 bits per channel")
    if frame.ndim == 3:
        frame = frame[..., 2::-1] if frame.shape[2] > 2 else frame[..., 0]
    if orientation >= 5:
        frame = frame.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        frame = frame[::-1]
    return frame[:, ::-1] if orientation in (2, 3, 6, 7) else frame


def _is_truncated(data: bytes) -> bool:
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


def iter_frames(paths: Sequence[Path], clip_id: str) -> Iterator[np.ndarray]:
    """The frames of a clip one by one, all of one size: uint8 "y x" (grey) or "y x chan" (RGB)."""
    if not paths:
        raise StagkitError(f"clip {clip_id!r} has no images.")
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


def read_ahead(frames: Iterable[np.ndarray], ahead: int = AHEAD) -> Iterator[np.ndarray]:
    """The same frames in the same order, read by another thread while the last one is processed.

    Errors of ``frames`` are raised here, after the frames before. ``ahead`` frames may wait; one more is being read.
    """
    waiting: Queue = Queue(maxsize=ahead)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            with suppress(Full):
                return waiting.put(item, timeout=0.1)

    def work() -> None:
        try:
            for frame in frames:
                put(frame)
                del frame
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # raised by the consumer
            put(error)

    reader = threading.Thread(target=work, name="frames", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
            del item
    finally:  # also if the consumer stops early
        stop.set()
        with suppress(Empty):
            while True:
                waiting.get_nowait()
        reader.join()


def read_frames(
    paths: Sequence[Path],
    clip_id: str,
    landmarks: np.ndarray | None = None,
    onset: int | None = None,
    size: int = 0,
    landmarker: str = "",
) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames and landmarks of a clip; with a size, aligned frame by frame so that few full-size frames are in memory.

    Args:
        landmarks: float "time 68 2" px if stored; onset: position of the onset frame, None = the first.
        size: side of the aligned square, px; 0 = all frames as they are.
        landmarker: ``face_landmarker.task``, for clips without landmarks; '' = none.

    Returns:
        frames uint8 "time y x" or "time y x chan"; their landmarks float "time 68 2" px, or None.
    """
    onset = onset or 0
    if landmarks is not None and 0 <= onset < len(paths):
        try:
            check_inside(landmarks[onset], read_shape(paths[onset], clip_id))
        except FaceError as error:
            raise FaceError(f"clip {clip_id!r}: {error}") from error
    if not size:
        return load_frames(paths, clip_id), landmarks
    if not 0 <= onset < len(paths):
        raise StagkitError(f"clip {clip_id!r}: onset {onset} lies outside its {len(paths)} frames (0-based).")
    if landmarks is None and landmarker:
        points = find_points(load_frames(paths[onset : onset + 1], clip_id)[0], load_finder(landmarker), clip_id)
        landmarks = np.broadcast_to(points, (len(paths), 68, 2)).copy()
    if landmarks is None:
        raise StagkitError(f"clip {clip_id!r} has no landmarks: store them, or find them (prepare --landmarker FILE).")
    return align_frames(read_ahead(iter_frames(paths, clip_id)), landmarks, onset, size)
