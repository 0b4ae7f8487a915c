"""Execute the course: ``python -m stagkit.course notebooks [--changed] [--record] [--solutions]``.

Notebooks run in order, each in its own kernel, and nothing is written unless asked for: ``--record`` writes outputs into
the notebooks (phantoms only, from a cold cache, with the measured seconds in the *Takes* line and a digest of the
sources, so that a stale notebook is found without running it) and the solved twins, with the folded solutions in the
place of the stubs; ``--solutions`` writes the twins and runs them too. Exit code 1 where a notebook fails.
"""

from __future__ import annotations

import argparse
import base64
import copy
import hashlib
import io
import logging
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.errors import StagkitError
from stagkit.files import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: Longest time a cell may take, seconds.
CELL_TIMEOUT = 300
#: A PNG above this is reduced to 256 colours, bytes.
LARGE_PNG = 30_000
#: Largest change of a colour that counts as unseen (of 255), for 99 % of the pixels.
LARGEST_STEP = 10

_TAKES = re.compile(r"(\*Takes\*:? about )(\d+)( s)")
_STUB = re.compile(r'nb\.check\("(\d\d\.\d)"')
_SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>.*?```python\n(?P<code>.*?)```", re.DOTALL)
_WIDGET = "application/vnd.jupyter.widget-view+json"
_MACHINE = re.compile(r"/(?:home|root|tmp|work|Users|mnt|var)/[\w./-]+|[A-Z]:\\\\?Users|\bat 0x[0-9a-f]{6,}")


class CourseError(StagkitError):
    """A folder without notebooks, a notebook that cannot be read, or settings that do not go together."""


@dataclass
class Outcome:
    """How one notebook went.

    Args:
        name: file name without ending, with ``(solved)`` behind it for a twin.
        seconds: from the start of the kernel to its last cell.
        facts: how many facts were compared; ``facts_off``: names of those outside their tolerance.
        verdicts: exercise -> True, False or None (not answered).
        error: empty where it passed; ``where``: the cell; ``remedy``: what to do.
        node: the executed notebook.
    """

    name: str
    seconds: float = 0.0
    facts: int = 0
    facts_off: tuple[str, ...] = ()
    verdicts: dict[str, bool | None] = field(default_factory=dict)
    error: str = ""
    where: str = ""
    remedy: str = ""
    node: NotebookNode | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """True where nothing went wrong."""
        return not self.error


# notebooks as files --------------------------------------------------------------------------------------------------


