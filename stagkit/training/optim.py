"""One optimiser for one network or for many: AdamW over parameters that lie side by side.

A network has a hundred small parameters; stepping through them one by one costs an eighth of its training time on a CPU and
one kernel launch each on a GPU. Here those with weight decay (matrices) are one vector and those without (vectors,
numbers) another; networks that are trained together have one row each. The numbers are those of the long way, bit by bit.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

from stagkit.core.config import TrainConfig


def compute_rate(step: int, n_steps: int, warmup: float) -> float:
    """Share of the learning rate at a step: linear up over ``warmup`` of all steps, then half a cosine down to 0."""
    rise = max(1, round(warmup * n_steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, n_steps - rise)))


class Optimiser:
    """AdamW (Loshchilov and Hutter, arXiv:1711.05101): linear warm-up, cosine decay to zero, gradients clipped.

    Args:
        decayed, plain: parameters with and without weight decay: float "parameter", or "network parameter".
        config: learning rate, weight decay, warm-up, clipping norm.
        n_steps: of the whole plan, which the rate follows even where training ends earlier.
    """

    def __init__(self, decayed: Tensor, plain: Tensor, config: TrainConfig, n_steps: int):
        self.decayed, self.plain, self.config, self.n_steps, self.taken = decayed, plain, config, n_steps, 0
        groups = [{"params": [decayed]}, {"params": [plain], "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=decayed.is_cuda)

    def clear(self) -> None:
        """Gradients to zero."""
        for vector in (self.decayed, self.plain):
            vector.grad.zero_()

    def step(self, norm: Tensor) -> None:
        """Clip by the norm of each network's gradient (a number, or float "network") and move."""
        share = (self.config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        rate = self.config.lr * compute_rate(self.taken, self.n_steps, self.config.warmup)
        for group in self._adam.param_groups:
            group["lr"] = rate
        for vector in (self.decayed, self.plain):
            vector.grad.mul_(share[:, None] if share.ndim else share)
        self._adam.step()
        self.taken += 1

    def state(self) -> dict[str, Tensor]:
        """Everything that has to be kept to go on with the same numbers."""
        kept = {"taken": torch.tensor(self.taken), "decayed": self.decayed, "plain": self.plain}
        for name in ("decayed", "plain"):
            for key, value in self._adam.state.get(getattr(self, name), {}).items():
                kept[f"{name}.{key}"] = value
        return {key: value.detach().clone() for key, value in kept.items()}

    def restore(self, kept: dict[str, Tensor]) -> None:
        """Take up what ``state`` gave; the parameters stay where they are in memory."""
        self.taken = int(kept["taken"])
        for name in ("decayed", "plain"):
            vector = getattr(self, name)
            with torch.no_grad():
                vector.copy_(kept[name])
            of = {key.split(".", 1)[1]: value for key, value in kept.items() if key.startswith(f"{name}.")}
            self._adam.state[vector] = {k: v.to(vector.device) for k, v in of.items()}

    def keep(self, rows: Tensor) -> None:
        """Go on with some networks only: ``rows`` int "network"."""
        for vector in (self.decayed, self.plain):
            vector.grad = None
            vector.data = vector.data[rows]
            state = self._adam.state.get(vector, {})
            for key, value in state.items():
                state[key] = value[rows] if value.ndim else value


def flatten_parameters(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """One vector with its gradient, of which the parameters given and their gradients become windows.

    Undone by ``unflatten_parameters``: windows of a common memory are not for keeping.
    """
    joined = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    joined.grad = torch.zeros_like(joined)
    for p, values, gradients in zip(
        parameters, *(_windows(t, parameters) for t in (joined.data, joined.grad)), strict=True
    ):
        p.data, p.grad = values, gradients
    return joined


def unflatten_parameters(model: nn.Module) -> None:
    """Give every parameter memory of its own again, without gradient."""
    for p in model.parameters():
        p.data, p.grad = p.data.clone(), None


def _windows(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    return (part.view_as(p) for part, p in zip(vector.split([p.numel() for p in like]), like, strict=True))


def tune_malloc() -> None:
    """Tell glibc to keep freed memory in this process: fetching fresh pages costs up to a third of training on a CPU.

    Elsewhere than on glibc nothing happens.
    """
    try:
        tell = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # names of <malloc.h>
    for name, size in ((mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1), (top_pad, 1 << 28)):
        tell(name, size)
