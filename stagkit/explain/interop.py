"""STAG for PyTorch Geometric (PyG) and networkx: E-GAT as a sparse layer, graphs as data, PyG's explainers."""

from __future__ import annotations

import networkx
import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, Explanation, GNNExplainer
from torch_geometric.nn import MessagePassing
from torch_geometric.utils import softmax

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.methods import frozen
from stagkit.network.attention import EDGE_FLOOR, EGATDense
from stagkit.network.model import Stag


class EGATConv(MessagePassing):
    """``EGATDense`` over a list of edges: the same equation and the same parameters as ``layer``; no self-loops are added.

    Shape:
        x "roi in"; edge_index int "2 edge", rows (source, target); edge_weight "edge", >= 0.
        Returns "roi heads*out_channels"; with ``return_attention`` also "edge head", summing to 1 over a target's edges.
    """

    def __init__(self, layer: EGATDense):
        super().__init__(aggr="add", node_dim=0)
        self.heads = layer.heads
        self.lin_l, self.lin_r = layer.lin_l, layer.lin_r
        self.att, self.bias, self.leaky = layer.att, layer.bias, layer.leaky
        self.train(layer.training)

    def forward(self, x, edge_index, edge_weight=None, return_attention=False):
        """Node features and edges to node features."""
        source = rearrange(self.lin_l(x), "roi (head c) -> roi head c", head=self.heads)
        target = rearrange(self.lin_r(x), "roi (head c) -> roi head c", head=self.heads)
        pair = target[edge_index[1]] + source[edge_index[0]]
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


def make_sparse(edges: Tensor, valid: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """One dense graph as PyG wants it.

    Args:
        edges: "target source", 0 = no edge.
        valid: bool "roi" or None; edges out of invalid sources are left out.

    Returns:
        edge_index int "2 edge" with rows (source, target), edge_weight "edge".
    """
    present = edges > 0 if valid is None else (edges > 0) & valid[None]
    target, source = present.nonzero(as_tuple=True)
    return torch.stack((source, target)), edges[target, source]


def _edges(output: StagOutput, clip: int, frame: int | None, of: str) -> Tensor:
    edges = {"region": output.edges, "au": output.au_edges}.get(of)
    if edges is None:
        raise ExplainError(f"this network has no {of} edges; `of` is 'region' or 'au'.")
    return (edges[clip].mean(0) if frame is None else edges[clip, frame]).detach().cpu()


def to_pyg(output: StagOutput, clip: int = 0, frame: int | None = None, of: str = "region") -> Data:
    """One graph (``of``: ``region`` or ``au``) of a clip and frame as ``Data``; the mean over frames if ``frame`` is None.

    Besides ``edge_index`` (rows source, target) it has ``edge_weight``, ``names`` and for AUs ``x`` "au 1", the activation.
    """
    edges = _edges(output, clip, frame, of)
    index, weight = make_sparse(edges)
    graph = Data(edge_index=index, edge_weight=weight, num_nodes=len(edges))
    graph.names = list(ATLAS.names if of == "region" else AU_LABELS)
    if of == "au":
        evidence = output.au_logits[clip].detach().sigmoid()
        graph.x = (evidence.mean(0) if frame is None else evidence[frame])[:, None]
    return graph


def to_networkx(
    output: StagOutput, clip: int = 0, frame: int | None = None, of: str = "region", least: float = 0.0
) -> networkx.DiGraph:
    """As ``to_pyg``, a networkx graph: nodes are names, an edge source -> target has ``weight`` above ``least``."""
    edges = _edges(output, clip, frame, of).numpy()
    names = ATLAS.names if of == "region" else AU_LABELS
    graph = networkx.from_numpy_array(np.where(edges > least, edges, 0).T, create_using=networkx.DiGraph)
    return networkx.relabel_nodes(graph, dict(enumerate(names)))


class RegionGraph(nn.Module):
    """A clip for PyG's explainers: nodes are regions, their features the region's whole motion in the clip.

    ``x`` is "roi feature" (time chan py px), ``edge_index`` the anatomy: PyG needs one, the network makes its own edges.
    """

    def __init__(self, model: Stag, batch: Batch, clip: int = 0):
        super().__init__()
        one = batch.select(torch.tensor([clip]))
        self.model, self.one = model, one
        self.shape = one.x.shape[1:2] + one.x.shape[3:]
        motion = one.x * one.mask[..., None, None, None]
        self.x = motion[0].transpose(0, 1).flatten(1)
        self.edge_index = make_sparse(torch.from_numpy(ATLAS.anatomy))[0]
        self.eval()  # PyG restores the mode that it finds here

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Node features to logits, "1 cls"."""
        motion = x.unflatten(1, self.shape).transpose(0, 1)[None]
        return self.model.logits(motion, self.one.mask, self.one.times_ms)


def explain_with_pyg(
    model: Stag, batch: Batch, clip: int = 0, algorithm=None, seed: int = 0
) -> tuple[Explainer, Explanation]:
    """Explain the predicted class of one clip with an explainer of PyG: one mask value per region, 0..1.

    Args:
        algorithm: e.g. ``GNNExplainer(epochs=100)`` (Ying et al. 2019, arXiv:1903.03894), which is the default.

    Returns:
        The explainer and the explanation (``node_mask`` "roi 1"; not in logits), as ``torch_geometric.explain.fidelity``
        and ``unfaithfulness`` take them.
    """
    graph = RegionGraph(model, batch, clip)
    config = {"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"}
    algorithm = algorithm or GNNExplainer(epochs=100)
    explainer = Explainer(graph, algorithm, "model", config, node_mask_type="object")
    with torch.random.fork_rng(devices=[]), frozen(model):
        torch.manual_seed(seed)
        return explainer, explainer(graph.x, graph.edge_index)
