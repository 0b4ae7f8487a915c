"""Facial regions (ROIs), the nodes of the graph: where each lies, which AUs move it, its neighbours.

**Face frame**: origin between the outer eye corners, x to the right of the image, y down, unit IOD (landmarks 36 to 45).
The mean face is that of 419 public 68-point landmark sets (CASME II and SMIC apex frames, SLSTT, MIT licence).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import cv2
import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.types import ShapeError, check_axes


@lru_cache(maxsize=1)
def load_mean_face() -> tuple[np.ndarray, np.ndarray]:
    """Mean face and its spread: (mean float "68 2", standard deviation float "68 2"), IOD, face frame."""
    with resources.files("stagkit").joinpath("resources/mean_face68.csv").open(encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",", skiprows=1)
    return table[:, 1:3], table[:, 3:5]


def compute_face_frame(landmarks: np.ndarray) -> np.ndarray:
    """Affine map from the face frame (IOD) to the image (px), for landmarks "68 2" px: rotation and scale by the eye line.

    Returns:
        float "2 3": ``px = frame[:, :2] @ face + frame[:, 2]``.
    """
    (u, v), middle = landmarks[45] - landmarks[36], (landmarks[45] + landmarks[36]) / 2
    return np.array([[u, -v, middle[0]], [v, u, middle[1]]])


def compute_face_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Bool "y x" of ``shape``: the hull of the landmarks ("68 2" px) with a strip of forehead above the brows."""
    up = compute_face_frame(landmarks)[:, :2] @ [0.0, -0.25]
    hull = cv2.convexHull(np.concatenate([landmarks, landmarks[17:27] + up]).round().astype(np.int32))
    return cv2.fillConvexPoly(np.zeros(shape, np.uint8), hull, 1).astype(bool)


@dataclass(frozen=True)
class Roi:
    """One region: its centre is the mean of ``landmarks`` moved by ``shift`` (IOD, face frame)."""

    name: str
    landmarks: tuple[int, ...]
    shift: tuple[float, float] = (0.0, 0.0)

    @property
    def place(self) -> str:
        """Name without side: ``lip_corner`` for ``lip_corner_L``."""
        return self.name[:-2] if self.side else self.name

    @property
    def side(self) -> str:
        """``L``, ``R`` (subject's) or ``''`` on the midline."""
        return self.name[-1] if self.name.endswith(("_L", "_R")) else ""


#: Mirror partner of each iBUG landmark.
MIRROR_68: tuple[int, ...] = (
    *range(16, -1, -1),
    *range(26, 16, -1),
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),
)


def _pair(place: str, landmarks: tuple[int, ...], shift: tuple[float, float]) -> tuple[Roi, Roi]:
    """The right region as given and the left one as its mirror image."""
    mirrored = tuple(MIRROR_68[i] for i in landmarks)
    return Roi(f"{place}_R", landmarks, shift), Roi(f"{place}_L", mirrored, (-shift[0], shift[1]))


_PAIRS = {
    "brow_outer": _pair("brow_outer", (17, 18), (0.02, -0.03)),
    "brow_mid": _pair("brow_mid", (19,), (0.0, -0.04)),
    "brow_inner": _pair("brow_inner", (20, 21), (0.02, -0.04)),
    "upper_lid": _pair("upper_lid", (37, 38), (0.0, -0.04)),
    "lower_lid": _pair("lower_lid", (40, 41), (0.0, 0.05)),
    "nose_wing": _pair("nose_wing", (31,), (-0.02, -0.12)),
    "cheek": _pair("cheek", (41, 48), (-0.08, -0.06)),
    "upper_lip": _pair("upper_lip", (49, 50), (0.0, -0.05)),
    "lip_corner": _pair("lip_corner", (48,), (-0.03, 0.0)),
}


def _sides(*places: str) -> tuple[Roi, ...]:
    return tuple(roi for place in places for roi in _PAIRS[place])


#: Region pairs joined by an anatomical edge, with the reason. Places without a side stand for both sides.
_NEIGHBOURS: tuple[tuple[str, str, str], ...] = (
    ("brow_outer", "brow_mid", "one frontalis sheet"),
    ("brow_mid", "brow_inner", "one frontalis sheet"),
    ("brow_inner", "glabella", "corrugator supercilii"),
    ("glabella", "nose_bridge", "procerus"),
    ("brow_mid", "upper_lid", "skin between brow and lid"),
    ("upper_lid", "lower_lid", "orbicularis oculi"),
    ("lower_lid", "cheek", "orbicularis oculi, pars orbitalis"),
    ("brow_outer", "cheek", "orbicularis oculi, pars orbitalis"),
    ("nose_bridge", "nose_wing", "levator labii superioris alaeque nasi"),
    ("nose_wing", "upper_lip", "levator labii superioris alaeque nasi"),
    ("nose_wing", "cheek", "skin beside the nose"),
    ("cheek", "lip_corner", "zygomaticus major"),
    ("cheek", "upper_lip", "levator labii superioris"),
    ("upper_lip", "lip_corner", "orbicularis oris"),
    ("lip_corner", "lower_lip", "orbicularis oris"),
    ("upper_lip", "lower_lip", "orbicularis oris"),
    ("lower_lip", "chin", "mentalis"),
    ("lip_corner", "chin", "depressor anguli oris"),
)


