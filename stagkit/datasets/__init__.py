"""Data sets of clips: index, labels, preparation, and the prepared store.

In: the folder of a licensed data set, a manifest, or published flow maps. Out: clips that can be read one at a time, and
a `RoiDataset` ready for training. Nothing is ever downloaded.
Start reading at ``index.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

from stagkit.core.files import shorten
from stagkit.core.types import Clip, StagkitError

if TYPE_CHECKING:
    from stagkit.datasets.index import Layout

#: Name of a data set -> (module of readers/, attribute); in the order of data_README.md.
_LAYOUTS = {
    "casme2": ("casme2", "LAYOUT"),
    "samm": ("samm", "LAYOUT"),
    "smic": ("smic", "LAYOUT"),
    "4dme": ("four_dme", "LAYOUT"),
    "dfme": ("dfme", "LAYOUT"),
    "casme-squared": ("casme_squared", "LAYOUT"),
    "casme3": ("casme3", "PART_A"),
    "casme3c": ("casme3", "PART_C"),
    "mmew": ("mmew", "LAYOUT"),
}
NAMES = tuple(_LAYOUTS)


class DatasetNotAvailable(StagkitError):
    """A data set that is not at the given place: who provides it, what was expected, what was found."""


class Clips(dict):
    """Key of a clip -> its entry; for a missing key, a ``StagkitError`` with the reason from ``skipped`` (key -> reason)."""

    def __init__(self, entries: Mapping[str, object], skipped: Mapping[str, str] = MappingProxyType({})):
        super().__init__(entries)
        self._skipped = skipped

    def __missing__(self, key: str):
        if key in self._skipped:
            raise StagkitError(f"clip {shorten(key, 60)} is skipped: {self._skipped[key]}.")
        some = ", ".join(shorten(name, 60) for name in list(self)[:3])
        raise StagkitError(f"there is no clip {shorten(key, 60)}; the {len(self)} clips are {some}, ...")


class ClipSource:
    """A data set of clips; sources of files on disk are ``annotated.FileSource``.

    Attributes:
        name: e.g. ``casme2-phantom``; ``classes``: names in order; ``keys``: names of the clips.
        skipped: clip or row -> why it cannot be used.
    """

    name: str
    classes: tuple[str, ...]
    keys: tuple[str, ...]
    skipped: Mapping[str, str] = MappingProxyType({})

    def read(self, key: str) -> Clip:
        """Read one clip."""
        raise NotImplementedError

    def describe(self) -> dict[str, object]:
        """What the run record keeps: enough to recognise the same data."""
        raise NotImplementedError

    def read_aligned(self, key: str, size: int = 0, landmarker: str = "") -> Clip:
        """The clip with landmarks, aligned to a square of ``size`` px unless 0 (``landmarks.locate_and_align``)."""
        from stagkit.motion.landmarks import locate_and_align

        return locate_and_align(self.read(key), size, landmarker)

    def only(self, key: str) -> ClipSource:
        """The source of one clip alone, small enough to be sent to another process."""
        return self

    def compute_input_digest(self, key: str, contents: bool = False) -> str:
        """Digest of the files and values that a clip is read from; '' if there are none."""
        return ""

    def find_issues(self, key: str) -> list[str]:
        """Irregularities of one clip's files, a sentence each; no image is decoded."""
        return []


def load_layout(name: str) -> Layout:
    """How an annotated data set lies on disk; ``StagkitError`` if there is no such data set."""
    if name not in _LAYOUTS:
        raise StagkitError(
            f"there is no data set {name!r}; stagkit reads: {', '.join(NAMES)}, and manifest (any clips, see "
            "data_README.md)."
        )
    module, attribute = _LAYOUTS[name]
    return getattr(import_module(f"stagkit.datasets.readers.{module}"), attribute)


def open_source(name: str, root: str, annotations: str | Sequence[str] = "") -> ClipSource:
    """Open a data set of clips by name, in the folder ``root``.

    Args:
        name: one of ``NAMES``, or ``manifest`` (any clips listed in a ``manifest.csv``).
        annotations: name of the annotation file, if there are several; one per part of a set that has parts.

    Raises:
        DatasetNotAvailable: it is not there: who provides it, what was expected, what was found.
        StagkitError: no such data set.
    """
    if name == "manifest":
        from stagkit.datasets.manifest import ManifestSource

        files = [annotations] if isinstance(annotations, str) else list(annotations)
        if len(files) > 1:
            raise StagkitError(f"{len(files)} tables were given for a manifest, expected one: give --annotations once.")
        return ManifestSource(root, files[0] if files else "")
    from stagkit.datasets.annotated import AnnotatedDataset

    return AnnotatedDataset(load_layout(name), root, annotations)
