"""What a dataset of `stragglers` says, and its figure."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

EXACT = 1e-3  # largest relative error of an exact sum
SLOWDOWN = 10.0  # of the figure, or the nearest there is
ERRORS = (1e-8, 1e2)  # of the colours
HEAVY = ("6", "7", "CodedReduce, s = 2")  # how the names of protocols of large load end


def shown_slowdown(dataset: xr.Dataset) -> float:
    """Return the slowdown that the figure shows."""
    return float(dataset.slowdown.sel(slowdown=SLOWDOWN, method="nearest"))


def outcomes(dataset: xr.Dataset) -> xr.Dataset:
    """Return the shares of rounds that end with the exact sum, must wait, or end with a wrong sum.

    Returns
    -------
    xarray.Dataset
        `exact`, `waits`, `wrong`, and `typical`, the median error of those that do not wait.
    """
    error = dataset.error
    shares = {
        "exact": (error <= EXACT).mean("round"),
        "waits": error.isnull().mean("round"),
        "wrong": (error > EXACT).mean("round"),
    }
    present = dataset.compute_load.notnull()  # not so in failed cells
    return xr.Dataset(shares).where(present).assign(typical=error.median("round"))


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: times by stragglers, and sums with a Byzantine worker.

    Parameters
    ----------
    dataset : xarray.Dataset
        (protocol, slowdown, byzantine, stragglers, round); NaN where a protocol failed.

    Returns
    -------
    str
        About protocols that leave no file out. Times are means, ± two standard errors.
    """
    whole = dataset.sel(protocol=(dataset.left_out == 0).values)
    if not whole.sizes["protocol"]:
        return "No cell of this dataset is finished."
    times = whole.sel(slowdown=shown_slowdown(dataset), byzantine=dataset.byzantine.min())
    lines = [_times(times.sel(stragglers=s)) for s in (0, 2, 6) if s in times.stragglers.values]
    lines += _beyond(times.isel(stragglers=-1))
    forging = whole.byzantine.values[whole.byzantine.values > 0]
    if forging.size:
        lines.append(_forged(whole.sel(byzantine=[forging.min()]).isel(stragglers=[0])))
    return "\n".join(f"* {line}" for line in lines)


def _times(point: xr.Dataset) -> str:
    """Return the fastest protocol at one number of stragglers, beside waiting for all."""
    known = point.dropna("protocol", subset=["seconds"])
    late = int(point.stragglers)
    start = f"**{late} stragglers**" + f", {float(point.slowdown):g} times slower" * (late > 0)
    if not known.sizes["protocol"]:
        return f"{start}: not measured."
    named = [known.protocol.values[int(known.seconds.argmin("protocol"))], "wait for all", "tree"]
    first, *others = (
        f"*{name}* with {float(known.seconds.sel(protocol=name)):.2f} ± "
        f"{2 * float(known.seconds_error.sel(protocol=name)):.2f} s"
        for name in dict.fromkeys(named)
        if name in known.protocol.values
    )
    beside = f", beside {' and '.join(others)}" * bool(others)
    return f"{start}: the fastest is {first}{beside}."


def _beyond(point: xr.Dataset) -> list[str]:
    """Return which protocols take longer than waiting for all, at the most stragglers."""
    if "wait for all" not in point.protocol.values:
        return []
    saved, error = point.saved, point.saved_error
    longer = point.protocol.values[(saved < -2 * error).values]
    if not len(longer):
        return [f"With {int(point.stragglers)} stragglers none takes longer than waiting for all."]
    return [
        f"**With {int(point.stragglers)} stragglers** these take longer than waiting for all: "
        f"{_listed(longer)}."
    ]


def _forged(dataset: xr.Dataset) -> str:
    """Return whose decoded sum is wrong with a Byzantine worker (byzantine: 1, stragglers: 1)."""
    wrong = outcomes(dataset).wrong.squeeze(["byzantine", "stragglers"])
    kinds = {"in every round": wrong == 1, "in no round": wrong == 0}
    kinds["in some rounds"] = (wrong > 0) & (wrong < 1)
    words = (
        f"{kind} with {_listed(wrong.protocol.values[which.values])}"
        for kind, which in kinds.items()
        if which.any()
    )
    count = int(dataset.byzantine[0])
    late = int(dataset.stragglers[0]) or "no"
    return (
        f"**{count} Byzantine worker{'s' * (count > 1)}**, {late} late one: "
        f"the sum is wrong {'; '.join(words)}."
    )


def _listed(names: np.ndarray) -> str:
    """Return names that may contain commas as a list.

    Examples
    --------
    >>> _listed(np.array(["tree", "DETOX, r = 3"]))
    '*tree*, *DETOX, r = 3*'
    """
    return ", ".join(f"*{name}*" for name in names)


_PALETTE = sns.color_palette("colorblind")
STYLES = {
    "wait for all": ("0.25", "x"),
    "ignore": ("0.6", "+"),
    "tree": (_PALETTE[5], "p"),
    "repetition": (_PALETTE[9], "^"),
    "gradient code": (_PALETTE[0], "o"),
    "CodedReduce": (_PALETTE[2], "D"),
    "DETOX": (_PALETTE[1], "s"),
    "DRACO": (_PALETTE[4], "v"),
}


FILLS: dict[int, dict] = {
    0: {"mfc": "white"},
    2: {"fillstyle": "left", "markerfacecoloralt": "white"},
    6: {"fillstyle": "full"},
}


