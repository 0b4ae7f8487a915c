"""A face that is pulled by action units, and everything that answers: skin, measured flow, regions, prediction.

The face is a phantom (its lips part, its skin folds) or a photograph. Flow is measured from the still picture to the one
shown, as of any clip, so what answers is what a network would be given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.config import FlowConfig
from stagkit.core.facs import ACTION_UNITS, parse_aus
from stagkit.core.regions import ATLAS
from stagkit.core.types import Clip, FlowClip, StagkitError
from stagkit.motion.optical_flow import compute_flow
from stagkit.synthetic.clip import limit_strain
from stagkit.synthetic.film import Scene, film, make_unit_field
from stagkit.synthetic.habits import Life
from stagkit.synthetic.photo import animate_photo, find_moments, make_splines, move_photo
from stagkit.synthetic.skin_motion import make_au_field, make_intensity

if TYPE_CHECKING:
    from stagkit.inference.pretrained import Weights

#: Largest motion that a slider gives, % of the eye distance; all colours and bars are on this scale (stagkit's choice).
MAX_STRENGTH = 3.0

#: Length of the movement: frames, and frames per second (stagkit's choice).
N_FRAMES, FPS = 24, 80.0

#: Side of the picture, px; most that the picture shown enlarges the motion; frames that a network is given.
SIZE, MAX_ENLARGE, N_JUDGED = 144, 8.0, 6

#: How strongly folds darken a phantom's skin, 0..1.
_WRINKLES = 0.7

_NAMES = dict(clip_id="puppet", subject="puppet/puppet", dataset="puppet", label="pulled")


def read_aus(aus: str | Mapping[str, float], strength: float = 2.0) -> dict[str, float]:
    """Action units as the puppet keeps them: code such as ``AU12L`` -> peak, % of the eye distance.

    Args:
        aus: as sheets write them, e.g. ``"L12+6"``, or code -> peak.
        strength: peak of codes without one of their own.

    Raises:
        StagkitError: an unknown unit, a side it does not have, one unit twice, or a peak outside 0..3.
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
                raise StagkitError(f"{code} has the side {code.side!r}; a puppet knows L, R (the subject's) and both.")
            if code.side and not unit.sided:
                raise StagkitError(f"{unit.label} has one midline muscle: write it without a side, not as {code}.")
            if any(other.startswith(unit.label) for other in found):
                raise StagkitError(f"{unit.label} is given twice: give it one side, or none for both.")
            found[f"{unit.label}{code.side}"] = float(peak)
    return found


def split_code(code: str) -> tuple[int, str]:
    """``AU12L`` -> (12, "L")."""
    return int(code[2:4]), code[4:]


class Actor:
    """The face that is pulled.

    Args:
        face: seed of a phantom person (0 or more), or a photograph and its landmarks: uint8 "y x" or "y x 3", float
            "68 2" px.
        size: side of the aligned square, px; larger is slower.

    Raises:
        StagkitError: neither of the two.
    """

    def __init__(self, face: int | tuple[np.ndarray, np.ndarray] = 0, size: int = SIZE):
        self._drawn, self.size = None, size
        if isinstance(face, (int, np.integer)) and not isinstance(face, bool):
            from stagkit.synthetic.identity import make_subject
            from stagkit.synthetic.render.face import draw_face

            self._drawn = draw_face(make_subject(int(face)), size)
            self.name, self.landmarks = f"phantom {face}", self._drawn.landmarks
            self.still = self._film([(12, "")], np.ones(1), np.zeros(1))[0]
            return
        if not isinstance(face, tuple) or len(face) != 2:
            raise StagkitError(
                f"the face is a {type(face).__name__}, expected the seed of a phantom (a whole number), or a pair of a "
                "picture and its 68 landmarks."
            )
        still = animate_photo(np.asarray(face[0]), np.asarray(face[1]), {"12": 0.0}, n_frames=10, size=size, noise=0.0)
        self.name, self.still, self.landmarks = "photograph", still.frames[0], still.landmarks[0]
        self.splines, self._fields = make_splines(self.still), {}

    def make_field(self, code: str) -> np.ndarray:
        """Displacement of the still face by an action unit at a peak of 1 % of the eye distance: float32 "2 y x" px."""
        number, side = split_code(code)
        if self._drawn is not None:
            return make_unit_field(self._drawn.subject, self.size, number, side, 1)
        if code not in self._fields:
            self._fields[code] = make_au_field(number, side, self.landmarks, self.size)
        return self._fields[code]

    def move(self, aus: Mapping[str, float], course: np.ndarray, folds: float = 1.0) -> tuple[np.ndarray, float]:
        """Frames of the face at shares ``course`` "time" of the peaks ``aus``; a phantom's ``folds`` darken by that much.

        Returns:
            uint8 "time y x" or "time y x 3", and the share of the peaks that could be shown: below 1 where all of
            it would have folded the skin.
        """
        codes = [code for code, peak in aus.items() if peak > 0]
        if not codes:
            return np.stack([self.still] * len(course)), 1.0
        asked = np.array([aus[code] for code in codes])
        fields = np.stack([self.make_field(code) for code in codes])
        peaks = limit_strain(fields, asked)
        if self._drawn is not None:
            return self._film([split_code(code) for code in codes], peaks, course, folds), float((peaks / asked)[0])
        whole = np.tensordot(peaks.astype(np.float32), fields, axes=1)
        frames = np.stack([move_photo(self.still, whole * np.float32(share), self.splines) for share in course])
        return np.clip(np.round(frames), 0, 255).astype(np.uint8), float((peaks / asked)[0])

    def _film(self, programme: list[tuple[int, str]], peaks: np.ndarray, course: np.ndarray, folds=1.0) -> np.ndarray:
        still = Life(*(np.zeros((len(course), *more)) for more in ((2,), (), ())))
        intensity, head = np.tile(course[:, None], (1, len(peaks))), np.tile(np.eye(2, 3), (len(course), 1, 1))
        pictures, _ = film(Scene(self._drawn, tuple(programme), peaks, intensity, head, still, folds * _WRINKLES))
        return np.clip(np.round(pictures), 0, 255).astype(np.uint8)

    def make_clip(self, frames: np.ndarray, fps: float = FPS) -> Clip:
        """The still face and then ``frames`` as a clip whose onset is the still face."""
        whole = np.concatenate([self.still[None], frames])
        return Clip(frames=whole, fps=fps, landmarks=np.stack([self.landmarks] * len(whole)), onset=0, **_NAMES)


