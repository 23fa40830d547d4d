"""What a dataset of `step_time` says: bars, speed-ups, constants; and its figure."""

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from detox_sim import costs
from studies.timing import speed_ups
from studies.timing.rounds import (
    BARS,
    METHODS,
    MODELS,
    PAIRS,
    SERVER,
    Rounds,
    bars,
    shape,
)
from studies.timing.speed_ups import KERNELS, draw_map, speed_up_map

STATISTICS = ("max", "mean")
HELD_OUT = ("Bulyan", "D-Bulyan")  # not fitted in any setting
PAPER_WORKERS = 45


def present(dataset: xr.Dataset) -> xr.Dataset:
    """Return the settings that did not fail."""
    return dataset.sel(setting=dataset.setting[dataset.workers.notnull().values])


def largest(dataset: xr.Dataset, server: str) -> str:
    """Return the setting with the most workers of those measured with a server."""
    some = dataset.seconds.sel(server=server).notnull()
    some = some.any([dim for dim in some.dims if dim != "setting"]).values
    return str(dataset.setting.values[int(np.where(some, dataset.workers.values, -1).argmax())])


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


def measured_rounds(dataset: xr.Dataset, server: str) -> Rounds:
    """Return the measured settings; a size, and a rule at all sizes, are held out."""
    kept = Rounds([], [])
    for setting in present(dataset).setting.values:
        one = dataset.sel(setting=setting, server=server)
        sizes: dict[str, Any] = {"server": server, "sample_flops": float(one.sample_flops)}
        sizes |= {"parameters": int(one.parameters), "batch": int(one.batch)}
        sizes["machines"] = int(one.processes)
        of_phases = one.seconds.sel(pipeline=list(METHODS), phase=list(costs.PHASES))
        of_workers = one.worker_seconds.sel(pipeline=list(METHODS), statistic=["mean", "max"])
        medians = (
            values.median(("turn", "step")).transpose("pipeline", ...).values.tolist()
            for values in (of_phases, of_workers)
        )
        for name, seconds, (mean, slowest) in zip(METHODS, *medians, strict=True):
            if not np.isnan(seconds).any():
                phases = dict(zip(costs.PHASES, seconds, strict=True)) | {"compute": mean}
                out = bool(one.held_out) or name in HELD_OUT
                kept[out].append(
                    costs.Measured(shape(name, int(one.workers), **sizes), phases, slowest)
                )
    return kept


def fitted(dataset: xr.Dataset, server: str = "central") -> costs.Fitted | None:
    """Return the cluster of this machine as one server sees it; None without measured rounds."""
    return measured_rounds(dataset, server).fit()


def paper_cluster(found: costs.Cluster) -> costs.Cluster:
    """Return the quoted workers and network with a fitted server.

    Examples
    --------
    >>> paper_cluster(costs.Cluster(bandwidth=1.0, pair_seconds=2.0)).bandwidth
    1250000000.0
    """
    return replace(costs.Cluster(), **{name: getattr(found, name) for name in SERVER})


def paper_bars(dataset: xr.Dataset, model: str, server: str = "central") -> xr.DataArray:
    """Return modelled seconds (kernels, pipeline, bar) for the paper's 45 workers and a model."""
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
    work = [shape(name, PAPER_WORKERS, server=server, **MODELS[model]) for name in METHODS]
    return np.array(
        [list(bars(costs.round_seconds(cluster=cluster, **each)).values()) for each in work]
    )


# --- The figure -----------------------------------------------------------------------------------

_COLOURS = dict(zip(BARS, sns.color_palette("colorblind"), strict=False))


def finding(dataset: xr.Dataset) -> str:
    """Return what the model of time says of DETOX's rounds, as Markdown; it needs no dataset."""
    doubtful = speed_ups.doubtful()
    each, least = {}, {}
    for code in speed_ups.CODES:
        each[code] = ", ".join(
            f"{low:.1f} to {high:.1f} for {rule}"
            for rule in speed_ups.RULES
            for low, high in [np.quantile(doubtful.sel(code=code, rule=rule), [0, 1])]
        )
        least[code] = " and ".join(
            f"{speed_ups.least_images(code, rule):.0f} ({rule})" for rule in speed_ups.RULES
        )
    return (
        "**DETOX shortens a round only where the server is slow.** With the research code's "
        f"server the modelled speed-up is {each['code']}, by what is not known of the paper's "
        f"workers and network; with the kernels of this package it is {each['ours']}. These ratios "
        "restate the constants of the model, which the table of constants gives; they are not "
        "measured. A round with DETOX is the shorter one from this many images of ResNet-18 a "
        f"second and worker: {least['code']} with the research code's server, {least['ours']} with "
        "our kernels. The network does not decide it: both rounds send the same messages."
    )


def figure(dataset: xr.Dataset) -> Figure:
    """Draw stacked bars, measured and modelled, and maps of the modelled speed-up."""
    result = Figure(figsize=(11.0, 11.0))
    named = result.subplot_mosaic("aabb;ccdd;efgh")
    axes = [named[name] for name in "ab"], [named[name] for name in "cd"]
    draw_map([named[name] for name in "efgh"], speed_up_map())
    bars_of, gains_of = measured_bars(dataset), measured_speedups(dataset).sel(end="median")
    for ax, server in zip(axes[0], map(str, dataset.server.values), strict=True):
        at = {"setting": largest(dataset, server), "server": server}
        workers, parameters = (
            float(dataset[name].sel(setting=at["setting"])) for name in ("workers", "parameters")
        )
        title = f"measured, {server} server: {workers:.0f} workers, d = {parameters:,.0f}"
        _stack(ax, bars_of.sel(at), gains_of.sel(at), title)
    for ax, kernels in zip(axes[1], KERNELS, strict=True):
        modelled = paper_bars(dataset, "ResNet-18").sel(kernels=kernels)
        title = f"modelled, 46 machines, ResNet-18: {KERNELS[kernels]}"
        _stack(ax, modelled, speedups(modelled), title)
    handles = [Patch(color=colour, label=name) for name, colour in _COLOURS.items()]
    result.legend(handles=handles, loc="outside upper center", ncols=3)
    return result


def _stack(ax, values: xr.DataArray, gains: xr.DataArray, title: str) -> None:
    """Draw one stack a pipeline, pairs side by side, with the speed-up above each pair."""
    names, places = [], []
    for i, pair in enumerate(PAIRS.items()):
        tops = []
        for name, shift in zip(pair, (-0.21, 0.21), strict=True):
            heights, bottom = values.sel(pipeline=name), 0.0
            for bar, colour in _COLOURS.items():
                height = float(heights.sel(bar=bar))
                ax.bar(i + shift, height, 0.38, bottom=bottom, color=colour, lw=0)
                bottom += height
            tops.append(bottom)
            names.append(name.replace("Geometric", "Geom.").replace("Multi-Krum", "M-Krum"))
            places.append(i + shift)
        if np.isfinite(tops).all():
            text = f"{float(gains[i]):.2f}x"
            ax.annotate(text, (i, max(tops)), (0, 3), textcoords="offset points", ha="center",
                        fontsize=8)  # fmt: skip
    ax.set_xticks(places, names, rotation=45, ha="right", fontsize=7.5)
    ax.set(ylabel="seconds a round", title=title)
    ax.margins(y=0.1)
    ax.grid(axis="x", visible=False)
    ax.tick_params(axis="x", length=0)
