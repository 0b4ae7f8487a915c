"""AdamW over parameters that lie side by side, for one network or for many.

A network has a hundred small parameters; stepping through them one by one costs an eighth of its training time on a CPU
and one kernel launch each on a GPU. Here those with weight decay (matrices) are one vector and the others another, with
one row per network where several are trained together. The numbers are those of torch's AdamW on single parameters, bit
by bit.
"""

from __future__ import annotations

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
        gradients: of one network's parameters, whose norm is clipped; None: each row has its own norm.
    """

    def __init__(
        self,
        decayed: Tensor,
        plain: Tensor,
        config: TrainConfig,
        n_steps: int,
        gradients: Sequence[Tensor] | None = None,
    ):
        self.vectors = {"decayed": decayed, "plain": plain}
        self.config, self.n_steps, self.gradients, self.step_count = config, n_steps, gradients, 0
        groups = [{"params": [decayed]}, {"params": [plain], "weight_decay": 0.0}]
        self._adam = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=decayed.is_cuda)

    def zero_grad(self) -> None:
        """Gradients to zero, or away where nothing else refers to them."""
        for vector in self.vectors.values():
            if self.gradients is None:
                vector.grad = None
            else:
                vector.grad.zero_()

    def step(self) -> None:
        """Clip each network's gradient and move."""
        if self.gradients is None:
            norm = torch.stack([v.grad.norm(dim=1) for v in self.vectors.values()]).norm(dim=0)[:, None]
        else:
            norm = torch.nn.utils.get_total_norm(self.gradients)
        share = (self.config.clip_norm / (norm + 1e-6)).clamp(max=1.0)
        for group in self._adam.param_groups:
            group["lr"] = self.config.lr * compute_rate(self.step_count, self.n_steps, self.config.warmup)
        for vector in self.vectors.values():
            vector.grad.mul_(share)
        self._adam.step()
        self.step_count += 1

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that is needed to resume with the same numbers."""
        state = {"step_count": torch.tensor(self.step_count), **self.vectors}
        for name, vector in self.vectors.items():
            state |= {f"{name}.{key}": value for key, value in self._adam.state.get(vector, {}).items()}
        return {key: value.detach().clone() for key, value in state.items()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Resume from ``state_dict``; the parameters stay where they are in memory."""
        self.step_count = int(state["step_count"])
        for name, vector in self.vectors.items():
            with torch.no_grad():
                vector.copy_(state[name])
            moments = {k.split(".", 1)[1]: v for k, v in state.items() if k.startswith(f"{name}.")}
            self._adam.state[vector] = {k: v.to(vector.device) for k, v in moments.items()}

    def select(self, rows: Tensor) -> None:
        """Keep some networks only: ``rows`` int "network"."""
        for vector in self.vectors.values():
            vector.grad, vector.data = None, vector.data[rows]
            state = self._adam.state.get(vector, {})
            state.update({key: value[rows] for key, value in state.items() if value.ndim})


def flatten_parameters(parameters: Sequence[nn.Parameter]) -> nn.Parameter:
    """One vector with its gradient, of which the parameters given and their gradients become views.

    Undone by ``unflatten_parameters``: views of common memory cannot be saved or moved one by one.
    """
    flat = nn.Parameter(torch.cat([p.detach().flatten() for p in parameters]))
    flat.grad = torch.zeros_like(flat)
    views = (_make_views(tensor, parameters) for tensor in (flat.data, flat.grad))
    for p, values, gradients in zip(parameters, *views, strict=True):
        p.data, p.grad = values, gradients
    return flat


def unflatten_parameters(model: nn.Module) -> None:
    """Give every parameter memory of its own again, without gradient."""
    for p in model.parameters():
        p.data, p.grad = p.data.clone(), None


def _make_views(vector: Tensor, like: Sequence[Tensor]) -> Iterator[Tensor]:
    return (part.view_as(p) for part, p in zip(vector.split([p.numel() for p in like]), like, strict=True))
