"""The puppet without sliders: a face moved by action units, its measured flow, region speeds, predictions, and figure.

The face is a phantom (its lips part, its skin folds) or a photograph; flow is measured from the neutral frame to the one
shown, as in any clip.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np
from matplotlib.figure import Figure

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, StagkitError
from stagkit.datasets.au_codes import parse_aus
from stagkit.explorers.validation import check_range
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, compute_flow
from stagkit.motion.rois import sample_regions
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled
from stagkit.synthetic.clip import limit_strain
from stagkit.synthetic.photo import animate_photo, find_moments, make_splines, move_photo
from stagkit.synthetic.render.frames import ClipSpec, make_unit_field, render_frames
from stagkit.synthetic.skin_motion import IncidentalMotion, check_code, make_au_field, make_intensity

if TYPE_CHECKING:
    from stagkit.inference.pretrained import PretrainedEnsemble

#: Largest motion that a slider gives, % of the eye distance; the scale of all colours and bars (stagkit's choice).
MAX_STRENGTH = 3.0

#: Length of the movement: frames, and frames per second (stagkit's choice).
N_FRAMES, FPS = 24, 80.0

#: Side of the image, px; largest enlargement of the motion shown; number of frames that a network is given.
SIZE, MAX_ENLARGE, N_NETWORK_FRAMES = 144, 8.0, 6

#: How strongly folds darken a phantom's skin, 0..1.
_WRINKLES = 0.7

#: Distance of two arrows in the flow image, px.
STEP = 8


def read_aus(aus: str | Mapping[str, float]) -> dict[str, float]:
    """Action units as the puppet keeps them: code such as ``AU12L`` -> peak, % of the eye distance.

    Args:
        aus: as annotation sheets write them, e.g. ``"L12+6"`` (peak 2 each), or code -> peak.

    Raises:
        StagkitError: an unknown AU, a side it does not have, one AU twice, or a peak outside 0..3.
    """
    peaks = dict(aus) if isinstance(aus, Mapping) else ({aus: 2.0} if aus else {})
    found: dict[str, float] = {}
    for text, peak in peaks.items():
        parsed = parse_aus(text)
        if parsed.unread or not parsed.codes:
            raise StagkitError(f"{text!r} is no list of action units; write e.g. 'L12+6', or {{'AU12L': 2.0}}.")
        if not isinstance(peak, (int, float)) or not 0 <= peak <= MAX_STRENGTH:
            limit = f"0 to {MAX_STRENGTH:g} % of the eye distance"
            raise StagkitError(f"the strength of {text} is {peak!r}, expected {limit}.")
        for code in parsed.codes:
            check_code(code.number, code.side)
            unit = ACTION_UNITS[code.number]
            if any(other.startswith(unit.label) for other in found):
                raise StagkitError(f"{unit.label} is given twice: give it one side, or none for both.")
            found[f"{unit.label}{code.side}"] = float(peak)
    return found


def _split_code(code: str) -> tuple[int, str]:
    """``AU12L`` -> (12, "L")."""
    return int(code[2:4]), code[4:]


class Actor:
    """The face that is moved; ``face`` as for ``plot_puppet``."""

    def __init__(self, face: int | tuple[np.ndarray, np.ndarray] = 0):
        self._drawn = None
        if isinstance(face, (int, np.integer)) and not isinstance(face, bool):
            from stagkit.synthetic.identity import make_subject
            from stagkit.synthetic.render.face import draw_face

            self._drawn = draw_face(make_subject(int(face)), SIZE)
            self.name, self.landmarks = f"phantom {face}", self._drawn.landmarks
            self.neutral = self._render([(12, "")], np.ones(1), np.zeros(1))[0]
            return
        if not isinstance(face, tuple) or len(face) != 2:
            raise StagkitError(
                f"the face is a {type(face).__name__}, expected the seed of a phantom (a whole number), or a pair of an "
                "image and its 68 landmarks."
            )
        clip = animate_photo(np.asarray(face[0]), np.asarray(face[1]), {"12": 0.0}, n_frames=10, size=SIZE, noise=0.0)
        self.name, self.neutral, self.landmarks = "photograph", clip.frames[0], clip.landmarks[0]
        self._splines, self._fields = make_splines(self.neutral), {}

    def _make_field(self, code: str) -> np.ndarray:
        """Displacement of the neutral face by an AU at a peak of 1 % of the eye distance: float32 "2 y x" px."""
        number, side = _split_code(code)
        if self._drawn is not None:
            return make_unit_field(self._drawn.subject, SIZE, number, side, 1)
        if code not in self._fields:
            self._fields[code] = make_au_field(number, side, self.landmarks, SIZE)
        return self._fields[code]

    def move(self, aus: Mapping[str, float], course: np.ndarray, folds: float = 1.0) -> tuple[np.ndarray, float]:
        """Frames of the face at intensities ``course`` "time", 0..1 of the peaks ``aus``; ``folds`` scales their darkness.

        Returns:
            uint8 "time y x" or "time y x 3", and the fraction of the peaks that could be shown: below 1 where all of it
            would have folded the skin onto itself.
        """
        codes = [code for code, peak in aus.items() if peak > 0]
        if not codes:
            return np.stack([self.neutral] * len(course)), 1.0
        asked = np.array([aus[code] for code in codes])
        fields = np.stack([self._make_field(code) for code in codes])
        peaks = limit_strain(fields, asked)
        if self._drawn is not None:
            return self._render([_split_code(code) for code in codes], peaks, course, folds), float((peaks / asked)[0])
        whole = np.tensordot(peaks.astype(np.float32), fields, axes=1)
        frames = np.stack([move_photo(self.neutral, whole * np.float32(t), self._splines) for t in course])
        return np.clip(np.round(frames), 0, 255).astype(np.uint8), float((peaks / asked)[0])

    def _render(self, aus: list[tuple[int, str]], peaks: np.ndarray, course: np.ndarray, folds=1.0) -> np.ndarray:
        still = IncidentalMotion(*(np.zeros((len(course), *more)) for more in ((2,), (), ())))
        intensity, head = np.tile(course[:, None], (1, len(peaks))), np.tile(np.eye(2, 3), (len(course), 1, 1))
        _, frames = render_frames(ClipSpec(self._drawn, tuple(aus), peaks, intensity, head, still, folds * _WRINKLES))
        return np.clip(np.round(list(frames)), 0, 255).astype(np.uint8)

    def make_clip(self, frames: np.ndarray, fps: float = FPS) -> Clip:
        """The neutral face and then ``frames`` as a clip whose onset is the neutral face."""
        whole = np.concatenate([self.neutral[None], frames])
        names = dict(clip_id="puppet", subject="puppet/puppet", dataset="puppet", label="posed")
        return Clip(frames=whole, fps=fps, landmarks=np.stack([self.landmarks] * len(whole)), onset=0, **names)


@dataclass(frozen=True)
class Pose:
    """The image and the measurements at one setting of the puppet.

    Args:
        aus: code -> peak, % of the eye distance; ``frame``: of the movement, 0-based; ``intensity``: 0..1 there.
        image: uint8 "y x" or "y x 3", with the motion enlarged by the factor ``enlarge``.
        motion: measured from the neutral face (frame 0) to the same moment at its real size (frame 1).
        speeds: region -> mean speed of its measured flow, % of the eye distance.
        peak_fraction: fraction of the peaks that was shown; below 1 where the rest would have folded the skin.
    """

    aus: Mapping[str, float]
    frame: int
    intensity: float
    enlarge: float
    image: np.ndarray = field(repr=False)
    motion: FlowClip = field(repr=False)
    speeds: Mapping[str, float] = field(repr=False)
    peak_fraction: float = 1.0

    @property
    def fastest(self) -> str:
        """Name of the region that moves most, '' where none does."""
        name = max(self.speeds, key=self.speeds.get)
        return name if self.speeds[name] > 0.05 else ""

    def describe(self) -> str:
        """The setting in words."""
        units = ", ".join(f"{code} {peak:g} %" for code, peak in self.aus.items() if peak > 0) or "no action unit"
        return f"{units}; {1000 * self.frame / FPS:.0f} ms"


def _make_course() -> np.ndarray:
    """Intensity of the movement in each frame: float "time", 0..1."""
    return make_intensity(N_FRAMES, *find_moments(N_FRAMES))


def compute_pose(actor: Actor, aus: Mapping[str, float], frame: int | None = None, enlarge: float = 1.0) -> Pose:
    """Move the face by ``aus`` (from ``read_aus``) and measure it; ``frame`` and ``enlarge`` as for ``plot_puppet``."""
    frame = find_moments(N_FRAMES)[1] if frame is None else frame
    if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)) or not 0 <= frame < N_FRAMES:
        raise StagkitError(f"`frame` is {frame!r}, expected 0 to {N_FRAMES - 1}.")
    check_range("enlarge", enlarge, 1, MAX_ENLARGE)
    intensity = _make_course()[frame : frame + 1]
    frames, fraction = actor.move(aus, intensity)
    motion = compute_flow(actor.make_clip(frames), FlowConfig(selection="all"))
    if enlarge > 1:  # the skin goes further, but is no more creased than it is
        frames = actor.move({code: peak * fraction * enlarge for code, peak in aus.items()}, intensity, 1 / enlarge)[0]
    speed = np.linalg.norm(motion.flow[1:2], axis=1, keepdims=True) * (100 / motion.iod)
    patches, _ = sample_regions(speed, actor.landmarks, patch=7)
    speeds = dict(zip(ATLAS.names, patches[0].mean((1, 2, 3)).tolist(), strict=True))
    return Pose(dict(aus), int(frame), float(intensity[0]), float(enlarge), frames[0], motion, speeds, fraction)


def predict_pose(actor: Actor, aus: Mapping[str, float], weights: PretrainedEnsemble) -> dict[str, float]:
    """Prediction for the whole movement, from frames between onset and offset: class -> probability."""
    onset, _, offset = find_moments(N_FRAMES)
    at = np.linspace(onset, offset, N_NETWORK_FRAMES + 2)[1:-1]
    course = np.interp(at, np.arange(N_FRAMES), _make_course())
    clip = actor.make_clip(actor.move(aus, course)[0], fps=FPS / (at[1] - at[0]))
    motion = compute_flow(clip, weights.flow.replace(n_frames=N_NETWORK_FRAMES))
    return dict(zip(weights.classes, weights.predict(weights.collate(motion, clip))[0].tolist(), strict=True))


def as_weights(weights: object) -> PretrainedEnsemble | None:
    """Weights as given, or what ``stagkit.load_weights`` makes of a name, a file or a run; None stays None."""
    if weights is None or hasattr(weights, "predict"):
        return weights
    from stagkit.inference.pretrained import load_weights

    return load_weights(weights)


def list_places() -> list[tuple[str, str]]:
    """Rows of the region bars, from the brows to the chin: (place, ``"LR"`` or ``""`` on the midline)."""
    centres = dict(zip(ATLAS.names, ATLAS.mean_centres[:, 1], strict=True))
    rows = {roi.place: ("LR" if roi.side else "", centres[roi.name]) for roi in ATLAS.rois}
    return [(place, sides) for place, (sides, _) in sorted(rows.items(), key=lambda item: item[1][1])]


def find_arrows(pose: Pose, landmarks: np.ndarray) -> np.ndarray:
    """Measured flow in the face where it is visible: float "arrow 4" = x, y (px), u, v (% of IOD)."""
    flow = pose.motion.flow[1] * (100 / pose.motion.iod)
    ys, xs = np.mgrid[STEP // 2 : SIZE : STEP, STEP // 2 : SIZE : STEP]
    inside = compute_face_mask(landmarks, (SIZE, SIZE))[ys, xs] & (np.linalg.norm(flow, axis=0)[ys, xs] > 0.08)
    xs, ys = xs[inside], ys[inside]
    return np.stack([xs, ys, *flow[:, ys, xs]], -1)


def paint_flow(pose: Pose, actor: Actor) -> np.ndarray:
    """Speed of the measured flow in colour over the faint neutral face: uint8 "y x 3"."""
    neutral = (actor.neutral if actor.neutral.ndim == 2 else actor.neutral.mean(-1)).astype(np.float32)
    speed = np.linalg.norm(pose.motion.flow[1], axis=0) * (100 / pose.motion.iod)
    level = np.clip(speed / MAX_STRENGTH * 255, 0, 255).astype(np.uint8)
    colour = cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.float32)
    mask = compute_face_mask(actor.landmarks, neutral.shape)
    alpha = (0.8 * mask * np.clip(speed / (0.2 * MAX_STRENGTH), 0, 1))[..., None]
    return np.clip((0.55 * neutral + 90)[..., None] * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def plot_puppet(
    face: int | tuple[np.ndarray, np.ndarray] = 0,
    aus: str | Mapping[str, float] = "12",
    *,
    frame: int | None = None,
    enlarge: float = 1.0,
    weights: PretrainedEnsemble | str | None = None,
) -> Figure:
    """Draw a face moved by action units, its measured flow, and the speed of each region (``view_puppet`` has sliders).

    Args:
        face: seed of a synthetic subject, or (image, landmarks): uint8 "y x" or "y x 3", float "68 2" px.
        aus: as annotation sheets write them, e.g. ``"L12+6"`` (2 % each), or code -> peak, % of the eye distance, 0..3.
        frame: of the movement, 0..23 at 80 frames per second; the apex where None.
        enlarge: factor by which the motion in the image is enlarged, 1..8; flow is measured on the real motion.
        weights: networks that classify the movement (``stagkit.load_weights``), or what that takes.

    Raises:
        StagkitError: an unknown action unit, side, strength, frame or face; the message lists what is possible.
    """
    actor, peaks, networks = Actor(face), read_aus(aus), as_weights(weights)
    pose = compute_pose(actor, peaks, frame, enlarge)
    return draw_pose(actor, pose, predict_pose(actor, peaks, networks) if networks else {})


@styled
def draw_pose(actor: Actor, pose: Pose, probabilities: Mapping[str, float]) -> Figure:
    """The figure of ``plot_puppet``, of a computed pose."""
    figure = Figure(figsize=(PAGE, 2.75), layout="none")
    skin, flow = (figure.add_axes((x, 0.13, 0.325, 0.86)) for x in (0.0, 0.33))
    bars = figure.add_axes((0.74, 0.36 if probabilities else 0.16, 0.25, 0.60 if probabilities else 0.80))
    enlarged = f"\nmotion enlarged {pose.enlarge:g} times" if pose.enlarge > 1 else ""
    panels = (
        (skin, pose.image, textwrap.fill(pose.describe(), 52) + enlarged),
        (flow, paint_flow(pose, actor), "measured flow, at its real size"),
    )
    for axes, image, words in panels:
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
        axes.set(xticks=[], yticks=[], xlim=(-0.5, SIZE - 0.5), ylim=(SIZE - 0.5, -0.5))
        axes.set_xlabel(words, fontsize=7)
        axes.spines[:].set_visible(False)
    x, y, u, v = find_arrows(pose, actor.landmarks).T
    scale = {"angles": "xy", "scale_units": "xy", "scale": MAX_STRENGTH / (2.5 * STEP)}
    flow.quiver(x, y, u, v, color="white", width=0.006, minlength=0, **scale)
    _draw_speeds(bars, pose)
    if probabilities:
        classes = figure.add_axes((0.74, 0.1, 0.25, 0.15))
        classes.barh(list(probabilities), list(probabilities.values()), color=COLOURS[2], height=0.7)
        classes.set(xlim=(0, 1), ylim=(len(probabilities) - 0.5, -0.5), xticks=[0, 1])
        classes.tick_params(length=0, labelsize=6)
        classes.spines["left"].set_visible(False)
        classes.set_xlabel("probability", labelpad=-7, fontsize=7)
    return figure


def _draw_speeds(axes, pose: Pose) -> None:
    """Right side to the left, left side to the right, as in the image; midline regions to both."""
    places = list_places()
    for row, (place, sides) in enumerate(places):
        if not sides:
            axes.barh(row, pose.speeds[place], left=-pose.speeds[place] / 2, color=SOFT, height=0.7)
            continue
        for side, sign, colour in (("R", -1, COLOURS[1]), ("L", 1, COLOURS[0])):
            axes.barh(row, sign * pose.speeds[f"{place}_{side}"], color=colour, height=0.7)
    axes.axvline(0, color=INK, lw=0.6)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    ticks = [-MAX_STRENGTH, 0, MAX_STRENGTH]
    axes.set(xlim=(-MAX_STRENGTH, MAX_STRENGTH), ylim=(len(places) - 0.5, -0.5))
    axes.set_xticks(ticks, [f"{abs(t):g}" for t in ticks])
    axes.set_yticks(range(len(places)), [place.replace("_", " ") for place, _ in places], fontsize=6)
    axes.tick_params(length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("subject's right    % of IOD    left", fontsize=7, labelpad=2)
