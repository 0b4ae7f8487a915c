"""Motion of phantom faces: displacement fields and time courses of action units (AUs), inverse warp, head, habits.

Positions are in the face frame of ``stagkit.core.regions`` (unit: inter-ocular distance, IOD). Directions come from
``stagkit.core.facs``; extent and falloff of the moved patches are stagkit's choice, guided by anatomy.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS, Move
from stagkit.core.regions import ATLAS, compute_face_frame
from stagkit.core.types import StagkitError, check_axes, inter_ocular_distance

#: Half axes of the patch of skin that moves with a place, IOD: across, up, down.
_EXTENT: dict[str, tuple[float, float, float]] = {
    "brow_outer": (0.34, 0.50, 0.26),
    "brow_mid": (0.34, 0.50, 0.26),
    "brow_inner": (0.32, 0.50, 0.27),
    "glabella": (0.22, 0.40, 0.20),
    "upper_lid": (0.24, 0.13, 0.13),
    "lower_lid": (0.26, 0.15, 0.15),
    "nose_wing": (0.22, 0.25, 0.25),
    "cheek": (0.36, 0.30, 0.30),
    "upper_lip": (0.28, 0.18, 0.18),
    "lip_corner": (0.30, 0.28, 0.26),
    "lower_lip": (0.32, 0.18, 0.18),
    "chin": (0.40, 0.28, 0.30),
}
#: The patch is longer by this factor towards the origin of the muscle.
_REACH = {12: 1.7, 20: 1.6, 15: 1.5}
#: Skin that is carried along beyond what ``facs`` lists.
_CARRIED = {
    4: (Move("brow_outer", -0.30, -0.25), Move("brow_mid", -0.20, 0.0)),
    12: (Move("cheek", 0.36, 0.04), Move("lip_corner", -0.2, -0.2)),
    14: (Move("cheek", 0.20, 0.05),),
    20: (Move("cheek", 0.20, -0.05),),
}
_GATE = 0.12  # half width (IOD) of the strip along the midline in which one side of the face fades into the other
_FADE = 0.14  # the motion fades out over this distance (IOD) beyond the outline of the face
_FOREHEAD = 0.36  # the skin that moves with the brows reaches so far above them, IOD


def _smoothstep(x: np.ndarray) -> np.ndarray:
    """0 below 0, 1 above 1, twice differentiable between."""
    x = np.clip(x, 0.0, 1.0)
    return x * x * x * (x * (6.0 * x - 15.0) + 10.0)


def check_code(number: int, side: str) -> None:
    """Raise a ``StagkitError`` for an unknown AU, or a side that it does not have."""
    if number not in ACTION_UNITS:
        known = ", ".join(map(str, ACTION_UNITS))
        raise StagkitError(f"AU {number!r} cannot be drawn; the action units of stagkit are {known}.")
    if side not in ("", "L", "R"):
        raise StagkitError(f"`side` is {side!r}, expected '' (both), 'L' or 'R' (the subject's sides).")
    if side and not ACTION_UNITS[number].sided:
        raise StagkitError(f"{ACTION_UNITS[number].label} has one midline muscle: leave `side` empty, not {side!r}.")


def compute_au_patches(number: int, side: str, landmarks: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Unscaled displacement "... 2" (face frame, IOD) of ``points`` "... 2" (px)."""
    frame = compute_face_frame(landmarks)
    to_face = np.linalg.inv(frame[:, :2])
    x, y = np.moveaxis((points - frame[:, 2]) @ to_face.T, -1, 0)
    centres = (ATLAS.centres(landmarks) - frame[:, 2]) @ to_face.T
    jaw = (landmarks[:17] - frame[:, 2]) @ to_face.T
    midline = centres[ATLAS.index("nose_bridge"), 0]

    left = _smoothstep((x - midline) / (2 * _GATE) + 0.5)  # share of the subject's left side
    gates = {"L": left, "R": 1.0 - left, "": 1.0}
    total = np.zeros((*x.shape, 2))
    plane = total.reshape(-1, 2)
    moves: dict[str, np.ndarray] = {}
    for move in (*ACTION_UNITS[number].moves, *_CARRIED.get(number, ())):
        moves[move.place] = moves.get(move.place, 0.0) + np.array([move.lateral, move.up])
    reach = _REACH.get(number, 1.35)
    for roi, (cx, cy) in zip(ATLAS.rois, centres, strict=True):
        if roi.place not in moves or (side and roi.side not in ("", side)):
            continue
        lateral, up = moves[roi.place]
        pull = np.array([lateral * {"R": -1.0, "L": 1.0, "": 0.0}[roi.side], -up])
        rx, above, below = _EXTENT[roi.place]
        near = np.flatnonzero((np.abs(x - cx) < rx * reach) & (np.abs(y - cy) < max(above, below) * reach))
        dx, dy = x.flat[near] - cx, y.flat[near] - cy
        ry = np.where(dy < 0, above, below)
        across, along = dx / rx, dy / ry  # in half axes; the patch is stretched towards the origin of the muscle
        way = pull / (rx, (above + below) / 2)
        towards_origin = np.clip((across * way[0] + along * way[1]) / np.linalg.norm(way), 0.0, None)
        radius2 = across**2 + along**2 - towards_origin**2 * (1.0 - reach**-2)
        bump = np.clip(1.0 - radius2, 0.0, None) ** 4
        gate = gates[roi.side or side]
        plane[near] += (bump * (gate.reshape(-1)[near] if side or roi.side else 1.0))[:, None] * pull

    half_width = np.abs(jaw[:, 0] - midline).max()
    brows = ((landmarks[17:27] - frame[:, 2]) @ to_face.T)[:, 1].mean()
    beyond = np.maximum(np.abs(x - midline) - half_width, y - jaw[:, 1].max())
    beyond = np.maximum(beyond, brows - _FOREHEAD - y)
    return total * _smoothstep(1.0 - beyond / _FADE)[..., None]


