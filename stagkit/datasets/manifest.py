"""Any clips, listed in a table: a folder with ``manifest.csv`` and one folder of frames per clip.

Its columns are described in ``data_README.md``; moments are 0-based positions among a clip's sorted frames. Paths are
relative to the table and cannot leave its folder. A subject with a ``/`` is used as it is, so it can be in several sets.
"""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.files import (
    TEMPORARY,
    Progress,
    check_writable,
    digest_file,
    lock_folder,
    no_progress,
    read_json,
    remove_temporary,
    resolve_inside,
    safe_name,
    shorten,
    write_atomically,
    write_json,
)
from stagkit.core.parallel import run_in_processes
from stagkit.core.types import StagkitError
from stagkit.datasets import Clips, ClipSource, DatasetNotAvailable
from stagkit.datasets.annotated import FileSource
from stagkit.datasets.au_codes import find_au_issue, read_aus
from stagkit.datasets.index import ClipRecord
from stagkit.datasets.spreadsheets import TableError, is_blank, load_table, read_frame, read_name, read_rate, read_text
from stagkit.datasets.tables import write_table
from stagkit.motion.frames import Tree, normalise_name
from stagkit.motion.images import write_image

_NEEDED = ("clip_id", "subject", "dataset", "label", "folder", "fps")
_OPTIONAL = ("onset", "apex", "offset", "aus", "landmarks", "part")
_TEXTS = ("clip_id", "subject", "dataset", "label", "folder", "landmarks", "part")
_MOMENTS = ("onset", "apex", "offset")

#: Folder with the state of a command that writes clips; removed when all are written.
_STATE = ".stagkit-writing"


