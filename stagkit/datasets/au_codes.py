"""AU codes as annotation files write them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from stagkit.core.facs import AUCode
from stagkit.core.files import shorten
from stagkit.datasets.spreadsheets import is_blank


class ParsedAUs(NamedTuple):
    """Codes of one cell, and the parts of it that could not be read."""

    codes: tuple[AUCode, ...]
    unread: tuple[str, ...]


_CODE = re.compile(
    r"""(?P<ref>ref\()?            # reflex or uncertain
        (?P<kind>AU|AD|M)?
        (?P<pre>A/L|A/R|[LRTBA])?  # side before the number
        (?P<number>\d{1,2})
        (?P<post>[LR](?![A-Za-z]))?  # side behind it (MMEW)
        (?P<grade>\(?[A-E](/[A-E])?\)?)?
        (?P<kept>\(k\))?
        \)?(?P<mark>\?)?$""",
    re.VERBOSE,
)


def parse_aus(cell: object) -> ParsedAUs:
    """Read an AU cell in any of the forms that public annotation files use: text, number, None or NaN.

    ``+`` and commas (Chinese ones too) join codes; ``or`` and ``/`` between codes separate alternatives, which keep a
    common ``choice`` number. Codes are in the order written; '?' alone means 'coded, but unknown'.

    Example:
        >>> [str(c) for c in parse_aus("4+L10+R2").codes]
        ['AU04', 'AU10L', 'AU02R']
        >>> parse_aus("soft focus")
        ParsedAUs(codes=(), unread=('soft focus',))
    """
    if cell is None or (isinstance(cell, float) and np.isnan(cell)):
        return ParsedAUs((), ())
    if isinstance(cell, (int, float, np.number)) and not isinstance(cell, bool):
        cell = f"{cell:g}"
    codes: list[AUCode] = []
    unread: list[str] = []
    choice = 0
    for part in re.split(r"[+,，]", str(cell)):
        part = part.strip()
        if not part:
            continue
        inner = part[1:-1].strip() if part.startswith("(") and part.endswith(")") else part
        options = [o.strip() for o in re.split(r"\bor\b|/(?=\s*(?:AU|AD|M)?\d|\s*(?:AU|AD|M)\s*[LRTBA]?\d)", inner)]
        choice += len(options) > 1
        for option in options:
            match = None if re.search(r"\d\s+\d", option) else _CODE.match(re.sub(r"\s", "", option))
            if not match or not int(match["number"]):
                unread.append(option)
                continue
            codes.append(
                AUCode(
                    number=int(match["number"]),
                    side=(match["pre"] or match["post"] or "")[-1:],
                    intensity=(match["grade"] or "").strip("()")[:1],
                    kind=match["kind"] or "AU",
                    choice=choice if len(options) > 1 else 0,
                    uncertain=bool(match["ref"] or match["mark"]),
                    kept=bool(match["kept"]),
                )
            )
    return ParsedAUs(tuple(codes), tuple(unread))


def read_aus(cell: object) -> tuple[tuple[AUCode, ...] | None, tuple[str, ...]]:
    """AU cell of a clip: its codes, and the parts that cannot be read.

    Codes are () for ``-`` (coded, none seen) and None if the clip is not coded: the cell is empty, or a part of it cannot be
    read, since that may be any action unit.

    Example:
        >>> read_aus("4;12"), read_aus("-"), read_aus("")
        ((None, ('4;12',)), ((), ()), (None, ()))
    """
    if isinstance(cell, str) and cell.strip() == "-":
        return (), ()
    parsed = parse_aus(cell)
    return (None if parsed.unread or not parsed.codes else parsed.codes), parsed.unread


def find_au_issue(cell: object, codes: tuple[AUCode, ...] | None, unread: tuple[str, ...]) -> str:
    """A sentence if an AU cell that is not empty is taken as not coded, otherwise ''."""
    if codes is not None or is_blank(cell):
        return ""
    what = f"{', '.join(map(repr, unread))} of " if unread else ""
    return f"action units: {what}{shorten(cell, 60)} cannot be read: taken as not coded"
