"""STAG, the whole network in one file, read top to bottom (attention: ``attention``, action units: ``action_units``).

Motion patches of facial regions become tokens; action units (AUs) are estimated from them and shape the edges between
regions; graph attention exchanges information between regions, a transformer reads the frames in time, cross-attention
joins the two, and a gated head classifies. T frames, N regions, K action units, D width; axis words as in ``types``.

The abstract of STAG (Sharma, Sharma and Singh 2026, arXiv:2606.28083) names the parts: optical flow of discriminative
frames, temporal attention, E-GAT over facial regions, AU-guided dynamic connectivity, a transformer encoder,
bidirectional cross-attention, focal loss. Every formula and size below is stagkit's choice.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import ShapeError, StagOutput, check_axes
from stagkit.network.action_units import AUEvidence, AUHead, AUTokens, compute_clip_aus
from stagkit.network.attention import EDGE_FEATURES, CrossAttention, EdgeFeatures, EGATDense, Gate, MaskedSoftmax
from stagkit.network.hooks import HookPoint


def mean_over(values: Tensor, visible: Tensor, axis: int) -> Tensor:
    """Mean of ``values`` over ``axis`` where ``visible`` is 1; 0 where it is nowhere 1."""
    return (values * visible).sum(axis) / visible.sum(axis).clamp_min(1)


def make_affine_patterns(patch: int) -> np.ndarray:
    """Filters of a patch, float "pattern y x": its mean, and its slopes right and down times 0.7 of half a patch."""
    line = (np.arange(patch) + 0.5) / patch * 2 - 1
    slope = np.broadcast_to(0.7 * line / max((line**2).sum(), 1e-9) / patch, (patch, patch))
    return np.stack([np.full((patch, patch), patch**-2.0), slope, slope.T])


class RegionTokens(nn.Module):
    """One token per region and frame: motion + region + time embedding, zero where masked.

    Motion is a local affine field: mean of each channel and its slopes. Time is in ms, as sines and cosines with periods
    from 20 ms to 2 s. Zero motion adds nothing, so a clip without motion is a meaningful baseline.
    """

    def __init__(self, config: StagConfig, n_rois: int, patch: int, n_periods: int = 8):
        super().__init__()
        self.register_buffer("frequencies", 2 * torch.pi / torch.logspace(np.log10(20), np.log10(2000), n_periods))
        self.register_buffer("patterns", torch.tensor(make_affine_patterns(patch), dtype=torch.float32))
        self.patch = nn.Linear(3 * self.patterns.shape[0], config.width, bias=False)
        self.region = nn.Parameter(torch.randn(n_rois, config.width) * 0.3)
        self.time_embedding = nn.Linear(2 * n_periods, config.width, bias=False)
        self.embed = HookPoint("roi.embed")
        nn.init.normal_(self.patch.weight)

    def forward(self, x: Tensor, visible: Tensor, times_ms: Tensor) -> Tensor:
        """Patches "batch time roi chan py px" -> tokens "batch time roi width"."""
        motion = torch.einsum("btrcyx,kyx->btrck", x, self.patterns)
        motion = self.patch(rearrange(motion, "batch time roi chan pattern -> batch time roi (chan pattern)"))
        phase = torch.einsum("bt,f->btf", times_ms, self.frequencies)
        time = self.time_embedding(torch.cat((phase.sin(), phase.cos()), -1))
        return self.embed((motion + self.region + rearrange(time, "batch time width -> batch time 1 width")) * visible)


class TemporalAttention(nn.Module):
    """How much each selected frame counts: softmax over the valid frames of a score of its tokens."""

    def __init__(self, config: StagConfig):
        super().__init__()
        self.hidden, self.act = nn.Linear(config.width, 16), nn.SiLU()
        self.score = nn.Linear(16, 1, bias=False)
        self.softmax, self.weights = MaskedSoftmax(), HookPoint("time.weights")

    def forward(self, tokens: Tensor, visible: Tensor, frame_mask: Tensor) -> Tensor:
        """Tokens "batch time roi width" -> weights "batch time", summing to 1."""
        scores = self.score(mean_over(self.act(self.hidden(tokens)), visible, 2))
        return self.weights(self.softmax(rearrange(scores, "batch time 1 -> batch time"), frame_mask))


class Connectivity(nn.Module):
    r"""Weight of every edge between regions (target, source), following the active AUs.

    .. math:: C_t = s_t s_t^T \odot softplus(M), \qquad A_t = A_{anatomy} + \alpha B^T C_t B + \beta \, softplus(R)

    s = sigmoid(AU logits); M (symmetrised) starts at the AU co-occurrence of the training fold; B is the incidence with
    the strongest region of each AU at 1; alpha, beta > 0. ``fixed``: anatomy alone, and weight 0 is no edge. ``learned``:
    no AU term. With a learned term every pair has an edge, strictly positive.
    """

    def __init__(self, kind: str, atlas: RoiAtlas, au_prior: np.ndarray | None):
        super().__init__()
        self.kind, (n_aus, n_rois), self.edges = kind, atlas.incidence.shape, HookPoint("graph.edges")
        self.register_buffer("anatomy", torch.tensor(atlas.anatomy))
        if kind != "fixed":
            self.residual, self.beta = nn.Parameter(torch.zeros(n_rois, n_rois)), nn.Parameter(torch.tensor(-2.5))
        if kind == "au":
            strongest = np.maximum(atlas.incidence.max(1, keepdims=True), 1e-6)
            self.register_buffer("incidence", torch.tensor(atlas.incidence / strongest))
            prior = np.eye(n_aus) * 0.9 + 0.1 if au_prior is None else np.asarray(au_prior, np.float64)
            if prior.shape != (n_aus, n_aus) or not (np.isfinite(prior) & (prior >= 0)).all():
                raise ShapeError(f"`au_prior` is {prior.shape}, expected ({n_aus}, {n_aus}) with finite values >= 0.")
            start = np.log(np.expm1(np.clip((prior + prior.T) / 2, 1e-2, 10.0)))  # the inverse of softplus
            self.affinity = nn.Parameter(torch.tensor(start, dtype=torch.float32))
            self.alpha = nn.Parameter(torch.tensor(0.541325))  # softplus of it = 1
            self.active, self.au_edges = nn.Sigmoid(), HookPoint("au.edges")

    def forward(self, au_logits: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """AU logits "batch time au" -> edges "batch time roi roi" (or those ``given``), AU edges "batch time au au"."""
        edges, au_edges = self.anatomy, None
        if self.kind != "fixed":
            edges = edges + softplus(self.beta) * softplus(self.residual)
        if self.kind == "au":
            active = self.active(au_logits)
            affinity = softplus((self.affinity + rearrange(self.affinity, "k l -> l k")) / 2)
            au_edges = self.au_edges(torch.einsum("btk,btl->btkl", active, active) * affinity)
            moved = torch.einsum("btkl,lm->btkm", au_edges, self.incidence)
            edges = edges + softplus(self.alpha) * torch.einsum("kn,btkm->btnm", self.incidence, moved)
        else:
            edges = edges.expand(*au_logits.shape[:2], *edges.shape)
        return self.edges(edges if given is None else given), au_edges


class GraphLayer(nn.Module):
    """Regions of one frame exchange information: x + gate * Linear(SiLU(E-GAT(LayerNorm(x)))).

    With ``head='graph'`` the gates start half open and few messages are dropped (chosen on development phantoms).
    """

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        width, edge_dim = config.width, EDGE_FEATURES if config.graph == "egat" else None
        self.norm, self.act = nn.LayerNorm(width), nn.SiLU()
        self.drop = nn.Dropout(config.dropout / 4 if config.head == "graph" else config.dropout)
        # attention over all pairs is the costly part: it has half the width, and a linear map restores it
        self.egat = EGATDense(width, max(width // config.heads // 2, 1), config.heads, edge_dim, f"graph.{number}")
        self.out_proj, self.gate = nn.Linear(self.egat.width, width), Gate(width, width)
        self.gate_act = nn.Sigmoid()
        if config.head == "graph":
            nn.init.zeros_(self.gate.bias)

    def forward(self, x: Tensor, edges: Tensor, features: Tensor | None, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens "batch time roi width" -> the same, and attention "batch time head target source"."""
        normed = self.norm(x)
        message, attention = self.egat(normed, edges, features, mask)
        return x + self.gate_act(self.gate(normed)) * self.drop(self.out_proj(self.act(message))), attention


