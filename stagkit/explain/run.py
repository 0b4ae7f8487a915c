"""Explain a finished run: every test clip by the network that never saw its subject, with controls and graphs, on disk.

Written to ``RUN/explanations/seed0/``: ``attribution.npz``, ``graph.npz`` (what the networks computed), tables of sums by
region, muscle, AU, side and frame, ``clips.csv``, ``controls.csv``, ``by_class.csv``, ``digests.json`` and, last,
``summary.json``. Finished folds are kept in ``parts/`` until then, so that an interrupted explanation resumes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from stagkit.core.facs import AU_NUMBERS
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
    remove_temporary,
    resolve_inside,
    write_atomically,
    write_digests,
    write_json,
)
from stagkit.core.types import Batch, RoiDataset, StagkitError, StagOutput
from stagkit.datasets.tables import read_table, write_table
from stagkit.evaluation.bootstrap import compute_mean, describe_caveat
from stagkit.evaluation.run import Run, RunError
from stagkit.explain.aggregate import MAX_DELTA, Attribution, ExplainError, by_roi, describe_clip, tabulate
from stagkit.explain.attribution import attribute_completely, join_attributions, load_attribution, save_attribution
from stagkit.explain.class_means import compute_class_evidence
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.ground_truth import GroundTruth, compute_annotated_truth, compute_ground_truth
from stagkit.synthetic.config import PhantomConfig

FOLDER = "explanations"

#: Every table that an explanation may have; those that a new one does not write are removed.
_TABLES = ("clips", "controls", "by_class", "by_roi", "by_muscle", "by_au", "by_side", "by_frame", "by_edge")

_OUTPUTS = ("logits", "au_logits", "edges", "au_edges", "time_weights")
#: Attention of the last layer: name in ``graph.npz`` -> pattern of the names and, when read, the name in
#: ``StagOutput.attention``.
_ATTENTION = {
    "attention": (r"graph\.\d+", "graph.0"),
    "roi_from_frame": (r"cross\.\d+\.roi_from_frame", "cross.0.roi_from_frame"),
    "frame_from_roi": (r"cross\.\d+\.frame_from_roi", "cross.0.frame_from_roi"),
}


@contextmanager
def hold_explanations(path: str | Path, seed: int) -> Iterator[tuple[Run, Path]]:
    """Lock the explanations of one seed for this process: the run and its folder ``explanations/seedN``.

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

    Clips that are not complete within ``MAX_DELTA`` are repeated with more steps; those that still are not are listed.
    Phantoms are scored by their known motion, other clips by their annotated AUs.

    Args:
        path: a finished run.
        clips: clip ids; all if None.
        seed: which seed's networks.
        method: for ``attribute``; it has to give a map over regions or frames.
        controls: False leaves them out; figures are then marked 'no control'.

    Returns:
        The evidence (without scores if there are no controls) and the folder written.

    Raises:
        RunError: no finished run, its data is missing, or a network was trained on the clip that it is to explain.
        ExplainError: no such seed or clip. StagkitError: another process explains the same seed.
    """
    with hold_explanations(path, seed) as (run, out):
        return _explain(run, out, clips, seed, n_steps, progress, method.replace("_", " "), controls), out


def _test_folds(
    run: Run, data: RoiDataset, seed: int, clips: Sequence[str] | None, progress: Progress
) -> Iterator[tuple[int, list[int]]]:
    """Number and test clips of each fold, some clips only if given; checked to be unseen by its network."""
    wanted = set(clips) if clips else set(data.clip_ids)
    unknown = sorted(wanted - set(data.clip_ids))
    if unknown:
        raise ExplainError(f"the run has no clip {', '.join(unknown[:5])}; its first is {data.clip_ids[0]!r}.")
    for fold in progress(range(len(run.split)), len(run.split)):
        index = [int(i) for i in run.test_index(data, seed, fold) if data.clip_ids[i] in wanted]
        if index:
            run.check_unseen(seed, fold, [data.clip_ids[i] for i in index], data.clip_ids)
            yield fold, index


def compute_run_attribution(
    run: Run, clips: Sequence[str] | None = None, seed: int = 0, n_steps: int = 32, progress: Progress = no_progress
) -> Attribution:
    """Attribution of a run's test clips, each by the network of its own fold; nothing is written."""
    data = run.load_data()
    return join_attributions(
        [
            attribute_completely(run.load_model(seed, fold), data.batch(index), n_steps, run.name)
            for fold, index in _test_folds(run, data, seed, clips, progress)
        ]
    )


