"""Run the cells of a sweep on Dask, keep each as it comes, assemble them into one dataset.

Knows nothing of what a cell computes.
"""

import asyncio
import concurrent.futures
import contextlib
import functools
import inspect
import itertools
import json
import os
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xarray as xr

from studies.store import Cell, Fields, Store

if TYPE_CHECKING:
    from distributed import Client

Axes = Mapping[str, Sequence | Mapping[str, Fields]]


CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class SchedulerLostError(Exception):
    """The connection to the scheduler ended while cells were running."""


def expand(base: Fields, axes: Axes) -> list[tuple[tuple, Fields]]:
    """Return (labels, fields) of every cell, the last axis fastest.

    Parameters
    ----------
    base : dict
        Fields common to all cells.
    axes : mapping
        Name -> list of values of that field, or name -> {label: several fields at once}.

    Examples
    --------
    >>> expand({"p": 9}, {"rule": {"A": {"r": 1}, "B": {"r": 3, "k": 2}}, "seed": [7]})
    [(('A', 7), {'p': 9, 'r': 1, 'seed': 7}), (('B', 7), {'p': 9, 'r': 3, 'k': 2, 'seed': 7})]
    """
    points = []
    for labels in itertools.product(*axes.values()):
        fields = dict(base)
        for (name, values), label in zip(axes.items(), labels, strict=True):
            fields |= values[label] if isinstance(values, Mapping) else {name: label}
        points.append((labels, fields))
    return points


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
    """Run cells on a Dask cluster, longest first, and keep each as it comes.

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
    ordered = sorted(cells, key=lambda cell: -cell.seconds)
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
    """Return where and when results are made: package versions, commit and host.

    Examples
    --------
    >>> sorted(provenance({"numpy": "2"}))
    ['commit', 'dirty', 'host', 'packages']
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
        "host": platform.node(),
    }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def assemble(cells: Sequence[Cell], axes: Axes, store: Store, about: dict) -> xr.Dataset | None:
    """Join the cells of one study into a dataset with the axes as leading dims, in their order.

    Parameters
    ----------
    cells : sequence of Cell
        As `expand` orders them.
    axes : mapping
    store : Store
    about : dict
        Kept in the attribute ``provenance`` (JSON), beside what the cells recorded.

    Returns
    -------
    xarray.Dataset or None
        Failed cells are NaN and listed in the provenance. None when every cell failed.
    """
    found = [store.read(cell) for cell in cells]
    example = next((dataset for dataset in found if dataset is not None), None)
    if example is None:
        return None
    blank = xr.full_like(example.astype(float), np.nan)
    records = [json.loads(dataset.attrs["cell"]) for dataset in found if dataset is not None]
    nested: list = [blank if dataset is None else dataset for dataset in found]
    for values in list(axes.values())[:0:-1]:
        size = len(values)
        nested = [nested[start : start + size] for start in range(0, len(nested), size)]
    dataset = xr.combine_nested(
        nested,
        concat_dim=list(axes),
        join="exact",
        combine_attrs="drop",
        data_vars="all",
        coords="minimal",
        compat="equals",
    )
    dataset = dataset.transpose(*axes, ...)
    for name, variable in example.variables.items():
        dataset[name].attrs = variable.attrs
    coordinates = {name: (name, _labels(list(values))) for name, values in axes.items()}
    environments = [{k: r[k] for k in ("packages", "commit", "dirty", "host")} for r in records]
    about = about | {
        "axes": {name: list(values) for name, values in axes.items()},
        "failures": {
            str(cell): (store.failure(cell) or "not run").strip().splitlines()[-1]
            for cell, stored in zip(cells, found, strict=True)
            if stored is None
        },
        "environments": [e for i, e in enumerate(environments) if e not in environments[:i]],
        "hardware": sorted({record["hardware"] for record in records}),
        "computed": [min(r["time"] for r in records), max(r["time"] for r in records)],
        "cell_seconds": round(sum(record["seconds"] for record in records), 1),
    }
    return dataset.assign_coords(coordinates).assign_attrs(provenance=json.dumps(about))


def _labels(values: list) -> np.ndarray:
    """Return numbers as numbers and all else as object strings, which netCDF can hold."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return np.array(values) if numbers else np.array([str(v) for v in values], dtype=object)
