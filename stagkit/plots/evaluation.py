"""Pictures of an honest evaluation: who is tested when, what a leak gains, and how sure a score is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.errors import StagkitError
from stagkit.plots.style import COLOURS, FAINT, INK, PAGE, SOFT, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from stagkit.core.types import RoiDataset
    from stagkit.evaluation.run import Run
    from stagkit.evaluation.sealed import Fold

#: Keys of ``leak.json`` in the order they are drawn: (last epoch, best test epoch) of true and of shuffled labels.
LEAK_PAIRS = {
    "true labels": ("last_epoch", "best_test_epoch"),
    "shuffled labels": ("permuted_last_epoch", "permuted_best_test_epoch"),
}


@styled
def plot_folds(data: RoiDataset, protocols: Mapping[str, Sequence[Fold]]) -> Figure:
    """Which clips each fold tests: one row a fold, one column a clip, clips of a person side by side.

    A test clip is coloured by its person, two colours in turn; training clips are pale. What is tested is read from what
    is *not* trained on, so no seal is opened.

    Args:
        data: the clips.
        protocols: name -> its folds.

    Raises:
        StagkitError: no protocol was given.
    """
    import matplotlib.pyplot as plt
    from matplotlib.colors import to_rgb

    if not protocols:
        raise StagkitError("no folds were given: expected e.g. {'leave one subject out': make_folds(data)}.")
    order = np.argsort(np.asarray(data.subjects), kind="stable")
    names, person = np.unique(np.asarray(data.subjects)[order], return_inverse=True)
    figure, row = plt.subplots(1, len(protocols), figsize=(PAGE, 2.3), squeeze=False)
    for axes, (name, folds) in zip(row[0], protocols.items(), strict=True):
        picture = np.empty((len(folds), len(order), 3))
        picture[:] = to_rgb(FAINT)
        for i, fold in enumerate(folds):
            tested = ~np.isin(order, fold.train)
            for k in (0, 1):
                picture[i, tested & (person % 2 == k)] = to_rgb(COLOURS[k])
        axes.imshow(picture, aspect="auto", interpolation="nearest")
        for edge in np.flatnonzero(np.diff(person)) + 0.5:
            axes.axvline(edge, color="white", lw=1)
        for edge in np.arange(len(folds) - 1) + 0.5:
            axes.axhline(edge, color="white", lw=1)
        axes.set_title(name)
        axes.set_xlabel(f"{len(order)} clips of {len(names)} people")
        axes.set_ylabel("fold")
        axes.tick_params(length=0)
        axes.set_xticks([])
        axes.set_yticks([0, len(folds) - 1], ["1", str(len(folds))])
        for spine in axes.spines.values():
            spine.set_visible(False)
    figure.supxlabel("coloured = tested (two colours, person by person), pale = trained on", fontsize=7, color=SOFT)
    return figure


@styled
def plot_epoch_choice(run: Run, seed: int = 0) -> Figure:
    """Test accuracy of each fold after each epoch of a leaky run; ringed is the epoch a leaking rule would take.

    Args:
        run: evaluated with ``leaky=True``.
        seed: of the run.

    Raises:
        StagkitError: a run that is not leaky has no such answers.
    """
    import matplotlib.pyplot as plt

    from stagkit.evaluation.leakage import select_epoch_on_test

    if not run.request.get("leaky"):
        raise StagkitError("this run kept no answers of its epochs: evaluate(..., leaky=True) does.")
    table, classes = run.predictions, list(run.request["classes"])
    label = table["label"].map(classes.index).to_numpy()
    figure, axes = plt.subplots(figsize=(PAGE * 0.75, 2.5))
    rows = []
    for i in range(len(run.split)):
        truth = label[((table["seed"] == seed) & (table["fold"] == i)).to_numpy()]
        answers = run.load_epoch_predictions(seed, i)
        rows.append((answers == truth).mean(1))
        best = select_epoch_on_test(truth, answers)
        ring = {"label": "epoch chosen on the test clips"} if i == 0 else {}
        axes.plot(np.arange(1, len(answers) + 1), rows[-1], color=SOFT, lw=0.7, alpha=0.7, zorder=1)
        axes.plot(best + 1, rows[-1][best], "o", mfc="none", mec=COLOURS[1], ms=6, mew=1.3, zorder=3, **ring)
    mean = np.mean(rows, axis=0)
    axes.plot(np.arange(1, len(mean) + 1), mean, color=COLOURS[0], lw=2, label="mean of the folds", zorder=2)
    axes.plot(len(mean), mean[-1], "o", color=COLOURS[0], ms=5, label="last epoch, fixed beforehand", zorder=3)
    axes.set_xlabel("epoch")
    axes.set_ylabel("share of the fold's test clips right")
    axes.set_ylim(0, 1.05)
    figure.legend(loc="outside right upper")
    return figure


@styled
def plot_leak(leak: Mapping, score: str = "uf1") -> Figure:
    """From the honest score to the leaked one, with true labels and with shuffled ones, where nothing can be known.

    Args:
        leak: what ``leak.json`` holds.
        score: ``uf1``, ``uar`` or ``acc``.

    Raises:
        StagkitError: no such score.
    """
    import matplotlib.pyplot as plt

    mean = leak["mean"]
    if score not in mean["last_epoch"]:
        raise StagkitError(f"there is no score {score!r} in the leak; there are {', '.join(mean['last_epoch'])}.")
    figure, axes = plt.subplots(figsize=(PAGE * 0.7, 1.5))
    for y, (honest, leaked) in enumerate(LEAK_PAIRS.values()):
        a, b = mean[honest][score], mean[leaked][score]
        axes.annotate("", (b, y), (a, y), arrowprops={"arrowstyle": "->", "color": COLOURS[1], "lw": 1.6})
        axes.plot(a, y, "o", color=COLOURS[0], ms=6, label="last epoch (honest)" if y == 0 else None)
        axes.plot(b, y, "o", mfc="white", mec=COLOURS[1], ms=6, label="best test epoch (leak)" if y == 0 else None)
        for x, ha, dx in ((a, "right", -7), (b, "left", 7)):
            axes.annotate(f"{x:.2f}", (x, y), (dx, 0), textcoords="offset points", ha=ha, va="center", fontsize=7)
    axes.set_yticks(range(len(LEAK_PAIRS)), list(LEAK_PAIRS))
    axes.set_ylim(len(LEAK_PAIRS) - 0.5, -0.5)
    axes.set_xlim(0, 1.08)
    axes.set_xlabel({"uf1": "UF1", "uar": "UAR", "acc": "accuracy"}.get(score, score))
    axes.grid(axis="x", color=FAINT, lw=0.5)
    figure.legend(loc="outside right upper")
    return figure


@styled
def plot_intervals(
    rows: Mapping[str, tuple[float, float, float]],
    xlabel: str,
    reference: float | None = None,
    reference_name: str = "",
) -> Figure:
    """Values with their intervals, one below the other.

    Args:
        rows: name -> (value, low, high), all in one unit.
        xlabel: what the value is.
        reference: a dashed line, e.g. 0 for differences; ``reference_name`` says what it is.

    Raises:
        StagkitError: no row, or an interval whose ends are the wrong way round.
    """
    import matplotlib.pyplot as plt

    if not rows:
        raise StagkitError("there is no row to draw: expected name -> (value, low, high).")
    figure, axes = plt.subplots(figsize=(PAGE * 0.7, 0.8 + 0.36 * len(rows)))
    for y, (name, (value, low, high)) in enumerate(rows.items()):
        if low > high:
            raise StagkitError(f"the interval of {name!r} goes from {low} to {high}: expected (value, low, high).")
        axes.plot([low, high], [y, y], color=COLOURS[0], lw=3, alpha=0.35, solid_capstyle="round")
        axes.plot(value, y, "o", color=COLOURS[0], ms=5)
        words = f"{value:+.2f}" if reference == 0 else f"{value:.2f}"
        axes.annotate(words, (value, y), (0, 5), textcoords="offset points", ha="center", fontsize=7)
    if reference is not None:
        axes.axvline(reference, color=INK, lw=0.9, ls="--", zorder=0)
        axes.annotate(
            reference_name, (reference, 1), (3, 0), xycoords=("data", "axes fraction"), textcoords="offset points",
            va="bottom", ha="center", fontsize=7,
        )  # fmt: skip
    axes.set_yticks(range(len(rows)), list(rows))
    axes.set_ylim(len(rows) - 0.5, -0.7)
    axes.set_xlabel(xlabel)
    axes.grid(axis="x", color=FAINT, lw=0.5)
    return figure
