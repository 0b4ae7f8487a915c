"""The flow explorer: the frames of a clip, what moved in them, when, and which frames the network is given.

Left the face, its motion magnified where asked; right the flow as colours and arrows, or the strain; below the motion
curve with the selected frames. Method and selection rule can be switched; a place on the face can be followed.
"""

from __future__ import annotations

import os
import time
from collections import OrderedDict

import numpy as np

from stagkit.core.config import FlowConfig
from stagkit.core.errors import import_optional
from stagkit.core.types import FlowClip, StagkitError
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.explorer import Explorer, WidgetError, checked
from stagkit.explorers.flow.figure import plot_flow
from stagkit.explorers.flow.scene import (
    LAYERS,
    MAX_MAGNIFY,
    METHODS,
    SELECTIONS,
    ClipSequence,
    check_frame,
    check_motion,
    check_point,
    compute_header,
    compute_payload,
    explain_hidden,
    measure,
    reselect,
)
from stagkit.explorers.validation import check_choice

traitlets = import_optional("traitlets")

#: Bytes that the flow of one page may take, over all methods in it.
_PAGE_BYTES = 500_000
_MOST_KEPT = 12  # payloads that are kept in memory


class FlowExplorer(Explorer):
    """Explorer of a clip's motion; see ``view_flow`` for the arguments.

    Traits (all synced with the browser; set them in Python or touch them there):
        clip: index of the clip shown. ``frame``: index of its frame. ``playing``: the frames run.
        method: ``"dis"``, ``"dis_fast"``, ``"tvl1"`` or ``"farneback"``; measured anew when it is switched.
        selection: ``"magnitude"``, ``"uniform"``, ``"apex"`` or ``"all"``; ``selected``: the frames it gives.
        layer: ``"wheel"`` (direction as colour), ``"speed"`` or ``"strain"``; ``arrows``: drawn over it.
        magnify: 1..20, how many times the motion is enlarged in the picture.
        point: ``[]`` or ``[x, y]``, a place in px of the clip's frames that is followed over time.

    Example:
        >>> explorer = view_flow(clip)  # doctest: +SKIP
        >>> explorer.selected  # doctest: +SKIP
        [15, 17, 19, 21]
    """

    _esm = read_esm("base", "face", "export", "explorer", "flow_view")
    _css = read_css("base", "explorer", "flow_view")

    clip = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    method = traitlets.Unicode("dis").tag(sync=True)
    selection = traitlets.Unicode("magnitude").tag(sync=True)
    selected = traitlets.List().tag(sync=True)
    layer = traitlets.Unicode("wheel").tag(sync=True)
    arrows = traitlets.Bool(True).tag(sync=True)
    magnify = traitlets.Float(1.0).tag(sync=True)
    point = traitlets.List().tag(sync=True)

    _clips = traitlets.List().tag(sync=True)
    _clip = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        clips,
        *,
        clip: int | str = 0,
        frame: int | None = None,
        config: FlowConfig = FlowConfig(),
        pictures: bool | None = None,
        motion: FlowClip | None = None,
        **traits: object,
    ):
        if not isinstance(config, FlowConfig):
            raise StagkitError(f"`config` is a {type(config).__name__}, expected a FlowConfig.")
        self.clips, self.config, self.pictures = ClipSequence(clips), config, pictures
        self._packed: OrderedDict[str, dict] = OrderedDict()
        index = self.clips.index(clip)
        self._motion: FlowClip | None = None
        self._open(index)
        self._measure(index, config.method, motion)
        wanted = self._peak() if frame is None else frame
        super().__init__(
            clip=index,
            method=config.method,
            selection=config.selection,
            _clips=list(self.clips.names),
            _clip=self._header,
            _payload=self._packed[f"{index}|{config.method}"],
            **{"frame": wanted, **traits},
        )
        self.selected = self._payload["selections"][self.selection]
        self.observe(self._on_clip, "clip")
        self.observe(self._on_method, "method")
        self.observe(self._on_selection, "selection")

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        return checked(self.clips.index, proposal["value"])

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        return checked(check_frame, self.shown_clip, proposal["value"])

    @traitlets.validate("method", "selection", "layer")
    def _valid_choice(self, proposal):
        name = proposal["trait"].name
        options = {"method": METHODS, "selection": SELECTIONS, "layer": LAYERS}[name]
        checked(check_choice, name, proposal["value"], options)
        return proposal["value"]

    @traitlets.validate("magnify")
    def _valid_magnify(self, proposal):
        if not 1 <= proposal["value"] <= MAX_MAGNIFY:
            raise WidgetError(f"`magnify` is {proposal['value']}, expected 1 (as it is) to {MAX_MAGNIFY:g} times.")
        return proposal["value"]

    @traitlets.validate("point")
    def _valid_point(self, proposal):
        return checked(check_point, proposal["value"], self.shown_clip)

    # what follows from what ------------------------------------------------------------------------------------------
    def _open(self, index: int) -> None:
        """Read a clip: it is the one shown from now on."""
        clip = self.clips.read(index)
        if clip.landmarks is None or not np.isfinite(clip.landmarks).all():
            raise StagkitError(f"clip {clip.clip_id!r} has no landmarks: find them first (prepare --landmarker FILE).")
        self.shown_clip, self._motion = clip, None
        self._header = compute_header(clip, index, explain_hidden(clip, self.pictures))

    def _measure(self, index: int, method: str, motion: FlowClip | None = None) -> None:
        """The motion of the clip shown by a method (or as given); its payload is kept."""
        start, config = time.perf_counter(), self.config.replace(method=method)
        self._motion = (
            measure(self.shown_clip, config, method) if motion is None else check_motion(motion, self.shown_clip)
        )
        self._measured_by = method
        payload = compute_payload(self.shown_clip, index, self._motion, config)
        payload["ms"] = round(1000 * (time.perf_counter() - start))
        self._packed[payload["key"]] = payload
        while len(self._packed) > _MOST_KEPT:
            self._packed.popitem(last=False)

    def _peak(self) -> int:
        return int(np.argmax(self._motion.scores))

    def _on_clip(self, change):
        def work():
            before = self.shown_clip, self._motion, self._header
            try:
                self._open(change["new"])
                self._show()
            except Exception:
                self.shown_clip, self._motion, self._header = before
                self.set_trait("clip", change["old"])
                raise
            with self.hold_sync():
                self._clip, self.point = self._header, []
                self.frame = int(np.argmax(self._payload["scores"]))

        if change["new"] != self._header["index"]:
            self._attempt(work)

    def _on_method(self, _change):
        self._attempt(self._show)

    def _on_selection(self, _change):
        self.selected = self._payload["selections"][self.selection]

    def _show(self) -> None:
        key = f"{self.clip}|{self.method}"
        if key not in self._packed:
            self._measure(self.clip, self.method)
        with self.hold_sync():
            self._payload = self._packed[key]
            self.selected = self._payload["selections"][self.selection]

    # what can be taken away ------------------------------------------------------------------------------------------
    @property
    def motion(self) -> FlowClip:
        """The motion as shown: this method, this selection rule (for ``compute_rois`` and all that follows)."""
        if self._motion is None or self._measured_by != self.method:
            self._motion = measure(self.shown_clip, self.config, self.method)
            self._measured_by = self.method
        return reselect(self._motion, self.shown_clip, self.config, self.selection)

    def point_motion(self) -> np.ndarray:
        """Motion of the place that is followed: float "time 2" px (u right, v down), at full resolution.

        Raises:
            StagkitError: no place was chosen.
        """
        if not self.point:
            raise StagkitError("no place is followed: click the face, or set `point` to [x, y] in px.")
        x, y = (round(v) for v in self.point)
        return self.motion.flow[:, :, y, x]

    def to_html(self, path: str | os.PathLike | None = None, methods: tuple[str, ...] = ()) -> str:
        """The explorer with the clip shown as one self-contained page: no network, no Python.

        Args:
            path: file to write; nothing is written where None.
            methods: flow methods that the page can switch between, beside those that were looked at.

        Returns:
            The page's HTML, below 1 MB.

        Raises:
            StagkitError: ``path`` cannot be written, or there is no such method.
        """
        for method in methods:
            check_choice("methods", method, METHODS)
        seen = [m for m in METHODS if f"{self.clip}|{m}" in self._packed or m in methods]
        saved = {}
        for method in seen:
            config = self.config.replace(method=method)
            motion = self.motion if method == self.method else measure(self.shown_clip, config, method)
            payload = compute_payload(self.shown_clip, self.clip, motion, config, limit=_PAGE_BYTES // len(seen))
            saved[payload["key"]] = payload
        names = [n if i == self.clip else "" for i, n in enumerate(self.clips.names)]
        changes = {"_saved": saved, "_payload": {}, "_clips": names}
        return self._save(f"Flow: {self.shown_clip.clip_id}", changes, path)

    def to_figure(self):
        """What is shown now as a matplotlib Figure (``plot_flow`` of the current traits)."""
        return plot_flow(
            self.shown_clip,
            frame=self.frame,
            config=self.config.replace(method=self.method, selection=self.selection),
            layer=self.layer,
            arrows=self.arrows,
            magnify=self.magnify,
            point=list(self.point) or None,
            pictures=self.pictures,
            motion=self.motion,
        )


def view_flow(
    clips,
    *,
    clip: int | str = 0,
    frame: int | None = None,
    config: FlowConfig = FlowConfig(),
    layer: str = "wheel",
    arrows: bool = True,
    magnify: float = 1.0,
    point: list[float] | None = None,
    pictures: bool | None = None,
    motion: FlowClip | None = None,
) -> FlowExplorer:
    """Open the flow explorer on a clip (``plot_flow`` draws the same as a still figure).

    Args:
        clips: a ``Clip`` with landmarks; a list of clips; or a source with ``keys`` and ``read`` (``open_source``,
            ``PhantomSource``), of which a clip is read when it is shown.
        clip: index or id of the clip shown first.
        frame: index of its frame; the one with the most motion where None.
        config: method, selection rule and their settings; both can be switched afterwards.
        layer: ``"wheel"`` (direction as colour, length as opacity), ``"speed"`` or ``"strain"``.
        arrows: draw the flow as arrows too.
        magnify: 1..20, how many times the motion is enlarged in the picture.
        point: ``[x, y]`` px, a place that is followed over time.
        pictures: may the frames be shown? None = those of phantoms, animated photographs and recordings of one's own; of
            licensed data only landmarks and flow. True says that the agreement of these data allows this subject's pictures.
        motion: the clip's motion, where it has been measured already with ``config``.

    Returns:
        A ``FlowExplorer`` widget whose traits follow what is touched.

    Raises:
        StagkitError: an argument that is out of range, a clip without landmarks or with a single frame.
    """
    explorer = FlowExplorer(
        clips,
        clip=clip,
        frame=frame,
        config=config,
        pictures=pictures,
        motion=motion,
        layer=layer,
        arrows=arrows,
        magnify=magnify,
    )
    if point is not None:
        explorer.point = list(point)
    return explorer
