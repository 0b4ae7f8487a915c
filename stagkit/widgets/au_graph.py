"""The AU-graph explorer: the learned connectivity of STAG on a face, to be hovered, played, and cut.

Left: the facial regions with their motion and the region edges A(target, source). Right: the action units with their
evidence and the AU edges C(target, source). Everything that is clicked can be read in Python as a trait, and every
trait that is set in Python moves the picture.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import anywidget
import numpy as np
import traitlets

from stagkit.types import Batch, StagkitError, StagOutput
from stagkit.widgets.au_graph_plot import plot_au_graph
from stagkit.widgets.html import make_page
from stagkit.widgets.scene import (
    DEFAULT_THRESHOLD,
    EDGE_KINDS,
    QUANTITIES,
    VIEWS,
    Scene,
    as_scene,
    check_choice,
    check_frame,
    compute_scene,
)

_HERE = Path(__file__).parent

#: What a page without Python says where the cut button would be.
_NO_RECOMPUTE = "Cutting needs the network: open this in a notebook with view_au_graph(..., recompute=...)."
_NO_KERNEL = "Cutting needs the network: this is a saved page. Open the widget in a notebook with recompute=..."


class WidgetError(StagkitError, traitlets.TraitError):
    """A trait was set to something the explorer cannot show; its old value stands."""


class AUGraph(anywidget.AnyWidget):
    """Explorer of learned AU and region connectivity; see ``view_au_graph`` for the arguments.

    Traits (all synced with the browser; set them in Python or touch them there):
        clip: index of the clip shown. ``frame``: index of its frame. ``playing``: the frames run.
        view: ``"au"``, ``"region"`` or ``"both"``. ``layout_name``: AU nodes at their ``"face"`` or ``"circle"`` place.
        quantity: ``"weight"`` A or ``"attention"`` on region edges; ``head``: attention head, -1 = mean.
        threshold: share of the clip's edges that is hidden, 0..1. ``edge_kind``: ``"all"``, ``"anatomical"``, ``"learned"``.
        class_filter: only clips of this true class are offered, ``""`` = all.
        selected_au, selected_region: name or ``""``.
        selected_edge: ``{}`` or ``{"graph", "target", "source", "value", "quantity", "clip", "frame"}``.
        hovered: ``{}`` or ``{"kind": "au" | "region", "name"}`` or ``{"kind": "edge", "graph", "target", "source"}``.
        cuts: list of ``[kind, target, source]`` with kind ``"region"`` or ``"au"``.
        probabilities: class -> 0..1 of the clip shown, with the cuts applied where ``recompute`` was given (read only
            by intent: the next recomputation overwrites what is set).

    Example:
        >>> widget = view_au_graph(output, batch)  # doctest: +SKIP
        >>> widget.selected_edge["source"]  # doctest: +SKIP
        'lip_corner_L'
    """

    _esm = _HERE / "au_graph.js"
    _css = _HERE / "au_graph.css"

    #: Put a still picture beside the widget, for GitHub and other readers that run no widget.
    png_fallback = True

    clip = traitlets.Int(0).tag(sync=True)
    frame = traitlets.Int(0).tag(sync=True)
    view = traitlets.Unicode("both").tag(sync=True)
    layout_name = traitlets.Unicode("face").tag(sync=True)
    quantity = traitlets.Unicode("weight").tag(sync=True)
    head = traitlets.Int(-1).tag(sync=True)
    threshold = traitlets.Float(DEFAULT_THRESHOLD).tag(sync=True)
    edge_kind = traitlets.Unicode("all").tag(sync=True)
    class_filter = traitlets.Unicode("").tag(sync=True)
    selected_au = traitlets.Unicode("").tag(sync=True)
    selected_region = traitlets.Unicode("").tag(sync=True)
    selected_edge = traitlets.Dict().tag(sync=True)
    hovered = traitlets.Dict().tag(sync=True)
    playing = traitlets.Bool(False).tag(sync=True)
    cuts = traitlets.List().tag(sync=True)
    probabilities = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _payload = traitlets.Dict().tag(sync=True)
    _cut_reason = traitlets.Unicode("").tag(sync=True)
    _computed = traitlets.Dict().tag(sync=True)

    def __init__(
        self, scene: Scene, *, recompute: Callable[[list[list[str]], int], object] | None = None, **traits: object
    ):
        if not isinstance(scene, Scene):
            raise StagkitError(f"AUGraph was given a {type(scene).__name__}, expected a Scene: see compute_scene.")
        if recompute is not None and not callable(recompute):
            raise StagkitError(
                f"`recompute` is a {type(recompute).__name__}, expected a function (cuts, clip) -> class probabilities."
            )
        self.scene = scene
        self.recompute = recompute
        clip = scene.clip_index(traits.pop("clip", 0))
        frame = traits.pop("frame", None)
        super().__init__(
            clip=clip,
            frame=scene.peak_frame(clip) if frame is None else frame,
            _scene=scene.header(),
            _payload=scene.payload(clip),
            _cut_reason="" if recompute else _NO_RECOMPUTE,
            **traits,
        )
        self._update_probabilities()
        self.observe(self._on_clip, "clip")
        self.observe(self._on_cuts, "cuts")
        self.observe(self._on_edge, ["frame", "quantity", "head"])
        self.observe(self._on_filter, "class_filter")

    # what may be set -------------------------------------------------------------------------------------------------
    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        return _told(self.scene.clip_index, proposal["value"])

    @traitlets.validate("frame")
    def _valid_frame(self, proposal):
        return _told(check_frame, self.scene, self.clip, proposal["value"])

    @traitlets.validate(
        "view", "layout_name", "quantity", "edge_kind", "class_filter", "selected_au", "selected_region"
    )
    def _valid_choice(self, proposal):
        name, value = proposal["trait"].name, proposal["value"]
        options = {
            "view": VIEWS,
            "layout_name": ("face", "circle"),
            "quantity": QUANTITIES,
            "edge_kind": EDGE_KINDS,
            "class_filter": ("", *self.scene.classes),
            "selected_au": ("", *self.scene.au_labels),
            "selected_region": ("", *self.scene.roi_names),
        }
        _told(check_choice, name, value, options[name])
        return value

    @traitlets.validate("head")
    def _valid_head(self, proposal):
        _told(check_choice, "head", proposal["value"], (-1, *range(self.scene.n_heads)))
        return proposal["value"]

    @traitlets.validate("threshold")
    def _valid_threshold(self, proposal):
        if not 0 <= proposal["value"] <= 1:
            raise WidgetError(f"`threshold` is {proposal['value']}, expected the share of edges to hide: 0..1.")
        return proposal["value"]

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
        _told(self._check_cut, [edge["graph"], edge["target"], edge["source"]])
        return self._with_value(edge)

    @traitlets.validate("cuts")
    def _valid_cuts(self, proposal):
        cuts: list[list[str]] = []
        for cut in proposal["value"]:
            _told(self._check_cut, cut)
            if list(cut) not in cuts:
                cuts.append(list(cut))
        return cuts

    def _check_cut(self, cut):
        if len(cut) != 3:
            raise StagkitError(f"{cut!r} is no edge, expected [kind, target, source].")
        kind, target, source = cut
        check_choice("kind", kind, ("region", "au"))
        names = self.scene.au_labels if kind == "au" else self.scene.roi_names
        check_choice("target", target, names)
        check_choice("source", source, names)

    # what follows from what ------------------------------------------------------------------------------------------
    def _with_value(self, edge: dict) -> dict:
        """The edge as shown now, with its value (None where the network has no such edges)."""
        graph = edge["graph"]
        names = self.scene.au_labels if graph == "au" else self.scene.roi_names
        values = self.scene.values(self.clip, graph, self.quantity, self.head)
        value = None
        if values is not None:
            frame = min(self.frame, len(values) - 1)
            value = float(f"{values[frame, names.index(edge['target']), names.index(edge['source'])]:.4g}")
        return {
            "graph": graph,
            "target": edge["target"],
            "source": edge["source"],
            "value": value,
            "quantity": "weight" if graph == "au" else self.quantity,
            "clip": self.clip,
            "frame": self.frame,
        }

    def _on_clip(self, _change):
        self._payload = self.scene.payload(self.clip)
        self.frame = min(self.frame, int(self.scene.n_frames[self.clip]) - 1)
        self._on_edge(None)
        self._update_probabilities()

    def _on_edge(self, _change):
        if self.selected_edge:
            self.selected_edge = self._with_value(self.selected_edge)

    def _on_cuts(self, _change):
        self._update_probabilities()

    def _on_filter(self, _change):
        wanted = [i for i, k in enumerate(self.scene.label) if self.scene.classes[k] == self.class_filter]
        if wanted and self.clip not in wanted:
            self.clip = wanted[0]

    def _update_probabilities(self):
        """The network's answer for the clip shown, with the cuts applied where that is possible."""
        chances, message, start = self.scene.probabilities[self.clip], "", time.perf_counter()
        if self.cuts and self.recompute is not None:
            try:
                chances = self._read_probabilities(self.recompute([list(cut) for cut in self.cuts], self.clip))
            except Exception as error:  # shown in the browser: an exception in a callback would be lost
                message = f"recompute failed: {type(error).__name__}: {error}"
        with self.hold_sync():
            self.probabilities = {
                name: round(float(chance), 5) for name, chance in zip(self.scene.classes, chances, strict=True)
            }
            self._computed = {
                "clip": self.clip,
                "cuts": [list(cut) for cut in self.cuts],
                "ms": round(1000 * (time.perf_counter() - start), 1),
                "error": message,
            }

    def _read_probabilities(self, answer: object) -> np.ndarray:
        """What ``recompute`` gave back, as float "cls"."""
        classes = self.scene.classes
        if isinstance(answer, Mapping):
            answer = [answer[name] for name in classes]
        if hasattr(answer, "detach"):
            answer = answer.detach().cpu().numpy()
        chances = np.asarray(answer, float).squeeze()
        if chances.shape != (len(classes),) or not np.isfinite(chances).all() or not -1e-6 <= chances.min() <= 1:
            raise StagkitError(
                f"it gave back {np.asarray(answer)!r}, expected {len(classes)} probabilities 0..1, one for each of "
                f"{', '.join(classes)}."
            )
        return chances

    # what can be taken away ------------------------------------------------------------------------------------------
    def _shown(self) -> dict:
        names = ("view", "quantity", "head", "threshold", "edge_kind")
        return {name: getattr(self, name) for name in names}

    def edges_table(self, *, all_frames: bool = False):
        """The edges that are shown now, as a pandas DataFrame, strongest first.

        Args:
            all_frames: those of every frame of the clip instead of the current one.

        Returns:
            Columns clip (id), time_ms, graph (``region`` or ``au``), target, source, value.
        """
        import pandas as pd

        frames = range(int(self.scene.n_frames[self.clip])) if all_frames else [self.frame]
        rows = [
            (self.scene.clip_ids[self.clip], float(self.scene.times_ms[self.clip, frame]), *edge)
            for frame in frames
            for edge in self.scene.shown_edges(self.clip, frame, **self._shown())
        ]
        return pd.DataFrame(rows, columns=["clip", "time_ms", "graph", "target", "source", "value"])

    def to_graphml(self, path: str | os.PathLike) -> Path:
        """Write the graph that is shown now as GraphML (for Gephi, yEd, igraph); edges point from source to target.

        Raises:
            StagkitError: ``path`` cannot be written.
        """
        import networkx as nx

        path = Path(path)
        try:
            nx.write_graphml(self.scene.graph(self.clip, self.frame, **self._shown()), path)
        except OSError as error:
            raise StagkitError(f"the graph could not be written to {path}: {error.strerror}.") from error
        return path

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """The explorer as one self-contained page: same module, no network, no Python; cutting is switched off.

        Args:
            path: file to write; nothing is written where None.

        Returns:
            The page's HTML, as a rule far below 1 MB a clip.

        Raises:
            StagkitError: ``path`` cannot be written.
        """
        scene = self.scene.to_json()
        names = [name for name in self.traits(sync=True) if name in AUGraph.class_own_traits()]
        state = {name: getattr(self, name) for name in names}
        state |= {"_scene": scene["header"], "_cut_reason": _NO_KERNEL, "playing": False, "hovered": {}}
        chances = [dict(zip(self.scene.classes, c["probabilities"], strict=True)) for c in scene["header"]["clips"]]
        chances[self.clip] = dict(self.probabilities)
        return make_page(
            (_HERE / "au_graph.js").read_text(encoding="utf-8"),
            (_HERE / "au_graph.css").read_text(encoding="utf-8"),
            state,
            title=f"AU graph: {self.scene.clip_ids[self.clip]}",
            follow={"clip": {"_payload": scene["clips"], "probabilities": chances}},
            path=path,
        )

    def to_figure(self):
        """What is shown now as a matplotlib Figure (``plot_au_graph`` of the current traits)."""
        return plot_au_graph(self.scene, clip=self.clip, frame=self.frame, au=self.selected_au or None, **self._shown())

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is None or not self.png_fallback:
            return bundle
        import base64
        import io

        file = io.BytesIO()
        self.to_figure().savefig(file, format="png", dpi=80)
        bundle[0]["image/png"] = base64.b64encode(file.getvalue()).decode("ascii")
        return bundle


