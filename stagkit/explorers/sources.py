"""Where an explorer's clips come from: an output at hand, or a finished run whose clips are computed when asked for."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.explain.interventions import compute_ablations
from stagkit.explorers.au_graph.scene import Scene, compute_scene

if TYPE_CHECKING:
    from stagkit.evaluation.run import Run
    from stagkit.network.model import Stag

#: (cuts, clip index) -> class probabilities
Recompute = Callable[[list[list], int], object]

#: The fold whose network never saw the clip: the only one that is a test.
OWN_FOLD = -1


class Source:
    """What an explorer may ask of its clips, whatever they come from.

    Args:
        clip_ids, subjects, classes, label: names of the clips; ``label`` int "clip".
        seeds: seeds of the networks there are.
        folds: names of the folds, () where there are none.
        opening: Python that makes the same objects again, for copy-as-code.
    """

    def __init__(self, clip_ids, subjects, classes, label, seeds=(0,), folds=(), opening: str = "") -> None:
        self.clip_ids, self.subjects, self.classes = tuple(clip_ids), tuple(subjects), tuple(classes)
        self.label, self.seeds, self.folds, self.opening = np.asarray(label), tuple(seeds), tuple(folds), opening
        self.measure = lru_cache(maxsize=128)(self._measure)

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """A scene that holds the clip, and the clip's place in it."""
        raise NotImplementedError

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch] | None:
        """The network and a batch of the clip alone; None where no network is at hand."""
        return None

    def own_fold(self, clip: int, seed: int = 0) -> int:
        """The fold whose network was tested on the clip."""
        return OWN_FOLD

    def check_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> None:
        """Check that the network may be asked about the clip.

        Raises:
            StagkitError: it was trained on the clip, and that was not allowed; no network tested the clip.
        """

    def describe_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> str:
        """Which network is asked, and whether it was trained on the clip."""
        return "the network that was given; whether it was trained on this clip is not known"

    def was_trained(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> bool | None:
        """Whether the network was trained on the clip; None where that is not known."""
        return None

    def may_ask(self, clip: int) -> list[bool]:
        """Of each fold, whether its network may be asked about the clip."""
        return []

    def answers(self, seed: int = 0) -> np.ndarray:
        """Class probabilities of all clips, float "clip cls", without computing anything anew."""
        raise NotImplementedError

    def _names(self) -> list[tuple[str, ...]]:
        """What each clip may be called."""
        return [(name,) for name in self.clip_ids]

    def clip_index(self, clip: int | str) -> int:
        """Position of a clip given by number or id.

        Raises:
            StagkitError: no such clip, or several of that name.
        """
        if isinstance(clip, str):
            found = [i for i, names in enumerate(self._names()) if clip in names]
            if not found:
                some = ", ".join(self.clip_ids[:6]) + (", ..." if len(self.clip_ids) > 6 else "")
                raise StagkitError(f"there is no clip {clip!r} here; the {len(self.clip_ids)} are {some}.")
            if len(found) > 1:
                names = ", ".join(f"{i}: {self.clip_ids[i]}" for i in found)
                raise StagkitError(f"{len(found)} clips are called {clip!r}: give one of the numbers ({names}).")
            return found[0]
        if not 0 <= clip < len(self.clip_ids):
            raise StagkitError(f"`clip` is {clip}, expected 0..{len(self.clip_ids) - 1} (or a clip id).")
        return int(clip)

    def _measure(self, clip: int, seed: int, fold: int, target: int, what: str) -> dict | None:
        """Single cuts (``what='effect'``) or edge attributions (``'attribution'``) of a clip; None without a network."""
        given = self.network(clip, seed, fold)
        if given is None:
            return None
        scene, place = self.scene(clip, seed, fold)
        n = int(scene.n_frames[place])
        model, one = given
        if what == "effect":
            return {"cuts": compute_ablations(model, one, n)}
        from stagkit.explain.attribution import attribute
        from stagkit.explain.methods import compute_au_edge_attribution

        out = {"region": None, "au": None}
        if scene.edges is not None:
            found = attribute(model, one, "edge integrated gradients", target=target, n_steps=16, search=False)
            out["region"] = found.values[0, :n].astype(float)
        if scene.au_edges is not None:
            out["au"] = compute_au_edge_attribution(model, one, target)[0][:n]
        return out


class OutputSource(Source):
    """Clips of one output: everything is there already.

    Args:
        scene: all clips.
        model: the network that said it, for cutting; None: only what ``recompute`` can do.
        batch: its clips.
    """

    def __init__(self, scene: Scene, model: Stag | None = None, batch: Batch | None = None) -> None:
        opening = "# output = model(batch.x, batch.mask, batch.times_ms)"
        super().__init__(scene.clip_ids, scene.subjects, scene.classes, scene.label, opening=opening)
        if model is not None and batch is None:
            raise StagkitError("`model` needs the `batch` that it is to answer: give both.")
        self._scene, self._model, self._batch = scene, model, batch

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """The scene of all clips."""
        return self._scene, clip

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch] | None:
        """The network that was given, if one was."""
        if self._model is None:
            return None
        import torch

        return self._model, self._batch.select(torch.tensor([clip]))

    def answers(self, seed: int = 0) -> np.ndarray:
        """The output's probabilities."""
        return self._scene.probabilities


