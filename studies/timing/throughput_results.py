"""What a dataset of `throughput` says, and its figure."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from studies.style import DETOX, THEORY, VANILLA
from studies.timing.beside.simulators import PARTS
from studies.timing.beside.torch_rounds import BATCHING, CLOCKS

SIMULATORS = ("ours", "ByzFL")
# Targets by the first word of a setting: speed relative to plain torch, or to ByzFL.
TARGETS = {"resnet8": 0.97, "ByzFL's CNN": 1.5, "ByzFL's MLP": 5.0, "ByzFL's logistic": 5.0}
TARGET = 0.85  # of other models, relative to plain torch

BARS = {
    "round": ("gradients", "filtering"),
    "with judging": ("gradients", "filtering", "judging"),
    "whole train": ("train",),
}


def target(setting: str) -> float:
    """Return how fast a setting should be: relative to plain torch, or to ByzFL.

    Examples
    --------
    >>> target("ByzFL's CNN, trimmed mean"), target("lenet5")
    (1.5, 0.85)
    """
    return TARGETS.get(setting.split(",")[0], TARGET)


def speeds(dataset: xr.Dataset) -> xr.DataArray:
    """Return speeds relative to plain torch (..., clock, bar, end): least, median, most of turns.

    Examples
    --------
    >>> seconds = np.array([[[4.0], [3.0], [1.0], [1.0], [8.0]]])
    >>> timed = ["plain torch", "gradients", "filtering", "judging", "train"]
    >>> dims = {"clock": ["processor"], "timed": timed, "turn": [0]}
    >>> found = speeds(xr.Dataset({"seconds": (tuple(dims), seconds)}, coords=dims))
    >>> found.sel(end="median").values.tolist()
    [[1.0, 0.8, 0.5]]
    """
    plain = dataset.seconds.sel(timed="plain torch", drop=True)
    ratios = [
        plain / dataset.seconds.sel(timed=list(parts)).sum("timed", skipna=False)
        for parts in BARS.values()
    ]
    return _ends(xr.concat(ratios, xr.Variable("bar", list(BARS))).transpose(..., "bar", "turn"))


def faster(dataset: xr.Dataset) -> xr.DataArray:
    """Return how many times faster than ByzFL (..., clock, end): least, median, most of turns.

    Whole runs by both clocks, and by that on the wall "rounds alone": the parts both must do.
    """
    wall = dataset.simulator_seconds
    rounds = wall.sel(part=list(PARTS[:2])).sum("part", skipna=False)
    taken = [dataset.simulator_processor, wall.sum("part", skipna=False), rounds]
    taken = xr.concat(taken, xr.Variable("clock", [*CLOCKS, "rounds alone"]))
    ratio = taken.sel(simulator="ByzFL", drop=True) / taken.sel(simulator="ours", drop=True)
    return _ends(ratio.transpose(..., "clock", "turn"))


def limit(dataset: xr.Dataset) -> xr.DataArray:
    """Return how many times faster than ByzFL (...) runs would be if only gradients took time.

    By the clock; the median over the turns. The gradients are torch's on both sides.

    Examples
    --------
    >>> seconds = np.array([[[4.0], [1.0], [1.0]], [[5.0], [2.0], [1.0]]])
    >>> dims = {"simulator": list(SIMULATORS), "part": list(PARTS), "turn": [0]}
    >>> limit(xr.Dataset({"simulator_seconds": (tuple(dims), seconds)}, coords=dims)).item()
    2.0
    """
    wall = dataset.simulator_seconds
    gradients = wall.sel(simulator="ours", part=PARTS[0], drop=True)
    whole = wall.sel(simulator="ByzFL", drop=True).sum("part", skipna=False)
    return (whole / gradients).median("turn", skipna=False)


def _ends(values: xr.DataArray) -> xr.DataArray:
    ends = [values.min("turn"), values.median("turn", skipna=False), values.max("turn")]
    found = xr.concat(ends, xr.Variable("end", ["least", "median", "most"]), coords="minimal")
    return found.transpose(..., "end")


def verdict(ends: Sequence[float], target: float) -> str:
    """Return whether a speed is `target` or more: in all turns, in the median, or not.

    Examples
    --------
    >>> [verdict(ends, 0.85) for ends in ((0.9, 1.0, 1.1), (0.8, 0.9, 1.0), (0.5, 0.6, 0.7))]
    ['met', 'met by the median, not by every turn', 'missed']
    """
    least, median, most = ends
    if not np.isfinite(ends).all():
        return "not measured"
    if least >= target:
        return "met"
    if median >= target:
        return "met by the median, not by every turn"
    return "missed" if most < target else "missed by the median, not by every turn"


def ranged(ends: xr.DataArray) -> str:
    """Return the median and, in brackets, the range.

    Examples
    --------
    >>> ranged(xr.DataArray([0.5, 1.0, 2.0]))
    '1.00 (0.50 to 2.00)'
    """
    least, median, most = ends.values
    return f"{median:.2f} ({least:.2f} to {most:.2f})"


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: beside plain torch, files at once or not, beside ByzFL.

    Parameters
    ----------
    dataset : xarray.Dataset
        (setting, ...); NaN where a setting does not measure something, or failed.
    """
    rounds = speeds(measured(dataset, "seconds")).sel(clock="processor", bar="round")
    whole = faster(measured(dataset, "simulator_seconds")).sel(clock="processor")
    lines = []
    for ends, what in (
        (rounds, "Speed of a round beside plain torch"),
        (whole, "Speed of a whole run beside ByzFL"),
    ):
        ends = ends.dropna("setting")
        names = [str(name) for name in ends.setting.values]
        each = (f"{name} {ranged(one)}" for name, one in zip(names, ends, strict=True))
        targets = [target(name) for name in names]
        reached = int((ends.sel(end="median") >= targets).sum())
        wanted = " or ".join(f"{value:g}" for value in sorted(set(targets)))
        lines.append(
            f"**{what}** (1 is as fast; median and range over turns): {'; '.join(each)}. The "
            f"medians of {reached} of {ends.sizes['setting']} settings reach their target of "
            f"{wanted}."
            if ends.size
            else f"**{what}**: not measured."
        )
    highest = limit(measured(dataset, "simulator_seconds")).dropna("setting")
    below = [
        f"{name} {value:.2f}"
        for name, value in zip(highest.setting.values, highest.values, strict=True)
        if value < target(str(name))
    ]
    if below:
        lines.append(
            "**Beyond reach on this machine**: if all but the gradients took no time, a whole run "
            f"would still be slower than its target: {'; '.join(below)} times as fast as ByzFL."
        )
    seconds = measured(dataset, "batching_seconds").batching_seconds
    gain = (seconds.sel(batching=BATCHING[0]) / seconds.sel(batching=BATCHING[1])).median("turn")
    known = gain.stack(point=("setting", "images")).dropna("point")
    if known.size:
        lines.append(
            f"**Files one after the other take {float(known.min()):.2f} to "
            f"{float(known.max()):.2f} times as long as several at once**, and less time in "
            f"{int((known < 1).sum())} of {known.size} combinations of model and images a file."
        )
    return "\n".join(f"* {line}" for line in lines)


