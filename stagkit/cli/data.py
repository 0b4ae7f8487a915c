"""Commands about data: phantoms, checking a data set, preparing it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import (
    DATASETS,
    Cluster,
    Cover,
    Difficulty,
    Layout,
    Preset,
    Workers,
    read_difficulty,
    say,
)
from stagkit.cli.progress import show

app = typer.Typer()

Sheet = Annotated[
    list[str] | None,
    typer.Option(help="File name of the coding sheet (or manifest), where another is meant; once for each part."),
]


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
    from stagkit.core.config import PhantomConfig
    from stagkit.synthetic.dataset import PhantomSource

    official = layout not in (Layout.prepared, Layout.frames)
    if official:
        from stagkit.synthetic.releases import LAYOUT_PRESETS, write_tree

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

        write_manifest(source, out, show("drawing phantoms"))
        say(f"{len(source.keys)} phantom clips in {out}; next: stagkit prepare manifest {out} PREPARED")
        return
    if official:
        write_tree(source, layout.value, out, show("drawing phantoms"))
        say(f"{len(source.keys)} phantom clips in {out}; next: stagkit check-data {layout.value} {out}")
        return
    from stagkit.datasets.prepare import prepare_clips

    told = prepare_clips(source, out, workers=workers or os.cpu_count() or 1, progress=show("drawing phantoms"))
    say(_describe(told, out))
    say(f"next: stagkit evaluate {out} --out RUN")


def _describe(told: dict, out: Path) -> str:
    counts = ", ".join(f"{c} {n}" for c, n in told["classes"].items())
    left_out = f", {told['left_out']} left out (see left_out.csv)" if told["left_out"] else ""
    left_out += f", {told['odd']} odd findings (see prepared.json)" if told.get("odd") else ""
    whole = f"{told['clips']} clips of {told['subjects']} subjects ({counts}){left_out}"
    return f"{whole}, {told['frames']} frame(s) each, in {out}"


@app.command(name="check-data")
def check_data(
    name: Annotated[str, typer.Argument(help=f"Data set: {', '.join(DATASETS)}, or manifest.")],
    root: Annotated[Path, typer.Argument(help="Where it lies.")],
    json: Annotated[Path | None, typer.Option(help="Write everything found here too.")] = None,
    sheet: Sheet = None,
    pictures: Annotated[bool, typer.Option("--pictures", help="Decode every frame too: finds damaged ones.")] = False,
) -> None:
    """Look a data set over: clips of each class and subject, missing frames, faults of the sheet; exit 1 if unusable."""
    from stagkit.core.files import write_json
    from stagkit.datasets import DatasetNotAvailable
    from stagkit.datasets.check import check_data as look_over
    from stagkit.datasets.check import format_check

    try:
        found = look_over(name, root, sheet or "", pictures, show("reading pictures"))
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
    root: Annotated[Path, typer.Argument(help="Where it lies.")],
    out: Annotated[Path, typer.Argument(help="Folder to fill; an interrupted one is gone on with.")],
    method: Annotated[str, typer.Option(help="Flow: dis, dis_fast (quick, less exact), tvl1 or farneback.")] = "dis",
    frames: Annotated[int, typer.Option(min=1, help="Discriminative frames kept of each clip.")] = 12,
    selection: Annotated[str, typer.Option(help="magnitude, uniform, apex or all.")] = "magnitude",
    flow_device: Annotated[
        str,
        typer.Option(help="cpu, cuda (tvl1 and farneback, with an OpenCV built for it), or auto: cuda where it can."),
    ] = "cpu",
    sheet: Sheet = None,
    align: Annotated[
        int,
        typer.Option(min=0, max=1024, help="Turn, scale and cut every face to a square of this many px; 0: as it is."),
    ] = 0,
    landmarker: Annotated[
        Path | None, typer.Option(help="mediapipe's face_landmarker.task, for clips without stored landmarks.")
    ] = None,
    contents: Annotated[
        bool, typer.Option("--contents", help="Resume by the contents of all files instead of their times (slow).")
    ] = False,
    workers: Workers = None,
    cluster: Cluster = "",
) -> None:
    """Measure the motion of every clip and cut the facial regions: what 'evaluate' reads."""
    from stagkit.core.config import FlowConfig
    from stagkit.datasets import open_source
    from stagkit.datasets.prepare import prepare_clips
    from stagkit.motion.optical_flow_cuda import choose_flow_device

    device = choose_flow_device(flow_device, method)
    config = FlowConfig(method=method, n_frames=frames, selection=selection, device=device)
    source = open_source(name, str(root.resolve() if cluster else root), sheet or "")
    told = prepare_clips(
        source,
        out,
        config,
        workers=workers or os.cpu_count() or 1,
        progress=show("preparing"),
        align=align,
        landmarker=str(landmarker or ""),
        cluster=cluster,
        contents=contents,
    )
    say(_describe(told, out))
