"""What a dataset of `robustness_audit` says, and its figure."""

import math

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from studies.style import DETOX, THEORY, VANILLA

LEFT, RIGHT = 0.05, 200.0  # of the axis; larger ratios are drawn at its end
NOT_RUN = ("run", "too_few_rows", "too_many_subsets")


def worst(dataset: xr.Dataset) -> xr.DataArray:
    """Return the largest ratio found of each rule and setting, over families and seeds."""
    return dataset.ratio.max(["family", "seed"])


def ordered(dataset: xr.Dataset) -> list[str]:
    """Return the rules by their ratio to the least possible one, averaged over settings."""
    least = dataset.lower_bound.max(["rule", "seed"])
    decades = np.log10(worst(dataset) / least).mean("setting").fillna(math.inf)
    return [str(name) for name in dataset.rule.values[np.argsort(decades.values, kind="stable")]]


def reason(point: xr.Dataset) -> str:
    """Return why a rule was not audited in a setting; empty if it was."""
    code = point.not_run.max().item()
    return NOT_RUN[int(code)].replace("_", " ") if math.isfinite(code) and code > 0 else ""


def figure(dataset: xr.Dataset) -> Figure:
    """Draw for each rule the largest ratio found and the proven bound, a panel for each setting."""
    rules, settings = ordered(dataset), dataset.setting.values
    result = Figure(figsize=(1.75 * len(settings) + 1.6, 0.2 * len(rules) + 1.3))
    axes = result.subplots(1, len(settings), sharey=True, squeeze=False)[0]
    for ax, setting in zip(axes, settings, strict=True):
        _panel(ax, dataset.sel(setting=setting), rules)
        ax.set_title(str(setting))
    axes[0].set_yticks(range(len(rules)), rules)
    result.supxlabel("squared error of the output / squared honest spread", fontsize=9)
    result.legend(handles=_handles(), loc="outside upper center", ncols=3)
    return result


def _panel(ax, data: xr.Dataset, rules: list[str]) -> None:
    ax.axvline(float(data.lower_bound.max()), color="0.35", ls="--", lw=1, zorder=1)
    ax.set(xscale="log", xlim=(LEFT, RIGHT), ylim=(len(rules) - 0.4, -0.6))
    ax.set_xticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    ax.tick_params(axis="y", length=0)
    for place, name in enumerate(rules):
        point = data.sel(rule=name)
        if point.ratio.isnull().all():
            ax.text(math.sqrt(LEFT * RIGHT), place, reason(point), **REASON)
        else:
            _line(ax, point, place, MIXED if name.startswith("NNM") else PLAIN)


def _line(ax, point: xr.Dataset, place: int, style: dict) -> None:
    """Draw one rule: each family, the worst of them, and a line to the proven bound."""
    found, proven = float(point.ratio.max()), float(point.upper_bound.max())
    families = point.ratio.values.ravel()
    ax.plot(families, np.full(families.size, place), ls="", **FAMILY)
    ax.plot([found, proven], [place, place], color="0.75", lw=0.8, zorder=1)
    ax.plot(proven, place, ls="", **PROVEN)
    style = BEYOND if found > RIGHT else style
    ax.plot(min(found, RIGHT), place, ls="", clip_on=False, **style)


REASON: dict = {
    "fontsize": 7, "color": "0.4", "ha": "center", "va": "center",
    "bbox": {"facecolor": "white", "edgecolor": "none", "pad": 1},
}  # fmt: skip
FAMILY: dict = {"marker": "o", "ms": 2, "color": "0.72", "zorder": 2}
PLAIN: dict = {"marker": "o", "ms": 5, "color": VANILLA, "zorder": 3}
MIXED: dict = {"marker": "s", "ms": 5, "color": DETOX, "zorder": 3}
PROVEN: dict = {"marker": "D", "ms": 4.5, "color": THEORY, "mfc": "none", "zorder": 3}
BEYOND: dict = {"marker": ">", "ms": 6, "color": "black", "zorder": 3}


def _handles() -> list[Line2D]:
    """Explain the marks."""
    marks = {
        "largest ratio that the search found": PLAIN,
        "the same, NNM before the rule": MIXED,
        "beyond the axis": BEYOND,
        "proven bound (from memory)": PROVEN,
        "each family of honest rows": FAMILY,
    }
    handles = [Line2D([], [], ls="", label=text, **style) for text, style in marks.items()]
    line = Line2D([], [], color="0.35", ls="--", lw=1, label="f / (n - 2f): no rule can be below")
    return [*handles, line]
