"""What a dataset of `step_time` says: bars, fitted constants, the paper's cluster."""

from typing import Any

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim import costs
from studies.timing.rounds import (
    BARS,
    METHODS,
    MODELS,
    NETWORK,
    NODES,
    PAIRS,
    SERVER,
    bars,
    shape,
    with_constants,
)

STATISTICS = ("max", "mean")
HELD_OUT = ("Bulyan", "D-Bulyan")  # not fitted in any setting
KERNELS = {"code": "the DETOX code's server", "ours": "our kernels"}
PAPER_NODES = 45


def present(dataset: xr.Dataset) -> xr.Dataset:
    """Return the settings that did not fail."""
    return dataset.sel(setting=dataset.setting[dataset.nodes.notnull().values])


def measured_bars(dataset: xr.Dataset) -> xr.DataArray:
    """Return the median seconds (setting, pipeline, server, bar) over turns and steps."""
    return _by_bar(dataset).median(("turn", "step"))


def _by_bar(dataset: xr.Dataset) -> xr.DataArray:
    seconds = {
        bar: dataset.seconds.sel(phase=list(phases)).sum("phase", skipna=False)
        for bar, phases in BARS.items()
    }
    seconds["compute"] = dataset.worker_seconds.sel(statistic="max", drop=True)
    return xr.concat(list(seconds.values()), pd.Index(list(BARS), name="bar"), coords="minimal")


def round_spread(dataset: xr.Dataset) -> xr.DataArray:
    """Return the smallest and largest seconds (..., end) of a round over turns and steps."""
    total = _by_bar(dataset).sum("bar", skipna=False)
    ends = total.min(("turn", "step")), total.max(("turn", "step"))
    return xr.concat(ends, pd.Index(["low", "high"], name="end"), coords="minimal")


def measured_speedups(dataset: xr.Dataset) -> xr.DataArray:
    """Return the speed-up by DETOX over `rule` and `end`: median, low and high over the turns."""
    ratios = speedups(_by_bar(dataset).median("step"))
    ends = ratios.median("turn"), ratios.min("turn"), ratios.max("turn")
    return xr.concat(ends, pd.Index(["median", "low", "high"], name="end"), coords="minimal")


def speedups(values: xr.DataArray) -> xr.DataArray:
    """Return the speed-up that DETOX gives each rule: ratio of the sums of bars, over `rule`."""
    total = values.sum("bar", skipna=False)
    each = {name: total.sel(pipeline=name, drop=True) for name in METHODS}
    ratios = [each[vanilla] / each[detox] for vanilla, detox in PAIRS.items()]
    return xr.concat(ratios, pd.Index(list(PAIRS), name="rule"), coords="minimal")


def measured_rounds(
    dataset: xr.Dataset, server: str
) -> tuple[list[costs.Measured], list[costs.Measured]]:
    """Return the measured settings to fit, and those held out: a size, and a rule at all sizes."""
    kept: tuple[list, list] = [], []
    for setting in present(dataset).setting.values:
        one = dataset.sel(setting=setting, server=server)
        sizes: dict[str, Any] = {"server": server, "sample_flops": float(one.sample_flops)}
        sizes |= {name: int(one[name]) for name in ("parameters", "batch", "machines")}
        for name in METHODS:
            measured = one.sel(pipeline=name)
            seconds = measured.seconds.median(("turn", "step"))
            if seconds.isnull().any():
                continue
            nodes = measured.worker_seconds.median(("turn", "step"))
            phases = {phase: float(seconds.sel(phase=phase)) for phase in costs.PHASES}
            phases["compute"] = float(nodes.sel(statistic="mean"))
            out = bool(one.held_out) or name in HELD_OUT
            kept[out].append(
                costs.Measured(
                    shape(name, int(one.nodes), **sizes), phases, float(nodes.sel(statistic="max"))
                )
            )
    return kept


def fitted(dataset: xr.Dataset, server: str = "central") -> costs.Fitted | None:
    """Return the cluster of this machine as one server sees it; None without measured rounds."""
    rounds, _ = measured_rounds(dataset, server)
    return costs.fit(rounds) if rounds else None


def held_out_errors(dataset: xr.Dataset, server: str = "central") -> dict[str, np.ndarray]:
    """Return modelled / measured - 1 by phase at the settings that were not fitted."""
    found = fitted(dataset, server)
    return (
        costs.relative_errors(found.cluster, measured_rounds(dataset, server)[1]) if found else {}
    )


def paper_cluster(found: costs.Cluster) -> costs.Cluster:
    """Return the quoted nodes and network with a fitted server.

    Examples
    --------
    >>> paper_cluster(costs.Cluster(bandwidth=1.0, pair_seconds=2.0)).bandwidth
    1250000000.0
    """
    quoted = costs.Cluster()
    return costs.Cluster(
        **with_constants(quoted, (*NODES, *NETWORK)),
        **with_constants(found, SERVER),
    )


def paper_bars(dataset: xr.Dataset, model: str, server: str = "central") -> xr.DataArray:
    """Return modelled seconds (kernels, pipeline, bar) for the paper's 45 nodes and one model."""
    found = fitted(dataset)
    values = np.full((len(KERNELS), len(METHODS), len(BARS)), np.nan)
    values[0] = _paper(costs.Cluster(), model, server)
    if found:
        values[1] = _paper(paper_cluster(found.cluster), model, server)
    return xr.DataArray(
        values,
        {"kernels": list(KERNELS), "pipeline": list(METHODS), "bar": list(BARS)},
        ("kernels", "pipeline", "bar"),
    )


def paper_aggregation(dataset: xr.Dataset, model: str, level: float = 0.95) -> np.ndarray:
    """Return the ends (2, pipelines) of our aggregation bar, from the bootstrap of the fit."""
    found = fitted(dataset)
    if not found:
        return np.full((2, len(METHODS)), np.nan)
    column = list(BARS).index("aggregation")
    draws = [_paper(paper_cluster(draw), model, "central")[:, column] for draw in found.draws]
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)


def _paper(cluster: costs.Cluster, model: str, server: str) -> np.ndarray:
    """Return the seconds (pipelines, bars) at the paper's size."""
    work = [shape(name, PAPER_NODES, server=server, **MODELS[model]) for name in METHODS]
    return np.array(
        [list(bars(costs.round_seconds(cluster=cluster, **each)).values()) for each in work]
    )
