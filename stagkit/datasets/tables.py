"""Tables as CSV: cells come back as they were, whatever they are called, and no spreadsheet runs them."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from stagkit.core.errors import StagkitError
from stagkit.core.files import RESOURCES, load_text, shorten, write_text

#: Cells that a spreadsheet would run as a formula begin with one of these; ``'`` marks them as text.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "'")


@cache
def load_resource(name: str) -> list[dict[str, str]]:
    """The rows of a CSV table of ``resources``; shared, so do not change them."""
    with (RESOURCES / name).open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_table(path: str | Path, frame: pd.DataFrame, float_format: str = "") -> None:
    """Write a table as CSV, whole or not at all, without its index. ``read_table`` gives the same cells again.

    Text that a spreadsheet would run as a formula gets a leading ``'``. NaN and None become empty cells. Floats are written
    as ``float_format`` says, e.g. ``".5f"``, or with all digits.
    """

    def cell(value: object) -> str:
        if isinstance(value, str):
            text = f"'{value}" if value.startswith(FORMULA) else value
            quoted = not text or any(c in text for c in ',"\r\n')  # csv.writer leaves a lone carriage return unquoted
            return '"{}"'.format(text.replace('"', '""')) if quoted else text
        if value is None or value != value:
            return '""' if len(frame.columns) == 1 else ""
        if isinstance(value, (float, np.floating)):
            return format(float(value), float_format) if float_format else repr(float(value))
        return str(value)

    rows = [[str(name) for name in frame.columns], *frame.itertuples(index=False, name=None)]
    write_text(path, "".join(",".join(map(cell, row)) + "\n" for row in rows))


def read_table(path: str | Path, numbers: Sequence[str] = (), required: Sequence[str] = ()) -> pd.DataFrame:
    """Read a CSV that ``write_table`` wrote: every cell is text, except in the columns of numbers.

    No word is taken for a missing value: a class may be called ``None`` or ``NA``.

    Args:
        numbers: names or patterns (``"p_*"``) of columns of numbers: int64 if every cell is a whole number without a
            point, else float64, in which an empty cell is NaN.
        required: columns that have to be there.

    Raises:
        StagkitError: missing, damaged, a column missing, or a cell that is no number.
    """
    text = load_text(path)
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error as error:
        raise StagkitError(f"{path} is damaged (no readable CSV: {error}): remove it and make it again.") from error
    if not rows:
        raise StagkitError(f"{path} is empty, expected a table: remove it and make it again.")
    names, *rows = [[c[1:] if c.startswith("'") and c[1:].startswith(FORMULA) else c for c in row] for row in rows]
    missing = [name for name in required if name not in names]
    if missing:
        hint = " (is it separated by ';'? save it with commas)" if ";" in names[0] else ""
        raise StagkitError(f"{path} has no column {shorten(missing[0])}{hint}; it has {shorten(names)}.")
    if len(set(names)) < len(names):
        raise StagkitError(f"{path} has two columns of one name: {shorten(names)}.")
    odd = next((i for i, row in enumerate(rows) if len(row) != len(names)), None)
    if odd is not None:
        raise StagkitError(f"{path} is damaged: row {odd + 1} has {len(rows[odd])} cells, the header has {len(names)}.")
    columns = {name: [row[i] for row in rows] for i, name in enumerate(names)}
    for name in names:
        if any(fnmatchcase(name, pattern) for pattern in numbers):
            columns[name] = _to_numbers(path, name, columns[name])
        else:
            columns[name] = np.array(columns[name], object)
    return pd.DataFrame(columns, columns=names)


def _to_numbers(path: str | Path, name: str, cells: Sequence[str]) -> np.ndarray:
    try:
        if cells and all(re.fullmatch(r"-?\d{1,18}", c) for c in cells):
            return np.array(cells, np.int64)
        return np.array([float(c) if c else np.nan for c in cells], float)
    except ValueError as error:
        raise StagkitError(f"{path} is damaged: a cell of column {shorten(name)} is no number: {error}.") from error
