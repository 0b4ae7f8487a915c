"""``stagkit analyze``: any clip -> motion -> prediction -> evidence by muscle -> one self-contained page.

A long recording is cut into windows that overlap by half; each is measured from its first frame. The timeline shows where
something moved. That is no spotting: nothing here has been trained or tested to find micro-expressions in a long recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.analysis_page import make_page
from stagkit.config import FlowConfig, RoiConfig
from stagkit.explain import attribute, by_au
from stagkit.faces import FaceError, align_clip, check_face, load_finder, load_landmarks
from stagkit.facs import AU_LABELS
from stagkit.files import Progress, check_writable, no_progress, write_json, write_text
from stagkit.flow import compute_flow, compute_rois
from stagkit.runs import Run, RunError
from stagkit.types import Attribution, Batch, Clip, FlowClip, RoiDataset, StagkitError
from stagkit.video import Video, iter_windows, open_video

if TYPE_CHECKING:
    from stagkit.model import Stag

#: Side of the aligned face, px; most frames of a window; most networks of a run that are asked (stagkit's choices).
SIZE, MAX_FRAMES, MAX_NETWORKS = 192, 240, 10


@dataclass(frozen=True)
class Window:
    """What was seen in a part of a recording.

    Args:
        start, stop: first and last frame, 0-based.
        why: why it could not be measured, '' where it could.
        peak: largest motion score, % of the eye distance; ``peak_frame``: where.
        probabilities: float "cls", mean over networks.
        spread: largest difference between networks in the probability of the predicted class.
    """

    start: int
    stop: int
    why: str = ""
    peak: float = 0.0
    peak_frame: int = 0
    probabilities: tuple[float, ...] = ()
    spread: float = 0.0


@dataclass(frozen=True)
class Analysis:
    """A recording, looked at.

    Args:
        name, fps: of the recording.
        windows: in order; ``shown``: the one with the most motion, which is explained.
        classes: of the run; ``run``: its folder's name; ``learned``: one sentence on what its weights were trained on.
        clip, motion, attribution: of the shown window; ``au_evidence`` "time au", 0..1, mean over networks.
    """

    name: str
    fps: float
    windows: tuple[Window, ...]
    shown: int
    classes: tuple[str, ...]
    run: str
    learned: str
    clip: Clip = field(repr=False)
    motion: FlowClip = field(repr=False)
    attribution: Attribution = field(repr=False)
    au_evidence: np.ndarray = field(repr=False)

    @property
    def best(self) -> Window:
        """The window that is explained."""
        return self.windows[self.shown]


def analyze_video(
    path: str | Path,
    run: str | Path,
    out: str | Path,
    landmarks: str | Path | None = None,
    landmarker: str | Path | None = None,
    fps: float | None = None,
    window: float = 0.75,
    progress: Progress = no_progress,
) -> Analysis:
    """Look at a recording and write ``page.html`` and ``analysis.json``.

    Args:
        path: video file or folder of pictures.
        run: a finished run on prepared clips; the networks of its first seed judge together (mean of their logits).
        out: folder to write.
        landmarks: stored points of the first frame "68 2", or of all frames "time 68 2", px.
        landmarker: mediapipe's ``face_landmarker.task``; finds the face anew in each window.
        fps: frames per second, where the file does not say.
        window: length of a window, s; a recording no longer than that is one.
        progress: wraps the windows.

    Raises:
        StagkitError: no recording, no usable run, no landmarks, no window with a usable face.
    """
    from stagkit.datasets.tree import Tree

    video = open_video(path, fps)
    known = Run.load(run, evidence=True)
    made = _read_settings(known)
    if landmarks is None and landmarker is None:
        raise StagkitError("landmarks are needed: give --landmarks FILE.npy, or --landmarker face_landmarker.task.")
    check_writable(out)
    stored = None
    if landmarks is not None:
        n_frames = len(Tree(video.path).pictures(video.path)[0]) if video.path.is_dir() else sum(1 for _ in video)
        stored = load_landmarks(landmarks, n_frames, video.name)
    finder = load_finder(str(landmarker)) if landmarker is not None else None
    networks = _load_networks(known, made)
    length = int(np.clip(round(window * video.fps), 8, MAX_FRAMES))

    windows: list[Window] = []
    best: tuple[Clip, FlowClip] | None = None
    for start, frames in progress(iter_windows(video, length), None):
        if len(frames) < 2:
            raise StagkitError(f"{path} has a single frame: motion needs at least two.")
        try:
            clip = _make_clip(video, start, frames, stored, finder)
            seen = compute_flow(clip, made["flow"])
        except StagkitError as error:
            windows.append(Window(start, start + len(frames) - 1, why=str(error)))
            continue
        logits = _judge(networks, _collate(clip, seen, made))
        p = _softmax(logits)
        mean = _softmax(logits.mean(0, keepdims=True))[0]
        at = int(seen.scores.argmax())
        windows.append(
            Window(
                start=start,
                stop=start + len(frames) - 1,
                peak=float(seen.scores[at]),
                peak_frame=start + at,
                probabilities=tuple(float(v) for v in mean),
                spread=float(np.ptp(p[:, mean.argmax()])),
            )
        )
        if windows[-1].peak >= max(w.peak for w in windows):
            best = clip, seen
    if best is None:
        raise FaceError(f"no window of {path} shows a usable face; the first: {windows[0].why}")
    shown = max(range(len(windows)), key=lambda i: windows[i].peak)
    explained, evidence = _explain(networks, _collate(*best, made), known.name)
    analysis = Analysis(
        name=video.name,
        fps=video.fps,
        windows=tuple(windows),
        shown=shown,
        classes=tuple(made["classes"]),
        run=known.name,
        learned=describe_training(known),
        clip=best[0],
        motion=best[1],
        attribution=explained,
        au_evidence=evidence,
    )
    write_json(Path(out) / "analysis.json", _to_json(analysis))
    write_text(Path(out) / "page.html", make_page(analysis))
    return analysis


def describe_training(run: Run) -> str:
    """One sentence on what a run's weights have learned from, and how well it did there."""
    report = run.metrics
    sets = sorted(report["per_dataset"]) or ["unnamed clips"]
    drawn = all("phantom" in name or name == "animated-photo" for name in sets)
    what = "phantoms, drawn by a program: they say nothing about real people" if drawn else "recordings"
    score = report["uf1"]
    return (
        f"The networks were trained on {report['n_clips']} clips of {report['n_subjects']} subjects of "
        f"{', '.join(sets)} ({what}); there they reached a UF1 of {score['mean']:.2f} on people they had not seen "
        f"(95 % interval {score['ci95'][0]:.2f} to {score['ci95'][1]:.2f}, majority class "
        f"{report['baselines']['majority']['uf1']:.2f}). On other people, cameras and situations nothing was measured."
    )


