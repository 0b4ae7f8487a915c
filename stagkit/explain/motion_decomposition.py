"""Which muscle moved what: the motion of every region, shared among the action units (AUs) that explain it together.

A lip corner going up and out may be AU12, and a cheek going up AU6 or AU12. So the whole face is looked at: each frame's
motion is written as a sum of AUs, none of them negative, each pulling its own regions its own way (``facs``), and of few
rather than many; what no AU explains is 'none'. Left and right muscles are apart. Non-negative least squares: Lawson and
Hanson 1974; that muscles are told apart this way is stagkit's choice.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas

_SIDED = tuple((n, s) for n, unit in ACTION_UNITS.items() for s in (("L", "R") if unit.sided else ("",)))

#: The order of every axis ``unit``: each action unit, left and right (the subject's) apart, and 'none' at the end.
SIDED_AUS: tuple[str, ...] = (*(f"AU{n:02d}{s}" for n, s in _SIDED), "none")

#: Position on the axis ``au`` of each unit; 'none' comes after the last AU.
SIDED_AU_INDEX: np.ndarray = np.array([*(AU_NUMBERS.index(n) for n, _ in _SIDED), len(AU_LABELS)])

#: What a frame's activities cost: this times the square of their sum. Chosen on training phantoms (of 0 to 1).
PARSIMONY = 0.03

_SIDE_WORDS = {"L": "left ", "R": "right ", "": ""}

#: Name of each unit's muscle with its side; units of one muscle share a name, and muscles that always act together too.
SIDED_AU_MUSCLES: tuple[str, ...] = (
    *(_SIDE_WORDS[s] + " and ".join(ACTION_UNITS[n].muscles) for n, s in _SIDED),
    "none",
)

#: The order of every axis ``muscle``, 'none' at the end.
MUSCLES: tuple[str, ...] = tuple(dict.fromkeys(SIDED_AU_MUSCLES))


def make_templates(atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Where each unit moves each region: float "unit roi 2" without 'none'; the midline follows each side by half."""
    sides = np.array([roi.side for roi in atlas.rois])
    out = []
    for number, side in _SIDED:
        moves = atlas.directions[AU_NUMBERS.index(number)].astype(float)
        if side:
            moves = moves * np.select([sides == side, sides == ""], [1.0, 0.5], 0.0)[:, None]
        out.append(moves)
    return np.stack(out)


def compute_activity(flow: np.ndarray, mask: np.ndarray, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """How strongly each unit acts in each frame, told from the motion of the whole face.

    Args:
        flow: float "clip time roi 2", mean (u right, v down) of each region.
        mask: bool "clip time roi"; hidden regions neither speak for a unit nor against it.

    Returns:
        float "clip time unit", >= 0, in the unit of ``flow``; without 'none'.
    """
    from scipy.optimize import nnls

    templates = make_templates(atlas)
    n_units = len(templates)
    cost = np.full((1, n_units), np.sqrt(PARSIMONY))
    out = np.zeros((*flow.shape[:2], n_units))
    for clip, time in np.ndindex(flow.shape[:2]):
        seen = mask[clip, time]
        motion = flow[clip, time][seen]
        if motion.any():
            columns = np.concatenate([templates[:, seen].reshape(n_units, -1).T, cost])
            out[clip, time] = nnls(columns, np.append(motion.ravel().astype(float), 0.0))[0]
    return out


def compute_au_shares(flow: np.ndarray, mask: np.ndarray, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """What part of each region's motion each unit accounts for.

    A unit's part is how far it carries the region along the direction in which the region was seen to move; what is
    missing to the whole way is 'none', and a region that does not move belongs to 'none'.

    Args:
        flow, mask: as in ``compute_activity``.

    Returns:
        float "clip time roi unit" in the order of ``SIDED_AUS``, >= 0, summing to 1 over units.
    """
    activity, templates = compute_activity(flow, mask, atlas), make_templates(atlas)
    speed = np.linalg.norm(flow, axis=-1, keepdims=True)
    seen = flow / np.maximum(speed, 1e-12)
    along = np.maximum(np.einsum("ctni,uni->ctnu", seen, templates), 0.0) * activity[:, :, None]
    none = np.maximum(speed - along.sum(-1, keepdims=True), 1e-9)
    share = np.concatenate([along, none], axis=-1)
    return share / share.sum(-1, keepdims=True)
