"""Checks of notebooks 01-03 (and 20.3): what a camera sees, optical flow, regions."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Clip
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, select_frames


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
        sign = "negative" if number == 2 else "positive"
        return right(f"the true AUs are {', '.join(clip.truth.codes)}; v is {sign}.")
    return wrong("the sign is reversed: rows of an image count downwards, so v > 0 means down.")


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


@exercise("02.1")
def end_point_error(answer: float, *, measured: np.ndarray, truth: np.ndarray, where: np.ndarray) -> Verdict:
    """Mean end-point error of a flow over the skin that moved, px."""
    gap = measured - truth
    error = np.linalg.norm(gap, axis=0)
    lengths = np.linalg.norm(measured, axis=0) - np.linalg.norm(truth, axis=0)
    answer, wanted = float(answer), float(error[where].mean())
    if abs(answer - wanted) < 0.002:
        return right(f"{wanted:.2f} px, of {np.linalg.norm(truth, axis=0)[where].mean():.2f} px of true displacement.")
    if abs(answer - error.mean()) < 0.002:
        return wrong("that is the mean over the whole image, most of which stands still; take the pixels of `moved`.")
    if min(abs(answer - lengths[where].mean()), abs(answer - np.abs(lengths[where]).mean())) < 0.002:
        return wrong("that is the difference of the *lengths*: a flow of the right length the wrong way would pass.")
    if abs(answer - np.abs(gap)[:, where].mean()) < 0.002:
        return wrong("that averages u and v; the error of a pixel is the length of the vector between the two ends.")
    if abs(answer - np.sqrt((error[where] ** 2).mean())) < 0.002:
        return wrong("that is the root mean square, which counts large errors more; take the plain mean.")
    return wrong("`np.linalg.norm(measured - truth, axis=0)`, then its mean over `moved`.")


@exercise("02.2")
def strain_of_a_stretch(answer: float, *, percent: float) -> Verdict:
    """Strain magnitude of skin that is stretched sideways by ``percent`` and nowhere else."""
    answer, wanted = float(answer), percent / 100
    if abs(answer - wanted) < 0.02 * wanted:
        return right(f"{wanted:g}: e_xx is the stretch itself, the other parts are zero.")
    if abs(answer - percent) < 0.02 * percent:
        return wrong("that is in per cent; strain has no unit, px per px.")
    if abs(answer - wanted / 2) < 0.02 * wanted:
        return wrong("the half belongs to the mixed part, (u_y + v_x) / 2; e_xx is u_x without a half.")
    if abs(answer - wanted * np.sqrt(2)) < 0.02 * wanted:
        return wrong("only one direction is stretched: e_yy is zero here.")
    if answer == 0:
        return wrong("a *shift* has no strain. Here neighbours move apart: u grows with x.")
    return wrong("u = stretch * x and v = 0: what is the slope of u along x?")


@exercise("02.3")
def frames_with_a_gap(answer, *, motion: FlowClip, onset: int, n_frames: int, gap_ms: float) -> Verdict:
    """Frames from the largest motion down, none closer than ``gap_ms`` to one already taken."""
    chosen = sorted(int(t) for t in np.ravel(answer))
    config = FlowConfig(n_frames=n_frames, min_gap_ms=gap_ms)
    wanted = select_frames(motion.scores, motion.times_ms, config, onset).tolist()
    uniform = select_frames(motion.scores, motion.times_ms, config.replace(selection="uniform"), onset).tolist()
    if chosen == wanted:
        return right(f"frames {', '.join(map(str, wanted))}: spread over the movement, not crowded at its top.")
    if chosen == sorted(np.argsort(-motion.scores, kind="stable")[:n_frames].tolist()):
        return wrong("those are the largest scores without any gap: neighbours that show the same thing twice.")
    if chosen == uniform:
        return wrong("those are spread evenly over the whole clip, the still part included.")
    if len(chosen) != n_frames:
        return wrong(f"there are {len(chosen)} frames, {n_frames} are asked for.")
    if onset in chosen:
        return wrong("the onset frame is among them: its motion is zero by definition.")
    times = np.sort(motion.times_ms[chosen]) if max(chosen) < len(motion.times_ms) else np.array([0.0])
    if len(times) > 1 and np.diff(times).min() < gap_ms - 1e-6:
        return wrong(f"two of them are only {np.diff(times).min():.0f} ms apart.")
    return wrong("begin with the largest score and go down; skip a frame that is too close to one already taken.")


@exercise("03.1")
def width_of_a_region(answer: float, *, iod_px: float) -> Verdict:
    """Side of a region's square in px, for a face whose outer eye corners are ``iod_px`` apart."""
    half, answer = ATLAS.radius * iod_px, float(answer)
    if abs(answer - 2 * half) <= 0.02 * half:
        return right(f"{2 * half:.1f} px: the same share of the face, however near it is.")
    if abs(answer - half) <= 0.02 * half:
        return wrong("that is half a side: the radius goes from the middle to an edge.")
    if abs(answer - 2 * ATLAS.radius) < 1e-3:
        return wrong("that is in eye distances; the question asks for pixels.")
    if abs(answer - 4 * half**2) <= 0.1 * half**2:
        return wrong("that is the area of the square; the question asks for its side.")
    return wrong("a region reaches `ATLAS.radius` eye distances to each side of its middle.")


