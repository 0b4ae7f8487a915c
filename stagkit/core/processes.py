"""Work in processes of one thread on this machine.

Workers end with the process that started them, however that one ends, and a worker that is killed is replaced.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator

from stagkit.core.errors import StagkitError

#: Seconds between two looks of a worker at the process that started it.
_WATCH_SECONDS = 0.2


def run_in_processes(work: Iterable[Callable], n_processes: int) -> Iterator:
    """Call every piece of work; results as they come. With one process: here, in order.

    When a worker is killed (memory, a signal), the pieces that were running are given to a new pool. Ctrl-C ends the
    workers too. Workers should return what is to be kept, so that only the calling process writes it.

    Args:
        work: functions without arguments that can be pickled, e.g. ``functools.partial`` objects.
        n_processes: at least 1.

    Raises:
        StagkitError: workers were killed twice while no piece was finished.
    """
    if n_processes == 1:
        for piece in work:
            yield piece()
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    waiting, running = enumerate(work), {}

    def deal() -> Iterator:
        for number, piece in list(running.items()):
            yield delayed(_call)(os.getpid(), number, piece)
        for number, piece in waiting:
            running[number] = piece
            yield delayed(_call)(os.getpid(), number, piece)

    killed = 0
    while True:
        try:
            with parallel_config(backend="loky", n_jobs=n_processes, inner_max_num_threads=1):
                for number, result in Parallel(return_as="generator_unordered")(deal()):
                    del running[number]
                    killed = 0
                    yield result
            return
        except BrokenProcessPool as error:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            killed += 1
            if killed == 2:
                raise StagkitError(
                    "worker processes were killed twice in a row: is there enough memory? Give fewer --workers. "
                    "Finished pieces are kept."
                ) from error
        except (KeyboardInterrupt, GeneratorExit):
            get_reusable_executor().shutdown(wait=True, kill_workers=True)
            raise


def stop_processes() -> None:
    """End the idle workers of this process."""
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def _call(parent: int, number: int, piece: Callable) -> tuple:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the process that was started answers Ctrl-C
    end_with_parent(parent)
    return number, piece()


def end_with_parent(parent: int) -> None:
    """End this process as soon as ``parent``, the process that started it, is gone (where the system tells: not Windows)."""
    import threading

    name = "stagkit-end-with-parent"
    if any(thread.name == name for thread in threading.enumerate()):
        return

    def watch() -> None:
        import time

        while os.getppid() == parent:
            time.sleep(_WATCH_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, name=name, daemon=True).start()
