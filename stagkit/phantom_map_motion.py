"""What moves between onset and apex in a phantom flow map, beside the planted units and with them, on the fine grid.

Lids and eyes, a head that turns, skin that follows elastically, units too faint for a coder. Sizes: ``phantom_map_sizes``.
"""

from __future__ import annotations

import numpy as np

from stagkit import phantom_map_sizes as sizes
from stagkit.facs import AU_NUMBERS
from stagkit.phantom_map_face import SIZE, double, draw_map_face
from stagkit.phantom_map_flow import make_smooth, share_sides
from stagkit.phantom_map_sizes import FINE


def move_skin(
    shown: np.ndarray, faces: np.ndarray, blinks: np.ndarray, level: float, rng: np.random.Generator
) -> np.ndarray:
    """What edges let see of the displacement between onset and apex.

    Args:
        shown: float32 "clip au side", strength of each unit.
        faces: int "clip", which face of ``phantom_map_face``.
        blinks: float32 "clip", how much each person blinks.
        level: size of everything that is not the planted units; 0 = nothing.
        rng: source of chance.

    Returns:
        float32 "clip chan Y X", samples of the fine grid.
    """
    n, units = len(shown), len(AU_NUMBERS)
    drawn = [draw_map_face(int(face)) for face in faces]

    def draw(shape) -> np.ndarray:
        return rng.standard_normal(shape, dtype=np.float32)

    def happens(share: float) -> np.ndarray:
        return (rng.random((n, 1, 1, 1)) < share).astype(np.float32)

    def size(typical: float, spread: float) -> np.ndarray:
        return np.float32(level * typical) * np.exp(np.float32(spread) * draw((n, 1, 1, 1)))

    moved = shown * np.exp(np.float32(sizes.PEAK_SPREAD) * draw((n, 1, 1)))
    if level:
        typical, spread, share, uneven = sizes.TRACE
        trace = draw((n, units, 1)) * (rng.random((n, units, 1)) < share) * (1 + uneven * draw((n, units, 2)))
        moved = moved + (size(typical, spread)[..., 0] * trace).astype(np.float32)
    out = np.empty((n, 2, SIZE, SIZE), np.float32)
    for face in np.unique(faces):
        mine = faces == face
        out[mine] = np.tensordot(moved[mine], draw_map_face(int(face)).fields, axes=2)
    out = double(out) * np.stack([face.seen for face in drawn])
    if not level:
        return out
    lids, irises, relief, elastic = (
        np.stack([getattr(f, k) for f in drawn]) for k in ("lids", "irises", "relief", "elastic")
    )
    typical, spread, share, closing = sizes.LIDS
    blink = size(typical, spread) * happens(share) * (2 * happens(closing) - 1)
    out[:, 1] += (blink * blinks[:, None, None, None] * (1 + 0.25 * draw((n, 2, 1, 1))) * lids).sum(1)
    typical, spread, share = sizes.GLANCE
    out[:, 0] += (size(typical, spread) * happens(share) * (2 * happens(0.5) - 1) * irises).sum(1)
    out += np.concatenate([size(sizes.TURN, 0.7) * draw((n, 1, 1, 1)) for _ in "xy"], 1) * relief[:, None]
    y, x = (np.mgrid[: FINE * SIZE, : FINE * SIZE].astype(np.float32) - (FINE * SIZE - 1) / 2) / (FINE * SIZE / 2)
    out += size(sizes.ROLL, 0.7) * draw((n, 1, 1, 1)) * np.stack([-y, x])
    out += size(sizes.NEAR, 0.7) * draw((n, 1, 1, 1)) * np.stack([x, y])
    widths = sizes.ELASTIC_WIDTHS
    follows = np.stack([make_smooth(*width, (n, SIZE, SIZE), rng) for width in widths], 1)
    follows = share_sides(follows, sizes.ELASTIC_SYMMETRY, [-1.0, 1.0], [width for width, _ in widths])
    return out + size(*sizes.ELASTIC) * double(follows) * elastic[:, None]
