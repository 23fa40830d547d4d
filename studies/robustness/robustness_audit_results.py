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


def exact(dataset: xr.Dataset) -> xr.DataArray:
    """Return where the proven bound is the coefficient; nowhere in a dataset that does not say."""
    return dataset.get("exact", xr.zeros_like(dataset.upper_bound)).max("seed") > 0


KEEP = ("SMEA", "MDA", "Phocas")  # and all that follow NNM: their output is of n - f rows
NEAR = 0.1  # a ratio that differs by less is neither higher nor lower


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: a bullet a question, for the settings that were run.

    Parameters
    ----------
    dataset : xarray.Dataset
        (rule, setting, seed, family); NaN where a rule was not run.
    """
    found = worst(dataset).dropna("setting", how="all")
    if not found.sizes["setting"]:
        return "No cell of this dataset is finished."
    least = dataset.lower_bound.max(["rule", "seed"]).sel(setting=found.setting)
    proven = dataset.upper_bound.max("seed").sel(setting=found.setting)
    kept = [name for name in map(str, found.rule.values) if name in KEEP or name.startswith("NNM")]
    share = found / proven
    exceeded = int((share > 1 + 1e-9).sum())
    lines = [
        f"**Nearest to the least possible ratio** f / (n - 2f): {_nearest(found, least)}.",
        f"**Ratios above {RIGHT:g}**: {_beyond(found)}.",
        f"**Nearest-neighbour mixing (NNM)** changes the ratio by more than {NEAR:.0%}: "
        f"{_mixing(found)}.",
        f"**Share of 4 f / (n - 2f) that rules reach which keep n - f rows**: "
        f"{_reached(found.sel(rule=kept), 4 * least)}.",
        f"**Proven bounds**: the search exceeds {exceeded} of {int(share.count())}"
        + (
            f", and reaches {float(share.min()):.0%} to {float(share.max()):.0%} of one."
            if share.notnull().any()
            else "."
        ),
        f"**Share of the exact coefficient** that the search reaches, where it is known: "
        f"{_reached(found, proven.where(exact(dataset)))}.",
    ]
    if below := int((found < least * (1 - 1e-3)).sum()):
        lines.append(
            f"{below} of {int(found.notnull().sum())} ratios lie below the least that is possible: "
            "there the search was too short to find the worst rows."
        )
    return "\n".join(f"* {line}" for line in lines)


def _nearest(found: xr.DataArray, least: xr.DataArray) -> str:
    """Return in each setting the rule of the smallest ratio."""
    parts = []
    for setting in found.setting.values:
        one = (found / least).sel(setting=setting).dropna("rule")
        rule = one.rule.values[int(one.argmin("rule"))]
        parts.append(f"{rule} ({setting}: {float(one.min()):.2f} times it)")
    return "; ".join(parts)


def _beyond(found: xr.DataArray) -> str:
    """Return the rules whose ratio is beyond the axis of the figure, with their settings."""
    beyond = (found > RIGHT).transpose("rule", "setting")
    parts = [
        f"{rule} ({'; '.join(map(str, found.setting.values[row]))})"
        for rule, row in zip(found.rule.values, beyond.values, strict=True)
        if row.any()
    ]
    return ", ".join(parts) or "none"


def _mixing(found: xr.DataArray) -> str:
    """Return for each mixed rule how many settings it lowers the ratio in, and raises it in."""
    parts = []
    alone = {str(name).lower(): name for name in found.rule.values}
    for mixed in found.rule.values:
        name = alone.get(str(mixed).removeprefix("NNM + ").lower())
        if not str(mixed).startswith("NNM + ") or name is None:
            continue
        change = (found.sel(rule=mixed) / found.sel(rule=name)).dropna("setting")
        if change.size:
            parts.append(
                f"{name} lower in {int((change < 1 - NEAR).sum())}, higher in "
                f"{int((change > 1 + NEAR).sum())} of {change.size} settings"
            )
    return "; ".join(parts) or "not run"


def _reached(found: xr.DataArray, proven: xr.DataArray) -> str:
    """Return the least and the largest share of a value that each rule reaches."""
    parts = []
    for rule, row in zip(found.rule.values, (found / proven).values, strict=True):
        if np.isfinite(row).any():
            low, high = f"{np.nanmin(row):.0%}", f"{np.nanmax(row):.0%}"
            parts.append(f"{rule} {low}" + f" to {high}" * (high != low))
    return ", ".join(parts) or "not run"


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the largest ratio found of each rule and the proven bound, a panel for each setting."""
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
    ax.plot(proven, place, ls="", **(EXACT if exact(point).item() else PROVEN))
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
EXACT: dict = PROVEN | {"mfc": THEORY}
BEYOND: dict = {"marker": ">", "ms": 6, "color": "black", "zorder": 3}


def _handles() -> list[Line2D]:
    """Explain the marks."""
    marks = {
        "largest ratio that the search found": PLAIN,
        "the same, NNM before the rule": MIXED,
        "beyond the axis": BEYOND,
        "proven bound": PROVEN,
        "exact coefficient, proven": EXACT,
        "each family of honest rows": FAMILY,
    }
    handles = [Line2D([], [], ls="", label=text, **style) for text, style in marks.items()]
    line = Line2D([], [], color="0.35", ls="--", lw=1, label="f / (n - 2f): no rule can be below")
    return [*handles, line]
