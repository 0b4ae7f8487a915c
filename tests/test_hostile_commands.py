"""Every command with inputs that it cannot use: one sentence, exit code 2, nothing left behind, no traceback."""

import json
import os

import numpy as np
import pytest

from stagkit.cli import main


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Name -> path of something that no command can use."""
    home = tmp_path_factory.mktemp("hostile")
    (home / "empty").mkdir()
    (home / "file").write_text("a file")
    (home / "nothing").write_bytes(b"")
    noise = np.random.default_rng(0).bytes(2_000)
    for name in ("noise.npz", "noise.safetensors", "noise.mp4", "noise.csv", "noise.json", "noise.yaml", "noise.npy"):
        (home / name).write_bytes(noise)
    for name in ("deep", "text", "numbers", "wrong"):
        (home / name).mkdir()
        content = {"deep": "[" * 9_000, "text": "no json", "numbers": "[1, 2]", "wrong": json.dumps({"a": None})}[name]
        for record in ("run.json", "metrics.json", "prepared.json", "index.json", "ablation.json", "comparison.json"):
            (home / name / record).write_text(content)
        (home / name / "predictions.csv").write_text("a;b\n1;2\n")
        (home / name / "manifest.csv").write_text("a;b\n1;2\n")
    (home / "noise").mkdir()
    for record in ("run.json", "manifest.csv", "ablation.json", "comparison.csv", "prepared.json"):
        (home / "noise" / record).write_bytes(noise)
    (home / "loop").mkdir()
    (home / "loop" / "loop").symlink_to(home / "loop")
    (home / "broken").symlink_to(home / "nowhere")
    os.mkfifo(home / "pipe")
    (home / "pipes").mkdir()
    for record in ("run.json", "manifest.csv", "ablation.json", "systems.csv"):
        os.mkfifo(home / "pipes" / record)
    paths = {p.name: p for p in home.iterdir()}
    return {
        **paths,
        "none": home / "none",
        "long": home / ("x" * 300),
        "control": home / "a\x1b[31m\nb",
        "null": "a\0b",
        "option": "",
        "surrogate": "menu\udce9",
    }


def run(arguments, capsys):
    """Exit code and everything printed."""
    capsys.readouterr()
    try:
        main([str(a) for a in arguments])
        code = 0
    except SystemExit as end:
        code = end.code or 0
    out, err = capsys.readouterr()
    return code, out + err, err


NAMES = (
    "none empty file nothing noise.npz noise.safetensors noise.mp4 noise.csv noise deep text numbers wrong loop broken "
    "pipe pipes long control null option surrogate"
).split()
COMMANDS = {
    "evaluate": ["evaluate", "@", "--out", "OUT"],
    "ablate": ["ablate", "@", "--out", "OUT"],
    "compare": ["compare", "@", "@"],
    "compare-systems": ["compare-systems", "@", "--out", "OUT"],
    "explain": ["explain", "@"],
    "figures": ["figures", "@", "--out", "OUT"],
    "report": ["report", "@"],
    "weights": ["weights", "@"],
    "doctor": ["doctor", "@"],
    "check-data": ["check-data", "casme2", "@"],
    "check-manifest": ["check-data", "manifest", "@"],
    "prepare": ["prepare", "casme2", "@", "OUT"],
    "prepare-manifest": ["prepare", "manifest", "@", "OUT"],
    "analyze": ["analyze", "@", "--landmarks", "POINTS", "--out", "OUT", "--fps", "50"],
    "analyze-landmarks": ["analyze", "PICTURES", "--landmarks", "@", "--out", "OUT", "--fps", "50"],
    "analyze-weights": [
        "analyze",
        "PICTURES",
        "--landmarks",
        "POINTS",
        "--weights",
        "@",
        "--out",
        "OUT",
        "--fps",
        "50",
    ],
    "analyze-landmarker": ["analyze", "PICTURES", "--landmarker", "@", "--out", "OUT", "--fps", "50"],
    "evaluate-config": ["evaluate", "MAPS", "--out", "OUT", "--config", "@"],
    "lab": ["lab", "@"],
}


@pytest.fixture(scope="module")
def usable(tmp_path_factory):
    """Sound inputs for the places that are not under test."""
    import cv2

    from stagkit.synthetic.clip import make_clip
    from stagkit.synthetic.config import PhantomConfig
    from tests.small import save_maps

    home = tmp_path_factory.mktemp("usable")
    clip = make_clip(PhantomConfig(subjects=1, clips=1, size=96), 0, 0)
    (home / "pictures").mkdir()
    for t, frame in enumerate(clip.frames[:9]):
        cv2.imwrite(str(home / "pictures" / f"{t}.png"), frame[..., ::-1])
    np.save(home / "points.npy", clip.landmarks[0])
    return {"PICTURES": home / "pictures", "POINTS": home / "points.npy", "MAPS": save_maps(home / "maps.npz")}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("command", COMMANDS)
def test_what_cannot_be_used_is_one_sentence(command, name, hostile, usable, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(os, "execv", lambda *_: pytest.fail("jupyter was started"))
    if command == "lab" and os.path.isdir(str(hostile[name] or ".").replace("\0", "?")):
        return  # any folder will do
    places = {"@": hostile[name], "OUT": tmp_path / "out", **usable}
    code, whole, err = run([places.get(a, a) for a in COMMANDS[command]], capsys)
    assert code == 2 or (code == 1 and command in ("doctor", "check-data", "check-manifest")), whole
    assert "Traceback" not in whole and "\x1b[31m" not in whole and "No such option" not in err
    lines = [line for line in err.splitlines() if not line.startswith("stagkit: warning")]
    assert (len(lines) == 1 and lines[0].startswith("stagkit: ")) or "Usage" in err or code == 1, err
    assert len(err) < 3_000
    left = [p.name for p in (tmp_path / "out").rglob("*")] if (tmp_path / "out").exists() else []
    assert not [p for p in left if p not in ("lock", ".lock")], left


NUMBERS = ["nan", "inf", "-1", "1e999", "9" * 400, "x"]
OPTIONS = {
    "phantom": (
        ["phantom", "OUT"],
        ["--subjects", "--clips", "--seed", "--difficulty", "--workers"],
    ),
    "evaluate": (
        ["evaluate", "MAPS", "--out", "OUT"],
        ["--seeds", "--epochs", "--workers", "--folds", "--gpus", "--mapping"],
    ),
    "analyze": (["analyze", "PICTURES", "--landmarks", "POINTS", "--out", "OUT"], ["--fps", "--window"]),
    "explain": (["explain", "MAPS"], ["--seed", "--steps", "--n-figures"]),
    "prepare": (["prepare", "manifest", "PICTURES", "OUT"], ["--n-frames", "--align", "--workers", "--method"]),
    "figures": (["figures", "MAPS", "--out", "OUT"], ["--figure"]),
    "lab": (["lab"], ["--port"]),
}


@pytest.mark.parametrize("value", NUMBERS)
@pytest.mark.parametrize(("command", "option"), [(c, o) for c, (_, options) in OPTIONS.items() for o in options])
def test_an_option_that_is_no_number_in_its_range_is_one_sentence(
    command, option, value, usable, tmp_path, capsys, monkeypatch
):
    """Most are refused; what is allowed (a seed 0) must not be reached, so the work itself is taken out."""

    class Reached(Exception):
        pass

    def stop(*_, **__):
        raise Reached

    for work in (
        "stagkit.datasets.prepare.prepare_clips",
        "stagkit.evaluation.evaluate.evaluate",
        "stagkit.inference.analyze.load_weights",
    ):
        monkeypatch.setattr(work, stop)
    monkeypatch.setattr(os, "execv", stop)
    places = {"OUT": tmp_path / "out", **usable}
    arguments = [places.get(a, a) for a in OPTIONS[command][0]]
    if command == "analyze" and option != "--fps":
        arguments += ["--fps", "50"]
    try:
        code, whole, err = run([*arguments, option, value], capsys)
    except Reached:
        assert value in ("0", "1.5", "1", "１", "")
        return
    assert code in (0, 2), whole
    assert "Traceback" not in whole and "No such option" not in err and len(err) < 4_000
    if code == 0:
        assert value in ("0", "1.5", "１", ""), f"{option} {value} was taken"
