"""Commands that show what a network does: explain, analyze."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli.options import say
from stagkit.cli.progress import show

app = typer.Typer()


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    clip: Annotated[list[str] | None, typer.Option(help="Clip id; repeatable. All test clips if not given.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Which seed's networks.")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps of integrated gradients.")] = 32,
    pictures: Annotated[int, typer.Option(min=0, help="Draw at most this many clips.")] = 12,
    method: Annotated[str, typer.Option(help="integrated gradients, gradient shap, shapley sampling, ...")] = (
        "integrated gradients"
    ),
    controls: Annotated[
        bool, typer.Option("--controls/--no-controls", help="Without them pictures are stamped 'no control'.")
    ] = True,
) -> None:
    """Explain the decisions of a run by regions, muscles and frames, with the controls of each explanation; draw."""
    from stagkit.explain.graph_record import save_graphs
    from stagkit.explain.run import describe_evidence, explain_run, hold_explanations
    from stagkit.plots.clips import draw_attributions

    with hold_explanations(run, seed) as (opened, _):  # until the pictures are drawn
        evidence, out = explain_run(
            run,
            clips=clip,
            seed=seed,
            n_steps=steps,
            progress=show("explaining"),
            method=method,
            controls=controls,
        )
        save_graphs(opened, seed, clip)
        drawn = draw_attributions(evidence if evidence.scores else evidence.attribution, out, pictures)
    say(describe_evidence(evidence))
    say(f"tables, values and {len(drawn)} pictures in {out}; next: stagkit figures {run}")


@app.command()
def analyze(
    video: Annotated[Path, typer.Argument(help="mp4, avi, ..., or a folder of pictures with numbers in their names.")],
    out: Annotated[Path, typer.Option(help="Folder to fill with page and numbers.")],
    weights: Annotated[
        Path,
        typer.Option(help="A finished run, a file of weights, or phantom (shipped, trained on phantoms): what judges."),
    ] = Path("phantom"),
    landmarks: Annotated[
        Path | None,
        typer.Option(help="Stored landmarks of the first frame, or of all: .npy, '68 2' or 'time 68 2' px."),
    ] = None,
    landmarker: Annotated[Path | None, typer.Option(help="Or mediapipe's face_landmarker.task, to find them.")] = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second; needed for a folder.")] = None,
    window: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Length of the windows a long video is cut into, seconds.")
    ] = 0.75,
) -> None:
    """Any clip: landmarks, motion, prediction with probabilities, evidence by muscle; one self-contained HTML page."""
    from stagkit.core.files import check_writable
    from stagkit.inference.analyze import analyze_video, describe_analysis
    from stagkit.reports.analysis import save_analysis

    check_writable(out)
    analysis = analyze_video(
        video,
        weights,
        landmarks=landmarks,
        landmarker=landmarker,
        fps=fps,
        window=window,
        progress=show("windows"),
    )
    save_analysis(analysis, out)
    say(describe_analysis(analysis))
    say(f"page and numbers in {out}: page.html, analysis.json")
