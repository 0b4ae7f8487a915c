"""Head motion: fitted to the rigid parts of the face, smoothed over time, removed from the flow.

A head motion is a float "2 3": a rigid pixel ``p`` of the onset frame has moved to ``head[:, :2] @ p + head[:, 2]``, px.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from einops import rearrange, repeat

from stagkit.core.regions import compute_face_mask
from stagkit.core.types import inter_ocular_distance

#: Rigid parts of the face: temples and upper jaw rim, nose bridge (iBUG landmarks).
RIGID_LANDMARKS = (0, 1, 2, 14, 15, 16, 27, 28, 29)

#: Radius of the rigid discs, IOD; half the smoothing window, ms; largest change by smoothing, px (stagkit's choices).
RIGID_RADIUS, SMOOTH_MS, MAX_NOISE = 0.14, 30.0, 0.25


def compute_rigid_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bool "y x": discs, inside the face, around the landmarks (float "68 2" px) that action units move least."""
    mask = np.zeros(shape, np.uint8)
    radius = max(2, round(RIGID_RADIUS * inter_ocular_distance(landmarks)))
    for x, y in landmarks[list(RIGID_LANDMARKS)]:
        cv2.circle(mask, (round(float(x)), round(float(y))), radius, 1, -1)
    return mask.astype(bool) & compute_face_mask(landmarks, shape)


def compute_rigid_weights(grey: np.ndarray, rigid: np.ndarray) -> np.ndarray:
    """Weight of each rigid pixel per direction: square root of the structure tensor (Bigun & Granlund 1987).

    Motion along an edge and on smooth skin is not visible, and flow there is a guess of the method.

    Args:
        grey: uint8 "y x", the onset frame; rigid: bool "y x".

    Returns:
        float "pixel 2 2", in the order of ``np.nonzero(rigid)``; ``weights @ (u, v)`` is the visible part of a motion.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 0.8)
    along_y, along_x = np.gradient(smooth)
    xx, xy, yy = (
        cv2.GaussianBlur(a * b, (0, 0), 2.0)[rigid].astype(float)
        for a, b in ((along_x, along_x), (along_x, along_y), (along_y, along_y))
    )
    tensor = rearrange(np.stack([xx, xy, xy, yy]), "(row col) pixel -> pixel row col", row=2)
    floor = 1e-3 * max(float((xx + yy).mean()) if len(xx) else 0.0, 1e-6)
    return np.linalg.cholesky(tensor + floor * np.eye(2)).swapaxes(1, 2)


def make_head_fit(rigid: np.ndarray, weights: np.ndarray | None = None) -> Callable[[np.ndarray], np.ndarray]:
    """A function that fits a similarity transform to the flow of the rigid pixels.

    Robust least squares (Cauchy weights, 5 rounds), so that pixels with wrong flow or moved by a muscle do not count.

    Args:
        rigid: bool "y x"; weights: from ``compute_rigid_weights``, None weights all pixels alike.

    Returns:
        A function of a flow, float32 "2 y x" px -> head motion, float "2 3"; the identity if fewer than four pixels are
        rigid.
    """
    ys, xs = np.nonzero(rigid)
    n = len(xs)
    if n < 4:
        return lambda flow: np.eye(2, 3)
    middle = np.array([xs.mean(), ys.mean()])
    x, y, one, zero = xs - middle[0], ys - middle[1], np.ones(n), np.zeros(n)
    # motion = [[a, -b], [b, a]] p + (c, d): one row for u, one for v
    design = np.stack([np.stack([x, -y, one, zero], -1), np.stack([y, x, zero, one], -1)], 1)
    weights = repeat(np.eye(2), "row col -> pixel row col", pixel=n) if weights is None else weights
    visible = weights @ design
    squares = rearrange(visible.swapaxes(1, 2) @ visible, "pixel par other -> pixel (par other)")
    towards = visible.swapaxes(1, 2) @ weights
    ranks = [(n - 1) // 2, n // 2]

    def fit(flow: np.ndarray) -> np.ndarray:
        moved = flow[:, ys, xs].T.astype(float)
        terms = np.concatenate([squares, (towards @ moved[..., None])[..., 0]], axis=1)
        weight = one
        for _ in range(5):
            sums = weight @ terms
            found = np.linalg.solve(sums[:16].reshape(4, 4), sums[16:])
            a, b, c, d = found
            missed = np.hypot(a * x - b * y + c - moved[:, 0], b * x + a * y + d - moved[:, 1])
            median = np.partition(missed, ranks)[ranks].mean()  # np.median takes five times as long
            weight = 1 / (1 + (missed / max(2.4 * median, 1e-3)) ** 2)
        turn = np.array([[1 + a, -b], [b, 1 + a]])
        return np.concatenate([turn, (middle + (c, d) - turn @ middle)[:, None]], axis=1)

    return fit


def smooth_head_motion(head: np.ndarray, times_ms: np.ndarray, centre: np.ndarray, onset: int) -> np.ndarray:
    """Head motion without the noise of single frames.

    Parabolas over 30 ms to either side (Savitzky & Golay 1964, doi:10.1021/ac60214a047): 13 frames at 200 per second, none
    at 60 and less. A frame that would change by more than a quarter of a pixel is a jolt and keeps its value.

    Args:
        head: float "time 2 3" px; times_ms: float "time", evenly spaced.
        centre: float "2" px, middle of the face; onset: frame that stays the identity.
    """
    n = len(head)
    half = int(min(SMOOTH_MS / np.diff(times_ms).mean() + 1e-6, (n - 1) // 2)) if n > 1 else 0
    if half < 2:
        return head
    from scipy.signal import savgol_filter

    turn, place = head[:, :, :2], head[:, :, :2] @ centre + head[:, :, 2]
    path = np.concatenate([rearrange(turn, "time row col -> time (row col)"), place], axis=1)
    start = path[onset].copy()
    path -= _estimate_common_error(path, times_ms, onset)
    path[onset] = start
    path = savgol_filter(path, 2 * half + 1, 2, axis=0)
    smooth_turn, smooth_place = rearrange(path[:, :4], "time (row col) -> time row col", row=2), path[:, 4:]
    out = np.concatenate([smooth_turn, (smooth_place - smooth_turn @ centre)[..., None]], axis=-1)
    kept = np.linalg.norm(smooth_place - place, axis=-1) > MAX_NOISE
    kept[onset] = True
    return np.where(kept[:, None, None], head, out)


def _estimate_common_error(path: np.ndarray, times_ms: np.ndarray, onset: int) -> np.ndarray:
    """Error, float "par", that noise in the onset frame adds to every frame's motion; shrunk as for equally noisy frames."""
    # without it a parabola through the frames within 50 ms is zero at the onset
    away = (times_ms - times_ms[onset]) / 50.0
    near = (np.abs(away) <= 1) & (away != 0)
    if near.sum() < 4:
        return np.zeros(path.shape[1])
    shares = np.linalg.pinv(np.vander(away[near], 3, increasing=True))[0]  # of each frame in the value at the onset
    return shares @ (path[near] - path[onset]) / (1 + shares @ shares)


