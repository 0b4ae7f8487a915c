"""Of a report: where the numbers of a run come from: data cards and corrections, settings, versions, whom to cite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagkit.core.files import compute_digest
from stagkit.evaluation.run import Run
from stagkit.reports.page import Html, bullets, count, facts, paragraph, table, to_html

if TYPE_CHECKING:
    from stagkit.datasets.cards import DatasetCard


def _parts(data: dict) -> list[dict]:
    """The records of the data sets that a run joins, or its one."""
    return [p for part in data["of"] for p in _parts(part)] if data.get("of") else [data]


def _find_card(name: str) -> DatasetCard | None:
    from stagkit.core.types import StagkitError
    from stagkit.datasets import load_layout

    try:
        return load_layout(name.removesuffix("-phantom")).card
    except StagkitError:
        return None


def tell_data(run: Run) -> str:
    """What was tested, and the card, digest, corrections and issues of every data set."""
    text = []
    table_ = run.predictions
    counts = table_[table_["seed"] == table_["seed"].min()].drop_duplicates(["dataset", "subject", "clip"])
    rows = []
    for name, part in counts.groupby("dataset"):
        share = part["label"].value_counts()
        rows.append(
            (name, len(part), part["subject"].nunique(), *(int(share.get(c, 0)) for c in run.request["classes"]))
        )
    text.append(table(("tested data set", "clips", "subjects", *run.request["classes"]), rows))
    for part in _parts(run.request["data"]):
        text.append(_tell_source(part))
    return "\n".join(text)


def _tell_source(part: dict) -> str:
    source = part.get("source")
    about = source if isinstance(source, dict) else part
    name = str(about.get("name") or about.get("source") or "data")
    text = [f"<h3>{to_html(name)}</h3>"]
    config = about.get("config")
    card = None if isinstance(config, dict) else _find_card(name)
    rows: list[tuple[str, object]] = [
        ("digest of the clips", part.get("digest", "")),
        ("digest of the source", about.get("digest")),
    ]
    if card is not None:
        rows += [
            ("data set", card.title),
            ("granted by", f"{card.provider}; {card.ask}"),
            ("licence", card.licence),
            ("paper", f"doi:{card.doi}"),
            ("camera", f"{card.camera}; {card.fps}"),
            ("may be printed", card.printable),
            ("checked", card.checks),
        ]
    elif isinstance(config, dict):
        rows += [("phantoms", ", ".join(f"{k} {v}" for k, v in config.items()))]
    for key, words in (
        ("flow", "optical flow"),
        ("roi", "regions"),
        ("mapping", "class mapping"),
        ("annotation_files", "annotation files"),
        ("frames_from", "frames from"),
    ):
        value = part.get(key, about.get(key))
        if value:
            rows.append((words, ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value))
    text.append(facts((k, v) for k, v in rows if v))
    corrections, skipped = about.get("corrections"), about.get("skipped") or {}
    if corrections:
        text.append(paragraph(f"{count(corrections, 'correction')} to the sheet:") + bullets(corrections))
    else:
        text.append(
            paragraph(
                "No correction was applied to a sheet."
                if corrections == []
                else "Nothing to correct: there is no annotation file.",
                "soft",
            )
        )
    if skipped:
        text.append(paragraph(f"{count(skipped, 'clip')} left out:") + bullets(f"{k}: {v}" for k, v in skipped.items()))
    if about.get("issues"):
        text.append(paragraph("Faults found:") + bullets(about["issues"]))
    return "\n".join(text)


def tell_environment(run: Run) -> str:
    """Versions, device, cost, digests and settings."""
    environment, metrics = run.environment, run.metrics
    versions = ", ".join(f"{n} {v}" for n, v in environment["versions"].items() if v)
    cost = metrics.get("cost") or {}
    digests = ((name, compute_digest((run.path / name).read_bytes())) for name in ("run.json", "predictions.csv"))
    rows = [
        ("python", f"{environment['python']} on {environment['system']}"),
        ("versions", versions),
        ("device", metrics.get("device", environment["device"])),
        ("time", f"{metrics['seconds']:g} s in all" if "seconds" in metrics else None),
        (
            "network",
            f"{cost['parameters']:,} parameters, {cost['multiply_adds'] / 1e6:.2f} M multiply-adds a clip"
            if cost
            else None,
        ),
        ("one answer", f"{cost['inference_ms_per_clip']:.1f} ms" if cost else None),
        *((f"digest of {name}", digest) for name, digest in digests),
    ]
    text = [facts((k, v) for k, v in rows if v)]
    config = run.path / "config.yaml"
    if config.is_file():
        text.append(f"<h3>Settings (config.yaml)</h3><pre>{to_html(config.read_text(encoding='utf-8'))}</pre>")
    return "\n".join(text)


def tell_citation(run: Run) -> str:
    """What to cite, and the command that makes the run again."""
    import stagkit

    lines = [
        f"stagkit {stagkit.__version__}: interactive analysis and explainability for micro-expression recognition.",
        "STAG: N. Sharma, V. Sharma and D. Singh, 2026, arXiv:2606.28083.",
    ]
    for part in _parts(run.request["data"]):
        about = part["source"] if isinstance(part.get("source"), dict) else part
        card = None if isinstance(about.get("config"), dict) else _find_card(str(about.get("name", "")))
        if card is not None:
            lines.append(f"{card.title}: doi:{card.doi}.")
    again = f"stagkit evaluate DATA --protocol {run.request['protocol']} --config config.yaml --out RUN"
    words = f"To make it again: <code>{to_html(again)}</code> with the settings and the data (by its digest) above."
    return bullets(lines) + paragraph(Html(words))
