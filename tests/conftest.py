"""What every test may use: the local fixtures (or a skip that says why), and a machine without a network."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.browser import chromium, lab, tab  # noqa: F401 (fixtures of every test that needs a browser)

os.environ.setdefault("OMP_NUM_THREADS", "1")

# a shell that starts the tests in the background lets them ignore Ctrl-C, and with them every command they start
signal.signal(signal.SIGINT, signal.default_int_handler)

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


@pytest.fixture(scope="session")
def map_records(tmp_path_factory) -> dict[str, Path]:
    """Small records of flow maps that several files of tests read: name -> folder (``paper_runs.make_map_records``)."""
    from tests.paper_runs import make_map_records

    return make_map_records(tmp_path_factory.mktemp("records"))
