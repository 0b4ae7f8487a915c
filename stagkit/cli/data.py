"""Commands for data: phantom, check-data, prepare."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from stagkit.cli import options
from stagkit.cli.options import DATASETS, say
from stagkit.cli.progress import show

app = typer.Typer()

Root = Annotated[Path, typer.Argument(help="Folder of the data set.")]
Annotations = Annotated[
    list[str] | None,
    typer.Option(help="File name of the annotation file (or manifest), if not the usual one; once per part."),
]


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="Folder to write.")],
    preset: Annotated[
        Literal["casme2", "samm", "smic", "4dme", "dfme", "relations", "synkinesis"] | None,
        typer.Option(help="Data set to imitate, or a known graph of AUs; casme2 or the layout's by default."),
    ] = None,
    subjects: Annotated[int, typer.Option(min=1)] = 8,
    clips: Annotated[int, typer.Option(min=1, help="Clips per subject.")] = 12,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    difficulty: Annotated[
        str, typer.Option(help="0 to 1, or clean (0), default (0.4), real (1: as hard as real data).")
    ] = "default",
    occlusion: Annotated[
        Literal["none", "glasses", "fringe", "hand", "mask", "random"], typer.Option(help="Hide a part of every face.")
    ] = "none",
    occluded: Annotated[
        float, typer.Option(min=0, max=0.9, help="Share of regions hidden by --occlusion random.")
    ] = 0.3,
    relation: Annotated[
        Literal["together", "order", "side"], typer.Option(help="What decides the label (--preset relations).")
    ] = "together",
    strength: Annotated[
        float, typer.Option(min=0, max=1, help="How often it does; the other labels are random (--preset relations).")
    ] = 1.0,
    layout: Annotated[
        Literal["prepared", "frames", *DATASETS],
        typer.Option(
            help="prepared: input of 'evaluate'; frames: images, landmarks, truth, manifest.csv; casme2, samm, ...: folders "
            "and annotation file as in the official release.",
        ),
    ] = "prepared",
    workers: options.Workers = None,
) -> None:
    """Make phantoms: synthetic faces with known action units; no licence needed."""
    from stagkit.synthetic.config import PhantomConfig
    from stagkit.synthetic.dataset import PhantomSource

    official = layout not in ("prepared", "frames")
    if official:
        from stagkit.synthetic.releases import LAYOUTS, write_tree

    preset = preset or (LAYOUTS[layout].preset if official else "casme2")
    try:
        level: float | str = float(difficulty)
    except ValueError:
        level = difficulty  # a word; ``PhantomConfig`` knows them
    config = PhantomConfig(preset, subjects, clips, seed=seed, difficulty=level, occlusion=occlusion)
    source = PhantomSource(config.replace(occluded=occluded, relation=relation, strength=strength))
    bar, workers = show("drawing phantoms"), workers or os.cpu_count() or 1
    if layout == "frames":
        from stagkit.datasets.manifest import write_manifest

        write_manifest(source, out, bar, workers)
        say(f"{len(source.keys)} phantom clips in {out}; next: stagkit prepare manifest {out} PREPARED")
    elif official:
        write_tree(source, layout, out, bar, workers)
        say(f"{len(source.keys)} phantom clips in {out}; next: stagkit check-data {layout} {out}")
    else:
        from stagkit.datasets.prepare import prepare_clips

        say(_describe(prepare_clips(source, out, workers=workers, progress=bar), out))
        say(f"next: stagkit evaluate {out} --out RUN")


def _describe(summary: dict, out: Path) -> str:
    counts = ", ".join(f"{c} {n}" for c, n in summary["classes"].items())
    more = f", {summary['skipped']} skipped (see skipped.csv)" if summary["skipped"] else ""
    more += f", {summary['issues']} issues (see prepared.json)" if summary["issues"] else ""
    whole = f"{summary['clips']} clips of {summary['subjects']} subjects ({counts}){more}"
    return f"{whole}, {summary['frames']} frame(s) each, in {out}"


@app.command(name="check-data")
def check_data(
    name: Annotated[str, typer.Argument(help=f"Data set: {', '.join(DATASETS)}, or manifest.")],
    root: Root,
    json: Annotated[Path | None, typer.Option(help="Also write all findings to this file.")] = None,
    annotations: Annotations = None,
    decode_frames: Annotated[
        bool, typer.Option("--decode-frames", help="Also decode every frame, to find damaged ones.")
    ] = False,
) -> None:
    """Check a data set: clips per class and subject, missing frames, issues of the annotations; exit 1 if unusable."""
    from stagkit.core.files import write_json
    from stagkit.datasets import DatasetNotAvailable
    from stagkit.datasets.check import check_data as check
    from stagkit.datasets.check import format_check

    try:
        found = check(name, root, annotations or "", decode_frames, show("reading frames"))
    except DatasetNotAvailable as error:
        say(error, error=True)
        raise typer.Exit(1) from error
    say(format_check(found))
    if json is not None:
        write_json(json, found)
    if not found["usable"]:
        raise typer.Exit(1)


@app.command()
def prepare(
    name: Annotated[
        str, typer.Argument(help=f"Data set: {', '.join(DATASETS)}, or manifest (any clips, see data_README.md).")
    ],
    root: Root,
    out: Annotated[Path, typer.Argument(help="Folder to write; an existing one is resumed.")],
    method: Annotated[str, typer.Option(help="Flow: dis, dis_fast (faster, less exact), tvl1 or farneback.")] = "dis",
    n_frames: Annotated[int, typer.Option(min=1, help="Discriminative frames kept per clip.")] = 12,
    selection: Annotated[str, typer.Option(help="magnitude, uniform, apex or all.")] = "magnitude",
    annotations: Annotations = None,
    align: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Rotate, scale and crop every face to a square of this many px; 0: do not."),
    ] = 0,
    landmarker: options.Landmarker = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Detect changed files by content instead of modification time (slow).")
    ] = False,
    workers: options.Workers = None,
    cluster: options.Cluster = "",
) -> None:
    """Measure the motion of every clip in the facial regions: the input of 'evaluate'."""
    from stagkit.datasets import open_source
    from stagkit.datasets.prepare import prepare_clips
    from stagkit.motion.config import FlowConfig

    config = FlowConfig(method=method, n_frames=n_frames, selection=selection)
    source = open_source(name, str(root.resolve() if cluster else root), annotations or "")
    frames = {"align": align, "landmarker": str(landmarker or ""), "contents": contents}
    place = {"workers": workers or os.cpu_count() or 1, "cluster": cluster}
    summary = prepare_clips(source, out, config, progress=show("preparing"), **frames, **place)
    say(_describe(summary, out))
