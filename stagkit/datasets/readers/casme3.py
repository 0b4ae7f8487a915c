"""CAS(ME)^3, parts A and C: long videos at 30 fps, of which a clip is the coded part. Only the colour frames are read.

Several micro-expressions lie in one video, so a clip of part A is ``spNO.1/a/ONSET``. Part C has no apex.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import load_table, name_subject, read_text
from stagkit.motion.frames import Tree

_SHARED = {"onset": ("Onset",), "offset": ("Offset",), "label": ("emotion",)}
_COLUMNS_A = {"subject": ("Subject",), "video": ("Filename",), "apex": ("Apex",), **_SHARED}
_COLUMNS_C = {"subject": ("sub",), "count": ("count",), **_SHARED}


def load_rows_a(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the worksheet ``label``."""
    rows = []
    for number, cells in load_table(files[0], _COLUMNS_A, {"aus": ("AU",)}, tree.notes):
        subject, video = name_subject(cells.pop("subject"), "spNO."), read_text(cells.pop("video"))
        clip = f"{video.lower()}/{read_text(cells['onset']) or 'none'}" if video else ""
        folder = escape(f"{subject}/{video}") + "/color"
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=(folder,), fps=30, row=number, **cells))
    return rows


def load_rows_c(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the worksheet ``mockCrimeME``."""
    rows = []
    for number, cells in load_table(files[0], _COLUMNS_C, {"aus": ("au",)}, tree.notes):
        subject = name_subject(cells.pop("subject"))
        count = read_text(cells.pop("count"))
        folders = tuple(f"{escape(s)}/*/color" for s in dict.fromkeys((subject, subject.zfill(2))) if subject)
        clip = f"{count}/{read_text(cells['onset']) or 'none'}" if count else ""
        subject = name_subject(subject, "c", 2)
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=folders, fps=30, row=number, **cells))
    return rows


PART_A = Layout(
    card=load_card("casme3"),
    load_rows=load_rows_a,
    annotation_files=("cas(me)3_part_A_ME_label_JpgIndex_v2*", "cas(me)3_part_A_ME_label*", "*part_A*ME_label*"),
    bases=("part_A",),
    whole_folders=False,
)
PART_C = Layout(
    card=load_card("casme3c"),
    load_rows=load_rows_c,
    annotation_files=("CAS(ME)3_part_C_ME*", "*part_C*ME*"),
    bases=("part_C/part_C", "part_C"),
    whole_folders=False,
)