def describe_analysis(analysis: Analysis) -> str:
    """What was seen, in a few sentences for a terminal."""
    best = analysis.best
    k = int(np.argmax(best.probabilities))
    parts = [f"{c} {p:.0%}" for c, p in zip(analysis.classes, best.probabilities, strict=True)]
    missed = sum(bool(w.why) for w in analysis.windows)
    told = f" {missed} without a usable face." if missed else ""
    return (
        f"{analysis.name}: {len(analysis.windows)} window(s) at {analysis.fps:g} frames a second.{told} Most motion "
        f"around frame {best.peak_frame} ({best.peak:.2f} % of the eye distance).\n"
        f"There the networks say {analysis.classes[k]}: {', '.join(parts)}; they differ by up to {best.spread:.0%}.\n"
        f"{analysis.learned}"
    )


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _read_settings(run: Run) -> dict:
    data = run.request["data"]
    data = data["of"][0] if "of" in data else data
    if "flow" not in data or "roi" not in data:
        raise RunError(
            f"{run.path} was trained on published flow maps, whose amplitude is lost: give a run on prepared clips."
        )
    return {
        "flow": FlowConfig.from_dict(data["flow"]),
        "roi": RoiConfig.from_dict(data["roi"]),
        "classes": run.request.get("classes") or run.metrics["classes"],
    }


