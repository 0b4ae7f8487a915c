"""Phantom clips: synthetic faces with planted action units (AUs), which need no licence and whose truth is known.

A phantom imitates a data set in frame rate, classes, colour, size and duration of the motion, and noise; it shows no real
person. ``presets`` has the AUs, ``identity`` the faces, ``skin_motion`` their motion, ``render`` draws them.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from stagkit.core.facs import AU_NUMBERS, AUCode
from stagkit.core.types import Clip, StagkitError, check_axes, inter_ocular_distance
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.identity import Subject, make_subject
from stagkit.synthetic.occlusion import find_hidden
from stagkit.synthetic.presets import (
    MAX_FRAMES,
    PRESETS,
    STRENGTH,
    Preset,
    compute_excess,
    sample_au_pattern,
    sample_faint_au,
)
from stagkit.synthetic.relations import (
    N_COURSES,
    RELATIONS,
    find_preset,
    make_ordered_courses,
    make_planted_graph,
    sample_relation,
    sample_synkinesis,
)
from stagkit.synthetic.render.face import draw_face
from stagkit.synthetic.render.frames import ClipSpec, find_visible, render_frames, simulate_sensor
from stagkit.synthetic.skin_motion import (
    Habits,
    IncidentalMotion,
    compute_au_displacement,
    compute_coactivation,
    make_habits,
    make_head_motion,
    make_illumination,
    make_incidental_motion,
    make_intensity,
)


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
        neutral: uint8 "y x" (or "y x chan"), without noise; confounder: its name, '' if none.
        relation: the relation of AUs that is shown (``relations`` phantoms: the name of a class), '' if none.
        graph: float "au au" over ``facs.AU_NUMBERS``, 1 for planted AU pairs (``relations.make_planted_graph``), or None.
        hidden: names of the regions that an occlusion hides.
    """

    codes: tuple[str, ...]
    au_intensity: np.ndarray
    fields: np.ndarray
    head: np.ndarray
    visible: np.ndarray
    coactivation: np.ndarray
    neutral: np.ndarray
    confounder: str = ""
    relation: str = ""
    graph: np.ndarray | None = None
    hidden: tuple[str, ...] = ()

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


def _rng(config: PhantomConfig, *place: int | str) -> np.random.Generator:
    """An independent generator for each part of each clip."""
    words = [zlib.crc32(str(p).encode()) for p in (config.preset, *place)]
    return np.random.default_rng([config.seed, *words])


