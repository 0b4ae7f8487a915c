"""``stagkit compare-systems``: STAG and the systems of the field under one protocol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import (
    Changes,
    Choice,
    ConfigFile,
    Device,
    Epochs,
    Folds,
    Mapping,
    Protocol,
    ProtocolName,
    Seeds,
    Workers,
    read_seeds,
    read_settings,
    say,
)
from stagkit.cli.progress import show
from stagkit.core.errors import StagkitError

app = typer.Typer()


@app.command("compare-systems")
def compare_systems(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Prepared folders (phantoms: with all views) or flow maps; several are joined."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the runs; an interrupted comparison is gone on with.")
    ] = None,
    systems: Annotated[
        str, typer.Option(help="Names with commas, e.g. stag,ststnet; all that the data allow if not given.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="Name the systems, and what each reads.")] = False,
    frames: Annotated[
        list[str] | None,
        typer.Option(help="NAME=ROOT: where the pictures of a prepared data set lie (casme2=...); repeatable."),
    ] = None,
    landmarker: Annotated[
        Path | None, typer.Option(help="mediapipe's face_landmarker.task, where landmarks are missing.")
    ] = None,
    explain: Annotated[bool, typer.Option("--explain/--no-explain", help="Score where each system looks.")] = True,
    protocol: Protocol = ProtocolName.loso,
    folds: Folds = 10,
    seeds: Seeds = "1",
    epochs: Epochs = None,
    epoch_choice: Choice = None,
    mapping: Mapping = "",
    set_: Changes = None,
    config: ConfigFile = None,
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """STAG and the systems of the field on the same sealed folds and seeds: table, CSV, LaTeX and a page."""
    from stagkit.baselines.compare import compare_systems as compare
    from stagkit.baselines.compare import list_systems

    if list_:
        say(list_systems())
        return
    if not data or out is None:
        raise StagkitError("compare-systems needs DATA and --out FOLDER (or --list, which names the systems).")
    from stagkit.baselines.inputs import make_views
    from stagkit.core.files import check_writable
    from stagkit.datasets import open_source
    from stagkit.reports.comparison import format_comparison, save_tables

    sources = {}
    for text in frames or []:
        name, equals, root = text.partition("=")
        if not equals or not name:
            raise StagkitError(f"--frames {text!r}: expected NAME=ROOT, e.g. casme2=CASME2.")
        sources[name] = open_source(name, root)
    chosen, path = read_seeds(seeds), data[0] if len(data) == 1 else data
    check_writable(out)
    named = [name.strip() for name in systems.split(",") if name.strip()]
    views = make_views(
        path, mapping, out / "views", sources, workers or 1, str(landmarker or ""), show("reading clips")
    )
    stag_config, train_config = read_settings(config, set_ or [], None, epoch_choice, views["regions"], protocol.value)
    result = compare(
        views,
        out,
        named,
        stag_config,
        train_config,
        protocol=protocol.value,
        n_folds=folds,
        seeds=chosen,
        epochs=epochs,
        device=device,
        workers=workers,
        data_path=path,
        explain=explain,
        progress=show("folds"),
    )
    save_tables(result, out)
    say(format_comparison(result))
    say(f"tables in {out}: comparison.html, comparison.csv, comparison.tex, comparison.json")
