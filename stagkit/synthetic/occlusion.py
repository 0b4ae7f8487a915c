"""Occlusion: which regions of a face are hidden, and clips whose regions are hidden."""

from __future__ import annotations

import zlib
from dataclasses import replace

import numpy as np

from stagkit.core.regions import ATLAS
from stagkit.core.types import RoiDataset, StagkitError

_MOUTH = ("nose_wing", "cheek", "upper_lip", "lip_corner", "lower_lip", "chin")
#: Places that each kind hides (stagkit's choice): ``hand`` on one side, ``random`` any regions.
PLACES = {
    "glasses": ("upper_lid", "lower_lid"),
    "fringe": ("brow_outer", "brow_mid", "brow_inner", "glabella"),
    "hand": _MOUTH,
    "mask": _MOUTH,
    "random": ATLAS.names,
}


def find_hidden(kind: str, share: float, seed: int, subject: str, clip: str) -> tuple[str, ...]:
    """Names of the hidden regions of a clip, in the order of the atlas; () for the kind ``none``.

    ``random`` hides ``share`` of the regions, a larger share those of a smaller one and more; it differs per clip. The
    side of the ``hand`` differs per subject.
    """
    if kind == "none":
        return ()
    if kind not in PLACES:
        raise StagkitError(f"the kind of occlusion is {kind!r}, expected one of none, {', '.join(PLACES)}.")
    if kind == "random":
        if not 0 <= share <= 0.9:
            raise StagkitError(f"the hidden share of regions is {share}, expected 0 to 0.9.")
        order = _rng(seed, subject, clip).permutation(len(ATLAS.names))
        hidden = set(order[: round(share * len(order))])
        return tuple(name for i, name in enumerate(ATLAS.names) if i in hidden)
    sides = ("", "L", "R") if kind != "hand" else ("", "LR"[_rng(seed, subject).integers(2)])
    return tuple(r.name for r in ATLAS.rois if r.place in PLACES[kind] and r.side in sides)


def _rng(seed: int, *names: str) -> np.random.Generator:
    return np.random.default_rng([seed, 0x41DE, *(zlib.crc32(name.encode()) for name in names)])


def hide_regions(data: RoiDataset, share: float = 0.3, seed: int = 0, kind: str = "random") -> RoiDataset:
    """The same clips with some regions hidden in all frames: ``x`` is 0 and ``mask`` False there.

    At least one region that was present stays. Which regions are hidden depends on the seed and the names of the clip,
    not on the other clips.

    Args:
        share: 0..0.9, share of the regions of each clip; for ``random`` alone, other kinds hide their whole set.
        kind: ``random``, or a named set of ``PLACES``: ``glasses``, ``fringe``, ``hand``, ``mask``.

    Example:
        >>> from stagkit.synthetic.config import PhantomConfig
        >>> from stagkit.synthetic.sequences import make_sequences
        >>> data = make_sequences(PhantomConfig(subjects=1, clips=2), n_frames=4)
        >>> hide_regions(data, 0.5).mask.sum((1, 2)).tolist()
        [44, 44]
    """
    x, mask = data.x.copy(), data.mask.copy()
    for i, clip in enumerate(zip(data.subjects, data.clip_ids, strict=True)):
        hidden = np.isin(data.roi_names, find_hidden(kind, share, seed, *clip))
        present = data.mask[i].any(0)
        if present.any() and not (present & ~hidden).any():
            hidden[np.flatnonzero(present)[-1]] = False
        x[i][:, hidden], mask[i][:, hidden] = 0.0, False
    about = {"kind": kind, "share": share if kind == "random" else None, "seed": seed}
    made = replace(data, x=x, mask=mask, meta={**data.meta, "occlusion": about})
    return replace(made, meta={**made.meta, "digest": made.compute_digest(data.meta.get("digest"))})
