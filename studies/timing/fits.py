"""What a dataset of `studies.timing.scaling` says: exponents, fitted constants, efficiency."""

import numpy as np
import pandas as pd
import xarray as xr
from scipy import stats

from detox_sim import costs, theory
from studies.timing.rounds import METHODS, MODELS, shape

LEAST = 150  # nodes from which exponents are fitted: below, fixed costs show
LEVEL = 0.95
NODES = (15, 45, 150, 300, 600, 1200, 2400, 4995)  # of the modelled rounds


def servers(dataset: xr.Dataset) -> xr.Dataset:
    """Return the measured sizes, with `total` (part, pipeline): median seconds of both stages."""
    measured = dataset.sel(part=dataset.part[dataset.nodes.notnull().values])
    return measured.assign(total=measured.seconds.sum("stage", skipna=False).median("turn"))


def along(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Return the sizes in which only `name` ("nodes" or "columns") differs, in its order.

    Nodes grow at the fewest columns, columns at the nodes with the most sizes.
    """
    sizes = servers(dataset)
    other = {"nodes": "columns", "columns": "nodes"}[name]
    values = list(sizes[other].values)
    kept = max(values, key=lambda value: (values.count(value), -value)) if values else np.nan
    sizes = sizes.sel(part=sizes.part[(sizes[other] == kept).values])
    return sizes.sortby(name)


class Exponent(tuple):
    """A fitted exponent with its 95 % Student t interval: (slope, low, high)."""

    def __str__(self) -> str:
        slope, low, high = self
        return f"{slope:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(slope) else "-"


def exponent(x, y, level: float = LEVEL) -> Exponent:
    """Return the slope of log y against log x with its Student t interval.

    Examples
    --------
    >>> str(exponent([1, 2, 4], [3, 12, 48]))
    '2.00 (2.00 to 2.00)'
    """
    x, y = (np.asarray(values, dtype=float) for values in (x, y))
    known = np.isfinite(x) & np.isfinite(y)
    if known.sum() < 3:
        return Exponent((np.nan,) * 3)
    line = stats.linregress(np.log(x[known]), np.log(y[known]))
    half = stats.t.ppf((1 + level) / 2, known.sum() - 2) * line.stderr
    return Exponent(float(value) for value in (line.slope, line.slope - half, line.slope + half))


def measured_rounds(dataset: xr.Dataset) -> tuple[list[costs.Measured], list[costs.Measured]]:
    """Return the measured settings to fit and those held out: every third size."""
    sizes = servers(dataset).sortby(["columns", "nodes"])
    kept: tuple[list, list] = [], []
    for place, part in enumerate(sizes.part.values):
        one = sizes.sel(part=part)
        for method in METHODS:
            seconds = one.seconds.sel(pipeline=method).median("turn")
            if np.isfinite(seconds).all():
                phases = {
                    str(stage): float(seconds.sel(stage=stage)) for stage in sizes.stage.values
                }
                size = {"parameters": int(one.columns), "sample_flops": 0.0}
                kept[place % 3 == 1].append(
                    costs.Measured(shape(method, int(one.nodes), **size), phases)
                )
    return kept


def fitted(dataset: xr.Dataset) -> costs.Fitted:
    """Return the server's constants of our kernels; nodes and network as quoted."""
    return costs.fit(measured_rounds(dataset)[0])


def held_out_errors(dataset: xr.Dataset, found: costs.Fitted) -> dict[str, np.ndarray]:
    """Return modelled / measured - 1 by phase at the sizes that were not fitted."""
    return costs.relative_errors(found.cluster, measured_rounds(dataset)[1])


def modelled(found: costs.Fitted, model: str = "ResNet-18") -> xr.Dataset:
    """Return seconds of a whole round at the paper's size: with our kernels and its code's.

    Returns
    -------
    xarray.Dataset
        `ours` and `code` (pipeline, nodes), and `draws` (pipeline, nodes, draw): ours with each
        bootstrap sample of the constants.
    """
    clusters = [found.cluster, *found.draws, costs.Cluster()]
    work = [[shape(name, p, **MODELS[model]) for p in NODES] for name in METHODS]
    seconds = np.array([
        [[sum(costs.round_seconds(cluster=c, **each).values()) for c in clusters] for each in row]
        for row in work
    ])  # fmt: skip
    dims = ("pipeline", "nodes")
    return xr.Dataset(
        {
            "ours": (dims, seconds[..., 0]),
            "draws": ((*dims, "draw"), seconds[..., 1:-1]),
            "code": (dims, seconds[..., -1]),
        },
        coords={"pipeline": list(METHODS), "nodes": list(NODES)},
    )


def ends(times: xr.Dataset) -> xr.DataArray:
    """Return the ends (..., quantile) of the interval that the constants leave a modelled time."""
    return times.draws.quantile([(1 - LEVEL) / 2, (1 + LEVEL) / 2], "draw")


def modelled_exponent(times: xr.Dataset) -> Exponent:
    """Return the exponent of one pipeline's modelled rounds, with the interval over the draws."""
    slopes = np.polyfit(np.log(times.nodes), np.log(times.draws), 1)[0]
    low, high = np.quantile(slopes, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Exponent((exponent(times.nodes, times.ours)[0], float(low), float(high)))


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
    """Return theory beside fitted exponents, one row a method."""
    theories = {row.method: row for row in theory.complexity()}
    rows, columns = along(dataset, "nodes"), along(dataset, "columns")
    times = modelled(fitted(dataset)).sel(nodes=slice(LEAST, None))
    rows = rows.sel(part=rows.part[(rows.nodes >= LEAST).values])
    table = {}
    for method in METHODS:
        said = theories[_THEORY[method]]
        one = times.sel(pipeline=method)
        table[method] = {
            "server, theory": said.server,
            "server in p": exponent(rows.nodes, rows.total.sel(pipeline=method)),
            "server in d": exponent(columns.columns, columns.total.sel(pipeline=method)),
            "round, theory": said.total,
            "round in p": modelled_exponent(one),
            "round in p, DETOX code": _slope(one.nodes, one.code, method),
        }
    return pd.DataFrame(table).T.rename_axis("method")


def _slope(nodes, seconds, method: str) -> str:
    known = method != "Geometric median"  # of the code's own, which iterates, no time is known
    return f"{exponent(nodes, seconds)[0]:.2f}" if known else "-"


def efficiency(dataset: xr.Dataset) -> pd.DataFrame:
    """Return how well a sweep uses Dask workers, medians over the turns with their range."""
    swept = dataset.sel(part=dataset.part[(dataset.runs > 0).values])
    table = {}
    for processes in swept.processes.values if swept.sizes["part"] else ():
        one, alone = (swept.isel(part=0).sel(processes=k) for k in (processes, 1))
        if one.sweep_seconds.isnull().all():
            continue
        held = processes * one.sweep_seconds
        table[int(processes)] = {
            "seconds": _spread(one.sweep_seconds),
            "efficiency": _spread(alone.sweep_seconds / held),
            "share of the time inside runs": _spread(one.run_seconds / held),
            "a run takes, beside others": _spread(one.run_seconds / alone.run_seconds),
        }
    return pd.DataFrame(table).T.rename_axis("Dask workers")


def _spread(values: xr.DataArray) -> tuple[float, float, float]:
    low, middle, high = (float(values.quantile(share)) for share in (0, 0.5, 1))
    return middle, low, high
