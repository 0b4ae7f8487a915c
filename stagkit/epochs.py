"""How many epochs: fixed beforehand, or chosen on held-out *training* subjects. Never on a test clip.

Also what choosing on the test clips would have claimed (``compute_leak``): a demonstration, kept apart from every score.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from stagkit.config import StagConfig, TrainConfig
from stagkit.model import Stag
from stagkit.splits import hold_out_subjects
from stagkit.types import RoiDataset, StagkitError
from stagkit.working import Desk

#: Warning that goes with every number of ``compute_leak``.
LEAK_WARNING = (
    "The epoch of each fold was chosen on the very clips it is scored on: this is what published code would have claimed, "
    "and it is evidence of nothing."
)


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
) -> tuple[EpochChoice, Stag]:
    """Hold out some training subjects, train on the others, and see after which epoch the held-out are served best.

    The class-balanced log loss decides, for it is far less noisy on a few dozen clips than UF1 (stagkit's choice).

    Args:
        known: the training clips of a fold, nothing else.
        train_config: ``epochs`` is the most that are tried, ``inner_share`` the share of subjects held out.
        seed: of the network, and of who is held out.
        device: where to train.
        on_epoch: called with (epoch, mean loss) after every epoch.

    Returns:
        The choice, and the network as it was after that epoch (trained without the held-out subjects).

    Raises:
        StagkitError: fewer than two training subjects.
    """
    from stagkit.train import predict, train_fold

    held, names = hold_out_judges(known, train_config, seed)
    judges, curve, best = np.flatnonzero(held), [], {}

    def watch(epoch: int, model: Stag) -> None:
        curve.append(compute_balanced_loss(predict(model, known, judges), known.label[judges]))
        if curve[-1] == min(curve):
            best.update({k: v.detach().cpu().clone() for k, v in model.state_dict().items()})

    model = train_fold(known, np.flatnonzero(~held), stag_config, train_config, seed, device, on_epoch, watch)
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
) -> tuple[Stag, int, str, dict]:
    """Train as ``train_config.epoch_choice`` says.

    Args:
        known: the training clips of a fold, nothing else.
        watch: called with (epoch, network) after every epoch of the final training.
        on_epoch: called with (epoch, mean loss) after every epoch.
        desk: where the final training keeps its checkpoints.

    Returns:
        The network, the epochs after which it stands, what chose them, and what the run keeps of the choice.
    """
    from stagkit.train import train_fold

    everyone = np.arange(len(known))
    more = {"watch": watch, "on_epoch": on_epoch, "desk": desk}
    if train_config.epoch_choice == "fixed":
        model = train_fold(known, everyone, stag_config, train_config, seed, device, **more)
        return model, train_config.epochs, "fixed beforehand", {}
    choice, model = choose_epochs(known, stag_config, train_config, seed, device, on_epoch)
    by, record = describe_choice(choice.held_out, choice.curve, train_config)
    if not train_config.refit:
        return model, choice.epochs, by, record
    model = train_fold(known, everyone, stag_config, train_config, seed, device, stop_after=choice.epochs, **more)
    return model, choice.epochs, by, record


def choose_leaky(label: np.ndarray, answers: np.ndarray) -> int:
    """The epoch that published code keeps: the last of those with the best *test* accuracy (``best <= val_acc``).

    Args:
        label: int "clip" of the test part.
        answers: int "epoch clip", the class predicted after each epoch.
    """
    right = (answers == label).mean(1)
    return int(np.flatnonzero(right == right.max())[-1])


def compute_leak(
    labels: list[np.ndarray], answers: list[np.ndarray], n_classes: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """What choosing the epoch on the test clips claims, beside the truth; one seed, folds pooled.

    Args:
        labels: of each fold's test clips, int "clip".
        answers: of each fold, int "epoch clip".
        n_classes: how many classes.
        seed: of the shuffled labels.

    Returns:
        Scores (uf1, uar, acc) of ``last_epoch`` (honest), ``best_test_epoch`` of each fold (the leak),
        ``best_common_epoch`` (one for all folds, still a leak), and ``noise_last``, ``noise_best_test_epoch``: the same
        rule with labels shuffled over all clips, where nothing can be known: what it gains there it invents.
    """
    from stagkit.metrics import SCORES, compute_confusion, compute_scores

    def score(truth: list[np.ndarray], said: list[np.ndarray]) -> dict[str, float]:
        pooled = compute_scores(compute_confusion(np.concatenate(truth), np.concatenate(said), n_classes))
        return {name: getattr(pooled, name) for name in SCORES}

    def chosen(truth: list[np.ndarray]) -> list[np.ndarray]:
        return [a[choose_leaky(y, a)] for y, a in zip(truth, answers, strict=True)]

    last = [a[-1] for a in answers]
    common = [score(labels, [a[e] for a in answers]) for e in range(min(len(a) for a in answers))]
    sizes = np.cumsum([len(y) for y in labels])[:-1]
    noise = np.split(np.random.default_rng(seed).permutation(np.concatenate(labels)), sizes)
    return {
        "last_epoch": score(labels, last),
        "best_test_epoch": score(labels, chosen(labels)),
        "best_common_epoch": max(common, key=lambda s: s["uf1"]),
        "noise_last": score(noise, last),
        "noise_best_test_epoch": score(noise, chosen(noise)),
    }
