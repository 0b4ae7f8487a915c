"""STAG, the whole network in one file, read top to bottom.

Motion patches of facial regions become tokens; action units (AUs) are estimated from them and shape the edges between
regions; graph attention exchanges what regions know, a transformer reads the frames in time, cross-attention joins the
two, and a gated head decides. Symbols: T frames, N regions, K action units, D width; axis words as in ``types``.

The abstract of STAG (Sharma, Sharma and Singh 2026, arXiv:2606.28083) names the parts: optical flow of discriminative
frames, temporal attention, E-GAT over facial regions, AU-guided dynamic connectivity, a transformer encoder,
bidirectional cross-attention, focal loss. Its body is not public: every formula and size below is stagkit's choice.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import softplus

from stagkit.config import StagConfig
from stagkit.egat import EGATDense, MaskedSoftmax
from stagkit.facs import AU_NUMBERS
from stagkit.probes import Probe
from stagkit.rois import ATLAS, RoiAtlas
from stagkit.types import ShapeError, StagOutput, check_axes

#: Sharpness of the pooling of AU evidence over frames: 0 is the mean, infinity the maximum.
AU_POOLING = 4.0
#: Width of the relations between two regions: right, down, neighbours, mirror partners, same, co-motion.
EDGE_FEATURES = 6


def compute_clip_aus(au_logits: Tensor, frames: Tensor) -> Tensor:
    """AU evidence of a clip: soft maximum over its valid frames, log-mean-exp with sharpness ``AU_POOLING``.

    An AU is active in a part of a clip only, so the mean is too low, and the maximum would teach one frame alone
    (Pinheiro and Collobert 2015, arXiv:1411.6228). With one frame it is that frame's evidence.

    Args:
        au_logits: "batch time au"; frames: bool "batch time", True where a frame is valid.

    Returns:
        "batch au", logits; far below zero where a clip has no valid frame.
    """
    sharp = (au_logits * AU_POOLING).masked_fill(rearrange(~frames, "batch time -> batch time 1"), -1e3)
    count = frames.sum(1, keepdim=True).clamp_min(1)
    return (sharp.logsumexp(1) - count.log()) / AU_POOLING


def mean_over(values: Tensor, mask: Tensor, axis: int) -> Tensor:
    """Mean of ``values`` over ``axis`` where ``mask`` (bool, broadcastable) is True; 0 where it is nowhere."""
    return (values * mask).sum(axis) / mask.sum(axis).clamp_min(1)


# ── 1. tokens ────────────────────────────────────────────────────────────────────────────────────────────────────────


class TimeEncoding(nn.Module):
    """Continuous time in ms -> D: sines and cosines with periods from 20 ms to 2 s, then a linear map."""

    def __init__(self, width: int, n_periods: int = 8):
        super().__init__()
        self.register_buffer("frequencies", 2 * torch.pi / torch.logspace(np.log10(20), np.log10(2000), n_periods))
        self.project = nn.Linear(2 * n_periods, width, bias=False)

    def forward(self, times_ms: Tensor) -> Tensor:
        """"batch time" ms -> "batch time width"."""
        phase = torch.einsum("bt,f->btf", times_ms, self.frequencies)
        return self.project(torch.cat((phase.sin(), phase.cos()), dim=-1))


class RegionTokens(nn.Module):
    """One token a region and frame: linear embedding of its motion + which region + when.

    Zero motion adds nothing, so a clip without motion is a meaningful baseline.
    """

    def __init__(self, config: StagConfig, n_rois: int, patch: int):
        super().__init__()
        self.patch = nn.Linear(3 * patch * patch, config.width, bias=False)
        self.region = nn.Parameter(torch.randn(n_rois, config.width) * 0.3)
        self.clock = TimeEncoding(config.width)
        self.embed = Probe("roi.embed")
        with torch.no_grad():  # begin close to the mean motion of the patch: a fine pattern has to be learned
            mean = torch.randn(config.width, 3, 1) / patch**2
            fine = torch.randn(config.width, 3, patch * patch) * 0.3 / patch
            self.patch.weight.copy_(rearrange(mean + fine / patch, "width chan pixel -> width (chan pixel)"))

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        """"batch time roi chan py px" -> "batch time roi width", 0 under the mask."""
        motion = self.patch(rearrange(x, "batch time roi chan py px -> batch time roi (chan py px)"))
        when = rearrange(self.clock(times_ms), "batch time width -> batch time 1 width")
        return self.embed((motion + self.region + when) * rearrange(mask, "batch time roi -> batch time roi 1"))


class TemporalAttention(nn.Module):
    """How much each selected frame counts: softmax over the valid frames of a score of its tokens, summing to 1."""

    def __init__(self, config: StagConfig):
        super().__init__()
        self.hidden, self.act = nn.Linear(config.width, 16), nn.SiLU()
        self.score = nn.Linear(16, 1, bias=False)
        self.weigh, self.weights = MaskedSoftmax(), Probe("time.weights")

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """"batch time roi width" -> "batch time"."""
        frame = mean_over(self.act(self.hidden(tokens)), rearrange(mask, "batch time roi -> batch time roi 1"), 2)
        return self.weights(self.weigh(rearrange(self.score(frame), "batch time 1 -> batch time"), mask.any(2)))


# ── 2. action units and the edges they open ──────────────────────────────────────────────────────────────────────────


class AUEvidence(nn.Module):
    r"""Evidence for each AU in each frame, from the regions that this AU can move and from nothing else.

    .. math:: z_k = b_k + softplus(g_k) \frac{\sum_n d_{kn} \cdot \bar f_n}{\sum_n B_{kn}}
        + \frac{\sum_n B_{kn} \, w_{kn} \cdot SiLU(W h_n)}{\sum_n B_{kn}}

    f mean motion of a region, d the direction in which the AU moves it (signed, so that a lip corner going down speaks
    against AU12), B the incidence, h the token. b starts at 10 % evidence. Annotated AUs are never an input.
    """

    def __init__(self, config: StagConfig, atlas: RoiAtlas, hidden: int = 8):
        super().__init__()
        n_aus, n_rois = atlas.incidence.shape
        self.register_buffer("incidence", torch.tensor(atlas.incidence))
        self.register_buffer("directions", torch.tensor(atlas.directions))
        self.hidden, self.act = nn.Linear(config.width, hidden), nn.SiLU()
        self.readout = nn.Parameter(torch.randn(n_aus, n_rois, hidden) * 0.2)
        self.gain = nn.Parameter(torch.full((n_aus,), 1.0))
        self.bias = nn.Parameter(torch.full((n_aus,), -2.2))
        self.logits = Probe("au.logits")

    def forward(self, tokens: Tensor, flow: Tensor, mask: Tensor) -> Tensor:
        """Tokens "batch time roi width", mean flow "batch time roi 2", mask -> logits "batch time au"."""
        seen = rearrange(mask.to(tokens.dtype), "batch time roi -> batch time roi 1")
        among = torch.einsum("kn,btnx->btk", self.incidence, seen).clamp_min(1e-3)
        along = torch.einsum("knc,btnc->btk", self.directions, flow * seen)
        weights = self.readout * rearrange(self.incidence, "au roi -> au roi 1")
        learned = torch.einsum("knh,btnh->btk", weights, self.act(self.hidden(tokens)) * seen)
        return self.logits(self.bias + (softplus(self.gain) * along + learned) / among)


class Connectivity(nn.Module):
    r"""Weight of every edge between regions (target, source), following the active AUs.

    .. math:: C_t = s_t s_t^T \odot softplus(M), \qquad A_t = A_{anatomy} + \alpha B^T C_t B + \beta softplus(R)

    s = sigmoid(AU logits); M (symmetrised) starts at the training fold's AU co-occurrence; B = incidence with the
    strongest region of each AU at 1; alpha, beta > 0. ``fixed``: A = anatomy, 0 outside, and an edge of weight 0 is no
    edge. ``learned``: no AU term. With a learned term all pairs are allowed and strictly positive.
    """

    def __init__(self, kind: str, atlas: RoiAtlas, au_prior: np.ndarray | None):
        super().__init__()
        self.kind, (n_aus, n_rois) = kind, atlas.incidence.shape
        self.register_buffer("anatomy", torch.tensor(atlas.anatomy))
        self.edges = Probe("graph.edges")
        if kind != "fixed":
            self.residual, self.beta = nn.Parameter(torch.zeros(n_rois, n_rois)), nn.Parameter(torch.tensor(-2.5))
        if kind == "au":
            strongest = np.maximum(atlas.incidence.max(1, keepdims=True), 1e-6)
            self.register_buffer("share", torch.tensor(atlas.incidence / strongest))
            prior = np.eye(n_aus) * 0.9 + 0.1 if au_prior is None else np.asarray(au_prior, np.float64)
            if prior.shape != (n_aus, n_aus) or not (np.isfinite(prior) & (prior >= 0)).all():
                raise ShapeError(f"`au_prior` is {prior.shape}, expected ({n_aus}, {n_aus}) with finite values >= 0.")
            start = np.log(np.expm1(np.clip((prior + prior.T) / 2, 1e-2, 10.0)))  # the inverse of softplus
            self.affinity = nn.Parameter(torch.tensor(start, dtype=torch.float32))
            self.alpha = nn.Parameter(torch.tensor(0.54))  # softplus(0.54) = 1
            self.active, self.au_edges = nn.Sigmoid(), Probe("au.edges")

    def forward(self, au_logits: Tensor, given: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """AU logits "batch time au" -> edges "batch time roi roi" and AU edges "batch time au au" (or None)."""
        edges, au_edges = self.anatomy, None
        if self.kind != "fixed":
            edges = edges + softplus(self.beta) * softplus(self.residual)
        if self.kind == "au":
            active = self.active(au_logits)
            affinity = softplus((self.affinity + rearrange(self.affinity, "k l -> l k")) / 2)
            au_edges = self.au_edges(torch.einsum("btk,btl->btkl", active, active) * affinity)
            moved = torch.einsum("btkl,lm->btkm", au_edges, self.share)
            edges = edges + softplus(self.alpha) * torch.einsum("kn,btkm->btnm", self.share, moved)
        else:
            edges = edges.expand(*au_logits.shape[:2], *edges.shape)
        return self.edges(edges if given is None else given), au_edges


class EdgeFeatures(nn.Module):
    """What E-GAT knows of a pair of regions: source seen from target (right, down; IOD), neighbours, mirror partners,
    the same region, and co-motion: the cosine of their mean motions, fading to 0 below about 0.1.
    """  # noqa: D205

    def __init__(self, atlas: RoiAtlas):
        super().__init__()
        centres = atlas.mean_centres
        same, mirror = np.eye(len(centres)), np.eye(len(centres))[atlas.mirror]
        neighbour, mirror = atlas.anatomy * (1 - mirror) * (1 - same), mirror * (1 - same)
        relation = np.stack((neighbour, mirror, same), axis=-1)
        static = np.concatenate((centres[None] - centres[:, None], relation), axis=-1)
        self.register_buffer("static", torch.tensor(static, dtype=torch.float32))

    def forward(self, flow: Tensor) -> Tensor:
        """Mean flow "batch time roi 2" -> "batch time roi roi feature"."""
        unit = flow * (flow.square().sum(-1, keepdim=True) + 0.01).rsqrt()
        together = rearrange(torch.einsum("btic,btjc->btij", unit, unit), "b t i j -> b t i j 1")
        return torch.cat((self.static.expand(*together.shape[:2], *self.static.shape), together), dim=-1)


# ── 3. the two branches ──────────────────────────────────────────────────────────────────────────────────────────────


class GraphLayer(nn.Module):
    """Regions of one frame exchange what they know: x + gate * SiLU(E-GAT(LayerNorm(x)))."""

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        width, edge_dim = config.width, EDGE_FEATURES if config.graph == "egat" else None
        self.norm, self.act, self.drop = nn.LayerNorm(width), nn.SiLU(), nn.Dropout(config.dropout)
        self.egat = EGATDense(width, width // config.heads, config.heads, edge_dim, name=f"graph.{number}")
        self.gate, self.open = nn.Linear(width, width), nn.Sigmoid()

    def forward(
        self, x: Tensor, edges: Tensor, features: Tensor | None, mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """"batch time roi width" -> the same, and attention "batch time head target source"."""
        normed = self.norm(x)
        message, attention = self.egat(normed, edges, features, mask)
        return x + self.open(self.gate(normed)) * self.drop(self.act(message)), attention


class Attention(nn.Module):
    """Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762), written out so that probes see it."""

    def __init__(self, width: int, heads: int, name: str):
        super().__init__()
        self.heads, self.norm = heads, (width // heads) ** -0.5
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.out = nn.Linear(width, width), nn.Linear(width, width)
        self.weigh, self.attn = MaskedSoftmax(), Probe(name)

    def forward(self, target: Tensor, source: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """"batch target width", "batch source width", bool "batch source" -> the answer, and the attention."""
        query, key, value = (
            rearrange(part, "batch token (head width) -> batch head token width", head=self.heads)
            for part in (self.query(target), self.key(source), self.value(source))
        )
        scores = torch.einsum("bhic,bhjc->bhij", query, key) * self.norm
        attention = self.attn(self.weigh(scores, rearrange(valid, "batch source -> batch 1 1 source")))
        return self.out(rearrange(attention @ value, "b h i c -> b i (h c)")), attention


class FrameTokens(nn.Module):
    """One token a frame: each head pools the regions with its own learned attention."""

    def __init__(self, config: StagConfig):
        super().__init__()
        self.heads = config.heads
        self.norm, self.score = nn.LayerNorm(config.width), nn.Linear(config.width, config.heads, bias=False)
        self.value, self.weigh, self.pool = nn.Linear(config.width, config.width), MaskedSoftmax(), Probe("time.pool")

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """"batch time roi width" -> "batch time width"."""
        scores = rearrange(self.score(self.norm(tokens)), "batch time roi head -> batch time head roi")
        weights = self.pool(self.weigh(scores, rearrange(mask, "batch time roi -> batch time 1 roi")))
        value = rearrange(self.value(tokens), "batch time roi (head c) -> batch time head roi c", head=self.heads)
        return rearrange(torch.einsum("bthn,bthnc->bthc", weights, value), "b t h c -> b t (h c)")


class TimeLayer(nn.Module):
    """A transformer encoder block over frames, normalised first: attention, then two linear maps."""

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        width = config.width
        self.norm, self.attention = nn.LayerNorm(width), Attention(width, config.heads, f"time.{number}.attn")
        self.drop, self.drop_mlp = nn.Dropout(config.dropout), nn.Dropout(config.dropout)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width))

    def forward(self, x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
        """"batch time width" -> the same, and attention "batch head target source" (frame x frame)."""
        normed = self.norm(x)
        answer, attention = self.attention(normed, normed, frames)
        x = x + self.drop(answer)
        return x + self.drop_mlp(self.mlp(x)), attention


# ── 4. joining them ──────────────────────────────────────────────────────────────────────────────────────────────────


class CrossWay(nn.Module):
    """One direction of cross-attention with a gated residual: x + gate * attention(x, other)."""

    def __init__(self, config: StagConfig, name: str):
        super().__init__()
        width = config.width
        self.norm, self.norm_other, self.drop = nn.LayerNorm(width), nn.LayerNorm(width), nn.Dropout(config.dropout)
        self.attention, self.gate, self.open = Attention(width, config.heads, name), nn.Linear(width, width), nn.Sigmoid()

    def forward(self, x: Tensor, other: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """"batch target width", "batch source width", bool "batch source" -> the same as x, and the attention."""
        normed = self.norm(x)
        answer, attention = self.attention(normed, self.norm_other(other), valid)
        return x + self.open(self.gate(normed)) * self.drop(answer), attention


class Head(nn.Module):
    """[regions, frames, AU evidence] -> gated fusion -> logits.

    A mean over regions would forget which one moved: each region has its own projection to a few numbers instead.
    """

    def __init__(self, config: StagConfig, n_classes: int, n_rois: int, n_aus: int, per_region: int = 6):
        super().__init__()
        width, self.branches = config.width, config.branches
        parts = 3 if config.branches == "both" else 2
        if config.branches != "time":
            self.norm_regions = nn.LayerNorm(width)
            self.region = nn.Parameter(torch.randn(n_rois, width, per_region) * width**-0.5)
            self.regions = nn.Linear(n_rois * per_region, width)
        if config.branches != "graph":
            self.frames = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))
        self.active, self.aus = nn.Sigmoid(), nn.Linear(n_aus, width)
        self.pooled, self.gate, self.open = Probe("pooled"), nn.Linear(parts * width, parts), nn.Sigmoid()
        self.act, self.drop, self.classify = nn.SiLU(), nn.Dropout(config.dropout), nn.Linear(width, n_classes)
        self.logits = Probe("logits")

    def forward(
        self, regions: Tensor | None, present: Tensor, frames: Tensor | None, frame_mask: Tensor, aus: Tensor
    ) -> Tensor:
        """Regions "batch roi width", frames "batch time width", AU logits "batch au" -> "batch cls"."""
        parts = [self.aus(self.active(aus))]
        if regions is not None:
            each = torch.einsum("bnd,nde->bne", self.norm_regions(regions), self.region)
            each = each * rearrange(present, "batch roi -> batch roi 1")
            parts.append(self.regions(rearrange(each, "batch roi e -> batch (roi e)")))
        if frames is not None:
            parts.append(self.frames(mean_over(frames, rearrange(frame_mask, "batch time -> batch time 1"), 1)))
        pooled = self.pooled(torch.stack(parts, dim=1))
        share = self.open(self.gate(rearrange(pooled, "batch part width -> batch (part width)")))
        fused = torch.einsum("bp,bpd->bd", share, pooled)
        return self.logits(self.classify(self.drop(self.act(fused))))


# ── 5. the whole ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Stag(nn.Module):
    """The STAG network (arXiv:2606.28083, in stagkit's reading; see the head of this file).

    Args:
        config: widths, depths and the switches of the ablation table. ``graph='gat'`` is plain GATv2 on the anatomical
            graph: no edge features and no edge weights, whatever ``connectivity`` says. ``branches='time'`` has no
            graph, ``branches='graph'`` no transformer, and neither has cross-attention.
        n_classes: >= 2.
        atlas: the regions; the order of the axis ``roi``.
        patch: side of a patch, samples.
        au_prior: float "au au", >= 0, from which the affinity of AUs starts: the smoothed co-occurrence P(b|a) of the
            *training* clips (``losses.compute_au_prior``). None: each AU with itself, all pairs a little.
        scale: float "chan", > 0, by which motion (u, v, strain) is divided first: the RMS of the *training* clips.
            None: 1. Kept with the weights.

    Raises:
        ShapeError: inputs whose axes do not agree with each other, the atlas or the patch.

    Example:
        >>> model = Stag(StagConfig(width=16), n_classes=3).eval()
        >>> output = model(torch.zeros(2, 4, 22, 3, 5, 5), torch.ones(2, 4, 22, dtype=torch.bool), torch.zeros(2, 4))
        >>> output.logits.shape, output.edges.shape
        (torch.Size([2, 3]), torch.Size([2, 4, 22, 22]))
    """

    def __init__(
        self,
        config: StagConfig,
        n_classes: int,
        atlas: RoiAtlas = ATLAS,
        patch: int = 5,
        au_prior: np.ndarray | None = None,
        scale: np.ndarray | None = None,
    ):
        super().__init__()
        n_rois, n_aus = len(atlas.names), len(AU_NUMBERS)
        self.config, self.n_classes, self.patch, self.n_rois = config, n_classes, patch, n_rois
        self.register_buffer("scale", torch.ones(3) if scale is None else torch.tensor(scale, dtype=torch.float32))
        self.tokens = RegionTokens(config, n_rois, patch)
        self.aus = AUEvidence(config, atlas)
        self.time_weights = TemporalAttention(config) if config.temporal_attention else None
        has_graph, has_time = config.branches != "time" and config.graph != "none", config.branches != "graph"
        kind = "fixed" if config.graph == "gat" else config.connectivity
        self.connectivity = Connectivity(kind, atlas, au_prior) if has_graph else None
        self.edge_features = EdgeFeatures(atlas) if has_graph and config.graph == "egat" else None
        self.graph = nn.ModuleList(GraphLayer(config, i) for i in range(config.graph_layers if has_graph else 0))
        self.frame_tokens = FrameTokens(config) if has_time else None
        self.time = nn.ModuleList(TimeLayer(config, i) for i in range(config.time_layers if has_time else 0))
        ways = {"both": ("roi_from_frame", "frame_from_roi"), "one-way": ("roi_from_frame",), "none": ()}
        ways = ways[config.cross_attention] if config.branches == "both" else ()
        self.cross = nn.ModuleList(
            nn.ModuleDict({way: CrossWay(config, f"cross.{i}.{way}") for way in ways})
            for i in range(config.cross_layers if ways else 0)
        )
        self.head = Head(config, n_classes, n_rois, n_aus)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> StagOutput:
        """The whole answer.

        Args:
            x: float32 "batch time roi chan py px", chan = (u right, v down, strain), % of IOD; what lies under the mask
                is not read.
            mask: bool "batch time roi", True where there is something to see.
            times_ms: float32 "batch time", ms from the onset frame.
            edges: float "batch time roi roi", >= 0, used instead of the network's own edge weights: the input of
                edge attribution (only the ratios within a row matter, so zero edges are no baseline; anatomy is).

        Returns:
            ``StagOutput``; what it holds at padded frames has no meaning.
        """
        sizes = {"roi": self.n_rois, "py": self.patch, "px": self.patch}
        seen, when = (mask, "batch time roi"), (times_ms, "batch time")
        check_axes(sizes, x=(x, "batch time roi 3 py px"), mask=seen, times_ms=when, edges=(edges, "batch time roi roi"))
        if mask.dtype != torch.bool:
            raise ShapeError(f"`mask` is {mask.dtype}, expected bool: True where there is something to see.")
        frame_mask, present, attention = mask.any(2), mask.any(1), {}
        x = x.masked_fill(rearrange(~mask, "batch time roi -> batch time roi 1 1 1"), 0.0)
        x = x / rearrange(self.scale, "chan -> chan 1 1")
        flow = x.mean((4, 5))[..., :2]

        tokens = self.tokens(x, mask, times_ms.masked_fill(~frame_mask, 0.0))
        au_logits = self.aus(tokens, flow, mask)
        weights = au_edges = regions = frames = None
        if self.time_weights is not None:
            weights = self.time_weights(tokens, mask)
            strength = weights * frame_mask.sum(1, keepdim=True)
            tokens = tokens * rearrange(strength, "batch time -> batch time 1 1")
        if self.config.branches != "time":
            states = tokens
            if self.connectivity is not None:
                edges, au_edges = self.connectivity(au_logits, edges)
            features = self.edge_features(flow) if self.edge_features is not None else None
            for i, layer in enumerate(self.graph):
                states, attention[f"graph.{i}"] = layer(states, edges, features, mask)
            regions = mean_over(states, rearrange(mask, "batch time roi -> batch time roi 1"), 1)
        if self.frame_tokens is not None:
            frames = self.frame_tokens(tokens, mask)
            for i, layer in enumerate(self.time):
                frames, attention[f"time.{i}"] = layer(frames, frame_mask)
        for i, ways in enumerate(self.cross):
            before = {"roi_from_frame": (regions, frames, frame_mask), "frame_from_roi": (frames, regions, present)}
            after = {way: layer(*before[way]) for way, layer in ways.items()}
            attention.update({f"cross.{i}.{way}": answer[1] for way, answer in after.items()})
            regions, frames = after["roi_from_frame"][0], after.get("frame_from_roi", (frames,))[0]
        logits = self.head(regions, present, frames, frame_mask, compute_clip_aus(au_logits, frame_mask))
        shown = edges if self.connectivity is not None else None
        return StagOutput(logits, au_logits, shown, au_edges, weights, attention)

    def logits(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> Tensor:
        """"batch cls": what Captum is given. Arguments as in ``forward``."""
        return self.forward(x, mask, times_ms, edges).logits
