"""Data-set cards (``resources/datasets.toml``), from which ``make cards`` writes part of ``data_README.md``."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

from stagkit.core.files import RESOURCES


@dataclass(frozen=True)
class DatasetCard:
    """Description of a data set.

    Args:
        name: as in commands, e.g. ``casme2``; ``title``: as in papers; ``doi``: of the paper that describes the set.
        provider: who grants access; ``contact``: where to ask; ``licence``: in one sentence.
        camera: sensor and image, 'recalled' without a source; ``size``: clips, subjects, classes as counted or published.
        tree: the folders expected below ROOT, one line each.
        checks, corrects: peculiarities that are checked, and corrected ('' for nothing).
        printable: subjects whose images may be printed.
    """

    name: str
    title: str
    provider: str
    contact: str
    doi: str
    camera: str
    fps: str
    size: str
    tree: tuple[str, ...]
    checks: str
    corrects: str = ""
    licence: str = "what your signed agreement says, which is not in our hands; assume research only, nothing passed on"
    printable: str = "none, unless your agreement names subjects that may be"

    def not_available(self, root: str | Path, found: str, why: str = "") -> str:
        """Message of a ``DatasetNotAvailable``: the provider, what was expected, what was found."""
        return (
            f"{self.title} is not at {root}{f' ({why})' if why else ''}: expected {'; '.join(self.tree)}; found: {found}. "
            f"It is provided by {self.provider} ({self.contact}); stagkit never downloads it."
        )


def load_card(name: str) -> DatasetCard:
    """The card of a data set."""
    entry = tomllib.loads((RESOURCES / "datasets.toml").read_text(encoding="utf-8"))[name]
    return DatasetCard(name=name, **{**entry, "tree": tuple(entry["tree"])})
