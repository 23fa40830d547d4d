"""Tables of damage and price with server and worker momentum, and the finding in words."""

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.sweeps.intervals import interval
from studies.training.effects import estimates
from studies.training.effects.tables import interval_text
from studies.training.memory.damages import (
    ADDS,
    BOTH,
    MEMORY,
    NEITHER,
    NOT_RUN,
    REDUNDANCY,
    REPLACES,
    WORDS,
    answers,
    cases,
    comparisons,
    damages,
    prices,
)

DIFFERENCES = {
    "saved": "saved by worker momentum",
    "gap": "damage with worker momentum, less that with DETOX",
    "beyond_detox": "saved by both beyond DETOX",
    "beyond_worker": "saved by both beyond worker momentum",
}
DECIDED = (REPLACES, BOTH, ADDS, NEITHER)
QUESTIONS = {"replaces": "replaces redundancy?", "adds": "adds to it?"}


def damage_table(damage: xr.DataArray, said: xr.Dataset) -> pd.DataFrame:
    """Return the damage to each rule by configuration, and the word for it.

    Parameters
    ----------
    damage : xarray.DataArray
        `damages.damages` at one number of Byzantine workers and one attack.
    said : xarray.Dataset
        `damages.answers` there.
    """
    table = by_rule(damage)
    return table.assign(word=[str(said.word.sel(rule=rule).item()) for rule in table.index])


def deciding_table(damage: xr.DataArray, said: xr.Dataset) -> pd.DataFrame:
    """Return the two answers for each rule, and the differences that decide them.

    Parameters are those of `damage_table`.
    """
    found = comparisons(damage)
    rows: dict[str, dict[str, str]] = {}
    for name, label in DIFFERENCES.items():
        adjusted = estimates.estimate(found[name]).adjusted.values
        for i, rule in enumerate(str(rule) for rule in found.rule.values):
            values = found[name].isel(rule=i)
            if values.notnull().any():
                row = {text: str(said[key].values[i]) for key, text in QUESTIONS.items()}
                rows.setdefault(rule, row)[label] = interval_text(values) + _p(adjusted[i])
    return pd.DataFrame(rows).T.rename_axis("rule")


def _p(value: float) -> str:
    return "" if np.isnan(value) else ", p < 0.001" if value < 0.001 else f", p = {value:.3f}"


def by_rule(values: xr.DataArray) -> pd.DataFrame:
    """Return intervals over seeds, a row a rule and a column a configuration, of those that ran.

    Parameters
    ----------
    values : xarray.DataArray
        (rule, configuration, seed)
    """
    values = values.transpose("rule", "configuration", "seed")
    known = values.notnull().any("seed").values
    rows = {
        str(values.rule.values[i]): {
            str(name): interval_text(values.values[i, k])
            for k, name in enumerate(values.configuration.values)
            if known[:, k].any()
        }
        for i in np.flatnonzero(known.any(axis=1))
    }
    return pd.DataFrame(rows).T.rename_axis("rule")


# --- The finding ----------------------------------------------------------------------------------


def finding(dataset: xr.Dataset) -> str:
    """Return what was found as Markdown: words by attack, damage where decided, change of price.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `damages.accuracies`.
    """
    if not (ran := cases(dataset)):
        return "No rule ran yet both with an attack and without."
    damage = damages(dataset)
    said = answers(damage).word
    lines, counts = [], dict.fromkeys(WORDS, 0)
    for q, attack in ran:
        at = {"byzantine": q, "attack": attack}
        rules = [
            (str(rule), str(said.sel(at | {"rule": rule}).item())) for rule in said.rule.values
        ]
        for _, word in rules:
            counts[word] += 1
        each = [_sentence(damage.sel(at), rules, word) for word in WORDS]
        each = [one for one in each if one] or ["no rule has all configurations"]
        lines.append(f"**{attack}, q = {q}.** {'; '.join(each)}.")
    seeds = int(damage.notnull().any([dim for dim in damage.dims if dim != "seed"]).sum())
    decided = [f"{word} in {n}" for word, n in counts.items() if n and word != NOT_RUN]
    first = (
        "**Does worker momentum replace redundancy, add to it, or neither?** Of "
        f"{sum(counts.values()) - counts[NOT_RUN]} pairs of an attack and a rule: "
        f"{', '.join(decided) or 'none is complete'} ({seeds} seeds)."
    )
    return "\n".join(f"* {line}" for line in (first, *lines, *_costs(prices(dataset))))


def _sentence(damage: xr.DataArray, rules: list[tuple[str, str]], word: str) -> str:
    """Return the rules with a word; of decided ones the damage (rule, configuration, seed)."""
    named = [rule for rule, of in rules if of == word]
    if not named or word == NOT_RUN:
        return ""
    if word in DECIDED:
        named = [f"{rule} (damage {_values(damage.sel(rule=rule))})" for rule in named]
    return f"**{word}**: {', '.join(named)}"


def _values(damage: xr.DataArray) -> str:
    """Return the mean damage and interval of each configuration (configuration, seed)."""
    alone, detox = (
        [interval(damage.sel(configuration=f"{memory}, {redundancy}")) for memory in MEMORY]
        for redundancy in REDUNDANCY
    )
    each = zip(MEMORY, alone, detox, strict=True)
    return ", ".join(f"with {memory} {one} alone and {two} with DETOX" for memory, one, two in each)


def _costs(price: xr.DataArray) -> list[str]:
    """Return how worker momentum changes the price of rules alone, by number of workers."""
    server, worker = (price.sel(configuration=f"{memory}, alone") for memory in MEMORY)
    change, lines = (worker - server).drop_vars("configuration", errors="ignore"), []
    for q in (int(q) for q in change.byzantine.values):
        known = change.sel(byzantine=q).dropna("rule", how="all")
        each = [f"{rule} {interval(known.sel(rule=rule))}" for rule in known.rule.values]
        if each:
            lines.append(
                f"**When nobody attacks, q = {q}**, worker momentum changes the price of a rule "
                f"alone by: {', '.join(each)} (below zero it ends more accurate)."
            )
    return lines
