"""AU codes as annotation files write them."""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np

from stagkit.core.facs import AUCode


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
    """Read the AU cell of an annotation sheet, in any of the forms that the public sheets use.

    ``+`` and commas (Chinese ones too) join codes; ``or`` and ``/`` between codes separate alternatives, which keep a
    common ``choice`` number. Bare numbers (12, 12.0) are read as Excel returns them.

    Args:
        cell: text, number, None or NaN.

    Returns:
        Codes in the order written, and what could not be read ('?' alone means 'coded, but unknown').

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

    A part that cannot be read may be any action unit, so nothing certain is known of those that are not listed: the clip
    is then 'not coded' as a whole.

    Args:
        cell: as for ``parse_aus``; empty = not coded, ``-`` = coded and none seen.

    Returns:
        codes (() = none seen, None = not coded), parts that cannot be read.

    Example:
        >>> read_aus("4;12"), read_aus("-"), read_aus("")
        ((None, ('4;12',)), ((), ()), (None, ()))
    """
    if isinstance(cell, str) and cell.strip() == "-":
        return (), ()
    parsed = parse_aus(cell)
    return (None if parsed.unread or not parsed.codes else parsed.codes), parsed.unread
