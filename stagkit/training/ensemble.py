"""Many networks trained as one: parameters, optimiser state and losses stacked over networks, one shared set of clips.

A leave-one-subject-out run is dozens of small networks over nearly the same clips. One after the other they are bound by
the start of thousands of small computations on a GPU; stacked (``torch.func``) they are one batched computation. Each
network has its own weights, order of clips, class weights, prior, scale and gradient clipping, as in ``train.train_fold``:
with dropout and augmentation off the two agree to rounding. Motion is shared; labels are not: every network brings those
of its own training clips, and there are no others here.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.network.losses import compute_class_weights, compute_loss
from stagkit.network.model import Stag
from stagkit.training.augment import make_augmented
from stagkit.training.optim import Optimiser
from stagkit.training.train import check_auxiliary, make_model

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
    n_clips = min(train_config.batch_size, len(task.index)) * (2 if train_config.auxiliary_weight else 1)
    parameters = sum(p.numel() for p in task.model.parameters()) * 4
    # what is kept, as much again for gradients and what is freed late; each parameter with slope, moments and their making
    return int(sum(kept.values()) / 2 * n_clips * 2 + parameters * 6)


@dataclass(frozen=True)
class Motion:
    """What all networks look at, on the device: motion without labels.

    Args:
        x: float32 "clip time roi chan py px"; mask: bool "clip time roi"; times_ms: float32 "clip time".
    """

    x: Tensor
    mask: Tensor
    times_ms: Tensor

    @classmethod
    def of(cls, data: RoiDataset, device: torch.device | str) -> Motion:
        """The motion of a data set."""
        return cls(*(torch.from_numpy(a).to(device) for a in (data.x, data.mask, data.times_ms)))


def train_ensemble(
    data: RoiDataset,
    tasks: Sequence[Task],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    on_epoch: Callable[[int, float, int], None] | None = None,
    on_epoch_end: Callable[[int, Ensemble], None] | None = None,
    auxiliary: Batch | None = None,
) -> list[Stag]:
    """Train every task's network, as many at once as fit.

    Args:
        data: the shared clips; its labels and AU codes are not looked at.
        tasks: what to train.
        device: where; one shared copy of the motion is put there.
        chunk: networks at once; by the free memory of the device where None (``choose_chunk``).
        on_epoch: called with (epoch, mean loss, networks still training).
        on_epoch_end: called with (epoch, stack) after each epoch; must not change it.
        auxiliary: as for ``train.train_fold``; shared by all networks, each draws its own clips from it.

    Returns:
        The trained networks on the CPU, in evaluation mode, in the order of the tasks.

    Raises:
        StagkitError: a loss that is not finite, with the epoch.
    """
    device = torch.device(device)
    auxiliary = check_auxiliary(auxiliary, train_config, device)
    motion = Motion.of(data, device)
    chunk = chunk or choose_chunk(data, tasks, stag_config, train_config, device)
    trained: dict[int, Stag] = {}
    with _as_asked(train_config, device):
        for group in split_tasks(tasks, train_config.batch_size, chunk):
            stack = Ensemble(
                [tasks[i] for i in group], group, motion, data.classes, stag_config, train_config, auxiliary
            )
            trained |= stack.train(on_epoch, on_epoch_end)
    return [trained[i] for i in range(len(tasks))]


class Ensemble:
    """Networks that are trained together; those that are done leave.

    Args:
        tasks: alike in their steps an epoch.
        names: a number for each, by which ``train`` gives it back.
        motion: the shared clips.
        classes: their names.
        auxiliary: further clips on the same device, or None.
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        names: Sequence[int],
        motion: Motion,
        classes: tuple[str, ...],
        stag_config: StagConfig,
        train_config: TrainConfig,
        auxiliary: Batch | None = None,
    ):
        self.tasks, self.names, self.motion, self.classes = list(tasks), list(names), motion, classes
        self.stag_config, self.train_config, self.device = stag_config, train_config, motion.x.device
        model = tasks[0].model
        self._learns = copy.deepcopy(model).to(self.device).train()
        self._answers = copy.deepcopy(self._learns).eval()
        decayed = [(k, p.shape) for k, p in model.named_parameters() if p.ndim > 1]
        plain = [(k, p.shape) for k, p in model.named_parameters() if p.ndim <= 1]
        self._layout = (decayed, plain)
        parameters = [dict(task.model.named_parameters()) for task in tasks]
        self.decayed, self.plain = (
            torch.nn.Parameter(
                torch.stack([torch.cat([p[k].detach().flatten() for k, _ in part]) for p in parameters]).to(self.device)
            )
            for part in self._layout
        )
        buffers = [dict(task.model.named_buffers()) for task in tasks]
        # what is alike in all networks (the anatomy, ...) is held once
        self.shared = {
            k: v.to(self.device) for k, v in buffers[0].items() if all(torch.equal(v, b[k]) for b in buffers)
        }
        self.own = {k: torch.stack([b[k] for b in buffers]).to(self.device) for k in buffers[0] if k not in self.shared}
        weights = [compute_class_weights(task.label, len(classes)) for task in tasks]
        self.class_weights = torch.stack(weights).to(self.device)
        label, aus = _pad([t.label for t in tasks], 0), _pad([t.aus for t in tasks], np.nan)
        self.label, self.aus = label.to(self.device, torch.int64), aus.to(self.device, torch.float32)
        self.index = _pad([t.index for t in tasks], 0).to(self.device, torch.int64)
        self.auxiliary = auxiliary
        self.steps_per_epoch = tasks[0].steps_per_epoch(train_config.batch_size)
        self.optimiser = Optimiser(self.decayed, self.plain, train_config, self.steps_per_epoch * train_config.epochs)
        self.orders = [torch.Generator().manual_seed(task.seed) for task in tasks]
        self.chance = torch.Generator(self.device).manual_seed(tasks[0].seed)
        self._losses = vmap(self._loss, in_dims=(0, 0, 0, None, 0, 0, 0), randomness="different")

    def train(self, on_epoch=None, on_epoch_end=None) -> dict[int, Stag]:
        """Train all; the networks by their names."""
        done: dict[int, Stag] = {}
        torch.manual_seed(self.tasks[0].seed)  # dropout
        for epoch in range(max(task.stop_after for task in self.tasks)):
            losses = torch.stack([self._step(part) for part in self._draw()]).mean(0)
            mean = losses.mean().item()
            if not math.isfinite(mean):
                raise StagkitError(
                    f"the loss became {mean} in epoch {epoch + 1}: try a smaller learning rate than "
                    f"{self.train_config.lr}."
                )
            if on_epoch:
                on_epoch(epoch, mean, len(self.tasks))
            if on_epoch_end:
                on_epoch_end(epoch, self)
            done |= self._dismiss(epoch + 1)
        return done

    def predict(self, index: Tensor) -> Tensor:
        """Class probabilities of each network in evaluation mode: int "network clip" -> float "network clip cls"."""

        def answer(decayed, plain, own, shared, x, mask, times_ms):
            state = {**self._unfold(decayed, plain), **own, **shared}
            return functional_call(self._answers, state, (x, mask, times_ms)).logits

        motion = (self.motion.x[index], self.motion.mask[index], self.motion.times_ms[index])
        with torch.no_grad(), self._precision():
            logits = vmap(answer, in_dims=(0, 0, 0, None, 0, 0, 0))(
                self.decayed, self.plain, self.own, self.shared, *motion
            )
        return logits.float().softmax(-1)

    def extract_model(self, row: int) -> Stag:
        """One network by itself, on the CPU, in evaluation mode."""
        model = copy.deepcopy(self.tasks[row].model)
        state = self._unfold(self.decayed[row].detach().cpu(), self.plain[row].detach().cpu())
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(state[name])
        return model.eval()

    def _unfold(self, decayed: Tensor, plain: Tensor) -> dict[str, Tensor]:
        state = {}
        for vector, part in zip((decayed, plain), self._layout, strict=True):
            pieces = vector.split([shape.numel() for _, shape in part])
            state |= {name: piece.view(shape) for piece, (name, shape) in zip(pieces, part, strict=True)}
        return state

    def _draw(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """The batches of an epoch: places in a task's clips "network batch", whether they count, auxiliary clips."""
        orders = [torch.randperm(len(t.index), generator=g) for t, g in zip(self.tasks, self.orders, strict=True)]
        for parts in zip(*(order.chunk(self.steps_per_epoch) for order in orders), strict=True):
            some = None
            if self.auxiliary is not None:
                n = len(self.auxiliary.label)
                drawn = [torch.randint(n, (len(p),), generator=g) for p, g in zip(parts, self.orders, strict=True)]
                some = _pad(drawn, 0).to(self.device)
            yield _pad(parts, 0).to(self.device), _pad([torch.ones(len(p)) for p in parts], 0).to(self.device), some

    def _step(self, drawn: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        """One step of every network; its loss, float "network"."""
        place, counts, some = drawn
        where = self.index.gather(1, place)
        label = self.label.gather(1, place)
        aus = self.aus.gather(1, place[..., None].expand(-1, -1, self.aus.shape[-1]))
        motion = (self.motion.x[where], self.motion.mask[where], self.motion.times_ms[where])
        losses = self._score(motion, label, aus, counts, self.class_weights)
        if some is not None:
            aux = self.auxiliary
            motion = (aux.x[some], aux.mask[some], aux.times_ms[some])
            equal_weights = torch.ones_like(self.class_weights)
            aux_losses = self._score(motion, aux.label[some], aux.aus[some], counts, equal_weights)
            losses = losses + self.train_config.auxiliary_weight * aux_losses
        for vector in (self.decayed, self.plain):
            vector.grad = None
        losses.sum().backward()  # networks do not touch each other: the sum's gradient is each one's own
        norms = [vector.grad.norm(dim=1) for vector in (self.decayed, self.plain)]
        self.optimiser.step(torch.stack(norms).norm(dim=0))
        return losses.detach()

    def _score(self, motion, label: Tensor, aus: Tensor, counts: Tensor, class_weights: Tensor) -> Tensor:
        motion, aus = self._augment(motion, label, aus, counts)
        with self._precision():
            return self._losses(
                self.decayed, self.plain, self.own, self.shared, motion, (label, aus, counts), class_weights
            )

    def _augment(self, motion, label: Tensor, aus: Tensor, counts: Tensor) -> tuple[tuple[Tensor, ...], Tensor]:
        """All networks' clips changed at once; motion and AU codes stay "network batch ..."."""
        # clips are mixed within a class: of one network, and those that do not count among themselves
        network = torch.arange(len(label), device=label.device)[:, None] * 2 + (counts == 0)
        group = (label + network * len(self.classes)).flatten()
        flat = _make_batch(*(part.flatten(0, 1) for part in motion), group, aus.flatten(0, 1), self.classes)
        flat = make_augmented(flat, self.train_config, self.chance)
        x, mask, times_ms, aus = (
            part.unflatten(0, label.shape) for part in (flat.x, flat.mask, flat.times_ms, flat.aus)
        )
        return (x, mask, times_ms), aus

    def _loss(self, decayed, plain, own, shared, motion, truth, class_weights) -> Tensor:
        """The loss of one network (inside vmap)."""
        x, mask, times_ms = motion
        label, aus, counts = truth
        output = functional_call(self._learns, {**self._unfold(decayed, plain), **own, **shared}, (x, mask, times_ms))
        if self.train_config.precision == "bf16":  # the loss is counted in float32
            said = {f.name: getattr(output, f.name) for f in fields(output)}
            output = replace(output, **{k: v.float() for k, v in said.items() if isinstance(v, Tensor)})
        batch = _make_batch(x, mask, times_ms, label, aus, self.classes)
        return compute_loss(output, batch, class_weights, self.train_config, counts).total

    def _precision(self):
        if self.train_config.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return nullcontext()

    def _dismiss(self, epochs: int) -> dict[int, Stag]:
        """Networks that have had their epochs leave the stack."""
        rows = [i for i, task in enumerate(self.tasks) if task.stop_after <= epochs]
        done = {self.names[i]: self.extract_model(i) for i in rows}
        stay = [i for i in range(len(self.tasks)) if i not in rows]
        if rows and stay:
            at = torch.tensor(stay, device=self.device)
            self.optimiser.keep(at)
            self.own = {k: v[at] for k, v in self.own.items()}
            for name in ("class_weights", "label", "aus", "index"):
                setattr(self, name, getattr(self, name)[at])
        self.tasks, self.names, self.orders = ([a[i] for i in stay] for a in (self.tasks, self.names, self.orders))
        return done


@contextmanager
def _as_asked(train_config: TrainConfig, device: torch.device) -> Iterator[None]:
    """The switches of torch for this training; put back afterwards."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    try:
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cuda.matmul.allow_tf32 = train_config.precision != "float32"
            torch.use_deterministic_algorithms(train_config.deterministic, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = (
                False  # costs time, and nothing here reads such memory
            )
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.utils.deterministic.fill_uninitialized_memory = fill


def _make_batch(x, mask, times_ms, label, aus, classes: tuple[str, ...]) -> Batch:
    """Clips without names."""
    return Batch(x, mask, times_ms, label, aus, ("",) * len(label), ("",) * len(label), classes)


def _pad(rows: Sequence[Tensor | np.ndarray], value: float) -> Tensor:
    """Rows of several lengths as one tensor "row place ...", filled up with ``value``."""
    return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in rows], True, value)
