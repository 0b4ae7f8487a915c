"""Decomposition of the motion of the whole face into action units (AUs), left and right apart.

Each frame's motion is fitted by a sparse non-negative sum of AUs, each moving its own regions in its own direction
(``facs``); the rest is 'none'. Non-negative least squares: Lawson and Hanson 1974; its use here is stagkit's choice.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS

_SIDED = tuple((n, s) for n, unit in ACTION_UNITS.items() for s in (("L", "R") if unit.sided else ("",)))

#: The order of every axis ``sided_au``: each AU per side of the subject (none for midline muscles), and 'none' at the end.
SIDED_AUS: tuple[str, ...] = (*(f"AU{n:02d}{s}" for n, s in _SIDED), "none")

#: Position on the axis ``au`` of each sided AU; 'none' comes after the last AU.
SIDED_AU_INDEX: np.ndarray = np.array([*(AU_NUMBERS.index(n) for n, _ in _SIDED), len(AU_LABELS)])

#: Penalty on the square of the sum of a frame's activities. Chosen on training phantoms (of 0 to 1).
PARSIMONY = 0.03

#: Muscle of each sided AU with its side; AUs of one muscle share a name, as do muscles that always act together.
SIDED_AU_MUSCLES: tuple[str, ...] = (
    *({"L": "left ", "R": "right ", "": ""}[s] + " and ".join(ACTION_UNITS[n].muscles) for n, s in _SIDED),
    "none",
)

#: The order of every axis ``muscle``, 'none' at the end.
MUSCLES: tuple[str, ...] = tuple(dict.fromkeys(SIDED_AU_MUSCLES))


def make_templates() -> np.ndarray:
    """Motion of each region by each sided AU: float "sided_au roi 2" without 'none'; the midline follows a side by half."""
    sides = np.array([roi.side for roi in ATLAS.rois])
    out = []
    for number, side in _SIDED:
        moves = ATLAS.directions[AU_NUMBERS.index(number)].astype(float)
        if side:
            moves = moves * np.select([sides == side, sides == ""], [1.0, 0.5], 0.0)[:, None]
        out.append(moves)
    return np.stack(out)


def compute_activity(flow: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Activity of each sided AU in each frame: float "clip time sided_au" without 'none', >= 0, in the unit of ``flow``.

    Args:
        flow: float "clip time roi 2", mean (u right, v down) of each region.
        mask: bool "clip time roi"; hidden regions are ignored.
    """
    templates = make_templates()
    out = np.zeros((*flow.shape[:2], len(templates)))
    for clip, time in np.ndindex(flow.shape[:2]):
        visible = mask[clip, time]
        out[clip, time] = fit_sparse(templates[:, visible].reshape(len(templates), -1), flow[clip, time][visible])
    return out


def fit_sparse(parts: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Weights "part", >= 0, with which parts "part value" add up to the whole "value"; their sum is kept small."""
    from scipy.optimize import nnls

    columns = np.concatenate([parts.T, np.full((1, len(parts)), np.sqrt(PARSIMONY))])
    return nnls(columns, np.append(whole.ravel().astype(float), 0.0))[0]


def compute_au_shares(flow: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Share of each region's motion by each of ``SIDED_AUS``: float "clip time roi sided_au", >= 0, summing to 1.

    An AU's part is how far it moves the region along the observed direction of motion; the rest is 'none', and so is a
    region that does not move. ``flow``, ``mask``: as in ``compute_activity``.
    """
    activity, templates = compute_activity(flow, mask), make_templates()
    speed = np.linalg.norm(flow, axis=-1, keepdims=True)
    direction = flow / np.maximum(speed, 1e-12)
    along = np.maximum(np.einsum("ctni,uni->ctnu", direction, templates), 0.0) * activity[:, :, None]
    none = np.maximum(speed - along.sum(-1, keepdims=True), 1e-9)
    share = np.concatenate([along, none], axis=-1)
    return share / share.sum(-1, keepdims=True)
