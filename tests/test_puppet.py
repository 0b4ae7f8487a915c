"""The puppet: what is moved is what is measured, wrong use is one sentence, and the page runs in a real Chromium."""

import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stagkit.core.facs import ACTION_UNITS
from stagkit.core.regions import ATLAS
from stagkit.core.types import StagkitError
from stagkit.explorers import plot_puppet
from stagkit.explorers.puppet.scene import (
    MAX_STRENGTH,
    N_FRAMES,
    SIZE,
    Actor,
    compute_pose,
    find_arrows,
    list_places,
    read_aus,
)
from stagkit.motion.rois import sample_regions
from stagkit.synthetic.photo import find_moments
from tests.browser import wait_until

CODES = [f"{u.label}{side}" for u in ACTION_UNITS.values() for side in (("", "L", "R") if u.sided else ("",))]


@pytest.fixture(scope="module")
def actor():
    return Actor(1)


@pytest.fixture(scope="module")
def photo(actor):
    """The phantom's still picture, taken for a photograph."""
    return Actor((actor.neutral, actor.landmarks))


# ── codes ────────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.dictionaries(st.sampled_from(CODES), st.floats(0, MAX_STRENGTH), max_size=5))
def test_codes_come_back_as_they_were_given_or_are_refused(aus):
    labels = [code[:4] for code in aus]
    if len(labels) == len(set(labels)):
        assert read_aus(aus) == aus
    else:
        with pytest.raises(StagkitError, match="is given twice"):
            read_aus(aus)


def test_codes_are_read_as_in_sheets():
    assert read_aus("L12+6") == {"AU12L": 2.0, "AU06": 2.0}
    assert read_aus("") == {} == read_aus({})


@pytest.mark.parametrize(
    ("aus", "words"),
    [
        ("99", "AU 99 cannot be drawn; the action units of stagkit are 1, 2, 4"),
        ("smile", "is no list of action units"),
        ("L17", "AU17 has one midline muscle"),
        ("12+L12", "AU12 is given twice"),
        ({"12": 7.0}, "the strength of 12 is 7.0, expected 0 to 3 %"),
        ({"12": "much"}, "'much', expected 0 to 3"),
        ("A12", "'L' or 'R'"),
    ],
)
def test_wrong_units_are_one_sentence(aus, words):
    with pytest.raises(StagkitError, match=words):
        plot_puppet(0, aus)


def test_other_wrong_use_is_one_sentence(actor):
    for wrong in (-1, N_FRAMES, 2.5, True):
        with pytest.raises(StagkitError, match="`frame` is .*expected 0 to 23"):
            compute_pose(actor, {}, wrong)
    with pytest.raises(StagkitError, match="`enlarge` is 20"):
        compute_pose(actor, {}, enlarge=20)
    with pytest.raises(StagkitError, match="expected the seed of a phantom"):
        Actor("somebody")
    with pytest.raises(StagkitError, match="0 or more"):
        Actor(-3)


# ── what answers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("who", ["actor", "photo"])
def test_it_rests_outside_the_movement_and_peaks_at_the_apex(who, request):
    face = request.getfixturevalue(who)
    onset, apex, offset = find_moments(N_FRAMES)
    seen = {t: compute_pose(face, {"AU12": 2.0}, t) for t in (0, onset, apex - 3, apex, offset)}
    for t in (0, onset, offset):
        assert (seen[t].image == face.neutral).all() and max(seen[t].speeds.values()) == 0 and seen[t].fastest == ""
    assert 0.1 < max(seen[apex - 3].speeds.values()) < max(seen[apex].speeds.values())


@pytest.mark.parametrize("who", ["actor", "photo"])
@pytest.mark.parametrize("side", ["L", "R"])
@pytest.mark.parametrize(("unit", "place"), [("AU12", "lip_corner"), ("AU02", "brow_outer"), ("AU09", "nose_wing")])
def test_the_region_of_the_muscle_moves_on_its_side(who, unit, place, side, request):
    speeds = compute_pose(request.getfixturevalue(who), {unit + side: 2.5}).speeds
    other = {"L": "R", "R": "L"}[side]
    assert max(speeds, key=speeds.get) == f"{place}_{side}"
    assert speeds[f"{place}_{side}"] > 4 * speeds[f"{place}_{other}"]


