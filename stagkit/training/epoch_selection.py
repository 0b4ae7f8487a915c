"""How many epochs: fixed beforehand, or chosen on held-out *training* subjects. Never on a test clip."""

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


@dataclass(frozen=True)
class EpochSelection:
    """Which epoch the held-out subjects preferred.

    Args:
        epochs: how many, 1-based.
        curve: class-balanced log loss of the held-out clips after each epoch.
        held_out: the subjects who chose.
    """

    epochs: int
    curve: tuple[float, ...]
    held_out: tuple[str, ...]


def compute_balanced_loss(probability: np.ndarray, label: np.ndarray) -> float:
    """Mean over the classes present of the mean -log p of their clips: lower is better.

    Args:
        probability: float "clip cls".
        label: int "clip".
    """
    right = -np.log(np.clip(probability[np.arange(len(label)), label].astype(float), 1e-9, None))
    return float(np.mean([right[label == c].mean() for c in np.unique(label)]))


def hold_out_subjects(subjects: Sequence[str], share: float = 0.2, seed: int = 0) -> np.ndarray:
    """Choose whole *training* subjects for validation: bool "clip", True = held out.

    Args:
        subjects: "clip", of the training part only.
        share: of the subjects, at least one.
    """
    names, which = np.unique(np.asarray(subjects), return_inverse=True)
    n_out = max(1, round(share * len(names)))
    out = np.random.default_rng(seed).permutation(len(names))[:n_out]
    return np.isin(which, out)


