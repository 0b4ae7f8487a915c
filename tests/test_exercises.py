"""The checks of exercises: right answers pass, and each usual mistake is named as what it is."""

import numpy as np
import pytest
import torch

from stagkit.core.config import StagConfig
from stagkit.core.regions import ATLAS
from stagkit.course.exercises import check_answer
from stagkit.network.hooks import intervene
from stagkit.network.model import Stag
from tests.small import make_dataset

SAID = np.array([[1, 1, 0, 1], [1, 1, 2, 2], [0, 1, 0, 0]])  # right: 2, 3 and 2 of 4 clips
NAMES = [f"img{n}.png" for n in range(9, 71, 2)]
FOUND = {
    "clips": {"rows": 12, "usable": 11},
    "skipped": {"sub02/EP01_2": "there is no folder"},
    "orphan_folders": ["a", "b"],
    "frames": {"missing": 3},
    "issues": ["a", "b", "c", "d"],
}


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (11, True, "11 images come before it"),
        (31, False, "number in the file's name"),
        (22, False, "no number were left out"),
        (12, False, "positions begin at 0"),
        (10, False, "alphabet"),
        (7, False, "sort the names"),
    ],
)
def test_position_of_a_picture(answer, ok, words):
    verdict = check_answer("20.1", answer, names=NAMES, onset="img31.png")
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (1, True, "sub02/EP01_2"),
        (11, False, "*can* be used"),
        (2, False, "no row names"),
        (3, False, "missing *frames*"),
        (4, False, "a warning is not a loss"),
        (9, False, "rows minus usable"),
    ],
)
def test_clips_that_cannot_be_used(answer, ok, words):
    verdict = check_answer("20.2", answer, found=FOUND)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("number", "answer", "ok", "words"),
    [
        ("12.1", [-2, 0, 4, 0, -2], True, "add up to zero"),
        ("12.1", [-4, -2, 0, 2, 4], False, "rank pooling of the whole clip"),
        ("12.1", [2, 0, -4, 0, 2], False, "signs are reversed"),
        ("12.1", [-2, 0, 2, 0, -2], False, "gets its weight twice"),
        ("12.1", [1, 2, 3], False, "five numbers"),
        ("12.2", 0.75, True, "optimistic 0.75, last epoch 0.50"),
        ("12.2", 0.5, False, "the score of the last epoch"),
        ("12.2", 1.0, False, "one epoch has to answer all"),
        ("12.2", 0.58333333, False, "mean over the epochs"),
    ],
)
def test_the_comparison_of_systems(number, answer, ok, words):
    given = {"predicted": SAID, "label": np.array([1, 1, 2, 0])} if number == "12.2" else {}
    verdict = check_answer(number, answer, **given)
    assert verdict.ok is ok and words in verdict.text


def share(weights: np.ndarray, axis: int = 1) -> np.ndarray:
    return weights / weights.sum(axis, keepdims=True)


SCORES = np.array([[0.0, 1.0, 2.0], [0.5, -1.0, 0.0], [3.0, 0.0, 1.0]])
JOINED = np.array([[1, 1, 0], [1, 1, 1], [0, 1, 1]], bool)


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (share(np.exp(SCORES) * JOINED), True, "every row sums to 1"),
        (share(np.exp(SCORES) * JOINED, 0), False, "wrong axis"),
        (share(np.exp(SCORES)), False, "*all* regions"),
        (share(np.exp(SCORES * JOINED)), False, "its exponential is 1"),
        (share(np.exp(SCORES)) * JOINED, False, "after the division"),
        (np.exp(SCORES) * JOINED, False, "divide them"),
        (SCORES, False, "exponential of the scores"),
        (SCORES[0], False, "(3,)"),
    ],
)
def test_rows_or_columns(answer, ok, words):
    verdict = check_answer("04.1", answer, scores=SCORES, joined=JOINED)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (1 / 3, True, "from 0.2000 to 0.3333"),
        (0.4, False, "more than 1"),
        (0.2, False, "share before"),
        (1 / 6, False, "above the line"),
        (0.9, False, "1 - p"),
    ],
)
def test_twice_the_weight(answer, ok, words):
    verdict = check_answer("04.2", answer, p=0.2)
    assert verdict.ok is ok and words in verdict.text


