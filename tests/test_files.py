"""Files: atomic, bounded, never through a link; CSV cells come back as they were, whatever they are called."""

import io
import os
import stat
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.errors import StagkitError
from stagkit.core.files import (
    TEMPORARY,
    digest_file,
    load_arrays,
    read_json,
    remove_temporary,
    resolve_inside,
    safe_name,
    shorten,
    write_atomically,
    write_json,
    write_text,
)
from stagkit.datasets.tables import read_table, write_table
from stagkit.motion.images import write_image

HOSTILE = [
    "None",
    "NA",
    "null",
    "nan",
    "<b>",
    "=1+1",
    "@x",
    "'=1",
    "'",
    "''x",
    "a,b",
    'q"q',
    "a\nb",
    "a\rb",
    "\r\n",
    ";",
    "😀",
]
HOSTILE += ["表情", "x" * 200, "", " ", "01", "1e5", "-", "+", "\t", "True", "\ufeffa"]


def test_hostile_cells_come_back_as_they_were(tmp_path):
    frame = pd.DataFrame({"label": HOSTILE, "=name": HOSTILE[::-1], "seed": range(len(HOSTILE)), "p_x": 0.1})
    write_table(tmp_path / "t.csv", frame)
    back = read_table(tmp_path / "t.csv", numbers=("seed", "p_*"), required=("label",))
    assert back["label"].tolist() == HOSTILE
    assert back["=name"].tolist() == HOSTILE[::-1]
    assert back["seed"].dtype == np.int64
    assert back["p_x"].dtype == float


@settings(max_examples=200, deadline=None)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=30), min_size=1, max_size=5),
    number=st.floats(allow_nan=True),
)
def test_any_text_and_float_round_trip(tmp_path_factory, texts, number):
    path = tmp_path_factory.getbasetemp() / "round.csv"
    write_table(path, pd.DataFrame({"text": texts, "more": texts, "number": [number] * len(texts)}))
    back = read_table(path, numbers=("number",))
    assert back["text"].tolist() == texts
    np.testing.assert_array_equal(back["number"].astype(float), [number] * len(texts))


def test_no_cell_is_a_formula_in_a_spreadsheet(tmp_path):
    write_table(tmp_path / "t.csv", pd.DataFrame({"a": ["=1+1", "+1", "-1", "@x", "\tx"], "n": [-1.0] * 5}))
    lines = (tmp_path / "t.csv").read_text().splitlines()[1:]
    assert all(line.startswith(("'", "\"'")) and line.endswith(",-1.0") for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("a;b\n1;2\n", "commas"),
        ("a,b\n1\n", "row 1 has 1 cells"),
        ("a,a\n1,2\n", "two columns"),
        ('a,b\n"1,2\n', "no readable CSV"),
        ("a,b\nx,2\n", "no number"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, text, message):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(StagkitError, match=message):
        read_table(tmp_path / "t.csv", numbers=("a",), required=("a",))


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(ZeroDivisionError), write_atomically(path) as aside:
        aside.write_text("new")
        raise ZeroDivisionError
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_one_sentence_with_the_file(tmp_path):
    from safetensors import SafetensorError

    for error in (OSError(28, "No space left on device"), SafetensorError("I/O error: No space left on device")):
        with (
            pytest.raises(StagkitError, match=r"a\.bin cannot be written: .*No space left"),
            write_atomically(tmp_path / "a.bin"),
        ):
            raise error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_the_umask_decides_who_may_read(tmp_path, umask):
    old = os.umask(umask)
    try:
        write_text(tmp_path / "page.html", "a face")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "page.html").stat().st_mode) == 0o666 & ~umask


def test_nothing_is_written_through_a_link(tmp_path):
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "a.json").symlink_to(tmp_path / "outside")
    with pytest.raises(StagkitError, match="is a link"):
        write_json(tmp_path / "run" / "a.json", {})
    assert (tmp_path / "outside").read_text() == "mine"


def test_a_long_name_can_be_written_when_the_system_allows_it(tmp_path):
    write_text(tmp_path / ("n" * 240 + ".txt"), "x")
    with pytest.raises(StagkitError, match="cannot be written"):
        write_text(tmp_path / ("n" * 300 + ".txt"), "x")


def test_paths_stay_inside_their_root(tmp_path):
    root = tmp_path / "root"
    (root / "in").mkdir(parents=True)
    (root / "in" / "a").write_text("a")
    (tmp_path / "secret").write_text("s")
    (root / "out").symlink_to(tmp_path)
    (root / "loop").symlink_to(root / "loop")
    (root / "near").symlink_to(root / "in")
    os.mkfifo(root / "pipe")
    assert resolve_inside(root, "in/a") == root / "in" / "a"
    assert resolve_inside(root, "new/file") == root / "new" / "file"
    assert resolve_inside(root, "near/a").read_text() == "a"
    for bad in ("../secret", "/etc/passwd", "out/secret", "out", "pipe", "in/../../secret", "a\0b"):
        with pytest.raises(StagkitError):
            resolve_inside(root, bad)
    (tmp_path / "named").symlink_to(root)
    assert resolve_inside(tmp_path / "named", "in/a").read_text() == "a"  # the user may name a link as the root


