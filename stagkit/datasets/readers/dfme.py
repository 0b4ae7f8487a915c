"""DFME, released part: 2,629 clips at 200, 300 or 500 fps in three parts with different subjects.

Clips lie flat, one folder each, without a folder for the subject; every part has its own annotation file, and its name
says which part (``training``, ``testA``, ``testB``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.core.files import shorten
from stagkit.datasets.cards import load_card
from stagkit.datasets.index import CASME_COLUMNS, AnnotationRow, Layout
from stagkit.datasets.spreadsheets import load_table, read_text
from stagkit.motion.frames import Tree

_COLUMNS = {**CASME_COLUMNS, "fps": ("Fps",)}
_EMOTIONS = ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")
_RATES = ("200", "300", "500")


def name_part(stem: str) -> str:
    """The official part in the name of an annotation file; '' if there is none."""
    text = re.sub(r"[^a-z]", "", stem.lower())
    return "train" if "train" in text else "testA" if "testa" in text else "testB" if "testb" in text else ""


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of all annotation files."""
    rows = []
    for file in files:
        part = name_part(file.stem)
        for number, cells in load_table(file, _COLUMNS, {"aus": ("AU",), "emotion_id": ("EmotionId",)}, tree.notes):
            names = {"subject": read_text(cells.pop("subject")), "clip": read_text(cells.pop("clip"))}
            why = _find_contradiction(**names, cells=cells, emotion_id=cells.pop("emotion_id"))
            folders = (escape(names["clip"]),)
            rows.append(AnnotationRow(**names, folders=folders, part=part, row=number, why=why, **cells))
    return rows


def _find_contradiction(subject: str, clip: str, cells: dict[str, object], emotion_id: object) -> str:
    """A contradiction within a row; '' if there is none."""
    label, number, rate = read_text(cells["label"]).lower(), read_text(emotion_id), read_text(cells["fps"])
    if subject and clip and clip.rpartition("_")[0] != subject:
        return f"the annotation file says subject {subject}, its name says {clip.rpartition('_')[0]}"
    if label in _EMOTIONS and number and number != str(_EMOTIONS.index(label)):
        return f"its emotion {label} is number {_EMOTIONS.index(label)}, the annotation file says {shorten(number, 60)}"
    return "" if rate in _RATES else f"fps is {shorten(rate, 60)}, expected one of {', '.join(_RATES)}"


LAYOUT = Layout(
    card=load_card("dfme"),
    load_rows=load_rows,
    annotation_files=("*DFME*", "*training*full*", "*train*with_AU*", "test*A*", "test*B*"),
    bases=("dfme_train", "train_data", "dfme_testa", "dfme_testb", "test_data_a", "test_data_b"),
    name_part=name_part,
)
