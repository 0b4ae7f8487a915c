"""Attention between tokens (``CrossAttention``) and between regions joined by edges (``EGATDense``)."""

from __future__ import annotations

import torch
from einops import pack, rearrange, unpack
from torch import Tensor, nn

from stagkit.network.hooks import HookPoint

#: Smallest edge weight whose logarithm is taken; an edge of weight 0 is no edge and gets no attention at all.
EDGE_FLOOR = 1e-9


class MaskedSoftmax(nn.Module):
    """Softmax over the last axis among what is allowed; exactly 0 elsewhere, all 0 where nothing is allowed."""

    def __init__(self):
        super().__init__()
        self.softmax = nn.Softmax(dim=-1)

    def forward(self, scores: Tensor, allowed: Tensor) -> Tensor:
        """``scores`` float and ``allowed`` bool, broadcastable: weights of the shape of ``scores``."""
        forbidden = ~allowed
        weights = self.softmax(scores.masked_fill(forbidden, torch.finfo(scores.dtype).min))
        return weights.masked_fill(forbidden, 0.0)


class Gate(nn.Linear):
    """Share of a message that passes, sigmoid(Wx + b): 12 % at first (W = 0, b = -2).

    As in ReZero (Bachlechner et al. 2021, arXiv:2003.04887) and LayerScale (Touvron et al. 2021, arXiv:2103.17239).
    """

    def reset_parameters(self) -> None:
        """Nearly closed."""
        nn.init.zeros_(self.weight)
        nn.init.constant_(self.bias, -2.0)


class CrossAttention(nn.Module):
    """Tokens x attend to tokens y: x + gate * attention(LayerNorm(x), LayerNorm(y)).

    Scaled dot-product attention (Vaswani et al. 2017, arXiv:1706.03762), written out so that hooks and Captum see it.
    """

    def __init__(self, width: int, heads: int, dropout: float, name: str):
        super().__init__()
        self.heads = heads
        self.norm_x, self.norm_y = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query, self.key = nn.Linear(width, width), nn.Linear(width, width, bias=False)
        self.value, self.out, self.gate = nn.Linear(width, width), nn.Linear(width, width), Gate(width, width)
        self.softmax, self.attn, self.gate_act = MaskedSoftmax(), HookPoint(name), nn.Sigmoid()
        self.drop = nn.Dropout(dropout)

    def forward(self, x: Tensor, y: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """x "batch target width", y "batch source width", valid bool "batch source" -> like x, and the attention."""
        normed_x, normed_y = self.norm_x(x), self.norm_y(y)
        query, key, value = (
            rearrange(part, "batch token (head c) -> batch head token c", head=self.heads)
            for part in (self.query(normed_x), self.key(normed_y), self.value(normed_y))
        )
        scores = torch.einsum("bhic,bhjc->bhij", query, key) * query.shape[-1] ** -0.5
        attention = self.attn(self.softmax(scores, rearrange(valid, "batch source -> batch 1 1 source")))
        message = self.out(rearrange(attention @ value, "batch head target c -> batch target (head c)"))
        return x + self.gate_act(self.gate(normed_x)) * self.drop(message), attention


class EGATDense(nn.Module):
    r"""Graph attention with weighted edges, over all pairs of nodes at once.

    .. math:: e_{ij} = a^T LeakyReLU(W_r x_i + W_l x_j) + \log A_{ij}, \qquad
        y_i = \sum_j softmax_j(e_{ij}) \, W_l x_j + b

    with target i, source j and edge weights A, for each head; self-loops are those of A. GATv2 (Brody, Alon and Yahav,
    ICLR 2022, arXiv:2105.14491) plus the edge weights as an additive bias (stagkit's choice), with the parameter names of
    PyG's GATv2Conv.

    Args:
        in_channels: width of the node features; ``out_channels``: of one head (heads are concatenated).
        name: prefix of the hook points ``<name>.scores``, ``<name>.attn`` and ``<name>.out``.

    Shape:
        x "... roi in"; edges "... target source", >= 0, 0 = no edge (None: all pairs, no bias); valid bool "... roi",
        False = a source that nobody may attend to (None: all). Returns (out "... roi heads*out_channels", attention
        "... head target source"). Rows of the attention sum to 1; a target without any valid source has a row of zeros
        and gets ``bias`` alone.

    Example:
        >>> out, attention = EGATDense(8, 4, heads=2)(torch.randn(5, 3, 8))
        >>> out.shape, attention.shape
        (torch.Size([5, 3, 8]), torch.Size([5, 2, 3, 3]))
    """

    def __init__(self, in_channels: int, out_channels: int, heads: int = 1, name: str = "graph"):
        super().__init__()
        self.heads, self.width = heads, heads * out_channels
        self.lin_l, self.lin_r = nn.Linear(in_channels, self.width), nn.Linear(in_channels, self.width)
        self.att = nn.Parameter(torch.empty(1, heads, out_channels))
        self.bias = nn.Parameter(torch.zeros(self.width))
        nn.init.xavier_uniform_(self.att)
        for linear in (self.lin_l, self.lin_r):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.leaky, self.softmax = nn.LeakyReLU(0.2), MaskedSoftmax()
        self.scores, self.attn, self.out = (HookPoint(f"{name}.{part}") for part in ("scores", "attn", "out"))

    def forward(self, x: Tensor, edges: Tensor | None = None, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Node features to (node features, attention)."""
        flat, lead = pack([x], "* roi width")
        source, target = self.lin_l(flat), self.lin_r(flat)
        # channels before pairs: small matrix products, one per graph, instead of a long, thin one (a third faster)
        pair = rearrange(target, "p i d -> p d i 1") + rearrange(source, "p j d -> p d 1 j")
        pair = self.leaky(rearrange(pair, "p d i j -> p d (i j)"))
        # a per head as one matrix: row h holds a_h at the channels of head h and 0 elsewhere
        eye = torch.eye(self.heads, dtype=self.att.dtype, device=self.att.device)
        per_head = rearrange(torch.einsum("ahc,gh->aghc", self.att, eye), "a g h c -> a g (h c)")
        scores = torch.bmm(per_head.expand(len(flat), *per_head.shape[1:]), pair)
        scores = unpack(rearrange(scores, "p h (i j) -> p h i j", i=x.shape[-2]), lead, "* h i j")[0]
        allowed = torch.ones(1, dtype=torch.bool, device=x.device)
        if valid is not None:
            allowed = rearrange(valid, "... j -> ... 1 1 j")
        if edges is not None:
            scores = scores + rearrange(edges.clamp_min(EDGE_FLOOR).log(), "... i j -> ... 1 i j")
            allowed = allowed & rearrange(edges > 0, "... i j -> ... 1 i j")
        attention = self.attn(self.softmax(self.scores(scores), allowed))
        value = unpack(rearrange(source, "p j (h c) -> p h j c", h=self.heads), lead, "* h j c")[0]
        out = rearrange(attention @ value, "... h i c -> ... i (h c)") + self.bias
        return self.out(out), attention