def test_temporary_files_of_a_killed_command_are_removed(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / f"{TEMPORARY}12.json").write_text("x")
    (tmp_path / "keep.json").write_text("x")
    remove_temporary(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["keep.json", "sub"]


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300))
def test_names_of_files_are_different_for_different_ids(a, b):
    for name in (safe_name(a), safe_name(b)):
        assert 0 < len(name.encode()) <= 100 and Path(name).name == name and name not in (".", "..")
    assert (safe_name(a) == safe_name(b)) == (a == b)


def test_plain_ids_keep_their_names():
    assert safe_name("sub01_EP02_01f") == "sub01_EP02_01f"
    assert safe_name(safe_name("a/b")) != safe_name("a/b")
    assert safe_name("CON") != "CON"


def test_an_error_message_is_short_and_printable():
    laughs = "ha"
    for _ in range(40):
        laughs = [laughs] * 10
    deep = []
    for _ in range(5000):
        deep = [deep]
    for value in (laughs, deep, "x" * 10**6, {"k": "v" * 1000}, "\x1b[31mred", 10**5000, list(range(10**6))):
        text = shorten(value)
        assert len(text) <= 200 and text.isprintable()


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "[]", "\xff", '{"a": ' + "9" * 5000 + "}"])
def test_damaged_json_is_one_sentence(tmp_path, text):
    (tmp_path / "a.json").write_text(text, encoding="latin-1")
    with pytest.raises(StagkitError, match=r"a\.json"):
        read_json(tmp_path / "a.json")


def test_arrays_are_checked_before_memory_is_taken(tmp_path):
    np.savez_compressed(tmp_path / "good.npz", a=np.arange(6).reshape(2, 3), b=np.float32(2))
    found = load_arrays(tmp_path / "good.npz")
    assert found["a"].tolist() == [[0, 1, 2], [3, 4, 5]] and found["b"] == 2
    np.save(tmp_path / "good.npy", np.eye(2))
    assert load_arrays(tmp_path / "good.npy")[""].tolist() == [[1, 0], [0, 1]]

    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w") as archive:
        archive.writestr("a.npy", head.getvalue())
    (tmp_path / "bomb.npy").write_bytes(head.getvalue())
    np.savez_compressed(tmp_path / "zeros.npz", a=np.zeros(10**6))
    np.savez(tmp_path / "objects.npz", a=np.array([{}], object))
    (tmp_path / "text.npz").write_text("no")
    good = (tmp_path / "good.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(good[: len(good) // 2])
    for name, limit in [("bomb.npz", 2**31), ("bomb.npy", 2**31), ("zeros.npz", 10**6), ("objects.npz", 2**31)]:
        with pytest.raises(StagkitError, match=name):
            load_arrays(tmp_path / name, limit)
    for name in ("text.npz", "cut.npz", "missing.npz"):
        with pytest.raises(StagkitError, match=name):
            load_arrays(tmp_path / name)


def test_every_changed_byte_of_an_archive_is_noticed_or_harmless(tmp_path):
    np.savez_compressed(tmp_path / "a.npz", a=np.arange(50.0))
    good = (tmp_path / "a.npz").read_bytes()
    for i in range(len(good)):
        hurt = bytearray(good)
        hurt[i] ^= 4
        (tmp_path / "b.npz").write_bytes(hurt)
        try:
            found = load_arrays(tmp_path / "b.npz")
        except StagkitError:
            continue
        assert all(np.array_equal(v, np.arange(50.0)) for v in found.values())


def test_a_picture_that_cannot_be_written_is_an_error(tmp_path, monkeypatch):
    image = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    write_image(tmp_path / "表.png", image)
    assert np.array_equal(cv2.imdecode(np.fromfile(tmp_path / "表.png", np.uint8), 1), image)
    with pytest.raises(StagkitError, match="cannot be encoded"):
        write_image(tmp_path / "a.nonsense", image)
    monkeypatch.setattr(cv2, "imencode", lambda *_: (False, None))
    with pytest.raises(StagkitError, match="cannot be encoded"):
        write_image(tmp_path / "b.png", image)
    assert not (tmp_path / "b.png").exists()


def test_digest_of_a_file_follows_its_bytes(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    assert digest_file(tmp_path / "a") != digest_file(tmp_path / "b")