def view_au_graph(
    output_or_scene: StagOutput | Scene,
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
    recompute: Callable[[list[list[str]], int], object] | None = None,
) -> AUGraph:
    """Open the AU-graph explorer on what the network said (``plot_au_graph`` draws the same as a still figure).

    Args:
        output_or_scene: the network's output for ``batch``, or a ``Scene`` from ``compute_scene``.
        batch: the clips; not needed with a ``Scene``.
        clip: index or id of the clip shown first.
        frame: index of its frame; the one with the most AU evidence where None.
        view: ``"au"``, ``"region"`` or ``"both"``.
        quantity: ``"weight"`` (edge weight A, no unit) or ``"attention"`` (0..1) on region edges. AU edges are C.
        head: attention head, -1 = mean over heads.
        threshold: share of the clip's edges that is hidden, 0..1.
        edge_kind: region edges of ``"all"`` kinds, the ``"anatomical"`` ones, or those ``"learned"`` beside anatomy.
        au: label of an AU to select, e.g. ``"AU12"``.
        recompute: function (cuts, clip index) -> class probabilities "cls" (array, tensor or mapping by class), called
            when an edge is cut; ``cuts`` is a list of [kind, target, source]. Without it nothing can be cut.

    Returns:
        An ``AUGraph`` widget whose traits follow what is clicked.

    Raises:
        StagkitError: an argument that is out of range (the message lists what is possible), or values that are NaN.
    """
    return AUGraph(
        as_scene(output_or_scene, batch),
        clip=clip,
        frame=frame,
        view=view,
        quantity=quantity,
        head=head,
        threshold=threshold,
        edge_kind=edge_kind,
        selected_au=au or "",
        recompute=recompute,
    )


def _told(check: Callable, *args: object):
    """Run a check of the scene; what it says becomes a trait's error, so that the old value is kept."""
    try:
        return check(*args)
    except WidgetError:
        raise
    except StagkitError as error:
        raise WidgetError(str(error)) from None


__all__ = ["AUGraph", "Scene", "compute_scene", "plot_au_graph", "view_au_graph"]
