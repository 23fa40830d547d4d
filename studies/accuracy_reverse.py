"""Accuracy, and time to accuracy, under the reverse-gradient and the constant attack."""

import sys

import numpy as np
import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from studies import pipelines, run_alone
from studies.accuracy_alie import accuracy_legend, accuracy_panel
from studies.pipelines import cost, prepare
from studies.style import DETOX, VANILLA, student_t

__all__ = ["cost", "figure", "prepare", "run"]

TITLE = "Reverse gradient and constant attack"
CLAIM = (
    "The paper's figures 3 to 5: under the reverse gradient all methods converge and the D- "
    "versions are faster, the median about 5 times to 90 % on ResNet-18; under the constant "
    "attack D-signSGD ends at 78.75 % and signSGD at 34.92 % (reported; quoted from memory)."
)
DEFINITIONS = [
    *pipelines.DEFINITIONS,
    "reverse: -100 times the own gradient; constant: -100 in every coordinate (DETOX code)",
    "time to accuracy: first evaluated step times the modelled round at the paper's size "
    "(ResNet-18, batch 1440, 46 nodes at 10 Gbit/s); not measured",
]
FIELDS = pipelines.FIELDS
REPORTED = {"constant": {"signSGD": 34.92, "D-signSGD": 78.75}}
VERSION = pipelines.VERSION
SCALE = pipelines.SCALE
THRESHOLDS = [0.8, 0.9, 0.95]

_BASE = {"batch": 90, "rate": 0.1}
_PIPELINES = pipelines.VANILLA | pipelines.DETOX | pipelines.SIGN
_ATTACKS = {
    "reverse": {"attack": "reverse", "attack_options": {"scale": 100.0}},
    "constant": {"attack": "constant", "attack_options": {"value": -100.0}},
}
_AXES = {"attack": _ATTACKS, "pipeline": _PIPELINES}
PROFILES = {
    "smoke": (_BASE | {"steps": 20, "evaluate_every": 5}, _AXES | {"seed": [0, 1]}),
    "laptop": (_BASE | {"steps": 200, "evaluate_every": 5}, _AXES | {"seed": list(range(5))}),
}


def run(fields: dict) -> xr.Dataset:
    """Train one trial; add the steps and the modelled time to given accuracies."""
    history = pipelines.run(fields)
    steps = pipelines.steps_to(history, THRESHOLDS)
    seconds = steps * pipelines.paper_round_seconds(fields)
    return history.assign_coords(threshold=THRESHOLDS).assign(
        steps_to=("threshold", steps, {"long_name": "steps to accuracy"}),
        modelled_seconds_to=("threshold", seconds, {"units": "s"}),
    )


def figure(dataset: xr.Dataset) -> Figure:
    """Draw accuracy by step for each attack and rule, then the modelled time to accuracy."""
    pairs = pipelines.pairs_in(dataset)
    attacks = [str(name) for name in dataset.attack.values]
    result = Figure(figsize=(2.2 * len(pairs) + 0.4, 2.3 * len(attacks) + 3.2))
    rows = len(attacks)
    halves = result.add_gridspec(2, 1, height_ratios=[2.3 * rows, 3.2])
    upper, lower = halves[0].subgridspec(rows, len(pairs)), halves[1].subgridspec(1, rows)
    for i, attack in enumerate(attacks):
        for j, pair in enumerate(pairs):
            ax = result.add_subplot(upper[i, j])
            accuracy_panel(ax, dataset.sel(attack=attack), pair, REPORTED.get(attack, {}))
            ax.set_ylabel(f"{attack}: test accuracy" if j == 0 else "")
            ax.tick_params(labelleft=j == 0, labelbottom=i == rows - 1)
            ax.set_xlabel("step" if i == rows - 1 else "")
        ax = result.add_subplot(lower[0, i])
        _time_panel(ax, dataset.sel(attack=attack), attack)
    accuracy_legend(result)
    return result


def _time_panel(ax, dataset: xr.Dataset, attack: str) -> None:
    """Draw the modelled minutes to each accuracy; no mark where some seed never gets there."""
    names = [str(name) for name in dataset.pipeline.values]
    colours = sns.color_palette("colorblind")[2:]
    for k, (threshold, marker) in enumerate(zip(dataset.threshold.values, "oD^", strict=False)):
        minutes = dataset.modelled_seconds_to.sel(threshold=threshold) / 60
        for place, name in enumerate(names):
            seeds = minutes.sel(pipeline=name).values
            if np.isfinite(seeds).all():
                low, high = student_t(seeds)
                where = place + 0.22 * (k - 1)
                ax.plot([low, high], [where, where], color=colours[k], lw=1)
                ax.plot(seeds.mean(), where, marker, color=colours[k])
        ax.plot([], [], marker, color=colours[k], label=f"{threshold:.0%}")
    ax.set_yticks(range(len(names)), names)
    ax.set_ylim(-0.5, len(names) - 0.5)
    ax.legend(title="accuracy", loc="upper left", bbox_to_anchor=(1, 1))
    ax.set_xlim(left=0)
    if not dataset.modelled_seconds_to.notnull().all("seed").any():
        ax.text(0.5, 0.5, "none in every seed", transform=ax.transAxes, ha="center")
        ax.set_xticks([])
    ax.invert_yaxis()
    ax.set(xlabel="modelled minutes to the accuracy, at the paper's size", title=attack)
    for tick in ax.get_yticklabels():
        tick.set_color(DETOX if tick.get_text().startswith("D-") else VANILLA)


if __name__ == "__main__":
    sys.exit(run_alone("accuracy_reverse"))
