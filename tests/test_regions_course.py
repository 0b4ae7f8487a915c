"""Notebook 03: its pictures hold the atlas' numbers, its checks know the usual mistakes, its sheet holds nobody twice."""

import json

import numpy as np
import pytest

from stagkit.core.facs import AU_LABELS, AU_NUMBERS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.course.exercises import check_answer
from stagkit.course.exercises.motion import find_most_similar
from stagkit.plots.contact_sheet import draw_subjects
from stagkit.plots.graphs import plot_incidence, plot_muscles


@pytest.fixture(autouse=True)
def close():
    import matplotlib

    matplotlib.use("Agg")
    yield
    import matplotlib.pyplot as plt

    plt.close("all")


def test_arrows_are_the_directions_of_the_atlas():
    figure = plot_muscles()
    assert [ax.texts[0].get_text().split()[0] for ax in figure.axes if ax.texts] == [str(n) for n in AU_NUMBERS]
    for ax, rows in zip(figure.axes, ATLAS.directions, strict=False):
        arrows = next(c for c in ax.collections if hasattr(c, "U"))
        pulled = np.hypot(*rows.T) > 0
        assert np.allclose(arrows.U, rows[pulled, 0]) and np.allclose(arrows.V, rows[pulled, 1])
        assert np.allclose(arrows.XY, ATLAS.mean_centres[pulled])


def test_the_tables_hold_what_was_planted_and_measured():
    measured = {label: np.arange(22) + k for k, label in enumerate(AU_LABELS)}
    planted, found = [ax.images[0].get_array() for ax in plot_incidence(measured).axes if ax.images]
    assert np.allclose(planted, ATLAS.incidence) and found[3, 5] == 8
    with pytest.raises(StagkitError, match="lacks AU26"):
        plot_incidence({k: v for k, v in measured.items() if k != "AU26"})
    with pytest.raises(StagkitError, match="one value per region"):
        plot_incidence({k: v[:5] for k, v in measured.items()})


def test_the_sheet_is_small_complete_and_of_different_people():
    people = draw_subjects(3, first=5, size=48)
    assert [p.shape for p in people] == [(48, 48, 3)] * 3 and people[0].dtype == np.uint8
    assert np.abs(people[0].astype(int) - people[1]).mean() > 5
    assert (people[1] == draw_subjects(1, first=6, size=48)[0]).all()


def test_the_sheet_in_the_repository():
    from tests.lockfile import ROOT

    assert (ROOT / "figures" / "phantoms.png").stat().st_size < 600_000
    told = json.loads((ROOT / "figures" / "phantoms.json").read_text())
    assert len(told["subjects"]) == 24 and told["drawn_from"] == "phantoms"
    assert "figures/phantoms.png" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (17.6, True, "17.6 px"),
        (8.8, False, "half a side"),
        (0.22, False, "eye distances"),
        (17.6**2, False, "area"),
        (80, False, "to each side"),
    ],
)
def test_width_of_a_region(answer, ok, words):
    verdict = check_answer("03.1", answer, iod_px=80)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("right", "left", "lip", "ok", "words"),
    [
        (0.9, 0.1, 0.0, True, "more than all others"),
        (0.9, 0.8, 0.0, False, "both sides move"),
        (0.1, 0.9, 0.0, False, "*subject's* right"),
        (0.1, 0.0, 0.9, False, "end in the nose wing"),
        (0.0, 0.0, 0.0, False, "nothing moves"),
    ],
)
def test_one_unit_for_one_region(right, left, lip, ok, words):
    answers = {"nose_wing_R": right, "nose_wing_L": left, "lip_corner_L": lip}
    for number in ("03.2", "20.3"):
        verdict = check_answer(number, answers, region="nose_wing_R")
        assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (("AU04", "AU02"), True, "not speed alone"),
        (("AU02", "AU04"), False, "other order"),
        (("AU04", "AU05"), False, "the first is right"),
        (("AU05", "AU02"), False, "the second is right"),
        (("AU01", "AU02"), False, "most like itself"),
        (("AU05", "AU06"), False, "divide every row"),
        ("AU04", False, "two labels"),
    ],
)
def test_twins(answer, ok, words):
    verdict = check_answer("03.3", answer, unit="AU01")
    assert verdict.ok is ok and words in verdict.text


def test_twins_by_hand():
    """Three of 17 rows are not zero: the second is the first turned a little, the third at a right angle."""
    table = np.full((17, 2), 0.0)
    table[:] = (0.0, -1.0)
    table[:3] = (1, 0), (1, 0.1), (0, 1)
    assert find_most_similar("AU01", table) == "AU02"
