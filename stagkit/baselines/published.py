"""Published results as data, kept apart from what is measured here: ``resources/published_results.csv``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stagkit.core.files import RESOURCES

if TYPE_CHECKING:
    import pandas as pd


def load_published() -> pd.DataFrame:
    """Published results: columns ``system, data, part, protocol, uf1, uar, acc`` (0..1, NaN if not printed), ``source,
    checked`` (verified: read in the paper's tables or its code; else abstract or paper note), ``leak, note``."""
    import pandas as pd

    numbers = {name: [""] for name in ("uf1", "uar", "acc", "clips")}
    return pd.read_csv(RESOURCES / "published_results.csv", keep_default_na=False, na_values=numbers)


def find_published(system: str) -> list[dict[str, object]]:
    """The published rows of one system, as plain values (None if not printed)."""
    table = load_published()
    rows = table[table["system"] == system].to_dict("records")
    return [{k: None if isinstance(v, float) and v != v else v for k, v in row.items()} for row in rows]


def describe_published(rows: list[dict[str, object]], limit: int = 2) -> str:
    """The first rows as text, e.g. ``UF1 0.735 (MEGC2019 full, LOSO; leak: none found)``."""
    texts = []
    for row in rows[:limit]:
        scores = [f"{k.upper()} {row[k]:.3f}" for k in ("uf1", "acc") if row[k] is not None]
        where = ", ".join(str(row[k]) for k in ("data", "part", "protocol") if row[k])
        texts.append(f"{' / '.join(scores) or row['note']} ({where}; leak: {row['leak']})")
    return "; ".join(texts)
