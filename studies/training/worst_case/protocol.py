"""The protocol of the atlas: tune a pair, choose its worst attack, then measure on fresh seeds."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import xarray as xr

from detox_sim import assignments, encodings, theory
from detox_sim.catalogue import bind, check_integer, check_known, check_number
from detox_sim.sweeping import DEFAULTS
from detox_sim.training import train
from detox_sim.trials.rules import distorted_files_assumed
from detox_sim.trials.trial import Trial
from studies.training import cells, pipelines
from studies.training.momentum import BETA, DEVIATION, fair_rate

NOBODY = "nobody"
THROUGH_VOTE = "searched, through the vote"
_SEARCH = {"attack": "searched", "attack_options": {"evaluations": 8}}
ATTACKS: dict[str, dict[str, Any]] = {
    NOBODY: {"attack": "none"},
    "ALIE z=1": {"attack": "alie", "attack_options": {"z": 1.0}},
    "ALIE z=1.5": {"attack": "alie", "attack_options": {"z": 1.5}},
    "inner product x0.5": {"attack": "inner_product", "attack_options": {"factor": 0.5}},
    "inner product x3": {"attack": "inner_product", "attack_options": {"factor": 3.0}},
    "mimic": {"attack": "mimic"},
    "min-max": {"attack": "min_max"},
    "label flip": {"attack": "label_flip"},
    "bit flip": {"attack": "bit_flip", "attack_options": {"bits": "exponent", "values": 16}},
    "searched": _SEARCH,
    THROUGH_VOTE: _SEARCH | {"knowledge": "groups", "placement": "worst_case"},
}
TUNED_ON = ["ALIE z=1.5", "inner product x3", "min-max"]
MEMORIES = {
    "server": {"momentum": BETA, "worker_momentum": 0.0},
    "worker": {"momentum": 0.0, "worker_momentum": BETA},
}
RADIUS = 9.0  # of centered clipping, for a gradient of one image
# Fields of a cell beside those of a Trial.
PROTOCOL = (
    "common_batch",
    "attacks",
    "tuned_on",
    "memories",
    "rates",
    "tuning_seeds",
    "seeds",
)
DRAWS = 20_000  # of a law of distorted files with too many placements to enumerate


def check(fields: dict) -> None:
    """Raise ValueError for impossible fields of `PROTOCOL`: what is chosen from, and seeds.

    Examples
    --------
    >>> protocol = {name: [1] for name in PROTOCOL} | {"common_batch": 9, "attacks": ["mimick"]}
    >>> check(protocol)
    Traceback (most recent call last):
    ValueError: unknown attack 'mimick'; did you mean 'mimic'? known: ...
    """
    check_integer("common_batch", fields["common_batch"], 1)
    for name in PROTOCOL[1:]:
        values = fields[name]
        if not isinstance(values, list) or not values:
            raise ValueError(f"{name} must be a list of one or more, got {values!r}")
        if len({*map(str, values)}) < len(values):
            raise ValueError(f"{name} must be different values, got {values!r}")
    check_known("attack", fields["attacks"], ATTACKS)
    check_known("attack of tuned_on", fields["tuned_on"], fields["attacks"])
    check_known("memory", fields["memories"], MEMORIES)
    if not {*fields["attacks"]} - {NOBODY}:
        raise ValueError(f"attacks needs one besides {NOBODY!r}")
    for rate in fields["rates"]:
        check_number("a rate", rate)
        if not rate > 0:
            raise ValueError(f"a rate must be above 0, got {rate!r}")
    for seed in (*fields["seeds"], *fields["tuning_seeds"]):
        check_integer("a seed", seed, 0)
    if both := {*fields["seeds"]} & {*fields["tuning_seeds"]}:
        raise ValueError(f"a tuning seed must be no fresh one, got {min(both)} in both")


def settings(fields: dict) -> dict[str, dict]:
    """Return what is chosen between: rate and place of the momentum, by label.

    Rates are those of server momentum. Worker momentum has rate / (1 - beta), which does the same
    where the rule is the mean and nobody attacks.

    Examples
    --------
    >>> settings({"rates": [0.1], "memories": ["worker"]})
    {'worker, 0.1': {'momentum': 0.0, 'worker_momentum': 0.9, 'rate': 1.0}}
    """
    return {
        f"{memory}, {rate:g}": MEMORIES[memory]
        | {"rate": rate if memory == "server" else fair_rate(rate, BETA)}
        for memory in fields["memories"]
        for rate in fields["rates"]
    }


def trial_fields(fields: dict, setting: dict, attack: str, seed: int) -> dict:
    """Return the fields of one run of a pair."""
    own = {name: value for name, value in fields.items() if name not in PROTOCOL}
    found = ATTACKS[attack] | own | setting | {"seed": seed}
    if attack == THROUGH_VOTE:
        found |= ATTACKS[attack]
    if own["outer"] == "centered_clipping":
        images = own["batch"] / pipelines.files(DEFAULTS | own)
        images *= own["copies"] if own.get("encoding") else 1
        radius = RADIUS / math.sqrt(images) * (DEVIATION if setting["worker_momentum"] else 1.0)
        found["outer_options"] = {"start": "previous", "radius": round(radius, 6)}
    return found


def attacks_on(fields: dict) -> list[str]:
    """Return the attacks that apply to a scheme: those through a vote need one to get through.

    A reactive vote is attacked by the copies that it asks for first, whatever the attack; a code
    leaves no placement that helps.
    """
    vote = fields["copies"] > 1 and not fields.get("encoding")
    vote = vote and fields.get("vote", "majority") == "majority"
    return [name for name in fields["attacks"] if vote or name != THROUGH_VOTE]


def run(fields: dict) -> xr.Dataset:
    """Tune one pair of a scheme and a rule, choose its worst attack, and measure it.

    1. On the tuning seeds every setting (rate, place of the momentum) is trained under the attacks
       of `TUNED_ON`. The setting whose worst mean validation accuracy is highest is kept.
    2. With it all attacks are run on the tuning seeds. The worst is the one with the lowest mean
       validation accuracy.
    3. All attacks are run on fresh seeds; the test images are looked at here alone.

    Accuracies are those after the last step. A run that diverges counts with what it ends with,
    about the accuracy of guessing.

    Parameters
    ----------
    fields : dict
        Of a Trial, without attack, rate, momentum and seed; and those of `PROTOCOL`: the batch of
        schemes without redundancy, labels of `ATTACKS`, of those tuned on, of `MEMORIES`, rates
        with server momentum, and seeds.

    Returns
    -------
    xarray.Dataset
        `validation_accuracy` (setting, attack, tuning_seed), NaN where it was not run;
        `accuracy` (attack, seed) on the test images; `chosen`, the place of the kept setting;
        `worst_attack`, the place of the worst attack. All NaN, and -1, where the condition of the
        rule forbids the pair.
    """
    choices, labels = settings(fields), attacks_on(fields)
    every, tuning, seeds = fields["attacks"], fields["tuning_seeds"], fields["seeds"]
    validation = np.full((len(choices), len(every), len(tuning)), np.nan)
    test = np.full((len(every), len(seeds)), np.nan)
    chosen = worst = -1

    def ends(setting: dict, attack: str, seed: int) -> xr.Dataset:
        return train(Trial(**trial_fields(fields, setting, attack, seed)), brief=True)

    def tune(place: int, attack: str) -> None:
        setting = list(choices.values())[place]
        for k, seed in enumerate(tuning):
            end = ends(setting, attack, seed)
            validation[place, every.index(attack), k] = float(end.validation_accuracy[-1])

    if not refusal(fields):
        for place in range(len(choices)):
            for attack in fields["tuned_on"]:
                tune(place, attack)
        chosen = best_setting(validation)
        for attack in labels:
            if np.isnan(validation[chosen, every.index(attack)]).any():
                tune(chosen, attack)
        worst = worst_of(validation[chosen], every)
        for attack in labels:
            for k, seed in enumerate(seeds):
                end = ends(list(choices.values())[chosen], attack, seed)
                test[every.index(attack), k] = float(end.accuracy[-1])
    text = {"setting": list(choices), "attack": every}
    return xr.Dataset(
        {
            "validation_accuracy": (("setting", "attack", "tuning_seed"), validation),
            "accuracy": (("attack", "seed"), test, {"long_name": "test accuracy"}),
            "chosen": ((), np.int16(chosen)),
            "worst_attack": ((), np.int16(worst)),
        },
        {name: np.array(labels, dtype=object) for name, labels in text.items()}
        | {"tuning_seed": tuning, "seed": seeds},
    )


def best_setting(validation: np.ndarray) -> int:
    """Return the setting whose worst mean validation accuracy over the attacks is highest.

    Parameters
    ----------
    validation : float (settings, attacks, tuning seeds)
        Attacks that were not run are NaN.

    Examples
    --------
    >>> best_setting(np.array([[[0.9], [0.2]], [[0.6], [0.5]]]))
    1
    """
    ran = ~np.isnan(validation).any(axis=(0, 2))
    return int(validation[:, ran].mean(axis=2).min(axis=1).argmax())


def worst_of(validation: np.ndarray, attacks: list[str]) -> int:
    """Return the attack with the lowest mean validation accuracy; nobody is no attack.

    Parameters
    ----------
    validation : float (attacks, tuning seeds)
        Of one setting. Attacks that were not run are NaN.

    Examples
    --------
    >>> worst_of(np.array([[0.1], [0.8], [0.7]]), ["nobody", "mimic", "min-max"])
    2
    """
    means = validation.mean(axis=1)
    means[[name == NOBODY for name in attacks]] = np.nan
    return int(np.nanargmin(means))


def refusal(fields: dict) -> str:
    """Return why a pair cannot be trained, from the condition of its rule; "" if it can.

    Asked of a Trial with a small model on digits, so that no other data are needed.

    Examples
    --------
    >>> pair = {"assignment": "none", "copies": 1, "outer": "krum", "byzantine": 22, "batch": 45}
    >>> refusal(pair | {"groups": None, "inner": None})
    'outer: krum needs n >= 2 * byzantine + 3 = 47 rows, got 45 with byzantine=22; ...'
    """
    setting = MEMORIES["server"]
    own = {name: value for name, value in fields.items() if name not in PROTOCOL}
    count = pipelines.files(DEFAULTS | own)
    found = trial_fields(own | {"batch": count}, setting, NOBODY, 0)
    small = {"model": "softmax", "model_options": {}, "data": "digits", "data_options": {}}
    whole = {"partition": "iid", "partition_options": {}, "validation": 0.0}
    try:
        Trial(**found | small | whole)
    except ValueError as error:
        return str(error)
    return ""


def derive(fields: dict, cell: xr.Dataset) -> xr.Dataset:
    """Add what a pair costs, and what its rule is given and withstands.

    Returns
    -------
    xarray.Dataset
        With `rate` and `worker_momentum` of the chosen setting; `rows` that the rule is given and
        `distorted_assumed` of them at worst; `mean_load`, images whose gradients are computed in a
        step over those of the common batch; `megabytes_per_worker` sent in a step, for ResNet-18;
        `modelled_round_seconds` on the paper's cluster; and `fails`, the chance that a step has
        more distorted rows than the rule withstands, under a random placement.
    """
    own = DEFAULTS | fields
    assign = bind(assignments, own["assignment"], own["assignment_options"])
    holders = assign(own["workers"], own["copies"], rng=None)
    copies, common = own["copies"], own["common_batch"]
    if own["vote"] == "reactive":
        copies = theory.expected_gradients(own["byzantine"], own["vote_options"]["chance"])
    messages = 1.0 if own["encoding"] else len(holders) * copies / own["workers"]
    if own["vote"] == "cyclic":
        messages = 2.0  # one vector of complex numbers
    size = encodings.bytes_of(
        own["encoding"], pipelines.PAPER_SIZE["parameters"], own["encoding_options"]
    )
    rows, assumed, law = _votes(own, holders)
    chosen = int(cell.chosen)
    setting = [*settings(own).values()][chosen] if chosen >= 0 else {}
    once = {
        "rate": setting.get("rate", np.nan),
        "worker_momentum": setting.get("worker_momentum", np.nan),
        "rows": float(rows),
        "distorted_assumed": float(assumed),
        "mean_load": copies * own["batch"] / common,
        "megabytes_per_worker": messages * size / 1e6,
        "modelled_round_seconds": cells.modelled_seconds(own, common, copies * len(holders)),
        "fails": theory.condition_violated(
            rows, law, **{stage: own[stage] for stage in ("groups", "inner", "outer")}
        ),
    }
    return cell.assign({name: ((), value) for name, value in once.items()})


def _votes(fields: dict, holders: np.ndarray) -> tuple[int, int, np.ndarray]:
    """Return how many rows the rule is given, those distorted at worst, and their law."""
    assumed = distorted_files_assumed(SimpleNamespace(**fields), holders)  # type: ignore[arg-type]
    if fields["vote"] == "cyclic":
        return 1, assumed, np.eye(2)[assumed]
    if fields["encoding"] or fields["vote"] == "reactive":
        rows = fields["workers"] if fields["encoding"] else len(holders)
        return rows, assumed, np.eye(assumed + 1)[-1]
    law = theory.distorted_files_law(holders, fields["byzantine"], draws=DRAWS)
    return len(holders), assumed, law.chances


def cost(fields: dict) -> tuple[float, float]:
    """Return seconds and bytes of a pair: its runs, the rows of a step, and the search's calls."""
    choices, labels = len(settings(fields)), attacks_on(fields)
    tuning, fresh = len(fields["tuning_seeds"]), len(fields["seeds"])
    runs = tuning * (choices * len(fields["tuned_on"]) + len(labels)) + fresh * len(labels)
    searches = sum(ATTACKS[name]["attack"] == "searched" for name in labels) * (tuning + fresh)
    rows = pipelines.files(DEFAULTS | fields)
    large = 1.0 if fields["data"] != "digits" else 0.4
    step = large * (0.003 + 1.2e-4 * rows)
    seconds = runs * (0.15 * large + fields["steps"] * step)
    return seconds + searches * fields["steps"] * 6 * step, 4e8
