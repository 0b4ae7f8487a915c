"""Frames of real size, read ahead through a bounded queue and made small as they come.

However long a clip and however large its pictures, only a few of them are in memory at once.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from queue import Empty, Full, Queue

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.motion.frames import iter_frames, load_frames, read_shape
from stagkit.motion.landmarks import FaceError, align_frames, check_inside, find_points, load_finder

#: Frames of real size that may wait to be worked on (stagkit's choice).
AHEAD = 4

_END = object()


def read_ahead(frames: Iterable[np.ndarray], ahead: int = AHEAD) -> Iterator[np.ndarray]:
    """The same frames in the same order, read by a thread of its own while the last one is worked on.

    Args:
        frames: e.g. ``tree.iter_frames``; what it raises is raised here, after the frames before.
        ahead: frames that may wait; one more is in the hands of the reader.
    """
    waiting: Queue = Queue(maxsize=ahead)
    stop = threading.Event()

    def put(item: object) -> None:
        while not stop.is_set():
            try:
                return waiting.put(item, timeout=0.1)
            except Full:
                continue

    def work() -> None:
        try:
            for frame in frames:
                put(frame)
                del frame
                if stop.is_set():
                    return
            put(_END)
        except BaseException as error:  # handed over, and raised where the frames are wanted
            put(error)

    reader = threading.Thread(target=work, name="frames", daemon=True)
    reader.start()
    try:
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item
            del item
    finally:  # also where nobody wants the rest
        stop.set()
        while True:
            try:
                waiting.get_nowait()
            except Empty:
                break
        reader.join()


def read_frames(
    paths: Sequence[Path],
    clip_id: str,
    landmarks: np.ndarray | None = None,
    onset: int | None = None,
    size: int = 0,
    landmarker: str = "",
) -> tuple[np.ndarray, np.ndarray | None]:
    """Frames and landmarks of a clip; aligned frame by frame where a size is given.

    Args:
        paths: files of the frames, in order.
        landmarks: float "time 68 2" px where they are stored.
        onset: position of the onset frame; None = the first.
        size: side of the aligned square, px; 0 = all frames as they are, in memory at once.
        landmarker: ``face_landmarker.task``, for clips without landmarks; '' = none.

    Returns:
        frames uint8 "time y x" or "time y x chan"; landmarks float "time 68 2" px of them, or None.

    Raises:
        StagkitError: a damaged picture, no usable face.
    """
    if landmarks is not None and paths and 0 <= (onset or 0) < len(paths):
        try:
            check_inside(landmarks[onset or 0], read_shape(paths[onset or 0], clip_id))
        except FaceError as error:
            raise FaceError(f"clip {clip_id!r}: {error}") from error
    if not size:
        return load_frames(paths, clip_id), landmarks
    if not 0 <= (onset or 0) < len(paths):
        raise StagkitError(f"clip {clip_id!r}: onset {onset} lies outside its {len(paths)} frames (0-based).")
    if landmarks is None and landmarker:
        first = load_frames(paths[onset or 0 :][:1], clip_id)[0]
        points = find_points(first, load_finder(landmarker), clip_id)
        landmarks = np.broadcast_to(points, (len(paths), 68, 2)).copy()
    if landmarks is None:
        raise StagkitError(f"clip {clip_id!r} has no landmarks: store them, or find them (prepare --landmarker FILE).")
    return align_frames(read_ahead(iter_frames(paths, clip_id)), landmarks, onset or 0, size)
