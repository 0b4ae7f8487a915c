"""What is drawn once of a phantom face for its flow maps: how its muscles move it, and what flow can see of that.

Everything lies on a grid ``FINE`` times as fine as a map, in the window of the published maps. The muscles' fields are those
that move phantom faces (``phantom_motion``); what these maps show beside them, and every size, is in ``phantom_map_sizes``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stagkit import phantom_map_sizes as sizes
from stagkit.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.phantom_map_sizes import FINE, N_FACES
from stagkit.phantom_map_sketch import compute_visibility, draw_portrait, make_patches
from stagkit.phantom_motion import compute_au_patches
from stagkit.phantom_subject import BROWS, EYES, make_shape

SIZE = 28  # px a side of a map
#: Face frame (IOD) -> px of a map, as in ``datasets.flow_maps.MAP_FRAME`` (a test keeps them equal).
FRAME = np.array([[21.0, 0.0, 13.5], [0.0, 16.0, 7.0]])
SQUEEZE = FRAME[1, 1] / FRAME[0, 0]  # the crop was squeezed to a square: px a unit of length, down over across
SIDES = ("R", "L")


@dataclass(frozen=True, eq=False)
class MapFace:
    """A face as flow maps need it; everything float32 and, unless written small, on the fine grid.

    Args:
        fields: "au side chan y x" (size of the map), displacement by each unit, 1 = its largest; side = (R, L) of the
            subject.
        lids: "eye Y X", skin that a blink moves, 0..1.
        irises: "eye Y X", what a glance moves, 0..1.
        relief: "Y X", how much a sample moves when the head turns.
        seen: "chan Y X", share of the units' motion that edges let see, times how well places are followed.
        elastic: "Y X", how far elastic skin moves, 1 = as most skin.
        busy: "Y X", how strongly flow errs, 1 = as on most skin.
        patches: for each of ``sizes.N_PATCHES`` and channel, several pairs (seeds, patch of each sample), int32.
    """

    fields: np.ndarray
    lids: np.ndarray
    irises: np.ndarray
    relief: np.ndarray
    seen: np.ndarray
    elastic: np.ndarray
    busy: np.ndarray
    patches: tuple


@lru_cache(maxsize=N_FACES)
def draw_map_face(number: int) -> MapFace:
    """Face ``number``, the same in every process."""
    shape, crop, units, visible, patches = _draw_sketch(number)
    coarse, fine = (make_points(per_pixel, crop) for per_pixel in (1, FINE))
    x, y = fine[..., 0], fine[..., 1]
    lids, irises = [], []
    for eye in EYES:
        (cx, cy), width = shape[list(eye)].mean(0), np.ptp(shape[list(eye)][:, 0])
        cy += sizes.LIDS_BELOW
        lids.append(np.clip(2.5 * (1 - ((x - cx) / (0.62 * width)) ** 2 - ((y - cy) / 0.10) ** 2), 0, 1))
        irises.append(np.clip(3 * (1 - ((x - cx) / 0.09) ** 2 - ((y - cy) / 0.06) ** 2), 0, 1))
    tip = shape[30, 1]
    along = np.clip((y + 0.1) / (tip + 0.1), 0, 1)
    nose = along * np.exp(-0.5 * (x / (0.05 + 0.06 * along)) ** 2) * (y < tip + 0.08)
    relief = sizes.NOSE_RELIEF * nose + 0.6 * np.clip(1 - (x / 0.95) ** 2, 0, 1) ** 0.7
    across, down, elastic, busy = make_skin(shape, fine)
    planes = (np.stack(lids), np.stack(irises), relief, visible * (across, down), elastic, busy)
    return MapFace(units + carry_skin(coarse), *(plane.astype(np.float32) for plane in planes), patches)


@lru_cache(maxsize=N_FACES)
def _draw_sketch(number: int) -> tuple:
    """The slow part of a face: shape, how its crop differs, fields of the units, what edges let see, patches."""
    shape = make_shape(np.random.default_rng([number, 0x5A9E]))
    crop = np.random.default_rng([number, 0xC40B]).normal(size=4) * sizes.CROPS
    portrait = draw_portrait(shape, make_points(FINE, crop), np.random.default_rng([number, 0x9A1E]))
    rng, ways = np.random.default_rng([number, 0xCE11]), (1 / sizes.ALONG, sizes.ALONG)
    patches = tuple(
        tuple(tuple(make_patches(portrait, n, wide, SQUEEZE, rng) for _ in range(sizes.N_DRAWINGS)) for wide in ways)
        for n in sizes.N_PATCHES
    )
    return shape, crop, make_unit_fields(shape, make_points(1, crop)), compute_visibility(portrait), patches


def make_points(per_pixel: int, crop: np.ndarray) -> np.ndarray:
    """Place of every sample of a map in the face frame: float "y x 2", IOD.

    Args:
        per_pixel: samples a pixel and axis.
        crop: float "4", how this face's crop differs: shift right and down (px), log of its size across and down.
    """
    line = (np.arange(SIZE * per_pixel) + 0.5) / per_pixel - 0.5
    points = np.stack(np.meshgrid(line - crop[0], line - crop[1]), -1) - 13.5
    return points / np.diag(FRAME) * np.exp(crop[2:]) + (13.5 - FRAME[:, 2]) / np.diag(FRAME)


def _spot(points: np.ndarray, x: float, y: float, width: float, height: float) -> np.ndarray:
    return np.exp(-0.5 * (((points[..., 0] - x) / width) ** 2 + ((points[..., 1] - y) / height) ** 2))


def make_unit_fields(shape: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Displacement by the units' own muscles: float32 "au side chan y x", 1 = the largest of each unit.

    Args:
        shape: float "68 2", landmarks in the face frame, IOD.
        points: float "y x 2", places in the face frame.
    """
    fields = np.zeros((len(AU_NUMBERS), 2, 2, *points.shape[:2]), np.float32)
    for k, (number, unit) in enumerate(ACTION_UNITS.items()):
        at = points - (0, sizes.BROW_DRAG) if number in (1, 2, 4) else points
        sides = [compute_au_patches(number, s, shape, at) for s in (SIDES if unit.sided else ("",))]
        halves = sides if unit.sided else [sides[0] / 2, sides[0] / 2]
        fields[k] = np.moveaxis(np.stack(halves), -1, 1) / np.linalg.norm(sum(halves), axis=-1).max()
        if number in (6, 12):
            for side, out in enumerate((-1, 1)):
                fields[k, side, 1] *= 1 - sizes.CHEEK_HIDDEN * _spot(points, 0.45 * out, 0.33, 0.2, 0.16)
    return fields


