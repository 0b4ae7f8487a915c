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
from stagkit.reports.paper.inputs import Inputs, MissingInput, is_phantom
from stagkit.reports.paper.scores import collect_pairs


def _mark(*runs: Run) -> list[str]:
    kinds = {True: "phantom", False: "recorded"}
    return [f"{run.name}: {kinds[is_phantom(run)]} data {run.request['data'].get('digest', '')}" for run in runs]


def _interval(row: dict) -> str:
    low, high = row["ci95"]
    return f"{row['mean']:.3f} [{low:.3f}, {high:.3f}]"


def table_data_sets(inputs: Inputs) -> str:
    """Clips, subjects and classes of every tested data set."""
    rows, seen = [], set()
    runs = [*inputs.runs, *inputs.cross]
    if not runs:
        raise MissingInput("no finished run was given")
    for run in runs:
        table = run.predictions
        table = table[table["seed"] == table["seed"].min()].drop_duplicates(["dataset", "subject", "clip"])
        for name, part in table.groupby("dataset"):
            counts = part["label"].value_counts()
            if (name, len(part)) in seen:
                continue
            seen.add((name, len(part)))
            classes = ", ".join(f"{c} {counts.get(c, 0)}" for c in run.request["classes"])
            rows.append((name, len(part), part["subject"].nunique(), classes))
    return make_table("lrrl", ("Data set", "Clips", "Subjects", "Clips of each class"), rows, _mark(*runs))


def table_results(inputs: Inputs) -> str:
    """UF1, UAR and accuracy of every run with intervals, and two chance baselines."""
    run, rows = inputs.run, []
    for each in inputs.runs:
        spread = f"{each.metrics['uf1']['std']:.3f}" if len(each.request["seeds"]) > 1 else "--"
        scores = [_interval(each.metrics[s]) for s in SCORES]
        rows.append((each.name, each.request["protocol"], *scores, spread, len(each.request["seeds"])))
    for name in ("permuted", "majority"):
        rows.append((f"{name} ({run.name})", "", *(f"{run.metrics['baselines'][name][s]:.3f}" for s in SCORES), "", ""))
    notes = [*_mark(*inputs.runs), "95 % intervals by bootstrap over subjects; spread of UF1 over seeds"]
    cautions = [(r.name, r.metrics["caveat"]) for r in inputs.runs]
    notes += [f"caution ({name}): {caveat}" for name, caveat in cautions if caveat]
    rows = [(f"{row[0]} (*)" if dict(cautions).get(row[0]) else row[0], *row[1:]) for row in rows]
    return make_table("llrrrrr", ("Run", "Protocol", "UF1", "UAR", "ACC", "Spread", "Seeds"), rows, notes)


def make_ablation_table(result: dict[str, object], kind: str = "") -> str:
    """Scores of every variant of an ablation and their differences from the whole network; bold: the interval excludes 0.

    Args:
        result: what ``ablation.json`` holds.
        kind: of the data, a comment above the table.
    """
    notes = [
        f"made by 'stagkit ablate': {result['protocol']}, {result['n_clips']} clips, {result['n_subjects']} subjects, "
        f"{len(result['seeds'])} seeds",
        "differences from the whole network: paired bootstrap over subjects, 95 % interval",
    ]
    notes += [f"caution: {result['caveat']}"] if result.get("caveat") else []
    rows = []
    for row in result["variants"].values():
        scores = [f"{row[s]['mean']:.3f}" for s in SCORES]
        rows.append(
            (
                row["what"][:1].upper() + row["what"][1:],
                *scores,
                format_difference(row.get("difference", {}).get("uf1")),
            )
        )
    head = ("Variant", "UF1", "UAR", "ACC", Latex(r"$\Delta$UF1"))
    return make_table("lrrrr", head, rows, [*([kind] if kind else []), *notes])


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
    notes = [
        *_mark(*inputs.cross),
        "row: trained on; column: tested on; diagonal: other subjects of the set",
    ]
    return make_table("l" + "r" * len(names), ("Trained on", *names), rows, notes)


#: score of explanations -> (words, unit)
_QUALITY = {
    "completeness": ("Completeness: miss", "share of the gap"),
    "infidelity": ("Infidelity", Latex(r"$\mathrm{logits}^2$")),
    "sensitivity": ("Sensitivity", "share"),
    "randomised": ("Similarity, random weights", Latex(r"$\rho$")),
    "permuted": ("Similarity, shuffled labels", Latex(r"$\rho$")),
    "attention_agreement": ("Attention and effect", Latex(r"$\rho$")),
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
    for end, words in (("", "this map"), ("_flow", "flow magnitude"), ("_random", "random order")):
        apart = np.asarray(evidence.scores[f"insertion{end}"]) - np.asarray(evidence.scores[f"deletion{end}"])
        mean = compute_mean(apart, subjects)
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
    run = inputs.run
    rows = []
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
    device = f"seconds on {run.metrics['device']}"
    return make_table("lrrrr", head, rows, [*_mark(*inputs.runs), device])


#: file -> function
TABLES: dict[str, Callable[[Inputs], str]] = {
    "table_data_sets": table_data_sets,
    "table_results": table_results,
    "table_ablation": table_ablation,
    "table_across_data_sets": table_across_data_sets,
    "table_explanations": table_explanations,
    "table_cost": table_cost,
}


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
