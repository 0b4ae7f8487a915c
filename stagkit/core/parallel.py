"""Work in processes on this machine, or on the workers of a Dask cluster; a worker that is killed is replaced."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from stagkit.core.errors import StagkitError

#: Seconds after which a worker looks again whether the process that started it still exists.
_POLL_SECONDS = 0.2


def run_in_processes(work: Iterable[Callable], n_processes: int) -> Iterator:
    """Call every piece of work in processes of one thread; results as they come. With one process: here, in order.

    When a worker is killed (memory, a signal), its piece is given to a new pool; ``StagkitError`` if that happens twice
    while no piece is finished. Workers end with the process that started them.

    Args:
        work: functions without arguments that can be pickled, e.g. ``functools.partial`` objects.
    """
    if n_processes == 1:
        for piece in work:
            yield piece()
        return
    from joblib import Parallel, delayed, parallel_config
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import BrokenProcessPool

    waiting, running = enumerate(work), {}

    def submit() -> Iterator:
        for number, piece in list(running.items()):
            yield delayed(_call)(os.getpid(), number, piece)
        for number, piece in waiting:
            running[number] = piece
            yield delayed(_call)(os.getpid(), number, piece)

    killed = 0
    while True:
        try:
            with parallel_config(backend="loky", n_jobs=n_processes, inner_max_num_threads=1):
                for number, result in Parallel(return_as="generator_unordered")(submit()):
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
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # only the process that was started answers Ctrl-C
    _end_with_parent(parent)
    return number, piece()


def _end_with_parent(parent: int) -> None:
    """End this process as soon as ``parent`` is gone (on Windows the parent's number never changes)."""
    name = "stagkit-end-with-parent"
    if any(thread.name == name for thread in threading.enumerate()):
        return

    def poll() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL_SECONDS)
        os._exit(1)

    threading.Thread(target=poll, name=name, daemon=True).start()


def configure_process(device: str) -> None:
    """Prepare this process for training: on a CPU one thread, and glibc keeps memory that is freed.

    Fetching fresh pages from the system costs up to a third of training on a CPU.
    """
    import torch

    if device != "cpu":
        return
    torch.set_num_threads(1)
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # not glibc
        return
    mmap_threshold, trim_threshold, top_pad = -3, -1, -2  # names of <malloc.h>
    for name, size in ((mmap_threshold, 1 << 30), (trim_threshold, 2**31 - 1), (top_pad, 1 << 28)):
        mallopt(name, size)


@contextmanager
def connect(address: str):
    """A client of a Dask scheduler; ``StagkitError`` if Dask is not installed or nothing answers.

    A scheduler at ``tcp://`` runs code for everyone who can reach its port: only use one in a network where you trust
    every user, or one that listens with TLS (``tls://``; certificates as in the configuration of Dask).

    Args:
        address: as ``tcp://host:8786``, or ``local:N``: N worker processes of one thread each on this machine, which
            talk over TLS with certificates that are made for this call and never written to disk.
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise StagkitError("--cluster needs dask.distributed: pip install 'stagkit[cluster]'.") from error
    # a busy machine answers late, and a worker that is taken away is no reason to give up its piece
    patience = {"distributed.comm.timeouts.connect": "120s", "distributed.scheduler.allowed-failures": 10}
    kind, _, number = address.partition(":")
    cluster = None
    if kind == "local":
        if not number.isdigit() or int(number) < 1:
            raise StagkitError(f"--cluster {address!r}: expected local:N with N workers, e.g. local:4.")
        # the scheduler always has a web server: it answers health checks and nothing else
        with dask.config.set({**patience, "distributed.scheduler.http.routes": ["distributed.http.health"]}):
            cluster = LocalCluster(n_workers=int(number), threads_per_worker=1, **_make_private())
    try:
        client = Client(cluster or address, timeout="10s")
    except (OSError, ValueError, TimeoutError) as error:
        raise StagkitError(
            f"no Dask scheduler answers at {address!r}: start one with 'dask scheduler', or give local:N."
        ) from error
    try:
        yield client
    finally:
        client.close()
        if cluster is not None:
            cluster.close()


def _make_private() -> dict[str, object]:
    """Settings of a local cluster that no other user of this machine can use: TLS, and no dashboard."""
    from distributed.security import Security

    try:
        security = Security.temporary()
    except ImportError as error:
        raise StagkitError("--cluster local:N needs cryptography: pip install 'stagkit[cluster]'.") from error
    return {
        "security": security,
        # without an address of its own, the scheduler's (empty) web server would open port 8787
        "scheduler_kwargs": {"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        "dashboard_address": None,
        "silence_logs": "CRITICAL",
    }


def run_on_cluster(address: str, function: Callable, pieces: Iterable[tuple], shared: tuple = ()) -> Iterator:
    """``function(*shared, *piece)`` for every piece, on the workers of a cluster; results as they come.

    Workers have to be able to import the function's module; ``shared`` is sent once to each.
    """
    with connect(address) as client:
        from distributed import KilledWorker, as_completed

        # as a task, not scattered: scattered data is lost with the worker that held it
        held = [client.submit(_identity, part, pure=False) for part in shared]
        futures = [client.submit(function, *held, *piece, pure=False) for piece in pieces]
        try:
            for done in as_completed(futures):
                yield done.result()
                done.release()
        except KilledWorker as error:
            raise StagkitError(
                f"a piece of work killed its worker several times ({error}): is there enough memory? "
                "Finished pieces are kept."
            ) from error
        finally:
            client.cancel(futures)


def _identity(part):
    return part
