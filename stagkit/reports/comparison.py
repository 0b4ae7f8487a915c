"""The comparison of systems as a table, published results apart: for the screen, as CSV, Markdown, LaTeX and HTML."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from stagkit.baselines.published import describe_published
from stagkit.core.files import resolve_inside, write_text
from stagkit.datasets.tables import write_table
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.evaluation.metrics import SCORES
from stagkit.explorers.page import Page
from stagkit.reports.latex import format_difference, is_clear, make_table

_OPTIMISTIC = "optimistic: the epoch of each fold selected on its test clips (no evidence); optimism: its gain over UF1"


def save_tables(result: dict[str, object], out: str | Path) -> None:
    """Write ``comparison.csv``, ``.tex`` and ``.html`` next to the ``comparison.json`` of ``compare_systems``."""
    write_table(resolve_inside(out, "comparison.csv"), pd.DataFrame(tabulate_comparison(result)), ".5f")
    write_text(resolve_inside(out, "comparison.tex"), format_latex(result))
    make_comparison_page(result).save(resolve_inside(out, "comparison.html"))


def tabulate_comparison(result: dict[str, object]) -> list[dict[str, object]]:
    """One flat row per system; unknown values are None."""
    rows = []
    for name, row in result["systems"].items():
        flat: dict[str, object] = {"system": name, "title": row["title"], "view": row["view"], "uses": row["uses"]}
        for s in SCORES:
            low, high = row[s]["ci95"]
            flat |= {s: row[s]["mean"], f"{s}_low": low, f"{s}_high": high}
        flat |= {"uf1_std": row["uf1"]["std"], "seeds": len(row["seeds"]), "epochs": row["epochs"]}
        paired = row.get("minus_stag", {}).get("uf1")
        flat["uf1_minus_stag"] = paired["difference"] if paired else None
        flat["uf1_minus_stag_low"], flat["uf1_minus_stag_high"] = paired["ci95"] if paired else (None, None)
        leak, scores = row.get("leak"), row.get("explanation")
        flat["leaky_uf1"], flat["leak_gap"] = (leak[k]["uf1"] if leak else None for k in ("optimistic", "optimism"))
        flat |= {f"explanation_{s}": scores[s]["mean"] if scores else None for s in ("pointing", "mass")}
        flat |= {key: row[key] for key in ("parameters", "multiply_adds", "train_seconds", "ms_per_clip")}
        first = (row["published"] or [{}])[0]
        where = ", ".join(str(first[k]) for k in ("data", "part", "protocol") if first.get(k))
        published = {"uf1": first.get("uf1"), "on": where, "leak": first.get("leak"), "source": first.get("source")}
        rows.append(flat | {f"published_{key}": value for key, value in published.items()})
    return rows


def _format_count(value: float | None) -> str:
    """1234567 -> 1.23 M; '' if unknown."""
    if value is None:
        return ""
    if value < 1e6:
        return f"{value:,.0f}"
    return f"{value / 1e9:.2f} G" if value >= 1e9 else f"{value / 1e6:.2f} M"


def _format_rows(result: dict) -> list[dict[str, str]]:
    """The cells of the table, by column; the keys are the heads of the columns."""

    def number(value: float | None, form: str) -> str:
        return "" if value is None else format(value, form)

    rows = []
    for row in result["systems"].values():
        (low, high), paired, leak = row["uf1"]["ci95"], row.get("minus_stag", {}).get("uf1"), row.get("leak") or {}
        pointing = ((row.get("explanation") or {}).get("pointing") or {}).get("mean")
        rows.append({
            "system": row["title"],
            "UF1": f"{row['uf1']['mean']:.3f}",
            "95 %": f"{low:.2f} .. {high:.2f}",
            "UAR": f"{row['uar']['mean']:.3f}",
            "ACC": f"{row['acc']['mean']:.3f}",
            "UF1 minus STAG, paired": describe_interval(paired) if paired else "",
            "optimistic": number(leak.get("optimistic", {}).get("uf1"), ".3f"),
            "optimism": number(leak.get("optimism", {}).get("uf1"), "+.3f"),
            "pointing game": number(pointing, ".2f") or "not measured",
            "parameters": _format_count(row.get("parameters")),
            "multiply-adds": _format_count(row.get("multiply_adds")),
            "training, s": number(row.get("train_seconds"), ".1f"),
            "ms per clip": number(row.get("ms_per_clip"), ".2f"),
        })  # fmt: skip
    return rows


def _describe_setting(result: dict) -> str:
    trial = f", {result['epochs']} epochs each (a trial)" if result["epochs"] else ""
    return (
        f"{', '.join(result['datasets'])} · {result['protocol']} · {result['n_clips']} clips, "
        f"{result['n_subjects']} subjects, {result['n_folds']} folds, {len(result['seeds'])} seed(s){trial}"
    )


def _list_notes(result: dict) -> list[str]:
    """Notes below the table: pointing game, caution, skipped systems."""
    notes, truth, skipped = [], result.get("explanation"), result.get("left_out")
    if truth:
        notes.append(
            f"Pointing game: share of clips in which the region of the largest attribution moved ({truth['truth']}, "
            f"{truth.get('method', 'integrated gradients')}). At random {truth['chance']['mean']:.2f}; "
            f"region of the largest motion {truth['flow_magnitude']['pointing']['mean']:.2f}."
        )
    if result.get("caveat"):
        notes.append(f"Caution: {result['caveat']}.")
    if skipped:
        notes.append(f"Not compared: {', '.join(skipped)} ({next(iter(skipped.values()))}).")
    return notes


def format_comparison(result: dict[str, object]) -> str:
    """The table for the screen."""
    table = pd.DataFrame(_format_rows(result)).set_index("system").rename_axis(None).to_string()
    lines = [_describe_setting(result), _OPTIMISTIC, table, *_list_notes(result)]
    printed = [(r["title"], describe_published(r["published"])) for r in result["systems"].values() if r["published"]]
    if printed:
        lines.append("Printed in papers, on other clips and by other rules; not comparable with the table:")
        lines += [f"  {title}: {text}" for title, text in printed]
    return "\n".join(lines)


def format_markdown(result: dict[str, object]) -> str:
    """The table as Markdown."""
    rows = _format_rows(result)
    lines = [f"{_describe_setting(result)}. {_OPTIMISTIC.replace('optimistic', 'Optimistic', 1)}.", ""]
    lines += [f"| {' | '.join(rows[0])} |", "|---" * len(rows[0]) + "|"]
    lines += [f"| {' | '.join(row.values())} |" for row in rows]
    return "\n".join([*lines, *(f"\n{note}" for note in _list_notes(result))])


def format_latex(result: dict[str, object]) -> str:
    r"""The table for a paper (booktabs); a difference whose interval excludes 0 is bold."""
    paired = "UF1 minus STAG, paired"
    shown = ("system", "UF1", "UAR", "ACC", paired, "optimistic", "optimism", "parameters", "ms per clip")
    rows = []
    for row, cells in zip(result["systems"].values(), _format_rows(result), strict=True):
        cells[paired] = format_difference(row.get("minus_stag", {}).get("uf1"))
        rows.append([cells[name] or "--" for name in shown])
    made = f"made by 'stagkit compare-systems': {_describe_setting(result)}"
    notes = [made, "95 % intervals: paired bootstrap over subjects", _OPTIMISTIC, *_list_notes(result)]
    return make_table("lrrrlrrrr", shown, rows, notes)


def make_comparison_page(result: dict[str, object]) -> Page:
    """The table as an HTML page: honest and optimistic scores on one scale, and published results."""
    rows = []
    for (name, row), cells in zip(result["systems"].items(), _format_rows(result), strict=True):
        bold = is_clear(row.get("minus_stag", {}).get("uf1"))
        rows.append({"leak": None, **row, "name": name, "cells": cells, "bold": bold})
    setting, notes = _describe_setting(result), _list_notes(result)
    return Page("comparison.html", "Comparison of systems", rows=rows, setting=setting, notes=notes)
