"""Explanation methods in one table, with what costs nothing beside them: each scored by the same truth on the same clips.

A method may give a map over regions and frames, a course of action units, a graph of them, or several of these; it is
scored on what it gives. A map that names no AUs itself is read by ``planted.fit_aus``, which sees the map alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import Attribution, Batch
from stagkit.evaluation.bootstrap import compute_mean
from stagkit.explain.aggregate import by_au, by_edge, sum_over, to_map
from stagkit.explain.attribution import attribute
from stagkit.explain.faithfulness import compute_curves, compute_infidelity, compute_sensitivity
from stagkit.explain.ground_truth import (
    GroundTruth,
    fit_aus,
    join_aus,
    project_edges,
    score_au_pointing,
    score_aus,
    score_edges,
    score_mass,
    score_peak,
    score_pointing,
)
from stagkit.explain.interventions import compute_edge_ablation, compute_edge_attention
from stagkit.explain.reference_maps import compute_reference_map
from stagkit.explain.sanity_checks import CASCADE, compute_dependence, compute_similarity, randomise

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Scores of the table: name -> is larger better? ``faithfulness`` is insertion minus deletion, logits.
SCORES = {
    "region_pointing": True,
    "moved_region_mass": True,
    "au_pointing": True,
    "au_auroc": True,
    "edge_auroc": True,
    "peak_error_ms": False,
    "completeness": False,
    "faithfulness": True,
    "infidelity": False,
    "sensitivity": False,
    "randomised": False,
    "permuted": False,
}
#: Scores of which the median over clips is taken, not the mean.
MEDIANS = ("peak_error_ms", "completeness")
#: Scores that count as wins over a rival.
_CONTESTED = (
    "region_pointing",
    "moved_region_mass",
    "au_pointing",
    "au_auroc",
    "edge_auroc",
    "peak_error_ms",
    "faithfulness",
)
#: What every method is compared with.
RIVALS = ("flow_magnitude", "attention", "random")


@dataclass(frozen=True)
class Said:
    """What a method says of clips: a map "clip time roi", AUs "clip au", a graph "clip au au"; None where it does not."""

    maps: np.ndarray | None = None
    aus: np.ndarray | None = None
    graph: np.ndarray | None = None
    attribution: Attribution | None = None
    has_time: bool = True


def _attributed(name: str, **asked) -> Callable[..., Said]:
    def say(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Said:
        done = attribute(model, batch, name, target, seed=seed, search=False, **asked)
        axes = done.axes.split()
        if "target" in axes:
            return Said(graph=project_edges(by_edge(done)), attribution=done)
        if "au" in axes:
            return Said(to_map(done), by_au(done)[:, :-1], join_aus(sum_over(done, "time", "au")), done)
        maps = to_map(done)
        return Said(maps, fit_aus(maps.sum(1, keepdims=True))[:, 0], join_aus(fit_aus(maps)), done, "time" in axes)

    return say


def _trivial(name: str) -> Callable[..., Said]:
    def say(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Said:
        maps = compute_reference_map(name, model, batch, target, seed)
        graph = join_aus(fit_aus(maps))
        if name == "attention":
            graph = project_edges(compute_edge_attention(model, batch))
        return Said(maps, fit_aus(maps.sum(1, keepdims=True))[:, 0], graph)

    return say


def _say_graph(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Said:
    import torch

    with torch.no_grad():
        edges = model(batch.x, batch.mask, batch.times_ms).au_edges
    return Said(graph=None if edges is None else edges.mean(1).cpu().numpy().astype(float))


def _say_untrained_graph(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Said:
    return _say_graph(randomise(model, CASCADE, seed), batch, target, seed)


def _say_cuts(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Said:
    return Said(graph=project_edges(compute_edge_ablation(model, batch, target)))


#: name -> function (network, clips, target, seed) -> what it says. The last four cost nothing.
SPEAKERS: dict[str, Callable[..., Said]] = {
    "integrated_gradients": _attributed("integrated gradients"),
    "gradient_x_input": _attributed("gradient x input"),
    "gradient_shap": _attributed("gradient shap"),
    "layer_integrated_gradients": _attributed("layer integrated gradients"),
    "feature_ablation": _attributed("feature ablation", groups="roi x frame"),
    "shapley_sampling": _attributed("shapley sampling", groups="roi", n_samples=10),
    "au_evidence_gradients": _attributed("layer integrated gradients", layer="au evidence"),
    "edge_integrated_gradients": _attributed("edge integrated gradients"),
    "edge_cutting": _say_cuts,
    "au_graph": _say_graph,
    "au_graph_untrained": _say_untrained_graph,
    "flow_magnitude": _trivial("flow magnitude"),
    "random": _trivial("random"),
    "attention": _trivial("attention"),
    "grad_cam": _trivial("grad-cam"),
}


def score_method(
    name: str,
    model: Stag,
    batch: Batch,
    truth: GroundTruth,
    target: np.ndarray,
    permuted: Stag | None = None,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """All scores of one method on clips that one network explains.

    Args:
        name: one of ``SPEAKERS``.
        truth: of these clips.
        target: int "clip", the class explained.
        permuted: a network trained on shuffled labels.
        seed: of everything random.

    Returns:
        name of ``SCORES`` -> float "clip", NaN where the method does not say it.
    """
    say = SPEAKERS[name]
    said = say(model, batch, target, seed)
    out = {score: np.full(len(batch.clip_ids), np.nan) for score in SCORES}
    times, mask = batch.times_ms.cpu().numpy(), batch.mask.cpu().numpy()
    if said.maps is not None:
        out["region_pointing"], out["moved_region_mass"] = (
            score_pointing(said.maps, truth),
            score_mass(said.maps, truth),
        )
        if said.has_time and times.shape[1] > 1:
            out["peak_error_ms"] = score_peak(said.maps, truth, times, mask)
        deletion, insertion = compute_curves(model, batch, said.maps, target).areas
        out["faithfulness"] = insertion - deletion
        if name != "shapley_sampling":  # its randomness alone would count as dependence

            def explain(network: Stag, clips: Batch) -> np.ndarray:
                return say(network, clips, target, seed).maps

            out["randomised"] = compute_dependence(model, batch, explain, seed)
            if permuted is not None:
                out["permuted"] = compute_similarity(said.maps, explain(permuted, batch))
    if said.aus is not None:
        out["au_auroc"] = score_aus(said.aus, truth)
        out["au_pointing"] = score_au_pointing(said.aus, truth)
    if said.graph is not None:
        out["edge_auroc"] = score_edges(said.graph, truth)
    if said.attribution is not None:
        out["completeness"] = said.attribution.relative_delta
        if said.attribution.axes == "clip time roi chan py px":
            out["infidelity"] = compute_infidelity(model, batch, said.attribution, seed=seed)
            if name in ("integrated_gradients", "gradient_x_input"):
                fewer = {n: 8 if n == "n_steps" else v for n, v in said.attribution.settings.items()}
                rough = replace(said.attribution, settings=fewer)  # 8 steps miss under 3 %
                out["sensitivity"] = compute_sensitivity(model, batch, rough, n_samples=2, seed=seed)
    return out


def summarise(scores: dict[str, dict[str, np.ndarray]], subjects: Sequence[str]) -> dict[str, dict[str, dict]]:
    """Means with intervals over subjects, and paired differences from each of ``RIVALS``.

    Args:
        scores: method -> score -> float "clip", all on the same clips.
        subjects: "clip".

    Returns:
        method -> score -> ``{mean, low, high, n, minus: {rival: [mean, low, high]}}``; what was not said is left out. The
        differences are means over clips also where the score itself is a median.
    """

    def row(values: np.ndarray, median: bool) -> dict:
        mean = compute_mean(values, subjects, median)._asdict()
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in mean.items()}

    out: dict[str, dict[str, dict]] = {}
    for method, each in scores.items():
        out[method] = {}
        for score, values in each.items():
            if np.isnan(values).all():
                continue
            entry = row(values, score in MEDIANS)
            entry["minus"] = {}
            for rival in RIVALS:
                if rival != method and rival in scores and not np.isnan(values - scores[rival][score]).all():
                    entry["minus"][rival] = row(values - scores[rival][score], False)
            out[method][score] = entry
    return out


def format_ranking(summary: dict[str, dict[str, dict]], scores: Sequence[str] = tuple(SCORES)) -> str:
    """The table as text, methods ranked by how many of the rivals' scores they beat with an interval off zero."""
    names = sorted(summary, key=lambda m: -count_wins(summary[m]))
    lines = [f"{'':<28}" + "".join(f"{s.replace('_', ' '):>24}" for s in scores) + f"{'wins':>7}"]
    for name in names:
        cells = []
        for score in scores:
            entry = summary[name].get(score)
            digits = 1 if score == "peak_error_ms" else 3
            text = "-"
            if entry is not None:
                mean, low, high = (f"{entry[k]:.{digits}f}" for k in ("mean", "low", "high"))
                text = f"{mean} [{low}, {high}]"
            cells.append(f"{text:>24}")
        lines.append(f"{name:<28}" + "".join(cells) + f"{count_wins(summary[name]):>7}")
    return "\n".join(lines)


def count_wins(row: dict[str, dict]) -> int:
    """In how many comparisons with flow magnitude and attention a method is better and its interval excludes zero."""
    wins = 0
    for score, entry in row.items():
        for rival in ("flow_magnitude", "attention"):
            apart = entry["minus"].get(rival)
            if apart and score in _CONTESTED:
                wins += apart["low"] > 0 if SCORES[score] else apart["high"] < 0
    return int(wins)