class FrameTokens(nn.Module):
    """One token per frame: each head pools the regions with its own learned attention."""

    def __init__(self, config: StagConfig):
        super().__init__()
        width, self.heads = config.width, config.heads
        self.norm, self.score = nn.LayerNorm(width, bias=False), nn.Linear(width, self.heads, bias=False)
        self.value, self.softmax, self.pool = nn.Linear(width, width), MaskedSoftmax(), HookPoint("time.pool")

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Tokens "batch time roi width" -> "batch time width"."""
        scores = rearrange(self.score(self.norm(tokens)), "batch time roi head -> batch time head roi")
        weights = self.pool(self.softmax(scores, rearrange(mask, "batch time roi -> batch time 1 roi")))
        value = rearrange(self.value(tokens), "batch time roi (head c) -> batch time head roi c", head=self.heads)
        return rearrange(torch.einsum("bthn,bthnc->bthc", weights, value), "b t h c -> b t (h c)")


class TimeLayer(nn.Module):
    """A transformer encoder block over frames, normalised first: gated attention, then two linear maps."""

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        width = config.width
        self.self_attention = CrossAttention(width, config.heads, config.dropout, f"time.{number}.attn")
        self.norm, self.hidden, self.act = nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU()
        self.out_proj, self.drop = nn.Linear(2 * width, width), nn.Dropout(config.dropout)

    def forward(self, x: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Frames "batch time width" -> the same, and attention "batch head target source"."""
        x, attention = self.self_attention(x, x, frame_mask)
        return x + self.drop(self.out_proj(self.act(self.hidden(self.norm(x))))), attention


