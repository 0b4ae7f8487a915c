"""The AU-graph explorer: the learned connectivity of STAG on a face, to be hovered, played, and cut.

Left: the facial regions with their motion and the region edges A(target, source). Right: the action units with their
evidence and the AU edges C(target, source). Everything that is clicked can be read in Python as a trait, and every
trait that is set in Python moves the picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.errors import import_optional
from stagkit.core.files import write_atomically
from stagkit.core.types import Batch, StagkitError
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.explain.interventions import Ablations, Intervention, compute_probabilities, read_intervention
from stagkit.explorers.au_graph.compare import check_compare, compute_difference, compute_side, ensure_measured
from stagkit.explorers.au_graph.figure import plot_au_graph
from stagkit.explorers.au_graph.scene import (
    DEFAULT_THRESHOLD,
    EDGE_KINDS,
    QUANTITIES,
    SIGNED,
    VIEWS,
    Scene,
    check_frame,
    compute_scene,
)
from stagkit.explorers.browser import pack, pack_exact, read_css, read_esm
from stagkit.explorers.explorer import Explorer, WidgetError, checked
from stagkit.explorers.page import make_explorer_page
from stagkit.explorers.sources import OWN_FOLD, OutputSource, Recompute, Source, as_source, check_edges
from stagkit.explorers.validation import check_choice

if TYPE_CHECKING:
    from stagkit.network.model import Stag

traitlets = import_optional("traitlets")

#: The parts of the module, in order: what all explorers share, then this one.
_PARTS = ("base", "face", "export", "graph_data", "graph_panel", "graph_side", "au_graph")

#: What is said where the cut button would be.
_NO_RECOMPUTE = "Cutting needs the network: view_au_graph(output, batch, model=model), or a run instead of an output."


class AUGraph(Explorer):
    """Explorer of learned AU and region connectivity; see ``view_au_graph`` for the arguments.

    Traits (all synced with the browser; set them in Python or touch them there):
        clip: index of the clip shown. ``frame``: index of its frame. ``playing``: the frames run.
        seed, fold: whose network is asked; fold -1 = the one that never saw the clip.
        view: ``"au"``, ``"region"`` or ``"both"``. ``layout_name``: AU nodes at their ``"face"`` or ``"circle"`` place.
        quantity: what edges are drawn by: ``"weight"``, ``"attention"`` (regions), ``"attribution"`` or ``"effect"``
            (of cutting); ``target_class``: the class that the last two explain, ``""`` = the predicted one;
            ``head``: attention head, -1 = mean.
        threshold: share of the clip's edges that is hidden, 0..1. ``edge_kind``: ``"all"``, ``"anatomical"``, ``"learned"``.
        class_filter: only clips of this true class are offered, ``""`` = all.
        compare: ``{}``, ``{"clip": index}`` or ``{"classes": [one, other]}``: side by side, with the difference.
        selected_au, selected_region: name or ``""``.
        selected_edge: ``{}`` or ``{"graph", "target", "source", "value", "quantity", "clip", "frame"}``.
        hovered: ``{}`` or ``{"kind": "au" | "region", "name"}`` or ``{"kind": "edge", "graph", "target", "source"}``.
        cuts: list of changes as ``what_if`` writes them: ``["region", target, source]``, ``["au", "AU12"]``,
            ``["frame", 3]``, with a number at the end to hold instead of cut.
        probabilities: class -> 0..1 of the clip shown, with the cuts applied (read only by intent: the next
            recomputation overwrites what is set).
        magnify: how much larger than measured the drawn face moves.

    Example:
        >>> widget = view_au_graph(run, clip="sub01_02")  # doctest: +SKIP
        >>> widget.selected_edge["source"]  # doctest: +SKIP
        'lip_corner_L'
    """

    _esm = read_esm(*_PARTS)
    _css = read_css("base", "au_graph")

    clip = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    seed = traitlets.Int(0).tag(sync=True)
    fold = traitlets.Int(OWN_FOLD).tag(sync=True)
    view = traitlets.Unicode("both").tag(sync=True)
    layout_name = traitlets.Unicode("face").tag(sync=True)
    quantity = traitlets.Unicode("weight").tag(sync=True)
    target_class = traitlets.Unicode("").tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    threshold = traitlets.Float(DEFAULT_THRESHOLD).tag(sync=True)
    edge_kind = traitlets.Unicode("all").tag(sync=True)
    class_filter = traitlets.Unicode("").tag(sync=True)
    compare = traitlets.Dict().tag(sync=True)
    selected_au = traitlets.Unicode("").tag(sync=True)
    selected_region = traitlets.Unicode("").tag(sync=True)
    selected_edge = traitlets.Dict().tag(sync=True)
    hovered = traitlets.Dict().tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    magnify = traitlets.Float(6.0).tag(sync=True)
    cuts = traitlets.List().tag(sync=True)
    probabilities = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)
    _other = traitlets.Dict().tag(sync=True)
    _measured = traitlets.Dict().tag(sync=True)
    _cut_reason = traitlets.Unicode("").tag(sync=True)
    _computed = traitlets.Dict().tag(sync=True)
    _page = traitlets.Bool(False).tag(sync=True)

    def __init__(self, source: Source | Scene, *, recompute: Recompute | None = None, **traits: object):
        if isinstance(source, Scene):
            source = OutputSource(source)
        if not isinstance(source, Source):
            raise StagkitError(f"AUGraph was given a {type(source).__name__}, expected a Source or a Scene.")
        if recompute is not None and not callable(recompute):
            raise StagkitError(
                f"`recompute` is a {type(recompute).__name__}, expected a function (cuts, clip) -> class probabilities."
            )
        self.source, self.recompute = source, recompute
        clip = source.clip_index(traits.pop("clip", 0))
        frame, seed = traits.pop("frame", None), traits.pop("seed", None)
        seed, fold = source.seeds[0] if seed is None else seed, traits.pop("fold", OWN_FOLD)
        check_choice("seed", seed, source.seeds)
        check_choice("fold", fold, (OWN_FOLD, *range(len(source.folds))))
        source.check_network(clip, seed, fold)
        self._scene_now, self.place = source.scene(clip, seed, fold)
        check_edges(self.scene)
        can_cut = recompute is not None or source.network(clip, seed, fold) is not None
        super().__init__(
            clip=clip,
            seed=seed,
            fold=fold,
            frame=self.scene.peak_frame(self.place) if frame is None else frame,
            _scene=self._header(),
            _payload=self._pay(clip, seed, fold),
            _cut_reason="" if can_cut else _NO_RECOMPUTE,
            **traits,
        )
        self._update_probabilities()
        self._update_measured()
        self._update_other()
        self.observe(self._on_clip, ["clip", "seed", "fold"])
        self.observe(self._on_cuts, "cuts")
        self.observe(self._on_quantity, ["quantity", "target_class"])
        self.observe(self._on_edge, ["frame", "head"])
        self.observe(self._on_filter, "class_filter")
        self.observe(self._on_compare, ["compare", "head"])

    @property
    def scene(self) -> Scene:
        """What is shown now; the clip is its ``place``-th."""
        return self._scene_now

    def _header(self) -> dict:
        source = self.source
        chances = np.round(source.answers(source.seeds[0]), 4).tolist()
        clips = [
            {"id": i, "subject": s, "label": int(k), "probabilities": p}
            for i, s, k, p in zip(source.clip_ids, source.subjects, source.label, chances, strict=True)
        ]
        more = {"seeds": list(source.seeds), "folds": list(source.folds), "opening": source.opening}
        return {**self.scene.header(), "clips": clips, **more}

    def _pay(self, clip: int, seed: int, fold: int) -> dict:
        """What the browser needs of one clip."""
        scene, place = self.source.scene(clip, seed, fold)
        own = self.source.own_fold(clip, seed)
        network = {
            "network": self.source.describe_network(clip, seed, fold),
            "trained": bool(self.source.was_trained(clip, seed, fold)),
            "may_ask": self.source.may_ask(clip),
        }
        return {**scene.payload(place), "index": clip, "own_fold": own, "key": [clip, seed, fold], **network}

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        clip = checked(self.source.clip_index, proposal["value"])
        checked(self.source.check_network, clip, self.seed, OWN_FOLD)
        return clip

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        return checked(check_frame, self.scene, self.place, proposal["value"])

    @traitlets.validate(
        *("view", "layout_name", "quantity", "edge_kind", "class_filter", "selected_au", "selected_region"),
        *("target_class", "seed", "fold", "head"),
    )
    def _valid_choice(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        options = {
            "view": VIEWS,
            "layout_name": ("face", "circle"),
            "quantity": QUANTITIES,
            "edge_kind": EDGE_KINDS,
            "class_filter": ("", *self.source.classes),
            "target_class": ("", *self.source.classes),
            "selected_au": ("", *self.scene.au_labels),
            "selected_region": ("", *self.scene.roi_names),
            "seed": self.source.seeds,
            "fold": (OWN_FOLD, *range(len(self.source.folds))),
            "head": (-1, *range(self.scene.n_heads)),
        }
        checked(check_choice, name, value, options[name])
        if name in ("seed", "fold"):
            seed, fold = (value, OWN_FOLD) if name == "seed" else (self.seed, value)
            for clip in (self.clip, *({self.compare["clip"]} if "clip" in self.compare else ())):
                checked(self.source.check_network, clip, seed, fold)
        return value

    @traitlets.validate("threshold")
    def _valid_threshold(self, proposal):
        if not 0 <= proposal["value"] <= 1:
            raise WidgetError(f"`threshold` is {proposal['value']}, expected the share of edges to hide: 0..1.")
        return proposal["value"]

    @traitlets.validate("magnify")
    def _valid_magnify(self, proposal):
        if not 0 <= proposal["value"] <= 40:
            raise WidgetError(f"`magnify` is {proposal['value']}, expected a factor from 0 to 40.")
        return proposal["value"]

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
            raise WidgetError(
                f"`selected_edge` is {edge}, expected target and source: {{'target': ..., 'source': ...}}."
            )
        edge.setdefault("graph", "au" if edge["target"] in self.scene.au_labels else "region")
        checked(read_intervention, [edge["graph"], edge["target"], edge["source"]])
        return self._with_value(edge)

    @traitlets.validate("cuts")
    def _valid_cuts(self, proposal):
        cuts: dict[tuple, list] = {}
        for entry in proposal["value"]:
            change = checked(read_intervention, entry)
            cuts[change[:3]] = _as_entry(change)  # a later level replaces an earlier one
        return list(cuts.values())

    # what follows from what ------------------------------------------------------------------------------------------
    @property
    def target(self) -> int:
        """Index of the class that attributions and effects explain."""
        if self.target_class:
            return self.source.classes.index(self.target_class)
        return int(self.scene.probabilities[self.place].argmax())

    def _with_value(self, edge: dict) -> dict:
        """The edge as shown now, with its value (None where the network has no such edges)."""
        graph = edge["graph"]
        names = self.scene.au_labels if graph == "au" else self.scene.roi_names
        values = self.scene.values(self.place, graph, self.quantity, self.head, self.target)
        value = None
        if values is not None:
            frame = min(self.frame, len(values) - 1)
            value = float(f"{values[frame, names.index(edge['target']), names.index(edge['source'])]:.4g}")
        return {
            "graph": graph,
            "target": edge["target"],
            "source": edge["source"],
            "value": value,
            "quantity": "weight" if graph == "au" and self.quantity == "attention" else self.quantity,
            "clip": self.clip,
            "frame": self.frame,
        }

    def _on_clip(self, change):
        may_ask = self.source.may_ask(self.clip)
        if change["name"] != "fold" and self.fold != OWN_FOLD and not may_ask[self.fold]:
            self.fold = OWN_FOLD  # the network chosen before was trained on this clip: its own is asked, and named
            return
        self._scene_now, self.place = self.source.scene(self.clip, self.seed, self.fold)
        with self.hold_sync():
            self._payload = self._pay(self.clip, self.seed, self.fold)
            self.frame = min(self.frame, int(self.scene.n_frames[self.place]) - 1)
            self._update_probabilities()
        self._update_measured()
        self._on_edge(None)
        self._update_other()

    def _on_edge(self, _change):
        if self.selected_edge:
            self.selected_edge = self._with_value(self.selected_edge)

    def _on_cuts(self, _change):
        self._update_probabilities()

    def _on_quantity(self, _change):
        self._update_measured()
        self._on_edge(None)
        self._update_other()

    def _on_compare(self, _change):
        self._update_other()

    def _on_filter(self, _change):
        wanted = [i for i, k in enumerate(self.source.label) if self.source.classes[k] == self.class_filter]
        if wanted and self.clip not in wanted:
            self.clip = wanted[0]

    def _update_measured(self):
        """Effects or attributions of the clip shown, where they are to be drawn."""
        if self.quantity in SIGNED:
            self._measured = self._measure(self.clip, self.quantity)

    def _measure(self, clip: int, *quantities: str) -> dict:
        """What the browser needs to draw effects and attributions: single cuts exactly, attributions in 16 bit."""
        seed, fold = self.seed, self.fold
        scene, place = self.source.scene(clip, seed, fold)
        target = self.target if self.target_class else int(scene.probabilities[place].argmax())
        out = {"key": [clip, seed, fold], "target": target}
        for quantity in quantities:
            if not ensure_measured(self.source, clip, seed, fold, quantity, target):
                return {**out, "reason": f"The {quantity} of an edge needs the network. " + _NO_RECOMPUTE}
            if quantity == "effect":
                out |= _pack_cuts(self.source.measure(clip, seed, fold, 0, "effect")["cuts"])
            else:
                for graph in ("region", "au"):
                    values = scene.measured.get((place, graph, quantity, target))
                    out[f"{graph}_attribution"] = None if values is None else pack(values)
        return out

    def _update_other(self):
        """The other clip, or the two classes, that the comparison shows."""
        if not self.compare:
            self._other = {}
        elif "clip" in self.compare:
            other = self.compare["clip"]
            measured = self._measure(other, self.quantity) if self.quantity in SIGNED else {}
            self._other = {
                "compare": self.compare,
                "payload": self._pay(other, self.seed, self.fold),
                "measured": measured,
            }
        else:
            target = self.target if self.target_class else None
            how = {"quantity": self.quantity, "head": self.head, "target_class": self.target_class, "seed": self.seed}
            try:
                sides = [
                    compute_side(self.source, name, self.quantity, self.head, target, self.seed)
                    for name in self.compare["classes"]
                ]
            except StagkitError as error:
                self._other = {"compare": self.compare, **how, "reason": str(error)}
                return
            shown = [
                {
                    "name": side.name,
                    "n_clips": side.n_clips,
                    "n_subjects": side.n_subjects,
                    "caveat": describe_caveat(side.n_subjects),
                    "evidence": pack(_fill_ends(side.evidence)),
                    "flow": pack(side.flow),
                    **{g: None if e is None else pack(_fill_ends(e)) for g, e in side.edges.items()},
                }
                for side in sides
            ]
            between = {graph: compute_difference(*sides, graph) for graph in ("au", "region")}
            between = {g: None if d is None else pack(_fill_ends(d)) for g, d in between.items()}
            self._other = {"compare": self.compare, **how, "sides": shown, "difference": between}

    def _update_probabilities(self):
        """The network's answer for the clip shown, with the cuts applied where that is possible."""
        chances, message, start = self.scene.probabilities[self.place], "", time.perf_counter()
        if self.cuts and not self._cut_reason:
            try:
                chances = self._answer()
            except StagkitError as error:
                message = str(error)
            except Exception as error:  # shown in the browser: an exception in a callback would be lost
                message = f"recompute failed: {type(error).__name__}: {error}"
        with self.hold_sync():
            self.probabilities = {
                name: round(float(chance), 5) for name, chance in zip(self.source.classes, chances, strict=True)
            }
            self._computed = {
                "clip": self.clip,
                "cuts": [list(cut) for cut in self.cuts],
                "ms": round(1000 * (time.perf_counter() - start), 1),
                "error": message,
            }

    def _answer(self) -> np.ndarray:
        if self.recompute is not None:
            return self._read_probabilities(self.recompute([list(cut) for cut in self.cuts], self.clip))
        model, one = self.source.network(self.clip, self.seed, self.fold)
        return compute_probabilities(model, one, self.cuts)

    def _read_probabilities(self, answer: object) -> np.ndarray:
        """What ``recompute`` gave back, as float "cls"."""
        classes = self.source.classes
        if isinstance(answer, Mapping):
            answer = [answer[name] for name in classes]
        if hasattr(answer, "detach"):
            answer = answer.detach().cpu().numpy()
        chances = np.asarray(answer, float).squeeze()
        if chances.shape != (len(classes),) or not np.isfinite(chances).all() or not -1e-6 <= chances.min() <= 1:
            raise StagkitError(
                f"`recompute` gave back {np.asarray(answer)!r}, expected {len(classes)} probabilities 0..1, one for each "
                f"of {', '.join(classes)}."
            )
        return chances

    # what can be taken away ------------------------------------------------------------------------------------------
    def _shown(self) -> dict:
        names = ("view", "quantity", "head", "threshold", "edge_kind")
        return {**{name: getattr(self, name) for name in names}, "target": self.target}

    def edges_table(self, *, all_frames: bool = False):
        """The edges that are shown now, as a pandas DataFrame, strongest first.

        Args:
            all_frames: those of every frame of the clip instead of the current one.

        Returns:
            Columns clip (id), time_ms, graph (``region`` or ``au``), target, source, value.
        """
        import pandas as pd

        frames = range(int(self.scene.n_frames[self.place])) if all_frames else [self.frame]
        rows = [
            (self.source.clip_ids[self.clip], float(self.scene.times_ms[self.place, frame]), *edge)
            for frame in frames
            for edge in self.scene.shown_edges(self.place, frame, **self._shown())
        ]
        return pd.DataFrame(rows, columns=["clip", "time_ms", "graph", "target", "source", "value"])

    def to_graphml(self, path: str | os.PathLike) -> Path:
        """Write the graph that is shown now as GraphML (for Gephi, yEd, igraph); edges point from source to target.

        Raises:
            StagkitError: ``path`` cannot be written.
        """
        import networkx as nx

        with write_atomically(path) as aside:
            nx.write_graphml(self.scene.graph(self.place, self.frame, **self._shown()), aside)
        return Path(path)

    def to_html(self, path: str | os.PathLike | None = None, clips: Sequence[int | str] | None = None) -> str:
        """The explorer as one self-contained page: same module, no network, no Python.

        Where the network is at hand, the page carries every single cut and the edge attributions of its clips, so that one
        edge, action unit, region or frame can be cut in it; two cuts at once need a notebook.

        Args:
            path: file to write; nothing is written where None.
            clips: numbers or ids of the clips of the page; the one shown and the one it is compared with where None.

        Returns:
            The page's HTML, far below 1 MB a clip.

        Raises:
            StagkitError: ``path`` cannot be written, or a clip that is not there.
        """
        wanted = [self.clip, *([self.compare["clip"]] if "clip" in self.compare else [])] if clips is None else clips
        wanted = list(dict.fromkeys(self.source.clip_index(clip) for clip in wanted))
        if self.clip not in wanted:
            wanted.insert(0, self.clip)
        place = {clip: k for k, clip in enumerate(wanted)}
        header = dict(self._scene)
        whose = (self.seed, self.fold)
        payloads = [self._pay(clip, *whose) | {"index": k, "key": [k, *whose]} for clip, k in place.items()]
        header["clips"] = [header["clips"][clip] for clip in wanted]
        can_cut = self.source.network(self.clip, self.seed, self.fold) is not None
        measured = [{"key": [k, *whose]} for k in place.values()]
        if can_cut:
            measured = [
                self._measure(clip, "effect", "attribution") | {"key": [k, *whose]} for clip, k in place.items()
            ]
        names = [name for name in self.traits(sync=True) if name in AUGraph.class_own_traits()]
        state = {name: getattr(self, name) for name in names}
        other = dict(self._other)
        if "clip" in self.compare:
            at = place[self.compare["clip"]]
            state["compare"] = {"clip": at}
            other = {"compare": {"clip": at}, "payload": payloads[at], "measured": measured[at]}
        here = place[self.clip]
        if state["selected_edge"]:
            state["selected_edge"] = {**state["selected_edge"], "clip": here}
        state |= {
            "clip": here,
            "_page": True,
            "_scene": header,
            "_payload": payloads[here],
            "_measured": measured[here],
            "_other": other,
            "_cut_reason": "" if can_cut else "This page was saved without a network. " + _NO_RECOMPUTE,
            "_computed": {**self._computed, "clip": here},
            "playing": False,
            "hovered": {},
        }
        chances = [
            dict(zip(self.source.classes, (round(p, 5) for p in one["probabilities"]), strict=True)) for one in payloads
        ]
        page = make_explorer_page(
            self._esm_text(),
            read_css("base", "au_graph"),
            state,
            title=f"AU graph: {self.source.clip_ids[self.clip]}",
            follow={"clip": {"_payload": payloads, "_measured": measured, "probabilities": chances}},
        )
        if path is not None:
            page.save(path)
        return page.html

    @staticmethod
    def _esm_text() -> str:
        return read_esm(*_PARTS)

    def to_figure(self):
        """What is shown now as a matplotlib Figure (``plot_au_graph`` of the current traits)."""
        shown = self._shown() | {"target": self.target_class or None}
        return plot_au_graph(
            self.source,
            clip=self.clip,
            frame=self.frame,
            au=self.selected_au or None,
            seed=self.seed,
            fold=self.fold,
            compare=self.compare,
            **shown,
        )


