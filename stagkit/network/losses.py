"""Training objective: class-balanced focal loss, AU loss, sparse AU edges; class weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from stagkit.core.config import TrainConfig
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.network.action_units import compute_clip_aus


class LossParts(NamedTuple):
    """Scalars: ``total`` = classification + au_weight * au + sparsity_weight * sparsity."""

    total: Tensor
    classification: Tensor
    au: Tensor
    sparsity: Tensor


def compute_class_weights(label: Tensor | np.ndarray, n_classes: int, beta: float = 0.999) -> Tensor:
    r"""Weight of each class by its effective number of clips, :math:`w_c \propto (1 - \beta) / (1 - \beta^{n_c})`.

    Cui et al., CVPR 2019, arXiv:1901.05555. ``label``: int "clip", of the **training** clips of a fold only.

    Returns:
        float32 "cls"; the weights of the classes that occur have mean 1, a class that does not occur has weight 0.

    Raises:
        StagkitError: a label outside 0..n_classes-1, no label at all, or beta outside [0, 1).

    Example:
        >>> compute_class_weights(np.array([0, 0, 0, 1]), 2, beta=0.0)
        tensor([1., 1.])
    """
    label = np.asarray(label)
    if not 0 <= beta < 1:
        raise StagkitError(f"`beta` is {beta}, expected 0 <= beta < 1.")
    if not label.size or label.min() < 0 or label.max() >= n_classes:
        span = f"{label.min()} to {label.max()}" if label.size else "nothing"
        raise StagkitError(f"`label` holds {span}, expected training labels from 0 to {n_classes - 1}.")
    count = np.bincount(label, minlength=n_classes)
    weight = np.where(count > 0, (1 - beta) / (1 - beta ** np.maximum(count, 1)), 0.0)
    return torch.tensor(weight / weight.sum() * (count > 0).sum(), dtype=torch.float32)


def focal_loss(
    logits: Tensor, label: Tensor, class_weights: Tensor, gamma: float = 2.0, smoothing: float = 0.0
) -> Tensor:
    r"""Class-balanced focal loss of each clip, :math:`-w_y (1 - p_y)^\gamma \sum_c q_c \log p_c`.

    q is 1 for the label; with ``smoothing`` s it is 1 - s, and s is shared by all classes (Szegedy et al. 2016,
    arXiv:1512.00567). With gamma = 0 and unit weights it is the cross entropy. Lin et al., ICCV 2017, arXiv:1708.02002.

    Args:
        logits: "batch cls"; ``label``: int64 "batch"; ``class_weights``: "cls".
        gamma: >= 0; the larger, the less a clip counts that is already recognised.
        smoothing: 0..1.

    Returns:
        "batch", >= 0; not yet averaged.
    """
    log_p = logits.log_softmax(-1)
    own = rearrange(log_p.gather(1, rearrange(label, "batch -> batch 1")), "batch 1 -> batch")
    missed = (-torch.expm1(own)).clamp_min(1e-7)  # 1 - p, kept off 0 where the power has no gradient
    return -class_weights[label] * missed**gamma * ((1 - smoothing) * own + smoothing * log_p.mean(-1))


def au_loss(clip_aus: Tensor, aus: Tensor) -> Tensor:
    """Binary cross entropy of AU logits against AU codes, both "batch au", where coded (not NaN): "batch"."""
    coded = ~aus.isnan()
    each = binary_cross_entropy_with_logits(clip_aus, aus.nan_to_num(0.0), reduction="none")
    return (each * coded).sum(1) / coded.sum(1).clamp_min(1)


def compute_loss(
    output: StagOutput,
    batch: Batch,
    class_weights: Tensor,
    train_config: TrainConfig,
    clip_weight: Tensor | None = None,
) -> LossParts:
    """The loss of a batch and its parts; works inside ``torch.func.vmap``.

    Args:
        batch: label, aus and mask are read.
        class_weights: float "cls" from the training part of the fold (``compute_class_weights``).
        train_config: loss (``ce`` has no class weights and no focusing), gamma, au_weight and sparsity.
        clip_weight: float "batch", how much each clip counts; None: all equally.

    Returns:
        Means over the clips that count (AUs: that are coded as well). The AU loss is that of the AUs, plus that of the AU
        graph's prediction of each from the others. Sparsity: summed sizes of the AU edges' terms, mean over classes, logits.
    """
    weight = torch.ones_like(output.logits[:, 0]) if clip_weight is None else clip_weight.to(output.logits)
    frames = batch.mask.any(2)
    focal = train_config.loss == "focal"
    class_weights = class_weights if focal else torch.ones_like(class_weights)
    gamma = train_config.gamma if focal else 0.0
    each = focal_loss(output.logits, batch.label, class_weights, gamma, train_config.label_smoothing)
    classification = _mean(each, weight)
    coded = weight * (~batch.aus.isnan()).any(1) * frames.any(1)
    au = _mean(au_loss(compute_clip_aus(output.au_logits, frames), batch.aus), coded)
    sparsity = torch.zeros_like(classification)
    if output.terms is not None:
        if output.terms.partners is not None:
            # relative to the mean of the clips that count; the network knows only that of the whole batch
            partners, share = output.terms.partners, rearrange(coded / coded.sum().clamp_min(1e-9), "batch -> batch 1")
            partners = partners - (share * partners).sum(0) + partners.mean(0)
            au = au + _mean(au_loss(partners, batch.aus), coded)
        sparsity = _mean(output.terms.au_edges.abs().mean(1).sum((1, 2)), weight)
    total = classification + train_config.au_weight * au + train_config.sparsity * sparsity
    return LossParts(total, classification, au, sparsity)


def _mean(values: Tensor, weight: Tensor) -> Tensor:
    """Weighted mean; 0 where nothing counts."""
    return (values * weight).sum() / weight.sum().clamp_min(1e-9)
