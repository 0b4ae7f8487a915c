"""Readers of licensed sets: real sheets give the published counts, and no damage goes unnoticed or ends in a traceback."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.core.regions import load_mean_face
from stagkit.core.types import StagkitError
from stagkit.datasets import NAMES, DatasetNotAvailable, load_layout, open_source
from stagkit.datasets.check import check_data, find_version, format_check, load_annotation_versions
from stagkit.datasets.index import load_corrections, load_index
from stagkit.datasets.label_maps import load_class_map
from stagkit.datasets.spreadsheets import TableError, compute_name, load_table, read_frame, read_text
from stagkit.motion.frames import Tree, UnclearFramesError, load_frames, number_frames
from stagkit.motion.landmarks import load_landmarks
from tests.cards import BEGIN, END, fill_page
from tests.lockfile import ROOT
from tests.test_cli import run

HEAD = [
    "Subject",
    "Filename",
    None,
    "OnsetFrame",
    "ApexFrame",
    "OffsetFrame",
    None,
    "Action Units",
    "Estimated Emotion",
]


def save_book(path: Path, *sheets: list) -> Path:
    book = openpyxl.Workbook()
    book.remove(book.active)
    for rows in sheets:
        sheet = book.create_sheet()
        for row in rows:
            sheet.append(list(row))
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def row(subject="01", clip="EP02_01f", onset=11, apex=13, offset=16, aus="4+L10", label="disgust"):
    return [subject, clip, None, onset, apex, offset, None, aus, label]


def make_casme2(root: Path, *rows: list, frames=range(11, 17)) -> Path:
    """Three subjects' clips of six grey frames whose value is their number, and a sheet of these rows."""
    rows = rows or (row(), row("02"), row("03"))
    save_book(root / "CASME2-coding-20140508.xlsx", [HEAD, *rows])
    for r in rows:
        subject = str(r[0]).zfill(2)
        for k in frames:
            path = root / "CASME2_RAW_selected" / f"sub{subject}" / str(r[1]) / f"img{k}.png"
            if path.resolve().is_relative_to(root.resolve()):
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), np.full((12, 12), k % 256, np.uint8))
    return root


# ── the real sheets ──────────────────────────────────────────────────────────────────────────────────────────────────

SHEETS = {
    "casme2": "CASME2-coding-20140508.xlsx",
    "samm": "SAMM_Micro_FACS_Codes_v2.xlsx",
    "smic": "SMIC_HS_cropped.csv",
    "dfme": "DFME_training_full_with_AU.xlsx",
}


def touch_frames(root: Path, name: str, shared: Path) -> None:
    """The real sheet, and an empty file for the first, coded and last frames of every clip: no picture is needed."""
    shutil.copy(shared / "annotations" / SHEETS[name], root)
    layout = load_layout(name)
    rows = load_index(layout, root).rows
    base = root / layout.bases[0] if layout.bases else root
    for r in rows:
        folder = base / r.folders[0]
        folder.mkdir(parents=True, exist_ok=True)
        for k in range(int(r.onset), int(r.offset) + 1):
            with open(folder / f"f_{k:05d}.jpg", "w"):
                pass


@pytest.mark.parametrize(
    ("name", "clips", "subjects", "totals", "version", "repaired"),
    [
        (
            "casme2",
            255,
            26,
            {"7-class": 255, "5-class": 246, "4-class": 246, "3-class": 147, "megc2019": 145},
            "annotation file of 2014",
            2,
        ),
        ("samm", 159, 29, {"4-class": 159, "5-class": 136, "3-class": 133, "megc2019": 133}, "FACS codes v2", 3),
        ("smic", 164, 16, {"3-class": 164, "megc2019": 164}, "SMIC-HS", 0),
    ],
)
def test_real_sheets_give_the_published_counts(shared_data, tmp_path, name, clips, subjects, totals, version, repaired):
    touch_frames(tmp_path, name, shared_data)
    found = check_data(name, tmp_path)
    assert found["usable"]
    assert found["clips"] == {"rows": clips, "usable": clips}
    assert len(found["subjects"]) == subjects
    assert found["version"] == version
    assert len(found["corrections"]) == repaired
    for mapping, total in totals.items():
        entry = found["mappings"][mapping]
        assert entry["agrees"], (mapping, entry["classes"])
        assert sum(c["usable"] for c in entry["classes"].values()) == total
    assert "differs" not in format_check(found)


