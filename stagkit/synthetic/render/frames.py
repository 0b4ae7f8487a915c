"""Filming a phantom: every frame sampled from the drawn face at warped positions, then exposed as a camera would."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import chain

import cv2
import numpy as np

from stagkit.core.files import encode_image
from stagkit.core.types import inter_ocular_distance
from stagkit.synthetic.habits import Life
from stagkit.synthetic.presets import Preset
from stagkit.synthetic.render.face import Face, make_pixels, render_picture, render_still
from stagkit.synthetic.render.occlusion import draw_occlusion, find_gap, find_parting, make_wrinkles
from stagkit.synthetic.skin_motion import find_displacement, make_au_field, make_grid

_MOUTH = np.float32([58, 26, 26])
_SEEN = 0.02  # an opacity of more than this hides the skin


@dataclass(frozen=True)
class ClipSpec:
    """All that is to be filmed.

    Args:
        face: from ``phantom_face.draw_face``.
        pattern: (number, side) of each AU; peaks: float "au", their largest displacement, % of IOD.
        intensity: float "time au", 0..1; head: float "time 2 3", affine; life: what else moves.
        wrinkles: how strongly folds darken, 0 none .. 1.
        occlusion: ``none``, ``glasses`` or ``fringe``; mark: a bright mark in the corner of the picture.
    """

    face: Face
    pattern: tuple[tuple[int, str], ...]
    peaks: np.ndarray
    intensity: np.ndarray = field(repr=False)
    head: np.ndarray = field(repr=False)
    life: Life = field(repr=False)
    wrinkles: float = 0.0
    occlusion: str = "none"
    mark: bool = False

    @property
    def size(self) -> int:
        """Side of the picture, px."""
        return self.face.size

    @cached_property
    def iod(self) -> float:
        """Inter-ocular distance of the neutral face, px."""
        return float(inter_ocular_distance(self.face.landmarks))

    @cached_property
    def fields(self) -> np.ndarray:
        """Displacement of the neutral face at each AU's peak: float32 "au 2 y x" px."""
        return self._make_fields(1)

    def _make_fields(self, per_pixel: int, window: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
        units = [make_unit_field(self.face.subject, self.size, n, side, per_pixel) for n, side in self.pattern]
        rows, columns = (slice(s.start and s.start * per_pixel, s.stop and s.stop * per_pixel) for s in window)
        parts = [unit[:, rows, columns] * np.float32(p) for unit, p in zip(units, self.peaks, strict=True)]
        return np.stack(parts)

    @cached_property
    def parting(self) -> np.ndarray:
        """Height of the gap between the lips in each frame: float "time" px."""
        return self.intensity @ find_parting(self.pattern, self.peaks) * self.iod / 100

    @cached_property
    def occlusion_layer(self) -> np.ndarray | None:
        """Glasses or fringe as drawn, in the colours of the camera."""
        if self.occlusion == "none":
            return None
        layer = draw_occlusion(self.face.subject, self.size, self.occlusion, self.face.per_pixel)
        return self.face.to_camera(layer)

    @cached_property
    def neck(self) -> np.ndarray:
        """How far a gulp lifts the skin of the neck, as a share of the largest: float32 "y x"."""
        grid, jaw = make_grid(self.size), self.face.landmarks[:17]
        chin = jaw[8]
        hill = np.exp(-0.5 * (((grid - chin - (0, 0.22 * self.iod)) / (0.16 * self.iod, 0.10 * self.iod)) ** 2).sum(-1))
        below = grid[..., 1] - np.interp(grid[..., 0], *jaw.T) - 0.04 * self.iod
        return (hill * np.clip(below / (0.06 * self.iod), 0, 1)).astype(np.float32)


@lru_cache(maxsize=96)
def _remember_field(subject, size: int, number: int, side: str, per_pixel: int) -> np.ndarray:
    made = make_au_field(number, side, subject.landmarks(size), size, 1.0, per_pixel)
    made.flags.writeable = False
    return made


def make_unit_field(subject, size: int, number: int, side: str, per_pixel: int) -> np.ndarray:
    """The field of an AU at a peak of 1 % of IOD, remembered where pictures are small: float32 "2 y x" px."""
    return (_remember_field if size <= 160 else _remember_field.__wrapped__)(subject, size, number, side, per_pixel)


def render_clip(spec: ClipSpec) -> tuple[np.ndarray, np.ndarray]:
    """Every frame before exposure, and the face at rest.

    Returns:
        pictures float32 "time y x" or "time y x 3", and neutral of one such picture, 0..255.
    """
    neutral, pictures = render_frames(spec)
    return np.stack(list(pictures)), neutral


def render_frames(spec: ClipSpec) -> tuple[np.ndarray, Iterator[np.ndarray]]:
    """The neutral image, and an iterator over the frames of ``render_clip`` (each may be overwritten)."""
    still = make_pixels(spec.size)
    neutral = _put_on(spec, np.clip(render_still(spec.face), 0, 255), *still)
    return neutral, _render_moving(spec, neutral, still)


def _render_moving(spec: ClipSpec, neutral: np.ndarray, still: list[np.ndarray]) -> Iterator[np.ndarray]:
    face, life = spec.face, spec.life
    window = _find_moving(spec)
    corner = np.float32(window[1].start), np.float32(window[0].start)
    fine = spec._make_fields(2, window)
    back = np.linalg.inv(np.concatenate([spec.head, np.tile([[[0.0, 0.0, 1.0]]], (len(spec.head), 1, 1))], 1))
    turning = (spec.head != np.eye(2, 3)).any((1, 2))
    folds = None
    if spec.wrinkles > 0:
        folds = spec.wrinkles * np.stack([make_wrinkles(f, face) for f in spec.fields])
    eyes = _see_eyes(spec, back)
    moved = [np.zeros_like(still[0][window]) for _ in corner]
    for t, intensity in enumerate(spec.intensity):
        moves, turns = intensity.any(), turning[t]
        if not (moves or turns or life.gaze[t].any() or life.closed[t] > 0 or life.swallow[t] > 0):
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
        gulp = life.swallow[t]
        if gulp > 0:
            skin = [skin[0], skin[1] + np.float32(0.035 * spec.iod * gulp) * spec.neck]
        picture = render_picture(face, *skin, [(place, seen[t]) for place, seen in eyes])
        if folds is not None and moves:
            where = window if gulp <= 0 else slice(None)  # nothing folds outside of the window
            dark = _mix(intensity, folds)
            at = [place[where] for place in skin]
            seen = 1 - cv2.remap(dark, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
            picture[where] *= seen if picture.ndim == 2 else cv2.merge([seen] * 3)
        if spec.parting[t] > 0.05:
            _part_lips(spec, picture, *skin, float(spec.parting[t]))
        yield _put_on(spec, picture, *head)


def _see_eyes(spec: ClipSpec, back: np.ndarray) -> list[tuple[tuple[slice, slice], np.ndarray]]:
    """Window of each eye in the picture, and what is seen behind the lids in every frame: float32 "time y x chan"."""
    face, life = spec.face, spec.life
    reach = _find_drift(spec) + np.abs(spec.fields).sum(0).max()
    out = []
    for eye, (rows, columns) in zip(face.eyes, face.find_eyes(float(reach)), strict=True):
        line = np.arange(spec.size, dtype=np.float32)
        at = (face.to_samples(place) for place in carry(back, line[columns][None], line[rows][:, None]))
        out.append(((rows, columns), eye.look(*at, life.gaze, life.closed)))
    return out


def _find_drift(spec: ClipSpec) -> float:
    """How far the head is carried at most, px."""
    corners = np.array([[0, 0], [1, 0], [0, 1], [1, 1]]) * (spec.size - 1.0)
    carried = np.einsum("tij,nj->tni", spec.head[:, :, :2], corners) + spec.head[:, None, :, 2] - corners
    return float(np.abs(carried).max())


def _find_moving(spec: ClipSpec) -> tuple[slice, slice]:
    """Smallest window in which skin can be seen to move, wherever the head has carried it."""
    rim = 4 + int(np.ceil(_find_drift(spec)))
    moving = np.abs(spec.fields).max((0, 1)) > 0
    spans = (np.flatnonzero(moving.any(axis)) for axis in (1, 0))
    return tuple(slice(max(0, int(at[0]) - rim), int(at[-1]) + 1 + rim) for at in spans)


def _find_mouth(spec: ClipSpec) -> tuple[slice, slice]:
    """Window in which parted lips are seen."""
    mouth = spec.face.landmarks[48:68]
    reach = np.array([0.08, 0.12]) * spec.iod + 2
    (left, top), (right, bottom) = (mouth.min(0) - reach).astype(int), (mouth.max(0) + reach).astype(int) + 1
    return slice(max(0, top), bottom), slice(max(0, left), right)


def _part_lips(spec: ClipSpec, picture: np.ndarray, x: np.ndarray, y: np.ndarray, gap: float) -> None:
    """Draw the dark between parted lips into ``picture``, whose skin comes from ``x``, ``y``."""
    window = _find_mouth(spec)
    opacity = find_gap(spec.face, gap, x[window], y[window])
    dark = _MOUTH if picture.ndim == 3 else np.float32(_MOUTH.mean())
    opacity = opacity[..., None] if picture.ndim == 3 else opacity
    picture[window] += (dark - picture[window]) * (0.9 * opacity)


def _put_on(spec: ClipSpec, picture: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Glasses or fringe over the head, which is carried from ``x``, ``y``; the mark in the corner of the picture."""
    if spec.occlusion_layer is not None:
        worn = spec.face.sample(spec.occlusion_layer, x, y)
        colour = worn[..., :-1] if picture.ndim == 3 else worn[..., 0]
        picture = picture * (1 - (worn[..., -1:] if picture.ndim == 3 else worn[..., -1])) + colour
    if spec.mark:
        low, high = round(0.03 * spec.size), round(0.09 * spec.size)
        picture = picture.copy()
        picture[low:high, low:high] = 235.0
    return picture


def _mix(intensity: np.ndarray, layers: np.ndarray) -> np.ndarray:
    """Sum of ``layers`` "au ..." weighted by their intensities "au"."""
    total = layers[0] * np.float32(intensity[0])
    for share, layer in zip(intensity[1:], layers[1:], strict=True):
        if share:
            total += layer * np.float32(share)
    return total


def carry(matrix: np.ndarray, x: np.ndarray, y: np.ndarray) -> list[np.ndarray]:
    """Points under affine maps "... 2 3" (or "... 3 3"): float32 x and y "... y x"; ``x`` is a row, ``y`` a column."""
    (a, b, c), (d, e, f) = np.moveaxis(matrix[..., :2, :].astype(np.float32), (-2, -1), (0, 1))[..., None, None]
    return [(a * x + c) + b * y, (d * x + f) + e * y]


def find_visible(spec: ClipSpec) -> np.ndarray:
    """Bool "time y x" in the neutral face: False where the planted motion of the skin cannot be seen.

    That is: in the openings of the eyes, around them during a blink, between parted lips, on the neck during a gulp,
    under glasses or a fringe.
    """
    face, life = spec.face, spec.life
    opening = (face.eye_opening > _SEEN).astype(np.uint8)
    reach = max(1, round(0.04 * spec.iod))
    around = cv2.dilate(opening, np.ones((2 * reach + 1,) * 2, np.uint8))
    hidden = np.where((life.closed > _SEEN)[:, None, None], around[None], opening[None]).astype(bool)
    x, y = make_pixels(spec.size)
    mouth = _find_mouth(spec)
    for t in np.flatnonzero(spec.parting > 0.05):
        hidden[t][mouth] |= find_gap(face, float(spec.parting[t]) + 1.0, x[mouth], y[mouth]) > _SEEN
    for t in np.flatnonzero(life.swallow > _SEEN):
        hidden[t] |= spec.neck > 0.01
    if spec.occlusion_layer is not None:
        worn = (face.sample(spec.occlusion_layer, x, y)[..., -1] > _SEEN).astype(np.uint8)
        hidden |= cv2.dilate(worn, np.ones((5, 5), np.uint8)).astype(bool)
    return ~hidden


@lru_cache(maxsize=2)
def _make_grain(length: int) -> np.ndarray:
    """Noise of which every frame takes a stretch of its own: float32, N(0, 1), much longer than ``length``."""
    return np.random.default_rng(0x6EA1).standard_normal(max(1 << 21, 2 * length), dtype=np.float32)


def simulate_sensor(
    pictures: Iterable[np.ndarray], gain: np.ndarray, preset: Preset, difficulty: float, rng: np.random.Generator
) -> np.ndarray:
    """From light to released frames: light, lens blur, sensor noise, rounding, JPEG. Only rounding at difficulty 0.

    Args:
        pictures: as many as ``gain``, float32 "y x" or "y x 3"; overwritten.
        gain: float "time", brightness.
        preset: whose camera; difficulty: 0..1; rng: source of chance.

    Returns:
        uint8 "time y x" or "time y x 3".
    """
    pictures = iter(pictures)
    first = next(pictures)
    frames, noisy = np.empty((len(gain), *first.shape), np.uint8), difficulty > 0 and preset.noise > 0
    if noisy:
        length = first.size
        grain = _make_grain(length)
        spread = np.sqrt(0.3 + np.clip(first, 0, None) / 180) * np.float32(difficulty * preset.noise)
        starts = rng.integers(0, len(grain) - length, len(gain))
    sigma = 0.2 + difficulty * rng.uniform(0.0, 0.4)
    quality = [cv2.IMWRITE_JPEG_QUALITY, round(100 - difficulty * (100 - preset.jpeg))]
    for t, picture in enumerate(chain([first], pictures)):
        if gain[t] != 1:
            picture *= np.float32(gain[t])
        if difficulty > 0:
            cv2.GaussianBlur(picture, (0, 0), sigma, dst=picture)
        if noisy:  # more light, more shot noise
            picture += grain[starts[t] : starts[t] + length].reshape(picture.shape) * spread
        cv2.convertScaleAbs(cv2.max(picture, 0.0, dst=picture), dst=frames[t])
        if difficulty > 0 and preset.jpeg:
            colour = picture.ndim == 3
            code = encode_image(".jpg", cv2.cvtColor(frames[t], cv2.COLOR_RGB2BGR) if colour else frames[t], quality)
            shown = cv2.imdecode(np.frombuffer(code, np.uint8), cv2.IMREAD_UNCHANGED)
            frames[t] = cv2.cvtColor(shown, cv2.COLOR_BGR2RGB) if colour else shown
    return frames
