"""Accuracy by where the attackers sit: random, fixed, spread or worst; groups fixed or secret."""

import sys

import seaborn as sns
import xarray as xr
from matplotlib.figure import Figure

from studies import pipelines, run_alone
from studies.pipelines import cost, run
from studies.style import DETOX, THEORY, VANILLA, student_t

__all__ = ["cost", "figure", "prepare", "run"]

TITLE = "Accuracy by placement"
CLAIM = (
    "The paper's guarantee comes from groups that are random relative to the attackers; its code "
    "keeps the groups and redraws the attackers at every step. ByzShield: placing files by Latin "
    "squares gives an attacker who knows them fewer files than groups do, and about 20 % more "
    "accuracy (reported; quoted from memory)."
)
DEFINITIONS = [
    "worst case: as many files as theory.worst_case_lost_votes finds; benign: one in each group "
    "before a second in any; whole group: all of one group after the other (ByzShield)",
    "secret groups: drawn anew at every step; attackers take the worst case of groups they believe",
    "through the vote: attackers know the groups, search placement, direction and scale against "
    "the actual server at each step, and behave where they own no majority",
    *pipelines.DEFINITIONS[2:3],
    "ALIE: z = 1, sign plus, population deviation over the distinct honest gradients",
    "momentum at the server",
]
FIELDS = pipelines.FIELDS
VERSION = pipelines.VERSION
SCALE = pipelines.SCALE

_MEDIAN = {"groups": None, "inner": None, "outer": "median"}
SCHEMES = {
    "Alone": _MEDIAN | {"assignment": "none", "copies": 1},
    "DETOX": _MEDIAN | {"assignment": "detox", "copies": 5},
    "Latin squares": _MEDIAN | {"assignment": "mols", "copies": 5},
}
_ALIE = {"attack": "alie", "attack_options": {"z": 1.0}}
_SEARCH = {
    "attack": "searched",
    "attack_options": {"evaluations": 12},
    "knowledge": "groups",
    "placement": "adaptive",
    "placement_options": {"candidates": 3},
}
ARRANGEMENTS = {
    "nobody lies": {"attack": "none"},
    "random": _ALIE | {"placement": "random"},
    "fixed": _ALIE | {"placement": "fixed"},
    "benign": _ALIE | {"placement": "benign"},
    "whole group": _ALIE | {"placement": "whole_group"},
    "worst case": _ALIE | {"placement": "worst_case"},
    "worst case, secret groups": _ALIE
    | {"placement": "worst_case", "assignment_options": {"reshuffle": True}},
    "through the vote": _SEARCH,
}
_BASE = {"byzantine": 9, "batch": 405, "rate": 0.2}
PROFILES: dict = {
    "smoke": (
        _BASE | {"steps": 6, "evaluate_every": 3},
        {"scheme": SCHEMES, "arrangement": ARRANGEMENTS, "seed": [0]},
    ),
    "laptop": (
        _BASE | {"steps": 120},
        {"scheme": SCHEMES, "arrangement": ARRANGEMENTS, "seed": list(range(4))},
    ),
}


def prepare(fields: dict) -> dict:
    """Return every field of the Trial; without redundancy there are no groups to draw."""
    if fields.get("assignment") == "none":
        fields = fields | {"assignment_options": {}}
    return pipelines.prepare(fields)


def figure(dataset: xr.Dataset) -> Figure:
    """Draw the last accuracy and the share of lost votes, a line for each arrangement."""
    result = Figure(figsize=(8.6, 3.4))
    left, right = result.subplots(1, 2, sharey=True)
    panels = (
        (left, dataset.accuracy.isel(eval_step=-1), "test accuracy after the last step", True),
        (right, lost_share(dataset), "share of votes lost", False),
    )
    for ax, values, label, legend in panels:
        sns.pointplot(
            values.rename("value").to_dataframe().reset_index(),
            x="value",
            y="arrangement",
            hue="scheme",
            palette=dict(zip(SCHEMES, (VANILLA, DETOX, THEORY), strict=True)),
            markers=["o", "s", "D"],
            linestyle="none",
            dodge=0.5,
            errorbar=student_t,
            err_kws={"linewidth": 1.2},
            markersize=4,
            legend=legend,
            ax=ax,
        )
        ax.set(xlabel=label, ylabel="")
        ax.grid(axis="y")
    handles, labels = left.get_legend_handles_labels()
    left.get_legend().remove()
    result.legend(handles, labels, loc="outside upper center", ncols=3)
    left.set_xlim(0, 1)
    right.set_xlim(left=-0.01)
    return result


def lost_share(dataset: xr.Dataset) -> xr.DataArray:
    """Return the mean share of votes that are lost, over steps."""
    return dataset.lost_votes.mean("step") / dataset.votes


if __name__ == "__main__":
    sys.exit(run_alone("placement"))
