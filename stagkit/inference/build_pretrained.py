"""The phantom weights that stagkit ships, made anew: ``stagkit weights phantom --rebuild --out FOLDER``.

Phantoms of three presets are drawn and measured, five networks are trained on different people of them (each subject is
tested by the one network that never saw it), all five are asked about phantoms of other people still, and what came of it
is written into one file and a model card.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from stagkit.core.config import PhantomConfig, StagConfig, TrainConfig
from stagkit.core.facs import AU_NUMBERS
from stagkit.core.files import Progress, compute_digest, no_progress, write_json, write_text
from stagkit.core.types import Clip, RoiDataset
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.bootstrap import describe_caveat
from stagkit.evaluation.defaults import choose_settings
from stagkit.evaluation.evaluate import evaluate
from stagkit.evaluation.metrics import compute_confusion, compute_interval, compute_scores
from stagkit.evaluation.run import Run
from stagkit.inference.pretrained import PretrainedEnsemble, load_weights, save_weights
from stagkit.synthetic.dataset import PhantomSource

#: The presets with the three classes of MEGC2019; difficulties of their subjects, in turn (stagkit's choice).
PRESETS, LEVELS = ("casme2", "samm", "smic"), (0.2, 0.4, 0.6, 0.8, 1.0)

#: Subjects and clips of each preset to learn from, and to be asked about afterwards (stagkit's choice).
LEARNED_FROM, ASKED_ABOUT = PhantomConfig(subjects=30, clips=9, seed=2026), PhantomConfig(subjects=10, clips=6, seed=1)

#: Epochs of the training, fixed beforehand (stagkit's choice); all other settings are those of any evaluation.
EPOCHS = 40


class GradedPhantoms(PhantomSource):
    """Phantoms of one preset whose subjects are filmed at each of ``LEVELS`` in turn, from easy to as hard as real."""

    def read(self, key: str) -> Clip:
        """Make one clip."""
        from stagkit.synthetic.clip import make_clip

        subject, clip = self._places[key]
        return make_clip(self.config.replace(difficulty=get_level(subject)), subject, clip)

    def describe(self) -> dict[str, object]:
        """Settings and their digest."""
        told = super().describe()
        return {**told, "levels": list(LEVELS), "digest": compute_digest(repr((told["digest"], LEVELS)).encode())}


def get_level(subject: int) -> float:
    """Difficulty at which a subject (0-based) is filmed."""
    return LEVELS[subject % len(LEVELS)]


def make_phantom_weights(
    out: str | Path,
    learned_from: PhantomConfig = LEARNED_FROM,
    asked_about: PhantomConfig = ASKED_ABOUT,
    stag: StagConfig | None = None,
    train: TrainConfig | None = None,
    workers: int | None = None,
    progress: Callable[[str], Progress] = lambda what: no_progress,
) -> Path:
    """Draw, measure, train, ask, write; an interrupted one is gone on with.

    Args:
        out: folder to fill: ``clips``, ``asked``, ``run``, ``phantom.safetensors``, ``phantom.md``, ``phantom.json``.
        learned_from, asked_about: subjects, clips and seed, used with every one of ``PRESETS``; other seeds, other people.
        stag, train: settings of the networks; None: ``defaults.choose_settings``, trained for ``EPOCHS``.
        workers: processes of one thread each; all cores where None.
        progress: name of a step -> what wraps its stream.

    Returns:
        Path of ``phantom.safetensors``.

    Raises:
        StagkitError: a folder that holds other work or cannot be written.
    """
    out, workers = Path(out), workers or os.cpu_count() or 1
    settings = {"workers": workers, "progress": progress("drawing and measuring phantoms")}
    for place, config in (("clips", learned_from), ("asked", asked_about)):
        for preset in PRESETS:
            prepare_dataset(GradedPhantoms(config.replace(preset=preset)), out / place / preset, **settings)
    paths = [out / "clips" / preset for preset in PRESETS]
    data = load_data(paths)
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
        data_path=paths,
        progress=progress("training"),
    )
    asked = load_data([out / "asked" / preset for preset in PRESETS])
    found = ask(load_weights(run.path), asked)
    weights = replace(load_weights(run.path), name="phantom", training_summary=_tell(run, found))
    save_weights(weights, out / "phantom.safetensors")
    size = (out / "phantom.safetensors").stat().st_size
    write_json(out / "phantom.json", found)
    write_text(out / "phantom.md", make_card(run, found, size, learned_from, asked_about))
    return out / "phantom.safetensors"


def ask(weights: PretrainedEnsemble, data: RoiDataset) -> dict[str, object]:
    """Scores of all networks together on people that none of them has seen.

    Args:
        weights: whose ``classes`` are those of ``data``.
        data: phantoms of ``GradedPhantoms``, whose subjects' names tell their difficulty.

    Returns:
        ``n_clips, n_subjects, uf1, uf1_ci95`` (over subjects), ``caveat`` of the interval, ``majority``,
        ``uf1_by_level``, ``uf1_by_preset``, ``networks_alone`` (UF1 of each), ``au_auroc`` (mean over the coded units).
    """
    from stagkit.evaluation.au_detection import compute_au_detection

    logits, units = weights.compute_logits(data.batch()), weights.compute_au_probabilities(data.batch())
    said, n = logits.mean(0).argmax(1), len(weights.classes)
    level = np.array([get_level(int(subject.rpartition("sub")[2]) - 1) for subject in data.subjects])
    presets = np.array([name.removesuffix("-phantom") for name in data.datasets])

    def uf1(prediction: np.ndarray, where: np.ndarray | slice = slice(None)) -> float:
        return compute_scores(compute_confusion(data.label[where], prediction[where], n)).uf1

    most = np.full(len(data), np.bincount(data.label).argmax())
    ends = compute_interval(data.label, said, data.subjects, n)["uf1"]
    return {
        "n_clips": len(data),
        "n_subjects": len(set(data.subjects)),
        "uf1": uf1(said),
        "uf1_ci95": list(ends),
        "caveat": describe_caveat(len(set(data.subjects)), ends),
        "majority": uf1(most),
        "uf1_by_level": {str(v): uf1(said, level == v) for v in LEVELS if (level == v).any()},
        "uf1_by_preset": {p: uf1(said, presets == p) for p in PRESETS},
        "networks_alone": [uf1(each.argmax(1)) for each in logits],
        "au_auroc": compute_au_detection(data.aus, units.max(1))["mean_auroc"],
    }


def _tell(run: Run, found: dict) -> str:
    """What a reader of a page must know of these weights."""
    report = run.metrics
    low, high = found["uf1_ci95"]
    caution = f"; caution: {found['caveat']}" if found["caveat"] else ""
    return (
        f"The {report['n_folds']} networks were trained on {report['n_clips']} clips of {report['n_subjects']} phantoms, "
        "drawn by a program: they say nothing about real people. On phantoms of other people they reach a UF1 of "
        f"{found['uf1']:.2f} together (95 % interval {low:.2f} to {high:.2f}, majority class {found['majority']:.2f}"
        f"{caution}). "
        "On real recordings nothing was measured."
    )


def make_card(run: Run, found: dict, size: int, learned_from: PhantomConfig, asked_about: PhantomConfig) -> str:
    """The model card: what the weights are, what they learned from, how well they did, what they are not.

    Args:
        run: the finished run the weights were taken from.
        found: from ``ask``.
        size: of the file, bytes.
        learned_from, asked_about: as in ``make_phantom_weights``.
    """
    report, low, high = run.metrics, *found["uf1_ci95"]
    caution = f"; caution: {found['caveat']}" if found["caveat"] else ""
    inside, alone = report["uf1"], found["networks_alone"]
    within = f"; caution: {report['caveat']}" if report["caveat"] else ""
    levels = [f"| difficulty {level} | {value:.2f} |" for level, value in found["uf1_by_level"].items()]
    presets = [f"| {name} preset | {value:.2f} |" for name, value in found["uf1_by_preset"].items()]
    said = f"presets {', '.join(PRESETS)}, difficulty {LEVELS[0]} to {LEVELS[-1]} "
    said += f"(seed {learned_from.seed}; the phantoms asked about: seed {asked_about.seed})"
    return f"""# Model card: stagkit phantom weights

