"""Training and testing folds: one after another, in processes, as ensembles on GPUs, or on a Dask cluster.

A fold has the same seed, order and sealed test part everywhere. ``sequential``, ``processes`` and a cluster of them give the
same bits. Ensembles (``stacked``) share random draws: the same only if the same folds are trained together.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.files import read_json, resolve_inside, write_json
from stagkit.core.parallel import configure_process, run_in_processes, run_on_cluster
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold, SealedInputs, Trained, Unblinding, fit_and_predict
from stagkit.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

BACKENDS = ("auto", "sequential", "processes", "stacked")

#: (run, training clips, sealed test clips, seed, number of the fold, device, checkpoint) -> the trained system
Fit = Callable[[Run, RoiDataset, SealedInputs, int, int, str, Checkpoint | None], Trained]


@dataclass(frozen=True)
class FoldResult:
    """What a run keeps of a fold (written by ``Run.save_fold``).

    ``record``: seconds, sizes, validation; ``rows``: predictions, one row per test clip; ``aus``: action units, if coded;
    ``model``: on the CPU, None keeps no weights; ``arrays``: name of a file -> its arrays.
    """

    seed: int
    number: int
    unblinding: Unblinding
    record: dict
    rows: pd.DataFrame
    model: nn.Module | None = None
    aus: pd.DataFrame | None = None
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def make_seed(seed: int, number: int) -> int:
    """The training seed of one fold."""
    return seed * 100_003 + number


def shuffle_labels(train: RoiDataset, seed: int) -> RoiDataset:
    """Training clips with labels and AU codes permuted together: nothing about faces can be learned."""
    order = np.random.default_rng(seed).permutation(len(train))
    return replace(train, label=train.label[order], aus=train.aus[order])


def run_fold(
    data: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str, checkpoint=None, fit: Fit | None = None
) -> FoldResult:
    """Train the system of ``fit`` (None: ``fit_stag``) on a fold's training part, predict its test part, then open it."""
    import pandas as pd
    import torch

    from stagkit import __version__

    configure_process(device)
    fold, fit = fold.copy(), fit or fit_stag  # each seed opens its own seal
    given = (seed, number, device, checkpoint)
    test, probability, trained = fit_and_predict(data, fold, lambda train, inputs: fit(run, train, inputs, *given))
    names = {"dataset": data.datasets, "subject": data.subjects, "clip": data.clip_ids}
    clips = {"seed": seed, "fold": number, **{key: [values[j] for j in test] for key, values in names.items()}}
    predicted = {
        "label": [data.classes[data.label[j]] for j in test],
        "prediction": [data.classes[k] for k in probability.argmax(1)],
        **{f"p_{c}": probability[:, k].astype(float).round(6) for k, c in enumerate(data.classes)},
    }
    # kept with the fold, as a run may be resumed elsewhere
    versions = {"stagkit": __version__, "torch": torch.__version__}
    record = {**trained.record, "device": str(device), "versions": versions}
    rows, aus = pd.DataFrame({**clips, **predicted}), _tabulate_aus(clips, data.aus[test], trained.aus)
    return FoldResult(seed, number, fold.unblinding, record, rows, trained.model, aus, trained.arrays)


def fit_stag(
    run: Run, train: RoiDataset, inputs: SealedInputs, seed: int, number: int, device: str, checkpoint=None
) -> Trained:
    """Train STAG as the run requests; with ``leaky``, or in a comparison, it also predicts after every epoch."""
    from stagkit.synthetic.auxiliary import make_auxiliary
    from stagkit.training.epoch_selection import fit_network
    from stagkit.training.train import predict

    own, predictions, every = make_seed(seed, number), [], np.arange(len(inputs))
    watched = run.request.get("leaky") or "explain" in run.request

    def on_epoch_end(epoch, loss, model):
        predictions.append(predict(model, inputs, every).argmax(1).astype(np.int8))

    if watched and checkpoint:  # a resumed fold would lack the predictions of earlier epochs
        checkpoint = checkpoint.progress_only()
    settings = (run.stag_config, run.train_config, own, device, on_epoch_end if watched else None, checkpoint)
    auxiliary, started = make_auxiliary(train, run.train_config), time.perf_counter()
    *network, record = fit_network(_permute(run, train, own), *settings, auxiliary)
    record = {**record, "train_seconds": round(time.perf_counter() - started, 3)}
    trained = _finish_stag((*network, record), run, train, inputs)
    return replace(trained, arrays={"leak": {"predictions": np.stack(predictions)}}) if predictions else trained


