"""Tables of damage and price with server and worker momentum, and the finding in words."""

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.sweeps.intervals import interval
from studies.training.effects import estimates
from studies.training.effects.tables import interval_text
from studies.training.memory.damages import (
    CONFIGURATIONS,
    FOUR,
    MEMORY,
    NOT_RUN,
    REFERENCE,
    SERVER,
    WORDS,
    accuracies,
    answers,
    cases,
    comparisons,
    damages,
    prices,
    spreads,
)

DIFFERENCES = {
    "saved": "saved by worker momentum",
    "gap": "damage with worker momentum, less that with DETOX",
    "beyond_detox": "saved by both beyond DETOX",
    "beyond_worker": "saved by both beyond worker momentum",
}
BESIDE = {"alone": "alone", "DETOX": "with DETOX"}
QUESTIONS = {"replaces": "replaces redundancy?", "adds": "adds to it?"}


def damage_table(dataset: xr.Dataset, byzantine: int, attack: str) -> pd.DataFrame:
    """Return the damage to each rule by configuration, and the word for it."""
    damage, at = damages(dataset), {"byzantine": byzantine, "attack": attack}
    said = answers(damage).word.sel(at)
    table = by_rule(damage.sel(at))
    return table.assign(word=[str(said.sel(rule=rule).item()) for rule in table.index])


def deciding_table(dataset: xr.Dataset, byzantine: int, attack: str) -> pd.DataFrame:
    """Return the two answers for each rule, and the differences that decide them."""
    damage, at = damages(dataset), {"byzantine": byzantine, "attack": attack}
    found, said = comparisons(damage).sel(at), answers(damage).sel(at)
    rows: dict[str, dict[str, str]] = {}
    for name, label in DIFFERENCES.items():
        adjusted = estimates.estimate(found[name]).adjusted
        for rule in (str(rule) for rule in found.rule.values):
            values = found[name].sel(rule=rule)
            if values.notnull().any():
                text = interval_text(values) + _p(float(adjusted.sel(rule=rule)))
                row = {QUESTIONS[key]: str(said[key].sel(rule=rule).item()) for key in QUESTIONS}
                rows.setdefault(rule, row)[label] = text
    return pd.DataFrame(rows).T.rename_axis("rule")


def _p(value: float) -> str:
    return "" if np.isnan(value) else ", p < 0.001" if value < 0.001 else f", p = {value:.3f}"


def accuracy_table(dataset: xr.Dataset, byzantine: int, attack: str) -> pd.DataFrame:
    """Return the accuracy of each rule by configuration under an attack, or nobody."""
    return by_rule(accuracies(dataset).sel(byzantine=byzantine, attack=attack))


def price_table(dataset: xr.Dataset, byzantine: int) -> pd.DataFrame:
    """Return the price of each rule by configuration."""
    return by_rule(prices(dataset).sel(byzantine=byzantine))


def spread_table(dataset: xr.Dataset, byzantine: int) -> pd.DataFrame:
    """Return what `spreads` does, the mean over steps, of each rule by configuration."""
    return by_rule(spreads(dataset).sel(byzantine=byzantine).mean("eval_step"))


def by_rule(values: xr.DataArray) -> pd.DataFrame:
    """Return intervals over seeds, a row a rule and a column a configuration, of those that ran.

    Parameters
    ----------
    values : xarray.DataArray
        (rule, configuration, seed)
    """
    known = values.notnull().any("seed")
    rows = {
        str(rule): {
            str(name): interval_text(values.sel(rule=rule, configuration=name))
            for name in values.configuration.values
            if known.sel(configuration=name).any()
        }
        for rule in values.rule.values
        if known.sel(rule=rule).any()
    }
    return pd.DataFrame(rows).T.rename_axis("rule")


# --- The finding ----------------------------------------------------------------------------------


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: a word for each attack and rule, damage and price.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `damages.accuracies`.
    """
    damage = damages(dataset)
    said = answers(damage).word
    lines, counts = [], dict.fromkeys(WORDS, 0)
    for q, attack in cases(dataset):
        at, each = {"byzantine": q, "attack": attack}, []
        for rule in (str(rule) for rule in damage.rule.values):
            word = str(said.sel(at | {"rule": rule}).item())
            counts[word] += 1
            answer = "" if word == NOT_RUN else f" (**{word}**)"
            if values := _values(damage.sel(at | {"rule": rule}), FOUR):
                each.append(f"{rule}{answer}: {values}")
        lines.append(f"**Damage by {attack}, q = {q}.** {'; '.join(each)}.")
    if not lines:
        return "No rule ran yet both with an attack and without."
    seeds = int(damage.notnull().any([dim for dim in damage.dims if dim != "seed"]).sum())
    decided = [f"{word} in {n}" for word, n in counts.items() if n and word != NOT_RUN]
    first = (
        "**Does worker momentum replace redundancy, add to it, or neither?** Of "
        f"{sum(counts.values()) - counts[NOT_RUN]} pairs of an attack and a rule: "
        f"{', '.join(decided) or 'none is complete'} ({seeds} seeds)."
    )
    return "\n".join(f"* {line}" for line in (first, *lines, *_costs(prices(dataset))))


def _values(values: xr.DataArray, names) -> str:
    """Return means and intervals of the configurations (configuration, seed) that were run."""
    known, said = values.notnull().any("seed"), []
    for memory in MEMORY:
        each = [
            f"{interval(values.sel(configuration=name))} {BESIDE[CONFIGURATIONS[name][1]]}"
            for name in names
            if CONFIGURATIONS[name][0] == memory and known.sel(configuration=name)
        ]
        said += [f"{memory} {' and '.join(each)}"] if each else []
    return ", ".join(said)


def _costs(price: xr.DataArray) -> list[str]:
    """Return what each configuration costs when nobody attacks, a line a number of workers."""
    lines = []
    for q in (int(q) for q in price.byzantine.values):
        each = []
        for rule in (str(rule) for rule in price.rule.values):
            names = [name for name in FOUR if (rule, name) != (REFERENCE, SERVER)]
            if values := _values(price.sel(byzantine=q, rule=rule), names):
                each.append(f"{rule}: {values}")
        if each:
            lines.append(f"**Price when nobody attacks, q = {q}.** {'; '.join(each)}.")
    return lines
