"""Explain a finished run: every test clip by the network that never saw its subject, with controls and graphs, on disk.

Written to ``RUN/explanations/seed0/``: ``attribution.npz``, ``graph.npz``, tables (``_TABLES``), ``digests.json`` and, last,
``summary.json``. Finished folds are kept in ``parts/`` until then, so that an interrupted explanation resumes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import combinations
from pathlib import Path

import numpy as np
import torch

from stagkit.core import files
from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.types import Batch, GraphTerms, RoiDataset, StagkitError, StagOutput
from stagkit.datasets.tables import read_table, write_table
from stagkit.evaluation.bootstrap import compute_mean, describe_caveat
from stagkit.evaluation.run import Run, RunError
from stagkit.explain.aggregate import MAX_DELTA, Attribution, ExplainError, by_roi, describe_clip, tabulate
from stagkit.explain.attribution import (
    attribute_completely,
    choose_method,
    join_attributions,
    load_attribution,
    save_attribution,
)
from stagkit.explain.class_means import compute_class_evidence
from stagkit.explain.evidence import Evidence, make_evidence
from stagkit.explain.exact_terms import get_region_edges, name_region_edges
from stagkit.explain.ground_truth import GroundTruth, compute_annotated_truth, compute_ground_truth
from stagkit.network.model import Stag
from stagkit.synthetic.dataset import find_phantoms

FOLDER = "explanations"

#: Every table that an explanation may have; those that a new one does not write are removed.
_TABLES = (
    *("clips", "controls", "by_class", "by_roi", "by_muscle", "by_au", "by_side", "by_frame", "by_edge", "by_au_edge"),
)

_CLIPS = ("logits", "flow", "mask", "times_ms", "label", "clip_ids", "subjects")
_OUTPUTS = ("logits", "au_logits", "edges", "au_edges", "time_weights")
#: What the logits are the sum of (``GraphTerms``), with this prefix; terms of region edges are summed over the frames.
_TERMS = ("au_edges", "aus", "partners", "region_edges", "without", "au_terms", "imputed")
#: Attention of the last layer: name in ``graph.npz`` -> pattern of the names in ``StagOutput.attention``, name when read.
_ATTENTION = {
    "attention": (r"graph\.\d+", "graph.0"),
    "roi_from_frame": (r"cross\.\d+\.roi_from_frame", "cross.0.roi_from_frame"),
    "frame_from_roi": (r"cross\.\d+\.frame_from_roi", "cross.0.frame_from_roi"),
}


@contextmanager
def hold_explanations(path: str | Path, seed: int) -> Iterator[tuple[Run, Path]]:
    """Lock the explanations of one seed for this process: the run and its folder ``explanations/seedN``."""
    run = Run.load(path, evidence=True)
    if seed not in run.request["seeds"]:
        raise ExplainError(f"{path} has the seeds {run.request['seeds']}, not {seed}.")
    out = files.resolve_inside(run.path, f"{FOLDER}/seed{seed}")
    with files.lock_folder(out):
        yield run, out


def explain_run(
    path: str | Path,
    clips: Sequence[str] | None = None,
    seed: int = 0,
    n_steps: int = 32,
    progress: files.Progress = files.no_progress,
    method: str | None = None,
    controls: bool = True,
) -> tuple[Evidence, Path]:
    """Attribute the predicted class of every test clip by the network of its own fold, run the controls, write both.

    Clips that are not complete within ``MAX_DELTA`` are repeated with more steps; those that still are not are listed.
    Phantoms are scored by their known motion, other clips by their annotated AUs.

    Args:
        path: a finished run; clips: ids, all if None; seed: which seed's networks.
        method: for ``attribute`` (None: ``choose_method``); it has to give a map over regions or frames.
        controls: False leaves them out; figures are then marked 'no control'.

    Returns:
        The evidence (without scores if there are no controls) and the folder written.

    Raises:
        RunError: no finished run, its data is missing, or a network was trained on the clip that it is to explain.
        ExplainError: no such seed or clip. StagkitError: another process explains the same seed.
    """
    with hold_explanations(path, seed) as (run, out):
        data, method = run.load_data(), (method or choose_method(run.stag_config)).replace("_", " ")
        asked = {
            "method": method,
            "n_steps": n_steps,
            "controls": controls,
            "clips": sorted(set(clips or data.clip_ids)),
        }
        digest = files.compute_digest(json.dumps({**asked, "run": run.metrics}, sort_keys=True, default=str).encode())
        files.remove_temporary(out)
        folder = files.resolve_inside(run.path, f"{FOLDER}/seed{seed}/parts")  # refused if it is a link out of the run
        parts, graphs, order, folds = [], [], [], []
        for fold, index in _test_folds(run, data, seed, clips, progress):
            kept = files.resolve_inside(out, f"parts/{digest}_fold{fold:03d}.npz")
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
        graph |= {
            "flow": data.x[order].mean((-1, -2)).astype(np.float16),
            "mask": data.mask[order],
            "times_ms": data.times_ms[order],
            "label": data.label[order],
            "clip_ids": np.array([data.clip_ids[i] for i in order]),
            "subjects": np.array([data.subjects[i] for i in order]),
            "classes": np.array(data.classes),
            "region_edges": get_region_edges(Stag(run.stag_config, len(data.classes))).astype(np.int16),
        }
        asked |= {"seed": seed, "folds": folds, "predictions": files.digest_file(run.find("predictions.csv"))}
        _write(whole, [data.subjects[i] for i in order], asked, out, graph)
        for part in folder.iterdir():
            if re.fullmatch(r"[0-9a-f]{16}_fold\d+(_more)?\.npz", part.name) and not part.is_symlink():
                part.unlink()
        with suppress(OSError):  # other files are not removed
            folder.rmdir()
        return whole, out


def _test_folds(
    run: Run, data: RoiDataset, seed: int, clips: Sequence[str] | None, progress: files.Progress
) -> Iterator[tuple[int, list[int]]]:
    """Number and test clips of each fold, some clips only if given; checked to be unseen by its network."""
    wanted = set(clips or data.clip_ids)
    unknown = sorted(wanted - set(data.clip_ids))
    if unknown:
        raise ExplainError(f"the run has no clip {', '.join(unknown[:5])}; its first is {data.clip_ids[0]!r}.")
    for fold in progress(range(len(run.split)), len(run.split)):
        index = [int(i) for i in run.test_index(data, seed, fold) if data.clip_ids[i] in wanted]
        if index:
            run.check_unseen(seed, fold, [data.clip_ids[i] for i in index], data.clip_ids)
            yield fold, index


def compute_run_attribution(run: Run, seed: int = 0, n_steps: int = 32, method: str | None = None) -> Attribution:
    """Attribution of a run's test clips, each by the network of its own fold; nothing is written."""
    data = run.load_data()
    folds = _test_folds(run, data, seed, None, files.no_progress)
    parts = ((run.load_model(seed, fold), data.batch(index)) for fold, index in folds)
    return join_attributions([attribute_completely(*part, n_steps, run.name, method) for part in parts])


