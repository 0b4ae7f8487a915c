"""From an annotation file and a tree of folders to the clips that can be used; no picture is read.

The same for every coded set. Nothing is guessed: a row that cannot be used is left out and named with its reason; an apex
that is missing or impossible is None; known issues of an annotation file are repaired from a table with their sources.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path

from stagkit.core.facs import read_aus
from stagkit.core.files import RESOURCES, digest_file, shorten
from stagkit.core.types import ClipRecord, StagkitError
from stagkit.datasets import DatasetNotAvailable
from stagkit.datasets.layout import AnnotationRow, Layout, exactly, show_pattern
from stagkit.datasets.spreadsheets import OTHER_TABLES, TABLES, TableError, read_frame, read_rate, read_text
from stagkit.motion.frames import Tree, normalise_name

#: A clip that lacks more than this share of its frames is left out (stagkit's choice).
MAX_MISSING = 0.1

#: Micro-expressions last up to half a second; longer clips than this many seconds are listed (stagkit's choice).
LONG_SECONDS = 2.0

#: How many folders below the root sheets and clips are looked for.
SHEET_DEPTH, BASE_DEPTH = 3, 3

#: Beside the annotation file of a tree drawn by ``stagkit phantom``: what is read from there is called a phantom.
PHANTOM_MARK = "phantom.json"

_CORRECTIONS = RESOURCES / "corrections.csv"
_LABELS = RESOURCES / "class_maps.csv"


@dataclass(frozen=True)
class Index:
    """What was found of a data set, before any picture is read.

    Args:
        records: clip name -> usable clip.
        rows: all rows of the annotations, corrected.
        skipped: clip name -> why it cannot be used.
        issues: (clip name, sentence), what was odd but did not matter, or was taken as missing.
        corrections: sentences.
        annotation_files: file name -> first 16 digits of its SHA-256.
        base: folder of the clips, relative to the root.
        missing, outside: number of frames that are missing, and that lie outside onset..offset and are not read.
        orphan_folders: folders with pictures that no row names.
        phantom: drawn by stagkit.
        written: label as written (lower case, before corrections) -> rows.
    """

    records: dict[str, ClipRecord]
    rows: tuple[AnnotationRow, ...]
    skipped: dict[str, str]
    issues: tuple[tuple[str, str], ...]
    corrections: tuple[str, ...]
    annotation_files: dict[str, str]
    base: str
    missing: int
    outside: int
    orphan_folders: tuple[str, ...]
    phantom: bool
    written: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """At least half of the clips can be read; a clip whose row is repeated counts once."""
        return bool(self.records) and len(self.records) >= len(self.skipped)


@dataclass
class _Notes:
    """What comes up while the rows are looked at."""

    skipped: dict[str, str] = field(default_factory=dict)
    issues: list[tuple[str, str]] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    missing: int = 0


def find_annotation_files(layout: Layout, tree: Tree, annotations: str | Sequence[str] = "") -> list[Path]:
    """The annotation files of a set below a root.

    Args:
        annotations: file names or paths below the root, where the choice is not to be stagkit's.

    Raises:
        StagkitError: no such file; several where one is expected.
    """
    files = _list_tables(tree, (*TABLES, *OTHER_TABLES))
    named = [annotations] if isinstance(annotations, str) else list(annotations)
    if any(named):
        found = [_find_named(tree, files, name) for name in dict.fromkeys(named) if name]
    else:
        found = []
        for pattern in layout.annotation_files:
            fitting = [f for f in files if fnmatchcase(normalise_name(f.stem), normalise_name(pattern))]
            found += [f for f in fitting if f not in found]
            if found and layout.name_part is None:
                break
        readable = [f for f in found if f.suffix.lower() in TABLES]
        found = _drop_copies(readable or found)
    parts: dict[str, list[Path]] = {}
    for file in found:
        parts.setdefault(layout.name_part(file.stem) if layout.name_part else "", []).append(file)
    for part, several in parts.items():
        if len(several) > 1:
            names = ", ".join(f.relative_to(tree.root).as_posix() for f in several)
            of = f" of the part {part}" if part else ""
            raise StagkitError(
                f"{layout.card.title} has several annotation files{of}: {names}; choose one with --annotations NAME"
                f"{' (once for each part)' if layout.name_part else ''}."
            )
    return found


def _list_tables(tree: Tree, endings: Sequence[str]) -> list[Path]:
    """Files with one of the endings in the root and up to three folders below, those nearer to the root first."""
    return [
        folder / name
        for folder in tree.iter_folders(SHEET_DEPTH)
        for name in tree.list(folder)[1]
        if name.lower().endswith(tuple(endings))
    ]


def _find_named(tree: Tree, files: Sequence[Path], name: str) -> Path:
    plain = normalise_name(name)
    found = [f for f in files if plain in (normalise_name(f.name), normalise_name(f.relative_to(tree.root).as_posix()))]
    if len(found) != 1:
        seen = ", ".join(f.relative_to(tree.root).as_posix() for f in files[:8]) or "none"
        raise StagkitError(
            f"{len(found)} files below {tree.root} are named {shorten(name)}, expected one; tables seen: {seen}."
        )
    return found[0]


def _drop_copies(files: Sequence[Path]) -> list[Path]:
    """Files of different content; of copies the one nearest to the root."""
    kept: dict[str, Path] = {}
    for file in files:
        kept.setdefault(digest_file(file) if len(files) > 1 else "", file)
    return list(kept.values())


def _no_sheet(layout: Layout, tree: Tree) -> str:
    """Which names were looked for, and which tables are there."""
    tables = _list_tables(tree, (*TABLES, *OTHER_TABLES))
    seen = ", ".join(f.relative_to(tree.root).as_posix() for f in tables[:8]) or "no table"
    more = f" and {len(tables) - 8} more" if len(tables) > 8 else ""
    return (
        f"no annotation file named like {' or '.join(layout.annotation_files)} was found; tables seen: {seen}{more}; name "
        "another one with --annotations NAME"
    )


def find_base(layout: Layout, tree: Tree, folders: Sequence[tuple[str, ...]]) -> Path:
    """The folder that holds the clips, by its content.

    Archives are unpacked into folders of their own name, and people move folders: so every folder up to three levels below
    the root is asked whether it holds folders of clips, those with a known name first.

    Args:
        folders: patterns of the clips' folders, one entry per clip.

    Returns:
        The first folder that holds at least half as many of them as the best; the root where none holds any.
    """
    step = max(1, len(folders) // 24)
    sample = folders[::step]
    known = [
        f
        for name in layout.bases
        for depth in ("", "*/", "*/*/")
        for base in tree.match(tree.root, depth + name, skip=True)
        for f in (base, *tree.match(base, name.rpartition("/")[2], skip=True))
    ]
    counts: dict[Path, int] = {}
    for folder in (*known, *tree.iter_folders(BASE_DEPTH, most=1000)):
        if folder in counts:
            continue
        counts[folder] = sum(any(tree.match(folder, p, skip=True) for p in patterns) for patterns in sample)
        if counts[folder] == len(sample):
            break
    best = max(counts.values())
    return next(f for f, n in counts.items() if 2 * n >= best) if best else (known or [tree.root])[0]


def load_index(layout: Layout, root: str | Path, annotations: str | Sequence[str] = "") -> Index:
    """Find every clip of a data set; no picture is read.

    Raises:
        DatasetNotAvailable: no such folder, no annotations, no clip folder.
        StagkitError: an annotation file that cannot be read, or several.
    """
    card, tree = layout.card, Tree(root)
    if not tree.root.is_dir():
        raise DatasetNotAvailable(card.not_available(root, tree.describe()))
    annotation_files = find_annotation_files(layout, tree, annotations)
    if layout.needs_annotations and not annotation_files:
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), _no_sheet(layout, tree)))
    folder = tree.root if annotation_files else find_base(layout, tree, [(layout.clips,)])
    rows = layout.load_rows(annotation_files, tree, folder)
    if not rows:
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), "no clip is listed"))
    parts = dict.fromkeys(row.part for row in rows) if annotation_files else {"": None}
    if annotation_files:
        parts = {p: find_base(layout, tree, [r.folders for r in rows if r.part == p and r.folders]) for p in parts}
    bases = {p: base or folder for p, base in parts.items()}
    phantom = any((place / PHANTOM_MARK).is_file() for place in (tree.root, *tree.root.resolve().parents[:3]))
    notes = _Notes(issues=[("", text) for text in tree.notes])
    name = f"{card.name}-phantom" if phantom else card.name
    written = Counter(read_text(row.label).lower() for row in rows if read_text(row.label))
    if not phantom:
        rows = [_correct(card.name, row, notes) for row in rows]
    records: dict[str, ClipRecord] = {}
    used: dict[Path, set[int]] = {}
    named: set[Path] = set()
    for row in _drop_unnamed(rows, notes):
        with suppress(StagkitError):
            named.update(_find_places(row, tree, bases[row.part]))
    for row in _drop_repeated(_drop_unnamed(rows, _Notes()), notes):
        try:
            records[row.key], place = _find_clip(row, name, tree, bases[row.part], notes)
            used.setdefault(place, set()).update(records[row.key].frame_numbers)
        except StagkitError as error:
            notes.skipped[row.key] = str(error)
    notes.issues += [("", f"the link {link} leads out of the root and is not followed") for link in tree.escaped]
    return Index(
        records=records,
        rows=tuple(rows),
        skipped=notes.skipped,
        issues=tuple(notes.issues),
        corrections=tuple(notes.corrections),
        annotation_files={s.relative_to(tree.root).as_posix(): digest_file(s) for s in annotation_files},
        base=", ".join(dict.fromkeys(f.relative_to(tree.root).as_posix() for f in bases.values())),
        missing=notes.missing,
        outside=sum(len(tree.frames(place).files) - len(numbers) for place, numbers in used.items()),
        orphan_folders=_find_unlisted(tree, named, bases.values()) if layout.whole_folders else (),
        phantom=phantom,
        written=dict(written),
    )


def _find_unlisted(tree: Tree, named: set[Path], bases: Iterable[Path]) -> tuple[str, ...]:
    """Folders with pictures as deep below a base as those that rows name, without a row of their own."""
    others: set[Path] = set()
    for base in set(bases):
        for depth in {len(f.relative_to(base).parts) for f in named if base in f.parents}:
            others.update(tree.match(base, "/".join("*" * depth), skip=True))
    return tuple(sorted(f.relative_to(tree.root).as_posix() for f in others - named if tree.has_images(f)))


def _drop_unnamed(rows: Sequence[AnnotationRow], notes: _Notes) -> list[AnnotationRow]:
    """Rows that name a subject and a clip; the others are left out, each under the number of its row."""
    kept = []
    for row in rows:
        why = row.why or (not row.subject and "its subject is empty") or (not row.clip and "its clip has no name")
        if not why:
            kept.append(row)
            continue
        name = " ".join(filter(None, (row.subject, row.clip)))
        notes.skipped[f"row {row.row + 1} below the header{f' ({shorten(name, 60)})' if name else ''}"] = str(why)
    return kept


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@cache
def load_corrections(path: Path = _CORRECTIONS) -> tuple[dict[str, str], ...]:
    """The corrections table: dataset, clip_id (or ``row N``, 0-based), field, old, new, reason, source."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


