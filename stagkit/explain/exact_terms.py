"""The terms that a logit is the sum of, with ``head='graph'``: as tables, and placed on regions and action units.

Nothing is approximated: bias + AUs + AU edges are the logit, and so are the logit without region edges + region edges.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.network.action_units import make_au_edges
from stagkit.network.model import Stag

if TYPE_CHECKING:
    import pandas as pd

#: What an AU edge says: both AUs in the same frames, one before the other, both on the same side of the face.
RELATIONS = ("both at once", "one before the other", "same side")


def get_region_edges(model: Stag | None = None) -> np.ndarray:
    """The region edges of a network (None: the standard ones), int "edge 3": AU, target region, source region."""
    return make_au_edges(ATLAS) if model is None else model.region_graph.index.cpu().numpy()


def name_region_edges(index: np.ndarray) -> tuple[str, ...]:
    """Names of region edges int "edge 3": ``AU12 lip_corner_L <- cheek_L`` leads from cheek_L to lip_corner_L."""
    return tuple(f"{AU_LABELS[k]} {ATLAS.names[m]} <- {ATLAS.names[n]}" for k, m, n in index)


def compute_output(model: Stag, x: Tensor, mask: Tensor, times_ms: Tensor) -> StagOutput:
    """The output of a network whose logits are a sum of terms; ``ExplainError`` if they are not."""
    with torch.no_grad():
        output = model(x, mask, times_ms)
    if output.terms is None or output.terms.region_edges is None:
        raise ExplainError(
            "the logits of this network are no sum of terms (head='graph' has them): take another method."
        )
    return output


def place_terms(model: Stag, terms: Tensor, x: Tensor, mask: Tensor) -> Tensor:
    """Terms of region edges "clip time edge" -> "clip time roi au", with the same sum, 0 where the mask is False.

    A term is placed at the target of its edge (stagkit's choice): where the target does not move there is no term, so that
    regions at rest get nothing. What falls on a hidden region is passed on to the visible regions from which its motion was
    estimated, in proportion to their motion times its weight in the estimate. ``x``: motion, as the network takes it.
    """
    (au, target, _), impute = model.region_graph.index.T, model.imputation
    n_rois, n_aus = len(ATLAS.names), len(AU_LABELS)
    out = torch.zeros(*terms.shape[:2], n_rois * n_aus).to(terms).index_add(2, target * n_aus + au, terms)
    out = out.unflatten(2, (n_rois, n_aus))
    if impute is None or mask.all():
        return out
    with torch.no_grad():
        speed = (x[:, :, :, :2].mean((4, 5)) * mask[..., None]).norm(dim=-1)
        origin = (
            impute.softmax(impute.scores, impute.anatomy & mask[:, :, None]) * impute.gain.abs() * speed[:, :, None]
        )
    origin = origin / origin.sum(-1, keepdim=True).clamp_min(1e-12)
    origin = torch.where(mask[..., None], torch.eye(n_rois).to(origin), origin)
    return torch.einsum("ctnk,ctnm->ctmk", out, origin)


def split_au_edges(model: Stag, batch: Batch) -> np.ndarray:
    """Terms of the AU edges by what they say (``RELATIONS``): float "clip cls relation au au", logits, above the diagonal.

    The readout is linear in each relation. Sides alone: no AU is active, but sided. Order changes its sign if time runs
    backwards, and the rest does not.
    """
    output, head, graph = compute_output(model, batch.x, batch.mask, batch.times_ms), model.head, model.region_graph
    frames = batch.mask.any(2).to(output.logits)
    with torch.no_grad():
        balance = output.terms.au_terms @ (graph.side[:, None] * graph.of_au)
        active, sided = head.compute_activations(output.au_logits, balance, frames)
        weights, none = torch.ones(len(active), active.shape[2], active.shape[2]).to(active), torch.zeros_like(active)
        same_side = head.read(none, sided, frames, weights)[1]
        forwards, backwards = (head.read(a, none, frames, weights)[1] for a in (active, active.flip(1)))
    parts = ((forwards + backwards) / 2, (forwards - backwards) / 2, same_side)
    return torch.stack(parts, 2).cpu().numpy().astype(float)


def tabulate_terms(model: Stag, batch: Batch, clip: int = 0, target: int | None = None) -> pd.DataFrame:
    """Every term of a logit of one clip, one row each.

    Args:
        target: class explained; the predicted one if None.

    Returns:
        Columns ``kind``; ``au`` and, for AU edges, ``other`` and ``relation``; ``target`` and ``source`` region;
        ``logit``: the term in the logit of the class; ``margin``: in that logit minus the logit of the runner-up (the
        class with the largest logit among the others). ``attrs`` names ``class`` and ``runner_up``. Kinds ``bias``,
        ``au`` and ``au edge`` sum to the logit, and so do ``without region edges`` and ``region edge``.

    Raises:
        ExplainError: a network whose logits are no sum of terms (``head='fused'``), or no such class.
    """
    import pandas as pd

    one = batch.select(torch.tensor([clip]))
    output = compute_output(model, one.x, one.mask, one.times_ms)
    logits, terms = output.logits[0], output.terms
    chosen = int(logits.argmax()) if target is None else target
    if not 0 <= chosen < len(logits):
        raise ExplainError(f"`target` is {target}; the network has the classes 0 to {len(logits) - 1}.")
    second = int(logits.masked_fill(torch.arange(len(logits)).to(logits.device) == chosen, -torch.inf).argmax())
    rows = []

    def add(kind: str, values, **where: str) -> None:
        rows.append({"kind": kind, **where, "logit": values[chosen], "margin": values[chosen] - values[second]})

    add("bias", model.head.bias.detach().cpu().double().numpy())
    for label, values in zip(AU_LABELS, terms.aus[0].cpu().double().numpy().T, strict=True):
        add("au", values, au=label)
    parts = split_au_edges(model, one)[0]
    for k, m in zip(*np.triu_indices(len(AU_LABELS), 1), strict=True):
        for relation, values in zip(RELATIONS, parts[:, :, k, m].T, strict=True):
            add("au edge", values, au=AU_LABELS[k], other=AU_LABELS[m], relation=relation)
    add("without region edges", terms.without[0].cpu().double().numpy())
    edges = terms.region_edges[0].double().sum(0).cpu().numpy().T
    for (k, m, n), values in zip(get_region_edges(model), edges, strict=True):
        add("region edge", values, au=AU_LABELS[k], target=ATLAS.names[m], source=ATLAS.names[n])
    columns = ["kind", "au", "other", "relation", "target", "source", "logit", "margin"]
    table = pd.DataFrame(rows, columns=columns).fillna({name: "" for name in columns[:-2]})
    table.attrs = {"class": one.classes[chosen], "runner_up": one.classes[second]}
    return table