def split_validation_subjects(
    known: RoiDataset, train_config: TrainConfig, seed: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Training subjects who choose the epoch: bool "clip", and their names.

    Raises:
        StagkitError: fewer than two training subjects.
    """
    if len(set(known.subjects)) < 2:
        raise StagkitError(
            f"the training part is of one subject ({known.subjects[0]}): nobody can be held out to choose the epoch; "
            "use --epoch-selection fixed."
        )
    held = hold_out_subjects(known.subjects, train_config.validation_fraction, seed)
    return held, tuple(sorted({known.subjects[i] for i in np.flatnonzero(held)}))


def describe_selection(
    held_out: tuple[str, ...], curve: Sequence[float], train_config: TrainConfig
) -> tuple[str, dict]:
    """What chose the epoch, in words, and what the run keeps of it."""
    after = "then trained again on all training clips" if train_config.refit else ""
    by = f"{len(held_out)} held-out training subjects"
    record = {"validation": {"held_out": list(held_out), "curve": [round(v, 5) for v in curve]}}
    return f"{by}; {after}" if after else f"{by}, who were not trained on", record


def select_epochs(
    known: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device="cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    auxiliary: Batch | None = None,
) -> tuple[EpochSelection, Stag]:
    """Hold out some training subjects, train on the others, and see after which epoch the held-out are served best.

    The class-balanced log loss decides, for it is far less noisy on a few dozen clips than UF1 (stagkit's choice).

    Args:
        known: the training clips of a fold, nothing else.
        train_config: ``epochs`` is the most that are tried, ``validation_fraction`` the share of subjects held out.
        seed: of the network, and of who is held out.
        device: where to train.
        on_epoch: called with (epoch, mean loss) after every epoch.
        auxiliary: as for ``train.train_fold``.

    Returns:
        The choice, and the network as it was after that epoch (trained without the held-out subjects).

    Raises:
        StagkitError: fewer than two training subjects.
    """
    held, names = split_validation_subjects(known, train_config, seed)
    validation, curve, best = np.flatnonzero(held), [], {}

    def on_epoch_end(epoch: int, model: Stag) -> None:
        curve.append(compute_balanced_loss(predict(model, known, validation), known.label[validation]))
        if curve[-1] == min(curve):
            best.update({k: v.detach().cpu().clone() for k, v in model.state_dict().items()})

    rest = np.flatnonzero(~held)
    model = train_fold(
        known, rest, stag_config, train_config, seed, device, on_epoch, on_epoch_end, auxiliary=auxiliary
    )
    model.load_state_dict(best)
    return EpochSelection(int(np.argmin(curve)) + 1, tuple(curve), names), model


def fit_network(
    known: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device="cpu",
    on_epoch_end: Callable[[int, Stag], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    checkpoint: Checkpoint | None = None,
    auxiliary: Batch | None = None,
) -> tuple[Stag, int, str, dict]:
    """Train as ``train_config.epoch_selection`` says.

    Args:
        known: the training clips of a fold, nothing else.
        on_epoch_end: called with (epoch, network) after every epoch of the final training.
        on_epoch: called with (epoch, mean loss) after every epoch.
        checkpoint: where the final training keeps its checkpoints.
        auxiliary: as for ``train.train_fold``.

    Returns:
        The network, the epochs after which it stands, what chose them, and what the run keeps of the choice.
    """
    everyone = np.arange(len(known))
    more = {"on_epoch_end": on_epoch_end, "on_epoch": on_epoch, "checkpoint": checkpoint, "auxiliary": auxiliary}
    if train_config.epoch_selection == "fixed":
        model = train_fold(known, everyone, stag_config, train_config, seed, device, **more)
        return model, train_config.epochs, "fixed beforehand", {}
    choice, model = select_epochs(known, stag_config, train_config, seed, device, on_epoch, auxiliary)
    by, record = describe_selection(choice.held_out, choice.curve, train_config)
    if not train_config.refit:
        return model, choice.epochs, by, record
    model = train_fold(known, everyone, stag_config, train_config, seed, device, stop_after=choice.epochs, **more)
    return model, choice.epochs, by, record


@dataclass(frozen=True)
class TrainingPart:
    """What a stack needs of one fold's training clips, and nothing of its test clips.

    Args:
        final: the network trained on all of them.
        choosing: the one that is trained without the held-out subjects; None where the epochs are fixed.
        validation: int "clip", places of the held-out clips among the shared motion; ``validation_label`` theirs.
        held_out: the subjects who choose.
    """

    final: Task
    choosing: Task | None = None
    validation: np.ndarray | None = None
    validation_label: np.ndarray | None = None
    held_out: tuple[str, ...] = ()

    @classmethod
    def make(
        cls, known: RoiDataset, index: np.ndarray, stag_config: StagConfig, train_config: TrainConfig, seed: int
    ) -> TrainingPart:
        """From the training clips of a fold.

        Args:
            known: these clips, with their labels.
            index: int "clip", where they stand among the shared motion.
            seed: of weights, order, and who is held out.

        Raises:
            StagkitError: no clips; epochs to be chosen and fewer than two subjects.
        """
        final = Task.make(known, index, stag_config, train_config, seed)
        if train_config.epoch_selection == "fixed":
            return cls(final)
        held, names = split_validation_subjects(known, train_config, seed)
        choosing = Task.make(known, index, stag_config, train_config, seed, np.flatnonzero(~held))
        return cls(final, choosing, index[held], known.label[held], names)


def fit_ensemble(
    data: RoiDataset,
    parts: Sequence[TrainingPart],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    on_epoch: Callable[[int, float, int], None] | None = None,
    auxiliary: Batch | None = None,
) -> list[tuple[Stag, int, str, dict]]:
    """Train all parts as ``train_config.epoch_selection`` says; networks that have had their epochs leave the stack.

    Args:
        data: the shared clips, of which motion alone is looked at.
        parts: one for each network.
        device, chunk, on_epoch, auxiliary: as for ``stacked.train_ensemble``.

    Returns:
        For each part what ``epochs.fit_network`` returns: network, epochs, what chose them, what the run keeps of it.
    """
    how = (stag_config, train_config, device, chunk, on_epoch)
    if train_config.epoch_selection == "fixed":
        models = train_ensemble(data, [part.final for part in parts], *how, auxiliary=auxiliary)
        return [(model, train_config.epochs, "fixed beforehand", {}) for model in models]
    curves: list[list[float]] = [[] for _ in parts]
    best: dict[int, Stag] = {}

    def on_epoch_end(epoch: int, stack: Ensemble) -> None:
        longest = max(len(parts[name].validation) for name in stack.names)
        places = [np.resize(parts[name].validation, longest) for name in stack.names]
        said = stack.predict(torch.from_numpy(np.stack(places)).to(stack.device)).cpu().numpy()
        for row, name in enumerate(stack.names):
            label, curve = parts[name].validation_label, curves[name]
            curve.append(compute_balanced_loss(said[row, : len(label)], label))
            if curve[-1] == min(curve) and not train_config.refit:
                best[name] = stack.extract_model(row)

    train_ensemble(data, [part.choosing for part in parts], *how, on_epoch_end, auxiliary)
    epochs = [int(np.argmin(curve)) + 1 for curve in curves]
    if train_config.refit:
        finals = [replace(part.final, stop_after=n) for part, n in zip(parts, epochs, strict=True)]
        best = dict(enumerate(train_ensemble(data, finals, *how, auxiliary=auxiliary)))
    told = [describe_selection(part.held_out, curve, train_config) for part, curve in zip(parts, curves, strict=True)]
    return [(best[i], epochs[i], *told[i]) for i in range(len(parts))]