def find_notebooks(folder: str | Path, only: Sequence[str] = ()) -> tuple[Path, ...]:
    """The notebooks of a folder, in the order of their numbers.

    Args:
        only: two-digit numbers; all where empty.

    Raises:
        CourseError: no folder, none in it, or a number that is not there.
    """
    folder = Path(folder)
    found = sorted(folder.glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise CourseError(f"{folder} holds no notebooks named like 01_title.ipynb: give the folder of the course.")
    missing = [number for number in only if not any(p.name.startswith(f"{number}_") for p in found)]
    if missing:
        known = ", ".join(p.name[:2] for p in found)
        raise CourseError(f"there is no notebook {', '.join(missing)}; there are {known}.")
    return tuple(p for p in found if not only or p.name[:2] in only)


def load_notebook(path: str | Path) -> NotebookNode:
    """Read a notebook.

    Raises:
        CourseError: it is missing or damaged.
    """
    import nbformat

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise CourseError(f"there is no notebook {path}.") from error
    except Exception as error:  # nbformat raises many kinds
        raise CourseError(f"{path} cannot be read as a notebook: {error}. Restore it with git.") from error


def save_notebook(node: NotebookNode, path: str | Path) -> None:
    """Write a notebook, whole or not at all, with the layout that Jupyter uses."""
    import nbformat

    write_text(path, nbformat.writes(node).rstrip("\n") + "\n")


def compute_sources_digest(node: NotebookNode) -> str:
    """12 hex digits of the sources of all cells; the measured seconds of the *Takes* line do not count."""
    digest = hashlib.sha256()
    for cell in node.cells:
        source = _TAKES.sub(r"\1\3", cell.source)
        digest.update(f"{cell.cell_type}\n{source}\0".encode())
    return digest.hexdigest()[:12]


def is_stale(node: NotebookNode) -> bool:
    """True where the sources changed since the outputs were recorded."""
    return node.metadata.get("stagkit", {}).get("sources") != compute_sources_digest(node)


def find_stubs(node: NotebookNode) -> dict[str, int]:
    """Exercise -> index of its stub cell."""
    found = ((_STUB.search(c.source), i) for i, c in enumerate(node.cells) if c.cell_type == "code")
    return {match[1]: i for match, i in found if match}


def make_solved(node: NotebookNode, name: str = "") -> NotebookNode:
    """The solved twin: each stub's ``answer = ...`` is replaced by the folded solution below it; no outputs.

    Args:
        node: a notebook of the course.
        name: its file name, for the note at the top.

    Raises:
        CourseError: an exercise without ``answer = ...`` or without a folded solution.
    """
    solved = copy.deepcopy(node)
    for exercise, i in find_stubs(solved).items():
        stub = solved.cells[i]
        following = next((c for c in solved.cells[i + 1 :] if c.cell_type == "markdown"), None)
        match = _SOLUTION.search(following.source) if following is not None else None
        if match is None:
            raise CourseError(
                f"{name}: exercise {exercise} has no folded solution (<details><summary>Solution</summary>) behind it."
            )
        stub.source, n_replaced = re.subn(
            r"^answer = \.\.\..*$", lambda _, code=match["code"]: code.rstrip("\n"), stub.source, flags=re.MULTILINE
        )
        if n_replaced != 1:
            raise CourseError(f"{name}: the stub of exercise {exercise} needs one line 'answer = ...'.")
    for cell in solved.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count, cell.metadata = [], None, {}
    note = (
        f"*Solved twin of {name}, made from it by* `python -m stagkit.course notebooks --solutions`*; edit that one.*"
    )
    solved.cells[0].source += f"\n\n{note}"
    solved.metadata["stagkit"] = {"twin_of": compute_sources_digest(node)}
    return solved


# execution -----------------------------------------------------------------------------------------------------------


def execute_notebook(
    node: NotebookNode,
    name: str,
    folder: str | Path,
    cache: str | Path,
    solved: bool = False,
    on_cell: Callable[[int, int], None] = lambda done, total: None,
) -> Outcome:
    """Execute a notebook in its own kernel; what goes wrong is told, not raised.

    Args:
        node: the notebook; it is left as it is.
        name: for messages.
        folder: where the kernel works (the notebooks' folder).
        cache: folder for the small run that notebooks share.
        solved: the solutions stand in the stubs, so every verdict must be 'right'.
        on_cell: called with (code cells done, code cells in all).
    """
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    outcome = Outcome(f"{name} (solved)" if solved else name, node=copy.deepcopy(node))
    cells = outcome.node.cells
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        outcome.node,
        timeout=CELL_TIMEOUT,
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
    started, i = time.perf_counter(), 0
    try:
        with client.setup_kernel(env=environment, stderr=subprocess.DEVNULL):
            for done, i in enumerate(code):
                on_cell(done, len(code))
                client.execute_cell(cells[i], i)
    except CellExecutionError as error:
        outcome.error = f"{error.ename}: {error.evalue}".strip()
        kind = "StagkitError" if "stagkit" in error.traceback and error.ename.endswith("Error") else ""
        outcome.remedy = (
            "the message says what to do"
            if kind and "." in error.evalue
            else f"run it to this cell: stagkit lab {folder}"
        )
    except CellTimeoutError:
        outcome.error = f"a cell took longer than {CELL_TIMEOUT} s"
        outcome.remedy = "make the data smaller, or train for fewer epochs"
    except DeadKernelError:
        outcome.error = "the kernel died"
        outcome.remedy = "too little memory is the usual reason: close other programs, or make the data smaller"
    outcome.seconds = time.perf_counter() - started
    if outcome.error:
        outcome.where = describe_cell(outcome.node, i)
    _read_outputs(outcome)
    if outcome.passed:
        _judge(outcome, solved)
    return outcome


def describe_cell(node: NotebookNode, index: int) -> str:
    """A cell in words: its position, the heading above it, its first line."""
    heading = next(
        (
            line.lstrip("# ")
            for cell in reversed(node.cells[: index + 1])
            if cell.cell_type == "markdown"
            for line in reversed(cell.source.splitlines())
            if line.startswith("#")
        ),
        "top",
    )
    lines = node.cells[index].source.splitlines() or [""]
    return f"cell {index + 1} of {len(node.cells)}, below '{heading}': {lines[0][:60]}"


def _read_outputs(outcome: Outcome) -> None:
    """Collect facts and verdicts from the outputs."""
    for cell in outcome.node.cells:
        for output in cell.get("outputs", []):
            told = output.get("metadata", {}).get("stagkit", {})
            if "facts" in told:
                outcome.facts, outcome.facts_off = told["facts"], tuple(told["off"])
            if "exercise" in told:
                outcome.verdicts[told["exercise"]] = told["ok"]


def _judge(outcome: Outcome, solved: bool) -> None:
    """Rules beyond 'it ran': stubs are unanswered, solutions are right, nothing of this machine is printed."""
    stubs = find_stubs(outcome.node)
    for exercise, i in stubs.items():
        verdict = outcome.verdicts.get(exercise, "missing")
        wanted = True if solved else None
        if verdict is not wanted:
            said = {True: "right", False: "not right", None: "not answered", "missing": "not shown"}[verdict]
            outcome.error = f"the {'solution' if solved else 'stub'} of exercise {exercise} is {said}"
            outcome.where = describe_cell(outcome.node, i)
            outcome.remedy = (
                "correct the solution or its check" if solved else "a stub is 'answer = ...' and a last line nb.check"
            )
            return
    for i, cell in enumerate(outcome.node.cells):
        for text in _texts(cell):
            found = _MACHINE.search(text)
            if found and not (os.environ.get("RUN") or os.environ.get("DATA")):
                outcome.error, outcome.where = (
                    f"it prints {found[0]!r}, which differs on every machine",
                    describe_cell(outcome.node, i),
                )
                outcome.remedy = "print a name instead of a path or an object"
                return


def _texts(cell: NotebookNode) -> Iterable[str]:
    """All text of a cell's outputs."""
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        data = output.get("data", {})
        for kind, value in data.items():
            if kind.startswith("text/") and _WIDGET not in data:
                yield value


# recording -----------------------------------------------------------------------------------------------------------


def normalise(node: NotebookNode) -> NotebookNode:
    """Keep only what is the same on every machine: no widget state, no times, small pictures; counts from 1 on."""
    node.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **({"stagkit": node.metadata["stagkit"]} if "stagkit" in node.metadata else {}),
    }
    count = 0
    for cell in node.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type != "code":
            continue
        count += 1
        cell.execution_count = count
        kept = []
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
            data = output.get("data")
            if data is not None:
                if data.pop(_WIDGET, None):
                    data["text/plain"] = "(interactive: run this cell to touch it)"
                if "image/png" in data:
                    data["image/png"] = shrink_png(data["image/png"])
            same = kept and output.output_type == "stream" == kept[-1].output_type and output.name == kept[-1].name
            if same:
                kept[-1].text += output.text
            elif data is None or data:
                kept.append(output)
        cell.outputs = kept
    return node