def run_ensemble(
    data: RoiDataset, folds: Sequence[Fold], run: Run, pairs: Sequence[tuple[int, int]], device: str, checkpoint=None
) -> list[FoldResult]:
    """Train the folds ``pairs``, (seed, number), at once; the same pairs in the same order give the same numbers."""
    from stagkit.synthetic.auxiliary import make_auxiliary
    from stagkit.training.epoch_selection import fit_ensemble

    configure_process(device)
    parts = [_make_part(data, folds[number], run, seed, number) for seed, number in pairs]
    started = time.perf_counter()
    auxiliary = make_auxiliary(data, run.train_config)
    fitted = fit_ensemble(data, parts, run.stag_config, run.train_config, device, len(parts), checkpoint, auxiliary)
    more = {"train_seconds": round((time.perf_counter() - started) / len(parts), 3), "stacked": len(parts)}
    fits = [partial(_finish_stag, (*network, {**record, **more})) for *network, record in fitted]
    done = zip(pairs, fits, strict=True)
    return [run_fold(data, folds[number], run, seed, number, device, fit=fit) for (seed, number), fit in done]


def _make_part(data: RoiDataset, fold: Fold, run: Run, seed: int, number: int):
    """The training clips of a fold for an ensemble (``epoch_selection.TrainingPart``)."""
    from stagkit.training.epoch_selection import TrainingPart

    own = make_seed(seed, number)
    train = _permute(run, fold.training_part(data), own)
    return TrainingPart.make(train, fold.train, run.stag_config, run.train_config, own)


def _permute(run: Run, train: RoiDataset, seed: int) -> RoiDataset:
    return shuffle_labels(train, seed) if run.request.get("permuted") else train


def describe_fit(model, train: RoiDataset, inputs: SealedInputs) -> dict[str, object]:
    """Clips, classes without a training clip, and cost of a trained network."""
    from stagkit.evaluation.cost import compute_cost, measure_inference

    return {
        "n_train": len(train),
        "n_test": len(inputs),
        "missing_classes": [c for i, c in enumerate(train.classes) if not (train.label == i).any()],
        "inference_ms_per_clip": round(measure_inference(model, inputs), 3),
        **compute_cost(model, inputs),
    }


def _finish_stag(fitted: tuple, run: Run, train: RoiDataset, inputs: SealedInputs, *_) -> Trained:
    """Predictions and record of a fitted network; the arguments after it are those of ``Fit``."""
    from stagkit.training.train import predict_with_aus

    model, epochs, selected_by, record = fitted
    coded = f"{(~np.isnan(train.aus)).any(1).sum()} of {len(train)} training clips with AU codes"
    phantoms = (
        f", and phantoms with weight {run.train_config.auxiliary_weight:g}" if run.train_config.auxiliary_weight else ""
    )
    record = {**record, **describe_fit(model, train, inputs), "au_supervision": coded + phantoms}
    probability, aus = predict_with_aus(model, inputs, np.arange(len(inputs)))
    return Trained(lambda _: probability, epochs, selected_by, record, model, aus)


def _tabulate_aus(clips: dict, truth: np.ndarray, probability: np.ndarray | None):
    """Code and probability of every AU of the test clips; None if none is coded or predicted."""
    import pandas as pd

    if probability is None or np.isnan(truth).all():
        return None
    coded = {label: truth[:, k] for k, label in enumerate(AU_LABELS)}
    predicted = {f"p_{label}": probability[:, k].astype(float).round(6) for k, label in enumerate(AU_LABELS)}
    return pd.DataFrame({**clips, **coded, **predicted})


@dataclass(frozen=True)
class Compute:
    """Where to train.

    Args:
        backend: one of ``BACKENDS``; ``auto``: processes on a CPU, stacked on a GPU.
        device, workers: ``auto``, ``cpu``, ``cuda``, ...; processes on a CPU (None: all cores).
        gpus: how many GPUs of this machine share the folds (0, 1, ...).
        cluster: a Dask scheduler (``parallel.connect``), '' for none.
    """

    backend: str = "auto"
    device: str = "auto"
    workers: int | None = None
    gpus: int = 1
    cluster: str = ""

    def choose(self, leaky: bool = False) -> tuple[str, str]:
        """Backend and device with ``auto`` resolved; ``leaky`` runs predict after every epoch, which ensembles cannot."""
        from stagkit.training.train import choose_device

        if self.backend not in BACKENDS:
            raise StagkitError(f"`backend` is {self.backend!r}, expected one of {', '.join(BACKENDS)}.")
        device = str(choose_device(self.device))
        stacks = "cpu" not in device and not leaky
        backend = self.backend if self.backend != "auto" else ("stacked" if stacks else "processes")
        if backend == "stacked" and leaky:
            raise StagkitError("--leaky predicts after every epoch, which an ensemble cannot: use --backend processes.")
        if self.gpus > 1 and (backend != "stacked" or device == "cpu"):
            raise StagkitError(
                f"--gpus {self.gpus} trains ensembles: there is no CUDA GPU, or --backend says otherwise."
            )
        if self.gpus > 1 and self.cluster:
            raise StagkitError("give --gpus or --cluster: on a cluster every worker has one GPU.")
        return backend, device


