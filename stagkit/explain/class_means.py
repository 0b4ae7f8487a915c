"""What holds for a group of clips: mean evidence of each class, and the learned affinity of action units against books."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.types import Attribution
from stagkit.evaluation.bootstrap import compute_mean
from stagkit.explain.aggregate import ExplainError, by_au

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.network.model import Stag

#: EMFACS: the action units of each emotion that stagkit knows (Ekman and Friesen 1983; as tabulated by openDBM).
EMFACS: dict[str, tuple[int, ...]] = {
    "happiness": (6, 12),
    "sadness": (1, 4, 15),
    "surprise": (1, 2, 5, 26),
    "fear": (1, 2, 4, 5, 7, 20, 26),
    "anger": (4, 5, 7, 23),
    "disgust": (9, 15),
    "contempt": (12, 14),
}


def compute_class_evidence(attribution: Attribution, subjects: Sequence[str], least: int = 2) -> pd.DataFrame:
    """Mean attribution of each AU for each class explained, with 95 % intervals by bootstrap over subjects.

    Args:
        subjects: "clip".
        least: classes with fewer clips are left out.

    Returns:
        One row a class and AU ('none' too): ``class, au, mean, low, high, n_clips, n_subjects``; logits.

    Raises:
        ExplainError: as many subjects as clips are needed.
    """
    import pandas as pd

    if len(subjects) != len(attribution):
        raise ExplainError(f"{len(subjects)} subjects for {len(attribution)} clips: give one a clip.")
    units, names, rows = by_au(attribution), np.asarray(subjects), []
    for k, name in enumerate(attribution.classes):
        chosen = attribution.target == k
        if chosen.sum() < least:
            continue
        for a, label in enumerate((*AU_LABELS, "none")):
            mean = compute_mean(units[chosen, a], names[chosen])
            rows.append((name, label, *mean))
    return pd.DataFrame(rows, columns=["class", "au", "mean", "low", "high", "n_clips", "n_subjects"])


def compute_affinity(model: Stag) -> np.ndarray:
    """The learned affinity of action units: float "au au", symmetric, > 0.

    Raises:
        ExplainError: a network without AU-guided edges.
    """
    import torch

    connectivity = model.connectivity
    if connectivity is None or getattr(connectivity, "affinity", None) is None:
        raise ExplainError("this network has no AU-guided edges (connectivity='au' has): there is no affinity to read.")
    with torch.no_grad():
        half = torch.nn.functional.softplus((connectivity.affinity + connectivity.affinity.T) / 2)
    return half.cpu().numpy().astype(float)


def make_textbook_affinity() -> np.ndarray:
    """Share of EMFACS emotions of either AU that name both (Jaccard): float "au au", 0..1."""
    named = np.array([[n in units for units in EMFACS.values()] for n in AU_NUMBERS], float)
    both, either = named @ named.T, named.sum(1)[:, None] + named.sum(1)
    return both / np.maximum(either - both, 1)


def load_cooccurrence(sets: Sequence[str] = ("CASME2", "SAMM", "CASME3")) -> np.ndarray:
    """How often two AUs were annotated together (Jaccard over clips): float "au au", 0..1.

    Args:
        sets: names in ``data/au_cooccurrence_counts.csv``; those that are there are pooled.
    """
    counts = np.zeros((len(AU_NUMBERS),) * 2)
    with resources.files("stagkit").joinpath("resources/au_cooccurrence_counts.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            pair = int(row["au_a"]), int(row["au_b"])
            if row["dataset"] in sets and set(pair) <= set(AU_NUMBERS):
                i, j = (AU_NUMBERS.index(n) for n in pair)
                counts[i, j] += int(row["n_both"])
    either = np.diag(counts)[:, None] + np.diag(counts) - counts
    return counts / np.maximum(either, 1)


class Agreement(NamedTuple):
    """Spearman correlation of two affinities over pairs of AUs, and how often shuffled AUs agree as well."""

    rho: float
    p: float


def compare_affinities(first: np.ndarray, second: np.ndarray, n_shuffles: int = 2000, seed: int = 0) -> Agreement:
    """Rank correlation over pairs of different AUs; p by shuffling the AUs of one (Mantel 1967), one-sided.

    Args:
        first, second: float "au au"; made symmetric by their mean. NaN where one is constant.

    The affinity of a network starts at the co-occurrence of its training clips: say what of the agreement was there
    before training (``train.make_model`` gives that network).
    """
    from scipy.stats import rankdata

    upper = np.triu_indices(len(first), 1)
    second = (second + second.T) / 2
    ranks = rankdata(((first + first.T) / 2)[upper])

    if not np.ptp(ranks) or not np.ptp(second[upper]):
        return Agreement(float("nan"), float("nan"))

    def correlate(matrix: np.ndarray) -> float:
        return float(np.corrcoef(ranks, rankdata(matrix[upper]))[0, 1])

    rho, rng = correlate(second), np.random.default_rng(seed)
    orders = (rng.permutation(len(second)) for _ in range(n_shuffles))
    above = sum(correlate(second[np.ix_(order, order)]) >= rho - 1e-12 for order in orders)
    return Agreement(rho, (1 + above) / (1 + n_shuffles))


def compute_stability(affinities: Sequence[np.ndarray]) -> float:
    """Mean rank correlation between the affinities of networks of other folds or seeds, -1..1; NaN for fewer than two."""
    pairs = [compare_affinities(a, b, n_shuffles=0).rho for i, a in enumerate(affinities) for b in list(affinities)[:i]]
    return float(np.mean(pairs)) if pairs else float("nan")
