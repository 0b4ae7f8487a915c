"""Ablation: each switch of STAG alone, on the same folds and seeds, compared with the whole network.

Each variant is an ordinary run in ``OUT/NAME``; the results are ``ablation.json`` and ``ablation.csv``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import Progress, lock_folder, no_progress, resolve_inside, write_json
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.prepare import keep_apex
from stagkit.datasets.tables import write_table
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.compare_runs import compare_runs, describe_interval
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run, check_place
from stagkit.synthetic.auxiliary import takes_phantom_maps

#: Name of the variant that all others are compared with.
FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One row of the ablation table: ``what`` differs from the whole network, by which settings.

    ``frames``: ``apex`` keeps one frame of each clip. ``needs``: ``time`` (more than one frame), ``branches`` (both),
    ``aus`` (coded clips in every data set, or phantoms that teach AUs), ``codes`` (coded clips in every data set, or a
    prediction that does not need AUs), ``fused`` (known AUs that the prediction does not need), ``graph`` (a prediction by
    the AU graph), ``maps`` (published flow maps), ``clips`` (motion in % of IOD).
    """

    name: str
    what: str
    stag: Mapping[str, object] = field(default_factory=dict)
    train: Mapping[str, object] = field(default_factory=dict)
    frames: str = "all"
    needs: str = ""


#: Every switch of the network and of its training, in the order of the table.
VARIANTS = (
    Variant(FULL, "the whole network"),
    Variant("apex-only", "one frame, onset to apex (T = 1)", frames="apex", needs="time"),
    Variant("temporal-attention-off", "all frames have equal weight", {"temporal_attention": False}, needs="time"),
    Variant("graph-none", "no edge between different regions", {"graph": "none"}),
    Variant("branch-graph", "graph branch only", {"branches": "graph"}),
    Variant("branch-both", "graph and time branch", {"branches": "both"}),
    Variant("branch-time", "time branch only", {"branches": "time"}),
    Variant("cross-one-way", "regions query frames only", {"cross_attention": "one-way"}, needs="branches"),
    Variant("cross-none", "no cross-attention", {"cross_attention": "none"}, needs="branches"),
    Variant("head-graph", "the AU graph alone predicts", {"head": "graph"}, needs="aus"),
    Variant("head-fused", "the prediction also uses regions and frames", {"head": "fused"}),
    Variant("fused-gat", "fused head, attention on the anatomy alone", {"head": "fused", "graph": "gat"}),
    Variant("fused-graph-none", "fused head, no edge between regions", {"head": "fused", "graph": "none"}),
    Variant("loss-ce", "plain cross entropy", train={"loss": "ce"}),
    Variant("au-loss-off", "no AU supervision", train={"au_weight": 0.0}, needs="fused"),
    Variant("sparsity-off", "AU edges need not be sparse", train={"sparsity": 0.0}, needs="graph"),
    Variant("mirror-off", "no mirrored clips", train={"mirror": False}),
    Variant("scale-jitter-off", "no stronger or weaker clips", train={"scale_jitter": 0.0}),
    Variant("noise-off", "no noise", train={"noise": 0.0}),
    Variant("region-dropout-off", "no hidden regions", train={"region_dropout": 0.0}),
    Variant("label-smoothing-off", "labels taken as certain", train={"label_smoothing": 0.0}),
    Variant("auxiliary-maps", "phantom maps as auxiliary data", train={"auxiliary_weight": 0.3}, needs="maps"),
    Variant("auxiliary-clips", "phantom clips also teach AUs", train={"auxiliary_weight": 1.0}, needs="clips"),
    Variant("auxiliary-off", "no phantoms as auxiliary data", train={"auxiliary_weight": 0.0}, needs="codes"),
)


def choose_variants(
    data: RoiDataset, stag_config: StagConfig, train_config: TrainConfig, only: Sequence[str] = ()
) -> tuple[Variant, ...]:
    """The variants named in ``only`` (empty: all) that apply to these clips; the whole network is always first."""
    names = [v.name for v in VARIANTS]
    if unknown := sorted(set(only) - set(names)):
        raise StagkitError(f"there is no variant {', '.join(unknown)}; there are {', '.join(names)}.")
    coded, of = (~np.isnan(data.aus)).any(1), np.asarray(data.datasets)
    everywhere = all(coded[of == name].any() for name in set(data.datasets))
    phantoms, fused = train_config.auxiliary_weight > 0, stag_config.head == "fused"
    has = {"": True, "time": data.x.shape[1] > 1, "branches": stag_config.branches == "both", "graph": not fused}
    has |= {"aus": everywhere or phantoms, "codes": everywhere or fused, "fused": fused and (phantoms or coded.any())}
    has |= {"maps": takes_phantom_maps(data), "clips": data.unit == "% IOD"}
    chosen: dict[tuple, Variant] = {}  # what changes nothing, or the same as a variant before it, is left out
    for v in VARIANTS:
        if v.name == FULL or (has[v.needs] and (not only or v.name in only)):
            chosen.setdefault((stag_config.replace(**v.stag), train_config.replace(**v.train), v.frames), v)
    return tuple(chosen.values())


