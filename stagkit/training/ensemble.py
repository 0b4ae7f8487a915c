"""Many networks trained as one: parameters, optimiser state and losses stacked over networks, one shared set of clips.

Each network has its own weights, order of clips, class weights, scale and gradient clipping, as in
``train.train_fold``: with dropout and augmentation off the two agree to rounding. Motion is shared; labels are not: every
network brings those of its own training clips, and no others are here.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, fields, is_dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call, vmap

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import Batch, RoiDataset
from stagkit.network.losses import compute_class_weights, compute_loss
from stagkit.network.model import Stag
from stagkit.training.augment import make_augmented
from stagkit.training.checkpoint import Checkpoint
from stagkit.training.train import Optimiser, check_auxiliary, check_supervision, make_model, run_epochs

#: Share of the free memory of a device that an ensemble may fill.
FILL = 0.6


@dataclass(frozen=True)
class Task:
    """One network to train.

    Args:
        model: untrained (``train.make_model``).
        index: int "clip", places of its training clips among the shared motion; ``label``, ``aus``: of these clips.
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
        train_data: RoiDataset,
        index: np.ndarray,
        stag_config: StagConfig,
        train_config: TrainConfig,
        seed: int,
        among: np.ndarray | None = None,
    ) -> Task:
        """The network that ``train_fold(train_data, among, ...)`` would start from (``among`` None: all clips).

        ``index``: int "clip", where the clips of ``train_data``, the training part of a fold, stand among the shared ones.
        """
        among = np.arange(len(train_data)) if among is None else among
        model, label, aus = make_model(train_data, among, stag_config, seed), train_data.label, train_data.aus
        return cls(model, index[among], label[among], aus[among], seed, train_config.epochs)

    def steps_per_epoch(self, batch_size: int) -> int:
        """Batches of one epoch."""
        return math.ceil(len(self.index) / batch_size)


def split_tasks(tasks: Sequence[Task], batch_size: int, chunk: int) -> Iterator[list[int]]:
    """Places of the tasks that are trained together: alike in their steps per epoch, at most ``chunk``."""
    kinds: dict[int, list[int]] = {}
    for i, task in enumerate(tasks):
        kinds.setdefault(task.steps_per_epoch(batch_size), []).append(i)
    for members in kinds.values():
        for part in np.array_split(members, math.ceil(len(members) / chunk)):
            yield part.tolist()