def test_measured_flow_points_where_the_muscle_pulls(actor):
    """The mean flow of each unit's most answering region goes the way that the atlas planted there."""
    for k, unit in enumerate(ACTION_UNITS.values()):
        if unit.number in (5, 7):
            continue  # lids: the skin passes over the eye, which stays
        pose = compute_pose(actor, {unit.label: 2.5})
        at = max(range(len(ATLAS.names)), key=lambda n: ATLAS.incidence[k, n] * pose.speeds[ATLAS.names[n]])
        patches, _ = sample_regions(pose.motion.flow[1:], actor.landmarks, patch=7)
        mean, planted = patches[0, at, :2].mean((1, 2)), ATLAS.directions[k, at]
        assert mean @ planted > 0.7 * np.linalg.norm(mean) * np.linalg.norm(planted), unit.label


def test_enlarging_changes_the_picture_and_no_measurement(actor):
    plain, large = (compute_pose(actor, {"AU04": 1.5}, enlarge=e) for e in (1, 5))
    assert plain.speeds == large.speeds and (plain.motion.flow == large.motion.flow).all()
    changed = [np.abs(p.image.astype(float) - actor.neutral).mean() for p in (plain, large)]
    assert changed[1] > 1.5 * changed[0]


@settings(max_examples=12, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted({c[:4] for c in CODES})), st.floats(0.5, 3.0), min_size=1, max_size=17))
def test_whatever_is_pulled_the_skin_does_not_fold(actor, aus):
    pose = compute_pose(actor, aus, enlarge=8)
    assert 0 < pose.peak_fraction <= 1 and np.isfinite(list(pose.speeds.values())).all()


