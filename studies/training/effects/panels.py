"""Panels of what an attack does: damage, defence, price, their parts, the mechanism."""

from collections.abc import Sequence

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from detox_sim.sweeps.intervals import student_t
from studies.style import DETOX, VANILLA
from studies.training.effects import differences, estimates
from studies.training.pipelines import PAIRS

COMPUTE = sns.color_palette("colorblind")[4]
ALONE, MORE, WITH = "rule alone", "alone, equal compute", "with DETOX"
STYLES = {ALONE: (VANILLA, "o"), MORE: (COMPUTE, "^"), WITH: (DETOX, "s")}
PART_COLOURS = dict(zip(differences.PARTS, ("#d55e00", "#cc78bc", "#029e73", "0.6"), strict=True))
COLOURS = {  # of effects: damages as the lines of the same runs
    "damage": VANILLA,
    "damage_equal_compute": COMPUTE,
    "damage_detox": DETOX,
    "defence": "#029e73",
    "defence_equal_compute": "#0a5c46",
    "price": "0.5",
}
LIMITS = -0.3, 1.1  # of differences of accuracy; wider intervals are cut
BELOW: dict = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.16)}
MECHANISM = {
    "spread of honest gradients\n/ norm of their mean": ("gradient_spread", "gradient_norm"),
    "error of the aggregate\n/ norm of the mean": ("gradient_error", "gradient_norm"),
    "cosine of aggregate\nand mean": ("cosine", None),
}


def contenders(dataset: xr.Dataset, rule: str) -> dict[str, xr.Dataset]:
    """Return the runs of a rule alone, alone at equal compute and with DETOX, those that are there.

    Parameters
    ----------
    dataset : xarray.Dataset
        One task; over pipeline, seed, and variant if it has that axis.
    rule : str
    """
    if "variant" not in dataset.dims:
        dataset = dataset.expand_dims(variant=["equal batch"])
    wanted = {
        ALONE: (rule, "equal batch"),
        MORE: (rule, "equal compute"),
        WITH: (PAIRS[rule], "equal batch"),
    }
    found = {}
    for label, (pipeline, variant) in wanted.items():
        if pipeline in dataset.pipeline.values and variant in dataset.variant.values:
            runs = dataset.sel(pipeline=pipeline, variant=variant)
            if runs.accuracy.notnull().any():
                found[label] = runs
    return found


def accuracy_panel(ax, dataset: xr.Dataset, rule: str, name: str = "accuracy") -> None:
    """Draw a measured accuracy by step of a rule alone, at equal compute and with DETOX.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    dataset : xarray.Dataset
        One task and one attack.
    rule : str
    name : str
        "accuracy" or "recalibrated_accuracy".
    """
    for label, runs in contenders(dataset[["accuracy", name]], rule).items():
        _lines(ax, runs[name], label)
    ax.set(ylim=(0, 1.02), xlabel="step")


