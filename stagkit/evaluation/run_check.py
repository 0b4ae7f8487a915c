"""Check of a run folder: files against their digests, and predictions against folds and scores."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from stagkit.core.files import DIGESTS, TEMPORARY, find_damage, read_digests, resolve_inside, shorten
from stagkit.core.types import StagkitError
from stagkit.evaluation.metrics import SCORES, compute_confusion, compute_scores
from stagkit.evaluation.run import Run


def check_run(path: str | Path) -> list[tuple[str, str]]:
    """(path, state) of every file of a run, of the runs inside it and of its explanations.

    A state is ``ok``, ``missing``, ``damaged``, or one sentence on what is wrong. A ``StagkitError`` if there is no run.
    """
    try:
        run = Run.load(path, complete=False)
    except StagkitError as error:
        digests = read_digests(path)
        if not digests:
            raise
        return [*find_damage(path, digests).items(), ("run.json", str(error))]
    rows = list(_check_files(run).items())
    if run.is_finished:
        rows.append(_check_scores(run))
    for name in ("permuted", "stratifiedkfold"):
        if (run.path / name / "run.json").is_file():
            rows += _check_inside(run, name, check_run)
    for folder in sorted((run.path / "explanations").glob("seed*")):
        rows += _check_inside(run, f"explanations/{folder.name}", _check_explanation)
    for base, folders, names in os.walk(run.path):
        links = [Path(base, name) for name in (*folders, *names) if Path(base, name).is_symlink()]
        rows += [(str(link.relative_to(run.path)), "is a link: replace it by the file itself") for link in links]
        left = sum(name.startswith(TEMPORARY) for name in names)
        if left:
            rows.append((str(Path(base).relative_to(run.path)), f"ok, with {left} temporary files of a killed command"))
    return rows


def is_sound(state: str) -> bool:
    """True for a state without damage."""
    return state.startswith("ok")


def format_check(rows: list[tuple[str, str]]) -> str:
    """The states as text; files that are ok are counted per folder."""
    counts = Counter(str(Path(name).parent) for name, state in rows if state == "ok")
    lines = [f"{f'{folder}/':<44} {n} files ok" for folder, n in sorted(counts.items())]
    lines += [f"{shorten(name)[1:-1]:<44} {state}" for name, state in rows if state != "ok"]
    bad = sum(not is_sound(state) for _, state in rows)
    total = f"{bad} of {len(rows)} entries are damaged or missing." if bad else f"All {len(rows)} entries are sound."
    return "\n".join([*lines, total])


def _check_inside(run: Run, name: str, check) -> list[tuple[str, str]]:
    try:
        return [(f"{name}/{file}", state) for file, state in check(resolve_inside(run.path, name))]
    except StagkitError as error:
        return [(name, str(error))]


def _check_files(run: Run) -> dict[str, str]:
    if not run.is_finished:
        digests = {name: d for stem in run.list_done() for name, d in run.read_fold_digests(stem).items()}
        return find_damage(run.path, digests)
    try:
        states = find_damage(run.path, run.digests)
    except StagkitError as error:
        return {DIGESTS: str(error)}
    return dict.fromkeys(run.list_files(), "not written by this run") | states


def _check_scores(run: Run) -> tuple[str, str]:
    """Whether ``predictions.csv``, the files in ``folds/`` and ``metrics.json`` agree."""
    try:
        table, classes = run.predictions, list(run.request["classes"])
        if not table.equals(run.collect()):
            return "predictions.csv and folds/", "do not hold the same predictions"
        for seed, part in table.groupby("seed"):
            codes = [part[name].map(classes.index).to_numpy() for name in ("label", "prediction")]
            scores = compute_scores(compute_confusion(*codes, len(classes)))
            for name in SCORES:
                stated, found = run.metrics[name]["per_seed"][str(seed)], getattr(scores, name)
                if abs(stated - found) > 1e-6:
                    text = f"seed {seed}: {name} is {found:.3f} by the predictions, {stated:.3f} in metrics.json"
                    return "predictions.csv and metrics.json", text
    except (StagkitError, TypeError, ValueError, IndexError) as error:
        return "predictions, folds and metrics", shorten(str(error), 400)[1:-1]
    return "predictions, folds and metrics agree", "ok"


def _check_explanation(folder: Path) -> list[tuple[str, str]]:
    states = find_damage(folder, read_digests(folder))
    if not (folder / "summary.json").is_file():
        states["summary.json"] = "missing: the explanation was not finished"
    for name in ("attribution.npz", "graph.npz"):
        if (folder / name).is_file():
            states.setdefault(name, "not written by this explanation")
    return list(states.items())
