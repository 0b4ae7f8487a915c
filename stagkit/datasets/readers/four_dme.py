"""4DME, grey camera: 267 micro-expressions at 60 fps, each with one emotion or several.

Several emotions become one label joined by ``+`` in the order of the columns (``positive+surprise``); the class
mappings leave such clips out. ``(k)`` marks an action unit that is held throughout: it is no movement of the clip.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import load_table, read_text
from stagkit.motion.frames import Tree

EMOTIONS = ("Positive", "Negative", "Surprise", "Repression", "Others")
_CELLS = {name: (name.title(),) for name in ("onset", "apex", "offset")}
_COLUMNS = {"subject": ("sub_ID",), "clip": ("fold_name",), **_CELLS, **{name: (name,) for name in EMOTIONS}}


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Rows of the release file; the ``extras`` file is not needed."""
    rows = []
    for number, cells in load_table(files[0], _COLUMNS, {"aus": ("AUs",), "emotion": ("Emotion",)}, tree.notes):
        subject, clip = read_text(cells["subject"]), read_text(cells["clip"])
        label = "+".join(name.lower() for name in EMOTIONS if read_text(cells[name]) == "1")
        wrong = [name for name in EMOTIONS if read_text(cells[name]) not in ("0", "1", "")]
        why = f"its cell {wrong[0]} is {cells[wrong[0]]!r}, expected 0 or 1" if wrong else ""
        worded = re.split(r"[^a-z]+", read_text(cells["emotion"]).lower()) if cells["emotion"] else []
        if worded and label and set(worded) != set(label.split("+")) and set(worded) <= {n.lower() for n in EMOTIONS}:
            why = f"its columns say {label}, its emotion {cells['emotion']}"
        rows.append(
            AnnotationRow(
                subject=subject,
                clip=clip,
                label=label,
                folders=(escape(f"{subject}/{clip}"),),
                fps=60,
                row=number,
                why=why,
                **{name: cells[name] for name in (*_CELLS, "aus")},
            )
        )
    return rows


LAYOUT = Layout(
    card=load_card("4dme"),
    load_rows=load_rows,
    annotation_files=("4DME_Labelling_Micro_release*", "*4DME*Micro_release*"),
    bases=("gray_micro", "gray_micro_crop"),
)