def figure(dataset: xr.Dataset) -> Figure:
    """Draw speed beside plain torch, files at once against one by one, and time beside ByzFL."""
    result = Figure(figsize=(11.0, 7.6))
    grid = result.add_gridspec(2, 2)
    _panel_of_speeds(result.add_subplot(grid[0, 0]), dataset)
    _panel_of_batching(result.add_subplot(grid[1, 0]), dataset)
    _panel_of_simulators(result.add_subplot(grid[:, 1]), dataset)
    return result


def measured(dataset: xr.Dataset, name: str) -> xr.Dataset:
    """Return the settings in which a variable was measured."""
    values = dataset[name]
    kept = values.notnull().any([dim for dim in values.dims if dim != "setting"])
    return dataset.isel(setting=np.flatnonzero(kept.values))


def _panel_of_speeds(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "seconds")
    found = speeds(known).sel(clock="processor").astype(float)
    places = np.arange(known.sizes["setting"])
    colours = (DETOX, sns.light_palette(DETOX, 5)[3], sns.light_palette(DETOX, 5)[2])
    for k, (bar, colour) in enumerate(zip(BARS, colours, strict=True)):
        least, median, most = found.sel(bar=bar).values.reshape(-1, 3).T
        at = places + 0.27 * (k - 1)
        ax.bar(at, median, 0.25, color=colour, label=bar)
        ax.vlines(at, least, most, color="0.2", lw=1.2)
    ax.axhline(1, color="0.4", lw=1)
    for i, setting in enumerate(known.setting.values):
        ax.hlines(target(setting), i - 0.45, i + 0.45, color=VANILLA, lw=1.2, ls="--",
                  label=None if i else "target of a round")  # fmt: skip
    names = [str(setting).replace(", ", "\n") for setting in known.setting.values]
    ax.set_xticks(places, names, fontsize=7.5)
    ax.set(ylabel="speed / plain torch, file by file", title="Training, one thread")
    ax.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, -0.42))
    ax.grid(axis="x", visible=False)


