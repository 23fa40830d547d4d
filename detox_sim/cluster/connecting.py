"""Connecting to Dask: an embedded cluster on loopback, or an existing scheduler."""

import asyncio
import concurrent.futures
import contextlib
import importlib.metadata
import ipaddress
import logging
import os
import platform
import re
import signal
import threading
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distributed import Client, Security

ANSWER_SECONDS = 5.0
_warned: set[str] = set()  # addresses that this process has warned of

# Dask tells glibc to give memory back at once (MALLOC_TRIM_THRESHOLD_), which also makes it map
# and clear every array above 128 KB anew: measured, a Krum round is 9 times slower. Not here.
# Threads that wait spin by default, and eat the core that the other worker needs.
ENVIRONMENT = {
    f"distributed.nanny.pre-spawn-environ.MALLOC_{name}_THRESHOLD_": 1 << 30
    for name in ("TRIM", "MMAP")
} | {"distributed.nanny.pre-spawn-environ.OMP_WAIT_POLICY": "PASSIVE"}


class Tls(NamedTuple):
    """The PEM files that prove to the other end of a ``tls://`` connection who we are.

    Attributes
    ----------
    ca : str
        Certificates of the authority that signed those of the whole cluster.
    cert, key : str
        Our own certificate and its private key.
    """

    ca: str
    cert: str
    key: str


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
    gpu: bool = False,
    tls: Tls | None = None,
) -> "Iterator[Client]":
    """Open a client whose workers run one task at a time on one thread.

    Parameters
    ----------
    scheduler : str, optional
        Address of a running dask-scheduler, such as ``"tls://10.0.0.1:8786"``. By default a
        `distributed.LocalCluster` of processes starts on loopback and ends with the context.
    processes : int, optional
        Processes of the embedded cluster; default one a core.
    packages : sequence of str
        Distributions whose versions must agree with this process's on every worker.
    gpu : bool
        Workers must offer the resource GPU; the embedded cluster starts one that does.
    tls : Tls, optional
        Files for a ``tls://`` scheduler; default those of Dask's configuration.

    Yields
    ------
    distributed.Client

    Raises
    ------
    ConnectionError
        When the scheduler does not answer within seconds, has no worker or none with a GPU, or
        a worker runs other versions; when a file of `tls` is missing or does not fit.

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

    with contextlib.ExitStack() as stack:
        if scheduler is None and tls:
            raise ConnectionError("tls needs the address of a scheduler: tls://HOST:PORT")
        if scheduler is None:
            stack.enter_context(dask.config.set(ENVIRONMENT))
            with _deaf_to_interrupts(), _starting():
                cluster = LocalCluster(
                    n_workers=1 if gpu else processes or cores(),
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
        stack.enter_context(_hush())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # distributed's own remark on versions; ours is below
            client = stack.enter_context(_join(scheduler, tls))
        if _is_open(scheduler) and scheduler not in _warned:
            _warned.add(scheduler)
            warnings.warn(
                f"anyone who reaches {scheduler} can run code on its workers; use tls://",
                stacklevel=3,
            )
        _check_workers(client, scheduler, packages, gpu)
        yield client


@contextlib.contextmanager
def here() -> "Iterator[Client]":
    """Open a client of the cluster that runs this very task, or outside one of a new cluster.

    The task steps off its worker's thread meanwhile, so that it may submit tasks to every worker,
    its own included, and wait for them. It keeps the resources it was given, such as a GPU: tasks
    for its own worker name the worker and ask for no resource, or they wait forever.

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


def _is_open(scheduler: str) -> bool:
    """Tell whether others may reach a scheduler: neither encrypted nor on loopback.

    Examples
    --------
    >>> [_is_open(a) for a in ("tcp://10.0.0.1:8786", "tls://10.0.0.1:8786", "tcp://[::1]:1")]
    [True, False, False]
    """
    host = scheduler.rpartition("://")[2].rpartition(":")[0].strip("[]")
    if scheduler.startswith("tls://") or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Say in one line that the embedded cluster did not start."""
    try:
        yield
    except RuntimeError as error:
        raise ConnectionError(f"the embedded cluster did not start ({error}); try again") from error


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


def _join(scheduler: str, tls: Tls | None) -> "Client":
    """Return a client of the scheduler at an address, or say that it does not answer."""
    from distributed import Client

    if not re.fullmatch(r"((tcp|tls)://)?[\w.\[\]:-]+:\d+", scheduler):
        raise ConnectionError(
            f"no address of a dask-scheduler: {scheduler!r}; it looks like tcp://10.0.0.1:8786"
        )
    security = _security(scheduler, tls)
    try:
        _knock(scheduler, security)
        return Client(scheduler, timeout=ANSWER_SECONDS, security=security, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        if scheduler.startswith("tls://") and not re.search("Timed out|Refused", str(error)):
            raise ConnectionError(
                f"{scheduler} and these certificates do not go together ({error}); "
                "use a certificate and a key that the cluster's CA signed, and that CA"
            ) from error
        raise ConnectionError(
            f"no dask-scheduler answers at {scheduler!r} within {ANSWER_SECONDS:g} s ({error}); "
            "start one with: dask scheduler, or leave the scheduler out for an embedded cluster "
            "(one with certificates answers at tls:// only)"
        ) from error


def _knock(scheduler: str, security: "Security") -> None:
    """Raise within seconds where nobody talks as Dask does; a Client would wait for ever."""
    from distributed.comm import connect as reach

    async def knock() -> None:
        arguments = security.get_connection_args("client")
        comm = await asyncio.wait_for(
            reach(scheduler, timeout=ANSWER_SECONDS, **arguments), ANSWER_SECONDS + 1
        )
        await comm.close()

    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
        thread.submit(asyncio.run, knock()).result()


@contextlib.contextmanager
def _hush() -> Iterator[None]:
    """Keep Dask's log of lost connections to itself: what is wrong is raised as an error."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _security(scheduler: str, tls: Tls | None) -> "Security":
    """Return how to connect: with the given files, or as Dask's configuration says."""
    from distributed import Security

    if tls is None:
        security = Security()
    elif not scheduler.startswith("tls://"):
        raise ConnectionError(
            f"TLS files are for a tls:// scheduler, got {scheduler}; "
            f"write tls://{scheduler.rpartition('://')[2]}"
        )
    else:
        for what, path in tls._asdict().items():
            if not os.path.isfile(path):
                raise ConnectionError(f"no file {path!r} for the {what} of TLS; give a PEM file")
        security = Security(
            tls_ca_file=tls.ca,
            tls_client_cert=tls.cert,
            tls_client_key=tls.key,
            require_encryption=True,
        )
    try:
        secret = security.get_connection_args("client").get("ssl_context")
    except OSError as error:  # an ssl.SSLError too
        raise ConnectionError(f"the TLS files cannot be used ({error})") from error
    if scheduler.startswith("tls://") and secret is None:
        raise ConnectionError(
            f"{scheduler} needs certificates: give a CA, a certificate and a key "
            "(--tls-ca, --tls-cert, --tls-key), or set distributed.comm.tls in Dask's configuration"
        )
    return security


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
    # It loads the tasks before it hands them on, so it needs the packages too.
    there["the scheduler"] = client.run_on_scheduler(_by_value(versions), list(packages))
    wrong = {
        f"{worker}: {name} {found.get(name)} (here {here[name]})"
        for worker, found in there.items()
        for name in here
        if found.get(name) != here[name]
    }
    if wrong:
        raise ConnectionError(
            "workers or scheduler run other versions, so results would differ: "
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
