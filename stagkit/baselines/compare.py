"""Comparison of STAG with other systems on the same clips, folds and seeds; each row is an ordinary run in ``OUT/NAME``.

Every system is trained for a number of epochs fixed beforehand, on the training part of each fold. After every epoch it also
predicts the sealed test clips, which shows afterwards how optimistic selecting the epoch on them would be: part of no score.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np

from stagkit.baselines import SYSTEMS, Schedule, System, choose_systems, fit_network, predict
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import Progress, load_arrays, lock_folder, no_progress, resolve_inside, write_json
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.evaluation.bootstrap import compute_mean, describe_caveat
from stagkit.evaluation.compare_runs import compare_runs
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import check_seeds, resolve_paths, run_request
from stagkit.evaluation.fold import Compute, describe_fit, fit_stag, make_seed
from stagkit.evaluation.leakage import collect_leak
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run, check_place
from stagkit.evaluation.sealed import SealedInputs, Trained
from stagkit.evaluation.splits import make_folds
from stagkit.explain.ground_truth import compute_pointing_chance, score_mass, score_pointing

#: Name of the reference system.
STAG = "stag"
_STAG = System(STAG, "STAG", "regions", "arXiv:2606.28083")
#: Views in which zero is 'no motion', so that a decision can be attributed to regions of the face.
EXPLAINED = ("regions", "time_series", "face", "mesti", "dynamic")
N_STEPS = 16  # of integrated gradients


def list_systems() -> str:
    """Every system with its view and its source, as text."""
    rows = [
        ("name", "reads", "system", "source"),
        *((s.name, s.view, s.title, s.source) for s in (_STAG, *SYSTEMS.values())),
    ]
    return "\n".join("{:<18}{:<13}{:<34}{}".format(*row).rstrip() for row in rows)


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
        views: the clips as each system sees them (``inputs.make_views``).
        out: folder; an interrupted comparison resumes.
        systems: names of ``baselines.SYSTEMS`` or ``stag``; empty: all that the data allow.
        stag_config, train_config, protocol, n_folds, device, workers, data_path, progress: as for ``evaluate.evaluate``.
        seeds: how many, or which; deterministic systems are run once.
        epochs: replaces each system's own number (a trial; the table says so).
        explain: attribute the decisions of the first seed to regions and score them against the ground truth.

    Returns:
        What ``comparison.json`` holds; ``systems``: name -> row.
    """
    out, data = Path(out), views["regions"]
    defaults = choose_settings(data, protocol, stag_config, train_config)
    chosen, numbers = check_systems(systems, views), check_seeds(seeds)
    check_place(out, "comparison", (STAG, "views", *SYSTEMS))
    folds = make_folds(data, protocol, n_folds)
    compute = Compute("processes", device, workers)
    common = {"protocol": protocol, "data": dict(data.meta), "data_path": resolve_paths(data_path)}
    common |= {"classes": list(data.classes), "explain": explain, "n_folds": len(folds)}
    runs: dict[str, Run] = {}
    with lock_folder(out):
        for system in chosen:
            name = STAG if system is None else system.name
            request = common | make_request(system, defaults.stag, defaults.train, numbers, epochs)
            view = data if system is None else views[system.view]
            fit = partial(fit_system, None if system is None else name)
            runs[name] = run_request(view, resolve_inside(out, name), request, folds, compute, progress, fit)
        rows = {name: describe_system(SYSTEMS.get(name), run, runs.get(STAG)) for name, run in runs.items()}
        if data.unit == "map":
            for row in rows.values():
                row["uses"] = ""  # the apex was chosen for all alike, when the maps were made
        metrics = next(iter(runs.values())).metrics
        result = {k: metrics[k] for k in ("protocol", "n_clips", "n_subjects", "n_folds", "classes", "device")}
        result |= {"seeds": numbers, "epochs": epochs, "datasets": sorted(set(data.datasets)), "unit": data.unit}
        missing = [] if systems else [name for name, system in SYSTEMS.items() if system.view not in views]
        reason = "reads the images of a clip, and these data have none"
        result |= {"systems": rows, "left_out": dict.fromkeys(missing, reason)}
        if explain:
            result["explanation"] = score_explanations(runs, data, rows)
        shown = [row["uf1"]["ci95"] for row in rows.values()]
        shown += [row["minus_stag"]["uf1"]["ci95"] for row in rows.values() if "minus_stag" in row]
        result["caveat"] = describe_caveat(result["n_subjects"], *shown)
        write_json(resolve_inside(out, "comparison.json"), result)
    return result


