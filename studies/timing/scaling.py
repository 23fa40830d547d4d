"""Growth of time: of a round with workers and parameters; and what Dask takes of a sweep."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from detox_sim import aggregators, theory, voting
from detox_sim.catalogue import check_integer, check_known
from detox_sim.messages import Messages
from detox_sim.primitives import use_threads
from detox_sim.streams import stream
from studies import Study
from studies.timing.beside.plain_processes import PROCESSES, Times, measured
from studies.timing.rounds import METHODS
from studies.timing.scaling_results import DISTORTED, figure, finding

STAGES = ("vote", "aggregate")
WAYS = ("Dask", "plain", "plain, with a bare netCDF-4 file")
CLOCKS = Times._fields
FIELDS = ("workers", "parameters", "turns", "seed", "runs", "steps", "empty_cells")


def _size(workers: int, parameters: int) -> dict[str, int]:
    of_sweeps = {"runs": 0, "steps": 0, "empty_cells": 0}
    return {"workers": workers, "parameters": parameters} | of_sweeps


def _sweep(runs: int, steps: int, empty_cells: int, turns: int) -> dict[str, int]:
    sizes = {"workers": 15, "parameters": 1, "turns": turns}
    return sizes | {"runs": runs, "steps": steps, "empty_cells": empty_cells}


_BASE = {"seed": 0}
_GROWTH = {f"p = {p}": _size(p, 10_000) for p in (15, 45, 150, 300, 600, 1200, 2400)}
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        _BASE | {"turns": 2},
        {
            "part": {f"p = {p}": _size(p, 400) for p in (15, 150, 450, 1500)}
            | {f"p = 45, d = {d:,}": _size(45, d) for d in (400, 4000, 40_000)}
            | {"sweep": _sweep(2, 0, 10, 1)}
        },
    ),
    "laptop": (
        _BASE | {"turns": 2},
        {
            "part": _GROWTH
            | {f"p = 45, d = {d:,}": _size(45, d) for d in (50_000, 200_000, 700_000)}
            | {"sweep": _sweep(8, 120, 150, 4)}
        },
    ),
}


def prepare(fields: dict) -> dict:
    """Return the fields, checked, or raise ValueError."""
    check_known("field of scaling", fields, FIELDS)
    for name in FIELDS:
        check_integer(name, fields[name], int(name in ("workers", "parameters", "turns")))
    if fields["workers"] % 15:
        near = max(15, fields["workers"] // 15 * 15)
        raise ValueError(
            f"workers must be a multiple of 15 = 3 copies x 5 vote groups, got "
            f"{fields['workers']}; use {near}"
        )
    if bool(fields["runs"]) != bool(fields["empty_cells"]):
        raise ValueError(
            "a sweep needs runs >= 1 and empty_cells >= 1, other parts have neither; got "
            f"runs={fields['runs']}, empty_cells={fields['empty_cells']}"
        )
    return fields


def cost(fields: dict) -> tuple[float, float]:
    """Return (seconds, bytes) of a cell, roughly."""
    p, d = fields["workers"], fields["parameters"]
    if fields["runs"]:
        steps = sum(2 / k for k in PROCESSES) * fields["runs"] * fields["steps"]
        return 5 + fields["turns"] * (0.01 * steps + 0.01 * fields["empty_cells"]), 1e9
    values = p * d
    return 1 + (fields["turns"] + 1) * (1e-7 * values + 1e-10 * p * values), 12.0 * values + 1e8


def run(fields: dict) -> xr.Dataset:
    """Measure the server at one size, or a sweep; what is not measured is NaN."""
    seconds = np.full((len(METHODS), len(STAGES), fields["turns"]), np.nan)
    swept = np.full((2, len(PROCESSES), fields["turns"], len(CLOCKS)), np.nan)
    empty = np.full((len(WAYS), fields["turns"], len(CLOCKS)), np.nan)
    if fields["runs"]:
        found = measured(*(fields[name] for name in ("runs", "steps", "empty_cells", "turns")))
        swept = np.array([found["dask"], found["plain"]])
        empty = np.array([found[f"empty_{way}"] for way in ("dask", "plain", "file")])
    else:
        seconds = _servers(fields)
    size = np.nan if fields["runs"] else 1.0
    return xr.Dataset(
        {
            "seconds": (("pipeline", "stage", "turn"), seconds, {"units": "s"}),
            "sweep_seconds": (("side", "processes", "turn", "clock"), swept, {"units": "s"}),
            "empty_seconds": (("way", "turn", "clock"), empty, {"units": "s"}),
            "workers": ((), size * fields["workers"]),
            "parameters": ((), size * fields["parameters"]),
            "runs": ((), float(fields["runs"])),
            "empty_cells": ((), float(fields["empty_cells"])),
        },
        coords={
            "pipeline": np.array(list(METHODS), dtype=object),
            "stage": np.array(STAGES, dtype=object),
            "processes": list(PROCESSES),
            "side": np.array(["Dask", "plain"], dtype=object),
            "way": np.array(WAYS, dtype=object),
            "clock": np.array(CLOCKS, dtype=object),
        },
    )


# --- The server -----------------------------------------------------------------------------------


def _servers(fields: dict) -> np.ndarray:
    """Return the seconds (methods, stages, turns) of the server at one size."""
    p, d, turns = fields["workers"], fields["parameters"], fields["turns"]
    rows = stream(fields["seed"], "scaling", p).standard_normal((p, d), dtype=np.float32)
    groups = np.arange(p).reshape(-1, 3)
    for j in (1, 2):
        rows[groups[:, j]] = rows[groups[:, 0]]
    calls = max(1, 1_000_000 // (p * d))
    seconds = np.full((len(METHODS), len(STAGES), turns), np.nan)
    with use_threads(1):
        able = [name for name in METHODS if _runs(name, rows, groups)]
        for turn in range(turns):
            for name in able:
                seconds[list(METHODS).index(name), :, turn] = _timed(name, rows, groups, calls)
    return seconds


def _runs(method: str, rows: np.ndarray, groups: np.ndarray) -> bool:
    """Compile what a method needs; False where it refuses so few rows."""
    try:
        _timed(method, rows[:, :64].copy(), groups, 1)
    except ValueError:
        return False
    return True


def _timed(method: str, rows: np.ndarray, groups: np.ndarray, calls: int) -> tuple[float, float]:
    """Return the mean seconds of a vote and of the rules after it."""
    detox = METHODS[method]["copies"] > 1
    start = time.perf_counter()
    votes = rows
    for _ in range(calls if detox else 0):
        votes = voting.majority(Messages(rows, groups)).rows
    voted = time.perf_counter()
    for _ in range(calls):
        aggregate(method, votes)
    return (voted - start) / calls, (time.perf_counter() - voted) / calls


def aggregate(method: str, votes: np.ndarray) -> np.ndarray:
    """Return the aggregate (d,) of votes (n, d) by the rules of a method.

    Examples
    --------
    >>> votes = np.arange(15.0)[:, None]
    >>> aggregate("Median", votes).tolist(), aggregate("D-Mean", votes).tolist()
    ([7.0], [7.0])
    """
    fields: dict[str, Any] = METHODS[method]
    inner = fields["inner"] and partial(_rule, fields["inner"], {})
    return voting.hierarchy(
        votes,
        groups=fields["groups"],
        inner=inner,
        outer=partial(_rule, fields["outer"], fields.get("outer_options", {})),
        rng=np.random.default_rng(0),
    )


def _rule(name: str, options: dict, rows: np.ndarray) -> np.ndarray:
    rule: Callable = getattr(aggregators, name)
    return rule(rows, byzantine=min(DISTORTED, theory.withstands(name, len(rows))), **options)


STUDY = Study(
    title="Growth with workers, parameters and processes",
    claim=(
        "The total time of a round, worker and server, is nearly linear in the number of workers "
        "with DETOX, O(T ln q + p d), against O(T + p² d) for Krum-type rules alone (reported; "
        "quoted from memory, section 4.1)."
    ),
    definitions=[
        "(a), (c): the vote and the rules of a server on one thread, real functions on real "
        "copies, float32; all methods take turns, and a time is the median over the turns",
        "each rule assumes min(5, as many as it withstands) Byzantine rows; a method that needs "
        "more rows is left out",
        "(b): the whole round, with the server's constants fitted to (a) and (c), ResNet-18, 32 "
        "images a worker, and workers and network as quoted for the paper's cluster: modelled",
        "fitted exponents: slope of log seconds against log p (or d), over p >= 150 in (a) and "
        "(b), where fixed costs no longer show; 95 % intervals: Student t for the slope through "
        "measured medians, percentiles over a bootstrap of the fitted constants for modelled "
        "rounds",
        "(d): the same training runs as a sweep on the embedded Dask cluster and in plain "
        "processes without Dask, each of which takes an equal part, in turns; the sweep stores "
        "its cells; all processes were started and warmed up before. Efficiency: seconds in plain "
        "processes / seconds of the sweep",
        "overhead of a cell: seconds of a sweep on two processes, driver included, of cells that "
        "return 14 variables and do next to nothing, over their number; processor time: of driver "
        "and processes together, over 2 cores",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    finding=finding,
    scale="server measured, rest of a round modelled",
    version=3,
    exclusive=True,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
