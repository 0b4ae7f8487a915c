"""Explanation methods and reference attributions in one table: each scored by the same truth on the same clips.

A method may give a map over regions and frames, values of action units over time, a graph of them, or several of these; it
is scored on what it gives. AUs of a map without any are estimated by ``ground_truth.fit_aus`` from the map alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, RoiDataset
from stagkit.evaluation.bootstrap import Mean, bootstrap, compute_mean
from stagkit.evaluation.fold import shuffle_labels
from stagkit.explain.aggregate import Attribution, by_au, sum_over, to_map
from stagkit.explain.attribution import attribute
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.faithfulness import (
    CASCADE,
    compute_curves,
    compute_dependence,
    compute_infidelity,
    compute_sensitivity,
    compute_similarity,
    randomise,
)
from stagkit.explain.ground_truth import (
    GroundTruth,
    fit_aus,
    score_aus,
    score_edges,
    score_mass,
    score_peak,
    score_pointing,
)
from stagkit.explain.interventions import compute_edge_ablation
from stagkit.explain.methods import compute_reference_map
from stagkit.training.train import train_fold

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
#: Scores that count as wins over a reference.
_CONTESTED = (
    "region_pointing",
    "moved_region_mass",
    "au_pointing",
    "au_auroc",
    "edge_auroc",
    "peak_error_ms",
    "faithfulness",
)
#: The reference attributions that every method is compared with.
REFERENCES = ("flow_magnitude", "attention", "random")


@dataclass(frozen=True)
class Explanation:
    """Result of a method: a map "clip time roi", AUs "clip au", a graph "clip au au"; None for what it does not give."""

    maps: np.ndarray | None = None
    aus: np.ndarray | None = None
    graph: np.ndarray | None = None
    attribution: Attribution | None = None
    has_time: bool = True


def score_au_pointing(aus: np.ndarray, truth: GroundTruth) -> np.ndarray:
    """1 if the largest of ``aus`` (float "clip au") is a true AU, else 0: float "clip", NaN if none is true."""
    hit = truth.aus[np.arange(len(aus)), np.abs(aus).argmax(1)].astype(float)
    return np.where(truth.aus.any(1), hit, np.nan)


def join_aus(aus: np.ndarray) -> np.ndarray:
    """A graph of AUs from ``aus`` (float "clip time au"): edge = sqrt|a b| summed over time, float "clip au au"."""
    return np.einsum("ctk,ctl->ckl", *(np.sqrt(np.abs(aus)),) * 2)


def sum_by_au(edges: np.ndarray, model: Stag) -> np.ndarray:
    """Signed sum of region edges over those of each AU: float "... edge" -> "... au"."""
    return edges @ (get_region_edges(model)[:, :1] == np.arange(len(ATLAS.incidence)))


def train_on_permuted_labels(
    data: RoiDataset, train: np.ndarray, stag: StagConfig, training: TrainConfig, seed: int = 0, auxiliary=None
) -> Stag:
    """A network trained on the clips ``train`` with their labels (and AU codes with them) shuffled."""
    shuffled, every = shuffle_labels(data.select(train), seed), np.arange(len(train))
    return train_fold(shuffled, every, stag, training, seed, auxiliary=auxiliary)


def _attributed(name: str, **asked) -> Callable[..., Explanation]:
    def explain(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
        done = attribute(model, batch, name, target, seed=seed, search=False, **asked)
        axes = done.axes.split()
        if "edge" in axes:
            aus = sum_by_au(sum_over(done, "time", "edge"), model)
            return Explanation(aus=aus.sum(1), graph=join_aus(aus), attribution=done)
        if "au" in axes:
            return Explanation(to_map(done), by_au(done)[:, :-1], join_aus(sum_over(done, "time", "au")), done)
        maps = to_map(done)
        return Explanation(
            maps, fit_aus(maps.sum(1, keepdims=True))[:, 0], join_aus(fit_aus(maps)), done, "time" in axes
        )

    return explain


def _reference(name: str) -> Callable[..., Explanation]:
    def explain(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
        maps = compute_reference_map(name, model, batch, target, seed)
        return Explanation(maps, fit_aus(maps.sum(1, keepdims=True))[:, 0], join_aus(fit_aus(maps)))

    return explain


def _explain_by_graph(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
    import torch

    with torch.no_grad():
        edges = model(batch.x, batch.mask, batch.times_ms).au_edges
    return Explanation(graph=None if edges is None else edges.mean(1).cpu().numpy().astype(float))


def _explain_by_untrained_graph(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
    return _explain_by_graph(randomise(model, CASCADE, seed), batch, target, seed)


def _explain_by_edge_ablation(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
    aus = sum_by_au(compute_edge_ablation(model, batch, target), model)
    return Explanation(aus=aus, graph=join_aus(aus[:, None]))


def _explain_by_terms(model: Stag, batch: Batch, target: np.ndarray, seed: int) -> Explanation:
    """Exact terms: the map and the AUs are the terms of the region edges, the graph those of the AU edges."""
    import torch

    if model.config.head != "graph":
        return Explanation()
    done = attribute(model, batch, "exact terms", target)
    with torch.no_grad():
        terms = model(batch.x, batch.mask, batch.times_ms).terms.au_edges
    graph = terms[torch.arange(len(terms)), torch.as_tensor(target)].abs().cpu().numpy().astype(float)
    return Explanation(to_map(done), by_au(done)[:, :-1], graph + graph.transpose(0, 2, 1), done)


#: name -> function (network, clips, target, seed) -> explanation; the last four are references.
METHODS: dict[str, Callable[..., Explanation]] = {
    "exact_terms": _explain_by_terms,
    "integrated_gradients": _attributed("integrated gradients"),
    "gradient_x_input": _attributed("gradient x input"),
    "gradient_shap": _attributed("gradient shap"),
    "layer_integrated_gradients": _attributed("layer integrated gradients"),
    "feature_ablation": _attributed("feature ablation", groups="roi x frame"),
    "shapley_sampling": _attributed("shapley sampling", groups="roi", n_samples=10),
    "au_evidence_gradients": _attributed("layer integrated gradients", layer="au evidence"),
    "edge_integrated_gradients": _attributed("edge integrated gradients"),
    "edge_ablation": _explain_by_edge_ablation,
    "au_graph": _explain_by_graph,
    "au_graph_untrained": _explain_by_untrained_graph,
    "flow_magnitude": _reference("flow magnitude"),
    "random": _reference("random"),
    "attention": _reference("attention"),
    "grad_cam": _reference("grad-cam"),
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
        name: one of ``METHODS``.
        truth: of these clips.
        target: int "clip", the class explained.
        permuted: a network trained on shuffled labels.
        seed: of everything random.

    Returns:
        name of ``SCORES`` -> float "clip", NaN if the method does not give it.
    """
    method = METHODS[name]
    found = method(model, batch, target, seed)
    out = {score: np.full(len(batch.clip_ids), np.nan) for score in SCORES}
    times, mask = batch.times_ms.cpu().numpy(), batch.mask.cpu().numpy()
    if found.maps is not None:
        out["region_pointing"], out["moved_region_mass"] = (
            score_pointing(found.maps, truth),
            score_mass(found.maps, truth),
        )
        if found.has_time and times.shape[1] > 1:
            out["peak_error_ms"] = score_peak(found.maps, truth, times, mask)
        deletion, insertion = compute_curves(model, batch, found.maps, target).areas
        out["faithfulness"] = insertion - deletion
        if name != "shapley_sampling":  # its randomness alone would count as dependence

            def explain(network: Stag, clips: Batch) -> np.ndarray:
                return method(network, clips, target, seed).maps

            out["randomised"] = compute_dependence(model, batch, explain, seed)
            if permuted is not None:
                out["permuted"] = compute_similarity(found.maps, explain(permuted, batch))
    if found.aus is not None:
        out["au_auroc"] = score_aus(found.aus, truth)
        out["au_pointing"] = score_au_pointing(found.aus, truth)
    if found.graph is not None:
        out["edge_auroc"] = score_edges(found.graph, truth)
    if found.attribution is not None:
        out["completeness"] = found.attribution.relative_delta
        if found.attribution.axes == "clip time roi chan py px":
            out["infidelity"] = compute_infidelity(model, batch, found.attribution, seed=seed)
            if name in ("integrated_gradients", "gradient_x_input"):
                fewer = {n: 8 if n == "n_steps" else v for n, v in found.attribution.settings.items()}
                rough = replace(found.attribution, settings=fewer)  # 8 steps miss under 3 %
                out["sensitivity"] = compute_sensitivity(model, batch, rough, n_samples=2, seed=seed)
    return out


