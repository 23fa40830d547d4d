"""What a dataset of `scaling` says: exponents, fitted constants, efficiency; and its figure."""

from dataclasses import fields
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from detox_sim import costs, theory
from studies.timing.fits import LEVEL, Exponent, exponent
from studies.timing.rounds import METHODS, MODELS, PAIRS, Rounds, shape

LEAST = 150  # workers from which exponents are fitted: below, fixed costs show
WORKERS = (15, 45, 150, 300, 600, 1200, 2400, 4995)  # of the modelled rounds
DISTORTED = 5  # rows that each rule withstands, or as many as it can
TARGET = 0.9  # of the speed of plain processes, for a sweep on Dask
CELL_TARGET = 0.005  # seconds a nearly empty cell may take of a sweep on two processes


def servers(dataset: xr.Dataset) -> xr.Dataset:
    """Return the measured sizes, with `total` (part, pipeline): median seconds of both stages."""
    measured = dataset.sel(part=dataset.part[dataset.workers.notnull().values])
    return measured.assign(total=measured.seconds.sum("stage", skipna=False).median("turn"))


def along(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Return the sizes in which only `name` ("workers" or "parameters") differs, in its order.

    Workers grow at the fewest parameters, parameters at the workers with the most sizes.
    """
    sizes = servers(dataset)
    other = {"workers": "parameters", "parameters": "workers"}[name]
    values = list(sizes[other].values)
    kept = max(values, key=lambda value: (values.count(value), -value)) if values else np.nan
    sizes = sizes.sel(part=sizes.part[(sizes[other] == kept).values])
    return sizes.sortby(name)


def measured_rounds(dataset: xr.Dataset) -> Rounds:
    """Return the measured sizes; every third is held out."""
    sizes = servers(dataset).sortby(["parameters", "workers"])
    medians = sizes.seconds.sel(pipeline=list(METHODS)).median("turn")
    medians = medians.transpose("part", "pipeline", "stage").values
    stages = [str(stage) for stage in sizes.stage.values]
    kept = Rounds([], [])
    each = zip(sizes.workers.values, sizes.parameters.values, medians, strict=True)
    for number, (workers, parameters, rows) in enumerate(each):
        for method, seconds in zip(METHODS, rows.tolist(), strict=True):
            if np.isfinite(seconds).all():
                size: dict[str, Any] = {"parameters": int(parameters), "sample_flops": 0.0}
                size["distorted"] = DISTORTED
                phases = dict(zip(stages, seconds, strict=True))
                kept[number % 3 == 1].append(
                    costs.Measured(shape(method, int(workers), **size), phases)
                )
    return kept


def fitted(dataset: xr.Dataset) -> costs.Fitted:
    """Return the server's constants of our kernels; workers and network as quoted."""
    return costs.fit(measured_rounds(dataset).fitted)


def modelled(found: costs.Fitted, model: str = "ResNet-18") -> xr.Dataset:
    """Return seconds of a whole round at the paper's size: with our kernels and its code's.

    Returns
    -------
    xarray.Dataset
        `ours` and `code` (pipeline, workers), and `draws` (pipeline, workers, draw): ours with
        each bootstrap sample of the constants.
    """
    clusters = [found.cluster, *found.draws, costs.Cluster()]
    names = [field.name for field in fields(costs.Cluster)]
    arrays: dict[str, Any] = {
        name: np.array([getattr(c, name) for c in clusters]) for name in names
    }
    together = costs.Cluster(**arrays)
    work = [[shape(name, p, **MODELS[model]) for p in WORKERS] for name in METHODS]
    seconds = np.array([
        [sum(costs.round_seconds(cluster=together, **each).values()) for each in row]
        for row in work
    ])  # fmt: skip
    dims = ("pipeline", "workers")
    return xr.Dataset(
        {
            "ours": (dims, seconds[..., 0]),
            "draws": ((*dims, "draw"), seconds[..., 1:-1]),
            "code": (dims, seconds[..., -1]),
        },
        coords={"pipeline": list(METHODS), "workers": list(WORKERS)},
    )


def ends(times: xr.Dataset) -> xr.DataArray:
    """Return the interval (..., quantile) of a modelled time over the fitted constants."""
    return times.draws.quantile([(1 - LEVEL) / 2, (1 + LEVEL) / 2], "draw")


def modelled_exponent(times: xr.Dataset) -> Exponent:
    """Return the exponent of one pipeline's modelled rounds, with the interval over the draws."""
    slopes = np.polyfit(np.log(times.workers), np.log(times.draws), 1)[0]
    low, high = np.quantile(slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Exponent((exponent(times.workers, times.ours)[0], float(low), float(high)))


_THEORY = {
    "Mean": "mean",
    "Median": "median",
    "Geometric median": "geometric_median",
    "Multi-Krum": "krum, multi_krum, bulyan",
    "Bulyan": "krum, multi_krum, bulyan",
    "D-Mean": "DETOX: vote, mean",
    "D-Median": "DETOX: vote, mean in k groups, any of them",
    "D-Geometric median": "DETOX: vote, mean in k groups, any of them",
    "D-Multi-Krum": "DETOX: vote, multi_krum in k groups, mean",
    "D-Bulyan": "DETOX: vote, krum or bulyan on all votes",
}


def orders(dataset: xr.Dataset) -> pd.DataFrame:
    """Return theory beside fitted exponents, one row a method; none where nothing was measured."""
    if not measured_rounds(dataset).fitted:
        return pd.DataFrame()
    theories = {row.method: row for row in theory.complexity()}
    by_workers, by_size = along(dataset, "workers"), along(dataset, "parameters")
    times = modelled(fitted(dataset)).sel(workers=slice(LEAST, None))
    by_workers = by_workers.sel(part=by_workers.part[(by_workers.workers >= LEAST).values])
    table = {}
    for method in METHODS:
        theory_of = theories[_THEORY[method]]
        one = times.sel(pipeline=method)
        table[method] = {
            "server, theory": theory_of.server,
            "server in p": exponent(by_workers.workers, by_workers.total.sel(pipeline=method)),
            "server in d": exponent(by_size.parameters, by_size.total.sel(pipeline=method)),
            "round, theory": theory_of.total,
            "round in p": modelled_exponent(one),
            "round in p, DETOX code": _slope(one.workers, one.code, method),
        }
    return pd.DataFrame(table).T.rename_axis("method")


def _slope(workers, seconds, method: str) -> str:
    known = method != "Geometric median"  # the code's own iterates: its time is not known
    return f"{exponent(workers, seconds)[0]:.2f}" if known else "-"


def efficiency(dataset: xr.Dataset) -> pd.DataFrame:
    """Return a sweep on Dask beside plain processes, medians over the turns with their range.

    Returns
    -------
    pandas.DataFrame
        One row for each number of processes; none where no sweep was measured.
    """
    swept = _of_sweeps(dataset)
    table = {}
    for processes in swept.processes.values if swept.sizes["part"] else ():
        one = swept.isel(part=0).sweep_seconds.sel(processes=processes)
        dask, plain = one.sel(side="Dask"), one.sel(side="plain")
        seconds, alone = dask.sel(clock="clock"), plain.sel(clock="clock")
        if seconds.isnull().all():
            continue
        table[int(processes)] = {
            "seconds on Dask": _spread(seconds),
            "seconds in plain processes": _spread(alone),
            "efficiency": _spread(alone / seconds),
            "efficiency, processor time": _spread(
                plain.sel(clock="processor") / dask.sel(clock="processor")
            ),
            "share of the time inside cells": _spread(
                dask.sel(clock="inside") / (int(processes) * seconds)
            ),
        }
    return pd.DataFrame(table).T.rename_axis("processes")


def overhead(dataset: xr.Dataset) -> pd.DataFrame:
    """Return milliseconds of a nearly empty cell, medians over the turns with their range.

    Returns
    -------
    pandas.DataFrame
        Rows: a sweep on two Dask processes; two plain processes, and these with a netCDF-4 file
        for each cell, written without xarray; none where it was not measured.
    """
    swept = _of_sweeps(dataset)
    if not swept.sizes["part"] or swept.empty_seconds.isnull().all():
        return pd.DataFrame()
    one = swept.isel(part=0)
    each = 1000 * one.empty_seconds / one.empty_cells
    table = {
        str(way): {
            "cells": f"{float(one.empty_cells):.0f}",
            "ms a cell": _spread(each.sel(way=way, clock="clock")),
            "processor ms a cell, over 2 cores": _spread(each.sel(way=way, clock="processor") / 2),
        }
        for way in each.way.values
    }
    return pd.DataFrame(table).T.rename_axis("two processes")


def _of_sweeps(dataset: xr.Dataset) -> xr.Dataset:
    return dataset.sel(part=dataset.part[(dataset.runs > 0).values])


def _spread(values: xr.DataArray) -> tuple[float, float, float]:
    low, middle, high = (float(values.quantile(share)) for share in (0, 0.5, 1))
    return middle, low, high


FIXED = ("D-Mean", "D-Median", "D-Geometric median")  # the mean in a fixed number of vote groups
GROWING = ("Multi-Krum", "Bulyan", "D-Multi-Krum", "D-Bulyan")  # pairs of rows, as many as p
NEARLY = 1.15  # largest exponent of a round that is called nearly linear


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown."""
    found, swept, lines = orders(dataset), efficiency(dataset), []
    if len(found):
        rounds = found["round in p"]
        most = max(rounds[name][0] for name in FIXED)
        word = "within" if most <= NEARLY else "above"
        lines.append(
            "**With DETOX and the mean in a fixed number of vote groups** the time of a round of "
            f"ResNet-18, modelled, grows like p to the power of {most:.2f} at most, {word} the "
            f"target of {NEARLY}. Exponents (95 % intervals): {_named(rounds, FIXED)}."
        )
        lines.append(f"**With Multi-Krum or Bulyan**: {_named(rounds, GROWING)}.")
        server = found["server in p"]
        lines.append(f"**The server alone**, measured: {_named(server, (*FIXED, *GROWING))}.")
    else:
        lines.append("Growth with workers was not measured.")
    for processes, row in swept.iloc[1:].iterrows():
        middle, low, high = row["efficiency"]
        word = "reaches" if middle >= TARGET else "misses"
        lines.append(
            f"**A sweep on {processes} processes** has {middle:.1%} of the speed of {processes} "
            f"plain processes that run the same cells without Dask (median; range over turns "
            f"{low:.1%} to {high:.1%}; by processor time "
            f"{row['efficiency, processor time'][0]:.1%}) and {word} the target of {TARGET:.0%}."
        )
    if len(swept) < 2:
        lines.append("The efficiency of several processes was not measured.")
    if len(empty := overhead(dataset)):
        middle, low, high = empty.loc["Dask", "ms a cell"]
        word = "within" if middle <= 1000 * CELL_TARGET else "above"
        lines.append(
            f"**A nearly empty cell** takes {middle:.1f} ms of a sweep on two processes (median "
            f"of {empty.loc['Dask', 'cells']} cells; range over turns {low:.1f} to {high:.1f} ms; "
            f"{empty.loc['Dask', 'processor ms a cell, over 2 cores'][0]:.1f} ms by processor "
            f"time over 2 cores), {word} the target of {1000 * CELL_TARGET:.0f} ms. In two plain "
            "processes that write a bare netCDF-4 file it takes "
            f"{empty.iloc[-1]['ms a cell'][0]:.1f} ms."
        )
    else:
        lines.append("The overhead of a cell was not measured.")
    return "\n".join(f"* {line}" for line in lines)


def _named(column: pd.Series, names: tuple[str, ...]) -> str:
    """Return the exponents that were fitted, by name."""
    fitted = [f"{name} {column[name]}" for name in names if np.isfinite(column[name][0])]
    return ", ".join(fitted) or "too few sizes for a fit"


# --- The figure ---------------------------------------------------------------------------------

_COLOURS = dict(zip(PAIRS, sns.color_palette("colorblind"), strict=False))
_MARKERS = dict(zip(PAIRS, "osD^v", strict=True))


def look(method: str) -> dict:
    """Return the style of a pipeline's line: colour and marker of its rule, dashed without DETOX.

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
    """Draw growth with workers (measured server, modelled round), with parameters, and a sweep."""
    result = Figure(figsize=(10.8, 8.0))
    axes = result.subplot_mosaic([["server", "round"], ["parameters", "sweep"]])
    by_workers, by_size = along(dataset, "workers"), along(dataset, "parameters")
    _lines(axes["server"], by_workers.workers, by_workers.total, "workers p", LEAST)
    d = f"{float(by_workers.parameters[0]):,.0f}" if by_workers.sizes["part"] else "-"
    axes["server"].set(title=f"(a) server, measured, d = {d}", ylabel="seconds")
    _lines(axes["parameters"], by_size.parameters, by_size.total, "parameters d", 0)
    p = f"{float(by_size.workers[0]):.0f}" if by_size.sizes["part"] else "-"
    axes["parameters"].set(title=f"(c) server, measured, p = {p}", ylabel="seconds")
    if by_workers.sizes["part"]:
        _rounds(axes["round"], modelled(fitted(dataset)))
    _processes(axes["sweep"], efficiency(dataset))
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
        slope = modelled_exponent(one.sel(workers=slice(LEAST, None)))[0]
        ax.plot(one.workers, one.ours, label=f"{method} ({slope:.2f})", **look(method))
        band = low.sel(pipeline=method), high.sel(pipeline=method)
        ax.fill_between(one.workers, *band, color=look(method)["color"], alpha=0.2, lw=0)
    ax.set(xscale="log", yscale="log", xlabel="workers p", ylabel="modelled seconds a round")
    ax.set_title("(b) round of ResNet-18, our kernels; 95 % bands")
    _beside(ax)


def _processes(ax, table: pd.DataFrame) -> None:
    names = ("efficiency", "efficiency, processor time")
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
    ax.set(xlabel="processes", ylabel="plain / Dask", ylim=(0, 1.2))
    ax.set_title("(d) a sweep on Dask beside plain processes")
    ax.grid(axis="x", visible=False)
    ax.legend(loc="center left", bbox_to_anchor=(1.01, 0.5), fontsize=7.5)
