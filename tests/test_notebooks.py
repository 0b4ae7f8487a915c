"""The anatomy of the course's notebooks, without running them; then each is run once, with its solutions."""

import ast
import base64
import importlib.util
import inspect
import json
import os
import re
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock

from stagkit.core.parallel import stop_processes
from stagkit.course import notebooks as course_files
from stagkit.course import runner
from stagkit.course.exercises import find_check
from stagkit.course.notebook import Notebook

FOLDER = Path(__file__).parents[1] / "notebooks"
PATHS = sorted(FOLDER.glob("[0-9][0-9]_*.ipynb"))
SETUP = 'from stagkit.course.notebook import setup; nb = setup("{}")'
LINE, LINES, KILOBYTES, SECONDS = 112, 16, 400, 120
FOLDED = re.compile(r"(?s)<details>.*?</details>")
UNREAD = re.compile(r"(?s)```.*?```|`[^`]*`|\]\([^)]*\)|arXiv:[\d.]+|\b\d\d\.\d\b|\$\$.*?\$\$|\$[^$]*\$")

each = pytest.mark.parametrize("path", PATHS, ids=[p.stem for p in PATHS])


@pytest.fixture
def node(path):
    return course_files.load_notebook(path)


def code_cells(node):
    return [cell for cell in node.cells if cell.cell_type == "code"]


def prose(node):
    return "\n\n".join(cell.source for cell in node.cells if cell.cell_type == "markdown")


def read_prose(node):
    """The text of all cells without folded parts, code, formulas and the addresses of links."""
    return UNREAD.sub("", FOLDED.sub("", prose(node)))


def test_the_course_is_whole():
    assert [p.name[:2] for p in PATHS] == [*(f"{n:02d}" for n in range(1, 14)), "20", "21"]


@each
def test_the_head_gives_question_aim_needs_and_time(node):
    head = node.cells[0].source
    assert re.match(r"# [^\n]+\?\n", head) and "*After this you can*" in head and "*Needs*" in head
    assert int(course_files.TAKES.search(head)["seconds"]) <= SECONDS


def test_the_whole_course_was_recorded_in_a_quarter_of_an_hour():
    heads = [course_files.load_notebook(path).cells[0].source for path in PATHS]
    assert sum(int(course_files.TAKES.search(head)["seconds"]) for head in heads) <= 15 * 60


@each
def test_one_line_sets_up(node, path):
    assert code_cells(node)[0].source == SETUP.format(path.name[:2])
    assert "setup(" not in "".join(cell.source for cell in code_cells(node)[1:])


@each
def test_cells_fit_on_a_screen(node):
    for cell in code_cells(node):
        lines = cell.source.splitlines()
        assert len(lines) <= LINES and max(map(len, lines)) <= LINE, cell.source


@each
def test_three_exercises_each_with_placeholder_check_hint_and_folded_solution(node, path):
    exercises = course_files.find_exercises(node)
    number = path.name[:2]
    assert list(exercises) == [f"{number}.{k}" for k in (1, 2, 3)]
    for exercise, i in exercises.items():
        head, cell, solution = node.cells[i - 1].source, node.cells[i].source, node.cells[i + 1].source
        assert head.startswith(f"### Exercise {exercise} · ")
        assert re.search(r"\*Difficulty [1-5] of 5, \d+ minutes\.\*", head)
        assert "<details><summary>Hint 1</summary>" in head
        assert re.search(r"(?m)^answer = \.\.\.", cell) and cell.splitlines()[-1].startswith("nb.check(")
        assert course_files.SOLUTION.search(solution) and solution.startswith("<details>")
        assert find_check(exercise).__doc__


@each
def test_checked_values_come_last_and_are_recorded(node, path):
    assert code_cells(node)[-1].source.startswith("nb.check_values(") and node.cells[-1].cell_type == "code"
    values = json.loads((FOLDER / "expected_values" / f"{path.name[:2]}.json").read_text(encoding="utf-8"))["values"]
    given = re.findall(r"[(\s](\w+)=(?!=)", code_cells(node)[-1].source)
    assert 4 <= len(values) and set(values) <= set(given)
    loose = [k for k, v in values.items() if v["tolerance"] and v["tolerance"] > 0.5 * abs(v["value"])]
    assert not loose, "half of a number is no tolerance: state as True or False what the page claims of it"


def find_typed_numbers(node):
    """Numbers in the prose that nothing names: no heading, reference, action unit, time taken or given of an exercise."""
    text = read_prose(node).split("\n## Exercises")[0]
    text = re.sub(r"(?m)^#.*$|\*Takes\*.*$|\b(notebook|section|exercise|AU) ?\d+\b|\[\d\d\b", "", text)
    return set(re.findall(r"(?<![\w.,])\d+(?:[.,]\d+)*(?!\w)", text))


@cache
def compute_constants():
    """Numbers that the prose may type, because the library fixes them: each is computed here, so none can go stale."""
    import numpy as np

    from stagkit import ATLAS
    from stagkit.core.config import StagConfig
    from stagkit.core.facs import AU_NUMBERS
    from stagkit.core.regions import load_mean_face
    from stagkit.network.model import RegionTokens
    from stagkit.synthetic.presets import PRESETS

    periods = 2 * np.pi / RegionTokens(StagConfig(), len(ATLAS.names), 5).frequencies.numpy()
    return {
        "a micro-expression, by definition, ms": {"40", "500"},
        "regions": {str(len(ATLAS.names))},
        "action units": {str(len(AU_NUMBERS))},
        "landmarks": {str(len(load_mean_face()[0]))},
        "frames a second of CASME II": {f"{PRESETS['casme2'].fps[0]:.0f}"},
        "shortest period of the clock, ms": {f"{periods.min():.0f}"},
        "one picture a clip (T = 1), and counting from 0 on": {"0", "1"},
    }


