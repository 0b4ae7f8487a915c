"""Execute the course: ``python -m stagkit.course notebooks [--changed] [--record] [--solutions] [--list]``.

Notebooks run in order, each in its own kernel, and nothing is written unless asked for: ``--record`` writes outputs into
the notebooks (phantoms only, from a cold cache, with the measured seconds and memory in the *Takes* line and a digest of
the sources, so that a stale notebook is found without running it) and the solved twins, with the folded solutions in the
place of the stubs; ``--solutions`` writes the twins and runs each solution right after its stub; ``--list`` runs nothing
and prints what each notebook asks and holds. Exit code 1 where a notebook fails.
"""

from __future__ import annotations

import argparse
import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from stagkit.core.errors import StagkitError
from stagkit.course.execution import Outcome, execute_notebook
from stagkit.course.listing import describe_notebook, format_list
from stagkit.course.notebooks import CourseError, find_notebooks, is_stale, load_notebook, make_solved, save_notebook
from stagkit.course.recording import normalise_twin, record


def run_course(
    folder: str | Path,
    only: Sequence[str] = (),
    changed: bool = False,
    recording: bool = False,
    solutions: bool = False,
    out: str | Path | None = None,
    on_start: Callable[[str], Callable[[int, int], None]] = lambda name: lambda done, total: None,
) -> Iterable[Outcome]:
    """Execute notebooks in order; yields each outcome as soon as it is there.

    Args:
        folder: of the notebooks.
        only: two-digit numbers; all where empty.
        changed: only those whose sources differ from what was recorded.
        recording: write outputs into the notebooks that pass; each then starts from an empty cache.
        solutions: write the solved twins to ``folder/solutions``, and run each solution right after its stub.
        out: folder for executed copies.
        on_start: called with a name, gives the ``on_cell`` of ``execute_notebook``.

    Raises:
        CourseError: no notebooks; recording while RUN or DATA is set.
    """
    folder = Path(folder)
    paths = find_notebooks(folder, only)
    if recording and (os.environ.get("RUN") or os.environ.get("DATA")):
        raise CourseError("outputs are recorded on phantoms only: unset RUN and DATA, or leave out --record.")
    cache = Path(tempfile.mkdtemp(prefix="stagkit-course-"))
    try:
        for path in paths:
            node = load_notebook(path)
            if changed and not is_stale(node):
                continue
            own = cache / path.stem if recording else cache
            try:
                outcome = execute_notebook(node, path.stem, folder, own, solutions, on_cell=on_start(path.stem))
                if outcome.passed and recording:
                    record(outcome, path)
                if solutions or (recording and outcome.passed):
                    twin = make_solved(load_notebook(path), path.name)
                    save_notebook(normalise_twin(twin), folder / "solutions" / path.name)
            except CourseError as error:
                outcome = Outcome(path.stem, error=str(error), where="exercises", remedy="complete the exercise")
            _keep_copy(outcome, out)
            yield outcome
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def _keep_copy(outcome: Outcome, out: str | Path | None) -> None:
    if out is not None and outcome.node is not None:
        save_notebook(outcome.node, Path(out) / f"{outcome.name.replace(' ', '_')}.ipynb")


def format_row(outcome: Outcome | None = None) -> str:
    """One line of the table: notebook, seconds, peak memory (GB), facts, exercises, pass or fail; None: its header."""
    cells = ("notebook", "seconds", "GB", "values", "exercises", "result")
    if outcome is not None:
        facts = f"{outcome.values - len(outcome.values_off)}/{outcome.values}" if outcome.values else "-"
        exercises = f"{sum(v is None for v in outcome.verdicts.values())} open"
        if outcome.solutions:
            exercises += f", {sum(v is True for v in outcome.solutions.values())} solved"
        memory = "-" if outcome.memory is None else f"{outcome.memory / 1e9:.1f}"
        result = "pass" if outcome.passed else "FAIL"
        cells = (outcome.name, f"{outcome.seconds:.0f}", memory, facts, exercises, result)
    name, seconds, memory, facts, exercises, result = cells
    return f"{name:<34}{seconds:>8}{memory:>6}  {facts:<7}{exercises:<18}{result}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the course from the command line; exit code 0, 1 (a notebook failed), 2 (bad input) or 130 (Ctrl-C)."""
    from rich.console import Console
    from rich.markup import escape

    parser = argparse.ArgumentParser(prog="python -m stagkit.course", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="folder of the notebooks")
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="notebook numbers")
    parser.add_argument("--changed", action="store_true", help="only notebooks that changed since they were recorded")
    parser.add_argument("--record", action="store_true", help="write outputs into the notebooks")
    parser.add_argument("--solutions", action="store_true", help="write the solved twins and run them too")
    parser.add_argument("--out", help="folder for executed copies")
    parser.add_argument("--list", action="store_true", help="run nothing; print what each notebook asks and holds")
    chosen = parser.parse_args(arguments)
    console, screen = Console(), Console(stderr=True)
    outcomes: list[Outcome] = []
    status = screen.status("starting")

    def on_start(name: str) -> Callable[[int, int], None]:
        return lambda done, total: status.update(f"{name}: cell {done + 1} of {total}")

    code = 0
    try:
        if chosen.list:
            print(format_list([describe_notebook(path) for path in find_notebooks(chosen.folder, chosen.only)]))
            return 0
        with status:
            for outcome in run_course(
                chosen.folder, chosen.only, chosen.changed, chosen.record, chosen.solutions, chosen.out, on_start
            ):
                if not outcomes:
                    console.print(format_row(), style="bold", highlight=False)
                outcomes.append(outcome)
                console.print(format_row(outcome), style=None if outcome.passed else "red", highlight=False)
    except StagkitError as error:
        screen.print(f"stagkit: {escape(str(error))}", highlight=False)
        return 2
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # the kernel that was ended would complain on its way out
        screen.print("stagkit: interrupted; notebooks that were recorded before stay.", highlight=False)
        code = 130
    if outcomes:
        console.print(f"{sum(o.seconds for o in outcomes):.0f} s in all", highlight=False)
    elif not code:
        console.print("no notebook has changed since it was recorded", highlight=False)
    for o in (o for o in outcomes if not o.passed):
        text = f"\n{o.name}\n  {o.where}\n  {o.error}\n  to do: {o.remedy}"
        console.print(escape(text), highlight=False, style="red")
    return code or int(any(not o.passed for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