def _explain(run: Run, out: Path, clips, seed: int, n_steps: int, progress: Progress, method: str, controls: bool):
    data = run.load_data()
    wanted = sorted(set(clips or data.clip_ids))
    asked = {"method": method, "n_steps": n_steps, "controls": controls, "clips": wanted}
    digest = compute_digest(json.dumps({**asked, "run": run.metrics}, sort_keys=True, default=str).encode())
    remove_temporary(out)
    resolve_inside(run.path, f"{FOLDER}/seed{seed}/parts")  # refused if it is a link out of the run
    parts, graphs, order, folds = [], [], [], []
    for fold, index in _test_folds(run, data, seed, clips, progress):
        kept = resolve_inside(out, f"parts/{digest}_fold{fold:03d}.npz")
        done = _load_part(kept)
        if done is None:
            model, batch = run.load_model(seed, fold), data.batch(index)
            evidence = Evidence(attribute_completely(model, batch, n_steps, run.name, method), {})
            if controls:
                truth = find_ground_truth(data, index)
                evidence = make_evidence(model, batch, evidence.attribution, ground_truth=truth, seed=seed)
            done = evidence, _read_graph(model, batch)
            _save_part(*done, kept)
        parts.append(done[0])
        graphs.append(done[1])
        order += index
        folds += [fold] * len(index)
    whole = Evidence(
        join_attributions([part.attribution for part in parts]),
        {name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores},
    )
    graph = {name: np.concatenate([part[name] for part in graphs]) for name in graphs[0]}
    subjects = [data.subjects[i] for i in order]
    summary = {**asked, "seed": seed, "folds": folds, "predictions": digest_file(run.find("predictions.csv"))}
    _write(whole, subjects, summary, out, graph | _describe_clips(data, order))
    for part in (out / "parts").iterdir():
        if re.fullmatch(r"[0-9a-f]{16}_fold\d+(_more)?\.npz", part.name) and not part.is_symlink():
            part.unlink()
    with suppress(OSError):  # other files are not removed
        (out / "parts").rmdir()
    return whole


def find_ground_truth(data: RoiDataset, index: Sequence[int]) -> GroundTruth | None:
    """The truth of clips: known for phantoms, annotated AUs elsewhere, None without either."""
    source = data.meta.get("source")
    config = source.get("config") if isinstance(source, dict) else None
    if config is not None and "preset" in config:
        from stagkit.synthetic.dataset import PhantomSource

        made = PhantomSource(PhantomConfig.from_dict(config))
        return compute_ground_truth([made.read(data.clip_ids[i], render=False) for i in index])
    aus = data.aus[list(index)]
    if np.isnan(aus).all():
        return None
    return compute_annotated_truth(aus, [data.clip_ids[i] for i in index])


def _read_graph(model, batch: Batch) -> dict[str, np.ndarray]:
    """Outputs and last attention of a network for some clips, float16."""
    import torch

    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    found = {name: getattr(output, name) for name in _OUTPUTS}
    for stored, (pattern, _) in _ATTENTION.items():
        names = sorted(name for name in output.attention if re.fullmatch(pattern, name))
        found[stored] = output.attention[names[-1]] if names else None
    return {name: value.numpy().astype(np.float16) for name, value in found.items() if value is not None}


def _describe_clips(data: RoiDataset, order: list[int]) -> dict[str, np.ndarray]:
    return {
        "flow": data.x[order].mean((-1, -2)).astype(np.float16),
        "mask": data.mask[order],
        "times_ms": data.times_ms[order],
        "label": data.label[order],
        "clip_ids": np.array([data.clip_ids[i] for i in order]),
        "subjects": np.array([data.subjects[i] for i in order]),
        "classes": np.array(data.classes),
    }


def load_graphs(path: str | Path, clips: Sequence[int] | None = None) -> tuple[StagOutput, Batch]:
    """Read ``graph.npz`` as an output and the batch it belongs to; each region's patch is its mean motion.

    Args:
        clips: positions of the clips wanted; all if None.

    Raises:
        RunError: missing or damaged.
    """
    import torch

    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no file {path}: run 'stagkit explain' first.")
    try:
        arrays = load_arrays(check_digest(path.parent, path.name, read_digests(path.parent)))
        missing = {"logits", "flow", "mask", "times_ms", "label", "clip_ids", "subjects", "classes"} - set(arrays)
        if missing or len({len(arrays[name]) for name in ("logits", "flow", "mask", "label", "clip_ids")}) > 1:
            raise StagkitError(f"{path} lacks arrays, or their lengths differ.")
    except StagkitError as error:
        raise RunError(f"{path} is damaged: run 'stagkit explain' again.") from error
    chosen = np.arange(len(arrays["label"])) if clips is None else np.asarray(clips)

    def tensor(name: str):
        return torch.from_numpy(arrays[name][chosen].astype(np.float32)) if name in arrays else None

    output = StagOutput(
        **{name: tensor(name) for name in _OUTPUTS},
        attention={name: tensor(stored) for stored, (_, name) in _ATTENTION.items() if stored in arrays},
    )
    batch = Batch(
        x=tensor("flow")[..., None, None],
        mask=torch.from_numpy(arrays["mask"][chosen]),
        times_ms=tensor("times_ms"),
        label=torch.from_numpy(arrays["label"][chosen]),
        aus=torch.full((len(chosen), len(AU_NUMBERS)), float("nan")),
        clip_ids=tuple(str(c) for c in arrays["clip_ids"][chosen]),
        subjects=tuple(str(s) for s in arrays["subjects"][chosen]),
        classes=tuple(str(c) for c in arrays["classes"]),
    )
    return output, batch


