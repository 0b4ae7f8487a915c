"""The evidence explorer: the attribution of a prediction on the face, as bars and over time, next to its controls."""

from __future__ import annotations

import os

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.types import Batch
from stagkit.explain.aggregate import Attribution
from stagkit.explain.evidence import Evidence
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.evidence.scene import (
    CONTROLS,
    GROUPINGS,
    LIVE_METHODS,
    Explained,
    Explanations,
    compute_payload,
    make_key,
)
from stagkit.explorers.explorer import Choice, ClipExplorer, WidgetError, as_figure, checked
from stagkit.explorers.validation import check_choice, check_index
from stagkit.plots.attributions import plot_attribution

traitlets = import_optional("traitlets")


class EvidenceExplorer(ClipExplorer):
    """Explorer of an explanation; ``view_evidence`` is its short name.

    Args:
        evidence: an ``Evidence`` (``make_evidence``, ``load_evidence``); several in a list, one per method; or a bare
            ``Attribution``, which is stamped 'no control'.
        clip: index or id of the clip shown first.
        frame: index of its frame, -1 = all together.
        method: which of several explanations; the first where None.
        target: class explained, index or name; the one that was explained where None.
        model: the network, in evaluation mode; with it other methods and classes are computed on demand.
        batch: the clips of ``evidence`` in the same order; needed with ``model``.
        **traits: ``grouping``, ``control``.

    Raises:
        StagkitError: an argument that is out of range, an explanation of edges, clips that do not belong together.

    Traits (all synced with the browser):
        clip: index of the clip shown. ``frame``: index of its frame, -1 = all together. ``playing``: the frames run.
        method: which explanation; with a network any of ``evidence.scene.LIVE_METHODS`` is computed on demand.
        target: index of the class explained, -1 = the one that was explained first (usually the predicted one).
        grouping: bars per ``"region"``, ``"muscle"``, ``"au"`` or ``"side"``.
        control: the second map, ``"flow magnitude"`` or ``"random weights"``.
        selected: ``{}`` or ``{"kind": "region" | "muscle" | "au" | "side", "name", "value"}``, value in logits.
    """

    _esm = read_esm("base", "face", "export", "explorer", "evidence_view")
    _css = read_css("base", "explorer", "evidence_view")
    _first_frame = -1

    method = Choice("", lambda explorer: tuple(dict.fromkeys(["", *explorer.given.by_method, *LIVE_METHODS])))
    target = Choice(-1, lambda explorer: (-1, *range(len(explorer.given.classes))))
    grouping = Choice("region", tuple(GROUPINGS))
    control = Choice("flow magnitude", CONTROLS)
    selected = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)
    _methods = traitlets.List().tag(sync=True)

    def __init__(
        self,
        evidence: Evidence | Attribution,
        *,
        clip: int | str = 0,
        frame: int = -1,
        method: str | None = None,
        target: int | str | None = None,
        model: object = None,
        batch: Batch | None = None,
        **traits: object,
    ):
        self.given = given = Explanations(evidence, model, batch)
        self._cache: dict[str, tuple[Explained, dict]] = {}
        super().__init__(
            clip=self._find_clip(clip),
            frame=frame,
            method=method.replace("_", " ") if method else next(iter(given.by_method)),
            target=-1 if target is None else check_index("target", target, given.classes),
            _scene=given.make_header(),
            _methods=list(dict.fromkeys([*given.by_method, *(() if model is None else LIVE_METHODS)])),
            **traits,
        )
        self._payload = self._compute()
        self.observe(self._on_choice, ["clip", "method", "target"])
        self.observe(self._on_grouping, "grouping")

    def _find_clip(self, clip: int | str) -> int:
        return check_index("clip", clip, self.given.clip_ids)

    def _count_frames(self) -> tuple[str, int]:
        return self.given.clip_ids[self.clip], int(self.given.first.mask[self.clip].any(1).sum())

    @traitlets.validate("control")
    def _valid_control(self, proposal):
        if proposal["value"] == "random weights" and self.given.model is None:
            raise WidgetError("'random weights' needs the network: open view_evidence(evidence, model=..., batch=...).")
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

    def _compute(self) -> dict:
        """Payload of the present choice."""
        target = self.target if self.target >= 0 else self.given.targets[self.clip]
        key = make_key(self.clip, self.method, target)
        if key not in self._cache:
            explained = self.given.find(self.clip, self.method, target)
            extras = self.given.compute_extras(self.clip, explained)
            self._cache[key] = explained, compute_payload(explained, self.clip, extras)
        return self._cache[key][1]

    def _on_choice(self, change):
        def work():
            payload = self._compute()
            with self.hold_sync():
                self._payload = payload
                if change["name"] == "clip":
                    self.frame = -1
                kind, name = self.selected.get("kind"), self.selected.get("name")
                still_there = name in dict(map(tuple, payload.get("bars", {}).get(kind, [])))
                self.selected = {"kind": kind, "name": name} if still_there else {}

        self._attempt(work)

    def _on_grouping(self, _change):
        if self.selected and self.selected["kind"] != self.grouping:
            self.selected = {}

    @property
    def evidence(self) -> Evidence:
        """The evidence shown, of a single clip."""
        explained = self._cache[self._payload["key"]][0]
        return explained.evidence or Evidence(explained.one, {})

    def table(self):
        """The bars that are shown now, as a pandas DataFrame: name, logits; largest first."""
        import pandas as pd

        rows = self._payload.get("bars", {}).get(self.grouping, [])
        table = pd.DataFrame(rows, columns=[self.grouping, "logits"])
        return table.sort_values("logits", key=np.abs, ascending=False, ignore_index=True)

    def to_html(self, path: str | os.PathLike | None = None, clips: list[int | str] | None = None) -> str:
        """The explorer as one self-contained page: no network, no Python; it contains what was given or computed so far.

        Args:
            path: file to write; nothing is written where None.
            clips: indices or ids of the clips in the page; all of them where None.

        Returns:
            The page's HTML, about 10 kB per clip.

        Raises:
            StagkitError: ``path`` cannot be written, or there is no such clip.
        """
        ids = self.given.clip_ids
        chosen = sorted({self.clip, *(range(len(ids)) if clips is None else map(self._find_clip, clips))})
        saved = {key: payload for key, (_, payload) in self._cache.items() if int(key.split("|")[0]) in chosen}
        for method, (attribution, _) in self.given.by_method.items():
            for i in chosen:
                key = make_key(i, method, int(attribution.target[i]))
                if key not in saved:
                    saved[key] = compute_payload(self.given.get(i, method), i)
        changes = {
            "_saved": saved,
            "_payload": {},
            "_scene": {**self._scene, "clips": [name if i in chosen else "" for i, name in enumerate(ids)]},
            "_methods": list(dict.fromkeys(p["method"] for p in saved.values())),
        }
        return self._save(f"Evidence: {ids[self.clip]}", changes, path)

    def to_figure(self):
        """The clip shown as ``plots.attributions.plot_attribution`` draws it."""
        explained = self._cache[self._payload["key"]][0]
        return plot_attribution(explained.evidence or explained.one)


view_evidence = EvidenceExplorer
plot_evidence = as_figure(EvidenceExplorer)
