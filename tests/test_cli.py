"""The command, as a person types it: it works, and bad input ends in one sentence, exit code 2, nothing left behind."""

import importlib.machinery
import json
import os
import re
import subprocess
import sys
import types

import numpy as np
import pytest

from stagkit.cli import main
from stagkit.cli.doctor import OPTIONAL, REQUIRED, check_library
from stagkit.inference.pretrained import PretrainedEnsemble, save_weights
from stagkit.motion.config import FlowConfig, RoiConfig
from tests.forks import ForkedCommand
from tests.lockfile import ROOT
from tests.small import make_small_model, save_maps

QUICK = ["--epochs", "2", "--workers", "1", "--set", "stag.width=16", "--set", "stag.heads=2"]


def run(*arguments: object, capsys) -> tuple[int, str, str]:
    """Exit code, output, error output."""
    capsys.readouterr()
    code = 0
    try:
        main([str(a) for a in arguments])
    except SystemExit as end:
        code = int(end.code or 0)
    out, err = capsys.readouterr()
    return code, out, err


@pytest.fixture(scope="module")
def maps(tmp_path_factory):
    return save_maps(tmp_path_factory.mktemp("cli") / "maps.npz")


def test_the_whole_way_on_phantoms(tmp_path, capsys):
    """phantom -> evaluate -> explain -> figures, each told what comes next by the one before."""
    code, out, _ = run("phantom", tmp_path / "ph", "--subjects", 2, "--clips", 3, "--workers", 1, capsys=capsys)
    assert code == 0
    assert "6 clips of 2 subjects" in out
    code, out, err = run("evaluate", tmp_path / "ph", "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert code == 0, err
    assert "UF1" in out
    assert "majority" in out
    assert "permuted" in out
    code, out, err = run("explain", tmp_path / "run", "--n-figures", 1, "--steps", 32, capsys=capsys)
    assert code == 0, err
    assert "6 test clips explained" in out
    assert "Controls hold: complete" in out
    folder = tmp_path / "run" / "explanations" / "seed0"
    assert {p.name for p in folder.iterdir()} >= {
        "by_roi.csv",
        "by_muscle.csv",
        "by_au.csv",
        "by_frame.csv",
        "by_class.csv",
        "clips.csv",
        "controls.csv",
        "attribution.npz",
        "summary.json",
    }
    assert not (folder / "parts").exists()
    code, out, err = run("explain", tmp_path / "run", "--no-sanity-checks", "--n-figures", 0, capsys=capsys)
    assert "No control was run" in out
    code, _, err = run("explain", tmp_path / "run", "--method", "deeplift", capsys=capsys)
    assert (code, "expected one of " in err, "integrated gradients" in err) == (2, True, True)
    assert len(list(folder.glob("*.png"))) == 1
    code, out, err = run("figures", tmp_path / "run", "--out", tmp_path / "figures", "--figure", 7, capsys=capsys)
    assert code == 0, err
    names = {p.name for p in (tmp_path / "figures").iterdir()}
    assert names == {f"fig07_confusion{end}" for end in (".pdf", ".png", ".json", "_column.pdf", "_column.png")}
    code, out, err = run("report", tmp_path / "run", capsys=capsys)
    assert code == 0 and (tmp_path / "run" / "report.html").is_file(), err


def test_same_command_twice_is_no_second_run(maps, tmp_path, capsys):
    first = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    again = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert first[0] == again[0] == 0
    assert first[1] == again[1]


BAD = {
    "no such folder": ([], "there is no folder"),
    "empty folder": ([], "no prepared folder"),
    "without fields": ({"flow": None}, "has no flow"),
    "nan": ({"flow": np.full((24, 28, 28, 3), np.nan)}, "NaN"),
    "label outside": ({"label": np.full(24, 7)}, "`label` holds 7"),
    "one subject": ({"subject": np.array(["s"] * 24), "dataset": np.array(["d"] * 24)}, "one subject"),
    "class without a clip": ({"label": np.arange(24) % 2}, "no clip has the class surprise"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_data(name, tmp_path, capsys):
    changes, words = BAD[name]
    data = tmp_path / "data"
    if name == "empty folder":
        data.mkdir()
    elif isinstance(changes, dict):
        data = save_maps(tmp_path / "maps.npz", **changes)
    code, _, err = run("evaluate", data, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert code == 2
    assert words in err
    assert len(err.strip().splitlines()) == 1, "one sentence"
    assert not (tmp_path / "run").exists(), "nothing half-written is left behind"


def test_out_holds_another_run(maps, tmp_path, capsys):
    run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")}
    code, _, err = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, "--set", "train.lr=0.5", capsys=capsys)
    assert code == 2
    assert "holds another run" in err
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "run").rglob("*")} == before


def test_out_is_a_file(maps, tmp_path, capsys):
    (tmp_path / "run").write_text("a file")
    code, _, err = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert code == 2
    assert "is a file" in err


def test_out_cannot_be_written(maps, tmp_path, capsys, monkeypatch):
    """Root may write anywhere, so the answer of the system is played."""
    access = os.access
    monkeypatch.setattr(os, "access", lambda path, *mode: path != tmp_path / "run" and access(path, *mode))
    code, _, err = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert code == 2
    assert "cannot be written" in err


def test_out_cannot_be_made(maps, capsys):
    code, _, err = run("evaluate", maps, "--out", "/proc/stagkit/run", *QUICK, capsys=capsys)
    assert code == 2
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("stag.colour=red", "StagConfig has no setting colour"),
        ("stag.graph=octopus", "expected one of egat, gat, none"),
        ("stag.width=30", "expected a multiple of heads"),
        ("train.epochs=0", "expected 1 to"),
        ("train.lr=quick", "TrainConfig.lr is 'quick', expected a number"),
        ("train.epochs=2.5", "expected a whole number"),
        ("stag.temporal_attention=7", "expected true or false"),
        ("stag=[1", "expected stag.NAME=VALUE"),
        ("width=3", "expected stag.NAME=VALUE"),
    ],
)
def test_bad_settings(maps, tmp_path, capsys, change, words):
    code, _, err = run("evaluate", maps, "--out", tmp_path / "run", "--set", change, capsys=capsys)
    assert code == 2
    assert words in err
    assert not (tmp_path / "run").exists()


