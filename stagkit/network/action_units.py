"""Action units (AUs): how their evidence is estimated from the motion of regions, and a head that uses nothing else.

Every formula here is stagkit's choice (see the head of ``model``).
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from stagkit.core.config import StagConfig
from stagkit.core.regions import RoiAtlas
from stagkit.network.attention import Gate
from stagkit.network.hooks import HookPoint

#: Sharpness of the pooling of AU evidence over frames: towards 0 it is the mean, towards infinity the maximum.
AU_POOLING = 4.0
#: Probability of an AU before training (its bias starts at -2.2): most are absent from most clips.
AU_START = 0.1


def compute_clip_aus(au_logits: Tensor, frames: Tensor) -> Tensor:
    """AU evidence of a clip: soft maximum over its valid frames, log-mean-exp with sharpness ``AU_POOLING``.

    An AU is active in a part of a clip only, so the mean is too low, and the maximum would train one frame alone
    (Pinheiro and Collobert 2015, arXiv:1411.6228). ``au_logits`` "batch time au", valid ``frames`` bool "batch time" ->
    logits "batch au", far below zero where a clip has no valid frame.
    """
    sharp = (au_logits * AU_POOLING).masked_fill(rearrange(~frames, "batch time -> batch time 1"), -1e3)
    return (sharp.logsumexp(1) - frames.sum(1, keepdim=True).clamp_min(1).log()) / AU_POOLING


class AUEvidence(nn.Module):
    r"""Evidence for each AU in each frame, from the regions that this AU can move and from nothing else.

    .. math:: z_k = b_k + \frac{1}{\sum_n B_{kn}} \sum_n \left( softplus(g_k) \, d_{kn} \cdot \bar f_n
        + B_{kn} \, w_{kn} \cdot SiLU(W h_n) \right)

    f mean motion of a region, d the direction in which the AU moves it (signed: a lip corner going down is evidence
    against AU12), B the incidence, h the token. b starts at 10 % evidence. Annotated AUs are never an input.
    ``learned=False`` leaves the second term out: the muscles' directions alone, with 2 parameters per AU.
    """

    def __init__(
        self, config: StagConfig, atlas: RoiAtlas, learned: bool = True, name: str = "au.logits", hidden: int = 8
    ):
        super().__init__()
        n_aus, n_rois = atlas.incidence.shape
        self.register_buffer("incidence", torch.tensor(atlas.incidence))
        self.register_buffer("directions", torch.tensor(atlas.directions))
        self.hidden, self.act = (nn.Linear(config.width, hidden), nn.SiLU()) if learned else (None, None)
        self.readout = nn.Parameter(torch.randn(n_aus, n_rois, hidden) * 0.2) if learned else None
        self.gain, self.bias = nn.Parameter(torch.ones(n_aus)), nn.Parameter(torch.full((n_aus,), -2.2))
        self.logits = HookPoint(name)

    def forward(self, tokens: Tensor, flow: Tensor, visible: Tensor) -> Tensor:
        """Tokens "batch time roi width" and mean flow "batch time roi 2" -> logits "batch time au"."""
        total = torch.einsum("kn,btnx->btk", self.incidence, visible).clamp_min(1e-3)
        evidence = softplus(self.gain) * torch.einsum("knc,btnc->btk", self.directions, flow)
        if self.hidden is not None:
            weights = self.readout * rearrange(self.incidence, "au roi -> au roi 1")
            evidence = evidence + torch.einsum("knh,btnh->btk", weights, self.act(self.hidden(tokens)) * visible)
        return self.logits(self.bias + evidence / total)


class AUTokens(nn.Module):
    """Tokens for the final AU estimate: region states plus a gated share of the clip's regions and of its frames."""

    def __init__(self, config: StagConfig):
        super().__init__()
        width, self.region_gate, self.frame_gate = config.width, None, None
        if config.branches != "time":
            self.region_gate, self.region_gate_act = Gate(width, width), nn.Sigmoid()
        if config.branches != "graph":
            self.frame_gate, self.frame_gate_act = Gate(width, width), nn.Sigmoid()

    def forward(self, states: Tensor, regions: Tensor | None, frames: Tensor | None, visible: Tensor) -> Tensor:
        """States "batch time roi width", regions "batch roi width", frames "batch time width" -> like the states."""
        if regions is not None:
            share = self.region_gate_act(self.region_gate(regions)) * regions
            states = states + rearrange(share, "batch roi width -> batch 1 roi width")
        if frames is not None:
            share = self.frame_gate_act(self.frame_gate(frames)) * frames
            states = states + rearrange(share, "batch time width -> batch time 1 width")
        return states * visible


class AUHead(nn.Module):
    """AU evidence of a clip -> logits: a concept bottleneck (Koh et al. 2020, arXiv:2007.04612).

    The classification loss trains this head alone; AU evidence is trained by AU codes. Each AU enters as a multiple of
    ``AU_START``: as a probability it was learned too slowly from few clips.
    """

    def __init__(self, config: StagConfig, n_classes: int, n_aus: int, hidden: int = 64):
        super().__init__()
        self.active, self.aus, self.pooled = nn.Sigmoid(), nn.Linear(n_aus, hidden), HookPoint("pooled")
        self.act, self.drop = nn.GELU(), nn.Dropout(config.dropout)
        self.classify, self.logits = nn.Linear(hidden, n_classes), HookPoint("logits")

    def forward(self, aus: Tensor) -> Tensor:
        """AU logits "batch au" -> logits "batch cls"."""
        pooled = self.pooled(self.aus(self.active(aus.detach() if self.training else aus) / AU_START))
        return self.logits(self.classify(self.drop(self.act(pooled))))
