"""What the run browser shows of a finished run: the predictions of every test clip, the worst and the surprising ones."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stagkit.core.types import StagkitError
from stagkit.evaluation.metrics import SCORES, compute_confusion
from stagkit.evaluation.run import Run, RunError
from stagkit.explorers.browser import shorten
from stagkit.explorers.validation import check_choice, check_index

#: Orders of the clip list.
ORDERS = {
    "worst": "lowest probability of the true class first",
    "surprising": "largest difference from the other clips of this subject and this class first",
    "name": "by name",
}

#: The explorers that a clip can be opened in.
EXPLORERS = ("au graph", "flow", "evidence")

#: In place of a seed: all of them together. In place of a fold: the one whose network was not trained on the clip.
ALL, OWN_FOLD = -1, -1


@dataclass(frozen=True)
class RunTable:
    """The test clips of a run and their predictions.

    Args:
        classes, seeds: the axes ``cls`` and ``seed``.
        clip_ids, subjects: of each clip, in the order of the first seed's predictions; a clip that several folds tested
            is listed once per fold, its id followed by the name of the fold.
        tests: of each clip, (subject, clip id, fold); ``OWN_FOLD`` where each clip is tested once per seed, not by several
            folds (protocol ``cross`` with three data sets or more).
        label: int "clip".
        probabilities: float "seed clip cls", 0..1; NaN where a seed did not test the clip.
        predicted: int "seed clip", -1 where a seed did not test the clip.
        folds: int "seed clip", likewise.
    """

    classes: tuple[str, ...]
    seeds: tuple[int, ...]
    clip_ids: tuple[str, ...]
    subjects: tuple[str, ...]
    tests: tuple[tuple[str, str, int], ...]
    label: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    folds: np.ndarray

    def index(self, clip: int | str) -> int:
        """Position of a clip given by number or id; raises StagkitError if there is none, or several."""
        return check_index("clip", clip, self.clip_ids)

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
        """Positions of the clips in a cell of the confusion matrix (by one seed at least)."""
        at = [check_index("cell", name, self.classes) for name in (true, predicted)]
        hit = (self.predicted[self._rows(seed)] == at[1]).any(0)
        return np.flatnonzero(hit & (self.label == at[0])).tolist()

    def true_probability(self, seed: int = ALL) -> np.ndarray:
        """Probability of the true class, mean over the seeds: float "clip"."""
        values = np.take_along_axis(self.probabilities[self._rows(seed)], self.label[None, :, None], -1)[..., 0]
        tested = ~np.isnan(values)
        return np.where(tested, values, 0).sum(0) / np.maximum(tested.sum(0), 1)

    def surprise(self, seed: int = ALL) -> np.ndarray:
        """Probability of the true class minus its expectation: float "clip", -1..1.

        The expectation is the mean of two means, each without the clip itself: of the same subject's clips and of the
        same class's (stagkit's choice). Below 0: a clip that fails where similar ones succeed.
        """
        found = self.true_probability(seed)
        expected = np.stack([_mean_of_others(found, np.asarray(group)) for group in (self.subjects, self.label)])
        known = ~np.isnan(expected)
        mean = np.where(known, expected, 0).sum(0) / np.maximum(known.sum(0), 1)
        return np.where(known.any(0), found - mean, 0.0)

    def order(self, order: str = "worst", seed: int = ALL) -> list[int]:
        """Positions of all clips in one of ``ORDERS``."""
        check_choice("order", order, tuple(ORDERS))
        if order == "name":
            return sorted(range(len(self.clip_ids)), key=lambda i: (self.subjects[i], self.clip_ids[i]))
        values = self.true_probability(seed) if order == "worst" else -np.abs(self.surprise(seed))
        return np.argsort(np.round(values, 6), kind="stable").tolist()

    def select(self, order: str, seed: int, cell: tuple[str, str] | None, subject: str | None) -> list[int]:
        """Positions of the clips that are listed, in their order."""
        wanted = self.cell(*cell, seed) if cell else range(len(self.clip_ids))
        return [i for i in self.order(order, seed) if i in wanted and (not subject or self.subjects[i] == subject)]

    def by_subject(self, seed: int = ALL) -> list[dict]:
        """A row per subject, the worst first: name, clips, accuracy (0..1), mean probability of the true class."""
        rows, found, subjects = self._rows(seed), self.true_probability(seed), np.array(self.subjects)
        out = []
        for name in sorted(set(self.subjects)):
            at = np.flatnonzero(subjects == name)
            predicted = self.predicted[rows][:, at]
            right = (predicted == self.label[at])[predicted >= 0]
            accuracy = round(float(right.mean()), 4) if right.size else 0.0
            mean = round(float(found[at].mean()), 4)
            out.append({"name": name, "clips": len(at), "accuracy": accuracy, "probability": mean})
        return sorted(out, key=lambda row: (row["accuracy"], row["probability"]))


def _mean_of_others(values: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Mean of each one's group without itself: float "clip", NaN where it is alone."""
    _, which = np.unique(group, return_inverse=True)
    total, count = np.bincount(which, values), np.bincount(which)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(count[which] > 1, (total[which] - values) / (count[which] - 1), np.nan)


