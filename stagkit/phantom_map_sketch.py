"""A sketch of a face in grey levels, and what flow estimation can make of its edges.

Flow sees motion only where the picture has edges, and only across them. From the gradients of the sketch follow how much
of a motion is seen (``compute_visibility``) and which samples flow estimation moves as one (``make_patches``).
"""

from __future__ import annotations

import cv2
import numpy as np

from stagkit import phantom_map_sizes as sizes
from stagkit.phantom_subject import BROWS, EYES


def draw_portrait(shape: np.ndarray, points: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A sketch of a face in grey levels: only edges matter here, since flow sees nothing else.

    Args:
        shape: float "68 2", landmarks in the face frame, IOD.
        points: float "y x 2", the face-frame place of each sample of a regular grid.
        rng: source of chance: contrasts, light, lines and grain of the skin.

    Returns:
        float32 "y x", 0..255.
    """
    n, over = points.shape[0], 4
    low, high = points[0, 0], points[-1, -1]
    scale = (over * n - over) / (high - low)  # drawn finer, px an IOD
    tone = rng.uniform(120, 190)
    picture = np.full((over * n, over * n), tone, np.float32)

    def place(outline) -> np.ndarray:  # sixteenths of a px, as OpenCV draws them
        return np.round(((np.asarray(outline, float) - low) * scale + (over - 1) / 2) * 16).astype(np.int32)

    def dark(least: float, most: float) -> float:
        return tone * (1 - rng.uniform(least, most))

    def fill(outline, grey: float) -> None:
        cv2.fillPoly(picture, [place(outline)], float(grey), cv2.LINE_AA, 4)

    def line(outline, grey: float, width: float) -> None:
        cv2.polylines(picture, [place(outline)], False, float(grey), max(1, int(width * scale[0])), cv2.LINE_AA, 4)

    for out, wing, eye in ((-1, 31, EYES[0]), (1, 35, EYES[1])):  # soft lines: beside the nose, under the eye
        line(
            shape[wing] + np.array([[0.03 * out, -0.06], [0.12 * out, 0.08], [0.17 * out, 0.26]]),
            dark(0.02, 0.14),
            0.04,
        )
        under = shape[list(eye[3:])].mean(0)
        line(under + np.array([[-0.1, 0.05], [0, 0.085], [0.1, 0.05]]), dark(0.03, 0.15), 0.03)
    picture = cv2.GaussianBlur(picture, (0, 0), 0.03 * scale[0])
    for ends in BROWS:
        line(shape[list(ends)] + (0, 0.01), dark(0.25, 0.6), rng.uniform(0.05, 0.09))
    angle = np.linspace(0, 2 * np.pi, 16)
    iris, nostril = (np.stack([w * np.cos(angle), h * np.sin(angle)], -1) for w, h in ((0.062, 0.05), (0.035, 0.018)))
    for eye in EYES:
        outline = shape[list(eye)]
        fill(outline, min(255, tone * rng.uniform(1.0, 1.25)))
        fill(outline.mean(0) + iris, dark(0.6, 0.85))
        line(outline[:4], dark(0.4, 0.8), 0.022)  # lashes
        line(outline[:4] - (0, 0.05), dark(0.1, 0.35), 0.015)  # fold of the lid
    fill(shape[48:60], dark(0.12, 0.35))
    line(shape[[48, 60, 61, 62, 63, 64, 54]], dark(0.35, 0.7), 0.022)
    for middle in (32, 34):
        fill(shape[middle] + nostril, dark(0.4, 0.7))
    line(shape[[31, 33, 35]] + (0, 0.02), dark(0.1, 0.3), 0.03)
    for wing, out in ((31, -1), (35, 1)):
        line(
            shape[wing] + np.array([[0.03 * out, -0.1], [0.055 * out, -0.05], [0.04 * out, 0]]), dark(0.1, 0.35), 0.025
        )
    line(shape[57] + np.array([[-0.12, 0.07], [0, 0.09], [0.12, 0.07]]), dark(0.03, 0.15), 0.04)  # above the chin
    beyond = np.zeros_like(picture)
    jaw = np.concatenate([shape[:17], [[3, shape[16, 1]], [3, 4], [-3, 4], [-3, shape[0, 1]]]])
    cv2.fillPoly(beyond, [place(jaw)], 1.0, cv2.LINE_AA, 4)
    picture += cv2.GaussianBlur(beyond, (0, 0), 0.02 * scale[0]) * (dark(0.15, 0.7) - picture)
    y, x = np.mgrid[-1 : 1 : over * n * 1j, -1 : 1 : over * n * 1j]
    light = 0.12 * rng.normal(size=2)
    picture *= (1 + light[0] * x + light[1] * y - rng.uniform(0, 0.3) * np.abs(x) ** 3).astype(np.float32)
    picture = cv2.resize(cv2.GaussianBlur(picture, (0, 0), 0.6 * over), (n, n), interpolation=cv2.INTER_AREA)
    for width in (0.7, 2.0):  # pores and blotches
        grain = cv2.GaussianBlur(rng.standard_normal((n, n), dtype=np.float32), (0, 0), width)
        picture += rng.uniform(1.0, 3.0) * grain / grain.std()
    return np.clip(picture, 0, 255).astype(np.float32)


def compute_visibility(portrait: np.ndarray) -> np.ndarray:
    """Share of u and of v that the edges around a sample let see: float32 "2 Y X", 0..1.

    The aperture problem: along an edge nothing is seen to move. With the structure tensor J of the picture, smoothed over
    ``EDGE_REACH`` samples, u keeps (Jxx + e) / (Jxx + a Jyy + e), v the same with x and y exchanged, where a is
    ``APERTURE`` and e the square of ``GRAIN_LEVEL``.

    Args:
        portrait: float32 "Y X", grey levels.
    """
    g_y, g_x = np.gradient(portrait)
    j_x, j_y = (cv2.GaussianBlur(g * g, (0, 0), sizes.EDGE_REACH) + sizes.GRAIN_LEVEL**2 for g in (g_x, g_y))
    e = sizes.GRAIN_LEVEL**2
    return np.stack([j_x / (j_x + sizes.APERTURE * (j_y - e)), j_y / (j_y + sizes.APERTURE * (j_x - e))])


def make_patches(
    portrait: np.ndarray, n_patches: int, wide: float, squeeze: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Samples that flow estimation moves as one: total variation gives flat patches that end at edges of the picture.

    Every sample joins the seed that is nearest in place and in grey level, as superpixels do; seeds are denser at edges
    and reach differently far, and places are bent a little so that no border is straight.

    Args:
        portrait: float32 "Y X", grey levels.
        n_patches: how many.
        wide: 1 = as wide as tall in the face, more = wider.
        squeeze: samples an IOD, down over across.
        rng: source of chance.

    Returns:
        seeds int32 "patch", samples counted row by row; patch int32 "sample".
    """
    n = portrait.shape[0]
    edges = np.hypot(*np.gradient(portrait)).ravel()
    chance = edges / edges.mean() + sizes.ANYWHERE
    seeds = rng.choice(n * n, n_patches, replace=False, p=chance / chance.sum())
    y, x = np.divmod(np.arange(n * n, dtype=np.float32), n)
    bends = [cv2.GaussianBlur(rng.standard_normal((n, n), dtype=np.float32), (0, 0), 1.2).ravel() for _ in "yx"]
    bent_y, bent_x = (place + 1.5 * bend / bend.std() for place, bend in zip((y, x), bends, strict=True))
    shrink = np.exp(0.6 * rng.standard_normal(n_patches, dtype=np.float32)) * n_patches / n**2
    far = (bent_y[:, None] - y[seeds]) ** 2 * np.float32(wide / squeeze**2)
    far += (bent_x[:, None] - x[seeds]) ** 2 * np.float32(1 / wide)
    tone = portrait.ravel()
    far = far * shrink + ((tone[:, None] - tone[seeds]) / sizes.SAME_GREY) ** 2
    return seeds.astype(np.int32), far.argmin(1).astype(np.int32)
