"""The flow explorer: frames and their motion, the motion curve with the selected frames, a place followed over time."""

from __future__ import annotations

import os
import time

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.types import StagkitError
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.explorer import Choice, ClipExplorer, Range, as_figure, checked
from stagkit.explorers.flow.scene import (
    LAYERS,
    MAX_MAGNIFY,
    METHODS,
    SELECTIONS,
    ClipSequence,
    check_motion,
    check_point,
    compute_header,
    compute_payload,
    explain_hidden,
    reselect,
)
from stagkit.explorers.validation import check_choice, check_index
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import FlowClip, compute_flow
from stagkit.plots import clips as clip_plots

traitlets = import_optional("traitlets")

#: Maximum size of the flow in one page, over all methods, bytes.
_PAGE_BYTES = 500_000
_MAX_CACHED = 12  # payloads in memory


class FlowExplorer(ClipExplorer):
    """Explorer of a clip's motion; ``view_flow`` is its short name.

    Args:
        clips: a ``Clip`` with landmarks; a list of clips; or a source with ``keys`` and ``read`` (``open_source``,
            ``PhantomSource``), of which a clip is read when it is shown.
        clip: index or id of the clip shown first.
        frame: index of its frame; the one with the most motion where None.
        config: method, selection rule and their settings.
        show_frames: None = only frames of phantoms, animated photographs and your own recordings are shown; of licensed
            data landmarks and flow. True states that the agreement of these data allows showing this subject.
        motion: the clip's motion, if already measured with ``config``.
        point: ``[x, y]`` px, a place that is followed over time.
        **traits: ``layer``, ``arrows``, ``magnify``.

    Raises:
        StagkitError: an argument that is out of range, a clip without landmarks or with a single frame.

    Traits (all synced with the browser):
        clip: index of the clip shown. ``frame``: index of its frame. ``playing``: the frames run.
        method: ``"dis"``, ``"dis_fast"``, ``"tvl1"`` or ``"farneback"``; measured again when it is switched.
        selection: ``"magnitude"``, ``"uniform"``, ``"apex"`` or ``"all"``; ``selected``: the frames it gives.
        layer: ``"wheel"`` (direction as colour), ``"speed"`` or ``"strain"``; ``arrows``: drawn over it.
        magnify: 1..20, factor by which the motion in the frame is enlarged.
        point: ``[]`` or ``[x, y]``, a place in px of the clip's frames that is followed over time.

    Example:
        >>> explorer = view_flow(clip)  # doctest: +SKIP
        >>> explorer.selected  # doctest: +SKIP
        [15, 17, 19, 21]
    """

    _esm = read_esm("base", "face", "export", "explorer", "flow_view")
    _css = read_css("base", "explorer", "flow_view")

    method = Choice("dis", METHODS)
    selection = Choice("magnitude", SELECTIONS)
    selected = traitlets.List().tag(sync=True)
    layer = Choice("wheel", LAYERS)
    arrows = traitlets.Bool(True).tag(sync=True)
    magnify = Range(1.0, 1, MAX_MAGNIFY, "1 = as measured")
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
        show_frames: bool | None = None,
        motion: FlowClip | None = None,
        point: list[float] | None = None,
        **traits: object,
    ):
        if not isinstance(config, FlowConfig):
            raise StagkitError(f"`config` is a {type(config).__name__}, expected a FlowConfig.")
        self.clips, self.config, self.show_frames = ClipSequence(clips), config, show_frames
        self._cache: dict[str, dict] = {}
        index = self._find_clip(clip)
        self._open(index)
        self._measure(index, config.method, motion)
        super().__init__(
            clip=index,
            method=config.method,
            selection=config.selection,
            _clips=list(self.clips.names),
            _clip=self._header,
            _payload=self._cache[f"{index}|{config.method}"],
            frame=int(np.argmax(self._motion.scores)) if frame is None else frame,
            point=check_point(point or [], self.shown_clip),
            **traits,
        )
        self.selected = self._payload["selections"][self.selection]
        self.observe(self._on_clip, "clip")
        self.observe(self._on_method, "method")
        self.observe(self._on_selection, "selection")

    def _find_clip(self, clip: int | str) -> int:
        return check_index("clip", clip, self.clips.names)

    def _count_frames(self) -> tuple[str, int]:
        return self.shown_clip.clip_id, len(self.shown_clip.frames)

    @traitlets.validate("point")
    def _valid_point(self, proposal):
        return checked(check_point, proposal["value"], self.shown_clip)

    def _open(self, index: int) -> None:
        """Read the clip to be shown."""
        clip = self.clips.read(index)
        self.shown_clip, self._motion = clip, None
        self._header = compute_header(clip, index, explain_hidden(clip, self.show_frames))

    def _measure(self, index: int, method: str, motion: FlowClip | None = None) -> None:
        """Motion (or check the given one) and payload of the clip shown."""
        start, config, clip = time.perf_counter(), self.config.replace(method=method), self.shown_clip
        self._motion = compute_flow(clip, config) if motion is None else check_motion(motion, clip)
        self._motion_method = method
        payload = compute_payload(clip, index, self._motion, config)
        payload["ms"] = round(1000 * (time.perf_counter() - start))
        self._cache[payload["key"]] = payload
        if len(self._cache) > _MAX_CACHED:
            self._cache.pop(next(iter(self._cache)))

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
        if key not in self._cache:
            self._measure(self.clip, self.method)
        with self.hold_sync():
            self._payload = self._cache[key]
            self.selected = self._payload["selections"][self.selection]

    @property
    def motion(self) -> FlowClip:
        """The motion as shown: this method, this selection rule (input of ``compute_rois``)."""
        if self._motion is None or self._motion_method != self.method:
            self._motion = compute_flow(self.shown_clip, self.config.replace(method=self.method))
            self._motion_method = self.method
        return reselect(self._motion, self.shown_clip, self.config, self.selection)

    def point_motion(self) -> np.ndarray:
        """Motion at ``point``: float "time 2" px (u right, v down), at full resolution.

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
            methods: flow methods that the page can switch between, in addition to those shown so far.

        Returns:
            The page's HTML, below 1 MB.

        Raises:
            StagkitError: ``path`` cannot be written, or there is no such method.
        """
        for method in methods:
            check_choice("methods", method, METHODS)
        included = [m for m in METHODS if f"{self.clip}|{m}" in self._cache or m in methods]
        saved = {}
        for method in included:
            config = self.config.replace(method=method)
            motion = self.motion if method == self.method else compute_flow(self.shown_clip, config)
            payload = compute_payload(self.shown_clip, self.clip, motion, config, limit=_PAGE_BYTES // len(included))
            saved[payload["key"]] = payload
        names = [n if i == self.clip else "" for i, n in enumerate(self.clips.names)]
        changes = {"_saved": saved, "_payload": {}, "_clips": names}
        return self._save(f"Flow: {self.shown_clip.clip_id}", changes, path)

    def to_figure(self):
        """Flow of the frame shown (``plots.clips.plot_flow``), over the onset frame where that may be shown."""
        clip = self.shown_clip
        return clip_plots.plot_flow(
            self.motion, self.frame, None if self._header["hidden"] else clip.frames[clip.onset or 0]
        )


view_flow = FlowExplorer
plot_flow = as_figure(FlowExplorer)
