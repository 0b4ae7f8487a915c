"""What a network costs: parameters, multiply-adds, milliseconds, memory."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from stagkit.core.types import RoiDataset
    from stagkit.network.model import Stag


def count_parameters(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def compute_cost(model: Stag, data: RoiDataset) -> dict[str, int]:
    """Parameters, and the work of one prediction.

    Multiply-adds are those of matrix products and convolutions (half the floating-point operations that torch counts);
    additions, softmaxes and normalisations are not counted, as usual in the field.

    Args:
        model: the network.
        data: clips as long as those it will see.

    Returns:
        ``parameters`` (trained numbers) and ``multiply_adds`` (of one clip).
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    batch, device = data.batch([0]), next(model.parameters()).device
    batch = batch.to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.logits(batch.x, batch.mask, batch.times_ms)
    return {"parameters": count_parameters(model), "multiply_adds": counter.get_total_flops() // 2}


def measure_inference(model: Stag, data: RoiDataset, repeats: int = 5) -> float:
    """Milliseconds that one clip takes alone, on the network's device: median of ``repeats``, warmed up.

    Args:
        data: anything with ``batch``; its first clip is used.
    """
    import torch

    device = next(model.parameters()).device
    batch, times = data.batch([0]).to(device), []
    with torch.no_grad():
        for _ in range(repeats + 1):
            started = time.perf_counter()
            model.logits(batch.x, batch.mask, batch.times_ms)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times.append(time.perf_counter() - started)
    return float(np.median(times[1:]) * 1000)


def measure_saved_bytes(run: Callable[[], object]) -> int:
    """Bytes that a forward pass keeps for its backward pass; memory that several tensors share counts once."""
    import torch

    kept: dict[int, int] = {}

    def count(tensor: torch.Tensor) -> torch.Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        run()
    return sum(kept.values())
