"""The methods of ``attribution.attribute``: exact terms of the network itself; the others by Captum, same baseline.

Captum: Kokhlikyan et al. 2020, arXiv:2009.07896.
DeepLift, guided backpropagation and LRP are left out: they break on attention or fail published sanity checks (Adebayo et
al. 2018, arXiv:1810.03292).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from stagkit.core.types import Batch, StagOutput
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.exact_terms import compute_output, place_terms
from stagkit.explain.motion_decomposition import compute_au_shares
from stagkit.network.hooks import intervene, record
from stagkit.network.model import Stag
from stagkit.training.ensemble import measure_saved_bytes

#: What feature ablation and Shapley sampling may set to zero together.
GROUPS = ("roi", "frame", "au", "roi x frame")
#: Layers whose output layer integrated gradients vary.
LAYERS = ("region tokens", "frame tokens", "au evidence")

_BUDGET = 256 * 2**20  # bytes of saved activations that one pass may hold on a CPU
_MOTION = ("clip time roi chan py px", "x", "zero flow (no motion)")

#: Names that ``compute_reference_map`` takes.
REFERENCE_MAPS = ("flow magnitude", "random", "attention", "grad-cam")


class Inputs(NamedTuple):
    """Motion "clip time roi chan py px" (0 under the mask), its mask and times, and the classes to explain."""

    x: Tensor
    mask: Tensor
    times_ms: Tensor
    target: Tensor

    @property
    def more(self) -> tuple[Tensor, Tensor]:
        """The arguments of ``model.logits`` after ``x``."""
        return self.mask, self.times_ms

    @property
    def options(self) -> dict:
        """What Captum's methods of ``model.logits`` take by name."""
        return {"target": self.target, "additional_forward_args": self.more}

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

    The budget is ``_BUDGET`` on a CPU and half of the free memory on a GPU (stagkit's choice).
    """
    first = one[0].detach().requires_grad_()
    kept = measure_saved_bytes(lambda: function(first, *one[1:]))
    budget = torch.cuda.mem_get_info(first.device)[0] // 2 if first.device.type == "cuda" else _BUDGET
    return max(1, int(budget // max(kept, 1)))


def choose_target(target: Sequence[int] | int | None, logits):
    """The class explained for each clip, int64 "clip": as given, or the predicted one if None."""
    if target is None:
        return logits.argmax(1)
    chosen = torch.as_tensor(target, dtype=torch.long, device=logits.device).expand(len(logits))
    if chosen.min() < 0 or chosen.max() >= logits.shape[1]:
        raise ExplainError(f"`target` is {target}; the network has the classes 0 to {logits.shape[1] - 1}.")
    return chosen


@contextmanager
def frozen(model: torch.nn.Module):
    """No weight needs a gradient inside the block: faster, and no gradient is left behind."""
    trained = [p for p in model.parameters() if p.requires_grad]
    try:
        model.requires_grad_(False)
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_()


def _ends(model: Stag, inputs: Inputs, at_baseline: Callable[[], Tensor] | None = None) -> tuple[Tensor, Tensor]:
    """The target's logit of the clip and of the baseline: by default, no motion."""
    with torch.no_grad():
        top = model.logits(inputs.x, *inputs.more)
        low = at_baseline() if at_baseline else model.logits(torch.zeros_like(inputs.x), *inputs.more)
    return tuple(logits.gather(1, inputs.target[:, None])[:, 0] for logits in (top, low))


def _captum(name: str, *forward):
    """One of Captum's methods; importing Captum takes seconds."""
    from captum import attr

    return getattr(attr, name)(*forward)


def _path(inputs: Inputs, settings: Mapping) -> dict[str, int]:
    return {"n_steps": settings["n_steps"], "internal_batch_size": max(settings["batch_size"], len(inputs.x))}


def integrated_gradients(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Sundararajan, Taly and Yan 2017 (arXiv:1703.01365), Gauss-Legendre points on the straight path from no motion."""
    zero, path = torch.zeros_like(inputs.x), _path(inputs, settings)
    values = _captum("IntegratedGradients", model.logits).attribute(inputs.x, zero, **inputs.options, **path)
    return Values(values, *_MOTION, *_ends(model, inputs))


def gradient_x_input(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """The gradient at the clip times the clip; exact for a linear network only."""
    values = _captum("InputXGradient", model.logits).attribute(inputs.x.clone().requires_grad_(), **inputs.options)
    return Values(values, *_MOTION, *_ends(model, inputs))


def gradient_shap(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Expected gradients at random points between no motion and the clip (Lundberg and Lee 2017, arXiv:1705.07874)."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        state = np.random.get_state()  # noqa: NPY002 (Captum draws its points from numpy's global generator)
        np.random.seed(settings["seed"])  # noqa: NPY002
        try:
            x, zero = inputs.x.clone().requires_grad_(), torch.zeros_like(inputs.x[:1])
            values = _captum("GradientShap", model.logits).attribute(x, zero, settings["n_samples"], **inputs.options)
        finally:
            np.random.set_state(state)  # noqa: NPY002
    return Values(values, *_MOTION, *_ends(model, inputs))


def make_groups(inputs: Inputs, groups: str) -> tuple[Tensor, str]:
    """Part of each region's motion in each frame that belongs to each of ``GROUPS`` (``au``: in shares of the motion).

    Returns:
        float "clip time roi group", summing to 1 over groups for visible regions, and the axes of the values.
    """
    n_frames, n_rois = inputs.mask.shape[1:]
    if groups == "roi":
        weights, axes = torch.eye(n_rois).expand(1, n_frames, -1, -1), "clip roi"
    elif groups == "frame":
        weights, axes = torch.eye(n_frames)[None, :, None].expand(1, -1, n_rois, -1), "clip time"
    elif groups == "roi x frame":
        weights, axes = torch.eye(n_frames * n_rois).unflatten(0, (n_frames, n_rois))[None], "clip time roi"
    else:
        flow = inputs.x.mean((4, 5))[..., :2].cpu().numpy()
        weights = torch.from_numpy(compute_au_shares(flow, inputs.mask.cpu().numpy())).float()
        axes = "clip sided_au"
    return weights.expand(len(inputs.x), -1, -1, -1).to(inputs.x), axes


def _perturb(model: Stag, inputs: Inputs, settings: Mapping, method: str, **more) -> Values:
    """A perturbation method of Captum over groups, clip by clip: each group's motion is present (1) or zero (0)."""
    weights, axes = make_groups(inputs, settings["groups"])

    def forward(present: Tensor, x: Tensor, weights: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        kept = torch.einsum("bk,btnk->btn", present, weights)
        return model.logits(x * kept[..., None, None, None], mask, times_ms)

    parts, explainer = [], _captum(method, forward)
    for i in range(len(inputs.x)):
        one = inputs.select(slice(i, i + 1))
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings["seed"])
            part = explainer.attribute(
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

    Motion reaches the region edges without passing the tokens as well (they compare its direction at both ends); what is
    not varied is the same at both ends.
    """
    layer, axes = {
        "region tokens": (model.tokens.embed, "clip time roi"),
        "frame tokens": (model.frame_tokens, "clip time"),
        "au evidence": (model.region_graph.logits, "clip time au"),
    }[settings["layer"]]
    zero, explainer = torch.zeros_like(inputs.x), _captum("LayerIntegratedGradients", model.logits, layer)
    values = explainer.attribute(inputs.x, zero, **inputs.options, **_path(inputs, settings))

    def at_baseline() -> Tensor:
        kept = []
        for hook, x in ((lambda _, __, value: kept.append(value), zero), (lambda _, __, value: kept[0], inputs.x)):
            with layer.register_forward_hook(hook):
                logits = model.logits(x, *inputs.more)
        return logits

    values = values if axes.endswith("au") else values.sum(-1)
    baseline = f"the {settings['layer']} of a face without motion"
    return Values(values, axes, settings["layer"], baseline, *_ends(model, inputs, at_baseline))


def exact_terms(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Terms of the region edges in the logit, placed on regions and AUs: nothing is estimated (``head='graph'``).

    A face without motion has no terms, and its logits are those without region edges.
    """
    terms, ends = _read_terms(model, inputs)
    values = place_terms(model, terms, inputs.x, inputs.mask)
    return Values(values, "clip time roi au", "region edges", _MOTION[2], *ends)


def exact_edge_terms(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Terms of the region edges in the logit, edge by edge (``head='graph'``)."""
    terms, ends = _read_terms(model, inputs)
    return Values(terms, "clip time edge", "region edges", _MOTION[2], *ends)


def _read_terms(model: Stag, inputs: Inputs) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Terms of the region edges in the target's logit "clip time edge"; that logit with them and without them."""
    output, clips = compute_output(model, inputs.x, *inputs.more), torch.arange(len(inputs.x))
    ends = output.logits[clips, inputs.target], output.terms.without[clips, inputs.target]
    return output.terms.region_edges[clips, :, inputs.target], ends


def edge_integrated_gradients(model: Stag, inputs: Inputs, settings: Mapping) -> Values:
    """Integrated gradients over the weights of the region edges, from none (0) to all (1), motion as in the clip."""
    whole = torch.ones(*inputs.mask.shape[:2], len(model.region_graph.index)).to(inputs.x)
    none = torch.zeros_like(whole)

    def forward(edges: Tensor, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        return model.logits(x, mask, times_ms, edges)

    more = {"target": inputs.target, "additional_forward_args": (inputs.x, *inputs.more)}
    values = _captum("IntegratedGradients", forward).attribute(whole, none, **more, **_path(inputs, settings))
    ends = _ends(model, inputs, lambda: forward(none, inputs.x, *inputs.more))
    return Values(values, "clip time edge", "region edges", "no region edges", *ends)


#: name -> (function, the settings that it reads); ``batch_size`` is found by a probe.
METHODS: dict[str, tuple[Callable[..., Values], tuple[str, ...]]] = {
    "exact terms": (exact_terms, ()),
    "exact edge terms": (exact_edge_terms, ()),
    "integrated gradients": (integrated_gradients, ("n_steps",)),
    "gradient x input": (gradient_x_input, ()),
    "gradient shap": (gradient_shap, ("n_samples", "seed")),
    "feature ablation": (feature_ablation, ("groups", "seed")),
    "shapley sampling": (shapley_sampling, ("groups", "n_samples", "seed")),
    "layer integrated gradients": (layer_integrated_gradients, ("layer", "n_steps")),
    "edge integrated gradients": (edge_integrated_gradients, ("n_steps",)),
}


def compute_flow_magnitude(batch: Batch) -> np.ndarray:
    """Length of each region's mean motion, in the unit of the data; 0 under the mask. A strong reference."""
    flow = batch.x.mean((-1, -2))[..., :2] * batch.mask[..., None]
    return flow.norm(dim=-1).cpu().numpy().astype(float)


def compute_attention_received(output: StagOutput, mask: Tensor) -> np.ndarray:
    """Attention that each region receives over the region edges, summed over targets, times the frame's weight.

    The attention in each AU's subgraph counts as much as its AU is active.
    """
    received = output.edges.sum(2)
    if output.time_weights is not None:
        received = received * output.time_weights[:, :, None]
    return (received * mask).detach().cpu().numpy().astype(float)


def compute_grad_cam(model: Stag, batch: Batch, target: Tensor) -> np.ndarray:
    """Grad-CAM on the region tokens (Selvaraju et al. 2017, arXiv:1610.02391): ReLU of gradient-weighted channels."""
    with record(model, "roi.embed") as seen, torch.no_grad():
        model.logits(batch.x, batch.mask, batch.times_ms)
    tokens = seen["roi.embed"].to(batch.x.device).requires_grad_()
    with intervene(model, {"roi.embed": lambda _: tokens}):
        logits = model.logits(batch.x, batch.mask, batch.times_ms)
    (gradient,) = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), tokens)
    weights = gradient.sum((1, 2), keepdim=True) / batch.mask.sum((1, 2))[:, None, None, None].clamp_min(1)
    cam = (weights * tokens).sum(-1).clamp_min(0) * batch.mask
    return cam.detach().cpu().numpy().astype(float)


def compute_reference_map(name: str, model: Stag, batch: Batch, target=None, seed: int = 0) -> np.ndarray:
    """A map to compare attributions with, one of ``REFERENCE_MAPS``: float "clip time roi", >= 0, 0 under the mask.

    None is in logits, none is complete. ``target``: class for Grad-CAM, as in ``attribute``; ``seed``: of ``random``.
    """
    if name == "flow magnitude":
        return compute_flow_magnitude(batch)
    if name == "random":
        return np.random.default_rng(seed).random(tuple(batch.mask.shape)) * batch.mask.cpu().numpy()
    if name not in REFERENCE_MAPS:
        raise ExplainError(f"there is no reference map {name!r}; expected one of {', '.join(REFERENCE_MAPS)}.")
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    if name == "attention":
        return compute_attention_received(output, batch.mask)
    return compute_grad_cam(model, batch, choose_target(target, output.logits))
