"""The search of learning rates: training loss at the last step by rate, for each pipeline."""

import numpy as np
import xarray as xr
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from detox_sim import data
from detox_sim.sweeps.intervals import interval
from studies.style import DETOX, VANILLA
from studies.training import comparisons, panels, pipelines, schedules, tasks
from studies.training.accuracy_reverse import ATTACK
from studies.training.cells import study

DEFINITIONS = [
    *pipelines.DEFINITIONS,
    "final loss: mean over files at the last step, before its update",
    "chosen: the lowest mean final loss over seeds, of the rates at which every seed ends below "
    "nine tenths of the loss of guessing, ln 10 (the DETOX code has one seed, and no such guard)",
    "common rate: the same over all attacks and pipelines at once, but for those that learn at no "
    "rate under their attack",
    "ALIE: z = 1, sign plus, population deviation over the distinct honest gradients",
    "reverse: -100 times the own gradient (DETOX code)",
    "rules on signs are left out, their rates lie below the grid",
]
MOST = 3.0  # training loss up to which is drawn
CLASSES = 10
LEARNED = 0.9 * np.log(CLASSES)  # a loss below is better than guessing
RATES = [2.0**k for k in range(-10, -2)]

_ALIE = {"alie": {"attack": "alie", "attack_options": {"z": 1.0}}}
_EVERY = _ALIE | ATTACK | tasks.NOBODY
_METHODS = pipelines.VANILLA | pipelines.DETOX


def _axes(attacks: dict, rates: list[float], seeds: int = 3) -> dict:
    return {
        "attack": attacks,
        "pipeline": _METHODS,
        "rate": rates,
        "seed": list(range(seeds)),
    }


_LAST = {"steps": 200, "evaluate_every": 200}
_DIGITS = {**tasks.DIGITS["MLP on digits"], "batch": 90}
_PAPER = {**tasks.PAPER["ResNet-18 on CIFAR-10"], "batch": 1440}
PROFILES = {
    "smoke": (
        _DIGITS | {"steps": 5, "evaluate_every": 5},
        _axes(_ALIE | tasks.NOBODY, RATES[1::5], 1),
    ),
    "laptop": (_DIGITS | {"steps": 100, "evaluate_every": 100}, _axes(_ALIE, RATES[3::2])),
    "paper": (_PAPER | _LAST, _axes(_EVERY, RATES)),
}


def prepare(fields: dict) -> dict:
    """Return every field of the Trial; the data have ten classes, for which `LEARNED` is made."""
    prepared = pipelines.prepare(fields)
    classes = data.load(prepared["data"], prepared["data_options"]).classes
    if classes != CLASSES:
        raise ValueError(f"tune needs data of {CLASSES} classes, got {classes}")
    return prepared


def chosen_rates(dataset: xr.Dataset) -> dict[str, dict[str, float]]:
    """Return the rate of the lowest mean final loss over seeds, by attack and pipeline.

    Only rates at which every seed ended better than guessing count: too small a rate has not
    learned yet, and one at which a seed diverges is too large.
    A pipeline without such a rate has none.

    Examples
    --------
    >>> loss = [[[[0.5, 0.6], [0.2, 0.3], [0.1, 2.3]], [[2.3, 2.3], [np.nan] * 2, [np.inf] * 2]]]
    >>> found = xr.Dataset(
    ...     {"final_loss": (("attack", "pipeline", "rate", "seed"), loss)},
    ...     {"attack": ["alie"], "pipeline": ["Mean", "Median"], "rate": [0.25, 0.5, 1.0]},
    ... )
    >>> chosen_rates(found)
    {'alie': {'Mean': 0.5}}
    """
    learned = _learned(dataset)
    loss = dataset.final_loss.mean("seed").where(learned, np.inf)
    return {
        str(attack): {
            str(name): float(loss.rate[int(loss.sel(attack=attack, pipeline=name).argmin("rate"))])
            for name in loss.pipeline.values
            if learned.sel(attack=attack, pipeline=name).any()
        }
        for attack in loss.attack.values
    }


