"""A data set -> the network's input on disk: one small file a clip, written whole or not at all, resumable.

A prepared folder holds ``clips/*.npz`` and, written last, ``prepared.json`` (settings, classes, order of the clips). A
run that was interrupted goes on where it stopped; a folder made with other settings is refused.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from stagkit.classes import map_classes
from stagkit.composite import join_datasets
from stagkit.config import FlowConfig, RoiConfig
from stagkit.datasets import ClipSource
from stagkit.faces import load_finder, make_ready
from stagkit.files import Progress, check_writable, compute_digest, no_progress, read_json, write_aside, write_json
from stagkit.types import RoiDataset, RoiSequence, StagkitError

#: Raised when the layout of a prepared clip changes.
FORMAT = 1

_INDEX = "prepared.json"
_STARTED = "preparing.json"


def prepare_dataset(
    source: ClipSource,
    out: str | Path,
    flow_config: FlowConfig = FlowConfig(),
    roi_config: RoiConfig = RoiConfig(),
    workers: int = 1,
    progress: Progress = no_progress,
    align: int = 0,
    landmarker: str = "",
) -> RoiDataset:
    """Read, measure and cut every clip of a data set; clips that are there already are kept.

    Args:
        source: the data set.
        out: folder to fill; memory stays flat, since each clip is written as soon as it is ready.
        workers: processes of one thread each.
        progress: wraps the stream of finished clips and their number, e.g. in a progress bar.
        align: turn, scale and cut every face to a square of this many px first (``faces.align_clip``); 0 = as they are.
        landmarker: mediapipe's ``face_landmarker.task``, for clips that bring no landmarks.

    Returns:
        The prepared data set, as ``load_prepared(out)`` gives it.

    Raises:
        StagkitError: no clips, a folder that holds something else, or a clip that cannot be used (named, with the reason).
    """
    from joblib import Parallel, delayed
    from joblib.externals.loky import get_reusable_executor

    out = Path(out)
    if not source.keys:
        raise StagkitError(f"{source.name} holds no clips.")
    settings = {
        "format": FORMAT,
        "source": source.describe(),
        "flow": flow_config.to_dict(),
        "roi": roi_config.to_dict(),
        "classes": list(source.classes),
        "clips": list(source.keys),
    }
    if align or landmarker:
        settings["faces"] = {"align": align, "landmarker": load_finder(landmarker).digest[:16] if landmarker else ""}
    _claim(out, settings)
    todo = [key for key in source.keys if not _clip_path(out, key).is_file()]
    narrow = getattr(source, "only", lambda key: source)  # a set's whole list of frames is much to hand to a process
    jobs = (delayed(_prepare_clip)(narrow(key), key, out, flow_config, roi_config, align, landmarker) for key in todo)
    pool = Parallel(n_jobs=workers, return_as="generator_unordered")
    for _ in progress(pool(jobs), len(todo)):
        pass
    if workers != 1:  # training in processes that measured flow would take several times as long as in new ones
        get_reusable_executor().shutdown(wait=True)
    write_json(out / _INDEX, settings)
    (out / _STARTED).unlink(missing_ok=True)
    return load_prepared(out)


def _claim(out: Path, settings: dict) -> None:
    """Take the folder for these settings; refuse one that holds other work."""
    check_writable(out)
    for name in (_INDEX, _STARTED):
        if (out / name).is_file():
            if read_json(out / name) != settings:
                if name == _STARTED and not any((out / "clips").glob("*.npz")):
                    break  # it failed at its first clip: nothing is lost by other settings
                raise StagkitError(
                    f"{out} was prepared from another source or with other settings: give another folder, or remove it."
                )
            return
    else:
        if any(out.iterdir()):
            raise StagkitError(
                f"{out} is not empty and holds nothing prepared by stagkit: give an empty or a new folder."
            )
    write_json(out / _STARTED, settings)


def _clip_path(out: Path, key: str) -> Path:
    safe = re.sub(r"[^\w.-]+", "_", key)
    return out / "clips" / (f"{safe}.npz" if safe == key else f"{safe}-{compute_digest(key.encode())[:6]}.npz")


def _prepare_clip(
    source: ClipSource, key: str, out: Path, flow_config: FlowConfig, roi_config: RoiConfig, align: int, landmarker: str
) -> str:
    import cv2

    from stagkit.flow import compute_flow, compute_rois

    cv2.setNumThreads(1)
    try:
        if align and getattr(source, "aligns", False):
            clip = source.read(key, align, landmarker)
        else:
            clip = make_ready(source.read(key), align, landmarker)
        sequence = compute_rois(compute_flow(clip, flow_config), clip, roi_config)
    except StagkitError as error:
        raise StagkitError(f"clip {key!r} cannot be prepared: {error}") from error
    with write_aside(_clip_path(out, key)) as aside:
        np.savez_compressed(
            aside,
            patches=sequence.patches.astype(np.float16),
            present=sequence.present,
            times_ms=sequence.times_ms,
            roi_names=sequence.roi_names,
            aus=sequence.aus,
            text=[sequence.clip_id, sequence.subject, sequence.dataset, sequence.label, sequence.unit, sequence.part],
        )
    return key


def load_sequence(path: str | Path) -> RoiSequence:
    """Read one prepared clip.

    Raises:
        StagkitError: missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            clip_id, subject, dataset, label, unit, *part = (str(t) for t in file["text"])
            return RoiSequence(
                patches=file["patches"].astype(np.float32),
                present=file["present"],
                times_ms=file["times_ms"],
                roi_names=tuple(str(n) for n in file["roi_names"]),
                clip_id=clip_id,
                subject=subject,
                dataset=dataset,
                label=label,
                aus=file["aus"],
                unit=unit,
                part=part[0] if part else "",  # clips prepared before parts were kept have none
            )
    except FileNotFoundError as error:
        raise StagkitError(
            f"there is no prepared clip {path}: run 'stagkit prepare' again, it fills what is missing."
        ) from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise StagkitError(
            f"the prepared clip {path} is damaged: remove it and run 'stagkit prepare' again."
        ) from error


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
    sequences = [load_sequence(_clip_path(root, key)) for key in settings["clips"]]
    data = RoiDataset.from_sequences(
        sequences, settings["classes"], {k: settings[k] for k in ("source", "flow", "roi", "faces") if k in settings}
    )
    data.meta["digest"] = compute_digest(data.x.tobytes(), data.label.tobytes(), repr(data.clip_ids).encode())
    if data.parts:
        data.meta["digest"] = compute_digest(data.meta["digest"].encode(), repr(data.parts).encode())
    return data


def load_data(path: str | Path | Sequence[str | Path], mapping: str = "", frames: str = "all") -> RoiDataset:
    """Read whatever ``stagkit evaluate`` takes: a prepared folder, an ``.npz`` of flow maps, or a folder of PNG maps.

    Args:
        path: one, or several that are joined (``composite.join_datasets``).
        mapping: class mapping, e.g. ``3-class`` (``classes.map_classes``); '' leaves the classes as they are.
        frames: ``all``, or ``apex``: of each clip only the frame with the largest motion (``keep_apex``).

    Raises:
        StagkitError: nothing there, another format, sets that cannot be joined.
    """
    if isinstance(path, (str, Path)):
        data = _load_one(Path(path))
        data = map_classes(data, mapping) if mapping else data
    else:
        data = join_datasets([load_data(p, mapping) for p in path])
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
