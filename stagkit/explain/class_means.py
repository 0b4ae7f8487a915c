"""Mean attribution of each AU for each class, and what is known of AUs and emotions to compare it with."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.evaluation.bootstrap import compute_mean
from stagkit.explain.aggregate import Attribution, ExplainError, by_au
from stagkit.synthetic.presets import load_pair_counts

if TYPE_CHECKING:
    import pandas as pd

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
    """Mean attribution of each AU ('none' too) for each class explained, with 95 % intervals by bootstrap over subjects.

    Args:
        subjects: of the clips; classes with fewer than ``least`` clips are left out.

    Returns:
        One row per class and AU: ``class, au, mean, low, high, n_clips, n_subjects``; logits.
    """
    import pandas as pd

    if len(subjects) != len(attribution):
        raise ExplainError(f"{len(subjects)} subjects for {len(attribution)} clips: give one per clip.")
    values, names, rows = by_au(attribution), np.asarray(subjects), []
    for k, name in enumerate(attribution.classes):
        chosen = attribution.target == k
        if chosen.sum() >= least:
            for a, label in enumerate((*AU_LABELS, "none")):
                rows.append((name, label, *compute_mean(values[chosen, a], names[chosen])))
    return pd.DataFrame(rows, columns=["class", "au", "mean", "low", "high", "n_clips", "n_subjects"])


def load_cooccurrence(sets: Sequence[str] = ("CASME2", "SAMM", "CASME3")) -> np.ndarray:
    """How often two AUs were annotated together (Jaccard over clips): float "au au", 0..1, pooled over data sets."""
    counts = load_pair_counts(tuple(sets))
    either = np.diag(counts)[:, None] + np.diag(counts) - counts
    return counts / np.maximum(either, 1)
