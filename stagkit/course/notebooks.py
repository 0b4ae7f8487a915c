"""Notebooks of the course as files: find, read, write, detect stale ones, make solution notebooks."""

from __future__ import annotations

import base64
import copy
import hashlib
import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.errors import StagkitError, import_optional
from stagkit.core.files import write_text

if TYPE_CHECKING:
    from nbformat import NotebookNode

#: The line of the head that gives the cost of a notebook: seconds, and memory where it was measured.
TAKES = re.compile(r"(?P<about>\*Takes\* about )(?P<seconds>\d+)(?P<unit> s)(?: and (?P<memory>\d+\.\d) GB of memory)?")
CHECK = re.compile(r'nb\.check\("(\d\d\.\d)"')
SOLUTION = re.compile(r"<details>\s*<summary>Solution</summary>.*?```python\n(?P<code>.*?)```", re.DOTALL)
WIDGET = "application/vnd.jupyter.widget-view+json"

#: A PNG above this is reduced to 256 colours, bytes, unless more than 1 % of its pixels change by more than this (of 255).
_LARGE_PNG, _LARGEST_STEP = 30_000, 10


class CourseError(StagkitError):
    """A folder without notebooks, a notebook that cannot be read, or settings that do not go together."""


def find_notebooks(folder: str | Path, only: Sequence[str] = ()) -> tuple[Path, ...]:
    """The notebooks of a folder in order, or those of ``only`` (two-digit numbers); ``CourseError`` if there are none."""
    found = sorted(Path(folder).glob("[0-9][0-9]_*.ipynb"))
    if not found:
        raise CourseError(f"{folder} holds no notebooks named like 01_title.ipynb: give the folder of the course.")
    known = [p.name[:2] for p in found]
    missing = [number for number in only if number not in known]
    if missing:
        raise CourseError(f"there is no notebook {', '.join(missing)}; there are {', '.join(known)}.")
    return tuple(p for p in found if not only or p.name[:2] in only)


def load_notebook(path: str | Path) -> NotebookNode:
    """Read a notebook; ``CourseError`` if it is missing or damaged."""
    nbformat = import_optional("nbformat")
    try:
        return nbformat.read(path, as_version=4)
    except FileNotFoundError as error:
        raise CourseError(f"there is no notebook {path}.") from error
    except Exception as error:  # nbformat raises many kinds
        raise CourseError(f"{path} cannot be read as a notebook: {error}. Restore it with git.") from error


def save_notebook(node: NotebookNode, path: str | Path) -> None:
    """Write a notebook atomically, with the layout that Jupyter uses."""
    write_text(path, import_optional("nbformat").writes(node).rstrip("\n") + "\n")


def compute_sources_digest(node: NotebookNode) -> str:
    """12 hex digits of the sources of all cells; the measured cost in the *Takes* line does not count."""
    digest = hashlib.sha256()
    for cell in node.cells:
        source = TAKES.sub(r"\g<about>\g<unit>", cell.source)
        digest.update(f"{cell.cell_type}\n{source}\0".encode())
    return digest.hexdigest()[:12]


def is_stale(node: NotebookNode) -> bool:
    """True if the sources changed since the outputs were recorded."""
    return node.metadata.get("stagkit", {}).get("sources") != compute_sources_digest(node)


def find_exercises(node: NotebookNode) -> dict[str, int]:
    """Exercise -> index of the cell with its placeholder."""
    found = ((CHECK.search(c.source), i) for i, c in enumerate(node.cells) if c.cell_type == "code")
    return {match[1]: i for match, i in found if match}


