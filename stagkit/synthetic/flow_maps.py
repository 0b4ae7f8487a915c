"""Phantom flow maps: onset-apex flow made from the AUs alone, without images.

The fields are those of phantom faces in the frame of the published maps, disturbed as estimated flow is. Their sizes were
tuned on the maps of CASME II and SMIC, so scores on these two sets are slightly optimistic (BENCHMARKS.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_NUMBERS
from stagkit.core.types import StagkitError
from stagkit.datasets.flow_maps import CLASSES, MAP_FRAME
from stagkit.synthetic.identity import EYES, make_shape
from stagkit.synthetic.presets import PRESETS, STRENGTH, sample_au_pattern
from stagkit.synthetic.skin_motion import compute_au_patches, make_blur

SIZE = 28
_SIDES = ("R", "L")
_FACES = 48  # shapes that are drawn once per process and shared by all phantom subjects
_BLOCK = 1024


@dataclass(frozen=True)
class PhantomMaps:
    """Flow maps with their ground truth.

    Args:
        flow: uint8 "clip y x chan", chan = (u, v, strain), each scaled to 0..255 per map.
        label: int64 "clip", position in ``CLASSES``; aus: str "clip", AU codes, e.g. ``4+L12``.
        subject, dataset, clip: str "clip"; subjects are unique within ``dataset``, e.g. ``casme2-phantom``.
        au_intensity: float32 "clip au side", au as ``facs.AU_NUMBERS``, side = (R, L) of the subject; 0 = absent, 1 = the
            strongest AU of the clip. Midline AUs have equal sides.
    """

    flow: np.ndarray
    label: np.ndarray
    subject: np.ndarray
    dataset: np.ndarray
    clip: np.ndarray
    aus: np.ndarray
    au_intensity: np.ndarray


def make_maps(
    n_clips: int, seed: int = 0, preset: str = "casme2", clips_per_subject: int = 8, difficulty: float = 1.0
) -> PhantomMaps:
    """Flow maps of phantoms, thousands per second; the classes follow each other in turn.

    Args:
        seed: the same seed gives the same bytes; another one other subjects.
        preset: whose AU statistics: ``casme2``, ``samm`` or ``smic`` (those with the three MEGC2019 classes).
        difficulty: 0 unambiguous AU patterns, undisturbed motion .. 1 real statistics and disturbances.

    Raises:
        StagkitError: a preset without the three classes, or no clips.

    Example:
        >>> maps = make_maps(6, seed=1)
        >>> maps.flow.shape, sorted(set(maps.label.tolist()))
        ((6, 28, 28, 3), [0, 1, 2])
    """
    if preset not in PRESETS or set(PRESETS[preset].classes) != set(CLASSES):
        able = ", ".join(n for n, p in PRESETS.items() if set(p.classes) == set(CLASSES))
        raise StagkitError(f"`preset` is {preset!r}, expected one with the classes of the published maps: {able}.")
    if n_clips < 1 or clips_per_subject < 1:
        raise StagkitError(f"{n_clips} maps, {clips_per_subject} per subject: expected 1 or more of each.")
    starts = range(0, n_clips, _BLOCK)
    parts = [_make_block(min(_BLOCK, n_clips - s), s, seed, preset, clips_per_subject, difficulty) for s in starts]
    return PhantomMaps(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _make_block(n: int, start: int, seed: int, preset: str, per_subject: int, difficulty: float) -> tuple:
    """Maps ``start`` to ``start + n`` of a set."""
    who = (start + np.arange(n)) // per_subject
    rng = np.random.default_rng([seed, start, *preset.encode()])
    label = ((start + np.arange(n)) % len(CLASSES)).astype(np.int64)
    sided, codes = _sample_patterns(preset, label, difficulty, rng)
    lead = (STRENGTH * np.exp(0.35 * rng.normal(size=sided.shape[:2])))[..., None] * sided
    shown = (lead / lead.max((1, 2), keepdims=True)).astype(np.float32)
    habits = _sample_habits(seed, preset, who)
    faces = (who * 7 + seed * 13) % _FACES
    flow = _move(shown * habits[0], faces)
    if difficulty > 0:
        flow = _disturb(flow, faces, habits[1], difficulty * PRESETS[preset].noise / 3.0, rng)
    names = np.array([f"sub{w + 1:03d}" for w in who])
    clips = np.array([f"{start + i + 1:05d}" for i in range(n)])
    dataset = np.full(n, f"{preset}-phantom")
    return normalize_per_map(add_strain(flow, rng, difficulty)), label, names, dataset, clips, codes, shown


@lru_cache(maxsize=64)
def _make_pattern_pool(preset: str, label: str, difficulty: float, n: int = 512) -> tuple[np.ndarray, np.ndarray]:
    """AU patterns: float32 "draw au side" of 0 and 1, and their codes as text."""
    rng = np.random.default_rng([n, *label.encode(), *preset.encode()])
    sided, codes = np.zeros((n, len(AU_NUMBERS), 2), np.float32), []
    for i in range(n):
        _, pattern = sample_au_pattern(PRESETS[preset], label, difficulty, rng)
        for number, side in pattern:
            sided[i, AU_NUMBERS.index(number), [_SIDES.index(side)] if side else [0, 1]] = 1
        codes.append("+".join(f"{side}{number}" for number, side in pattern))
    return sided, np.array(codes)


def _sample_patterns(preset: str, label: np.ndarray, difficulty: float, rng: np.random.Generator):
    sided, codes = np.zeros((len(label), len(AU_NUMBERS), 2), np.float32), np.empty(len(label), "<U24")
    for k, name in enumerate(CLASSES):
        pool, words = _make_pattern_pool(preset, name, difficulty)
        at, draw = np.flatnonzero(label == k), rng.integers(len(pool), size=(label == k).sum())
        sided[at], codes[at] = pool[draw], words[draw]
    return sided, codes


def _sample_habits(seed: int, preset: str, who: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gain of each AU and side of the clip's subject "clip au side", and how much the subject blinks "clip"."""
    gain, blink = np.empty((len(who), len(AU_NUMBERS), 2), np.float32), np.empty(len(who), np.float32)
    for subject in np.unique(who):
        rng = np.random.default_rng([seed, 77, int(subject), *preset.encode()])
        own_gain, side_gain = rng.normal(size=(len(AU_NUMBERS), 1)), rng.normal(size=(len(AU_NUMBERS), 2))
        gain[who == subject] = np.exp(0.25 * own_gain + 0.15 * side_gain)
        blink[who == subject] = np.exp(0.6 * rng.normal())
    return gain, blink