def test_a_runs_settings_can_be_used_again(maps, tmp_path, capsys):
    run("evaluate", maps, "--out", tmp_path / "a", *QUICK, capsys=capsys)
    config = tmp_path / "a" / "config.yaml"
    code, _, err = run("evaluate", maps, "--out", tmp_path / "b", "--config", config, "--workers", 1, capsys=capsys)
    assert code == 0, err
    first, second = ((tmp_path / n / "predictions.csv").read_text() for n in "ab")
    assert first == second


@pytest.mark.parametrize("command", ["explain", "figures"])
def test_no_run_is_told(tmp_path, capsys, command):
    code, _, err = run(command, tmp_path, capsys=capsys)
    assert code == 2
    assert "holds no run" in err


def test_unknown_clip_is_told(maps, tmp_path, capsys):
    run("evaluate", maps, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    code, _, err = run("explain", tmp_path / "run", "--clip", "nobody", capsys=capsys)
    assert code == 2
    assert "no clip nobody" in err


def test_unknown_data_set_is_told(tmp_path, capsys):
    code, _, err = run("prepare", "casme99", tmp_path, tmp_path / "out", capsys=capsys)
    assert code == 2
    assert "there is no data set 'casme99'" in err


def test_unknown_flow_method_is_told(tmp_path, capsys):
    code, _, err = run("prepare", "manifest", tmp_path, tmp_path / "out", "--method", "magic", capsys=capsys)
    assert code == 2
    assert "dis, dis_fast, tvl1, farneback" in err


def test_lab_without_notebooks_is_told(tmp_path, capsys):
    code, _, err = run("lab", tmp_path / "none", capsys=capsys)
    assert code == 2
    assert "no folder" in err


@pytest.mark.skipif(not hasattr(os, "geteuid"), reason="no root here")
@pytest.mark.parametrize("user", [0, 1000])
def test_lab_starts_for_root_too_and_says_so(user, tmp_path, capsys, monkeypatch):
    """Jupyter refuses root without being told; in a container all is root."""
    started = []
    monkeypatch.setattr(os, "execv", lambda program, command: started.append(command))
    monkeypatch.setattr(os, "geteuid", lambda: user)
    code, _, err = run("lab", tmp_path, capsys=capsys)
    assert code == 0 and started[0][1:4] == ["-m", "jupyter", "lab"]
    assert ("--allow-root" in started[0]) == ("as root" in err) == (user == 0)


def test_doctor(capsys, monkeypatch, tmp_path):
    monkeypatch.setenv("STAGKIT_DATA", str(tmp_path / "nowhere"))
    code, out, _ = run("doctor", capsys=capsys)
    assert code == 0
    assert "torch" in out
    assert "there is no such folder" in out
    assert "does not work" not in out


@pytest.mark.parametrize(("library", "distribution"), [(how[0], name) for name, how in REQUIRED.items()])
def test_doctor_names_a_library_that_is_there_but_broken(library, distribution, monkeypatch, capsys):
    """As a half-overwritten cv2 is: it can be imported, and has nothing in it."""
    for name in [n for n in sys.modules if n.startswith(f"{library}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, types.ModuleType(library))
    sys.modules[library].__spec__ = importlib.machinery.ModuleSpec(library, None)
    finding = check_library(distribution, *REQUIRED[distribution])
    assert finding.ok is False and "does not work" in finding.text
    assert f"--force-reinstall {distribution}" in finding.text
    if library == "cv2":
        code, out, err = run("doctor", capsys=capsys)
        assert code == 2 and "opencv-contrib-python-headless" in err and "Traceback" not in out + err


def test_doctor_names_two_opencvs_and_what_to_uninstall(monkeypatch, tmp_path, capsys):
    for name in ("opencv_python", "opencv_contrib_python"):
        (tmp_path / f"{name}-4.10.0.84.dist-info").mkdir()
        (tmp_path / f"{name}-4.10.0.84.dist-info" / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name.replace('_', '-')}\nVersion: 4.10.0.84\n"
        )
    monkeypatch.syspath_prepend(tmp_path)
    code, out, err = run("doctor", capsys=capsys)
    assert code == 2 and "OpenCV" in err
    assert "pip uninstall opencv-contrib-python opencv-contrib-python-headless opencv-python, then pip install" in out


def test_doctor_names_the_extra_of_what_is_not_installed(monkeypatch, capsys):
    for name in OPTIONAL:
        monkeypatch.setitem(sys.modules, OPTIONAL[name][0], None)
    code, out, _ = run("doctor", capsys=capsys)
    assert code == 0
    assert [out.count(f"stagkit[{extra}]") for extra in ("notebooks", "landmarks", "cluster")] == [7, 1, 1]


ODD = "négatif 消极 \x1b[31mred\x07 \u202eback"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_a_screen_that_cannot_show_a_name_gets_escapes(encoding, tmp_path, monkeypatch):
    """No traceback; and no name, also of a weights file, runs a command of the terminal."""
    model, classes = make_small_model(3), ("négatif 消极", "<b>", ODD)
    odd = PretrainedEnsemble(ODD, (model,), classes, FlowConfig(n_frames=4), RoiConfig(), ODD, model.config)
    save_weights(odd, tmp_path / "odd.safetensors")
    monkeypatch.chdir(tmp_path)
    for arguments in (["weights", str(tmp_path / "odd.safetensors")], ["weights", ODD], ["report", ODD], ["--help"]):
        code, out, err = ForkedCommand(arguments, tmp_path, encoding=encoding).wait()
        whole = out + err
        assert code == (2 if ODD in arguments else 0), whole
        assert b"Traceback" not in whole and b"\x1b" not in whole and b"\x07" not in whole
        assert "\u202e".encode() not in whole
        if arguments == ["weights", str(tmp_path / "odd.safetensors")]:
            assert b"tif" in out and rb"\x1b[31mred" in out


def test_the_commands_print_in_one_place():
    """``say`` cleans what it prints; nothing else writes to the screen."""
    for path in sorted((ROOT / "stagkit" / "cli").glob("*.py")):
        found = re.findall(r"typer\.(?:echo|secho)\(|(?<![\w.])print\(", path.read_text(encoding="utf-8"))
        assert len(found) == (path.name == "options.py"), path.name


def test_compare_and_leak(maps, tmp_path, capsys):
    run("evaluate", maps, "--out", tmp_path / "a", *QUICK, capsys=capsys)
    run("evaluate", maps, "--out", tmp_path / "b", *QUICK, "--set", "stag.graph=none", "--seeds", "0,2", capsys=capsys)
    code, out, err = run("compare", tmp_path / "a", tmp_path / "b", "--json", tmp_path / "c.json", capsys=capsys)
    assert code == 0, err
    assert "24 clips of 4 subjects, paired" in out
    assert (tmp_path / "c.json").is_file()
    code, out, err = run("evaluate", maps, "--out", tmp_path / "l", *QUICK, "--leaky", capsys=capsys)
    assert code == 0, err
    assert "LEAK DEMONSTRATION" in out
    assert "evidence of nothing" in out
    for command in (("compare", tmp_path / "a", tmp_path / "l"), ("explain", tmp_path / "l")):
        code, _, err = run(*command, capsys=capsys)
        assert code == 2
        assert "leak demonstration" in err
    leak, out = tmp_path / "l", tmp_path / "f"
    code, _, err = run("figures", leak, "--figure", 7, "--out", out, capsys=capsys)
    assert (code, "no finished run was given: 'stagkit evaluate' makes one" in err) == (2, True)
    assert not out.exists(), "a leak demonstration is drawn as the leak gap alone"
    assert run("figures", leak, "--figure", 10, "--out", out, capsys=capsys)[0] == 0
    assert {path.name for path in out.iterdir()} == {
        f"fig10_leak_gap{end}" for end in (".pdf", ".png", ".json", "_column.pdf", "_column.png")
    }


def test_ablate(maps, tmp_path, capsys):
    short = [*QUICK, "--protocol", "groupkfold", "--folds", "2", "--variant", "graph-none"]
    code, out, err = run("ablate", maps, "--out", tmp_path / "abl", *short, capsys=capsys)
    assert code == 0, err
    assert "graph-none" in out
    assert {p.name for p in (tmp_path / "abl").iterdir()} == {
        "full", "graph-none", "ablation.csv", "ablation.json", "ablation.tex", "lock",
    }  # fmt: skip
    code, _, err = run("ablate", maps, "--out", tmp_path / "abl", "--variant-data", "uniform", capsys=capsys)
    assert code == 2
    assert "expected NAME=FOLDER" in err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "1,1"], "the seed 1 is given twice"),
        (["--seeds", "many"], "expected how many"),
        (["--protocol", "official"], "needs clips of a part 'train'"),
        (["--mapping", "6-class"], "there is no mapping '6-class'"),
        (["--protocol", "stratifiedkfold", "--folds", "9"], "at most"),
    ],
)
def test_bad_protocols_and_seeds(maps, tmp_path, capsys, options, words):
    code, _, err = run("evaluate", maps, "--out", tmp_path / "run", *QUICK, *options, capsys=capsys)
    assert code == 2
    assert words in err
    assert len([line for line in err.strip().splitlines() if "warning" not in line]) == 1


