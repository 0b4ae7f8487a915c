"""Phantom faces: who somebody is (shape, colours, hair), and how that face is drawn.

A face is drawn once, finer than the picture, in two layers: the skin with two holes where the eyes open, and the eyes
behind them. Frames are sampled from these layers at warped positions, so sub-pixel motion needs no second drawing.
Coordinates: face frame of ``stagkit.rois`` (unit IOD, inter-ocular distance). Every look is stagkit's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np
from scipy.interpolate import CubicSpline

from stagkit.phantom_subject import BROWS, EYES, Subject
from stagkit.types import StagkitError

_LUMA = np.float32([0.299, 0.587, 0.114])
_MARGIN = 0.10  # the drawing reaches beyond the picture by this share of its side, so that heads can drift


def _step(low: float, high: float, x: np.ndarray) -> np.ndarray:
    """Smooth step from 0 at ``low`` to 1 at ``high``."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _curve(points: np.ndarray, n: int = 64, closed: bool = False) -> np.ndarray:
    """Smooth curve through points: float "n 2"."""
    points = np.concatenate([points, points[:1]]) if closed else np.asarray(points, float)
    s = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1) ** 0.5)])
    return CubicSpline(s, points, bc_type="periodic" if closed else "natural")(np.linspace(0, s[-1], n))


