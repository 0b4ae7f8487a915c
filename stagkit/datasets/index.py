"""Index of an annotated data set: from annotation files and a tree of folders to the usable clips, without decoding images.

Nothing is guessed: a row that cannot be used is skipped with its reason, a missing or impossible apex is None, and known
errors are corrected from a table with their sources. ``readers`` has the ``Layout`` of each set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from glob import escape
from pathlib import Path

from stagkit.core.facs import AUCode
from stagkit.core.files import digest_file, shorten
from stagkit.core.types import StagkitError
from stagkit.datasets import DatasetNotAvailable
from stagkit.datasets.au_codes import find_au_issue, read_aus
from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.spreadsheets import (
    OTHER_TABLES,
    TABLES,
    TableError,
    is_blank,
    load_table,
    name_subject,
    read_frame,
    read_rate,
    read_text,
)
from stagkit.datasets.tables import load_resource
from stagkit.motion.frames import Tree, normalise_name


@dataclass(frozen=True)
class ClipRecord:
    """Files and annotations of one clip, before any image is read.

    Args:
        clip_id: e.g. ``sub01/EP02_01f``; ``subject``: unique over data sets, e.g. ``casme2/sub01``.
        frame_paths, frame_numbers: files in order, and the integer in the name of each.
        onset, apex, offset: frame numbers as annotated; None where not coded or where there is no such frame.
        label_raw, label: as annotated, and in lower case; ``aus``: None where not coded; ``part``: official part, or ''.
        landmarks: file of stored landmarks, or None; ``corrections``: what was corrected in this clip's row.
    """

    clip_id: str
    dataset: str
    subject: str
    frame_paths: tuple[Path, ...]
    frame_numbers: tuple[int, ...]
    fps: float
    onset: int | None
    apex: int | None
    offset: int | None
    label_raw: str
    label: str
    aus: tuple[AUCode, ...] | None = None
    part: str = ""
    landmarks: Path | None = None
    corrections: tuple[str, ...] = ()

    def position(self, name: str) -> int | None:
        """0-based place of ``onset``, ``apex`` or ``offset`` among the frames found."""
        number = getattr(self, name)
        return None if number is None else self.frame_numbers.index(number)


#: A clip that lacks more than this share of its frames is skipped (stagkit's choice).
MAX_MISSING = 0.1

#: Micro-expressions last up to half a second; longer clips than this many seconds are reported (stagkit's choice).
LONG_SECONDS = 2.0

#: Levels below the root that are searched for annotation files and clips.
DEPTH = 3

#: Columns of annotation files in the format of CASME II: field -> names it may have.
CASME_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    **{name: (f"{name.title()}Frame",) for name in ("onset", "apex", "offset")},
    "label": ("Estimated Emotion", "Emotion"),
}

#: File that marks a tree written by ``stagkit phantom``.
PHANTOM_MARK = "phantom.json"


@dataclass(frozen=True)
class AnnotationRow:
    """One row of an annotation file as written; nothing is checked yet.

    Args:
        subject, clip: together the clip's name, ``subject/clip``.
        label, fps, onset, apex, offset, aus: cells; ``aus`` None if the set is not coded.
        folders: patterns of the clip's folder below the base, ``*`` within a name; ``spare``: tried if none of them fits.
        part: official part; ``row``: 0-based row below the header.
        why: why the row cannot be used, '' if it can; ``named``: the label in the clip's name, or ''.
    """

    subject: str
    clip: str
    label: object
    folders: tuple[str, ...]
    fps: object
    onset: object = None
    apex: object = None
    offset: object = None
    aus: object = None
    part: str = ""
    row: int = -1
    why: str = ""
    named: str = ""
    spare: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The clip's name."""
        return f"{self.subject}/{self.clip}"


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Args:
        load_rows: (annotation files, tree, base) -> rows.
        bases: names of folders that may hold the clips, the preferred first.
        annotation_files: file names without suffix, ``*`` allowed; the first pattern that fits any file is used.
        needs_annotations: False if the folders hold all information; ``clips``: then the pattern of the clips' folders.
        name_part: stem of an annotation file -> official part, if the files of several parts are read together.
        whole_folders: each folder holds one clip, so folders without a row are reported.
    """

    card: DatasetCard
    load_rows: Callable[[Sequence[Path], Tree, Path], list[AnnotationRow]]
    bases: tuple[str, ...]
    annotation_files: tuple[str, ...] = ()
    needs_annotations: bool = True
    clips: str = ""
    name_part: Callable[[str], str] | None = None
    whole_folders: bool = True


def load_casme_rows(
    path: Path, notes: list[str], fps: int, prefix: str = "", digits: int = 0, folder: str = "{subject}/{clip}"
) -> list[AnnotationRow]:
    """Rows of an annotation file in the format of CASME II.

    Args:
        path, notes: see ``spreadsheets.load_grids``; prefix, digits: see ``spreadsheets.name_subject``.
        folder: pattern of a clip's folder below the base.
    """
    rows = []
    for number, cells in load_table(path, CASME_COLUMNS, {"aus": ("Action Units",)}, notes):
        subject, clip = name_subject(cells.pop("subject"), prefix, digits), read_text(cells.pop("clip"))
        folders = (folder.format(subject=escape(subject), clip=escape(clip)),)
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=folders, fps=fps, row=number, **cells))
    return rows


@dataclass
class Index:
    """Clips of a data set, before any image is read.

    Args:
        rows: all annotation rows, corrected; ``corrections``: a sentence each.
        records, skipped: clip name -> usable clip, or why it cannot be used.
        issues: (clip name, sentence): irregularities of usable clips and of the folders.
        annotation_files: file name -> first 16 digits of its SHA-256.
        base: folder of the clips, relative to the root; ``orphan_folders``: folders with images that no row names.
        missing, outside: numbers of frames that are missing, and that lie outside onset..offset and are not read.
        phantom: written by stagkit; ``written``: label as written (lower case, before corrections) -> rows.
    """

    rows: Sequence[AnnotationRow] = ()
    records: dict[str, ClipRecord] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    issues: list[tuple[str, str]] = field(default_factory=list)
    corrections: list[str] = field(default_factory=list)
    annotation_files: dict[str, str] = field(default_factory=dict)
    base: str = ""
    missing: int = 0
    outside: int = 0
    orphan_folders: Sequence[str] = ()
    phantom: bool = False
    written: dict[str, int] = field(default_factory=dict)

    @property
    def usable(self) -> bool:
        """At least half of the clips can be read; a clip whose row is repeated counts once."""
        return bool(self.records) and len(self.records) >= len(self.skipped)


# ── files and folders ────────────────────────────────────────────────────────────────────────────────────────────────


def find_annotation_files(layout: Layout, tree: Tree, annotations: str | Sequence[str] = "") -> list[Path]:
    """The annotation files of a set, of copies the one nearest to the root; ``annotations`` chooses among several."""
    files, found = list(_iter_tables(tree)), []
    given = [annotations] if isinstance(annotations, str) else annotations
    if any(given):
        found = [_find_named(tree, files, name) for name in dict.fromkeys(given) if name]
    else:
        for pattern in layout.annotation_files:
            plain = normalise_name(pattern)
            found += [f for f in files if f not in found and fnmatchcase(normalise_name(f.stem), plain)]
            if found and layout.name_part is None:
                break
        found = [f for f in found if f.suffix.lower() in TABLES] or found
        if len(found) > 1:
            kept: dict[str, Path] = {}
            for file in found:
                kept.setdefault(digest_file(file), file)
            found = list(kept.values())
    parts: dict[str, list[Path]] = {}
    for file in found:
        parts.setdefault(layout.name_part(file.stem) if layout.name_part else "", []).append(file)
    for part, several in parts.items():
        if len(several) > 1:
            names = ", ".join(map(tree.name, several))
            raise StagkitError(
                f"{layout.card.title} has several annotation files{f' of the part {part}' if part else ''}: {names}; "
                f"choose one with --annotations NAME{' (once for each part)' if layout.name_part else ''}."
            )
    return found


def _iter_tables(tree: Tree) -> Iterator[Path]:
    """Tables in the root and below, those nearer to the root first."""
    for folder in tree.iter_folders(DEPTH):
        for name in tree.list(folder)[1]:
            if name.lower().endswith((*TABLES, *OTHER_TABLES)):
                yield folder / name


def _find_named(tree: Tree, files: Sequence[Path], name: str) -> Path:
    plain = normalise_name(name)
    found = [f for f in files if plain in (normalise_name(f.name), normalise_name(tree.name(f)))]
    if len(found) != 1:
        seen = ", ".join(map(tree.name, files[:8])) or "none"
        raise StagkitError(
            f"{len(found)} files below {tree.root} are named {shorten(name)}, expected one; tables seen: {seen}."
        )
    return found[0]


def find_base(layout: Layout, tree: Tree, folders: Sequence[tuple[str, ...]]) -> Path:
    """The folder that holds the clips, found by its content, since archives are unpacked anywhere.

    It is the first folder, those with a known name before others, that holds at least half as many clips as the best; the
    root if none holds any. ``folders``: patterns of the clips' folders, one entry per clip.
    """
    sample = folders[:: max(1, len(folders) // 24)]
    known = [
        f
        for name in layout.bases
        for depth in ("", "*/", "*/*/")
        for base in tree.match(tree.root, depth + name, skip=True)
        for f in (base, *tree.match(base, name.rpartition("/")[2], skip=True))
    ]
    counts: dict[Path, int] = {}
    for folder in (*known, *tree.iter_folders(DEPTH, most=1000)):
        if folder in counts:
            continue
        counts[folder] = sum(any(tree.match(folder, p, skip=True) for p in patterns) for patterns in sample)
        if counts[folder] == len(sample):
            break
    best = max(counts.values())
    return next(f for f, n in counts.items() if 2 * n >= best) if best else (known or [tree.root])[0]


def _find_places(row: AnnotationRow, tree: Tree, base: Path) -> list[Path]:
    """Folders that could be the clip's."""
    found = [list(dict.fromkeys(f for p in paths for f in tree.match(base, p))) for paths in (row.folders, row.spare)]
    return found[0] or found[1]