def _panel_of_batching(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "batching_seconds")
    each, several = (known.batching_seconds.sel(batching=name) for name in BATCHING)
    found, x = _ends(each / several).astype(float), np.arange(known.sizes["images"])
    colours = sns.color_palette("colorblind", max(1, known.sizes["setting"]))
    for setting, colour, marker in zip(known.setting.values, colours, "osD^vP", strict=False):
        least, median, most = found.sel(setting=setting).values.reshape(-1, 3).T
        ax.plot(x, median, marker=marker, color=colour, label=setting)
        ax.vlines(x, least, most, color=colour, lw=1)
    ax.axhline(1, color="0.4", lw=1)
    ax.set_xticks(x, [f"{size:g}" for size in known.images.values])
    title = "Gradients of 15 files"
    ax.set(xlabel="images a file", ylabel="time one by one / at once", title=title)
    ax.set_ylim(bottom=0)
    if len(known.setting):
        ax.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, -0.42))


def _panel_of_simulators(ax, dataset: xr.Dataset) -> None:
    known = measured(dataset, "simulator_seconds")
    ax.set_title("The same experiment beside ByzFL")
    if not known.sizes["setting"]:
        ax.text(0.5, 0.5, "left out: ByzFL was not\ninstalled where this ran", ha="center",
                va="center", transform=ax.transAxes, color="0.35")  # fmt: skip
        ax.set_axis_off()
        return
    gains = faster(known).sel(clock="processor").astype(float)
    seconds = known.simulator_seconds.median("turn")
    seconds = seconds / seconds.sel(simulator="ByzFL").sum("part")
    colours = (DETOX, VANILLA, THEORY)
    for i, setting in enumerate(known.setting.values):
        for simulator, shift in zip(SIMULATORS, (-0.2, 0.2), strict=True):
            start = 0.0
            for part, colour in zip(PARTS, colours, strict=True):
                width = float(seconds.sel(setting=setting, simulator=simulator, part=part))
                ax.barh(i + shift, width, 0.36, left=start, color=colour, lw=0,
                        label=part if not i and shift < 0 else None,
                        alpha=1 if simulator == "ours" else 0.55)  # fmt: skip
                start += width
        ax.vlines(1 / target(str(setting)), i - 0.42, i + 0.02, color="0.15", lw=1.2, ls=":",
                  label=None if i else "target")  # fmt: skip
        text = f"{float(gains.sel(setting=setting, end='median')):.1f}x"
        end = float(seconds.sel(setting=setting, simulator="ours").sum("part"))
        right = max(end, 1 / target(str(setting))) + 0.01
        ax.annotate(text, (right, i - 0.2), va="center", fontsize=8)
    ax.set_yticks(range(known.sizes["setting"]), known.setting.values, fontsize=8)
    words = "time by the clock / ByzFL's (pale); times faster by processor time"
    ax.set(xlabel=words, xlim=(0, 1.08))
    ax.invert_yaxis()
    ax.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.4, -0.13))
    ax.grid(axis="y", visible=False)
