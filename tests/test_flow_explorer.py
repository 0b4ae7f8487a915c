"""The flow explorer: what it shows is what was measured, frames of subjects stay where they are, wrong use is told."""

import base64
import dataclasses
import json
import re
import zlib

import cv2
import numpy as np
import pytest

from stagkit.core.types import Clip, StagkitError
from stagkit.motion.config import FlowConfig
from stagkit.motion.optical_flow import compute_flow
from stagkit.plots.style import magnify_motion
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource

pytest.importorskip("anywidget", reason="anywidget is not installed (pip install 'stagkit[notebooks]')")

from stagkit.explorers import view_flow
from stagkit.explorers.flow.widget import compute_payload, explain_hidden, find_crop, find_kept

SOURCE = PhantomSource(PhantomConfig(preset="smic", subjects=2, clips=2, size=96, difficulty=0.3))
CLIP = SOURCE.read(SOURCE.keys[0])
MOTION = compute_flow(CLIP)


class Counting:
    """A source of 300 clips that counts how often it is read."""

    keys = tuple(f"clip{i:03d}" for i in range(300))

    def __init__(self):
        self.read_keys = []

    def read(self, key):
        self.read_keys.append(key)
        return dataclasses.replace(CLIP, clip_id=key)


def unpack(payload: dict) -> np.ndarray:
    """Flow as the browser sees it: float "time 2 y x" px."""
    width, height = payload["grid"]
    raw = np.frombuffer(zlib.decompress(base64.b64decode(payload["flow"])), np.int8)
    return raw.reshape(-1, 2, height, width) * payload["scale"]


def test_what_travels_is_the_measured_flow_of_the_face_crop():
    payload = json.loads(json.dumps(compute_payload(CLIP, 0, MOTION, FlowConfig())))
    left, top, width, height = find_crop(CLIP)
    seen = unpack(payload)
    assert len(seen) == len(CLIP.frames) == len(find_kept(CLIP))
    expected = MOTION.flow[:, :, top : top + height, left : left + width]
    expected = np.stack([[cv2.resize(c, payload["grid"], interpolation=cv2.INTER_AREA) for c in f] for f in expected])
    assert np.abs(seen - expected).max() <= 0.51 * payload["scale"]
    assert payload["scores"] == pytest.approx(MOTION.scores, abs=1e-4)
    assert payload["selections"]["magnitude"] == MOTION.selected.tolist()
    assert payload["selections"]["apex"] == [CLIP.apex]
    assert len(payload["selections"]["all"]) == len(CLIP.frames) - 1


def test_u_is_right_and_v_is_down_up_to_the_browser():
    flow = np.zeros_like(MOTION.flow)
    flow[:, 0], flow[:, 1] = 1.0, -0.5
    seen = unpack(compute_payload(CLIP, 0, dataclasses.replace(MOTION, flow=flow), FlowConfig()))
    np.testing.assert_allclose(seen[:, 0], 1.0, atol=0.01)
    np.testing.assert_allclose(seen[:, 1], -0.5, atol=0.01)


def test_traits_follow_each_other():
    widget = view_flow(CLIP)
    assert widget.frame == MOTION.scores.argmax() and widget.selected == MOTION.selected.tolist()
    widget.selection = "apex"
    assert widget.selected == [CLIP.apex] and widget.motion.selected.tolist() == [CLIP.apex]
    widget.selection, widget.method = "magnitude", "farneback"
    other = compute_flow(CLIP, FlowConfig(method="farneback"))
    assert widget._payload["key"] == "0|farneback"
    assert widget._payload["scores"] == pytest.approx(other.scores, abs=1e-4)
    assert widget.selected == other.selected.tolist()
    np.testing.assert_allclose(widget.motion.flow, other.flow)


def test_a_motion_that_was_measured_is_not_measured_again(monkeypatch):
    def never(*_):
        raise AssertionError("measured again")

    monkeypatch.setattr("stagkit.explorers.flow.widget.compute_flow", never)
    assert view_flow(CLIP, motion=MOTION).selected == MOTION.selected.tolist()
    with pytest.raises(StagkitError, match="the motion of this clip"):
        view_flow(CLIP, motion=dataclasses.replace(MOTION, strain=MOTION.strain[:3], flow=MOTION.flow[:3],
                  head_motion=MOTION.head_motion[:3], times_ms=MOTION.times_ms[:3], scores=MOTION.scores[:3]))  # fmt: skip


def test_of_300_clips_only_those_that_are_looked_at_are_read():
    source = Counting()
    widget = view_flow(source, clip="clip007", motion=MOTION)
    assert source.read_keys == ["clip007"] and len(widget._clips) == 300
    assert len(json.dumps([widget._clip, widget._payload])) < 600_000
    widget.clip = 250
    assert source.read_keys == ["clip007", "clip250"] and widget._clip["id"] == "clip250"
    assert widget._problem == ""


def test_a_clip_that_cannot_be_shown_is_told_and_the_old_one_stays():
    widget = view_flow([CLIP, dataclasses.replace(CLIP, clip_id="blind", landmarks=None)], motion=MOTION)
    widget.clip = 1
    assert "'blind' has no landmarks" in widget._problem
    assert widget.clip == 0 and widget.shown_clip is CLIP
    widget.selection = "uniform"
    assert widget._clip["id"] == CLIP.clip_id