def _find_orphan_folders(tree: Tree, named: set[Path], bases: Iterable[Path]) -> list[str]:
    """Folders with images that no row names, as deep below a base as those that rows name."""
    others: set[Path] = set()
    for base in set(bases):
        for depth in {len(f.relative_to(base).parts) for f in named if base in f.parents}:
            others.update(tree.match(base, "/".join("*" * depth), skip=True))
    return sorted(tree.name(f) for f in others - named if tree.has_images(f))


def _find_landmarks(key: str, tree: Tree) -> Path | None:
    """``landmarks/SUBJECT/CLIP.npy`` below the root, if it exists."""
    folders, _, name = f"landmarks/{key}.npy".rpartition("/")
    places = tree.match(tree.root, escape(folders))
    return next((f / name for f in places if name in tree.list(f)[1]), None)


# ── the index ────────────────────────────────────────────────────────────────────────────────────────────────────────


def load_index(layout: Layout, root: str | Path, annotations: str | Sequence[str] = "") -> Index:
    """Find every clip of a data set; no image is read.

    Raises:
        DatasetNotAvailable: no such folder, no annotations, no clip folder.
        StagkitError: an annotation file that cannot be read, or several.
    """
    card, tree = layout.card, Tree(root)
    if not tree.root.is_dir():
        raise DatasetNotAvailable(card.not_available(root, tree.describe()))
    files = find_annotation_files(layout, tree, annotations)
    if layout.needs_annotations and not files:
        tables = list(map(tree.name, _iter_tables(tree)))
        seen = ", ".join(tables[:8]) or "no table"
        more = f" and {len(tables) - 8} more" if len(tables) > 8 else ""
        why = (
            f"no annotation file named like {' or '.join(layout.annotation_files)} was found; tables seen: {seen}{more}; "
            "name another one with --annotations NAME"
        )
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), why))
    folder = tree.root if files else find_base(layout, tree, [(layout.clips,)])
    rows = layout.load_rows(files, tree, folder)
    if not rows:
        raise DatasetNotAvailable(card.not_available(root, tree.describe(), "no clip is listed"))
    bases = {"": folder}
    if files:
        parts = dict.fromkeys(row.part for row in rows)
        bases = {p: find_base(layout, tree, [r.folders for r in rows if r.part == p and r.folders]) for p in parts}
    index = Index(
        issues=[("", text) for text in tree.notes],
        annotation_files={tree.name(f): digest_file(f) for f in files},
        base=", ".join(dict.fromkeys(map(tree.name, bases.values()))),
        phantom=any((place / PHANTOM_MARK).is_file() for place in (tree.root, *tree.root.resolve().parents[:3])),
        written=dict(Counter(label.lower() for row in rows if (label := read_text(row.label)))),
    )
    name = f"{card.name}-phantom" if index.phantom else card.name
    index.rows = rows if index.phantom else [_correct(card.name, row, index) for row in rows]
    named_rows, named, used = _drop_unnamed(index), set(), {}
    for row in named_rows:
        with suppress(StagkitError):
            named.update(_find_places(row, tree, bases[row.part]))
    for row in _drop_repeated(named_rows, index):
        try:
            record, place = _find_clip(row, name, tree, bases[row.part], index)
            index.records[row.key] = record
            used.setdefault(place, set()).update(record.frame_numbers)
        except StagkitError as error:
            index.skipped[row.key] = str(error)
    index.issues += [("", f"the link {link} leads out of the root and is not followed") for link in tree.escaped]
    index.outside = sum(len(tree.frames(place).files) - len(numbers) for place, numbers in used.items())
    if layout.whole_folders:
        index.orphan_folders = _find_orphan_folders(tree, named, bases.values())
    return index


