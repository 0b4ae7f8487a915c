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
    return [replace(row, why=_find_contradiction(row)) for row in rows]


def _find_contradiction(row: AnnotationRow) -> str:
    own = row.clip.upper().partition("-")[0]
    if not row.subject or not row.clip or own == row.subject:
        return ""
    return f"the annotation file says subject {row.subject}, its name says {own}"


LAYOUT = Layout(
    card=load_card("mmew"),
    load_rows=load_rows,
    annotation_files=("MMEW_Micro_Exp*", "*MMEW*"),
    bases=("Micro_Expression",),
)
