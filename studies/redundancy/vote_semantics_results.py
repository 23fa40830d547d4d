"""What a dataset of `vote_semantics` says, and its figure."""

import math

import numpy as np
import pandas as pd
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim.sweeps.intervals import student_t
from studies.redundancy.forged_copies import POLICIES, RULES
from studies.redundancy.noisy_copies import SOURCES

ACCEPTED = 0.01  # shift of the mean of all votes that a recommended tolerance may allow


def windows(dataset: xr.Dataset) -> pd.DataFrame:
    """Return for each noise source the tolerances that serve, over all models, seeds and steps.

    Returns
    -------
    pandas.DataFrame
        `least`: the smallest tolerance from which on there is no false alarm, NaN if none; `most`:
        the largest up to which forged copies shift the mean of all votes by `ACCEPTED` or less;
        `recommended`: between the two, as far in factors from the one as from the other (0, the
        exact vote, where that has no false alarm; NaN where nothing serves both ends); and
        `slack_vote` and `slack_mean` there.
    """
    allowed = dataset.vote_tolerance.values
    alarms = (dataset.undecided + dataset.outvoted).max(["model", "seed", "step"])
    most_shifts = dataset[["slack_vote", "slack_mean"]].max(["model", "seed", "forged_place"])
    rows = {}
    for source in alarms.dropna("source").source.values:
        shifts = most_shifts.sel(source=source)
        silent = np.flatnonzero(alarms.sel(source=source) > 0).max(initial=-1) + 1
        beyond = np.flatnonzero(shifts.slack_mean > ACCEPTED).min(initial=allowed.size)
        row = {
            "least": allowed[silent] if silent < allowed.size else math.nan,
            "most": allowed[beyond - 1],
        }
        at = _between(silent, beyond - 1, allowed)
        rows[str(source)] = row | {
            "recommended": math.nan if at is None else allowed[at],
            "slack_vote": math.nan if at is None else float(shifts.slack_vote[at]),
            "slack_mean": math.nan if at is None else float(shifts.slack_mean[at]),
        }
    return pd.DataFrame(rows).T


