"""The card of a data set: who grants it, what it is, how it must lie on disk, what stagkit checks and corrects.

``data_README.md`` is filled from the cards (``make cards``); a test keeps the two equal.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from stagkit.core.files import write_text
from stagkit.core.types import StagkitError

#: The part of data_README.md between these two lines is made from the cards.
BEGIN, END = "<!-- cards: made by 'make cards' -->", "<!-- end of cards -->"

#: What stands on every card, since no agreement is in our hands.
PRINTABLE = "none, unless your agreement names subjects that may be"


@dataclass(frozen=True)
class DatasetCard:
    """What a person needs to know of a data set.

    Args:
        name: as the command takes it, e.g. ``casme2``; ``title``: as people write it.
        provider: who grants access; ``ask``: where to ask.
        licence: in one sentence.
        doi: of the paper that describes the set.
        camera: sensor and picture; 'recalled' where no source was at hand.
        fps: frames per second.
        size: clips, subjects, classes as counted or published.
        tree: the folders expected below ROOT, one line each; the first existing one of several is taken.
        checks: what is peculiar to this set and looked at; ``corrects``: what is corrected, '' for nothing.
        printable: subjects whose pictures may be printed.
    """

    name: str
    title: str
    provider: str
    ask: str
    doi: str
    camera: str
    fps: str
    size: str
    tree: tuple[str, ...]
    checks: str
    corrects: str = ""
    licence: str = "what your signed agreement says, which is not in our hands; assume research only, nothing passed on"
    printable: str = PRINTABLE

    def not_available(self, root: str | Path, found: str, why: str = "") -> str:
        """The sentence of a ``DatasetNotAvailable``: who grants the set, what was expected, what was found."""
        return (
            f"{self.title} is not at {root}{f' ({why})' if why else ''}: expected {'; '.join(self.tree)}; found: {found}. "
            f"It is granted by {self.provider} ({self.ask}); stagkit never downloads it."
        )


def format_card(card: DatasetCard) -> str:
    """One card as Markdown."""
    tree = "\n".join(card.tree)
    rows = (
        ("granted by", f"{card.provider}; {card.ask}"),
        ("licence", card.licence),
        ("paper", f"doi:{card.doi}"),
        ("camera", f"{card.camera}; {card.fps}"),
        ("size", card.size),
        ("may be printed", card.printable),
        ("checked", card.checks),
        ("corrected", card.corrects or "nothing"),
    )
    table = "\n".join(f"| {name} | {text} |" for name, text in rows)
    return (
        f"### {card.title}: `{card.name}`\n\n```text\n{tree}\n```\n\n| | |\n|---|---|\n{table}\n\n"
        f"`stagkit check-data {card.name} ROOT`, then `stagkit prepare {card.name} ROOT PREPARED`.\n"
    )


def format_cards(cards: Iterable[DatasetCard]) -> str:
    """All cards, as they stand in ``data_README.md``."""
    return "\n".join((BEGIN, "", *(format_card(card) for card in cards), END))


def fill_page(text: str, cards: Iterable[DatasetCard]) -> str:
    """A page with its cards made anew.

    Raises:
        StagkitError: the page has no place for them.
    """
    if BEGIN not in text or END not in text:
        raise StagkitError(f"the page has no place for the cards: expected the lines {BEGIN} and {END}.")
    return text[: text.index(BEGIN)] + format_cards(cards) + text[text.index(END) + len(END) :]


def write_page(path: str | Path) -> None:
    """Write the cards of all data sets into ``data_README.md``."""
    from stagkit.datasets import load_layouts

    cards = [layout.card for layout in load_layouts().values()]
    write_text(path, fill_page(Path(path).read_text(encoding="utf-8"), cards))


if __name__ == "__main__":
    write_page("data_README.md")
