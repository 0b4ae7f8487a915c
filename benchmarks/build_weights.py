"""Building the shipped phantom weights.

    python benchmarks/build_weights.py --out FOLDER [--workers 2]

Writes ``phantom.safetensors`` and ``phantom.md``, which then go to ``stagkit/resources/weights``.
Five networks are trained on different subjects of phantoms of three presets, and tested together on other subjects.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from jinja2 import Template

from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.files import RESOURCES, Progress, compute_digest, no_progress, write_json, write_text
from stagkit.core.types import Clip, RoiDataset
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.au_detection import compute_au_detection
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import compute_confusion, compute_interval, compute_scores
from stagkit.inference.pretrained import PretrainedEnsemble, format_caution, load_weights, save_weights
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource

#: The presets with the three classes of MEGC2019; difficulties of their subjects, in turn (stagkit's choice).
PRESETS, LEVELS = ("casme2", "samm", "smic"), (0.2, 0.4, 0.6, 0.8, 1.0)

#: Subjects and clips of each preset for training and for testing (stagkit's choice).
TRAIN_PHANTOMS = PhantomConfig(subjects=30, clips=9, seed=2026)
TEST_PHANTOMS = PhantomConfig(subjects=10, clips=6, seed=1)

#: Epochs of the training, fixed in advance (stagkit's choice); all other settings are the defaults of any evaluation.
EPOCHS = 40


class GradedPhantoms(PhantomSource):
    """Phantoms of one preset; subject after subject has the difficulties ``LEVELS`` in turn."""

    def read(self, key: str) -> Clip:
        """Draw one clip."""
        subject, clip = self._places[key]
        return make_clip(self.config.replace(difficulty=get_level(subject)), subject, clip)

    def describe(self) -> dict[str, object]:
        """Settings and their digest."""
        own = super().describe()
        return {**own, "levels": list(LEVELS), "digest": compute_digest(repr((own["digest"], LEVELS)).encode())}


def get_level(subject: int) -> float:
    """Difficulty of a subject (0-based)."""
    return LEVELS[subject % len(LEVELS)]


def make_phantom_weights(
    out: str | Path,
    train_phantoms: PhantomConfig = TRAIN_PHANTOMS,
    test_phantoms: PhantomConfig = TEST_PHANTOMS,
    stag: StagConfig | None = None,
    train: TrainConfig | None = None,
    workers: int | None = None,
    progress: Callable[[str], Progress] = lambda what: no_progress,
) -> Path:
    """Draw, measure, train, test, write; returns the path of ``phantom.safetensors``. Resumes if interrupted.

    Args:
        out: folder for ``train``, ``test``, ``run``, ``phantom.safetensors``, ``phantom.md``, ``phantom.json``.
        train_phantoms, test_phantoms: subjects, clips and seed for each of ``PRESETS``; other seeds give other subjects.
        stag, train: settings of the networks; None: ``defaults.choose_settings``, trained for ``EPOCHS``.
        workers: processes of one thread each; None: all cores. ``progress``: name of a step -> what wraps its stream.

    Raises:
        StagkitError: a folder that holds other files or cannot be written.
    """
    out, workers = Path(out), workers or os.cpu_count() or 1
    settings = {"workers": workers, "progress": progress("drawing and measuring phantoms")}
    folders = {part: [out / part / preset for preset in PRESETS] for part in ("train", "test")}
    for part, config in (("train", train_phantoms), ("test", test_phantoms)):
        for preset, folder in zip(PRESETS, folders[part], strict=True):
            prepare_dataset(GradedPhantoms(config.replace(preset=preset)), folder, **settings)
    data = load_data(folders["train"])
    chosen = choose_settings(data, "groupkfold", stag, train)
    run = evaluate(
        data,
        out / "run",
        chosen.stag,
        train or chosen.train.replace(epochs=EPOCHS),
        protocol="groupkfold",
        n_folds=5,
        device="cpu",
        workers=workers,
        data_path=folders["train"],
        progress=progress("training"),
    )
    ensemble, report = load_weights(run.path), run.metrics
    test = compute_test_scores(ensemble, load_data(folders["test"]))
    summary = (
        f"The {report['n_folds']} networks were trained on {report['n_clips']} clips of {report['n_subjects']} phantoms, "
        "drawn by a program: they say nothing about real people. On phantoms of other subjects they reach a UF1 of "
        f"{test['uf1']:.2f} together (95 % interval {test['uf1_ci95'][0]:.2f} to {test['uf1_ci95'][1]:.2f}, majority class "
        f"{test['majority']:.2f}{format_caution(test)}). On real recordings nothing was measured."
    )
    path = out / "phantom.safetensors"
    save_weights(replace(ensemble, name="phantom", training_summary=summary), path)
    write_json(out / "phantom.json", test)
    text = (RESOURCES / "templates" / "model_card.md").read_text(encoding="utf-8")
    card = Template(text, keep_trailing_newline=True).render(
        run={**report, "classes": ensemble.classes, "caution": format_caution(report)},
        test={**test, "uf1_ci95": tuple(test["uf1_ci95"]), "caution": format_caution(test)},
        size=path.stat().st_size / 1e6,
        n_aus=len(AU_NUMBERS),
        presets=PRESETS,
        levels=LEVELS,
        seeds=(train_phantoms.seed, test_phantoms.seed),
        epochs=run.train_config.epochs,
    )
    write_text(out / "phantom.md", card)
    return path


def compute_test_scores(weights: PretrainedEnsemble, data: RoiDataset) -> dict[str, object]:
    """Scores of all networks together on ``GradedPhantoms`` of the same classes, whose subjects none was trained on.

    ``uf1_ci95`` is over subjects, ``networks_alone`` the UF1 of each network, ``au_auroc`` the mean over the coded AUs.
    """
    logits, aus = weights.compute_logits(data.batch()), weights.compute_au_probabilities(data.batch())
    prediction, n = logits.mean(0).argmax(1), len(weights.classes)
    level = np.array([get_level(int(subject.rpartition("sub")[2]) - 1) for subject in data.subjects])
    presets = np.array([name.removesuffix("-phantom") for name in data.datasets])

    def uf1(predicted: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
        return compute_scores(compute_confusion(data.label[where], predicted[where], n)).uf1

    most = np.full(len(data), np.bincount(data.label).argmax())
    ends = compute_interval(data.label, prediction, data.subjects, n)["uf1"]
    return {
        "n_clips": len(data),
        "n_subjects": len(set(data.subjects)),
        "uf1": uf1(prediction),
        "uf1_ci95": list(ends),
        "caveat": describe_caveat(len(set(data.subjects)), ends),
        "majority": uf1(most),
        "uf1_by_level": {str(v): uf1(prediction, level == v) for v in LEVELS if (level == v).any()},
        "uf1_by_preset": {p: uf1(prediction, presets == p) for p in PRESETS},
        "networks_alone": [uf1(each.argmax(1)) for each in logits],
        "au_auroc": compute_au_detection(data.aus, aus.max(1))["mean_auroc"],
    }


def main(arguments: list[str] | None = None) -> None:
    from stagkit.cli.progress import show

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--workers", type=int, help="processes; all cores if not given")
    options = parser.parse_args(arguments)
    path = make_phantom_weights(options.out, workers=options.workers, progress=show)
    print(f"weights in {path}, model card in {path.with_suffix('.md')}")


if __name__ == "__main__":
    main()
