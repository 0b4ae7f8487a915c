"""Where an explorer's clips come from: an output in memory, or a finished run whose clips are computed on demand."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.core.regions import ATLAS
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.evaluation.run import Run
from stagkit.explorers.au_graph.scene import Scene, compute_scene
from stagkit.explorers.run.scene import OWN_FOLD, compute_table
from stagkit.explorers.validation import check_choice, check_index

if TYPE_CHECKING:
    from stagkit.network.model import Stag


class Source:
    """The clips of an explorer, and the network that computes them if there is one.

    Args:
        clip_ids, subjects, classes, label: names of the clips; ``label`` int "clip".
        seeds, folds: of the networks; ``folds`` are names, () where there are none.
        opening: Python that makes the same objects again, for copy-as-code.
    """

    def __init__(self, clip_ids, subjects, classes, label, seeds=(0,), folds=(), opening: str = "") -> None:
        self.clip_ids, self.subjects, self.classes = tuple(clip_ids), tuple(subjects), tuple(classes)
        self.label, self.seeds, self.folds, self.opening = np.asarray(label), tuple(seeds), tuple(folds), opening
        self.removals = lru_cache(maxsize=128)(self._compute_removals)

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """A scene that holds the clip, and the clip's place in it."""
        raise NotImplementedError

    def probabilities(self, seed: int = 0) -> np.ndarray:
        """Class probabilities of all clips, float "clip cls", without computing anything."""
        raise NotImplementedError

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch] | None:
        """The network and a batch of the clip alone; None where no network is available."""
        return None

    def own_fold(self, clip: int, seed: int = 0) -> int:
        """The fold whose network was tested on the clip."""
        return OWN_FOLD

    def check_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> None:
        """Raise if the network was trained on the clip (and that was not allowed) or no network tested the clip."""

    def describe_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> str:
        """Which network is used, and whether it was trained on the clip."""
        return "the network that was given; whether it was trained on this clip is not known"

    def was_trained(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> bool | None:
        """Whether the network was trained on the clip; None where that is not known."""
        return None

    def allowed_folds(self, clip: int) -> list[bool]:
        """For each fold, whether its network may be used on the clip."""
        return []

    def clip_index(self, clip: int | str) -> int:
        """Position of a clip given by number or id; raises StagkitError."""
        return check_index("clip", clip, self.clip_ids)

    def _compute_removals(self, clip: int, seed: int, fold: int) -> dict[str, np.ndarray] | None:
        """Logits without each region, frame and (set to zero) AU of a clip, "node cls"; None without a network."""
        given = self.network(clip, seed, fold)
        if given is None:
            return None
        from stagkit.explain.interventions import compute_logits

        scene, place = self.scene(clip, seed, fold)
        base = compute_logits(*given, [[]])[0]
        frames = range(int(scene.n_frames[place])) if scene.valid(place).sum() > 1 else ()
        nodes = {"region": ATLAS.names, "au": AU_LABELS, "frame": frames}
        cases = [[[kind, node]] for kind, names in nodes.items() for node in names]
        ends = np.cumsum([len(names) for names in nodes.values()])[:-1]
        removed = np.split(compute_logits(*given, cases), ends)
        return {"base": base, **dict(zip(nodes, removed, strict=True))}


class OutputSource(Source):
    """Clips of one output; with its network and batch, interventions are possible."""

    def __init__(self, scene: Scene, model: Stag | None = None, batch: Batch | None = None) -> None:
        opening = "# output = model(batch.x, batch.mask, batch.times_ms)"
        super().__init__(scene.clip_ids, scene.subjects, scene.classes, scene.label, opening=opening)
        if model is not None and batch is None:
            raise StagkitError("`model` needs the `batch` of the output: give both.")
        self._scene, self._model, self._batch = scene, model, batch

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """The scene of all clips."""
        return self._scene, clip

    def probabilities(self, seed: int = 0) -> np.ndarray:
        """The output's probabilities."""
        return self._scene.probabilities

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch] | None:
        """The network that was given, if any."""
        if self._model is None:
            return None
        import torch

        return self._model, self._batch.select(torch.tensor([clip]))


