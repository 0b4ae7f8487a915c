"""Counterfactuals: the smallest set of muscles without whose motion the network predicts another class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.methods import frozen
from stagkit.explain.motion_decomposition import MUSCLES, SIDED_AU_MUSCLES, compute_au_shares
from stagkit.network.model import Stag


@dataclass(frozen=True)
class Counterfactual:
    """The smallest set of muscles found whose ablation changes the prediction of one clip.

    Args:
        muscles: names (``motion_decomposition.MUSCLES``) in the order of removal; () if none was found.
        before, after: the prediction with all muscles and without those; the same if none was found.
        without_motion: the prediction for the face without any motion; if it is ``before``, there may be no such set.
        smallest: every smaller set was tried (``tried``: how many sets in all) and changes nothing.
    """

    clip_id: str
    muscles: tuple[str, ...]
    before: str
    after: str
    without_motion: str
    smallest: bool
    tried: int

    def __str__(self) -> str:
        if not self.muscles:
            end = "; the face without motion is predicted the same" if self.without_motion == self.before else ""
            return f"{self.clip_id}: no set of muscles found whose ablation changes '{self.before}'{end}."
        proof = "no smaller set does" if self.smallest else "smaller sets were not all tried"
        return f"{self.clip_id}: without {', '.join(self.muscles)} '{self.before}' becomes '{self.after}'; {proof}."


def find_counterfactual(model: Stag, batch: Batch, clip: int = 0, most: int = 6, budget: int = 3000) -> Counterfactual:
    """The smallest set of muscles whose ablation (``ablate_muscles``) changes the predicted class.

    Greedy: each time the muscle whose ablation brings the prediction closest to a change; muscles that turn out not to be
    needed are restored; then all smaller sets, as far as ``budget`` (number of sets tried) allows.

    Args:
        clip: position in ``batch``; most: largest set searched.
    """
    one = batch.select(torch.tensor([clip]))
    x, flow, shares = _share_motion(one)
    shares, parts = shares[0], torch.from_numpy(shares[0]).to(x)
    speed = np.linalg.norm(flow[0], axis=-1)
    weight = np.einsum("tn,tnm->m", speed, shares)
    candidates = [int(m) for m in np.argsort(-weight) if weight[m] > 0.01 * speed.sum()]
    most, tried = min(most, len(candidates)), 0

    def predict(sets: Sequence[Sequence[int]]) -> Tensor:
        nonlocal tried
        tried += len(sets)
        out = []
        for chunk in (sets[start : start + 128] for start in range(0, len(sets), 128)):
            kept = torch.stack([1 - parts[..., list(s)].sum(-1) for s in chunk]).clamp_min(0)
            more = (v.expand(len(chunk), *v.shape[1:]) for v in (one.mask, one.times_ms))
            out.append(model.logits(x * kept[..., None, None, None], *more))
        return torch.cat(out)

    with torch.no_grad(), frozen(model):
        first = after = int(predict([()]).argmax())
        without_motion = int(model.logits(torch.zeros_like(x), one.mask, one.times_ms).argmax())
        chosen: list[int] = []
        while after == first and len(chosen) < most:
            options = [[*chosen, m] for m in candidates if m not in chosen]
            logits = predict(options)
            others = logits.clone()
            others[:, first] = -torch.inf
            best = int((others.max(1).values - logits[:, first]).argmax())
            chosen, after = options[best], int(logits[best].argmax())
        for m in list(chosen) if after != first else ():  # muscles that are not needed are restored
            rest = [n for n in chosen if n != m]
            predicted = int(predict([rest]).argmax())
            if rest and predicted != first:
                chosen, after = rest, predicted
        smallest = False
        for size in range(1, len(chosen) if after != first else most + 1):
            if comb(len(candidates), size) + tried > budget:
                break
            sets = list(combinations(candidates, size))
            predicted = predict(sets).argmax(1)
            found = (predicted != first).nonzero()
            if len(found):
                chosen, after, smallest = list(sets[int(found[0])]), int(predicted[found[0]]), True
                break
        else:
            smallest = after != first
    muscles = tuple(MUSCLES[m] for m in chosen) if after != first else ()
    names = (batch.classes[k] for k in (first, after, without_motion))
    return Counterfactual(one.clip_ids[0], muscles, *names, smallest, tried)


def _share_motion(batch: Batch) -> tuple[Tensor, np.ndarray, np.ndarray]:
    """Visible motion, its mean per region, and the part of it by each muscle: "clip time roi muscle" without 'none', 0..1.

    Motion that no muscle accounts for is removed in proportion with the muscles that move the region.
    """
    x = batch.x * batch.mask[..., None, None, None]
    flow = x.mean((4, 5))[..., :2].cpu().numpy()
    shares = compute_au_shares(flow, batch.mask.cpu().numpy())
    each = shares @ np.eye(len(MUSCLES))[[MUSCLES.index(m) for m in SIDED_AU_MUSCLES]]
    return x, flow, each[..., :-1] / np.maximum(1 - each[..., -1:], 1e-6)


def ablate_muscles(batch: Batch, muscles: Sequence[str]) -> Batch:
    """The same clips without the motion of these muscles; a region that others move too keeps the part of those.

    Raises:
        ExplainError: a muscle that is not one of ``motion_decomposition.MUSCLES``.
    """
    for muscle in muscles:
        if muscle not in MUSCLES[:-1]:
            raise ExplainError(f"there is no muscle {muscle!r}; there are {'; '.join(MUSCLES[:-1])}.")
    x, _, shares = _share_motion(batch)
    removed = shares[..., [i for i, m in enumerate(MUSCLES[:-1]) if m in muscles]].sum(-1)
    kept = torch.from_numpy(1 - removed).to(x).clamp_min(0)
    return replace(batch, x=x * kept[..., None, None, None])
