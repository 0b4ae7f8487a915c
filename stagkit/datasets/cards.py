"""Data-set cards (``resources/datasets.toml``), from which ``data_README.md`` is generated."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stagkit.core.files import RESOURCES, write_text
from stagkit.core.types import StagkitError

#: The part of data_README.md between these two lines is generated.
BEGIN, END = "<!-- cards: made by 'make cards' -->", "<!-- end of cards -->"


@dataclass(frozen=True)
class DatasetCard:
    """Description of a data set.

    Args:
        name: as in commands, e.g. ``casme2``; ``title``: as in papers.
        provider: who grants access; ``contact``: where to ask.
        doi: of the paper that describes the set.
        camera: sensor and image; 'recalled' without a source.
        fps: frames per second.
        size: clips, subjects, classes as counted or published.
        tree: the folders expected below ROOT, one line each.
        checks: peculiarities that are checked; ``corrects``: what is corrected, '' for nothing.
        licence: in one sentence.
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


def format_card(card: DatasetCard) -> str:
    """One card as Markdown."""
    rows = {
        "provided by": f"{card.provider}; {card.contact}",
        "licence": card.licence,
        "paper": f"doi:{card.doi}",
        "camera": f"{card.camera}; {card.fps}",
        "size": card.size,
        "may be printed": card.printable,
        "checked": card.checks,
        "corrected": card.corrects or "nothing",
    }
    tree, table = "\n".join(card.tree), "\n".join(f"| {name} | {text} |" for name, text in rows.items())
    return (
        f"### {card.title}: `{card.name}`\n\n```text\n{tree}\n```\n\n| | |\n|---|---|\n{table}\n\n"
        f"`stagkit check-data {card.name} ROOT`, then `stagkit prepare {card.name} ROOT PREPARED`.\n"
    )


def fill_page(text: str, cards: Iterable[DatasetCard]) -> str:
    """A page with its cards generated again.

    Raises:
        StagkitError: the page has no place for them.
    """
    if BEGIN not in text or END not in text:
        raise StagkitError(f"the page has no place for the cards: expected the lines {BEGIN} and {END}.")
    page = "\n".join((BEGIN, "", *map(format_card, cards), END))
    return text[: text.index(BEGIN)] + page + text[text.index(END) + len(END) :]


def write_page(path: str | Path) -> None:
    """Write the cards of all data sets into ``data_README.md``."""
    from stagkit.datasets import NAMES, load_layout

    cards = [load_layout(name).card for name in NAMES]
    write_text(path, fill_page(Path(path).read_text(encoding="utf-8"), cards))


if __name__ == "__main__":
    write_page("data_README.md")
