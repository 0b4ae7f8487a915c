"""Plain classifiers on a coarse grid of the flow map: what a network has to beat.

Majority, logistic regression, a support vector machine and one hidden layer of 64 units see the means of a 7x7 grid of the
onset-apex map (147 numbers). Settings were those of the published comparison, chosen on none of the folds. Features are
standardised with the mean and spread of the training clips.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from stagkit.baselines.network import Network, Output, Schedule
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.sealed import SealedInputs

CELLS = 7
MLP_SCHEDULE = Schedule(epochs=60, lr=1e-3, batch_size=64)

#: clips without answers -> probabilities "clip cls"
Answer = Callable[[RoiDataset | SealedInputs], np.ndarray]


def compute_grid(x: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Means over a grid: "clip time roi chan py px" -> "clip feature"; maps smaller than the grid are taken as they are.

    Raises:
        StagkitError: a side that is no multiple of the grid's.
    """
    height, width = x.shape[-2:]
    if height < cells or width < cells:
        return x.reshape(len(x), -1)
    if height % cells or width % cells:
        raise StagkitError(f"maps of {width} x {height} px cannot be cut into a grid of {cells} x {cells} cells.")
    parts = x.reshape(*x.shape[:-2], cells, height // cells, cells, width // cells)
    return np.moveaxis(parts.mean((-3, -1)), 3, -1).reshape(len(x), -1)  # cell by cell: (u, v, strain) side by side


def make_certain(prediction: np.ndarray, n_classes: int) -> np.ndarray:
    """Predicted classes "clip" as probabilities 1 and 0, "clip cls"."""
    return np.eye(n_classes)[prediction]


def fit_majority(known: RoiDataset, seed: int = 0) -> Answer:
    """Always the most frequent class of the training clips."""
    most, n_classes = np.bincount(known.label, minlength=len(known.classes)).argmax(), len(known.classes)
    return lambda clips: make_certain(np.full(len(clips), most), n_classes)


def _fit_sklearn(model, known: RoiDataset, features: Callable[[np.ndarray], np.ndarray] = compute_grid) -> Answer:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(known.label)) < 2:
        return fit_majority(known)
    fitted = make_pipeline(StandardScaler(), model).fit(features(known.x), known.label)
    n_classes = len(known.classes)
    return lambda clips: make_certain(fitted.predict(features(clips.x)), n_classes)


def fit_logistic(known: RoiDataset, seed: int = 0) -> Answer:
    """Logistic regression with C = 0.1."""
    from sklearn.linear_model import LogisticRegression

    return _fit_sklearn(LogisticRegression(C=0.1, max_iter=2000), known)


def fit_svm(known: RoiDataset, seed: int = 0) -> Answer:
    """Support vector machine with a Gaussian kernel, C = 1, classes weighed by their inverse frequency."""
    from sklearn.svm import SVC

    return _fit_sklearn(SVC(C=1.0, class_weight="balanced"), known)


class GridMLP(Network):
    """Grid means -> 64 units -> classes; 9,667 parameters with three classes.

    Args:
        n_classes: >= 2.
        mean, spread: float "feature", of the training clips' grid means.
        wide: hidden units.
    """

    def __init__(self, n_classes: int, mean: np.ndarray, spread: np.ndarray, wide: int = 64):
        super().__init__()
        for name, value in (("mean", mean), ("spread", spread)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.hidden, self.act, self.classify = nn.Linear(len(mean), wide), nn.ReLU(), nn.Linear(wide, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" (or grid means in their place) -> ``Output``."""
        grid = nn.functional.adaptive_avg_pool2d(x[:, 0, 0], CELLS) if x.shape[-1] > CELLS else x
        if x.shape[-1] > CELLS:
            grid = grid.flatten(2).transpose(1, 2)  # "batch cell chan", as compute_grid
        return Output(self.classify(self.act(self.hidden((grid.flatten(1) - self.mean) / self.spread))))


def make_grid_mlp(known: RoiDataset) -> GridMLP:
    """The untrained network, standardised by the training clips."""
    grid = compute_grid(known.x)
    return GridMLP(len(known.classes), grid.mean(0), np.maximum(grid.std(0), 1e-6))
