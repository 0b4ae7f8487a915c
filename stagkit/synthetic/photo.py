"""Animated photographs: any action units on a photographed face, with the exact displacement known.

The skin is moved by the displacement fields of phantoms; lids, teeth and shadows stay still: no real expression.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy.ndimage import map_coordinates, spline_filter

from stagkit.core.files import RESOURCES
from stagkit.core.types import Clip, StagkitError
from stagkit.datasets.au_codes import parse_aus
from stagkit.motion.landmarks import align_clip
from stagkit.synthetic.clip import Truth
from stagkit.synthetic.render.face import make_pixels
from stagkit.synthetic.skin_motion import (
    compute_au_displacement,
    compute_coactivation,
    find_displacement,
    make_au_field,
    make_intensity,
)


def load_astronaut() -> np.ndarray:
    """The public-domain portrait of scikit-image: uint8 "y x chan", RGB."""
    try:
        from skimage import data
    except ImportError as error:
        raise StagkitError("scikit-image is not installed: pip install scikit-image, or give an image.") from error
    return data.astronaut()


def load_astronaut_landmarks() -> np.ndarray:
    """Landmarks of ``load_astronaut()``: float "68 2" px, found with mediapipe (``faces.LandmarkFinder``)."""
    return np.loadtxt(RESOURCES / "astronaut68.csv", delimiter=",", skiprows=1)


def animate_photo(
    image: np.ndarray,
    landmarks: np.ndarray,
    aus: str | Mapping[str, float],
    peak: float = 2.0,
    n_frames: int = 48,
    fps: float = 200.0,
    size: int = 256,
    noise: float = 1.0,
    seed: int = 0,
) -> Clip:
    """A clip of a photograph with action units that rise and fall once.

    The face is aligned to a square; each frame is an inverse warp with cubic splines, exact far below a pixel.

    Args:
        image, landmarks: uint8 "y x" or "y x chan" (RGB), and float "68 2" px.
        aus: AU codes, e.g. ``"L12+6"``, or code -> peak displacement, % of IOD.
        peak: peak displacement of codes given without one, % of IOD (micro: 0.3 to 3).
        n_frames: at least 10; nothing moves in the first and last tenth. ``fps``: frames per second.
        size: side of the square, px; noise: standard deviation of sensor noise, grey levels; seed: of the noise.

    Returns:
        ``Clip`` with ``truth``; dataset and subject ``animated-photo``.

    Raises:
        StagkitError: an unknown AU, motion so large that the skin folds, or an array that is no image.
    """
    if image.dtype != np.uint8 or image.ndim not in (2, 3):
        raise StagkitError(f"the image is {image.dtype} {image.shape}, expected uint8 (y, x) or (y, x, 3).")
    if n_frames < 10:
        raise StagkitError(f"n_frames is {n_frames}, expected at least 10: onset, apex and offset need room.")
    peaks = dict(aus) if isinstance(aus, Mapping) else {aus: peak}
    planted = []
    for text, value in peaks.items():
        parsed = parse_aus(text)
        if parsed.unread or not parsed.codes:
            raise StagkitError(f"{text!r} names no action units; write e.g. 'L12+6'.")
        planted += [(code, float(value)) for code in parsed.codes]
    names = dict(clip_id="photo", subject="animated-photo/photo", dataset="animated-photo", label="animated")
    still = align_clip(Clip(frames=image[None], fps=fps, landmarks=np.asarray(landmarks, float)[None], **names), size)
    neutral, points = still.frames[0], still.landmarks[0]

    onset, apex, offset = find_moments(n_frames)
    course = make_intensity(n_frames, onset, apex, offset)
    intensity = np.tile(course[:, None], (1, len(planted)))
    fields = np.stack([make_au_field(c.number, c.side, points, size, p) for c, p in planted])
    moves = sum(compute_au_displacement(c.number, c.side, points, points, p) for c, p in planted)
    head, visible = np.tile(np.eye(2, 3), (n_frames, 1, 1)), np.ones((n_frames, size, size), bool)
    codes, coactivation = tuple(str(code) for code, _ in planted), compute_coactivation(intensity)
    truth = Truth(codes, intensity, fields, head, visible, coactivation, neutral)
    splines = make_splines(neutral)
    frames = np.stack([move_photo(neutral, truth.displacement(t), splines) for t in range(n_frames)])
    if noise:
        frames += noise * np.random.default_rng(seed).standard_normal(frames.shape, dtype=np.float32)
    return Clip(
        frames=np.clip(np.round(frames), 0, 255).astype(np.uint8),
        fps=fps,
        landmarks=points + course[:, None, None] * moves,
        onset=onset,
        apex=apex,
        offset=offset,
        aus=tuple(code for code, _ in planted),
        truth=truth,
        **names,
    )


def find_moments(n_frames: int) -> tuple[int, int, int]:
    """Onset, apex and offset of an animated photograph: a tenth at rest, rise to the middle, fall, a tenth at rest."""
    return round(0.1 * n_frames), n_frames // 2, n_frames - 1 - round(0.1 * n_frames)


def make_splines(image: np.ndarray) -> list[np.ndarray]:
    """Cubic splines of an image uint8 "y x" or "y x chan", one per channel, for ``move_photo``."""
    layers = image[..., None] if image.ndim == 2 else image
    return [spline_filter(layers[..., k].astype(np.float32), order=3, mode="nearest") for k in range(layers.shape[-1])]


def move_photo(image: np.ndarray, field: np.ndarray, splines: list[np.ndarray] | None = None) -> np.ndarray:
    """One frame of a moving square image, float32, 0..255 and slightly beyond at sharp edges.

    ``field`` float32 "2 y x" px is the displacement of the still face; ``splines``: ``make_splines(image)``, if available.

    Raises:
        StagkitError: motion so large that the skin folds.
    """
    frame = image.astype(np.float32)
    if not field.any():
        return frame
    x, y = make_pixels(len(image))
    across, down = (place - d for place, d in zip((x, y), find_displacement(field, x, y), strict=True))
    moved = (across != x) | (down != y)
    at = np.stack([down[moved], across[moved]])
    layers = frame[..., None] if frame.ndim == 2 else frame
    for k, spline in enumerate(splines or make_splines(image)):
        layers[moved, k] = map_coordinates(spline, at, order=3, mode="nearest", prefilter=False)
    return frame
