"""Notebooks of the course as files: find, read, write, tell whether they are stale, make their solved twins."""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitError, import_optional
from stagkit.core.files import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The line of the head that says what a notebook takes: seconds, and memory where it was measured.
TAKES = re.compile(r"(?P<about>\*Takes\* about )(?P<seconds>\d+)(?P<unit> s)(?: and (?P<memory>\d+\.\d) GB of memory)?")
STUB = re.compile(r'nb\.check\("(\d\d\.\d)"')
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>.*?```python\n(?P<code>.*?)```", re.DOTALL)


class CourseError(StagkitError):
    """A folder without notebooks, a notebook that cannot be read, or settings that do not go together."""


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
    nbformat = import_optional("nbformat")

    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise CourseError(f"there is no notebook {path}.") from error
    except Exception as error:  # nbformat raises many kinds
        raise CourseError(f"{path} cannot be read as a notebook: {error}. Restore it with git.") from error


def save_notebook(node: NotebookNode, path: str | Path) -> None:
    """Write a notebook, whole or not at all, with the layout that Jupyter uses."""
    nbformat = import_optional("nbformat")

    write_text(path, nbformat.writes(node).rstrip("\n") + "\n")


def compute_sources_digest(node: NotebookNode) -> str:
    """12 hex digits of the sources of all cells; what was measured in the *Takes* line does not count."""
    digest = hashlib.sha256()
    for cell in node.cells:
        source = TAKES.sub(r"\g<about>\g<unit>", cell.source)
        digest.update(f"{cell.cell_type}\n{source}\0".encode())
    return digest.hexdigest()[:12]


def is_stale(node: NotebookNode) -> bool:
    """True where the sources changed since the outputs were recorded."""
    return node.metadata.get("stagkit", {}).get("sources") != compute_sources_digest(node)


def find_stubs(node: NotebookNode) -> dict[str, int]:
    """Exercise -> index of its stub cell."""
    found = ((STUB.search(c.source), i) for i, c in enumerate(node.cells) if c.cell_type == "code")
    return {match[1]: i for match, i in found if match}


def make_solutions(node: NotebookNode, name: str = "") -> dict[int, tuple[str, str]]:
    """Index of each stub cell -> its exercise, and its source with the folded solution in the place of ``answer = ...``.

    Raises:
        CourseError: an exercise without ``answer = ...`` or without a folded solution.
    """
    solutions = {}
    for exercise, i in find_stubs(node).items():
        following = next((c for c in node.cells[i + 1 :] if c.cell_type == "markdown"), None)
        match = SOLUTION.search(following.source) if following is not None else None
        if match is None:
            raise CourseError(
                f"{name}: exercise {exercise} has no folded solution (<details><summary>Solution</summary>) after it."
            )
        code = match["code"].rstrip("\n")
        source, n_replaced = re.subn(r"(?m)^answer = \.\.\..*$", lambda _, c=code: c, node.cells[i].source)
        if n_replaced != 1:
            raise CourseError(f"{name}: the stub of exercise {exercise} needs one line 'answer = ...'.")
        solutions[i] = exercise, source
    return solutions


def make_solved(node: NotebookNode, name: str = "") -> NotebookNode:
    """The solved twin: each stub's ``answer = ...`` is replaced by the folded solution below it; no outputs.

    Args:
        node: a notebook of the course.
        name: its file name, for the note at the top.

    Raises:
        CourseError: an exercise without ``answer = ...`` or without a folded solution.
    """
    solved = copy.deepcopy(node)
    for i, (_, source) in make_solutions(node, name).items():
        solved.cells[i].source = source
    for cell in solved.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count, cell.metadata = [], None, {}
    note = f"*Solutions of {name}, made from it by* `python -m stagkit.course notebooks --solutions`*; edit that one.*"
    solved.cells[0].source += f"\n\n{note}"
    solved.metadata["stagkit"] = {"twin_of": compute_sources_digest(node)}
    return solved


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