def train_folds(
    data: RoiDataset, folds: Sequence[Fold], run: Run, todo: Sequence[tuple], compute: Compute, fit: Fit | None = None
) -> Iterator[str]:
    """Train, test and write the folds ``todo``, (seed, number); yields the name of each finished fold."""
    for result in _compute_results(data, folds, run, todo, compute, fit) if todo else ():
        name = run.save_fold(result)  # workers return results: only the process that holds the run writes it
        stem = run.stem(result.seed, result.number)
        for working in (stem, f"stack_{stem}"):
            Checkpoint(run.path, working).remove()
        yield name


def _compute_results(data, folds, run: Run, todo, compute: Compute, fit) -> Iterator[FoldResult]:
    backend, device = compute.choose(bool(run.request.get("leaky")))
    if backend == "stacked":
        devices = [f"cuda:{i}" for i in range(compute.gpus)] if compute.gpus > 1 else [device]
        shards = [s for s in plan_stacks(data, folds, run, len(devices), device) if set(todo) & set(s)]
        if compute.cluster:
            pieces = [(run, s, device) for s in shards]
            ensembles = run_on_cluster(compute.cluster, run_ensemble, pieces, (data, list(folds)))
            results = (result for ensemble in ensembles for result in ensemble)
        else:
            groups = [[s] for s in shards] if len(devices) == 1 else [shards]  # one device: written after each ensemble
            results = (r for group in groups for r in run_on_devices(data, folds, run, group, devices))
        yield from (r for r in results if (r.seed, r.number) in set(todo))
    elif compute.cluster:
        pieces = [(folds[number], run, seed, number, device) for seed, number in todo]
        yield from run_on_cluster(compute.cluster, run_fold, pieces, (data,))
    else:
        work = (
            partial(run_fold, data, folds[n], run, seed, n, device, Checkpoint(run.path, run.stem(seed, n)), fit)
            for seed, n in todo
        )
        serial = backend == "sequential" or device != "cpu"
        yield from run_in_processes(work, 1 if serial else compute.workers or os.cpu_count() or 1)


def run_on_devices(data: RoiDataset, folds, run: Run, shards: Sequence[list], devices: Sequence[str]) -> Iterator:
    """Results of ensembles shared out over devices, one process per device (one device: this process)."""
    n = len(devices)
    work = [partial(_run_shards, data, folds, run, shards[i::n], device) for i, device in enumerate(devices)]
    for results in run_in_processes(work, n):
        yield from results


def plan_stacks(data: RoiDataset, folds, run: Run, n_devices: int, device: str) -> list[list[tuple[int, int]]]:
    """Which folds are trained together; fixed when the run first starts, so that a resumed run gives the same numbers."""
    from stagkit.training.ensemble import choose_chunk

    pairs = [(seed, number) for seed in run.request["seeds"] for number in range(len(folds))]
    path = resolve_inside(run.path, "stacks.json")
    if path.is_file():
        size = read_json(path).get("networks")
        if not isinstance(size, int) or size < 1:
            raise StagkitError(f"{path} is damaged: expected a number of networks; give another --out.")
    else:
        part = _make_part(data, folds[0], run, *pairs[0])
        fits = choose_chunk(data, [part.final] * len(pairs), run.train_config, device)
        size = min(fits, math.ceil(len(pairs) / n_devices))
        write_json(path, {"networks": size})
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def _run_shards(data, folds, run: Run, shards, device: str) -> list[FoldResult]:
    results = []
    for shard in shards:
        checkpoint = Checkpoint(run.path, f"stack_{run.stem(*shard[0])}")
        results += run_ensemble(data, folds, run, shard, device, checkpoint)
    return results
