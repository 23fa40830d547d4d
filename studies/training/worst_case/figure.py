"""The figures of the atlas: worst cases by scheme and rule, cost, and heat maps by attack."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import LogLocator

from detox_sim.sweeps.intervals import student_t
from studies.training.worst_case.comparisons import main_case, pareto, ran, worst_names

COSTS = {
    "modelled_round_seconds": "modelled seconds a round",
    "mean_load": "load: images computed, over the batch",
}
COLOURS = "viridis"
GUESSING = 0.1  # accuracy
BELOW = 0.1  # share of the pairs that is drawn at the lower edge
COLUMNS = 2  # heat maps side by side
MARKERS = "osD^v<>Pphd"


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the worst case of each pair as a heat map, and beside it against time and load.

    Of the main case. The pairs that no other beats in both are named. A pair that the condition
    of its rule forbids has a dash; a blank one is not part of the grid.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it.
    """
    means = ran(dataset, main_case(dataset)).mean("seed")
    order = [str(r) for r in means.mean("scheme").to_series().sort_values(ascending=False).index]
    result = Figure(figsize=(14, max(5.0, 0.3 * len(order) + 2.6)))
    left, *right = result.subplots(1, 3, width_ratios=[1.5, 1, 1])
    frame = means.sel(rule=order).transpose("rule", "scheme").to_pandas()
    place = dataset.worst_attack.sel(case=main_case(dataset)).sel(rule=order, scheme=means.scheme)
    refused = (place == -1).transpose("rule", "scheme").to_pandas()
    sns.heatmap(
        frame,
        ax=left,
        cmap=COLOURS,
        annot=frame.map(lambda v: "" if np.isnan(v) else f"{v:.2f}"[1:]).mask(refused, "–"),
        fmt="",
        annot_kws={"size": 7},
        linewidths=0.4,
        cbar_kws={"label": "worst-case test accuracy", "location": "bottom", "shrink": 0.7},
    )
    left.set(title="under the attack chosen as worst, mean over seeds", xlabel="", ylabel="")
    left.tick_params(axis="x", rotation=45)
    for label in left.get_xticklabels():
        label.set_ha("right")
    for ax, (cost, label) in zip(right, COSTS.items(), strict=True):
        _against(ax, dataset, cost)
        ax.set(xlabel=label, ylabel="worst-case test accuracy", xscale="log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    below = {"loc": "upper left", "bbox_to_anchor": (0, -0.1), "ncols": 2}
    right[0].legend(fontsize=8, title="scheme", **below)
    return result


def _against(ax, dataset: xr.Dataset, cost: str) -> None:
    """Draw the worst case of all pairs against a cost, and name those of the Pareto front.

    The least accurate tenth of the pairs is drawn at the lower edge, so that the others lie apart.
    """
    case = main_case(dataset)
    means = ran(dataset, case).mean("seed")
    low = float(means.quantile(BELOW))
    costs = dataset[cost].sel(case=case)
    colours = sns.color_palette("husl", means.scheme.size)
    for scheme, colour, marker in zip(means.scheme.values, colours, MARKERS, strict=False):
        one = means.sel(scheme=scheme).dropna("rule")
        at = costs.sel(scheme=scheme, rule=one.rule)
        ax.plot(at, one.clip(low), marker, color=colour, ms=4, alpha=0.8, label=str(scheme))
    front = pareto(dataset, cost, case)
    points = [
        (float(costs.sel(scheme=s, rule=r)), max(low, float(means.sel(scheme=s, rule=r))))
        for s, r in front
    ]
    ax.axhline(low, color="0.6", lw=0.7, ls=":", zorder=0)
    ax.set_title(f"on the dotted line: {low:.2f} or less", fontsize=8)
    ax.step(*zip(*points, strict=True), where="post", color="0.4", lw=0.9, zorder=0)
    for (_, rule), point in zip(front, points, strict=True):
        ax.annotate(rule, point, fontsize=6, xytext=(3, 4), textcoords="offset points")


def heat_maps(dataset: xr.Dataset, case: str, schemes: Sequence[str] | None = None) -> Figure:
    """Draw accuracy by rule and attack, a heat map a scheme, with the worst case as a column.

    Rows are sorted by the worst case. A cell is the mean over the fresh seeds and half of its 95 %
    interval, in hundredths. The attack that was worst on the tuning seeds is framed.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it.
    case : str
    schemes : sequence of str, optional
        By default all that were run.
    """
    found = ran(dataset, case)
    schemes = [str(scheme) for scheme in found.scheme.values] if schemes is None else schemes
    found = found.sel(scheme=list(schemes)).dropna("rule", how="all")
    attacks = [str(attack) for attack in dataset.attack.values]
    rules = found.rule.size
    rows = -(-len(schemes) // COLUMNS)
    height = 0.24 * rules + 2.2
    columns = min(COLUMNS, len(schemes))
    result = Figure(figsize=(9.4 * columns, rows * height + 0.6))
    grid = result.subplots(rows, columns, squeeze=False)
    top = float(dataset.accuracy.sel(case=case).mean("seed").max())
    for ax, scheme in zip(grid.flat, schemes, strict=False):
        runs = dataset.accuracy.sel(case=case, scheme=scheme)
        values = runs.mean("seed")
        worst = found.sel(scheme=scheme).mean("seed").dropna("rule").sortby("rule")
        order = worst.to_series().sort_values(ascending=False, kind="stable").index
        frame = values.sel(rule=order).transpose("rule", "attack").to_pandas()
        frame["worst case"] = worst.sel(rule=order).values
        last = found.sel(scheme=scheme, rule=order).expand_dims(attack=["worst case"])
        texts = _texts(xr.concat([runs.sel(rule=order), last], "attack", coords="minimal"))
        sns.heatmap(
            frame,
            ax=ax,
            cmap=COLOURS,
            vmin=GUESSING,
            vmax=top,
            cbar=False,
            annot=texts,
            fmt="",
            annot_kws={"size": 7},
        )
        ax.axvline(len(attacks), color="white", lw=3)
        names = worst_names(dataset).sel(case=case, scheme=scheme)
        for place, rule in enumerate(order):
            attack = str(names.sel(rule=rule).item())
            corner = (attacks.index(attack) + 0.04, place + 0.04)
            ax.add_patch(Rectangle(corner, 0.92, 0.92, fill=False, ec="white", lw=1.1))
        ax.set(title=scheme, xlabel="", ylabel="")
        ax.tick_params(labelsize=7)
        for label in ax.get_xticklabels():
            label.set(rotation=45, ha="right")
    for ax in grid.flat[len(schemes) :]:
        ax.remove()
    return result


def _texts(runs: xr.DataArray) -> np.ndarray:
    """Return mean and half of the interval over seeds, in hundredths (rule, attack)."""
    runs = runs.transpose("rule", "attack", "seed")
    texts = np.full(runs.shape[:2], "", dtype=object)
    for place in np.ndindex(texts.shape):
        low, high = student_t(runs.values[place])
        if not np.isnan(low):
            texts[place] = f"{50 * (low + high):.0f}±{50 * (high - low):.0f}"
    return texts
