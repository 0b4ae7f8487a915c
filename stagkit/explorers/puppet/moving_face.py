"""A still face that moves as the sliders say: the picture, the flow that is measured of it, the regions that answer."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import cv2
import numpy as np

from stagkit.core.config import FlowConfig
from stagkit.core.errors import import_optional
from stagkit.core.facs import ACTION_UNITS, AUCode
from stagkit.core.files import encode_picture
from stagkit.core.regions import ATLAS, compute_face_mask
from stagkit.core.types import Clip, FlowClip
from stagkit.explorers.puppet.scene import MAX_STRENGTH, Actor, measure_regions
from stagkit.explorers.trait_errors import WidgetError
from stagkit.motion.optical_flow import compute_flow
from stagkit.plots.style import FAINT, INK, PAGE, draw_face, style
from stagkit.synthetic.photo import animate_photo, find_moments, move_photo
from stagkit.synthetic.skin_motion import make_intensity

if TYPE_CHECKING:
    from matplotlib.figure import Figure

traitlets = import_optional("traitlets")

#: Length of the movement: frames, and frames per second (stagkit's choice).
N_FRAMES, FPS = 48, 200.0

_DPI = 120
_STEP = 8  # px between two arrows


class MovingFace(traitlets.HasTraits):
    """A photograph with sliders: which action unit, which side, how strong, when.

    Flow is measured from the still picture to the one shown, as of any clip; a region answers with its mean speed.
    Nothing here is an expression of the person shown: the picture is pulled about.

    Args:
        picture: uint8 "y x" or "y x chan" (RGB), one face.
        landmarks: float "68 2" px.
        size: side of the aligned square, px; larger is slower.
        **traits: those below.

    Traits (set them in Python or move the sliders; both are the same state):
        au: FACS number, one of ``facs.AU_NUMBERS``. ``side``: ``""`` both, ``"L"`` or ``"R"`` (the subject's); ignored where
            the muscle lies on the midline.
        strength: largest displacement at the apex, % of the eye distance, 0..3.
        frame: 0..47, at 200 frames per second; 24 is the apex.

    Raises:
        StagkitError: a picture that is none; a trait out of its range.

    Example:
        >>> from stagkit import PhantomConfig
        >>> from stagkit.synthetic.clip import make_clip
        >>> phantom = make_clip(PhantomConfig(subjects=1, clips=1, difficulty=0), 0, 0)
        >>> face = MovingFace(phantom.truth.neutral, phantom.landmarks[0], au=12, side="L")
        >>> face.code, max(face.answers, key=face.answers.get)
        ('AU12L', 'lip_corner_L')
    """

    au = traitlets.Int(12)
    side = traitlets.Unicode("L")
    strength = traitlets.Float(2.0)
    frame = traitlets.Int(N_FRAMES // 2)

    def __init__(self, picture: np.ndarray, landmarks: np.ndarray, size: int = 192, **traits: object):
        self._given = picture, np.asarray(landmarks, float), size
        self._actor = Actor(self._given[:2], size)
        super().__init__(**traits)
        self._measure()
        self.observe(self._on_change, ["au", "side", "strength", "frame"])

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("au", "side", "strength", "frame")
    def _valid(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        known = {
            "au": (value in ACTION_UNITS, f"one of {', '.join(map(str, ACTION_UNITS))}"),
            "side": (value in ("", "L", "R"), "'' (both), 'L' or 'R' (the subject's sides)"),
            "strength": (0 <= value <= MAX_STRENGTH if name == "strength" else True, f"0 to {MAX_STRENGTH:g} % of IOD"),
            "frame": (0 <= value < N_FRAMES if name == "frame" else True, f"0 to {N_FRAMES - 1}"),
        }
        fine, expected = known[name]
        if not fine:
            raise WidgetError(f"`{name}` is {value!r}, expected {expected}.")
        return value

    # what can be read ------------------------------------------------------------------------------------------------
    @property
    def code(self) -> str:
        """The action unit as written in sheets, e.g. ``AU12L``."""
        return str(AUCode(self.au, self.side if ACTION_UNITS[self.au].sided else ""))

    @property
    def intensity(self) -> float:
        """How far the movement has come in the frame shown: 0..1."""
        return float(make_intensity(N_FRAMES, *find_moments(N_FRAMES))[self.frame])

    @property
    def planted(self) -> np.ndarray:
        """True displacement in the frame shown: float32 "2 y x" px."""
        return self._actor.make_field(self.code) * np.float32(self.strength * self.intensity)

    @property
    def picture(self) -> np.ndarray:
        """The frame shown: uint8 "y x" or "y x chan"."""
        return self._frames[1]

    @property
    def motion(self) -> FlowClip:
        """Measured from the still picture (frame 0) to the one shown (frame 1)."""
        return self._motion

    @property
    def answers(self) -> dict[str, float]:
        """Region -> mean speed of its measured flow, % of the eye distance."""
        return measure_regions(self._motion, self._actor.landmarks)

    def make_clip(self, **options: object) -> Clip:
        """The whole movement as a clip; ``options`` go to ``phantom_photo.animate_photo``, e.g. ``noise=0``."""
        picture, landmarks, size = self._given
        settings = {"n_frames": N_FRAMES, "fps": FPS, "size": size, **options}
        return animate_photo(picture, landmarks, {self.code: self.strength}, **settings)

    # how it is made --------------------------------------------------------------------------------------------------
    def _measure(self) -> None:
        moved = move_photo(self._actor.still, self.planted, self._actor.splines)
        pair = self._actor.make_clip(np.clip(np.round(moved), 0, 255).astype(np.uint8)[None], FPS)
        self._frames, self._motion = pair.frames, compute_flow(pair, FlowConfig(selection="all"))

    def _on_change(self, change) -> None:
        self._measure()
        if "_panels" in self.__dict__:
            self._panels.show(self)
        if "_controls" in self.__dict__:
            self._controls["image"].value = self._panels.to_png()
            self._controls["side"].disabled = not ACTION_UNITS[self.au].sided

    # how it is shown -------------------------------------------------------------------------------------------------
    @cached_property
    def _panels(self) -> _Panels:
        panels = _Panels(self._actor.still, self._motion)
        panels.show(self)
        return panels

    def to_figure(self) -> Figure:
        """The picture, its flow, and the regions, as they stand; the same figure every time, redrawn."""
        self._panels.show(self)
        return self._panels.figure

    @cached_property
    def _controls(self) -> dict[str, object]:
        """The sliders, tied to the traits."""
        w = import_optional("ipywidgets")

        wide = {"layout": {"width": "26rem"}, "style": {"description_width": "5.5rem"}}
        units = [(f"{u.label} {u.name}", n) for n, u in ACTION_UNITS.items()]
        made = {
            "au": w.Dropdown(options=units, description="action unit", **wide),
            "side": w.ToggleButtons(
                options=[("both", ""), ("right", "R"), ("left", "L")],
                description="side",
                style={"description_width": "5.5rem", "button_width": "5.5rem"},
                tooltips=["both sides", "the subject's right", "the subject's left"],
            ),
            "strength": w.FloatSlider(min=0, max=MAX_STRENGTH, step=0.1, description="strength (%)", **wide),
            "frame": w.IntSlider(min=0, max=N_FRAMES - 1, description="frame", **wide),
        }
        for name, control in made.items():
            traitlets.link((self, name), (control, "value"))
        made["side"].disabled = not ACTION_UNITS[self.au].sided
        play = w.Play(value=self.frame, min=0, max=N_FRAMES - 1, interval=150, show_repeat=False)
        w.jslink((play, "value"), (made["frame"], "value"))
        image = w.Image(value=self._panels.to_png(), format="png", layout={"max_width": "100%"})
        left, right = w.VBox([made["au"], made["side"]]), w.VBox([made["strength"], w.HBox([made["frame"], play])])
        return {**made, "image": image, "box": w.VBox([w.HBox([left, right]), image])}

    def _repr_mimebundle_(self, include=None, exclude=None):
        import base64

        png = {"image/png": base64.b64encode(self._panels.to_png()).decode("ascii")}
        text = {"text/plain": f"{self.code}, {self.strength:g} % of IOD, frame {self.frame}"}
        try:
            bundle = self._controls["box"]._repr_mimebundle_()
        except ImportError:  # no ipywidgets: a still picture
            return {**text, **png}
        return {**bundle, **text, **png}


class _Panels:
    """One figure whose artists are kept, so that a move of a slider costs a redraw and no more."""

    def __init__(self, still: np.ndarray, motion: FlowClip):
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        size = len(still)
        with style():
            self.figure = Figure(figsize=(PAGE, 2.55), layout="none", dpi=_DPI)
            self.canvas = FigureCanvasAgg(self.figure)
            photo, flow, regions = (self.figure.add_axes((x, 0.12, 0.3, 0.86)) for x in (0.005, 0.315, 0.625))
            bar = self.figure.add_axes((0.925, 0.2, 0.012, 0.7))
            self.face = compute_face_mask(motion.landmarks, still.shape[:2])
            for axes in (photo, flow):
                axes.set(xticks=[], yticks=[])
                axes.spines[:].set_visible(False)
            grey = {"cmap": "gray", "vmin": 0, "vmax": 255}
            self.photo = photo.imshow(still, **grey)
            flow.imshow(still, **grey)
            scale = {"cmap": "viridis", "vmin": 0, "vmax": MAX_STRENGTH}
            self.speed = flow.imshow(np.zeros((size, size)), **scale)
            half = _STEP // 2
            ys, xs = np.mgrid[half:size:_STEP, half:size:_STEP]
            self.at = ys[self.face[ys, xs]], xs[self.face[ys, xs]]
            none = np.zeros(len(self.at[0]))
            arrows = {
                "angles": "xy",
                "scale_units": "xy",
                "scale": MAX_STRENGTH / (2.5 * _STEP),
                "width": 0.006,
                "minlength": 0,
            }
            self.arrows = flow.quiver(*self.at[::-1], none, none, color="white", **arrows)
            draw_face(regions, colour=FAINT, width=1.2)
            dots = {"ec": INK, "lw": 0.5, "zorder": 3}
            self.dots = regions.scatter(*ATLAS.mean_centres.T, c=np.zeros(len(ATLAS.names)), **scale, **dots)
            self.figure.colorbar(self.dots, cax=bar, label="motion (% of IOD)")
            words = (("photo", 0.155), ("flow", 0.465), ("regions", 0.775))
            self.words = {name: self.figure.text(x, 0.03, "", ha="center", fontsize=8) for name, x in words}

    def show(self, face: MovingFace) -> None:
        flow = face.motion.flow[1] * (100 / face.motion.iod)
        speed, answers = np.linalg.norm(flow, axis=0), face.answers
        self.photo.set_data(face.picture)
        self.speed.set_data(speed)
        self.speed.set_alpha(0.8 * self.face * np.clip(speed / (0.2 * MAX_STRENGTH), 0, 1))  # still skin stays visible
        ys, xs = self.at
        still = speed[ys, xs] < 0.08 * MAX_STRENGTH
        self.arrows.set_UVC(*(np.ma.masked_where(still, along[ys, xs]) for along in flow))
        values = np.array(list(answers.values()))
        self.dots.set_array(values)
        self.dots.set_sizes(25 + 130 * values / MAX_STRENGTH)
        most = max(answers, key=answers.get)
        self.words["photo"].set_text(f"{face.code}, {1000 * face.frame / FPS:.0f} ms")
        self.words["flow"].set_text("measured flow")
        told = f"{most.replace('_', ' ')} {answers[most]:.1f} %" if answers[most] > 0.05 else "none"
        self.words["regions"].set_text(f"regions; most: {told}")

    def to_png(self) -> bytes:
        self.canvas.draw()
        picture = np.asarray(self.canvas.buffer_rgba())
        return encode_picture(".png", cv2.cvtColor(picture, cv2.COLOR_RGBA2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 3])
