"""Any clip: windows that miss no frame, one page that says what it is not, and bad input in one sentence."""

import gc
import json
import re
import warnings
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stagkit.cli import main
from stagkit.core.config import StagConfig, TrainConfig
from stagkit.core.errors import StagkitWarning
from stagkit.core.types import StagkitError
from stagkit.datasets.prepare import load_data, prepare_dataset
from stagkit.evaluation.evaluate import evaluate
from stagkit.inference.analyze import SIZE, STILL, _Part, analyze_video, describe_analysis
from stagkit.motion.config import FlowConfig
from stagkit.motion.frames import AHEAD
from stagkit.motion.landmarks import align_clip
from stagkit.motion.video import Video, iter_windows, open_video
from stagkit.reports.analysis import read_warnings, save_analysis
from stagkit.synthetic.clip import make_clip
from stagkit.synthetic.config import PhantomConfig
from stagkit.synthetic.dataset import PhantomSource
from stagkit.synthetic.photo import animate_photo, load_astronaut, load_astronaut_landmarks
from tests.small import save_maps
from tests.test_stream import Counter

CLIP = PhantomConfig(subjects=1, clips=1, size=128, difficulty=0, seed=5)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on phantoms, hardly trained."""
    home = tmp_path_factory.mktemp("analyze")
    few = PhantomConfig(subjects=2, clips=3, size=64)
    prepare_dataset(PhantomSource(few), home / "p", FlowConfig(n_frames=4))
    data, small = load_data(home / "p"), StagConfig(width=16, heads=2)
    evaluate(data, home / "run", small, TrainConfig(epochs=2), workers=1, data_path=home / "p")
    return home / "run"


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A phantom as a folder of pictures and as a film, and its landmarks."""
    home = tmp_path_factory.mktemp("recording")
    clip = make_clip(CLIP, 0, 0)
    (home / "pictures").mkdir()
    film = cv2.VideoWriter(str(home / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 50, (128, 128))
    for t, frame in enumerate(clip.frames):
        cv2.imwrite(str(home / "pictures" / f"f{t}.png"), frame[..., ::-1])
        film.write(np.ascontiguousarray(frame[..., ::-1]))
    film.release()
    np.save(home / "points.npy", clip.landmarks[0])
    return home, clip


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.integers(1, 60), st.integers(2, 20))
def test_windows_miss_no_frame(n_frames, length):
    """Each frame's value is its number: every window is a run of numbers, all are there, and windows overlap by half."""
    windows = list(iter_windows([np.array([t]) for t in range(n_frames)], length))
    for start, frames in windows:
        assert [int(f[0]) for f in frames] == list(range(start, start + len(frames)))
        assert len(frames) <= length
    assert {t for start, w in windows for t in range(start, start + len(w))} == set(range(n_frames))
    assert len(windows) == 1 or [b - a for (a, _), (b, _) in zip(windows, windows[1:], strict=False)] == [
        max(1, length // 2)
    ] * (len(windows) - 1)


def test_folder_and_film_show_the_same(recording):
    home, clip = recording
    folder, film = open_video(home / "pictures", 50), open_video(home / "film.mp4")
    assert film.fps == 50
    pictures = np.stack(list(folder))
    assert np.array_equal(pictures, clip.frames), "in the order of the numbers, not of the spelling; red first"
    filmed = np.stack(list(film))
    assert filmed.shape == pictures.shape
    assert np.abs(filmed.astype(float) - pictures).mean() < 8


def test_bad_recordings_are_told(tmp_path, recording):
    home, _ = recording
    (tmp_path / "film.mp4").write_bytes(b"no film")
    (tmp_path / "notes.txt").write_text("notes")
    (tmp_path / "empty").mkdir()
    for path, fps, words in (
        (tmp_path / "film.mp4", None, "cannot be read as a video"),
        (tmp_path / "notes.txt", None, "is no known video format"),
        (tmp_path / "none", None, "no file or folder"),
        (tmp_path / "empty", 50, "holds no images"),
        (home / "pictures", None, "give --fps"),
        (home / "pictures", 0.0, "fps is 0.0, expected a number"),
    ):
        with pytest.raises(StagkitError, match=words):
            open_video(path, fps)


# ── the analysis ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_of_pictures(run, recording, tmp_path, capsys):
    """As a person types it; the page stands alone and says what the weights have learned from."""
    home, clip = recording
    arguments = [
        "analyze",
        home / "pictures",
        "--weights",
        run,
        "--out",
        tmp_path / "a",
        "--landmarks",
        home / "points.npy",
    ]
    main_or_fail([*arguments, "--fps", "200"])
    told = capsys.readouterr().out
    assert "phantoms, drawn by a program: they say nothing about real people" in told
    found = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert len(found["windows"]) == 1
    only = found["windows"][0]
    assert (only["start"], only["stop"]) == (0, len(clip.frames) - 1)
    assert sum(only["probabilities"]) == pytest.approx(1)
    assert abs(only["peak_frame"] - clip.apex) <= 5, "most motion where the truth has it"
    page = (tmp_path / "a" / "page.html").read_text()
    assert page.count("default-src 'none'; style-src 'unsafe-inline'; img-src data:;") == 1, (
        "it may load nothing and run nothing"
    )
    assert "Not a lie detector" in page
    assert "does not spot micro-expressions" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page), "the page needs no other file"
    assert page.count("data:image/png;base64") == 4
    warned = read_warnings(page)
    assert warned[0].startswith("Not a lie detector, and no diagnosis. The networks were trained on 6 clips")
    assert len(warned) == 4 and not any("<" in text for text in warned)


