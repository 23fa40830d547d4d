"""Tables of what an attack does to each rule, and the finding in words."""

import numpy as np
import pandas as pd
import xarray as xr
from numpy.typing import ArrayLike

from detox_sim.sweeps.intervals import student_t
from studies.training.comparisons import attack_in, tasks_in
from studies.training.effects import differences, estimates
from studies.training.effects.estimates import NOT_RUN

COMPARISONS = {"equal batch": "defence", "equal compute": "defence_equal_compute"}
# Attacks as a sentence names them; others by their label.
ANSWERS = {
    differences.SAME_DIRECTION: "yes, at this scale,",
    differences.REPRODUCED: "yes",
    differences.CONTRADICTED: "no",
}
ADJECTIVES = {"one worker": "of one worker", "recalibrated": "recalibrated"}
ATTACKS = {"alie": "ALIE", "reverse": "the reverse gradient", "constant": "the constant attack"}


def by_title(dataset: xr.Dataset, task: str) -> dict[str, pd.DataFrame]:
    """Return the tables of a task: verdicts, effects, parts of the damage, collapsed runs if any.

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
    titles = [f"effects, batch-norm statistics {ADJECTIVES[e]}" for e in both]
    tables |= {
        title if len(both) > 1 else "effects": effects_table(found, evaluation)
        for title, evaluation in zip(titles, both, strict=True)
    }
    if parts.notnull().any():
        tables["the damage, in parts"] = parts_table(parts)
    collapsed = collapsed_table(dataset.sel(task=task))
    return tables | ({"collapsed runs": collapsed} if len(collapsed) else {})


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
    for comparison, quantity in COMPARISONS.items():
        words = differences.verdicts(found, quantity)
        judged = estimates.estimate(found[quantity])
        for rule, row in rows.items():
            row[f"at {comparison}"] = str(words.sel(rule=rule).item())
            p = judged.adjusted.sel(rule=rule)
            row[f"adjusted p, {comparison}"] = " / ".join(_p(value) for value in p.values)
    seeds = found.defence.notnull().all("evaluation").sum("seed")
    for rule, row in rows.items():
        row["seeds"] = str(int(seeds.sel(rule=rule)))
    return pd.DataFrame(rows).T.rename_axis("rule")


def _p(value: float) -> str:
    return "-" if np.isnan(value) else "< 0.001" if value < 0.001 else f"{value:.3f}"


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
    """Return how many runs end below twice the accuracy of chance, of pipelines with such runs.

    Parameters
    ----------
    dataset : xarray.Dataset
        One task.
    classes : int
    """
    found = differences.collapsed(dataset, 1 / classes)
    axes = ("attack", "pipeline", "variant")
    found = found.transpose(*axes, "evaluation")
    arrays = [found[name].values for name in ("collapsed", "runs", "low", "high")]
    rows: dict[str, dict[str, str]] = {}
    for place in zip(*np.nonzero(arrays[0].any(axis=-1)), strict=True):
        attack, pipeline, variant = (found[a].values[i] for a, i in zip(axes, place, strict=True))
        row = rows.setdefault(f"{pipeline}, {variant}", {})
        numbers = zip(*(array[place] for array in arrays), strict=True)
        for name, (count, runs, low, high) in zip(differences.EVALUATIONS, numbers, strict=True):
            row[f"{attack}: {name}"] = f"{count} of {runs} ({100 * low:.0f} to {100 * high:.0f} %)"
    return pd.DataFrame(rows).T.fillna("none").rename_axis("pipeline")


def interval_text(values: ArrayLike) -> str:
    """Return "mean [low, high]" over seeds; "not run" without a seed.

    Examples
    --------
    >>> interval_text([0.5, 0.6, np.nan])
    '0.550 [-0.085, 1.185]'
    """
    known = np.asarray(values, dtype=float)
    known = known[np.isfinite(known)]
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
        saves; whether the attack bit, and whether DETOX defends.
    """
    found, blocks = differences.effects(dataset), []
    for task in tasks_in(dataset):
        one = found.sel(task=task)
        parts = differences.decomposition(one)
        words = {
            name: differences.verdicts(one, quantity) for name, quantity in COMPARISONS.items()
        }
        attack = ATTACKS.get(attack_in(dataset), attack_in(dataset))
        sentences = [_sentence(one, parts, words, str(r), attack) for r in one.rule.values]
        vote, summary = _vote_saves(one, attack), _summary(one, parts, words)
        said = f"{vote[0].upper()}{vote[1:]} {summary}" if vote else summary
        blocks.append("\n".join([f"**On {task}.** {said}\n", *(f"* {s}" for s in sentences)]))
    return "\n\n".join(blocks)