@pytest.mark.parametrize(
    ("trait", "value", "says"),
    [
        ("clip", 9, r"0\.\.0"),
        ("frame", 999, "has the frames 0"),
        ("method", "liteflownet", "'tvl1'"),
        ("selection", "best", "'magnitude'"),
        ("layer", "heat", "'strain'"),
        ("magnify", 40.0, "1 to 20"),
        ("point", [500.0, 3.0], r"x 0\.\.95"),
    ],
)
def test_a_wrong_trait_is_refused_in_words_and_the_old_value_stands(trait, value, says):
    widget = view_flow(CLIP, motion=MOTION)
    old = getattr(widget, trait)
    with pytest.raises(StagkitError, match=says):
        setattr(widget, trait, value)
    assert getattr(widget, trait) == old


def test_wrong_use_is_one_sentence():
    for clips in (np.zeros((3, 4, 5)), [], None, "clip.mp4"):
        with pytest.raises(StagkitError, match="expected a Clip, a list of clips"):
            view_flow(clips)
    with pytest.raises(StagkitError, match="no landmarks"):
        view_flow(dataclasses.replace(CLIP, landmarks=None))
    with pytest.raises(StagkitError, match="'sub09'"):
        view_flow(SOURCE, clip="sub09")


# ---------------------------------------------------------------------------------------------------- frames of subjects
def licensed(name: str) -> Clip:
    """A clip whose every pixel has a value that occurs nowhere else in a page."""
    return dataclasses.replace(CLIP, dataset=name, subject=f"{name}/sub01", truth=None)


@pytest.mark.parametrize("name", ["casme2", "samm", "4dme"])
def test_no_frame_of_a_licensed_clip_leaves_python(name):
    clip = licensed(name)
    widget = view_flow(clip, motion=MOTION)
    assert widget._clip["strip"] is None and "may be printed" in widget._clip["hidden"]
    page = widget.to_html()
    assert (
        "base64,UklGR" not in page
        and not re.search("data:image/(webp|jpeg|png)", page)
        and "may be printed: none" in page
    )
    assert "data:image/webp;base64,UklGR" in view_flow(CLIP, motion=MOTION).to_html()
    figure = widget.to_figure()
    shown = [image.get_array() for axes in figure.axes for image in axes.get_images()]
    assert not [
        array for array in shown if array.shape[:2] == clip.frames.shape[1:3] and not np.ma.isMaskedArray(array)
    ]


def test_what_is_not_known_to_be_free_is_hidden_and_permission_is_said_by_the_reader():
    assert "show_frames=True" in explain_hidden(licensed("clinic"), None)
    assert explain_hidden(licensed("clinic"), True) == ""
    assert explain_hidden(licensed("recording"), None) == ""
    assert explain_hidden(CLIP, None) == "" and "show_frames=False" in explain_hidden(CLIP, False)


# ---------------------------------------------------------------------------------------------------- what is made
def test_page_is_self_contained_and_below_a_megabyte(tmp_path):
    widget = view_flow(CLIP, motion=MOTION)
    page = widget.to_html(tmp_path / "flow.html", methods=("farneback",))
    assert (tmp_path / "flow.html").read_text(encoding="utf-8") == page
    assert len(page) < 1_000_000
    assert set(re.findall(r"https?://[^\s\"'<>;)]*", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://graphml.graphdrawing.org/xmlns",
    }
    saved = json.loads(re.search(r'id="stag-data">(.*?)</script>', page)[1])["state"]
    assert sorted(saved["_saved"]) == ["0|dis", "0|farneback"] and saved["_live"] is False
    with pytest.raises(StagkitError, match="is a file, or lies below one"):
        widget.to_html(tmp_path / "flow.html" / "flow.html")
    with pytest.raises(StagkitError, match="'farneback'"):
        widget.to_html(methods=("raft",))


def test_a_long_large_clip_still_fits():
    rng = np.random.default_rng(0)
    n = 110
    frames = np.kron(rng.integers(0, 255, (n, 60, 80), dtype=np.uint8), np.ones((1, 3, 3), np.uint8))  # 180 x 240 noise
    landmarks = np.tile(CLIP.landmarks[:1] * 1.7 + [30, 5], (n, 1, 1))
    flow = rng.normal(size=(n, 2, 45, 60)).astype(np.float32)
    flow = np.stack([[cv2.resize(c, (240, 180)) for c in f] for f in flow])
    clip = Clip(
        frames=frames, fps=200, landmarks=landmarks, clip_id="long", subject="s", dataset="recording", label="?"
    )
    motion = dataclasses.replace(
        MOTION, flow=flow, strain=np.abs(flow[:, 0]), head_motion=np.tile(np.eye(2, 3), (n, 1, 1)), landmarks=landmarks[0],
        times_ms=clip.times_ms, scores=rng.random(n), selected=np.arange(5),
    )  # fmt: skip
    assert len(view_flow(clip, motion=motion).to_html()) < 1_000_000


def test_magnified_motion_carries_a_picture_the_way_the_flow_says():
    """A bright square on the cheek, flow of half a pixel to the right everywhere: four times is two pixels."""
    flow = np.zeros_like(MOTION.flow)
    flow[:, 0] = 0.5
    motion = dataclasses.replace(MOTION, flow=flow)
    x, y = (int(v) for v in MOTION.landmarks[30])
    picture = np.zeros(CLIP.frames.shape[1:3], np.uint8)
    picture[y - 4 : y + 5, x - 4 : x + 5] = 200
    moved = magnify_motion(picture, motion, 3, 4.0)
    centre = (moved.sum(0) * np.arange(picture.shape[1])).sum() / moved.sum()
    assert centre - x == pytest.approx(2.0, abs=0.15)


def test_mimebundle_carries_a_picture():
    bundle, _ = view_flow(CLIP, motion=MOTION)._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in bundle and 10_000 < len(bundle["image/png"]) < 400_000
