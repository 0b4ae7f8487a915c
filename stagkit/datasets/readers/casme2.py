"""CASME II: 255 clips at 200 fps. One row a clip; frame numbers in file names are the numbers of the annotations, unpadded.

Clip names repeat across subjects and are irregular (``EP02_01f``, ``EP09f``, ``EP06_02_01``), so a clip is
``sub01/EP02_01f``.
"""

from __future__ import annotations

from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import CASME_COLUMNS, load_table, name_subject, read_text
from stagkit.motion.frames import Tree

CARD = DatasetCard(
    name="casme2",
    title="CASME II",
    provider="the Institute of Psychology, Chinese Academy of Sciences",
    contact="ask at casme.psych.ac.cn",
    doi="10.1371/journal.pone.0086041",
    camera="640x480 px, face about 280x340 px (recalled)",
    fps="200 fps",
    size="255 clips of 26 subjects: others 99, disgust 63, happiness 32, repression 27, surprise 25, sadness 7, fear 2",
    tree=(
        "CASME2-coding-20140508.xlsx (or the 2019 revision)",
        "CASME2_RAW_selected/sub01/EP02_01f/img46.jpg (or CASME2-RAW, Cropped)",
    ),
    checks=(
        "the revision of the annotation file (2019: three clips of sub24 move from sadness to surprise); folders without "
        "a row (sub09/EP02_02f, sub24/EP02_07)"
    ),
    corrects=(
        "the apex of sub04/EP12_01f ('/') and of sub05/EP09_05f (the onset frame) is 'not coded'; MEGC2019 leaves both out"
    ),
)


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
    card=CARD,
    load_rows=load_rows,
    annotation_files=("CASME2-coding*", "CASME2_label*", "*CASME*2*coding*", "*CASME*II*coding*"),
    bases=("CASME2_RAW_selected", "CASME2-RAW", "Cropped"),
)
