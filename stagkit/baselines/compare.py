"""STAG and the systems of the field on the same clips, the same sealed folds and the same seeds.

```
OUT/
  views/               the clips as the systems see them, made once
  stag/  ststnet/ ...  each an ordinary run: a killed comparison goes on where it stopped
  comparison.json      every row: scores, intervals, paired difference, what a leak would claim, costs, explanations
  comparison.csv  comparison.tex  comparison.html   the same as a table
```
Every system is trained for a number of epochs that was fixed beforehand (STAG: as its settings say), on the training part of
each fold alone. While it trains, it answers the test clips, whose labels it does not have, after every epoch; when all
is over, these answers tell what choosing the epoch on the test clips would have claimed. That number stands beside the
honest one as a warning and is part of no score.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from stagkit.baselines import SYSTEMS, System, choose_systems, fit_network, predict
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import (
    HOLDER,
    LOCK,
    TEMPORARY,
    Progress,
    load_arrays,
    lock_folder,
    no_progress,
    remove_temporary,
    resolve_inside,
    write_json,
)
from stagkit.core.parallel import run_in_processes
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.compare_runs import compare_runs
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.fold import describe_place
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run, check_place
from stagkit.evaluation.run_summary import collect_leak, compute_run_report, compute_run_tables
from stagkit.evaluation.sealed import Fold, SealedInputs, Trained, Unblinding, fit_and_predict
from stagkit.evaluation.splits import find_missing_classes, make_folds
from stagkit.explain.ground_truth import compute_pointing_chance, score_mass, score_pointing

#: Name of the system that all others are compared with.
STAG = "stag"
#: Views in which zero is 'no motion', so that a decision can be laid out over the regions of the face.
EXPLAINED = ("regions", "course", "face", "mesti", "dynamic")
N_STEPS = 16  # of integrated gradients


def list_systems() -> str:
    """Every system with its view and its source, for the screen."""
    lines = [f"{'name':<18}{'reads':<10}{'system':<34}source", f"{STAG:<18}{'regions':<10}{'STAG':<34}arXiv:2606.28083"]
    for name, system in SYSTEMS.items():
        lines.append(f"{name:<18}{system.view:<10}{system.title:<34}{system.source}".rstrip())
    return "\n".join(lines)


def compare_systems(
    views: Mapping[str, RoiDataset],
    out: str | Path,
    systems: Sequence[str] = (),
    stag_config: StagConfig | None = None,
    train_config: TrainConfig | None = None,
    protocol: str = "loso",
    n_folds: int = 10,
    seeds: int | Sequence[int] = 1,
    epochs: int | None = None,
    device: str = "auto",
    workers: int | None = None,
    data_path: str | Path | Sequence[str | Path] = "",
    explain: bool = True,
    progress: Progress = no_progress,
) -> dict[str, object]:
    """Train and test every system on the same folds, and write the comparison.

    Args:
        views: the clips as each system sees them (``views.make_views``).
        out: folder; an interrupted comparison goes on.
        systems: names of ``baselines.SYSTEMS`` or ``stag``; all that the data allow where empty.
        stag_config, train_config: STAG and its training; None: as for ``folds.evaluate``.
        protocol, n_folds: as for ``splits.make_folds``.
        seeds: how many, or which; systems without chance are run once.
        epochs: in place of each system's own number (a trial; the table says so).
        device: ``auto``, ``cpu``, ``cuda``...
        workers: processes of one thread on a CPU; all cores where None.
        data_path: where the clips came from.
        explain: lay out the decisions of the first seed over the regions, and score them by what was planted.
        progress: wraps the finished folds of each system.

    Returns:
        What ``comparison.json`` holds; ``systems``: name -> row.

    Raises:
        StagkitError: an unknown system, one whose view these data do not have, a folder that holds other work.
    """
    from stagkit.evaluation.evaluate import _check_seeds
    from stagkit.training.train import choose_device

    out, data = Path(out), views["regions"]
    defaults = choose_settings(data, protocol, stag_config, train_config)
    chosen = check_systems(systems, views)
    found = {p.name for p in out.iterdir() if p.name not in (LOCK, HOLDER)} if out.is_dir() else set()
    if any(not name.startswith(TEMPORARY) for name in found) and not found & {STAG, "views", *SYSTEMS}:
        raise StagkitError(f"{out} is not empty and holds no comparison: give an empty or a new folder.")
    folds, numbers, where = make_folds(data, protocol, n_folds), _check_seeds(seeds), str(choose_device(device))
    rows, runs = {}, {}
    with lock_folder(out):
        for system in chosen:
            name = STAG if system is None else system.name
            request = make_request(system, data, defaults.stag, defaults.train, protocol, numbers, epochs, explain)
            request["data_path"] = _absolute(data_path)
            seen = data if system is None else views[system.view]
            runs[name] = _run_system(
                system, seen, data, folds, resolve_inside(out, name), request, where, workers, progress
            )
        for system in chosen:
            name = STAG if system is None else system.name
            rows[name] = describe_system(system, runs[name], runs.get(STAG))
            if data.unit == "map":
                rows[name]["uses"] = ""  # the apex was chosen for all alike, when the maps were made
        metrics = next(iter(runs.values())).metrics
        result = {k: metrics[k] for k in ("protocol", "n_clips", "n_subjects", "n_folds", "classes", "device")}
        result |= {"seeds": numbers, "epochs": epochs, "datasets": sorted(set(data.datasets))}
        result |= {"unit": data.unit, "systems": rows, "left_out": describe_left_out(systems, views)}
        if explain:
            result["explanation"] = score_explanations(runs, data, rows)
        shown = [row["uf1"]["ci95"] for row in rows.values()]
        shown += [row["minus_stag"]["uf1"]["ci95"] for row in rows.values() if "minus_stag" in row]
        result["caveat"] = describe_caveat(result["n_subjects"], *shown)
        write_json(resolve_inside(out, "comparison.json"), result)
    return result


def check_systems(names: Sequence[str], views: Mapping[str, RoiDataset]) -> tuple[System | None, ...]:
    """The systems asked for, in the order of the table, STAG (None) first.

    Raises:
        StagkitError: an unknown one, or one asked for by name whose view the data do not have.
    """
    others = [n for n in names if n != STAG]
    found = choose_systems(others) if others or not names else ()
    for system in found:
        if names and system.view not in views:
            raise StagkitError(
                f"{system.name} reads the pictures of a clip ({system.view}), which these data do not have: published flow "
                "maps have none; for prepared clips of a data set, say where it lies (--source NAME=ROOT)."
            )
    return ((None,) if not names or STAG in names else ()) + tuple(s for s in found if s.view in views)


def describe_left_out(names: Sequence[str], views: Mapping[str, RoiDataset]) -> dict[str, str]:
    """Systems that these data do not allow, with the reason: name -> words."""
    if names:
        return {}
    why = "reads the pictures of a clip, and these data have none"
    return {name: why for name, system in SYSTEMS.items() if system.view not in views}


def make_request(
    system: System | None,
    data: RoiDataset,
    stag_config: StagConfig,
    train_config: TrainConfig,
    protocol: str,
    seeds: list[int],
    epochs: int | None,
    explain: bool,
) -> dict[str, object]:
    """What ``run.json`` keeps of a system's run; for STAG that of any evaluation.

    Args:
        system: None is STAG.
        data: the clips as prepared.
        stag_config, train_config: of STAG.
        protocol, seeds, epochs, explain: as for ``compare_systems``.
    """
    common = {"protocol": protocol, "data": dict(data.meta), "classes": list(data.classes), "explain": explain}
    if system is None:
        train = train_config.replace(epochs=epochs) if epochs else train_config
        return {"model": STAG, "seeds": seeds, "stag": stag_config.to_dict(), "train": train.to_dict(), **common}
    schedule = (
        {} if system.schedule is None else {**system.schedule.to_dict(), **({"epochs": epochs} if epochs else {})}
    )
    return {
        "model": system.name,
        "seeds": seeds if system.schedule is not None else seeds[:1],
        "train": TrainConfig().replace(epochs=schedule.get("epochs", 1)).to_dict(),
        "schedule": schedule,
        "view": system.view,
        **common,
    }


def _absolute(path) -> str | list[str]:
    if isinstance(path, (str, Path)):
        return str(Path(path).resolve()) if path else ""
    return [str(Path(p).resolve()) for p in path]


def _run_system(system, seen, data, folds, path, request, device, workers, progress) -> Run:
    """All folds of one system, an ordinary run; finished folds are kept."""
    whole = {**request, "n_folds": len(folds)}
    check_place(path)
    if (path / "metrics.json").is_file():  # finished: nothing is written
        return Run.start(path, whole, folds, data, device)
    with lock_folder(path):
        run = Run.start(path, whole, folds, data, device)
        return run if run.is_finished else _finish(system, seen, data, folds, run, device, workers, progress)


def _finish(system, seen, data, folds, run: Run, device, workers, progress) -> Run:
    request = run.request
    remove_temporary(run.path)
    run.drop_damaged_folds()
    run.check_backend("sequential", device)
    todo = [(seed, i) for seed in request["seeds"] for i in range(len(folds)) if not run.is_done(seed, i)]
    started = time.perf_counter()
    for _ in progress(_work(system, seen, folds, run, todo, device, workers), len(todo)):
        pass
    metrics = compute_run_report(run, data, folds, device, find_missing_classes(data, folds))
    if system is not None and system.schedule is None:
        metrics["epoch_selection"] = "no epochs: settings fixed beforehand; no test clip took part"
    metrics["seconds"] = round(time.perf_counter() - started, 1)
    run.finish(metrics, compute_run_tables(run, metrics))
    return run


def _work(system, seen, folds, run, todo, device, workers):
    name = None if system is None else system.name
    pieces = (partial(_run_fold, name, seen, folds[i], run, seed, i, device) for seed, i in todo)
    n = 1 if device != "cpu" else workers or os.cpu_count() or 1
    for keep in run_in_processes(pieces, n):  # workers return what they trained: only this process writes the run
        yield keep.save(run)


@dataclass(frozen=True)
class _Result:
    """What the run of a system keeps of a fold."""

    seed: int
    number: int
    unblinding: Unblinding
    record: dict
    kept: dict

    def save(self, run: Run) -> str:
        run.log_unblinding(self.seed, self.number, self.unblinding, self.record)
        run.save_fold(self.seed, self.number, **self.kept)
        return self.unblinding.fold


def fit_system(
    name: str | None, run: Run, known: RoiDataset, inputs: SealedInputs, seed: int, device: str = "cpu"
) -> tuple[Trained, np.ndarray | None]:
    """Train one system on a training part, and answer the sealed clips.

    Args:
        name: of a system; None is STAG.
        run: what was asked for.
        known: the training clips.
        inputs: the test clips without answers.
        seed: of everything random.
        device: where to train.

    Returns:
        What the seal wants, and the classes answered after each epoch, int8 "epoch clip" (None without epochs).
    """
    from stagkit.network.cost import compute_cost, measure_inference

    started, answers = time.perf_counter(), []
    record = {"n_train": len(known), "n_test": len(inputs)}
    system = None if name is None else SYSTEMS[name]

    def on_epoch_end(epoch, model) -> None:
        answers.append(predict(model, inputs).argmax(1).astype(np.int8))

    if system is not None and system.schedule is None:
        answer = system.fit(known, seed)
        record |= {"train_seconds": round(time.perf_counter() - started, 3), "parameters": 0, "multiply_adds": 0}
        probability, started = answer(inputs), time.perf_counter()
        answer(inputs)
        spent = 1000 * (time.perf_counter() - started) / max(len(inputs), 1)
        return Trained(
            lambda _: probability, None, "settings fixed beforehand", record | {"inference_ms_per_clip": spent}
        ), None
    if system is None:
        from stagkit.synthetic.auxiliary import make_auxiliary
        from stagkit.training.epoch_selection import fit_network as fit_stag

        auxiliary = make_auxiliary(known, run.train_config)
        settings = (run.stag_config, run.train_config, seed, device)
        model, epochs, selected_by, more = fit_stag(known, *settings, on_epoch_end, auxiliary=auxiliary)
        record |= more
    else:
        from stagkit.baselines import Schedule

        schedule = Schedule(**run.request["schedule"])
        model, epochs, selected_by = (
            fit_network(system.build, schedule, known, seed, device, on_epoch_end),
            schedule.epochs,
            "fixed beforehand",
        )
    record["train_seconds"] = round(time.perf_counter() - started, 3)
    record |= {"inference_ms_per_clip": round(measure_inference(model, inputs), 3), **compute_cost(model, inputs)}
    probability = predict(model, inputs)
    return Trained(lambda _: probability, epochs, selected_by, record, model), np.stack(
        answers or [probability.argmax(1)]
    )


def _run_fold(name: str | None, seen: RoiDataset, fold: Fold, run: Run, seed: int, number: int, device: str) -> _Result:
    """Train, answer, open the test part once."""
    import pandas as pd
    import torch

    if device == "cpu":
        torch.set_num_threads(1)
    kept = []

    def fit(known: RoiDataset, inputs: SealedInputs) -> Trained:
        trained, answers = fit_system(name, run, known, inputs, seed * 100_003 + number, device)
        view = "regions" if name is None else SYSTEMS[name].view
        wanted = run.request["explain"] and seed == run.request["seeds"][0]
        maps = (
            explain_clips(trained.model, inputs) if wanted and trained.model is not None and view in EXPLAINED else None
        )
        kept.extend((answers, maps))
        return trained

    fold = fold.copy()
    test, probability, trained = fit_and_predict(seen, fold, fit)
    answers, maps = kept
    rows = {
        "seed": seed,
        "fold": number,
        "dataset": [seen.datasets[j] for j in test],
        "subject": [seen.subjects[j] for j in test],
        "clip": [seen.clip_ids[j] for j in test],
        "label": [seen.classes[seen.label[j]] for j in test],
        "prediction": [seen.classes[k] for k in probability.argmax(1)],
        **{f"p_{c}": probability[:, k].astype(float).round(6) for k, c in enumerate(seen.classes)},
    }
    kept = {"rows": pd.DataFrame(rows), "model": trained.model if name is None else None, "answers": answers}
    kept["maps"] = None if maps is None else {"test": test, "maps": maps}
    return _Result(seed, number, fold.unblinding, {**trained.record, **describe_place(device)}, kept)


def explain_clips(model, clips: RoiDataset | SealedInputs) -> np.ndarray:
    """Integrated gradients of the predicted class against no motion, summed over each region: float32 "clip roi", logits.

    A map of the face is summed inside the squares of the regions (``views.gather_regions``). No label takes part.

    Args:
        model: in evaluation mode.
        clips: as the model sees them.
    """
    import torch

    from stagkit.baselines.inputs import gather_regions

    device, maps = next(model.parameters()).device, []
    points = (np.arange(N_STEPS) + 0.5) / N_STEPS
    for i in range(len(clips)):
        batch = clips.batch(np.array([i])).to(device)
        x = batch.x * batch.mask[..., None, None, None]
        share = torch.as_tensor(points, dtype=x.dtype, device=device)[:, None, None, None, None, None]
        steps = (share * x).requires_grad_()
        n = len(points)
        mask, times = batch.mask.expand(n, -1, -1), batch.times_ms.expand(n, -1)
        with torch.no_grad():
            target = int(model.logits(x, batch.mask, batch.times_ms).argmax(1))
        (slope,) = torch.autograd.grad(model.logits(steps, mask, times)[:, target].sum(), steps)
        values = (slope.mean(0) * x[0]).sum(2).detach().cpu().numpy()  # "time roi py px"
        face = values.shape[1] == 1
        maps.append(gather_regions(values[:, 0]).sum(0) if face else values.sum((0, 2, 3)))
    return np.stack(maps).astype(np.float32) if maps else np.zeros((0, 0), np.float32)


def describe_system(system: System | None, run: Run, stag: Run | None) -> dict[str, object]:
    """One row of the comparison, all but its explanations.

    Args:
        system: None is STAG.
        run: finished.
        stag: STAG's run, if it takes part.
    """
    from stagkit.baselines.published import find_published

    cost = run.metrics["cost"] or {}
    row: dict[str, object] = {
        "title": "STAG" if system is None else system.title,
        "source": "arXiv:2606.28083" if system is None else system.source,
        "view": "regions" if system is None else system.view,
        "uses": "" if system is None else system.uses,
        "seeds": run.request["seeds"],
        "epochs": run.request["train"]["epochs"] if system is None or system.schedule else None,
        **{s: {k: run.metrics[s][k] for k in ("mean", "std", "ci95")} for s in SCORES},
        "per_dataset": {k: {s: v[s]["mean"] for s in SCORES} for k, v in run.metrics["per_dataset"].items()},
        "seconds": run.metrics["seconds"],
        **{k: cost.get(k) for k in ("parameters", "multiply_adds", "train_seconds", "train_seconds_per_fold")},
        "ms_per_clip": cost.get("inference_ms_per_clip"),
        "published": find_published(system.published) if system is not None and system.published else [],
    }
    if system is not None and system.schedule is None:
        row |= {"parameters": None, "multiply_adds": None}
    if stag is not None and system is not None:
        paired = compare_runs(run, stag)
        row["minus_stag"] = {s: {k: paired[s][k] for k in ("difference", "ci95")} for s in SCORES}
    if system is None or system.schedule is not None:
        leak = collect_leak(run)
        row["leak"] = {
            "optimistic": leak["mean"]["best_test_epoch"],
            "optimism": leak["optimism"],
            "warning": leak["warning"],
        }
        row["leak"]["permuted"] = leak["mean"]["permuted_best_test_epoch"]
    return row


def score_explanations(runs: Mapping[str, Run], data: RoiDataset, rows: dict) -> dict[str, object] | None:
    """Whether each system looks where something was planted (or annotated); written into ``rows`` as ``explanation``.

    Args:
        runs: name -> finished run.
        data: the clips as prepared.
        rows: name -> row, changed.

    Returns:
        What pointing at random and at the largest motion would score; None where nothing is known of the clips.
    """
    from stagkit.evaluation.bootstrap import compute_mean
    from stagkit.explain.reference_maps import compute_flow_magnitude
    from stagkit.explain.run import find_ground_truth

    truth, subjects = find_ground_truth(data, range(len(data))), list(data.subjects)
    if truth is None:
        return None

    def told(values: np.ndarray) -> dict[str, float]:
        return {
            k: None if isinstance(v, float) and np.isnan(v) else v
            for k, v in compute_mean(values, subjects)._asdict().items()
        }

    for name, run in runs.items():
        maps = _collect_maps(run, len(data))
        if maps is None:
            rows[name]["explanation"] = None
            continue
        scores = {"pointing": score_pointing(maps[:, None], truth), "mass": score_mass(maps[:, None], truth)}
        rows[name]["explanation"] = {k: told(v) for k, v in scores.items()}
    motion = compute_flow_magnitude(data.batch())
    kind = "annotated AUs" if np.isnan(truth.peak_ms).all() else "planted"
    return {
        "truth": kind,
        "method": f"integrated gradients, {N_STEPS} steps, against no motion; first seed",
        "chance": told(compute_pointing_chance(truth)),
        "flow_magnitude": {"pointing": told(score_pointing(motion, truth)), "mass": told(score_mass(motion, truth))},
    }


def _collect_maps(run: Run, n_clips: int) -> np.ndarray | None:
    """Maps of every clip, float "clip roi"; None where there are none."""
    seed, parts = run.request["seeds"][0], []
    for fold in range(len(run.split)):
        name = f"folds/{run.stem(seed, fold)}_map.npz"
        if not (run.path / name).is_file():
            return None
        found = load_arrays(run.find(name))
        parts.append((found["test"], found["maps"]))
    maps = np.full((n_clips, parts[0][1].shape[1]), np.nan)
    for test, values in parts:
        maps[test] = values
    return None if np.isnan(maps).any() else maps
