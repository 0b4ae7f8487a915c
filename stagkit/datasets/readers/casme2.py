"""CASME II: 255 clips at 200 fps. Frame numbers in file names are those of the annotation file, unpadded.

Clip names repeat across subjects and are irregular (``EP02_01f``, ``EP09f``, ``EP06_02_01``), so a clip is
``sub01/EP02_01f``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout, load_casme_rows
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of ``Sheet1``; subjects are written ``01`` or, by Excel, 1."""
    return load_casme_rows(files[0], tree.notes, fps=200, prefix="sub", digits=2)


LAYOUT = Layout(
    card=load_card("casme2"),
    load_rows=load_rows,
    annotation_files=("CASME2-coding*", "CASME2_label*", "*CASME*2*coding*", "*CASME*II*coding*"),
    bases=("CASME2_RAW_selected", "CASME2-RAW", "Cropped"),
)
