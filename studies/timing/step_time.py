"""Where the time of a round goes, with and without DETOX: measured on Dask, modelled for EC2."""

from functools import partial

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from detox_sim import models
from detox_sim.catalogue import check_integer, check_known
from detox_sim.cluster import here
from detox_sim.training import PHASES, SERVERS, train
from detox_sim.trials.trial import Trial, make_trial
from studies import Study
from studies.timing.measured_rounds import (
    KERNELS,
    STATISTICS,
    measured_bars,
    measured_speedups,
    paper_bars,
    speedups,
)
from studies.timing.rounds import BARS, METHODS, PAIRS

ATTACK = "alie"
SETTLED = ("loss", "gradient_error", "distorted_files", "accuracy")  # compared with one process
FIELDS = (
    "workers", "byzantine", "batch", "hidden", "steps", "turns", "pipelines", "held_out", "seed",
)  # fmt: skip


def _setting(workers: int, byzantine: int, batch: int, hidden: int, pipelines) -> dict:
    sizes = {"workers": workers, "byzantine": byzantine, "batch": batch, "hidden": hidden}
    return sizes | {"pipelines": list(pipelines), "held_out": 0}


_SMALL = ("Mean", "D-Mean", "Median", "Multi-Krum")
_SOME = ("Mean", "D-Mean", "Median", "D-Median", "Multi-Krum")
_OTHERS = ("Median", "D-Geometric median", "D-Multi-Krum", "Bulyan")
PROFILES: dict[str, tuple[dict, dict]] = {
    "smoke": (
        {"steps": 1, "turns": 1, "seed": 0},
        {
            "setting": {
                "p = 15": _setting(15, 1, 60, 40, _SMALL),
                "p = 15, held out": _setting(15, 1, 120, 80, _SMALL[1:2]) | {"held_out": 1},
            }
        },
    ),
    "laptop": (
        {"steps": 1, "turns": 3, "seed": 0},
        {
            "setting": {
                "p = 45": _setting(45, 5, 1350, 4000, METHODS),
                "p = 15": _setting(15, 1, 300, 1000, _SOME),
                "p = 30, held out": _setting(30, 3, 900, 2000, _OTHERS) | {"held_out": 1},
            }
        },
    ),
}


def prepare(fields: dict) -> dict:
    check_known("field of step_time", fields, FIELDS)
    for name in FIELDS:
        if name != "pipelines":
            check_integer(name, fields[name], 0 if name in ("byzantine", "held_out", "seed") else 1)
    names = fields["pipelines"]
    if not isinstance(names, list) or not names or len(set(map(str, names))) < len(names):
        raise ValueError(f"pipelines must be a list of distinct names, got {names!r}")
    check_known("pipeline", names, METHODS)
    for name in names:
        _trial(fields, name)
    return fields


def _trial(fields: dict, pipeline: str) -> Trial:
    numbers = {name: fields[name] for name in ("workers", "byzantine", "batch", "steps", "seed")}
    options = {"model": "mlp", "model_options": {"hidden": fields["hidden"]}, "attack": ATTACK}
    return make_trial(numbers | options | METHODS[pipeline] | {"evaluate_every": fields["steps"]})


def cost(fields: dict) -> tuple[float, float]:
    rounds = len(fields["pipelines"]) * fields["turns"] * (fields["steps"] + 1)
    values = fields["workers"] * fields["hidden"] * 75
    return 1 + 2 * rounds * (0.02 * fields["workers"] + 1e-8 * values), 4e8 + 40.0 * values


def run(fields: dict) -> xr.Dataset:
    """Time every pipeline with every server on the cluster that runs this cell, in turns."""
    names, servers = list(METHODS), list(SERVERS)
    shape = len(names), len(servers), fields["turns"], fields["steps"]
    seconds = np.full((*shape, len(PHASES)), np.nan)
    nodes = np.full((*shape, 2), np.nan)
    moved = np.full((*shape[:2], len(PHASES)), np.nan)
    deviation = np.full(shape[:2], np.nan)
    with here() as client:
        machines = len(client.scheduler_info(-1)["workers"])
        for turn in range(fields["turns"]):
            for name in fields["pipelines"]:
                trial, i = _trial(fields, name), names.index(name)
                alone = None if turn else train(trial)
                for j, server in enumerate(servers):
                    history = train(trial, client=client, server=server)
                    seconds[i, j, turn] = history.seconds
                    nodes[i, j, turn] = history.worker_seconds.sel(statistic=list(STATISTICS))
                    if alone is not None:
                        moved[i, j] = history.bytes.isel(step=-1)
                        deviation[i, j] = _deviation(history, alone)
    return _dataset(fields, seconds, nodes, moved, deviation, machines)


