"""MMEW: 300 clips at 90 fps, in folders by emotion; the frames of a clip are 1 to offset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout, load_casme_rows
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the annotation file; a clip lies in the folder of its emotion."""
    rows = load_casme_rows(files[0], tree.notes, fps=90, prefix="S", digits=2, folder="*/{clip}")
    for i, row in enumerate(rows):
        own = row.clip.upper().partition("-")[0]
        if row.subject and row.clip and own != row.subject:
            rows[i] = replace(row, why=f"the annotation file says subject {row.subject}, its name says {own}")
    return rows


LAYOUT = Layout(
    card=load_card("mmew"),
    load_rows=load_rows,
    annotation_files=("MMEW_Micro_Exp*", "*MMEW*"),
    bases=("Micro_Expression",),
)
