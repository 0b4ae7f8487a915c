"""Phantom sequences: regions of phantom clips without images, about twenty times faster than with images.

Labels, AUs, time courses and faces are those of ``clip.make_clip``. No optical flow is estimated: its errors are the
modelled ones alone, whose sizes were measured once on drawn phantoms (``compute_flow``, 128 px, 12 clips per difficulty).
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from stagkit.core.facs import compute_au_vector
from stagkit.core.regions import ATLAS
from stagkit.core.types import RoiDataset, StagkitError, inter_ocular_distance
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.optical_flow import compute_frame_scores, compute_strain, select_frames
from stagkit.motion.rois import RoiSequence, sample_regions, stack_sequences
from stagkit.synthetic.clip import ClipMotion, limit_strain, sample_motion
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.identity import EYES, Subject
from stagkit.synthetic.occlusion import hide_regions
from stagkit.synthetic.skin_motion import make_au_field, make_blur, make_grid

SIZE = 64  # side of the maps that regions are sampled from, px
#: Flow error of regions with little texture, relative to the others.
_ERROR_GAIN = {"cheek": 1.7, "chin": 1.5, "lower_lid": 1.3}


def make_sequences(config: PhantomConfig, n_frames: int = 12, roi: RoiConfig = RoiConfig()) -> RoiDataset:
    """The clips of ``config`` as the network's input, without images; ``config.size`` has no effect on them.

    The same labels, AUs and time courses as ``clip.make_clips``; ``explain.run.find_ground_truth`` finds their truth.
    Brightness, marks and opened lips are missing. Regions under an occlusion are hidden (``mask``).

    Args:
        n_frames: discriminative frames per clip, at most; roi: how regions are sampled.

    Example:
        >>> data = make_sequences(PhantomConfig(subjects=1, clips=2), n_frames=6)
        >>> data.x.shape, data.classes
        ((2, 6, 22, 3, 5, 5), ('negative', 'positive', 'surprise'))
    """
    source, flow = PhantomSource(config), FlowConfig(n_frames=n_frames)
    motions = (sample_motion(config, *place) for place in np.ndindex(config.subjects, config.clips))
    clips = [make_sequence(motion, config.difficulty, rng, flow, roi) for motion, rng in motions]
    meta = {"source": source.describe(), "flow": flow.to_dict(), "roi": roi.to_dict(), "made": "without images"}
    data = stack_sequences(clips, source.classes, meta)
    data = replace(data, meta=meta | {"digest": data.compute_digest(meta)})
    return hide_regions(data, config.occluded, config.seed, config.occlusion) if config.occlusion != "none" else data


def make_sequence(
    motion: ClipMotion,
    difficulty: float,
    rng: np.random.Generator,
    flow_config: FlowConfig = FlowConfig(),
    roi_config: RoiConfig = RoiConfig(),
) -> RoiSequence:
    """Regions of one clip: displacement of the skin by its AUs in time, disturbed as estimated flow is.

    Change AUs, peaks or time courses with ``dataclasses.replace(motion, ...)``.

    Args:
        motion: as of ``clip.sample_motion``; difficulty: 0 the planted motion alone .. 1 as in real clips.

    Returns:
        patches in % of the IOD (strain in %), frames selected by their disturbed motion.
    """
    counts = len(motion.pattern), len(motion.peaks), motion.intensity.shape[-1]
    if len(set(counts)) > 1:
        raise StagkitError("{} AUs, {} peaks and {} time courses were given: expected as many of each.".format(*counts))
    landmarks = motion.subject.landmarks(SIZE)
    iod = inter_ocular_distance(landmarks)
    fields = np.stack([_make_field(motion.subject, *au) for au in motion.pattern])
    peaks = limit_strain(fields, motion.peaks)
    flow = np.tensordot((motion.intensity * peaks).astype(np.float32), fields, axes=1)  # px "time chan y x"
    if difficulty > 0:
        flow = _disturb(flow, motion, difficulty, rng)
    flow[motion.onset] = 0.0
    times = (np.arange(len(flow)) - motion.onset) * 1000 / motion.fps
    scores = compute_frame_scores(flow, landmarks)
    chosen = select_frames(scores, times, flow_config, motion.onset, (motion.intensity @ peaks).argmax())
    field = np.concatenate([flow[chosen] * (100 / iod), compute_strain(flow[chosen])[:, None] * 100], axis=1)
    patches, inside = sample_regions(field, landmarks, roi_config.patch, replace(ATLAS, radius=roi_config.radius))
    return RoiSequence(
        patches=patches,
        present=np.tile(inside, (len(chosen), 1)),
        times_ms=times[chosen],
        roi_names=ATLAS.names,
        aus=compute_au_vector(motion.coded_aus),
        **motion.names,
    )


@lru_cache(maxsize=2048)
def _make_field(subject: Subject, number: int, side: str) -> np.ndarray:
    """Field of an AU at a peak of 1 % of IOD: float32 "2 y x" px."""
    return make_au_field(number, side, subject.landmarks(SIZE), SIZE)


@lru_cache(maxsize=512)
def _make_face_maps(subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    """Eyelids and gain of the flow error: float32 "y x"."""
    landmarks, grid = subject.landmarks(SIZE), make_grid(SIZE)
    unit = 0.01 * inter_ocular_distance(landmarks)

    def hill(centre, wide, high):
        return np.exp(-0.5 * (((grid - centre) / (wide * unit, high * unit)) ** 2).sum(-1))

    lids = sum(hill(landmarks[list(eye)].mean(0), 18, 8) for eye in EYES)
    centres = zip(ATLAS.rois, ATLAS.centres(landmarks), strict=True)
    gain = 1 + sum((_ERROR_GAIN[r.place] - 1) * hill(c, 18, 18) for r, c in centres if r.place in _ERROR_GAIN)
    return lids.astype(np.float32), gain.astype(np.float32)


def _disturb(flow: np.ndarray, motion: ClipMotion, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """Flow "time chan y x" px as it is estimated: lost amplitude, errors, eyes, what is left of head motion."""
    unit = 0.01 * float(inter_ocular_distance(motion.subject.landmarks(SIZE)))  # px per % of IOD
    (lids, gain), n_time, shape = _make_face_maps(motion.subject), len(flow), (len(flow), 2)
    loss = 0.35 * difficulty**0.5 * np.exp(0.3 * _smooth(rng.standard_normal((1, 1, 12, 12), np.float32), 1.2))
    slow = make_blur(n_time, n_time, 0.03 * motion.fps) @ rng.standard_normal((n_time, 2 * 12 * 12), np.float32)
    errors = _smooth(0.9 * slow.reshape(*shape, 12, 12) + 0.44 * rng.standard_normal((*shape, 12, 12), np.float32), 0.9)
    errors += _smooth(rng.standard_normal((*shape, 32, 32), np.float32), 0.8)
    errors *= 0.075 * difficulty * unit * gain
    out = flow * (1 - np.minimum(loss, 0.8))
    out += errors
    eyes = 30 * motion.incidental.gaze + motion.incidental.closed[:, None] * (0.0, 3.0)  # % of IOD
    out += (unit * eyes).astype(np.float32)[:, :, None, None] * lids
    scale = motion.size / SIZE  # ``motion.head`` is in px of another size
    x, y = np.moveaxis(make_grid(SIZE) * scale + (scale - 1) / 2, -1, 0)
    left = (motion.head - np.eye(2, 3)) * rng.normal(0, 0.06, (2, 1)) / scale
    out += np.tensordot(left.astype(np.float32), np.stack([x, y, np.ones_like(x)]).astype(np.float32), axes=1)
    return out


def _smooth(noise: np.ndarray, sigma: float) -> np.ndarray:
    """Maps "... y x" of ``SIZE`` px from white noise on a coarser grid "... row column"; ``sigma``: cells of that grid."""
    weights = make_blur(noise.shape[-1], SIZE, sigma)
    return weights @ noise @ weights.T
