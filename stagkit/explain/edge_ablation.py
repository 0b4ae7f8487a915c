"""Attention beside effect: what happens to the answer when an edge between two regions is really cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.attribution import choose_target
from stagkit.explain.methods import frozen, probe_batch_size

if TYPE_CHECKING:
    from stagkit.network.model import Stag


def compute_edge_ablation(model: Stag, batch: Batch, target=None) -> np.ndarray:
    """Fall of the target's logit when one directed region edge is cut in all frames, for every edge.

    Args:
        target: as in ``explain.attribute``.

    Returns:
        float "clip target source", logits: positive where the edge speaks for the class; 0 where there is no edge.

    Raises:
        ExplainError: a network without a graph.
    """
    n_rois = batch.mask.shape[2]
    with torch.no_grad(), frozen(model):
        output = model(batch.x, batch.mask, batch.times_ms)
        if output.edges is None:
            raise ExplainError("this network has no graph (graph='none' or branches='time'), so no edge can be cut.")
        chosen = choose_target(target, output.logits)
        size = max(8, probe_batch_size(model.logits, batch.x[:1], batch.mask[:1], batch.times_ms[:1]))
        effects = np.zeros((len(batch.x), n_rois, n_rois))
        for clip in range(len(batch.x)):
            edges = output.edges[clip]
            there = (edges > 0).any(0).nonzero()
            for part in there.split(size):
                cut = edges.expand(len(part), *edges.shape).clone()
                cut[torch.arange(len(part)), :, part[:, 0], part[:, 1]] = 0.0
                same = (
                    v[clip : clip + 1].expand(len(part), *v.shape[1:]) for v in (batch.x, batch.mask, batch.times_ms)
                )
                logits = model.logits(*same, cut)[:, chosen[clip]]
                effects[clip, part[:, 0], part[:, 1]] = (output.logits[clip, chosen[clip]] - logits).cpu().numpy()
    return effects


def compute_edge_attention(model: Stag, batch: Batch) -> np.ndarray:
    """Graph attention of each region edge, mean over layers, heads and frames: float "clip target source".

    Raises:
        ExplainError: a network without graph attention.
    """
    with torch.no_grad():
        attention = model(batch.x, batch.mask, batch.times_ms).attention
    graph = [value for name, value in attention.items() if name.startswith("graph.")]
    if not graph:
        raise ExplainError("this network has no graph attention (graph='none' or branches='time').")
    frames = batch.mask.any(2)[:, :, None, None]
    mean = torch.stack(graph).mean((0, 3)) * frames
    return (mean.sum(1) / frames.sum(1)).cpu().numpy().astype(float)


def compute_agreement(attention: np.ndarray, effects: np.ndarray, least: float = 0.0) -> np.ndarray:
    """Rank correlation over edges between two regions of attention and size of effect: float "clip", -1..1.

    Self-loops are left out: a region's edge to itself is not a relation.

    Args:
        attention, effects: float "clip target source".
        least: only edges with at least this attention count, 0..1; NaN where fewer than two are left.
    """
    from scipy.stats import spearmanr

    between = ~np.eye(attention.shape[1], dtype=bool)
    out = []
    for a, e in zip(attention, effects, strict=True):
        kept = between & (a >= least)
        a, e = a[kept], np.abs(e[kept])
        out.append(spearmanr(a, e)[0] if len(a) > 1 and np.ptp(a) > 0 and np.ptp(e) > 0 else np.nan)
    return np.array(out)
