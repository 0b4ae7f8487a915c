"""Optical flow of a clip from its onset frame, head motion removed; discriminative frames and their regions.

Flow at a pixel of the onset frame is the displacement of the skin there in px: chan = (u right, v down).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np
from einops import rearrange

from stagkit.core.facs import compute_au_vector
from stagkit.core.regions import ATLAS, compute_face_frame
from stagkit.core.types import Clip, ShapeError, StagkitError, check_axes, inter_ocular_distance
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.head_motion import (
    add_head_motion,
    choose_warp,
    compute_rigid_mask,
    compute_rigid_weights,
    make_head_fit,
    remove_head_motion,
    smooth_head_motion,
    warp_to_onset,
)
from stagkit.motion.rois import RoiSequence, sample_regions


@dataclass(frozen=True)
class FlowClip:
    """Motion of a clip: displacement of every pixel of the onset frame.

    Args:
        flow: float32 "time chan y x", chan = (u right, v down), px from the onset frame, head motion removed.
        strain: float32 "time y x", optical strain magnitude, dimensionless.
        head_motion: float "time 2 3", the affine motion in px that was removed; times_ms: from the onset frame.
        scores: float "time", see ``compute_frame_scores``.
        selected: int "selected", indices of the discriminative frames, increasing.
        landmarks: float "68 2" px of the onset frame.
    """

    flow: np.ndarray
    strain: np.ndarray
    head_motion: np.ndarray
    times_ms: np.ndarray
    scores: np.ndarray
    selected: np.ndarray
    landmarks: np.ndarray
    clip_id: str = ""

    def __post_init__(self):
        check_axes(
            {},
            flow=(self.flow, "time 2 y x"),
            strain=(self.strain, "time y x"),
            head_motion=(self.head_motion, "time 2 3"),
            times_ms=(self.times_ms, "time"),
            scores=(self.scores, "time"),
            selected=(self.selected, "selected"),
            landmarks=(self.landmarks, "68 2"),
        )

    @property
    def iod(self) -> float:
        """Inter-ocular distance, px."""
        return inter_ocular_distance(self.landmarks)


def make_flow_method(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function (first, second grey uint8 "y x") -> float32 "y x 2" for ``dis``, ``dis_fast``, ``tvl1`` or ``farneback``.

    DIS: Kroeger et al. 2016, doi:10.1007/978-3-319-46493-0_29. TV-L1: Zach et al. 2007,
    doi:10.1007/978-3-540-74936-3_22. Farneback 2003, doi:10.1007/3-540-45103-X_50. All are OpenCV's.
    """
    if method in ("dis", "dis_fast"):
        dis = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        dis.setFinestScale(0)  # full resolution: the presets' coarser one loses half or more of a motion of one pixel
        dis.setPatchStride(5 if method == "dis" else 8)
        dis.setVariationalRefinementIterations(3 if method == "dis" else 0)
        if method == "dis_fast":
            dis.setGradientDescentIterations(6)
        return lambda first, second: dis.calc(first, second, None)
    if method == "tvl1":
        tvl1 = cv2.optflow.DualTVL1OpticalFlow_create()
        return lambda first, second: tvl1.calc(first, second, None)
    if method == "farneback":
        return lambda first, second: cv2.calcOpticalFlowFarneback(first, second, None, 0.5, 3, 15, 5, 7, 1.5, 0)
    raise StagkitError(f"there is no flow method {method!r}; expected dis, dis_fast, tvl1 or farneback.")


def compute_grey(frames: np.ndarray) -> np.ndarray:
    """Frames as grey uint8 "time y x"."""
    return frames if frames.ndim == 3 else np.stack([cv2.cvtColor(f, cv2.COLOR_RGB2GRAY) for f in frames])


