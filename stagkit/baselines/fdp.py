r"""FDP (arXiv:2509.06015): frames are ranked up to the apex, pooled by rank, and a dynamic image is reconstructed.

A transformer with local and global features reads every frame; a scorer gives each frame a rank score, which a ranking loss
makes rise towards the apex; frames are pooled by their scores; one head predicts the expression, one reconstructs the clip's
dynamic image. Loss, with frames t before q up to the apex:

.. math:: L = CE + \frac{1}{|P|} \sum_{(t, q) \in P} \log(1 + e^{-(s_q - s_t)}) + \lVert \hat D - D \rVert^2

stagkit's choice: sizes (64 px grey frames, tokens of 8 px, width 32), softmax pooling, loss weights of 1, Bilen's rank
pooling of the visible frames (scaled to 0..1) as the target image; pooled is the normalised change since the first frame,
which the expression head reads on 4 x 4 places.

``as_published`` does what the public code does: no scorer, ranking loss or pooling; frames "time (y x)" are reshaped to
"y x time" **without moving the axes**, so the 3-D convolution runs over eight neighbouring pixels instead of time.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, softplus

from stagkit.baselines.network import Block, Network, Output, Schedule
from stagkit.baselines.rank_pooling import compute_rank_weights
from stagkit.core.types import Batch, StagkitError

SCHEDULE = Schedule(epochs=40, lr=1e-3, batch_size=32)


def rank_loss(scores: Tensor, times_ms: Tensor, frames: Tensor) -> Tensor:
    """Pairwise logistic ranking loss over the pairs of valid frames up to the apex: scalar, 0 without a pair.

    All "batch time"; ``times_ms`` counts from the apex: only frames at or before 0 take part.

    Example:
        >>> scores = torch.tensor([[0.0, 1.0, 5.0]])
        >>> float(rank_loss(scores, torch.tensor([[-20.0, 0.0, 20.0]]), torch.ones(1, 3, dtype=torch.bool)))
        0.313261...
    """
    rising = frames & (times_ms <= 0)
    later = times_ms[:, None, :] > times_ms[:, :, None]  # (t, q): q after t
    pairs = (rising[:, :, None] & rising[:, None, :] & later).to(scores.dtype)
    cost = softplus(scores[:, :, None] - scores[:, None, :])
    return (cost * pairs).sum() / pairs.sum().clamp_min(1)


def make_dynamic_image(grey: Tensor, frames: Tensor) -> Tensor:
    """The target image: grey "batch time y x" -> "batch y x", scaled to 0..1 per clip."""
    images = []
    for clip, valid in zip(grey, frames, strict=True):
        weights = torch.as_tensor(compute_rank_weights(max(int(valid.sum()), 1)), dtype=grey.dtype, device=grey.device)
        images.append(torch.einsum("t,tyx->yx", weights, clip[valid][: len(weights)]) if valid.any() else clip[0] * 0)
    image = torch.stack(images)
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return (image - low) / (high - low).clamp_min(1e-6)


def stack_frames(features: Tensor, as_published: bool = False) -> Tensor:
    """Features of the frames "batch time y x" -> "batch y x time"; ``as_published`` reshapes without moving the axes."""
    if as_published:
        n, time, height, width = features.shape
        return features.reshape(n, height, width, time)
    return rearrange(features, "batch time y x -> batch y x time")


class LocalGlobal(Block):
    """Local features by a depthwise 3x3 convolution, then global ones by attention over all tokens: "many width y x"."""

    def __init__(self, width: int, heads: int = 4):
        local = nn.Sequential(nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GroupNorm(1, width), nn.GELU())
        super().__init__(width, heads, 2 * width, bias=True)
        self.local = local

    def forward(self, x: Tensor) -> Tensor:
        """Features -> features."""
        x = x + self.local(x)
        tokens, _ = super().forward(rearrange(x, "many width y x -> many (y x) width"))
        return rearrange(tokens, "many (y x) width -> many width y x", y=x.shape[2])


class FDP(Network):
    """The network: any number of frames with the paper's pooling, exactly ``n_frames`` with ``as_published``."""

    def __init__(self, n_classes: int, n_frames: int = 8, as_published: bool = False, width: int = 32, depth: int = 2):
        super().__init__()
        self.as_published, self.n_frames = as_published, n_frames
        first = (nn.Conv2d(1, width // 2, 4, stride=4), nn.GELU())
        self.stem = nn.Sequential(*first, nn.Conv2d(width // 2, width, 2, stride=2), nn.GroupNorm(1, width))
        self.position = nn.Parameter(torch.randn(width, 8, 8) * 0.02)
        self.layers = nn.Sequential(*(LocalGlobal(width) for _ in range(depth)))
        self.act, self.drop = nn.GELU(), nn.Dropout(0.3)
        if as_published:
            self.flat = nn.Conv2d(width, 4, 1)  # 8 x 8 tokens x 4 = 16 x 16 per frame
            self.over_time, self.pool = nn.Conv3d(1, 8, (3, 3, n_frames)), nn.MaxPool3d((3, 3, 1))
            self.classify = nn.Linear(8 * 4 * 4, n_classes)
            self.decode = nn.Linear(8 * 4 * 4, 64)
        else:
            self.rank, self.classify = nn.Linear(width, 1), nn.Linear(width * 4 * 4, n_classes)
            self.norm_change, self.grid_pool = nn.GroupNorm(1, width), nn.AdaptiveAvgPool2d(4)
            self.decode, self.softmax = nn.Conv2d(width, 64, 1), nn.Softmax(-1)

    def read_frames(self, x: Tensor) -> Tensor:
        """Grey frames "batch time y x", 0..1 -> features "batch time width y x" on 8 x 8 tokens."""
        if tuple(x.shape[-2:]) != (64, 64):
            raise StagkitError(f"FDP reads frames of 64 x 64 px, got {x.shape[-1]} x {x.shape[-2]}.")
        frames = rearrange((x - 0.5) / 0.5, "batch time y x -> (batch time) 1 y x")
        features = self.layers(self.stem(frames) + self.position)
        return rearrange(features, "(batch time) ... -> batch time ...", time=x.shape[1])

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Film "batch time 1 chan py px", 0..1 -> ``Output`` with ``scores`` "batch time" and ``image`` "batch y x"."""
        grey, frames = x[:, :, 0].mean(2), mask[:, :, 0]
        features = self.read_frames(grey)
        if self.as_published:
            if x.shape[1] != self.n_frames:
                raise StagkitError(f"this FDP was built for {self.n_frames} frames, the clips have {x.shape[1]}.")
            flat = rearrange(features, "batch time width y x -> (batch time) width y x")
            flat = rearrange(self.flat(flat), "(batch time) (p q) y x -> batch time (y p) (x q)", time=x.shape[1], p=2)
            moved = self.pool(self.act(self.over_time(stack_frames(flat, as_published=True)[:, None])))
            pooled = rearrange(moved, "batch chan y x 1 -> batch (chan y x)")
            image = rearrange(self.decode(pooled), "batch (y x) -> batch 1 y x", y=8)
            image = nn.functional.interpolate(image, size=(64, 64), mode="bilinear")[:, 0]
            return Output(self.classify(self.drop(pooled)), {"image": image.sigmoid()})
        first = features[:, :1]
        tokens = features.mean((3, 4))
        scores = rearrange(self.rank(tokens - tokens[:, :1]), "batch time 1 -> batch time")
        weights = self.softmax(scores.masked_fill(~frames, -1e9))
        change = self.norm_change(torch.einsum("bt,btcyx->bcyx", weights, features - first))
        pooled = rearrange(self.grid_pool(change), "batch width y x -> batch (width y x)")
        image = rearrange(self.decode(change), "batch (p q) y x -> batch (y p) (x q)", p=8)
        return Output(self.classify(self.drop(pooled)), {"scores": scores, "image": image.sigmoid()})

    def loss(self, output: Output, batch: Batch, class_weights: Tensor) -> Tensor:
        """Cross entropy + ranking loss + squared error of the reconstructed dynamic image."""
        frames = batch.mask[:, :, 0]
        total = cross_entropy(output.logits, batch.label, class_weights)
        total = total + mse_loss(output.parts["image"], make_dynamic_image(batch.x[:, :, 0].mean(2), frames))
        if "scores" in output.parts:
            total = total + rank_loss(output.parts["scores"], batch.times_ms, frames)
        return total
