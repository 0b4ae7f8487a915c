"""Data sets as people really have them: unpacked anywhere, sheets by other programs, odd cells, hostile files."""

import csv
import os
import re
import shutil
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import openpyxl
import pytest
from PIL import Image

from stagkit.cli import main
from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import read_json
from stagkit.core.regions import load_mean_face
from stagkit.datasets import NAMES, DatasetNotAvailable, load_layout, open_source
from stagkit.datasets.au_codes import read_aus
from stagkit.datasets.check import check_data, format_check
from stagkit.datasets.flow_maps import load_flow_maps
from stagkit.datasets.index import load_index
from stagkit.datasets.join import join_datasets
from stagkit.datasets.manifest import ManifestSource, write_manifest
from stagkit.datasets.prepare import load_data, load_prepared, prepare_clips
from stagkit.datasets.spreadsheets import load_grids
from stagkit.datasets.subjects import find_alike_subjects, find_identity_issues, find_near_duplicates, normalise_subject
from stagkit.evaluation.evaluate import evaluate
from stagkit.motion.config import FlowConfig
from stagkit.motion.frames import MAX_PIXELS, load_image
from stagkit.motion.landmarks import FaceError, load_landmarks
from stagkit.motion.video import Video, open_video
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from tests.damage import make_trees
from tests.small import make_dataset, save_maps
from tests.test_cli import run
from tests.test_datasets import write_clips, write_htnet_folder
from tests.test_readers import HEAD, make_casme2, row, save_book


def write_frames(folder: Path, numbers, name="img{}.png") -> None:
    """Grey frames of 12 px whose value is their number."""
    folder.mkdir(parents=True, exist_ok=True)
    for k in numbers:
        cv2.imwrite(str(folder / name.format(k)), np.full((12, 12), k, np.uint8))


# ── B1: whose folder it is ───────────────────────────────────────────────────────────────────────────────────────────


def make_squared(root: Path, people: list, codes=(1, 2, 3)) -> Path:
    """CAS(ME)^2 with these naming rules: every folder 1..40 is there, and its frames have the folder's number as value."""
    rows = [[k, "disgust1_1", 1, 2, 4, "4", "negative", "micro-expression", "disgust"] for k in codes]
    save_book(root / "CAS(ME)^2code_final.xlsx", rows, people, [["0101", "disgust1"]])
    for n in range(1, 41):
        for k in range(1, 5):
            path = root / "rawpic" / f"s{n}" / f"{n:02d}_0101disgustingteeth" / f"img{k}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), np.full((8, 8), n, np.uint8))
    return root


@pytest.mark.parametrize("numbers", ["numbers", "texts"])
def test_codes_find_their_person_by_the_third_column(tmp_path, numbers):
    """Position, folder and code differ in every row, and every wrong folder is there too: 'usable' was the wrong person."""
    people = [[7, "s31", 2], [12, "s15", 1], [2, "s22", 3], [31, "s7", 4]]
    if numbers == "texts":
        people = [[str(a), b, f"{c}.0"] for a, b, c in people]
    source = open_source("casme-squared", str(make_squared(tmp_path, people)))
    assert {key: int(source.read(key).frames[0, 0, 0]) for key in source.keys} == {
        "s15/disgust1_1": 15,
        "s31/disgust1_1": 31,
        "s22/disgust1_1": 22,
    }
    assert {source.read(key).subject for key in source.keys} == {f"casme-squared/s{n}" for n in (15, 31, 22)}


def test_a_code_without_a_folder_is_left_out_and_never_guessed(tmp_path):
    index = load_index(load_layout("casme-squared"), make_squared(tmp_path, [[1, "s15", 1], [2, "s22", 3]]))
    assert set(index.records) == {"s15/disgust1_1", "s22/disgust1_1"}
    assert "subject '2' is in no row of the first naming rule" in next(iter(index.skipped.values()))


@pytest.mark.parametrize(("people", "words"), [
    ([[1, "s15"], [2, "s16"]], "no row of position, folder"),
    ([[1, "s15", 1], [2, "s16", 1]], "twice"),
    ([[1, "s15", 1], [2, "s15", 2]], "twice"),
])  # fmt: skip
def test_naming_rules_that_do_not_pair_are_refused(tmp_path, people, words):
    with pytest.raises(StagkitError, match=words):
        open_source("casme-squared", str(make_squared(tmp_path, people)))