class ManifestSource(FileSource):
    """Clips listed in ``ROOT/manifest.csv`` (or ``ROOT/annotations``); rows that cannot be used are skipped with a warning.

    Raises:
        DatasetNotAvailable: no table.
    """

    def __init__(self, root: str | Path, annotations: str = ""):
        self.root = Path(root)
        table = self.root / (annotations or "manifest.csv")
        if not table.is_file():
            raise DatasetNotAvailable(
                f"{table} is missing: expected a manifest.csv and frames; found: {Tree(self.root).describe()}."
            )
        table = resolve_inside(self.root, annotations or "manifest.csv")
        self.table, self._digest = table.name, digest_file(table)
        self.issues: list[str] = []
        self.skipped: dict[str, str] = {}
        self._rows = self._load_rows(table)
        if not self._rows:
            name, why = next(iter(self.skipped.items()), ("the table", "it has no row below its header"))
            raise StagkitError(f"{table} names no clip that can be used; the first, {name}: {why}.")
        self._find_row_issues()
        self.keys = tuple(self._rows)
        self.name = "+".join(sorted({row["dataset"] for row in self._rows.values()}))
        self.classes = tuple(sorted({row["label"] for row in self._rows.values()}))
        skipped = [f"{name} is skipped: {why}" for name, why in self.skipped.items()]
        for texts in (skipped, self.issues):
            if texts:
                more = f" (and {len(texts) - 1} more)" if len(texts) > 1 else ""
                warnings.warn(f"{table}: {texts[0]}{more}.", StagkitWarning, stacklevel=2)

    def _load_rows(self, table: Path) -> Clips:
        """Clip -> its row, texts as ``read_name`` reads them."""
        columns, optional = ({name: (name,) for name in names} for names in (_NEEDED, _OPTIONAL))
        rows = Clips({}, self.skipped)
        for number, cells in load_table(table, columns, optional, self.issues, complete=True):
            row = {**cells, **{name: read_name(cells[name]) for name in _TEXTS}}
            key = row["clip_id"]
            missing = [name for name in _NEEDED if not row[name] and not read_text(cells[name])]
            if missing:
                clip = f" (clip {shorten(key, 60)})" if key else ""
                self.skipped[f"row {number + 1} below the header{clip}"] = f"it has no {', '.join(missing)}"
                continue
            first = rows.setdefault(key, row)
            if first is not row and first == row:
                self.issues.append(f"clip {shorten(key, 60)} is in the table twice, alike: the second is skipped")
            elif first is not row:
                self.skipped[key] = "its clip_id is in the table twice, and the rows disagree"
        for key in self.skipped:
            rows.pop(key, None)
        return rows

    def _find_row_issues(self) -> None:
        """Irregularities of the table alone."""
        for key, row in self._rows.items():
            found = [find_au_issue(row["aus"], *read_aus(row["aus"]))]
            if "/" in row["dataset"]:
                found.append(f"its data set {shorten(row['dataset'], 60)} holds a '/': is it in the right column?")
            for name in _MOMENTS:
                if not is_blank(row[name]) and not read_text(row[name]):
                    found.append(f"{name} is {shorten(row[name], 60)}: not coded")
            self.issues += [f"{key}: {text}" for text in found if text]
        folders = Counter(row["folder"] for row in self._rows.values())
        self.issues += [f"{n} clips have the folder {shorten(f, 60)}" for f, n in folders.items() if n > 1]

    def describe(self) -> dict[str, object]:
        """Digest of the table, skipped rows, and issues of the others."""
        found = {k: v for k, v in (("skipped", self.skipped), ("issues", self.issues)) if v}
        return {"source": "manifest", "name": self.name, "digest": self._digest, **found}

    def get_record(self, key: str) -> ClipRecord:
        """Files and annotations of a clip; ``StagkitError`` if a path leaves the folder, or frames or cells are wrong."""
        row = self._rows[key]
        paths, _ = self._list_frames(key)
        moments = {name: self._read_position(key, name, len(paths)) for name in _MOMENTS}
        coded = [(name, at) for name, at in moments.items() if at is not None]
        for (first, early), (second, late) in pairwise(coded):
            if early > late:
                raise StagkitError(
                    f"clip {key!r}: {first} is {early} and {second} {late}, expected onset <= apex <= offset; "
                    "leave unknown ones empty."
                )
        try:
            fps = read_rate(row["fps"])
        except TableError as error:
            raise StagkitError(f"clip {key!r}: {error}.") from error
        subject, dataset = row["subject"], row["dataset"]
        return ClipRecord(
            clip_id=key,
            dataset=dataset,
            subject=subject if "/" in subject else f"{dataset}/{subject}",
            frame_paths=tuple(paths),
            frame_numbers=tuple(range(len(paths))),
            fps=fps,
            **moments,
            label_raw=row["label"],
            label=row["label"],
            aus=read_aus(row["aus"])[0],
            part=row["part"],
            landmarks=self._resolve(row["landmarks"]) if row["landmarks"] else None,
        )

    def find_issues(self, key: str) -> list[str]:
        """Irregularities of one clip's frames, a sentence each; the images are not decoded."""
        return self._list_frames(key)[1] + super().find_issues(key)

    def _list_frames(self, key: str) -> tuple[list[Path], list[str]]:
        folder = self._resolve(self._rows[key]["folder"])
        if not folder.is_dir():
            raise StagkitError(f"clip {key!r}: there is no folder {folder}.")
        try:
            return Tree(self.root).list_frames(folder)
        except StagkitError as error:
            raise StagkitError(f"clip {key!r}: {str(error).rstrip('.')}.") from error

    def _resolve(self, relative: str) -> Path:
        """A path of the table; if the system has the name in another Unicode form, that one."""
        path = resolve_inside(self.root, relative)
        if path.exists():
            return path
        place = self.root
        for part in Path(relative).parts:
            names = os.listdir(place) if place.is_dir() else []
            alike = (name for name in names if normalise_name(name) == normalise_name(part))
            place /= part if part in names else next(alike, part)
        return resolve_inside(self.root, place.relative_to(self.root))

    def _read_position(self, key: str, name: str, n_frames: int) -> int | None:
        try:
            at = read_frame(self._rows[key][name])
        except TableError as error:
            raise StagkitError(f"clip {key!r}: {name}: {error}: expected a whole number from 0, or nothing.") from error
        if at is not None and at >= n_frames:
            raise StagkitError(f"clip {key!r}: {name} {at} lies outside its {n_frames} frames (0-based).")
        return at


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_manifest(source: ClipSource, root: str | Path, progress: Progress = no_progress, workers: int = 1) -> Path:
    """Write every clip as PNG frames, landmarks and (phantoms) ``truth/CLIP.npz``, then ``manifest.csv``.

    Args:
        root: a new or empty folder, or one that an interrupted call with the same source wrote.
        workers: processes that read (phantoms: draw) and write clips; ``progress`` wraps the clips and their number.
    """
    import pandas as pd

    root = Path(root)
    if (root / "manifest.csv").exists() and not _is_unfinished(root):
        raise StagkitError(f"{root} holds a manifest.csv already: give another folder, or remove it first.")
    with resume_writing(root, {"layout": "frames", **source.describe()}) as write_clips:
        lines = write_clips({key: partial(_write_clip, source, key, root) for key in source.keys}, workers, progress)
        write_table(resolve_inside(root, "manifest.csv"), pd.DataFrame(lines, columns=[*_NEEDED, *_OPTIONAL]))
    return root


