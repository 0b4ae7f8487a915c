"""AU codes: every form that the public sheets use, and a clear word on what is none."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.core.facs import ACTION_UNITS, AU_LABELS, AU_NUMBERS, AUCode, compute_au_vector
from stagkit.core.regions import ATLAS
from stagkit.datasets.au_codes import parse_aus


@pytest.mark.parametrize(
    ("cell", "codes"),
    [
        ("12", ["AU12"]),
        (12, ["AU12"]),
        (12.0, ["AU12"]),
        ("4+L10+R2", ["AU04", "AU10L", "AU02R"]),
        ("12L", ["AU12L"]),
        ("L12 + 61", ["AU12L", "AU61"]),
        ("12+15 ", ["AU12", "AU15"]),
        ("4，11", ["AU04", "AU11"]),
        ("4,7", ["AU04", "AU07"]),
        ("4+7+AD38", ["AU04", "AU07", "AD38"]),
        ("M57", ["M57"]),
        ("AUR2+12(k)+45", ["AU02R", "AU12", "AU45"]),
        ("L12 or L14", ["AU12L", "AU14L"]),
        ("(R6 or R12)+R15", ["AU06R", "AU12R", "AU15R"]),
        ("A/L12", ["AU12L"]),
        ("10A/B", ["AU10"]),
        ("R14A or 17A or 24A", ["AU14R", "AU17", "AU24"]),
        ("AD31/AD38/AD39", ["AD31", "AD38", "AD39"]),
        ("T18", ["AU18T"]),
        (None, []),
        (float("nan"), []),
        ("", []),
    ],
)
def test_forms_of_the_sheets(cell, codes):
    parsed = parse_aus(cell)
    assert [str(c) for c in parsed.codes] == codes
    assert parsed.unread == ()


def test_what_the_codes_keep():
    assert parse_aus("R14C").codes == (AUCode(14, "R", "C"),)
    assert parse_aus("7B").codes == (AUCode(7, intensity="B"),)
    assert parse_aus("ref(7B)").codes == (AUCode(7, intensity="B", uncertain=True),)
    assert parse_aus("12(k)").codes[0].kept
    first, second, third = parse_aus("(R6 or R12)+R15").codes
    assert first.choice == second.choice > 0 == third.choice
    assert parse_aus("soft focus + 4").unread == ("soft focus",)
    assert parse_aus("?").unread == ("?",)


@given(st.text(max_size=30))
def test_no_text_breaks_the_parser(text):
    parsed = parse_aus(text)
    assert all(0 <= c.number <= 99 for c in parsed.codes)


@given(st.lists(st.tuples(st.integers(1, 69), st.sampled_from(["", "L", "R"])), max_size=6))
def test_what_is_written_is_read(codes):
    text = "+".join(f"{side}{number}" for number, side in codes)
    assert [(c.number, c.side) for c in parse_aus(text).codes] == codes


@pytest.mark.parametrize(
    ("file", "column", "options", "allowed"),
    [
        ("CASME2-coding-20140508.xlsx", "Action Units", {}, {"?": "coded, but unknown"}),
        (
            "SAMM_Micro_FACS_Codes_v2.xlsx",
            "Action Units",
            {"header": 13},
            {"soft focus": "a remark on the picture, no code"},
        ),
        ("DFME_training_full_with_AU.xlsx", "AU", {}, {}),
    ],
)
def test_every_cell_of_the_real_sheets(shared_data, file, column, options, allowed):
    """What cannot be read is listed here with its reason, and nothing is listed that can."""
    import pandas as pd

    table = pd.read_excel(shared_data / "annotations" / file, dtype=str, **options)
    unread = {part for cell in table[column] for part in parse_aus(cell).unread}
    assert unread == set(allowed)


def test_the_vector_tells_absent_from_not_coded():
    assert np.isnan(compute_au_vector(None)).all()
    assert not compute_au_vector(()).any()
    vector = compute_au_vector(parse_aus("4+L12+15(k)+AD38").codes)
    assert [AU_NUMBERS[i] for i in np.flatnonzero(vector)] == [4, 12]
    either = compute_au_vector(parse_aus("L12 or L14").codes)
    assert np.isnan(either[[AU_NUMBERS.index(12), AU_NUMBERS.index(14)]]).all()


def test_every_action_unit_has_a_place_to_be_seen():
    places = {roi.place for roi in ATLAS.rois}
    for unit in ACTION_UNITS.values():
        assert unit.muscles
        assert {m.place for m in unit.moves} <= places, unit.label
        assert max(np.hypot(m.lateral, m.up) for m in unit.moves) >= 0.7, "its main place moves most"
    assert ATLAS.incidence[:, ATLAS.index(ATLAS.reference)].sum() == 0, "the reference is moved by nothing"
    assert AU_LABELS[0] == "AU01"
