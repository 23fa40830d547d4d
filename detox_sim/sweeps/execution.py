"""Run the cells of a sweep on Dask or in this process, and store each as soon as it is finished."""

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import operator
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from detox_sim.sweeps.store import Cell, Fields, Store, cell_file, description

if TYPE_CHECKING:
    from distributed import Client, Future


ENVIRONMENT = ("packages", "commit", "dirty")
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)
ALONE_SECONDS = 60.0  # how long a scheduler may have no process
POLL_SECONDS = 0.01
RESULT_SECONDS = 10.0  # of a small result


class SchedulerLostError(Exception):
    """The scheduler, or all its processes, ended while cells were running."""


def _attempt(run: Callable[..., xr.Dataset], fields: Fields, checkpoint: str, record: dict) -> dict:
    """Run one cell; return its netCDF file and seconds, or its exception as text.

    The file is made here, so that the driver, which all processes share, has less to do. A `run`
    with a keyword `checkpoint` is given that path if its folder exists on this machine.
    """
    start = time.perf_counter()
    resumes = "checkpoint" in inspect.signature(run).parameters
    more = {"checkpoint": checkpoint} if resumes and Path(checkpoint).parent.is_dir() else {}
    try:
        dataset = run(fields, **more)
        if not isinstance(dataset, xr.Dataset):
            raise TypeError(f"a cell must return an xarray.Dataset, got {type(dataset).__name__}")
        if not dataset.data_vars:
            raise ValueError("a cell must return a Dataset with a variable, got one without")
        dataset.load()
        seconds = time.perf_counter() - start
        facts = {"seconds": seconds, "hardware": _hardware(), "time": _now()}
        return {"file": cell_file(dataset, record | facts), "seconds": seconds}
    except Exception:
        return {"error": traceback.format_exc()}


def _processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Return the kind of this machine's processor: its last bits are equal within one kind only."""
    names = {"model name": "", "cpu family": "family ", "model": "model "}
    with contextlib.suppress(OSError):
        pairs = (line.split(":", 1) for line in cpuinfo.read_text().splitlines() if ":" in line)
        found = {name.strip(): value.strip() for name, value in pairs}
        return " ".join(
            [platform.machine(), *(p + found[n] for n, p in names.items() if n in found)]
        )
    return platform.processor() or platform.machine()


