"""Base of the trained baselines: batch in, logits out; a transformer block; one plain training loop with fixed epochs.

Every view (``inputs``) is a ``RoiDataset``, a face being one large region; folds and explanations serve all systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from stagkit.core.types import Batch, RoiDataset, StagkitError
from stagkit.evaluation.sealed import SealedInputs
from stagkit.network.losses import compute_class_weights
from stagkit.training.train import train_network


@dataclass(frozen=True)
class Output:
    """Logits "batch cls", and by name further outputs: attention, scores of frames, a reconstructed image."""

    logits: Tensor
    parts: Mapping[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Schedule:
    """How a system is trained, fixed beforehand.

    ``lr``: learning rate of Adam (AdamW if ``weight_decay`` is not 0); ``decay``: its factor after each epoch;
    ``balanced``: classes are weighted by their effective number of *training* clips.
    """

    epochs: int
    lr: float
    batch_size: int = 64
    weight_decay: float = 0.0
    decay: float = 1.0
    balanced: bool = False


class Network(nn.Module):
    """A baseline network: subclasses define ``forward`` and, if needed, ``loss``.

    ``scale``: float "chan", > 0, divides the input: the RMS of the *training* clips (``train.compute_scale``); None: 1.
    """

    def __init__(self, scale: np.ndarray | None = None):
        super().__init__()
        self.register_buffer("scale", torch.as_tensor(np.ones(3) if scale is None else scale, dtype=torch.float32))

    def scaled(self, x: Tensor, mask: Tensor) -> Tensor:
        """Input "batch time roi chan py px" divided by the scale, 0 outside the mask."""
        return x * mask[..., None, None, None] / self.scale[:, None, None]

    def face(self, x: Tensor, mask: Tensor) -> Tensor:
        """The one scaled map of each clip: "batch 1 1 chan py px" -> "batch chan py px"."""
        if x.shape[1] != 1 or x.shape[2] != 1:
            raise StagkitError(
                f"{type(self).__name__} reads one map of the whole face, but clips have {x.shape[1]} frames of "
                f"{x.shape[2]} regions: give it the view 'face' (inputs.make_views)."
            )
        return self.scaled(x, mask)[:, 0, 0]

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """All outputs; arguments as in ``types.Batch``."""
        raise NotImplementedError

    def logits(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Tensor:
        """Logits "batch cls" alone: what Captum is given."""
        return self.forward(x, mask, times_ms).logits

    def loss(self, output: Output, batch: Batch, class_weights: Tensor) -> Tensor:
        """Training objective: cross entropy, mean over the batch."""
        return cross_entropy(output.logits, batch.label, class_weights)


class Block(nn.Module):
    """A pre-norm transformer block on tokens "batch token width"; heads of ``head_width`` (None: width / heads)."""

    def __init__(
        self, width: int, heads: int, hidden: int, head_width: int | None = None, bias=False, dropout: float = 0.0
    ):
        super().__init__()
        inner = heads * (head_width or width // heads)
        self.heads, self.norm, self.norm_hidden = heads, nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out_proj = nn.Linear(width, 3 * inner, bias=bias), nn.Linear(inner, width)
        self.softmax, self.dropout = nn.Softmax(-1), nn.Dropout(dropout) if dropout else nn.Identity()
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Tokens, valid ones bool "batch token" (None: all) -> tokens, and attention "batch head target source"."""
        query, key, value = rearrange(
            self.qkv(self.norm(x)), "batch token (three head c) -> three batch head token c", three=3, head=self.heads
        )
        scores = torch.einsum("bhtc,bhsc->bhts", query, key) * query.shape[-1] ** -0.5
        weights = self.softmax(scores if mask is None else scores.masked_fill(~mask[:, None, None], -1e9))
        mixed = torch.einsum("bhts,bhsc->bhtc", weights, value)
        x = x + self.dropout(self.out_proj(rearrange(mixed, "batch head token c -> batch token (head c)")))
        return x + self.dropout(self.hidden(self.norm_hidden(x))), weights


def fit_network(
    build: Callable[[RoiDataset], Network],
    schedule: Schedule,
    train: RoiDataset,
    seed: int = 0,
    device: torch.device | str = "cpu",
    on_epoch_end: Callable[[int, float, Network], None] | None = None,
) -> Network:
    """Train a network on the clips of a fold's training part; it returns on the CPU, in evaluation mode.

    ``build``: makes the untrained network from the training clips (sizes, scale); ``seed``: of weights, order and dropout;
    ``on_epoch_end``: as for ``train.train_fold``. Raises a ``StagkitError`` if a loss is not finite.
    """
    if not len(train):
        raise StagkitError("the training part of the fold is empty.")
    torch.manual_seed(seed)
    model = build(train).to(device).train()
    weights = compute_class_weights(train.label, len(train.classes), 0.999 if schedule.balanced else 0.0).to(device)
    kind = torch.optim.AdamW if schedule.weight_decay else torch.optim.Adam
    optimiser = kind(model.parameters(), lr=schedule.lr, weight_decay=schedule.weight_decay)
    decay = torch.optim.lr_scheduler.ExponentialLR(optimiser, schedule.decay)

    def compute_batch_loss(batch: Batch) -> Tensor:
        return model.loss(model(batch.x, batch.mask, batch.times_ms), batch, weights)

    plan = (range(schedule.epochs), schedule.batch_size, torch.Generator().manual_seed(seed))
    clips = train.batch().to(device)
    train_network(model, clips, compute_batch_loss, optimiser, *plan, lambda epoch, loss: decay.step(), on_epoch_end)
    return model.eval().cpu()


@torch.no_grad()
def predict(model: Network, clips: RoiDataset | SealedInputs, batch_size: int = 256) -> np.ndarray:
    """Class probabilities float "clip cls"."""
    device, parts = next(model.parameters()).device, []
    for start in range(0, len(clips), batch_size):
        batch = clips.batch(np.arange(start, min(start + batch_size, len(clips)))).to(device)
        parts.append(model.logits(batch.x, batch.mask, batch.times_ms).softmax(-1).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, len(clips.classes)), np.float32)
