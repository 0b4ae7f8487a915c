"""What the run browser shows of a finished run: every test clip with its answers, which are worst, which surprise."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.metrics import SCORES, compute_confusion
from stagkit.evaluation.run import Run, RunError
from stagkit.evaluation.run_summary import find_caveat
from stagkit.explorers.browser import shorten
from stagkit.explorers.sources import OWN_FOLD, list_tests, name_tests
from stagkit.explorers.validation import check_choice, check_index

if TYPE_CHECKING:
    import pandas as pd

#: How clips are listed.
ORDERS = {
    "worst": "least probability for the true class first",
    "surprising": "furthest from what this subject and this class are otherwise given first",
    "name": "by name",
}

#: The explorers that a clip can be opened in.
EXPLORERS = ("au graph", "flow", "evidence")

ALL = -1


@dataclass(frozen=True)
class RunTable:
    """The test clips of a run and what was answered.

    Args:
        classes, seeds: the axes ``cls`` and ``seed``.
        clip_ids, subjects, datasets: of each clip, in the order of the first seed's predictions; a clip that several folds
            tested stands here once per fold, its id followed by the name of the fold.
        tests: of each clip, (subject, clip id, fold) as of ``sources.list_tests``.
        label: int "clip".
        chances: float "seed clip cls", 0..1; NaN where a seed did not test the clip.
        predicted: int "seed clip", -1 where a seed did not test the clip.
        folds: int "seed clip", likewise.
    """

    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    datasets: tuple[str, ...]
    tests: tuple[tuple[str, str, int], ...]
    label: np.ndarray
    chances: np.ndarray
    predicted: np.ndarray
    folds: np.ndarray

    def index(self, clip: int | str) -> int:
        """Position of a clip given by number or id.

        Raises:
            StagkitError: there is no such clip, or several people have one of that id.
        """
        at = check_index("clip", clip, self.clip_ids)
        if isinstance(clip, str) and self.clip_ids.count(clip) > 1:
            where = [i for i, name in enumerate(self.clip_ids) if name == clip]
            raise StagkitError(f"{len(where)} clips are called {clip!r}: give the index instead, one of {where}.")
        return at

    def _rows(self, seed: int) -> list[int]:
        check_choice("seed", seed, (ALL, *self.seeds))
        return list(range(len(self.seeds))) if seed == ALL else [self.seeds.index(seed)]

    def confusion(self, seed: int = ALL) -> np.ndarray:
        """Counts: int "cls cls", rows = true class; over all seeds a clip counts once for each."""
        rows = self._rows(seed)
        tested = self.predicted[rows] >= 0
        label = np.broadcast_to(self.label, tested.shape)[tested]
        return compute_confusion(label, self.predicted[rows][tested], len(self.classes))

    def cell(self, true: str, predicted: str, seed: int = ALL) -> list[int]:
        """The clips of a cell of the confusion matrix (by one seed at least): positions."""
        at = [check_index("cell", name, self.classes) for name in (true, predicted)]
        hit = (self.predicted[self._rows(seed)] == at[1]).any(0)
        return np.flatnonzero(hit & (self.label == at[0])).tolist()

    def true_chance(self, seed: int = ALL) -> np.ndarray:
        """Probability of the true class, mean over the seeds asked for: float "clip"."""
        chances = np.take_along_axis(self.chances[self._rows(seed)], self.label[None, :, None], -1)[..., 0]
        tested = ~np.isnan(chances)
        return np.where(tested, chances, 0).sum(0) / np.maximum(tested.sum(0), 1)

    def surprise(self, seed: int = ALL) -> np.ndarray:
        """Probability of the true class minus what was to be expected: float "clip", -1..1.

        Expected is the mean of two means, each without the clip itself: of the same subject's clips and of the same class's
        (stagkit's choice). Below 0: a clip that fails where its like succeed.
        """
        got = self.true_chance(seed)
        expected = np.stack([_mean_of_others(got, np.asarray(group)) for group in (self.subjects, self.label)])
        known = ~np.isnan(expected)
        mean = np.where(known, expected, 0).sum(0) / np.maximum(known.sum(0), 1)
        return np.where(known.any(0), got - mean, 0.0)

    def order(self, order: str = "worst", seed: int = ALL) -> list[int]:
        """Positions of all clips in one of ``ORDERS``."""
        check_choice("order", order, tuple(ORDERS))
        if order == "name":
            return sorted(range(len(self.clip_ids)), key=lambda i: (self.subjects[i], self.clip_ids[i]))
        values = self.true_chance(seed) if order == "worst" else -np.abs(self.surprise(seed))
        return np.argsort(np.round(values, 6), kind="stable").tolist()

    def by_subject(self, seed: int = ALL) -> list[dict]:
        """One row a subject, the worst first: name, clips, share right (0..1) and mean probability of the true class."""
        rows, got = self._rows(seed), self.true_chance(seed)
        out = []
        for subject in sorted(set(self.subjects)):
            at = [i for i, s in enumerate(self.subjects) if s == subject]
            given = self.predicted[rows][:, at]
            right = (given == self.label[at])[given >= 0]
            share = round(float(right.mean()), 4) if right.size else 0.0
            out.append({"name": subject, "clips": len(at), "right": share, "chance": round(float(got[at].mean()), 4)})
        return sorted(out, key=lambda row: (row["right"], row["chance"]))


def _mean_of_others(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean of each one's group without itself: float "clip", NaN where it is alone."""
    _, which = np.unique(group, return_inverse=True)
    total, count = np.bincount(which, values), np.bincount(which)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count[which] > 1, (total[which] - values) / (count[which] - 1), np.nan)