def test_what_a_page_warns_of_is_read_as_plain_text():
    """Paragraphs that say no, not or nothing; words that only begin so do not count, nor does text of other kinds."""
    page = (
        '<p class="soft">It&#x27;s no\n<strong>spotting</strong>.</p><p class="soft">Noted: 3 windows.</p>'
        '<p>Not one of them.</p><p class="box">Nothing was measured.</p>'
    )
    assert read_warnings(page) == ("It's no\nspotting.", "Nothing was measured.")
    assert read_warnings("") == ()


def test_the_weights_that_come_with_stagkit(recording, tmp_path, capsys):
    """They judge where none are named: no run needed; sees the planted movement, and says what the networks know."""
    home, clip = recording
    files = ["--out", tmp_path / "a", "--landmarks", home / "points.npy", "--fps", "200"]
    main_or_fail(["analyze", home / "pictures", *files])
    assert "On real recordings nothing was measured" in capsys.readouterr().out
    found = json.loads((tmp_path / "a" / "analysis.json").read_text())
    assert found["run"] == "phantom" and found["classes"] == ["negative", "positive", "surprise"]
    assert abs(found["windows"][0]["peak_frame"] - clip.apex) <= 5
    assert 0 < found["windows"][0]["spread"] < 1, "five networks do not agree to the last digit"


def main_or_fail(arguments):
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        assert not end.code, end.code


def test_a_long_film_is_cut_and_the_moving_window_is_shown(run, recording, tmp_path):
    """Stillness, a phantom's motion, stillness: the window that is explained holds the apex."""
    home, clip = recording
    still = [clip.frames[0]] * 60
    (tmp_path / "long").mkdir()
    for t, frame in enumerate([*still, *clip.frames, *still]):
        cv2.imwrite(str(tmp_path / "long" / f"{t}.png"), frame[..., ::-1])
    found = analyze_video(tmp_path / "long", run, landmarks=home / "points.npy", fps=100, window=0.4)
    assert len(found.windows) > 4
    assert found.best.start <= 60 + clip.apex <= found.best.stop
    assert abs(found.best.peak_frame - (60 + clip.apex)) <= 6
    assert found.windows[0].peak < 0.2 * found.best.peak
    assert np.allclose(
        found.attribution.values.sum(),
        found.attribution.logit_difference[0],
        atol=0.05 * abs(found.attribution.logit_difference[0]),
    )
    assert "window(s)" in describe_analysis(found)