# ── B2, B3: names and folders ────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def trees(tmp_path_factory):
    return make_trees(tmp_path_factory.mktemp("trees"))


@pytest.mark.parametrize("name", NAMES)
def test_an_archive_in_a_folder_of_its_own_name_is_found(name, trees, tmp_path):
    """X/X/..., and the same one folder deeper: the same clips, frame by frame."""
    sound = open_source(name, str(trees[name]))
    for depth in (1, 2):
        root = shutil.copytree(trees[name], tmp_path / str(depth))
        for folder in [p for p in root.iterdir() if p.is_dir() and p.name != "landmarks"]:
            inner = root.joinpath("moved", *[folder.name] * depth)
            inner.parent.mkdir(parents=True)
            folder.rename(inner)
            (root / "moved").rename(root / folder.name)
        for sheet in root.glob("*.xlsx"):
            (root / "annotation" / "part").mkdir(parents=True, exist_ok=True)
            sheet.rename(root / "annotation" / "part" / sheet.name)
        found = open_source(name, str(root))
        assert found.keys == sound.keys
        for key in found.keys:
            assert np.array_equal(found.read(key).frames, sound.read(key).frames)


@pytest.mark.parametrize(("name", "old", "new"), [
    ("casme-squared", "CAS(ME)^2code_final.xlsx", "CAS(ME)2code_final.xlsx"),
    ("casme-squared", "CAS(ME)^2code_final.xlsx", "code_final.xlsx"),
    ("dfme", "DFME_training_full_with_AU.xlsx", "training_full_with_AU.xlsx"),
    ("samm", "SAMM_Micro_FACS_Codes_v2.xlsx", "SAMM.xlsx"),
    ("casme2", "CASME2-coding-20140508.xlsx", "[modified]CASME2-coding-20140508.xlsx"),
    ("mmew", "MMEW_Micro_Exp.xlsx", "MMEW_Micro_Exp.csv"),
])  # fmt: skip
def test_sheets_under_the_names_that_go_round(name, old, new, trees, tmp_path):
    root = shutil.copytree(trees[name], tmp_path / "t")
    if new.endswith(".csv"):
        rows = next(iter(load_grids(root / old).values()))
        with (root / new).open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([["" if c is None else c for c in r] for r in rows])
        (root / old).unlink()
    else:
        (root / old).rename(root / new)
    assert open_source(name, str(root)).keys == open_source(name, str(trees[name])).keys


def test_dfme_parts_by_names_without_dfme_in_folders_of_their_own(tmp_path):
    head = ["Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Emotion", "EmotionId", "Fps", "AU"]
    for k, (sheet, base) in enumerate({
        "training_full_with_AU": "train_data/train_data", "testA_with_AU": "dfme_testA", "testB": "test_data_B/test_data_B",
    }.items()):  # fmt: skip
        clip = f"sub000{k}_01"
        save_book(tmp_path / "full" / "full" / f"{sheet}.xlsx", [head, [clip[:7], clip, 1, 3, 5, "fear", 3, 200, "4"]])
        write_frames(tmp_path / base / clip, range(1, 6), "{:05d}.png")
    source = open_source("dfme", str(tmp_path))
    assert [source.read(key).part for key in source.keys] == ["train", "testA", "testB"]
    one = open_source("dfme", str(tmp_path), ["testB.xlsx", "full/full/training_full_with_AU.xlsx"])
    assert [one.read(key).part for key in one.keys] == ["testB", "train"]
    shutil.copy(tmp_path / "full/full/testB.xlsx", tmp_path / "testB_copy.xlsx")
    assert len(open_source("dfme", str(tmp_path)).keys) == 3, "a copy is no second sheet"
    save_book(tmp_path / "testB_v2.xlsx", [head, ["sub0002", "sub0002_01", 1, 2, 5, "fear", 3, 200, "4"]])
    with pytest.raises(StagkitError, match=r"several annotation files of the part testB: .*once for each part"):
        open_source("dfme", str(tmp_path))