def test_an_au_without_one_of_its_edges():
    """Logit 1 with a term of 3: -2 without it."""
    sigmoid = [1 / (1 + np.exp(-v)) for v in (-2, 1, 4)]
    for answer, ok, words in [
        (sigmoid[0], True, "0.12; with the edge it was 0.73"),
        (-2, False, "the logit"),
        (sigmoid[1], False, "all its edges"),
        (sigmoid[2], False, "added once more"),
        (sigmoid[1] - 3, False, "add up in logits"),
        (0.5, False, "then the sigmoid"),
    ]:
        verdict = check_answer("04.3", answer, z=1.0, term=3.0)
        assert verdict.ok is ok and words in verdict.text, verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (12, True, "200 ms"),
        (133.3, False, "swapped"),
        (40, False, "another moment"),
        (200, False, "that is the time"),
        (0.2, False, "that is the time"),
        (77, False, "time x rate"),
    ],
)
def test_frame_of_another_camera(answer, ok, words):
    verdict = check_answer("05.1", answer, frame=40, fps=200, other_fps=60)
    assert verdict.ok is ok and words in verdict.text


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = Stag(StagConfig(width=8, heads=2), n_classes=3).eval()
    with torch.no_grad():  # untrained gates are nearly shut
        for name, value in model.named_parameters():
            if name.endswith("gate.bias") and not name.startswith("head"):
                value.add_(4.0)
        model.head.nodes.normal_()  # and an untrained head reads next to nothing
        model.head.pairs.normal_()
    return model


def ask(model, batch, factor=1.0):
    with torch.no_grad():
        return model.logits(batch.x, batch.mask, factor * batch.times_ms)


def test_logit_on_a_wrong_clock(network):
    batch = make_dataset().batch([3])
    true, twice, half = (ask(network, batch, f)[0] for f in (1.0, 2.0, 0.5))
    change = float((twice - true)[1])
    assert abs(change) > 5e-3, "the clock matters, so the check can tell right from wrong"
    for answer, ok, words in [
        (change, True, "logits, though"),
        (-change, False, "sign"),
        (float((half - true)[1]), False, "halved"),
        (float(twice[1]), False, "subtract"),
        (float((twice.softmax(-1) - true.softmax(-1))[1]), False, "probability"),
        (123.0, False, "`model.logits` twice"),
    ]:
        verdict = check_answer("05.2", answer, model=network, batch=batch, cls=1)
        assert verdict.ok is ok and words in verdict.text, verdict.text


@pytest.mark.parametrize(
    ("repair", "ok", "words"),
    [
        (lambda film: np.moveaxis(film, 0, -1), True, "frame t"),
        (lambda film: film.reshape(3, 4, 2), False, "published mistake"),
        (lambda film: film.T, False, "y and x are swapped"),
        (lambda film: film, False, "still (time, y, x)"),
        (lambda film: np.moveaxis(film, 0, -1) + 1, False, "should be the first frame"),
        (lambda film: film[0], False, "expected (y, x, time)"),
    ],
)
def test_repaired_axes(repair, ok, words):
    film = np.arange(24).reshape(2, 3, 4)
    for number in ("05.3", "12.3"):
        verdict = check_answer(number, repair(film), film=film)
        assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (136 * 3 * 4, True, "1,632"),
        (17 * 17 * 3 * 4, False, "no direction"),
        (17 * 16 * 3 * 4, False, "counts once"),
        (17 * 9 * 3 * 4, False, "no pair with itself"),
        (136 * 4, False, "every relation"),
        (136 * 3, False, "each class"),
        (7, False, "pairs of AUs x relations"),
    ],
)
def test_weights_of_au_edges(answer, ok, words):
    verdict = check_answer("06.1", answer, n_aus=17, n_classes=4, n_relations=3)
    assert verdict.ok is ok and words in verdict.text


