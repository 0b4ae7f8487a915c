"""What a network costs: parameters, multiply-adds, milliseconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from stagkit.core.types import RoiDataset
    from stagkit.network.model import Stag


def count_parameters(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def compute_cost(model: Stag, data: RoiDataset) -> dict[str, int]:
    """``parameters`` (trained numbers) and ``multiply_adds`` of one clip (the first of ``data``).

    Multiply-adds are those of matrix products and convolutions (half the floating-point operations that torch counts);
    additions, softmaxes and normalisations are not counted, as usual in the field.
    """
    batch, device = data.batch([0]), next(model.parameters()).device
    batch = batch.to(device)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.logits(batch.x, batch.mask, batch.times_ms)
    return {"parameters": count_parameters(model), "multiply_adds": counter.get_total_flops() // 2}


def measure_inference(model: Stag, data: RoiDataset, repeats: int = 5) -> float:
    """Milliseconds that the first clip of ``data`` takes alone, on the network's device: median of ``repeats``."""
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
