"""Frames of real size: what comes through the queue is what was read, and few of them live at once."""

import gc
import threading
import weakref
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.types import StagkitError
from stagkit.datasets import open_source
from stagkit.datasets.manifest import write_manifest
from stagkit.motion import frames as frames_module
from stagkit.motion.frames import AHEAD, read_ahead, read_frames
from stagkit.motion.landmarks import align_clip, locate_and_align
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource


class Frame(np.ndarray):
    """A frame that can be counted while it lives."""


class Counter:
    """Makes frames of 480x640 in colour and knows how many of them are alive."""

    def __init__(self, n):
        self.n, self.made, self.most = n, 0, 0
        self.living = set()

    def __iter__(self):
        for k in range(self.n):
            frame = np.full((480, 640, 3), k % 256, np.uint8).view(Frame)
            self.made += 1
            self.living.add(k)
            weakref.finalize(frame, self.living.discard, k)
            self.most = max(self.most, len(self.living))
            yield frame
            del frame


def no_reader():
    return not [t for t in threading.enumerate() if t.name == "frames"]


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 40), st.integers(1, 6))
def test_the_same_frames_come_in_the_same_order(n, ahead):
    assert list(read_ahead(range(n), ahead)) == list(range(n))
    assert no_reader()


def test_however_long_the_clip_few_frames_of_real_size_are_alive():
    """400 frames of 0.9 MB: as many as may wait, one being read, one being worked on, one being handed over."""
    from stagkit.core.regions import load_mean_face
    from stagkit.motion.landmarks import align_frames

    points = np.broadcast_to(load_mean_face()[0] * 200 + [320, 200], (400, 68, 2))
    counter = Counter(400)
    small, landmarks = align_frames(read_ahead(counter), points, 0, 64)
    assert small.shape == (400, 64, 64, 3) and landmarks.shape == (400, 68, 2)
    assert small[:, 32, 32, 0].tolist() == [k % 256 for k in range(400)]
    assert counter.made == 400 and counter.most <= AHEAD + 3
    gc.collect()
    assert not counter.living


def test_who_stops_early_stops_the_reader():
    counter = Counter(1000)
    frames = read_ahead(counter)
    next(frames), next(frames)
    frames.close()
    assert no_reader() and counter.made <= AHEAD + 4


def test_a_damaged_frame_is_told_where_it_comes_and_ends_the_reader():
    def broken():
        yield from range(3)
        raise StagkitError("the fourth is damaged")

    seen = []
    with pytest.raises(StagkitError, match="the fourth is damaged"):
        for frame in read_ahead(broken()):
            seen.append(frame)
    assert seen == [0, 1, 2] and no_reader()


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory):
    """A phantom filmed from further away: 640x480 colour frames, PNG; with the clip that they make."""
    folder = tmp_path_factory.mktemp("large")
    clip = make_clip(PhantomConfig(subjects=1, clips=1, size=128, difficulty=0), 0, 0)
    matrix = np.float64([[2.4, 0.2, 150], [-0.2, 2.4, 100]])
    frames = np.stack([cv2.warpAffine(f, matrix, (640, 480)) for f in clip.frames[:12]])
    paths = [folder / f"img{k}.png" for k in range(len(frames))]
    for path, frame in zip(paths, frames, strict=True):
        cv2.imwrite(str(path), frame[..., ::-1])
    points = clip.landmarks[:12] @ matrix[:, :2].T + matrix[:, 2]
    return paths, replace(clip, frames=frames, landmarks=points, onset=3, apex=None, offset=None, truth=None)


def test_aligned_while_read_is_aligned_after_reading(on_disk):
    paths, clip = on_disk
    whole, same = read_frames(paths, "c", clip.landmarks, 3)
    assert (whole == clip.frames).all() and same is clip.landmarks
    small, points = read_frames(paths, "c", clip.landmarks, 3, size=96)
    expected = align_clip(clip, 96)
    assert (small == expected.frames).all() and np.array_equal(points, expected.landmarks)


def test_the_queue_is_what_the_sources_use(monkeypatch, tmp_path):
    """A manifest read with a size is the clip that is aligned afterwards, and its frames went through the queue."""
    few = PhantomConfig(subjects=1, clips=1, size=96, difficulty=0)
    source = open_source("manifest", str(write_manifest(PhantomSource(few), tmp_path / "frames")))
    key = source.keys[0]
    expected = locate_and_align(source.read(key), 64)
    passed = []
    real = frames_module.read_ahead
    monkeypatch.setattr(frames_module, "read_ahead", lambda frames: (passed.append(1) or f for f in real(frames)))
    clip = source.read_aligned(key, 64)
    assert (clip.frames == expected.frames).all() and np.array_equal(clip.landmarks, expected.landmarks)
    assert len(passed) == len(clip.frames) > 10


def test_what_cannot_be_aligned_is_told(on_disk):
    paths, clip = on_disk
    with pytest.raises(StagkitError, match="has no landmarks: store them"):
        read_frames(paths, "c", None, 0, size=64)
    with pytest.raises(StagkitError, match="onset 12 lies outside its 12 frames"):
        read_frames(paths, "c", clip.landmarks, 12, size=64)