def _write_clip(source: ClipSource, key: str, root: Path) -> dict[str, str]:
    """Write images, landmarks and ground truth of one clip; its row of the manifest."""
    clip, name = source.read(key), safe_name(key)
    for t, frame in enumerate(clip.frames):
        path = resolve_inside(root, f"frames/{name}/img{t + 1:05d}.png")
        write_image(path, frame[..., ::-1] if frame.ndim == 3 else frame)
    if clip.landmarks is not None:
        with write_atomically(resolve_inside(root, f"landmarks/{name}.npy")) as temporary:
            np.save(temporary, clip.landmarks.astype(np.float32))
    if clip.truth is not None:
        with write_atomically(resolve_inside(root, f"truth/{name}.npz")) as temporary:
            arrays = {k: getattr(clip.truth, k) for k in ("codes", "au_intensity", "fields", "head")}
            np.savez_compressed(temporary, **arrays)
    moments = {k: "" if getattr(clip, k) is None else str(getattr(clip, k)) for k in _MOMENTS}
    return {
        "clip_id": key,
        "subject": clip.subject,
        "dataset": clip.dataset,
        "label": clip.label,
        "folder": f"frames/{name}",
        "fps": f"{clip.fps:g}",
        **moments,
        "aus": "" if clip.aus is None else "+".join(f"{c.side}{c.number}" for c in clip.aus) or "-",
        "landmarks": f"landmarks/{name}.npy" if clip.landmarks is not None else "",
        "part": clip.part,
    }


@contextmanager
def resume_writing(root: str | Path, request: dict) -> Iterator[Callable]:
    """Write clips into a folder, one command at a time, or resume the same request after an interruption.

    Args:
        request: JSON; all that decides what is written.

    Yields:
        ``write_clips(jobs, workers, progress)``: calls each job (key -> function that writes the files of a clip and
        returns a JSON object) in that many processes, unless it was done before the interruption; the objects in order.

    Raises:
        StagkitError: other files, another request, or another process that writes.
    """
    root, request = Path(root), json.loads(json.dumps(request))
    check_writable(root)
    _check_empty(root)
    state = resolve_inside(root, _STATE)
    with lock_folder(state):
        _check_empty(root)
        remove_temporary(root)
        if not _is_unfinished(root):
            write_json(state / "request.json", request)
        elif read_json(state / "request.json") != request:
            raise StagkitError(f"{root} holds clips made with other settings: give another folder, or remove it.")

        def write_clips(jobs: Mapping[str, Callable[[], dict]], workers: int, progress: Progress) -> list[dict]:
            paths = {key: resolve_inside(root, f"{_STATE}/clips/{safe_name(key)}.json") for key in jobs}
            waiting = {key: job for key, job in jobs.items() if not paths[key].is_file()}
            pieces = (partial(_run_job, key, job) for key, job in waiting.items())
            for key, row in progress(run_in_processes(pieces, max(1, min(workers, len(waiting)))), len(waiting)):
                write_json(paths[key], row)
            return [read_json(path) for path in paths.values()]

        yield write_clips
        for path in (*(state / "clips").glob("*.json"), *(state / n for n in ("request.json", "lock.json", "lock"))):
            with suppress(OSError):  # Windows keeps a lock that is held
                path.unlink(missing_ok=True)
        for folder in (state / "clips", state):
            with suppress(OSError):
                folder.rmdir()


def _run_job(key: str, job: Callable[[], dict]) -> tuple[str, dict]:
    return key, job()


def _is_unfinished(root: Path) -> bool:
    return (root / _STATE / "request.json").is_file()


def _check_empty(root: Path) -> None:
    names = [p.name for p in root.iterdir()]
    if not _is_unfinished(root) and any(n != _STATE and not n.startswith(TEMPORARY) for n in names):
        raise StagkitError(f"{root} is not empty: give another folder.")
