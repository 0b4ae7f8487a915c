"""The ``stagkit`` command: words on a command line in; folders, progress, and one sentence per error out.

Bad input ends with exit code 2, Ctrl-C with 130 and keeps finished work. Start reading at ``evaluate.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from stagkit.cli import data as data_commands
from stagkit.cli import evaluate as evaluate_commands
from stagkit.cli import explain as explain_commands
from stagkit.cli.options import prepare_streams, say
from stagkit.core.errors import StagkitError, StagkitWarning

os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")  # stagkit reports damaged images itself

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
        Path | None, typer.Argument(help="A run: check all its files, and that predictions and scores agree.")
    ] = None,
) -> None:
    """Check the installation: every library, device, data root; or a run (exit 1 if it is damaged)."""
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


for _commands in (data_commands, evaluate_commands, explain_commands):
    app.add_typer(_commands.app)


@app.command()
def lab(
    notebooks: Annotated[Path, typer.Argument(help="Folder of notebooks.")] = Path("notebooks"),
    port: Annotated[int, typer.Option(min=1, max=65_535, help="Port of the server.")] = 8888,
) -> None:
    """Open the notebooks in JupyterLab."""
    from importlib import util

    if not notebooks.is_dir():
        raise StagkitError(f"there is no folder {notebooks}: run this in the clone of stagkit, or name the folder.")
    if util.find_spec("jupyterlab") is None:
        raise StagkitError("JupyterLab is not installed: pip install 'stagkit[notebooks]', or use 'make lab'.")
    command = [sys.executable, "-m", "jupyter", "lab", f"--notebook-dir={notebooks}", f"--port={port}"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:  # Jupyter refuses root otherwise; containers usually run as root
        say("warning: Jupyter runs as root; only do so in a container of your own.", error=True)
        command.append("--allow-root")
    os.execv(sys.executable, command)


def _was_interrupted(error: BaseException | None) -> bool:
    """Ctrl-C, which typer turns into a silent exit."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def main(arguments: list[str] | None = None) -> None:
    """Run the command; exit 2 with one sentence on bad input, 130 on Ctrl-C."""
    import warnings

    shown: set[str] = set()

    def show_warning(message, category, *where, **more) -> None:
        if issubclass(category, StagkitWarning) and str(message) not in shown:
            shown.add(str(message))
            say(f"warning: {message}", error=True)

    prepare_streams()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("always", StagkitWarning)
            warnings.showwarning = show_warning
            app(args=arguments)
    except StagkitError as error:
        say(error, error=True)
        raise SystemExit(2) from error
    except (KeyboardInterrupt, SystemExit) as error:
        if not _was_interrupted(error):
            raise
        say("interrupted; finished work is kept: run the same command to resume.", error=True)
        raise SystemExit(130) from error
    except OSError as error:
        say(f"{error.filename or 'a file'}: {error.strerror or error}.", error=True)
        raise SystemExit(2) from error
