"""Does a layer of your own keep what the rest of stagkit relies on? Each check is a promise, and says what broke it.

Masks, cut edges, the order of regions, probes, gradients, completeness: a layer that breaks one still trains, and its
score may even be good. What is shown of it afterwards would be wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS
from stagkit.core.types import MAX_DELTA, Batch
from stagkit.explain.attribution import attribute
from stagkit.network.attention import EDGE_FEATURES
from stagkit.network.custom import SLOTS, CustomLayerError, replace_layers
from stagkit.network.hooks import intervene, record

#: Largest difference of two answers that ought to be the same, as a share of the largest value (stagkit's choice).
SAME = 1e-4

_CLIPS, _FRAMES, _CLASSES = 3, 5, 3


class Finding(NamedTuple):
    """One promise of one layer: its name, whether it is kept, and what was found, in words."""

    name: str
    ok: bool
    text: str


@dataclass(frozen=True)
class Report:
    """What ``check_layer`` found; a notebook shows it as a table.

    Args:
        layer: name of the layer.
        place: where it was put in.
        findings: one a promise, in the order of ``CONTRACT``.
    """

    layer: str
    place: str
    findings: tuple[Finding, ...]

    @property
    def failed(self) -> tuple[str, ...]:
        """Names of the promises that are broken."""
        return tuple(f.name for f in self.findings if not f.ok)

    @property
    def passed(self) -> bool:
        """True where every promise is kept."""
        return not self.failed

    def raise_for_failures(self) -> None:
        """Raise where a promise is broken: for a test of your own.

        Raises:
            CustomLayerError: names each broken promise and what was found.
        """
        if self.failed:
            said = "; ".join(f"{f.name}: {f.text}" for f in self.findings if not f.ok)
            raise CustomLayerError(f"{self.layer} cannot stand in for a {self.place} layer. {said}.")

    def __str__(self) -> str:
        width = max(len(f.name) for f in self.findings)
        rows = [f"{'kept  ' if f.ok else 'BROKEN'}  {f.name:<{width}}  {f.text}" for f in self.findings]
        return "\n".join([f"{self.layer} as a {self.place} layer", *rows])

    def _repr_markdown_(self) -> str:
        rows = [f"| {f.name} | {'✓' if f.ok else '**✗ broken**'} | {f.text} |" for f in self.findings]
        return "\n".join([f"| {self.layer} as {self.place} layer | | what was found |", "|---|---|---|", *rows])


class _Case(NamedTuple):
    """A layer, what it is given, and which of it can be seen: bool "batch time roi" or "batch time"."""

    layer: nn.Module
    make: Callable[[StagConfig, int], nn.Module]
    place: str
    config: StagConfig
    inputs: tuple
    seen: Tensor

    def run(self, inputs: tuple | None = None) -> Tensor:
        with torch.no_grad():
            return self.layer(*(inputs or self.inputs))[0]


def check_layer(
    make: Callable[[StagConfig, int], nn.Module], place: str = "graph", config: StagConfig | None = None, seed: int = 0
) -> Report:
    """Put a layer through every check that its place asks for, on random inputs, with dropout off; under two seconds.

    Args:
        make: the class, or a function of ``StagConfig`` and number, as for ``custom.replace_layers``.
        place: ``graph`` or ``time``.
        config: of the small network it is tried in; width 16 with one layer of each kind where None.
        seed: of weights and inputs.

    Returns:
        ``Report``; ``report.failed`` names what broke, ``report.raise_for_failures()`` raises it. A check that ends in an
        error counts as broken.

    Raises:
        CustomLayerError: no such place, or something that makes no ``nn.Module``.
    """
    if place not in SLOTS:
        raise CustomLayerError(f"there is no place {place!r}; a layer can be put in at {' or '.join(SLOTS)}.")
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
            except Exception as error:  # a stranger's layer may raise anything: it is told, not thrown
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
        seen = torch.ones(_CLIPS, _FRAMES, dtype=torch.bool)
        seen[0, -2:] = False
        return _Case(layer.eval(), make, place, config, (torch.randn(_CLIPS, _FRAMES, config.width), seen), seen)
    seen = torch.rand(_CLIPS, _FRAMES, n_rois) > 0.2
    pairs = (_CLIPS, _FRAMES, n_rois, n_rois)
    edges = torch.rand(pairs) * (torch.rand(pairs) > 0.3) + torch.eye(n_rois)
    features = torch.randn(*pairs, EDGE_FEATURES) if config.graph == "egat" else None
    x = torch.randn(_CLIPS, _FRAMES, n_rois, config.width) * seen[..., None]
    return _Case(layer.eval(), make, place, config, (x, edges, features, seen), seen)


def _differ(first: Tensor, second: Tensor) -> float:
    """Largest difference as a share of the largest value; infinite where something is not finite."""
    if not (first.isfinite().all() and second.isfinite().all()):
        return float("inf")
    if not first.numel():
        return 0.0
    return float((first - second).abs().max() / first.abs().max().clamp_min(1e-12))


def _check_shapes(case: _Case) -> tuple[bool, str]:
    x, answer = case.inputs[0], case.layer(*case.inputs)
    if not (isinstance(answer, tuple) and len(answer) == 2):
        return False, f"it returns a {type(answer).__name__}, expected (tokens, attention)"
    out, attention = answer
    ends = x.shape[-2]
    lead = tuple(x.shape[:-2])
    if out.shape != x.shape:
        return False, f"tokens {tuple(x.shape)} come back as {tuple(out.shape)}"
    if attention.shape[: len(lead)] != lead or attention.shape[len(lead) + 1 :] != (ends, ends):
        return False, f"attention is {tuple(attention.shape)}, expected {(*lead, 'head', ends, ends)}"
    if not (out.isfinite().all() and attention.isfinite().all()):
        return False, "not all of what comes back is finite"
    return True, f"tokens {tuple(out.shape)}, attention {tuple(attention.shape)}"


def _check_attention(case: _Case) -> tuple[bool, str]:
    with torch.no_grad():
        attention = case.layer(*case.inputs)[1]
    hidden = ~case.seen.unsqueeze(-2).unsqueeze(-2).expand_as(attention)
    total = attention.sum(-1)
    off = torch.minimum((total - 1).abs(), total.abs()).max().item()
    if attention.min() < 0:
        return False, f"the smallest value is {attention.min():.2g}, below 0"
    if attention[hidden].any():
        return False, f"sources under the mask get up to {attention[hidden].max():.2g}"
    if off > SAME:
        return False, f"rows miss 1 by up to {off:.2g}: each target has 1 to give, over its *sources*"
    return True, "rows sum to 1 over what can be seen"


def _check_mask(case: _Case) -> tuple[bool, str]:
    x, seen = case.inputs[0], case.seen
    other = torch.where(seen[..., None], x, 10 * torch.randn_like(x))
    differ = _differ(case.run()[seen], case.run((other, *case.inputs[1:]))[seen])
    what = "regions" if case.place == "graph" else "frames"
    if differ > SAME:
        return False, f"{what} under the mask change the others by {differ:.0%}"
    return True, f"{what} under the mask change nothing"


def _check_alone(case: _Case) -> tuple[bool, str]:
    """Clips (and, in a graph, frames) are read one by one."""
    whole = case.run()
    for axis, name in ((0, "clip"), (1, "frame"))[: 2 if case.place == "graph" else 1]:
        part = [v.narrow(axis, 0, 1) if isinstance(v, Tensor) else v for v in case.inputs]
        differ = _differ(whole.narrow(axis, 0, 1), case.run(tuple(part)))
        if differ > SAME:
            return False, f"a {name} alone gets another answer than among others ({differ:.0%}): axes mixed up?"
    return True, "each " + ("clip and frame" if case.place == "graph" else "clip") + " is read by itself"


def _check_order(case: _Case) -> tuple[bool, str]:
    x, edges, features, mask = case.inputs
    order = torch.randperm(x.shape[2])
    turned = edges[:, :, order][:, :, :, order]
    told = None if features is None else features[:, :, order][:, :, :, order]
    with torch.no_grad():
        out, attention = case.layer(*case.inputs)
        other, looked = case.layer(x[:, :, order], turned, told, mask[:, :, order])
    for name, one, two in (
        ("tokens", out[:, :, order], other),
        ("attention", attention[..., order, :][..., order], looked),
    ):
        differ = _differ(one, two)
        if differ > SAME:
            return False, f"with the regions in another order the {name} are off by {differ:.0%}"
    return True, "regions in another order: the same answer in that order"


def _check_edges(case: _Case) -> tuple[bool, str]:
    """A cut edge carries nothing, and the weights of edges matter."""
    x, edges, features, mask = case.inputs
    cut = edges.clone()
    cut[:, :, :, 0] = 0.0
    cut[:, :, 0, 0] = 1.0
    moved = x.clone()
    moved[:, :, 0] += 5.0
    leak = _differ(case.run((x, cut, features, mask))[:, :, 1:], case.run((moved, cut, features, mask))[:, :, 1:])
    if leak > SAME:
        return False, f"over cut edges a region still changes the others by {leak:.0%}"
    weight = edges.clone().requires_grad_()
    message = (case.layer(x, weight, features, mask)[0] * torch.randn_like(x)).sum()
    slope = torch.autograd.grad(message, weight, allow_unused=True)[0] if message.requires_grad else None
    if slope is None or not slope.any():
        return False, "the weights of edges have no effect: edge attributions would be zero"
    return True, "a cut edge carries nothing, a stronger one more"


def _check_probes(case: _Case) -> tuple[bool, str]:
    name = SLOTS[case.place].format(0)
    with record(case.layer, name) as noted, torch.no_grad():
        out, attention = case.layer(*case.inputs)
    if noted[name].shape != attention.shape or _differ(attention, noted[name]) > SAME:
        return False, f"probe {name!r} does not see the attention that is returned"
    with intervene(case.layer, {name: 0.0}):
        stilled = case.run()
    if _differ(out, stilled) <= SAME:
        return False, f"setting {name!r} to zero changes nothing: what is shown is not what is used"
    return True, f"{name!r} is seen, and what is set there counts"


def _check_gradients(case: _Case) -> tuple[bool, str]:
    layer = case.layer
    layer.zero_grad(set_to_none=True)
    out = layer(*case.inputs)[0]
    (out * torch.randn_like(out)).sum().backward()
    sizes = {n: 0.0 if p.grad is None else float(p.grad.abs().max()) for n, p in layer.named_parameters()}
    layer.zero_grad(set_to_none=True)
    still = [n for n, size in sizes.items() if not size > 1e-7 * max(sizes.values())]
    if still:
        return False, f"no gradient reaches {', '.join(still[:4])}: never used, detached, or without effect"
    return True, f"all {len(sizes)} parameters learn" if sizes else "it has nothing to learn"


def _check_untouched(case: _Case) -> tuple[bool, str]:
    before = [v.clone() if isinstance(v, Tensor) else v for v in case.inputs]
    first, again = case.run(), case.run()
    for old, new in zip(before, case.inputs, strict=True):
        if isinstance(old, Tensor) and not torch.equal(old, new):
            for tensor, kept in zip(case.inputs, before, strict=True):
                if isinstance(tensor, Tensor):
                    tensor.copy_(kept)
            return False, "it changes what it is given: write no operation in place"
    if not torch.equal(first, again):
        return False, "asked twice it answers twice differently in evaluation mode"
    return True, "asked twice it gives the same answer and leaves its input alone"


def _check_complete(case: _Case) -> tuple[bool, str]:
    """Integrated gradients of what the layer adds to its tokens, between two random sets of tokens."""
    from captum.attr import IntegratedGradients

    x, rest = case.inputs[0], case.inputs[1:]
    start, weigh = torch.randn_like(x[:1]), torch.randn_like(x[:1])
    rest = tuple(v[:1] if isinstance(v, Tensor) else v for v in rest)

    def added(tokens: Tensor) -> Tensor:
        many = (v.expand(len(tokens), *v.shape[1:]) if isinstance(v, Tensor) else v for v in rest)
        return ((case.layer(tokens, *many)[0] - tokens) * weigh).flatten(1).sum(1)

    with torch.no_grad():
        rise = float(added(x[:1]) - added(start))
    if abs(rise) < 1e-9:
        return True, "it adds nothing that could be attributed"
    found = IntegratedGradients(added).attribute(x[:1], baselines=start, n_steps=128, internal_batch_size=16)
    miss = abs(float(found.double().sum()) - rise) / abs(rise)
    if miss > MAX_DELTA:
        return False, f"Captum's sum misses {miss:.0%} of what the layer adds: jumps, or something detached?"
    return True, f"Captum's sum misses {miss:.1%} of what the layer adds"


def _check_network(case: _Case) -> tuple[bool, str]:
    """In its place: padded frames change no logit, and the whole network stays complete."""
    from stagkit.network.model import Stag

    model = replace_layers(Stag(case.config, _CLASSES), case.place, case.make).eval()
    shape = (_CLIPS, _FRAMES, len(ATLAS.names))
    x, mask = torch.randn(*shape, 3, model.patch, model.patch), torch.ones(shape, dtype=torch.bool)
    times = (40.0 * torch.arange(_FRAMES)).expand(_CLIPS, -1)
    with torch.no_grad():
        short = model.logits(x, mask, times)
        gone = torch.zeros_like(mask[:, :2])
        padded = model.logits(
            torch.cat((x, x[:, :2]), 1), torch.cat((mask, gone), 1), torch.cat((times, times[:, :2]), 1)
        )
        rise = short - model.logits(0 * x, mask, times)
    if _differ(short, padded) > SAME:
        return False, f"two padded frames change the logits by {_differ(short, padded):.0%}"
    names = tuple(f"clip{i}" for i in range(_CLIPS))
    aus = torch.full((_CLIPS, len(ATLAS.incidence)), torch.nan)
    batch = Batch(x, mask, times, torch.zeros(_CLIPS).long(), aus, names, names, ("a", "b", "c"))
    told = attribute(model, batch, target=rise.abs().argmax(1).tolist(), n_steps=64, search=False)
    miss = float(told.relative_delta.max())
    if miss > MAX_DELTA:
        return False, f"attributions of the network miss {miss:.0%} of the logit gap"
    return True, f"padding changes nothing, attributions miss {miss:.1%}"


#: name -> (places that promise it, check). In this order.
CONTRACT: dict[str, tuple[tuple[str, ...], Callable[[_Case], tuple[bool, str]]]] = {
    "shapes": (("graph", "time"), _check_shapes),
    "attention": (("graph", "time"), _check_attention),
    "mask": (("graph", "time"), _check_mask),
    "one by one": (("graph", "time"), _check_alone),
    "order of regions": (("graph",), _check_order),
    "edges": (("graph",), _check_edges),
    "probes": (("graph", "time"), _check_probes),
    "gradients": (("graph", "time"), _check_gradients),
    "no side effects": (("graph", "time"), _check_untouched),
    "completeness": (("graph", "time"), _check_complete),
    "in the network": (("graph", "time"), _check_network),
}
