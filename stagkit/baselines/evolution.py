"""The evolution transformer (He et al. 2025, doi:10.1007/s11704-025-40976-3): how eighteen local motions unfold in time.

Eighteen facial places, each followed through the whole clip as a series of (u, v): the mean over the 30 % of its pixels
that move most, with the head's motion taken off; 36 numbers a time step. A step is a token; a transformer of five layers
(width 64, 8 heads of 64, learned positions, a class token) reads them. Sizes are those of the same author's earlier public
model for MEGC2024 (704,772 parameters). Flow is measured from the first frame, as there.

stagkit's choice: the places are the eighteen of stagkit's regions that lie nearest to his (brows, cheeks and lower lids,
nose wings, mouth, chin); the head's motion is that of the nose bridge; 'adaptive spatio-temporal attention', of which
we know the abstract only, is a gate of every place and step from its own motion; positions are those of a clip of 25 steps,
stretched to the clip's length, so that any length can be read; class weights from the training clips in place of fixed
ones; 40 epochs of AdamW at 8e-4 in place of 9, weight decay 0.7, learning rate times 0.987 an epoch.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from stagkit.baselines.network import Network, Output, Schedule
from stagkit.core.types import StagkitError

SCHEDULE = Schedule(epochs=40, lr=8e-4, batch_size=32, weight_decay=0.7, decay=0.987, balanced=True)

#: Places that are followed, and the one whose motion is the head's.
PLACES = (
    *(f"{place}_{side}" for place in ("brow_outer", "brow_mid", "brow_inner", "lower_lid") for side in "RL"),
    *(f"{place}_{side}" for place in ("nose_wing", "cheek", "upper_lip", "lip_corner") for side in "RL"),
    "lower_lip",
    "chin",
)
REFERENCE = "nose_bridge"
STEPS = 25


def compute_local_motion(patches: Tensor, share: float = 0.3) -> Tensor:
    """Mean (u, v) of the pixels of each patch that move most.

    Args:
        patches: "... chan py px", chan = (u, v, ...).
        share: of the pixels, at least one.

    Returns:
        "... 2", in the unit of ``patches``.
    """
    uv = rearrange(patches[..., :2, :, :], "... chan py px -> ... chan (py px)")
    n_kept = max(1, round(share * uv.shape[-1]))
    at = (uv**2).sum(-2).topk(n_kept, dim=-1).indices
    return uv.gather(-1, at[..., None, :].expand(*uv.shape[:-1], n_kept)).mean(-1)


class Layer(nn.Module):
    """A transformer layer, normalised first; heads wider than the token, as in the public model."""

    def __init__(self, width: int, heads: int, wide: int):
        super().__init__()
        self.heads, self.norm, self.norm_wide = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.ask, self.back = nn.Linear(width, 3 * heads * 64, bias=False), nn.Linear(heads * 64, width)
        self.weigh, self.drop = nn.Softmax(-1), nn.Dropout(0.1)
        self.wide = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, width))

    def forward(self, x: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens "batch token width", seen bool "batch token" -> the same, and attention "batch head target source"."""
        query, key, value = rearrange(
            self.ask(self.norm(x)), "batch token (three head c) -> three batch head token c", three=3, head=self.heads
        )
        scores = torch.einsum("bhtc,bhsc->bhts", query, key) * query.shape[-1] ** -0.5
        weights = self.weigh(scores.masked_fill(~seen[:, None, None], -1e9))
        told = torch.einsum("bhts,bhsc->bhtc", weights, value)
        x = x + self.drop(self.back(rearrange(told, "batch head token c -> batch token (head c)")))
        return x + self.drop(self.wide(self.norm_wide(x))), weights


class EvolutionTransformer(Network):
    """The network.

    Args:
        n_classes: >= 2.
        roi_names: of the data, with all of ``PLACES`` and ``REFERENCE``.
        scale: see ``Network``.
        width, depth, heads: sizes.

    Raises:
        StagkitError: a place is missing.
    """

    def __init__(self, n_classes: int, roi_names, scale=None, width: int = 64, depth: int = 5, heads: int = 8):
        super().__init__(scale)
        missing = [name for name in (*PLACES, REFERENCE) if name not in roi_names]
        if missing:
            raise StagkitError(f"the data has no region {missing[0]}: the evolution transformer follows regions.")
        self.roi_names = tuple(roi_names)
        self.register_buffer("places", torch.tensor([self.roi_names.index(n) for n in PLACES]), persistent=False)
        self.reference = self.roi_names.index(REFERENCE)
        n_series = 2 * len(PLACES)
        self.adapt, self.open = nn.Linear(2, 1), nn.Sigmoid()
        self.embed, self.norm = nn.Linear(n_series, width), nn.LayerNorm(width)
        self.answer = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(STEPS, width) * 0.02)
        self.layers = nn.ModuleList(Layer(width, heads, width) for _ in range(depth))
        self.norm_out, self.drop, self.classify = nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, n_classes)

    def place_in_time(self, seen: Tensor) -> Tensor:
        """Positions of the steps of each clip, stretched to its own length: bool "batch time" -> "batch time width"."""
        order = (seen.cumsum(1) - 1).clamp_min(0)
        last = (seen.sum(1, keepdim=True) - 1).clamp_min(1)
        at = (order / last).clamp(0, 1) * (STEPS - 1)
        low = at.floor().long().clamp(0, STEPS - 2)
        part = (at - low)[..., None]
        return self.positions[low] * (1 - part) + self.positions[low + 1] * part

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Regions "batch time roi chan py px" -> ``Output`` with gate "batch time place" and attention maps."""
        motion = compute_local_motion(self.scaled(x, mask))
        motion = motion[:, :, self.places] - motion[:, :, [self.reference]]
        motion = motion * mask[:, :, self.places, None]
        size = torch.stack([(motion**2).sum(-1).add(1e-12).sqrt(), motion[..., 1]], -1)
        gate = 2 * rearrange(self.open(self.adapt(size)), "batch time place 1 -> batch time place")
        series = rearrange(motion * gate[..., None], "batch time place uv -> batch time (place uv)")
        seen = mask.any(2)
        tokens = self.norm(self.embed(series)) + self.place_in_time(seen)
        tokens = torch.cat([repeat(self.answer, "width -> batch 1 width", batch=len(x)), tokens], 1)
        seen = torch.cat([torch.ones_like(seen[:, :1]), seen], 1)
        parts = {"gate": gate}
        for i, layer in enumerate(self.layers):
            tokens, parts[f"time.{i}"] = layer(tokens, seen)
        return Output(self.classify(self.drop(self.norm_out(tokens[:, 0]))), parts)
