"""What lies on a phantom's skin or hides it: folds that darken, lips that part, glasses, a fringe."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from stagkit.synthetic.identity import EYES, Subject
from stagkit.synthetic.render.canvas import Canvas, curve, mix, smooth_step
from stagkit.synthetic.render.face import Face

#: How far the lips part for each AU, as a share of its peak displacement.
_PARTS = {25: 1.0, 26: 0.9}


def make_wrinkles(field: np.ndarray, face: Face) -> np.ndarray:
    """How much the skin darkens where an AU folds it: float32 "y x", 0..0.5, in the neutral face.

    Skin that is pressed together along a direction folds across it; older skin folds more (stagkit's choice).

    Args:
        field: float "2 y x" px, displacement at the AU's peak.
        face: whose skin.
    """
    (u_y, u_x), (v_y, v_x) = np.gradient(field[0]), np.gradient(field[1])
    shear, mean, half = (u_y + v_x) / 2, (u_x + v_y) / 2, (u_x - v_y) / 2
    pressed = np.clip(np.hypot(half, shear) - mean, 0, None)  # minus the smaller principal strain
    angle = 0.5 * np.arctan2(shear, half) + np.pi / 2  # of the direction along which it is pressed together
    weight = pressed / max(float(pressed.sum()), 1e-9)
    angle = 0.5 * np.arctan2((weight * np.sin(2 * angle)).sum(), (weight * np.cos(2 * angle)).sum())
    size = len(pressed)
    rng = np.random.default_rng([face.subject.seed, 0xF01D])
    bend = cv2.resize(rng.normal(size=(9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    iod = face.subject.look["iod"] * size
    lines = np.cos((x * np.cos(angle) + y * np.sin(angle)) / (0.05 * iod) * 2 * np.pi + 1.5 * bend)
    depth = (0.5 + face.subject.look["age"]) * pressed * (0.3 + 0.7 * np.clip(lines, 0, 1) ** 2)
    return np.clip(depth, 0, 0.5).astype(np.float32)


def find_parting(codes: tuple[tuple[int, str], ...], peaks: np.ndarray) -> np.ndarray:
    """How far each planted AU parts the lips at its peak, % of IOD: float "au"."""
    return np.array([_PARTS.get(number, 0.0) * peak for (number, _), peak in zip(codes, peaks, strict=True)])


def find_gap(face: Face, width: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Opacity of the gap between parted lips: float32 "y x", 0..1.

    Args:
        face: whose mouth.
        width: height of the gap in the middle, px.
        x, y: float32 "y x" px, places of the neutral face.
    """
    seam = np.stack([face.landmarks[[48, 60, 61, 62, 63, 64, 54]], face.landmarks[[48, 60, 67, 66, 65, 64, 54]]]).mean(
        0
    )
    middle, reach = (seam[0, 0] + seam[-1, 0]) / 2, 0.42 * (seam[-1, 0] - seam[0, 0])
    half = 0.5 * width * np.clip(1 - ((x - middle) / reach) ** 2, 0, None)
    off = np.abs(y - np.interp(x, *seam.T) - 0.3 * half)
    return (np.clip(half - off + 0.5, 0, 1) * np.clip(2 * half, 0, 1)).astype(np.float32)


@lru_cache(maxsize=4)
def draw_occlusion(subject: Subject, size: int, occlusion: str, per_pixel: int) -> np.ndarray:
    """Glasses or a fringe, which ride on the head and not on the skin: float32 "Y X 4", RGB times opacity and opacity.

    Args:
        subject: who wears it; size: side of the picture, px.
        occlusion: ``glasses`` or ``fringe``.
        per_pixel: samples a pixel, as the face was drawn.
    """
    canvas = Canvas(subject, size, per_pixel)
    picture, opacity = _draw_glasses(canvas, subject) if occlusion == "glasses" else _draw_fringe(canvas, subject)
    layer = np.dstack([picture * opacity[..., None], opacity]).astype(np.float32)
    return cv2.GaussianBlur(layer, (0, 0), 0.5 * per_pixel)


def _draw_glasses(canvas: Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    face = subject.face
    tint = np.float32([[24, 22, 24], [66, 44, 30], [120, 118, 116]][subject.seed % 3])
    corner = np.float32([1, 0.42])[subject.seed % 2]  # round or nearly square
    opacity, glare = np.zeros((canvas.n, canvas.n), np.float32), np.zeros((canvas.n, canvas.n), np.float32)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for eye in EYES:
        centre, out = face[list(eye)].mean(0) + (0, 0.015), np.sign(face[eye[0], 0])
        shape = np.stack([np.cos(angle), np.sin(angle)], -1)
        shape = np.sign(shape) * np.abs(shape) ** corner * (0.225, 0.155) + centre + (out * 0.015, 0)
        rim = np.concatenate([shape, shape[:1]])
        opacity = np.maximum(opacity, canvas.line(rim, 0.026, 0.004))
        temple = np.array([shape[0 if out > 0 else 30] - (0, 0.03), face[16 if out > 0 else 0] + (0, -0.03)])
        opacity = np.maximum(opacity, canvas.line(temple, 0.026, 0.004))
        streak = np.exp(-0.5 * (((canvas.x - centre[0]) + 0.8 * (canvas.y - centre[1]) + 0.08) / 0.022) ** 2)
        glare = np.maximum(glare, canvas.fill(shape, 0.004) * (0.03 + 0.13 * streak))
    bridge = curve(np.array([[-0.075, 0.0], [0.0, -0.035], [0.075, 0.0]]) + face[27] * (1, 0) + (0, 0.0), 24)
    opacity = np.maximum(opacity, canvas.line(bridge, 0.024, 0.004))
    total = np.maximum(opacity, glare)
    frame = np.broadcast_to(tint, (canvas.n, canvas.n, 3))
    shine = smooth_step(0.0, 0.02, opacity - glare)[..., None]
    return np.float32(255) + (frame - np.float32(255)) * shine, total


def _draw_fringe(canvas: Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    face, look, rng = subject.face, subject.look, np.random.default_rng([subject.seed, 0xF21])
    brow, top = face[17:27, 1].mean(), -look["forehead"] - 0.22
    hairs, lean, wide = [], rng.choice([-1, 1]) * 0.10, 0.86 * np.abs(face[[0, 16], 0]).mean()
    for x in np.sort(rng.uniform(-1, 1, 520)) * wide:
        tip = brow - 0.02 + 0.045 * np.sin(9 * x + subject.seed) + 0.035 * rng.normal() + 0.30 * (x / wide) ** 4
        way = [
            [0.45 * x, top],
            [0.9 * x + 0.3 * lean, 0.62 * top + 0.38 * tip],
            [x + lean * (1 - (x / wide) ** 2), tip],
        ]
        hairs.append(curve(np.array(way), 10))
    opacity = np.clip(1.3 * canvas.strokes(hairs, 0.012, 0.003), 0, 1)
    opacity *= smooth_step(top + 0.04, top + 0.20, canvas.y)
    strands = np.clip(canvas.noise(0.010, 30.0) + 0.7 * canvas.noise(0.03, 12.0), -2, 2)
    sheen = np.exp(-0.5 * ((canvas.y - 0.6 * top) / 0.09) ** 2)
    tone = look["hair"] * (0.92 + 0.09 * strands + 0.22 * sheen)[..., None]
    tips = 0.35 * smooth_step(brow - 0.12, brow + 0.05, canvas.y) * np.ones_like(canvas.x)
    return mix(tone, look["hair"] * 0.55, tips), opacity
