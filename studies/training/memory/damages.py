"""Damage and price with server or worker momentum, alone or with DETOX, and a word for each case.

For a rule, an attack and a configuration C, paired by seed:

    damage(C) = acc(C, nobody) - acc(C, attack)
    price(C)  = acc(mean alone with server momentum, nobody) - acc(C, nobody)
"""

import numpy as np
import xarray as xr

from studies.training.effects import differences, estimates
from studies.training.effects.estimates import NOT_RUN, UNDECIDED

MEMORY, REDUNDANCY = ("server momentum", "worker momentum"), ("alone", "DETOX")
COMPUTE = "alone at equal compute"
CONFIGURATIONS = {  # label -> (memory, redundancy)
    f"{memory}, {redundancy}": (memory, redundancy)
    for redundancies in (REDUNDANCY, [COMPUTE])
    for memory in MEMORY
    for redundancy in redundancies
}
FOUR = tuple(CONFIGURATIONS)[:4]
SERVER = FOUR[0]
REFERENCE = "Mean"
REPLACES, ADDS, BOTH, NEITHER = "replaces", "adds", "replaces and adds", "neither"
NO_BITE = differences.NO_BITE
WORDS = (REPLACES, BOTH, ADDS, NEITHER, UNDECIDED, NO_BITE, NOT_RUN)
JOINED = {  # (replaces, adds) -> word
    ("yes", "yes"): BOTH,
    ("yes", "no"): REPLACES,
    ("yes", UNDECIDED): REPLACES,
    ("no", "yes"): ADDS,
    (UNDECIDED, "yes"): ADDS,
    ("no", "no"): NEITHER,
}


def by_configuration(values: xr.DataArray) -> xr.DataArray:
    """Return values over (memory, redundancy) by configuration; NaN where not run."""
    found = values.reindex(memory=[*MEMORY], redundancy=[*REDUNDANCY, COMPUTE])
    names = {"configuration": list(CONFIGURATIONS)}
    memory, redundancy = (
        xr.DataArray([labels[k] for labels in CONFIGURATIONS.values()], names, ["configuration"])
        for k in (0, 1)
    )
    found = found.sel(memory=memory, redundancy=redundancy).drop_vars(["memory", "redundancy"])
    return found.transpose("configuration", ...)


