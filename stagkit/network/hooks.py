"""Hook points, named places inside the network: ``record`` reads the values there, ``intervene`` changes them.

The same string is the key in ``record``, in ``intervene``, in the explorers and in figure captions. A name may hold
wildcards: ``graph.*.attn``. Names of a network: ``hook_names(model)``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from stagkit.core.types import StagkitError


class HookError(StagkitError, ValueError):
    """A hook point that does not exist, or a value that does not fit there."""


class HookPoint(nn.Module):
    """The identity with a name, to which hooks are attached."""

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
    """Names of all hook points of ``model``, in the order in which they were built."""
    return tuple(m.name for m in model.modules() if isinstance(m, HookPoint))


def _select(model: nn.Module, patterns: Sequence[str]) -> dict[str, HookPoint]:
    """Hook points that match any of the patterns; every pattern must match at least one."""
    points = {m.name: m for m in model.modules() if isinstance(m, HookPoint)}
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in points):
            raise HookError(f"there is no hook point {pattern!r} in this network; it has {', '.join(points)}.")
    return {name: p for name, p in points.items() if any(fnmatchcase(name, pattern) for pattern in patterns)}


@contextmanager
def record(model: nn.Module, *names: str) -> Iterator[dict[str, Tensor]]:
    """Keep the values at the named hook points.

    Args:
        *names: wildcards allowed; none given: all hook points.

    Yields:
        A dictionary, name -> tensor, filled by the next forward pass: detached, on the CPU. A second pass overwrites
        the first. What ``intervene`` changed is recorded as changed. Not for use inside ``torch.func.vmap``.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3), HookPoint("hidden"))
        >>> with record(layer, "hid*") as values:
        ...     _ = layer(torch.zeros(1, 2))
        >>> values["hidden"].shape
        torch.Size([1, 3])
    """
    values: dict[str, Tensor] = {}

    def hook(point: HookPoint, _, value: Tensor) -> None:
        values[point.name] = value.detach().cpu()

    handles = [point.register_forward_hook(hook) for point in _select(model, names or ("*",)).values()]
    try:
        yield values
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def intervene(model: nn.Module, changes: Mapping[str, Callable[[Tensor], Tensor] | Tensor | float]) -> Iterator[None]:
    """Change the values at the named hook points: the network continues with the changed values.

    Args:
        changes: name (wildcards allowed) -> a function of the value that returns a tensor of the same shape, or the new
            value itself (tensor or number, broadcast). Gradients flow through both.

    Raises:
        HookError: a name that no hook point has, or a new value of another shape.

    Example:
        >>> layer = nn.Sequential(nn.Linear(2, 3), HookPoint("hidden"))
        >>> with intervene(layer, {"hidden": 0.0}):
        ...     layer(torch.ones(1, 2))
        tensor([[0., 0., 0.]])
    """
    handles = []

    def hook_for(change):
        def hook(point: HookPoint, _, value: Tensor) -> Tensor:
            new = change(value) if callable(change) else torch.as_tensor(change).to(value)
            if not callable(change):
                with suppress(RuntimeError):  # what cannot be broadcast is refused below
                    new = new.expand_as(value)
            if not isinstance(new, Tensor) or new.shape != value.shape:
                got = tuple(new.shape) if isinstance(new, Tensor) else type(new).__name__
                raise HookError(f"hook point {point.name!r} has {tuple(value.shape)}, the new value is {got}.")
            return new

        return hook

    try:
        for pattern, change in changes.items():
            for point in reversed(_select(model, (pattern,)).values()):
                handles.append(point.register_forward_hook(hook_for(change), prepend=True))
        yield
    finally:
        for handle in handles:
            handle.remove()