def view_au_graph(
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
    recompute: Callable[[list[list], int], object] | None = None,
    allow_trained: bool = False,
) -> AUGraph:
    """Open the AU-graph explorer (``plot_au_graph`` draws the same as a still figure).

    Args:
        run_or_output: a finished ``Run`` or its folder: every test clip as the network that never saw it sees it, computed
            when it is asked for; or the network's output for ``batch``; or a ``Scene`` from ``compute_scene``.
        batch: the clips of an output.
        clip: index or id of the clip shown first.
        frame: index of its frame; the one with the most AU evidence where None.
        view: ``"au"``, ``"region"`` or ``"both"``.
        quantity: what edges are drawn by: ``"weight"`` (A between regions, C between AUs; no unit), ``"attention"`` (0..1,
            between regions; AU edges stay C), ``"attribution"`` or ``"effect"`` (of cutting; logits, with a sign).
        head: attention head, -1 = mean over heads.
        threshold: share of the clip's edges that is hidden, 0..1.
        edge_kind: region edges of ``"all"`` kinds, the ``"anatomical"`` ones, or those ``"learned"`` beside anatomy.
        au: label of an AU to select, e.g. ``"AU12"``.
        target: class that attribution and effect explain; the predicted one where None.
        seed: whose networks of a run; its first seed where None.
        fold: whose network of a run; -1 = the one that never saw the clip.
        compare: ``{"clip": index or id}`` or ``{"classes": [one, other]}``: side by side, with the difference.
        model: the network of an output, in evaluation mode; without it (and without a run) nothing can be cut.
        recompute: function (cuts, clip index) -> class probabilities "cls" (array, tensor or mapping by class) that is
            asked instead of the network when something is cut.
        allow_trained: of a run, also ask networks that were trained on the clip: their predictions are no test.

    Returns:
        An ``AUGraph`` widget whose traits follow what is clicked.

    Raises:
        StagkitError: an argument that is out of range (the message lists what is possible), values that are NaN, or a
            network without a graph.
    """
    return AUGraph(
        as_source(run_or_output, batch, model, allow_trained),
        clip=clip,
        frame=frame,
        view=view,
        quantity=quantity,
        head=head,
        threshold=threshold,
        edge_kind=edge_kind,
        selected_au=au or "",
        target_class=target or "",
        seed=seed,
        fold=fold,
        compare=dict(compare or {}),
        recompute=recompute,
    )


def _fill_ends(values: np.ndarray) -> np.ndarray:
    """Mean, low, high "3 ..." with the mean where an interval has no ends (one subject; the caveat says so)."""
    return np.where(np.isnan(values), values[0], values)


def _as_entry(change: Intervention) -> list:
    """A change as the list that JSON holds."""
    return [part for part in change if part is not None and part != ""]


def _pack_cuts(cuts: Ablations) -> dict:
    """All single cuts as one table, exactly: region edges, AU edges, regions, AUs, frames; each row the logits."""
    n_rois, n_aus, base = len(cuts.regions), len(cuts.aus), cuts.base

    def rows(values, n):
        return np.broadcast_to(base, (n, len(base))) if values is None else values.reshape(n, -1)

    table = np.concatenate(
        [
            rows(cuts.edges, n_rois * n_rois),
            rows(cuts.au_edges, n_aus * n_aus),
            cuts.regions,
            cuts.aus,
            cuts.frames,
        ]
    )
    return {"base": base.tolist(), "cuts": pack_exact(table)}


__all__ = ["AUGraph", "Scene", "compute_scene", "plot_au_graph", "view_au_graph"]
