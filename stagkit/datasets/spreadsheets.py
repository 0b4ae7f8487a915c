"""Excel and CSV tables with a header near the top: annotation files, ``manifest.csv``, the table of the flow maps.

Columns are found by the letters and digits of their names: ``Onset Frame`` is ``onset_frame``. Text is normalised (NFC).
"""

from __future__ import annotations

import csv
import io
import math
import re
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from stagkit.core.files import MAX_TEXT, shorten
from stagkit.core.types import StagkitError
from stagkit.datasets.tables import FORMULA
from stagkit.motion.frames import MAX_FPS, MIN_FPS, RATE

#: Rows in which the header is searched (SAMM: row 14).
HEADER_WITHIN = 40

#: Suffixes of tables that are read, and of those that have to be saved in another format first.
TABLES, OTHER_TABLES = (".xlsx", ".xlsm", ".csv", ".tsv", ".txt"), (".xls", ".ods", ".numbers")

#: Cells that mean 'empty'.
_EMPTY = {"", "/", "-", "–", "nan", "none", "null", "n/a"}

#: Largest number of cells that is read; annotation files have some ten thousand.
_MAX_CELLS = 5_000_000


class TableError(StagkitError):
    """A table or cell that cannot be read."""


def compute_name(cell: object) -> str:
    """A column name by its letters and digits alone, in lower case."""
    return re.sub(r"[^0-9a-z]", "", str(cell if cell is not None else "").lower())


def is_blank(cell: object) -> bool:
    """No value, or only spaces."""
    return cell is None or str(cell).strip() == ""


def is_empty(cell: object) -> bool:
    """Blank, or a sign for it (``/``, ``-``, ``nan``)."""
    return cell is None or (isinstance(cell, float) and cell != cell) or str(cell).strip().lower() in _EMPTY


def read_text(cell: object) -> str:
    """A cell as text (NFC): whole numbers without a point, '' if empty."""
    if is_empty(cell):
        return ""
    text = str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell).strip()
    return unicodedata.normalize("NFC", text)


def read_name(cell: object) -> str:
    """A name as text (NFC); unlike in ``read_text``, words such as 'None' are names too."""
    if cell is None or cell != cell:
        return ""
    return read_text(cell) or unicodedata.normalize("NFC", str(cell).strip())


def read_frame(cell: object) -> int | None:
    """A frame number; None if empty, ``TableError`` for text that is no whole number >= 0."""
    text = read_text(cell)
    if not text:
        return None
    if not re.fullmatch(r"\d{1,12}(\.0*)?", text) or isinstance(cell, bool):
        raise TableError(f"{shorten(text, 60)} is no frame number")
    return int(text.partition(".")[0])


def read_rate(cell: object) -> float:
    """A frame rate, frames per second; ``TableError`` unless within ``MIN_FPS`` and ``MAX_FPS``."""
    try:
        rate = float("nan" if isinstance(cell, bool) else str(cell).strip() or "nan")
    except (ValueError, OverflowError):
        rate = math.nan
    if not MIN_FPS <= rate <= MAX_FPS:
        raise TableError(f"fps is {shorten(cell, 60)}, expected {RATE}, with a point before its decimals")
    return rate


def name_subject(cell: object, prefix: str = "", digits: int = 0) -> str:
    """Name of a subject written as ``1``, ``01``, ``1.0`` or ``sub01``: prefix and at least so many digits; '' if empty.

    Example:
        >>> name_subject(3.0, "sub", 2), name_subject("Sub03", "sub", 2), name_subject("", "sub", 2)
        ('sub03', 'sub03', '')
    """
    text = re.sub(r"^(\d+)\.0+$", r"\1", read_text(cell))
    if prefix and text.lower().startswith(prefix.lower()):
        text = text[len(prefix) :]
    return f"{prefix}{text.zfill(digits)}" if text else ""


def load_grids(path: str | Path, notes: list[str] | None = None) -> dict[str, list[tuple]]:
    """All worksheets of a file: name -> rows of cells, empty rows included; merged cells all have the first one's value.

    Args:
        path: ``.xlsx``, or text separated by commas, semicolons or tabs (``.csv``, ``.tsv``, ``.txt``; UTF-8, UTF-16 or
            Windows-1252), which is one worksheet named ``csv``.
        notes: guesses are added here, a sentence each.

    Raises:
        TableError: missing, damaged, another format, too large.
    """
    path = Path(path)
    if path.suffix.lower() in TABLES[2:]:
        return {"csv": _read_csv(path, [] if notes is None else notes)}
    if path.suffix.lower() not in TABLES:
        raise TableError(f"{path} is no .xlsx or .csv: open it in a spreadsheet program and save it as .xlsx.")
    import openpyxl

    try:
        with zipfile.ZipFile(path) as archive:
            if sum(part.file_size for part in archive.infolist()) > MAX_TEXT:
                raise TableError(f"{path} holds more than {MAX_TEXT:,} bytes: is it the official file?")
        book = openpyxl.load_workbook(path, read_only=True, data_only=True)
        try:
            return {sheet.title: _read_worksheet(path, sheet) for sheet in book.worksheets}
        finally:
            book.close()
    except TableError:
        raise
    except Exception as error:  # a damaged workbook makes openpyxl raise nearly anything
        raise TableError(f"{path} cannot be read as an Excel workbook: it is damaged; get it again.") from error


