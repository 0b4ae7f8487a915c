"""What the AU-graph explorer and its static twin show: plain arrays with names, small enough to travel to a browser."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas, compute_face_frame, load_mean_face
from stagkit.core.types import Batch, ShapeError, StagkitError, StagOutput, check_axes
from stagkit.explain.class_means import EMFACS, load_cooccurrence
from stagkit.explorers.browser import pack, shorten, unpack
from stagkit.explorers.muscles import describe_moves, make_muscles

if TYPE_CHECKING:
    import networkx as nx

#: Share of a clip's edges that is hidden at first: about 20 edges are left at the peak, fewer in quiet frames.
DEFAULT_THRESHOLD = 0.975

VIEWS = ("au", "region", "both")
#: What an edge may be drawn by; the last two have a sign and are the same in all frames where only one was computed.
QUANTITIES = ("weight", "attention", "attribution", "effect")
SIGNED = ("attribution", "effect")
EDGE_KINDS = ("all", "anatomical", "learned")

#: What an edge value means, by (graph, quantity): symbol and definition, the same words in Python and in the browser.
MEANING = {
    ("region", "weight"): (
        "A",
        "edge weight A(target, source): how open the path is from the source region to the target region "
        "(anatomy + what the active AUs add + a learned rest); 0 = closed, no unit",
    ),
    ("region", "attention"): (
        "attention",
        "attention(target, source): share of its attention that the target region spends on the source region; "
        "the shares of one target sum to 1",
    ),
    ("au", "weight"): (
        "C",
        "AU edge C(target, source): how strongly the two AUs are active together in this frame "
        "(product of their evidence x learned affinity); 0 = not at all, no unit",
    ),
    ("region", "attribution"): (
        "IG",
        "attribution(target, source): what this edge adds to the logit of the class explained, by integrated gradients "
        "from the anatomical graph to this one; + speaks for the class, − against it",
    ),
    ("au", "attribution"): (
        "IG",
        "attribution(target, source): what this AU edge adds to the logit of the class explained, by integrated "
        "gradients from no AU edges to these; + speaks for the class, − against it",
    ),
    ("region", "effect"): (
        "Δ",
        "effect of cutting: by how much the logit of the class explained falls when this edge alone is cut in all "
        "frames; + speaks for the class, − against it",
    ),
    ("au", "effect"): (
        "Δ",
        "effect of cutting: by how much the logit of the class explained falls when this AU edge alone is cut in all "
        "frames; + speaks for the class, − against it",
    ),
}

#: FACS' division: action units of the upper face; the others belong to the lower face.
_UPPER = (1, 2, 4, 5, 6, 7)


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
        clip_ids, subjects, classes: names; the axes ``clip`` and ``cls``.
        label: int "clip", index into ``classes``.
        probabilities: float "clip cls", 0..1.
        n_frames: int "clip", frames that are not padding, >= 1.
        times_ms: float "clip time", ms from the onset frame.
        evidence: float "clip time au", evidence for each AU, 0..1.
        flow: float "clip time roi 2", mean motion (u right, v down) of each region, in ``unit``.
        present: bool "clip time roi", False where the region was not seen.
        au_edges: float "clip time au au" >= 0, or None.
        edges: float "clip time roi roi" >= 0, or None.
        attention: float "clip time head roi roi", rows summing to 1, or None.
        time_weights: float "clip time", summing to 1 over the frames, or None.
        face: float "68 2", IOD, face frame; ``centres``: float "roi 2", the same frame.
        roi_names, incidence, reasons: from the atlas; incidence float "au roi" 0..1, reasons (region, region, why).
        attention_name: which map ``attention`` is, e.g. ``graph.1``.
        unit: unit of ``flow``.
    """

    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    classes: tuple[str, ...]
    label: np.ndarray
    probabilities: np.ndarray
    n_frames: np.ndarray
    times_ms: np.ndarray
    evidence: np.ndarray
    flow: np.ndarray
    present: np.ndarray
    au_edges: np.ndarray | None
    edges: np.ndarray | None
    attention: np.ndarray | None
    time_weights: np.ndarray | None
    face: np.ndarray
    centres: np.ndarray
    roi_names: tuple[str, ...]
    incidence: np.ndarray
    reasons: tuple[tuple[str, str, str], ...]
    attention_name: str = ""
    unit: str = "% IOD"
    au_labels: tuple[str, ...] = field(default=AU_LABELS, repr=False)
    #: (clip, graph, quantity, class) -> float "time target source": what was measured on top, see ``values``.
    measured: dict = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self):
        sizes = {
            "clip": len(self.clip_ids),
            "cls": len(self.classes),
            "roi": len(self.roi_names),
            "au": len(self.au_labels),
        }
        check_axes(
            sizes,
            evidence=(self.evidence, "clip time au"),
            label=(self.label, "clip"),
            probabilities=(self.probabilities, "clip cls"),
            n_frames=(self.n_frames, "clip"),
            times_ms=(self.times_ms, "clip time"),
            flow=(self.flow, "clip time roi 2"),
            present=(self.present, "clip time roi"),
            au_edges=(self.au_edges, "clip time au au"),
            edges=(self.edges, "clip time roi roi"),
            attention=(self.attention, "clip time head roi roi"),
            time_weights=(self.time_weights, "clip time"),
            face=(self.face, "68 2"),
            centres=(self.centres, "roi 2"),
            incidence=(self.incidence, "au roi"),
        )
        for name in ("evidence", "flow", "au_edges", "edges", "attention", "probabilities", "times_ms"):
            array = getattr(self, name)
            if array is not None and not np.isfinite(array).all():
                raise StagkitError(
                    f"`{name}` holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite: the network "
                    "or its input is broken (a learning rate that is too high? NaN flow?); nothing can be drawn."
                )
        for name in ("au_edges", "edges", "attention"):
            array = getattr(self, name)
            if array is not None and array.min() < 0:
                raise StagkitError(f"`{name}` reaches down to {array.min():.3g}, expected weights >= 0.")

    @property
    def n_heads(self) -> int:
        """Heads of the attention map, 0 where there is none."""
        return 0 if self.attention is None else self.attention.shape[2]

    def clip_index(self, clip: int | str) -> int:
        """Position of a clip given by number or id.

        Raises:
            StagkitError: no such clip.
        """
        if isinstance(clip, str):
            if clip not in self.clip_ids:
                raise StagkitError(
                    f"there is no clip {clip!r} here; the {len(self.clip_ids)} are {_some(self.clip_ids)}."
                )
            return self.clip_ids.index(clip)
        if not 0 <= clip < len(self.clip_ids):
            raise StagkitError(f"`clip` is {clip}, expected 0..{len(self.clip_ids) - 1} (or a clip id).")
        return int(clip)

    def peak_frame(self, clip: int) -> int:
        """The frame with the most AU evidence in sum."""
        return int(self.evidence[clip, : self.n_frames[clip]].sum(-1).argmax())

    def values(
        self, clip: int, graph: str, quantity: str = "weight", head: int = -1, target: int = 0
    ) -> np.ndarray | None:
        """Edge values of one clip, rounded as in the browser: float64 "time target source", or None.

        Args:
            clip: index.
            graph: ``"au"`` or ``"region"``.
            quantity: one of ``QUANTITIES``; attention is between regions only, AU edges then show their weight.
                Attribution and effect are there once they were measured (``measured``); with one frame they hold for all.
            head: attention head, -1 = mean over heads.
            target: index of the class explained (attribution and effect).
        """
        n = self.n_frames[clip]
        if quantity in SIGNED:
            return self.measured.get((clip, graph, quantity, target))
        if graph == "au":
            return None if self.au_edges is None else unpack(pack(self.au_edges[clip, :n]))
        if quantity == "weight":
            return None if self.edges is None else unpack(pack(self.edges[clip, :n]))
        if self.attention is None:
            return None
        heads = unpack(pack(self.attention[clip, :n]))
        return heads.mean(1) if head < 0 else heads[:, head]

    def candidates(self, graph: str, edge_kind: str = "all") -> np.ndarray:
        """Bool "target source": the edges that may be drawn. Nodes have no edge to themselves."""
        if graph == "au":
            return ~np.eye(len(self.au_labels), dtype=bool)
        anatomical = np.zeros((len(self.roi_names),) * 2, bool)
        for a, b, _ in self.reasons:
            i, j = self.roi_names.index(a), self.roi_names.index(b)
            anatomical[i, j] = anatomical[j, i] = True
        own = ~np.eye(len(self.roi_names), dtype=bool)
        return {"all": own, "anatomical": own & anatomical, "learned": own & ~anatomical}[edge_kind]

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

        An edge is drawn where its size is not below the ``threshold`` quantile of its graph's sizes over **all**
        frames of the clip: few edges in quiet frames, many at the peak, and one number serves both graphs.
        """
        out: list[Edge] = []
        for graph, names in (("region", self.roi_names), ("au", self.au_labels)):
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

    def graph(self, clip: int, frame: int, **shown) -> nx.DiGraph:
        """The edges that are drawn as a networkx graph; an edge points from source to target.

        Args:
            clip, frame: indices.
            **shown: as for ``shown_edges``.
        """
        import networkx as nx

        view, quantity = shown.get("view", "both"), shown.get("quantity", "weight")
        graph = nx.DiGraph(clip=self.clip_ids[clip], time_ms=float(self.times_ms[clip, frame]), quantity=quantity)
        if view in ("region", "both"):
            for name, (x, y), (u, v) in zip(self.roi_names, self.centres, self.flow[clip, frame], strict=True):
                graph.add_node(name, kind="region", x=float(x), y=float(y), flow_u=float(u), flow_v=float(v))
        if view in ("au", "both"):
            for k, (label, (x, y)) in enumerate(zip(self.au_labels, self.au_positions["face"], strict=True)):
                unit = ACTION_UNITS[AU_NUMBERS[k]]
                graph.add_node(
                    label,
                    kind="au",
                    x=float(x),
                    y=float(y),
                    evidence=float(self.evidence[clip, frame, k]),
                    title=unit.name,
                    muscles="; ".join(unit.muscles),
                )
        for edge in self.shown_edges(clip, frame, **shown):
            graph.add_edge(edge.source, edge.target, weight=edge.value, kind=edge.graph)
        return graph

    @property
    def au_positions(self) -> dict[str, np.ndarray]:
        """Where AU nodes lie, float "au 2": ``face`` (IOD, at their muscles) and ``circle`` (radius 1)."""
        return {"face": _place_on_face(self.incidence, self.centres, self.roi_names), "circle": _place_on_circle()}

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
        """What the browser needs once, whatever the clip: names, positions, anatomy, meanings, one line a clip."""
        positions = self.au_positions
        return {
            "classes": list(self.classes),
            "rois": list(self.roi_names),
            "aus": [
                {
                    "label": unit.label,
                    "number": unit.number,
                    "name": unit.name,
                    "muscles": list(unit.muscles),
                    "sided": unit.sided,
                    "group": "upper face" if unit.number in _UPPER else "lower face",
                    "moves": describe_moves(unit),
                    "emotions": [name for name, units in EMFACS.items() if unit.number in units],
                }
                for unit in ACTION_UNITS.values()
            ],
            "face": shorten(self.face),
            "centres": shorten(self.centres),
            "au_face": shorten(positions["face"]),
            "au_circle": shorten(positions["circle"]),
            "incidence": shorten(self.incidence),
            "reasons": [list(r) for r in self.reasons],
            "muscles": {name: [shorten(f) for f in fibres] for name, fibres in make_muscles(self.face).items()},
            "together": shorten(load_cooccurrence()),
            "clips": [
                {
                    "id": self.clip_ids[i],
                    "subject": self.subjects[i],
                    "label": int(self.label[i]),
                    "probabilities": shorten(self.probabilities[i]),
                }
                for i in range(len(self.clip_ids))
            ],
            "maxima": self.maxima,
            "meaning": {f"{g}.{q}": list(text) for (g, q), text in MEANING.items()},
            "attention_name": self.attention_name,
            "n_heads": self.n_heads,
            "unit": self.unit,
        }

    def payload(self, clip: int) -> dict:
        """What the browser needs of one clip; arrays as 16-bit (or 8-bit) integers with a scale, base64 (little endian)."""
        n = int(self.n_frames[clip])
        return {
            "index": clip,
            "probabilities": [round(float(p), 6) for p in self.probabilities[clip]],
            "maxima": self.maxima,
            "times_ms": [round(float(t), 1) for t in self.times_ms[clip, :n]],
            "present": ["".join("01"[int(p)] for p in row) for row in self.present[clip, :n]],
            "evidence": pack(self.evidence[clip, :n]),
            "flow": pack(self.flow[clip, :n]),
            "au": None if self.au_edges is None else pack(self.au_edges[clip, :n]),
            "weight": None if self.edges is None else pack(self.edges[clip, :n]),
            "attention": None if self.attention is None else pack(self.attention[clip, :n]),
            "time_weights": None if self.time_weights is None else shorten(self.time_weights[clip, :n]),
        }

    def to_json(self) -> dict:
        """The whole scene as plain JSON values: ``{"header": ..., "clips": [payload, ...]}``."""
        return {"header": self.header(), "clips": [self.payload(i) for i in range(len(self.clip_ids))]}


def compute_scene(
    output: StagOutput,
    batch: Batch,
    *,
    atlas: RoiAtlas = ATLAS,
    probabilities: object = None,
    face: np.ndarray | None = None,
    unit: str = "% IOD",
) -> Scene:
    """Gather what the explorer shows from what the network was given and what it said.

    Args:
        output: of the network for ``batch``. The last axes of its maps are (target, source).
        batch: the clips; ``x`` float "batch time roi chan py px".
        atlas: the regions of the axis ``roi``.
        probabilities: float "batch cls", 0..1, rows summing to 1; the softmax of the logits where None.
        face: landmarks "68 2" of the face to draw on, in any unit (turned upright and scaled); the mean face if None.
        unit: unit of ``batch.x``.

    Returns:
        A ``Scene`` of all clips of the batch.

    Raises:
        ShapeError: output and batch do not belong together (sizes differ).
        StagkitError: values that cannot be drawn (NaN, negative weights, probabilities that do not sum to 1).
    """
    sizes = {"batch": len(batch.clip_ids), "roi": len(atlas.rois), "au": len(AU_LABELS), "cls": len(batch.classes)}
    attention_names = sorted((n for n in output.attention if n.startswith("graph.")), key=lambda n: int(n[6:]))
    attention = output.attention[attention_names[-1]] if attention_names else None
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
    logits = _numpy(output.logits)
    if probabilities is None:
        shifted = np.exp(logits - logits.max(-1, keepdims=True))
        chances = shifted / shifted.sum(-1, keepdims=True)
    else:
        chances = _numpy(probabilities)
        check_axes(sizes, probabilities=(chances, "batch cls"))
        if chances.min() < 0 or not np.allclose(chances.sum(-1), 1, atol=1e-3):
            raise StagkitError("`probabilities` are not 0..1 with rows that sum to 1: logits instead of probabilities?")
    present = _numpy(batch.mask).astype(bool)
    seen = present.any(-1)
    n_frames = np.where(seen.any(1), seen.shape[1] - seen[:, ::-1].argmax(1), 1)
    if face is None:
        landmarks = load_mean_face()[0]
    else:
        check_axes({}, face=(face, "68 2"))
        frame = compute_face_frame(np.asarray(face, float))
        landmarks = (np.asarray(face, float) - frame[:, 2]) @ np.linalg.inv(frame[:, :2]).T
    used = np.arange(seen.shape[1])[None] < n_frames[:, None]  # "clip time"

    def trimmed(values):  # padding frames never count for scales, nor as NaN
        if values is None:
            return None
        array = _numpy(values).astype(float)
        return np.where(used.reshape(used.shape + (1,) * (array.ndim - 2)), array, 0.0)

    return Scene(
        clip_ids=tuple(batch.clip_ids),
        subjects=tuple(batch.subjects),
        classes=tuple(batch.classes),
        label=_numpy(batch.label).astype(int),
        probabilities=chances.astype(float),
        n_frames=n_frames.astype(int),
        times_ms=trimmed(batch.times_ms),
        evidence=trimmed(1 / (1 + np.exp(-np.clip(_numpy(output.au_logits).astype(float), -60, 60)))),
        flow=trimmed(_numpy(batch.x)[:, :, :, :2].mean((-1, -2))),
        present=present,
        au_edges=trimmed(output.au_edges),
        edges=trimmed(output.edges),
        attention=trimmed(attention),
        time_weights=trimmed(output.time_weights),
        face=landmarks,
        centres=atlas.centres(landmarks),
        roi_names=atlas.names,
        incidence=atlas.incidence,
        reasons=atlas.edge_reasons,
        attention_name=attention_names[-1] if attention_names else "",
        unit=unit,
    )


def check_frame(scene: Scene, clip: int, frame: int) -> int:
    """Raise unless ``frame`` is one of the clip's frames."""
    n = int(scene.n_frames[clip])
    if not 0 <= frame < n:
        raise StagkitError(f"`frame` is {frame}, clip {scene.clip_ids[clip]!r} has the frames 0..{n - 1}.")
    return int(frame)


