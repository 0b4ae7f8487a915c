"""What is trained together in a stack: one task a network, alike in their steps, as many as the memory holds."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.network.model import Stag
from stagkit.training.train import make_model

#: Share of the free memory of a device that a stack may fill.
FILL = 0.6


@dataclass(frozen=True)
class Task:
    """One network to train.

    Args:
        model: untrained (``train.make_model``).
        index: int "clip", places of its training clips among the shared motion.
        label, aus: of these clips, in this order.
        seed: of the order of the clips.
        stop_after: epochs after which it is done, on the learning rates of the whole plan.
    """

    model: Stag
    index: np.ndarray
    label: np.ndarray
    aus: np.ndarray
    seed: int
    stop_after: int

    @classmethod
    def make(
        cls,
        known: RoiDataset,
        index: np.ndarray,
        stag_config: StagConfig,
        train_config: TrainConfig,
        seed: int,
        among: np.ndarray | None = None,
        stop_after: int | None = None,
    ) -> Task:
        """The network that ``train_fold(known, among, ...)`` would start from.

        Args:
            known: the training part of a fold.
            index: int "clip", where its clips stand among the shared motion.
            among: which clips of ``known`` are trained on; all where None.
        """
        among = np.arange(len(known)) if among is None else among
        if not len(among):
            raise StagkitError("the training part of the fold is empty.")
        model = make_model(known, among, stag_config, seed)
        return cls(model, index[among], known.label[among], known.aus[among], seed, stop_after or train_config.epochs)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches of one epoch."""
        return math.ceil(len(self.index) / batch_size)


def split_tasks(tasks: Sequence[Task], batch_size: int, chunk: int) -> Iterator[list[int]]:
    """Tasks that are stacked together: alike in their steps an epoch, at most ``chunk``; the later stop, the earlier."""
    kinds: dict[int, list[int]] = {}
    for i, task in enumerate(tasks):
        kinds.setdefault(task.steps_per_epoch(batch_size), []).append(i)
    for members in kinds.values():
        n_parts = math.ceil(len(members) / chunk)
        for part in np.array_split(members, n_parts):
            yield [int(i) for i in part]


def choose_chunk(
    data: RoiDataset,
    tasks: Sequence[Task],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    memory: int | None = None,
) -> int:
    """How many networks fit at once: what one keeps for its backward pass, measured on two clips, against free memory.

    Args:
        memory: bytes to fill; ``FILL`` of what is free on the device where None.

    Returns:
        At least 1, at most the number of tasks.
    """
    device = torch.device(device)
    if memory is None:
        if device.type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**32
        memory = int(FILL * free)
    return max(1, min(len(tasks), memory // measure_memory(data, tasks[0], stag_config, train_config)))


def measure_memory(data: RoiDataset, task: Task, stag_config: StagConfig, train_config: TrainConfig) -> int:
    """Bytes that one network of a stack needs while it learns: an estimate, on the careful side."""
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    batch = data.batch(np.zeros(2, np.int64))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        task.model(batch.x, batch.mask, batch.times_ms)
    n_clips = min(train_config.batch_size, len(task.index)) * (2 if train_config.phantoms_beside else 1)
    parameters = sum(p.numel() for p in task.model.parameters()) * 4
    # what is kept, as much again for slopes and what is freed late; each parameter with slope, moments and their making
    return int(sum(kept.values()) / 2 * n_clips * 2 + parameters * 6)