def load_corrections() -> list[dict[str, str]]:
    """The corrections table: dataset, clip_id (or ``row N``, 0-based), field, old, new, reason, source."""
    return load_resource("corrections.csv")


def _correct(dataset: str, row: AnnotationRow, index: Index) -> AnnotationRow:
    """The row with its known errors corrected, if the file still has the wrong value."""
    for entry in load_corrections():
        if entry["dataset"] != dataset or entry["clip_id"] not in (row.key, f"row {row.row}"):
            continue
        written = getattr(row, entry["field"])
        if entry["old"] not in (read_text(written), str(written if written is not None else "").strip()):
            continue
        row = replace(row, **{entry["field"]: entry["new"]})
        change = f"{entry['field']} {entry['old']} -> {entry['new'] or 'none'}"
        index.corrections.append(f"{row.key}: {change}: {entry['reason']} ({entry['source']})")
    return row


def _drop_unnamed(index: Index) -> list[AnnotationRow]:
    """Rows that name a subject and a clip; the others are skipped, each under the number of its row."""
    kept = []
    for row in index.rows:
        why = row.why or (not row.subject and "its subject is empty") or (not row.clip and "its clip has no name")
        if why:
            name = " ".join(filter(None, (row.subject, row.clip)))
            index.skipped[f"row {row.row + 1} below the header{f' ({shorten(name, 60)})' if name else ''}"] = str(why)
        else:
            kept.append(row)
    return kept