def test_the_message_without_a_sheet_names_the_tables_and_the_option(tmp_path, capsys):
    (tmp_path / "my").mkdir()
    (tmp_path / "my" / "labels.xlsx").write_bytes(b"")
    (tmp_path / "old.xls").write_bytes(b"")
    with pytest.raises(
        DatasetNotAvailable, match=r"CASME2-coding.*tables seen: old.xls, my/labels.xlsx; .*--annotations NAME"
    ):
        open_source("casme2", str(tmp_path))
    with pytest.raises(StagkitError, match=r"0 files .*; tables seen: old.xls, my/labels.xlsx"):
        open_source("casme2", str(tmp_path), "none.xlsx")
    with pytest.raises(SystemExit):
        main(["check-data", "casme2", str(tmp_path), "--annotations", "old.xls"])
    assert "save it as .xlsx" in capsys.readouterr().err


# ── B4: SMIC ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_smic_names_are_checked_and_twins_are_left_out(tmp_path):
    head = ["Subject", "Filename", None, "OnsetF", "OffsetF", "Onset2F", "Offset2F", "Emotion"]
    rows = [
        ["s18", "s18_sur_03", None, 1, 4, None, None, "negative"],
        ["s1", "s1_ne_01", None, 1, 4, 6, 9, "negative"],
        ["s1", "s1_ne_02", None, 6, 9, None, None, "negative"],
        ["s2", "s2_po_01", None, 1, 4, None, None, "surprise"],
        ["s3", "s2_po_02", None, 1, 4, None, None, "positive"],
    ]
    save_book(tmp_path / "SMIC-HS-E_annotation.xlsx", [head, *rows])
    for clip in ("s18/s18_sur_03", "s01/s1_ne_01", "s02/s2_po_01", "s02/s2_po_02"):
        write_frames(tmp_path / "SMIC-HS-E" / clip, range(1, 10), "image{:06d}.png")
    found = check_data("smic", tmp_path)
    source = open_source("smic", str(tmp_path))
    assert source.read("s18/s18_sur_03").label == "surprise"
    assert "MEGC2019" in found["corrections"][0]
    assert source.read("s1/s1_ne_02").frames[:, 0, 0].tolist() == [6, 7, 8, 9], "it lies in the folder of the long clip"
    skipped = " | ".join(f"{k}: {v}" for k, v in found["skipped"].items())
    assert "s1_ne_01_me2'): it has the frames of s1_ne_02" in skipped
    assert "the annotation file calls it 'surprise', its name says positive" in skipped
    assert "the annotation file says subject s3, its name says s2" in skipped
    assert len(source.keys) == 3


# ── B5: sheets by other programs ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("stated", ["A1", "A1:B2", "A1:ZZ9999", ""])
def test_the_stated_size_of_a_worksheet_is_not_trusted(stated, tmp_path):
    path = save_book(tmp_path / "s.xlsx", [[1, 2, 3], [4, None, 6], [7, 8, 9]])
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as new:
        for name in old.namelist():
            text = old.read(name)
            if name.startswith("xl/worksheets/"):
                text = re.sub(rb"<dimension [^>]*/>", f'<dimension ref="{stated}"/>'.encode() if stated else b"", text)
            new.writestr(name, text)
    assert next(iter(load_grids(tmp_path / "t.xlsx").values())) == [(1, 2, 3), (4, None, 6), (7, 8, 9)]


def test_merged_cells_count_for_all_their_rows(tmp_path):
    rows = [row(), row("", "EP02"), row("", "EP03"), row("02", "EP02_01f")]
    root = make_casme2(tmp_path, row(), row("01", "EP02"), row("01", "EP03"), row("02"))
    book = openpyxl.load_workbook(save_book(root / "CASME2-coding-20140508.xlsx", [HEAD, *rows]))
    book.worksheets[0].merge_cells("A2:A4")
    book.save(root / "CASME2-coding-20140508.xlsx")
    keys = {"sub01/EP02_01f", "sub01/EP02", "sub01/EP03", "sub02/EP02_01f"}
    assert set(load_index(load_layout("casme2"), root).records) == keys
    save_book(root / "CASME2-coding-20140508.xlsx", [HEAD, *rows])
    index = load_index(load_layout("casme2"), root)
    assert set(index.records) == {"sub01/EP02_01f", "sub02/EP02_01f"}
    assert list(index.skipped.values()) == ["its subject is empty"] * 2, "and no subject 00 is made up"


