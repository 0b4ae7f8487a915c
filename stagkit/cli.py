"""The ``stagkit`` command. Bad input ends in one sentence and exit code 2; Ctrl-C keeps what is finished (130)."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli_compare import add_command as add_comparison
from stagkit.cli_options import (
    DATASETS,
    Changes,
    Choice,
    ConfigFile,
    Cover,
    Data,
    Device,
    Difficulty,
    Epochs,
    Folds,
    Layout,
    Mapping,
    Preset,
    Protocol,
    ProtocolName,
    Seeds,
    Workers,
    read_difficulty,
    read_seeds,
    read_settings,
)
from stagkit.errors import StagkitError, StagkitWarning

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged picture is told in one sentence, by stagkit

app = typer.Typer(
    name="stagkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Analyse and explain micro-expression recognition with the STAG network.",
)


def _bar(what: str):
    """A progress bar on the error stream, so that output can still be piped."""

    def progress(stream, total):
        from rich.console import Console
        from rich.progress import track

        return track(stream, description=what, total=total, console=Console(stderr=True))

    return progress


def _say(text: str) -> None:
    typer.echo(text)


@app.command()
def doctor() -> None:
    """Versions, device, data roots, what is missing and how to get it."""
    from importlib import util

    from stagkit.runs import describe_environment
    from stagkit.train import choose_device

    device = choose_device()
    environment = describe_environment(str(device))
    _say(f"python        {environment['python']} on {environment['system']}")
    for name, version in environment["versions"].items():
        _say(f"{name:<13} {version or 'not installed'}")
    if device.type == "cuda":
        import torch

        _say(f"device        {torch.cuda.get_device_name(0)} (folds train on it)")
    else:
        _say(
            f"device        cpu, {os.cpu_count()} cores (no CUDA GPU found: folds train in {os.cpu_count()} processes)"
        )
    extras = {"jupyterlab": "notebooks", "anywidget": "notebooks", "mediapipe": "landmarks", "distributed": "cluster"}
    for module, extra in extras.items():
        if util.find_spec(module) is None:
            _say(f"missing       {module}: pip install 'stagkit[{extra}]'")
    root = os.environ.get("STAGKIT_DATA")
    if not root:
        _say("data          STAGKIT_DATA is not set; phantoms need none (stagkit phantom OUT), see data_README.md")
    elif not Path(root).is_dir():
        _say(f"data          STAGKIT_DATA is {root}: there is no such folder")
    else:
        _say(f"data          {root}: {', '.join(sorted(p.name for p in Path(root).iterdir())) or 'empty'}")


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to fill.")],
    preset: Annotated[
        Preset | None, typer.Option(help="Data set that is imitated; casme2, or the layout's own, if not given.")
    ] = None,
    subjects: Annotated[int, typer.Option(min=1)] = 8,
    clips: Annotated[int, typer.Option(min=1, help="Clips of each subject.")] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    difficulty: Difficulty = "default",
    cover: Annotated[Cover, typer.Option(help="What hides part of every face.")] = Cover.none,
    layout: Annotated[
        Layout,
        typer.Option(
            help="prepared: ready for 'evaluate'; frames: pictures, landmarks, truth, manifest.csv; casme2, samm, ...: "
            "folders and coding sheet as in the official release."
        ),
    ] = Layout.prepared,
    workers: Workers = None,
) -> None:
    """Make synthetic faces with planted action units: no licence needed, the truth known."""
    from stagkit.config import PhantomConfig
    from stagkit.datasets.phantoms import PhantomSource

    official = layout not in (Layout.prepared, Layout.frames)
    if official:
        from stagkit.datasets.phantom_trees import LAYOUT_PRESETS, write_tree

    chosen = preset.value if preset else LAYOUT_PRESETS[layout.value] if official else "casme2"
    config = PhantomConfig(
        preset=chosen,
        subjects=subjects,
        clips=clips,
        seed=seed,
        difficulty=read_difficulty(difficulty),
        cover=cover.value,
    )
    source = PhantomSource(config)
    if layout is Layout.frames:
        from stagkit.datasets.manifest import write_manifest

        write_manifest(source, out, _bar("drawing phantoms"))
        _say(f"{len(source.keys)} phantom clips in {out}; next: stagkit prepare manifest {out} PREPARED")
        return
    if official:
        write_tree(source, layout.value, out, _bar("drawing phantoms"))
        _say(f"{len(source.keys)} phantom clips in {out}; next: stagkit check-data {layout.value} {out}")
        return
    from stagkit.prepare import prepare_dataset

    data = prepare_dataset(source, out, workers=workers or os.cpu_count() or 1, progress=_bar("drawing phantoms"))
    _say(_describe(data, out))
    _say(f"next: stagkit evaluate {out} --out RUN")


def _describe(data, out: Path) -> str:
    counts = ", ".join(f"{c} {(data.label == i).sum()}" for i, c in enumerate(data.classes))
    n_subjects = len(set(data.subjects))
    return f"{len(data)} clips of {n_subjects} subjects ({counts}), {data.x.shape[1]} frame(s) each, in {out}"


@app.command(name="check-data")
def check_data(
    name: Annotated[str, typer.Argument(help=f"Data set: {', '.join(DATASETS)}.")],
    root: Annotated[Path, typer.Argument(help="Where it lies.")],
    json: Annotated[Path | None, typer.Option(help="Write everything found here too.")] = None,
    sheet: Annotated[str, typer.Option(help="File name of the coding sheet, where there are several.")] = "",
    pictures: Annotated[bool, typer.Option("--pictures", help="Decode every frame too: finds damaged ones.")] = False,
) -> None:
    """Look a data set over: clips of each class and subject, missing frames, faults of the sheet; exit 1 if unusable."""
    from stagkit.data_check import check_data as look_over
    from stagkit.data_check import format_check
    from stagkit.datasets import DatasetNotAvailable
    from stagkit.files import write_json

    try:
        found = look_over(name, root, sheet, pictures, _bar("reading pictures"))
    except DatasetNotAvailable as error:
        typer.echo(f"stagkit: {error}", err=True)
        raise typer.Exit(1) from error
    _say(format_check(found))
    if json is not None:
        write_json(json, found)
    if not found["usable"]:
        raise typer.Exit(1)


@app.command()
def prepare(
    name: Annotated[
        str, typer.Argument(help=f"Data set: {', '.join(DATASETS)}, or manifest (any clips, see data_README.md).")
    ],
    root: Annotated[Path, typer.Argument(help="Where it lies.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill; an interrupted one is gone on with.")],
    method: Annotated[str, typer.Option(help="Optical flow: dis, tvl1 or farneback.")] = "dis",
    frames: Annotated[int, typer.Option(min=1, help="Discriminative frames kept of each clip.")] = 12,
    selection: Annotated[str, typer.Option(help="magnitude, uniform, apex or all.")] = "magnitude",
    sheet: Annotated[str, typer.Option(help="File name of the coding sheet, where there are several.")] = "",
    align: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Turn, scale and cut every face to a square of this many px; 0: as it is."),
    ] = 0,
    landmarker: Annotated[
        Path | None, typer.Option(help="mediapipe's face_landmarker.task, for clips without stored landmarks.")
    ] = None,
    workers: Workers = None,
) -> None:
    """Measure the motion of every clip and cut the facial regions: what 'evaluate' reads."""
    from stagkit.config import FlowConfig
    from stagkit.datasets import open_source
    from stagkit.prepare import prepare_dataset

    config = FlowConfig(method=method, n_frames=frames, selection=selection)
    source = open_source(name, str(root), sheet)
    data = prepare_dataset(
        source,
        out,
        config,
        workers=workers or os.cpu_count() or 1,
        progress=_bar("preparing"),
        align=align,
        landmarker=str(landmarker or ""),
    )
    _say(_describe(data, out))


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
) -> None:
    """Train and test STAG subject-disjointly; write predictions, scores and weights."""
    from stagkit.files import read_json
    from stagkit.folds import evaluate as evaluate_folds
    from stagkit.prepare import load_data
    from stagkit.run_report import format_leak, format_metrics

    chosen, path = read_seeds(seeds), data[0] if len(data) == 1 else data
    loaded = load_data(path, mapping)
    stag_config, train_config = read_settings(config, set_ or [], epochs, epoch_choice)
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
        data_path=path,
        progress=_bar(f"folds of {protocol.value}"),
        permuted_retrain=permuted_retrain,
        leaky=leaky,
    )
    _say(format_metrics(run.metrics))
    if leaky:
        _say(format_leak(read_json(run.path / "leak.json")))
        _say(f"run in {run.path}, marked as a leak demonstration: explain, figures and compare refuse it")
        return
    _say(f"run in {run.path}; next: stagkit explain {run.path}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="A finished run.")],
    second: Annotated[Path, typer.Argument(help="Another, of the same clips.")],
    json: Annotated[Path | None, typer.Option(help="Write the comparison here too.")] = None,
) -> None:
    """Is one run better? Differences on the same clips with 95 % intervals over subjects."""
    from stagkit.compare import compare_runs, format_comparison
    from stagkit.files import write_json

    result = compare_runs(first, second)
    _say(format_comparison(result))
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
) -> None:
    """Switch every part of STAG off in turn, on the same folds and seeds: table, CSV and LaTeX."""
    from stagkit.ablate import ablate as ablate_parts
    from stagkit.ablate import format_ablation
    from stagkit.prepare import load_data

    chosen, path = read_seeds(seeds), data[0] if len(data) == 1 else data
    others = {}
    for text in also or []:
        name, equals, folder = text.partition("=")
        if not equals or not name or "/" in name:
            raise StagkitError(f"--also {text!r}: expected NAME=FOLDER.")
        others[name] = (load_data(folder, mapping), folder)
    stag_config, train_config = read_settings(config, set_ or [], epochs, epoch_choice)
    result = ablate_parts(
        load_data(path, mapping),
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
        progress=_bar("folds"),
    )
    _say(format_ablation(result))
    _say(f"tables in {out}: ablation.csv, ablation.tex, ablation.json")


add_comparison(app, _bar, _say)


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    clip: Annotated[list[str] | None, typer.Option(help="Clip id; repeatable. All test clips if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which seed's networks.")] = 0,
    steps: Annotated[int, typer.Option(min=1, help="Steps of integrated gradients.")] = 32,
    pictures: Annotated[int, typer.Option(min=0, help="Draw at most this many clips.")] = 12,
    method: Annotated[str, typer.Option(help="integrated gradients, gradient shap, shapley sampling, ...")] = (
        "integrated gradients"
    ),
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Without them pictures are stamped 'no control'.")
    ] = True,
) -> None:
    """Explain the decisions of a run by regions, muscles and frames, with the controls of each explanation; draw."""
    from stagkit.explain_run import describe_evidence, explain_run
    from stagkit.figures import draw_attributions
    from stagkit.graph_record import save_graphs
    from stagkit.runs import Run

    evidence, out = explain_run(
        run,
        clips=clip,
        seed=seed,
        n_steps=steps,
        progress=_bar("explaining"),
        method=method,
        controls=controls,
    )
    save_graphs(Run.load(run), seed, clip)
    drawn = draw_attributions(evidence if evidence.scores else evidence.attribution, out, pictures)
    _say(describe_evidence(evidence))
    _say(f"tables, values and {len(drawn)} pictures in {out}; next: stagkit figures {run}")


@app.command()
def analyze(
    video: Annotated[Path, typer.Argument(help="mp4, avi, ..., or a folder of pictures with numbers in their names.")],
    weights: Annotated[
        Path, typer.Option(help="A finished run: its networks judge, and the page says what they learned.")
    ],
    out: Annotated[Path, typer.Option(help="Folder to fill with page and numbers.")],
    landmarks: Annotated[
        Path | None,
        typer.Option(help="Stored landmarks of the first frame, or of all: .npy, '68 2' or 'time 68 2' px."),
    ] = None,
    landmarker: Annotated[Path | None, typer.Option(help="Or mediapipe's face_landmarker.task, to find them.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second; needed for a folder.")] = None,
    window: Annotated[
        float, typer.Option(min=0.1, help="Length of the windows a long video is cut into, seconds.")
    ] = 0.75,
) -> None:
    """Any clip: landmarks, motion, prediction with probabilities, evidence by muscle; one self-contained HTML page."""
    from stagkit.analyze import analyze_video, describe_analysis

    analysis = analyze_video(
        video,
        weights,
        out,
        landmarks=landmarks,
        landmarker=landmarker,
        fps=fps,
        window=window,
        progress=_bar("windows"),
    )
    _say(describe_analysis(analysis))
    _say(f"page and numbers in {out}: page.html, analysis.json")


@app.command()
def figures(
    runs: Annotated[list[Path], typer.Argument(help="Finished runs.")],
    out: Annotated[Path, typer.Option(help="Folder to fill.")] = Path("figures"),
) -> None:
    """Draw every figure from run records alone: PDF, PNG and a JSON with its sources."""
    from stagkit.figures import make_figures

    for path in make_figures(runs, out):
        _say(str(path))


@app.command()
def lab(
    notebooks: Annotated[Path, typer.Argument(help="Folder of notebooks.")] = Path("notebooks"),
    port: Annotated[int, typer.Option(help="Port of the server.")] = 8888,
) -> None:
    """Open JupyterLab on the notebooks."""
    from importlib import util

    if not notebooks.is_dir():
        raise StagkitError(f"there is no folder {notebooks}: run this where stagkit was cloned, or name the folder.")
    if util.find_spec("jupyterlab") is None:
        raise StagkitError("JupyterLab is not installed: pip install 'stagkit[notebooks]', or use 'make lab'.")
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={notebooks}", f"--port={port}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # Jupyter refuses root otherwise, and in a container all is root
        typer.echo("stagkit: warning: Jupyter runs as root; only do so in a container of your own.", err=True)
        command.append("--allow-root")
    os.execv(sys.executable, command)


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit 2 with one sentence on bad input, 130 on Ctrl-C."""
    import warnings

    def tell(message, category, *where, **more) -> None:
        if issubclass(category, StagkitWarning):
            typer.echo(f"stagkit: warning: {message}", err=True)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", StagkitWarning)
            warnings.showwarning = tell
            app(args=arguments)
    except StagkitError as error:
        typer.echo(f"stagkit: {error}", err=True)
        raise SystemExit(2) from error
    except KeyboardInterrupt as error:
        typer.echo("stagkit: interrupted; what was finished is kept: run the same command to go on.", err=True)
        raise SystemExit(130) from error
    except OSError as error:
        typer.echo(f"stagkit: {error.filename or 'a file'}: {error.strerror or error}.", err=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
