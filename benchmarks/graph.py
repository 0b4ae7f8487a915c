"""What the graph does for the prediction: relations, a planted AU graph, occlusion, other edges, terms of edges.

    python benchmarks/graph.py --out FOLDER [--only PART ...] [--seeds 5] [--workers 2] [--quick] [--json FILE]
                               [--figure FILE.png] [--markdown benchmarks/results/graph.md]

relations   classes that only a relation of two action units (AUs) tells apart, with and without AU edges
synkinesis  AU pairs that are planted in phantoms, ranked by the AU graph: trained, untrained, trained on permuted labels
occlusion   phantoms of five presets with hidden regions: the graph, no edge between regions, the graph without imputation
structure   the same phantoms: other edges than the anatomical ones in training; edges removed from trained networks
edges       terms of edges: does their sum give the logits, how strong is the strongest, does its removal have that effect

Phantoms without images; test subjects are never training subjects. Settings are those of ``choose_settings``; nothing is
selected here. Each finished training is one JSON file in ``--out``: repeat the command to resume, and give another folder
after a change of the code. Intervals: 95 %, bootstrap over the test subjects, of the mean over seeds.
"""

import argparse
import json
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from graph_report import (
    draw_figure,
    format_edges,
    format_occlusion,
    format_relations,
    format_structure,
    format_synkinesis,
)
from graph_training import EDGES, OCCLUSION, PAIRS, SHARES, STRENGTHS, Training, make_data, make_edges, run_training
from recognition import describe_machine, make_marks, pair, score, write_markdown

from stagkit.core.files import read_json, write_json
from stagkit.core.parallel import run_in_processes
from stagkit.evaluation.au_detection import compute_au_report
from stagkit.evaluation.bootstrap import bootstrap, compute_mean
from stagkit.evaluation.metrics import compute_baselines
from stagkit.plots.style import write_figure
from stagkit.synthetic.relations import RELATIONS

#: Part -> (data, variants that are trained); parts that share a training train it once.
PARTS = {
    "relations": ("relations", ("graph", "no AU edges")),
    "synkinesis": ("synkinesis", ("trained", "permuted")),
    "occlusion": ("presets", tuple(OCCLUSION)),
    "structure": ("presets", tuple(EDGES)),
    "edges": ("presets", ("graph",)),
}


def list_trainings(part: str, seeds: int) -> list[Training]:
    data, variants = PARTS[part]
    cases = [f"{r} {s:g}" for r in RELATIONS for s in STRENGTHS] if part == "relations" else [""]
    return [Training(data, c, v, seed) for c in cases for seed in range(seeds) for v in variants]


def train_all(trainings: Iterable[Training], out: Path, quick: bool, workers: int) -> dict[Training, dict]:
    """Train what has no file yet; numbers of all trainings."""
    out.mkdir(parents=True, exist_ok=True)
    files = {training: out / training.get_file(quick) for training in dict.fromkeys(trainings)}
    todo, started = [training for training, file in files.items() if not file.is_file()], time.perf_counter()

    def make_work() -> Iterator[partial]:
        before, data = None, ()
        for training in todo:
            now = training.get_configs(quick)
            if now != before:
                before, data = now, make_data(training, quick)
            yield partial(run_training, training, quick, *data)

    for n, (training, numbers) in enumerate(run_in_processes(make_work(), workers), 1):
        write_json(files[training], numbers)
        left = (time.perf_counter() - started) / n * (len(todo) - n) / 60
        name = " ".join(map(str, filter(None, training[:3])))
        print(
            f"{n}/{len(todo)} {name}, seed {training.seed}: {numbers['seconds']:.0f} s; {left:.0f} min left", flush=True
        )
    return {training: read_json(file) for training, file in files.items()}


class Results:
    """Numbers of finished trainings."""

    def __init__(self, found: dict[Training, dict], seeds: int):
        self.found, self.seeds = found, range(seeds)

    def stack(self, data: str, variant: str, *keys: str, case: str = "") -> np.ndarray:
        """One number, or array, of every seed: "seed ..."; NaN for None."""
        values = [self.found[Training(data, case, variant, seed)] for seed in self.seeds]
        for key in keys:
            values = [value[key] for value in values]
        return np.array(values, float)

    def get_clips(self, data: str, case: str = "", variant: str = "graph", seed: int = 0) -> SimpleNamespace:
        """Labels, subjects, classes and AU codes of the test clips."""
        one = self.found[Training(data, case, variant, seed)]
        arrays = {"label": np.array(one["label"]), "codes": np.array(one["codes"], float)}
        return SimpleNamespace(**arrays, subjects=one["subjects"], classes=one["classes"])

    def predict(self, clips: SimpleNamespace, data: str, variant: str, *keys: str, case: str = "") -> np.ndarray:
        """Predictions, one-hot "seed clip cls", as ``recognition.score`` and ``pair`` take them."""
        return np.eye(len(clips.classes))[self.stack(data, variant, *keys, case=case).astype(int)]


