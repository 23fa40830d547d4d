"""What the atlas found, in words: five findings with their intervals."""

import numpy as np
import xarray as xr

from detox_sim.sweeps.intervals import interval
from studies.training.effects.tables import interval_text
from studies.training.worst_case import comparisons
from studies.training.worst_case.comparisons import ALONE, EQUAL_COMPUTE, main_case

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
    values = comparisons.equal_compute(dataset, main_case(dataset))
    lowest = comparisons.plain_minimum(dataset)["mean"].sel(case=main_case(dataset))
    parts = []
    for scheme in (str(name) for name in values.scheme.values):
        one, alone = values.sel(scheme=scheme).dropna("rule", how="all"), EQUAL_COMPUTE[scheme]
        plain = (lowest.sel(scheme=scheme) - lowest.sel(scheme=alone)).sel(rule=one.rule)
        parts.append(
            f"with {scheme}, training is {_by(one.mean('rule'))} in the worst case than without "
            f"redundancy and with {alone.split(', ')[1]} (mean over {one.rule.size} rules; "
            f"{_counted(one)}; by the plain minimum {float(plain.mean()):+.3f})"
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
    return ", ".join(f"{said} for {words.count(word)}" for word, said in SIDES.items())


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
    question = "**Which rule is best behind which scheme?** Worst-case accuracy"
    return f"{question}, {'; '.join(parts)}." if parts else ""


def _mixer(dataset: xr.Dataset) -> str:
    """Say whether a vote helps a rule more than a mixer does."""
    values = comparisons.vote_or_mixer(dataset, main_case(dataset))
    if not values.size:
        return ""
    return (
        "**Does the vote help a rule more than a mixer does?** With DETOX, r=3, a rule is "
        f"{_by(values.mean('rule'))} in the worst case than alone with a mixer before it (mean "
        f"over {values.rule.size} pairs of a mixer and a rule; {_counted(values)})."
    )


def _momentum(dataset: xr.Dataset) -> str:
    """Say whether worker momentum replaces redundancy."""
    values = comparisons.momentum_or_vote(dataset)
    if not values.size:
        return ""
    return (
        "**Does worker momentum replace redundancy?** Alone with worker momentum, a rule is "
        f"{_by(values.mean('rule'))} in the worst case than with DETOX, r=3, and server momentum "
        f"(mean over {values.rule.size} rules; {_counted(values)})."
    )


def _attack(dataset: xr.Dataset) -> str:
    """Say which attacks are the worst ones, and how low the plain minimum is."""
    names = comparisons.worst_names(dataset).sel(case=main_case(dataset)).values.ravel()
    names, counts = np.unique(names[names != ""], return_counts=True)
    order = np.argsort(-counts, kind="stable")[:3]
    often = ", ".join(f"{names[k]} for {counts[k]}" for k in order)
    found = comparisons.ran(dataset, main_case(dataset))
    plain = comparisons.plain_minimum(dataset)["mean"].sel(case=main_case(dataset))
    apart = float((found.mean("seed") - plain).mean())
    alone = ""
    if ALONE in found.scheme.values and "mean" in found.rule.values:
        alone = f" The mean alone keeps {interval(found.sel(scheme=ALONE, rule='mean'))}."
    return (
        f"**Which attack is the worst?** Of {counts.sum()} pairs: {often}. The plain minimum over "
        f"the attacks is lower than the worst case by {apart:.3f} on average: the one is too low, "
        f"as it takes the lowest of noisy means, the other too high where two tuning seeds chose "
        f"an attack that is not the worst.{alone}"
    )
