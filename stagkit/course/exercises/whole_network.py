"""Checks of notebook 06, 'what happens between the motion and the answer?'"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from stagkit.core.regions import ATLAS
from stagkit.course.exercises import Verdict, exercise, right, wrong

if TYPE_CHECKING:
    import torch

    from stagkit.core.types import Batch
    from stagkit.network.model import Stag


@exercise("06.1")
def parameters_of_a_layer(answer: int, *, n_rois: int, width: int, wide: int, n_frames: int) -> Verdict:
    """Parameters of the layer that reads all regions side by side."""
    wanted = n_rois * width * wide + wide
    if answer == wanted:
        return right(f"{n_rois} x {width} inputs times {wide} outputs, and {wide} biases: {wanted:,}.")
    if answer == wanted - wide:
        return wrong("the biases are missing, one for each output.")
    if answer == n_rois * width * wide + n_rois * width:
        return wrong("a bias belongs to an *output*, not to an input.")
    if answer == width * wide + wide:
        return wrong("that reads one region; all are read side by side, so that it is known which one moved.")
    if answer in (n_frames * n_rois * width * wide + wide, n_frames * wanted):
        return wrong("tokens are averaged over time before the head: frames do not multiply.")
    return wrong("inputs times outputs, plus outputs; the inputs are the tokens of all regions, joined.")


@exercise("06.2")
def when_a_region_listens(answer: float, *, ways: Mapping[str, torch.Tensor], times_ms: torch.Tensor) -> Verdict:
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
        return wrong("that is the frame that listens most to the lip corner: the other way round.")
    if abs(answer - float(times_ms[asks[left].argmax()])) < 0.5:
        return wrong("that is the subject's left side; the question asks for the right.")
    if abs(answer - float(times_ms[asks.mean(0).argmax()])) < 0.5:
        return wrong("that is the frame that all regions together hear most; take one row.")
    return wrong('the row is `ATLAS.index("lip_corner_R")` of the map in which regions ask.')


@exercise("06.3")
def two_parts_removed(answer: float, *, model: Stag, batch: Batch, clip: int) -> Verdict:
    """By how much a logit changes when messages and cross-attention are set to zero together."""
    import torch

    from stagkit.network.hooks import intervene

    messages, cross = {"graph.*.out": 0.0}, {"cross.*": 0.0}
    after = []
    with torch.no_grad():
        before = model.logits(batch.x, batch.mask, batch.times_ms)[clip]
        for changes in (messages | cross, messages, cross):
            with intervene(model, changes):
                after.append(model.logits(batch.x, batch.mask, batch.times_ms)[clip])
    said = int(before.argmax())
    together, first, second = (float((logits - before)[said]) for logits in after)
    answer, close = float(answer), max(1e-4, 0.01 * abs(together))
    if abs(answer - together) <= close:
        return right(f"{together:+.3f} logits; one by one {first:+.3f} and {second:+.3f}.")
    if abs(answer + together) <= close:
        return wrong("the sign is turned round: a change is after minus before.")
    if abs(answer - first - second) <= 1e-4:
        return wrong("that is the sum of the two single effects; set both to zero in one pass.")
    if min(abs(answer - first), abs(answer - second)) <= 1e-4:
        return wrong("only one of the two was set to zero.")
    if abs(answer - float(after[0][said])) <= close:
        return wrong("that is the logit afterwards; subtract the one before.")
    return wrong(f"both changes in one dictionary, then class {said} of clip {clip}, after minus before.")
