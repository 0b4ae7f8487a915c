"""Damage to a data set on disk, by chance: what happens to files that people copy, unpack and open in Excel.

``python -m tests.damage 2000`` damages so many trees and says how each ended; anything but a result or a ``StagkitError`` is
a fault of stagkit. ``tests/test_damage.py`` runs a smaller number.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import openpyxl

from stagkit.config import PhantomConfig
from stagkit.data_check import check_data, format_check
from stagkit.datasets import NAMES, open_source
from stagkit.datasets.manifest import write_manifest
from stagkit.datasets.phantom_trees import LAYOUT_PRESETS, write_tree
from stagkit.datasets.phantoms import PhantomSource
from stagkit.datasets.sheets import load_grids
from stagkit.types import StagkitError

ODD = ["", " ", "/", "?", "nan", "None", "46a", "-1", "1e9", "9" * 30, "３７", "../../x", "a/b", "\t5", "=1/0", "4，11"]


def make_trees(root: Path, names=(*NAMES, "manifest")) -> dict[str, Path]:
    """A small sound tree of every layout."""
    trees = {}
    for name in names:
        preset = LAYOUT_PRESETS.get(name, "casme2")
        source = PhantomSource(PhantomConfig(preset=preset, subjects=3, clips=1, size=48))
        write = write_manifest if name == "manifest" else lambda s, r, n=name: write_tree(s, n, r)
        trees[name] = root / name
        write(source, trees[name])
        shutil.rmtree(trees[name] / "truth", ignore_errors=True)
    return trees


def _pick(rng: random.Random, root: Path, *endings: str) -> Path | None:
    files = [p for p in sorted(root.rglob("*")) if p.is_file() and (not endings or p.suffix in endings)]
    return rng.choice(files) if files else None


def _change_sheet(rng: random.Random, root: Path, change: Callable[[list[list]], object]) -> None:
    """Apply ``change`` to the rows of a sheet and save it again."""
    path = _pick(rng, root, ".xlsx", ".csv")
    if path is None or not path.stat().st_size:
        return
    if path.suffix == ".csv":
        rows = [line.split(",") for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines()]
        change(rows)
        path.write_text("\n".join(",".join(map(str, r)) for r in rows) + "\n", encoding="utf-8")
        return
    book = openpyxl.Workbook()
    book.remove(book.active)
    for i, (name, grid) in enumerate(load_grids(path).items()):
        rows = [list(r) for r in grid]
        if i == 0 or rng.random() < 0.3:
            change(rows)
        sheet = book.create_sheet(name)
        for r in rows:
            sheet.append([str(v)[:300] if isinstance(v, str) else v for v in r])
    book.save(path)


def cut_a_file(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        data = path.read_bytes()
        path.write_bytes(data[: rng.randrange(len(data) + 1)])


def flip_bytes(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        data = bytearray(path.read_bytes())
        for _ in range(rng.randint(1, 40) if data else 0):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)


def remove_files(rng: random.Random, root: Path) -> None:
    for _ in range(rng.randint(1, 30)):
        if path := _pick(rng, root):
            path.unlink()


def remove_a_folder(rng: random.Random, root: Path) -> None:
    folders = [p for p in sorted(root.rglob("*")) if p.is_dir()]
    if folders:
        shutil.rmtree(rng.choice(folders))


def folder_for_file(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        path.unlink()
        path.mkdir()


def file_for_folder(rng: random.Random, root: Path) -> None:
    folders = [p for p in sorted(root.rglob("*")) if p.is_dir()]
    if folders:
        path = rng.choice(folders)
        shutil.rmtree(path)
        path.write_text("a file")


def rename_something(rng: random.Random, root: Path) -> None:
    things = sorted(root.rglob("*"))
    if things:
        path = rng.choice(things)
        name = rng.choice(
            [path.name.upper(), f"copy of {path.name}", f"{path.stem}(1){path.suffix}", "x", f".{path.name}"]
        )
        if not (path.parent / name).exists():
            path.rename(path.parent / name)


def copy_a_file(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        shutil.copy(path, path.with_name(f"0{path.name}"))


def link_out(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        path.unlink()
        os.symlink(rng.choice(["/etc/hosts", "/", "../..", path.name, "nowhere"]), path)


def rename_a_column(rng: random.Random, root: Path) -> None:
    def change(rows):
        if rows:
            head = max(rows[:20], key=lambda r: sum(isinstance(c, str) for c in r))
            head[rng.randrange(len(head))] = rng.choice(["Onset", "", None, 7, "Emotion", "x"]) if head else None

    _change_sheet(rng, root, change)


def write_odd_cells(rng: random.Random, root: Path) -> None:
    def change(rows):
        for _ in range(rng.randint(1, 12)):
            r = rng.choice(rows) if rows else []
            if r:
                r[rng.randrange(len(r))] = rng.choice([*ODD, None, 0, -4, 3.7, True, 10**15])

    _change_sheet(rng, root, change)


def swap_cells(rng: random.Random, root: Path) -> None:
    def change(rows):
        for r in rows:
            if len(r) > 2 and rng.random() < 0.5:
                i, k = rng.sample(range(len(r)), 2)
                r[i], r[k] = r[k], r[i]

    _change_sheet(rng, root, change)


def repeat_rows(rng: random.Random, root: Path) -> None:
    _change_sheet(rng, root, lambda rows: rows.extend([list(rng.choice(rows)) for _ in range(3)] if rows else []))


def empty_rows(rng: random.Random, root: Path) -> None:
    def change(rows):
        for _ in range(rng.randint(1, 5)):
            rows.insert(rng.randint(0, len(rows)), [None] * 3)
        if rng.random() < 0.2:
            rows.clear()

    _change_sheet(rng, root, change)


def shift_columns(rng: random.Random, root: Path) -> None:
    _change_sheet(rng, root, lambda rows: [r.insert(0, None) for r in rows])


def text_for_numbers(rng: random.Random, root: Path) -> None:
    def change(rows):
        for r in rows:
            r[:] = [f" {c} " if isinstance(c, (int, float)) and rng.random() < 0.7 else c for c in r]

    _change_sheet(rng, root, change)


def other_encoding(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root, ".csv", ".json"):
        plain = path.read_bytes()
        wide = plain.decode("latin-1").encode("utf-16")
        path.write_bytes(rng.choice([b"\xef\xbb\xbf" + plain, wide, b"\xff\xfe\x00" + plain]))


DAMAGES = (
    cut_a_file, flip_bytes, remove_files, remove_a_folder, folder_for_file, file_for_folder, rename_something, copy_a_file,
    link_out, rename_a_column, write_odd_cells, swap_cells, repeat_rows, empty_rows, shift_columns, text_for_numbers,
    other_encoding,
)  # fmt: skip


def read_everything(name: str, root: Path) -> str:
    """Check and read a tree as the commands do; how it ended."""
    try:
        if name != "manifest":
            format_check(check_data(name, root))
        source = open_source(name, str(root))
        for key in source.keys:
            source.read(key)
        repr(source.describe())
        return "read"
    except StagkitError as error:
        assert str(error).strip(), "an error says something"
        return "told"


def damage_trees(n: int, seed: int, home: Path) -> tuple[Counter, list[str]]:
    """Damage ``n`` trees in one to three ways each and read them.

    Returns:
        how they ended -> how often; a report for each traceback.
    """
    trees = make_trees(home / "sound")
    ends: Counter = Counter()
    faults = []
    for i in range(n):
        rng = random.Random(f"{seed}-{i}")
        name = rng.choice(list(trees))
        work = home / "work"
        shutil.copytree(trees[name], work, symlinks=True)
        done = [rng.choice(DAMAGES) for _ in range(rng.choice([1, 1, 2, 3]))]
        for damage in done:
            with suppress(StagkitError):  # the damage before has left no sheet that could be changed
                damage(rng, work)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                ends[read_everything(name, work)] += 1
            except Exception:
                ends["traceback"] += 1
                faults.append(f"{i} {name} {[d.__name__ for d in done]}\n{traceback.format_exc()}")
        shutil.rmtree(work)
    return ends, faults


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found, reports = damage_trees(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(folder))
    print(*reports[:10], sep="\n")
    print(dict(found))
    sys.exit(bool(reports))
