"""How a coded data set lies on disk and how a row of its sheet reads: what each set's file fills in."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.datasets.tree import Tree


@dataclass(frozen=True)
class SheetRow:
    """One row of a coding sheet as written; nothing is checked yet.

    Args:
        subject, clip: together the clip's name, ``subject/clip``.
        label: the emotion as written.
        folders: patterns of the folder below the base, ``*`` within a name; the clip's frames lie in the one that fits.
        onset, apex, offset, aus: cells; ``aus`` None where the set is not coded.
        fps: frames per second.
        part: official part.
        row: 0-based row of the sheet, below its header.
    """

    subject: str
    clip: str
    label: object
    folders: tuple[str, ...]
    fps: object
    onset: object = None
    apex: object = None
    offset: object = None
    aus: object = None
    part: str = ""
    row: int = -1

    @property
    def key(self) -> str:
        """The clip's name."""
        return f"{self.subject}/{self.clip}"


@dataclass(frozen=True)
class Layout:
    """How one data set lies on disk.

    Args:
        card: for people.
        load_rows: (sheets found, tree, base) -> rows.
        sheets: file names of the coding sheet, ``*`` allowed, looked for in ROOT and one folder below.
        bases: folders that hold the clips, in ROOT or one folder below; the first existing one is taken, else ROOT itself.
        sheet_needed: False where the folders say everything.
        several: several sheets are read together (parts of the set).
        whole_folders: a folder holds one clip, so folders beside those of the sheet are reported.
    """

    card: DatasetCard
    load_rows: Callable[[Sequence[Path], Tree, Path], list[SheetRow]]
    bases: tuple[str, ...]
    sheets: tuple[str, ...] = ()
    sheet_needed: bool = True
    several: bool = False
    whole_folders: bool = True


def exactly(text: str) -> str:
    """A folder pattern that fits this text alone, whatever stands in it."""
    return glob.escape(text)
