"""Damage to a data set on disk, by chance: what happens to files that people copy, unpack and open in Excel.

``python -m tests.damage 2000 0`` damages so many trees and counts how each ended. Two ends are faults of stagkit, and make
the exit code 1:

- a traceback: anything but a result or a ``StagkitError``;
- a silent wrong result: a clip is read otherwise than from the undamaged tree (frames, label, subject, AUs, onset, apex,
  offset, frame rate, part), or is lost, and no warning, finding or list of what is left out names it, its row or its sheet.

Not every damage can be seen, and these are no faults:

- a cell that was changed into another value that is valid, and is read as it now stands (``is_stated``);
- a clip that neither a table nor a folder names any more (a manifest cut after some rows, a removed folder of SMIC-HS, which
  has no sheet);
- changed bytes in a JPEG or BMP file of the same length: these formats hold no checksum (PNG does);
- the lost mark ``phantom.json``: phantoms are then taken for the set that they imitate.

``tests/test_damage.py`` runs a smaller number.
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

from stagkit.core.types import StagkitError
from stagkit.datasets import NAMES, open_source
from stagkit.datasets.au_codes import read_aus
from stagkit.datasets.check import check_data, format_check
from stagkit.datasets.manifest import write_manifest
from stagkit.datasets.spreadsheets import load_grids
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.releases import LAYOUTS, write_tree

ODD = ["", " ", "/", "?", "nan", "None", "46a", "-1", "1e9", "9" * 30, "３７", "../../x", "a/b", "\t5", "=1/0", "4，11"]


def make_trees(root: Path, names=(*NAMES, "manifest")) -> dict[str, Path]:
    """A small sound tree of every layout."""
    trees = {}
    for name in names:
        preset = LAYOUTS[name].preset if name in LAYOUTS else "casme2"
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
    folders = [p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink()]
    if folders:
        shutil.rmtree(rng.choice(folders))


def folder_for_file(rng: random.Random, root: Path) -> None:
    if path := _pick(rng, root):
        path.unlink()
        path.mkdir()


def file_for_folder(rng: random.Random, root: Path) -> None:
    folders = [p for p in sorted(root.rglob("*")) if p.is_dir() and not p.is_symlink()]
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


FIELDS = ("frames", "label", "subject", "aus", "onset", "apex", "offset", "fps", "part")


def read_everything(name: str, root: Path) -> tuple[dict[str, dict[str, object]], str]:
    """Check and read a tree as the commands do.

    Returns:
        clip -> field -> value, of the clips that can be read; everything that was said of the others and of the tree.

    Raises:
        StagkitError: the tree cannot be used.
    """
    said, clips = [], {}
    if name != "manifest":
        found = check_data(name, root)
        format_check(found)
        said += [*(f"{key}: {why}" for key, why in found["skipped"].items()), *found["issues"], *found["corrections"]]
        said += found["orphan_folders"]  # 'folders without a row'
    source = open_source(name, str(root))
    said += [repr(source.describe()), *(f"{key}: {why}" for key, why in source.skipped.items())]
    for key in source.keys:
        try:
            clip = source.read(key)
            said += [f"{key}: {text}" for text in source.find_issues(key)]
        except StagkitError as error:
            assert str(error).strip(), "an error says something"
            said.append(f"{key}: {error}")
            continue
        record = source.get_record(key)  # with frame numbers, as the annotation file writes them
        files = record.frame_paths
        clips[key] = {
            "files": set(files),
            "frames": tuple(hash(frame.tobytes()) for frame in clip.frames),
            "label": clip.label,
            "subject": clip.subject.replace("-phantom", ""),
            "aus": None if clip.aus is None else tuple(map(str, clip.aus)),
            **{k: getattr(record or clip, k) for k in ("onset", "apex", "offset")},
            "fps": clip.fps,
            "part": clip.part,
        }
    return clips, "\n".join(said)


def list_rows(root: Path) -> list[list[object]]:
    """The rows of all tables of a tree."""
    rows = []
    for path in sorted(p for p in root.rglob("*") if p.suffix in (".xlsx", ".csv") and p.is_file()):
        with suppress(StagkitError):
            rows += [list(row) for grid in load_grids(path).values() for row in grid]
    return rows


def is_stated(field: str, value: object, rows: list[list[object]]) -> bool:
    """Whether one of these rows holds a cell that says this."""
    cells = [cell for row in rows for cell in row]
    if value is None:  # 'not coded' is said by an empty cell, or by a row that is too short
        return any(cell is None or str(cell).strip() == "" for cell in cells) or any(len(r) < 9 for r in rows)
    if field == "aus":
        return any(tuple(map(str, read_aus(cell)[0] or ())) == value for cell in cells)
    if field == "subject":
        last = str(value).rpartition("/")[2]
        return any(
            str(cell).strip() and str(cell).strip().lower() in (last.lower(), str(value).lower()) for cell in cells
        )
    if field in ("onset", "apex", "offset", "fps"):
        for cell in cells:
            with suppress(ValueError, TypeError):
                if float(str(cell)) == float(value):
                    return True
        return False
    return any(str(value).lower() == str(cell).strip().lower() for cell in cells)


def find_flipped(sound: Path, root: Path) -> set[Path]:
    """JPEG and BMP files of which bytes were changed."""
    found = set()
    for path in root.rglob("*"):
        old = sound / path.relative_to(root)
        if path.suffix.lower() in (".jpg", ".bmp") and path.is_file() and old.is_file():
            now, then = path.read_bytes(), old.read_bytes()
            if len(now) == len(then) and now != then:
                found.add(path)
    return found


def find_own_rows(name: str, key: str, rows: list[list[object]]) -> list[list[object]]:
    """The rows that name this clip as it was."""
    subject, *parts = key.split("/") if "/" in key else ("", key)
    wanted = set(parts)
    found = [row for row in rows if wanted <= {str(cell).strip() for cell in row} or key in map(str, row)]
    if name == "casme-squared":  # a clip's name repeats across subjects; the first cell is the subject's number
        number = str(int(subject[1:]) - 14) if subject[1:].isdigit() else subject
        found = [row for row in found if str(row[0]) == number]
    return found


def is_named(
    name: str, key: str, sound: dict, rows: list[list[object]], own: list[list[object]], said: str, sheets: list[str]
) -> bool:
    """Whether what was said names the clip, its row, or its sheet."""
    if key in said or any(f"{sheet} " in said for sheet in sheets):
        return True
    if f"subject folder {key.partition('/')[0]} holds no clips" in said:
        return True
    lines, parts = said.splitlines(), key.split("/")[-2:] if "/" in key else [key]
    for line in lines:  # the row under the name that it has now
        head = line.partition(": ")[0]
        if (
            head not in sound
            and parts[-1] in head
            and (len(parts) < 2 or line.startswith("row ") or parts[0] not in sound)
        ):
            return True
        if (
            head not in sound
            and ("/" in head or name == "manifest")
            and any(row in own for row in find_own_rows(name, head, rows))
        ):
            return True
    numbered = [i for i, row in enumerate(rows) if row in own]
    return any(f"row {i + shift} " in said for i in numbered for shift in (-14, -13, -1, 0, 1))


def find_silent(name: str, sound: dict, sound_root: Path, root: Path, read: dict, said: str) -> list[str]:
    """Clips that are read wrongly or lost without a word, a sentence each."""
    rows, flipped = list_rows(root), find_flipped(sound_root, root)
    folders = {p.name for p in root.rglob("*") if p.is_dir()}
    sheets = [p.name for p in sound_root.iterdir() if p.suffix in (".xlsx", ".csv")]
    silent = []
    for key in {**sound, **read}:
        own = find_own_rows(name, key, rows)
        if is_named(name, key, sound, rows, own, said, sheets):
            continue
        if key not in read:
            renamed = [k for k in read if k not in sound and any(r in own for r in find_own_rows(name, k, rows))]
            if renamed:  # two valid cells that were swapped give the clip another valid name
                continue
            if own or (not sheets and key.rpartition("/")[2] in folders):
                silent.append(f"{name} {key}: lost")
            continue
        if key not in sound:
            if not own:
                silent.append(f"{name} {key}: made up")
            continue
        for field in FIELDS:
            now, then = read[key][field], sound[key][field]
            if now == then or (field == "frames" and read[key]["files"] & flipped):
                continue
            if field == "frames" and any(read[key][k] != sound[key][k] for k in ("onset", "offset")):
                continue  # the row states another range: other frames are right
            if not is_stated(field, now, own):
                silent.append(f"{name} {key}: {field} {str(then)[:60]} -> {str(now)[:60]}")
    return silent


def damage_trees(n: int, seed: int, home: Path) -> tuple[Counter, list[str]]:
    """Damage ``n`` trees in one to three ways each and read them.

    Returns:
        how they ended -> how often; a report for each traceback, and for each tree with silent wrong results.
    """
    trees = make_trees(home / "sound")
    sound = {name: read_everything(name, root)[0] for name, root in trees.items()}
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
        about = f"{i} {name} {[d.__name__ for d in done]}"
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            try:
                read, said = read_everything(name, work)
                said = "\n".join([said, *(str(w.message) for w in warned)])
                silent = find_silent(name, sound[name], trees[name], work, read, said)
                ends["silent wrong result" if silent else "read"] += 1
                faults += [f"{about}\nsilent: " + "\nsilent: ".join(silent)] if silent else []
            except StagkitError as error:
                assert str(error).strip(), "an error says something"
                ends["told"] += 1
            except Exception:
                ends["traceback"] += 1
                faults.append(f"{about}\n{traceback.format_exc()}")
        shutil.rmtree(work)
    return ends, faults


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        found, reports = damage_trees(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0, Path(folder))
    print(*reports[:10], sep="\n")
    print(dict(found))
    sys.exit(bool(reports))
