"""The methods of ``attribution.attribute``: a few lines around Captum each, all against the same face without motion.

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

#: What feature ablation and Shapley sampling may set to zero together.
GROUPS = ("roi", "frame", "au", "roi x frame")
#: Layers whose output layer integrated gradients vary.
LAYERS = ("region tokens", "frame tokens", "au evidence")

_BUDGET = 256 * 2**20  # bytes of saved activations that one pass may hold on a CPU
_MOTION = ("clip time roi chan py px", "x", "zero flow (no motion)")


class Inputs(NamedTuple):
    """What a method works on: motion "clip time roi chan py px" (0 under the mask), its mask and times, the targets."""

    x: Tensor
    mask: Tensor
    times_ms: Tensor
    target: Tensor

    @property
    def more(self) -> tuple[Tensor, Tensor]:
        """The arguments of ``model.logits`` after ``x``."""
        return self.mask, self.times_ms

    def select(self, part: slice) -> Inputs:
        """Some clips."""
        return Inputs(*(value[part] for value in self))


class Values(NamedTuple):
    """Attributed values with their axes, and the logits at the clip and at the baseline."""

    values: Tensor
    axes: str
    varied: str
    baseline: str
    at_clip: Tensor
    at_baseline: Tensor


def probe_batch_size(function: Callable[..., Tensor], *one: Tensor) -> int:
    """How many clips fit into one pass (>= 1), from the activations that ``function`` keeps for the tensors of one clip.

    The budget is 256 MiB on a CPU and half of the free memory on a GPU (stagkit's choice).
    """
    first = one[0].detach().requires_grad_()
    kept = measure_saved_bytes(lambda: function(first, *one[1:]))
    budget = _BUDGET
    if first.device.type == "cuda":
        budget = torch.cuda.mem_get_info(first.device)[0] // 2
    return max(1, int(budget // max(kept, 1)))


@contextmanager
def frozen(model: torch.nn.Module):
    """No weight needs a gradient inside the block: faster, and no gradient is left behind."""
    wanted = [(p, p.requires_grad) for p in model.parameters()]
    try:
        model.requires_grad_(False)
        yield
    finally:
        for parameter, was in wanted:
            parameter.requires_grad_(was)


def _ends(model: Stag, inputs: Inputs, at_baseline: Callable[[], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The target's logit of the clip and of the baseline: by default, no motion."""
    with torch.no_grad():
        top = model.logits(inputs.x, *inputs.more)
        low = at_baseline() if at_baseline else model.logits(torch.zeros_like(inputs.x), *inputs.more)
    return tuple(logits.gather(1, inputs.target[:, None])[:, 0] for logits in (top, low))


def _path(inputs: Inputs, settings: Mapping) -> dict[str, int]:
    return {"n_steps": settings["n_steps"], "internal_batch_size": max(settings["batch_size"], len(inputs.x))}


def integrated_gradients(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), Gauss-Legendre points on the straight path from no motion."""
    from captum.attr import IntegratedGradients

    values = IntegratedGradients(model.logits).attribute(
        inputs.x,
        baselines=torch.zeros_like(inputs.x),
        target=inputs.target,
        additional_forward_args=inputs.more,
        **_path(inputs, settings),
    )
    return Values(values, *_MOTION, *_ends(model, inputs))


def gradient_x_input(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """The gradient at the clip times the clip; exact for a linear network only."""
    from captum.attr import InputXGradient

    x = inputs.x.clone().requires_grad_()
    values = InputXGradient(model.logits).attribute(x, target=inputs.target, additional_forward_args=inputs.more)
    return Values(values, *_MOTION, *_ends(model, inputs))


def gradient_shap(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Expected gradients at random points between no motion and the clip (Lundberg and Lee 2017, arXiv:1705.07874)."""
    from captum.attr import GradientShap

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        state = np.random.get_state()  # noqa: NPY002 (Captum draws its points from numpy's global generator)
        np.random.seed(settings["seed"])  # noqa: NPY002
        try:
            values = GradientShap(model.logits).attribute(
                inputs.x.clone().requires_grad_(),
                baselines=torch.zeros_like(inputs.x[:1]),
                n_samples=settings["n_samples"],
                target=inputs.target,
                additional_forward_args=inputs.more,
            )
        finally:
            np.random.set_state(state)  # noqa: NPY002
    return Values(values, *_MOTION, *_ends(model, inputs))


def make_groups(inputs: Inputs, groups: str) -> tuple[Tensor, str]:
    """Which part of each region's motion in each frame belongs to which group.

    Args:
        groups: one of ``GROUPS``. ``au``: sided AUs and 'none', in their shares of the motion.

    Returns:
        float "clip time roi group", summing to 1 over groups for visible regions, and the axes of the values.
    """
    n_frames, n_rois = inputs.mask.shape[1:]
    if groups == "roi":
        weights = torch.eye(n_rois)[None, None].expand(1, n_frames, -1, -1)
    elif groups == "frame":
        weights = torch.eye(n_frames)[None, :, None].expand(1, -1, n_rois, -1)
    elif groups == "roi x frame":
        weights = torch.eye(n_frames * n_rois).unflatten(0, (n_frames, n_rois))[None]
    else:
        flow = inputs.x.mean((4, 5))[..., :2].cpu().numpy()
        weights = torch.from_numpy(compute_au_shares(flow, inputs.mask.cpu().numpy())).float()
    axes = {"roi": "clip roi", "frame": "clip time", "au": "clip sided_au", "roi x frame": "clip time roi"}[groups]
    return weights.expand(len(inputs.x), -1, -1, -1).to(inputs.x), axes


def _perturb(model: Stag, inputs: Inputs, settings: Mapping, method: str, **more) -> Values:
    """A perturbation method of Captum over groups, clip by clip: each group's motion is present (1) or zero (0)."""
    from captum import attr

    weights, axes = make_groups(inputs, settings["groups"])

    def forward(present: Tensor, x: Tensor, weights: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        kept = torch.einsum("bk,btnk->btn", present, weights)
        return model.logits(x * kept[..., None, None, None], mask, times_ms)

    parts = []
    for i in range(len(inputs.x)):
        one = inputs.select(slice(i, i + 1))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            part = getattr(attr, method)(forward).attribute(
                torch.ones(1, weights.shape[-1]).to(one.x),
                baselines=0,
                target=one.target,
                additional_forward_args=(one.x, weights[i : i + 1].contiguous(), *one.more),
                perturbations_per_eval=min(settings["batch_size"], 64),
                **more,
            )
        parts.append(part)
    values = torch.cat(parts)
    if settings["groups"] == "roi x frame":
        values = values.unflatten(1, inputs.mask.shape[1:])
    return Values(values, axes, *_MOTION[1:], *_ends(model, inputs))


def feature_ablation(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Decrease of the logit when the motion of one group is zero (Zeiler and Fergus 2014, arXiv:1311.2901)."""
    return _perturb(model, inputs, settings, "FeatureAblation")


def shapley_sampling(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Mean effect of a group over random orders of ablation (Castro et al. 2009, doi:10.1016/j.cor.2008.04.004)."""
    return _perturb(model, inputs, settings, "ShapleyValueSampling", n_samples=settings["n_samples"])


def layer_integrated_gradients(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Integrated gradients over the output of a layer, everything else as in the clip.

    Motion reaches the AU evidence and the edges without passing the tokens; what is not varied is the same at both ends.
    """
    from captum.attr import LayerIntegratedGradients

    layer, axes = {
        "region tokens": (model.tokens.embed, "clip time roi"),
        "frame tokens": (model.frame_tokens, "clip time"),
        "au evidence": (model.aus.logits, "clip time au"),
    }[settings["layer"]]
    zero = torch.zeros_like(inputs.x)
    values = LayerIntegratedGradients(model.logits, layer).attribute(
        inputs.x,
        baselines=zero,
        target=inputs.target,
        additional_forward_args=inputs.more,
        **_path(inputs, settings),
    )

    def at_baseline() -> Tensor:
        kept = []
        for hook, x in ((lambda _, __, value: kept.append(value), zero), (lambda _, __, value: kept[0], inputs.x)):
            handle = layer.register_forward_hook(hook)
            try:
                logits = model.logits(x, *inputs.more)
            finally:
                handle.remove()
        return logits

    values = values if axes.endswith("au") else values.sum(-1)
    baseline = f"the {settings['layer']} of a face without motion"
    return Values(values, axes, settings["layer"], baseline, *_ends(model, inputs, at_baseline))


def edge_integrated_gradients(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Integrated gradients over the weights of the region edges, motion as in the clip.

    Only ratios within a row of edges matter, so zero edges are no baseline: the baseline is the edges of a face without
    motion, where no AU is active (stagkit's choice).
    """
    from captum.attr import IntegratedGradients

    with torch.no_grad():
        edges = model(inputs.x, *inputs.more).edges
        rest = model(torch.zeros_like(inputs.x), *inputs.more).edges

    def forward(edges: Tensor, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        return model.logits(x, mask, times_ms, edges)

    values = IntegratedGradients(forward).attribute(
        edges,
        baselines=rest,
        target=inputs.target,
        additional_forward_args=(inputs.x, *inputs.more),
        **_path(inputs, settings),
    )
    ends = _ends(model, inputs, lambda: forward(rest, inputs.x, *inputs.more))
    return Values(values, "clip time target source", "edges", "the edges of a face without motion", *ends)


def compute_au_edge_attribution(model: Stag, one: Batch, target: int, n_steps: int = 16) -> tuple[np.ndarray, float]:
    """Integrated gradients of a logit of one clip over the edges between action units, from no edges to those of the clip.

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


#: name -> (function, the settings that it reads); ``batch_size`` is found by a probe.
METHODS: dict[str, tuple[Callable[..., Values], tuple[str, ...]]] = {
    "integrated gradients": (integrated_gradients, ("n_steps",)),
    "gradient x input": (gradient_x_input, ()),
    "gradient shap": (gradient_shap, ("n_samples", "seed")),
    "feature ablation": (feature_ablation, ("groups", "seed")),
    "shapley sampling": (shapley_sampling, ("groups", "n_samples", "seed")),
    "layer integrated gradients": (layer_integrated_gradients, ("layer", "n_steps")),
    "edge integrated gradients": (edge_integrated_gradients, ("n_steps",)),
}
