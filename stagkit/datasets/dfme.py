"""DFME, released part: 2,629 clips at 200, 300 or 500 fps in three parts with different subjects.

Clips lie flat, one folder each, without a folder for the subject; every part has a sheet of its own, and the part is told
by its name (``training``, ``testA``, ``testB``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.layout import Layout, SheetRow, exactly
from stagkit.datasets.sheets import load_table, read_text
from stagkit.datasets.tree import Tree

CARD = DatasetCard(
    name="dfme",
    title="DFME",
    grantor="MEA-LAB, University of Science and Technology of China",
    ask="ask the authors of the paper",
    doi="10.1109/TAFFC.2023.3341918",
    camera="1024x768 px (recalled)",
    fps="200, 300 or 500 fps, one a subject",
    size="2,629 clips of 259 subjects: train 1,856 of 176, testA 474 of 42, testB 299 of 41; seven emotions",
    tree=(
        "DFME_training*.xlsx, and for the test parts sheets with DFME and testA or testB in their names",
        "DFME_train/sub0003_01/00109.png, dfme_testA/..., test_data_B/test_data_B/...",
    ),
    checks="subjects of the parts are disjoint",
)

_COLUMNS = {
    "subject": ("Subject",),
    "clip": ("Filename",),
    "onset": ("OnsetFrame",),
    "apex": ("ApexFrame",),
    "offset": ("OffsetFrame",),
    "label": ("Emotion",),
    "fps": ("Fps",),
}
_FOLDERS = (
    "{}",
    "dfme_train/{}",
    "dfme_testa/{}",
    "dfme_testb/{}",
    "test_data_[ab]/test_data_[ab]/{}",
    "test_data_[ab]/{}",
)


def name_part(sheet: str) -> str:
    """The official part a sheet is of, by its file name; '' where it does not say."""
    text = re.sub(r"[^a-z]", "", sheet.lower())
    return "train" if "train" in text else "testA" if "testa" in text else "testB" if "testb" in text else ""


def load_rows(sheets: Sequence[Path], tree: Tree, base: Path) -> list[SheetRow]:
    """Rows of all sheets found."""
    rows = []
    for sheet in sheets:
        part = name_part(sheet.stem)
        for number, cells in load_table(sheet, _COLUMNS, {"aus": ("AU",)}):
            clip = read_text(cells.pop("clip"))
            folders = tuple(pattern.format(exactly(clip)) for pattern in _FOLDERS)
            subject = read_text(cells.pop("subject"))
            rows.append(SheetRow(subject=subject, clip=clip, folders=folders, part=part, row=number, **cells))
    return rows


LAYOUT = Layout(card=CARD, load_rows=load_rows, sheets=("*DFME*.xlsx",), bases=(), several=True)
