"""Interventions: remove or weigh an edge, hold an action unit, hide a region or a frame, and compute the prediction again.

An intervention is a short list that JSON can hold; explorers, saved pages and code use the same:

``["region", "cheek_L", "lip_corner_L"]``          remove the edge from lip_corner_L (source) to cheek_L (target), in all
                                                   frames, from the subgraph of every action unit
``["region", "cheek_L", "lip_corner_L", "AU12"]``  from the subgraph of AU12 alone
``["au", "AU06", "AU12"]``                         remove the edge between two action units, named in either order
``["au", "AU12"]``                                 hold the AU's activation at zero (0.001) in all frames
``["region", "cheek_L"]``                          hide the region
``["frame", 3]``                                   hide the frame

A last number is, for an edge, the weight that its term is multiplied by (0 removed, 0.5 half, 1 as it is); for an action
unit the activation that it is held at, 0..1; for a region or a frame what its motion is multiplied by (0 = no motion).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from numbers import Real
from typing import NamedTuple

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.faithfulness import compute_similarity
from stagkit.explain.methods import choose_target, frozen
from stagkit.network.hooks import hook_names, intervene, record
from stagkit.network.model import Stag

#: Names of the nodes of each kind; frames are numbered.
NODES = {"region": ATLAS.names, "au": AU_LABELS, "frame": ()}

#: Activation of an action unit that is held at zero (stagkit's choice; logit -6.9).
ZERO_EVIDENCE = 0.001

#: Cases computed in one forward pass: more are no faster on a CPU.
_CHUNK = 64


class Intervention(NamedTuple):
    """One intervention; ``source`` is "" for a node, ``level`` None for a removal, ``au`` "" for every subgraph."""

    kind: str
    target: str | int
    source: str = ""
    level: float | None = None
    au: str = ""

    def __str__(self) -> str:
        what = f"frame {self.target}" if self.kind == "frame" else str(self.target)
        if self.source:
            what = f"{self.source} – {self.target}" if self.kind == "au" else f"{self.source} → {self.target}"
        what += f" of {self.au}" if self.au else ""
        held = "held at" if self.kind == "au" and not self.source else "times"
        return f"{what} removed" if self.level is None else f"{what} {held} {self.level:g}"

    def to_list(self) -> list:
        """As a list that JSON can hold."""
        level = [] if self.level is None else [self.level]
        return [self.kind, self.target, *(name for name in (self.source, self.au) if name), *level]


def read_intervention(entry: Sequence) -> Intervention:
    """Check an intervention that was written as a list (see the module's docstring)."""
    if isinstance(entry, Intervention):
        entry = entry.to_list()
    entry = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    if not 2 <= len(entry) <= 5:
        raise ExplainError(
            f"{entry!r} is no intervention: expected e.g. ['region', target, source], ['au', 'AU12'] or ['frame', 3]."
        )
    kind, target, *rest = entry
    if kind not in NODES:
        raise ExplainError(f"`kind` is {kind!r}, expected one of {', '.join(map(repr, NODES))}.")
    level = rest.pop() if rest and not isinstance(rest[-1], str) else None
    source, au, *more = (*rest, "", "") if len(rest) < 2 else rest
    if any(more) or (kind == "frame" and source) or (au and (kind == "au" or not source)):
        names = {"region": "one or two regions, an action unit", "au": "one or two names"}.get(kind, "its number")
        raise ExplainError(f"{entry!r} is no intervention: after '{kind}', expected {names} and one number.")
    if kind == "frame" and (not isinstance(target, int) or isinstance(target, bool) or target < 0):
        raise ExplainError(f"`frame` is {target!r}, expected the number of a frame, from 0.")
    for name, part in (("target", target), ("source", source)) if kind != "frame" else ():
        if part not in NODES[kind] and (part or name == "target"):
            raise ExplainError(f"`{name}` is {part!r}, expected one of {', '.join(map(repr, NODES[kind]))}.")
    if au and au not in AU_LABELS:
        raise ExplainError(f"`au` is {au!r}, expected one of {', '.join(map(repr, AU_LABELS))}.")
    if kind == "au" and source == target:
        raise ExplainError(f"{entry!r} is no intervention: an edge joins two different action units.")
    if level is not None:
        activation = kind == "au" and not source
        number = level if isinstance(level, Real) and not isinstance(level, bool) else -1.0
        if not 0 <= number <= (1 if activation else sys.float_info.max):
            expected = "an activation from 0 to 1 for an action unit" if activation else "a number of 0 or more"
            raise ExplainError(f"`level` is {level!r}, expected {expected}.")
        level = float(number)
    return Intervention(kind, target, source, level, au)


class _Plan(NamedTuple):
    """Interventions as arrays: which cells are visible, factors of motion and of edges, held AU logits (NaN: not held).

    Edges and AU logits that no case changes are left out.
    """

    visible: Tensor  # bool "case time roi"
    motion: Tensor  # "case time roi"
    edges: dict[str, Tensor]  # hook point -> "case ..."
    held: dict[str, Tensor]

    def hooks(self, part: slice | Tensor = slice(None), names: Sequence[str] = ()) -> dict[str, Callable]:
        """What ``intervene`` takes, for some cases; of some hook points alone if ``names`` are given."""
        rows = {"graph.edges": (slice(None), None)}  # the same in all frames
        hooks = {name: _multiply(v[part][rows.get(name, ...)]) for name, v in self.edges.items()}
        hooks |= {name: _hold(v[part][:, None]) for name, v in self.held.items()}
        return {name: hook for name, hook in hooks.items() if not names or name in names}

    def select_input(self) -> Tensor:
        """Which cases change the input of the network: bool "case"."""
        return (~self.visible).flatten(1).any(1) | (self.motion != 1).flatten(1).any(1)


def _multiply(factor: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: value * factor.to(value)


def _hold(held: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: torch.where(held.isnan().to(value.device), value, held.nan_to_num().to(value))


def _find_edges(index: np.ndarray, one: Intervention) -> np.ndarray:
    """Which region edges an intervention is about: bool "edge"."""
    ends = (index[:, 1:] == (ATLAS.index(one.target), ATLAS.index(one.source))).all(1)
    found = ends & (index[:, 0] == AU_LABELS.index(one.au)) if one.au else ends
    if not found.any():
        among = f"of {one.au}" if one.au else "of any action unit"
        raise ExplainError(f"this network has no edge from {one.source} to {one.target} in the subgraph {among}.")
    return found


def _plan(cases: Sequence[Sequence], n_frames: int, index: np.ndarray) -> _Plan:
    n, n_rois, n_aus = len(cases), len(ATLAS.names), len(AU_LABELS)
    visible, motion = torch.ones(n, n_frames, n_rois, dtype=torch.bool), torch.ones(n, n_frames, n_rois)
    edges = {"graph.edges": torch.ones(n, len(index)), "au.edges": torch.ones(n, n_aus, n_aus)}
    held, given = torch.full((n, n_aus), torch.nan), [(i, read_intervention(e)) for i, c in enumerate(cases) for e in c]
    for i, one in given:
        kind, target, source, level, _ = one
        if kind == "region" and source:
            edges["graph.edges"][i, torch.from_numpy(_find_edges(index, one))] = level or 0.0
        elif source:
            k, m = AU_LABELS.index(target), AU_LABELS.index(source)
            edges["au.edges"][i, [k, m], [m, k]] = level or 0.0
        elif kind == "au":
            activation = torch.tensor(level or 0.0).clamp(ZERO_EVIDENCE, 1 - ZERO_EVIDENCE)
            held[i, AU_LABELS.index(target)] = activation.logit()
        else:
            if kind == "frame" and target >= n_frames:
                raise ExplainError(f"`frame` is {target}, this clip has the frames 0..{n_frames - 1}.")
            at = (i, target) if kind == "frame" else (i, slice(None), ATLAS.index(target))
            if level is None:
                visible[at] = False
            else:
                motion[at] = level
    changed = {name: value for name, value in edges.items() if (value != 1).any()}
    return _Plan(visible, motion, changed, {} if held.isnan().all() else {"au.logits": held})


def make_hooks(interventions: Sequence, model: Stag | None = None) -> dict[str, Callable[[Tensor], Tensor]]:
    """Interventions on edges and action units as ``network.hooks.intervene`` takes them, for any batch.

    Args:
        model: the network, needed for region edges that are not the standard ones (e.g. ``graph='none'``).

    Raises:
        ExplainError: an unknown intervention, or one on a region or frame, which are part of the input.

    Example:
        >>> sorted(make_hooks([["region", "cheek_L", "lip_corner_L"], ["au", "AU12"]]))
        ['au.logits', 'graph.edges']
    """
    given = [read_intervention(entry) for entry in interventions]
    for one in given:
        if one.kind != "au" and not one.source:
            raise ExplainError(f"{one}: a {one.kind} is part of the input; use compute_logits, or change the batch.")
    return _plan([given], 1, get_region_edges(model)).hooks()


def compute_logits(model: Stag, one: Batch, cases: Sequence[Sequence]) -> np.ndarray:
    """Logits of one clip under each of several lists of interventions (an empty one: unchanged): float64 "case cls".

    With ``head='graph'``, cases that change edges or action units alone are computed from the clip's terms, without running
    the rest of the network again; the result is the same.

    Raises:
        ExplainError: an unknown intervention, one on a part that this network lacks, or one that hides everything.
    """
    if len(one.clip_ids) != 1:
        raise ExplainError(f"a batch of one clip is expected, this one has {len(one.clip_ids)}: see Batch.select.")
    plan = _plan(cases, one.mask.shape[1], get_region_edges(model))
    if {*plan.edges, *plan.held} - set(hook_names(model)):
        raise ExplainError("this network has no edges between action units (head='graph' has), so none can be changed.")
    logits = np.zeros((len(cases), model.n_classes))
    with torch.no_grad(), frozen(model):
        changed = plan.select_input() | (model.config.head != "graph")
        terms = None if changed.all() else model(one.x, one.mask, one.times_ms).terms.au_terms
        for compute, which in ((_compute_whole, changed), (_compute_from_terms, ~changed)):
            for part in which.nonzero()[:, 0].split(_CHUNK) if which.any() else ():
                logits[part.numpy()] = compute(model, one, plan, part, terms).double().cpu().numpy()
    return logits


def _compute_whole(model: Stag, one: Batch, plan: _Plan, part: Tensor, _) -> Tensor:
    mask = one.mask & plan.visible[part].to(one.mask.device)
    if not mask.flatten(1).any(1).all():
        raise ExplainError("every frame or region would be hidden: leave at least one.")
    x = one.x * plan.motion[part].to(one.x)[..., None, None, None]
    with intervene(model, plan.hooks(part)):
        return model.logits(x, mask, one.times_ms.expand(len(mask), -1))


def _compute_from_terms(model: Stag, one: Batch, plan: _Plan, part: Tensor, terms: Tensor) -> Tensor:
    """Terms of the region edges in AU logits, "1 time edge" -> logits; they are all that the head reads."""
    graph, factor = model.region_graph, plan.edges.get("graph.edges")
    terms = terms.expand(len(part), -1, -1) if factor is None else terms * factor[part][:, None].to(terms)
    balance = terms @ (graph.side[:, None] * graph.of_au)
    with intervene(model, plan.hooks(part, ("au.edges", "au.logits"))):
        aus = graph.logits(graph.bias + terms @ graph.of_au)
        return model.head(aus, balance, one.mask.any(2).to(terms).expand(len(part), -1))[0]


def compute_probabilities(model: Stag, one: Batch, interventions: Sequence = ()) -> np.ndarray:
    """Class probabilities of one clip under some interventions, float64 "cls", summing to 1."""
    return softmax(compute_logits(model, one, [list(interventions)])[0])


def compute_edge_ablation(model: Stag, batch: Batch, target=None) -> np.ndarray:
    """Decrease of the target's logit when one region edge of one AU is removed in all frames: float "clip edge".

    Positive if the edge supports the class. ``get_region_edges`` names the edges; ``target``: as in ``attribute``.
    """
    with torch.no_grad():
        chosen = choose_target(target, model.logits(batch.x, batch.mask, batch.times_ms))
    names = ATLAS.names
    index = get_region_edges(model)
    cases = [[], *([Intervention("region", names[m], names[n], None, AU_LABELS[k])] for k, m, n in index)]
    effects = []
    for clip, k in enumerate(chosen.tolist()):
        base, *after = compute_logits(model, batch.select(torch.tensor([clip])), cases)[:, k]
        effects.append(base - np.array(after))
    return np.stack(effects)


def compute_edge_attention(model: Stag, batch: Batch) -> np.ndarray:
    """Attention of each region edge in its AU's subgraph, mean over frames: float "clip edge".

    It sums to 1 over the edges of an AU that end at one visible region.
    """
    with torch.no_grad(), record(model, "graph.attn") as seen:
        model(batch.x, batch.mask, batch.times_ms)
    frames = batch.mask.any(2).cpu()[:, :, None]
    return ((seen["graph.attn"] * frames).sum(1) / frames.sum(1)).numpy().astype(float)


def compute_agreement(values: np.ndarray, effects: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Rank correlation of the sizes of what edges are shown with and of what their removal does: float "clip", -1..1.

    Args:
        values, effects: contributions (or attention) and ``compute_edge_ablation``, float "clip edge".
        least: edges whose value is smaller in size are left out; NaN if fewer than two are left.
    """
    out = []
    for a, e in zip(np.abs(values).reshape(len(values), -1), np.abs(effects).reshape(len(effects), -1), strict=True):
        kept = a >= least
        out.append(compute_similarity(a[kept][None], e[kept][None])[0] if kept.sum() > 1 else np.nan)
    return np.array(out)
