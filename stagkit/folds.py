"""Evaluate a network: every fold of a protocol, for every seed, pooled and scored once.

On a CPU folds run in processes of one thread each (stacking gains nothing there, and two threads on a busy machine can
cost twenty times); on a GPU one after the other. A run that was interrupted goes on and ends with the same numbers.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np

from stagkit.config import StagConfig, TrainConfig
from stagkit.files import Progress, no_progress
from stagkit.metrics import compute_report
from stagkit.runs import Run
from stagkit.splits import Fold, make_folds
from stagkit.types import RoiDataset, StagkitError


def evaluate(
    data: RoiDataset,
    out: str | Path,
    stag_config: StagConfig = StagConfig(),
    train_config: TrainConfig = TrainConfig(),
    protocol: str = "loso",
    n_folds: int = 10,
    seeds: int = 1,
    device: str = "auto",
    workers: int | None = None,
    data_path: str | Path = "",
    progress: Progress = no_progress,
) -> Run:
    """Train and test every fold; write the run.

    Args:
        out: run folder; a run with the same request goes on, any other content is refused.
        protocol: see ``splits.make_folds``; ``n_folds`` for ``groupkfold``.
        seeds: how many (0, 1, ...).
        device: ``auto``, ``cpu``, ``cuda``...
        workers: processes on a CPU; all cores where None.
        data_path: where the clips came from, so that the run can be explained later.
        progress: wraps the stream of finished folds.

    Returns:
        The finished run.

    Raises:
        StagkitError: data that cannot be split, a folder that holds other work, a loss that is not finite.
    """
    from stagkit.train import choose_device

    chosen = choose_device(device)
    folds = make_folds(data, protocol, n_folds)
    request = {
        "model": "stag",
        "protocol": protocol,
        "n_folds": len(folds),
        "seeds": list(range(seeds)),
        "stag": stag_config.to_dict(),
        "train": train_config.to_dict(),
        "data": dict(data.meta),
        "data_path": str(Path(data_path).resolve()) if data_path else "",
        "classes": list(data.classes),
    }
    run = Run.start(out, request, folds, data, str(chosen))
    if (run.path / "metrics.json").is_file():
        return run
    todo = [(seed, i) for seed in request["seeds"] for i in range(len(folds)) if not run.is_done(seed, i)]
    started = time.perf_counter()
    work = _run_here if chosen.type != "cpu" or workers == 1 else _run_in_processes
    done = work(data, folds, run, todo, stag_config, train_config, str(chosen), workers)
    for _ in progress(done, len(todo)):
        pass
    run.finish(
        {
            "protocol": protocol,
            "model": "stag",
            "n_clips": len(data),
            "n_subjects": len(set(data.subjects)),
            "n_folds": len(folds),
            "seeds": request["seeds"],
            **compute_report(run.collect(), data.classes),
            "classes": list(data.classes),
            "epoch_choice": f"fixed beforehand ({train_config.epochs} epochs); no test clip took part",
            "seconds": round(time.perf_counter() - started, 1),
            "device": str(chosen),
        }
    )
    return run


def _run_here(data, folds, run, todo, stag_config, train_config, device, workers):
    for seed, i in todo:
        yield _run_fold(data, folds[i], run, seed, i, stag_config, train_config, device)


def _run_in_processes(data, folds, run, todo, stag_config, train_config, device, workers):
    from joblib import Parallel, delayed, parallel_config

    # keep freed memory in the process: page faults would cost a third of the time
    os.environ.setdefault("MALLOC_MMAP_THRESHOLD_", "4294967296")
    os.environ.setdefault("MALLOC_TRIM_THRESHOLD_", "17179869184")
    os.environ.setdefault("MALLOC_TOP_PAD_", "268435456")
    with parallel_config(backend="loky", n_jobs=workers or os.cpu_count() or 1, inner_max_num_threads=1):
        yield from Parallel(return_as="generator_unordered")(
            delayed(_run_fold)(data, folds[i], run, seed, i, stag_config, train_config, device) for seed, i in todo
        )


def _run_fold(
    data: RoiDataset,
    fold: Fold,
    run: Run,
    seed: int,
    number: int,
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: str,
) -> str:
    """Train, then open the test part once, predict, keep."""
    import copy

    import pandas as pd
    import torch

    from stagkit.train import predict, train_fold

    if device == "cpu":
        torch.set_num_threads(1)
    fold = copy.copy(fold)  # each seed opens its own seal
    model = train_fold(data, fold.train, stag_config, train_config, seed * 100_003 + number, device)
    test = fold.open_test()
    if set(np.asarray(data.subjects)[test]) & set(np.asarray(data.subjects)[fold.train]):
        raise StagkitError(f"fold {fold.name!r} has a subject in both parts: this must not happen.")
    probability = predict(model, data, test)
    rows = pd.DataFrame(
        {
            "seed": seed,
            "fold": number,
            "dataset": [data.datasets[j] for j in test],
            "subject": [data.subjects[j] for j in test],
            "clip": [data.clip_ids[j] for j in test],
            "label": [data.classes[data.label[j]] for j in test],
            "prediction": [data.classes[k] for k in probability.argmax(1)],
            **{f"p_{c}": probability[:, k].round(6) for k, c in enumerate(data.classes)},
        }
    )
    run.save_fold(seed, number, rows, model)
    return fold.name