def _write_still(folder, frame, n_frames):
    folder.mkdir()
    for t in range(n_frames):
        cv2.imwrite(str(folder / f"{t}.png"), frame[..., ::-1])


def test_a_motionless_film_is_said_to_be_motionless(recording, tmp_path):
    """Equal windows: the first is reported, and its frames are those that are explained."""
    home, clip = recording
    _write_still(tmp_path / "still", clip.frames[0], 20)
    points = home / "points.npy"
    found = analyze_video(tmp_path / "still", "phantom", landmarks=points, fps=100, window=0.08)
    assert len(found.windows) > 2 and found.shown == 0
    assert found.clip.clip_id == f"still, frames {found.best.start} to {found.best.stop}"
    assert found.best.peak < STILL
    save_analysis(found, tmp_path / "a")
    for text in (describe_analysis(found), (tmp_path / "a" / "page.html").read_text()):
        assert "motionless" in text and "means nothing here" in text
    assert "Most motion" not in describe_analysis(found)
    assert json.loads((tmp_path / "a" / "analysis.json").read_text())["motionless"] is True


def test_first_windows_without_a_face_are_no_traceback(recording, tmp_path):
    """A motionless rest as well: the first window that was measured is reported, not the first of all."""
    _, clip = recording
    _write_still(tmp_path / "still", clip.frames[0], 20)
    points = np.repeat(clip.landmarks[:1], 20, 0)
    points[:8] *= 0.2
    np.save(tmp_path / "points.npy", points)
    found = analyze_video(tmp_path / "still", "phantom", landmarks=tmp_path / "points.npy", fps=100, window=0.08)
    assert [bool(w.reason) for w in found.windows] == [True, True, False, False]
    assert found.shown == 2 and found.clip.clip_id == "still, frames 8 to 15"
    assert "2 without a usable face" in describe_analysis(found)


def test_what_is_warned_of_stands_in_the_record_and_on_the_page(recording, tmp_path, monkeypatch):
    home, _ = recording
    sentence = "the film's <frame rate> varies."

    def warn(path, fps):
        warnings.warn(sentence, StagkitWarning, stacklevel=2)
        return open_video(path, fps)

    monkeypatch.setattr("stagkit.inference.analyze.open_video", warn)
    with pytest.warns(StagkitWarning, match="varies"):
        found = analyze_video(home / "pictures", "phantom", landmarks=home / "points.npy", fps=200, window=5)
    assert found.warnings == (sentence,)
    save_analysis(found, tmp_path / "a")
    assert json.loads((tmp_path / "a" / "analysis.json").read_text())["warnings"] == [sentence]
    assert "film&#39;s &lt;frame rate&gt; varies." in (tmp_path / "a" / "page.html").read_text()


@pytest.mark.parametrize("window", [0, -1, float("nan"), float("inf"), 1e9])
def test_a_window_that_is_no_length_is_refused(recording, tmp_path, window):
    home, _ = recording
    with pytest.raises(StagkitError, match="`window` is"):
        analyze_video(home / "pictures", "phantom", landmarks=home / "points.npy", fps=50, window=window)


def test_an_animated_astronaut_as_film_and_as_pictures(tmp_path, capsys):
    """A photograph of a real face that smiles a little: both recordings show the motion where it was put, and a page."""
    clip = animate_photo(load_astronaut(), load_astronaut_landmarks(), {"12": 4}, n_frames=24, size=240, noise=0)
    (tmp_path / "pictures").mkdir()
    film = cv2.VideoWriter(str(tmp_path / "film.mp4"), cv2.VideoWriter_fourcc(*"mp4v"), 100, (240, 240))
    for t, frame in enumerate(clip.frames):
        cv2.imwrite(str(tmp_path / "pictures" / f"{t}.png"), frame[..., ::-1])
        film.write(np.ascontiguousarray(frame[..., ::-1]))
    film.release()
    np.save(tmp_path / "points.npy", clip.landmarks[0])
    for name, rate in (("film.mp4", []), ("pictures", ["--fps", "100"])):
        out = tmp_path / f"of {name}"
        files = ["--weights", "phantom", "--out", out, "--landmarks", tmp_path / "points.npy"]
        main_or_fail(["analyze", tmp_path / name, *files, *rate])
        assert "On real recordings nothing was measured" in capsys.readouterr().out
        found = json.loads((out / "analysis.json").read_text())
        (only,) = found["windows"]
        assert (only["start"], only["stop"], only["reason"]) == (0, 23, "")
        assert abs(only["peak_frame"] - clip.apex) <= 3
        assert (out / "page.html").read_text().count("data:image/png;base64") == 4
        assert max(found["au_probabilities"], key=found["au_probabilities"].get) == "AU12", "the muscle that was moved"


