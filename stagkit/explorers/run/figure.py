"""The run browser as a static figure."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from stagkit.core.types import Clip
from stagkit.evaluation.run import Run
from stagkit.explorers.run.scene import ALL, RunTable, compute_table, find_warning, open_run
from stagkit.explorers.validation import check_choice
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled

_MAX_SUBJECTS, _MAX_CLIPS = 24, 12


@styled
def plot_run(
    run: Run | str | Path,
    *,
    seed: int = ALL,
    order: str = "worst",
    cell: tuple[str, str] | None = None,
    subject: str | None = None,
    clip: int | str | None = None,
    frames: Callable[[str], Clip] | None = None,
) -> Figure:
    """Draw a run's confusion matrix, its subjects and its worst or most surprising clips (``view_run`` is interactive).

    Args:
        run: a finished ``Run`` or its folder.
        seed: whose predictions, -1 = all seeds (a clip counts once for each).
        order: ``"worst"``, ``"surprising"`` or ``"name"``, see ``run.scene.ORDERS``.
        cell: (true class, predicted class): only clips of that cell are listed.
        subject: only this subject's clips are listed.
        clip: index or id of the clip selected.
        frames: function clip id -> ``Clip`` for the flow explorer; phantoms are rendered again without it.

    Returns:
        A matplotlib Figure, 7.16 in wide, 8 pt, without a title inside.

    Raises:
        RunError: no finished run, or it is damaged. StagkitError: an argument that is out of range.
    """

    run = open_run(run)
    table = compute_table(run)
    check_choice("subject", subject or "", ("", *dict.fromkeys(table.subjects)))
    figure = Figure(figsize=(PAGE, 3.0), facecolor="white", layout="constrained")
    matrix, subjects, rows = figure.subplots(1, 3, width_ratios=(1, 0.6, 1.75))
    _draw_matrix(matrix, table, seed, cell)
    _draw_subjects(subjects, table, seed, subject)
    bold = -1 if clip is None else table.index(clip)
    _draw_clips(rows, table, table.select(order, seed, cell, subject), seed, order, bold)
    uf1, warning, caveat = run.metrics["uf1"], find_warning(run), run.metrics["caveat"]
    words = f"{run.name}: UF1 {uf1['mean']:.3f} (95 % {uf1['ci95'][0]:.3f} to {uf1['ci95'][1]:.3f}, over subjects)"
    words += f"; caution: {caveat}" if caveat else ""
    figure.suptitle(f"{words}; this run {warning}" if warning else words, fontsize=7, x=0.01, ha="left")
    return figure


def _draw_matrix(axes: Axes, table: RunTable, seed: int, cell: tuple[str, str] | None) -> None:

    counts = table.confusion(seed)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    for i, j in np.ndindex(counts.shape):
        axes.text(j, i, counts[i, j], ha="center", va="center", color="white" if share[i, j] > 0.55 else INK)
    if cell:
        at = table.classes.index(cell[1]) - 0.5, table.classes.index(cell[0]) - 0.5
        axes.add_patch(Rectangle(at, 1, 1, fill=False, ec=COLOURS[1], lw=2))
    axes.set_xticks(range(len(table.classes)), table.classes, rotation=35, ha="right")
    axes.set_yticks(range(len(table.classes)), table.classes)
    axes.set(xlabel=f"predicted (n = {counts.sum()})", ylabel="true")
    axes.spines[:].set_visible(False)


def _draw_subjects(axes: Axes, table: RunTable, seed: int, subject: str | None) -> None:
    rows = table.by_subject(seed)[:_MAX_SUBJECTS][::-1]
    colours = [COLOURS[1] if row["name"] == subject else COLOURS[0] for row in rows]
    axes.barh(range(len(rows)), [100 * row["accuracy"] for row in rows], color=colours)
    names = [f"{row['name'].split('/')[-1]} ({row['clips']})" for row in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=min(7, 120 / max(len(rows), 1)))
    n_all = len(set(table.subjects))
    axes.set(xlim=(0, 100), xlabel="accuracy (%)" + (f", worst {len(rows)} of {n_all}" if n_all > len(rows) else ""))


def _draw_clips(axes: Axes, table: RunTable, clips: list[int], seed: int, order: str, bold: int) -> None:
    """A list: clip, true class, predicted class, probability of the true class, surprise."""
    axes.axis("off")
    probability, surprise = table.true_probability(seed), table.surprise(seed)

    def write(y: float, cells: tuple[str, ...], **font: object) -> None:
        for x, text in zip((0.0, 0.25, 0.45, 0.83, 1.0), cells, strict=True):
            text = text if len(text) < 22 else text[:20] + "…"
            axes.text(x, y, text, transform=axes.transAxes, va="top", ha="left" if x < 0.8 else "right", **font)

    write(1.0, ("clip", "true", "predicted", "p(true)", "surprise"), color=SOFT, fontsize=6.5)
    for k, i in enumerate(clips[:_MAX_CLIPS]):
        predicted = table.predicted[:, i] if seed == ALL else table.predicted[[table.seeds.index(seed)], i]
        names = "/".join(dict.fromkeys(table.classes[c] for c in predicted if c >= 0))  # the seeds may differ
        values = table.clip_ids[i], table.classes[table.label[i]], names, f"{probability[i]:.2f}", f"{surprise[i]:+.2f}"
        write(1 - (k + 1.2) / (_MAX_CLIPS + 1.5), values, fontsize=6.2, weight="bold" if i == bold else "normal")
    words = {"worst": "worst first", "surprising": "most surprising first", "name": "by name"}[order]
    rest = f"{min(len(clips), _MAX_CLIPS)} of {len(clips)} clips, {words}"
    axes.text(0, -0.02, rest, transform=axes.transAxes, color=SOFT, fontsize=6, va="top")
    axes.plot([0, 1], [0.945, 0.945], transform=axes.transAxes, color=FAINT, lw=0.8)
