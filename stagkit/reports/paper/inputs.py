"""Inputs of the figures of a paper: folders of runs, ablations and comparisons of systems.

A folder is a **run** (``run.json``), an **ablation** (``ablation.json``) or a comparison of **systems**
(``systems.csv`` or ``comparison.csv``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from stagkit.core.files import check_digest, read_digests, read_json, resolve_inside, shorten
from stagkit.core.types import Batch, StagkitError, StagOutput
from stagkit.datasets.tables import read_table
from stagkit.evaluation.bootstrap import FEW_SUBJECTS, describe_caveat
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run
from stagkit.explain.evidence import Evidence
from stagkit.explain.run import FOLDER, load_evidence, load_graphs

#: Columns of a table of systems, one line per system; all but the first two may be missing or empty. ``lo``, ``hi``: 95 %
#: interval of ``uf1`` (0..1); ``leaky_uf1``: of the epoch selected on the test subjects; ``macs``: multiply-adds per clip.
SYSTEM_COLUMNS = ("system", "uf1", "lo", "hi", "leaky_uf1", "parameters", "macs")
#: What ``comparison.csv`` calls the same columns.
_ALSO = {"title": "system", "uf1_low": "lo", "uf1_high": "hi", "multiply_adds": "macs"}
_TABLES = ("systems.csv", "comparison.csv")


class MissingInput(StagkitError):
    """The input of a figure or table was not given; the message says which command makes it."""


@dataclass(frozen=True)
class Inputs:
    """The opened folders, by kind."""

    runs: tuple[Run, ...] = ()  # finished runs; most figures show the first
    cross: tuple[Run, ...] = ()  # runs of the protocol ``cross``
    leaky: tuple[Run, ...] = ()  # leak demonstrations
    ablations: tuple[dict, ...] = ()  # what ``ablation.json`` holds, with ``path``
    systems: pd.DataFrame | None = field(default=None, repr=False)  # table with ``SYSTEM_COLUMNS``
    systems_path: Path | None = None  # its file

    @property
    def run(self) -> Run:
        """The first run."""
        if not self.runs:
            raise MissingInput("no finished run was given: 'stagkit evaluate' makes one")
        return self.runs[0]

    @cached_property
    def explanations(self) -> Path:
        """Folder of the first run's explanations (of its first seed that has any)."""
        found = sorted((self.run.path / FOLDER).glob("seed*/attribution.npz"))
        if not found:
            raise MissingInput(f"{self.run.name!r} is not explained yet: 'stagkit explain' does it")
        return found[0].parent

    @cached_property
    def evidence(self) -> Evidence:
        """Attributions of the first run with their controls."""
        return load_evidence(self.explanations)

    @cached_property
    def graphs(self) -> tuple[StagOutput, Batch]:
        """Outputs of the networks of the first run for each explained test clip."""
        if not (self.explanations / "graph.npz").is_file():
            raise MissingInput(f"the explanations of {self.run.name} hold no graphs: run 'stagkit explain' on it again")
        return load_graphs(self.explanations / "graph.npz")

    def find_right(self, clip_ids: Sequence[str], subjects: Sequence[str]) -> np.ndarray:
        """Bool "clip": recognised correctly by the network that was explained."""
        table, seed = self.run.predictions, int(self.explanations.name.removeprefix("seed"))
        table = table[(table["seed"] == seed) & (table["label"] == table["prediction"])]
        right = set(zip(table["subject"], table["clip"], strict=True))
        return np.array([key in right for key in zip(subjects, clip_ids, strict=True)])

    @cached_property
    def subjects(self) -> list[str]:
        """Subject of each explained clip, in the order of ``evidence``."""
        path = check_digest(self.explanations, "clips.csv", read_digests(self.explanations))
        return read_table(path, required=["subject"])["subject"].tolist()


def load_inputs(paths: Sequence[str | Path]) -> Inputs:
    """Open folders of runs, ablations and comparisons of systems, or a table of systems.

    Raises:
        StagkitError: a folder that is none of these; a run that is unfinished or not subject-independent.
    """
    kinds: dict[str, list] = {"runs": [], "cross": [], "leaky": [], "ablations": []}
    table, table_path = None, None
    for path in map(Path, paths):
        found = [path] if path.is_file() else [path / name for name in _TABLES if (path / name).is_file()]
        if found:
            table_path, table = found[0], load_systems(found[0])
        elif (path / "ablation.json").is_file():
            kinds["ablations"].append(_load_ablation(path))
        elif (path / "run.json").is_file():
            run = Run.load(path)
            if run.request.get("leaky"):
                kinds["leaky"].append(run)
                continue
            run.check_evidence()
            kinds["cross" if run.request["protocol"] == "cross" else "runs"].append(run)
        else:
            raise StagkitError(
                f"{path} holds no run, no ablation and no systems.csv: give a folder made by 'stagkit evaluate' or "
                "'stagkit ablate', or a table of systems."
            )
    return Inputs(**{k: tuple(v) for k, v in kinds.items()}, systems=table, systems_path=table_path)


#: What an ``ablation.json`` must hold, and each of its variants, with types.
_ABLATION = {"variants": dict, "full": str, "protocol": str, "seeds": list, "n_clips": int, "n_subjects": int}
_VARIANT = {"what": str, **dict.fromkeys(SCORES, dict)}


