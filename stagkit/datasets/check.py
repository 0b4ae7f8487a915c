"""What a data set on disk holds, before anything is prepared: ``stagkit check-data NAME ROOT``."""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path

import numpy as np

from stagkit.core.errors import StagkitError, StagkitWarning
from stagkit.core.files import RESOURCES, Progress, no_progress
from stagkit.datasets import load_layout, open_source
from stagkit.datasets.index import Index, load_index
from stagkit.datasets.label_maps import load_class_maps
from stagkit.datasets.spreadsheets import read_text
from stagkit.datasets.subjects import compute_image_signature, find_alike_subjects, find_near_duplicates
from stagkit.motion.frames import load_frames

_VERSIONS = RESOURCES / "annotation_versions.csv"

#: How many of a kind the table shows; the JSON has all.
_SHOWN = 12


@cache
def load_annotation_versions(path: Path = _VERSIONS) -> dict[tuple[str, str], dict[str, int]]:
    """(data set, version) -> clips of each label that this version of the annotation file holds."""
    versions: dict[tuple[str, str], dict[str, int]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            versions.setdefault((row["dataset"], row["version"]), {})[row["label"]] = int(row["count"])
    return versions


def find_version(dataset: str, labels: dict[str, int]) -> str:
    """Which known version of the annotation file has these counts; '' where none has."""
    return next((v for (d, v), counts in load_annotation_versions().items() if d == dataset and counts == labels), "")


def check_data(
    name: str,
    root: str | Path,
    annotations: str | Sequence[str] = "",
    decode: bool = False,
    progress: Progress = no_progress,
) -> dict:
    """Look a data set over.

    Args:
        name: e.g. ``casme2``, or ``manifest``; root: its folder; annotations: file name, if there are several.
        decode: decode every frame too (slow), so that damaged ones are found.
        progress: wraps the clips whose pictures are read.

    Returns:
        Plain values, as ``--json`` writes them: ``clips`` (rows, usable), ``labels`` and ``subjects`` (of usable clips),
        ``frames`` (read, missing, outside), ``annotation_files`` (digest), ``version``, ``frames_from``, ``mappings``
        (class -> listed, usable, published), ``corrections``, ``skipped``, ``issues``, ``orphan_folders``, ``phantom``,
        ``usable``.

    Raises:
        DatasetNotAvailable: nothing of it is there.
        StagkitError: no such data set; an annotation file that cannot be read.
    """
    if name == "manifest":
        return _check_manifest(root, annotations, decode, progress)
    layout = load_layout(name)
    index = load_index(layout, root, annotations)
    read = {key: partial(load_frames, record.frame_paths, key) for key, record in index.records.items()}
    owners = {key: record.subject for key, record in index.records.items()}
    damaged, twins = _read_all(read, owners, progress) if decode else ({}, [])
    skipped = {**index.skipped, **damaged}
    usable = {key: record for key, record in index.records.items() if key not in damaged}
    issues = [f"{key}: {text}" if key else text for key, text in index.issues] + _find_shared(usable)
    return {
        "dataset": name,
        "title": layout.card.title,
        "phantom": index.phantom,
        "usable": bool(usable) and len(usable) >= len(skipped),
        "clips": {"rows": len(index.rows), "usable": len(usable)},
        "labels": dict(Counter(r.label for r in usable.values()).most_common()),
        "subjects": dict(sorted(Counter(r.subject.partition("/")[2] for r in usable.values()).items())),
        "parts": dict(Counter(r.part for r in usable.values() if r.part)),
        "frames": {
            "read": sum(len(r.frame_paths) for r in usable.values()),
            "missing": index.missing,
            "outside": index.outside,
        },
        "landmarks": sum(r.landmarks is not None for r in usable.values()),
        "annotation_files": index.annotation_files,
        "version": find_version(name, index.written),
        "frames_from": index.base,
        "mappings": _count_classes(name, index, set(usable)),
        "corrections": list(index.corrections),
        "skipped": skipped,
        "issues": issues + find_alike_subjects(r.subject for r in usable.values()) + twins,
        "orphan_folders": list(index.orphan_folders),
    }


def _check_manifest(root: str | Path, annotations: str | Sequence[str], decode: bool, progress: Progress) -> dict:
    """The same of the clips of a ``manifest.csv``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", StagkitWarning)  # all that it warns of is listed
        source = open_source("manifest", str(root), annotations)
    about, rows = source.describe(), dict(zip(source.keys, source.list_rows(), strict=True))
    skipped, issues, frames = dict(source.skipped), list(about.get("issues", [])), 0
    for key in source.keys:
        try:
            frames += source.check(key)
            issues += [f"{key}: {text}" for text in source.find_issues(key)]
        except StagkitError as error:
            skipped[key] = str(error)
    people = {key: f"{row['dataset']}/{row['subject']}" for key, row in rows.items() if key not in skipped}
    damaged, twins = {}, []
    if decode:
        damaged, twins = _read_all({key: lambda key=key: source.read(key).frames for key in people}, people, progress)
    skipped |= damaged
    usable = {key: row for key, row in rows.items() if key not in skipped}
    return {
        "dataset": "manifest",
        "title": f"manifest of {source.name}",
        "phantom": False,
        "usable": bool(usable) and len(usable) >= len(skipped),
        "clips": {"rows": len(usable) + len(skipped), "usable": len(usable)},
        "labels": dict(Counter(str(row["label"]) for row in usable.values()).most_common()),
        "subjects": dict(sorted(Counter(people[key] for key in usable).items())),
        "parts": dict(Counter(str(row["part"]) for row in usable.values() if row["part"])),
        "frames": {"read": frames, "missing": 0, "outside": 0},
        "landmarks": sum(bool(row["landmarks"]) for row in usable.values()),
        "annotation_files": {source.table: about["digest"]},
        "version": "manifest",
        "frames_from": ".",
        "mappings": {},
        "corrections": [],
        "skipped": skipped,
        "issues": issues + find_alike_subjects(people[key] for key in usable) + twins,
        "orphan_folders": [],
    }


def _read_all(
    read: dict[str, Callable[[], np.ndarray]], people: dict[str, str], progress: Progress
) -> tuple[dict[str, str], list[str]]:
    """Decode every frame: clips that cannot be read, with the reason; clips of two people that are nearly the same."""
    damaged, signatures = {}, {}
    for key, pictures in progress(read.items(), len(read)):
        try:
            signatures[key] = compute_image_signature(pictures())
        except StagkitError as error:
            damaged[key] = str(error)
    keys = list(signatures)
    values = np.array([signatures[key] for key in keys])
    return damaged, find_near_duplicates(values, [people[key] for key in keys], keys) if keys else []


def _find_shared(usable: dict) -> list[str]:
    """Subjects that stand in two official parts."""
    parts: dict[str, set[str]] = {}
    for record in usable.values():
        parts.setdefault(record.subject, set()).add(record.part)
    return [f"subject {s} is in the parts {', '.join(sorted(p))}" for s, p in sorted(parts.items()) if len(p) > 1]


def _count_classes(name: str, index: Index, usable: set[str]) -> dict[str, dict]:
    """Clips of each class after each mapping: in the annotations, usable, published."""
    found = {}
    for (dataset, mapping), entry in load_class_maps().items():
        if dataset != name:
            continue
        labels = {row.key: entry.compute_label(read_text(row.label), row.key) for row in index.rows}
        listed = Counter(filter(None, (entry.compute_label(read_text(r.label), r.key) for r in index.rows)))
        kept = Counter(label for key, label in labels.items() if key in usable and label)
        found[mapping] = {
            "classes": {c: {"listed": listed[c], "usable": kept[c], "published": n} for c, n in entry.counts.items()},
            "agrees": all(listed[c] == n for c, n in entry.counts.items()),
            "verified": entry.verified,
            "note": entry.note,
            "source": entry.source,
        }
    return found


def format_check(found: dict) -> str:
    """The look-over as text for a terminal."""
    clips, frames = found["clips"], found["frames"]
    annotation_files = (
        ", ".join(f"{name} (sha256 {digest})" for name, digest in found["annotation_files"].items()) or "none needed"
    )
    version = (
        "phantoms"
        if found["phantom"]
        else found["version"]
        or ("none known has these counts" if found["annotation_files"] else "counts differ from the published")
    )
    lines = [
        f"{found['title']}{', drawn by stagkit: phantoms, no real people' if found['phantom'] else ''}",
        f"annotated  {annotation_files}",
        f"version    {version}",
        f"frames     in {found['frames_from']}: {frames['read']} to read, {frames['missing']} missing, "
        f"{frames['outside']} outside the coded range",
        f"landmarks  stored for {found['landmarks']} clips",
        f"clips      {clips['usable']} usable of {clips['rows']}: {_join(found['labels'])}",
        f"subjects   {len(found['subjects'])}: {_join(found['subjects'])}",
    ]
    if found["parts"]:
        lines.append(f"parts      {_join(found['parts'])}")
    lines += ["", f"{'mapping':<11}{'class':<12}{'listed':>7}{'usable':>8}{'published':>11}"]
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
        ("left out", [f"{key}: {why}" for key, why in found["skipped"].items()]),
        ("odd", found["issues"]),
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