def find_ground_truth(data: RoiDataset, index: Sequence[int]) -> GroundTruth | None:
    """The truth of clips: known for phantoms, annotated AUs elsewhere, None without either."""
    phantoms = find_phantoms(data.meta)
    if phantoms is not None:
        return compute_ground_truth([phantoms.read(data.clip_ids[i], render=False) for i in index])
    aus = data.aus[list(index)]
    if np.isnan(aus).all():
        return None
    return compute_annotated_truth(aus, [data.clip_ids[i] for i in index])


def _read_graph(model, batch: Batch) -> dict[str, np.ndarray]:
    """Outputs, terms and last attention of a network for some clips, float16."""
    with torch.no_grad():
        output = model(batch.x, batch.mask, batch.times_ms)
    found = {name: getattr(output, name) for name in _OUTPUTS}
    for stored, (pattern, _) in _ATTENTION.items():
        names = sorted(name for name in output.attention if re.fullmatch(pattern, name))
        found[stored] = output.attention[names[-1]] if names else None
    if output.terms is not None:
        found |= {f"terms_{name}": getattr(output.terms, name) for name in _TERMS}
        found["terms_region_edges"] = output.terms.region_edges.sum(1, keepdim=True)
    return {name: value.numpy().astype(np.float16) for name, value in found.items() if value is not None}


def load_graphs(path: str | Path) -> tuple[StagOutput, Batch]:
    """Read ``graph.npz`` as an output and its batch (a region's patch is its mean motion); ``RunError`` if damaged.

    Values have three digits; ``terms.region_edges`` are summed over the frames ("clip 1 cls edge").
    """
    path = Path(path)
    if not path.is_file():
        raise RunError(f"there is no file {path}: run 'stagkit explain' first.")
    try:
        arrays = files.load_arrays(files.check_digest(path.parent, path.name, files.read_digests(path.parent)))
        missing = {*_CLIPS, "classes"} - set(arrays)
        if missing or len({len(arrays[name]) for name in _CLIPS}) > 1:
            raise StagkitError(f"{path} lacks arrays, or their lengths differ.")
    except StagkitError as error:
        raise RunError(f"{path} is damaged: run 'stagkit explain' again.") from error

    def tensor(name: str):
        return torch.from_numpy(arrays[name].astype(np.float32)) if name in arrays else None

    def names(name: str) -> tuple[str, ...]:
        return tuple(map(str, arrays[name]))

    terms = {name: tensor(f"terms_{name}") for name in _TERMS}
    if terms["imputed"] is not None:
        terms["imputed"] = terms["imputed"] > 0
    output = StagOutput(
        **{name: tensor(name) for name in _OUTPUTS},
        attention={name: tensor(stored) for stored, (_, name) in _ATTENTION.items() if stored in arrays},
        terms=GraphTerms(**terms) if "terms_aus" in arrays else None,
    )
    batch = Batch(
        x=tensor("flow")[..., None, None],
        mask=torch.from_numpy(arrays["mask"]),
        times_ms=tensor("times_ms"),
        label=torch.from_numpy(arrays["label"]),
        aus=torch.full((len(arrays["label"]), len(AU_NUMBERS)), float("nan")),
        clip_ids=names("clip_ids"),
        subjects=names("subjects"),
        classes=names("classes"),
    )
    return output, batch


