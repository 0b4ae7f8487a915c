"""Commands that write up finished runs: figures, report."""

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
        typer.Argument(help="Folders of finished runs, ablations and comparisons of systems; the main run first."),
    ],
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("figures"),
    figure: Annotated[list[int] | None, typer.Option(help="Number of a figure; repeatable. All by default.")] = None,
) -> None:
    """Draw every figure of a paper from saved runs: PDF, PNG and JSON in two widths, LaTeX tables, an index."""
    from stagkit.reports.paper import make_figures

    for path in make_figures(records, out, only=figure or ()):
        if path.suffix in {".pdf", ".tex", ".md"}:
            say(path)
    if not figure:
        index = (out / "README.md").read_text(encoding="utf-8")
        for line in index.splitlines():
            if ": not drawn, " in line:
                say(line.strip("| ").split(" |")[0], error=True)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    out: Annotated[Path | None, typer.Option(help="File to write; report.html in the run by default.")] = None,
) -> None:
    """Write one self-contained HTML page with everything needed to judge a run."""
    from stagkit.reports.run_report import write_report

    say(f"page in {write_report(run, out)}")
