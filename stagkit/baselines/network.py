"""What every trained system shares: a batch in, logits out; one plain training loop, fixed epochs, no tricks.

A system is shown the clips in its own way (``views``): as regions, as one map of the whole face, as pictures. All of them
are ``RoiDataset`` records, a face being one large region, so folds, seals and explanations serve every system alike.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.evaluation.sealed import SealedInputs
from stagkit.network.losses import compute_class_weights


@dataclass(frozen=True)
class Output:
    """What a system says.

    Args:
        logits: "batch cls".
        parts: what else it says, by name: attention, scores of frames, a rebuilt picture.
    """

    logits: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How a system is trained; everything is fixed beforehand.

    Args:
        epochs: how many.
        lr: learning rate of Adam (AdamW where ``weight_decay`` is not 0).
        batch_size: clips a step.
        weight_decay: of AdamW.
        decay: the learning rate is multiplied by it after each epoch.
        balanced: weigh classes by their effective number of *training* clips.
    """

    epochs: int
    lr: float
    batch_size: int = 64
    weight_decay: float = 0.0
    decay: float = 1.0
    balanced: bool = False

    def to_dict(self) -> dict[str, object]:
        """Plain values, for the run record."""
        return asdict(self)


class Network(nn.Module):
    """A trained system: subclasses write ``forward`` and, where they have aims of their own, ``loss``.

    Args:
        scale: float "chan", > 0, by which the input is divided: the RMS of the *training* clips (``train.compute_scale``).
            Zero stays zero, 'no motion'. None: 1.
    """

    def __init__(self, scale: np.ndarray | None = None):
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(np.ones(3) if scale is None else scale, dtype=torch.float32))

    def scaled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Input "batch time roi chan py px" divided by the scale, 0 under the mask."""
        return x * mask[..., None, None, None] / self.scale[:, None, None]

    def face(self, x: Tensor, mask: Tensor) -> Tensor:
        """The one map of each clip: "batch 1 1 chan py px" -> "batch chan py px".

        Raises:
            StagkitError: a clip of several maps or regions.
        """
        if x.shape[1] != 1 or x.shape[2] != 1:
            raise StagkitError(
                f"{type(self).__name__} reads one map of the whole face, but clips have {x.shape[1]} frames of "
                f"{x.shape[2]} regions: give it the view 'face' (views.make_views)."
            )
        return self.scaled(x, mask)[:, 0, 0]

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """The whole answer; arguments as in ``types.Batch``."""
        raise NotImplementedError

    def logits(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        """Logits "batch cls" alone: what Captum is given."""
        return self.forward(x, mask, times_ms).logits

    def loss(self, output: Output, batch: Batch, class_weights: Tensor) -> Tensor:
        """What training makes smaller: cross entropy, mean over the batch."""
        return cross_entropy(output.logits, batch.label, class_weights)


def fit_network(
    build: Callable[[RoiDataset], Network],
    schedule: Schedule,
    known: RoiDataset,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_epoch_end: Callable[[int, Network], None] | None = None,
) -> Network:
    """Train a system on the clips of a fold's training part.

    Args:
        build: makes the untrained network from the training clips (sizes, scale).
        schedule: how; the number of epochs is fixed.
        known: the training clips, nothing else.
        seed: of weights, order and dropout.
        device: where to train.
        on_epoch_end: called with (epoch, network in evaluation mode) after each epoch; must not change it.

    Returns:
        The network after the last epoch, on the CPU, in evaluation mode.

    Raises:
        StagkitError: no training clips, or a loss that is not finite.
    """
    if not len(known):
        raise StagkitError("the training part of the fold is empty.")
    torch.manual_seed(seed)
    model = build(known).to(device).train()
    whole = known.batch().to(device)
    weights = compute_class_weights(known.label, len(known.classes), 0.999 if schedule.balanced else 0.0).to(device)
    kind = torch.optim.AdamW if schedule.weight_decay else torch.optim.Adam
    optimiser = kind(model.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
    order, losses = torch.Generator().manual_seed(seed), []
    for epoch in range(schedule.epochs):
        n_steps = math.ceil(len(known) / schedule.batch_size)
        for part in torch.randperm(len(known), generator=order).chunk(n_steps):
            batch = whole.select(part.to(device))
            loss = model.loss(model(batch.x, batch.mask, batch.times_ms), batch, weights)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        losses.append(float(loss.detach()))
        if not math.isfinite(losses[-1]):
            raise StagkitError(f"the loss became {losses[-1]} in epoch {epoch + 1} of {type(model).__name__}.")
        for group in optimiser.param_groups:
            group["lr"] *= schedule.decay
        if on_epoch_end:
            on_epoch_end(epoch, model.eval())
            model.train()
    return model.eval().cpu()


@torch.no_grad()
def predict(model: Network, clips: RoiDataset | SealedInputs, batch_size: int = 256) -> np.ndarray:
    """Class probabilities float "clip cls"; labels are not looked at."""
    device, answers = next(model.parameters()).device, []
    for start in range(0, len(clips), batch_size):
        batch = clips.batch(np.arange(start, min(start + batch_size, len(clips)))).to(device)
        answers.append(model.logits(batch.x, batch.mask, batch.times_ms).softmax(-1).cpu().numpy())
    return np.concatenate(answers) if answers else np.zeros((0, len(clips.classes)), np.float32)


def count_parameters(model: nn.Module) -> int:
    """Trained numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
