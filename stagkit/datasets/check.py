"""Contents of a data set on disk, before anything is prepared: ``stagkit check-data NAME ROOT``."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import Progress, no_progress
from stagkit.datasets import load_layout, open_source
from stagkit.datasets.index import ClipRecord, Index, load_index
from stagkit.datasets.label_maps import load_class_maps
from stagkit.datasets.spreadsheets import read_text
from stagkit.datasets.subjects import compute_image_signature, find_alike_subjects, find_near_duplicates
from stagkit.datasets.tables import load_resource
from stagkit.motion.frames import load_frames

#: Entries per list in the text; the JSON has all.
_SHOWN = 12


def load_annotation_versions() -> dict[tuple[str, str], dict[str, int]]:
    """(data set, version) -> label -> clips in this version of the annotation file."""
    versions: dict[tuple[str, str], dict[str, int]] = {}
    for row in load_resource("annotation_versions.csv"):
        versions.setdefault((row["dataset"], row["version"]), {})[row["label"]] = int(row["count"])
    return versions


def find_version(dataset: str, labels: dict[str, int]) -> str:
    """The known version of the annotation file with these counts, '' if there is none."""
    return next((v for (d, v), counts in load_annotation_versions().items() if d == dataset and counts == labels), "")


def check_data(
    name: str,
    root: str | Path,
    annotations: str | Sequence[str] = "",
    decode: bool = False,
    progress: Progress = no_progress,
) -> dict:
    """Check a data set; arguments as ``open_source``.

    Args:
        decode: also decode every frame (slow), to find damaged ones; ``progress`` wraps those clips.

    Returns:
        The values of ``--json``: ``clips`` (rows, usable), ``labels`` and ``subjects`` (of usable clips), ``frames``
        (read, missing, outside), ``annotation_files`` (digest), ``version``, ``frames_from``, ``mappings`` (class ->
        listed, usable, published), ``corrections``, ``skipped``, ``issues``, ``orphan_folders``, ``phantom``, ``usable``.

    Raises:
        DatasetNotAvailable: nothing of it is there.
        StagkitError: no such data set; an annotation file that cannot be read.
    """
    if name == "manifest":
        index, title = _load_manifest_index(root, annotations)
        version = "manifest"
    else:
        layout = load_layout(name)
        index, title = load_index(layout, root, annotations), layout.card.title
        version = find_version(name, index.written)
    issues = [f"{key}: {text}" if key else text for key, text in index.issues]
    usable, skipped, duplicates = _decode(index.records, index.skipped, progress if decode else None)
    records = usable.values()
    parts: dict[str, set[str]] = {}
    for record in records:
        parts.setdefault(record.subject, set()).add(record.part)
    issues += [f"subject {s} is in the parts {', '.join(sorted(p))}" for s, p in sorted(parts.items()) if len(p) > 1]
    subjects = Counter(r.subject if name == "manifest" else r.subject.partition("/")[2] for r in records)
    n_frames = {"read": sum(len(r.frame_paths) for r in records), "missing": index.missing, "outside": index.outside}
    return {
        "dataset": name,
        "title": title,
        "phantom": index.phantom,
        "usable": bool(usable) and len(usable) >= len(skipped),
        "clips": {"rows": len(index.rows), "usable": len(usable)},
        "skipped": skipped,
        "labels": dict(Counter(r.label for r in records).most_common()),
        "parts": dict(Counter(r.part for r in records if r.part)),
        "landmarks": sum(r.landmarks is not None for r in records),
        "subjects": dict(sorted(subjects.items())),
        "frames": n_frames,
        "annotation_files": index.annotation_files,
        "version": version,
        "frames_from": index.base,
        "mappings": _count_classes(name, index, set(usable)),
        "corrections": list(index.corrections),
        "issues": issues + find_alike_subjects(r.subject for r in records) + duplicates,
        "orphan_folders": list(index.orphan_folders),
    }


def _load_manifest_index(root: str | Path, annotations: str | Sequence[str]) -> tuple[Index, str]:
    """The clips of a ``manifest.csv``, and a title."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StagkitWarning)  # all that it warns of is listed
        source = open_source("manifest", str(root), annotations)
    index = Index(skipped=dict(source.skipped), issues=[("", text) for text in source.issues], base=".")
    for key in source.keys:
        try:
            record = source.get_record(key)
            source.load_landmarks(record)
            index.issues += [(key, text) for text in source.find_issues(key)]
            index.records[key] = record
        except StagkitError as error:
            index.skipped[key] = str(error)
    index.rows = [*index.records, *index.skipped]
    index.annotation_files[source.table] = source.describe()["digest"]
    return index, f"manifest of {source.name}"