class Head(nn.Module):
    """[AU evidence, regions, frames] -> gated fusion -> logits.

    All regions are concatenated (a mean would forget which one moved), and not normalised: how far each moved counts.
    In training regions and frames are left out of some clips, so that AU evidence is used.
    """

    def __init__(self, config: StagConfig, n_classes: int, n_rois: int, n_aus: int, hidden: int = 64):
        super().__init__()
        width, parts = config.width, 3 if config.branches == "both" else 2
        if config.branches != "time":
            self.drop_regions, self.regions = nn.Dropout(0.1), nn.Linear(n_rois * width, hidden)
        if config.branches != "graph":
            self.norm_frames, self.frames = nn.LayerNorm(width), nn.Linear(width, hidden)
        self.active, self.aus, self.pooled = nn.Sigmoid(), nn.Linear(n_aus, hidden), HookPoint("pooled")
        self.gate, self.gate_act, self.act = nn.Linear(parts * hidden, parts), nn.Sigmoid(), nn.GELU()
        self.drop_branches, self.drop = nn.Dropout(config.branch_dropout), nn.Dropout(config.dropout)
        self.classify, self.logits = nn.Linear(hidden, n_classes), HookPoint("logits")

    def forward(self, aus: Tensor, regions: Tensor | None, present: Tensor, frames: Tensor | None) -> Tensor:
        """AU logits "batch au", regions "batch roi width", mean frame "batch width" -> logits "batch cls"."""
        parts = [self.aus(self.active(aus))]
        if regions is not None:
            regions = self.drop_regions(rearrange(regions * present, "batch roi width -> batch (roi width)"))
            parts.append(self.regions(regions))
        if frames is not None:
            parts.append(self.frames(self.norm_frames(frames)))
        pooled = self.pooled(torch.stack(parts, dim=1))
        gates = 2 * self.gate_act(self.gate(rearrange(pooled, "batch part hidden -> batch (part hidden)")))
        gates = torch.cat((gates[:, :1], self.drop_branches(torch.ones_like(gates[:, 1:])) * gates[:, 1:]), dim=1)
        return self.logits(self.classify(self.drop(self.act(torch.einsum("bp,bpd->bd", gates, pooled)))))


