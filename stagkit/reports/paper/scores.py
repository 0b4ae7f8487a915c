"""Figures 7 to 10 and 13: how well people are recognised, what each part is worth, and what a leak would claim."""

from __future__ import annotations

from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np

from stagkit.evaluation.metrics import SCORES
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled
from stagkit.reports.paper.inputs import Inputs, MissingInput, note

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_RUNS_SHOWN = 3
#: Least distance of two numbers in the circles of figure 13, pt.
_APART = 6


@styled
def fig_07_confusion(inputs: Inputs, width: float = PAGE) -> Figure:
    """Scores of each run with intervals beside answers that know nothing, and the confusion of its test predictions."""
    import matplotlib.pyplot as plt

    runs = [inputs.run, *inputs.runs[1:]][:_RUNS_SHOWN]
    wide, k = width > 5, len(runs)
    if wide:
        figure = plt.figure(figsize=(width, 2.5 if k < 3 else 2.2))
        grid = figure.add_gridspec(1, k + 1, width_ratios=(*(1,) * k, 1.25 if k == 1 else 0.9))
        spots, scores = [grid[0, i] for i in range(k)], grid[0, k]
    else:
        figure = plt.figure(figsize=(width, 2.9 * k + 0.55 + 0.62 * k))
        grid = figure.add_gridspec(k + 1, 1, height_ratios=(*(2.9,) * k, 0.5 + 0.62 * k))
        spots, scores = [grid[i, 0] for i in range(k)], grid[k, 0]
    squares, told = [], {}
    for run, spot in zip(runs, spots, strict=True):
        counts, classes = np.array(run.metrics["confusion"]), list(run.metrics["classes"])
        squares.append(figure.add_subplot(spot))
        image = _draw_confusion(squares[-1], counts, classes, small=len(classes) > 4 or (wide and k == 3))
        squares[-1].set_xlabel("predicted class" if k == 1 else f"predicted class, {run.name}")
        told[run.name] = {"classes": classes, "counts": counts.tolist()}
    for axes in squares[:1] if wide else squares:
        axes.set_ylabel("true class")
    bar = figure.colorbar(image, ax=squares, label="share of the true class (%)", shrink=0.85, aspect=18, pad=0.02)
    bar.outline.set_linewidth(0.4)
    _draw_scores(figure.add_subplot(scores), runs)
    n = {run.name: {"clips": run.metrics["n_clips"], "subjects": run.metrics["n_subjects"]} for run in runs}
    return note(figure, runs, n, scores={r.name: {s: r.metrics[s] for s in SCORES} for r in runs}, confusion=told)


def _draw_scores(axes: Axes, runs) -> None:
    """UF1, UAR and accuracy of each run, with 95 % intervals; diamonds: the same answers shuffled, one class always."""
    names, y = [], 0
    for run in runs:
        for score in SCORES:
            entry = run.metrics[score]
            axes.plot(entry["ci95"], [y, y], color=COLOURS[0], lw=2.6, alpha=0.35, solid_capstyle="round")
            axes.plot(entry["mean"], y, "o", ms=4, color=COLOURS[0])
            axes.annotate(f"{entry['mean']:.2f}", (entry["mean"], y), (0, 5), textcoords="offset points", ha="center",
                          fontsize=6.5)  # fmt: skip
            for name, inner in (("permuted", SOFT), ("majority", "white")):
                value = run.metrics["baselines"][name][score]
                axes.plot(value, y, "D", ms=3.4, mfc=inner, mec=SOFT, mew=0.8, label=name if y == 0 else None)
            names.append({"uf1": "UF1", "uar": "UAR", "acc": "accuracy"}[score])
            y += 1
        if len(runs) > 1:
            axes.text(
                1.0, y - 3.55, run.name, transform=axes.get_yaxis_transform(), fontsize=6.5, color=SOFT, ha="right"
            )
            y += 0.5
            names.append("")
    ticks = [r * (3.5 if len(runs) > 1 else 3) + i for r in range(len(runs)) for i in range(3)]
    axes.set_yticks(ticks, [n for n in names if n])
    axes.set_ylim(max(ticks) + 0.6, -0.9)
    axes.set_xlim(0, 1.03)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("score")
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1.0), ncols=2, borderaxespad=0.1, handletextpad=0.1, columnspacing=1
    )


