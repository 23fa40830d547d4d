"""The modelled speed-up of a round by DETOX, by the speed of workers, network and server code."""

from dataclasses import replace
from typing import Any

import numpy as np
import xarray as xr
from matplotlib.colors import LogNorm

from detox_sim import costs
from studies.timing.rounds import METHODS, MODELS, PAIRS, shape

CODES = {"code": costs.Cluster(), "ours": costs.KERNELS}
KERNELS = {"code": "the DETOX code's server", "ours": "our kernels"}
RULES = ("Median", "Multi-Krum")  # of the panels
IMAGES = np.geomspace(10, 1000, 61)  # of ResNet-18 a second and worker
GIGABITS = np.geomspace(0.5, 50, 61)  # a second, into and out of the server
WORKERS = 45
CORES = 4  # of an m5.2xlarge (8 virtual ones); the code sorts Bulyan's rows on threads


def round_seconds(pipeline: str, cluster: costs.Cluster) -> Any:
    """Return the modelled seconds of a round at the paper's size, ResNet-18 and 45 workers.

    Where rates of the cluster are arrays, so is the result.

    Examples
    --------
    >>> round(round_seconds("D-Bulyan", costs.Cluster()), 2)
    6.45
    """
    work = shape(pipeline, WORKERS, **MODELS["ResNet-18"])
    return sum(costs.round_seconds(cluster=cluster, **work).values())


def speed_up(rule: str, cluster: costs.Cluster) -> Any:
    """Return the time of a round of a rule alone over that with DETOX; above 1 DETOX pays.

    Examples
    --------
    >>> round(speed_up("Median", costs.Cluster()), 2)
    4.62
    """
    return round_seconds(rule, cluster) / round_seconds(PAIRS[rule], cluster)


def doubtful() -> xr.DataArray:
    """Return the speed-ups (code, doubt, rule) at the doubts on workers and network.

    Examples
    --------
    >>> found = doubtful().sel(code="code", rule="Multi-Krum")
    >>> found.sel(doubt=["as quoted", "2.5 Gbit/s"]).round(1).values.tolist()
    [3.6, 2.0]
    """
    values = [
        [
            [speed_up(rule, replace(code, **changed)) for rule in PAIRS]
            for changed in costs.DOUBTS.values()
        ]
        for code in CODES.values()
    ]
    labels = {"code": list(CODES), "doubt": list(costs.DOUBTS), "rule": list(PAIRS)}
    return xr.DataArray(values, labels, list(labels))


def least_images(code: str, rule: str) -> float:
    """Return the images of ResNet-18 a second and worker from which DETOX pays.

    DETOX takes longer by its compute and shorter by the server; both send the same messages.

    Examples
    --------
    >>> bool(65 < least_images("ours", "Multi-Krum") < 130)
    True
    """
    idle = replace(CODES[code], worker_flops=np.inf)
    server = round_seconds(rule, idle) - round_seconds(PAIRS[rule], idle)
    one = replace(CODES[code], worker_flops=MODELS["ResNet-18"]["sample_flops"])
    compute = round_seconds(PAIRS[rule], one) - round_seconds(rule, one) + server
    return compute / server


def speed_up_map() -> xr.DataArray:
    """Return the speed-ups (code, rule, images, gigabits) over worker speed and bandwidth.

    `images` are those of ResNet-18 a second and worker, `gigabits` are sustained a second.
    """
    flops: Any = IMAGES[:, None] * MODELS["ResNet-18"]["sample_flops"]
    rates = {"worker_flops": flops, "bandwidth": GIGABITS * 1e9 / 8}
    values = [[speed_up(rule, replace(code, **rates)) for rule in RULES] for code in CODES.values()]
    labels = {"code": list(CODES), "rule": list(RULES), "images": IMAGES, "gigabits": GIGABITS}
    return xr.DataArray(values, labels, list(labels))


def saved_by_threads(pipeline: str) -> float:
    """Return the share of a modelled round that Bulyan's sorting on `CORES` cores saves.

    It is 0 for a pipeline without Bulyan.

    Examples
    --------
    >>> round(6.45 * (1 - saved_by_threads("D-Bulyan")), 2), saved_by_threads("D-Median")
    (4.63, 0.0)
    """
    if METHODS.get(pipeline, {}).get("outer") != "bulyan":
        return 0.0
    one = costs.Cluster()
    several = replace(one, sort_seconds=one.sort_seconds / CORES)
    return 1 - round_seconds(pipeline, several) / round_seconds(pipeline, one)


# --- The map --------------------------------------------------------------------------------------

LEVELS = (0.5, 0.75, 1, 1.5, 2, 3, 4, 6)


def draw_map(axes, values: xr.DataArray) -> None:
    """Draw a panel for each server code and rule: contours of the speed-up, 1 in bold.

    Parameters
    ----------
    axes : sequence of matplotlib axes
    values : xarray.DataArray
        Of `speed_up_map`.
    """
    panels = [(code, rule) for code in CODES for rule in RULES]
    for ax, (code, rule) in zip(axes, panels, strict=True):
        ax.set(xscale="log", yscale="log", title=f"modelled, {rule}:\n{KERNELS[code]}")
        ax.set(xlabel="Gbit/s, sustained")
        ax.grid(visible=False)
        _contours(ax, values.sel(code=code, rule=rule))
        for doubt, changed in costs.DOUBTS.items():
            cluster = replace(CODES[code], **changed)
            images = cluster.worker_flops / MODELS["ResNet-18"]["sample_flops"]
            marker = "s" if changed else "o"
            ax.plot(cluster.bandwidth * 8e-9, images, marker, ms=5, mfc="white", mec="k",
                    label=doubt)  # fmt: skip
    axes[0].set_ylabel("images a second and worker")


def _contours(ax, values: xr.DataArray) -> None:
    """Draw one map, and say on which side of 1 its right corners are."""
    x, y = values.gigabits, values.images
    limits = LogNorm(1 / 12, 12)
    ax.pcolormesh(x, y, values, cmap="RdBu", norm=limits, shading="gouraud", rasterized=True)
    widths = [2.2 if level == 1 else 0.7 for level in LEVELS]
    lines = ax.contour(x, y, values, LEVELS, colors="0.25", linewidths=widths)
    ax.clabel(lines, fmt=lambda level: f"{level:g}x", fontsize=7, inline_spacing=2)
    for place, height, align in ((-1, 0.97, "top"), (0, 0.03, "bottom")):
        word = "DETOX pays" if values[place, -1] > 1 else "DETOX is slower"
        ax.text(0.97, height, word, transform=ax.transAxes, ha="right", va=align, fontsize=8,
                bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
