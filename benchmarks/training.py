"""Training every fold of a leave-one-subject-out run: one after the other, in processes, stacked.

    python benchmarks/training.py [--epochs 60] [--frames 1 12] [--backends sequential processes stacked]
                                  [--device auto] [--quick] [--json FILE] [--markdown benchmarks/results/speed.md]
    python benchmarks/training.py --check [--device cuda]     is the stack equal to the sequential loop on the CPU?

442 phantom clips of 68 subjects, as many as MEGC2019 has; each backend in a fresh process, in turn. 'Share of the ceiling'
is the multiply-adds of training (three times those of an answer) against the matrix product measured on the same
machine, in float32 on as many cores as the backend uses.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.files import write_json, write_text
from stagkit.core.types import RoiDataset
from stagkit.datasets.prepare import keep_apex, load_prepared, prepare_clips
from stagkit.evaluation.cost import compute_cost
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.fold import Compute
from stagkit.evaluation.splits import make_folds
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.training.ensemble import Task, train_ensemble
from stagkit.training.train import choose_device, make_model, train_fold

START, END = "<!-- training: made by benchmarks/training.py -->", "<!-- training: end -->"
BACKENDS = ("sequential", "processes", "stacked")
N_CLIPS, N_SUBJECTS = 442, 68


def make_data(folder: Path, quick: bool) -> Path:
    """Prepared phantoms, seven clips of each subject; ``take_clips`` leaves as many as there are in MEGC2019."""
    config = PhantomConfig(subjects=4 if quick else N_SUBJECTS, clips=2 if quick else 7, size=64 if quick else 128)
    prepare_clips(PhantomSource(config), folder, workers=1 if quick else os.cpu_count() or 1)
    return folder


def take_clips(data: RoiDataset, frames: int) -> RoiDataset:
    """442 clips, six or seven of each of 68 subjects (all, of fewer)."""
    if len(data) > N_CLIPS:
        spare = np.arange(len(data)).reshape(N_SUBJECTS, -1)[: len(data) - N_CLIPS, -1]
        data = data.select(np.setdiff1d(np.arange(len(data)), spare))
    return keep_apex(data) if frames == 1 else data


def measure_ceiling(device: str, seconds: float = 1.0, size: int = 1024) -> float:
    """Floating-point operations a second of a large float32 matrix product, one thread on a CPU."""
    torch.set_num_threads(1)
    size = size * 8 if device != "cpu" else size
    a = torch.randn(size, size, device=device)
    best, ended = 0.0, time.perf_counter() + seconds
    while time.perf_counter() < ended:
        started = time.perf_counter()
        product = a @ a
        product[0, 0].item()
        best = max(best, 2 * size**3 / (time.perf_counter() - started))
    return best


def count_work(data: RoiDataset, epochs: int) -> float:
    """Floating-point operations of training all folds."""
    model = make_model(data, np.arange(len(data)), StagConfig(), 0)
    clips = sum(len(fold.train) for fold in make_folds(data, "loso")) * epochs
    return 3 * 2 * compute_cost(model, data)["multiply_adds"] * clips


def run_one(folder: str, frames: int, backend: str, device: str, epochs: int) -> dict:
    """One backend, in this process."""
    data = take_clips(load_prepared(folder), frames)
    device = str(choose_device(device))
    if backend == "processes" and device != "cpu":
        device = "cpu"
    with tempfile.TemporaryDirectory() as out:
        started = time.perf_counter()
        run = evaluate(
            data, Path(out) / "run", StagConfig(), TrainConfig(epochs=epochs), backend=backend, device=device
        )
        seconds, metrics = time.perf_counter() - started, run.metrics
    workers = os.cpu_count() or 1 if backend == "processes" else 1
    own, child = (resource.getrusage(w).ru_maxrss * 1024 for w in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    memory = own + (workers * child if backend == "processes" else 0)
    on_gpu = torch.cuda.max_memory_allocated() if device != "cpu" else None
    return {
        "backend": backend,
        "frames": frames,
        "device": device,
        "seconds": round(seconds, 2),
        "seconds_per_epoch": round(seconds / epochs, 3),
        "memory": memory,
        "memory_gpu": on_gpu,
        "share_of_ceiling": count_work(data, epochs) / seconds / (measure_ceiling(device) * workers),
        "uf1": metrics["uf1"]["mean"],
        "clips": len(data),
        "folds": metrics["n_folds"],
    }


def check_equal(device: str, steps: int = 20) -> float:
    """Largest difference of the logits after ``steps`` steps, stacked on ``device`` and sequential on the CPU.

    Float32, nothing random but the start and the order of the clips.
    """
    torch.nn.Dropout.__init__ = lambda self, p=0.5, inplace=False: torch.nn.modules.dropout._DropoutNd.__init__(
        self, 0.0
    )
    data = load_prepared(make_data(Path(tempfile.mkdtemp()) / "p", quick=True))
    stag = StagConfig(dropout=0.0, branch_dropout=0.0)
    train = TrainConfig(mirror=False, noise=0.0, region_dropout=0.0, scale_jitter=0.0, batch_size=2)
    folds = make_folds(data, "loso")
    per_epoch = -(-len(folds[0].train) // train.batch_size)
    train = train.replace(epochs=-(-steps // per_epoch))
    tasks = [Task.make(f.training_part(data), f.train, stag, train, i) for i, f in enumerate(folds)]
    together = train_ensemble(data, tasks, stag, train, device)
    batch, worst = data.batch(), 0.0
    for i, (fold, model) in enumerate(zip(folds, together, strict=True)):
        alone = train_fold(data, fold.train, stag, train, i)
        with torch.no_grad():
            said, expected = (m.logits(batch.x, batch.mask, batch.times_ms) for m in (model, alone))
        worst = max(worst, float((said - expected).abs().max()))
    return worst


def in_fresh_process(*words: object) -> dict:
    """This file once more, for one backend: its memory is its own."""
    done = subprocess.run(
        [sys.executable, __file__, "--one", *map(str, words)], capture_output=True, text=True, env=dict(os.environ)
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.strip().splitlines()[-1])


def describe_machine() -> str:
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ", no GPU"
    return f"{os.cpu_count()} CPU cores{gpu}, torch {torch.__version__.split('+')[0]}"


def format_rows(result: dict) -> list[list[str]]:
    rows = []
    for row in result["rows"]:
        first = next(r for r in result["rows"] if r["frames"] == row["frames"])
        gpu = f", GPU {row['memory_gpu'] / 2**30:.2f}" if row["memory_gpu"] else ""
        rows.append(
            [
                f"T = {row['frames']}",
                row["backend"],
                row["device"],
                f"{row['seconds']:.1f}",
                f"{row['seconds_per_epoch']:.2f}",
                f"{first['seconds'] / row['seconds']:.2f}x",
                f"{row['memory'] / 2**30:.2f}{gpu}",
                f"{row['share_of_ceiling']:.1%}",
            ]
        )
    return rows


HEAD = [
    "clips",
    "backend",
    "device",
    "seconds",
    "seconds a LOSO epoch",
    "against the first",
    "memory, GiB",
    "of the ceiling",
]


def format_text(result: dict) -> str:
    rows = [HEAD, *format_rows(result)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(HEAD))]
    return "\n".join("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)) for row in rows)


def format_markdown(result: dict) -> str:
    row = result["rows"][0]
    lines = [
        f"`{result['command']}`",
        "",
        f"{row['clips']} phantom clips, {row['folds']} folds, {result['epochs']} epochs; start-up, answers and files are "
        f"in the seconds. {result['date']}, {result['machine']}.",
        "",
        "| " + " | ".join(HEAD) + " |",
        "|" + "---|" * len(HEAD),
        *("| " + " | ".join(cells) + " |" for cells in format_rows(result)),
    ]
    return "\n".join(lines)


def write_markdown(path: Path, text: str) -> None:
    """Put the table between its marks; the rest of the file stays."""
    whole = path.read_text(encoding="utf-8") if path.is_file() else "# Benchmarks\n"
    block = f"{START}\n\n{text}\n\n{END}"
    if START in whole:
        before, rest = whole.split(START, 1)
        whole = before + block + rest.split(END, 1)[1]
    else:
        whole = whole.rstrip("\n") + f"\n\n## Training\n\n{block}\n"
    write_text(path, whole)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--frames", type=int, nargs="+", default=[1, 12], choices=[1, 12])
    parser.add_argument("--backends", nargs="+", default=list(BACKENDS), choices=BACKENDS)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--quick", action="store_true", help="8 clips of 4 subjects, one epoch: does it run?")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.one:
        folder, frames, backend, device, epochs = options.one
        print(json.dumps(run_one(folder, int(frames), backend, device, int(epochs))))
        return
    if options.check:
        worst = check_equal(str(choose_device(options.device)))
        print(
            f"stacked on {choose_device(options.device)} against sequential on the CPU, 20 steps: {worst:.1e} in the logits"
        )
        raise SystemExit(worst >= 1e-4)
    epochs = 1 if options.quick else options.epochs
    _, device = Compute(device=options.device).choose()
    with tempfile.TemporaryDirectory() as folder:
        prepared = make_data(Path(folder) / "phantoms", options.quick)
        rows = [
            in_fresh_process(prepared, frames, backend, device, epochs)
            for frames in options.frames
            for backend in options.backends
        ]
    result = {
        "benchmark": "training",
        "command": "python benchmarks/training.py" + (" --quick" if options.quick else f" --epochs {epochs}"),
        "epochs": epochs,
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "rows": rows,
    }
    print(format_text(result))
    if options.json:
        write_json(options.json, result)
    if options.markdown:
        write_markdown(options.markdown, format_markdown(result))


if __name__ == "__main__":
    main()
