"""What the atlas found, in words: five findings with their intervals."""

import numpy as np
import xarray as xr

from detox_sim.sweeps.intervals import student_t
from studies.training.effects.tables import interval_text
from studies.training.worst_case import comparisons
from studies.training.worst_case.comparisons import (
    ALONE,
    DETOX_3,
    DIFFERENCES,
    EQUAL_COMPUTE,
    TIMES_3,
    main_case,
)

SIDES = {"above": "more", "below": "less", "undecided": "undecided"}


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown, a sentence or two each, with 95 % intervals over seeds.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it.
    """
    each = (_compute, _best, _mixer, _momentum, _attack)
    lines = [say(dataset) for say in each]
    return "\n".join(f"* {line}" for line in lines if line)


def _compute(dataset: xr.Dataset) -> str:
    """Say whether redundancy does more than computing more images."""
    case = main_case(dataset)
    values, crossed = (
        of(dataset, case)
        for of in (comparisons.equal_compute, comparisons.equal_compute_cross_fitted)
    )
    stands, ran = comparisons.stands(dataset, case), comparisons.ran(dataset, case)
    parts = []
    for scheme in (str(name) for name in values.scheme.values):
        one, alone = values.sel(scheme=scheme).dropna("rule", how="all"), EQUAL_COMPUTE[scheme]
        if not one.rule.size:
            continue
        more = stands.sel(scheme=scheme) & ~stands.sel(scheme=alone)
        more &= ran.sel(scheme=[scheme, alone]).notnull().all(["scheme", "seed"])
        only = [str(rule) for rule in more.rule.values[more.values]]
        usable = f"; usable with it only: {', '.join(only)}" if only else ""
        again = crossed.sel(scheme=scheme, rule=one.rule).mean("rule")
        parts.append(
            f"with {scheme}, training is {_by(one.mean('rule'))} than with "
            f"{alone.split(', ')[1]} and no redundancy (mean over the {one.rule.size} rules whose "
            f"condition holds in both; median {float(one.mean('seed').median()):+.3f}; "
            f"{_counted(one)}; cross-fitted {interval_text(again)}{usable})"
        )
    question = "**Does redundancy do more than computing more images?**"
    return f"{question} At equal computation: {'; '.join(parts)}." if parts else ""


def _by(values: xr.DataArray) -> str:
    """Return a difference of accuracies over seeds in words.

    Examples
    --------
    >>> _by(xr.DataArray([-0.01, -0.03], dims="seed"))
    'less accurate by 0.020 [-0.107, 0.147]'
    """
    less = float(values.mean()) < 0
    return f"{'less' if less else 'more'} accurate by {interval_text(-values if less else values)}"


def _counted(values: xr.DataArray) -> str:
    """Return for how many rules a difference is decided, after Holm, and to which side."""
    words = [str(word) for word in comparisons.decided(values).word.values.ravel()]
    counts = ", ".join(f"{said} for {words.count(word)}" for word, said in SIDES.items())
    return f"after Holm's method {counts}"


def _best(dataset: xr.Dataset) -> str:
    """Say which rule has the highest worst case behind each scheme, and how many may be equal."""
    found = comparisons.ran(dataset, main_case(dataset))
    words = comparisons.decided(comparisons.behind_best(dataset, main_case(dataset))).word
    parts = []
    for scheme in (str(name) for name in found.scheme.values):
        means = found.sel(scheme=scheme).mean("seed").dropna("rule")
        if means.rule.size < 2:
            continue
        best = str(means.rule.values[int(means.values.argmax())])
        others = words.sel(scheme=scheme, rule=[rule for rule in means.rule.values if rule != best])
        tied = int((others != "above").sum())
        text = interval_text(found.sel(scheme=scheme, rule=best))
        parts.append(
            f"{scheme}: {best} {text}, {tied} of {others.size} others not shown to be worse"
        )
    question = "**Which rule is best behind which scheme?** Worst-case accuracy of the best one"
    said = f"{question}, chosen on the seeds that are shown, which favours it: {'; '.join(parts)}."
    return said if parts else ""


def _mixer(dataset: xr.Dataset) -> str:
    """Say whether a vote helps a rule more than a mixer does."""
    case = main_case(dataset)
    equal, batch = (comparisons.vote_or_mixer(dataset, case, a) for a in (TIMES_3, ALONE))
    if not equal.size:
        return ""
    return (
        "**Does a vote help a rule more than a mixer does?** At equal computation, with "
        f"{DETOX_3}, a rule is {_by(equal.mean('rule'))} than with a mixer before it and no "
        f"redundancy (mean over {equal.rule.size} pairs of a mixer and a rule; {_counted(equal)}). "
        f"At equal batch it is {_by(batch.mean('rule'))}, of three times the computation."
    )


def _momentum(dataset: xr.Dataset) -> str:
    """Say whether worker momentum replaces redundancy."""
    values = comparisons.momentum_and_vote(dataset)
    if not values.size:
        return ""
    vote, moved, less = (values.sel(difference=name).mean("rule") for name in DIFFERENCES)
    return (
        "**Does worker momentum replace redundancy?** Against server momentum and no redundancy, a "
        f"rule is {_by(moved)} with worker momentum, of the same computation, and {_by(vote)} "
        f"with {DETOX_3}, of three times the computation. What both gain together, less the sum of "
        f"the two gains: {interval_text(less)} (means over the {values.rule.size} rules whose "
        "condition holds without redundancy)."
    )


def _attack(dataset: xr.Dataset) -> str:
    """Say which attacks are chosen as the worst ones, and how often another one is worse."""
    case = main_case(dataset)
    names = comparisons.worst_names(dataset).sel(case=case).values.ravel()
    names, counts = np.unique(names[names != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    often = ", ".join(f"{names[k]} for {counts[k]}" for k in order)
    found, one = comparisons.ran(dataset, case), dataset.sel(case=case, drop=True)
    plain = comparisons.plain_minimum(one)["mean"]
    crossed = comparisons.cross_fitted(one).mean("seed")
    means = found.mean("seed").stack(pair=("scheme", "rule")).dropna("pair")
    pairs = found.stack(pair=("scheme", "rule")).sel(pair=means.pair)
    low = [student_t(seeds)[0] for seeds in pairs.transpose("pair", "seed").values]
    below = int((plain.stack(pair=("scheme", "rule")).sel(pair=means.pair).values < low).sum())
    lower = float((means - crossed.stack(pair=("scheme", "rule"))).mean())
    wrong = ": two tuning seeds chose an attack that is not the worst" if below else ""
    alone = ""
    if ALONE in found.scheme.values and "mean" in found.rule.values:
        guess = float(found.sel(scheme=ALONE, rule="mean").mean())
        alone = (
            f" The mean of the gradients with no redundancy keeps {guess:.2f}; guessing is 0.10."
        )
    return (
        f"**Which attack is the worst?** By the tuning seeds, of {counts.sum()} pairs: {often}. "
        f"For {below or 'none'} of them the plain minimum over the attacks lies below the whole "
        f"interval of the worst case{wrong}. Cross-fitted, the worst case is {lower:.3f} lower on "
        f"average.{alone}"
    )
