"""STAG and the systems of the field on the same sealed folds: on real flow maps, and on phantoms that have every view.

    python benchmarks/systems.py --out FOLDER [--maps MAPS.npz] [--protocol groupkfold|loso] [--folds 5] [--seeds 1]
                                 [--only maps|phantoms] [--quick] [--json FILE] [--markdown benchmarks/results/systems.md]

What ``stagkit compare-systems`` does, with its defaults. The phantoms: preset casme2, difficulty 'real', 12 people with 10
clips each. ``--out`` keeps the runs, so an interrupted benchmark goes on where it stopped.
"""

import argparse
import json
from datetime import UTC, datetime

import torch
from recognition import add_part_options, choose_parts, describe_commit, describe_machine, write_markdown

from stagkit.baselines.compare import compare_systems
from stagkit.baselines.inputs import make_views
from stagkit.core.files import write_json
from stagkit.datasets.prepare import prepare_clips
from stagkit.evaluation.defaults import choose_settings
from stagkit.reports.comparison import format_comparison, format_markdown
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource

PARTS = {"maps": "Real flow maps", "phantoms": "Phantoms, difficulty 'real'"}


def marks(part: str) -> tuple[str, str]:
    return f"<!-- systems, {part}: made by benchmarks/systems.py -->", f"<!-- systems, {part}: end -->"


def run_part(part: str, options: argparse.Namespace) -> dict:
    """The comparison on one kind of data: what ``compare_systems`` returns, with what a reader needs to repeat it."""
    path = options.maps
    if part == "phantoms":
        path = options.out / "clips"
        size = {"subjects": 2, "clips": 6, "size": 64} if options.quick else {"subjects": 12, "clips": 10}
        config = PhantomConfig(preset="casme2", seed=61, difficulty=1.0, **size)
        prepare_clips(PhantomSource(config), path, workers=options.workers)
    out = options.out / part
    views = make_views(path, "", out / "views", workers=options.workers)
    defaults = choose_settings(views["regions"])
    result = compare_systems(
        views,
        out,
        ("stag", "majority", "ststnet") if options.quick else (),
        defaults.stag,
        defaults.train,
        protocol=options.protocol,
        n_folds=2 if options.quick else options.folds,
        seeds=options.seeds,
        epochs=2 if options.quick else None,
        workers=options.workers,
        data_path=path,
    )
    date = datetime.now(UTC).date().isoformat()
    return {**result, "commit": describe_commit(), "date": date, "machine": describe_machine()}


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_part_options(parser, PARTS)
    parser.add_argument("--protocol", choices=["groupkfold", "loso"], default="groupkfold")
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="few clips, three systems, 2 epochs: does it run?")
    options = parser.parse_args(arguments)
    parts = choose_parts(parser, options, PARTS)
    torch.set_num_threads(1)
    results = {}
    for part in parts:
        results[part] = result = run_part(part, options)
        print(f"{PARTS[part]}\n{format_comparison(result)}\n", flush=True)
        if options.markdown:
            made = f"Commit {result['commit']}, {result['date']}, {result['machine']}."
            write_markdown(options.markdown, f"**{PARTS[part]}.** {format_markdown(result)}\n\n{made}", marks(part))
    if options.json:
        write_json(options.json, json.loads(json.dumps(results, default=float)))


if __name__ == "__main__":
    main()
