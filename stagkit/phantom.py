"""Phantoms: synthetic clips of faces with planted action units (AUs). No licence needed, the truth is known.

A phantom imitates a data set in frame rate, classes, colour, size of the motion, duration and noise; it shows no real
person. ``phantom_programme`` says what is shown, ``phantom_subject`` who shows it, ``phantom_face`` draws the face and
``phantom_motion`` moves it; this module makes the clips. NaME has no preset: what it holds is unpublished.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from stagkit.config import PhantomConfig
from stagkit.facs import AUCode
from stagkit.phantom_face import Face, draw_face, render_neutral, render_picture
from stagkit.phantom_motion import (
    compute_au_displacement,
    compute_coactivation,
    compute_inverse,
    make_au_field,
    make_grid,
    make_head_motion,
    make_intensity,
)
from stagkit.phantom_programme import MAX_FRAMES, PRESETS, Preset, make_programme
from stagkit.phantom_subject import Subject, make_subject
from stagkit.types import Clip, StagkitError, Truth, inter_ocular_distance

__all__ = [
    "MAX_FRAMES",
    "PRESETS",
    "Preset",
    "Subject",
    "make_au_field",
    "make_cast",
    "make_clip",
    "make_clips",
    "make_label",
    "make_programme",
    "make_subject",
    "render_neutral",
]


def _rng(config: PhantomConfig, *place: int | str) -> np.random.Generator:
    """A source of chance of its own for each part of each clip."""
    words = [zlib.crc32(str(p).encode()) for p in (config.preset, *place)]
    return np.random.default_rng([config.seed, *words])


def make_label(config: PhantomConfig, subject: int, clip: int) -> str:
    """Class of a clip: each subject shows all classes once, in random order, then all again, and so on."""
    classes = PRESETS[config.preset].classes
    order = _rng(config, "labels", subject, clip // len(classes)).permutation(len(classes))
    return classes[order[clip % len(classes)]]


def make_cast(config: PhantomConfig, subject: int) -> Subject:
    """The person behind a subject number (0-based); another preset or seed has other people."""
    return make_subject(int(_rng(config, "subject", subject).integers(2**31)))


def make_clip(config: PhantomConfig, subject: int, clip: int) -> Clip:
    """One phantom clip: the same whatever other clips are made, and in whatever order.

    Args:
        config: see ``PhantomConfig``.
        subject: 0-based, below ``config.subjects``.
        clip: 0-based, below ``config.clips``.

    Returns:
        A ``Clip`` of ``config.size`` px: uint8 frames (RGB or grey as in the set), landmarks of every frame (carried
        by the planted motion and the head; blinks do not move them), 0-based onset, apex and offset, and ``truth``.
        At difficulty 0 there is nothing but the planted motion: no noise, head motion, blinks or flicker.

    Raises:
        StagkitError: a subject or clip number outside the configuration.

    Example:
        >>> clip = make_clip(PhantomConfig(preset="4dme", size=64, difficulty=0), subject=0, clip=0)
        >>> clip.frames.shape[1:], bool((clip.frames[clip.onset] == clip.truth.neutral).all())
        ((64, 64), True)
    """
    for name, value, count in (("subject", subject, config.subjects), ("clip", clip, config.clips)):
        if not 0 <= value < count:
            raise StagkitError(f"{name} {value} was asked for, expected 0 to {count - 1}: PhantomConfig has {count}.")
    preset = PRESETS[config.preset]
    label = make_label(config, subject, clip)
    _, programme = make_programme(preset, label, config.difficulty, _rng(config, "programme", subject, clip))
    fps = float(_rng(config, "fps", subject).choice(preset.fps))
    rng = _rng(config, "motion", subject, clip)
    intensity, onset, offset = _make_course(preset, fps, len(programme), rng)
    face = draw_face(make_cast(config, subject), config.size)
    face = face if preset.colour else face.grey
    fields = np.stack([make_au_field(n, s, face.landmarks, face.size) for n, s in programme])
    peaks = _limit_strain(fields, _draw_peaks(preset, config.difficulty, len(programme), rng))
    fields *= peaks[:, None, None, None].astype(np.float32)
    cheat = config.confounder if label == preset.confounded and config.confounder != "none" else ""
    frames, truth = _film(face, preset, config.difficulty, fps, programme, peaks, fields, intensity, cheat, rng)
    still = face.landmarks
    moves = [compute_au_displacement(n, s, still, still, p) for (n, s), p in zip(programme, peaks, strict=True)]
    points = still + np.tensordot(intensity, np.stack(moves), axes=1)
    landmarks = np.einsum("tij,tnj->tni", truth.head[:, :, :2], points) + truth.head[:, None, :, 2]
    return Clip(
        frames=frames,
        fps=fps,
        clip_id=f"sub{subject + 1:02d}_{clip + 1:03d}",
        subject=f"{preset.name}-phantom/sub{subject + 1:02d}",
        dataset=f"{preset.name}-phantom",
        label=label,
        landmarks=landmarks,
        onset=onset,
        apex=int((intensity * peaks).sum(1).argmax()),
        offset=offset,
        aus=tuple(AUCode(n, s) for n, s in programme) if preset.coded else None,
        truth=truth,
    )


def make_clips(config: PhantomConfig) -> Iterator[Clip]:
    """All clips of a configuration, subject by subject, made as they are asked for."""
    for subject in range(config.subjects):
        for clip in range(config.clips):
            yield make_clip(config, subject, clip)


def _make_course(preset: Preset, fps: float, n_aus: int, rng: np.random.Generator) -> tuple[np.ndarray, int, int]:
    """Intensity "time au" of every AU, onset frame, offset frame."""
    before, after = rng.integers(2, 6), rng.integers(2, 6)
    typical = min(preset.duration[0] * fps, 0.75 * MAX_FRAMES)  # fast cameras: shortened, so that clips stay cheap
    length = int(np.clip(typical * np.exp(preset.duration[1] * rng.normal()), 8, MAX_FRAMES - 1 - before - after))
    onset, offset = int(before), int(before + length)
    middle = np.clip(rng.normal(*preset.apex), 0.28, 0.72) * length
    spread = np.clip(rng.normal(0, 0.022, n_aus), -0.045, 0.045) * fps
    apexes = onset + np.clip(np.round(middle + spread), 3, length - 3).astype(int)
    starts = onset + rng.uniform(0, 0.25, n_aus) * (apexes - onset)
    ends = offset - rng.uniform(0, 0.25, n_aus) * (offset - apexes)
    starts[starts.argmin()], ends[ends.argmax()] = onset, offset
    skews = rng.uniform(0.8, 1.4, n_aus)
    curves = [make_intensity(offset + after + 1, *c) for c in zip(starts, apexes, ends, skews, strict=True)]
    return np.stack(curves, -1), onset, offset


def _draw_peaks(preset: Preset, difficulty: float, n_aus: int, rng: np.random.Generator) -> np.ndarray:
    """Peak displacement of every AU, % of IOD: one leads, the others follow at 55-100 % of it."""
    low, high = preset.intensity
    lead = low + (high - low) * rng.random() ** (0.4 + difficulty)
    share = rng.uniform(0.55, 1.0, n_aus)
    return np.maximum(low, lead * share / share.max())


def _limit_strain(fields: np.ndarray, peaks: np.ndarray, most: float = 0.7) -> np.ndarray:
    """The same peaks, all lowered where the AUs could together strain the skin by ``most``: below 1 it never folds."""
    slopes = np.stack(np.gradient(fields, axis=(2, 3)))  # "axis au chan y x" at a peak of 1 % of IOD
    strain = np.tensordot(peaks, np.sqrt((slopes**2).sum((0, 2))), axes=1).max()
    return peaks * min(1.0, most / max(strain, 1e-9))


def _film(face, preset, difficulty, fps, programme, peaks, fields, intensity, cheat, rng) -> tuple[np.ndarray, Truth]:
    """Render every frame and write down what was planted."""
    size, n_frames = face.size, len(intensity)
    planted = zip(programme, peaks, strict=True)
    fine = np.stack([make_au_field(n, s, face.landmarks, size, p, per_pixel=2) for (n, s), p in planted])
    head = make_head_motion(n_frames, face.landmarks, rng, *(difficulty * np.array([1.4, 0.35, 0.3])))
    gain = _make_light(n_frames, fps, difficulty * preset.flicker, rng)
    gaze, closed = _make_glances(n_frames, fps, difficulty, rng)
    ramp = np.linspace(0.0, 1.0, n_frames) ** 2 * (3.0 - 2.0 * np.linspace(0.0, 1.0, n_frames))
    if cheat == "head shift":
        head[:, 0, 2] += ramp * 0.04 * inter_ocular_distance(face.landmarks)
    elif cheat == "brightness":
        gain = gain * (1.0 + 0.10 * ramp)

    grid = make_grid(size).astype(np.float32)
    neutral = render_picture(face, grid, grid)
    pictures = np.empty((n_frames, *neutral.shape), np.float32)
    moved, eyes, last = np.zeros_like(grid), face.open_eyes, (0.0, 0.0, 0.0)
    for t in range(n_frames):
        moves, turns = intensity[t].any(), not np.array_equal(head[t], np.eye(2, 3))
        if not (moves or turns or gaze[t].any() or closed[t] > 0):
            pictures[t] = neutral
            continue
        targets = _invert_affine(head[t], grid) if turns else grid
        sources = targets
        if moves:
            field = np.tensordot(intensity[t].astype(np.float32), fine, axes=1)
            sources = compute_inverse(field, targets, moved)
            moved = targets - sources
        glance = (*gaze[t], closed[t])
        if glance != last:
            eyes, last = face.draw_eyes(gaze[t], closed[t]), glance
        pictures[t] = render_picture(face, sources, targets, eyes)

    truth = Truth(
        codes=tuple(str(AUCode(n, s)) for n, s in programme),
        au_intensity=intensity,
        fields=fields,
        head=head,
        visible=_find_visible(face, closed),
        coactivation=compute_coactivation(intensity),
        neutral=np.round(neutral).astype(np.uint8),
        confounder=cheat,
    )
    pictures *= gain.astype(np.float32).reshape(-1, *[1] * neutral.ndim)
    return _expose(pictures, preset, difficulty, rng), truth


def _invert_affine(matrix: np.ndarray, grid: np.ndarray) -> np.ndarray:
    """Where the points of ``grid`` were before the head moved: float32 "y x 2"."""
    inverse = np.linalg.inv(matrix[:, :2])
    return ((grid - matrix[:, 2].astype(np.float32)) @ inverse.T.astype(np.float32)).astype(np.float32)


def _make_light(n_frames: int, fps: float, percent: float, rng: np.random.Generator) -> np.ndarray:
    """Brightness of each frame: a slow drift and the beat of the mains with the shutter; 1 where ``percent`` is 0."""
    t = np.arange(n_frames) / fps
    slow, beat = rng.uniform(0.5, 2.0), rng.uniform(4.0, 12.0)
    wave = np.sin(2 * np.pi * (slow * t + rng.random())) + 0.5 * np.sin(2 * np.pi * (beat * t + rng.random()))
    return 1.0 + percent / 100 * (wave - wave[0])


def _make_glances(n_frames: int, fps: float, difficulty: float, rng: np.random.Generator):
    """Gaze "time 2" (IOD) and closure of the eyes "time" (0..1): now and then a glance or a blink."""
    gaze, closed = np.zeros((n_frames, 2)), np.zeros(n_frames)
    looks, blinks = rng.random(2) < difficulty * np.array([0.5, 0.25])
    start, angle, reach = rng.uniform(0.1, 0.7), rng.normal(0, 0.3), rng.choice([-1, 1]) * rng.uniform(0.012, 0.035)
    t = (np.arange(n_frames) - start * n_frames) / fps
    if looks:
        jump = np.clip(t / 0.03, 0, 1)  # a saccade takes about 30 ms
        gaze = (jump * jump * (3 - 2 * jump))[:, None] * reach * np.array([np.cos(angle), 0.5 * np.sin(angle)])
    if blinks:
        start = rng.uniform(-0.3, 0.9)
        t = (np.arange(n_frames) - start * n_frames) / fps
        closed = np.where(t < 0.08, t / 0.08, 1 - (t - 0.08) / 0.16).clip(0, 1)  # 80 ms down, 160 ms up
        closed = closed * closed * (3 - 2 * closed)
    return gaze, closed


def _find_visible(face: Face, closed: np.ndarray) -> np.ndarray:
    """Bool "time y x" in the neutral face: False in the openings of the eyes, and around them during a blink."""
    opening = (face.eye_opening > 0.02).astype(np.uint8)
    reach = max(1, round(0.04 * inter_ocular_distance(face.landmarks)))
    around = cv2.dilate(opening, np.ones((2 * reach + 1,) * 2, np.uint8))
    return ~np.where((closed > 0.02)[:, None, None], around[None], opening[None]).astype(bool)


def _expose(pictures: np.ndarray, preset: Preset, difficulty: float, rng: np.random.Generator) -> np.ndarray:
    """From light to released frames: lens blur, sensor noise, rounding, JPEG. Only rounding at difficulty 0."""
    if difficulty > 0:
        sigma = 0.2 + difficulty * rng.uniform(0.0, 0.4)
        for picture in pictures:
            cv2.GaussianBlur(picture, (0, 0), sigma, dst=picture)
        grain = rng.standard_normal(pictures.shape, dtype=np.float32) * np.float32(difficulty * preset.noise)
        pictures += grain * np.sqrt(0.3 + np.clip(pictures, 0, None) / 180)  # more light, more shot noise
    frames = np.clip(np.round(pictures), 0, 255).astype(np.uint8)
    if difficulty > 0 and preset.jpeg:
        quality = [cv2.IMWRITE_JPEG_QUALITY, round(100 - difficulty * (100 - preset.jpeg))]
        for t, frame in enumerate(frames):
            code = cv2.imencode(".jpg", frame[..., ::-1] if frame.ndim == 3 else frame, quality)[1]
            picture = cv2.imdecode(code, cv2.IMREAD_UNCHANGED)
            frames[t] = picture[..., ::-1] if frame.ndim == 3 else picture
    return frames
