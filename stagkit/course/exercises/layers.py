"""Layers of notebook 21: one that fits, and three that look as if they did. Their source is shown in the notebook."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.core.config import StagConfig
from stagkit.network.hooks import HookPoint


class NeighbourMean(nn.Module):
    """Each region adds a linear map of the mean of its neighbours, weighted by the edges: no attention is learned.

    A graph convolution normalised over sources (Kipf and Welling 2017, arXiv:1609.02907), with a shortcut.
    """

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        self.norm, self.act, self.drop = nn.LayerNorm(config.width), nn.SiLU(), nn.Dropout(config.dropout)
        self.value, self.back = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)
        self.attn = HookPoint(f"graph.{number}.attn")

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens "batch time roi width" -> the same, and shares "batch time 1 target source"."""
        weights = edges * rearrange(mask, "batch time source -> batch time 1 source")
        shares = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
        shares = self.attn(rearrange(shares, "batch time target source -> batch time 1 target source"))
        message = shares[:, :, 0] @ self.value(self.norm(x))
        return x + self.drop(self.back(self.act(message))), shares


class ForgetsTheMask(NeighbourMean):
    """Takes regions that cannot be seen for regions that do not move."""

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ``NeighbourMean``, with every region counted."""
        return super().forward(x, edges, torch.ones_like(mask))


class KnowsPlaces(NeighbourMean):
    """Learns a gain for each *position* on the axis of regions, so the order of the regions matters."""

    def __init__(self, config: StagConfig, number: int, n_rois: int = 22):
        super().__init__(config, number)
        self.gain = nn.Parameter(1 + 0.5 * torch.randn(n_rois, 1))

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ``NeighbourMean``, with what is added multiplied by the gain of the position."""
        out, shares = super().forward(x, edges, mask)
        return x + self.gain * (out - x), shares


class ShowsAnotherGraph(NeighbourMean):
    """Shows neat shares, and computes with others: what a figure would show is not what the network does."""

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As ``NeighbourMean``, but the shares that come back are sharpened copies that nothing uses."""
        weights = edges * rearrange(mask, "batch time source -> batch time 1 source")
        used = weights / weights.sum(-1, keepdim=True).clamp_min(1e-9)
        shown = used.square() / used.square().sum(-1, keepdim=True).clamp_min(1e-9)
        shown = self.attn(rearrange(shown, "batch time target source -> batch time 1 target source"))
        return x + self.drop(self.back(self.act(used @ self.value(self.norm(x))))), shown
