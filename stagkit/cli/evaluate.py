"""Commands about learning: evaluate, compare, ablate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import (
    Backend,
    BackendName,
    Changes,
    Choice,
    Cluster,
    ConfigFile,
    Data,
    Device,
    Epochs,
    Folds,
    Gpus,
    Mapping,
    Protocol,
    ProtocolName,
    Seeds,
    Workers,
    read_seeds,
    read_settings,
    say,
)
from stagkit.cli.progress import show_folds
from stagkit.core.errors import StagkitError

app = typer.Typer()


@app.command()
def evaluate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Run folder; an interrupted run is gone on with.")],
    protocol: Protocol = ProtocolName.loso,
    folds: Folds = 10,
    seeds: Seeds = "1",
    epochs: Epochs = None,
    epoch_choice: Choice = None,
    mapping: Mapping = "",
    same_people: Annotated[
        bool, typer.Option("--same-people", help="Subjects of equal name in several data sets are one person.")
    ] = False,
    permuted_retrain: Annotated[
        bool, typer.Option("--permuted-retrain", help="Train once more on shuffled labels: a baseline.")
    ] = False,
    leaky: Annotated[
        bool, typer.Option("--leaky", help="Show what choosing the epoch on the test clips would claim; no evidence.")
    ] = False,
    set_: Changes = None,
    config: ConfigFile = None,
    device: Device = "auto",
    workers: Workers = None,
    backend: Backend = BackendName.auto,
    gpus: Gpus = 1,
    cluster: Cluster = "",
) -> None:
    """Train and test STAG subject-disjointly; write predictions, scores and weights."""
    from stagkit.datasets.prepare import load_data
    from stagkit.evaluation.evaluate import evaluate as evaluate_folds
    from stagkit.evaluation.run_summary import format_leak, format_metrics

    chosen, path = read_seeds(seeds), data[0] if len(data) == 1 else data
    loaded = load_data(path, mapping, same_people=same_people)
    stag_config, train_config = read_settings(config, set_ or [], epochs, epoch_choice, loaded, protocol.value)
    run = evaluate_folds(
        loaded,
        out,
        stag_config,
        train_config,
        protocol=protocol.value,
        n_folds=folds,
        seeds=chosen,
        device=device,
        workers=workers,
        backend=backend.value,
        gpus=gpus,
        cluster=cluster,
        data_path=path,
        progress=show_folds(f"folds of {protocol.value}", out),
        permuted_retrain=permuted_retrain,
        leaky=leaky,
    )
    say(format_metrics(run.metrics))
    if leaky:
        say(format_leak(run.leak))
        say(f"run in {run.path}, marked as a leak demonstration: explain and compare refuse it")
        return
    say(f"run in {run.path}; next: stagkit explain {run.path}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A finished run.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same clips.")],
    json: Annotated[Path | None, typer.Option(help="Write the comparison here too.")] = None,
) -> None:
    """Is one run better? Differences on the same clips with 95 % intervals over subjects."""
    from stagkit.core.files import write_json
    from stagkit.evaluation.compare_runs import compare_runs, format_comparison

    result = compare_runs(first, second)
    say(format_comparison(result))
    if json is not None:
        write_json(json, result)


@app.command()
def ablate(
    data: Data,
    out: Annotated[Path, typer.Option(help="Folder of the runs; an interrupted ablation is gone on with.")],
    only: Annotated[
        list[str] | None, typer.Option(help="A variant, e.g. graph-none; repeatable. All if not given.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: the same clips prepared otherwise, e.g. uniform=PREPARED2; repeatable."),
    ] = None,
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
    backend: Backend = BackendName.auto,
    gpus: Gpus = 1,
    cluster: Cluster = "",
) -> None:
    """Switch every part of STAG off in turn, on the same folds and seeds: table, CSV and LaTeX."""
    from stagkit.datasets.prepare import load_data
    from stagkit.evaluation.ablation import ablate as ablate_parts
    from stagkit.evaluation.ablation import format_ablation

    chosen, path = read_seeds(seeds), data[0] if len(data) == 1 else data
    others = {}
    for text in also or []:
        name, equals, folder = text.partition("=")
        if not equals or not name or "/" in name:
            raise StagkitError(f"--also {text!r}: expected NAME=FOLDER.")
        others[name] = (load_data(folder, mapping), folder)
    loaded = load_data(path, mapping)
    stag_config, train_config = read_settings(config, set_ or [], epochs, epoch_choice, loaded, protocol.value)
    result = ablate_parts(
        loaded,
        out,
        stag_config,
        train_config,
        only=only or (),
        others=others,
        data_path=path,
        protocol=protocol.value,
        n_folds=folds,
        seeds=chosen,
        device=device,
        workers=workers,
        backend=backend.value,
        gpus=gpus,
        cluster=cluster,
        progress=show_folds("folds", out),
    )
    say(format_ablation(result))
    say(f"tables in {out}: ablation.csv, ablation.tex, ablation.json")
