"""What if: cut or hold an edge, an action unit, a region or a frame, and ask the network again.

A change is a short list that JSON can hold, so that the explorer, a saved page and a line of code say the same:

``["region", "cheek_L", "chin"]``        the edge from chin (source) to cheek_L (target) is cut in all frames
``["region", "cheek_L", "chin", 0.5]``   its weight is held at 0.5
``["au", "AU06", "AU12"]``               the edge between two action units is cut; with a number: held
``["au", "AU12"]``                       the action unit is silenced (evidence 0.001); with a number: held there, 0..1
``["region", "cheek_L"]``                the region is taken out; with a number: its motion is multiplied by it (0 = still)
``["frame", 3]``                         the frame is taken out; with a number: its motion is multiplied by it

Cutting is the only one of these numbers that shows a cause; attention and weight are read off, not tried.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError

if TYPE_CHECKING:
    import torch

    from stagkit.network.model import Stag

KINDS = ("region", "au", "frame")

#: Evidence of a silenced action unit (stagkit's choice; logit -6.9).
SILENT = 0.001

#: Passes that are made at once at most: more are no faster on a CPU.
_MOST = 64


class Change(NamedTuple):
    """One change; ``source`` is ``""`` where a node is meant, ``level`` None where it is cut."""

    kind: str
    target: str | int
    source: str = ""
    level: float | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names that its kind knows, in the order of the axis."""
        return ATLAS.names if self.kind == "region" else AU_LABELS

    def __str__(self) -> str:
        what = f"{self.source} → {self.target}" if self.source else str(self.target)
        if self.kind == "frame":
            what = f"frame {self.target}"
        return f"{what} cut" if self.level is None else f"{what} held at {self.level:g}"


def read_change(entry: Sequence) -> Change:
    """Check a change that was written as a list.

    Args:
        entry: as at the head of this file.

    Returns:
        The same as a ``Change``.

    Raises:
        ExplainError: not of that form, a name that does not exist, or a level out of range.
    """
    if isinstance(entry, Change):
        entry = [part for part in entry if part not in ("", None)]
    entry = list(entry) if isinstance(entry, (list, tuple)) else [entry]
    if not 2 <= len(entry) <= 4:
        raise ExplainError(
            f"{entry!r} is no change: expected e.g. ['region', target, source], ['au', 'AU12'] or ['frame', 3]."
        )
    kind, target, *rest = entry
    if kind not in KINDS:
        raise ExplainError(f"`kind` is {kind!r}, expected one of {', '.join(map(repr, KINDS))}.")
    level = rest.pop() if rest and not isinstance(rest[-1], str) else None
    source = rest.pop() if rest else ""
    if rest or (kind == "frame" and source):
        raise ExplainError(f"{entry!r} is no change: behind the kind come one or two names and at most one number.")
    if kind == "frame":
        if not isinstance(target, int) or isinstance(target, bool) or target < 0:
            raise ExplainError(f"`frame` is {target!r}, expected the number of a frame, from 0.")
    else:
        known = ATLAS.names if kind == "region" else AU_LABELS
        for name, part in (("target", target), ("source", source)):
            if part not in known and (part or name == "target"):
                raise ExplainError(f"`{name}` is {part!r}, expected one of {', '.join(map(repr, known))}.")
    change = Change(kind, target, source, None if level is None else _read_level(level))
    if change.level is not None and kind == "au" and not source and not 0 <= change.level <= 1:
        raise ExplainError(f"`level` is {change.level:g}, expected evidence from 0 to 1 for an action unit.")
    return change


def _read_level(level: object) -> float:
    try:
        number = float(level)
    except (TypeError, ValueError):
        number = -1.0
    if not np.isfinite(number) or number < 0 or isinstance(level, bool):
        raise ExplainError(f"`level` is {level!r}, expected a number of 0 or more.")
    return number


#: Action units are held in every reading of them.
_READINGS = {"au.logits": "au.logits*"}


class _Plan(NamedTuple):
    """Changes as arrays, the first axis is "case"; NaN where nothing is held."""

    seen: torch.Tensor  # bool "case time roi"
    motion: torch.Tensor  # "case time roi"
    hold: dict[str, torch.Tensor]  # probe -> "case ..."


