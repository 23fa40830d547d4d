"""What an attack does where the workers' gradients spread less or more: other batches or models."""

import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.lines import Line2D

from detox_sim.sweeps.intervals import student_t
from studies.style import DETOX, VANILLA
from studies.training.effects import differences
from studies.training.effects.tables import interval_text
from studies.training.pipelines import PAIRS

RULE = "Median"
MARKERS = "osD^vP"
COLUMNS = {
    "spread": "spread / norm of the mean",
    "lead": "accuracy gained with DETOX under the attack",
    "damage": "damage to the rule alone",
    "damage_detox": "damage with DETOX",
    "defence": "defence (equal batch)",
    "price": "price of the rule alone",
    "price_detox": "price with DETOX",
}


def doses(dataset: xr.Dataset, rule: str = RULE) -> dict[str, xr.Dataset]:
    """Return what an attack does in each setting where a rule ran alone and with DETOX.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `differences.final_accuracy`; settings are its tasks at equal batch and in variants
        named "batch N". `gradient_spread` and `gradient_norm` are over eval_step too.
    rule : str

    Returns
    -------
    dict of str to xarray.Dataset
        By task and variant, the smallest spread first: over (evaluation, seed) what
        `differences.effects` returns; over seed `spread`, the deviation of honest gradients over
        the norm of their mean, of the rule alone when nobody attacks, mean over steps.
    """
    pair = rule, PAIRS[rule]
    there = "variant" in dataset.dims and "gradient_spread" in dataset
    there = there and {*pair} <= {*dataset.pipeline.values} and "nobody" in dataset.attack.values
    if not there:
        return {}
    needed = ["accuracy", "recalibrated_accuracy", "gradient_spread", "gradient_norm"]
    dataset = dataset[[name for name in needed if name in dataset]]
    found = {}
    for variant in (str(name) for name in dataset.variant.values):
        if variant != "equal batch" and not variant.removeprefix("batch ").isdigit():
            continue
        one = dataset.sel(variant=[variant]).assign_coords(variant=["equal batch"])
        effects = differences.effects(one, pairs=[pair]).isel(rule=0, drop=True)
        unharmed = one.sel(attack="nobody", pipeline=rule, drop=True).isel(variant=0, drop=True)
        spread = (unharmed.gradient_spread / unharmed.gradient_norm).mean("eval_step")
        for task in (str(name) for name in dataset.task.values):
            of = effects.assign(spread=spread).sel(task=task, drop=True)
            if of.defence.notnull().any():
                found[f"{task}, {variant}"] = of
    return dict(sorted(found.items(), key=lambda item: float(item[1].spread.mean())))


def dose_table(dataset: xr.Dataset, evaluation: str = "one worker") -> pd.DataFrame:
    """Return the effects in each setting, a row each; no row where there are not two.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `doses`.
    evaluation : str
        One of `differences.EVALUATIONS`.
    """
    rows = {
        name: {label: interval_text(one[key]) for key, label in COLUMNS.items()}
        | {"seeds": str(int(one.defence.notnull().sum()))}
        for name, found in doses(dataset).items()
        for one in (found.sel(evaluation=evaluation),)
    }
    return pd.DataFrame(rows if len(rows) > 1 else {}).T.rename_axis("setting")


def dose_panel(ax, found: dict[str, xr.Dataset]) -> None:
    """Draw the damage alone and with DETOX over the spread: filled one worker, else recalibrated.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    found : dict of str to xarray.Dataset
        Of `doses`.
    """
    for (name, one), marker in zip(found.items(), MARKERS, strict=False):
        place = float(one.spread.mean())
        for key, colour in (("damage", VANILLA), ("damage_detox", DETOX)):
            for evaluation in differences.EVALUATIONS:
                values = one[key].sel(evaluation=evaluation).values.astype(float)
                if np.isnan(values).all():
                    continue
                fill = colour if evaluation == "one worker" else "white"
                ax.plot([place, place], student_t(values), color=colour, lw=1)
                ax.plot(place, np.nanmean(values), marker, color=colour, mfc=fill, ms=5)
        ax.plot([], [], marker, color="0.3", ls="", label=name)
    ax.axhline(0, color="0.4", lw=0.8)
    ax.set(xscale="log", ylabel="test accuracy lost")
    ax.set_xlabel("spread of honest gradients / norm of their mean, nobody attacks")
    colours = {"rule alone": VANILLA, "with DETOX": DETOX}
    handles: list = [Line2D([], [], color=c, label=label) for label, c in colours.items()]
    ax.legend(
        handles=handles + ax.get_legend_handles_labels()[0],
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        title="filled: statistics of one worker\nhollow: recalibrated",
    )