def compute_au_displacement(
    number: int, side: str, landmarks: np.ndarray, points: np.ndarray, peak: float = 1.0
) -> np.ndarray:
    """Displacement of skin points by one AU: float "... 2" px (right, down), scaled to ``peak`` where the skin moves most.

    Each move of ``facs.ACTION_UNITS`` is a smooth patch of compact support, longer towards the muscle's origin.

    Args:
        number, side: FACS number of ``facs.AU_NUMBERS``; ``''`` both sides, ``'L'`` or ``'R'`` of the subject.
        landmarks, points: float "68 2" and "... 2" px (x, y) in the neutral face.
        peak: largest displacement, % of IOD.

    Raises:
        StagkitError: an unknown AU, or a side that it does not have.
    """
    check_code(number, side)
    landmarks, points = np.asarray(landmarks, float), np.asarray(points, float)
    check_axes({}, landmarks=(landmarks, "68 2"))
    raw = compute_au_patches(number, side, landmarks, points)
    frame = compute_face_frame(landmarks)
    x, y = np.meshgrid(np.arange(-1.0, 1.0, 0.02), np.arange(-0.9, 1.4, 0.02))
    face = np.stack([x, y], -1) @ frame[:, :2].T + frame[:, 2]
    largest = np.linalg.norm(compute_au_patches(number, "", landmarks, face), axis=-1).max()  # of both sides
    return raw @ (frame[:, :2].T * (peak / 100.0 / float(largest)))


def make_grid(size: int, per_pixel: int = 1) -> np.ndarray:
    """Pixel positions of a square image: float "y x 2" px (x, y), ``per_pixel`` samples per pixel and axis."""
    line = (np.arange(size * per_pixel) + 0.5) / per_pixel - 0.5
    return np.stack(np.meshgrid(line, line), -1)


