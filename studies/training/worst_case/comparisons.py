"""The worst case of each pair over attacks, its cost, and differences that answer questions."""

import numpy as np
import xarray as xr

from studies.training.effects import estimates
from studies.training.worst_case.protocol import NOBODY

MAIN = "q=5"  # the case that all pairs are run in
ALONE, TIMES_3, TIMES_5 = "none", "none, 3 x images", "none, 5 x images"
DETOX_3, DETOX_5 = "DETOX, r=3", "DETOX, r=5"
EQUAL_COMPUTE = {DETOX_3: TIMES_3, DETOX_5: TIMES_5}
MIXERS = ("nnm", "bucketing")
AT_SERVER, AT_WORKERS = "q=5, server momentum", "q=5, worker momentum"
RESAMPLED = 2000  # times


def main_case(dataset: xr.Dataset) -> str:
    """Return the case that findings and figures are about: `MAIN`, or the first that was run."""
    cases = [str(case) for case in dataset.case.values]
    return MAIN if MAIN in cases else cases[0]


def worst(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy under the attack that was worst on the tuning seeds.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` (case, rule, scheme, attack, seed) and `worst_attack` (case, rule, scheme).

    Returns
    -------
    xarray.DataArray
        (case, rule, scheme, seed), NaN where the pair was not run.
    """
    place = dataset.worst_attack.fillna(-1).astype(int)
    chosen = dataset.accuracy.isel(attack=place.clip(min=0))
    return chosen.where(place >= 0).drop_vars("attack")


def worst_names(dataset: xr.Dataset) -> xr.DataArray:
    """Return the name of that attack (case, rule, scheme); "" where the pair was not run."""
    names = np.append(dataset.attack.values.astype(str), "")
    place = dataset.worst_attack.fillna(-1).astype(int)
    return place.copy(data=names[place.values])


def plain_minimum(dataset: xr.Dataset) -> xr.Dataset:
    """Return the lowest mean accuracy over attacks, with a bootstrap over seeds.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` (..., attack, seed).

    Returns
    -------
    xarray.Dataset
        `mean`, `low` and `high` (95 %, percentiles) over the other axes. Each draw takes as many
        seeds with replacement, the same for all attacks, and the minimum anew.
    """
    attacked = dataset.accuracy.sel(attack=[a for a in dataset.attack.values if a != NOBODY])
    seeds = attacked.sizes["seed"]
    rng = np.random.default_rng(0)
    weights = rng.multinomial(seeds, np.full(seeds, 1 / seeds), RESAMPLED) / seeds
    values = attacked.transpose(..., "attack", "seed").values
    drawn = np.fmin.reduce(values @ weights.T, axis=-2)  # (..., draws)
    mean = attacked.mean("seed", skipna=False).min("attack")
    low, high = np.quantile(drawn, [0.025, 0.975], axis=-1)
    return xr.Dataset({"mean": mean, "low": (mean.dims, low), "high": (mean.dims, high)})


def prices(dataset: xr.Dataset) -> xr.DataArray:
    """Return what a pair loses when nobody attacks, against the mean alone (case, ..., seed).

    NaN everywhere in a case without the mean.
    """
    unharmed = dataset.accuracy.sel(attack=NOBODY, drop=True)
    if "mean" not in dataset.rule.values or ALONE not in dataset.scheme.values:
        return unharmed * np.nan
    return unharmed.sel(rule="mean", scheme=ALONE, drop=True) - unharmed


def ran(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the worst case of the pairs of a case that were run (rule, scheme, seed)."""
    found = worst(dataset).sel(case=case, drop=True)
    return found.dropna("rule", how="all").dropna("scheme", how="all")


def equal_compute(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the worst case with DETOX less that of the rule alone with as many images computed.

    Returns
    -------
    xarray.DataArray
        (scheme, rule, seed) of the schemes that were run.
    """
    found = worst(dataset).sel(case=case, drop=True)
    there = set(found.scheme.values)
    parts = [
        found.sel(scheme=scheme) - found.sel(scheme=alone, drop=True)
        for scheme, alone in EQUAL_COMPUTE.items()
        if {scheme, alone} <= there
    ]
    if not parts:
        return found.isel(scheme=slice(0, 0)).transpose("scheme", ...)
    return xr.concat(parts, "scheme", coords="minimal", compat="override").dropna("rule", how="all")


def vote_or_mixer(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the worst case of a rule with DETOX, r=3, less that of a mixer and the rule alone.

    Returns
    -------
    xarray.DataArray
        (rule, seed), a rule as "nnm + median".
    """
    found = worst(dataset).sel(case=case, drop=True)
    mixed = [str(rule) for rule in found.rule.values if str(rule).startswith(MIXERS)]
    if not {ALONE, DETOX_3} <= set(found.scheme.values):
        mixed = []
    alone = found.sel(rule=mixed, scheme=ALONE, drop=True) if mixed else found[:0, 0]
    plain = [rule.split(" + ")[1] for rule in mixed]
    voted = found.sel(rule=plain, scheme=DETOX_3, drop=True) if mixed else found[:0, 0]
    return (voted.assign_coords(rule=mixed) - alone).dropna("rule", how="all")


def momentum_or_vote(dataset: xr.Dataset) -> xr.DataArray:
    """Return the worst case of a rule alone with worker momentum less DETOX with server momentum.

    Returns
    -------
    xarray.DataArray
        (rule, seed)
    """
    found = worst(dataset)
    cases, schemes = set(found.case.values), set(found.scheme.values)
    if not {AT_SERVER, AT_WORKERS} <= cases or not {ALONE, DETOX_3} <= schemes:
        return found.isel(case=0, scheme=0, drop=True)[:0]
    alone = found.sel(case=AT_WORKERS, scheme=ALONE, drop=True)
    voted = found.sel(case=AT_SERVER, scheme=DETOX_3, drop=True)
    return (alone - voted).dropna("rule", how="all")


def behind_best(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return by how much each other rule is worse than the one of the best mean behind a scheme.

    The best is chosen on the seeds that are compared, which favours it.

    Returns
    -------
    xarray.DataArray
        (scheme, rule, seed); NaN for the best.
    """
    found = ran(dataset, case).transpose("scheme", "rule", "seed")
    best = found.mean("seed").fillna(-1).argmax(dim="rule")
    behind = found.isel(rule=best).drop_vars("rule") - found
    return behind.where(found.rule != found.rule[best])


def decided(values: xr.DataArray) -> xr.Dataset:
    """Return the mean difference by rule, its interval, and whether it is not 0, after Holm.

    Parameters
    ----------
    values : xarray.DataArray
        (..., rule, seed)

    Returns
    -------
    xarray.Dataset
        As `estimates.estimate` with threshold 0, and `word`: "above", "below" or "undecided".
    """
    found = estimates.estimate(values, threshold=0.0)
    return found.assign(word=estimates.decisions(found, threshold=0.0))


def pareto(dataset: xr.Dataset, cost: str, case: str) -> list[tuple[str, str]]:
    """Return the pairs (scheme, rule) that no other beats in both a cost and the worst case.

    Parameters
    ----------
    dataset : xarray.Dataset
    cost : str
        A variable (case, rule, scheme), such as "mean_load".

    Returns
    -------
    list of (str, str)
        From the cheapest to the most accurate.
    """
    mean = worst(dataset).mean("seed").sel(case=case)
    flat = mean.stack(pair=("scheme", "rule")).dropna("pair")
    costs = dataset[cost].sel(case=case).stack(pair=("scheme", "rule")).sel(pair=flat.pair)
    order = np.lexsort((-flat.values, costs.values))
    front: list[tuple[str, str]] = []
    most = -np.inf
    for place in order:
        if flat.values[place] > most:
            most = flat.values[place]
            scheme, rule = flat.pair.values[place]
            front.append((str(scheme), str(rule)))
    return front
