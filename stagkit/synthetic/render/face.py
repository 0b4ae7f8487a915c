"""Drawing a phantom face once in two layers finer than the image: the skin with two holes, and the eyes behind them.

Images are sampled from these layers at warped positions. Every look is stagkit's choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import cv2
import numpy as np

from stagkit.core.types import StagkitError
from stagkit.synthetic.identity import EYES, Subject
from stagkit.synthetic.render.canvas import Canvas, curve, make_skull, mix, points, smooth_step
from stagkit.synthetic.render.features import find_lids, make_texture, paint_skin

_INK = np.float32([26, 18, 16])  # lashes
_OPTICS = 0.5  # blur of the lens, px
_LUMA = np.float32([0.299, 0.587, 0.114])

# Left half of the edge of the hair around the face, in widths of the face (x) and heights of the forehead (y < -.3).
_HAIRLINES = {
    "short": "1.02 .12  .985 -.15  .90 -.50  .68 -.88  .30 -1.01  0 -1",
    "parted": "1.02 .12  .985 -.15  .90 -.48  .66 -.84  .30 -.99  0 -1.04",
    "curly": "1.02 .10  .96 -.15  .88 -.50  .66 -.86  .30 -.98  0 -1",
    "tied back": "1.03 .02  .97 -.18  .88 -.50  .64 -.85  .30 -.97  0 -1",
    "shaved": "1.02 .06  .985 -.15  .90 -.54  .66 -.92  .26 -1.02  0 -1",
    "fringe": ".95 .45  .91 0  .88 -.36  .74 -.52  .30 -.56  0 -.55",
    "long": ".93 1.5  .95 .6  .94 0  .86 -.48  .54 -.92  0 -1.06",
}
_VOLUME = dict(short=0.06, parted=0.09, curly=0.20, shaved=0.012, fringe=0.13, long=0.13) | {"tied back": 0.03}


def _paint_surroundings(canvas: Canvas, skin: np.ndarray, subject: Subject) -> np.ndarray:
    """Background, neck, ears and hair around the lit skin: float32 "Y X 3" RGB."""
    face, look = subject.face, subject.look
    backdrop = look["backdrop"] * (1.0 + 0.12 * look["light"][0] * canvas.x - 0.14 * canvas.y)[..., None]
    image = np.clip(backdrop * (1 + 0.02 * canvas.noise(0.25))[..., None], 0, 255).astype(np.float32)
    hair, behind, front = _make_hair(canvas, subject)
    image = mix(image, (0, 0, 0), 0.20 * canvas.blur(canvas.fill(make_skull(face, 0.08)), 0.12))
    image = _lay(image, hair * 0.70, behind)
    image = _paint_neck_and_ears(canvas, image, subject)
    head = canvas.fill(make_skull(face), 0.010)
    rim = 1 - 0.22 * np.clip(1 - canvas.blur(head, 0.05), 0, 1)
    image = _lay(image, skin * rim[..., None], head)
    shadow = canvas.blur(np.roll(front, int(0.045 * canvas.k), axis=0), 0.035)
    strength = 0.15 if look["style"] in ("shaved", "tied back", "short") else 0.36
    image *= (1 - strength * shadow * (1 - front))[..., None]
    return _lay(image, hair, front)


def _lay(image: np.ndarray, layer: np.ndarray, amount: np.ndarray) -> np.ndarray:
    """Blend a layer "Y X 3" over an image with opacity ``amount`` "Y X"."""
    return (image + (layer - image) * amount[..., None]).astype(np.float32)


def _make_grey(layer: np.ndarray) -> np.ndarray:
    """A layer "Y X 4" (RGB times opacity, opacity) as a grey camera sees it: float32 "Y X 2"."""
    return np.ascontiguousarray(np.dstack([layer[..., :3] @ _LUMA, layer[..., 3]]), np.float32)


def _paint_neck_and_ears(canvas: Canvas, image: np.ndarray, subject: Subject) -> np.ndarray:
    face, look = subject.face, subject.look
    chin, width = face[8, 1], 0.50 + 0.06 * look["masculine"]
    half = points("1 .6  .96 1.2  1.08 1.45  1.5 1.7  3 2") * (width, 1) + (0, chin - 1.22)
    neck = canvas.fill(np.concatenate([half, half[::-1] * (-1, 1)]), 0.02)
    side = np.clip(1 - (canvas.x / (width * 1.12)) ** 2, 0, 1) ** 0.45
    tone = 0.46 + 0.24 * smooth_step(chin - 0.02, chin + 0.45, canvas.y) + 0.14 * look["light"][0] * canvas.x
    tone = tone * (0.60 + 0.40 * side)
    for out in (-1, 1):  # the muscles of the neck
        tone = tone * (1 + 0.10 * canvas.blob(out * 0.30, chin + 0.25, 0.07, 0.3, -out * 0.25))
    body = look["skin"] * (1.0, 0.92, 0.88) * (tone * (1 + 0.03 * make_texture(canvas)))[..., None]
    image = _lay(image, body, neck)
    for ear in (0, 16):
        out = np.sign(face[ear, 0])
        x, y = face[ear] + (out * 0.035, 0.17)
        outline = points("0 -.20  .075 -.17  .095 -.03  .05 .12  .01 .20  -.07 .18  -.08 -.16") * (out, 1) + (x, y)
        tone = 0.80 + 0.14 * out * look["light"][0] - 0.30 * canvas.blob(x - out * 0.01, y + 0.02, 0.026, 0.07)
        tone = tone - 0.16 * canvas.line(curve(outline[1:5] * 0.72 + np.array([x, y]) * 0.28), 0.014, 0.010)
        tone = tone - 0.18 * canvas.blob(x - out * 0.06, y, 0.03, 0.2)
        shape = canvas.fill(curve(outline, 60, closed=True), 0.008)
        image = _lay(image, look["skin"] * (1.0, 0.84, 0.80) * tone[..., None], shape)
    return image


def _make_hair(canvas: Canvas, subject: Subject) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Hair "Y X 3", its opacity behind the head, and in front of it."""
    face, look, rng = subject.face, subject.look, canvas.rng
    style, light = look["style"], look["light"][0]
    crown = np.array([look["part"] if style in ("parted", "long") else 0.2 * look["part"], -1.15])
    dx, dy = canvas.x - crown[0], canvas.y - crown[1]
    radius, angle = np.hypot(dx, dy), np.arctan2(dx, dy) + 0.05 * canvas.noise(0.5)  # 0 = straight down
    sheet = rng.normal(size=(24, 900)).astype(np.float32)
    sheet = 0.5 * sheet + 2.6 * cv2.GaussianBlur(rng.normal(size=sheet.shape).astype(np.float32), (0, 0), 2.2)
    at = [(angle / (2 * np.pi) * 899 + 450).astype(np.float32), (radius * 6).astype(np.float32)]
    strands = cv2.remap(sheet, *at, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)
    if style == "curly":
        strands = 0.5 * canvas.noise(0.022) + 0.9 * np.abs(canvas.noise(0.05)) - 0.7 + 0.4 * canvas.noise(0.11)
    sheen = np.exp(-0.5 * ((radius - 0.46 - 0.02 * strands) / 0.13) ** 2) * np.clip(0.7 + 0.7 * light * canvas.x, 0, 1)
    sheen = sheen * (0.35 if style == "curly" else 1.0)
    tone = 0.95 + 0.17 * strands + 0.28 * sheen - 0.12 * smooth_step(0.9, 1.8, radius) + 0.12 * light * canvas.x
    hair = look["hair"] * np.clip(tone, 0.35, 1.8)[..., None]
    hair = hair + 22 * (np.clip(sheen, 0, 1) * (1 + 0.5 * strands))[..., None]

    w = np.abs(face[[0, 16], 0]).mean()
    edge = points(_HAIRLINES[style])
    edge[:, 1] *= np.where(edge[:, 1] < -0.3, look["forehead"], 1.0)
    edge = np.concatenate([edge, edge[-2::-1] * (-1, 1)]) * (w, 1)
    if style in ("parted", "long"):
        edge[:, 0] += 0.35 * look["part"] * smooth_step(0.2, 0.9, -edge[:, 1])
    window = np.concatenate([curve(edge, 120), [[-w * 0.95, 2.5], [w * 0.95, 2.5]]])
    mass = canvas.fill(make_skull(face, _VOLUME[style], -1.25))
    if style == "long":
        fall = curve(points("1.02 -.75  1.12 -.30  1.17 .10  1.19 .55  1.20 1.2  1.22 2.5"), 40)
        mass = np.maximum(mass, canvas.fill(np.concatenate([fall, fall[::-1] * (-1, 1)]) * (w, 1), 0.03))
    elif style == "fringe":
        side = np.array([[1.12, 0.0], [1.2, 0.5], [1.16, face[8, 1] - look["forehead"] * 0.3]])
        mass = np.maximum(mass, canvas.fill(curve(np.concatenate([side, side[::-1] * (-1, 1)]) * (w, 1), 80)))
    else:
        mass = mass * smooth_step(0.34, 0.10, canvas.y)
    rough = {"shaved": 0.05, "curly": 0.22, "fringe": 0.07, "short": 0.06}.get(style, 0.03)
    soft = canvas.blur(np.minimum(mass, 1 - canvas.fill(window)), 0.03)
    soft = soft + rough * strands * np.clip(5 * soft, 0, 1)
    width = 0.30 if style in ("short", "shaved") else 0.16
    front = smooth_step(0.46 - width, 0.46 + width, soft)
    behind = canvas.blur(mass, 0.03)
    behind = smooth_step(0.3, 0.7, behind + rough * strands * np.clip(5 * behind, 0, 1))
    if style == "shaved":
        front, behind = front * (0.56 + 0.12 * np.clip(canvas.noise(0.012), -2, 2)), np.zeros_like(behind)
    return hair.astype(np.float32), behind.astype(np.float32), front.astype(np.float32)


