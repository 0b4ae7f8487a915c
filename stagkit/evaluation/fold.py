"""Training and testing one fold, or an ensemble of folds; results are returned, so that any process can do the work."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.parallel import configure_process
from stagkit.core.types import RoiDataset
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import Fold, SealedInputs, Trained, Unblinding, fit_and_predict
from stagkit.training.checkpoint import Checkpoint

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

#: (run, training clips, sealed test clips, seed, number of the fold, device, checkpoint) -> the trained system
Fit = Callable[[Run, RoiDataset, SealedInputs, int, int, str, Checkpoint | None], Trained]


@dataclass(frozen=True)
class FoldResult:
    """What a run keeps of a fold (written by ``Run.save_fold``).

    Args:
        record: seconds, sizes, validation.
        rows: predictions, one row per test clip; ``aus``: action units, if coded.
        model: on the CPU; None keeps no weights.
        arrays: name of a file -> its arrays.
    """

    seed: int
    number: int
    unblinding: Unblinding
    record: dict
    rows: pd.DataFrame
    model: nn.Module | None = None
    aus: pd.DataFrame | None = None
    arrays: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)


def make_seed(seed: int, number: int) -> int:
    """The training seed of one fold."""
    return seed * 100_003 + number


def shuffle_labels(train: RoiDataset, seed: int) -> RoiDataset:
    """Training clips with labels and AU codes permuted together: nothing about faces can be learned."""
    order = np.random.default_rng(seed).permutation(len(train))
    return replace(train, label=train.label[order], aus=train.aus[order])


def run_fold(
    data: RoiDataset,
    fold: Fold,
    run: Run,
    seed: int,
    number: int,
    device: str,
    checkpoint: Checkpoint | None = None,
    fit: Fit | None = None,
) -> FoldResult:
    """Train the system of ``fit`` (None: ``fit_stag``) on a fold's training part, predict its test part, then open it."""
    import pandas as pd
    import torch

    from stagkit import __version__

    configure_process(device)
    fold, fit = fold.copy(), fit or fit_stag  # each seed opens its own seal
    test, probability, trained = fit_and_predict(
        data, fold, lambda train, inputs: fit(run, train, inputs, seed, number, device, checkpoint)
    )
    clips = {
        "seed": seed,
        "fold": number,
        "dataset": [data.datasets[j] for j in test],
        "subject": [data.subjects[j] for j in test],
        "clip": [data.clip_ids[j] for j in test],
    }
    predicted = {
        "label": [data.classes[data.label[j]] for j in test],
        "prediction": [data.classes[k] for k in probability.argmax(1)],
        **{f"p_{c}": probability[:, k].astype(float).round(6) for k, c in enumerate(data.classes)},
    }
    # kept with the fold, as a run may be resumed elsewhere
    versions = {"stagkit": __version__, "torch": torch.__version__}
    return FoldResult(
        seed,
        number,
        fold.unblinding,
        {**trained.record, "device": str(device), "versions": versions},
        pd.DataFrame({**clips, **predicted}),
        trained.model,
        _tabulate_aus(clips, data.aus[test], trained.aus),
        trained.arrays,
    )


def fit_stag(
    run: Run,
    train: RoiDataset,
    inputs: SealedInputs,
    seed: int,
    number: int,
    device: str,
    checkpoint: Checkpoint | None = None,
) -> Trained:
    """Train STAG as the run requests; with ``leaky``, or in a comparison, it also predicts after every epoch."""
    from stagkit.synthetic.flow_maps import make_auxiliary
    from stagkit.training.epoch_selection import fit_network
    from stagkit.training.train import predict

    own, predictions, every = make_seed(seed, number), [], np.arange(len(inputs))
    watched = run.request.get("leaky") or "explain" in run.request

    def on_epoch_end(epoch, loss, model):
        predictions.append(predict(model, inputs, every).argmax(1).astype(np.int8))

    if watched and checkpoint:  # a resumed fold would lack the predictions of earlier epochs
        checkpoint = checkpoint.progress_only()
    settings = (run.stag_config, run.train_config, own, device, on_epoch_end if watched else None, checkpoint)
    auxiliary, started = make_auxiliary(train, run.train_config), time.perf_counter()
    *network, record = fit_network(_permute(run, train, own), *settings, auxiliary)
    record = {**record, "train_seconds": round(time.perf_counter() - started, 3)}
    trained = _finish_stag((*network, record), train, inputs)
    return replace(trained, arrays={"leak": {"predictions": np.stack(predictions)}}) if predictions else trained


