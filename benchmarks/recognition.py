"""Recognition on published flow maps: simple classifiers and STAG on the same sealed folds, with paired intervals.

    python benchmarks/recognition.py MAPS.npz [--seeds 5] [--protocol loso] [--quick] [--json FILE]
                                     [--out FOLDER | --run RUN] [--markdown benchmarks/results/recognition.md]

Majority, logistic regression, an RBF support vector machine and a 9,667-parameter MLP see the means of a 7x7 grid of the
median-centred maps; their settings are those of the published comparison, chosen on none of these folds. Every system
goes through ``sealed.fit_and_predict``: it is handed the training clips, and the test clips without their labels; scalers
are fitted inside each fold, epochs fixed beforehand. ``--out`` keeps the STAG run (and goes on with it), ``--run`` takes
a finished one. ``--markdown`` writes the table into a file, between two marks.
"""

import argparse
import json
import platform
import re
import subprocess
import tempfile
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch

from stagkit.baselines import SYSTEMS, fit_network, predict
from stagkit.baselines.inputs import make_views
from stagkit.core.files import write_json, write_text
from stagkit.core.types import RoiDataset
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import SCORES, compute_confusion, compute_interval, compute_paired, compute_scores
from stagkit.evaluation.run import Run
from stagkit.evaluation.sealed import SealedInputs, Trained, fit_and_predict
from stagkit.evaluation.splits import make_folds

START, END = "<!-- recognition: made by benchmarks/recognition.py -->", "<!-- recognition: end -->"
SETTINGS = {"loso": "leave one subject out", "groupkfold": "10 groups of subjects"}


def fit_system(name: str) -> callable:
    """(training clips, sealed test clips, seed) -> what the seal wants, for one of ``stagkit.baselines``."""
    system = SYSTEMS[name]

    def fit(known: RoiDataset, inputs: SealedInputs, seed: int) -> Trained:
        if system.schedule is None:
            return Trained(system.fit(known, seed), record={"parameters": 0} if name == "majority" else {})
        model = fit_network(system.build, system.schedule, known, seed)
        record = {"parameters": sum(p.numel() for p in model.parameters())}
        return Trained(lambda clips: predict(model, clips), system.schedule.epochs, record=record)

    return fit


#: name in the table -> (fit, is it random?)
BASELINES = {
    "majority": (fit_system("majority"), False),
    "logistic regression, 7x7 grid": (fit_system("logistic"), False),
    "RBF-SVM, 7x7 grid": (fit_system("svm"), False),
    "MLP, 7x7 grid": (fit_system("mlp"), True),
}


def run_baseline(face: RoiDataset, fit, protocol: str, n_folds: int, seeds: int) -> tuple[np.ndarray, dict]:
    """Probabilities float "seed clip cls" and what they cost."""
    started, parameters = time.perf_counter(), None
    answers = np.zeros((seeds, len(face), len(face.classes)))
    for seed in range(seeds):
        for fold in make_folds(face, protocol, n_folds):
            test, probability, trained = fit_and_predict(face, fold, lambda k, i, s=seed, f=fit: f(k, i, s))
            answers[seed, test] = probability
            parameters = trained.record.get("parameters")
    return answers, {"parameters": parameters, "seconds": round(time.perf_counter() - started, 1)}


def read_run(run: Run, data: RoiDataset) -> tuple[np.ndarray, dict]:
    """Probabilities of a finished STAG run, float "seed clip cls" in the order of ``data``."""
    run.check_evidence()
    place = {key: i for i, key in enumerate(zip(data.subjects, data.clip_ids, strict=True))}
    table, seeds = run.predictions, run.request["seeds"]
    answers = np.full((len(seeds), len(data), len(data.classes)), np.nan)
    probabilities = table[[f"p_{c}" for c in data.classes]].to_numpy(float)
    for seed, subject, clip, row in zip(table["seed"], table["subject"], table["clip"], probabilities, strict=True):
        answers[seeds.index(seed), place[subject, clip]] = row
    return answers, {"parameters": None, "seconds": run.metrics["seconds"], **(run.metrics.get("cost") or {})}


