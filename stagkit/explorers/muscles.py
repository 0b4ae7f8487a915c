"""Facial muscles drawn on 68 landmarks: fibres from origin to insertion, and what they move, in words.

Each muscle's path follows FACS (Ekman, Friesen and Hager 2002) and anatomical plates; the points are stagkit's choice.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.facs import ActionUnit
from stagkit.core.regions import MIRROR_68

#: Action units of the upper face, as FACS divides them; the others belong to the lower face.
UPPER_FACE = (1, 2, 4, 5, 6, 7)

_Point = tuple[int, float, float]


def _ring_eye(wide: float, high: float) -> tuple[_Point, ...]:
    """A ring round the eye: ``wide`` beyond its corners, ``high`` above and below its lids (IOD)."""
    return (
        (36, -wide, 0.01),
        (36, -0.6 * wide + 0.02, -0.8 * high),
        (37, 0.03, -high),
        (38, 0.02, -high),
        (39, 0.4 * wide - 0.02, -0.7 * high),
        (39, 0.5 * wide, 0.0),
        (39, 0.3 * wide, 0.8 * high),
        (40, 0.02, 1.2 * high),
        (41, 0.0, 1.25 * high),
        (36, -0.6 * wide, 0.95 * high),
        (36, -wide, 0.02),
    )


#: Fibres of the subject's right side: points as (landmark, shift in IOD right, down); mirrored for the left.
_FIBRES: dict[str, tuple[tuple[_Point, ...], ...]] = {
    "frontalis, pars medialis": tuple(
        ((21, dx, -0.33), (21, 0.9 * dx, -0.18), (21, 0.8 * dx, -0.03)) for dx in (-0.11, -0.05, 0.01)
    ),
    "frontalis, pars lateralis": tuple(
        ((18, 1.3 * dx + 0.05, -0.24), (18, 1.1 * dx + 0.02, -0.13), (18, dx, -0.03)) for dx in (-0.02, 0.05, 0.12)
    ),
    "corrugator supercilii": (((27, -0.03, -0.12), (21, -0.05, -0.02), (19, 0.04, -0.02)),),
    "depressor supercilii": (((27, -0.06, 0.02), (27, -0.09, -0.07), (21, 0.0, -0.02)),),
    "levator palpebrae superioris": (
        ((37, 0.04, -0.10), (37, 0.03, -0.05), (37, 0.02, 0.0)),
        ((38, -0.03, -0.10), (38, -0.03, -0.05), (38, -0.02, 0.0)),
    ),
    "orbicularis oculi, pars orbitalis": (_ring_eye(0.13, 0.11), _ring_eye(0.19, 0.15)),
    "orbicularis oculi, pars palpebralis": (_ring_eye(0.06, 0.05),),
    "levator labii superioris alaeque nasi": (
        ((27, -0.07, 0.10), (31, -0.02, -0.14), (31, -0.02, 0.02), (50, -0.03, -0.03)),
    ),
    "levator labii superioris": (
        ((41, 0.08, 0.20), (49, -0.04, -0.20), (49, 0.0, -0.03)),
        ((40, 0.02, 0.21), (50, -0.08, -0.18), (49, 0.05, -0.03)),
    ),
    "zygomaticus major": (
        ((1, 0.22, 0.06), (48, -0.20, -0.26), (48, -0.02, -0.02)),
        ((1, 0.20, 0.12), (48, -0.21, -0.20), (48, -0.02, 0.0)),
    ),
    "buccinator": (((3, 0.16, 0.02), (48, -0.16, -0.08), (48, -0.02, 0.0)), ((4, 0.13, -0.07), (48, -0.02, 0.01))),
    "depressor anguli oris": (
        ((6, 0.02, -0.07), (48, -0.04, 0.14), (48, -0.01, 0.03)),
        ((6, 0.10, -0.05), (48, 0.02, 0.15), (48, 0.01, 0.03)),
    ),
    "mentalis": (((8, -0.09, -0.06), (57, -0.08, 0.16), (57, -0.05, 0.07)),),
    "risorius": (((4, 0.09, -0.16), (48, -0.16, 0.03), (48, -0.02, 0.01)),),
    "orbicularis oris": (
        ((48, -0.05, 0.0), (49, -0.05, -0.04), (50, -0.03, -0.06), (51, 0.0, -0.06)),
        ((48, -0.05, 0.0), (59, -0.05, 0.05), (58, -0.03, 0.06), (57, 0.0, 0.06)),
    ),
    "depressor labii inferioris": (((7, -0.03, -0.10), (58, -0.07, 0.12), (58, -0.02, 0.02)),),
    "masseter": (
        ((1, 0.12, 0.12), (3, 0.10, 0.0), (4, 0.08, 0.0)),
        ((1, 0.18, 0.13), (3, 0.15, 0.02), (4, 0.13, 0.02)),
    ),
    "temporalis": tuple(((0, dx, -0.20), (0, 0.08, -0.08), (1, 0.09, -0.05)) for dx in (0.05, 0.11, 0.17)),
}


def make_muscles(landmarks: np.ndarray) -> dict[str, list[np.ndarray]]:
    """Every muscle that an action unit names, on a face given by landmarks, float "68 2" in any unit.

    Returns:
        muscle -> fibres, each float "point 2" from origin to insertion; the subject's right side first, then the left.
    """
    landmarks = np.asarray(landmarks, float)
    unit = float(np.linalg.norm(landmarks[45] - landmarks[36]))
    out = {}
    for name, fibres in _FIBRES.items():
        for side, sign in ((range(68), 1), (MIRROR_68, -1)):
            for fibre in fibres:
                points = [landmarks[side[k]] + unit * np.array([sign * dx, dy]) for k, dx, dy in fibre]
                out.setdefault(name, []).append(np.array(points))
    return out


def describe_moves(unit: ActionUnit) -> list[str]:
    """What an action unit does to each place, in words: ``lip corner up and outward``."""
    sentences = []
    for move in unit.moves:
        length = np.hypot(move.up, move.lateral)
        directions = [("up" if move.up > 0 else "down")] * bool(abs(move.up) >= 0.3 * length)
        directions += [("outward" if move.lateral > 0 else "inward")] * bool(abs(move.lateral) >= 0.3 * length)
        weak = ", a little" if length < 0.35 else ""
        sentences.append(f"{move.place.replace('_', ' ')} {' and '.join(directions)}{weak}")
    return sentences
