"""What perfect action units would give: annotated AUs, and pairs of them, in a linear model of the class.

    python benchmarks/au_bound.py --data FOLDER [--seeds 10] [--quick] [--markdown benchmarks/results/au_bound.md]

FOLDER holds annotation files of data sets with AU codes; no image is read. For every data set and class mapping: logistic
regression with balanced classes on the AUs of a clip, on the AUs and all products of two, and on the AUs that stagkit's
networks predict. 10 groups of subjects, each seed another grouping; each training part selects the penalty on 3 groups.

An AU is 1 if a clip has it, at any intensity, on either side; 0.5 if it is uncertain or one of several alternatives.
Clips without AU codes are left out. An estimate, not a strict bound: sides, time, or a model that is not linear may add.
"""

import argparse
import sys
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path

import numpy as np
from recognition import describe_commit, describe_machine, make_marks, pair, score, write_markdown
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold

from stagkit.core.facs import AU_NUMBERS, AUCode
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets import NAMES, DatasetNotAvailable, load_layout
from stagkit.datasets.au_codes import read_aus
from stagkit.datasets.index import load_index
from stagkit.datasets.label_maps import load_class_map, load_class_maps
from stagkit.datasets.spreadsheets import read_text
from stagkit.evaluation.compare_runs import describe_interval
from stagkit.evaluation.metrics import compute_baselines
from stagkit.evaluation.splits import make_folds

PENALTIES = (0.03, 0.1, 0.3, 1.0, 3.0)  # C of scikit-learn: a smaller one is a stronger penalty
COLUMNS = (
    *("data set", "mapping", "coded clips", "subjects", "majority, UF1", "AUs, UF1", "AUs, UAR", "AUs and pairs, UF1"),
    *("AUs and pairs, UAR", "pairs minus AUs (UF1, paired over subjects)", "AUs of stagkit, UF1"),
)


def load_coded_clips(name: str, folder: Path) -> list[tuple[str, str, str, tuple[AUCode, ...]]]:
    """(subject, clip, label, codes) of every clip with AU codes in the annotation files of a data set; [] if none."""
    try:
        rows = load_index(load_layout(name), folder).rows
    except DatasetNotAvailable:
        return []
    usable = {row.key: row for row in rows if row.subject and row.clip and read_text(row.label) and not row.why}
    clips = [(row.subject, key, read_text(row.label), read_aus(row.aus)[0]) for key, row in usable.items()]
    return [clip for clip in clips if clip[3] is not None]


def make_inputs(coded: list[tuple[AUCode, ...]]) -> dict[str, np.ndarray]:
    """AU codes of clips -> inputs "clip feature" of the three models."""
    columns: dict[tuple[str, int], np.ndarray] = {}
    for i, code in ((i, code) for i, codes in enumerate(coded) for code in codes if not code.kept):
        column = columns.setdefault((code.kind, code.number), np.zeros(len(coded)))
        column[i] = max(column[i], 0.5 if code.choice or code.uncertain else 1.0)
    aus = np.stack([columns[key] for key in sorted(columns)], 1)
    pairs = [columns[a] * columns[b] for a, b in combinations(sorted(columns), 2)]
    known = [columns.get(("AU", number), np.zeros(len(coded))) for number in AU_NUMBERS]
    return {"aus": aus, "pairs": np.column_stack([aus, *filter(np.any, pairs)]), "known": np.stack(known, 1)}


def make_data(name: str, mapping: str, clips: list) -> tuple[RoiDataset, dict[str, np.ndarray]]:
    """The clips that a mapping keeps: a data set without motion, for labels and folds, and the inputs of the models."""
    entry = load_class_map(name, mapping)
    labels = [entry.compute_label(label, clip) for _, clip, label, _ in clips]
    kept = [clip for clip, label in zip(clips, labels, strict=True) if label]
    classes, n = tuple(c for c in entry.counts if c in labels), len(kept)
    if len(classes) < 2:
        raise StagkitError(f"{name}: its labels name {len(classes)} of the classes of {mapping}: is the file complete?")
    data = RoiDataset(
        x=np.zeros((n, 1, 1, 3, 1, 1), np.float32),
        mask=np.ones((n, 1, 1), bool),
        times_ms=np.zeros((n, 1), np.float32),
        label=np.array([classes.index(label) for label in labels if label], np.int64),
        aus=np.full((n, len(AU_NUMBERS)), np.nan, np.float32),
        clip_ids=tuple(clip for _, clip, _, _ in kept),
        subjects=tuple(f"{name}/{subject}" for subject, _, _, _ in kept),
        datasets=(name,) * n,
        classes=classes,
        roi_names=("none",),
    )
    return data, make_inputs([codes for _, _, _, codes in kept])


