"""Fit one fold: everything that is learned or computed here comes from the training clips alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Batch, HasBatch, RoiDataset, StagkitError
from stagkit.network.action_units import compute_clip_aus
from stagkit.network.losses import compute_au_prior, compute_class_weights, compute_loss
from stagkit.network.model import Stag
from stagkit.training.augment import make_augmented
from stagkit.training.checkpoint import Checkpoint
from stagkit.training.optim import Optimiser, flatten_parameters, unflatten_parameters


def choose_device(name: str = "auto") -> torch.device:
    """``auto`` takes a CUDA GPU where there is one, else the CPU; any torch device name is taken as it is.

    Raises:
        StagkitError: the device asked for is not there.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise StagkitError(f"the device {name!r} is not to be had here; try auto or cpu.") from error
    return device


def compute_scale(data: RoiDataset, index: np.ndarray) -> np.ndarray:
    """Root mean square of each channel over the clips ``index``: float32 "chan", > 0, in the data's unit.

    The network divides by it. u and v share one value, so directions stay; nothing is shifted: zero stays 'no motion'.
    """
    seen = data.x[index][data.mask[index]]  # "patches chan py px"
    power = (seen.astype(np.float64) ** 2).mean((0, 2, 3))
    uv = math.sqrt(power[:2].mean())
    return np.maximum([uv, uv, math.sqrt(power[2])], 1e-6).astype(np.float32)


def make_model(data: RoiDataset, train: np.ndarray, config: StagConfig, seed: int, atlas: RoiAtlas = ATLAS) -> Stag:
    """An untrained network whose input scale and AU prior come from the clips ``train`` alone."""
    if data.roi_names != atlas.names:
        raise StagkitError(
            f"the data has {len(data.roi_names)} regions, the atlas {len(atlas.names)}: prepare it again."
        )
    if config.head == "graph" and np.isnan(data.aus[train]).all():
        raise StagkitError(
            f"the network answers from action units alone (stag.head=graph), but none of the {len(train)} training clips "
            "is coded: take stag.head=fused, or add AU codes."
        )
    torch.manual_seed(seed)
    return Stag(
        config,
        n_classes=len(data.classes),
        atlas=atlas,
        patch=data.x.shape[-1],
        au_prior=compute_au_prior(torch.from_numpy(data.aus[train])),
        scale=compute_scale(data, train),
    )


