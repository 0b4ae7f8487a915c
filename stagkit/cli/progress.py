"""Progress bars on the error stream, so that output can still be piped. Light: rich is loaded when a bar is drawn."""

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
    """A bar over folds that also says how far those at work are: epoch, loss, time left.

    Args:
        what: e.g. ``folds of loso``.
        out: folder of the run, or of several.
    """

    def progress(stream, total):
        from rich import progress as bars
        from rich.console import Console

        columns = (
            bars.TextColumn("{task.description}"),
            bars.BarColumn(),
            bars.TextColumn("{task.fields[finished]}/{task.total:.0f} {task.fields[told]}"),
            bars.TimeElapsedColumn(),
            bars.TextColumn("left"),
            bars.TimeRemainingColumn(elapsed_when_finished=True),
        )
        ended, finished = threading.Event(), 0
        with bars.Progress(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
            task = bar.add_task(what, total=total, finished=0, told="")

            def look() -> None:
                while not ended.wait(1.0):
                    share, told = describe(out)
                    bar.update(task, completed=finished + share, finished=finished, told=told)

            watcher = threading.Thread(target=look, daemon=True)
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
    """What is at work below a folder: how many folds' worth is done already, and epoch and loss in words."""
    from stagkit.training.checkpoint import read_progress

    found = read_progress(out)
    if not found:
        return 0.0, ""
    share = sum(f["networks"] * f["epoch"] / f["epochs"] for f in found)
    epochs = ", ".join(str(f["epoch"]) for f in found[:4]) + (", ..." if len(found) > 4 else "")
    networks = sum(f["networks"] for f in found)
    loss = sum(f["loss"] * f["networks"] for f in found) / max(1, networks)
    return share, f"· epoch {epochs} of {found[0]['epochs']} · loss {loss:.3f}"
