"""The figure of a study that compares rules alone and with DETOX under an attack and without."""

from collections.abc import Callable, Mapping

import xarray as xr
from matplotlib.figure import Figure

from studies.style import DETOX, VANILLA
from studies.training import comparisons, panels, pipelines
from studies.training.effects import differences
from studies.training.effects.dose import RULE, dose_panel, doses
from studies.training.effects.panels import (
    accuracy_panel,
    contenders_legend,
    decomposition_panel,
    effects_panel,
    mechanism_panels,
)

HEIGHTS = [2.2, 2.2, 3.2, 2.2]  # of the rows, in inches
DOSE_HEIGHT = 2.4


def draw_effects(
    dataset: xr.Dataset,
    reported: Callable[[str], Mapping[str, float]] = lambda task: {},
    more: Callable | None = None,
) -> Figure:
    """Draw accuracy under the attack and without, effects, their parts, and the mechanism.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `differences.final_accuracy`.
    reported : callable
        Task -> the paper's accuracies under the attack by pipeline, in percent.
    more : callable, optional
        (figure, place, dataset of one task) draws a last row for each task.
    """
    tasks, settings = comparisons.tasks_in(dataset), doses(dataset)
    heights = [*HEIGHTS, *[2.8] * (more is not None)]
    blocks = [sum(heights) + 0.6] * len(tasks) + [DOSE_HEIGHT] * (len(settings) > 1)
    figure = Figure(figsize=(panels.WIDTH, sum(blocks) + 0.4))
    grid = figure.add_gridspec(len(blocks), 1, height_ratios=blocks)
    stars = False
    for i, task in enumerate(tasks):
        rows = grid[i].subgridspec(len(heights), 1, height_ratios=heights)
        one, values = dataset.sel(task=task), reported(task)
        _accuracies(figure, rows, one, f"{task}\n" if len(tasks) > 1 else "", values)
        _effects(figure, rows[2], one)
        _mechanism(figure, rows[3], one)
        if more is not None:
            more(figure, rows[4], one)
        stars |= bool(values)
    if len(settings) > 1:
        last = figure.add_subplot(grid[-1])
        dose_panel(last, settings)
        last.set_title(f"{RULE}: other batches and models")
    contenders_legend(figure, stars)
    return figure


def _accuracies(figure, rows, dataset: xr.Dataset, start: str, reported: Mapping) -> None:
    """Draw a row of panels under the attack, and one when nobody attacks."""
    rules, attack = _rules(dataset), comparisons.attack_in(dataset)
    below = None
    for k, label in enumerate((attack, "nobody")):
        cells = rows[k].subgridspec(1, len(rules))
        for i, rule in enumerate(rules):
            below = figure.add_subplot(cells[i], sharey=below)
            below.tick_params(labelleft=i == 0)
            below.set_title(rule if k == 0 else "")
            if i == 0:
                below.set_ylabel(f"{start}test accuracy, {label}")
            if label in dataset.attack.values:
                accuracy_panel(below, dataset.sel(attack=label), rule)
            if k == 0 and attack != "nobody":
                _stars(below, rule, reported)


def _stars(ax, rule: str, values: Mapping[str, float]) -> None:
    """Mark the paper's values at the right edge."""
    for name, colour in ((rule, VANILLA), (pipelines.PAIRS[rule], DETOX)):
        if name in values:
            ax.plot(1.0, values[name] / 100, "*", mec=colour, transform=ax.get_yaxis_transform(),
                    clip_on=False, **panels.STAR)  # fmt: skip


def _effects(figure, place, dataset: xr.Dataset) -> None:
    left, right = (figure.add_subplot(cell) for cell in place.subgridspec(1, 2))
    found = differences.effects(dataset.expand_dims("task")).isel(task=0)
    effects_panel(left, found)
    left.set_title("what the attack does and what DETOX saves (dotted: 0.02)")
    decomposition_panel(right, differences.decomposition(found))
    right.set_title("the damage, in parts")


def _mechanism(figure, place, dataset: xr.Dataset) -> None:
    """Draw the mechanism for the second rule, the first robust one where the mean is there."""
    rules, attack = _rules(dataset), comparisons.attack_in(dataset)
    mechanism_panels(figure, place, dataset.sel(attack=attack), rules[len(rules) > 1])


def _rules(dataset: xr.Dataset) -> list[str]:
    return [rule for rule, _ in comparisons.pairs_in(dataset)]
