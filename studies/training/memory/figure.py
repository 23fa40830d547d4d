"""The figure of damage and price with server and worker momentum, alone and with DETOX."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim.sweeps.intervals import student_t
from studies.style import DETOX, THEORY, VANILLA
from studies.training.effects.estimates import THRESHOLD
from studies.training.effects.panels import COMPUTE
from studies.training.memory.damages import (
    FOUR,
    REFERENCE,
    by_configuration,
    cases,
    damages,
    prices,
    spreads,
)

STYLES = dict(zip(FOUR, ((VANILLA, "o"), (DETOX, "s"), (THEORY, "D"), (COMPUTE, "^")), strict=True))
WIDTH, COLUMN, MARGIN = 9.6, 2.2, 1.5  # inches: at least, a panel at least, labels of rules
LINE = 0.62  # inches: a rule
LIMITS = -0.1, 1.0  # of accuracy lost; wider intervals are cut
CURVES = 2.1  # inches: panels by step


def figure(dataset: xr.Dataset) -> Figure:
    """Draw damage and price of each rule; accuracy by step and spread of the first robust rule.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `damages.accuracies`; also `gradient_spread` and `gradient_norm`.
    """
    damage = damages(dataset)
    byzantine = [int(q) for q in dataset.byzantine.values]
    ran = cases(dataset)
    attacks = {q: [attack for n, attack in ran if n == q] for q in byzantine}
    columns = max(len(some) for some in attacks.values()) + 1
    heights = [LINE * dataset.rule.size + 0.8, CURVES] * len(byzantine)
    result = Figure(figsize=(max(WIDTH, COLUMN * columns + MARGIN), sum(heights) + 0.5))
    grid = result.add_gridspec(len(heights), columns, height_ratios=heights)
    for i, q in enumerate(byzantine):
        one = dataset.sel(byzantine=[q])
        for k, attack in enumerate(attacks[q]):
            axes = [result.add_subplot(grid[2 * i + row, k]) for row in (0, 1)]
            _attacked(axes, one, attack, damage.sel(byzantine=q, attack=attack))
            for ax in axes:
                ax.tick_params(labelleft=k == 0)
        last = [result.add_subplot(grid[2 * i + row, columns - 1]) for row in (0, 1)]
        _unharmed(last, one)
        last[0].tick_params(labelleft=not attacks[q])
    _legend(result)
    return result


def _attacked(axes: list, dataset: xr.Dataset, attack: str, damage: xr.DataArray) -> None:
    """Draw the damage by an attack, and accuracy by step, of one number of Byzantine workers."""
    (q,), shown, (above, below) = dataset.byzantine.values, _shown(dataset), axes
    _points(above, damage)
    above.set(title=f"damage by {attack},\nq = {q}", xlim=LIMITS)
    accuracy = dataset.accuracy.sel(byzantine=q, attack=attack, rule=shown)
    _lines(below, by_configuration(accuracy))
    below.set(ylim=(0, 1.02), title=f"{shown}, {attack}:\ntest accuracy")


def _unharmed(axes: list, dataset: xr.Dataset) -> None:
    """Draw price, and spread by step, of one number of Byzantine workers when nobody attacks."""
    (q,), shown, (above, below) = dataset.byzantine.values, _shown(dataset), axes
    _points(above, prices(dataset).sel(byzantine=q))
    above.set(title=f"price, nobody attacks,\nq = {q}")
    _lines(below, spreads(dataset).sel(byzantine=q, rule=shown))
    below.set_title(f"{shown}, nobody attacks: spread of\nhonest messages / norm of their mean")
    below.set_ylim(bottom=0)


def _shown(dataset: xr.Dataset) -> str:
    """Return the rule whose runs are drawn by step: the first robust one, or the first."""
    rules = [str(rule) for rule in dataset.rule.values]
    return next((rule for rule in rules if rule != REFERENCE), rules[0])


def _points(ax, values: xr.DataArray) -> None:
    """Draw a point with its interval for each rule and configuration."""
    rules = [str(rule) for rule in values.rule.values]
    values = values.sel(configuration=[*STYLES]).transpose("rule", "configuration", "seed")
    for place in range(len(rules)):
        for k, (colour, marker) in enumerate(STYLES.values()):
            seeds = values.values[place, k].astype(float)
            if np.isnan(seeds).all():
                continue
            at = place + 0.18 * (k - 1.5)
            ax.plot(student_t(seeds), [at, at], color=colour, lw=1.2)
            ax.plot(np.nanmean(seeds), at, marker, color=colour)
    ax.axvline(0, color="0.4", lw=0.8)
    ax.axvline(THRESHOLD, color="0.4", lw=0.8, ls=":")
    ax.set_yticks(range(len(rules)), rules)
    ax.set_ylim(len(rules) - 0.5, -0.5)
    ax.set_xlabel("test accuracy lost")


def _lines(ax, values: xr.DataArray) -> None:
    """Draw means over seeds by step and their intervals (configuration, seed, eval_step)."""
    for name, (colour, marker) in STYLES.items():
        runs = values.sel(configuration=name).transpose("seed", "eval_step").astype(float)
        runs = runs.dropna("eval_step", how="all")
        if not runs.size:
            continue
        ends = np.array([student_t(column) for column in runs.values.T])
        every = max(1, runs.eval_step.size // 6)
        ax.plot(runs.eval_step, runs.mean("seed"), marker=marker, color=colour, markevery=every)
        ax.fill_between(runs.eval_step, ends[:, 0], ends[:, 1], color=colour, alpha=0.2, lw=0)
    ax.set_xlabel("step")


def _legend(result: Figure) -> None:
    handles = [
        Line2D([], [], color=colour, marker=marker, label=name)
        for name, (colour, marker) in STYLES.items()
    ]
    handles.append(Line2D([], [], color="0.4", lw=0.8, ls=":", label=f"threshold {THRESHOLD:g}"))
    result.legend(handles=handles, loc="outside upper center", ncols=3)
