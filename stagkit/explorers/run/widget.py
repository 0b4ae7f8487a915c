"""The run browser: confusion matrix, subjects and clips of a run; each clip can be opened in an explorer."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from stagkit.core.errors import import_optional
from stagkit.core.types import Clip, StagkitError
from stagkit.evaluation.run import Run, RunError
from stagkit.explain.evidence import make_evidence
from stagkit.explain.run import FOLDER, find_ground_truth, load_evidence
from stagkit.explorers.au_graph.widget import view_au_graph
from stagkit.explorers.browser import read_css, read_esm
from stagkit.explorers.evidence.widget import view_evidence
from stagkit.explorers.explorer import Choice, Explorer, WidgetError, as_figure, checked
from stagkit.explorers.flow.widget import view_flow
from stagkit.explorers.run.scene import ALL, EXPLORERS, ORDERS, compute_header, compute_table
from stagkit.explorers.sources import RunSource
from stagkit.explorers.validation import check_choice
from stagkit.plots.evaluation import plot_confusion
from stagkit.synthetic.dataset import find_phantoms

traitlets = import_optional("traitlets")


class RunBrowser(Explorer):
    """Browser of a finished run; ``view_run`` is its short name.

    Args:
        run: a finished ``Run`` or its folder.
        frames: function clip id -> ``Clip`` for the flow explorer; phantoms are rendered again without it.
        clip: index or id of the clip selected.
        cell: (true class, predicted class): only clips of that cell are listed. ``subject``: only theirs.
        **traits: ``seed``, ``order``.

    Raises:
        RunError: no finished run, or it is damaged. StagkitError: an argument that is out of range.

    Traits (all synced with the browser):
        seed: whose predictions, -1 = all seeds. ``order``: ``"worst"``, ``"surprising"`` or ``"name"``.
        cell, subject, clip: the arguments; ``[]`` and ``""`` = all, the clip as an index, -1 = none.
        request: ``{"what": "au graph" | "flow" | "evidence", "clip": index}``: the explorer requested last.

    The explorer opened last is ``explorer``; in a notebook it is shown below the browser.
    """

    _esm = read_esm("base", "face", "export", "explorer", "run_view")
    _css = read_css("base", "explorer", "run_view")

    seed = Choice(ALL, lambda browser: (ALL, *browser.table.seeds))
    order = Choice("worst", tuple(ORDERS))
    cell = traitlets.List().tag(sync=True)
    subject = Choice("", lambda browser: ("", *dict.fromkeys(browser.table.subjects)))
    clip = traitlets.Int(-1).tag(sync=True)
    request = traitlets.Dict().tag(sync=True)

    _scene = traitlets.Dict().tag(sync=True)
    _opened = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        run: Run | str | Path,
        *,
        frames: Callable[[str], Clip] | None = None,
        clip: int | str | None = None,
        cell: tuple[str, str] | None = None,
        subject: str | None = None,
        **traits: object,
    ):
        if frames is not None and not callable(frames):
            raise StagkitError(f"`frames` is a {type(frames).__name__}, expected a function: clip id -> Clip.")
        if not isinstance(run, (Run, str, Path)):
            raise StagkitError(
                f"the run browser was given a {type(run).__name__}, expected a Run (stagkit.Run.load) or the folder of one."
            )
        self.run = run if isinstance(run, Run) else Run.load(run)
        if not (self.run.path / "metrics.json").is_file():
            raise RunError(f"{self.run.path} is not finished: run the same 'stagkit evaluate' again, it resumes.")
        self.table = compute_table(self.run)
        self.frames, self.explorer = frames, None
        index = -1 if clip is None else self.table.index(clip)
        header = compute_header(self.run, self.table)
        super().__init__(_scene=header, clip=index, cell=list(cell or []), subject=subject or "", **traits)
        self.observe(self._on_request, "request")

    @traitlets.validate("cell")
    def _valid_cell(self, proposal):
        cell = list(proposal["value"])
        if cell and len(cell) != 2:
            raise WidgetError(f"`cell` is {cell}, expected [true class, predicted class], or [].")
        for name in cell:
            checked(check_choice, "cell", name, self.table.classes)
        return cell

    @traitlets.validate("clip")
    def _valid_clip(self, proposal):
        return -1 if proposal["value"] == -1 else checked(self.table.index, proposal["value"])

    @traitlets.validate("request")
    def _valid_request(self, proposal):
        request = dict(proposal["value"])
        if request:
            checked(check_choice, "what", request.get("what"), EXPLORERS)
            checked(self.table.index, request.get("clip", -1))
        return request

    def _on_request(self, change):
        if change["new"]:
            self._attempt(lambda: self.explore(change["new"]["what"], change["new"]["clip"]))

    def shown(self) -> list[int]:
        """Positions of the clips that are listed now, in their order."""
        return self.table.select(self.order, self.seed, self.cell, self.subject)

    def explore(self, what: str, clip: int | str | None = None):
        """Open a clip (index or id; the selected one where None) in the explorer ``what`` and return that explorer.

        Raises:
            StagkitError: no clip was chosen, or the run's data, weights or frames are not there.
        """
        check_choice("what", what, EXPLORERS)
        index = self.clip if clip is None else self.table.index(clip)
        if index < 0:
            raise StagkitError("no clip is selected: click one, or give clip=...")
        make = {
            "au graph": lambda: view_au_graph(self._source, clip=self._place(index), seed=self._seed_of(index)),
            "flow": lambda: view_flow(self._read_clip(self.table.tests[index][1])),
            "evidence": lambda: self._open_evidence(index),
        }
        self.explorer = make[what]()
        with self.hold_sync():
            self.clip = index
            network = "" if what == "flow" else self.describe_network(index)
            self._opened = {"what": what, "clip": index, "network": network}
        self.stage.children = [self.explorer]
        return self.explorer

    def _seed_of(self, index: int) -> int:
        """The seed whose network is used: the one shown, or the first that tested the clip."""
        tested = [s for k, s in enumerate(self.table.seeds) if self.table.predicted[k, index] >= 0]
        return self.seed if self.seed in tested else tested[0]

    def describe_network(self, clip: int | str) -> str:
        """The network that the explorers of a clip use: seed, fold, and whether it was trained on the clip."""
        index = self.table.index(clip)
        return self._source.describe_network(self._place(index), self._seed_of(index))

    def _place(self, index: int) -> int:
        """Position of a clip in the source, whose clips are those of the first seed."""
        key = self.table.tests[index]
        if key not in self._source.tests:
            raise StagkitError(f"clip {key[1]!r} was not tested by seed {self.table.seeds[0]}: choose another clip.")
        return self._source.tests.index(key)

    def _open_evidence(self, index: int):
        seed, place = self._seed_of(index), self._place(index)
        model, batch = self._source.network(place, seed)
        evidence = self._stored_evidence(index, seed)
        if evidence is None:
            truth = find_ground_truth(self._source.data, [int(self._source.positions[place])])
            evidence = make_evidence(model, batch, ground_truth=truth, seed=seed)
        return view_evidence(evidence, model=model, batch=batch)

    def _stored_evidence(self, index: int, seed: int):
        """The clip's part of the output of 'stagkit explain', or None."""
        folder = self.run.path / FOLDER / f"seed{seed}"
        if not (folder / "attribution.npz").is_file():
            return None
        whole, clip_id = load_evidence(folder), self.table.tests[index][1]
        if whole.attribution.clip_ids.count(clip_id) != 1 or "target" in whole.attribution.axes.split():
            return None
        return whole.select([whole.attribution.clip_ids.index(clip_id)])

    def _read_clip(self, clip_id: str) -> Clip:
        """The frames of a clip: from ``frames``, or rendered again if the run is one of phantoms."""
        if self.frames is not None:
            return self.frames(clip_id)
        phantoms = find_phantoms(self._source.data.meta)
        if phantoms is None:
            raise StagkitError(
                f"the run holds no frames of {clip_id!r}: give view_run(run, frames=...), a function clip id -> Clip, e.g. "
                "stagkit.open_source('casme2', ROOT).read."
            )
        return phantoms.read(clip_id)

    @cached_property
    def _source(self) -> RunSource:
        return RunSource(self.run)

    @cached_property
    def stage(self):
        """Container of the explorer opened last, below the browser."""
        return import_optional("ipywidgets").VBox([])

    @cached_property
    def _box(self):
        return import_optional("ipywidgets").VBox([self, self.stage])

    def _repr_mimebundle_(self, **kwargs):
        bundle = super()._repr_mimebundle_(**kwargs)
        if bundle is not None:
            bundle[0]["application/vnd.jupyter.widget-view+json"]["model_id"] = self._box.model_id
        return bundle

    def to_html(self, path: str | os.PathLike | None = None) -> str:
        """HTML of the browser as one self-contained page without explorers, also written to ``path`` if given."""
        return self._save(f"Run: {self.run.name}", {"request": {}, "_opened": {}}, path)

    def to_figure(self):
        """The confusion matrix of the run (``plots.evaluation.plot_confusion``)."""
        return plot_confusion(self.run)


view_run = RunBrowser
plot_run = as_figure(RunBrowser)
