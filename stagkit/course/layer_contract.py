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
from stagkit.network.attention import EDGE_FEATURES
from stagkit.network.custom import SLOTS, CustomLayerError, replace_layers
from stagkit.network.hooks import intervene, record

#: Largest difference of two outputs that should be equal, as a share of the largest value (stagkit's choice).
SAME = 1e-4

_CLIPS, _FRAMES, _CLASSES = 3, 5, 3

#: What a check returns: whether the rule is kept, and what was found.
_Result = tuple[bool, str]


class Finding(NamedTuple):
    """One rule of one layer: its name, whether it is kept, and what was found, in words."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Report:
    """Result of ``check_layer``; a notebook shows it as a table.

    Args:
        layer: name of the layer.
        place: where it was put in.
        findings: one per rule, in the order of ``CONTRACT``.
    """

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

    def raise_for_failures(self) -> None:
        """For a test of your own.

        Raises:
            CustomLayerError: names each broken rule and what was found.
        """
        if self.failed:
            broken = "; ".join(f"{f.name}: {f.text}" for f in self.findings if not f.ok)
            raise CustomLayerError(f"{self.layer} cannot stand in for a {self.place} layer. {broken}.")

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
    make: Callable[[StagConfig, int], nn.Module], place: str = "graph", config: StagConfig | None = None, seed: int = 0
) -> Report:
    """Check a layer against the contract of its place, on random inputs, without dropout; under two seconds.

    Args:
        make: the class, or a function of ``StagConfig`` and number, as for ``custom.replace_layers``.
        place: ``graph`` or ``time``.
        config: of the small network it is tried in; default: width 16 with one layer of each kind.
        seed: of weights and inputs.

    Returns:
        ``Report``; ``report.failed`` names what broke, ``report.raise_for_failures()`` raises it. A check that ends in an
        error counts as broken.

    Raises:
        CustomLayerError: no such place, or something that makes no ``nn.Module``.
    """
    if place not in SLOTS:
        raise CustomLayerError(f"there is no slot {place!r}; layers can be replaced in {' or '.join(SLOTS)}.")
    config = config or StagConfig(width=16, heads=2, graph_layers=1, time_layers=1)
    findings = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        case = _make_case(make, place, config)
        for name, (places, check) in CONTRACT.items():
            if place not in places:
                continue
            try:
                ok, text = check(case)
            except Exception as error:  # a reader's layer may raise anything
                ok, text = False, f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error) else ''}"
            findings.append(Finding(name, bool(ok), text))
    return Report(getattr(make, "__name__", type(case.layer).__name__), place, tuple(findings))


def _make_case(make: Callable, place: str, config: StagConfig) -> _Case:
    layer = make(config, 0)
    if not isinstance(layer, nn.Module):
        raise CustomLayerError(
            f"{make!r} made a {type(layer).__name__}, expected an nn.Module: give the class of the layer."
        )
    n_rois = len(ATLAS.names)
    if place == "time":
        mask = torch.ones(_CLIPS, _FRAMES, dtype=torch.bool)
        mask[0, -2:] = False
        return _Case(layer.eval(), make, place, config, (torch.randn(_CLIPS, _FRAMES, config.width), mask), mask)
    mask = torch.rand(_CLIPS, _FRAMES, n_rois) > 0.2
    pairs = (_CLIPS, _FRAMES, n_rois, n_rois)
    edges = torch.rand(pairs) * (torch.rand(pairs) > 0.3) + torch.eye(n_rois)
    features = torch.randn(*pairs, EDGE_FEATURES) if config.graph == "egat" else None
    x = torch.randn(_CLIPS, _FRAMES, n_rois, config.width) * mask[..., None]
    return _Case(layer.eval(), make, place, config, (x, edges, features, mask), mask)


def _differ(first: Tensor, second: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite if something is not finite."""
    if not (first.isfinite().all() and second.isfinite().all()):
        return float("inf")
    return float((first - second).abs().max() / first.abs().max().clamp_min(1e-12)) if first.numel() else 0.0


