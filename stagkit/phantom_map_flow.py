"""What flow estimation makes of the motion of a phantom face, until it is a map of 28x28 px.

The published maps were estimated with TV-L1 (Zach, Pock and Bischof 2007, doi 10.1007/978-3-540-74936-3_22) on aligned
face crops, strain was taken there, and then all three were made small. What that leaves behind is easy to see in them, and
is made here step by step: motion is seen only across edges (``phantom_map_sketch.compute_visibility``); some places are
followed badly; total variation joins samples to flat patches that move as one and shrinks what is small; strain lies in
thin lines between the patches; cubic resizing lets a step reach into the next px. No flow is estimated: that would take a
thousand times as long.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from stagkit import phantom_map_sizes as sizes
from stagkit.phantom_map_face import SIZE, SQUEEZE, double, draw_map_face
from stagkit.phantom_map_sizes import FINE


def estimate_flow(motion: np.ndarray, faces: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Flow that would be estimated where the skin moved by ``motion``.

    Args:
        motion: float32 "clip 2 Y X", samples of the fine grid, as far as edges let it be seen.
        faces: int "clip", which face of ``phantom_map_face``.
        difficulty: scales the errors; 1 = as in CASME II.
        rng: source of chance.

    Returns:
        float32 "clip 2 Y X", samples of the fine grid.
    """
    n, side = len(motion), FINE * SIZE
    spread, width, share = sizes.UNEVEN
    rough = make_smooth(width, 0.8 * width, (n, 1, SIZE, SIZE), rng)
    rough = share_sides(rough, sizes.UNEVEN_SYMMETRY, [1.0], [width])
    followed = double(np.exp(np.float32(spread) * rough)).reshape(n, -1)
    seen = motion.reshape(n, 2, -1) * (followed ** np.float32(share))[:, None]
    error_of = np.array(sizes.ERRORS)[:, None] * np.exp(sizes.ERROR_SPREAD * rng.normal(size=(2, n)))
    shares = error_of / error_of.sum(0)
    error_of *= difficulty
    smooth = rng.beta(*sizes.SMOOTH_SHARE, size=n).astype(np.float32)
    late = np.empty_like(seen)
    for i, face in enumerate(faces):
        drawn = draw_map_face(int(face))
        badly = drawn.busy.ravel() * followed[i]
        for chan in (0, 1):
            late[i, chan], flat = 0, 0
            for scale, drawings in enumerate(drawn.patches):
                seeds, patch = drawings[chan][rng.integers(len(drawings[chan]))]
                error, spread, rest = rng.standard_normal((3, len(seeds)), dtype=np.float32)
                error *= (
                    np.exp(sizes.PATCH_SPREAD * spread) * badly[seeds] * error_of[scale, i] * (1, sizes.V_OVER_U)[chan]
                )
                if not scale:
                    error += seen[i, chan][seeds]
                flat = flat + error[patch]
                late[i, chan] += (shares[scale, i] * rest)[patch]
            seen[i, chan] *= smooth[i]
            seen[i, chan] += (1 - smooth[i]) * flat
    half, half_spread, steep = sizes.SHRINK
    scale = (half * np.exp(half_spread * rng.normal(size=(n, 1, 1)))).astype(np.float32)
    ratio = (np.abs(seen) / scale) ** np.float32(steep)
    seen *= ratio / (ratio + 1)
    for typical, error in ((sizes.LATE_ERROR, late), (sizes.GRAIN, rng.standard_normal(seen.shape, dtype=np.float32))):
        error *= (difficulty * typical * np.exp(sizes.ERROR_SPREAD * rng.normal(size=(n, 1, 1)))).astype(np.float32)
        seen += error
    soft, sharp = (_blur(sigma, side) for sigma in sizes.SOFT)
    seen = seen.reshape(motion.shape) @ soft.T
    return np.stack([soft @ seen[:, 0], sharp @ seen[:, 1]], 1)


