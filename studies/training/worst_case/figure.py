"""The figure of the atlas: worst cases by scheme and rule, and what they cost."""

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from studies.training.worst_case.comparisons import main_case, pareto, ran

COSTS = {
    "modelled_round_seconds": "modelled seconds a round",
    "mean_load": "load: images computed, over the batch",
}
COLOURS = "viridis"
BELOW = 0.1  # share of the pairs that is drawn at the lower edge
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
