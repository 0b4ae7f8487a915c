"""What every part of STAG is worth: each switch alone, on the same folds and seeds, against the whole network.

```
OUT/
  ablation.json   what was asked, and every variant's scores and paired differences
  ablation.csv    the same as a table (``stagkit ablate`` adds ablation.tex)
  full/  graph-none/  ...    each an ordinary run: a killed ablation goes on where it stopped
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import (
    HOLDER,
    LOCK,
    TEMPORARY,
    Progress,
    lock_folder,
    no_progress,
    resolve_inside,
    write_json,
    write_table,
)
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.prepare import keep_apex
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.compare_runs import compare_runs, describe_interval
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run
from stagkit.synthetic.auxiliary import accepts_auxiliary_data

#: Name of the variant that everything is compared with.
FULL = "full"


@dataclass(frozen=True)
class Variant:
    """One line of the ablation table.

    Args:
        name: also its folder.
        what: in words, what is switched.
        stag, train: settings that differ from the whole network.
        frames: ``apex`` keeps one frame of each clip.
        needs: ``time`` (more than one frame), ``aus`` (coded clips in every data set), ``fused`` (coded clips, and an
            answer that could do without), ``maps`` (published flow maps) or ``branches`` (a network with both); '' always
            has a meaning.
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
    Variant("temporal-attention-off", "frames weigh alike", {"temporal_attention": False}, needs="time"),
    Variant("graph-gat", "GATv2 on the anatomy, no edge features", {"graph": "gat"}),
    Variant("graph-none", "no graph", {"graph": "none"}),
    Variant("connectivity-fixed", "anatomical edges only", {"connectivity": "fixed"}),
    Variant("connectivity-learned", "learned edges, not AU-guided", {"connectivity": "learned"}),
    Variant("branch-graph", "graph branch only", {"branches": "graph"}),
    Variant("branch-both", "graph and time branch", {"branches": "both"}),
    Variant("branch-time", "time branch only", {"branches": "time"}),
    Variant("cross-one-way", "regions query frames only", {"cross_attention": "one-way"}, needs="branches"),
    Variant("cross-none", "no cross-attention", {"cross_attention": "none"}, needs="branches"),
    Variant("head-graph", "the answer comes from action units alone", {"head": "graph"}, needs="aus"),
    Variant("head-fused", "the answer comes from regions and frames too", {"head": "fused"}),
    Variant("loss-ce", "plain cross entropy", train={"loss": "ce"}),
    Variant("au-loss-off", "no AU supervision", train={"au_weight": 0.0}, needs="fused"),
    Variant("edge-entropy-off", "edges need not be sparse", train={"edge_entropy": 0.0}),
    Variant("mirror-off", "no mirrored clips", train={"mirror": False}),
    Variant("scale-jitter-off", "no stronger or weaker clips", train={"scale_jitter": 0.0}),
    Variant("noise-off", "no noise", train={"noise": 0.0}),
    Variant("region-dropout-off", "no hidden regions", train={"region_dropout": 0.0}),
    Variant("label-smoothing-off", "labels taken as certain", train={"label_smoothing": 0.0}),
    Variant("region-jitter", "regions cut a little beside their place", train={"region_jitter": 0.2}),
    Variant("intra-class-mixup", "clips mixed within their class", train={"intra_class_mixup": 1.0}),
    Variant("auxiliary-maps", "phantom maps beside real ones", train={"auxiliary_weight": 0.3}, needs="maps"),
    Variant("auxiliary-maps-off", "real maps alone", train={"auxiliary_weight": 0.0}, needs="maps"),
    Variant("time-warp", "faster and slower clips", train={"time_warp": 0.2}, needs="time"),
    Variant("frame-dropout", "hidden frames", train={"frame_dropout": 0.15}, needs="time"),
)