@pytest.mark.parametrize(("name", "header"), [("casme2", 0), ("samm", 13), ("smic", 0), ("dfme", 0)])
def test_no_row_of_a_real_sheet_is_lost(shared_data, tmp_path, name, header):
    """Counted by pandas: every row is a usable clip, or (here no pictures are there) listed with the reason."""
    import pandas as pd

    file = shared_data / "annotations" / SHEETS[name]
    table = pd.read_csv(file) if file.suffix == ".csv" else pd.read_excel(file, header=header)
    shutil.copy(file, tmp_path)
    index = load_index(load_layout(name), tmp_path)
    assert len(index.rows) == len(table.dropna(how="all")) > 100
    assert set(index.skipped) == {r.key for r in index.rows} and not index.records
    assert len(index.skipped) == len(index.rows) and all(index.skipped.values())


def test_the_real_dfme_sheet(shared_data, tmp_path):
    """1,856 rows, 176 subjects; no pictures are there, so it is not usable, but the sheet is counted."""
    shutil.copy(shared_data / "annotations" / SHEETS["dfme"], tmp_path)
    found = check_data("dfme", tmp_path)
    assert found["clips"] == {"rows": 1856, "usable": 0}
    assert not found["usable"]
    assert found["version"] == "training part"
    index = load_index(load_layout("dfme"), tmp_path)
    assert Counter(r.label for r in index.rows) == {
        "anger": 161, "contempt": 100, "disgust": 548, "fear": 265, "happiness": 206, "sadness": 278, "surprise": 298,
    }  # fmt: skip
    assert len({r.subject for r in index.rows}) == 176
    assert {r.part for r in index.rows} == {"train"}


def test_the_official_megc_list_clip_by_clip(shared_data, tmp_path):
    """Not only the counts: exactly the clips of the MEGC2019 list, with its labels, for the three sets."""
    wanted: dict[str, dict[str, int]] = {"casme2": {}, "samm": {}, "smic": {}}
    for line in (shared_data / "annotations" / "megc2019_combined_3class_gt.csv").read_text().split():
        name, _, clip, label = line.split(",")
        wanted[name][clip.replace("s0", "s") if name == "smic" else clip + _[-2:] * (name == "casme2")] = int(label)
    for name in wanted:
        root = tmp_path / name
        root.mkdir()
        shutil.copy(shared_data / "annotations" / SHEETS[name], root)
        entry = load_class_map(name, "megc2019")
        found = {}
        for r in load_index(load_layout(name), root).rows:
            label = entry.compute_label(read_text(r.label), r.key)
            if label:
                key = r.clip + r.subject[-2:] * (name == "casme2")  # clip names repeat across subjects
                found[key] = list(entry.counts).index(label)
        assert found == wanted[name], name


def test_casme2_has_247_clips_with_the_one_that_is_not_in_the_sheet(shared_data, tmp_path):
    book = openpyxl.load_workbook(shared_data / "annotations" / SHEETS["casme2"])
    book["Sheet1"].append(row("24", "EP02_07", 61, 91, 106, None, "disgust"))
    book.save(tmp_path / SHEETS["casme2"])
    found = check_data("casme2", tmp_path)
    counts = found["mappings"]["5-class"]["classes"]
    assert sum(c["listed"] for c in counts.values()) == 247
    assert sum(c["listed"] for c in found["mappings"]["megc2019"]["classes"].values()) == 145


def test_every_correction_has_its_reason_and_applies_to_the_real_sheets(shared_data, tmp_path):
    assert all(c["reason"] and c["source"] and c["dataset"] in NAMES for c in load_corrections())
    touch_frames(tmp_path, "samm", shared_data)
    records = load_index(load_layout("samm"), tmp_path).records
    assert records["032/032_3_2"].apex is None
    assert "public readers reject it" in records["032/032_3_2"].corrections[0]
    assert records["006/006_1_2"].apex == 5588
    (tmp_path / "second").mkdir()
    touch_frames(tmp_path / "second", "casme2", shared_data)
    records = load_index(load_layout("casme2"), tmp_path / "second").records
    assert records["sub05/EP09_05f"].apex is None and "onset frame stands" in records["sub05/EP09_05f"].corrections[0]
    assert records["sub05/EP16_04f"].apex == records["sub05/EP16_04f"].offset == 181, "a late apex is an apex"