def compute_table(run: Run) -> RunTable:
    """The table of a run, from its predictions alone (no data, no weights); raises RunError if they are damaged."""
    table = run.predictions
    classes = tuple(run.metrics.get("classes") or [c.removeprefix("p_") for c in table.columns if c.startswith("p_")])
    needed = {"seed", "fold", "dataset", "subject", "clip", "label", "prediction", *(f"p_{c}" for c in classes)}
    missing = ", ".join(sorted(needed - set(table.columns)))
    if missing:
        raise RunError(f"{run.path / 'predictions.csv'} has no column {missing}: evaluate again.")
    if (set(table["label"]) | set(table["prediction"])) - set(classes):
        raise RunError(f"{run.path / 'predictions.csv'} holds classes that the run does not have: evaluate again.")
    seeds = tuple(sorted(int(s) for s in table["seed"].unique()))
    several = bool(table.duplicated(["seed", "subject", "clip"]).any())
    test_folds = table["fold"].astype(int) if several else [OWN_FOLD] * len(table)
    tests = list(zip(table["subject"], table["clip"], test_folds, strict=True))
    keys = list(dict.fromkeys(tests))
    shape = len(seeds), len(keys)
    probabilities, predicted, folds = np.full((*shape, len(classes)), np.nan), np.full(shape, -1), np.full(shape, -1)
    place = {key: i for i, key in enumerate(keys)}
    at = table["seed"].map(seeds.index).to_numpy(), np.array([place[key] for key in tests])
    probabilities[at] = table[[f"p_{c}" for c in classes]].to_numpy(float)
    predicted[at], folds[at] = table["prediction"].map(classes.index), table["fold"]
    label = np.zeros(len(keys), int)
    label[at[1]] = table["label"].map(classes.index)
    names = {fold["fold"]: f" ({fold['name']})" for fold in run.split} if several else {OWN_FOLD: ""}
    subjects, clip_ids = tuple(key[0] for key in keys), tuple(f"{clip}{names[fold]}" for _, clip, fold in keys)
    return RunTable(classes, seeds, clip_ids, subjects, tuple(keys), label, probabilities, predicted, folds)


def find_warning(run: Run) -> str:
    """Why the run does not count as evidence, '' where it does."""
    try:
        run.check_evidence()
    except StagkitError as error:
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
        "warning": find_warning(run),
        "classes": list(table.classes),
        "seeds": list(table.seeds),
        "orders": ORDERS,
        "scores": {n: {"mean": metrics[n]["mean"], "ci95": metrics[n].get("ci95")} for n in SCORES if n in metrics},
        "caveat": metrics.get("caveat", ""),
        "baselines": {name: row.get("uf1") for name, row in metrics.get("baselines", {}).items()},
        "clips": [
            {"id": clip_id, "subject": subject, "label": label}
            for clip_id, subject, label in zip(table.clip_ids, table.subjects, table.label.tolist(), strict=True)
        ],
        "probabilities": shorten(table.probabilities, 3),
        "predicted": table.predicted.tolist(),
        "folds": table.folds.tolist(),
        "true": {str(s): shorten(table.true_probability(s)) for s in views},
        "surprise": {str(s): shorten(table.surprise(s)) for s in views},
        "confusion": {str(s): table.confusion(s).tolist() for s in views},
        "by_subject": {str(s): table.by_subject(s) for s in views},
        "order": {str(s): {name: table.order(name, s) for name in ORDERS} for s in views},
    }
