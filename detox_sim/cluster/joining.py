"""Joining a running dask-scheduler: its address, certificates, and what its workers must have."""

import asyncio
import concurrent.futures
import contextlib
import importlib.metadata
import ipaddress
import logging
import os
import platform
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from distributed import Client, Security

ANSWER_SECONDS = 5.0
PROCESS_SECONDS = 30.0  # a process that has just been started, on a busy machine
_warned: set[str] = set()  # addresses that this process has warned of


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


@contextlib.contextmanager
def join(
    scheduler: str,
    packages: Sequence[str] = (),
    modules: Sequence[str] = (),
    gpu: bool = False,
    tls: Tls | None = None,
) -> "Iterator[Client]":
    """Open a client of a running scheduler; arguments and errors as in `connecting.connect`."""
    with _quiet_logs(), contextlib.ExitStack() as stack:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # distributed's own remark on versions; ours is below
            client = stack.enter_context(_client_of(scheduler, tls))
        if is_open(scheduler) and scheduler not in _warned:
            _warned.add(scheduler)
            warnings.warn(
                f"anyone who reaches {scheduler} can run code on its workers; use tls://",
                stacklevel=5,
            )
        _check_workers(client, scheduler, packages, modules, gpu)
        yield client


@contextlib.contextmanager
def _quiet_logs() -> Iterator[None]:
    """Silence Dask's log of lost connections: what is wrong is raised as an error."""
    loggers = [logging.getLogger(name) for name in ("distributed", "distributed.client")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def is_open(scheduler: str) -> bool:
    """Tell whether others may reach a scheduler: neither encrypted nor on loopback.

    Examples
    --------
    >>> [is_open(a) for a in ("tcp://10.0.0.1:8786", "tls://10.0.0.1:8786", "tcp://[::1]:1")]
    [True, False, False]
    """
    host = scheduler.rpartition("://")[2].rpartition(":")[0].strip("[]")
    if scheduler.startswith("tls://") or host == "localhost":
        return False
    try:
        return not ipaddress.ip_address(host).is_loopback
    except ValueError:
        return True


def _client_of(scheduler: str, tls: Tls | None) -> "Client":
    """Return a client of the scheduler at an address, or say that it does not answer."""
    from distributed import Client

    if not re.fullmatch(r"((tcp|tls)://)?[\w.\[\]:-]+:\d+", scheduler):
        raise ConnectionError(
            f"no address of a dask-scheduler: {scheduler!r}; it looks like tcp://10.0.0.1:8786"
        )
    security = _security(scheduler, tls)
    try:
        _reach(scheduler, security)
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


def _reach(scheduler: str, security: "Security") -> None:
    """Raise within seconds where no scheduler answers; a Client would wait for ever."""
    from distributed.comm import connect

    async def reach() -> None:
        arguments = security.get_connection_args("client")
        comm = await asyncio.wait_for(
            connect(scheduler, timeout=ANSWER_SECONDS, **arguments), ANSWER_SECONDS + 1
        )
        await comm.close()

    with concurrent.futures.ThreadPoolExecutor(1) as thread:  # a notebook has a loop of its own
        thread.submit(asyncio.run, reach()).result()


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


def _check_workers(
    client: "Client", scheduler: str, packages: Sequence[str], modules: Sequence[str], gpu: bool
) -> None:
    """Raise unless there are workers, with the right versions, modules and, if asked for, a GPU."""
    try:
        client.wait_for_workers(1, timeout=PROCESS_SECONDS)
    except TimeoutError as error:
        raise ConnectionError(
            f"the scheduler at {scheduler} has no workers after {PROCESS_SECONDS:g} s; "
            f"start one with: dask worker {scheduler} --nthreads 1"
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
    absent = client.run(_by_value(_absent), list(modules))
    absent["the scheduler"] = client.run_on_scheduler(_by_value(_absent), list(modules))
    if any(absent.values()):
        where = sorted(f"{worker}: {', '.join(names)}" for worker, names in absent.items() if names)
        raise ConnectionError(
            f"workers or scheduler cannot import modules that cells need: {'; '.join(where)}; "
            "start them in a clone of the repository, where it is installed with --editable"
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


def _absent(modules: Sequence[str]) -> list[str]:
    """Return the modules that cannot be found here."""
    import importlib.util

    return [name for name in modules if importlib.util.find_spec(name) is None]


def _by_value(function: Callable) -> Callable:
    """Return the function, pickled with its code so that a process needs no module of ours."""
    import types

    scope = {"importlib": importlib, "platform": platform}
    copy = types.FunctionType(function.__code__, scope, function.__name__)
    copy.__module__ = "__main__"
    return copy
