"""Face landmarks: stored or found with mediapipe, checked, and used to align clips. 68 points in iBUG order, px (x, y)."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.errors import StagkitWarning, import_optional
from stagkit.core.files import load_arrays
from stagkit.core.regions import compute_face_frame, compute_face_mask, load_mean_face
from stagkit.core.types import Clip, StagkitError, check_axes, inter_ocular_distance

#: Side of the aligned square and its middle, face frame (IOD): forehead to chin with a margin (stagkit's choice).
FACE_SIDE, FACE_MIDDLE = 2.2, (0.0, 0.42)

#: Limits of ``check_face`` (stagkit's choices): eye distance, px; offset of the nose tip, IOD; share of detail.
MIN_IOD, MAX_TURN, MIN_DETAIL = 24.0, 0.25, 0.03

#: Largest factor of an alignment; largest file of landmarks, bytes; largest coordinate, px (stagkit's choices).
MAX_SCALE, MAX_LANDMARKS, MAX_PLACE = 100.0, 2**27, 1e5

#: SHA-256 of the tested model file.
KNOWN_MODEL = "64184e229b263107bc2b804c6625db1341ff2bb731874b0bcc2fe6544e0bc9ff"

# The mesh has 478 points. Jaw: face outline from chin to ear in eight equal steps per side. Brows: between their upper and
# lower edge. Nose, eyes and lips: the mesh point at that place.
_JAW_RIGHT = (152, 148, 176, 149, 150, 136, 172, 58, 132, 93, 234, 127)
_JAW_LEFT = (152, 377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)
_BROW_UPPER = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)
_BROW_LOWER = (46, 53, 52, 65, 55, 285, 295, 282, 283, 276)
_BROW_DOWN = 0.25  # share of the way from the upper to the lower edge
_NOSE = (168, 197, 5, 4, 75, 97, 2, 326, 305)
_EYES = (33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380)
_LIPS = (61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181, 78, 82, 13, 312, 308, 317, 14, 87)


class FaceError(StagkitError):
    """An image without exactly one usable face."""


def load_landmarks(path: str | Path, n_frames: int, clip_id: str = "") -> np.ndarray:
    """Stored landmarks of a clip: float "time 68 2" px (x, y), iBUG order.

    ``path`` is an ``.npy`` of "time 68 2", or "68 2" (the onset frame's, used for all ``n_frames``).
    """
    if not Path(path).exists():
        raise StagkitError(f"clip {clip_id!r}: there is no file of landmarks {path}.")
    try:
        arrays = load_arrays(path, MAX_LANDMARKS)
    except StagkitError as error:
        raise StagkitError(f"clip {clip_id!r}: the landmarks cannot be read: {error}") from error
    if set(arrays) != {""}:
        raise StagkitError(f"clip {clip_id!r}: the landmarks {path} are no .npy of one array.")
    points = arrays[""]
    if points.shape not in ((68, 2), (n_frames, 68, 2)) or points.dtype.kind not in "fiu":
        raise StagkitError(
            f"clip {clip_id!r}: the landmarks {Path(path).name} are {points.shape}, expected ({n_frames}, 68, 2) or (68, 2)."
        )
    points = np.broadcast_to(points.astype(float), (n_frames, 68, 2)).copy()
    usable = (np.abs(points) < MAX_PLACE).all((1, 2))  # False for NaN too
    if not usable.all():
        raise StagkitError(
            f"clip {clip_id!r}: the landmarks {Path(path).name} hold NaN or places beyond {MAX_PLACE:g} px, first in frame "
            f"{int(usable.argmin())} (0-based): repair them, or leave the clip out."
        )
    return points


def compute_68(mesh: np.ndarray) -> np.ndarray:
    """The 68 points, float "68 2", of mediapipe's face mesh, float "478 2", in its unit.

    Mean error on phantoms of 256 px: 0.03 IOD, 0.01 at eyes and lips.
    """
    check_axes({}, mesh=(mesh, "478 2"))
    right, left = (_resample(mesh[list(line)], 9) for line in (_JAW_RIGHT, _JAW_LEFT))
    brows = (1 - _BROW_DOWN) * mesh[list(_BROW_UPPER)] + _BROW_DOWN * mesh[list(_BROW_LOWER)]
    return np.concatenate([right[::-1], left[1:], brows, mesh[list(_NOSE + _EYES + _LIPS)]])


def _resample(line: np.ndarray, n: int) -> np.ndarray:
    """``n`` points at equal steps along a line "point 2"."""
    along = np.concatenate([[0.0], np.linalg.norm(np.diff(line, axis=0), axis=1).cumsum()])
    return np.stack([np.interp(np.linspace(0, along[-1], n), along, line[:, k]) for k in (0, 1)], axis=1)


class LandmarkFinder:
    """mediapipe's Face Landmarker (extra ``landmarks``), one image at a time.

    Args:
        model: the file ``face_landmarker.task``; stagkit neither ships nor downloads it.
    """

    def __init__(self, model: str | Path):
        model = Path(model)
        if not model.is_file():
            raise FaceError(f"there is no model file {model}: get mediapipe's face_landmarker.task and name it.")
        mediapipe = import_optional("mediapipe")
        from mediapipe.tasks.python import BaseOptions, vision

        self.digest = hashlib.sha256(model.read_bytes()).hexdigest()
        if self.digest != KNOWN_MODEL:
            text = f"{model} is another model than the one stagkit was tested with."
            warnings.warn(text, StagkitWarning, stacklevel=2)
        self._image = lambda frame: mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=frame)
        options = vision.FaceLandmarkerOptions(
            base_options=BaseOptions(model_asset_path=str(model)), running_mode=vision.RunningMode.IMAGE, num_faces=2
        )
        self._open = lambda: vision.FaceLandmarker.create_from_options(options)
        try:
            self._open().close()
        except (RuntimeError, ValueError) as error:
            raise FaceError(f"{model} cannot be used as a face landmarker: the file is damaged.") from error

    def find(self, frame: np.ndarray) -> list[np.ndarray]:
        """Landmarks "68 2" px of every face (at most two) in a frame uint8 "y x" or "y x chan" (RGB)."""
        colour = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB) if frame.ndim == 2 else np.ascontiguousarray(frame)
        height, width = frame.shape[:2]
        with self._open() as detector:  # an open one prints an error when Python exits
            faces = detector.detect(self._image(colour)).face_landmarks
        return [compute_68(np.array([(p.x * width, p.y * height) for p in face])) for face in faces]


@lru_cache(maxsize=2)
def load_finder(model: str) -> LandmarkFinder:
    """One finder per process."""
    return LandmarkFinder(model)


def find_points(frame: np.ndarray, finder: LandmarkFinder, clip_id: str = "") -> np.ndarray:
    """Landmarks float "68 2" px of the one usable face in an onset frame uint8 "y x" or "y x chan"; else ``FaceError``."""
    faces = finder.find(frame)
    if len(faces) != 1:
        seen = "no face was found in its onset frame" if not faces else "two faces are in its onset frame"
        raise FaceError(f"clip {clip_id!r}: {seen}; crop the images to one face, or store landmarks.")
    check_face(faces[0], frame, clip_id)
    return faces[0]


def compute_quality(landmarks: np.ndarray, frame: np.ndarray) -> dict[str, float]:
    """Quality of a face with landmarks float "68 2" px in a frame uint8 "y x" or "y x chan".

    Returns:
        ``iod`` px; ``turn``: distance of the nose tip from the line between the middles of eyes and mouth, IOD (0 =
        frontal); ``tilt`` of the eye line, degrees; ``inside``: share of the points inside the image; ``detail``: standard
        deviation of detail finer than 2 % of the IOD, as a share of the contrast of the face.
    """
    check_axes({}, landmarks=(landmarks, "68 2"))
    height, width = frame.shape[:2]
    iod = inter_ocular_distance(landmarks)
    face = (landmarks - compute_face_frame(landmarks)[:, 2]) @ np.linalg.inv(compute_face_frame(landmarks)[:, :2]).T
    eyes, mouth, nose = face[36:48].mean(0), face[48:60].mean(0), face[30]
    share = (nose[1] - eyes[1]) / (mouth[1] - eyes[1]) if mouth[1] != eyes[1] else 0.5
    across = landmarks[45] - landmarks[36]
    grey = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) if frame.ndim == 3 else frame).astype(np.float32)
    mask = compute_face_mask(landmarks, grey.shape)
    fine = grey - cv2.GaussianBlur(grey, (0, 0), max(0.5, 0.02 * min(iod, np.hypot(width, height))))
    return {
        "iod": iod,
        "turn": float(abs(nose[0] - (eyes[0] + share * (mouth[0] - eyes[0])))),
        "tilt": float(np.degrees(np.arctan2(across[1], across[0]))),
        "inside": float(((landmarks >= 0) & (landmarks < [width, height])).all(1).mean()),
        "detail": float(fine[mask].std() / max(1e-6, grey[mask].std())) if mask.any() else 0.0,
    }


def check_face(landmarks: np.ndarray, frame: np.ndarray, clip_id: str = "") -> None:
    """Raise ``FaceError`` for a face that is too small, cut off, turned away or blurred."""
    if not (np.abs(landmarks) < MAX_PLACE).all():  # False for NaN too
        place = f"landmarks hold NaN or places beyond {MAX_PLACE:g} px"
        raise FaceError(f"clip {clip_id!r}: {place}; a face must be found in the onset frame.")
    found = compute_quality(landmarks, frame)
    iod, turn, detail = found["iod"], found["turn"], 100 * found["detail"]
    if iod > np.hypot(*frame.shape[:2]):
        problem = f"the eye corners are {iod:.3g} px apart, more than the image is long"
    elif iod < MIN_IOD:
        problem = f"the face is too small: {iod:.0f} px between the eye corners, expected {MIN_IOD:.0f} or more"
    elif found["inside"] < 0.97:
        problem = f"the face is cut off: {100 * (1 - found['inside']):.0f} % of its landmarks lie outside the image"
    elif turn > MAX_TURN:
        problem = f"the face is turned away: its nose is {turn:.2f} eye distances off, expected at most {MAX_TURN}"
    elif found["detail"] < MIN_DETAIL:
        problem = f"the face is blurred: {detail:.1f} % fine detail, expected {100 * MIN_DETAIL:.0f} % or more"
    else:
        return
    raise FaceError(f"clip {clip_id!r}: {problem}.")


def check_inside(landmarks: np.ndarray, shape: Sequence[int]) -> None:
    """Raise ``FaceError`` if over half of the landmarks, "68 2" px, lie outside the image, or the eyes too far apart."""
    image = f"the image of {shape[1]} x {shape[0]} px"
    if not 1 <= inter_ocular_distance(landmarks) <= np.hypot(*shape[:2]):
        raise FaceError(
            f"the eye corners are {inter_ocular_distance(landmarks):.3g} px apart, expected at least 1 and at most the "
            f"length of {image}: are the landmarks in px (x, y) of this image?"
        )
    inside = ((landmarks >= 0) & (landmarks < [shape[1], shape[0]])).all(1).sum()
    if inside < len(landmarks) / 2:
        raise FaceError(
            f"{inside} of {len(landmarks)} landmarks lie inside {image}: are they in px (x, y) of this image?"
        )


def compute_alignment(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarity transform of a face (landmarks "68 2" px) onto the mean face in a square of ``size`` px.

    Least squares over all points (Umeyama 1991, doi:10.1109/34.88573; no reflection): float "2 3", px of the square =
    ``matrix[:, :2] @ px + matrix[:, 2]``. The eyes are ``size / 2.2`` px apart.

    Example:
        >>> mean = load_mean_face()[0]
        >>> bool(np.allclose(compute_alignment(100 * mean, 220)[:, :2], np.eye(2)))
        True
    """
    check_axes({}, landmarks=(landmarks, "68 2"))
    target = (load_mean_face()[0] - FACE_MIDDLE) * (size / FACE_SIDE) + size / 2
    middle, wanted = landmarks.mean(0), target.mean(0)
    x, y = (landmarks - middle).T
    u, v = (target - wanted).T
    spread = (x * x + y * y).sum()
    if not spread > 0:
        raise FaceError("all landmarks are the same point: are they in px (x, y)?")
    a, b = (x * u + y * v).sum() / spread, (x * v - y * u).sum() / spread
    turn = np.array([[a, -b], [b, a]])
    return np.concatenate([turn, (wanted - turn @ middle)[:, None]], axis=1)


def align_clip(clip: Clip, size: int = 256) -> Clip:
    """The clip rotated, scaled and cropped to a square around the face, by one transform for all frames.

    Motion is scaled and rotated with the face. Before an image is made smaller it is smoothed, so that fine grain does not
    become motion. ``size``: side of the square, px.
    """
    if clip.landmarks is None:
        raise FaceError(f"clip {clip.clip_id!r} has no landmarks: store them, or find them with a LandmarkFinder.")
    frames, landmarks = align_frames(clip.frames, clip.landmarks, clip.onset or 0, size)
    return replace(clip, frames=frames, landmarks=landmarks, truth=None)


def make_aligner(landmarks: np.ndarray, size: int) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The transform of ``compute_alignment``, and a function that applies it to one frame uint8 "y x" or "y x chan".

    Raises:
        FaceError: a face more than ``MAX_SCALE`` times larger or smaller than ``size``.
    """
    matrix = compute_alignment(np.asarray(landmarks, float), size)
    scale = float(np.linalg.norm(matrix[:, 0]))
    if not np.isfinite(matrix).all() or not 1 / MAX_SCALE <= scale <= MAX_SCALE:
        raise FaceError(
            f"the face is {FACE_SIDE * size / scale if scale > 0 else np.inf:.3g} px wide and cannot be scaled to {size} "
            "px: are the landmarks in px (x, y)?"
        )
    sigma = 0.5 * np.sqrt(max(0.0, scale**-2 - 1.0))

    def align(frame: np.ndarray) -> np.ndarray:
        smooth = cv2.GaussianBlur(frame, (0, 0), sigma) if sigma > 0.2 else np.ascontiguousarray(frame)
        return cv2.warpAffine(smooth, matrix, (size, size), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)

    return matrix, align


def align_frames(
    frames: Iterable[np.ndarray], landmarks: np.ndarray, onset: int, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """``align_clip`` frame by frame, so that full-size frames need not be in memory together.

    ``onset`` is the position of the frame whose landmarks ("time 68 2" px) define the transform.

    Returns:
        frames uint8 "time size size" or "time size size chan", landmarks float "time 68 2" px of the square.
    """
    matrix, align = make_aligner(landmarks[onset], size)
    aligned = []
    for frame in frames:
        if not aligned:
            check_inside(landmarks[onset], frame.shape)
        aligned.append(align(frame))
    return np.stack(aligned), landmarks @ matrix[:, :2].T + matrix[:, 2]


def locate_and_align(clip: Clip, size: int = 0, model: str = "") -> Clip:
    """The clip with landmarks, aligned to a square of ``size`` px unless 0.

    Args:
        model: ``face_landmarker.task``, for a clip without landmarks; '' = none.
    """
    if clip.landmarks is None and model:
        points = find_points(clip.frames[clip.onset or 0], load_finder(model), clip.clip_id)
        clip = replace(clip, landmarks=np.broadcast_to(points, (len(clip.frames), 68, 2)).copy())
    if clip.landmarks is not None:
        check_inside(clip.landmarks[clip.onset or 0], clip.frames.shape[1:])
    return align_clip(clip, size) if size else clip