def shrink_png(encoded: str) -> str:
    """A PNG (base64) in 256 colours where it is large and the eye would not tell; others as they are."""
    import numpy as np
    from PIL import Image

    raw = base64.b64decode(encoded)
    if len(raw) <= LARGE_PNG:
        return encoded
    picture = Image.open(io.BytesIO(raw)).convert("RGB")
    reduced = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(picture, int) - np.asarray(reduced.convert("RGB"), int)).max(-1)
    if np.percentile(off, 99) > LARGEST_STEP:
        reduced = picture
    out = io.BytesIO()
    reduced.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii") if out.tell() < len(raw) else encoded


def record(outcome: Outcome, path: Path) -> None:
    """Write an executed notebook in place: outputs, measured seconds, digest of its sources."""
    node = outcome.node
    for cell in node.cells:
        if cell.cell_type == "markdown" and _TAKES.search(cell.source):
            cell.source = _TAKES.sub(rf"\g<1>{max(1, round(outcome.seconds))}\g<3>", cell.source)
            break
    node.metadata["stagkit"] = {"sources": compute_sources_digest(node)}
    save_notebook(normalise(node), path)


# the whole course ----------------------------------------------------------------------------------------------------


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
        solutions: write the solved twins to ``folder/solutions`` and execute them too.
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
            outcome = execute_notebook(node, path.stem, folder, own, on_cell=on_start(path.stem))
            if outcome.passed and recording:
                record(outcome, path)
            _keep_copy(outcome, out)
            yield outcome
            if solutions or (recording and outcome.passed):
                name = f"{path.stem} (solved)"
                try:
                    twin = make_solved(load_notebook(path), path.name)
                except CourseError as error:
                    yield Outcome(name, error=str(error), where="exercises", remedy="complete the exercise")
                    continue
                save_notebook(normalise_twin(copy.deepcopy(twin)), folder / "solutions" / path.name)
            if solutions:
                outcome = execute_notebook(twin, path.stem, folder, own, solved=True, on_cell=on_start(name))
                _keep_copy(outcome, out)
                yield outcome
    finally:
        shutil.rmtree(cache, ignore_errors=True)


