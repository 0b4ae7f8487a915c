"""Checks of notebook 01, 'can you see a micro-expression?'"""

from __future__ import annotations

import re

from stagkit.core.types import Clip
from stagkit.course.exercises import Verdict, exercise, right, wrong


@exercise("01.1")
def frames_in_a_movement(answer: float, *, fps: float, duration_ms: float) -> Verdict:
    """How many frames a camera takes of a movement of ``duration_ms``."""
    wanted = fps * duration_ms / 1000
    if abs(answer - wanted) < 1:
        return right(f"{fps:g} frames a second over {duration_ms:g} ms give {wanted:.0f} frames.")
    if abs(answer - fps * duration_ms) < 1000:
        return wrong("a thousand times too many: the duration is in milliseconds, the frame rate is per second.")
    if abs(answer - duration_ms / fps) < 0.5 or abs(answer - 1000 * fps / duration_ms) < 1:
        return wrong("frame rate and duration are multiplied, not divided: more of either gives more frames.")
    return wrong("frames = frames per second x seconds.")


@exercise("01.2")
def brow_up_or_down(answer: str, *, clip: Clip) -> Verdict:
    """Which of AU02 and AU04 is active, from the vertical flow of a brow."""
    number = int(re.sub(r"\D", "", str(answer)) or 0)
    true = {code.number for code in clip.aus or ()}
    if number not in (2, 4):
        return wrong(f"{answer!r} is neither AU02 nor AU04: v > 0 tells one, v < 0 the other.")
    if number in true:
        return right(
            f"the true AUs are {', '.join(clip.truth.codes)}; v is {'negative' if number == 2 else 'positive'}."
        )
    return wrong("the sign is turned round: rows of a picture count downwards, so v > 0 means down.")


@exercise("01.3")
def time_of_the_apex(answer: float, *, clip: Clip, tolerance_ms: float = 30.0) -> Verdict:
    """Time of the largest motion, ms from the onset."""
    answer, wanted = float(answer), float(clip.times_ms[clip.apex])
    frame_ms = 1000 / clip.fps
    if abs(answer - wanted) <= tolerance_ms:
        return right(f"the true movement is largest at {wanted:.0f} ms.")
    if abs(answer * 1000 - wanted) <= tolerance_ms:
        return wrong("that is in seconds; the question asks for milliseconds.")
    if abs(answer * frame_ms - clip.onset * frame_ms - wanted) <= tolerance_ms:
        return wrong("that is the number of a frame; `times_ms` turns it into a time from the onset.")
    if abs(answer - clip.onset * frame_ms - wanted) <= tolerance_ms + frame_ms:
        return wrong("that counts from the first frame of the clip; count from the onset.")
    return wrong(f"the movement is not largest at {answer:.0f} ms: take the time at which `scores` is largest.")