def compute_median(values: np.ndarray, subjects: Sequence[str]) -> Mean:
    """As ``compute_mean``, of the median over clips."""
    known = ~np.isnan(values)
    order = np.argsort(values[known])
    ascending, names = values[known][order], np.asarray(subjects)[known][order]
    which = np.unique(names, return_inverse=True)[1]

    def median(weights: np.ndarray) -> np.ndarray:
        reached = weights[:, which].cumsum(1)
        total = reached[:, -1:]
        below = ascending[(reached < total / 2).sum(1)]
        return (below + ascending[np.minimum((reached <= total / 2).sum(1), len(ascending) - 1)]) / 2

    found, n = bootstrap(median, names), int(which.max()) + 1
    ends = (float(found[1]), float(found[2])) if n > 1 else (float("nan"),) * 2
    return Mean(float(found[0]), *ends, len(ascending), n)


def summarise(scores: dict[str, dict[str, np.ndarray]], subjects: Sequence[str]) -> dict[str, dict[str, dict]]:
    """Means with intervals over subjects, and paired differences from each of ``REFERENCES``.

    Args:
        scores: method -> score -> float "clip", all on the same clips.
        subjects: "clip".

    Returns:
        method -> score -> ``{mean, low, high, n, minus: {reference: [mean, low, high]}}``; missing scores are left out. The
        differences are means over clips also where the score itself is a median.
    """

    def row(values: np.ndarray, median: bool) -> dict:
        mean = (compute_median if median else compute_mean)(values, subjects)._asdict()
        return {k: round(v, 6) if isinstance(v, float) else v for k, v in mean.items()}

    out: dict[str, dict[str, dict]] = {}
    for method, each in scores.items():
        out[method] = {}
        for score, values in each.items():
            if np.isnan(values).all():
                continue
            entry = row(values, score in MEDIANS)
            entry["minus"] = {}
            for reference in REFERENCES:
                if (
                    reference != method
                    and reference in scores
                    and not np.isnan(values - scores[reference][score]).all()
                ):
                    entry["minus"][reference] = row(values - scores[reference][score], False)
            out[method][score] = entry
    return out


def format_ranking(summary: dict[str, dict[str, dict]], scores: Sequence[str] = tuple(SCORES)) -> str:
    """The table as text, methods ranked by how many of the references' scores they beat with an interval off zero."""
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
        for reference in ("flow_magnitude", "attention"):
            apart = entry["minus"].get(reference)
            if apart and score in _CONTESTED:
                wins += apart["low"] > 0 if SCORES[score] else apart["high"] < 0
    return int(wins)
