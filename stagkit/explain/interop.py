"""STAG's graphs in the hands of others: PyTorch Geometric and networkx; PyG's explainers on STAG's regions."""

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
from stagkit.network.attention import make_sparse

if TYPE_CHECKING:
    import networkx
    from torch_geometric.data import Data

    from stagkit.network.model import Stag


def _edges(output: StagOutput, clip: int, frame: int | None, of: str) -> Tensor:
    edges = {"region": output.edges, "au": output.au_edges}.get(of)
    if edges is None:
        raise ExplainError(f"this network has no {of} edges; `of` is 'region' or 'au'.")
    return edges[clip].mean(0) if frame is None else edges[clip, frame]


def to_pyg(output: StagOutput, clip: int = 0, frame: int | None = None, of: str = "region") -> Data:
    """One graph as PyTorch Geometric wants it.

    Args:
        output: what the network said.
        clip: which clip; ``frame``: which frame, the mean over frames where None.
        of: ``region`` or ``au``.

    Returns:
        ``Data`` with ``edge_index`` int "2 edge" (rows source, target), ``edge_weight``, ``num_nodes`` and ``names``; for
        AUs also ``x`` "au 1", the mean evidence.

    Raises:
        ExplainError: a network without that graph.
    """
    from torch_geometric.data import Data

    edges = _edges(output, clip, frame, of).detach()
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
    """One graph as networkx wants it: nodes are names, an edge source -> target has ``weight``.

    Args:
        output, clip, frame, of: as in ``to_pyg``.
        least: edges of this weight or less are left out.
    """
    import networkx

    edges = _edges(output, clip, frame, of).detach().cpu().numpy()
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
        x "roi feature" (``self.x``, feature = time chan py px), edge_index as ``self.edge_index`` (the anatomy; PyG wants
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
        self.eval()  # PyG puts the mode back to what it finds here

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        """Node features to logits."""
        motion = x.unflatten(1, self.shape).transpose(0, 1)[None]
        return self.model.logits(motion, self.one.mask, self.one.times_ms)


def make_explainer(graph: RegionGraph, algorithm, node_mask_type: str = "object"):
    """A ``torch_geometric.explain.Explainer`` of the predicted class.

    Args:
        algorithm: e.g. ``GNNExplainer(epochs=100)`` or ``CaptumExplainer("ShapleyValueSampling")``.
        node_mask_type: ``object`` (one value a region) or ``attributes``.
    """
    from torch_geometric.explain import Explainer
    from torch_geometric.explain.config import ModelConfig

    config = ModelConfig(mode="multiclass_classification", task_level="graph", return_type="raw")
    return Explainer(graph, algorithm, explanation_type="model", model_config=config, node_mask_type=node_mask_type)


def explain_with_gnn_explainer(
    model: Stag, batch: Batch, clip: int = 0, epochs: int = 100, seed: int = 0
) -> np.ndarray:
    """PyG's GNNExplainer (Ying et al. 2019, arXiv:1903.03894) on the regions of one clip: float "roi", 0..1, no sign.

    The mask that keeps the answer with as few regions as possible; not in logits and not complete.
    """
    from torch_geometric.explain import GNNExplainer

    with torch.random.fork_rng(devices=[]), frozen(model):
        torch.manual_seed(seed)
        graph = RegionGraph(model, batch, clip)
        explanation = make_explainer(graph, GNNExplainer(epochs=epochs))(graph.x, graph.edge_index)
    return explanation.node_mask[:, 0].detach().cpu().numpy().astype(float)


def compute_fidelity(model: Stag, batch: Batch, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Does the answer change without the regions of the mask (fidelity+), and with them alone (fidelity-)?

    Amara et al. 2022 (arXiv:2206.09677), of the model's own answer. Soft masks scale the motion.

    Args:
        masks: float "clip roi", 0..1.

    Returns:
        Two float "clip" of 0 and 1. A good mask has fidelity+ 1 and fidelity- 0.
    """
    x = batch.x * batch.mask[..., None, None, None]
    kept = torch.from_numpy(np.asarray(masks)).to(x)[:, None, :, None, None, None]
    with torch.no_grad():
        whole, without, alone = (
            model.logits(x * m, batch.mask, batch.times_ms).argmax(1) for m in (torch.ones_like(kept), 1 - kept, kept)
        )
    return (without != whole).cpu().numpy().astype(float), (alone != whole).cpu().numpy().astype(float)


def compute_unfaithfulness(model: Stag, batch: Batch, masks: np.ndarray) -> np.ndarray:
    """How far the probabilities move when only the regions of the mask are left: 1 - exp(-KL(left || whole)), 0..1.

    Agarwal et al. 2023 (arXiv:2208.09339), with the direction that PyG takes.

    Returns:
        float "clip".
    """
    x = batch.x * batch.mask[..., None, None, None]
    kept = torch.from_numpy(np.asarray(masks)).to(x)[:, None, :, None, None, None]
    with torch.no_grad():
        p, q = (model.logits(v, batch.mask, batch.times_ms).log_softmax(1) for v in (x, x * kept))
    return (1 - torch.exp(-(q.exp() * (q - p)).sum(1))).cpu().numpy().astype(float)