def _draw_confusion(axes: Axes, counts: np.ndarray, classes: list[str], small: bool):
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
    for i, j in np.ndindex(*counts.shape):
        if counts[i, j]:
            axes.text(j, i, f"{share[i, j]:.0f} %\n{counts[i, j]}", ha="center", va="center", linespacing=1.2,
                      fontsize=5.5 if small else 7, color="white" if share[i, j] > 55 else INK)  # fmt: skip
    axes.set_xticks(range(len(classes)), classes, rotation=30 if small else 0, ha="right" if small else "center")
    axes.set_yticks(range(len(classes)), classes, rotation=0 if small else 90, va="center")
    axes.set_xticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes) + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=1.2)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    return image


@styled
def fig_08_ablation(inputs: Inputs, width: float = PAGE) -> Figure:
    """What every part is worth: difference of UF1 from the whole network, paired over subjects."""
    import matplotlib.pyplot as plt

    if not inputs.ablations:
        raise MissingInput("no ablation was given: 'stagkit ablate' makes one")
    result = inputs.ablations[0]
    full = result["variants"][result["full"]]["uf1"]["mean"]
    rows = [(name, row) for name, row in result["variants"].items() if "difference" in row]
    rows.sort(key=lambda item: item[1]["difference"]["uf1"]["difference"])
    wide = width > 5
    figure, axes = plt.subplots(figsize=(width, 0.75 + (0.2 if wide else 0.25) * len(rows)))
    values = {}
    for y, (name, row) in enumerate(rows):
        paired = row["difference"]["uf1"]
        low, high = paired["ci95"]
        worse, better = (high is not None and high < 0), (low is not None and low > 0)
        colour = COLOURS[1] if worse else COLOURS[2] if better else SOFT
        if low is not None:
            axes.plot([low, high], [y, y], color=colour, lw=2.4, alpha=0.4, solid_capstyle="round")
        axes.plot(paired["difference"], y, "o", ms=4.2, color=colour)
        values[name] = {"difference": paired["difference"], "ci95": paired["ci95"], "uf1": row["uf1"]["mean"]}
        axes.annotate(
            f"{row['uf1']['mean']:.3f}", (1.01, y), xycoords=("axes fraction", "data"), va="center", fontsize=7
        )
    axes.annotate("UF1", (1.01, -0.9), xycoords=("axes fraction", "data"), va="center", fontsize=7, color=SOFT)
    axes.axvline(0, color=INK, lw=0.7, zorder=0)
    names = [row["what"] if wide else fill(row["what"], 22) for _, row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=7 if wide else 6.5)
    axes.set_ylim(len(rows) - 0.4, -0.8)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    whole = f"whole network: {full:.3f}; {result['n_clips']} clips, {result['n_subjects']} subjects"
    axes.set_xlabel(f"difference of UF1 ({whole})" if wide else f"difference of UF1\n({whole})")
    n = {k: result[k] for k in ("n_clips", "n_subjects", "n_folds")}
    return note(figure, [result], n, whole=full, variants=values)


def collect_pairs(inputs: Inputs) -> tuple[list[str], dict[tuple[str, str], dict]]:
    """UF1 of every pair (trained on, tested on): from runs of the protocol ``cross``; within a set from the other runs.

    Raises:
        MissingInput: no run of that protocol.
    """
    if not inputs.cross:
        raise MissingInput(
            "no run of the protocol 'cross' was given: 'stagkit evaluate A B --protocol cross' makes one"
        )
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
    """UF1 of training on one data set and testing on another; on the diagonal subjects of the same set, left out."""
    import matplotlib.pyplot as plt

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
        if row is None:
            axes.text(j, i, "not\nmeasured", ha="center", va="center", fontsize=6, color=SOFT)
            continue
        low, high = row["ci95"]
        axes.text(j, i, f"{value:.2f}\n[{low:.2f}, {high:.2f}]\nn = {row['n_clips']}", ha="center", va="center", fontsize=6,
                  color="white" if value < 0.6 else INK, linespacing=1.25)  # fmt: skip
    short = [name.replace("-phantom", "\nphantom") for name in names]
    axes.set_xticks(range(len(names)), short)
    axes.set_yticks(range(len(names)), short)
    axes.tick_params(length=0)
    axes.set(xlabel="tested on", ylabel="trained on")
    for spine in axes.spines.values():
        spine.set_visible(False)
    bar = figure.colorbar(image, ax=axes, label="UF1", shrink=0.85, aspect=16, pad=0.03)
    bar.outline.set_linewidth(0.4)
    if wide:
        _draw_pairs(parts[0, 1], pairs)
    sources = [*inputs.cross, *(r for r in inputs.runs if set(r.metrics["per_dataset"]) & set(names))]
    told = {
        f"{a}->{b}": {
            "uf1": r["mean"],
            "ci95": r["ci95"],
            **({"n_subjects": r["n_subjects"]} if "n_subjects" in r else {}),
        }
        for (a, b), r in sorted(pairs.items())
    }
    return note(figure, sources, {f"{a}->{b}": r["n_clips"] for (a, b), r in sorted(pairs.items())}, pairs=told)


