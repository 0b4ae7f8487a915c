"""The tables of a paper as LaTeX (booktabs), from the same inputs as the figures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from stagkit.core.files import write_text
from stagkit.core.types import StagkitError
from stagkit.evaluation.bootstrap import compute_mean, describe_caveat
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run
from stagkit.reports.latex import Latex, format_difference, make_table
from stagkit.reports.paper.evidence import compute_gains
from stagkit.reports.paper.inputs import Inputs, MissingInput, count_tested, is_phantom
from stagkit.reports.paper.scores import collect_pairs


def _mark(*runs: Run) -> list[str]:
    kinds = {True: "phantom", False: "recorded"}
    return [f"{run.name}: {kinds[is_phantom(run)]} data {run.request['data'].get('digest', '')}" for run in runs]


def table_data_sets(inputs: Inputs) -> str:
    """Clips, subjects and classes of every tested data set."""
    rows, seen = [], set()
    runs = [*inputs.runs, *inputs.cross]
    if not runs:
        raise MissingInput("no finished run was given")
    for run in runs:
        for name, n_clips, n_subjects, *counts in count_tested(run):
            if (name, n_clips) not in seen:
                seen.add((name, n_clips))
                classes = ", ".join(f"{c} {n}" for c, n in zip(run.request["classes"], counts, strict=True))
                rows.append((name, n_clips, n_subjects, classes))
    return make_table("lrrl", ("Data set", "Clips", "Subjects", "Clips of each class"), rows, _mark(*runs))


def table_results(inputs: Inputs) -> str:
    """UF1, UAR and accuracy of every run with intervals, and two chance baselines."""
    run, rows = inputs.run, []
    notes = [*_mark(*inputs.runs), "95 % intervals by bootstrap over subjects; spread of UF1 over seeds"]
    for each in inputs.runs:
        caveat = each.metrics["caveat"]
        notes += [f"caution ({each.name}): {caveat}"] if caveat else []
        spread = f"{each.metrics['uf1']['std']:.3f}" if len(each.request["seeds"]) > 1 else "--"
        scores = ["{:.3f} [{:.3f}, {:.3f}]".format(each.metrics[s]["mean"], *each.metrics[s]["ci95"]) for s in SCORES]
        name = f"{each.name} (*)" if caveat else each.name
        rows.append((name, each.request["protocol"], *scores, spread, len(each.request["seeds"])))
    for name in ("permuted", "majority"):
        rows.append((f"{name} ({run.name})", "", *(f"{run.metrics['baselines'][name][s]:.3f}" for s in SCORES), "", ""))
    return make_table("llrrrrr", ("Run", "Protocol", "UF1", "UAR", "ACC", "Spread", "Seeds"), rows, notes)


def make_ablation_table(result: dict[str, object], kind: str = "") -> str:
    """Scores of every variant of an ablation and their differences from the whole network; bold: the interval excludes 0.

    ``result``: what ``ablation.json`` holds; ``kind``: of the data, a comment above the table.
    """
    notes = [kind] if kind else []
    notes += [
        f"made by 'stagkit ablate': {result['protocol']}, {result['n_clips']} clips, {result['n_subjects']} subjects, "
        f"{len(result['seeds'])} seeds",
        "differences from the whole network: paired bootstrap over subjects, 95 % interval",
    ]
    notes += [f"caution: {result['caveat']}"] if result.get("caveat") else []
    rows = []
    for row in result["variants"].values():
        scores = [f"{row[s]['mean']:.3f}" for s in SCORES]
        difference = format_difference(row.get("difference", {}).get("uf1"))
        rows.append((row["what"][:1].upper() + row["what"][1:], *scores, difference))
    return make_table("lrrrr", ("Variant", "UF1", "UAR", "ACC", Latex(r"$\Delta$UF1")), rows, notes)


def table_ablation(inputs: Inputs) -> str:
    """Every variant of the ablation and the whole network."""
    if not inputs.ablations:
        raise MissingInput("no ablation was given: 'stagkit ablate' makes one")
    result = inputs.ablations[0]
    return make_ablation_table(result, f"{result['path'].name}: {'phantom' if is_phantom(result) else 'recorded'} data")


def table_across_data_sets(inputs: Inputs) -> str:
    """UF1 of every pair of data sets: trained on one, tested on the other."""
    names, pairs = collect_pairs(inputs)
    rows = []
    for a in names:
        found = [pairs.get((a, b)) for b in names]
        rows.append((a, *(f"{p['mean']:.3f}" if p else "--" for p in found)))
    notes = [*_mark(*inputs.cross), "row: trained on; column: tested on; diagonal: other subjects of the set"]
    return make_table("l" + "r" * len(names), ("Trained on", *names), rows, notes)


#: score of explanations -> (words, unit)
_QUALITY = {
    "completeness": ("Completeness: miss", "share of the gap"),
    "infidelity": ("Infidelity", Latex(r"$\mathrm{logits}^2$")),
    "sensitivity": ("Sensitivity", "share"),
    "randomised": ("Similarity, random weights", Latex(r"$\rho$")),
    "permuted": ("Similarity, shuffled labels", Latex(r"$\rho$")),
    "edge_agreement": ("Edge and effect", Latex(r"$\rho$")),
    "pointing": ("Pointing game", "share"),
    "mass": ("Mass on what moved", "share"),
    "au_auroc": ("Action units", "AUROC"),
    "edge_auroc": ("AU edges", "AUROC"),
    "peak_error_ms": ("Time of peak: error", "ms"),
}


def table_explanations(inputs: Inputs) -> str:
    """Mean score of the explanations in every control, with intervals over subjects."""
    evidence, subjects = inputs.evidence, inputs.subjects
    if not evidence.scores:
        raise MissingInput(f"the explanations of {inputs.run.name} were made without controls")
    rows = []
    for words, mean in compute_gains(evidence.scores, subjects).items():
        rows.append((f"Insertion minus deletion, {words}", _format_mean(mean), "logits", mean.n))
    for name, (words, unit) in _QUALITY.items():
        if name in evidence.scores and not np.isnan(evidence.scores[name]).all():
            mean = compute_mean(evidence.scores[name], subjects)
            rows.append((words, _format_mean(mean), unit, mean.n))
    notes = [*_mark(inputs.run), f"{evidence.attribution.method} against {evidence.attribution.baseline}"]
    caveat = describe_caveat(len(set(subjects)))
    notes += ["95 % intervals over subjects", *([f"caution: {caveat}"] if caveat else [])]
    return make_table("lrlr", ("Score", f"Mean{' (*)' if caveat else ''}", "Unit", "Clips"), rows, notes)


def _format_mean(mean) -> str:
    return f"{mean.mean:.3g} [{mean.low:.3g}, {mean.high:.3g}]"


def table_cost(inputs: Inputs) -> str:
    """Cost of each run and system: parameters, multiply-adds per clip, seconds of training, milliseconds per clip."""
    run, rows = inputs.run, []
    for each in inputs.runs:
        cost = each.metrics.get("cost")
        if cost:
            rows.append((each.name, f"{cost['parameters']:,}", f"{cost['multiply_adds'] / 1e6:.2f}",
                         f"{cost['train_seconds_per_fold']:.1f}", f"{cost['inference_ms_per_clip']:.1f}"))  # fmt: skip
    if inputs.systems is not None:
        for row in inputs.systems.dropna(subset=["parameters"]).to_dict("records"):
            macs = "--" if np.isnan(row["macs"]) else f"{row['macs'] / 1e6:.2f}"
            rows.append((row["system"], f"{row['parameters']:,.0f}", macs, "--", "--"))
    if not rows:
        raise MissingInput(f"the run {run.name} was made by a stagkit that kept no costs")
    head = ("System", "Parameters", "M multiply-adds", "s per fold", "ms per clip")
    return make_table("lrrrr", head, rows, [*_mark(*inputs.runs), f"seconds on {run.metrics['device']}"])


_MAKERS = (table_data_sets, table_results, table_ablation, table_across_data_sets, table_explanations, table_cost)
#: file -> function
TABLES: dict[str, Callable[[Inputs], str]] = {make.__name__: make for make in _MAKERS}


def make_tables(inputs: Inputs, out: str | Path) -> dict[str, str]:
    """Write every table that the inputs allow.

    Returns:
        Name of each table that was not written -> why.
    """
    problems = {}
    for name, make in TABLES.items():
        try:
            write_text(Path(out) / f"{name}.tex", make(inputs))
        except StagkitError as reason:
            problems[name] = str(reason).removesuffix(".")
    return problems
