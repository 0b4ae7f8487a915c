"""Pictures of cuts: what a few changes do to one answer, and what every single one does, beside attention."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.types import check_axes
from stagkit.explain.aggregate import ExplainError
from stagkit.explain.interventions import softmax
from stagkit.plots.style import AGAINST, COLOURS, FAINT, FOR, PAGE, SOFT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_changes(names: Iterable[str], answers: np.ndarray, classes: Sequence[str], shown: str) -> Figure:
    """What each of a few changes does to the answer: the logit of one class (left) and its probability (right).

    Args:
        names: what each change takes away, in words.
        answers: logits, float "case cls", of the clip as it is and then of each change (``interventions.compute_logits``).
        classes: names of the classes; shown: the one that is drawn.

    Raises:
        ShapeError: not one answer more than there are changes, or not one logit for each class.
        ExplainError: no such class.
    """
    import matplotlib.pyplot as plt

    names = list(names)
    check_axes({"case": len(names) + 1, "cls": len(classes)}, answers=(np.asarray(answers), "case cls"))
    if shown not in classes:
        raise ExplainError(f"there is no class {shown!r}; the classes are {', '.join(classes)}.")
    target = list(classes).index(shown)
    moved = answers[1:, target] - answers[0, target]
    before, *after = softmax(answers)[:, target]
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 0.75 + 0.28 * len(names)), sharey=True)
    rows = np.arange(len(names))
    left.barh(rows, moved, 0.6, color=[AGAINST if value < 0 else FOR for value in moved])
    left.axvline(0, color=SOFT, lw=0.6)
    for y, value in zip(rows, moved, strict=True):
        at = {"xytext": (-3 if value < 0 else 3, 0), "ha": "right" if value < 0 else "left"}
        left.annotate(f"{value:+.4f}", (value, y), textcoords="offset points", va="center", fontsize=7, **at)
    left.set_yticks(rows, names)
    left.tick_params(axis="y", length=0)
    left.margins(x=0.35)
    left.set_xlabel(f"change of the logit of {shown} without it")
    right.axvline(before, color=SOFT, lw=1, ls="--", label="the clip as it is")
    right.plot(after, rows, "o", color=COLOURS[2], ms=5, label="without it")
    for y, value in zip(rows, after, strict=True):
        at = {"xytext": (-7, 0), "ha": "right"} if value > 0.5 else {"xytext": (7, 0), "ha": "left"}
        right.annotate(f"{value:.2%}", (value, y), textcoords="offset points", va="center", fontsize=7, **at)
    right.set_ylim(len(names) - 0.5, -0.5)
    right.set_xlim(0, 1.03)
    right.set_xlabel(f"probability of {shown}")
    right.grid(axis="x", color=FAINT, lw=0.5)
    right.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=2, borderaxespad=0)
    return figure


@styled
def plot_cuts(attention: np.ndarray, effects: np.ndarray, silenced: np.ndarray, name: str) -> Figure:
    """Every single cut of some clips: edges by the attention they get (left), action units one by one (right).

    Args:
        attention: float "clip target source"; edges of a region to itself are left out.
        effects: of cutting each edge, logits, float "clip target source"; drawn without sign.
        silenced: effect of silencing each action unit, logits, float "clip au"; positive speaks for ``name``.
        name: of the class that a positive effect speaks for.

    Raises:
        ShapeError: arrays that do not fit each other, or not the action units of ``facs.AU_LABELS``.
    """
    import matplotlib.pyplot as plt

    attention, effects, silenced = (np.asarray(values, float) for values in (attention, effects, silenced))
    sizes = {"clip": len(attention), "roi": attention.shape[-1], "au": len(AU_LABELS)}
    check_axes(
        sizes, attention=(attention, "clip roi roi"), effects=(effects, "clip roi roi"), silenced=(silenced, "clip au")
    )
    between = ~np.eye(sizes["roi"], dtype=bool)
    figure, (left, right) = plt.subplots(1, 2, figsize=(PAGE, 2.8), width_ratios=(2, 3))
    left.scatter(attention[:, between], np.abs(effects[:, between]), s=4, alpha=0.25, lw=0, color=COLOURS[0])
    even = 1 / sizes["roi"]
    left.axvline(even, color=SOFT, lw=0.8, ls=":")
    left.annotate(" an even share", (even, 1), xycoords=("data", "axes fraction"), va="top", fontsize=6.5, color=SOFT)
    left.set(xlabel="attention of the target to the source", ylabel="|effect| of cutting the edge (logits)")
    left.set_xlim(left=0)
    left.set_ylim(bottom=0)
    shift = np.linspace(-0.22, 0.22, len(silenced)) if len(silenced) > 1 else np.zeros(1)
    for k, values in enumerate(silenced.T):
        colours = [FOR if value > 0 else AGAINST for value in values]
        right.scatter(k + shift, values, s=9, c=colours, lw=0, alpha=0.7, zorder=3)
        right.plot([k - 0.32, k + 0.32], [values.mean()] * 2, color="k", lw=1.2, zorder=4)
    right.axhline(0, color=SOFT, lw=0.6)
    right.set_xticks(range(len(AU_LABELS)), [label[2:] for label in AU_LABELS])
    right.set(xlabel=f"action unit, silenced (a dot a clip, n = {len(silenced)}; line: mean)")
    right.set_ylabel(f"effect (logits, + speaks for {name})")
    return figure
