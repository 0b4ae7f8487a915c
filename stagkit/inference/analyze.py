"""``stagkit analyze``: motion, prediction and attribution of a recording, in windows that overlap by half.

The timeline shows motion; it does not spot micro-expressions: nothing here was trained or tested for that.
"""

from __future__ import annotations

import warnings
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import numpy as np
from scipy.special import softmax

from stagkit.core.errors import StagkitWarning
from stagkit.core.facs import AU_LABELS
from stagkit.core.files import Progress, no_progress
from stagkit.core.types import Batch, Clip, StagkitError
from stagkit.explain.aggregate import Attribution, by_au
from stagkit.explain.attribution import attribute
from stagkit.inference.pretrained import PretrainedEnsemble, load_weights
from stagkit.motion.frames import read_ahead
from stagkit.motion.landmarks import FaceError, LandmarkFinder, check_face, load_finder, load_landmarks, make_aligner
from stagkit.motion.optical_flow import FlowClip, compute_flow
from stagkit.motion.video import Video, iter_windows, open_video

#: Side of the aligned face, px; most frames of a window; its longest duration, s (stagkit's choices).
SIZE, MAX_FRAMES, MAX_WINDOW = 192, 240, 3600.0

#: Motion of a still face by camera noise alone, % of IOD: 0.04 to 0.19 with noise of 1 to 4 grey levels and two codecs; the
#: weakest phantoms move 0.26.
STILL = 0.2


@dataclass(frozen=True)
class Window:
    """A part of a recording: its first and last frame (0-based), and why it could not be measured, or ''.

    Args:
        peak: largest motion score, % of IOD; ``peak_frame``: its frame.
        probabilities: float "cls", mean over networks.
        spread: largest difference between networks in the probability of the predicted class.
    """

    start: int
    stop: int
    reason: str = ""
    peak: float = 0.0
    peak_frame: int = 0
    probabilities: tuple[float, ...] = ()
    spread: float = 0.0


@dataclass(frozen=True)
class Analysis:
    """The analysis of a recording.

    Args:
        windows: in order; ``shown``: the one with the most motion (the first of equal ones), which is explained.
        classes, run, training_summary: classes, name and training of the networks.
        clip, motion, attribution: of the shown window; ``au_probabilities`` "time au", 0..1, mean over networks.
        warnings: one sentence per problem of the recording, e.g. a frame rate that varies.
    """

    name: str
    fps: float
    windows: tuple[Window, ...]
    shown: int
    classes: tuple[str, ...]
    run: str
    training_summary: str
    clip: Clip = field(repr=False)
    motion: FlowClip = field(repr=False)
    attribution: Attribution = field(repr=False)
    au_probabilities: np.ndarray = field(repr=False)
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> Window:
        """The window that is explained."""
        return self.windows[self.shown]

    @property
    def stillness(self) -> str:
        """One sentence if nothing moved more than camera noise does, or ''."""
        best = self.best
        if best.peak >= STILL:
            return ""
        return (
            f"The recording is motionless: the largest motion, in frames {best.start} to {best.stop}, is {best.peak:.2f} % "
            f"of the eye distance, and camera noise alone causes up to {STILL} %. The prediction means nothing here."
        )


