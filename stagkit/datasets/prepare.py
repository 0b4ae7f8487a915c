"""A data set -> the network's input on disk: measured clip by clip, in parallel, resumable; then packed into one array.

```
PREPARED/
  patches-N.npy, index.parquet   the clips (``stagkit.datasets.store``); while it is at work also clips/*.npz
  skipped.csv    clips that cannot be used, each with the reason; the next preparation tries them again
  prepared.json   settings, classes, order of the clips (written last)
```

A folder made with other settings is refused.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from stagkit.core.config import FlowConfig, RoiConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.files import (
    HOLDER,
    LOCK,
    RESOURCES,
    TEMPORARY,
    Progress,
    check_writable,
    compute_digest,
    digest_file,
    lock_folder,
    no_progress,
    read_json,
    remove_temporary,
    resolve_inside,
    write_json,
    write_table,
)
from stagkit.core.parallel import run_in_processes, run_on_cluster, stop_processes
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets import ClipSource
from stagkit.datasets.join import join_datasets
from stagkit.datasets.label_maps import map_classes
from stagkit.datasets.store import INDEX, STAGED, PreparedClips, find_ready, pack_clips, stage_clip
from stagkit.datasets.subjects import compute_signature, find_alike_subjects, find_near_duplicates, warn_of
from stagkit.motion.landmarks import load_finder, locate_and_align

#: Raised when the layout of a prepared folder, or what is measured, changes.
FORMAT = 4

#: Modules whose code decides what is measured; clips that older code measured are not mixed with new ones.
_MEASURES = ("motion/optical_flow", "motion/head_motion", "core/regions", "motion/landmarks", "datasets/prepare")

_INDEX = "prepared.json"
_STARTED = "preparing.json"


class SkippedClipsWarning(StagkitWarning):
    """Clips that cannot be used are left out; the rest goes on."""


def prepare_dataset(
    source: ClipSource,
    out: str | Path,
    flow_config: FlowConfig = FlowConfig(),
    roi_config: RoiConfig = RoiConfig(),
    workers: int = 1,
    progress: Progress = no_progress,
    align: int = 0,
    landmarker: str = "",
    cluster: str = "",
    contents: bool = False,
) -> RoiDataset:
    """``prepare_clips``, and then the whole data set in memory, as ``load_prepared(out)`` gives it."""
    prepare_clips(source, out, flow_config, roi_config, workers, progress, align, landmarker, cluster, contents)
    return load_prepared(out)


def prepare_clips(
    source: ClipSource,
    out: str | Path,
    flow_config: FlowConfig = FlowConfig(),
    roi_config: RoiConfig = RoiConfig(),
    workers: int = 1,
    progress: Progress = no_progress,
    align: int = 0,
    landmarker: str = "",
    cluster: str = "",
    contents: bool = False,
) -> dict:
    """Read, measure and cut every clip of a data set; clips that are there already are kept.

    A clip that is there is measured again if its row, or the size or time of one of its files, has changed since.

    Args:
        source: the data set.
        out: folder to fill; memory stays flat, since each clip is written as soon as it is ready.
        workers: processes of one thread each.
        progress: wraps the stream of finished clips and their number, e.g. in a progress bar.
        align: turn, scale and cut every face to a square of this many px first (``faces.align_clip``); 0 = as they are.
        landmarker: mediapipe's ``face_landmarker.task``, for clips that bring no landmarks.
        cluster: a Dask scheduler whose workers see the same files (``parallel.connect``); '' for none.
        contents: compare the contents of all files instead of their times; slow.

    Returns:
        How many ``clips``, ``subjects``, ``frames`` (at most, of a clip), clips of each of the ``classes``, ``skipped``
        (rows of the annotation file and clips), ``issues`` (about the others).

    Raises:
        StagkitError: no clips, a folder that holds something else, or no clip that can be used.

    Warns:
        SkippedClipsWarning: clips that cannot be used; they are listed in ``skipped.csv`` and the rest goes on.
        StagkitWarning: clips that changed since they were measured; people who may be one person under two names.
    """
    out = Path(out).resolve() if cluster else Path(out)  # workers have a folder of their own
    if not source.keys:
        raise StagkitError(f"{source.name} holds no clips.")
    settings = {
        "format": FORMAT,
        "source": source.describe(),
        "flow": flow_config.to_dict(),
        "roi": roi_config.to_dict(),
        "classes": list(source.classes),
        "clips": list(source.keys),
        "measured_by": compute_code_version(),
    }
    if contents:
        settings["contents"] = True
    if align or landmarker:
        settings["faces"] = {"align": align, "landmarker": load_finder(landmarker).digest[:16] if landmarker else ""}
    _check_place(out, settings)
    with lock_folder(out):
        return _prepare(
            source, out, settings, flow_config, roi_config, workers, progress, align, landmarker, cluster, contents
        )


def _prepare(
    source, out: Path, settings: dict, flow_config, roi_config, workers, progress, align, landmarker, cluster, contents
):
    _claim(out, settings)
    stamps = {key: _stamp(source, key, contents) for key in source.keys}
    ready, changed = find_ready(out, stamps)
    if changed:
        warnings.warn(
            f"{len(changed)} clip(s) changed since they were measured and are measured again, the first is "
            f"{min(changed)!r}.",
            StagkitWarning,
            stacklevel=2,
        )
    todo = [key for key in source.keys if key not in ready]
    narrow = getattr(source, "only", lambda key: source)  # a set's whole list of frames is much to hand to a process
    pieces = ((narrow(key), key, out, flow_config, roi_config, align, landmarker, stamps[key]) for key in todo)
    if cluster:
        stream = run_on_cluster(cluster, _prepare_clip, pieces)
    else:
        stream = run_in_processes((partial(_prepare_clip, *piece) for piece in pieces), workers)
    skipped = {key: reason for key, reason in progress(stream, len(todo)) if reason}
    if not cluster and workers != 1:  # training in processes that measured flow would take several times as long
        stop_processes()
    usable = [key for key in source.keys if key not in skipped]
    if not usable:
        key, reason = next(iter(skipped.items()))
        raise StagkitError(f"no clip can be prepared; the first, {key!r}: {reason}")
    packed = pack_clips(out, usable)
    skipped = {key: skipped[key] for key in source.keys if key in skipped}
    _list_skipped(out, skipped, getattr(source, "skipped", {}))
    issues = _find_issues(source, packed)
    about = {"clips": usable, "index": digest_file(out / INDEX), **({"issues": issues} if issues else {})}
    write_json(resolve_inside(out, _INDEX), {**settings, **about, **({"skipped": skipped} if skipped else {})})
    (out / _STARTED).unlink(missing_ok=True)
    warn_of(issues)
    dropped = {**getattr(source, "skipped", {}), **skipped}
    return {**_count(packed, settings["classes"], dropped), "issues": len(issues)}


def _stamp(source: ClipSource, key: str, contents: bool) -> str:
    """Digest of what a clip is read from; '' where the source has none, or where its files cannot be read."""
    try:
        return source.stamp(key, contents) if hasattr(source, "stamp") else ""
    except StagkitError:
        return ""  # reading the clip says why


def _find_issues(source: ClipSource, clips: PreparedClips) -> list[str]:
    """What is odd about the clips that were prepared, a sentence each; one clip is in memory at a time."""
    issues, signatures, subjects = [], [], []
    for key, clip in clips.items():
        if hasattr(source, "find_issues"):
            issues += [f"clip {key!r}: {text}" for text in source.find_issues(key)]
        signatures.append(compute_signature(clip.patches, clip.present))
        subjects.append(clip.subject)
    return issues + find_alike_subjects(subjects) + find_near_duplicates(np.array(signatures), subjects, list(clips))


def compute_code_version() -> str:
    """16 hex digits that change with the code that measures clips, and with the version of OpenCV."""
    import cv2

    code = [(RESOURCES.parent / f"{name}.py").read_bytes() for name in _MEASURES]
    return compute_digest(*code, cv2.__version__.encode())


def _count(clips: PreparedClips, classes: list[str], skipped: dict[str, str]) -> dict:
    counts = dict.fromkeys(classes, 0)
    for label in clips.column("label"):
        counts[label] = counts.get(label, 0) + 1
    subjects = set(zip(clips.column("dataset"), clips.column("subject"), strict=True))
    told = {"clips": len(clips), "subjects": len(subjects), "frames": max(clips.column("frames"))}
    return {**told, "classes": counts, "skipped": len(skipped)}


def _list_skipped(out: Path, reasons: dict[str, str], rows: dict[str, str]) -> None:
    """List the rows and the clips that cannot be used, and warn of the clips; the source has warned of its rows."""
    import pandas as pd

    path = resolve_inside(out, "skipped.csv")
    if not reasons and not rows:
        path.unlink(missing_ok=True)
        return
    write_table(path, pd.DataFrame(list({**rows, **reasons}.items()), columns=["clip", "reason"]))
    if not reasons:
        return
    key, reason = next(iter(reasons.items()))
    more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
    warnings.warn(
        f"clip {key!r}{more} cannot be prepared and is left out: {reason} All are listed in {path}; the same command "
        "tries them again.",
        SkippedClipsWarning,
        stacklevel=3,
    )


def _claim(out: Path, settings: dict) -> None:
    """Take the folder, which is held, for these settings."""
    is_new = _check_place(out, settings)
    remove_temporary(out)
    if is_new:
        write_json(resolve_inside(out, _STARTED), settings)


def _check_place(out: Path, settings: dict) -> bool:
    """Refuse a folder that holds other work; True if ``preparing.json`` has to be written."""
    check_writable(out)
    for name in (_INDEX, _STARTED):
        if (out / name).is_file():
            found = read_json(out / name)
            skipped = found.pop("skipped", [])
            for more in ("issues", "index"):
                found.pop(more, None)
            clips = sorted([*found.get("clips", []), *skipped])
            if {**found, "clips": clips} != {**settings, "clips": sorted(settings["clips"])}:
                if name == _STARTED and not any((out / STAGED).glob("*.npz")):
                    return True  # it failed at its first clip: nothing is lost by other settings
                differs = [k for k in {**settings, **found} if k != "clips" and settings.get(k) != found.get(k)]
                raise StagkitError(
                    f"{out} was prepared from another source or with other settings "
                    f"(other {', '.join(differs) or 'clips'}): give another folder, or remove it."
                )
            return False
    # a lock and temporary files may be left by a command that was killed while it started
    if any(p.name not in (LOCK, HOLDER) and not p.name.startswith(TEMPORARY) for p in out.iterdir()):
        raise StagkitError(f"{out} is not empty and holds nothing prepared by stagkit: give an empty or a new folder.")
    return True


def _prepare_clip(
    source: ClipSource,
    key: str,
    out: Path,
    flow_config: FlowConfig,
    roi_config: RoiConfig,
    align: int,
    landmarker: str,
    stamp: str,
) -> tuple[str, str]:
    """Write one clip; its key, and the reason where it cannot be used."""
    import cv2

    from stagkit.motion.optical_flow import compute_flow, compute_rois

    cv2.setNumThreads(1)
    try:
        if align and getattr(source, "aligns", False):
            clip = source.read(key, align, landmarker)
        else:
            clip = locate_and_align(source.read(key), align, landmarker)
        sequence = compute_rois(compute_flow(clip, flow_config), clip, roi_config)
    except StagkitError as error:
        return key, str(error)
    stage_clip(out, key, sequence, stamp)
    return key, ""


def load_prepared(root: str | Path) -> RoiDataset:
    """Read a prepared folder.

    Raises:
        StagkitError: no prepared folder, one whose preparation was not finished, or another format.
    """
    root = Path(root)
    if not root.is_dir():
        raise StagkitError(f"there is no folder {root}.")
    if not (root / _INDEX).is_file():
        state = (
            "its preparation was not finished: run the same 'stagkit prepare' again"
            if (root / _STARTED).is_file()
            else "expected one made by 'stagkit prepare' or 'stagkit phantom', or flow maps (.npz, or PNG folder)"
        )
        raise StagkitError(f"{root} is no prepared folder; {state}.")
    settings = read_json(root / _INDEX)
    if settings.get("format") != FORMAT:
        raise StagkitError(
            f"{root} has format {settings.get('format')}, this stagkit reads {FORMAT}: prepare it again."
        )
    keys, classes = settings.get("clips"), settings.get("classes")
    if not all(isinstance(names, list) and all(isinstance(n, str) for n in names) for names in (keys, classes)):
        raise StagkitError(f"{root / _INDEX} is damaged: remove the folder and prepare it again.")
    if not resolve_inside(root, INDEX).is_file():
        raise StagkitError(f"there is no {root / INDEX}: run the same 'stagkit prepare' again.")
    if settings.get("index") != digest_file(root / INDEX):
        raise StagkitError(f"{root / INDEX} is damaged: remove the folder {root} and prepare it again.")
    clips = PreparedClips(root)
    if list(clips) != keys:
        raise StagkitError(f"{root / _INDEX} and {INDEX} list other clips: remove the folder and prepare it again.")
    kept = ("source", "flow", "roi", "faces", "measured_by", "skipped", "issues")
    meta = {k: settings[k] for k in kept if k in settings}
    data = RoiDataset.from_sequences([clips[key] for key in keys], classes, meta)
    stamps = [clips.read_stamp(key) for key in keys]
    data.meta["digest"] = data.compute_digest(
        *(settings.get(k) for k in ("flow", "roi", "faces", "measured_by")), stamps
    )
    return data


def load_data(
    path: str | Path | Sequence[str | Path], mapping: str = "", frames: str = "all", same_subjects: bool = False
) -> RoiDataset:
    """Read whatever ``stagkit evaluate`` takes: a prepared folder, an ``.npz`` of flow maps, or a folder of PNG maps.

    Args:
        path: one, or several that are joined (``composite.join_datasets``).
        mapping: class mapping, e.g. ``3-class`` (``classes.map_classes``); '' leaves the classes as they are.
        same_subjects: subjects of equal name in several of the data sets joined are one subject.
        frames: ``all``, or ``apex``: of each clip only the frame with the largest motion (``keep_apex``).

    Raises:
        StagkitError: nothing there, another format, sets that cannot be joined.
    """
    if isinstance(path, (str, Path)):
        data = _load_one(Path(path))
        data = map_classes(data, mapping) if mapping else data
    else:
        data = join_datasets([load_data(p, mapping) for p in path], same_subjects)
        if mapping:
            data.meta["mapping"] = mapping
    if frames not in ("all", "apex"):
        raise StagkitError(f"`frames` is {frames!r}, expected all or apex.")
    return keep_apex(data) if frames == "apex" else data


def keep_apex(data: RoiDataset) -> RoiDataset:
    """Of each clip only the frame with the largest motion: what onset-apex methods see (T = 1)."""
    strength = (data.x[:, :, :, :2] ** 2).sum((2, 3, 4, 5)) * data.mask.any(2)
    at = strength.argmax(1)[:, None]

    def pick(array: np.ndarray) -> np.ndarray:
        return np.take_along_axis(array, at.reshape(at.shape + (1,) * (array.ndim - 2)), 1)

    digest = compute_digest(str(data.meta.get("digest", "")).encode(), b"apex")
    meta = {**data.meta, "frames": "apex", "digest": digest}
    return replace(data, x=pick(data.x), mask=pick(data.mask), times_ms=pick(data.times_ms), meta=meta)


def _load_one(path: Path) -> RoiDataset:
    if path.suffix == ".npz" or (path.is_dir() and not (path / _INDEX).is_file() and _holds_maps(path)):
        from stagkit.datasets.flow_maps import load_flow_maps

        return load_flow_maps(path)
    if path.is_file():
        raise StagkitError(
            f"{path} is a file that stagkit does not know: give a prepared folder or an .npz of flow maps."
        )
    return load_prepared(path)


def _holds_maps(root: Path) -> bool:
    return not (root / _STARTED).is_file() and any(True for _ in root.rglob("*.png"))
