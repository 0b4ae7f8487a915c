"""Optimism of test-set epoch selection: a demonstration, kept apart from every score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from stagkit.evaluation.metrics import SCORES, compute_confusion, compute_scores

if TYPE_CHECKING:
    from stagkit.evaluation.run import Run

#: Warning that goes with every number of ``compute_leak``.
LEAK_WARNING = (
    "The epoch of each fold was selected on the clips it is scored on, as some published code does: these numbers are "
    "evidence of nothing."
)


def select_epoch_on_test(label: np.ndarray, predictions: np.ndarray) -> int:
    """The epoch that such code keeps: the last with the best *test* accuracy; label "clip", predictions "epoch clip"."""
    accuracy = (predictions == label).mean(1)
    return int(np.flatnonzero(accuracy == accuracy.max())[-1])


def compute_leak(
    labels: list[np.ndarray], predictions: list[np.ndarray], n_classes: int, seed: int = 0
) -> dict[str, dict[str, float]]:
    """Scores with and without selecting the epoch on the test clips; one training seed, folds pooled.

    Args:
        labels, predictions: of each fold's test clips, int "clip" and "epoch clip".
        seed: of the permuted labels.

    Returns:
        UF1, UAR and accuracy of ``last_epoch`` (no selection), ``best_test_epoch`` of each fold, ``best_common_epoch`` (one
        for all folds), and ``permuted_...``: the same rules with labels permuted over all clips, where any gain is spurious.
    """

    def score(truth: list[np.ndarray], predicted: list[np.ndarray]) -> dict[str, float]:
        pooled = compute_scores(compute_confusion(np.concatenate(truth), np.concatenate(predicted), n_classes))
        return {name: getattr(pooled, name) for name in SCORES}

    def select(truth: list[np.ndarray]) -> list[np.ndarray]:
        return [p[select_epoch_on_test(y, p)] for y, p in zip(truth, predictions, strict=True)]

    last = [p[-1] for p in predictions]
    common = [score(labels, [p[e] for p in predictions]) for e in range(min(len(p) for p in predictions))]
    sizes = np.cumsum([len(y) for y in labels])[:-1]
    permuted = np.split(np.random.default_rng(seed).permutation(np.concatenate(labels)), sizes)
    return {
        "last_epoch": score(labels, last),
        "best_test_epoch": score(labels, select(labels)),
        "best_common_epoch": max(common, key=lambda s: s["uf1"]),
        "permuted_last_epoch": score(permuted, last),
        "permuted_best_test_epoch": score(permuted, select(permuted)),
    }


def collect_leak(run: Run) -> dict[str, object]:
    """``leak.json``: ``compute_leak`` of every seed, their mean, and the optimism (best test epoch minus last epoch)."""
    table, classes = run.collect(), run.request["classes"]
    label = table["label"].map(classes.index).to_numpy()
    per_seed = {}
    for seed in run.request["seeds"]:
        at = [((table["seed"] == seed) & (table["fold"] == i)).to_numpy() for i in range(len(run.split))]
        predictions = [run.load_epoch_predictions(seed, i) for i in range(len(at))]
        per_seed[str(seed)] = compute_leak([label[a] for a in at], predictions, len(classes), seed)
    kinds = next(iter(per_seed.values()))
    mean = {kind: {s: float(np.mean([p[kind][s] for p in per_seed.values()])) for s in SCORES} for kind in kinds}
    return {
        "warning": LEAK_WARNING,
        "rule": "best <= test accuracy, per fold",
        "mean": mean,
        "optimism": {s: mean["best_test_epoch"][s] - mean["last_epoch"][s] for s in SCORES},
        "per_seed": per_seed,
    }


def format_leak(leak: dict) -> str:
    """The leak demonstration as a small table."""
    names = {
        "last_epoch": "last epoch (no selection)",
        "best_test_epoch": "best test epoch of each fold",
        "best_common_epoch": "best common test epoch",
        "permuted_last_epoch": "permuted labels, last epoch",
        "permuted_best_test_epoch": "permuted labels, best test epoch",
    }
    head = f"LEAK DEMONSTRATION{'':<22}{'UF1':>7}{'UAR':>7}{'ACC':>7}"
    rows = [f"  {name:<38}" + "".join(f"{leak['mean'][k][s]:7.3f}" for s in SCORES) for k, name in names.items()]
    return "\n".join([head, *rows, f"Warning: {leak['warning']}"])
