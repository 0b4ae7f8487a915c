"""``stagkit figures``: all figures in both widths, the tables, and an index of their sources."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from stagkit.core.files import Progress, no_progress, write_text
from stagkit.core.types import StagkitError
from stagkit.evaluation.run import Run
from stagkit.plots.style import COLUMN, FAINT, INK, PAGE, SOFT, save_figure, styled
from stagkit.reports.paper.evidence import fig_11_muscles, fig_12_controls
from stagkit.reports.paper.graphs import (
    fig_01_pipeline,
    fig_04_au_graphs,
    fig_05_temporal_attention,
    fig_06_cross_attention,
)
from stagkit.reports.paper.inputs import Inputs, is_phantom, load_inputs
from stagkit.reports.paper.motion import fig_02_motion, fig_03_regions_and_muscles
from stagkit.reports.paper.scores import (
    fig_07_confusion,
    fig_08_ablation,
    fig_09_across_data_sets,
    fig_10_leak_gap,
    fig_13_complexity,
)
from stagkit.reports.paper.tables import TABLES, make_tables


class Entry(NamedTuple):
    """One numbered figure: its function, and the notebook that teaches what it shows."""

    draw: Callable[[Inputs, float], Figure]
    notebook: str

    @property
    def name(self) -> str:
        """Stem of its files, e.g. ``fig07_confusion``."""
        return self.draw.__name__.replace("fig_", "fig")


#: In the order of the paper.
FIGURES = (
    Entry(fig_01_pipeline, "06"),
    Entry(fig_02_motion, "02"),
    Entry(fig_03_regions_and_muscles, "03"),
    Entry(fig_04_au_graphs, "11"),
    Entry(fig_05_temporal_attention, "05"),
    Entry(fig_06_cross_attention, "06"),
    Entry(fig_07_confusion, "08"),
    Entry(fig_08_ablation, "06"),
    Entry(fig_09_across_data_sets, "08"),
    Entry(fig_10_leak_gap, "08"),
    Entry(fig_11_muscles, "09"),
    Entry(fig_12_controls, "10"),
    Entry(fig_13_complexity, "12"),
)

#: Ending of a file's stem -> width in inches.
WIDTHS = {"": PAGE, "_column": COLUMN}
#: Thumbnails per row of ``plot_set``.
_COLUMNS = 5


@styled
def draw_figure(entry: Entry, inputs: Inputs, width: float) -> Figure:
    """One figure in one width; its foot says that it shows phantoms, and the caveat of its intervals."""
    figure = entry.draw(inputs, width)
    lines = [" phantom data"] if figure.stagkit_source["phantom"] else []
    if figure.stagkit_source["caveat"]:
        caution = f"caution: {figure.stagkit_source['caveat']}"
        lines += wrap(caution, int(25 * width), initial_indent=" ", subsequent_indent=" ")
    if lines:
        foot = 0.09 * len(lines) / figure.get_figheight()
        figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
        figure.text(0.0, 0.0, "\n".join(lines), ha="left", va="bottom", fontsize=5.5, color=SOFT)
    return figure


def make_figures(
    paths: Sequence[str | Path], out: str | Path, progress: Progress = no_progress, only: Sequence[int] = ()
) -> list[Path]:
    """Draw every numbered figure from files: PDF, PNG and JSON each, in two widths, LaTeX tables, an index.

    Figures whose input is missing are skipped, with the reason in the index. The same inputs give the same bytes.

    Args:
        paths: folders of runs, ablations, comparisons of systems; most figures show the first run.
        out: folder to fill.
        progress: wraps the figures.
        only: numbers of the figures wanted; all, the tables and the index if empty.

    Raises:
        StagkitError: as ``load_inputs``; an unknown number; the input of a figure of ``only`` is missing.
    """
    matplotlib.use("Agg")
    numbers = {int(e.name[3:5]): e for e in FIGURES}
    unknown = sorted(set(only) - set(numbers))
    if unknown:
        raise StagkitError(f"there is no figure {unknown[0]}; there are 1 to {len(FIGURES)}.")
    inputs, out = load_inputs(paths), Path(out)
    written, problems = [], {}
    chosen = [numbers[k] for k in only] if only else list(FIGURES)
    for entry in progress(chosen, len(chosen)):
        try:
            for ending, width in WIDTHS.items():
                figure = draw_figure(entry, inputs, width)
                source = {"function": f"{entry.draw.__module__}.{entry.draw.__name__}", **figure.stagkit_source}
                written += save_figure(figure, out, f"{entry.name}{ending}", source, sidecar=not ending)
        except StagkitError as reason:
            if only:
                raise
            problems[entry.name] = str(reason).removesuffix(".")
    if not only:
        table_problems = make_tables(inputs, out)
        write_text(out / "README.md", format_index(inputs, {**problems, **table_problems}))
        written += [*(out / f"{name}.tex" for name in TABLES if name not in table_problems), out / "README.md"]
    return written


def format_index(inputs: Inputs, problems: Mapping[str, str]) -> str:
    """``README.md`` of a folder of figures; ``problems``: name of each figure or table that was not made -> why."""

    def cell(name: str, verb: str, ending: str) -> str:
        return f"{name}: not {verb}, {problems[name]}" if name in problems else f"[{name}]({name}.{ending})"

    lines = [
        "# Figures and tables\n",
        "Made by `stagkit figures`. Each figure is a PDF and a PNG, 7.16 inches wide and, with `_column`, 3.5 inches; the "
        "JSON file of the same name holds its function, the runs, the digests of their data, n, and the drawn numbers.\n",
        "| source | kind | data | clips | subjects |\n|---|---|---|---|---|",
        *_list_sources(inputs),
        "\n| figure | shows | function | notebook |\n|---|---|---|---|",
    ]
    for entry in FIGURES:
        function = f"{entry.draw.__module__.removeprefix('stagkit.')}.{entry.draw.__name__}"
        name = cell(entry.name, "drawn", "png")
        lines.append(f"| {name} | {entry.draw.__doc__.splitlines()[0]} | `{function}` | {entry.notebook} |")
    lines.append("\n| table | shows |\n|---|---|")
    lines += [f"| {cell(name, 'made', 'tex')} | {make.__doc__.splitlines()[0]} |" for name, make in TABLES.items()]
    return "\n".join([*lines, ""])


def _list_sources(inputs: Inputs) -> list[str]:
    kinds = {"run": inputs.runs, "run across data sets": inputs.cross, "leak demonstration": inputs.leaky}
    rows = [(run.name, f"{kind}, {run.request['protocol']}", run) for kind, runs in kinds.items() for run in runs]
    for result in inputs.ablations:
        full = Run.load(result["path"] / result["full"])
        rows.append((result["path"].name, f"ablation, {result['protocol']}", full))
    lines = []
    for name, kind, run in rows:
        data = f"{'phantoms' if is_phantom(run) else 'recordings'} `{str(run.request['data'].get('digest', ''))[:16]}`"
        lines.append(f"| {name} | {kind} | {data} | {run.metrics['n_clips']} | {run.metrics['n_subjects']} |")
    if inputs.systems is not None:
        data = "phantoms" if is_phantom(inputs.systems_path) else "recordings"
        lines.append(f"| {inputs.systems_path.parent.name} | {len(inputs.systems)} systems | {data} | | |")
    return lines


@styled
def plot_set(drawn: Mapping[str, Figure]) -> Figure:
    """Every figure of the set as a thumbnail; those that were not drawn are empty frames.

    ``drawn``: name (``Entry.name``) -> figure; they are closed, so that a notebook does not show them one by one.

    Raises:
        StagkitError: an unknown name.
    """
    names = [entry.name for entry in FIGURES]
    unknown = sorted(set(drawn) - set(names))
    if unknown:
        raise StagkitError(f"there is no figure {unknown[0]!r} in the set; there are {', '.join(names)}.")
    n_rows = -(-len(names) // _COLUMNS)
    figure, grid = plt.subplots(n_rows, _COLUMNS, figsize=(PAGE, 0.95 * n_rows))
    for axes in grid.flat[len(names) :]:
        axes.axis("off")
    for axes, name in zip(grid.flat, names, strict=False):
        axes.set(xticks=[], yticks=[])
        there, words = name in drawn, f"{int(name[3:5])} {name[6:].replace('_', ' ')}"
        axes.set_xlabel(words, fontsize=6.5, color=INK if there else SOFT)
        axes.spines[:].set(visible=True, color=FAINT, linestyle="-" if there else (0, (3, 3)))
        if there:
            canvas = FigureCanvasAgg(drawn[name])
            canvas.draw()
            axes.imshow(np.asarray(canvas.buffer_rgba())[..., :3], interpolation="lanczos")
            plt.close(drawn[name])
        else:
            axes.set_aspect(0.5)
            axes.text(0.5, 0.5, "no input", ha="center", va="center", fontsize=6.5, color=SOFT)
    return figure
