"""OFF-ApexNet (Gan et al. 2019, doi:10.1016/j.image.2019.02.005): two streams, for u and v of onset-apex flow.

Each stream has two 5x5 convolutions (6 and 16 channels) with 2x2 max-pooling; two layers of 1,024 units read both: 2.66
million parameters with 28 px and three classes. Optical strain is not used. stagkit's choice: dropout 0.5 before both wide
layers, 40 epochs of Adam at 2e-4.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.baselines.network import Network, Output, Schedule

SCHEDULE = Schedule(epochs=40, lr=2e-4, batch_size=64)


class OFFApexNet(Network):
    """The network for maps of ``side`` px (a multiple of 4), with ``wide`` units in the two joined layers."""

    def __init__(self, n_classes: int, side: int = 28, scale=None, wide: int = 1024):
        super().__init__(scale)

        def stream() -> nn.Sequential:
            first = (nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))
            return nn.Sequential(*first, nn.Conv2d(6, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2))

        self.across, self.down = stream(), stream()
        first = (nn.Dropout(0.5), nn.Linear(2 * 16 * (side // 4) ** 2, wide), nn.ReLU())
        self.join = nn.Sequential(*first, nn.Dropout(0.5), nn.Linear(wide, wide), nn.ReLU())
        self.classify = nn.Linear(wide, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" -> ``Output``."""
        face = self.face(x, mask)
        both = torch.cat([self.across(face[:, :1]), self.down(face[:, 1:2])], 1)
        return Output(self.classify(self.join(rearrange(both, "batch chan y x -> batch (chan y x)"))))