# ── B6: action units ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "cell", ["NA", "none", "4;12", "4 12", "1 2", "AU4 AU12", "xyz", "0", "4+?", True, "2014-04-12"]
)
def test_unread_action_units_are_not_coded(cell, tmp_path):
    assert read_aus(cell)[0] is None and read_aus(cell)[1]
    with pytest.warns(StagkitWarning, match="a1: action units: .*taken as not coded"):
        source = open_source("manifest", str(write_clips(tmp_path, aus=str(cell))))
    assert source.read("a1").aus is None
    assert "action units" in source.describe()["issues"][0]


@pytest.mark.parametrize(("cell", "codes"), [
    ("-", ()), ("", None), ("12(B/C)+25", ("AU12", "AU25")), ("4+L10", ("AU04", "AU10L")), ("ref(7B)", ("AU07",)),
])  # fmt: skip
def test_action_units_that_can_be_read(cell, codes):
    found, unread = read_aus(cell)
    assert unread == ()
    assert found == codes or tuple(map(str, found)) == codes


# ── B7: manifests ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("mark", [",", ";", "\t"])
def test_manifests_by_any_program(mark, encoding, tmp_path):
    """Another delimiter, another encoding, other column names, a newline within quotes: the same clips."""
    root = write_clips(tmp_path, label="überrascht\nsehr")
    with (root / "manifest.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    rows[0] = [
        "Clip_ID",
        "Subject ",
        "DATASET",
        "Label",
        "Folder",
        "FPS",
        "Onset",
        "apex",
        "offset",
        "AUs",
        "landmarks",
    ]
    with (root / "manifest.csv").open("w", encoding=encoding, newline="") as file:
        csv.writer(file, delimiter=mark).writerows(rows)
    source = open_source("manifest", str(root))
    assert source.keys == ("a1", "a2")
    clip = source.read("a1")
    assert (clip.label, clip.onset, clip.apex) == ("überrascht\nsehr", 1, 3)
    assert [str(a) for a in clip.aus] == ["AU12R", "AU06"]
    assert ("issues" in source.describe()) == (encoding == "cp1252")


def test_a_subject_in_the_column_of_the_data_set_is_warned_of(tmp_path):
    with pytest.warns(StagkitWarning, match="a1: its data set 'mine/s1' holds a '/'"):
        open_source("manifest", str(write_clips(tmp_path, dataset="mine/s1", subject="mine")))


def test_classes_may_be_called_none(tmp_path):
    source = open_source("manifest", str(write_clips(tmp_path, label="None", subject="NA", clip_id="nan")))
    clip = source.read("nan")
    assert (clip.label, clip.subject) == ("None", "mine/NA")


def test_frames_of_a_manifest_follow_the_number_that_counts(tmp_path):
    root = write_clips(tmp_path)
    shutil.rmtree(root / "a1")
    write_frames(root / "a1", range(1, 13), "frame_{}_crop128.png")
    (root / "a1" / "._frame_3_crop128.png").write_bytes(b"junk of another system")
    (root / "a1" / "Thumbs.db").write_bytes(b"junk")
    assert ManifestSource(root).read("a1").frames[:, 0, 0].tolist() == list(range(1, 13))
    (root / "a1" / "frame_5_crop128.png").unlink()
    assert "1 frame(s) seem to be missing" in ManifestSource(root).find_issues("a1")[0]
    shutil.copy(root / "a1" / "frame_3_crop128.png", root / "a1" / "frame_3_crop128.jpg")
    with pytest.raises(StagkitError, match="two files .* are frame 3"):
        ManifestSource(root).read("a1")


def test_one_bad_number_leaves_one_clip_out(tmp_path, capsys):
    """The others are prepared, and the bad ones are counted, listed and kept."""
    root = write_faces(tmp_path / "m", {"apex": "inf"}, {"onset": "5.7"}, {"fps": "1e308"}, {"apex": "nan"}, {}, {})
    with pytest.warns(StagkitWarning):
        counts = prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))
    assert counts["clips"] == 3 and counts["skipped"] == 3
    data = load_prepared(tmp_path / "p")
    assert set(data.meta["skipped"]) == {"c0", "c1", "c2"}
    assert "c3: apex is 'nan': not coded" in data.meta["source"]["issues"]
    assert len((tmp_path / "p" / "skipped.csv").read_text().splitlines()) == 4


