"""One clip as it comes: frames (or flow) are handed over one by one, and the network answers at any time.

A frame is measured once, against the onset frame, and its flow is kept, because the path of the head is made smooth over
all frames: a second of film (128 px, 200 frames a second) takes 26 MB. After the last frame the answer is the one that the
whole clip gets.
"""

from __future__ import annotations

import numpy as np

from stagkit.core.config import FlowConfig, RoiConfig
from stagkit.core.types import Clip, FlowClip, RoiDataset, ShapeError, StagkitError
from stagkit.motion.optical_flow import (
    compute_frame_scores,
    compute_grey,
    compute_rois,
    compute_strain,
    make_flow_estimator,
    select_frames,
    subtract_head_motion,
)
from stagkit.network.model import Stag
from stagkit.training.train import predict


class Stream:
    """A clip of which the onset frame is known and the rest is still to come.

    Args:
        model: a trained network.
        classes: names of its classes.
        onset: uint8 "y x" or "y x chan", the frame from which motion is measured.
        landmarks: float "68 2" px, of that frame.
        flow_config, roi_config: as the network was trained with.

    Example:
        >>> from stagkit.synthetic.clip import PhantomConfig, make_clip
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
        self.model, self.classes, self.onset, self.landmarks = (
            model,
            tuple(classes),
            onset,
            np.asarray(landmarks, float),
        )
        self.flow_config, self.roi_config = flow_config, roi_config
        self._measure = make_flow_estimator(compute_grey(onset[None])[0], self.landmarks, flow_config)
        self._flow, self._head, self._times = [np.zeros((2, *onset.shape[:2]), np.float32)], [np.eye(2, 3)], [0.0]
        self._measured_here: bool | None = None

    def __len__(self) -> int:
        return len(self._flow) - 1

    def add(self, frame: np.ndarray, time_ms: float) -> None:
        """Hand over a frame: uint8, like the onset frame, ``time_ms`` after it; frames come in the order of time."""
        if frame.shape != self.onset.shape:
            raise ShapeError(f"the frame is {frame.shape}, the onset frame {self.onset.shape}: expected the same size.")
        self._keep(*self._measure(compute_grey(frame[None])[0]), time_ms, measured_here=True)

    def add_flow(self, flow: np.ndarray, time_ms: float) -> None:
        """Hand over motion that was measured elsewhere: float "2 y x" px from the onset frame, head motion taken out."""
        if flow.shape != self._flow[0].shape:
            raise ShapeError(f"`flow` is {flow.shape}, expected {self._flow[0].shape}.")
        self._keep(flow, np.eye(2, 3), time_ms, measured_here=False)

    def answer(self) -> np.ndarray:
        """Probabilities float "cls" from the discriminative frames among those seen so far.

        Raises:
            StagkitError: no frame was handed over yet.
        """
        if not len(self):
            raise StagkitError("no frame was handed over yet: motion needs one beside the onset frame.")
        flow, head, times = np.stack(self._flow), np.stack(self._head), np.array(self._times)
        if self._measured_here and self.flow_config.stabilise:
            head = subtract_head_motion(flow, head, times, self.landmarks, 0)
        scores = compute_frame_scores(flow, self.landmarks)
        scores[0] = 0.0
        at = select_frames(scores, times, self.flow_config)
        every = np.arange(len(at))
        motion = FlowClip(flow[at], compute_strain(flow[at]), head[at], times[at], scores[at], every, self.landmarks)
        # what is not known of a stream (label, person) is left empty: ``predict`` does not look
        clip = Clip(np.stack([self.onset, self.onset]), 1.0, "stream", "", "", self.classes[0])
        whole = compute_rois(motion, clip, self.roi_config)
        return predict(self.model, RoiDataset.from_sequences([whole], self.classes), np.array([0]))[0]

    def _keep(self, flow: np.ndarray, head: np.ndarray, time_ms: float, measured_here: bool) -> None:
        if self._measured_here not in (None, measured_here):
            raise StagkitError("give this stream frames or flow, not both: the head is taken out of frames only.")
        if time_ms <= self._times[-1]:
            raise StagkitError(f"a frame at {time_ms} ms after one at {self._times[-1]} ms: frames come in order.")
        self._measured_here = measured_here
        self._flow.append(np.asarray(flow, np.float32))
        self._head.append(head)
        self._times.append(float(time_ms))
