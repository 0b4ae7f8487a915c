"""Figures of training and evaluation: folds, scores, confusion, leaks, intervals, and the comparison of systems."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from stagkit.core.errors import StagkitError
from stagkit.core.types import RoiDataset
from stagkit.evaluation.leakage import select_epoch_on_test
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold
from stagkit.plots.style import (
    COLOURS,
    COLUMN,
    FAINT,
    INK,
    PAGE,
    SIGNED_SCALE,
    SOFT,
    draw_interval,
    hide_frame,
    name_rows,
    styled,
)

#: Scores as figures and pages print them.
SCORE_NAMES = dict(zip(SCORES, ("UF1", "UAR", "accuracy"), strict=True))

#: Keys of ``leak.json`` in the order they are drawn: (last epoch, best test epoch) of true and of shuffled labels.
_LEAK_PAIRS = {
    "true labels": ("last_epoch", "best_test_epoch"),
    "shuffled labels": ("permuted_last_epoch", "permuted_best_test_epoch"),
}

#: Least distance of two numbers in the circles of ``draw_costs``, pt.
_APART = 6


@styled
def plot_training(losses: Sequence[float]) -> Figure:
    """Mean training loss per epoch."""
    figure, axes = plt.subplots(figsize=(COLUMN, 2.0))
    axes.plot(np.arange(1, len(losses) + 1), losses)
    axes.set(xlabel="epoch", ylabel="training loss")
    axes.set_ylim(bottom=0)
    return figure


@styled
def plot_folds(data: RoiDataset, protocols: Mapping[str, Sequence[Fold]]) -> Figure:
    """Which clips each fold of each protocol tests: one row per fold, one column per clip, sorted by subject.

    A test clip is coloured by its subject, two colours in turn; training clips are pale. Test clips are those that are
    *not* trained on, so no seal is opened.

    Raises:
        StagkitError: no protocol was given.
    """
    if not protocols:
        raise StagkitError("no folds were given: expected e.g. {'leave one subject out': make_folds(data)}.")
    order = np.argsort(np.asarray(data.subjects), kind="stable")
    names, subject = np.unique(np.asarray(data.subjects)[order], return_inverse=True)
    figure, row = plt.subplots(1, len(protocols), figsize=(PAGE, 2.3), squeeze=False)
    for axes, (name, folds) in zip(row[0], protocols.items(), strict=True):
        image = np.empty((len(folds), len(order), 3))
        image[:] = to_rgb(FAINT)
        for i, fold in enumerate(folds):
            tested = ~np.isin(order, fold.train)
            for k in (0, 1):
                image[i, tested & (subject % 2 == k)] = to_rgb(COLOURS[k])
        axes.imshow(image, aspect="auto", interpolation="nearest")
        for edge in np.flatnonzero(np.diff(subject)) + 0.5:
            axes.axvline(edge, color="white", lw=1)
        for edge in np.arange(len(folds) - 1) + 0.5:
            axes.axhline(edge, color="white", lw=1)
        hide_frame(axes)
        axes.set_title(name)
        axes.set(xlabel=f"{len(order)} clips of {len(names)} subjects", ylabel="fold")
        axes.set_yticks([0, len(folds) - 1], ["1", str(len(folds))])
    figure.supxlabel("coloured = tested (two colours, subject by subject), pale = trained on", fontsize=7, color=SOFT)
    return figure


@styled
def plot_scores(runs: Sequence[Run]) -> Figure:
    """UF1, UAR and accuracy of runs with 95 % intervals over subjects, and two chance baselines."""
    baselines = ("permuted", "majority")
    figure, row = plt.subplots(1, 3, figsize=(PAGE, 0.7 + 0.32 * (len(runs) + 2)), sharey=True)
    for axes, score in zip(row, SCORES, strict=True):
        for y, run in enumerate(runs):
            entry = run.metrics[score]
            axes.plot(list(entry["per_seed"].values()), [y] * len(entry["per_seed"]), "|", color=COLOURS[0], ms=7)
            draw_interval(axes, y, entry["mean"], entry["ci95"], text=f"{entry['mean']:.2f}")
        for y, name in enumerate(baselines, start=len(runs)):
            axes.plot(runs[0].metrics["baselines"][name][score], y, "D", color=SOFT, ms=4)
        name_rows(axes, [*(run.name for run in runs), *baselines], top=0.8)
        axes.set(xlim=(0, 1), xlabel=SCORE_NAMES[score])
    for axes in row[1:]:
        axes.tick_params(labelleft=False)
    cautions = [f"caution ({run.name}): {run.metrics['caveat']}" for run in runs if run.metrics["caveat"]]
    if cautions:
        figure.supxlabel("\n".join(cautions), fontsize=6, color=SOFT)
    return figure


def draw_confusion(axes: Axes, counts: np.ndarray, classes: Sequence[str], small: bool = False):
    """Shares of each true class (%) with ``counts`` "label prediction", ``small`` letters if many; returns the mesh."""
    share = 100 * counts / np.maximum(counts.sum(1, keepdims=True), 1)
    words = np.array([f"{s:.0f} %\n{n}" if n else "" for s, n in zip(share.flat, counts.flat, strict=True)])
    letters = {"fontsize": 5.5 if small else 7, "linespacing": 1.2}
    sns.heatmap(share, annot=words.reshape(share.shape), fmt="", cmap="Blues", vmin=0, vmax=100, square=True, cbar=False,
                linewidths=1, annot_kws=letters, ax=axes)  # fmt: skip
    middle = np.arange(len(classes)) + 0.5
    axes.set_xticks(middle, classes, rotation=30 if small else 0, ha="right" if small else "center")
    axes.set_yticks(middle, classes, rotation=0 if small else 90, va="center")
    axes.tick_params(length=0)
    return axes.collections[0]


@styled
def plot_confusion(run: Run) -> Figure:
    """Confusion of the pooled predictions: share of each true class, with counts (summed over seeds)."""
    classes = run.metrics["classes"]
    figure, axes = plt.subplots(figsize=(1.2 + 0.65 * len(classes), 0.8 + 0.6 * len(classes)))
    mesh = draw_confusion(axes, np.array(run.metrics["confusion"]), classes, small=len(classes) > 4)
    figure.colorbar(mesh, ax=axes, label="share of the true class (%)", shrink=0.8)
    axes.set(xlabel="predicted class", ylabel="true class")
    return figure


@styled
def plot_intervals(
    rows: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    reference: float | None = None,
    reference_name: str = "",
) -> Figure:
    """Values with their intervals, one below the other; a dashed line at ``reference``, e.g. 0 for differences.

    Args:
        rows: name -> (value, low, high), all in one unit.

    Raises:
        StagkitError: no row, or an interval whose ends are the wrong way round.
    """
    if not rows:
        raise StagkitError("there is no row to draw: expected name -> (value, low, high).")
    figure, axes = plt.subplots(figsize=(PAGE * 0.7, 0.8 + 0.36 * len(rows)))
    for y, (name, (value, low, high)) in enumerate(rows.items()):
        if low > high:
            raise StagkitError(f"the interval of {name!r} goes from {low} to {high}: expected (value, low, high).")
        draw_interval(axes, y, value, (low, high), text=f"{value:+.2f}" if reference == 0 else f"{value:.2f}")
    if reference is not None:
        axes.axvline(reference, color=INK, lw=0.9, ls="--", zorder=0)
        axes.annotate(reference_name, (reference, 1), (3, 0), xycoords=("data", "axes fraction"), fontsize=7,
                      textcoords="offset points", va="bottom", ha="center")  # fmt: skip
    name_rows(axes, list(rows), top=0.7)
    axes.set_xlabel(xlabel)
    return figure


@styled
def plot_epoch_choice(run: Run, seed: int = 0) -> Figure:
    """Test accuracy of each fold after each epoch of a leaky run; ringed is the epoch selected on the test clips.

    Raises:
        StagkitError: the run is not leaky, so it has no predictions of its epochs.
    """
    if not run.request.get("leaky"):
        raise StagkitError("this run kept no predictions of its epochs: evaluate(..., leaky=True) does.")
    table, classes = run.predictions, list(run.request["classes"])
    label = table["label"].map(classes.index).to_numpy()
    figure, axes = plt.subplots(figsize=(PAGE * 0.75, 2.5))
    rows = []
    for i in range(len(run.split)):
        truth = label[((table["seed"] == seed) & (table["fold"] == i)).to_numpy()]
        predictions = run.load_epoch_predictions(seed, i)
        rows.append((predictions == truth).mean(1))
        best = select_epoch_on_test(truth, predictions)
        ring = {"label": "epoch selected on the test clips"} if i == 0 else {}
        axes.plot(np.arange(1, len(predictions) + 1), rows[-1], color=SOFT, lw=0.7, alpha=0.7, zorder=1)
        axes.plot(best + 1, rows[-1][best], "o", mfc="none", mec=COLOURS[1], ms=6, mew=1.3, zorder=3, **ring)
    mean = np.mean(rows, axis=0)
    axes.plot(np.arange(1, len(mean) + 1), mean, color=COLOURS[0], lw=2, label="mean of the folds", zorder=2)
    axes.plot(len(mean), mean[-1], "o", color=COLOURS[0], ms=5, label="last epoch, fixed beforehand", zorder=3)
    axes.set(xlabel="epoch", ylabel="share of the fold's test clips right", ylim=(0, 1.05))
    figure.legend(loc="outside right upper")
    return figure


def draw_leak(axes: Axes, rows: Sequence[tuple[str, float, float, Sequence[float | None]]]) -> None:
    """Honest score (dot) with its interval, score of the epoch selected on the test set (ring), and their difference.

    ``rows``: name, honest score, score of the epoch selected on the test set, interval of the honest one or (None, None).
    """
    for y, (_, honest, leaky, interval) in enumerate(rows):
        axes.plot([honest, leaky], [y, y], color=SOFT, lw=1)
        draw_interval(axes, y, honest, interval, ms=5, label="last epoch (honest)" if y == 0 else None)
        draw_interval(axes, y, leaky, (None, None), ms=5, mfc="white", mec=COLOURS[1], mew=1.3,
                      label="epoch selected on the test set" if y == 0 else None)  # fmt: skip
        axes.annotate(f"{leaky - honest:+.3f}", (max(honest, leaky), y), (7, 0), textcoords="offset points", va="center",
                      fontsize=7)  # fmt: skip
    name_rows(axes, [row[0] for row in rows])
    axes.set_xlim(0, 1.12)


@styled
def plot_leak(source: Mapping) -> Figure:
    """Optimism of selecting the epoch on the test set: honest and optimistic UF1 in one row.

    ``source``: what ``leak.json`` holds (true and shuffled labels), or a comparison of systems (one row per system).
    """
    if "systems" in source:
        trained = [row for row in source["systems"].values() if row.get("leak")]
        rows = [(r["title"], r["uf1"]["mean"], r["leak"]["optimistic"]["uf1"], r["uf1"]["ci95"]) for r in trained]
    else:
        mean = source["mean"]
        rows = [(name, mean[a]["uf1"], mean[b]["uf1"], (None, None)) for name, (a, b) in _LEAK_PAIRS.items()]
    figure, axes = plt.subplots(figsize=(PAGE * 0.85, 0.85 + 0.25 * len(rows)))
    draw_leak(axes, rows)
    axes.set_xlabel("UF1")
    figure.legend(loc="outside upper left", ncols=2, borderaxespad=0.2)
    return figure


@styled
def plot_views(views: Mapping[str, RoiDataset], clip: int = 0) -> Figure:
    """Inputs of the systems for one clip: last frame, dynamic image, MESTI, and onset-apex flow (u, v).

    The two pooled images share one scale, so do u and v. ``views``: of ``inputs.make_views``, with ``film, dynamic, mesti,
    face``.
    """
    figure, row = plt.subplots(1, 5, figsize=(PAGE, 1.75))
    film = views["film"].x[clip, :, 0].mean(1)
    row[0].imshow(film[views["film"].mask[clip, :, 0]][-1], cmap="gray", vmin=0, vmax=1)
    row[0].set_title("a frame")
    pooled = np.stack([100 * views[name].x[clip, 0, 0].mean(0) for name in ("dynamic", "mesti")])
    flow = views["face"].x[clip, 0, 0, :2]
    for cells, titles, images, unit in (
        (row[1:3], ("dynamic image", "MESTI"), pooled, "% of white"),
        (row[3:], ("flow u", "flow v"), flow, "% of eye distance"),
    ):
        most = float(np.percentile(np.abs(images), 99.5)) or 1.0
        for axes, title, image in zip(cells, titles, images, strict=True):
            drawn = axes.imshow(image, cmap=SIGNED_SCALE, vmin=-most, vmax=most)
            axes.set_title(title)
        figure.colorbar(drawn, ax=cells[1], label=unit, shrink=0.8)
    for axes in row:
        axes.set(xticks=[], yticks=[])
    return figure


@styled
def plot_comparison(result: Mapping) -> Figure:
    """UF1 of every system with its 95 % interval over subjects, and its paired difference from STAG.

    ``result``: of ``compare_systems``, or its ``comparison.json``.
    """
    systems = result["systems"].values()
    size = (PAGE, 0.75 + 0.23 * len(systems))
    figure, (left, right) = plt.subplots(1, 2, figsize=size, sharey=True, width_ratios=(1.15, 1))
    for y, row in enumerate(systems):
        draw_interval(left, y, row["uf1"]["mean"], row["uf1"]["ci95"], COLOURS[0 if "minus_stag" in row else 1])
        paired = row.get("minus_stag", {}).get("uf1")
        if paired and paired["ci95"][0] is not None:
            draw_interval(right, y, paired["difference"], paired["ci95"], SOFT)
    for axes in (left, right):
        name_rows(axes, [row["title"] for row in systems], top=0.5)
    right.tick_params(labelleft=False)
    right.axvline(0, color=COLOURS[1], lw=1)
    left.set(xlim=(0, 1), xlabel="UF1, 95 % over subjects")
    right.set_xlabel("UF1 minus STAG's, paired")
    if result.get("caveat"):
        figure.supxlabel(f"caution: {result['caveat']}", fontsize=6, color=SOFT)
    return figure


@styled
def plot_pointing(result: Mapping) -> Figure:
    """Pointing-game accuracy of every explained system with 95 % over subjects; chance and largest motion as lines."""
    rows = [row for row in result["systems"].values() if row.get("explanation")]
    figure, axes = plt.subplots(figsize=(PAGE, 0.85 + 0.23 * len(rows)))
    for y, row in enumerate(rows):
        score = row["explanation"]["pointing"]
        draw_interval(axes, y, score["mean"], (score["low"], score["high"]), COLOURS[2])
    truth = result["explanation"]
    axes.axvline(truth["chance"]["mean"], color=SOFT, lw=1, ls=":", label="chance")
    axes.axvline(truth["flow_magnitude"]["pointing"]["mean"], color=SOFT, lw=1, ls="--", label="largest motion")
    name_rows(axes, [row["title"] for row in rows], top=0.5)
    axes.set(xlim=(0, 1.02), xlabel=f"pointing-game accuracy ({truth['truth']}), share of clips")
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


def draw_costs(figure: Figure, axes: Axes, rows: Sequence[Mapping]) -> None:
    """UF1 against multiply-adds, best first; area grows with the parameters, numbers lead to the names in the legend.

    The legend is to the right of a wide figure, above a narrow one. ``rows``: with ``system, uf1, lo, hi, parameters,
    macs``; ``parameters`` and the interval may be None.
    """
    width, rows = figure.get_figwidth(), sorted(rows, key=lambda r: -r["uf1"])
    wide = width > 5
    largest = max((r["parameters"] or 0 for r in rows), default=0) or 1
    for rank, row in enumerate(rows, 1):
        colour = COLOURS[(rank - 1) % (len(COLOURS) - 2)]
        if row["lo"] is not None and row["hi"] is not None:
            ends = [row["lo"], row["hi"]]
            axes.plot([row["macs"]] * 2, ends, color=colour, lw=1.6, alpha=0.35, solid_capstyle="round")
        size = f", {row['parameters'] / 1000:,.0f} k" if row["parameters"] else ""
        name = row.get("what", row["system"]) if wide else row["system"]
        axes.scatter(row["macs"], row["uf1"], s=60 + 170 * (row["parameters"] or 0) / largest, color=colour, alpha=0.8,
                     lw=0.7, ec="white", zorder=3, label=f"{rank}  {name}: {row['uf1']:.3f}{size}")  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(r["macs"] for r in rows) / 1.6, max(r["macs"] for r in rows) * 1.6)
    _number_circles(axes, rows, (0.6 if wide else 0.8) * width)
    axes.grid(color=FAINT, lw=0.5)
    axes.set_axisbelow(True)
    axes.set(xlabel="multiply-adds of one clip", ylabel="UF1")
    where = {"loc": "outside right center"} if wide else {"loc": "outside upper center", "ncols": 2, "columnspacing": 1}
    legend = figure.legend(title="UF1, parameters (area)", handletextpad=0.4, fontsize=6.5, title_fontsize=6.5, **where)
    for handle in legend.legend_handles:
        handle.set_sizes([22])


def _number_circles(axes: Axes, rows: Sequence[Mapping], width: float) -> None:
    """Write the rank into each circle, a little to the right if it would overlap another; ``width`` of the axes, in."""
    (left, right), (bottom, top) = np.log(axes.get_xlim()), axes.get_ylim()
    placed: list[tuple[float, float]] = []
    for rank, row in sorted(enumerate(rows, 1), key=lambda item: item[1]["macs"]):
        x, y = (np.log(row["macs"]) - left) / (right - left) * width * 72, (row["uf1"] - bottom) / (top - bottom) * 130
        near = [px for px, py in placed if abs(py - y) < _APART]
        at = max([x, *(px + _APART for px in near if px + _APART > x)])
        placed.append((at, y))
        axes.annotate(str(rank), (row["macs"], row["uf1"]), (at - x, 0), textcoords="offset points", ha="center",
                      va="center", fontsize=6, color="white", weight="bold", zorder=4)  # fmt: skip


@styled
def plot_costs(result: Mapping) -> Figure:
    """UF1 of every system of ``compare_systems`` against the multiply-adds per clip; area grows with the parameters."""
    figure, axes = plt.subplots(figsize=(PAGE, 2.7))
    rows = [
        {"system": row["title"], "uf1": row["uf1"]["mean"], "lo": row["uf1"]["ci95"][0], "hi": row["uf1"]["ci95"][1],
         "parameters": row["parameters"], "macs": row["multiply_adds"]}
        for row in result["systems"].values() if row["multiply_adds"]
    ]  # fmt: skip
    draw_costs(figure, axes, rows)
    return figure
