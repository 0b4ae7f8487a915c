"""Checks of notebook 11, 'what happens when an edge is cut?'"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.course.exercises import Verdict, exercise, right, wrong

if TYPE_CHECKING:
    import torch

    from stagkit.core.types import Batch
    from stagkit.explorers.au_graph.widget import AUGraph
    from stagkit.network.model import Stag


@exercise("11.1")
def who_listens(answer: float, *, attention: torch.Tensor) -> Verdict:
    """Attention of the target lip_corner_R to the source cheek_R."""
    lip, cheek = ATLAS.index("lip_corner_R"), ATLAS.index("cheek_R")
    answer, wanted, swapped = float(answer), float(attention[lip, cheek]), float(attention[cheek, lip])
    if abs(answer - wanted) < 1e-4:
        return right(f"{wanted:.3f}; the other way round it is {swapped:.3f}.")
    if abs(answer - swapped) < 1e-4:
        return wrong("target and source are swapped: the first axis is the region that listens.")
    if abs(answer - float(attention[ATLAS.index("lip_corner_L"), ATLAS.index("cheek_L")])) < 1e-4:
        return wrong("that is the subject's left side; the question asks for the right.")
    return wrong('the row is `ATLAS.index("lip_corner_R")`, the column `ATLAS.index("cheek_R")`.')


@exercise("11.2")
def strongest_unit_shown(answer: str, *, widget: AUGraph) -> Verdict:
    """The AU with the highest activation in the frame that the explorer shows."""
    activation = widget.scene.activation[widget.place, widget.frame]
    wanted = AU_LABELS[activation.argmax()]
    if answer not in AU_LABELS:
        return wrong(f"{answer!r} is no AU label: did you set `widget.selected_au` first?")
    if answer != wanted:
        overall = AU_LABELS[widget.scene.activation[widget.place].max(0).argmax()]
        if answer == overall:
            return wrong("that AU is strongest over the whole clip; the question is about the frame that is shown.")
        return wrong(f"another AU has a higher activation in frame {widget.frame} of clip {widget.clip}.")
    if widget.selected_au != wanted:
        return wrong(f"{wanted} is right, but the explorer does not show it yet: set `widget.selected_au`.")
    return right(f"{wanted}, activation {activation.max():.2f}.")


@exercise("11.3")
def drop_without_an_au(answer: float, *, model: Stag, batch: Batch, au: str) -> Verdict:
    """By how many percentage points the probability of the answer drops when an AU is clamped to zero."""
    import torch

    from stagkit.explain.interventions import make_hooks
    from stagkit.network.hooks import intervene

    with torch.no_grad():
        before = model.logits(batch.x, batch.mask, batch.times_ms)[0]
        with intervene(model, make_hooks([["au", au]])):
            after = model.logits(batch.x, batch.mask, batch.times_ms)[0]
    said = int(before.argmax())
    drop = 100 * float((before.softmax(-1) - after.softmax(-1))[said])
    answer, close = float(answer), max(0.01, 0.02 * abs(drop))
    if abs(answer - drop) <= close:
        return right(f"without {au} the probability drops by {drop:.2f} percentage points.")
    if abs(answer + drop) <= close:
        return wrong("the sign is turned round: a drop is before minus after.")
    if abs(100 * answer - drop) <= close:
        return wrong("that is a difference of probabilities; one percentage point is 0.01.")
    if abs(answer - float((before - after)[said])) <= 0.02 * abs(float((before - after)[said])) + 1e-4:
        return wrong("that is the change of the logit; take softmax first.")
    return wrong(f"compare the probability of class {said} with and without `make_hooks([['au', {au!r}]])`.")