def find_solutions(node: NotebookNode, name: str = "") -> dict[int, tuple[str, str]]:
    """Index of each exercise cell -> its number, and its source with the folded solution in place of ``answer = ...``.

    Raises:
        CourseError: an exercise without ``answer = ...`` or without a folded solution.
    """
    solutions = {}
    for exercise, i in find_exercises(node).items():
        following = next((c for c in node.cells[i + 1 :] if c.cell_type == "markdown"), None)
        match = SOLUTION.search(following.source) if following is not None else None
        if match is None:
            fold = "<details><summary>Solution</summary>"
            raise CourseError(f"{name}: exercise {exercise} has no folded solution ({fold}) after it.")
        code = match["code"].rstrip("\n")
        source, n_replaced = re.subn(r"(?m)^answer = \.\.\..*$", lambda _, c=code: c, node.cells[i].source)
        if n_replaced != 1:
            raise CourseError(f"{name}: exercise {exercise} needs one line 'answer = ...'.")
        solutions[i] = exercise, source
    return solutions


def make_solution_notebook(node: NotebookNode, name: str = "") -> NotebookNode:
    """A copy of a notebook of the course in which the folded solutions replace the placeholders, without outputs."""
    solved = copy.deepcopy(node)
    for i, (_, source) in find_solutions(node, name).items():
        solved.cells[i].source = source
    note = f"*Solutions of {name}, made from it by* `python -m stagkit.course notebooks --solutions`*; edit that one.*"
    solved.cells[0].source += f"\n\n{note}"
    solved.metadata["stagkit"] = {"solutions_of": compute_sources_digest(node)}
    normalise(solved)
    for cell in solved.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count, cell.metadata = [], None, {}
    return solved


def normalise(node: NotebookNode) -> NotebookNode:
    """Keep only what is the same on every machine: no widget state, no times, small images; counts from 1 on."""
    node.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
        **({"stagkit": node.metadata["stagkit"]} if "stagkit" in node.metadata else {}),
    }
    for cell in node.cells:
        cell.metadata.pop("execution", None)
    for count, cell in enumerate((c for c in node.cells if c.cell_type == "code"), 1):
        cell.execution_count, outputs, cell.outputs = count, cell.outputs, []
        for output in outputs:
            if "execution_count" in output:
                output["execution_count"] = count
            data = output.get("data")
            if data is not None:
                if data.pop(WIDGET, None):
                    data["text/plain"] = "(interactive: run this cell to touch it)"
                if "image/png" in data:
                    data["image/png"] = shrink_png(data["image/png"])
            last = cell.outputs[-1] if cell.outputs else None
            if last and output.output_type == "stream" == last.output_type and output.name == last.name:
                last.text += output.text
            elif data is None or data:
                cell.outputs.append(output)
    return node


def shrink_png(encoded: str) -> str:
    """A PNG (base64) in 256 colours if it is large and the difference cannot be seen; otherwise unchanged."""
    import numpy as np
    from PIL import Image

    raw = base64.b64decode(encoded)
    if len(raw) <= _LARGE_PNG:
        return encoded
    image = Image.open(io.BytesIO(raw)).convert("RGB")
    reduced = image.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=4, dither=Image.Dither.NONE)
    off = np.abs(np.asarray(image, int) - np.asarray(reduced.convert("RGB"), int)).max(-1)
    if np.percentile(off, 99) > _LARGEST_STEP:
        reduced = image
    out = io.BytesIO()
    reduced.save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii") if out.tell() < len(raw) else encoded


def read_outputs(cell: NotebookNode) -> Iterable[str]:
    """All text of a cell's outputs."""
    for output in cell.get("outputs", []):
        yield output.get("text", "")
        yield "\n".join(output.get("traceback", []))
        data = output.get("data", {})
        yield from (value for kind, value in data.items() if kind.startswith("text/") and WIDGET not in data)


def describe_cell(node: NotebookNode, index: int) -> str:
    """A cell in words: its position, the heading above it, its first line."""
    above = "\n".join(cell.source for cell in node.cells[: index + 1] if cell.cell_type == "markdown")
    headings = [line.lstrip("# ") for line in above.splitlines() if line.startswith("#")]
    first = (node.cells[index].source.splitlines() or [""])[0]
    return f"cell {index + 1} of {len(node.cells)}, below '{[*headings[-1:], 'top'][0]}': {first[:60]}"