def make_label(config: PhantomConfig, subject: int, clip: int) -> str:
    """Class of a clip: each subject shows all classes once in random order, then again."""
    classes = find_preset(config).classes
    order = _rng(config, "labels", subject, clip // len(classes)).permutation(len(classes))
    return classes[order[clip % len(classes)]]


def sample_identity(config: PhantomConfig, subject: int) -> Subject:
    """The identity of a subject number (0-based); another preset or seed has others."""
    return make_subject(int(_rng(config, "subject", subject).integers(2**31)))


@dataclass(frozen=True)
class ClipMotion:
    """What moves in a clip, before anything is drawn.

    Args:
        subject: the identity; names: ``clip_id``, ``subject``, ``dataset`` and ``label`` of the clip.
        pattern: (number, side) of each AU, those that coders annotate first; n_coded: how many these are.
        coded: the data set annotates AUs.
        fps: frames per second; onset, offset: frames.
        peaks: float "au", largest displacement, % of IOD; intensity: float "time au", 0..1, 1 = the peak.
        head: float "time 2 3", affine head motion in px of an image of ``size`` px.
        gain: float "time", brightness; incidental: eyes and neck; confounder, relation: as in ``Truth``.
    """

    subject: Subject
    names: dict[str, str]
    pattern: tuple[tuple[int, str], ...]
    n_coded: int
    coded: bool
    fps: float
    onset: int
    offset: int
    peaks: np.ndarray
    intensity: np.ndarray
    head: np.ndarray
    gain: np.ndarray
    incidental: IncidentalMotion
    size: int
    confounder: str = ""
    relation: str = ""

    @property
    def coded_aus(self) -> tuple[AUCode, ...] | None:
        """The annotated AUs; None where the data set has none."""
        return tuple(AUCode(*au) for au in self.pattern[: self.n_coded]) if self.coded else None


def sample_motion(config: PhantomConfig, subject: int, clip: int) -> tuple[ClipMotion, np.random.Generator]:
    """Sample the motion of one clip; also the generator with which its frames continue.

    Args:
        subject, clip: 0-based, below ``config.subjects`` and ``config.clips``.

    Raises:
        StagkitError: a subject or clip number outside the configuration.
    """
    for name, value, count in (("subject", subject, config.subjects), ("clip", clip, config.clips)):
        if not 0 <= value < count:
            raise StagkitError(f"{name} {value} was asked for, expected 0 to {count - 1}: PhantomConfig has {count}.")
    preset, difficulty = find_preset(config), config.difficulty
    label = make_label(config, subject, clip)
    habits = make_habits(difficulty, _rng(config, "habits", subject))
    rng = _rng(config, "programme", subject, clip)  # the word is part of the seed
    relation, coded, slots, n_slots = _sample_coded(config, label, rng, habits.left)
    related = tuple((n, "") for pair in RELATIONS[config.relation][0] for n in pair) if relation else ()
    faint = sample_faint_au(preset, coded + related, difficulty, rng)
    pattern, slots = coded + faint, [*slots, *range(n_slots, n_slots + len(faint))]
    fps = float(_rng(config, "fps", subject).choice(preset.fps))
    rng = _rng(config, "motion", subject, clip)
    spread = 3.0 if config.preset == "synkinesis" else 1.0
    intensity, onset, offset = _make_time_courses(preset, fps, n_slots + len(faint), difficulty, rng, spread)
    if relation and config.relation == "order":
        first = RELATIONS["order"][1].index(relation)
        intensity[:, :2] = make_ordered_courses(len(intensity), onset, offset, first, rng)
    intensity = intensity[:, slots]
    identity = sample_identity(config, subject)
    peaks = _draw_peaks(preset, difficulty, pattern, len(coded), habits, rng, bool(relation))
    confounder = config.confounder if label == preset.classes[0] and config.confounder != "none" else ""
    head, gain = _make_head(identity.landmarks(config.size), len(intensity), difficulty, confounder, rng)
    gain = gain * make_illumination(len(intensity), fps, difficulty * preset.flicker, rng)
    incidental = make_incidental_motion(len(intensity), fps, difficulty, habits, rng)
    names = {
        "clip_id": f"sub{subject + 1:02d}_{clip + 1:03d}",
        "subject": f"{preset.name}-phantom/sub{subject + 1:02d}",
        "dataset": f"{preset.name}-phantom",
        "label": label,
    }
    timing, rest = (
        (preset.coded, fps, onset, offset),
        (peaks, intensity, head, gain, incidental, config.size, confounder, relation),
    )
    return ClipMotion(identity, names, pattern, len(coded), *timing, *rest), rng


def _sample_coded(config: PhantomConfig, label: str, rng: np.random.Generator, left: float) -> tuple:
    """The relation shown, annotated (number, side), which time course each has, and the number of time courses."""
    if config.preset == "relations":
        return *sample_relation(config, label, rng), N_COURSES
    if config.preset == "synkinesis":
        coded, slots = sample_synkinesis(config, label, rng, left)
        return "", coded, slots, max(slots) + 1
    _, coded = sample_au_pattern(PRESETS[config.preset], label, config.difficulty, rng, left)
    return "", coded, range(len(coded)), len(coded)


def make_clip(config: PhantomConfig, subject: int, clip: int, render: bool = True) -> Clip:
    """One phantom clip, independent of which other clips are made.

    Args:
        subject, clip: 0-based, below ``config.subjects`` and ``config.clips``.
        render: False leaves the frames blank: truth and landmarks alone, much faster.

    Returns:
        A ``Clip`` with ``truth``: frames RGB or grey as in the data set, landmarks moved by AUs and head, not by blinks. At
        difficulty 0 nothing but the planted motion: no noise, head motion, blinks or flicker.

    Raises:
        StagkitError: a subject or clip number outside the configuration.

    Example:
        >>> clip = make_clip(PhantomConfig(preset="4dme", size=64, difficulty=0), subject=0, clip=0)
        >>> clip.frames.shape[1:], bool((clip.frames[clip.onset] == clip.truth.neutral).all())
        ((64, 64), True)
    """
    preset, difficulty = find_preset(config), config.difficulty
    motion, rng = sample_motion(config, subject, clip)
    pattern, intensity, confounder = motion.pattern, motion.intensity, motion.confounder
    face = draw_face(motion.subject, config.size)
    face = face if preset.colour else face.grey
    mark = confounder == "background mark"
    names = motion.names["subject"], motion.names["clip_id"]
    hidden = find_hidden(config.occlusion, config.occluded, config.seed, *names)
    setting = (motion.head, motion.incidental, difficulty, config.occlusion, mark, hidden)
    spec = ClipSpec(face, pattern, motion.peaks, intensity, *setting)
    peaks = limit_strain(spec.fields / motion.peaks[:, None, None, None], motion.peaks)
    spec = replace(spec, peaks=peaks)
    if render:
        neutral, images = render_frames(spec)
        frames = simulate_sensor(images, motion.gain, preset, difficulty, rng)
    else:
        neutral = np.zeros((config.size, config.size, 3)[: 2 + preset.colour])
        frames = np.zeros((len(intensity), *neutral.shape), np.uint8)
    graph = make_planted_graph(config)
    truth = Truth(
        codes=tuple(str(AUCode(n, s)) for n, s in pattern),
        au_intensity=intensity,
        fields=spec.fields,
        head=motion.head,
        visible=find_visible(spec),
        coactivation=compute_coactivation(intensity),
        neutral=np.clip(np.round(neutral), 0, 255).astype(np.uint8),
        confounder=confounder,
        relation=motion.relation,
        graph=graph.astype(float) if graph.any() else None,
        hidden=hidden,
    )
    moves = np.stack([_move_landmarks(face.subject, config.size, n, s) for n, s in pattern]) * peaks[:, None, None]
    points = face.landmarks + np.tensordot(intensity, moves, axes=1)
    return Clip(
        frames=frames,
        fps=motion.fps,
        **motion.names,
        landmarks=np.einsum("tij,tnj->tni", motion.head[:, :, :2], points) + motion.head[:, None, :, 2],
        onset=motion.onset,
        apex=int((intensity * peaks).sum(1).argmax()),
        offset=motion.offset,
        aus=motion.coded_aus,
        truth=truth,
    )


@lru_cache(maxsize=512)
def _move_landmarks(subject: Subject, size: int, number: int, side: str) -> np.ndarray:
    """Displacement of the landmarks "68 2" px by an AU with a peak of 1 % of IOD."""
    landmarks = subject.landmarks(size)
    return compute_au_displacement(number, side, landmarks, landmarks)


def make_clips(config: PhantomConfig) -> Iterator[Clip]:
    """All clips of a configuration, subject by subject, made on demand."""
    for subject in range(config.subjects):
        for clip in range(config.clips):
            yield make_clip(config, subject, clip)


def _make_time_courses(
    preset: Preset, fps: float, n_aus: int, difficulty: float, rng: np.random.Generator, spread: float = 1.0
) -> tuple[np.ndarray, int, int]:
    """Intensity "time au", onset frame, offset frame; the onset is never the first frame. ``spread``: of the peaks."""
    before, after = rng.integers(2, 6, size=2) + np.round(difficulty * rng.uniform(0, 4, size=2)).astype(int)
    typical = min(preset.duration[0] * fps, 0.75 * MAX_FRAMES)  # fast cameras: shortened, so that clips stay cheap
    length = int(np.clip(typical * np.exp(preset.duration[1] * rng.normal()), 8, MAX_FRAMES - 1 - before - after))
    onset, offset = int(before), int(before + length)
    middle = np.clip(rng.normal(*preset.apex), 0.25, 0.75) * length
    shift = np.clip(rng.normal(0, 0.022, n_aus), -0.045, 0.045) * fps * spread
    apexes = onset + np.clip(np.round(middle + shift), 3, length - 3).astype(int)
    starts = onset + rng.uniform(0, 0.25, n_aus) * (apexes - onset)
    ends = offset - rng.uniform(0, 0.25, n_aus) * (offset - apexes)
    starts[starts.argmin()], ends[ends.argmax()] = onset, offset
    skews = rng.uniform(0.8, 1.4, n_aus)
    curves = [make_intensity(offset + int(after) + 1, *c) for c in zip(starts, apexes, ends, skews, strict=True)]
    return np.stack(curves, -1), onset, offset


def _draw_peaks(
    preset: Preset,
    difficulty: float,
    pattern: tuple,
    n_coded: int,
    habits: Habits,
    rng: np.random.Generator,
    independent: bool = False,
) -> np.ndarray:
    """Peak displacement "au", % of IOD: one AU leads, others reach 55-100 % of it (lids less), faint ones 30-55 %.

    ``independent``: no peak depends on which other AUs there are.
    """
    # beyond the default difficulty motion shrinks, to a half at difficulty 1
    low, high = (max(0.3, edge * (1 - 0.5 * compute_excess(difficulty))) for edge in preset.intensity)
    lead = low + (high - low) * rng.random() ** (0.4 + difficulty)
    which = [AU_NUMBERS.index(number) for number, _ in pattern]
    share = rng.uniform(0.55, 1.0, len(pattern)) * habits.gain[which] * STRENGTH[which] ** difficulty
    share = share if independent else share / share[:n_coded].max()
    share[n_coded:] = rng.uniform(0.30, 0.55, len(pattern) - n_coded)
    return np.maximum(low, lead * share)


def limit_strain(fields: np.ndarray, peaks: np.ndarray, most: float = 0.7) -> np.ndarray:
    """The peaks, lowered together so that the strain of the skin stays below ``most`` (at 1 it can fold)."""
    gradients = np.stack(np.gradient(fields, axis=(2, 3)))  # "axis au chan y x" at a peak of 1 % of IOD
    strain = np.tensordot(peaks, np.sqrt((gradients**2).sum((0, 2))), axes=1).max()
    return peaks * min(1.0, most / max(strain, 1e-9))


def _make_head(
    landmarks: np.ndarray, n_frames: int, difficulty: float, confounder: str, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Head motion "time 2 3" and brightness "time", with the confounder."""
    head = make_head_motion(n_frames, landmarks, rng, *(difficulty * np.array([1.4, 0.35, 0.3])))
    t = np.linspace(0.0, 1.0, n_frames)
    ramp = t**2 * (3.0 - 2.0 * t)
    if confounder == "head shift":
        head[:, 0, 2] += ramp * 0.04 * inter_ocular_distance(landmarks)
    return head, 1.0 + 0.10 * ramp * (confounder == "brightness")