def _save_part(evidence: Evidence, graph: dict[str, np.ndarray], path: Path) -> None:
    more = {f"score_{name}": values for name, values in evidence.scores.items()}
    with write_atomically(path.with_name(f"{path.stem}_more.npz")) as aside:
        np.savez(aside, **more, **{f"graph_{name}": values for name, values in graph.items()})
    save_attribution(evidence.attribution, path)


def _load_part(path: Path) -> tuple[Evidence, dict[str, np.ndarray]] | None:
    """A fold that was finished before; None if it was not, or is damaged."""
    try:
        attribution, more = load_attribution(path), load_arrays(path.with_name(f"{path.stem}_more.npz"))
        scores, graph = (
            {name.removeprefix(kind): values for name, values in more.items() if name.startswith(kind)}
            for kind in ("score_", "graph_")
        )
        return Evidence(attribution, scores), graph
    except StagkitError:
        return None


def _write(evidence: Evidence, subjects: list[str], asked: dict, out: Path, graph: dict[str, np.ndarray]) -> None:
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
    with write_atomically(resolve_inside(out, "graph.npz")) as aside:
        np.savez_compressed(aside, **graph)
    complete, n_subjects = attribution.relative_delta <= MAX_DELTA, len(set(subjects))
    scores = {name: compute_mean(values, subjects)._asdict() for name, values in evidence.scores.items()}
    summary = {
        "predictions": asked["predictions"],
        "method": attribution.method,
        "baseline": attribution.baseline,
        "n_clips": len(attribution),
        "n_subjects": n_subjects,
        "n_steps": asked["n_steps"],
        "caveat": describe_caveat(n_subjects),
        "networks": f"of seed {asked['seed']}: each clip is explained by the network of the fold that tested it "
        "(clips.csv names it); none was trained on the clip that it explains",
        "median_relative_delta": float(np.median(attribution.relative_delta)),
        "complete": int(complete.sum()),
        "not_complete": [c for c, ok in zip(attribution.clip_ids, complete, strict=True) if not ok],
        "scores": {
            name: {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in row.items()}
            for name, row in scores.items()
        },
        "controls_held": {
            name: {"clips": len(held), "share": float(np.mean(held))} for name, held in evidence.count_checks().items()
        },
    }
    if not evidence.scores:
        summary["control"] = "none: these attributions have not been tested against controls"
    with write_atomically(resolve_inside(out, "summary.json")) as aside:
        write_json(aside, summary)
        files = ["attribution.npz", "graph.npz", *(f"{name}.csv" for name in tables)]
        write_digests(out, {**compute_digests(out, files), "summary.json": digest_file(aside)})


def load_evidence(folder: str | Path) -> Evidence:
    """Read what ``explain_run`` wrote: ``RUN/explanations/seed0``.

    Raises:
        ExplainError: missing, unfinished, damaged, or of other predictions than the run has now.
    """
    folder = Path(folder)
    attribution, scores = load_attribution(folder / "attribution.npz"), {}
    if not (folder / "summary.json").is_file():
        raise ExplainError(f"{folder} holds an explanation that is not finished: run 'stagkit explain' again.")
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
    """A few sentences: how complete the explanations are, the largest regions, and how often each control holds."""
    attribution = evidence.attribution
    complete = int((attribution.relative_delta <= MAX_DELTA).sum())
    text = (
        f"{len(attribution)} test clips explained by {attribution.method} against {attribution.baseline}; {complete} are "
        f"complete within {MAX_DELTA:.0%} (median convergence delta {np.median(attribution.relative_delta):.2%} of the "
        "logit difference). "
    )
    if "roi" in attribution.axes.split():
        names = [attribution.roi_names[i] for i in np.argsort(-np.abs(by_roi(attribution)).mean(0))[:3]]
        text += f"The regions with the largest attributions on average: {', '.join(names)}. "
    held = evidence.count_checks()
    if not held:
        return text + "No control was run on these explanations."
    return text + "Controls hold: " + ", ".join(f"{n} {sum(v)}/{len(v)}" for n, v in held.items()) + "."
