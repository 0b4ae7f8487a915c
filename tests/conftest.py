"""What every test may use: the local fixtures (or a skip that says why), and a machine without a network."""

import os
import socket
from pathlib import Path

import pytest

from tests.browser import chromium, lab, tab  # noqa: F401 (fixtures of every test that needs a browser)

os.environ.setdefault("OMP_NUM_THREADS", "1")

SHARED = Path(os.environ.get("STAGKIT_SHARED", Path(__file__).parents[2] / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real, face-free fixtures that are not part of the project."""
    if not (SHARED / "README.md").is_file():
        pytest.skip(f"real fixtures are not at {SHARED}; set STAGKIT_SHARED to their folder")
    return SHARED


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    """A test that reaches beyond this machine fails."""
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1", "localhost"):
            raise AssertionError(f"a test tried to reach {address}: stagkit never downloads")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