def _load_networks(run: Run, made: dict) -> list[Stag]:
    """The first networks of the run's first seed."""
    patch = made["roi"].patch
    shape = RoiDataset(
        x=np.zeros((0, 1, 0, 3, patch, patch), np.float32),
        mask=np.zeros((0, 1, 0), bool),
        times_ms=np.zeros((0, 1), np.float32),
        label=np.zeros(0, np.int64),
        aus=np.zeros((0, len(AU_LABELS)), np.float32),
        clip_ids=(),
        subjects=(),
        datasets=(),
        classes=tuple(made["classes"]),
        roi_names=(),
    )
    seed = run.request["seeds"][0]
    return [run.load_model(seed, fold, shape) for fold in range(min(MAX_NETWORKS, len(run.split)))]


def _make_clip(video: Video, start: int, frames: np.ndarray, stored: np.ndarray | None, finder) -> Clip:
    """A window with landmarks, aligned; the first frame is the onset."""
    if stored is not None:
        points = stored[start : start + len(frames)]
    else:
        faces = finder.find(frames[0])
        if len(faces) != 1:
            raise FaceError("no face was found" if not faces else "two faces are in the picture; crop it to one")
        points = np.broadcast_to(faces[0], (len(frames), 68, 2)).copy()
    check_face(points[0], frames[0], video.name)
    clip = Clip(
        frames=frames,
        fps=video.fps,
        clip_id=f"{video.name}, frames {start} to {start + len(frames) - 1}",
        subject="recording",
        dataset="recording",
        label="unknown",
        landmarks=points,
        onset=0,
    )
    return align_clip(clip, SIZE)


def _collate(clip: Clip, motion: FlowClip, made: dict) -> Batch:
    """The network's input; the label is a filler, since there is none."""
    sequence = replace(compute_rois(motion, clip, made["roi"]), label=made["classes"][0])
    return RoiDataset.from_sequences([sequence], made["classes"]).batch()


def _judge(networks: Sequence[Stag], batch: Batch) -> np.ndarray:
    """Logits "network cls"."""
    import torch

    with torch.no_grad():
        return np.stack([n.logits(batch.x, batch.mask, batch.times_ms)[0].numpy() for n in networks]).astype(float)


def _softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def _explain(networks: Sequence[Stag], batch: Batch, run: str) -> tuple[Attribution, np.ndarray]:
    """Attribution of the mean logit (the mean of the attributions), and mean AU evidence "time au"."""
    import torch

    target = int(_judge(networks, batch).mean(0).argmax())
    parts = [attribute(n, batch, target=target, n_steps=128, run=run) for n in networks]
    mean = {name: np.mean([getattr(p, name) for p in parts], axis=0) for name in ("values", "gap", "delta")}
    with torch.no_grad():
        evidence = [torch.sigmoid(n(batch.x, batch.mask, batch.times_ms).au_logits)[0].numpy() for n in networks]
    return replace(parts[0], **{**mean, "values": mean["values"].astype(np.float32)}), np.mean(evidence, axis=0)


def _to_json(analysis: Analysis) -> dict:
    at_peak = analysis.au_evidence.max(0)
    return {
        "recording": analysis.name,
        "fps": analysis.fps,
        "run": analysis.run,
        "learned": analysis.learned,
        "classes": list(analysis.classes),
        "shown": analysis.shown,
        "windows": [
            {
                "start": w.start,
                "stop": w.stop,
                "why": w.why,
                "peak": w.peak,
                "peak_frame": w.peak_frame,
                "probabilities": list(w.probabilities),
                "spread": w.spread,
            }
            for w in analysis.windows
        ],
        "au_evidence": {label: float(v) for label, v in zip(AU_LABELS, at_peak, strict=True)},
        "attribution": {
            "target": analysis.classes[int(analysis.attribution.target[0])],
            "gap": float(analysis.attribution.gap[0]),
            "relative_delta": float(analysis.attribution.relative_delta[0]),
            "by_au": {
                label: float(v) for label, v in zip((*AU_LABELS, "none"), by_au(analysis.attribution)[0], strict=True)
            },
            "control": "none: this attribution has not been tested against controls",
        },
    }