def remove_head_motion(flow: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Skin motion without head motion: ``head^-1 (p + flow(p)) - p``, float32 "2 y x" px."""
    inverse = np.linalg.inv(head[:, :2])
    return add_head_motion(flow, np.concatenate([inverse, -inverse @ head[:, 2:]], axis=1))


def add_head_motion(flow: np.ndarray, head: np.ndarray) -> np.ndarray:
    """Visible motion of skin that moves by ``flow`` on a moving head: ``head (p + flow(p)) - p``, float32 "2 y x" px."""
    height, width = flow.shape[1:]
    out = np.empty_like(flow, dtype=np.float32)
    for i, (along_x, along_y, shift) in enumerate(head):
        still_x, still_y = along_x - (i == 0), along_y - (i == 1)  # head motion alone
        out[i] = np.add.outer(still_y * np.arange(height) + shift, still_x * np.arange(width))
        out[i] += np.float32(along_x) * flow[0]
        out[i] += np.float32(along_y) * flow[1]
    return out


def choose_warp(head: np.ndarray, landmarks: np.ndarray) -> np.ndarray | None:
    """The part of a head motion to undo before flow is measured again: float "2 3", None if it is too small.

    The shift in whole pixels, which need no interpolation (blur looks like motion); all of it if rotation and scale move
    some landmark (float "68 2" px of the onset frame) by more than 1.5 px (stagkit's choice).

    Example:
        >>> face = np.random.default_rng(0).uniform(20, 100, (68, 2))
        >>> choose_warp(np.array([[1, 0, 2.3], [0, 1, -0.8]]), face)[:, 2].tolist()
        [2.0, -1.0]
        >>> choose_warp(np.array([[1, 0, 0.4], [0, 1, -0.2]]), face) is None
        True
    """
    carried = landmarks @ head[:, :2].T + head[:, 2] - landmarks
    shift = carried.mean(0)
    if np.linalg.norm(carried - shift, axis=-1).max() > 1.5:
        return head
    whole = np.round(shift)
    return np.concatenate([np.eye(2), whole[:, None]], axis=1) if whole.any() else None


def warp_to_onset(frame: np.ndarray, head: np.ndarray) -> np.ndarray:
    """A frame "y x" with the head motion undone: cubic interpolation, borders repeated."""
    flags = cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, head, frame.shape[::-1], flags=flags, borderMode=cv2.BORDER_REPLICATE)
