"""The contract that a layer of your own has to keep: masks, edges, order of regions, probes, gradients, completeness.

A layer that breaks one of its rules still trains, and its score may even be good; what is shown of it would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.explain.aggregate import MAX_DELTA
from stagkit.explain.attribution import attribute
from stagkit.explain.custom_layers import SLOTS, CustomLayerError, replace_layers
from stagkit.network.hooks import intervene, record

#: Largest difference of two outputs that should be equal, as a share of the largest value (stagkit's choice).
SAME = 1e-4

_CLIPS, _FRAMES, _CLASSES = 3, 5, 3


class _BrokenRule(Exception):
    """A check found that its rule is broken; the text says what was found."""


class Finding(NamedTuple):
    """One rule of one layer: its name, whether it is kept, and what was found, in words."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Report:
    """Result of ``check_layer``, one finding per rule in the order of ``CONTRACT``; a notebook shows it as a table."""

    layer: str
    place: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the broken rules."""
        return tuple(f.name for f in self.findings if not f.ok)

    @property
    def passed(self) -> bool:
        """True if every rule is kept."""
        return not self.failed

    def __str__(self) -> str:
        width = max(len(f.name) for f in self.findings)
        rows = [f"{'kept  ' if f.ok else 'BROKEN'}  {f.name:<{width}}  {f.text}" for f in self.findings]
        return "\n".join([f"{self.layer} as a {self.place} layer", *rows])

    def _repr_markdown_(self) -> str:
        rows = [f"| {f.name} | {'✓' if f.ok else '**✗ broken**'} | {f.text} |" for f in self.findings]
        return "\n".join([f"| {self.layer} as {self.place} layer | | what was found |", "|---|---|---|", *rows])


class _Case(NamedTuple):
    """A layer, its inputs, and which of them are visible: bool "batch time roi" or "batch time"."""

    layer: nn.Module
    make: Callable[[StagConfig, int], nn.Module]
    place: str
    config: StagConfig
    inputs: tuple
    mask: Tensor

    @torch.no_grad()
    def run(self, *changed) -> tuple[Tensor, Tensor]:
        """Tokens and attention, with the first inputs changed."""
        return self.layer(*changed, *self.inputs[len(changed) :])


def check_layer(
    make: Callable[[StagConfig, int], nn.Module], place: str = "graph", config: StagConfig | None = None
) -> Report:
    """Check a layer against the contract of its place, on random inputs (seed 0), without dropout; under two seconds.

    Args:
        make: the class, or a function of ``StagConfig`` and number, as for ``replace_layers``.
        place: ``graph`` or ``time``.
        config: of the small network it is tried in; default: width 16 with one layer of each kind. Its head is ``fused``,
            since ``head='graph'`` has no graph layers.

    Returns:
        ``Report``; a check that ends in an error counts as broken.

    Raises:
        CustomLayerError: no such place, or something that makes no ``nn.Module``.
    """
    if place not in SLOTS:
        raise CustomLayerError(f"there is no slot {place!r}; layers can be replaced in {' or '.join(SLOTS)}.")
    findings = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        small = config or StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
        case = _make_case(make, place, small.replace(head="fused"))
        for name, check in ((name, check) for name, (places, check) in CONTRACT.items() if place in places):
            try:
                findings.append(Finding(name, True, check(case)))
            except _BrokenRule as broken:
                findings.append(Finding(name, False, str(broken)))
            except Exception as error:  # a reader's layer may raise anything
                first_line = "".join(str(error).strip().splitlines()[:1])
                findings.append(Finding(name, False, f"{type(error).__name__}: {first_line}"))
    return Report(getattr(make, "__name__", type(case.layer).__name__), place, tuple(findings))


def _make_case(make: Callable, place: str, config: StagConfig) -> _Case:
    layer = make(config, 0)
    if not isinstance(layer, nn.Module):
        kind = type(layer).__name__
        raise CustomLayerError(f"{make!r} made a {kind}, expected an nn.Module: give the class of the layer.")
    n_rois = len(ATLAS.names)
    if place == "time":
        mask = torch.ones(_CLIPS, _FRAMES, dtype=torch.bool)
        mask[0, -2:] = False
        return _Case(layer.eval(), make, place, config, (torch.randn(_CLIPS, _FRAMES, config.width), mask), mask)
    mask = torch.rand(_CLIPS, _FRAMES, n_rois) > 0.2
    pairs = (_CLIPS, _FRAMES, n_rois, n_rois)
    edges = torch.rand(pairs) * (torch.rand(pairs) > 0.3) + torch.eye(n_rois)
    x = torch.randn(_CLIPS, _FRAMES, n_rois, config.width) * mask[..., None]
    return _Case(layer.eval(), make, place, config, (x, edges, mask), mask)


def _differ(first: Tensor, second: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite if something is not finite."""
    if not (first.isfinite().all() and second.isfinite().all()):
        return float("inf")
    return float((first - second).abs().max() / first.abs().max().clamp_min(1e-12)) if first.numel() else 0.0