def common_rate(dataset: xr.Dataset) -> float | None:
    """Return the rate of the lowest loss over all attacks, pipelines and seeds; None without one.

    Only rates at which every seed of every pipeline ended better than guessing count, but for
    pipelines that do so at no rate under their attack. So no difference between pipelines is one
    of rates, or of chance at the edge of stability.

    Examples
    --------
    >>> loss = [[[[0.5, 0.6], [0.2, 0.3], [0.1, 0.2]], [[0.7, 0.8], [0.4, 0.4], [0.1, 2.3]]]]
    >>> dims = ("attack", "pipeline", "rate", "seed")
    >>> common_rate(xr.Dataset({"final_loss": (dims, loss)}, {"rate": [0.25, 0.5, 1.0]}))
    0.5
    """
    learned = _learned(dataset)
    able = learned.any("rate")
    safe = (learned | ~able).all(["attack", "pipeline"])
    if not safe.any() or not able.any():
        return None
    loss = dataset.final_loss.mean("seed").where(able).mean(["attack", "pipeline"])
    return float(loss.rate[int(loss.where(safe, np.inf).argmin("rate"))])


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: the chosen rates by attack, and the common one.

    Examples
    --------
    >>> loss = [[[[0.5, 0.6], [0.2, 0.3]], [[0.5, 0.5], [2.4, 2.4]], [[2.4] * 2] * 2]]
    >>> names = {"attack": ["alie"], "pipeline": ["Mean", "D-Mean", "Krum"], "rate": [0.25, 0.5]}
    >>> found = xr.Dataset({"final_loss": ((*names, "seed"), loss)}, names)
    >>> print(finding(found))
    * **alie** (rate: pipelines, losses): 0.25: D-Mean 0.500 ± 0.000; 0.5: Mean 0.250 ± 0.635.
    * **alie**: at no rate does every seed learn with Krum.
    * At the smallest rate tried, 0.25: 1 of 2 chosen rates. A smaller one may be better.
    * At the largest rate tried, 0.5: 1 of 2 chosen rates. A larger one may be better.
    * **The common rate** is 0.25.
    """
    lines, chosen = [], chosen_rates(dataset)
    ends = {"smallest": float(dataset.rate.min()), "largest": float(dataset.rate.max())}
    for attack, rates in chosen.items():
        of: dict[float, list[str]] = {rate: [] for rate in sorted(set(rates.values()))}
        for name, rate in rates.items():
            loss = dataset.final_loss.sel(attack=attack, pipeline=name, rate=rate)
            of[rate].append(f"{name} {interval(loss)}")
        words = "; ".join(f"{rate:g}: {', '.join(names)}" for rate, names in of.items())
        if words:
            lines.append(f"**{attack}** (rate: pipelines, losses): {words}.")
        if missing := [str(name) for name in dataset.pipeline.values if name not in rates]:
            lines.append(
                f"**{attack}**: at no rate does every seed learn with {', '.join(missing)}."
            )
    every = [rate for rates in chosen.values() for rate in rates.values()]
    for end, word in (("smallest", "smaller"), ("largest", "larger")):
        if count := every.count(ends[end]):
            lines.append(
                f"At the {end} rate tried, {ends[end]:g}: {count} of {len(every)} chosen rates. A "
                f"{word} one may be better."
            )
    common = common_rate(dataset)
    lines.append(
        "There is no common rate." if common is None else f"**The common rate** is {common:g}."
    )
    return "\n".join(f"* {line}" for line in lines)


def _learned(dataset: xr.Dataset) -> xr.DataArray:
    """Return where every seed ended better than guessing (attack, pipeline, rate)."""
    return (dataset.final_loss < LEARNED).all("seed")


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the final training loss by rate for each pair, with the rate chosen and the paper's.

    A point is the mean over seeds, filled only where every seed learned.
    """
    pairs = comparisons.pairs_in(dataset)
    attacks = [str(name) for name in dataset.attack.values]
    result = Figure(figsize=(panels.WIDTH, 2.4 * len(attacks) + 0.6))
    grid = result.subplots(len(attacks), len(pairs), sharex=True, sharey=True, squeeze=False)
    chosen, common = chosen_rates(dataset), common_rate(dataset)
    results = xr.Dataset(
        {"loss": dataset.final_loss.mean("seed", skipna=False), "learned": _learned(dataset)}
    )
    for axes, attack in zip(grid, attacks, strict=True):
        for ax, pair in zip(axes, pairs, strict=True):
            _panel(ax, results.sel(attack=attack), pair, chosen[attack], attack)
            if common is not None:
                ax.axvline(common, color="0.75", lw=3, zorder=0)
        axes[0].set_ylabel(f"{attack}: last training loss")
    for ax, pair in zip(grid[0], pairs, strict=True):
        ax.set_title(pair[0])
    for ax in grid[-1]:
        ax.set_xlabel("learning rate")
    result.legend(handles=_handles(), loc="outside upper center", ncols=4)
    return result