def _plan(cases: Sequence[Sequence[Change]], n_frames: int) -> _Plan:
    import torch

    n, n_rois, n_aus = len(cases), len(ATLAS.names), len(AU_LABELS)
    seen, motion = torch.ones(n, n_frames, n_rois, dtype=torch.bool), torch.ones(n, n_frames, n_rois)
    nan = float("nan")
    hold = {
        "graph.edges": torch.full((n, n_rois, n_rois), nan),
        "au.edges": torch.full((n, n_aus, n_aus), nan),
        "au.logits": torch.full((n, n_aus), nan),
    }
    for i, case in enumerate(cases):
        for kind, target, source, level in case:
            if kind == "frame":
                if target >= n_frames:
                    raise ExplainError(f"`frame` is {target}, this clip has the frames 0..{n_frames - 1}.")
                at = (i, target)
            elif source:
                names = ATLAS.names if kind == "region" else AU_LABELS
                probe = "graph.edges" if kind == "region" else "au.edges"
                hold[probe][i, names.index(target), names.index(source)] = level or 0.0
                continue
            elif kind == "au":
                evidence = torch.tensor(SILENT if level is None else level).clamp(SILENT, 1 - SILENT)
                hold["au.logits"][i, AU_LABELS.index(target)] = evidence.logit()
                continue
            else:
                at = (i, slice(None), ATLAS.index(target))
            if level is None:
                seen[at] = False
            else:
                motion[at] = level
    return _Plan(seen, motion, {probe: value for probe, value in hold.items() if not value.isnan().all()})


def compute_logits(model: Stag, one: Batch, cases: Sequence[Sequence]) -> np.ndarray:
    """What the network answers to one clip under each of several sets of changes.

    Args:
        model: in evaluation mode.
        one: a batch of one clip.
        cases: each a list of changes (as at the head of this file); an empty list is the clip as it is.

    Returns:
        Logits, float64 "case cls".

    Raises:
        ExplainError: a change that does not exist, one that this network has no part for, or one that leaves nothing
            to see.
    """
    import torch

    from stagkit.explain.methods import frozen
    from stagkit.network.hooks import intervene, probe_names

    if len(one.clip_ids) != 1:
        raise ExplainError(f"a batch of one clip is expected, this one has {len(one.clip_ids)}: see train.take.")
    plan = _plan([[read_change(change) for change in case] for case in cases], one.mask.shape[1])
    missing = set(plan.hold) - set(probe_names(model))
    if missing:
        what = "edges between action units" if missing == {"au.edges"} else "edges between regions"
        raise ExplainError(f"this network has no {what}, so none can be cut.")
    answers = []
    with torch.no_grad(), frozen(model):
        for start in range(0, len(cases), _MOST):
            part = slice(start, start + _MOST)
            seen, motion = plan.seen[part].to(one.mask.device), plan.motion[part].to(one.x)
            mask = one.mask & seen
            if not mask.flatten(1).any(1).all():
                raise ExplainError("every frame or region would be taken out: leave at least one.")
            x = one.x * motion[..., None, None, None]
            changes = {_READINGS.get(probe, probe): _holder(held[part]) for probe, held in plan.hold.items()}
            with intervene(model, changes):
                answers.append(model.logits(x, mask, one.times_ms.expand(len(mask), -1)).double().cpu().numpy())
    return np.concatenate(answers)


def _holder(held: torch.Tensor):
    """Held values "case ..." over the values "case time ..." that flow through a probe."""
    import torch

    held = held[:, None]
    return lambda value: torch.where(held.isnan().to(value.device), value, held.nan_to_num().to(value))


def compute_probabilities(model: Stag, one: Batch, changes: Sequence = ()) -> np.ndarray:
    """Class probabilities of one clip under some changes, float64 "cls", summing to 1."""
    return softmax(compute_logits(model, one, [list(changes)])[0])


def softmax(logits: np.ndarray) -> np.ndarray:
    """Over the last axis, in float64."""
    shifted = np.exp(np.asarray(logits, float) - np.max(logits, -1, keepdims=True))
    return shifted / shifted.sum(-1, keepdims=True)


