"""What the training studies share: the methods compared, and how one cell is run."""

import dataclasses

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim import assignments, costs
from detox_sim.catalogue import bind
from detox_sim.training import SEMANTICS, train
from detox_sim.trial import Trial, make_trial
from studies.style import interval

_ALONE = {"assignment": "none", "copies": 1, "groups": None, "inner": None}
_GROUPS = {"assignment": "detox", "copies": 3}
_ONE_SHOT = {"outer_options": {"selection": "one-shot"}}
_SIGN_RATE = {"rate": 0.001}

VANILLA = {
    "Mean": _ALONE | {"outer": "mean"},
    "Median": _ALONE | {"outer": "median"},
    "Multi-Krum": _ALONE | {"outer": "multi_krum"},
    "Bulyan": _ALONE | {"outer": "bulyan"} | _ONE_SHOT,
}
DETOX = {
    "D-Mean": _GROUPS | {"groups": None, "inner": None, "outer": "mean"},
    "D-Median": _GROUPS | {"groups": 5, "inner": "mean", "outer": "median"},
    "D-Multi-Krum": _GROUPS | {"groups": 2, "inner": "multi_krum", "outer": "mean"},
    "D-Bulyan": _GROUPS | {"groups": None, "inner": None, "outer": "bulyan"} | _ONE_SHOT,
}
SIGN = {
    "signSGD": _ALONE | {"outer": "sign_majority"} | _SIGN_RATE,
    "D-signSGD": _GROUPS
    | {"groups": 3, "inner": "sign_majority", "outer": "sign_majority"}
    | _SIGN_RATE,
}
PAIRS = {
    "Mean": "D-Mean",
    "Median": "D-Median",
    "Multi-Krum": "D-Multi-Krum",
    "Bulyan": "D-Bulyan",
    "signSGD": "D-signSGD",
}

DEFINITIONS = [
    "Multi-Krum: squared distances, n - f - 2 neighbours, mean of n - f - 2 rows (DETOX code)",
    "Bulyan: one-shot selection, then a trimmed mean (DETOX code)",
    "vote: whole vector, bit-exact, zero without a strict majority (paper)",
    "bad votes assumed: floor(q / majority of r); Byzantine nodes redrawn at every step "
    "(DETOX code)",
    "momentum at the server",
]
FIELDS = tuple(field.name for field in dataclasses.fields(Trial))
VERSION = SEMANTICS
SCALE = "toy scale: handwritten digits of 8 x 8 pixels"


def prepare(fields: dict) -> dict:
    """Return every field of the Trial that the given ones make."""
    return dataclasses.asdict(make_trial(fields))


def cost(fields: dict) -> tuple[float, float]:
    """Return seconds and bytes of a run: torch's overhead a file, and what the rule does."""
    assign = bind(assignments, fields["assignment"], fields["assignment_options"])
    files = len(assign(fields["workers"], fields["copies"]))
    rule = {"median": 4e-5, "multi_krum": 1.7e-4, "bulyan": 2e-4}.get(fields["outer"], 0.0)
    model = {"softmax": 7e-5, "mlp": 1.2e-4, "cnn": 5e-4}.get(fields["model"], 5e-4)
    tries = fields["attack_options"].get("evaluations", 0)
    if fields["placement"] == "adaptive":
        tries *= 1 + fields["placement_options"].get("candidates", 4)
    return fields["steps"] * files * (model + rule * (1 + tries)) + 0.2, 3e8


def run(fields: dict) -> xr.Dataset:
    """Train one trial; times measured here are left out, so that a cell is the same bits always."""
    return train(Trial(**fields)).drop_vars(["seconds", "phase"])


PAPER_SIZE = {"parameters": 11_173_962, "batch": 1440, "sample_flops": 3.329e9}


def paper_round_seconds(fields: dict) -> float:
    """Return the modelled seconds of a round at the paper's size: ResNet-18, batch 1440, 46 nodes.

    Examples
    --------
    >>> fields = prepare(DETOX["D-Median"])
    >>> slow = prepare(VANILLA["Median"])
    >>> paper_round_seconds(fields) < paper_round_seconds(slow)
    True
    """
    phases = costs.round_seconds(
        workers=fields["workers"],
        files=fields["workers"] // fields["copies"],
        copies=fields["copies"],
        groups=fields["groups"],
        inner=fields["inner"],
        outer=fields["outer"],
        **PAPER_SIZE,  # type: ignore[arg-type]
    )
    return sum(phases.values())


def steps_to(history: xr.Dataset, thresholds: list[float]) -> np.ndarray:
    """Return the first evaluated step with at least each test accuracy; NaN if there is none.

    Examples
    --------
    >>> history = xr.Dataset({"accuracy": ("eval_step", [0.1, 0.8, 0.9])}, {"eval_step": [0, 5, 9]})
    >>> steps_to(history, [0.8, 0.95])
    array([ 5., nan])
    """
    reached = history.accuracy.values[None, :] >= np.array(thresholds)[:, None]
    first = history.eval_step.values[reached.argmax(axis=1)]
    return np.where(reached.any(axis=1), first, np.nan)


def pairs_in(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Return the (vanilla, D-) pairs of which the dataset has at least one."""
    present = {str(name) for name in dataset.pipeline.values}
    return [pair for pair in PAIRS.items() if present & set(pair)]


def final_accuracies(dataset: xr.Dataset, reported: dict[str, float]) -> pd.DataFrame:
    """Return the last test accuracy of each pair and the paired difference over seeds.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` over (pipeline, seed, eval_step).
    reported : dict
        The paper's values by method, in percent.
    """
    last = dataset.accuracy.isel(eval_step=-1)
    rows = []
    for vanilla, detox in pairs_in(dataset):
        row = {"rule": vanilla}
        both = [name for name in (vanilla, detox) if name in dataset.pipeline.values]
        for column, name in (("alone", vanilla), ("with DETOX", detox)):
            row[column] = interval(last.sel(pipeline=name)) if name in both else "-"
        if len(both) == 2:
            row["paired difference"] = interval(
                last.sel(pipeline=detox) - last.sel(pipeline=vanilla)
            )
        quoted = [f"{reported[n]:g} %" if n in reported else "-" for n in (vanilla, detox)]
        row["paper, alone (reported)"], row["paper, with DETOX (reported)"] = quoted
        rows.append(row)
    return pd.DataFrame(rows).set_index("rule")
