"""From a coding sheet and a tree of folders to the clips that can be used; no picture is read.

The same for every coded set. Nothing is guessed: a row that cannot be used is left out and named with its reason; an apex
that is missing or impossible is None; known faults of a sheet are repaired from a table with their sources.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from stagkit.datasets import DatasetNotAvailable
from stagkit.datasets.layout import Layout, SheetRow, exactly
from stagkit.datasets.sheets import SheetError, read_frame, read_text
from stagkit.datasets.tree import Tree
from stagkit.facs import parse_aus
from stagkit.types import ClipRecord, StagkitError

#: A clip that lacks more than this share of its frames is left out (stagkit's choice).
MAX_MISSING = 0.1

#: Beside the sheet of a tree drawn by ``stagkit phantom``: what is read from there is called a phantom.
PHANTOM_MARK = "phantom.json"

_CORRECTIONS = Path(__file__).parents[1] / "data" / "corrections.csv"


@dataclass(frozen=True)
class Index:
    """What was found of a data set, before any picture is read.

    Args:
        records: clip name -> usable clip.
        rows: all rows of the sheet, corrected.
        left_out: clip name -> why it cannot be used.
        faults: (clip name, sentence), what was odd but did not matter, or was taken as missing.
        corrections: sentences.
        sheets: file name -> first 16 digits of its SHA-256.
        base: folder of the clips, relative to the root.
        missing, beside: number of frames that are missing, and that lie outside onset..offset and are not read.
        unlisted: folders with pictures that no row names.
        phantom: drawn by stagkit.
    """

    records: dict[str, ClipRecord]
    rows: tuple[SheetRow, ...]
    left_out: dict[str, str]
    faults: tuple[tuple[str, str], ...]
    corrections: tuple[str, ...]
    sheets: dict[str, str]
    base: str
    missing: int
    beside: int
    unlisted: tuple[str, ...]
    phantom: bool

    @property
    def usable(self) -> bool:
        """At least half of the clips can be read; a clip whose row is repeated counts once."""
        return bool(self.records) and 2 * len(self.records) >= len({row.key for row in self.rows})


@dataclass
class _Notes:
    """What comes up while the rows are looked at."""

    left_out: dict[str, str] = field(default_factory=dict)
    faults: list[tuple[str, str]] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    missing: int = 0


def find_sheets(layout: Layout, tree: Tree, sheet: str = "") -> list[Path]:
    """The coding sheets of a set below a root.

    Args:
        sheet: a file name or path below the root, where the choice is not to be stagkit's.

    Raises:
        StagkitError: no such sheet; several where one is expected.
    """
    places = [tree.root, *(tree.root / name for name in tree.list(tree.root)[0])]
    files = [folder / name for folder in places for name in tree.list(folder)[1]]
    if sheet:
        named = [f for f in files if f.name == sheet or f.relative_to(tree.root).as_posix() == sheet]
        if len(named) != 1:
            raise StagkitError(f"{len(named)} files below {tree.root} are named {sheet!r}, expected one sheet.")
        return named
    for pattern in layout.sheets:
        found = [f for f in files if fnmatchcase(f.name.lower(), pattern.lower())]
        if len(found) > 1 and not layout.several:
            names = ", ".join(f.relative_to(tree.root).as_posix() for f in found)
            raise StagkitError(f"{layout.card.title} has several coding sheets: {names}; choose one with --sheet NAME.")
        if found:
            return found
    return []


def load_index(layout: Layout, root: str | Path, sheet: str = "") -> Index:
    """Find every clip of a data set; no picture is read.

    Raises:
        DatasetNotAvailable: no such folder, no sheet, no clip folder.
        StagkitError: a sheet that cannot be read, or several.
    """
    card, tree = layout.card, Tree(root)
    if not tree.root.is_dir():
        raise DatasetNotAvailable(card.not_available(root, tree.describe()))
    sheets = find_sheets(layout, tree, sheet)
    if layout.sheet_needed and not sheets:
        why = f"no coding sheet {' or '.join(layout.sheets)}"
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), why))
    places = (f for b in layout.bases if b for pattern in (b, f"*/{b}") for f in tree.match(tree.root, pattern))
    folder = next(places, tree.root)
    rows = layout.load_rows(sheets, tree, folder)
    if not rows:
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), "no clip is listed"))
    phantom = any((place / PHANTOM_MARK).is_file() for place in (tree.root, *tree.root.resolve().parents[:3]))
    notes = _Notes()
    name = f"{card.name}-phantom" if phantom else card.name
    if not phantom:
        rows = [_correct(card.name, row, notes) for row in rows]
    records: dict[str, ClipRecord] = {}
    used: dict[Path, set[int]] = {}
    for row in _drop_repeated(rows, notes):
        try:
            records[row.key], place = _find_clip(row, name, tree, folder, notes)
            used.setdefault(place, set()).update(records[row.key].frame_numbers)
        except StagkitError as error:
            notes.left_out[row.key] = str(error)
    notes.faults += [("", f"the link {link} leads out of the root and is not followed") for link in tree.escaped]
    return Index(
        records=records,
        rows=tuple(rows),
        left_out=notes.left_out,
        faults=tuple(notes.faults),
        corrections=tuple(notes.corrections),
        sheets={s.relative_to(tree.root).as_posix(): hashlib.sha256(s.read_bytes()).hexdigest()[:16] for s in sheets},
        base=folder.relative_to(tree.root).as_posix(),
        missing=notes.missing,
        beside=sum(len(tree.pictures(place)[0]) - len(numbers) for place, numbers in used.items()),
        unlisted=_find_unlisted(tree, set(used)) if layout.whole_folders else (),
        phantom=phantom,
    )


def _find_unlisted(tree: Tree, used: set[Path]) -> tuple[str, ...]:
    beside = {parent / name for parent in {f.parent for f in used} for name in tree.list(parent)[0]} - used
    return tuple(sorted(f.relative_to(tree.root).as_posix() for f in beside if tree.pictures(f)[0]))


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def load_corrections(path: Path = _CORRECTIONS) -> tuple[dict[str, str], ...]:
    """The corrections table: dataset, clip_id (or ``row N``, 0-based), field, old, new, reason, source."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def _correct(dataset: str, row: SheetRow, notes: _Notes) -> SheetRow:
    """The row with its known faults repaired, where the sheet still has the faulty value."""
    for entry in load_corrections():
        if entry["dataset"] != dataset or entry["clip_id"] not in (row.key, f"row {row.row}"):
            continue
        written = getattr(row, entry["field"])
        if str(written if written is not None else "").strip() != entry["old"]:
            continue
        row = replace(row, **{entry["field"]: entry["new"]})
        notes.corrections.append(
            f"{row.key}: {entry['field']} {entry['old']} -> {entry['new'] or 'none'}: {entry['reason']} "
            f"({entry['source']})"
        )
    return row