@dataclass(frozen=True)
class Ablations:
    """The answer to every single cut of a clip.

    Args:
        base: logits of the clip as it is, float "cls".
        edges: logits when one region edge is cut, float "target source cls".
        au_edges: the same of the edges between action units; None where there are none, as for ``edges``.
        regions, aus, frames: logits without one of them, float "roi cls", "au cls", "time cls".
    """

    base: np.ndarray
    edges: np.ndarray | None
    au_edges: np.ndarray | None
    regions: np.ndarray
    aus: np.ndarray
    frames: np.ndarray

    def effects(self, of: str, target: int) -> np.ndarray | None:
        """Fall of the logit of class ``target`` when cut, positive = speaks for it; ``of`` is a field's name."""
        after = getattr(self, of)
        return None if after is None else self.base[target] - after[..., target]


def compute_ablations(model: Stag, one: Batch, n_frames: int | None = None) -> Ablations:
    """Try every single cut of a clip: every edge there is, every action unit, region and frame.

    Args:
        model: in evaluation mode.
        one: a batch of one clip.
        n_frames: frames that are not padding; all where None.

    Returns:
        ``Ablations``. Where an edge is not there, or where nothing would be left to see, the logits are those of the
        clip as it is.
    """
    import torch

    n_frames = n_frames or one.mask.shape[1]
    with torch.no_grad():
        output = model(one.x, one.mask, one.times_ms)
    there = {"region": output.edges, "au": output.au_edges}
    cases: list[list] = [[]]
    places: list[tuple] = [("base",)]
    for kind, names in (("region", ATLAS.names), ("au", AU_LABELS)):
        if there[kind] is not None:
            for target, source in (there[kind][0] > 0).any(0).nonzero().tolist():
                cases.append([Change(kind, names[target], names[source])])
                places.append((kind, target, source))
        cases += [[Change(kind, name)] for name in names]
        places += [(kind, k) for k in range(len(names))]
    if one.mask[0].any(1).sum() > 1:
        cases += [[Change("frame", t)] for t in range(n_frames)]
        places += [("frame", t) for t in range(n_frames)]
    answers = compute_logits(model, one, cases)
    base, n_rois, n_aus = answers[0], len(ATLAS.names), len(AU_LABELS)

    def start(*shape: int) -> np.ndarray:
        return np.broadcast_to(base, (*shape, len(base))).copy()

    tables = {
        ("region", 3): None if there["region"] is None else start(n_rois, n_rois),
        ("au", 3): None if there["au"] is None else start(n_aus, n_aus),
        ("region", 2): start(n_rois),
        ("au", 2): start(n_aus),
        ("frame", 2): start(n_frames),
    }
    for place, answer in zip(places[1:], answers[1:], strict=True):
        tables[place[0], len(place)][place[1:]] = answer
    return Ablations(base, *tables.values())


def compute_au_edge_attribution(model: Stag, one: Batch, target: int, n_steps: int = 16) -> tuple[np.ndarray, float]:
    """Integrated gradients of a logit over the edges between action units, from no such edges to those of the clip.

    Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), Gauss-Legendre points on the straight path.

    Args:
        model: in evaluation mode.
        one: a batch of one clip.
        target: class.
        n_steps: points on the path.

    Returns:
        Values, float "time target source", logits, which sum to the logit with these edges minus the logit without;
        and by how much they miss it (delta, logits).

    Raises:
        ExplainError: a network without edges between action units.
    """
    import torch

    from stagkit.explain.methods import frozen
    from stagkit.network.hooks import intervene

    with torch.no_grad():
        output = model(one.x, one.mask, one.times_ms)
    if output.au_edges is None:
        raise ExplainError("this network has no edges between action units (connectivity='au' has).")
    points, weights = np.polynomial.legendre.leggauss(n_steps)
    total = torch.zeros_like(output.au_edges)
    with frozen(model):
        for point, weight in zip((points + 1) / 2, weights / 2, strict=True):
            edges = (float(point) * output.au_edges).detach().requires_grad_()
            with torch.enable_grad(), intervene(model, {"au.edges": lambda _, edges=edges: edges}):
                logit = model.logits(one.x, one.mask, one.times_ms)[0, target]
                total += float(weight) * torch.autograd.grad(logit, edges)[0]
        with torch.no_grad(), intervene(model, {"au.edges": 0.0}):
            without = model.logits(one.x, one.mask, one.times_ms)[0, target]
    values = (total * output.au_edges)[0].detach().cpu().numpy().astype(float)
    return values, float(values.sum() - float(output.logits[0, target] - without))
