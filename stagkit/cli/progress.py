"""Progress bars on the error stream; rich is imported when a bar is drawn."""

from __future__ import annotations

import threading
from pathlib import Path


def show(what: str):
    """A bar over finished pieces: what, how many, time left."""

    def progress(stream, total):
        from rich.console import Console
        from rich.progress import track

        return track(stream, description=what, total=total, console=Console(stderr=True))

    return progress


def show_folds(what: str, out: Path):
    """A bar over folds that also shows epoch and loss of the folds in progress in the run folder(s) ``out``."""

    def progress(stream, total):
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[finished]}/{task.total:.0f} {task.fields[state]}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(elapsed_when_finished=True),
        )
        ended, finished = threading.Event(), 0
        with bars.Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
            task = bar.add_task(what, total=total, finished=0, state="")

            def update() -> None:
                while not ended.wait(1.0):
                    share, state = describe(out)
                    bar.update(task, completed=finished + share, finished=finished, state=state)

            watcher = threading.Thread(target=update, daemon=True)
            watcher.start()
            try:
                for piece in stream:
                    finished += 1
                    bar.update(task, completed=finished, finished=finished)
                    yield piece
            finally:
                ended.set()
                watcher.join()

    return progress


def describe(out: Path) -> tuple[float, str]:
    """The folds in progress below a folder: the work done, in folds, and their epochs and loss as text."""
    from stagkit.training.checkpoint import read_progress

    found = read_progress(out)
    if not found:
        return 0.0, ""
    share = sum(f["networks"] * f["epoch"] / f["epochs"] for f in found)
    epochs = ", ".join(str(f["epoch"]) for f in found[:4]) + (", ..." if len(found) > 4 else "")
    loss = sum(f["loss"] * f["networks"] for f in found) / max(1, sum(f["networks"] for f in found))
    return share, f"· epoch {epochs} of {found[0]['epochs']} · loss {loss:.3f}"
