"""Tables of what an attack does to each rule, and the finding in words."""

import itertools

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.sweeps.intervals import student_t
from studies.training.comparisons import attack_in, tasks_in
from studies.training.effects import differences, estimates

# Attacks as a sentence names them; others by their label.
ATTACKS = {"alie": "ALIE", "reverse": "the reverse gradient", "constant": "the constant attack"}


def by_title(dataset: xr.Dataset, task: str) -> dict[str, pd.DataFrame]:
    """Return the tables of a task: verdicts, effects, the parts of the damage, collapsed runs.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `differences.final_accuracy`.
    task : str
    """
    found = differences.effects(dataset).sel(task=task)
    both = list(differences.EVALUATIONS) if "recalibrated_accuracy" in dataset else ["one worker"]
    parts = differences.decomposition(found)
    tables = {"does DETOX defend?": verdicts_table(found)}
    tables |= {f"effects, statistics of batch norms: {e}": effects_table(found, e) for e in both}
    if parts.notnull().any():
        tables["the damage, in parts"] = parts_table(parts)
    return tables | {"collapsed runs": collapsed_table(dataset.sel(task=task))}


def effects_table(found: xr.Dataset, evaluation: str) -> pd.DataFrame:
    """Return each effect of each rule: its mean and 95 % interval over seeds.

    Parameters
    ----------
    found : xarray.Dataset
        `differences.effects` of one task.
    evaluation : str
        One of `differences.EVALUATIONS`.
    """
    one = found.sel(evaluation=evaluation)
    columns = {
        label: [interval_text(one[name].sel(rule=rule)) for rule in one.rule.values]
        for name, label in differences.QUANTITIES.items()
        if one[name].notnull().any()
    }
    return pd.DataFrame(columns, index=pd.Index(one.rule.values, name="rule"))


def verdicts_table(found: xr.Dataset) -> pd.DataFrame:
    """Return whether DETOX defends each rule: the verdict, adjusted p values and seeds.

    Parameters
    ----------
    found : xarray.Dataset
        `differences.effects` of one task.
    """
    rows: dict[str, dict[str, str]] = {str(rule): {} for rule in found.rule.values}
    comparisons = {"defence": "equal batch", "defence_equal_compute": "equal compute"}
    for quantity, comparison in comparisons.items():
        words = differences.verdicts(found, quantity)
        judged = estimates.estimate(found[quantity])
        for rule, row in rows.items():
            row[f"at {comparison}"] = str(words.sel(rule=rule).item())
            p = judged.adjusted.sel(rule=rule)
            row[f"adjusted p, {comparison}"] = " / ".join(
                "-" if np.isnan(value) else f"{value:.3f}" for value in p.values
            )
    seeds = found.defence.notnull().all("evaluation").sum("seed")
    for rule, row in rows.items():
        row["seeds"] = str(int(seeds.sel(rule=rule)))
    return pd.DataFrame(rows).T.rename_axis("rule")


def parts_table(parts: xr.DataArray) -> pd.DataFrame:
    """Return the parts of the damage to each rule with their intervals.

    Parameters
    ----------
    parts : xarray.DataArray
        `differences.decomposition` of one task.
    """
    rows = {}
    for rule in (str(rule) for rule in parts.rule.values):
        one = differences.complete(parts, rule)
        rows[rule] = {part: interval_text(one.sel(part=part)) for part in differences.PARTS}
        rows[rule] |= {"damage": interval_text(one.sum("part")), "seeds": str(one.seed.size)}
    return pd.DataFrame(rows).T.rename_axis("rule")


def collapsed_table(dataset: xr.Dataset, classes: int = 10) -> pd.DataFrame:
    """Return how many runs of each pipeline end below twice the accuracy of chance.

    Parameters
    ----------
    dataset : xarray.Dataset
        One task.
    classes : int
    """
    found = differences.collapsed(dataset, 1 / classes)
    rows: dict[str, dict[str, str]] = {}
    for attack, pipeline, variant in itertools.product(
        found.attack.values, found.pipeline.values, found.variant.values
    ):
        one = found.sel(attack=attack, pipeline=pipeline, variant=variant)
        if int(one.runs.max()):
            row = rows.setdefault(f"{pipeline}, {variant}", {})
            for name in differences.EVALUATIONS:
                row[f"{attack}: {name}"] = _share(one.sel(evaluation=name))
    return pd.DataFrame(rows).T.fillna("not run").rename_axis("pipeline")


def _share(one: xr.Dataset) -> str:
    low, high = (f"{100 * float(one[name]):.0f}" for name in ("low", "high"))
    return f"{int(one.collapsed)} of {int(one.runs)} ({low} to {high} %)"


def interval_text(values: xr.DataArray) -> str:
    """Return "mean [low, high]" over seeds; "not run" without a seed.

    Examples
    --------
    >>> interval_text(xr.DataArray([0.5, 0.6, np.nan]))
    '0.550 [-0.085, 1.185]'
    """
    known = values.values[np.isfinite(values.values)]
    if not known.size:
        return "not run"
    if known.size == 1:
        return f"{known[0]:.3f} (1 seed)"
    low, high = student_t(known)
    return f"{known.mean():.3f} [{low:.3f}, {high:.3f}]"


# --- The finding ----------------------------------------------------------------------------------


def finding(dataset: xr.Dataset) -> str:
    """Return what was found, a sentence a rule, as Markdown.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `differences.final_accuracy`.

    Returns
    -------
    str
        What the damage to a rule consists of where it also ran at equal compute, else what DETOX
        saves; and whether the attack bit.
    """
    found, blocks = differences.effects(dataset), []
    for task in tasks_in(dataset):
        one = found.sel(task=task)
        attack = ATTACKS.get(attack_in(dataset), attack_in(dataset))
        sentences = [_sentence(one, str(rule), attack) for rule in one.rule.values]
        blocks.append("\n".join([f"On {task}:\n", *(f"* {each}" for each in sentences)]))
    return "\n\n".join(blocks)


def _sentence(found: xr.Dataset, rule: str, attack: str) -> str:
    parts = differences.complete(differences.decomposition(found), rule)
    if parts.seed.size:
        of = {name: interval_text(parts.sel(part=name)) for name in differences.PARTS}
        total, count = interval_text(parts.sum("part")), _seeds(parts.seed.size)
        return (
            f"**{rule}** ({count}): {attack} takes {total} of its accuracy, as the DETOX code "
            f"evaluates. Of that {of['evaluation']} is the evaluation; {of['compute']} does not "
            f"occur with three times the images and no vote; {of['vote']} more the vote keeps "
            f"away; {of['remainder']} remains with DETOX."
        )
    one = found.sel(rule=rule, evaluation="one worker")
    seeds = int(one.defence.notnull().sum())
    if not seeds:
        return f"**{rule}**: not run."
    word = str(differences.verdicts(found, "defence").sel(rule=rule).item())
    alone, detox, defence = (
        interval_text(one[name]) for name in ("damage", "damage_detox", "defence")
    )
    return (
        f"**{rule}** ({_seeds(seeds)}): {attack} takes {alone} of its accuracy alone and {detox} "
        f"with DETOX, a defence of {defence} at equal batch: {word}."
    )


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
