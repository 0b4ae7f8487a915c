"""Processes that are forks of the test's process: real ones, with real signals, which have torch at once."""

import importlib
import multiprocessing
import os
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

#: A fork that takes longer hangs, however slow the machine: seconds.
HANGS = 1500


class ForkedCommand:
    """``stagkit ARGUMENTS`` in a session of its own.

    Args:
        arguments: of the command.
        folder: of the files that hold what it prints.
        before: called in the process first.
        encoding: of the screen.
    """

    def __init__(self, arguments: Sequence[object], folder: Path, before: Callable = lambda: None, encoding="utf-8"):
        from stagkit.cli import main

        load_once()
        self._files = folder / "stdout.txt", folder / "stderr.txt"
        self.pid = os.fork()
        if self.pid:
            return
        code = 1
        try:
            from joblib.externals.loky import reusable_executor

            reusable_executor._executor = None  # workers of the test's process do not answer to its fork
            os.setsid()
            for number, (path, errors) in enumerate(zip(self._files, ("strict", "backslashreplace"), strict=True), 1):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
                stream = open(number, "w", encoding=encoding, errors=errors, buffering=1, closefd=False)
                setattr(sys, ("stdout", "stderr")[number - 1], stream)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            before()
            main([str(a) for a in arguments])
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)

    def wait(self) -> tuple[int, bytes, bytes]:
        """Exit code (negative: the signal that ended it), stdout and stderr."""
        end = time.monotonic() + HANGS
        while (done := os.waitpid(self.pid, os.WNOHANG)) == (0, 0):
            if time.monotonic() > end:
                os.killpg(self.pid, signal.SIGKILL)
                raise AssertionError(f"the command still ran after {HANGS} s: {self._files[1].read_text()}")
            time.sleep(0.05)
        code = os.waitstatus_to_exitcode(done[1])
        return code, *(path.read_bytes() for path in self._files)


def predict_in_fork(predict, data, fold):
    """``blind._predict_in_new_process`` in a fork."""
    from tests.blind import _make_other, _predict_both

    def work():
        try:
            end.send(_predict_both(predict, data, _make_other(data, fold), fold.copy()))
        except Exception as error:
            end.send(error)

    start, end = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    if not start.poll(HANGS):
        process.kill()
        raise AssertionError(f"no prediction after {HANGS} s")
    result = start.recv()
    process.join()
    if isinstance(result, Exception):
        raise result
    return result


def load_once() -> None:
    """Load here what every fork would load again; optimisers load torch._dynamo when they are first used."""
    import stagkit.cli

    commands = [
        f"stagkit.cli.{module.name}"
        for module in pkgutil.iter_modules(stagkit.cli.__path__)
        if module.name != "__main__"
    ]
    libraries = ["sklearn.linear_model", "sklearn.pipeline", "sklearn.svm", "torch._dynamo"]
    rooms = ["training.train", "evaluation.evaluate", "inference.pretrained", "reports.run_report"]
    for name in (*libraries, *commands, *(f"stagkit.{room}" for room in rooms)):
        importlib.import_module(name)
