"""Explain a finished run: every test clip by the network that never saw its subject, each with its controls, on disk.

Written to ``RUN/explanations/seed0/``: ``attribution.npz``, the sums ``by_roi``, ``by_muscle``, ``by_au``, ``by_side`` and
``by_frame`` as CSV, ``clips.csv`` (target, gap, delta, one sentence), ``controls.csv`` (every score of every clip),
``by_class.csv`` (group means), ``digests.json`` and, last, ``summary.json``. Fold by fold: an interrupted explanation
resumes where it stopped. One command at a time explains a seed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from stagkit.core.config import PhantomConfig
from stagkit.core.files import (
    Progress,
    check_digest,
    compute_digest,
    compute_digests,
    digest_file,
    load_arrays,
    lock_folder,
    no_progress,
    read_digests,
    read_json,
    read_table,
    remove_temporary,
    resolve_inside,
    write_atomically,
    write_digests,
    write_json,
    write_table,
)
from stagkit.core.types import MAX_DELTA, RoiDataset, StagkitError
from stagkit.evaluation.bootstrap import compute_mean, describe_caveat
from stagkit.evaluation.run import Run
from stagkit.explain.aggregate import describe_clip
from stagkit.explain.attribution import (
    ExplainError,
    by_roi,
    compute_fold_attribution,
    join_attributions,
    load_attribution,
    save_attribution,
    tabulate,
)
from stagkit.explain.class_means import compute_class_evidence
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.ground_truth import GroundTruth, compute_annotated_truth, compute_ground_truth

FOLDER = "explanations"

#: Every table that an explanation may have; those that a new one does not write are removed.
_TABLES = ("clips", "controls", "by_class", "by_roi", "by_muscle", "by_au", "by_side", "by_frame", "by_edge")


@contextmanager
def hold_explanations(path: str | Path, seed: int) -> Iterator[tuple[Run, Path]]:
    """Be the only process that explains the networks of one seed: the run and its folder ``explanations/seedN``.

    Raises:
        RunError: no finished run. ExplainError: no such seed. StagkitError: another process explains it, or the folder
            leads out of the run.
    """
    run = Run.load(path, evidence=True)
    if seed not in run.request["seeds"]:
        raise ExplainError(f"{path} has the seeds {run.request['seeds']}, not {seed}.")
    out = resolve_inside(run.path, f"{FOLDER}/seed{seed}")
    with lock_folder(out):
        yield run, out


def explain_run(
    path: str | Path,
    clips: Sequence[str] | None = None,
    seed: int = 0,
    n_steps: int = 32,
    progress: Progress = no_progress,
    method: str = "integrated gradients",
    controls: bool = True,
) -> tuple[Evidence, Path]:
    """Attribute the predicted class of every test clip by the network of its own fold, run the controls, write both.

    Clips that are not complete within ``MAX_DELTA`` are tried again with four and sixteen times the steps; those that
    still miss are listed. Phantoms are scored by what was planted in them, other clips by their annotated AUs.

    Args:
        path: a finished run.
        clips: clip ids; all where None.
        seed: which seed's networks.
        method: for ``explain.attribute``; it has to give a map over regions or frames.
        controls: False leaves them out; pictures are then stamped 'no control'.

    Returns:
        The evidence (without scores where there are no controls) and the folder written.

    Raises:
        RunError: no finished run, its data is gone, or a network was trained on the clip that it is to explain.
        ExplainError: no such seed or clip. StagkitError: another process explains the same seed.
    """
    with hold_explanations(path, seed) as (run, out):
        return _explain(run, out, clips, seed, n_steps, progress, method, controls), out


def _explain(run: Run, out: Path, clips, seed: int, n_steps: int, progress: Progress, method: str, controls: bool):
    data = run.load_data()
    wanted = set(clips) if clips else set(data.clip_ids)
    unknown = sorted(wanted - set(data.clip_ids))
    if unknown:
        raise ExplainError(f"the run has no clip {', '.join(unknown[:5])}; its first is {data.clip_ids[0]!r}.")
    method = method.replace("_", " ")
    asked = {"method": method, "n_steps": n_steps, "controls": controls, "clips": sorted(wanted)}
    digest = compute_digest(json.dumps({**asked, "run": run.metrics}, sort_keys=True, default=str).encode())
    remove_temporary(out)
    resolve_inside(run.path, f"{FOLDER}/seed{seed}/parts")  # refused if it is a link out of the run
    parts, subjects, folds = [], [], []
    for fold in progress(range(len(run.split)), len(run.split)):
        index = [int(i) for i in run.test_index(data, seed, fold) if data.clip_ids[i] in wanted]
        if not index:
            continue
        run.check_unseen(seed, fold, [data.clip_ids[i] for i in index], data.clip_ids)
        kept = resolve_inside(out, f"parts/{digest}_fold{fold:03d}.npz")
        evidence = _load_part(kept)
        if evidence is None:
            evidence = _explain_fold(run, data, seed, fold, index, method, n_steps, controls)
            _save_part(evidence, kept)
        parts.append(evidence)
        subjects += [data.subjects[i] for i in index]
        folds += [fold] * len(index)
    whole = Evidence(
        join_attributions([p.attribution for p in parts]),
        {name: np.concatenate([p.scores[name] for p in parts]) for name in parts[0].scores},
    )
    _write(whole, subjects, {**asked, "seed": seed, "folds": folds}, out, digest_file(run.find("predictions.csv")))
    for part in (out / "parts").iterdir():
        if re.fullmatch(r"[0-9a-f]{16}_fold\d+(_scores)?\.npz", part.name) and not part.is_symlink():
            part.unlink()
    with suppress(OSError):  # other files are not removed
        (out / "parts").rmdir()
    return whole


def _explain_fold(run: Run, data: RoiDataset, seed: int, fold: int, index: list[int], method, n_steps, controls):
    model, batch = run.load_model(seed, fold), data.batch(index)
    attribution = compute_fold_attribution(model, batch, n_steps, run.name, method)
    if not controls:
        return Evidence(attribution, {})
    evidence = make_evidence(model, batch, attribution, ground_truth=find_ground_truth(data, index), seed=seed)
    return evidence


def find_ground_truth(data: RoiDataset, index: Sequence[int]) -> GroundTruth | None:
    """What is known of clips: planted in phantoms (they are drawn again), annotated AUs elsewhere, None where neither is."""
    source = data.meta.get("source")
    config = source.get("config") if isinstance(source, dict) else None
    if config is not None and "preset" in config:
        from stagkit.synthetic.dataset import PhantomSource

        made = PhantomSource(PhantomConfig.from_dict(config))
        return compute_ground_truth([made.read(data.clip_ids[i]) for i in index])
    aus = data.aus[list(index)]
    if np.isnan(aus).all():
        return None
    return compute_annotated_truth(aus, [data.clip_ids[i] for i in index])


def _save_part(evidence: Evidence, path: Path) -> None:
    with write_atomically(path.with_name(f"{path.stem}_scores.npz")) as aside:
        np.savez(aside, **evidence.scores)
    save_attribution(evidence.attribution, path)


def _load_part(path: Path) -> Evidence | None:
    """A fold that was finished before; None where it was not, or is damaged."""
    try:
        return Evidence(load_attribution(path), load_arrays(path.with_name(f"{path.stem}_scores.npz")))
    except StagkitError:
        return None


def _write(evidence: Evidence, subjects: list[str], asked: dict, out: Path, predictions: str) -> None:
    """Write all files of an explanation; while ``summary.json`` is missing, it is not finished."""
    import pandas as pd

    attribution = evidence.attribution
    tables = tabulate(attribution)
    tables["clips"]["subject"] = subjects
    tables["clips"] = tables["clips"].assign(seed=asked["seed"], fold=asked["folds"], trained_on_clip=False)  # checked
    if "by_au" in tables:
        tables["by_class"] = compute_class_evidence(attribution, subjects)
        tables["clips"]["sentence"] = [describe_clip(attribution, i) for i in range(len(attribution))]
    if evidence.scores:
        tables["controls"] = pd.DataFrame(evidence.scores, pd.Index(attribution.clip_ids, name="clip"))
        tables["controls"]["passed"] = [evidence.passed(i) for i in range(len(evidence))]
    for name in ("summary.json", *(f"{name}.csv" for name in _TABLES if name not in tables)):
        resolve_inside(out, name).unlink(missing_ok=True)
    for name, table in tables.items():
        write_table(resolve_inside(out, f"{name}.csv"), table if name == "by_class" else table.reset_index(), ".6g")
    save_attribution(attribution, resolve_inside(out, "attribution.npz"))
    complete = attribution.relative_delta <= MAX_DELTA
    held: dict[str, list[bool]] = {}
    for i in range(len(evidence)):
        for check in evidence.checks(i):
            held.setdefault(check.name, []).append(check.passed)
    scores = {name: compute_mean(values, subjects)._asdict() for name, values in evidence.scores.items()}
    summary = {
        "predictions": predictions,
        "method": attribution.method,
        "baseline": attribution.baseline,
        "n_clips": len(attribution),
        "n_subjects": len(set(subjects)),
        "n_steps": asked["n_steps"],
        "caveat": describe_caveat(len(set(subjects))),
        "networks": f"of seed {asked['seed']}: each clip is explained by the network of the fold that tested it "
        "(clips.csv names it); none was trained on the clip that it explains",
        "median_relative_delta": float(np.median(attribution.relative_delta)),
        "complete": int(complete.sum()),
        "not_complete": [c for c, ok in zip(attribution.clip_ids, complete, strict=True) if not ok],
        "scores": {
            name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
            for name, row in scores.items()
        },
        "controls_held": {name: {"clips": len(oks), "share": float(np.mean(oks))} for name, oks in held.items()},
    }
    if not evidence.scores:
        summary["control"] = "none: these attributions have not been tested against controls"
    with write_atomically(resolve_inside(out, "summary.json")) as aside:
        write_json(aside, summary)
        digests = compute_digests(out, ["attribution.npz", *(f"{name}.csv" for name in tables)])
        older = {name: digest for name, digest in _read_old_digests(out).items() if name == "graph.npz"}
        write_digests(out, {**older, **digests, "summary.json": digest_file(aside)})


def _read_old_digests(out: Path) -> dict[str, str]:
    with suppress(StagkitError):  # damaged: it is written again
        return read_digests(out)
    return {}


def load_evidence(folder: str | Path) -> Evidence:
    """Read what ``explain_run`` wrote: ``RUN/explanations/seed0``.

    Raises:
        ExplainError: missing, unfinished, damaged, or of other predictions than the run has now.
    """
    folder = Path(folder)
    attribution, scores = load_attribution(folder / "attribution.npz"), {}
    if not (folder / "summary.json").is_file():
        raise ExplainError(f"{folder} holds an explanation that was not finished: run 'stagkit explain' again.")
    try:
        digests = read_digests(folder)
        summary = read_json(check_digest(folder, "summary.json", digests))
        predictions = folder.parent.parent / "predictions.csv"
        if predictions.is_file() and summary.get("predictions", "") not in ("", digest_file(predictions)):
            raise ExplainError(
                f"{folder} explains other predictions than the run has now: run 'stagkit explain' again."
            )
        path = check_digest(folder, "controls.csv", digests)
        if path.is_file():
            table = read_table(path, required=("clip", "passed"))
            if list(table["clip"]) != list(attribution.clip_ids):
                raise ExplainError(f"{path} has other clips than attribution.npz: run 'stagkit explain' again.")
            table = table.drop(columns=["clip", "passed"])
            scores = {name: np.array([float(c or "nan") for c in table[name]]) for name in table.columns}
    except ExplainError:
        raise
    except (StagkitError, ValueError) as error:
        raise ExplainError(f"{folder} is damaged: run 'stagkit explain' again. ({error})") from error
    return Evidence(attribution, scores)


def describe_evidence(evidence: Evidence) -> str:
    """A few sentences: how complete the explanations are, which regions weigh most, which controls hold and how often."""
    attribution = evidence.attribution
    complete = int((attribution.relative_delta <= MAX_DELTA).sum())
    text = (
        f"{len(attribution)} test clips explained by {attribution.method} against {attribution.baseline}; {complete} are "
        f"complete within {MAX_DELTA:.0%} (median miss {np.median(attribution.relative_delta):.2%} of the logit gap). "
    )
    if "roi" in attribution.axes.split():
        names = [attribution.roi_names[i] for i in np.argsort(-np.abs(by_roi(attribution)).mean(0))[:3]]
        text += f"The regions that weigh most on average: {', '.join(names)}. "
    held: dict[str, list[bool]] = {}
    for i in range(len(evidence)):
        for check in evidence.checks(i):
            held.setdefault(check.name, []).append(check.passed)
    if not held:
        return text + "No control was run on these explanations."
    return text + "Controls hold: " + ", ".join(f"{n} {sum(v)}/{len(v)}" for n, v in held.items()) + "."