def accuracies(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy of each run: the mean over its last five evaluations.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` over (byzantine, attack, rule, memory, redundancy, seed, eval_step); NaN where
        not run.

    Returns
    -------
    xarray.DataArray
        (byzantine, attack, rule, configuration, seed), the configurations `CONFIGURATIONS`.
    """
    found = differences.final_accuracy(dataset[["accuracy"]])
    found = found.sel(evaluation="one worker", drop=True).isel(variant=0, drop=True)
    order = ("byzantine", "attack", "rule", "configuration", "seed")
    return by_configuration(found).transpose(*order)


def unharmed(values: xr.DataArray) -> xr.DataArray:
    """Return the values when nobody attacks, NaN where that was not run."""
    return values.reindex(attack=["nobody"]).isel(attack=0, drop=True)


def damages(dataset: xr.Dataset) -> xr.DataArray:
    """Return the damage by each attack: (byzantine, attack, rule, configuration, seed).

    Examples
    --------
    >>> axes = {"byzantine": [5], "attack": ["ALIE z=1", "nobody"], "rule": ["Median"],
    ...         "memory": ["server momentum"], "redundancy": ["alone"], "seed": [2]}
    >>> accuracy = np.array([0.4, 0.9]).reshape(1, 2, 1, 1, 1, 1, 1)
    >>> dims = [*axes, "eval_step"]
    >>> found = damages(xr.Dataset({"accuracy": (dims, accuracy)}, axes | {"eval_step": [2]}))
    >>> found.sel(configuration="server momentum, alone").squeeze().item()
    0.5
    """
    found = accuracies(dataset)
    attacks = [name for name in found.attack.values if name != "nobody"]
    return (unharmed(found) - found.sel(attack=attacks)).transpose(*found.dims)


def prices(dataset: xr.Dataset) -> xr.DataArray:
    """Return the price of each configuration: (byzantine, rule, configuration, seed).

    It is NaN without the mean alone with server momentum. How many workers are Byzantine changes
    nothing for the mean when nobody attacks.
    """
    found = unharmed(accuracies(dataset))
    mean = found.reindex(rule=[REFERENCE]).sel(rule=REFERENCE, configuration=SERVER, drop=True)
    return mean.mean("byzantine") - found


def comparisons(damage: xr.DataArray) -> xr.Dataset:
    """Return the differences that decide, a value a seed.

    Parameters
    ----------
    damage : xarray.DataArray
        Of `damages`.

    Returns
    -------
    xarray.Dataset
        Over (byzantine, attack, rule, seed): `damage` with server momentum alone; `saved` of it by
        worker momentum; `gap`, the damage with worker momentum less that with DETOX; and the damage
        that both together save beyond DETOX, `beyond_detox`, and beyond worker momentum,
        `beyond_worker`.
    """
    server, detox, worker, both = (damage.sel(configuration=name, drop=True) for name in FOUR)
    return xr.Dataset(
        {
            "damage": server,
            "saved": server - worker,
            "gap": worker - detox,
            "beyond_detox": detox - both,
            "beyond_worker": worker - both,
        }
    )


def answers(damage: xr.DataArray) -> xr.Dataset:
    """Return whether worker momentum replaces redundancy, and adds to it, by attack and rule.

    Parameters
    ----------
    damage : xarray.DataArray
        Of `damages`.

    Returns
    -------
    xarray.Dataset of str
        Over (byzantine, attack, rule): `word`, one of `WORDS`, which joins `replaces` and `adds`,
        each "yes", "no" or "undecided", or both "attack did not bite" or "not run". "Shown" is an
        adjusted p below 0.05 against the threshold 0.02, with five seeds or more; the rules of an
        attack are tested together (Holm).

        * The attack did not bite where the damage with server momentum alone is not shown to be
          above the threshold.
        * `replaces`: yes where worker momentum is shown to save more than the threshold, and to
          leave at most the threshold more damage than DETOX; no where one of the two is shown to be
          false.
        * `adds`: yes where both together are shown to save more than the threshold beyond each of
          the two; no where one of the two is shown to be false.
    """
    found = comparisons(damage)
    judged = [estimates.decisions(estimates.estimate(found[name])) for name in found.data_vars]
    enough = found.to_array().notnull().all("variable").sum("seed") >= estimates.SEEDS
    both = xr.apply_ufunc(
        _answers,
        *judged,
        enough,
        vectorize=True,
        output_core_dims=[[], [], []],
        output_dtypes=[object] * 3,
    )
    return xr.Dataset(dict(zip(("replaces", "adds", "word"), both, strict=True)))


def _answers(damage: str, saved: str, gap: str, beyond_detox: str, beyond_worker: str, enough):
    """Return the two answers and the word, of what is decided of each difference."""
    judged = damage, saved, gap, beyond_detox, beyond_worker
    if NOT_RUN in judged:
        return NOT_RUN, NOT_RUN, NOT_RUN
    if damage != "above":
        word = NO_BITE if enough else UNDECIDED
        return word, word, word
    replaces = _answer({saved == "above", gap == "below"}, saved == "below" or gap == "above")
    beyond = beyond_detox, beyond_worker
    adds = _answer({one == "above" for one in beyond}, "below" in beyond)
    return replaces, adds, JOINED.get((replaces, adds), UNDECIDED)


def _answer(shown: set[bool], refuted: bool) -> str:
    return "yes" if shown == {True} else "no" if refuted else UNDECIDED


def cases(dataset: xr.Dataset) -> list[tuple[int, str]]:
    """Return the (number of Byzantine workers, attack) that ran, beside runs without an attack."""
    known = damages(dataset).notnull().any(["rule", "configuration", "seed"])
    return [
        (int(q), str(attack))
        for q in known.byzantine.values
        for attack in known.attack.values
        if known.sel(byzantine=q, attack=attack)
    ]


def spreads(dataset: xr.Dataset) -> xr.DataArray:
    """Return the spread of honest messages over the norm of their mean, when nobody attacks.

    Returns
    -------
    xarray.DataArray
        (configuration, byzantine, rule, seed, eval_step)
    """
    ratio = dataset.gradient_spread.astype(np.float64) / dataset.gradient_norm
    return by_configuration(unharmed(ratio))