def _decode(
    records: Mapping[str, ClipRecord], skipped: Mapping[str, str], progress: Callable | None
) -> tuple[dict[str, ClipRecord], dict[str, str], list[str]]:
    """Usable clips, skipped ones with reasons, near duplicates of different subjects; decodes frames if ``progress``."""
    if progress is None:
        return dict(records), dict(skipped), []
    damaged, signatures = {}, {}
    for key, record in progress(records.items(), len(records)):
        try:
            signatures[key] = compute_image_signature(load_frames(record.frame_paths, key))
        except StagkitError as error:
            damaged[key] = str(error)
    usable = {key: records[key] for key in signatures}
    subjects = [record.subject for record in usable.values()]
    values = np.array(list(signatures.values()))
    duplicates = find_near_duplicates(values, subjects, list(usable)) if usable else []
    return usable, {**skipped, **damaged}, duplicates


def _count_classes(name: str, index: Index, usable: set[str]) -> dict[str, dict]:
    """Clips per class and mapping: listed, usable, published."""
    found = {}
    for (dataset, mapping), entry in load_class_maps().items():
        if dataset != name:
            continue
        rows = [(row.key, entry.compute_label(read_text(row.label), row.key)) for row in index.rows]
        listed, kept = Counter(label for _, label in rows), Counter(c for k, c in dict(rows).items() if k in usable)
        found[mapping] = {
            "classes": {c: {"listed": listed[c], "usable": kept[c], "published": n} for c, n in entry.counts.items()},
            "agrees": all(listed[c] == n for c, n in entry.counts.items()),
            "verified": entry.verified,
            "note": entry.note,
            "source": entry.source,
        }
    return found


def format_check(found: dict) -> str:
    """The result of ``check_data`` as text for a terminal."""
    clips, frames, files = found["clips"], found["frames"], found["annotation_files"]
    tables = ", ".join(f"{name} (sha256 {digest})" for name, digest in files.items())
    lines = [
        f"{found['title']}{', made by stagkit: phantoms, no real people' if found['phantom'] else ''}",
        f"annotated  {tables or 'by its folders'}",
        f"version    {'phantoms' if found['phantom'] else found['version'] or 'unknown: other counts'}",
        f"frames     in {found['frames_from']}: {frames['read']} to read, {frames['missing']} missing, "
        f"{frames['outside']} outside the coded range",
        f"landmarks  stored for {found['landmarks']} clips",
        f"clips      {clips['usable']} usable of {clips['rows']}: {_join(found['labels'])}",
        f"subjects   {len(found['subjects'])}: {_join(found['subjects'])}",
        *([f"parts      {_join(found['parts'])}"] if found["parts"] else []),
        "",
        f"{'mapping':<11}{'class':<12}{'listed':>7}{'usable':>8}{'published':>11}",
    ]
    for mapping, entry in found["mappings"].items():
        for i, (name, n) in enumerate(entry["classes"].items()):
            same = found["phantom"] or n["listed"] == n["published"]
            mark = "" if same else "  differs" if entry["verified"] else "  differs (recalled)"
            published = n["published"] if entry["verified"] else f"~{n['published']}"
            lines.append(
                f"{mapping if not i else '':<11}{name:<12}{n['listed']:>7}{n['usable']:>8}{published:>11}{mark}"
            )
    for title, items in (
        ("corrected", found["corrections"]),
        ("skipped", [f"{key}: {why}" for key, why in found["skipped"].items()]),
        ("issues", found["issues"]),
        ("folders without a row", found["orphan_folders"]),
    ):
        if items:
            lines += ["", f"{title} ({len(items)}):", *(f"  {item}" for item in items[:_SHOWN])]
            lines += [f"  ... and {len(items) - _SHOWN} more (--json has all)"] if len(items) > _SHOWN else []
    lines += ["", "usable" if found["usable"] else "not usable: fewer than half of its clips can be read"]
    return "\n".join(lines)


def _join(counts: dict[str, int]) -> str:
    text = ", ".join(f"{name} {n}" for name, n in list(counts.items())[:40])
    return f"{text}, ..." if len(counts) > 40 else text or "none"
