"""What the AU-graph explorer and its figure show of some clips: plain arrays with names, small enough for a browser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy.special import expit, softmax

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Batch, StagkitError, StagOutput, check_axes
from stagkit.explain.class_means import EMFACS, load_cooccurrence
from stagkit.explorers.au_graph.sums import LEAST_ACTIVATION, Readout, Sums, find_edges, read_network, split_change
from stagkit.explorers.browser import pack, pack_exact, shorten
from stagkit.explorers.muscles import UPPER_FACE, describe_moves, make_muscles

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Share of a clip's edges that is hidden at first: about 15 edges of each graph are left, fewer in quiet frames.
DEFAULT_THRESHOLD = 0.9

#: Of an AU's subgraph, which has few edges, at most this share is hidden.
MOST_HIDDEN = 0.5

VIEWS = ("au", "region", "both")
#: What edges are drawn by. Contribution and effect are of the whole clip, weight and attention of a frame.
QUANTITIES = ("contribution", "weight", "effect", "attention")
#: Quantities in logits of a class.
SIGNED = ("contribution", "effect")

_EFFECT = (
    "Δ",
    "effect of removing: how far the logit of the class explained falls when only this edge is removed, in all frames",
)

#: Symbol and definition of an edge value, by ``graph.quantity``, shown in the browser.
MEANING = {
    "region.contribution": (
        "",
        "term of this region edge in the logit of the class explained, summed over the clip; all terms, and the logit "
        "without any region edge, are the logit",
    ),
    "au.contribution": (
        "",
        "term of this AU edge in the logit of the class explained; with those of the AUs and the bias they are the logit",
    ),
    "region.weight": (
        "A",
        "attention of the target region to the source region times the activation of the AU, summed over AUs, in this frame",
    ),
    "subgraph.weight": ("z", "term of this region edge in the logit of the AU, in this frame"),
    "au.weight": (
        "C",
        "how strongly the two AUs are active together in this frame: product of their activations times learned affinity",
    ),
    "region.attention": ("attention", "share of the target region's attention on the source region, in this frame"),
    "region.effect": _EFFECT,
    "au.effect": _EFFECT,
}


#: Said wherever a network's logits are no sum of edges.
NO_TERMS = (
    "this network (head='fused') shows activations and edges, but its logits are no sum of edges: "
    "train one with head='graph' for contributions."
)


class Edge(NamedTuple):
    """One edge: information flows from region ``source`` to ``target``; AU edges have no direction, their target is listed
    first in ``AU_LABELS``. ``au``: the AU whose subgraph a region edge is in, "" = all together."""

    graph: str
    target: str
    source: str
    value: float
    au: str = ""


@dataclass(frozen=True)
class Scene:
    """Everything the explorer shows of some clips (numpy arrays; None where the network's part is switched off).

    Every edge array has (target, source) as its last two axes. Padding frames at the end of a clip are not shown.

    Args:
        clip_ids, subjects, classes: names; the axes ``clip`` and ``cls``. ``label``: int "clip", index into ``classes``.
        probabilities: float "clip cls", 0..1. ``logits``: float "clip cls", or None.
        n_frames: int "clip", frames that are not padding, >= 1. ``times_ms``: float "clip time", from the onset frame.
        activation: float "clip time au", AU activation, 0..1.
        flow: float "clip time roi 2", mean motion (u right, v down) of each region, in ``unit``.
        present: bool "clip time roi", False where the region was not visible.
        sided: float "clip time au", -1..1: activation times the balance of left (+) and right (-) edges; 0 where unknown.
        au_edges: float "clip time au au" >= 0, symmetric, or None.
        edges: float "clip time roi roi" >= 0, or None.
        attention: float "clip time head roi roi", rows summing to 1, or None; ``attention_name``: e.g. ``graph.1``.
        time_weights: float "clip time", summing to 1 over the frames, or None.
        imputed: bool "clip time roi", True where a hidden region was estimated from others, or None.
        index: int "edge 3", (AU, target, source) of the region edges, or None.
        terms: what the logits are the sum of (``GraphTerms``, as arrays), or None with ``head='fused'``.
        readout: of the network, where that was given: what any cut does to the sums.
    """

    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    label: np.ndarray
    probabilities: np.ndarray
    n_frames: np.ndarray
    times_ms: np.ndarray
    activation: np.ndarray
    flow: np.ndarray
    present: np.ndarray
    au_edges: np.ndarray | None
    edges: np.ndarray | None
    attention: np.ndarray | None
    time_weights: np.ndarray | None
    attention_name: str = ""
    unit: str = "% IOD"
    logits: np.ndarray | None = None
    sided: np.ndarray | None = None
    imputed: np.ndarray | None = field(default=None, repr=False)
    index: np.ndarray | None = field(default=None, repr=False)
    terms: Mapping[str, np.ndarray] | None = field(default=None, repr=False)
    readout: Readout | None = field(default=None, repr=False)

    def __post_init__(self):
        for name in ("activation", "flow", "au_edges", "edges", "attention", "probabilities", "times_ms"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                raise StagkitError(
                    f"`{name}` holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite: the network "
                    "or its input is broken (a learning rate that is too high? NaN flow?); nothing can be drawn."
                )
            if array is not None and name in ("au_edges", "edges", "attention") and array.min() < 0:
                raise StagkitError(f"`{name}` reaches down to {array.min():.3g}, expected weights >= 0.")

    @property
    def n_heads(self) -> int:
        """Heads of the attention map, 0 where there is none."""
        return 0 if self.attention is None else self.attention.shape[2]

    def peak_frame(self, clip: int) -> int:
        """The frame with the highest sum of AU activations."""
        return int(self.activation[clip, : self.n_frames[clip]].sum(-1).argmax())

    def sums(self, clip: int, changes: Sequence[Sequence] = ()) -> Sums | None:
        """The sums of one clip under interventions on edges and AUs; None without a network whose logits are sums."""
        if self.readout is None or self.terms is None:
            return None
        key = clip, repr(list(changes))
        if key not in self._sums:
            n = self.n_frames[clip]
            self._sums[key] = Sums(self.readout, self.terms["au_terms"][clip, :n], self.valid(clip), changes)
        return self._sums[key]

    @cached_property
    def _sums(self) -> dict:
        return {}

    def valid(self, clip: int) -> np.ndarray:
        """Bool "time": frames in which a region is visible."""
        return self.present[clip, : self.n_frames[clip]].any(-1)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The quantities that edges of this network have."""
        has = {
            "contribution": self.terms is not None,
            "weight": self.edges is not None or self.au_edges is not None,
            "effect": self.terms is not None and self.readout is not None,
            "attention": self.attention is not None,
        }
        return tuple(name for name in QUANTITIES if has[name])

    @property
    def quantity(self) -> str:
        """What edges are drawn by at first."""
        return "contribution" if self.terms is not None else "weight"

    def check_quantity(self, quantity: str) -> None:
        """Raise StagkitError unless edges of this network have the quantity; the reason is given."""
        if quantity not in QUANTITIES:
            raise StagkitError(f"`quantity` is {quantity!r}, expected one of {', '.join(map(repr, QUANTITIES))}.")
        if quantity in SIGNED and self.terms is None:
            raise StagkitError(f"{quantity!r}: {NO_TERMS}")
        if quantity == "effect" and self.readout is None:
            raise StagkitError("'effect' needs the network: give model=... too, or a run.")
        if quantity == "attention" and self.attention is None:
            raise StagkitError("'attention' is of the layers of head='fused'; this network has none: take 'weight'.")

    def values(
        self,
        clip: int,
        graph: str,
        quantity: str = "weight",
        head: int = -1,
        target: int = 0,
        au: str = "",
        changes: Sequence[Sequence] = (),
    ) -> np.ndarray | None:
        """Edge values of one clip: float64 "time target source" (one frame where they are of the whole clip), or None.

        Args:
            target: index of the class that contribution and effect are of.
            au: region edges of this AU's subgraph alone; their weight is their term in the AU's logit.
            changes: interventions. Values are those after the change; an edge that is changed keeps the value it had.
        """
        values = self._compute(clip, graph, quantity, head, target, au, changes)
        for change in changes if values is not None else ():
            words, _ = split_change(change)
            if words[0] == graph and len(words) > 2 and (len(words) < 4 or words[3] == au):
                before = self._compute(clip, graph, quantity, head, target, au, ())
                i, j = (self.names(graph).index(name) for name in words[1:3])
                values[:, i, j] = before[:, i, j]
                if graph == "au":
                    values[:, j, i] = before[:, j, i]
        return values

    def _compute(self, clip, graph, quantity, head, target, au, changes) -> np.ndarray | None:
        if quantity == "attention":
            if self.attention is None or graph == "au":
                return None
            found = self.attention[clip, : self.n_frames[clip]]
            return found.mean(1) if head < 0 else found[:, head].copy()
        if quantity not in self.quantities:
            return None
        sums = self.sums(clip, changes)
        if graph == "au":
            return self._compute_au_edges(clip, quantity, target, sums)
        if quantity == "weight" and not au:
            return None if self.edges is None else self.edges[clip, : self.n_frames[clip]].copy()
        if quantity == "weight":
            per_edge = None if self.terms is None else self.terms["au_terms"][clip, : self.n_frames[clip]]
            per_edge = per_edge if sums is None else sums.terms
        elif quantity == "contribution":
            per_edge = self.terms["region_edges"][clip, target] if sums is None else sums.region_edges[:, target].sum(0)
        else:
            return self._compute_region_effects(sums, target, au)
        return None if per_edge is None else self._place(np.atleast_2d(per_edge), au)

    def _compute_au_edges(self, clip: int, quantity: str, target: int, sums: Sums | None) -> np.ndarray | None:
        if quantity == "weight":
            if sums is not None:
                return np.einsum("tk,tl->tkl", sums.active, sums.active) * sums.readout.affinity
            return None if self.au_edges is None else self.au_edges[clip, : self.n_frames[clip]].copy()
        pairs = (self.terms["au_edges"][clip] if sums is None else sums.pairs)[target]
        return (pairs + pairs.T)[None]  # an AU edge is removed by its term exactly: contribution is effect

    def _compute_region_effects(self, sums: Sums, target: int, au: str) -> np.ndarray:
        edges = self.index[(self.index[:, 0] == AU_LABELS.index(au)) if au else slice(None)]
        pairs = np.unique(edges[:, 1:], axis=0)
        names = [(ATLAS.names[i], ATLAS.names[j], au) for i, j in pairs]
        out = np.zeros((1, len(ATLAS.names), len(ATLAS.names)))
        out[0, pairs[:, 0], pairs[:, 1]] = sums.effects([find_edges(self.index, *name) for name in names], target)
        return out

    def _place(self, per_edge: np.ndarray, au: str) -> np.ndarray:
        """Values "time edge" of one AU, or summed over AUs, as "time target source"."""
        n = len(ATLAS.names)
        kept = self.index[:, 0] == AU_LABELS.index(au) if au else np.ones(len(self.index), bool)
        out = np.zeros((len(per_edge), n * n))
        cells = self.index[kept, 1] * n + self.index[kept, 2]
        np.add.at(out, (slice(None), cells), per_edge[:, kept])
        return out.reshape(-1, n, n)

    def names(self, graph: str) -> tuple[str, ...]:
        """Names of the nodes of a graph."""
        return AU_LABELS if graph == "au" else ATLAS.names

    def candidates(self, graph: str, quantity: str = "weight", au: str = "") -> np.ndarray:
        """Bool "target source": the edges that may be drawn. AU edges are listed once; a region may have one to itself."""
        n = len(self.names(graph))
        if graph == "au":
            return np.triu(np.ones((n, n), bool), 1)
        if quantity == "attention" or self.index is None:
            return ~np.eye(n, dtype=bool)
        out = np.zeros((n, n), bool)
        kept = self.index[self.index[:, 0] == AU_LABELS.index(au)] if au else self.index
        out[kept[:, 1], kept[:, 2]] = True
        return out

    def find_subgraph(self, graph: str, quantity: str, au: str) -> str:
        """``au`` where the edges of its subgraph alone are shown, else "" = all together."""
        return au if graph == "region" and quantity != "attention" and self.terms is not None else ""

    def shown_edges(
        self,
        clip: int,
        frame: int,
        *,
        view: str = "both",
        quantity: str = "weight",
        head: int = -1,
        threshold: float = DEFAULT_THRESHOLD,
        target: int = 0,
        au: str = "",
        changes: Sequence[Sequence] = (),
    ) -> list[Edge]:
        """The edges that are drawn in one frame, strongest first within each graph.

        Those whose size is not below the ``threshold`` quantile of their graph's sizes over **all** frames of the clip.
        """
        out: list[Edge] = []
        for graph in ("region", "au"):
            if view not in (graph, "both"):
                continue
            names, of = self.names(graph), self.find_subgraph(graph, quantity, au)
            values = self.values(clip, graph, quantity, head, target, of, changes)
            if values is None:
                continue
            allowed = self.candidates(graph, quantity, of)
            cutoff = compute_cutoff(np.abs(values[:, allowed]), min(threshold, MOST_HIDDEN) if of else threshold)
            now = values[min(frame, len(values) - 1)]
            at = np.argwhere(allowed & (np.abs(now) >= cutoff) & (now != 0))
            order = np.argsort([-abs(now[t, s]) for t, s in at], kind="stable")
            out += [Edge(graph, names[t], names[s], float(f"{now[t, s]:.4g}"), of) for t, s in at[order]]
        return out

    @cached_property
    def maxima(self) -> dict[str, float]:
        """The largest values over all clips: the ends of the scales."""
        return {
            "au": _largest(self.au_edges),
            "weight": _largest(self.edges, diagonal=self.index is not None),
            "attention": _largest(self.attention),
            "flow": float(f"{np.linalg.norm(self.flow, axis=-1).max():.3g}"),
        }

    def header(self) -> dict:
        """What the browser needs once for all clips: names, positions, anatomy, meanings."""
        from stagkit.explain.exact_terms import RELATIONS

        face = load_mean_face()[0]
        return {
            "classes": list(self.classes),
            "rois": list(ATLAS.names),
            "aus": [
                {
                    "label": unit.label,
                    "number": unit.number,
                    "name": unit.name,
                    "muscles": list(unit.muscles),
                    "sided": unit.sided,
                    "group": "upper face" if unit.number in UPPER_FACE else "lower face",
                    "moves": describe_moves(unit),
                    "emotions": [name for name, units in EMFACS.items() if unit.number in units],
                }
                for unit in ACTION_UNITS.values()
            ],
            "face": shorten(face),
            "centres": shorten(ATLAS.centres(face)),
            "au_face": [[k, side, shorten(spot)] for k, side, spot in place_on_face()],
            "au_circle": shorten(_place_on_circle()),
            "incidence": shorten(ATLAS.incidence),
            "quantities": list(self.quantities),
            "relations": list(RELATIONS),
            "least": LEAST_ACTIVATION,
            "most_hidden": MOST_HIDDEN,
            "reasons": [list(r) for r in ATLAS.edge_reasons],
            "muscles": {name: [shorten(f) for f in fibres] for name, fibres in make_muscles(face).items()},
            "together": shorten(load_cooccurrence()),
            "maxima": self.maxima,
            "meaning": {key: list(text) for key, text in MEANING.items()},
            "attention_name": self.attention_name,
            "n_heads": self.n_heads,
            "unit": self.unit,
        }

    def payload(self, clip: int) -> dict:
        """What the browser needs of one clip: with a network, exactly what its logits are the sum of."""
        n = int(self.n_frames[clip])

        def packed(array: np.ndarray | None) -> dict | None:
            return None if array is None else pack(array[clip, :n])

        out = {
            "index": clip,
            "probabilities": [round(float(p), 6) for p in self.probabilities[clip]],
            "maxima": self.maxima,
            "times_ms": [round(float(t), 1) for t in self.times_ms[clip, :n]],
            "present": _write_bits(self.present[clip, :n]),
            "imputed": None if self.imputed is None else _write_bits(self.imputed[clip, :n]),
            "activation": packed(self.activation),
            "sided": packed(self.sided),
            "flow": packed(self.flow),
            "au": packed(self.au_edges),
            "weight": packed(self.edges),
            "attention": packed(self.attention),
            "time_weights": None if self.time_weights is None else shorten(self.time_weights[clip, :n]),
            "index_of": None if self.index is None else self.index.tolist(),
        }
        if self.terms is not None:
            given = self.terms
            out["terms"] = pack_exact(given["au_terms"][clip, :n])
            if self.readout is None:
                fixed = {name: pack_exact(given[name][clip]) for name in ("aus", "au_edges", "region_edges")}
                out["fixed"] = {**fixed, "logits": self.logits[clip].tolist()}
            else:
                arrays = {name: pack_exact(getattr(self.readout, name)) for name in _SENT}
                out["readout"] = {
                    **arrays,
                    "pairs": pack_exact(self.readout.pairs[..., *np.triu_indices(len(AU_LABELS), 1)]),
                }
        return out


#: Arrays of ``Readout`` as the browser gets them; ``pairs`` travels as a list of the pairs above the diagonal.
_SENT = ("side", "au_bias", "bias", "nodes", "affinity")


def compute_scene(output: StagOutput, batch: Batch, unit: str = "% IOD", model: Stag | None = None) -> Scene:
    """Gather what the explorer shows from the clips, ``batch.x`` in ``unit``, and the network's output for them.

    With the network that made the output, the scene can also compute what any cut does.

    Raises:
        ShapeError: output and batch do not belong together (sizes differ).
        StagkitError: values that cannot be drawn (NaN, negative weights).
    """
    sizes = {"batch": len(batch.clip_ids), "roi": len(ATLAS.names), "au": len(AU_LABELS), "cls": len(batch.classes)}
    layers = sorted((n for n in output.attention if n.startswith("graph.")), key=lambda n: int(n[6:]))
    attention = output.attention[layers[-1]] if layers else None
    check_axes(
        sizes,
        x=(batch.x, "batch time roi 3 py px"),
        logits=(output.logits, "batch cls"),
        au_logits=(output.au_logits, "batch time au"),
        edges=(output.edges, "batch time roi roi"),
        au_edges=(output.au_edges, "batch time au au"),
        time_weights=(output.time_weights, "batch time"),
        attention=(attention, "batch time head roi roi"),
    )
    present = _numpy(batch.mask).astype(bool)
    visible = present.any(-1)
    n_frames = np.where(visible.any(1), visible.shape[1] - visible[:, ::-1].argmax(1), 1)
    used = np.arange(visible.shape[1])[None] < n_frames[:, None]  # "clip time"

    terms, index = output.terms, _find_index(output, model)
    if terms is not None and terms.au_terms is None:
        raise StagkitError("this output was made in training mode, without terms: call model.eval() first.")
    sizes["edge"] = None if index is None else len(index)

    def trimmed(values):  # padding frames count neither for scales nor as NaN
        if values is None:
            return None
        array = _numpy(values).astype(float)
        return np.where(used.reshape(used.shape + (1,) * (array.ndim - 2)), array, 0.0)

    active, sided, kept = trimmed(expit(_numpy(output.au_logits).astype(float))), None, None
    if terms is not None:
        au_terms, side = trimmed(terms.au_terms), _list_sides(index)
        sided = active * np.tanh(au_terms @ (np.eye(len(AU_LABELS))[index[:, 0]] * side[:, None]))
        traced = terms.region_edges  # of explanations on disk it is summed over time
        kept = {
            "au_terms": au_terms,
            "region_edges": (trimmed(traced) if traced.shape[1] > 1 else _numpy(traced)).sum(1),
        }
        kept |= {name: _numpy(getattr(terms, name)).astype(float) for name in ("aus", "au_edges", "without")}
    return Scene(
        clip_ids=tuple(batch.clip_ids),
        subjects=tuple(batch.subjects),
        classes=tuple(batch.classes),
        label=_numpy(batch.label).astype(int),
        probabilities=softmax(_numpy(output.logits), axis=-1).astype(float),
        n_frames=n_frames.astype(int),
        times_ms=trimmed(batch.times_ms),
        activation=active,
        sided=sided,
        flow=trimmed(_numpy(batch.x)[:, :, :, :2].mean((-1, -2))),
        present=present,
        au_edges=trimmed(output.au_edges),
        edges=trimmed(output.edges),
        attention=trimmed(attention),
        time_weights=trimmed(output.time_weights),
        attention_name=layers[-1] if layers else "",
        unit=unit,
        logits=_numpy(output.logits).astype(float),
        imputed=None if terms is None or terms.imputed is None else _numpy(terms.imputed).astype(bool),
        index=index,
        terms=kept,
        readout=None if model is None else read_network(model),
    )


def _write_bits(rows: np.ndarray) -> list[str]:
    """Bool "time roi" as one word of 0 and 1 per frame."""
    return ["".join("01"[int(bit)] for bit in row) for row in rows]


def _find_index(output: StagOutput, model: Stag | None) -> np.ndarray | None:
    """(AU, target, source) of the region edges; None for an output with other edges whose network is not given."""
    if model is not None:
        return model.region_graph.index.cpu().numpy()
    if output.terms is None or output.terms.au_terms is None:
        return None
    from stagkit.network.action_units import make_au_edges

    for exchange in (True, False):
        if len(index := make_au_edges(ATLAS, exchange)) == output.terms.au_terms.shape[-1]:
            return index
    raise StagkitError("this network has region edges of its own: give the network too, model=model.")


def _list_sides(index: np.ndarray) -> np.ndarray:
    """1 for a region edge that ends on the subject's left, -1 on the right, 0 on the midline: float "edge"."""
    return np.array([{"L": 1.0, "R": -1.0, "": 0.0}[roi.side] for roi in ATLAS.rois])[index[:, 1]]


def compute_cutoff(values: np.ndarray, threshold: float) -> float:
    """The value below which an edge is hidden: the ``threshold`` quantile (0..1) of all ``values``, without blending."""
    if not 0 <= threshold <= 1:
        raise StagkitError(f"`threshold` is {threshold}, expected the share of edges to hide: 0 (show all) .. 1.")
    ordered = np.sort(values, axis=None)
    return float(ordered[min(int(threshold * ordered.size), ordered.size - 1)]) if ordered.size else 0.0


def _numpy(values: object) -> np.ndarray:
    """A tensor or anything else as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def _largest(array: np.ndarray | None, diagonal: bool = False) -> float:
    """Largest value, off the diagonal unless asked for, 0 where there is none."""
    if array is None:
        return 0.0
    return float(f"{np.where(np.eye(array.shape[-1], dtype=bool) & (not diagonal), 0, array).max():.3g}")


#: Where AU nodes are drawn, (right, down) from the middle of the eyes, IOD: near their muscle and apart from each other.
_SPOTS = {
    1: (0.13, -0.27), 2: (0.58, -0.31), 4: (0.31, -0.44), 5: (0.35, -0.19), 6: (0.50, 0.28), 7: (0.36, 0.07),
    9: (0.17, 0.24), 10: (0.22, 0.46), 12: (0.49, 0.50), 14: (0.54, 0.72), 15: (0.37, 1.00), 17: (0.0, 1.05),
    20: (0.30, 0.79), 23: (0.0, 0.51), 24: (0.0, 0.69), 25: (0.0, 0.87), 26: (0.0, 1.23),
}  # fmt: skip


def place_on_face() -> list[tuple[int, str, np.ndarray]]:
    """AU nodes at their muscle: (index in ``AU_LABELS``, side ``"L"``, ``"R"`` or ``""``, float "2" in IOD).

    An AU that can act on one side alone is drawn on both, mirrored; the others on the midline.
    """
    out = []
    for k, number in enumerate(AU_NUMBERS):
        x, y = _SPOTS[number]
        for side, sign in (("R", -1), ("L", 1)) if ACTION_UNITS[number].sided else (("", 0),):
            out.append((k, side, np.array([sign * x, y])))
    return out


def _place_on_circle() -> np.ndarray:
    """AU nodes on a circle (radius 1, y down): the upper face on the upper arc, the lower face on the lower one."""
    upper = np.isin(AU_NUMBERS, UPPER_FACE)
    half, gap = np.pi * upper.mean(), 0.16
    angles = np.zeros(len(AU_NUMBERS))
    angles[upper] = np.linspace(-np.pi / 2 - half + gap, -np.pi / 2 + half - gap, upper.sum())
    angles[~upper] = np.linspace(-np.pi / 2 + half + gap, 3 * np.pi / 2 - half - gap, (~upper).sum())
    return np.stack([np.cos(angles), np.sin(angles)], 1)