def open_run(run: Run | str | Path) -> Run:
    """A run as it is, or opened from its folder.

    Raises:
        RunError: it is not there, or not finished. StagkitError: something else was given.
    """
    if isinstance(run, (str, Path)):
        return Run.load(run)
    if not isinstance(run, Run):
        raise StagkitError(
            f"the run browser was given a {type(run).__name__}, expected a Run (stagkit.Run.load) or the folder of one."
        )
    if not (run.path / "metrics.json").is_file():
        raise RunError(
            f"{run.path} is not finished: run the same 'stagkit evaluate' again, it goes on where it stopped."
        )
    return run


def compute_table(run: Run) -> RunTable:
    """The table of a run, from its predictions alone (no data, no weights).

    Raises:
        RunError: its predictions are damaged.
    """
    table: pd.DataFrame = run.predictions
    classes = tuple(run.metrics.get("classes") or [c.removeprefix("p_") for c in table.columns if c.startswith("p_")])
    lacking = {"seed", "fold", "dataset", "subject", "clip", "label", "prediction", *(f"p_{c}" for c in classes)}
    if lacking - set(table.columns):
        names = ", ".join(sorted(lacking - set(table.columns)))
        raise RunError(f"{run.path / 'predictions.csv'} has no column {names}: evaluate again.")
    unknown = set(table["label"]) | set(table["prediction"])
    if unknown - set(classes):
        raise RunError(f"{run.path / 'predictions.csv'} holds classes that the run does not have: evaluate again.")
    seeds = tuple(sorted(int(s) for s in table["seed"].unique()))
    tests = list_tests(table)
    keys = list(dict.fromkeys(tests))
    place = {key: i for i, key in enumerate(keys)}
    shape = (len(seeds), len(keys))
    chances, predicted, folds = np.full((*shape, len(classes)), np.nan), np.full(shape, -1), np.full(shape, -1)
    label, datasets = np.zeros(len(keys), int), [""] * len(keys)
    given = table[[f"p_{c}" for c in classes]].to_numpy(float)
    for row, key, p in zip(table.itertuples(index=False), tests, given, strict=True):
        s, i = seeds.index(row.seed), place[key]
        chances[s, i], predicted[s, i], folds[s, i] = p, classes.index(row.prediction), row.fold
        label[i], datasets[i] = classes.index(row.label), row.dataset
    several = any(fold != OWN_FOLD for _, _, fold in keys)
    names = {fold["fold"]: fold["name"] for fold in run.split} if several else {}
    clip_ids = tuple(name_tests(keys, names))
    subjects = tuple(subject for subject, _, _ in keys)
    return RunTable(classes, seeds, clip_ids, subjects, tuple(datasets), tuple(keys), label, chances, predicted, folds)


def tell_warning(run: Run) -> str:
    """Why the run does not count as evidence, '' where it does."""
    try:
        run.check_evidence()
    except RunError as error:
        return str(error).removeprefix(f"{run.path} ").split("; it is refused")[0].split(":")[0]
    return ""


def compute_header(run: Run, table: RunTable) -> dict:
    """What the browser needs: every clip in a few numbers (about 200 bytes each), scores, tables for every seed."""
    views = (ALL, *table.seeds)
    metrics = run.metrics
    return {
        "name": run.name,
        "model": str(run.request.get("model", "")),
        "protocol": str(run.request.get("protocol", "")),
        "warning": tell_warning(run),
        "classes": list(table.classes),
        "seeds": list(table.seeds),
        "orders": ORDERS,
        "scores": {
            name: {"mean": metrics[name]["mean"], "ci95": metrics[name].get("ci95")}
            for name in SCORES
            if name in metrics
        },
        "caveat": find_caveat(metrics) if all("ci95" in metrics.get(name, {}) for name in SCORES) else "",
        "baselines": {name: row.get("uf1") for name, row in metrics.get("baselines", {}).items()},
        "clips": [
            {"id": table.clip_ids[i], "subject": table.subjects[i], "label": int(table.label[i])}
            for i in range(len(table.clip_ids))
        ],
        "chances": shorten(table.chances, 3),
        "predicted": table.predicted.tolist(),
        "folds": table.folds.tolist(),
        "true": {str(s): shorten(table.true_chance(s)) for s in views},
        "surprise": {str(s): shorten(table.surprise(s)) for s in views},
        "confusion": {str(s): table.confusion(s).tolist() for s in views},
        "by_subject": {str(s): table.by_subject(s) for s in views},
        "order": {str(s): {name: table.order(name, s) for name in ORDERS} for s in views},
    }