def test_when_a_region_listens():
    asks, asked = torch.full((22, 4), 0.2), torch.full((22, 4), 0.2)
    lip, left = ATLAS.index("lip_corner_R"), ATLAS.index("lip_corner_L")
    asks[:, 0], asks[lip, 1], asks[left, 2], asked[lip, 3] = 0.3, 0.5, 0.5, 0.5
    ways, times = {"regions query frames": asks, "frames query regions": asked}, torch.tensor([10.0, 25, 40, 60])
    for answer, ok, words in [
        (25, True, "25 ms, with 2.00 times"),
        (1, False, "number of a frame"),
        (60, False, "other direction"),
        (40, False, "subject's left"),
        (10, False, "all regions together"),
        (99, False, "regions ask"),
    ]:
        verdict = check_answer("06.2", answer, ways=ways, times_ms=times)
        assert verdict.ok is ok and words in verdict.text, verdict.text


def test_two_parts_silenced(network):
    batch, clip = make_dataset().batch([0, 1]), 1
    before = ask(network, batch)[clip]
    said, pairs, cross = int(before.argmax()), {"au.edges": 0.0}, {"cross.*": 0.0}
    single = []
    for changes in (pairs, cross):
        with intervene(network, changes):
            single.append(float((ask(network, batch)[clip] - before)[said]))
    with intervene(network, pairs | cross):
        after = float(ask(network, batch)[clip, said])
    together = after - float(before[said])
    assert min(map(abs, (*single, together, together - sum(single)))) > 5e-4, "the answers below differ"
    for answer, ok, words in [
        (together, True, "one by one"),
        (-together, False, "sign"),
        (sum(single), False, "sum of the two"),
        (single[0], False, "only one"),
        (after, False, "subtract"),
        (123.0, False, "one dictionary"),
    ]:
        verdict = check_answer("06.3", answer, model=network, batch=batch, clip=clip)
        assert verdict.ok is ok and words in verdict.text, verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        (36, True, "of 6 subjects"),
        (6, False, "those are the subjects"),
        (72, False, "sum of the matrix"),
        (7, False, "look into"),
    ],
)
def test_clips_behind_a_figure(answer, ok, words):
    source = {
        "n": {"run": {"clips": 36, "subjects": 6}},
        "values": {"confusion": {"run": {"counts": [[40, 2], [10, 20]]}}},
    }
    verdict = check_answer("13.1", answer, source=source)
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [(1, True, "1 of 13"), (12, False, "can *not*"), (13, False, "all would need"), (5, False, "go through")],
)
def test_figures_that_can_be_drawn_from_nothing(answer, ok, words):
    from stagkit.reports.paper import Inputs

    verdict = check_answer("13.2", answer, inputs=Inputs())
    assert verdict.ok is ok and words in verdict.text


@pytest.mark.parametrize(
    ("answer", "ok", "words"),
    [
        ("0.612 [0.500, 0.701]", True, "same digits"),
        ("0.650 [0.500, 0.701]", False, "another score"),
        ("0.612", False, "interval is missing"),
        ("0.61 [0.50, 0.70]", False, "three digits"),
    ],
)
def test_a_cell_of_the_table(answer, ok, words):
    from types import SimpleNamespace

    metrics = {s: {"mean": m, "ci95": [0.5, 0.701]} for s, m in (("uf1", 0.65), ("uar", 0.612), ("acc", 0.7))}
    verdict = check_answer("13.3", answer, inputs=SimpleNamespace(run=SimpleNamespace(metrics=metrics)))
    assert verdict.ok is ok and words in verdict.text