def write_faces(root: Path, *changes: dict, size: int = 64) -> Path:
    """A manifest of moving faces of noise, one per entry; each changes its row."""
    names = ["clip_id", "subject", "dataset", "label", "folder", "fps", "onset", "apex", "offset", "aus", "landmarks"]
    points = 22 * load_mean_face()[0] + [size / 2, size / 3]
    rows, rng = [], np.random.default_rng(0)
    (root / "lm").mkdir(parents=True)
    for i, change in enumerate(changes):
        values = [f"c{i}", f"p{i % 3}x{i}", "mine", "ab"[i % 2], f"f{i}", "100", "0", "2", "", "", f"lm/{i}.npy"]
        rows.append({**dict(zip(names, values, strict=True)), **change})
        base = cv2.GaussianBlur(rng.integers(0, 255, (size, size)).astype(np.uint8), (0, 0), 1.5)
        (root / f"f{i}").mkdir()
        for t in range(4):
            cv2.imwrite(str(root / f"f{i}" / f"{t}.png"), np.roll(base, t * (i + 1) % 4, axis=i % 2))
        np.save(root / "lm" / f"{i}.npy", points)
    with (root / "manifest.csv").open("w", newline="", encoding="utf-8") as file:
        out = csv.DictWriter(file, names)
        out.writeheader()
        out.writerows(rows)
    return root


# ── B8 ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_folders_of_rows_that_are_left_out_are_not_without_a_row(tmp_path):
    make_casme2(tmp_path, row(onset=99, offset=3), row("02"), row("03"))
    assert check_data("casme2", tmp_path)["orphan_folders"] == []


def test_long_clips_are_listed(tmp_path):
    make_casme2(tmp_path, row(onset=1, apex=5, offset=450), row("02"), frames=range(1, 451))
    assert "450 frames are 2.2 s: longer than a micro-expression" in format_check(check_data("casme2", tmp_path))


def test_pictures_are_turned_as_their_exif_says(tmp_path):
    root = write_clips(tmp_path)
    for t, path in enumerate(sorted((root / "a1").iterdir())):
        exif = Image.Exif()
        exif[274] = 6  # to be shown turned by a quarter to the right
        picture = np.zeros((6, 16), np.uint8)
        picture[:, :8] = 200 + t
        Image.fromarray(picture).save(path, exif=exif)
    source = ManifestSource(root)
    frame = source.read("a1").frames[0]
    assert frame.shape == (16, 6) and frame[0, 0] >= 200 and frame[-1, 0] == 0
    assert "EXIF rotation" in source.find_issues("a1")[0]


def test_names_in_both_unicode_forms_are_one(tmp_path):
    name = "Zoé"
    root = write_clips(tmp_path, clip_id=name, folder=unicodedata.normalize("NFC", name))
    (root / unicodedata.normalize("NFC", name)).rename(root / unicodedata.normalize("NFD", name))
    assert len(ManifestSource(root).read(unicodedata.normalize("NFC", name)).frames) == 5


def test_clip_ids_that_are_no_file_names_are_prepared(tmp_path):
    """260 characters, and two ids that differ in a slash only: each keeps its own values."""
    ids = ("x" * 260, "a/b", "a_b", "a:b", "Ä" * 120)
    root = write_faces(tmp_path / "m", *({"clip_id": key} for key in ids))
    prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))
    data = load_prepared(tmp_path / "p")
    assert data.clip_ids == ids
    assert len({x.tobytes() for x in data.x}) == len(ids)


# ── C2, D3: what a run keeps, and what a digest covers ───────────────────────────────────────────────────────────────


def test_missing_maps_are_counted_on_screen_and_in_the_run(tmp_path, capsys):
    maps = write_htnet_folder(tmp_path)
    (maps / "sub01_EP02_01f .png").unlink()
    cv2.imwrite(str(maps / "nobody_x .png"), np.zeros((28, 28, 3), np.uint8))
    with pytest.warns(StagkitWarning, match="1 of 4 clips have no map and are skipped: sub01/EP02_01f"):
        data = load_flow_maps(maps)
    assert len(data) == 3
    assert "1 of 4 clips" in data.meta["dropped"][0] and "nobody_x" in data.meta["dropped"][1]


