"""The worst case of each pair over attacks, its cost, and differences that answer questions."""

import numpy as np
import xarray as xr

from studies.training.effects import estimates
from studies.training.worst_case.protocol import NOBODY

MAIN = "q=5"  # the case that all pairs are run in
ALONE = "no redundancy"
TIMES_3, TIMES_5 = f"{ALONE}, 3 x images", f"{ALONE}, 5 x images"
DETOX_3, DETOX_5 = "DETOX, r=3", "DETOX, r=5"
EQUAL_COMPUTE = {DETOX_3: TIMES_3, DETOX_5: TIMES_5}
MIXERS = ("nnm", "bucketing")
AT_SERVER, AT_WORKERS = "q=5, server momentum", "q=5, worker momentum"
RESAMPLED = 2000  # times
RISK = 0.01  # chance per step
DIFFERENCES = ("vote", "worker momentum", "both less the sum")


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


def cross_fitted(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy of each seed under the attack that was worst on the other fresh seeds.

    As `worst`, but the attack is chosen on more seeds, and never on that which is measured.

    Returns
    -------
    xarray.DataArray
        (case, rule, scheme, seed), NaN where the pair was not run.
    """
    attacked = dataset.accuracy.sel(attack=[a for a in dataset.attack.values if a != NOBODY])
    attacked = attacked.transpose(..., "attack", "seed")
    values = attacked.values
    others = values.sum(axis=-1, keepdims=True) - values
    place = np.where(np.isnan(others), np.inf, others).argmin(axis=-2)
    chosen = np.take_along_axis(values, place[..., None, :], axis=-2)[..., 0, :]
    return attacked.isel(attack=0, drop=True).copy(data=chosen)


def prices(dataset: xr.Dataset) -> xr.DataArray:
    """Return what a pair loses when nobody attacks (case, rule, scheme, seed).

    Against the rule that is the most accurate without redundancy then, in the same case.
    """
    unharmed = dataset.accuracy.sel(attack=NOBODY, drop=True)
    if ALONE not in dataset.scheme.values:
        return unharmed * np.nan
    alone = unharmed.sel(scheme=ALONE, drop=True)
    best = alone.mean("seed").fillna(-1.0).argmax("rule")
    return (alone.isel(rule=best).drop_vars("rule") - unharmed).transpose(*unharmed.dims)


def stands(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return for which pairs (rule, scheme) the condition of the rule holds in 99 % of the steps.

    Under a random placement.
    """
    return dataset.fails.sel(case=case, drop=True) <= RISK


def ran(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the worst case of the pairs of a case that were run (rule, scheme, seed)."""
    found = worst(dataset[["accuracy", "worst_attack"]].sel(case=case, drop=True))
    return found.dropna("rule", how="all").dropna("scheme", how="all")


def equal_compute(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the worst case with DETOX less that of the rule alone with as many images computed.

    Of the rules whose condition holds on both sides (`stands`).

    Returns
    -------
    xarray.DataArray
        (scheme, rule, seed) of the schemes that were run.
    """
    return _equal_compute(worst(dataset), dataset, case)


def equal_compute_cross_fitted(dataset: xr.Dataset, case: str) -> xr.DataArray:
    """Return the same of the values of `cross_fitted`."""
    return _equal_compute(cross_fitted(dataset), dataset, case)


def _equal_compute(found: xr.DataArray, dataset: xr.Dataset, case: str) -> xr.DataArray:
    found = found.sel(case=case, drop=True).where(stands(dataset, case))
    there = set(found.scheme.values)
    parts = [
        found.sel(scheme=scheme) - found.sel(scheme=alone, drop=True)
        for scheme, alone in EQUAL_COMPUTE.items()
        if {scheme, alone} <= there
    ]
    if not parts:
        return found.isel(scheme=slice(0, 0)).transpose("scheme", ...)
    return xr.concat(parts, "scheme", coords="minimal", compat="override").dropna("rule", how="all")


def vote_or_mixer(dataset: xr.Dataset, case: str, alone: str = TIMES_3) -> xr.DataArray:
    """Return the worst case of a rule with DETOX, r=3, less that of a mixer and the rule.

    Parameters
    ----------
    dataset : xarray.Dataset
    case : str
    alone : str
        The scheme of the mixer and the rule: without redundancy, at equal compute or equal batch.

    Returns
    -------
    xarray.DataArray
        (rule, seed), a rule as "nnm + median".
    """
    found = worst(dataset).sel(case=case, drop=True)
    mixed = [str(rule) for rule in found.rule.values if str(rule).startswith(MIXERS)]
    if not {alone, DETOX_3} <= set(found.scheme.values):
        mixed = []
    without = found.sel(rule=mixed, scheme=alone, drop=True) if mixed else found[:0, 0]
    plain = [rule.split(" + ")[1] for rule in mixed]
    voted = found.sel(rule=plain, scheme=DETOX_3, drop=True) if mixed else found[:0, 0]
    return (voted.assign_coords(rule=mixed) - without).dropna("rule", how="all")


def momentum_and_vote(dataset: xr.Dataset) -> xr.DataArray:
    """Return what a vote, worker momentum, and both change of the worst case, by rule.

    Against no redundancy and momentum at the server, at equal batch: DETOX, r=3, computes three
    times as many images. Of the rules whose condition holds without redundancy (`stands`).

    Returns
    -------
    xarray.DataArray
        (difference, rule, seed), the first of `DIFFERENCES`; the last is the gain of both less the
        sum of the gains: below 0 where one makes the other less useful.
    """
    found = worst(dataset)
    cases, schemes = set(found.case.values), set(found.scheme.values)
    if not {AT_SERVER, AT_WORKERS} <= cases or not {ALONE, DETOX_3} <= schemes:
        return found.isel(case=0, scheme=0, drop=True)[:0].expand_dims(difference=0)
    found = found.where(stands(dataset, AT_SERVER).sel(scheme=ALONE, drop=True))
    start, vote = (found.sel(case=AT_SERVER, scheme=name, drop=True) for name in (ALONE, DETOX_3))
    moved, both = (found.sel(case=AT_WORKERS, scheme=name, drop=True) for name in (ALONE, DETOX_3))
    parts = [vote - start, moved - start, both - vote - moved + start]
    return xr.concat(parts, xr.Variable("difference", [*DIFFERENCES])).dropna("rule", how="all")


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
