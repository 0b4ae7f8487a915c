"""The eyes of a phantom, behind the skin: ball, iris and catch-light drawn once, gaze and lids worked out per frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np

from stagkit.synthetic.identity import Subject
from stagkit.synthetic.render.canvas import Canvas, mix, smooth_step
from stagkit.synthetic.render.features import find_lids

_INK = np.float32([26, 18, 16])  # lashes


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye, drawn finer than the picture.

    Args:
        box: row and column slices of the sheet that it covers.
        ball: float32 "Y X chan", what lies still: the white, its shadow towards the corners, the inner corner.
        iris: float32 "Y X chan+1", what turns: iris, pupil, catch-light (times opacity), and their opacity.
        shade: float32 "Y X", light that the upper lid lets through, 0..1.
        upper, lower: float "n 2", edges of the lids (IOD), sorted by x.
        fold: colour of the lid when it comes down.
        k: samples an IOD; origin: sample of the face frame's zero.
    """

    box: tuple[slice, slice]
    ball: np.ndarray = field(repr=False)
    iris: np.ndarray = field(repr=False)
    shade: np.ndarray = field(repr=False)
    upper: np.ndarray = field(repr=False)
    lower: np.ndarray = field(repr=False)
    fold: np.ndarray = field(repr=False)
    ink: np.ndarray = field(repr=False)
    k: float
    origin: np.ndarray = field(repr=False)

    def grey(self, luma: np.ndarray) -> Eye:
        """The same eye for a grey camera."""
        iris = np.dstack([self.iris[..., :3] @ luma, self.iris[..., 3]])
        return Eye(
            self.box,
            np.ascontiguousarray((self.ball @ luma)[..., None]),
            np.ascontiguousarray(iris, np.float32),
            self.shade,
            self.upper,
            self.lower,
            np.atleast_1d(self.fold @ luma),
            np.atleast_1d(self.ink @ luma),
            self.k,
            self.origin,
        )

    @property
    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """Upper left and lower right corner of the opening of the lids: float "2" (x, y), samples of the sheet."""
        edges = np.concatenate([self.upper, self.lower])
        return edges.min(0) * self.k + self.origin, edges.max(0) * self.k + self.origin

    def look(self, x: np.ndarray, y: np.ndarray, gaze: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """What is seen through the opening of the lids in every frame of a clip.

        Args:
            x, y: float32 "time Y X", places on the sheet.
            gaze: float "time 2", shift of the iris, IOD (right, down).
            closed: float "time", 0 open .. 1 the upper lid covers the eye.

        Returns:
            float32 "time Y X chan", 0..255; 0 beyond the box.
        """
        rows, columns = self.box
        across, down = x - np.float32(columns.start), y - np.float32(rows.start)
        turn = (np.float32(gaze) * np.float32(self.k))[:, :, None, None]
        iris = _sample(self.iris, across - turn[:, 0], down - turn[:, 1])
        seen = _sample(self.ball, across, down) * (1 - iris[..., -1:])
        seen += iris[..., :-1]
        seen *= _sample(self.shade, across, down)
        for t in np.flatnonzero(closed > 0):
            seen[t] = self._lower_lid(seen[t], x[t], y[t], closed[t])
        height, width = self.shade.shape
        seen[(across < 0) | (across > width - 1) | (down < 0) | (down > height - 1)] = 0
        return seen

    def _lower_lid(self, seen: np.ndarray, x: np.ndarray, y: np.ndarray, closed: float) -> np.ndarray:
        """One frame "Y X chan" with the upper lid and its lashes come down."""
        x, y = (x - self.origin[0]) / self.k, (y - self.origin[1]) / self.k
        lid, floor = np.interp(x, *self.upper.T), np.interp(x, *self.lower.T)
        edge = lid + (floor - lid) * closed
        soft = np.float32(max(0.006, 2.0 / self.k))
        fold = self.fold * (1 - 0.12 * np.clip((y - lid) / 0.08, 0, 1))[..., None]
        seen = seen + (fold - seen) * smooth_step(soft, -soft, y - edge)[..., None]
        lashes = 0.9 * np.exp(-(((y - edge) / max(0.010, 2.0 / self.k)) ** 2))[..., None]
        return seen + (self.ink - seen) * lashes


def _sample(layer: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A layer "Y X" or "Y X chan" at places "time y x": float32 "time y x chan"."""
    flat = [place.reshape(-1, place.shape[-1]) for place in (x, y)]
    return cv2.remap(layer, *flat, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(*x.shape, -1)


def draw_eye(canvas: Canvas, subject: Subject, eye: tuple[int, ...], box: tuple[slice, slice], optics: float) -> Eye:
    """Draw one eye looking straight ahead.

    Args:
        canvas: the sheet; subject: whose eye.
        eye: its landmarks, outer corner first.
        box: row and column slices of the sheet around it.
        optics: blur of the lens, samples.
    """
    face, look = subject.face, subject.look
    x, y = canvas.x[:, box[1]], canvas.y[box[0]]
    edges = [edge[edge[:, 0].argsort()] for edge in find_lids(face, eye)]
    lid, floor = (np.interp(x[0], *edge.T)[None] for edge in edges)
    centre = face[list(eye)].mean(0) - (0, 0.010)
    white = np.float32([226, 219, 214]) * (0.80 + 0.20 * look["skin"].mean() / 255)
    ball = np.broadcast_to(white, (*np.broadcast_shapes(x.shape, y.shape), 3))
    ball = ball * np.clip(1.06 - 0.34 * ((x - centre[0]) / 0.14) ** 2, 0.55, 1.06)[..., None]
    inner = np.exp(-((x - face[eye[3], 0]) ** 2) / 0.0011) * np.ones_like(y)
    ball = mix(ball, look["skin"] * (0.86, 0.62, 0.58), 0.85 * inner)
    wet = 0.5 * np.exp(-((y - floor) ** 2) / 0.00004) * np.ones_like(x)
    ball = mix(ball, look["skin"] * (1.0, 0.84, 0.80), wet)

    dx, dy = x - centre[0], y - centre[1]
    r, angle = np.hypot(dx, dy) / 0.070, np.arctan2(dy, dx)
    spokes = 0.5 + 0.25 * np.sin(17 * angle + subject.seed % 97) + 0.25 * np.sin(29 * angle + subject.seed % 31)
    glow = 0.70 + 0.45 * spokes * smooth_step(0.35, 0.7, r) + 0.35 * np.clip(dy / 0.07, -1, 1)
    iris = look["iris"] * glow[..., None]
    iris = mix(iris, look["iris"] * 0.30, smooth_step(0.72, 0.98, r))
    iris = mix(iris, (9, 7, 7), smooth_step(0.50, 0.38, r))
    opacity = smooth_step(1.08, 0.93, r)
    glint = np.exp(-((dx - 0.022 * np.sign(look["light"][0])) ** 2 + (dy + 0.024) ** 2) / (2 * 0.0095**2))
    iris = mix(iris, (255, 255, 255), np.clip(1.3 * glint, 0, 0.92))
    shade = 1 - 0.55 * np.exp(-np.clip(y - lid, 0, None) / 0.020)
    shade = np.maximum(shade, np.clip(1.3 * glint, 0, 0.92))  # the catch-light lies on top
    layers = (ball, np.dstack([iris * opacity[..., None], opacity]), shade)
    ball, iris, shade = (cv2.GaussianBlur(layer.astype(np.float32), (0, 0), optics) for layer in layers)
    fold = np.float32(look["skin"] * (0.80, 0.72, 0.70))
    return Eye(box, np.clip(ball, 0, 255), iris, shade, *edges, fold, _INK, canvas.k, np.float32(canvas.origin))