def test_a_digest_of_maps_covers_people_names_codes_and_labels(tmp_path):
    n = 24
    base = load_flow_maps(save_maps(tmp_path / "m.npz")).meta["digest"]
    changed = {
        "subject": np.repeat([f"sub{i:02d}" for i in (0, 1, 2, 4)], 6),
        "dataset": np.repeat(["casme2", "samm"], 12),
        "clip": np.array([f"d{i}" for i in range(n)]),
        "aus": np.array(["4+L10", "12", "1"] * 8),
        "label": (np.arange(n) + 1) % 3,
    }
    digests = {load_flow_maps(save_maps(tmp_path / "m.npz", **{k: v})).meta["digest"] for k, v in changed.items()}
    assert len(digests | {base}) == len(changed) + 1
    assert load_flow_maps(save_maps(tmp_path / "m.npz")).meta["digest"] == base


def test_a_digest_of_clips_covers_all_that_decides_the_result():
    data = make_dataset()
    seen = {data.compute_digest(), data.compute_digest("other settings")}
    for name in ("x", "times_ms", "aus"):
        array = getattr(data, name).copy()
        array.flat[0] += 0.5
        seen.add(replace(data, **{name: array}).compute_digest())
    mask = data.mask.copy()
    mask[0, 0, 0] = False
    seen.add(replace(data, mask=mask).compute_digest())
    seen.add(replace(data, label=1 - data.label).compute_digest())
    for name in ("clip_ids", "subjects", "datasets"):
        seen.add(replace(data, **{name: ("other", *getattr(data, name)[1:])}).compute_digest())
    seen.add(replace(data, classes=("a", "b")).compute_digest())
    seen.add(replace(data, parts=("train",) * len(data)).compute_digest())
    assert len(seen) == 12


def test_pictures_that_were_replaced_are_measured_again(tmp_path):
    """Between an interruption and the same command; contents are compared where asked."""
    root = write_faces(tmp_path / "m", {}, {}, {})
    prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))
    before = load_prepared(tmp_path / "p")
    path = root / "f1" / "2.png"
    cv2.imwrite(str(path), np.roll(load_image(path), 3))
    with pytest.warns(StagkitWarning, match=r"1 clip\(s\) have changed .* 'c1'"):
        prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))
    after = load_prepared(tmp_path / "p")
    assert np.array_equal(before.x[0], after.x[0]) and not np.array_equal(before.x[1], after.x[1])
    assert before.meta["digest"] != after.meta["digest"]
    first = (
        ManifestSource(root).compute_input_digest("c1"),
        ManifestSource(root).compute_input_digest("c1", contents=True),
    )
    os.utime(path, (0, 0))
    second = (
        ManifestSource(root).compute_input_digest("c1"),
        ManifestSource(root).compute_input_digest("c1", contents=True),
    )
    assert first[0] != second[0] and first[1] == second[1]


def test_a_corrected_subject_is_no_resume(tmp_path):
    root = write_faces(tmp_path / "m", {}, {}, {})
    prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))
    table = root / "manifest.csv"
    table.write_text(table.read_text().replace("p1x1", "p9"))
    with pytest.raises(StagkitError, match="prepared from another source"):
        prepare_clips(ManifestSource(root), tmp_path / "p", FlowConfig(n_frames=3))


# ── A8: who is who ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_person_under_several_names_is_warned_of():
    assert {normalise_subject(n) for n in ("S1", "s1", "01", "1", "sub001", "subject_1", "spNO.1")} == {"1"}
    assert find_alike_subjects(["casme2/sub01", "samm/001", "smic/s1", "casme2/sub02"]) == [], "published sets differ"
    assert len(find_alike_subjects(["mine/S1", "mine/s1", "mine/01", "mine/s2"])) == 1
    assert "mine/s1, other/S01 may be one person" in find_alike_subjects(["mine/s1", "other/S01"])[0]


def test_a_nearly_identical_clip_of_another_person_is_warned_of_and_kept_in_the_run(tmp_path):
    data = make_dataset()
    x = data.x.copy()
    x[13] = x[1] * 1.001
    near = replace(data, x=x)
    assert find_identity_issues(data) == []
    assert len(find_identity_issues(near)) == 1
    with pytest.warns(
        StagkitWarning, match="clip001 of set/sub01 and clip013 of set/sub03 have nearly the same motion"
    ):
        from stagkit.core.config import StagConfig, TrainConfig

        small = StagConfig(width=8, heads=1, graph_layers=1, time_layers=1)
        evaluate(near, tmp_path / "run", small, TrainConfig(epochs=1), protocol="groupkfold", n_folds=2, workers=1)
    assert "nearly the same motion" in read_json(tmp_path / "run" / "run.json")["data"]["warnings"][0]


