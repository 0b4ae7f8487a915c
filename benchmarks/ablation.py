"""What every part of STAG is worth: on published flow maps, on phantoms of five presets, and across them.

    python benchmarks/ablation.py --out FOLDER [--maps MAPS.npz] [--seeds 2] [--quick] [--only maps|within|across]
                                  [--set stag.head=graph] [--json FILE] [--markdown benchmarks/results/ablation.md]

maps    every variant of ``stagkit ablate`` on real flow maps (T = 1), 10 groups of subjects
within  phantoms of all five presets together, difficulty 'real', 12 frames, 4 groups of subjects: the whole network
        against no graph, plain graph attention on the anatomy, anatomical edges, one onset-apex frame, and a fused answer
across  the same phantoms, trained on one preset and tested on another, all 20 ordered pairs

Folds are sealed and epochs fixed; differences are paired over subjects. ``--out`` keeps the runs, so an interrupted
benchmark goes on where it stopped. Phantoms say whether a part does what it is for, not what it does for real faces.
"""

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path

import torch
from recognition import add_part_options, choose_parts, describe_commit, describe_machine, make_marks, write_markdown

from stagkit.cli.options import read_settings
from stagkit.core.files import write_json
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.ablation import ablate, format_ablation
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource

PRESETS = ("casme2", "samm", "smic", "4dme", "dfme")
RIVALS = ("graph-none", "head-fused", "fused-gat", "fused-graph-none", "apex-only")
TITLES = {
    "maps": "Real flow maps (T = 1)",
    "within": "Phantoms of five presets together, unseen subjects (T = 12, difficulty 'real')",
    "across": "Phantoms, trained on one preset and tested on another",
}


def make_presets(out: Path, presets: list[str], subjects: int, clips: int) -> list[Path]:
    """Phantoms of presets, other people in each; what is prepared already is kept."""
    folders = []
    for i, preset in enumerate(PRESETS):
        if preset not in presets:
            continue
        config = PhantomConfig(preset=preset, subjects=subjects, clips=clips, seed=21 + i, difficulty=1.0)
        prepare_dataset(PhantomSource(config), out / preset, workers=1)
        folders.append(out / preset)
    return folders


def run_part(part: str, options: argparse.Namespace) -> dict:
    """The ablation of one part: the result of ``evaluation.ablation.ablate``, with what a reader needs to repeat it."""
    if part == "maps":
        path, settings, only = options.maps, {"protocol": "groupkfold", "n_folds": 3 if options.quick else 10}, ()
    else:
        path = make_presets(options.out / "presets", options.presets, *((2, 6) if options.quick else (12, 10)))
        within = {"protocol": "groupkfold", "n_folds": 4}
        settings, only = (within if part == "within" else {"protocol": "cross"}), options.rivals
    if options.quick:
        only = RIVALS[:1]
    data = load_data(path, mapping="" if part == "maps" else "3-class")
    stag, train = read_settings(None, options.set, None, None, data, settings["protocol"])
    result = ablate(
        data,
        options.out / part,
        stag,
        train.replace(epochs=2) if options.quick else train,
        only,
        data_path=path,
        seeds=options.seeds,
        workers=options.workers,
        **settings,
    )
    return {
        **result,
        "data": Path(path).name if part == "maps" else f"phantoms: {', '.join(options.presets)}",
        "settings": options.set,
        "commit": describe_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
    }


def format_markdown(part: str, result: dict) -> str:
    set_to = "".join(f", {change}" for change in result["settings"])
    lines = [
        f"**{TITLES[part]}.** {result['n_clips']} clips of {result['n_subjects']} subjects ({result['data']}), "
        f"{result['protocol']}, {result['n_folds']} folds, {len(result['seeds'])} seeds{set_to}. Commit {result['commit']}, "
        f"{result['date']}, {result['machine']}.",
        "",
        "| variant | what | UF1 | UAR | minus the whole network (UF1, paired over subjects) | AU AUROC | parameters |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["variants"].items():
        told = describe_interval(row["difference"]["uf1"]) if "difference" in row else ""
        scores = f"{row['uf1']['mean']:.3f} | {row['uar']['mean']:.3f}"
        aus = "" if row["au_auroc"] is None else f"{row['au_auroc']:.3f}"
        lines.append(f"| {name} | {row['what']} | {scores} | {told} | {aus} | {row['parameters']:,} |")
    if result.get("caveat"):
        lines += ["", f"Caution: {result['caveat']}."]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_part_options(parser, TITLES)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--rivals", nargs="+", choices=RIVALS, default=RIVALS, help="on phantoms; all if not given")
    parser.add_argument("--presets", nargs="+", choices=PRESETS, default=PRESETS, help="of phantoms; all if not given")
    parser.add_argument("--set", nargs="+", default=[], metavar="NAME=VALUE", help="settings of the whole network")
    parser.add_argument("--workers", type=int)
    parser.add_argument("--quick", action="store_true", help="few clips, one variant, 2 epochs: does it run?")
    options = parser.parse_args(arguments)
    parts = choose_parts(parser, options, TITLES)
    torch.set_num_threads(1)
    options.seeds = 1 if options.quick else options.seeds
    results = {}
    for part in parts:
        results[part] = run_part(part, options)
        print(f"{TITLES[part]}\n{format_ablation(results[part])}\n", flush=True)
        if options.markdown:
            write_markdown(
                options.markdown, format_markdown(part, results[part]), make_marks("ablation", part, *options.set)
            )
    if options.json:
        write_json(options.json, json.loads(json.dumps(results, default=float)))


if __name__ == "__main__":
    main()