class Film(Video):
    """A recording of 640 x 480 px that shows the same few pictures again and again and counts its frames that are alive."""

    def __iter__(self):
        self.counter.n = 150
        for k, frame in enumerate(self.counter):
            frame[:] = self.pictures[k % len(self.pictures)]
            yield frame
            del frame


def test_however_long_the_window_few_frames_of_real_size_are_alive(recording, tmp_path, monkeypatch):
    """Windows of 100 frames over 150: as many as may wait, and three (being read, handed over, made small)."""
    home, clip = recording
    large = np.float64([[3, 0, 100], [0, 3, 60]])
    film = Film(home / "film.mp4", 100.0, "film")
    object.__setattr__(film, "counter", Counter(150))
    object.__setattr__(film, "pictures", [cv2.warpAffine(f, large, (640, 480)) for f in clip.frames[::5]])
    monkeypatch.setattr("stagkit.inference.analyze.open_video", lambda path, fps: film)
    np.save(tmp_path / "large.npy", clip.landmarks[0] @ large[:, :2].T + large[:, 2])
    found = analyze_video("film", "phantom", landmarks=tmp_path / "large.npy", window=1.0)
    assert [(w.start, w.stop, w.reason) for w in found.windows] == [(0, 99, ""), (50, 149, "")]
    assert film.counter.made == 2 * 150, "counted, then looked at"
    assert film.counter.most <= AHEAD + 3
    gc.collect()
    assert not film.counter.living


def test_a_window_is_its_clip_aligned(recording):
    """What is kept of a window while it is read is what ``align_clip`` makes of the whole."""
    home, clip = recording
    stored = np.broadcast_to(clip.landmarks[0], clip.landmarks.shape)
    video = open_video(home / "pictures", 50)
    windows = list(iter_windows(video, 20, lambda start: _Part(video, start, stored, None)))
    assert len(windows) > 2
    for start, part in windows:
        found = part.make_clip()
        stop = start + len(found.frames)
        expected = align_clip(replace(clip, frames=clip.frames[start:stop], landmarks=stored[start:stop], onset=0,
                                      apex=None, offset=None, truth=None), SIZE)  # fmt: skip
        assert (found.frames == expected.frames).all() and np.allclose(found.landmarks, expected.landmarks)


def test_what_cannot_be_analysed_is_told(run, recording, tmp_path):
    home, clip = recording
    pictures, points = home / "pictures", home / "points.npy"
    with pytest.raises(StagkitError, match="landmarks are needed"):
        analyze_video(pictures, run, fps=50)
    with pytest.raises(StagkitError, match="holds no run"):
        analyze_video(pictures, tmp_path, landmarks=points, fps=50)
    np.save(tmp_path / "small.npy", clip.landmarks[0] * 0.2)
    with pytest.raises(StagkitError, match="no window .* usable face; the first: .*too small"):
        analyze_video(pictures, run, landmarks=tmp_path / "small.npy", fps=50)


def test_a_run_on_flow_maps_is_refused(recording, tmp_path):
    home, _ = recording
    maps = save_maps(tmp_path / "m.npz")
    small = StagConfig(width=16, heads=2)
    evaluate(load_data(maps), tmp_path / "run", small, TrainConfig(epochs=1), workers=1, data_path=maps)
    with pytest.raises(StagkitError, match="flow maps, whose amplitude is lost"):
        analyze_video(home / "pictures", tmp_path / "run", landmarks=home / "points.npy", fps=50)