def check_systems(names: Sequence[str], views: Mapping[str, RoiDataset]) -> tuple[System | None, ...]:
    """The systems asked for, in the order of the table, STAG (None) first; all that the data allow without names."""
    others = [n for n in names if n != STAG]
    found = choose_systems(others) if others or not names else ()
    for system in found:
        if names and system.view not in views:
            raise StagkitError(
                f"{system.name} reads the images of a clip ({system.view}), which these data do not have: published flow "
                "maps have none; for prepared clips of a data set, say where it lies (--source NAME=ROOT)."
            )
    return ((None,) if not names or STAG in names else ()) + tuple(s for s in found if s.view in views)


def make_request(
    system: System | None, stag_config: StagConfig, train_config: TrainConfig, seeds: list[int], epochs: int | None
) -> dict[str, object]:
    """The part of ``run.json`` that differs between systems (None: STAG)."""
    if system is None:
        train = train_config.replace(epochs=epochs) if epochs else train_config
        return {"model": STAG, "seeds": seeds, "stag": stag_config.to_dict(), "train": train.to_dict()}
    if system.schedule is None:  # deterministic
        schedule, seeds = {}, seeds[:1]
    else:
        schedule = asdict(system.schedule) | ({"epochs": epochs} if epochs else {})
    train = TrainConfig().replace(epochs=schedule.get("epochs", 1)).to_dict()
    return {"model": system.name, "seeds": seeds, "train": train, "schedule": schedule, "view": system.view}


def fit_system(
    name, run: Run, train: RoiDataset, inputs: SealedInputs, seed: int, number: int, device: str, checkpoint=None
) -> Trained:
    """Train one system (None: STAG) on a training part and predict the sealed clips; ``evaluation.fold.Fit``.

    ``arrays``: ``leak``, the classes predicted after each epoch, int8 "epoch clip"; ``map``, of ``explain_clips``.
    """
    system = None if name is None else SYSTEMS[name]
    if system is None:
        trained = fit_stag(run, train, inputs, seed, number, device, checkpoint)
    elif system.schedule is None:
        return _fit_classifier(system, train, inputs, make_seed(seed, number))
    else:
        predictions, started, schedule = [], time.perf_counter(), Schedule(**run.request["schedule"])

        def on_epoch_end(epoch, loss, model) -> None:
            predictions.append(predict(model, inputs).argmax(1).astype(np.int8))

        model = fit_network(system.build, schedule, train, make_seed(seed, number), device, on_epoch_end)
        record = {"train_seconds": round(time.perf_counter() - started, 3), **describe_fit(model, train, inputs)}
        probability, leak = predict(model, inputs), {"leak": {"predictions": np.stack(predictions)}}
        trained = Trained(lambda _: probability, schedule.epochs, "fixed beforehand", record, model, arrays=leak)
    arrays = trained.arrays
    if run.request["explain"] and seed == run.request["seeds"][0] and (system or _STAG).view in EXPLAINED:
        arrays = {**arrays, "map": {"maps": explain_clips(trained.model, inputs)}}
    return replace(trained, model=trained.model if system is None else None, arrays=arrays)


def _fit_classifier(system: System, train: RoiDataset, inputs: SealedInputs, seed: int) -> Trained:
    started = time.perf_counter()
    predict_clips = system.fit(train, seed)
    record = {"n_train": len(train), "n_test": len(inputs), "parameters": 0, "multiply_adds": 0}
    record["train_seconds"] = round(time.perf_counter() - started, 3)
    probability, started = predict_clips(inputs), time.perf_counter()
    predict_clips(inputs)
    record["inference_ms_per_clip"] = 1000 * (time.perf_counter() - started) / max(len(inputs), 1)
    return Trained(lambda _: probability, None, "settings fixed beforehand", record)


