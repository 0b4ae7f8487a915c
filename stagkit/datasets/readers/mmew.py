"""MMEW: 300 clips at 90 fps, in folders by emotion; the frames of a clip are 1 to offset."""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import CASME_COLUMNS, load_table, name_subject, read_text
from stagkit.motion.frames import Tree

CARD = DatasetCard(
    name="mmew",
    title="MMEW",
    provider="the authors of the paper",
    contact="write to them",
    doi="10.1109/TPAMI.2021.3067464",
    camera="1920x1080 px (recalled), released as 231x231 px crops",
    fps="90 fps (recalled)",
    size="300 clips of 30 subjects: surprise 89, disgust 72, others 66, happiness 36, fear 16, sadness 13, anger 8",
    tree=("MMEW_Micro_Exp.xlsx (or .csv)", "Micro_Expression/EMOTION/S01-01-001/1.jpg"),
    checks="offset against the frames of the folder: several rows of subjects 4 and 13 look shifted",
    corrects="one such row, by row number and only where the faulty values stand",
)


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
    card=CARD,
    load_rows=load_rows,
    annotation_files=("MMEW_Micro_Exp*", "*MMEW*"),
    bases=("Micro_Expression",),
)
