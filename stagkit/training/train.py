"""Train one network: everything that is learned or computed here comes from the training clips alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Batch, HasBatch, RoiDataset, StagkitError
from stagkit.network.action_units import compute_clip_aus
from stagkit.network.losses import compute_class_weights, compute_loss
from stagkit.network.model import Stag
from stagkit.training.augment import make_augmented
from stagkit.training.checkpoint import Checkpoint


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes a CUDA GPU if available, otherwise the CPU; ``StagkitError`` if another device is not available."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise StagkitError(f"device {name!r} is not available; use auto or cpu.") from error
    return device


def compute_scale(data: RoiDataset, index: np.ndarray) -> np.ndarray:
    """Root mean square of each channel over the clips ``index``, by which the network divides: float32 "chan", > 0.

    u and v share one value, so directions stay; nothing is shifted: zero stays 'no motion'.
    """
    patches = data.x[index][data.mask[index]]  # "patches chan py px"
    power = (patches.astype(np.float64) ** 2).mean((0, 2, 3))
    uv = math.sqrt(power[:2].mean())
    return np.maximum([uv, uv, math.sqrt(power[2])], 1e-6).astype(np.float32)


def make_model(data: RoiDataset, train: np.ndarray, config: StagConfig, seed: int, atlas: RoiAtlas = ATLAS) -> Stag:
    """An untrained network whose input scale comes from the clips ``train`` alone."""
    if not len(train):
        raise StagkitError("the training part of the fold is empty.")
    if data.roi_names != atlas.names:
        raise StagkitError(
            f"the data has {len(data.roi_names)} regions, the atlas {len(atlas.names)}: prepare it again."
        )
    torch.manual_seed(seed)
    return Stag(config, len(data.classes), atlas, data.x.shape[-1], compute_scale(data, train))


def compute_rate(step: int, n_steps: int, warmup: float) -> float:
    """Share of the learning rate at a step: linear up over ``warmup`` of all steps, then half a cosine down to 0."""
    rise = max(1, round(warmup * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise)))


class Optimiser:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101): linear warm-up, cosine decay to zero, gradients clipped.

    A network has a hundred small parameters, and stepping through them one by one costs an eighth of its training time on
    a CPU. Here those with weight decay (matrices) are one vector and the others another, with one row per network where
    several are trained together. The numbers are those of torch's AdamW on single parameters, bit by bit.

    Args:
        decayed, plain: parameters with and without weight decay: float "parameter", or "network parameter".
        config: learning rate, weight decay, warm-up, clipping norm.
        n_steps: of the whole plan, which the rate follows even where training ends earlier.
        gradients: of one network's parameters, whose norm is clipped; None: each row has its own norm.
    """

    def __init__(
        self,
        decayed: Tensor,
        plain: Tensor,
        config: TrainConfig,
        n_steps: int,
        gradients: Sequence[Tensor] | None = None,
    ):
        self.vectors = {"decayed": decayed, "plain": plain}
        self.config, self.n_steps, self.gradients, self.step_count = config, n_steps, gradients, 0
        groups = [{"params": [decayed]}, {"params": [plain], "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=decayed.is_cuda)

    def zero_grad(self) -> None:
        """Gradients to zero, or away where nothing else refers to them."""
        for vector in self.vectors.values():
            if self.gradients is None:
                vector.grad = None
            else:
                vector.grad.zero_()

    def step(self) -> None:
        """Clip each network's gradient and move."""
        if self.gradients is None:
            norm = torch.stack([v.grad.norm(dim=1) for v in self.vectors.values()]).norm(dim=0)[:, None]
        else:
            norm = torch.nn.utils.get_total_norm(self.gradients)
        share = (self.config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in self._adam.param_groups:
            group["lr"] = self.config.lr * compute_rate(self.step_count, self.n_steps, self.config.warmup)
        for vector in self.vectors.values():
            vector.grad.mul_(share)
        self._adam.step()
        self.step_count += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that is needed to resume with the same numbers."""
        state = {"step_count": torch.tensor(self.step_count), **self.vectors}
        for name, vector in self.vectors.items():
            state |= {f"{name}.{key}": value for key, value in self._adam.state.get(vector, {}).items()}
        return {key: value.detach().clone() for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from ``state_dict``; the parameters stay where they are in memory."""
        self.step_count = int(state["step_count"])
        for name, vector in self.vectors.items():
            with torch.no_grad():
                vector.copy_(state[name])
            moments = {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(f"{name}.")}
            self._adam.state[vector] = {k: v.to(vector.device) for k, v in moments.items()}

    def select(self, rows: Tensor) -> None:
        """Keep some networks only: ``rows`` int "network"."""
        for vector in self.vectors.values():
            vector.grad, vector.data = None, vector.data[rows]
            state = self._adam.state.get(vector, {})
            state.update({key: value[rows] for key, value in state.items() if value.ndim})


def flatten_parameters(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """One vector with its gradient, of which the parameters and their gradients become views (``unflatten_parameters``)."""
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    views = (_make_views(tensor, parameters) for tensor in (flat.data, flat.grad))
    for p, values, gradients in zip(parameters, *views, strict=True):
        p.data, p.grad = values, gradients
    return flat


def unflatten_parameters(model: nn.Module) -> None:
    """Give every parameter memory of its own again, without gradient."""
    for p in model.parameters():
        p.data, p.grad = p.data.clone(), None


def _make_views(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    return (part.view_as(p) for part, p in zip(vector.split([p.numel() for p in like]), like, strict=True))


def run_epochs(
    epochs: Iterable[int],
    draw: Callable[[], Iterable],
    step: Callable[..., Tensor],
    finish: Callable[[int, float], None],
) -> None:
    """The training loop of all networks; ``StagkitError`` for a loss that is not finite, with the epoch.

    Args:
        draw: the batches of one epoch.
        step: takes one batch, updates the parameters and returns the loss (one number, or one per network).
        finish: called with (epoch, mean loss) after each epoch.
    """
    for epoch in epochs:
        mean = float(torch.stack([step(batch) for batch in draw()]).mean())
        if not math.isfinite(mean):
            raise StagkitError(f"the loss became {mean} in epoch {epoch + 1}: use a smaller learning rate.")
        finish(epoch, mean)


def train_network(
    model: nn.Module,
    clips: Batch,
    compute_batch_loss: Callable[[Batch], Tensor],
    optimiser: Optimiser | torch.optim.Optimizer,
    epochs: Iterable[int],
    batch_size: int,
    order: torch.Generator,
    finish: Callable[[int, float], None] | None = None,
    on_epoch_end: Callable[[int, float, nn.Module], None] | None = None,
) -> None:
    """Train one network, STAG or a baseline, on mini-batches in the order that ``order``, a CPU generator, draws.

    ``clips`` are on the network's device; ``on_epoch_end`` as for ``train_fold``, then ``finish(epoch, mean loss)``.
    """
    n_clips, device = len(clips.label), clips.label.device

    def draw() -> tuple[Tensor, ...]:
        return torch.randperm(n_clips, generator=order).chunk(math.ceil(n_clips / batch_size))

    def step(part: Tensor) -> Tensor:
        loss = compute_batch_loss(clips.select(part.to(device)))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    def end(epoch: int, mean: float) -> None:
        if on_epoch_end:
            on_epoch_end(epoch, mean, model.eval())
            model.train()
        if finish:
            finish(epoch, mean)

    run_epochs(epochs, draw, step, end)


def train_fold(
    data: RoiDataset,
    train: np.ndarray,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_epoch_end: Callable[[int, float, Stag], None] | None = None,
    stop_after: int | None = None,
    checkpoint: Checkpoint | None = None,
    change: Callable[[Stag], object] | None = None,
    auxiliary: Batch | None = None,
) -> Stag:
    """Train STAG for a fixed number of epochs (``Optimiser``).

    Args:
        train: int, indices of the training clips; no other clip is looked at.
        seed: fixes weights, order and augmentation.
        on_epoch_end: called with (epoch from 0, mean loss, network in evaluation mode) after each epoch; must not change
            the network.
        stop_after: end after that many epochs, on the learning rates of the whole plan of ``train_config.epochs``.
        checkpoint: saved to and resumed from; a training that was killed ends with the same bits on a CPU.
        change: called once with the untrained network, to put custom layers into it (``custom_layers.replace_layers``).
        auxiliary: further clips of the same shape. For each step as many as the training batch holds are drawn, and their
            loss is added with weight ``train_config.auxiliary_weight``; of clips with other classes only the AU loss.

    Returns:
        The trained network on the CPU, in evaluation mode.
    """
    device = torch.device(device)
    model = make_model(data, train, stag_config, seed)
    if change:
        change(model)
    model = model.to(device).train()
    clips = data.batch(train).to(device)
    auxiliary, aux_weights = check_auxiliary(auxiliary, train_config, data.classes, device)
    check_supervision(data.aus[train], stag_config, auxiliary)
    class_weights = compute_class_weights(clips.label, len(data.classes)).to(device)
    n_steps = math.ceil(len(train) / train_config.batch_size)
    decayed = flatten_parameters([p for p in model.parameters() if p.ndim > 1])
    plain = flatten_parameters([p for p in model.parameters() if p.ndim <= 1])
    gradients = [p.grad for p in model.parameters()]
    optimiser = Optimiser(decayed, plain, train_config, n_steps * train_config.epochs, gradients)
    order, rng = torch.Generator().manual_seed(seed), torch.Generator(device).manual_seed(seed)
    state = checkpoint.load() if checkpoint else None
    if state is not None:
        optimiser.load_state_dict(state)
        _set_rng_state(state, order, rng)

    def compute_one_loss(batch: Batch, weights: Tensor) -> Tensor:
        batch = make_augmented(batch, train_config, rng)
        return compute_loss(model(batch.x, batch.mask, batch.times_ms), batch, weights, train_config).total

    def compute_batch_loss(batch: Batch) -> Tensor:
        loss = compute_one_loss(batch, class_weights)
        if auxiliary is not None:
            drawn = torch.randint(len(auxiliary.label), (len(batch.label),), generator=order).to(device)
            aux_loss = compute_one_loss(auxiliary.select(drawn), aux_weights)
            loss = loss + train_config.auxiliary_weight * aux_loss
        return loss

    def finish(epoch: int, mean: float) -> None:
        if checkpoint:
            checkpoint.log_progress(train_config.epochs, epoch, mean)
            if checkpoint.is_due():
                checkpoint.save(optimiser.state_dict() | _get_rng_state(order, rng))

    epochs = range(optimiser.step_count // n_steps, min(train_config.epochs, stop_after or train_config.epochs))
    plan = (epochs, train_config.batch_size, order)
    train_network(model, clips, compute_batch_loss, optimiser, *plan, finish, on_epoch_end)
    unflatten_parameters(model)
    return model.eval().cpu()


def check_auxiliary(
    auxiliary: Batch | None, config: TrainConfig, classes: Sequence[str], device: torch.device | str
) -> tuple[Batch | None, Tensor]:
    """The auxiliary clips on ``device``, None if their weight is 0; and their class weights: 0 if their classes differ."""
    if not config.auxiliary_weight:
        return None, torch.zeros(len(classes), device=device)
    if auxiliary is None:
        raise StagkitError(
            f"train.auxiliary_weight is {config.auxiliary_weight}, but no auxiliary clips were given: give `auxiliary` "
            "(synthetic.auxiliary.make_auxiliary makes phantoms for any clips), or set the weight to 0."
        )
    same = tuple(auxiliary.classes) == tuple(classes)
    auxiliary = auxiliary if same else replace(auxiliary, label=torch.zeros_like(auxiliary.label))
    return auxiliary.to(device), torch.full((len(classes),), float(same), device=device)


def check_supervision(aus: np.ndarray, config: StagConfig, auxiliary: Batch | None) -> None:
    """``StagkitError`` if a prediction from action units has nothing to learn them from (``aus``: "clip au")."""
    if config.head == "graph" and np.isnan(aus).all() and auxiliary is None:
        raise StagkitError(
            f"stag.head=graph predicts from action units, but none of the {len(aus)} training clips is AU-coded: set "
            "train.auxiliary_weight=1 (phantoms with known action units are added), use stag.head=fused, or add AU codes."
        )


def _get_rng_state(order: torch.Generator, rng: torch.Generator) -> dict[str, Tensor]:
    """The state of every random generator of a training: order, augmentation, dropout."""
    state = {"order": order.get_state(), "augmentation": rng.get_state(), "dropout": torch.get_rng_state()}
    return state | ({"dropout.cuda": torch.cuda.get_rng_state(rng.device)} if rng.device.type == "cuda" else {})


def _set_rng_state(state: dict[str, Tensor], order: torch.Generator, rng: torch.Generator) -> None:
    order.set_state(state["order"])
    rng.set_state(state["augmentation"])
    torch.set_rng_state(state["dropout"])
    if "dropout.cuda" in state:
        torch.cuda.set_rng_state(state["dropout.cuda"], rng.device)


def predict(model: nn.Module, data: HasBatch, index: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class probabilities: float "clip cls", rows sum to 1. Labels and AU codes are not looked at."""
    return predict_with_aus(model, data, index, batch_size)[0]


@torch.no_grad()
def predict_with_aus(
    model: Stag, data: HasBatch, index: np.ndarray, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities float "clip cls", and the probability of each action unit, float "clip au"."""
    device = next(model.parameters()).device
    classes, aus = [np.zeros((0, len(data.classes)), np.float32)], [np.zeros((0, len(AU_NUMBERS)), np.float32)]
    for start in range(0, len(index), batch_size):
        batch = data.batch(index[start : start + batch_size]).to(device)
        output = model(batch.x, batch.mask, batch.times_ms)
        classes.append(output.logits.softmax(-1).cpu().numpy())
        aus.append(compute_clip_aus(output.au_logits, batch.mask.any(2)).sigmoid().cpu().numpy())
    return np.concatenate(classes), np.concatenate(aus)