def style(protocol: str) -> dict:
    """Return the colour and marker of a protocol.

    Examples
    --------
    >>> style("DETOX, r = 7") == style("DETOX, r = 3"), style("ignore 6")["marker"]
    (True, '+')
    """
    family = next(name for name in STYLES if protocol.startswith(name))
    return dict(zip(("color", "marker"), STYLES[family], strict=True))


def figure(dataset: xr.Dataset) -> Figure:
    """Draw times against stragglers, times and loads of all protocols, and errors."""
    result = Figure(figsize=(10.8, 8.2))
    axes = result.subplot_mosaic(
        [["lines", "all"], ["errors", "errors"]], height_ratios=[1, 1.1], width_ratios=[1, 1.1]
    )
    times = dataset.sel(slowdown=shown_slowdown(dataset), byzantine=dataset.byzantine.min())
    _lines(axes["lines"], times)
    _all(axes["all"], times)
    image = _grid(axes["errors"], dataset)
    result.colorbar(image, ax=axes["errors"], pad=0.01, label="relative error, median")
    grey: dict = {"ls": "", "color": "0.3"}
    handles = [Line2D([], [], label=family, **style(family)) for family in STYLES]
    handles.append(Line2D([], [], marker="|", ms=9, mew=2, label="(b) compute, at least", **grey))
    handles += [
        Line2D([], [], marker="o", ms=5.5, label=f"(b) {s} stragglers", **grey, **fill)
        for s, fill in FILLS.items()
    ]
    result.legend(handles=handles, loc="outside upper center", ncols=6)
    return result


def _lines(ax, times: xr.Dataset) -> None:
    """Draw the modelled time against the stragglers, of the protocols with the smaller load."""
    light = [str(name) for name in times.protocol.values if not str(name).endswith(HEAVY)]
    for name in light:
        data = times.sel(protocol=name)
        ax.errorbar(times.stragglers, data.seconds, 2 * data.seconds_error, **style(name))
    ax.set(xlabel="stragglers", ylabel="modelled seconds a round", ylim=(0, None))
    most = float(times.compute_load.sel(protocol=light).max())
    ax.set_title(
        f"(a) workers that compute {most:.1%} of the batch or less; stragglers are "
        f"{float(times.slowdown):g} x slower"
    )


def _all(ax, times: xr.Dataset) -> None:
    """Draw the time of every protocol without stragglers and with some, beside its compute."""
    some = [s for s in FILLS if s in times.stragglers.values]
    names = times.protocol.values
    for place, name in enumerate(names):
        data, look = times.sel(protocol=name), {"color": style(name)["color"]}
        ax.plot(data.compute_seconds, place, ls="", marker="|", ms=9, mew=2, **look)
        ax.plot(data.seconds.sel(stragglers=some), [place] * len(some), lw=1, **look)
        for s in some:
            time = data.seconds.sel(stragglers=s)
            ax.plot(time, place, ls="", marker="o", ms=5.5, **look, **FILLS[s])
    loads = [f"{float(load):.1%}" for load in times.compute_load]
    rows = [f"{name}   {load}" for name, load in zip(names, loads, strict=True)]
    ax.set_yticks(range(len(rows)), rows)
    ax.set(xlabel="modelled seconds a round", ylim=(len(rows) - 0.4, -0.6), xscale="log")
    ax.set_xticks([0.3, 1, 3, 10], ["0.3", "1", "3", "10"])
    ax.minorticks_off()
    ax.tick_params(axis="y", length=0)
    ax.set_title("(b) all, with the share of the batch that a worker computes")


def _grid(ax, dataset: xr.Dataset) -> QuadMesh:
    """Draw the median error by protocol, Byzantine workers and stragglers, with exact rounds."""
    found = outcomes(dataset).stack(case=("byzantine", "stragglers"))
    colours = sns.color_palette("rocket_r", as_cmap=True)
    waits = (found.waits > 0.5).values
    typical = np.where(waits, np.nan, found.typical.transpose("protocol", "case"))
    image = ax.pcolormesh(np.clip(typical, *ERRORS), cmap=colours, norm=LogNorm(*ERRORS))
    for row, column in np.argwhere(waits):
        ax.add_patch(Rectangle((column, row), 1, 1, fc="0.92", ec="0.7", lw=0, hatch="///"))
    for (row, column), exact in np.ndenumerate(found.exact.transpose("protocol", "case").values):
        if 0 < exact < 1:
            dark = not waits[row, column] and typical[row, column] > 1e-2
            ax.text(column + 0.5, row + 0.5, f"{100 * exact:.0f}", fontsize=6.5, ha="center",
                    va="center", color="white" if dark else "black")  # fmt: skip
    each = dataset.sizes["stragglers"]
    ax.set_xticks(np.arange(found.sizes["case"]) + 0.5, found.stragglers.values)
    ax.set_yticks(np.arange(dataset.sizes["protocol"]) + 0.5, dataset.protocol.values)
    for group, q in enumerate(dataset.byzantine.values):
        ax.text((group + 0.5) * each, -0.15, f"{q} Byzantine", ha="center")
        ax.axvline(group * each, color="white", lw=4)
    ax.set(xlabel="stragglers, whose messages never arrive", ylim=(dataset.sizes["protocol"], 0))
    ax.grid(visible=False)
    ax.tick_params(length=0)
    title = "(c) error of the decoded gradient; numbers: % of rounds that are exact, if some are"
    ax.set_title(title, pad=16)
    ax.legend(handles=[Patch(fc="0.92", ec="0.7", hatch="///", label="must wait")],
              loc="lower right", bbox_to_anchor=(1, 1.01))  # fmt: skip
    return image
