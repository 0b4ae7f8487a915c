"""HTNet (Wang et al. 2024, doi:10.1016/j.neucom.2024.128196): attention inside four facial areas, then over the whole face.

Transformer blocks mix the tokens inside each quadrant of the onset-apex map; a convolution with max-pooling joins the areas,
and further blocks see the whole face.

Differs from the published code: there a patch of 7 px on a map of 28 px leaves one token per block, so the attention is
always 1; here a token is 2 px wide and an area has 49, as the paper's text asks for. Areas are the quadrants of the map; the
published code takes them from landmarks with x and y swapped. Reduced: width 32 and two blocks per level (published: 256 and
up to ten, 139.6 million parameters). stagkit's choice: 50 epochs of Adam at 5e-4.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.baselines.network import Block, Network, Output, Schedule

SCHEDULE = Schedule(epochs=50, lr=5e-4, batch_size=64)


class HTNet(Network):
    """The network; ``side`` of the map (px) is a multiple of ``4 * patch``, the side of a token is ``patch`` px.

    ``width``: channels of a token inside an area (twice as many for the whole face); ``depths``: blocks per level.
    """

    def __init__(self, n_classes: int, side: int = 28, scale=None, width: int = 32, depths=(2, 2), patch: int = 2):
        super().__init__(scale)
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.position = nn.Parameter(torch.randn(4, (side // patch // 2) ** 2, width) * 0.02)
        self.areas = nn.ModuleList(Block(width, 2, 2 * width) for _ in range(depths[0]))
        both = nn.Conv2d(width, 2 * width, 3, padding=1), nn.GroupNorm(1, 2 * width)
        self.join = nn.Sequential(*both, nn.MaxPool2d(2))
        self.face_blocks = nn.ModuleList(Block(2 * width, 4, 4 * width) for _ in range(depths[1]))
        self.norm, self.drop, self.classify = nn.LayerNorm(2 * width), nn.Dropout(0.3), nn.Linear(2 * width, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" -> ``Output``."""
        tokens = self.embed(self.face(x, mask))
        half = tokens.shape[-1] // 2
        areas = rearrange(tokens, "batch c (p y) (q x) -> batch (p q) (y x) c", p=2, q=2) + self.position
        areas = rearrange(areas, "batch area token c -> (batch area) token c")
        for block in self.areas:
            areas, _ = block(areas)
        whole = rearrange(areas, "(batch p q) (y x) c -> batch c (p y) (q x)", p=2, q=2, y=half)
        face = rearrange(self.join(whole), "batch c y x -> batch (y x) c")
        for block in self.face_blocks:
            face, _ = block(face)
        return Output(self.classify(self.drop(self.norm(face.mean(1)))))