def _require(kept: bool, found: str) -> str:
    """``found``, what a check found, if its rule is kept."""
    if not kept:
        raise _BrokenRule(found)
    return found


def _check_shapes(case: _Case) -> str:
    x, returned = case.inputs[0], case.layer(*case.inputs)
    pair = isinstance(returned, tuple) and len(returned) == 2
    _require(pair, f"it returns a {type(returned).__name__}, expected (tokens, attention)")
    out, attention = returned
    *lead, ends, _ = x.shape
    n_lead, shape = len(lead), tuple(attention.shape)
    _require(out.shape == x.shape, f"tokens {tuple(x.shape)} come back as {tuple(out.shape)}")
    as_expected = [*shape[:n_lead], *shape[n_lead + 1 :]] == [*lead, ends, ends]
    _require(as_expected, f"attention is {shape}, expected {(*lead, 'head', ends, ends)}")
    _require(bool(out.isfinite().all() and attention.isfinite().all()), "not all returned values are finite")
    return f"tokens {tuple(out.shape)}, attention {shape}"


def _check_attention(case: _Case) -> str:
    attention = case.run()[1]
    hidden = attention[~case.mask.unsqueeze(-2).unsqueeze(-2).expand_as(attention)]
    total = attention.sum(-1)
    off = torch.minimum((total - 1).abs(), total.abs()).max().item()
    _require(bool(attention.min() >= 0), f"the smallest value is {attention.min():.2g}, below 0")
    _require(not hidden.any(), f"sources under the mask get up to {hidden.max():.2g}")
    return _require(off <= SAME, f"rows sum to 1 over the visible sources (largest error {off:.1g})")


def _check_mask(case: _Case) -> str:
    other = torch.where(case.mask[..., None], case.inputs[0], 10 * torch.randn_like(case.inputs[0]))
    difference = _differ(case.run()[0][case.mask], case.run(other)[0][case.mask])
    what = "regions" if case.place == "graph" else "frames"
    return _require(difference <= SAME, f"{what} under the mask change the others by {difference:.0%}")


def _check_independence(case: _Case) -> str:
    """Clips (and, in a graph, frames) do not affect each other."""
    whole, names = case.run()[0], ("clip", "frame") if case.place == "graph" else ("clip",)
    for axis, name in enumerate(names):
        part = [v.narrow(axis, 0, 1) if isinstance(v, Tensor) else v for v in case.inputs]
        difference = _differ(whole.narrow(axis, 0, 1), case.run(*part)[0])
        _require(difference <= SAME, f"a {name} alone gets an output that differs by {difference:.0%}: axes mixed up?")
    return f"{' and '.join(f'{name}s' for name in names)} do not affect each other"


def _check_order(case: _Case) -> str:
    x, edges, mask = case.inputs
    order = torch.randperm(x.shape[2])
    out, attention = case.run()
    other, other_attention = case.run(x[:, :, order], edges[:, :, order][:, :, :, order], mask[:, :, order])
    tokens, shares = _differ(out[:, :, order], other), _differ(attention[..., order, :][..., order], other_attention)
    for name, difference in (("tokens", tokens), ("attention", shares)):
        _require(difference <= SAME, f"with the regions in another order the {name} differ by {difference:.0%}")
    return "regions in another order: the same output in that order"


def _check_edges(case: _Case) -> str:
    """A removed edge carries nothing, and the weights of edges matter."""
    x, edges, *rest = case.inputs
    removed, moved = edges.clone(), x.clone()
    removed[:, :, :, 0], moved[:, :, 0] = 0.0, moved[:, :, 0] + 5.0
    removed[:, :, 0, 0] = 1.0
    leak = _differ(case.run(x, removed)[0][:, :, 1:], case.run(moved, removed)[0][:, :, 1:])
    _require(leak <= SAME, f"over removed edges a region still changes the others by {leak:.0%}")
    weight = edges.clone().requires_grad_()
    message = (case.layer(x, weight, *rest)[0] * torch.randn_like(x)).sum()
    gradient = torch.autograd.grad(message, weight, allow_unused=True)[0] if message.requires_grad else None
    matters = gradient is not None and bool(gradient.any())
    _require(matters, "the weights of edges have no effect: edge attributions would be zero")
    return "a removed edge carries nothing, a stronger one more"


def _check_probes(case: _Case) -> str:
    name = SLOTS[case.place].format(0)
    with record(case.layer, name) as recorded:
        out, attention = case.run()
    same = recorded[name].shape == attention.shape and _differ(attention, recorded[name]) <= SAME
    _require(same, f"probe {name!r} does not record the attention that is returned")
    with intervene(case.layer, {name: 0.0}):
        difference = _differ(out, case.run()[0])
    _require(difference > SAME, f"setting {name!r} to zero changes nothing: what is shown is not what is used")
    return f"{name!r} is recorded, and setting it has an effect"


