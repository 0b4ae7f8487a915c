"""The AU-graph explorer: AUs, the region edges that make them, the AU edges that make the class; cuts and comparisons."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import softmax

from stagkit.core.errors import import_optional
from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.explain.interventions import compute_probabilities, read_intervention
from stagkit.explorers.au_graph.compare import check_compare, compute_difference, compute_side
from stagkit.explorers.au_graph.figure import plot_au_graph
from stagkit.explorers.au_graph.scene import DEFAULT_THRESHOLD, NO_TERMS, QUANTITIES, VIEWS
from stagkit.explorers.au_graph.sums import is_cut, is_edge, split_change
from stagkit.explorers.browser import pack, read_css, read_esm
from stagkit.explorers.explorer import Choice, ClipExplorer, Range, WidgetError, checked
from stagkit.explorers.sources import OWN_FOLD, as_source, choose_scene

if TYPE_CHECKING:
    from stagkit.network.model import Stag

traitlets = import_optional("traitlets")

#: The parts of the module, in order: the shared ones, then this explorer's.
_PARTS = ("base", "face", "export", "graph_sums", "graph_data", "graph_panel", "graph_side", "au_graph")

_NO_NETWORK = (
    "Interventions need the network: view_au_graph(output, batch, model=model), or a run instead of an output."
)


def _list_classes(explorer: AUGraph) -> tuple[str, ...]:
    return ("", *explorer.source.classes)


class AUGraph(ClipExplorer):
    """Explorer of the region and AU graphs; ``view_au_graph`` is its short name, ``plot_au_graph`` lists the arguments.

    Traits (all synced with the browser):
        clip, frame, seed, fold, view, quantity, head, threshold, compare: the arguments; the clip as an index.
        playing: the frames run. ``layout_name``: AU nodes at their ``"face"`` or ``"circle"`` place.
        target_class: argument ``target``, ``""`` = the predicted class. ``class_filter``: only clips of this true class
            are offered, ``""`` = all.
        selected_au, selected_region: name or ``""``.
        selected_edge: ``{}`` or ``{"graph", "target", "source", "au", "value", "quantity", "clip", "frame"}``; ``au`` =
            whose subgraph a region edge is in, ``""`` = all together.
        hovered: ``{}`` or ``{"kind": "au" | "region", "name"}`` or ``{"kind": "edge", "graph", "target", "source"}``.
        interventions: list as in ``explain.interventions``: ``["region", target, source]``, ``["au", "AU12"]``,
            ``["frame", 3]``, with a number at the end to weigh or hold instead of remove.
        probabilities: class -> 0..1 of the clip shown, with the interventions applied (written by each recomputation).
        magnify: factor by which the motion of the drawn face is enlarged.
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
    _disabled = traitlets.Unicode("").tag(sync=True)
    _fused = traitlets.Unicode("").tag(sync=True)
    _computed = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run_or_output: object,
        batch: Batch | None = None,
        *,
        clip: int | str = 0,
        frame: int | None = None,
        view: str = "both",
        quantity: str | None = None,
        head: int = -1,
        threshold: float = DEFAULT_THRESHOLD,
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
            quantity=quantity or self.scene.quantity,
            head=head,
            threshold=threshold,
            selected_au=au or "",
            target_class=target or "",
            compare=dict(compare or {}),
            _scene=self._make_header(),
            _payload=self._make_payload(clip, seed, fold),
            _disabled="" if source.network(clip, seed, fold) is not None else _NO_NETWORK,
            _fused=NO_TERMS if self.scene.terms is None else "",
        )
        self._update_probabilities()
        self._update_other()
        self.observe(self._on_clip, ["clip", "seed", "fold"])
        self.observe(lambda _: self._update_probabilities(), "interventions")
        self.observe(lambda _: self._update_edge(), ["frame", "head", "quantity", "target_class", "interventions"])
        self.observe(lambda _: self._update_other(), ["compare", "head", "quantity", "target_class"])
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
        edge.setdefault("au", "")
        checked(_check_change, [edge["graph"], edge["target"], edge["source"], *filter(None, [edge["au"]])])
        return self._add_value(edge)

    @traitlets.validate("interventions")
    def _valid_interventions(self, proposal):
        changes = [checked(_check_change, entry) for entry in proposal["value"]]
        return list({tuple(split_change(change)[0]): change for change in changes}.values())  # the later one stands

    @traitlets.validate("quantity")
    def _valid_quantity(self, proposal):
        checked(self.scene.check_quantity, proposal["value"])
        return proposal["value"]

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
        quantity = "weight" if graph == "au" and self.quantity == "attention" else self.quantity
        of = self.scene.find_subgraph(graph, quantity, edge.get("au", ""))
        settings = quantity, self.head, self.target, of, self.interventions
        values = self.scene.values(self.place, graph, *settings)
        value = None
        if values is not None:
            row = values[min(self.frame, len(values) - 1)]
            value = float(f"{row[names.index(target), names.index(source)]:.4g}")
        where = {"au": edge.get("au", ""), "clip": self.clip, "frame": self.frame}
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
        self._update_edge()
        self._update_other()

    def _on_filter(self, _change):
        wanted = [i for i, k in enumerate(self.source.label) if self.source.classes[k] == self.class_filter]
        if wanted and self.clip not in wanted:
            self.clip = wanted[0]

    def _update_edge(self):
        if self.selected_edge:
            self.selected_edge = self._add_value(self.selected_edge)

    def _pack_removals(self, clip: int) -> dict:
        """Logits without each region and frame; where logits are no sum of edges, also with each AU at zero."""
        found = self.source.removals(clip, self.seed, self.fold)
        return {kind: found[kind].round(6).tolist() for kind in found if kind != "au" or self.scene.readout is None}

    def _update_other(self):
        """The other clip, or the two classes, of the comparison."""
        if not self.compare:
            self._other = {}
        elif "clip" in self.compare:
            clip = self.compare["clip"]
            self._other = {"compare": self.compare, "payload": self._make_payload(clip, self.seed, self.fold)}
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
                sums = self.scene.sums(self.place, self.interventions)
                if sums is not None and all(map(is_cut, self.interventions)):
                    values = softmax(sums.logits)  # exactly what the network would say
                else:
                    values = compute_probabilities(
                        *self.source.network(self.clip, self.seed, self.fold), self.interventions
                    )
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
        return {name: getattr(self, name) for name in ("view", "quantity", "head", "threshold")}

    @property
    def shown_au(self) -> str:
        """The AU whose subgraph of region edges is drawn, "" = all together."""
        return self.selected_au or self.selected_edge.get("au", "")

    def edges_table(self, *, all_frames: bool = False):
        """The edges shown now (or in every frame), strongest first, as a pandas DataFrame.

        Columns clip (id), time_ms, graph (``region`` or ``au``), target, source, value, au (whose subgraph a region edge is
        in, ``""`` = all together).
        """
        import pandas as pd

        rows = [
            (self.source.clip_ids[self.clip], float(self.scene.times_ms[self.place, frame]), *edge)
            for frame in (range(int(self.scene.n_frames[self.place])) if all_frames else [self.frame])
            for edge in self.scene.shown_edges(
                self.place, frame, **self._how(), target=self.target, au=self.shown_au, changes=self.interventions
            )
        ]
        return pd.DataFrame(rows, columns=["clip", "time_ms", "graph", "target", "source", "value", "au"])

    def to_html(self, path: str | os.PathLike | None = None, clips: Sequence[int | str] | None = None) -> str:
        """HTML of the explorer as one self-contained page, far below 1 MB per clip, also written to ``path`` if given.

        With a network whose logits are a sum of edges, the page itself computes any combination of changes of edges and
        action units, exactly. The prediction without a region or a frame is in it for each alone.

        Args:
            clips: numbers or ids of the clips of the page; the one shown and the one it is compared with where None.
        """
        wanted = [self.clip, *([self.compare["clip"]] if "clip" in self.compare else [])] if clips is None else clips
        wanted = list(dict.fromkeys(self.source.clip_index(clip) for clip in wanted))
        if self.clip not in wanted:
            wanted.insert(0, self.clip)
        place = {clip: k for k, clip in enumerate(wanted)}
        here, network = place[self.clip], (self.seed, self.fold)
        live = not self._disabled
        payloads = [
            self._make_payload(i, *network)
            | {"index": k, "key": [k, *network], "removals": self._pack_removals(i) if live else None}
            for i, k in place.items()
        ]
        changes = {
            "clip": here,
            "_scene": {**self._scene, "clips": [self._scene["clips"][clip] for clip in wanted]},
            "_payload": payloads[here],
            "_disabled": "" if live else f"This page was saved without a network. {_NO_NETWORK}",
            "_computed": {**self._computed, "clip": here},
            "hovered": {},
        }
        if "clip" in self.compare:
            at = place[self.compare["clip"]]
            changes["compare"] = {"clip": at}
            changes["_other"] = {"compare": {"clip": at}, "payload": payloads[at]}
        if self.selected_edge:
            changes["selected_edge"] = {**self.selected_edge, "clip": here}
        probabilities = [self._name_probabilities(payload["probabilities"]) for payload in payloads]
        follow = {"clip": {"_payload": payloads, "probabilities": probabilities}}
        return self._save(f"AU graph: {self.source.clip_ids[self.clip]}", changes, path, follow)

    def to_figure(self):
        """The present state as a matplotlib Figure (``plot_au_graph`` of the current traits)."""
        traits = {name: getattr(self, name) for name in ("clip", "frame", "seed", "fold", "compare")}
        selected = {"au": self.shown_au or None, "target": self.target_class or None}
        return plot_au_graph(self.source, **traits, **selected, **self._how())


view_au_graph = AUGraph


def _pack_interval(values: np.ndarray | None) -> dict | None:
    """Mean, low, high "3 ..." with the mean where an interval has no ends (one subject; the caveat says so)."""
    return None if values is None else pack(np.where(np.isnan(values), values[0], values))


def _check_change(entry: Sequence) -> list:
    """An intervention as a list; of an AU edge the AU with the lower number comes first."""
    change = read_intervention(entry).to_list()
    if is_edge(change) and change[0] == "au":
        change[1:3] = sorted(change[1:3], key=AU_LABELS.index)
    return change