def test_sheet_versions_add_up():
    totals = {key: sum(counts.values()) for key, counts in load_annotation_versions().items()}
    assert totals["casme2", "annotation file of 2014"] == totals["casme2", "revision of 2019"] == 255
    assert totals["dfme", "training part"] == 1856
    assert totals["casme3", "part A v2"] == 860
    assert totals["casme3c", "part C"] == 165
    for (name, version), counts in load_annotation_versions().items():
        assert find_version(name, counts) == version


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(
    st.integers(0, 10**9), st.integers(1, 12), st.sampled_from(["img", "reg_img", "006_", "s1_ne_01 image", "", "x.1_"])
)
def test_a_frame_is_known_by_the_number_in_its_name(number, digits, before):
    names = {n: f"{before}{n:0{digits}d}.jpg" for n in (number, number + 1)}
    assert number_frames(names.values()).files == names
    assert number_frames([names[number]]).files == {number: names[number]}


@given(
    st.sets(st.integers(0, 3000), min_size=2, max_size=30),
    st.sampled_from(
        ["frame_{}_crop128", "{}", "img{:05d}", "sub01_{}_v2_left", "006_{:04d}", "Ａ1_{}_é2", "s1_ne_01_{}x3"]
    ),
    st.randoms(),
)
def test_the_number_that_differs_counts_the_frames(numbers, pattern, chance):
    """Whatever constant numbers stand before or after it, and in whatever order the names come."""
    names = [(n, f"{pattern.format(n)}.png") for n in sorted(numbers)]
    shuffled = [name for _, name in names]
    chance.shuffle(shuffled)
    assert list(number_frames(shuffled).files.items()) == names


def test_names_that_do_not_give_the_order_are_refused():
    assert number_frames(["t2_crop128.png", "t10_crop96.png"]).files == {2: "t2_crop128.png", 10: "t10_crop96.png"}
    assert number_frames(["img1.png", "img1.jpg", "img2.png"]).duplicates == (1,)
    assert number_frames(["img1.png", "cover.png"]).ignored == ("cover.png",)
    with pytest.raises(UnclearFramesError, match="2 numbers differ"):
        number_frames(["12-00_900.png", "12-01_000.png", "12-01_200.png"])


def test_frames_are_the_right_ones_in_the_right_order(tmp_path):
    """Each picture's value is its number: what is read is onset..offset, sorted as numbers."""
    make_casme2(tmp_path, row(onset=9, apex=10, offset=12), row("02", onset=8, apex=11, offset=13), frames=range(7, 15))
    source = open_source("casme2", str(tmp_path))
    clip = source.read("sub01/EP02_01f")
    assert clip.frames[:, 0, 0].tolist() == [9, 10, 11, 12]
    assert (clip.onset, clip.apex, clip.offset) == (0, 1, 3)
    assert clip.subject == "casme2/sub01"
    assert [str(a) for a in clip.aus] == ["AU04", "AU10L"]
    assert source.read("sub02/EP02_01f").frames[:, 0, 0].tolist() == [8, 9, 10, 11, 12, 13]
    assert source.only("sub02/EP02_01f").keys == ("sub02/EP02_01f",)