def _panel(ax, results: xr.Dataset, pair: tuple[str, str], chosen: dict, attack: str) -> None:
    for name, marker in zip(pair, panels.MARKERS, strict=True):
        if name not in results.pipeline.values:
            continue
        mine, colour = results.loss.sel(pipeline=name), panels.colour(name)
        drawn = mine.where(mine <= MOST)  # also drops Inf
        ax.plot(mine.rate, drawn, color=colour, marker=marker, mfc="white")
        ax.plot(mine.rate, drawn.where(results.learned.sel(pipeline=name)), marker, color=colour)
        over = mine.rate.values[~(mine.values <= MOST)]
        if over.size:
            ax.plot(over, np.full(over.size, MOST), "^", color=colour, mfc="none", clip_on=False)
        if name in chosen:
            best = float(mine.sel(rate=chosen[name]))
            ring = {"ms": 10, "mfc": "none", "mec": colour, "clip_on": False}
            ax.plot(chosen[name], min(best, MOST), "o", **ring)
        schedule = schedules.REPORTED_SCHEDULES.get(name, {}).get((attack, "resnet18"))
        if schedule:
            height = 0.93 if name.startswith("D-") else 0.84
            where = ax.get_xaxis_transform()
            ax.plot(schedule[0], height, "*", mec=colour, transform=where, **panels.STAR)
    ax.set_xscale("log", base=2)
    ax.set_ylim(0, MOST)


def _handles() -> list[Line2D]:
    marks: list[dict] = [
        {"marker": "o", "ms": 10, "mfc": "none", "label": "chosen"},
        {"marker": "o", "mfc": "white", "label": "a seed ended no better than guessing"},
        {"marker": "^", "mfc": "none", "label": f"above {MOST:g}, or not finite"},
        {"marker": "*", "label": "the paper's rate (reported, ResNet-18)", **panels.STAR},
    ]
    return [
        Line2D([], [], color="0.75", lw=3, label="common rate"),
        Line2D([], [], color=VANILLA, marker=panels.MARKERS[0], label="rule alone"),
        Line2D([], [], color=DETOX, marker=panels.MARKERS[1], label="with DETOX"),
        *(Line2D([], [], color="0.3", ls="", **mark) for mark in marks),
    ]


STUDY = study(
    title="Learning rates",
    claim=(
        "The DETOX code tries the rates 2^-10 to 2^-3 for 200 steps each under ALIE with q = 5 "
        "and takes the one of the lowest training loss at the end; the paper's tables then give"
        " 0.1 for the D- versions and 0.002 to 0.008 for the rules alone under ALIE (reported; "
        "quoted from memory)."
    ),
    definitions=DEFINITIONS,
    profiles=PROFILES,
    figure=figure,
    finding=finding,
    by_name=("paper",),
    prepare=prepare,
)
