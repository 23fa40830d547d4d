# %% [markdown]
# # Votes over copies that are not bit-equal

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reports import describe, open_study, show, table
from studies.redundancy.vote_semantics_results import compared, windows
from detox_sim.sweeps.intervals import student_t

dataset, about = open_study("vote_semantics")
describe(about)

# %%
show("vote_semantics")

# %% [markdown]
# **What was found** is listed below, computed from this dataset: where honest copies differ in their bits, an exact vote fails without any
# Byzantine worker; a tolerance above the noise ends that, and a forged copy then moves the vote by at most that tolerance.
#
# **How it is known.** *Left*: the difference of two honest copies of the same gradient. *Middle, above*: no copy is forged,
# and still a file has no majority, or an honest copy is outvoted; a tolerance larger than the noise ends that.
# *Middle, below*: the price. One of three copies is forged, as far from an honest one as the vote still elects
# it; drawn in units of the tolerance, so that the slack itself grows with the tolerance. The first of several equal majorities
# counts: a forged first copy moves the vote by all of the tolerance whatever the noise (grey band); any
# other (coloured by noise) only while the honest copies do not agree with each other. The dashed line is the shift of the mean of
# all votes, in its own length. *Right*: the error of the mean and the median of all votes, by the kind of vote,
# when copies differ as the title says. An aggregate of zero lies at the dotted line; bars are 95 %
# Student t intervals over seeds.

# %% [markdown]
# ## The noise
# Differences of two copies over all pairs, files, steps and seeds; and under the exact vote the shares of files
# without a majority, and of files whose majority outvotes an honest copy.

# %%
rows = {}
for source in dataset.source.values:
    for model in dataset.model.values:
        point = dataset.sel(source=source, model=model)
        if point.difference.isnull().all():
            continue
        exact = point.isel(vote_tolerance=0)
        rows[f"{source}, {model}"] = {
            "median": f"{float(point.difference.median()):.2g}",
            "95 %": f"{float(point.difference.quantile(0.95)):.2g}",
            "maximum": f"{float(point.difference.max()):.2g}",
            "pairs with the same bits": f"{float(point.equal_pairs.mean()):.1%}",
            "no majority": f"{float(exact.undecided.mean()):.1%}",
            "an honest copy outvoted": f"{float(exact.outvoted.mean()):.1%}",
        }
table(pd.DataFrame(rows).T.rename_axis(index="noise, model"))

# %% [markdown]
# Which two of the three copies have the same bits (share of files, mean over models):

# %%
pairs = dataset.equal_pairs.mean(["model", "seed", "step"]).to_pandas().dropna(how="all")
table(pairs.map("{:.1%}".format).rename_axis(index="noise", columns=None))

# %% [markdown]
# ## The window of tolerances
# The least tolerance of the grid from which on no file of any model, step or seed has a false alarm; the largest up
# to which forged copies (one of each of *q* files, at the best place) shift the mean of all votes by a hundredth of its length or
# less; and the tolerance between them that is as far, in factors, from the one as from the other. Slack is the
# largest measured at that tolerance.

# %%
found = windows(dataset)


def tolerance(value: float) -> str:
    return "none" if pd.isna(value) else "exact" if value == 0 else f"{value:.2g}"


def amount(value: float) -> str:
    return "-" if pd.isna(value) else f"{value:.2g}"


columns = {
    "no false alarm from": found["least"].map(tolerance),
    "accepted up to": found["most"].map(tolerance),
    "recommended": found["recommended"].map(tolerance),
    "slack of a vote": found["slack_vote"].map(amount),
    "slack of the mean": found["slack_mean"].map(amount),
}
table(pd.DataFrame(columns).rename_axis(index="noise"))


# %% [markdown]
# ## What was found


# %%
def share(value) -> str:
    return f"{float(value):.0%}"


exact = dataset.isel(vote_tolerance=0)
alarms = (exact.undecided + exact.outvoted).mean(["model", "seed", "step"])
noisy = [source for source in found.index if float(alarms.sel(source=source)) > 0]
lines = []
if noisy:
    each = ", ".join(
        f"{source} {share(exact.undecided.sel(source=source).mean())} and "
        f"{share(exact.outvoted.sel(source=source).mean())}"
        for source in noisy
    )
    lines.append(
        "**An exact vote needs equal computation.** Without a forged copy, files have no majority and "
        f"outvote an honest copy in these shares (mean over models): {each}. A detection that counts an "
        "outvoted copy as forged accuses an honest worker."
    )