def _save_part(evidence: Evidence, graph: dict[str, np.ndarray], path: Path) -> None:
    more = {f"score_{name}": values for name, values in evidence.scores.items()}
    with files.write_atomically(path.with_name(f"{path.stem}_more.npz")) as aside:
        np.savez(aside, **more, **{f"graph_{name}": values for name, values in graph.items()})
    save_attribution(evidence.attribution, path)


def _load_part(path: Path) -> tuple[Evidence, dict[str, np.ndarray]] | None:
    """A fold that was finished before; None if it was not, or is damaged."""
    try:
        attribution, more = load_attribution(path), files.load_arrays(path.with_name(f"{path.stem}_more.npz"))
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
    if "terms_aus" in graph:
        clips, index = np.arange(len(attribution)), pd.Index(attribution.clip_ids, name="clip")
        edges = graph["terms_region_edges"][clips, 0, attribution.target].astype(float)
        pairs = graph["terms_au_edges"][clips, attribution.target][:, *np.triu_indices(len(AU_LABELS), 1)].astype(float)
        tables["by_edge"] = pd.DataFrame(edges, index, name_region_edges(graph["region_edges"]))
        tables["by_au_edge"] = pd.DataFrame(pairs, index, [f"{a} - {b}" for a, b in combinations(AU_LABELS, 2)])
    if evidence.scores:
        tables["controls"] = pd.DataFrame(evidence.scores, pd.Index(attribution.clip_ids, name="clip"))
        tables["controls"]["passed"] = [evidence.passed(i) for i in range(len(evidence))]
    for name in ("summary.json", *(f"{name}.csv" for name in _TABLES if name not in tables)):
        files.resolve_inside(out, name).unlink(missing_ok=True)
    for name, table in tables.items():
        table = table if name == "by_class" else table.reset_index()
        write_table(files.resolve_inside(out, f"{name}.csv"), table, ".6g")
    save_attribution(attribution, files.resolve_inside(out, "attribution.npz"))
    with files.write_atomically(files.resolve_inside(out, "graph.npz")) as aside:
        np.savez_compressed(aside, **graph)
    complete, n_subjects = attribution.relative_delta <= MAX_DELTA, len(set(subjects))
    means = {name: compute_mean(values, subjects)._asdict() for name, values in evidence.scores.items()}
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
        "scores": {name: {k: None if np.isnan(v) else v for k, v in row.items()} for name, row in means.items()},
        "controls_held": {
            name: {"clips": len(held), "share": float(np.mean(held))} for name, held in evidence.count_checks().items()
        },
    }
    if not evidence.scores:
        summary["control"] = "none: these attributions have not been tested against controls"
    with files.write_atomically(files.resolve_inside(out, "summary.json")) as aside:
        files.write_json(aside, summary)
        written = ["attribution.npz", "graph.npz", *(f"{name}.csv" for name in tables)]
        files.write_digests(out, {**files.compute_digests(out, written), "summary.json": files.digest_file(aside)})


def load_evidence(folder: str | Path) -> Evidence:
    """Read what ``explain_run`` wrote; ``ExplainError`` if unfinished, damaged, or of other predictions than the run's."""
    folder = Path(folder)
    attribution, scores = load_attribution(folder / "attribution.npz"), {}
    if not (folder / "summary.json").is_file():
        raise ExplainError(f"{folder} holds an explanation that is not finished: run 'stagkit explain' again.")
    try:
        digests = files.read_digests(folder)
        summary = files.read_json(files.check_digest(folder, "summary.json", digests))
        predictions = folder.parent.parent / "predictions.csv"
        if predictions.is_file() and summary.get("predictions", "") not in ("", files.digest_file(predictions)):
            raise ExplainError(f"{folder} explains other predictions than the run's: run 'stagkit explain' again.")
        path = files.check_digest(folder, "controls.csv", digests)
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
    attribution, miss = evidence.attribution, evidence.attribution.relative_delta
    text = (
        f"{len(miss)} test clips explained by {attribution.method} against {attribution.baseline}; "
        f"{(miss <= MAX_DELTA).sum()} are complete within {MAX_DELTA:.0%} (median convergence delta {np.median(miss):.2%} "
        "of the logit difference). "
    )
    if "roi" in attribution.axes.split():
        names = [attribution.roi_names[i] for i in np.argsort(-np.abs(by_roi(attribution)).mean(0))[:3]]
        text += f"The regions with the largest attributions on average: {', '.join(names)}. "
    held = evidence.count_checks()
    if not held:
        return text + "No control was run on these explanations."
    return text + "Controls hold: " + ", ".join(f"{n} {sum(v)}/{len(v)}" for n, v in held.items()) + "."
