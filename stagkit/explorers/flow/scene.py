"""What the flow explorer shows of a clip, small enough for a browser: frames, flow, strain, scores, selected frames.

Frames leave Python only where that is allowed: those of phantoms, animated photographs and the reader's own recordings.
Of a licensed data set only landmarks and flow are drawn, unless its agreement allows more.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, StagkitError, inter_ocular_distance
from stagkit.datasets import NAMES, load_layout
from stagkit.explorers.browser import deflate
from stagkit.motion.config import FlowConfig
from stagkit.motion.images import encode_image
from stagkit.motion.optical_flow import FlowClip, select_frames
from stagkit.motion.rois import sample_regions
from stagkit.plots.style import nice_limit

METHODS = ("dis", "dis_fast", "tvl1", "farneback")
SELECTIONS = ("magnitude", "uniform", "apex", "all")
LAYERS = ("wheel", "speed", "strain")

#: Largest factor by which motion is magnified (stagkit's choice).
MAX_MAGNIFY = 20.0

#: Data sets whose frames may always be shown.
_OWN = ("recording", "animated-photo")

_MAX_FRAMES = 96  # of longer clips only some frames are sent
_STRIP_BYTES = 220_000  # frames of a clip
_MOTION_BYTES = 250_000  # flow of a clip by one method


class ClipSequence:
    """Clips that are read one at a time, when they are shown.

    Args:
        clips: one ``Clip``; a list of them; or a source with ``keys`` and ``read(key)`` (``datasets.open_source``,
            ``PhantomSource``).
    """

    def __init__(self, clips):
        if isinstance(clips, Clip):
            clips = [clips]
        if hasattr(clips, "keys") and hasattr(clips, "read"):
            self.names, self._read = tuple(clips.keys), clips.read
        elif isinstance(clips, Sequence) and clips and all(isinstance(c, Clip) for c in clips):
            self.names, self._read = tuple(c.clip_id for c in clips), lambda name: clips[self.names.index(name)]
        else:
            raise StagkitError(
                f"the flow explorer was given a {type(clips).__name__}, expected a Clip, a list of clips, or a source with "
                "`keys` and `read` (stagkit.open_source)."
            )
        if not self.names:
            raise StagkitError("there is no clip to show: the source is empty.")

    def read(self, index: int) -> Clip:
        """One clip.

        Raises:
            StagkitError: it has no landmarks.
        """
        clip = self._read(self.names[index])
        if clip.landmarks is None or not np.isfinite(clip.landmarks).all():
            raise StagkitError(f"clip {clip.clip_id!r} has no landmarks: find them first (prepare --landmarker FILE).")
        return clip


def check_point(point: Sequence[float], clip: Clip) -> list[float]:
    """Raise unless ``point`` is a place in the frame, [x, y] px, or empty."""
    height, width = clip.frames.shape[1:3]
    if len(point) and not (len(point) == 2 and 0 <= point[0] <= width - 1 and 0 <= point[1] <= height - 1):
        raise StagkitError(
            f"`point` is {list(point)}, expected [x, y] px, x 0..{width - 1} and y 0..{height - 1}, or []."
        )
    return [round(float(v), 1) for v in point]


def check_motion(motion: FlowClip, clip: Clip) -> FlowClip:
    """Raise unless the motion can be this clip's."""
    if motion.strain.shape != clip.frames.shape[:3]:
        raise StagkitError(
            f"`motion` is of {motion.strain.shape} (time, y, x), clip {clip.clip_id!r} has {clip.frames.shape[:3]}: give "
            "the motion of this clip, or none."
        )
    return motion


def explain_hidden(clip: Clip, show_frames: bool | None) -> str:
    """Why the frames are not shown, in one sentence; '' where they may be.

    Args:
        clip: whose frames.
        show_frames: True: the agreement of these data allows showing frames of this subject; False hides them; None = by
            the data set.
    """
    if show_frames is False:
        return "The frames are hidden (show_frames=False): landmarks and flow only."
    own = clip.truth is not None or clip.dataset in _OWN or clip.dataset.endswith("-phantom")
    if show_frames or own:
        return ""
    if clip.dataset in NAMES:
        card = load_layout(clip.dataset).card
        return f"Frames of {card.title} are not shown (may be printed: {card.printable}): landmarks and flow only."
    return (
        f"Frames of {clip.dataset!r} are not shown, since no permission is known (show_frames=True states it): landmarks "
        "and flow only."
    )


