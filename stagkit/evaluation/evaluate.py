"""Evaluation of a network: every fold of a protocol for every seed, pooled and scored once; interrupted runs resume."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.files import Progress, lock_folder, no_progress, remove_temporary, resolve_inside, write_json
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.subjects import add_warnings
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.fold import Compute, Fit, train_folds
from stagkit.evaluation.leakage import collect_leak
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run, check_place
from stagkit.evaluation.run_summary import compute_run_report, tabulate_subjects
from stagkit.evaluation.sealed import Fold
from stagkit.evaluation.splits import NOT_DISJOINT, find_missing_classes, make_folds, make_stratified_folds
from stagkit.training.checkpoint import clear_working

#: Folders of further runs inside a run.
STRATIFIED, PERMUTED = "stratifiedkfold", "permuted"


class MissingClassWarning(StagkitWarning):
    """A fold whose training part has no clip of a class."""


def evaluate(
    data: RoiDataset,
    out: str | Path,
    stag_config: StagConfig | None = None,
    train_config: TrainConfig | None = None,
    protocol: str = "loso",
    n_folds: int = 10,
    seeds: int | Sequence[int] = 1,
    device: str = "auto",
    workers: int | None = None,
    data_path: str | Path | Sequence[str | Path] = "",
    progress: Progress = no_progress,
    permutation_baseline: bool = False,
    leaky: bool = False,
    backend: str = "auto",
    gpus: int = 1,
    cluster: str = "",
) -> Run:
    """Train and test every fold; write the run.

    Args:
        out: run folder; a run with the same request is resumed, other content is refused.
        stag_config, train_config: settings of network and training; None: ``defaults.choose_settings``.
        protocol: see ``splits.PROTOCOLS``; ``n_folds`` for ``groupkfold``. ``stratifiedkfold`` is a ``groupkfold`` run
            with a stratified one in a folder of that name inside it.
        seeds: how many (0, 1, ...), or which.
        data_path: where the clips came from (one or several), so that the run can be explained later.
        progress: wraps the stream of finished folds.
        permutation_baseline: train again on shuffled training labels, in the folder ``permuted``.
        leaky: write ``leak.json``: scores if the epoch were selected on the test clips. The run's own scores do not change,
            but it is refused as evidence.
        backend, device, workers, gpus, cluster: where folds are trained (``fold.Compute``).

    Raises:
        StagkitError: data that cannot be split, a repeated seed, a folder that holds other work, a loss that is not finite.

    Warns:
        StagkitWarning: skipped clips, and subjects that may be one under two names; kept as ``data.warnings`` of the run.
        MissingClassWarning: a training part without a clip of some class, whose weight is then 0.
    """
    data = add_warnings(data)
    defaults = choose_settings(data, protocol, stag_config, train_config)
    stratified = protocol == STRATIFIED
    request = {
        "model": "stag",
        "protocol": "groupkfold" if stratified else protocol,
        "seeds": check_seeds(seeds),
        "stag": defaults.stag.to_dict(),
        "train": defaults.train.to_dict(),
        "data": dict(data.meta),
        "data_path": resolve_paths(data_path),
        "classes": list(data.classes),
        **({"leaky": True} if leaky else {}),
        **({"comparison": STRATIFIED} if stratified else {}),
    }
    compute = Compute(backend, device, workers, gpus, cluster)
    return _evaluate(data, Path(out), request, n_folds, compute, progress, permutation_baseline)


def _evaluate(data, out: Path, request: dict, n_folds: int, compute, progress, permutation_baseline=False) -> Run:
    """One run and the further runs inside it."""
    stratified = request.get("stratified")
    folds = make_stratified_folds(data, n_folds) if stratified else make_folds(data, request["protocol"], n_folds)
    plain = {k: v for k, v in request.items() if k != "comparison"}

    def extend(metrics: dict) -> None:
        if permutation_baseline:
            place = resolve_inside(out, PERMUTED)
            run = _evaluate(data, place, {**plain, "permuted": True}, n_folds, compute, progress)
            metrics["baselines"]["permutation_baseline"] = {s: run.metrics[s]["mean"] for s in SCORES}
        if request.get("comparison"):
            other = {**plain, "protocol": STRATIFIED, "stratified": True}
            other.pop("leaky", None)
            run = _evaluate(data, resolve_inside(out, STRATIFIED), other, n_folds, compute, progress)
            metrics["comparison"] = {STRATIFIED: {s: run.metrics[s] for s in SCORES}, "reason": NOT_DISJOINT}

    whole = {**request, "n_folds": len(folds), **({"permutation_baseline": True} if permutation_baseline else {})}
    return run_request(data, out, whole, folds, compute, progress, extend=extend)


def run_request(
    data: RoiDataset,
    out: Path,
    request: dict,
    folds: Sequence[Fold],
    compute: Compute,
    progress: Progress = no_progress,
    fit: Fit | None = None,
    extend: Callable[[dict], None] | None = None,
) -> Run:
    """Train the missing folds of a run (``request``: its ``run.json``) with ``fit``; ``extend`` adds to the metrics."""
    import pandas as pd

    backend, device = compute.choose(bool(request.get("leaky")))
    check_place(out)
    if (out / "metrics.json").is_file():  # finished: nothing is written
        return Run.start(out, request, folds, data, device)
    with lock_folder(out):
        run = Run.start(out, request, folds, data, device)
        if run.is_finished:
            return run
        missing = find_missing_classes(data, folds)
        if missing:
            name, classes = next(iter(missing.items()))
            others = f" (and {len(missing) - 1} more folds lack one)" if len(missing) > 1 else ""
            warnings.warn(
                f"the training part of fold {name!r} has no clip of {', '.join(classes)}{others}: the class has weight 0 "
                "there and cannot be recognised; the evaluation continues.",
                MissingClassWarning,
                stacklevel=4,
            )
        remove_temporary(run.path)
        run.drop_damaged_folds()
        run.check_backend(backend, device)
        todo = [(seed, i) for seed in request["seeds"] for i in range(len(folds)) if not run.is_done(seed, i)]
        started = time.perf_counter()
        clear_working(run.path, finished=False)
        for _ in progress(train_folds(data, folds, run, todo, compute, fit), len(todo)):
            pass
        clear_working(run.path, finished=True)
        metrics = compute_run_report(run, data, folds, device, missing)
        if extend:
            extend(metrics)
        if request.get("leaky"):
            write_json(resolve_inside(run.path, "leak.json"), collect_leak(run))
        metrics["seconds"] = round(time.perf_counter() - started, 1)
        bins = pd.DataFrame(metrics["calibration"]["bins"])
        run.finish(metrics, {"subjects": tabulate_subjects(run.collect()), "calibration": bins})
        return run


def check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """0, 1, ... for a number, otherwise the given seeds; none, negative or repeated ones raise."""
    chosen = list(range(seeds)) if isinstance(seeds, (int, np.integer)) else [int(s) for s in seeds]
    if not chosen or min(chosen) < 0:
        raise StagkitError(f"`seeds` is {seeds!r}: expected at least one, and none below 0.")
    twice = sorted({s for s in chosen if chosen.count(s) > 1})
    if twice:
        raise StagkitError(f"the seed {twice[0]} is given twice: it would count the same network as a repeat.")
    return chosen


def resolve_paths(path: str | Path | Sequence[str | Path]) -> str | list[str]:
    """One or several paths as absolute text; '' stays ''."""
    if isinstance(path, (str, Path)):
        return str(Path(path).resolve()) if path else ""
    return [str(Path(p).resolve()) for p in path]
