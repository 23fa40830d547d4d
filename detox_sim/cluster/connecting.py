"""Connecting to Dask: an embedded cluster on loopback, or an existing scheduler."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from detox_sim.cluster.joining import Tls, join

if TYPE_CHECKING:
    from distributed import Client

# Dask tells glibc to give memory back at once (MALLOC_TRIM_THRESHOLD_), which also makes it map
# and clear every array above 128 KB anew: measured, a Krum round is 9 times slower. Not here.
# Tasks run on a thread, for whose own arena glibc maps arrays above 64 MB anew all the same:
# measured, what follows the gradients of 45 files of 431,080 values takes 1.7 times as long.
# Threads that wait spin by default, on the core that another process needs.
ENVIRONMENT = {
    f"distributed.nanny.pre-spawn-environ.{name}": value
    for name, value in {
        "MALLOC_TRIM_THRESHOLD_": 1 << 30,
        "MALLOC_MMAP_THRESHOLD_": 1 << 30,
        "MALLOC_ARENA_MAX": 1,
        "OMP_WAIT_POLICY": "PASSIVE",
    }.items()
}

# Dask samples the stack of each process 100 times a second for a page of its dashboard, and each of
# its servers measures its own delay 50 times: half of what an idle cluster takes of a core.
QUIET = {
    "distributed.worker.profile.enabled": False,
    "distributed.admin.tick.interval": "500ms",
}

# What tasks import, which takes seconds; the processes are forked from one that has done so.
PRELOADED = ["distributed.nanny", "xarray", "scipy.stats", "sklearn.datasets", "torch"]


def cores() -> int:
    """Return the cores this process may use.

    Examples
    --------
    >>> cores() >= 1
    True
    """
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def connect(
    scheduler: str | None = None,
    *,
    processes: int | None = None,
    packages: Sequence[str] = (),
    modules: Sequence[str] = (),
    gpu: bool = False,
    tls: Tls | None = None,
) -> "Iterator[Client]":
    """Open a client of a cluster whose processes run one task at a time on one thread.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running dask-scheduler, such as ``"tls://10.0.0.1:8786"``. By default a
        ``distributed.LocalCluster`` of processes starts on loopback and ends with the context.
    processes : int, optional
        Processes of the embedded cluster; default one a core.
    packages : sequence of str
        Distributions whose versions must agree with this process's everywhere.
    modules : sequence of str
        Modules that every process must be able to import.
    gpu : bool
        Some process must offer the resource GPU; the embedded cluster starts one that does.
    tls : Tls, optional
        Files for a ``tls://`` scheduler; default those of Dask's configuration.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ConnectionError
        When the scheduler does not answer within 5 s, has no process after 30 s or none with a
        GPU, or a process runs other versions or lacks one of `modules`; when a file of `tls` is
        missing or does not fit.

    Warns
    -----
    UserWarning
        Once for each ``tcp://`` address on another machine: whoever reaches it can run code.

    Examples
    --------
    >>> with connect(processes=1) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    import dask
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with join(scheduler, packages, modules, gpu, tls) as client:
            yield client
        return
    if tls:
        raise ConnectionError("tls needs the address of a scheduler: tls://HOST:PORT")
    with dask.config.set(ENVIRONMENT | QUIET), _forked():
        with _ignoring_interrupts(), _starting():
            cluster = LocalCluster(
                n_workers=1 if gpu else processes or cores(),
                threads_per_worker=1,
                processes=True,
                host="127.0.0.1",
                dashboard_address="127.0.0.1:0",
                worker_dashboard_address="127.0.0.1:0",
                resources={"GPU": 1} if gpu else None,
                env=dict(os.environ),  # not that of the process they are forked from
                silence_logs=logging.CRITICAL,
            )
        with cluster, Client(cluster, set_as_default=False) as client:
            yield client


def check_client(client: object) -> None:
    """Raise unless this is None or a connected client.

    Examples
    --------
    >>> check_client("tcp://127.0.0.1:8786")
    Traceback (most recent call last):
    ValueError: client must be a connected distributed.Client, such as ...
    """
    if client is not None and getattr(client, "status", None) != "running":
        raise ValueError(
            "client must be a connected distributed.Client, such as detox_sim.cluster.connect() "
            f"gives; got {client!r}"
        )


def prepare(*modules: str) -> None:
    """Let the process from which `connect` forks others begin its imports now; on Linux only.

    Call it where the caller has other work before it connects.

    Parameters
    ----------
    *modules : str
        What it imports beside what every task needs.

    Examples
    --------
    >>> prepare()
    """
    import dask
    from distributed import nanny  # noqa: F401  its configuration

    if sys.platform != "linux":
        return
    from multiprocessing import forkserver

    before = dict(os.environ)
    with dask.config.set(ENVIRONMENT), _forked(*modules), _ignoring_interrupts():
        names = dask.config.get("distributed.nanny.pre-spawn-environ")
        os.environ.update({name: str(value) for name, value in names.items()})
        try:
            forkserver.ensure_running()
        finally:
            os.environ.clear()
            os.environ.update(before)


@contextlib.contextmanager
def here() -> "Iterator[Client]":
    """Open a client of the cluster that runs this very task, or outside one of a new cluster.

    The task leaves its process's thread meanwhile, so that it may submit tasks to every process,
    its own included, and wait for them. It keeps the resources it was given, such as a GPU: tasks
    for its own process name it and ask for no resource, or they wait forever.

    Yields
    ------
    distributed.Client

    Examples
    --------
    >>> with here() as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    from distributed import get_worker, worker_client

    try:
        get_worker()
    except ValueError:
        with connect() as client:
            yield client
        return
    with worker_client() as client:
        yield client


@contextlib.contextmanager
def _forked(*modules: str) -> Iterator[None]:
    """Fork the processes that Dask starts from one that has imported what they need.

    Importing takes seconds of each new process. Elsewhere than on Linux each imports: libraries of
    macOS do not survive a fork, and Windows has none.
    """
    import dask
    from distributed.utils import get_mp_context

    if sys.platform != "linux":
        yield
        return
    with dask.config.set({"distributed.worker.multiprocessing-method": "forkserver"}):
        get_mp_context().set_forkserver_preload([*PRELOADED, *modules])
        yield


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Raise a ConnectionError of one line where the embedded cluster does not start."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"the embedded cluster did not start ({error}); try again") from error


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Start processes that ignore Ctrl-C, so that only the driver is interrupted."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