@dataclass(frozen=True)
class RoiAtlas:
    """An ordered set of regions.

    Args:
        rois: the regions, in the order of every axis ``roi``.
        radius: half the side of a region's square, IOD.
        reference: name of the region that no AU moves, used for head motion.
    """

    rois: tuple[Roi, ...]
    radius: float = 0.11
    reference: str = "nose_bridge"

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Region names in order."""
        return tuple(roi.name for roi in self.rois)

    def index(self, name: str) -> int:
        """Position of a region on the axis ``roi``."""
        if name not in self.names:
            raise ShapeError(f"there is no region {name!r}; the atlas has {', '.join(self.names)}.")
        return self.names.index(name)

    @cached_property
    def mirror(self) -> np.ndarray:
        """int "roi": index of each region's mirror partner (itself on the midline)."""
        swap = {"L": "_R", "R": "_L"}
        return np.array([self.index(r.place + swap[r.side]) if r.side else i for i, r in enumerate(self.rois)])

    def centres(self, landmarks: np.ndarray) -> np.ndarray:
        """Region centres for a face: float "roi 2", in the unit of ``landmarks`` ("68 2")."""
        check_axes({}, landmarks=(landmarks, "68 2"))
        axes = compute_face_frame(landmarks)[:, :2]
        return np.stack([landmarks[list(r.landmarks)].mean(0) + axes @ np.array(r.shift) for r in self.rois])

    @cached_property
    def mean_centres(self) -> np.ndarray:
        """Region centres on the mean face: float "roi 2", IOD, face frame."""
        return self.centres(load_mean_face()[0])

    @cached_property
    def directions(self) -> np.ndarray:
        """Where each AU moves each region: float32 "au roi 2" = (u right, v down); length = relative strength."""
        table = np.zeros((len(AU_NUMBERS), len(self.rois), 2), np.float32)
        outward = {"R": -1.0, "L": 1.0, "": 0.0}
        for k, number in enumerate(AU_NUMBERS):
            moves = {m.place: m for m in ACTION_UNITS[number].moves}
            for n, roi in enumerate(self.rois):
                if roi.place in moves:
                    move = moves[roi.place]
                    table[k, n] = move.lateral * outward[roi.side], -move.up
        return table

    @cached_property
    def incidence(self) -> np.ndarray:
        """How strongly each AU moves each region: float32 "au roi", 0..1."""
        return np.minimum(np.linalg.norm(self.directions, axis=-1), 1.0).astype(np.float32)

    @cached_property
    def anatomy(self) -> np.ndarray:
        """float32 "roi roi" (target, source): 1 where regions are neighbours, mirror partners or the same, else 0."""
        matrix = np.eye(len(self.rois), dtype=np.float32)
        for a, b, _ in self.edge_reasons:
            matrix[self.index(a), self.index(b)] = matrix[self.index(b), self.index(a)] = 1.0
        return matrix

    @cached_property
    def edge_reasons(self) -> tuple[tuple[str, str, str], ...]:
        """Every anatomical edge once: (region, region, the muscle or tissue that joins them)."""
        pairs = zip(self.rois, self.mirror, strict=True)
        out = [(r.name, self.rois[m].name, "mirror partners") for r, m in pairs if r.side == "R"]
        for place_a, place_b, reason in _NEIGHBOURS:
            for a in self.rois:
                for b in self.rois:
                    if (a.place, b.place) == (place_a, place_b) and (a.side == b.side or not a.side or not b.side):
                        out.append((a.name, b.name, reason))
        return tuple(out)


#: The standard atlas: 22 regions, left and right apart, plus the nose bridge as reference.
ATLAS = RoiAtlas(
    (
        *_sides("brow_outer", "brow_mid", "brow_inner"),
        Roi("glabella", (21, 22, 27), (0.0, -0.02)),
        *_sides("upper_lid", "lower_lid"),
        Roi("nose_bridge", (28,)),
        *_sides("nose_wing", "cheek", "upper_lip", "lip_corner"),
        Roi("lower_lip", (56, 57, 58), (0.0, 0.0)),
        Roi("chin", (57, 8), (0.0, 0.0)),
    )
)