def _draw_pairs(axes: Axes, pairs: dict[tuple[str, str], dict]) -> None:
    """Every pair with its interval, the best first; hollow: within one set."""
    order = sorted(pairs, key=lambda p: -pairs[p]["mean"])
    for y, pair in enumerate(order):
        entry = pairs[pair]
        colour = SOFT if entry.get("within") else COLOURS[0]
        axes.plot(entry["ci95"], [y, y], color=colour, lw=2.6, alpha=0.35, solid_capstyle="round")
        axes.plot(entry["mean"], y, "o", ms=4, color=colour, mfc="white" if entry.get("within") else colour)
    short = [tuple(name.replace("-phantom", "") for name in pair) for pair in order]
    axes.set_yticks(range(len(order)), [f"{a} (other subjects)" if a == b else f"{a} → {b}" for a, b in short])
    axes.set_ylim(len(order) - 0.4, -0.6)
    axes.set(xlim=(0, 1.03), xlabel="UF1, 95 % interval over subjects")
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def collect_leaks(inputs: Inputs) -> list[dict]:
    """Honest and leaky UF1 of every system: lines of the table that have both, and runs made with ``--leaky``.

    Raises:
        MissingInput: there is none.
    """
    rows = []
    if inputs.systems is not None:
        known = inputs.systems.dropna(subset=["leaky_uf1"])
        rows = [{k: _plain(v) for k, v in row.items()} for row in known.to_dict("records")]
    for run in inputs.leaky:
        leak = run.leak["mean"]
        rows.append({"system": f"STAG ({run.name})", "uf1": leak["last_epoch"]["uf1"], "lo": None, "hi": None,
                     "leaky_uf1": leak["best_test_epoch"]["uf1"],
                     "noise": [leak["permuted_last_epoch"]["uf1"], leak["permuted_best_test_epoch"]["uf1"]]})  # fmt: skip
    if not rows:
        raise MissingInput("neither a table of systems with leaky_uf1 nor a run made with --leaky was given")
    return rows


def _plain(value):
    return None if isinstance(value, float) and np.isnan(value) else value


@styled
def fig_10_leak_gap(inputs: Inputs, width: float = PAGE) -> Figure:
    """What choosing the epoch on the test subjects would claim, beside the honest score of the same system."""
    import matplotlib.pyplot as plt

    rows = collect_leaks(inputs)
    lines = [(r["system"], r["uf1"], r["leaky_uf1"], r["lo"], r["hi"], False) for r in rows]
    for r in rows:
        if r.get("noise"):
            lines.append((f"{r['system']}, labels shuffled", *r["noise"], None, None, True))
    figure, axes = plt.subplots(figsize=(width, 0.85 + 0.27 * len(lines)))
    for y, (_, honest, leaky, low, high, _noise) in enumerate(lines):
        if low is not None and high is not None:
            axes.plot([low, high], [y, y], color=COLOURS[0], lw=5, alpha=0.18, solid_capstyle="round")
        axes.plot([honest, leaky], [y, y], color=SOFT, lw=1)
        axes.plot(honest, y, "o", ms=5, color=COLOURS[0], label="honest" if y == 0 else None)
        axes.plot(leaky, y, "o", ms=5, mfc="white", mec=COLOURS[1], mew=1.3,
                  label="epoch chosen on the test subjects" if y == 0 else None)  # fmt: skip
        axes.annotate(f"{leaky - honest:+.3f}", (max(honest, leaky), y), (7, 0), textcoords="offset points", va="center",
                      fontsize=7)  # fmt: skip
    wide = width > 5
    names = [line[0] if wide else line[0].replace(", labels", ",\nlabels") for line in lines]
    axes.set_yticks(range(len(lines)), names)
    axes.set_ylim(len(lines) - 0.5, -0.6)
    axes.set_xlim(0, 1.12 if wide else 1.35)
    axes.set_xticks(np.linspace(0, 1, 6 if wide else 3))
    axes.grid(axis="x", color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("UF1")
    figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2, handletextpad=0.1, columnspacing=1.0)
    table = [inputs.systems_path] if inputs.systems_path else []
    return note(figure, [*inputs.leaky, *table], {"systems": len(rows)}, systems=rows)


