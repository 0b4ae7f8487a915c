"""SMIC-HS: 164 clips at 100 fps; no apex, no action units.

The cropped and raw releases have no annotations: the folders say subject, emotion and clip. SMIC-E keeps long clips and an
annotation file that says where in them the micro-expressions are; several may share a clip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from glob import escape
from pathlib import Path

from stagkit.core.files import shorten
from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import is_empty, load_table, read_text
from stagkit.motion.frames import Tree

#: Folders of clips below the base of the cropped and raw releases.
_CLIPS = "s*/micro/*/s*_*"

_EMOTIONS = {"ne": "negative", "po": "positive", "sur": "surprise"}
_SPANS = {"onset": ("OnsetF", "OnsetFrame"), "offset": ("OffsetF", "OffsetFrame")}
_COLUMNS = {"subject": ("Subject",), "clip": ("Filename",), **_SPANS}
_MORE = {f"{name}{k}": (f"{name.title()}{k}F",) for k in (2, 3) for name in _SPANS}
_MORE["label"] = ("Emotion", "Estimated Emotion")


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the annotation file if there is one, otherwise the folders of the cropped or raw release."""
    return _load_table(files[0], tree.notes) if files else _load_folders(tree, base)


def _load_folders(tree: Tree, base: Path) -> list[AnnotationRow]:
    rows = []
    for folder in tree.match(base, _CLIPS):
        subject, _, emotion, clip = folder.relative_to(base).parts
        place = escape(folder.relative_to(base).as_posix())
        named, own = _read_emotion(clip), _name_subject(clip)
        why = "" if own == _name_subject(subject) else f"its folder says subject {subject}, its name says {own}"
        rows.append(AnnotationRow(_name_subject(subject), clip, emotion.lower(), (place,), 100, why=why, named=named))
    full = {folder.relative_to(base).parts[0] for folder in tree.match(base, _CLIPS)}
    empty = [folder.name for folder in tree.match(base, "s*") if folder.name not in full]
    tree.notes += [f"subject folder {name} holds no clips: expected micro/EMOTION/CLIP in it" for name in empty]
    return rows


def _load_table(path: Path, notes: list[str]) -> list[AnnotationRow]:
    """One row per clip; a second and third micro-expression of a long clip become clips of their own (``_me2``, ``_me3``).

    Some files list such a micro-expression again in its own row, which is then used.
    """
    rows, further = [], []
    for number, cells in load_table(path, _COLUMNS, _MORE, notes):
        clip = read_text(cells["clip"])
        if not re.fullmatch(r"s\d+_[a-z]+_\d+", clip.lower()):
            notes.append(f"row {number + 1} below the header names no clip: {shorten(clip or cells['subject'], 60)}")
            continue  # remarks below the table
        subject = _name_subject(read_text(cells["subject"]) or clip)
        own = _name_subject(clip)
        why = "" if own == subject else f"the annotation file says subject {subject}, its name says {own}"
        label, named = read_text(cells["label"]).lower() or _read_emotion(clip), _read_emotion(clip)
        folders = tuple(
            pattern
            for s in dict.fromkeys((subject, f"s{int(own[1:]):02d}"))
            for pattern in (escape(f"{s}/{clip}"), f"{s}/micro/*/{escape(clip)}")
        )
        for k in ("", "2", "3"):
            if k and is_empty(cells[f"onset{k}"]):
                continue
            name = f"{clip}_me{k}" if k else clip
            onset, offset = cells[f"onset{k}"], cells[f"offset{k}"]
            row = AnnotationRow(
                subject, name, label, folders, 100, onset=onset, offset=offset, row=number, why=why, named=named
            )
            (further if k else rows).append(row)
    coded = {_span(row): i for i, row in enumerate(rows)}
    for row in further:
        i = coded.setdefault(_span(row), len(rows))
        if i < len(rows):
            rows[i] = replace(rows[i], spare=row.folders)  # its frames may lie in the folder of the long clip alone
            row = replace(row, why=f"it has the frames of {rows[i].clip}")
        rows.append(row)
    return sorted(rows, key=lambda row: row.row)


def _span(row: AnnotationRow) -> tuple[str, str, str]:
    return row.subject, read_text(row.onset), read_text(row.offset)


def _name_subject(text: str) -> str:
    """``1``, ``s01`` and ``s1_ne_01`` are all subject ``s1``."""
    number = re.search(r"\d+", text)
    return f"s{int(number.group()[:6])}" if number else text


def _read_emotion(clip: str) -> str:
    parts = clip.lower().split("_")
    return _EMOTIONS.get(parts[1], "") if len(parts) > 1 else ""


LAYOUT = Layout(
    card=load_card("smic"),
    load_rows=load_rows,
    annotation_files=("SMIC-HS-E_annotation*", "SMIC*HS*", "SMIC*annotation*"),
    clips=_CLIPS,
    bases=("SMIC_all_cropped/HS", "SMIC_all_raw/HS", "SMIC-HS-E", "SMIC-E_raw image/HS_long/SMIC-HS-E", "HS"),
    needs_annotations=False,
)
