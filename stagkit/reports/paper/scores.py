"""Figures 7 to 10 and 13: scores, ablation, transfer between data sets, optimism of test-set epoch selection, cost."""

from __future__ import annotations

from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from stagkit.evaluation.metrics import SCORES
from stagkit.plots.evaluation import SCORE_NAMES, draw_confusion, draw_costs, draw_leak
from stagkit.plots.style import COLOURS, INK, PAGE, SOFT, add_colour_bar, draw_interval, hide_frame, name_rows, styled
from stagkit.reports.latex import is_clear
from stagkit.reports.paper.inputs import Inputs, MissingInput, note


@styled
def fig_07_confusion(inputs: Inputs, width: float = PAGE) -> Figure:
    """Scores of each run with intervals and two chance baselines, and the confusion of its test predictions."""
    runs = [inputs.run, *inputs.runs[1:3]]
    wide, k = width > 5, len(runs)
    if wide:
        figure = plt.figure(figsize=(width, 2.5 if k < 3 else 2.2))
        grid = figure.add_gridspec(1, k + 1, width_ratios=(*(1,) * k, 1.25 if k == 1 else 0.9))
    else:
        figure = plt.figure(figsize=(width, 2.9 * k + 0.55 + 0.62 * k))
        grid = figure.add_gridspec(k + 1, 1, height_ratios=(*(2.9,) * k, 0.5 + 0.62 * k))
    squares, confusion = [], {}
    for i, run in enumerate(runs):
        counts, classes = np.array(run.metrics["confusion"]), list(run.metrics["classes"])
        squares.append(figure.add_subplot(grid[i]))
        image = draw_confusion(squares[-1], counts, classes, small=len(classes) > 4 or (wide and k == 3))
        squares[-1].set_xlabel("predicted class" if k == 1 else f"predicted class, {run.name}")
        confusion[run.name] = {"classes": classes, "counts": counts.tolist()}
    for axes in squares[:1] if wide else squares:
        axes.set_ylabel("true class")
    add_colour_bar(figure, image, squares, "share of the true class (%)", pad=0.02)
    _draw_scores(figure.add_subplot(grid[k]), runs)
    n = {run.name: {"clips": run.metrics["n_clips"], "subjects": run.metrics["n_subjects"]} for run in runs}
    return note(figure, runs, n, scores={r.name: {s: r.metrics[s] for s in SCORES} for r in runs}, confusion=confusion)


def _draw_scores(axes: Axes, runs) -> None:
    """UF1, UAR and accuracy of each run, with 95 % intervals; diamonds: shuffled predictions, one class always."""
    step = 3.5 if len(runs) > 1 else 3
    for r, run in enumerate(runs):
        for i, score in enumerate(SCORES):
            y, entry = r * step + i, run.metrics[score]
            draw_interval(axes, y, entry["mean"], entry["ci95"], text=f"{entry['mean']:.2f}", ms=4)
            for name, inner in (("permuted", SOFT), ("majority", "white")):
                value = run.metrics["baselines"][name][score]
                axes.plot(value, y, "D", ms=3.4, mfc=inner, mec=SOFT, mew=0.8, label=name if y == 0 else None)
        if len(runs) > 1:
            axes.text(1.0, r * step - 0.55, run.name, transform=axes.get_yaxis_transform(), fontsize=6.5, color=SOFT,
                      ha="right")  # fmt: skip
    name_rows(axes, [""] * 3, top=0.9)
    ticks = [r * step + i for r in range(len(runs)) for i in range(3)]
    axes.set_yticks(ticks, list(SCORE_NAMES.values()) * len(runs))
    axes.set_ylim(max(ticks) + 0.6, -0.9)
    axes.set(xlim=(0, 1.03), xlabel="score")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0.1, handletextpad=0.1, columnspacing=1)


