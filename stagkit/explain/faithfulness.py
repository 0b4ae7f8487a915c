"""Faithfulness of a map to the network: deletion, insertion, infidelity, sensitivity, dependence on the weights.

A map is float "clip time roi" (larger = supports the target more); it gives an order of cells (region by frame), which is
compared with a random order and with the order of flow magnitude.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch
from stagkit.explain.aggregate import Attribution
from stagkit.explain.attribution import attribute
from stagkit.explain.custom_layers import replace_layers
from stagkit.explain.methods import choose_target, compute_flow_magnitude, frozen, probe_batch_size
from stagkit.network.model import Stag

#: Parts of the network from the classifier down; a network may lack some.
CASCADE = (
    *("head", "region_graph", "au_tokens", "cross", "time", "frame_tokens", "graph", "time_weights"),
    *("tokens", "imputation"),
)


class Curves(NamedTuple):
    """Logit of the target minus that of no motion while cells are deleted or inserted: float "clip step", logits.

    The first step of ``deletion`` and the last of ``insertion`` are the whole clip. ``share``: float "step", cells changed.
    """

    deletion: np.ndarray
    insertion: np.ndarray
    share: np.ndarray

    @property
    def areas(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean height of each curve, float "clip", logits: a good order has a low deletion and a high insertion."""
        return tuple(np.trapezoid(curve, self.share, axis=1) for curve in (self.deletion, self.insertion))