@dataclass(frozen=True, eq=False)
class Eye:
    """One eye, drawn finer than the image, in a box (row and column slices) of the canvas.

    Args:
        ball: float32 "Y X chan", the white with its shadow; shade: float32 "Y X", light below the upper lid, 0..1.
        iris: float32 "Y X chan+1", iris, pupil and highlight (times opacity), and their opacity.
        upper, lower: float "n 2", edges of the lids (IOD), sorted by x; fold, ink: colours of closed lid and lashes.
        k: samples per IOD; origin: sample of the origin of the face frame.
    """

    box: tuple[slice, slice]
    ball: np.ndarray = field(repr=False)
    iris: np.ndarray = field(repr=False)
    shade: np.ndarray = field(repr=False)
    upper: np.ndarray = field(repr=False)
    lower: np.ndarray = field(repr=False)
    fold: np.ndarray = field(repr=False)
    ink: np.ndarray = field(repr=False)
    k: float
    origin: np.ndarray = field(repr=False)

    @property
    def grey(self) -> Eye:
        """The same eye for a grey camera."""
        ball = np.ascontiguousarray((self.ball @ _LUMA)[..., None])
        fold, ink = (np.atleast_1d(colour @ _LUMA) for colour in (self.fold, self.ink))
        return replace(self, ball=ball, iris=_make_grey(self.iris), fold=fold, ink=ink)

    @property
    def span(self) -> tuple[np.ndarray, np.ndarray]:
        """Upper left and lower right corner of the opening: float "2" (x, y), samples of the canvas."""
        edges = np.concatenate([self.upper, self.lower])
        return edges.min(0) * self.k + self.origin, edges.max(0) * self.k + self.origin

    def look(self, x: np.ndarray, y: np.ndarray, gaze: np.ndarray, closed: np.ndarray) -> np.ndarray:
        """Eye and lid at places ``x``, ``y`` of the canvas "time Y X": float32 "time Y X chan", 0..255, 0 outside the box.

        ``gaze`` "time 2" shifts the iris by IOD (right, down); ``closed`` "time" is 0 open .. 1 closed.
        """
        rows, columns = self.box
        across, down = x - np.float32(columns.start), y - np.float32(rows.start)
        turn = (np.float32(gaze) * np.float32(self.k))[:, :, None, None]
        iris = _sample(self.iris, across - turn[:, 0], down - turn[:, 1])
        visible = _sample(self.ball, across, down) * (1 - iris[..., -1:])
        visible += iris[..., :-1]
        visible *= _sample(self.shade, across, down)
        for t in np.flatnonzero(closed > 0):
            visible[t] = self._lower_lid(visible[t], x[t], y[t], closed[t])
        height, width = self.shade.shape
        visible[(across < 0) | (across > width - 1) | (down < 0) | (down > height - 1)] = 0
        return visible

    def _lower_lid(self, visible: np.ndarray, x: np.ndarray, y: np.ndarray, closed: float) -> np.ndarray:
        """One frame "Y X chan" with the upper lid and its lashes lowered."""
        x, y = (x - self.origin[0]) / self.k, (y - self.origin[1]) / self.k
        lid, floor = np.interp(x, *self.upper.T), np.interp(x, *self.lower.T)
        edge = lid + (floor - lid) * closed
        soft = np.float32(max(0.006, 2.0 / self.k))
        fold = self.fold * (1 - 0.12 * np.clip((y - lid) / 0.08, 0, 1))[..., None]
        visible = visible + (fold - visible) * smooth_step(soft, -soft, y - edge)[..., None]
        lashes = 0.9 * np.exp(-(((y - edge) / max(0.010, 2.0 / self.k)) ** 2))[..., None]
        return visible + (self.ink - visible) * lashes