class _Canvas:
    """A sheet to draw a face on, in IOD; ``k`` samples an IOD."""

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
        """Points in 1/16 samples, as OpenCV's drawing wants them."""
        return np.round((np.asarray(points) * self.k + self.origin) * 16).astype(np.int32)

    def blur(self, image: np.ndarray, sigma: float) -> np.ndarray:
        """Gaussian blur by ``sigma`` IOD (coarser inside for wide ones)."""
        sigma = sigma * self.k
        shrink = max(1, int(sigma // 4))
        if shrink == 1:
            return cv2.GaussianBlur(image, (0, 0), max(sigma, 0.3))
        small = cv2.resize(image, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
        return cv2.resize(
            cv2.GaussianBlur(small, (0, 0), sigma / shrink), (self.n, self.n), interpolation=cv2.INTER_CUBIC
        )

    def fill(self, polygon: np.ndarray, soft: float = 0.004) -> np.ndarray:
        """Filled polygon with an edge softened by ``soft`` IOD: 0..1."""
        mask = np.zeros((self.n, self.n), np.uint8)
        cv2.fillPoly(mask, [self.px(polygon)], 255, cv2.LINE_AA, 4)
        return self.blur(mask.astype(np.float32) / 255, soft)

    def line(self, points: np.ndarray, width: float, soft: float = 0.004) -> np.ndarray:
        """Curve of constant width (IOD): 0..1."""
        mask = np.zeros((self.n, self.n), np.uint8)
        cv2.polylines(mask, [self.px(points)], False, 255, max(1, round(width * self.k)), cv2.LINE_AA, 4)
        return self.blur(mask.astype(np.float32) / 255, soft)

    def strokes(self, strokes: list[np.ndarray], width: float, soft: float = 0.002) -> np.ndarray:
        """Many thin hairs at once: 0..1, darker where they cross."""
        total = np.zeros((self.n, self.n), np.float32)
        for part in range(4):
            mask = np.zeros((self.n, self.n), np.uint8)
            for stroke in strokes[part::4]:
                cv2.polylines(mask, [self.px(stroke)], False, 255, max(1, round(width * self.k)), cv2.LINE_AA, 4)
            total += mask.astype(np.float32) / 255
        return self.blur(1 - np.exp(-0.8 * total), soft)

    def blob(self, x: float, y: float, sx: float, sy: float, turn: float = 0.0) -> np.ndarray:
        """Gaussian hill of height 1; ``turn`` in radians."""
        if not turn:
            return np.exp(-0.5 * ((self.x - x) / sx) ** 2) * np.exp(-0.5 * ((self.y - y) / sy) ** 2)
        c, s = np.cos(turn), np.sin(turn)
        a, b = (self.x - x) * c + (self.y - y) * s, (self.y - y) * c - (self.x - x) * s
        return np.exp(-0.5 * ((a / sx) ** 2 + (b / sy) ** 2))

    def noise(self, period: float, stretch: float = 1.0) -> np.ndarray:
        """Smooth noise of unit variance whose features are ``period`` IOD wide (and ``stretch`` times as high)."""
        extent = self.n / self.k
        shape = [max(2, int(np.ceil(extent / p)) + 1) for p in (period * stretch, period)]
        grid = self.rng.normal(size=shape).astype(np.float32)
        return cv2.resize(grid, (self.n, self.n), interpolation=cv2.INTER_CUBIC) * 1.35


def _mix(picture: np.ndarray, colour: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Paint ``colour`` over ``picture`` with opacity ``amount`` "y x"."""
    return picture + (np.asarray(colour, np.float32) - picture) * amount[..., None].astype(np.float32)


def _skull(face: np.ndarray, grow: float = 0.0, top: float = -1.22) -> np.ndarray:
    """Outline of the head: jaw and, above the ears, the cranium."""
    jaw = face[:17] * (1 + grow, 1 + grow * 0.4)
    left, right = jaw[16], jaw[0]
    w = (left[0] - right[0]) / 2
    mid = (left[0] + right[0]) / 2
    angle = np.linspace(0, np.pi, 15)[1:-1]
    height = (top - grow) - left[1]
    arc = np.stack(
        [mid + w * np.sign(np.cos(angle)) * np.abs(np.cos(angle)) ** 0.8, left[1] + height * np.sin(angle) ** 0.9], -1
    )
    return _curve(np.concatenate([jaw, arc]), 240, closed=True)


def _height(canvas: _Canvas, face: np.ndarray, look: dict, lips: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Relief of the face, IOD towards the viewer: what the light falls on."""
    x, y = canvas.x, canvas.y
    rows = np.interp(y[:, 0], face[:9, 1], (face[16:7:-1, 0] - face[:9, 0]) / 2, left=np.abs(face[0, 0]))
    rows = np.maximum(rows, 0.5)[:, None] * 1.06
    chin = face[8, 1]
    vertical = np.clip(1 - np.abs((y - 0.25) / (chin + 0.12 - 0.25)) ** 3.2, 0, 1) ** 0.5
    z = 0.62 * np.clip(1 - np.abs(x / rows) ** 2.3, 0, 1) ** 0.62 * (0.35 + 0.65 * vertical)
    z = canvas.blur(z.astype(np.float32), 0.03)

    bridge, tip, base = face[27], face[30], face[33]
    along = np.clip((y - bridge[1]) / (tip[1] - bridge[1]), -0.6, 1.3)
    ridge = (
        (0.035 + 0.17 * np.clip(along, 0, 1) ** 1.1)
        * _step(-0.45, 0.15, along)
        * _step(base[1] + 0.02, tip[1] + 0.035, y)
    )
    spread = 0.052 + 0.034 * np.clip(along, 0, 1)
    z = z + look["nose"] * ridge * np.exp(-0.5 * (x / spread) ** 2)
    z += look["nose"] * 0.07 * canvas.blob(*tip + (0, 0.015), 0.062, 0.06)
    for wing, out in ((31, -1), (35, 1)):
        wx, wy = face[wing]
        z += 0.085 * canvas.blob(wx - out * 0.012, wy - 0.035, 0.042, 0.05)
        z -= 0.05 * canvas.blob(wx + out * 0.05, wy - 0.03, 0.022, 0.05)  # crease beside the wing
    for eye, brow in zip(EYES, BROWS, strict=True):
        centre, out = face[list(eye)].mean(0), np.sign(face[eye[0], 0])
        z -= 0.075 * canvas.blob(centre[0] - out * 0.03, centre[1] - 0.03, 0.17, 0.085)
        z += 0.06 * canvas.blob(*centre, 0.11, 0.075)  # the eyeball under the lids
        z -= 0.012 * canvas.blob(centre[0] - out * 0.02, centre[1] + 0.13, 0.14, 0.03)
        for place in face[list(brow)][1:]:
            z += (0.028 + 0.012 * look["masculine"]) * canvas.blob(*place, 0.12, 0.055)
        z += 0.05 * look["cheek"] * canvas.blob(out * 0.44, face[30, 1] - 0.06, 0.17, 0.15)
        corner = face[48 if out < 0 else 54]
        fold = _curve(
            np.array(
                [
                    face[31 if out < 0 else 35] + (out * 0.05, -0.05),
                    corner + (out * 0.1, -0.12),
                    corner + (out * 0.11, 0.03),
                ]
            )
        )
        z -= (0.006 + 0.018 * look["age"]) * canvas.line(fold, 0.03, 0.022)
        z -= 0.03 * canvas.blob(corner[0] + out * 0.025, corner[1], 0.035, 0.035)
    upper, lower = lips
    z += 0.035 * canvas.blur(upper, 0.022) + 0.055 * canvas.blur(lower, 0.03)
    mouth = face[57]
    z -= 0.012 * canvas.blob(0, (base[1] + face[51, 1]) / 2, 0.022, 0.05)  # philtrum
    z -= 0.045 * canvas.blob(0, mouth[1] + 0.07, 0.14, 0.035)
    z += 0.06 * canvas.blob(0, (mouth[1] + chin) / 2 + 0.08, 0.15, 0.1)
    return z.astype(np.float32)


def _skin_texture(canvas: _Canvas) -> np.ndarray:
    """Relief of the skin at every scale, pores to patches: about N(0, 1) "y x". Optical flow lives on it."""
    weights = {0.22: 0.55, 0.11: 0.6, 0.055: 0.7, 0.03: 0.75, 0.016: 0.6}
    return sum(w * canvas.noise(p) for p, w in weights.items()) / 1.45


def _paint_skin(canvas: _Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Lit skin of the whole sheet, RGB, and the relief."""
    face, look = subject.face, subject.look
    skin = look["skin"].astype(np.float32)
    outer, inner = face[48:60], face[60:68]
    upper = canvas.fill(np.concatenate([_curve(outer[:7]), _curve(inner[4::-1])]), 0.006)
    lower = canvas.fill(
        np.concatenate(
            [_curve(np.concatenate([outer[6:], outer[:1]])), _curve(np.concatenate([inner[:1], inner[:3:-1]]))]
        ),
        0.006,
    )
    z = _height(canvas, face, look, (upper, lower))

    colour = np.broadcast_to(skin, (canvas.n, canvas.n, 3)).copy()
    red = skin * (0.97, 0.82, 0.80)
    for out in (-1, 1):
        colour = _mix(colour, red, 0.55 * look["blush"] * canvas.blob(out * 0.47, 0.4, 0.17, 0.14))
        under = face[41 if out < 0 else 46] + (-out * 0.05, 0.06)
        colour = _mix(
            colour, skin * (0.80, 0.74, 0.76), (0.25 + 0.3 * look["age"]) * canvas.blob(*under, 0.11, 0.035, out * 0.15)
        )
    colour = _mix(colour, red, 0.5 * look["blush"] * canvas.blob(*face[30], 0.1, 0.1))
    colour = _mix(colour, red, 0.25 * canvas.blob(0, face[8, 1] - 0.1, 0.16, 0.09))
    if look["stubble"] or look["beard"]:
        colour = _paint_stubble(canvas, colour, face, look, upper + lower)
    texture = _skin_texture(canvas)
    colour *= (1 + 0.030 * texture)[..., None]
    colour[..., 0] *= 1 + 0.012 * canvas.noise(0.09)
    spots = _step(1.55, 2.1, canvas.noise(0.026)) * np.clip(canvas.blob(0, 0.28, 0.5, 0.2) + 0.25, 0, 1)
    colour = _mix(colour, skin * (0.74, 0.60, 0.50), 0.75 * look["freckles"] * spots)
    pores = _step(1.3, 2.2, canvas.noise(0.017)) * (0.4 + canvas.blob(0, 0.3, 0.35, 0.25))
    colour *= (1 - 0.07 * pores)[..., None]

    stripes = canvas.noise(0.018, 4.0)
    lip = look["lips"].astype(np.float32)
    colour = _mix(colour, lip * 0.88, upper * 0.9) + (upper * stripes * 3.0)[..., None]
    colour = _mix(colour, lip, lower * 0.85) + (lower * stripes * 3.5)[..., None]

    slope_y, slope_x = np.gradient(canvas.blur(z, 0.008) + 0.0011 * texture, 1 / canvas.k)
    light = look["light"] / np.linalg.norm(look["light"])
    length = np.sqrt(1 + slope_x**2 + slope_y**2)
    facing = (-slope_x * light[0] - slope_y * light[1] + light[2]) / length
    shade = 0.36 + 0.70 * np.clip(0.25 + 0.75 * facing, 0, 1.2)
    shade -= 0.9 * np.clip(canvas.blur(z, 0.09) - z, -0.03, 0.12)  # hollows get less of the sky
    half = np.array([light[0], light[1], light[2] + 1]) / np.linalg.norm([light[0], light[1], light[2] + 1])
    gloss = np.clip((-slope_x * half[0] - slope_y * half[1] + half[2]) / length, 0, 1) ** 38
    shade *= 1 - 0.30 * canvas.blob(0, face[33, 1] + 0.045, 0.13, 0.035)  # shadow below the nose
    shade *= 1 - 0.16 * canvas.blob(0, face[57, 1] + 0.045, 0.13, 0.03)  # and below the lip
    shade = np.clip(shade, 0.12, 1.35)
    lit = colour * np.stack([shade**p for p in (0.92, 1.05, 1.14)], -1)
    lit += (gloss * (10 + 16 * (1 - skin.mean() / 255)) * (0.7 + 0.3 * np.clip(texture, -1, 1)))[..., None]
    lit = _paint_details(canvas, lit.astype(np.float32), subject)
    return lit, z


def _paint_stubble(canvas, colour, face, look, lips):
    """Shadow and hairs of a shaved or grown beard."""
    jaw = canvas.fill(
        np.concatenate(
            [
                _curve(face[2:15], 60) * (1.0, 1.0),
                _curve(np.array([[0.62, 0.5], [0.36, 0.66], [0, 0.6], [-0.36, 0.66], [-0.62, 0.5]])),
            ]
        ),
        0.05,
    )
    area = np.clip(jaw - 1.2 * canvas.blur(np.clip(lips, 0, 1), 0.012), 0, 1)
    grain = _step(0.1, 1.6, canvas.noise(0.014, 1.8))
    strength = 0.26 * look["stubble"] + 0.55 * look["beard"]
    tint = 0.5 * look["brow"] + 0.5 * look["skin"] * (0.62, 0.62, 0.68)
    colour = _mix(colour, tint, area * strength * (0.55 + 0.45 * canvas.blur(grain, 0.01)))
    return _mix(colour, look["brow"], area * (0.18 * look["stubble"] + 0.6 * look["beard"]) * grain)


def _paint_details(canvas: _Canvas, picture: np.ndarray, subject: Subject) -> np.ndarray:
    """Nostrils, mouth seam, lid creases, lash lines, lashes, brows."""
    face, look, rng = subject.face, subject.look, canvas.rng
    dark = look["skin"] * (0.30, 0.20, 0.19)
    for out, (a, b) in ((-1, (31, 32)), (1, (35, 34))):
        spot = face[a] * 0.42 + face[b] * 0.58 + (0, -0.012)
        picture = _mix(picture, dark * 0.75, 0.85 * np.clip(1.5 * canvas.blob(*spot, 0.03, 0.014, -out * 0.35), 0, 1))
        wing = face[a] + np.array(
            [[out * 0.012, -0.085], [out * 0.036, -0.045], [out * 0.026, -0.005], [-out * 0.01, 0.012]]
        )
        picture = _mix(picture, dark, 0.40 * canvas.line(_curve(wing), 0.012, 0.010))
    seam = np.stack([face[[48, 60, 61, 62, 63, 64, 54]], face[[48, 60, 67, 66, 65, 64, 54]]]).mean(0)
    picture = _mix(picture, dark * (0.9, 0.75, 0.75), 0.92 * canvas.line(_curve(seam), 0.014, 0.006))
    picture = _mix(picture, dark, 0.30 * canvas.line(_curve(seam), 0.03, 0.014))
    for out in (-1, 1):
        picture = _mix(
            picture, dark, 0.45 * canvas.blob(*face[48 if out < 0 else 54] + (out * 0.005, 0.002), 0.02, 0.014)
        )

    for eye, brow in zip(EYES, BROWS, strict=True):
        out = np.sign(face[eye[0], 0])
        upper, lower = _lids(face, eye)
        crease = (
            upper * (1, 1)
            + np.array([0, -0.028 - 0.022 * look["crease"]])
            - np.abs(np.linspace(-1, 1, len(upper)))[:, None] * (0, -0.018)
        )
        picture = _mix(picture, dark, (0.18 + 0.42 * look["crease"]) * canvas.line(crease[6:-4], 0.011, 0.007))
        picture = _mix(picture, look["skin"] * (0.62, 0.50, 0.48), 0.42 * canvas.line(lower, 0.024, 0.010))
        picture = _mix(
            picture,
            np.array([26, 18, 16]),
            0.92 * canvas.line(upper + (0, -0.004), 0.017 + 0.010 * look["lashes"], 0.004),
        )
        picture = _mix(picture, np.array([46, 32, 28]), 0.45 * canvas.line(lower[4:-6] + (0, 0.003), 0.008, 0.004))
        lashes = []
        for s in np.linspace(0.02, 0.86, 34):
            root = upper[int(s * (len(upper) - 1))]
            reach = (
                np.array([out * (0.055 * (1 - 1.5 * s)), -0.03 - 0.015 * (1 - s)])
                * (0.55 + 0.6 * look["lashes"])
                * rng.uniform(0.8, 1.1)
            )
            lashes.append(_curve(np.array([root, root + reach * (0.65, 0.40), root + reach]), 6))
        picture = _mix(picture, np.array([22, 16, 14]), 0.75 * look["lashes"] * canvas.strokes(lashes, 0.006))
        picture = _paint_brow(canvas, picture, face[list(brow)], look, out)
    return picture


def _lids(face: np.ndarray, eye: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Edges of the upper and lower lid from the outer to the inner corner: float "48 2" each."""
    return _curve(face[list(eye[:4])], 48), _curve(face[[eye[0], eye[5], eye[4], eye[3]]], 48)


def _paint_brow(canvas, picture, points, look, out):
    """A brow, hair by hair: ``points`` from the outer to the inner end."""
    rng, line = canvas.rng, _curve(points, 100)[::-1]  # inner to outer
    along = np.gradient(line, axis=0)
    along /= np.linalg.norm(along, axis=1, keepdims=True)
    hairs = []
    for s in np.sort(rng.uniform(0, 1, int(330 * look["brow_density"]))):
        place = int(s * 99)
        half = (
            look["brow_width"]
            * (0.72 + 0.5 * np.sin(np.pi * min(s * 1.25, 1.0)) ** 0.8)
            * (1 - 0.72 * s**2.2)
            * min(1, 0.45 + 4 * s)
        )
        across = rng.uniform(-1, 1)
        root = line[place] + (0, across * half)
        upright = max(0.0, 1 - 2.6 * s) + 0.10 - 0.30 * (across < -0.2) * (s > 0.3)
        lean = (
            along[place] * (1 - 0.55 * min(1.0, max(0.0, upright)))
            + np.array([0, -0.75]) * upright
            + (0, 0.25 * -across * (s > 0.2))
        )
        lean = lean / np.linalg.norm(lean) * rng.uniform(0.05, 0.085) * (1 - 0.35 * s)
        hairs.append(np.array([root, root + lean * 0.55 + (0, -0.003), root + lean]))
    under = canvas.strokes(hairs, 0.018, 0.014)
    picture = _mix(picture, look["brow"] * 0.6 + look["skin"] * 0.25, 0.5 * look["brow_density"] * under)
    return _mix(picture, look["brow"], 0.85 * canvas.strokes(hairs, 0.0065, 0.002))


def _paint_surroundings(canvas: _Canvas, skin: np.ndarray, z: np.ndarray, subject: Subject) -> np.ndarray:
    """Backdrop, neck, ears and hair around the lit skin."""
    face, look = subject.face, subject.look
    backdrop = look["backdrop"] * (1.0 + 0.10 * look["light"][0] * canvas.x[..., None] - 0.10 * canvas.y[..., None])
    picture = np.clip(backdrop * (1 + 0.02 * canvas.noise(0.25))[..., None], 0, 255).astype(np.float32)
    hair, behind, front = _hair_masks(canvas, subject)
    picture = _mix(picture, (0, 0, 0), 0.18 * canvas.blur(canvas.fill(_skull(face, 0.08)), 0.12))
    picture = picture + (hair * 0.72 - picture) * behind[..., None]

    chin, width = face[8, 1], 0.50 + 0.06 * look["masculine"]
    neck = canvas.fill(
        np.array(
            [
                [-width, 0.6],
                [-width * 0.96, chin],
                [-width * 1.12, chin + 0.5],
                [-1.5, chin + 0.9],
                [1.5, chin + 0.9],
                [width * 1.12, chin + 0.5],
                [width * 0.96, chin],
                [width, 0.6],
            ]
        ),
        0.02,
    )
    side = np.clip(1 - (canvas.x / (width * 1.1)) ** 2, 0, 1) ** 0.4
    tone = 0.50 + 0.16 * _step(chin, chin + 0.5, canvas.y) + 0.12 * look["light"][0] * canvas.x
    body = (
        look["skin"]
        * (tone * (0.65 + 0.35 * side))[..., None]
        * (1.0, 0.93, 0.90)
        * (1 + 0.03 * _skin_texture(canvas))[..., None]
    )
    picture = picture + (body.astype(np.float32) - picture) * neck[..., None]
    for out in (-1, 1):
        ear_x, ear_y = face[0 if out < 0 else 16] + (out * 0.045, 0.17)
        ear = canvas.fill(
            _curve(
                np.array(
                    [
                        [0, -0.20],
                        [0.075, -0.17],
                        [0.095, -0.03],
                        [0.05, 0.12],
                        [0.01, 0.20],
                        [-0.07, 0.18],
                        [-0.08, -0.16],
                    ]
                )
                * (out, 1)
                + (ear_x, ear_y),
                60,
                closed=True,
            ),
            0.008,
        )
        shine = (
            0.80
            + 0.10 * out * look["light"][0]
            - 0.22 * canvas.blob(ear_x, ear_y - 0.01, 0.028, 0.09)
            + 0.10 * canvas.blob(ear_x + out * 0.055, ear_y - 0.06, 0.018, 0.09)
        )
        picture = picture + ((look["skin"] * (1.0, 0.86, 0.82)) * shine[..., None] - picture) * ear[..., None]

    head = canvas.fill(_skull(face), 0.010)
    rim = 1 - 0.25 * np.clip(1 - canvas.blur(head, 0.05), 0, 1)
    picture = picture + (skin * rim[..., None] - picture) * head[..., None]
    shadow = canvas.blur(np.roll(front, int(0.04 * canvas.k), axis=0), 0.035)
    picture *= (1 - 0.38 * shadow * (1 - front))[..., None]
    return (picture + (hair - picture) * front[..., None]).astype(np.float32)


def _hair_masks(canvas: _Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hair colour (with strands and sheen), opacity behind the head, opacity in front of it."""
    face, look, rng = subject.face, subject.look, canvas.rng
    style, top = look["style"], look["forehead"]
    crown = np.array([look["part"] if style in ("parted", "long") else 0.15 * look["part"], -1.15])
    radius = np.hypot(canvas.x - crown[0], canvas.y - crown[1])
    angle = np.arctan2(canvas.x - crown[0], canvas.y - crown[1])  # 0 = straight down
    sheet = rng.normal(size=(24, 720)).astype(np.float32)
    sheet = 0.6 * sheet + 0.8 * cv2.GaussianBlur(rng.normal(size=(24, 720)).astype(np.float32), (0, 0), 2.2) * 4
    wave = 0.05 * canvas.noise(0.5)
    strands = cv2.remap(
        sheet,
        ((angle + wave) / (2 * np.pi) * 719 + 360).astype(np.float32),
        (radius * 6).astype(np.float32),
        cv2.INTER_CUBIC,
        borderMode=cv2.BORDER_WRAP,
    )
    sheen = np.exp(-0.5 * ((radius - 0.42 - 0.06 * strands * 0.3) / 0.12) ** 2) * (
        0.6 + 0.5 * look["light"][0] * canvas.x
    )
    tone = 0.92 + 0.14 * strands + 0.30 * sheen - 0.10 * _step(0.9, 1.8, radius)
    hair = (look["hair"] * np.clip(tone, 0.4, 1.8)[..., None] + 14 * np.clip(sheen, 0, 1)[..., None]).astype(np.float32)

    w = np.abs(face[[0, 16], 0]).mean()
    opening = np.array(
        [
            [w * 1.02, 0.12],
            [w * 0.985, -0.15],
            [w * 0.90, -0.45],
            [w * 0.66, -top + 0.10],
            [0.26, -top - 0.01],
            [0, -top],
        ]
    )
    grow, edge = 0.07, 0.22
    if style == "shaved":
        grow, edge = 0.012, 0.3
    elif style == "fringe":
        opening = np.array(
            [[w * 0.95, 0.45], [w * 0.90, 0.0], [w * 0.86, -0.30], [w * 0.70, -0.44], [0.30, -0.47], [0, -0.46]]
        )
        grow, edge = 0.13, 0.5
    elif style == "long":
        opening = np.array(
            [
                [w * 0.93, 1.5],
                [w * 0.95, 0.6],
                [w * 0.93, 0.0],
                [w * 0.84, -0.42],
                [w * 0.52, -top + 0.04],
                [0, -top - 0.05],
            ]
        )
        grow, edge = 0.14, 0.25
    elif style == "tied back":
        grow = 0.035
    mirrored = opening[-2::-1] * (-1, 1)
    if style in ("parted", "long"):
        lift = look["part"]
        opening, mirrored = (
            opening + (lift * 0.35, 0) * _step(0.2, 0.9, -opening[:, 1:]),
            mirrored + (lift * 0.35, 0) * _step(0.2, 0.9, -mirrored[:, 1:]),
        )
    window = _curve(np.concatenate([opening, mirrored]), 120)
    window = np.concatenate([window, [[-w * 0.95, 2.5], [w * 0.95, 2.5]]])
    outline = _skull(face, grow, -1.25)
    if style in ("long", "fringe"):
        length = 2.4 if style == "long" else face[8, 1] - 0.15
        drop = np.array([[w * 1.12, 0.0], [w * 1.2, 0.5], [w * 1.16, length]])
        curtain = np.concatenate([drop, drop[::-1] * (-1, 1)])
        mass = np.maximum(canvas.fill(outline), canvas.fill(_curve(curtain, 80) if style == "fringe" else curtain))
    else:
        mass = canvas.fill(outline) * _step(0.30, 0.12, canvas.y)
    soft = canvas.blur(np.minimum(mass, 1 - canvas.fill(window)), 0.028)
    front = _step(0.36, 0.62, soft + edge * 0.12 * strands)
    behind = _step(0.36, 0.62, canvas.blur(mass, 0.03) + 0.03 * strands)
    if style == "shaved":
        front, behind = (
            0.72 * canvas.blur(front, 0.02) * (0.75 + 0.12 * np.clip(canvas.noise(0.012), -2, 2)),
            0.0 * behind,
        )
    return hair, behind.astype(np.float32), front.astype(np.float32)


@dataclass(frozen=True)
class Face:
    """A drawn subject: layers to sample frames from.

    Args:
        subject: who it is; size: side of the picture, px.
        skin: float32 "Y X 4", RGB times opacity and opacity (0 where the eyes open), finer than the picture.
        per_pixel: samples a pixel; margin: px drawn beyond each side of the picture.
        eye_boxes: row and column slices of ``skin`` around each eye.
    """

    subject: Subject
    size: int
    skin: np.ndarray = field(repr=False)
    per_pixel: int
    margin: int
    eye_boxes: tuple[tuple[slice, slice], ...]
    canvas: _Canvas = field(repr=False)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """float "68 2" px of the picture."""
        return self.subject.landmarks(self.size)

    @cached_property
    def grey(self) -> Face:
        """The same face for a grey camera: ``skin`` is "Y X 2", pictures are "y x"."""
        skin = np.dstack([self.skin[..., :3] @ _LUMA, self.skin[..., 3]])
        return replace(self, skin=np.ascontiguousarray(skin, np.float32))

    @cached_property
    def eye_opening(self) -> np.ndarray:
        """Share of each pixel of the neutral picture through which the eye is seen: float32 "y x"."""
        alpha = self.sample(np.ascontiguousarray(self.skin[..., -1]), _pixels(self.size))
        return 1.0 - alpha

    def sample(self, layer: np.ndarray, points: np.ndarray) -> np.ndarray:
        """Values of a layer at ``points`` (float32 "y x 2" px of the picture)."""
        scale = np.float32(self.per_pixel)
        at = (points + np.float32(self.margin)) * scale + np.float32((self.per_pixel - 1) / 2)
        return cv2.remap(layer, at, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    @cached_property
    def open_eyes(self) -> tuple[np.ndarray, ...]:
        """Both eyes looking straight ahead."""
        return self.draw_eyes()

    def draw_eyes(self, gaze: tuple[float, float] = (0.0, 0.0), closed: float = 0.0) -> tuple[np.ndarray, ...]:
        """The layer behind the skin, in each of ``eye_boxes``.

        Args:
            gaze: shift of the irises, IOD (right, down).
            closed: 0 open .. 1 the upper lid covers the eye.

        Returns:
            float32 "Y X chan" for each eye, RGB or grey.
        """
        drawn = (
            _draw_eye(self.canvas, self.subject, eye, box, gaze, closed)
            for eye, box in zip(EYES, self.eye_boxes, strict=True)
        )
        return tuple(eye @ _LUMA[:, None] if self.skin.shape[2] == 2 else eye for eye in drawn)


def _draw_eye(canvas, subject, eye, box, gaze, closed):
    """Sclera, iris, pupil, catch-light; over them the lid as far as it is closed."""
    face, look = subject.face, subject.look
    x, y = canvas.x[:, box[1]], canvas.y[box[0]]
    upper, lower = _lids(face, eye)
    order = np.argsort(upper[:, 0])
    lid = np.interp(x[0], upper[order, 0], upper[order, 1])[None]
    order = np.argsort(lower[:, 0])
    floor = np.interp(x[0], lower[order, 0], lower[order, 1])[None]
    centre = face[list(eye)].mean(0) + (0.0, -0.008)
    out = np.sign(face[eye[0], 0])

    picture = np.broadcast_to(np.float32([233, 229, 225]), (*np.broadcast_shapes(x.shape, y.shape), 3)).copy()
    picture = _mix(picture, (205, 168, 160), 0.75 * np.exp(-((x - face[eye[3], 0]) ** 2) / 0.0016) * np.ones_like(y))
    picture *= (1 - 0.30 * np.clip(((x - centre[0]) / 0.15) ** 2, 0, 1))[..., None] * np.ones_like(y)[..., None]
    dx, dy = x - centre[0] - gaze[0], y - centre[1] - gaze[1]
    r, angle = np.hypot(dx, dy) / 0.072, np.arctan2(dy, dx)
    spokes = 0.5 + 0.25 * np.sin(17 * angle + subject.seed) + 0.25 * np.sin(29 * angle + 2 * subject.seed)
    iris = look["iris"] * (0.72 + 0.40 * spokes * _step(0.35, 0.7, r) + 0.30 * np.clip(dy / 0.072, -1, 1))[..., None]
    iris = _mix(iris, look["iris"] * 0.32, _step(0.74, 0.98, r))
    iris = _mix(iris, (10, 8, 8), _step(0.50, 0.38, r))
    picture = picture + (iris - picture) * _step(1.06, 0.94, r)[..., None]
    picture *= (1 - 0.50 * np.exp(-np.clip(y - lid, 0, None) / 0.022))[..., None]
    light = look["light"]
    glint = np.exp(-((dx - 0.024 * np.sign(light[0])) ** 2 + (dy + 0.026) ** 2) / (2 * 0.0105**2))
    picture = _mix(picture, (255, 255, 255), np.clip(1.4 * glint, 0, 0.96))
    picture = _mix(picture, (255, 246, 240), 0.35 * np.exp(-((y - floor + 0.006) ** 2) / 0.00005) * np.ones_like(x))
    if closed > 0:
        edge = lid + (floor - lid) * closed
        skin = look["skin"] * (0.80, 0.72, 0.70) * (1 - 0.12 * np.clip((y - lid) / 0.08, 0, 1))[..., None]
        cover = _step(0.004, -0.004, y - edge)
        picture = _mix(
            picture + (skin - picture) * cover[..., None], (26, 18, 16), 0.9 * np.exp(-(((y - edge) / 0.009) ** 2))
        )
    del out
    return np.clip(cv2.GaussianBlur(picture.astype(np.float32), (0, 0), 0.45 * canvas.per_pixel), 0, 255)


def _pixels(size: int) -> np.ndarray:
    line = np.arange(size, dtype=np.float32)
    return np.stack(np.meshgrid(line, line), -1)


@lru_cache(maxsize=16)
def draw_face(subject: Subject, size: int) -> Face:
    """Draw somebody (about half a second at 128 px; remembered for the last 16).

    Args:
        subject: from ``make_subject``.
        size: side of the square picture, px, 48..1024.

    Raises:
        StagkitError: a size outside that range.
    """
    if not 48 <= size <= 1024:
        raise StagkitError(f"the size of a phantom picture is {size}, expected 48 to 1024 px.")
    per_pixel = 4 if size <= 192 else 3 if size <= 320 else 2
    canvas = _Canvas(subject, size, per_pixel)
    skin, z = _paint_skin(canvas, subject)
    picture = np.clip(_paint_surroundings(canvas, skin, z, subject), 0, 255)
    opening = np.zeros((canvas.n, canvas.n), np.float32)
    boxes = []
    for eye in EYES:
        upper, lower = _lids(subject.face, eye)
        outline = np.concatenate([upper, lower[::-1]])
        opening = np.maximum(opening, canvas.fill(outline, 0.0))
        low, high = (
            (canvas.px(outline) / 16).min(0) - 0.10 * canvas.k,
            (canvas.px(outline) / 16).max(0) + 0.10 * canvas.k,
        )
        boxes.append((slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))))
    layers = np.dstack([picture * (1 - opening)[..., None], 1 - opening])
    layers = cv2.GaussianBlur(layers, (0, 0), 0.45 * per_pixel)  # what a pixel of the picture can resolve
    return Face(subject, size, layers, per_pixel, canvas.margin, tuple(boxes), canvas)


def render_picture(
    face: Face, skin_points: np.ndarray, head_points: np.ndarray, eyes: tuple[np.ndarray, ...] | None = None
) -> np.ndarray:
    """Sample a frame: skin from where it came, eyes from where the head was.

    Args:
        face: from ``draw_face``.
        skin_points: float32 "y x 2" px, position in the neutral face of the skin seen in each pixel.
        head_points: float32 "y x 2" px, the same for what moves with the head only (the eyeballs).
        eyes: layers of ``Face.draw_eyes``; None looks straight ahead.

    Returns:
        float32 "y x 3" RGB or "y x" grey, 0..255.
    """
    layers = face.sample(face.skin, skin_points)
    picture, alpha = np.ascontiguousarray(layers[..., :-1]), layers[..., -1]
    rows, columns = np.nonzero(alpha < 0.999)
    if len(rows):
        for layer, box in zip(face.open_eyes if eyes is None else eyes, face.eye_boxes, strict=True):
            corner = np.float32([box[1].start, box[0].start])
            scale, half = np.float32(face.per_pixel), np.float32((face.per_pixel - 1) / 2)
            at = (head_points[rows, columns] + np.float32(face.margin)) * scale + half - corner
            inside = (at >= 0).all(1) & (at <= np.float32(layer.shape[1::-1]) - 1).all(1)
            seen = cv2.remap(layer, at[inside][:, None], None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            picture[rows[inside], columns[inside]] += (1 - alpha[rows[inside], columns[inside]])[
                :, None
            ] * seen.reshape(-1, picture.shape[2])
    return np.clip(picture[..., 0] if picture.shape[2] == 1 else picture, 0, 255)


def render_neutral(subject: Subject, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """The face at rest.

    Args:
        subject: from ``make_subject``.
        size: side of the square picture, px, 48..1024.

    Returns:
        picture float32 "y x 3" RGB 0..255, and landmarks float "68 2" px.

    Raises:
        StagkitError: a size outside that range.
    """
    face = draw_face(subject, size)
    return render_picture(face, _pixels(size), _pixels(size)), face.landmarks
