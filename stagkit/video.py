"""Any recording as frames: a video file, or a folder of pictures; in windows, so that memory stays flat."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from stagkit.datasets.tree import Tree, read_pictures
from stagkit.types import StagkitError

_MOVIES = {".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg"}


class TakesFrames(Protocol):
    """A part of a recording that is being filled, e.g. a list."""

    def append(self, frame: np.ndarray, /) -> None:
        """Take the next frame."""


@dataclass(frozen=True)
class Video:
    """A recording that is read frame by frame; iterating starts anew each time.

    Args:
        path: the file or folder.
        fps: frames per second.
        name: of the file or folder, without ending.
    """

    path: Path
    fps: float
    name: str

    def __iter__(self) -> Iterator[np.ndarray]:
        """Frames uint8 "y x" or "y x chan" (RGB), all of one size."""
        if self.path.is_dir():
            files = list(Tree(self.path).pictures(self.path)[0].values())
            first = read_pictures(files[:1], self.name)[0]
            for file in files:
                frame = read_pictures([file], self.name)[0]
                if frame.shape != first.shape:
                    raise StagkitError(f"{file.name} is {frame.shape}, the first frame is {first.shape}.")
                yield frame
            return
        reader = cv2.VideoCapture(str(self.path))
        try:
            while True:
                more, frame = reader.read()
                if not more:
                    return
                yield frame[..., ::-1] if frame.ndim == 3 else frame
        finally:
            reader.release()


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
        pictures, twice = Tree(path).pictures(path)
        if len(pictures) < 2:
            raise StagkitError(
                f"{path} holds {len(pictures)} pictures with a number in their names; motion needs at least two: give "
                "the folder of one clip, or a film."
            )
        if twice:
            raise StagkitError(f"{path}: two files claim frame {twice[0]}.")
        if fps is None:
            raise StagkitError(f"{path} is a folder of pictures, which does not say how fast they follow: give --fps.")
        return Video(path, _check_rate(fps), path.name)
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
    return Video(path, _check_rate(fps if fps is not None else own), path.stem)


def _check_rate(fps: float) -> float:
    if not 1 <= fps <= 100_000:
        raise StagkitError(f"{fps:g} is no frame rate: give --fps, frames per second.")
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