def compute_selections(motion: FlowClip, clip: Clip, config: FlowConfig) -> dict[str, list[int]]:
    """The discriminative frames by every rule, e.g. ``{"apex": [27], ...}``."""
    return {
        rule: select_frames(motion.scores, motion.times_ms, config.replace(selection=rule), clip.onset or 0, clip.apex)
        .astype(int)
        .tolist()
        for rule in SELECTIONS
    }


def reselect(motion: FlowClip, clip: Clip, config: FlowConfig, rule: str) -> FlowClip:
    """The same motion with the frames selected by another rule."""
    return replace(motion, selected=np.array(compute_selections(motion, clip, config)[rule]))


def find_crop(clip: Clip) -> tuple[int, int, int, int]:
    """The part of the frame with the face: x, y, width, height in px."""
    points = np.asarray(clip.landmarks[clip.onset or 0], float)
    height, width = clip.frames.shape[1:3]
    span = 0.75 * max(np.ptp(points, axis=0))
    x, y = points.mean(0) - [0, 0.12 * span]
    left, top = (max(0, int(c - span)) for c in (x, y))
    right, bottom = min(width, int(np.ceil(x + span))), min(height, int(np.ceil(y + span)))
    if right - left < 8 or bottom - top < 8:
        return 0, 0, width, height
    return left, top, right - left, bottom - top


def find_kept(clip: Clip) -> list[int]:
    """Frames that are sent: all, or of long clips an even choice with onset, apex and offset."""
    n = len(clip.frames)
    even = np.linspace(0, n - 1, min(n, _MAX_FRAMES)).round().astype(int).tolist()
    return sorted({*even, *(m for m in (clip.onset, clip.apex, clip.offset) if m is not None)})


def _fit(box: tuple[int, int], side: int) -> tuple[int, int]:
    """Width and height of a box scaled down to at most ``side``."""
    scale = min(1.0, side / max(box))
    return max(1, round(box[0] * scale)), max(1, round(box[1] * scale))


def compute_header(clip: Clip, index: int, hidden: str) -> dict:
    """What the browser needs of a clip for every method: times, marks, landmarks, frames (or why there are none)."""
    left, top, width, height = find_crop(clip)
    landmarks = np.asarray(clip.landmarks[clip.onset or 0], float) - [left, top]
    kept = find_kept(clip)
    return {
        "index": index,
        "id": clip.clip_id,
        "subject": clip.subject,
        "label": clip.label,
        "fps": clip.fps,
        "times": [round(float(t), 1) for t in clip.times_ms],
        "marks": {name: getattr(clip, name) for name in ("onset", "apex", "offset")},
        "start": clip.onset or 0,
        "crop": [left, top, width, height],
        "iod": round(float(inter_ocular_distance(landmarks)), 4),
        "landmarks": np.round(landmarks, 2).tolist(),
        "kept": kept,
        "strip": None if hidden else _make_strip(clip, kept),
        "hidden": hidden,
    }


def _make_strip(clip: Clip, kept: Sequence[int]) -> dict:
    """The frames stacked vertically in one WebP or JPEG image, smaller until it fits."""
    left, top, width, height = find_crop(clip)
    frames = clip.frames[list(kept), top : top + height, left : left + width]
    for side in (192, 160, 128, 96, 72):
        size = _fit((width, height), side)
        sheet = np.concatenate([cv2.resize(f, size, interpolation=cv2.INTER_AREA) for f in frames])
        sheet = cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR) if sheet.ndim == 3 else sheet
        webp = len(sheet) < 16_000  # WebP is smaller, but limited in height
        kind, quality = ("webp", cv2.IMWRITE_WEBP_QUALITY) if webp else ("jpeg", cv2.IMWRITE_JPEG_QUALITY)
        image = encode_image(f".{kind}", sheet, [quality, 78], f"the frames of clip {clip.clip_id!r}")
        if len(image) <= _STRIP_BYTES:
            break
    return {"src": f"data:image/{kind};base64,{base64.b64encode(image).decode('ascii')}", "size": list(size)}