def _between(least: int, most: int, allowed: np.ndarray) -> int | None:
    """Return the index of the tolerance midway in factors; None if least is above most."""
    if least > most:
        return None
    if allowed[least] == 0:
        return least
    middle = math.sqrt(allowed[least] * allowed[most])
    return least + int(abs(np.log(allowed[least : most + 1] / middle)).argmin())


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown; a sentence is left out where the dataset has no case."""
    found = windows(dataset)
    if not len(found):
        return "No cell of this dataset is finished."
    lines = [*_false_alarms(dataset, found), *_tolerances(found), *_forgeries(dataset, found)]
    return "\n".join(f"* {line}" for line in lines)


def _false_alarms(dataset: xr.Dataset, found: pd.DataFrame) -> list[str]:
    """Return what an exact vote does without a forged copy, and what rounding changes."""
    exact = dataset[["undecided", "outvoted"]].isel(vote_tolerance=0)
    shares = exact.mean(["model", "seed", "step"]).sel(source=list(found.index))
    noisy = shares.where(shares.undecided + shares.outvoted > 0).dropna("source", how="all")
    lines = ["Every exact vote had a majority and outvoted no honest copy."]
    if noisy.sizes["source"]:
        each = ", ".join(
            f"{source} {row.undecided:.0%} and {row.outvoted:.0%}"
            for source, row in noisy.to_dataframe().iterrows()
        )
        lines = [
            "**An exact vote needs equal computation.** Without a forged copy, files have no "
            f"majority and outvote an honest copy in these shares (mean over models): {each}. A "
            "detection that counts an outvoted copy as forged accuses an honest worker."
        ]
    pairs = dataset.equal_pairs.mean(["model", "seed", "step"]).sel(pair="1 and 2").to_series()
    rounded = pairs[[name for name in ("float64", "bf16") if pairs.get(name, 0) > 0]]
    if len(rounded):
        healed = ", ".join(f"{name} ({share:.0%})" for name, share in rounded.items())
        other = pairs.get("row order", math.nan)
        beside = "." if math.isnan(other) else f"; in float32 throughout it is {other:.0%}."
        lines.append(
            "**Rounding removes the effect of the order.** Where sums are rounded to fewer digits "
            "than they are computed with (float64 is sent as float32; that torch adds up bf16 in "
            "float32 is our reading, untested), copies 1 and 2 have the same bits in spite of "
            f"their orders in this share of files: {healed}{beside}"
        )
    return lines


def _tolerances(found: pd.DataFrame) -> list[str]:
    """Return how wide the windows are, and which noise has none."""
    lines = []
    served, unserved = found[found.recommended > 0], found[found.recommended.isna()]
    if len(served):
        each = ", ".join(
            f"{source} a factor of {row.most / row.least:.0f}, recommended {row.recommended:.2g}"
            for source, row in served.iterrows()
        )
        lines.append(f"**The window between false alarms and slack that matters**: {each}.")
    if len(unserved):
        lines.append(
            f"**No tolerance serves {', '.join(unserved.index)}**: what ends the false alarms "
            "there lets forged copies shift the mean by more than a hundredth, or nothing on the "
            "grid ends them. Let all workers of a file compute in the same arithmetic."
        )
    return lines


def _forgeries(dataset: xr.Dataset, found: pd.DataFrame) -> list[str]:
    """Return how far a forged copy moves a vote, and whether it must be the first one."""
    positive = dataset.isel(vote_tolerance=slice(1, None))
    vote, mean = (
        float((positive[name] / positive.vote_tolerance).max())
        for name in ("slack_vote", "slack_mean")
    )
    lines = [
        f"**How far a forged copy moves a vote**: at most {vote:.3f} of the tolerance. The mean of "
        f"all votes moved by up to {mean:.2f} of it in its own length: all forgeries have one "
        f"direction, and files' gradients are up to {float(dataset.spread.max()):.1f} times "
        "as long as the mean of all. At the smallest tolerances the rounding of float32 "
        "leaves less room."
    ]
    late = dataset.slack_vote.isel(forged_place=slice(1, None))
    late = late.max(["model", "seed", "forged_place"])
    served = found.recommended[found.recommended > 0]
    safe = [
        source
        for source, allowed in served.items()
        if float(late.sel(source=source, vote_tolerance=allowed)) == 0
    ]
    if safe:
        lines.append(
            f"**Only a forged first copy is elected** at the recommended tolerance "
            f"({', '.join(safe)}): where honest copies agree, the first of them is elected. "
            "Attackers must not choose which worker comes first."
        )
    return lines


_COLOURS = sns.color_palette("colorblind")
STYLES: dict[str, dict] = {
    source: {"color": colour, "marker": marker}
    for source, colour, marker in zip(SOURCES, ["0.35", *_COLOURS[:4]], "osD^v", strict=True)
}
FORGED_STYLES: dict[int, dict] = {  # by the number of forged copies
    0: {"color": "0.35", "marker": "o"},
    1: {"color": _COLOURS[4], "marker": "s"},
    2: {"color": _COLOURS[5], "marker": "D"},
}
FIRST: dict = {"color": "0.8", "lw": 6, "solid_capstyle": "butt"}
MEAN: dict = {"color": "black", "ls": "--"}
LEGEND: dict = {"fontsize": 7, "frameon": True, "framealpha": 1, "edgecolor": "none"}
DOTS: dict[str, dict] = {  # the small one within the large one where both agree
    "median": {"mfc": "white", "ms": 6},
    "mean": {"ms": 3.5},
}


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the noise; the false alarms above the slack; and the errors of the votes compared."""
    result = Figure(figsize=(10.4, 4.2))
    axes = result.subplot_mosaic(
        [["noise", "alarms", "votes"], ["noise", "slack", "votes"]],
        width_ratios=[1, 1.2, 1.2],
    )
    _noise_panel(axes["noise"], dataset)
    _alarms_panel(axes["alarms"], dataset)
    _slack_panel(axes["slack"], dataset)
    _votes_panel(axes["votes"], dataset, compared(dataset))
    return result


def compared(dataset: xr.Dataset) -> str:
    """Return the noise source for which votes are compared: with the fewest equal copies."""
    equal = dataset.equal_pairs.mean(["model", "seed", "step", "pair"])
    return str(equal.source.values[int(np.nanargmin(equal.values))])


def _noise_panel(ax, dataset: xr.Dataset) -> None:
    """Draw median, 95 % and maximum of the differences, a row for each source and model."""
    labels = []
    for row, source in enumerate(map(str, dataset.source.values)):
        point = dataset.sel(source=source)
        labels.append(f"{source}\n{float(point.equal_pairs.mean()):.0%} same bits")
        names = dataset.model.values
        for shift, model in zip(np.linspace(-0.2, 0.2, len(names) + 2)[1:-1], names, strict=True):
            values = point.difference.sel(model=model).values.ravel()
            if (values > 0).any():
                _marks(ax, values[values > 0], row + shift, STYLES[source]["color"], str(model))
    ax.set(xscale="log", ylim=(len(labels) - 0.5, -0.5), xlabel="difference of two honest copies")
    ax.set_xlim(ax.get_xlim()[0], 5 * ax.get_xlim()[1])  # room for a name
    ax.set_yticks(range(len(labels)), labels)
    ax.tick_params(axis="y", length=0)
    ax.set_title("median, 95 % and maximum")


def _marks(ax, values: np.ndarray, row: float, colour, name: str) -> None:
    middle, high, most = np.quantile(values, [0.5, 0.95, 1.0])
    ax.plot([middle, most], [row, row], color=colour, lw=1)
    ax.plot([high, most], [row, row], ls="", marker="|", ms=6, color=colour)
    ax.plot(middle, row, ls="", marker="o", color=colour)
    ax.annotate(name, (most, row), (4, 0), textcoords="offset points", va="center", fontsize=7)


def _places(dataset: xr.Dataset) -> np.ndarray:
    """Return the places of the tolerances on a logarithmic axis, the exact vote left of all."""
    allowed = dataset.vote_tolerance.values
    return np.where(allowed > 0, allowed, allowed[1] / 10)


