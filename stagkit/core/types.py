"""What flows through stagkit, step by step: frozen records whose shapes are checked when they are made.

Axis words are the same everywhere (types, einops strings, docstrings, figure labels):
``batch time roi chan y x py px head target source au cls``.

Units: flow in px of the frame; patches in per cent of the inter-ocular distance (IOD: outer eye corner to outer eye
corner, landmarks 36 and 45); time in milliseconds from the onset frame; attributions in logits. Left and right are
always the **subject's** sides: the subject's right eye is on the left of the picture.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from stagkit.core.errors import StagkitError

if TYPE_CHECKING:
    import torch

    from stagkit.core.facs import AUCode


class ShapeError(StagkitError, ValueError):
    """An array whose axes are not what its record promises."""


def check_axes(sizes: dict[str, int], **arrays: tuple[object, str]) -> dict[str, int]:
    """Check that named arrays agree on their named axes.

    Args:
        sizes: sizes known beforehand, axis name -> length; filled in as axes are met.
        **arrays: name -> (array or None, axes as words, e.g. ``"time roi chan"``). A number fixes the size.

    Returns:
        The same ``sizes``, completed.

    Raises:
        ShapeError: names the array, its shape and the axis on which it disagrees.

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
class ClipRecord:
    """One clip of a data set's index, before any picture is read.

    Args:
        clip_id: e.g. ``sub01/EP02_01f``; ``subject``: unique over data sets, e.g. ``casme2/sub01``.
        frame_paths: files of the frames, in order; ``frame_numbers``: the integer in each file's name.
        onset, apex, offset: numbers of the sheet; None where not coded or where there is no such frame.
        label_raw: as in the sheet; ``label``: the same in lower case.
        aus: annotated action units; None where not coded.
        part: official part, '' where there is none.
        landmarks: file of stored landmarks, None where there is none.
        corrections: what was corrected in this clip's row.
    """

    clip_id: str
    dataset: str
    subject: str
    frame_paths: tuple[Path, ...]
    frame_numbers: tuple[int, ...]
    fps: float
    onset: int | None
    apex: int | None
    offset: int | None
    label_raw: str
    label: str
    aus: tuple[AUCode, ...] | None = None
    part: str = ""
    landmarks: Path | None = None
    corrections: tuple[str, ...] = ()

    def position(self, name: str) -> int | None:
        """0-based place of ``onset``, ``apex`` or ``offset`` among the frames found."""
        number = getattr(self, name)
        return None if number is None else self.frame_numbers.index(number)


@dataclass(frozen=True)
class Truth:
    """Ground truth of a phantom clip, complete and exact.

    A skin point at ``p`` in the neutral face lies at ``head[t] @ [p + displacement(t)[p], 1]`` in frame ``t``, where
    ``displacement(t) = sum_k au_intensity[t, k] * fields[k]``.

    Args:
        codes: AU codes with side where unilateral, e.g. ``("AU04", "AU12L")``; the axis ``au`` below.
        au_intensity: float "time au", 0..1, 1 = the AU's own peak.
        fields: float32 "au chan y x" px, displacement of the neutral face at intensity 1; chan = (u right, v down).
        head: float "time 2 3", affine head motion in px (identity = still head).
        visible: bool "time y x", False where the motion cannot be seen (blink, parted lips, glasses).
        coactivation: float "au au", how much two AUs are active together (1 on the diagonal, symmetric, 0..1).
        neutral: uint8 "y x" (or "y x chan"), the neutral face without noise.
        confounder: name of the confounder, '' if none.
    """

    codes: tuple[str, ...]
    au_intensity: np.ndarray
    fields: np.ndarray
    head: np.ndarray
    visible: np.ndarray
    coactivation: np.ndarray
    neutral: np.ndarray
    confounder: str = ""

    def __post_init__(self):
        check_axes(
            {"au": len(self.codes)},
            au_intensity=(self.au_intensity, "time au"),
            fields=(self.fields, "au 2 y x"),
            head=(self.head, "time 2 3"),
            visible=(self.visible, "time y x"),
            coactivation=(self.coactivation, "au au"),
        )

    def displacement(self, t: int) -> np.ndarray:
        """Skin displacement from the neutral face to frame ``t``, head still: float32 "chan y x", px."""
        return np.tensordot(self.au_intensity[t], self.fields, axes=1).astype(np.float32)

    def moved(self, t: int, threshold: float = 0.2) -> np.ndarray:
        """Bool "y x": where the skin moves by more than ``threshold`` px in frame ``t``."""
        return np.linalg.norm(self.displacement(t), axis=0) > threshold

    @property
    def peak_frames(self) -> dict[str, int]:
        """Frame at which each AU is strongest."""
        return {code: int(self.au_intensity[:, k].argmax()) for k, code in enumerate(self.codes)}


