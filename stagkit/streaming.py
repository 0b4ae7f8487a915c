"""One clip as it comes: frames (or flow) are handed over one by one, and the network answers at any time.

A frame is measured once, against the onset frame, and only its small patches are kept: a second of film costs kilobytes.
After the last frame the answer is the one that the whole clip gets.
"""

from __future__ import annotations

import numpy as np

from stagkit.config import FlowConfig, RoiConfig
from stagkit.flow import compute_flow, compute_frame_scores, compute_rois, compute_strain, select_frames
from stagkit.model import Stag
from stagkit.train import predict
from stagkit.types import Clip, FlowClip, RoiDataset, RoiSequence, ShapeError, StagkitError


class Stream:
    """A clip of which the onset frame is known and the rest is still to come.

    Args:
        model: a trained network.
        classes: names of its classes.
        onset: uint8 "y x" or "y x chan", the frame from which motion is measured.
        landmarks: float "68 2" px, of that frame.
        flow_config, roi_config: as the network was trained with.

    Example:
        >>> from stagkit.phantom import PhantomConfig, make_clip
        >>> from stagkit import StagConfig
        >>> clip = make_clip(PhantomConfig(clips=1, subjects=1), 0, 0)
        >>> stream = Stream(Stag(StagConfig(width=8), 2).eval(), ("yes", "no"), clip.frames[0], clip.landmarks[0])
        >>> stream.add(clip.frames[9], time_ms=45.0)
        >>> stream.answer().shape
        (2,)
    """

    def __init__(
        self,
        model: Stag,
        classes: tuple[str, ...],
        onset: np.ndarray,
        landmarks: np.ndarray,
        flow_config: FlowConfig = FlowConfig(),
        roi_config: RoiConfig = RoiConfig(),
    ):
        self.model, self.classes, self.onset, self.landmarks = model, tuple(classes), onset, np.asarray(landmarks)
        self.flow_config, self.roi_config = flow_config, roi_config
        self._frames: list[RoiSequence] = []
        self._scores: list[float] = []
        self._times: list[float] = []

    def __len__(self) -> int:
        return len(self._frames)

    def add(self, frame: np.ndarray, time_ms: float) -> None:
        """Hand over a frame: uint8, like the onset frame, ``time_ms`` after it."""
        if frame.shape != self.onset.shape:
            raise ShapeError(f"the frame is {frame.shape}, the onset frame {self.onset.shape}: expected the same size.")
        pair = self._pair(np.stack([self.onset, frame]))
        self._keep(compute_flow(pair, self.flow_config.replace(selection="all")), time_ms)

    def add_flow(self, flow: np.ndarray, time_ms: float) -> None:
        """Hand over motion that was measured elsewhere: float "2 y x" px from the onset frame, head motion removed."""
        if flow.shape != (2, *self.onset.shape[:2]):
            raise ShapeError(f"`flow` is {flow.shape}, expected (2, {self.onset.shape[0]}, {self.onset.shape[1]}).")
        field = np.stack([np.zeros_like(flow), flow]).astype(np.float32)
        still = np.tile(np.eye(2, 3), (2, 1, 1))
        scores = compute_frame_scores(field, self.landmarks)
        times = np.array([0.0, time_ms])
        self._keep(FlowClip(field, compute_strain(field), still, times, scores, np.array([1]), self.landmarks), time_ms)

    def answer(self) -> np.ndarray:
        """Probabilities float "cls" from the discriminative frames among those seen so far.

        Raises:
            StagkitError: no frame was handed over yet.
        """
        if not self._frames:
            raise StagkitError("no frame was handed over yet: motion needs one beside the onset frame.")
        # the onset frame stands first in the choice, as in a whole clip, and is never taken
        scores, times = np.array([0.0, *self._scores]), np.array([0.0, *self._times])
        chosen = [self._frames[i - 1] for i in select_frames(scores, times, self.flow_config)]
        whole = RoiSequence(
            patches=np.concatenate([s.patches for s in chosen]),
            present=np.concatenate([s.present for s in chosen]),
            times_ms=np.concatenate([s.times_ms for s in chosen]),
            roi_names=chosen[0].roi_names,
            clip_id="stream",
            subject="",
            dataset="",
            label=self.classes[0],  # nobody knows it, and ``predict`` does not look
            aus=chosen[0].aus,
        )
        return predict(self.model, RoiDataset.from_sequences([whole], self.classes), np.array([0]))[0]

    def _pair(self, frames: np.ndarray) -> Clip:
        landmarks = np.stack([self.landmarks, self.landmarks])
        return Clip(frames, 1.0, "stream", "", "", self.classes[0], landmarks=landmarks)

    def _keep(self, motion: FlowClip, time_ms: float) -> None:
        pair = self._pair(np.stack([self.onset, self.onset]))
        cut = compute_rois(motion, pair, self.roi_config)
        cut.times_ms[:] = time_ms
        self._frames.append(cut)
        self._scores.append(float(motion.scores[1]))
        self._times.append(time_ms)
