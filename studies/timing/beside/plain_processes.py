"""A sweep on the embedded Dask cluster, and its cells in plain processes, in turns.

Both sides run in processes that were started and warmed up before. A driver of its own, as a user
has one, runs the sweep: its cells go through `execute`, and each becomes a file of a `Store`.
"""

import contextlib
import dataclasses
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import netCDF4
import numpy as np
import xarray as xr

from detox_sim.cluster import PACKAGES, connect, versions
from detox_sim.sweeps import Cell, Fields, Store, execute, provenance
from detox_sim.training import train
from detox_sim.trials.trial import make_trial

if TYPE_CHECKING:
    from distributed import Client

PROCESSES = (1, 2)
STEPS = 60  # of the history that a nearly empty cell returns


class Times(NamedTuple):
    """Seconds of some cells: by the clock, inside the cells, and of all processors."""

    clock: float
    inside: float
    processor: float


def trained(fields: Fields) -> xr.Dataset:
    """Return the history of a small model; a cell of the sweep of runs."""
    return train(make_trial(fields | {"model_options": {"hidden": 512}}))


def nearly_empty(fields: Fields) -> xr.Dataset:
    """Return a dataset of 14 variables like a history, with next to no work.

    Examples
    --------
    >>> len(nearly_empty({"seed": 0}).variables)
    14
    """
    values = np.full(STEPS, float(fields["seed"]))
    phases = np.array(["gradients", "attack", "vote", "aggregate", "update"], dtype=object)
    return xr.Dataset(
        {f"quantity_{i}": ("step", values, {"long_name": f"quantity {i}"}) for i in range(9)}
        | {
            "accuracy": ("eval_step", values[:4]),
            "seconds": (("step", "phase"), np.zeros((STEPS, len(phases))), {"units": "s"}),
        },
        coords={"step": np.arange(STEPS), "eval_step": np.arange(0, STEPS, 15), "phase": phases},
    )


def with_bare_file(fields: Fields) -> xr.Dataset:
    """Return what `nearly_empty` does, and write it by netCDF-4 alone: the least a file takes.

    Examples
    --------
    >>> len(with_bare_file({"seed": 0}).variables)
    14
    """
    dataset = nearly_empty(fields)
    with (
        tempfile.TemporaryDirectory() as folder,
        netCDF4.Dataset(Path(folder, "cell.nc"), "w") as file,
    ):
        for dim, size in dataset.sizes.items():
            file.createDimension(str(dim), size)
        defined = []
        for name, variable in dataset.variables.items():
            kind: Any = str if variable.dtype.kind == "O" else variable.dtype
            dims = [str(dim) for dim in variable.dims]
            defined.append((file.createVariable(str(name), kind, dims), variable.values))
        for target, values in defined:
            target[...] = values
    return dataset


def measured(runs: int, steps: int, empty_cells: int, turns: int) -> dict[str, Any]:
    """Return the times of two sweeps on Dask and in plain processes, from a driver of its own.

    Parameters
    ----------
    runs, steps : int
        Training runs of the one sweep, and steps of each; with 0 steps these cells do next to
        nothing, either.
    empty_cells : int
        Cells of the other sweep, which do next to nothing.
    turns : int

    Returns
    -------
    dict
        ``dask`` and ``plain``, (processes, turns, fields of `Times`), of the sweep of runs on one
        process and on two; ``empty_dask``, ``empty_plain`` and ``empty_file``, (turns, fields of
        `Times`), of the other on two: the last in plain processes that write a bare file for each.
    """
    code = (  # the process from which others are forked imports while the driver does
        f"from detox_sim.cluster.connecting import prepare; prepare({__name__!r}); "
        f"from {__name__} import drive; drive({runs}, {steps}, {empty_cells}, {turns})"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,  # ends with this process, and the driver with it
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
    ) as driver:
        assert driver.stdout is not None
        said = driver.stdout.read()
    if driver.returncode:
        raise RuntimeError(f"the driver of the sweeps failed:\n{said}")
    return json.loads(said.splitlines()[-1])


# --- The driver -----------------------------------------------------------------------------------