@dataclass(frozen=True)
class Clip:
    """A clip as read: frames and what is known of them.

    Args:
        frames: uint8 "time y x" (grey) or "time y x chan" (RGB).
        fps: frames per second, > 0.
        landmarks: float "time 68 2" px (x, y), iBUG order; None until found.
        onset, apex, offset: 0-based inclusive positions in ``frames``; None where not coded.
        aus: annotated action units; None where the set is not coded, () where it is coded and none was seen.
        truth: ground truth (phantoms only).
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
    truth: Truth | None = field(default=None, repr=False)
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
            raise ShapeError(
                f"clip {self.clip_id!r}: fps is {self.fps}, expected a finite number of frames per second > 0."
            )
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
class FlowClip:
    """Motion of a clip: displacement of every pixel of the onset frame.

    Args:
        flow: float32 "time chan y x", chan = (u right, v down), px from the onset frame, head motion removed.
        strain: float32 "time y x", optical strain magnitude, dimensionless.
        head_motion: float "time 2 3", the affine motion in px that was removed.
        times_ms: float "time", ms from the onset frame.
        scores: float "time", motion score of a frame (mean over ROIs of the top-quartile magnitude), % of IOD.
        selected: int "selected", indices of the discriminative frames, increasing.
        landmarks: float "68 2" px of the onset frame.
    """

    flow: np.ndarray
    strain: np.ndarray
    head_motion: np.ndarray
    times_ms: np.ndarray
    scores: np.ndarray
    selected: np.ndarray
    landmarks: np.ndarray
    clip_id: str = ""

    def __post_init__(self):
        check_axes(
            {},
            flow=(self.flow, "time 2 y x"),
            strain=(self.strain, "time y x"),
            head_motion=(self.head_motion, "time 2 3"),
            times_ms=(self.times_ms, "time"),
            scores=(self.scores, "time"),
            selected=(self.selected, "selected"),
            landmarks=(self.landmarks, "68 2"),
        )

    @property
    def iod(self) -> float:
        """Inter-ocular distance, px."""
        return inter_ocular_distance(self.landmarks)


@dataclass(frozen=True)
class RoiSequence:
    """The network's input for one clip: a patch of motion for each region in each discriminative frame.

    Args:
        patches: float32 "time roi chan py px", chan = (u, v, strain), in ``unit``.
        present: bool "time roi", False where the region lies outside the picture or was not seen.
        times_ms: float "time", ms from the onset frame.
        roi_names: names in the order of the axis ``roi``.
        aus: float32 "au", 1 = annotated, 0 = coded and absent, NaN = not coded; order of ``facs.AU_NUMBERS``.
        unit: ``"% IOD"``, or ``"map"`` for published flow maps, whose amplitude is lost.
        part: official part of the data set the clip belongs to (DFME: ``train, testA, testB``), '' where there is none.
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


