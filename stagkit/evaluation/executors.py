"""Execution backends: folds one after another, in processes, as ensembles on GPUs, or on a Dask cluster.

A fold has the same seed, order and sealed test part everywhere. ``sequential``, ``processes`` and a cluster of them give the
same bits. Ensembles (``stacked``) share random draws, so their numbers differ from those by about as much as another seed's,
and are the same whenever the same folds are trained together.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from stagkit.core.files import read_json, resolve_inside, write_json
from stagkit.core.parallel import run_in_processes, run_on_cluster
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.fold import Fit, FoldResult, make_part, run_ensemble, run_fold
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold
from stagkit.training.checkpoint import Checkpoint

BACKENDS = ("auto", "sequential", "processes", "stacked")


@dataclass(frozen=True)
class Compute:
    """Where to train.

    Args:
        backend: one of ``BACKENDS``; ``auto``: processes on a CPU, stacked on a GPU.
        device: ``auto``, ``cpu``, ``cuda``, ...
        workers: processes on a CPU; None: all cores.
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
                f"--gpus {self.gpus} trains ensembles on GPUs: there is no CUDA GPU, or --backend says otherwise."
            )
        if self.gpus > 1 and self.cluster:
            raise StagkitError("give --gpus or --cluster: on a cluster every worker has one GPU.")
        return backend, device


def train_folds(
    data: RoiDataset,
    folds: Sequence[Fold],
    run: Run,
    todo: Sequence[tuple[int, int]],
    compute: Compute,
    fit: Fit | None = None,
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
            results = run_on_cluster(compute.cluster, run_ensemble, pieces, (data, list(folds)))
            results = (result for ensemble in results for result in ensemble)
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


def run_on_devices(
    data: RoiDataset, folds: Sequence[Fold], run: Run, shards: Sequence[list], devices: Sequence[str]
) -> Iterator[FoldResult]:
    """Ensembles shared out over devices, a process for each device (one device: this process)."""
    work = [
        partial(_run_shards, data, folds, run, shards[i :: len(devices)], device) for i, device in enumerate(devices)
    ]
    for results in run_in_processes(work, len(devices)):
        yield from results


def plan_stacks(
    data: RoiDataset, folds: Sequence[Fold], run: Run, n_devices: int, device: str
) -> list[list[tuple[int, int]]]:
    """Which folds are trained together; fixed when the run first starts, so that a resumed run gives the same numbers."""
    from stagkit.training.ensemble import choose_chunk

    pairs = [(seed, number) for seed in run.request["seeds"] for number in range(len(folds))]
    path = resolve_inside(run.path, "stacks.json")
    if path.is_file():
        size = read_json(path).get("networks")
        if not isinstance(size, int) or size < 1:
            raise StagkitError(f"{path} is damaged: expected a number of networks; give another --out.")
    else:
        part = make_part(data, folds[0], run, *pairs[0])
        fits = choose_chunk(data, [part.final] * len(pairs), run.train_config, device)
        size = min(fits, math.ceil(len(pairs) / n_devices))
        write_json(path, {"networks": size})
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def _run_shards(data, folds, run: Run, shards, device: str) -> list[FoldResult]:
    def checkpoint(shard) -> Checkpoint:
        return Checkpoint(run.path, f"stack_{run.stem(*shard[0])}")

    return [result for shard in shards for result in run_ensemble(data, folds, run, shard, device, checkpoint(shard))]