def score(data: RoiDataset, probabilities: np.ndarray) -> dict:
    answers = probabilities.argmax(-1)
    n_classes, repeats = len(data.classes), len(answers)
    scores = [compute_scores(compute_confusion(data.label, p, n_classes)) for p in answers]
    interval = compute_interval(data.label, answers, data.subjects, n_classes)
    uf1 = [s.uf1 for s in scores]
    return {
        **{name: float(np.mean([getattr(s, name) for s in scores])) for name in SCORES},
        "uf1_std": float(np.std(uf1, ddof=1)) if repeats > 1 else 0.0,
        "uf1_ci95": list(interval["uf1"]),
        "caveat": describe_caveat(len(set(data.subjects)), interval["uf1"]),
        "seeds": repeats,
    }


def average(probabilities: np.ndarray) -> np.ndarray:
    """One answer from the networks of all seeds: float "1 clip cls"."""
    return probabilities.mean(0, keepdims=True)


def pair(data: RoiDataset, one: np.ndarray, other: np.ndarray) -> dict:
    """One system minus another, paired over subjects; probabilities "seed clip cls"."""
    return compute_paired(data.label, one.argmax(-1), other.argmax(-1), data.subjects, len(data.classes))


def describe_averaged(result: dict) -> str:
    """What averaging the networks of all seeds gives, fair to every system that has seeds; '' with one seed."""
    systems = result["systems"]
    if "averaged" not in systems["STAG"]:
        return ""
    scores = "; ".join(f"{n} {row['averaged']['uf1']:.3f}" for n, row in systems.items() if "averaged" in row)
    minus = "; ".join(
        f"{n} {describe_interval(row['averaged_stag_minus']['uf1'])}"
        for n, row in systems.items()
        if "averaged_stag_minus" in row and n != "majority"
    )
    return f"The networks of all seeds averaged, UF1: {scores}. STAG so averaged minus: {minus}."


def describe_machine() -> str:
    try:
        name = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text())[1]
    except (OSError, TypeError):
        name = platform.processor() or platform.machine()
    gpu = f", {torch.cuda.get_device_name(0)}" if torch.cuda.is_available() else ""
    return f"{name}{gpu}, Python {platform.python_version()}, torch {torch.__version__.split('+')[0]}"