@dataclass(frozen=True)
class Batch:
    """Clips side by side, as the network takes them (torch tensors).

    Args:
        x: float32 "batch time roi chan py px".
        mask: bool "batch time roi", True where there is something to see (padding frames are all False).
        times_ms: float32 "batch time".
        label: int64 "batch", index into ``classes``.
        aus: float32 "batch au", NaN = not coded. Never an input of the network: a training target only.
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
        tensors = {name: getattr(self, name)[index] for name in ("x", "mask", "times_ms", "label", "aus")}
        names = {name: tuple(getattr(self, name)[i] for i in index.tolist()) for name in ("clip_ids", "subjects")}
        return replace(self, **tensors, **names)

    def to(self, device) -> Batch:
        """The same batch on another device."""
        return replace(
            self,
            **{name: getattr(self, name).to(device) for name in ("x", "mask", "times_ms", "label", "aus")},
        )


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
        subjects: unique over data sets (``casme2/sub01``), so that no fold can mix two people.
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
            raise ShapeError("`clip_ids`, `subjects` and `datasets` differ in length: one entry a clip is expected.")
        if self.parts and len(self.parts) != len(self.clip_ids):
            raise ShapeError(
                f"`parts` has {len(self.parts)} entries for {len(self.clip_ids)} clips: one a clip, or none."
            )
        if len(self.label) and not 0 <= self.label.min() <= self.label.max() < len(self.classes):
            raise ShapeError(
                f"`label` reaches from {self.label.min()} to {self.label.max()}, classes are {self.classes}."
            )

    def __len__(self) -> int:
        return len(self.clip_ids)

    @classmethod
    def from_sequences(
        cls,
        sequences: Sequence[RoiSequence],
        classes: Sequence[str],
        meta: Mapping[str, object] | None = None,
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
                raise StagkitError(
                    f"clip {s.clip_id!r} has the label {s.label!r}, expected one of {', '.join(classes)}."
                )
        x = np.zeros((len(sequences), n_frames, *shape), np.float32)
        mask = np.zeros(x.shape[:3], bool)
        times = np.zeros(x.shape[:2], np.float32)
        for i, s in enumerate(sequences):
            n = len(s.times_ms)
            x[i, :n], mask[i, :n], times[i, :n] = s.patches, s.present, s.times_ms
        return cls(
            x=x,
            mask=mask,
            times_ms=times,
            label=np.array([list(classes).index(s.label) for s in sequences], np.int64),
            aus=np.stack([s.aus for s in sequences]).astype(np.float32),
            clip_ids=tuple(s.clip_id for s in sequences),
            subjects=tuple(s.subject for s in sequences),
            datasets=tuple(s.dataset for s in sequences),
            classes=tuple(classes),
            roi_names=sequences[0].roi_names,
            unit=sequences[0].unit,
            meta=dict(meta or {}),
            parts=tuple(s.part for s in sequences) if any(s.part for s in sequences) else (),
        )

    def compute_digest(self, *settings: object) -> str:
        """16 hex digits that change with anything that decides a result: values, mask, times, labels, AUs, names, settings.

        Args:
            settings: how the clips were measured; compared by their representation.
        """
        whole = hashlib.sha256()
        for name in ("x", "mask", "times_ms", "label", "aus"):
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
        arrays = {name: getattr(self, name)[index] for name in ("x", "mask", "times_ms", "label", "aus")}
        names = {n: tuple(getattr(self, n)[i] for i in index) for n in ("clip_ids", "subjects", "datasets")}
        return replace(self, **arrays, **names, parts=tuple(self.parts[i] for i in index) if self.parts else ())

    def batch(self, index: Sequence[int] | np.ndarray | None = None) -> Batch:
        """The clips at ``index`` (all where None) as a ``Batch`` of CPU tensors."""
        import torch

        index = np.arange(len(self)) if index is None else np.atleast_1d(np.asarray(index, dtype=np.int64))
        return Batch(
            x=torch.from_numpy(self.x[index]),
            mask=torch.from_numpy(self.mask[index]),
            times_ms=torch.from_numpy(self.times_ms[index]),
            label=torch.from_numpy(self.label[index]),
            aus=torch.from_numpy(self.aus[index]),
            clip_ids=tuple(self.clip_ids[i] for i in index),
            subjects=tuple(self.subjects[i] for i in index),
            classes=self.classes,
        )


@dataclass(frozen=True)
class StagOutput:
    """What the network says, and how it came to it (torch tensors; None where the part is switched off).

    Every attention map has (target, source) as its last two axes: row = the one that looks, summing to 1.

    Args:
        logits: "batch cls".
        au_logits: "batch time au", evidence for each AU in each frame before the sigmoid: the last reading.
        edges: "batch time roi roi", the AU-guided weight A of every region edge (target, source), > 0.
        au_edges: "batch time au au", how strongly each pair of AUs is active together.
        time_weights: "batch time", temporal attention over the selected frames, summing to 1.
        attention: name -> map: ``graph.0``: "batch time head target source" (roi x roi), ``time.0``: "batch head target
            source" (frame x frame), ``cross.0.roi_from_frame`` and ``cross.0.frame_from_roi``.
        prior_au_logits: "batch time au", the first reading of the AUs, which shapes the edges, where there are two
            (``StagConfig.head='graph'``).
    """

    logits: torch.Tensor
    au_logits: torch.Tensor
    edges: torch.Tensor | None
    au_edges: torch.Tensor | None
    time_weights: torch.Tensor | None
    attention: Mapping[str, torch.Tensor]
    prior_au_logits: torch.Tensor | None = None


#: An attribution whose sum misses the logit gap by more than this share of it is not drawn.
MAX_DELTA = 0.05


@dataclass(frozen=True)
class Attribution:
    """How much each input value adds to the logit of ``target``, against a baseline; unit: logits.

    Args:
        values: float32, shaped like what was varied; ``axes`` names its axes.
        inputs: what was varied: ``("x",)`` motion, ``("edges",)``, ``("region tokens",)``, ``("frame tokens",)``.
        method: e.g. ``"integrated gradients"``; ``settings``: its steps etc.
        target: int64 "clip", the class explained for each clip.
        baseline: in words, e.g. ``"zero flow (no motion)"``.
        flow: float32 "clip time roi 2", mean (u, v) of each region, in the unit of the data: what the values explain.
        logit_difference: float "clip", logit(x) - logit(baseline).
        convergence_delta: float "clip", sum(values) - logit_difference: what completeness misses.
        run: id of the run whose weights were explained, '' where none.
        axes: of ``values``: ``clip time roi chan py px`` (each motion value), or coarser: ``clip roi``, ``clip time``,
            ``clip time roi``, ``clip sided_au``, ``clip time au``, ``clip time target source`` (edges).
    """

    values: np.ndarray
    inputs: tuple[str, ...]
    method: str
    settings: Mapping[str, object]
    target: np.ndarray
    baseline: str
    logit_difference: np.ndarray
    convergence_delta: np.ndarray
    clip_ids: tuple[str, ...]
    classes: tuple[str, ...]
    roi_names: tuple[str, ...]
    times_ms: np.ndarray
    mask: np.ndarray
    flow: np.ndarray
    run: str = ""
    axes: str = "clip time roi chan py px"

    def __post_init__(self):
        n_rois = len(self.roi_names)
        check_axes(
            {"clip": len(self.clip_ids), "roi": n_rois, "target": n_rois, "source": n_rois, "chan": 3},
            values=(self.values, self.axes),
            target=(self.target, "clip"),
            logit_difference=(self.logit_difference, "clip"),
            convergence_delta=(self.convergence_delta, "clip"),
            times_ms=(self.times_ms, "clip time"),
            mask=(self.mask, "clip time roi"),
            flow=(self.flow, "clip time roi 2"),
        )

    @property
    def relative_delta(self) -> np.ndarray:
        """|convergence_delta| as a share of |logit_difference|: float "clip". Above ``MAX_DELTA`` no picture is drawn."""
        return np.abs(self.convergence_delta) / np.maximum(np.abs(self.logit_difference), 1e-8)

    def __len__(self) -> int:
        return len(self.clip_ids)
