"""SAMM: 159 clips at 200 fps, grey. The header of the annotation file is in row 14 (or 1, in stripped copies).

Frame numbers are padded to four digits in some clips and to five in others, so they are matched as numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout, load_casme_rows
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of ``MICRO_ONLY``; subjects are written ``006`` or, by Excel, 6."""
    return load_casme_rows(files[0], tree.notes, fps=200, digits=3)


LAYOUT = Layout(
    card=load_card("samm"),
    load_rows=load_rows,
    annotation_files=("SAMM*FACS_Codes*", "SAMM*Micro*", "SAMM", "*SAMM*"),
    bases=("SAMM",),
)