healed = [
    f"{source} ({share(pairs.loc[source, '1 and 2'])})"
    for source in found.index
    if source in ("float64", "bf16") and pairs.loc[source, "1 and 2"] > 0
]
if healed:
    lines.append(
        "**Rounding removes the effect of the order.** Where sums are rounded to fewer digits than they are computed "
        "with (float64 is sent as float32; that torch adds up bf16 in float32 is our reading, "
        "untested), copies 1 and 2 have the same bits in spite of their orders in this share of files: "
        f"{', '.join(healed)}"
        + (
            f"; in float32 throughout it is {share(pairs.loc['row order', '1 and 2'])}."
            if "row order" in pairs.index
            else "."
        )
    )
served = found[found["recommended"] > 0]
if len(served):
    widest = (served["most"] / served["least"]).map("{:.0f}".format)
    each = ", ".join(f"{source} a factor of {widest[source]}" for source in served.index)
    lines.append(f"**The window between false alarms and slack that matters**: {each}.")
unserved = [source for source in found.index if pd.isna(found["recommended"][source])]
if unserved:
    lines.append(
        f"**No tolerance serves {', '.join(unserved)}**: what ends the false alarms there lets "
        "forged copies shift the mean by more than a hundredth, or nothing on the grid ends them. Let all "
        "workers of a file compute in the same arithmetic."
    )
positive = dataset.isel(vote_tolerance=slice(1, None))
ratio = (positive.slack_vote / positive.vote_tolerance).max()
mean = (positive.slack_mean / positive.vote_tolerance).max()
lines.append(
    f"**A forged copy moves a vote by the tolerance, not more**: by at most {float(ratio):.3f} of the "
    f"tolerance. The mean of all votes moved by up to {float(mean):.2f} of it in its own length: "
    f"all forgeries have one direction, and files' gradients are up to {float(dataset.spread.max()):.1f} times "
    "as long as the mean of all. At the smallest tolerances the rounding of float32 leaves less room."
)
late = dataset.slack_vote.isel(forged_place=slice(1, None)).max(["model", "seed", "forged_place"])
safe = [
    source
    for source in served.index
    if float(late.sel(source=source, vote_tolerance=served["recommended"][source])) == 0
]
if safe:
    lines.append(
        f"**Only a forged first copy is elected** at the recommended tolerance ({', '.join(safe)}): where "
        "honest copies agree, the first of them is elected. Attackers must not choose which worker "
        "comes first."
    )
display(Markdown("\n".join(f"* {line}" for line in lines)))

# %% [markdown]
# ## Votes compared
# Error of the mean and of the median of all votes, in lengths of the honest mean: mean over steps and models, with
# 95 % Student t intervals over seeds where there are several. In the first three an exact vote without a majority gives zero, the mean or the median
# of the copies; "tolerance" gives zero; streaming is the DETOX code's pass, which elects the last of three different copies. An aggregate of zero
# has an error of 1.


# %%
def with_interval(values) -> str:
    low, high = student_t(values)
    return f"{(low + high) / 2:.2g}" + (f" ± {(high - low) / 2:.2g}" if high > low else "")


for source in found.index:
    own = dataset.honest_error.sel(source=source, rule="median").mean(["model", "step"])
    display(
        Markdown(
            f"### {source}\nThe median of the honest gradients has an error of {with_interval(own)}."
        )
    )
    point = dataset.error.sel(source=source).mean(["model", "step"])
    rows = {
        policy: {
            f"{forged} forged, {rule}": with_interval(
                point.sel(policy=policy, forged_copies=forged, rule=rule)
            )
            for forged in dataset.forged_copies.values
            for rule in dataset.rule.values
        }
        for policy in dataset.policy.values
    }
    table(pd.DataFrame(rows).T.rename_axis(index="vote"))

# %%
source = compared(dataset)
point = dataset.error.sel(source=source, rule="mean").mean(["model", "seed", "step"])
best = {
    int(forged): point.policy.values[int(np.nanargmin(point.sel(forged_copies=forged)))]
    for forged in dataset.forged_copies.values
}
words = ", ".join(f"'{vote}' ({forged} forged)" for forged, vote in best.items())
display(
    Markdown(
        f"With noise from {source} the plain mean of the votes has its least error after {words}. "
        "Among policies for a file without a majority, a mean of three copies keeps a third "
        "of every forged copy, and a median of three withstands one but not two; zero keeps nothing "
        "of them and drops the file, which is every file where noise leaves no majority. A "
        "median of the votes hides much of the difference, at the price of its own error."
    )
)
