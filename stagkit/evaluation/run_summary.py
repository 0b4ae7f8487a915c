"""What a finished run says of itself: the contents of ``metrics.json``, its tables, and how they are told."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.metrics import SCORES, compute_groups, compute_report

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.core.types import RoiDataset
    from stagkit.evaluation.run import Run
    from stagkit.evaluation.sealed import Fold


def compute_run_report(
    run: Run, data: RoiDataset, folds: Sequence[Fold], device: str, missing: dict[str, tuple[str, ...]]
) -> dict[str, object]:
    """The scores of all finished folds, pooled, with what they cost and how they were come by.

    Args:
        run: every fold of it is done.
        data: the clips that were evaluated.
        folds: in order.
        device: where it ran.
        missing: folds that lack a class in training (``splits.find_missing_classes``).
    """
    table, records, request = run.collect(), run.collect_records(), run.request
    report = {
        "protocol": request["protocol"],
        "model": request["model"],
        "n_clips": len(data),
        "n_subjects": len(set(data.subjects)),
        "n_folds": len(folds),
        "seeds": request["seeds"],
        **compute_report(table, data.classes),
        "classes": list(data.classes),
        "epoch_selection": _say_epochs(run),
        "epochs": _summarise([r["epoch"] for r in records]),
        "device": device,
        "subject_disjoint": all(fold.subject_disjoint for fold in folds),
        "classes_missing_in_train": {name: list(classes) for name, classes in missing.items()},
        "calibration": _calibrate(table, data.classes),
        "cost": _compute_cost(records),
    }
    if request["protocol"] == "cross":
        pair = table["fold"].map({i: fold.name for i, fold in enumerate(folds)})
        report["per_pair"] = compute_groups(table, data.classes, pair)
    if request["protocol"] == "official":
        part = dict(zip(zip(data.subjects, data.clip_ids, strict=True), data.parts, strict=True))
        of = [part[key] for key in zip(table["subject"], table["clip"], strict=True)]
        report["per_part"] = compute_groups(table, data.classes, of)
    aus = run.collect("_au")
    if aus is not None:
        report["au_detection"] = _detect(aus)
    return report


def _say_epochs(run: Run) -> str:
    config = run.train_config
    if config.epoch_selection == "fixed":
        return f"fixed beforehand ({config.epochs} epochs); no test clip took part"
    then = "then trained again on all training clips" if config.refit else "who were not trained on"
    return (
        f"chosen by held-out training subjects ({config.validation_fraction:.0%}, at most {config.epochs} epochs), {then}; "
        "no test clip took part"
    )


def _summarise(values: Sequence[float]) -> dict[str, float] | None:
    known = [v for v in values if v is not None]
    return {"min": min(known), "median": float(np.median(known)), "max": max(known)} if known else None


def _compute_cost(records: Sequence[dict]) -> dict[str, float] | None:
    """Work of one clip and one fold, and seconds of all folds together; None for folds of an older stagkit."""
    if not records:
        return None
    seconds = [r["train_seconds"] for r in records]
    return {
        "parameters": records[0]["parameters"],
        "multiply_adds": records[0]["multiply_adds"],
        "train_seconds": round(float(np.sum(seconds)), 2),
        "train_seconds_per_fold": round(float(np.median(seconds)), 3),
        "inference_ms_per_clip": float(np.median([r["inference_ms_per_clip"] for r in records])),
    }


def _calibrate(table: pd.DataFrame, classes: Sequence[str]) -> dict[str, object]:
    from stagkit.evaluation.calibration import compute_calibration

    label = table["label"].map(list(classes).index).to_numpy()
    return compute_calibration(table[[f"p_{c}" for c in classes]].to_numpy(), label)


def _detect(aus: pd.DataFrame) -> dict[str, object]:
    from stagkit.evaluation.au_detection import compute_au_report

    seeds, said = [part for _, part in aus.groupby("seed")], [f"p_{label}" for label in AU_LABELS]
    return compute_au_report(
        [part[list(AU_LABELS)].to_numpy() for part in seeds],
        [part[said].to_numpy() for part in seeds],
        [part["subject"].to_numpy().astype(str) for part in seeds],
    )


def compute_run_tables(run: Run, metrics: dict) -> dict[str, pd.DataFrame]:
    """Tables that stand beside the scores: name -> table."""
    import pandas as pd

    from stagkit.evaluation.calibration import tabulate_subjects

    return {"subjects": tabulate_subjects(run.collect()), "calibration": pd.DataFrame(metrics["calibration"]["bins"])}


def collect_leak(run: Run) -> dict[str, object]:
    """What choosing the epoch on the test clips would have claimed: the whole of ``leak.json``."""
    from stagkit.evaluation.leakage import LEAK_WARNING, compute_leak

    table, classes = run.collect(), run.request["classes"]
    label = table["label"].map(classes.index).to_numpy()
    per_seed = {}
    for seed in run.request["seeds"]:
        at = [((table["seed"] == seed) & (table["fold"] == i)).to_numpy() for i in range(len(run.split))]
        answers = [run.load_epoch_predictions(seed, i) for i in range(len(at))]
        per_seed[str(seed)] = compute_leak([label[a] for a in at], answers, len(classes), seed)
    first = next(iter(per_seed.values()))
    mean = {kind: {s: float(np.mean([p[kind][s] for p in per_seed.values()])) for s in SCORES} for kind in first}
    optimism = {s: mean["best_test_epoch"][s] - mean["last_epoch"][s] for s in SCORES}
    return {
        "warning": LEAK_WARNING,
        "rule": "best <= test accuracy, per fold",
        "mean": mean,
        "optimism": optimism,
        "per_seed": per_seed,
    }


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def format_metrics(metrics: dict) -> str:
    """The scores of a run as a small table with intervals and baselines."""
    lines = [
        f"{metrics['model']} · {metrics['protocol']} · {metrics['n_clips']} clips, {metrics['n_subjects']} subjects, "
        f"{metrics['n_folds']} folds, {len(metrics['seeds'])} seed(s) · {metrics['seconds']} s on {metrics['device']}",
    ]
    rows = {"all": metrics}
    if len(metrics["per_dataset"]) > 1:
        rows |= metrics["per_dataset"]
    rows |= metrics.get("per_pair", {}) | metrics.get("per_part", {})
    reference = metrics.get("comparison", {})
    if reference:
        rows = {metrics["protocol"]: metrics, "stratifiedkfold": reference["stratifiedkfold"]}
    width = max(12, *(len(name) + 2 for name in (*rows, *metrics["baselines"])))
    lines.append(f"{'':<{width}}{'UF1':>7}{'UAR':>7}{'ACC':>7}   95 % interval of UF1 over subjects")
    for name, row in rows.items():
        scores = "".join(f"{row[s]['mean']:7.3f}" for s in SCORES)
        low, high = row["uf1"]["ci95"]
        lines.append(f"{name:<{width}}{scores}   {low:.3f} .. {high:.3f}")
    for name, row in metrics["baselines"].items():
        interval = "   {:.3f} .. {:.3f}".format(*row["ci95"]["uf1"]) if "ci95" in row else ""
        lines.append(f"{name:<{width}}" + "".join(f"{row[s]:7.3f}" for s in SCORES) + interval)
    lines += [f"caution ({names}): {caveat}" for names, caveat in _group_caveats(rows).items()]
    if reference:
        lines.append(reference["reason"])
    aus = metrics.get("au_detection")
    if aus and aus["mean_auroc"] is not None:
        lines.append(describe_au_detection(aus))
    cost = metrics.get("cost")
    if cost:
        lines.append(
            f"{cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:.2f} M multiply-adds and "
            f"{cost['inference_ms_per_clip']:.1f} ms a clip; {cost['train_seconds_per_fold']:.1f} s of training a fold; "
            f"calibration error {metrics['calibration']['ece']:.3f}"
        )
    return "\n".join(lines)


def find_caveat(row: dict) -> str:
    """The caveat of scores; of a run of an older stagkit, from its numbers."""
    known = row.get("caveat")
    intervals = [row[s]["ci95"] for s in SCORES]
    return describe_caveat(row["n_subjects"], *intervals) if known is None and "n_subjects" in row else known or ""


def list_cautions(metrics: dict) -> dict[str, str]:
    """Caveats of the intervals of a run: names of the rows (``all``, data sets, pairs, parts) that share one -> words."""
    rows = {"all": metrics, **(metrics["per_dataset"] if len(metrics["per_dataset"]) > 1 else {})}
    rows |= metrics.get("per_pair", {}) | metrics.get("per_part", {})
    return _group_caveats(rows)


def _group_caveats(rows: dict[str, dict]) -> dict[str, str]:
    names: dict[str, list[str]] = {}
    for name, row in rows.items():
        names.setdefault(find_caveat(row), []).append(name)
    return {", ".join(of): caveat for caveat, of in names.items() if caveat}


def describe_au_detection(aus: dict) -> str:
    """Detection of action units in one sentence, with its interval where it is known."""
    low, high = aus.get("ci95", {}).get("mean_auroc", (None, None))
    interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
    caveat = f"; caution: {aus['caveat']}" if aus.get("caveat") else ""
    return (
        f"action units: AUROC {aus['mean_auroc']:.3f}{interval}, F1 {aus['mean_f1']:.3f} "
        f"(means over {aus['n_aus']} AUs, {aus['n_coded']} coded clips{caveat})"
    )


def format_leak(leak: dict) -> str:
    """The leak demonstration in words; never part of the scores."""
    words = {
        "last_epoch": "honest",
        "best_test_epoch": "best test epoch of each fold",
        "best_common_epoch": "best common test epoch",
        "permuted_last_epoch": "shuffled labels, last epoch",
        "permuted_best_test_epoch": "shuffled labels, best test epoch",
    }
    lines = [f"LEAK DEMONSTRATION{'':<22}{'UF1':>7}{'UAR':>7}{'ACC':>7}"]
    for key, name in words.items():
        lines.append(f"  {name:<38}" + "".join(f"{leak['mean'][key][s]:7.3f}" for s in SCORES))
    return "\n".join([*lines, f"Warning: {leak['warning']}"])
