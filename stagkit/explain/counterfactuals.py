"""What would have to be different: clamp a part and look again; the fewest muscles whose stillness flips the answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.methods import frozen
from stagkit.explain.motion_decomposition import MUSCLES, SIDED_AU_MUSCLES, compute_au_shares

if TYPE_CHECKING:
    from stagkit.network.model import Stag


@dataclass(frozen=True)
class Counterfactual:
    """The fewest muscles found whose stillness changes the answer of one clip.

    Args:
        clip_id: which clip.
        muscles: names (``motion_decomposition.MUSCLES``) in the order of removal; () where nothing flips it.
        before, after: the answer with all muscles and without those; the same where nothing flips it.
        without_motion: the answer for the face without any motion; where it is ``before``, nothing has to flip.
        smallest: True where every smaller set was tried and none flips it; False where there were too many to try.
        tried: how many sets were looked at.
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
            end = f": the still face is '{self.without_motion}' too." if self.without_motion == self.before else "."
            return f"{self.clip_id}: no set of muscles found whose stillness changes '{self.before}'{end}"
        proof = "no smaller set does" if self.smallest else "smaller sets were not all tried"
        return f"{self.clip_id}: without {', '.join(self.muscles)} '{self.before}' becomes '{self.after}'; {proof}."


def find_counterfactual(model: Stag, batch: Batch, clip: int = 0, most: int = 6, budget: int = 3000) -> Counterfactual:
    """The smallest set of muscles whose stilling changes the predicted class.

    Stilling a muscle takes away its part of every region's motion (``ablate_muscles``). Greedy: each time the muscle
    whose stillness brings the answer closest to changing; those that turn out not to be needed go back; then every
    smaller set is tried, as far as ``budget`` reaches.

    Args:
        clip: position in ``batch``.
        most: largest set looked for.
        budget: how many sets may be tried in the check.
    """
    one = batch.select(torch.tensor([clip]))
    x = one.x * one.mask[..., None, None, None]
    flow, shares = x.mean((4, 5))[..., :2].cpu().numpy(), _share_motion(one)[0]
    parts = torch.from_numpy(shares).to(x)
    speed = np.linalg.norm(flow[0], axis=-1)
    weight = np.einsum("tn,tnm->m", speed, shares)
    candidates = [int(m) for m in np.argsort(-weight) if weight[m] > 0.01 * speed.sum()]
    tried = 0

    def answer(sets: Sequence[Sequence[int]]) -> Tensor:
        nonlocal tried
        tried += len(sets)
        out = []
        for start in range(0, len(sets), 128):
            some = sets[start : start + 128]
            kept = torch.stack([1 - parts[..., list(s)].sum(-1) for s in some]).clamp_min(0)
            more = (v.expand(len(some), *v.shape[1:]) for v in (one.mask, one.times_ms))
            out.append(model.logits(x * kept[..., None, None, None], *more))
        return torch.cat(out)

    with torch.no_grad(), frozen(model):
        first = int(answer([()]).argmax())
        still = int(model.logits(torch.zeros_like(x), one.mask, one.times_ms).argmax())
        chosen: list[int] = []
        flipped = None
        while flipped is None and len(chosen) < min(most, len(candidates)):
            options = [[*chosen, m] for m in candidates if m not in chosen]
            logits = answer(options)
            others = logits.clone()
            others[:, first] = -torch.inf
            best = int((others.max(1).values - logits[:, first]).argmax())
            chosen = options[best]
            if int(logits[best].argmax()) != first:
                flipped = int(logits[best].argmax())
        for m in list(chosen) if flipped is not None else ():  # what was taken on the way but is not needed goes back
            without = [n for n in chosen if n != m]
            answered = int(answer([without]).argmax())
            if without and answered != first:
                chosen, flipped = without, answered
        smallest = False
        for size in range(1, len(chosen) if flipped is not None else min(most, len(candidates)) + 1):
            if comb(len(candidates), size) + tried > budget:
                break
            sets = list(combinations(candidates, size))
            answers = answer(sets).argmax(1)
            found = (answers != first).nonzero()
            if len(found):
                chosen, flipped = list(sets[int(found[0])]), int(answers[found[0]])
                smallest = True
                break
        else:
            smallest = flipped is not None
    if flipped is None:
        chosen = []
    name = batch.classes[first]
    return Counterfactual(
        one.clip_ids[0],
        tuple(MUSCLES[m] for m in chosen),
        name,
        batch.classes[flipped] if flipped is not None else name,
        batch.classes[still],
        smallest,
        tried,
    )


def _share_motion(batch: Batch) -> np.ndarray:
    """Part of each region's motion that each muscle takes with it: float "clip time roi muscle" without 'none', 0..1.

    What no muscle accounts for goes with the muscles that move the region, in proportion: noise is stilled with them.
    """
    x = batch.x * batch.mask[..., None, None, None]
    shares = compute_au_shares(x.mean((4, 5))[..., :2].cpu().numpy(), batch.mask.cpu().numpy())
    each = shares @ np.eye(len(MUSCLES))[[MUSCLES.index(m) for m in SIDED_AU_MUSCLES]]
    return each[..., :-1] / np.maximum(1 - each[..., -1:], 1e-6)


def ablate_muscles(batch: Batch, muscles: Sequence[str]) -> Batch:
    """The same clips without the motion of these muscles (``motion_decomposition.MUSCLES``).

    A region that they alone move is still afterwards; one that others move too keeps those others' part.

    Raises:
        ExplainError: a muscle that does not exist.
    """
    unknown = [m for m in muscles if m not in MUSCLES[:-1]]
    if unknown:
        raise ExplainError(f"there is no muscle {unknown[0]!r}; there are {'; '.join(MUSCLES[:-1])}.")
    taken = _share_motion(batch)[..., [i for i, m in enumerate(MUSCLES[:-1]) if m in muscles]].sum(-1)
    kept = torch.from_numpy(1 - taken).to(batch.x).clamp_min(0)
    return replace(batch, x=batch.x * batch.mask[..., None, None, None] * kept[..., None, None, None])