def _check_shapes(case: _Case) -> _Result:
    x, returned = case.inputs[0], case.layer(*case.inputs)
    if not (isinstance(returned, tuple) and len(returned) == 2):
        return False, f"it returns a {type(returned).__name__}, expected (tokens, attention)"
    out, attention = returned
    *lead, ends, _ = x.shape
    if out.shape != x.shape:
        return False, f"tokens {tuple(x.shape)} come back as {tuple(out.shape)}"
    if [*attention.shape[: len(lead)], *attention.shape[len(lead) + 1 :]] != [*lead, ends, ends]:
        return False, f"attention is {tuple(attention.shape)}, expected {(*lead, 'head', ends, ends)}"
    if not (out.isfinite().all() and attention.isfinite().all()):
        return False, "not all returned values are finite"
    return True, f"tokens {tuple(out.shape)}, attention {tuple(attention.shape)}"


def _check_attention(case: _Case) -> _Result:
    attention = case.run()[1]
    hidden = ~case.mask.unsqueeze(-2).unsqueeze(-2).expand_as(attention)
    total = attention.sum(-1)
    off = torch.minimum((total - 1).abs(), total.abs()).max().item()
    if attention.min() < 0:
        return False, f"the smallest value is {attention.min():.2g}, below 0"
    if attention[hidden].any():
        return False, f"sources under the mask get up to {attention[hidden].max():.2g}"
    return off <= SAME, f"rows sum to 1 over the visible sources (largest error {off:.1g})"


def _check_mask(case: _Case) -> _Result:
    other = torch.where(case.mask[..., None], case.inputs[0], 10 * torch.randn_like(case.inputs[0]))
    difference = _differ(case.run()[0][case.mask], case.run(other)[0][case.mask])
    what = "regions" if case.place == "graph" else "frames"
    return difference <= SAME, f"{what} under the mask change the others by {difference:.0%}"


def _check_independence(case: _Case) -> _Result:
    """Clips (and, in a graph, frames) do not affect each other."""
    whole = case.run()[0]
    for axis, name in enumerate(("clip", "frame") if case.place == "graph" else ("clip",)):
        part = [v.narrow(axis, 0, 1) if isinstance(v, Tensor) else v for v in case.inputs]
        difference = _differ(whole.narrow(axis, 0, 1), case.run(*part)[0])
        if difference > SAME:
            return (
                False,
                f"the output of a {name} alone differs from that among others by {difference:.0%}: axes mixed up?",
            )
    return (
        True,
        "clips and frames do not affect each other" if case.place == "graph" else "clips do not affect each other",
    )


def _check_order(case: _Case) -> _Result:
    x, edges, features, mask = case.inputs
    order = torch.randperm(x.shape[2])
    edges, features = (None if v is None else v[:, :, order][:, :, :, order] for v in (edges, features))
    (out, attention), (other, other_attention) = (
        case.run(),
        case.run(x[:, :, order], edges, features, mask[:, :, order]),
    )
    expected = {
        "tokens": (out[:, :, order], other),
        "attention": (attention[..., order, :][..., order], other_attention),
    }
    for name, pair in expected.items():
        if _differ(*pair) > SAME:
            return False, f"with the regions in another order the {name} differ by {_differ(*pair):.0%}"
    return True, "regions in another order: the same output in that order"


def _check_edges(case: _Case) -> _Result:
    """A removed edge carries nothing, and the weights of edges matter."""
    x, edges, *rest = case.inputs
    removed, moved = edges.clone(), x.clone()
    removed[:, :, :, 0], moved[:, :, 0] = 0.0, moved[:, :, 0] + 5.0
    removed[:, :, 0, 0] = 1.0
    leak = _differ(case.run(x, removed)[0][:, :, 1:], case.run(moved, removed)[0][:, :, 1:])
    if leak > SAME:
        return False, f"over removed edges a region still changes the others by {leak:.0%}"
    weight = edges.clone().requires_grad_()
    message = (case.layer(x, weight, *rest)[0] * torch.randn_like(x)).sum()
    gradient = torch.autograd.grad(message, weight, allow_unused=True)[0] if message.requires_grad else None
    if gradient is None or not gradient.any():
        return False, "the weights of edges have no effect: edge attributions would be zero"
    return True, "a removed edge carries nothing, a stronger one more"