@exercise("03.2")
@exercise("20.3")
def move_one_region(answer: Mapping[str, float], *, region: str) -> Verdict:
    """The motion of the regions of a face pulled so that ``region`` moves most, and its mirror partner hardly."""
    most, other = max(answer, key=answer.get), region[:-1] + {"L": "R", "R": "L"}[region[-1]]
    if answer[most] < 0.05:
        return wrong("nothing moves: all strengths are 0, or the frame lies at rest; the apex is mid-clip.")
    if most == other:
        return wrong("that is the other side: R is the *subject's* right, on the left of the image.")
    if most != region:
        return wrong(f"{most} moves most. Which muscle has its end in the {region.replace('_', ' ')}?")
    if answer[region] < 1.5 * answer[other]:
        return wrong("both sides move; a code may name one.")
    return right(f"{region} moves by {answer[region]:.1f} % of the eye distance on average, more than all others.")


@exercise("03.3")
def most_similar_units(answer: Sequence[str], *, unit: str) -> Verdict:
    """(the unit most like ``unit`` by how much each region moves, the one most like it by where each region moves to)."""
    by_speed = find_most_similar(unit, ATLAS.incidence)
    by_direction = find_most_similar(unit, ATLAS.directions.reshape(len(AU_LABELS), -1))
    if isinstance(answer, str) or len(answer) != 2:
        return wrong("two labels are asked for, e.g. ('AU01', 'AU02').")
    first, second = (str(a).upper() for a in answer)
    if (first, second) == (by_speed, by_direction):
        return right(f"by speed {by_speed}, by direction {by_direction}: the network gets u and v, not speed alone.")
    if unit in (first, second):
        return wrong("every unit is most like itself: leave it out.")
    if (second, first) == (by_speed, by_direction):
        return wrong("the right two, in the other order: speed first.")
    if first == by_speed:
        return wrong("the first is right; for the second, flatten u and v of all regions into one row.")
    if second == by_direction:
        return wrong("the second is right; for the first, compare the rows of `ATLAS.incidence`.")
    return wrong("divide every row by its length; the products of rows are then their similarities.")


def find_most_similar(unit: str, table: np.ndarray) -> str:
    """Label of the unit whose row is most like that of ``unit`` by cosine, itself left out; table "au feature"."""
    rows = table / np.linalg.norm(table, axis=1, keepdims=True)
    k = AU_LABELS.index(unit)
    alike = rows @ rows[k]
    alike[k] = -np.inf
    return AU_LABELS[int(alike.argmax())]
