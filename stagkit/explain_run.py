"""Explain a finished run: placeholder head."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stagkit.explain import ExplainError, by_roi, compute_run_attribution, save_attribution, tabulate
from stagkit.files import Progress, no_progress, write_aside, write_json
from stagkit.types import MAX_DELTA, Attribution


def explain_run(
    path: str | Path,
    clips: Sequence[str] | None = None,
    seed: int = 0,
    n_steps: int = 32,
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
