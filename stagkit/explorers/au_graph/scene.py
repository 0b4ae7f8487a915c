"""What the AU-graph explorer and its figure show of some clips: plain arrays with names, small enough for a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import expit, softmax

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS, load_mean_face
from stagkit.core.types import Batch, StagkitError, StagOutput, check_axes
from stagkit.explain.class_means import EMFACS, load_cooccurrence
from stagkit.explorers.browser import pack, shorten, unpack
from stagkit.explorers.muscles import UPPER_FACE, describe_moves, make_muscles

#: Share of a clip's edges that is hidden at first: about 20 edges are left at the peak, fewer in quiet frames.
DEFAULT_THRESHOLD = 0.975

VIEWS = ("au", "region", "both")
#: What edges are drawn by; the last two have a sign and are the same in all frames where only one was computed.
QUANTITIES = ("weight", "attention", "attribution", "effect")
SIGNED = ("attribution", "effect")
EDGE_KINDS = ("all", "anatomical", "learned")

_EFFECT = (
    "Δ",
    "effect of removing: decrease of the logit of the class explained when only this edge is removed, in all frames; "
    "+ for the class, − against it",
)

#: Symbol and definition of an edge value, by ``graph.quantity``, shown in the browser.
MEANING = {
    "region.weight": (
        "A",
        "edge weight A(target, source): how open the path is from the source region to the target region "
        "(anatomy + what the active AUs add + a learned rest); 0 = closed, no unit",
    ),
    "region.attention": (
        "attention",
        "attention(target, source): share of the target region's attention on the source region; the shares of one target "
        "sum to 1",
    ),
    "au.weight": (
        "C",
        "AU edge C(target, source): how strongly the two AUs are active together in this frame "
        "(product of their activations x learned affinity); 0 = not at all, no unit",
    ),
    "region.attribution": (
        "IG",
        "attribution(target, source): what this edge adds to the logit of the class explained, by integrated gradients "
        "from the anatomical graph to this one; + for the class, − against it",
    ),
    "au.attribution": (
        "IG",
        "attribution(target, source): what this AU edge adds to the logit of the class explained, by integrated "
        "gradients from no AU edges to these; + for the class, − against it",
    ),
    "region.effect": _EFFECT,
    "au.effect": _EFFECT,
}


class Edge(NamedTuple):
    """One directed edge: information flows from ``source`` to ``target``."""

    graph: str
    target: str
    source: str
    value: float


@dataclass(frozen=True)
class Scene:
    """Everything the explorer shows of some clips (numpy arrays; None where the network's part is switched off).

    Every edge array has (target, source) as its last two axes. Padding frames at the end of a clip are not shown.

    Args:
        clip_ids, subjects, classes: names; the axes ``clip`` and ``cls``. ``label``: int "clip", index into ``classes``.
        probabilities: float "clip cls", 0..1.
        n_frames: int "clip", frames that are not padding, >= 1. ``times_ms``: float "clip time", from the onset frame.
        activation: float "clip time au", AU activation, 0..1.
        flow: float "clip time roi 2", mean motion (u right, v down) of each region, in ``unit``.
        present: bool "clip time roi", False where the region was not visible.
        au_edges: float "clip time au au" >= 0, or None.
        edges: float "clip time roi roi" >= 0, or None.
        attention: float "clip time head roi roi", rows summing to 1, or None; ``attention_name``: e.g. ``graph.1``.
        time_weights: float "clip time", summing to 1 over the frames, or None.
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
    #: (clip, graph, quantity, class) -> float "time target source": attributions and effects computed so far.
    measured: dict = field(default_factory=dict, repr=False, compare=False)

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

    def values(
        self, clip: int, graph: str, quantity: str = "weight", head: int = -1, target: int = 0
    ) -> np.ndarray | None:
        """Edge values of one clip, rounded as in the browser: float64 "time target source", or None.

        AU edges have no attention, they show their weight. Attribution and effect of the class ``target`` are available
        once they are in ``measured``; with one frame they hold for all.
        """
        if quantity in SIGNED:
            return self.measured.get((clip, graph, quantity, target))
        found = self.au_edges if graph == "au" else self.edges if quantity == "weight" else self.attention
        if found is None:
            return None
        values = unpack(pack(found[clip, : self.n_frames[clip]]))
        if values.ndim == 3:
            return values
        return values.mean(1) if head < 0 else values[:, head]

    def names(self, graph: str) -> tuple[str, ...]:
        """Names of the nodes of a graph."""
        return AU_LABELS if graph == "au" else ATLAS.names

    def candidates(self, graph: str, edge_kind: str = "all") -> np.ndarray:
        """Bool "target source": the edges that may be drawn. Nodes have no edge to themselves."""
        others = ~np.eye(len(self.names(graph)), dtype=bool)
        if graph == "au" or edge_kind == "all":
            return others
        pairs = {frozenset(reason[:2]) for reason in ATLAS.edge_reasons}
        anatomical = np.array([[{a, b} in pairs for b in ATLAS.names] for a in ATLAS.names])
        return others & (anatomical if edge_kind == "anatomical" else ~anatomical)

    def shown_edges(
        self,
        clip: int,
        frame: int,
        *,
        view: str = "both",
        quantity: str = "weight",
        head: int = -1,
        threshold: float = DEFAULT_THRESHOLD,
        edge_kind: str = "all",
        target: int = 0,
    ) -> list[Edge]:
        """The edges that are drawn in one frame, strongest first within each graph.

        Those whose size is not below the ``threshold`` quantile of their graph's sizes over **all** frames of the clip.
        """
        out: list[Edge] = []
        for graph in ("region", "au"):
            names = self.names(graph)
            values = self.values(clip, graph, quantity, head, target) if view in (graph, "both") else None
            if values is None:
                continue
            allowed = self.candidates(graph, edge_kind)
            cutoff = compute_cutoff(np.abs(values[:, allowed]), threshold)
            now = values[min(frame, len(values) - 1)]
            at = np.argwhere(allowed & (np.abs(now) >= cutoff) & (now != 0))
            order = np.argsort([-abs(now[t, s]) for t, s in at], kind="stable")
            out += [Edge(graph, names[t], names[s], float(f"{now[t, s]:.4g}")) for t, s in at[order]]
        return out

    @cached_property
    def maxima(self) -> dict[str, float]:
        """The largest values over all clips, off the diagonal: the ends of the scales."""
        return {
            "au": _largest(self.au_edges),
            "weight": _largest(self.edges),
            "attention": _largest(self.attention),
            "flow": float(f"{np.linalg.norm(self.flow, axis=-1).max():.3g}"),
        }

    def header(self) -> dict:
        """What the browser needs once for all clips: names, positions, anatomy, meanings."""
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
            "au_face": shorten(place_on_face()),
            "au_circle": shorten(_place_on_circle()),
            "incidence": shorten(ATLAS.incidence),
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
        """What the browser needs of one clip."""
        n = int(self.n_frames[clip])

        def packed(array: np.ndarray | None) -> dict | None:
            return None if array is None else pack(array[clip, :n])

        return {
            "index": clip,
            "probabilities": [round(float(p), 6) for p in self.probabilities[clip]],
            "maxima": self.maxima,
            "times_ms": [round(float(t), 1) for t in self.times_ms[clip, :n]],
            "present": ["".join("01"[int(p)] for p in row) for row in self.present[clip, :n]],
            "activation": packed(self.activation),
            "flow": packed(self.flow),
            "au": packed(self.au_edges),
            "weight": packed(self.edges),
            "attention": packed(self.attention),
            "time_weights": None if self.time_weights is None else shorten(self.time_weights[clip, :n]),
        }


def compute_scene(output: StagOutput, batch: Batch, unit: str = "% IOD") -> Scene:
    """Gather what the explorer shows from the clips, ``batch.x`` in ``unit``, and the network's output for them.

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

    def trimmed(values):  # padding frames count neither for scales nor as NaN
        if values is None:
            return None
        array = _numpy(values).astype(float)
        return np.where(used.reshape(used.shape + (1,) * (array.ndim - 2)), array, 0.0)

    return Scene(
        clip_ids=tuple(batch.clip_ids),
        subjects=tuple(batch.subjects),
        classes=tuple(batch.classes),
        label=_numpy(batch.label).astype(int),
        probabilities=softmax(_numpy(output.logits), axis=-1).astype(float),
        n_frames=n_frames.astype(int),
        times_ms=trimmed(batch.times_ms),
        activation=trimmed(expit(_numpy(output.au_logits).astype(float))),
        flow=trimmed(_numpy(batch.x)[:, :, :, :2].mean((-1, -2))),
        present=present,
        au_edges=trimmed(output.au_edges),
        edges=trimmed(output.edges),
        attention=trimmed(attention),
        time_weights=trimmed(output.time_weights),
        attention_name=layers[-1] if layers else "",
        unit=unit,
    )


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


def _largest(array: np.ndarray | None) -> float:
    """Largest value off the diagonal, 0 where there is none."""
    if array is None:
        return 0.0
    return float(f"{np.where(np.eye(array.shape[-1], dtype=bool), 0, array).max():.3g}")


def place_on_face() -> np.ndarray:
    """AU nodes at their muscle, float "au 2" (IOD): mean of the AU's regions, then pushed apart.

    An AU of both sides would lie on the midline, all of them in one column; so each is drawn on the emptier side only.
    """
    centres = ATLAS.centres(load_mean_face()[0])
    weights = ATLAS.incidence.astype(float) ** 2
    side = np.array([{"_R": -1, "_L": 1}.get(name[-2:], 0) for name in ATLAS.names])
    anchors = np.zeros((len(weights), 2))
    placed: list[np.ndarray] = []
    # AUs that act on the midline first: they have no choice
    for k in sorted(range(len(weights)), key=lambda k: (ACTION_UNITS[AU_NUMBERS[k]].sided, k)):
        if ACTION_UNITS[AU_NUMBERS[k]].sided:
            options = [np.average(centres, 0, weights[k] * (side * s >= 0) + 1e-9) for s in (-1, 1)]
        else:
            lone = np.average(centres, 0, weights[k] * (side == 0) + 1e-9)
            options = [np.array([centres[:, 0].mean(), lone[1]])]
        anchors[k] = max(options, key=lambda p: min((np.linalg.norm(p - q) for q in placed), default=0.0))
        placed.append(anchors[k])
    points = anchors + 1e-3 * np.stack([np.cos(np.arange(len(anchors))), np.sin(np.arange(len(anchors)))], 1)
    gap = 0.31
    for step in range(600):
        points += (anchors - points) * (0.02 if step < 400 else 0.0)
        apart = points[:, None] - points[None]
        distance = np.linalg.norm(apart, axis=-1) + np.eye(len(points))
        push = np.clip(gap - distance, 0, None) * (1 - np.eye(len(points)))
        points += 0.25 * (apart / distance[..., None] * push[..., None]).sum(1)
        points[:, 1] = points[:, 1].clip(None, centres[:, 1].max() + 0.16)
    return points


def _place_on_circle() -> np.ndarray:
    """AU nodes on a circle (radius 1, y down): the upper face on the upper arc, the lower face on the lower one."""
    upper = np.isin(AU_NUMBERS, UPPER_FACE)
    half, gap = np.pi * upper.mean(), 0.16
    angles = np.zeros(len(AU_NUMBERS))
    angles[upper] = np.linspace(-np.pi / 2 - half + gap, -np.pi / 2 + half - gap, upper.sum())
    angles[~upper] = np.linspace(-np.pi / 2 + half + gap, 3 * np.pi / 2 - half - gap, (~upper).sum())
    return np.stack([np.cos(angles), np.sin(angles)], 1)