def normalise_twin(node: NotebookNode) -> NotebookNode:
    """A twin carries no outputs, so no counts either."""
    node = normalise(node)
    for cell in node.cells:
        if cell.cell_type == "code":
            cell.execution_count = None
    return node


def _keep_copy(outcome: Outcome, out: str | Path | None) -> None:
    if out is not None and outcome.node is not None:
        save_notebook(outcome.node, Path(out) / f"{outcome.name.replace(' ', '_')}.ipynb")


def format_table(outcomes: Sequence[Outcome]):
    """Rich table: notebook, seconds, facts, exercises, pass or fail."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("notebook", "seconds", "facts", "exercises", ""):
        table.add_column(name, justify="right" if name == "seconds" else "left")
    for o in outcomes:
        facts = f"{o.facts - len(o.facts_off)}/{o.facts}" if o.facts else "-"
        n_right = sum(v is True for v in o.verdicts.values())
        exercises = f"{n_right}/{len(o.verdicts)} right" if n_right else f"{len(o.verdicts)} open"
        result = "[green]pass[/green]" if o.passed else "[red]FAIL[/red]"
        table.add_row(o.name, f"{o.seconds:.0f}", facts, exercises, result)
    return table


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
    chosen = parser.parse_args(arguments)
    console, screen = Console(), Console(stderr=True)
    outcomes: list[Outcome] = []
    status = screen.status("starting")

    def on_start(name: str) -> Callable[[int, int], None]:
        return lambda done, total: status.update(f"{name}: cell {done + 1} of {total}")

    code = 0
    try:
        with status:
            for outcome in run_course(
                chosen.folder, chosen.only, chosen.changed, chosen.record, chosen.solutions, chosen.out, on_start
            ):
                outcomes.append(outcome)
    except StagkitError as error:
        screen.print(f"stagkit: {escape(str(error))}", highlight=False)
        return 2
    except KeyboardInterrupt:
        logging.getLogger("asyncio").disabled = True  # the kernel that was ended would complain on its way out
        screen.print("stagkit: interrupted; notebooks that were recorded before stay.", highlight=False)
        code = 130
    if outcomes:
        console.print(format_table(outcomes))
        console.print(f"{sum(o.seconds for o in outcomes):.0f} s in all", highlight=False)
    elif not code:
        console.print("no notebook has changed since it was recorded", highlight=False)
    for o in (o for o in outcomes if not o.passed):
        text = f"\n{o.name}\n  {o.where}\n  {o.error}\n  to do: {o.remedy}"
        console.print(escape(text), highlight=False, style="red")
    return code or int(any(not o.passed for o in outcomes))


if __name__ == "__main__":
    sys.exit(main())