@functools.cache
def _hardware() -> str:
    """Return the processor, the cores and NVIDIA's GPUs of this machine."""
    parts = [_processor(), f"{os.cpu_count()} cores"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        listed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        parts += listed.stdout.splitlines()
    return ", ".join(parts)


def execute(
    client: "Client | None",
    cells: Sequence[Cell],
    store: Store,
    record: dict,
    done: Callable[[Cell, str | None, float], None],
    resources: dict[str, float] | None = None,
) -> None:
    """Run cells by rank, then longest first, and store each as soon as it is finished.

    Parameters
    ----------
    client : distributed.Client or None
        None runs the cells in this process, one after the other.
    cells : sequence of Cell
    store : Store
    record : dict
        Provenance stored with every cell.
    done : callable
        (cell, error or None, seconds it took or 0 where it failed), called after each cell.
    resources : dict, optional
        What a cell needs of a Dask process.

    Raises
    ------
    SchedulerLostError
        When the connection to the scheduler ends, or when it has had no process for 60 s.

    Notes
    -----
    Dask runs the cells of a killed process again. It gives a cell up whose processes were killed
    several times, and with it other cells that these processes held. Cells that Dask gave up are
    run again one at a time; one whose process is killed even then is recorded as failed.
    """
    ordered = sorted(cells, key=lambda cell: (cell.rank, -cell.seconds))
    if client is None:
        for cell in ordered:
            outcome = _task(cell, store, record)()
            _keep(cell, outcome, store, done)
        return
    given_up = _pass(client, ordered, store, record, done, resources, last=False)
    for cell in given_up:
        _pass(client, [cell], store, record, done, resources, last=True)


def _pass(client, cells, store, record, done, resources, last: bool) -> list[Cell]:
    """Run cells once on Dask; return those that Dask gave up, or record them as failed if last."""
    started = time.monotonic_ns()
    futures = client.map(  # by priority in their order
        operator.call,
        [_task(cell, store, record) for cell in cells],
        key=[f"{cell.study}-{cell.digest}-{started}-{i}" for i, cell in enumerate(cells)],
        resources=resources,
    )
    of = dict(zip(futures, cells, strict=True))
    given_up = []
    for future, outcome in _outcomes(client, futures):
        cell = of.pop(future)
        future.release()  # else Dask computes it again where the process that has it is lost
        if isinstance(outcome, BaseException):
            # A client that reconnects has cancelled what it submitted, and runs again already.
            if client.status != "running" or isinstance(outcome, CANCELLED):
                raise SchedulerLostError("the scheduler was lost in mid-sweep") from outcome
            if not last:
                given_up.append(cell)
                continue
            killed = type(outcome).__name__ == "KilledWorker"
            what = "its process was killed" if killed else "Dask could not run it"
            outcome = {"error": f"{what}: {outcome}"}
        _keep(cell, outcome, store, done)
    return given_up


def _task(cell: Cell, store: Store, record: dict) -> Callable[[], dict]:
    """Return what runs a cell: without arguments, in which Dask would look for other tasks."""
    described = record | description(cell)
    return functools.partial(
        _attempt, cell.run, cell.fields, str(store.checkpoint(cell)), described
    )


def _outcomes(
    client: "Client", futures: list["Future"]
) -> Iterator[tuple["Future", dict | BaseException]]:
    """Yield futures as they finish, each with its result or its exception.

    Raises SchedulerLostError where the scheduler has had no process for `ALONE_SECONDS`.
    """
    from distributed import as_completed

    waiting = as_completed(futures, loop=client.loop)
    patience: dict[str, float] = {}  # seconds, of results that were waited for in vain
    alive = looked = time.monotonic()
    while not waiting.is_empty():
        time.sleep(POLL_SECONDS)
        finished = waiting.next_batch(block=False)
        results = _results(client, finished)
        for future in finished:
            if future.key in results:
                yield future, results[future.key]
                continue
            seconds = patience.get(future.key, RESULT_SECONDS)
            try:
                outcome = future.result(timeout=seconds)
            except TimeoutError:
                # Its process ended meanwhile, and Dask runs it again elsewhere; or the network is
                # slow for so large a result.
                patience[future.key] = 2 * seconds
                waiting.add(future)
                continue
            except (Exception, asyncio.CancelledError) as error:
                outcome = error
            yield future, outcome
        now = time.monotonic()
        if finished:
            alive = now
            continue
        if now - looked < ALONE_SECONDS / 20 or client.status != "running":
            continue
        looked = now
        try:
            processes = client.nthreads()
        except OSError:  # the scheduler ended just now, and with it all futures
            continue
        if processes:
            alive = now
        elif now - alive > ALONE_SECONDS:
            raise SchedulerLostError(f"the scheduler has had no process for {ALONE_SECONDS:g} s")


def _results(client: "Client", futures: list["Future"]) -> dict[str, dict]:
    """Return the results of several finished futures by key, or none where one is late or failed.

    Asked for one by one they take twice the driver's time for a small cell.
    """
    sound = {future.key: future for future in futures if future.status == "finished"}
    if len(sound) < 2:
        return {}

    async def gather():
        return await asyncio.wait_for(client.gather(sound, asynchronous=True), RESULT_SECONDS)

    try:
        return client.sync(gather)
    except (Exception, asyncio.CancelledError):  # each is asked for alone then
        return {}


def _keep(cell: Cell, outcome: dict, store: Store, done: Callable) -> None:
    """Store the outcome of a cell and report it."""
    if "error" in outcome:
        store.write_failure(cell, outcome["error"])
    else:
        store.write_file(cell, outcome["file"])
    done(cell, outcome.get("error"), outcome.get("seconds", 0.0))


def provenance(versions: dict[str, str | None]) -> dict:
    """Return what results depend on: versions of packages, and the commit of the source.

    Examples
    --------
    >>> sorted(provenance({"numpy": "2"}))
    ['commit', 'dirty', 'packages']
    """

    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(root), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None

    top = git("rev-parse", "--show-toplevel")
    ours = top is not None and Path(top.strip()) == root.resolve()  # not that of the user
    commit = git("rev-parse", "HEAD") if ours else None
    status = git("status", "--porcelain") if ours else None
    return {
        "packages": versions,
        "commit": commit.strip() if commit else None,
        "dirty": bool(status) if status is not None else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
