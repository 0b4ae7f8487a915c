"""What a network costs: parameters, multiply-adds, milliseconds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from stagkit.core.types import RoiDataset
    from stagkit.network.model import Stag


def compute_cost(model: Stag, data: RoiDataset) -> dict[str, int]:
    """Size and work of one clip's answer.

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
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"parameters": parameters, "multiply_adds": counter.get_total_flops() // 2}


def measure_inference(model: Stag, data: RoiDataset, repeats: int = 5) -> float:
    """Milliseconds that one clip takes by itself, on the device where the network is: median of ``repeats``, warmed up.

    Args:
        data: anything with ``batch``; its first clip is answered.
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
