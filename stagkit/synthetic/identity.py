"""Synthetic identities: shape of the face, colours, brows, hair, light. No real person is imitated.

Coordinates: face frame of ``stagkit.core.regions`` (unit IOD, inter-ocular distance). Every range is stagkit's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from stagkit.core.regions import MIRROR_68, compute_face_frame, load_mean_face
from stagkit.core.types import StagkitError

EYES = ((36, 37, 38, 39, 40, 41), (45, 44, 43, 42, 47, 46))  # outer corner, upper lid, inner corner, lower lid
BROWS = ((17, 18, 19, 20, 21), (26, 25, 24, 23, 22))  # outer end to inner end

_SKIN = np.array([[238, 204, 184], [230, 188, 160], [218, 172, 138], [198, 147, 110], [154, 106, 76], [104, 69, 50]])
_HAIR = np.array([[30, 25, 24], [48, 34, 27], [84, 56, 36], [128, 88, 50], [186, 146, 92], [150, 76, 40]])
_GREY_HAIR = np.array([152, 148, 145])
_IRIS = np.array([[58, 36, 22], [84, 52, 28], [112, 84, 46], [84, 104, 70], [88, 116, 138], [62, 92, 126]])
_BACKDROP = np.array([[120, 124, 128], [168, 172, 174], [96, 112, 124], [150, 142, 130]])
_STYLES = ("short", "parted", "fringe", "long", "tied back", "shaved", "curly")


@dataclass(frozen=True)
class Subject:
    """One identity: ``seed`` of all its random details, and landmarks ``face`` float "68 2" in the face frame, IOD.

    ``look``: appearance by name (colours as RGB 0..255, lengths in IOD, strengths 0..1).
    """

    seed: int
    face: np.ndarray = field(repr=False, compare=False)  # both follow from the seed
    look: dict = field(repr=False, compare=False)

    def landmarks(self, size: int) -> np.ndarray:
        """Landmarks of the neutral face in a square image of ``size`` px: float "68 2" px."""
        return self.face * (self.look["iod"] * size) + np.array([0.5, self.look["eye_line"]]) * size - 0.5


def make_shape(rng: np.random.Generator, spread: float = 1.0) -> np.ndarray:
    """A face shape, float "68 2" in the face frame: ``spread`` 0 the symmetric mean face, 1 everyday variety."""
    mean = load_mean_face()[0]
    face = (mean + mean[list(MIRROR_68)] * (-1, 1)) / 2
    vary = iter(spread * np.clip(rng.normal(size=32), -2, 2))
    x, y = face.T.copy()
    side = np.sign(x) * (np.abs(x) > 0.01)
    parts = range(17), range(17, 27), range(27, 36), range(48, 68)
    jaw, brow, nose, mouth = (np.isin(np.arange(68), part) for part in parts)
    depth = np.clip((y[:17] + 0.05) / 1.28, 0, 1)  # 0 at the ears, 1 at the chin

    x[jaw] *= 1 + 0.045 * next(vary) + next(vary) * 0.055 * np.sin(np.pi * depth**1.6)  # wide, square
    y[jaw] *= 1 + 0.05 * next(vary) * depth
    y[6:11] += 0.035 * next(vary) * np.array([0.4, 0.8, 1, 0.8, 0.4])  # chin
    length = 1 + 0.045 * next(vary)
    y[nose] = y[nose] * length
    y[mouth] = y[mouth] + 0.545 * (length - 1) + 0.022 * next(vary)
    x[brow] += side[brow] * 0.022 * next(vary)
    across = (np.abs(face[brow, 0]) - 0.11) / 0.56  # 0 inner end, 1 outer end
    y[brow] += -0.012 + 0.032 * next(vary) + 0.024 * next(vary) * (across - 0.5)
    y[brow] -= 0.02 * next(vary) * np.sin(np.pi * across)
    x[31:36] *= 1 + 0.11 * next(vary)
    y[30] += 0.022 * next(vary)
    width, corner = 1 + 0.085 * next(vary), 0.014 * next(vary)
    x[mouth] *= width
    y[mouth] -= corner * (np.abs(face[mouth, 0]) / 0.28) ** 2
    full = np.where(y[mouth] < y[62], 1 + 0.17 * next(vary), 1 + 0.16 * next(vary)) + 0.12
    y[mouth] = np.where(np.isin(np.arange(48, 68), (48, 54, 60, 64)), y[mouth], y[62] + (y[mouth] - y[62]) * full)
    y[51] += 0.008 * next(vary)
    x[[55, 59]] *= 1.08
    y[[55, 59]] += 0.007
    open_, inner, tilt = 1.32 + 0.24 * next(vary), 0.016 * next(vary), 0.011 * next(vary)
    for eye in EYES:
        eye = list(eye)
        y[eye] *= open_
        x[eye] += side[eye] * inner * (0.5 - np.abs(face[eye, 0])) / 0.28
        y[eye[3]] = 0.016 + tilt
        y[[eye[1], eye[5]]] += 0.3 * tilt
        y[[eye[2], eye[4]]] += 0.7 * tilt
    face = np.stack([x, y], -1)

    lean = spread * rng.normal(size=6) * 0.006  # asymmetry, smooth over the face
    face[:, 0] += lean[0] * np.cos(2.2 * face[:, 1]) + lean[1] * face[:, 1]
    face[:, 1] += lean[2] * face[:, 0] + lean[3] * np.sin(3 * face[:, 0]) + lean[4] * face[:, 0] * face[:, 1]
    frame = compute_face_frame(face)
    return (face - frame[:, 2]) @ np.linalg.inv(frame[:, :2]).T


def make_subject(seed: int) -> Subject:
    """Sample an identity; any two seeds, 0 or more, differ visibly.

    Example:
        >>> make_subject(3).landmarks(128).shape
        (68, 2)
    """
    if seed < 0:
        raise StagkitError(f"the seed of a subject is {seed}, expected 0 or more.")
    rng = np.random.default_rng([seed, 0xFACE])
    face = make_shape(rng)
    tone = rng.beta(1.1, 1.5) * (len(_SKIN) - 1)
    dark = tone / (len(_SKIN) - 1)
    skin = _between(_SKIN, tone) * (1 + np.clip(rng.normal(size=3), -1.5, 1.5) * (0.012, 0.012, 0.02))
    masculine, age = rng.random() < 0.5, rng.beta(1.6, 2.6)
    light_hair = rng.random() < 0.45 * (1 - dark) ** 2
    hair_tone = rng.uniform(2, 5) if light_hair else rng.uniform(0, 1.6)
    hair = _GREY_HAIR * rng.uniform(0.8, 1.15) if age > 0.72 and rng.random() < 0.8 else _between(_HAIR, hair_tone)
    iris_tone = rng.uniform(1.5, 5) if light_hair or rng.random() < 0.3 * (1 - dark) else rng.uniform(0, 1.4)
    weights = (0.34, 0.2, 0.06, 0.02, 0.02, 0.2, 0.16) if masculine else (0.06, 0.18, 0.16, 0.26, 0.16, 0.02, 0.16)
    lips = skin * (0.86, 0.66, 0.64) + (0 if masculine else rng.uniform(0, 1)) * np.array([4, -18, -10])
    look = {
        "iod": rng.uniform(0.405, 0.42),
        "eye_line": rng.uniform(0.385, 0.405),
        "skin": skin,
        "lips": lips,
        "hair": hair,
        "brow": hair * rng.uniform(0.5, 0.85) if hair.mean() > 60 else hair * 0.9,
        "iris": _between(_IRIS, iris_tone),
        "style": str(rng.choice(_STYLES, p=weights)),
        "masculine": masculine,
        "age": age,
        "backdrop": _between(_BACKDROP, rng.uniform(0, 3)),
        "light": np.array([rng.uniform(-0.55, 0.55), rng.uniform(-0.75, -0.35), 1.0]),
        "blush": rng.uniform(0.2, 1.0),
        "freckles": rng.uniform(0.4, 1.0) if dark < 0.45 and rng.random() < 0.3 else 0.08,
        "stubble": rng.uniform(0.2, 1.0) if masculine and rng.random() < 0.55 else 0.0,
        "beard": rng.uniform(0.5, 0.95) if masculine and rng.random() < 0.18 else 0.0,
        "brow_width": rng.uniform(0.030, 0.058) * (1.12 if masculine else 0.85),
        "brow_density": rng.uniform(0.35, 1.0),
        "moles": int(rng.poisson(0.8)),
        "crease": rng.uniform(0.0, 1.0),
        "lashes": rng.uniform(0.3, 0.6) if masculine else rng.uniform(0.6, 1.0),
        "nose": rng.uniform(0.75, 1.25),
        "cheek": rng.uniform(0.4, 1.3),
        "forehead": rng.uniform(0.60, 0.80) + 0.1 * masculine * age,
        "part": rng.choice([-1, 1]) * rng.uniform(0.1, 0.4),
    }
    return Subject(seed, face, look)


def _between(colours: np.ndarray, at: float) -> np.ndarray:
    """A colour interpolated between neighbours of a list."""
    low = min(int(at), len(colours) - 2)
    return colours[low] + (colours[low + 1] - colours[low]) * (at - low)
