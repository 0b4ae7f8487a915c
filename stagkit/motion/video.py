"""Recordings as frames: a video file or a folder of images, in windows so that memory use is constant."""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.motion.frames import MAX_FPS, MIN_FPS, RATE, Tree, iter_frames

_MOVIES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


@dataclass(frozen=True)
class Video:
    """A recording that is read frame by frame; iterating starts again each time.

    Args:
        path, name: of the file or folder; the name without ending.
        fps: frames per second; ``given``: by the caller, so that it decides the times of the frames.
        stamps: times in the file of the frames read so far, ms.
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
        """Number of frames; a video file is read to its end."""
        return len(Tree(self.path).list_frames(self.path)[0]) if self.path.is_dir() else sum(1 for _ in self)

    def find_times(self, start: int, stop: int) -> np.ndarray | None:
        """Times in the file of frames that were read, float "time" ms; None if the frame rate gives them or there are none.

        They are used if they differ from the rate, which was not given by the caller, by more than half a frame.
        """
        times = np.array(self.stamps[start:stop])
        return None if self.given or _find_deviation(times, self.fps) <= 500 / self.fps else times

    def warn_of_rate(self) -> None:
        """Warn if the times of the frames that were read differ from the frame rate."""
        times = np.array(self.stamps)
        off, steps, text = _find_deviation(times, self.fps), np.diff(times), ""
        if off > 500 / self.fps:
            used = "the rate given is used" if self.given else "the times in the file are used"
            text = (
                f"has a variable frame rate, or another than the {self.fps:g} frames per second stated: frames follow each "
                f"other by {steps.min():.1f} to {steps.max():.1f} ms, and the rate alone would be off by up to {off:.0f} "
                f"ms; {used}."
            )
        elif off < 0 and len(times) > 1 and times.any():
            text = f"has no usable frame times: its rate of {self.fps:g} frames per second is used, which may vary."
        if text:
            warnings.warn(f"{self.path.name} {text}", StagkitWarning, stacklevel=2)


def _find_deviation(times: np.ndarray, fps: float) -> float:
    """Largest difference in ms between times and those of a constant rate; -1 if the times are not usable."""
    if len(times) < 2 or not (np.isfinite(times).all() and (np.diff(times) > 0).all()):
        return -1.0
    return float(np.abs(times - times[0] - np.arange(len(times)) * 1000 / fps).max())


def open_video(path: str | Path, fps: float | None = None) -> Video:
    """Open a video file (mp4, avi, mov, mkv, ...) or a folder of images with numbers in their names.

    ``fps`` (frames per second) is needed for a folder, and replaces the rate of a file.
    """
    path = Path(path)
    if path.is_dir():
        frames, notes = Tree(path).list_frames(path)
        if len(frames) < 2:
            found = f"{path} holds {len(frames)} images; motion needs at least two"
            raise StagkitError(f"{found}: give the folder of one clip, or a video.")
        for note in notes:
            warnings.warn(f"{path}: {note}.", StagkitWarning, stacklevel=2)
        if fps is None:
            raise StagkitError(f"{path} is a folder of images, which has no frame rate: give --fps.")
        return Video(path, _check_rate(fps), path.name, given=True)
    if not path.is_file():
        raise StagkitError(f"there is no file or folder {path}.")
    if path.suffix.lower() not in _MOVIES:
        raise StagkitError(f"{path} is no known video format ({', '.join(sorted(_MOVIES))}), and no folder.")
    reader = cv2.VideoCapture(str(path))
    try:
        more, _ = reader.read()
        own = reader.get(cv2.CAP_PROP_FPS)
    finally:
        reader.release()
    if not more:
        raise StagkitError(
            f"{path} cannot be read as a video: it is damaged, empty, or of a coding OpenCV cannot read."
        )
    return Video(path, _check_rate(fps if fps is not None else own), path.stem, given=fps is not None)


def _check_rate(fps: float) -> float:
    if not MIN_FPS <= float(fps) <= MAX_FPS:
        raise StagkitError(f"fps is {fps!r}, expected {RATE}: give --fps.")
    return float(fps)


def iter_windows(
    frames: Iterable[np.ndarray], length: int, begin: Callable = lambda start: []
) -> Iterator[tuple[int, Any]]:
    """Split a recording into windows, (index of the first frame, window), that overlap by half.

    Args:
        length: frames of a window, at least 2; the last window may be shorter.
        begin: makes an empty window from the index of its first frame; its ``append`` gets each frame, which is not kept
            elsewhere. A window may be begun that the recording turns out to be too short for.

    Example:
        >>> list(iter_windows("abcdefg", 4))
        [(0, ['a', 'b', 'c', 'd']), (2, ['c', 'd', 'e', 'f']), (4, ['e', 'f', 'g'])]
    """
    hop = max(1, length // 2)
    filling: deque[tuple[int, Any]] = deque()
    for t, frame in enumerate(frames):
        if t >= length and (t - length) % hop == 0:  # the oldest is full, and the recording continues
            yield filling.popleft()
        if t % hop == 0:
            filling.append((t, begin(t)))
        for _, window in filling:
            window.append(frame)
        del frame
    if filling:
        yield filling[0]