def test_warnings_are_one_sentence(tmp_path, capsys):
    """All clips of one class are of one subject: the fold that leaves her out has none to train on."""
    path = save_maps(tmp_path / "m.npz", label=np.array([2] * 3 + [0, 1] * 10 + [0]))
    code, _, err = run("evaluate", path, "--out", tmp_path / "run", *QUICK, capsys=capsys)
    assert code == 0
    told = [line for line in err.splitlines() if "stagkit: warning" in line]
    assert len(told) == 1
    assert "has no clip of surprise" in told[0]


@pytest.mark.parametrize(
    "command",
    ["", "doctor", "phantom", "prepare", "evaluate", "compare", "ablate", "explain", "figures", "lab"],
)
def test_help(command, capsys):
    code, out, _ = run(*filter(None, [command, "--help"]), capsys=capsys)
    assert code == 0
    assert "Usage" in out


def test_no_traceback_from_a_real_process(tmp_path):
    command = [sys.executable, "-m", "stagkit.cli", "evaluate", str(tmp_path / "none"), "--out", str(tmp_path / "run")]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 2
    assert done.stderr.startswith("stagkit: there is no folder")
    assert "Traceback" not in done.stderr


def test_difficulty_is_a_number_or_a_word(tmp_path, capsys):
    small = ("--subjects", 1, "--clips", 1, "--workers", 1)
    code, _, err = run("phantom", tmp_path / "a", *small, "--difficulty", "hard", capsys=capsys)
    assert code == 2 and "clean, default, real" in err
    code, _, err = run("phantom", tmp_path / "a", *small, "--difficulty", "1.5", capsys=capsys)
    assert code == 2 and "0.0 to 1.0" in err
    options = ("--difficulty", "real", "--occlusion", "glasses", "--layout", "frames")
    assert run("phantom", tmp_path / "b", *small, *options, capsys=capsys)[0] == 0


def test_phantoms_with_a_known_graph_and_hidden_regions(tmp_path, capsys):
    small = ("--subjects", 1, "--clips", 2, "--workers", 1)
    options = (
        "--preset",
        "relations",
        "--relation",
        "side",
        "--strength",
        "0.5",
        "--occlusion",
        "random",
        "--occluded",
        "0.2",
    )
    assert run("phantom", tmp_path / "a", *small, *options, capsys=capsys)[0] == 0
    config = json.loads((tmp_path / "a" / "prepared.json").read_text())["source"]["config"]
    assert [config[key] for key in ("preset", "relation", "strength", "occluded")] == ["relations", "side", 0.5, 0.2]
    code, _, err = run("phantom", tmp_path / "b", *small, *options[:2], "--layout", "casme2", capsys=capsys)
    assert code == 2 and "no word for both or neither" in err
