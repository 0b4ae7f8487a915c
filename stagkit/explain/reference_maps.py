"""Reference attributions, to compare explanation methods with: float "clip time roi", larger = more important.

Flow magnitude is a strong reference: what moves is usually what counts. None is in logits, none is complete.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.attribution import choose_target
from stagkit.network.hooks import intervene, record

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: Names that ``compute_reference_map`` takes.
REFERENCE_MAPS = ("flow magnitude", "random", "attention", "grad-cam")


def compute_flow_magnitude(batch: Batch) -> np.ndarray:
    """Length of each region's mean motion, in the unit of the data; 0 under the mask."""
    flow = batch.x.mean((-1, -2))[..., :2] * batch.mask[..., None]
    return flow.norm(dim=-1).cpu().numpy().astype(float)


def compute_attention_received(output: StagOutput, mask: Tensor) -> np.ndarray:
    """Attention that each region receives: graph attention, mean over layers, heads and targets, times the frame's weight.

    Raises:
        ExplainError: a network without graph attention.
    """
    graph = [value for name, value in output.attention.items() if name.startswith("graph.")]
    if not graph:
        raise ExplainError("this network has no graph attention (graph='none' or branches='time').")
    received = torch.stack(graph).mean((0, 3, 4))  # "layer batch time head target source" -> "batch time source"
    if output.time_weights is not None:
        received = received * output.time_weights[:, :, None]
    return (received * mask).detach().cpu().numpy().astype(float)


def compute_grad_cam(model: Stag, batch: Batch, target: Tensor) -> np.ndarray:
    """Grad-CAM on the region tokens (Selvaraju et al. 2017, arXiv:1610.02391): ReLU of gradient-weighted channels."""
    with record(model, "roi.embed") as seen, torch.no_grad():
        model.logits(batch.x, batch.mask, batch.times_ms)
    tokens = seen["roi.embed"].to(batch.x.device).requires_grad_()
    with intervene(model, {"roi.embed": lambda _: tokens}):
        logits = model.logits(batch.x, batch.mask, batch.times_ms)
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), tokens)
    weights = gradient.sum((1, 2), keepdim=True) / batch.mask.sum((1, 2))[:, None, None, None].clamp_min(1)
    cam = (weights * tokens).sum(-1).clamp_min(0) * batch.mask
    return cam.detach().cpu().numpy().astype(float)


def compute_reference_map(name: str, model: Stag, batch: Batch, target=None, seed: int = 0) -> np.ndarray:
    """One of ``REFERENCE_MAPS`` for each clip: float "clip time roi", >= 0, 0 under the mask.

    Args:
        target: class for Grad-CAM, as in ``attribute``.
        seed: of ``random``.

    Raises:
        ExplainError: an unknown name, or a network without the part.
    """
    if name == "flow magnitude":
        return compute_flow_magnitude(batch)
    if name == "random":
        return np.random.default_rng(seed).random(tuple(batch.mask.shape)) * batch.mask.cpu().numpy()
    if name not in REFERENCE_MAPS:
        raise ExplainError(f"there is no reference map {name!r}; expected one of {', '.join(REFERENCE_MAPS)}.")
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    if name == "attention":
        return compute_attention_received(output, batch.mask)
    return compute_grad_cam(model, batch, choose_target(target, output.logits))
