"""Tables and figure of the graph benchmark (``graph.py``)."""

from collections.abc import Iterable

import matplotlib.pyplot as plt
import numpy as np
from graph_training import EDGES, OCCLUSION

from stagkit.core.facs import AU_LABELS
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SIGNED_SCALE, hide_frame, nice_limit, style
from stagkit.synthetic.relations import RELATIONS

LABEL = {"fc": "white", "ec": "none", "pad": 0.3}
LEGEND = {"borderaxespad": 0.1, "frameon": True, "edgecolor": "none", "framealpha": 1.0, "borderpad": 0.2}


def make_table(head: str, rows: Iterable[Iterable]) -> list[str]:
    columns = head.split(" | ")
    return [f"| {head} |", "|---" * len(columns) + "|", *(f"| {' | '.join(map(str, row))} |" for row in rows)]


def format_score(row: dict) -> str:
    return f"{row['uf1']:.3f} {format_ends(row['uf1_ci95'])}"


def format_ends(ends: Iterable[float | None]) -> str:
    return "" if None in ends or np.isnan(list(ends)).any() else "[{:.3f}, {:.3f}]".format(*ends)


def format_number(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"


def format_relations(details: dict) -> list[str]:
    rows = [
        [
            r,
            s,
            format_score(row["graph"]),
            format_score(row["no_au_edges"]),
            describe_interval(row["minus"]["no_au_edges"]),
        ]
        for s, relations in details["relations"].items()
        for r, row in relations.items()
    ]
    return make_table("relation | strength | graph, UF1 | without AU edges, UF1 | graph minus without", rows)


def format_synkinesis(details: dict) -> list[str]:
    rows = [
        [name, f"{row['mean']:.3f} {format_ends((row['low'], row['high']))}", format_number(row.get("uf1"))]
        for name, row in details["synkinesis"]["rankings"].items()
    ]
    return make_table("ranking of the AU pairs | AUROC for the planted pairs | UF1 of unseen subjects", rows)


def format_occlusion(details: dict) -> list[str]:
    rows = [
        [
            f"{float(share):.0%}",
            *(format_score(row[v]) for v in OCCLUSION),
            *map(describe_interval, row["minus"].values()),
        ]
        for share, row in details["occlusion"].items()
    ]
    names = " | ".join(f"{name}, UF1" for name in OCCLUSION.values())
    return make_table(f"hidden | {names} | graph minus no edge | graph minus no imputation", rows)


def format_structure(details: dict) -> list[str]:
    part = details["structure"]
    trained = [
        [EDGES[kind], row["n_edges"], f"{row['anatomical']:.0%}", format_score(row),
         describe_interval(part["trained"]["minus"][kind]) if kind != "graph" else "", format_number(row["au_auroc"])]
        for kind, row in part["trained"].items() if kind != "minus"
    ]  # fmt: skip
    removed = [
        [
            name,
            format_score(row),
            describe_interval(row["minus"]),
            f"{row['lost_correct']:.0%}",
            f"{row['lost_variation']:.3f}",
        ]
        for name, row in part["removed"].items()
    ]
    head = "region edges in training | edges | of them anatomical | UF1 | anatomy minus it | AU AUROC"
    after = (
        "removed after training | UF1 | minus nothing removed | correct predictions lost | variation of the logits lost"
    )
    majority = f"Majority class: UF1 {part['majority']:.3f}."
    return [*make_table(head, trained), "", *make_table(after, removed), "", majority]


def format_edges(details: dict) -> list[str]:
    part = details["edges"]
    names = {
        "top_region_edge": "strongest region edge, share of the margin (median)",
        "top_au_edge": "strongest AU edge, share of the margin (median)",
        "agreement": "rank correlation of terms of region edges with the effects of their removal (median)",
    }
    rows = [[text, f"{part[n]['median']:.3f}", format_ends(part[n]["ci95"])] for n, text in names.items()]
    rows.insert(0, ["largest error of the two sums of terms, logits", f"{details['contribution_error']:.1e}", ""])
    seeds = {"stability_affinity": "AU graph", "stability_region_edges": "mean terms of region edges per class"}
    rows += [[f"correlation of two seeds: {text}", format_number(part[name]), ""] for name, text in seeds.items()]
    return make_table("what | value | 95 % interval", rows)


@style()
def draw_figure(details: dict) -> plt.Figure:
    """Relations, occlusion and the learned AU graph, as far as they were measured."""
    drawings = {"relations": draw_relations, "occlusion": draw_occlusion, "synkinesis": draw_affinity}
    parts = [name for name in drawings if name in details]
    figure, all_axes = plt.subplots(1, len(parts), figsize=(PAGE, 2.6), squeeze=False)
    figure.get_layout_engine().set(wspace=0.06)
    for axes, name, letter in zip(all_axes[0], parts, "abc", strict=False):
        drawings[name](axes, details[name])
        axes.set_title(f"{letter}   {axes.get_title()}", loc="left", pad=8)
        axes.set_title("")
    return figure


def draw_curve(axes: plt.Axes, x: np.ndarray, rows: list[dict], colour: str, name: str) -> None:
    axes.fill_between(x, *np.array([row["uf1_ci95"] for row in rows]).T, color=colour, alpha=0.14, lw=0)
    axes.plot(x, [row["uf1"] for row in rows], "o-", color=colour, ms=3.8, mec="white", mew=0.6, label=name)


def draw_relations(axes: plt.Axes, table: dict) -> None:
    """Mean over relations with its interval; thin lines: each relation."""
    x = np.array([float(s) for s in table])
    for key, name, colour in (("graph", "with AU edges", COLOURS[0]), ("no_au_edges", "without AU edges", COLOURS[1])):
        ends = {r: table[f"{x[-1]:g}"][r][key]["uf1"] for r in RELATIONS}
        places = np.array(sorted(ends.values()))
        for i in range(1, len(places)):  # names do not overlap
            places[i] = max(places[i], places[i - 1] + 0.045)
        places -= places.mean() - np.mean(list(ends.values()))
        for (relation, end), place in zip(sorted(ends.items(), key=lambda one: one[1]), places, strict=True):
            axes.plot(x, [rows[relation][key]["uf1"] for rows in table.values()], color=colour, lw=0.6, alpha=0.55)
            axes.plot([1, 1.06], [end, place], color=colour, lw=0.4, alpha=0.55, clip_on=False)
            axes.text(1.07, place, relation, color=colour, fontsize=6, va="center", bbox=LABEL)
        draw_curve(axes, x, [rows["mean"][key] for rows in table.values()], colour, name)
    axes.set(title="Class by a relation of two AUs", xlabel="strength of the relation", ylabel="UF1", xticks=x)
    axes.set(xlim=(-0.04, 1.3), ylim=(0.28, 1.03))
    axes.spines.bottom.set_bounds(0, 1)
    axes.legend(loc="upper left", **LEGEND)
    axes.grid(axis="y", color=FAINT, lw=0.5)


def draw_occlusion(axes: plt.Axes, table: dict) -> None:
    x = 100 * np.array([float(s) for s in table])
    for variant, colour in zip(("graph", "no imputation", "none"), (COLOURS[0], COLOURS[4], COLOURS[1]), strict=True):
        draw_curve(axes, x, [row[variant] for row in table.values()], colour, OCCLUSION[variant])
    low, high = axes.get_ylim()
    axes.set(title="Hidden regions", xlabel="hidden regions, %", xticks=x, ylim=(low - 0.35 * (high - low), high))
    axes.legend(loc="lower left", **LEGEND)
    axes.grid(axis="y", color=FAINT, lw=0.5)


def draw_affinity(axes: plt.Axes, part: dict) -> None:
    """Of the first seed, below the diagonal; squares: the planted pairs."""
    affinity, planted = (np.tril(np.array(part["seed 0"][name], float), -1) for name in ("affinity", "planted"))
    limit, labels = nice_limit(affinity), [label[2:] for label in AU_LABELS]
    cells = np.where(np.tri(len(labels), k=-1) > 0, affinity, np.nan)[1:, :-1]
    shade = axes.pcolormesh(cells, cmap=SIGNED_SCALE, vmin=-limit, vmax=limit, ec="white", lw=0.4)
    for k, m in np.argwhere(planted):
        axes.add_patch(plt.Rectangle((m, k - 1), 1, 1, fc="none", ec=INK, lw=1.1, zorder=3))
    axes.set(title="AU graph that was learned", xlabel="AU", ylabel="AU", aspect="equal", ylim=(len(cells), 0))
    hide_frame(axes, ticks=True)
    axes.set_xticks(np.arange(len(cells)) + 0.5, labels[:-1], fontsize=5.2)
    axes.set_yticks(np.arange(len(cells)) + 0.5, labels[1:], fontsize=5.2)
    axes.plot([], [], "s", mfc="none", mec=INK, ms=5, label="planted pair")
    axes.legend(loc="upper right", borderaxespad=0.1, handletextpad=0.2)
    bar = axes.inset_axes([0.62, 0.74, 0.36, 0.035])
    axes.figure.colorbar(shade, cax=bar, orientation="horizontal", ticks=[-limit, 0, limit]).outline.set_linewidth(0.4)
    bar.tick_params(labelsize=6, length=2, pad=1)
    bar.set_title("affinity", fontsize=6.5, pad=2)