def analyze_video(
    path: str | Path,
    run: str | Path,
    landmarks: str | Path | None = None,
    landmarker: str | Path | None = None,
    fps: float | None = None,
    window: float = 0.75,
    progress: Progress = no_progress,
) -> Analysis:
    """Analyse a recording; ``save_analysis`` writes the page.

    Args:
        path: video file or folder of images.
        run: as for ``load_weights``; the mean of the networks' logits is used.
        landmarks: stored points of the first frame "68 2", or of all frames "time 68 2", px.
        landmarker: mediapipe's ``face_landmarker.task``, which finds the face in each window.
        fps: frames per second, if the file does not state it; window: length of a window, s.
        progress: wraps the windows.

    Raises:
        StagkitError: no recording, no usable run, no landmarks, no window with a usable face.
    """
    if not 0 < window <= MAX_WINDOW:
        raise StagkitError(f"`window` is {window:g} s, expected more than 0 and at most {MAX_WINDOW:g}.")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", StagkitWarning)
            analysis = _analyze(path, run, landmarks, landmarker, fps, window, progress)
    finally:
        for w in caught:
            warnings.warn_explicit(w.message, w.category, w.filename, w.lineno)
    texts = [str(w.message) for w in caught if issubclass(w.category, StagkitWarning)]
    return replace(analysis, warnings=tuple(dict.fromkeys(texts)))


def _analyze(path, run, landmarks, landmarker, fps, window: float, progress) -> Analysis:
    video = open_video(path, fps)
    known = load_weights(run)
    if landmarks is None and landmarker is None:
        raise StagkitError("landmarks are needed: give --landmarks FILE.npy, or --landmarker face_landmarker.task.")
    stored = None if landmarks is None else load_landmarks(landmarks, video.count_frames(), video.name)
    finder = load_finder(str(landmarker)) if landmarker is not None else None
    length = int(np.clip(round(window * video.fps), 8, MAX_FRAMES))

    windows: list[Window] = []
    shown, best = -1, None  # the first window with the most motion of those that could be measured
    parts = iter_windows(read_ahead(video), length, lambda start: _Part(video, start, stored, finder))
    for start, part in progress(parts, None):
        if part.n_frames < 2:
            raise StagkitError(f"{path} has a single frame: motion needs at least two.")
        try:
            clip = part.make_clip()
            motion = compute_flow(clip, known.flow)
        except StagkitError as error:
            windows.append(Window(start, start + part.n_frames - 1, reason=str(error)))
            continue
        logits = known.compute_logits(known.collate(motion, clip))[:, 0]
        each, mean = softmax(logits, axis=-1), softmax(logits.mean(0))
        at = int(motion.scores.argmax())
        peak, spread = float(motion.scores[at]), float(np.ptp(each[:, mean.argmax()]))
        probabilities = tuple(float(v) for v in mean)
        windows.append(Window(start, start + part.n_frames - 1, "", peak, start + at, probabilities, spread))
        if best is None or windows[-1].peak > windows[shown].peak:
            shown, best = len(windows) - 1, (clip, motion)
    if best is None:
        raise FaceError(f"no window of {path} shows a usable face; the first: {windows[0].reason}")
    video.warn_of_rate()
    attribution, au_probabilities = _explain(known, known.collate(best[1], best[0]))
    return Analysis(
        name=video.name,
        fps=video.fps,
        windows=tuple(windows),
        shown=shown,
        classes=known.classes,
        run=known.name,
        training_summary=known.training_summary,
        clip=best[0],
        motion=best[1],
        attribution=attribution,
        au_probabilities=au_probabilities,
    )


def describe_analysis(analysis: Analysis) -> str:
    """The result in a few sentences for a terminal."""
    best = analysis.best
    k = int(np.argmax(best.probabilities))
    parts = [f"{c} {p:.0%}" for c, p in zip(analysis.classes, best.probabilities, strict=True)]
    missed = sum(bool(w.reason) for w in analysis.windows)
    faceless = f" {missed} without a usable face." if missed else ""
    most = f"Most motion around frame {best.peak_frame} ({best.peak:.2f} % of the eye distance)."
    head = f"{analysis.name}: {len(analysis.windows)} window(s) at {analysis.fps:g} frames per second."
    return (
        f"{head}{faceless} {analysis.stillness or most}\n"
        f"Prediction: {analysis.classes[k]} ({', '.join(parts)}); the networks differ by up to {best.spread:.0%}.\n"
        f"{analysis.training_summary}"
    )