def _lines(ax, values: xr.DataArray, label: str) -> None:
    """Draw a mean over seeds by step and its interval."""
    colour, marker = STYLES[label]
    values = values.transpose("seed", "eval_step").astype(float)
    ends = np.array([student_t(values.values[:, k]) for k in range(values.eval_step.size)])
    steps, every = values.eval_step.values, max(1, values.eval_step.size // 8)
    ax.plot(steps, values.mean("seed"), marker=marker, color=colour, markevery=every, label=label)
    ax.fill_between(steps, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, lw=0)


def contenders_legend(figure, stars: bool = False) -> None:
    """Explain the lines once, above the panels."""
    handles = [
        Line2D([], [], color=colour, marker=marker, label=label)
        for label, (colour, marker) in STYLES.items()
    ]
    if stars:
        label = "reported, paper's scale"
        star: dict = {"marker": "*", "ls": "", "ms": 8, "mfc": "none"}
        handles.append(Line2D([], [], color="0.3", label=label, **star))
    figure.legend(handles=handles, loc="outside upper center", ncols=len(handles))


def effects_panel(ax, found: xr.Dataset) -> None:
    """Draw each effect of each rule with its interval: filled as one worker, hollow recalibrated.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    found : xarray.Dataset
        `differences.effects` of one task.
    """
    names = [name for name in COLOURS if found[name].notnull().any()]
    rules = [str(rule) for rule in found.rule.values]
    height = 0.84 / max(len(names), 1)
    for k, name in enumerate(names):
        for i, rule in enumerate(rules):
            for evaluation, fill in zip(
                differences.EVALUATIONS, (COLOURS[name], "white"), strict=True
            ):
                values = found[name].sel(rule=rule, evaluation=evaluation).values.astype(float)
                if np.isnan(values).all():
                    continue
                place = i - 0.42 + height * (k + 0.3 + 0.4 * (fill == "white"))
                ax.plot(student_t(values), [place, place], color=COLOURS[name], lw=1)
                ax.plot(np.nanmean(values), place, "o", ms=3.5, mec=COLOURS[name], mfc=fill)
        ax.plot([], [], "o", color=COLOURS[name], label=differences.QUANTITIES[name])
    ax.axvline(0, color="0.4", lw=0.8)
    ax.axvline(estimates.THRESHOLD, color="0.4", lw=0.8, ls=":")
    ax.set_yticks(range(len(rules)), rules)
    ax.set_ylim(max(len(rules), 1) - 0.5, -0.5)
    ax.set_xlim(*LIMITS)
    ax.set_xlabel("test accuracy; filled: statistics of one worker, hollow: recalibrated")
    if names:
        ax.legend(ncols=2, **BELOW)


def decomposition_panel(ax, parts: xr.DataArray, legend: bool = True) -> None:
    """Draw the parts of the damage to each rule as bars one after the other, their sum as a point.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    parts : xarray.DataArray
        `differences.decomposition` of one task: (part, rule, seed). A rule of which some part is
        missing is left out.
    legend : bool
    """
    rules = [str(rule) for rule in parts.rule.values if differences.complete(parts, rule).seed.size]
    for place, rule in enumerate(rules):
        seeds = differences.complete(parts, rule)
        ends = {True: 0.0, False: 0.0}  # of the bars above and below zero
        for part in differences.PARTS:
            value = float(seeds.sel(part=part).mean("seed"))
            ax.barh(place, value, 0.6, left=ends[value > 0], color=PART_COLOURS[part])
            ends[value > 0] += value
        total = seeds.sum("part").values
        ax.plot(student_t(total), [place, place], color="0.2", lw=1.2)
        ax.plot(np.nanmean(total), place, "D", color="0.2", ms=4)
    ax.axvline(0, color="0.4", lw=0.8)
    ax.set_yticks(range(len(rules)), rules)
    ax.set_ylim(max(len(rules), 1) - 0.5, -0.5)
    ax.set_xlim(*LIMITS)
    ax.set_xlabel("test accuracy lost under the attack")
    if not rules:
        ax.text(0.5, 0.5, "equal compute was not run", transform=ax.transAxes, ha="center")
    if legend:
        handles: list = [Patch(color=PART_COLOURS[part], label=part) for part in differences.PARTS]
        handles.append(Line2D([], [], color="0.2", marker="D", ms=4, label="all, 95 % interval"))
        ax.legend(handles=handles, ncols=3, **BELOW)


def decomposition_figure(datasets: Sequence[xr.Dataset]) -> Figure:
    """Draw the parts of the damage to each rule, a panel for each task of some datasets.

    Parameters
    ----------
    datasets : sequence of xarray.Dataset
        See `differences.final_accuracy`; tasks without runs at equal compute are left out.
    """
    parts = [differences.decomposition(differences.effects(dataset)) for dataset in datasets]
    tasks = [one.sel(task=task) for one in parts for task in one.task.values]
    tasks = [one for one in tasks if one.notnull().all("part").any()]
    figure = Figure(figsize=(4.8 * max(len(tasks), 2), 2.9))
    for i, one in enumerate(tasks):
        ax = figure.add_subplot(1, len(tasks), i + 1)
        decomposition_panel(ax, one)
        ax.set_title(str(one.task.item()))
    return figure


def mechanism_panels(figure, place, dataset: xr.Dataset, rule: str) -> None:
    """Draw the spread of gradients, the error and the direction of the aggregate by step.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    place : matplotlib.gridspec.SubplotSpec
    dataset : xarray.Dataset
        One task and one attack.
    rule : str
    """
    cells, there = place.subgridspec(1, len(MECHANISM)), contenders(dataset, rule)
    for cell, (label, (above, below)) in zip(cells, MECHANISM.items(), strict=True):
        ax = figure.add_subplot(cell)
        for name, runs in there.items():
            if above in runs:
                values = runs[above].astype(float)
                _lines(ax, values if below is None else values / runs[below].astype(float), name)
        ax.set(xlabel="step", title=label)
        if cell.is_first_col():
            ax.set_ylabel(f"{rule}, {dataset.attack.item()}")
        if below is None:
            ax.set_ylim(-1.05, 1.05)
        elif ax.lines:
            ax.set_yscale("log")
            means = np.concatenate([line.get_ydata() for line in ax.lines])
            means = means[np.isfinite(means) & (means > 0)]
            if means.size:
                ax.set_ylim(means.min() / 2, means.max() * 2)
