"""CAS(ME)^2, its 57 micro-expressions: long videos at 30 fps, of which a clip is the coded part.

``CAS(ME)^2code_final.xlsx`` has no header: codes, then subject folders (``15, s15, 1``), then names of videos.
So ``disgust1_1`` of subject 1 is the first expression in the video whose folder begins with ``s15/15_0101``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from glob import escape
from pathlib import Path

from stagkit.core.files import shorten
from stagkit.datasets.cards import load_card
from stagkit.datasets.index import AnnotationRow, Layout
from stagkit.datasets.spreadsheets import TableError, is_empty, load_grids, name_subject, read_text
from stagkit.motion.frames import Tree


def load_rows(files: Sequence[Path], tree: Tree, base: Path) -> list[AnnotationRow]:
    """Micro-expressions of the first worksheet, folders by the naming rules of the other two."""
    grids = load_grids(files[0], tree.notes)
    if len(grids) < 3:
        raise TableError(f"{files[0].name} has {len(grids)} worksheets, expected codes and two naming rules.")
    codes, first, second = list(grids.values())[:3]
    subjects, videos = _read_subjects(first), _read_videos(second)
    rows = []
    for number, row in enumerate(codes):
        subject, clip, onset, apex, offset, aus, label, kind = (*row, *[None] * 8)[:8]
        subject, clip, kind = name_subject(subject), read_text(clip), read_text(kind).lower()
        if not kind.startswith("micro"):
            if any(not is_empty(cell) for cell in row) and not kind.startswith("macro"):
                tree.notes.append(
                    f"row {number + 1} of the codes is neither a micro- nor a macro-expression: {shorten(kind, 60)}"
                )
            continue
        folder_name = subjects.get(subject, "")
        video = videos.get(clip.lower().rpartition("_")[0], "")
        why = "" if folder_name else f"subject {shorten(subject, 60)} is in no row of the first naming rule"
        why = why or ("" if video else f"the video of {shorten(clip, 60)} is in no row of the second naming rule")
        folder = f"{escape(folder_name)}/{escape(folder_name[1:])}_{escape(video)}*"
        rows.append(
            AnnotationRow(
                subject=folder_name or f"code {subject}",
                clip=clip,
                label=label,
                folders=() if why else (folder,),
                fps=30,
                onset=onset,
                apex=None if read_text(apex) == "0" else apex,
                offset=None if read_text(offset) == "0" else offset,
                aus=aus,
                row=number,
                why=why,
            )
        )
    return rows


def _read_subjects(rows: Sequence[tuple]) -> dict[str, str]:
    """Subject number of the codes -> folder. The columns: position, folder (``s15``), subject number of the codes."""
    subjects: dict[str, str] = {}
    for row in rows:
        texts = [read_text(cell).lower() for cell in row]
        at = next((i for i, text in enumerate(texts) if re.fullmatch(r"s\d{1,3}", text)), None)
        code = name_subject(row[at + 1]) if at is not None and at + 1 < len(row) else ""
        if at is None or not re.fullmatch(r"\d{1,3}", code):
            continue
        if subjects.setdefault(code, texts[at]) != texts[at] or list(subjects.values()).count(texts[at]) > 1:
            raise TableError(
                f"the first naming rule pairs subject {code} or folder {texts[at]} twice: repair the workbook."
            )
    if not subjects:
        columns = "position, folder (s15) and subject number of the codes"
        raise TableError(f"the first naming rule has no row of {columns}: is it the official workbook?")
    return subjects


def _read_videos(rows: Sequence[tuple]) -> dict[str, str]:
    """Name of a video in the codes (``disgust1``) -> its four digits (``0101``), whichever column comes first."""
    videos: dict[str, str] = {}
    for row in rows:
        texts = [read_text(cell).lower() for cell in row]
        name = next((t for t in texts if re.fullmatch(r"[a-z]+\d+", t)), "")
        digits = next((t.zfill(4) for t in texts if re.fullmatch(r"\d{3,4}", t)), "")
        if name and digits and videos.setdefault(name, digits) != digits:
            raise TableError(f"the second naming rule pairs {name} with two videos: repair the workbook.")
    return videos


LAYOUT = Layout(
    card=load_card("casme-squared"),
    load_rows=load_rows,
    annotation_files=("*code*final*", "*CAS(ME)*2*code*"),
    bases=("rawpic", "longVideoFaceCropped"),
    whole_folders=False,
)
