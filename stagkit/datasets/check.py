"""Contents of a data set on disk, before anything is prepared: ``stagkit check-data NAME ROOT``."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import RESOURCES, Progress, no_progress
from stagkit.datasets import load_layout, open_source
from stagkit.datasets.index import ClipRecord, Index, load_index
from stagkit.datasets.label_maps import load_class_maps
from stagkit.datasets.spreadsheets import read_text
from stagkit.datasets.subjects import compute_image_signature, find_alike_subjects, find_near_duplicates
from stagkit.motion.frames import load_frames

#: Entries per list in the text; the JSON has all.
_SHOWN = 12


@cache
def load_annotation_versions(
    path: Path = RESOURCES / "annotation_versions.csv",
) -> dict[tuple[str, str], dict[str, int]]:
    """(data set, version) -> label -> clips in this version of the annotation file."""
    versions: dict[tuple[str, str], dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
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
    """Check a data set.

    Args:
        name: e.g. ``casme2``, or ``manifest``; root: its folder; annotations: file name, if there are several.
        decode: also decode every frame (slow), to find damaged ones.
        progress: wraps the clips whose frames are decoded.

    Returns:
        The values of ``--json``: ``clips`` (rows, usable), ``labels`` and ``subjects`` (of usable clips), ``frames``
        (read, missing, outside), ``annotation_files`` (digest), ``version``, ``frames_from``, ``mappings`` (class ->
        listed, usable, published), ``corrections``, ``skipped``, ``issues``, ``orphan_folders``, ``phantom``, ``usable``.

    Raises:
        DatasetNotAvailable: nothing of it is there.
        StagkitError: no such data set; an annotation file that cannot be read.
    """
    if name == "manifest":
        return _check_manifest(root, annotations, decode, progress)
    layout = load_layout(name)
    index = load_index(layout, root, annotations)
    issues = [f"{key}: {text}" if key else text for key, text in index.issues]
    usable, skipped, duplicates = _decode(index.records, index.skipped, progress if decode else None)
    parts: dict[str, set[str]] = {}
    for record in usable.values():
        parts.setdefault(record.subject, set()).add(record.part)
    issues += [f"subject {s} is in the parts {', '.join(sorted(p))}" for s, p in sorted(parts.items()) if len(p) > 1]
    return {
        "dataset": name,
        "title": layout.card.title,
        "phantom": index.phantom,
        **_summarise(usable, skipped, len(index.rows)),
        "subjects": dict(sorted(Counter(r.subject.partition("/")[2] for r in usable.values()).items())),
        "frames": {
            "read": sum(len(r.frame_paths) for r in usable.values()),
            "missing": index.missing,
            "outside": index.outside,
        },
        "annotation_files": index.annotation_files,
        "version": find_version(name, index.written),
        "frames_from": index.base,
        "mappings": _count_classes(name, index, set(usable)),
        "corrections": list(index.corrections),
        "issues": issues + find_alike_subjects(r.subject for r in usable.values()) + duplicates,
        "orphan_folders": list(index.orphan_folders),
    }


def _check_manifest(root: str | Path, annotations: str | Sequence[str], decode: bool, progress: Progress) -> dict:
    """The same for the clips of a ``manifest.csv``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StagkitWarning)  # all that it warns of is listed
        source = open_source("manifest", str(root), annotations)
    records, skipped, issues, frames = {}, dict(source.skipped), list(source.issues), 0
    for key in source.keys:
        try:
            records[key] = source.get_record(key)
            source.load_landmarks(records[key])
            frames += len(records[key].frame_paths)
            issues += [f"{key}: {text}" for text in source.find_issues(key)]
        except StagkitError as error:
            records.pop(key, None)
            skipped[key] = str(error)
    usable, skipped, duplicates = _decode(records, skipped, progress if decode else None)
    return {
        "dataset": "manifest",
        "title": f"manifest of {source.name}",
        "phantom": False,
        **_summarise(usable, skipped, len(usable) + len(skipped)),
        "subjects": dict(sorted(Counter(r.subject for r in usable.values()).items())),
        "frames": {"read": frames, "missing": 0, "outside": 0},
        "annotation_files": {source.table: source.describe()["digest"]},
        "version": "manifest",
        "frames_from": ".",
        "mappings": {},
        "corrections": [],
        "issues": issues + find_alike_subjects(r.subject for r in usable.values()) + duplicates,
        "orphan_folders": [],
    }


def _summarise(usable: Mapping[str, ClipRecord], skipped: dict[str, str], n_rows: int) -> dict:
    return {
        "usable": bool(usable) and len(usable) >= len(skipped),
        "clips": {"rows": n_rows, "usable": len(usable)},
        "skipped": skipped,
        "labels": dict(Counter(r.label for r in usable.values()).most_common()),
        "parts": dict(Counter(r.part for r in usable.values() if r.part)),
        "landmarks": sum(r.landmarks is not None for r in usable.values()),
    }


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
        listed = Counter(label for _, label in rows if label)
        kept = Counter(label for key, label in dict(rows).items() if key in usable and label)
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
