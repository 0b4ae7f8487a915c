"""Sanity checks: does a map depend on the weights and on the labels?

Adebayo et al. 2018 (arXiv:1810.03292). Parts are randomised one after another from the classifier down, since randomising
one part alone changes little; Binder et al. 2023 (arXiv:2211.12486) warn that the test can mislead: read it with deletion.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stagkit.core.types import Batch
    from stagkit.network.model import Stag

#: Parts of the network from the classifier down; a network may lack some.
CASCADE = ("head", "cross", "time", "frame_tokens", "graph", "connectivity", "time_weights", "aus", "tokens")


def randomise(model: Stag, parts: Sequence[str], seed: int = 0) -> Stag:
    """A copy of the network with some parts (names of ``CASCADE``) as before training; the scale of the input is kept."""
    import copy

    import torch

    from stagkit.network.custom import replace_layers
    from stagkit.network.model import Stag

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Stag(model.config, model.n_classes, patch=model.patch)
        for place, make in getattr(model, "custom_layers", {}).items():
            replace_layers(fresh, place, make)
    other = copy.deepcopy(model)
    for name in parts:
        part, new = getattr(other, name, None), getattr(fresh, name, None)
        if part is not None and new is not None:
            part.load_state_dict(new.state_dict())
    return other.eval()


def compute_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman rank correlation of two maps, cell by cell, with sign: float "clip", -1..1; NaN if one is constant."""
    from scipy.stats import rankdata

    out = []
    for a, b in zip(first.reshape(len(first), -1), second.reshape(len(second), -1), strict=True):
        a, b = rankdata(a), rankdata(b)
        out.append(np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else np.nan)
    return np.array(out)


def compute_cascade(
    model: Stag, batch: Batch, explain: Callable[[Stag, Batch], np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Similarity of the map to itself while the network is randomised from the classifier down.

    Args:
        explain: network and batch -> map "clip time roi"; has to explain the same class each time.

    Returns:
        name of the part randomised last -> float "clip", rank correlation with the map of the trained network.
    """
    before = explain(model, batch)
    out, done = {}, []
    for name in CASCADE:
        part = getattr(model, name, None)
        if part is not None and any(True for _ in part.parameters()):
            done.append(name)
            out[name] = compute_similarity(before, explain(randomise(model, done, seed), batch))
    return out


def compute_dependence(
    model: Stag, batch: Batch, explain: Callable[[Stag, Batch], np.ndarray], seed: int = 0
) -> np.ndarray:
    """The last step of the cascade: similarity to the map of an entirely random network, float "clip"."""
    return compute_similarity(explain(model, batch), explain(randomise(model, CASCADE, seed), batch))
