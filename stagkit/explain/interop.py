"""STAG for PyTorch Geometric (PyG) and networkx: graphs as data, PyG's explainers."""

from __future__ import annotations

import networkx
import torch
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.explain import Explainer, Explanation, GNNExplainer

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.exact_terms import get_region_edges
from stagkit.explain.methods import frozen
from stagkit.network.model import Stag


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


def _mean(values: Tensor, output: StagOutput, clip: int, frame: int | None) -> Tensor:
    """A value per frame of a clip: in one frame, or its mean over the frames that are not padding."""
    values = values[clip].detach().cpu()
    if frame is not None:
        return values[frame]
    valid = slice(None) if output.time_weights is None else output.time_weights[clip].detach().cpu() > 0
    return values[valid].mean(0)


def _edges(
    output: StagOutput, clip: int, frame: int | None, of: str, target: int | None
) -> tuple[Tensor, Tensor | None]:
    """Weights "target source" and, if known, contributions in the logit of a class; AU edges are symmetric, no loops."""
    edges = {"region": output.edges, "au": output.au_edges}.get(of)
    if edges is None:
        raise ExplainError(f"this network has no {of} edges; `of` is 'region' or 'au'.")
    edges = _mean(edges, output, clip, frame)
    if of == "au":
        edges = edges.clone().fill_diagonal_(0.0)
    if output.terms is None or output.terms.region_edges is None:
        return edges, None
    k = int(output.logits[clip].argmax()) if target is None else target
    if of == "au":
        upper = output.terms.au_edges[clip, k].detach().cpu()
        return edges, upper + upper.T
    terms = output.terms.region_edges[clip, :, k].detach().cpu()
    terms = terms.sum(0) if frame is None else terms[frame]
    _, *ends = torch.from_numpy(get_region_edges()).T
    if len(ends[0]) != len(terms):
        return edges, None  # edges of its own
    return edges, torch.zeros_like(edges).index_put(tuple(ends), terms, accumulate=True)


def to_pyg(
    output: StagOutput, clip: int = 0, frame: int | None = None, of: str = "region", target: int | None = None
) -> Data:
    """One graph (``of``: ``region`` or ``au``) of a clip and frame as ``Data``; the mean over frames if ``frame`` is None.

    Besides ``edge_index`` (rows source, target) it has ``edge_weight``, ``names`` and for AUs ``x`` "au 1", the activation.
    With ``head='graph'`` also ``contribution`` "edge": logits of class ``target`` (None: predicted), of region edges summed
    over AUs and frames (or in ``frame``), of AU edges in the whole clip. AU edges are undirected: PyG lists both ways.
    """
    edges, contribution = _edges(output, clip, frame, of, target)
    index, weight = make_sparse(edges)
    graph = Data(edge_index=index, edge_weight=weight, num_nodes=len(edges))
    graph.names = list(ATLAS.names if of == "region" else AU_LABELS)
    if contribution is not None:
        graph.contribution = contribution[index[1], index[0]]
    if of == "au":
        graph.x = _mean(output.au_logits.sigmoid(), output, clip, frame)[:, None]
    return graph


def to_networkx(
    output: StagOutput,
    clip: int = 0,
    frame: int | None = None,
    of: str = "region",
    least: float = 0.0,
    target: int | None = None,
) -> networkx.Graph:
    """As ``to_pyg``, a networkx graph: nodes are names, an edge has ``weight`` above ``least``, and its ``contribution``.

    Region edges lead from source to target (``DiGraph``), AU edges have no direction (``Graph``).
    """
    edges, contribution = _edges(output, clip, frame, of, target)
    names, graph = (ATLAS.names, networkx.DiGraph()) if of == "region" else (AU_LABELS, networkx.Graph())
    graph.add_nodes_from(names)
    for i, j in (edges > least).nonzero().tolist():
        more = {} if contribution is None else {"contribution": float(contribution[i, j])}
        graph.add_edge(names[j], names[i], weight=float(edges[i, j]), **more)
    return graph


class ClipGraph(nn.Module):
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
    graph = ClipGraph(model, batch, clip)
    config = {"mode": "multiclass_classification", "task_level": "graph", "return_type": "raw"}
    algorithm = algorithm or GNNExplainer(epochs=100)
    explainer = Explainer(graph, algorithm, "model", config, node_mask_type="object")
    with torch.random.fork_rng(devices=[]), frozen(model):
        torch.manual_seed(seed)
        return explainer, explainer(graph.x, graph.edge_index)
