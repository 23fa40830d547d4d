"""What an attack costs a rule, what DETOX saves of it, and by which means.

For a rule V, its version D with redundancy, and the rule alone with the batch times the copies V*
(equal compute: every worker computes as many images as with D), paired by seed:

    damage(V)             = acc(V, nobody) - acc(V, attack)
    price(V)              = acc(Mean, nobody) - acc(V, nobody)
    defence               = damage(V) - damage(D)        at equal batch, as the paper compares
    defence_equal_compute = damage(V*) - damage(D)

acc is the mean over the last five evaluations, once with the running batch-norm statistics of one
worker, as the DETOX code evaluates, and once recalibrated. The decomposition takes the damage of V
apart in an order that was fixed beforehand: evaluation, compute, vote, remainder.
"""

import itertools
from collections.abc import Sequence

import numpy as np
import xarray as xr

from studies.training.comparisons import attack_in
from studies.training.effects.estimates import (
    NOT_RUN,
    SEEDS,
    UNDECIDED,
    binomial_interval,
    decisions,
    estimate,
)
from studies.training.pipelines import PAIRS

EVALUATIONS = {"one worker": "accuracy", "recalibrated": "recalibrated_accuracy"}
LAST = 5  # evaluations whose mean is the accuracy of a run
QUANTITIES = {
    "damage": "damage to the rule alone",
    "damage_equal_compute": "damage, alone at equal compute",
    "damage_detox": "damage with DETOX",
    "defence": "defence (equal batch)",
    "defence_equal_compute": "defence (equal compute)",
    "price": "price of the rule alone",
    "price_detox": "price with DETOX",
}
PARTS = ("evaluation", "compute", "vote", "remainder")

REPRODUCED = "reproduced"
SAME_DIRECTION = "same direction, smaller scale"
DEPENDS = "depends on the evaluation"
NO_BITE = "attack did not bite"
CONTRADICTED = "contradicted"
VERDICTS = (REPRODUCED, SAME_DIRECTION, DEPENDS, UNDECIDED, NO_BITE, CONTRADICTED, NOT_RUN)

# --- Effects --------------------------------------------------------------------------------------


def final_accuracy(dataset: xr.Dataset) -> xr.DataArray:
    """Return the accuracy of each run: the mean over its last five evaluations.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` over (task, attack, pipeline, variant, seed, eval_step), NaN where not run, and
        `recalibrated_accuracy` if its models have batch norms; without, the two are the same.
        Without an axis `variant` all runs are at equal batch.

    Returns
    -------
    xarray.DataArray
        (evaluation, task, attack, pipeline, variant, seed), the evaluations `EVALUATIONS`. The
        evaluation before the first step never counts.
    """
    names = [name if name in dataset else "accuracy" for name in EVALUATIONS.values()]
    dataset = dataset[list(dict.fromkeys(names))]
    if "variant" not in dataset.dims:
        dataset = dataset.expand_dims(variant=["equal batch"])
    last = dataset.isel(eval_step=np.flatnonzero(dataset.eval_step.values > 0)[-LAST:])
    means = [last[name].mean("eval_step", skipna=False).rename("accuracy") for name in names]
    labels = xr.DataArray(list(EVALUATIONS), dims="evaluation", name="evaluation")
    return xr.concat(means, labels)


def effects(
    dataset: xr.Dataset,
    attack: str | None = None,
    pairs: Sequence[tuple[str, str]] = tuple(PAIRS.items()),
) -> xr.Dataset:
    """Return what an attack does to each rule alone and with DETOX, a value a seed.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `final_accuracy`. Attacks have a label "nobody", variants are "equal batch" and "equal
        compute".
    attack : str, optional
        By default the one that is there beside "nobody".
    pairs : sequence of (str, str)
        A rule alone and a pipeline with DETOX; those of which both are there are compared.

    Returns
    -------
    xarray.Dataset
        Over (evaluation, task, rule, seed), for every pair: `damage`,
        `damage_equal_compute`, `damage_detox`, `price`, `price_detox`, `defence`,
        `defence_equal_compute`, and `lead_equal_compute`, the accuracy under the attack with DETOX
        less that of the rule alone at equal compute; `lead`, the same at equal batch; `unharmed`,
        the accuracy of the rule alone when nobody attacks. NaN where a run is missing.

    Examples
    --------
    >>> accuracy = [[[0.5, 0.5], [0.8, 0.8]], [[0.9, 0.9], [0.85, 0.85]]]
    >>> axes = {"attack": ["alie", "nobody"], "pipeline": ["Median", "D-Median"]}
    >>> data = xr.Dataset({"accuracy": (("attack", "pipeline", "eval_step"), accuracy)},
    ...                   axes | {"eval_step": [0, 10]}).expand_dims(seed=[0])
    >>> found = effects(data).sel(evaluation="one worker", rule="Median", seed=0)
    >>> {name: round(float(found[name]), 2) for name in ("damage", "damage_detox", "defence")}
    {'damage': 0.4, 'damage_detox': 0.05, 'defence': 0.35}
    """
    accuracy, attack = final_accuracy(dataset), attack or attack_in(dataset)
    attack = "none" if attack == "nobody" else attack  # of which nothing was run
    present = {str(name) for name in accuracy.pipeline.values}
    pairs = [pair for pair in pairs if set(pair) <= present]
    rules = [rule for rule, _ in pairs]

    with_detox = [name for _, name in pairs]
    names = list(dict.fromkeys([*rules, *with_detox, "Mean"]))
    runs = accuracy.reindex(
        attack=["nobody", attack], variant=["equal batch", "equal compute"], pipeline=names
    )
    runs = runs.transpose("attack", "variant", ...)
    axis = runs.dims.index("pipeline") - 1

    def of(some: list[str], variant: int = 0) -> np.ndarray:
        """Return accuracies when nobody attacks, and under the attack."""
        return runs.values[:, variant].take(np.array([names.index(n) for n in some], int), axis)

    alone, compute, detox = of(rules), of(rules, variant=1), of(with_detox)
    mean = of(["Mean"] * len(rules))
    damage, damage_compute, damage_detox = (one[0] - one[1] for one in (alone, compute, detox))
    arrays = {
        "damage": damage,
        "damage_equal_compute": damage_compute,
        "damage_detox": damage_detox,
        "price": mean[0] - alone[0],
        "price_detox": mean[0] - detox[0],
        "defence": damage - damage_detox,
        "defence_equal_compute": damage_compute - damage_detox,
        "lead_equal_compute": detox[1] - compute[1],
        "lead": detox[1] - alone[1],
        "unharmed": alone[0],
    }
    labels = runs.isel(attack=0, variant=0, pipeline=0, drop=True).coords
    dims = ["rule" if dim == "pipeline" else dim for dim in runs.dims[2:]]
    return xr.Dataset(
        {name: (dims, array) for name, array in arrays.items()}, {**labels, "rule": rules}
    )


