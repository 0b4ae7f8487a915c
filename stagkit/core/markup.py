r"""Text within LaTeX and within pages: what people named is printed as it is, and never run.

Names of data sets, classes, subjects, clips and runs come from files that others may have made.
"""

from __future__ import annotations

import re

#: A page of text and pictures may load nothing and run nothing: no script, no network, no form.
STATIC_POLICY = (
    "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; "
    "img-src data:; base-uri 'none'; form-action 'none'\">"
)

#: What LaTeX gives a meaning.
_LATEX = {
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
    line = "".join(_LATEX.get(c, c) for c in re.sub(r"\s+", " ", str(text)) if c.isprintable())
    return "{}" + line if line.lstrip().startswith(("[", "*")) else line  # after \\ they would be its option


def comment_latex(text: object) -> str:
    """Text as a LaTeX comment, on one line."""
    return "% " + "".join(c if c.isprintable() else " " for c in str(text))
