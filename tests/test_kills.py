"""Commands that are killed: the same command again ends with the bytes of one that was never interrupted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.kills import PLAN

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_killed_command_can_be_repeated_and_ends_with_the_same_bytes(tmp_path):
    """SIGKILL of the command, not of its workers, before and after renames of every kind (the last one too) and at random
    moments of the time it takes (``python -m tests.kills HOME --random 30`` for 30 of each command).

    Each time no lock is held, the workers end alone, and the same command again ends with the bytes of an uninterrupted
    one.
    """
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tests.kills", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    kills = json.loads(done.stdout.splitlines()[-1])
    assert kills.keys() == PLAN.keys()
    for name, (_, step, n_random) in PLAN.items():
        assert kills[name] >= n_random + (3 if step else 0)
