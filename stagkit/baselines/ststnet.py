"""STSTNet (Liong et al. 2019, doi:10.1109/FG.2019.8756567): three shallow streams over one onset-apex map.

Each stream is one 3x3 convolution (3, 5 and 8 channels) with batch norm and max-pooling; the streams are concatenated,
averaged over 2x2 cells and read by one linear layer: 1,683 parameters with 28 px and three classes. Source: paper and the
parameter count of its PyTorch version. stagkit's choice: dropout 0.5 before the linear layer, 80 epochs at 1e-3 in place of
800 at 5e-5 (the curve is flat from about epoch 50), batches of 64, shuffled.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.baselines.network import Network, Output, Schedule

SCHEDULE = Schedule(epochs=80, lr=1e-3, batch_size=64)


class STSTNet(Network):
    """The network for maps of ``side`` px."""

    def __init__(self, n_classes: int, side: int = 28, scale=None):
        super().__init__(scale)

        def stream(width: int) -> nn.Sequential:
            first = (nn.Conv2d(3, width, 3, padding=1), nn.BatchNorm2d(width))
            return nn.Sequential(*first, nn.ReLU(), nn.MaxPool2d(3, 3, 1))

        self.streams = nn.ModuleList(stream(width) for width in (3, 5, 8))
        self.average, self.drop = nn.AvgPool2d(2), nn.Dropout(0.5)
        cells = ((side + 2 - 3) // 3 + 1) // 2
        self.classify = nn.Linear(16 * cells * cells, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" -> ``Output``."""
        face = self.face(x, mask)
        cells = self.average(torch.cat([stream(face) for stream in self.streams], 1))
        return Output(self.classify(self.drop(rearrange(cells, "batch chan y x -> batch (chan y x)"))))
