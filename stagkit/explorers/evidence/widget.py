"""The evidence explorer: on what a decision rests, with the controls that say whether to believe it.

Left the map on the face, beside it a control map; below regions, muscles or action units as bars, frames over time,
deletion and insertion curves, and what every control measured. Without controls the map is stamped so.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.types import Attribution, Batch, StagkitError
from stagkit.explain.attribution import METHODS
from stagkit.explain.evidence import Evidence
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.evidence.figure import draw_evidence
from stagkit.explorers.evidence.scene import (
    CONTROLS,
    GROUPINGS,
    LIVE_METHODS,
    Shown,
    compute_extras,
    compute_header,
    compute_payload,
    compute_shown,
    make_key,
    read_given,
)
from stagkit.explorers.explorer import Explorer, WidgetError, checked
from stagkit.explorers.validation import check_choice, check_index

if TYPE_CHECKING:
    from stagkit.network.model import Stag

traitlets = import_optional("traitlets")

_MOST_KEPT = 400  # payloads in memory, about 10 kB each


class EvidenceExplorer(Explorer):
    """Explorer of an explanation; see ``view_evidence`` for the arguments.

    Traits (all synced with the browser; set them in Python or touch them there):
        clip: index of the clip shown. ``frame``: index of its frame, -1 = all together. ``playing``: the frames run.
        method: which explanation; with a network any of ``evidence_scene.LIVE_METHODS`` is computed when it is asked for.
        target: index of the class explained, -1 = the one that was explained first (as a rule the predicted one).
        grouping: bars of each ``"region"``, ``"muscle"``, ``"au"`` or ``"side"``.
        control: what stands beside the map, ``"flow magnitude"`` or ``"random weights"``.
        selected: ``{}`` or ``{"kind": "region" | "muscle" | "au" | "side", "name", "value"}``, value in logits.
    """

    _esm = read_esm("base", "face", "export", "explorer", "evidence_view")
    _css = read_css("base", "explorer", "evidence_view")

    clip = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(-1).tag(sync=True)
    method = traitlets.Unicode("").tag(sync=True)
    target = traitlets.Int(-1).tag(sync=True)
    grouping = traitlets.Unicode("region").tag(sync=True)
    control = traitlets.Unicode("flow magnitude").tag(sync=True)
    selected = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)
    _methods = traitlets.List().tag(sync=True)

    def __init__(
        self,
        evidence: Evidence | Attribution,
        *,
        clip: int | str = 0,
        method: str | None = None,
        target: int | str | None = None,
        model: Stag | None = None,
        batch: Batch | None = None,
        **traits: object,
    ):
        self.given = read_given(evidence)
        first = next(iter(self.given.values())).attribution
        self.clip_ids, self.classes, self.model, self.batch = first.clip_ids, first.classes, model, batch
        _check_network(model, batch, self.clip_ids)
        self._kept: OrderedDict[str, dict] = OrderedDict()
        self._shown: dict[str, tuple[Shown, int]] = {}
        index = check_index("clip", clip, self.clip_ids)
        super().__init__(
            clip=index,
            method=_read_method(method, self.given),
            target=-1 if target is None else check_index("target", target, self.classes),
            _scene=compute_header(next(iter(self.given.values()))),
            _methods=list(dict.fromkeys([*self.given, *(LIVE_METHODS if model is not None else ())])),
            **traits,
        )
        self._payload = self._make()
        self.observe(self._on_choice, ["clip", "method", "target"])
        self.observe(self._on_grouping, "grouping")

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        return checked(check_index, "clip", proposal["value"], self.clip_ids)

    @traitlets.validate("target")
    def _valid_target(self, proposal):
        checked(check_choice, "target", proposal["value"], (-1, *range(len(self.classes))))
        return proposal["value"]

    @traitlets.validate("method", "grouping", "control")
    def _valid_choice(self, proposal):
        name = proposal["trait"].name
        options = {"method": (*self.given, *LIVE_METHODS), "grouping": tuple(GROUPINGS), "control": CONTROLS}[name]
        checked(check_choice, name, proposal["value"], tuple(dict.fromkeys(options)))
        if name == "control" and proposal["value"] == "random weights" and self.model is None:
            raise WidgetError("'random weights' needs the network: open view_evidence(evidence, model=..., batch=...).")
        return proposal["value"]

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        n = int(next(iter(self.given.values())).attribution.mask[self.clip].any(1).sum())
        if not -1 <= proposal["value"] < n:
            raise WidgetError(f"`frame` is {proposal['value']}, expected 0..{n - 1}, or -1 for all frames together.")
        return proposal["value"]

    @traitlets.validate("selected")
    def _valid_selected(self, proposal):
        chosen = dict(proposal["value"])
        if not chosen:
            return chosen
        if not {"kind", "name"} <= set(chosen):
            raise WidgetError(f"`selected` is {chosen}, expected kind and name: {{'kind': 'au', 'name': 'AU12'}}.")
        bars = self._payload.get("bars", {})
        checked(check_choice, "kind", chosen["kind"], tuple(bars))
        values = dict(map(tuple, bars[chosen["kind"]]))
        checked(check_choice, "name", chosen["name"], tuple(values))
        return {"kind": chosen["kind"], "name": chosen["name"], "value": values[chosen["name"]]}

    # what follows from what ------------------------------------------------------------------------------------------
    def _wanted_target(self) -> int:
        if self.target >= 0:
            return self.target
        return int(next(iter(self.given.values())).attribution.target[self.clip])

    def _find(self) -> tuple[Shown, int]:
        """The explanation that is shown, and the position of the clip in it."""
        target = self._wanted_target()
        given = self.given.get(self.method)
        if given is not None and int(given.attribution.target[self.clip]) == target:
            return given, self.clip
        if self.model is None:
            words = self.classes[target]
            raise StagkitError(
                f"{self.method} for {words} was not computed for {self.clip_ids[self.clip]!r}, and there is no network "
                "to ask: open view_evidence(evidence, model=..., batch=...)."
            )
        return compute_shown(self.model, self.batch, self.clip, self.method, target), 0

    def _make(self) -> dict:
        key = make_key(self.clip, self.method, self._wanted_target())
        if key not in self._kept:
            shown, at = self._shown[key] = self._find()
            extras = None
            if self.model is not None:
                extras = compute_extras(self.model, self.batch, self.clip, shown, at)
            self._kept[key] = compute_payload(shown, at, self.clip, extras)
            while len(self._kept) > _MOST_KEPT:
                old, _ = self._kept.popitem(last=False)
                self._shown.pop(old)
        return self._kept[key]

    def _on_choice(self, change):
        def work():
            payload = self._make()
            with self.hold_sync():
                self._payload = payload
                if change["name"] == "clip":
                    self.frame = -1
                self.selected = self._again(dict(self.selected))

        self._attempt(work)

    def _again(self, chosen: dict) -> dict:
        """The selection with the value that it has now, or nothing."""
        names = dict(map(tuple, self._payload.get("bars", {}).get(chosen.get("kind"), [])))
        return {**chosen, "value": names[chosen["name"]]} if chosen.get("name") in names else {}

    def _on_grouping(self, _change):
        if self.selected and self.selected["kind"] != self.grouping:
            self.selected = {}

    # what can be taken away ------------------------------------------------------------------------------------------
    @property
    def evidence(self) -> Evidence:
        """What is shown now, a single clip."""
        shown, at = self._shown[self._payload["key"]]
        return (shown.evidence or Evidence(shown.attribution, {})).select([at])

    def table(self):
        """The bars that are shown now, as a pandas DataFrame: name, logits; largest first."""
        import pandas as pd

        rows = self._payload.get("bars", {}).get(self.grouping, [])
        table = pd.DataFrame(rows, columns=[self.grouping, "logits"])
        return table.sort_values("logits", key=np.abs, ascending=False, ignore_index=True)

    def to_html(self, path: str | os.PathLike | None = None, clips: list[int | str] | None = None) -> str:
        """The explorer as one self-contained page: no network, no Python; it holds what was given and what was looked at.

        Args:
            path: file to write; nothing is written where None.
            clips: indices or ids of the clips in the page; all of them where None.

        Returns:
            The page's HTML, about 10 kB a clip.

        Raises:
            StagkitError: ``path`` cannot be written, or there is no such clip.
        """
        chosen = range(len(self.clip_ids)) if clips is None else [check_index("clips", c, self.clip_ids) for c in clips]
        chosen = sorted({*chosen, self.clip})
        saved = {key: payload for key, payload in self._kept.items() if int(key.split("|")[0]) in chosen}
        for shown in self.given.values():
            for i in chosen:
                key = make_key(i, shown.method, int(shown.attribution.target[i]))
                if key not in saved:
                    saved[key] = compute_payload(shown, i, i)
        names = [name if i in chosen else "" for i, name in enumerate(self.clip_ids)]
        changes = {
            "_saved": saved,
            "_payload": {},
            "_scene": {**self._scene, "clips": names},
            "_methods": list(dict.fromkeys(p["method"] for p in saved.values())),
        }
        return self._save(f"Evidence: {self.clip_ids[self.clip]}", changes, path)

    def to_figure(self):
        """What is shown now as a matplotlib Figure (``plot_evidence`` of the current traits)."""
        shown, at = self._shown[self._payload["key"]]
        choice = {name: getattr(self, name) for name in ("grouping", "control", "frame")}
        return draw_evidence(shown, at, self._payload, **choice)


def view_evidence(
    evidence: Evidence | Attribution,
    *,
    clip: int | str = 0,
    frame: int = -1,
    method: str | None = None,
    target: int | str | None = None,
    grouping: str = "region",
    control: str = "flow magnitude",
    model: Stag | None = None,
    batch: Batch | None = None,
) -> EvidenceExplorer:
    """Open the evidence explorer (``plot_evidence`` draws the same as a still figure).

    Args:
        evidence: an ``Evidence`` (``make_evidence``, ``explain_run.load_evidence``); several in a list, one a method; or a
            bare ``Attribution``, which is stamped 'no control'.
        clip: index or id of the clip shown first.
        frame: index of its frame, -1 = all together.
        method: which of several explanations; the first where None.
        target: class explained, index or name; the one that was explained where None.
        grouping: bars of each ``"region"``, ``"muscle"``, ``"au"`` or ``"side"``.
        control: the map beside it: ``"flow magnitude"``, or ``"random weights"`` (needs the network).
        model: the network, in evaluation mode; with it other methods and classes are computed when they are asked for.
        batch: the clips of ``evidence`` in the same order; needed with ``model``.

    Returns:
        An ``EvidenceExplorer`` widget whose traits follow what is touched.

    Raises:
        StagkitError: an argument that is out of range, an explanation of edges, clips that do not belong together.
    """
    return EvidenceExplorer(
        evidence,
        clip=clip,
        frame=frame,
        method=method,
        target=target,
        grouping=grouping,
        control=control,
        model=model,
        batch=batch,
    )


def _read_method(method: str | None, given: dict) -> str:
    if method is None:
        return next(iter(given))
    method = method.replace("_", " ")
    check_choice("method", method, tuple(dict.fromkeys([*given, *METHODS])))
    return method


def _check_network(model: object, batch: Batch | None, clip_ids: tuple[str, ...]) -> None:
    if (model is None) != (batch is None):
        raise StagkitError("`model` and `batch` belong together: give both (the network and its clips), or neither.")
    if batch is not None and tuple(batch.clip_ids) != tuple(clip_ids):
        raise StagkitError(
            f"`batch` holds other clips ({len(batch.clip_ids)}, first {batch.clip_ids[0]!r}) than the evidence "
            f"({len(clip_ids)}, first {clip_ids[0]!r}): give the batch that was explained."
        )
