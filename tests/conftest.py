"""What every test may use: the local fixtures (or a skip that says why), and a machine without a network."""

import os
import signal
import socket
from pathlib import Path

import pytest

from tests.browser import chromium, lab, tab  # noqa: F401 (fixtures of every test that needs a browser)
from tests.forks import load_once, predict_in_fork

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


@pytest.fixture
def forked(monkeypatch):
    """``check_blind`` forks its new processes, so that each has torch at once; test_seal also starts them from nothing."""
    import torch

    load_once()
    if not torch.cuda.is_available():  # autograd cannot go on in the fork of a process that has started its threads
        monkeypatch.setattr("tests.blind._predict_in_new_process", predict_in_fork)


@pytest.fixture(scope="session")
def map_records(tmp_path_factory) -> dict[str, Path]:
    """Small records of flow maps that several files of tests read: name -> folder (``paper_runs.make_map_records``)."""
    from tests.paper_runs import make_map_records

    return make_map_records(tmp_path_factory.mktemp("records"))


#: Where tests run in several processes, a file stays in one, a notebook counts as a file, and what takes longest begins.
LONGEST = (
    "test_kills", "test_backends", "test_notebook_12", "test_notebook_21", "test_notebook_13", "test_notebook_09",
    "test_run_folder", "test_notebook_07", "test_benchmarks", "test_au_graph_browser", "test_paper", "test_notebook_05",
    "test_notebook_10", "test_notebook_06", "test_notebook_11", "test_notebook_08", "test_analyze", "test_notebook_04",
    "test_notebook_03", "test_notebook_20", "test_explorer_pages", "test_notebook_api", "test_cli", "test_packaging",
    "test_seal",
)  # fmt: skip
RUNS = "::test_it_runs_and_every_solution_is_right["


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    def name_group(item):
        notebook = item.nodeid.partition(RUNS)[2][:2]
        return f"test_notebook_{notebook}" if notebook else item.path.stem

    for item in items:
        item.add_marker(pytest.mark.xdist_group(name_group(item)))
    order = {name: i for i, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(name_group(item), len(order)))


class NotebookLines:
    """Prints a line for each notebook as it finishes; where tests run in several processes, in the one that reports."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and RUNS in report.nodeid:
            name = report.nodeid.partition(RUNS)[2].partition("]")[0]
            self.terminal.ensure_newline()
            self.terminal.write_line(f"notebook {name}: {report.outcome}, {report.duration:.0f} s")


def pytest_sessionstart(session):
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(NotebookLines(terminal))