def _read_worksheet(path: Path, sheet) -> list[tuple]:
    """Rows of a worksheet; its stated size is ignored (WPS writes a wrong one)."""
    from openpyxl.utils.cell import range_boundaries

    sheet.reset_dimensions()
    rows, n_cells = [], 0
    for row in sheet.iter_rows(values_only=True):
        rows.append(row)
        n_cells += 1 + len(row)
        if n_cells > _MAX_CELLS:
            raise TableError(f"{path} has more than {_MAX_CELLS:,} cells: is it the official file?")
    with sheet.parent._archive.open(sheet._worksheet_path) as file:  # read-only worksheets do not know merged cells
        areas = re.findall(rb'<(?:\w+:)?mergeCell\b[^>]*?\bref="([A-Z]{1,3}\d{1,7}:[A-Z]{1,3}\d{1,7})"', file.read())
    for area in areas:
        left, top, right, bottom = range_boundaries(area.decode())
        value = rows[top - 1][left - 1] if top <= len(rows) and left <= len(rows[top - 1]) else None
        for i in range(top - 1, min(bottom, len(rows)) if value is not None else 0):
            cells = [*rows[i], *[None] * (min(right, 64) - len(rows[i]))]
            cells[left - 1 : right] = [value] * len(cells[left - 1 : right])
            rows[i] = tuple(cells)
    return rows


def _read_csv(path: Path, notes: list[str]) -> list[tuple]:
    """Rows of a text table with any separator."""
    try:
        if not path.is_file():
            raise TableError(f"{path} is missing, or no file.")
        if path.stat().st_size > MAX_TEXT:
            raise TableError(f"{path} has {path.stat().st_size:,} bytes, at most {MAX_TEXT:,} are read.")
        text = _decode(path, path.read_bytes(), notes)
    except OSError as error:
        raise TableError(f"{path} cannot be read as a table: {error.strerror}.") from error
    found: list[list[list[str]]] = []
    for mark in (",", ";", "\t"):
        try:
            found.append(list(csv.reader(io.StringIO(text, newline=""), delimiter=mark)))
        except csv.Error as error:
            problem = error
    if not found:
        raise TableError(f"{path} cannot be read as a table: {problem}.")
    rows = max(found, key=lambda rows: max((len(row) for row in rows[:HEADER_WITHIN]), default=0))
    return [tuple(c[1:] if c.startswith("'") and c[1:].startswith(FORMULA) else c for c in row) for row in rows]


def _decode(path: Path, data: bytes, notes: list[str]) -> str:
    encodings = ("utf-8-sig", "cp1252")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        encodings = ("utf-16",)
    elif b"\0" in data[:2]:
        encodings = ("utf-16-le" if data[1:2] == b"\0" else "utf-16-be",)
    for encoding in encodings:
        with suppress(UnicodeDecodeError):
            text = data.decode(encoding)
            if encoding == "cp1252":
                notes.append(f"{path.name} is not UTF-8 and was read as Windows-1252: check names with accents")
            return text
    raise TableError(f"{path} cannot be read as text: save it as a CSV in UTF-8.")


def load_table(
    path: str | Path,
    columns: Mapping[str, Sequence[str]],
    optional: Mapping[str, Sequence[str]] | None = None,
    notes: list[str] | None = None,
    complete: bool = False,
) -> list[tuple[int, dict[str, object]]]:
    """The rows, not empty, of the first worksheet with the given columns: (0-based number below the header, field -> cell).

    Args:
        path, notes: see ``load_grids``.
        columns: field -> names it may have; all must be in one of the first rows of a worksheet.
        optional: the same for fields that may be missing; their cells are then None.
        complete: note columns that are not read.

    Raises:
        TableError: unreadable, no worksheet with these columns, or two columns of one name.
    """
    path, notes = Path(path), [] if notes is None else notes
    best: tuple[int, Sequence[str], Sequence[object]] = (-1, tuple(columns), ())
    for rows in load_grids(path, notes).values():
        for top, header in enumerate(rows[:HEADER_WITHIN]):
            names = [compute_name(cell) for cell in header]
            at = {
                field: next((names.index(name) for name in map(compute_name, options) if name in names), None)
                for field, options in {**columns, **(optional or {})}.items()
            }
            missing = [field for field in columns if at[field] is None]
            if missing:
                best = max(best, (len(columns) - len(missing), missing, header), key=lambda found: found[0])
                continue
            duplicates = [header[i] for i in at.values() if i is not None and names.count(names[i]) > 1]
            if duplicates:
                raise TableError(f"{path.name} has two columns {shorten(str(duplicates[0]), 60)}: remove one.")
            above = sum(sum(not is_empty(c) for c in row) >= len(columns) for row in rows[:top])
            rows = rows[top + 1 :]
            used = [i for i in range(len(header)) if not all(is_empty(_get(row, i)) for row in rows)]
            others = ", ".join([shorten(header[i], 40) for i in used if i not in at.values()][:5])
            if not complete and at.get("aus", 0) is None:
                notes.append(f"{path.name} has no column of action units: no clip has any")
            if above:
                notes.append(f"{path.name} has {above} full row(s) above its header row that are not read")
            if complete and others:
                notes.append(f"{path.name} has columns that are not read: {others}")
            cells = [{field: _get(row, i) for field, i in at.items()} for row in rows]
            return [(i, found) for i, found in enumerate(cells) if not all(map(is_empty, found.values()))]
    what = ", ".join(f"{field} ({' or '.join(columns[field])})" for field in best[1])
    has = ", ".join(shorten(str(cell), 40) for cell in best[2] if not is_empty(cell)) or "no header"
    raise TableError(
        f"{path.name} has no column {what}: is it the official file, with its header row? It has {has[:300]}."
    )


def _get(row: tuple, at: int | None) -> object:
    return row[at] if at is not None and at < len(row) else None