@styled
def fig_13_complexity(inputs: Inputs, width: float = PAGE) -> Figure:
    """Score against multiply-adds; area grows with the number of parameters."""
    import matplotlib.pyplot as plt
    from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

    rows, sources, what = collect_costs(inputs)
    wide = width > 5
    rows = sorted(rows, key=lambda r: -r["uf1"])
    figure, axes = plt.subplots(figsize=(width, 2.7 if wide else 2.5 + 0.075 * len(rows)))
    largest = max((r["parameters"] or 0 for r in rows), default=0) or 1
    for rank, row in enumerate(rows, 1):
        colour = COLOURS[(rank - 1) % (len(COLOURS) - 2)]
        area = 60 + 170 * (row["parameters"] or 0) / largest
        if row["lo"] is not None and row["hi"] is not None:
            axes.plot(
                [row["macs"]] * 2, [row["lo"], row["hi"]], color=colour, lw=1.6, alpha=0.35, solid_capstyle="round"
            )
        size = f", {row['parameters'] / 1000:,.0f} k" if row["parameters"] else ""
        name = row.get("what", row["system"]) if wide else row["system"]
        axes.scatter(row["macs"], row["uf1"], s=area, color=colour, alpha=0.8, lw=0.7, ec="white", zorder=3,
                     label=f"{rank}  {name}: {row['uf1']:.3f}{size}")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    low, high = min(r["macs"] for r in rows), max(r["macs"] for r in rows)
    axes.set_xlim(low / 1.6, high * 1.6)
    _number(axes, rows, (0.6 if wide else 0.8) * width)
    axes.grid(color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.set(xlabel="multiply-adds of one clip", ylabel="UF1")
    where = (
        {"loc": "outside right center"} if wide else {"loc": "outside upper center", "ncols": 2, "columnspacing": 1.0}
    )
    legend = figure.legend(title="UF1, parameters (area)", handletextpad=0.4, fontsize=6.5, title_fontsize=6.5, **where)
    for handle in legend.legend_handles:
        handle.set_sizes([22])
    return note(figure, sources, {what: len(rows)}, rows=rows)


def _number(axes: Axes, rows: list[dict], wide: float) -> None:
    """Write the rank into each circle, a little to the right where it would lie on that of another.

    Args:
        axes: with its limits set, ``wide`` inches wide.
    """
    (left, right), (bottom, top) = np.log(axes.get_xlim()), axes.get_ylim()
    placed: list[tuple[float, float]] = []
    for rank, row in sorted(enumerate(rows, 1), key=lambda item: item[1]["macs"]):
        x, y = (np.log(row["macs"]) - left) / (right - left) * wide * 72, (row["uf1"] - bottom) / (top - bottom) * 130
        near = [px for px, py in placed if abs(py - y) < _APART]
        at = max([x, *(px + _APART for px in near if px + _APART > x)])
        placed.append((at, y))
        axes.annotate(str(rank), (row["macs"], row["uf1"]), (at - x, 0), textcoords="offset points", ha="center",
                      va="center", fontsize=6, color="white", weight="bold", zorder=4)  # fmt: skip


def collect_costs(inputs: Inputs) -> tuple[list[dict], list, str]:
    """Score and cost of each system; where there is no table of systems, of each variant of an ablation.

    Returns:
        Rows with ``system, uf1, lo, hi, parameters, macs``; what they come from; ``"systems"`` or ``"variants"``.

    Raises:
        MissingInput: neither was given.
    """
    keep = ("system", "uf1", "lo", "hi", "parameters", "macs")
    if inputs.systems is not None:
        known = inputs.systems.dropna(subset=["macs"])
        if len(known):
            return (
                [{k: _plain(row[k]) for k in keep} for row in known.to_dict("records")],
                [inputs.systems_path],
                "systems",
            )
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
