"""Tables of the atlas: all pairs ranked by their worst case, and the differences that decide."""

import json
import re
from html import escape
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from detox_sim.planning.atlas import ATLAS
from detox_sim.sweeps import expand_all
from detox_sim.sweeps.intervals import student_t
from studies import load
from studies.training.effects.tables import interval_text
from studies.training.worst_case import comparisons
from studies.training.worst_case.protocol import NOBODY, refusal

QUESTIONS = {
    "Redundancy or more images: DETOX less the rule with no redundancy at equal compute": "scheme",
    "Vote or mixer: DETOX, r=3, less the mixer and the rule at equal compute": "",
    "Vote or mixer: DETOX, r=3, less the mixer and the rule at equal batch": "",
    "Momentum and vote: gains over server momentum and no redundancy, at equal batch": "difference",
}
CHOICES = ["scheme", "rule", "worst attack"]
PAIR = ("scheme", "rule")
COSTS = {"mean_load": "load", "megabytes_per_worker": "MB", "modelled_round_seconds": "seconds"}


COLOURS = "viridis"
GUESSING = 0.1  # accuracy
FRAME = "outline: 2px solid red; outline-offset: -3px"


def by_attack(dataset: xr.Dataset, case: str, scheme: str) -> str:
    """Return accuracy by rule and attack behind a scheme as a coloured HTML table.

    Rows are sorted by the worst case, which is the last column. A cell is the mean over the fresh
    seeds and half of its 95 % interval, in hundredths. The attack that was worst on the tuning
    seeds is framed.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it.
    case : str
    scheme : str
        One that was run.
    """
    worst = comparisons.ran(dataset, case).sel(scheme=scheme).dropna("rule", how="all")
    means = worst.mean("seed").to_series()
    order = means.sort_values(ascending=False, kind="stable").index
    runs = dataset.accuracy.sel(case=case, scheme=scheme, rule=order).dropna("attack", how="all")
    last = worst.sel(rule=order).expand_dims(attack=["worst case"])
    runs = xr.concat([runs, last], "attack", coords="minimal")
    values = runs.mean("seed").transpose("rule", "attack").to_pandas()
    texts = pd.DataFrame(_hundredths(runs), values.index.values, values.columns.values)
    values = values.set_axis(texts.index).set_axis(texts.columns, axis=1)
    extra = pd.DataFrame("", texts.index, texts.columns)
    names = comparisons.worst_names(dataset).sel(case=case, scheme=scheme)
    for rule in order:
        extra.loc[rule, str(names.sel(rule=rule).item())] = FRAME
    extra = extra.mask(values.isna(), "background-color: transparent")
    extra["worst case"] = "border-left: 0.4rem solid transparent; background-clip: padding-box"
    top = float(dataset.accuracy.sel(case=case).mean("seed").max())
    name = re.sub(r"\W", "-", f"{case} {scheme}")
    styled = texts.style.set_uuid(name).set_caption(escape(scheme))
    styled = styled.background_gradient(COLOURS, axis=None, vmin=GUESSING, vmax=top, gmap=values)
    styled = styled.apply(lambda _: extra, axis=None).format(escape="html")
    return styled.format_index(escape="html").format_index(escape="html", axis=1).to_html()


def _hundredths(runs: xr.DataArray) -> np.ndarray:
    """Return mean and half of the interval over seeds, in hundredths (rule, attack)."""
    runs = runs.transpose("rule", "attack", "seed")
    texts = np.full(runs.shape[:2], "", dtype=object)
    for place in np.ndindex(texts.shape):
        low, high = student_t(runs.values[place])
        if not np.isnan(low):
            texts[place] = f"{50 * (low + high):.0f}±{50 * (high - low):.0f}"
    return texts