def _deviation(history: xr.Dataset, alone: xr.Dataset) -> float:
    """Return the largest difference from the run in one process; equal NaN and Inf are equal."""
    gaps = [0.0]
    for name in SETTLED:
        a, b = (np.asarray(each[name], dtype=float) for each in (history, alone))
        differs = ~((a == b) | (np.isnan(a) & np.isnan(b)))
        gaps += np.nan_to_num(abs(a - b)[differs], nan=np.inf).tolist()
    return max(gaps)


def _dataset(fields: dict, seconds, nodes, moved, deviation, machines: int) -> xr.Dataset:
    learnt = _trial(fields, fields["pipelines"][0]).dataset
    like = learnt.train_images.shape[1:], learnt.classes
    factory = partial(models.mlp, hidden=fields["hidden"])
    each = ("pipeline", "server")
    scalars = {
        "nodes": fields["workers"],
        "batch": fields["batch"],
        "held_out": fields["held_out"],
        "machines": machines,
        "parameters": models.Model(factory, *like).parameters,
        "sample_flops": models.sample_flops(factory, *like),
    }
    return xr.Dataset(
        {
            "seconds": ((*each, "turn", "step", "phase"), seconds, {"units": "s"}),
            "worker_seconds": ((*each, "turn", "step", "statistic"), nodes, {"units": "s"}),
            "bytes": ((*each, "phase"), moved, {"units": "bytes"}),
            "deviation": (each, deviation, {"long_name": "largest difference from one process"}),
        }
        | {name: ((), float(value)) for name, value in scalars.items()},
        coords={
            "pipeline": np.array(list(METHODS), dtype=object),
            "server": np.array(list(SERVERS), dtype=object),
            "phase": np.array(PHASES, dtype=object),
            "statistic": np.array(STATISTICS, dtype=object),
        },
    )


# --- The figure -----------------------------------------------------------------------------------

_COLOURS = dict(zip(BARS, sns.color_palette("colorblind"), strict=False))


def figure(dataset: xr.Dataset) -> Figure:
    """Draw stacked bars: measured with both servers, and modelled for the paper's cluster."""
    result = Figure(figsize=(11.0, 7.6))
    axes = result.subplots(2, 2)
    largest = int(np.nan_to_num(dataset.nodes.values, nan=-1).argmax())
    setting = str(dataset.setting.values[largest])
    bars = measured_bars(dataset).sel(setting=setting)
    size = (
        f"{float(dataset.nodes[largest]):.0f} nodes, d = {float(dataset.parameters[largest]):,.0f}"
    )
    for ax, server in zip(axes[0], SERVERS, strict=True):
        gains = measured_speedups(dataset).sel(setting=setting, server=server, end="median")
        _stack(ax, bars.sel(server=server), gains, f"measured, {server} server: {size}")
    for ax, kernels in zip(axes[1], KERNELS, strict=True):
        modelled = paper_bars(dataset, "ResNet-18").sel(kernels=kernels)
        title = f"modelled, 46 machines, ResNet-18: {KERNELS[kernels]}"
        _stack(ax, modelled, speedups(modelled), title)
    handles = [Patch(color=colour, label=name) for name, colour in _COLOURS.items()]
    result.legend(handles=handles, loc="outside upper center", ncols=3)
    return result


def _stack(ax, bars: xr.DataArray, gains: xr.DataArray, title: str) -> None:
    """Draw one stack a pipeline, pairs side by side, with the speed-up above each pair."""
    names, places = [], []
    for i, pair in enumerate(PAIRS.items()):
        tops = []
        for name, shift in zip(pair, (-0.21, 0.21), strict=True):
            heights, bottom = bars.sel(pipeline=name), 0.0
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


STUDY = Study(
    title="Time of a round, by phase",
    claim="With DETOX an iteration takes up to about 3 times less: its compute bar is higher, its "
    "aggregation bar much lower, its communication bar somewhat lower (reported; quoted from "
    "memory, ResNet-18 on 46 m5.2xlarge machines).",
    definitions=[
        "compute: what the slowest node takes (measured), expected (modelled); nodes that share a "
        "Dask worker compute one after the other, and each is timed alone",
        "communication: broadcast of the parameters and sending of messages or digests, at the "
        "driver's clock, transport by Dask between processes of one machine; aggregation: vote,"
        " rules and update; the attack is not counted",
        "all pipelines take turns in one cell; a time is the median over rounds, without the "
        "one that warms up; a speed-up is the ratio of whole bars, measured: of the same turn, "
        "median of turns",
        "the same trial in one process gives the same losses, accuracies and errors, to the bit",
        "modelled: `costs`, with nodes and network as quoted for the paper's cluster and the "
        "server's constants either fitted to the rounds measured here, or those of the DETOX "
        "research code",
    ],
    profiles=PROFILES,
    run=run,
    figure=figure,
    scale="toy scale measured: digits of 8 x 8 pixels; the paper's size is modelled",
    version=2,
    exclusive=True,
    fields=FIELDS,
    prepare=prepare,
    cost=cost,
)
