"""Commands that are killed: the same command again ends with the bytes of one that was never interrupted."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import COMMANDS

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}

KILLS = [("evaluate", 1, 9), ("explain", 0, 4), ("prepare", 0, 3), ("frames", 0, 9), ("casme2", 0, 9)]


@pytest.mark.slow
@pytest.mark.parametrize(("command", "first", "step"), KILLS)
def test_a_command_killed_at_any_moment_can_be_repeated_and_ends_the_same(tmp_path, command, first, step):
    assert check_kills(tmp_path, command, first, step) >= 2


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_random_kills_end_with_the_same_bytes(tmp_path, command):
    """SIGKILL of the command, not of its workers, at 30 moments that are spread over all the time it takes; 3 moments
    with two worker processes, whose start takes seconds (``python -m tests.kills evaluate-2 HOME --random 30`` for 30).

    Each time no lock is held, the workers end alone, and the same command again ends with the bytes of an uninterrupted
    one.
    """
    n = 3 if command.endswith("-2") else 30
    assert check_kills(tmp_path, command, "--random", n) == n


def check_kills(home, command, *where) -> int:
    """How often the command was killed."""
    arguments = [sys.executable, "-m", "tests.kills", command, str(home), *map(str, where)]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    return int(done.stdout.split("POINTS")[1])
