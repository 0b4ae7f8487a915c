"""SAMM: 159 clips at 200 fps, grey. The annotation file's header stands on row 14 (or 1, in stripped copies).

Frame numbers are padded to four digits in some clips and to five in others, so they are matched as numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import load_table, name_subject, read_text
from stagkit.motion.frames import Tree

_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("Onset Frame",),
    "apex": ("Apex Frame",),
    "offset": ("Offset Frame",),
    "label": ("Estimated Emotion", "Emotion"),
}


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of ``MICRO_ONLY``; subjects are written ``006`` or, by Excel, 6."""
    rows = []
    for number, cells in load_table(files[0], _COLUMNS, {"aus": ("Action Units",)}, tree.notes):
        subject, clip = name_subject(cells.pop("subject"), "", 3), read_text(cells.pop("clip"))
        folder = escape(f"{subject}/{clip}")
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=(folder,), fps=200, row=number, **cells))
    return rows


LAYOUT = Layout(
    card=load_card("samm"),
    load_rows=load_rows,
    annotation_files=("SAMM*FACS_Codes*", "SAMM*Micro*", "SAMM", "*SAMM*"),
    bases=("SAMM",),
)
