"""MEGANet (arXiv:2509.00056): a compact CNN whose features are gated by their own image gradient, on MESTI images.

From the paper's abstract: one rank-pooled image per clip (MESTI, ``rank_pooling``), a CNN with a gradient attention block.
stagkit's choice: three levels of two 3x3 convolutions with batch norm (16, 32, 64 channels), each followed by a gate from
the Sobel gradients of its features, global average pooling, one linear layer; 40 epochs of Adam at 1e-3. The same network
reads MESTI (about the coded apex, otherwise the frame of largest motion), the classic dynamic image, and onset-apex flow.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from stagkit.baselines.network import Network, Output, Schedule

SCHEDULE = Schedule(epochs=40, lr=1e-3, batch_size=32)


class GradientGate(nn.Module):
    """Gradient attention: 2 sigmoid(1x1 convolution of the Sobel gradient magnitude of the features)."""

    def __init__(self, width: int):
        super().__init__()
        right = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.register_buffer("sobel", torch.stack([right, right.T])[:, None].repeat(width, 1, 1, 1))
        self.mix, self.gate_act = nn.Conv2d(width, width, 1), nn.Sigmoid()
        nn.init.zeros_(self.mix.bias)

    def gradients(self, x: Tensor) -> Tensor:
        """Gradient magnitude of each channel, per px: "batch chan y x" -> the same."""
        both = conv2d(pad(x, (1, 1, 1, 1), "replicate"), self.sobel, groups=x.shape[1])
        return (both[:, ::2] ** 2 + both[:, 1::2] ** 2 + 1e-12).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Gate "batch chan y x", 0..2."""
        return 2 * self.gate_act(self.mix(self.gradients(x)))


class Level(nn.Module):
    """Two convolutions, the gate, and half the size."""

    def __init__(self, n_in: int, width: int):
        super().__init__()
        first = (nn.Conv2d(n_in, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.conv = nn.Sequential(*first, nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.gate, self.pool = GradientGate(width), nn.MaxPool2d(2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features -> half as large ones, and the gate that was applied."""
        x = self.conv(x)
        gate = self.gate(x)
        return self.pool(x * gate), gate


class MEGANet(Network):
    """The network; images of any side from 8 px; ``widths``: channels of the levels."""

    def __init__(self, n_classes: int, scale=None, widths=(16, 32, 64)):
        super().__init__(scale)
        self.levels = nn.ModuleList(Level(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        self.drop, self.classify = nn.Dropout(0.3), nn.Linear(widths[-1], n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Images "batch 1 1 chan py px" -> ``Output`` with the gates "batch chan y x" of each level."""
        features, gates = self.face(x, mask), {}
        for i, level in enumerate(self.levels):
            features, gates[f"gate.{i}"] = level(features)
        return Output(self.classify(self.drop(features.mean((2, 3)))), gates)
