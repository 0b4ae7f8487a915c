"""The methods behind ``explain.attribute``: each a few lines around Captum, all against the same face without motion.

Captum: Kokhlikyan et al. 2020 (arXiv:2009.07896). DeepLift, guided backpropagation and LRP are not offered: they break on
attention with layers used in this way, or fail published sanity checks (Adebayo et al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.motion_decomposition import compute_au_shares
from stagkit.network.cost import measure_saved_bytes
from stagkit.network.hooks import intervene

if TYPE_CHECKING:
    from stagkit.network.model import Stag

#: What may be varied together in feature ablation and Shapley sampling.
GROUPS = ("roi", "frame", "au", "roi x frame")
#: Which layer's output is varied by layer integrated gradients.
LAYERS = ("region tokens", "frame tokens", "au evidence")

_BUDGET = 256 * 2**20  # bytes of saved activations that one pass may hold on a CPU


class Inputs(NamedTuple):
    """What a method works on: motion "clip time roi chan py px" (0 under the mask), its mask and times, the targets."""

    x: Tensor
    mask: Tensor
    times_ms: Tensor
    target: Tensor

    def take(self, part: slice) -> Inputs:
        """Some clips."""
        return Inputs(*(value[part] for value in self))


class Answer(NamedTuple):
    """Values with their axes, and the logit at either end of what was varied."""

    values: Tensor
    axes: str
    varied: str
    baseline: str
    at_clip: Tensor
    at_baseline: Tensor


def probe_batch_size(function: Callable[..., Tensor], *one: Tensor) -> int:
    """How many clips a pass may hold, told from the activations that one clip's pass keeps for its gradient.

    Args:
        function: from the tensors to logits.
        *one: the tensors of a single clip.

    Returns:
        >= 1. The budget is 256 MiB on a CPU and half of the free memory on a GPU (stagkit's choice).
    """
    first = one[0].detach().requires_grad_()
    kept = measure_saved_bytes(lambda: function(first, *one[1:]))
    budget = _BUDGET
    if first.device.type == "cuda":
        budget = torch.cuda.mem_get_info(first.device)[0] // 2
    return max(1, int(budget // max(kept, 1)))


@contextmanager
def frozen(model: torch.nn.Module):
    """Weights need no gradient inside the block: explaining takes less time and leaves none behind."""
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    try:
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter, was in wanted:
            parameter.requires_grad_(was)


def _ends(model: Stag, given: Inputs, at_clip: Callable[[], Tensor] | None = None, at_baseline=None):
    with torch.no_grad():
        top = at_clip() if at_clip else model.logits(given.x, given.mask, given.times_ms)
        low = at_baseline() if at_baseline else model.logits(torch.zeros_like(given.x), given.mask, given.times_ms)
    return tuple(logits.gather(1, given.target[:, None])[:, 0] for logits in (top, low))


_MOTION = ("clip time roi chan py px", "x", "zero flow (no motion)")


def integrated_gradients(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), Gauss-Legendre points on the straight path from no motion."""
    from captum.attr import IntegratedGradients

    values = IntegratedGradients(model.logits).attribute(
        given.x,
        baselines=torch.zeros_like(given.x),
        target=given.target,
        additional_forward_args=(given.mask, given.times_ms),
        n_steps=settings["n_steps"],
        internal_batch_size=max(settings["batch_size"], len(given.x)),
    )
    return Answer(values, *_MOTION, *_ends(model, given))


def gradient_x_input(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """The gradient at the clip times the clip; exact for a linear network only."""
    from captum.attr import InputXGradient

    values = InputXGradient(model.logits).attribute(
        given.x.clone().requires_grad_(),
        target=given.target,
        additional_forward_args=(given.mask, given.times_ms),
    )
    return Answer(values, *_MOTION, *_ends(model, given))


def gradient_shap(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """Expected gradients at random points between no motion and the clip (Lundberg and Lee 2017, arXiv:1705.07874)."""
    from captum.attr import GradientShap

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        state = np.random.get_state()  # noqa: NPY002 (Captum draws its points from numpy's global generator)
        np.random.seed(settings["seed"])  # noqa: NPY002
        try:
            values = GradientShap(model.logits).attribute(
                given.x.clone().requires_grad_(),
                baselines=torch.zeros_like(given.x[:1]),
                n_samples=settings["n_samples"],
                target=given.target,
                additional_forward_args=(given.mask, given.times_ms),
            )
        finally:
            np.random.set_state(state)  # noqa: NPY002
    return Answer(values, *_MOTION, *_ends(model, given))


def make_groups(given: Inputs, groups: str) -> tuple[Tensor, str]:
    """Which part of each region's motion in each frame belongs to which group.

    Args:
        groups: one of ``GROUPS``. ``au``: units of ``motion_decomposition`` and 'none', in their shares of the motion.

    Returns:
        float "clip time roi group", summing to 1 over groups where something was seen, and the axes of the values.
    """
    n_frames, n_rois = given.mask.shape[1:]
    if groups == "roi":
        weights = torch.eye(n_rois)[None, None].expand(1, n_frames, -1, -1)
    elif groups == "frame":
        weights = torch.eye(n_frames)[None, :, None].expand(1, -1, n_rois, -1)
    elif groups == "roi x frame":
        weights = torch.eye(n_frames * n_rois).unflatten(0, (n_frames, n_rois))[None]
    else:
        flow = given.x.mean((4, 5))[..., :2].cpu().numpy()
        weights = torch.from_numpy(compute_au_shares(flow, given.mask.cpu().numpy())).float()
    axes = {"roi": "clip roi", "frame": "clip time", "au": "clip sided_au", "roi x frame": "clip time roi"}[groups]
    return weights.expand(len(given.x), -1, -1, -1).to(given.x), axes


def _play(model: Stag, given: Inputs, settings: Mapping, sample: bool) -> Answer:
    """Ablation or Shapley sampling of a game: each group's motion is there (1) or not (0)."""
    from captum.attr import FeatureAblation, ShapleyValueSampling

    weights, axes = make_groups(given, settings["groups"])

    def forward(there: Tensor, x: Tensor, weights: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        kept = torch.einsum("bk,btnk->btn", there, weights)
        return model.logits(x * kept[..., None, None, None], mask, times_ms)

    parts = []
    for i in range(len(given.x)):
        one = given.take(slice(i, i + 1))
        there = torch.ones(1, weights.shape[-1]).to(one.x)
        common = {
            "baselines": 0,
            "target": one.target,
            "additional_forward_args": (one.x, weights[i : i + 1].contiguous(), one.mask, one.times_ms),
            "perturbations_per_eval": min(settings["batch_size"], 64),
        }
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            if sample:
                parts.append(ShapleyValueSampling(forward).attribute(there, n_samples=settings["n_samples"], **common))
            else:
                parts.append(FeatureAblation(forward).attribute(there, **common))
    values = torch.cat(parts)
    if settings["groups"] == "roi x frame":
        values = values.unflatten(1, given.mask.shape[1:])
    return Answer(values, axes, "x", "zero flow (no motion)", *_ends(model, given))


def feature_ablation(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """How far the logit falls when the motion of one group is stilled (Zeiler and Fergus 2014, arXiv:1311.2901)."""
    return _play(model, given, settings, sample=False)


def shapley_sampling(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """Mean effect of a group over random orders of stilling (Castro et al. 2009, doi:10.1016/j.cor.2008.04.004)."""
    return _play(model, given, settings, sample=True)


def layer_integrated_gradients(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """Integrated gradients over the output of a layer, all else as in the clip.

    Motion reaches the AU evidence and the edges past the tokens; what is not varied stays as it is and is in neither end.
    The AU evidence is the network's own (before the sigmoid): no flow is shared out afterwards.
    """
    from captum.attr import LayerIntegratedGradients

    layer, axes = {
        "region tokens": (model.tokens.embed, "clip time roi"),
        "frame tokens": (model.frame_tokens, "clip time"),
        "au evidence": (model.aus.logits, "clip time au"),
    }[settings["layer"]]
    still = torch.zeros_like(given.x)
    values = LayerIntegratedGradients(model.logits, layer).attribute(
        given.x,
        baselines=still,
        target=given.target,
        additional_forward_args=(given.mask, given.times_ms),
        n_steps=settings["n_steps"],
        internal_batch_size=max(settings["batch_size"], len(given.x)),
    )

    def at_baseline() -> Tensor:
        kept = []
        for hook, x in ((lambda _, __, value: kept.append(value), still), (lambda _, __, value: kept[0], given.x)):
            handle = layer.register_forward_hook(hook)
            try:
                logits = model.logits(x, given.mask, given.times_ms)
            finally:
                handle.remove()
        return logits

    what = f"the {settings['layer']} of a face without motion"
    return Answer(
        values if axes.endswith("au") else values.sum(-1),
        axes,
        settings["layer"],
        what,
        *_ends(model, given, at_baseline=at_baseline),
    )


def edge_integrated_gradients(model: Stag, given: Inputs, settings: Mapping) -> Answer:
    """Integrated gradients over the weights of the region edges, motion as in the clip.

    Only ratios within a row of edges matter, so zero edges are no baseline: the baseline is what the edges are in a face
    without motion, where no AU is active (stagkit's choice).
    """
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        edges = model(given.x, given.mask, given.times_ms).edges
        rest = model(torch.zeros_like(given.x), given.mask, given.times_ms).edges

    def forward(edges: Tensor, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        return model.logits(x, mask, times_ms, edges)

    values = IntegratedGradients(forward).attribute(
        edges,
        baselines=rest,
        target=given.target,
        additional_forward_args=(given.x, given.mask, given.times_ms),
        n_steps=settings["n_steps"],
        internal_batch_size=max(settings["batch_size"], len(given.x)),
    )
    more = (given.x, given.mask, given.times_ms)
    ends = _ends(model, given, at_baseline=lambda: forward(rest, *more))
    return Answer(values, "clip time target source", "edges", "the edges of a face without motion", *ends)


def compute_au_edge_attribution(model: Stag, one: Batch, target: int, n_steps: int = 16) -> tuple[np.ndarray, float]:
    """Integrated gradients of a logit over the edges between action units, from no such edges to those of the clip.

    Args:
        model: in evaluation mode.
        one: a batch of one clip.
        target: class.
        n_steps: points on the path.

    Returns:
        Values, float "time target source", logits; and the convergence delta: their sum minus the logit difference.

    Raises:
        ExplainError: a network without edges between action units.
    """
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        edges = model(one.x, one.mask, one.times_ms).au_edges
    if edges is None:
        raise ExplainError("this network has no edges between action units (connectivity='au' has).")

    def forward(edges: Tensor) -> Tensor:
        with intervene(model, {"au.edges": edges}):
            return model.logits(*(v.expand(len(edges), *v.shape[1:]) for v in (one.x, one.mask, one.times_ms)))

    with frozen(model):
        values, delta = IntegratedGradients(forward).attribute(
            edges, target=target, n_steps=n_steps, return_convergence_delta=True
        )
    return values[0].cpu().numpy().astype(float), float(delta)


#: name -> (function, the settings that it reads). ``batch_size`` is found by a probe.
METHODS: dict[str, tuple[Callable[..., Answer], tuple[str, ...]]] = {
    "integrated gradients": (integrated_gradients, ("n_steps",)),
    "gradient x input": (gradient_x_input, ()),
    "gradient shap": (gradient_shap, ("n_samples", "seed")),
    "feature ablation": (feature_ablation, ("groups", "seed")),
    "shapley sampling": (shapley_sampling, ("groups", "n_samples", "seed")),
    "layer integrated gradients": (layer_integrated_gradients, ("layer", "n_steps")),
    "edge integrated gradients": (edge_integrated_gradients, ("n_steps",)),
}