def _drop_repeated(rows: Sequence[AnnotationRow], index: Index) -> list[AnnotationRow]:
    """The first of equal rows; none of those that disagree."""
    kept: dict[str, AnnotationRow] = {}
    for row in rows:
        first = kept.setdefault(row.key, row)
        if first is row:
            continue
        if replace(row, row=first.row) == first:
            index.issues.append((row.key, "is in the annotation file twice, alike: the second is skipped"))
        else:
            index.skipped[row.key] = "is in the annotation file twice, and the rows disagree"
    return [row for key, row in kept.items() if key not in index.skipped]


def _find_clip(row: AnnotationRow, dataset: str, tree: Tree, base: Path, index: Index) -> tuple[ClipRecord, Path]:
    """The clip of a row and its folder; a ``StagkitError`` says why it cannot be used."""

    def note(text: str) -> None:
        index.issues.append((row.key, text))

    if any(part in ("", ".", "..") or re.search(r"[\\\0:]", part) for part in row.key.split("/")):
        raise TableError(f"{row.key!r} is no name of a clip")
    label = read_text(row.label)
    if not label:
        raise TableError("no emotion is given, or its folder and its name disagree")
    if row.named and row.named != label.lower():
        raise TableError(f"the annotation file calls it {shorten(label, 60)}, its name says {row.named}")
    published = dataset.removesuffix("-phantom")
    known = {e["label_raw"].lower() for e in load_resource("class_maps.csv") if e["dataset"] == published}
    if known and not set(label.lower().split("+")) <= known:
        note(f"its label {shorten(label, 60)} is not known from annotation files of this set")
    fps = read_rate(row.fps)
    onset, offset = read_frame(row.onset), read_frame(row.offset)
    if onset is not None and offset is not None and onset >= offset:
        raise TableError(f"onset {onset} is not before offset {offset}")
    apex = _read_apex(row, onset, offset, note)
    places = _find_places(row, tree, base)
    if not places:
        looked = re.sub(r"\[([*?[])\]", r"\1", " or ".join(row.folders))  # without the marks of glob.escape
        raise TableError(f"there is no folder {looked} in {tree.name(base)}")
    place = places[0]
    if len(places) > 1:
        raise TableError(f"{len(places)} folders could be it: {', '.join(map(tree.name, places[:3]))}")
    frames = tree.frames(place)
    if not frames.files:
        raise TableError(f"the folder {tree.name(place)} holds no images")
    numbers = list(frames.files)
    first = numbers[0] if onset is None else onset
    last = numbers[-1] if offset is None else offset
    inside = {n: place / name for n, name in frames.files.items() if first <= n <= last}
    duplicate = next((n for n in frames.duplicates if n in inside), None)
    if duplicate is not None:
        raise TableError(f"two files are frame {duplicate}")
    expected = last - first + 1
    missing = expected - len(inside)
    if onset is not None and onset not in inside:
        raise TableError(f"its onset frame {onset} is missing; the folder holds {numbers[0]}..{numbers[-1]}")
    if missing > MAX_MISSING * expected or len(inside) < 2:
        raise TableError(f"{missing} of its {expected} frames are missing")
    if missing:
        shown = [n for n in range(first, last + 1) if n not in inside][:5]
        note(f"{missing} frame(s) missing: {', '.join(map(str, shown))}")
    for name, number in (("apex", apex), ("offset", offset)):
        if number is not None and number not in inside:
            note(f"its {name} frame {number} is missing: taken as not coded")
    for name, cell, number in (("onset", row.onset, onset), ("offset", row.offset, offset)):
        if number is None and not is_blank(cell):
            note(f"{name} is {shorten(cell, 60)}: not coded")
    if frames.invalid:
        note(f"{len(frames.invalid)} image(s) are links out of the root or no files: {frames.invalid[0]}")
    if (last - first) / fps > LONG_SECONDS:
        note(f"{expected} frames are {(last - first) / fps:.1f} s: longer than a micro-expression")
    index.missing += missing
    codes, unread = read_aus(None if str(row.aus).strip() == "-" else row.aus)
    if problem := find_au_issue(row.aus, codes, unread):
        note(problem)
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
        corrections=tuple(c for c in index.corrections if c.startswith(f"{row.key}: ")),
    )
    return record, place


def _read_apex(row: AnnotationRow, onset: int | None, offset: int | None, note: Callable[[str], None]) -> int | None:
    """The apex, or None with a note if it cannot be one."""
    try:
        apex = read_frame(row.apex)
    except TableError as error:
        return note(f"apex {error}: taken as not coded")
    if apex is None:
        return None if is_blank(row.apex) else note(f"apex is {shorten(row.apex, 60)}: not coded")
    if (onset is not None and apex < onset) or (offset is not None and apex > offset):
        return note(f"apex {apex} lies outside {onset}..{offset}: taken as not coded")
    if apex in (onset, offset):
        note(f"apex {apex} is the {'onset' if apex == onset else 'offset'} frame")
    return apex
