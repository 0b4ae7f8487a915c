"""MEGANet (arXiv:2509.00056): a compact CNN whose features are gated by their own image gradient, on MESTI pictures.

The paper's abstract, from which we worked, names the parts: one rank-pooled picture per clip (MESTI, see
``rank_pooling``) and a CNN with a gradient attention block. Everything else is stagkit's choice: three levels of two 3x3
convolutions with batch norm (16, 32, 64 channels), after each a gate that looks at the Sobel slopes of the level's
features, global average pooling, one linear layer. The same network reads three kinds of picture, so that they can be
compared: MESTI, the classic dynamic image, and onset-apex flow.

MESTI needs the apex: the coded one where there is one (an annotation that STAG does not use), else the frame of largest
motion. 40 epochs of Adam at 1e-3.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d, pad

from stagkit.baselines.network import Network, Output, Schedule

SCHEDULE = Schedule(epochs=40, lr=1e-3, batch_size=32)


class GradientGate(nn.Module):
    """Gradient attention: features times 2 sigmoid(1x1 convolution of the size of their slopes); > 1 where edges matter.

    The slope of every channel is taken by Sobel filters, which are fixed. Features without any slope are left to the bias
    of the gate, which starts at 'as they are'.
    """

    def __init__(self, width: int):
        super().__init__()
        right = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 8
        self.register_buffer("sobel", torch.stack([right, right.T])[:, None].repeat(width, 1, 1, 1))
        self.mix, self.open = nn.Conv2d(width, width, 1), nn.Sigmoid()
        nn.init.zeros_(self.mix.bias)

    def slopes(self, x: Tensor) -> Tensor:
        """Length of the slope of each channel: "batch chan y x" -> the same, in units a px."""
        both = conv2d(pad(x, (1, 1, 1, 1), "replicate"), self.sobel, groups=x.shape[1])
        return (both[:, ::2] ** 2 + both[:, 1::2] ** 2 + 1e-12).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """Gate "batch chan y x", 0..2."""
        return 2 * self.open(self.mix(self.slopes(x)))


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
    """The network; pictures of any side from 8 px.

    Args:
        n_classes: >= 2.
        scale: see ``Network``.
        widths: channels of the levels.
    """

    def __init__(self, n_classes: int, scale=None, widths=(16, 32, 64)):
        super().__init__(scale)
        self.levels = nn.ModuleList(Level(a, b) for a, b in zip((3, *widths[:-1]), widths, strict=True))
        self.drop, self.classify = nn.Dropout(0.3), nn.Linear(widths[-1], n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Pictures "batch 1 1 chan py px" -> ``Output`` with the gates "batch chan y x" of each level."""
        features, gates = self.face(x, mask), {}
        for i, level in enumerate(self.levels):
            features, gates[f"gate.{i}"] = level(features)
        return Output(self.classify(self.drop(features.mean((2, 3)))), gates)