def test_a_hole_in_the_frames_is_told_and_a_large_one_leaves_the_clip_out(tmp_path):
    make_casme2(tmp_path, *(row(f"{k:02d}", onset=1, apex=20, offset=40) for k in range(1, 5)), frames=range(1, 41))
    folder = tmp_path / "CASME2_RAW_selected"
    (folder / "sub01" / "EP02_01f" / "img20.png").unlink()
    for k in range(5, 15):
        (folder / "sub02" / "EP02_01f" / f"img{k}.png").unlink()
    (folder / "sub03" / "EP02_01f" / "img1.png").unlink()
    index = load_index(load_layout("casme2"), tmp_path)
    assert set(index.records) == {"sub01/EP02_01f", "sub04/EP02_01f"}
    assert index.records["sub01/EP02_01f"].apex is None, "its apex frame is missing: not a guess"
    assert ("sub01/EP02_01f", "1 frame(s) missing: 20") in index.issues
    assert index.skipped["sub02/EP02_01f"] == "10 of its 40 frames are missing"
    assert "onset frame 1 is missing" in index.skipped["sub03/EP02_01f"]
    assert index.missing == 1
    with pytest.warns(UserWarning, match="2 of 4 clips are skipped"):
        about = open_source("casme2", str(tmp_path)).describe()
    assert set(about["skipped"]) == {"sub02/EP02_01f", "sub03/EP02_01f"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"onset": 16, "offset": 11}, "onset 16 is not before offset 11"),
        ({"onset": "eleven"}, "'eleven' is no frame number"),
        ({"label": None}, "no emotion is given"),
        ({"clip": "../../etc"}, "is no name of a clip"),
        ({"clip": "EP99"}, None),
    ],
)
def test_rows_that_cannot_be_used_are_left_out_with_the_reason(tmp_path, changes, words):
    make_casme2(tmp_path, row(**changes), row("02"), row("03"))
    if words is None:
        shutil.rmtree(tmp_path / "CASME2_RAW_selected" / "sub01")
        words = "there is no folder sub01/EP99"
    index = load_index(load_layout("casme2"), tmp_path)
    assert len(index.records) == 2
    assert words in next(iter(index.skipped.values()))


@pytest.mark.parametrize(
    ("apex", "words"), [("/", "not coded"), (99, "lies outside"), ("x", "no frame number"), (11, "onset")]
)
def test_an_apex_that_cannot_be_is_none(tmp_path, apex, words):
    make_casme2(tmp_path, row(apex=apex), row("02"))
    index = load_index(load_layout("casme2"), tmp_path)
    assert index.records["sub01/EP02_01f"].apex == (11 if apex == 11 else None)
    assert any(words in text for _, text in index.issues)


def test_repeated_rows(tmp_path):
    make_casme2(tmp_path, row(), row(), row("02"), row("02", offset=15), row("03"), row("04"))
    index = load_index(load_layout("casme2"), tmp_path)
    assert set(index.records) == {"sub01/EP02_01f", "sub03/EP02_01f", "sub04/EP02_01f"}
    assert "disagree" in index.skipped["sub02/EP02_01f"]
    assert any("twice" in text for _, text in index.issues)


def test_a_sheet_whose_rows_are_all_repeated_is_read(tmp_path):
    """Three times the same rows lose no clip: they ended in a StopIteration, as if more than half were unusable."""
    make_casme2(tmp_path, *(row(n) for n in ("01", "02", "03") for _ in range(3)))
    index = load_index(load_layout("casme2"), tmp_path)
    assert len(index.rows) == 9 and len(index.records) == 3 and not index.skipped
    assert len(open_source("casme2", str(tmp_path)).keys) == 3


def test_links_cannot_leave_the_root(tmp_path):
    outside = make_casme2(tmp_path / "outside")
    root = make_casme2(tmp_path / "inside")
    clips = root / "CASME2_RAW_selected"
    shutil.rmtree(clips / "sub01" / "EP02_01f")
    (clips / "sub01" / "EP02_01f").symlink_to(outside / "CASME2_RAW_selected" / "sub01" / "EP02_01f")
    frame = clips / "sub02" / "EP02_01f" / "img14.png"
    frame.unlink()
    frame.symlink_to(outside / "CASME2_RAW_selected" / "sub02" / "EP02_01f" / "img14.png")
    index = load_index(load_layout("casme2"), root)
    assert set(index.records) == {"sub03/EP02_01f"}
    assert sum("leads out of the root" in text for _, text in index.issues) == 2
    (clips / "sub04").symlink_to(clips / "sub03")
    make = Tree(root)
    assert make.match(clips, "sub04"), "a link that stays inside is followed"
    assert not make.match(clips, "../*")


