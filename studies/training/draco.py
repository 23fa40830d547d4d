"""DETOX against DRACO's repetition code: accuracy against modelled time."""

import xarray as xr
from matplotlib.figure import Figure

from studies.training import cells, comparisons, panels, pipelines, schedules, tasks
from studies.training.accuracy_reverse import ATTACK
from studies.training.cells import study

# 2q + 1 = 11 copies do not divide 45 workers: DRACO has 55 and the same q.
_METHODS = {"DRACO": pipelines.DETOX["D-Mean"] | {"copies": 11, "workers": 55}} | {
    name: pipelines.DETOX[name] for name in ("D-Median", "D-Multi-Krum", "D-Bulyan")
}
_WORKERS = {"workers": 45, "byzantine": 5}
_DIGITS = _WORKERS | {"batch": 90, "rate": 0.1}
PROFILES = {
    "smoke": (
        _DIGITS | {"steps": 4, "evaluate_every": 2},
        tasks.axes(tasks.DIGITS, ATTACK, _METHODS, seeds=2),
    ),
    "laptop": (
        _DIGITS | {"steps": 200, "evaluate_every": 5},
        tasks.axes(tasks.DIGITS, ATTACK, _METHODS, seeds=3),
    ),
    "paper": (_WORKERS | tasks.LARGE, schedules.paper_axes(ATTACK, _METHODS)),
}


def prepare(fields: dict) -> dict:
    """Return every field of the Trial; DRACO needs enough copies that no file is distorted."""
    prepared = pipelines.prepare(fields)
    copies, q = prepared["copies"], prepared["byzantine"]
    if prepared["outer"] == "mean" and prepared["inner"] is None and copies < 2 * q + 1:
        raise ValueError(
            f"DRACO needs copies >= 2 * byzantine + 1 = {2 * q + 1}, got {copies}; "
            f"use byzantine={(copies - 1) // 2} or fewer"
        )
    return prepared


def derive(fields: dict, cell: xr.Dataset) -> xr.Dataset:
    """Add what all training studies derive; weights of votes for as many workers as DETOX has.

    DRACO on 55 workers has 5 votes, so none is cut.
    """
    return cells.derive(fields, cell.isel(vote=slice(_WORKERS["workers"])))


def figure(dataset: xr.Dataset) -> Figure:
    """Draw accuracy by step and by modelled time, the time to accuracies, and the price."""
    result = panels.by_task(dataset, 5.0, _task)
    panels.names_legend(result, list(_METHODS), _names(dataset))
    return result


def _task(figure, place, dataset: xr.Dataset, start: str) -> None:
    attack = comparisons.attack_in(dataset)
    names = _names(dataset)
    places = place.subgridspec(2, 2)
    for i, x in enumerate(("step", "minutes")):
        ax = figure.add_subplot(places[0, i])
        panels.accuracy_panel(ax, dataset.sel(attack=attack), list(_METHODS), {}, x)
        ax.set_ylabel(f"{start}test accuracy, {attack}" if i == 0 else "")
    panels.minutes_panel(figure.add_subplot(places[1, 0]), dataset.sel(attack=attack), names)
    panels.price_panel(figure.add_subplot(places[1, 1]), dataset)


def _names(dataset: xr.Dataset) -> list[str]:
    return [name for name in _METHODS if name in dataset.pipeline.values]


def finding(dataset: xr.Dataset) -> str:
    """Return how much sooner than DRACO each pipeline is, as Markdown."""
    return comparisons.speed_up_finding(dataset, "DRACO")


STUDY = study(
    title="DETOX against DRACO",
    claim=(
        "The paper's appendix: under the reverse gradient DETOX with r = 3 gets to an accuracy "
        "sooner than DRACO, which computes r = 2q + 1 copies of everything to lose nothing "
        "(reported; quoted from memory, with little confidence)."
    ),
    definitions=[
        "DRACO: its repetition code, r = 2q + 1 = 11 copies, a vote in each group, the mean of "
        "votes",
        "q = 5 as in the paper; r = 11 does not divide 45 workers, so DRACO alone has 55, and "
        "DETOX 45 with r = 3. The cyclic code would do with 45: its modelled round is longer, as "
        "messages are complex and every one is decoded",
        *pipelines.TRAINING_DEFINITIONS,
        "reverse: -100 times the own gradient (DETOX code)",
        "time to accuracy: first evaluated step that reaches it, times the modelled round",
        "speed-up: geometric mean over seeds of the ratio of two such times, paired by seed",
    ],
    profiles=PROFILES,
    figure=figure,
    finding=finding,
    prepare=prepare,
    derive=derive,
)