def compare(clips: SimpleNamespace, **predictions: np.ndarray) -> dict:
    """Scores of several predictions; the first minus each other, paired over subjects, in UF1."""
    rows = {name: score(clips, one) for name, one in predictions.items()}
    first, *others = predictions
    return rows | {"minus": {name: pair(clips, predictions[first], predictions[name])["uf1"] for name in others}}


def summarise_relations(results: Results) -> dict:
    """UF1 of each relation and strength. ``mean``: over relations, whose classes are pooled: a mean over all classes."""
    table: dict = {}
    for strength in (f"{s:g}" for s in STRENGTHS):
        parts, pooled = [], {}
        for relation in RELATIONS:
            case = f"{relation} {strength}"
            clips = results.get_clips("relations", case)
            both = [
                results.predict(clips, "relations", v, "prediction", "0", case=case) for v in ("graph", "no AU edges")
            ]
            table.setdefault(strength, {})[relation] = compare(clips, graph=both[0], no_au_edges=both[1])
            parts.append((clips, *both))
        n = len(parts)
        for i, name in enumerate(("graph", "no_au_edges"), 1):
            pooled[name] = np.concatenate([np.kron(np.eye(n)[[k]], part[i]) for k, part in enumerate(parts)], 1)
        clips = SimpleNamespace(
            label=np.concatenate([part[0].label + 2 * k for k, part in enumerate(parts)]),
            subjects=[subject for part in parts for subject in part[0].subjects],
            classes=range(2 * n),
        )
        table[strength]["mean"] = compare(clips, **pooled)
    uf1 = {s: {n: rows["mean"][n]["uf1"] for n in ("graph", "no_au_edges")} for s, rows in table.items()}
    return {"relation_uf1": uf1, "relations": table}


def summarise_synkinesis(results: Results) -> dict:
    """AUROC of rankings of AU pairs for the planted ones; intervals over seeds, each of which plants other pairs."""
    rankings = {
        "trained": ("trained", "affinity"),
        "untrained": ("trained", "untrained"),
        "permuted": ("permuted", "affinity"),
        "product of AU frequencies": ("trained", "frequencies"),
        "phi of AU codes": ("trained", "phi"),
    }
    values = {n: results.stack("synkinesis", variant, "auroc", key) for n, (variant, key) in rankings.items()}
    table = {n: compute_mean(v)._asdict() | {"per_seed": v.tolist()} for n, v in values.items()}
    one = results.found[Training("synkinesis", "", "trained", 0)]
    shown = {"affinity": one["affinity"], "planted": one["planted"]}
    for variant in ("trained", "permuted"):
        clips = [results.get_clips("synkinesis", "", variant, seed) for seed in results.seeds]
        each = [score(c, p[None]) for c, p in zip(clips, _predict_each(results, clips, variant), strict=True)]
        table[variant]["uf1"] = float(np.mean([row["uf1"] for row in each]))
    auroc = {n: table[n]["mean"] for n in ("trained", "untrained", "permuted")}
    return {"synkinesis_auroc": auroc, "synkinesis": {"rankings": table, "seed 0": shown}}


def _predict_each(results: Results, clips: list[SimpleNamespace], variant: str) -> Iterator[np.ndarray]:
    for seed, one in enumerate(clips):
        found = results.found[Training("synkinesis", "", variant, seed)]["prediction"]["0"]
        yield np.eye(len(one.classes))[found]


def summarise_occlusion(results: Results) -> dict:
    clips = results.get_clips("presets")
    table = {}
    for share in (f"{s:g}" for s in SHARES):
        table[share] = compare(
            clips, **{v: results.predict(clips, "presets", v, "prediction", share) for v in OCCLUSION}
        )
    gain = table["0.3"]["minus"]["none"]
    return {"occlusion_gain_30": gain["difference"], "occlusion_gain_30_ci95": gain["ci95"], "occlusion": table}


