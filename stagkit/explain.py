"""Which regions, action units and frames a decision rests on: attributions in logits, with what they miss.

An attribution is a claim about the network, not about the person. It is complete when its values sum to the difference
between the logit of the clip and the logit of the same face without motion; how far it misses is stored with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from zipfile import BadZipFile

import numpy as np

from stagkit.facs import AU_LABELS
from stagkit.files import Progress, no_progress, write_aside, write_json
from stagkit.rois import ATLAS, RoiAtlas
from stagkit.types import MAX_DELTA, Attribution, Batch, StagkitError

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.model import Stag
    from stagkit.runs import Run

METHODS = ("integrated gradients", "gradient x input")

#: Most values that one backward pass may hold (clips x steps x numbers a clip): bounds the memory by itself.
_MAX_VALUES = 8_000_000


class ExplainError(StagkitError):
    """An explanation that cannot be computed, or must not be drawn."""


def attribute(
    model: Stag,
    batch: Batch,
    method: str = "integrated gradients",
    target: Sequence[int] | int | None = None,
    n_steps: int = 64,
    run: str = "",
) -> Attribution:
    """Attribute a logit of each clip to its motion values.

    The baseline is zero flow, 'no motion', with the same regions present at the same times. Integrated gradients:
    Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), Gauss-Legendre points, through Captum.

    Args:
        model: in evaluation mode.
        method: one of ``METHODS``. Gradient x input is not complete in general: its delta says how far off it is.
        target: class explained, for all or for each clip; the predicted class where None.
        n_steps: points on the path from no motion to the clip.
        run: name of the run whose weights these are.

    Returns:
        ``Attribution``, values "clip time roi chan py px" in logits; zero where the mask is False.

    Raises:
        ExplainError: an unknown method, a class that does not exist, a network in training mode.
    """
    import torch
    from captum.attr import InputXGradient, IntegratedGradients

    if method not in METHODS:
        raise ExplainError(f"there is no method {method!r}; expected one of {', '.join(METHODS)}.")
    if model.training:
        raise ExplainError(
            "the network is in training mode, where dropout makes every answer differ: call model.eval()."
        )
    x = (batch.x * batch.mask[..., None, None, None]).detach()
    baseline = torch.zeros_like(x)
    with torch.no_grad():
        at_clip = model.logits(x, batch.mask, batch.times_ms)
        at_baseline = model.logits(baseline, batch.mask, batch.times_ms)
    chosen = _choose_target(target, at_clip)
    extra = (batch.mask, batch.times_ms)
    if method == "integrated gradients":
        values = IntegratedGradients(model.logits).attribute(
            x,
            baselines=baseline,
            target=chosen,
            additional_forward_args=extra,
            n_steps=n_steps,
            internal_batch_size=max(len(x), _MAX_VALUES // max(1, x[0].numel() * 8)),
        )
    else:
        values = InputXGradient(model.logits).attribute(
            x.clone().requires_grad_(), target=chosen, additional_forward_args=extra
        )
    values = values.detach()
    gap = (at_clip - at_baseline).gather(1, chosen[:, None])[:, 0]
    return Attribution(
        values=values.cpu().numpy().astype(np.float32),
        inputs=("x",),
        method=method,
        settings={"n_steps": n_steps} if method == "integrated gradients" else {},
        target=chosen.cpu().numpy(),
        baseline="zero flow (no motion)",
        gap=gap.cpu().numpy(),
        delta=(values.double().sum((1, 2, 3, 4, 5)) - gap.double()).cpu().numpy(),
        clip_ids=batch.clip_ids,
        classes=batch.classes,
        roi_names=model.roi_names if hasattr(model, "roi_names") else ATLAS.names,
        times_ms=batch.times_ms.cpu().numpy(),
        mask=batch.mask.cpu().numpy(),
        flow=x.mean((-1, -2))[..., :2].cpu().numpy(),
        run=run,
    )


def _choose_target(target, logits):
    import torch

    n_clips, n_classes = logits.shape
    if target is None:
        return logits.argmax(1)
    chosen = torch.as_tensor(target, dtype=torch.long, device=logits.device).expand(n_clips)
    if chosen.min() < 0 or chosen.max() >= n_classes:
        raise ExplainError(f"`target` is {target}; the network has the classes 0 to {n_classes - 1}.")
    return chosen


def check_complete(attribution: Attribution) -> None:
    """Check that every clip's values sum to its logit gap within ``MAX_DELTA``.

    Raises:
        ExplainError: names the worst clip and the number of steps to try.
    """
    worst = int(attribution.relative_delta.argmax())
    miss = attribution.relative_delta[worst]
    if miss > MAX_DELTA:
        steps = attribution.settings.get("n_steps")
        remedy = f"try n_steps={4 * int(steps)}" if steps else "use integrated gradients, which is complete"
        raise ExplainError(
            f"the attribution of clip {attribution.clip_ids[worst]!r} misses {miss:.0%} of its logit gap "
            f"({attribution.gap[worst]:+.3f}), more than {MAX_DELTA:.0%}: {remedy}."
        )


def by_roi(attribution: Attribution) -> np.ndarray:
    """Signed sum over frames, channels and pixels: float "clip roi", logits; sums to the whole."""
    return attribution.values.sum((1, 3, 4, 5), dtype=np.float64)


def by_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum over regions, channels and pixels: float "clip time", logits; sums to the whole."""
    return attribution.values.sum((2, 3, 4, 5), dtype=np.float64)