class _Part:
    """A window of the recording while it is read: all frames aligned to the face of the first.

    Its landmarks are ``stored`` ("time 68 2" px, of the whole recording), or found by ``finder``.
    """

    def __init__(self, video: Video, start: int, stored: np.ndarray | None, finder: LandmarkFinder | None):
        self.video, self.start, self.stored, self.finder = video, start, stored, finder
        self.frames: list[np.ndarray] = []  # "SIZE SIZE" or "SIZE SIZE chan", aligned
        self.n_frames, self.reason = 0, ""

    def append(self, frame: np.ndarray) -> None:
        """Keep the next frame, aligned and reduced; none if the first shows no usable face."""
        if not self.n_frames:
            try:
                self.points = self._find(frame)
                self.matrix, self.align = make_aligner(self.points, SIZE)
            except StagkitError as error:
                self.reason = str(error)
        self.n_frames += 1
        if not self.reason:
            self.frames.append(self.align(frame))

    def _find(self, frame: np.ndarray) -> np.ndarray:
        """Landmarks "68 2" px of the first frame, checked."""
        if self.stored is not None:
            points = self.stored[self.start]
        else:
            faces = self.finder.find(frame)
            if len(faces) != 1:
                raise FaceError("no face was found" if not faces else "two faces are in the image; crop it to one")
            points = faces[0]
        check_face(points, frame, self.video.name)
        return points

    def make_clip(self) -> Clip:
        """The kept frames with landmarks; the first, which must show a usable face, is the onset."""
        if self.reason:
            raise FaceError(self.reason)
        stop = self.start + self.n_frames
        points = self.points[None] if self.stored is None else self.stored[self.start : stop]
        return Clip(
            frames=np.stack(self.frames),
            fps=self.video.fps,
            clip_id=f"{self.video.name}, frames {self.start} to {stop - 1}",
            subject="recording",
            dataset="recording",
            label="unknown",
            landmarks=np.broadcast_to(points, (self.n_frames, 68, 2)) @ self.matrix[:, :2].T + self.matrix[:, 2],
            onset=0,
            timestamps=self.video.find_times(self.start, stop),
        )


def _explain(weights: PretrainedEnsemble, batch: Batch) -> tuple[Attribution, np.ndarray]:
    """Attribution of the mean logit (the mean of the attributions), and mean AU probabilities "time au"."""
    target = int(weights.compute_logits(batch).mean(0)[0].argmax())
    parts = [attribute(n, batch, target=target, n_steps=128, run=weights.name) for n in weights.networks]
    names = "values", "logit_difference", "convergence_delta"
    mean = {name: np.mean([getattr(p, name) for p in parts], axis=0) for name in names}
    mean["values"] = mean["values"].astype(np.float32)
    return replace(parts[0], **mean), weights.compute_au_probabilities(batch)[0]


def tabulate_analysis(analysis: Analysis) -> dict[str, object]:
    """The numbers of an analysis as plain values, for ``analysis.json``."""
    at_peak, attribution = analysis.au_probabilities.max(0), analysis.attribution
    by_label = zip((*AU_LABELS, "none"), by_au(attribution)[0], strict=True)
    return {
        "recording": analysis.name,
        "fps": analysis.fps,
        "run": analysis.run,
        "training_summary": analysis.training_summary,
        "classes": list(analysis.classes),
        "shown": analysis.shown,
        "motionless": bool(analysis.stillness),
        "warnings": list(analysis.warnings),
        "windows": [asdict(w) for w in analysis.windows],
        "au_probabilities": {label: float(v) for label, v in zip(AU_LABELS, at_peak, strict=True)},
        "attribution": {
            "target": analysis.classes[int(attribution.target[0])],
            "logit_difference": float(attribution.logit_difference[0]),
            "relative_delta": float(attribution.relative_delta[0]),
            "by_au": {label: float(v) for label, v in by_label},
            "control": "none: no sanity check was run on this attribution",
        },
    }
