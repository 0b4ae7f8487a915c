"""The AU-graph explorer: region edges A and AU edges C on a face, over time, with interventions and comparisons."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.explain.interventions import Ablations, compute_probabilities, read_intervention
from stagkit.explorers.au_graph.compare import check_compare, compute_difference, compute_side, load_measured
from stagkit.explorers.au_graph.figure import plot_au_graph
from stagkit.explorers.au_graph.scene import DEFAULT_THRESHOLD, EDGE_KINDS, QUANTITIES, SIGNED, VIEWS
from stagkit.explorers.browser import pack, pack_exact, read_css, read_esm
from stagkit.explorers.explorer import Choice, ClipExplorer, Range, WidgetError, checked
from stagkit.explorers.sources import OWN_FOLD, as_source, choose_scene

if TYPE_CHECKING:
    from stagkit.network.model import Stag

traitlets = import_optional("traitlets")

#: The parts of the module, in order: the shared ones, then this explorer's.
_PARTS = ("base", "face", "export", "graph_data", "graph_panel", "graph_side", "au_graph")

_NO_NETWORK = (
    "Interventions need the network: view_au_graph(output, batch, model=model), or a run instead of an output."
)


def _list_classes(explorer: AUGraph) -> tuple[str, ...]:
    return ("", *explorer.source.classes)


class AUGraph(ClipExplorer):
    """Explorer of AU and region connectivity; ``view_au_graph`` is its short name, ``plot_au_graph`` lists the arguments.

    Traits (all synced with the browser):
        clip, frame, seed, fold, view, quantity, head, threshold, edge_kind, compare: the arguments; the clip as an index.
        playing: the frames run. ``layout_name``: AU nodes at their ``"face"`` or ``"circle"`` place.
        target_class: argument ``target``, ``""`` = the predicted class. ``class_filter``: only clips of this true class
            are offered, ``""`` = all.
        selected_au, selected_region: name or ``""``.
        selected_edge: ``{}`` or ``{"graph", "target", "source", "value", "quantity", "clip", "frame"}``.
        hovered: ``{}`` or ``{"kind": "au" | "region", "name"}`` or ``{"kind": "edge", "graph", "target", "source"}``.
        interventions: list as in ``explain.interventions``: ``["region", target, source]``, ``["au", "AU12"]``,
            ``["frame", 3]``, with a number at the end to clamp instead of remove.
        probabilities: class -> 0..1 of the clip shown, with the interventions applied (written by each recomputation).
        magnify: factor by which the motion of the drawn face is enlarged.

    Example:
        >>> widget = view_au_graph(run, clip="sub01_02")  # doctest: +SKIP
        >>> widget.selected_edge["source"]  # doctest: +SKIP
        'lip_corner_L'
    """

    _esm = read_esm(*_PARTS)
    _css = read_css("base", "au_graph")

    seed = Choice(0, lambda explorer: explorer.source.seeds)
    fold = Choice(OWN_FOLD, lambda explorer: (OWN_FOLD, *range(len(explorer.source.folds))))
    view = Choice("both", VIEWS)
    layout_name = Choice("face", ("face", "circle"))
    quantity = Choice("weight", QUANTITIES)
    target_class = Choice("", _list_classes)
    head = Choice(-1, lambda explorer: (-1, *range(explorer.scene.n_heads)))
    threshold = Range(DEFAULT_THRESHOLD, 0, 1, "share of edges to hide")
    edge_kind = Choice("all", EDGE_KINDS)
    class_filter = Choice("", _list_classes)
    compare = traitlets.Dict().tag(sync=True)
    selected_au = Choice("", ("", *AU_LABELS))
    selected_region = Choice("", ("", *ATLAS.names))
    selected_edge = traitlets.Dict().tag(sync=True)
    hovered = traitlets.Dict().tag(sync=True)
    magnify = Range(6.0, 0, 40)
    interventions = traitlets.List().tag(sync=True)
    probabilities = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)
    _other = traitlets.Dict().tag(sync=True)
    _measured = traitlets.Dict().tag(sync=True)
    _disabled = traitlets.Unicode("").tag(sync=True)
    _computed = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run_or_output: object,
        batch: Batch | None = None,
        *,
        clip: int | str = 0,
        frame: int | None = None,
        view: str = "both",
        quantity: str = "weight",
        head: int = -1,
        threshold: float = DEFAULT_THRESHOLD,
        edge_kind: str = "all",
        au: str | None = None,
        target: str | None = None,
        seed: int | None = None,
        fold: int = OWN_FOLD,
        compare: Mapping | None = None,
        model: Stag | None = None,
        allow_trained: bool = False,
    ):
        self.source = source = as_source(run_or_output, batch, model, allow_trained)
        clip, seed, self.scene, self.place = choose_scene(source, clip, seed, fold)
        super().__init__(
            clip=clip,
            seed=seed,
            fold=fold,
            frame=self.scene.peak_frame(self.place) if frame is None else frame,
            view=view,
            quantity=quantity,
            head=head,
            threshold=threshold,
            edge_kind=edge_kind,
            selected_au=au or "",
            target_class=target or "",
            compare=dict(compare or {}),
            _scene=self._make_header(),
            _payload=self._make_payload(clip, seed, fold),
            _disabled="" if source.network(clip, seed, fold) is not None else _NO_NETWORK,
        )
        self._update_probabilities()
        self._update_measured()
        self.observe(self._on_clip, ["clip", "seed", "fold"])
        self.observe(lambda _: self._update_probabilities(), "interventions")
        self.observe(lambda _: self._update_measured(), ["quantity", "target_class"])
        self.observe(lambda _: self._update_edge(), ["frame", "head"])
        self.observe(lambda _: self._update_other(), ["compare", "head"])
        self.observe(self._on_filter, "class_filter")

    def _make_header(self) -> dict:
        source = self.source
        probabilities = np.round(source.probabilities(source.seeds[0]), 4).tolist()
        clips = [
            {"id": i, "subject": s, "label": int(k), "probabilities": p}
            for i, s, k, p in zip(source.clip_ids, source.subjects, source.label, probabilities, strict=True)
        ]
        more = {"seeds": list(source.seeds), "folds": list(source.folds), "opening": source.opening}
        return {**self.scene.header(), "clips": clips, **more}

    def _make_payload(self, clip: int, seed: int, fold: int) -> dict:
        """What the browser needs of one clip."""
        scene, place = self.source.scene(clip, seed, fold)
        return {
            **scene.payload(place),
            "index": clip,
            "key": [clip, seed, fold],
            "own_fold": self.source.own_fold(clip, seed),
            "network": self.source.describe_network(clip, seed, fold),
            "trained": bool(self.source.was_trained(clip, seed, fold)),
            "allowed": self.source.allowed_folds(clip),
        }

    def _find_clip(self, clip: int | str) -> int:
        index = self.source.clip_index(clip)
        self.source.check_network(index, self.seed, OWN_FOLD)
        return index

    def _count_frames(self) -> tuple[str, int]:
        return self.source.clip_ids[self.clip], int(self.scene.n_frames[self.place])

    @traitlets.validate("seed", "fold")
    def _valid_network(self, proposal):
        value = proposal["value"]
        seed, fold = (value, OWN_FOLD) if proposal["trait"].name == "seed" else (self.seed, value)
        for clip in (self.clip, *({self.compare["clip"]} if "clip" in self.compare else ())):
            checked(self.source.check_network, clip, seed, fold)
        return value

    @traitlets.validate("compare")
    def _valid_compare(self, proposal):
        compare = checked(check_compare, self.source, proposal["value"])
        if "clip" in compare:
            checked(self.source.check_network, compare["clip"], self.seed, self.fold)
        return compare

    @traitlets.validate("selected_edge")
    def _valid_edge(self, proposal):
        edge = dict(proposal["value"])
        if not edge:
            return edge
        if not {"target", "source"} <= set(edge):
            raise WidgetError(f"`selected_edge` is {edge}, expected {{'target': ..., 'source': ...}}.")
        edge.setdefault("graph", "au" if edge["target"] in AU_LABELS else "region")
        checked(read_intervention, [edge["graph"], edge["target"], edge["source"]])
        return self._add_value(edge)

    @traitlets.validate("interventions")
    def _valid_interventions(self, proposal):
        changes = [checked(read_intervention, entry) for entry in proposal["value"]]
        latest = {change[:3]: [part for part in change if part is not None and part != ""] for change in changes}
        return list(latest.values())

    @property
    def target(self) -> int:
        """Index of the class that attributions and effects explain."""
        if self.target_class:
            return self.source.classes.index(self.target_class)
        return int(self.scene.probabilities[self.place].argmax())

    def _add_value(self, edge: dict) -> dict:
        """The edge as shown now, with its value (None where the network has no such edges)."""
        graph, target, source = edge["graph"], edge["target"], edge["source"]
        names = self.scene.names(graph)
        values = self.scene.values(self.place, graph, self.quantity, self.head, self.target)
        value = None
        if values is not None:
            row = values[min(self.frame, len(values) - 1)]
            value = float(f"{row[names.index(target), names.index(source)]:.4g}")
        quantity = "weight" if graph == "au" and self.quantity == "attention" else self.quantity
        where = {"clip": self.clip, "frame": self.frame}
        return {"graph": graph, "target": target, "source": source, "value": value, "quantity": quantity, **where}

    def _on_clip(self, change):
        if change["name"] != "fold" and self.fold != OWN_FOLD and not self.source.allowed_folds(self.clip)[self.fold]:
            self.fold = OWN_FOLD  # the network chosen before was trained on this clip
            return
        self.scene, self.place = self.source.scene(self.clip, self.seed, self.fold)
        with self.hold_sync():
            self._payload = self._make_payload(self.clip, self.seed, self.fold)
            self.frame = min(self.frame, int(self.scene.n_frames[self.place]) - 1)
            self._update_probabilities()
        self._update_measured()

    def _on_filter(self, _change):
        wanted = [i for i, k in enumerate(self.source.label) if self.source.classes[k] == self.class_filter]
        if wanted and self.clip not in wanted:
            self.clip = wanted[0]

    def _update_edge(self):
        if self.selected_edge:
            self.selected_edge = self._add_value(self.selected_edge)

    def _update_measured(self):
        """Effects or attributions of the clip shown, if they are to be drawn, and what follows from them."""
        if self.quantity in SIGNED:
            self._measured = self._measure(self.clip, self.quantity)
        self._update_edge()
        self._update_other()

    def _measure(self, clip: int, *quantities: str) -> dict:
        """What the browser needs to draw effects and attributions: ablations exactly, attributions in 16 bit."""
        seed, fold, chosen = self.seed, self.fold, self.target if self.target_class else None
        out = {"key": [clip, seed, fold]}
        for quantity in quantities:
            try:
                scene, place, out["target"] = load_measured(self.source, clip, seed, fold, quantity, chosen)
            except StagkitError as error:
                return {**out, "reason": str(error)}
            if quantity == "effect":
                out |= _pack_ablations(self.source.ablations(clip, seed, fold))
            else:
                for graph in ("region", "au"):
                    values = scene.measured.get((place, graph, quantity, out["target"]))
                    out[f"{graph}_attribution"] = None if values is None else pack(values)
        return out

    def _update_other(self):
        """The other clip, or the two classes, of the comparison."""
        if not self.compare:
            self._other = {}
        elif "clip" in self.compare:
            clip = self.compare["clip"]
            measured = self._measure(clip, self.quantity) if self.quantity in SIGNED else {}
            payload = self._make_payload(clip, self.seed, self.fold)
            self._other = {"compare": self.compare, "payload": payload, "measured": measured}
        else:
            target = self.target if self.target_class else None
            how = {name: getattr(self, name) for name in ("compare", "quantity", "head", "target_class", "seed")}
            settings = self.quantity, self.head, target, self.seed
            try:
                sides = [compute_side(self.source, name, *settings) for name in self.compare["classes"]]
            except StagkitError as error:
                self._other = {**how, "reason": str(error)}
                return
            shown = [
                {
                    "name": side.name,
                    "n_clips": side.n_clips,
                    "n_subjects": side.n_subjects,
                    "caveat": describe_caveat(side.n_subjects),
                    "activation": _pack_interval(side.activation),
                    "flow": pack(side.flow),
                    **{graph: _pack_interval(values) for graph, values in side.edges.items()},
                }
                for side in sides
            ]
            between = {graph: _pack_interval(compute_difference(*sides, graph)) for graph in ("au", "region")}
            self._other = {**how, "sides": shown, "difference": between}

    def _update_probabilities(self):
        """The prediction for the clip shown, with the interventions applied if there is a network."""
        values, message, start = self.scene.probabilities[self.place], "", time.perf_counter()
        if self.interventions and not self._disabled:
            try:
                model, batch = self.source.network(self.clip, self.seed, self.fold)
                values = compute_probabilities(model, batch, self.interventions)
            except StagkitError as error:
                message = str(error)
            except Exception as error:  # shown in the browser: an exception in a callback would be lost
                message = f"recomputation failed: {type(error).__name__}: {error}"
        with self.hold_sync():
            self.probabilities = self._name_probabilities(values)
            self._computed = {
                "clip": self.clip,
                "interventions": [list(change) for change in self.interventions],
                "ms": round(1000 * (time.perf_counter() - start), 1),
                "error": message,
            }

    def _name_probabilities(self, values: Sequence[float]) -> dict[str, float]:
        return {name: round(float(p), 5) for name, p in zip(self.source.classes, values, strict=True)}

    def _how(self) -> dict:
        """The traits that decide which edges are shown."""
        return {name: getattr(self, name) for name in ("view", "quantity", "head", "threshold", "edge_kind")}

    def edges_table(self, *, all_frames: bool = False):
        """The edges shown now (or in every frame), strongest first, as a pandas DataFrame.

        Columns clip (id), time_ms, graph (``region`` or ``au``), target, source, value.
        """
        import pandas as pd

        rows = [
            (self.source.clip_ids[self.clip], float(self.scene.times_ms[self.place, frame]), *edge)
            for frame in (range(int(self.scene.n_frames[self.place])) if all_frames else [self.frame])
            for edge in self.scene.shown_edges(self.place, frame, **self._how(), target=self.target)
        ]
        return pd.DataFrame(rows, columns=["clip", "time_ms", "graph", "target", "source", "value"])

    def to_html(self, path: str | os.PathLike | None = None, clips: Sequence[int | str] | None = None) -> str:
        """HTML of the explorer as one self-contained page, far below 1 MB per clip, also written to ``path`` if given.

        With a network, the page contains the prediction without each edge, action unit, region and frame, and the edge
        attributions of its clips; two interventions at once need a notebook.

        Args:
            path: file to write.
            clips: numbers or ids of the clips of the page; the one shown and the one it is compared with where None.
        """
        wanted = [self.clip, *([self.compare["clip"]] if "clip" in self.compare else [])] if clips is None else clips
        wanted = list(dict.fromkeys(self.source.clip_index(clip) for clip in wanted))
        if self.clip not in wanted:
            wanted.insert(0, self.clip)
        place = {clip: k for k, clip in enumerate(wanted)}
        here, network = place[self.clip], (self.seed, self.fold)
        payloads = [self._make_payload(i, *network) | {"index": k, "key": [k, *network]} for i, k in place.items()]
        live = not self._disabled
        measured = [
            (self._measure(i, "effect", "attribution") if live else {}) | {"key": [k, *network]}
            for i, k in place.items()
        ]
        changes = {
            "clip": here,
            "_scene": {**self._scene, "clips": [self._scene["clips"][clip] for clip in wanted]},
            "_payload": payloads[here],
            "_measured": measured[here],
            "_disabled": "" if live else f"This page was saved without a network. {_NO_NETWORK}",
            "_computed": {**self._computed, "clip": here},
            "hovered": {},
        }
        if "clip" in self.compare:
            at = place[self.compare["clip"]]
            changes["compare"] = {"clip": at}
            changes["_other"] = {"compare": {"clip": at}, "payload": payloads[at], "measured": measured[at]}
        if self.selected_edge:
            changes["selected_edge"] = {**self.selected_edge, "clip": here}
        probabilities = [self._name_probabilities(payload["probabilities"]) for payload in payloads]
        follow = {"clip": {"_payload": payloads, "_measured": measured, "probabilities": probabilities}}
        return self._save(f"AU graph: {self.source.clip_ids[self.clip]}", changes, path, follow)

    def to_figure(self):
        """The present state as a matplotlib Figure (``plot_au_graph`` of the current traits)."""
        traits = {name: getattr(self, name) for name in ("clip", "frame", "seed", "fold", "compare")}
        selected = {"au": self.selected_au or None, "target": self.target_class or None}
        return plot_au_graph(self.source, **traits, **selected, **self._how())


view_au_graph = AUGraph


def _pack_interval(values: np.ndarray | None) -> dict | None:
    """Mean, low, high "3 ..." with the mean where an interval has no ends (one subject; the caveat says so)."""
    return None if values is None else pack(np.where(np.isnan(values), values[0], values))


def _pack_ablations(found: Ablations) -> dict:
    """All ablations as one table of logits, exactly: region edges, AU edges, regions, AUs, frames."""

    def rows(values: np.ndarray | None, n: int) -> np.ndarray:
        return np.broadcast_to(found.base, (n, len(found.base))) if values is None else values.reshape(n, -1)

    edges = rows(found.edges, len(found.regions) ** 2), rows(found.au_edges, len(found.aus) ** 2)
    table = np.concatenate([*edges, found.regions, found.aus, found.frames])
    return {"base": found.base.tolist(), "ablations": pack_exact(table)}