class Stag(nn.Module):
    """The STAG network (arXiv:2606.28083; see the head of this file).

    Args:
        config: widths, depths and switches. ``graph='gat'`` is plain GATv2 on the anatomical graph, whatever
            ``connectivity`` says. ``branches='time'`` has no graph, ``branches='graph'`` no transformer, and neither has
            cross-attention. With ``head='graph'`` action units are estimated after cross-attention and classified alone;
            a prior estimate, from motion along the muscles, shapes the edges.
        n_classes: >= 2.
        atlas: the regions; the order of the axis ``roi``.
        patch: side of a patch, samples.
        au_prior: float "au au", >= 0, where the affinity of AUs starts (``losses.compute_au_prior`` of the *training*
            clips). None: each AU with itself, all pairs a little.
        scale: float "chan", > 0, by which motion is divided: the RMS of the *training* clips. None: 1.

    Example:
        >>> model = Stag(StagConfig(width=16), n_classes=3).eval()
        >>> output = model(torch.zeros(2, 4, 22, 3, 5, 5), torch.ones(2, 4, 22, dtype=torch.bool), torch.zeros(2, 4))
        >>> output.logits.shape, output.edges.shape
        (torch.Size([2, 3]), torch.Size([2, 4, 22, 22]))
    """

    def __init__(
        self, config: StagConfig, n_classes: int, atlas: RoiAtlas = ATLAS, patch: int = 5, au_prior=None, scale=None
    ):
        super().__init__()
        self.config, self.n_classes, self.patch, self.n_rois = config, n_classes, patch, len(atlas.names)
        self.register_buffer("scale", torch.as_tensor(np.ones(3) if scale is None else scale, dtype=torch.float32))
        self.tokens, self.aus = RegionTokens(config, self.n_rois, patch), AUEvidence(config, atlas)
        self.time_weights = TemporalAttention(config) if config.temporal_attention else None
        has_graph, has_time = config.branches != "time" and config.graph != "none", config.branches != "graph"
        kind, late = "fixed" if config.graph == "gat" else config.connectivity, config.head == "graph"
        self.connectivity = Connectivity(kind, atlas, au_prior) if has_graph else None
        twice = late and has_graph and kind == "au"
        self.prior_aus = AUEvidence(config, atlas, learned=False, name="au.logits.prior") if twice else None
        self.edge_features = EdgeFeatures(atlas) if has_graph and config.graph == "egat" else None
        self.frame_tokens = FrameTokens(config) if has_time else None
        self.graph = nn.ModuleList(GraphLayer(config, i) for i in range(config.graph_layers * has_graph))
        self.time = nn.ModuleList(TimeLayer(config, i) for i in range(config.time_layers * has_time))
        ways = {"both": ("roi_from_frame", "frame_from_roi"), "one-way": ("roi_from_frame",), "none": ()}
        ways = ways[config.cross_attention] if config.branches == "both" else ()
        of, layers = (config.width, config.heads, config.dropout), range(config.cross_layers if ways else 0)
        self.cross = nn.ModuleList(
            nn.ModuleDict({way: CrossAttention(*of, f"cross.{i}.{way}") for way in ways}) for i in layers
        )
        self.au_tokens = AUTokens(config) if late else None
        n_aus = len(AU_NUMBERS)
        self.head = AUHead(config, n_classes, n_aus) if late else Head(config, n_classes, self.n_rois, n_aus)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> StagOutput:
        """All outputs.

        Args:
            x: float32 "batch time roi chan py px", chan = (u right, v down, strain), % of IOD; not read under the mask.
            mask: bool "batch time roi", True where the region is visible.
            times_ms: float32 "batch time", ms from the onset frame.
            edges: float "batch time roi roi", >= 0, used instead of the network's own edge weights: the input of edge
                attribution (only ratios within a row matter, so zero edges are no baseline; the anatomy is one).

        Returns:
            ``StagOutput``; its values at padded frames have no meaning.
        """
        self._check(x, mask, times_ms, edges)
        x = x.masked_fill(rearrange(~mask, "batch time roi -> batch time roi 1 1 1"), 0.0)
        x = x / rearrange(self.scale, "chan -> chan 1 1")
        flow, visible = x.mean((4, 5))[..., :2], rearrange(mask, "batch time roi -> batch time roi 1").to(x.dtype)
        frame_mask, present = mask.any(2), mask.any(1)
        tokens = self.tokens(x, visible, times_ms.masked_fill(~frame_mask, 0.0))
        estimate = self.aus if self.au_tokens is None else self.prior_aus
        prior = None if estimate is None else estimate(tokens, flow, visible)
        tokens, weights = self._weight_frames(tokens, visible, frame_mask)
        aus = visible if prior is None else prior
        edges, au_edges = (None, None) if self.connectivity is None else self.connectivity(aus, edges)
        states, graph_attention = self._relate_regions(tokens, edges, flow, mask)
        regions = None if self.config.branches == "time" else mean_over(states, visible, 1)
        frames, time_attention = self._relate_frames(tokens, mask, frame_mask)
        regions, frames, cross_attention = self._cross(regions, frames, frame_mask, present)
        au_logits = prior
        if self.au_tokens is not None:
            au_logits = self.aus(self.au_tokens(states, regions, frames, visible), flow, visible)
        logits = self._classify(compute_clip_aus(au_logits, frame_mask), regions, present, frames, frame_mask)
        attention = graph_attention | time_attention | cross_attention
        first = None if self.au_tokens is None else prior
        return StagOutput(logits, au_logits, edges, au_edges, weights, attention, first)

    def logits(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> Tensor:
        """Logits "batch cls" alone, for Captum. Arguments as in ``forward``."""
        return self.forward(x, mask, times_ms, edges).logits

    def _check(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None) -> None:
        sizes = {"roi": self.n_rois, "py": self.patch, "px": self.patch}
        check_axes(sizes, x=(x, "batch time roi 3 py px"), mask=(mask, "batch time roi"))
        check_axes(sizes, times_ms=(times_ms, "batch time"), edges=(edges, "batch time roi roi"))
        if mask.dtype != torch.bool:
            raise ShapeError(f"`mask` is {mask.dtype}, expected bool: True where the region is visible.")

    def _weight_frames(self, tokens: Tensor, visible: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens times the attention of their frame, which is 1 on average, whatever the number of frames."""
        if self.time_weights is None:
            return tokens, None
        weights = self.time_weights(tokens, visible, frame_mask)
        strength = weights * frame_mask.sum(1, keepdim=True)
        return tokens * rearrange(strength, "batch time -> batch time 1 1"), weights

    def _relate_regions(self, tokens: Tensor, edges: Tensor | None, flow: Tensor, mask: Tensor) -> tuple[Tensor, dict]:
        features, attention = self.edge_features(flow) if self.edge_features is not None else None, {}
        for i, layer in enumerate(self.graph):
            tokens, attention[f"graph.{i}"] = layer(tokens, edges, features, mask)
        return tokens, attention

    def _relate_frames(self, tokens: Tensor, mask: Tensor, frame_mask: Tensor) -> tuple[Tensor | None, dict]:
        frames, attention = self.frame_tokens(tokens, mask) if self.frame_tokens is not None else None, {}
        for i, layer in enumerate(self.time):
            frames, attention[f"time.{i}"] = layer(frames, frame_mask)
        return frames, attention

    def _cross(self, regions: Tensor | None, frames: Tensor | None, frame_mask: Tensor, present: Tensor) -> tuple:
        """Regions query frames and, at the same time, frames query regions."""
        attention = {}
        for i, layers in enumerate(self.cross):
            inputs = {"roi_from_frame": (regions, frames, frame_mask), "frame_from_roi": (frames, regions, present)}
            outputs = {way: layer(*inputs[way]) for way, layer in layers.items()}
            attention |= {f"cross.{i}.{way}": output[1] for way, output in outputs.items()}
            regions, frames = outputs["roi_from_frame"][0], outputs.get("frame_from_roi", (frames,))[0]
        return regions, frames, attention

    def _classify(self, aus: Tensor, regions: Tensor | None, present: Tensor, frames, frame_mask: Tensor) -> Tensor:
        if self.au_tokens is not None:
            return self.head(aus)
        if frames is not None:
            frames = mean_over(frames, rearrange(frame_mask, "batch time -> batch time 1").to(frames.dtype), 1)
        return self.head(aus, regions, rearrange(present, "batch roi -> batch roi 1"), frames)