def train_fold(
    data: RoiDataset,
    train: np.ndarray,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    on_epoch_end: Callable[[int, Stag], None] | None = None,
    stop_after: int | None = None,
    checkpoint: Checkpoint | None = None,
    change: Callable[[Stag], object] | None = None,
    auxiliary: Batch | None = None,
) -> Stag:
    """Train the network on the clips ``train`` for a fixed number of epochs.

    AdamW with linear warm-up and cosine decay to zero, gradients clipped (``optimiser.Optimiser``).

    Args:
        train: int, indices of the training clips; no other clip is looked at.
        seed: fixes weights, order and augmentation.
        on_epoch: called with (epoch, mean loss).
        on_epoch_end: called with (epoch, network in evaluation mode) after each epoch; must not change it.
        stop_after: end after that many epochs, on the learning rates of the whole plan of ``train_config.epochs``.
        checkpoint: saved and resumed from; a training that was killed ends with the same bits on a CPU.
        change: called once with the untrained network, to put own layers into it (``custom.replace_layers``).
        auxiliary: further clips of the same shape and classes. As many as a training batch holds are drawn for each
            step, and their loss is added with weight ``train_config.auxiliary_weight``.

    Returns:
        The trained network on the CPU, in evaluation mode.

    Raises:
        StagkitError: no training clips, an auxiliary weight without auxiliary clips, or a loss that is not finite (with
            the epoch).
    """
    if not len(train):
        raise StagkitError("the training part of the fold is empty.")
    device = torch.device(device)
    model = make_model(data, train, stag_config, seed)
    if change:
        change(model)
    model = model.to(device).train()
    whole = data.batch(train).to(device)
    auxiliary = check_auxiliary(auxiliary, train_config, device)
    class_weights = compute_class_weights(whole.label, len(data.classes)).to(device)
    steps_per_epoch = math.ceil(len(train) / train_config.batch_size)
    optimiser = Optimiser(
        flatten_parameters([p for p in model.parameters() if p.ndim > 1]),
        flatten_parameters([p for p in model.parameters() if p.ndim <= 1]),
        train_config,
        steps_per_epoch * train_config.epochs,
    )
    gradients = [p.grad for p in model.parameters()]
    order = torch.Generator().manual_seed(seed)
    chance = torch.Generator(device).manual_seed(seed)
    found = checkpoint.load() if checkpoint else None
    if found is not None:
        optimiser.restore(found)
        _restore_chance(found, order, chance)
    for epoch in range(optimiser.taken // steps_per_epoch, min(train_config.epochs, stop_after or train_config.epochs)):
        losses = []
        for part in torch.randperm(len(train), generator=order).chunk(steps_per_epoch):
            batch = make_augmented(whole.select(part.to(device)), train_config, chance)
            output = model(batch.x, batch.mask, batch.times_ms)
            loss = compute_loss(output, batch, class_weights, train_config).total
            if auxiliary is not None:
                drawn = torch.randint(len(auxiliary.label), (len(batch.label),), generator=order)
                aux_batch = make_augmented(auxiliary.select(drawn.to(device)), train_config, chance)
                aux_output = model(aux_batch.x, aux_batch.mask, aux_batch.times_ms)
                aux_loss = compute_loss(aux_output, aux_batch, torch.ones_like(class_weights), train_config)
                loss = loss + train_config.auxiliary_weight * aux_loss.total
            optimiser.clear()
            loss.backward()
            optimiser.step(torch.nn.utils.get_total_norm(gradients))
            losses.append(loss.detach())
        mean = float(torch.stack(losses).mean())
        if not math.isfinite(mean):
            raise StagkitError(
                f"the loss became {mean} in epoch {epoch + 1}: try a smaller learning rate than {train_config.lr}."
            )
        if on_epoch:
            on_epoch(epoch, mean)
        if checkpoint and checkpoint.is_due():
            checkpoint.save(optimiser.state() | _keep_chance(order, chance))
        if on_epoch_end:
            on_epoch_end(epoch, model.eval())
            model.train()
    unflatten_parameters(model)
    return model.eval().cpu()


def check_auxiliary(auxiliary: Batch | None, config: TrainConfig, device: torch.device | str) -> Batch | None:
    """The auxiliary clips on ``device``; None where their weight is 0.

    Raises:
        StagkitError: there is a weight, but no clips were given.
    """
    if not config.auxiliary_weight:
        return None
    if auxiliary is None:
        raise StagkitError(
            f"train.auxiliary_weight is {config.auxiliary_weight}, but no auxiliary clips were given: give `auxiliary` "
            "(synthetic.auxiliary.make_auxiliary makes phantom maps for published flow maps), or set the weight to 0."
        )
    return auxiliary.to(device)


def _keep_chance(order: torch.Generator, chance: torch.Generator) -> dict[str, torch.Tensor]:
    """Where every source of chance stands: order, augmentation, dropout."""
    kept = {"order": order.get_state(), "chance": chance.get_state(), "dropout": torch.get_rng_state()}
    return kept | ({"dropout.cuda": torch.cuda.get_rng_state(chance.device)} if chance.device.type == "cuda" else {})


def _restore_chance(found: dict[str, torch.Tensor], order: torch.Generator, chance: torch.Generator) -> None:
    order.set_state(found["order"])
    chance.set_state(found["chance"])
    torch.set_rng_state(found["dropout"])
    if "dropout.cuda" in found:
        torch.cuda.set_rng_state(found["dropout.cuda"], chance.device)


@torch.no_grad()
def predict(model: Stag, data: HasBatch, index: np.ndarray, batch_size: int = 256) -> np.ndarray:
    """Class probabilities: float "clip cls", rows sum to 1. Labels and AU codes are not looked at."""
    return predict_with_aus(model, data, index, batch_size)[0]


@torch.no_grad()
def predict_with_aus(
    model: Stag, data: HasBatch, index: np.ndarray, batch_size: int = 256
) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities float "clip cls", and the probability of each action unit, float "clip au"."""
    device = next(model.parameters()).device
    classes, aus = [], []
    for start in range(0, len(index), batch_size):
        batch = data.batch(index[start : start + batch_size]).to(device)
        output = model(batch.x, batch.mask, batch.times_ms)
        classes.append(output.logits.softmax(-1).cpu().numpy())
        aus.append(compute_clip_aus(output.au_logits, batch.mask.any(2)).sigmoid().cpu().numpy())
    if not classes:
        return np.zeros((0, len(data.classes)), np.float32), np.zeros((0, len(AU_NUMBERS)), np.float32)
    return np.concatenate(classes), np.concatenate(aus)