def list_tests(table) -> list[tuple[str, str, int]]:
    """Of each row of ``predictions.csv``, which test it belongs to: (subject, clip, fold).

    The fold is ``OWN_FOLD`` in a run that tests every clip once per seed. Where a clip is tested by several folds (protocol
    ``cross`` with three data sets or more), each of them is a test of its own.
    """
    several = bool(table.duplicated(["seed", "subject", "clip"]).any())
    folds = table["fold"].astype(int) if several else [OWN_FOLD] * len(table)
    return list(zip(table["subject"], table["clip"], folds, strict=True))


def name_tests(tests, names) -> list[str]:
    """What each test is called: the id of its clip, with the name of the fold where several folds tested it.

    Args:
        tests: as of ``list_tests``.
        names: of the folds.
    """
    return [clip if fold == OWN_FOLD else f"{clip} ({names[fold]})" for _, clip, fold in tests]


class RunSource(Source):
    """The tests of a finished run: each clip as the network that was tested on it sees it, computed when it is asked for.

    A clip that several folds tested is listed once per fold.

    Args:
        run: opened by ``Run.load``.
        allow_trained: also ask networks that were trained on the clip; their predictions are no test.

    Raises:
        RunError: its data or weights are gone.
    """

    def __init__(self, run: Run, allow_trained: bool = False) -> None:
        data = run.load_data()
        table = run.predictions
        seeds = tuple(int(s) for s in run.request["seeds"])
        keys, of = list_tests(table), table["seed"].to_numpy()
        position = {key: i for i, key in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
        self.tests = list(dict.fromkeys(key for key, seed in zip(keys, of, strict=True) if seed == seeds[0]))
        self._index = np.array([position[subject, clip] for subject, clip, _ in self.tests])
        place = {key: k for k, key in enumerate(self.tests)}
        self._own: dict[int, dict[int, int]] = {seed: {} for seed in seeds}
        self._answers = {seed: np.full((len(self.tests), len(data.classes)), np.nan) for seed in seeds}
        given = table[[f"p_{name}" for name in data.classes]].to_numpy(float)
        for key, seed, fold, row in zip(keys, of, table["fold"].astype(int), given, strict=True):
            if key in place:  # a later seed may have tested other clips
                self._own[seed][place[key]] = int(fold)
                self._answers[seed][place[key]] = row
        names = [fold["name"] for fold in run.split]
        super().__init__(
            name_tests(self.tests, names),
            [data.subjects[i] for i in self._index],
            data.classes,
            data.label[self._index],
            seeds,
            names,
            f'run = stagkit.Run.load("{run.path.as_posix()}")',
        )
        self.run, self.data, self.allow_trained = run, data, allow_trained
        self._load = lru_cache(maxsize=16)(lambda seed, fold: run.load_model(seed, fold))
        self._compute = lru_cache(maxsize=64)(self._compute_scene)
        self._trained = lru_cache(maxsize=4096)(lambda fold, clip: run.trained_on(fold, clip, data.clip_ids))

    def own_fold(self, clip: int, seed: int = 0) -> int:
        """The fold whose network was tested on the clip.

        Raises:
            StagkitError: no fold of that seed tested it.
        """
        if clip not in self._own.get(seed, {}):
            raise StagkitError(
                f"clip {self.clip_ids[clip]!r} was not tested by seed {seed}: choose another clip or seed "
                f"(the seeds of the run are {', '.join(map(str, self.seeds))})."
            )
        return self._own[seed][clip]

    def _names(self) -> list[tuple[str, ...]]:
        return [(name, clip) for name, (_, clip, _) in zip(self.clip_ids, self.tests, strict=True)]

    def _id(self, clip: int) -> str:
        return self.data.clip_ids[self._index[clip]]

    def check_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> None:
        """Check that the network may be asked about the clip: it was not trained on it, or that is allowed."""
        fold = self.own_fold(clip, seed) if fold == OWN_FOLD else fold
        if not self.allow_trained and self._trained(fold, self._id(clip)):
            self.run.check_unseen(seed, fold, [self._id(clip)], self.data.clip_ids)

    def describe_network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> str:
        """Seed, fold, and whether the network was trained on the clip."""
        fold = self.own_fold(clip, seed) if fold == OWN_FOLD else fold
        return self.run.describe_network(seed, fold, self._id(clip), self.data.clip_ids)

    def was_trained(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> bool:
        """Whether the network was trained on the clip, by ``split.json``."""
        return self._trained(self.own_fold(clip, seed) if fold == OWN_FOLD else fold, self._id(clip))

    def may_ask(self, clip: int) -> list[bool]:
        """Of each fold, whether its network may be asked about the clip."""
        return [self.allow_trained or not self._trained(fold, self._id(clip)) for fold in range(len(self.folds))]

    def _resolve(self, clip: int, seed: int, fold: int) -> int:
        self.check_network(clip, seed, fold)
        return self.own_fold(clip, seed) if fold == OWN_FOLD else fold

    def network(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Stag, Batch]:
        """The network of a fold, from the run's weights."""
        return self._load(seed, self._resolve(clip, seed, fold)), self.data.batch([self._index[clip]])

    def scene(self, clip: int, seed: int = 0, fold: int = OWN_FOLD) -> tuple[Scene, int]:
        """A scene of this clip alone."""
        return self._compute(clip, seed, self._resolve(clip, seed, fold)), 0

    def _compute_scene(self, clip: int, seed: int, fold: int) -> Scene:
        import torch

        model, batch = self.network(clip, seed, fold)
        with torch.no_grad():
            return compute_scene(model(batch.x, batch.mask, batch.times_ms), batch, unit=self.data.unit)

    def answers(self, seed: int = 0) -> np.ndarray:
        """The probabilities of ``predictions.csv``; NaN where the seed did not test the clip."""
        return self._answers[seed]


def as_source(
    run_or_output: object, batch: Batch | None = None, model: Stag | None = None, allow_trained: bool = False
) -> Source:
    """A source from whatever an explorer was given.

    Args:
        run_or_output: a ``Run`` or the path of one, a ``StagOutput`` with its ``batch``, a ``Scene``, or a ``Source``.
        batch: the clips of an output.
        model: the network of an output.
        allow_trained: of a run, also ask networks that were trained on the clip.

    Raises:
        StagkitError: something else, or an output without its batch.
    """
    from stagkit.evaluation.run import Run

    if isinstance(run_or_output, Source):
        return run_or_output
    if isinstance(run_or_output, (str, Path)):
        run_or_output = Run.load(run_or_output)
    if isinstance(run_or_output, Run):
        return RunSource(run_or_output, allow_trained)
    if isinstance(run_or_output, Scene):
        return OutputSource(run_or_output, model, batch)
    if not isinstance(run_or_output, StagOutput):
        raise StagkitError(
            f"the explorer was given a {type(run_or_output).__name__}, expected a StagOutput with its Batch "
            "(view_au_graph(model(batch.x, batch.mask, batch.times_ms), batch)), a Run or the folder of one, or a Scene."
        )
    if batch is None:
        raise StagkitError("a StagOutput needs its `batch` beside it: clip names, times and motion are in there.")
    return OutputSource(compute_scene(run_or_output, batch), model, batch)


def check_edges(scene: Scene) -> None:
    """Check that there is a graph to show.

    Raises:
        StagkitError: a network without edges.
    """
    if scene.edges is None and scene.au_edges is None:
        raise StagkitError(
            "this output has no edges (graph='none' or branches='time'), so there is no graph to show: take a run with "
            "graph='egat', or look at its attribution by region instead."
        )