def test_two_files_of_one_frame(tmp_path):
    make_casme2(tmp_path)
    folder = tmp_path / "CASME2_RAW_selected" / "sub01" / "EP02_01f"
    shutil.copy(folder / "img13.png", folder / "img00013.png")
    index = load_index(load_layout("casme2"), tmp_path)
    assert index.skipped == {"sub01/EP02_01f": "two files are frame 13"}


def test_damaged_pictures_are_found_and_named(tmp_path):
    make_casme2(tmp_path)
    frame = tmp_path / "CASME2_RAW_selected" / "sub01" / "EP02_01f" / "img14.png"
    frame.write_bytes(frame.read_bytes()[:20])
    with pytest.raises(StagkitError, match=r"img14.png is damaged"):
        open_source("casme2", str(tmp_path)).read("sub01/EP02_01f")
    found = check_data("casme2", tmp_path, decode=True)
    assert list(found["skipped"]) == ["sub01/EP02_01f"]
    frame.write_bytes(b"")
    with pytest.raises(StagkitError, match="damaged"):
        load_frames([frame], "a")
    cv2.imwrite(str(frame), np.zeros((9, 9), np.uint8))
    with pytest.raises(StagkitError, match=r"img14.png is \(9, 9\)"):
        open_source("casme2", str(tmp_path)).read("sub01/EP02_01f")


def test_stored_landmarks(tmp_path):
    make_casme2(tmp_path)
    points = np.arange(136.0).reshape(68, 2) / 12
    (tmp_path / "landmarks" / "sub01").mkdir(parents=True)
    np.save(tmp_path / "landmarks" / "sub01" / "EP02_01f.npy", points)
    source = open_source("casme2", str(tmp_path))
    assert (source.read("sub01/EP02_01f").landmarks == points).all(), "one set of points stands for all frames"
    assert source.read("sub02/EP02_01f").landmarks is None
    np.save(tmp_path / "landmarks" / "sub01" / "EP02_01f.npy", points[:5])
    with pytest.raises(StagkitError, match=r"are \(5, 2\), expected \(6, 68, 2\)"):
        source.read("sub01/EP02_01f")
    (tmp_path / "bad.npy").write_bytes(b"no array")
    with pytest.raises(StagkitError, match="cannot be read"):
        load_landmarks(tmp_path / "bad.npy", 6, "a")


# ── sheets ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cell", "number"), [(46, 46), (46.0, 46), (" 46 ", 46), ("46.0", 46), ("/", None), (None, None), ("", None)]
)
def test_frame_numbers_as_they_are_written(cell, number):
    assert read_frame(cell) == number


@pytest.mark.parametrize("cell", ["46a", "-3", 4.5, "1e3", True, "12/13"])
def test_text_that_is_no_frame_number(cell):
    with pytest.raises(TableError, match="no frame number"):
        read_frame(cell)


@given(st.one_of(st.text(max_size=12), st.integers(), st.floats(), st.booleans(), st.none(), st.datetimes()))
def test_no_cell_breaks_the_sheet_reader(cell):
    assert isinstance(read_text(cell), str)
    assert isinstance(compute_name(cell), str)
    try:
        assert read_frame(cell) is None or read_frame(cell) >= 0
    except TableError:
        pass


def test_header_is_found_wherever_it_stands_and_however_it_is_written(tmp_path):
    columns = {"subject": ("Subject",), "onset": ("OnsetFrame",)}
    for above, names in (
        (0, ["Subject", "OnsetFrame"]),
        (13, ["onset frame", "SUBJECT"]),
        (3, ["x", "Onset_Frame", "subject"]),
    ):
        rows = [["remark"]] * above + [names] + [[7] * len(names)] + [[None]] + [[8] * len(names)]
        found = load_table(save_book(tmp_path / "s.xlsx", [["other"]], rows), columns)
        assert found == [(0, {"subject": 7, "onset": 7}), (2, {"subject": 8, "onset": 8})]
    notes = []
    rows = [["Subject", "On"], [6, 6], ["Subject", "OnsetFrame"], [7, 7]]
    load_table(save_book(tmp_path / "s.xlsx", rows), columns, notes=notes)
    assert notes == ["s.xlsx has 2 full row(s) above its header row that are not read"]
    (tmp_path / "s.csv").write_text("﻿Subject,OnsetFrame\n1,5\n", encoding="utf-8")
    assert load_table(tmp_path / "s.csv", columns) == [(0, {"subject": "1", "onset": "5"})]


