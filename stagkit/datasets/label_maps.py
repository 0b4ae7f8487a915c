"""Class mappings: label in the annotation file -> class, with the published number of clips per class.

Tables of ``resources``: ``class_maps.csv`` (labels that are not named are excluded), ``class_counts.csv`` and
``class_exclusions.csv`` (clips that a mapping excludes although it names their label). A mapping is named by its number of
classes (``3-class``, ...) or by its list (``megc2019``: See et al., doi:10.1109/FG.2019.8756611).
"""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cache

import numpy as np

from stagkit.core.errors import StagkitWarning
from stagkit.core.files import compute_digest
from stagkit.core.types import RoiDataset, StagkitError
from stagkit.datasets.tables import load_resource

_PHANTOM = "-phantom"


class ClassMapError(StagkitError):
    """A class mapping that does not exist, contradicts itself, or gives other counts than published."""


class ClassCountWarning(StagkitWarning):
    """Classes with other numbers of clips than published."""


@dataclass(frozen=True)
class ClassMap:
    """One mapping of one data set.

    Args:
        label_of: label in the annotation file (lower case) -> class.
        counts: class, in order -> clips that the whole data set has; ``verified``: counted, not only recalled.
        excluded: clip name -> why the mapping excludes it, whatever its label.
    """

    dataset: str
    mapping: str
    label_of: dict[str, str]
    counts: dict[str, int]
    verified: bool
    source: str
    note: str
    excluded: dict[str, str] = field(default_factory=dict)

    def compute_label(self, label_raw: str, clip_id: str = "") -> str | None:
        """The class of a label, None if the mapping excludes it or the clip; a class name maps to itself."""
        if clip_id in self.excluded:
            return None
        name = label_raw.strip().lower()
        return self.label_of.get(name, name if name in self.counts else None)

    def check_counts(self, labels: Iterable[str]) -> None:
        """Warn if the classes of all clips of the data set have other counts than published."""
        found = Counter(labels)
        differ = [f"{c} {found[c]} instead of {n}" for c, n in self.counts.items() if found[c] != n]
        if differ:
            caveat = "" if self.verified else " (counts recalled, not verified)"
            warnings.warn(
                f"{self.dataset}, mapping {self.mapping}: {', '.join(differ)} clips{caveat}; {self.note}: is the set "
                "complete, and is this the annotation file that was counted?",
                ClassCountWarning,
                stacklevel=2,
            )


@cache
def load_class_maps() -> dict[tuple[str, str], ClassMap]:
    """All mappings: (dataset, mapping) -> ``ClassMap``."""
    found: dict[tuple[str, str], ClassMap] = {}
    for row in load_resource("class_counts.csv"):
        key = (row["dataset"], row["mapping"])
        entry = found.setdefault(key, ClassMap(*key, {}, {}, row["verified"] == "yes", "", row["note"]))
        entry.counts[row["label"]] = int(row["count"])
    for row in load_resource("class_maps.csv"):
        key = (row["dataset"], row["mapping"])
        found[key].label_of[row["label_raw"]] = row["label"]
        found[key] = replace(found[key], source=row["source"])
    for row in load_resource("class_exclusions.csv"):
        found[row["dataset"], row["mapping"]].excluded[row["clip_id"]] = f"{row['reason']} ({row['source']})"
    return found


def load_class_map(dataset: str, mapping: str) -> ClassMap:
    """One mapping; a phantom set (``casme2-phantom``) has the mapping of the set it imitates.

    Example:
        >>> load_class_map("samm", "3-class").compute_label("Contempt")
        'negative'
    """
    name, maps = dataset.lower().removesuffix(_PHANTOM), load_class_maps()
    if (name, mapping) not in maps:
        of = sorted(m for d, m in maps if d == name)
        have = f"it has {', '.join(of)}" if of else f"mappings are known for {', '.join(sorted({d for d, _ in maps}))}"
        raise ClassMapError(f"there is no mapping {mapping!r} of the data set {dataset!r}; {have}.")
    return maps[name, mapping]


def map_classes(data: RoiDataset, mapping: str) -> RoiDataset:
    """The data set in other classes, without the clips that the mapping excludes; warns of other counts than published.

    Args:
        data: its classes are labels of the annotation file (or classes of the mapping already).
        mapping: e.g. ``3-class``; taken for each data set of ``data`` from the table.
    """
    maps = {name: load_class_map(name, mapping) for name in sorted(set(data.datasets))}
    classes = tuple(next(iter(maps.values())).counts)
    for name, entry in maps.items():
        if set(entry.counts) != set(classes):
            raise ClassMapError(
                f"the mapping {mapping} gives {name} the classes {', '.join(entry.counts)}, but the others "
                f"{', '.join(classes)}: choose one that all data sets share, e.g. 3-class."
            )
    # a phantom may have the name of an excluded real clip: it is kept
    labels = [
        maps[d].compute_label(data.classes[k], clip_id if d == maps[d].dataset else "")
        for d, k, clip_id in zip(data.datasets, data.label, data.clip_ids, strict=True)
    ]
    kept = np.array([i for i, label in enumerate(labels) if label is not None], np.int64)
    if not len(kept):
        raise ClassMapError(f"the mapping {mapping} excludes every clip: the labels are {', '.join(data.classes)}.")
    for name, entry in maps.items():
        if not name.endswith(_PHANTOM):
            entry.check_counts((x for x, d in zip(labels, data.datasets, strict=True) if d == name and x))
    taken = data.select(kept)
    meta = {**data.meta, "mapping": mapping, "skipped_by_mapping": len(data) - len(kept)}
    meta["digest"] = compute_digest(str(data.meta.get("digest", "")).encode(), mapping.encode())
    label = np.array([classes.index(str(labels[i])) for i in kept], np.int64)
    return replace(taken, label=label, classes=classes, meta=meta)
