"""The flow explorer: frames and their motion, the motion curve with the selected frames, a place followed over time.

Frames leave Python only where that is allowed: those of phantoms, animated photographs and the reader's own recordings.
Of a licensed data set only landmarks and flow are drawn, unless its agreement allows more.
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, StagkitError, inter_ocular_distance
from stagkit.datasets import NAMES, load_layout
from stagkit.explorers.browser import deflate, read_css, read_esm
from stagkit.explorers.explorer import Choice, ClipExplorer, Range, as_figure, checked
from stagkit.explorers.validation import check_choice, check_index
from stagkit.motion.config import FlowConfig
from stagkit.motion.images import encode_image
from stagkit.motion.optical_flow import FlowClip, compute_flow, select_frames
from stagkit.motion.rois import sample_regions
from stagkit.plots import clips as clip_plots
from stagkit.plots.style import nice_limit

traitlets = import_optional("traitlets")

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
_PAGE_BYTES = 500_000  # flow in one page, over all methods
_MAX_CACHED = 12  # payloads in memory


class ClipSequence:
    """A ``Clip``, a list of them, or a source with ``keys`` and ``read(key)``, read one at a time when they are shown."""

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
        """One clip; raises StagkitError if it has no landmarks."""
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


def explain_hidden(clip: Clip, show_frames: bool | None) -> str:
    """Why the frames are not shown, in one sentence; '' where they may be (``show_frames`` as for ``FlowExplorer``)."""
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
    """What the browser needs of a clip's motion, measured with ``config``, in at most ``limit`` bytes.

    Flow and strain are averaged over the cells of a grid and rounded to 1/127 and 1/255 of the largest value.
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


