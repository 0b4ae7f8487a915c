"""Frames of a phantom clip: sampled from the drawn face at warped positions, then degraded as by a camera."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain

import cv2
import numpy as np

from stagkit.core.regions import ATLAS
from stagkit.core.types import inter_ocular_distance
from stagkit.motion.images import encode_image
from stagkit.synthetic.identity import EYES, Subject
from stagkit.synthetic.presets import Preset
from stagkit.synthetic.render.canvas import Canvas, curve, mix, smooth_step
from stagkit.synthetic.render.face import Face, make_pixels, render_image, render_still
from stagkit.synthetic.skin_motion import IncidentalMotion, find_displacement, make_au_field, make_grid

_MOUTH = np.float32([58, 26, 26])
#: How far the lips part for each AU, as a share of its peak displacement.
_PARTS = {25: 1.0, 26: 0.9}
_HIDDEN = 0.02  # opacity above which the skin is hidden


@dataclass(frozen=True)
class ClipSpec:
    """All that determines the frames of a clip.

    Args:
        pattern: (number, side) of each AU; peaks: float "au", their largest displacement, % of IOD.
        intensity: float "time au", 0..1; head: float "time 2 3", affine; incidental: other motion.
        wrinkles: how strongly folds darken, 0..1; mark: a bright mark in the corner of the image.
        occlusion, hidden: its kind and the names of the regions that it hides.
    """

    face: Face
    pattern: tuple[tuple[int, str], ...]
    peaks: np.ndarray
    intensity: np.ndarray = field(repr=False)
    head: np.ndarray = field(repr=False)
    incidental: IncidentalMotion = field(repr=False)
    wrinkles: float = 0.0
    occlusion: str = "none"
    mark: bool = False
    hidden: tuple[str, ...] = ()

    @cached_property
    def iod(self) -> float:
        """Inter-ocular distance of the neutral face, px."""
        return float(inter_ocular_distance(self.face.landmarks))

    @cached_property
    def fields(self) -> np.ndarray:
        """Displacement of the neutral face at each AU's peak: float32 "au 2 y x" px."""
        return self._make_fields(1)

    def _make_fields(self, per_pixel: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
        units = [make_unit_field(self.face.subject, self.face.size, n, side, per_pixel) for n, side in self.pattern]
        rows, columns = (slice(s.start and s.start * per_pixel, s.stop and s.stop * per_pixel) for s in window)
        return np.stack([u[:, rows, columns] * np.float32(p) for u, p in zip(units, self.peaks, strict=True)])

    @cached_property
    def parting(self) -> np.ndarray:
        """Height of the gap between the lips: float "time" px."""
        shares = np.array([_PARTS.get(number, 0.0) for number, _ in self.pattern])
        return self.intensity @ (shares * self.peaks) * self.iod / 100

    @cached_property
    def occlusion_layer(self) -> np.ndarray | None:
        """The occlusion in the colours of the camera; None without."""
        if self.occlusion == "none" or not self.hidden:
            return None
        face = self.face
        return face.to_camera(draw_occlusion(face.subject, face.size, self.occlusion, face.per_pixel, self.hidden))

    @cached_property
    def neck(self) -> np.ndarray:
        """Lift of the neck's skin by a swallow, as a share of the largest: float32 "y x"."""
        grid, jaw, chin = make_grid(self.face.size), self.face.landmarks[:17], self.face.landmarks[8]
        hill = np.exp(-0.5 * (((grid - chin - (0, 0.22 * self.iod)) / (0.16 * self.iod, 0.10 * self.iod)) ** 2).sum(-1))
        below = grid[..., 1] - np.interp(grid[..., 0], *jaw.T) - 0.04 * self.iod
        return (hill * np.clip(below / (0.06 * self.iod), 0, 1)).astype(np.float32)


@lru_cache(maxsize=96)
def _remember_field(subject, size: int, number: int, side: str, per_pixel: int) -> np.ndarray:
    made = make_au_field(number, side, subject.landmarks(size), size, 1.0, per_pixel)
    made.flags.writeable = False
    return made


def make_unit_field(subject, size: int, number: int, side: str, per_pixel: int) -> np.ndarray:
    """Field of an AU at a peak of 1 % of IOD, cached for small images: float32 "2 y x" px."""
    return (_remember_field if size <= 160 else _remember_field.__wrapped__)(subject, size, number, side, per_pixel)


def render_frames(spec: ClipSpec) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """The neutral image, and the frames before the camera (each may be overwritten): float32 "y x" or "y x 3", 0..255."""
    still = make_pixels(spec.face.size)
    neutral = _add_occlusion(spec, np.clip(render_still(spec.face), 0, 255), *still)
    return neutral, _render_moving(spec, neutral, still)


def _render_moving(spec: ClipSpec, neutral: np.ndarray, still: list[np.ndarray]) -> Iterator[np.ndarray]:
    face, incidental = spec.face, spec.incidental
    window = _find_moving(spec)
    corner = np.float32(window[1].start), np.float32(window[0].start)
    fine = spec._make_fields(2, window)
    back = np.linalg.inv(np.concatenate([spec.head, np.tile([[[0.0, 0.0, 1.0]]], (len(spec.head), 1, 1))], 1))
    turning = (spec.head != np.eye(2, 3)).any((1, 2))
    folds = spec.wrinkles * np.stack([make_wrinkles(f, face) for f in spec.fields]) if spec.wrinkles > 0 else None
    eyes = _render_eyes(spec, back)
    moved = [np.zeros_like(still[0][window]) for _ in corner]
    for t, intensity in enumerate(spec.intensity):
        moves, turns = intensity.any(), turning[t]
        if not (moves or turns or incidental.gaze[t].any() or incidental.closed[t] > 0 or incidental.swallow[t] > 0):
            yield neutral.copy()
            continue
        head = carry(back[t], still[0][:1], still[1][:, :1]) if turns else still
        skin = head
        if moves:
            inside = [place[window] - c for place, c in zip(head, corner, strict=True)]
            moved = find_displacement(_mix(intensity, fine), *inside, moved, per_pixel=2)
            found = [place - m for place, m in zip(inside, moved, strict=True)]
            moved = [place - f for place, f in zip(inside, found, strict=True)]
            skin = [place.copy() for place in head]
            for place, f, c in zip(skin, found, corner, strict=True):
                np.add(f, c, out=place[window])
        swallow = incidental.swallow[t]
        if swallow > 0:
            skin = [skin[0], skin[1] + np.float32(0.035 * spec.iod * swallow) * spec.neck]
        image = render_image(face, *skin, [(place, visible[t]) for place, visible in eyes])
        if folds is not None and moves:
            where = window if swallow <= 0 else slice(None)  # nothing folds outside of the window
            dark = _mix(intensity, folds)
            at = [place[where] for place in skin]
            visible = 1 - cv2.remap(dark, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            image[where] *= visible if image.ndim == 2 else cv2.merge([visible] * 3)
        if spec.parting[t] > 0.05:
            _part_lips(spec, image, *skin, float(spec.parting[t]))
        yield _add_occlusion(spec, image, *head)


def _render_eyes(spec: ClipSpec, back: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Window of each eye, and what is visible behind the lids in every frame: float32 "time y x chan"."""
    face, incidental = spec.face, spec.incidental
    reach = _find_drift(spec) + np.abs(spec.fields).sum(0).max()
    out = []
    for eye, (rows, columns) in zip(face.eyes, face.find_eyes(float(reach)), strict=True):
        line = np.arange(face.size, dtype=np.float32)
        at = (face.to_samples(place) for place in carry(back, line[columns][None], line[rows][:, None]))
        out.append(((rows, columns), eye.look(*at, incidental.gaze, incidental.closed)))
    return out


def _find_drift(spec: ClipSpec) -> float:
    """Largest displacement of the head, px."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (spec.face.size - 1.0)
    carried = np.einsum("tij,nj->tni", spec.head[:, :, :2], corners) + spec.head[:, None, :, 2] - corners
    return float(np.abs(carried).max())


def _find_moving(spec: ClipSpec) -> tuple[slice, slice]:
    """Smallest window in which skin can move, wherever the head is."""
    rim = 4 + int(np.ceil(_find_drift(spec)))
    moving = np.abs(spec.fields).max((0, 1)) > 0
    spans = (np.flatnonzero(moving.any(axis)) for axis in (1, 0))
    return tuple(slice(max(0, int(at[0]) - rim), int(at[-1]) + 1 + rim) for at in spans)


def _find_mouth(spec: ClipSpec) -> tuple[slice, slice]:
    """Window of the parted lips."""
    mouth = spec.face.landmarks[48:68]
    reach = np.array([0.08, 0.12]) * spec.iod + 2
    (left, top), (right, bottom) = (mouth.min(0) - reach).astype(int), (mouth.max(0) + reach).astype(int) + 1
    return slice(max(0, top), bottom), slice(max(0, left), right)


def _part_lips(spec: ClipSpec, image: np.ndarray, x: np.ndarray, y: np.ndarray, gap: float) -> None:
    """Draw the dark between parted lips into ``image``, whose skin comes from ``x``, ``y``."""
    window = _find_mouth(spec)
    opacity = compute_gap_opacity(spec.face, gap, x[window], y[window])
    dark = _MOUTH if image.ndim == 3 else np.float32(_MOUTH.mean())
    opacity = opacity[..., None] if image.ndim == 3 else opacity
    image[window] += (dark - image[window]) * (0.9 * opacity)


def _add_occlusion(spec: ClipSpec, image: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Add glasses or fringe, which move with the head (from ``x``, ``y``), and the mark in the corner."""
    if spec.occlusion_layer is not None:
        worn = spec.face.sample(spec.occlusion_layer, x, y)
        colour = worn[..., :-1] if image.ndim == 3 else worn[..., 0]
        image = image * (1 - (worn[..., -1:] if image.ndim == 3 else worn[..., -1])) + colour
    if spec.mark:
        low, high = round(0.03 * spec.face.size), round(0.09 * spec.face.size)
        image = image.copy()
        image[low:high, low:high] = 235.0
    return image


def _mix(intensity: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Sum of ``layers`` "au ..." weighted by their intensities "au"."""
    total = layers[0] * np.float32(intensity[0])
    for share, layer in zip(intensity[1:], layers[1:], strict=True):
        if share:
            total += layer * np.float32(share)
    return total


def carry(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Points under affine maps "... 2 3" (or 3 3): float32 x and y "... y x"; ``x`` is a row, ``y`` a column."""
    (a, b, c), (d, e, f) = np.moveaxis(matrix[..., :2, :].astype(np.float32), (-2, -1), (0, 1))[..., None, None]
    return [(a * x + c) + b * y, (d * x + f) + e * y]


def find_visible(spec: ClipSpec) -> np.ndarray:
    """Bool "time y x" in the neutral face: False where eyes, parted lips, a swallow or an occlusion hide the motion."""
    face, incidental = spec.face, spec.incidental
    x, y = make_pixels(face.size)
    opening = (1.0 - face.sample(face.opacity, x, y) > _HIDDEN).astype(np.uint8)
    reach = max(1, round(0.04 * spec.iod))
    around = cv2.dilate(opening, np.ones((2 * reach + 1,) * 2, np.uint8))
    hidden = np.where((incidental.closed > _HIDDEN)[:, None, None], around[None], opening[None]).astype(bool)
    mouth = _find_mouth(spec)
    for t in np.flatnonzero(spec.parting > 0.05):
        hidden[t][mouth] |= compute_gap_opacity(face, float(spec.parting[t]) + 1.0, x[mouth], y[mouth]) > _HIDDEN
    for t in np.flatnonzero(incidental.swallow > _HIDDEN):
        hidden[t] |= spec.neck > 0.01
    if spec.occlusion_layer is not None:
        worn = (face.sample(spec.occlusion_layer, x, y)[..., -1] > _HIDDEN).astype(np.uint8)
        hidden |= cv2.dilate(worn, np.ones((5, 5), np.uint8)).astype(bool)
    return ~hidden


@lru_cache(maxsize=2)
def _make_grain(length: int) -> np.ndarray:
    """Noise N(0, 1), float32, of which every frame takes its own stretch; much longer than ``length``."""
    return np.random.default_rng(0x6EA1).standard_normal(max(1 << 21, 2 * length), dtype=np.float32)


def simulate_sensor(
    images: Iterable[np.ndarray], gain: np.ndarray, preset: Preset, difficulty: float, rng: np.random.Generator
) -> np.ndarray:
    """Released frames uint8 "time y x" or "time y x 3" from ``images``, which are overwritten.

    Brightness ``gain`` "time", lens blur, sensor noise, rounding, JPEG; at difficulty 0 rounding alone.
    """
    images = iter(images)
    first = next(images)
    frames, noisy = np.empty((len(gain), *first.shape), np.uint8), difficulty > 0 and preset.noise > 0
    length = first.size
    if noisy:
        grain = _make_grain(length)
        spread = np.sqrt(0.3 + np.clip(first, 0, None) / 180) * np.float32(difficulty * preset.noise)
        starts = rng.integers(0, len(grain) - length, len(gain))
    sigma = 0.2 + difficulty * rng.uniform(0.0, 0.4)
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(100 - difficulty * (100 - preset.jpeg))]
    for t, image in enumerate(chain([first], images)):
        if gain[t] != 1:
            image *= np.float32(gain[t])
        if difficulty > 0:
            cv2.GaussianBlur(image, (0, 0), sigma, dst=image)
        if noisy:  # more light, more shot noise
            image += grain[starts[t] : starts[t] + length].reshape(image.shape) * spread
        cv2.convertScaleAbs(cv2.max(image, 0.0, dst=image), dst=frames[t])
        if difficulty > 0 and preset.jpeg:
            colour = image.ndim == 3
            code = encode_image(".jpg", cv2.cvtColor(frames[t], cv2.COLOR_RGB2BGR) if colour else frames[t], quality)
            shown = cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_UNCHANGED)
            frames[t] = cv2.cvtColor(shown, cv2.COLOR_BGR2RGB) if colour else shown
    return frames


def make_wrinkles(field: np.ndarray, face: Face) -> np.ndarray:
    """How much skin darkens where a ``field`` "2 y x" px compresses it: float32 "y x", 0..0.5 (stagkit's choice)."""
    (u_y, u_x), (v_y, v_x) = np.gradient(field[0]), np.gradient(field[1])
    shear, mean, half = (u_y + v_x) / 2, (u_x + v_y) / 2, (u_x - v_y) / 2
    pressed = np.clip(np.hypot(half, shear) - mean, 0, None)  # minus the smaller principal strain
    angle = 0.5 * np.arctan2(shear, half) + np.pi / 2  # direction of compression
    weight = pressed / max(float(pressed.sum()), 1e-9)
    angle = 0.5 * np.arctan2((weight * np.sin(2 * angle)).sum(), (weight * np.cos(2 * angle)).sum())
    size, rng = len(pressed), np.random.default_rng([face.subject.seed, 0xF01D])
    bend = cv2.resize(rng.normal(size=(9, 9)).astype(np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:size, :size].astype(np.float32)
    iod = face.subject.look["iod"] * size
    lines = np.cos((x * np.cos(angle) + y * np.sin(angle)) / (0.05 * iod) * 2 * np.pi + 1.5 * bend)
    depth = (0.5 + face.subject.look["age"]) * pressed * (0.3 + 0.7 * np.clip(lines, 0, 1) ** 2)
    return np.clip(depth, 0, 0.5).astype(np.float32)


def compute_gap_opacity(face: Face, width: float, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Opacity of the gap between parted lips, ``width`` px high in the middle, at ``x``, ``y``: float32 "y x", 0..1."""
    seam = face.landmarks[[[48, 60, 61, 62, 63, 64, 54], [48, 60, 67, 66, 65, 64, 54]]].mean(0)
    middle, reach = (seam[0, 0] + seam[-1, 0]) / 2, 0.42 * (seam[-1, 0] - seam[0, 0])
    half = 0.5 * width * np.clip(1 - ((x - middle) / reach) ** 2, 0, None)
    off = np.abs(y - np.interp(x, *seam.T) - 0.3 * half)
    return (np.clip(half - off + 0.5, 0, 1) * np.clip(2 * half, 0, 1)).astype(np.float32)


@lru_cache(maxsize=4)
def draw_occlusion(
    subject: Subject, size: int, occlusion: str, per_pixel: int, hidden: tuple[str, ...] = ()
) -> np.ndarray:
    """What hides the regions ``hidden`` and moves with the head: float32 "Y X 4", RGB times opacity and opacity."""
    canvas = Canvas(subject, size, per_pixel)
    if occlusion in ("glasses", "fringe"):
        image, opacity = _draw_glasses(canvas, subject) if occlusion == "glasses" else _draw_fringe(canvas, subject)
    else:
        image, opacity = _draw_shape(canvas, subject, occlusion, hidden)
    layer = np.dstack([image * opacity[..., None], opacity]).astype(np.float32)
    return cv2.GaussianBlur(layer, (0, 0), 0.5 * per_pixel)


def _draw_shape(
    canvas: Canvas, subject: Subject, occlusion: str, hidden: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """An opaque shape over regions: one patch each (``random``), or the outline of all (``hand``, ``mask``)."""
    centres = ATLAS.centres(subject.face)[[ATLAS.index(name) for name in hidden]]
    corners = centres[:, None] + ATLAS.radius * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    shapes = corners if occlusion == "random" else [cv2.convexHull(np.float32(corners.reshape(-1, 2)))[:, 0]]
    opacity = np.max([canvas.fill(shape, 0.008) for shape in shapes], axis=0)
    colour = {"hand": 0.93 * subject.look["skin"], "mask": [196, 212, 222], "random": [128, 128, 128]}[occlusion]
    return np.broadcast_to(np.float32(colour), (canvas.n, canvas.n, 3)), opacity


def _draw_glasses(canvas: Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    face = subject.face
    tint = np.float32([[24, 22, 24], [66, 44, 30], [120, 118, 116]][subject.seed % 3])
    corner = np.float32([1, 0.42])[subject.seed % 2]  # round or nearly square
    opacity, glare = np.zeros((canvas.n, canvas.n), np.float32), np.zeros((canvas.n, canvas.n), np.float32)
    angle = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    for eye in EYES:
        centre, out = face[list(eye)].mean(0) + (0, 0.015), np.sign(face[eye[0], 0])
        shape = np.stack([np.cos(angle), np.sin(angle)], -1)
        shape = np.sign(shape) * np.abs(shape) ** corner * (0.225, 0.155) + centre + (out * 0.015, 0)
        rim = np.concatenate([shape, shape[:1]])
        opacity = np.maximum(opacity, canvas.line(rim, 0.026, 0.004))
        temple = np.array([shape[0 if out > 0 else 30] - (0, 0.03), face[16 if out > 0 else 0] + (0, -0.03)])
        opacity = np.maximum(opacity, canvas.line(temple, 0.026, 0.004))
        streak = np.exp(-0.5 * (((canvas.x - centre[0]) + 0.8 * (canvas.y - centre[1]) + 0.08) / 0.022) ** 2)
        glare = np.maximum(glare, canvas.fill(shape, 0.004) * (0.03 + 0.13 * streak))
    bridge = curve(np.array([[-0.075, 0.0], [0.0, -0.035], [0.075, 0.0]]) + face[27] * (1, 0) + (0, 0.0), 24)
    opacity = np.maximum(opacity, canvas.line(bridge, 0.024, 0.004))
    total = np.maximum(opacity, glare)
    frame = np.broadcast_to(tint, (canvas.n, canvas.n, 3))
    shine = smooth_step(0.0, 0.02, opacity - glare)[..., None]
    return np.float32(255) + (frame - np.float32(255)) * shine, total


def _draw_fringe(canvas: Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray]:
    face, look, rng = subject.face, subject.look, np.random.default_rng([subject.seed, 0xF21])
    brow, top = face[17:27, 1].mean(), -look["forehead"] - 0.22
    hairs, lean, wide = [], rng.choice([-1, 1]) * 0.10, 0.86 * np.abs(face[[0, 16], 0]).mean()
    for x in np.sort(rng.uniform(-1, 1, 520)) * wide:
        tip = brow - 0.02 + 0.045 * np.sin(9 * x + subject.seed) + 0.035 * rng.normal() + 0.30 * (x / wide) ** 4
        middle, end = (0.9 * x + 0.3 * lean, 0.62 * top + 0.38 * tip), (x + lean * (1 - (x / wide) ** 2), tip)
        hairs.append(curve(np.array([(0.45 * x, top), middle, end]), 10))
    opacity = np.clip(1.3 * canvas.strokes(hairs, 0.012, 0.003), 0, 1)
    opacity *= smooth_step(top + 0.04, top + 0.20, canvas.y)
    strands = np.clip(canvas.noise(0.010, 30.0) + 0.7 * canvas.noise(0.03, 12.0), -2, 2)
    sheen = np.exp(-0.5 * ((canvas.y - 0.6 * top) / 0.09) ** 2)
    tone = look["hair"] * (0.92 + 0.09 * strands + 0.22 * sheen)[..., None]
    tips = 0.35 * smooth_step(brow - 0.12, brow + 0.05, canvas.y) * np.ones_like(canvas.x)
    return mix(tone, look["hair"] * 0.55, tips), opacity
