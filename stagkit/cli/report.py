"""``stagkit figures`` and ``stagkit report``: what is on disk as the figures of a paper, and as one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import say

app = typer.Typer()


@app.command()
def figures(
    records: Annotated[
        list[Path],
        typer.Argument(help="Folders of finished runs, ablations, comparisons of systems; the first run leads."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill.")] = Path("figures"),
    only: Annotated[list[int] | None, typer.Option(help="Number of a figure; repeatable. All if not given.")] = None,
) -> None:
    """Draw every figure of a paper from records alone: PDF, PNG and JSON in two widths, LaTeX tables, an index."""
    from stagkit.reports.paper import make_figures

    written = make_figures(records, out, only=only or ())
    for path in written:
        if path.suffix in {".pdf", ".tex", ".md"}:
            say(path)
    if not only:
        index = (out / "README.md").read_text(encoding="utf-8")
        missing = [line.strip("| ").split(" |")[0] for line in index.splitlines() if ": not drawn, " in line]
        for reason in missing:
            say(reason, error=True)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path | None, typer.Option(help="File to write; report.html in the run if not given.")] = None,
) -> None:
    """Everything needed to believe a run, or to doubt it, as one self-contained HTML page."""
    from stagkit.reports.run_report import write_report

    say(f"page in {write_report(run, out)}")
