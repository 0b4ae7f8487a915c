"""Phantoms written in the layouts of official releases: folders, file names, annotation files and their irregularities.

The readers of licensed data sets are tested and taught with them. ``phantom.json`` marks such a folder: what is read from
it is called ``casme2-phantom``, never ``casme2``. Every irregularity occurs in the release (source: its reader).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from stagkit.core.facs import AUCode
from stagkit.core.files import Progress, no_progress, resolve_inside, write_atomically, write_json
from stagkit.core.types import StagkitError
from stagkit.datasets.index import PHANTOM_MARK
from stagkit.datasets.manifest import resume_writing
from stagkit.motion.images import write_image
from stagkit.synthetic.dataset import PhantomSource

_POSITIVE = {"positive": ("happiness",), "surprise": ("surprise",)}
_SEVEN = {n: (n,) for n in ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")}
_FOUR = {n: (n,) for n in ("negative", "positive", "surprise", "others")}
_CASME3 = {**_FOUR, "negative": ("disgust", "fear", "anger", "sad"), "positive": ("happy",)}

#: Irregular clip names of CASME II; they repeat across subjects.
_CASME2_NAMES = ("EP02_01f", "EP03_02", "EP09f", "EP01_2", "EP06_02_01", "EP06_02_02", "EP08_1", "EP12_01f")
_SMIC_SUBJECTS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
_SMIC_EMOTIONS = {"negative": "ne", "positive": "po", "surprise": "sur"}
#: Videos of CAS(ME)^2: name in the codes, number and title of the folder.
_VIDEOS = (("anger1", "0401", "girlcrashing"), ("disgust1", "0101", "disgustingteeth"), ("happy1", "0502", "cat"))


@dataclass(frozen=True)
class PlacedClip:
    """A row of an annotation file: clip ``n`` of subject ``s`` (both from 0), its emotion, frame numbers, fps and AUs."""

    s: int
    n: int
    emotion: str
    onset: int
    apex: int | None
    offset: int
    fps: float
    aus: tuple[AUCode, ...]

    def format_aus(self, joint: str = "+", side_last: bool = False) -> str | int | None:
        """The cell of the AUs; a single number is a number, as Excel stores it."""
        texts = [f"{c.number}{c.side}" if side_last else f"{c.side}{c.number}" for c in self.aus]
        return int(texts[0]) if len(texts) == 1 and texts[0].isdigit() else joint.join(texts) or None


#: File name -> worksheet -> rows.
Books = dict[str, dict[str, list[list]]]


@dataclass(frozen=True)
class ReleaseLayout:
    """How a release is laid out."""

    emotions: dict[str, tuple[str, ...]]  # class -> words of the annotation file
    first: Callable[[int, int], int]  # (subject, clip) -> number of the first frame
    key: Callable[[PlacedClip], str]  # name of the clip, as the reader gives it
    path: Callable[[PlacedClip, str, int], str]  # (clip, key, frame number) -> path of the frame
    books: Callable[[Sequence[tuple[PlacedClip, list[str]]]], Books]  # all clips and their keys -> annotation files
    preset: str = "casme2"  # phantoms that are drawn by default
    whole: bool = False  # frames outside onset..offset are written too


def _one_book(name: str, sheet: str, columns: str, row: Callable[[int, PlacedClip, list[str]], list]) -> Callable:
    """Annotations in one worksheet: a header and a row per clip."""
    return lambda clips: {name: {sheet: [columns.split("|"), *(row(i, p, key) for i, (p, key) in enumerate(clips))]}}


def _casme2_books(clips: Sequence[tuple[PlacedClip, list[str]]]) -> Books:
    """Two columns without a name; one apex is a slash, one subject a number, one row empty."""
    head = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"]
    rows: list[list] = [[*head, "Estimated Emotion"]]
    for i, (p, (_, clip)) in enumerate(clips):
        subject, apex = p.s + 1 if i == 2 else f"{p.s + 1:02d}", "/" if i == 1 else p.apex
        rows.append([subject, clip, None, p.onset, apex, p.offset, None, p.format_aus(), p.emotion])
    return {"CASME2-coding-20140508.xlsx": {"Sheet1": [*rows, [None] * 9], "Sheet2": [], "Sheet3": []}}


def _samm_path(p: PlacedClip, key: str, number: int) -> str:
    """Four digits in every other clip, five in the rest; one file per clip has the other number of digits."""
    digits = 4 + p.n % 2
    digits = 9 - digits if number == p.onset + 1 else digits
    return f"SAMM/{key}/{p.s + 6:03d}_{number:0{digits}d}.jpg"


def _samm_books(clips: Sequence[tuple[PlacedClip, list[str]]]) -> Books:
    """Thirteen rows of preamble; the duration is a formula; spaces around some plus signs."""
    head = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro"]
    rows: list[list] = [["SAMM Dataset - phantoms in its layout, no real people"], *[[None]] * 12]
    rows.append([*head, "Action Units", "Estimated Emotion", "Objective Classes", "Notes"])
    for i, (p, key) in enumerate(clips):
        times = [p.onset, p.apex, p.offset, f"=SUM(F{i + 15}-D{i + 15})+1"]
        aus = p.format_aus(" + " if i % 3 == 2 else "+")
        rows.append([*key, 1, *times, "Micro - 1/2", aus, p.emotion.capitalize(), 7, None])
    return {"SAMM_Micro_FACS_Codes_v2.xlsx": {"MICRO_ONLY": rows}}


def _smic_key(p: PlacedClip) -> str:
    subject = _SMIC_SUBJECTS[p.s] if p.s < len(_SMIC_SUBJECTS) else p.s + 10
    return f"s{subject}/s{subject}_{_SMIC_EMOTIONS[p.emotion]}_{p.n + 1:02d}"


def _four_dme_row(i: int, p: PlacedClip, key: list[str]) -> list:
    """Five 0/1 columns; ``AU`` before some codes; an AU that is held, marked ``(k)``."""
    aus = f"{'AU' if i % 2 else ''}{p.format_aus()}{'+45(k)' if i % 3 == 1 else ''}"
    flags = [int(name == p.emotion) for name in ("positive", "negative", "surprise", "repression", "others")]
    return [p.s % 5, *key, aus, *flags, p.emotion.capitalize(), p.onset, p.apex, p.offset, p.offset - p.onset + 1]


def _dfme_books(clips: Sequence[tuple[PlacedClip, list[str]]]) -> Books:
    """The last two of at least four subjects are the test parts."""
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId", "Fps", "AU"]
    n_subjects, books = 1 + max(p.s for p, _ in clips), {}
    parts = {n_subjects - 2: "testA", n_subjects - 1: "testB"} if n_subjects > 3 else {}
    for p, key in clips:
        name = f"DFME_{parts.get(p.s, 'training_full_with_AU')}.xlsx"
        emotion = [p.emotion, list(_SEVEN).index(p.emotion)]
        row = [*key, p.onset, p.apex, p.offset, *emotion, int(p.fps), p.format_aus()]
        books.setdefault(name, {"Sheet1": [head]})["Sheet1"].append(row)
    return books


def _squared_path(p: PlacedClip, key: str, number: int) -> str:
    _, video, title = _VIDEOS[p.n % len(_VIDEOS)]
    return f"rawpic/s{p.s + 15}/{p.s + 15}_{video}{title}/img{number}.jpg"


def _squared_books(clips: Sequence[tuple[PlacedClip, list[str]]]) -> Books:
    """No header; a macro-expression without apex and offset after each subject's first clip; codes keep their zero."""
    codes: list[list] = []
    for p, (_, clip) in clips:
        times = [p.onset, p.apex, p.offset]
        codes.append([p.s + 1, clip, *times, p.format_aus(), p.emotion, "micro-expression", "happyiness"])
        if p.n == 0:
            codes.append([p.s + 1, "happy1_9", p.offset, 0, 0, 12, "positive", "macro-expression", "happyiness"])
    subjects = [[k + 14, f"s{k + 14}", k] for k in range(1, 2 + max(p.s for p, _ in clips))]
    rules = {"naming rule1": subjects, "naming rule2": [[number, name] for name, number, _ in _VIDEOS]}
    return {"CAS(ME)^2code_final.xlsx": {"CASFEcode_final": codes, **rules}}