def drive(runs: int, steps: int, empty_cells: int, turns: int) -> None:
    """Print what `measured` returns."""
    threading.Thread(target=_end_with_the_caller, daemon=True).start()
    train_or_not = {"steps": steps} if steps else {}
    training = [_cell({"seed": i} | train_or_not) for i in range(runs)]
    empty = [_cell({"seed": i}) for i in range(empty_cells)]
    bare = [dataclasses.replace(cell, run=with_bare_file) for cell in empty]
    found: dict[str, list] = {side: [[] for _ in PROCESSES] for side in ("dask", "plain")}
    found |= {"empty_dask": [], "empty_plain": [], "empty_file": []}
    with contextlib.ExitStack() as stack:
        clusters = [stack.enter_context(connect(processes=count)) for count in PROCESSES]
        plain = stack.enter_context(_plain_processes(max(PROCESSES)))
        short = _cell({"seed": 0} | dict.fromkeys(train_or_not, 2))
        for pipe in plain:
            pipe.send([(short.run, short.fields), (with_bare_file, short.fields)])
        for client in clusters:
            _warm_up(client, short)
        for pipe in plain:
            pipe.recv()
        for turn in range(turns):
            for i, count in enumerate(PROCESSES):
                for side, seconds in _in_turns(turn, clusters[i], plain[:count], training):
                    found[side][i].append(seconds)
            for side, seconds in _in_turns(turn, clusters[-1], plain, empty):
                found[f"empty_{side}"].append(seconds)
            found["empty_file"].append(_in_plain(plain, bare))
    print(json.dumps(found))


def _end_with_the_caller() -> None:
    sys.stdin.read()
    os._exit(1)


def _in_turns(
    turn: int, client: "Client", pipes: Sequence[Any], cells: Sequence[Cell]
) -> Iterator[tuple[str, Times]]:
    """Yield the times of both sides; which is first changes with the turn."""
    for side in sorted(("dask", "plain"), reverse=bool(turn % 2)):
        yield side, _on_dask(client, cells) if side == "dask" else _in_plain(pipes, cells)


def _cell(fields: Fields) -> Cell:
    run = trained if "steps" in fields else nearly_empty
    return Cell("beside_plain", (fields["seed"],), fields, {}, run, 1.0, 0.0)


def _warm_up(client: "Client", cell: Cell) -> None:
    """Run a short cell in each process, and some through the sweep: imports, compiles, caches."""
    for address in client.scheduler_info(-1)["workers"]:
        client.submit(cell.run, cell.fields, workers=[address], pure=False).result()
    _on_dask(client, [_cell({"seed": i}) for i in range(8)])


def _on_dask(client: "Client", cells: Sequence[Cell]) -> Times:
    """Run a sweep on Dask, into a store of its own."""
    inside = []
    record = provenance(versions(PACKAGES))

    def done(cell: Cell, error: str | None, seconds: float) -> None:
        _check(cell, error, seconds)
        inside.append(seconds)

    def processor() -> float:
        return time.process_time() + sum(client.run(time.process_time).values())

    with tempfile.TemporaryDirectory() as folder:
        before, start = processor(), time.perf_counter()
        execute(client, cells, Store(Path(folder)), record, done)
        clock = time.perf_counter() - start
        return Times(clock, sum(inside), processor() - before)


def _check(cell: Cell, error: str | None, seconds: float) -> None:
    if error is not None:
        raise RuntimeError(f"{cell} failed:\n{error}")


# --- Plain processes ------------------------------------------------------------------------------


@contextlib.contextmanager
def _plain_processes(count: int) -> Iterator[list]:
    """Start processes that run what they are sent; yield their pipes.

    They are forked from the process that those of the embedded cluster are, so that imports,
    allocator and environment are equal.
    """
    context: Any = multiprocessing.get_context("forkserver" if sys.platform == "linux" else "spawn")
    pipes, processes = [], []
    for _ in range(count):
        ours, theirs = context.Pipe()
        processes.append(context.Process(target=_serve, args=(theirs,), daemon=True))
        processes[-1].start()
        pipes.append(ours)
    try:
        yield pipes
    finally:
        for pipe, process in zip(pipes, processes, strict=True):
            pipe.send(None)
            process.join()


def _serve(pipe: Any) -> None:
    """Run cells that a pipe brings until it brings None; answer with seconds."""
    for cells in iter(pipe.recv, None):
        start, used = time.perf_counter(), time.process_time()
        for run, fields in cells:
            run(fields)
        pipe.send((time.perf_counter() - start, time.process_time() - used))


def _in_plain(pipes: Sequence[Any], cells: Sequence[Cell]) -> Times:
    """Run cells in plain processes, of which each takes an equal part, fixed beforehand."""
    start = time.perf_counter()
    for place, pipe in enumerate(pipes):
        pipe.send([(cell.run, cell.fields) for cell in cells[place :: len(pipes)]])
    inside, processor = zip(*(pipe.recv() for pipe in pipes), strict=True)
    return Times(time.perf_counter() - start, sum(inside), sum(processor))
