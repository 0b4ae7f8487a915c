"""STAG, the whole network in one file, read top to bottom (attention: ``attention``, action units: ``action_units``).

Motion patches of facial regions become tokens, a transformer reads the frames in time, and cross-attention joins the two;
graph attention between regions, with a subgraph for each action unit (AU), activates the AUs; the AU graph, AUs that are
active together, in order or on one side, predicts the class as a sum of terms. Axis words as in ``types``.

The abstract of STAG (Sharma, Sharma and Singh 2026, arXiv:2606.28083) names the parts: optical flow of discriminative
frames, temporal attention, E-GAT over facial regions, AU-guided dynamic connectivity, a transformer encoder,
bidirectional cross-attention, focal loss. Every formula and size below is stagkit's choice.
"""

from __future__ import annotations

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from stagkit.core.config import StagConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.regions import ATLAS, RoiAtlas
from stagkit.core.types import GraphTerms, ShapeError, StagOutput, check_axes
from stagkit.network.action_units import AUTokens, GraphHead, Imputation, RegionGraph, compute_clip_aus
from stagkit.network.attention import CrossAttention, EGATDense, Gate, MaskedSoftmax
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

    def measure(self, x: Tensor) -> Tensor:
        """Patches "batch time roi chan py px" -> their mean and slopes, "batch time roi chan pattern"."""
        return torch.einsum("btrcyx,kyx->btrck", x, self.patterns)

    def forward(self, motion: Tensor, visible: Tensor, times_ms: Tensor) -> Tensor:
        """Motion "batch time roi chan pattern" -> tokens "batch time roi width"."""
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