def make_au_field(
    number: int, side: str, landmarks: np.ndarray, size: int, peak: float = 1.0, per_pixel: int = 1
) -> np.ndarray:
    """``compute_au_displacement`` of a square image of ``size`` px: float32 "2 y x" px (right, down).

    ``per_pixel`` is the number of samples per pixel and axis; the values stay in px of the image.
    """
    displacement = compute_au_displacement(number, side, landmarks, make_grid(size, per_pixel), peak)
    return np.ascontiguousarray(np.moveaxis(displacement, -1, 0), np.float32)


def find_displacement(
    field: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    start: list[np.ndarray] | None = None,
    tolerance: float = 2e-3,
    per_pixel: float = 1.0,
) -> list[np.ndarray]:
    """Displacement ``target - p`` (right, down) of the skin at targets ``x``, ``y`` "y x" px: ``p + field(p) = target``.

    ``field`` is float32 "2 y x" px, ``per_pixel`` samples per pixel. The fixed-point iteration begins with ``start``, which
    is overwritten, and stops when no point moves by more than ``tolerance`` px.

    Raises:
        StagkitError: no convergence: the field folds the skin.
    """
    per_pixel = np.float32(per_pixel)
    aim = [place * per_pixel + (per_pixel - 1) / 2 for place in (x, y)]
    moved = start or [np.zeros_like(x), np.zeros_like(y)]
    for _ in range(40):
        at = [m * per_pixel for m in moved]
        for place, a in zip(at, aim, strict=True):
            np.subtract(a, place, out=place)
        # one channel at a time: OpenCV rounds positions to 1/32 sample where there are two
        new = [cv2.remap(f, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) for f in field]
        change = max(cv2.norm(n, m, cv2.NORM_INF) for n, m in zip(new, moved, strict=True))
        moved = new
        if change < tolerance:
            break
    if change > 10 * tolerance:
        raise StagkitError(
            "the displacement folds the skin, so no image can be made of it: lower the intensity, or move fewer AUs."
        )
    return moved


def make_intensity(n_frames: int, onset: float, apex: int, offset: float, skew: float = 1.0) -> np.ndarray:
    """Time course of one AU, float "time" 0..1: smooth rise from onset to apex, smooth fall to offset, else 0.

    Args:
        onset, offset: frames (may be fractional); apex: frame of the peak between them, inside the clip.
        skew: > 1 rises later and falls earlier; 0.5..2 (raised cosine with warped time: stagkit's choice).
    """
    if not (onset < apex < offset and 0 <= apex < n_frames):
        raise StagkitError(
            f"onset {onset}, apex {apex}, offset {offset} in {n_frames} frames: expected onset < apex < offset, "
            "and the apex inside the clip."
        )
    t = np.arange(n_frames)
    phase = np.where(t <= apex, (t - onset) / (apex - onset), (offset - t) / (offset - apex)).clip(0.0, 1.0)
    return (0.5 - 0.5 * np.cos(np.pi * phase)) ** skew


def compute_coactivation(au_intensity: np.ndarray) -> np.ndarray:
    """Normalised overlap of intensity curves "time au": float "au au", symmetric, 1 on the diagonal, 0 = never together."""
    norm = np.linalg.norm(au_intensity, axis=0).clip(1e-12)
    overlap = (au_intensity.T @ au_intensity) / np.outer(norm, norm)
    np.fill_diagonal(overlap, 1.0)
    return overlap.clip(0.0, 1.0)


def make_head_motion(
    n_frames: int, landmarks: np.ndarray, rng: np.random.Generator, shift: float, turn: float, zoom: float
) -> np.ndarray:
    """Slow drift of the head: affine maps float "time 2 3" px on a smooth random path from the identity in frame 0.

    ``shift`` (% of IOD), ``turn`` (degrees) and ``zoom`` (%) are typical sizes, around the nose bridge.
    """
    t = np.linspace(0.0, 1.0, n_frames)
    waves = np.stack([t, np.sin(np.pi * t) ** 2, np.sin(2 * np.pi * t) / 2])
    paths = rng.normal(size=(4, 3)) * (0.8, 0.5, 0.35) @ waves  # "path time", each 0 at the start
    step = inter_ocular_distance(landmarks) / 100 * shift
    centre, angle, scale = landmarks[28], np.deg2rad(paths[2] * turn), 1 + paths[3] * zoom / 100
    c, s = scale * np.cos(angle), scale * np.sin(angle)
    linear = np.stack([np.stack([c, -s], -1), np.stack([s, c], -1)], -2)
    moved = centre - linear @ centre + (paths[:2] * step).T
    return np.concatenate([linear, moved[..., None]], -1)


