"""How many epochs: fixed beforehand, or chosen on held-out *training* subjects. Never on a test clip."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.network.model import Stag
from stagkit.training.checkpoint import Desk


@dataclass(frozen=True)
class EpochChoice:
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


def hold_out_judges(known: RoiDataset, train_config: TrainConfig, seed: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """Training subjects who choose the epoch: bool "clip", and their names.

    Raises:
        StagkitError: fewer than two training subjects.
    """
    if len(set(known.subjects)) < 2:
        raise StagkitError(
            f"the training part is of one subject ({known.subjects[0]}): nobody can be held out to choose the epoch; "
            "use --epoch-choice fixed."
        )
    held = hold_out_subjects(known.subjects, train_config.inner_share, seed)
    return held, tuple(sorted({known.subjects[i] for i in np.flatnonzero(held)}))


def describe_choice(held_out: tuple[str, ...], curve: Sequence[float], train_config: TrainConfig) -> tuple[str, dict]:
    """What chose the epoch, in words, and what the run keeps of it."""
    after = "then trained again on all training clips" if train_config.refit else ""
    by = f"{len(held_out)} held-out training subjects"
    record = {"inner": {"held_out": list(held_out), "curve": [round(v, 5) for v in curve]}}
    return f"{by}; {after}" if after else f"{by}, who were not trained on", record


def choose_epochs(
    known: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device="cpu",
    on_epoch: Callable[[int, float], None] | None = None,
    auxiliary: Batch | None = None,
) -> tuple[EpochChoice, Stag]:
    """Hold out some training subjects, train on the others, and see after which epoch the held-out are served best.

    The class-balanced log loss decides, for it is far less noisy on a few dozen clips than UF1 (stagkit's choice).

    Args:
        known: the training clips of a fold, nothing else.
        train_config: ``epochs`` is the most that are tried, ``inner_share`` the share of subjects held out.
        seed: of the network, and of who is held out.
        device: where to train.
        on_epoch: called with (epoch, mean loss) after every epoch.
        auxiliary: as for ``train.train_fold``.

    Returns:
        The choice, and the network as it was after that epoch (trained without the held-out subjects).

    Raises:
        StagkitError: fewer than two training subjects.
    """
    from stagkit.training.train import predict, train_fold

    held, names = hold_out_judges(known, train_config, seed)
    judges, curve, best = np.flatnonzero(held), [], {}

    def watch(epoch: int, model: Stag) -> None:
        curve.append(compute_balanced_loss(predict(model, known, judges), known.label[judges]))
        if curve[-1] == min(curve):
            best.update({k: v.detach().cpu().clone() for k, v in model.state_dict().items()})

    rest = np.flatnonzero(~held)
    model = train_fold(known, rest, stag_config, train_config, seed, device, on_epoch, watch, auxiliary=auxiliary)
    model.load_state_dict(best)
    return EpochChoice(int(np.argmin(curve)) + 1, tuple(curve), names), model


def fit_network(
    known: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    seed: int = 0,
    device="cpu",
    watch: Callable[[int, Stag], None] | None = None,
    on_epoch: Callable[[int, float], None] | None = None,
    desk: Desk | None = None,
    auxiliary: Batch | None = None,
) -> tuple[Stag, int, str, dict]:
    """Train as ``train_config.epoch_choice`` says.

    Args:
        known: the training clips of a fold, nothing else.
        watch: called with (epoch, network) after every epoch of the final training.
        on_epoch: called with (epoch, mean loss) after every epoch.
        desk: where the final training keeps its checkpoints.
        auxiliary: as for ``train.train_fold``.

    Returns:
        The network, the epochs after which it stands, what chose them, and what the run keeps of the choice.
    """
    from stagkit.training.train import train_fold

    everyone = np.arange(len(known))
    more = {"watch": watch, "on_epoch": on_epoch, "desk": desk, "auxiliary": auxiliary}
    if train_config.epoch_choice == "fixed":
        model = train_fold(known, everyone, stag_config, train_config, seed, device, **more)
        return model, train_config.epochs, "fixed beforehand", {}
    choice, model = choose_epochs(known, stag_config, train_config, seed, device, on_epoch, auxiliary)
    by, record = describe_choice(choice.held_out, choice.curve, train_config)
    if not train_config.refit:
        return model, choice.epochs, by, record
    model = train_fold(known, everyone, stag_config, train_config, seed, device, stop_after=choice.epochs, **more)
    return model, choice.epochs, by, record
