"""``stagkit report RUN``: one page with the scores of a run, their caveats, its data, split, explanations and settings.

Warnings come first. The same run gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib
import pandas as pd

import stagkit
from stagkit.core.files import compute_digest, read_json
from stagkit.core.types import StagkitError
from stagkit.datasets import load_layout
from stagkit.datasets.cards import DatasetCard
from stagkit.evaluation.run import Run
from stagkit.evaluation.run_summary import describe_au_detection, list_cautions, tabulate_subjects
from stagkit.evaluation.splits import PROTOCOLS
from stagkit.explain.run import describe_evidence
from stagkit.explorers.page import Page
from stagkit.plots.evaluation import SCORE_NAMES
from stagkit.reports.paper.evidence import fig_11_muscles, fig_12_controls
from stagkit.reports.paper.graphs import fig_04_au_graphs
from stagkit.reports.paper.inputs import Inputs, MissingInput, count_tested, is_phantom
from stagkit.reports.paper.scores import fig_07_confusion

_SECTIONS = {
    "results": "Results",
    "subjects": "Results per subject",
    "split": "Split and leaks",
    "data": "Data",
    "explanations": "Explanations and their controls",
    "environment": "Settings and environment",
    "cite": "How to cite",
}
_LEAK_NAMES = {
    "last_epoch": "nothing: the last epoch (honest)",
    "best_test_epoch": "best epoch on the test subjects of each fold",
    "best_common_epoch": "best common epoch on the test subjects",
    "permuted_last_epoch": "shuffled labels, last epoch",
    "permuted_best_test_epoch": "shuffled labels, best test epoch",
}


def write_report(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a finished run to ``out``, or to ``report.html`` in the run.

    Raises:
        RunError: no run there, or it is not finished.
    """
    run = Run.load(path)
    return make_report(run).save(run.path / "report.html" if out is None else out)


def make_report(run: Run) -> Page:
    """The report of a run as a page."""
    matplotlib.use("Agg")
    inputs, metrics, config = Inputs(runs=(run,)), run.metrics, run.path / "config.yaml"
    groups = metrics["per_dataset"] if len(metrics["per_dataset"]) > 1 else {}
    groups = {**groups, **(metrics.get("per_pair") or {}), **(metrics.get("per_part") or {})}
    baselines = {"predictions, shuffled": "permuted", "always the most frequent class": "majority"}
    chance = {words: {**metrics["baselines"][k], "n_clips": metrics["n_clips"]} for words, k in baselines.items()}
    aus = metrics.get("au_detection")
    return Page(
        "run_report.html",
        f"Run {run.name}",
        contents=_SECTIONS,
        metrics=metrics,
        classes=list(run.request["classes"]),
        score_names=SCORE_NAMES,
        warnings=find_warnings(run),
        phantom=is_phantom(run),
        score_rows={"all clips": metrics, **groups, **chance},
        cautions=list_cautions(metrics),
        confusion=fig_07_confusion(inputs),
        au_detection=describe_au_detection(aus) if aus and aus.get("mean_auroc") is not None else "",
        subjects=tabulate_subjects(run.predictions).to_dict("records"),
        worst=find_worst(run).to_dict("records"),
        protocol=PROTOCOLS.get(run.request["protocol"], "as named"),
        split=check_split(run),
        leak=run.leak if (run.path / "leak.json").is_file() else None,
        leak_names=_LEAK_NAMES,
        tested=count_tested(run),
        sources=[_describe_source(part) for part in _list_parts(run.request["data"])],
        explanation=_describe_explanations(inputs),
        environment=_describe_environment(run),
        config=config.read_text(encoding="utf-8") if config.is_file() else "",
        citations=_list_citations(run),
    )