def predict(data: RoiDataset, x: np.ndarray, seeds: int, n_folds: int) -> np.ndarray:
    """One-hot predictions float "seed clip cls" of unseen subjects."""
    prediction, subjects = np.zeros((seeds, len(data), len(data.classes))), np.asarray(data.subjects)
    model = LogisticRegression(class_weight="balanced", max_iter=5000)
    inner = GroupKFold(3, shuffle=True, random_state=0)
    for seed in range(seeds):
        for fold in make_folds(data, "groupkfold", n_folds, seed):
            search = GridSearchCV(model, {"C": PENALTIES}, scoring="f1_macro", cv=inner, error_score="raise")
            search.fit(x[fold.train], data.label[fold.train], groups=subjects[fold.train])
            test = fold.open_test(selected_by="training subjects")
            prediction[seed, test, search.predict(x[test])] = 1
    return prediction


def measure(data: RoiDataset, inputs: dict[str, np.ndarray], seeds: int, n_folds: int) -> dict:
    """The scores of each model (``recognition.score``), of the majority class, and pairs minus AUs, paired."""
    found, n_classes = {name: predict(data, x, seeds, n_folds) for name, x in inputs.items()}, len(data.classes)
    majority = compute_baselines(data.label, found["aus"].argmax(-1), n_classes, data.subjects)["majority"]
    scores = {name: score(data, prediction) for name, prediction in found.items()}
    return {**scores, "majority": majority, "difference": pair(data, found["pairs"], found["aus"])["uf1"]}


def format_row(name: str, mapping: str, data: RoiDataset, row: dict) -> str:
    def describe(scores: dict) -> str:
        return f"{scores['uf1']:.3f} [{scores['uf1_ci95'][0]:.3f}, {scores['uf1_ci95'][1]:.3f}]"

    cells = [name, mapping, len(data), len(set(data.subjects)), f"{row['majority']['uf1']:.3f}"]
    cells += [cell for part in ("aus", "pairs") for cell in (describe(row[part]), f"{row[part]['uar']:.3f}")]
    return f"| {' | '.join(map(str, [*cells, describe_interval(row['difference']), describe(row['known'])]))} |"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of annotation files")
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--quick", action="store_true", help="one grouping, 3 groups of subjects: does it run?")
    parser.add_argument("--markdown", type=Path)
    options = parser.parse_args(arguments)
    (seeds, n_folds), rows = (1, 3) if options.quick else (options.seeds, 10), []
    try:
        for name in NAMES:
            clips = load_coded_clips(name, options.data)
            for mapping in (mapping for of, mapping in load_class_maps() if of == name and clips):
                print(f"{name}, {mapping} ...", file=sys.stderr, flush=True)
                data, inputs = make_data(name, mapping, clips)
                rows.append(format_row(name, mapping, data, measure(data, inputs, seeds, n_folds)))
    except StagkitError as error:
        parser.error(str(error))
    if not rows:
        names = "; ".join(f"{name}: {' or '.join(load_layout(name).annotation_files)}" for name in NAMES)
        parser.error(f"{options.data} holds no annotation file with AU codes; expected .xlsx or .csv named {names}.")
    made = f"Commit {describe_commit()}, {datetime.now(UTC).date().isoformat()}, {describe_machine()}."
    head = [f"{n_folds} groups of subjects, mean of {seeds} groupings. {made}", ""]
    table = "\n".join([*head, f"| {' | '.join(COLUMNS)} |", "|---" * len(COLUMNS) + "|", *rows])
    print(table)
    if options.markdown:
        write_markdown(options.markdown, table, make_marks("au_bound"))


if __name__ == "__main__":
    main()
