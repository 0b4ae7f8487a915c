"""Work on many machines: a Dask scheduler hands pieces to its workers; one that dies is replaced and its piece redone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from stagkit.core.errors import StagkitError


@contextmanager
def connect(address: str):
    """A client of a scheduler.

    Args:
        address: as ``tcp://host:8786``, or ``local:N``: N worker processes of one thread each on this machine, which talk
            over TLS with certificates that are made for this call and never written to disk.

    Raises:
        StagkitError: dask.distributed is not installed, nobody answers, or the address cannot be read.

    A scheduler at ``tcp://`` runs code for everyone who can reach its port: only use one in a network where you trust
    every user, or one that listens with TLS (``tls://``; certificates as in the configuration of Dask).
    """
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise StagkitError("--cluster needs dask.distributed: pip install 'stagkit[cluster]'.") from error
    # a busy machine answers late, and a worker that is taken away says nothing against the piece it had
    patience = {"distributed.comm.timeouts.connect": "120s", "distributed.scheduler.allowed-failures": 10}
    kind, _, number = address.partition(":")
    cluster = None
    if kind == "local":
        if not number.isdigit() or int(number) < 1:
            raise StagkitError(f"--cluster {address!r}: expected local:N with N workers, e.g. local:4.")
        # the web server of the scheduler cannot be left out: it says that it is alive, and nothing else
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
    # without an address of its own, the (empty) web server of the scheduler would open port 8787
    scheduler = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
    return {
        "security": security,
        "scheduler_kwargs": scheduler,
        "dashboard_address": None,
        "silence_logs": "CRITICAL",
    }


def run_on_cluster(address: str, function: Callable, pieces: Iterable[tuple], shared: tuple = ()) -> Iterator:
    """``function(*shared, *piece)`` for every piece, on the workers; answers as they come.

    A worker that dies loses nothing but time: Dask gives its piece, and what all pieces share, to another.

    Args:
        address: as for ``connect``.
        function: of a module that the workers can import.
        pieces: what differs.
        shared: what all pieces need; sent once to each worker.

    Raises:
        StagkitError: as ``connect``; a piece whose worker died again and again.
    """
    with connect(address) as client:
        from distributed import KilledWorker, as_completed

        # as a task, not scattered: scattered data is gone with the worker that held it
        held = [client.submit(_hand_on, part, pure=False) for part in shared]
        futures = [client.submit(function, *held, *piece, pure=False) for piece in pieces]
        try:
            for done in as_completed(futures):
                yield done.result()
                done.release()
        except KilledWorker as error:
            raise StagkitError(
                f"a piece of work killed its worker several times ({error}): is there memory enough? "
                "What was finished is kept."
            ) from error
        finally:
            client.cancel(futures)


def _hand_on(part):
    return part