@styled
def fig_08_ablation(inputs: Inputs, width: float = PAGE) -> Figure:
    """Effect of every part: difference of UF1 from the whole network, paired over subjects."""
    if not inputs.ablations:
        raise MissingInput("no ablation was given: 'stagkit ablate' makes one")
    result = inputs.ablations[0]
    full = result["variants"][result["full"]]["uf1"]["mean"]
    rows = [(name, row) for name, row in result["variants"].items() if "difference" in row]
    rows.sort(key=lambda item: item[1]["difference"]["uf1"]["difference"])
    wide = width > 5
    figure, axes = plt.subplots(figsize=(width, 0.75 + (0.2 if wide else 0.25) * len(rows)))
    values, right = {}, {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 7}
    for y, (name, row) in enumerate(rows):
        paired = row["difference"]["uf1"]
        colour = COLOURS[1 if paired["difference"] < 0 else 2] if is_clear(paired) else SOFT
        draw_interval(axes, y, paired["difference"], paired["ci95"], colour)
        values[name] = {"difference": paired["difference"], "ci95": paired["ci95"], "uf1": row["uf1"]["mean"]}
        axes.annotate(f"{row['uf1']['mean']:.3f}", (1.01, y), **right)
    axes.annotate("UF1", (1.01, -0.9), color=SOFT, **right)
    axes.axvline(0, color=INK, lw=0.7, zorder=0)
    names = [row["what"] if wide else fill(row["what"], 22) for _, row in rows]
    name_rows(axes, names, top=0.8, fontsize=7 if wide else 6.5)
    whole = f"whole network: {full:.3f}; {result['n_clips']} clips, {result['n_subjects']} subjects"
    axes.set_xlabel(f"difference of UF1 ({whole})" if wide else f"difference of UF1\n({whole})")
    n = {k: result[k] for k in ("n_clips", "n_subjects", "n_folds")}
    return note(figure, [result], n, whole=full, variants=values)


def collect_pairs(inputs: Inputs) -> tuple[list[str], dict[tuple[str, str], dict]]:
    """UF1 of every pair (trained on, tested on): from runs of the protocol ``cross``; within a set from the other runs."""
    if not inputs.cross:
        raise MissingInput("no run across data sets was given: 'stagkit evaluate A B --protocol cross' makes one")
    pairs = {}
    for run in inputs.cross:
        for name, row in run.metrics["per_pair"].items():
            pairs.setdefault(tuple(name.split("->")), _pair(row))
    names = sorted({name for pair in pairs for name in pair})
    classes = set(inputs.cross[0].request["classes"])
    for run in inputs.runs:
        for name, row in run.metrics["per_dataset"].items():
            if name in names and set(run.request["classes"]) == classes and len(run.metrics["per_dataset"]) == 1:
                pairs.setdefault((name, name), {**_pair(row), "within": True})
    return names, pairs


def _pair(row: dict) -> dict:
    return {**row["uf1"], **{k: row[k] for k in ("n_clips", "n_subjects") if k in row}}


@styled
def fig_09_across_data_sets(inputs: Inputs, width: float = PAGE) -> Figure:
    """UF1 of training on one data set and testing on another; diagonal: held-out subjects of the same set."""
    names, pairs = collect_pairs(inputs)
    table = np.array([[pairs.get((a, b), {}).get("mean", np.nan) for b in names] for a in names], float)
    wide = width > 5
    side = min(0.85 * len(names), 3.6 if wide else width - 1.5)
    figure, parts = plt.subplots(1, 2 if wide else 1, figsize=(width, side + 0.75), squeeze=False)
    axes = parts[0, 0]
    image = axes.imshow(np.ma.masked_invalid(table), cmap="viridis", vmin=0, vmax=1)
    axes.set_facecolor("#EEF1F4")
    for (i, j), value in np.ndenumerate(table):
        row = pairs.get((names[i], names[j]))
        words, colour = "not\nmeasured", SOFT
        if row is not None:
            words = f"{value:.2f}\n[{row['ci95'][0]:.2f}, {row['ci95'][1]:.2f}]\nn = {row['n_clips']}"
            colour = "white" if value < 0.6 else INK
        axes.text(j, i, words, ha="center", va="center", fontsize=6, color=colour, linespacing=1.25)
    short = [name.replace("-phantom", "\nphantom") for name in names]
    axes.set_xticks(range(len(names)), short)
    axes.set_yticks(range(len(names)), short)
    hide_frame(axes, ticks=True)
    axes.set(xlabel="tested on", ylabel="trained on")
    add_colour_bar(figure, image, axes, "UF1", pad=0.03)
    if wide:
        _draw_pairs(parts[0, 1], pairs)
    sources = [*inputs.cross, *(r for r in inputs.runs if set(r.metrics["per_dataset"]) & set(names))]
    shown, n = {}, {}
    for (a, b), row in sorted(pairs.items()):
        shown[f"{a}->{b}"] = {"uf1": row["mean"], **{k: row[k] for k in ("ci95", "n_subjects") if k in row}}
        n[f"{a}->{b}"] = row["n_clips"]
    return note(figure, sources, n, pairs=shown)


