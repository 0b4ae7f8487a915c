"""What every test may use: the local fixtures (or a skip that says why), and a machine without a network."""

import importlib
import multiprocessing
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


@pytest.fixture
def forked(monkeypatch):
    """``check_blind`` forks its new processes, so that each has torch at once; test_seal also starts them from nothing."""
    import torch

    for name in ("sklearn.linear_model", "sklearn.pipeline", "sklearn.svm", "torch._dynamo", "stagkit.training.train"):
        importlib.import_module(name)  # loaded once for all forks; optimisers load torch._dynamo when first used
    if not torch.cuda.is_available():  # autograd cannot go on in the fork of a process that has started its threads
        monkeypatch.setattr("stagkit.evaluation.sealed._predict_in_new_process", _predict_in_fork)


def _predict_in_fork(predict, data, fold):
    from stagkit.evaluation.sealed import _make_other, _predict_both

    def work():
        try:
            end.send(_predict_both(predict, data, _make_other(data, fold), fold.copy()))
        except Exception as error:
            end.send(error)

    start, end = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    result = start.recv()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result


@pytest.fixture(scope="session")
def map_records(tmp_path_factory) -> dict[str, Path]:
    """Small records of flow maps that several files of tests read: name -> folder (``paper_runs.make_map_records``)."""
    from tests.paper_runs import make_map_records

    return make_map_records(tmp_path_factory.mktemp("records"))


class NotebookLines:
    """Prints a line for each notebook as it finishes; where tests run in several processes, in the one that reports."""

    def __init__(self, terminal):
        self.terminal = terminal

    def pytest_runtest_logreport(self, report):
        if report.when == "call" and "::test_it_runs_and_every_solution_is_right[" in report.nodeid:
            name = report.nodeid.rpartition("[")[2].rstrip("]")
            self.terminal.ensure_newline()
            self.terminal.write_line(f"notebook {name}: {report.outcome}, {report.duration:.0f} s")


def pytest_sessionstart(session):
    terminal = session.config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(session.config, "workerinput"):
        session.config.pluginmanager.register(NotebookLines(terminal))
