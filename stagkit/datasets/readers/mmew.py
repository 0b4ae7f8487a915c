"""MMEW: 300 clips at 90 fps, in folders by emotion; the frames of a clip are 1 to offset."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import CASME_COLUMNS, load_table, name_subject, read_text
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the annotation file; a clip lies in the folder of whichever emotion holds its name."""
    rows = []
    for number, cells in load_table(files[0], CASME_COLUMNS, {"aus": ("Action Units",)}, tree.notes):
        clip = read_text(cells.pop("clip"))
        subject = name_subject(cells.pop("subject"), "S", 2)
        folders = (f"*/{escape(clip)}",)
        own = clip.upper().partition("-")[0]
        why = (
            f"the annotation file says subject {subject}, its name says {own}"
            if subject and clip and own != subject
            else ""
        )
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=folders, fps=90, row=number, why=why, **cells))
    return rows


LAYOUT = Layout(
    card=load_card("mmew"),
    load_rows=load_rows,
    annotation_files=("MMEW_Micro_Exp*", "*MMEW*"),
    bases=("Micro_Expression",),
)