class RunSource(Source):
    """The tests of a finished run: each clip with the network that was tested on it, computed on demand.

    A clip that several folds tested is listed once per fold. With ``allow_trained``, networks that were trained on a clip
    may be used too; their predictions are no test. Raises RunError if the data or the weights are gone.
    """

    def __init__(self, run: Run, allow_trained: bool = False) -> None:
        data, table = run.load_data(), compute_table(run)
        seeds = tuple(int(s) for s in run.request["seeds"])
        listed = np.flatnonzero(table.folds[table.seeds.index(seeds[0])] >= 0)  # a later seed may have other clips
        self._folds = dict(zip(table.seeds, table.folds[:, listed], strict=True))
        self._probabilities = dict(zip(table.seeds, table.probabilities[:, listed], strict=True))
        self.tests = [table.tests[i] for i in listed]
        position = {key: i for i, key in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        self.positions = np.array([position[subject, clip] for subject, clip, _ in self.tests])
        self._raw_ids = tuple(clip for _, clip, _ in self.tests)
        clip_ids, subjects = ([names[i] for i in listed] for names in (table.clip_ids, table.subjects))
        folds, opening = [fold["name"] for fold in run.split], f'run = stagkit.Run.load("{run.path.as_posix()}")'
        super().__init__(clip_ids, subjects, data.classes, data.label[self.positions], seeds, folds, opening)
        self.run, self.data, self.allow_trained = run, data, allow_trained
        self._load = lru_cache(maxsize=16)(lambda seed, fold: run.load_model(seed, fold))
        self._compute = lru_cache(maxsize=64)(self._compute_scene)
        self._trained = lru_cache(maxsize=4096)(lambda fold, clip: run.trained_on(fold, clip, data.clip_ids))

    def own_fold(self, clip: int, seed: int = 0) -> int:
        """The fold whose network was tested on the clip; raises StagkitError where no fold of that seed tested it."""
        if seed not in self._folds or self._folds[seed][clip] < 0:
            raise StagkitError(
                f"clip {self.clip_ids[clip]!r} was not tested by seed {seed}: choose another clip or seed "
                f"(the seeds of the run are {', '.join(map(str, self.seeds))})."
            )
        return int(self._folds[seed][clip])

    def clip_index(self, clip: int | str) -> int:
        """Position of a clip given by number, id, or id and fold."""
        bare = isinstance(clip, str) and clip not in self.clip_ids and clip in self._raw_ids
        return check_index("clip", clip, self._raw_ids if bare else self.clip_ids)

    def _resolve(self, clip: int, seed: int, fold: int) -> int:
        return self.own_fold(clip, seed) if fold == OWN_FOLD else fold

    def check_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> None:
        """Raise if the network was trained on the clip, unless that is allowed."""
        fold = self._resolve(clip, seed, fold)
        if not self.allow_trained and self._trained(fold, self._raw_ids[clip]):
            self.run.check_unseen(seed, fold, [self._raw_ids[clip]], self.data.clip_ids)

    def describe_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> str:
        """Seed, fold, and whether the network was trained on the clip."""
        fold = self._resolve(clip, seed, fold)
        return self.run.describe_network(seed, fold, self._raw_ids[clip], self.data.clip_ids)

    def was_trained(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> bool | None:
        """Whether the network was trained on the clip, by ``split.json``."""
        return self._trained(self._resolve(clip, seed, fold), self._raw_ids[clip])

    def allowed_folds(self, clip: int) -> list[bool]:
        """For each fold, whether its network may be used on the clip."""
        return [self.allow_trained or not self._trained(fold, self._raw_ids[clip]) for fold in range(len(self.folds))]

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch]:
        """The network of a fold, from the run's weights."""
        self.check_network(clip, seed, fold)
        return self._load(seed, self._resolve(clip, seed, fold)), self.data.batch([self.positions[clip]])

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """A scene of this clip alone."""
        self.check_network(clip, seed, fold)
        return self._compute(clip, seed, self._resolve(clip, seed, fold)), 0

    def _compute_scene(self, clip: int, seed: int, fold: int) -> Scene:
        import torch

        model, batch = self.network(clip, seed, fold)
        with torch.no_grad():
            return compute_scene(model(batch.x, batch.mask, batch.times_ms), batch, self.data.unit, model)

    def probabilities(self, seed: int = 0) -> np.ndarray:
        """The probabilities of ``predictions.csv``; NaN where the seed did not test the clip."""
        return self._probabilities[seed]


def choose_scene(source: Source, clip: int | str, seed: int | None, fold: int) -> tuple[int, int, Scene, int]:
    """Index of the clip, seed (the first where None), scene and the clip's place in it, of what a user asked for.

    Raises:
        StagkitError: there is no such clip, seed or fold, its network must not be used, or it has no graph.
    """
    clip, seed = source.clip_index(clip), source.seeds[0] if seed is None else seed
    check_choice("seed", seed, source.seeds)
    check_choice("fold", fold, (OWN_FOLD, *range(len(source.folds))))
    scene, place = source.scene(clip, seed, fold)
    if scene.edges is None and scene.au_edges is None:
        raise StagkitError("this output has no edges, so there is no graph to show: give the output of a Stag network.")
    return clip, seed, scene, place


def as_source(
    run_or_output: object, batch: Batch | None = None, model: Stag | None = None, allow_trained: bool = False
) -> Source:
    """A source from the arguments of an explorer: a run or its folder, an output with its batch, a scene, a source."""
    if isinstance(run_or_output, Source):
        return run_or_output
    if isinstance(run_or_output, (str, Path)):
        run_or_output = Run.load(run_or_output)
    if isinstance(run_or_output, Run):
        return RunSource(run_or_output, allow_trained)
    if isinstance(run_or_output, StagOutput):
        if batch is None:
            raise StagkitError("a StagOutput needs its `batch` too: clip names, times and motion are in there.")
        run_or_output = compute_scene(run_or_output, batch, model=model)
    if isinstance(run_or_output, Scene):
        return OutputSource(run_or_output, model, batch)
    raise StagkitError(
        f"the explorer was given a {type(run_or_output).__name__}, expected a StagOutput with its Batch "
        "(view_au_graph(model(batch.x, batch.mask, batch.times_ms), batch)), a Run or the folder of one, or a Scene."
    )