def compute_payload(clip: Clip, index: int, motion: FlowClip, config: FlowConfig, limit: int = _MOTION_BYTES) -> dict:
    """What the browser needs of a clip's motion by one method.

    Flow and strain are averaged over the cells of a grid and rounded to 1/127 and 1/255 of the largest value.

    Args:
        clip: the clip, ``index`` its number in the explorer.
        motion: measured with ``config``.
        limit: maximum size, bytes.
    """
    kept = find_kept(clip)
    face = compute_face_mask(motion.landmarks, clip.frames.shape[1:3]).astype(np.float32)
    soft = cv2.GaussianBlur(face, (0, 0), 0.04 * motion.iod)
    for side in (64, 48, 40, 32, 24):
        flow, strain, mask = _shrink(clip, motion, kept, soft, side)
        scale, strain_scale = max(np.abs(flow).max(), 1e-6) / 127, max(strain.max(), 1e-9) / 255
        packed = {
            "flow": deflate(np.rint(flow / scale).astype(np.int8)),
            "strain": deflate(np.rint(strain / strain_scale).astype(np.uint8)),
            "mask": deflate(np.rint(255 * mask).astype(np.uint8)),
        }
        if sum(map(len, packed.values())) <= limit:
            break
    return {
        "key": f"{index}|{config.method}",
        "method": config.method,
        **packed,
        "grid": [mask.shape[1], mask.shape[0]],
        "scale": float(f"{scale:.9g}"),
        "strain_scale": float(f"{strain_scale:.9g}"),
        "scores": np.round(motion.scores.astype(float), 6).tolist(),
        "head": np.round(compute_head_path(motion), 3).tolist(),
        "selections": compute_selections(motion, clip, config),
        "limits": compute_limits(motion),
        "stabilise": config.stabilise,
        "settings": _format_settings(config),
        "regions": _find_fastest_regions(motion, kept),
    }


def compute_limits(motion: FlowClip) -> dict[str, float]:
    """The ends of the colour scales, one for all frames of the clip: speed (% of IOD) and strain (per cent)."""
    mask = compute_face_mask(motion.landmarks, motion.strain.shape[1:])
    speed = np.linalg.norm(motion.flow, axis=1)[:, mask] * (100 / motion.iod)
    strain = 100 * motion.strain[:, mask]
    return {name: nice_limit(np.percentile(v, 99.9)) for name, v in (("speed", speed), ("strain", strain))}


def _format_settings(config: FlowConfig) -> str:
    """Settings that differ from the defaults, as Python arguments: ``, n_frames=8``."""
    default = FlowConfig(method=config.method, selection=config.selection)
    values = {name: value for name, value in config.to_dict().items() if value != getattr(default, name)}
    return "".join(f", {name}={value!r}" for name, value in values.items())


def compute_head_path(motion: FlowClip) -> np.ndarray:
    """Displacement of the middle of the face by head motion: float "time" px."""
    centre = motion.landmarks.mean(0)
    moved = np.einsum("tij,j->ti", motion.head_motion[:, :, :2], centre) + motion.head_motion[:, :, 2]
    return np.linalg.norm(moved - centre, axis=1)


def _find_fastest_regions(motion: FlowClip, kept: Sequence[int]) -> list[list]:
    """The region that moves most in each kept frame: name and mean speed, % of IOD."""
    speed = np.linalg.norm(motion.flow[list(kept)], axis=1, keepdims=True) * (100 / motion.iod)
    patches, _ = sample_regions(speed, motion.landmarks, patch=5)
    means = patches.mean((2, 3, 4))
    return [[ATLAS.names[int(k)], round(float(row[k]), 3)] for row, k in zip(means, means.argmax(1), strict=True)]


def _shrink(clip: Clip, motion: FlowClip, kept: Sequence[int], soft: np.ndarray, side: int):
    """Flow "time 2 y x" px, strain "time y x" and mask "y x" on a grid of at most ``side`` cells a side."""
    left, top, width, height = find_crop(clip)
    here, size = (slice(top, top + height), slice(left, left + width)), _fit((width, height), side)

    def small(field: np.ndarray) -> np.ndarray:
        return cv2.resize(np.ascontiguousarray(field[here]), size, interpolation=cv2.INTER_AREA)

    flow = np.stack([[small(channel) for channel in motion.flow[t]] for t in kept])
    return flow, np.stack([small(motion.strain[t]) for t in kept]), small(soft)