def choose_chunk(
    data: RoiDataset,
    tasks: Sequence[Task],
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    memory: int | None = None,
) -> int:
    """How many networks fit at once into ``memory`` bytes; None: ``FILL`` of what is free on the device."""
    if memory is None:
        if torch.device(device).type == "cuda":
            free = torch.cuda.mem_get_info(device)[0]
        else:
            free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 2**32
        memory = int(FILL * free)
    return max(1, min(len(tasks), memory // measure_memory(data, tasks[0], train_config)))


def measure_memory(data: RoiDataset, task: Task, train_config: TrainConfig) -> int:
    """Bytes that one network of an ensemble needs while it trains, measured on two clips; a generous estimate."""
    batch = data.batch(np.zeros(2, np.int64))
    kept = measure_saved_bytes(lambda: task.model(batch.x, batch.mask, batch.times_ms))
    n_clips = min(train_config.batch_size, len(task.index)) * (2 if train_config.auxiliary_weight else 1)
    parameters = sum(p.numel() for p in task.model.parameters()) * 4
    # what is kept, as much again for gradients and what is freed late; each parameter with gradient, moments, copies
    return int(kept / 2 * n_clips * 2 + parameters * 6)


def measure_saved_bytes(run: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for its backward pass; memory that several tensors share counts once."""
    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        run()
    return sum(kept.values())


def train_ensemble(
    data: RoiDataset,
    tasks: Sequence[Task],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    on_epoch_end: Callable[[int, float, Ensemble], None] | None = None,
    checkpoint: Checkpoint | None = None,
    auxiliary: Batch | None = None,
) -> list[Stag]:
    """Train every task's network, as many at once as fit.

    Args:
        data: the shared clips; its labels and AU codes are not looked at.
        chunk: networks at once; None: ``choose_chunk``.
        on_epoch_end: called with (epoch, mean loss, ensemble) after each epoch; must not change it.
        checkpoint: where progress is written; the networks themselves are not.
        auxiliary: as for ``train.train_fold``; shared by all networks, each draws its own clips from it.

    Returns:
        The trained networks on the CPU, in evaluation mode, in the order of the tasks.
    """
    device = torch.device(device)
    aux = check_auxiliary(auxiliary, train_config, data.classes, device)  # clips and class weights
    for task in tasks:
        check_supervision(task.aus, stag_config, aux[0])
    motion = tuple(torch.from_numpy(array).to(device) for array in (data.x, data.mask, data.times_ms))
    chunk = chunk or choose_chunk(data, tasks, train_config, device)
    trained: dict[int, Stag] = {}
    with _set_precision(train_config, device):
        for group in split_tasks(tasks, train_config.batch_size, chunk):
            ensemble = Ensemble([tasks[i] for i in group], group, motion, data.classes, train_config, *aux)
            trained |= ensemble.train(on_epoch_end, checkpoint)
    return [trained[i] for i in range(len(tasks))]


class Ensemble:
    """Networks that are trained together; those that are done leave.

    Args:
        tasks: alike in their steps per epoch; ``names``: a number for each.
        motion: the shared clips on the device: float32 "clip time roi chan py px", bool "clip time roi", float32
            "clip time".
        auxiliary: further clips on the same device, or None; ``aux_weights``: their class weights, float "cls".
    """

    def __init__(
        self,
        tasks: Sequence[Task],
        names: Sequence[int],
        motion: tuple[Tensor, Tensor, Tensor],
        classes: tuple[str, ...],
        train_config: TrainConfig,
        auxiliary: Batch | None = None,
        aux_weights: Tensor | None = None,
    ):
        self.tasks, self.names, self.motion, self.classes = list(tasks), list(names), motion, classes
        self.train_config, self.auxiliary, self.device = train_config, auxiliary, motion[0].device
        self.aux_weights = aux_weights
        self._train_model = copy.deepcopy(tasks[0].model).to(self.device).train()
        self._eval_model = copy.deepcopy(self._train_model).eval()
        named = [(name, p.shape, p.ndim > 1) for name, p in tasks[0].model.named_parameters()]
        self._layout = [[(name, shape) for name, shape, big in named if big is decayed] for decayed in (True, False)]
        self.decayed, self.plain = (self._stack_parameters(part) for part in self._layout)
        buffers = [dict(task.model.named_buffers()) for task in tasks]
        same = {k for k, v in buffers[0].items() if all(torch.equal(v, b[k]) for b in buffers)}
        self.shared = {k: v.to(self.device) for k, v in buffers[0].items() if k in same}  # the anatomy, ...
        self.own = {k: torch.stack([b[k] for b in buffers]).to(self.device) for k in buffers[0] if k not in same}
        weights = [compute_class_weights(task.label, len(classes)) for task in tasks]
        self.class_weights = torch.stack(weights).to(self.device)
        self.label = _pad([t.label for t in tasks], 0).to(self.device, torch.int64)
        self.aus = _pad([t.aus for t in tasks], np.nan).to(self.device, torch.float32)
        self.index = _pad([t.index for t in tasks], 0).to(self.device, torch.int64)
        self.steps_per_epoch = tasks[0].steps_per_epoch(train_config.batch_size)
        self.optimiser = Optimiser(self.decayed, self.plain, train_config, self.steps_per_epoch * train_config.epochs)
        self.orders = [torch.Generator().manual_seed(task.seed) for task in tasks]
        self.rng = torch.Generator(self.device).manual_seed(tasks[0].seed)
        self._losses = vmap(self._compute_one_loss, in_dims=(0, 0, 0, None, 0, 0, 0), randomness="different")

    def train(self, on_epoch_end=None, checkpoint: Checkpoint | None = None) -> dict[int, Stag]:
        """Train all; the networks by their names."""
        done: dict[int, Stag] = {}

        def finish(epoch: int, mean: float) -> None:
            if checkpoint:
                checkpoint.log_progress(self.train_config.epochs, epoch, mean, len(self.tasks))
            if on_epoch_end:
                on_epoch_end(epoch, mean, self)
            done.update(self._retire(epoch + 1))

        torch.manual_seed(self.tasks[0].seed)  # dropout
        run_epochs(range(max(task.stop_after for task in self.tasks)), self._draw, self._step, finish)
        return done

    @torch.no_grad()
    def predict(self, index: Tensor) -> Tensor:
        """Class probabilities of each network in evaluation mode: int "network clip" -> float "network clip cls"."""

        def compute_logits(decayed, plain, own, shared, x, mask, times_ms):
            state = {**self._unflatten(decayed, plain), **own, **shared}
            return functional_call(self._eval_model, state, (x, mask, times_ms)).logits

        state = (self.decayed, self.plain, self.own, self.shared)
        with self._autocast():
            logits = vmap(compute_logits, in_dims=(0, 0, 0, None, 0, 0, 0))(*state, *(m[index] for m in self.motion))
        return logits.float().softmax(-1)

    def extract_model(self, row: int) -> Stag:
        """One network by itself, on the CPU, in evaluation mode."""
        model = copy.deepcopy(self.tasks[row].model)
        state = self._unflatten(self.decayed[row].detach().cpu(), self.plain[row].detach().cpu())
        with torch.no_grad():
            for name, p in model.named_parameters():
                p.copy_(state[name])
        return model.eval()

    def _stack_parameters(self, part: Sequence[tuple[str, torch.Size]]) -> torch.nn.Parameter:
        rows = []
        for task in self.tasks:
            parameters = dict(task.model.named_parameters())
            rows.append(torch.cat([parameters[name].detach().flatten() for name, _ in part]))
        return torch.nn.Parameter(torch.stack(rows).to(self.device))

    def _unflatten(self, decayed: Tensor, plain: Tensor) -> dict[str, Tensor]:
        state = {}
        for vector, part in zip((decayed, plain), self._layout, strict=True):
            pieces = vector.split([shape.numel() for _, shape in part])
            state |= {name: piece.view(shape) for piece, (name, shape) in zip(pieces, part, strict=True)}
        return state

    def _draw(self) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """The batches of an epoch: places in a task's clips "network batch", whether they count, auxiliary clips."""
        orders = [torch.randperm(len(t.index), generator=g) for t, g in zip(self.tasks, self.orders, strict=True)]
        for parts in zip(*(order.chunk(self.steps_per_epoch) for order in orders), strict=True):
            drawn = None
            if self.auxiliary is not None:
                n = len(self.auxiliary.label)
                rows = [torch.randint(n, (len(p),), generator=g) for p, g in zip(parts, self.orders, strict=True)]
                drawn = _pad(rows, 0).to(self.device)
            yield _pad(parts, 0).to(self.device), _pad([torch.ones(len(p)) for p in parts], 0).to(self.device), drawn

    def _step(self, batch: tuple[Tensor, Tensor, Tensor | None]) -> Tensor:
        """One step of every network; its loss, float "network"."""
        place, counts, drawn = batch
        clips = self.index.gather(1, place)
        label = self.label.gather(1, place)
        aus = self.aus.gather(1, place[..., None].expand(-1, -1, self.aus.shape[-1]))
        losses = self._compute_losses([m[clips] for m in self.motion], label, aus, counts, self.class_weights)
        if drawn is not None:
            aux, equal = self.auxiliary, self.aux_weights.expand_as(self.class_weights)
            motion = [m[drawn] for m in (aux.x, aux.mask, aux.times_ms)]
            aux_losses = self._compute_losses(motion, aux.label[drawn], aux.aus[drawn], counts, equal)
            losses = losses + self.train_config.auxiliary_weight * aux_losses
        self.optimiser.zero_grad()
        losses.sum().backward()  # networks share no parameter: the sum's gradient is each one's own
        self.optimiser.step()
        return losses.detach()

    def _compute_losses(self, motion, label: Tensor, aus: Tensor, counts: Tensor, class_weights: Tensor) -> Tensor:
        motion = self._augment(motion, label, aus)
        state = (self.decayed, self.plain, self.own, self.shared)
        with self._autocast():
            return self._losses(*state, motion, (label, aus, counts), class_weights)

    def _augment(self, motion, label: Tensor, aus: Tensor) -> tuple[Tensor, ...]:
        """All networks' clips changed at once; motion stays "network batch ..."."""
        flat = _make_batch(*(part.flatten(0, 1) for part in (*motion, label, aus)), self.classes)
        flat = make_augmented(flat, self.train_config, self.rng)
        return tuple(part.unflatten(0, label.shape) for part in (flat.x, flat.mask, flat.times_ms))

    def _compute_one_loss(self, decayed, plain, own, shared, motion, truth, class_weights) -> Tensor:
        """The loss of one network (inside vmap)."""
        label, aus, counts = truth
        state = {**self._unflatten(decayed, plain), **own, **shared}
        output = functional_call(self._train_model, state, motion)
        if self.train_config.precision == "bf16":  # the loss is computed in float32
            output = _to_float32(output)
        batch = _make_batch(*motion, label, aus, self.classes)
        return compute_loss(output, batch, class_weights, self.train_config, counts).total

    def _autocast(self):
        bf16 = self.train_config.precision == "bf16"
        return torch.autocast(self.device.type, torch.bfloat16) if bf16 else nullcontext()

    def _retire(self, epochs: int) -> dict[int, Stag]:
        """Networks that have had their epochs leave the ensemble."""
        rows = [i for i, task in enumerate(self.tasks) if task.stop_after <= epochs]
        done = {self.names[i]: self.extract_model(i) for i in rows}
        stay = [i for i in range(len(self.tasks)) if i not in rows]
        if rows and stay:
            at = torch.tensor(stay, device=self.device)
            self.optimiser.select(at)
            self.own = {k: v[at] for k, v in self.own.items()}
            for name in ("class_weights", "label", "aus", "index"):
                setattr(self, name, getattr(self, name)[at])
        self.tasks, self.names, self.orders = ([a[i] for i in stay] for a in (self.tasks, self.names, self.orders))
        return done


@contextmanager
def _set_precision(train_config: TrainConfig, device: torch.device) -> Iterator[None]:
    """The switches of torch for this training; put back afterwards."""
    tf32 = torch.backends.cuda.matmul.allow_tf32
    strict, warn = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    fill = torch.utils.deterministic.fill_uninitialized_memory
    try:
        if device.type == "cuda":
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cuda.matmul.allow_tf32 = train_config.precision != "float32"
            torch.use_deterministic_algorithms(train_config.deterministic, warn_only=True)
            torch.utils.deterministic.fill_uninitialized_memory = False  # costs time; such memory is never read here
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = tf32
        torch.use_deterministic_algorithms(strict, warn_only=warn)
        torch.utils.deterministic.fill_uninitialized_memory = fill


def _make_batch(x, mask, times_ms, label, aus, classes: tuple[str, ...]) -> Batch:
    """Clips without names."""
    return Batch(x, mask, times_ms, label, aus, ("",) * len(label), ("",) * len(label), classes)


def _to_float32(record):
    """A record with its tensors, and those of the records in it, as float32."""
    values = {f.name: getattr(record, f.name) for f in fields(record)}
    values = {k: _to_float32(v) if is_dataclass(v) else v for k, v in values.items()}
    return replace(record, **{k: v.float() if isinstance(v, Tensor) else v for k, v in values.items()})


def _pad(rows: Sequence[Tensor | np.ndarray], value: float) -> Tensor:
    """Rows of several lengths as one tensor "row place ...", filled up with ``value``."""
    return torch.nn.utils.rnn.pad_sequence([torch.as_tensor(row) for row in rows], True, value)