def run_ensemble(
    data: RoiDataset,
    folds: Sequence[Fold],
    run: Run,
    pairs: Sequence[tuple[int, int]],
    device: str,
    checkpoint: Checkpoint | None = None,
) -> list[FoldResult]:
    """Train the folds ``pairs``, (seed, number), at once; the same pairs in the same order give the same numbers."""
    from stagkit.synthetic.flow_maps import make_auxiliary
    from stagkit.training.epoch_selection import fit_ensemble

    configure_process(device)
    parts = [make_part(data, folds[number], run, seed, number) for seed, number in pairs]
    started = time.perf_counter()
    auxiliary = make_auxiliary(data, run.train_config)
    fitted = fit_ensemble(data, parts, run.stag_config, run.train_config, device, len(parts), checkpoint, auxiliary)
    more = {"train_seconds": round((time.perf_counter() - started) / len(parts), 3), "stacked": len(parts)}
    results = []
    for (seed, number), (*network, record) in zip(pairs, fitted, strict=True):

        def fit(run, train, inputs, *_, network=network, record=record):
            return _finish_stag((*network, {**record, **more}), train, inputs)

        results.append(run_fold(data, folds[number], run, seed, number, device, fit=fit))
    return results


def make_part(data: RoiDataset, fold: Fold, run: Run, seed: int, number: int):
    """The training clips of a fold for an ensemble (``epoch_selection.TrainingPart``)."""
    from stagkit.training.epoch_selection import TrainingPart

    own = make_seed(seed, number)
    train = _permute(run, fold.training_part(data), own)
    return TrainingPart.make(train, fold.train, run.stag_config, run.train_config, own)


def _permute(run: Run, train: RoiDataset, seed: int) -> RoiDataset:
    return shuffle_labels(train, seed) if run.request.get("permuted") else train


def describe_fit(model, train: RoiDataset, inputs: SealedInputs) -> dict[str, object]:
    """Clips, classes without a training clip, and cost of a trained network."""
    from stagkit.network.cost import compute_cost, measure_inference

    return {
        "n_train": len(train),
        "n_test": len(inputs),
        "missing_classes": [c for i, c in enumerate(train.classes) if not (train.label == i).any()],
        "inference_ms_per_clip": round(measure_inference(model, inputs), 3),
        **compute_cost(model, inputs),
    }


def _finish_stag(fitted: tuple, train: RoiDataset, inputs: SealedInputs) -> Trained:
    from stagkit.training.train import predict_with_aus

    model, epochs, selected_by, record = fitted
    record = {**record, **describe_fit(model, train, inputs)}
    probability, aus = predict_with_aus(model, inputs, np.arange(len(inputs)))
    return Trained(lambda _: probability, epochs, selected_by, record, model, aus)


def _tabulate_aus(clips: dict, truth: np.ndarray, probability: np.ndarray | None):
    """Code and probability of every AU of the test clips; None if none is coded or predicted."""
    import pandas as pd

    from stagkit.core.facs import AU_LABELS

    if probability is None or np.isnan(truth).all():
        return None
    coded = {label: truth[:, k] for k, label in enumerate(AU_LABELS)}
    predicted = {f"p_{label}": probability[:, k].astype(float).round(6) for k, label in enumerate(AU_LABELS)}
    return pd.DataFrame({**clips, **coded, **predicted})