def _sample(layer: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A layer "Y X" or "Y X chan" at places "time y x": float32 "time y x chan"."""
    flat = [place.reshape(-1, place.shape[-1]) for place in (x, y)]
    return cv2.remap(layer, *flat, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).reshape(*x.shape, -1)


def draw_eye(canvas: Canvas, subject: Subject, eye: tuple[int, ...], box: tuple[slice, slice], optics: float) -> Eye:
    """Draw an eye (its landmarks, outer corner first) that looks straight ahead; ``optics`` is the blur, samples."""
    face, look = subject.face, subject.look
    x, y = canvas.x[:, box[1]], canvas.y[box[0]]
    edges = [edge[edge[:, 0].argsort()] for edge in find_lids(face, eye)]
    lid, floor = (np.interp(x[0], *edge.T)[None] for edge in edges)
    centre = face[list(eye)].mean(0) - (0, 0.010)
    white = np.float32([226, 219, 214]) * (0.80 + 0.20 * look["skin"].mean() / 255)
    ball = np.broadcast_to(white, (*np.broadcast_shapes(x.shape, y.shape), 3))
    ball = ball * np.clip(1.06 - 0.34 * ((x - centre[0]) / 0.14) ** 2, 0.55, 1.06)[..., None]
    inner = np.exp(-((x - face[eye[3], 0]) ** 2) / 0.0011) * np.ones_like(y)
    ball = mix(ball, look["skin"] * (0.86, 0.62, 0.58), 0.85 * inner)
    wet = 0.5 * np.exp(-((y - floor) ** 2) / 0.00004) * np.ones_like(x)
    ball = mix(ball, look["skin"] * (1.0, 0.84, 0.80), wet)

    dx, dy = x - centre[0], y - centre[1]
    r, angle = np.hypot(dx, dy) / 0.070, np.arctan2(dy, dx)
    spokes = 0.5 + 0.25 * np.sin(17 * angle + subject.seed % 97) + 0.25 * np.sin(29 * angle + subject.seed % 31)
    glow = 0.70 + 0.45 * spokes * smooth_step(0.35, 0.7, r) + 0.35 * np.clip(dy / 0.07, -1, 1)
    iris = look["iris"] * glow[..., None]
    iris = mix(iris, look["iris"] * 0.30, smooth_step(0.72, 0.98, r))
    iris = mix(iris, (9, 7, 7), smooth_step(0.50, 0.38, r))
    opacity = smooth_step(1.08, 0.93, r)
    glint = np.exp(-((dx - 0.022 * np.sign(look["light"][0])) ** 2 + (dy + 0.024) ** 2) / (2 * 0.0095**2))
    iris = mix(iris, (255, 255, 255), np.clip(1.3 * glint, 0, 0.92))
    shade = 1 - 0.55 * np.exp(-np.clip(y - lid, 0, None) / 0.020)
    shade = np.maximum(shade, np.clip(1.3 * glint, 0, 0.92))  # the highlight lies on top
    layers = (ball, np.dstack([iris * opacity[..., None], opacity]), shade)
    ball, iris, shade = (cv2.GaussianBlur(layer.astype(np.float32), (0, 0), optics) for layer in layers)
    fold = np.float32(look["skin"] * (0.80, 0.72, 0.70))
    return Eye(box, np.clip(ball, 0, 255), iris, shade, *edges, fold, _INK, canvas.k, np.float32(canvas.origin))


@dataclass(frozen=True, eq=False)
class Face:
    """A drawn subject: layers to sample frames from, ``per_pixel`` samples per pixel, ``margin`` px beyond each side.

    ``skin`` is float32 "Y X 4", RGB times opacity and opacity (0 where the eyes open); of a grey camera "Y X 2".
    """

    subject: Subject
    size: int
    skin: np.ndarray = field(repr=False)
    per_pixel: int
    margin: int
    eyes: tuple[Eye, ...] = field(repr=False)
    canvas: Canvas = field(repr=False)

    @cached_property
    def landmarks(self) -> np.ndarray:
        """float "68 2" px of the image."""
        return self.subject.landmarks(self.size)

    def to_camera(self, layer: np.ndarray) -> np.ndarray:
        """A layer "Y X 4" (RGB times opacity, opacity) in this face's colours: "Y X 4" or grey "Y X 2"."""
        return layer if self.skin.shape[2] == 4 else _make_grey(layer)

    @cached_property
    def grey(self) -> Face:
        """The same face for a grey camera: images are "y x"."""
        return replace(self, skin=_make_grey(self.skin), eyes=tuple(eye.grey for eye in self.eyes))

    @cached_property
    def colours(self) -> np.ndarray:
        """``skin`` without its opacity: float32 "Y X 3" (grey "Y X")."""
        return np.ascontiguousarray(self.skin[..., :-1].squeeze())

    @cached_property
    def opacity(self) -> np.ndarray:
        """Opacity of ``skin``: float32 "Y X"."""
        return np.ascontiguousarray(self.skin[..., -1])

    def to_samples(self, place: np.ndarray) -> np.ndarray:
        """x or y in px of the image (float32) as samples of the layers."""
        at = place + np.float32(self.margin)
        at *= np.float32(self.per_pixel)
        at += np.float32((self.per_pixel - 1) / 2)
        return at

    def sample(self, layer: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Values of a layer at ``x``, ``y`` (float32 "y x" px of the image)."""
        at = self.to_samples(x), self.to_samples(y)
        return cv2.remap(layer, *at, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def find_eyes(self, reach: float) -> list[tuple[slice, slice]]:
        """Rows and columns of the image that show each eye if nothing moves by more than ``reach`` px."""
        windows, rim = [], reach + 4 * _OPTICS + 1
        for eye in self.eyes:
            low, high = ((corner + 0.5) / self.per_pixel - 0.5 - self.margin for corner in eye.span)
            first, last = np.floor(low - rim).clip(0).astype(int), np.ceil(high + rim).clip(0).astype(int) + 1
            windows.append((slice(first[1], last[1]), slice(first[0], last[0])))
        return windows


def make_pixels(size: int) -> list[np.ndarray]:
    """x and y of every pixel of a square image: float32 "y x" each."""
    line = np.arange(size, dtype=np.float32)
    return np.meshgrid(line, line)


@lru_cache(maxsize=16)
def draw_face(subject: Subject, size: int) -> Face:
    """Draw a subject for a square image of ``size`` px, 48..1024 (half a second at 128 px; the last 16 are cached)."""
    if not 48 <= size <= 1024:
        raise StagkitError(f"the size of a phantom image is {size}, expected 48 to 1024 px.")
    per_pixel = 4 if size <= 192 else 3 if size <= 320 else 2
    canvas = Canvas(subject, size, per_pixel)
    image = np.clip(_paint_surroundings(canvas, paint_skin(canvas, subject), subject), 0, 255)
    opening = np.zeros((canvas.n, canvas.n), np.float32)
    eyes = []
    for eye in EYES:
        upper, lower = find_lids(subject.face, eye)
        outline = np.concatenate([upper, lower[::-1]])
        opening = np.maximum(opening, canvas.fill(outline, 0.0))
        corners, rim = canvas.px(outline) / 16, 0.10 * canvas.k
        low, high = corners.min(0) - rim, corners.max(0) + rim
        box = slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
        eyes.append(draw_eye(canvas, subject, eye, box, _OPTICS * per_pixel))
    layers = np.dstack([image * (1 - opening)[..., None], 1 - opening])
    layers = cv2.GaussianBlur(layers, (0, 0), _OPTICS * per_pixel)
    return Face(subject, size, layers, per_pixel, canvas.margin, tuple(eyes), canvas)


def render_image(
    face: Face, x: np.ndarray, y: np.ndarray, eyes: list[tuple[tuple[slice, slice], np.ndarray]]
) -> np.ndarray:
    """Sample an image float32 "y x 3" RGB or "y x" grey, 0..255 (and slightly beyond).

    ``x``, ``y`` float32 "y x" px are the position in the neutral face of the skin visible in each pixel; ``eyes`` holds for
    each eye its window and what its opening shows there, float32 "y x chan" (``Eye.look``).
    """
    if face.skin.shape[2] == 4:  # colours and opacity in one go: OpenCV samples four channels faster than three
        layers = face.sample(face.skin, x, y)
        image = cv2.cvtColor(layers, cv2.COLOR_BGRA2BGR)
        opacities = [layers[window][..., 3] for window, _ in eyes]
    else:
        image = face.sample(face.colours, x, y)
        opacities = [face.sample(face.opacity, x[window], y[window]) for window, _ in eyes]
    for (window, visible), opacity in zip(eyes, opacities, strict=True):
        hole = (1 - opacity) * (opacity < 0.999)
        image[window] += hole[..., None] * visible if image.ndim == 3 else hole * visible[..., 0]
    return image


def render_still(face: Face, gaze: tuple[float, float] = (0.0, 0.0), closed: float = 0.0) -> np.ndarray:
    """The face at rest, as ``render_image`` returns it, with a gaze (IOD, right and down) and lids 0 open .. 1 closed."""
    x, y = make_pixels(face.size)
    eyes = []
    for eye, window in zip(face.eyes, face.find_eyes(0.0), strict=True):
        at = (face.to_samples(place[window])[None] for place in (x, y))
        eyes.append((window, eye.look(*at, np.array([gaze]), np.array([closed]))[0]))
    return render_image(face, x, y, eyes)


def render_neutral(subject: Subject, size: int = 128) -> tuple[np.ndarray, np.ndarray]:
    """The face at rest, ``size`` 48..1024 px: image float32 "y x 3" RGB 0..255, and landmarks float "68 2" px."""
    face = draw_face(subject, size)
    return np.clip(render_still(face), 0, 255), face.landmarks
