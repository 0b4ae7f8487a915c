"""The memory of a process and of what it started."""

import os
import subprocess
import sys

import pytest

from stagkit.course.runner import measure_memory, watch_memory


def test_memory_counts_what_a_process_started():
    code = "held = b'x' * 200_000_000; print('ready', flush=True); input()"
    before = measure_memory(os.getpid())
    with watch_memory(os.getpid()) as sizes:
        child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert child.stdout.readline() == "ready\n"
        inside = measure_memory(os.getpid())
    child.communicate("\n")
    assert inside - before > 190_000_000 and max(sizes) - before > 190_000_000
    assert measure_memory(child.pid) is None, "it has ended"


@pytest.mark.parametrize("pid", [None, 2**22 + 1])
def test_no_process_has_no_memory(pid):
    with watch_memory(pid) as sizes:
        pass
    assert sizes == [0]
