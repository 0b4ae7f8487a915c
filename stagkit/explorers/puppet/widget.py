"""The phantom puppeteer: pull each muscle with a slider; skin, measured flow, regions and networks answer."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.facs import ACTION_UNITS
from stagkit.core.files import encode_picture
from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import inter_ocular_distance
from stagkit.explorers.explorer import PicturedWidget
from stagkit.explorers.modules import read_css, read_esm
from stagkit.explorers.page import make_explorer_page
from stagkit.explorers.puppet.figure import draw_pose, find_arrows, list_places
from stagkit.explorers.puppet.scene import (
    FPS,
    MAX_ENLARGE,
    MAX_STRENGTH,
    N_FRAMES,
    SIZE,
    Actor,
    Pose,
    as_weights,
    compute_pose,
    predict_pose,
    read_aus,
)
from stagkit.explorers.trait_errors import WidgetError, told

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stagkit.inference.pretrained import Weights

traitlets = import_optional("traitlets")

#: Units above the nose's tip, as FACS groups them (the rest is the lower face).
_UPPER = (1, 2, 4, 5, 6, 7)


class Puppet(PicturedWidget):
    """A face with a slider for every muscle; see ``view_puppet`` for the arguments.

    Traits (synced with the browser; set them in Python or touch them there):
        aus: code such as ``AU12L`` -> peak, % of the eye distance, 0..3; a code without a side moves both.
        frame: 0..23, at 80 frames per second; 12 is the apex. ``playing``: the frames run.
        enlarge: how many times the real motion the picture shows, 1..8; flow is measured at its real size.
        probabilities: class -> 0..1 where networks were given, else empty.

    Example:
        >>> puppet = view_puppet(0, "L12")
        >>> max(puppet.answers, key=puppet.answers.get)
        'lip_corner_L'
    """

    _esm = read_esm("base", "puppet")
    _css = read_css("base", "puppet")

    png_dpi = 110

    aus = traitlets.Dict().tag(sync=True)
    frame = traitlets.Int(N_FRAMES // 2).tag(sync=True)
    enlarge = traitlets.Float(1.0).tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    probabilities = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _view = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        face: int | tuple[np.ndarray, np.ndarray] = 0,
        aus: str | Mapping[str, float] = "12",
        *,
        frame: int | None = None,
        enlarge: float = 1.0,
        weights: Weights | str | None = None,
    ):
        self.actor, self.weights, peaks = Actor(face), as_weights(weights), read_aus(aus)
        self._pose = compute_pose(self.actor, peaks, frame, enlarge)
        super().__init__(aus=peaks, frame=self._pose.frame, enlarge=float(enlarge), _scene=self._describe())
        self._judge()
        self._view = self._show(self._pose, 0)
        self.observe(self._on_move, ["aus", "frame", "enlarge"])

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("aus", "frame", "enlarge")
    def _valid(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        if name == "aus":
            return told(read_aus, value)
        low, high = (0, N_FRAMES - 1) if name == "frame" else (1, MAX_ENLARGE)
        if not low <= value <= high:
            raise WidgetError(f"`{name}` is {value!r}, expected {low} to {high:g}.")
        return value

    # what can be read ------------------------------------------------------------------------------------------------
    @property
    def pose(self) -> Pose:
        """Everything that is seen and measured at the present setting."""
        return self._pose

    @property
    def answers(self) -> dict[str, float]:
        """Region -> mean speed of its measured flow, % of the eye distance."""
        return dict(self._pose.answers)

    def to_figure(self) -> Figure:
        """The present setting as ``plot_puppet`` draws it."""
        return draw_pose(self.actor, self._pose, self.probabilities)

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """The puppet as one page that works offline: its time runs; its muscles stay as they are.

        Args:
            path: file to write, or None for none.

        Returns:
            The page's HTML.

        Raises:
            StagkitError: the folder of ``path`` cannot be written to.
        """
        poses = [compute_pose(self.actor, self.aus, t, self.enlarge) for t in range(N_FRAMES)]
        state = {
            **{name: getattr(self, name) for name in ("aus", "frame", "enlarge", "probabilities", "_view")},
            "playing": False,
            "_scene": {**self._scene, "live": False},
        }
        follow = {"frame": {"_view": [self._show(pose, t + 1) for t, pose in enumerate(poses)]}}
        title = f"Puppet: {self.actor.name}"
        page = make_explorer_page(str(self._esm), str(self._css), state, title=title, follow=follow)
        if path is not None:
            page.save(path)
        return page.html

    # how it answers --------------------------------------------------------------------------------------------------
    def _on_move(self, change) -> None:
        self._pose = compute_pose(self.actor, self.aus, self.frame, self.enlarge)
        self._view = self._show(self._pose, self._view["serial"] + 1)  # seen before the networks have thought
        if change["name"] == "aus":
            self._judge()

    def _judge(self) -> None:
        if self.weights is not None:
            self.probabilities = predict_pose(self.actor, self.aus, self.weights)

    def _describe(self) -> dict[str, object]:
        """What the browser needs once."""
        units = [
            {
                "label": unit.label,
                "name": unit.name,
                "muscles": "; ".join(unit.muscles),
                "sided": unit.sided,
                "upper": unit.number in _UPPER,
            }
            for unit in ACTION_UNITS.values()
        ]
        half = ATLAS.radius * inter_ocular_distance(self.actor.landmarks)
        centres = np.round(ATLAS.centres(self.actor.landmarks), 1).tolist()
        return {
            "live": True,
            "name": self.actor.name,
            "units": units,
            "places": list_places(),
            "regions": dict(zip(ATLAS.names, centres, strict=True)),
            "half": round(float(half), 1),
            "size": SIZE,
            "strength": MAX_STRENGTH,
            "enlarge": MAX_ENLARGE,
            "frames": N_FRAMES,
            "fps": FPS,
            "judged": self.weights is not None,
            "learned": self.weights.learned if self.weights is not None else "",
        }

    def _show(self, pose: Pose, serial: int) -> dict[str, object]:
        """What the browser needs of one pose."""
        return {
            "serial": serial,
            "face": _encode(pose.picture),
            "flow": _encode(paint_flow(pose, self.actor)),
            "arrows": np.round(find_arrows(pose, self.actor.landmarks), 2).ravel().tolist(),
            "answers": {name: round(value, 3) for name, value in pose.answers.items()},
            "words": pose.describe(),
            "most": pose.most.replace("_", " "),
            "held": round(pose.held, 2),
        }


def paint_flow(pose: Pose, actor: Actor) -> np.ndarray:
    """Speed of the measured flow in colour over the faint still face: uint8 "y x 3"."""
    still = (actor.still if actor.still.ndim == 2 else actor.still.mean(-1)).astype(np.float32)
    speed = np.linalg.norm(pose.motion.flow[1], axis=0) * (100 / pose.motion.iod)
    level = np.clip(speed / MAX_STRENGTH * 255, 0, 255).astype(np.uint8)
    colour = cv2.applyColorMap(level, cv2.COLORMAP_VIRIDIS)[..., ::-1].astype(np.float32)
    mask = compute_face_mask(actor.landmarks, still.shape)
    alpha = (0.8 * mask * np.clip(speed / (0.2 * MAX_STRENGTH), 0, 1))[..., None]
    return np.clip((0.55 * still + 90)[..., None] * (1 - alpha) + colour * alpha, 0, 255).astype(np.uint8)


def _encode(picture: np.ndarray) -> str:
    """uint8 "y x" or "y x 3" (RGB) as a data address."""
    bgr = picture if picture.ndim == 2 else picture[..., ::-1]
    code = encode_picture(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(code).decode("ascii")


def view_puppet(
    face: int | tuple[np.ndarray, np.ndarray] = 0,
    aus: str | Mapping[str, float] = "12",
    *,
    frame: int | None = None,
    enlarge: float = 1.0,
    weights: Weights | str | None = None,
) -> Puppet:
    """Open a face with a slider for every muscle (``plot_puppet`` draws the same as a still figure).

    Args:
        face: seed of a phantom person, or (picture, landmarks): uint8 "y x" or "y x 3", float "68 2" px.
        aus: as sheets write them, e.g. ``"L12+6"`` (2 % each), or code -> peak, % of the eye distance, 0..3.
        frame: of the movement, 0..23 at 80 frames per second; the apex where None.
        enlarge: how many times the real motion the picture shows, 1..8; flow is measured at its real size.
        weights: networks that judge the movement (``stagkit.load_weights``), or what that takes.

    Returns:
        A ``Puppet`` widget whose traits follow what is touched.

    Raises:
        StagkitError: an unknown action unit, side, strength, frame or face; the sentence says what is possible.
    """
    return Puppet(face, aus, frame=frame, enlarge=enlarge, weights=weights)
