"""Evidence: an attribution together with its controls, the only form in which stagkit shows an explanation unmarked.

A control is a number per clip and a rule that it has to satisfy (``RULES``, stagkit's choice); failures are shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch

from stagkit.core.types import Batch
from stagkit.explain import faithfulness
from stagkit.explain.aggregate import MAX_DELTA, Attribution, ExplainError, by_au, by_edge, to_map
from stagkit.explain.attribution import attribute, select_clips
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.ground_truth import (
    GroundTruth,
    fit_aus,
    score_aus,
    score_edges,
    score_mass,
    score_peak,
    score_pointing,
    score_region_edges,
)
from stagkit.explain.interventions import compute_agreement, compute_edge_ablation, compute_edge_attention
from stagkit.network.model import Stag

#: Largest rank correlation with the map of a randomised network that still counts as depending on the weights.
MAX_SIMILARITY = 0.5
#: Largest change of an explanation, as a share of its size, when the clip is perturbed by 5 % of its motion.
MAX_CHANGE = 0.5


class CheckResult(NamedTuple):
    """One control of one clip: its name, whether it holds, and what was measured, as text."""

    name: str
    passed: bool
    text: str


@dataclass(frozen=True)
class Evidence:
    """An attribution and what its controls measured.

    Args:
        attribution: what was explained.
        scores: name -> float "clip", NaN where it does not apply: ``completeness``; areas ``deletion`` and ``insertion``
            of the map, of ``_flow`` and of ``_random`` orders, logits; ``infidelity``; ``sensitivity``; ``randomised``
            (similarity to the map of a network with random weights) and ``permuted`` (with shuffled labels);
            ``edge_agreement`` (of what region edges are shown with and what their removal does); if the truth is known
            ``pointing``, ``mass``, ``peak_error_ms``, ``au_auroc`` (of the attribution), ``region_edge_auroc`` (of what
            region edges are shown with) and ``edge_auroc`` (of the network's AU graph).
    """

    attribution: Attribution
    scores: Mapping[str, np.ndarray]

    def __post_init__(self):
        for name, values in self.scores.items():
            if np.shape(values) != (len(self.attribution),):
                raise ExplainError(f"control {name!r} has {np.shape(values)}, expected one value per clip.")

    def __len__(self) -> int:
        return len(self.attribution)

    def select(self, index: Sequence[int]) -> Evidence:
        """Some clips."""
        scores = {name: np.asarray(values)[list(index)] for name, values in self.scores.items()}
        return replace(self, attribution=select_clips(self.attribution, index), scores=scores)

    def checks(self, clip: int = 0) -> tuple[CheckResult, ...]:
        """The result of every control of a clip that was measured."""
        at = {name: float(values[clip]) for name, values in self.scores.items()}
        return tuple(
            CheckResult(name, *rule(*(at[n] for n in needs)))
            for name, needs, rule in RULES
            if all(n in at and not np.isnan(at[n]) for n in needs)
        )

    def count_checks(self) -> dict[str, list[bool]]:
        """Name of each control -> whether it holds, for the clips in which it was measured."""
        held: dict[str, list[bool]] = {}
        for clip in range(len(self)):
            for check in self.checks(clip):
                held.setdefault(check.name, []).append(check.passed)
        return held

    def passed(self, clip: int = 0) -> bool:
        """True if every control that was measured holds; False if none was."""
        checks = self.checks(clip)
        return bool(checks) and all(check.passed for check in checks)

    def describe(self, clip: int = 0) -> str:
        """One sentence: which controls hold and which fail."""
        checks = self.checks(clip)
        failed = [f"{check.name} ({check.text})" for check in checks if not check.passed]
        if not checks:
            return "no control was run."
        if not failed:
            return f"all {len(checks)} controls hold: {', '.join(check.name for check in checks)}."
        return f"{len(failed)} of {len(checks)} controls fail: {'; '.join(failed)}."


def _better_order(deletion: float, insertion: float, other_deletion: float, other_insertion: float) -> tuple[bool, str]:
    mine, other = insertion - deletion, other_insertion - other_deletion
    return mine > other, f"insertion minus deletion {mine:+.2f} against {other:+.2f} logits"


def _dissimilar(other: str):
    return lambda rho: (abs(rho) <= MAX_SIMILARITY, f"rank correlation {rho:+.2f} with {other}")


_AREAS = ("deletion", "insertion")

#: (name, scores it reads, rule: values -> (holds, text)).
RULES = (
    ("complete", ("completeness",), lambda miss: (miss <= MAX_DELTA, f"sum misses {miss:.1%}")),
    ("better than random order", (*_AREAS, *(f"{a}_random" for a in _AREAS)), _better_order),
    ("better than flow magnitude", (*_AREAS, *(f"{a}_flow" for a in _AREAS)), _better_order),
    ("stable", ("sensitivity",), lambda change: (change <= MAX_CHANGE, f"changes by {change:.0%} when perturbed")),
    ("depends on the weights", ("randomised",), _dissimilar("a random network's")),
    ("depends on the labels", ("permuted",), _dissimilar("one trained on shuffled labels")),
    ("pointing game", ("pointing",), lambda hit: (hit == 1, "largest region " + ("moved" if hit else "did not move"))),
)


def make_evidence(
    model: Stag,
    batch: Batch,
    method: str | Attribution | None = None,
    target=None,
    ground_truth: GroundTruth | None = None,
    permuted: Stag | None = None,
    seed: int = 0,
    **asked,
) -> Evidence:
    """Explain clips and run every control that the network and the method allow.

    Args:
        model: in evaluation mode.
        batch: the clips.
        method, target, **asked: for ``attribute``; or ``method`` is an attribution of these clips made before.
        ground_truth: of these clips, if known (``compute_ground_truth``, ``compute_annotated_truth``).
        permuted: a network trained on shuffled labels (``evaluation.fold.shuffle_labels``), if available.
        seed: of random orders, perturbations and random weights.

    Raises:
        ExplainError: a method that gives no map over regions and frames (edges).
    """
    if isinstance(method, Attribution):
        attribution = method
        asked = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"}
    else:
        attribution = attribute(model, batch, method, target, **asked)
    name, chosen, maps = attribution.method, attribution.target, to_map(attribution)
    scores = {"completeness": attribution.relative_delta}
    for order, areas in faithfulness.compute_orders(model, batch, maps, chosen, seed=seed).items():
        end = {"map": "", "flow magnitude": "_flow", "random": "_random"}[order]
        scores |= {f"{kind}{end}": area for kind, area in zip(_AREAS, areas, strict=True)}
    fewer = {**asked, "n_steps": 8, "search": False}  # enough for a comparison of maps: they miss under 3 %

    def explain(network: Stag, clips: Batch) -> np.ndarray:
        return to_map(attribute(network, clips, name, chosen, **fewer))

    scores["randomised"] = faithfulness.compute_dependence(model, batch, explain, seed)
    if permuted is not None:
        scores["permuted"] = faithfulness.compute_similarity(maps, explain(permuted, batch))
    if attribution.axes == "clip time roi chan py px":
        scores["infidelity"] = faithfulness.compute_infidelity(model, batch, attribution, seed=seed)
    if attribution.axes in ("clip time roi chan py px", "clip time roi au"):
        rough = replace(attribution, settings={n: v for n, v in fewer.items() if n in attribution.settings})
        scores["sensitivity"] = faithfulness.compute_sensitivity(model, batch, rough, n_samples=3, seed=seed)
    if model.config.head == "graph":
        edges = by_edge(attribute(model, batch, "exact edge terms", chosen))
    else:
        edges = compute_edge_attention(model, batch)
    scores["edge_agreement"] = compute_agreement(edges, compute_edge_ablation(model, batch, chosen))
    if ground_truth is not None:
        scores["pointing"], scores["mass"] = score_pointing(maps, ground_truth), score_mass(maps, ground_truth)
        scores["peak_error_ms"] = score_peak(maps, ground_truth, attribution.times_ms, attribution.mask)
        known = "au" in attribution.axes.split()
        aus = by_au(attribution)[:, :-1] if known else fit_aus(maps.sum(1, keepdims=True))[:, 0]
        scores["au_auroc"] = score_aus(aus, ground_truth)
        scores["region_edge_auroc"] = score_region_edges(edges, get_region_edges(model), ground_truth)
        with torch.no_grad():
            graph = model(batch.x, batch.mask, batch.times_ms).au_edges
        if graph is not None:
            frames = batch.mask.any(2)[:, :, None, None].to(graph)
            graph = (graph * frames).sum(1) / frames.sum(1).clamp_min(1)
            scores["edge_auroc"] = score_edges(graph.cpu().numpy(), ground_truth)
    return Evidence(attribution, scores)
