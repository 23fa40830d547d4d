# %% [markdown]
# # Votes over copies that are not bit-equal
#
# **The question.** The *r* workers of a group compute the same gradient, and a majority vote elects what most of them send.
# If their arithmetic differs, honest copies differ in their last bits. Does the vote still work, and how much may copies
# differ?

# %%
import numpy as np
import pandas as pd
from IPython.display import Markdown, display

from reports import describe, open_study, show, show_findings, table
from studies.redundancy.vote_semantics_results import compared, windows
from detox_sim.sweeps.intervals import student_t

dataset, about = open_study("vote_semantics")
found = windows(dataset)

# %% [markdown]
# ## What was found

# %%
show_findings("vote_semantics")

# %%
show("vote_semantics")

# %% [markdown]
# **How to read it.** *Left*: the difference of two honest copies of the same gradient. *Middle, above*: no copy is forged,
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

# %% [markdown]
# ## Where these numbers come from

# %%
describe(about)
