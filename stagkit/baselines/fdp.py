r"""FDP (arXiv:2509.06015): frames are ranked up to the apex, pooled by their rank, and a dynamic image is rebuilt beside.

As the paper describes it: a transformer with local and global features reads every frame; a rank scorer gives each frame one
score; a ranking loss asks that scores rise towards the apex; the frames are pooled in time by their scores; two heads, one
for the expression and one that rebuilds the clip's dynamic image. Loss, with frames t before q up to the apex:

.. math:: L = CE + \frac{1}{|P|} \sum_{(t, q) \in P} \log(1 + e^{-(s_q - s_t)}) + \lVert \hat D - D \rVert^2

Sizes are stagkit's choice, as are softmax pooling, the weights of the three terms (1 each) and the target of the last one
(Bilen's weights on the frames seen, see ``rank_pooling``, stretched to 0..1): 64 px grey frames, tokens of 8 px, width 32.
So is what is pooled: the change since the first frame, made even in size, as it is small beside what is there, and read by
the expression head on 4 x 4 places, as the place tells the muscle (from its mean over the face next to nothing is learned).

``as_published`` does what the public code does instead: no scorer, no ranking loss, no pooling. The numbers of each frame
are stacked as "time (y x)" and then reshaped to "y x time" **without moving the axes**, so that frame t of 8 lands in
rows 8t to 8t+7 and the last axis, over which the 3-D convolution believes to look along time, holds eight neighbouring
pixels.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, mse_loss, softplus

from stagkit.baselines.network import Network, Output, Schedule
from stagkit.baselines.rank_pooling import compute_rank_weights
from stagkit.core.types import Batch, StagkitError

SCHEDULE = Schedule(epochs=40, lr=1e-3, batch_size=32)


def rank_loss(scores: Tensor, times_ms: Tensor, frames: Tensor) -> Tensor:
    """Pairwise logistic ranking loss over the pairs of frames up to the apex: scalar, 0 where there is no pair.

    Args:
        scores: "batch time".
        times_ms: "batch time", ms from the apex: only frames at or before 0 take part.
        frames: bool "batch time", True where a frame is valid.

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
    """The picture that is to be rebuilt: grey "batch time y x" -> "batch y x", stretched to 0..1 for each clip."""
    pictures = []
    for clip, seen in zip(grey, frames, strict=True):
        weights = torch.as_tensor(compute_rank_weights(max(int(seen.sum()), 1)), dtype=grey.dtype, device=grey.device)
        pictures.append(torch.einsum("t,tyx->yx", weights, clip[seen][: len(weights)]) if seen.any() else clip[0] * 0)
    image = torch.stack(pictures)
    low, high = image.amin((1, 2), keepdim=True), image.amax((1, 2), keepdim=True)
    return (image - low) / (high - low).clamp_min(1e-6)


def stack_frames(features: Tensor, as_published: bool = False) -> Tensor:
    """Features of the frames "batch time y x" -> "batch y x time".

    Args:
        features: one picture a frame.
        as_published: reshape without moving the axes, as the public code does: pixels stand where time should be.
    """
    if as_published:
        n, time, height, width = features.shape
        return features.reshape(n, height, width, time)
    return rearrange(features, "batch time y x -> batch y x time")