def _draw_pairs(axes: Axes, pairs: dict[tuple[str, str], dict]) -> None:
    """Every pair with its interval, the best first; hollow: within one set."""
    order = sorted(pairs, key=lambda p: -pairs[p]["mean"])
    for y, pair in enumerate(order):
        entry = pairs[pair]
        colour = SOFT if entry.get("within") else COLOURS[0]
        draw_interval(axes, y, entry["mean"], entry["ci95"], colour, mfc="white" if entry.get("within") else colour)
    short = [tuple(name.replace("-phantom", "") for name in pair) for pair in order]
    name_rows(axes, [f"{a} (other subjects)" if a == b else f"{a} → {b}" for a, b in short])
    axes.set(xlim=(0, 1.03), xlabel="UF1, 95 % interval over subjects")


def collect_leaks(inputs: Inputs) -> list[dict]:
    """Honest and leaky UF1 of every system: lines of the table that have both, and runs made with ``--leaky``."""
    rows = []
    if inputs.systems is not None:
        rows = _list_systems(inputs.systems, "leaky_uf1")
    for run in inputs.leaky:
        leak = run.leak["mean"]
        rows.append({"system": f"STAG ({run.name})", "uf1": leak["last_epoch"]["uf1"], "lo": None, "hi": None,
                     "leaky_uf1": leak["best_test_epoch"]["uf1"],
                     "permuted": [leak["permuted_last_epoch"]["uf1"], leak["permuted_best_test_epoch"]["uf1"]]})  # fmt: skip
    if not rows:
        raise MissingInput("neither a table of systems with leaky_uf1 nor a run made with --leaky was given")
    return rows


def _list_systems(systems: pd.DataFrame, needed: str) -> list[dict]:
    """The lines of a table of systems that have the column ``needed``; empty cells are None."""
    known = systems.dropna(subset=[needed])
    return known.astype(object).where(known.notna(), None).to_dict("records")


@styled
def fig_10_leak_gap(inputs: Inputs, width: float = PAGE) -> Figure:
    """Optimism of selecting the epoch on the test subjects: honest and optimistic score of the same system."""
    rows, wide = collect_leaks(inputs), width > 5
    lines = [(r["system"], r["uf1"], r["leaky_uf1"], (r["lo"], r["hi"])) for r in rows]
    for r in rows:
        if r.get("permuted"):
            lines.append((f"{r['system']},{' ' if wide else chr(10)}labels shuffled", *r["permuted"], (None, None)))
    figure, axes = plt.subplots(figsize=(width, 0.85 + 0.27 * len(lines)))
    draw_leak(axes, lines)
    axes.set(xlim=(0, 1.12 if wide else 1.35), xticks=np.linspace(0, 1, 6 if wide else 3), xlabel="UF1")
    figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2, handletextpad=0.1, columnspacing=1.0)
    table = [inputs.systems_path] if inputs.systems_path else []
    return note(figure, [*inputs.leaky, *table], {"systems": len(rows)}, systems=rows)


@styled
def fig_13_complexity(inputs: Inputs, width: float = PAGE) -> Figure:
    """Score against multiply-adds; area grows with the number of parameters."""
    rows, sources, what = collect_costs(inputs)
    rows = sorted(rows, key=lambda r: -r["uf1"])
    figure, axes = plt.subplots(figsize=(width, 2.7 if width > 5 else 2.5 + 0.075 * len(rows)))
    draw_costs(figure, axes, rows)
    return note(figure, sources, {what: len(rows)}, rows=rows)


def collect_costs(inputs: Inputs) -> tuple[list[dict], list, str]:
    """Score and cost of each system or, without a table of systems, of each variant of an ablation.

    Returns rows with ``system, uf1, lo, hi, parameters, macs``, what they come from, and 'systems' or 'variants'.
    """
    if inputs.systems is not None:
        rows = _list_systems(inputs.systems.drop(columns="leaky_uf1"), "macs")
        if rows:
            return rows, [inputs.systems_path], "systems"
    for result in inputs.ablations:
        rows = [
            {"system": name, "what": row["what"], "uf1": row["uf1"]["mean"],
             "lo": row["uf1"]["ci95"][0], "hi": row["uf1"]["ci95"][1],
             "parameters": row["parameters"], "macs": row["multiply_adds"]}
            for name, row in result["variants"].items() if row.get("multiply_adds")
        ]  # fmt: skip
        if rows:
            return rows, [result], "variants"
    raise MissingInput("neither a table of systems with macs nor an ablation was given")
