"""Commands that train and compare: evaluate, compare, ablate, compare-systems."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli import options
from stagkit.cli.options import read_pairs, read_seeds, read_settings, say
from stagkit.cli.progress import show, show_folds
from stagkit.core.errors import StagkitError

app = typer.Typer()


@app.command()
def evaluate(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Run folder; an existing run is resumed.")],
    protocol: options.Protocol = "loso",
    folds: options.Folds = 10,
    seeds: options.Seeds = "1",
    epochs: options.Epochs = None,
    epoch_selection: options.EpochSelection = None,
    mapping: options.Mapping = "",
    same_subjects: Annotated[
        bool, typer.Option("--same-subjects", help="Subjects of equal name in several data sets are the same subject.")
    ] = False,
    permutation_baseline: Annotated[
        bool, typer.Option("--permutation-baseline", help="Also train on shuffled labels, as a chance baseline.")
    ] = False,
    leaky: Annotated[
        bool,
        typer.Option("--leaky", help="Measure the optimism of choosing the epoch on the test clips; not evidence."),
    ] = False,
    set_: options.Changes = None,
    config: options.ConfigFile = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    backend: options.Backend = "auto",
    gpus: options.Gpus = 1,
    cluster: options.Cluster = "",
) -> None:
    """Train and test STAG subject-disjointly; write predictions, scores and weights."""
    from stagkit.datasets.prepare import load_data
    from stagkit.evaluation.evaluate import evaluate as evaluate_folds
    from stagkit.evaluation.leakage import format_leak
    from stagkit.evaluation.run_summary import format_metrics

    path = data[0] if len(data) == 1 else data
    plan = {"protocol": protocol, "n_folds": folds, "seeds": read_seeds(seeds), "data_path": path}
    place = {"device": device, "workers": workers, "backend": backend, "gpus": gpus, "cluster": cluster}
    loaded = load_data(path, mapping, same_subjects=same_subjects)
    settings = read_settings(config, set_ or [], epochs, epoch_selection, loaded, protocol)
    bar, also = show_folds(f"folds of {protocol}", out), {"permutation_baseline": permutation_baseline, "leaky": leaky}
    run = evaluate_folds(loaded, out, *settings, **plan, **place, **also, progress=bar)
    say(format_metrics(run.metrics))
    if leaky:
        say(format_leak(run.leak))
        say(f"run in {run.path}, marked as a leak demonstration: explain and compare refuse it")
        return
    say(f"run in {run.path}; next: stagkit explain {run.path}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A finished run.")],
    second: Annotated[Path, typer.Argument(help="Another run on the same clips.")],
    json: Annotated[Path | None, typer.Option(help="Also write the comparison to this file.")] = None,
) -> None:
    """Compare two runs on the same clips: differences with 95 % intervals over subjects."""
    from stagkit.core.files import write_json
    from stagkit.evaluation.compare_runs import compare_runs, format_comparison

    result = compare_runs(first, second)
    say(format_comparison(result))
    if json is not None:
        write_json(json, result)


@app.command()
def ablate(
    data: options.Data,
    out: Annotated[Path, typer.Option(help="Folder of the runs; an existing ablation is resumed.")],
    variant: Annotated[
        list[str] | None, typer.Option(help="Name of a variant, e.g. graph-none; repeatable. All by default.")
    ] = None,
    variant_data: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER: the same clips prepared differently, e.g. uniform=PREPARED2; repeatable."),
    ] = None,
    protocol: options.Protocol = "loso",
    folds: options.Folds = 10,
    seeds: options.Seeds = "1",
    epochs: options.Epochs = None,
    epoch_selection: options.EpochSelection = None,
    mapping: options.Mapping = "",
    set_: options.Changes = None,
    config: options.ConfigFile = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
    backend: options.Backend = "auto",
    gpus: options.Gpus = 1,
    cluster: options.Cluster = "",
) -> None:
    """Switch each part of STAG off in turn, on the same folds and seeds: table, CSV and LaTeX."""
    from stagkit.core.files import write_text
    from stagkit.datasets.prepare import load_data
    from stagkit.evaluation.ablation import ablate as ablate_parts
    from stagkit.evaluation.ablation import format_ablation
    from stagkit.reports.paper.tables import make_ablation_table

    path = data[0] if len(data) == 1 else data
    plan = {"protocol": protocol, "n_folds": folds, "seeds": read_seeds(seeds), "data_path": path}
    place = {"device": device, "workers": workers, "backend": backend, "gpus": gpus, "cluster": cluster}
    folders = read_pairs(variant_data, "--variant-data", "NAME=FOLDER")
    others = {name: (load_data(folder, mapping), folder) for name, folder in folders.items()}
    loaded = load_data(path, mapping)
    settings = read_settings(config, set_ or [], epochs, epoch_selection, loaded, protocol)
    bar = show_folds("folds", out)
    result = ablate_parts(loaded, out, *settings, variant or (), others, progress=bar, **plan, **place)
    write_text(out / "ablation.tex", make_ablation_table(result))
    say(format_ablation(result))
    say(f"tables in {out}: ablation.csv, ablation.tex, ablation.json")


@app.command("compare-systems")
def compare_systems(
    data: Annotated[
        list[Path] | None,
        typer.Argument(help="Prepared folders (phantoms: with all views) or flow maps; several are joined."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; an existing comparison is resumed.")] = None,
    systems: Annotated[
        str, typer.Option(help="Names separated by commas, e.g. stag,ststnet; all that the data allow by default.")
    ] = "",
    list_: Annotated[bool, typer.Option("--list", help="List the systems and the input of each.")] = False,
    source: Annotated[
        list[str] | None,
        typer.Option(help="NAME=ROOT: folder of the frames of a prepared data set, e.g. casme2=CASME2; repeatable."),
    ] = None,
    landmarker: options.Landmarker = None,
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Score the attributions of each system.")
    ] = True,
    protocol: options.Protocol = "loso",
    folds: options.Folds = 10,
    seeds: options.Seeds = "1",
    epochs: options.Epochs = None,
    epoch_selection: options.EpochSelection = None,
    mapping: options.Mapping = "",
    set_: options.Changes = None,
    config: options.ConfigFile = None,
    device: options.Device = "auto",
    workers: options.Workers = None,
) -> None:
    """Compare STAG with published baselines on the same sealed folds and seeds: table, CSV, LaTeX and a page."""
    from stagkit.baselines.compare import compare_systems as compare
    from stagkit.baselines.compare import list_systems

    if list_:
        say(list_systems())
        return
    if not data or out is None:
        raise StagkitError("compare-systems needs DATA and --out FOLDER (or --list, which lists the systems).")
    from stagkit.baselines.inputs import make_views
    from stagkit.core.files import check_writable
    from stagkit.datasets import open_source
    from stagkit.reports.comparison import format_comparison, save_tables

    roots = read_pairs(source, "--source", "NAME=ROOT, e.g. casme2=CASME2")
    sources = {name: open_source(name, root) for name, root in roots.items()}
    path = data[0] if len(data) == 1 else data
    plan = {"protocol": protocol, "n_folds": folds, "seeds": read_seeds(seeds), "epochs": epochs, "data_path": path}
    check_writable(out)
    bar = show("reading clips")
    views = make_views(path, mapping, out / "views", sources, workers or 1, str(landmarker or ""), bar)
    settings = read_settings(config, set_ or [], None, epoch_selection, views["regions"], protocol)
    names, place = [name.strip() for name in systems.split(",") if name.strip()], {"device": device, "workers": workers}
    result = compare(views, out, names, *settings, **plan, **place, explain=explain, progress=show("folds"))
    save_tables(result, out)
    say(format_comparison(result))
    say(f"tables in {out}: comparison.html, comparison.csv, comparison.tex, comparison.json")
