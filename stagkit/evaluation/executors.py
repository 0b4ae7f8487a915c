"""Where folds are trained: one after the other, in processes, stacked on a GPU, on several GPUs, on a Dask cluster.

On a CPU folds run in processes of one thread each: stacking gains little there, and two threads on a busy machine can cost
twenty times. On a GPU they are stacked (``stacked``). Whoever trains it, a fold has the same seed, order and sealed test
part. ``sequential``, ``processes`` and a cluster of them give the same bits; stacked folds draw their chance together, so
their numbers differ from those by as much as another seed would, and are the same whenever the same folds are stacked.
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
from stagkit.evaluation.fold import FoldResult, make_part, run_ensemble, run_fold
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold
from stagkit.training.checkpoint import Checkpoint

BACKENDS = ("auto", "sequential", "processes", "stacked")


@dataclass(frozen=True)
class Compute:
    """Where to train.

    Args:
        backend: one of ``BACKENDS``; ``auto`` is processes on a CPU and stacked on a GPU.
        device: ``auto``, ``cpu``, ``cuda``, ...
        workers: processes on a CPU; all cores where None.
        gpus: how many GPUs of this machine share the folds; their numbers are 0, 1, ...
        cluster: a Dask scheduler (``parallel.connect``), '' for none.
    """

    backend: str = "auto"
    device: str = "auto"
    workers: int | None = None
    gpus: int = 1
    cluster: str = ""

    def choose(self, leaky: bool = False) -> tuple[str, str]:
        """Backend and device, none of them ``auto``.

        Args:
            leaky: the run looks after every epoch, which a stack cannot.

        Raises:
            StagkitError: a backend that does not exist or cannot do this, a device that is not there.
        """
        from stagkit.training.train import choose_device

        if self.backend not in BACKENDS:
            raise StagkitError(f"`backend` is {self.backend!r}, expected one of {', '.join(BACKENDS)}.")
        device = str(choose_device(self.device))
        stacks = "cpu" not in device and not leaky
        backend = self.backend if self.backend != "auto" else ("stacked" if stacks else "processes")
        if backend == "stacked" and leaky:
            raise StagkitError("--leaky looks after every epoch, which a stack cannot: use --backend processes.")
        if self.gpus > 1 and (backend != "stacked" or device == "cpu"):
            raise StagkitError(
                f"--gpus {self.gpus} stacks folds on GPUs: there is no CUDA GPU, or --backend says otherwise."
            )
        if self.gpus > 1 and self.cluster:
            raise StagkitError("give --gpus or --cluster: on a cluster every worker has one GPU.")
        return backend, device


def train_folds(
    data: RoiDataset, folds: Sequence[Fold], run: Run, todo: Sequence[tuple[int, int]], compute: Compute
) -> Iterator[str]:
    """Train, test and keep the folds ``todo``, (seed, number); yields the name of each as it is finished."""
    backend, device = compute.choose(bool(run.request.get("leaky")))
    if not todo:
        return
    if backend == "stacked":
        devices = [f"cuda:{i}" for i in range(compute.gpus)] if compute.gpus > 1 else [device]
        work = plan_stacks(data, folds, run, len(devices), device)
        missing = set(todo)
        shards = [shard for shard in work if missing & set(shard)]
        if compute.cluster:
            done = run_on_cluster(
                compute.cluster, run_ensemble, [(run, s, device) for s in shards], (data, list(folds))
            )
            results = (result for stack in done for result in stack)
        elif len(devices) > 1:
            results = run_on_devices(data, folds, run, shards, devices)
        else:
            results = (
                r for s in shards for r in run_ensemble(data, folds, run, s, device, _ensemble_checkpoint(run, s))
            )
        yield from (_save(run, r) for r in results if (r.seed, r.number) in missing)
    elif compute.cluster:
        pieces = [(folds[number], run, seed, number, device) for seed, number in todo]
        yield from (_save(run, r) for r in run_on_cluster(compute.cluster, run_fold, pieces, (data,)))
    elif backend == "sequential" or compute.workers == 1 or device != "cpu":
        yield from (_save(run, _train(data, folds[number], run, seed, number, device)) for seed, number in todo)
    else:  # workers return what they trained: only the process that holds the run writes it
        work = [partial(_train, data, folds[number], run, seed, number, device) for seed, number in todo]
        yield from (_save(run, r) for r in run_in_processes(work, compute.workers or os.cpu_count() or 1))


def run_on_devices(
    data: RoiDataset, folds: Sequence[Fold], run: Run, shards: Sequence[list], devices: Sequence[str]
) -> Iterator[FoldResult]:
    """Stacks shared out over devices, a process for each device."""
    work = [
        partial(_run_stacks, data, folds, run, shards[i :: len(devices)], device) for i, device in enumerate(devices)
    ]
    for results in run_in_processes(work, len(devices)):
        yield from results


def plan_stacks(
    data: RoiDataset, folds: Sequence[Fold], run: Run, n_devices: int, device: str
) -> list[list[tuple[int, int]]]:
    """Which folds are stacked with which: fixed when the run first starts, so that one that goes on gives the same."""
    from stagkit.training.ensemble import choose_chunk

    pairs = [(seed, number) for seed in run.request["seeds"] for number in range(len(folds))]
    path = resolve_inside(run.path, "stacks.json")
    if path.is_file():
        size = read_json(path).get("networks")
        if not isinstance(size, int) or size < 1:
            raise StagkitError(f"{path} is damaged: expected a number of networks; give another --out.")
    else:
        part = make_part(data, folds[0], run, *pairs[0])
        fits = choose_chunk(data, [part.final] * len(pairs), run.stag_config, run.train_config, device)
        size = min(fits, math.ceil(len(pairs) / n_devices))
        write_json(path, {"networks": size})
    return [pairs[i : i + size] for i in range(0, len(pairs), size)]


def _run_stacks(data, folds, run: Run, shards, device: str) -> list[FoldResult]:
    return [
        r for shard in shards for r in run_ensemble(data, folds, run, shard, device, _ensemble_checkpoint(run, shard))
    ]


def _train(data: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str) -> FoldResult:
    return run_fold(data, fold, run, seed, number, device, Checkpoint(run.path, run.stem(seed, number)))


def _save(run: Run, result: FoldResult) -> str:
    name = result.save(run)
    for stem in (run.stem(result.seed, result.number), f"stack_{run.stem(result.seed, result.number)}"):
        Checkpoint(run.path, stem).remove()
    return name


def _ensemble_checkpoint(run: Run, pairs: Sequence[tuple[int, int]]) -> Checkpoint:
    return Checkpoint(run.path, f"stack_{run.stem(*pairs[0])}")
