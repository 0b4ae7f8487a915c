"""Evolution transformer (He et al. 2025, doi:10.1007/s11704-025-40976-3): the time course of eighteen local motions.

Each of eighteen places is followed through the clip as a series of (u, v): the mean over the 30 % of its pixels that move
most, minus head motion; 36 numbers per time step. A transformer (five layers, width 64, 8 heads of 64, learned positions, a
class token) reads the steps. Sizes are those of the authors' earlier public model for MEGC2024 (704,772 parameters).

stagkit's choice: the places are the nearest of stagkit's regions; head motion is that of the nose bridge; 'adaptive
spatio-temporal attention', known from the abstract only, is a gate of every place and step from its own motion; positions
are stretched to the clip's length; class weights come from the training clips; 40 epochs of AdamW at 8e-4 in place of 9,
weight decay 0.7, learning rate times 0.987 per epoch.
"""

from __future__ import annotations

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from stagkit.baselines.network import Block, Network, Output, Schedule
from stagkit.core.types import StagkitError

SCHEDULE = Schedule(epochs=40, lr=8e-4, batch_size=32, weight_decay=0.7, decay=0.987, balanced=True)

#: Places that are followed, and the one that moves with the head only.
PLACES = (
    *(f"{place}_{side}" for place in ("brow_outer", "brow_mid", "brow_inner", "lower_lid") for side in "RL"),
    *(f"{place}_{side}" for place in ("nose_wing", "cheek", "upper_lip", "lip_corner") for side in "RL"),
    "lower_lip",
    "chin",
)
REFERENCE = "nose_bridge"
STEPS = 25


def compute_local_motion(patches: Tensor, fraction: float = 0.3) -> Tensor:
    """Mean (u, v) of the ``fraction`` of pixels that move most: "... chan py px", chan = (u, v, ...) -> "... 2"."""
    uv = rearrange(patches[..., :2, :, :], "... chan py px -> ... chan (py px)")
    n_kept = max(1, round(fraction * uv.shape[-1]))
    at = (uv**2).sum(-2).topk(n_kept, dim=-1).indices
    return uv.gather(-1, at[..., None, :].expand(*uv.shape[:-1], n_kept)).mean(-1)


class EvolutionTransformer(Network):
    """The network; a ``StagkitError`` if ``roi_names`` lacks one of ``PLACES`` or ``REFERENCE``."""

    def __init__(self, n_classes: int, roi_names, scale=None, width: int = 64, depth: int = 5, heads: int = 8):
        super().__init__(scale)
        missing = [name for name in (*PLACES, REFERENCE) if name not in roi_names]
        if missing:
            raise StagkitError(f"the data has no region {missing[0]}: the evolution transformer follows regions.")
        self.roi_names = tuple(roi_names)
        self.register_buffer("places", torch.tensor([self.roi_names.index(n) for n in PLACES]), persistent=False)
        self.reference = self.roi_names.index(REFERENCE)
        n_series = 2 * len(PLACES)
        self.gate, self.gate_act = nn.Linear(2, 1), nn.Sigmoid()
        self.embed, self.norm = nn.Linear(n_series, width), nn.LayerNorm(width)
        self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(STEPS, width) * 0.02)
        self.layers = nn.ModuleList(Block(width, heads, width, head_width=64, dropout=0.1) for _ in range(depth))
        self.norm_out, self.drop, self.classify = nn.LayerNorm(width), nn.Dropout(0.1), nn.Linear(width, n_classes)

    def interpolate_positions(self, frames: Tensor) -> Tensor:
        """Positions stretched to the length of each clip: valid frames bool "batch time" -> "batch time width"."""
        order = (frames.cumsum(1) - 1).clamp_min(0)
        last = (frames.sum(1, keepdim=True) - 1).clamp_min(1)
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
        gate = 2 * rearrange(self.gate_act(self.gate(size)), "batch time place 1 -> batch time place")
        series = rearrange(motion * gate[..., None], "batch time place uv -> batch time (place uv)")
        frames = mask.any(2)
        tokens = self.norm(self.embed(series)) + self.interpolate_positions(frames)
        tokens = torch.cat([repeat(self.class_token, "width -> batch 1 width", batch=len(x)), tokens], 1)
        frames = torch.cat([torch.ones_like(frames[:, :1]), frames], 1)
        parts = {"gate": gate}
        for i, layer in enumerate(self.layers):
            tokens, parts[f"time.{i}"] = layer(tokens, frames)
        return Output(self.classify(self.drop(self.norm_out(tokens[:, 0]))), parts)
