"""Commands for finished runs and trained networks: explain, figures, report, analyze, weights."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli import options
from stagkit.cli.options import say
from stagkit.cli.progress import show

app = typer.Typer()


@app.command()
def explain(
    run: Annotated[Path, typer.Argument(help="A finished run.")],
    clip: Annotated[list[str] | None, typer.Option(help="Clip id; repeatable. All test clips by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Explain the networks of this seed.")] = 0,
    steps: Annotated[int, typer.Option(min=1, max=10_000, help="Steps, with --method 'integrated gradients'.")] = 32,
    n_figures: Annotated[int, typer.Option(min=0, help="Draw figures of at most this many clips.")] = 12,
    method: Annotated[
        str | None,
        typer.Option(
            help="exact terms (default; integrated gradients if the head is fused), gradient shap, shapley sampling, ..."
        ),
    ] = None,
    sanity_checks: Annotated[
        bool,
        typer.Option(help="Run the controls of every explanation; figures without them are marked 'no control'."),
    ] = True,
) -> None:
    """Explain the predictions of a run by edges, action units, regions and frames, with controls for each explanation."""
    from stagkit.explain.run import describe_evidence, explain_run, hold_explanations
    from stagkit.plots.attributions import draw_attributions

    with hold_explanations(run, seed):  # until the figures are drawn
        evidence, out = explain_run(run, clip, seed, steps, show("explaining"), method, sanity_checks)
        drawn = draw_attributions(evidence if evidence.scores else evidence.attribution, out, n_figures)
    say(describe_evidence(evidence))
    say(f"tables, values and {len(drawn)} figures in {out}; next: stagkit figures {run}")


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
        for line in (out / "README.md").read_text(encoding="utf-8").splitlines():
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


@app.command()
def analyze(
    video: Annotated[Path, typer.Argument(help="mp4, avi, ..., or a folder of images with numbers in their names.")],
    out: Annotated[Path, typer.Option(help="Folder for the page and the numbers.")],
    weights: Annotated[
        Path,
        typer.Option(
            help="Trained networks: a finished run, a weights file, or phantom (shipped, trained on phantoms)."
        ),
    ] = Path("phantom"),
    landmarks: Annotated[
        Path | None,
        typer.Option(help="Stored landmarks of the first frame or of all frames: .npy, '68 2' or 'time 68 2' px."),
    ] = None,
    landmarker: options.Landmarker = None,
    fps: Annotated[float | None, typer.Option(help="Frames per second; required for a folder.")] = None,
    window: Annotated[
        float, typer.Option(min=0.1, max=3600.0, help="Length of the windows that a long video is split into, seconds.")
    ] = 0.75,
) -> None:
    """Analyse any clip: landmarks, motion, class probabilities, attribution to muscles; one self-contained HTML page."""
    from stagkit.core.files import check_writable
    from stagkit.inference.analyze import analyze_video, describe_analysis
    from stagkit.reports.analysis import save_analysis

    check_writable(out)
    analysis = analyze_video(video, weights, landmarks, landmarker, fps, window, show("windows"))
    save_analysis(analysis, out)
    say(describe_analysis(analysis))
    say(f"page and numbers in {out}: page.html, analysis.json")


@app.command()
def weights(
    source: Annotated[str, typer.Argument(help="phantom (shipped), a finished run, or a .safetensors file.")],
    out: Annotated[Path | None, typer.Option(help="Write the networks to this .safetensors file.")] = None,
) -> None:
    """Describe trained networks and their scores; pack a run into one file."""
    from stagkit.inference.pretrained import SHIPPED, load_card, load_weights, save_weights

    known = load_weights(source)
    if out is not None:
        save_weights(known, out)
        say(f"{len(known.networks)} networks in {out}; next: stagkit analyze VIDEO --weights {out} --out DIR")
        return
    if source in SHIPPED:
        say(load_card(source))
        return
    size = f"{len(known.networks)} networks of {sum(p.numel() for p in known.networks[0].parameters()):,} parameters"
    say(f"{known.name}: {size}; classes {', '.join(known.classes)}.\n{known.training_summary}")
