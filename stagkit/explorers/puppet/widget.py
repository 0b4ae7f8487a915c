"""The puppet: a face with a slider per action unit; image, measured flow, region speeds and predictions follow."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.core.types import inter_ocular_distance
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.explorer import Explorer, Range, checked
from stagkit.explorers.muscles import UPPER_FACE
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
    draw_pose,
    find_arrows,
    list_places,
    paint_flow,
    predict_pose,
    read_aus,
)
from stagkit.explorers.validation import check_range
from stagkit.motion.images import encode_image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stagkit.inference.pretrained import PretrainedEnsemble

traitlets = import_optional("traitlets")


class Puppet(Explorer):
    """A face with a slider per action unit; ``view_puppet`` is its short name, ``plot_puppet`` lists the arguments.

    ``pose`` holds the image and the measurements at the present setting.

    Traits (synced with the browser):
        aus: code such as ``AU12L`` -> peak, % of the eye distance, 0..3; a code without a side moves both sides.
        frame, enlarge: the arguments. ``playing``: the frames run.
        probabilities: class -> 0..1 where networks were given, else empty.

    Example:
        >>> puppet = view_puppet(0, "L12")
        >>> max(puppet.speeds, key=puppet.speeds.get)
        'lip_corner_L'
    """

    _esm = read_esm("base", "puppet")
    _css = read_css("base", "puppet")

    png_dpi = 110

    aus = traitlets.Dict().tag(sync=True)
    frame = traitlets.Int(N_FRAMES // 2).tag(sync=True)
    enlarge = Range(1.0, 1, MAX_ENLARGE)
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
        weights: PretrainedEnsemble | str | None = None,
    ):
        self.actor, self.weights, peaks = Actor(face), as_weights(weights), read_aus(aus)
        self.pose = compute_pose(self.actor, peaks, frame, enlarge)
        super().__init__(aus=peaks, frame=self.pose.frame, enlarge=float(enlarge), _scene=self._make_header())
        self._predict()
        self._view = self._make_payload(self.pose, 0)
        self.observe(self._on_move, ["aus", "frame", "enlarge"])

    @traitlets.validate("aus")
    def _valid_aus(self, proposal):
        return checked(read_aus, proposal["value"])

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        checked(check_range, "frame", proposal["value"], 0, N_FRAMES - 1)
        return proposal["value"]

    @property
    def speeds(self) -> dict[str, float]:
        """Region -> mean speed of its measured flow, % of the eye distance."""
        return dict(self.pose.speeds)

    def to_figure(self) -> Figure:
        """The present setting as ``plot_puppet`` draws it."""
        return draw_pose(self.actor, self.pose, self.probabilities)

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """HTML of the puppet as one page that works offline, also written to ``path`` if given.

        Its frames can be played, its action units stay as they are.
        """
        poses = [compute_pose(self.actor, self.aus, t, self.enlarge) for t in range(N_FRAMES)]
        follow = {"frame": {"_view": [self._make_payload(pose, t + 1) for t, pose in enumerate(poses)]}}
        return self._save(f"Puppet: {self.actor.name}", {}, path, follow)

    def _on_move(self, change) -> None:
        self.pose = compute_pose(self.actor, self.aus, self.frame, self.enlarge)
        self._view = self._make_payload(self.pose, self._view["serial"] + 1)  # shown before the prediction is there
        if change["name"] == "aus":
            self._predict()

    def _predict(self) -> None:
        if self.weights is not None:
            self.probabilities = predict_pose(self.actor, self.aus, self.weights)

    def _make_header(self) -> dict[str, object]:
        """What the browser needs once."""
        aus = [
            {
                **{name: getattr(unit, name) for name in ("label", "name", "sided")},
                "muscles": "; ".join(unit.muscles),
                "upper": unit.number in UPPER_FACE,
            }
            for unit in ACTION_UNITS.values()
        ]
        centres = np.round(ATLAS.centres(self.actor.landmarks), 1).tolist()
        return {
            "name": self.actor.name,
            "aus": aus,
            "places": list_places(),
            "regions": dict(zip(ATLAS.names, centres, strict=True)),
            "half": round(float(ATLAS.radius * inter_ocular_distance(self.actor.landmarks)), 1),
            "size": SIZE,
            "strength": MAX_STRENGTH,
            "enlarge": MAX_ENLARGE,
            "frames": N_FRAMES,
            "fps": FPS,
            "has_networks": self.weights is not None,
            "training": self.weights.training_summary if self.weights is not None else "",
        }

    def _make_payload(self, pose: Pose, serial: int) -> dict[str, object]:
        """What the browser needs of one pose."""
        return {
            "serial": serial,
            "face": _encode(pose.image),
            "flow": _encode(paint_flow(pose, self.actor)),
            "arrows": np.round(find_arrows(pose, self.actor.landmarks), 2).ravel().tolist(),
            "speeds": {name: round(value, 3) for name, value in pose.speeds.items()},
            "words": pose.describe(),
            "fastest": pose.fastest.replace("_", " "),
            "peak_fraction": round(pose.peak_fraction, 2),
        }


def _encode(image: np.ndarray) -> str:
    """uint8 "y x" or "y x 3" (RGB) as a data address."""
    code = encode_image(".jpg", image if image.ndim == 2 else image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])
    return "data:image/jpeg;base64," + base64.b64encode(code).decode("ascii")


view_puppet = Puppet
