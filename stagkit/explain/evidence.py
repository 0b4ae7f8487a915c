"""An attribution together with its controls: the only form in which stagkit shows an explanation without a stamp.

A control is a number a clip and a rule that says what it has to be; the rules are stagkit's choice and stand in
``RULES``. A map that fails one is still drawn, with the failure beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from stagkit.core.types import MAX_DELTA, Attribution, Batch
from stagkit.explain.aggregate import ExplainError, to_map
from stagkit.explain.attribution import attribute, select_clips
from stagkit.explain.faithfulness import compute_infidelity, compute_orders, compute_sensitivity
from stagkit.explain.ground_truth import (
    GroundTruth,
    fit_aus,
    score_aus,
    score_edges,
    score_mass,
    score_peak,
    score_pointing,
)
from stagkit.explain.interventions import compute_agreement, compute_edge_ablation, compute_edge_attention
from stagkit.explain.sanity_checks import compute_dependence, compute_similarity

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Largest rank correlation of a map with that of a randomised network which still counts as depending on the weights.
MAX_SIMILARITY = 0.5
#: Largest change of an explanation, as a share of its size, when the clip is shaken by 5 % of its motion.
MAX_CHANGE = 0.5


class CheckResult(NamedTuple):
    """One control of one clip: its name, whether it holds, and what was measured, in words."""

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
            ``attention_agreement``; where the truth is known ``pointing``, ``mass``, ``peak_error_ms``, ``au_auroc`` (of the
            map) and ``edge_auroc`` (of the network's AU graph).
    """

    attribution: Attribution
    scores: Mapping[str, np.ndarray]

    def __post_init__(self):
        for name, values in self.scores.items():
            if np.shape(values) != (len(self.attribution),):
                raise ExplainError(f"control {name!r} has {np.shape(values)}, expected one value a clip.")

    def __len__(self) -> int:
        return len(self.attribution)

    def select(self, index) -> Evidence:
        """Some clips."""
        index = [int(i) for i in index]
        scores = {name: np.asarray(values)[index] for name, values in self.scores.items()}
        return replace(self, attribution=select_clips(self.attribution, index), scores=scores)

    def checks(self, clip: int = 0) -> tuple[CheckResult, ...]:
        """Every control of a clip that was measured, judged."""
        at = {name: float(values[clip]) for name, values in self.scores.items()}
        out = []
        for name, needs, judge in RULES:
            if all(n in at and not np.isnan(at[n]) for n in needs):
                out.append(CheckResult(name, *judge(*(at[n] for n in needs))))
        return tuple(out)

    def passed(self, clip: int = 0) -> bool:
        """True where every control that was measured holds; False where none was."""
        checks = self.checks(clip)
        return bool(checks) and all(v.passed for v in checks)

    def describe(self, clip: int = 0) -> str:
        """One sentence: which controls hold and which fail."""
        checks = self.checks(clip)
        failed = [f"{v.name} ({v.text})" for v in checks if not v.passed]
        if not checks:
            return "no control was run."
        if not failed:
            return f"all {len(checks)} controls hold: {', '.join(v.name for v in checks)}."
        return f"{len(failed)} of {len(checks)} controls fail: {'; '.join(failed)}."


def _judge_order(deletion: float, insertion: float, other_deletion: float, other_insertion: float) -> tuple[bool, str]:
    mine, other = insertion - deletion, other_insertion - other_deletion
    return mine > other, f"insertion minus deletion {mine:+.2f} against {other:+.2f} logits"


_AREAS = ("deletion", "insertion")

#: (name, scores it reads, judge: values -> (holds, words)).
RULES = (
    ("complete", ("completeness",), lambda miss: (miss <= MAX_DELTA, f"sum misses {miss:.1%}")),
    ("better than random order", (*_AREAS, *(f"{a}_random" for a in _AREAS)), _judge_order),
    ("better than flow magnitude", (*_AREAS, *(f"{a}_flow" for a in _AREAS)), _judge_order),
    ("stable", ("sensitivity",), lambda change: (change <= MAX_CHANGE, f"changes by {change:.0%} when shaken")),
    (
        "depends on the weights",
        ("randomised",),
        lambda same: (abs(same) <= MAX_SIMILARITY, f"rank correlation {same:+.2f} with a random network's"),
    ),
    (
        "depends on the labels",
        ("permuted",),
        lambda same: (abs(same) <= MAX_SIMILARITY, f"rank correlation {same:+.2f} with one trained on shuffled labels"),
    ),
    (
        "pointing game",
        ("pointing",),
        lambda hit: (hit == 1, "largest region " + ("moved" if hit else "did not")),
    ),
)


def make_evidence(
    model: Stag,
    batch: Batch,
    method: str | Attribution = "integrated gradients",
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
        method: a name for ``explain.attribute``, or an attribution of these clips made before.
        target: as there.
        ground_truth: of these clips, if known (``compute_ground_truth``, ``compute_annotated_truth``).
        permuted: a network trained on shuffled labels (``sanity.train_on_permuted_labels``), where there is one.
        seed: of random orders, perturbations and random weights.
        **asked: more for ``attribute``.

    Raises:
        ExplainError: a method that gives no map over regions and frames (edges, AU evidence).
    """
    if isinstance(method, Attribution):
        attribution = method
        asked = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"}
    else:
        attribution = attribute(model, batch, method, target, **asked)
    name, chosen, maps = attribution.method, attribution.target, to_map(attribution)
    scores = {"completeness": attribution.relative_delta}
    for order, areas in compute_orders(model, batch, maps, chosen, seed=seed).items():
        end = {"map": "", "flow magnitude": "_flow", "random": "_random"}[order]
        scores |= {f"{kind}{end}": area for kind, area in zip(_AREAS, areas, strict=True)}
    fewer = {**asked, "n_steps": 8, "search": False}  # enough for a comparison of maps: they miss under 3 %

    def explain(network: Stag, clips: Batch) -> np.ndarray:
        return to_map(attribute(network, clips, name, chosen, **fewer))

    scores["randomised"] = compute_dependence(model, batch, explain, seed)
    if permuted is not None:
        scores["permuted"] = compute_similarity(maps, explain(permuted, batch))
    if attribution.axes == "clip time roi chan py px":
        scores["infidelity"] = compute_infidelity(model, batch, attribution, seed=seed)
        rough = replace(attribution, settings={n: v for n, v in fewer.items() if n in attribution.settings})
        scores["sensitivity"] = compute_sensitivity(model, batch, rough, n_samples=3, seed=seed)
    if model.connectivity is not None:
        effects = compute_edge_ablation(model, batch, chosen)
        scores["attention_agreement"] = compute_agreement(compute_edge_attention(model, batch), effects)
    if ground_truth is not None:
        scores["pointing"], scores["mass"] = score_pointing(maps, ground_truth), score_mass(maps, ground_truth)
        scores["peak_error_ms"] = score_peak(maps, ground_truth, attribution.times_ms, attribution.mask)
        scores["au_auroc"] = score_aus(fit_aus(maps.sum(1, keepdims=True))[:, 0], ground_truth)
        with torch.no_grad():
            graph = model(batch.x, batch.mask, batch.times_ms).au_edges
        if graph is not None:
            scores["edge_auroc"] = score_edges(graph.mean(1).cpu().numpy(), ground_truth)
    return Evidence(attribution, scores)