def choose_variants(
    data: RoiDataset, stag_config: StagConfig, train_config: TrainConfig, only: Sequence[str] = ()
) -> tuple[Variant, ...]:
    """The variants that mean something here: not those that are what the network is already, nor those without a subject.

    Args:
        data: T = 1 has no time to switch off; uncoded clips have no AU supervision.
        stag_config, train_config: the whole network.
        only: names wanted; the whole network always comes with them.

    Raises:
        StagkitError: a name that is no variant.
    """
    names = [v.name for v in VARIANTS]
    unknown = sorted(set(only) - set(names))
    if unknown:
        raise StagkitError(f"there is no variant {', '.join(unknown)}; there are {', '.join(names)}.")
    coded, of = (~np.isnan(data.aus)).any(1), np.asarray(data.datasets)
    has = {"": True, "time": data.x.shape[1] > 1, "maps": accepts_auxiliary_data(data)}
    has["aus"] = all(coded[of == name].any() for name in set(data.datasets))
    has["fused"] = coded.any() and stag_config.head == "fused"
    has["branches"] = stag_config.branches == "both"

    def differs(v: Variant) -> bool:
        changed = stag_config.replace(**v.stag) != stag_config or train_config.replace(**v.train) != train_config
        return changed or v.frames != "all"

    wanted = [v for v in VARIANTS if not only or v.name in (FULL, *only)]
    return tuple(v for v in wanted if v.name == FULL or (has[v.needs] and differs(v)))


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
        data: the clips.
        out: folder of the runs; an interrupted ablation is gone on with.
        stag_config, train_config: the whole network; None: as for ``folds.evaluate``.
        only: names of ``VARIANTS``; all that apply where empty.
        others: the same clips prepared otherwise (e.g. another selection of frames): name -> (data, where it lies).
        data_path: where ``data`` lies.
        progress: wraps the folds of each variant.
        **settings: as for ``folds.evaluate``: protocol, n_folds, seeds, device, workers.

    Returns:
        What ``ablation.json`` holds: ``variants``: name -> ``what``, scores, ``difference`` from the whole network with
        ``ci95``, parameters, seconds.

    Raises:
        StagkitError: as ``evaluate``; a name of ``others`` that is a variant's.
    """
    out, others = Path(out), dict(others or {})
    defaults = choose_settings(data, settings.get("protocol", "loso"), stag_config, train_config)
    stag_config, train_config = defaults.stag, defaults.train
    chosen = choose_variants(data, stag_config, train_config, only)
    clash = sorted(set(others) & {v.name for v in VARIANTS})
    if clash:
        raise StagkitError(f"{clash[0]} is a variant already: give the other preparation another name.")
    _check_place(out)
    with lock_folder(out):
        return _ablate(data, out, stag_config, train_config, chosen, others, data_path, progress, settings)


def _check_place(out: Path) -> None:
    """Check that a folder is new, empty, an ablation, or left by a command that was killed while it started."""
    other = [p for p in out.iterdir() if p.name not in (LOCK, HOLDER)] if out.is_dir() else []
    if any(not p.name.startswith(TEMPORARY) for p in other) and not (out / FULL).is_dir():
        raise StagkitError(f"{out} is not empty and holds no ablation: give an empty or a new folder.")


def _ablate(data, out: Path, stag_config, train_config, chosen, others, data_path, progress, settings) -> dict:
    runs: dict[str, tuple[str, Run]] = {}
    for variant in chosen:
        seen = keep_apex(data) if variant.frames == "apex" else data
        configs = stag_config.replace(**variant.stag), train_config.replace(**variant.train)
        run = evaluate(
            seen, resolve_inside(out, variant.name), *configs, data_path=data_path, progress=progress, **settings
        )
        runs[variant.name] = (variant.what, run)
    for name, (seen, path) in others.items():
        place = resolve_inside(out, name)
        run = evaluate(seen, place, stag_config, train_config, data_path=path, progress=progress, **settings)
        runs[name] = ("the same clips, prepared otherwise", run)
    result = {
        "full": FULL,
        "variants": {name: _describe(what, run, runs[FULL][1]) for name, (what, run) in runs.items()},
    }
    metrics = runs[FULL][1].metrics
    result |= {k: metrics[k] for k in ("protocol", "n_clips", "n_subjects", "n_folds", "seeds")}
    paired = [row["difference"]["uf1"]["ci95"] for row in result["variants"].values() if "difference" in row]
    result["caveat"] = describe_caveat(result["n_subjects"], metrics["uf1"]["ci95"], *paired)
    save_ablation(result, out)
    return result


def _describe(what: str, run: Run, full: Run) -> dict[str, object]:
    scores = {s: {k: run.metrics[s][k] for k in ("mean", "std", "ci95")} for s in SCORES}
    cost = run.metrics["cost"] or {}
    row = {"what": what, **scores, **{k: cost.get(k) for k in ("parameters", "multiply_adds", "train_seconds")}}
    row["au_auroc"] = (run.metrics.get("au_detection") or {}).get("mean_auroc")
    if run.path != full.path:
        paired = compare_runs(run, full)
        row["difference"] = {s: paired[s] for s in SCORES}
        row["notes"] = paired["notes"]
    return row


def save_ablation(result: dict[str, object], out: str | Path) -> None:
    """Write ``ablation.json`` and ``ablation.csv``."""
    import pandas as pd

    rows = []
    for name, row in result["variants"].items():
        flat = {
            "variant": name,
            "what": row["what"],
            **{s: row[s]["mean"] for s in SCORES},
            "uf1_std": row["uf1"]["std"],
            "au_auroc": row["au_auroc"],
        }
        for s, paired in row.get("difference", {}).items():
            low, high = paired["ci95"]
            flat |= {f"d_{s}": paired["difference"], f"d_{s}_low": low, f"d_{s}_high": high}
        rows.append({**flat, "parameters": row["parameters"], "train_seconds": row["train_seconds"]})
    write_table(resolve_inside(out, "ablation.csv"), pd.DataFrame(rows), ".5f")
    write_json(resolve_inside(out, "ablation.json"), result)


def format_ablation(result: dict[str, object]) -> str:
    """The table for the screen."""
    lines = [
        f"{result['protocol']} · {result['n_clips']} clips, {result['n_subjects']} subjects, {result['n_folds']} folds, "
        f"{len(result['seeds'])} seed(s); differences from the whole network, paired over subjects",
        f"{'':<24}{'UF1':>7}{'UAR':>7}{'ACC':>7}   difference of UF1, 95 % interval   parameters",
    ]
    for name, row in result["variants"].items():
        scores = "".join(f"{row[s]['mean']:7.3f}" for s in SCORES)
        paired = row.get("difference", {}).get("uf1")
        told = describe_interval(paired) if paired else ""
        size = f"{row['parameters']:,}" if row["parameters"] else ""
        lines.append(f"{name:<24}{scores}   {told:<34}{size:>10}")
    if result.get("caveat"):
        lines.append(f"caution: {result['caveat']}")
    return "\n".join(lines)
