"""Evaluate a network: every fold of a protocol, for every seed, pooled and scored once.

On a CPU folds run in processes of one thread each (stacking gains nothing there, and two threads on a busy machine can
cost twenty times); on a GPU one after the other. A run that was interrupted goes on and ends with the same numbers.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from stagkit.config import StagConfig, TrainConfig
from stagkit.errors import StagkitWarning
from stagkit.files import Progress, no_progress, write_json
from stagkit.run_report import collect_leak, compute_run_report, compute_run_tables
from stagkit.runs import Run
from stagkit.seal import Fold, SealedInputs, Trained, examine
from stagkit.splits import WHY_BESIDE, find_missing_classes, make_folds, make_stratified_folds
from stagkit.types import RoiDataset, StagkitError

#: Folders of runs that stand beside the one asked for.
STRATIFIED, PERMUTED = "stratifiedkfold", "permuted"


class MissingClassWarning(StagkitWarning):
    """A fold whose training part has no clip of a class."""


def evaluate(
    data: RoiDataset,
    out: str | Path,
    stag_config: StagConfig = StagConfig(),
    train_config: TrainConfig = TrainConfig(),
    protocol: str = "loso",
    n_folds: int = 10,
    seeds: int | Sequence[int] = 1,
    device: str = "auto",
    workers: int | None = None,
    data_path: str | Path | Sequence[str | Path] = "",
    progress: Progress = no_progress,
    permuted_retrain: bool = False,
    leaky: bool = False,
) -> Run:
    """Train and test every fold; write the run.

    Args:
        out: run folder; a run with the same request goes on, any other content is refused.
        protocol: see ``splits.PROTOCOLS``; ``n_folds`` for ``groupkfold``. ``stratifiedkfold`` is a ``groupkfold`` run
            with the stratified one beside it, in the folder of that name.
        seeds: how many (0, 1, ...), or which.
        device: ``auto``, ``cpu``, ``cuda``...
        workers: processes on a CPU; all cores where None.
        data_path: where the clips came from (one or several), so that the run can be explained later.
        progress: wraps the stream of finished folds.
        permuted_retrain: train everything once more on shuffled training labels: a baseline, in the folder ``permuted``.
        leaky: write ``leak.json`` too, what choosing the epoch on the test clips would have claimed. The scores stay
            honest, but the run is marked and refused as evidence.

    Returns:
        The finished run.

    Raises:
        StagkitError: data that cannot be split, a seed given twice, a folder that holds other work, a loss that is not
            finite.

    Warns:
        MissingClassWarning: a training part without a clip of some class, whose weight is then 0.
    """
    beside = protocol == STRATIFIED
    request = {
        "model": "stag",
        "protocol": "groupkfold" if beside else protocol,
        "seeds": _check_seeds(seeds),
        "stag": stag_config.to_dict(),
        "train": train_config.to_dict(),
        "data": dict(data.meta),
        "data_path": _absolute(data_path),
        "classes": list(data.classes),
        **({"leaky": True} if leaky else {}),
    }
    settings = {"n_folds": n_folds, "device": device, "workers": workers, "progress": progress}
    more = {"beside": STRATIFIED} if beside else {}
    return _evaluate(data, Path(out), {**request, **more}, settings, permuted_retrain)


def _evaluate(data: RoiDataset, out: Path, request: dict, settings: dict, permuted_retrain: bool = False) -> Run:
    """One run, and those that stand beside it; the scores are written when all are finished."""
    from stagkit.train import choose_device

    chosen = choose_device(settings["device"])
    if request.get("stratified"):
        folds = make_stratified_folds(data, settings["n_folds"])
    else:
        folds = make_folds(data, request["protocol"], settings["n_folds"])
    run = Run.start(
        out,
        {**request, "n_folds": len(folds), **({"permuted_retrain": True} if permuted_retrain else {})},
        folds,
        data,
        str(chosen),
    )
    if (run.path / "metrics.json").is_file():
        return run
    missing = find_missing_classes(data, folds)
    _warn_of(missing)
    todo = [(seed, i) for seed in request["seeds"] for i in range(len(folds)) if not run.is_done(seed, i)]
    started = time.perf_counter()
    work = _run_here if chosen.type != "cpu" or settings["workers"] == 1 else _run_in_processes
    for _ in settings["progress"](work(data, folds, run, todo, str(chosen), settings["workers"]), len(todo)):
        pass
    metrics = compute_run_report(run, data, folds, str(chosen), missing)
    if permuted_retrain:
        plain = {k: v for k, v in request.items() if k != "beside"}
        shuffled = _evaluate(data, run.path / PERMUTED, {**plain, "permuted": True}, settings)
        metrics["baselines"]["permuted_retrained"] = {s: shuffled.metrics[s]["mean"] for s in ("uf1", "uar", "acc")}
    if request.get("beside"):
        plain = {k: v for k, v in request.items() if k not in ("beside", "leaky")}
        other = _evaluate(data, run.path / STRATIFIED, {**plain, "protocol": STRATIFIED, "stratified": True}, settings)
        metrics["beside"] = {STRATIFIED: {s: other.metrics[s] for s in ("uf1", "uar", "acc")}, "why": WHY_BESIDE}
    if request.get("leaky"):
        write_json(run.path / "leak.json", collect_leak(run))
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


def _run_here(data, folds, run, todo, device, workers):
    for seed, i in todo:
        yield _run_fold(data, folds[i], run, seed, i, device)


def _run_in_processes(data, folds, run, todo, device, workers):
    from joblib import Parallel, delayed, parallel_config

    with parallel_config(backend="loky", n_jobs=workers or os.cpu_count() or 1, inner_max_num_threads=1):
        yield from Parallel(return_as="generator_unordered")(
            delayed(_run_fold)(data, folds[i], run, seed, i, device) for seed, i in todo
        )


def shuffle_labels(known: RoiDataset, seed: int) -> RoiDataset:
    """Training clips whose labels and AU codes (together) belong to another clip: nothing about faces can be learned."""
    order = np.random.default_rng(seed).permutation(len(known))
    return replace(known, label=known.label[order], aus=known.aus[order])


def _run_fold(data: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str) -> str:
    """Train, answer, open the test part once, keep."""
    import pandas as pd
    import torch

    from stagkit.cost import compute_cost, measure_inference
    from stagkit.epochs import fit_network
    from stagkit.optimiser import keep_freed_memory
    from stagkit.train import predict, predict_with_aus

    if device == "cpu":
        torch.set_num_threads(1)
        keep_freed_memory()
    aus, answers = [], []  # probabilities of the AUs; answers after each epoch (leak demonstration)

    def fit(known: RoiDataset, inputs: SealedInputs) -> Trained:
        absent = [c for i, c in enumerate(known.classes) if not (known.label == i).any()]
        if run.request.get("permuted"):
            known = shuffle_labels(known, seed * 100_003 + number)
        everyone, watch = np.arange(len(inputs)), None
        if run.request.get("leaky"):

            def watch(epoch, model):
                answers.append(predict(model, inputs, everyone).argmax(1).astype(np.int8))

        started = time.perf_counter()
        model, epochs, chosen_by, record = fit_network(
            known, run.stag_config, run.train_config, seed * 100_003 + number, device, watch
        )
        record = {
            **record,
            "n_train": len(known),
            "n_test": len(inputs),
            "missing_classes": absent,
            "train_seconds": round(time.perf_counter() - started, 3),
            "inference_ms_per_clip": round(measure_inference(model, inputs), 3),
            **compute_cost(model, inputs),
        }
        probability, au_probability = predict_with_aus(model, inputs, everyone)
        aus.append(au_probability)
        return Trained(lambda _: probability, epochs, chosen_by, record, model)

    fold = fold.copy()  # each seed opens its own seal
    test, probability, trained = examine(data, fold, fit)
    run.log_opening(seed, number, fold.opening, trained.record)
    rows = {
        "seed": seed,
        "fold": number,
        "dataset": [data.datasets[j] for j in test],
        "subject": [data.subjects[j] for j in test],
        "clip": [data.clip_ids[j] for j in test],
    }
    answered = {
        "label": [data.classes[data.label[j]] for j in test],
        "prediction": [data.classes[k] for k in probability.argmax(1)],
        **{f"p_{c}": probability[:, k].round(6) for k, c in enumerate(data.classes)},
    }
    run.save_fold(
        seed,
        number,
        pd.DataFrame({**rows, **answered}),
        trained.model,
        _tabulate_aus(rows, data.aus[test], aus[0]),
        np.stack(answers) if answers else None,
    )
    return fold.name


def _tabulate_aus(rows: dict, truth: np.ndarray, probability: np.ndarray):
    """Code and probability of every AU of the test clips; None where none is coded."""
    import pandas as pd

    from stagkit.facs import AU_LABELS

    if np.isnan(truth).all():
        return None
    coded = {label: truth[:, k] for k, label in enumerate(AU_LABELS)}
    said = {f"p_{label}": probability[:, k].round(6) for k, label in enumerate(AU_LABELS)}
    return pd.DataFrame({**rows, **coded, **said})