class LocalGlobal(nn.Module):
    """Local features by a depthwise 3x3 convolution, global ones by attention over all tokens: "many width y x"."""

    def __init__(self, width: int, heads: int = 4):
        super().__init__()
        self.local = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.GroupNorm(1, width), nn.GELU()
        )
        self.heads, self.norm, self.weigh = heads, nn.LayerNorm(width), nn.Softmax(-1)
        self.ask, self.back = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Features -> features."""
        x = x + self.local(x)
        height = x.shape[2]
        tokens = rearrange(x, "many width y x -> many (y x) width")
        query, key, value = rearrange(
            self.ask(self.norm(tokens)),
            "many token (three head c) -> three many head token c",
            three=3,
            head=self.heads,
        )
        weights = self.weigh(torch.einsum("mhtc,mhsc->mhts", query, key) * query.shape[-1] ** -0.5)
        told = rearrange(torch.einsum("mhts,mhsc->mhtc", weights, value), "many head token c -> many token (head c)")
        tokens = tokens + self.back(told)
        return rearrange(tokens + self.wide(tokens), "many (y x) width -> many width y x", y=height)


class FDP(Network):
    """The network.

    Args:
        n_classes: >= 2.
        n_frames: of a clip; any number with the paper's pooling, exactly so many with ``as_published``.
        as_published: what the public code does in place of what the paper says (see above).
        width: channels of a token.
        depth: layers.
    """

    def __init__(self, n_classes: int, n_frames: int = 8, as_published: bool = False, width: int = 32, depth: int = 2):
        super().__init__()
        self.as_published, self.n_frames = as_published, n_frames
        self.stem = nn.Sequential(
            nn.Conv2d(1, width // 2, 4, stride=4),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 2, stride=2),
            nn.GroupNorm(1, width),
        )
        self.place = nn.Parameter(torch.randn(width, 8, 8) * 0.02)
        self.layers = nn.Sequential(*(LocalGlobal(width) for _ in range(depth)))
        self.act, self.drop = nn.GELU(), nn.Dropout(0.3)
        if as_published:
            self.flat = nn.Conv2d(width, 4, 1)  # 8 x 8 tokens x 4 = a picture of 16 x 16 a frame
            self.over_time, self.pool = nn.Conv3d(1, 8, (3, 3, n_frames)), nn.MaxPool3d((3, 3, 1))
            self.classify = nn.Linear(8 * 4 * 4, n_classes)
            self.paint = nn.Linear(8 * 4 * 4, 64)
        else:
            self.rank, self.classify = nn.Linear(width, 1), nn.Linear(width * 4 * 4, n_classes)
            self.even, self.places, self.paint = (
                nn.GroupNorm(1, width),
                nn.AdaptiveAvgPool2d(4),
                nn.Conv2d(width, 64, 1),
            )
            self.weigh = nn.Softmax(-1)

    def read_frames(self, x: Tensor) -> Tensor:
        """Grey frames "batch time y x", 0..1 -> features "batch time width y x" on 8 x 8 tokens."""
        if tuple(x.shape[-2:]) != (64, 64):
            raise StagkitError(f"FDP reads frames of 64 x 64 px, got {x.shape[-1]} x {x.shape[-2]}.")
        frames = rearrange((x - 0.5) / 0.5, "batch time y x -> (batch time) 1 y x")
        return rearrange(
            self.layers(self.stem(frames) + self.place), "(batch time) ... -> batch time ...", time=x.shape[1]
        )

    def forward(self, x: Tensor, mask: Tensor, times_ms: Tensor) -> Output:
        """Film "batch time 1 chan py px", 0..1 -> ``Output`` with ``scores`` "batch time" and ``image`` "batch y x"."""
        grey, frames = x[:, :, 0].mean(2), mask[:, :, 0]
        features = self.read_frames(grey)
        if self.as_published:
            if x.shape[1] != self.n_frames:
                raise StagkitError(f"this FDP was built for {self.n_frames} frames, the clips have {x.shape[1]}.")
            flat = rearrange(features, "batch time width y x -> (batch time) width y x")
            flat = rearrange(self.flat(flat), "(batch time) (p q) y x -> batch time (y p) (x q)", time=x.shape[1], p=2)
            seen = self.pool(self.act(self.over_time(stack_frames(flat, as_published=True)[:, None])))
            pooled = rearrange(seen, "batch chan y x 1 -> batch (chan y x)")
            image = rearrange(self.paint(pooled), "batch (y x) -> batch 1 y x", y=8)
            image = nn.functional.interpolate(image, size=(64, 64), mode="bilinear")[:, 0]
            return Output(self.classify(self.drop(pooled)), {"image": image.sigmoid()})
        first = features[:, :1]  # what changes, beside what is there
        tokens = features.mean((3, 4))
        scores = rearrange(self.rank(tokens - tokens[:, :1]), "batch time 1 -> batch time")
        weights = self.weigh(scores.masked_fill(~frames, -1e9))
        change = self.even(torch.einsum("bt,btcyx->bcyx", weights, features - first))
        pooled = rearrange(self.places(change), "batch width y x -> batch (width y x)")
        image = rearrange(self.paint(change), "batch (p q) y x -> batch (y p) (x q)", p=8)
        return Output(self.classify(self.drop(pooled)), {"scores": scores, "image": image.sigmoid()})

    def loss(self, output: Output, batch: Batch, class_weights: Tensor) -> Tensor:
        """Cross entropy + ranking loss + squared error of the rebuilt dynamic image."""
        frames = batch.mask[:, :, 0]
        total = cross_entropy(output.logits, batch.label, class_weights)
        total = total + mse_loss(output.parts["image"], make_dynamic_image(batch.x[:, :, 0].mean(2), frames))
        if "scores" in output.parts:
            total = total + rank_loss(output.parts["scores"], batch.times_ms, frames)
        return total