def make_small(flow: np.ndarray, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Strain beside the flow on the fine grid, then all of it at the size of a map.

    Args:
        flow: float32 "clip 2 Y X", samples of the fine grid.
        difficulty: scales the strain of what is finer than the grid.
        rng: source of chance.

    Returns:
        float32 "clip 3 y x", chan = (u, v, strain).
    """
    motion = add_strain(flow, SQUEEZE)
    typical, spread = sizes.FLOOR
    floor = difficulty * typical * np.exp(spread * rng.normal(size=(len(flow), 1, 1)))
    motion[:, 2] = np.sqrt(motion[:, 2] ** 2 + (floor**2).astype(np.float32))
    weights = make_resizing()
    return weights @ motion @ weights.T


def add_strain(flow: np.ndarray, squeeze: float = 1.0) -> np.ndarray:
    """Optical strain beside the flow: sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2), as STSTNet defines it.

    Args:
        flow: float "clip 2 y x".
        squeeze: how much the picture was squeezed down before, 1 = not: derivatives down are so much smaller.

    Returns:
        float32 "clip 3 y x".
    """
    (u_y, u_x), (v_y, v_x) = (np.gradient(flow[:, c], axis=(1, 2)) for c in (0, 1))
    u_y, v_y = u_y * np.float32(squeeze), v_y * np.float32(squeeze)
    strain = np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)
    return np.concatenate([flow, strain[:, None]], 1).astype(np.float32)


@lru_cache(maxsize=1)
def make_resizing() -> np.ndarray:
    """Weights "to from" of cubic resizing (Keys 1981, a = -1/2) from ``FINE * SIZE`` to ``SIZE``, with antialiasing and
    mirrored edges: the neighbouring differences of u and v in published maps go together as after this one."""
    n = FINE * SIZE
    at = np.arange(-2 * FINE, n + 2 * FINE)
    x = np.abs(at - ((np.arange(SIZE) + 0.5) * FINE - 0.5)[:, None]) / FINE
    near, far = 1.5 * x**3 - 2.5 * x**2 + 1, -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2
    kernel = np.where(x < 1, near, np.where(x < 2, far, 0))
    weights = np.zeros((SIZE, n))
    for k, source in enumerate(np.where(at < 0, -1 - at, np.where(at >= n, 2 * n - 1 - at, at))):
        weights[:, source] += kernel[:, k]
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def make_smooth(sigma_x: float, sigma_y: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit variance with features of these widths, px: float32 ``shape`` (... y x)."""
    white = rng.standard_normal(shape, dtype=np.float32)
    return _smoothing(sigma_y, shape[-2]) @ white @ _smoothing(sigma_x, shape[-1]).T


@lru_cache(maxsize=64)
def _smoothing(sigma: float, n: int) -> np.ndarray:
    """Gaussian weights "to from" whose rows have unit norm: white noise keeps its variance."""
    weights = _gauss(sigma, n)
    return (weights / np.linalg.norm(weights, axis=1, keepdims=True)).astype(np.float32)


def share_sides(field: np.ndarray, symmetry: float, signs: list[float], widths: list[float]) -> np.ndarray:
    """Smooth noise that is partly the same on both sides of the face; its variance stays as it is, everywhere.

    Args:
        field: float32 "clip chan y x", smooth noise of unit variance (``make_smooth``).
        symmetry: 0 = the sides differ, 1 = they are the same.
        signs: of each channel, 1 = mirrored as it is, -1 = turned over (motion to the side).
        widths: of each channel, px: width of the features across.

    Returns:
        float32, shaped like ``field``.
    """
    own, both = np.sqrt(1 - symmetry), np.sqrt(symmetry / 2)
    apart = np.abs(2 * np.arange(field.shape[-1]) - field.shape[-1] + 1)  # px from a sample to its mirrored one
    sign = np.reshape(signs, (-1, 1, 1)).astype(np.float32)
    alike = 1 + sign * np.exp(-((apart / (2 * np.reshape(widths, (-1, 1, 1)))) ** 2))
    spread = np.sqrt(own**2 + 2 * (both**2 + own * both) * alike)
    return (((own + both) * field + both * sign * field[..., ::-1]) / spread).astype(np.float32)


@lru_cache(maxsize=8)
def _blur(sigma: float, n: int) -> np.ndarray:
    weights = _gauss(sigma, n)
    return (weights / weights.sum(1, keepdims=True)).astype(np.float32)


def _gauss(sigma: float, n: int) -> np.ndarray:
    line = np.arange(n)
    return np.exp(-0.5 * ((line[:, None] - line) / max(sigma, 1e-3)) ** 2)
