"""Summary of a finished run: the contents of ``metrics.json``, its tables, and their text form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from stagkit.core.facs import AU_LABELS
from stagkit.evaluation.au_detection import compute_au_report
from stagkit.evaluation.metrics import SCORES, compute_calibration, compute_groups, compute_report

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.core.config import TrainConfig
    from stagkit.core.types import RoiDataset
    from stagkit.evaluation.run import Run
    from stagkit.evaluation.sealed import Fold


def compute_run_report(
    run: Run, data: RoiDataset, folds: Sequence[Fold], device: str, missing: dict[str, tuple[str, ...]]
) -> dict[str, object]:
    """The scores of all folds, pooled, with costs and provenance; ``missing``: ``splits.find_missing_classes``."""
    table, records, request = run.collect(), run.collect_records(), run.request
    label = table["label"].map(list(data.classes).index).to_numpy()
    epochs = [r["epoch"] for r in records if r["epoch"] is not None]
    seconds = [r["train_seconds"] for r in records]
    report = {
        "protocol": request["protocol"],
        "model": request["model"],
        "n_clips": len(data),
        "n_subjects": len(set(data.subjects)),
        "n_folds": len(folds),
        "seeds": request["seeds"],
        **compute_report(table, data.classes),
        "classes": list(data.classes),
        "epoch_selection": _describe_epochs(run.train_config, epochs),
        "epochs": {"min": min(epochs), "median": float(np.median(epochs)), "max": max(epochs)} if epochs else None,
        "device": device,
        "subject_disjoint": all(fold.subject_disjoint for fold in folds),
        "classes_missing_in_train": {name: list(classes) for name, classes in missing.items()},
        "calibration": compute_calibration(table[[f"p_{c}" for c in data.classes]].to_numpy(), label),
        "cost": {
            "parameters": records[0]["parameters"],
            "multiply_adds": records[0]["multiply_adds"],
            "train_seconds": round(float(np.sum(seconds)), 2),
            "train_seconds_per_fold": round(float(np.median(seconds)), 3),
            "inference_ms_per_clip": float(np.median([r["inference_ms_per_clip"] for r in records])),
        },
    }
    if request["protocol"] == "cross":
        pair = table["fold"].map({i: fold.name for i, fold in enumerate(folds)})
        report["per_pair"] = compute_groups(table, data.classes, pair)
    if request["protocol"] == "official":
        part = dict(zip(zip(data.subjects, data.clip_ids, strict=True), data.parts, strict=True))
        parts = [part[key] for key in zip(table["subject"], table["clip"], strict=True)]
        report["per_part"] = compute_groups(table, data.classes, parts)
    aus = run.collect("_au")
    if aus is not None:
        columns = [*AU_LABELS], [f"p_{label}" for label in AU_LABELS], "subject"
        parts = ([part[names].to_numpy() for _, part in aus.groupby("seed")] for names in columns)
        report["au_detection"] = compute_au_report(*parts)
    return report


def _describe_epochs(config: TrainConfig, epochs: Sequence[int]) -> str:
    if not epochs:
        return "no epochs: settings fixed beforehand; no test clip took part"
    if config.epoch_selection == "fixed":
        return f"fixed beforehand ({config.epochs} epochs); no test clip took part"
    then = "then trained again on all training clips" if config.refit else "who were not trained on"
    part = f"{config.validation_fraction:.0%}, at most {config.epochs} epochs"
    return f"chosen by held-out training subjects ({part}), {then}; no test clip took part"


def tabulate_subjects(table: pd.DataFrame) -> pd.DataFrame:
    """Accuracy per subject, the worst first, from a table of predictions.

    Columns: ``dataset, subject, n_clips, acc`` and, for each class, ``n_CLASS`` and ``right_CLASS`` (mean over seeds).
    """
    import pandas as pd

    n_seeds = table["seed"].nunique()
    right = table["label"] == table["prediction"]
    rows = []
    for (dataset, subject), part in table.groupby(["dataset", "subject"]):
        row = {"dataset": dataset, "subject": subject, "n_clips": len(part) // n_seeds, "acc": right[part.index].mean()}
        for c in sorted(table["label"].unique()):
            of_class = part["label"] == c
            row[f"n_{c}"] = int(of_class.sum()) // n_seeds
            row[f"right_{c}"] = float((right[part.index] & of_class).sum() / n_seeds)
        rows.append(row)
    return pd.DataFrame(rows).sort_values(["acc", "subject"], ignore_index=True)


def format_metrics(metrics: dict) -> str:
    """The scores of a run as a small table with intervals and baselines."""
    lines = [
        f"{metrics['model']} · {metrics['protocol']} · {metrics['n_clips']} clips, {metrics['n_subjects']} subjects, "
        f"{metrics['n_folds']} folds, {len(metrics['seeds'])} seed(s) · {metrics['seconds']} s on {metrics['device']}"
    ]
    rows, reference = _collect_rows(metrics), metrics.get("comparison", {})
    if reference:
        rows = {metrics["protocol"]: metrics, "stratifiedkfold": reference["stratifiedkfold"]}
    width = max(12, *(len(name) + 2 for name in (*rows, *metrics["baselines"])))
    lines.append(f"{'':<{width}}{'UF1':>7}{'UAR':>7}{'ACC':>7}   95 % interval of UF1 over subjects")
    for name, row in rows.items():
        scores = "".join(f"{row[s]['mean']:7.3f}" for s in SCORES)
        lines.append(f"{name:<{width}}{scores}   {{:.3f}} .. {{:.3f}}".format(*row["uf1"]["ci95"]))
    for name, row in metrics["baselines"].items():
        interval = "   {:.3f} .. {:.3f}".format(*row["ci95"]["uf1"]) if "ci95" in row else ""
        lines.append(f"{name:<{width}}" + "".join(f"{row[s]:7.3f}" for s in SCORES) + interval)
    lines += [f"caution ({names}): {caveat}" for names, caveat in _group_caveats(rows).items()]
    if reference:
        lines.append(reference["reason"])
    aus, cost = metrics.get("au_detection"), metrics["cost"]
    if aus and aus["mean_auroc"] is not None:
        lines.append(describe_au_detection(aus))
    lines.append(
        f"{cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:.2f} M multiply-adds and "
        f"{cost['inference_ms_per_clip']:.1f} ms per clip; {cost['train_seconds_per_fold']:.1f} s of training per fold; "
        f"calibration error {metrics['calibration']['ece']:.3f}"
    )
    return "\n".join(lines)


def _collect_rows(metrics: dict) -> dict[str, dict]:
    rows = {"all": metrics, **(metrics["per_dataset"] if len(metrics["per_dataset"]) > 1 else {})}
    return rows | metrics.get("per_pair", {}) | metrics.get("per_part", {})


def list_cautions(metrics: dict) -> dict[str, str]:
    """Caveats of the intervals of a run: names of the rows (``all``, data sets, pairs, parts) that share one -> text."""
    return _group_caveats(_collect_rows(metrics))


def _group_caveats(rows: dict[str, dict]) -> dict[str, str]:
    names: dict[str, list[str]] = {}
    for name, row in rows.items():
        names.setdefault(row.get("caveat", ""), []).append(name)
    return {", ".join(of): caveat for caveat, of in names.items() if caveat}


def describe_au_detection(aus: dict) -> str:
    """Detection of action units in one sentence."""
    low, high = aus["ci95"]["mean_auroc"]
    interval = "" if low is None else f" [{low:.3f}, {high:.3f}]"
    caveat = f"; caution: {aus['caveat']}" if aus["caveat"] else ""
    return (
        f"action units: AUROC {aus['mean_auroc']:.3f}{interval}, F1 {aus['mean_f1']:.3f} "
        f"(means over {aus['n_aus']} AUs, {aus['n_coded']} coded clips{caveat})"
    )
