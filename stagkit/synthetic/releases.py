"""Phantoms laid out as the official releases are: folders, file names, annotation file, irregularities and all.

So that the readers of licensed sets can be tried, taught and tested without any licensed face. A mark (``phantom.json``)
lies beside the sheet; what is read from such a tree is called ``casme2-phantom``, never ``casme2``. Where a class is made of
several emotions, the sheet names them in turn: the class is what was planted.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.facs import AUCode
from stagkit.core.files import Progress, no_progress, resolve_inside, write_atomically, write_image, write_json
from stagkit.core.types import StagkitError
from stagkit.datasets.index import PHANTOM_MARK
from stagkit.datasets.writing import resume_writing
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.release_sheets import SCRIBES, Placed, Scribe

#: Layout -> the phantoms that are drawn in it where none are named.
LAYOUT_PRESETS = {name: scribe.preset for name, scribe in SCRIBES.items()}


def write_tree(source: PhantomSource, layout: str, root: str | Path, progress: Progress = no_progress) -> Path:
    """Write phantom clips as an official release has them: pictures, annotation file, and stored landmarks.

    Args:
        source: phantoms whose classes the layout's sheet can name.
        layout: one of ``LAYOUT_PRESETS``.
        root: a new or empty folder, or one that the same call left unfinished; ``phantom.json`` is written first, the
            sheets last.
        progress: wraps the clips and their number.

    Raises:
        StagkitError: no such layout, classes it has no word for, a folder that is not empty.
    """
    root = Path(root)
    if layout not in SCRIBES:
        raise StagkitError(f"there is no layout {layout!r}; expected one of {', '.join(SCRIBES)}.")
    scribe = SCRIBES[layout]
    strange = [c for c in source.classes if c not in scribe.emotions]
    if strange:
        raise StagkitError(
            f"the layout {layout} has no word for {', '.join(strange)}: use --preset {scribe.preset}, or another layout."
        )
    request = {"made by": "stagkit phantom", "layout": layout, "config": source.config.to_dict()}
    with resume_writing(root, request) as once:
        write_json(
            resolve_inside(root, PHANTOM_MARK), request
        )  # first: no part of the tree can be taken for real clips
        placed = []
        for i, key in enumerate(progress(source.keys, len(source.keys))):
            note = once(key, lambda key=key, i=i: asdict(_write_clip(source, key, i, scribe, root)))
            placed.append(Placed(**{**note, "aus": tuple(AUCode(**code) for code in note["aus"])}))
        if layout == "casme2":
            _write_unlisted(root / "CASME2_RAW_selected" / "sub01" / "EP02_07")
        for name, sheets in scribe.sheets(placed).items():
            _write_book(resolve_inside(root, name), sheets)
    return root


def _write_clip(source: PhantomSource, key: str, number: int, scribe: Scribe, root: Path) -> Placed:
    """Pictures and landmarks of one clip."""
    s, n = divmod(number, source.config.clips)
    clip = source.read(key)
    words = scribe.emotions[clip.label]
    onset = clip.onset or 0
    offset = len(clip.frames) - 1 if clip.offset is None else clip.offset
    shift = scribe.first(s, n) - (0 if scribe.whole else onset)  # number of a frame = its position + shift
    p = Placed(
        s=s,
        n=n,
        emotion=words[number // len(source.classes) % len(words)],
        onset=onset + shift,
        apex=None if clip.apex is None else clip.apex + shift,
        offset=offset + shift,
        fps=clip.fps,
        aus=clip.aus or (),
    )
    for t in range(len(clip.frames)) if scribe.whole else range(onset, offset + 1):
        frame = clip.frames[t]
        path = resolve_inside(root, f"{scribe.folder(p)}/{scribe.file(p, t + shift)}")
        quality = (cv2.IMWRITE_JPEG_QUALITY, 98) if path.suffix == ".jpg" else ()
        write_image(path, frame[..., ::-1] if frame.ndim == 3 else frame, quality)
    if clip.landmarks is not None:
        with write_atomically(resolve_inside(root, f"landmarks/{scribe.key(p)}.npy")) as aside:
            np.save(aside, clip.landmarks[onset : offset + 1].astype(np.float32))
    return p


def _write_book(path: Path, sheets: dict[str, list[list]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    with write_atomically(path) as aside:
        book.save(aside)


def _write_unlisted(folder: Path) -> None:
    """A folder that no row names, as sub24/EP02_07 in the sheet of 2014."""
    for number in (61, 62, 63):
        write_image(folder / f"img{number}.jpg", np.full((16, 16), 128, np.uint8))