def ablate(
    data: RoiDataset,
    out: str | Path,
    stag_config: StagConfig | None = None,
    train_config: TrainConfig | None = None,
    only: Sequence[str] = (),
    others: Mapping[str, tuple[RoiDataset, str]] | None = None,
    data_path: str | Path | Sequence[str | Path] = "",
    progress: Progress = no_progress,
    **settings,
) -> dict[str, object]:
    """Evaluate every variant and compare it with the whole network.

    Args:
        out: folder of the runs; an interrupted ablation resumes.
        stag_config, train_config, data_path, progress, **settings: as for ``evaluate.evaluate``.
        only: names of ``VARIANTS``; empty: all that apply.
        others: the same clips prepared differently (e.g. another selection of frames): name -> (data, path).

    Returns:
        What ``ablation.json`` holds: ``variants``: name -> ``what``, scores, ``difference`` from the whole network with
        ``ci95``, parameters, seconds.
    """
    out, others = Path(out), dict(others or {})
    defaults = choose_settings(data, settings.get("protocol", "loso"), stag_config, train_config)
    stag, train = defaults.stag, defaults.train
    if clash := sorted(set(others) & {v.name for v in VARIANTS}):
        raise StagkitError(f"{clash[0]} is a variant already: give the other preparation another name.")
    work = {}  # name -> (what differs, clips, where they lie, settings)
    for v in choose_variants(data, stag, train, only):
        clips = keep_apex(data) if v.frames == "apex" else data
        work[v.name] = (v.what, clips, data_path, stag.replace(**v.stag), train.replace(**v.train))
    for name, (clips, path) in others.items():
        work[name] = ("the same clips, prepared differently", clips, path, stag, train)
    check_place(out, "ablation", (FULL,))
    runs: dict[str, Run] = {}
    with lock_folder(out):
        for name, (_, clips, path, *configs) in work.items():
            place = resolve_inside(out, name)
            runs[name] = evaluate(clips, place, *configs, data_path=path, progress=progress, **settings)
        rows = {name: _describe(work[name][0], run, runs[FULL]) for name, run in runs.items()}
        metrics, kept = runs[FULL].metrics, ("protocol", "n_clips", "n_subjects", "n_folds", "seeds")
        result = {"full": FULL, "variants": rows, **{k: metrics[k] for k in kept}}
        paired = [row["difference"]["uf1"]["ci95"] for row in rows.values() if "difference" in row]
        result["caveat"] = describe_caveat(result["n_subjects"], metrics["uf1"]["ci95"], *paired)
        _save(result, out)
    return result


def _describe(what: str, run: Run, full: Run) -> dict[str, object]:
    row = {"what": what, **{s: {k: run.metrics[s][k] for k in ("mean", "std", "ci95")} for s in SCORES}}
    row |= {k: run.metrics["cost"][k] for k in ("parameters", "multiply_adds", "train_seconds")}
    row["au_auroc"] = (run.metrics.get("au_detection") or {}).get("mean_auroc")
    if run.path != full.path:
        paired = compare_runs(run, full)
        row |= {"difference": {s: paired[s] for s in SCORES}, "notes": paired["notes"]}
    return row


def _save(result: dict[str, object], out: Path) -> None:
    import pandas as pd

    rows = []
    for name, row in result["variants"].items():
        flat = {"variant": name, "what": row["what"], **{s: row[s]["mean"] for s in SCORES}}
        flat |= {"uf1_std": row["uf1"]["std"], "au_auroc": row["au_auroc"]}
        for s, paired in row.get("difference", {}).items():
            low, high = paired["ci95"]
            flat |= {f"d_{s}": paired["difference"], f"d_{s}_low": low, f"d_{s}_high": high}
        rows.append({**flat, "parameters": row["parameters"], "train_seconds": row["train_seconds"]})
    write_table(resolve_inside(out, "ablation.csv"), pd.DataFrame(rows), ".5f")
    write_json(resolve_inside(out, "ablation.json"), result)


def format_ablation(result: dict[str, object]) -> str:
    """The table as text."""
    lines = [
        f"{result['protocol']} · {result['n_clips']} clips, {result['n_subjects']} subjects, {result['n_folds']} folds, "
        f"{len(result['seeds'])} seed(s); differences from the whole network, paired over subjects",
        f"{'':<24}{'UF1':>7}{'UAR':>7}{'ACC':>7}   difference of UF1, 95 % interval   parameters",
    ]
    for name, row in result["variants"].items():
        scores = "".join(f"{row[s]['mean']:7.3f}" for s in SCORES)
        paired = row.get("difference", {}).get("uf1")
        interval = describe_interval(paired) if paired else ""
        lines.append(f"{name:<24}{scores}   {interval:<34}{row['parameters']:>10,}")
    return "\n".join([*lines, *([f"caution: {result['caveat']}"] if result.get("caveat") else [])])
