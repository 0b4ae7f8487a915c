"""Any recording as frames: a video file, or a folder of pictures; in windows, so that memory stays flat."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.motion.frames import MAX_FPS, MIN_FPS, RATE, Tree, iter_frames

_MOVIES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


class TakesFrames(Protocol):
    """A part of a recording that is being filled, e.g. a list."""

    def append(self, frame: np.ndarray, /) -> None:
        """Take the next frame."""


@dataclass(frozen=True)
class Video:
    """A recording that is read frame by frame; iterating starts again each time.

    Args:
        path: the file or folder.
        fps: frames per second.
        name: of the file or folder, without ending.
        given: ``fps`` was given, not read from the file: it decides the times of the frames.
        stamps: times that the file states for the frames read so far, ms.
    """

    path: Path
    fps: float
    name: str
    given: bool = False
    stamps: list[float] = field(default_factory=list, repr=False, compare=False)

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames uint8 "y x" or "y x chan" (RGB), all of one size."""
        if self.path.is_dir():
            yield from iter_frames(Tree(self.path).list_frames(self.path)[0], self.name)
            return
        self.stamps.clear()
        reader = cv2.VideoCapture(str(self.path))
        try:
            while True:
                more, frame = reader.read()
                if not more:
                    return
                self.stamps.append(reader.get(cv2.CAP_PROP_POS_MSEC))
                yield frame[..., ::-1] if frame.ndim == 3 else frame
        finally:
            reader.release()

    def count_frames(self) -> int:
        """How many frames there are; a film is read to its end."""
        return len(Tree(self.path).list_frames(self.path)[0]) if self.path.is_dir() else sum(1 for _ in self)

    def find_times(self, start: int, stop: int) -> np.ndarray | None:
        """Times of frames that were read, where the film states other ones than its rate gives: float "time", ms.

        None where the frames follow at the stated rate (to half a frame), where the rate was given, or where the film does
        not state usable times.
        """
        times = np.array(self.stamps[start:stop])
        if self.given or not _are_times(times) or _find_deviation(times, self.fps) <= 500 / self.fps:
            return None
        return times

    def warn_of_rate(self) -> None:
        """Warn of a film that was read and whose frames do not follow at its rate, with the deviation."""
        times = np.array(self.stamps)
        if len(times) < 2:
            return
        if not _are_times(times):
            if times.any():
                warnings.warn(
                    f"{self.path.name} states no usable times of its frames: they are taken from its rate of {self.fps:g} "
                    "frames per second, which may vary.",
                    StagkitWarning,
                    stacklevel=2,
                )
            return
        off, steps = _find_deviation(times, self.fps), np.diff(times)
        if off > 500 / self.fps:
            used = "the rate given is used" if self.given else "the times in the film are used"
            warnings.warn(
                f"{self.path.name} has a variable frame rate, or another than the {self.fps:g} frames per second stated: "
                f"frames follow each other by {steps.min():.1f} to {steps.max():.1f} ms, and the rate alone would be off by "
                f"up to {off:.0f} ms; {used}.",
                StagkitWarning,
                stacklevel=2,
            )


def _are_times(times: np.ndarray) -> bool:
    return len(times) > 1 and bool(np.isfinite(times).all() and (np.diff(times) > 0).all())


def _find_deviation(times: np.ndarray, fps: float) -> float:
    """Largest difference in ms between times and those of a constant rate."""
    return float(np.abs(times - times[0] - np.arange(len(times)) * 1000 / fps).max())


def open_video(path: str | Path, fps: float | None = None) -> Video:
    """Open a video file (mp4, avi, mov, mkv, ...) or a folder of pictures, in the order of the numbers in their names.

    Args:
        path: file or folder.
        fps: frames per second; needed for a folder, and used instead of the file's own where given.

    Raises:
        StagkitError: nothing there, no picture, no readable video, no frame rate.
    """
    path = Path(path)
    if path.is_dir():
        frames, notes = Tree(path).list_frames(path)
        if len(frames) < 2:
            raise StagkitError(
                f"{path} holds {len(frames)} pictures; motion needs at least two: give the folder of one clip, or a film."
            )
        for note in notes:
            warnings.warn(f"{path}: {note}.", StagkitWarning, stacklevel=2)
        if fps is None:
            raise StagkitError(f"{path} is a folder of pictures, which does not say how fast they follow: give --fps.")
        return Video(path, _check_rate(fps), path.name, given=True)
    if not path.is_file():
        raise StagkitError(f"there is no file or folder {path}.")
    if path.suffix.lower() not in _MOVIES:
        raise StagkitError(f"{path} is no video that stagkit knows ({', '.join(sorted(_MOVIES))}), and no folder.")
    reader = cv2.VideoCapture(str(path))
    try:
        more, _ = reader.read()
        own = reader.get(cv2.CAP_PROP_FPS)
    finally:
        reader.release()
    if not more:
        raise StagkitError(
            f"{path} cannot be read as a video: it is damaged, empty, or coded in a way OpenCV cannot read."
        )
    return Video(path, _check_rate(fps if fps is not None else own), path.stem, given=fps is not None)


def _check_rate(fps: float) -> float:
    if not MIN_FPS <= float(fps) <= MAX_FPS:
        raise StagkitError(f"fps is {fps!r}, expected {RATE}: give --fps.")
    return float(fps)


def iter_windows(
    frames: Iterable[np.ndarray], length: int, begin: Callable[[int], TakesFrames] = lambda start: []
) -> Iterator[tuple[int, TakesFrames]]:
    """Cut a recording into windows that overlap by half; one that is not longer is a single window.

    Each frame is handed to the windows it belongs to as it comes, and is not kept beside: a window that keeps something
    small of it keeps memory flat.

    Args:
        frames: a ``Video``, ``stream.read_ahead`` of one, or any other.
        length: frames of a window, at least 2.
        begin: makes an empty window, given the index of its first frame; its ``append`` is called with each frame. A window
            is begun before it is known that the recording goes on long enough to need it.

    Returns:
        (index of the first frame, window); the last may be shorter.

    Example:
        >>> list(iter_windows("abcdefg", 4))
        [(0, ['a', 'b', 'c', 'd']), (2, ['c', 'd', 'e', 'f']), (4, ['e', 'f', 'g'])]
    """
    hop = max(1, length // 2)
    filling: deque[tuple[int, TakesFrames]] = deque()
    for t, frame in enumerate(frames):
        if t >= length and (t - length) % hop == 0:  # the oldest is full, and the recording goes on
            yield filling.popleft()
        if t % hop == 0:
            filling.append((t, begin(t)))
        for _, window in filling:
            window.append(frame)
        del frame
    if filling:
        yield filling[0]
