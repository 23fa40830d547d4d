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


ENVIRONMENT = ("packages", "commit", "dirty")
CANCELLED = (asyncio.CancelledError, concurrent.futures.CancelledError)


class SchedulerLostError(Exception):
    """The connection to the scheduler ended while cells were running."""


Grid = tuple[Fields, Axes]


def union(grids: Sequence[Grid]) -> dict[str, list]:
    """Return the labels on each axis that occur in some of the grids, which have the same axes.

    Examples
    --------
    >>> union([({}, {"p": [1, 3]}), ({}, {"p": [2, 3]})])
    {'p': [1, 3, 2]}
    """
    first, *others = (list(axes) for _, axes in grids)
    if any(names != first for names in others):
        raise ValueError(f"all grids of a profile need the same axes, got {[first, *others]}")
    return {name: list(dict.fromkeys(v for _, axes in grids for v in axes[name])) for name in first}


def expand_all(grids: Sequence[Grid]) -> list[tuple[tuple, Fields, tuple[int, int]]]:
    """Return (labels, fields, rank) of every cell of some grid, once, in the order of the grids.

    The rank of a cell of several grids, which run in their order, is the grid's number and that of
    the label on the last axis, so that a grid is finished seed by seed; of one grid it is (0, 0).

    Raises
    ------
    ValueError
        When two grids give other fields to the same labels.

    Examples
    --------
    >>> expand_all([({"p": 9}, {"seed": [7]}), ({"p": 9}, {"seed": [7, 8]})])
    [((7,), {'p': 9, 'seed': 7}, (0, 0)), ((8,), {'p': 9, 'seed': 8}, (1, 1))]
    """
    found: dict[tuple, tuple] = {}
    for number, (base, axes) in enumerate(grids):
        last = list(list(axes.values())[-1])
        for labels, fields in expand(base, axes):
            rank = (number, last.index(labels[-1])) if len(grids) > 1 else (0, 0)
            if found.setdefault(labels, (labels, fields, rank))[1] != fields:
                raise ValueError(f"two grids differ in the fields of {labels}")
    return list(found.values())


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


def assemble(
    cells: Sequence[Cell],
    axes: Mapping[str, Sequence],
    store: Store,
    about: dict,
    derive: Callable[[Fields, xr.Dataset], xr.Dataset] | None = None,
) -> xr.Dataset | None:
    """Join the cells of one study into a dataset with the axes as leading dims, in their order.

    Parameters
    ----------
    cells : sequence of Cell
        Combinations of labels that no cell has are NaN.
    axes : mapping
        Name -> its labels.
    store : Store
    about : dict
        Kept in the attribute ``provenance`` (JSON), beside what the cells recorded.
    derive : callable, optional
        (fields, what the cell's run returned) -> the same and what follows from it without a run.

    Returns
    -------
    xarray.Dataset or None
        Failed cells are NaN and listed in the provenance. None when every cell failed.
    """
    found = [store.read(cell) for cell in cells]
    example = next((dataset for dataset in found if dataset is not None), None)
    if example is None:
        return None
    types = {str(name): variable.dtype.str for name, variable in example.variables.items()}
    finished = [(cell, dataset) for cell, dataset in zip(cells, found, strict=True) if dataset]
    records = [json.loads(dataset.attrs["cell"]) for _, dataset in finished]
    by_labels = {
        cell.labels: dataset if derive is None else derive(cell.fields, dataset)
        for cell, dataset in finished
    }
    example = next(iter(by_labels.values()))
    blank = xr.full_like(example.astype(float), np.nan)
    nested: list = [by_labels.get(labels, blank) for labels in itertools.product(*axes.values())]
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
    made_in = [{k: r[k] for k in ENVIRONMENT} for r in records]
    environments = [each for i, each in enumerate(made_in) if each not in made_in[:i]]
    about = about | {
        "axes": {name: list(values) for name, values in axes.items()},
        "failures": {
            str(cell): (store.failure(cell) or "not run").strip().splitlines()[-1]
            for cell, stored in zip(cells, found, strict=True)
            if stored is None
        },
        "cells": {
            cell.digest: {
                "labels": list(cell.labels),
                "environment": environments.index(place),
                **{name: record[name] for name in ("content", "seconds", "hardware", "time")},
            }
            for (cell, _), record, place in zip(finished, records, made_in, strict=True)
        },
        "cell_variables": types,
        "environments": environments,
        "hardware": sorted({record["hardware"] for record in records}),
        "computed": [min(r["time"] for r in records), max(r["time"] for r in records)],
        "cell_seconds": round(sum(record["seconds"] for record in records), 1),
    }
    return dataset.assign_coords(coordinates).assign_attrs(provenance=json.dumps(about))


def _labels(values: list) -> np.ndarray:
    """Return numbers as numbers and all else as object strings, which netCDF can hold."""
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return np.array(values) if numbers else np.array([str(v) for v in values], dtype=object)
