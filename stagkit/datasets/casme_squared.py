"""CAS(ME)^2, its 57 micro-expressions: long videos at 30 fps, of which a clip is the coded part.

``code_final.xlsx`` has no header. Its first sheet codes expressions, the second names the subjects' folders, the third the
videos: ``disgust1_1`` of subject 1 is the first expression in the video whose folder begins with ``15_0101``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.layout import Layout, SheetRow, exactly
from stagkit.datasets.sheets import SheetError, load_grids, read_text
from stagkit.datasets.tree import Tree

CARD = DatasetCard(
    name="casme-squared",
    title="CAS(ME)^2",
    grantor="the Institute of Psychology, Chinese Academy of Sciences",
    ask="ask at casme.psych.ac.cn",
    doi="10.1109/TAFFC.2017.2654440",
    camera="640x480 px (recalled)",
    fps="30 fps (recalled)",
    size="57 micro-expressions of 14 subjects: negative 21, others 19, surprise 9, positive 8; 300 macro-expressions unread",
    tree=("code_final.xlsx", "rawpic/s15/15_0101disgustingteeth/img1.jpg (or longVideoFaceCropped)"),
    checks="the three sheets of the workbook fit together",
    corrects="apex and offset 0 are 'not coded'",
)


def load_rows(sheets: Sequence[Path], tree: Tree, base: Path) -> list[SheetRow]:
    """Micro-expressions of the first sheet, folders by the naming rules of the other two."""
    grids = list(load_grids(sheets[0]).values())
    if len(grids) < 3:
        raise SheetError(f"{sheets[0].name} has {len(grids)} sheets, expected codes and two naming rules.")
    people = _pair(grids[1], r"\d{1,3}", r"s\d+")
    videos = _pair(grids[2], r"[a-z]+\d+", r"\d{3,4}")
    rows = []
    for number, row in enumerate(grids[0]):
        texts = [read_text(cell) for cell in (*row, *[None] * 9)[:9]]
        subject, clip, onset, apex, offset, aus, label, kind, _ = texts
        if not kind.lower().startswith("micro"):
            continue
        person = people.get(subject, f"s{subject}")
        video = videos.get(clip.lower().rpartition("_")[0], "")
        folder = f"{exactly(person)}/{exactly(person[1:])}_{exactly(video.zfill(4))}*" if video else exactly(clip)
        rows.append(
            SheetRow(
                subject=person,
                clip=clip,
                label=label,
                folders=(folder,),
                fps=30,
                onset=onset,
                apex="" if apex == "0" else apex,
                offset="" if offset == "0" else offset,
                aus=aus,
                row=number,
            )
        )
    return rows


def _pair(rows: Sequence[tuple], first: str, second: str) -> dict[str, str]:
    """Cell that looks like ``first`` -> cell of the same row that looks like ``second``, whatever their columns."""
    pairs = {}
    for row in rows:
        texts = [read_text(cell).lower() for cell in row]
        a = next((t for t in texts if re.fullmatch(first, t)), None)
        b = next((t for t in texts if t != a and re.fullmatch(second, t)), None)
        if a and b:
            pairs[a] = b
    return pairs


LAYOUT = Layout(
    card=CARD,
    load_rows=load_rows,
    sheets=("code_final*.xlsx",),
    bases=("rawpic", "longVideoFaceCropped"),
    whole_folders=False,
)
