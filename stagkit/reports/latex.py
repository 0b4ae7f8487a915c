r"""LaTeX tables (booktabs): names from data are escaped, so that LaTeX prints them and never runs them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from stagkit.core.types import StagkitError
from stagkit.evaluation.compare_runs import describe_interval

#: Characters with a meaning in LaTeX.
_ESCAPES = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    **{c: rf"\{c}" for c in "%_&#${}"},
}


class Latex(str):
    """Text that is LaTeX already; everything else is escaped."""


def escape_latex(text: object) -> str:
    r"""Text as LaTeX prints it, on one line; ``Latex`` stays as it is.

    Example:
        >>> escape_latex(r"50 % of sub_01 \input{x}")
        '50 \\% of sub\\_01 \\textbackslash{}input\\{x\\}'
    """
    if isinstance(text, Latex):
        return text
    line = "".join(_ESCAPES.get(c, c) for c in re.sub(r"\s+", " ", str(text)) if c.isprintable())
    return "{}" + line if line.lstrip().startswith(("[", "*")) else line  # after \\ they would be its option


def is_clear(paired: dict | None) -> bool:
    """True if the interval of a paired difference is known and excludes 0."""
    return bool(paired) and paired["ci95"][0] is not None and not paired["ci95"][0] <= 0 <= paired["ci95"][1]


def format_difference(paired: dict | None) -> str:
    """A paired difference with its interval, bold if ``is_clear``."""
    text = describe_interval(paired) if paired else "--"
    return Latex(rf"\textbf{{{text}}}") if is_clear(paired) else text


def make_table(columns: str, head: Sequence[str], rows: Sequence[Sequence[object]], notes: Sequence[str] = ()) -> str:
    """A booktabs table with ``columns`` as for ``tabular``, e.g. ``lrr``, and ``notes`` as comments above it.

    Cells that are ``Latex`` stay as they are, others are escaped.

    Raises:
        StagkitError: a row with more or fewer cells than there are columns.
    """
    for row in (head, *rows):
        if len(row) != len(columns):
            raise StagkitError(f"a row of the table has {len(row)} cells, expected {len(columns)}: {row}.")
    comments = ["% " + "".join(c if c.isprintable() else " " for c in note) for note in notes]
    lines = [" & ".join(map(escape_latex, row)) + r" \\" for row in (head, *rows)]
    top = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", lines[0], r"\midrule"]
    return "\n".join([*comments, *top, *lines[1:], r"\bottomrule", r"\end{tabular}", ""])
