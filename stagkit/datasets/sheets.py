"""Coding sheets as they come: Excel or CSV, a header somewhere near the top, columns under several names.

Columns are found by name, never by place: names are compared by their letters and digits alone, so ``Onset Frame``,
``OnsetFrame`` and ``onset_frame`` are one.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from stagkit.types import StagkitError

#: How far down the header is looked for (SAMM: row 14).
HEADER_WITHIN = 40

#: Cells that say 'nothing here'.
_EMPTY = {"", "/", "-", "–", "nan", "none", "null", "n/a"}


class SheetError(StagkitError):
    """A coding sheet that cannot be read: which, what was expected, what to do."""


def compute_name(cell: object) -> str:
    """A column name by its letters and digits alone, in lower case."""
    return re.sub(r"[^0-9a-z]", "", str(cell if cell is not None else "").lower())


def is_empty(cell: object) -> bool:
    """Nothing written, or a sign for nothing (``/``, ``-``, ``nan``)."""
    return cell is None or (isinstance(cell, float) and cell != cell) or str(cell).strip().lower() in _EMPTY


def read_text(cell: object) -> str:
    """A cell as text: whole numbers without a point, '' where empty."""
    if is_empty(cell):
        return ""
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()


def read_frame(cell: object) -> int | None:
    """A frame number; None where empty.

    Raises:
        SheetError: text that is no whole number >= 0.
    """
    text = read_text(cell)
    if not text:
        return None
    if not re.fullmatch(r"\d{1,12}(\.0*)?", text) or isinstance(cell, bool):
        raise SheetError(f"{text!r} is no frame number")
    return int(text.partition(".")[0])


#: Columns of the sheets that follow the one of CASME II: field -> names it may have.
CASME_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("OnsetFrame",),
    "apex": ("ApexFrame",),
    "offset": ("OffsetFrame",),
    "label": ("Estimated Emotion", "Emotion"),
}


def load_grids(path: str | Path) -> dict[str, list[tuple]]:
    """All worksheets of a file: name -> rows of cells; empty rows are kept, so that row numbers stay.

    Args:
        path: ``.xlsx``, or ``.csv`` (UTF-8, with or without BOM), which has one sheet named ``csv``.

    Raises:
        SheetError: missing, damaged, another format.
    """
    path = Path(path)
    if path.suffix.lower() == ".csv":
        try:
            return {"csv": [tuple(r) for r in csv.reader(path.read_text(encoding="utf-8-sig").splitlines())]}
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise SheetError(f"{path} cannot be read as a UTF-8 table: {error}.") from error
    if path.suffix.lower() != ".xlsx":
        raise SheetError(f"{path} is no .xlsx or .csv: open it in a spreadsheet program and save it as .xlsx.")
    import openpyxl

    try:
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            return {sheet.title: [tuple(r) for r in sheet.iter_rows(values_only=True)] for sheet in book.worksheets}
        finally:
            book.close()
    except Exception as error:  # a damaged workbook makes openpyxl raise nearly anything
        raise SheetError(f"{path} cannot be read as an Excel workbook: it is damaged; get it again.") from error


def load_table(
    path: str | Path, columns: Mapping[str, Sequence[str]], optional: Mapping[str, Sequence[str]] | None = None
) -> list[tuple[int, dict[str, object]]]:
    """The rows of the first worksheet that has the columns asked for.

    Args:
        path: see ``load_grids``.
        columns: field -> names it may have; all must be there, within the first rows of a worksheet.
        optional: the same, for fields that may be missing (None then).

    Returns:
        (0-based number among the rows below the header, field -> cell), rows without any cell left out.

    Raises:
        SheetError: unreadable, or no worksheet with these columns: names those missing.
    """
    best: tuple[int, list[str]] = (-1, [])
    for rows in load_grids(path).values():
        for top, row in enumerate(rows[:HEADER_WITHIN]):
            names = [compute_name(cell) for cell in row]
            missing = [field for field, options in columns.items() if _find(names, options) is None]
            if not missing:
                at = {field: _find(names, options) for field, options in {**columns, **(optional or {})}.items()}
                return _take(rows[top + 1 :], at)
            if len(columns) - len(missing) > best[0]:
                best = (len(columns) - len(missing), missing)
    what = ", ".join(f"{field} ({' or '.join(columns[field])})" for field in best[1] or columns)
    raise SheetError(f"{Path(path).name} has no column {what}: is it the official sheet, with its header row?")


def _find(names: Sequence[str], options: Sequence[str]) -> int | None:
    wanted = [compute_name(option) for option in options]
    return next((names.index(name) for name in wanted if name in names), None)


def _take(rows: Sequence[tuple], at: Mapping[str, int | None]) -> list[tuple[int, dict[str, object]]]:
    found = []
    for number, row in enumerate(rows):
        cells = {f: row[i] if i is not None and i < len(row) else None for f, i in at.items()}
        if any(not is_empty(cell) for cell in cells.values()):
            found.append((number, cells))
    return found
