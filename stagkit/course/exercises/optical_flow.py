"""Checks of notebook 02, 'where did the skin go?'"""

from __future__ import annotations

import numpy as np

from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, select_frames


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
        return wrong("that is the mean over the whole picture, most of which stands still; take the pixels of `moved`.")
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
