"""Difference between two runs on the same clips, with its interval over subjects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.evaluation.metrics import SCORES, compute_paired
from stagkit.evaluation.run import Run, RunError

if TYPE_CHECKING:
    import pandas as pd


def compare_runs(first: str | Path | Run, second: str | Path | Run) -> dict:
    """Paired bootstrap over subjects between two finished runs, or their folders, on the clips that both tested.

    Returns:
        As ``metrics.compute_paired``, with ``per_class`` by class name, ``runs`` (names), ``n_clips``, ``n_subjects``,
        ``only_first`` and ``only_second`` (clips that one of them alone tested) and ``notes`` on other differences.

    Raises:
        RunError: a run that is no evidence; other classes; no common clip; a clip with different labels.
    """
    runs = [run if isinstance(run, Run) else Run.load(run) for run in (first, second)]
    for run in runs:
        run.check_evidence()
    a, b = runs
    classes = a.request["classes"]
    if set(classes) != set(b.request["classes"]):
        here, there = (f"{run.path} has the classes {', '.join(run.request['classes'])}" for run in runs)
        raise RunError(f"{here}, {there}: runs of other classes cannot be compared.")
    arranged = [_arrange(run) for run in runs]
    keys = arranged[0][0].index.intersection(arranged[1][0].index, sort=False)
    if not len(keys):
        raise RunError(f"{a.path} and {b.path} have no clip in common: they cannot be compared.")
    labels = [label.loc[keys] for label, _ in arranged]
    differ = keys[(labels[0].to_numpy() != labels[1].to_numpy())]
    if len(differ):
        raise RunError(
            f"{len(differ)} clips have another label in {b.path} than in {a.path}, the first is {differ[0][1]}: "
            "the runs are not of the same data."
        )
    code = {c: i for i, c in enumerate(classes)}
    predictions = [table.loc[keys].replace(code).to_numpy(dtype=int).T for _, table in arranged]
    subject = keys.get_level_values("subject").to_numpy()
    paired = compute_paired(labels[0].map(code).to_numpy(), *predictions, subject, len(classes))
    return {
        **paired,
        "per_class": dict(zip(classes, paired["per_class"], strict=True)),
        "runs": [run.name for run in runs],
        "n_clips": len(keys),
        "n_subjects": len(set(subject)),
        "only_first": len(arranged[0][0]) - len(keys),
        "only_second": len(arranged[1][0]) - len(keys),
        "notes": _find_differences(*runs),
    }


def _arrange(run: Run) -> tuple[pd.Series, pd.DataFrame]:
    """Label of each clip, and its prediction by each seed; by fold too if a clip is tested in several folds."""
    table = run.predictions
    key = ["subject", "clip"]
    if table.duplicated([*key, "seed"]).any():
        names = {fold["fold"]: fold["name"] for fold in run.split}
        table = table.assign(trained_on=table["fold"].map(names))
        key = [*key, "trained_on"]
    predictions = table.pivot(index=key, columns="seed", values="prediction")
    if predictions.isna().any(axis=None):
        raise RunError(f"{run.path}: not every seed predicts every clip; evaluate again.")
    return table.drop_duplicates(key).set_index(key)["label"].reindex(predictions.index), predictions


def _find_differences(a: Run, b: Run) -> list[str]:
    pairs = {name: (a.request[name], b.request[name]) for name in ("protocol", "seeds")}
    notes = [f"another {name}: {one} and {other}" for name, (one, other) in pairs.items() if one != other]
    if [f["name"] for f in a.split] != [f["name"] for f in b.split]:
        notes.append("other folds")
    if a.request["data"].get("digest") != b.request["data"].get("digest"):
        notes.append("other inputs (another preparation of the clips, or other data)")
    return notes


def format_comparison(result: dict) -> str:
    """The comparison as a small table."""
    a, b = result["runs"]
    lines = [
        f"{a} against {b}: {result['n_clips']} clips of {result['n_subjects']} subjects, paired bootstrap over subjects",
        f"{'':<16}{a[:12]:>13}{b[:12]:>13}{'difference':>12}   95 % interval   share of draws above 0",
    ]
    rows = [(name.upper(), result[name]) for name in SCORES]
    rows += [(f"F1 {name}", row) for name, row in result["per_class"].items()]
    for name, row in rows:
        if row["difference"] is None or row["ci95"][0] is None:
            lines.append(f"{name:<16}{'':>13}{'':>13}{'no clip':>12}")
            continue
        low, high = row["ci95"]
        text = f"{name:<16}{row['first']:>13.3f}{row['second']:>13.3f}{row['difference']:>+12.3f}"
        lines.append(f"{text}   {low:+.3f} .. {high:+.3f}{row['above_zero']:>10.1%}")
    low, high = result["uf1"]["ci95"]
    better = a if low > 0 else b if high < 0 else None
    none = "The interval of UF1 contains 0: on these subjects the two do not differ measurably."
    lines.append(f"{better} is better in UF1: the interval excludes 0." if better else none)
    if result.get("caveat"):
        lines.append(f"Caution: {result['caveat']}.")
    if result["only_first"] or result["only_second"]:
        lines.append(f"Left out: {result['only_first']} clips only in {a}, {result['only_second']} only in {b}.")
    return "\n".join([*lines, *(f"Note: {note}." for note in result["notes"])])


def describe_interval(row: dict) -> str:
    """Difference and interval as text: ``+0.041 [+0.002, +0.080]``."""
    values = (row["difference"], *row["ci95"])
    return "-" if None in values else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*np.array(values))