class FlowExplorer(ClipExplorer):
    """Explorer of a clip's motion; ``view_flow`` is its short name.

    Args:
        clips: a ``Clip`` with landmarks; a list of clips; or a source with ``keys`` and ``read`` (``open_source``,
            ``PhantomSource``), of which a clip is read when it is shown.
        clip: index or id of the clip shown first. ``frame``: index of its frame; that with the most motion where None.
        config: method, selection rule and their settings.
        show_frames: None = only frames of phantoms, animated photographs and your own recordings are shown; of licensed
            data landmarks and flow. True states that the agreement of these data allows showing this subject.
        motion: the clip's motion, if already measured with ``config``.
        point: ``[x, y]`` px, a place that is followed over time.
        **traits: ``layer``, ``arrows``, ``magnify``.

    Raises:
        StagkitError: an argument that is out of range, a clip without landmarks or with a single frame.

    Traits (all synced with the browser):
        clip, frame, point: the arguments; the clip as an index. ``playing``: the frames run.
        method: ``"dis"``, ``"dis_fast"``, ``"tvl1"`` or ``"farneback"``; measured again when it is switched.
        selection: ``"magnitude"``, ``"uniform"``, ``"apex"`` or ``"all"``; ``selected``: the frames it gives.
        layer: ``"wheel"`` (direction as colour), ``"speed"`` or ``"strain"``; ``arrows``: drawn over it.
        magnify: 1..20, factor by which the motion in the frame is enlarged.
    """

    _esm = read_esm("base", "face", "export", "explorer", "flow_view")
    _css = read_css("base", "explorer", "flow_view")

    method = Choice("dis", METHODS)
    selection = Choice("magnitude", SELECTIONS)
    selected = traitlets.List().tag(sync=True)
    layer = Choice("wheel", LAYERS)
    arrows = traitlets.Bool(True).tag(sync=True)
    magnify = Range(1.0, 1, MAX_MAGNIFY, "1 = as measured")
    point = traitlets.List().tag(sync=True)

    _clips = traitlets.List().tag(sync=True)
    _clip = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        clips,
        *,
        clip: int | str = 0,
        frame: int | None = None,
        config: FlowConfig = FlowConfig(),
        show_frames: bool | None = None,
        motion: FlowClip | None = None,
        point: list[float] | None = None,
        **traits: object,
    ):
        if not isinstance(config, FlowConfig):
            raise StagkitError(f"`config` is a {type(config).__name__}, expected a FlowConfig.")
        self.clips, self.config, self.show_frames = ClipSequence(clips), config, show_frames
        self._cache: dict[str, dict] = {}
        index = self._find_clip(clip)
        self._open(index)
        self._measure(index, config.method, motion)
        super().__init__(
            clip=index,
            method=config.method,
            selection=config.selection,
            _clips=list(self.clips.names),
            _clip=self._header,
            _payload=self._cache[f"{index}|{config.method}"],
            frame=int(np.argmax(self._motion.scores)) if frame is None else frame,
            point=point or [],
            **traits,
        )
        self._update_selected()
        self.observe(self._on_clip, "clip")
        self.observe(lambda _: self._attempt(self._show), "method")
        self.observe(self._update_selected, "selection")

    def _find_clip(self, clip: int | str) -> int:
        return check_index("clip", clip, self.clips.names)

    def _count_frames(self) -> tuple[str, int]:
        return self.shown_clip.clip_id, len(self.shown_clip.frames)

    @traitlets.validate("point")
    def _valid_point(self, proposal):
        return checked(check_point, proposal["value"], self.shown_clip)

    def _open(self, index: int) -> None:
        """Read the clip to be shown."""
        clip = self.clips.read(index)
        self.shown_clip, self._motion = clip, None
        self._header = compute_header(clip, index, explain_hidden(clip, self.show_frames))

    def _measure(self, index: int, method: str, motion: FlowClip | None = None) -> None:
        """Motion (or check the given one) and payload of the clip shown."""
        start, config, clip = time.perf_counter(), self.config.replace(method=method), self.shown_clip
        if motion is not None and motion.strain.shape != clip.frames.shape[:3]:
            raise StagkitError(
                f"`motion` is of {motion.strain.shape} (time, y, x), clip {clip.clip_id!r} has {clip.frames.shape[:3]}: "
                "give the motion of this clip, or none."
            )
        self._motion = compute_flow(clip, config) if motion is None else motion
        self._motion_method = method
        payload = compute_payload(clip, index, self._motion, config)
        payload["ms"] = round(1000 * (time.perf_counter() - start))
        self._cache[payload["key"]] = payload
        if len(self._cache) > _MAX_CACHED:
            self._cache.pop(next(iter(self._cache)))

    def _on_clip(self, change):
        def work():
            before = self.shown_clip, self._motion, self._header
            try:
                self._open(change["new"])
                self._show()
            except Exception:
                self.shown_clip, self._motion, self._header = before
                self.set_trait("clip", change["old"])
                raise
            with self.hold_sync():
                self._clip, self.point = self._header, []
                self.frame = int(np.argmax(self._payload["scores"]))

        if change["new"] != self._header["index"]:
            self._attempt(work)

    def _update_selected(self, _change=None):
        self.selected = self._payload["selections"][self.selection]

    def _show(self) -> None:
        key = f"{self.clip}|{self.method}"
        if key not in self._cache:
            self._measure(self.clip, self.method)
        with self.hold_sync():
            self._payload = self._cache[key]
            self._update_selected()

    @property
    def motion(self) -> FlowClip:
        """The motion as shown: this method, this selection rule (input of ``compute_rois``)."""
        if self._motion is None or self._motion_method != self.method:
            self._motion = compute_flow(self.shown_clip, self.config.replace(method=self.method))
            self._motion_method = self.method
        selections = compute_selections(self._motion, self.shown_clip, self.config)
        return replace(self._motion, selected=np.array(selections[self.selection]))

    def to_html(self, path: str | os.PathLike | None = None, methods: tuple[str, ...] = ()) -> str:
        """HTML of the explorer with the clip shown as one self-contained page, also written to ``path`` if given.

        It is below 1 MB; ``methods``: flow methods that it can switch between, in addition to those shown so far.
        """
        for method in methods:
            check_choice("methods", method, METHODS)
        included = [m for m in METHODS if f"{self.clip}|{m}" in self._cache or m in methods]
        saved = {}
        for method in included:
            config = self.config.replace(method=method)
            motion = self.motion if method == self.method else compute_flow(self.shown_clip, config)
            payload = compute_payload(self.shown_clip, self.clip, motion, config, limit=_PAGE_BYTES // len(included))
            saved[payload["key"]] = payload
        names = [n if i == self.clip else "" for i, n in enumerate(self.clips.names)]
        changes = {"_saved": saved, "_payload": {}, "_clips": names}
        return self._save(f"Flow: {self.shown_clip.clip_id}", changes, path)

    def to_figure(self):
        """Flow of the frame shown (``plots.clips.plot_flow``), over the onset frame where that may be shown."""
        onset_frame = self.shown_clip.frames[self.shown_clip.onset or 0]
        return clip_plots.plot_flow(self.motion, self.frame, None if self._header["hidden"] else onset_frame)


view_flow = FlowExplorer
plot_flow = as_figure(FlowExplorer)
