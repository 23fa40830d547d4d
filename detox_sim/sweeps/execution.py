"""Run the cells of a sweep on Dask, and keep each as it comes."""

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import xarray as xr

from detox_sim.sweeps.store import Cell, Fields, Store

if TYPE_CHECKING:
    from distributed import Client


ENVIRONMENT = ("packages", "commit", "dirty")
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class SchedulerLostError(Exception):
    """The connection to the scheduler ended while cells were running."""


def _attempt(run: Callable[..., xr.Dataset], fields: Fields, checkpoint: str) -> dict:
    """Run one cell on a worker; an exception is an outcome, not a death.

    A `run` that can go on where it was is given the checkpoint, if its folder is here too.
    """
    start = time.perf_counter()
    resumes = "checkpoint" in inspect.signature(run).parameters
    more = {"checkpoint": checkpoint} if resumes and Path(checkpoint).parent.is_dir() else {}
    try:
        dataset = run(fields, **more).load()
    except Exception:
        return {"error": traceback.format_exc()}
    hardware = _hardware()
    return {"dataset": dataset, "seconds": time.perf_counter() - start, "hardware": hardware}


@functools.cache
def _hardware() -> str:
    """Return processor, cores and NVIDIA's GPUs of this machine."""
    parts = [platform.machine(), f"{os.cpu_count()} cores"]
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
        told = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True)
        parts += told.stdout.splitlines()
    return ", ".join(parts)


def execute(
    client: "Client",
    cells: Sequence[Cell],
    store: Store,
    record: dict,
    done: Callable[[Cell, str | None], None],
    resources: dict[str, float] | None = None,
) -> None:
    """Run cells on a Dask cluster, by rank, then longest first, and keep each as it comes.

    Parameters
    ----------
    client : distributed.Client
    cells : sequence of Cell
    store : Store
    record : dict
        Provenance kept with every cell.
    done : callable
        (cell, error or None), called after each.
    resources : dict, optional
        What a cell needs of a worker.

    Notes
    -----
    Dask runs the cells of a dead worker again. A cell whose workers die again and again
    takes innocent ones with it, so all that Dask gave up are run again one at a time; a
    cell that kills its worker even then is recorded as failed.
    """
    ordered = sorted(cells, key=lambda cell: (cell.rank, -cell.seconds))
    suspects = _pass(client, ordered, store, record, done, resources, last=False)
    for cell in suspects:
        _pass(client, [cell], store, record, done, resources, last=True)


def _pass(client, cells, store, record, done, resources, last: bool) -> list[Cell]:
    """Run cells once; return those that Dask gave up, or record them if this is the last try."""
    from distributed import as_completed

    futures = {
        client.submit(
            _attempt,
            cell.run,
            cell.fields,
            str(store.checkpoint(cell)),
            key=f"{cell.study}-{cell.digest}-{time.monotonic_ns()}",
            priority=-rank,
            resources=resources,
        ): cell
        for rank, cell in enumerate(cells)
    }
    given_up = []
    for future in as_completed(futures, loop=client.loop):
        cell = futures.pop(future)
        try:
            outcome = future.result()
        except (Exception, asyncio.CancelledError) as error:
            # The client cancels what it had submitted, and may have found the next scheduler.
            if client.status != "running" or isinstance(error, CANCELLED):
                raise SchedulerLostError("the scheduler was lost in mid-sweep") from error
            if not last:
                given_up.append(cell)
                continue
            killed = type(error).__name__ == "KilledWorker"
            what = "the worker died" if killed else "Dask could not run it"
            outcome = {"error": f"{what}: {error}"}
        if "error" in outcome:
            store.write_failure(cell, outcome["error"])
        else:
            facts = {key: outcome[key] for key in ("seconds", "hardware")} | {"time": _now()}
            store.write(cell, outcome["dataset"], record | facts)
        done(cell, outcome.get("error"))
    return given_up


def provenance(versions: dict[str, str | None]) -> dict:
    """Return what makes the results: package versions and commit.

    Examples
    --------
    >>> sorted(provenance({"numpy": "2"}))
    ['commit', 'dirty', 'packages']
    """

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        try:
            return subprocess.run(command, capture_output=True, text=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError):
            return None

    commit, status = git("rev-parse", "HEAD"), git("status", "--porcelain")
    return {
        "packages": versions,
        "commit": commit.strip() if commit else None,
        "dirty": bool(status) if status is not None else None,
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
