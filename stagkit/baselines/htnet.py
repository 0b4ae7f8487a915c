"""HTNet (Wang et al. 2024, doi:10.1016/j.neucom.2024.128196): attention inside four facial areas, then over the whole face.

The onset-apex map is cut into four areas (both eyes, both lip corners). Transformer blocks mix the tokens inside an area;
a convolution with max-pooling joins neighbouring areas, and further blocks see the face as a whole.

Differs from the published code, on purpose: there a patch of 7 px on a map of 28 px leaves **one** token in each block, so
the attention is a softmax over one value, which is always 1; here a token is 2 px wide and an area has 49 of them, as the
paper's text asks for. Areas are the quadrants of the map (brow and eye, lip corner, left and right), which is where they lie
on a map of the published frame; the published code takes them from landmarks with x and y swapped. Reduced: width 32 and two
blocks a level (published: 256 and up to ten, 139.6 million parameters). stagkit's choice: 50 epochs of Adam at 5e-4.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.baselines.network import Network, Output, Schedule

SCHEDULE = Schedule(epochs=50, lr=5e-4, batch_size=64)


class Block(nn.Module):
    """A transformer block, normalised first; tokens "many token width"."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads, self.norm, self.norm_wide = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.back, self.weigh = (
            nn.Linear(width, 3 * width, bias=False),
            nn.Linear(width, width),
            nn.Softmax(-1),
        )
        self.wide = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        """Tokens -> tokens."""
        query, key, value = rearrange(
            self.ask(self.norm(x)), "many token (three head c) -> three many head token c", three=3, head=self.heads
        )
        weights = self.weigh(torch.einsum("mhtc,mhsc->mhts", query, key) * query.shape[-1] ** -0.5)
        told = torch.einsum("mhts,mhsc->mhtc", weights, value)
        x = x + self.back(rearrange(told, "many head token c -> many token (head c)"))
        return x + self.wide(self.norm_wide(x))


class HTNet(Network):
    """The network.

    Args:
        n_classes: >= 2.
        side: of the map, px, a multiple of ``4 * patch``.
        scale: see ``Network``.
        width: channels of a token in an area; twice as many for the whole face.
        depths: blocks in the areas, blocks over the face.
        patch: side of a token, px.
    """

    def __init__(self, n_classes: int, side: int = 28, scale=None, width: int = 32, depths=(2, 2), patch: int = 2):
        super().__init__(scale)
        self.embed = nn.Conv2d(3, width, patch, stride=patch)
        self.place = nn.Parameter(torch.randn(4, (side // patch // 2) ** 2, width) * 0.02)
        self.areas = nn.Sequential(*(Block(width, 2) for _ in range(depths[0])))
        self.join = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, padding=1), nn.GroupNorm(1, 2 * width), nn.MaxPool2d(2)
        )
        self.face_blocks = nn.Sequential(*(Block(2 * width, 4) for _ in range(depths[1])))
        self.norm, self.drop, self.classify = nn.LayerNorm(2 * width), nn.Dropout(0.3), nn.Linear(2 * width, n_classes)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Maps "batch 1 1 chan py px" -> ``Output``."""
        tokens = self.embed(self.face(x, mask))
        half = tokens.shape[-1] // 2
        areas = rearrange(tokens, "batch c (p y) (q x) -> batch (p q) (y x) c", p=2, q=2) + self.place
        areas = self.areas(rearrange(areas, "batch area token c -> (batch area) token c"))
        whole = rearrange(areas, "(batch p q) (y x) c -> batch c (p y) (q x)", p=2, q=2, y=half)
        face = self.face_blocks(rearrange(self.join(whole), "batch c y x -> batch (y x) c"))
        return Output(self.classify(self.drop(self.norm(face.mean(1)))))