def test_public_maps_have_no_near_duplicates(shared_data):
    assert find_identity_issues(load_flow_maps(shared_data / "megc2019_flow_casme2_smic.npz")) == []
    assert find_near_duplicates(np.zeros((3, 4)), ["a", "b", "c"], ["x", "y", "z"]) == [], "no motion is no likeness"


def test_people_of_two_sets_can_be_said_to_be_the_same():
    first = make_dataset()
    second = replace(make_dataset(seed=1), subjects=tuple(s.replace("set/", "more/") for s in first.subjects))
    assert len(set(join_datasets([first, second]).subjects)) == 8
    both = join_datasets([first, second], same_subjects=True)
    assert set(both.subjects) == {f"any/sub{i:02d}" for i in range(1, 5)}
    assert both.meta["digest"] != join_datasets([first, second]).meta["digest"]
    with pytest.raises(StagkitError, match="--same-subjects"):
        join_datasets([first, first])


# ── D1, D6: hostile files ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_manifest_cannot_lead_out_of_its_folder(tmp_path):
    outside = tmp_path / "secret.png"
    cv2.imwrite(str(outside), np.zeros((16, 16), np.uint8))
    root = write_clips(tmp_path / "m", landmarks="lm.npy")
    picture = root / "a1" / "img9.png"
    for make in (lambda p: p.symlink_to(outside), lambda p: p.symlink_to("nowhere"), os.mkfifo):
        picture.unlink()
        make(picture)
        with pytest.raises(StagkitError, match="img9.png is a link that leads out of"):
            ManifestSource(root).read("a1")
    picture.unlink()
    cv2.imwrite(str(picture), np.zeros((16, 16), np.uint8))
    os.mkfifo(root / "lm.npy")
    with pytest.raises(StagkitError, match="neither a file nor a folder"):
        ManifestSource(root).read("a1")
    (root / "manifest.csv").rename(tmp_path / "table.csv")
    (root / "manifest.csv").symlink_to(tmp_path / "table.csv")
    with pytest.raises(StagkitError, match="leads out of"):
        ManifestSource(root)


@pytest.mark.parametrize("kind", ["far", "NaN", "point", "large header"])
@pytest.mark.parametrize("align", [0, 96])
def test_landmarks_that_cannot_be_are_refused_at_once(kind, align, tmp_path):
    root = write_faces(tmp_path / "m", {})
    path = root / "lm" / "0.npy"
    points = np.load(path)
    if kind == "large header":
        with path.open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "<f8", "fortran_order": False, "shape": (10**8, 68, 2)}
            )
            file.write(b"\0" * 2000)
    else:
        np.save(path, {"far": points * 1e4, "NaN": points * [np.nan, 1], "point": points * 0 + 20}[kind])
    with pytest.raises(StagkitError, match="c0"):
        ManifestSource(root).read_aligned("c0", align)


def test_stored_landmarks_beyond_any_picture_are_refused(tmp_path):
    np.save(tmp_path / "l.npy", np.full((3, 68, 2), 1e300))
    with pytest.raises(StagkitError, match="beyond"):
        load_landmarks(tmp_path / "l.npy", 3, "a")
    assert issubclass(FaceError, StagkitError)


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg"])
def test_pictures_of_a_huge_size_are_refused_before_they_are_decoded(ending, tmp_path):
    side = int(MAX_PIXELS**0.5) + 1
    path = tmp_path / f"huge.{ending}"
    Image.new("1" if ending != "jpg" else "L", (side, side)).save(path)
    with pytest.raises(StagkitError, match="more than 64,000,000 pixels"):
        load_image(path)


@pytest.mark.parametrize("ending", ["png", "bmp", "jpg"])
def test_pictures_without_their_end_are_damaged(ending, tmp_path):
    """Decoders fill what is missing with grey, and say nothing."""
    path = tmp_path / f"cut.{ending}"
    cv2.imwrite(str(path), np.random.default_rng(0).integers(0, 255, (40, 40, 3)).astype(np.uint8))
    whole = path.read_bytes()
    load_image(path)
    for part in (0.3, 0.6, 0.95):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(StagkitError, match="damaged"):
            load_image(path)


# ── films with a variable frame rate ─────────────────────────────────────────────────────────────────────────────────


