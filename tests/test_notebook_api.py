"""What notebooks call: expected values, questions, checks; and the runner, on notebooks made for the purpose."""

import base64
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import stagkit
from stagkit.core.errors import StagkitError
from stagkit.course import exercises
from stagkit.course import notebooks as course_files
from stagkit.course import runner as course
from stagkit.course.notebook import (
    _RUN_ROOMS,
    Notebook,
    UnexpectedValue,
    cache_folder,
    compare_values,
    compute_code_digest,
    course_settings,
    setup,
)
from tests.test_rooms import ROOMS


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    """A folder with ``expected_values/``, no data of the reader's own, nothing recorded."""
    (tmp_path / "expected_values").mkdir()
    monkeypatch.chdir(tmp_path)
    for name in ("RUN", "DATA", "STAGKIT_RECORD_VALUES", "STAGKIT_COURSE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STAGKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path


# the helper ----------------------------------------------------------------------------------------------------------


def test_setup_says_what_it_runs_on_and_on_what_data(capsys):
    setup("01")
    first, second = capsys.readouterr().out.strip().splitlines()
    assert "notebook 01" in first and ("cpu" in first or "GPU" in first or "NVIDIA" in first)
    assert second.startswith("data: phantoms")


def test_setup_fixes_the_seeds():
    setup("01")
    first = torch.rand(1)
    setup("01")
    assert torch.rand(1) == first


def test_setup_names_the_readers_own_run(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("RUN", str(tmp_path))
    nb = setup("01")
    assert f"RUN={tmp_path}" in capsys.readouterr().out
    with pytest.raises(StagkitError, match="holds no run"):
        nb.phantom_run()
    assert nb.phantom_clip("sub01_001") is None
    assert "no ground truth" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["RUN", "DATA"])
def test_a_run_or_data_folder_that_is_not_there_is_named(monkeypatch, name):
    monkeypatch.setenv(name, "nowhere")
    with pytest.raises(StagkitError, match=f"{name} is nowhere: there is no such folder"):
        Notebook("07").phantom_run()


def test_a_notebook_number_has_two_digits():
    with pytest.raises(StagkitError, match="two digits"):
        setup("1")


def test_the_cache_follows_the_environment(tmp_path, monkeypatch):
    assert cache_folder() == tmp_path / "cache"
    monkeypatch.delenv("STAGKIT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    assert cache_folder() == Path("/somewhere/stagkit")


def test_the_cached_run_is_made_again_after_a_change_of_the_code_that_decides_it(tmp_path):
    assert _RUN_ROOMS == ROOMS[: ROOMS.index("evaluation") + 1], "evaluate may import these rooms and no other"
    assert compute_code_digest() == compute_code_digest(Path(stagkit.__file__).parent)
    for name in ("core/config.py", "synthetic/render/face.py", "evaluation/evaluate.py", "resources/a.csv", "cli/x.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    digests = [compute_code_digest(tmp_path)]
    for name in ("core/config.py", "synthetic/render/face.py", "evaluation/evaluate.py", "resources/a.csv"):
        (tmp_path / name).write_text("changed", encoding="utf-8")
        digests.append(compute_code_digest(tmp_path))
    assert len(set(digests)) == 5
    (tmp_path / "cli/x.py").write_text("changed", encoding="utf-8")
    assert compute_code_digest(tmp_path) == digests[-1], "the run does not import this"


def test_the_small_run_is_small():
    phantoms, _, train = course_settings()
    assert phantoms.subjects * phantoms.clips <= 60 and train.epochs <= 60


def test_the_temporary_folder_goes_when_the_notebook_does():
    nb = Notebook("07")
    folder = nb.folder
    assert folder.is_dir() and not list(folder.iterdir())
    nb._temporary.cleanup()
    assert not folder.exists()


def test_a_question_is_shown_and_never_waits(capsys):
    Notebook("01").predict("Which region moves?", ["brows", "lips"])
    said = capsys.readouterr().out
    assert "Which region moves?" in said and "- brows" in said


# values --------------------------------------------------------------------------------------------------------------


def record_values(monkeypatch, **values):
    monkeypatch.setenv("STAGKIT_RECORD_VALUES", "1")
    Notebook("01").check_values(**values)
    monkeypatch.delenv("STAGKIT_RECORD_VALUES")


def test_values_are_recorded_only_when_asked(monkeypatch, tmp_path):
    with pytest.raises(UnexpectedValue, match=r"01\.json is missing.*STAGKIT_RECORD_VALUES=1"):
        Notebook("01").check_values(apex=41)
    assert not list((tmp_path / "expected_values").iterdir())
    record_values(monkeypatch, apex=41, speed=0.5)
    stored = json.loads((tmp_path / "expected_values/01.json").read_text())["values"]
    assert stored == {"apex": {"value": 41, "tolerance": 0}, "speed": {"value": 0.5, "tolerance": 0.025}}


def test_recording_elsewhere_never_touches_the_values_of_the_course(monkeypatch):
    real = Path(course.__file__).parents[2] / "notebooks/expected_values/01.json"
    before = real.read_bytes()
    record_values(monkeypatch, apex=41)
    assert real.read_bytes() == before


def test_values_within_tolerance_pass_and_show_a_table(monkeypatch, capsys):
    record_values(monkeypatch, speed=0.5, apex=41, label="positive", found=True)
    capsys.readouterr()
    Notebook("01").check_values(speed=np.float32(0.51), apex=np.int64(41), label="positive", found=np.bool_(True))
    assert "| speed | 0.51 | 0.5 ± 0.025 | ✓ |" in capsys.readouterr().out


def test_a_value_outside_its_tolerance_says_what_to_do(monkeypatch):
    record_values(monkeypatch, speed=0.5, apex=41)
    with pytest.raises(
        UnexpectedValue, match=r"speed is 0\.6, recorded 0\.5 ± 0\.025.*If you changed a cell.*--only 01"
    ):
        Notebook("01").check_values(speed=0.6, apex=41)


def test_recording_again_keeps_tolerances(monkeypatch, tmp_path):
    record_values(monkeypatch, speed=0.5)
    path = tmp_path / "expected_values/01.json"
    path.write_text(path.read_text().replace("0.025", "0.3"))
    record_values(monkeypatch, speed=0.9)
    assert json.loads(path.read_text())["values"]["speed"] == {"value": 0.9, "tolerance": 0.3}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [1, 2], None])
def test_a_value_is_a_finite_number_a_text_or_a_truth_value(value):
    with pytest.raises(UnexpectedValue, match="expected a finite number"):
        Notebook("01").check_values(odd=value)


def test_a_notebook_outside_the_repository_shows_its_values_and_does_not_fail(monkeypatch, tmp_path, capsys):
    """One notebook taken alone, stagkit installed elsewhere: no advice for those who maintain the course."""
    (tmp_path / "expected_values").rmdir()
    monkeypatch.setattr("stagkit.course.notebook.__file__", str(tmp_path / "site-packages" / "stagkit" / "notebook.py"))
    Notebook("01").check_values(speed=0.5)
    out = capsys.readouterr().out
    assert "| speed | 0.5 |" in out and "nothing is compared here" in out and "RECORD_VALUES" not in out
    monkeypatch.setenv("STAGKIT_COURSE", "1")
    with pytest.raises(UnexpectedValue, match=r"01\.json is missing"):
        Notebook("01").check_values(speed=0.5)


def test_new_and_missing_values_are_named():
    off = compare_values({"new": 1}, {"old": {"value": 1}})
    assert off == {"new": "new is new (1)", "old": "old was recorded but is no longer given"}


def test_the_readers_own_numbers_are_not_compared(monkeypatch, capsys):
    record_values(monkeypatch, speed=0.5)
    monkeypatch.setenv("DATA", "mine")
    Notebook("01").check_values(speed=123.0)
    assert "123" in capsys.readouterr().out


def test_solutions_find_the_values_of_their_notebook(monkeypatch, tmp_path, capsys):
    record_values(monkeypatch, speed=0.5)
    (tmp_path / "solutions").mkdir()
    monkeypatch.chdir(tmp_path / "solutions")
    Notebook("01").check_values(speed=0.5)
    assert "| speed | 0.5 | 0.5 ± 0.025 | ✓ |" in capsys.readouterr().out
    with pytest.raises(UnexpectedValue, match="speed is 0.6"):
        Notebook("01").check_values(speed=0.6)


# checks --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("placeholder", [..., None])
def test_a_placeholder_is_not_answered_yet(placeholder):
    for number in ("01.1", "07.2", "09.3", "11.1"):
        verdict = Notebook("01").check(number, placeholder)
        assert verdict.ok is None and "three dots" in verdict.text


def test_an_exercise_that_does_not_exist_is_named():
    with pytest.raises(StagkitError, match=r"there is no exercise '01\.9'; there are: 01\.1, 01\.2, 01\.3"):
        Notebook("01").check("01.9", 1)


def test_an_answer_of_the_wrong_kind_is_wrong_not_an_error():
    for number in ("01.1", "07.1", "09.1", "11.1"):
        assert exercises.check_answer(number, object()).ok is False


def test_a_verdict_says_in_words_what_the_colour_would():
    verdict = exercises.check_answer("01.1", ...)
    data, metadata = verdict._repr_mimebundle_()
    assert "not answered yet" in data["text/plain"] and metadata["stagkit"] == {"exercise": "01.1", "ok": None}


# the runner ----------------------------------------------------------------------------------------------------------

STUB = 'answer = ...  # your number\nnb.check("01.1", answer, fps=200, duration_ms=100)'
SOLUTION = "<details><summary>Solution</summary>\n\n```python\nanswer = 200 * 100 / 1000\n```\n\n</details>"


BEGIN = 'from stagkit.course.notebook import setup; nb = setup("01")'
LIGHT = 'from stagkit.course.notebook import Notebook; nb = Notebook("01")'  # without torch: starts in no time


def make_notebook(*code, exercise=True, begin=BEGIN):
    cells = [new_markdown_cell("# Is it so?\n\n*Takes* about 987 s on 2 CPU cores")]
    cells += [new_code_cell(c) for c in (begin, *code)]
    if exercise:
        cells += [new_markdown_cell("### 01.1"), new_code_cell(STUB), new_markdown_cell(SOLUTION)]
    return new_notebook(cells=cells)


def write_notebook(folder, node, name="01_is_it_so.ipynb"):
    nbformat.write(node, folder / name)
    return folder / name


def test_the_digest_follows_sources_not_outputs_or_seconds():
    node = make_notebook("1 + 1")
    before = course_files.compute_sources_digest(node)
    node.cells[1].outputs = [new_output("stream", text="hello")]
    for takes in ("61 s", "61 s and 0.7 GB of memory"):
        node.cells[0].source = f"# Is it so?\n\n*Takes* about {takes} on 2 CPU cores"
        assert course_files.compute_sources_digest(node) == before
    assert course_files.compute_sources_digest(node) == before
    node.cells[2].source = "1 + 2"
    assert course_files.compute_sources_digest(node) != before


def test_a_solution_notebook_has_the_solution_in_place_of_the_placeholder():
    solved = course_files.make_solution_notebook(make_notebook(), "01_is_it_so.ipynb")
    cell = solved.cells[course_files.find_exercises(solved)["01.1"]].source
    assert cell.splitlines()[0] == "answer = 200 * 100 / 1000" and cell.splitlines()[-1].startswith("nb.check(")
    assert "Solutions of 01_is_it_so.ipynb" in solved.cells[0].source


def test_an_exercise_without_solution_or_placeholder_is_an_error():
    node = make_notebook()
    node.cells[-1].source = "no solution"
    with pytest.raises(course_files.CourseError, match=r"01\.1 has no folded solution"):
        course_files.make_solution_notebook(node, "01")
    node = make_notebook()
    node.cells[-2].source = 'nb.check("01.1", 7)'
    with pytest.raises(course_files.CourseError, match=r"needs one line 'answer = \.\.\.'"):
        course_files.make_solution_notebook(node, "01")


def test_normalise_keeps_nothing_of_this_machine():
    node = make_notebook()
    node.metadata = {"widgets": {"state": 1}, "kernelspec": {"name": "mine"}, "language_info": {"version": "3.99"}}
    cell = node.cells[1]
    cell.metadata = {"execution": {"iopub.status.busy": "2026-01-01"}}
    cell.execution_count = 17
    widget = {"application/vnd.jupyter.widget-view+json": {"model_id": "x"}, "text/plain": "W()"}
    cell.outputs = [
        new_output("stream", name="stdout", text="a\n"),
        new_output("stream", name="stdout", text="b\n"),
        new_output("display_data", data=widget),
        new_output("display_data", data={"application/vnd.jupyter.widget-view+json": {"model_id": "y"}}),
    ]
    course_files.normalise(node)
    assert set(node.metadata) == {"kernelspec", "language_info"} and node.metadata.language_info == {"name": "python"}
    assert cell.metadata == {} and cell.execution_count == 1
    assert cell.outputs[0].text == "a\nb\n"
    assert [dict(o.data) for o in cell.outputs[1:]] == 2 * [{"text/plain": "(interactive: run this cell to touch it)"}]


def test_large_pictures_shrink_and_small_ones_stay():
    from PIL import Image

    def encode(array):
        out = io.BytesIO()
        Image.fromarray(array).save(out, "PNG")
        return base64.b64encode(out.getvalue()).decode()

    rng = np.random.default_rng(0)
    shade = np.add.outer(np.arange(300), np.arange(400)) * 255 // 700  # a shaded picture with a little grain
    large = encode(np.clip(shade[..., None] + rng.integers(0, 4, (300, 400, 3)), 0, 255).astype(np.uint8))
    small = encode(np.zeros((20, 20, 3), np.uint8))
    assert len(course_files.shrink_png(large)) < 0.5 * len(large)
    assert course_files.shrink_png(small) == small


def test_no_notebooks_or_no_such_number_is_bad_input(tmp_path, capsys):
    assert course.main([str(tmp_path / "nowhere")]) == 2
    write_notebook(tmp_path, make_notebook())
    assert course.main([str(tmp_path), "--only", "77"]) == 2
    said = capsys.readouterr().err.replace("\n", " ")
    assert "holds no notebooks" in said and "there is no notebook 77; there are 01." in said


def test_a_damaged_notebook_is_bad_input(tmp_path, capsys):
    (tmp_path / "01_broken.ipynb").write_text("{")
    assert course.main([str(tmp_path)]) == 2
    assert "cannot be read as a notebook" in capsys.readouterr().err.replace("\n", " ")


def test_recording_is_for_phantoms_only(tmp_path, monkeypatch, capsys):
    write_notebook(tmp_path, make_notebook())
    monkeypatch.setenv("RUN", "mine")
    assert course.main([str(tmp_path), "--record"]) == 2
    assert "unset RUN" in capsys.readouterr().err


@pytest.mark.slow
def test_record_executes_writes_and_then_only_what_changed(tmp_path, monkeypatch, capsys):
    path = write_notebook(
        tmp_path, make_notebook("import numpy; big = numpy.ones(5 * 10**7)", "nb.check_values(two=1 + 1)")
    )
    assert course_files.is_stale(course_files.load_notebook(path))
    monkeypatch.setenv("STAGKIT_RECORD_VALUES", "1")
    assert course.main([str(tmp_path), "--record", "--solutions"]) == 0
    monkeypatch.delenv("STAGKIT_RECORD_VALUES")
    said = capsys.readouterr().out
    assert "1/1" in said and "1 open, 1 solved" in said and "FAIL" not in said
    node = course_files.load_notebook(path)
    assert not course_files.is_stale(node)
    assert [c.execution_count for c in node.cells if c.cell_type == "code"] == [1, 2, 3, 4]
    takes = course_files.TAKES.search(node.cells[0].source)
    assert int(takes["seconds"]) != 987 and float(takes["memory"]) >= 0.4, "50 million numbers of 8 bytes were held"
    assert node.cells[0].source.endswith("GB of memory on 2 CPU cores") and not list(tmp_path.glob("stagkit-*"))
    solved = course_files.load_notebook(tmp_path / "solutions/01_is_it_so.ipynb")
    assert "200 * 100" in solved.cells[-2].source and not solved.cells[-2].outputs
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    assert course.main([str(tmp_path), "--changed"]) == 0
    assert "no notebook has changed" in capsys.readouterr().out
    assert course.main([str(tmp_path)]) == 0, "what 'make course' does"
    assert {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == before, "git status stays clean"


@pytest.mark.slow
def test_a_failing_notebook_is_reported_with_cell_error_and_remedy_and_stays_as_it_was(tmp_path, capsys):
    expected = {
        "1 / 0": ("ZeroDivisionError", "cell 3 of", "below 'Is it so?': 1 / 0", "stagkit lab"),
        "from stagkit import ATLAS; ATLAS.index('ear')": ("there is no region 'ear'", "the message says what to do"),
        "print('/mnt/ann/data/x.png')": ("differs on every machine", "print a name instead"),
        "'the placeholder is answered'": ("the placeholder of exercise 01.1 is right", "answer = ..."),
        "'the solution is wrong'": ("the solution of exercise 01.1 is not right",),
    }
    paths = []
    for number, code in enumerate(expected, 1):
        node = make_notebook(code, exercise=number > 3, begin=LIGHT)
        if number == 4:
            node.cells[-2].source = STUB.replace("nb.check", "answer = 20\nnb.check")
        if number == 5:
            node.cells[-1].source = SOLUTION.replace("200 * 100", "1")
        paths.append(write_notebook(tmp_path, node, f"0{number}_is_it_so.ipynb"))
    before = [path.read_bytes() for path in paths]
    assert course.main([str(tmp_path), "--record", "--solutions", "--out", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr().out.replace("\n", " ")
    assert printed.count("FAIL") == 5
    for words in expected.values():
        assert all(word in printed for word in words)
    assert [path.read_bytes() for path in paths] == before
    executed = course_files.load_notebook(tmp_path / "out" / paths[-1].name)
    assert executed.cells[-2].source == STUB, "the solution replaced it only while it ran"


@pytest.mark.slow
def test_ctrl_c_ends_the_kernel_and_leaves_the_notebook(tmp_path):
    import signal
    import time

    code = "open('began', 'w').close()\nimport time; time.sleep(60)"
    path = write_notebook(tmp_path, make_notebook(code, exercise=False, begin=LIGHT))
    before = path.read_bytes()
    process = subprocess.Popen(
        [sys.executable, "-m", "stagkit.course", str(tmp_path), "--record"],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    deadline = time.time() + 60
    while not (tmp_path / "began").exists() and time.time() < deadline:
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert path.read_bytes() == before and not list(tmp_path.glob("stagkit-course-*"))


def test_a_logarithmic_axis_of_a_notebook_has_powers_and_not_their_source():
    import matplotlib

    from stagkit.course.notebook import _set_style

    with matplotlib.rc_context():
        _set_style()
        assert matplotlib.figure.Figure().text(0, 0, "$10^{1}$").get_parse_math()
