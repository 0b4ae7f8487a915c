"""Checks of notebooks 04-06 and 21 (and 12.3): graph attention, time, the whole network, a layer of your own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from torch import nn

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch
from stagkit.course.exercises import Verdict, exercise, right, wrong
from stagkit.course.exercises.layers import NeighbourMean, ShowsAnotherGraph
from stagkit.course.layer_contract import CONTRACT, check_layer
from stagkit.network.model import Stag


def _share(weights: np.ndarray, axis: int) -> np.ndarray:
    return weights / weights.sum(axis, keepdims=True)


@exercise("04.1")
def rows_or_columns(answer: np.ndarray, *, scores: np.ndarray, joined: np.ndarray) -> Verdict:
    """Attention from scores, among the sources that are joined to the target."""
    answer = np.asarray(answer, float)
    if answer.shape != scores.shape:
        return wrong(f"that has the shape {answer.shape}; there is one share for each pair, {scores.shape}.")
    weights = np.exp(scores - scores.max(1, keepdims=True)) * joined
    wanted = _share(weights, 1)
    if np.allclose(answer, wanted, atol=1e-6):
        return right("every row sums to 1: each target divides its attention among those it is joined to.")
    if np.allclose(answer, _share(np.exp(scores - scores.max()) * joined, 0), atol=1e-6):
        return wrong("your columns sum to 1, over the targets: the softmax runs over the wrong axis.")
    if np.allclose(answer, _share(np.exp(scores - scores.max(1, keepdims=True)), 1), atol=1e-6):
        return wrong("that is the attention among *all* regions: where there is no edge, the weight is 0.")
    if np.allclose(answer, _share(np.exp(scores * joined), 1), atol=1e-6):
        return wrong("a score of 0 is no 'no': its exponential is 1. Put the 0 behind the exponential.")
    if np.allclose(answer, _share(np.exp(scores - scores.max(1, keepdims=True)), 1) * joined, atol=1e-6):
        return wrong("you masked after the division: the rows no longer sum to 1.")
    if np.allclose(answer, np.exp(scores) * joined, atol=1e-6):
        return wrong("those are the weights; divide them by their sum over the sources.")
    return wrong("exponential of the scores, 0 where nothing is joined, divided by the sum of its row.")


@exercise("04.2")
def twice_the_weight(answer: float, *, p: float) -> Verdict:
    """The share of a source whose edge weight is doubled."""
    answer, wanted = float(answer), 2 * p / (1 + p)
    if abs(answer - wanted) < 1e-4:
        return right(f"from {p:.4f} to {wanted:.4f}: nearly twice, because the rest of the row loses a little.")
    if abs(answer - 2 * p) < 1e-4:
        return wrong("twice the share, but then the row sums to more than 1: divide by its new sum.")
    if abs(answer - p) < 1e-4:
        return wrong("that is the share before: doubling *one* weight of a row changes its ratios.")
    if abs(answer - p / (1 + p)) < 1e-4:
        return wrong("the new sum is right, but the doubled weight belongs above the line as well.")
    return wrong("before the division the row holds 2p for this source and 1 - p for all others together.")


@exercise("04.3")
def au_without_an_edge(answer: float, *, z: float, term: float) -> Verdict:
    """Activation of an AU without one of its edges."""
    answer, (before, wanted, added) = float(answer), 1 / (1 + np.exp(-np.array([z, z - term, z + term])))
    if abs(answer - wanted) < 1e-3:
        return right(f"{wanted:.2f}; with the edge it was {before:.2f}.")
    if abs(answer - (z - term)) < 1e-3:
        return wrong("that is the logit; the sigmoid turns it into an activation.")
    if abs(answer - added) < 1e-3:
        return wrong("the term was added once more; removing the edge takes it off.")
    if abs(answer - before) < 1e-3:
        return wrong("that is the AU with all its edges.")
    if abs(answer - (before - term)) < 1e-3:
        return wrong("terms add up in logits: take the term off the logit, then the sigmoid.")
    return wrong("take the term off the logit `z[k]`, then the sigmoid.")


@exercise("05.1")
def frame_of_another_camera(answer: float, *, frame: int, fps: float, other_fps: float) -> Verdict:
    """The frame of another camera that shows the same moment."""
    answer, wanted = float(answer), frame / fps * other_fps
    if abs(answer - wanted) < 0.51:
        return right(f"both are {1000 * frame / fps:.0f} ms after the onset.")
    if abs(answer - frame / other_fps * fps) < 0.51:
        return wrong("the two rates are swapped: the slower camera has taken *fewer* frames by then.")
    if abs(answer - frame) < 0.51:
        return wrong("the same number is another moment: the second camera is slower.")
    if abs(answer - 1000 * frame / fps) < 0.51 or abs(answer - frame / fps) < 0.01:
        return wrong("that is the time; the question asks for a frame of the other camera.")
    return wrong("time = frame / rate of the first camera; frame = time x rate of the second.")


@exercise("05.2")
def logit_on_a_wrong_clock(answer: float, *, model: Stag, batch: Batch, cls: int) -> Verdict:
    """By how much a logit changes when all times are doubled."""
    with torch.no_grad():
        true, twice, half = (model.logits(batch.x, batch.mask, f * batch.times_ms)[0] for f in (1.0, 2.0, 0.5))
    answer, change = float(answer), twice - true
    wanted, close = float(change[cls]), max(1e-3, 0.01 * abs(float(change[cls])))
    if abs(answer - wanted) <= close:
        return right(f"{wanted:+.3f} logits, though not one pixel moved differently.")
    if abs(answer + wanted) <= close:
        return wrong("the sign is reversed: a change is after minus before.")
    if abs(answer - float((half - true)[cls])) <= close:
        return wrong("you halved the times; at half the rate each frame seems to come twice as *late*.")
    if abs(answer - float(twice[cls])) <= close:
        return wrong("that is the logit afterwards; subtract the one before.")
    if abs(answer - float((twice.softmax(-1) - true.softmax(-1))[cls])) <= 1e-4:
        return wrong("that is the change of a probability; the question asks for the logit.")
    return wrong("`model.logits` twice, with `one.times_ms` and with twice that; take class `said_class` of both.")


@exercise("05.3")
@exercise("12.3")
def repaired_axes(answer: np.ndarray, *, film: np.ndarray) -> Verdict:
    """A film "time y x" as "y x time"."""
    answer, (n_time, height, width) = np.asarray(answer), film.shape
    if answer.shape == (height, width, n_time):
        if np.array_equal(answer, np.moveaxis(film, 0, -1)):
            return right(f"answer[..., t] is frame t, for all {n_time} frames.")
        if np.array_equal(answer, film.reshape(height, width, n_time)):
            return wrong("the shape fits and the frames are mixed: that is the published mistake, a reshape.")
        return wrong("the shape fits; `answer[..., 0]` should be the first frame.")
    if answer.shape == (width, height, n_time):
        return wrong("y and x are swapped: that is `.T`, which turns all axes round.")
    if answer.shape == film.shape:
        return wrong("that is still (time, y, x): the last axis has to be time.")
    return wrong(f"that has the shape {answer.shape}, expected (y, x, time) = {(height, width, n_time)}.")


@exercise("06.1")
def weights_of_au_edges(answer: int, *, n_aus: int, n_classes: int, n_relations: int) -> Verdict:
    """Readout weights of the AU edges that are in use."""
    pairs = n_aus * (n_aus - 1) // 2
    wanted = pairs * n_relations * n_classes
    if answer == wanted:
        return right(f"{pairs} pairs x {n_relations} relations x {n_classes} classes: {wanted:,}.")
    if answer == n_aus**2 * n_relations * n_classes:
        return wrong("an AU edge has no direction, and no AU has one to itself: count each pair once.")
    if answer in (n_aus * (n_aus - 1) * n_relations * n_classes, n_aus * (n_aus + 1) // 2 * n_relations * n_classes):
        return wrong("each pair counts once, and an AU makes no pair with itself: n (n - 1) / 2.")
    if answer == pairs * n_classes:
        return wrong("each AU edge has a weight for every relation.")
    if answer == pairs * n_relations:
        return wrong("each class has weights of its own.")
    return wrong("pairs of AUs x relations x classes.")


@exercise("06.2")
def frame_of_most_attention(answer: float, *, ways: Mapping[str, torch.Tensor], times_ms: torch.Tensor) -> Verdict:
    """The time of the frame to which lip_corner_R pays the most cross-attention."""
    asks, asked = (ways[name] for name in ("regions query frames", "frames query regions"))
    lip, left = ATLAS.index("lip_corner_R"), ATLAS.index("lip_corner_L")
    answer, wanted = float(answer), float(times_ms[asks[lip].argmax()])
    if abs(answer - wanted) < 0.5:
        share = float(asks[lip].max()) * len(times_ms)
        return right(f"{wanted:.0f} ms, with {share:.2f} times an even share.")
    if abs(answer - int(asks[lip].argmax())) < 0.5:
        return wrong("that is the number of a frame; `batch.times_ms[k]` turns it into ms.")
    if abs(answer - float(times_ms[asked[lip].argmax()])) < 0.5:
        return wrong("that is the frame that attends most to the lip corner: the other direction.")
    if abs(answer - float(times_ms[asks[left].argmax()])) < 0.5:
        return wrong("that is the subject's left side; the question asks for the right.")
    if abs(answer - float(times_ms[asks.mean(0).argmax()])) < 0.5:
        return wrong("that is the frame to which all regions together attend most; take one row.")
    return wrong('the row is `ATLAS.index("lip_corner_R")` of the map in which regions ask.')


@exercise("06.3")
def two_parts_removed(answer: float, *, model: Stag, batch: Batch, clip: int) -> Verdict:
    """By how much a logit changes when AU edges and cross-attention are removed together."""
    from stagkit.network.hooks import intervene

    pairs, cross = {"au.edges": 0.0}, {"cross.*": 0.0}
    after = []
    with torch.no_grad():
        before = model.logits(batch.x, batch.mask, batch.times_ms)[clip]
        for changes in (pairs | cross, pairs, cross):
            with intervene(model, changes):
                after.append(model.logits(batch.x, batch.mask, batch.times_ms)[clip])
    predicted = int(before.argmax())
    together, first, second = (float((logits - before)[predicted]) for logits in after)
    answer, close = float(answer), max(1e-4, 0.01 * abs(together))
    if abs(answer - together) <= close:
        return right(f"{together:+.3f} logits; one by one {first:+.3f} and {second:+.3f}.")
    if abs(answer + together) <= close:
        return wrong("the sign is reversed: a change is after minus before.")
    if abs(answer - first - second) <= 1e-4:
        return wrong("that is the sum of the two single effects; set both to zero in one pass.")
    if min(abs(answer - first), abs(answer - second)) <= 1e-4:
        return wrong("only one of the two was set to zero.")
    if abs(answer - float(after[0][predicted])) <= close:
        return wrong("that is the logit afterwards; subtract the one before.")
    return wrong(f"both changes in one dictionary, then class {predicted} of clip {clip}, after minus before.")


@exercise("21.1")
def broken_rules(answer: Iterable[str], *, layer: Callable) -> Verdict:
    """Names of all rules that a layer breaks."""
    broken = set(check_layer(layer).failed)
    named = {answer} if isinstance(answer, str) else set(answer)
    unknown = sorted(str(name) for name in named - set(CONTRACT))
    if named == broken:
        return right(f"{', '.join(sorted(broken))}: hidden regions are treated as regions that do not move.")
    if unknown:
        return wrong(f"{', '.join(unknown)} is not the name of a rule; there are {', '.join(CONTRACT)}.")
    if not named:
        return wrong("it does break some: `check_layer` of the class, then `.failed`.")
    if named == set(CONTRACT) - broken - {"in the network"} or named == set(CONTRACT) - broken:
        return wrong("these are the ones that it *keeps*.")
    if named < broken:
        return wrong(f"{len(named)} of {len(broken)}: there is more that it breaks.")
    return wrong("it keeps at least one of these; `check_layer` of the class, then `.failed`.")


@exercise("21.2")
def parameters_saved(answer: int, *, model: Stag, own: Stag) -> Verdict:
    """By how many parameters the network with the own layer is smaller."""
    count = [sum(p.numel() for p in network.parameters()) for network in (model, own)]
    saved = count[0] - count[1]
    if answer == saved:
        return right(f"{count[1]:,} instead of {count[0]:,}: {saved:,} fewer, {saved / count[0]:.0%} of the network.")
    if answer == -saved:
        return wrong("the sign is reversed: how many *fewer* has the network with the own layer?")
    if answer in count:
        return wrong("that is one of the two networks; take the difference of both.")
    if answer == len(list(model.parameters())) - len(list(own.parameters())):
        return wrong("that counts tensors; each holds many numbers (`numel`).")
    return wrong("add up `p.numel()` over `parameters()` of each network, and subtract.")


@exercise("21.3")
def honest_sharpening(answer: type[nn.Module]) -> Verdict:
    """A layer that keeps every rule, whose shares follow the squares of the edge weights."""
    if isinstance(answer, nn.Module):
        return wrong("that is a layer; give its *class*, so that it can be built for any network.")
    report = check_layer(answer)
    if answer is ShowsAnotherGraph or "probes" in report.failed:
        return wrong("what is shown is still not what is used: only one set of shares may exist.")
    if not report.passed:
        first = next(f for f in report.findings if not f.ok)
        return wrong(f"it breaks '{first.name}': {first.text}.")
    config = StagConfig(width=16, heads=2)
    rng = torch.Generator().manual_seed(0)
    edges = torch.rand(1, 1, 22, 22, generator=rng) + 0.1
    x, mask = torch.randn(1, 1, 22, 16, generator=rng), torch.ones(1, 1, 22, dtype=torch.bool)
    with torch.no_grad():
        shares = answer(config, 0).eval()(x, edges, mask)[1].mean(2)
        plain = NeighbourMean(config, 0).eval()(x, edges, mask)[1].mean(2)
    sharp = edges.square() / edges.square().sum(-1, keepdim=True)
    if torch.allclose(shares, sharp, atol=1e-4):
        return right("every rule is kept, and the squared weights are both used and shown.")
    if torch.allclose(shares, plain, atol=1e-4):
        return wrong("it keeps every rule, but its shares are those of `NeighbourMean`: square the edges first.")
    return wrong("it keeps every rule, but its shares are not the squared edge weights, divided by their sum.")
