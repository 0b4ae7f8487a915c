"""``stagkit figures``: draw every figure in both widths, write the tables, and an index of what came from where."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple

from stagkit.core.files import Progress, no_progress, write_text
from stagkit.core.types import StagkitError
from stagkit.plots.style import COLUMN, PAGE, SOFT, save_figure, style
from stagkit.reports.paper.evidence import fig_11_muscles, fig_12_controls
from stagkit.reports.paper.graphs import fig_04_au_graphs, fig_05_temporal_attention, fig_06_cross_attention
from stagkit.reports.paper.inputs import Inputs, load_inputs
from stagkit.reports.paper.motion import fig_02_motion, fig_03_regions_and_muscles
from stagkit.reports.paper.pipeline import fig_01_pipeline
from stagkit.reports.paper.scores import (
    fig_07_confusion,
    fig_08_ablation,
    fig_09_across_data_sets,
    fig_10_leak_gap,
    fig_13_complexity,
)
from stagkit.reports.paper.tables import TABLES, make_tables

if TYPE_CHECKING:
    from matplotlib.figure import Figure


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


def draw_figure(entry: Entry, inputs: Inputs, width: float) -> Figure:
    """One figure in one width; at its foot stands that it shows phantoms, and the caveat of its intervals.

    Raises:
        MissingInput: its record was not given; the message says which command makes it.
    """
    with style():
        figure = entry.draw(inputs, width)
        lines = [" phantom data"] if figure.stagkit_source["phantom"] else []
        if figure.stagkit_source["caveat"]:
            lines += wrap(f"caution: {figure.stagkit_source['caveat']}", int(25 * width), initial_indent=" ",
                          subsequent_indent=" ")  # fmt: skip
        if lines:
            foot = 0.09 * len(lines) / figure.get_figheight()
            figure.get_layout_engine().set(rect=(0, foot, 1, 1 - foot))
            figure.text(0.0, 0.0, "\n".join(lines), ha="left", va="bottom", fontsize=5.5, color=SOFT)
    return figure


def make_figures(
    paths: Sequence[str | Path], out: str | Path, progress: Progress = no_progress, only: Sequence[int] = ()
) -> list[Path]:
    """Draw every numbered figure from what is on disk: PDF, PNG and JSON each, in two widths, LaTeX tables, an index.

    What has no record among ``paths`` is left out, with the reason in the index. The same inputs give the same bytes.

    Args:
        paths: folders of runs, ablations, comparisons of systems; the first run is the one that most figures show.
        out: folder to fill.
        progress: wraps the figures.
        only: numbers of the figures wanted; all (and the tables and the index) where empty.

    Raises:
        StagkitError: a folder that is none of these, a run that is not finished, a number that is no figure's; a figure
            that was asked for by its number and has no record.
    """
    import matplotlib

    matplotlib.use("Agg")
    numbers = {int(e.name[3:5]): e for e in FIGURES}
    unknown = sorted(set(only) - set(numbers))
    if unknown:
        raise StagkitError(f"there is no figure {unknown[0]}; there are 1 to {len(FIGURES)}.")
    inputs, out = load_inputs(paths), Path(out)
    written: list[Path] = []
    told: dict[str, str] = {}
    chosen = [numbers[k] for k in only] if only else list(FIGURES)
    for entry in progress(chosen, len(chosen)):
        try:
            for ending, width in WIDTHS.items():
                figure = draw_figure(entry, inputs, width)
                source = {"function": f"{entry.draw.__module__}.{entry.draw.__name__}", **figure.stagkit_source}
                written += save_figure(figure, out, f"{entry.name}{ending}", source, sidecar=not ending)
            told[entry.name] = ""
        except StagkitError as reason:
            if only:
                raise
            told[entry.name] = str(reason).removesuffix(".")
    if not only:
        reasons = make_tables(inputs, out)
        written += [out / f"{name}.tex" for name, reason in reasons.items() if not reason]
        write_text(out / "README.md", format_index(inputs, told, reasons))
        written.append(out / "README.md")
    return written


def format_index(inputs: Inputs, told: dict[str, str], reasons: dict[str, str]) -> str:
    """``README.md`` of a folder of figures: figure, function, notebook, what it was drawn from.

    Args:
        inputs: what was given.
        told: stem of each figure -> '' where it was drawn, else why not; reasons: the same of the tables.
    """
    lines = [
        "# Figures and tables",
        "",
        "Made by `stagkit figures`; every figure as PDF and PNG, 7.16 inches wide and, with `_column`, 3.5 inches; the JSON "
        "beside it names the function, the runs, the digests of their data, n, and the numbers that are drawn.",
        "",
        "| drawn from | what | data | clips | subjects |",
        "|---|---|---|---|---|",
    ]
    lines += [_describe(*row) for row in _list_sources(inputs)]
    lines += ["", "| figure | shows | function | notebook |", "|---|---|---|---|"]
    for entry in FIGURES:
        what = (entry.draw.__doc__ or "").strip().splitlines()[0]
        reason = told.get(entry.name, "")
        name = f"{entry.name}: not drawn, {reason}" if reason else f"[{entry.name}]({entry.name}.png)"
        module = entry.draw.__module__.removeprefix("stagkit.")
        lines.append(f"| {name} | {what} | `{module}.{entry.draw.__name__}` | {entry.notebook} |")
    lines += ["", "| table | shows |", "|---|---|"]
    for name, make in TABLES.items():
        what = (make.__doc__ or "").strip().splitlines()[0]
        lines.append(
            f"| {f'{name}: not made, {reasons[name]}' if reasons[name] else f'[{name}]({name}.tex)'} | {what} |"
        )
    return "\n".join([*lines, ""])


def _list_sources(inputs: Inputs):
    from stagkit.evaluation.run import Run
    from stagkit.reports.paper.inputs import is_phantom

    for kind, runs in (
        ("run", inputs.runs),
        ("run across data sets", inputs.cross),
        ("leak demonstration", inputs.leaky),
    ):
        for run in runs:
            yield run.name, f"{kind}, {run.request['protocol']}", run, is_phantom(run)
    for result in inputs.ablations:
        full = Run.load(Path(result["path"]) / result["full"])
        yield result["path"].name, f"ablation, {result['protocol']}", full, is_phantom(full)
    if inputs.systems is not None:
        yield (
            inputs.systems_path.parent.name,
            f"{len(inputs.systems)} systems",
            None,
            is_phantom(inputs.systems_path),
        )


def _describe(name: str, what: str, run, phantom: bool) -> str:
    if run is None:
        return f"| {name} | {what} | {'phantoms' if phantom else 'recordings'} | | |"
    digest = str(run.request["data"].get("digest", ""))[:16]
    data = f"{'phantoms' if phantom else 'recordings'} `{digest}`"
    return f"| {name} | {what} | {data} | {run.metrics['n_clips']} | {run.metrics['n_subjects']} |"
