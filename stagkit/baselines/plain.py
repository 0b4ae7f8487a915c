"""Plain classifiers on the means of a 7x7 grid of the onset-apex map (147 numbers): what a network has to beat.

Settings are those of the published comparison, chosen on none of the folds; features are standardised by the training clips.
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

#: unlabelled clips -> probabilities "clip cls"
Predictor = Callable[[RoiDataset | SealedInputs], np.ndarray]


def compute_grid(x: np.ndarray, cells: int = CELLS) -> np.ndarray:
    """Means over a grid: "clip time roi chan py px" -> "clip feature"; maps smaller than the grid stay as they are."""
    height, width = x.shape[-2:]
    if height < cells or width < cells:
        return x.reshape(len(x), -1)
    if height % cells or width % cells:
        raise StagkitError(f"maps of {width} x {height} px cannot be cut into a grid of {cells} x {cells} cells.")
    parts = x.reshape(*x.shape[:-2], cells, height // cells, cells, width // cells)
    return np.moveaxis(parts.mean((-3, -1)), 3, -1).reshape(len(x), -1)  # cell by cell: (u, v, strain) side by side


def fit_majority(train: RoiDataset, seed: int = 0) -> Predictor:
    """Always the most frequent class of the training clips."""
    most, n_classes = np.bincount(train.label, minlength=len(train.classes)).argmax(), len(train.classes)
    return lambda clips: np.eye(n_classes)[np.full(len(clips), most)]


def fit_classifier(model, train: RoiDataset, features: Callable[[np.ndarray], np.ndarray] = compute_grid) -> Predictor:
    """A scikit-learn classifier on standardised features."""
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if len(np.unique(train.label)) < 2:
        return fit_majority(train)
    fitted = make_pipeline(StandardScaler(), model).fit(features(train.x), train.label)
    n_classes = len(train.classes)
    return lambda clips: np.eye(n_classes)[fitted.predict(features(clips.x))]


def fit_logistic(train: RoiDataset, seed: int = 0) -> Predictor:
    """Logistic regression with C = 0.1."""
    from sklearn.linear_model import LogisticRegression

    return fit_classifier(LogisticRegression(C=0.1, max_iter=2000), train)


def fit_svm(train: RoiDataset, seed: int = 0) -> Predictor:
    """Support vector machine with a Gaussian kernel, C = 1, classes weighted by their inverse frequency."""
    from sklearn.svm import SVC

    return fit_classifier(SVC(C=1.0, class_weight="balanced"), train)


class GridMLP(Network):
    """Grid means (standardised by ``mean`` and ``spread``) -> 64 units -> classes; 9,667 parameters with three classes."""

    def __init__(self, n_classes: int, mean: np.ndarray, spread: np.ndarray, wide: int = 64):
        super().__init__()
        for name, value in (("mean", mean), ("spread", spread)):
            self.register_buffer(name, torch.as_tensor(value, dtype=torch.float32))
        self.hidden, self.act, self.classify = nn.Linear(len(mean), wide), nn.ReLU(), nn.Linear(wide, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" (or grid means in their place) -> ``Output``."""
        if x.shape[-1] > CELLS:  # "batch cell chan", as compute_grid
            x = nn.functional.adaptive_avg_pool2d(x[:, 0, 0], CELLS).flatten(2).transpose(1, 2)
        return Output(self.classify(self.act(self.hidden((x.flatten(1) - self.mean) / self.spread))))


def make_grid_mlp(train: RoiDataset) -> GridMLP:
    """The untrained network, standardised by the training clips."""
    grid = compute_grid(train.x)
    return GridMLP(len(train.classes), grid.mean(0), np.maximum(grid.std(0), 1e-6))
