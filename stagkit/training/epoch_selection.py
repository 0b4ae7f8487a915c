"""How many epochs: fixed before training, or selected on held-out *training* subjects. Never on a test clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.network.model import Stag
from stagkit.training.checkpoint import Checkpoint
from stagkit.training.ensemble import Ensemble, Task, train_ensemble
from stagkit.training.train import predict, train_fold

#: A trained network, its epochs, what selected them, and what the run keeps of the selection.
Fitted = tuple[Stag, int, str, dict]


def compute_balanced_loss(probability: np.ndarray, label: np.ndarray) -> float:
    """Mean over the classes present of the mean -log p of their clips (probability float "clip cls", label int "clip")."""
    loss = -np.log(np.clip(probability[np.arange(len(label)), label].astype(float), 1e-9, None))
    return float(np.mean([loss[label == c].mean() for c in np.unique(label)]))


def hold_out_subjects(subjects: Sequence[str], share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Choose a share (at least one) of the *training* subjects, given per clip, for validation: bool "clip"."""
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    n_out = max(1, round(share * len(names)))
    return np.isin(which, np.random.default_rng(seed).permutation(len(names))[:n_out])


def split_validation_subjects(
    train_data: RoiDataset, train_config: TrainConfig, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Training subjects who select the epoch: bool "clip", and their names."""
    if len(set(train_data.subjects)) < 2:
        raise StagkitError(
            f"the training part has one subject ({train_data.subjects[0]}), and selecting the epoch needs two: "
            "use --epoch-selection fixed."
        )
    held = hold_out_subjects(train_data.subjects, train_config.validation_fraction, seed)
    return held, tuple(sorted({train_data.subjects[i] for i in np.flatnonzero(held)}))


def _describe(held_out: tuple[str, ...], curve: Sequence[float], train_config: TrainConfig) -> tuple[str, dict]:
    """What selected the epoch, in words, and what the run keeps of it."""
    by = f"{len(held_out)} held-out training subjects"
    by += "; then trained again on all training clips" if train_config.refit else ", who were not trained on"
    return by, {"validation": {"held_out": list(held_out), "curve": [round(v, 5) for v in curve]}}


def _select_epoch(
    train_data: RoiDataset, stag_config: StagConfig, train_config: TrainConfig, seed: int, device, **more
) -> tuple[Stag, list[float], tuple[str, ...]]:
    """Hold out some training subjects, train on the others, and find the epoch after which the held-out loss is least.

    The class-balanced log loss decides: it is far less noisy on a few dozen clips than UF1 (stagkit's choice). Returns
    the network after that epoch, the loss after each epoch, and the held-out subjects.
    """
    held, names = split_validation_subjects(train_data, train_config, seed)
    validation, curve, best = np.flatnonzero(held), [], {}

    def on_epoch_end(_, __, model: Stag) -> None:
        curve.append(compute_balanced_loss(predict(model, train_data, validation), train_data.label[validation]))
        if curve[-1] == min(curve):
            best.update({k: v.detach().cpu().clone() for k, v in model.state_dict().items()})

    settings = (stag_config, train_config, seed, device, on_epoch_end)
    model = train_fold(train_data, np.flatnonzero(~held), *settings, **more)
    model.load_state_dict(best)
    return model, curve, names


def fit_network(
    train_data: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device="cpu",
    on_epoch_end: Callable[[int, float, Stag], None] | None = None,
    checkpoint: Checkpoint | None = None,
    auxiliary: Batch | None = None,
) -> Fitted:
    """Train as ``train_config.epoch_selection`` says; the other arguments as for ``train.train_fold``.

    Args:
        train_data: the training clips of a fold, nothing else.
        on_epoch_end: of the final training.
        checkpoint: where progress is written and the final training is saved.
    """
    settings, every = (stag_config, train_config, seed, device), np.arange(len(train_data))
    more = {"on_epoch_end": on_epoch_end, "checkpoint": checkpoint, "auxiliary": auxiliary}
    if train_config.epoch_selection == "fixed":
        return train_fold(train_data, every, *settings, **more), train_config.epochs, "fixed beforehand", {}
    progress = checkpoint and checkpoint.progress_only()
    model, curve, held_out = _select_epoch(train_data, *settings, checkpoint=progress, auxiliary=auxiliary)
    epochs = int(np.argmin(curve)) + 1
    if train_config.refit:
        model = train_fold(train_data, every, *settings, stop_after=epochs, **more)
    return model, epochs, *_describe(held_out, curve, train_config)


@dataclass(frozen=True)
class TrainingPart:
    """What an ensemble needs of one fold's training clips, and nothing of its test clips.

    Args:
        final: the network trained on all of them.
        selecting: the one that is trained without the validation subjects; None where the epochs are fixed.
        validation: int "clip", places of the validation clips among the shared motion; ``label``: theirs.
        held_out: the validation subjects.
    """

    final: Task
    selecting: Task | None = None
    validation: np.ndarray | None = None
    label: np.ndarray | None = None
    held_out: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, train_data: RoiDataset, index: np.ndarray, stag_config: StagConfig, train_config: TrainConfig, seed: int
    ) -> TrainingPart:
        """From the training clips of a fold.

        ``index``: int "clip", where they stand among the shared motion; ``seed``: of weights, order, who is held out.
        """
        settings = (train_data, index, stag_config, train_config, seed)
        final = Task.make(*settings)
        if train_config.epoch_selection == "fixed":
            return cls(final)
        held, names = split_validation_subjects(train_data, train_config, seed)
        selecting = Task.make(*settings, np.flatnonzero(~held))
        return cls(final, selecting, index[held], train_data.label[held], names)


def fit_ensemble(
    data: RoiDataset,
    parts: Sequence[TrainingPart],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    checkpoint: Checkpoint | None = None,
    auxiliary: Batch | None = None,
) -> list[Fitted]:
    """``fit_network`` for many networks at once, one per part; the other arguments as for ``train_ensemble``."""
    how = {"device": device, "chunk": chunk, "checkpoint": checkpoint, "auxiliary": auxiliary}
    if train_config.epoch_selection == "fixed":
        models = train_ensemble(data, [part.final for part in parts], stag_config, train_config, **how)
        return [(model, train_config.epochs, "fixed beforehand", {}) for model in models]
    curves: list[list[float]] = [[] for _ in parts]
    best: dict[int, Stag] = {}

    def on_epoch_end(_, __, ensemble: Ensemble) -> None:
        longest = max(len(parts[name].validation) for name in ensemble.names)
        places = torch.from_numpy(np.stack([np.resize(parts[name].validation, longest) for name in ensemble.names]))
        probability = ensemble.predict(places.to(ensemble.device)).cpu().numpy()
        for row, name in enumerate(ensemble.names):
            label, curve = parts[name].label, curves[name]
            curve.append(compute_balanced_loss(probability[row, : len(label)], label))
            if curve[-1] == min(curve) and not train_config.refit:
                best[name] = ensemble.extract_model(row)

    selecting = [part.selecting for part in parts]
    train_ensemble(data, selecting, stag_config, train_config, on_epoch_end=on_epoch_end, **how)
    epochs = [int(np.argmin(curve)) + 1 for curve in curves]
    if train_config.refit:
        finals = [replace(part.final, stop_after=n) for part, n in zip(parts, epochs, strict=True)]
        best = dict(enumerate(train_ensemble(data, finals, stag_config, train_config, **how)))
    described = [_describe(part.held_out, curve, train_config) for part, curve in zip(parts, curves, strict=True)]
    return [(best[i], epochs[i], *described[i]) for i in range(len(parts))]
