"""Accuracy, and time to accuracy, under the reverse-gradient attack."""

import xarray as xr
from matplotlib.figure import Figure

from studies.training import comparisons, panels, pipelines, schedules, tasks
from studies.training.cells import study
from studies.training.effects import tables
from studies.training.effects.figure import draw_effects

REPORTED = {"ResNet-18 on CIFAR-10": {("Median", 0.9): 5.0}}

ATTACK = {"reverse": {"attack": "reverse", "attack_options": {"scale": 100.0}}}
_METHODS = pipelines.VANILLA | pipelines.DETOX
_DIGITS = {"batch": 90, "rate": 0.1}
_ROBUST = {name: fields for name, fields in _METHODS.items() if "Mean" not in name}
PROFILES = {
    "smoke": (
        _DIGITS | {"steps": 4, "evaluate_every": 2},
        tasks.axes(tasks.DIGITS, ATTACK, _METHODS, seeds=2),
    ),
    "laptop": (
        _DIGITS | {"steps": 200, "evaluate_every": 5},
        tasks.axes(tasks.DIGITS, ATTACK, _METHODS, seeds=5),
    ),
    "digits": tasks.digits_grids(ATTACK, pipelines.VANILLA, pipelines.DETOX, 5),
    "cifar": (
        tasks.ON_CIFAR,
        tasks.varied(tasks.cifar(), ATTACK, _ROBUST, {"equal batch": {"batch": 360}}, [0, 1, 2]),
    ),
    "paper": (tasks.LARGE, schedules.paper_axes(ATTACK, _METHODS)),
}


def figure(dataset: xr.Dataset) -> Figure:
    """Draw accuracy under the attack and without, effects, the mechanism, and the speed-up."""
    return draw_effects(dataset, more=_speed_up)


def _speed_up(figure, place, dataset: xr.Dataset) -> None:
    attacked = comparisons.equal_batch(dataset).sel(attack=comparisons.attack_in(dataset))
    ax = figure.add_subplot(place)
    panels.speed_up_panel(ax, attacked, REPORTED.get(dataset.task.item(), {}))


STUDY = study(
    title="Reverse-gradient attack",
    claim="The paper's figures 3 and 4: under the reverse gradient all methods converge and the D- "
    "versions are faster, the median about 5 times to 90 % on ResNet-18 and up to about 10 times "
    "on VGG13-BN (reported; quoted from memory).",
    definitions=[
        *pipelines.TRAINING_DEFINITIONS,
        "reverse: -100 times the own gradient (DETOX code)",
        "time to accuracy: first evaluated step that reaches it, times the modelled round",
        "speed-up: geometric mean over seeds of the ratio of two such times, paired by seed",
    ],
    profiles=PROFILES,
    figure=figure,
    finding=tables.finding,
)