def summarise_structure(results: Results) -> dict:
    """Edges in training: scores, and AU AUROC. Edges removed at test: scores, and what the logits lose."""
    clips = results.get_clips("presets")
    anatomy, trained = (
        set(map(tuple, make_edges("graph", 0))),
        results.predict(clips, "presets", "graph", "prediction", "0"),
    )
    made = compare(clips, **{kind: results.predict(clips, "presets", kind, "prediction", "0") for kind in EDGES})
    for kind in EDGES:
        edges = [make_edges(kind, seed) for seed in results.seeds]
        probability = results.stack("presets", kind, "aus")
        report = compute_au_report([clips.codes] * len(edges), probability, [clips.subjects] * len(edges))
        made[kind] |= {"au_auroc": report["mean_auroc"], "au_auroc_ci95": report["ci95"]["mean_auroc"]}
        shared = np.mean([np.mean([tuple(edge) in anatomy for edge in one]) for one in edges])
        made[kind] |= {"n_edges": int(np.mean([len(one) for one in edges])), "anatomical": float(shared)}
    first, right = results.found[Training("presets", "", "graph", 0)], trained.argmax(-1) == clips.label
    removed = {}
    for name in first["removed"]:
        after = results.predict(clips, "presets", "graph", "removed", name)
        wrong = (after.argmax(-1) != clips.label) & right
        removed[name] = score(clips, after) | {"minus": pair(clips, after, trained)["uf1"]}
        removed[name]["lost_correct"] = float(wrong.sum() / max(1, right.sum()))
        removed[name]["lost_variation"] = float(results.stack("presets", "graph", "lost", name).mean())
    baselines = compute_baselines(clips.label, trained.argmax(-1), len(clips.classes), clips.subjects)
    share = removed["all region edges"]["lost_variation"]
    return {
        "share_lost_without_edges": share,
        "structure": {"trained": made, "removed": removed, "majority": baselines["majority"]["uf1"]},
    }


def summarise_edges(results: Results) -> dict:
    clips = results.get_clips("presets")
    region, aus = (
        compute_median(results.stack("presets", "graph", k), clips.subjects) for k in ("top_edge", "top_au_edge")
    )
    agreement = results.stack("presets", "graph", "agreement")
    ranked = [clips.subjects[i] for i in results.found[Training("presets", "", "graph", 0)]["ranked"]]
    affinity, by_class = (results.stack("presets", "graph", key) for key in ("affinity", "by_class"))
    table = {
        "top_region_edge": region,
        "top_au_edge": aus,
        "agreement": compute_median(agreement, ranked),
        "stability_affinity": compute_stability(affinity[:, *PAIRS]),
        "stability_region_edges": compute_stability(by_class.reshape(len(by_class), -1)),
        "n_clips": len(clips.label),
    }
    error = float(results.stack("presets", "graph", "error").max())
    return {"contribution_error": error, "median_top_edge_share": region["median"], "edges": table}


def compute_median(values: np.ndarray, subjects: list[str]) -> dict:
    """Median of values "seed clip" over all clips and seeds, with its interval over subjects; NaN is left out."""
    flat, valid = values.ravel(), ~np.isnan(values.ravel())
    which = np.tile(np.unique(subjects, return_inverse=True)[1], len(values))[valid]
    order = np.argsort(flat[valid])
    found = bootstrap(lambda w: _find_median(flat[valid][order], w[:, which[order]]), subjects)
    return {"median": float(found.value), "ci95": [float(found.low), float(found.high)]}


def _find_median(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Lower median of sorted values "row" with weights "draw row": "draw"; NaN without any weight."""
    total = weights.cumsum(1)
    middle = values[(total >= total[:, -1:] / 2).argmax(1)]
    return np.where(total[:, -1] > 0, middle, np.nan)


def compute_stability(vectors: np.ndarray) -> float | None:
    """Mean correlation of vectors "seed value" over pairs of seeds; None with one seed."""
    each = [np.corrcoef(a, b)[0, 1] for a, b in combinations(vectors, 2) if a.std() and b.std()]
    return float(np.mean(each)) if each else None


SUMMARIES = {
    "relations": (summarise_relations, format_relations),
    "synkinesis": (summarise_synkinesis, format_synkinesis),
    "occlusion": (summarise_occlusion, format_occlusion),
    "structure": (summarise_structure, format_structure),
    "edges": (summarise_edges, format_edges),
}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="where finished trainings are kept")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few clips, one epoch: does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    trainings = [one for part in options.only for one in list_trainings(part, options.seeds)]
    results = Results(train_all(trainings, options.out, options.quick, options.workers), options.seeds)
    commits = sorted({one["commit"] for one in results.found.values()})
    date = datetime.now(UTC).date().isoformat()
    made = f"{options.seeds} seed(s). Commit {', '.join(commits)}, {date}, {describe_machine()}."
    details: dict = {}
    for part in options.only:
        summarise, format_part = SUMMARIES[part]
        details |= summarise(results)
        text = "\n".join([made, "", *format_part(details)])
        print(f"\n{part}: {text}", flush=True)
        if options.markdown:
            write_markdown(options.markdown, text, make_marks("graph", part))
    if options.json:
        keys = [key for key in details if key not in PARTS]
        about = {"benchmark": "graph", "commit": commits, "seeds": options.seeds, "quick": options.quick}
        result = {**about, **{k: details[k] for k in keys}, "details": {k: details[k] for k in details if k in PARTS}}
        write_json(options.json, json.loads(json.dumps(result, default=float)))
    if options.figure and {"relations", "occlusion", "synkinesis"} & details.keys():
        write_figure(draw_figure(details), options.figure)


if __name__ == "__main__":
    main()