def by_roi_and_frame(attribution: Attribution) -> np.ndarray:
    """Signed sum over channels and pixels: float "clip time roi", logits; sums to the whole."""
    return attribution.values.sum((3, 4, 5), dtype=np.float64)


def by_au(attribution: Attribution, atlas: RoiAtlas = ATLAS) -> np.ndarray:
    """Signed sum over what each AU can have moved: float "clip au", logits; the last column is 'none', sums to the whole.

    A region's value in a frame is shared among the AUs that move this region in the direction seen:
    ``share = incidence * max(0, cos(mean flow, AU direction))``, normalised (stagkit's choice). What no AU can have moved
    that way goes to 'none'.
    """
    each = by_roi_and_frame(attribution)
    speed = np.linalg.norm(attribution.flow, axis=-1, keepdims=True)
    seen = attribution.flow / np.maximum(speed, 1e-12)
    fit = np.maximum(np.einsum("ctni,kni->ctnk", seen, atlas.directions), 0.0)  # directions carry the incidence
    # a weak fit to a single AU does not make it responsible for all: what is missing to a perfect fit goes to none
    none = np.maximum(1e-9, 1.0 - fit.max(-1, keepdims=True))
    share = np.concatenate([fit, none], axis=-1)
    share /= share.sum(-1, keepdims=True)
    return np.einsum("ctn,ctnk->ck", each, share)


def tabulate(attribution: Attribution) -> dict[str, pd.DataFrame]:
    """The sums as tables, one row a clip: ``by_roi``, ``by_au``, ``by_frame``, and ``clips`` (target, gap, delta)."""
    import pandas as pd

    index = pd.Index(attribution.clip_ids, name="clip")
    frames = [f"frame{t + 1:02d}" for t in range(attribution.values.shape[1])]
    return {
        "by_roi": pd.DataFrame(by_roi(attribution), index, list(attribution.roi_names)),
        "by_au": pd.DataFrame(by_au(attribution), index, [*AU_LABELS, "none"]),
        "by_frame": pd.DataFrame(by_frame(attribution), index, frames),
        "clips": pd.DataFrame(
            {
                "target": [attribution.classes[k] for k in attribution.target],
                "gap": attribution.gap,
                "delta": attribution.delta,
                "relative_delta": attribution.relative_delta,
            },
            index,
        ),
    }


def save_attribution(attribution: Attribution, path: str | Path) -> None:
    """Write an attribution as an ``.npz`` of plain arrays."""
    import json

    with write_aside(path) as aside:
        np.savez_compressed(
            aside,
            **{n: getattr(attribution, n) for n in ("values", "target", "gap", "delta", "times_ms", "mask", "flow")},
            **{n: np.array(getattr(attribution, n), str) for n in ("inputs", "clip_ids", "classes", "roi_names")},
            text=json.dumps(
                {n: getattr(attribution, n) for n in ("method", "settings", "baseline", "run")}, ensure_ascii=False
            ),
        )


def load_attribution(path: str | Path) -> Attribution:
    """Read what ``save_attribution`` wrote.

    Raises:
        ExplainError: missing or damaged.
    """
    import json

    try:
        with np.load(path, allow_pickle=False) as file:
            text = json.loads(str(file["text"]))
            arrays = {n: file[n] for n in ("values", "target", "gap", "delta", "times_ms", "mask", "flow")}
            names = {n: tuple(str(v) for v in file[n]) for n in ("inputs", "clip_ids", "classes", "roi_names")}
            return Attribution(**arrays, **names, **text)
    except FileNotFoundError as error:
        raise ExplainError(f"there is no file {path}: run 'stagkit explain' first.") from error
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise ExplainError(f"{path} is damaged: run 'stagkit explain' again.") from error


