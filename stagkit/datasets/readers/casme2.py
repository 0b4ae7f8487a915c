"""CASME II: 255 clips at 200 fps. One row a clip; frame numbers in file names are the numbers of the annotations, unpadded.

Clip names repeat across subjects and are irregular (``EP02_01f``, ``EP09f``, ``EP06_02_01``), so a clip is
``sub01/EP02_01f``.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import CASME_COLUMNS, load_table, name_subject, read_text
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of ``Sheet1``; subjects are written ``01`` or, by Excel, 1."""
    rows = []
    for number, cells in load_table(files[0], CASME_COLUMNS, {"aus": ("Action Units",)}, tree.notes):
        subject = name_subject(cells.pop("subject"), "sub", 2)
        clip = read_text(cells.pop("clip"))
        folder = escape(f"{subject}/{clip}")
        rows.append(AnnotationRow(subject=subject, clip=clip, folders=(folder,), fps=200, row=number, **cells))
    return rows


LAYOUT = Layout(
    card=load_card("casme2"),
    load_rows=load_rows,
    annotation_files=("CASME2-coding*", "CASME2_label*", "*CASME*2*coding*", "*CASME*II*coding*"),
    bases=("CASME2_RAW_selected", "CASME2-RAW", "Cropped"),
)
