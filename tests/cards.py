"""The part of ``data_README.md`` that is generated from the data-set cards: ``python -m tests.cards`` writes it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from stagkit.core.files import write_text
from stagkit.core.types import StagkitError
from stagkit.datasets import NAMES, load_layout
from stagkit.datasets.cards import DatasetCard

#: The generated part lies between these two lines.
BEGIN, END = "<!-- cards: made by 'make cards' -->", "<!-- end of cards -->"


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
    """A page with its cards generated again; ``StagkitError`` if it has no place for them."""
    if BEGIN not in text or END not in text:
        raise StagkitError(f"the page has no place for the cards: expected the lines {BEGIN} and {END}.")
    page = "\n".join((BEGIN, "", *map(format_card, cards), END))
    return text[: text.index(BEGIN)] + page + text[text.index(END) + len(END) :]


if __name__ == "__main__":
    page = Path("data_README.md")
    write_text(page, fill_page(page.read_text(encoding="utf-8"), [load_layout(name).card for name in NAMES]))