def test_bad_sheets_are_told(tmp_path):
    make_casme2(tmp_path)
    sheet = tmp_path / "CASME2-coding-20140508.xlsx"
    book = save_book(sheet, [["Subject", "Filename", "Start", "ApexFrame", "OffsetFrame", "Emotion"], row()])
    with pytest.raises(StagkitError, match=r"has no column onset \(OnsetFrame\)"):
        open_source("casme2", str(tmp_path))
    book.write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(StagkitError, match="damaged; get it again"):
        open_source("casme2", str(tmp_path))
    make_casme2(tmp_path)
    shutil.copy(sheet, tmp_path / "CASME2-coding-20190701.xlsx")
    assert len(open_source("casme2", str(tmp_path)).keys) == 3, "a copy is no second sheet"
    save_book(tmp_path / "CASME2-coding-20190701.xlsx", [HEAD, row(), row("02"), row("03", aus="12")])
    with pytest.raises(StagkitError, match="choose one with --annotations NAME"):
        open_source("casme2", str(tmp_path))
    assert len(open_source("casme2", str(tmp_path), annotations="CASME2-coding-20190701.xlsx").keys) == 3
    with pytest.raises(StagkitError, match="0 files below"):
        open_source("casme2", str(tmp_path), annotations="none.xlsx")


def test_4dme_clips_of_several_emotions(tmp_path):
    names = ["Positive", "Negative", "Surprise", "Repression", "Others"]
    head = ["fold", "sub_ID", "fold_name", "AUs", *names, "Onset", "Apex", "Offset"]
    rows = [
        [1, "S1", "a", "AUR2+12(k)+45", 1, 0, 1, 0, 0, 1, 2, 3],
        [1, "S1", "b", "4", 0, 1, 0, 0, 0, 1, 2, 3],
    ]
    save_book(tmp_path / "4DME_Labelling_Micro_release v1.xlsx", [head, *rows])
    save_book(tmp_path / "4DME_Labelling_Micro_extras_release v1.xlsx", [["video emo'"]])
    for clip in "ab":
        for k in range(1, 4):
            path = tmp_path / "gray_micro" / "S1" / clip / f"{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8), k, np.uint8))
    source = open_source("4dme", str(tmp_path))
    assert source.classes == ("negative", "positive+surprise")
    assert load_class_map("4dme", "3-class").compute_label("positive+surprise") is None
    assert [(str(a), a.kept) for a in source.read("S1/a").aus] == [("AU02R", False), ("AU12", True), ("AU45", False)]


def test_smic_e_long_clips(tmp_path):
    """A second micro-expression in the same long clip is a clip of its own; text below the table is no row."""
    head = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", None, "FirstF", "LastF", "Emotion"]
    rows = [
        ["s1", "s1_ne_01", None, 100003, 100006, 100010, 100014, None, 100001, 100019, "negative"],
        ["note: recoded"],
    ]
    save_book(tmp_path / "SMIC-HS-E_annotation.xlsx", [head, *rows])
    for k in range(1, 20):
        path = tmp_path / "SMIC-HS-E" / "s01" / "s1_ne_01" / f"image{100000 + k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 8), k, np.uint8))
    source = open_source("smic", str(tmp_path))
    assert source.keys == ("s1/s1_ne_01", "s1/s1_ne_01_me2")
    assert source.read("s1/s1_ne_01_me2").frames[:, 0, 0].tolist() == [10, 11, 12, 13, 14]


# ── what is said ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NAMES)
def test_a_set_that_is_not_there_says_who_grants_it(name, tmp_path):
    card = load_layout(name).card
    (tmp_path / "holiday").mkdir()
    with pytest.raises(DatasetNotAvailable) as told:
        open_source(name, str(tmp_path))
    for words in (card.provider, card.tree[0], "found: holiday/", "never downloads"):
        assert words in str(told.value)
    with pytest.raises(DatasetNotAvailable, match="no such folder"):
        open_source(name, str(tmp_path / "none"))


