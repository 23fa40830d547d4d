"""Connecting to Dask: an embedded cluster on loopback, or an existing scheduler."""

import contextlib
import importlib.metadata
import logging
import os
import platform
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from distributed import Client

ANSWER_SECONDS = 5.0

# Dask tells glibc to give memory back at once (MALLOC_TRIM_THRESHOLD_), which also makes it map
# and clear every array above 128 KB anew: measured, a Krum round is 9 times slower. Not here.
# Threads that wait spin by default, and eat the core that the other worker needs.
ENVIRONMENT = {
    f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 1 << 30
    for name in ("TRIM", "MMAP")
} | {"distributed.nanny.pre-spawn-environ.OMP_WAIT_POLICY": "PASSIVE"}


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
    workers: int | None = None,
    packages: Sequence[str] = (),
    gpu: bool = False,
) -> "Iterator[Client]":
    """Open a client whose workers run one task at a time on one thread.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running dask-scheduler, such as ``"tcp://10.0.0.1:8786"``. By default a
        `distributed.LocalCluster` of processes starts on loopback and ends with the context.
    workers : int, optional
        Processes of the embedded cluster; default one a core.
    packages : sequence of str
        Distributions whose versions must agree with this process's on every worker.
    gpu : bool
        Workers must offer the resource GPU; the embedded cluster starts one that does.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ConnectionError
        When the scheduler does not answer within seconds, has no worker or none with a GPU, or
        a worker runs other versions.

    Examples
    --------
    >>> with connect(workers=1) as client:
    ...     client.submit(sum, [1, 2]).result()
    3
    """
    import dask
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        if scheduler is None:
            stack.enter_context(dask.config.set(ENVIRONMENT))
            with _deaf_to_interrupts():
                cluster = LocalCluster(
                    n_workers=1 if gpu else workers or cores(),
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address="127.0.0.1:0",
                    worker_dashboard_address="127.0.0.1:0",
                    resources={"GPU": 1} if gpu else None,
                    silence_logs=logging.CRITICAL,
                )
            stack.enter_context(cluster)
            yield stack.enter_context(Client(cluster, set_as_default=False))
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # distributed's own remark on versions; ours is below
            client = stack.enter_context(_join(scheduler))
        _check_workers(client, scheduler, packages, gpu)
        yield client


@contextlib.contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Let processes started inside ignore Ctrl-C, which is for the one who started them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _join(scheduler: str) -> "Client":
    """Return a client of the scheduler at an address, or say that it does not answer."""
    from distributed import Client, Security

    if not re.fullmatch(r"((tcp|tls)://)?[\w.\[\]:-]+:\d+", scheduler):
        raise ConnectionError(
            f"no address of a dask-scheduler: {scheduler!r}; it looks like tcp://10.0.0.1:8786"
        )
    security = Security()  # from Dask's configuration
    secret = security.get_connection_args("client").get("ssl_context")
    if scheduler.startswith("tls://") and secret is None:
        raise ConnectionError(
            f"{scheduler} needs certificates: set distributed.comm.tls in Dask's configuration"
        )
    hushed = logging.getLogger("distributed")
    level = hushed.level
    hushed.setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=ANSWER_SECONDS, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise ConnectionError(
            f"no dask-scheduler answers at {scheduler!r} within {ANSWER_SECONDS:g} s ({error}); "
            "start one with: dask scheduler, or leave the scheduler out for an embedded cluster"
        ) from error
    finally:
        hushed.setLevel(level)


def _check_workers(client: "Client", scheduler: str, packages: Sequence[str], gpu: bool) -> None:
    """Raise unless there are workers, with the right versions and, if asked for, a GPU."""
    try:
        client.wait_for_workers(1, timeout=ANSWER_SECONDS)
    except TimeoutError as error:
        raise ConnectionError(
            f"the scheduler at {scheduler} has no workers; start one with: "
            f"dask worker {scheduler} --nthreads 1"
        ) from error
    here = versions(packages)
    # A function of this module would have to be there already: send this one by value.
    there = client.run(_by_value(versions), list(packages))
    wrong = {
        f"{worker}: {name} {found.get(name)} (here {here[name]})"
        for worker, found in there.items()
        for name in here
        if found.get(name) != here[name]
    }
    if wrong:
        raise ConnectionError(
            "workers run other versions, so their results would differ: "
            + "; ".join(sorted(wrong))
            + "; install the same constraints.txt there"
        )
    resources = [worker["resources"] for worker in client.scheduler_info(-1)["workers"].values()]
    if gpu and not any("GPU" in offered for offered in resources):
        raise ConnectionError(
            f"no worker of {scheduler} offers a GPU; start one with: "
            f"dask worker {scheduler} --nthreads 1 --resources 'GPU=1'"
        )


def versions(packages: Sequence[str]) -> dict[str, str | None]:
    """Return the version of Python and of each distribution, None where it is missing.

    Examples
    --------
    >>> versions(["no-such-package"])["no-such-package"] is None
    True
    """
    found: dict[str, str | None] = {"python": ".".join(platform.python_version_tuple()[:2])}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = None
    return found


def _by_value(function):
    """Return the function, pickled with its code so that a worker needs no module of ours."""
    import types

    scope = {"importlib": importlib, "platform": platform}
    copy = types.FunctionType(function.__code__, scope, function.__name__)
    copy.__module__ = "__main__"
    return copy
