"""The AU-graph explorer: what travels to the browser, what the traits promise, and both driven in a real Chromium."""

import inspect
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from stagkit.facs import AU_LABELS
from stagkit.rois import ATLAS
from stagkit.types import Batch, StagkitError, StagOutput
from stagkit.widgets.scene import _pack, _unpack, compute_cutoff, compute_scene

N_AUS, N_ROIS = len(AU_LABELS), len(ATLAS.names)
CLASSES = ("happiness", "surprise", "disgust", "repression", "others")
#: AUs that rise and fall in a made-up clip of each class: (AU, peak evidence, time of the peak 0..1)
PROGRAMMES = {
    "happiness": (("AU06", 0.82, 0.5), ("AU12", 0.96, 0.6), ("AU25", 0.42, 0.66)),
    "surprise": (("AU01", 0.9, 0.4), ("AU02", 0.85, 0.45), ("AU05", 0.6, 0.5), ("AU26", 0.5, 0.7)),
    "disgust": (("AU04", 0.8, 0.5), ("AU09", 0.9, 0.55), ("AU10", 0.6, 0.6), ("AU07", 0.4, 0.5)),
    "repression": (("AU15", 0.7, 0.5), ("AU17", 0.88, 0.55), ("AU24", 0.5, 0.6)),
    "others": (("AU04", 0.75, 0.5), ("AU07", 0.5, 0.6)),
}


def make_output(n_clips: int = 5, n_frames: int = 12, n_heads: int = 4, seed: int = 0) -> tuple[StagOutput, Batch]:
    """What a trained network might say of clips that rise and fall: built by hand from the design's equations."""
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(seed)
    labels = np.arange(n_clips) % len(CLASSES)
    evidence = np.full((n_clips, n_frames, N_AUS), 0.04) + 0.03 * rng.random((n_clips, n_frames, N_AUS))
    at = np.linspace(0, 1, n_frames)
    for i, c in enumerate(labels):
        for name, peak, when in PROGRAMMES[CLASSES[c]]:
            k = AU_LABELS.index(name)
            evidence[i, :, k] = np.maximum(evidence[i, :, k], peak * np.exp(-(((at - when) / 0.24) ** 2)))
    affinity = 0.3 + 0.5 * rng.random((N_AUS, N_AUS))
    au_edges = np.einsum("nti,ntj,ij->ntij", evidence, evidence, affinity)
    incidence = ATLAS.incidence / ATLAS.incidence.sum(0, keepdims=True).clip(1e-6)
    dynamic = np.einsum("ir,ntij,js->ntrs", incidence, au_edges, incidence)
    edges = 0.35 * ATLAS.anatomy + 1.2 * dynamic + 0.05 * rng.random((N_ROIS, N_ROIS))
    scores = np.log(edges)[:, :, None] + 0.6 * rng.standard_normal((n_clips, n_frames, n_heads, N_ROIS, N_ROIS))
    attention = np.exp(scores)
    attention /= attention.sum(-1, keepdims=True)
    flow = np.einsum("ntk,krc->ntrc", np.clip(evidence - 0.1, 0, None), ATLAS.directions)
    x = np.zeros((n_clips, n_frames, N_ROIS, 3, 8, 8), np.float32)
    x[:, :, :, :2] = (flow + 0.02 * rng.standard_normal(flow.shape))[..., None, None]
    logits = 0.8 * rng.standard_normal((n_clips, len(CLASSES)))
    logits[np.arange(n_clips), labels] += 2.2
    weights = evidence.max(-1)
    tensors = {
        "logits": logits,
        "au_logits": np.log(evidence / (1 - evidence)),
        "edges": edges,
        "au_edges": au_edges,
        "time_weights": weights / weights.sum(1, keepdims=True),
    }
    output = StagOutput(
        **{name: torch.tensor(values, dtype=torch.float32) for name, values in tensors.items()},
        attention={
            "graph.0": torch.full((n_clips, n_frames, n_heads, N_ROIS, N_ROIS), 1 / N_ROIS),
            "graph.1": torch.tensor(attention, dtype=torch.float32),
            "time.0": torch.full((n_clips, n_heads, n_frames, n_frames), 1 / n_frames),
        },
    )
    batch = Batch(
        x=torch.tensor(x),
        mask=torch.ones(x.shape[:3], dtype=torch.bool),
        times_ms=torch.tensor(np.tile(np.round(at * 380, 1), (n_clips, 1)), dtype=torch.float32),
        label=torch.tensor(labels),
        aus=torch.full((n_clips, N_AUS), float("nan")),
        clip_ids=tuple(f"s{i % 3 + 1:02d}_{CLASSES[c][:3]}_{i:02d}" for i, c in enumerate(labels)),
        subjects=tuple(f"sub{i % 3 + 1:02d}" for i in range(n_clips)),
        classes=CLASSES,
    )
    return output, batch
