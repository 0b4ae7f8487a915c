"""Data sets of clips: index, labels, preparation, and the prepared store.

In: the folder of a licensed data set, a manifest, or published flow maps. Out: clips that can be read one at a time, and
a `RoiDataset` ready for training. Nothing is ever downloaded.
Start reading at ``index.py``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

from stagkit.core.files import shorten
from stagkit.core.types import Clip, StagkitError

if TYPE_CHECKING:
    from stagkit.datasets.layout import Layout

#: Name of a data set -> (module, what it is called there); in the order of data_README.md.
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
    """A data set that is not where it was looked for: who grants it, what was expected, what was found."""


class Clips(dict):
    """What is known of each clip, by its key; a key that is not there is one sentence.

    Args:
        known: key -> what is known.
        skipped: key -> why the clip cannot be used; looked at when a key is missing.
    """

    def __init__(self, known: Mapping[str, object] = MappingProxyType({}), skipped: Mapping[str, str] | None = None):
        super().__init__(known)
        self._skipped = {} if skipped is None else skipped

    def __missing__(self, key: str):
        if key in self._skipped:
            raise StagkitError(f"clip {shorten(key, 60)} is left out: {self._skipped[key]}.")
        some = ", ".join(shorten(name, 60) for name in list(self)[:3])
        raise StagkitError(f"there is no clip {shorten(key, 60)}; the {len(self)} clips are {some}, ...")


class ClipSource(Protocol):
    """What every data set of clips offers.

    Attributes:
        name: e.g. ``casme2-phantom``.
        classes: class names in order.
        keys: what names the clips; ``read`` takes one.
    """

    name: str
    classes: tuple[str, ...]
    keys: tuple[str, ...]

    def read(self, key: str) -> Clip:
        """Read one clip."""

    def describe(self) -> dict[str, object]:
        """What the run record keeps: enough to know the same data again."""


def load_layout(name: str) -> Layout:
    """How a coded data set lies on disk.

    Raises:
        StagkitError: no such data set, with the ones there are.
    """
    if name not in _LAYOUTS:
        raise StagkitError(
            f"there is no data set {name!r}; stagkit reads: {', '.join(NAMES)}, and manifest (any clips, see "
            "data_README.md)."
        )
    module, attribute = _LAYOUTS[name]
    return getattr(import_module(f"stagkit.datasets.readers.{module}"), attribute)


def load_layouts() -> dict[str, Layout]:
    """Every coded data set: name -> layout."""
    return {name: load_layout(name) for name in NAMES}


def open_source(name: str, root: str, annotations: str | Sequence[str] = "") -> ClipSource:
    """Open a data set of clips by name.

    Args:
        name: one of ``NAMES``, or ``manifest`` (any clips listed in a ``manifest.csv``; written by ``stagkit phantom
            --layout frames`` too).
        root: its folder.
        annotations: file name of the annotation file, where there are several; one per part where a set has parts.

    Raises:
        DatasetNotAvailable: it is not there: who grants it, what was expected, what was found.
        StagkitError: no such data set, with the ones there are.
    """
    if name == "manifest":
        from stagkit.datasets.manifest import ManifestSource

        named = [annotations] if isinstance(annotations, str) else list(annotations)
        if len(named) > 1:
            raise StagkitError(f"{len(named)} tables are named for a manifest, expected one: give --annotations once.")
        return ManifestSource(root, named[0] if named else "")
    from stagkit.datasets.annotated import AnnotatedDataset

    return AnnotatedDataset(load_layout(name), root, annotations)