def compute_cutoff(values: np.ndarray, threshold: float) -> float:
    """The value below which an edge is hidden: the ``threshold`` quantile (0..1) of all ``values``, without blending."""
    if not 0 <= threshold <= 1:
        raise StagkitError(f"`threshold` is {threshold}, expected the share of edges to hide: 0 (show all) .. 1.")
    ordered = np.sort(values, axis=None)
    return float(ordered[min(int(threshold * ordered.size), ordered.size - 1)]) if ordered.size else 0.0


def _numpy(values: object) -> np.ndarray:
    """A torch tensor or anything else as an array."""
    if hasattr(values, "detach"):
        values = values.detach().cpu()
        values = values.float() if values.is_floating_point() else values
    return np.asarray(values)


def _largest(array: np.ndarray | None) -> float:
    """Largest value off the diagonal, 0 where there is none."""
    if array is None:
        return 0.0
    return float(f"{np.where(np.eye(array.shape[-1], dtype=bool), 0, array).max():.3g}")


def _some(names: tuple[str, ...], most: int = 6) -> str:
    return ", ".join(names[:most]) + (", ..." if len(names) > most else "")


def _place_on_face(incidence: np.ndarray, centres: np.ndarray, roi_names: tuple[str, ...]) -> np.ndarray:
    """AU nodes at their muscle: mean of the AU's regions on **one** side, the emptier one, then pushed apart.

    An AU of both sides would lie on the midline, all of them in one column; so each is drawn on one side only.
    """
    weights = incidence.astype(float) ** 2
    side = np.array([{"_R": -1, "_L": 1}.get(name[-2:], 0) for name in roi_names])
    middle = centres[:, 0].mean()
    anchors = np.zeros((len(weights), 2))
    placed: list[np.ndarray] = []
    # AUs that act on the midline first: they have no choice
    for k in sorted(range(len(weights)), key=lambda k: (ACTION_UNITS[AU_NUMBERS[k]].sided, k)):
        if ACTION_UNITS[AU_NUMBERS[k]].sided:
            options = [np.average(centres, 0, weights[k] * (side * s >= 0) + 1e-9) for s in (-1, 1)]
        else:
            lone = weights[k] * (side == 0)
            options = [np.average(centres, 0, lone + 1e-9) * [0, 1] + [middle, 0]]
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
    upper = [k for k, number in enumerate(AU_NUMBERS) if number in _UPPER]
    lower = [k for k, number in enumerate(AU_NUMBERS) if number not in _UPPER]
    share = len(upper) / len(AU_NUMBERS)
    points = np.zeros((len(AU_NUMBERS), 2))
    gap = 0.16
    half = np.pi * share
    for members, start, stop in (
        (upper, -np.pi / 2 - half + gap, -np.pi / 2 + half - gap),
        (lower, -np.pi / 2 + half + gap, 3 * np.pi / 2 - half - gap),
    ):
        angles = np.linspace(start, stop, len(members))
        points[members] = np.stack([np.cos(angles), np.sin(angles)], 1)
    return points


__all__ = [
    "DEFAULT_THRESHOLD",
    "EDGE_KINDS",
    "MEANING",
    "QUANTITIES",
    "SIGNED",
    "VIEWS",
    "Edge",
    "Scene",
    "ShapeError",
    "check_frame",
    "compute_cutoff",
    "compute_scene",
]
