"""Evaluate a network: every fold of a protocol, for every seed, pooled and scored once.

Where folds are trained: ``backends``. A run that was interrupted goes on and ends with the same numbers.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.files import Progress, lock_folder, no_progress, remove_temporary, resolve_inside, write_json
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.subjects import add_warnings
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.executors import Compute, train_folds
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run, check_place
from stagkit.evaluation.run_summary import collect_leak, compute_run_report, compute_run_tables
from stagkit.evaluation.splits import NOT_DISJOINT, find_missing_classes, make_folds, make_stratified_folds
from stagkit.training.checkpoint import clear_progress, remove_working

#: Folders of runs that stand beside the one asked for.
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
        out: run folder; a run with the same request goes on, any other content is refused.
        stag_config, train_config: settings of the network and its training; None: those that ``stagkit evaluate`` takes
            for these clips (``defaults.choose_settings``).
        protocol: see ``splits.PROTOCOLS``; ``n_folds`` for ``groupkfold``. ``stratifiedkfold`` is a ``groupkfold`` run
            with the stratified one beside it, in the folder of that name.
        seeds: how many (0, 1, ...), or which.
        device: ``auto``, ``cpu``, ``cuda``...
        workers: processes on a CPU; all cores where None.
        data_path: where the clips came from (one or several), so that the run can be explained later.
        progress: wraps the stream of finished folds.
        permutation_baseline: train everything once more on shuffled training labels: a baseline, in the folder ``permuted``.
        leaky: write ``leak.json`` too, what choosing the epoch on the test clips would have claimed. The scores stay
            honest, but the run is marked and refused as evidence.
        backend, gpus, cluster: where folds are trained (``backends.Compute``).

    Returns:
        The finished run.

    Raises:
        StagkitError: data that cannot be split, a seed given twice, a folder that holds other work, a loss that is not
            finite.

    Warns:
        StagkitWarning: clips that were left out before, people who may be one person under two names, and clips of two
            people with nearly the same motion; the run keeps them in ``data.warnings``.
        MissingClassWarning: a training part without a clip of some class, whose weight is then 0.
    """
    data = add_warnings(data)
    defaults = choose_settings(data, protocol, stag_config, train_config)
    stratified = protocol == STRATIFIED
    request = {
        "model": "stag",
        "protocol": "groupkfold" if stratified else protocol,
        "seeds": _check_seeds(seeds),
        "stag": defaults.stag.to_dict(),
        "train": defaults.train.to_dict(),
        "data": dict(data.meta),
        "data_path": _absolute(data_path),
        "classes": list(data.classes),
        **({"leaky": True} if leaky else {}),
    }
    compute = Compute(backend, device, workers, gpus, cluster)
    settings = {"n_folds": n_folds, "compute": compute, "progress": progress}
    more = {"comparison": STRATIFIED} if stratified else {}
    return _evaluate(data, Path(out), {**request, **more}, settings, permutation_baseline)


def _evaluate(data: RoiDataset, out: Path, request: dict, settings: dict, permutation_baseline: bool = False) -> Run:
    """One run, and those that stand beside it; the scores are written when all are finished."""
    _, device = settings["compute"].choose(bool(request.get("leaky")))
    if request.get("stratified"):
        folds = make_stratified_folds(data, settings["n_folds"])
    else:
        folds = make_folds(data, request["protocol"], settings["n_folds"])
    whole = {**request, "n_folds": len(folds), **({"permutation_baseline": True} if permutation_baseline else {})}
    check_place(out)
    if (out / "metrics.json").is_file():  # finished: nothing is written
        return Run.start(out, whole, folds, data, device)
    with lock_folder(out):
        run = Run.start(out, whole, folds, data, device)
        return run if run.is_finished else _finish(data, run, folds, request, settings, permutation_baseline, device)


def _finish(data, run: Run, folds, request: dict, settings: dict, permutation_baseline: bool, device: str) -> Run:
    missing = find_missing_classes(data, folds)
    _warn_of(missing)
    remove_temporary(run.path)
    run.drop_damaged_folds()
    run.check_backend(*settings["compute"].choose(bool(request.get("leaky"))))
    todo = [(seed, i) for seed in request["seeds"] for i in range(len(folds)) if not run.is_done(seed, i)]
    started = time.perf_counter()
    clear_progress(run.path)
    for _ in settings["progress"](train_folds(data, folds, run, todo, settings["compute"]), len(todo)):
        pass
    remove_working(run.path)
    metrics = compute_run_report(run, data, folds, device, missing)
    if permutation_baseline:
        plain = {k: v for k, v in request.items() if k != "comparison"}
        shuffled = _evaluate(data, resolve_inside(run.path, PERMUTED), {**plain, "permuted": True}, settings)
        metrics["baselines"]["permutation_baseline"] = {s: shuffled.metrics[s]["mean"] for s in SCORES}
    if request.get("comparison"):
        plain = {k: v for k, v in request.items() if k not in ("comparison", "leaky")}
        plain |= {"protocol": STRATIFIED, "stratified": True}
        other = _evaluate(data, resolve_inside(run.path, STRATIFIED), plain, settings)
        metrics["comparison"] = {STRATIFIED: {s: other.metrics[s] for s in SCORES}, "reason": NOT_DISJOINT}
    if request.get("leaky"):
        write_json(resolve_inside(run.path, "leak.json"), collect_leak(run))
    metrics["seconds"] = round(time.perf_counter() - started, 1)
    run.finish(metrics, compute_run_tables(run, metrics))
    return run


def _check_seeds(seeds: int | Sequence[int]) -> list[int]:
    """0, 1, ... where a number is given; else the seeds given, none twice."""
    chosen = list(range(seeds)) if isinstance(seeds, (int, np.integer)) else [int(s) for s in seeds]
    if not chosen or min(chosen) < 0:
        raise StagkitError(f"`seeds` is {seeds!r}: expected at least one, and none below 0.")
    twice = sorted({s for s in chosen if chosen.count(s) > 1})
    if twice:
        raise StagkitError(
            f"the seed {twice[0]} is given twice: it would train the same network again and count it as a repeat."
        )
    return chosen


def _absolute(path: str | Path | Sequence[str | Path]) -> str | list[str]:
    if isinstance(path, (str, Path)):
        return str(Path(path).resolve()) if path else ""
    return [str(Path(p).resolve()) for p in path]


def _warn_of(missing: dict[str, tuple[str, ...]]) -> None:
    if missing:
        name, classes = next(iter(missing.items()))
        others = f" (and {len(missing) - 1} more folds lack one)" if len(missing) > 1 else ""
        warnings.warn(
            f"the training part of fold {name!r} has no clip of {', '.join(classes)}{others}: the class has weight 0 "
            "there and cannot be recognised; the rest goes on.",
            MissingClassWarning,
            stacklevel=4,
        )