def _check_probes(case: _Case) -> _Result:
    name = SLOTS[case.place].format(0)
    with record(case.layer, name) as recorded:
        out, attention = case.run()
    if recorded[name].shape != attention.shape or _differ(attention, recorded[name]) > SAME:
        return False, f"probe {name!r} does not record the attention that is returned"
    with intervene(case.layer, {name: 0.0}):
        zeroed = case.run()[0]
    if _differ(out, zeroed) <= SAME:
        return False, f"setting {name!r} to zero changes nothing: what is shown is not what is used"
    return True, f"{name!r} is recorded, and setting it has an effect"


def _check_gradients(case: _Case) -> _Result:
    out, parameters = case.layer(*case.inputs)[0], dict(case.layer.named_parameters())
    if not parameters:
        return True, "it has nothing to learn"
    found = torch.autograd.grad((out * torch.randn_like(out)).sum(), [*parameters.values()], allow_unused=True)
    sizes = {n: 0.0 if g is None else float(g.abs().max()) for n, g in zip(parameters, found, strict=True)}
    without = [n for n, size in sizes.items() if not size > 1e-7 * max(sizes.values())]
    if without:
        return False, f"no gradient reaches {', '.join(without[:4])}: never used, detached, or without effect"
    return True, f"all {len(sizes)} parameters learn"


def _check_side_effects(case: _Case) -> _Result:
    before = [v.clone() if isinstance(v, Tensor) else v for v in case.inputs]
    first, again = case.run()[0], case.run()[0]
    changed = [(old, new) for old, new in zip(before, case.inputs, strict=True) if isinstance(old, Tensor)]
    changed = [(old, new) for old, new in changed if not torch.equal(old, new)]
    for old, new in changed:
        new.copy_(old)  # for the checks that follow
    if changed:
        return False, "it changes its inputs: use no in-place operation"
    if not torch.equal(first, again):
        return False, "two calls give two outputs in evaluation mode"
    return True, "two calls give the same output and leave the inputs unchanged"


def _check_completeness(case: _Case) -> _Result:
    """Integrated gradients of what the layer adds to its tokens, between two random sets of tokens."""
    from captum.attr import IntegratedGradients

    x, rest = case.inputs[0][:1], [v[:1] if isinstance(v, Tensor) else v for v in case.inputs[1:]]
    start, weights = torch.randn_like(x), torch.randn_like(x)

    def added(tokens: Tensor) -> Tensor:
        many = (v.expand(len(tokens), *v.shape[1:]) if isinstance(v, Tensor) else v for v in rest)
        return ((case.layer(tokens, *many)[0] - tokens) * weights).flatten(1).sum(1)

    with torch.no_grad():
        rise = float(added(x) - added(start))
    if abs(rise) < 1e-9:
        return True, "it adds nothing that could be attributed"
    found = IntegratedGradients(added).attribute(x, baselines=start, n_steps=128, internal_batch_size=16)
    miss = abs(float(found.double().sum()) - rise) / abs(rise)
    hint = "" if miss <= MAX_DELTA else ": jumps, or something detached?"
    return miss <= MAX_DELTA, f"the attributions miss {miss:.1%} of what the layer adds{hint}"


def _check_network(case: _Case) -> _Result:
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
    if _differ(logits, padded) > SAME:
        return False, f"two padded frames change the logits by {_differ(logits, padded):.0%}"
    names = tuple(f"clip{i}" for i in range(_CLIPS))
    aus = torch.full((_CLIPS, len(ATLAS.incidence)), torch.nan)
    batch = Batch(x, mask, times, torch.zeros(_CLIPS).long(), aus, names, names, ("a", "b", "c"))
    found = attribute(model, batch, target=rise.abs().argmax(1).tolist(), n_steps=64, search=False)
    miss = float(found.relative_delta.max())
    return miss <= MAX_DELTA, f"padding changes nothing, attributions miss {miss:.1%} of the logit difference"


_BOTH, _GRAPH = ("graph", "time"), ("graph",)

#: Rule -> (places it holds for, check), in this order.
CONTRACT: dict[str, tuple[tuple[str, ...], Callable[[_Case], _Result]]] = {
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
