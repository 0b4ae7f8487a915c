"""STAG's graphs for PyTorch Geometric and networkx, and PyG's explainers on STAG's regions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.methods import frozen

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data
    from torch_geometric.explain import Explainer, Explanation

    from stagkit.network.model import Stag


def make_sparse(
    edges: Tensor, edge_attr: Tensor | None = None, valid: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor | None]:
    """One dense graph as PyG wants it.

    Args:
        edges: "target source", 0 = no edge.
        edge_attr: "target source feature" or None.
        valid: bool "roi" or None; edges out of invalid sources are left out.

    Returns:
        edge_index int "2 edge" with rows (source, target), edge_weight "edge", edge_attr "edge feature" or None.
    """
    present = edges > 0
    if valid is not None:
        present = present & valid[None]
    target, source = present.nonzero(as_tuple=True)
    attr = None if edge_attr is None else edge_attr[target, source]
    return torch.stack((source, target)), edges[target, source], attr


def _edges(output: StagOutput, clip: int, frame: int | None, of: str) -> Tensor:
    edges = {"region": output.edges, "au": output.au_edges}.get(of)
    if edges is None:
        raise ExplainError(f"this network has no {of} edges; `of` is 'region' or 'au'.")
    return (edges[clip].mean(0) if frame is None else edges[clip, frame]).detach().cpu()


def to_pyg(output: StagOutput, clip: int = 0, frame: int | None = None, of: str = "region") -> Data:
    """One graph (``of``: ``region`` or ``au``) of a clip and frame as ``Data``; the mean over frames if ``frame`` is None.

    Returns:
        ``Data`` with ``edge_index`` int "2 edge" (rows source, target), ``edge_weight``, ``num_nodes`` and ``names``; for
        AUs also ``x`` "au 1", the mean activation.

    Raises:
        ExplainError: a network without that graph.
    """
    from torch_geometric.data import Data

    edges = _edges(output, clip, frame, of)
    index, weight, _ = make_sparse(edges)
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
    import networkx

    edges = _edges(output, clip, frame, of).numpy()
    names = ATLAS.names if of == "region" else AU_LABELS
    graph = networkx.DiGraph()
    graph.add_nodes_from(names)
    for target, source in np.argwhere(edges > least):
        graph.add_edge(names[source], names[target], weight=float(edges[target, source]))
    return graph


class RegionGraph(nn.Module):
    """A clip for PyG's explainers: nodes are regions, their features the region's whole motion in the clip.

    Args:
        model: the network, in evaluation mode.
        batch: clips; ``clip``: which.

    Shape:
        x "roi feature" (``self.x``, feature = time chan py px), edge_index as ``self.edge_index`` (the anatomy; PyG needs
        one, the network makes its own edges). Returns logits "1 cls".
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
        """Node features to logits."""
        motion = x.unflatten(1, self.shape).transpose(0, 1)[None]
        return self.model.logits(motion, self.one.mask, self.one.times_ms)


def explain_with_pyg(
    model: Stag, batch: Batch, clip: int = 0, algorithm=None, seed: int = 0
) -> tuple[Explainer, Explanation]:
    """Explain the predicted class of one clip with an explainer of PyG: one mask value per region, 0..1.

    Args:
        algorithm: e.g. ``GNNExplainer(epochs=100)`` (Ying et al. 2019, arXiv:1903.03894), which is the default.

    Returns:
        The explainer and the explanation (``node_mask`` "roi 1"; not in logits, not complete), as
        ``torch_geometric.explain.fidelity`` and ``unfaithfulness`` take them.
    """
    from torch_geometric.explain import Explainer, GNNExplainer
    from torch_geometric.explain.config import ModelConfig

    graph = RegionGraph(model, batch, clip)
    config = ModelConfig(mode="multiclass_classification", task_level="graph", return_type="raw")
    explainer = Explainer(
        graph,
        algorithm or GNNExplainer(epochs=100),
        explanation_type="model",
        model_config=config,
        node_mask_type="object",
    )
    with torch.random.fork_rng(devices=[]), frozen(model):
        torch.manual_seed(seed)
        return explainer, explainer(graph.x, graph.edge_index)