def test_a_set_without_pictures_is_refused_with_the_first_reason(tmp_path):
    make_casme2(tmp_path)
    shutil.rmtree(tmp_path / "CASME2_RAW_selected")
    with pytest.raises(DatasetNotAvailable, match=r"3 of 3 clips cannot be used.*check-data casme2"):
        open_source("casme2", str(tmp_path))


def test_cards_and_page_are_equal():
    text = (ROOT / "data_README.md").read_text(encoding="utf-8")
    cards = [load_layout(name).card for name in NAMES]
    assert text == fill_page(text, cards), "run 'make cards'"
    for card in cards:
        assert card.printable.startswith("none"), "no agreement is in our hands"
        assert card.doi.startswith("10.")
        assert f"`stagkit prepare {card.name} ROOT PREPARED`" in text
    with pytest.raises(StagkitError, match="no place for the cards"):
        fill_page("text", cards)
    assert text.index(BEGIN) < text.index(END)


def test_folders_without_a_row_are_reported(tmp_path):
    make_casme2(tmp_path)
    shutil.copytree(
        tmp_path / "CASME2_RAW_selected" / "sub01" / "EP02_01f", tmp_path / "CASME2_RAW_selected/sub01/EP77"
    )
    found = check_data("casme2", tmp_path)
    assert found["orphan_folders"] == ["CASME2_RAW_selected/sub01/EP77"]
    assert "EP77" in format_check(found)


def test_unreadable_folder_is_told(tmp_path, monkeypatch):
    make_casme2(tmp_path)
    scan = os.scandir

    def refuse(path):
        if str(path).endswith("sub01"):
            raise PermissionError(13, "Permission denied")
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    index = load_index(load_layout("casme2"), tmp_path)
    assert list(index.skipped) == ["sub01/EP02_01f"]
    assert "sub01 cannot be listed: Permission denied" in index.skipped["sub01/EP02_01f"]


def test_exit_codes_of_check_data(tmp_path, capsys):
    """0 usable, 1 not there or not usable, 2 what cannot even be looked at; one sentence each, the JSON written anyway."""
    root = make_casme2(tmp_path / "set")
    assert run("check-data", "casme2", root, capsys=capsys)[0] == 0
    (root / "CASME2_RAW_selected" / "sub01" / "EP02_01f" / "img11.png").unlink()
    shutil.rmtree(root / "CASME2_RAW_selected" / "sub02")
    code, out, _ = run("check-data", "casme2", root, "--json", tmp_path / "f.json", capsys=capsys)
    assert code == 1
    assert "not usable" in out
    assert set(json.loads((tmp_path / "f.json").read_text())["skipped"]) == {"sub01/EP02_01f", "sub02/EP02_01f"}
    code, _, err = run("check-data", "samm", root, capsys=capsys)
    assert code == 1
    assert "Manchester Metropolitan University" in err
    assert len(err.strip().splitlines()) == 1
    (root / "CASME2-coding-20140508.xlsx").write_bytes(b"broken")
    code, _, err = run("check-data", "casme2", root, capsys=capsys)
    assert code == 2
    assert "damaged; get it again" in err
    assert run("check-data", "casme9", root, capsys=capsys)[0] == 2


def test_pictures_without_landmarks_are_told_what_to_do(tmp_path, capsys):
    root = make_casme2(tmp_path / "set")
    code, _, err = run("prepare", "casme2", root, tmp_path / "p", "--workers", 1, capsys=capsys)
    assert code == 2
    assert "store them, or find them (prepare --landmarker FILE)" in err
    code, _, err = run("prepare", "casme2", root, tmp_path / "p", "--landmarker", tmp_path / "no.task", capsys=capsys)
    assert code == 2
    assert "there is no model file" in err
    for k in (1, 2, 3):
        path = root / "landmarks" / f"sub{k:02d}" / "EP02_01f.npy"
        path.parent.mkdir(parents=True)
        np.save(path, 6 + 8 * load_mean_face()[0] @ np.array([[0.7, 0], [0, 0.7]]))
    code, _, err = run("prepare", "casme2", root, tmp_path / "p", "--align", 64, "--workers", 1, capsys=capsys)
    assert code == 0, "the folder of a preparation that failed at its first clip is free for other settings"
