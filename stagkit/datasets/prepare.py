"""A data set -> the network's input on disk: computed clip by clip, in parallel, resumable.

```
PREPARED/
  clips/NAME.npz  one file per clip, written once and whole, and checked when it is read
  skipped.csv     clips that cannot be used, with the reason; the next preparation tries them again
  prepared.json   settings, classes, and each clip with the digest of its file (written last)
```
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

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
    load_arrays,
    lock_folder,
    no_progress,
    read_json,
    remove_temporary,
    resolve_inside,
    safe_name,
    write_atomically,
    write_json,
)
from stagkit.core.parallel import run_in_processes, run_on_cluster, stop_processes
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets import ClipSource
from stagkit.datasets.join import join_datasets
from stagkit.datasets.label_maps import map_classes
from stagkit.datasets.subjects import compute_signature, find_alike_subjects, find_near_duplicates, warn_of
from stagkit.datasets.tables import write_table
from stagkit.motion.config import FlowConfig, RoiConfig
from stagkit.motion.landmarks import load_finder
from stagkit.motion.rois import RoiSequence, stack_sequences

#: Raised when the layout of a prepared folder, or what is computed, changes.
FORMAT = 5

#: Modules whose code decides what is computed; clips of older code are not mixed with new ones.
_CODE = (
    "motion/optical_flow",
    "motion/head_motion",
    "motion/rois",
    "motion/landmarks",
    "core/regions",
    "datasets/prepare",
)

_INDEX = "prepared.json"
_STARTED = "preparing.json"
_ARRAYS = ("present", "times_ms", "aus", "roi_names")
_TEXTS = ("clip_id", "subject", "dataset", "label", "unit", "part")


class SkippedClipsWarning(StagkitWarning):
    """Clips that cannot be used are skipped; the others are prepared."""


def prepare_dataset(source: ClipSource, out: str | Path, *args, **kwargs) -> RoiDataset:
    """``prepare_clips`` with the same arguments, then ``load_prepared(out)``."""
    prepare_clips(source, out, *args, **kwargs)
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
    """Compute the network's input for every clip of a data set; finished clips are kept.

    A finished clip is computed again if its row, or the size or time of one of its files, has changed.

    Args:
        out: folder to write; each clip is written as soon as it is finished, so memory use is constant.
        workers: processes with one thread each; ``progress`` wraps the stream of finished clips and their number.
        align: rotate, scale and crop every face to a square of this many px (``landmarks.align_clip``); 0 = do not.
        landmarker: mediapipe's ``face_landmarker.task``, for clips without stored landmarks.
        cluster: a Dask scheduler whose workers see the same files (``parallel.connect``); '' for none.
        contents: detect changed files by content instead of modification time; slow.

    Returns:
        Numbers of ``clips``, ``subjects``, ``frames`` (at most, per clip), clips per class (``classes``), ``skipped``
        (annotation rows and clips) and ``issues`` (of the prepared clips).

    Raises:
        StagkitError: no clips, a folder that holds something else or was made with other settings, no usable clip.
    """
    out = Path(out).resolve() if cluster else Path(out)  # workers have another working directory
    if not source.keys:
        raise StagkitError(f"{source.name} holds no clips.")
    settings = {
        "format": FORMAT,
        "source": source.describe(),
        "flow": flow_config.to_dict(),
        "roi": roi_config.to_dict(),
        "classes": list(source.classes),
        "clips": list(source.keys),
        "code": compute_code_version(),
    }
    if contents:
        settings["contents"] = True
    if align or landmarker:
        settings["faces"] = {"align": align, "landmarker": load_finder(landmarker).digest[:16] if landmarker else ""}
    _check_folder(out, settings)
    with lock_folder(out):
        is_new = _check_folder(out, settings)
        remove_temporary(out)
        if is_new:
            write_json(resolve_inside(out, _STARTED), settings)
        digests = dict.fromkeys(source.keys, "")
        for key in source.keys:
            with suppress(StagkitError):  # reading the clip gives the reason
                digests[key] = source.compute_input_digest(key, contents)
        todo = _find_unfinished(out, digests)
        pieces = (
            (source.only(key), key, out, flow_config, roi_config, align, landmarker, digests[key]) for key in todo
        )
        if cluster:
            stream = run_on_cluster(cluster, _prepare_clip, pieces)
        else:
            stream = run_in_processes((partial(_prepare_clip, *piece) for piece in pieces), workers)
        reasons = {key: reason for key, reason in progress(stream, len(todo)) if reason}
        if not cluster and workers != 1:  # these processes would slow down a training in the same process
            stop_processes()
        return _write_index(source, out, settings, {key: reasons[key] for key in source.keys if key in reasons})


def _prepare_clip(
    source: ClipSource,
    key: str,
    out: Path,
    flow_config: FlowConfig,
    roi_config: RoiConfig,
    align: int,
    landmarker: str,
    input_digest: str,
) -> tuple[str, str]:
    """Write one clip; its key, and the reason if it cannot be used."""
    import cv2

    from stagkit.motion.optical_flow import compute_flow, compute_rois

    cv2.setNumThreads(1)
    try:
        clip = source.read_aligned(key, align, landmarker)
        sequence = compute_rois(compute_flow(clip, flow_config), clip, roi_config)
    except StagkitError as error:
        return key, str(error)
    write_clip(out, key, sequence, input_digest)
    return key, ""


def _find_unfinished(out: Path, digests: dict[str, str]) -> list[str]:
    """Clips that have to be computed: not there, damaged, or of files that have changed since."""
    unfinished, changed = [], []
    for key, digest in digests.items():
        path = clip_path(out, key)
        if path.is_file():
            with suppress(StagkitError):
                if read_clip(out, key)[1] == digest:
                    continue
                changed.append(key)
            path.unlink()
        unfinished.append(key)
    if changed:
        text = f"{len(changed)} clip(s) have changed and are prepared again, the first is {min(changed)!r}."
        warnings.warn(text, StagkitWarning, stacklevel=3)
    return unfinished


def _write_index(source: ClipSource, out: Path, settings: dict, reasons: dict[str, str]) -> dict:
    """Write ``skipped.csv`` and ``prepared.json``, warn, and count; one clip is in memory at a time."""
    import pandas as pd

    keys = [key for key in source.keys if key not in reasons]
    first, reason = next(iter(reasons.items()), ("", ""))
    if not keys:
        raise StagkitError(f"no clip can be prepared; the first, {first!r}: {reason}")
    skipped, path = {**source.skipped, **reasons}, resolve_inside(out, "skipped.csv")
    if skipped:
        write_table(path, pd.DataFrame(list(skipped.items()), columns=["clip", "reason"]))
    else:
        path.unlink(missing_ok=True)
    if reasons:
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        text = f"clip {first!r}{more} cannot be prepared and is skipped: {reason} All are listed in {path}"
        warnings.warn(f"{text}; the same command tries them again.", SkippedClipsWarning, stacklevel=3)
    counts, subjects, signatures, issues, n_frames = Counter(dict.fromkeys(settings["classes"], 0)), [], [], [], 0
    for key in keys:
        clip, _ = read_clip(out, key)
        issues += [f"clip {key!r}: {text}" for text in source.find_issues(key)]
        signatures.append(compute_signature(clip.patches, clip.present))
        subjects.append(clip.subject)
        counts[clip.label] += 1
        n_frames = max(n_frames, len(clip.patches))
    issues += find_alike_subjects(subjects) + find_near_duplicates(np.array(signatures), subjects, keys)
    index = {**settings, "clips": {key: digest_file(clip_path(out, key)) for key in keys}}
    index |= {name: found for name, found in (("issues", issues), ("skipped", reasons)) if found}
    write_json(resolve_inside(out, _INDEX), index)
    (out / _STARTED).unlink(missing_ok=True)
    warn_of(issues)
    numbers = {"clips": len(keys), "subjects": len(set(subjects)), "frames": n_frames, "classes": dict(counts)}
    return {**numbers, "skipped": len(skipped), "issues": len(issues)}


def clip_path(root: str | Path, key: str) -> Path:
    """File of a prepared clip; different keys have different files."""
    return resolve_inside(root, f"clips/{safe_name(key)}.npz")


def write_clip(root: str | Path, key: str, clip: RoiSequence, input_digest: str = "") -> None:
    """Write one clip into a prepared folder, patches in half precision; ``input_digest``: of what it was computed from."""
    with write_atomically(clip_path(root, key)) as temporary:
        np.savez(
            temporary,
            patches=clip.patches.astype(np.float16),
            **{name: getattr(clip, name) for name in _ARRAYS},
            text=[key, input_digest, *(getattr(clip, name) for name in _TEXTS)],
        )


def read_clip(root: str | Path, key: str) -> tuple[RoiSequence, str]:
    """A prepared clip and its input digest; ``StagkitError`` if missing or damaged."""
    path = clip_path(root, key)
    try:
        arrays = load_arrays(path)
        stored, input_digest, *texts = map(str, arrays["text"])
        if stored != key or arrays["patches"].dtype != np.float16:
            raise ValueError(key)
        return RoiSequence(
            patches=arrays["patches"].astype(np.float32),
            **{name: arrays[name] for name in _ARRAYS[:-1]},
            roi_names=tuple(map(str, arrays["roi_names"])),
            **dict(zip(_TEXTS, texts, strict=True)),
        ), input_digest
    except (StagkitError, ValueError, KeyError, TypeError) as error:
        state = "is damaged" if path.is_file() else "is missing"
        raise StagkitError(f"{path} {state}: run the same 'stagkit prepare' again.") from error


def compute_code_version() -> str:
    """16 hex digits that change with the code that computes clips, and with the version of OpenCV."""
    import cv2

    code = [(RESOURCES.parent / f"{name}.py").read_bytes() for name in _CODE]
    return compute_digest(*code, cv2.__version__.encode())


def _check_folder(out: Path, settings: dict) -> bool:
    """Refuse a folder that holds other work; True if ``preparing.json`` has to be written."""
    check_writable(out)
    for name in (_INDEX, _STARTED):
        if (out / name).is_file():
            found = read_json(out / name)
            found.pop("issues", None)
            found["clips"] = sorted([*found.get("clips", []), *found.pop("skipped", [])])
            wanted = {**settings, "clips": sorted(settings["clips"])}
            if found != wanted:
                if name == _STARTED and not any((out / "clips").glob("*.npz")):
                    return True  # it failed at its first clip: nothing is lost by other settings
                differs = [k for k in {**wanted, **found} if k != "clips" and wanted.get(k) != found.get(k)]
                raise StagkitError(
                    f"{out} was prepared from another source or with other settings "
                    f"(other {', '.join(differs) or 'clips'}): give another folder, or remove it."
                )
            return False
    # a lock and temporary files may be left by a command that was killed while it started
    if any(p.name not in (LOCK, HOLDER) and not p.name.startswith(TEMPORARY) for p in out.iterdir()):
        raise StagkitError(f"{out} is not empty and holds nothing prepared by stagkit: give an empty or a new folder.")
    return True


def load_prepared(root: str | Path) -> RoiDataset:
    """Read a prepared folder; ``StagkitError`` if it is none, not finished, of another format, or damaged."""
    root = Path(root)
    if not root.is_dir():
        raise StagkitError(f"there is no folder {root}.")
    if not (root / _INDEX).is_file():
        state = "expected one made by 'stagkit prepare' or 'stagkit phantom', or flow maps (.npz, or PNG folder)"
        if (root / _STARTED).is_file():
            state = "its preparation was not finished: run the same 'stagkit prepare' again"
        raise StagkitError(f"{root} is no prepared folder; {state}.")
    index = read_json(root / _INDEX)
    if index.get("format") != FORMAT:
        raise StagkitError(f"{root} has format {index.get('format')}, this stagkit reads {FORMAT}: prepare it again.")
    clips, classes = index.get("clips"), index.get("classes")
    if not isinstance(clips, dict) or not isinstance(classes, list) or not all(isinstance(c, str) for c in classes):
        raise StagkitError(f"{root / _INDEX} is damaged: remove the folder and prepare it again.")
    sequences, input_digests = [], []
    for key, digest in clips.items():
        sequence, input_digest = read_clip(root, key)
        if digest_file(clip_path(root, key)) != digest:
            raise StagkitError(f"clip {key!r} in {root} is not that of {_INDEX}: run the same 'stagkit prepare' again.")
        sequences.append(sequence)
        input_digests.append(input_digest)
    kept = ("source", "flow", "roi", "faces", "code", "skipped", "issues")
    data = stack_sequences(sequences, classes, {k: index[k] for k in kept if k in index})
    data.meta["digest"] = data.compute_digest(*(index.get(k) for k in ("flow", "roi", "faces", "code")), input_digests)
    return data


def load_data(
    path: str | Path | Sequence[str | Path], mapping: str = "", frames: str = "all", same_subjects: bool = False
) -> RoiDataset:
    """Read any input of ``stagkit evaluate``: a prepared folder, an ``.npz`` of flow maps, or a folder of PNG maps.

    Args:
        path: one, or several that are joined (``join.join_datasets``, with ``same_subjects``).
        mapping: class mapping, e.g. ``3-class`` (``label_maps.map_classes``); '' leaves the classes as they are.
        frames: ``all``, or ``apex``: only the frame with the largest motion of each clip (``keep_apex``).
    """
    if frames not in ("all", "apex"):
        raise StagkitError(f"`frames` is {frames!r}, expected all or apex.")
    if isinstance(path, (str, Path)):
        path = Path(path)
        started = any((path / name).is_file() for name in (_INDEX, _STARTED))
        if path.suffix == ".npz" or (path.is_dir() and not started and any(path.rglob("*.png"))):
            from stagkit.datasets.flow_maps import load_flow_maps

            data = load_flow_maps(path)
        elif path.is_file():
            raise StagkitError(f"{path} cannot be read: expected a prepared folder or an .npz of flow maps.")
        else:
            data = load_prepared(path)
        data = map_classes(data, mapping) if mapping else data
    else:
        data = join_datasets([load_data(p, mapping) for p in path], same_subjects)
        if mapping:
            data.meta["mapping"] = mapping
    return keep_apex(data) if frames == "apex" else data


def keep_apex(data: RoiDataset) -> RoiDataset:
    """Only the frame with the largest motion of each clip: the input of onset-apex methods (T = 1)."""
    strength = (data.x[:, :, :, :2] ** 2).sum((2, 3, 4, 5)) * data.mask.any(2)
    clips, at = np.arange(len(data)), strength.argmax(1)
    arrays = {name: getattr(data, name)[clips, at][:, None] for name in ("x", "mask", "times_ms")}
    digest = compute_digest(str(data.meta.get("digest", "")).encode(), b"apex")
    return replace(data, **arrays, meta={**data.meta, "frames": "apex", "digest": digest})
