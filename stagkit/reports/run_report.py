"""``stagkit report RUN``: everything that a reader needs to believe a run, or to doubt it, on one self-contained page.

What counts against a run stands first: a leak demonstration, shuffled labels, people on both sides of the split, a planted
confounder, phantoms. The same run gives the same bytes.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from stagkit.core.files import read_json, write_text
from stagkit.evaluation.metrics import SCORES
from stagkit.evaluation.run import Run
from stagkit.evaluation.run_summary import describe_au_detection, list_cautions
from stagkit.reports.page import Html, box, bullets, count, make_page, paragraph, picture, table, tiles
from stagkit.reports.run_report_sources import tell_citation, tell_data, tell_environment

if TYPE_CHECKING:
    import pandas as pd

    from stagkit.reports.paper.inputs import Inputs

_WORST = 15
_NAMES = {"uf1": "UF1", "uar": "UAR", "acc": "accuracy"}


def write_report(path: str | Path, out: str | Path | None = None) -> Path:
    """Write the page of a finished run.

    Args:
        path: the run.
        out: file to write; ``report.html`` in the run where None.

    Raises:
        RunError: no run there, or it is not finished.
    """
    run = Run.load(path)
    out = run.path / "report.html" if out is None else Path(out)
    write_text(out, make_report(run))
    return out


def make_report(run: Run) -> str:
    """The page as HTML."""
    import matplotlib

    matplotlib.use("Agg")
    from stagkit.reports.paper.inputs import Inputs

    records = Inputs(runs=(run,))
    sections = [
        ("results", "Results", _tell_results(records)),
        ("people", "For whom it fails", _tell_people(run)),
        ("split", "Split and leaks", _tell_split(run)),
        ("data", "Data", tell_data(run)),
        ("evidence", "Explanations and their controls", _tell_evidence(records)),
        ("environment", "Settings and environment", tell_environment(run)),
        ("cite", "How to cite", tell_citation(run)),
    ]
    return make_page(f"Run {run.name}", sections, _tell_head(run))


def find_warnings(run: Run) -> list[tuple[str, str]]:
    """What a reader must know before any number: (head, sentence), the gravest first; empty for a clean run."""
    request, marks = run.request, []
    if request.get("leaky"):
        marks.append(
            (
                "Leak demonstration.",
                "It shows what choosing the epoch on the test subjects would "
                "claim. Its numbers "
                "are no evidence of recognition and must not be quoted as such.",
            )
        )
    if request.get("permuted"):
        marks.append(
            ("Shuffled labels.", "It was trained on labels that mean nothing: it is a baseline, not a result.")
        )
    if request.get("stratified") or not run.metrics.get("subject_disjoint", True):
        marks.append(
            (
                "People on both sides.",
                "Subjects of the test parts were trained on: the scores say nothing about people who were never seen.",
            )
        )
    for confounder in find_confounders(request["data"]):
        marks.append(
            (
                "Confounded.",
                f"A confounder was planted in these phantoms ({confounder}): a network can be right for the "
                "wrong reason. The scores show the confounder, not recognition.",
            )
        )
    return marks


def find_confounders(data: object) -> list[str]:
    """Names of the confounders planted in the data of a run, anywhere in its record."""
    if isinstance(data, dict):
        own = data.get("confounder")
        found = [str(own)] if own not in (None, "", "none") else []
        return found + [c for value in data.values() for c in find_confounders(value)]
    return [c for value in data for c in find_confounders(value)] if isinstance(data, (list, tuple)) else []


def _is_phantom(run: Run) -> bool:
    return "phantom" in str(run.request["data"])


def _tell_head(run: Run) -> str:
    metrics = run.metrics
    parts = [box(*mark, bad=True) for mark in find_warnings(run)]
    if _is_phantom(run):
        parts.append(
            box(
                "Phantoms.",
                "The clips are synthetic faces, drawn by a program: the numbers say how well planted "
                "motion is found, nothing about real people.",
            )
        )
    first = (
        f"{metrics['model'].upper()}, protocol {metrics['protocol']}: {metrics['n_clips']} clips of {metrics['n_subjects']} "
        f"subjects, {metrics['n_folds']} folds, {count(metrics['seeds'], 'seed')}."
    )
    numbers = [(_NAMES[s], f"{metrics[s]['mean']:.3f}", f"95 %: {_span(metrics[s]['ci95'])}") for s in SCORES]
    about = (
        "It is recognition of small facial movements in the clips named below. It is no lie detector and no diagnosis."
    )
    return "\n".join([paragraph(first, "soft"), *parts, tiles(numbers), paragraph(about, "soft small")])


def _span(pair) -> str:
    return "not known" if pair[0] is None else f"{pair[0]:.3f} to {pair[1]:.3f}"


def _tell_results(records: Inputs) -> str:
    from stagkit.reports.paper.scores import fig_07_confusion

    metrics = records.run.metrics
    rows = [("all clips", metrics["n_clips"], *_score_cells(metrics))]
    groups = {} if len(metrics["per_dataset"]) < 2 else dict(metrics["per_dataset"])
    groups |= metrics.get("per_pair", {}) | metrics.get("per_part", {})
    rows += [(name, row["n_clips"], *_score_cells(row)) for name, row in groups.items()]
    for name, why in (("permuted", "same answers, shuffled"), ("majority", "always the commonest class")):
        rows.append((why, metrics["n_clips"], *(f"{metrics['baselines'][name][s]:.3f}" for s in SCORES)))
    text = [
        table(
            ("", "clips", *_NAMES.values()),
            rows,
            "Counts pooled over folds, then scored once; 95 % "
            "intervals by bootstrap "
            "over subjects. The last two lines know nothing of the clips.",
        ),
    ]
    text += [box("Caution.", f"{name}: {caveat}.") for name, caveat in list_cautions(metrics).items()]
    if len(metrics["seeds"]) > 1:
        spread = ", ".join(f"{_NAMES[s]} {metrics[s]['std']:.3f}" for s in SCORES)
        text.append(paragraph(f"Standard deviation over {len(metrics['seeds'])} seeds: {spread}.", "soft"))
    classes = [
        (name, row["n"], _number(row["f1"]), _number(row["recall"])) for name, row in metrics["per_class"].items()
    ]
    text.append(table(("class", "clips", "F1", "recall"), classes))
    text.append(
        picture(
            fig_07_confusion(records),
            "confusion of the test predictions and scores with intervals",
            "Left: predicted against true class, counts summed over seeds. Right: scores with 95 % intervals; "
            "diamonds are answers that know nothing.",
        )
    )
    calibration = metrics.get("calibration")
    if calibration:
        text.append(
            paragraph(
                f"Calibration error of the probabilities: {calibration['ece']:.3f} (0 is "
                f"perfect), Brier score "
                f"{calibration['brier']:.3f}."
            )
        )
    aus = metrics.get("au_detection")
    if aus and aus.get("mean_auroc") is not None:
        words = describe_au_detection(aus)
        text.append(paragraph(f"{words[:1].upper()}{words[1:]}."))
    return "\n".join(text)


def _score_cells(row: dict) -> list[str]:
    return [f"{row[s]['mean']:.3f} [{_span(row[s]['ci95'])}]" for s in SCORES]


def _number(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _tell_people(run: Run) -> str:
    from stagkit.evaluation.calibration import tabulate_subjects

    people = tabulate_subjects(run.predictions)
    classes = run.request["classes"]
    rows = [
        (
            row["subject"],
            row["n_clips"],
            f"{row['acc']:.2f}",
            *(f"{row[f'right_{c}']:g} of {row[f'n_{c}']:g}" if row.get(f"n_{c}") else None for c in classes),
        )
        for row in people.to_dict("records")
    ]
    worst = find_worst(run)
    wrong = [
        (r["clip"], r["subject"], r["label"], r["prediction"], f"{r['p']:.2f}", f"{r['n_wrong']} of {r['n_seeds']}")
        for r in worst.to_dict("records")
    ]
    head = ("subject", "clips", "accuracy", *(f"right: {c}" for c in classes))
    text = [table(head, rows, "Every subject, those with the lowest accuracy first; means over seeds.")]
    text.append("<h3>Clips that were answered wrong most surely</h3>")
    text.append(
        table(("clip", "subject", "true", "answer", "probability", "seeds wrong"), wrong)
        if wrong
        else paragraph("No test clip was answered wrong.")
    )
    return "\n".join(text)


def find_worst(run: Run, n: int = _WORST) -> pd.DataFrame:
    """Clips answered wrong with the highest mean probability for the wrong answer: ``subject, clip, label, prediction, p,
    n_wrong, n_seeds``."""
    table = run.predictions
    said = table.copy()
    said["p"] = [row[f"p_{row['prediction']}"] for row in table.to_dict("records")]
    seeds = table["seed"].nunique()
    wrong = said[said["label"] != said["prediction"]]
    keys = ["subject", "clip", "label"]
    found = wrong.groupby([*keys, "prediction"], as_index=False).agg(p=("p", "mean"), n_wrong=("seed", "nunique"))
    found["n_seeds"] = seeds
    return found.sort_values(["n_wrong", "p", "subject", "clip"], ascending=[False, False, True, True]).head(n)


def check_split(run: Run) -> dict[str, object]:
    """Look the split over anew, from what is on disk.

    Returns:
        ``shared``: fold -> subjects whose clips are in its training and its test part; ``unknown``: training clips whose
        subject cannot be told (they were never tested, or two subjects share the name); ``reopened``: folds whose test
        part was opened more than once for the same seed; ``unblindings``: how many there are.
    """
    table = run.predictions
    owners: dict[str, set[str]] = {}
    for clip, subject in zip(table["clip"], table["subject"], strict=True):
        owners.setdefault(clip, set()).add(subject)
    shared, unknown = {}, 0
    for fold in run.split:
        tested = set(table.loc[table["fold"] == fold["fold"], "subject"])
        known = [owners.get(clip, set()) for clip in fold["train"]]
        unknown += sum(len(people) != 1 for people in known)
        both = tested & {next(iter(people)) for people in known if len(people) == 1}
        if both:
            shared[fold["name"]] = sorted(both)
    records = run.collect_records()
    reopened = sorted({r["name"] for r in records if len(r.get("unblinded_at", [])) > 1})
    return {"shared": shared, "unknown": unknown, "reopened": reopened, "unblindings": len(records)}


def _tell_split(run: Run) -> str:
    from stagkit.evaluation.splits import PROTOCOLS

    metrics, found = run.metrics, check_split(run)
    protocol = run.request["protocol"]
    lines = [
        f"Protocol {protocol}: {PROTOCOLS.get(protocol, 'as named')}. {metrics['n_folds']} folds; epochs "
        f"{metrics['epoch_selection']}."
    ]
    if found["shared"]:
        few = ", ".join(f"{name} ({', '.join(s[:3])})" for name, s in list(found["shared"].items())[:4])
        lines.append(
            Html(
                f'<span class="wrong">Looked over anew: in {len(found["shared"])} folds a subject is '
                f"in both parts: "
                f"{few}.</span>"
            )
        )
    else:
        lines.append(
            Html(
                '<span class="good">Looked over anew for this page: no subject is in the training and '
                "the test part "
                f"of a fold, in any of the {metrics['n_folds']} folds.</span>"
            )
        )
    if found["unknown"]:
        lines.append(f"For {found['unknown']} entries of training lists the subject could not be told from the record.")
    if found["unblindings"]:
        again = f"opened again: {', '.join(found['reopened'])}" if found["reopened"] else "none was opened twice"
        lines.append(
            f"The seal of {found['unblindings']} test parts was opened after the last training decision; {again}. "
            "Each unblinding is recorded in seal.json."
        )
    else:
        lines.append("This run keeps no record of when its test parts were opened (it was made by an older stagkit).")
    if metrics.get("classes_missing_in_train"):
        gaps = "; ".join(f"{name}: {', '.join(c)}" for name, c in metrics["classes_missing_in_train"].items())
        lines.append(f"Folds that had no training clip of a class: {gaps}.")
    text = [bullets(lines)]
    if (run.path / "leak.json").is_file():
        text.append(_tell_leak(run.leak))
    else:
        text.append(
            paragraph(
                "What choosing the epoch on the test subjects would have claimed was not measured in this run "
                "(stagkit evaluate --leaky measures it).",
                "soft",
            )
        )
    return "\n".join(text)


def _tell_leak(leak: dict) -> str:
    words = {
        "last_epoch": "honest: the last epoch",
        "best_test_epoch": "best epoch on the test subjects of each fold",
        "best_common_epoch": "best common epoch on the test subjects",
        "permuted_last_epoch": "shuffled labels, last epoch",
        "permuted_best_test_epoch": "shuffled labels, best test epoch",
    }
    rows = [
        (name, *(f"{leak['mean'][key][s]:.3f}" for s in SCORES)) for key, name in words.items() if key in leak["mean"]
    ]
    return box("What a leak would claim.", leak["warning"], bad=True) + table(
        ("epoch chosen by", *_NAMES.values()), rows
    )


# ── explanations ─────────────────────────────────────────────────────────────────────────────────────────────────────


def describe_explained_network(records: Inputs) -> str:
    """Which networks were asked for the explanations, and that none was trained on the clip it explains."""
    words = read_json(records.explanations / "summary.json").get("networks")
    if words is None:
        return "Which networks were asked is not in these explanations: run 'stagkit explain' again to have it checked."
    return f"Networks {words}."


def _tell_evidence(records: Inputs) -> str:
    from stagkit.core.types import StagkitError
    from stagkit.explain.run import describe_evidence
    from stagkit.reports.paper.evidence import fig_11_muscles, fig_12_controls
    from stagkit.reports.paper.inputs import MissingInput

    try:
        text = [paragraph(describe_evidence(records.evidence)), paragraph(describe_explained_network(records), "soft")]
    except MissingInput:
        return paragraph(
            "Not explained: 'stagkit explain' on this run adds its explanations and their controls.", "soft"
        )
    except StagkitError as error:
        return paragraph(str(error))
    for draw, words, caption in (
        (
            fig_11_muscles,
            "attribution on the muscles of the face for each class",
            "Mean attribution of correctly recognised test clips to the muscles that moved, with 95 % intervals "
            "over subjects.",
        ),
        (
            fig_12_controls,
            "scores of the explanations beside their controls",
            "Left: how much sooner the answer falls and returns in the order of the map than in other orders. "
            "Middle: scores against what is known of the clips. Right: share of clips in which each control holds.",
        ),
    ):
        try:
            text.append(picture(draw(records), words, caption))
        except MissingInput as reason:
            text.append(paragraph(f"Not drawn: {reason}.", "soft"))
    return "\n".join(text)
