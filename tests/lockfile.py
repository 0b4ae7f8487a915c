"""Make requirements.lock and environment.yml from pyproject.toml ('make lock'); the tests keep the three equal."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
HEAD = """\
# The one lock of stagkit: exact versions for CPU and CUDA machines alike (torch pins its own CUDA parts).
# Made from pyproject.toml by 'make lock'; environment.yml is made from this file.
"""
TORCH = "torch==2.13.0"


def read_lock() -> list[str]:
    """The pinned requirements, without comments."""
    lines = (ROOT / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def make_environment(lock: list[str]) -> str:
    """environment.yml: Python and pip from conda-forge, everything else from the same lock."""
    head = "# Made from requirements.lock by 'make lock'.  conda env create -f environment.yml\n"
    head += "name: stagkit\nchannels:\n  - conda-forge\ndependencies:\n  - python=3.11\n  - pip\n  - pip:\n"
    return head + "".join(f'      - "{line}"\n' for line in lock) + "      - -e .\n"


def resolve() -> list[str]:
    """Resolve pyproject.toml with all extras, for every platform; torch's own CUDA pins are left to torch."""
    command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"]
    command += ["--all-extras", "--no-header", "--no-annotate", "--constraint", "-", "pyproject.toml"]
    out = subprocess.run(command, cwd=ROOT, check=True, input=TORCH + "\n", capture_output=True, text=True).stdout
    left_out = ("nvidia-", "cuda-", "triton", "torch==")
    return sorted([*(line for line in out.splitlines() if not line.startswith(left_out)), TORCH])


if __name__ == "__main__":
    (ROOT / "requirements.lock").write_text(HEAD + "\n".join(resolve()) + "\n", encoding="utf-8")
    (ROOT / "environment.yml").write_text(make_environment(read_lock()), encoding="utf-8")
