"""E-GAT as a PyTorch Geometric layer, for sparse graphs and PyG's explainers; importing PyG takes seconds."""

from __future__ import annotations

import torch
from einops import rearrange
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

from stagkit.network.attention import EDGE_FLOOR, EGATDense


class EGATConv(MessagePassing):
    """``EGATDense`` over a list of edges: the same equation, and the very parameters of ``layer``.

    Shape:
        x "roi in"; edge_index int "2 edge", rows (source, target) as everywhere in PyG; edge_attr "edge edge_dim";
        edge_weight "edge", >= 0. Returns out "roi heads*out_channels", and with ``return_attention`` also the
        attention "edge head", summing to 1 over the edges of a target. Self-loops are never added.
    """

    def __init__(self, layer: EGATDense):
        super().__init__(aggr="add", node_dim=0)
        self.heads = layer.heads
        self.lin_l, self.lin_r, self.lin_edge = layer.lin_l, layer.lin_r, layer.lin_edge
        self.att, self.bias, self.leaky = layer.att, layer.bias, layer.leaky
        self.train(layer.training)

    def forward(self, x, edge_index, edge_attr=None, edge_weight=None, return_attention=False):
        """Node features and edges to node features."""
        source = rearrange(self.lin_l(x), "roi (head c) -> roi head c", head=self.heads)
        target = rearrange(self.lin_r(x), "roi (head c) -> roi head c", head=self.heads)
        pair = target[edge_index[1]] + source[edge_index[0]]
        if self.lin_edge is not None:
            pair = pair + rearrange(self.lin_edge(edge_attr), "edge (head c) -> edge head c", head=self.heads)
        scores = (self.leaky(pair) * self.att).sum(-1)
        if edge_weight is not None:
            absent = rearrange(edge_weight <= 0, "edge -> edge 1")
            scores = scores + rearrange(edge_weight.clamp_min(EDGE_FLOOR).log(), "edge -> edge 1")
            scores = scores.masked_fill(absent, torch.finfo(scores.dtype).min)
        alpha = softmax(scores, edge_index[1], num_nodes=x.shape[0])
        if edge_weight is not None:
            alpha = alpha.masked_fill(absent, 0.0)
        out = self.propagate(edge_index, x=source, alpha=alpha)
        out = rearrange(out, "roi head c -> roi (head c)") + self.bias
        return (out, alpha) if return_attention else out

    def message(self, x_j, alpha):
        """What a source sends along an edge."""
        return rearrange(alpha, "edge head -> edge head 1") * x_j