def test_arrows_lie_in_the_face_and_say_the_flow(actor):
    pose = compute_pose(actor, {"AU12L": 2.5})
    arrows = find_arrows(pose, actor.landmarks)
    x, y = arrows[:, :2].astype(int).T
    assert np.allclose(arrows[:, 2:].T * pose.motion.iod / 100, pose.motion.flow[1][:, y, x], atol=1e-5)
    assert 10 < len(arrows) < (SIZE // 8) ** 2 and x.mean() > SIZE / 2, "the subject's left lies on the right"


def test_rows_go_from_brow_to_chin_and_hold_every_region_once():
    places = list_places()
    assert places[-1] == ("chin", "") and places[0][0].startswith("brow")
    named = [f"{place}_{side}" if side else place for place, sides in places for side in (sides or [""])]
    assert sorted(named) == sorted(ATLAS.names)


def test_the_still_figure_is_drawn(tmp_path):
    figure = plot_puppet(2, {"AU12L": 2.0, "AU26": 1.0}, enlarge=3, weights="phantom")
    figure.savefig(tmp_path / "puppet.png")
    assert len(figure.axes) == 4 and figure.get_size_inches()[0] == pytest.approx(7.16)
    shares = [bar.get_width() for bar in figure.axes[-1].patches]
    assert sum(shares) == pytest.approx(1)


# ── the widget ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def puppet():
    pytest.importorskip("anywidget")
    from stagkit.explorers import view_puppet

    return view_puppet(1, "L12")


def test_a_move_is_measured_and_sent_whichever_side_it_comes_from(puppet):
    before = puppet._view
    puppet.aus = {"AU04": 2.0}
    assert puppet._view["serial"] == before["serial"] + 1 and puppet._view["face"] != before["face"]
    assert puppet.pose.fastest.startswith("brow") and puppet._view["fastest"] == puppet.pose.fastest.replace("_", " ")
    puppet.set_state({"aus": {"AU17": 1.0}, "frame": 12})  # as the browser sends it
    assert puppet.pose.fastest in ("chin", "lower_lip")
    puppet.frame = 0
    assert puppet.pose.fastest == "" and puppet._view["arrows"] == []
    assert puppet._view["speeds"]["chin"] == 0


def test_a_wrong_value_is_refused_and_the_old_one_stands(puppet):
    for name, value, words in (
        ("aus", {"AU99": 1.0}, "AU 99 cannot be drawn"),
        ("aus", {"AU12": 9}, "expected 0 to 3"),
        ("frame", 24, "expected 0 to 23"),
        ("enlarge", 0.5, "expected 1 to 8"),
    ):
        before = getattr(puppet, name)
        with pytest.raises(StagkitError, match=words):
            setattr(puppet, name, value)
        assert getattr(puppet, name) == before


def test_networks_answer_to_the_movement_not_to_the_frame():
    pytest.importorskip("anywidget")
    from stagkit.explorers import view_puppet

    puppet = view_puppet(1, "6+12", weights="phantom")
    smile = dict(puppet.probabilities)
    assert sum(smile.values()) == pytest.approx(1)
    puppet.frame = 3
    assert puppet.probabilities == smile
    puppet.aus = {"AU04": 2.0}
    assert puppet.probabilities != smile


@pytest.mark.browser
def test_the_page_in_chromium(puppet, tmp_path):
    """Time runs by keyboard, bars follow, muscles are there and disabled, nothing is asked of the network."""
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if not executable:
        pytest.skip("no Chromium on this machine")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    puppet.to_html(tmp_path / "puppet.html")
    assert (tmp_path / "puppet.html").stat().st_size < 1e6
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 900, "height": 800})
        page.set_default_timeout(30_000)
        wrong, asked = [], []
        page.on("console", lambda m: wrong.append(m.text) if m.type == "error" else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto((tmp_path / "puppet.html").as_uri())
        page.wait_for_selector("html[data-ready]")
        assert page.evaluate("document.documentElement.scrollWidth") <= 900
        assert page.locator(".sp-row").count() == len(ACTION_UNITS)
        assert page.locator(".sp-row input:enabled").count() == 0, "a saved page has no kernel"
        corner = page.get_by_role("img", name="lip corner L")
        assert corner.first.get_attribute("aria-label").startswith("lip corner L: ")
        said = corner.first.get_attribute("aria-label")
        time = page.get_by_label("time", exact=True)
        time.focus()
        for _ in range(12):
            page.keyboard.press("ArrowLeft")
        page.wait_for_selector(".stag-puppet[data-serial='1']")
        assert page.evaluate("stagModel.get('frame')") == 0
        assert corner.first.get_attribute("aria-label") != said
        assert "nothing moves" in page.locator(".sp-foot").inner_text()
        # tied to the widget by a bridge, a slider that is dragged is measured and shown
        page.expose_function("pull", lambda aus: (puppet.set_state({"aus": aus}), puppet._view)[1])
        page.evaluate(
            """() => {
              document.querySelectorAll(".stag-puppet :disabled").forEach((node) => { node.disabled = false; });
              stagModel.on("change:aus", async () => stagModel.set("_view", await window.pull(stagModel.get("aus"))));
            }"""
        )
        page.locator("[data-au=AU12] input").fill("0")
        page.locator("[data-au=AU01] input").fill("2.5")
        page.locator("[data-au=AU01]").get_by_text("R", exact=True).click()
        wait_until(page, "document.querySelector('.sp-status').textContent.startsWith('AU01R 2.5 %')")
        assert puppet.aus == {"AU01R": 2.5} and puppet.pose.fastest == "brow_inner_R"
        right = page.get_by_role("img", name="brow inner R").get_attribute("aria-label")
        assert right == f"brow inner R: {puppet.speeds['brow_inner_R']:.1f} per cent of the eye distance"
        assert "fastest: brow inner R" in page.locator(".sp-foot").inner_text()
        browser.close()
    assert not wrong and all(url.startswith(("file:", "data:", "blob:")) for url in asked)