**They say nothing about real people.** They were trained on drawn faces and tested on drawn faces; on a real recording
nothing was measured. They are there to try the whole way without data, to teach, and to start from.

| what | |
|---|---|
| networks | {report["n_folds"]}, STAG with {report["cost"]["parameters"]:,} parameters each, trained on different people |
| file | `phantom.safetensors`, {size / 1e6:.2f} MB, no pickle |
| input | a clip measured with the standard flow, cut into regions; motion in % of the eye distance |
| output | {", ".join(run.metrics["classes"])}; evidence for {len(AU_NUMBERS)} action units in each frame |
| learned from | {report["n_clips"]} phantom clips of {report["n_subjects"]} people, {said} |
| training | {run.train_config.epochs} epochs fixed beforehand; settings in the file's header |
| licence | MIT, as stagkit |

## Scores, on phantoms

UF1 on {found["n_clips"]} phantom clips of {found["n_subjects"]} people whom no network has seen, all networks together:

| clips | UF1 |
|---|---|
| all | **{found["uf1"]:.2f}** (95 % interval over people {low:.2f} to {high:.2f}{caution}) |
| always the most frequent class | {found["majority"]:.2f} |
{chr(10).join(levels)}
{chr(10).join(presets)}

One network alone: {min(alone):.2f} to {max(alone):.2f}. Inside the training set, each person tested by the network that had
not seen them: {inside["mean"]:.2f} ({inside["ci95"][0]:.2f} to {inside["ci95"][1]:.2f}{within}).
Mean AUROC of the action units, where the preset codes them: {found["au_auroc"]:.2f}.

How far the networks differ on a clip tells how unsure *they* are of each other, not how wrong all of them may be.

## Not for

Judging anybody: no emotion, no deception, no state of mind. Real clips differ from phantoms in light, noise, heads, and in
what people do. Train on recordings (`stagkit evaluate`) and test on people who took no part.

## Made by

`stagkit weights phantom --rebuild --out FOLDER` draws, measures, trains, asks and writes this card; the same version of the
libraries gives the same figures.
"""
