"""What each notebook of the course holds, read from the notebooks alone: question, cost, words, cells, pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.course.notebooks import TAKES, load_notebook

if TYPE_CHECKING:
    from nbformat import NotebookNode

_FOLDED = re.compile(r"(?s)<details>.*?</details>")
_UNREAD = re.compile(r"(?s)```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:[\d.]+|\b\d\d\.\d\b|\$\$.*?\$\$|\$[^$]*\$")


@dataclass(frozen=True)
class Entry:
    """One notebook as the list shows it.

    Args:
        number: two digits; question: its title.
        seconds: as recorded; memory: GB as recorded, None where it was not measured.
        words: of its prose, without folded texts, code, formulas and the addresses of links.
        cells: code cells that compute; asked: those that ask for a prediction.
        pictures: code cells that show a picture.
        kilobytes: of the file, with outputs.
    """

    number: str
    question: str
    seconds: int
    memory: float | None
    words: int
    cells: int
    asked: int
    pictures: int
    kilobytes: int


def read_prose(node: NotebookNode) -> str:
    """What a reader reads: the text of all cells without folded parts, code, formulas and the addresses of links."""
    text = "\n\n".join(cell.source for cell in node.cells if cell.cell_type == "markdown")
    return _UNREAD.sub("", _FOLDED.sub("", text))


def has_picture(cell: NotebookNode) -> bool:
    """True where a cell shows a PNG."""
    return any("image/png" in output.get("data", {}) for output in cell.get("outputs", []))


def describe_notebook(path: str | Path) -> Entry:
    """Count what a notebook holds.

    Raises:
        CourseError: it cannot be read.
    """
    node, path = load_notebook(path), Path(path)
    code = [cell for cell in node.cells if cell.cell_type == "code"]
    title = re.search(r"(?m)^# (.+)", node.cells[0].source if node.cells else "")
    takes = next((found for cell in node.cells if (found := TAKES.search(cell.source))), None)
    asked = sum("nb.predict(" in cell.source for cell in code)
    return Entry(
        number=path.name[:2],
        question=title[1].strip() if title else "",
        seconds=int(takes["seconds"]) if takes else 0,
        memory=float(takes["memory"]) if takes and takes["memory"] else None,
        words=len(read_prose(node).split()),
        cells=len(code) - asked,
        asked=asked,
        pictures=sum(map(has_picture, code)),
        kilobytes=round(path.stat().st_size / 1024),
    )


def format_list(entries: Sequence[Entry]) -> str:
    """The list as a Markdown table whose columns are even in plain text too, with a line of sums.

    Example:
        >>> print(format_list([Entry("01", "Why?", 9, None, 500, 11, 4, 5, 190)]))
        |    | question | minutes | memory | words | code cells | predictions | pictures |  KB |
        | -- | -------- | ------: | -----: | ----: | ---------: | ----------: | -------: | --: |
        | 01 | Why?     |    0.15 |      - |   500 |         11 |           4 |        5 | 190 |
        |    | in all   |    0.15 |        |   500 |         11 |           4 |        5 | 190 |
    """
    head = ("", "question", "minutes", "memory", "words", "code cells", "predictions", "pictures", "KB")
    counts = ("words", "cells", "asked", "pictures", "kilobytes")
    rows = [
        (
            *(e.number, e.question, f"{e.seconds / 60:.2f}", "-" if e.memory is None else f"{e.memory:.1f} GB"),
            *(str(getattr(e, name)) for name in counts),
        )
        for e in entries
    ]
    sums = [str(sum(getattr(e, name) for e in entries)) for name in counts]
    rows.append(("", "in all", f"{sum(e.seconds for e in entries) / 60:.2f}", "", *sums))
    widths = [max(2, *map(len, column)) for column in zip(head, *rows, strict=True)]
    texts = 2  # the first columns hold text and are even on the left, numbers on the right
    rule = ["-" * width for width in widths[:texts]] + ["-" * (width - 1) + ":" for width in widths[texts:]]
    lines = [
        [text.ljust(w) if k < texts else text.rjust(w) for k, (text, w) in enumerate(zip(line, widths, strict=True))]
        for line in (head, rule, *rows)
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