def compute_strain(flow: np.ndarray) -> np.ndarray:
    """Optical strain magnitude, float32 "time y x", dimensionless, of flow "time chan y x" px.

    ``e = (grad d + grad d^T) / 2``, returned as ``sqrt(e_xx^2 + e_yy^2 + 2 e_xy^2)`` (Shreve et al. 2011,
    doi:10.1109/FG.2011.5771451), gradients by central differences over slightly smoothed flow (sigma 1 px).
    """
    out = np.empty((flow.shape[0], *flow.shape[2:]), np.float32)
    for t, (u, v) in enumerate(flow):
        u_y, u_x = np.gradient(cv2.GaussianBlur(u, (0, 0), 1.0))
        v_y, v_x = np.gradient(cv2.GaussianBlur(v, (0, 0), 1.0))
        out[t] = np.sqrt(u_x * u_x + v_y * v_y + 0.5 * (u_y + v_x) ** 2)
    return out


def compute_frame_scores(flow: np.ndarray, landmarks: np.ndarray) -> np.ndarray:
    """Motion of each frame: mean over the ROIs, except the reference, of the top-quartile flow magnitude.

    Args:
        flow: float32 "time chan y x" px, head motion removed; landmarks: float "68 2" px of the onset frame.

    Returns:
        float "time", percent of the IOD.
    """
    patches, inside = sample_regions(flow, landmarks, 7)
    use = inside & (np.array(ATLAS.names) != ATLAS.reference)
    magnitude = rearrange(np.linalg.norm(patches[:, use], axis=2), "time roi py px -> time roi (py px)")
    quartile = np.sort(magnitude, axis=-1)[..., -max(1, magnitude.shape[-1] // 4) :]
    return 100 * quartile.mean((1, 2)) / inter_ocular_distance(landmarks)


def select_frames(
    scores: np.ndarray, times_ms: np.ndarray, config: FlowConfig, onset: int = 0, apex: int | None = None
) -> np.ndarray:
    """Choose the discriminative frames.

    ``magnitude`` takes frames from the largest score down, but none within ``min_gap_ms`` of one already taken; if that
    gives fewer than ``n_frames``, the gap is halved until it does. The onset frame (zero motion) is never taken.

    Args:
        scores, times_ms: float "time".
        onset: index of the onset frame.
        apex: index of the apex frame, for ``apex`` only; if not coded, the frame with the largest score.

    Returns:
        int "selected", increasing, between 1 and ``config.n_frames`` long (all candidates for ``all``).
    """
    candidates = np.flatnonzero(np.arange(len(scores)) != onset)
    if not len(candidates):
        raise StagkitError("the clip has a single frame: motion needs at least two.")
    if config.selection == "all":
        return candidates
    if config.selection == "apex":
        usable = apex is not None and apex != onset
        return np.array([apex if usable else candidates[scores[candidates].argmax()]])
    n_frames = min(config.n_frames, len(candidates))
    if config.selection == "uniform":
        return candidates[np.linspace(0, len(candidates) - 1, n_frames).round().astype(int)]
    ranked = candidates[np.argsort(-scores[candidates], kind="stable")]
    gap, taken = config.min_gap_ms, []
    while len(taken) < n_frames:
        for t in ranked:
            if t not in taken and all(abs(times_ms[t] - times_ms[s]) >= gap for s in taken):
                taken.append(t)
        gap = gap / 2 if gap > 1e-3 else 0.0
    return np.sort(np.array(taken[:n_frames]))


def make_flow_estimator(
    onset: np.ndarray, landmarks: np.ndarray, config: FlowConfig = FlowConfig()
) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    """A function that computes one frame's motion from the onset frame, independent of other frames.

    If the head has moved by more than half a pixel, the frame is warped back and measured again, so that large drifts cost
    no accuracy (``head_motion.choose_warp``).

    Args:
        onset: uint8 "y x"; landmarks: float "68 2" px of that frame.

    Returns:
        A function of a grey frame, uint8 "y x": its flow "2 y x" px, including head motion, and the head motion "2 3".
    """
    compute_pair = make_flow_method(config.method)
    rigid = compute_rigid_mask(landmarks, onset.shape)
    fit_head = make_head_fit(rigid, compute_rigid_weights(onset, rigid))

    def estimate(frame: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        flow, head = rearrange(compute_pair(onset, frame), "y x chan -> chan y x"), np.eye(2, 3)
        if config.stabilise:
            head = fit_head(flow)
            warp = choose_warp(head, landmarks)
            if warp is not None:
                rest = rearrange(compute_pair(onset, warp_to_onset(frame, warp)), "y x chan -> chan y x")
                flow = add_head_motion(rest, warp)
                head = warp @ np.vstack([fit_head(rest), [0, 0, 1]])
        return flow, head

    return estimate


def subtract_head_motion(
    flow: np.ndarray, head: np.ndarray, times_ms: np.ndarray, landmarks: np.ndarray, onset: int
) -> np.ndarray:
    """Smooth the head motion "time 2 3", subtract it from the flow "time 2 y x" px in place, and return it."""
    head = smooth_head_motion(head, times_ms, compute_face_frame(landmarks)[:, 2], onset)
    for t in np.flatnonzero(np.arange(len(flow)) != onset):
        flow[t] = remove_head_motion(flow[t], head[t])
    return head


def compute_flow(clip: Clip, config: FlowConfig = FlowConfig()) -> FlowClip:
    """Motion of a clip with landmarks from its onset frame (the first frame if none is coded) to every frame.

    With ``stabilise``, ``flow`` is the motion of the skin without head motion.

    Example:
        >>> from stagkit import PhantomConfig
        >>> from stagkit.synthetic.clip import make_clip
        >>> motion = compute_flow(make_clip(PhantomConfig(clips=1, subjects=1), 0, 0))
        >>> motion.flow.shape[1], len(motion.selected)
        (2, 12)
    """
    if clip.landmarks is None:
        raise StagkitError(
            f"clip {clip.clip_id!r} has no landmarks: store them, or find them (prepare --landmarker FILE)."
        )
    if not np.isfinite(clip.landmarks).all():
        raise StagkitError(f"clip {clip.clip_id!r}: landmarks hold NaN; a face must be found in the onset frame.")
    grey = compute_grey(clip.frames)
    onset = clip.onset or 0
    landmarks = np.asarray(clip.landmarks[onset], float)
    if inter_ocular_distance(landmarks) < 4:
        raise ShapeError(f"clip {clip.clip_id!r}: the eyes are less than 4 px apart; are the landmarks in px (x, y)?")
    estimate = make_flow_estimator(grey[onset], landmarks, config)
    flow = np.zeros((len(grey), 2, *grey.shape[1:]), np.float32)
    head = np.tile(np.eye(2, 3), (len(grey), 1, 1))
    for t in range(len(grey)):
        if t != onset:
            flow[t], head[t] = estimate(grey[t])
    if config.stabilise:
        head = subtract_head_motion(flow, head, clip.times_ms, landmarks, onset)
    scores = compute_frame_scores(flow, landmarks)
    scores[onset] = 0.0
    return FlowClip(
        flow=flow,
        strain=compute_strain(flow),
        head_motion=head,
        times_ms=clip.times_ms,
        scores=scores,
        selected=select_frames(scores, clip.times_ms, config, onset, clip.apex),
        landmarks=landmarks,
        clip_id=clip.clip_id,
    )


def compute_rois(motion: FlowClip, clip: Clip, config: RoiConfig = RoiConfig()) -> RoiSequence:
    """Regions of the selected frames: the network's input for one clip, flow in percent of the IOD, strain in percent."""
    chosen = motion.selected
    field = np.concatenate(
        [motion.flow[chosen] * (100 / motion.iod), motion.strain[chosen][:, None] * 100], axis=1, dtype=np.float32
    )
    patches, inside = sample_regions(field, motion.landmarks, config.patch, replace(ATLAS, radius=config.radius))
    return RoiSequence(
        patches=patches,
        present=np.tile(inside, (len(chosen), 1)),
        times_ms=motion.times_ms[chosen],
        roi_names=ATLAS.names,
        clip_id=clip.clip_id,
        subject=clip.subject,
        dataset=clip.dataset,
        label=clip.label,
        aus=compute_au_vector(clip.aus),
        part=clip.part,
    )
