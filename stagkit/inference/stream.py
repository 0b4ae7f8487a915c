"""Prediction while a clip is recorded: each frame is measured once against the onset frame.

Flow is kept because the head motion is smoothed over all frames: a second of 200 frames at 128 px takes 26 MB. After the
last frame the prediction is that of the whole clip.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.types import Clip, ShapeError, StagkitError
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.optical_flow import (
    FlowClip,
    compute_frame_scores,
    compute_grey,
    compute_rois,
    compute_strain,
    make_flow_estimator,
    select_frames,
    subtract_head_motion,
)
from stagkit.motion.rois import stack_sequences
from stagkit.network.model import Stag
from stagkit.training.train import predict


class Stream:
    """A clip that grows frame by frame.

    Args:
        model: a trained network; classes: names of its classes.
        onset, landmarks: the frame from which motion is measured, uint8 "y x" or "y x chan", and its points "68 2" px.
        flow_config, roi_config: as the network was trained with.

    Example:
        >>> from stagkit import PhantomConfig, StagConfig, make_clip
        >>> clip = make_clip(PhantomConfig(clips=1, subjects=1), 0, 0)
        >>> stream = Stream(Stag(StagConfig(width=8), 2).eval(), ("yes", "no"), clip.frames[0], clip.landmarks[0])
        >>> stream.add(clip.frames[9], time_ms=45.0)
        >>> stream.predict().shape
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
        self.model, self.classes, self.onset = model, tuple(classes), onset
        self.landmarks = np.asarray(landmarks, float)
        self.flow_config, self.roi_config = flow_config, roi_config
        self._estimate = make_flow_estimator(compute_grey(onset[None])[0], self.landmarks, flow_config)
        self._flow, self._head, self._times = [np.zeros((2, *onset.shape[:2]), np.float32)], [np.eye(2, 3)], [0.0]

    def __len__(self) -> int:
        return len(self._flow) - 1

    def add(self, frame: np.ndarray, time_ms: float) -> None:
        """Add a frame: uint8, shaped like the onset frame, ``time_ms`` after it; in the order of time."""
        if frame.shape != self.onset.shape:
            raise ShapeError(f"the frame is {frame.shape}, the onset frame {self.onset.shape}: expected the same size.")
        if time_ms <= self._times[-1]:
            raise StagkitError(f"a frame at {time_ms} ms after one at {self._times[-1]} ms: frames come in order.")
        flow, head = self._estimate(compute_grey(frame[None])[0])
        self._flow.append(np.asarray(flow, np.float32))
        self._head.append(head)
        self._times.append(float(time_ms))

    def predict(self) -> np.ndarray:
        """Probabilities float "cls" from the discriminative frames among those added so far, at least one."""
        if not len(self):
            raise StagkitError("no frame was added yet: motion needs one in addition to the onset frame.")
        flow, head, times = np.stack(self._flow), np.stack(self._head), np.array(self._times)
        if self.flow_config.stabilise:
            head = subtract_head_motion(flow, head, times, self.landmarks, 0)
        scores = compute_frame_scores(flow, self.landmarks)
        scores[0] = 0.0
        at = select_frames(scores, times, self.flow_config)
        kept = np.arange(len(at))
        motion = FlowClip(flow[at], compute_strain(flow[at]), head[at], times[at], scores[at], kept, self.landmarks)
        # label and subject of a stream are unknown; ``predict`` does not use them
        clip = Clip(np.stack([self.onset, self.onset]), 1.0, "stream", "", "", self.classes[0])
        sequence = compute_rois(motion, clip, self.roi_config)
        return predict(self.model, stack_sequences([sequence], self.classes), np.array([0]))[0]