def carry_skin(points: np.ndarray) -> np.ndarray:
    """What the units carry along beside their muscles (``sizes.CARRIED``), shaped and scaled like their fields."""
    fields = np.zeros((len(AU_NUMBERS), 2, 2, *points.shape[:2]), np.float32)
    for (number, way, (x, y), extent), size in sizes.CARRIED.items():
        for side, out in enumerate((-1, 1)):
            share = (out if way == "u" else 1) * (1 if x else 0.5)  # a spot in the middle belongs to both sides
            fields[AU_NUMBERS.index(number), side, "uv".index(way)] += size * share * _spot(points, x * out, y, *extent)
    return fields


def make_skin(shape: np.ndarray, points: np.ndarray) -> np.ndarray:
    """How places differ, ``sizes.SKIN`` laid over the face: float "4 Y X", factors (across, down, elastic, errors)."""
    log = np.zeros((4, *points.shape[:2]))

    def add(name: str, x: float, y: float, width: float, height: float) -> None:
        log[:] += np.reshape(sizes.SKIN[name], (4, 1, 1)) * _spot(points, x, y, width, height)

    add("glabella", *shape[27] - (0, 0.1), 0.1, 0.1)
    add("forehead", 0, -0.42, 0.6, 0.1)
    add("mouth", *shape[66], 0.2, 0.1)
    add("nose", 0, 0.3, 0.15, 0.22)
    add("chin", *shape[8] - (0, 0.1), 0.2, 0.12)
    for brow, eye, wing, corner in ((BROWS[0], EYES[0], 31, 48), (BROWS[1], EYES[1], 35, 54)):
        out = np.sign(shape[corner, 0])
        add("brow", *shape[[brow[1], brow[3]]].mean(0), 0.2, 0.08)
        add("brow_inner", 0.14 * out, -0.16, 0.07, 0.07)
        add("eye", *shape[list(eye)].mean(0) + (0, sizes.LIDS_BELOW), *sizes.EYE_EXTENT)
        add("cheek", 0.4 * out, 0.3, 0.14, 0.12)
        add("cheek_outer", 0.56 * out, 0.5, 0.12, 0.2)
        add("fold", *shape[[wing, corner]].mean(0) + (0.1 * out, -0.16), 0.07, 0.16)
        add("corner", *shape[corner], 0.1, 0.12)
        add("temple", 0.64 * out, 0.25, 0.08, 0.4)
        add("neck", 0.62 * out, 1.1, 0.15, 0.2)
    y, x = (np.abs(np.linspace(-1, 1, n)) for n in points.shape[:2])
    rim = np.exp(-(1 - np.maximum(x, y[:, None])) * SIZE / 2)  # falls to 1/e within a px of the map
    log += np.reshape(sizes.SKIN["rim"], (4, 1, 1)) * rim
    return np.exp(log)


def double(field: np.ndarray) -> np.ndarray:
    """Twice as many samples of "... y x", linear between them: float32."""
    for axis in (-1, -2):
        ends = np.moveaxis(np.asarray(field, np.float32), axis, 0)
        before, after = np.concatenate([ends[:1], ends[:-1]]), np.concatenate([ends[1:], ends[-1:]])
        pairs = np.stack([0.75 * ends + 0.25 * before, 0.75 * ends + 0.25 * after], 1)
        field = np.moveaxis(pairs.reshape(-1, *ends.shape[1:]), 0, axis)
    return np.ascontiguousarray(field, np.float32)