def test_times_of_a_film_are_its_own_where_its_rate_varies(tmp_path):
    even = [i * 10.0 for i in range(20)]
    varied = even[:10] + [90 + 40.0 * i for i in range(1, 11)]
    film = Video(tmp_path / "f.mp4", 100.0, "f", stamps=even)
    assert film.find_times(0, 20) is None
    film.stamps[:] = varied
    assert film.find_times(0, 20).tolist() == varied and film.find_times(0, 10) is None
    with pytest.warns(StagkitWarning, match="variable frame rate.*10.0 to 40.0 ms.*off by up to 300 ms; the times in"):
        film.warn_of_rate()
    given = replace(film, given=True)
    assert given.find_times(0, 20) is None
    with pytest.warns(StagkitWarning, match="the rate given is used"):
        given.warn_of_rate()
    film.stamps[:] = [0.0, 10.0, 5.0]
    with pytest.warns(StagkitWarning, match="no usable frame times"):
        film.warn_of_rate()


@pytest.mark.parametrize("rate", [0, -25, float("inf"), float("nan"), 1e308])
def test_rates_that_are_none_are_refused(rate, tmp_path):
    write_frames(tmp_path / "f", range(1, 5))
    with pytest.raises(StagkitError, match="frames per second from 1"):
        open_video(tmp_path / "f", rate)


def test_joined_data_keeps_what_was_dropped(tmp_path):
    maps = write_htnet_folder(tmp_path)
    (maps / "sub01_EP02_01f .png").unlink()
    with pytest.warns(StagkitWarning):
        data = load_data([maps, save_maps(tmp_path / "m.npz")])
    assert "1 of 4 clips" in data.meta["of"][0]["dropped"][0]


def test_check_data_of_a_manifest_lists_what_is_wrong(tmp_path, capsys):
    root = write_faces(
        tmp_path / "m", {"subject": "S1"}, {"subject": "s01"}, {"fps": "inf"}, {"aus": "xyz"}, {"label": ""}, {}
    )
    shutil.copytree(root / "f0", root / "twin")
    text = (root / "manifest.csv").read_text().replace(",f5,", ",twin,")
    (root / "manifest.csv").write_text(text)
    code, out, _ = run("check-data", "manifest", root, "--decode-frames", capsys=capsys)
    assert code == 0 and "4 usable of 6" in out
    for words in (
        "c2: clip 'c2': fps is 'inf'",
        "row 5 below the header (clip 'c4'): it has no label",
        "c3: action units",
        "mine/S1, mine/s01 may be one person",
        "c0 of mine/S1 and c5 of mine/p2x5 have nearly the same motion",
    ):
        assert words in out, words


def test_a_clip_that_is_not_there_is_one_sentence(tmp_path):
    """Asked for by a wrong key, or left out: every source says which it is."""
    source = PhantomSource(PhantomConfig(subjects=2, clips=2, size=48))
    root = write_manifest(source, tmp_path / "m")
    table = (root / "manifest.csv").read_text()
    (root / "manifest.csv").write_text(table.replace("sub01_002,", "sub01_001,", 1))
    with pytest.warns(StagkitWarning):
        manifest = ManifestSource(root)
    with pytest.raises(StagkitError, match="'sub01_001' is skipped: its clip_id is in the table twice"):
        manifest.read("sub01_001")
    for one in (source, manifest):
        with pytest.raises(StagkitError, match="there is no clip 'nobody'"):
            one.read("nobody")


def test_folders_that_lost_their_row_or_their_clips_are_named(tmp_path):
    """A person whose only row names another clip; a person of SMIC whose folder of clips was hidden or renamed."""
    trees = make_trees(tmp_path, ("casme2", "smic"))
    book = openpyxl.load_workbook(next(trees["casme2"].glob("*.xlsx")))
    sheet = book.worksheets[0]
    sheet.cell(2, 2).value = "EP99_09x"
    book.save(next(trees["casme2"].glob("*.xlsx")))
    found = check_data("casme2", trees["casme2"])
    lost = f"sub{int(sheet.cell(2, 1).value):02d}/"
    assert any(lost in folder for folder in found["orphan_folders"])
    base = trees["smic"] / "SMIC_all_cropped/HS"
    (base / "s2/micro").rename(base / "s2/.micro")
    assert "subject folder s2 holds no clips" in format_check(check_data("smic", trees["smic"]))
