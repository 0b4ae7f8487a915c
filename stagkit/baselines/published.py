"""Published results as data, kept apart from what is measured here.

``resources/published_results.csv`` has one row per number, with its source, whether it was checked, and known leaks;
``resources/au_set_ceilings.csv`` how far annotated action units alone determine the label.
"""

from __future__ import annotations

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd


def _read(name: str) -> pd.DataFrame:
    import pandas as pd

    with resources.files("stagkit").joinpath(f"resources/{name}.csv").open(encoding="utf-8") as file:
        return pd.read_csv(file, keep_default_na=False, na_values={n: [""] for n in ("uf1", "uar", "acc", "clips")})


def load_published() -> pd.DataFrame:
    """Published results: columns ``system, data, part, protocol, uf1, uar, acc`` (0..1, NaN where not printed), ``source,
    checked`` (verified: read in the paper's tables or its code; else abstract or paper note), ``leak, note``."""
    return _read("published_results")


def load_ceilings() -> pd.DataFrame:
    """How far annotated AU sets take the label: columns ``data, classes, clips, uf1, acc, how``."""
    return _read("au_set_ceilings")


def find_published(system: str) -> list[dict[str, object]]:
    """The published rows of one system, as plain values (None where not printed)."""
    table = load_published()
    rows = table[table["system"] == system].to_dict("records")
    return [{k: None if isinstance(v, float) and v != v else v for k, v in row.items()} for row in rows]


def describe_published(rows: list[dict[str, object]], limit: int = 2) -> str:
    """The first rows in a few words, e.g. ``UF1 0.735 (MEGC2019 full, LOSO; leak: none found)``; '' where there is none."""
    told = []
    for row in rows[:limit]:
        scores = [f"{k.upper()} {row[k]:.3f}" for k in ("uf1", "acc") if row[k] is not None]
        where = ", ".join(str(row[k]) for k in ("data", "part", "protocol") if row[k])
        told.append(f"{' / '.join(scores) or row['note']} ({where}; leak: {row['leak']})")
    return "; ".join(told)
