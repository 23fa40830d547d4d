"""Synthetic datasets in which a claim of the paper clearly holds, or clearly does not."""

import json

import numpy as np
import xarray as xr

import studies
from detox_sim import training
from studies.evidence import entries, verdicts
from studies.evidence.accuracy import ALONE, DETOX
from studies.evidence.theory import ESTIMATORS, WITH_DETOX
from studies.evidence.times import ROUND, SIZES

CLAIMS = {claim.id: claim for claim in entries.read()}


def _training(attack, pipelines):
    axes = {"attack": [attack, "nobody"], "pipeline": pipelines, "seed": [0, 1, 2, 3, 4]}
    return axes | {"eval_step": [0.0, 0.01], "threshold": [0.8, 0.9]}


AXES = {
    "accuracy_alie": _training("alie", ALONE + DETOX),
    "accuracy_reverse": _training("reverse", ALONE + DETOX),
    "draco": _training("reverse", ["DRACO", *DETOX]),
    "sign_sgd": _training("constant", ["signSGD", "D-signSGD"]),
    "step_time": {"setting": ["p = 45", "p = 15"], "server": ["central"], "turn": [0, 1, 2, 3],
                  "pipeline": ALONE + DETOX, "phase": ROUND, "step": [1, 2]},
    "scaling": {"part": SIZES, "stage": ["vote", "aggregate"], "turn": [0, 1, 2, 3],
                "pipeline": ALONE + DETOX},
    "filtering": {"workers": [45, 450], "copies": [3, 9, 15],
                  "byzantine_of_45": list(range(1, 9))},
    "mean_estimation": {"dimension": [20, 60, 100], "seed": [0, 1, 2, 3],
                        "estimator": list(dict.fromkeys(ESTIMATORS + WITH_DETOX))},
}  # fmt: skip
WITHOUT = {  # variable -> axes of its study that it does not have
    "accuracy": ["threshold"],
    "modelled_seconds_to": ["eval_step"],
    "modelled_round_seconds": ["eval_step", "threshold"],
}
VARIABLES = {
    "step_time": ["seconds"],
    "scaling": ["seconds"],
    "filtering": ["exact", "bound_paper"],
    "mean_estimation": ["error"],
}


def pipelines(variable, good, bad):
    return (variable, {"pipeline": good}), (variable, {"pipeline": bad})


# Statement -> (what is made larger so that it holds, so that it does not): variable and labels.
RAISED = {
    "is_many_times_as_accurate": lambda o: pipelines("accuracy", DETOX, ALONE),
    "all_converge": lambda o: (
        ("accuracy", {"attack": "reverse"}),
        ("accuracy", {"attack": "nobody"}),
    ),
    "many_times_sooner_to_some_accuracy": lambda o: pipelines(
        "modelled_seconds_to", o["slow"], o["fast"]
    ),
    "sooner_to_accuracy": lambda o: pipelines("modelled_seconds_to", o["slow"], o["fast"]),
    "rounds_are_about_three_times_shorter": lambda o: pipelines(
        "modelled_round_seconds", ALONE, ALONE
    ),
    "measured_rounds_are_shorter": lambda o: pipelines("seconds", ALONE, DETOX),
    "bar_is_higher": lambda o: pipelines("seconds", DETOX, ALONE),
    "bar_is_much_lower": lambda o: pipelines("seconds", ALONE, DETOX),
    "server_is_nearly_linear": lambda o: pipelines("seconds", [], "D-Median"),
    "krum_grows_faster": lambda o: pipelines("seconds", ["Multi-Krum", "Bulyan"], "D-Median"),
    "bound_of_theorem_1": lambda o: (("bound_paper", {}), ("exact", {})),
    "vote_filters": lambda o: (("bound_paper", {}), ("exact", {})),
    "error_is_lower": lambda o: (
        ("error", {"estimator": ESTIMATORS}),
        ("error", {"estimator": WITH_DETOX}),
    ),
    "error_grows_less": lambda o: (
        ("error", {"estimator": ESTIMATORS}),
        ("error", {"estimator": WITH_DETOX}),
    ),
}


def stated(decision):
    """Return the fields of a dataset that is of the paper's scale."""
    return {**decision.scale.fields, **decision.scale.at_least}


def doctored(claim, good=True, task=None, **about):
    """Return a stored dataset, by default of the paper's scale, in which a claim holds or not."""
    decision = verdicts.DECISIONS[claim]
    study, scale = decision.study, decision.scale
    axes = dict(AXES[study])
    if scale.task:
        axes = {"task": ["other", scale.task] if task is None else [task], **axes}
    dataset = xr.Dataset()
    for name in VARIABLES.get(study, WITHOUT):
        kept = {axis: axes[axis] for axis in axes if axis not in WITHOUT.get(name, [])}
        places = np.indices([len(labels) for labels in kept.values()]).sum(axis=0)
        dataset[name] = xr.DataArray(1 + 0.001 * places, kept, list(kept))
    if study == "scaling":
        dataset["workers"] = ("part", 2.0 ** np.arange(len(SIZES)))
    _doctor(dataset, decision, CLAIMS[claim].number, good)
    inside = {"eval_step", "threshold", "phase", "step", "turn", "stage", "estimator"}
    said = {
        "study": study,
        "profile": decision.profiles[-1],
        "scale": scale.says,
        "base": stated(decision),
        "axes": {axis: axes[axis] for axis in axes if axis not in inside},
        "settings": {},
        "versions": {study: studies.load(study).version}
        if study in VARIABLES
        else training.VERSIONS,
    } | about
    return verdicts.Stored(dataset.assign_attrs(provenance=json.dumps(said)), said, True, {})


def _doctor(dataset, decision, number, good):
    """Make a claim hold in a dataset of values near 1, or not."""
    name = decision.decide.__name__
    if name == "ends_at":
        dataset["accuracy"] = number - (not good) + 0.1 * (dataset.accuracy - 1)
        return
    if name == "defends":
        ends = {"alone": 0.1, "detox": 0.9} if good else {"alone": 0.5, "detox": 0.1}
        noise = 0.1 * (dataset.accuracy - 1)
        dataset["accuracy"] = 0.9 + noise
        for which, end in ends.items():
            at = {"attack": decision.options["attack"], "pipeline": decision.options[which]}
            dataset["accuracy"].loc[at] = end + noise.loc[at]
        return
    variable, labels = RAISED[name](decision.options)[not good]
    here = xr.ones_like(dataset[variable], dtype=bool)
    for axis, wanted in labels.items():
        here &= dataset[axis].isin(wanted if isinstance(wanted, list) else [wanted])
    times = 3.0 if good and name == "rounds_are_about_three_times_shorter" else 100.0
    factor = xr.DataArray(4.0 ** np.arange(len(SIZES)), dims="part")
    raised = dataset[variable] * (factor if decision.study == "scaling" else times)
    dataset[variable] = dataset[variable].where(~here, raised)


def verdict(claim, *stored):
    """Return the verdict on a claim of the paper by some datasets."""
    return verdicts.judge([CLAIMS[claim]], stored)[0]
