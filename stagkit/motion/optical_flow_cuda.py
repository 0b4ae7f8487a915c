"""Optical flow on an NVIDIA GPU, where OpenCV was built for one (the wheels of PyPI are not).

The same methods with the same settings as on the CPU; numbers differ a little, so ``FlowConfig.device`` belongs to the
settings of what was measured.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from stagkit.core.types import StagkitError

#: The methods that OpenCV has for the GPU, each with its class. DIS is none of them.
CUDA_METHODS = {"tvl1": "OpticalFlowDual_TVL1", "farneback": "FarnebackOpticalFlow"}

_DEVICES = ("auto", "cpu", "cuda")


def tell_why_not(method: str) -> str:
    """Why flow of this method cannot be measured on a GPU here, in one sentence; '' where it can."""
    if method not in CUDA_METHODS:
        return f"OpenCV has no {method} flow for the GPU: use {' or '.join(CUDA_METHODS)}, or the device cpu."
    if cv2.cuda.getCudaEnabledDeviceCount() < 1:
        return "OpenCV sees no GPU here (its wheels are built without CUDA): use the device cpu, or build OpenCV with CUDA."
    if not hasattr(cv2.cuda, CUDA_METHODS[method]):
        return f"this OpenCV was built without cudaoptflow, which holds {method}: use the device cpu, or build it with that."
    return ""


def choose_flow_device(asked: str, method: str) -> str:
    """``cpu`` or ``cuda``: what was asked for; for ``auto``, the GPU where the method can be measured on it.

    Args:
        asked: auto, cpu or cuda.
        method: as of ``FlowConfig.method``.

    Raises:
        StagkitError: cuda was asked for, and there is none or the method has none; another word.
    """
    if asked not in _DEVICES:
        raise StagkitError(f"there is no flow device {asked!r}; expected {', '.join(_DEVICES)}.")
    if asked == "cpu":
        return "cpu"
    why_not = tell_why_not(method)
    if why_not and asked == "cuda":
        raise StagkitError(why_not)
    return "cpu" if why_not else "cuda"


def make_cuda_method(method: str) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """A function (first, second grey uint8 "y x") -> float32 "y x 2" for ``tvl1`` or ``farneback``, measured on the GPU.

    Raises:
        StagkitError: no GPU, or no such method for it.
    """
    choose_flow_device("cuda", method)
    settings = () if method == "tvl1" else (3, 0.5, False, 15, 5, 7, 1.5, 0)  # as on the CPU; TV-L1's are the defaults
    measure = getattr(cv2.cuda, CUDA_METHODS[method]).create(*settings)

    def measure_pair(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        there = [cv2.cuda.GpuMat(), cv2.cuda.GpuMat()]
        for matrix, frame in zip(there, (first, second), strict=True):
            matrix.upload(np.ascontiguousarray(frame))
        return measure.calc(*there, None).download()

    return measure_pair