def compute_curves(model: Stag, batch: Batch, maps: np.ndarray, target=None, n_steps: int = 10) -> Curves:
    """Delete the motion of the most important cells first, and insert it into a face without motion in the same order.

    Samek et al. 2017 (doi:10.1109/TNNLS.2016.2599820); Petsiuk et al. 2018 (arXiv:1806.07421). A deleted cell has no
    motion; its region stays visible.

    Args:
        maps: float "clip time roi"; cells under the mask come last.
        target: as in ``attribute``; n_steps: number of equal parts in which the cells are changed.
    """
    x = batch.x * batch.mask[..., None, None, None]
    n_clips = len(x)
    cells = np.where(batch.mask.cpu().numpy(), maps, -np.inf).reshape(n_clips, -1)
    place = torch.from_numpy(np.argsort(np.argsort(-cells, axis=1, kind="stable"), axis=1)).to(x.device)
    seen = batch.mask.flatten(1).sum(1)
    share = np.linspace(0.0, 1.0, n_steps + 1)
    with torch.no_grad(), frozen(model):
        full = model.logits(x, batch.mask, batch.times_ms)
        chosen = choose_target(target, full)[:, None]
        floor = model.logits(torch.zeros_like(x), batch.mask, batch.times_ms).gather(1, chosen)[:, 0]
        first = torch.stack([place < torch.round(seen * part)[:, None] for part in share])
        kept = torch.stack([~first, first]).unflatten(-1, batch.mask.shape[1:])  # "kind step clip time roi"
        kept = kept.flatten(0, 1)
        size = max(1, probe_batch_size(model.logits, x[:1], batch.mask[:1], batch.times_ms[:1]) // n_clips)
        heights = []
        for part in kept.split(size):  # as many steps at once as fit
            more = [v.expand(len(part), *v.shape).flatten(0, 1) for v in (x, batch.mask, batch.times_ms, chosen, floor)]
            logits = model.logits(more[0] * part.flatten(0, 1)[..., None, None, None], *more[1:3])
            heights.append((logits.gather(1, more[3])[:, 0] - more[4]).unflatten(0, (len(part), n_clips)))
        curves = torch.cat(heights).unflatten(0, (2, -1)).transpose(1, 2).cpu().numpy().astype(float)
    return Curves(curves[0], curves[1], share)


def compute_orders(
    model: Stag, batch: Batch, maps: np.ndarray, target=None, n_random: int = 5, seed: int = 0
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Areas (deletion, insertion), float "clip", logits, of the orders ``map``, ``flow magnitude`` and ``random`` (mean)."""
    rng = np.random.default_rng(seed)
    orders = (maps, compute_flow_magnitude(batch), *(rng.random(maps.shape) for _ in range(n_random)))
    mine, flow, *draws = (compute_curves(model, batch, order, target).areas for order in orders)
    mean = tuple(np.mean(areas, axis=0) for areas in zip(*draws, strict=True))
    return {"map": mine, "flow magnitude": flow, "random": mean}


def compute_infidelity(
    model: Stag, batch: Batch, attribution: Attribution, n_samples: int = 20, seed: int = 0
) -> np.ndarray:
    """Error in predicting the logit when random cells (one half) are set to zero: float "clip", squared logits, >= 0.

    Captum's infidelity (Yeh et al. 2019, arXiv:1901.09392), normalised.

    Args:
        attribution: to motion ("clip time roi chan py px"), of this batch in this order.
    """
    from captum.metrics import infidelity

    x = batch.x * batch.mask[..., None, None, None]

    def perturb(inputs: Tensor) -> tuple[Tensor, Tensor]:
        kept = (torch.rand(inputs.shape[:3], generator=rng) < 0.5).to(inputs)[..., None, None, None]
        return inputs * (1 - kept), inputs * kept

    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad(), frozen(model):
        size = probe_batch_size(model.logits, x[:1], batch.mask[:1], batch.times_ms[:1])
        error = infidelity(
            model.logits,
            perturb,
            x,
            torch.from_numpy(attribution.values).to(x),
            additional_forward_args=(batch.mask, batch.times_ms),
            target=torch.from_numpy(attribution.target).to(x.device),
            n_perturb_samples=n_samples,
            max_examples_per_batch=min(max(size, len(x)), n_samples * len(x)),
            normalize=True,
        )
    return error.cpu().numpy().astype(float)


def compute_sensitivity(
    model: Stag, batch: Batch, attribution: Attribution, n_samples: int = 4, radius: float = 0.05, seed: int = 0
) -> np.ndarray:
    """Largest change of the explanation for small changes of the clip, as a share of its size: float "clip", >= 0.

    Captum's max-sensitivity (Yeh et al. 2019, arXiv:1901.09392): uniform noise of at most ``radius`` times the clip's root
    mean square.
    """
    from captum.metrics import sensitivity_max

    settings = {n: v for n, v in attribution.settings.items() if n != "n_steps_needed"}

    def explain(inputs: tuple[Tensor, ...], target: Tensor, mask: Tensor, times_ms: Tensor) -> tuple[Tensor, ...]:
        n = len(inputs[0])  # Captum repeats the clips, but not always the rest
        target, mask, times_ms = (v.repeat_interleave(n // len(v), 0) for v in (target, mask, times_ms))
        names = tuple(str(i) for i in range(n))
        none = torch.full((n, batch.aus.shape[1]), float("nan"))
        one = Batch(inputs[0], mask, times_ms, target.cpu(), none, names, names, batch.classes)
        again = attribute(model, one, attribution.method, target, search=False, **settings)
        return (torch.from_numpy(again.values),)

    def jitter(inputs: Tensor | tuple[Tensor, ...], r: float):
        inputs = inputs[0] if isinstance(inputs, tuple) else inputs
        level = r * inputs.square().mean((1, 2, 3, 4, 5), keepdim=True).sqrt()
        return (inputs + level * (2 * torch.rand(inputs.shape, generator=rng).to(inputs) - 1),)

    rng = torch.Generator().manual_seed(seed)
    x = batch.x * batch.mask[..., None, None, None]
    change = sensitivity_max(
        explain,
        (x,),
        perturb_func=jitter,
        perturb_radius=radius,
        n_perturb_samples=n_samples,
        target=torch.from_numpy(attribution.target).to(x.device),
        mask=batch.mask,
        times_ms=batch.times_ms,
    )
    return change.cpu().numpy().astype(float)


def randomise(model: Stag, parts: Sequence[str], seed: int = 0) -> Stag:
    """A copy of the network with some parts (names of ``CASCADE``) as before training; the scale of the input is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = Stag(model.config, model.n_classes, patch=model.patch)
        for place, make in getattr(model, "custom_layers", {}).items():
            replace_layers(fresh, place, make)
    other = copy.deepcopy(model)
    for name in parts:
        part, new = getattr(other, name, None), getattr(fresh, name, None)
        if part is not None and new is not None:
            part.load_state_dict(new.state_dict())
    return other.eval()


def compute_similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Spearman rank correlation of two maps, cell by cell, with sign: float "clip", -1..1; NaN if one is constant."""
    from scipy.stats import rankdata

    out = []
    for a, b in zip(first.reshape(len(first), -1), second.reshape(len(second), -1), strict=True):
        a, b = rankdata(a), rankdata(b)
        out.append(np.corrcoef(a, b)[0, 1] if a.std() > 0 and b.std() > 0 else np.nan)
    return np.array(out)


def compute_cascade(
    model: Stag, batch: Batch, explain: Callable[[Stag, Batch], np.ndarray], seed: int = 0
) -> dict[str, np.ndarray]:
    """Similarity of a map to that of the trained network while parts are randomised in turn, from the classifier down.

    Adebayo et al. 2018 (arXiv:1810.03292); Binder et al. 2023 (arXiv:2211.12486) warn that the test can mislead: read it
    with deletion.

    Args:
        explain: network and batch -> map "clip time roi", of the same class each time.

    Returns:
        name of the part randomised last -> float "clip", rank correlation.
    """
    parts = [name for name in CASCADE if any(True for _ in getattr(getattr(model, name, None), "parameters", tuple)())]
    before = explain(model, batch)
    return {
        name: compute_similarity(before, explain(randomise(model, parts[: i + 1], seed), batch))
        for i, name in enumerate(parts)
    }


def compute_dependence(
    model: Stag, batch: Batch, explain: Callable[[Stag, Batch], np.ndarray], seed: int = 0
) -> np.ndarray:
    """The last step of the cascade: similarity to the map of an entirely random network, float "clip"."""
    return compute_similarity(explain(model, batch), explain(randomise(model, CASCADE, seed), batch))