def _alarms_panel(ax, dataset: xr.Dataset) -> None:
    """Draw the share of files with a false alarm against the tolerance, a line for each source."""
    alarms = (dataset.undecided + dataset.outvoted).mean(["model", "step"])
    frame = alarms.assign_coords(vote_tolerance=_places(dataset)).to_dataframe("share")
    sns.lineplot(
        frame.reset_index(),
        x="vote_tolerance",
        y="share",
        hue="source",
        style="source",
        palette={source: style["color"] for source, style in STYLES.items()},
        markers={source: style["marker"] for source, style in STYLES.items()},
        dashes=False,
        errorbar=student_t,
        legend=False,
        ax=ax,
    )
    _tolerance_axis(ax, dataset)
    ax.tick_params(labelbottom=False)
    ax.set(xlabel="", ylabel="files with false alarm", ylim=(-0.05, 1.05))
    ax.set_title("false alarms, and what forged copies gain")
    handles = [Line2D([], [], label=source, **style) for source, style in STYLES.items()]
    ax.legend(handles=handles, loc="center", bbox_to_anchor=(0.63, 0.5), **LEGEND)


def _slack_panel(ax, dataset: xr.Dataset) -> None:
    """Draw the slack in units of the tolerance: first copy forged, or another one."""
    parts = dataset.isel(vote_tolerance=slice(1, None))
    allowed = parts.vote_tolerance.values
    first = parts.sel(forged_place=0).max(["source", "model", "seed"])
    ax.plot(allowed, first.slack_vote / allowed, **FIRST)
    ax.plot(allowed, first.slack_mean / allowed, **MEAN)
    other = parts.slack_vote.isel(forged_place=slice(1, None))
    other = other.max(["model", "seed", "forged_place"]) / allowed
    for source in dataset.source.values:
        ax.plot(allowed, other.sel(source=source), **STYLES[str(source)])
    _tolerance_axis(ax, dataset)
    ax.set(xlabel="tolerance of the vote", ylabel="slack / tolerance", ylim=(-0.05, None))
    handles = [
        Line2D([], [], label="the mean, first copy forged", **MEAN),
        Line2D([], [], label="a vote, first copy forged", **FIRST),
        Line2D([], [], label="a vote, another copy forged", color="0.35", marker="o"),
    ]
    ax.legend(handles=handles, loc="center", bbox_to_anchor=(0.74, 0.35), **LEGEND)


def _tolerance_axis(ax, dataset: xr.Dataset) -> None:
    places, decades = _places(dataset), range(-8, 0, 2)
    ax.set(xscale="log", xlim=(places[0] / 1.5, places[-1] * 1.5))
    names = [f"$10^{{{decade}}}$" for decade in decades]
    ax.set_xticks([places[0], *(10.0**decade for decade in decades)], ["exact", *names])
    ax.minorticks_off()


def _votes_panel(ax, dataset: xr.Dataset, source: str) -> None:
    """Draw the error of mean and median of the votes, a row for each vote."""
    values = dataset.error.sel(source=source).mean(["model", "step"])
    for row, policy in enumerate(POLICIES):
        for shift, (forged, style) in zip((-0.22, 0, 0.22), FORGED_STYLES.items(), strict=True):
            for rule, look in DOTS.items():
                seeds = values.sel(policy=policy, forged_copies=forged, rule=rule).values
                centre, (low, high) = np.nanmean(seeds), student_t(seeds)
                ends = [low if low > 0 else centre / 10, high]  # zero cannot be drawn
                ax.plot(ends, [row + shift] * 2, color=style["color"], lw=1)
                ax.plot(centre, row + shift, ls="", **style, **look)
    ax.axvline(1, color="0.35", ls=":", lw=1, zorder=1)
    ax.set(xscale="log", ylim=(len(POLICIES) - 0.5, -0.5), xlabel="error of the aggregate")
    allowed = float(dataset.policy_tolerance.max())
    names = {name: f"exact,\nelse {name}" for name in ("zero", "mean", "median")}
    names |= {"tolerance": f"tolerance {allowed:g},\nelse zero"}
    names |= {"streaming by layer": "streaming\nby layer"}
    ax.set_yticks(range(len(POLICIES)), [names.get(name, name) for name in POLICIES])
    ax.tick_params(axis="y", length=0)
    ax.set_title(f"votes compared, noise: {source}")
    corner = (0.15, 1.0)
    ax.legend(handles=_marks_of_votes(), loc="upper left", bbox_to_anchor=corner, **LEGEND)


def _marks_of_votes() -> list[Line2D]:
    """Explain the marks of the votes compared."""
    texts = {0: "no forged copy", 1: "one forged copy of a file", 2: "two forged copies of a file"}
    grey: dict = {"color": "0.35", "marker": "o"}
    return [
        *(Line2D([], [], ls="", label=text, **FORGED_STYLES[k]) for k, text in texts.items()),
        *(Line2D([], [], ls="", label=f"{r} of the votes", **grey, **DOTS[r]) for r in RULES),
    ]