def _casme3_video(p: PlacedClip) -> str:
    """Two clips per video; one letter is upper case, as in places of the release."""
    return "J" if p.n // 2 == 1 else "abcdefghiklm"[p.n // 2 % 12]


def _casme3_row(i: int, p: PlacedClip, key: list[str]) -> list:
    emotion = p.emotion.capitalize() if i % 4 == 3 else p.emotion
    return [*key[:2], p.onset, p.apex, p.offset, p.format_aus(), "VII", emotion]


def _casme3c_row(i: int, p: PlacedClip, key: list[str]) -> list:
    """AUs joined by commas, in every other row by Chinese ones; no apex."""
    return [p.s + 1, p.n + 1, p.onset, p.offset, p.format_aus("，" if i % 2 else ","), p.emotion]


def _mmew_row(i: int, p: PlacedClip, key: list[str]) -> list:
    """The side of an AU comes first, in every other row last."""
    return [p.s + 1, key[1], p.onset, p.apex, p.offset, p.format_aus(side_last=i % 2 == 1), p.emotion, None]


LAYOUTS = {
    "casme2": ReleaseLayout(
        emotions={"negative": ("disgust", "repression"), **_POSITIVE},
        first=lambda s, n: 40 + 30 * n,
        key=lambda p: f"sub{p.s + 1:02d}/{_CASME2_NAMES[p.n] if p.n < len(_CASME2_NAMES) else f'EP{p.n:02d}_03'}",
        path=lambda p, key, number: f"CASME2_RAW_selected/{key}/img{number}.jpg",
        books=_casme2_books,
    ),
    "samm": ReleaseLayout(
        preset="samm",
        emotions={"negative": ("anger", "contempt", "disgust", "fear", "sadness"), **_POSITIVE},
        first=lambda s, n: 170 + 97 * n,
        key=lambda p: f"{p.s + 6:03d}/{p.s + 6:03d}_{p.n // 5 + 1}_{p.n % 5 + 1}",
        path=_samm_path,
        books=_samm_books,
        whole=True,
    ),
    "smic": ReleaseLayout(
        preset="smic",
        emotions={name: (name,) for name in _SMIC_EMOTIONS},
        first=lambda s, n: 76_530 + 310_000 * n,
        key=_smic_key,
        path=lambda p, key, n: f"SMIC_all_cropped/HS/{key.replace('/', f'/micro/{p.emotion}/')}/reg_image{n:06d}.bmp",
        books=lambda clips: {},
    ),
    "4dme": ReleaseLayout(
        preset="4dme",
        emotions={**_FOUR, "repression": ("repression",)},
        first=lambda s, n: 9 + 45 * n,
        key=lambda p: f"S{p.s + 1:02d}/S{p.s + 1:02d}_1st_{p.n + 1:03d}_01_1",
        path=lambda p, key, number: f"gray_micro/{key}/{number}.png",
        books=_one_book(
            "4DME_Labelling_Micro_release v1.xlsx",
            "Sheet1",
            "fold|sub_ID|fold_name|AUs|Positive|Negative|Surprise|Repression|Others|Emotion|Onset|Apex|Offset|Total",
            _four_dme_row,
        ),
    ),
    "dfme": ReleaseLayout(
        preset="dfme",
        emotions=_SEVEN,
        first=lambda s, n: 20 + 31 * n,
        key=lambda p: f"sub{p.s + 3:04d}/sub{p.s + 3:04d}_{p.n + 1:02d}",
        path=lambda p, key, number: f"DFME_train/{key.split('/')[1]}/{number:05d}.png",
        books=_dfme_books,
    ),
    "casme-squared": ReleaseLayout(
        emotions=_FOUR,
        first=lambda s, n: 1 + 300 * (n // len(_VIDEOS)),
        key=lambda p: f"s{p.s + 15}/{_VIDEOS[p.n % len(_VIDEOS)][0]}_{p.n // len(_VIDEOS) + 1}",
        path=_squared_path,
        books=_squared_books,
        whole=True,
    ),
    "casme3": ReleaseLayout(
        emotions=_CASME3,
        first=lambda s, n: 80 + 250 * (n % 2),
        key=lambda p: f"spNO.{p.s + 1}/{_casme3_video(p).lower()}/{p.onset}",
        path=lambda p, key, number: f"part_A/spNO.{p.s + 1}/{_casme3_video(p)}/color/{number}.jpg",
        books=_one_book(
            "cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx",
            "label",
            "Subject|Filename|Onset|Apex|Offset|AU|Objective class|emotion",
            _casme3_row,
        ),
        whole=True,
    ),
    "casme3c": ReleaseLayout(
        emotions=_FOUR,
        first=lambda s, n: 355 + 250 * n,
        key=lambda p: f"c{p.s + 1:02d}/{p.n + 1}/{p.onset}",
        path=lambda p, key, number: f"part_C/{p.s + 1:02d}/a/color/{number}.jpg",
        books=_one_book("CAS(ME)3_part_C_ME.xlsx", "mockCrimeME", "sub|count|onset|offset|au|emotion", _casme3c_row),
        whole=True,
    ),
    "mmew": ReleaseLayout(
        emotions={"negative": ("disgust", "anger", "fear", "sadness"), **_POSITIVE},
        first=lambda s, n: 1,
        key=lambda p: f"S{p.s + 1:02d}/S{p.s + 1:02d}-{p.n % 9 + 1:02d}-{p.n + 1:03d}",
        path=lambda p, key, number: f"Micro_Expression/{p.emotion}/{key.split('/')[1]}/{number}.jpg",
        books=_one_book(
            "MMEW_Micro_Exp.xlsx",
            "Sheet1",
            "Subject|Filename|OnsetFrame|ApexFrame|OffsetFrame|Action Units|Estimated Emotion|remarks",
            _mmew_row,
        ),
    ),
}


def write_tree(
    source: PhantomSource, layout: str, root: str | Path, progress: Progress = no_progress, workers: int = 1
) -> Path:
    """Write phantom clips in the layout of a release: frames, annotation files, landmarks.

    Args:
        source: phantoms whose classes the layout, one of ``LAYOUTS``, can name.
        root: a new or empty folder, or one that the same call left unfinished; ``phantom.json`` is written first, the
            annotation files last.
        progress: wraps the clips and their number; workers: processes that draw and write clips.

    Raises:
        StagkitError: no such layout, classes it cannot name, a folder that is not empty.
    """
    root = Path(root)
    if layout not in LAYOUTS:
        raise StagkitError(f"there is no layout {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    chosen = LAYOUTS[layout]
    unknown = [c for c in source.classes if c not in chosen.emotions]
    if unknown:
        raise StagkitError(
            f"the layout {layout} has no word for {', '.join(unknown)}: use --preset {chosen.preset}, or another layout."
        )
    request = {"made by": "stagkit phantom", "layout": layout, "config": source.config.to_dict()}
    with resume_writing(root, request) as write_clips:
        write_json(resolve_inside(root, PHANTOM_MARK), request)  # first: nothing here can be taken for real clips
        jobs = {key: partial(_write_clip, source, key, i, layout, root) for i, key in enumerate(source.keys)}
        notes = write_clips(jobs, workers, progress)
        clips = [PlacedClip(**{**note, "aus": tuple(AUCode(**code) for code in note["aus"])}) for note in notes]
        if layout == "casme2":  # a folder without a row, as sub24/EP02_07 in the annotation file of 2014
            for frame in (61, 62, 63):
                grey = np.full((16, 16), 128, np.uint8)
                write_image(root / f"CASME2_RAW_selected/sub01/EP02_07/img{frame}.jpg", grey)
        for name, sheets in chosen.books([(p, chosen.key(p).split("/")) for p in clips]).items():
            _write_book(resolve_inside(root, name), sheets)
    return root


def _write_clip(source: PhantomSource, key: str, number: int, layout: str, root: Path) -> dict:
    """Write frames and landmarks of one clip; returns its ``PlacedClip`` as a JSON object."""
    chosen, (s, n), clip = LAYOUTS[layout], divmod(number, source.config.clips), source.read(key)
    words = chosen.emotions[clip.label]
    shift = chosen.first(s, n) - (0 if chosen.whole else clip.onset)  # number of a frame = its position + shift
    emotion = words[number // len(source.classes) % len(words)]
    p = PlacedClip(s, n, emotion, *(f + shift for f in (clip.onset, clip.apex, clip.offset)), clip.fps, clip.aus or ())
    name = chosen.key(p)
    for t in range(len(clip.frames)) if chosen.whole else range(clip.onset, clip.offset + 1):
        frame, path = clip.frames[t], resolve_inside(root, chosen.path(p, name, t + shift))
        quality = (cv2.IMWRITE_JPEG_QUALITY, 98) if path.suffix == ".jpg" else ()
        write_image(path, frame[..., ::-1] if frame.ndim == 3 else frame, quality)
    with write_atomically(resolve_inside(root, f"landmarks/{name}.npy")) as path:
        np.save(path, clip.landmarks[clip.onset : clip.offset + 1].astype(np.float32))
    return asdict(p)


def _write_book(path: Path, sheets: dict[str, list[list]]) -> None:
    import openpyxl

    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    with write_atomically(path) as path:
        book.save(path)
