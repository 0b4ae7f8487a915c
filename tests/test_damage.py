"""Damaged trees and sheets: each is read, or told in a sentence; none ends in a traceback."""

from tests.damage import damage_trees


def test_damaged_trees_are_read_or_told(tmp_path):
    """100 of the 2,000 that ``python -m tests.damage 2000`` runs."""
    ends, faults = damage_trees(100, 7, tmp_path)
    assert not faults, faults[0]
    assert ends["read"] > 15, "the damage is not so heavy that nothing is read"
    assert ends["told"] > 15, "nor so light that nothing is told"