def answer(dataset: xr.Dataset) -> str:
    """Return in one sentence a task what the vote saves, with its interval, as Markdown.

    The mean over the rules that the attack harms and that ran in all parts.

    Parameters
    ----------
    dataset : xarray.Dataset
        See `differences.final_accuracy`.
    """
    attack = ATTACKS.get(attack_in(dataset), attack_in(dataset))
    effects = differences.effects(dataset)
    said = {task: _vote_saves(effects.sel(task=task), attack) for task in tasks_in(dataset)}
    return "\n\n".join(f"**On {task}** {text}" for task, text in said.items() if text)


def _vote_saves(found: xr.Dataset, attack: str) -> str:
    """Return what the vote saves, mean over rules that the attack harms; "" if not known."""
    harmed = found.rule[(differences.verdicts(found) != differences.NO_BITE).values]
    parts = differences.decomposition(found).sel(rule=harmed)
    known = parts.dropna("rule", how="all").dropna("seed").mean("rule")
    if not known.size:
        return ""
    rules = parts.dropna("rule", how="all").rule.size
    return (
        f"the vote saves {interval_text(known.sel(part='vote'))} of accuracy under {attack}, "
        f"beyond what as many images save without a vote: mean over {rules} "
        f"rule{'s' if rules > 1 else ''} and {_seeds(known.seed.size)}, of a damage of "
        f"{float(known.sum('part').mean()):.2f}."
    )


def _summary(found: xr.Dataset, parts: xr.DataArray, verdicts: dict[str, xr.DataArray]) -> str:
    """Return the range of each part over the rules that suffer, and how many DETOX defends."""
    seeds = int(found.defence.notnull().sum("seed").max()) if found.rule.size else 0
    if not seeds:
        return "No rule ran yet in all the ways that a comparison needs."
    bitten = verdicts["equal batch"] != differences.NO_BITE
    rules = [str(rule) for rule in found.rule.values[bitten.values]]
    whole = [one for rule in rules if (one := differences.complete(parts, rule)).seed.size]
    said = []
    if len(whole) > 1:
        means = xr.concat([one.mean("seed") for one in whole], "rule")
        ends = {
            name: f"{float(values.min()):.2f} to {float(values.max()):.2f}"
            for name, values in (
                ("damage", means.sum("part")),
                *((part, means.sel(part=part)) for part in differences.PARTS),
            )
        }
        said.append(
            f"Of the damage of {ends['damage']}, by rule, {ends['evaluation']} is the evaluation, "
            f"{ends['compute']} what three times the images save without a vote, and "
            f"{ends['vote']} what the vote saves beyond that."
        )
    if seeds < estimates.SEEDS:
        said.append(f"With {_seeds(seeds)} no defence is decided; that takes {estimates.SEEDS}.")
        return " ".join(said)
    counted = []
    for name, of in verdicts.items():
        words = [str(word) for word in of.values]
        known = [word for word in words if word != NOT_RUN]
        shown = sum(word in (differences.SAME_DIRECTION, differences.REPRODUCED) for word in known)
        if known:
            counted.append(f"{shown} of {len(known)} at {name}")
    said.append(
        "Rules that DETOX is shown to defend, by more than "
        f"{estimates.THRESHOLD:g} of accuracy: {', '.join(counted)}."
    )
    return " ".join(said)


def _sentence(
    found: xr.Dataset,
    parts: xr.DataArray,
    verdicts: dict[str, xr.DataArray],
    rule: str,
    attack: str,
) -> str:
    one = found.sel(rule=rule, evaluation="one worker")
    one = one.isel(seed=one.defence.notnull().values)
    if not one.seed.size:
        return f"**{rule}**: not run."
    before = float(one.unharmed.mean())
    after = before - float(one.damage.mean())
    said = (
        f"**{rule}** ({_seeds(one.seed.size)}): alone it ends at {before:.2f} when nobody attacks "
        f"and at {after:.2f} under {attack}, a damage of {interval_text(one.damage)}."
    )
    words = {name: str(of.sel(rule=rule).item()) for name, of in verdicts.items()}
    if words["equal batch"] == differences.NO_BITE:
        return said + " The attack did not bite, so these runs say nothing of a defence."
    parts = differences.complete(parts, rule)
    if parts.seed.size:
        of = {name: interval_text(parts.sel(part=name)) for name in differences.PARTS}
        said += (
            f" Of the damage {of['evaluation']} is taken away by recalibrated batch-norm "
            f"statistics (evaluation), {of['compute']} by three times the images for the rule "
            f"alone (compute), and {of['vote']} by DETOX in place of these (vote); "
            f"{of['remainder']} remains with DETOX, recalibrated."
        )
    judged = [f"{ANSWERS.get(w, w)} at {name}" for name, w in words.items() if w != NOT_RUN]
    return (
        f"{said} With DETOX the damage is {interval_text(one.damage_detox)}, less by "
        f"{interval_text(one.defence)} at equal batch. Does DETOX defend? {'; '.join(judged)}."
    )


def _seeds(count: int) -> str:
    return f"{count} seed{'s' if count > 1 else ''}"