def decomposition(found: xr.Dataset) -> xr.DataArray:
    """Return the parts of the damage to each rule as the DETOX code evaluates it.

    Parameters
    ----------
    found : xarray.Dataset
        Of `effects`.

    Returns
    -------
    xarray.DataArray
        (part, task, rule, seed), the parts `PARTS`, which add up to the damage with the
        statistics of one worker: what a recalibrated evaluation does not see; of the rest what the
        rule alone with more images does not suffer; of the rest what the vote keeps away; and what
        remains with DETOX.
    """
    recalibrated = found.sel(evaluation="recalibrated", drop=True)
    first = found.damage.sel(evaluation="one worker", drop=True)
    ends = [
        first,
        recalibrated.damage,
        recalibrated.damage_equal_compute,
        recalibrated.damage_detox,
    ]
    parts = [more - less for more, less in itertools.pairwise(ends)] + ends[-1:]
    labels = xr.DataArray(list(PARTS), dims="part", name="part")
    return xr.concat([part.rename("damage") for part in parts], labels)


def has_parts(dataset: xr.Dataset) -> bool:
    """Return whether all parts of the damage are known for some rule and seed."""
    return bool(decomposition(effects(dataset)).notnull().all("part").any())


def complete(parts: xr.DataArray, rule: str) -> xr.DataArray:
    """Return the parts of the damage to a rule (part, seed), of seeds with all of them."""
    one = parts.sel(rule=rule)
    return one.isel(seed=one.notnull().all("part").values)


# --- Verdicts -------------------------------------------------------------------------------------


def verdicts(
    found: xr.Dataset, quantity: str = "defence", paper_scale: bool = False
) -> xr.DataArray:
    """Return a word for each rule on whether DETOX defends it by more than the threshold.

    Parameters
    ----------
    found : xarray.Dataset
        Of `effects`.
    quantity : str
        "defence" or "defence_equal_compute".
    paper_scale : bool

    Returns
    -------
    xarray.DataArray of str
        (task, rule), each one of `VERDICTS`. Where the damage to the rule alone is not shown to be
        above the threshold the attack did not bite, and the defence says nothing. Fewer than five
        seeds decide nothing. Two evaluations that decide differently are a verdict of their own.
    """
    bites, defends = (estimate(found[name]) for name in ("damage", quantity))
    words = xr.apply_ufunc(
        _word,
        decisions(bites),
        decisions(defends),
        bites.seeds >= SEEDS,
        vectorize=True,
        output_dtypes=[object],
    )
    met = REPRODUCED if paper_scale else SAME_DIRECTION
    return xr.apply_ufunc(
        lambda pair: _joined(set(pair), met),
        words,
        input_core_dims=[["evaluation"]],
        vectorize=True,
        output_dtypes=[object],
    )


def _word(bites: str, defends: str, enough: bool) -> str:
    """Return what one evaluation says."""
    if NOT_RUN in (bites, defends):
        return NOT_RUN
    if bites != "above":
        return NO_BITE if enough else UNDECIDED
    return {"above": SAME_DIRECTION, "below": CONTRADICTED}.get(defends, UNDECIDED)


def _joined(words: set[str], met: str) -> str:
    """Return what all evaluations say together."""
    for word in (NOT_RUN, UNDECIDED):
        if word in words:
            return word
    (first, *others) = words
    if others:
        return DEPENDS
    return met if first == SAME_DIRECTION else first


# --- Collapsed runs -------------------------------------------------------------------------------


def collapsed(dataset: xr.Dataset, chance: float) -> xr.Dataset:
    """Return how many runs end below twice the accuracy of chance.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `final_accuracy`.
    chance : float
        One over the number of classes.

    Returns
    -------
    xarray.Dataset
        Over (evaluation, task, attack, pipeline, variant): `collapsed`, `runs`, and `low` and
        `high`, the 95 % interval of the share (Clopper and Pearson); NaN without runs.
    """
    accuracy = final_accuracy(dataset)
    count, runs = (accuracy < 2 * chance).sum("seed"), accuracy.notnull().sum("seed")
    low, high = xr.apply_ufunc(binomial_interval, count, runs, output_core_dims=[[], []])
    return xr.Dataset({"collapsed": count, "runs": runs, "low": low, "high": high})
