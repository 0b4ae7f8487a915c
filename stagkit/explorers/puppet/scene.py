"""The face that the puppet moves: rendering at one setting, flow measured from it, region speeds, predictions.

The face is a phantom (its lips part, its skin folds) or a photograph; flow is measured from the neutral frame to the one
shown, as in any clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Clip, StagkitError
from stagkit.datasets.au_codes import parse_aus
from stagkit.explorers.validation import check_range
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, compute_flow
from stagkit.motion.rois import sample_regions
from stagkit.synthetic.clip import limit_strain
from stagkit.synthetic.habits import IncidentalMotion
from stagkit.synthetic.photo import animate_photo, find_moments, make_splines, move_photo
from stagkit.synthetic.render.frames import ClipSpec, make_unit_field, render_clip
from stagkit.synthetic.skin_motion import make_au_field, make_intensity

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


def read_aus(aus: str | Mapping[str, float], strength: float = 2.0) -> dict[str, float]:
    """Action units as the puppet keeps them: code such as ``AU12L`` -> peak, % of the eye distance.

    Args:
        aus: as annotation sheets write them, e.g. ``"L12+6"``, or code -> peak.
        strength: peak of codes without one of their own.

    Raises:
        StagkitError: an unknown AU, a side it does not have, one AU twice, or a peak outside 0..3.
    """
    peaks = dict(aus) if isinstance(aus, Mapping) else ({aus: strength} if aus else {})
    found: dict[str, float] = {}
    for text, peak in peaks.items():
        parsed = parse_aus(text)
        if parsed.unread or not parsed.codes:
            raise StagkitError(f"{text!r} is no list of action units; write e.g. 'L12+6', or {{'AU12L': 2.0}}.")
        if not isinstance(peak, (int, float)) or not 0 <= peak <= MAX_STRENGTH:
            raise StagkitError(
                f"the strength of {text} is {peak!r}, expected 0 to {MAX_STRENGTH:g} % of the eye distance."
            )
        for code in parsed.codes:
            unit = ACTION_UNITS.get(code.number)
            if unit is None:
                known = ", ".join(map(str, ACTION_UNITS))
                raise StagkitError(f"AU {code.number} is unknown here; the action units of stagkit are {known}.")
            if code.side not in ("", "L", "R"):
                raise StagkitError(
                    f"{code} has the side {code.side!r}, expected L or R (the subject's), or none for both."
                )
            if code.side and not unit.sided:
                raise StagkitError(f"{unit.label} has one midline muscle: write it without a side, not as {code}.")
            if any(other.startswith(unit.label) for other in found):
                raise StagkitError(f"{unit.label} is given twice: give it one side, or none for both.")
            found[f"{unit.label}{code.side}"] = float(peak)
    return found


def _split_code(code: str) -> tuple[int, str]:
    """``AU12L`` -> (12, "L")."""
    return int(code[2:4]), code[4:]


class Actor:
    """The face that is moved.

    Args:
        face: seed of a synthetic subject (0 or more), or a photograph and its landmarks: uint8 "y x" or "y x 3", float
            "68 2" px.

    Raises:
        StagkitError: neither of the two.
    """

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
        """Frames of the face at intensities ``course`` "time", 0..1 of the peaks ``aus``.

        Args:
            folds: factor of how dark the folds of a phantom's skin are.

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
        frames, _ = render_clip(ClipSpec(self._drawn, tuple(aus), peaks, intensity, head, still, folds * _WRINKLES))
        return np.clip(np.round(frames), 0, 255).astype(np.uint8)

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
        enlarge: factor by which the motion in ``image`` is larger than the real one.
        image: uint8 "y x" or "y x 3".
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
    """Move the face and measure it.

    Args:
        actor: the face.
        aus: from ``read_aus``.
        frame: 0..23, at 80 frames per second; the apex where None.
        enlarge: factor by which the motion in the image is enlarged, 1..8; flow is measured on the real motion.

    Raises:
        StagkitError: a frame or an enlargement outside its range.
    """
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
    """Prediction for the whole movement, from frames between onset and offset: class -> probability.

    Args:
        actor: the face.
        aus: from ``read_aus``.
        weights: from ``stagkit.load_weights``.
    """
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
