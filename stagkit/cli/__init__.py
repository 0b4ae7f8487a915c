"""The ``stagkit`` command. Bad input ends in one sentence and exit code 2; Ctrl-C keeps what is finished (130).

In: words on a command line. Out: folders and files, progress, one sentence for each error.
Commands stand by what they do in this room; here are those about stagkit itself.
Start reading at ``evaluate.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli import compare as cli_compare
from stagkit.cli import data as cli_data
from stagkit.cli import evaluate as cli_learn
from stagkit.cli import explain as cli_show
from stagkit.cli import report as cli_report
from stagkit.cli.options import prepare_streams, say
from stagkit.cli.weights import weights as show_weights
from stagkit.core.errors import StagkitError, StagkitWarning

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # a damaged picture is told in one sentence, by stagkit

app = typer.Typer(
    name="stagkit",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Analyse and explain micro-expression recognition with the STAG network.",
)


@app.command()
def doctor(
    run: Annotated[
        Path | None, typer.Argument(help="A run: check every file of it, and that predictions and scores agree.")
    ] = None,
) -> None:
    """Versions, device, data roots; every library is tried out; or the state of a run (exit 1 if it is damaged)."""
    if run is not None:
        from stagkit.evaluation.run_check import check_run, format_check, is_sound

        rows = check_run(run)
        say(format_check(rows))
        raise typer.Exit(0 if all(is_sound(state) for _, state in rows) else 1)
    from stagkit.cli.doctor import check_environment

    findings = check_environment()
    for finding in findings:
        say(f"{finding.name:<31}{finding.text}")
    broken = [finding.name for finding in findings if finding.ok is False]
    if broken:
        raise StagkitError(f"{', '.join(broken)}: not as needed; the lines above say what to do.")


app.add_typer(cli_data.app)
app.add_typer(cli_learn.app)
app.add_typer(cli_compare.app)
app.add_typer(cli_show.app)
app.add_typer(cli_report.app)
app.command(name="weights")(show_weights)


@app.command()
def lab(
    notebooks: Annotated[Path, typer.Argument(help="Folder of notebooks.")] = Path("notebooks"),
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the server.")] = 8888,
) -> None:
    """Open JupyterLab on the notebooks."""
    from importlib import util

    if not notebooks.is_dir():
        raise StagkitError(f"there is no folder {notebooks}: run this where stagkit was cloned, or name the folder.")
    if util.find_spec("jupyterlab") is None:
        raise StagkitError("JupyterLab is not installed: pip install 'stagkit[notebooks]', or use 'make lab'.")
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={notebooks}", f"--port={port}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # Jupyter refuses root otherwise, and in a container all is root
        say("warning: Jupyter runs as root; only do so in a container of your own.", error=True)
        command.append("--allow-root")
    os.execv(sys.executable, command)


def _was_interrupted(error: BaseException | None) -> bool:
    """Ctrl-C, which typer turns into an exit without a word."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit 2 with one sentence on bad input, 130 on Ctrl-C."""
    import warnings

    shown: set[str] = set()

    def tell(message, category, *where, **more) -> None:
        if issubclass(category, StagkitWarning) and str(message) not in shown:
            shown.add(str(message))
            say(f"warning: {message}", error=True)

    prepare_streams()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", StagkitWarning)
            warnings.showwarning = tell
            app(args=arguments)
    except StagkitError as error:
        say(error, error=True)
        raise SystemExit(2) from error
    except (KeyboardInterrupt, SystemExit) as error:
        if not _was_interrupted(error):
            raise
        say("interrupted; what was finished is kept: run the same command to go on.", error=True)
        raise SystemExit(130) from error
    except OSError as error:
        say(f"{error.filename or 'a file'}: {error.strerror or error}.", error=True)
        raise SystemExit(2) from error


if __name__ == "__main__":
    main()