def find_warnings(run: Run) -> list[tuple[str, str]]:
    """What a reader must know before any number: (head, sentence), the most serious first; empty for a clean run."""
    request, found = run.request, []
    if request.get("leaky"):
        text = "It measures the optimism of selecting the epoch on the test subjects."
        text += " Its numbers are no evidence of recognition and must not be quoted as such."
        found.append(("Leak demonstration.", text))
    if request.get("permuted"):
        found.append(("Shuffled labels.", "It was trained on shuffled labels: it is a baseline, not a result."))
    if request.get("stratified") or not run.metrics.get("subject_disjoint", True):
        text = "Subjects of the test parts were trained on: the scores say nothing about new subjects."
        found.append(("Subjects in both parts.", text))
    for confounder in find_confounders(request["data"]):
        text = (
            f"A confounder was planted in these phantoms ({confounder}): a network can be right for the wrong reason."
        )
        found.append(("Confounded.", f"{text} The scores show the confounder, not recognition."))
    return found


def find_confounders(data: object) -> list[str]:
    """Names of the confounders planted in the data of a run, anywhere in its record."""
    if isinstance(data, dict):
        own = data.get("confounder")
        found = [str(own)] if own not in (None, "", "none") else []
        return found + [c for value in data.values() for c in find_confounders(value)]
    return [c for value in data for c in find_confounders(value)] if isinstance(data, (list, tuple)) else []


def find_worst(run: Run, n: int = 15) -> pd.DataFrame:
    """Wrong predictions with the highest mean probability: ``subject, clip, label, prediction, p, n_wrong, n_seeds``."""
    table = run.predictions.copy()
    table["p"] = [row[f"p_{row['prediction']}"] for row in table.to_dict("records")]
    wrong = table[table["label"] != table["prediction"]]
    keys = ["subject", "clip", "label", "prediction"]
    found = wrong.groupby(keys, as_index=False).agg(p=("p", "mean"), n_wrong=("seed", "nunique"))
    found["n_seeds"] = table["seed"].nunique()
    return found.sort_values(["n_wrong", "p", "subject", "clip"], ascending=[False, False, True, True]).head(n)


def check_split(run: Run) -> dict[str, object]:
    """Check the split again, from what is on disk.

    Returns:
        ``shared``: fold -> subjects in its training and its test part; ``unknown``: training clips whose subject is unknown
        (never tested, or two subjects share the name); ``reopened``: folds whose test part was opened more than once for
        the same seed; ``unblindings``: how many there are.
    """
    table = run.predictions
    owners: dict[str, set[str]] = {}
    for clip, subject in zip(table["clip"], table["subject"], strict=True):
        owners.setdefault(clip, set()).add(subject)
    shared, unknown = {}, 0
    for fold in run.split:
        tested = set(table.loc[table["fold"] == fold["fold"], "subject"])
        trained = [owners.get(clip, set()) for clip in fold["train"]]
        unknown += sum(len(subjects) != 1 for subjects in trained)
        both = tested & {next(iter(subjects)) for subjects in trained if len(subjects) == 1}
        if both:
            shared[fold["name"]] = sorted(both)
    records = run.collect_records()
    reopened = sorted({r["name"] for r in records if len(r.get("unblinded_at", [])) > 1})
    return {"shared": shared, "unknown": unknown, "reopened": reopened, "unblindings": len(records)}


def _list_parts(data: dict) -> list[dict]:
    """The records of the data sets that a run joins, or its one."""
    return [p for part in data["of"] for p in _list_parts(part)] if data.get("of") else [data]


def _find_source(part: dict) -> tuple[dict, str, DatasetCard | None]:
    """The record of a data set's source, its name, and its card if it is a published data set."""
    source = part["source"] if isinstance(part.get("source"), dict) else part
    name = str(source.get("name") or source.get("source") or "")
    try:
        card = None if isinstance(source.get("config"), dict) else load_layout(name.removesuffix("-phantom")).card
    except StagkitError:
        card = None
    return source, name, card


