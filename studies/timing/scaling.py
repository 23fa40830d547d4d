"""How the time of a round grows: with nodes, with parameters, and with Dask workers for a sweep."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import aggregators, theory, voting
from detox_sim.catalogue import check_integer, check_known
from detox_sim.cluster import here
from detox_sim.messages import Messages
from detox_sim.primitives import use_threads
from detox_sim.streams import stream
from detox_sim.training import train
from detox_sim.trials.trial import make_trial
from studies import Study
from studies.timing.fits import (
    LEAST,
    along,
    efficiency,
    ends,
    exponent,
    fitted,
    modelled,
    modelled_exponent,
)
from studies.timing.rounds import METHODS, PAIRS

STAGES = ("vote", "aggregate")
PROCESSES = (1, 2)
TARGET = 0.9  # parallel efficiency
FIELDS = ("workers", "parameters", "turns", "seed", "runs", "steps")


def _size(workers: int, parameters: int) -> dict[str, int]:
    return {"workers": workers, "parameters": parameters, "runs": 0, "steps": 0}


def _sweep(runs: int, steps: int) -> dict[str, int]:
    return {"workers": 15, "parameters": 1, "runs": runs, "steps": steps}


_BASE = {"seed": 0}
_GROWTH = {f"p = {p}": _size(p, 10_000) for p in (15, 45, 150, 300, 600, 1200, 2400)}
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        _BASE | {"turns": 2},
        {
            "part": {f"p = {p}": _size(p, 400) for p in (15, 150, 450, 1500)}
            | {f"p = 45, d = {d:,}": _size(45, d) for d in (400, 4000, 40_000)}
            | {"sweep": _sweep(2, 40)}
        },
    ),
    "laptop": (
        _BASE | {"turns": 3},
        {
            "part": _GROWTH
            | {f"p = 45, d = {d:,}": _size(45, d) for d in (50_000, 200_000, 700_000, 2_000_000)}
            | {"sweep": _sweep(12, 125)}
        },
    ),
}


def prepare(fields: dict) -> dict:
    check_known("field of scaling", fields, FIELDS)
    for name in FIELDS:
        check_integer(name, fields[name], 0 if name in ("seed", "runs", "steps") else 1)
    if fields["workers"] % 15:
        near = max(15, fields["workers"] // 15 * 15)
        raise ValueError(
            f"workers must be a multiple of 15 = 3 copies x 5 vote groups, got "
            f"{fields['workers']}; use {near}"
        )
    if fields["runs"] and not fields["steps"]:
        raise ValueError("a sweep of runs needs steps >= 1, got 0")
    return fields


def cost(fields: dict) -> tuple[float, float]:
    p, d = fields["workers"], fields["parameters"]
    if fields["runs"]:
        return 2 + fields["turns"] * fields["runs"] * fields["steps"] * 0.013, 3e8
    values = p * d
    return 1 + (fields["turns"] + 1) * (1e-7 * values + 1e-10 * p * values), 12.0 * values + 1e8


def run(fields: dict) -> xr.Dataset:
    """Measure the server at one size, or a sweep; what is not measured is NaN."""
    seconds = np.full((len(METHODS), len(STAGES), fields["turns"]), np.nan)
    swept = np.full((2, len(PROCESSES), fields["turns"]), np.nan)
    if fields["runs"]:
        swept = _sweeps(fields)
    else:
        seconds = _servers(fields)
    size = np.nan if fields["runs"] else 1.0
    sweep = ("processes", "turn")
    return xr.Dataset(
        {
            "seconds": (("pipeline", "stage", "turn"), seconds, {"units": "s"}),
            "sweep_seconds": (sweep, swept[0], {"units": "s", "long_name": "a whole sweep"}),
            "run_seconds": (
                sweep,
                swept[1],
                {"units": "s", "long_name": "inside its runs, summed"},
            ),
            "nodes": ((), size * fields["workers"]),
            "columns": ((), size * fields["parameters"]),
            "runs": ((), float(fields["runs"])),
        },
        coords={
            "pipeline": np.array(list(METHODS), dtype=object),
            "stage": np.array(STAGES, dtype=object),
            "processes": list(PROCESSES),
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
    return rule(rows, byzantine=min(5, theory.withstands(name, len(rows))), **options)


# --- The sweep ------------------------------------------------------------------------------------


def one_run(steps: int, seed: int) -> float:
    """Train one model on one worker; return the seconds it took there."""
    start = time.perf_counter()
    train(make_trial({"steps": steps, "seed": seed, "model_options": {"hidden": 512}}))
    return time.perf_counter() - start


def _sweeps(fields: dict) -> np.ndarray:
    """Return the seconds (of the sweep and inside its runs, processes, turns), in turns."""
    found = np.full((2, len(PROCESSES), fields["turns"]), np.nan)
    with here() as client:
        workers = sorted(client.scheduler_info(-1)["workers"])
        _on(client, workers, len(workers), 2)  # imports and compiles; not counted
        for turn in range(fields["turns"]):
            for place, processes in enumerate(PROCESSES):
                if processes <= len(workers):
                    used = workers[:processes]
                    found[:, place, turn] = _on(client, used, fields["runs"], fields["steps"])
    return found


def _on(client, workers: list[str], runs: int, steps: int) -> tuple[float, float]:
    """Run a sweep on some workers; return its seconds, and those inside its runs."""
    start = time.perf_counter()
    futures = [
        client.submit(one_run, steps, seed, workers=workers, allow_other_workers=False, pure=False)
        for seed in range(runs)
    ]
    inside = client.gather(futures)
    return time.perf_counter() - start, sum(inside)


# --- The figure -----------------------------------------------------------------------------------

_COLOURS = dict(zip(PAIRS, sns.color_palette("colorblind"), strict=False))
_MARKERS = dict(zip(PAIRS, "osD^v", strict=True))


def look(method: str) -> dict:
    """Return how a method is drawn: colour and marker of its rule, dashed without DETOX.

    Examples
    --------
    >>> look("D-Median")["marker"] == look("Median")["marker"], look("Median")["ls"]
    (True, '--')
    """
    rule = next(
        name for pair in PAIRS.items() for name in PAIRS if name == pair[0] and method in pair
    )
    detox = method.startswith("D-")
    return {
        "color": _COLOURS[rule],
        "marker": _MARKERS[rule],
        "ls": "-" if detox else "--",
        "mfc": _COLOURS[rule] if detox else "white",
        "ms": 4.5,
        "lw": 1.3,
    }


def figure(dataset: xr.Dataset) -> Figure:
    """Draw growth with nodes (measured server, modelled round), with parameters, and a sweep."""
    result = Figure(figsize=(10.8, 8.0))
    axes = result.subplot_mosaic([["server", "round"], ["columns", "sweep"]])
    rows, columns = along(dataset, "nodes"), along(dataset, "columns")
    _lines(axes["server"], rows.nodes, rows.total, "nodes p", LEAST)
    d = f"{float(rows.columns[0]):,.0f}" if rows.sizes["part"] else "-"
    axes["server"].set(title=f"(a) server, measured, d = {d}", ylabel="seconds")
    _lines(axes["columns"], columns.columns, columns.total, "parameters d", 0)
    p = f"{float(columns.nodes[0]):.0f}" if columns.sizes["part"] else "-"
    axes["columns"].set(title=f"(c) server, measured, p = {p}", ylabel="seconds")
    if rows.sizes["part"]:
        _rounds(axes["round"], modelled(fitted(dataset)))
    _workers(axes["sweep"], efficiency(dataset))
    return result


def _lines(ax, x: xr.DataArray, seconds: xr.DataArray, label: str, least: float) -> None:
    for method in METHODS:
        y = seconds.sel(pipeline=method).values
        slope = exponent(x.values[x.values >= least], y[x.values >= least])[0]
        known = f" ({slope:.2f})" if np.isfinite(slope) else ""
        ax.plot(x, y, label=method + known, **look(method))
    ax.set(xlabel=label)
    if np.isfinite(seconds).any():
        ax.set(xscale="log", yscale="log")
    _beside(ax)


def _beside(ax) -> None:
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5,
              title="(fitted exponent)", title_fontsize=7.5)  # fmt: skip


def _rounds(ax, times: xr.Dataset) -> None:
    low, high = ends(times).transpose("quantile", ...)
    for method in METHODS:
        one = times.sel(pipeline=method)
        slope = modelled_exponent(one.sel(nodes=slice(LEAST, None)))[0]
        ax.plot(one.nodes, one.ours, label=f"{method} ({slope:.2f})", **look(method))
        band = low.sel(pipeline=method), high.sel(pipeline=method)
        ax.fill_between(one.nodes, *band, color=look(method)["color"], alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log", xlabel="nodes p", ylabel="modelled seconds a round")
    ax.set_title("(b) round of ResNet-18, our kernels; 95 % bands")
    _beside(ax)


def _workers(ax, table: pd.DataFrame) -> None:
    names = ("efficiency", "share of the time inside runs")
    for offset, (name, colour) in zip((-0.17, 0.17), zip(names, sns.color_palette("colorblind"),
                                      strict=False), strict=True):  # fmt: skip
        if not len(table):
            continue
        middle, low, high = np.array(table[name].tolist()).T
        x = np.arange(len(table)) + offset
        ax.bar(x, middle, 0.3, color=colour, label=name)
        ax.vlines(x, low, high, color="0.2", lw=1.5)
    ax.axhline(TARGET, color="0.3", ls=":", lw=1.2, label=f"{TARGET:.0%}")
    ax.set_xticks(range(len(table)), [str(count) for count in table.index])
    ax.set(xlabel="Dask workers", ylabel="share", ylim=(0, 1.1), title="(d) a sweep on Dask")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)


STUDY = Study(
    title="Growth with nodes, parameters and Dask workers",
    claim=(
        "The total time of a round, node and server, is nearly linear in the number of nodes "
        "with DETOX, O(T ln q + p d), against O(T + p² d) for Krum-type rules alone (reported; "
        "quoted from memory, section 4.1)."
    ),
    definitions=[
        "(a), (c): the vote and the rules of a server on one thread, real functions on real "
        "copies, float32; all methods take turns, and a time is the median over the turns",
        "each rule is told min(5, as many as it withstands) bad rows; a method that cannot run "
        "on so few rows is left out",
        "(b): the whole round, with the server's constants fitted to (a) and (c), ResNet-18, 32 "
        "images a worker, and nodes and network as quoted for the paper's cluster: modelled",
        "fitted exponents: slope of log seconds against log p (or d), over p >= 150 in (a) and "
        "(b), where fixed costs no longer show; 95 % intervals: Student t for the slope through"
        " measured medians, percentiles over a bootstrap of the fitted constants for modelled "
        "rounds",
        "(d): the same training runs on one Dask worker and on several, in turns; "
        "efficiency: time on one / (workers x time on so many)",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    scale="server measured, rest of a round modelled",
    version=2,
    exclusive=True,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
