"""The graphs of a run's test clips, kept with the run: so that figures and pages need no network to draw them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stagkit.core.files import (
    check_digest,
    compute_digests,
    load_arrays,
    lock_folder,
    read_digests,
    resolve_inside,
    write_atomically,
    write_digests,
)
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.evaluation.run import Run, RunError

_PARTS = ("logits", "au_logits", "edges", "au_edges", "time_weights")
#: Cross-attention of the last layer: name in the file -> name in ``StagOutput.attention``.
_CROSS = {"roi_from_frame": "cross.0.roi_from_frame", "frame_from_roi": "cross.0.frame_from_roi"}


def save_graphs(run: Run, seed: int = 0, clips: Sequence[str] | None = None) -> Path:
    """Write what the network of each fold said of its test clips: ``RUN/explanations/seed0/graph.npz`` (float16).

    Args:
        run: a finished run.
        clips: clip ids; all where None.
    """
    import torch

    data = run.load_data()
    rows: dict[str, list[np.ndarray]] = {name: [] for name in (*_PARTS, "attention", *_CROSS)}
    order: list[int] = []
    for fold in range(len(run.split)):
        index = [i for i in run.test_index(data, seed, fold) if clips is None or data.clip_ids[i] in clips]
        if not index:
            continue
        run.check_unseen(seed, fold, [data.clip_ids[i] for i in index], data.clip_ids)
        model, batch = run.load_model(seed, fold), data.batch(index)
        with torch.no_grad():
            output = model(batch.x, batch.mask, batch.times_ms)
        for name in _PARTS:
            value = getattr(output, name)
            if value is not None:
                rows[name].append(value.numpy().astype(np.float16))
        graph = sorted(name for name in output.attention if name.startswith("graph."))
        if graph:
            rows["attention"].append(output.attention[graph[-1]].numpy().astype(np.float16))
        for way in _CROSS:
            found = sorted(name for name in output.attention if name.endswith(f".{way}"))
            if found:
                rows[way].append(output.attention[found[-1]].numpy().astype(np.float16))
        order.extend(index)
    out = resolve_inside(run.path, f"explanations/seed{seed}")
    path = resolve_inside(run.path, f"explanations/seed{seed}/graph.npz")
    with lock_folder(out), write_atomically(path) as aside:
        np.savez_compressed(
            aside,
            **{name: np.concatenate(parts) for name, parts in rows.items() if parts},
            flow=data.x[order].mean((-1, -2)).astype(np.float16),
            mask=data.mask[order],
            times_ms=data.times_ms[order],
            label=data.label[order],
            clip_ids=np.array([data.clip_ids[i] for i in order]),
            subjects=np.array([data.subjects[i] for i in order]),
            classes=np.array(data.classes),
        )
    with lock_folder(out):
        write_digests(out, {**read_digests(out), **compute_digests(out, ["graph.npz"])})
    return path


def load_graphs(path: str | Path, clips: Sequence[int] | None = None) -> tuple[StagOutput, Batch]:
    """Read graphs back as an output and the batch it belongs to; each region's patch is its mean motion.

    Args:
        path: ``graph.npz`` of a run.
        clips: positions of the clips wanted; all where None.

    Raises:
        RunError: missing or damaged.
    """
    import torch

    from stagkit.core.facs import AU_NUMBERS

    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no file {path}: run 'stagkit explain' first.")
    try:
        arrays = load_arrays(check_digest(path.parent, path.name, read_digests(path.parent)))
        missing = {"logits", "flow", "mask", "times_ms", "label", "clip_ids", "subjects", "classes"} - set(arrays)
        if missing or len({len(arrays[name]) for name in ("logits", "flow", "mask", "label", "clip_ids")}) > 1:
            raise StagkitError(f"{path} lacks arrays, or their lengths differ.")
    except StagkitError as error:
        raise RunError(f"{path} is damaged: run 'stagkit explain' again.") from error
    chosen = np.arange(len(arrays["label"])) if clips is None else np.asarray(clips)

    def tensor(name: str):
        if name not in arrays:
            return None
        return torch.from_numpy(arrays[name][chosen].astype(np.float32))

    kept = {"graph.0": "attention"} | {name: way for way, name in _CROSS.items()}
    output = StagOutput(
        **{name: tensor(name) for name in _PARTS},
        attention={name: tensor(stored) for name, stored in kept.items() if stored in arrays},
    )
    batch = Batch(
        x=tensor("flow")[..., None, None],
        mask=torch.from_numpy(arrays["mask"][chosen]),
        times_ms=tensor("times_ms"),
        label=torch.from_numpy(arrays["label"][chosen]),
        aus=torch.full((len(chosen), len(AU_NUMBERS)), float("nan")),
        clip_ids=tuple(str(c) for c in arrays["clip_ids"][chosen]),
        subjects=tuple(str(s) for s in arrays["subjects"][chosen]),
        classes=tuple(str(c) for c in arrays["classes"]),
    )
    return output, batch
