"""Regions sampled from maps of a face, and the clips of a data set made of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from stagkit.core.regions import ATLAS, RoiAtlas, compute_face_frame
from stagkit.core.types import RoiDataset, ShapeError, StagkitError, check_axes


@dataclass(frozen=True)
class RoiSequence:
    """The network's input for one clip: a patch of motion for each region in each discriminative frame.

    Args:
        patches: float32 "time roi chan py px", chan = (u, v, strain), in ``unit``.
        present: bool "time roi", False where the region lies outside the image or was not seen.
        times_ms: float "time", ms from the onset frame.
        aus: float32 "au", 1 = annotated, 0 = coded and absent, NaN = not coded; order of ``facs.AU_NUMBERS``.
        unit: ``"% IOD"``, or ``"map"`` for published flow maps, whose amplitude is lost.
        part: official part (DFME: ``train, testA, testB``), '' where there is none.
    """

    patches: np.ndarray
    present: np.ndarray
    times_ms: np.ndarray
    roi_names: tuple[str, ...]
    clip_id: str
    subject: str
    dataset: str
    label: str
    aus: np.ndarray
    unit: str = "% IOD"
    part: str = ""

    def __post_init__(self):
        check_axes(
            {"roi": len(self.roi_names)},
            patches=(self.patches, "time roi 3 py px"),
            present=(self.present, "time roi"),
            times_ms=(self.times_ms, "time"),
            aus=(self.aus, "au"),
        )


def sample_regions(
    field: np.ndarray, landmarks: np.ndarray, patch: int, atlas: RoiAtlas = ATLAS
) -> tuple[np.ndarray, np.ndarray]:
    """Sample every region from maps of a face, upright in the face frame.

    Args:
        field: float "time chan y x"; where chan >= 2 the first two are (u, v) and are turned with the face.
        landmarks: float "68 2" px; patch: side of the patch in samples.

    Returns:
        patches float32 "time roi chan py px" in the unit of ``field``; present bool "roi", False where a region's centre
        lies outside the image.
    """
    frame = compute_face_frame(landmarks)
    axes = frame[:, :2]
    centres = (atlas.centres(landmarks) - frame[:, 2]) @ np.linalg.inv(axes).T
    out, inside = sample_squares(field, centres, frame, patch, atlas.radius)
    if field.shape[1] >= 2:
        turn = axes.T / np.hypot(*axes[:, 0])  # from image axes back to face axes
        out[:, :, :2] = np.einsum("ij,tnjyx->tniyx", turn, out[:, :, :2])
    return out, inside


def sample_squares(
    field: np.ndarray, centres: np.ndarray, frame: np.ndarray, patch: int, radius: float
) -> tuple[np.ndarray, np.ndarray]:
    """Sample squares of half side ``radius`` (IOD) around given centres; vectors are left as they are.

    Args:
        field: float "time chan y x"; frame: float "2 3", face frame (IOD) -> px of ``field``.
        centres: float "roi 2", face frame (IOD); patch: side of the patch in samples.

    Returns:
        patches float32 "time roi chan py px", and present bool "roi".
    """
    n_time, n_chan, height, width = field.shape
    steps = ((np.arange(patch) + 0.5) / patch * 2 - 1) * radius
    offsets = np.stack(np.meshgrid(steps, steps, indexing="xy"))  # (x, y) of each sample, "2 py px"
    axes, origin = frame[:, :2], frame[:, 2]
    middle = centres @ axes.T + origin
    points = middle[:, :, None, None] + np.einsum("ij,jyx->iyx", axes, offsets)[None]
    xs, ys = (np.ascontiguousarray(points[:, i].reshape(-1, patch), np.float32) for i in (0, 1))  # (roi py) px
    out = np.empty((n_time, len(centres), n_chan, patch, patch), np.float32)
    for t in range(n_time):
        for c in range(n_chan):
            plane = np.ascontiguousarray(field[t, c], np.float32)
            sampled = cv2.remap(plane, xs, ys, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            out[t, :, c] = sampled.reshape(len(centres), patch, patch)
    inside = (middle >= -0.5).all(1) & (middle[:, 0] <= width - 0.5) & (middle[:, 1] <= height - 0.5)
    return out, inside


def stack_sequences(
    sequences: Sequence[RoiSequence], classes: Sequence[str], meta: Mapping[str, object] | None = None
) -> RoiDataset:
    """Stack sequences of any length; shorter ones are padded at the end with zeros under a False mask."""
    if not sequences:
        raise StagkitError("no clips were given: at least one is needed.")
    n_frames = max(len(s.times_ms) for s in sequences)
    shape = sequences[0].patches.shape[1:]
    for s in sequences:
        if s.patches.shape[1:] != shape or s.roi_names != sequences[0].roi_names:
            raise ShapeError(f"clip {s.clip_id!r} has regions {s.patches.shape[1:]}, the first clip has {shape}.")
        if s.label not in classes:
            raise StagkitError(f"clip {s.clip_id!r} has the label {s.label!r}, expected one of {', '.join(classes)}.")
    x = np.zeros((len(sequences), n_frames, *shape), np.float32)
    mask = np.zeros(x.shape[:3], bool)
    times = np.zeros(x.shape[:2], np.float32)
    for i, s in enumerate(sequences):
        n = len(s.times_ms)
        x[i, :n], mask[i, :n], times[i, :n] = s.patches, s.present, s.times_ms
    return RoiDataset(
        x=x,
        mask=mask,
        times_ms=times,
        label=np.array([list(classes).index(s.label) for s in sequences], np.int64),
        aus=np.stack([s.aus for s in sequences]).astype(np.float32),
        **{f"{name}s": tuple(getattr(s, name) for s in sequences) for name in ("clip_id", "subject", "dataset")},
        classes=tuple(classes),
        roi_names=sequences[0].roi_names,
        unit=sequences[0].unit,
        meta=dict(meta or {}),
        parts=tuple(s.part for s in sequences) if any(s.part for s in sequences) else (),
    )