@cache
def load_labels(path: Path = _LABELS) -> dict[str, frozenset[str]]:
    """Data set -> labels that its annotation files are known to have (lower case)."""
    found: dict[str, set[str]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for entry in csv.DictReader(file):
            found.setdefault(entry["dataset"], set()).add(entry["label_raw"].lower())
    return {name: frozenset(labels) for name, labels in found.items()}


def _correct(dataset: str, row: AnnotationRow, notes: _Notes) -> AnnotationRow:
    """The row with its known issues repaired, where the annotation file still has the faulty value."""
    for entry in load_corrections():
        if entry["dataset"] != dataset or entry["clip_id"] not in (row.key, f"row {row.row}"):
            continue
        written = getattr(row, entry["field"])
        if entry["old"] not in (read_text(written), str(written if written is not None else "").strip()):
            continue
        row = replace(row, **{entry["field"]: entry["new"]})
        notes.corrections.append(
            f"{row.key}: {entry['field']} {entry['old']} -> {entry['new'] or 'none'}: {entry['reason']} "
            f"({entry['source']})"
        )
    return row


def _drop_repeated(rows: Sequence[AnnotationRow], notes: _Notes) -> list[AnnotationRow]:
    """Rows that stand once; of equal ones the first; none of those that disagree."""
    kept: dict[str, AnnotationRow] = {}
    for row in rows:
        first = kept.setdefault(row.key, row)
        if first is row:
            continue
        if replace(row, row=first.row) == first:
            notes.issues.append((row.key, "is in the annotation file twice, alike: the second is left out"))
        else:
            notes.skipped[row.key] = "is in the annotation file twice, and the rows disagree"
    return [row for key, row in kept.items() if key not in notes.skipped]


def _find_places(row: AnnotationRow, tree: Tree, base: Path) -> list[Path]:
    """Folders that could be the clip's."""
    for patterns in (row.folders, row.spare):
        places = list(dict.fromkeys(f for pattern in patterns for f in tree.match(base, pattern)))
        if places:
            return places
    return []


def _find_clip(row: AnnotationRow, dataset: str, tree: Tree, base: Path, notes: _Notes) -> tuple[ClipRecord, Path]:
    """The frames of a row.

    Raises:
        StagkitError: why the clip cannot be used.
    """
    if any(part in ("", ".", "..") or re.search(r"[\\\0:]", part) for part in row.key.split("/")):
        raise TableError(f"{row.key!r} is no name of a clip")
    label = read_text(row.label)
    if not label:
        raise TableError("no emotion is given, or its folder and its name disagree")
    if row.named and row.named != label.lower():
        raise TableError(f"the annotation file calls it {shorten(label, 60)}, its name says {row.named}")
    known = load_labels().get(dataset.removesuffix("-phantom"), frozenset())
    if known and not set(label.lower().split("+")) <= known:
        notes.issues.append(
            (row.key, f"its label {shorten(label, 60)} is none that sheets of this set are known to have")
        )
    fps = read_rate(row.fps)
    onset, offset = read_frame(row.onset), read_frame(row.offset)
    if onset is not None and offset is not None and onset >= offset:
        raise TableError(f"onset {onset} is not before offset {offset}")
    apex = _read_apex(row, onset, offset, notes)
    places = _find_places(row, tree, base)
    if not places:
        looked = " or ".join(show_pattern(pattern) for pattern in row.folders)
        raise TableError(f"there is no folder {looked} in {base.relative_to(tree.root).as_posix()}")
    if len(places) > 1:
        names = ", ".join(p.relative_to(tree.root).as_posix() for p in places[:3])
        raise TableError(f"{len(places)} folders could be it: {names}")
    frames = tree.frames(places[0])
    pictures, twice = {n: places[0] / name for n, name in frames.files.items()}, frames.claimed
    if not pictures:
        raise TableError(f"the folder {places[0].relative_to(tree.root).as_posix()} holds no pictures")
    first = min(pictures) if onset is None else onset
    last = max(pictures) if offset is None else offset
    inside = {n: p for n, p in pictures.items() if first <= n <= last}
    claimed = sorted(set(twice) & set(inside))
    if claimed:
        raise TableError(f"two files claim frame {claimed[0]}")
    lacking = last - first + 1 - len(inside)
    if onset is not None and onset not in inside:
        raise TableError(f"its onset frame {onset} is missing; the folder holds {min(pictures)}..{max(pictures)}")
    if lacking > MAX_MISSING * (last - first + 1) or len(inside) < 2:
        raise TableError(f"{lacking} of its {last - first + 1} frames are missing")
    if lacking:
        shown = [n for n in range(first, last + 1) if n not in inside][:5]
        notes.issues.append((row.key, f"{lacking} frame(s) missing: {', '.join(map(str, shown))}"))
    for name, number in (("apex", apex), ("offset", offset)):
        if number is not None and number not in inside:
            notes.issues.append((row.key, f"its {name} frame {number} is missing: taken as not coded"))
    for name, cell, number in (("onset", row.onset, onset), ("offset", row.offset, offset)):
        if number is None and not (cell is None or str(cell).strip() == ""):
            notes.issues.append((row.key, f"{name} is {shorten(cell, 60)}: not coded"))
    if frames.odd:
        notes.issues.append(
            (row.key, f"{len(frames.odd)} picture(s) are links out of the root or no files: {frames.odd[0]}")
        )
    if (last - first) / fps > LONG_SECONDS:
        notes.issues.append(
            (row.key, f"{last - first + 1} frames are {(last - first) / fps:.1f} s: longer than a micro-expression")
        )
    notes.missing += lacking
    codes, unread = read_aus(None if str(row.aus).strip() == "-" else row.aus)
    if unread or (codes is None and not (row.aus is None or str(row.aus).strip() == "")):
        what = f"{', '.join(map(repr, unread))} of " if unread else ""
        notes.issues.append((row.key, f"action units: {what}{shorten(row.aus, 60)} cannot be read: taken as not coded"))
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
        aus=codes,
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


def _read_apex(row: AnnotationRow, onset: int | None, offset: int | None, notes: _Notes) -> int | None:
    """The apex where it can be one, else None and a word on it."""
    try:
        apex = read_frame(row.apex)
    except TableError as error:
        notes.issues.append((row.key, f"apex {error}: taken as not coded"))
        return None
    if apex is None:
        if not (row.apex is None or str(row.apex).strip() == ""):
            notes.issues.append((row.key, f"apex is {shorten(row.apex, 60)}: not coded"))
        return None
    if (onset is not None and apex < onset) or (offset is not None and apex > offset):
        notes.issues.append((row.key, f"apex {apex} lies outside {onset}..{offset}: taken as not coded"))
        return None
    if apex in (onset, offset):
        notes.issues.append((row.key, f"apex {apex} is the {'onset' if apex == onset else 'offset'} frame"))
    return apex
