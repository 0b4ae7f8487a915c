"""Optimism of test-set epoch selection: a demonstration, kept apart from every score."""

from __future__ import annotations

import numpy as np

from stagkit.evaluation.metrics import SCORES, compute_confusion, compute_scores

#: Warning that goes with every number of ``compute_leak``.
LEAK_WARNING = (
    "The epoch of each fold was chosen on the very clips it is scored on: this is what published code would have claimed, "
    "and it is evidence of nothing."
)


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
