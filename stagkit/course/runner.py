"""Execution of the course: ``python -m stagkit.course notebooks [--changed] [--record] [--solutions]``.

Notebooks run in order, each in its own kernel, and nothing is written unless asked for. ``--record`` writes outputs into the
notebooks (phantoms only, from a cold cache) with the measured cost and a digest of the sources, so that a stale notebook is
found without running it. ``--solutions`` writes the solution notebooks and runs each solution right after its placeholder.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import logging
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitError, import_optional
from stagkit.course.notebooks import (
    TAKES,
    CourseError,
    compute_sources_digest,
    describe_cell,
    find_exercises,
    find_notebooks,
    find_solutions,
    is_stale,
    load_notebook,
    make_solution_notebook,
    normalise,
    read_outputs,
    save_notebook,
)

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Interval between two measurements of a kernel's memory, seconds.
SAMPLE_EVERY = 0.2
#: Paths and addresses that differ from machine to machine.
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|mnt|var)/[\w./-]+|[A-Z]:\\\\?Users|\bat 0x[0-9a-f]{6,}")


@dataclass
class Outcome:
    """Result of one notebook.

    Args:
        name: file name without ending.
        seconds: from the start of the kernel to its last cell.
        memory: largest resident memory of the kernel and its workers together, bytes; None if not measured.
        values: number of compared values; ``values_off``: names of those outside their tolerance.
        verdicts: exercise -> True, False or None (not answered); ``solutions``: the same of solutions that were run.
        error: empty if it passed; ``where``: the cell; ``remedy``: what to do.
    """

    name: str
    seconds: float = 0.0
    memory: int | None = None
    values: int = 0
    values_off: tuple[str, ...] = ()
    verdicts: dict[str, bool | None] = field(default_factory=dict)
    solutions: dict[str, bool | None] = field(default_factory=dict)
    error: str = ""
    where: str = ""
    remedy: str = ""
    node: NotebookNode | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """True if nothing went wrong."""
        return not self.error


@contextlib.contextmanager
def watch_memory(pid: int | None) -> Iterator[list[int]]:
    """Memory of a process and its children, bytes, every ``SAMPLE_EVERY`` seconds in the block and once at its end.

    Memory that processes share (libraries, above all) counts once for each of them, so the sum is an upper bound.
    """
    done, sizes = threading.Event(), []

    def sample() -> None:
        over = False
        while not over:
            over = done.wait(SAMPLE_EVERY)
            sizes.append(measure_memory(pid) or 0)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield sizes
    finally:
        done.set()
        thread.join()


def measure_memory(pid: int | None) -> int | None:
    """Resident memory of a process and its children, bytes; None if there is none or it cannot be read."""
    psutil = import_optional("psutil")
    if pid is None:
        return None
    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return None
    found = []
    for member in family:
        with contextlib.suppress(psutil.Error):  # it has ended meanwhile
            found.append(member.memory_info().rss)
    return sum(found) or None


def execute_notebook(
    node: NotebookNode,
    name: str,
    folder: str | Path,
    cache: str | Path,
    solve: bool = False,
    on_cell: Callable[[str], None] = lambda text: None,
) -> Outcome:
    """Execute a notebook in its own kernel; an error is part of the outcome, not raised. No cell has a time limit.

    Args:
        node: the notebook; it is not changed.
        name: for messages.
        folder: working folder of the kernel (the notebooks' folder).
        cache: folder for the small run that notebooks share.
        solve: after each placeholder, run its folded solution in the same kernel; it must be 'right', and is not kept.
        on_cell: called with the progress in words before each code cell.
    """
    import_optional("nbclient")
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    outcome = Outcome(name, node=copy.deepcopy(node))
    solutions = find_solutions(node, name) if solve else {}
    cells = outcome.node.cells
    code = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    for i in code:
        cells[i].outputs, cells[i].execution_count = [], None
    client = NotebookClient(
        outcome.node,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(Path(folder).resolve())}},
        record_timing=False,
        store_widget_state=False,
    )
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "STAGKIT_COURSE": "1", "STAGKIT_CACHE": str(cache)}
    environment["PYDEVD_DISABLE_FILE_VALIDATION"] = "1"
    sizes, started, i = [], time.perf_counter(), 0
    try:
        with client.setup_kernel(env=environment, stderr=subprocess.DEVNULL):
            with watch_memory(getattr(client.km.provisioner, "pid", None)) as sizes:
                for number, i in enumerate(code, 1):
                    on_cell(f"{name}: cell {number} of {len(code)}")
                    client.execute_cell(cells[i], i)
                    if i in solutions:
                        _execute_solution(client, i, *solutions[i], outcome)
    except CellExecutionError as error:
        outcome.error = f"{error.ename}: {error.evalue}".strip()
        ours = "stagkit" in error.traceback and error.ename.endswith("Error") and "." in error.evalue
        outcome.remedy = "the message says what to do" if ours else f"run it to this cell: stagkit lab {folder}"
    except DeadKernelError:
        outcome.error = "the kernel died"
        outcome.remedy = "too little memory is the usual reason: close other programs, or make the data smaller"
    outcome.seconds, outcome.memory = time.perf_counter() - started, max(sizes, default=0) or None
    if outcome.error:
        outcome.where = describe_cell(outcome.node, i)
    noted = [entry for cell in cells for entry in _read_metadata(cell)]
    outcome.verdicts = {entry["exercise"]: entry["ok"] for entry in noted if "exercise" in entry}
    for entry in (entry for entry in noted if "values" in entry):
        outcome.values, outcome.values_off = entry["values"], tuple(entry["off"])
    if outcome.passed:
        _judge(outcome, solve)
    return outcome


def _execute_solution(client, i: int, exercise: str, source: str, outcome: Outcome) -> None:
    """Run a solution in place of the placeholder at cell ``i``, keep its verdict, and put the placeholder back."""
    placeholder = client.nb.cells[i]
    solved = copy.deepcopy(placeholder)
    solved.source, solved.outputs = source, []
    client.execute_cell(solved, i)
    client.nb.cells[i] = placeholder
    outcome.solutions |= {s["exercise"]: s["ok"] for s in _read_metadata(solved) if "exercise" in s}
    outcome.solutions.setdefault(exercise, None)


def _read_metadata(cell: NotebookNode) -> list[dict]:
    """What ``stagkit.course.notebook`` noted in the outputs of a cell."""
    return [output.get("metadata", {}).get("stagkit", {}) for output in cell.get("outputs", [])]


def _judge(outcome: Outcome, solve: bool) -> None:
    """Rules beyond 'it ran': placeholders are unanswered, solutions are right, nothing of this machine is printed."""
    rules = [("placeholder", outcome.verdicts, None, "an exercise is 'answer = ...' and a last line nb.check")]
    if solve:
        rules.append(("solution", outcome.solutions, True, "correct the solution or its check"))
    words = {True: "right", False: "not right", None: "not answered", "missing": "not shown"}
    broken = [
        (i, f"the {kind} of exercise {exercise} is {words[verdicts.get(exercise, 'missing')]}", remedy)
        for exercise, i in find_exercises(outcome.node).items()
        for kind, verdicts, expected, remedy in rules
        if verdicts.get(exercise, "missing") is not expected
    ]
    if not (os.environ.get("RUN") or os.environ.get("DATA")):
        for i, cell in enumerate(outcome.node.cells):
            if found := MACHINE.search("\n".join(read_outputs(cell))):
                error = f"it prints {found[0]!r}, which differs on every machine"
                broken.append((i, error, "print a name instead of a path or an object"))
    if broken:
        i, outcome.error, outcome.remedy = broken[0]
        outcome.where = describe_cell(outcome.node, i)


def record(outcome: Outcome, path: Path) -> None:
    """Write an executed notebook in place: outputs, digest of its sources, and its cost in its head."""
    node, cost = outcome.node, f"{max(1, round(outcome.seconds))} s"
    if outcome.memory is not None:
        cost += f" and {max(0.1, outcome.memory / 1e9):.1f} GB of memory"
    for cell in node.cells:
        if cell.cell_type == "markdown" and TAKES.search(cell.source):
            cell.source = TAKES.sub(rf"\g<about>{cost}", cell.source)
            break
    node.metadata["stagkit"] = {"sources": compute_sources_digest(node)}
    save_notebook(normalise(node), path)


def run_course(
    folder: str | Path,
    only: Sequence[str] = (),
    changed: bool = False,
    recording: bool = False,
    solutions: bool = False,
    out: str | Path | None = None,
    on_cell: Callable[[str], None] = lambda text: None,
) -> Iterable[Outcome]:
    """Execute notebooks in order; yields each outcome as soon as it is there.

    Args:
        only: two-digit numbers; all if empty.
        changed: only those whose sources differ from what was recorded.
        recording: write outputs into the notebooks that pass; each then starts from an empty cache.
        solutions: write the solution notebooks to ``folder/solutions``, and run each solution after its placeholder.
        out: folder for executed copies.
        on_cell: as for ``execute_notebook``.

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
                outcome = execute_notebook(node, path.stem, folder, own, solutions, on_cell)
                if outcome.passed and recording:
                    record(outcome, path)
                if solutions or (recording and outcome.passed):
                    solved = make_solution_notebook(load_notebook(path), path.name)
                    save_notebook(solved, folder / "solutions" / path.name)
            except CourseError as error:
                outcome = Outcome(path.stem, error=str(error), where="exercises", remedy="complete the exercise")
            if out is not None and outcome.node is not None:
                save_notebook(outcome.node, Path(out) / path.name)
            yield outcome
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def format_row(outcome: Outcome | None = None) -> str:
    """One line of the table: notebook, seconds, peak memory (GB), values, exercises, pass or fail; None: its header."""
    cells = ("notebook", "seconds", "GB", "values", "exercises", "result")
    if outcome is not None:
        values = f"{outcome.values - len(outcome.values_off)}/{outcome.values}" if outcome.values else "-"
        exercises = f"{[*outcome.verdicts.values()].count(None)} open"
        if outcome.solutions:
            exercises += f", {[*outcome.solutions.values()].count(True)} solved"
        memory = "-" if outcome.memory is None else f"{outcome.memory / 1e9:.1f}"
        result = "pass" if outcome.passed else "FAIL"
        cells = (outcome.name, f"{outcome.seconds:.0f}", memory, values, exercises, result)
    return "{:<34}{:>8}{:>6}  {:<7}{:<18}{}".format(*cells)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the course from the command line; exit code 0, 1 (a notebook failed), 2 (bad input) or 130 (Ctrl-C)."""
    from rich.console import Console
    from rich.markup import escape

    parser = argparse.ArgumentParser(prog="python -m stagkit.course", description=__doc__.partition("\n")[0])
    parser.add_argument("folder", help="folder of the notebooks")
    parser.add_argument("--only", nargs="+", default=(), metavar="NN", help="notebook numbers")
    parser.add_argument("--changed", action="store_true", help="only notebooks that changed since they were recorded")
    parser.add_argument("--record", action="store_true", help="write outputs into the notebooks")
    parser.add_argument("--solutions", action="store_true", help="write the solution notebooks and run them too")
    parser.add_argument("--out", help="folder for executed copies")
    chosen = parser.parse_args(arguments)
    console, screen = Console(), Console(stderr=True)
    outcomes: list[Outcome] = []
    code = 0
    try:
        with screen.status("starting") as status:
            settings = (chosen.only, chosen.changed, chosen.record, chosen.solutions, chosen.out, status.update)
            for outcome in run_course(chosen.folder, *settings):
                if not outcomes:
                    console.print(format_row(), style="bold", highlight=False)
                outcomes.append(outcome)
                console.print(format_row(outcome), style=None if outcome.passed else "red", highlight=False)
    except StagkitError as error:
        screen.print(f"stagkit: {escape(str(error))}", highlight=False)
        return 2
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # the interrupted kernel would complain while it ends
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