@dataclass(frozen=True)
class Habits:
    """How one subject moves in every clip: factors of each AU "au" and of the blink rate.

    ``left`` is the probability that a one-sided AU is on the subject's left.
    """

    gain: np.ndarray
    left: float
    blinks: float


def make_habits(difficulty: float, rng: np.random.Generator) -> Habits:
    """Sample a subject's habits; sizes are stagkit's choice and vanish at difficulty 0."""
    gain = np.exp(0.35 * difficulty * rng.normal(size=len(AU_NUMBERS)))
    left = 0.5 + difficulty * float(rng.choice([-1, 1])) * rng.uniform(0.0, 0.4)
    return Habits(gain, left, float(np.exp(0.6 * difficulty * rng.normal())))


@dataclass(frozen=True)
class IncidentalMotion:
    """Time courses: ``gaze`` "time 2" (IOD), ``closed`` and ``swallow`` "time" (0..1)."""

    gaze: np.ndarray
    closed: np.ndarray
    swallow: np.ndarray


def make_incidental_motion(
    n_frames: int, fps: float, difficulty: float, habits: Habits, rng: np.random.Generator
) -> IncidentalMotion:
    """Sample at most one glance, blink (80 ms down, 160 ms up) and swallow (0.4 s) per clip; never at difficulty 0."""
    rates = difficulty * np.array([0.5, min(1.0, 0.25 * habits.blinks), 0.10])
    looks, blinks, swallows = rng.random(3) < rates
    gaze, closed, swallow = np.zeros((n_frames, 2)), np.zeros(n_frames), np.zeros(n_frames)
    starts, angle = rng.uniform((0.1, -0.3, -0.5), (0.7, 0.9, 0.8)), rng.normal(0, 0.3)
    reach = rng.choice([-1, 1]) * rng.uniform(0.012, 0.035)
    look, blink, gulp = ((np.arange(n_frames) - start * n_frames) / fps for start in starts)
    if looks:
        jump = np.clip(look / 0.03, 0, 1)  # a saccade takes about 30 ms
        gaze = (jump * jump * (3 - 2 * jump))[:, None] * reach * np.array([np.cos(angle), 0.5 * np.sin(angle)])
    if blinks:
        closed = np.where(blink < 0.08, blink / 0.08, 1 - (blink - 0.08) / 0.16).clip(0, 1)
        closed = closed * closed * (3 - 2 * closed)
    if swallows:
        swallow = np.sin(np.pi * np.clip(gulp / 0.4, 0, 1)) ** 2
    return IncidentalMotion(gaze, closed, swallow)


def make_illumination(n_frames: int, fps: float, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness of each frame: a slow drift and the beat of mains light with the shutter; 1 where ``percent`` is 0."""
    t = np.arange(n_frames) / fps
    slow, beat = rng.uniform(0.5, 2.0), rng.uniform(4.0, 12.0)
    wave = np.sin(2 * np.pi * (slow * t + rng.random())) + 0.5 * np.sin(2 * np.pi * (beat * t + rng.random()))
    return 1.0 + percent / 100 * (wave - wave[0])


@lru_cache(maxsize=256)
def make_blur(n_from: int, n_to: int, sigma: float) -> np.ndarray:
    """Gaussian weights float32 "to from" whose rows have unit norm, so that white noise keeps its variance."""
    at = (np.arange(n_to) + 0.5) * n_from / n_to - 0.5
    weights = np.exp(-0.5 * ((at[:, None] - np.arange(n_from)) / max(sigma, 0.3)) ** 2)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)