def _check_gradients(case: _Case) -> str:
    out, parameters = case.layer(*case.inputs)[0], dict(case.layer.named_parameters())
    if not parameters:
        return "it has nothing to learn"
    found = torch.autograd.grad((out * torch.randn_like(out)).sum(), [*parameters.values()], allow_unused=True)
    sizes = {n: 0.0 if g is None else float(g.abs().max()) for n, g in zip(parameters, found, strict=True)}
    without = [n for n, size in sizes.items() if not size > 1e-7 * max(sizes.values())]
    _require(not without, f"no gradient reaches {', '.join(without[:4])}: never used, detached, or without effect")
    return f"all {len(sizes)} parameters learn"


def _check_side_effects(case: _Case) -> str:
    tensors = [v for v in case.inputs if isinstance(v, Tensor)]
    before = [v.clone() for v in tensors]
    first, again = case.run()[0], case.run()[0]
    unchanged = all(torch.equal(old, new) for old, new in zip(before, tensors, strict=True))
    for old, new in zip(before, tensors, strict=True):
        new.copy_(old)  # for the checks that follow
    _require(unchanged, "it changes its inputs: use no in-place operation")
    _require(torch.equal(first, again), "two calls give two outputs in evaluation mode")
    return "two calls give the same output and leave the inputs unchanged"


def _check_completeness(case: _Case) -> str:
    """Integrated gradients of what the layer adds to its tokens, between two random sets of tokens."""
    from captum.attr import IntegratedGradients

    x, *rest = (v[:1] if isinstance(v, Tensor) else v for v in case.inputs)
    start, weights = torch.randn_like(x), torch.randn_like(x)

    def added(tokens: Tensor) -> Tensor:
        many = (v.expand(len(tokens), *v.shape[1:]) if isinstance(v, Tensor) else v for v in rest)
        return ((case.layer(tokens, *many)[0] - tokens) * weights).flatten(1).sum(1)

    with torch.no_grad():
        rise = float(added(x) - added(start))
    if abs(rise) < 1e-9:
        return "it adds nothing that could be attributed"
    found = IntegratedGradients(added).attribute(x, baselines=start, n_steps=128, internal_batch_size=16)
    miss = abs(float(found.double().sum()) - rise) / abs(rise)
    hint = "" if miss <= MAX_DELTA else ": jumps, or something detached?"
    return _require(miss <= MAX_DELTA, f"the attributions miss {miss:.1%} of what the layer adds{hint}")


def _check_network(case: _Case) -> str:
    """In its place: padded frames change no logit, and the attributions of the network stay complete."""
    from stagkit.network.model import Stag

    model = replace_layers(Stag(case.config, _CLASSES), case.place, case.make).eval()
    shape = (_CLIPS, _FRAMES, len(ATLAS.names))
    x, mask = torch.randn(*shape, 3, model.patch, model.patch), torch.ones(shape, dtype=torch.bool)
    times = (40.0 * torch.arange(_FRAMES)).expand(_CLIPS, -1)
    inputs, hidden = (x, mask, times), (x[:, :2], torch.zeros_like(mask[:, :2]), times[:, :2])
    with torch.no_grad():
        logits = model.logits(*inputs)
        padded = model.logits(*(torch.cat(pair, 1) for pair in zip(inputs, hidden, strict=True)))
        rise = logits - model.logits(0 * x, mask, times)
    difference = _differ(logits, padded)
    _require(difference <= SAME, f"two padded frames change the logits by {difference:.0%}")
    names = tuple(f"clip{i}" for i in range(_CLIPS))
    aus = torch.full((_CLIPS, len(ATLAS.incidence)), torch.nan)
    batch = Batch(x, mask, times, torch.zeros(_CLIPS).long(), aus, names, names, ("a", "b", "c"))
    found = attribute(model, batch, target=rise.abs().argmax(1).tolist(), n_steps=64, search=False)
    miss = float(found.relative_delta.max())
    text = f"padding changes nothing, attributions miss {miss:.1%} of the logit difference"
    return _require(miss <= MAX_DELTA, text)


_BOTH, _GRAPH = ("graph", "time"), ("graph",)

#: Rule -> (places it holds for, check), in this order.
CONTRACT: dict[str, tuple[tuple[str, ...], Callable[[_Case], str]]] = {
    "shapes": (_BOTH, _check_shapes),
    "attention": (_BOTH, _check_attention),
    "mask": (_BOTH, _check_mask),
    "independence": (_BOTH, _check_independence),
    "order of regions": (_GRAPH, _check_order),
    "edges": (_GRAPH, _check_edges),
    "probes": (_BOTH, _check_probes),
    "gradients": (_BOTH, _check_gradients),
    "no side effects": (_BOTH, _check_side_effects),
    "completeness": (_BOTH, _check_completeness),
    "in the network": (_BOTH, _check_network),
}
