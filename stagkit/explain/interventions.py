"""Interventions: remove or clamp an edge, an action unit, a region or a frame, and compute the prediction again.

An intervention is a short list that JSON can hold; explorers, saved pages and code use the same:

``["region", "cheek_L", "chin"]``        remove the edge from chin (source) to cheek_L (target) in all frames
``["region", "cheek_L", "chin", 0.5]``   clamp its weight to 0.5
``["au", "AU06", "AU12"]``               remove the edge between two action units; with a number: clamp it
``["au", "AU12"]``                       clamp the action unit to zero (evidence 0.001); with a number: to it, 0..1
``["region", "cheek_L"]``                hide the region; with a number: multiply its motion (0 = no motion)
``["frame", 3]``                         hide the frame; with a number: multiply its motion
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
from stagkit.explain.faithfulness import compute_similarity
from stagkit.explain.methods import choose_target, frozen, stack_graph_attention
from stagkit.network.hooks import hook_names, intervene
from stagkit.network.model import Stag

#: Names of the nodes of each kind; frames are numbered.
NODES = {"region": ATLAS.names, "au": AU_LABELS, "frame": ()}

#: Evidence of an action unit that is clamped to zero (stagkit's choice; logit -6.9).
ZERO_EVIDENCE = 0.001

#: Cases computed in one forward pass: more are no faster on a CPU.
_CHUNK = 64


class Intervention(NamedTuple):
    """One intervention; ``source`` is "" for a node, ``level`` None for a removal."""

    kind: str
    target: str | int
    source: str = ""
    level: float | None = None

    def __str__(self) -> str:
        what = f"{self.source} → {self.target}" if self.source else str(self.target)
        if self.kind == "frame":
            what = f"frame {self.target}"
        return f"{what} removed" if self.level is None else f"{what} clamped to {self.level:g}"


def read_intervention(entry: Sequence) -> Intervention:
    """Check an intervention that was written as a list (see the module's docstring)."""
    if isinstance(entry, Intervention):
        entry = [part for part in entry if part not in ("", None)]
    entry = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    if not 2 <= len(entry) <= 4:
        raise ExplainError(
            f"{entry!r} is no intervention: expected e.g. ['region', target, source], ['au', 'AU12'] or ['frame', 3]."
        )
    kind, target, *rest = entry
    if kind not in NODES:
        raise ExplainError(f"`kind` is {kind!r}, expected one of {', '.join(map(repr, NODES))}.")
    level = rest.pop() if rest and not isinstance(rest[-1], str) else None
    source = rest.pop() if rest else ""
    if rest or (kind == "frame" and source):
        raise ExplainError(f"{entry!r} is no intervention: after the kind, expected one or two names and one number.")
    if kind == "frame" and (not isinstance(target, int) or isinstance(target, bool) or target < 0):
        raise ExplainError(f"`frame` is {target!r}, expected the number of a frame, from 0.")
    for name, part in (("target", target), ("source", source)) if kind != "frame" else ():
        if part not in NODES[kind] and (part or name == "target"):
            raise ExplainError(f"`{name}` is {part!r}, expected one of {', '.join(map(repr, NODES[kind]))}.")
    if level is not None:
        evidence = kind == "au" and not source
        number = level if isinstance(level, Real) and not isinstance(level, bool) else -1.0
        if not 0 <= number <= (1 if evidence else sys.float_info.max):
            expected = "evidence from 0 to 1 for an action unit" if evidence else "a number of 0 or more"
            raise ExplainError(f"`level` is {level!r}, expected {expected}.")
        level = float(number)
    return Intervention(kind, target, source, level)


class _Plan(NamedTuple):
    """Interventions as arrays: which cells are visible, factors of motion, and clamped values (NaN: not clamped)."""

    visible: Tensor  # bool "case time roi"
    motion: Tensor  # "case time roi"
    clamped: dict[str, Tensor]  # probe -> "case ..."

    def hooks(self, part: slice = slice(None)) -> dict[str, Callable[[Tensor], Tensor]]:
        """What ``intervene`` takes, for some cases; every AU head is clamped alike."""
        return {("au.logits*" if n == "au.logits" else n): _clamp(v[part, None]) for n, v in self.clamped.items()}


def _clamp(clamped: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda value: torch.where(clamped.isnan().to(value.device), value, clamped.nan_to_num().to(value))


def _plan(cases: Sequence[Sequence], n_frames: int) -> _Plan:
    n, n_rois, n_aus = len(cases), len(ATLAS.names), len(AU_LABELS)
    visible, motion = torch.ones(n, n_frames, n_rois, dtype=torch.bool), torch.ones(n, n_frames, n_rois)
    shapes = {"graph.edges": (n_rois, n_rois), "au.edges": (n_aus, n_aus), "au.logits": (n_aus,)}
    clamped = {probe: torch.full((n, *shape), torch.nan) for probe, shape in shapes.items()}
    given = [(i, read_intervention(entry)) for i, case in enumerate(cases) for entry in case]
    for i, (kind, target, source, level) in given:
        if source:
            names = NODES[kind]
            probe = "graph.edges" if kind == "region" else "au.edges"
            clamped[probe][i, names.index(target), names.index(source)] = level or 0.0
        elif kind == "au":
            evidence = torch.tensor(level or 0.0).clamp(ZERO_EVIDENCE, 1 - ZERO_EVIDENCE)
            clamped["au.logits"][i, AU_LABELS.index(target)] = evidence.logit()
        else:
            if kind == "frame" and target >= n_frames:
                raise ExplainError(f"`frame` is {target}, this clip has the frames 0..{n_frames - 1}.")
            at = (i, target) if kind == "frame" else (i, slice(None), ATLAS.index(target))
            if level is None:
                visible[at] = False
            else:
                motion[at] = level
    return _Plan(visible, motion, {probe: value for probe, value in clamped.items() if not value.isnan().all()})


def make_hooks(interventions: Sequence) -> dict[str, Callable[[Tensor], Tensor]]:
    """Interventions on edges and action units as ``network.hooks.intervene`` takes them, for any batch.

    Raises:
        ExplainError: an unknown intervention, or one on a region or frame, which are part of the input.

    Example:
        >>> sorted(make_hooks([["region", "cheek_L", "chin"], ["au", "AU12"]]))
        ['au.logits*', 'graph.edges']
    """
    given = [read_intervention(entry) for entry in interventions]
    for one in given:
        if one.kind != "au" and not one.source:
            raise ExplainError(f"{one}: a {one.kind} is part of the input; use compute_logits, or change the batch.")
    return _plan([given], 1).hooks()


def compute_logits(model: Stag, one: Batch, cases: Sequence[Sequence]) -> np.ndarray:
    """Logits of one clip under each of several lists of interventions (an empty one: unchanged): float64 "case cls".

    Raises:
        ExplainError: an unknown intervention, one on a part that this network lacks, or one that hides everything.
    """
    if len(one.clip_ids) != 1:
        raise ExplainError(f"a batch of one clip is expected, this one has {len(one.clip_ids)}: see Batch.select.")
    plan = _plan(cases, one.mask.shape[1])
    missing = set(plan.clamped) - set(hook_names(model))
    if missing:
        what = "edges between action units" if missing == {"au.edges"} else "edges between regions"
        raise ExplainError(f"this network has no {what}, so none can be removed.")
    logits = []
    with torch.no_grad(), frozen(model):
        for start in range(0, len(cases), _CHUNK):
            part = slice(start, start + _CHUNK)
            mask = one.mask & plan.visible[part].to(one.mask.device)
            if not mask.flatten(1).any(1).all():
                raise ExplainError("every frame or region would be hidden: leave at least one.")
            x = one.x * plan.motion[part].to(one.x)[..., None, None, None]
            with intervene(model, plan.hooks(part)):
                logits.append(model.logits(x, mask, one.times_ms.expand(len(mask), -1)).double().cpu().numpy())
    return np.concatenate(logits)


def compute_probabilities(model: Stag, one: Batch, interventions: Sequence = ()) -> np.ndarray:
    """Class probabilities of one clip under some interventions, float64 "cls", summing to 1."""
    return softmax(compute_logits(model, one, [list(interventions)])[0])


@dataclass(frozen=True)
class Ablations:
    """Logits of a clip after every single removal.

    Args:
        base: of the clip unchanged, float "cls".
        edges, au_edges: without one edge, float "target source cls"; None if the network has no such edges.
        regions, aus, frames: without one of them, float "roi cls", "au cls", "time cls".
    """

    base: np.ndarray
    edges: np.ndarray | None
    au_edges: np.ndarray | None
    regions: np.ndarray
    aus: np.ndarray
    frames: np.ndarray

    def effects(self, of: str, target: int) -> np.ndarray | None:
        """Decrease of the logit of class ``target``: positive = supports the class; ``of`` is a field's name."""
        after = getattr(self, of)
        return None if after is None else self.base[target] - after[..., target]


def _list_edges(kind: str, edges: Tensor) -> dict[tuple[int, int], Intervention]:
    """Place of each edge of a clip ("time target source") -> its removal."""
    names = NODES[kind]
    pairs = (edges > 0).any(0).nonzero().tolist()
    return {(i, j): Intervention(kind, names[i], names[j]) for i, j in pairs}


def compute_ablations(model: Stag, one: Batch, n_frames: int | None = None) -> Ablations:
    """Remove every edge, action unit, region and frame of a clip in turn.

    Where an edge does not exist, or nothing would be left, the logits are those of the clip unchanged.

    Args:
        one: a batch of one clip; n_frames: its frames that are not padding, all if None.
    """
    n_frames = n_frames or one.mask.shape[1]
    with torch.no_grad():
        output = model(one.x, one.mask, one.times_ms)
    cases: dict[tuple, Intervention] = {}
    for kind, edges in (("region", output.edges), ("au", output.au_edges)):
        if edges is not None:
            cases |= {(kind, i, j): case for (i, j), case in _list_edges(kind, edges[0]).items()}
        cases |= {(kind, i): Intervention(kind, name) for i, name in enumerate(NODES[kind])}
    if one.mask[0].any(1).sum() > 1:
        cases |= {("frame", t): Intervention("frame", t) for t in range(n_frames)}
    base, *logits = compute_logits(model, one, [[], *([case] for case in cases.values())])
    n_rois, n_aus = len(ATLAS.names), len(AU_LABELS)

    def table(kind: str, *shape: int) -> np.ndarray:
        out = np.broadcast_to(base, (*shape, len(base))).copy()
        for (of, *place), after in zip(cases, logits, strict=True):
            if of == kind and len(place) == len(shape):
                out[tuple(place)] = after
        return out

    return Ablations(
        base,
        None if output.edges is None else table("region", n_rois, n_rois),
        None if output.au_edges is None else table("au", n_aus, n_aus),
        table("region", n_rois),
        table("au", n_aus),
        table("frame", n_frames),
    )


def compute_edge_ablation(model: Stag, batch: Batch, target=None) -> np.ndarray:
    """Decrease of the target's logit when one directed region edge is removed in all frames: float "clip target source".

    Positive if the edge supports the class, 0 where there is none. ``target``: as in ``attribute``.
    """
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    if output.edges is None:
        raise ExplainError("this network has no graph (graph='none' or branches='time'), so no edge can be removed.")
    chosen = choose_target(target, output.logits)
    effects = np.zeros((len(batch.x), *output.edges.shape[2:]))
    for clip, edges in enumerate(output.edges):
        cases, one = _list_edges("region", edges), batch.select(torch.tensor([clip]))
        base, *logits = compute_logits(model, one, [[], *([c] for c in cases.values())])[:, int(chosen[clip])]
        for place, after in zip(cases, logits, strict=True):
            effects[clip, *place] = base - after
    return effects


def compute_edge_attention(model: Stag, batch: Batch) -> np.ndarray:
    """Graph attention of each region edge, mean over layers, heads and frames: float "clip target source"."""
    with torch.no_grad():
        attention = stack_graph_attention(model(batch.x, batch.mask, batch.times_ms)).mean((0, 3))
    frames = batch.mask.any(2)[:, :, None, None]
    return ((attention * frames).sum(1) / frames.sum(1)).cpu().numpy().astype(float)


def compute_agreement(attention: np.ndarray, effects: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Rank correlation of attention and size of effect over edges between two different regions: float "clip", -1..1.

    Args:
        attention, effects: float "clip target source".
        least: edges with less attention are left out, 0..1; NaN if fewer than two are left.
    """
    between = ~np.eye(attention.shape[1], dtype=bool)
    out = []
    for a, e in zip(attention, effects, strict=True):
        kept = between & (a >= least)
        out.append(compute_similarity(a[kept][None], np.abs(e[kept])[None])[0] if kept.sum() > 1 else np.nan)
    return np.array(out)