def _load_ablation(path: Path) -> dict:
    """What ``ablation.json`` holds, with ``path``; checked to hold what figures and tables are made from."""
    result = read_json(path / "ablation.json")
    where = f"{path / 'ablation.json'} is damaged"
    for key, kind in _ABLATION.items():
        if not isinstance(result.get(key), kind):
            raise StagkitError(f"{where}: its {key!r} is {shorten(result.get(key))}; run 'stagkit ablate' again.")
    for name, row in result["variants"].items():
        for key, kind in _VARIANT.items():
            if not isinstance(row, dict) or not isinstance(row.get(key), kind):
                raise StagkitError(f"{where}: variant {shorten(name)} has no {key!r}; run 'stagkit ablate' again.")
        for score in SCORES:
            if not isinstance(row[score].get("mean"), (int, float)) or not isinstance(row[score].get("ci95"), list):
                raise StagkitError(f"{where}: variant {shorten(name)} has no mean and interval of {score}.")
    resolve_inside(path, result["full"])
    return {**result, "path": path}


def load_systems(path: str | Path) -> pd.DataFrame:
    """Read a table of systems; missing columns become empty ones, in the order of ``SYSTEM_COLUMNS``.

    Raises:
        StagkitError: it cannot be read, lacks ``system`` or ``uf1``, or a score is no number from 0 to 1.
    """
    table = read_table(path)
    named = {old: new for old, new in _ALSO.items() if old in table.columns}
    table = table.drop(columns=[new for new in named.values() if new in table.columns]).rename(columns=named)
    lost = [f"column {c}" for c in ("system", "uf1") if c not in table.columns] or ["line"] * table.empty
    if lost:
        columns = ", ".join(SYSTEM_COLUMNS)
        raise StagkitError(
            f"{path} has no {lost[0]}: a table of systems has the columns {columns}, one line per system."
        )
    table = table.reindex(columns=list(SYSTEM_COLUMNS)).astype({"system": str})
    for column in SYSTEM_COLUMNS[1:]:
        table[column] = pd.to_numeric(table[column], errors="coerce")
    bad = table[~table["uf1"].between(0, 1)]
    if len(bad):
        raise StagkitError(f"{path}: the uf1 of {bad['system'].iloc[0]} is no number from 0 to 1.")
    return table


def is_phantom(source: Run | dict | Path) -> bool:
    """True for a run on phantoms, an ablation of one, or a table of systems in a folder of such runs."""
    if isinstance(source, Run):
        return "phantom" in str(source.request["data"])
    if isinstance(source, Path):
        runs = sorted(source.parent.glob("*/run.json"))
        return bool(runs) and "phantom" in str(read_json(runs[0]).get("data"))
    return is_phantom(Run.load(source["path"] / source["full"], complete=False))


def count_tested(run: Run) -> list[tuple]:
    """Data set, clips, subjects, and clips of each class of what a run tested."""
    table, rows = run.predictions, []
    table = table[table["seed"] == table["seed"].min()].drop_duplicates(["dataset", "subject", "clip"])
    for name, part in table.groupby("dataset"):
        counts = [int((part["label"] == c).sum()) for c in run.request["classes"]]
        rows.append((name, len(part), part["subject"].nunique(), *counts))
    return rows


def describe_run(run: Run) -> dict[str, object]:
    """The entry of a run in a side-car."""
    data, metrics = run.request["data"], run.metrics
    return {
        "name": run.name,
        "data": str(data.get("digest", "")),
        "protocol": run.request["protocol"],
        "seeds": run.request["seeds"],
        "n_clips": metrics["n_clips"],
        "n_subjects": metrics["n_subjects"],
        "phantom": is_phantom(run),
    }


def note(figure: Figure, sources: Sequence[Run | dict | Path] = (), n: dict | None = None, **values: object) -> Figure:
    """Store sources, drawn ``values`` and ``n`` (clips, subjects, ... an average is over) of a figure, for its side-car."""
    runs = [describe_run(source) for source in sources if isinstance(source, Run)]
    for source in sources:
        if isinstance(source, dict):
            entry = describe_run(Run.load(source["path"] / source["full"]))
            runs.append({**entry, "name": source["path"].name, "variants": list(source["variants"])})
    figure.stagkit_source = {
        "runs": runs,
        "tables": [f"{s.parent.name}/{s.name}" for s in sources if isinstance(s, Path)],
        "phantom": any(is_phantom(s) for s in sources),
        "n": dict(n or {}),
        "values": values,
        "caveat": _find_caveat(sources, values),
    }
    return figure


def _find_caveat(sources: Sequence[Run | dict | Path], values: object) -> str:
    """Why the drawn intervals are unreliable: from all ``ci95`` in the numbers and the fewest subjects."""
    intervals, subjects = [], [n for n in map(_count_subjects, sources) if n is not None]

    def search(value: object) -> None:
        if isinstance(value, dict) and np.ndim(value.get("ci95", 0)) == 1:
            intervals.append(value["ci95"])
            subjects.extend([value["n_subjects"]] if "n_subjects" in value else [])
        if isinstance(value, (dict, list, tuple)):
            for inner in value.values() if isinstance(value, dict) else value:
                search(inner)

    search(values)
    return describe_caveat(min(subjects, default=FEW_SUBJECTS), *intervals) if intervals else ""


def _count_subjects(source: Run | dict | Path) -> int | None:
    """Subjects of a source; None for a table of systems without its ``comparison.json``."""
    if isinstance(source, Path):
        comparison = source.parent / "comparison.json"
        return read_json(comparison)["n_subjects"] if comparison.is_file() else None
    return (source.metrics if isinstance(source, Run) else source)["n_subjects"]
