"""The canvas on which phantom faces are drawn: curves, soft fills, hairs, noise, in the face frame (IOD)."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from stagkit.synthetic.identity import Subject

_MARGIN = 0.10  # drawn beyond the image by this share of its side, so that heads can drift


def smooth_step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def curve(points: np.ndarray, n: int = 64, closed: bool = False) -> np.ndarray:
    """Smooth curve through points: float "n 2"."""
    points = np.concatenate([points, points[:1]]) if closed else np.asarray(points, float)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) ** 0.5)])
    return CubicSpline(s, points, bc_type="periodic" if closed else "natural")(np.linspace(0, s[-1], n))


class Canvas:
    """A canvas in units of IOD; ``k`` samples per IOD."""

    def __init__(self, subject: Subject, size: int, per_pixel: int):
        self.rng = np.random.default_rng([subject.seed, 0xD0A])
        look = subject.look
        self.per_pixel, self.margin = per_pixel, round(_MARGIN * size)
        self.n = (size + 2 * self.margin) * per_pixel
        self.k = look["iod"] * size * per_pixel
        centre = np.array([0.5, look["eye_line"]]) * size - 0.5
        self.origin = (centre + self.margin) * per_pixel + (per_pixel - 1) / 2
        line = np.arange(self.n, dtype=np.float32)
        self.x = ((line - self.origin[0]) / self.k)[None, :]
        self.y = ((line - self.origin[1]) / self.k)[:, None]

    def px(self, points: np.ndarray) -> np.ndarray:
        """Points in 1/16 samples, as OpenCV draws them."""
        return np.round((np.asarray(points) * self.k + self.origin) * 16).astype(np.int32)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur by ``sigma`` IOD (wide ones at lower resolution)."""
        sigma = sigma * self.k
        shrink = max(1, int(sigma // 4))
        if shrink == 1:
            return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))
        small = cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        small = cv2.GaussianBlur(small, (0, 0), sigma / shrink)
        return cv2.resize(small, (self.n, self.n), interpolation=cv2.INTER_CUBIC)

    def _stroke(self, lines: list[np.ndarray], width: float) -> np.ndarray:
        """Curves of constant width (IOD): float32 "Y X" 0..1."""
        mask = np.zeros((self.n, self.n), np.uint8)
        for line in lines:
            cv2.polylines(mask, [self.px(line)], False, 255, max(1, round(width * self.k)), cv2.LINE_AA, 4)
        return mask.astype(np.float32) / 255

    def fill(self, polygon: np.ndarray, soft: float = 0.004) -> np.ndarray:
        """Filled polygon, its edge softened by ``soft`` IOD: 0..1."""
        mask = np.zeros((self.n, self.n), np.uint8)
        cv2.fillPoly(mask, [self.px(polygon)], 255, cv2.LINE_AA, 4)
        return self.blur(mask.astype(np.float32) / 255, soft)

    def line(self, points: np.ndarray, width: float, soft: float = 0.004) -> np.ndarray:
        """Curve of constant width (IOD): 0..1."""
        return self.blur(self._stroke([points], width), soft)

    def strokes(self, strokes: list[np.ndarray], width: float, soft: float = 0.002) -> np.ndarray:
        """Thin hairs: 0..1, darker where they cross."""
        total = np.zeros((self.n, self.n), np.float32)
        for part in range(4):
            total += self._stroke(strokes[part::4], width)
        return self.blur(1 - np.exp(-0.8 * total), soft)

    def blob(self, x: float, y: float, sx: float, sy: float, turn: float = 0.0) -> np.ndarray:
        """Gaussian of height 1; ``turn`` in radians."""
        if not turn:
            return np.exp(-0.5 * ((self.x - x) / sx) ** 2) * np.exp(-0.5 * ((self.y - y) / sy) ** 2)
        c, s = np.cos(turn), np.sin(turn)
        a, b = (self.x - x) * c + (self.y - y) * s, (self.y - y) * c - (self.x - x) * s
        return np.exp(-0.5 * ((a / sx) ** 2 + (b / sy) ** 2))

    def noise(self, period: float, stretch: float = 1.0) -> np.ndarray:
        """Smooth noise of unit variance with features ``period`` IOD wide and ``stretch`` times as high."""
        extent = self.n / self.k
        shape = [max(2, int(np.ceil(extent / p)) + 1) for p in (period * stretch, period)]
        grid = self.rng.normal(size=shape).astype(np.float32)
        return cv2.resize(grid, (self.n, self.n), interpolation=cv2.INTER_CUBIC) * 1.35


def mix(image: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Paint ``colour`` over ``image`` with opacity ``amount`` "y x"."""
    return image + (np.asarray(colour, np.float32) - image) * amount[..., None].astype(np.float32)


def make_skull(face: np.ndarray, grow: float = 0.0, top: float = -1.22) -> np.ndarray:
    """Outline of the head: jaw and cranium."""
    jaw = face[:17] * (1 + grow, 1 + grow * 0.4)
    left, right = jaw[16], jaw[0]
    w, mid = (left[0] - right[0]) / 2, (left[0] + right[0]) / 2
    angle, height = np.linspace(0, np.pi, 15)[1:-1], (top - grow) - left[1]
    x = mid + w * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8
    arc = np.stack([x, left[1] + height * np.sin(angle) ** 0.9], -1)
    return curve(np.concatenate([jaw, arc]), 240, closed=True)


def points(text: str) -> np.ndarray:
    """Points written as "x y  x y ...": float "n 2"."""
    return np.array(text.split(), float).reshape(-1, 2)