@dataclass(frozen=True)
class Pose:
    """What is seen and measured at one setting of the puppet.

    Args:
        aus: code -> peak, % of the eye distance; ``frame``: of the movement, 0-based; ``intensity``: 0..1 there.
        picture: what is shown, uint8 "y x" or "y x 3", its motion ``enlarge`` times the real one.
        motion: measured from the still face (frame 0) to the same moment at its real size (frame 1).
        answers: region -> mean speed of its measured flow, % of the eye distance.
        held: share of the peaks that was shown; below 1 where the rest would have folded the skin.
    """

    aus: Mapping[str, float]
    frame: int
    intensity: float
    enlarge: float
    picture: np.ndarray = field(repr=False)
    motion: FlowClip = field(repr=False)
    answers: Mapping[str, float] = field(repr=False)
    held: float = 1.0

    @property
    def most(self) -> str:
        """Name of the region that moves most, '' where none does."""
        name = max(self.answers, key=self.answers.get)
        return name if self.answers[name] > 0.05 else ""

    def describe(self) -> str:
        """The setting in words."""
        units = ", ".join(f"{code} {peak:g} %" for code, peak in self.aus.items() if peak > 0) or "no action unit"
        return f"{units}; {1000 * self.frame / FPS:.0f} ms"


def find_course() -> np.ndarray:
    """How far the movement has come in each frame: float "time", 0..1."""
    return make_intensity(N_FRAMES, *find_moments(N_FRAMES))


def measure_regions(motion: FlowClip, landmarks: np.ndarray) -> dict[str, float]:
    """Region -> mean speed of the measured flow of frame 1 in it, % of the eye distance."""
    speed = np.linalg.norm(motion.flow[1:2], axis=1, keepdims=True) * (100 / motion.iod)
    patches, _ = ATLAS.cut(speed, landmarks, patch=7)
    return dict(zip(ATLAS.names, patches[0].mean((1, 2, 3)).tolist(), strict=True))


def compute_pose(actor: Actor, aus: Mapping[str, float], frame: int | None = None, enlarge: float = 1.0) -> Pose:
    """Move the face and measure it.

    Args:
        actor: whose face.
        aus: from ``read_aus``.
        frame: 0..23, at 80 frames per second; the apex where None.
        enlarge: how many times the real motion the picture shows, 1..8; nothing is measured on an enlarged picture.

    Raises:
        StagkitError: a frame or an enlargement outside its range.
    """
    frame = find_moments(N_FRAMES)[1] if frame is None else frame
    if isinstance(frame, bool) or not isinstance(frame, (int, np.integer)) or not 0 <= frame < N_FRAMES:
        raise StagkitError(f"`frame` is {frame!r}, expected 0 to {N_FRAMES - 1}.")
    if not 1 <= enlarge <= MAX_ENLARGE:
        raise StagkitError(f"`enlarge` is {enlarge!r}, expected 1 to {MAX_ENLARGE:g}.")
    share = find_course()[frame : frame + 1]
    seen, held = actor.move(aus, share)
    motion = compute_flow(actor.make_clip(seen), FlowConfig(selection="all"))
    shown = seen
    if enlarge > 1:  # the skin goes further, but is no more creased than it is
        shown = actor.move({code: peak * held * enlarge for code, peak in aus.items()}, share, 1 / enlarge)[0]
    answers = measure_regions(motion, actor.landmarks)
    return Pose(dict(aus), int(frame), float(share[0]), float(enlarge), shown[0], motion, answers, held)


def predict_pose(actor: Actor, aus: Mapping[str, float], weights: Weights) -> dict[str, float]:
    """What networks say of the whole movement: class -> probability.

    They are given ``N_JUDGED`` frames between onset and offset, measured like any clip.

    Args:
        actor: whose face.
        aus: from ``read_aus``.
        weights: from ``stagkit.load_weights``.
    """
    onset, _, offset = find_moments(N_FRAMES)
    at = np.linspace(onset, offset, N_JUDGED + 2)[1:-1]
    course = np.interp(at, np.arange(N_FRAMES), find_course())
    clip = actor.make_clip(actor.move(aus, course)[0], fps=FPS / (at[1] - at[0]))
    motion = compute_flow(clip, weights.flow.replace(n_frames=N_JUDGED))
    said = weights.predict(weights.collate(motion, clip))[0]
    return dict(zip(weights.classes, said.tolist(), strict=True))


def as_weights(weights: object) -> Weights | None:
    """Weights as given, or what ``stagkit.load_weights`` makes of a name, a file or a run; None stays None."""
    if weights is None or hasattr(weights, "predict"):
        return weights
    from stagkit.inference.pretrained import load_weights

    return load_weights(weights)