def _drop_repeated(rows: Sequence[SheetRow], notes: _Notes) -> list[SheetRow]:
    """Rows that stand once; of equal ones the first; none of those that disagree."""
    kept: dict[str, SheetRow] = {}
    for row in rows:
        first = kept.setdefault(row.key, row)
        if first is row:
            continue
        if replace(row, row=first.row) == first:
            notes.faults.append((row.key, "stands twice in the sheet, alike: the second is left out"))
        else:
            notes.left_out[row.key] = "stands twice in the sheet, and the rows disagree"
    return [row for key, row in kept.items() if key not in notes.left_out]


def _find_clip(row: SheetRow, dataset: str, tree: Tree, base: Path, notes: _Notes) -> tuple[ClipRecord, Path]:
    """The frames of a row.

    Raises:
        StagkitError: why the clip cannot be used.
    """
    if any(part in ("", ".", "..") or re.search(r"[\\\0:]", part) for part in row.key.split("/")):
        raise SheetError(f"{row.key!r} is no name of a clip")
    label = read_text(row.label)
    if not label:
        raise SheetError("no emotion is given, or its folder and its name disagree")
    try:
        fps = float(read_text(row.fps))
    except ValueError:
        fps = float("nan")
    if not 1 <= fps <= 100_000:
        raise SheetError(f"{read_text(row.fps)!r} is no frame rate")
    onset, offset = read_frame(row.onset), read_frame(row.offset)
    if onset is not None and offset is not None and onset >= offset:
        raise SheetError(f"onset {onset} is not before offset {offset}")
    apex = _read_apex(row, onset, offset, notes)
    places = list(dict.fromkeys(f for pattern in row.folders for f in tree.match(base, pattern)))
    if not places:
        raise SheetError(f"there is no folder {row.folders[0]}")
    if len(places) > 1:
        names = ", ".join(p.relative_to(tree.root).as_posix() for p in places[:3])
        raise SheetError(f"{len(places)} folders could be it: {names}")
    pictures, twice = tree.pictures(places[0])
    if not pictures:
        raise SheetError(f"the folder {places[0].relative_to(tree.root).as_posix()} holds no pictures")
    first = min(pictures) if onset is None else onset
    last = max(pictures) if offset is None else offset
    inside = {n: p for n, p in pictures.items() if first <= n <= last}
    claimed = sorted(set(twice) & set(inside))
    if claimed:
        raise SheetError(f"two files claim frame {claimed[0]}")
    lacking = last - first + 1 - len(inside)
    if onset is not None and onset not in inside:
        raise SheetError(f"its onset frame {onset} is missing; the folder holds {min(pictures)}..{max(pictures)}")
    if lacking > MAX_MISSING * (last - first + 1) or len(inside) < 2:
        raise SheetError(f"{lacking} of its {last - first + 1} frames are missing")
    if lacking:
        shown = [n for n in range(first, last + 1) if n not in inside][:5]
        notes.faults.append((row.key, f"{lacking} frame(s) missing: {', '.join(map(str, shown))}"))
    for name, number in (("apex", apex), ("offset", offset)):
        if number is not None and number not in inside:
            notes.faults.append((row.key, f"its {name} frame {number} is missing: taken as not coded"))
    notes.missing += lacking
    codes = parse_aus(row.aus)
    notes.faults += [(row.key, f"AU code {part!r} cannot be read") for part in codes.unread]
    record = ClipRecord(
        clip_id=row.key,
        dataset=dataset,
        subject=f"{dataset}/{row.subject}",
        frame_paths=tuple(inside.values()),
        frame_numbers=tuple(inside),
        fps=fps,
        onset=onset,
        apex=apex if apex in inside else None,
        offset=offset if offset in inside else None,
        label_raw=label,
        label=label.lower(),
        aus=codes.codes or None,
        part=row.part,
        landmarks=_find_landmarks(row.key, tree),
        corrections=tuple(c for c in notes.corrections if c.startswith(f"{row.key}: ")),
    )
    return record, places[0]


def _find_landmarks(key: str, tree: Tree) -> Path | None:
    """``landmarks/SUBJECT/CLIP.npy`` below the root, where there is one."""
    *folders, name = f"landmarks/{key}.npy".split("/")
    places = tree.match(tree.root, exactly("/".join(folders)))
    return next((f / name for f in places if name in tree.list(f)[1]), None)


def _read_apex(row: SheetRow, onset: int | None, offset: int | None, notes: _Notes) -> int | None:
    """The apex where it can be one, else None and a word on it."""
    try:
        apex = read_frame(row.apex)
    except SheetError as error:
        notes.faults.append((row.key, f"apex: {error}: taken as not coded"))
        return None
    if apex is None:
        if row.apex is not None and read_text(row.apex) != str(row.apex).strip():
            notes.faults.append((row.key, f"apex is {row.apex!r}: not coded"))
        return None
    if (onset is not None and apex < onset) or (offset is not None and apex > offset):
        notes.faults.append((row.key, f"apex {apex} lies outside {onset}..{offset}: taken as not coded"))
        return None
    if apex in (onset, offset):
        notes.faults.append((row.key, f"apex {apex} is the {'onset' if apex == onset else 'offset'} frame"))
    return apex