@each
def test_the_prose_types_no_results_and_claims_no_more_than_it_may(node):
    typed = find_typed_numbers(node) - set().union(*compute_constants().values())
    assert not typed, "print results with nb.say, never type them"
    for overclaim in ("lie detect", "reads minds", "reads your mind", "true feelings", "concealed emotion"):
        assert overclaim not in read_prose(node).lower()


@each
def test_links_lead_somewhere(node):
    for target in re.findall(r"\]\(([^)#:]+\.ipynb)\)", prose(node)):
        assert (FOLDER / target).is_file(), target


@each
def test_outputs_are_fresh_small_clean_and_of_phantoms(node, path):
    assert not course_files.is_stale(node), f"run: python -m stagkit.course notebooks --record --only {path.name[:2]}"
    assert path.stat().st_size <= KILOBYTES * 1024
    assert "widgets" not in node.metadata
    assert [c.execution_count for c in code_cells(node)] == list(range(1, len(code_cells(node)) + 1))
    outputs = [output for cell in code_cells(node) for output in cell.outputs]
    assert not [o for o in outputs if o.output_type == "error" or o.get("name") == "stderr"]
    for cell in node.cells:
        assert "execution" not in cell.metadata
        for text in course_files.read_outputs(cell):
            assert not runner.MACHINE.search(text), text[:300]
    noted = [o.get("metadata", {}).get("stagkit", {}) for o in outputs]
    assert {"data": "phantoms"} in noted
    assert [t["ok"] for t in noted if "exercise" in t] == [None, None, None]
    for output in outputs:
        if "image/png" in output.get("data", {}):
            assert base64.b64decode(output.data["image/png"]).startswith(b"\x89PNG")


@each
def test_the_solution_notebook_is_up_to_date(node, path):
    solved = course_files.make_solution_notebook(node, path.name)
    stored = course_files.load_notebook(FOLDER / "solutions" / path.name)
    message = "run: python -m stagkit.course notebooks --solutions"
    assert [c.source for c in stored.cells] == [c.source for c in solved.cells], message
    assert not any(c.outputs for c in code_cells(stored))


def find_stale_names(source, known):
    """Imports of stagkit in a cell that do not exist, and calls that the imported function refuses."""
    stale = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stagkit"):
            module = importlib.import_module(node.module)
            for name in node.names:
                package = hasattr(module, "__path__")
                found = package and importlib.util.find_spec(f"{node.module}.{name.name}")
                if not hasattr(module, name.name) and not found:
                    stale.append(f"from {node.module} import {name.name}")
                known[name.asname or name.name] = getattr(module, name.name, None)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and callable(known.get(node.func.id)):
            names = [k.arg for k in node.keywords]
            if None in names or any(isinstance(a, ast.Starred) for a in node.args):
                continue  # unpacked: not known before it runs
            try:
                inspect.signature(known[node.func.id]).bind(*node.args, **dict.fromkeys(names))
            except TypeError as error:
                stale.append(f"{node.func.id}: {error}")
    return stale


@each
def test_what_cells_and_solutions_import_and_call_exists(node, path):
    known: dict[str, object] = {}
    solved = course_files.make_solution_notebook(node, path.name)
    assert not [stale for cell in code_cells(solved) for stale in find_stale_names(cell.source, known)]


def test_a_stale_import_and_a_stale_call_are_found():
    known: dict[str, object] = {}
    assert find_stale_names("from stagkit.network.model import Stag, Connectivity", known) == [
        "from stagkit.network.model import Connectivity"
    ]
    assert "au_prior" in find_stale_names("Stag(1, 2, au_prior=3)", known)[0]


@pytest.fixture(scope="session")
def shared_cache(tmp_path_factory):
    """One small run for all notebooks and all processes that run them, as on a reader's machine."""
    parallel = "PYTEST_XDIST_WORKER" in os.environ
    root = tmp_path_factory.getbasetemp().parent if parallel else tmp_path_factory.getbasetemp()
    with FileLock(root / "course.lock"), pytest.MonkeyPatch.context() as patch:
        for name in ("RUN", "DATA"):
            patch.delenv(name, raising=False)
        patch.setenv("STAGKIT_CACHE", str(root / "course"))
        Notebook("01").phantom_run(progress=False)
        stop_processes()
    return root / "course"


@pytest.mark.slow
@each
def test_it_runs_and_every_solution_is_right(node, path, shared_cache, monkeypatch):
    """One run: after each placeholder its folded solution is run in the same kernel, and both verdicts are checked."""
    for name in ("RUN", "DATA", "STAGKIT_RECORD_VALUES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
    outcome = runner.execute_notebook(node, path.stem, FOLDER, shared_cache, solve=True)
    assert outcome.passed, f"{outcome.where}\n{outcome.error}\nto do: {outcome.remedy}"
    assert outcome.values >= 4
    assert list(outcome.verdicts.values()) == [None] * 3 and list(outcome.solutions.values()) == [True] * 3
