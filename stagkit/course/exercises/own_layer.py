"""Checks of notebook 21, 'does your own layer fit in, and does it help?'"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from stagkit.core.config import StagConfig
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.course.exercises.layers import NeighbourMean, ShowsAnotherGraph
from stagkit.course.layer_contract import CONTRACT, check_layer
from stagkit.network.model import Stag


@exercise("21.1")
def broken_promises(answer: Iterable[str], *, layer: Callable) -> Verdict:
    """Names of all promises that a layer breaks."""
    broken = set(check_layer(layer).failed)
    said = {answer} if isinstance(answer, str) else set(answer)
    unknown = sorted(str(name) for name in said - set(CONTRACT))
    if said == broken:
        return right(f"{', '.join(sorted(broken))}: what cannot be seen is taken for something that does not move.")
    if unknown:
        return wrong(f"{', '.join(unknown)} is the name of no promise; there are {', '.join(CONTRACT)}.")
    if not said:
        return wrong("it does break some: `check_layer` of the class, then `.failed`.")
    if said == set(CONTRACT) - broken - {"in the network"} or said == set(CONTRACT) - broken:
        return wrong("these are the ones that it *keeps*.")
    if said < broken:
        return wrong(f"{len(said)} of {len(broken)}: there is more that it breaks.")
    return wrong("it keeps at least one of these; `check_layer` of the class, then `.failed`.")


@exercise("21.2")
def parameters_saved(answer: int, *, model: Stag, own: Stag) -> Verdict:
    """By how many parameters the network with the own layer is smaller."""
    count = [sum(p.numel() for p in network.parameters()) for network in (model, own)]
    saved = count[0] - count[1]
    if answer == saved:
        return right(f"{count[1]:,} instead of {count[0]:,}: {saved:,} fewer, {saved / count[0]:.0%} of the network.")
    if answer == -saved:
        return wrong("the sign is turned round: how many *fewer* has the network with the own layer?")
    if answer in count:
        return wrong("that is one of the two networks; take the difference of both.")
    if answer == len(list(model.parameters())) - len(list(own.parameters())):
        return wrong("that counts tensors; each holds many numbers (`numel`).")
    return wrong("add up `p.numel()` over `parameters()` of each network, and subtract.")


@exercise("21.3")
def honest_sharpening(answer: type[nn.Module]) -> Verdict:
    """A layer that keeps every promise, whose shares follow the squares of the edge weights."""
    if isinstance(answer, nn.Module):
        return wrong("that is a layer; give its *class*, so that it can be built for any network.")
    report = check_layer(answer)
    if answer is ShowsAnotherGraph or "probes" in report.failed:
        return wrong("what is shown is still not what is used: only one set of shares may exist.")
    if not report.passed:
        first = next(f for f in report.findings if not f.ok)
        return wrong(f"it breaks '{first.name}': {first.text}.")
    config = StagConfig(width=16, heads=2)
    chance = torch.Generator().manual_seed(0)
    edges = torch.rand(1, 1, 22, 22, generator=chance) + 0.1
    x, mask = torch.randn(1, 1, 22, 16, generator=chance), torch.ones(1, 1, 22, dtype=torch.bool)
    with torch.no_grad():
        shares = answer(config, 0).eval()(x, edges, torch.zeros(1, 1, 22, 22, 6), mask)[1].mean(2)
        plain = NeighbourMean(config, 0).eval()(x, edges, None, mask)[1].mean(2)
    sharp = edges.square() / edges.square().sum(-1, keepdim=True)
    if torch.allclose(shares, sharp, atol=1e-4):
        return right("every promise is kept, and the squared weights are both used and shown.")
    if torch.allclose(shares, plain, atol=1e-4):
        return wrong("it keeps every promise, but its shares are those of `NeighbourMean`: square the edges first.")
    return wrong("it keeps every promise, but its shares are not the squared edge weights, divided by their sum.")