def ranked(dataset: xr.Dataset, case: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return all pairs of a case, the highest worst case first, as texts and as numbers.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it.
    case : str

    Returns
    -------
    (pandas.DataFrame, pandas.DataFrame)
        A row a pair, named by its rank. The numbers have the columns that are sorted by them.
        The last column says which pairs are less accurate than the first, decided by Holm's method
        over all others.
    """
    found = comparisons.ran(dataset, case).stack(pair=PAIR).dropna("pair", how="all")
    found = found.isel(pair=np.argsort(-found.mean("seed").values, kind="stable"))
    found = found.transpose("pair", "seed")
    one = dataset.sel(case=case, drop=True)
    plain = comparisons.plain_minimum(one)
    pairs = one[["fails", "rate", "worker_momentum", *COSTS]].assign(
        plain=plain["mean"],
        low=plain.low,
        high=plain.high,
        crossed=comparisons.cross_fitted(one),
        nobody=one.accuracy.sel(attack=NOBODY, drop=True),
        price=comparisons.prices(one),
        name=comparisons.worst_names(one),
    )
    pairs = pairs.stack(pair=PAIR).sel(pair=found.pair).transpose("pair", ...)
    index = pd.RangeIndex(1, found.sizes["pair"] + 1, name="rank")
    seeds = {"worst case": found, "cross-fitted": pairs.crossed, "nobody attacks": pairs.nobody}
    numbers = pd.DataFrame(
        {
            **{name: values.mean("seed").values for name, values in seeds.items()},
            "plain minimum": pairs.plain.values,
            "price": pairs.price.mean("seed").values,
            "fails": pairs.fails.values,
            "rate": pairs.rate.values,
            **{name: pairs[cost].values for cost, name in COSTS.items()},
        },
        index,
    )
    shown = {name: [interval_text(row) for row in each.values] for name, each in seeds.items()}
    bootstrap = zip(numbers["plain minimum"], pairs.low.values, pairs.high.values, strict=True)
    texts = pd.DataFrame(
        {
            "scheme": found.scheme.values,
            "rule": found.rule.values,
            "worst case": shown["worst case"],
            "cross-fitted": shown["cross-fitted"],
            "plain minimum": [f"{m:.3f} [{low:.3f}, {high:.3f}]" for m, low, high in bootstrap],
            "worst attack": pairs.name.values,
            "load": numbers.load.map("{:.2f}".format),
            "seconds": numbers.seconds.map("{:.1f}".format),
            "nobody attacks": shown["nobody attacks"],
            "price": numbers.price.map("{:.3f}".format),
            "than the first": _behind_first(found),
            "MB": numbers.MB.map("{:.0f}".format),
            "fails": numbers.fails.map("{:.2g}".format),
            "momentum": np.where(pairs.worker_momentum, "workers", "server"),
            "rate": numbers.rate.map("{:g}".format),
        },
        index,
    )
    return texts, numbers


def _behind_first(found: xr.DataArray) -> list[str]:
    """Return for each pair (pair, seed) whether it is less accurate than the first one."""
    values = found.transpose("pair", "seed").drop_vars(["pair", "scheme", "rule"])
    values = values.rename(pair="rule")
    words = comparisons.decided(values.isel(rule=0) - values.isel(rule=slice(1, None))).word.values
    return ["", *("lower" if word == "above" else "not shown" for word in words)]


def differences(dataset: xr.Dataset) -> dict[str, pd.DataFrame]:
    """Return the tables of the questions, by title: differences, adjusted p, and the word.

    Parameters
    ----------
    dataset : xarray.Dataset
        As the study `atlas` stores it. Questions of which nothing was run are left out.
    """
    case = comparisons.main_case(dataset)
    values = (
        comparisons.equal_compute(dataset, case),
        comparisons.vote_or_mixer(dataset, case),
        comparisons.vote_or_mixer(dataset, case, comparisons.ALONE),
        comparisons.momentum_and_vote(dataset),
    )
    found = {}
    for title, some in zip(QUESTIONS, values, strict=True):
        if some.size:
            dim = QUESTIONS[title]
            several = [str(name) for name in some[dim].values] if dim else [None]
            parts = [some if name is None else some.sel({dim: name}) for name in several]
            frames = [_decided(part, name) for part, name in zip(parts, several, strict=True)]
            found[title] = pd.concat(frames, axis=1).fillna("").rename_axis("rule")
    return found


def _decided(values: xr.DataArray, name: str | None) -> pd.DataFrame:
    """Return a difference by rule, its interval and its word."""
    values = values.dropna("rule", how="all")
    decided = comparisons.decided(values)
    rows = {
        str(rule): {
            name or "difference": interval_text(values.sel(rule=rule)),
            f"{name or ''} adjusted p".strip(): f"{float(decided.adjusted.sel(rule=rule)):.3f}",
            f"{name or ''} decided".strip(): str(decided.word.sel(rule=rule).item()),
        }
        for rule in values.rule.values
    }
    return pd.DataFrame(rows).T


def behind_table(dataset: xr.Dataset, case: str) -> pd.DataFrame:
    """Return by how much each rule is worse than the best one behind a scheme.

    A difference that is decided after Holm's method over the rules of a scheme has a star.
    """
    values = comparisons.behind_best(dataset, case)
    words = comparisons.decided(values).word
    axes = ("rule", "scheme")
    means, above = values.mean("seed").transpose(*axes), (words == "above").transpose(*axes)
    rows: dict[str, dict[str, str]] = {}
    for i, k in np.argwhere(means.notnull().values):
        star = " *" if above.values[i, k] else ""
        row = rows.setdefault(str(means.rule.values[i]), {})
        row[str(means.scheme.values[k])] = f"{means.values[i, k]:.3f}{star}"
    return pd.DataFrame(rows).T.fillna("").rename_axis("rule")


def refused(grids: list, dataset: xr.Dataset) -> pd.DataFrame:
    """Return the pairs that the condition of their rule forbids, with the reason.

    Parameters
    ----------
    grids : list
        Of the study, in the profile that made the dataset.
    dataset : xarray.Dataset
    """
    axes = ("case", "rule", "scheme")
    rows = []
    for labels, fields, _ in expand_all(grids):
        at = dict(zip(axes, labels, strict=True))
        there = all(label in dataset[axis].values for axis, label in at.items())
        if there and float(dataset.chosen.sel(at)) < 0:
            rows.append({**at, "reason": refusal(fields)})
    return pd.DataFrame(rows).set_index("case") if rows else pd.DataFrame()


def summary(dataset: xr.Dataset, grids: list) -> list[dict]:
    """Return what the planner may say of pairs of the main case: fields of a Trial, accuracies.

    Parameters
    ----------
    dataset : xarray.Dataset
    grids : list
        As in `refused`.

    Returns
    -------
    list of dict
        As `detox_sim.planning.read_atlas` reads them.
    """
    found, names = comparisons.worst(dataset), comparisons.worst_names(dataset)
    crossed = comparisons.cross_fitted(dataset)
    entries = []
    for (name, rule, scheme), fields, _ in expand_all(grids):
        at = {"case": name, "rule": rule, "scheme": scheme}
        there = all(label in dataset[axis].values for axis, label in at.items())
        more = fields["copies"] == 1 and fields["batch"] > fields["common_batch"]
        # The planner compares equal batches, and has no mixers.
        if name != comparisons.MAIN or not there or more or fields.get("mixers"):
            continue
        worst = found.sel(at)
        if worst.isnull().any():
            continue
        low, high = student_t(worst)
        again = crossed.sel(at)
        entries.append(
            {
                "assignment": fields["assignment"],
                "copies": fields["copies"],
                "vote": fields.get("vote", "majority"),
                "vote_options": fields.get("vote_options", {}),
                "encoding": fields.get("encoding"),
                "mixers": fields.get("mixers", []),
                "groups": fields["groups"],
                "inner": fields["inner"],
                "outer": fields["outer"],
                "worst": round(float(worst.mean()), 4),
                "low": round(low, 4),
                "high": round(high, 4),
                "attack": str(names.sel(at).item()),
                "cross_fitted": [round(v, 4) for v in (float(again.mean()), *student_t(again))],
                "fails": round(float(dataset.fails.sel(at)), 6),
                "nobody": round(float(dataset.accuracy.sel(at).sel(attack=NOBODY).mean()), 4),
            }
        )
    return entries


def write_summary(dataset: xr.Dataset, path: Path = ATLAS) -> None:
    """Write what the planner says of the atlas.

    Parameters
    ----------
    dataset : xarray.Dataset
        Of the profile `atlas`, as the study stores it.
    path : pathlib.Path
        By default the file of the package that `detox_sim.planning.read_atlas` reads.
    """
    about, grids = json.loads(dataset.attrs["provenance"]), load("atlas").grids("atlas")
    fields = expand_all(grids)[0][1]
    scale = f"{about['scale'].split('; ')[0]}, {dataset.sizes['seed']} seeds"
    found = {"scale": scale} | {name: fields[name] for name in ("workers", "byzantine")}
    text = ",\n".join(json.dumps(entry) for entry in summary(dataset, grids))
    path.write_text(f'{json.dumps(found)[:-1]}, "entries": [\n{text}\n]}}\n', encoding="utf-8")
