"""Checks of notebook 05, 'what does a network know of time?'"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong

if TYPE_CHECKING:
    from stagkit.core.types import Batch
    from stagkit.network.model import Stag


@exercise("05.1")
def frame_of_another_camera(answer: float, *, frame: int, fps: float, other_fps: float) -> Verdict:
    """The frame of another camera that shows the same moment."""
    answer, wanted = float(answer), frame / fps * other_fps
    if abs(answer - wanted) < 0.51:
        return right(f"both are {1000 * frame / fps:.0f} ms after the onset.")
    if abs(answer - frame / other_fps * fps) < 0.51:
        return wrong("the two rates are swapped: the slower camera has taken *fewer* frames by then.")
    if abs(answer - frame) < 0.51:
        return wrong("the same number is another moment: the second camera is slower.")
    if abs(answer - 1000 * frame / fps) < 0.51 or abs(answer - frame / fps) < 0.01:
        return wrong("that is the time; the question asks for a frame of the other camera.")
    return wrong("time = frame / rate of the first camera; frame = time x rate of the second.")


@exercise("05.2")
def logit_on_a_wrong_clock(answer: float, *, model: Stag, batch: Batch, cls: int) -> Verdict:
    """By how much a logit changes when all times are doubled."""
    import torch

    with torch.no_grad():
        true, twice, half = (model.logits(batch.x, batch.mask, f * batch.times_ms)[0] for f in (1.0, 2.0, 0.5))
    answer, change = float(answer), twice - true
    wanted, close = float(change[cls]), max(1e-3, 0.01 * abs(float(change[cls])))
    if abs(answer - wanted) <= close:
        return right(f"{wanted:+.3f} logits, though not one pixel moved differently.")
    if abs(answer + wanted) <= close:
        return wrong("the sign is turned round: a change is after minus before.")
    if abs(answer - float((half - true)[cls])) <= close:
        return wrong("you halved the times; at half the rate each frame seems to come twice as *late*.")
    if abs(answer - float(twice[cls])) <= close:
        return wrong("that is the logit afterwards; subtract the one before.")
    if abs(answer - float((twice.softmax(-1) - true.softmax(-1))[cls])) <= 1e-4:
        return wrong("that is the change of a probability; the question asks for the logit.")
    return wrong("`model.logits` twice, with `one.times_ms` and with twice that; take class `said_class` of both.")


@exercise("05.3")
def repaired_axes(answer: np.ndarray, *, film: np.ndarray) -> Verdict:
    """A film "time y x" as "y x time"."""
    answer, n_time, (height, width) = np.asarray(answer), film.shape[0], film.shape[1:]
    if answer.shape == (height, width, n_time):
        if np.array_equal(answer, np.moveaxis(film, 0, -1)):
            return right(f"answer[..., t] is frame t, for all {n_time} frames.")
        if np.array_equal(answer, film.reshape(height, width, n_time)):
            return wrong("the shape fits and the frames are mixed: that is the published mistake, a reshape.")
        return wrong("the shape fits; compare `answer[..., 0]` with `tiny[0]`.")
    if answer.shape == (width, height, n_time):
        return wrong("y and x are swapped: that is `.T`, which turns all axes round.")
    if answer.shape == film.shape:
        return wrong("that is still (time, y, x): the last axis has to be time.")
    return wrong(f"that has the shape {answer.shape}, expected (y, x, time) = {(height, width, n_time)}.")
