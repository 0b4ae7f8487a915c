"""Networks small enough to be solved on paper, and small inputs for the large one."""

from dataclasses import replace

import numpy as np
import torch

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import Batch
from stagkit.network.attention import EGATDense
from stagkit.network.model import Stag


def make_tiny_egat():
    """E-GAT of three nodes, one head, one channel: x = (1, 0, -1), all weights 1, a = ln 2.

    The score of target i for source j is ln 2 * leaky(x_i + x_j) + ln A_ij, so its exponential is
    2^leaky(x_i + x_j) * A_ij, with leaky(z) = z for z > 0 and z / 5 below.

        A = [ 1/2   1     1  ]      target 0: sums  2  1  0 -> 2^: 4 2 1 -> times A:  2 2 1 -> attention 2/5 2/5 1/5
            [  1    1     0  ]      target 1: sums  1  0 -1 -> 2^: 2 1 .  -> times A:  2 1 0 -> attention 2/3 1/3 0
            [  1   2^.2   0  ]      target 2: sums  0 -1 -2 -> 2^: 1 2^-.2 . -> times A: 1 1 0 -> attention 1/2 1/2 0

        out = attention @ x:  2/5 - 1/5 = 1/5,   2/3,   1/2
    """
    layer = EGATDense(1, 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(1.0)
        for bias in (layer.bias, layer.lin_l.bias, layer.lin_r.bias):
            bias.zero_()
        layer.att.fill_(float(np.log(2)))
    x = torch.tensor([[1.0], [0.0], [-1.0]])
    edges = torch.tensor([[0.5, 1, 1], [1, 1, 0], [1, 2**0.2, 0]])
    attention = torch.tensor([[2 / 5, 2 / 5, 1 / 5], [2 / 3, 1 / 3, 0], [1 / 2, 1 / 2, 0]])
    out = torch.tensor([[1 / 5], [2 / 3], [1 / 2]])
    return layer, x, edges, attention, out


def permute_atlas(order) -> RoiAtlas:
    """The standard atlas with its regions in another order."""
    return replace(ATLAS, rois=tuple(ATLAS.rois[i] for i in order))


def make_model(seed=0, atlas=ATLAS, n_classes=3, scale=None, noise=0.0, **settings) -> Stag:
    """A small STAG in evaluation mode, always the same for the same seed.

    ``noise``: standard deviation of what is added to every parameter: many start at 0, or are equal, and would hide errors.
    """
    torch.manual_seed(seed)
    model = Stag(StagConfig(**{"width": 16, **settings}), n_classes, atlas, scale=scale).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * noise)
    return model


def make_inputs(n_clips=3, n_frames=4, seed=0, n_rois=22):
    """Random motion, all regions seen, frames 40 ms apart: (x, mask, times_ms)."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n_clips, n_frames, n_rois, 3, 5, 5, generator=g)
    mask = torch.ones(n_clips, n_frames, n_rois, dtype=torch.bool)
    return x, mask, (torch.arange(n_frames) * 40.0).expand(n_clips, -1)


def make_batch(n_clips=3, n_frames=4, seed=0) -> Batch:
    """The same as a ``Batch``: classes in turn, the first clip's AUs coded, the others not."""
    x, mask, times_ms = make_inputs(n_clips, n_frames, seed)
    aus = torch.full((n_clips, 17), torch.nan)
    aus[0] = 0.0
    aus[0, 8] = 1.0
    names = tuple(f"clip{i}" for i in range(n_clips))
    return Batch(x, mask, times_ms, torch.arange(n_clips) % 3, aus, names, names, ("negative", "positive", "surprise"))