def describe_commit() -> str:
    def git(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()

    return (git("rev-parse", "--short", "HEAD") or "unknown") + (
        " with changes" if git("status", "--porcelain") else ""
    )


def format_text(result: dict) -> str:
    lines = [
        f"{'':<32}{'UF1':>7}{'UAR':>7}{'ACC':>7}   95 % of UF1       STAG minus it, 95 %         parameters  seconds"
    ]
    for name, row in result["systems"].items():
        low, high = row["uf1_ci95"]
        scores = "".join(f"{row[s]:7.3f}" for s in SCORES)
        paired = describe_interval(row["stag_minus"]["uf1"]) if "stag_minus" in row else ""
        size = f"{row['parameters']:,}" if row["parameters"] is not None else "-"
        lines.append(f"{name:<32}{scores}   {low:.3f} .. {high:.3f}   {paired:<26}{size:>11}{row['seconds']:>9.1f}")
    return "\n".join([*lines, describe_averaged(result), *list_cautions(result)]).rstrip()


def list_cautions(result: dict) -> list[str]:
    """One line per system whose interval has a caveat."""
    return [f"Caution ({name}): {row['caveat']}." for name, row in result["systems"].items() if row["caveat"]]


def format_markdown(result: dict) -> str:
    lines = [
        f"`{result['command']}`",
        "",
        f"{result['n_clips']} clips of {result['n_subjects']} subjects ({result['data']}), {result['protocol']}, "
        f"{result['n_folds']} folds, predictions pooled; STAG with {result['systems']['STAG']['seeds']} seed(s). "
        f"Commit {result['commit']}, {result['date']}, {result['machine']}.",
        "",
        "| system | UF1 | UAR | ACC | 95 % of UF1 | STAG minus it (UF1, paired over subjects) | parameters | seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, row in result["systems"].items():
        low, high = row["uf1_ci95"]
        scores = " | ".join(f"{row[s]:.3f}" for s in SCORES)
        paired = describe_interval(row["stag_minus"]["uf1"]) if "stag_minus" in row else ""
        size = f"{row['parameters']:,}" if row["parameters"] is not None else "-"
        lines.append(f"| {name} | {scores} | {low:.3f} .. {high:.3f} | {paired} | {size} | {row['seconds']:.1f} |")
    return "\n".join([*lines, "", describe_averaged(result), *list_cautions(result)]).rstrip()


def make_marks(script: str, *words: str) -> tuple[str, str]:
    """Where a table stands: another part, or another network (its ``--set``), is another table."""
    name = " ".join((script, *words))
    return f"<!-- {name}: made by benchmarks/{script}.py -->", f"<!-- {name}: end -->"


def write_markdown(path: Path, text: str, marks: tuple[str, str] = (START, END)) -> None:
    """Put the table between its marks; the rest of the file stays."""
    whole = path.read_text(encoding="utf-8") if path.is_file() else "# Benchmarks\n\n## Recognition\n\n"
    start, end = marks
    block = f"{start}\n\n{text}\n\n{end}"
    if start in whole:
        before, rest = whole.split(start, 1)
        whole = before + block + rest.split(end, 1)[1]
    else:
        whole = whole.rstrip("\n") + f"\n\n{block}\n"
    write_text(path, whole)


def add_part_options(parser: argparse.ArgumentParser, parts: Iterable[str]) -> None:
    """Options of benchmarks that run on real maps and on phantoms, each a part that can be asked for alone."""
    parser.add_argument("--out", type=Path, required=True, help="where the runs are kept")
    parser.add_argument("--maps", type=Path, help=".npz or folder of flow maps; without it that part is left out")
    parser.add_argument("--only", choices=list(parts), help="one part")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)


def choose_parts(parser: argparse.ArgumentParser, options: argparse.Namespace, parts: Iterable[str]) -> list[str]:
    """The parts asked for; ``maps`` only where there are some."""
    if options.only == "maps" and not options.maps:
        parser.error("--only maps needs --maps FILE")
    return [p for p in parts if options.only in (None, p) and (p != "maps" or options.maps)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("maps", help=".npz or folder of flow maps")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--protocol", choices=list(SETTINGS), default="loso")
    parser.add_argument("--quick", action="store_true", help="5 groups, one seed, 3 epochs: does it run?")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--markdown", type=Path)
    parser.add_argument("--out", type=Path, help="where the STAG run is kept")
    parser.add_argument("--run", type=Path, help="a finished STAG run on the same maps")
    parser.add_argument("--workers", type=int)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    views = make_views(options.maps)
    data, face = views["regions"], views["face"]
    seeds, protocol, n_folds = options.seeds, options.protocol, 10
    defaults = choose_settings(data)
    train = defaults.train
    if options.quick:
        seeds, protocol, n_folds, train = 1, "groupkfold", min(5, len(set(data.subjects))), train.replace(epochs=3)
    folds = make_folds(data, protocol, n_folds)
    answers, systems = {}, {}
    for name, (fit, random) in BASELINES.items():
        answers[name], cost = run_baseline(face, fit, protocol, n_folds, seeds if random else 1)
        systems[name] = {**score(data, answers[name]), **cost}
    if options.run:
        run = Run.load(options.run, evidence=True)
    else:
        out = options.out or Path(tempfile.mkdtemp(prefix="recognition-"))
        run = evaluate(
            data,
            out,
            defaults.stag,
            train,
            protocol=protocol,
            n_folds=n_folds,
            seeds=seeds,
            workers=options.workers,
            data_path=options.maps,
        )
    answers["STAG"], cost = read_run(run, data)
    systems["STAG"] = {**score(data, answers["STAG"]), **cost}
    for name, (_, random) in BASELINES.items():
        systems[name]["stag_minus"] = pair(data, answers["STAG"], answers[name])
        averaged = average(answers[name]) if random else answers[name]
        systems[name]["averaged_stag_minus"] = pair(data, average(answers["STAG"]), averaged)
        if random and seeds > 1:
            systems[name]["averaged"] = score(data, averaged)
    if seeds > 1:
        systems["STAG"]["averaged"] = score(data, average(answers["STAG"]))
    result = {
        "benchmark": "recognition",
        "command": "python benchmarks/recognition.py MAPS" + (" --quick" if options.quick else f" --seeds {seeds}"),
        "data": Path(options.maps).name,
        "protocol": protocol,
        "n_clips": len(data),
        "n_subjects": len(set(data.subjects)),
        "n_folds": len(folds),
        "commit": describe_commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": describe_machine(),
        "systems": systems,
    }
    print(format_text(result))
    if options.json:
        write_json(options.json, json.loads(json.dumps(result, default=float)))
    if options.markdown:
        write_markdown(options.markdown, format_markdown(result))


if __name__ == "__main__":
    main()
