"""The sums that a prediction of ``head='graph'`` is made of, as plain arrays: any combination of cuts, without the network.

The same arithmetic as ``network.action_units``, and as ``graph_sums.js`` in a page: terms of the region edges -> AU logits
-> AU activations -> terms of AUs and AU edges -> logits. A test holds the three together.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit, logit

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Lowest activation of an AU that is held, and 1 minus the highest (``explain.interventions.ZERO_EVIDENCE``).
LEAST_ACTIVATION = 0.001


@dataclass(frozen=True)
class Readout:
    """Parameters of a network that turn terms of region edges into logits.

    Args:
        index: int "edge 3", (AU, target, source) of each region edge. ``side``: float "edge", 1 = left, -1 = right, 0.
        au_bias: float "au", logit of each AU without its edges. ``bias``: float "cls".
        nodes: float "cls au", weight of each AU. ``pairs``: float "cls relation au au", of each AU edge, above the diagonal,
            with the affinity in it. ``affinity``: float "au au", > 0: factor of the co-activation.
    """

    index: np.ndarray
    side: np.ndarray
    au_bias: np.ndarray
    bias: np.ndarray
    nodes: np.ndarray
    pairs: np.ndarray
    affinity: np.ndarray


def read_network(model: Stag) -> Readout | None:
    """The readout of a network; None with ``head='fused'``, where logits are no sum of edges."""
    if model.config.head != "graph":
        return None
    head, graph = model.head, model.region_graph
    factor = head.affinity.exp()
    pairs = head.SCALE * head.pairs * factor * head.upper
    tensors = (graph.index, graph.side, graph.bias, head.bias, head.SCALE * head.nodes, pairs, factor)
    index, *rest = (tensor.detach().cpu().numpy() for tensor in tensors)
    return Readout(index, *(array.astype(float) for array in rest))


@dataclass(frozen=True)
class Cuts:
    """Interventions as weights: float "edge", "au au" (symmetric), and AU -> activation at which it is held."""

    edges: np.ndarray
    pairs: np.ndarray
    held: Mapping[int, float]


def split_change(change: Sequence) -> tuple[list, float | None]:
    """Words and number of an intervention such as ``["au", "AU06", "AU12", 0.5]``; None: removed."""
    words = [part for part in change if part is not None and part != ""]
    number = words.pop() if len(words) > 2 and not isinstance(words[-1], str) else None
    return words, number


def is_edge(change: Sequence) -> bool:
    """Whether an intervention is on an edge."""
    return len(split_change(change)[0]) > 2


def is_cut(change: Sequence) -> bool:
    """Whether an intervention is on an edge or an action unit: the rest of the network stays as it is."""
    return change[0] == "au" or is_edge(change)


def read_cuts(index: np.ndarray, changes: Sequence[Sequence]) -> Cuts:
    """The interventions on edges and AUs (``explain.interventions``) as weights; others are left out."""
    edges, pairs, held = np.ones(len(index)), np.ones((len(AU_LABELS), len(AU_LABELS))), {}
    for change in filter(is_cut, changes):
        (kind, *names), number = split_change(change)
        weight = 0.0 if number is None else float(number)
        if kind == "au" and len(names) == 1:
            held[AU_LABELS.index(names[0])] = weight
        elif kind == "au":
            k, m = map(AU_LABELS.index, names)
            pairs[k, m] = pairs[m, k] = weight
        else:
            edges[find_edges(index, *names)] = weight
    return Cuts(edges, pairs, held)


def find_edges(index: np.ndarray, target: str, source: str, au: str = "") -> np.ndarray:
    """Bool "edge": the region edges from ``source`` to ``target``, of one AU or of all."""
    found = (index[:, 1] == ATLAS.index(target)) & (index[:, 2] == ATLAS.index(source))
    return found & (index[:, 0] == AU_LABELS.index(au)) if au else found


class Sums:
    """One clip under some cuts.

    Args:
        readout: of its network.
        terms: float "time edge", terms of the region edges in the logit of their AU. ``valid``: bool "time".
        changes: interventions; those on regions and frames are not read.
    """

    def __init__(self, readout: Readout, terms: np.ndarray, valid: np.ndarray, changes: Sequence[Sequence] = ()):
        self.readout, self.uncut, self.valid = readout, terms, np.asarray(valid, float)[:, None]
        self.cuts = read_cuts(readout.index, changes)
        self.count = max(self.valid.sum(), 1.0)
        self.of_au = np.eye(len(AU_LABELS))[readout.index[:, 0]]
        self.terms = terms * self.cuts.edges
        self.active, self.sided = self._activate(self.terms)
        self.nodes, self.parts = self._read(self.active, self.sided)
        self.pairs = self.parts.sum(1)
        self.logits = self._add(self.nodes, self.pairs)

    def _activate(self, terms: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        z = self.readout.au_bias + terms @ self.of_au
        for k, level in self.cuts.held.items():
            z[:, k] = logit(np.clip(level, LEAST_ACTIVATION, 1 - LEAST_ACTIVATION))
        active = expit(z) * self.valid
        return active, active * np.tanh(terms @ (self.of_au * self.readout.side[:, None]))

    def _read(self, active: np.ndarray, sided: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Terms of the AUs, "cls au", and of the AU edges by relation, "cls relation au au"."""
        first = active[:-1].T @ active[1:]
        relations = np.stack([active.T @ active / self.count, first - first.T, sided.T @ sided / self.count])
        return self.readout.nodes * active.sum(0) / self.count, self.readout.pairs * self.cuts.pairs * relations

    def _add(self, nodes: np.ndarray, pairs: np.ndarray) -> np.ndarray:
        return self.readout.bias + nodes.sum(1) + pairs.sum((1, 2))

    @cached_property
    def region_edges(self) -> np.ndarray:
        """Terms of the region edges in the logits, float "time cls edge": as ``GraphHead.trace_edges``."""
        readout, held = self.readout, list(self.cuts.held)
        rest = expit(readout.au_bias) * self.valid
        rest[:, held] = self.active[:, held]
        middle, weights = (self.active + rest) / 2, readout.pairs * self.cuts.pairs
        both, order, same = weights[:, 0], weights[:, 1], weights[:, 2]
        both, order, same = both + both.swapaxes(1, 2), order - order.swapaxes(1, 2), same + same.swapaxes(1, 2)
        around = np.pad(middle, ((1, 1), (0, 0)))
        slope = (readout.nodes + np.einsum("ckl,tl->tck", both, middle)) / self.count
        slope += np.einsum("ckl,tl->tck", order, around[2:] - around[:-2])
        slope_side = np.einsum("ckl,tl->tck", same, self.sided / 2) / self.count
        total, balance = self.terms @ self.of_au, self.terms @ (self.of_au * readout.side[:, None])
        change, small = self.active - rest, self.active * (1 - self.active)
        small[:, held] = 0.0
        share = np.where(np.abs(total) > 1e-4, change / _away_from_zero(total), small)
        share_side = np.where(np.abs(balance) > 1e-4, self.sided / _away_from_zero(balance), self.active)
        whole, side = slope * share[:, None], slope_side * share_side[:, None]
        of = readout.index[:, 0]
        return (whole[..., of] + side[..., of] * readout.side) * self.terms[:, None]

    def effects(self, groups: Sequence[np.ndarray], target: int) -> np.ndarray:
        """Decrease of the logit of class ``target`` when a group of region edges (bool "edge") is removed: "group"."""
        out = np.zeros(len(groups))
        for i, group in enumerate(groups):
            nodes, parts = self._read(*self._activate(np.where(group, 0.0, self.terms)))
            out[i] = self.logits[target] - self._add(nodes, parts.sum(1))[target]
        return np.where(np.abs(out) < 1e-9, 0.0, out)


def _away_from_zero(values: np.ndarray) -> np.ndarray:
    return np.where(np.abs(values) > 1e-4, values, 1.0)
