"""The list of the course, and the memory of what runs, against values counted by hand."""

import os
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from stagkit.course import runner as course
from stagkit.course.execution import MemoryWatch, measure_memory
from stagkit.course.listing import describe_notebook, read_prose

PICTURE = new_output("display_data", data={"image/png": "iVBORw0KGgo="})
HEAD = "# Is it so?\n\n*Takes* about 90 s and 1.3 GB of memory on 2 CPU cores."


def write_notebook(folder, head=HEAD):
    cells = [
        new_markdown_cell(head),
        new_code_cell("1 + 1", outputs=[PICTURE]),
        new_markdown_cell("Two `words here` of [a link](elsewhere.ipynb).\n\n<details>folded away</details>"),
        new_code_cell('nb.predict("Why?")'),
        new_code_cell("2 + 2", outputs=[PICTURE, PICTURE]),
    ]
    nbformat.write(new_notebook(cells=cells), folder / "01_is_it_so.ipynb")
    return folder / "01_is_it_so.ipynb"


def test_a_notebook_is_described_as_counted_by_hand(tmp_path):
    entry = describe_notebook(write_notebook(tmp_path))
    assert (entry.number, entry.question) == ("01", "Is it so?")
    assert (entry.seconds, entry.memory) == (90, 1.3)
    assert (entry.cells, entry.asked, entry.pictures) == (2, 1, 2)
    prose = read_prose(nbformat.read(tmp_path / "01_is_it_so.ipynb", 4))
    assert prose.split()[-4:] == ["Two", "of", "[a", "link."]
    assert entry.words == len("# Is it so? *Takes* about 90 s and 1.3 GB of memory on 2 CPU cores.".split()) + 4


def test_a_notebook_recorded_without_memory_is_described_too(tmp_path):
    entry = describe_notebook(write_notebook(tmp_path, HEAD.replace(" and 1.3 GB of memory", "")))
    assert (entry.seconds, entry.memory) == (90, None)


def test_the_list_runs_nothing_and_prints_a_table(tmp_path, capsys):
    before = write_notebook(tmp_path).read_bytes()
    assert course.main([str(tmp_path), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 and len(set(map(len, lines))) == 1, "columns are even"
    assert [text.strip() for text in lines[2].split("|")[1:5]] == ["01", "Is it so?", "1.50", "1.3 GB"]
    assert (tmp_path / "01_is_it_so.ipynb").read_bytes() == before


def test_the_list_of_no_folder_is_bad_input(tmp_path, capsys):
    assert course.main([str(tmp_path / "nowhere"), "--list"]) == 2
    assert "holds no notebooks" in capsys.readouterr().err.replace("\n", " ")


def test_memory_counts_what_a_process_started():
    code = "held = b'x' * 200_000_000; print('ready', flush=True); input()"
    before, watch = measure_memory(os.getpid()), MemoryWatch()
    with watch.over(os.getpid()):
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        inside = measure_memory(os.getpid())
    child.communicate("\n")
    assert inside - before > 190_000_000 and watch.peak - before > 190_000_000
    assert measure_memory(child.pid) is None, "it has ended"


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_no_process_has_no_memory(pid):
    watch = MemoryWatch()
    with watch.over(pid):
        pass
    assert watch.peak is None
