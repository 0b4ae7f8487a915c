"""How a coded data set lies on disk and how a row of its annotation file reads: what each set's file fills in."""

from __future__ import annotations

import glob
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from stagkit.datasets.cards import DatasetCard
from stagkit.motion.frames import Tree


@dataclass(frozen=True)
class AnnotationRow:
    """One row of an annotation file as written; nothing is checked yet.

    Args:
        subject, clip: together the clip's name, ``subject/clip``.
        label: the emotion as written.
        folders: patterns of the folder below the base, ``*`` within a name; the clip's frames lie in the one that fits.
        spare: patterns for the case that none of ``folders`` is there.
        onset, apex, offset, aus: cells; ``aus`` None where the set is not coded.
        fps: frames per second.
        part: official part.
        row: 0-based row of the annotations, below its header.
        why: why the row cannot be used, '' where it can.
        named: the label that the clip's name states, '' where it states none.
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
    why: str = ""
    named: str = ""
    spare: tuple[str, ...] = ()

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
        annotation_files: file names of the annotation file without their ending, ``*`` allowed, looked for in
            ROOT and up to three folders below; the first pattern that any file fits is taken.
        bases: names of folders that hold the clips, the preferred first. The folder that does hold them is found by its
            content, up to three folders below ROOT.
        needs_annotations: False where the folders say everything.
        clips: pattern of the clips' folders below the base, where there is no sheet.
        name_part: file name of an annotation file -> official part, where the sheets of several parts are read together.
        whole_folders: a folder holds one clip, so folders beside those of the annotation file are reported.
    """

    card: DatasetCard
    load_rows: Callable[[Sequence[Path], Tree, Path], list[AnnotationRow]]
    bases: tuple[str, ...]
    annotation_files: tuple[str, ...] = ()
    needs_annotations: bool = True
    clips: str = ""
    name_part: Callable[[str], str] | None = None
    whole_folders: bool = True


def exactly(text: str) -> str:
    """A folder pattern that fits this text alone, whatever stands in it."""
    return glob.escape(text)


def show_pattern(pattern: str) -> str:
    """A folder pattern as people read it: without the marks of ``exactly``."""
    return re.sub(r"\[([*?[])\]", r"\1", pattern)
