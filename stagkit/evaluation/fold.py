"""The work of one fold, or of a stack of folds: train, answer, and only then open the test part (``seal.fit_and_predict``).

It returns what the run keeps, so that it can be done here, in another process, or on another machine.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import RoiDataset
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold, SealedInputs, Trained, Unblinding, fit_and_predict
from stagkit.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.network.model import Stag


@dataclass(frozen=True)
class FoldResult:
    """What a run keeps of a fold.

    Args:
        seed, number: which.
        unblinding: when the seal was opened, and why.
        record: seconds, sizes, what chose the epoch.
        rows: predictions, one row a test clip; ``aus``: action units, where they are coded.
        model: the trained network, on the CPU.
        answers: int "epoch clip", only of a leak demonstration.
    """

    seed: int
    number: int
    unblinding: Unblinding
    record: dict
    rows: pd.DataFrame
    model: Stag
    aus: pd.DataFrame | None
    answers: np.ndarray | None

    def save(self, run: Run) -> str:
        """Log the unblinding, keep the fold; its name."""
        run.log_unblinding(self.seed, self.number, self.unblinding, self.record)
        run.save_fold(self.seed, self.number, self.rows, self.model, self.aus, self.answers)
        return self.unblinding.fold


def make_seed(seed: int, number: int) -> int:
    """The seed of one fold: its own, whoever trains it."""
    return seed * 100_003 + number


def shuffle_labels(known: RoiDataset, seed: int) -> RoiDataset:
    """Training clips whose labels and AU codes (together) belong to another clip: nothing about faces can be learned."""
    order = np.random.default_rng(seed).permutation(len(known))
    return replace(known, label=known.label[order], aus=known.aus[order])


def describe_place(device: str) -> dict[str, object]:
    """Device and versions that trained a fold: kept with it, since a run may be resumed elsewhere."""
    import torch

    from stagkit import __version__

    return {"device": str(device), "versions": {"stagkit": __version__, "torch": torch.__version__}}


def configure_process(device: str) -> None:
    """Make this process ready: one thread on a CPU, and memory that is freed stays with it."""
    import torch

    from stagkit.training.optim import tune_malloc

    if device == "cpu":
        torch.set_num_threads(1)
        tune_malloc()


def run_fold(
    data: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str, checkpoint: Checkpoint | None = None
) -> FoldResult:
    """One fold by itself.

    Args:
        checkpoint: where checkpoints and progress are kept; None: nowhere.
    """
    from stagkit.synthetic.auxiliary import make_auxiliary
    from stagkit.training.epoch_selection import fit_network
    from stagkit.training.train import predict

    configure_process(device)
    own, answers, settings = make_seed(seed, number), [], (run.stag_config, run.train_config)
    auxiliary = make_auxiliary(data, run.train_config)

    def fit(known: RoiDataset, inputs: SealedInputs) -> tuple[Stag, int, str, dict]:
        known, on_epoch_end, everyone = _shuffled(known, run, own), None, np.arange(len(inputs))
        if run.request.get("leaky"):

            def on_epoch_end(epoch, model):
                answers.append(predict(model, inputs, everyone).argmax(1).astype(np.int8))

        tell = None if checkpoint is None else partial(checkpoint.log_progress, run.train_config.epochs)
        kept = None if run.request.get("leaky") else checkpoint  # the answers of the epochs before would be missing
        started = time.perf_counter()
        model, *told, record = fit_network(known, *settings, own, device, on_epoch_end, tell, kept, auxiliary)
        return model, *told, {**record, "train_seconds": round(time.perf_counter() - started, 3)}

    return _examine(data, fold, run, seed, number, device, fit, answers)


def run_ensemble(
    data: RoiDataset,
    folds: Sequence[Fold],
    run: Run,
    pairs: Sequence[tuple[int, int]],
    device: str,
    checkpoint: Checkpoint | None = None,
) -> list[FoldResult]:
    """Some folds at once.

    Args:
        folds: all of the run.
        pairs: (seed, number) of those to train; the same pairs, in the same order, give the same numbers.
    """
    from stagkit.synthetic.auxiliary import make_auxiliary
    from stagkit.training.epoch_selection import fit_ensemble

    configure_process(device)
    parts = [make_part(data, folds[number], run, seed, number) for seed, number in pairs]
    tell = None if checkpoint is None else partial(checkpoint.log_progress, run.train_config.epochs)
    started = time.perf_counter()
    auxiliary = make_auxiliary(data, run.train_config)
    fitted = fit_ensemble(data, parts, run.stag_config, run.train_config, device, len(parts), tell, auxiliary)
    share = round((time.perf_counter() - started) / len(parts), 3)
    results = []
    for (seed, number), (model, *told, record) in zip(pairs, fitted, strict=True):
        network = (model, *told, {**record, "train_seconds": share, "stacked": len(parts)})
        results.append(_examine(data, folds[number], run, seed, number, device, lambda known, inputs, n=network: n))
    return results


def make_part(data: RoiDataset, fold: Fold, run: Run, seed: int, number: int):
    """What a stack needs of a fold (``stacked_epochs.TrainingPart``): its training clips alone are looked at."""
    from stagkit.training.epoch_selection import TrainingPart

    own = make_seed(seed, number)
    known = _shuffled(fold.training_part(data), run, own)
    return TrainingPart.make(known, fold.train, run.stag_config, run.train_config, own)


def _shuffled(known: RoiDataset, run: Run, seed: int) -> RoiDataset:
    return shuffle_labels(known, seed) if run.request.get("permuted") else known


def _examine(
    data: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str, fit, answers=()
) -> FoldResult:
    """Train, answer, open the test part once."""
    import pandas as pd

    from stagkit.network.cost import compute_cost, measure_inference
    from stagkit.training.train import predict_with_aus

    said = []  # probabilities of the AUs

    def answer(known: RoiDataset, inputs: SealedInputs) -> Trained:
        model, epochs, selected_by, record = fit(known, inputs)
        record = {
            **record,
            **describe_place(device),
            "n_train": len(known),
            "n_test": len(inputs),
            "missing_classes": [c for i, c in enumerate(known.classes) if not (known.label == i).any()],
            "inference_ms_per_clip": round(measure_inference(model, inputs), 3),
            **compute_cost(model, inputs),
        }
        probability, aus = predict_with_aus(model, inputs, np.arange(len(inputs)))
        said.append(aus)
        return Trained(lambda _: probability, epochs, selected_by, record, model)

    fold = fold.copy()  # each seed opens its own seal
    test, probability, trained = fit_and_predict(data, fold, answer)
    rows = {
        "seed": seed,
        "fold": number,
        "dataset": [data.datasets[j] for j in test],
        "subject": [data.subjects[j] for j in test],
        "clip": [data.clip_ids[j] for j in test],
    }
    answered = {
        "label": [data.classes[data.label[j]] for j in test],
        "prediction": [data.classes[k] for k in probability.argmax(1)],
        **{f"p_{c}": probability[:, k].astype(float).round(6) for k, c in enumerate(data.classes)},
    }
    aus = _tabulate_aus(rows, data.aus[test], said[0])
    answers = np.stack(answers) if answers else None
    table = pd.DataFrame({**rows, **answered})
    return FoldResult(seed, number, fold.unblinding, trained.record, table, trained.model, aus, answers)


def _tabulate_aus(rows: dict, truth: np.ndarray, probability: np.ndarray):
    """Code and probability of every AU of the test clips; None where none is coded."""
    import pandas as pd

    from stagkit.core.facs import AU_LABELS

    if np.isnan(truth).all():
        return None
    coded = {label: truth[:, k] for k, label in enumerate(AU_LABELS)}
    said = {f"p_{label}": probability[:, k].astype(float).round(6) for k, label in enumerate(AU_LABELS)}
    return pd.DataFrame({**rows, **coded, **said})
