"""Frozen records whose shapes are checked when they are made.

Axis words everywhere: ``batch time roi chan y x py px head target source au cls``. Units: flow in px; patches in per cent
of the inter-ocular distance (IOD, landmarks 36 to 45); time in ms from the onset frame; attributions in logits. Left and
right are the **subject's** sides: the subject's right eye is on the left of the image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stagkit.core.errors import StagkitError

if TYPE_CHECKING:
    import torch

    from stagkit.core.facs import AUCode


#: The arrays of ``Batch`` and ``RoiDataset``.
TENSORS = ("x", "mask", "times_ms", "label", "aus")


class ShapeError(StagkitError, ValueError):
    """An array whose axes are not what its record promises."""


def check_axes(sizes: dict[str, int], **arrays: tuple[object, str]) -> dict[str, int]:
    """Check that named arrays agree on their named axes; ``ShapeError`` names the array and the axis that does not.

    Args:
        sizes: known sizes, axis name -> length; filled in and returned.
        **arrays: name -> (array or None, axes as words, e.g. ``"time roi chan"``). A number fixes the size.

    Example:
        >>> check_axes({}, flow=(np.zeros((3, 2, 8, 9)), "time chan y x"), strain=(np.zeros((3, 8, 9)), "time y x"))
        {'time': 3, 'chan': 2, 'y': 8, 'x': 9}
    """
    for name, (array, axes) in arrays.items():
        if array is None:
            continue
        shape, words = tuple(array.shape), axes.split()
        if len(shape) != len(words):
            raise ShapeError(f"`{name}` has {len(shape)} axes {shape}, expected {len(words)}: ({', '.join(words)}).")
        for word, size in zip(words, shape, strict=True):
            wanted = int(word) if word.isdigit() else sizes.setdefault(word, size)
            if wanted != size:
                got = ", ".join(f"{w}={s}" for w, s in zip(words, shape, strict=True))
                raise ShapeError(f"`{name}` is ({got}) but {word} should be {wanted}: axes swapped, or frames missing?")
    return sizes


def inter_ocular_distance(landmarks: np.ndarray) -> float:
    """Distance between the outer eye corners (iBUG landmarks 36 and 45), in the unit of ``landmarks`` ("68 2")."""
    return float(np.linalg.norm(landmarks[45] - landmarks[36]))


@dataclass(frozen=True)
class Clip:
    """A clip as read: frames and what is known of them.

    Args:
        frames: uint8 "time y x" (grey) or "time y x chan" (RGB).
        fps: frames per second, > 0.
        landmarks: float "time 68 2" px (x, y), iBUG order; None until found.
        onset, apex, offset: 0-based inclusive positions in ``frames``; None where not coded.
        aus: annotated action units; None where the set is not coded, () where it is coded and none was seen.
        truth: ``synthetic.clip.Truth``, phantoms only.
        part: official part of the data set (DFME: ``train, testA, testB``), '' where there is none.
        timestamps: float "time", ms, increasing: when each frame was taken, where frames do not follow at a constant rate.
    """

    frames: np.ndarray
    fps: float
    clip_id: str
    subject: str
    dataset: str
    label: str
    landmarks: np.ndarray | None = None
    onset: int | None = None
    apex: int | None = None
    offset: int | None = None
    aus: tuple[AUCode, ...] | None = None
    truth: object | None = field(default=None, repr=False)
    part: str = ""
    timestamps: np.ndarray | None = field(default=None, repr=False)

    def __post_init__(self):
        axes = "time y x" if self.frames.ndim == 3 else "time y x 3"
        if self.frames.dtype != np.uint8:
            raise ShapeError(f"`frames` is {self.frames.dtype}, expected uint8 grey or RGB values 0..255.")
        sizes = check_axes({}, frames=(self.frames, axes), landmarks=(self.landmarks, "time 68 2"))
        check_axes(sizes, timestamps=(self.timestamps, "time"))
        if not sizes["time"]:
            raise ShapeError(f"clip {self.clip_id!r} has no frames.")
        if not 0 < self.fps < np.inf:
            raise ShapeError(f"clip {self.clip_id!r}: fps is {self.fps}, expected a finite frame rate > 0.")
        for name in ("onset", "apex", "offset"):
            at = getattr(self, name)
            if at is not None and not 0 <= at < sizes["time"]:
                raise ShapeError(
                    f"clip {self.clip_id!r}: {name} {at} lies outside its {sizes['time']} frames (0-based)."
                )

    @property
    def times_ms(self) -> np.ndarray:
        """Time of each frame in ms from the onset frame (first frame where no onset is coded): float "time"."""
        if self.timestamps is not None:
            return np.asarray(self.timestamps, float) - self.timestamps[self.onset or 0]
        return (np.arange(len(self.frames)) - (self.onset or 0)) * 1000.0 / self.fps


@dataclass(frozen=True)
class Batch:
    """Clips as the network takes them: torch tensors, with the axes of ``RoiDataset``.

    ``mask`` is True where a region is visible (padding frames are all False). ``aus`` is a training target only, never an
    input of the network.
    """

    x: torch.Tensor
    mask: torch.Tensor
    times_ms: torch.Tensor
    label: torch.Tensor
    aus: torch.Tensor
    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]

    def __post_init__(self):
        check_axes(
            {"batch": len(self.clip_ids)},
            x=(self.x, "batch time roi 3 py px"),
            mask=(self.mask, "batch time roi"),
            times_ms=(self.times_ms, "batch time"),
            label=(self.label, "batch"),
            aus=(self.aus, "batch au"),
        )

    def select(self, index: torch.Tensor) -> Batch:
        """The clips at ``index`` alone, in that order."""
        tensors = {name: getattr(self, name)[index] for name in TENSORS}
        names = {name: tuple(getattr(self, name)[i] for i in index.tolist()) for name in ("clip_ids", "subjects")}
        return replace(self, **tensors, **names)

    def to(self, device) -> Batch:
        """The same batch on another device."""
        return replace(self, **{name: getattr(self, name).to(device) for name in TENSORS})


class HasBatch(Protocol):
    """Clips that a network may look at: a ``RoiDataset``, or the sealed test clips of a fold."""

    classes: tuple[str, ...]

    def __len__(self) -> int:
        """Number of clips."""

    def batch(self, index: np.ndarray | None = None) -> Batch:
        """The clips at ``index`` (all if None) as CPU tensors."""


@dataclass(frozen=True)
class RoiDataset:
    """All clips of one or several data sets, stacked (numpy arrays); frames padded at the end under ``mask``.

    Args:
        x: float32 "clip time roi chan py px".
        mask: bool "clip time roi".
        times_ms: float32 "clip time".
        label: int64 "clip", index into ``classes``.
        aus: float32 "clip au", NaN = not coded.
        subjects: unique over data sets (``casme2/sub01``), so that no fold can mix two subjects.
        meta: what the run record should keep (sources, digests, preset, configs).
        parts: official part of each clip (DFME: ``train, testA, testB``), () where the data has none.
    """

    x: np.ndarray
    mask: np.ndarray
    times_ms: np.ndarray
    label: np.ndarray
    aus: np.ndarray
    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    datasets: tuple[str, ...]
    classes: tuple[str, ...]
    roi_names: tuple[str, ...]
    unit: str = "% IOD"
    meta: Mapping[str, object] = field(default_factory=dict, repr=False)
    parts: tuple[str, ...] = field(default=(), repr=False)

    def __post_init__(self):
        check_axes(
            {"clip": len(self.clip_ids), "roi": len(self.roi_names)},
            x=(self.x, "clip time roi 3 py px"),
            mask=(self.mask, "clip time roi"),
            times_ms=(self.times_ms, "clip time"),
            label=(self.label, "clip"),
            aus=(self.aus, "clip au"),
        )
        if not len(self.clip_ids) == len(self.subjects) == len(self.datasets):
            raise ShapeError("`clip_ids`, `subjects` and `datasets` differ in length: one entry per clip is expected.")
        if self.parts and len(self.parts) != len(self.clip_ids):
            raise ShapeError(f"{len(self.parts)} `parts` are given for {len(self.clip_ids)} clips: one each, or none.")
        if len(self.label) and not 0 <= self.label.min() <= self.label.max() < len(self.classes):
            raise ShapeError(f"`label` is {self.label.min()} to {self.label.max()}, classes are {self.classes}.")

    def __len__(self) -> int:
        return len(self.clip_ids)

    def compute_digest(self, *settings: object) -> str:
        """16 hex digits that change with any array, name or setting (how the clips were measured, by its ``repr``)."""
        whole = hashlib.sha256()
        for name in TENSORS:
            array = np.ascontiguousarray(getattr(self, name))
            whole.update(f"{name} {array.dtype.str} {array.shape} ".encode())
            whole.update(array)
        names = ("clip_ids", "subjects", "datasets", "classes", "roi_names", "unit", "parts")
        about = repr([[name, getattr(self, name)] for name in names] + list(settings))
        whole.update(about.encode("utf-8", "surrogatepass"))
        return whole.hexdigest()[:16]

    def select(self, index: Sequence[int] | np.ndarray) -> RoiDataset:
        """The clips at ``index`` alone, in that order."""
        index = np.asarray(index, dtype=np.int64)
        arrays = {name: getattr(self, name)[index] for name in TENSORS}
        names = {n: tuple(getattr(self, n)[i] for i in index) for n in ("clip_ids", "subjects", "datasets")}
        return replace(self, **arrays, **names, parts=tuple(self.parts[i] for i in index) if self.parts else ())

    def batch(self, index: Sequence[int] | np.ndarray | None = None) -> Batch:
        """The clips at ``index`` (all where None) as a ``Batch`` of CPU tensors."""
        import torch

        index = np.arange(len(self)) if index is None else np.atleast_1d(np.asarray(index, dtype=np.int64))
        tensors = {name: torch.from_numpy(getattr(self, name)[index]) for name in TENSORS}
        names = {name: tuple(getattr(self, name)[i] for i in index) for name in ("clip_ids", "subjects")}
        return Batch(**tensors, **names, classes=self.classes)


@dataclass(frozen=True)
class GraphTerms:
    """What the logits are the sum of, with ``StagConfig.head='graph'`` (torch tensors, in logits).

    Bias + ``aus`` + ``au_edges`` are the logits, and so are ``without`` + ``region_edges``: two views of one sum.

    Args:
        au_edges: "batch cls au au", term of each AU edge, above the diagonal; 0 elsewhere.
        aus: "batch cls au", term of each AU.
        partners: "batch au", each AU as the other AUs' activations predict it, in AU logits: trains the AU graph; None
            except in training, and all that follow are None in training.
        region_edges: "batch time cls edge", term of each edge between regions (``RegionGraph.index`` names AU, target and
            source).
        without: "batch cls", the logits without any region edge.
        au_terms: "batch time edge", term of each region edge in the logit of its AU.
        imputed: bool "batch time roi", True where a hidden region was estimated from others.
    """

    au_edges: torch.Tensor
    aus: torch.Tensor
    partners: torch.Tensor | None
    region_edges: torch.Tensor | None = None
    without: torch.Tensor | None = None
    au_terms: torch.Tensor | None = None
    imputed: torch.Tensor | None = None


@dataclass(frozen=True)
class StagOutput:
    """Outputs and intermediate values of the network (torch tensors; None where the part is switched off).

    Every attention map has (target, source) as its last two axes: rows sum to 1.

    Args:
        logits: "batch cls".
        au_logits: "batch time au", activation of each AU in each frame before the sigmoid.
        edges: "batch time roi roi", the AU-guided weight of every region edge (target, source), >= 0.
        au_edges: "batch time au au", how strongly each pair of AUs is active together.
        time_weights: "batch time", temporal attention over the selected frames, summing to 1.
        attention: name -> map: ``graph.0``: "batch time head target source" (roi x roi), ``time.0``: "batch head target
            source" (frame x frame), ``cross.0.roi_from_frame`` and ``cross.0.frame_from_roi``.
        terms: what the logits are the sum of, with ``StagConfig.head='graph'``.
    """

    logits: torch.Tensor
    au_logits: torch.Tensor
    edges: torch.Tensor | None
    au_edges: torch.Tensor | None
    time_weights: torch.Tensor | None
    attention: Mapping[str, torch.Tensor]
    terms: GraphTerms | None = None
