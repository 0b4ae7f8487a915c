"""How phantoms are written in each official layout: names of folders and files, annotation files, and their irregularities.

Every irregularity is one that the released sets have; where it comes from stands in each set's own file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from stagkit.core.facs import AUCode

_MEGC = {"positive": ("happiness",), "surprise": ("surprise",)}
_FOUR = {name: (name,) for name in ("negative", "positive", "surprise", "others")}
_SEVEN = {n: (n,) for n in ("anger", "contempt", "disgust", "fear", "happiness", "sadness", "surprise")}

#: Irregular clip names as CASME II has them; they repeat across subjects.
_CASME2_NAMES = ("EP02_01f", "EP03_02", "EP09f", "EP01_2", "EP06_02_01", "EP06_02_02", "EP08_1", "EP12_01f")
_SMIC_SUBJECTS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12, 13, 14, 15, 18, 19, 20)
_SQUARED_VIDEOS = (
    ("anger1", "0401", "girlcrashing"),
    ("disgust1", "0101", "disgustingteeth"),
    ("happy1", "0502", "cat"),
)


@dataclass(frozen=True)
class Placed:
    """One clip on its way to disk: what the sheet says of it.

    ``n`` is the clip's number of its subject ``s``, both from 0; ``onset, apex, offset`` are frame numbers.
    """

    s: int
    n: int
    emotion: str
    onset: int
    apex: int | None
    offset: int
    fps: float
    aus: tuple[AUCode, ...]


@dataclass(frozen=True)
class Scribe:
    """How one layout is written.

    Args:
        preset: phantoms that are drawn where none are named.
        emotions: class -> words of the sheet.
        first: (subject, clip) -> number of the first frame written.
        folder: where the frames of a clip lie; ``file``: (clip, frame number) -> file name.
        key: the clip's name, as its reader gives it.
        sheets: all clips -> file name -> worksheet -> rows.
        whole: frames outside onset..offset are written too.
    """

    preset: str
    emotions: dict[str, tuple[str, ...]]
    first: Callable[[int, int], int]
    folder: Callable[[Placed], str]
    file: Callable[[Placed, int], str]
    key: Callable[[Placed], str]
    sheets: Callable[[Sequence[Placed]], dict[str, dict[str, list[list]]]]
    whole: bool = False


def _codes(placed: Placed, write: Callable[[AUCode], str], joint: str = "+") -> str | int | None:
    """The AU cell; a single number stands as a number, as Excel keeps it."""
    texts = [write(code) for code in placed.aus]
    return int(texts[0]) if len(texts) == 1 and texts[0].isdigit() else joint.join(texts) or None


def _prefix(code: AUCode) -> str:
    return f"{code.side}{code.number}"


def _suffix(code: AUCode) -> str:
    return f"{code.number}{code.side}"


# ── CASME II ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def _casme2_key(p: Placed) -> str:
    name = _CASME2_NAMES[p.n % len(_CASME2_NAMES)]
    return f"sub{p.s + 1:02d}/{name if p.n < len(_CASME2_NAMES) else f'EP{p.n:02d}_03'}"


def _casme2_sheets(clips: Sequence[Placed]) -> dict:
    """Two columns without a name; one apex is a slash, one subject a number, one row empty."""
    head = ["Subject", "Filename", None, "OnsetFrame", "ApexFrame", "OffsetFrame", None, "Action Units"]
    rows: list[list] = [[*head, "Estimated Emotion"]]
    for i, p in enumerate(clips):
        subject = p.s + 1 if i == 2 else f"{p.s + 1:02d}"
        apex = "/" if i == 1 else p.apex
        clip = _casme2_key(p).partition("/")[2]
        rows.append([subject, clip, None, p.onset, apex, p.offset, None, _codes(p, _prefix), p.emotion])
    return {"CASME2-coding-20140508.xlsx": {"Sheet1": [*rows, [None] * 9], "Sheet2": [], "Sheet3": []}}


# ── SAMM ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _samm_key(p: Placed) -> str:
    return f"{p.s + 6:03d}/{p.s + 6:03d}_{p.n // 5 + 1}_{p.n % 5 + 1}"


def _samm_file(p: Placed, number: int) -> str:
    """Four digits in every other clip, five in the rest; one file a clip has the other number of digits."""
    digits = 4 + p.n % 2
    return f"{p.s + 6:03d}_{number:0{9 - digits if number == p.onset + 1 else digits}d}.jpg"


def _samm_sheets(clips: Sequence[Placed]) -> dict:
    """Thirteen rows of preamble; duration is a formula; spaces around some plus signs."""
    preamble = [["SAMM Dataset - phantoms in its layout, no real people"], *[[None]] * 11, [None]]
    head = ["Subject", "Filename", "Inducement Code", "Onset Frame", "Apex Frame", "Offset Frame", "Duration", "Micro"]
    rows: list[list] = [[*head, "Action Units", "Estimated Emotion", "Objective Classes", "Notes"]]
    for i, p in enumerate(clips):
        subject, clip = _samm_key(p).split("/")
        aus = _codes(p, _prefix, " + " if i % 3 == 2 else "+")
        times = [p.onset, p.apex, p.offset, f"=SUM(F{i + 15}-D{i + 15})+1"]
        rows.append([subject, clip, 1, *times, "Micro - 1/2", aus, p.emotion.capitalize(), 7, None])
    return {"SAMM_Micro_FACS_Codes_v2.xlsx": {"MICRO_ONLY": [*preamble, *rows]}}


# ── SMIC-HS, 4DME, DFME ──────────────────────────────────────────────────────────────────────────────────────────────


def _smic_name(p: Placed) -> str:
    short = {"negative": "ne", "positive": "po", "surprise": "sur"}[p.emotion]
    return f"s{_smic_subject(p)}_{short}_{p.n + 1:02d}"


def _smic_subject(p: Placed) -> int:
    return _SMIC_SUBJECTS[p.s] if p.s < len(_SMIC_SUBJECTS) else p.s + 10


def _four_dme_sheets(clips: Sequence[Placed]) -> dict:
    """Five 0/1 columns; ``AU`` before some codes; a held action unit, marked ``(k)``."""
    names = ("Positive", "Negative", "Surprise", "Repression", "Others")
    rows: list[list] = [["fold", "sub_ID", "fold_name", "AUs", *names, "Emotion", "Onset", "Apex", "Offset", "Total"]]
    for i, p in enumerate(clips):
        aus = f"{'AU' if i % 2 else ''}{_codes(p, _prefix)}{'+45(k)' if i % 3 == 1 else ''}"
        flags = [int(name.lower() == p.emotion) for name in names]
        subject, clip = _four_dme_key(p).split("/")
        times = [p.onset, p.apex, p.offset, p.offset - p.onset + 1]
        rows.append([p.s % 5, subject, clip, aus, *flags, p.emotion.capitalize(), *times])
    return {"4DME_Labelling_Micro_release v1.xlsx": {"Sheet1": rows}}


def _four_dme_key(p: Placed) -> str:
    return f"S{p.s + 1:02d}/S{p.s + 1:02d}_1st_{p.n + 1:03d}_01_1"


def _dfme_part(p: Placed, n_subjects: int) -> str:
    """The last two subjects are the test parts, where there are at least four."""
    return {n_subjects - 2: "testA", n_subjects - 1: "testB"}.get(p.s, "train") if n_subjects > 3 else "train"


def _dfme_sheets(clips: Sequence[Placed]) -> dict:
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId", "Fps", "AU"]
    n_subjects = 1 + max(p.s for p in clips)
    names = {"train": "DFME_training_full_with_AU.xlsx", "testA": "DFME_testA.xlsx", "testB": "DFME_testB.xlsx"}
    books: dict = {}
    for p in clips:
        rows = books.setdefault(names[_dfme_part(p, n_subjects)], {"Sheet1": [head]})["Sheet1"]
        subject, clip = _dfme_key(p).split("/")
        number = list(_SEVEN).index(p.emotion)
        rows.append([subject, clip, p.onset, p.apex, p.offset, p.emotion, number, int(p.fps), _codes(p, _prefix)])
    return books


def _dfme_key(p: Placed) -> str:
    return f"sub{p.s + 3:04d}/sub{p.s + 3:04d}_{p.n + 1:02d}"


# ── CAS(ME)^2, CAS(ME)^3, MMEW ───────────────────────────────────────────────────────────────────────────────────────


def _squared_folder(p: Placed) -> str:
    _, number, title = _SQUARED_VIDEOS[p.n % len(_SQUARED_VIDEOS)]
    return f"rawpic/s{p.s + 15}/{p.s + 15}_{number}{title}"


def _squared_clip(p: Placed) -> str:
    return f"{_SQUARED_VIDEOS[p.n % len(_SQUARED_VIDEOS)][0]}_{p.n // len(_SQUARED_VIDEOS) + 1}"


def _squared_sheets(clips: Sequence[Placed]) -> dict:
    """No header; a macro-expression without apex and offset after every subject's first clip; codes keep their zero.

    The first naming rule has three columns: position, folder, number of the subject in the codes.
    """
    codes: list[list] = []
    for p in clips:
        micro = [p.onset, p.apex, p.offset, _codes(p, _prefix), p.emotion, "micro-expression", "happyiness"]
        codes.append([p.s + 1, _squared_clip(p), *micro])
        if p.n == 0:
            codes.append([p.s + 1, "happy1_9", p.offset, 0, 0, 12, "positive", "macro-expression", "happyiness"])
    people = [[k + 14, f"s{k + 14}", k] for k in range(1, 2 + max(p.s for p in clips))]
    videos = [[number, name] for name, number, _ in _SQUARED_VIDEOS]
    return {"CAS(ME)^2code_final.xlsx": {"CASFEcode_final": codes, "naming rule1": people, "naming rule2": videos}}


def _casme3_video(p: Placed) -> str:
    """Two clips lie in one video; one letter is upper case, as in places of the release."""
    return "J" if p.n // 2 == 1 else "abcdefghiklm"[p.n // 2 % 12]


def _casme3_sheets(clips: Sequence[Placed]) -> dict:
    rows: list[list] = [["Subject", "Filename", "Onset", "Apex", "Offset", "AU", "Objective class", "emotion"]]
    for i, p in enumerate(clips):
        emotion = p.emotion.capitalize() if i % 4 == 3 else p.emotion
        video = _casme3_video(p).lower()
        rows.append([f"spNO.{p.s + 1}", video, p.onset, p.apex, p.offset, _codes(p, _prefix), "VII", emotion])
    return {"cas(me)3_part_A_ME_label_JpgIndex_v2.xlsx": {"label": rows}}


def _casme3c_sheets(clips: Sequence[Placed]) -> dict:
    """Codes joined by commas, in every other row by Chinese ones; no apex."""
    rows: list[list] = [["sub", "count", "onset", "offset", "au", "emotion"]]
    for i, p in enumerate(clips):
        rows.append([p.s + 1, p.n + 1, p.onset, p.offset, _codes(p, _prefix, "，" if i % 2 else ","), p.emotion])
    return {"CAS(ME)3_part_C_ME.xlsx": {"mockCrimeME": rows}}


def _mmew_clip(p: Placed) -> str:
    return f"S{p.s + 1:02d}-{p.n % 9 + 1:02d}-{p.n + 1:03d}"


def _mmew_sheets(clips: Sequence[Placed]) -> dict:
    """The side of a code stands before it, in every other row behind it."""
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"]
    rows: list[list] = [[*head, "remarks"]]
    for i, p in enumerate(clips):
        aus = _codes(p, _suffix if i % 2 else _prefix)
        rows.append([p.s + 1, _mmew_clip(p), p.onset, p.apex, p.offset, aus, p.emotion, None])
    return {"MMEW_Micro_Exp.xlsx": {"Sheet1": rows}}


SCRIBES = {
    "casme2": Scribe(
        preset="casme2",
        emotions={"negative": ("disgust", "repression"), **_MEGC},
        first=lambda s, n: 40 + 30 * n,
        folder=lambda p: f"CASME2_RAW_selected/{_casme2_key(p)}",
        file=lambda p, number: f"img{number}.jpg",
        key=_casme2_key,
        sheets=_casme2_sheets,
    ),
    "samm": Scribe(
        preset="samm",
        emotions={"negative": ("anger", "contempt", "disgust", "fear", "sadness"), **_MEGC},
        first=lambda s, n: 170 + 97 * n,
        folder=lambda p: f"SAMM/{_samm_key(p)}",
        file=_samm_file,
        key=_samm_key,
        sheets=_samm_sheets,
        whole=True,
    ),
    "smic": Scribe(
        preset="smic",
        emotions={name: (name,) for name in ("negative", "positive", "surprise")},
        first=lambda s, n: 76_530 + 310_000 * n,
        folder=lambda p: f"SMIC_all_cropped/HS/s{_smic_subject(p)}/micro/{p.emotion}/{_smic_name(p)}",
        file=lambda p, number: f"reg_image{number:06d}.bmp",
        key=lambda p: f"s{_smic_subject(p)}/{_smic_name(p)}",
        sheets=lambda clips: {},
    ),
    "4dme": Scribe(
        preset="4dme",
        emotions={**_FOUR, "repression": ("repression",)},
        first=lambda s, n: 9 + 45 * n,
        folder=lambda p: f"gray_micro/{_four_dme_key(p)}",
        file=lambda p, number: f"{number}.png",
        key=_four_dme_key,
        sheets=_four_dme_sheets,
    ),
    "dfme": Scribe(
        preset="dfme",
        emotions=_SEVEN,
        first=lambda s, n: 20 + 31 * n,
        folder=lambda p: "DFME_train/" + _dfme_key(p).partition("/")[2],
        file=lambda p, number: f"{number:05d}.png",
        key=_dfme_key,
        sheets=_dfme_sheets,
    ),
    "casme-squared": Scribe(
        preset="casme2",
        emotions=_FOUR,
        first=lambda s, n: 1 + 300 * (n // len(_SQUARED_VIDEOS)),
        folder=_squared_folder,
        file=lambda p, number: f"img{number}.jpg",
        key=lambda p: f"s{p.s + 15}/{_squared_clip(p)}",
        sheets=_squared_sheets,
        whole=True,
    ),
    "casme3": Scribe(
        preset="casme2",
        emotions={
            "negative": ("disgust", "fear", "anger", "sad"),
            "positive": ("happy",),
            "surprise": ("surprise",),
            "others": ("others",),
        },
        first=lambda s, n: 80 + 250 * (n % 2),
        folder=lambda p: f"part_A/spNO.{p.s + 1}/{_casme3_video(p)}/color",
        file=lambda p, number: f"{number}.jpg",
        key=lambda p: f"spNO.{p.s + 1}/{_casme3_video(p).lower()}/{p.onset}",
        sheets=_casme3_sheets,
        whole=True,
    ),
    "casme3c": Scribe(
        preset="casme2",
        emotions=_FOUR,
        first=lambda s, n: 355 + 250 * n,
        folder=lambda p: f"part_C/{p.s + 1:02d}/a/color",
        file=lambda p, number: f"{number}.jpg",
        key=lambda p: f"c{p.s + 1:02d}/{p.n + 1}/{p.onset}",
        sheets=_casme3c_sheets,
        whole=True,
    ),
    "mmew": Scribe(
        preset="casme2",
        emotions={"negative": ("disgust", "anger", "fear", "sadness"), **_MEGC},
        first=lambda s, n: 1,
        folder=lambda p: f"Micro_Expression/{p.emotion}/{_mmew_clip(p)}",
        file=lambda p, number: f"{number}.jpg",
        key=lambda p: f"S{p.s + 1:02d}/{_mmew_clip(p)}",
        sheets=_mmew_sheets,
    ),
}