def _describe_source(part: dict) -> dict[str, object]:
    """Card, digests, corrections and warnings of a data set."""
    source, name, card = _find_source(part)
    facts = [("digest of the clips", part.get("digest")), ("digest of the source", source.get("digest"))]
    if card is not None:
        facts += [
            ("data set", card.title), ("provided by", f"{card.provider}; {card.contact}"), ("licence", card.licence),
            ("paper", f"doi:{card.doi}"), ("camera", f"{card.camera}; {card.fps}"), ("may be printed", card.printable),
            ("checked", card.checks),
        ]  # fmt: skip
    names = {"config": "phantoms"} if isinstance(source.get("config"), dict) else {}
    names |= {"flow": "optical flow", "roi": "regions", "mapping": "class mapping"}
    for key, words in {**names, "annotation_files": "annotation files", "frames_from": "frames from"}.items():
        value = part.get(key, source.get(key))
        facts.append((words, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value))
    notes = {key: source.get(key) for key in ("corrections", "skipped", "issues")}
    return {"name": name or "data", "facts": facts, **notes}


def _describe_environment(run: Run) -> list[tuple[str, object]]:
    environment, metrics, cost = run.environment, run.metrics, run.metrics.get("cost") or {}
    rows = [
        ("python", f"{environment['python']} on {environment['system']}"),
        ("versions", ", ".join(f"{n} {v}" for n, v in environment["versions"].items() if v)),
        ("device", metrics.get("device", environment["device"])),
        ("time", f"{metrics['seconds']:g} s in all" if "seconds" in metrics else None),
    ]
    if cost:
        size = f"{cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:.2f} M multiply-adds per clip"
        rows += [("network", size), ("inference", f"{cost['inference_ms_per_clip']:.1f} ms per clip")]
    files = ("run.json", "predictions.csv")
    return [*rows, *((f"digest of {name}", compute_digest((run.path / name).read_bytes())) for name in files)]


def _list_citations(run: Run) -> list[str]:
    cards = [card for *_, card in map(_find_source, _list_parts(run.request["data"])) if card is not None]
    return [
        f"stagkit {stagkit.__version__}: interactive analysis and explainability for micro-expression recognition.",
        "STAG: N. Sharma, V. Sharma and D. Singh, 2026, arXiv:2606.28083.",
        *(f"{card.title}: doi:{card.doi}." for card in cards),
    ]


#: Figure, its alternative text and its caption.
_EVIDENCE_FIGURES = (
    (fig_04_au_graphs, "the action units and AU edges that make each class",
     "Mean terms of action units and AU edges in the logit of each class, over correctly recognised test clips; with the "
     "bias all terms are the logit. 95 % intervals over subjects."),
    (fig_11_muscles, "attribution on the muscles of the face for each class",
     "Mean attribution of correctly recognised test clips to the muscles that moved; 95 % intervals over subjects."),
    (fig_12_controls, "scores of the explanations and of their controls",
     "Left: how much sooner the class logit falls and returns in the order of the map than in other orders. Middle: "
     "scores against the ground truth of the clips. Right: share of clips that pass each control."),
)  # fmt: skip


def _describe_explanations(inputs: Inputs) -> dict[str, object]:
    """``problem``, or ``evidence``, ``networks`` and ``figures``: (figure or None, alt text, caption, why not drawn)."""
    try:
        evidence = describe_evidence(inputs.evidence)
        networks = read_json(inputs.explanations / "summary.json").get("networks")
    except MissingInput:
        return {"problem": "Not explained: 'stagkit explain' on this run adds its explanations and their controls."}
    except StagkitError as error:
        return {"problem": str(error)}
    figures = []
    for draw, alt, caption in _EVIDENCE_FIGURES:
        try:
            figures.append((draw(inputs), alt, caption, ""))
        except MissingInput as reason:
            figures.append((None, alt, caption, str(reason)))
    unnamed = "These explanations do not name their networks: run 'stagkit explain' again to have it checked."
    words = unnamed if networks is None else f"Networks {networks}."
    return {"problem": "", "evidence": evidence, "networks": words, "figures": figures}
