"""Data sets: one small file each. A data set is a list of clips that can be read one at a time, in any order."""

from __future__ import annotations

from typing import Protocol

from stagkit.types import Clip, StagkitError


class DatasetNotAvailable(StagkitError):
    """A data set that is not where it was looked for: who grants it, what was expected, what was found."""


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


def open_source(name: str, root: str) -> ClipSource:
    """Open a data set of clips by name.

    Args:
        name: ``manifest`` (any clips listed in a ``manifest.csv``; written by ``stagkit phantom --layout frames`` too).
        root: its folder.

    Raises:
        StagkitError: no such data set, with the ones there are.
    """
    if name == "manifest":
        from stagkit.datasets.manifest import ManifestSource

        return ManifestSource(root)
    raise StagkitError(f"there is no data set {name!r}; stagkit reads: manifest (any clips, see data_README.md).")
