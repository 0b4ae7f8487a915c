"""Execute one notebook of the course in a kernel of its own, measure it, and judge what it showed."""

from __future__ import annotations

import contextlib
import copy
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import import_optional
from stagkit.course.notebooks import describe_cell, find_stubs, make_solutions

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Time between two looks at the memory of a kernel, seconds.
SAMPLE_EVERY = 0.2
WIDGET = "application/vnd.jupyter.widget-view+json"
MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|mnt|var)/[\w./-]+|[A-Z]:\\\\?Users|\bat 0x[0-9a-f]{6,}")


@dataclass
class Outcome:
    """How one notebook went.

    Args:
        name: file name without ending.
        seconds: from the start of the kernel to its last cell.
        memory: largest resident memory of the kernel and its workers together, bytes; None where not measured.
        values: how many recorded values were compared; ``values_off``: names of those outside their tolerance.
        verdicts: exercise -> True, False or None (not answered), of the stubs.
        solutions: the same of the folded solutions; empty unless they were run.
        error: empty where it passed; ``where``: the cell; ``remedy``: what to do.
        node: the executed notebook.
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
        """True where nothing went wrong."""
        return not self.error


class MemoryWatch:
    """Largest resident memory of a process and all that it started, looked at every ``SAMPLE_EVERY`` seconds.

    Memory that processes share (libraries, above all) counts once for each of them, so the sum is an upper bound.
    """

    def __init__(self) -> None:
        #: bytes; None as long as nothing was measured
        self.peak: int | None = None

    @contextlib.contextmanager
    def over(self, pid: int | None) -> Iterator[None]:
        """Look at the process ``pid`` while the block runs, and once at its end; None measures nothing."""
        done = threading.Event()
        thread = threading.Thread(target=self._look, args=(pid, done), daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _look(self, pid: int | None, done: threading.Event) -> None:
        over = False
        while not over:
            over = done.wait(SAMPLE_EVERY)
            found = measure_memory(pid)
            if found is not None:
                self.peak = max(found, self.peak or 0)


def measure_memory(pid: int | None) -> int | None:
    """Resident memory of a process and all that it started, bytes; None where there is none or it cannot be read."""
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
    on_cell: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Execute a notebook in its own kernel; an error is part of the outcome, not raised. No cell has a time limit.

    Args:
        node: the notebook; it is left as it is.
        name: for messages.
        folder: where the kernel works (the notebooks' folder).
        cache: folder for the small run that notebooks share.
        solve: after each stub, run its folded solution in the same kernel; it must be judged 'right'. Its outputs are
            not kept.
        on_cell: called with (code cells done, code cells in all).
    """
    import_optional("nbclient")
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, DeadKernelError

    outcome = Outcome(name, node=copy.deepcopy(node))
    solutions = make_solutions(node, name) if solve else {}
    cells = outcome.node.cells
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        outcome.node,
        timeout=None,
        kernel_name="python3",
        resources={"metadata": {"path": str(Path(folder).resolve())}},
        record_timing=False,
        store_widget_state=False,
    )
    environment = {
        **os.environ,
        "STAGKIT_COURSE": "1",
        "STAGKIT_CACHE": str(cache),
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    environment.setdefault("OMP_NUM_THREADS", "1")
    code = [i for i, cell in enumerate(cells) if cell.cell_type == "code"]
    watch, started, i = MemoryWatch(), time.perf_counter(), 0
    try:
        with client.setup_kernel(env=environment, stderr=subprocess.DEVNULL):
            with watch.over(getattr(client.km.provisioner, "pid", None)):
                for done, i in enumerate(code):
                    on_cell(done, len(code))
                    client.execute_cell(cells[i], i)
                    if i in solutions:
                        _execute_solution(client, i, *solutions[i], outcome)
    except CellExecutionError as error:
        outcome.error = f"{error.ename}: {error.evalue}".strip()
        kind = "StagkitError" if "stagkit" in error.traceback and error.ename.endswith("Error") else ""
        outcome.remedy = (
            "the message says what to do"
            if kind and "." in error.evalue
            else f"run it to this cell: stagkit lab {folder}"
        )
    except DeadKernelError:
        outcome.error = "the kernel died"
        outcome.remedy = "too little memory is the usual reason: close other programs, or make the data smaller"
    outcome.seconds, outcome.memory = time.perf_counter() - started, watch.peak
    if outcome.error:
        outcome.where = describe_cell(outcome.node, i)
    _read_outputs(outcome)
    if outcome.passed:
        _judge(outcome, solve)
    return outcome


def _execute_solution(client, i: int, exercise: str, source: str, outcome: Outcome) -> None:
    """Run a solution as if it stood in the stub at cell ``i``, keep its verdict, and put the stub back."""
    stub = client.nb.cells[i]
    solved = copy.deepcopy(stub)
    solved.source, solved.outputs = source, []
    client.execute_cell(solved, i)
    client.nb.cells[i] = stub
    outcome.solutions |= dict(_read_verdicts(solved))
    outcome.solutions.setdefault(exercise, None)


def _read_outputs(outcome: Outcome) -> None:
    """Collect facts and verdicts from the outputs."""
    for cell in outcome.node.cells:
        for output in cell.get("outputs", []):
            shown = output.get("metadata", {}).get("stagkit", {})
            if "values" in shown:
                outcome.values, outcome.values_off = shown["values"], tuple(shown["off"])
        outcome.verdicts |= dict(_read_verdicts(cell))


def _read_verdicts(cell: NotebookNode) -> Iterator[tuple[str, bool | None]]:
    """Exercise and verdict of every check that a cell shows."""
    for output in cell.get("outputs", []):
        shown = output.get("metadata", {}).get("stagkit", {})
        if "exercise" in shown:
            yield shown["exercise"], shown["ok"]


def _judge(outcome: Outcome, solve: bool) -> None:
    """Rules beyond 'it ran': stubs are unanswered, solutions are right, nothing of this machine is printed."""
    stub_remedy = "a stub is 'answer = ...' and a last line nb.check"
    rules = [("stub", outcome.verdicts, None, stub_remedy)]
    if solve:
        rules.append(("solution", outcome.solutions, True, "correct the solution or its check"))
    for exercise, i in find_stubs(outcome.node).items():
        for kind, verdicts, expected, remedy in rules:
            verdict = verdicts.get(exercise, "missing")
            if verdict is not expected:
                words = {True: "right", False: "not right", None: "not answered", "missing": "not shown"}[verdict]
                outcome.error = f"the {kind} of exercise {exercise} is {words}"
                outcome.where, outcome.remedy = describe_cell(outcome.node, i), remedy
                return
    for i, cell in enumerate(outcome.node.cells):
        for text in read_texts(cell):
            found = MACHINE.search(text)
            if found and not (os.environ.get("RUN") or os.environ.get("DATA")):
                outcome.error, outcome.where = (
                    f"it prints {found[0]!r}, which differs on every machine",
                    describe_cell(outcome.node, i),
                )
                outcome.remedy = "print a name instead of a path or an object"
                return


def read_texts(cell: NotebookNode) -> Iterable[str]:
    """All text of a cell's outputs."""
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        data = output.get("data", {})
        for kind, value in data.items():
            if kind.startswith("text/") and WIDGET not in data:
                yield value