class GraphLayer(nn.Module):
    """Regions exchange information with ``head='fused'``: x + gate * Linear(SiLU(GAT(LayerNorm(x)))).

    Weights of the edges (``graph='egat'``): the anatomy, plus each AU's region attention times the AU's activation.
    """

    def __init__(self, config: StagConfig, number: int):
        super().__init__()
        width = config.width
        self.norm, self.act = nn.LayerNorm(width), nn.SiLU()
        self.drop = nn.Dropout(config.dropout)
        # attention over all pairs is the costly part: it has half the width, and a linear map restores it
        self.egat = EGATDense(width, max(width // config.heads // 2, 1), config.heads, f"graph.{number}")
        self.out_proj, self.gate = nn.Linear(self.egat.width, width), Gate(width, width)
        self.gate_act = nn.Sigmoid()

    def forward(self, x: Tensor, edges: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens "batch time roi width" -> the same, and attention "batch time head target source"."""
        normed = self.norm(x)
        message, attention = self.egat(normed, edges, mask)
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
        config: widths, depths and switches. ``branches='time'`` has no graph between regions, ``branches='graph'`` no
            transformer, and neither has cross-attention. With ``head='graph'`` the AU graph alone predicts
            (``action_units``), and ``graph_layers`` means nothing. ``graph='none'`` leaves no edge between regions.
        n_classes: >= 2.
        atlas: the regions; the order of the axis ``roi``.
        patch: side of a patch, samples.
        scale: float "chan", > 0, by which motion is divided: the RMS of the *training* clips. None: 1.

    Example:
        >>> model = Stag(StagConfig(width=16), n_classes=3).eval()
        >>> output = model(torch.zeros(2, 4, 22, 3, 5, 5), torch.ones(2, 4, 22, dtype=torch.bool), torch.zeros(2, 4))
        >>> output.logits.shape, output.edges.shape
        (torch.Size([2, 3]), torch.Size([2, 4, 22, 22]))
    """

    def __init__(self, config: StagConfig, n_classes: int, atlas: RoiAtlas = ATLAS, patch: int = 5, scale=None):
        super().__init__()
        self.config, self.n_classes, self.patch, self.n_rois = config, n_classes, patch, len(atlas.names)
        self.register_buffer("scale", torch.as_tensor(np.ones(3) if scale is None else scale, dtype=torch.float32))
        self.register_buffer("anatomy", torch.tensor(atlas.anatomy))
        has_graph, has_time = config.branches != "time" and config.graph != "none", config.branches != "graph"
        self.tokens, by_graph, n_aus = RegionTokens(config, self.n_rois, patch), config.head == "graph", len(AU_NUMBERS)
        self.imputation = Imputation(atlas) if has_graph else None
        self.time_weights = TemporalAttention(config) if config.temporal_attention else None
        self.frame_tokens = FrameTokens(config) if has_time else None
        n_layers = config.graph_layers if has_graph and not by_graph else 0
        self.graph = nn.ModuleList(GraphLayer(config, i) for i in range(n_layers))
        self.time = nn.ModuleList(TimeLayer(config, i) for i in range(config.time_layers * has_time))
        ways = {"both": ("roi_from_frame", "frame_from_roi"), "one-way": ("roi_from_frame",), "none": ()}
        ways = ways[config.cross_attention] if config.branches == "both" else ()
        of, layers = (config.width, config.heads, config.dropout), range(config.cross_layers if ways else 0)
        self.cross = nn.ModuleList(
            nn.ModuleDict({way: CrossAttention(*of, f"cross.{i}.{way}") for way in ways}) for i in layers
        )
        self.au_tokens = AUTokens(config) if by_graph else None
        self.region_graph = RegionGraph(config, atlas, exchange=has_graph)
        self.head = GraphHead(n_classes, n_aus) if by_graph else Head(config, n_classes, self.n_rois, n_aus)

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> StagOutput:
        """All outputs.

        Args:
            x: float32 "batch time roi chan py px", chan = (u right, v down, strain), % of IOD; not read under the mask.
            mask: bool "batch time roi", True where the region is visible.
            times_ms: float32 "batch time", ms from the onset frame.
            edges: weights of the region edges, float "batch time edge" (``RegionGraph.index``): 1 = as it is, 0 = removed;
                the input of edge attribution. None: all 1.

        Returns:
            ``StagOutput``; its values at padded frames have no meaning.
        """
        self._check(x, mask, times_ms, edges)
        x = x.masked_fill(rearrange(~mask, "batch time roi -> batch time roi 1 1 1"), 0.0)
        motion = self.tokens.measure(x / rearrange(self.scale, "chan -> chan 1 1"))
        imputed = torch.zeros_like(mask)
        if self.imputation is not None:
            motion, imputed = self.imputation(motion, mask)
        known, flow = mask | imputed, motion[..., :2, 0]
        visible, frame_mask = rearrange(known, "batch time roi -> batch time roi 1").to(x.dtype), mask.any(2)
        tokens = self.tokens(motion, visible, times_ms.masked_fill(~frame_mask, 0.0))
        tokens, weights = self._weight_frames(tokens, visible, frame_mask)
        frames, attention = self._relate_frames(tokens, known, frame_mask)
        relate = self._classify_by_graph if self.au_tokens is not None else self._classify_fused
        return relate(tokens, weights, frames, attention, (flow, known, imputed, edges))

    def logits(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None = None) -> Tensor:
        """Logits "batch cls" alone, for Captum. Arguments as in ``forward``."""
        return self.forward(x, mask, times_ms, edges).logits

    def _check(self, x: Tensor, mask: Tensor, times_ms: Tensor, edges: Tensor | None) -> None:
        sizes = {"roi": self.n_rois, "py": self.patch, "px": self.patch, "edge": len(self.region_graph.index)}
        check_axes(sizes, x=(x, "batch time roi 3 py px"), mask=(mask, "batch time roi"))
        check_axes(sizes, times_ms=(times_ms, "batch time"), edges=(edges, "batch time edge"))
        if mask.dtype != torch.bool:
            raise ShapeError(f"`mask` is {mask.dtype}, expected bool: True where the region is visible.")

    def _weight_frames(self, tokens: Tensor, visible: Tensor, frame_mask: Tensor) -> tuple[Tensor, Tensor | None]:
        """Tokens times the attention of their frame, which is 1 on average, whatever the number of frames."""
        if self.time_weights is None:
            return tokens, None
        weights = self.time_weights(tokens, visible, frame_mask)
        strength = weights * frame_mask.sum(1, keepdim=True)
        return tokens * rearrange(strength, "batch time -> batch time 1 1"), weights

    def _relate_frames(self, tokens: Tensor, known: Tensor, frame_mask: Tensor) -> tuple[Tensor | None, dict]:
        frames, attention = self.frame_tokens(tokens, known) if self.frame_tokens is not None else None, {}
        for i, layer in enumerate(self.time):
            frames, attention[f"time.{i}"] = layer(frames, frame_mask)
        return frames, attention

    def _cross(self, states: Tensor, frames: Tensor | None, known: Tensor) -> tuple:
        """Regions (their mean over time) query frames and, at the same time, frames query regions."""
        frame_mask, present = known.any(2), known.any(1)
        visible, attention = rearrange(known, "batch time roi -> batch time roi 1").to(states.dtype), {}
        regions = None if self.config.branches == "time" else mean_over(states, visible, 1)
        for i, layers in enumerate(self.cross):
            inputs = {"roi_from_frame": (regions, frames, frame_mask), "frame_from_roi": (frames, regions, present)}
            outputs = {way: layer(*inputs[way]) for way, layer in layers.items()}
            attention |= {f"cross.{i}.{way}": output[1] for way, output in outputs.items()}
            regions, frames = outputs["roi_from_frame"][0], outputs.get("frame_from_roi", (frames,))[0]
        return regions, frames, attention

    def _classify_by_graph(self, tokens: Tensor, weights, frames, attention: dict, about: tuple) -> StagOutput:
        """``head='graph'``: region states -> AUs by their edges -> AU graph -> logits, with all terms."""
        (_, known, imputed, _), graph = about, self.region_graph
        regions, frames, cross = self._cross(tokens, frames, known)
        states = self.au_tokens(tokens, regions, frames, rearrange(known, "batch time roi -> batch time roi 1"))
        aus, terms, edge_attention = graph(states, *about)
        frame_mask, valid = known.any(2), known.any(2).to(tokens.dtype)
        balance = terms @ (rearrange(graph.side, "edge -> edge 1") * graph.of_au)
        logits, nodes, pairs, pair_weights = self.head(aus, balance, valid)
        if self.training:
            more = (self.head.predict_partners(compute_clip_aus(aus, frame_mask)),)
        else:
            more = (None, *self.head.trace_edges(graph, aus, balance, terms, valid, pair_weights), terms, imputed)
        region_edges, au_edges = graph.weigh_regions(edge_attention, aus), self.head.relate(aus)
        kept = GraphTerms(pairs, nodes, *more)
        return StagOutput(logits, aus, region_edges, au_edges, weights, attention | cross, kept)

    def _classify_fused(self, tokens: Tensor, weights, frames, attention: dict, about: tuple) -> StagOutput:
        """``head='fused'``: AUs by their edges, which weigh the region graph; AUs, regions and frames -> logits."""
        _, known, _, _ = about
        frame_mask, graph_attention = known.any(2), {}
        aus, _, edge_attention = self.region_graph(tokens, *about)
        edges = self.region_graph.weigh_regions(edge_attention, aus)
        layer_edges = self.anatomy + (edges if self.config.graph == "egat" else torch.zeros_like(edges))
        for i, layer in enumerate(self.graph):
            tokens, graph_attention[f"graph.{i}"] = layer(tokens, layer_edges, known)
        regions, frames, cross = self._cross(tokens, frames, known)
        if frames is not None:
            frames = mean_over(frames, rearrange(frame_mask, "batch time -> batch time 1").to(frames.dtype), 1)
        present = rearrange(known.any(1), "batch roi -> batch roi 1")
        logits = self.head(compute_clip_aus(aus, frame_mask), regions, present, frames)
        return StagOutput(logits, aus, edges, None, weights, graph_attention | attention | cross)
