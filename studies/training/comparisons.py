"""What is read off a training study's dataset: one task of it, tables and paired differences."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.sweeps.intervals import interval, student_t
from studies.training.pipelines import PAIRS

REFERENCES = ("Mean", "DRACO", "signSGD")


def tasks_in(dataset: xr.Dataset) -> list[str]:
    """Return the labels of the tasks that ran at equal batch; those of others where none did."""
    tasks = [str(task) for task in dataset.task.values]
    ran = [t for t in tasks if equal_batch(dataset).accuracy.sel(task=t).notnull().any()]
    return ran or tasks


def attack_in(dataset: xr.Dataset) -> str:
    """Return the attack that is studied; "nobody" only if there is no other.

    Examples
    --------
    >>> attack_in(xr.Dataset(coords={"attack": ["nobody", "alie"]}))
    'alie'
    """
    names = [str(name) for name in dataset.attack.values]
    return next((name for name in names if name != "nobody"), names[0])


def equal_batch(dataset: xr.Dataset) -> xr.Dataset:
    """Return the runs at equal batch, which are all where there is no axis of variants."""
    return dataset.sel(variant="equal batch") if "variant" in dataset.dims else dataset


def pairs_in(dataset: xr.Dataset) -> list[tuple[str, str]]:
    """Return the (vanilla, D-) pairs of which the dataset has at least one."""
    present = {str(name) for name in dataset.pipeline.values}
    return [pair for pair in PAIRS.items() if present & set(pair)]


def in_pairs(dataset: xr.Dataset) -> list[str]:
    """Return the pipelines, each rule beside its D- version, others first.

    Examples
    --------
    >>> in_pairs(xr.Dataset(coords={"pipeline": ["Mean", "Median", "D-Mean", "DRACO"]}))
    ['DRACO', 'Mean', 'D-Mean', 'Median']
    """
    names = [str(name) for name in dataset.pipeline.values]
    places = {name: place for place, name in enumerate(n for pair in PAIRS.items() for n in pair)}
    return sorted(names, key=lambda name: places.get(name, -1))


def final_accuracies(dataset: xr.Dataset, reported: dict[str, float]) -> pd.DataFrame:
    """Return the last test accuracy of each pair and the paired difference over seeds.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` over (pipeline, seed, eval_step).
    reported : dict
        The paper's values by method, in percent.
    """
    last = dataset.accuracy.isel(eval_step=-1)
    rows = []
    for vanilla, detox in pairs_in(dataset):
        row = {"rule": vanilla}
        both = [name for name in (vanilla, detox) if name in dataset.pipeline.values]
        for column, name in (("alone", vanilla), ("with DETOX", detox)):
            row[column] = interval(last.sel(pipeline=name)) if name in both else "-"
        if len(both) == 2:
            row["paired difference"] = interval(
                last.sel(pipeline=detox) - last.sel(pipeline=vanilla)
            )
        quoted = [f"{reported[n]:g} %" if n in reported else "-" for n in (vanilla, detox)]
        row["paper, alone (reported)"], row["paper, with DETOX (reported)"] = quoted
        rows.append(row)
    return pd.DataFrame(rows).set_index("rule")


def reference_in(dataset: xr.Dataset) -> str | None:
    """Return what the price of robustness is measured from: the undefended pipeline there is."""
    return next((name for name in REFERENCES if name in dataset.pipeline.values), None)


def price(dataset: xr.Dataset) -> xr.DataArray | None:
    """Return the final accuracy when nobody attacks, less that of the undefended pipeline.

    Parameters
    ----------
    dataset : xarray.Dataset
        `accuracy` over (attack, pipeline, seed, eval_step).

    Returns
    -------
    xarray.DataArray or None
        (pipeline, seed), paired by seed; None without the attack "nobody" or without any of
        `REFERENCES`.

    Examples
    --------
    >>> accuracy = ("attack", "pipeline", "seed", "eval_step"), [[[[0.1, 0.9]], [[0.1, 0.85]]]]
    >>> names = {"attack": ["nobody"], "pipeline": ["Mean", "Median"]}
    >>> price(xr.Dataset({"accuracy": accuracy}, names)).round(3).values.tolist()
    [[0.0], [-0.05]]
    """
    reference = reference_in(dataset)
    if reference is None or "nobody" not in dataset.attack.values:
        return None
    last = dataset.accuracy.isel(eval_step=-1).sel(attack="nobody")
    return last - last.sel(pipeline=reference).drop_vars("pipeline")


def price_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return final accuracies with and without the attack, and what each of the two costs."""
    last, costs = dataset.accuracy.isel(eval_step=-1), price(dataset)
    attack, reference = attack_in(dataset), reference_in(dataset)
    rows = {}
    for name in in_pairs(dataset):
        mine = last.sel(pipeline=name)
        row = {}
        if "nobody" in dataset.attack.values:
            row["nobody attacks"] = interval(mine.sel(attack="nobody"))
        if costs is not None:
            less = "-" if name == reference else interval(costs.sel(pipeline=name))
            row[f"less {reference}, nobody attacks"] = less
        if attack != "nobody":
            row[f"under {attack}"] = interval(mine.sel(attack=attack))
            if "nobody" in dataset.attack.values:
                less = mine.sel(attack=attack) - mine.sel(attack="nobody")
                row[f"{attack} less nobody"] = interval(less)
        rows[name] = row
    return pd.DataFrame(rows).T.rename_axis("pipeline")


def relative_error(dataset: xr.Dataset) -> xr.DataArray:
    """Return the error of the aggregate over the norm of the true mean, mean over steps."""
    error, norm = dataset.gradient_error.astype(float), dataset.gradient_norm.astype(float)
    return _over_steps(error / norm)


def mean_of(name: str) -> Callable[[xr.Dataset], xr.DataArray]:
    """Return a function that takes the mean of a variable over steps."""
    return lambda dataset: _over_steps(dataset[name].astype(float))


def _over_steps(values: xr.DataArray) -> xr.DataArray:
    """Return the mean over the steps at which a run had not yet overflowed."""
    return values.where(np.isfinite(values)).mean("eval_step")


ATTRIBUTION: dict[str, Callable[[xr.Dataset], xr.DataArray]] = {
    "distorted files a step": mean_of("distorted_files"),
    "their weight in the aggregate": mean_of("distorted_weight"),
    "votes used, effectively": mean_of("effective_votes"),
    "share that weights leave unexplained": mean_of("unexplained"),
    "cosine with the honest mean": mean_of("cosine"),
    "error / norm of the honest mean": relative_error,
}


def attribution_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return what the vote let through and what the rule made of it, means over steps.

    Parameters
    ----------
    dataset : xarray.Dataset
        Variables over (pipeline, seed, step): one task, one attack.
    """
    values = {column: of(dataset) for column, of in ATTRIBUTION.items()}
    rows = {
        name: {"votes": f"{float(dataset.votes.sel(pipeline=name).max()):.0f}"}
        | {column: interval(value.sel(pipeline=name)) for column, value in values.items()}
        for name in in_pairs(dataset)
    }
    return pd.DataFrame(rows).T.rename_axis("pipeline")


def times_table(dataset: xr.Dataset) -> pd.DataFrame:
    """Return mean steps and modelled minutes to each accuracy, over the seeds that reach it.

    Parameters
    ----------
    dataset : xarray.Dataset
        `steps_to`, `modelled_seconds_to` over (pipeline, seed, threshold).
    """
    rows: dict[str, dict[str, str]] = {}
    for name in in_pairs(dataset):
        rows[name] = {}
        for threshold in dataset.threshold.values:
            cell = dataset.sel(pipeline=name, threshold=threshold)
            reached = int(cell.steps_to.notnull().sum())
            text = "-"
            if reached:
                minutes = float(cell.modelled_seconds_to.mean()) / 60
                text = f"{float(cell.steps_to.mean()):.0f} steps, {minutes:.1f} min"
            rows[name][f"{threshold:.0%}"] = f"{text} ({reached} of {cell.seed.size})"
    return pd.DataFrame(rows).T.rename_axis("pipeline")


def speed_up(dataset: xr.Dataset, slow: str, fast: str) -> xr.DataArray:
    """Return modelled seconds to each accuracy of one pipeline over those of another.

    Returns
    -------
    xarray.DataArray
        (threshold, seed), paired by seed; NaN where one of them does not get there.

    Examples
    --------
    >>> seconds = ("pipeline", "seed", "threshold"), [[[60, float("nan")]], [[20, 50]]]
    >>> names = {"pipeline": ["Median", "D-Median"], "threshold": [0.8, 0.9]}
    >>> found = xr.Dataset({"modelled_seconds_to": seconds}, names)
    >>> speed_up(found, "Median", "D-Median").values.tolist()
    [[3.0], [nan]]
    """
    seconds = dataset.modelled_seconds_to.transpose("pipeline", "threshold", "seed")
    return seconds.sel(pipeline=slow).drop_vars("pipeline") / seconds.sel(pipeline=fast)


def speed_up_ends(dataset: xr.Dataset, slow: str, fast: str) -> xr.DataArray:
    """Return what `speed_up` may be at least and at most (end, threshold, seed).

    A time to an accuracy is known down to the rounds between two evaluations.

    Examples
    --------
    >>> seconds = ("pipeline", "threshold", "seed"), [[[60.0]], [[20.0]]]
    >>> found = xr.Dataset(
    ...     {"modelled_seconds_to": seconds, "modelled_round_seconds": ("pipeline", [1.5, 0.5])},
    ...     {"pipeline": ["Median", "D-Median"], "eval_step": [0, 10, 20]},
    ... )
    >>> speed_up_ends(found, "Median", "D-Median").values.ravel().tolist()
    [2.25, 4.0]
    """
    seconds = dataset.modelled_seconds_to.transpose("pipeline", "threshold", "seed")
    earlier = seconds - dataset.modelled_round_seconds * dataset.eval_step.diff("eval_step").max()
    slowest, fastest = ({"pipeline": name} for name in (slow, fast))
    least = earlier.sel(slowest, drop=True) / seconds.sel(fastest, drop=True)
    most = seconds.sel(slowest, drop=True) / earlier.sel(fastest, drop=True)
    most = most.where(~(earlier.sel(fastest, drop=True) <= 0), np.inf)
    return xr.concat([least, most], "end").transpose("end", "threshold", "seed")


def speed_up_table(dataset: xr.Dataset, pairs: list[tuple[str, str]]) -> pd.DataFrame:
    """Return the speed-ups of (slow, fast) pairs of which both are there, by accuracy.

    Geometric mean over seeds, its 95 % interval, and how many seeds have one.
    """
    rows: dict[str, dict[str, str]] = {}
    for slow, fast in pairs:
        if {slow, fast} <= {str(name) for name in dataset.pipeline.values}:
            ratios, ends = speed_up(dataset, slow, fast), speed_up_ends(dataset, slow, fast)
            rows[f"{fast} over {slow}"] = {
                f"{threshold:.0%}": _ratio(ratios[k], ends[:, k])
                for k, threshold in enumerate(dataset.threshold.values)
            }
    return pd.DataFrame(rows).T.rename_axis("pair")


def speed_up_finding(dataset: xr.Dataset, slow: str) -> str:
    """Return, a sentence for each other pipeline, how much sooner than `slow` it is, as Markdown.

    To the highest accuracy that all seeds of both reach, in modelled time, under the attack.
    """
    if slow not in dataset.pipeline:
        return f"{slow} is not among these runs."
    blocks = []
    for task in tasks_in(dataset):
        one = dataset.sel(task=task, attack=attack_in(dataset))
        lines: list[str] = []
        said: dict[str, list[str]] = {"sooner": [], "later": [], "undecided": []}
        for name in [str(name) for name in one.pipeline.values if name != slow]:
            ratios = speed_up(one, slow, name)
            reached = ratios.notnull().all("seed")
            if not reached.any():
                lines.append(f"* **{name}** and {slow} reach no accuracy together in every seed.")
                continue
            at = {"threshold": float(ratios.threshold[reached.values][-1])}
            centre, low, high = mean_ratio(ratios.sel(at), speed_up_ends(one, slow, name).sel(at))
            word = "undecided" if low < 1 < high else "sooner" if low >= 1 else "later"
            said[word].append(name)
            lines.append(
                f"* **{name}** takes 1/{centre:.2f} of the time of {slow} to {at['threshold']:.0%} "
                f"(95 % interval of the ratio {low:.2f} to {high:.2f}): {word}."
            )
        named = {word: ", ".join(some) or "none" for word, some in said.items()}
        first = (
            f"**Sooner than {slow}** on {task}: {named['sooner']}; later: {named['later']}; "
            f"undecided: {named['undecided']} (modelled time to the highest accuracy that all "
            "seeds of both reach)."
        )
        if not any(said.values()):
            first = f"**No pipeline** reaches an accuracy that {slow} reaches, too, on {task}."
        blocks.append(first + "\n\n" + "\n".join(lines))
    return "\n\n".join(blocks)


def mean_ratio(ratios, ends=None) -> tuple[float, float, float]:
    """Return the geometric mean of positive ratios, one a seed, and its Student t interval.

    NaN is left out. Of ratios that are not known exactly, `ends` (2, seeds) are what they may be
    at least and at most: the interval goes from the low end of the one to the high end of the
    other, without a bound where a ratio has none.

    Examples
    --------
    >>> [round(end, 2) for end in mean_ratio([2.0, 8.0, float("nan"), 4.0])]
    [4.0, 0.71, 22.38]
    >>> mean_ratio([2.0, 2.0], [[1.0, 1.0], [4.0, float("inf")]])
    (2.0, 1.0, inf)
    """
    values = np.asarray(ratios, dtype=float)
    least, most = (values, values) if ends is None else np.asarray(ends, dtype=float)
    bounded = not (least <= 0).any(), not np.isinf(most).any()
    low = np.exp(student_t(np.log(least))[0]) if bounded[0] else 0.0
    high = np.exp(student_t(np.log(most))[1]) if bounded[1] else np.inf
    return float(np.exp(np.nanmean(np.log(values)))), float(low), float(high)


def _ratio(values: xr.DataArray, ends: xr.DataArray) -> str:
    counted = int(values.notnull().sum())
    if not counted:
        return "-"
    centre, low, high = mean_ratio(values, ends)
    between = f" ({low:.2f} to {high:.2f})" * (counted > 1)
    return f"{centre:.2f}{between}, {counted} of {values.size}"
