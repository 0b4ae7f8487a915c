"""The evidence explorer: the attribution of a prediction on the face, as bars and over time, next to its controls."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Batch, StagkitError
from stagkit.explain.aggregate import Attribution, ExplainError, describe_clip, tabulate, to_map
from stagkit.explain.attribution import check_complete
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.methods import METHODS
from stagkit.explorers.browser import read_css, read_esm, shorten
from stagkit.explorers.explorer import Choice, ClipExplorer, WidgetError, as_figure, checked
from stagkit.explorers.validation import check_choice, check_index
from stagkit.plots.attributions import plot_attribution

if TYPE_CHECKING:
    from stagkit.network.model import Stag

traitlets = import_optional("traitlets")

#: How the bars are grouped, with the words for it.
GROUPINGS = {"region": "regions", "muscle": "muscles", "au": "action units", "side": "sides"}

#: The second map: how much the skin moves, or the map of a network with random weights.
CONTROLS = ("flow magnitude", "random weights")

#: Methods that can be computed on demand: those that give a map over regions and frames.
LIVE_METHODS = tuple(m for m in METHODS if "edge" not in m and "layer" not in m)


def make_key(clip: int, method: str, target: int) -> str:
    """Name of a payload."""
    return f"{clip}|{method}|{target}"


class Explanations:
    """Given explanations of the same clips by method, and the network that computes others on demand."""

    def __init__(self, evidence: object, model: Stag | None = None, batch: Batch | None = None):
        self.model, self.batch = model, batch
        self.by_method: dict[str, Evidence] = {}
        for one in evidence if isinstance(evidence, Sequence) else [evidence]:
            if not isinstance(one, (Evidence, Attribution)):
                raise StagkitError(
                    f"the evidence explorer was given a {type(one).__name__}, expected an Evidence (make_evidence, "
                    "load_evidence) or an Attribution, or several in a list."
                )
            one = one if isinstance(one, Evidence) else Evidence(one, {})
            attribution = one.attribution
            if "edge" in attribution.axes.split():
                raise StagkitError(
                    f"{attribution.method} varies edges, so it has no regions and frames to draw: open view_au_graph with "
                    "quantity='contribution'."
                )
            to_map(attribution)
            self.by_method[attribution.method] = one
        if not self.by_method:
            raise StagkitError("the evidence explorer was given an empty list: nothing to show.")
        self.first = next(iter(self.by_method.values())).attribution
        self.clip_ids, self.classes = self.first.clip_ids, self.first.classes
        self.targets = self.first.target.tolist()
        if not self.clip_ids:
            raise StagkitError("the evidence holds no clip: nothing to show.")
        if any(other.attribution.clip_ids != self.clip_ids for other in self.by_method.values()):
            raise StagkitError("the explanations are of different clips: give those of the same clips, in one order.")
        if (model is None) != (batch is None):
            raise StagkitError("`model` and `batch` belong together: give both (network and clips), or neither.")
        if batch is not None and tuple(batch.clip_ids) != tuple(self.clip_ids):
            raise StagkitError(
                f"`batch` holds other clips ({len(batch.clip_ids)}, first {batch.clip_ids[0]!r}) than the evidence "
                f"({len(self.clip_ids)}, first {self.clip_ids[0]!r}): give the batch that was explained."
            )

    @property
    def live_methods(self) -> tuple[str, ...]:
        """Methods that the network can be explained by: ``LIVE_METHODS``, exact terms where its logits are a sum."""
        head = getattr(getattr(self.model, "config", None), "head", "")
        return () if self.model is None else tuple(m for m in LIVE_METHODS if head == "graph" or m != "exact terms")

    def find(self, clip: int, method: str, target: int) -> Evidence:
        """The explanation of a clip by a method for a class: as given, or computed with its controls by the network."""
        given = self.by_method.get(method)
        if given is not None and int(given.attribution.target[clip]) == target:
            return given.select([clip])
        if self.model is None:
            raise StagkitError(
                f"{method} for {self.classes[target]} was not computed for {self.clip_ids[clip]!r}, and there is no network "
                "to compute it: give model=... and batch=... too."
            )
        return make_evidence(self.model, self._take(clip), method, target, seed=0)

    def _take(self, clip: int) -> Batch:
        import torch

        return self.batch.select(torch.tensor([clip]))

    def compute_extras(self, clip: int, attribution: Attribution, seed: int = 0) -> dict | None:
        """Deletion and insertion curves in three orders, and the map of a random network; None without a network."""
        if self.model is None:
            return None
        from stagkit.explain.attribution import attribute
        from stagkit.explain.faithfulness import CASCADE, compute_curves, randomise
        from stagkit.explain.methods import compute_flow_magnitude

        batch, maps, target = self._take(clip), to_map(attribution), attribution.target
        orders = {
            "map": maps,
            "flow magnitude": compute_flow_magnitude(batch),
            "random": np.random.default_rng(seed).random(maps.shape),
        }
        curves = {name: compute_curves(self.model, batch, order, target) for name, order in orders.items()}
        settings = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"} | {"search": False}
        if "n_steps" in settings:
            settings["n_steps"] = 8  # enough to compare maps
        random = attribute(randomise(self.model, CASCADE, seed), batch, attribution.method, target, **settings)
        return {
            "share": shorten(curves["map"].share),
            "curves": {
                name: {"deletion": shorten(curve.deletion[0]), "insertion": shorten(curve.insertion[0])}
                for name, curve in curves.items()
            },
            "random": to_map(random)[0],
        }

    def make_header(self) -> dict:
        """What the browser needs once: names, the face, region positions, what each AU moves."""
        return {
            "classes": list(self.classes),
            "clips": list(self.clip_ids),
            "rois": list(self.first.roi_names),
            "face": shorten(load_mean_face()[0]),
            "centres": shorten(ATLAS.mean_centres),
            "aus": [
                {"label": u.label, "name": u.name, "muscles": list(u.muscles), "moves": shorten(ATLAS.incidence[k])}
                for k, u in enumerate(ACTION_UNITS.values())
            ],
            "groupings": GROUPINGS,
        }


def compute_payload(evidence: Evidence, clip: int, extras: Mapping | None = None) -> dict:
    """What the browser needs of clip number ``clip`` by one method for one class; signed sums in logits."""
    one = evidence.attribution
    target = int(one.target[0])
    head = {
        "key": make_key(clip, one.method, target),
        "method": one.method,
        "target": target,
        "baseline": one.baseline,
        "logit_difference": round(float(one.logit_difference[0]), 5),
        "missed": round(float(one.relative_delta[0]), 5),
    }
    try:
        check_complete(one)
    except ExplainError as error:
        return {**head, "refused": str(error)}
    try:
        sentence = describe_clip(one, 0)
    except ExplainError:
        sentence = ""
    visible = one.mask[0].any(1)
    flow = np.linalg.norm(one.flow[0], axis=-1) * one.mask[0]
    return {
        **head,
        "refused": "",
        "times": shorten(one.times_ms[0][visible], 1),
        "map": shorten(to_map(one)[0][visible], 5),
        "flow": shorten(flow[visible], 5),
        "random": shorten(extras["random"][visible], 5) if extras else None,
        "bars": _compute_bars(one),
        "curves": extras["curves"] if extras else None,
        "share": extras["share"] if extras else None,
        "areas": _read_areas(evidence),
        "checks": [[v.name, bool(v.passed), v.text] for v in evidence.checks(0)],
        "sentence": sentence,
    }


def _compute_bars(one: Attribution) -> dict[str, list]:
    """Grouping -> [[name, logits], ...] of a single clip; groupings that this attribution does not have are left out."""
    tables, sides = tabulate(one), {"left": "subject's left", "right": "subject's right"}
    rows = {name: tables.get(f"by_{'roi' if name == 'region' else name}") for name in GROUPINGS}
    out = {
        name: [[sides.get(n, n), round(float(v), 5)] for n, v in row.iloc[0].items()]
        for name, row in rows.items() if row is not None
    }  # fmt: skip
    if not out:  # only frames were varied: the part of each region
        out["region"] = [[n, round(float(v), 5)] for n, v in zip(one.roi_names, to_map(one)[0].sum(0), strict=True)]
    return out


def _read_areas(evidence: Evidence) -> dict | None:
    """Areas under deletion and insertion of each order, logits; None where they were not measured."""
    out = {}
    for name, end in {"map": "", "flow magnitude": "_flow", "random": "_random"}.items():
        found = {kind: evidence.scores.get(f"{kind}{end}") for kind in ("deletion", "insertion")}
        if any(values is None for values in found.values()):
            return None
        out[name] = {kind: round(float(values[0]), 4) for kind, values in found.items()}
    return out


class EvidenceExplorer(ClipExplorer):
    """Explorer of an explanation; ``view_evidence`` is its short name.

    Args:
        evidence: an ``Evidence`` (``make_evidence``, ``load_evidence``); several in a list, one per method; or a bare
            ``Attribution``, which is stamped 'no control'.
        clip: index or id of the clip shown first. ``frame``: index of its frame, -1 = all together.
        method: which of several explanations; the first where None.
        target: class explained, index or name; the one that was explained where None.
        model, batch: the network, in evaluation mode, and the clips of ``evidence`` in the same order; with them other
            methods and classes are computed on demand.
        **traits: ``grouping``, ``control``.

    Raises:
        StagkitError: an argument that is out of range, an explanation of edges, clips that do not belong together.

    Traits (all synced with the browser):
        clip, frame: the arguments; the clip as an index. ``playing``: the frames run.
        method: which explanation; with a network any of ``LIVE_METHODS`` is computed on demand.
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
        self._cache: dict[str, tuple[Evidence, dict]] = {}
        super().__init__(
            clip=self._find_clip(clip),
            frame=frame,
            method=method.replace("_", " ") if method else next(iter(given.by_method)),
            target=-1 if target is None else check_index("target", target, given.classes),
            _scene=given.make_header(),
            _methods=list(dict.fromkeys([*given.by_method, *given.live_methods])),
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
            evidence = self.given.find(self.clip, self.method, target)
            extras = self.given.compute_extras(self.clip, evidence.attribution)
            self._cache[key] = evidence, compute_payload(evidence, self.clip, extras)
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
        return self._cache[self._payload["key"]][0]

    def table(self):
        """The bars that are shown now, as a pandas DataFrame: name, logits; largest first."""
        import pandas as pd

        rows = self._payload.get("bars", {}).get(self.grouping, [])
        table = pd.DataFrame(rows, columns=[self.grouping, "logits"])
        return table.sort_values("logits", key=np.abs, ascending=False, ignore_index=True)

    def to_html(self, path: str | os.PathLike | None = None, clips: list[int | str] | None = None) -> str:
        """HTML of the explorer as one self-contained page, about 10 kB per clip, also written to ``path`` if given.

        Args:
            clips: indices or ids of the clips in the page; all of them where None. What was given or computed is included.
        """
        ids = self.given.clip_ids
        chosen = sorted({self.clip, *(range(len(ids)) if clips is None else map(self._find_clip, clips))})
        saved = {key: payload for key, (_, payload) in self._cache.items() if int(key.split("|")[0]) in chosen}
        for method, given in self.given.by_method.items():
            for i in chosen:
                key = make_key(i, method, int(given.attribution.target[i]))
                if key not in saved:
                    saved[key] = compute_payload(given.select([i]), i)
        changes = {
            "_saved": saved,
            "_payload": {},
            "_scene": {**self._scene, "clips": [name if i in chosen else "" for i, name in enumerate(ids)]},
            "_methods": list(dict.fromkeys(p["method"] for p in saved.values())),
        }
        return self._save(f"Evidence: {ids[self.clip]}", changes, path)

    def to_figure(self):
        """The clip shown as ``plots.attributions.plot_attribution`` draws it."""
        return plot_attribution(self.evidence if self.evidence.scores else self.evidence.attribution)


view_evidence = EvidenceExplorer
plot_evidence = as_figure(EvidenceExplorer)
