"""Named points inside the network: read what flows there with ``record``, change it with ``intervene``.

The same string is the key in ``record``, in ``intervene``, in the widget and in a figure caption. A name may hold
wildcards: ``graph.*.attn``. Names of a network: ``hook_names(model)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from stagkit.core.types import Batch, StagkitError


class HookError(StagkitError, ValueError):
    """A probe that does not exist, or a value that does not fit there."""


class HookPoint(nn.Module):
    """A named point: hands on what it is given, so that hooks can listen and change."""

    def __init__(self, name: str):
        super().__init__()
        self.name = name

    def forward(self, value: Tensor) -> Tensor:
        """The value itself."""
        return value

    def extra_repr(self) -> str:
        """The name, for ``print(model)``."""
        return self.name


def hook_names(model: nn.Module) -> tuple[str, ...]:
    """Names of all probes of ``model``, in the order in which they were built."""
    return tuple(m.name for m in model.modules() if isinstance(m, HookPoint))


def _select(model: nn.Module, patterns: Sequence[str]) -> dict[str, HookPoint]:
    """Probes that match any of the patterns; every pattern must match at least one."""
    probes = {m.name: m for m in model.modules() if isinstance(m, HookPoint)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in probes):
            raise HookError(f"there is no probe {pattern!r} in this network; it has {', '.join(probes)}.")
    return {name: p for name, p in probes.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


@contextmanager
def record(model: nn.Module, *names: str) -> Iterator[dict[str, Tensor]]:
    """Keep what flows through the named probes.

    Args:
        model: any network with probes.
        *names: probe names, wildcards allowed; all probes where none is given.

    Yields:
        A dictionary, name -> tensor, filled by the next forward pass: detached, on the CPU. A second pass overwrites
        the first. What ``intervene`` changed is recorded as changed. The hooks are gone when the block is left, after
        an error too. Not for use inside ``torch.func.vmap``.

    Raises:
        HookError: a name that no probe has; the message lists those that exist.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3), HookPoint("hidden"))
        >>> with record(layer, "hid*") as seen:
        ...     _ = layer(torch.zeros(1, 2))
        >>> seen["hidden"].shape
        torch.Size([1, 3])
    """
    seen: dict[str, Tensor] = {}

    def keep(probe: HookPoint, _, value: Tensor) -> None:
        seen[probe.name] = value.detach().cpu()

    handles = [probe.register_forward_hook(keep) for probe in _select(model, names or ("*",)).values()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _fit(new: Tensor, value: Tensor) -> Tensor:
    """``new`` broadcast to the shape of ``value`` where that is possible."""
    try:
        return new.expand_as(value)
    except RuntimeError:
        return new


@contextmanager
def intervene(model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor] | Tensor | float]) -> Iterator[None]:
    """Change what flows through the named probes: the network goes on with the changed value.

    Args:
        model: any network with probes.
        changes: probe name (wildcards allowed) -> a function of the value that returns a tensor of the same shape, or
            the new value itself (tensor or number, broadcast). Gradients flow through both.

    Yields:
        Nothing; every forward pass inside the block is changed. The hooks are gone afterwards, after an error too.

    Raises:
        HookError: a name that no probe has, or a new value of another shape.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3), HookPoint("hidden"))
        >>> with intervene(layer, {"hidden": 0.0}):
        ...     layer(torch.ones(1, 2))
        tensor([[0., 0., 0.]])
    """
    handles = []

    def hook_for(change):
        def hook(probe: HookPoint, _, value: Tensor) -> Tensor:
            new = change(value) if callable(change) else _fit(torch.as_tensor(change).to(value), value)
            if not isinstance(new, Tensor) or new.shape != value.shape:
                got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
                raise HookError(f"probe {probe.name!r} carries {tuple(value.shape)}, the new value is {got}.")
            return new

        return hook

    try:
        for pattern, change in changes.items():
            for probe in reversed(_select(model, (pattern,)).values()):
                handles.append(probe.register_forward_hook(hook_for(change), prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()


def summary(model: nn.Module, batch: Batch, depth: int = 2) -> str:
    """Text table of the parts of a network: name, kind, shape of what comes out, parameters.

    Args:
        model: a network that takes ``(x, mask, times_ms)``.
        batch: any batch; one forward pass is made, without gradient and with dropout off.
        depth: how many levels of parts are listed.

    Returns:
        The table; its last line is the total. Parts that are not called themselves show no shape.
    """
    shapes: dict[str, str] = {}
    parts = {n: m for n, m in model.named_modules() if n and n.count(".") < depth}
    parts = {n: m for n, m in parts.items() if isinstance(m, HookPoint) or any(True for _ in m.parameters())}

    def keep(name: str):
        def hook(_, __, value) -> None:
            first = value[0] if isinstance(value, tuple) else value
            shapes[name] = " x ".join(map(str, first.shape)) if isinstance(first, Tensor) else ""

        return hook

    handles = [m.register_forward_hook(keep(n)) for n, m in parts.items()]
    training = model.training
    try:
        with torch.no_grad():
            model.eval()(batch.x, batch.mask, batch.times_ms)
    finally:
        model.train(training)
        for handle in handles:
            handle.remove()
    rows = [("part", "kind", "output", "parameters")]
    for name, part in parts.items():
        kind = f"probe {part.name}" if isinstance(part, HookPoint) else type(part).__name__
        rows.append((name, kind, shapes.get(name, ""), f"{sum(p.numel() for p in part.parameters()):,}"))
    rows.append(("total", type(model).__name__, "", f"{sum(p.numel() for p in model.parameters()):,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    lines = [f"{a:<{widths[0]}}  {b:<{widths[1]}}  {c:<{widths[2]}}  {d:>{widths[3]}}" for a, b, c, d in rows]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:-1], "-" * len(lines[0]), lines[-1]])