@lru_cache(maxsize=_FACES)
def _draw_face(number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Fields "au side chan y x" of one shape, its lids "eye y x", relief "y x", and gain of the flow error "y x"."""
    shape = make_shape(np.random.default_rng([number, 0x5A9E]))
    y, x = np.mgrid[:SIZE, :SIZE].astype(float)
    crop = np.random.default_rng([number, 0xC40B]).normal(size=4) * (0.9, 0.9, 0.06, 0.06)  # crops differ a little
    x, y = x - crop[0], y - crop[1]
    points = np.stack([(x - 13.5) / MAP_FRAME[0, 0], (y - 13.5) / MAP_FRAME[1, 1]], -1) * np.exp(crop[2:])
    points += (13.5 - MAP_FRAME[:, 2]) / np.diag(MAP_FRAME)
    fields = np.zeros((len(AU_NUMBERS), 2, 2, SIZE, SIZE), np.float32)
    for k, (number, unit) in enumerate(ACTION_UNITS.items()):
        sides = [compute_au_patches(number, s, shape, points) for s in (_SIDES if unit.sided else ("",))]
        halves = sides if unit.sided else [sides[0] / 2, sides[0] / 2]
        largest = np.linalg.norm(sum(halves), axis=-1).max()
        fields[k] = np.moveaxis(np.stack(halves), -1, 1) / largest
    lids = []
    for eye in EYES:
        centre, width = shape[list(eye)].mean(0), np.ptp(shape[list(eye)][:, 0])
        dx, dy = (points[..., 0] - centre[0]) / (0.55 * width), (points[..., 1] - centre[1] + 0.01) / 0.075
        lids.append(np.exp(-0.5 * (dx**2 * 1.6 + dy**2 * 1.2)))
    nose = shape[30]
    along = np.clip((points[..., 1] + 0.1) / (nose[1] + 0.1), 0, 1)
    relief = along * np.exp(-0.5 * (points[..., 0] / (0.05 + 0.06 * along)) ** 2) * (points[..., 1] < nose[1] + 0.08)
    relief = 0.6 * relief + 0.6 * np.clip(1 - (points[..., 0] / 0.95) ** 2, 0, 1) ** 0.7
    ring = np.hypot(points[..., 0], 0.75 * (points[..., 1] - 0.35))
    error_gain = 0.3 + 0.7 * np.clip(2.5 * (ring - 0.2), 0, 1)
    for place, width, height in ((19, 0.2, 0.09), (24, 0.2, 0.09), (48, 0.11, 0.16), (54, 0.11, 0.16), (8, 0.2, 0.1)):
        dx, dy = points[..., 0] - shape[place, 0], points[..., 1] - shape[place, 1]
        error_gain += 0.7 * np.exp(-0.5 * ((dx / width) ** 2 + (dy / height) ** 2))
    error_gain += 0.9 * sum(lids)
    return fields, np.stack(lids).astype(np.float32), relief.astype(np.float32), error_gain.astype(np.float32)


def _move(shown: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Displacement of the skin "clip chan y x", 1 = peak of the strongest AU."""
    flow = np.empty((len(shown), 2, SIZE, SIZE), np.float32)
    for face in np.unique(faces):
        fields, mine = _draw_face(int(face))[0], faces == face
        flow[mine] = np.tensordot(shown[mine], fields, axes=2)
    return flow


def _smooth(sigma_x: float, sigma_y: float, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Smooth noise of unit variance with features of these widths, px: float32 ``shape`` (... y x)."""
    white = rng.standard_normal(shape, dtype=np.float32)
    return make_blur(SIZE, SIZE, sigma_y) @ white @ make_blur(SIZE, SIZE, sigma_x).T


def _disturb(flow, faces, blinks, difficulty, rng) -> np.ndarray:
    """Add other motion between onset and apex, and errors of flow estimation."""
    n = len(flow)

    def size(typical: float, spread: float) -> np.ndarray:
        return (difficulty * typical * np.exp(spread * rng.normal(size=(n, 1, 1, 1)))).astype(np.float32)

    lids, relief, error_gain = (np.stack([_draw_face(int(f))[i] for f in faces]) for i in (1, 2, 3))
    y, x = (np.mgrid[:SIZE, :SIZE].astype(np.float32) - 13.5) / 14
    out = flow.copy()
    # lids: partly closing or opening between onset and apex; both eyes nearly alike
    closing = size(0.5, 0.9) * blinks[:, None, None, None] * rng.choice([1, -0.7], (n, 1, 1, 1), p=(0.6, 0.4))
    closing = closing * (rng.random((n, 1, 1, 1)) < 0.6)
    eyes = lids * (1 + 0.25 * rng.normal(size=(n, 2, 1, 1)))
    out[:, 1] += (closing * eyes).sum(1)
    gaze = size(0.12, 0.8) * rng.choice([-1, 1], (n, 1, 1, 1)) * (rng.random((n, 1, 1, 1)) < 0.4)
    out[:, 0] += (gaze * lids).sum(1)
    # head: what is left of turning, nodding, rolling and coming nearer after alignment
    turn, nod = size(0.12, 0.7) * rng.normal(size=(n, 1, 1, 1)), size(0.12, 0.7) * rng.normal(size=(n, 1, 1, 1))
    roll, near = size(0.08, 0.7) * rng.normal(size=(n, 1, 1, 1)), size(0.06, 0.7) * rng.normal(size=(n, 1, 1, 1))
    out += np.concatenate([turn, nod], 1) * relief[:, None]
    out += roll * np.stack([-y, x]) + near * np.stack([x, y])
    # elastic skin and estimation: broad, middling and fine; some patches are lost for want of texture
    broad = np.stack([_smooth(3.4, 3.0, (n, SIZE, SIZE), rng), _smooth(6.0, 2.2, (n, SIZE, SIZE), rng)], 1)
    fine = np.stack([_smooth(1.3, 1.2, (n, SIZE, SIZE), rng), _smooth(1.7, 1.0, (n, SIZE, SIZE), rng)], 1)
    texture_loss = np.exp(_smooth(2.0, 1.6, (n, 1, SIZE, SIZE), rng) - 0.4)
    grain = rng.standard_normal(out.shape, dtype=np.float32)
    seen = np.exp(0.45 * _smooth(1.5, 1.2, (n, 1, SIZE, SIZE), rng))
    out *= seen / np.maximum(1.0, 0.6 * seen)
    errors = size(0.11, 0.6) * broad + size(0.055, 0.7) * fine * texture_loss * error_gain[:, None] ** 1.5
    out += errors + size(0.004, 0.5) * grain * texture_loss
    return out.astype(np.float32)


def add_strain(flow: np.ndarray, rng: np.random.Generator, difficulty: float) -> np.ndarray:
    """Append STSTNet's optical strain sqrt(u_x^2 + v_y^2 + (u_y + v_x)^2 / 2), uneven if difficult: float32 "clip 3 y x"."""
    (u_y, u_x), (v_y, v_x) = (np.gradient(flow[:, c], axis=(1, 2)) for c in (0, 1))
    strain = np.sqrt(u_x**2 + v_y**2 + 0.5 * (u_y + v_x) ** 2)
    if difficulty:
        strain = strain * np.exp(np.float32(0.5 * difficulty) * _smooth(1.1, 0.8, strain.shape, rng))
    return np.concatenate([flow, strain[:, None]], 1).astype(np.float32)


def normalize_per_map(motion: np.ndarray) -> np.ndarray:
    """Scale every channel of every map "clip chan y x" to 0..255 (constant: 0): uint8 "clip y x chan"."""
    low, high = motion.min((2, 3), keepdims=True), motion.max((2, 3), keepdims=True)
    scaled = (motion - low) / np.maximum(high - low, 1e-12) * 255
    return np.moveaxis(np.round(scaled), 1, -1).astype(np.uint8)