def explain_clips(model, clips: RoiDataset | SealedInputs) -> np.ndarray:
    """Integrated gradients of the predicted class against no motion, summed per region: float32 "clip roi", logits.

    A map of the face is summed inside the squares of the regions (``inputs.gather_regions``). No label takes part.
    """
    import torch
    from captum.attr import IntegratedGradients

    from stagkit.baselines.inputs import gather_regions

    device, maps, method = next(model.parameters()).device, [], IntegratedGradients(model.logits)
    for i in range(len(clips)):
        batch = clips.batch(np.array([i])).to(device)
        x, given = batch.x * batch.mask[..., None, None, None], (batch.mask, batch.times_ms)
        with torch.no_grad():
            target = int(model.logits(x, *given).argmax(1))
        settings = {"target": target, "n_steps": N_STEPS, "method": "riemann_middle"}
        values = method.attribute(x, additional_forward_args=given, **settings)[0].sum(2).detach().cpu().numpy()
        face = values.shape[1] == 1  # "time roi py px"
        maps.append(gather_regions(values[:, 0]).sum(0) if face else values.sum((0, 2, 3)))
    return np.stack(maps).astype(np.float32) if maps else np.zeros((0, 0), np.float32)


def describe_system(system: System | None, run: Run, stag: Run | None) -> dict[str, object]:
    """One row of the comparison without its explanations; ``stag``: STAG's run, if it takes part."""
    from stagkit.baselines.published import find_published

    cost = run.metrics["cost"]
    learns, known = system is None or system.schedule is not None, system or _STAG
    row: dict[str, object] = {
        **{k: getattr(known, k) for k in ("title", "source", "view", "uses")},
        "seeds": run.request["seeds"],
        "epochs": run.request["train"]["epochs"] if learns else None,
        **{s: {k: run.metrics[s][k] for k in ("mean", "std", "ci95")} for s in SCORES},
        "per_dataset": {k: {s: v[s]["mean"] for s in SCORES} for k, v in run.metrics["per_dataset"].items()},
        "seconds": run.metrics["seconds"],
        **{k: cost[k] if learns else None for k in ("parameters", "multiply_adds")},
        **{k: cost[k] for k in ("train_seconds", "train_seconds_per_fold")},
        "ms_per_clip": cost["inference_ms_per_clip"],
        "published": find_published(known.published) if known.published else [],
    }
    if stag is not None and system is not None:
        paired = compare_runs(run, stag)
        row["minus_stag"] = {s: {k: paired[s][k] for k in ("difference", "ci95")} for s in SCORES}
    if learns:
        leak = collect_leak(run)
        row["leak"] = {"optimistic": leak["mean"]["best_test_epoch"], "optimism": leak["optimism"]}
        row["leak"] |= {"permuted": leak["mean"]["permuted_best_test_epoch"], "warning": leak["warning"]}
    return row


def score_explanations(runs: Mapping[str, Run], data: RoiDataset, rows: dict) -> dict[str, object] | None:
    """Agreement of each system's maps with ground truth (or annotated AUs), written into ``rows`` as ``explanation``.

    Returns the scores of random pointing and of the largest motion; None without ground truth.
    """
    from stagkit.explain.methods import compute_flow_magnitude
    from stagkit.explain.run import find_ground_truth

    truth, subjects = find_ground_truth(data, range(len(data))), list(data.subjects)
    if truth is None:
        return None

    def summarize(values: np.ndarray) -> dict[str, float | None]:
        mean = compute_mean(values, subjects)._asdict()
        return {k: None if isinstance(v, float) and np.isnan(v) else v for k, v in mean.items()}

    def score(maps: np.ndarray) -> dict[str, dict]:
        return {"pointing": summarize(score_pointing(maps, truth)), "mass": summarize(score_mass(maps, truth))}

    for name, run in runs.items():
        maps = _collect_maps(run, data)
        rows[name]["explanation"] = None if maps is None else score(maps[:, None])
    return {
        "truth": "annotated AUs" if np.isnan(truth.peak_ms).all() else "known motion",
        "method": f"integrated gradients, {N_STEPS} steps, against no motion; first seed",
        "chance": summarize(compute_pointing_chance(truth)),
        "flow_magnitude": score(compute_flow_magnitude(data.batch())),
    }


def _collect_maps(run: Run, data: RoiDataset) -> np.ndarray | None:
    """Maps of every clip, float "clip roi"; None if any clip has none."""
    seed, maps = run.request["seeds"][0], None
    for fold in range(len(run.split)):
        name = f"folds/{run.stem(seed, fold)}_map.npz"
        if not (run.path / name).is_file():
            return None
        values = load_arrays(run.find(name))["maps"]
        maps = np.full((len(data), values.shape[1]), np.nan) if maps is None else maps
        maps[run.test_index(data, seed, fold)] = values
    return None if maps is None or np.isnan(maps).any() else maps