def explain_run(
    path: str | Path,
    clips: Sequence[str] | None = None,
    seed: int = 0,
    n_steps: int = 64,
    progress: Progress = no_progress,
) -> tuple[Attribution, Path]:
    """Attribute the predicted class of every test clip by the network that never saw its subject, and write it.

    Writes ``RUN/explain/seed0/``: ``attribution.npz``, ``by_roi.csv``, ``by_au.csv``, ``by_frame.csv``, ``clips.csv`` and
    ``summary.json``. Clips that are not complete within ``MAX_DELTA`` are tried again with four and sixteen times the
    steps; those that still miss are listed.

    Args:
        path: a finished run.
        clips: clip ids; all where None.

    Returns:
        The attribution and the folder written.

    Raises:
        RunError: no finished run, or its data is gone. ExplainError: no such seed or clip.
    """
    from stagkit.runs import Run

    run = Run.load(path, evidence=True)
    if seed not in run.request["seeds"]:
        raise ExplainError(f"{path} has the seeds {run.request['seeds']}, not {seed}.")
    attribution = compute_run_attribution(run, clips, seed, n_steps, progress)
    out = run.path / "explain" / f"seed{seed}"
    save_attribution(attribution, out / "attribution.npz")
    for name, table in tabulate(attribution).items():
        with write_aside(out / f"{name}.csv") as aside:
            table.to_csv(aside, float_format="%.6g")
    complete = attribution.relative_delta <= MAX_DELTA
    summary = {
        "method": attribution.method,
        "baseline": attribution.baseline,
        "n_clips": len(attribution),
        "n_steps": n_steps,
        "median_relative_delta": float(np.median(attribution.relative_delta)),
        "complete": int(complete.sum()),
        "not_complete": [c for c, ok in zip(attribution.clip_ids, complete, strict=True) if not ok],
        "control": "none: these attributions have not been tested against controls",
    }
    write_json(out / "summary.json", summary)
    return attribution, out


def describe_attribution(attribution: Attribution) -> str:
    """Two sentences on an attribution: how complete it is, and which regions weigh most."""
    complete = int((attribution.relative_delta <= MAX_DELTA).sum())
    names = [attribution.roi_names[i] for i in np.argsort(-np.abs(by_roi(attribution)).mean(0))[:3]]
    return (
        f"{len(attribution)} test clips explained by {attribution.method} against {attribution.baseline}; {complete} are "
        f"complete within {MAX_DELTA:.0%} (median miss {np.median(attribution.relative_delta):.2%} of the logit gap). "
        f"The regions that weigh most on average: {', '.join(names)}. No control was run on these explanations."
    )


def compute_run_attribution(
    run: Run, clips: Sequence[str] | None = None, seed: int = 0, n_steps: int = 64, progress: Progress = no_progress
) -> Attribution:
    """Attribution of a run's test clips, each by the network of its own fold."""
    data = run.load_data()
    wanted = set(clips) if clips else set(data.clip_ids)
    unknown = sorted(wanted - set(data.clip_ids))
    if unknown:
        raise ExplainError(f"the run has no clip {', '.join(unknown[:5])}; its first is {data.clip_ids[0]!r}.")
    parts = []
    for fold in progress(range(len(run.split)), len(run.split)):
        index = [i for i in run.test_index(data, seed, fold) if data.clip_ids[i] in wanted]
        if not index:
            continue
        model = run.load_model(seed, fold, data)
        done = attribute(model, data.batch(index), n_steps=n_steps, run=run.name)
        for more in (4, 16):
            open_ = np.flatnonzero(done.relative_delta > MAX_DELTA)
            if not len(open_):
                break
            again = attribute(model, data.batch(np.array(index)[open_]), n_steps=more * n_steps, run=run.name)
            done = _with_clips(done, open_, again)
        parts.append(done)
    return _join(parts)


def _with_clips(whole: Attribution, places: np.ndarray, better: Attribution) -> Attribution:
    """``whole`` with the clips at ``places`` replaced by those of ``better``."""
    from dataclasses import replace

    arrays = {}
    for name in ("values", "target", "gap", "delta"):
        arrays[name] = getattr(whole, name).copy()
        arrays[name][places] = getattr(better, name)
    return replace(whole, **arrays)


def _join(parts: Sequence[Attribution]) -> Attribution:
    from dataclasses import replace

    arrays = ("values", "target", "gap", "delta", "times_ms", "mask", "flow")
    return replace(
        parts[0],
        **{n: np.concatenate([getattr(p, n) for p in parts]) for n in arrays},
        clip_ids=tuple(c for p in parts for c in p.clip_ids),
    )
