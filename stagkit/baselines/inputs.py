"""Views of a clip for different systems: regions, a flow map of the face, a rank-pooled image, or a short film.

Every view is a ``RoiDataset`` of the same clips in the same order; an image of the face is one large region. Published flow
maps have ``regions`` and ``face`` only (T = 1, no images). Prepared clips are read again from their source; phantoms are
rendered again. Face images show the window of the published maps (``datasets.flow_maps.MAP_FRAME``) with the measured head
motion removed.

``regions``: as prepared, % of the IOD (published maps: map). ``time_series``: at 25 frames spread evenly over the clip.
``face``: flow from onset to apex (u, v, strain), 28 px, the same unit. ``mesti``, ``dynamic``: apex-centred and classic rank
pooling (``rank_pooling``), 64 px, fraction of the grey range. ``film``: 8 frames, 64 px, 0..1; ``times_ms`` counts from the
apex. The apex is the coded one if available, otherwise the frame of largest motion.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from stagkit.baselines.rank_pooling import compute_mesti_weights, compute_rank_weights, pool_frames
from stagkit.core.files import Progress, compute_digest, load_arrays, no_progress, resolve_inside, write_atomically
from stagkit.core.parallel import run_in_processes
from stagkit.core.regions import ATLAS, RoiAtlas, compute_face_frame
from stagkit.core.types import Clip, RoiDataset, StagkitError
from stagkit.datasets import ClipSource
from stagkit.datasets.flow_maps import MAP_FRAME, read_maps
from stagkit.datasets.prepare import load_data
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.landmarks import locate_and_align
from stagkit.motion.optical_flow import FlowClip, compute_flow, compute_rois, select_frames
from stagkit.synthetic.dataset import find_phantoms

VIEWS = ("regions", "time_series", "face", "mesti", "dynamic", "film")
#: Views that are made from the images of a clip.
OF_IMAGES = VIEWS[1:]

FACE_SIDE, IMAGE_SIDE, FILM_FRAMES, SERIES_FRAMES = 28, 64, 8, 25
FORMAT = 2  # raised when a view changes: cached ones are made again


def make_frame(side: int) -> np.ndarray:
    """Face frame (IOD) -> px of a face image of that side: float "2 3"."""
    return MAP_FRAME * (side / FACE_SIDE)


def find_apex(clip: Clip, motion: FlowClip) -> int:
    """The coded apex; the frame of largest motion if none is coded, or if it is the onset."""
    usable = clip.apex is not None and clip.apex != (clip.onset or 0)
    return int(clip.apex) if usable else int(motion.scores.argmax())


def warp_face(image: np.ndarray, to_image: np.ndarray, side: int, fine: int = 3) -> np.ndarray:
    """The window of the face as a square of ``side`` px, averaging ``fine`` samples per px and side.

    ``image``: "y x" or "y x chan"; ``to_image``: float "2 3", face frame (IOD) -> px of ``image``.
    """
    frame = make_frame(side * fine)
    frame = np.column_stack([frame[:, :2], frame[:, 2] + (fine - 1) / 2])  # centres of samples, not of cells
    square = to_image @ np.linalg.inv(np.vstack([frame, [0, 0, 1]]))
    shape = (side * fine,) * 2
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    taken = cv2.warpAffine(image.astype(np.float32), square, shape, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return taken.reshape(side, fine, side, fine, *image.shape[2:]).mean((1, 3))


def sample_frames(clip: Clip, motion: FlowClip, index: Sequence[int], side: int = IMAGE_SIDE) -> np.ndarray:
    """Face images with head motion removed: float32 "time chan y x", RGB, 0..1 (grey clips: three times grey)."""
    frame = np.vstack([compute_face_frame(motion.landmarks), [0, 0, 1]])
    faces = np.stack([warp_face(clip.frames[t], motion.head_motion[t] @ frame, side) / 255 for t in index])
    return np.stack([faces] * 3, 1) if faces.ndim == 3 else np.moveaxis(faces, -1, 1)


def sample_flow(motion: FlowClip, at: int, side: int = FACE_SIDE) -> np.ndarray:
    """Motion of the face in one frame: float32 "chan y x", (u, v) upright in the face frame and strain, % of IOD."""
    frame = compute_face_frame(motion.landmarks)
    field = np.concatenate([motion.flow[at] * (100 / motion.iod), motion.strain[at][None] * 100])
    face = np.moveaxis(warp_face(np.moveaxis(field, 0, -1), frame, side), -1, 0)
    turn = frame[:, :2].T / np.hypot(*frame[:, 0])
    face[:2] = np.einsum("ij,jyx->iyx", turn, face[:2])
    return face


def compute_views(clip: Clip, flow: FlowConfig = FlowConfig(), roi: RoiConfig = RoiConfig()) -> dict[str, np.ndarray]:
    """Every view of one clip (with landmarks) made from its images: name -> "time roi chan py px", ``NAME_mask``,
    ``NAME_times``; the ``selection`` of ``flow`` is ignored.
    """
    motion = compute_flow(clip, flow)
    onset = clip.onset or 0
    offset = len(clip.frames) - 1 if clip.offset is None else clip.offset
    apex = min(max(find_apex(clip, motion), onset), offset)
    if offset <= onset:
        onset, offset = 0, len(clip.frames) - 1
    span = np.arange(onset, offset + 1)
    images = sample_frames(clip, motion, span)
    at = np.unique(np.linspace(0, len(span) - 1, min(FILM_FRAMES, len(span))).round().astype(int))
    film = np.zeros((FILM_FRAMES, 1, *images.shape[1:]), np.float32)
    film[: len(at), 0] = images[at]
    film_times = np.zeros(FILM_FRAMES, np.float32)
    film_times[: len(at)] = clip.times_ms[span[at]] - clip.times_ms[apex]
    spread = flow.replace(selection="uniform", n_frames=SERIES_FRAMES)
    chosen = select_frames(motion.scores, clip.times_ms, spread, clip.onset or 0)
    series = compute_rois(replace(motion, selected=chosen), clip, roi)
    n, shape = len(chosen), series.patches.shape[1:]
    patches, present = np.zeros((SERIES_FRAMES, *shape), np.float32), np.zeros((SERIES_FRAMES, shape[0]), bool)
    times = np.zeros(SERIES_FRAMES, np.float32)
    patches[:n], present[:n], times[:n] = series.patches, series.present, series.times_ms
    pooled = {
        "face": sample_flow(motion, apex),
        "mesti": pool_frames(images, compute_mesti_weights(len(span), apex - span[0])),
        "dynamic": pool_frames(images, compute_rank_weights(len(span))),
    }
    views = {name: image[None, None].astype(np.float32) for name, image in pooled.items()}
    for name in pooled:
        views |= {f"{name}_mask": np.ones((1, 1), bool), f"{name}_times": np.zeros(1, np.float32)}
    views |= {"film": film, "film_mask": np.arange(FILM_FRAMES)[:, None] < len(at), "film_times": film_times}
    return views | {"time_series": patches, "time_series_mask": present, "time_series_times": times}


def make_views(
    path: str | Path | Sequence[str | Path],
    mapping: str = "",
    keep: str | Path | None = None,
    sources: Mapping[str, ClipSource] | None = None,
    workers: int = 1,
    landmarker: str = "",
    progress: Progress = no_progress,
) -> dict[str, RoiDataset]:
    """Every view that the data allow: name -> the same clips in the same order; always ``regions``.

    Args:
        path, mapping: prepared folders or flow maps, and the class mapping, as for ``prepare.load_data``.
        keep: folder that caches views.
        sources: clips of prepared sets that are no phantoms: name -> source; ``workers`` processes read them.
        landmarker: for clips without landmarks (``landmarks.locate_and_align``).
        progress: wraps the stream of finished clips.
    """
    data = load_data(path, mapping)
    paths = [path] if isinstance(path, (str, Path)) else list(path)
    found: dict[tuple[str, str], dict[str, np.ndarray]] = {}
    for one in paths:
        part = load_data(one)
        keys = zip(part.subjects, part.clip_ids, strict=True)
        found |= zip(keys, _read_part(Path(one), part, keep, sources, workers, landmarker, progress), strict=False)
    clips = [found.get(key, {}) for key in zip(data.subjects, data.clip_ids, strict=True)]
    views = {"regions": data}
    for name in OF_IMAGES:
        if not all(name in clip for clip in clips):
            continue
        x, mask, times = (np.stack([c[f"{name}{k}"] for c in clips]) for k in ("", "_mask", "_times"))
        view = {
            "roi_names": data.roi_names if name == "time_series" else ("face",),
            "meta": {**data.meta, "view": name},
        }
        views[name] = replace(data, x=x, mask=mask, times_ms=times, **view)
    views.setdefault("time_series", data)  # without images: the prepared regions
    return views


def _read_part(path, part: RoiDataset, keep, sources, workers: int, landmarker: str, progress) -> list[dict]:
    """Views of each clip of one set, in its order; none if its images are not available."""
    if part.unit == "map":
        return _read_map_faces(path, part)
    source = find_phantoms(part.meta) or (sources or {}).get(part.datasets[0])  # phantoms are rendered again
    if source is None:
        return []
    name = f"{compute_digest(str(part.meta['digest']).encode(), bytes([FORMAT]))}.npz"
    kept = resolve_inside(keep, name) if keep else None
    if kept is not None and kept.is_file():
        try:
            whole = load_arrays(kept, 2**36)
            whole = {k: v if v.dtype == bool else v.astype(np.float32) for k, v in whole.items()}
            return [{k: v[i] for k, v in whole.items()} for i in range(len(part))]
        except (StagkitError, ValueError, KeyError, IndexError) as error:
            raise StagkitError(f"{kept} is damaged: remove it, it is made again.") from error
    flow, roi = FlowConfig.from_dict(part.meta.get("flow", {})), RoiConfig.from_dict(part.meta.get("roi", {}))
    faces = part.meta.get("faces") or {}
    narrow = getattr(source, "only", lambda key: source)  # a set's whole list of frames is much to send to a process
    settings = (flow, roi, faces.get("align", 0), landmarker)
    jobs = (partial(_read_clip, i, narrow(key), key, *settings) for i, key in enumerate(part.clip_ids))
    found = dict(progress(run_in_processes(jobs, workers), len(part)))
    clips = [found[i] for i in range(len(part))]
    if kept is not None:
        whole = {k: np.stack([c[k] for c in clips]) for k in clips[0]}
        exact = {k for k, v in whole.items() if v.dtype == bool or k.endswith("times")}
        with write_atomically(kept) as aside:
            np.savez_compressed(aside, **{k: v if k in exact else v.astype(np.float16) for k, v in whole.items()})
        return _read_part(path, part, keep, sources, workers, landmarker, progress)
    return clips


def _read_clip(
    number: int, source: ClipSource, key: str, flow: FlowConfig, roi: RoiConfig, align: int, landmarker: str
) -> tuple[int, dict]:
    cv2.setNumThreads(1)
    return number, compute_views(locate_and_align(source.read(key), align, landmarker), flow, roi)


def _read_map_faces(path: Path, part: RoiDataset) -> list[dict[str, np.ndarray]]:
    """Published maps with the median of each channel taken as zero motion; the order is that of ``load_flow_maps``."""
    flow = np.moveaxis(read_maps(path)["flow"].astype(np.float32), -1, 1)
    flow -= np.median(flow, axis=(2, 3), keepdims=True)
    rest = {"face_mask": np.ones((1, 1), bool), "face_times": np.zeros(1, np.float32)}
    return [{"face": m[None, None], **rest} for m in flow]


def gather_regions(values: np.ndarray, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """A map of the face summed inside the square of each region of the mean face: float "clip y x" -> "clip roi"."""
    side = values.shape[-1]
    frame = make_frame(side)
    points = (np.arange(side * 10) + 0.5) / 10 - 0.5  # px count by how much of them lies inside, exact to a tenth
    out = np.empty((len(values), len(atlas.names)))
    for n, centre in enumerate(atlas.mean_centres):
        middle, half = frame[:, :2] @ centre + frame[:, 2], np.diag(frame[:, :2]) * atlas.radius
        across, down = ((np.abs(points - middle[i]) <= half[i]).reshape(side, 10).mean(1) for i in (0, 1))
        out[:, n] = np.einsum("cyx,y,x->c", values, down, across)
    return out
