"""How many epochs, for many networks at once: what ``epochs.fit_network`` does for one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.types import Batch, RoiDataset
from stagkit.network.model import Stag
from stagkit.training.ensemble import Stack, train_stack
from stagkit.training.ensemble_memory import Task
from stagkit.training.epoch_selection import compute_balanced_loss, describe_choice, hold_out_judges


@dataclass(frozen=True)
class TrainingPart:
    """What a stack needs of one fold's training clips, and nothing of its test clips.

    Args:
        final: the network trained on all of them.
        choosing: the one that is trained without the held-out subjects; None where the epochs are fixed.
        judges: int "clip", places of the held-out clips among the shared motion; ``judges_label`` theirs.
        held_out: the subjects who choose.
    """

    final: Task
    choosing: Task | None = None
    judges: np.ndarray | None = None
    judges_label: np.ndarray | None = None
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
        if train_config.epoch_choice == "fixed":
            return cls(final)
        held, names = hold_out_judges(known, train_config, seed)
        choosing = Task.make(known, index, stag_config, train_config, seed, np.flatnonzero(~held))
        return cls(final, choosing, index[held], known.label[held], names)


def fit_stack(
    data: RoiDataset,
    parts: Sequence[TrainingPart],
    stag_config: StagConfig,
    train_config: TrainConfig,
    device: torch.device | str = "cpu",
    chunk: int | None = None,
    on_epoch: Callable[[int, float, int], None] | None = None,
    auxiliary: Batch | None = None,
) -> list[tuple[Stag, int, str, dict]]:
    """Train all parts as ``train_config.epoch_choice`` says; networks that have had their epochs leave the stack.

    Args:
        data: the shared clips, of which motion alone is looked at.
        parts: one for each network.
        device, chunk, on_epoch, auxiliary: as for ``stacked.train_stack``.

    Returns:
        For each part what ``epochs.fit_network`` returns: network, epochs, what chose them, what the run keeps of it.
    """
    how = (stag_config, train_config, device, chunk, on_epoch)
    if train_config.epoch_choice == "fixed":
        models = train_stack(data, [part.final for part in parts], *how, auxiliary=auxiliary)
        return [(model, train_config.epochs, "fixed beforehand", {}) for model in models]
    curves: list[list[float]] = [[] for _ in parts]
    best: dict[int, Stag] = {}

    def watch(epoch: int, stack: Stack) -> None:
        longest = max(len(parts[name].judges) for name in stack.names)
        places = [np.resize(parts[name].judges, longest) for name in stack.names]
        said = stack.predict(torch.from_numpy(np.stack(places)).to(stack.device)).cpu().numpy()
        for row, name in enumerate(stack.names):
            label, curve = parts[name].judges_label, curves[name]
            curve.append(compute_balanced_loss(said[row, : len(label)], label))
            if curve[-1] == min(curve) and not train_config.refit:
                best[name] = stack.unstack(row)

    train_stack(data, [part.choosing for part in parts], *how, watch, auxiliary)
    epochs = [int(np.argmin(curve)) + 1 for curve in curves]
    if train_config.refit:
        finals = [replace(part.final, stop_after=n) for part, n in zip(parts, epochs, strict=True)]
        best = dict(enumerate(train_stack(data, finals, *how, auxiliary=auxiliary)))
    told = [describe_choice(part.held_out, curve, train_config) for part, curve in zip(parts, curves, strict=True)]
    return [(best[i], epochs[i], *told[i]) for i in range(len(parts))]
